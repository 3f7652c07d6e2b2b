/* JournalCounts and Tail: what C needs in order to append to a stream of the journal.
 *
 * An append is one write(2), without the GIL: the kernel holds up a thread that writes more than the
 * disk can keep up with. All counts change with the GIL held, before and behind the write. It takes
 * no lock. The shipper withdraws a tail and waits until its writes are over before it starts another
 * segment. Nothing is ever undone: readers skip the front of a frame that a full disk cut short. */

#include "accelerator.h"

#include <structmember.h>

#ifndef _WIN32
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

static int
counts_init(PyObject *self, PyObject *args, PyObject *named)
{
    JournalCounts *counts = (JournalCounts *)self;
    static char *names[] = {"max_bytes", NULL};
    counts->asleep = 1;
    return PyArg_ParseTupleAndKeywords(args, named, "L", names, &counts->max_bytes) ? 0 : -1;
}

static PyMemberDef COUNTS_MEMBERS[] = {
    {"bytes", T_LONGLONG, offsetof(JournalCounts, bytes), 0, NULL},
    {"max_bytes", T_LONGLONG, offsetof(JournalCounts, max_bytes), READONLY, NULL},
    {"pending", T_LONGLONG, offsetof(JournalCounts, pending), 0, NULL},
    {"asleep", T_BOOL, offsetof(JournalCounts, asleep), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyTypeObject JOURNAL_COUNTS = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "kiel_logging._accelerator.JournalCounts",
    .tp_basicsize = sizeof(JournalCounts),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = PyType_GenericNew,
    .tp_init = counts_init,
    .tp_members = COUNTS_MEMBERS,
};

static int
tail_init(PyObject *self, PyObject *args, PyObject *named)
{
    Tail *tail = (Tail *)self;
    static char *names[] = {"counts", "seed", NULL};
    PyObject *counts;
    if (tail->counts != NULL) {
        PyErr_SetString(PyExc_TypeError, "Tail() is made once");
        return -1;
    }
    if (!PyArg_ParseTupleAndKeywords(args, named, "O!I", names, &JOURNAL_COUNTS, &counts,
                                     &tail->seed)) {
        return -1;
    }
    tail->counts = (JournalCounts *)Py_NewRef(counts);
    return 0;
}

/* withdraw(): from now on each append needs care. */
static PyObject *
tail_withdraw(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    Py_CLEAR(((Tail *)self)->descriptor);
    Py_RETURN_NONE;
}

/* publish(descriptor, number, device, inode): C may append to this file. */
static PyObject *
tail_publish(PyObject *self, PyObject *args)
{
    Tail *tail = (Tail *)self;
    PyObject *descriptor, *before = tail->descriptor;
    int number;
    unsigned long long device, inode;
    if (!PyArg_ParseTuple(args, "OiKK", &descriptor, &number, &device, &inode)) {
        return NULL;
    }
    tail->number = number;
    tail->device = device;
    tail->inode = inode;
    tail->descriptor = Py_NewRef(descriptor);
    Py_XDECREF(before);
    Py_RETURN_NONE;
}

static void
tail_dealloc(PyObject *self)
{
    Tail *tail = (Tail *)self;
    Py_XDECREF(tail->descriptor);
    Py_XDECREF(tail->counts);
    Py_TYPE(self)->tp_free(self);
}

static PyMemberDef TAIL_MEMBERS[] = {
    {"appended", T_LONGLONG, offsetof(Tail, appended), 0, NULL},
    {"writes", T_LONG, offsetof(Tail, writes), READONLY, NULL},
    {"unread", T_BOOL, offsetof(Tail, unread), 0, NULL},
    {"torn", T_BOOL, offsetof(Tail, torn), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef TAIL_METHODS[] = {
    {"publish", tail_publish, METH_VARARGS, "publish(descriptor, number, device, inode)"},
    {"withdraw", tail_withdraw, METH_NOARGS, "withdraw()"},
    {NULL, NULL, 0, NULL},
};

PyTypeObject TAIL = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "kiel_logging._accelerator.Tail",
    .tp_basicsize = sizeof(Tail),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = PyType_GenericNew,
    .tp_init = tail_init,
    .tp_dealloc = tail_dealloc,
    .tp_members = TAIL_MEMBERS,
    .tp_methods = TAIL_METHODS,
};

#ifdef _WIN32

int
tail_append(Tail *tail, PyObject *frame)
{
    (void)tail;
    (void)frame;
    return 0; /* there are no journals: see handler/record_options.py */
}

PyObject *
write_to(PyObject *module, PyObject *args)
{
    (void)module;
    (void)args;
    PyErr_SetString(PyExc_NotImplementedError, "there are no journals");
    return NULL;
}

#else

/* Runs without the GIL. Programs that become daemons close descriptors, and open others of the same
 * number: so it looks first whether it is still this file, and nothing of Python's is in between. */
static ssize_t
write_there(int number, unsigned long long device, unsigned long long inode, const char *data,
            size_t size, long long offset)
{
    struct stat status;
    if (fstat(number, &status) < 0) {
        return -1;
    }
    if ((unsigned long long)status.st_dev != device ||
        (unsigned long long)status.st_ino != inode) {
        errno = EBADF;
        return -1;
    }
    return offset < 0 ? write(number, data, size) : pwrite(number, data, size, (off_t)offset);
}

/* write_to(number, data, device, inode, offset=-1) -> int: append, or write at the offset. */
PyObject *
write_to(PyObject *module, PyObject *args)
{
    (void)module;
    int number;
    Py_buffer data;
    unsigned long long device, inode;
    long long offset = -1;
    if (!PyArg_ParseTuple(args, "iy*KK|L", &number, &data, &device, &inode, &offset)) {
        return NULL;
    }
    ssize_t written;
    do {
        Py_BEGIN_ALLOW_THREADS
        errno = 0;
        written = write_there(number, device, inode, data.buf, (size_t)data.len, offset);
        Py_END_ALLOW_THREADS
    } while (written < 0 && errno == EINTR && PyErr_CheckSignals() == 0);
    PyBuffer_Release(&data);
    if (PyErr_Occurred()) {
        return NULL;
    }
    return written < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromSsize_t(written);
}

int
tail_append(Tail *tail, PyObject *frame)
{
    JournalCounts *counts = tail->counts;
    PyObject *descriptor = tail->descriptor;
    long long size = (long long)PyBytes_GET_SIZE(frame);
    if (descriptor == NULL ||
        (counts->max_bytes >= 0 && counts->bytes + size > counts->max_bytes)) {
        return 0;
    }
    int number = tail->number;
    unsigned long long device = tail->device, inode = tail->inode;
    ssize_t written;
    Py_INCREF(descriptor); /* so that the number stays this file's until the write is over */
    counts->bytes += size;
    tail->appended++;
    tail->writes++;
    Py_BEGIN_ALLOW_THREADS
    written = write_there(number, device, inode, PyBytes_AS_STRING(frame), (size_t)size, -1);
    Py_END_ALLOW_THREADS
    tail->writes--;
    Py_DECREF(descriptor);
    if (written == size) {
        tail->unread = 1;
        counts->pending++;
        return 1;
    }
    tail->torn |= written > 0;
    tail->appended--;
    counts->bytes -= size - (written > 0 ? written : 0);
    return 0;
}

#endif
