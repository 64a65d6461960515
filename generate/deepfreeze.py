"""Write code objects as C data, so that the launcher has nothing to unmarshal: for CPython 3.11's layout of objects.

Every object is a static structure in the program's data, with a reference count that no run brings to 0. Equal
constants are one object over all modules, so names are mostly compared by address though no string is interned; that
is why nothing has to be prepared when a module is imported.
"""

from __future__ import annotations

import dis
from types import CodeType

CO_FAST_LOCAL, CO_FAST_CELL, CO_FAST_FREE = 0x20, 0x40, 0x80  # cpython/Include/internal/pycore_code.h
DIGIT = 30  # bits of a PyLongObject's digit
WARMUP = -8  # calls until the interpreter specializes a function's code, as for any other code

# The layouts; the code object's is _PyCode_DEF of Python.h. Tuples have the garbage collector's header in front.
PRELUDE = """
#define FOREVER 999999999
#define HEAD(type) {FOREVER, &type}
#define VARIABLE(type, size) {HEAD(type), size}
#define TUPLE(size) static struct { uintptr_t collector[2]; PyVarObject head; PyObject *items[size]; }
#define BYTES(size) static struct { PyVarObject head; Py_hash_t hash; char data[(size) + 1]; }
#define ASCII(size) static struct { PyASCIIObject head; char data[(size) + 1]; }
#define UNICODE(type, size) static struct { PyCompactUnicodeObject head; type data[(size) + 1]; }
#define LONG(size) static struct { PyVarObject head; digit digits[size]; }
#define CODE(size) static struct _PyCode_DEF(size)
"""


class Unsupported(Exception):
    """A constant of a type that has no static form here."""


def _c_bytes(data: bytes) -> str:
    """Bytes as a C string literal."""
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\?' else f"\\{byte:03o}" for byte in data)
    return '"' + "".join(plain) + '"'


class Writer:
    """Collects the definitions of the objects that code needs; each is defined before it is used."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._known: dict[object, str] = {}
        self._codes: list[CodeType] = []  # kept, since they are known by their addresses

    def reference(self, value: object) -> str:
        """A C expression for a constant, which is defined if it is new. Raises Unsupported."""
        if value is None or value is True or value is False:
            return {None: "Py_None", True: "Py_True", False: "Py_False"}[value]
        if value is Ellipsis:
            return "Py_Ellipsis"
        key = self._key(value)
        if key not in self._known:
            definition = self._definition(value)
            name = f"o{len(self._known)}"
            self._known[key] = f"(PyObject *)&{name}" + (".head" if isinstance(value, tuple) else "")
            self.lines.append(definition.replace("@", name, 1))
        return self._known[key]

    def _key(self, value: object) -> object:
        """What makes two constants the same object: 1, 1.0 and True differ, and 0.0 and -0.0."""
        if isinstance(value, tuple):
            return (tuple, *(self._key(item) for item in value))
        return (type(value), id(value) if isinstance(value, CodeType) else repr(value))

    def _definition(self, value: object) -> str:
        """The C definition of an object; @ stands for its name."""
        if isinstance(value, str):
            return self._string(value)
        if isinstance(value, bytes):
            return f"BYTES({len(value)}) @ = {{VARIABLE(PyBytes_Type, {len(value)}), -1, {_c_bytes(value)}}};"
        if isinstance(value, int):
            return self._integer(value)
        if isinstance(value, float):
            return f"static PyFloatObject @ = {{HEAD(PyFloat_Type), {value.hex()}}};"
        if isinstance(value, tuple):
            items = ", ".join([self.reference(item) for item in value]) or "NULL"
            head = f"{{0}}, VARIABLE(PyTuple_Type, {len(value)})"
            return f"TUPLE({max(1, len(value))}) @ = {{{head}, {{{items}}}}};"
        if isinstance(value, CodeType):
            return self._code(value)
        raise Unsupported(type(value).__name__)

    def _string(self, text: str) -> str:
        width = 1 if max(text, default="") <= "\xff" else 2 if max(text) <= "\uffff" else 4
        state = f"{{.kind = {width}, .compact = 1, .ascii = {int(text.isascii())}, .ready = 1}}"
        head = f"HEAD(PyUnicode_Type), {len(text)}, -1, {state}, NULL"
        if text.isascii():
            return f"ASCII({len(text)}) @ = {{{{{head}}}, {_c_bytes(text.encode())}}};"
        letters = ", ".join([str(ord(letter)) for letter in text])
        return f"UNICODE(Py_UCS{width}, {len(text)}) @ = {{{{{{{head}}}, 0, NULL, 0}}, {{{letters}}}}};"

    def _integer(self, value: int) -> str:
        digits = []
        rest = abs(value)
        while rest:
            digits.append(rest & (1 << DIGIT) - 1)
            rest >>= DIGIT
        size = -len(digits) if value < 0 else len(digits)
        listed = ", ".join(map(str, digits or [0]))
        return f"LONG({max(1, len(digits))}) @ = {{VARIABLE(PyLong_Type, {size}), {{{listed}}}}};"

    def _code(self, code: CodeType) -> str:
        self._codes.append(code)
        kinds = dict.fromkeys(code.co_varnames, CO_FAST_LOCAL)
        for name in code.co_cellvars:
            kinds[name] = kinds.get(name, 0) | CO_FAST_CELL
        kinds |= dict.fromkeys(code.co_freevars, CO_FAST_FREE)
        units = len(code.co_code) // 2
        fields = {
            "co_consts": self.reference(code.co_consts),
            "co_names": self.reference(code.co_names),
            "co_exceptiontable": self.reference(code.co_exceptiontable),
            "co_flags": code.co_flags,
            "co_warmup": WARMUP,
            "co_argcount": code.co_argcount,
            "co_posonlyargcount": code.co_posonlyargcount,
            "co_kwonlyargcount": code.co_kwonlyargcount,
            "co_stacksize": code.co_stacksize,
            "co_firstlineno": code.co_firstlineno,
            "co_nlocalsplus": len(kinds),
            "co_nlocals": code.co_nlocals,
            "co_nplaincellvars": list(kinds.values()).count(CO_FAST_CELL),
            "co_ncellvars": len(code.co_cellvars),
            "co_nfreevars": len(code.co_freevars),
            "co_localsplusnames": self.reference(tuple(kinds)),
            "co_localspluskinds": self.reference(bytes(kinds.values())),
            "co_filename": self.reference(code.co_filename),
            "co_name": self.reference(code.co_name),
            "co_qualname": self.reference(code.co_qualname),
            "co_linetable": self.reference(code.co_linetable),
            "_co_firsttraceable": code.co_code[::2].index(dis.opmap["RESUME"]),
            "co_code_adaptive": _c_bytes(code.co_code),
        }
        listed = ", ".join([f".{name} = {value}" for name, value in fields.items()])
        return f"CODE({2 * units + 1}) @ = {{.ob_base = VARIABLE(PyCode_Type, {units}), {listed}}};"
