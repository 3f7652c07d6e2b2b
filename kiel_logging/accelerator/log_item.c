/* From a LogRecord to an item: what record/quick.py does, for fewer options and values.
 *
 * Runs no code of the program's: no __str__ of its objects, which might log. */

#include "accelerator.h"


/* What S_PLACES tells the places of, among the attributes that logging gives a record; behind
 * them come those of a call site. */
enum {
    P_EXC_INFO, P_EXC_TEXT, P_STACK_INFO, P_MSG, P_ARGS, P_CREATED, P_LEVELNO, P_TASK_NAME, P_SITE
};
enum { NO_PLACE = 255, MOST_NAMES = 64, MOST_EXTRAS = 500 };

/* A record's attributes, in the order in which logging sets them: references of our own, for others
 * may change the record whenever Python code runs, or the garbage collector. */
typedef struct {
    PyObject *values[MOST_NAMES];
    Py_ssize_t count;
    const unsigned char *places;
} Attributes;

static PyObject *
attribute(const Attributes *attributes, int which)
{
    return attributes->values[attributes->places[which]];
}

/* Read them in one pass; 0 when they are not what and where logging sets them. */
static int
read_attributes(Attributes *attributes, PyObject *own, PyObject *settings)
{
    PyObject *names = setting(settings, S_NAMES), *name, *value;
    Py_ssize_t place = 0, count = PyTuple_GET_SIZE(names);
    for (attributes->count = 0; attributes->count < count; attributes->count++) {
        if (!PyDict_Next(own, &place, &name, &value) ||
            name != PyTuple_GET_ITEM(names, attributes->count)) {
            return 0;
        }
        attributes->values[attributes->count] = Py_NewRef(value);
    }
    attributes->places = (const unsigned char *)PyBytes_AS_STRING(setting(settings, S_PLACES));
    return 1;
}

static void
release_attributes(Attributes *attributes)
{
    while (attributes->count > 0) {
        Py_DECREF(attributes->values[--attributes->count]);
    }
}

/* Whether it is equal to nothing that would be written in another way, and looking it up runs no
 * code of the program's. */
static int
is_of_a_site(PyObject *value)
{
    return PyUnicode_CheckExact(value) || PyLong_CheckExact(value) || value == Py_None;
}

/* Return a new reference to the (head, tail) of the record's call site; NULL with an error, or
 * without one where it needs care. */
static PyObject *
site_of(const Attributes *attributes, PyObject *settings)
{
    Py_ssize_t count = PyBytes_GET_SIZE(setting(settings, S_PLACES)) - P_SITE;
    PyObject *place = PyTuple_New(count);
    if (place == NULL) {
        return NULL;
    }
    for (Py_ssize_t index = 0; index < count; index++) {
        PyObject *value = attribute(attributes, (int)(P_SITE + index));
        if (!is_of_a_site(value)) {
            Py_DECREF(place);
            return NULL;
        }
        PyTuple_SET_ITEM(place, index, Py_NewRef(value));
    }
    PyObject *site = Py_XNewRef(PyDict_GetItemWithError(setting(settings, S_SITES), place));
    if (site == NULL && !PyErr_Occurred()) {
        site = PyObject_CallOneArg(setting(settings, S_NEW_SITE), place);
    }
    Py_DECREF(place);
    if (site != NULL &&
        !(PyTuple_CheckExact(site) && PyTuple_GET_SIZE(site) == 2 &&
          PyBytes_CheckExact(PyTuple_GET_ITEM(site, 0)) &&
          PyBytes_CheckExact(PyTuple_GET_ITEM(site, 1)))) {
        Py_CLEAR(site);
        PyErr_SetString(PyExc_TypeError, "a call site is a pair of bytes");
    }
    return site;
}

/* Whether showing the value runs no code of the program's. */
static int
is_atom(PyObject *value)
{
    return PyUnicode_CheckExact(value) || PyLong_CheckExact(value) ||
           PyFloat_CheckExact(value) || PyBool_Check(value) || value == Py_None;
}

/* Return a new reference to the text; NULL with an error, or without one where it needs care. */
static PyObject *
message_of(PyObject *text, PyObject *arguments)
{
    if (!PyUnicode_CheckExact(text)) {
        return NULL;
    }
    if (!PyTuple_CheckExact(arguments)) {
        return NULL;
    }
    Py_ssize_t count = PyTuple_GET_SIZE(arguments);
    for (Py_ssize_t index = 0; index < count; index++) {
        if (!is_atom(PyTuple_GET_ITEM(arguments, index))) {
            return NULL;
        }
    }
    return count == 0 ? Py_NewRef(text) : PyUnicode_Format(text, arguments);
}

