/* A whole libpython without pyexpat, for a static link without launcher/trims.
 *
 * libpython's table of built-in modules names PyInit_pyexpat. The linker finds it here first, and links neither that
 * module nor the copy of libexpat that it needs: no module of the launcher parses XML, and a library in a program of
 * its own misses the distribution's security updates.
 */
#include <Python.h>

PyObject *PyInit_pyexpat(void);

PyObject *PyInit_pyexpat(void)
{
    PyErr_SetString(PyExc_ImportError, "the launcher has no pyexpat");
    return NULL;
}
