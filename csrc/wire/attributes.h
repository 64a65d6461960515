#ifndef PYRUNC_ATTRIBUTES_H
#define PYRUNC_ATTRIBUTES_H

#include <Python.h>
#include <structmember.h>

#include <stddef.h>

/* Shared by the types of pyrunc._wire: their objects have only attributes, each of them set. */
struct attributes_object {
    PyObject_HEAD
    PyObject *attributes[];
};

/* tp_dealloc for a type with `count` attributes. */
static inline void attributes_dealloc(PyObject *self, int count)
{
    PyTypeObject *type = Py_TYPE(self);
    for (int i = 0; i < count; i++)
        Py_XDECREF(((struct attributes_object *)self)->attributes[i]);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static inline PyMemberDef attribute_member(const char *name, int index)
{
    int offset = (int)offsetof(struct attributes_object, attributes) + index * (int)sizeof(PyObject *);
    return (PyMemberDef){.name = name, .type = T_OBJECT_EX, .offset = offset};
}

/* A type with `count` attributes, which `members` names; NULL with an exception. */
static inline PyObject *attributes_type(const char *name, int count, PyMemberDef *members, newfunc make,
                                        destructor dealloc)
{
    PyType_Slot slots[] = {
        {Py_tp_new, make},
        {Py_tp_dealloc, dealloc},
        {Py_tp_members, members},
        {0, NULL},
    };
    PyType_Spec spec = {
        .name = name,
        .basicsize = (int)(sizeof(struct attributes_object) + (size_t)count * sizeof(PyObject *)),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
        .slots = slots,
    };
    return PyType_FromSpec(&spec);
}

#endif
