/* libFuzzer target: json.c accepts and returns what Python's json does, for any text. */
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "../tests/fuzz/embedded.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

PyObject *PyInit_launcher_json(void); /* PyInit__json of json.c, renamed because CPython has one too */

/* scan and encode are json.c's. other_scan and other_encode are Python's, with the settings that pyrunc/jsonio.py gives
 * json.c. */
static const char SETUP[] =
    "import json, launcher_json\n"
    "def refuse(word):\n"
    "    raise ValueError(word)\n"
    "def finite(word):\n"
    "    return float(word) if abs(float(word)) < float('inf') else refuse(word)\n"
    "class Context:\n"
    "    strict, object_hook, object_pairs_hook, parse_float, parse_int = True, None, None, float, int\n"
    "    parse_constant = staticmethod(refuse)\n"
    "scan = launcher_json.make_scanner(Context)\n"
    "encoder = launcher_json.make_encoder(None, refuse, None, None, ':', ',', False, False, False)\n"
    "decoder = json.JSONDecoder(parse_constant=refuse, parse_float=finite)\n"
    "other = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(',', ':'))\n"
    "def attempt(call, *arguments):\n"
    "    try:\n"
    "        return call(*arguments)\n"
    "    except RecursionError:\n"
    "        return 'too deep'\n"
    "    except ValueError:\n"
    "        return 'refused'\n"
    "def check(text):\n"
    "    ours, theirs = attempt(scan, text, 0), attempt(decoder.raw_decode, text)\n"
    "    if 'too deep' in (ours, theirs):\n"
    "        return True\n"
    "    if repr(ours) != repr(theirs):\n"
    "        return False\n"
    "    if ours == 'refused':\n"
    "        return True\n"
    "    encoded = attempt(encoder, ours[0], 0)\n"
    "    return (encoded if isinstance(encoded, str) else ''.join(encoded)) == attempt(other.encode, ours[0])\n";

static PyObject *check;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    check = fuzz_check("launcher_json", PyInit_launcher_json, SETUP);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    PyObject *text = PyUnicode_DecodeUTF8((const char *)data, (Py_ssize_t)size, "surrogateescape");
    PyObject *same = text == NULL ? NULL : PyObject_CallOneArg(check, text);
    if (same != Py_True) {
        PyErr_Print();
        abort();
    }
    Py_DECREF(same);
    Py_DECREF(text);
    return 0;
}
