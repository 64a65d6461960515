/* _json for the launcher: the scanner and the encoder that pyrunc/jsonio.py and pyrunc/log.py use from CPython's
 * module of that name. No libpython holds that module: it is a shared object, which a static program can't load.
 *
 * The text is checked as json.loads checks it. For a text that is not JSON, the scanner raises a ValueError without a
 * message: pyrunc/jsontext.py finds the message, which depends neither on the build nor on the version of Python.
 */
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

/* ---- text that grows --------------------------------------------------------------------------------------- */

struct text {
    Py_UCS4 *characters;
    Py_ssize_t length, room;
};

static void text_release(struct text *text)
{
    PyMem_Free(text->characters);
}
#define TEXT __attribute__((cleanup(text_release))) struct text

static bool text_reserve(struct text *text, Py_ssize_t more)
{
    if (text->room - text->length >= more)
        return true;
    Py_ssize_t room = 2 * text->room + more + 64;
    Py_UCS4 *grown = PyMem_Realloc(text->characters, (size_t)room * sizeof *grown);
    if (grown == NULL) {
        PyErr_NoMemory();
        return false;
    }
    text->characters = grown;
    text->room = room;
    return true;
}

static bool text_add(struct text *text, Py_UCS4 character)
{
    if (!text_reserve(text, 1))
        return false;
    text->characters[text->length++] = character;
    return true;
}

static bool text_add_ascii(struct text *text, const char *words)
{
    for (; *words != '\0'; words++)
        if (!text_add(text, (unsigned char)*words))
            return false;
    return true;
}

static bool text_add_string(struct text *text, PyObject *string)
{
    Py_ssize_t length = PyUnicode_GET_LENGTH(string);
    if (!text_reserve(text, length + 1))
        return false;
    if (PyUnicode_AsUCS4(string, text->characters + text->length, length, 0) == NULL)
        return false;
    text->length += length;
    return true;
}

static PyObject *text_string(const struct text *text)
{
    return PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, text->characters, text->length);
}

/* ---- the scanner ------------------------------------------------------------------------------------------- */

struct scan {
    int kind;
    const void *data;
    Py_ssize_t length, at;
    PyObject *string;         /* the whole document */
    PyObject *parse_constant; /* called for NaN, Infinity and -Infinity */
};

static const Py_UCS4 END = UINT32_MAX; /* what `peek` returns behind the last character */

static Py_UCS4 peek(const struct scan *scan)
{
    return scan->at < scan->length ? PyUnicode_READ(scan->kind, scan->data, scan->at) : END;
}

static void skip_space(struct scan *scan)
{
    for (Py_UCS4 c = peek(scan); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = peek(scan))
        scan->at++;
}

/* Go on to the character that ends a string's plain part: a quote, a backslash, a control character, or the end. */
static void skip_plain(struct scan *scan)
{
    if (scan->kind == PyUnicode_1BYTE_KIND) { /* true of nearly every document */
        const Py_UCS1 *data = scan->data, *at = data + scan->at, *end = data + scan->length;
        while (at < end && *at != '"' && *at != '\\' && *at > 0x1f)
            at++;
        scan->at = at - data;
        return;
    }
    for (Py_UCS4 c = peek(scan); c != END && c != '"' && c != '\\' && c > 0x1f; c = peek(scan))
        scan->at++;
}

/* The text is not JSON here. */
static PyObject *refuse(void)
{
    PyErr_SetNone(PyExc_ValueError);
    return NULL;
}

/* Consume a word if the text has it here. */
static bool take(struct scan *scan, const char *word)
{
    Py_ssize_t at = scan->at;
    for (; *word != '\0'; word++, scan->at++)
        if (peek(scan) != (unsigned char)*word) {
            scan->at = at;
            return false;
        }
    return true;
}

/* The four digits of \uXXXX; END if they are not four digits, or if the text ends behind them. */
static Py_UCS4 scan_hex(struct scan *scan)
{
    Py_UCS4 value = 0;
    if (scan->at + 4 >= scan->length)
        return END;
    for (int i = 0; i < 4; i++, scan->at++) {
        Py_UCS4 c = peek(scan);
        int digit = c < 128 && Py_ISXDIGIT(c) ? (c <= '9' ? (int)c - '0' : (int)(c | 0x20) - 'a' + 10) : -1;
        if (digit < 0)
            return END;
        value = value << 4 | (Py_UCS4)digit;
    }
    return value;
}

