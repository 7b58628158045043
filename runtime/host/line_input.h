/* The REPL's line input: libedit's callback interface on the loop, so that tasks and children go on while a person
 * types. libedit is loaded when it is first used; without it the REPL reads plain lines. */
#ifndef CORUN_LINE_INPUT_H
#define CORUN_LINE_INPUT_H

#include <lua.h>

/* Pushes a table: open(history file) → true or nil and why not; read(prompt) → line, nil at the end, or false
 * when it was cancelled, yields; cancel() throws away what is typed; hide() before something is printed; close(). */
int luaopen_line_input(lua_State *L);

#endif
