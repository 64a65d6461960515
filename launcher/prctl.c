/* _prctl for the launcher: the only function of python-prctl's module that pyrunc calls. That module is a shared
 * object, which a static program can't load. */
#include <Python.h>

#include <sys/prctl.h>

/* prctl(option, argument): returns what prctl(2) does; raises OSError. */
static PyObject *call_prctl(PyObject *self, PyObject *args)
{
    (void)self;
    int option;
    unsigned long argument;
    if (!PyArg_ParseTuple(args, "ik", &option, &argument))
        return NULL;
    int value = prctl(option, argument, 0L, 0L, 0L);
    return value < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromLong(value);
}

PyObject *PyInit__prctl(void);

PyObject *PyInit__prctl(void)
{
    static PyMethodDef methods[] = {{"prctl", call_prctl, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
    static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_prctl", .m_size = -1, .m_methods = methods};
    return PyModule_Create(&module);
}
