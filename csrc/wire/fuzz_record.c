/* libFuzzer target: record.c accepts the states that pyrunc/libcontainer/state.py accepts by its table, for any members,
 * and makes records of them. */
#include <Python.h>

#include <stdint.h>
#include <stdlib.h>

#include "../../tests/fuzz/embedded.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

PyObject *PyInit__wire(void);

static const char SETUP[] = "import _wire, pyrunc, sys\n"
                            "sys.modules['pyrunc._wire'] = pyrunc._wire = _wire\n"
                            "from tests.support.damage import difference\n"
                            "def check(data):\n"
                            "    found = difference(_wire, data)\n"
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
