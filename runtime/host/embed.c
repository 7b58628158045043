/* Build tool: writes Lua sources as C arrays. Usage: embed OUT NAME FILE [NAME FILE …]
 *
 * With CORUN_PRECOMPILE they are compiled, debug information included: to parse them takes five times as long as to
 * load that, at each start. Only where Lua is linked into the program: no other Lua promises to read this one's code. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef CORUN_PRECOMPILE
#include <lauxlib.h>
#include <lua.h>
#endif

struct text {
  char *data;
  size_t size, capacity;
};

static void append(struct text *text, const void *data, size_t size) {
  if (text->size + size > text->capacity) {
    text->capacity = 2 * (text->size + size);
    text->data = realloc(text->data, text->capacity);
    if (!text->data) abort();
  }
  memcpy(text->data + text->size, data, size);
  text->size += size;
}

static int read_file(const char *path, struct text *text) {
  char block[4096];
  size_t n;
  FILE *in = fopen(path, "rb");
  if (!in) return perror(path), 1;
  while ((n = fread(block, 1, sizeof block, in)) > 0) append(text, block, n);
  return fclose(in) ? 1 : 0;
}

/* "=[corun]/process.lua": no file of that name exists, and every source begins the same */
static void chunk_name(char *chunk, size_t size, const char *name) {
  snprintf(chunk, size, "=[corun]/%s.lua", strncmp(name, "corun.", 6) ? name : name + 6);
}

/* As luaL_loadfile does for "#!". */
static void skip_comment(struct text *text) {
  if (!text->size || *text->data != '#') return;
  const char *end = memchr(text->data, '\n', text->size);
  size_t length = end ? (size_t)(end - text->data) : text->size;
  memmove(text->data, text->data + length, text->size -= length);
}

#ifdef CORUN_PRECOMPILE
static int write_code(lua_State *L, const void *data, size_t size, void *text) {
  (void)L;
  append(text, data, size);
  return 0;
}

static int compile(struct text *text, const char *chunk) {
  struct text code = {0};
  lua_State *L = luaL_newstate();
  if (!L) abort();
  int status = luaL_loadbufferx(L, text->data, text->size, chunk, "t");
  if (status != LUA_OK) fprintf(stderr, "%s\n", lua_tostring(L, -1));
  else lua_dump(L, write_code, &code, 0);
  lua_close(L);
  free(text->data);
  *text = code;
  return status;
}
#else
static int compile(struct text *text, const char *chunk) {
  (void)text, (void)chunk;
  return 0;
}
#endif

static void write_array(FILE *out, int number, const struct text *text) {
  fprintf(out, "static const char code_%d[] = {", number);
  for (size_t i = 0; i < text->size; i++) fprintf(out, i % 24 ? "%d," : "\n%d,", (signed char)text->data[i]);
  fprintf(out, "0};\n");
}

int main(int argc, char **argv) {
  char chunk[256];
  if (argc < 2 || argc % 2 != 0) return 2;
  FILE *out = fopen(argv[1], "w");
  if (!out) return perror(argv[1]), 1;
  fprintf(out, "#include \"embedded.h\"\n");
  for (int i = 2; i < argc; i += 2) {
    struct text text = {0};
    chunk_name(chunk, sizeof chunk, argv[i]);
    if (read_file(argv[i + 1], &text)) return 1;
    skip_comment(&text);
    if (compile(&text, chunk)) return 1;
    write_array(out, i, &text);
    free(text.data);
  }
  fprintf(out, "const struct embedded embedded_sources[] = {\n");
  for (int i = 2; i < argc; i += 2) {
    chunk_name(chunk, sizeof chunk, argv[i]);
    fprintf(out, "  {\"%s\", \"%s\", code_%d, sizeof code_%d - 1},\n", argv[i], chunk, i, i);
  }
  fprintf(out, "  {0, 0, 0, 0}};\n");
  return fclose(out) ? 1 : 0;
}
