/* QuickItem, and what the loop thread does with many items at once. */

#include "accelerator.h"

#include <structmember.h>

/* -- one item ----------------------------------------------------------------------------------- */

static size_t
size_of(Blob blob)
{
    return (size_t)Py_MAX(blob.size, 0);
}

/* Return the most bytes that headers take in a batch, as header_size() in Python. */
static long long
room_of(const Contents *its)
{
    long long size = 0;
    const char *at = its->headers.data;
    for (long long index = 0; index < its->header_count; index++) {
        Blob name, content;
        at = get_header(at, &name, &content);
        size += HEADER_OVERHEAD + 4 * name.size + Py_MAX(content.size, 0);
    }
    return size;
}

/* Copy a blob to `*at`, and move behind it. */
static Blob
copied(char **at, Blob blob)
{
    Blob made = {memcpy(*at, blob.data, size_of(blob)), blob.size};
    *at += size_of(blob);
    return made;
}

PyObject *
new_quick_item(PyObject *topic, PyObject *key, const Contents *its, PyObject *source,
               long long timestamp, long long level)
{
    size_t all = size_of(its->key) + size_of(its->value) + size_of(its->headers);
    QuickItem *made = PyObject_Malloc(offsetof(QuickItem, bytes) + all);
    if (made == NULL) {
        return PyErr_NoMemory();
    }
    PyObject_Init((PyObject *)made, &QUICK_ITEM);
    made->topic = Py_NewRef(topic);
    made->key = Py_NewRef(key);
    made->source = Py_NewRef(source);
    made->instance = made->name = made->run = NULL;
    made->timestamp = timestamp;
    made->size = RECORD_SIZE + (long long)(size_of(its->key) + size_of(its->value)) + room_of(its);
    made->memory = made->size + ITEM_MEMORY + (source == Py_None ? 0 : SOURCE_MEMORY);
    made->level = level;
    made->number = made->entry = 0;
    char *at = made->bytes;
    made->its.key = copied(&at, its->key);
    made->its.value = copied(&at, its->value);
    made->its.headers = copied(&at, its->headers);
    made->its.header_count = its->header_count;
    return (PyObject *)made;
}

static void
item_dealloc(PyObject *self)
{
    QuickItem *item = (QuickItem *)self;
    Py_DECREF(item->topic);
    Py_DECREF(item->key);
    Py_DECREF(item->source);
    Py_XDECREF(item->instance);
    Py_XDECREF(item->name);
    Py_XDECREF(item->run);
    PyObject_Free(self);
}

/* As Py_BuildValue() has it: NULL stands for None. */
static const char *
bytes_or_null(Blob blob)
{
    return blob.size < 0 ? NULL : blob.data;
}

/* Return the headers, those of the stamp behind the others, as a tuple. */
static PyObject *
item_headers(const QuickItem *item)
{
    Py_ssize_t count = (Py_ssize_t)item->its.header_count, index = 0;
    PyObject *made = PyTuple_New(count + (item->number > 0 ? 2 : 0));
    const char *at = item->its.headers.data;
    for (; made != NULL && index < count; index++) {
        Blob name, content;
        at = get_header(at, &name, &content);
        PyTuple_SET_ITEM(made, index, Py_BuildValue("(s#y#)", name.data, name.size,
                                                    bytes_or_null(content), content.size));
    }
    if (made != NULL && item->number > 0) {
        char room[DIGITS], *digits = digits_of(room, item->number);
        PyTuple_SET_ITEM(made, count, Py_NewRef(item->instance));
        PyTuple_SET_ITEM(made, count + 1,
                         Py_BuildValue("(Oy#)", item->name, digits,
                                       (Py_ssize_t)(room + sizeof(room) - digits)));
    }
    if (PyErr_Occurred()) {
        Py_CLEAR(made);
    }
    return made;
}

/* Call a class of the package with the arguments of a tuple, which may be NULL and is released. */
static PyObject *
named_tuple(const char *module, const char *name, PyObject *arguments)
{
    PyObject *found = arguments == NULL ? NULL : PyImport_ImportModule(module);
    PyObject *type = found == NULL ? NULL : PyObject_GetAttrString(found, name);
    PyObject *made = type == NULL ? NULL : PyObject_CallObject(type, arguments);
    Py_XDECREF(arguments);
    Py_XDECREF(found);
    Py_XDECREF(type);
    return made;
}

