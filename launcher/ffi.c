/* Memory that Python code fills for C functions, and the module around it: see ffi.h. */
#include "ffi.h"

#include <limits.h>
#include <string.h>

/* What ffi.new and ffi.from_buffer return: typed memory. It is the object's own, or that of a buffer which it holds. */
struct data {
    PyObject_HEAD
    enum ffi_kind kind;              /* of each item */
    const struct ffi_struct *layout; /* where kind is FFI_STRUCT */
    Py_ssize_t length;               /* in items */
    char *memory;
    Py_buffer held; /* held.obj is NULL where the memory is its own */
};

static PyTypeObject data_type;

static size_t item_size(const struct data *data)
{
    return data->kind == FFI_STRUCT ? data->layout->size : data->kind == FFI_INT ? sizeof(int) : 1;
}

static struct data *allocate(enum ffi_kind kind, const struct ffi_struct *layout, Py_ssize_t length)
{
    struct data *data = PyObject_New(struct data, &data_type);
    if (data == NULL)
        return NULL;
    data->kind = kind;
    data->layout = layout;
    data->length = length;
    data->held.obj = NULL;
    data->memory = PyMem_Calloc((size_t)length + (length == 0), item_size(data));
    if (data->memory == NULL) {
        Py_DECREF(data);
        PyErr_NoMemory();
        return NULL;
    }
    return data;
}

static void data_dealloc(PyObject *self)
{
    struct data *data = (struct data *)self;
    if (data->held.obj != NULL)
        PyBuffer_Release(&data->held);
    else
        PyMem_Free(data->memory);
    PyObject_Free(self);
}

static Py_ssize_t data_length(PyObject *self)
{
    return ((struct data *)self)->length;
}

static PyObject *data_item(PyObject *self, Py_ssize_t index)
{
    struct data *data = (struct data *)self;
    if (index < 0 || index >= data->length) {
        PyErr_SetString(PyExc_IndexError, "index out of range");
        return NULL;
    }
    if (data->kind == FFI_CHAR)
        return PyBytes_FromStringAndSize(data->memory + index, 1);
    if (data->kind == FFI_INT)
        return PyLong_FromLong(((int *)data->memory)[index]);
    PyErr_SetString(PyExc_TypeError, "a structure has fields, not items");
    return NULL;
}

static int data_buffer(PyObject *self, Py_buffer *view, int flags)
{
    struct data *data = (struct data *)self;
    return PyBuffer_FillInfo(view, self, data->memory, data->length * (Py_ssize_t)item_size(data), 0, flags);
}

static const struct ffi_field *find_field(const struct data *data, PyObject *name)
{
    for (size_t i = 0; data->kind == FFI_STRUCT && i < data->layout->field_count; i++)
        if (PyUnicode_CompareWithASCIIString(name, data->layout->fields[i].name) == 0)
            return &data->layout->fields[i];
    PyErr_SetObject(PyExc_AttributeError, name);
    return NULL;
}

static PyObject *data_get(PyObject *self, PyObject *name)
{
    struct data *data = (struct data *)self;
    const struct ffi_field *field = find_field(data, name);
    if (field == NULL)
        return NULL;
    const char *place = data->memory + field->offset;
    if (field->kind == FFI_INT)
        return PyLong_FromLong(*(const int *)place);
    if (field->kind == FFI_U64)
        return PyLong_FromUnsignedLongLong(*(const uint64_t *)place);
    PyErr_SetString(PyExc_TypeError, "a pointer can't be read");
    return NULL;
}

static int data_set(PyObject *self, PyObject *name, PyObject *value)
{
    struct data *data = (struct data *)self;
    const struct ffi_field *field = find_field(data, name);
    if (field == NULL || value == NULL)
        return -1;
    char *place = data->memory + field->offset;
    if (field->kind == FFI_INT)
        *(int *)place = (int)ffi_signed(value, INT_MIN, INT_MAX);
    else if (field->kind == FFI_U64)
        *(uint64_t *)place = ffi_unsigned(value, UINT64_MAX);
    else if (PyObject_TypeCheck(value, &data_type)) /* the caller keeps it alive, as with cffi */
        *(void **)place = ((struct data *)value)->memory;
    else
        PyErr_SetString(PyExc_TypeError, "a pointer is set to what ffi.new gives");
    return PyErr_Occurred() ? -1 : 0;
}

static PySequenceMethods data_as_sequence = {.sq_length = data_length, .sq_item = data_item};
static PyBufferProcs data_as_buffer = {.bf_getbuffer = data_buffer};
static PyTypeObject data_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "pyrunc._core.data",
    .tp_basicsize = sizeof(struct data),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = data_dealloc,
    .tp_as_sequence = &data_as_sequence,
    .tp_as_buffer = &data_as_buffer,
    .tp_getattro = data_get,
    .tp_setattro = data_set,
};

