local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"

-- What a shell could take for something else.
local nasty = {
  "", " ", "a b", "  two  ", "'", "''", "'a'", '"', '"a b"', "\\", "\\n", "a\\'b", "\n", "a\nb", "a\n\n", "\t",
  "$HOME", "$(echo x)", "`echo x`", "${x}", "*", "?", "[a]", "~", "~root", "#a", "a#b", "!", "!!", "a;b", "a&b", "a|b",
  "<a", ">a", "(a)", "{a,b}", "{}", "{{}}", "-n", "--", "=", "a=b", "%s", "\1\2\127", "\255\254", "é", "A1_./:@%+=,-",
  "\\$HOME", "'$HOME'", "a'b\"c\\d$e`f\n", "]]", "^a", "a\rb", "if", "%1",
}

local show_words <const> = [[for word; do printf "%s\0" "$word"; done]]

describe("corun.quote", function()
  it("makes words that /bin/sh reads back as they were", function()
    local words = corun.run({ "/bin/sh", "-c", "set -- " .. corun.quote(table.unpack(nasty)) .. "\n" .. show_words,
      format = "nul" }).stdout
    assert.same(nasty, words)
    for _, word in ipairs(nasty) do
      assert.equal(word .. "|", corun.run({ "/bin/sh", "-c", 'printf "%s|" ' .. corun.quote(word) }).stdout)
    end
  end)

  it("takes every byte but NUL", function()
    local bytes = {}
    for byte = 1, 255 do bytes[byte] = string.char(byte) end
    local text = table.concat(bytes)
    assert.equal(text .. "|", corun.run({ "/bin/sh", "-c", 'printf "%s|" ' .. corun.quote(text) }).stdout)
    raised.has(raised.argument(function() corun.quote("a\0b") end), "NUL")
  end)

  it("leaves alone what needs no quotes", function()
    assert.equal("make -j4 CC=gcc ./a/b.c user@host:path 50% a+b,c", corun.quote("make", "-j4", "CC=gcc", "./a/b.c",
      "user@host:path", "50%", "a+b,c"))
    assert.equal("", corun.quote())
    assert.equal("''", corun.quote(""))
  end)

  it("takes numbers, and a list as several words", function()
    assert.equal("1 1.5 9007199254740992", corun.quote(1, 1.5, 2 ^ 53))
    assert.equal("a 'b c' d", corun.quote("a", { "b c", "d" }))
    assert.equal("", corun.quote({}))
    assert.equal("1", corun.quote({ 1 }))
  end)

  it("refuses other values", function()
    local text = raised.argument(function() corun.quote("a", true) end)
    raised.has(text, "argument 2: a string or number expected, got true")
    raised.has(raised.argument(function() corun.quote(nil) end), "got nil")
    raised.has(raised.argument(function() corun.quote({ "a", {} }) end), "argument 1[2]")
    raised.has(raised.argument(function() corun.quote({ "a", nil, "c" }) end), "argument 1")
  end)
end)

describe("corun.sh", function()
  it("runs a command line by /bin/sh", function()
    local result = corun.sh("echo $((1 + 2)) | tr 3 4; echo err >&2")
    assert.same({ "4\n", "err\n", true }, { result.stdout, result.stderr, result.ok })
    assert.equal("/bin/sh", result.argv[1])
  end)

  it("puts the next argument, quoted, for each {}", function()
    for _, word in ipairs(nasty) do
      assert.equal(word .. "|", corun.sh("printf '%s|' {}", word).stdout)
    end
    local text = corun.sh("set -- {} {} x{}y; " .. show_words, "a b", "$HOME", "'")
    assert.equal("a b\0$HOME\0x'y\0", text.stdout)
    assert.equal("1 1.5", tostring(corun.sh("echo {} {}", 1, 1.5)))
  end)

  it("makes several words of a list", function()
    assert.equal("a b\0c\0$d\0", corun.sh("set -- {}; " .. show_words, { "a b", "c", "$d" }).stdout)
    assert.equal("", corun.sh("set -- {}; " .. show_words, {}).stdout)
  end)

  it("takes {{}} for a literal {}", function()
    assert.equal("{}", tostring(corun.sh("echo {{}}")))
    assert.equal("{} a {}", tostring(corun.sh("echo {{}} {} {{}}", "a")))
    assert.equal("{ a; }", tostring(corun.sh("echo '{ a; }'")))
    assert.equal("ab", tostring(corun.sh("x=a; echo ${x}b")))
    local directory = support.directory()
    support.write_file(directory .. "/a b", "")
    assert.equal("found " .. directory .. "/a b",
      tostring(corun.sh("find {} -type f -exec echo found {{}} \\;", directory)))
  end)

  it("does not look for {} in its arguments", function()
    assert.equal("{} {{}} b", tostring(corun.sh("echo {} {} {}", "{}", "{{}}", "b")))
  end)

  it("takes options in a table", function()
    local result = corun.sh { "pwd; echo $A {}; exit 3", "x y", cwd = "/", env = { A = "value" }, check = false }
    assert.same({ "/\nvalue x y\n", 3 }, { result.stdout, result.code })
    assert.equal("text", corun.sh({ "cat", input = "text" }).stdout)
    assert.equal("a\0b\0", corun.sh({ "set -- {}; " .. show_words, { "a", "b" } }).stdout)
  end)

  it("is refused with too few or too many arguments", function()
    raised.has(raised.argument(function() corun.sh("echo {} {}", "a") end), "more {} than there are arguments (1)")
    raised.has(raised.argument(function() corun.sh("echo {}", "a", "b") end), "2 arguments for 1 {}")
    raised.has(raised.argument(function() corun.sh("echo", "a") end), "1 arguments for 0 {}")
    raised.has(raised.argument(function() corun.sh { "echo {}", cwd = "/" } end), "(0)")
  end)

  it("is refused with a nil, a NUL byte or a value that is no word", function()
    raised.argument(function() corun.sh("echo {} {}", "a", nil) end)
    raised.argument(function() corun.sh("echo {}", "a", nil) end)
    raised.argument(function() corun.sh("echo {} {}", nil, "b") end)
    raised.has(raised.argument(function() corun.sh("echo {}", true) end), "argument 1")
    raised.has(raised.argument(function() corun.sh("echo {}", "a\0b") end), "NUL")
    raised.has(raised.argument(function() corun.sh("echo \0") end), "NUL")
    raised.has(raised.argument(function() corun.sh(nil) end), "template expected, got nil")
    raised.has(raised.argument(function() corun.sh {} end), "template expected, got nil")
    assert.same({}, support.children())
  end)

  it("raises what run raises", function()
    local e = raised.error("exit", function() corun.sh("echo why >&2; exit {}", 3) end)
    assert.same({ 3, "why\n" }, { e.result.code, e.result.stderr })
    raised.has(e.message, "/bin/sh -c 'echo why >&2; exit 3': exit 3")
  end)
end)

describe("A command as text", function()
  it("can be pasted into a shell", function()
    for _, word in ipairs(nasty) do
      local result = corun.run { "printf", "%s|", word }
      assert.equal(word .. "|", result.stdout)
      assert.equal(word .. "|", corun.run({ "/bin/sh", "-c", result.command }).stdout)
    end
  end)
end)
