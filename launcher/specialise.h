/* Specialised bytecode in the snapshot (specialise.c). */
#ifndef PYRUNC_SPECIALISE_H
#define PYRUNC_SPECIALISE_H

#include <Python.h>

/* Take note of the code of a module that is going to be in the snapshot, and of its names. */
void specialise_note(PyObject *code, PyObject *globals);

/* Have the bytecode of the modules that are imported specialised. Returns -1 with an exception set on failure. */
int specialise(void);

#endif
