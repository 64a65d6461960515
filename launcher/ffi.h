/* pyrunc._core for the launcher: the part of cffi's interface that pyrunc/libcontainer/kernel/native.py uses.
 *
 * cffi's own backend is a shared object, which a static program can't load. launcher/bindings.py writes the binding of
 * native.h's functions and structures by what is declared here.
 */
#ifndef PYRUNC_FFI_H
#define PYRUNC_FFI_H

#include <Python.h>
#include <stddef.h>
#include <stdint.h>

enum ffi_kind { FFI_CHAR, FFI_INT, FFI_U64, FFI_POINTER, FFI_STRUCT };

struct ffi_field {
    const char *name;
    enum ffi_kind kind;
    size_t offset;
};

struct ffi_struct {
    const char *name; /* "struct x" */
    size_t size;
    const struct ffi_field *fields;
    size_t field_count;
};

/* Written by launcher/bindings.py. */
extern const struct ffi_struct ffi_structs[];
extern const size_t ffi_struct_count;
extern PyMethodDef ffi_functions[];

/* The address for an argument, and what must be freed after the call. */
struct ffi_address {
    void *address;
    void *allocated;
};
void ffi_release(struct ffi_address *address);
#define FFI_ADDRESS __attribute__((cleanup(ffi_release))) struct ffi_address

/* Convert an argument to what the C function takes; on failure an exception is set. */
int64_t ffi_signed(PyObject *value, int64_t least, int64_t greatest);
uint64_t ffi_unsigned(PyObject *value, uint64_t greatest);
struct ffi_address ffi_text(PyObject *value);    /* char *, void *: bytes, or what ffi.new or ffi.from_buffer gave */
struct ffi_address ffi_numbers(PyObject *value); /* int *: a list or tuple of numbers too */
struct ffi_address ffi_structure(PyObject *value, const char *name);

/* Whether a call has the right number of arguments; an exception is set if not. */
int ffi_counts(Py_ssize_t given, Py_ssize_t wanted);

PyObject *PyInit__core(void);

#endif