/* The character that an escape stands for; `at` is behind the backslash. A pair of surrogates is one character. */
static Py_UCS4 scan_escape(struct scan *scan)
{
    static const char names[] = "\"\\/bfnrt", characters[] = "\"\\/\b\f\n\r\t";
    Py_UCS4 c = peek(scan);
    scan->at++;
    const char *name = c < 128 && c > 0 ? strchr(names, (int)c) : NULL;
    if (name != NULL)
        return (unsigned char)characters[name - names];
    if (c != 'u') {
        refuse();
        return END;
    }
    Py_UCS4 value = scan_hex(scan);
    if (value == END) {
        refuse();
        return END;
    }
    Py_ssize_t behind = scan->at;
    if (Py_UNICODE_IS_HIGH_SURROGATE(value) && behind + 6 < scan->length && take(scan, "\\u")) {
        Py_UCS4 low = scan_hex(scan);
        if (low == END) {
            refuse();
            return END;
        }
        if (Py_UNICODE_IS_LOW_SURROGATE(low))
            return Py_UNICODE_JOIN_SURROGATES(value, low);
        scan->at = behind; /* the escape of another character */
    }
    return value;
}

/* A string; `at` is behind its opening quote. */
static PyObject *scan_string(struct scan *scan)
{
    TEXT text = {0};
    Py_ssize_t quote = scan->at - 1, plain = scan->at; /* where the part without escapes starts */
    for (;;) {
        skip_plain(scan);
        Py_UCS4 c = peek(scan);
        if (c == END)
            return refuse();
        if (c <= 0x1f)
            return refuse();
        if (c == '"' && plain == quote + 1)
            return PyUnicode_Substring(scan->string, plain, scan->at++);
        if (!text_reserve(&text, scan->at - plain + 1))
            return NULL;
        while (plain < scan->at)
            text.characters[text.length++] = PyUnicode_READ(scan->kind, scan->data, plain++);
        scan->at++;
        if (c == '"')
            return text_string(&text);
        if (peek(scan) == END)
            return refuse();
        Py_UCS4 escaped = scan_escape(scan);
        if (escaped == END)
            return NULL;
        text.characters[text.length++] = escaped; /* there is room: see above */
        plain = scan->at;
    }
}

static Py_ssize_t skip_digits(struct scan *scan)
{
    Py_ssize_t start = scan->at;
    while (peek(scan) >= '0' && peek(scan) <= '9')
        scan->at++;
    return scan->at - start;
}

enum { SHORT = 18 }; /* an integer of so many characters fits into 64 bits */

/* A number; NULL without an exception if the text has none here. */
static PyObject *scan_number(struct scan *scan)
{
    Py_ssize_t start = scan->at;
    take(scan, "-");
    if (!take(scan, "0") && skip_digits(scan) == 0)
        return NULL;
    bool whole = true;
    Py_ssize_t end = scan->at;
    if (take(scan, ".") && skip_digits(scan) > 0) {
        whole = false;
        end = scan->at;
    }
    scan->at = end;
    if ((take(scan, "e") || take(scan, "E")) && (take(scan, "+") || take(scan, "-") || true) && skip_digits(scan) > 0) {
        whole = false;
        end = scan->at;
    }
    scan->at = end;
    if (whole && end - start <= SHORT) {
        long long value = 0;
        bool negative = PyUnicode_READ(scan->kind, scan->data, start) == '-';
        for (Py_ssize_t at = start + negative; at < end; at++)
            value = value * 10 + (PyUnicode_READ(scan->kind, scan->data, at) - '0');
        return PyLong_FromLongLong(negative ? -value : value);
    }
    PyObject *word = PyUnicode_Substring(scan->string, start, end);
    if (word == NULL)
        return NULL;
    PyObject *number = whole ? PyLong_FromUnicodeObject(word, 10) : PyFloat_FromString(word);
    Py_DECREF(word);
    return number;
}

static PyObject *scan_value(struct scan *scan);

/* The members of an object; `at` is behind the brace. */
static PyObject *scan_object(struct scan *scan)
{
    PyObject *object = PyDict_New();
    skip_space(scan);
    if (object == NULL || take(scan, "}"))
        return object;
    for (;;) {
        PyObject *key = NULL, *value = NULL;
        if (!take(scan, "\""))
            refuse();
        else
            key = scan_string(scan);
        if (key != NULL) {
            skip_space(scan);
            if (!take(scan, ":"))
                refuse();
            else {
                skip_space(scan);
                value = scan_value(scan);
            }
        }
        int stored = value == NULL ? -1 : PyDict_SetItem(object, key, value);
        Py_XDECREF(key);
        Py_XDECREF(value);
        if (stored < 0)
            break;
        skip_space(scan);
        if (take(scan, "}"))
            return object;
        if (!take(scan, ",")) {
            refuse();
            break;
        }
        skip_space(scan);
    }
    Py_DECREF(object);
    return NULL;
}