static PyObject *
item_record(PyObject *self, void *closure)
{
    (void)closure;
    QuickItem *item = (QuickItem *)self;
    PyObject *headers = item_headers(item);
    return named_tuple("kiel_logging.records", "Record",
                       headers == NULL ? NULL
                                       : Py_BuildValue("(y#y#NL)", bytes_or_null(item->its.key),
                                                       item->its.key.size,
                                                       bytes_or_null(item->its.value),
                                                       item->its.value.size, headers,
                                                       item->timestamp));
}

static PyObject *
item_waiter(PyObject *self, void *closure)
{
    (void)self;
    (void)closure;
    Py_RETURN_NONE;
}

/* plain() -> Item */
static PyObject *
item_plain(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    QuickItem *item = (QuickItem *)self;
    PyObject *record = item_record(self, NULL);
    return named_tuple("kiel_logging.record.item", "Item",
                       record == NULL ? NULL
                                      : Py_BuildValue("(OONLLLOO)", item->topic, item->key, record,
                                                      item->size, item->memory, item->level,
                                                      item->source, Py_None));
}

static PyMemberDef ITEM_MEMBERS[] = {
    {"topic", T_OBJECT, offsetof(QuickItem, topic), READONLY, NULL},
    {"key", T_OBJECT, offsetof(QuickItem, key), READONLY, NULL},
    {"timestamp", T_LONGLONG, offsetof(QuickItem, timestamp), READONLY, NULL},
    {"size", T_LONGLONG, offsetof(QuickItem, size), READONLY, NULL},
    {"memory", T_LONGLONG, offsetof(QuickItem, memory), READONLY, NULL},
    {"level", T_LONGLONG, offsetof(QuickItem, level), READONLY, NULL},
    {"source", T_OBJECT, offsetof(QuickItem, source), READONLY, NULL},
    {"number", T_LONGLONG, offsetof(QuickItem, number), READONLY, NULL},
    {"run", T_OBJECT, offsetof(QuickItem, run), 0, NULL},
    {"entry", T_LONGLONG, offsetof(QuickItem, entry), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef ITEM_GETTERS[] = {
    {"record", item_record, NULL, NULL, NULL},
    {"waiter", item_waiter, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef ITEM_METHODS[] = {
    {"plain", item_plain, METH_NOARGS, "plain() -> Item"},
    {NULL, NULL, 0, NULL},
};

PyTypeObject QUICK_ITEM = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "kiel_logging._accelerator.QuickItem",
    .tp_basicsize = sizeof(QuickItem),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = item_dealloc,
    .tp_members = ITEM_MEMBERS,
    .tp_getset = ITEM_GETTERS,
    .tp_methods = ITEM_METHODS,
};

/* -- the topic and key of any item -------------------------------------------------------------- */

static PyObject *
part_of(PyObject *item, int which)
{
    if (Py_IS_TYPE(item, &QUICK_ITEM)) {
        return which == I_TOPIC ? ((QuickItem *)item)->topic : ((QuickItem *)item)->key;
    }
    if (PyTuple_Check(item) && PyTuple_GET_SIZE(item) > I_RECORD &&
        PyUnicode_Check(PyTuple_GET_ITEM(item, I_TOPIC))) {
        return PyTuple_GET_ITEM(item, which);
    }
    PyErr_SetString(PyExc_TypeError, "a list of Items was expected");
    return NULL;
}

/* -- groups ------------------------------------------------------------------------------------- */

/* Return a borrowed group by the hash of a key that is text or bytes; NULL if find() has to look,
 * which also meets again whatever was wrong with the key. */
static PyObject *
hashed_group(PyObject *route, PyObject *key)
{
    PyObject *groups = PyTuple_Check(route) && PyTuple_GET_SIZE(route) == 2
                           ? PyTuple_GET_ITEM(route, 1) : NULL;
    PyObject *data = PyUnicode_CheckExact(key) ? PyUnicode_AsUTF8String(key)
                     : PyBytes_CheckExact(key) ? Py_NewRef(key) : NULL, *found = NULL;
    if (data != NULL && groups != NULL && PyList_Check(groups) && PyBytes_GET_SIZE(data) > 0) {
        PyObject *hash = PyObject_CallOneArg(PyTuple_GET_ITEM(route, 0), data);
        unsigned long number = hash == NULL ? 0 : PyLong_AsUnsignedLong(hash);
        Py_ssize_t count = PyList_GET_SIZE(groups);
        if (hash != NULL && !PyErr_Occurred() && count > 0) {
            found = PyList_GET_ITEM(groups, (Py_ssize_t)(number % (unsigned long)count));
        }
        Py_XDECREF(hash);
    }
    Py_XDECREF(data);
    PyErr_Clear();
    return found;
}

/* Return a new reference to the group of the item; None or NULL as find() has it. */
static PyObject *
group_of(PyObject *item, PyObject *routes, PyObject *keyless, PyObject *find)
{
    PyObject *topic = part_of(item, I_TOPIC), *found = NULL;
    if (topic != NULL && part_of(item, I_KEY) == Py_None) {
        found = PyDict_GetItemWithError(keyless, topic);
    }
    else if (topic != NULL) {
        PyObject *route = PyDict_GetItemWithError(routes, topic);
        found = route == NULL ? NULL : hashed_group(route, part_of(item, I_KEY));
    }
    return found != NULL || PyErr_Occurred() ? Py_XNewRef(found) : PyObject_CallOneArg(find, item);
}

/* group(items, routes, keyless, find) -> list: as group_in_python(). */
PyObject *
group(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *items, *routes, *keyless, *find, *filled = PyList_New(0);
    if (filled == NULL ||
        !PyArg_ParseTuple(args, "O!O!O!O", &PyList_Type, &items, &PyDict_Type, &routes,
                          &PyDict_Type, &keyless, &find)) {
        Py_XDECREF(filled);
        return NULL;
    }
    int failed = 0;
    for (Py_ssize_t index = 0; !failed && index < PyList_GET_SIZE(items); index++) {
        PyObject *item = Py_NewRef(PyList_GET_ITEM(items, index));
        PyObject *found = group_of(item, routes, keyless, find);
        failed = found == NULL;
        if (!failed && found != Py_None) {
            failed = !PyList_Check(found) ||
                     (PyList_GET_SIZE(found) == 0 && PyList_Append(filled, found) < 0) ||
                     PyList_Append(found, item) < 0;
        }
        Py_XDECREF(found);
        Py_DECREF(item);
    }
    if (failed) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "group(): a group is a list");
        }
        Py_CLEAR(filled);
    }
    return filled;
}

