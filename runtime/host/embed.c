/* Build tool: writes the Lua sources as C arrays. Usage: embed OUT NAME FILE [NAME FILE …] */
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
  if (argc < 2 || argc % 2 != 0) return 2;
  FILE *out = fopen(argv[1], "w");
  if (!out) return perror(argv[1]), 1;
  fprintf(out, "#include \"embedded.h\"\n");
  for (int i = 2; i < argc; i += 2) {
    FILE *in = fopen(argv[i + 1], "rb");
    if (!in) return perror(argv[i + 1]), 1;
    fprintf(out, "static const char source_%d[] = {", i);
    int c, count = 0;
    while ((c = getc(in)) != EOF) fprintf(out, count++ % 24 ? "%d," : "\n%d,", c > 127 ? c - 256 : c);
    fprintf(out, "0};\n");
    fclose(in);
  }
  fprintf(out, "const struct embedded embedded_sources[] = {\n");
  for (int i = 2; i < argc; i += 2)
    fprintf(out, "  {\"%s\", source_%d, sizeof source_%d - 1},\n", argv[i], i, i);
  fprintf(out, "  {0, 0, 0}};\n");
  return fclose(out) ? 1 : 0;
}