/* The items of an array; `at` is behind the bracket. */
static PyObject *scan_array(struct scan *scan)
{
    PyObject *array = PyList_New(0);
    skip_space(scan);
    if (array == NULL || take(scan, "]"))
        return array;
    for (;;) {
        PyObject *value = scan_value(scan);
        int stored = value == NULL ? -1 : PyList_Append(array, value);
        Py_XDECREF(value);
        if (stored < 0)
            break;
        skip_space(scan);
        if (take(scan, "]"))
            return array;
        if (!take(scan, ",")) {
            refuse();
            break;
        }
        skip_space(scan);
    }
    Py_DECREF(array);
    return NULL;
}

static PyObject *scan_nested(struct scan *scan, PyObject *(*inner)(struct scan *))
{
    scan->at++;
    if (Py_EnterRecursiveCall(" while decoding JSON"))
        return NULL;
    PyObject *value = inner(scan);
    Py_LeaveRecursiveCall();
    return value;
}

static PyObject *scan_value(struct scan *scan)
{
    static const char *constants[] = {"NaN", "Infinity", "-Infinity"};
    Py_UCS4 first = peek(scan);
    if (first >= '0' && first <= '9')
        return scan_number(scan);
    switch (first) {
    case '"': scan->at++; return scan_string(scan);
    case '{': return scan_nested(scan, scan_object);
    case '[': return scan_nested(scan, scan_array);
    default: break;
    }
    if (take(scan, "null"))
        return Py_NewRef(Py_None);
    if (take(scan, "true"))
        return Py_NewRef(Py_True);
    if (take(scan, "false"))
        return Py_NewRef(Py_False);
    for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++)
        if (take(scan, constants[i]))
            return PyObject_CallFunction(scan->parse_constant, "s", constants[i]);
    PyObject *number = scan_number(scan);
    return number != NULL || PyErr_Occurred() ? number : refuse();
}

/* scan(text, start): the value that begins at `start`, and where it ends. */
static PyObject *scan_once(PyObject *parse_constant, PyObject *args)
{
    struct scan scan = {.parse_constant = parse_constant};
    if (!PyArg_ParseTuple(args, "Un", &scan.string, &scan.at))
        return NULL;
    scan.kind = PyUnicode_KIND(scan.string);
    scan.data = PyUnicode_DATA(scan.string);
    scan.length = PyUnicode_GET_LENGTH(scan.string);
    if (scan.at < 0) {
        PyErr_SetString(PyExc_ValueError, "start must not be negative");
        return NULL;
    }
    PyObject *value = scan_value(&scan);
    return value == NULL ? NULL : Py_BuildValue("(Nn)", value, scan.at);
}

/* make_scanner(context): uses only the context's parse_constant; the other settings are fixed to those of jsonio.py. */
static PyObject *make_scanner(PyObject *self, PyObject *context)
{
    (void)self;
    static PyMethodDef method = {"scan", scan_once, METH_VARARGS, NULL};
    PyObject *parse_constant = PyObject_GetAttrString(context, "parse_constant");
    PyObject *scanner = parse_constant == NULL ? NULL : PyCFunction_New(&method, parse_constant);
    Py_XDECREF(parse_constant);
    return scanner;
}

/* ---- the encoder ------------------------------------------------------------------------------------------- */

struct encode {
    struct text text;
    PyObject *refuse; /* called for a value that JSON can't express; it raises */
};

static bool encode_text(struct text *text, PyObject *string)
{
    static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    if (!text_add(text, '"'))
        return false;
    for (Py_ssize_t i = 0; i < PyUnicode_GET_LENGTH(string); i++) {
        Py_UCS4 c = PyUnicode_READ_CHAR(string, i);
        const char *special = c < 128 && c > 0 ? strchr(plain, (int)c) : NULL;
        if (special != NULL) {
            if (!text_add(text, '\\') || !text_add(text, (unsigned char)letters[special - plain]))
                return false;
        } else if (c <= 0x1f) {
            char escape[8];
            PyOS_snprintf(escape, sizeof escape, "\\u%04x", (unsigned int)c);
            if (!text_add_ascii(text, escape))
                return false;
        } else if (!text_add(text, c))
            return false;
    }
    return text_add(text, '"');
}

