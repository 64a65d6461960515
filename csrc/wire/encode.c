/* pyrunc._wire: the steps of a plan, and the steps as the init reads them (docs/architecture.md, The wire). Both builds
 * use this module.
 *
 * The types of the fields and the limits are those by which csrc/init/decode.c reads them. For a value that the wire
 * can't carry, the module names only the place; pyrunc/libcontainer/plan/wire.py finds the words. */
#define Py_LIMITED_API 0x030b0000 /* the same shared object for every version from 3.11 on */
#include <Python.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define STEPS_FIELDS
#include "../init/decode.h"
#include "attributes.h"
#include "record.h"

enum { FIRST_ROOM = 16 << 10 }; /* bytes: enough for most plans; what is not used is not touched */

/* The field of a refusal if the step has too many errnos, or too high a level. */
enum { NO_FIELD = -1 };

struct encoder {
    char *data; /* the tokens, each ended by NUL */
    size_t length, room;
    size_t pointers; /* of all strv: see POINTERS in docs/architecture.md */
    PyObject *slots; /* dict: the descriptor of each slot */
    Py_ssize_t step; /* the step and the field at work, */
    Py_ssize_t field; /* for a refusal */
};

static void release(PyObject **object)
{
    Py_XDECREF(*object);
}
#define OWNED __attribute__((cleanup(release))) PyObject *

/* ---- Step: see pyrunc/_wire.pyi ---------------------------------------------------------------------------- */

enum { PHASE, KIND, ARGS, POINTER, LEVEL, ERRNOS, ATTRIBUTES };

static PyTypeObject *step_type;
static PyObject *defaults[ATTRIBUTES]; /* NULL for those that a caller must give */

static char *const attribute_names[] = {"phase", "kind", "args", "pointer", "fallback_level", "on_errno", NULL};

static PyObject *step_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    PyObject *given[ATTRIBUTES];
    memcpy(given, defaults, sizeof given);
    /* The compiler gives no keywords; reading them takes several times as long. */
    bool read = keywords == NULL ? PyArg_UnpackTuple(args, "Step", 2, ATTRIBUTES, &given[PHASE], &given[KIND],
                                                     &given[ARGS], &given[POINTER], &given[LEVEL], &given[ERRNOS])
                                 : PyArg_ParseTupleAndKeywords(args, keywords, "OO|OOOO:Step", (char **)attribute_names,
                                                               &given[PHASE], &given[KIND], &given[ARGS],
                                                               &given[POINTER], &given[LEVEL], &given[ERRNOS]);
    PyObject *self = read ? PyType_GenericAlloc(type, 0) : NULL;
    for (int i = 0; self != NULL && i < ATTRIBUTES; i++)
        ((struct attributes_object *)self)->attributes[i] = Py_NewRef(given[i]);
    return self;
}

static void step_dealloc(PyObject *self)
{
    attributes_dealloc(self, ATTRIBUTES);
}

/* Makes the type and the defaults. */
static bool make_step(void)
{
    static PyMemberDef members[ATTRIBUTES + 1];
    for (int i = 0; i < ATTRIBUTES; i++)
        members[i] = attribute_member(attribute_names[i], i);
    defaults[ARGS] = PyTuple_New(0);
    defaults[POINTER] = PyUnicode_FromString("");
    defaults[LEVEL] = PyLong_FromLong(0);
    defaults[ERRNOS] = PyTuple_New(0);
    step_type = (PyTypeObject *)attributes_type("pyrunc._wire.Step", ATTRIBUTES, members, step_new, step_dealloc);
    return step_type != NULL && !PyErr_Occurred();
}

/* ---- the encoder ------------------------------------------------------------------------------------------- */

static void encoder_release(struct encoder *encoder)
{
    PyMem_Free(encoder->data);
}

/* The wire can't carry the value: ValueError(step, field). */
static bool refuse(const struct encoder *encoder)
{
    OWNED place = Py_BuildValue("(nn)", encoder->step, encoder->field);
    if (place != NULL)
        PyErr_SetObject(PyExc_ValueError, place);
    return false;
}

/* The same in the place of the exception that a conversion has raised; any other exception stays. */
static bool refuse_for(const struct encoder *encoder, PyObject *conversion)
{
    if (!PyErr_ExceptionMatches(conversion))
        return false;
    PyErr_Clear();
    return refuse(encoder);
}

