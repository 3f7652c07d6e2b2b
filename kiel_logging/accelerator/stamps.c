/* Stamps: what stamp_in_python() in proof/stamper.py does. */

#include "accelerator.h"

/* As wire/record_batch.py has it. */
enum { HEADER_OVERHEAD = 10 };

/* The garbage collector need not visit a tuple in which all is such that no cycle goes through it;
 * of exact tuples it finds that out by itself. */
static void
untrack_if_simple(PyObject *made)
{
    for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(made); index++) {
        PyObject *part = PyTuple_GET_ITEM(made, index);
        if (PyObject_IS_GC(part) && !(PyTuple_Check(part) && !PyObject_GC_IsTracked(part))) {
            return;
        }
    }
    PyObject_GC_UnTrack(made);
}

/* What an object of a subclass has beside its tuple. */
static int
copy_attributes(PyObject *from, PyObject *to)
{
    PyObject *own = PyObject_GenericGetDict(from, NULL);
    PyObject *copy = own == NULL ? NULL : PyDict_Copy(own);
    int result = copy == NULL ? -1 : PyObject_GenericSetDict(to, copy, NULL);
    Py_XDECREF(own);
    Py_XDECREF(copy);
    return result;
}

/* Return a copy of a named tuple in which the values from `first` on are others; takes the
 * references that are given, NULL (an error is set) among them. */
static PyObject *
replaced(PyObject *from, Py_ssize_t first, Py_ssize_t count, PyObject **values)
{
    Py_ssize_t size = PyTuple_GET_SIZE(from);
    PyTypeObject *type = Py_TYPE(from);
    int whole = 1;
    for (Py_ssize_t index = 0; index < count; index++) {
        whole = whole && values[index] != NULL;
    }
    PyObject *made = whole ? type->tp_alloc(type, size) : NULL;
    if (made == NULL) {
        for (Py_ssize_t index = 0; index < count; index++) {
            Py_XDECREF(values[index]);
        }
        return NULL;
    }
    for (Py_ssize_t index = 0; index < size; index++) {
        int other = index >= first && index < first + count;
        PyTuple_SET_ITEM(made, index, other ? values[index - first]
                                            : Py_NewRef(PyTuple_GET_ITEM(from, index)));
    }
    if (type->tp_dictoffset == 0) {
        untrack_if_simple(made);
    }
    else if (copy_attributes(from, made) < 0) {
        Py_CLEAR(made);
    }
    return made;
}

/* Return the headers with two more; takes the reference to the number, which may be NULL. */
static PyObject *
stamped_headers(PyObject *headers, PyObject *instance, PyObject *name, PyObject *number)
{
    PyObject *header = number == NULL ? NULL : PyTuple_Pack(2, name, number);
    Py_XDECREF(number);
    if (header == NULL) {
        return NULL;
    }
    untrack_if_simple(header);
    Py_ssize_t count = PyTuple_GET_SIZE(headers);
    PyObject *made = PyTuple_New(count + 2);
    if (made == NULL) {
        Py_DECREF(header);
        return NULL;
    }
    for (Py_ssize_t index = 0; index < count; index++) {
        PyTuple_SET_ITEM(made, index, Py_NewRef(PyTuple_GET_ITEM(headers, index)));
    }
    PyTuple_SET_ITEM(made, count, Py_NewRef(instance));
    PyTuple_SET_ITEM(made, count + 1, header);
    untrack_if_simple(made);
    return made;
}

static PyObject *
stamped(PyObject *item, PyObject *instance, PyObject *name, long long number, Py_ssize_t more)
{
    PyObject *record = PyTuple_GET_ITEM(item, I_RECORD), *digits = decimal(number);
    Py_ssize_t size = PyLong_AsSsize_t(PyTuple_GET_ITEM(item, I_SIZE));
    if (digits == NULL || (size == -1 && PyErr_Occurred())) {
        Py_XDECREF(digits);
        return NULL;
    }
    size += more + PyBytes_GET_SIZE(digits);
    PyObject *headers =
        stamped_headers(PyTuple_GET_ITEM(record, R_HEADERS), instance, name, digits);
    PyObject *values[] = {replaced(record, R_HEADERS, 1, &headers), NULL};
    if (values[0] != NULL) {
        values[1] = PyLong_FromSsize_t(size);
    }
    return replaced(item, I_RECORD, 2, values);
}

