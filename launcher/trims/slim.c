/* A slimmer libpython, for a static link.
 *
 * libpython.a has these definitions in config.o, frozen.o and, until CPython 3.12, deepfreeze.o. The linker finds them
 * here first, and does not link those members. The interpreter starts with only two C modules of its own (the launcher's
 * table of modules names those that we use) and without the standard library's frozen modules. That makes the snapshot and the
 * program smaller; without a snapshot, preparing those modules would be a third of each command's start.
 */
#include "trims.h"

struct _inittab _PyImport_Inittab[] = {{"builtins", NULL}, {"sys", NULL}, {NULL, NULL}};

struct _module_alias;
static const struct _frozen none[] = {{0}};
const struct _frozen *_PyImport_FrozenBootstrap = none;
const struct _frozen *_PyImport_FrozenStdlib = none;
const struct _frozen *_PyImport_FrozenTest = none;
const struct _frozen *PyImport_FrozenModules = NULL;
const struct _module_alias *_PyImport_FrozenAliases = (const struct _module_alias *)none;

#if PY_VERSION_HEX < 0x030D0000
int _Py_Deepfreeze_Init(void);
void _Py_Deepfreeze_Fini(void);

int _Py_Deepfreeze_Init(void)
{
    return 0;
}

void _Py_Deepfreeze_Fini(void)
{
}
#endif
