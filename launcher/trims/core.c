/* A start of only the interpreter's core: no importlib, no codecs, no standard streams. */
#include "trims.h"

int _PySignal_Init(int install_signal_handlers); /* in no public header */

void trims_configure(PyConfig *config)
{
    config->_init_main = 0;         /* no paths, codecs, streams */
    config->_install_importlib = 0; /* importer.c takes its place */
}

/* Make the handlers of coding errors; the one of "strict" raises UnicodeDecodeError. The first request for a handler
 * makes them, and then imports the package `encodings`, which the launcher lacks, and so fails. Make that first request
 * here. */
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
    if (_PySignal_Init(0) < 0) /* without this call _signal can't be imported; with 1 every command would import it */
        return -1;
    return make_error_handlers();
}
