--- Selects that take turns, channels that are never empty, and a select that nobody waits in any more.

local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"

--- A channel with n values in it.
local function full(n)
  local channel = corun.channel(math.huge)
  for i = 1, n do channel:send(i) end
  return channel
end

describe("Selects in turn", function()
  for _, count in ipairs { 2, 4 } do
    it(("of %d, each over two channels with values, serve both of theirs"):format(count), function()
      local selects = {}
      for i = 1, count do selects[i] = { cases = { full(200), full(200) }, served = { 0, 0 } } end
      for _ = 1, 200 do
        for _, each in ipairs(selects) do
          local case = corun.select(each.cases)
          each.served[case] = each.served[case] + 1
        end
      end
      for i, each in ipairs(selects) do
        for case = 1, 2 do
          assert.is_true(each.served[case] >= 20, ("select %d has served case %d %d times"):format(i, case,
            each.served[case]))
        end
      end
    end)
  end

  it("that send and receive serve all of their cases", function()
    local served = { 0, 0, 0, 0 }
    for _ = 1, 200 do
      local case = corun.select { full(1), { corun.channel(1), "value" } }
      served[case] = served[case] + 1
      case = corun.select { { corun.channel(1), "value" }, full(1) }
      served[2 + case] = served[2 + case] + 1
    end
    for i = 1, 4 do assert.is_true(served[i] >= 20, table.concat(served, " ")) end
  end)
end)

describe("A channel that is never empty", function()
  for name, capacity in pairs { ["no limit"] = math.huge, ["a large capacity"] = 1 << 40 } do
    it("with " .. name .. " needs memory for what is in it alone, and keeps the order", function()
      local backlog = 4095
      local channel = corun.channel(capacity)
      for i = 1, backlog do channel:send(i) end
      collectgarbage()
      local before, largest, expected = collectgarbage "count", 0, 1
      local in_order = true
      for i = backlog + 1, backlog + 100000 do
        channel:send(i)
        in_order = in_order and channel:receive() == expected
        expected = expected + 1
        if i % 10000 == 0 then
          collectgarbage()
          largest = math.max(largest, collectgarbage "count" - before)
        end
      end
      assert.is_true(largest < 512, ("%d KiB more"):format(largest))
      for i = expected, backlog + 100000 do in_order = in_order and channel:receive() == i end
      assert.is_true(in_order)
    end)
  end

  it("gives the memory of a burst back", function()
    local channel = corun.channel(math.huge)
    collectgarbage()
    local before = collectgarbage "count"
    for i = 1, 100000 do channel:send(i) end
    local in_order = true
    for i = 1, 100000 do in_order = in_order and channel:receive() == i end
    assert.is_true(in_order)
    collectgarbage()
    assert.is_true(collectgarbage "count" - before < 512)
    channel:send("fine")
    assert.equal("fine", channel:receive())
  end)

  it("keeps the order where it grows while its values go round in it", function()
    local channel, sent, received = corun.channel(math.huge), 0, 0
    local in_order = true
    local function receive()
      received = received + 1
      in_order = in_order and channel:receive() == received
    end
    for round = 1, 300 do
      for _ = 1, round do
        sent = sent + 1
        channel:send(sent)
      end
      for _ = 1, round - 3 do receive() end
    end
    while received < sent do receive() end
    assert.is_true(in_order)
  end)
end)

describe("corun.select without its braces", function()
  it("complains about its first argument", function()
    local a, b = full(1), full(1)
    local text = raised.argument(function() corun.select(a, b) end)
    assert.matches("^select: .* expected, got a userdata$", text)
    assert.is_nil(text:find("seconds", 1, true))
    assert.matches("^select: .*seconds.* got a userdata$", raised.argument(function() corun.select({ a }, b) end))
    assert.equal(1, a:receive(0))
    assert.equal(1, b:receive(0))
  end)
end)

describe("os.exit in a task", function()
  for name, wait in pairs {
    ["corun.select"] = "corun.select { c }", ["corun.select of several"] = "corun.select { corun.channel(), c, c }",
    ["receive"] = "c:receive()",
  } do
    for _, host in ipairs(scripts.hosts) do
      it(("takes the main chunk from %s under %s: what is sent later finds nobody there"):format(name, host.name),
        function()
        local source = [[
          local corun = require "corun"
          local c = corun.channel()
          corun.go(function()
            corun.scope(function(scope)
              scope:go(function()
                pcall(corun.sleep, 1000)
                corun.shield(function()
                  local ok, e = pcall(c.send, c, "value", 0.01)
                  io.stderr:write(ok and "sent" or e.kind, "\n")
                end)
              end)
              corun.sleep(0)
              os.exit(3)
            end)
          end)
          WAIT
          io.stderr:write "received\n"
        ]]
        local result = host:run((source:gsub("WAIT", wait)))
        assert.equal("timeout\n", result.stderr)
        assert.equal(3, result.code)
      end)
    end
  end
end)