static bool put(struct encoder *encoder, const char *token, size_t length)
{
    if (encoder->room - encoder->length <= length) {
        size_t room = 2 * encoder->room + length + FIRST_ROOM;
        char *grown = PyMem_Realloc(encoder->data, room);
        if (grown == NULL) {
            PyErr_NoMemory();
            return false;
        }
        encoder->data = grown;
        encoder->room = room;
    }
    memcpy(encoder->data + encoder->length, token, length);
    encoder->data[encoder->length + length] = '\0';
    encoder->length += length + 1;
    return true;
}

static bool put_number(struct encoder *encoder, uint64_t number, bool negative)
{
    char digits[24]; /* 20, and a sign */
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    if (negative)
        digits[--at] = '-';
    return put(encoder, digits + at, sizeof digits - at);
}

static bool put_signed(struct encoder *encoder, int64_t number)
{
    return put_number(encoder, number < 0 ? -(uint64_t)number : (uint64_t)number, number < 0);
}

static bool put_text(struct encoder *encoder, PyObject *text)
{
    Py_ssize_t length;
    OWNED escaped = NULL;
    const char *utf8 = PyUnicode_AsUTF8AndSize(text, &length);
    if (utf8 == NULL && PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) { /* bytes that are not UTF-8 (PEP 383) */
        PyErr_Clear();
        escaped = PyUnicode_AsEncodedString(text, "utf-8", "surrogateescape");
        if (escaped == NULL)
            return refuse_for(encoder, PyExc_UnicodeEncodeError);
        utf8 = PyBytes_AsString(escaped);
        length = PyBytes_Size(escaped);
    }
    if (utf8 == NULL)
        return false;
    if (memchr(utf8, '\0', (size_t)length) != NULL)
        return refuse(encoder);
    return put(encoder, utf8, (size_t)length);
}

static bool put_texts(struct encoder *encoder, PyObject *texts)
{
    Py_ssize_t count = PyTuple_Size(texts);
    encoder->pointers += (size_t)count + 1;
    if (!put_number(encoder, (uint64_t)count, false))
        return false;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *text = PyTuple_GetItem(texts, i);
        if (!PyUnicode_CheckExact(text))
            return refuse(encoder);
        if (!put_text(encoder, text))
            return false;
    }
    return true;
}

static bool put_unsigned(struct encoder *encoder, PyObject *value, uint64_t highest)
{
    uint64_t number = PyLong_AsUnsignedLongLong(value);
    if (number == UINT64_MAX && PyErr_Occurred())
        return refuse_for(encoder, PyExc_OverflowError);
    return number > highest ? refuse(encoder) : put_number(encoder, number, false);
}

static bool put_signed_value(struct encoder *encoder, PyObject *value)
{
    int64_t number = PyLong_AsLongLong(value);
    if (number == -1 && PyErr_Occurred())
        return refuse_for(encoder, PyExc_OverflowError);
    return put_signed(encoder, number);
}

/* None, or the descriptor in a slot. */
static bool put_descriptor(struct encoder *encoder, PyObject *slot)
{
    if (slot == Py_None)
        return put_signed(encoder, -1);
    if (!PyUnicode_Check(slot))
        return refuse(encoder);
    PyObject *descriptor = PyDict_GetItemWithError(encoder->slots, slot);
    if (descriptor == NULL)
        return PyErr_Occurred() ? false : refuse(encoder);
    return put_signed_value(encoder, descriptor);
}

static bool put_field(struct encoder *encoder, enum field_type type, PyObject *value)
{
    switch (type) {
    case FIELD_STR: return PyUnicode_CheckExact(value) ? put_text(encoder, value) : refuse(encoder);
    case FIELD_STRV: return PyTuple_CheckExact(value) ? put_texts(encoder, value) : refuse(encoder);
    case FIELD_FD: return put_descriptor(encoder, value);
    case FIELD_U32: return PyLong_Check(value) ? put_unsigned(encoder, value, UINT32_MAX) : refuse(encoder);
    case FIELD_U64: return PyLong_Check(value) ? put_unsigned(encoder, value, UINT64_MAX) : refuse(encoder);
    case FIELD_I64: return PyLong_Check(value) ? put_signed_value(encoder, value) : refuse(encoder);
    }
    return refuse(encoder);
}

