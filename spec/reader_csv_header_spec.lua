local corun = require "corun"
local raised = require "spec.support.raised"

--- Calls use(Reader) with the Reader of a stream that holds just these bytes and has ended.
local function with(bytes, use)
  local cat <close> = corun.spawn { "cat", input = bytes, stderr = "null" }
  cat:wait_closed()
  use(cat.stdout)
end

describe("A bad header for Reader:csv", function()
  -- What the first record is, the kind of Error, and what it says.
  local bad = {
    { 'a"b,c', "io", "a quote inside of a field without quotes" },
    { '"a"b,c', "io", "something between a closing quote and the separator" },
    { "a,b,a", "io", "the header has 'a' twice" },
    { ",", "io", "the header has '' twice" },
  }

  for _, case in ipairs(bad) do
    local first, kind, text = table.unpack(case)
    it(("(%s) is an Error each time: no record is taken for it"):format(first), function()
      with("\n" .. first .. "\n1,2\n3,4\n", function(reader)
        local next_record = reader:csv { header = true }
        for _ = 1, 3 do
          local e = raised.error(kind, function() next_record() end)
          assert.same({ 1, 1 }, { e.record, e.offset })
          raised.has(e.message, "CSV, record 1 at byte 1: " .. text)
        end
        assert.equal("1,2", reader:read_line())
      end)
    end)
  end

  it("is \"incomplete\" each time where the stream ends in it", function()
    with('a,"b', function(reader)
      local next_record = reader:csv { header = true }
      for _ = 1, 2 do
        local e = raised.error("incomplete", function() next_record() end)
        assert.same({ 1, 0 }, { e.record, e.offset })
      end
    end)
  end)

  it("over the limit stays, and may be read with a higher one", function()
    with("long name,b\n1,2\n", function(reader)
      local next_record = reader:csv { header = true, limit = 4 }
      for _ = 1, 2 do raised.error("limit", function() next_record() end) end
      assert.same({ ["long name"] = "1", b = "2" }, (reader:csv { header = true }()))
    end)
  end)

  it("that comes late is waited for again", function()
    local cat <close> = corun.spawn { "cat", stderr = "null" }
    local next_record = cat.stdout:csv { header = true }
    cat:write("na")
    assert.same({ nil, "timeout" }, { corun.move_on(0.001, next_record) })
    cat:write("me,b\n1,2\n")
    assert.same({ name = "1", b = "2" }, (next_record()))
  end)
end)

describe("The kind of an Error of Reader:csv", function()
  it("is \"incomplete\" inside of quotes at the end, and \"io\" for what no end would make good", function()
    for text, kind in pairs { ['a,"b\n'] = "incomplete", ['"'] = "incomplete", ['"a""'] = "incomplete", ['a"b'] = "io",
      ['"a"b'] = "io", ['a,b"'] = "io" } do
      with(text, function(reader)
        local next_record = reader:csv()
        raised.error(kind, function() next_record() end)
        assert.is_nil(next_record())
      end)
    end
  end)
end)