static bool encode_value(struct encode *encode, PyObject *value);

static bool encode_items(struct encode *encode, PyObject *items)
{
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items); i++)
        if (!text_add(&encode->text, i == 0 ? '[' : ',') || !encode_value(encode, PySequence_Fast_GET_ITEM(items, i)))
            return false;
    return text_add_ascii(&encode->text, PySequence_Fast_GET_SIZE(items) == 0 ? "[]" : "]");
}

static bool encode_members(struct encode *encode, PyObject *object)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    bool first = true;
    while (PyDict_Next(object, &position, &key, &value)) {
        if (!PyUnicode_Check(key)) {
            PyErr_Format(PyExc_TypeError, "keys must be str, not %s", Py_TYPE(key)->tp_name);
            return false;
        }
        if (!text_add(&encode->text, first ? '{' : ',') || !encode_text(&encode->text, key) ||
            !text_add(&encode->text, ':') || !encode_value(encode, value))
            return false;
        first = false;
    }
    return text_add_ascii(&encode->text, first ? "{}" : "}");
}

static bool encode_number(struct encode *encode, PyObject *number)
{
    if (PyFloat_Check(number) && !Py_IS_FINITE(PyFloat_AS_DOUBLE(number))) {
        PyErr_SetString(PyExc_ValueError, "Out of range float values are not JSON compliant");
        return false;
    }
    PyTypeObject *type = PyFloat_Check(number) ? &PyFloat_Type : &PyLong_Type;
    PyObject *word = type->tp_repr(number);
    bool done = word != NULL && text_add_string(&encode->text, word);
    Py_XDECREF(word);
    return done;
}

static bool encode_value(struct encode *encode, PyObject *value)
{
    if (value == Py_None)
        return text_add_ascii(&encode->text, "null");
    if (PyBool_Check(value))
        return text_add_ascii(&encode->text, value == Py_True ? "true" : "false");
    if (PyUnicode_Check(value))
        return encode_text(&encode->text, value);
    if (PyLong_Check(value) || PyFloat_Check(value))
        return encode_number(encode, value);
    if (PyDict_Check(value) || PyList_Check(value) || PyTuple_Check(value)) {
        if (Py_EnterRecursiveCall(" while encoding JSON"))
            return false;
        bool done = PyDict_Check(value) ? encode_members(encode, value) : encode_items(encode, value);
        Py_LeaveRecursiveCall();
        return done;
    }
    Py_XDECREF(PyObject_CallOneArg(encode->refuse, value));
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "the value has no form in JSON");
    return false;
}

/* encode(value, level): the parts of the text; here always one. */
static PyObject *encode_once(PyObject *refuse_value, PyObject *args)
{
    PyObject *value;
    int level;
    if (!PyArg_ParseTuple(args, "Oi", &value, &level))
        return NULL;
    struct encode encode = {.refuse = refuse_value};
    PyObject *string = encode_value(&encode, value) ? text_string(&encode.text) : NULL;
    text_release(&encode.text);
    return string == NULL ? NULL : Py_BuildValue("(N)", string);
}

/* make_encoder(markers, default, …): uses only `default`; the other settings are fixed to those of jsonio.py. */
static PyObject *make_encoder(PyObject *self, PyObject *args)
{
    (void)self;
    static PyMethodDef method = {"encode", encode_once, METH_VARARGS, NULL};
    if (PyTuple_GET_SIZE(args) < 2) {
        PyErr_SetString(PyExc_TypeError, "make_encoder takes the markers, the default and settings");
        return NULL;
    }
    return PyCFunction_New(&method, PyTuple_GET_ITEM(args, 1));
}

/* encode_basestring(text): the JSON string for a text, not escaped to ASCII. */
static PyObject *encode_basestring(PyObject *self, PyObject *string)
{
    (void)self;
    if (!PyUnicode_Check(string)) {
        PyErr_Format(PyExc_TypeError, "first argument must be a string, not %s", Py_TYPE(string)->tp_name);
        return NULL;
    }
    TEXT text = {0};
    return encode_text(&text, string) ? text_string(&text) : NULL;
}

PyObject *PyInit__json(void);

PyObject *PyInit__json(void)
{
    static PyMethodDef methods[] = {
        {"make_scanner", make_scanner, METH_O, NULL},
        {"make_encoder", make_encoder, METH_VARARGS, NULL},
        {"encode_basestring", encode_basestring, METH_O, NULL},
        {NULL, NULL, 0, NULL},
    };
    static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_json", .m_size = -1, .m_methods = methods};
    return PyModule_Create(&module);
}
