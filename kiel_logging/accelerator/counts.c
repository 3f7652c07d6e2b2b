/* Counts: what handler/buffer.py has, for C to count too. */

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
    {"out_of_memory", T_LONGLONG, offsetof(Counts, out_of_memory), 0, NULL},
    {"crowded", T_BOOL, offsetof(Counts, crowded), 0, NULL},
    {"closed", T_BOOL, offsetof(Counts, closed), 0, NULL},
    {"unwoken", T_BOOL, offsetof(Counts, unwoken), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

/* lose(): count a record for which there was no memory; takes none. */
static PyObject *
counts_lose(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    ((Counts *)self)->out_of_memory++;
    Py_RETURN_NONE;
}

static PyMethodDef COUNTS_METHODS[] = {
    {"lose", counts_lose, METH_NOARGS, "lose() -> None"},
    {NULL, NULL, 0, NULL},
};

PyTypeObject COUNTS = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "kiel_logging._accelerator.Counts",
    .tp_basicsize = sizeof(Counts),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = PyType_GenericNew,
    .tp_init = counts_init,
    .tp_members = COUNTS_MEMBERS,
    .tp_methods = COUNTS_METHODS,
};

Py_ssize_t
queue_up(Counts *counts, PyObject *queue, PyObject *append, PyObject *item)
{
    long long memory = number_of(item, I_MEMORY);
    if (memory == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (counts->closed || counts->kept - counts->ended >= counts->many_records ||
        counts->bytes_kept - counts->bytes_ended + memory > counts->many_bytes) {
        return 0;
    }
    PyObject *done = PyObject_CallOneArg(append, item);
    if (done == NULL) {
        return -1;
    }
    Py_DECREF(done);
    counts->emitted++;
    counts->kept++;
    counts->bytes_kept += memory;
    return PyObject_Size(queue);
}

/* queue_up(counts, queue, append, item) -> int: as queue_up_in_python(). */
PyObject *
queue_up_method(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 4 || !Py_IS_TYPE(args[0], &COUNTS) || !is_item(args[3]) ||
        (PyTuple_Check(args[3]) && PyTuple_GET_SIZE(args[3]) <= I_MEMORY)) {
        PyErr_SetString(PyExc_TypeError, "queue_up(): arguments of other types were expected");
        return NULL;
    }
    /* First: where there is no memory for the answer, nothing is queued. */
    PyObject *answer = PyLong_FromSsize_t(PyObject_Size(args[1]) + 1);
    if (answer == NULL) {
        return NULL;
    }
    Py_ssize_t queued = queue_up((Counts *)args[0], args[1], args[2], args[3]);
    if (queued > 0) {
        return answer;
    }
    Py_DECREF(answer);
    return queued < 0 ? NULL : PyLong_FromLong(0);
}