/* The fallback level and the errnos of a step. */
static bool put_alternative(struct encoder *encoder, PyObject *level, PyObject *errnos)
{
    long number = PyLong_AsLong(level);
    if (number == -1 && PyErr_Occurred())
        return false;
    Py_ssize_t count = PyTuple_Size(errnos);
    encoder->field = NO_FIELD;
    if (number < 0 || number > MAX_FALLBACK_LEVEL || count > MAX_ERRNOS)
        return refuse(encoder);
    if (!put_signed(encoder, number) || !put_signed(encoder, count))
        return false;
    for (Py_ssize_t i = 0; i < count; i++)
        if (!put_signed_value(encoder, PyTuple_GetItem(errnos, i)))
            return false;
    return true;
}

static bool put_step(struct encoder *encoder, PyObject *step, PyObject *numbers)
{
    if (!PyObject_TypeCheck(step, step_type)) {
        PyErr_SetString(PyExc_TypeError, "a plan has steps only");
        return false;
    }
    PyObject *const *attributes = ((struct attributes_object *)step)->attributes;
    PyObject *kind = attributes[KIND], *args = attributes[ARGS], *level = attributes[LEVEL],
             *errnos = attributes[ERRNOS];
    if (kind == NULL || level == NULL || args == NULL || !PyTuple_Check(args) || errnos == NULL ||
        !PyTuple_Check(errnos)) {
        PyErr_SetString(PyExc_TypeError, "a step has a kind and a level, and tuples of arguments and errnos");
        return false;
    }
    PyObject *number = PyDict_GetItemWithError(numbers, kind);
    if (number == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetObject(PyExc_KeyError, kind);
        return false;
    }
    unsigned long at = PyLong_AsUnsignedLong(number);
    if (at == (unsigned long)-1 && PyErr_Occurred())
        return false;
    if (at >= STEP_KINDS || PyTuple_Size(args) != kinds[at].count) {
        PyErr_Format(PyExc_TypeError, "a step of the kind %S has other fields", kind);
        return false;
    }
    if (!put_number(encoder, at, false) || !put_alternative(encoder, level, errnos))
        return false;
    for (encoder->field = 0; encoder->field < kinds[at].count; encoder->field++)
        if (!put_field(encoder, kinds[at].fields[encoder->field].type, PyTuple_GetItem(args, encoder->field)))
            return false;
    return true;
}

/* encode(steps, numbers, slots): see pyrunc/_wire.pyi. */
static PyObject *encode(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *steps, *numbers;
    __attribute__((cleanup(encoder_release))) struct encoder encoder = {0};
    if (!PyArg_ParseTuple(args, "O!O!O!", &PyTuple_Type, &steps, &PyDict_Type, &numbers, &PyDict_Type, &encoder.slots))
        return NULL;
    for (Py_ssize_t count = PyTuple_Size(steps); encoder.step < count; encoder.step++)
        if (!put_step(&encoder, PyTuple_GetItem(steps, encoder.step), numbers))
            return NULL;
    OWNED tokens = PyBytes_FromStringAndSize(encoder.data, (Py_ssize_t)encoder.length);
    return tokens == NULL ? NULL : Py_BuildValue("(nO)", (Py_ssize_t)encoder.pointers, tokens);
}

PyMODINIT_FUNC PyInit__wire(void)
{
    static PyMethodDef methods[] = {
        {"encode", encode, METH_VARARGS, NULL},
        {"is_record", pyrunc_is_record, METH_O, NULL},
        {NULL, NULL, 0, NULL},
    };
    static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "pyrunc._wire", .m_size = -1,
                                        .m_methods = methods};
    OWNED made = make_step() ? PyModule_Create(&module) : NULL;
    OWNED record = made != NULL ? pyrunc_make_record() : NULL;
    if (record == NULL || PyModule_AddObjectRef(made, "Step", (PyObject *)step_type) < 0 ||
        PyModule_AddObjectRef(made, "Record", record) < 0)
        return NULL;
    return Py_NewRef(made);
}
