/* QuickItem: an Item with its Record, in one piece; see accelerator.h. */

#include "accelerator.h"

#include <structmember.h>

PyObject *
new_named_tuple(PyObject *type, Py_ssize_t count, PyObject **values)
{
    PyObject *made = ((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, count);
    for (Py_ssize_t index = 0; index < count; index++) {
        if (made == NULL || values[index] == NULL) {
            Py_CLEAR(made);
            for (Py_ssize_t rest = index; rest < count; rest++) {
                Py_XDECREF(values[rest]);
            }
            return NULL;
        }
        PyTuple_SET_ITEM(made, index, values[index]);
    }
    /* No cycle can go through what has only texts, bytes and numbers in it, as an empty or exact
     * tuple of those knows of itself: the garbage collector need not visit what is queued. */
    PyObject_GC_UnTrack(made);
    return made;
}

QuickItem *
new_quick_item(PyObject *settings, PyObject *key, PyObject *data, PyObject *value)
{
    QuickItem *made = PyObject_New(QuickItem, &QUICK_ITEM);
    if (made == NULL) {
        Py_DECREF(key);
        Py_DECREF(data);
        Py_DECREF(value);
        return NULL;
    }
    made->settings = Py_NewRef(settings);
    made->key = key;
    made->data = data;
    made->value = value;
    made->instance = made->name = NULL;
    made->timestamp = made->size = made->memory = made->level = made->number = 0;
    return made;
}

static void
quick_item_dealloc(PyObject *self)
{
    QuickItem *item = (QuickItem *)self;
    Py_DECREF(item->settings);
    Py_DECREF(item->key);
    Py_DECREF(item->data);
    Py_DECREF(item->value);
    Py_XDECREF(item->instance);
    Py_XDECREF(item->name);
    PyObject_Free(self);
}

static PyObject *
quick_item_headers(const QuickItem *item)
{
    if (item->number == 0) {
        return PyTuple_New(0);
    }
    return Py_BuildValue("(O(ON))", item->instance, item->name, decimal(item->number));
}

static PyObject *
quick_item_record(PyObject *self, void *closure)
{
    (void)closure;
    QuickItem *item = (QuickItem *)self;
    PyObject *parts[] = {Py_NewRef(item->data), Py_NewRef(item->value), quick_item_headers(item),
                         PyLong_FromLongLong(item->timestamp)};
    return new_named_tuple(setting(item->settings, S_RECORD), 4, parts);
}

static PyObject *
quick_item_topic(PyObject *self, void *closure)
{
    (void)closure;
    return Py_NewRef(setting(((QuickItem *)self)->settings, S_TOPIC));
}

static PyObject *
quick_item_none(PyObject *self, void *closure)
{
    (void)self;
    (void)closure;
    Py_RETURN_NONE;
}

/* plain() -> Item */
static PyObject *
quick_item_plain(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    QuickItem *item = (QuickItem *)self;
    PyObject *all[] = {quick_item_topic(self, NULL), Py_NewRef(item->key),
                       quick_item_record(self, NULL), PyLong_FromLongLong(item->size),
                       PyLong_FromLongLong(item->memory), PyLong_FromLongLong(item->level),
                       Py_NewRef(Py_None), Py_NewRef(Py_None)};
    return new_named_tuple(setting(item->settings, S_ITEM), 8, all);
}

static PyMemberDef QUICK_ITEM_MEMBERS[] = {
    {"key", T_OBJECT, offsetof(QuickItem, key), READONLY, NULL},
    {"timestamp", T_LONGLONG, offsetof(QuickItem, timestamp), READONLY, NULL},
    {"size", T_LONGLONG, offsetof(QuickItem, size), READONLY, NULL},
    {"memory", T_LONGLONG, offsetof(QuickItem, memory), READONLY, NULL},
    {"level", T_LONGLONG, offsetof(QuickItem, level), READONLY, NULL},
    {"number", T_LONGLONG, offsetof(QuickItem, number), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef QUICK_ITEM_GETTERS[] = {
    {"topic", quick_item_topic, NULL, NULL, NULL},
    {"record", quick_item_record, NULL, NULL, NULL},
    {"source", quick_item_none, NULL, NULL, NULL},
    {"waiter", quick_item_none, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef QUICK_ITEM_METHODS[] = {
    {"plain", quick_item_plain, METH_NOARGS, "plain() -> Item"},
    {NULL, NULL, 0, NULL},
};

PyTypeObject QUICK_ITEM = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "kiel_logging._accelerator.QuickItem",
    .tp_basicsize = sizeof(QuickItem),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = quick_item_dealloc,
    .tp_members = QUICK_ITEM_MEMBERS,
    .tp_getset = QUICK_ITEM_GETTERS,
    .tp_methods = QUICK_ITEM_METHODS,
};

/* -- settings --------------------------------------------------------------------------------- */

static int
is_tuple_type(PyObject *type)
{
    return PyType_Check(type) && PyType_HasFeature((PyTypeObject *)type, Py_TPFLAGS_TUPLE_SUBCLASS);
}

int
are_item_settings(PyObject *settings)
{
    if (PyTuple_CheckExact(settings) && PyTuple_GET_SIZE(settings) == S_COUNT &&
        PyUnicode_Check(setting(settings, S_TOPIC)) && is_tuple_type(setting(settings, S_RECORD)) &&
        is_tuple_type(setting(settings, S_ITEM)) &&
        PyLong_CheckExact(setting(settings, S_RECORD_SIZE)) &&
        PyLong_CheckExact(setting(settings, S_OVERHEAD)) &&
        PyLong_AsSsize_t(setting(settings, S_RECORD_SIZE)) >= 0 &&
        PyLong_AsSsize_t(setting(settings, S_OVERHEAD)) >= 0) {
        return 1;
    }
    PyErr_SetString(PyExc_TypeError, "settings for items of a topic were expected");
    return 0;
}

/* item_settings(topic, record, item, record_size, overhead) -> tuple: those of a topic for which no
 * LogRecord is converted. The others are None, and are_settings() refuses them. */
PyObject *
item_settings(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    static const int given[] = {S_TOPIC, S_RECORD, S_ITEM, S_RECORD_SIZE, S_OVERHEAD};
    if (count != sizeof(given) / sizeof(*given)) {
        PyErr_SetString(PyExc_TypeError, "item_settings() takes five arguments");
        return NULL;
    }
    PyObject *made = PyTuple_New(S_COUNT);
    for (Py_ssize_t index = 0; made != NULL && index < S_COUNT; index++) {
        PyTuple_SET_ITEM(made, index, Py_NewRef(Py_None));
    }
    for (Py_ssize_t index = 0; made != NULL && index < count; index++) {
        PyTuple_SetItem(made, given[index], Py_NewRef(args[index]));
    }
    if (made != NULL && !are_item_settings(made)) {
        Py_CLEAR(made);
    }
    return made;
}
