/* A start of the interpreter's core alone: no importlib, no codecs, no standard streams. */
#include "trims.h"

int _PySignal_Init(int install_signal_handlers); /* in no public header */

void trims_configure(PyConfig *config)
{
    config->_init_main = 0;         /* no paths, codecs, streams */
    config->_install_importlib = 0; /* importer.c takes its place */
}

/* Make the handlers of coding errors, of which "strict" makes the UnicodeDecodeError. The first one who asks for one
 * has them made, and then the package `encodings` imported, which we have not and whose absence is his failure. */
static int make_error_handlers(void)
{
    PyObject *handler = PyCodec_LookupError("strict");
    if (handler == NULL) {
        PyErr_Clear();
        handler = PyCodec_LookupError("strict");
    }
    Py_XDECREF(handler);
    return handler == NULL ? -1 : 0;
}

int trims_complete(void)
{
    if (_PySignal_Init(0) < 0) /* without this _signal can't be imported; with 1 it would be, for every command */
        return -1;
    return make_error_handlers();
}