/* ---- arguments of C functions ------------------------------------------------------------------------------ */

void ffi_release(struct ffi_address *address)
{
    PyMem_Free(address->allocated);
}

int ffi_counts(Py_ssize_t given, Py_ssize_t wanted)
{
    if (given != wanted)
        PyErr_Format(PyExc_TypeError, "%zd arguments, not %zd", wanted, given);
    return given == wanted;
}

int64_t ffi_signed(PyObject *value, int64_t least, int64_t greatest)
{
    long long number = PyLong_AsLongLong(value);
    if (number == -1 && PyErr_Occurred())
        return -1;
    if (number < least || number > greatest)
        PyErr_Format(PyExc_OverflowError, "%lld does not fit", number);
    return number;
}

uint64_t ffi_unsigned(PyObject *value, uint64_t greatest)
{
    unsigned long long number = PyLong_AsUnsignedLongLong(value);
    if (number == (unsigned long long)-1 && PyErr_Occurred())
        return number;
    if (number > greatest)
        PyErr_Format(PyExc_OverflowError, "%llu does not fit", number);
    return number;
}

struct ffi_address ffi_text(PyObject *value)
{
    if (PyBytes_Check(value))
        return (struct ffi_address){.address = PyBytes_AS_STRING(value)};
    if (PyObject_TypeCheck(value, &data_type) && ((struct data *)value)->kind == FFI_CHAR)
        return (struct ffi_address){.address = ((struct data *)value)->memory};
    PyErr_Format(PyExc_TypeError, "bytes or char[], not %s", Py_TYPE(value)->tp_name);
    return (struct ffi_address){0};
}

/* Read numbers from a list or a tuple. Returns false with an exception set if an item is not a number. */
static int fill_numbers(int *target, PyObject *numbers)
{
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(numbers); i++)
        target[i] = (int)ffi_signed(PySequence_Fast_GET_ITEM(numbers, i), INT_MIN, INT_MAX);
    return !PyErr_Occurred();
}

struct ffi_address ffi_numbers(PyObject *value)
{
    if (PyObject_TypeCheck(value, &data_type) && ((struct data *)value)->kind == FFI_INT)
        return (struct ffi_address){.address = ((struct data *)value)->memory};
    if (!PyList_Check(value) && !PyTuple_Check(value)) {
        PyErr_Format(PyExc_TypeError, "int[], a list or a tuple, not %s", Py_TYPE(value)->tp_name);
        return (struct ffi_address){0};
    }
    int *numbers = PyMem_Calloc((size_t)PySequence_Fast_GET_SIZE(value) + 1, sizeof *numbers);
    if (numbers == NULL)
        PyErr_NoMemory();
    else
        fill_numbers(numbers, value);
    return (struct ffi_address){.address = numbers, .allocated = numbers};
}

struct ffi_address ffi_structure(PyObject *value, const char *name)
{
    struct data *data = (struct data *)value;
    if (PyObject_TypeCheck(value, &data_type) && data->kind == FFI_STRUCT && strcmp(data->layout->name, name) == 0)
        return (struct ffi_address){.address = data->memory};
    PyErr_Format(PyExc_TypeError, "%s *, not %s", name, Py_TYPE(value)->tp_name);
    return (struct ffi_address){0};
}

/* ---- ffi.* ------------------------------------------------------------------------------------------------- */

/* Split "int[2]", "char[]", "struct x *" into kind, layout and length (-1: the initializer says). */
static int read_type(const char *text, enum ffi_kind *kind, const struct ffi_struct **layout, Py_ssize_t *length)
{
    size_t word = strcspn(text, "[*");
    const char *rest = text + word;
    while (word > 0 && text[word - 1] == ' ')
        word--;
    *layout = NULL;
    if (word == 3 && memcmp(text, "int", 3) == 0)
        *kind = FFI_INT;
    else if (word == 4 && memcmp(text, "char", 4) == 0)
        *kind = FFI_CHAR;
    else {
        *kind = FFI_STRUCT;
        for (size_t i = 0; i < ffi_struct_count && *layout == NULL; i++)
            if (strlen(ffi_structs[i].name) == word && memcmp(text, ffi_structs[i].name, word) == 0)
                *layout = &ffi_structs[i];
    }
    *length = strcmp(rest, "*") == 0 ? 1 : strcmp(rest, "[]") == 0 ? -1 : rest[0] == '[' ? atol(rest + 1) : 0;
    if (*length != 0 && (*kind != FFI_STRUCT || *layout != NULL))
        return 1;
    PyErr_Format(PyExc_TypeError, "unknown type %s", text);
    return 0;
}

