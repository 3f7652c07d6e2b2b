/* Counts: what handler/pipeline/counts.py has, for C to count too. */

#include "accelerator.h"

#include <structmember.h>

static int
counts_init(PyObject *self, PyObject *args, PyObject *named)
{
    Counts *counts = (Counts *)self;
    static char *names[] = {"many_records", "many_bytes", "batch_size", NULL};
    return PyArg_ParseTupleAndKeywords(args, named, "LLL", names, &counts->many_records,
                                       &counts->many_bytes, &counts->batch_size)
               ? 0
               : -1;
}

static PyMemberDef COUNTS_MEMBERS[] = {
    {"emitted", T_LONGLONG, offsetof(Counts, emitted), 0, NULL},
    {"kept", T_LONGLONG, offsetof(Counts, kept), 0, NULL},
    {"bytes_kept", T_LONGLONG, offsetof(Counts, bytes_kept), 0, NULL},
    {"ended", T_LONGLONG, offsetof(Counts, ended), 0, NULL},
    {"bytes_ended", T_LONGLONG, offsetof(Counts, bytes_ended), 0, NULL},
    {"many_records", T_LONGLONG, offsetof(Counts, many_records), READONLY, NULL},
    {"many_bytes", T_LONGLONG, offsetof(Counts, many_bytes), READONLY, NULL},
    {"batch_size", T_LONGLONG, offsetof(Counts, batch_size), READONLY, NULL},
    {"crowded", T_BOOL, offsetof(Counts, crowded), 0, NULL},
    {"closed", T_BOOL, offsetof(Counts, closed), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyTypeObject COUNTS = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "kiel_logging._accelerator.Counts",
    .tp_basicsize = sizeof(Counts),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = PyType_GenericNew,
    .tp_init = counts_init,
    .tp_members = COUNTS_MEMBERS,
};
