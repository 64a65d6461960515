/* A start of only the interpreter's core: no importlib, no codecs, no standard streams. */
#include "trims.h"

/* In no public header. */
int _PySignal_Init(int install_signal_handlers);
PyStatus _PyCodec_InitRegistry(PyInterpreterState *interp);

void trims_configure(PyConfig *config)
{
    config->_init_main = 0;         /* no paths, codecs, streams */
    config->_install_importlib = 0; /* importer.c takes its place */
}

/* Make the handlers of coding errors; the one of "strict" raises UnicodeDecodeError. CPython makes them where it imports
 * the package `encodings`, which the launcher lacks: an empty module stands for it. Until 3.12 the first request for a
 * handler does that, later a part of the start that is left out here. Returns -1 with an exception set on failure. */
static int make_error_handlers(void)
{
    static const char stands_in[] = "encodings";
    if (PyImport_AddModule(stands_in) == NULL)
        return -1;
#if PY_VERSION_HEX >= 0x030D0000
    PyStatus status = _PyCodec_InitRegistry(PyInterpreterState_Get());
    if (PyStatus_Exception(status)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_SystemError, status.err_msg);
        return -1;
    }
#endif
    PyObject *handler = PyCodec_LookupError("strict");
    Py_XDECREF(handler);
    return handler == NULL ? -1 : PyDict_DelItemString(PyImport_GetModuleDict(), stands_in);
}

int trims_complete(void)
{
    if (_PySignal_Init(0) < 0) /* without this call _signal can't be imported; with 1 every command would import it */
        return -1;
    return make_error_handlers();
}