/* -- sums, and marks ---------------------------------------------------------------------------- */

/* Add up what an item has; -1 with an error. */
static int
add_up(PyObject *item, long long *sum)
{
    long long size, memory;
    if (Py_IS_TYPE(item, &QUICK_ITEM)) {
        size = ((QuickItem *)item)->size;
        memory = ((QuickItem *)item)->memory;
    }
    else if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) <= I_MEMORY) {
        PyErr_SetString(PyExc_TypeError, "a list of Items was expected");
        return -1;
    }
    else {
        size = PyLong_AsLongLong(PyTuple_GET_ITEM(item, I_SIZE));
        memory = PyLong_AsLongLong(PyTuple_GET_ITEM(item, I_MEMORY));
    }
    sum[0] += size;
    sum[1] = Py_MAX(sum[1], size);
    sum[2] += memory;
    return PyErr_Occurred() ? -1 : 0;
}

/* totals(items) -> (size, largest, memory): as totals_in_python(). */
PyObject *
totals(PyObject *module, PyObject *items)
{
    (void)module;
    long long sum[3] = {0, 0, 0};
    if (!PyList_Check(items)) {
        PyErr_SetString(PyExc_TypeError, "totals() takes a list");
        return NULL;
    }
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(items); index++) {
        if (add_up(PyList_GET_ITEM(items, index), sum) < 0) {
            return NULL;
        }
    }
    return Py_BuildValue("(LLL)", sum[0], sum[1], sum[2]);
}

/* mark_items(items, run): as mark_items_in_python(). */
PyObject *
mark_items(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *items, *run;
    if (!PyArg_ParseTuple(args, "O!O", &PyList_Type, &items, &run)) {
        return NULL;
    }
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(items); index++) {
        PyObject *item = PyList_GET_ITEM(items, index), *number;
        if (Py_IS_TYPE(item, &QUICK_ITEM)) {
            Py_XSETREF(((QuickItem *)item)->run, Py_NewRef(run));
            ((QuickItem *)item)->entry = index;
        }
        else if (item != Py_None) {
            int failed = (number = PyLong_FromSsize_t(index)) == NULL ||
                         PyObject_SetAttrString(item, "run", run) < 0 ||
                         PyObject_SetAttrString(item, "entry", number) < 0;
            Py_XDECREF(number);
            if (failed) {
                return NULL;
            }
        }
    }
    Py_RETURN_NONE;
}

/* -- stamps ------------------------------------------------------------------------------------- */

/* The number that a topic was given last, while its items come one behind the other. */
typedef struct {
    PyObject *sequences, *topic;
    long long number;
} Count;

