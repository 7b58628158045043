--- What the fixture "limits" says of its own surroundings; and scripts run by somebody who is not root.

local corun = require "corun"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local world = require "spec.support.world"

local M = {}

M.nobody = 65534

--- Copies files into a new directory where everybody may run them.
local function copies(...)
  local directory = support.directory()
  assert(os.execute("chmod 755 " .. directory))
  for _, path in ipairs { ... } do
    assert(os.execute(("cp %s %s && chmod 755 %s/*"):format(path, directory, directory)))
  end
  return directory
end

--- Runs the fixture with these options: name → rest of the line, as a number where it is one.
function M.of(options)
  local spec = { scripts.fixtures .. "/limits" }
  for name, value in pairs(options) do spec[name] = value end
  if options.uid then spec[1] = copies(spec[1]) .. "/limits" end
  local values = {}
  for name, value in corun.run(spec).stdout:gmatch("(%w+) ?([^\n]*)\n") do values[name] = tonumber(value) or value end
  return values
end

--- A spec that runs a script in corun as an ordinary user. The script finds the fixtures in os.getenv "FIXTURES".
function M.ordinary(source)
  local directory = copies(scripts.corun, scripts.fixtures .. "/limits", scripts.fixtures .. "/ready")
  support.write_file(directory .. "/script.lua", source)
  assert(os.execute("chmod 644 " .. directory .. "/script.lua"))
  local spec = { directory .. "/corun", directory .. "/script.lua", cwd = directory,
    env = { FIXTURES = directory, CORUN_LUA_DIR = false } }
  if world.is_root then spec.uid, spec.gid = M.nobody, M.nobody end
  return spec
end

--- The output of such a script.
function M.as_ordinary(source)
  return corun.run(M.ordinary(source)).stdout
end

return M
