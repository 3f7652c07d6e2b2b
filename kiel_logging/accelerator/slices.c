/* What is done to many items at once: see handler/slices.py. */

#include "accelerator.h"

/* take(popleft, most) -> list: as take_in_python(). */
PyObject *
take(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "take(popleft, most) takes two arguments");
        return NULL;
    }
    Py_ssize_t most = PyLong_AsSsize_t(args[1]);
    PyObject *taken = most == -1 && PyErr_Occurred() ? NULL : PyList_New(0);
    for (Py_ssize_t index = 0; taken != NULL && index < most; index++) {
        PyObject *item = PyObject_CallNoArgs(args[0]);
        if (item == NULL) {
            if (!PyErr_ExceptionMatches(PyExc_IndexError)) {
                Py_CLEAR(taken);
                break;
            }
            PyErr_Clear(); /* it is empty */
            break;
        }
        if (PyList_Append(taken, item) < 0) {
            Py_CLEAR(taken);
        }
        Py_DECREF(item);
    }
    return taken;
}

/* Return the group of the item, borrowed; NULL without an error if it is not known. */
static PyObject *
known_group(PyObject *known, PyObject *item)
{
    PyObject *keys = PyDict_GetItemWithError(known, topic_of(item));
    if (keys == NULL) {
        return NULL;
    }
    if (!PyDict_CheckExact(keys)) {
        PyErr_SetString(PyExc_TypeError, "group(): known has a dict for each topic");
        return NULL;
    }
    PyObject *key = Py_IS_TYPE(item, &QUICK_ITEM) ? ((QuickItem *)item)->key
                                                  : PyTuple_GET_ITEM(item, I_KEY);
    return PyDict_GetItemWithError(keys, key);
}

/* Put the item into its group, and that among the `filled` if it was empty; -1 with an error. */
static int
group_one(PyObject *item, PyObject *known, PyObject *find, PyObject *filled)
{
    PyObject *group = Py_XNewRef(known_group(known, item));
    if (group == NULL) {
        group = PyErr_Occurred() ? NULL : PyObject_CallOneArg(find, item);
    }
    if (group == NULL || group == Py_None) {
        Py_XDECREF(group);
        return group == NULL ? -1 : 0;
    }
    int result = -1;
    if (!PyList_Check(group)) {
        PyErr_SetString(PyExc_TypeError, "group(): a group is a list");
    }
    else if (PyList_GET_SIZE(group) > 0 || PyList_Append(filled, group) == 0) {
        result = PyList_Append(group, item);
    }
    Py_DECREF(group);
    return result;
}

/* group(items, known, find) -> list: as group_in_python(). */
PyObject *
group(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 3 || !PyList_CheckExact(args[0]) || !PyDict_CheckExact(args[1])) {
        PyErr_SetString(PyExc_TypeError, "group(): arguments of other types were expected");
        return NULL;
    }
    PyObject *filled = PyList_New(0);
    for (Py_ssize_t index = 0; filled != NULL && index < PyList_GET_SIZE(args[0]); index++) {
        PyObject *item = Py_NewRef(PyList_GET_ITEM(args[0], index));
        if (!is_item(item)) {
            PyErr_SetString(PyExc_TypeError, "group(): a list of Items was expected");
            Py_CLEAR(filled);
        }
        else if (group_one(item, args[1], args[2], filled) < 0) {
            Py_CLEAR(filled);
        }
        Py_DECREF(item);
    }
    return filled;
}

/* Return a list of what `pick` returns for each item; NULL with an error. */
static PyObject *
picked(PyObject *items, PyObject *(*pick)(PyObject *))
{
    if (!PyList_Check(items)) {
        PyErr_SetString(PyExc_TypeError, "a list of Items was expected");
        return NULL;
    }
    Py_ssize_t count = PyList_GET_SIZE(items);
    PyObject *made = PyList_New(count);
    for (Py_ssize_t index = 0; made != NULL && index < count; index++) {
        PyObject *item = PyList_GET_ITEM(items, index), *value = NULL;
        if (!is_item(item)) {
            PyErr_SetString(PyExc_TypeError, "a list of Items was expected");
        }
        else {
            value = pick(item);
        }
        if (value == NULL) {
            Py_CLEAR(made);
        }
        else {
            PyList_SET_ITEM(made, index, value);
        }
    }
    return made;
}

static PyObject *
record_of(PyObject *item)
{
    return Py_NewRef(Py_IS_TYPE(item, &QUICK_ITEM) ? item : PyTuple_GET_ITEM(item, I_RECORD));
}

static PyObject *
size_of(PyObject *item)
{
    return Py_IS_TYPE(item, &QUICK_ITEM) ? PyLong_FromLongLong(((QuickItem *)item)->size)
                                         : Py_NewRef(PyTuple_GET_ITEM(item, I_SIZE));
}

/* records_of(items) -> list: as records_of_in_python(), but a QuickItem is its own record. */
PyObject *
records_of(PyObject *module, PyObject *items)
{
    (void)module;
    return picked(items, record_of);
}

/* sizes_of(items) -> list: as sizes_of_in_python(). */
PyObject *
sizes_of(PyObject *module, PyObject *items)
{
    (void)module;
    return picked(items, size_of);
}

/* memory_of(items) -> int: as memory_of_in_python(). */
PyObject *
memory_of(PyObject *module, PyObject *items)
{
    (void)module;
    if (!PyList_Check(items)) {
        PyErr_SetString(PyExc_TypeError, "memory_of() takes a list of Items");
        return NULL;
    }
    long long memory = 0;
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(items); index++) {
        PyObject *item = PyList_GET_ITEM(items, index);
        if (!is_item(item) || (PyTuple_Check(item) && PyTuple_GET_SIZE(item) <= I_MEMORY)) {
            PyErr_SetString(PyExc_TypeError, "memory_of() takes a list of Items");
            return NULL;
        }
        memory += number_of(item, I_MEMORY);
    }
    return PyErr_Occurred() ? NULL : PyLong_FromLongLong(memory);
}
