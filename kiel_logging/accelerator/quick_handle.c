/* QuickHandle: KafkaHandler.handle() for a record that needs no care, with all that it calls, in one
 * call. The item goes into the buffer's queue, or its frame to the tail of a journal's stream. */

#include "accelerator.h"

#ifdef _WIN32
#include <process.h>
#define getpid _getpid
#else
#include <unistd.h>
#endif

/* Of what is queued: more than one, and no full batch. */
#define TOLD PY_SSIZE_T_MAX

typedef struct {
    PyObject_HEAD
    PyObject *own;      /* the handler's attributes */
    PyObject *settings; /* of convert() */
    PyObject *here;     /* its depth is 0 where the program works for itself */
    PyObject *tallies;  /* empty where nobody awaits a receipt */
    PyObject *counts, *queue, *append, *told;
    PyObject *tail;      /* a Tail; NULL where items are queued */
    PyObject *with_care; /* KafkaHandler.handle(), for all other records */
    long process;        /* the id of the one that it was made in */
} QuickHandle;

static int
quick_init(PyObject *self, PyObject *args, PyObject *named)
{
    QuickHandle *quick = (QuickHandle *)self;
    static char *names[] = {"own", "settings", "here", "tallies", "counts",
                            "queue", "append", "told", "with_care", "tail", NULL};
    PyObject *own, *settings, *here, *tallies, *counts, *queue, *append, *told, *with_care;
    PyObject *tail = NULL;
    if (quick->own != NULL) {
        PyErr_SetString(PyExc_TypeError, "QuickHandle() is made once");
        return -1;
    }
    if (!PyArg_ParseTupleAndKeywords(args, named, "O!O!OO!O!OOOO|O!", names, &PyDict_Type, &own,
                                     &PyTuple_Type, &settings, &here, &PyDict_Type, &tallies,
                                     &COUNTS, &counts, &queue, &append, &told, &with_care, &TAIL,
                                     &tail)) {
        return -1;
    }
    if (!are_settings(settings)) {
        return -1;
    }
    quick->own = Py_NewRef(own);
    quick->settings = Py_NewRef(settings);
    quick->here = Py_NewRef(here);
    quick->tallies = Py_NewRef(tallies);
    quick->counts = Py_NewRef(counts);
    quick->queue = Py_NewRef(queue);
    quick->append = Py_NewRef(append);
    quick->told = Py_NewRef(told);
    quick->with_care = Py_NewRef(with_care);
    quick->tail = Py_XNewRef(tail);
    quick->process = (long)getpid();
    return 0;
}

static int
quick_traverse(PyObject *self, visitproc visit, void *arg)
{
    QuickHandle *quick = (QuickHandle *)self;
    Py_VISIT(quick->own);
    Py_VISIT(quick->settings);
    Py_VISIT(quick->here);
    Py_VISIT(quick->tallies);
    Py_VISIT(quick->counts);
    Py_VISIT(quick->queue);
    Py_VISIT(quick->append);
    Py_VISIT(quick->told);
    Py_VISIT(quick->with_care);
    Py_VISIT(quick->tail);
    return 0;
}

static int
quick_clear(PyObject *self)
{
    QuickHandle *quick = (QuickHandle *)self;
    Py_CLEAR(quick->own);
    Py_CLEAR(quick->settings);
    Py_CLEAR(quick->here);
    Py_CLEAR(quick->tallies);
    Py_CLEAR(quick->counts);
    Py_CLEAR(quick->queue);
    Py_CLEAR(quick->append);
    Py_CLEAR(quick->told);
    Py_CLEAR(quick->with_care);
    Py_CLEAR(quick->tail);
    return 0;
}

static void
quick_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    quick_clear(self);
    Py_TYPE(self)->tp_free(self);
}

/* Whether nothing about the handler, or where it is called, needs the care of Python. */
static int
may_be_quick(const QuickHandle *quick)
{
    const Counts *counts = (const Counts *)quick->counts;
    if (counts->crowded || counts->closed || PyDict_GET_SIZE(quick->tallies) > 0 ||
        (long)getpid() != quick->process) { /* forks that C code makes run no hooks */
        return 0;
    }
    PyObject *filters = PyDict_GetItemWithError(quick->own, N_filters);
    if (filters == NULL || !PyList_CheckExact(filters) || PyList_GET_SIZE(filters) > 0 ||
        PyDict_GetItemWithError(quick->own, N_formatter) != Py_None ||
        PyDict_Contains(quick->own, N_emit) != 0) { /* a test has put its own there */
        return 0;
    }
    PyObject *depth = PyObject_GetAttr(quick->here, N_depth);
    int result = depth != NULL && PyLong_CheckExact(depth) && PyLong_AsLong(depth) == 0;
    Py_XDECREF(depth);
    return result;
}

