local scripts = require "spec.support.scripts"

describe("tee", function()
  it("copies both captured streams to ours", function()
    local result = scripts.native:run([[
      local corun = require "corun"
      local result = corun.run { "sh", "-c", "echo out; echo err >&2; printf end", tee = true }
      assert(result.stdout == "out\nend" and result.stderr == "err\n")
    ]])
    assert.same({ "out\nend", "err\n", 0 }, { result.stdout, result.stderr, result.code })
  end)

  it("puts a prefix before each line, and a newline after the last", function()
    local result = scripts.native:run([[
      local corun = require "corun"
      local result = corun.run { "sh", "-c", "echo out; echo; printf end; echo err >&2", tee = "[a] " }
      assert(result.stdout == "out\n\nend" and result.stderr == "err\n")
    ]])
    assert.same({ "[a] out\n[a] \n[a] end\n", "[a] err\n", 0 }, { result.stdout, result.stderr, result.code })
  end)

  it("is of what capture, sh and a Command capture, too", function()
    local result = scripts.native:run([[
      local corun = require "corun"
      assert(corun.capture { "echo", "a", tee = true } == "a")
      corun.sh { "echo b", tee = "> " }
      corun.command { "echo", "c" }:with { tee = true }:run()
      corun.run { "echo", "d", tee = false }
    ]])
    assert.equal("a\n> b\nc\n", result.stdout, result.stderr)
  end)

  it("leaves alone what is not captured", function()
    local result = scripts.native:run([[
      local corun = require "corun"
      corun.run { "sh", "-c", "echo out; echo err >&2", stdout = "null", stderr = "stdout", tee = true }
      corun.run { "sh", "-c", "echo out; echo err >&2", stderr = "stdout", tee = "+" }
    ]])
    assert.same({ "+out\n+err\n", "" }, { result.stdout, result.stderr })
  end)

  for _, prefix in ipairs { "true", '"[a] "' } do
    it("copies as it comes, with tee = " .. prefix, function()
      local script <close> = scripts.native:spawn(([[
        local corun = require "corun"
        corun.run { "sh", "-c", "echo before; read line; echo after $line", stdin = "inherit", tee = %s }
      ]]):format(prefix))
      assert.matches("before$", script.stdout:read_line()) -- while the child waits for us
      script:write("it\n")
      assert.matches("after it$", script.stdout:read_line())
      assert.is_nil(script.stdout:read_line())
    end)
  end

  it("copies all, however much it is and however little is kept", function()
    local result = scripts.native:run([[
      local corun = require "corun"
      local result = corun.run { "sh", "-c", "head -c 5000000 /dev/zero; echo end", tee = true,
        limit = 1000, overflow = "truncate" }
      assert(#result.stdout == 1000 and result.truncated)
    ]])
    assert.equal(5000004, #result.stdout, result.stderr)
    assert.equal("\0end\n", result.stdout:sub(-5))
  end)

  it("keeps the lines of several children whole", function()
    local result = scripts.native:run([[
      local corun = require "corun"
      corun.scope(function(scope)
        for i = 1, 4 do
          scope:go(corun.run, { "seq", 10000, tee = "child " .. i .. ": " })
        end
      end)
    ]], { format = "lines" })
    local counts = {}
    for _, line in ipairs(result.stdout) do
      local child, number = line:match("^child (%d): (%d+)$")
      assert.is_not_nil(number, line)
      counts[child] = (counts[child] or 0) + 1
      assert.equal(counts[child], tonumber(number))
    end
    assert.same({ ["1"] = 10000, ["2"] = 10000, ["3"] = 10000, ["4"] = 10000 }, counts)
  end)

  it("has copied all when run returns", function()
    local result = scripts.native:run([[
      local corun = require "corun"
      corun.run { "seq", 50000, tee = true }
      corun.stdout:write("after\n")
    ]])
    assert.equal("50000\nafter\n", result.stdout:sub(-12))
  end)

  it("copies what there was of a child that failed", function()
    local result = scripts.native:run([[
      local corun = require "corun"
      local _, e = corun.try(corun.run, { "sh", "-c", "echo out; echo why >&2; exit 3", tee = "| " })
      assert(e.kind == "exit" and e.result.code == 3)
    ]])
    assert.same({ "| out\n", "| why\n", 0 }, { result.stdout, result.stderr, result.code })
  end)

  it("works for a spawned process whose output is read", function()
    local result = scripts.native:run([[
      local corun = require "corun"
      local p <close> = corun.spawn { "seq", 5, tee = "| " }
      local sum = 0
      for line in p:stream_stdout() do sum = sum + tonumber(line) end
      p:wait_closed()
      print(sum)
    ]])
    assert.equal("| 1\n| 2\n| 3\n| 4\n| 5\n15\n", result.stdout, result.stderr)
  end)
end)
