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
    Py_UCS1 *narrow; /* the characters as long as each fits into one byte, as in nearly every text, */
    Py_UCS4 *wide;   /* and then all of them here */
    Py_ssize_t length, room;
};

static void text_release(struct text *text)
{
    PyMem_Free(text->narrow);
    PyMem_Free(text->wide);
}
#define TEXT __attribute__((cleanup(text_release))) struct text

static bool text_grow(struct text *text, Py_ssize_t more)
{
    Py_ssize_t room = 2 * text->room + more + 64;
    bool wide = text->wide != NULL;
    void *grown =
        wide ? PyMem_Realloc(text->wide, (size_t)room * sizeof *text->wide) : PyMem_Realloc(text->narrow, (size_t)room);
    if (grown == NULL) {
        PyErr_NoMemory();
        return false;
    }
    if (wide)
        text->wide = grown;
    else
        text->narrow = grown;
    text->room = room;
    return true;
}

static inline bool text_reserve(struct text *text, Py_ssize_t more)
{
    return text->room - text->length >= more || text_grow(text, more);
}

/* The first character that needs more than a byte. */
static bool text_widen(struct text *text)
{
    text->room = text->length + 64;
    text->wide = PyMem_Malloc((size_t)text->room * sizeof *text->wide);
    if (text->wide == NULL) {
        PyErr_NoMemory();
        return false;
    }
    for (Py_ssize_t i = 0; i < text->length; i++)
        text->wide[i] = text->narrow[i];
    return true;
}

static bool text_add(struct text *text, Py_UCS4 character)
{
    if (character > UINT8_MAX && text->wide == NULL && !text_widen(text))
        return false;
    if (!text_reserve(text, 1))
        return false;
    if (text->wide != NULL)
        text->wide[text->length++] = character;
    else
        text->narrow[text->length++] = (Py_UCS1)character;
    return true;
}

static bool text_add_ascii(struct text *text, const char *words)
{
    for (; *words != '\0'; words++)
        if (!text_add(text, (unsigned char)*words))
            return false;
    return true;
}

/* Some characters of a Python string of this kind. */
static bool text_add_part(struct text *text, int kind, const void *data, Py_ssize_t start, Py_ssize_t end)
{
    if (kind == PyUnicode_1BYTE_KIND && text->wide == NULL) {
        if (start == end)
            return true;
        if (!text_reserve(text, end - start))
            return false;
        memcpy(text->narrow + text->length, (const Py_UCS1 *)data + start, (size_t)(end - start));
        text->length += end - start;
        return true;
    }
    for (; start < end; start++)
        if (!text_add(text, PyUnicode_READ(kind, data, start)))
            return false;
    return true;
}

static bool text_add_string(struct text *text, PyObject *string)
{
    return text_add_part(text, PyUnicode_KIND(string), PyUnicode_DATA(string), 0, PyUnicode_GET_LENGTH(string));
}

static PyObject *text_string(const struct text *text)
{
    return text->wide != NULL ? PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, text->wide, text->length)
                              : PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, text->narrow, text->length);
}

/* Whether a character stands for itself in a string of JSON: no quote, no backslash, no control character. */
static inline bool is_plain(Py_UCS4 c)
{
    return c > 0x1f && c != '"' && c != '\\';
}

/* ---- the scanner ------------------------------------------------------------------------------------------- */

struct scan {
    int kind;
    const void *data;
    const Py_UCS1 *bytes; /* the same data where a character has one byte, as in nearly every document; else NULL */
    Py_ssize_t length, at;
    PyObject *string;         /* the whole document */
    PyObject *parse_constant; /* called for NaN, Infinity and -Infinity */
};

static const Py_UCS4 END = UINT32_MAX; /* what `peek` returns behind the last character */

static inline Py_UCS4 peek(const struct scan *scan)
{
    if (scan->at >= scan->length)
        return END;
    return scan->bytes != NULL ? scan->bytes[scan->at] : PyUnicode_READ(scan->kind, scan->data, scan->at);
}

static inline void skip_space(struct scan *scan)
{
    for (Py_UCS4 c = peek(scan); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = peek(scan))
        scan->at++;
}

/* Go on to the character that ends a string's plain part, or to the end. */
static void skip_plain(struct scan *scan)
{
    if (scan->bytes != NULL) {
        const Py_UCS1 *at = scan->bytes + scan->at;
        while (is_plain(*at)) /* a NUL is behind the last character */
            at++;
        scan->at = at - scan->bytes;
        return;
    }
    for (Py_UCS4 c = peek(scan); c != END && is_plain(c); c = peek(scan))
        scan->at++;
}

/* The text is not JSON here. */
static PyObject *refuse(void)
{
    PyErr_SetNone(PyExc_ValueError);
    return NULL;
}

/* Consume a character if it is the next one. */
static inline bool take_one(struct scan *scan, char character)
{
    bool there = peek(scan) == (unsigned char)character;
    scan->at += there;
    return there;
}