/* new(type, initializer=None): the initializer is a length, bytes (a NUL is added), or a list or tuple of numbers. */
static PyObject *ffi_new(PyObject *self, PyObject *args)
{
    (void)self;
    const char *type;
    PyObject *start = Py_None;
    enum ffi_kind kind;
    const struct ffi_struct *layout;
    Py_ssize_t length;
    if (!PyArg_ParseTuple(args, "s|O", &type, &start) || !read_type(type, &kind, &layout, &length))
        return NULL;
    int is_list = PyList_Check(start) || PyTuple_Check(start);
    if (length > 0 && start == Py_None)
        return (PyObject *)allocate(kind, layout, length);
    if (length < 0 && PyLong_Check(start))
        length = PyLong_AsSsize_t(start);
    else if (length < 0 && kind == FFI_CHAR && PyBytes_Check(start))
        length = PyBytes_GET_SIZE(start) + 1;
    else if (length < 0 && kind == FFI_INT && is_list)
        length = PySequence_Fast_GET_SIZE(start);
    else
        PyErr_SetString(PyExc_TypeError, "not an initializer of this type");
    if (length < 0 && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "negative length");
    struct data *data = PyErr_Occurred() ? NULL : allocate(kind, layout, length);
    if (data != NULL && PyBytes_Check(start))
        memcpy(data->memory, PyBytes_AS_STRING(start), (size_t)length);
    else if (data != NULL && is_list && !fill_numbers((int *)data->memory, start))
        Py_CLEAR(data);
    return (PyObject *)data;
}

/* buffer(data, size=-1): a view of its first bytes. */
static PyObject *ffi_buffer(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *data;
    Py_ssize_t size = PY_SSIZE_T_MAX;
    if (!PyArg_ParseTuple(args, "O!|n", &data_type, &data, &size))
        return NULL;
    PyObject *view = PyMemoryView_FromObject(data);
    if (view != NULL)
        Py_SETREF(view, PySequence_GetSlice(view, 0, size));
    return view;
}

/* from_buffer(object, require_writable=False): the object's own memory as char[]. */
static PyObject *ffi_from_buffer(PyObject *self, PyObject *args, PyObject *keywords)
{
    (void)self;
    static char *names[] = {"", "require_writable", NULL};
    PyObject *object;
    int writable = 0;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|p", names, &object, &writable))
        return NULL;
    Py_buffer held;
    if (PyObject_GetBuffer(object, &held, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0)
        return NULL;
    struct data *data = PyObject_New(struct data, &data_type);
    if (data == NULL) {
        PyBuffer_Release(&held);
        return NULL;
    }
    data->kind = FFI_CHAR;
    data->layout = NULL;
    data->length = held.len;
    data->memory = held.buf;
    data->held = held;
    return (PyObject *)data;
}

/* cast("uintptr_t", data): its address. */
static PyObject *ffi_cast(PyObject *self, PyObject *args)
{
    (void)self;
    const char *type;
    struct data *data;
    if (!PyArg_ParseTuple(args, "sO!", &type, &data_type, &data))
        return NULL;
    if (strcmp(type, "uintptr_t") != 0) {
        PyErr_Format(PyExc_TypeError, "can't cast to %s", type);
        return NULL;
    }
    return PyLong_FromVoidPtr(data->memory);
}

static PyMethodDef ffi_methods[] = {
    {"new", ffi_new, METH_VARARGS, NULL},
    {"buffer", ffi_buffer, METH_VARARGS, NULL},
    {"from_buffer", (PyCFunction)(void (*)(void))ffi_from_buffer, METH_VARARGS | METH_KEYWORDS, NULL},
    {"cast", ffi_cast, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyObject *PyInit__core(void)
{
    static struct PyModuleDef core = {PyModuleDef_HEAD_INIT, .m_name = "pyrunc._core", .m_size = -1};
    static struct PyModuleDef ffi = {PyModuleDef_HEAD_INIT, .m_name = "ffi", .m_size = -1, .m_methods = ffi_methods};
    static struct PyModuleDef lib = {PyModuleDef_HEAD_INIT, .m_name = "lib", .m_size = -1, .m_methods = ffi_functions};
    PyObject *module = PyType_Ready(&data_type) < 0 ? NULL : PyModule_Create(&core);
    if (module == NULL)
        return NULL;
    PyObject *parts[] = {PyModule_Create(&ffi), PyModule_Create(&lib)};
    int failed =
        PyModule_AddObjectRef(module, "ffi", parts[0]) < 0 || PyModule_AddObjectRef(module, "lib", parts[1]) < 0;
    Py_XDECREF(parts[0]);
    Py_XDECREF(parts[1]);
    if (failed)
        Py_CLEAR(module);
    return module;
}
