---@meta
--- What is written in C: runtime/module/lreader.c, lwriter.c, lchannel.c. This file is for readers and editors;
--- nothing loads it.
---
--- Every call that says "yields" raises kind "cancelled" while a scope around it is cancelled, at once and each time,
--- and kind "deadlock" when nothing is left that could end its wait. What that leaves behind is said with each call.

---@class corun.Reader  bytes that come from a child, a file, our own stdin
---One task at a time may read; a second one gets kind "busy". A read that a cancellation or a time limit ends has taken
---nothing: the bytes that came meanwhile stay in the Reader, and the next read gets them.
local Reader = {}

--- Up to `n` bytes, as soon as there is one; nil at the end. Without `n` all to the end ("" if there is nothing).
--- Yields unless it has them.
---@param n integer?  0 gives ""
---@return string?
---Raises kind "io" (`code`) where the stream has failed, "closed" on a closed Reader, "busy".
function Reader:read(n) end

--- Exactly `n` bytes. Yields unless it has them.
---@param n integer
---@return string
---Raises as read; kind "incomplete" at the end (`partial`: what there was, `expected`).
function Reader:read_exactly(n) end

--- All up to the separator, which is taken, too. Yields unless it has it.
---@param separator string
---@param options { keep: boolean?, utf8: "replace"?, ansi: "strip"?, limit: integer? }?  keep: with the separator;
---utf8: what is no UTF-8 becomes U+FFFD; ansi: escape sequences of terminals go; limit: bytes, default 64 MiB
---@return string
---Raises as read_exactly; kind "limit" where more bytes come without a separator: they stay in the Reader.
function Reader:read_until(separator, options) end

--- One line, nil at the end. A last line without a newline is one. Yields unless it has it.
---@param options { keep: boolean?, crlf: boolean?, utf8: "replace"?, ansi: "strip"?, limit: integer? }?  keep: with its
---newline; crlf: CRs right before the newline go; utf8, ansi, limit: as for read_until
---@return string?
---Raises as read; kind "limit" as read_until.
function Reader:read_line(options) end

--- An iterator over lines, as read_line gives them. Leaving the loop leaves the Reader usable, at the next line.
---@return fun(): string?
function Reader:lines(options) end

--- An iterator over records, which end with the separator; a last one without is one. The last bytes may be read
--- otherwise at any time, as with lines.
---@param separator string
---@param options table?  as for read_until
---@return fun(): string?
---Raises as read_line.
function Reader:records(separator, options) end

--- How many lines (or records with that separator) are left: as many as lines (records) would give. They are taken, and
--- do not become Lua strings. Yields.
---@param separator string?  default: a newline
---@return integer
---Raises as read. What a cancelled count has counted is taken.
function Reader:count(separator) end

--- An iterator over pieces of up to `n` bytes, as they come.
---@param n integer?
---@return fun(): string?
function Reader:chunks(n) end

--- Up to `n` bytes, which stay in the Reader: waits for that many, or for the end; nil at the end. Yields unless it has
--- them.
---@param n integer
---@return string?
function Reader:peek(n) end

--- Whether all was read. Waits until that is known. Yields unless it is.
---@return boolean
function Reader:at_eof() end

--- No more reading: the descriptor is closed, what is buffered is dropped. A task that waits in it gets kind "closed".
function Reader:close() end

---@class corun.Writer  bytes that go to a child or to our own stdout and stderr
---@field buffered integer    bytes queued that the kernel has not taken yet
---@field high_water integer  a write waits rather than have that many bytes queued; default 1 MiB. Setting it sets
---low_water to a quarter of it
---@field low_water integer   who waits goes on once no more than this is queued
local Writer = {}

--- Writes the strings as one unbroken piece, with one system call, after the pieces of tasks that came before. Returns
--- when the kernel has them or fewer than `high_water` bytes are queued. Yields while that is not so.
---@param ... string|number
---@return corun.Writer self
---Raises kind "io" (code "EPIPE" where nobody reads any more), "closed". A cancelled write has stopped where it was:
---the Error's `written` says how many of its bytes are on their way, 0 if its turn had not come. The Writer stays
---usable.
function Writer:write(...) end

--- Waits until the kernel has all that was written. Yields unless it has. A cancelled drain changes nothing.
function Writer:drain() end

--- EOF for the reader, once what is queued is out. Does not wait.
function Writer:write_eof() end

--- The same, and waits for it. A cancelled close goes on without the task.
function Writer:close() end

--- Waits until it is closed and all is out. Yields unless it is. A cancelled wait changes nothing.
function Writer:wait_closed() end

---@return boolean  true after close or write_eof
function Writer:is_closing() end

---@class corun.Channel  made by corun.channel. #channel: values that wait in it. As <close> it is closed.
---@operator len: integer
---@operator call: any
local Channel = {}

--- Sends a value: to the task that has waited longest to receive, or into the channel. Yields while there is no room;
--- with capacity 0 until it was received.
---@param value any       not nil, which means the end to who receives
---@param seconds number? at most so long; then kind "timeout" is raised
---Raises kind "closed" when the channel is, or is closed meanwhile. After each of its errors, cancellation included,
---the value was not sent.
function Channel:send(value, seconds) end

--- The value that was sent first of those that nobody has received; nil when the channel is closed and empty. Yields
--- while there is none. `for value in channel do` receives until the end.
---@param seconds number? at most so long; then kind "timeout" is raised
---@return any
---A receive that is cancelled or out of time has taken nothing.
function Channel:receive(seconds) end

--- No more values: who waits to send gets kind "closed", who receives gets what is left and then nil. A second call
--- does nothing. Does not yield.
function Channel:close() end
