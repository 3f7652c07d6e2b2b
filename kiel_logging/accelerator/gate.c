/* Gate and Tail: what journal/gate.py has, so that C can append too.
 *
 * A *flight* is one write(2) of C. It is the only thing in this module that happens without the GIL,
 * because the kernel holds up who writes more than a disk can keep up with. All counts change while
 * the GIL is held, before and behind it, in one step to all threads and signal handlers. A thread
 * that has the gate is alone: it waits until no flight is under way, and none begins meanwhile. */

#include "accelerator.h"

#include <pythread.h>
#include <structmember.h>

#ifndef _WIN32
#include <sys/stat.h>
#include <unistd.h>
#endif

/* -- the gate --------------------------------------------------------------------------------- */

static int
gate_init(PyObject *self, PyObject *args, PyObject *named)
{
    Gate *gate = (Gate *)self;
    static char *names[] = {"lock", "max_bytes", NULL};
    PyObject *lock;
    if (gate->lock != NULL) {
        PyErr_SetString(PyExc_TypeError, "Gate() is made once");
        return -1;
    }
    if (!PyArg_ParseTupleAndKeywords(args, named, "OL", names, &lock, &gate->max_bytes)) {
        return -1;
    }
    gate->quiet = PyThread_allocate_lock();
    gate->dirty = PyDict_New();
    if (gate->quiet == NULL || gate->dirty == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    gate->lock = Py_NewRef(lock);
    gate->asleep = 1;
    return 0;
}

static void
gate_dealloc(PyObject *self)
{
    Gate *gate = (Gate *)self;
    if (gate->quiet != NULL) {
        PyThread_free_lock(gate->quiet);
    }
    Py_XDECREF(gate->lock);
    Py_XDECREF(gate->dirty);
    Py_TYPE(self)->tp_free(self);
}

static int
is_made(const Gate *gate)
{
    if (gate->lock == NULL) {
        PyErr_SetString(PyExc_TypeError, "Gate() was not made");
    }
    return gate->lock != NULL;
}

static int
leave(Gate *gate)
{
    PyObject *done = PyObject_CallMethod(gate->lock, "release", NULL);
    if (done == NULL) {
        return -1;
    }
    gate->holders--;
    Py_DECREF(done);
    return 0;
}

/* Wait until no flight is under way; 0 if that takes longer. A flight ends by itself: it waits for
 * the disk and for the GIL. */
static int
wait_for_flights(Gate *gate, long long microseconds)
{
    PyLockStatus status = PY_LOCK_ACQUIRED;
    if (gate->flights > 0) {
        Py_BEGIN_ALLOW_THREADS
        status = PyThread_acquire_lock_timed(gate->quiet, microseconds, 0);
        Py_END_ALLOW_THREADS
        if (status == PY_LOCK_ACQUIRED) {
            PyThread_release_lock(gate->quiet);
        }
    }
    return status == PY_LOCK_ACQUIRED;
}

/* Long enough for those that wait for the GIL, and not for those that wait for the disk. */
enum { NOT_BLOCKING_MICROSECONDS = 5000 };

/* acquire(blocking=True, timeout=-1) -> bool: as an RLock's, and then wait for the flights. */
static PyObject *
gate_acquire(PyObject *self, PyObject *args, PyObject *named)
{
    Gate *gate = (Gate *)self;
    static char *names[] = {"blocking", "timeout", NULL};
    int blocking = 1;
    double timeout = -1;
    if (!is_made(gate) ||
        !PyArg_ParseTupleAndKeywords(args, named, "|pd", names, &blocking, &timeout)) {
        return NULL;
    }
    PyObject *done = PyObject_CallMethod(gate->lock, "acquire", "id", blocking, timeout);
    int taken = done == NULL ? -1 : PyObject_IsTrue(done);
    Py_XDECREF(done);
    if (taken <= 0) {
        return taken < 0 ? NULL : Py_NewRef(Py_False);
    }
    gate->holders++; /* no flight begins from here on */
    long long microseconds = !blocking     ? NOT_BLOCKING_MICROSECONDS
                             : timeout < 0 ? -1
                                           : (long long)(timeout * 1e6);
    if (!wait_for_flights(gate, microseconds)) {
        return leave(gate) < 0 ? NULL : Py_NewRef(Py_False);
    }
    Py_RETURN_TRUE;
}

static PyObject *
gate_release(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    return !is_made((Gate *)self) || leave((Gate *)self) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
gate_exit(PyObject *self, PyObject *args)
{
    return gate_release(self, args);
}

static PyMemberDef GATE_MEMBERS[] = {
    {"appended_bytes", T_LONGLONG, offsetof(Gate, appended_bytes), 0, NULL},
    {"released_bytes", T_LONGLONG, offsetof(Gate, released_bytes), 0, NULL},
    {"max_bytes", T_LONGLONG, offsetof(Gate, max_bytes), READONLY, NULL},
    {"asides", T_LONG, offsetof(Gate, asides), 0, NULL},
    {"dirty", T_OBJECT, offsetof(Gate, dirty), READONLY, NULL},
    {"pending", T_LONGLONG, offsetof(Gate, pending), 0, NULL},
    {"asleep", T_BOOL, offsetof(Gate, asleep), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef GATE_METHODS[] = {
    {"acquire", (PyCFunction)(void (*)(void))gate_acquire, METH_VARARGS | METH_KEYWORDS,
     "acquire(blocking=True, timeout=-1) -> bool"},
    {"release", gate_release, METH_NOARGS, "release()"},
    {"__enter__", (PyCFunction)(void (*)(void))gate_acquire, METH_VARARGS | METH_KEYWORDS, NULL},
    {"__exit__", gate_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject GATE = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "kiel_logging._accelerator.Gate",
    .tp_basicsize = sizeof(Gate),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = PyType_GenericNew,
    .tp_init = gate_init,
    .tp_dealloc = gate_dealloc,
    .tp_members = GATE_MEMBERS,
    .tp_methods = GATE_METHODS,
};

/* -- the tail --------------------------------------------------------------------------------- */

static int
tail_init(PyObject *self, PyObject *args, PyObject *named)
{
    Tail *tail = (Tail *)self;
    static char *names[] = {"gate", "topic", "seed", NULL};
    PyObject *gate, *topic;
    if (tail->gate != NULL) {
        PyErr_SetString(PyExc_TypeError, "Tail() is made once");
        return -1;
    }
    if (!PyArg_ParseTupleAndKeywords(args, named, "O!UI", names, &GATE, &gate, &topic,
                                     &tail->seed) ||
        !is_made((Gate *)gate)) {
        return -1;
    }
    tail->gate = (Gate *)Py_NewRef(gate);
    tail->topic = Py_NewRef(topic);
    return 0;
}

/* withdraw(): from now on each append needs care. */
static PyObject *
tail_withdraw(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    Tail *tail = (Tail *)self;
    PyObject *descriptor = tail->descriptor, *sizes = tail->sizes, *segment = tail->segment;
    tail->descriptor = tail->sizes = tail->segment = NULL;
    Py_XDECREF(descriptor);
    Py_XDECREF(sizes);
    Py_XDECREF(segment);
    Py_RETURN_NONE;
}

/* publish(descriptor, number, device, inode, sizes, segment): C may append to this file, and counts
 * that in sizes[segment]. */
static PyObject *
tail_publish(PyObject *self, PyObject *args)
{
    Tail *tail = (Tail *)self;
    PyObject *descriptor, *sizes, *segment;
    int number;
    unsigned long long device, inode;
    if (!PyArg_ParseTuple(args, "OiKKO!O!", &descriptor, &number, &device, &inode, &PyDict_Type,
                          &sizes, &PyLong_Type, &segment)) {
        return NULL;
    }
    Py_DECREF(tail_withdraw(self, NULL));
    tail->number = number;
    tail->device = device;
    tail->inode = inode;
    tail->sizes = Py_NewRef(sizes);
    tail->segment = Py_NewRef(segment);
    tail->descriptor = Py_NewRef(descriptor);
    Py_RETURN_NONE;
}

static void
tail_dealloc(PyObject *self)
{
    Tail *tail = (Tail *)self;
    Py_DECREF(tail_withdraw(self, NULL));
    Py_XDECREF(tail->gate);
    Py_XDECREF(tail->topic);
    Py_TYPE(self)->tp_free(self);
}

static PyMemberDef TAIL_MEMBERS[] = {
    {"appended", T_LONGLONG, offsetof(Tail, appended), 0, NULL},
    {"torn", T_BOOL, offsetof(Tail, torn), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef TAIL_METHODS[] = {
    {"publish", tail_publish, METH_VARARGS,
     "publish(descriptor, number, device, inode, sizes, segment)"},
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

/* -- appending -------------------------------------------------------------------------------- */

#ifdef _WIN32

int
tail_append(Tail *tail, PyObject *frame)
{
    (void)tail;
    (void)frame;
    return 0; /* there are no journals: see handler/options.py */
}

#else

/* Add so many bytes and records to the counts; -1 with an error, and nothing is counted. */
static int
count(Tail *tail, PyObject *sizes, PyObject *segment, long long bytes, int records)
{
    PyObject *before = PyDict_GetItemWithError(sizes, segment);
    long long size = before == NULL ? 0 : PyLong_AsLongLong(before);
    PyObject *after = PyErr_Occurred() ? NULL : PyLong_FromLongLong(size + bytes);
    int result = after == NULL ? -1 : PyDict_SetItem(sizes, segment, after);
    Py_XDECREF(after);
    if (result == 0) {
        tail->gate->appended_bytes += bytes;
        tail->appended += records;
    }
    return result;
}

/* The file, as it was before and as it is behind a write. */
typedef struct {
    const char *data;
    size_t size;
    int number;
    unsigned long long device, inode;
    long long before;
    ssize_t written;
} Flight;

/* Runs without the GIL. Programs that become daemons close descriptors, and open others of the same
 * number: so it looks first whether it is still this file. */
static void
fly(Flight *flight)
{
    struct stat status;
    flight->written = 0;
    if (fstat(flight->number, &status) == 0 &&
        (unsigned long long)status.st_dev == flight->device &&
        (unsigned long long)status.st_ino == flight->inode) {
        flight->before = (long long)status.st_size;
        flight->written = write(flight->number, flight->data, flight->size);
    }
}

/* Cut off the front of a frame; 0 if it can't be, or others may have appended behind it. */
static int
cut_off(const Gate *gate, const Flight *flight)
{
    struct stat status;
    return gate->flights == 1 && gate->asides == 0 && fstat(flight->number, &status) == 0 &&
           (long long)status.st_size == flight->before + flight->written &&
           ftruncate(flight->number, (off_t)flight->before) == 0;
}

int
tail_append(Tail *tail, PyObject *frame)
{
    Gate *gate = tail->gate;
    PyObject *descriptor = tail->descriptor, *sizes = tail->sizes, *segment = tail->segment;
    long long size = (long long)PyBytes_GET_SIZE(frame), landed;
    if (descriptor == NULL || gate->holders > 0 ||
        (gate->max_bytes >= 0 &&
         gate->appended_bytes - gate->released_bytes + size > gate->max_bytes)) {
        return 0;
    }
    if (count(tail, sizes, segment, size, 1) < 0) {
        return -1;
    }
    Flight flight = {.data = PyBytes_AS_STRING(frame), .size = (size_t)size,
                     .number = tail->number, .device = tail->device, .inode = tail->inode};
    Py_INCREF(descriptor);
    Py_INCREF(sizes);
    Py_INCREF(segment);
    if (gate->flights++ == 0) {
        PyThread_acquire_lock(gate->quiet, NOWAIT_LOCK); /* it is free: nobody holds the gate */
    }
    Py_BEGIN_ALLOW_THREADS
    fly(&flight);
    Py_END_ALLOW_THREADS
    landed = flight.written < 0 ? 0 : (long long)flight.written;
    if (landed < size) {
        if (landed > 0 && !cut_off(gate, &flight)) {
            tail->torn = 1;
        }
        else {
            landed = 0;
        }
        if (count(tail, sizes, segment, landed - size, -1) < 0) {
            PyErr_Clear(); /* no memory for a number: the journal takes itself for larger */
        }
    }
    if (--gate->flights == 0) {
        PyThread_release_lock(gate->quiet);
    }
    Py_DECREF(descriptor);
    Py_DECREF(sizes);
    Py_DECREF(segment);
    return landed == size;
}

#endif
