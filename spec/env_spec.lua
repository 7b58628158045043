local corun = require "corun"
local raised = require "spec.support.raised"

describe("corun.env", function()
  after_each(function() corun.env.CORUN_SPEC_A, corun.env.CORUN_SPEC_B = nil, nil end)

  it("reads our environment", function()
    assert.equal(os.getenv("PATH"), corun.env.PATH)
    assert.is_nil(corun.env.CORUN_SPEC_A)
    assert.is_nil(corun.env[1])
  end)

  it("changes it, for us and for children started later", function()
    corun.env.CORUN_SPEC_A = "a=b c\n"
    assert.equal("a=b c\n", corun.env.CORUN_SPEC_A)
    assert.equal("a=b c\n", os.getenv("CORUN_SPEC_A"))
    assert.equal("a=b c\n|", corun.sh('printf "%s|" "$CORUN_SPEC_A"').stdout)
    corun.env.CORUN_SPEC_A = ""
    assert.equal("set", corun.capture { "sh", "-c", "echo ${CORUN_SPEC_A+set}" })
    corun.env.CORUN_SPEC_A = nil
    assert.is_nil(os.getenv("CORUN_SPEC_A"))
    assert.equal("", corun.capture { "sh", "-c", "echo ${CORUN_SPEC_A+set}" })
  end)

  it("writes numbers out", function()
    corun.env.CORUN_SPEC_A, corun.env.CORUN_SPEC_B = 2 ^ 53, 1.5
    assert.same({ "9007199254740992", "1.5" }, { corun.env.CORUN_SPEC_A, corun.env.CORUN_SPEC_B })
  end)

  it("is iterated with pairs", function()
    corun.env.CORUN_SPEC_A, corun.env.CORUN_SPEC_B = "1", "2"
    local found = {}
    for name, value in pairs(corun.env) do found[name] = value end
    assert.same({ "1", "2", os.getenv("PATH") }, { found.CORUN_SPEC_A, found.CORUN_SPEC_B, found.PATH })
  end)

  it("refuses what cannot be in an environment", function()
    local cases = {
      { "A=B", "x", '"A=B"' }, { "", "x", '""' }, { "A\0B", "x", '"A\\0B"' }, { 1, "x", "1" }, { true, "x", "true" },
      { "CORUN_SPEC_A", "a\0b", "NUL" }, { "CORUN_SPEC_A", true, "true" }, { "CORUN_SPEC_A", {}, "a table" },
    }
    for _, case in ipairs(cases) do
      local name, value, part = table.unpack(case)
      raised.has(raised.argument(function() corun.env[name] = value end), part)
    end
    assert.is_nil(corun.env.CORUN_SPEC_A)
  end)
end)