/* Return the key as it is stored, None for no key; NULL without an error where it needs care. */
static PyObject *
stored_key(PyObject *key)
{
    if (key == Py_None || PyBytes_CheckExact(key)) {
        return Py_NewRef(key);
    }
    if (PyUnicode_CheckExact(key)) {
        PyObject *data = PyUnicode_AsUTF8String(key);
        if (data == NULL) {
            PyErr_Clear(); /* a lone surrogate */
        }
        return data;
    }
    if (PyLong_CheckExact(key)) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(key, &overflow);
        char digits[24]; /* PyBytes_FromFormat() knows no %lld */
        int size = PyOS_snprintf(digits, sizeof(digits), "%lld", number);
        return overflow ? NULL : PyBytes_FromStringAndSize(digits, size);
    }
    return NULL;
}

/* Whether nothing about the record needs the care of Python. */
static int
is_simple(PyObject *own, const Attributes *attributes, PyObject *settings)
{
    return attribute(attributes, P_EXC_INFO) == Py_None &&
           attribute(attributes, P_EXC_TEXT) == Py_None &&
           attribute(attributes, P_STACK_INFO) == Py_None &&
           PyFloat_CheckExact(attribute(attributes, P_CREATED)) &&
           PyLong_CheckExact(attribute(attributes, P_LEVELNO)) &&
           PyDict_Contains(own, N_message) == 0 && PyDict_GET_SIZE(own) < MOST_EXTRAS &&
           PyDict_Contains(setting(settings, S_MODULES), N_open_telemetry) == 0;
}

/* Return a new reference to the name of the task that logs, None for none; NULL with an error. */
static PyObject *
task_of(const Attributes *attributes, PyObject *settings)
{
    if (attributes->places[P_TASK_NAME] != NO_PLACE) { /* Python 3.12 */
        return Py_NewRef(attribute(attributes, P_TASK_NAME));
    }
    PyObject *loop = PyObject_CallNoArgs(setting(settings, S_RUNNING_LOOP));
    if (loop == NULL || loop == Py_None) {
        return loop;
    }
    Py_DECREF(loop);
    return PyObject_CallNoArgs(setting(settings, S_TASK_NAME));
}

/* What an item has in it; `data` and `value` are new references, the others are borrowed. */
typedef struct {
    PyObject *settings, *key, *data, *value, *level;
    long long timestamp;
    Py_ssize_t size, memory;
} Found;

/* Find the value and the key; 0 with an error, or without one where it needs care. */
static int
find_value(Found *found, PyObject *own, const Attributes *attributes)
{
    PyObject *settings = found->settings, *task = NULL, *message = NULL, *value = NULL;
    PyObject *site = site_of(attributes, settings);
    if (site != NULL) {
        task = task_of(attributes, settings);
    }
    if (task != NULL) {
        message = message_of(attribute(attributes, P_MSG), attribute(attributes, P_ARGS));
    }
    if (message != NULL && (task == Py_None || PyUnicode_CheckExact(task))) {
        Parts parts = {
            .created = PyFloat_AS_DOUBLE(attribute(attributes, P_CREATED)),
            .head = PyTuple_GET_ITEM(site, 0), .message = message,
            .tail = PyTuple_GET_ITEM(site, 1), .task = task == Py_None ? NULL : task,
            .own = own, .skipped = PyTuple_GET_SIZE(setting(settings, S_NAMES)),
            .taken = setting(settings, S_TAKEN), .end = setting(settings, S_END),
            .most = PyLong_AsSsize_t(setting(settings, S_MOST)),
        };
        value = value_of(&parts);
    }
    Py_XDECREF(message);
    Py_XDECREF(task);
    Py_XDECREF(site);
    if (value == Py_None) {
        Py_CLEAR(value);
    }
    found->value = value;
    return value != NULL;
}

/* Find all of it, with new references in `found`; 0 with an error, or without one where it needs
 * care. */
