/* The launcher's `__import__`.
 *
 * To find a frozen module, importlib asks each of its finders and makes a spec, a loader state and a lock. That costs
 * more than reading and running most of our modules. The launcher has one table of all modules that can be imported, so
 * this is a binary search in it. It never looks at a path: an import can't find a hostile module in the working
 * directory, in PYTHONPATH or in a site-packages directory.
 */
#include "importer.h"

#include <marshal.h>
#include <stdlib.h>
#include <string.h>

static void (*hand_over_to_ordinary_build)(void);
static void (*take_note)(PyObject *code, PyObject *globals); /* of each module's code, or NULL */

static int compare_names(const void *name, const void *entry)
{
    return strcmp(name, ((const struct frozen_module *)entry)->name);
}

static const struct frozen_module *find(const char *name)
{
    return bsearch(name, frozen_modules, frozen_module_count, sizeof frozen_modules[0], compare_names);
}

/* Make a C module: its init function makes it, or returns a definition from which it is made here (PEP 489). */
static PyObject *make_extension(const struct frozen_module *entry)
{
    PyObject *made = entry->init();
    if (made == NULL || !PyObject_TypeCheck(made, &PyModuleDef_Type))
        return made;
    /* PEP 489 wants a spec, but CPython reads only its name; any object with attributes will do. */
    PyObject *spec = PyModule_New(entry->name);
    if (spec == NULL || PyModule_AddStringConstant(spec, "name", entry->name) < 0) {
        Py_XDECREF(spec);
        return NULL;
    }
    PyModuleDef *definition = (PyModuleDef *)made;
    PyObject *module = PyModule_FromDefAndSpec(definition, spec);
    Py_DECREF(spec);
    if (module != NULL && PyModule_ExecDef(module, definition) < 0)
        Py_CLEAR(module);
    return module;
}

/* Run a frozen module. It is in sys.modules while it runs, so that modules can import each other in a circle. */
static PyObject *run_frozen(const struct frozen_module *entry, PyObject *name)
{
    PyObject *modules = PyImport_GetModuleDict();
    PyObject *module = PyModule_NewObject(name);
    if (module == NULL || PyDict_SetItem(modules, name, module) < 0) {
        Py_XDECREF(module);
        return NULL;
    }
    PyObject *code = PyMarshal_ReadObjectFromString((const char *)entry->marshalled, entry->size);
    PyObject *globals = PyModule_GetDict(module);
    if (code != NULL && take_note != NULL)
        take_note(code, globals);
    PyObject *done = code == NULL ? NULL : PyEval_EvalCode(code, globals, globals);
    Py_XDECREF(code);
    if (done == NULL) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        if (PyDict_DelItem(modules, name) < 0)
            PyErr_Clear();
        PyErr_Restore(type, value, traceback);
        Py_CLEAR(module);
    }
    Py_XDECREF(done);
    return module;
}

static PyObject *import_absolute(PyObject *name);

/* Make the module `name`. Its parent is imported first, and gets the module as an attribute. */
static PyObject *load(PyObject *name)
{
    const char *text = PyUnicode_AsUTF8(name);
    if (text == NULL)
        return NULL;
    const struct frozen_module *entry = find(text);
    if (entry == NULL) {
        PyErr_Format(PyExc_ModuleNotFoundError, "the launcher has no module %R", name);
        return NULL;
    }
    if (entry->kind == FROZEN_COLD)
        hand_over_to_ordinary_build();
    PyObject *parent = NULL;
    const char *dot = strrchr(text, '.');
    if (dot != NULL) {
        PyObject *parent_name = PyUnicode_FromStringAndSize(text, dot - text);
        parent = parent_name == NULL ? NULL : import_absolute(parent_name);
        Py_XDECREF(parent_name);
        if (parent == NULL)
            return NULL;
    }
    PyObject *module;
    if (entry->kind == FROZEN_EXTENSION) {
        module = make_extension(entry);
        if (module != NULL && PyDict_SetItem(PyImport_GetModuleDict(), name, module) < 0)
            Py_CLEAR(module);
    } else {
        module = run_frozen(entry, name);
    }
    if (module != NULL && parent != NULL && PyObject_SetAttrString(parent, dot + 1, module) < 0)
        Py_CLEAR(module);
    Py_XDECREF(parent);
    return module;
}