static int
call_with(PyObject *function, long long number)
{
    PyObject *argument = PyLong_FromLongLong(number);
    PyObject *done = argument == NULL ? NULL : PyObject_CallOneArg(function, argument);
    Py_XDECREF(argument);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Tell of what is queued. A signal handler may raise meanwhile, or before that has even begun: then
 * the reader is woken as for a full batch, or nobody would wake it. Without memory for it, the next
 * record wakes it. */
static int
tell(const QuickHandle *quick, Py_ssize_t queued)
{
    Counts *counts = (Counts *)quick->counts;
    if (call_with(quick->told, queued) == 0) {
        return 0;
    }
    if (PyErr_ExceptionMatches(PyExc_MemoryError)) {
        PyErr_Clear();
        counts->unwoken = 1;
        return 0;
    }
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    if (call_with(quick->told, counts->batch_size) < 0) {
        PyErr_Clear();
    }
    PyErr_Restore(type, value, trace);
    return -1;
}

/* What handle() returns for a record that was emitted. */
static PyObject *
emitted(PyObject *record)
{
#if PY_VERSION_HEX >= 0x030c0000
    return Py_NewRef(record);
#else
    (void)record;
    Py_RETURN_TRUE;
#endif
}

/* Let Python handle the record. It raises MemoryError where there is not even the memory to count a
 * drop; here none is needed. */
static PyObject *
handle_with_care(const QuickHandle *quick, PyObject *args, PyObject *named)
{
    PyObject *result = PyObject_Call(quick->with_care, args, named);
    if (result == NULL && PyTuple_GET_SIZE(args) == 1 &&
        PyErr_ExceptionMatches(PyExc_MemoryError)) {
        PyErr_Clear();
        ((Counts *)quick->counts)->out_of_memory++;
        result = emitted(PyTuple_GET_ITEM(args, 0));
    }
    return result;
}

/* Append the item to the tail; return what tell() is to be called with, TOLD where nobody is to be
 * woken; 0 where that needs care. */
static Py_ssize_t
append_item(const QuickHandle *quick, PyObject *item)
{
    Tail *tail = (Tail *)quick->tail;
    Gate *gate = tail->gate;
    PyObject *frame = packed(item, 0, tail->seed);
    int done = frame == NULL ? -1 : 0;
    /* Python code may have run since may_be_quick(), and close() waits only for writes under way. */
    if (done == 0 && frame != Py_None && !((Counts *)quick->counts)->closed) {
        done = tail_append(tail, frame);
    }
    Py_XDECREF(frame);
    if (done <= 0) {
        PyErr_Clear(); /* no memory: Python will drop and count it */
        return 0;
    }
    if (PyDict_SetItem(gate->dirty, tail->topic, Py_None) < 0) {
        PyErr_Clear(); /* no memory: it is found with the next one */
    }
    gate->pending++;
    if (gate->asleep) {
        gate->asleep = 0;
        return 1;
    }
    return gate->pending == ((Counts *)quick->counts)->batch_size ? gate->pending : TOLD;
}

static PyObject *
quick_call(PyObject *self, PyObject *args, PyObject *named)
{
    QuickHandle *quick = (QuickHandle *)self;
    if (PyTuple_GET_SIZE(args) != 1 || named != NULL || quick->own == NULL ||
        !may_be_quick(quick)) {
        PyErr_Clear();
        return quick->own == NULL ? PyErr_Format(PyExc_TypeError, "QuickHandle() was not made")
                                  : handle_with_care(quick, args, named);
    }
    Counts *counts = (Counts *)quick->counts;
    PyObject *record = PyTuple_GET_ITEM(args, 0), *item = quick_item_from(quick->settings, record);
    if (item == NULL) {
        return NULL;
    }
    Py_ssize_t queued = 0;
    if (item != Py_None) {
        queued = quick->tail != NULL
                     ? append_item(quick, item)
                     : queue_up(counts, quick->queue, quick->append, item);
    }
    Py_DECREF(item);
    if (queued < 0) {
        if (!PyErr_ExceptionMatches(PyExc_MemoryError)) {
            return NULL;
        }
        PyErr_Clear(); /* it was not queued */
        queued = 0;
    }
    if (queued == 0) {
        return handle_with_care(quick, args, NULL);
    }
    if ((queued == 1 || queued == counts->batch_size || counts->unwoken) &&
        tell(quick, queued) < 0) {
        return NULL;
    }
    return emitted(record);
}

PyTypeObject QUICK_HANDLE = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "kiel_logging._accelerator.QuickHandle",
    .tp_basicsize = sizeof(QuickHandle),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = PyType_GenericNew,
    .tp_init = quick_init,
    .tp_dealloc = quick_dealloc,
    .tp_traverse = quick_traverse,
    .tp_clear = quick_clear,
    .tp_call = quick_call,
};
