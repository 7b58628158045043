--- Facts about where the specs run, and programs made for one example.

local corun = require "corun"
local lfs = require "lfs"
local support = require "spec.support"

local M = {}

--- Whether children are started by corun's own backend.
M.is_native = require("corun.core").backend == "native"

M.uid = math.tointeger(tonumber(corun.capture { "id", "-u" }))
M.is_root = M.uid == 0

M.directory = lfs.currentdir()

--- Writes an executable text and returns its path.
function M.program(path, text, mode)
  support.write_file(path, text)
  assert(os.execute(("chmod %s %s"):format(mode or "755", path)))
  return path
end

--- The same spec, run by another program: these words come before its own.
function M.through(words, spec)
  local whole = { table.unpack(words) }
  for key, value in pairs(spec) do
    if math.type(key) ~= "integer" then whole[key] = value end
  end
  table.move(spec, 1, #spec, #whole + 1, whole)
  return whole
end

--- The same spec, run after these lines of shell (ulimit, exec 3>file) in the same process.
function M.after(lines, spec)
  return M.through({ "sh", "-c", lines .. '\nexec "$@"', "sh" }, spec)
end

--- Bytes of memory that we have in use.
function M.resident()
  collectgarbage()
  collectgarbage()
  return tonumber(support.read_file("/proc/self/status"):match("VmRSS:%s*(%d+) kB")) * 1024
end

--- A path from our directory to this absolute one, with no slash at its beginning.
function M.relative(path)
  return (M.directory:gsub("/[^/]+", "../")) .. path:sub(2)
end

return M