/* Not PyImport_GetModule: it asks for the module's __spec__, which ours lack, and so raises an exception for
 * nothing. */
static PyObject *import_absolute(PyObject *name)
{
    PyObject *module = PyDict_GetItemWithError(PyImport_GetModuleDict(), name);
    if (module != NULL || PyErr_Occurred())
        return Py_XNewRef(module);
    return load(name);
}

/* `from package import item`: import the items that are modules and not yet imported. */
static int import_items(PyObject *module, PyObject *module_name, PyObject *items)
{
    PyObject *attributes = PyModule_GetDict(module);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(items); i++) {
        PyObject *item = PyTuple_GET_ITEM(items, i);
        if (PyDict_GetItemWithError(attributes, item) != NULL)
            continue;
        if (PyErr_Occurred())
            return -1;
        PyObject *name = PyUnicode_FromFormat("%U.%U", module_name, item);
        const char *text = name == NULL ? NULL : PyUnicode_AsUTF8(name);
        PyObject *child = text == NULL ? NULL : find(text) == NULL ? Py_NewRef(Py_None) : import_absolute(name);
        Py_XDECREF(name);
        if (child == NULL)
            return -1;
        Py_DECREF(child);
    }
    return 0;
}

/* builtins.__import__(name, globals, locals, fromlist, level), as the import statement calls it. The level is 0:
 * launcher/freeze.py has made every name absolute. */
static PyObject *import_statement(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    if (count != 5 || !PyUnicode_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "__import__ takes a name, globals, locals, fromlist and level");
        return NULL;
    }
    PyObject *name = args[0], *items = args[3];
    long level = PyLong_AsLong(args[4]);
    if (level != 0) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "the launcher imports by absolute names only");
        return NULL;
    }
    PyObject *module = import_absolute(name);
    if (module != NULL && PyTuple_Check(items) && PyTuple_GET_SIZE(items) > 0) {
        if (import_items(module, name, items) < 0)
            Py_CLEAR(module);
    } else if (module != NULL) { /* `import a.b` binds a */
        Py_ssize_t dot = PyUnicode_FindChar(name, '.', 0, PyUnicode_GET_LENGTH(name), 1);
        if (dot >= 0) {
            PyObject *top = PyUnicode_Substring(name, 0, dot);
            Py_SETREF(module, top == NULL ? NULL : import_absolute(top));
            Py_XDECREF(top);
        }
    }
    return module;
}

int importer_install(void (*hand_over)(void))
{
    static PyMethodDef method = {"__import__", (PyCFunction)(void (*)(void))import_statement, METH_FASTCALL, NULL};
    hand_over_to_ordinary_build = hand_over;
    PyObject *builtins = PyEval_GetBuiltins(); /* borrowed */
    PyObject *function = PyCFunction_New(&method, NULL);
    int result = builtins == NULL || function == NULL ? -1 : PyDict_SetItemString(builtins, method.ml_name, function);
    Py_XDECREF(function);
    return result;
}

PyObject *importer_import(const char *name)
{
    /* Not interned: a command would read the table of interned strings for this name alone. */
    PyObject *text = PyUnicode_FromString(name);
    PyObject *module = text == NULL ? NULL : import_absolute(text);
    Py_XDECREF(text);
    return module;
}

int importer_import_all(void (*note)(PyObject *code, PyObject *globals))
{
    int result = 0;
    take_note = note;
    for (size_t i = 0; result == 0 && i < frozen_held_count; i++) {
        PyObject *module = importer_import(frozen_modules[frozen_held[i]].name);
        result = module == NULL ? -1 : 0;
        Py_XDECREF(module);
    }
    take_note = NULL;
    return result;
}

int importer_run(const struct frozen_module *entry, const char *function)
{
    if (entry->marshalled == NULL)
        return 0;
    PyObject *name = PyUnicode_FromString(entry->name);
    PyObject *module = name == NULL ? NULL : run_frozen(entry, name);
    PyObject *result = module == NULL ? NULL : PyObject_CallMethod(module, function, NULL);
    int code = result == NULL || PyDict_DelItem(PyImport_GetModuleDict(), name) < 0 ? -1 : 0;
    Py_XDECREF(result);
    Py_XDECREF(module);
    Py_XDECREF(name);
    return code;
}