static int
find(Found *found, PyObject *own, const Attributes *attributes)
{
    PyObject *settings = found->settings;
    double milliseconds = PyFloat_AS_DOUBLE(attribute(attributes, P_CREATED)) * 1000;
    found->level = Py_NewRef(attribute(attributes, P_LEVELNO));
    found->key = Py_None;
    if (!find_value(found, own, attributes)) {
        Py_DECREF(found->level);
        return 0;
    }
    if (setting(settings, S_KEY) != Py_None) {
        PyObject *key = PyDict_GetItemWithError(own, setting(settings, S_KEY));
        found->key = key == NULL ? Py_None : key;
    }
    Py_INCREF(found->key);
    found->data = milliseconds < 9.2e18 ? stored_key(found->key) : NULL;
    if (found->data != NULL) {
        found->timestamp = (long long)milliseconds;
        found->size = PyLong_AsSsize_t(setting(settings, S_RECORD_SIZE)) +
                      PyBytes_GET_SIZE(found->value) +
                      (found->data == Py_None ? 0 : PyBytes_GET_SIZE(found->data));
        found->memory = found->size + PyLong_AsSsize_t(setting(settings, S_OVERHEAD));
        if (found->size <= PyLong_AsSsize_t(setting(settings, S_MOST))) {
            return 1;
        }
        Py_DECREF(found->data);
    }
    Py_DECREF(found->key);
    Py_DECREF(found->value);
    Py_DECREF(found->level);
    return 0;
}

/* Return an Item; takes the references of `found`. */
static PyObject *
item_of(const Found *found)
{
    PyObject *parts[] = {found->data, found->value, PyTuple_New(0),
                         PyLong_FromLongLong(found->timestamp)};
    PyObject *record = new_named_tuple(setting(found->settings, S_RECORD), 4, parts);
    PyObject *all[] = {Py_NewRef(setting(found->settings, S_TOPIC)), found->key, record,
                       PyLong_FromSsize_t(found->size), PyLong_FromSsize_t(found->memory),
                       found->level, Py_NewRef(Py_None), Py_NewRef(Py_None)};
    return new_named_tuple(setting(found->settings, S_ITEM), 8, all);
}

/* Return a QuickItem; takes the references of `found`. */
static PyObject *
quick_item_of(const Found *found)
{
    long long level = PyLong_AsLongLong(found->level);
    if (level == -1 && PyErr_Occurred()) { /* nobody has such levels */
        PyErr_Clear();
        return item_of(found);
    }
    QuickItem *made =
        new_quick_item(found->settings, found->key, found->data, found->value);
    Py_DECREF(found->level);
    if (made != NULL) {
        made->timestamp = found->timestamp;
        made->size = found->size;
        made->memory = found->memory;
        made->level = level;
    }
    return (PyObject *)made;
}

/* Make an item of the record by `make`; None where it needs care, NULL with an error. */
static PyObject *
converted(PyObject *settings, PyObject *record, PyObject *(*make)(const Found *))
{
    if ((PyObject *)Py_TYPE(record) != setting(settings, S_LOG_RECORD)) {
        Py_RETURN_NONE;
    }
    PyObject *own = PyObject_GenericGetDict(record, NULL);
    if (own == NULL) {
        return NULL;
    }
    Attributes attributes;
    Found found = {.settings = settings};
    PyObject *made = NULL;
    if (read_attributes(&attributes, own, settings) &&
        is_simple(own, &attributes, settings) && find(&found, own, &attributes)) {
        made = make(&found);
    }
    release_attributes(&attributes);
    Py_DECREF(own);
    if (made == NULL && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            return NULL; /* KeyboardInterrupt and the like */
        }
        PyErr_Clear(); /* the long way will say what is wrong */
    }
    return made == NULL ? Py_NewRef(Py_None) : made;
}

int
are_settings(PyObject *settings)
{
    if (PyTuple_CheckExact(settings) && PyTuple_GET_SIZE(settings) == S_COUNT &&
        PyTuple_CheckExact(setting(settings, S_NAMES)) &&
        PyTuple_GET_SIZE(setting(settings, S_NAMES)) <= MOST_NAMES) {
        return 1;
    }
    PyErr_SetString(PyExc_TypeError, "settings as quick.py makes them were expected");
    return 0;
}

PyObject *
quick_item_from(PyObject *settings, PyObject *record)
{
    return converted(settings, record, quick_item_of);
}

/* convert(settings, record) -> Item | None: as Quick.convert(), for fewer options and values.
 *
 * Runs no code of the program's: no __str__ of its objects, which might log. */
PyObject *
convert(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "convert() takes settings and a LogRecord");
        return NULL;
    }
    return are_settings(args[0]) ? converted(args[0], args[1], item_of) : NULL;
}

/* convert_quick(settings, record) -> QuickItem | Item | None: as convert(), in one piece. */
PyObject *
convert_quick(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "convert_quick() takes settings and a LogRecord");
        return NULL;
    }
    return are_settings(args[0]) ? quick_item_from(args[0], args[1]) : NULL;
}
