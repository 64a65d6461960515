#ifndef PYRUNC_RECORD_H
#define PYRUNC_RECORD_H

#include <Python.h>

/* The type Record; NULL with an exception. */
PyObject *pyrunc_make_record(void);

/* is_record(values): see pyrunc/_wire.pyi. */
PyObject *pyrunc_is_record(PyObject *module, PyObject *values);

#endif
