--- Small C files to compile, all different: what 1.c to N.c of the workload "compile" are.

local M = {}

local template = [[
#include <stdio.h>
#include <string.h>

struct record_@ {
  char name[@SIZE];
  unsigned long value;
};

static unsigned long hash_@(const char *text) {
  unsigned long hash = @SEED;
  while (*text) hash = hash * 31 + (unsigned char)*text++;
  return hash;
}

int fill_@(struct record_@ *record, const char *name) {
  if (strlen(name) >= sizeof record->name) return -1;
  strcpy(record->name, name);
  record->value = hash_@(name) % @MODULUS;
  return 0;
}

int print_@(const struct record_@ *records, size_t count) {
  int printed = 0;
  for (size_t i = 0; i < count; i++)
    if (records[i].value > @LEAST) printed += printf("%s=%lu\n", records[i].name, records[i].value);
  return printed;
}
]]

function M.text(i)
  local values = { SIZE = 16 + i % 64, SEED = 5381 + i, MODULUS = 1000 + 7 * i, LEAST = i }
  return (template:gsub("@(%u*)", function(name) return tostring(values[name] or i) end))
end

--- Writes them into the directory, which is new.
function M.write(directory, count)
  for i = 1, count do
    local file = assert(io.open(("%s/%d.c"):format(directory, i), "w"))
    file:write(M.text(i))
    file:close()
  end
end

function M.remove_objects(directory, count)
  for i = 1, count do os.remove(("%s/%d.o"):format(directory, i)) end
end

return M
