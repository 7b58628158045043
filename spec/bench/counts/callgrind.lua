--- What callgrind has counted, from the files that it writes: one for each part of the program, as workload.lua has
--- marked them. Under valgrind our clone(CLONE_VM | CLONE_VFORK) is a fork: what a child does before it is another
--- program is counted in its own memory, and never gets into these files.

local M = {}

-- Functions of the C library that hand out memory. Their names may carry a version behind "@" and, for callgrind's own
-- use, a number behind "'".
local allocating = { malloc = true, calloc = true, realloc = true, posix_memalign = true, aligned_alloc = true }

--- Instructions and calls that ask for memory, of one part.
function M.read(path)
  local file = assert(io.open(path))
  local text = file:read("a")
  file:close()
  local part = { instructions = tonumber(text:match("\ntotals: (%d+)")), heap_calls = 0 }
  for name, times in text:gmatch("\ncfn=([^@'\n]+)[^\n]*\ncalls=(%d+)") do
    if allocating[name] then part.heap_calls = part.heap_calls + tonumber(times) end
  end
  return part
end

--- For one operation, of a run whose parts are in `path`.1 and following: see workload.lua for what they are.
function M.per_operation(path, n)
  local part = {}
  for i = 1, 5 do part[i] = M.read(path .. "." .. i) end
  return {
    instructions = (part[4].instructions - part[2].instructions) / n,
    collecting = (part[5].instructions - part[3].instructions) / n,
    heap_calls = (part[4].heap_calls - part[2].heap_calls) / n,
  }
end

return M
