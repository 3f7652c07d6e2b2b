/* An end of `with` that takes no memory; see RLock in native.py. */

#include "accelerator.h"

static PyObject *RELEASE;

static PyObject *
leave(PyObject *lock, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    return PyObject_CallMethodNoArgs(lock, RELEASE);
}

static PyMethodDef LEAVE = {"__exit__", (PyCFunction)(void (*)(void))leave, METH_FASTCALL,
                            "Release the lock."};

PyObject *
lean_exit(PyObject *Py_UNUSED(module), PyObject *kind)
{
    if (!PyType_Check(kind)) {
        PyErr_SetString(PyExc_TypeError, "lean_exit() takes a class of locks");
        return NULL;
    }
    if (RELEASE == NULL && (RELEASE = PyUnicode_InternFromString("release")) == NULL) {
        return NULL;
    }
    return PyDescr_NewMethod((PyTypeObject *)kind, &LEAVE);
}
