-- Starts where so many descriptors are open that a child shares our table before it has one of its own.
local corun = require "corun"
local support = require "spec.support"

describe("a start among many descriptors", function()
  local files

  before_each(function()
    files = {}
    for i = 1, 300 do files[i] = assert(io.open("/dev/null")) end
    corun.run { "true" } -- sees that there are many
  end)
  after_each(function()
    for _, file in ipairs(files) do file:close() end
  end)

  local fixture = support.fixture "fds"

  it("gives the child what it is to have, and nothing else", function()
    for _ = 1, 3 do
      local result = corun.run { fixture, fds = { [7] = "output", [40] = { file = "/dev/null" } } }
      assert.equal("0\n1\n2\n7\n40\n", result.stdout)
    end
  end)

  it("connects each descriptor", function()
    local script = "cat; echo err >&2; cat <&5; echo seven >&7"
    local p = corun.spawn { "sh", "-c", script, fds = { [5] = "input", [7] = "output" } }
    p.fds[5]:write("five ")
    p.fds[5]:close()
    local result = p:communicate("one ")
    assert.equal("one five ", result.stdout)
    assert.equal("err\n", result.stderr)
    assert.equal("seven\n", p.fds[7]:read())
  end)

  it("takes more descriptors than there are reserved", function()
    local fds, numbers = {}, { 0, 1, 2 }
    for fd = 10, 29 do
      fds[fd] = { file = "/dev/null" }
      numbers[#numbers + 1] = fd
    end
    assert.equal(table.concat(numbers, "\n") .. "\n", corun.run({ fixture, fds = fds }).stdout)
  end)

  it("keeps no end of a pipe", function()
    local p <close> = corun.spawn { "sh", "-c", "exec >&-; cat >/dev/null" }
    assert.equal("", p.stdout:read()) -- comes only where nobody else has the writing end
  end)

  it("keeps nothing of a child that could not start", function()
    local open = support.descriptors()
    local _, e = corun.try(corun.spawn, { "/nonexistent" })
    assert.equal("ENOENT", e.code)
    assert.same(open, support.descriptors())
  end)
end)
