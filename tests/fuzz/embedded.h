/* What the fuzz targets of C modules share: an interpreter that has the module. Python allocates by malloc here, so that
 * AddressSanitizer sees every access behind an object's end. */
#pragma once

#include <Python.h>

#include <stdlib.h>

/* The function `check` that `setup` defines. name, init: the module that it imports. */
static PyObject *fuzz_check(const char *name, PyObject *(*init)(void), const char *setup)
{
    PyPreConfig before;
    PyPreConfig_InitPythonConfig(&before);
    before.allocator = PYMEM_ALLOCATOR_MALLOC;
    before.utf8_mode = 1;
    if (PyStatus_Exception(Py_PreInitialize(&before)) || PyImport_AppendInittab(name, init) < 0)
        abort();
    Py_Initialize();
    PyObject *main = PyImport_AddModule("__main__");
    if (main == NULL || PyRun_SimpleString(setup) < 0)
        abort();
    PyObject *check = PyObject_GetAttrString(main, "check");
    if (check == NULL)
        abort();
    return check;
}