/* Consume a word if the text has it here. */
static bool take(struct scan *scan, const char *word)
{
    Py_ssize_t at = scan->at;
    for (; *word != '\0'; word++)
        if (!take_one(scan, *word)) {
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
        if (!text_add_part(&text, scan->kind, scan->data, plain, scan->at))
            return NULL;
        scan->at++;
        if (c == '"')
            return text_string(&text);
        if (peek(scan) == END)
            return refuse();
        Py_UCS4 escaped = scan_escape(scan);
        if (escaped == END || !text_add(&text, escaped))
            return NULL;
        plain = scan->at;
    }
}

/* ---- the names of members ---- */

enum { NAMES = 512, LONGEST_NAME = 32 };

/* Names that documents have had, by a hash. They are the interned objects that the code compares them with, so a name
 * needs no object of its own, and looking it up no comparison of text. A name that finds another one in its place is
 * left out, and so is every later one: the table keeps at most NAMES strings alive. The snapshot has those of the
 * configurations that specialise.py decodes. */
static PyObject *names[NAMES];

static PyObject *name_of(struct scan *scan, Py_ssize_t start, uint32_t hash)
{
    Py_ssize_t length = scan->at - start;
    PyObject **place = &names[(hash ^ hash >> 9) % NAMES], *name = *place;
    if (name != NULL && PyUnicode_GET_LENGTH(name) == length &&
        memcmp(PyUnicode_1BYTE_DATA(name), scan->bytes + start, (size_t)length) == 0)
        return Py_NewRef(name);
    PyObject *made = PyUnicode_Substring(scan->string, start, scan->at);
    if (made != NULL && name == NULL && PyUnicode_IS_ASCII(made)) {
        PyUnicode_InternInPlace(&made);
        *place = Py_NewRef(made);
    }
    return made;
}

/* The name of a member; `at` is behind its opening quote. */
static PyObject *scan_name(struct scan *scan)
{
    if (scan->bytes == NULL)
        return scan_string(scan);
    const Py_UCS1 *first = scan->bytes + scan->at, *at = first;
    uint32_t hash = 0;
    for (; is_plain(*at) && at - first < LONGEST_NAME; at++)
        hash = hash * 31 + *at;
    if (*at != '"')
        return scan_string(scan);
    Py_ssize_t start = scan->at;
    scan->at += at - first;
    PyObject *name = name_of(scan, start, hash);
    scan->at++;
    return name;
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
    take_one(scan, '-');
    if (!take_one(scan, '0') && skip_digits(scan) == 0)
        return NULL;
    bool whole = true;
    Py_ssize_t end = scan->at;
    if (take_one(scan, '.') && skip_digits(scan) > 0) {
        whole = false;
        end = scan->at;
    }
    scan->at = end;
    if ((take_one(scan, 'e') || take_one(scan, 'E')) && (take_one(scan, '+') || take_one(scan, '-') || true) &&
        skip_digits(scan) > 0) {
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
    if (number != NULL && !whole && !Py_IS_FINITE(PyFloat_AS_DOUBLE(number))) { /* 1e999 */
        Py_DECREF(number);
        return refuse();
    }
    return number;
}

static PyObject *scan_value(struct scan *scan);

/* The members of an object; `at` is behind the brace. */
static PyObject *scan_object(struct scan *scan)
{
    PyObject *object = PyDict_New();
    skip_space(scan);
    if (object == NULL || take_one(scan, '}'))
        return object;
    for (;;) {
        PyObject *key = NULL, *value = NULL;
        if (!take_one(scan, '"'))
            refuse();
        else
            key = scan_name(scan);
        if (key != NULL) {
            skip_space(scan);
            if (!take_one(scan, ':'))
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
        if (take_one(scan, '}'))
            return object;
        if (!take_one(scan, ',')) {
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
    if (array == NULL || take_one(scan, ']'))
        return array;
    for (;;) {
        PyObject *value = scan_value(scan);
        int stored = value == NULL ? -1 : PyList_Append(array, value);
        Py_XDECREF(value);
        if (stored < 0)
            break;
        skip_space(scan);
        if (take_one(scan, ']'))
            return array;
        if (!take_one(scan, ',')) {
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
    scan.bytes = scan.kind == PyUnicode_1BYTE_KIND ? scan.data : NULL;
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

/* A character that does not stand for itself. */
static bool encode_special(struct text *text, Py_UCS4 c)
{
    static const char characters[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *special = c > 0 ? strchr(characters, (int)c) : NULL;
    if (special != NULL)
        return text_add(text, '\\') && text_add(text, (unsigned char)letters[special - characters]);
    char escape[8];
    PyOS_snprintf(escape, sizeof escape, "\\u%04x", (unsigned int)c);
    return text_add_ascii(text, escape);
}

static bool encode_text(struct text *text, PyObject *string)
{
    int kind = PyUnicode_KIND(string);
    const void *data = PyUnicode_DATA(string);
    Py_ssize_t length = PyUnicode_GET_LENGTH(string), at = 0;
    if (!text_add(text, '"'))
        return false;
    for (;;) {
        Py_ssize_t plain = at;
        while (at < length && is_plain(PyUnicode_READ(kind, data, at)))
            at++;
        if (!text_add_part(text, kind, data, plain, at))
            return false;
        if (at == length)
            return text_add(text, '"');
        if (!encode_special(text, PyUnicode_READ(kind, data, at++)))
            return false;
    }
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
