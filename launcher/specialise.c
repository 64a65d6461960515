/* Specialised bytecode in the snapshot.
 *
 * CPython replaces an instruction by one for the types that it meets, with what it has looked up in the inline cache
 * behind it (PEP 659): versions of types and of dictionaries' keys, and pointers, which all stay valid in the snapshot.
 * A specialised instruction writes nothing while it fits. But CPython does this in functions that are called often, and
 * a command calls most functions once. So before the snapshot is written, launcher/specialise.py carries out the pure
 * part of the commands.
 *
 * CPython 3.11 begins with generic instructions, replaces them by adaptive ones at the eighth call, and an adaptive one
 * is specialised when it is executed. So all code becomes adaptive first (begin), and what is adaptive still at the end
 * becomes generic again (end): otherwise the next execution of each would try to specialise it, and the others would
 * count, which is a write to the page of the code. From 3.12 on all code is adaptive from the beginning, and there are
 * no generic instructions. */
#define Py_BUILD_CORE
#include <Python.h>
#if PY_VERSION_HEX < 0x030C0000
#undef HAVE_STD_ATOMIC /* a C++ check in CPython's own headers */
#include <internal/pycore_code.h>
#include <internal/pycore_opcode.h>
#endif

#include "importer.h"
#include "specialise.h"

#if PY_VERSION_HEX < 0x030C0000

/* All code that was read from the table, each before the code that is in it. */
enum { MOST = 4096 };
static PyCodeObject *codes[MOST];
static size_t count;

void specialise_note(PyObject *object)
{
    PyCodeObject *code = (PyCodeObject *)object;
    if (count == MOST)
        return; /* it stays as it is, which is slower and nothing else */
    codes[count++] = (PyCodeObject *)Py_NewRef(code);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(code->co_consts); i++)
        if (PyCode_Check(PyTuple_GET_ITEM(code->co_consts, i)))
            specialise_note(PyTuple_GET_ITEM(code->co_consts, i));
}

/* Forget the code of modules and classes, which has been executed and is not executed again. */
static void forget_finished(void)
{
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        if (Py_REFCNT(codes[i]) > 1)
            codes[left++] = codes[i];
        else
            Py_DECREF(codes[i]);
    }
    count = left;
}

static void begin(void)
{
    forget_finished();
    for (size_t i = 0; i < count; i++) {
        if (codes[i]->co_warmup == 0)
            continue; /* it was called often enough by the imports */
        codes[i]->co_warmup = 0;
        _PyCode_Quicken(codes[i]);
    }
}

static void end(void)
{
    for (size_t i = 0; i < count; i++) {
        _Py_CODEUNIT *instructions = _PyCode_CODE(codes[i]);
        for (Py_ssize_t at = 0; at < Py_SIZE(codes[i]); at++) {
            int opcode = _Py_OPCODE(instructions[at]), generic = _PyOpcode_Deopt[opcode];
            if (opcode != generic && opcode == _PyOpcode_Adaptive[generic]) {
                _Py_SET_OPCODE(instructions[at], generic);
                instructions[at + 1] = 0; /* the counter of executions */
            }
            at += _PyOpcode_Caches[generic];
        }
        Py_CLEAR(codes[i]);
    }
    count = 0;
}

#else

void specialise_note(PyObject *code)
{
    (void)code;
}

static void begin(void)
{
}

static void end(void)
{
}

#endif

/* Free what has references in a circle, and the lists in which CPython keeps freed objects. */
static void collect(void)
{
    PyGC_Enable();
    PyGC_Collect();
    PyGC_Disable();
}

int specialise(void)
{
    begin();
    int result = importer_run(&frozen_specialise, "main");
    end();
    collect();
    return result;
}
