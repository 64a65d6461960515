/* What the fuzz targets of _wire share. Before the include, FUZZ_SUPPORT names the module of tests/support whose function
 * `difference` compares FUZZ_OBJECT with the tests' own code for some data. */
#pragma once

#include <Python.h>

#include <stdint.h>
#include <stdlib.h>

#include "../../tests/fuzz/embedded.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

PyObject *PyInit__wire(void);

/* The checked functions take the steps and records of the module that pyrunc imports. */
static const char SETUP[] = "import _wire, pyrunc, sys\n"
                            "sys.modules['pyrunc._wire'] = pyrunc._wire = _wire\n"
                            "from tests.support." FUZZ_SUPPORT " import difference\n"
                            "def check(data):\n"
                            "    found = difference(" FUZZ_OBJECT ", data)\n"
                            "    assert not found, found\n";

static PyObject *check;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    check = fuzz_check("_wire", PyInit__wire, SETUP);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)size);
    PyObject *checked = bytes == NULL ? NULL : PyObject_CallOneArg(check, bytes);
    if (checked == NULL) {
        PyErr_Print();
        abort();
    }
    Py_DECREF(checked);
    Py_DECREF(bytes);
    return 0;
}
