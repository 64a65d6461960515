/* The record of a container, and the check of state.json: a part of pyrunc._wire. Every command reads a state.json, and
 * `list` one for each container. What each member is: pyrunc/libcontainer/state.py. */
#define Py_LIMITED_API 0x030b0000 /* the same shared object for every version from 3.11 on */
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "attributes.h"
#include "record.h"

/* clang-format off */
enum member {
    ANNOTATIONS, BUNDLE, CGROUP, CREATED, HOOKS, ID, OCI_VERSION, OWNER, PID, OWN_PIDS, ROOTFS, START_STEPS, START_TIME,
    SYSTEMD, UPDATED, MEMBERS
};

/* The names in the file. The attributes have the same ones, except OWN_PIDS. */
static const char *const member_names[MEMBERS] = {
    [ANNOTATIONS] = "annotations", [BUNDLE] = "bundle", [CGROUP] = "cgroup", [CREATED] = "created",
    [HOOKS] = "hooks", [ID] = "id", [OCI_VERSION] = "ociVersion", [OWNER] = "owner", [PID] = "pid",
    [OWN_PIDS] = "ownPids", [ROOTFS] = "rootfs", [START_STEPS] = "startSteps", [START_TIME] = "startTime",
    [SYSTEMD] = "systemd", [UPDATED] = "updated",
};
/* clang-format on */

static PyObject *names[MEMBERS], *unit_name, *user_name;

static PyObject *record_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    PyObject *values;
    if (keywords != NULL || !PyArg_ParseTuple(args, "O!:Record", &PyDict_Type, &values)) {
        if (keywords != NULL)
            PyErr_SetString(PyExc_TypeError, "Record takes no keywords");
        return NULL;
    }
    PyObject *self = PyType_GenericAlloc(type, 0);
    for (int i = 0; self != NULL && i < MEMBERS; i++) {
        PyObject *value = PyDict_GetItemWithError(values, names[i]);
        if (value == NULL) {
            if (!PyErr_Occurred())
                PyErr_SetObject(PyExc_KeyError, names[i]);
            Py_CLEAR(self);
        } else
            ((struct attributes_object *)self)->attributes[i] = Py_NewRef(value);
    }
    return self;
}

static void record_dealloc(PyObject *self)
{
    attributes_dealloc(self, MEMBERS);
}

/* ---- the check --------------------------------------------------------------------------------------------- */

static bool is_exactly(PyObject *value, PyTypeObject *type)
{
    return Py_TYPE(value) == type;
}

static bool has_nul(PyObject *text)
{
    return PyUnicode_FindChar(text, 0, 0, PyUnicode_GetLength(text), 1) != -1;
}

/* Text without NUL, which the kernel can take. */
static bool is_text(PyObject *value)
{
    return is_exactly(value, &PyUnicode_Type) && !has_nul(value);
}

static bool is_path(PyObject *value, bool may_be_empty)
{
    if (!is_text(value))
        return false;
    return PyUnicode_GetLength(value) == 0 ? may_be_empty : PyUnicode_ReadChar(value, 0) == '/';
}

static bool is_number(PyObject *value, uint64_t largest)
{
    if (!is_exactly(value, &PyLong_Type))
        return false;
    unsigned long long number = PyLong_AsUnsignedLongLong(value);
    if (number == (unsigned long long)-1 && PyErr_Occurred()) { /* negative, or too large */
        PyErr_Clear();
        return false;
    }
    return number <= largest;
}

static bool is_empty(PyObject *value)
{
    return is_exactly(value, &PyDict_Type) && PyDict_Size(value) == 0;
}

/* An object whose members are all of this type. */
static bool is_object_of(PyObject *value, PyTypeObject *type)
{
    if (!is_exactly(value, &PyDict_Type))
        return false;
    PyObject *key, *inner;
    Py_ssize_t position = 0;
    while (PyDict_Next(value, &position, &key, &inner))
        if (!is_exactly(inner, type))
            return false;
    return true;
}

static bool is_unit(PyObject *value)
{
    if (!is_exactly(value, &PyDict_Type))
        return false;
    PyObject *unit = PyDict_GetItemWithError(value, unit_name), *user = PyDict_GetItemWithError(value, user_name);
    return unit != NULL && is_text(unit) && user != NULL && is_exactly(user, &PyBool_Type);
}

static bool are_steps(PyObject *value)
{
    static PyTypeObject *const types[] = {&PyLong_Type, &PyUnicode_Type, &PyList_Type, &PyUnicode_Type};
    enum { COUNT = sizeof types / sizeof types[0] };
    if (!is_exactly(value, &PyList_Type))
        return false;
    for (Py_ssize_t i = 0; i < PyList_Size(value); i++) {
        PyObject *step = PyList_GetItem(value, i);
        if (!is_exactly(step, &PyList_Type) || PyList_Size(step) != COUNT)
            return false;
        for (Py_ssize_t j = 0; j < COUNT; j++)
            if (!is_exactly(PyList_GetItem(step, j), types[j]))
                return false;
    }
    return true;
}

static bool is_right(enum member member, PyObject *value)
{
    switch (member) {
    case ANNOTATIONS: return is_object_of(value, &PyUnicode_Type);
    case BUNDLE: return is_path(value, false);
    case CGROUP:
    case ROOTFS: return is_path(value, true);
    case CREATED:
    case ID:
    case OCI_VERSION: return is_text(value);
    case OWNER:
    case START_TIME: return is_number(value, UINT64_MAX);
    case PID: return is_number(value, INT32_MAX);
    case OWN_PIDS: return is_exactly(value, &PyBool_Type);
    case START_STEPS: return are_steps(value);
    case SYSTEMD: return is_empty(value) || is_unit(value);
    case HOOKS:
    case UPDATED: return is_empty(value); /* state.py knows the others */
    case MEMBERS: break;
    }
    return false;
}

PyObject *pyrunc_is_record(PyObject *module, PyObject *values)
{
    (void)module;
    if (!PyDict_Check(values)) {
        PyErr_SetString(PyExc_TypeError, "the members of a state are a dict");
        return NULL;
    }
    for (int i = 0; i < MEMBERS; i++) {
        PyObject *value = PyDict_GetItemWithError(values, names[i]);
        if (value == NULL || !is_right((enum member)i, value))
            return PyErr_Occurred() ? NULL : Py_NewRef(Py_False);
    }
    return Py_NewRef(Py_True);
}

PyObject *pyrunc_make_record(void)
{
    static PyMemberDef members[MEMBERS + 1];
    for (int i = 0; i < MEMBERS; i++) {
        names[i] = PyUnicode_InternFromString(member_names[i]);
        members[i] = attribute_member(i == OWN_PIDS ? "private_pid_namespace" : member_names[i], i);
    }
    unit_name = PyUnicode_InternFromString("unit");
    user_name = PyUnicode_InternFromString("user");
    if (PyErr_Occurred())
        return NULL;
    return attributes_type("pyrunc._wire.Record", MEMBERS, members, record_new, record_dealloc);
}
