/* What a start of CPython does that we have no use for, left out. Optional (LAUNCHER_TRIMS of launcher.mk), and outside of
 * CPython's stable interface: only for the versions on which it is proved. docs/launcher.md has what it saves. */
#ifndef PYRUNC_TRIMS_H
#define PYRUNC_TRIMS_H

#include <Python.h>

#if PY_VERSION_HEX < 0x030B0000 || PY_VERSION_HEX >= 0x030C0000
#error "the trims are for CPython 3.11"
#endif

/* Before the start: have the core of the interpreter initialised alone. */
void trims_configure(PyConfig *config);

/* After it: what the core lacks and our modules use. -1 with an exception set on failure. */
int trims_complete(void);

#endif