/* Note the number of the topic; -1 with an error. */
static int
note_number(Count *count)
{
    PyObject *number = count->topic == NULL ? NULL : PyLong_FromLongLong(count->number);
    int result = number == NULL ? -(count->topic != NULL)
                                : PyDict_SetItem(count->sequences, count->topic, number);
    Py_XDECREF(number);
    Py_CLEAR(count->topic);
    return result;
}

/* Return the number behind the last one of the item's topic; -1 with an error. */
static long long
next_number(Count *count, PyObject *item)
{
    PyObject *topic = part_of(item, I_TOPIC);
    if (topic != NULL && topic != count->topic && note_number(count) == 0) {
        PyObject *last = PyDict_GetItemWithError(count->sequences, topic);
        count->number = last == NULL ? 0 : PyLong_AsLongLong(last);
        count->topic = Py_NewRef(topic);
    }
    if (count->number < 0 && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_ValueError, "stamp(): numbers begin with 1");
    }
    return PyErr_Occurred() ? -1 : ++count->number;
}

/* stamp(items, instance, name, sequences, careful) -> list: as stamp_in_python(). A QuickItem has
 * one owner, and is stamped where it is; careful(item, number) returns a copy of any other. */
PyObject *
stamp(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *items, *instance, *name, *sequences, *careful, *title, *id;
    if (!PyArg_ParseTuple(args, "O!O!UO!O", &PyList_Type, &items, &PyTuple_Type, &instance, &name,
                          &PyDict_Type, &sequences, &careful) ||
        !PyArg_ParseTuple(instance, "US", &title, &id)) {
        return NULL;
    }
    Py_ssize_t more = 2 * HEADER_OVERHEAD + PyBytes_GET_SIZE(id) +
                      4 * (PyUnicode_GET_LENGTH(title) + PyUnicode_GET_LENGTH(name));
    Count count = {.sequences = sequences};
    PyObject *stamped = PyList_New(0);
    for (Py_ssize_t index = 0; stamped != NULL && index < PyList_GET_SIZE(items); index++) {
        PyObject *item = Py_NewRef(PyList_GET_ITEM(items, index)), *made = NULL;
        long long number = next_number(&count, item);
        QuickItem *quick = Py_IS_TYPE(item, &QUICK_ITEM) ? (QuickItem *)item : NULL;
        if (number > 0 && quick == NULL) {
            made = PyObject_CallFunction(careful, "OL", item, number);
        }
        else if (number > 0 && quick->number > 0) {
            PyErr_SetString(PyExc_ValueError, "stamp(): an item that has a stamp");
        }
        else if (number > 0) {
            char room[24];
            quick->size += more + (room + sizeof(room) - digits_of(room, number));
            quick->instance = Py_NewRef(instance);
            quick->name = Py_NewRef(name);
            quick->number = number;
            made = Py_NewRef(item);
        }
        if (made == NULL || PyList_Append(stamped, made) < 0) {
            Py_CLEAR(stamped);
        }
        Py_XDECREF(made);
        Py_DECREF(item);
    }
    if (stamped == NULL) {
        Py_CLEAR(count.topic);
    }
    else if (note_number(&count) < 0) {
        Py_CLEAR(stamped);
    }
    return stamped;
}

/* -- counts ------------------------------------------------------------------------------------- */

static PyObject *
counts_new(PyTypeObject *type, PyObject *args, PyObject *named)
{
    static char *names[] = {"many_records", "many_bytes", "batch_size", NULL};
    long long records, bytes, batch;
    if (!PyArg_ParseTupleAndKeywords(args, named, "LLL", names, &records, &bytes, &batch)) {
        return NULL;
    }
    Counts *counts = (Counts *)type->tp_alloc(type, 0);
    if (counts != NULL) {
        counts->many_records = records;
        counts->many_bytes = bytes;
        counts->batch_size = batch;
    }
    return (PyObject *)counts;
}

/* lose(): count a record for which there was no memory; takes none. */
static PyObject *
counts_lose(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    ((Counts *)self)->out_of_memory++;
    Py_RETURN_NONE;
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

static PyMethodDef COUNTS_METHODS[] = {
    {"lose", counts_lose, METH_NOARGS, "lose() -> None"},
    {NULL, NULL, 0, NULL},
};

PyTypeObject COUNTS = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "kiel_logging._accelerator.Counts",
    .tp_basicsize = sizeof(Counts),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = counts_new,
    .tp_members = COUNTS_MEMBERS,
    .tp_methods = COUNTS_METHODS,
};
