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
#include <stdbool.h>

#include "heap.h"
#include "importer.h"
#include "specialise.h"

#if PY_VERSION_HEX < 0x030C0000

/* All code that was read from the table, each before the code that is in it. */
enum { MOST = 4096 };
static PyCodeObject *codes[MOST];
static PyObject *names_of[MOST]; /* of the module of each, borrowed: the modules stay */
static size_t count;

void specialise_note(PyObject *object, PyObject *globals)
{
    PyCodeObject *code = (PyCodeObject *)object;
    if (count == MOST)
        return; /* it stays as it is, which is slower and nothing else */
    names_of[count] = globals;
    codes[count++] = (PyCodeObject *)Py_NewRef(code);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(code->co_consts); i++)
        if (PyCode_Check(PyTuple_GET_ITEM(code->co_consts, i)))
            specialise_note(PyTuple_GET_ITEM(code->co_consts, i), globals);
}

/* Forget the code of modules and classes, which has been executed and is not executed again. */
static void forget_finished(void)
{
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        if (Py_REFCNT(codes[i]) > 1) {
            names_of[left] = names_of[i];
            codes[left++] = codes[i];
        } else {
            Py_DECREF(codes[i]);
        }
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

/* An instruction that looks a name up in a module can be specialised without being executed, since modules do not get
 * further names any more. That counts for code with effects, which is not carried out here. owner: the module that the
 * instruction before leaves on the stack, or NULL. Returns the same of this instruction, borrowed. */
static PyObject *look_name_up(_Py_CODEUNIT *instruction, PyCodeObject *code, PyObject *globals, PyObject *owner)
{
    int opcode = _PyOpcode_Deopt[_Py_OPCODE(*instruction)], number = _Py_OPARG(*instruction);
    PyObject *found = NULL;
    if (opcode == LOAD_GLOBAL) {
        PyObject *name = PyTuple_GET_ITEM(code->co_names, number >> 1);
        found = PyDict_GetItemWithError(globals, name);
        if (_Py_OPCODE(*instruction) == LOAD_GLOBAL_ADAPTIVE &&
            _Py_Specialize_LoadGlobal(globals, PyEval_GetBuiltins(), instruction, name) < 0)
            PyErr_Clear();
    } else if (owner != NULL && (opcode == LOAD_ATTR || opcode == LOAD_METHOD)) {
        PyObject *name = PyTuple_GET_ITEM(code->co_names, number);
        found = PyDict_GetItemWithError(PyModule_GetDict(owner), name);
        int result = 0;
        if (found != NULL && _Py_OPCODE(*instruction) == LOAD_ATTR_ADAPTIVE)
            result = _Py_Specialize_LoadAttr(owner, instruction, name);
        else if (found != NULL && _Py_OPCODE(*instruction) == LOAD_METHOD_ADAPTIVE)
            result = _Py_Specialize_LoadMethod(owner, instruction, name);
        if (result < 0)
            PyErr_Clear();
    }
    return found != NULL && PyModule_CheckExact(found) ? found : NULL;
}

static void look_names_up(PyCodeObject *code, PyObject *globals)
{
    _Py_CODEUNIT *instructions = _PyCode_CODE(code);
    PyObject *owner = NULL;
    bool extended = false; /* the number of the next instruction has further bits */
    for (Py_ssize_t at = 0; at < Py_SIZE(code); at++) {
        int generic = _PyOpcode_Deopt[_Py_OPCODE(instructions[at])];
        owner = extended ? NULL : look_name_up(&instructions[at], code, globals, owner);
        extended = generic == EXTENDED_ARG;
        at += _PyOpcode_Caches[generic];
    }
}

static void end(void)
{
    for (size_t i = 0; i < count; i++) {
        look_names_up(codes[i], names_of[i]);
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

void specialise_note(PyObject *code, PyObject *globals)
{
    (void)code;
    (void)globals;
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

/* Look up the names of a type that commands use, and of the classes above it. Python's protocols have slots in a type
 * instead. */
static void look_up_own(PyTypeObject *type)
{
    PyObject *name, *value;
    for (Py_ssize_t i = 0; type->tp_mro != NULL && i < PyTuple_GET_SIZE(type->tp_mro); i++) {
        PyTypeObject *base = (PyTypeObject *)PyTuple_GET_ITEM(type->tp_mro, i);
        if (base->tp_dict == NULL || (base != type && (base->tp_flags & Py_TPFLAGS_HEAPTYPE) == 0))
            continue; /* from 3.12 on those of CPython's own types are elsewhere */
        for (Py_ssize_t at = 0; PyDict_Next(base->tp_dict, &at, &name, &value);)
            if (PyUnicode_READ_CHAR(name, 0) != '_' && !heap_is_unused(name))
                (void)_PyType_Lookup(type, name); /* borrowed */
    }
}

/* Have CPython's cache of the attributes of types hold what commands look up in the classes of modules, in place of what
 * the imports have looked up. What the specialised run looks up later has precedence. */
static void fill_type_cache(void)
{
    PyType_ClearCache();
    PyObject *key, *module, *value;
    for (Py_ssize_t i = 0; PyDict_Next(PyImport_GetModuleDict(), &i, &key, &module);) {
        PyObject *attributes = PyModule_CheckExact(module) ? PyModule_GetDict(module) : NULL;
        for (Py_ssize_t j = 0; attributes != NULL && PyDict_Next(attributes, &j, &key, &value);)
            if (PyType_Check(value))
                look_up_own((PyTypeObject *)value);
    }
}

int specialise(void)
{
    fill_type_cache();
    begin();
    int result = importer_run(&frozen_specialise, "main");
    end();
    collect();
    return result;
}
