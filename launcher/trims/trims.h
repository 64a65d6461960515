/* Leaves out parts of CPython's start that the launcher has no use for. Optional (LAUNCHER_TRIMS of launcher.mk), and
 * outside of CPython's stable interface: only for the versions that are tested. docs/launcher.md says what it saves. */
#ifndef PYRUNC_TRIMS_H
#define PYRUNC_TRIMS_H

#include <Python.h>

#if PY_VERSION_HEX < 0x030B0000 || PY_VERSION_HEX >= 0x030F0000
#error "the trims are for CPython 3.11 to 3.14"
#endif

/* Before the start: have only the core of the interpreter initialised. */
void trims_configure(PyConfig *config);

/* After the start: add what the core lacks and our modules use. Returns -1 with an exception set on failure. */
int trims_complete(void);

#endif
