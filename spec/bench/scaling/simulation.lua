--- A machine with some cores on which a corun keeps some children running: a discrete event simulation. Times are
--- microseconds. Every thread is a coroutine that asks for what it does next; a core is given to who has waited
--- longest, and taken away after QUANTUM, or never, where nobody waits. As on Linux, who is woken does not preempt.

local M = {}

local QUANTUM = 3000

local World = {}
World.__index = World

local function world(cores)
  return setmetatable({ now = 0, free = cores, waiting = {}, first = 1, last = 0, events = {}, lock_free = 0 }, World)
end

-- Events: a binary heap by time; of two at the same time, who came first.

local function before(a, b) return a.at < b.at or a.at == b.at and a.number < b.number end

function World:after(delay, fn)
  local heap, event = self.events, { at = self.now + delay, fn = fn }
  self.number = (self.number or 0) + 1
  event.number = self.number
  local i = #heap + 1
  while i > 1 and before(event, heap[i // 2]) do heap[i], i = heap[i // 2], i // 2 end
  heap[i] = event
end

local function pop(heap)
  local top, last = heap[1], table.remove(heap)
  if #heap == 0 then return top end
  local i = 1
  while 2 * i <= #heap do
    local child = 2 * i
    if child < #heap and before(heap[child + 1], heap[child]) then child = child + 1 end
    if not before(heap[child], last) then break end
    heap[i], i = heap[child], child
  end
  heap[i] = last
  return top
end

-- Cores.

--- Goes on with `thread`, which has a core, until its quantum is over or it wants something else.
function World:advance(thread)
  if thread.work <= 0 then
    thread.work = nil
    assert(coroutine.resume(thread.body))
  end
  if not thread.work then -- it sleeps, or has ended
    self.free = self.free + 1
    return self:dispatch()
  end
  if thread.serial > 0 then -- it spins for the lock, and then has it
    self.lock_free = math.max(self.now, self.lock_free) + thread.serial
    thread.work, thread.serial = thread.work + self.lock_free - self.now, 0
  end
  local piece = math.min(thread.work, QUANTUM)
  thread.work = thread.work - piece
  self:after(piece, function()
    if thread.work <= 0 or self.first > self.last then return self:advance(thread) end
    self.free = self.free + 1
    self:queue(thread)
  end)
end

function World:queue(thread)
  self.last = self.last + 1
  self.waiting[self.last] = thread
  self:dispatch()
end

function World:dispatch()
  while self.free > 0 and self.first <= self.last do
    local thread = self.waiting[self.first]
    self.waiting[self.first] = nil
    self.first, self.free = self.first + 1, self.free - 1
    self:advance(thread)
  end
end

-- What a thread may do.

function World:thread(fn)
  local thread = { work = nil, serial = 0 }
  thread.body = coroutine.create(function() fn(thread) end)
  assert(coroutine.resume(thread.body))
  if thread.work then self:queue(thread) end
  return thread
end

local function use(thread, work, serial)
  thread.work, thread.serial = work, serial or 0
  coroutine.yield()
end

local function sleep(self, thread, delay)
  self:after(delay, function() self:wake(thread) end)
  coroutine.yield()
end

--- It sleeps; it goes on as soon as it gets a core.
function World:wake(thread)
  assert(coroutine.resume(thread.body))
  if thread.work then self:queue(thread) end
end

-- corun.

--- A queue from which threads take, which sleep while it is empty.
local function mailbox(self) return { world = self, first = 1, last = 0, sleepers = {} } end

local function put(box, value)
  box.last = box.last + 1
  box[box.last] = value
  local sleeper = table.remove(box.sleepers)
  if sleeper then box.world:after(0, function() box.world:wake(sleeper) end) end
end

local function take(box, thread)
  while box.first > box.last do
    table.insert(box.sleepers, thread)
    coroutine.yield()
  end
  box.first = box.first + 1
  return box[box.first - 1]
end

---@class Setting
---@field cores integer
---@field jobs integer       children at a time
---@field threads integer    1: the thread that runs Lua starts the children, too; more: so many others do
---@field main number        processor time of the Lua thread for a child, without spawn_start
---@field own number         processor time of whoever calls spawn_start
---@field suspended number   processor time of the child until its parent goes on
---@field rest number        processor time of the child after that, but for its life
---@field burn number        its life: processor time
---@field sleep number       its life: time without
---@field wake number        how long it takes to wake somebody on an idle core, on both ways of a spawn
---@field handover number    processor time of the Lua thread to hand a spawn over to another, and to hear of it
---@field serial number      how long a child keeps a lock that there is once in the kernel, in all: half of it in its
---start, half of it at its end

--- How many children a second end, and the share of the time in which a spawning thread is suspended.
---@param s Setting
function M.run(s)
  local self = world(s.cores)
  local orders, news = mailbox(self), mailbox(self) -- for those who spawn; for the Lua thread
  local ended, suspended, wanted = 0, 0, math.max(600, 8 * s.jobs)

  local function child(thread, parent)
    if s.wake > 0 then sleep(self, thread, s.wake) end
    use(thread, s.suspended)
    self:after(s.wake, function() self:wake(parent) end)
    use(thread, s.rest / 2 + s.burn)
    if s.sleep > 0 then sleep(self, thread, s.sleep) end
    use(thread, s.rest / 2, s.serial / 2)
    ended = ended + 1
    put(news, "ended")
  end

  local function spawn(thread)
    use(thread, s.own, s.serial / 2)
    local began = self.now
    self:after(0, function() self:thread(function(new) child(new, thread) end) end)
    coroutine.yield()
    use(thread, 0.001) -- it has a core again
    suspended = suspended + self.now - began
  end

  if s.threads > 1 then
    for _ = 1, s.threads do
      self:thread(function(thread)
        while take(orders, thread) do spawn(thread) end
      end)
    end
  end
  local function order(thread)
    if s.threads > 1 then
      use(thread, s.handover)
      put(orders, true)
    else
      spawn(thread)
    end
  end
  self:thread(function(thread)
    for _ = 1, s.jobs do order(thread) end
    while take(news, thread) do
      use(thread, s.main)
      order(thread)
    end
  end)

  local warm, from = wanted // 3, nil
  while ended < wanted do
    local event = pop(self.events)
    self.now = event.at
    event.fn()
    if not from and ended >= warm then from, warm, suspended = self.now, ended, 0 end
  end
  local took = self.now - from
  return (ended - warm) / took * 1e6, suspended / took / s.threads
end

return M