/* It has no other owner who minds: a QuickItem is stamped where it is. */
static PyObject *
stamped_quick_item(QuickItem *item, PyObject *instance, PyObject *name, long long number,
                   Py_ssize_t more)
{
    if (item->number > 0) {
        PyErr_SetString(PyExc_ValueError, "stamp(): an item that has a stamp");
        return NULL;
    }
    char room[24];
    item->size += more + (room + sizeof(room) - digits_of(room, number));
    item->instance = Py_NewRef(instance);
    item->name = Py_NewRef(name);
    item->number = number;
    return Py_NewRef((PyObject *)item);
}

/* The number that a topic was given last, while its items come one behind the other. */
typedef struct {
    PyObject *sequences, *topic;
    long long number;
} Count;

static int
count_end(Count *count)
{
    int result = 0;
    if (count->topic != NULL) {
        PyObject *number = PyLong_FromLongLong(count->number);
        result = number == NULL ? -1 : PyDict_SetItem(count->sequences, count->topic, number);
        Py_XDECREF(number);
        Py_CLEAR(count->topic);
    }
    return result;
}

static int
count_begin(Count *count, PyObject *topic)
{
    if (count->topic == topic) {
        return 0;
    }
    if (count_end(count) < 0) {
        return -1;
    }
    PyObject *last = PyDict_GetItemWithError(count->sequences, topic);
    count->number = last == NULL ? 0 : PyLong_AsLongLong(last);
    if (PyErr_Occurred()) {
        return -1;
    }
    if (count->number < 0) {
        PyErr_SetString(PyExc_ValueError, "stamp(): numbers begin with 1");
        return -1;
    }
    count->topic = Py_NewRef(topic);
    return 0;
}

static int
is_stamp(PyObject *const *args, Py_ssize_t count)
{
    return count == 4 && PyList_CheckExact(args[0]) && PyTuple_CheckExact(args[1]) &&
           PyTuple_GET_SIZE(args[1]) == 2 && PyUnicode_CheckExact(PyTuple_GET_ITEM(args[1], 0)) &&
           PyBytes_CheckExact(PyTuple_GET_ITEM(args[1], 1)) && PyUnicode_CheckExact(args[2]) &&
           PyDict_CheckExact(args[3]);
}

/* stamp(items, instance, name, sequences) -> list: as stamp_in_python(). */
PyObject *
stamp(PyObject *module, PyObject *const *args, Py_ssize_t given)
{
    (void)module;
    if (!is_stamp(args, given)) {
        PyErr_SetString(PyExc_TypeError, "stamp(): arguments of other types were expected");
        return NULL;
    }
    PyObject *items = args[0], *instance = args[1], *name = args[2];
    Py_ssize_t more = 2 * HEADER_OVERHEAD + PyBytes_GET_SIZE(PyTuple_GET_ITEM(instance, 1)) +
                      4 * (PyUnicode_GET_LENGTH(PyTuple_GET_ITEM(instance, 0)) +
                           PyUnicode_GET_LENGTH(name));
    Count count = {.sequences = args[3]};
    PyObject *made = PyList_New(0);
    for (Py_ssize_t index = 0; made != NULL && index < PyList_GET_SIZE(items); index++) {
        PyObject *item = Py_NewRef(PyList_GET_ITEM(items, index)), *other = NULL;
        if (!is_item(item)) {
            PyErr_SetString(PyExc_TypeError, "stamp(): a list of Items was expected");
        }
        else if (count_begin(&count, topic_of(item)) == 0) {
            other = Py_IS_TYPE(item, &QUICK_ITEM)
                        ? stamped_quick_item((QuickItem *)item, instance, name, ++count.number,
                                             more)
                        : stamped(item, instance, name, ++count.number, more);
        }
        if (other == NULL || PyList_Append(made, other) < 0) {
            Py_CLEAR(made);
        }
        Py_XDECREF(other);
        Py_DECREF(item);
    }
    if (made == NULL) {
        Py_CLEAR(count.topic);
    }
    else if (count_end(&count) < 0) {
        Py_CLEAR(made);
    }
    return made;
}
