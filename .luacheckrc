std = "lua54"
max_line_length = 120
files["spec"] = { std = "+busted" }
exclude_files = { "build" }
ignore = { "212/_.*" }
files["lua/corun/meta.lua"] = { ignore = { "212", "241" } }
