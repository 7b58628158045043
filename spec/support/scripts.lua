--- Runs Lua scripts as programs of their own: in corun, and in a stock lua5.4 with the module.

local corun = require "corun"
local lfs = require "lfs"
local support = require "spec.support"

local M = {}

local function absolute(path)
  return path:sub(1, 1) == "/" and path or lfs.currentdir() .. "/" .. path
end
M.absolute = absolute

local build = absolute(os.getenv("CORUN_BUILD") or "build/dev")
local lua_dir = absolute("lua")

M.build = build
M.corun = absolute(os.getenv("CORUN_BIN") or build .. "/bin/corun")
M.fixtures = absolute(support.fixtures)

--- A stock interpreter cannot load a module that was built with a sanitizer, nor can a time limit be short in one.
M.sanitized = support.read_file("/proc/self/maps"):find("libasan", 1, true) ~= nil

-- What a script finds in its environment.
local environment = {
  FIXTURES = M.fixtures,
  LUA_PATH = ("%s/?.lua;%s/?/init.lua;;"):format(lua_dir, lua_dir),
  LUA_CPATH = ("%s/lib/?.so;;"):format(build),
  CORUN_LUA_DIR = os.getenv("CORUN_LUA_DIR") and lua_dir or false,
}

---@class Host  an interpreter: name, program, whether it is stock
local Host = {}
Host.__index = Host

--- The spec of a command that runs `source` as script.lua in a new directory. `options` are of the spec; its array part
--- are the script's arguments, `options.before` those of the interpreter.
function Host:spec(source, options)
  options = options or {}
  local directory = support.directory()
  support.write_file(directory .. "/script.lua", source)
  local spec = { self.program, cwd = directory, env = {} }
  for _, argument in ipairs(options.before or {}) do spec[#spec + 1] = argument end
  spec[#spec + 1] = "script.lua"
  for _, argument in ipairs(options) do spec[#spec + 1] = argument end
  for name, value in pairs(environment) do spec.env[name] = value end
  for name, value in pairs(options) do
    if name == "env" then
      for variable, content in pairs(value) do spec.env[variable] = content end
    elseif type(name) == "string" and name ~= "before" then
      spec[name] = value
    end
  end
  return spec
end

--- Runs the script to its end, however that is.
function Host:run(source, options)
  local spec = self:spec(source, options)
  spec.check, spec.timeout = false, spec.timeout or 20
  return corun.run(spec)
end

--- Starts the script.
function Host:spawn(source, options)
  return corun.spawn(self:spec(source, options))
end

M.native = setmetatable({ name = "corun", program = M.corun }, Host)
M.stock = setmetatable({ name = "lua5.4", program = "lua5.4", is_stock = true }, Host)

--- All that can run here.
M.hosts = { M.native }
if not M.sanitized then M.hosts[2] = M.stock end

--- Runs corun with these arguments and nothing else; `options` as of a spec.
function M.run_corun(arguments, options)
  local spec = { M.corun, check = false, timeout = 20, env = { CORUN_LUA_DIR = environment.CORUN_LUA_DIR } }
  for _, argument in ipairs(arguments) do spec[#spec + 1] = argument end
  for name, value in pairs(options or {}) do
    if name == "env" then
      for variable, content in pairs(value) do spec.env[variable] = content end
    else
      spec[name] = value
    end
  end
  return corun.run(spec)
end

return M
