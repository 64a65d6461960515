/* The launcher's import statement: a look-up in the table of frozen modules, without importlib. */
#ifndef PYRUNC_IMPORTER_H
#define PYRUNC_IMPORTER_H

#include <Python.h>

enum frozen_kind {
    FROZEN_MODULE, /* a module or a package */
    FROZEN_EXTENSION, /* made by `init` */
    FROZEN_COLD,      /* only in the ordinary build: importing it hands the command over */
};

struct frozen_module {
    const char *name;
    enum frozen_kind kind;
    const unsigned char *marshalled; /* a module's code */
    int size;
    PyObject *(*init)(void);
};

/* Sorted by name; written by launcher/freeze.py. */
extern const struct frozen_module frozen_modules[];
extern const size_t frozen_module_count;

/* launcher/specialise.py, which no import statement finds; without code where the table has other modules. */
extern const struct frozen_module frozen_specialise;

/* The modules that the snapshot holds, in the order in which they are imported: first those that most commands need. */
extern const unsigned short frozen_held[];
extern const size_t frozen_held_count;

/* The part of CPython's package `encodings` that CPython's start imports; written by launcher/freeze.py. */
extern const struct _frozen frozen_codecs[];

/* Make `import` look in the table, and nowhere else. An import of a FROZEN_COLD module calls hand_over, which does not
 * return. Returns -1 with an exception set on failure. */
int importer_install(void (*hand_over)(void));

/* Import a module of the table by its absolute name: a new reference, or NULL with an exception set. */
PyObject *importer_import(const char *name);

/* Import all modules that the snapshot holds. note: called with the code of each, before it runs. Returns -1 with an
 * exception set on failure. */
int importer_import_all(void (*note)(PyObject *code, PyObject *globals));

/* Run a module that is not in the table, if it has code, call its function without arguments, and drop it. Returns -1 with an
 * exception set on failure. */
int importer_run(const struct frozen_module *entry, const char *function);

#endif
