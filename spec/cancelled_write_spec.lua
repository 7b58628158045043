--- What a cancelled write leaves behind: the child gets just what the Error says, and then what is written later.

local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local closing = support.closing

-- Bytes of which each piece is another: 16 of them say where they stand.
local pieces = {}
for i = 0, (4 << 20) // 16 - 1 do pieces[#pieces + 1] = ("%015d;"):format(i * 16) end
local text = table.concat(pieces)

--- A child that gives back what it is given, but takes none before tell(child).
local child
local function tell() child.fds[3]:write("go\n") end

--- All that the child gives back, when this was written last.
local function rest(last)
  local writing = corun.go(function()
    child.stdin:write(last)
    child.stdin:close()
  end)
  tell()
  local all = child.stdout:read()
  writing:await()
  return all
end

--- Starts fn in a task that then waits.
local function waits(fn, ...)
  local task = corun.go(pcall, fn, ...)
  waiting.let_others_run()
  assert.equal("waiting", task.status)
  return task
end

--- Cancels the task of a pcall and gives the Error.
local function cancel(task)
  task:cancel("why")
  local ok, e = task:await(10)
  assert.is_false(ok)
  assert.equal("cancelled", e.kind)
  return e
end

describe("A cancelled", function()
  before_each(function()
    child = corun.spawn { "sh", "-c", "read -r go <&3; exec cat", fds = { [3] = "input" }, stderr = "null" }
  end)
  after_each(function() child:close() end)

  describe("write", function()
    it("says in `written` what went, and what is written later comes right behind", function()
      local e = cancel(waits(child.stdin.write, child.stdin, text))
      assert.is_true(e.written > 0 and e.written < #text, "written " .. e.written)
      assert.is_true(rest("later") == text:sub(1, e.written) .. "later")
    end)

    it("counts over all of its arguments", function()
      local parts = { text:sub(1, 1000), 12345, "", text:sub(1001, 2000), text }
      local e = cancel(waits(child.stdin.write, child.stdin, table.unpack(parts)))
      local whole = table.concat(parts)
      assert.is_true(e.written > 2005 and e.written < #whole, "written " .. e.written)
      assert.is_true(rest("later") == whole:sub(1, e.written) .. "later")
    end)

    it("can be gone on with where it stopped, over and over", function()
      local at = 0
      for _ = 1, 3 do at = at + cancel(waits(child.stdin.write, child.stdin, text:sub(at + 1))).written end
      assert.is_true(at < #text)
      assert.is_true(rest(text:sub(at + 1)) == text)
    end)

    it("tells the __close handler of its task, which may write the rest", function()
      local task = corun.go(function()
        local e
        local _ <close> = closing(function() child.stdin:write(text:sub(e.written + 1), "end") end)
        e = raised.error("cancelled", function() child.stdin:write(text) end)
      end)
      waiting.let_others_run()
      task:cancel()
      assert.is_true(rest("") == text .. "end")
      task:await(10)
    end)

    it("that waited for its turn has written nothing, and the one before and after are whole", function()
      local first = waits(child.stdin.write, child.stdin, text, "1")
      local second = waits(child.stdin.write, child.stdin, "second")
      local third = waits(child.stdin.write, child.stdin, "third")
      assert.equal(0, cancel(second).written)
      assert.is_true(rest("last") == text .. "1thirdlast")
      assert.is_true(first:await())
      assert.is_true(third:await())
    end)

    it("gives the turn to the next, though that is cancelled at the same time", function()
      local first = waits(child.stdin.write, child.stdin, text)
      local second = waits(child.stdin.write, child.stdin, "second")
      local third = waits(child.stdin.write, child.stdin, "third")
      first:cancel()
      second:cancel()
      local _, e = first:await(10)
      local ok, of_second = second:await(10)
      assert.is_false(ok)
      assert.equal(0, of_second.written)
      assert.is_true(rest("last") == text:sub(1, e.written) .. "thirdlast")
      assert.is_true(third:await())
    end)

    it("that was called in a cancelled scope has written nothing", function()
      corun.scope(function(scope)
        scope:cancel()
        for _ = 1, 2 do
          raised.error("cancelled", function() child.stdin:write("x") end)
          raised.error("cancelled", function() child:write("x") end)
        end
      end)
      assert.equal("later", rest("later"))
    end)
  end)

  describe("drain", function()
    it("leaves what is queued, which the child gets", function()
      child.stdin:write(text:sub(1, 500000))
      local queued = child.stdin.buffered
      assert.is_nil(cancel(waits(child.stdin.drain, child.stdin)).written)
      assert.equal(queued, child.stdin.buffered)
      assert.is_true(rest("later") == text:sub(1, 500000) .. "later")
    end)

    it("that waited for the end leaves the Writer closing: the rest goes, and then EOF", function()
      for _, close in ipairs { "close", "wait_closed" } do
        local p <close> = corun.spawn { "sh", "-c", "read -r go <&3; exec cat", fds = { [3] = "input" } }
        p.stdin:write(text:sub(1, 500000))
        p.stdin:write_eof()
        cancel(waits(p.stdin[close], p.stdin))
        assert.is_true(p.stdin:is_closing())
        raised.error("closed", function() p.stdin:write("x") end)
        p.fds[3]:write("go\n")
        assert.is_true(p.stdout:read() == text:sub(1, 500000))
        p.stdin:wait_closed()
      end
    end)
  end)

  describe("writelines", function()
    it("asks its iterator for nothing more", function()
      local asked = 0
      local e = cancel(waits(child.stdin.writelines, child.stdin, function()
        asked = asked + 1
        return text
      end))
      assert.equal(1, asked)
      assert.is_true(rest("later") == text:sub(1, e.written) .. "later")
    end)
  end)

  it("scope gives up the input that a child does not take, with the child", function()
    local pid
    local task = corun.go(corun.scope, function(scope)
      local p = scope:spawn { support.fixture "ready", input = text, grace = 0.5, stderr = "null" }
      pid = p.pid
      p.stdout:read_line()
      corun.sleep(1000)
    end)
    waiting.wait_until("it is up", function() return pid end)
    task:cancel()
    raised.error("cancelled", function() task:await(10) end)
    assert.is_nil(support.process_state(pid))
  end)
end)
