/* The hottest loops of the package in C: what wire/record_batch.py, partitioners.py and
 * handler/conversion/quick.py and proof/stamper.py do, to the byte, for what is common; for the
 * rest None, which means "do it in Python". Optional: without it everything works as well, only
 * slower.
 *
 * Pure: no state but the text of the last second, no callbacks but the ones that are given. Every
 * function holds the GIL.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <structmember.h>

/* -- a buffer that grows ---------------------------------------------------------------------- */

#define ON_STACK 2048

typedef struct {
    char *data;
    size_t size;
    size_t room;
    char first[ON_STACK];
} Buffer;

static void
buffer_begin(Buffer *buffer)
{
    buffer->data = buffer->first;
    buffer->size = 0;
    buffer->room = ON_STACK;
}

static void
buffer_end(Buffer *buffer)
{
    if (buffer->data != buffer->first) {
        PyMem_Free(buffer->data);
    }
}

/* Return where `more` bytes can be written, or NULL with MemoryError set. */
static char *
buffer_reserve(Buffer *buffer, size_t more)
{
    if (buffer->room - buffer->size < more) {
        size_t room = (buffer->size + more) * 2;
        char *data = buffer->data == buffer->first
                         ? PyMem_Malloc(room)
                         : PyMem_Realloc(buffer->data, room);
        if (data == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        if (buffer->data == buffer->first) {
            memcpy(data, buffer->first, buffer->size);
        }
        buffer->data = data;
        buffer->room = room;
    }
    return buffer->data + buffer->size;
}

static int
buffer_write(Buffer *buffer, const char *data, size_t size)
{
    char *at = buffer_reserve(buffer, size);
    if (at == NULL) {
        return -1;
    }
    memcpy(at, data, size);
    buffer->size += size;
    return 0;
}

static int
buffer_write_bytes(Buffer *buffer, PyObject *bytes)
{
    return buffer_write(buffer, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
}

/* -- JSON, as orjson writes it ---------------------------------------------------------------- */

/* What a function that writes JSON returns: NEEDS_CARE is for what Python has to look at. */
enum { FAILED = -1, WRITTEN = 0, NEEDS_CARE = 1 };

static const char HEX[] = "0123456789abcdef";

static int
must_escape(unsigned char character)
{
    return character < 0x20 || character == '"' || character == '\\';
}

static char *
write_escaped(char *at, unsigned char character)
{
    *at++ = '\\';
    switch (character) {
    case '"': *at++ = '"'; return at;
    case '\\': *at++ = '\\'; return at;
    case '\b': *at++ = 'b'; return at;
    case '\t': *at++ = 't'; return at;
    case '\n': *at++ = 'n'; return at;
    case '\f': *at++ = 'f'; return at;
    case '\r': *at++ = 'r'; return at;
    default:
        memcpy(at, "u00", 3);
        at[3] = HEX[character >> 4];
        at[4] = HEX[character & 0x0f];
        return at + 5;
    }
}

static int
write_text(Buffer *buffer, PyObject *text)
{
    Py_ssize_t size;
    const char *data = PyUnicode_AsUTF8AndSize(text, &size);
    if (data == NULL) { /* a lone surrogate */
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
            return FAILED;
        }
        PyErr_Clear();
        return NEEDS_CARE;
    }
    char *at = buffer_reserve(buffer, (size_t)size * 6 + 2);
    if (at == NULL) {
        return FAILED;
    }
    *at++ = '"';
    for (Py_ssize_t index = 0; index < size; index++) {
        unsigned char character = (unsigned char)data[index];
        if (must_escape(character)) {
            at = write_escaped(at, character);
        }
        else {
            *at++ = (char)character;
        }
    }
    *at++ = '"';
    buffer->size = (size_t)(at - buffer->data);
    return WRITTEN;
}

static int
write_int(Buffer *buffer, PyObject *number)
{
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (overflow) {
        return NEEDS_CARE;
    }
    char digits[24];
    int size = PyOS_snprintf(digits, sizeof(digits), "%lld", value);
    return buffer_write(buffer, digits, (size_t)size) < 0 ? FAILED : WRITTEN;
}

static int
write_by_python(Buffer *buffer, PyObject *value, PyObject *dump)
{
    PyObject *made = PyObject_CallOneArg(dump, value);
    if (made == NULL) {
        return FAILED;
    }
    int result = NEEDS_CARE;
    if (PyBytes_CheckExact(made)) {
        result = buffer_write_bytes(buffer, made) < 0 ? FAILED : WRITTEN;
    }
    Py_DECREF(made);
    return result;
}

static int
write_value(Buffer *buffer, PyObject *value, PyObject *dump)
{
    if (PyUnicode_CheckExact(value)) {
        return write_text(buffer, value);
    }
    if (PyLong_CheckExact(value)) {
        return write_int(buffer, value);
    }
    if (value == Py_None) {
        return buffer_write(buffer, "null", 4);
    }
    if (value == Py_True) {
        return buffer_write(buffer, "true", 4);
    }
    if (value == Py_False) {
        return buffer_write(buffer, "false", 5);
    }
    if (PyFloat_CheckExact(value) && !isfinite(PyFloat_AS_DOUBLE(value))) {
        return NEEDS_CARE;
    }
    return write_by_python(buffer, value, dump);
}

/* Write `,"name":value` for the items behind the first `skipped`; none may be named as one in
 * `taken`. */
static int
write_fields(Buffer *buffer, PyObject *fields, Py_ssize_t skipped, PyObject *taken, PyObject *dump)
{
    PyObject *name, *value;
    Py_ssize_t place = 0, size = PyDict_GET_SIZE(fields);
    for (Py_ssize_t index = 0; PyDict_Next(fields, &place, &name, &value); index++) {
        if (index < skipped) {
            continue;
        }
        int known = PyUnicode_CheckExact(name) ? PySet_Contains(taken, name) : 1;
        if (known != 0) {
            return known < 0 ? FAILED : NEEDS_CARE;
        }
        Py_INCREF(name); /* `dump` may run anything */
        Py_INCREF(value);
        int result = buffer_write(buffer, ",", 1);
        if (result == WRITTEN) {
            result = write_text(buffer, name);
        }
        if (result == WRITTEN) {
            result = buffer_write(buffer, ":", 1);
        }
        if (result == WRITTEN) {
            result = write_value(buffer, value, dump);
        }
        Py_DECREF(name);
        Py_DECREF(value);
        if (result != WRITTEN) {
            return result;
        }
        if (PyDict_GET_SIZE(fields) != size) {
            return NEEDS_CARE;
        }
    }
    return WRITTEN;
}

/* Where an Item and a Record have what is needed of them. */
enum { I_TOPIC = 0, I_KEY, I_RECORD, I_SIZE, I_COUNT, I_MEMORY = 4, R_HEADERS = 2 };

/* -- one log record --------------------------------------------------------------------------- */

static char *
put_digits(char *at, int count, unsigned number)
{
    for (int index = count - 1; index >= 0; index--) {
        at[index] = (char)('0' + number % 10);
        number /= 10;
    }
    return at + count;
}

/* Put `"2026-01-02T03:04:05`. */
static void
put_second(char *at, int64_t seconds)
{
    int64_t days = seconds / 86400;
    unsigned rest = (unsigned)(seconds % 86400);
    /* Howard Hinnant's civil_from_days, for days since 1970. */
    int64_t shifted = days + 719468;
    int64_t era = shifted / 146097;
    unsigned day_of_era = (unsigned)(shifted - era * 146097);
    unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned part = (5 * day_of_year + 2) / 153;
    unsigned month = part < 10 ? part + 3 : part - 9;
    unsigned year = (unsigned)(year_of_era + era * 400) + (month <= 2);
    *at++ = '"';
    at = put_digits(at, 4, year);
    *at++ = '-';
    at = put_digits(at, 2, month);
    *at++ = '-';
    at = put_digits(at, 2, day_of_year - (153 * part + 2) / 5 + 1);
    *at++ = 'T';
    at = put_digits(at, 2, rest / 3600);
    *at++ = ':';
    at = put_digits(at, 2, rest / 60 % 60);
    *at++ = ':';
    put_digits(at, 2, rest % 60);
}

enum { SECOND_SIZE = 20 };

/* Write `"2026-01-02T03:04:05.678901Z`, as log_record.rfc3339() has it. */
static int
write_time(Buffer *buffer, double created)
{
    static int64_t last_second = -1; /* many records share one */
    static char last_text[SECOND_SIZE];
    double micros = rint(created * 1e6);
    if (!(micros >= 0 && micros < 253402300800e6)) { /* year 10000 */
        return NEEDS_CARE;
    }
    int64_t all = (int64_t)micros, second = all / 1000000;
    if (second != last_second) {
        put_second(last_text, second);
        last_second = second;
    }
    char *at = buffer_reserve(buffer, SECOND_SIZE + 8);
    if (at == NULL) {
        return FAILED;
    }
    memcpy(at, last_text, SECOND_SIZE);
    at[SECOND_SIZE] = '.';
    put_digits(at + SECOND_SIZE + 1, 6, (unsigned)(all % 1000000));
    at[SECOND_SIZE + 7] = 'Z';
    buffer->size += SECOND_SIZE + 8;
    return WRITTEN;
}

/* What a value is composed of; see compose_in_python() for what each part is. */
typedef struct {
    double created;
    PyObject *head, *message, *tail, *task, *own, *more, *taken, *dump, *end;
    Py_ssize_t skipped;
} Parts;

static int
write_parts(Buffer *buffer, const Parts *parts)
{
    int result = buffer_write(buffer, "{\"time\":", 8);
    if (result == WRITTEN) {
        result = write_time(buffer, parts->created);
    }
    if (result == WRITTEN) {
        result = buffer_write_bytes(buffer, parts->head);
    }
    if (result == WRITTEN) {
        result = write_text(buffer, parts->message);
    }
    if (result == WRITTEN) {
        result = buffer_write_bytes(buffer, parts->tail);
    }
    if (result == WRITTEN && parts->task != NULL) {
        result = buffer_write(buffer, ",\"task\":", 8);
        if (result == WRITTEN) {
            result = write_text(buffer, parts->task);
        }
    }
    if (result == WRITTEN) {
        result = write_fields(buffer, parts->own, parts->skipped, parts->taken, parts->dump);
    }
    if (result == WRITTEN && parts->more != NULL) {
        result = write_fields(buffer, parts->more, 0, parts->taken, parts->dump);
    }
    if (result == WRITTEN) {
        result = buffer_write_bytes(buffer, parts->end);
    }
    return result;
}

/* Return the value as bytes, None where it needs care, NULL with an error. */
static PyObject *
value_of(const Parts *parts)
{
    Buffer buffer;
    buffer_begin(&buffer);
    int result = write_parts(&buffer, parts);
    PyObject *made = NULL;
    if (result == WRITTEN) {
        made = PyBytes_FromStringAndSize(buffer.data, (Py_ssize_t)buffer.size);
    }
    else if (result == NEEDS_CARE) {
        made = Py_NewRef(Py_None);
    }
    buffer_end(&buffer);
    return made;
}

/* compose(created, head, message, tail, own, skipped, more, taken, dump, end) -> bytes | None */
static PyObject *
compose(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 10 || !PyBytes_CheckExact(args[1]) || !PyBytes_CheckExact(args[3]) ||
        !PyDict_CheckExact(args[4]) || !PyDict_CheckExact(args[6]) ||
        !PyAnySet_Check(args[7]) || !PyBytes_CheckExact(args[9])) {
        PyErr_SetString(PyExc_TypeError, "compose(): arguments of other types were expected");
        return NULL;
    }
    if (!PyFloat_CheckExact(args[0]) || !PyUnicode_CheckExact(args[2])) {
        Py_RETURN_NONE;
    }
    Parts parts = {
        .created = PyFloat_AS_DOUBLE(args[0]), .head = args[1], .message = args[2],
        .tail = args[3], .own = args[4], .skipped = PyLong_AsSsize_t(args[5]),
        .more = args[6], .taken = args[7], .dump = args[8], .end = args[9],
    };
    if (parts.skipped == -1 && PyErr_Occurred()) {
        return NULL;
    }
    return value_of(&parts);
}

/* -- a whole item ----------------------------------------------------------------------------- */

/* What Quick.for_c() in quick.py returns, in this order. */
enum {
    S_LOG_RECORD, S_RECORD, S_ITEM, S_SITES, S_NEW_SITE, S_NAMES, S_PLACES, S_RUNNING_LOOP,
    S_TASK_NAME, S_MODULES, S_TOPIC, S_KEY, S_TAKEN, S_DUMP, S_END, S_RECORD_SIZE, S_OVERHEAD,
    S_MOST, S_COUNT
};

/* What S_PLACES tells the places of, among the attributes that logging gives a record; behind
 * them come those of a call site. */
enum {
    P_EXC_INFO, P_EXC_TEXT, P_STACK_INFO, P_MSG, P_ARGS, P_CREATED, P_LEVELNO, P_TASK_NAME, P_SITE
};
enum { NO_PLACE = 255, MOST_NAMES = 64, MOST_EXTRAS = 500 };

static PyObject *N_message, *N_open_telemetry;

static PyObject *decimal(long long number);

static PyObject *
setting(PyObject *settings, int which)
{
    return PyTuple_GET_ITEM(settings, which);
}

/* A record's attributes, borrowed, in the order in which logging sets them. */
typedef struct {
    PyObject *values[MOST_NAMES];
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
    for (Py_ssize_t index = 0; index < count; index++) {
        if (!PyDict_Next(own, &place, &name, &value) || name != PyTuple_GET_ITEM(names, index)) {
            return 0;
        }
        attributes->values[index] = value;
    }
    attributes->places = (const unsigned char *)PyBytes_AS_STRING(setting(settings, S_PLACES));
    return 1;
}

/* Return a new reference to the (head, tail) of the record's call site; NULL with an error. */
static PyObject *
site_of(const Attributes *attributes, PyObject *settings)
{
    Py_ssize_t count = PyBytes_GET_SIZE(setting(settings, S_PLACES)) - P_SITE;
    PyObject *place = PyTuple_New(count);
    if (place == NULL) {
        return NULL;
    }
    for (Py_ssize_t index = 0; index < count; index++) {
        PyTuple_SET_ITEM(place, index, Py_NewRef(attribute(attributes, (int)(P_SITE + index))));
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
is_simple(PyObject *record, PyObject *own, const Attributes *attributes, PyObject *settings)
{
    return (PyObject *)Py_TYPE(record) == setting(settings, S_LOG_RECORD) &&
           attribute(attributes, P_EXC_INFO) == Py_None &&
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

/* Return a named tuple of the type, with the references that are given; NULL takes them too. */
static PyObject *
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

/* What an item has in it; `data` and `value` are new references, the others are borrowed. */
typedef struct {
    PyObject *settings, *key, *data, *value, *level;
    long long timestamp;
    Py_ssize_t size, memory;
} Found;

/* An Item with its Record, of which only QuickHandle makes some: one object where they are two and
 * three numbers, and one that the garbage collector need not know, for it has only texts, bytes and
 * numbers. `number` is that of its stamp, 0 where it has none. */
typedef struct {
    PyObject_HEAD
    PyObject *settings, *key, *data, *value, *instance, *name;
    long long timestamp, size, memory, level, number;
} QuickItem;

static PyTypeObject QUICK_ITEM;

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
            .taken = setting(settings, S_TAKEN), .dump = setting(settings, S_DUMP),
            .end = setting(settings, S_END),
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
    QuickItem *made = PyObject_New(QuickItem, &QUICK_ITEM);
    Py_DECREF(found->level);
    if (made == NULL) {
        Py_DECREF(found->key);
        Py_DECREF(found->data);
        Py_DECREF(found->value);
        return NULL;
    }
    made->settings = Py_NewRef(found->settings);
    made->key = found->key;
    made->data = found->data;
    made->value = found->value;
    made->instance = made->name = NULL;
    made->timestamp = found->timestamp;
    made->size = found->size;
    made->memory = found->memory;
    made->level = level;
    made->number = 0;
    return (PyObject *)made;
}

/* Make an item of the record by `make`; None where it needs care, NULL with an error. */
static PyObject *
converted(PyObject *settings, PyObject *record, PyObject *(*make)(const Found *))
{
    PyObject *own = PyObject_GenericGetDict(record, NULL);
    if (own == NULL) {
        return NULL;
    }
    Attributes attributes;
    Found found = {.settings = settings};
    PyObject *made = NULL;
    if (read_attributes(&attributes, own, settings) &&
        is_simple(record, own, &attributes, settings) && find(&found, own, &attributes)) {
        made = make(&found);
    }
    Py_DECREF(own);
    if (made == NULL && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            return NULL; /* KeyboardInterrupt and the like */
        }
        PyErr_Clear(); /* the long way will say what is wrong */
    }
    return made == NULL ? Py_NewRef(Py_None) : made;
}

/* Whether quick.py made them; an error is set if not. */
static int
are_settings(PyObject *settings)
{
    if (PyTuple_CheckExact(settings) && PyTuple_GET_SIZE(settings) == S_COUNT &&
        PyTuple_GET_SIZE(setting(settings, S_NAMES)) <= MOST_NAMES) {
        return 1;
    }
    PyErr_SetString(PyExc_TypeError, "settings as quick.py makes them were expected");
    return 0;
}

/* convert(settings, record) -> Item | None: as Quick.convert(), for fewer options and values.
 *
 * Runs no code of the program's: no __str__ of its objects, which might log. */
static PyObject *
convert(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "convert() takes settings and a LogRecord");
        return NULL;
    }
    return are_settings(args[0]) ? converted(args[0], args[1], item_of) : NULL;
}

/* -- an item in one piece ---------------------------------------------------------------------- */

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
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef QUICK_ITEM_GETTERS[] = {
    {"topic", quick_item_topic, NULL, NULL, NULL},
    {"record", quick_item_record, NULL, NULL, NULL},
    {"source", quick_item_none, NULL, NULL, NULL},
    {"awaited", quick_item_none, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef QUICK_ITEM_METHODS[] = {
    {"plain", quick_item_plain, METH_NOARGS, "plain() -> Item"},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject QUICK_ITEM = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "kiel_logging._accelerator.QuickItem",
    .tp_basicsize = sizeof(QuickItem),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = quick_item_dealloc,
    .tp_members = QUICK_ITEM_MEMBERS,
    .tp_getset = QUICK_ITEM_GETTERS,
    .tp_methods = QUICK_ITEM_METHODS,
};

/* -- the hand-off's counts --------------------------------------------------------------------- */

/* As CountsInPython in handler/pipeline/counts.py. */
typedef struct {
    PyObject_HEAD
    long long emitted, kept, bytes_kept, ended, bytes_ended;
    long long many_records, many_bytes, batch_size;
    char crowded, closed;
} Counts;

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

static PyTypeObject COUNTS = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "kiel_logging._accelerator.Counts",
    .tp_basicsize = sizeof(Counts),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = PyType_GenericNew,
    .tp_init = counts_init,
    .tp_members = COUNTS_MEMBERS,
};

/* -- a whole call of the handler --------------------------------------------------------------- */

/* KafkaHandler.handle() for a record that needs no care, with all that it calls, in one call. */
typedef struct {
    PyObject_HEAD
    PyObject *own;      /* the handler's attributes */
    PyObject *settings; /* of convert() */
    PyObject *here;     /* its depth is 0 where the program works for itself */
    PyObject *tallies;  /* empty where nobody awaits a receipt */
    PyObject *counts, *queue, *append, *told;
    PyObject *with_care; /* KafkaHandler.handle(), for all other records */
} QuickHandle;

static PyObject *N_depth, *N_filters, *N_formatter, *N_emit;

static int
quick_init(PyObject *self, PyObject *args, PyObject *named)
{
    QuickHandle *quick = (QuickHandle *)self;
    static char *names[] = {"own", "settings", "here", "tallies", "counts",
                            "queue", "append", "told", "with_care", NULL};
    PyObject *own, *settings, *here, *tallies, *counts, *queue, *append, *told, *with_care;
    if (quick->own != NULL) {
        PyErr_SetString(PyExc_TypeError, "QuickHandle() is made once");
        return -1;
    }
    if (!PyArg_ParseTupleAndKeywords(args, named, "O!O!OO!O!OOOO", names, &PyDict_Type, &own,
                                     &PyTuple_Type, &settings, &here, &PyDict_Type, &tallies,
                                     &COUNTS, &counts, &queue, &append, &told, &with_care)) {
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
    if (counts->crowded || counts->closed || PyDict_GET_SIZE(quick->tallies) > 0) {
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

static long long
number_of(PyObject *item, int which)
{
    if (Py_IS_TYPE(item, &QUICK_ITEM)) {
        return which == I_MEMORY ? ((QuickItem *)item)->memory : ((QuickItem *)item)->size;
    }
    return PyLong_AsLongLong(PyTuple_GET_ITEM(item, which));
}

/* Queue the item if there is plenty of room; return how many are queued, 0 if there is not, -1
 * with an error. No Python code runs in here, so nobody comes in between. */
static Py_ssize_t
queue_up(const QuickHandle *quick, PyObject *item)
{
    Counts *counts = (Counts *)quick->counts;
    Py_ssize_t memory = number_of(item, I_MEMORY);
    if (counts->closed || counts->kept - counts->ended >= counts->many_records ||
        counts->bytes_kept - counts->bytes_ended + memory > counts->many_bytes) {
        return 0;
    }
    PyObject *done = PyObject_CallOneArg(quick->append, item);
    if (done == NULL) {
        return -1;
    }
    Py_DECREF(done);
    counts->emitted++;
    counts->kept++;
    counts->bytes_kept += memory;
    return PyObject_Size(quick->queue);
}

static PyObject *
quick_call(PyObject *self, PyObject *args, PyObject *named)
{
    QuickHandle *quick = (QuickHandle *)self;
    if (PyTuple_GET_SIZE(args) != 1 || named != NULL || quick->own == NULL ||
        !may_be_quick(quick)) {
        PyErr_Clear();
        return quick->own == NULL ? PyErr_Format(PyExc_TypeError, "QuickHandle() was not made")
                                  : PyObject_Call(quick->with_care, args, named);
    }
    PyObject *record = PyTuple_GET_ITEM(args, 0), *item = converted(quick->settings, record, quick_item_of);
    if (item == NULL) {
        return NULL;
    }
    Py_ssize_t queued = item == Py_None ? 0 : queue_up(quick, item);
    Py_DECREF(item);
    if (queued < 0) {
        return NULL;
    }
    if (queued == 0) {
        return PyObject_CallOneArg(quick->with_care, record);
    }
    if (queued == 1 || queued == ((Counts *)quick->counts)->batch_size) {
        PyObject *number = PyLong_FromSsize_t(queued);
        PyObject *done = number == NULL ? NULL : PyObject_CallOneArg(quick->told, number);
        Py_XDECREF(number);
        if (done == NULL) {
            return NULL;
        }
        Py_DECREF(done);
    }
#if PY_VERSION_HEX >= 0x030c0000
    return Py_NewRef(record);
#else
    Py_RETURN_TRUE;
#endif
}

static PyTypeObject QUICK_HANDLE = {
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

/* -- record batches --------------------------------------------------------------------------- */

static size_t
varint_size(int64_t value)
{
    uint64_t rest = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    size_t size = 1;
    while (rest > 0x7f) {
        rest >>= 7;
        size++;
    }
    return size;
}

static char *
put_varint(char *at, int64_t value)
{
    uint64_t rest = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    while (rest > 0x7f) {
        *at++ = (char)(rest | 0x80);
        rest >>= 7;
    }
    *at++ = (char)rest;
    return at;
}

static size_t
blob_size(PyObject *blob)
{
    if (blob == Py_None) {
        return 1;
    }
    Py_ssize_t size = PyBytes_GET_SIZE(blob);
    return varint_size(size) + (size_t)size;
}

static char *
put_blob(char *at, PyObject *blob)
{
    if (blob == Py_None) {
        return put_varint(at, -1);
    }
    Py_ssize_t size = PyBytes_GET_SIZE(blob);
    at = put_varint(at, size);
    memcpy(at, PyBytes_AS_STRING(blob), (size_t)size);
    return at + size;
}

static int
is_blob(PyObject *value)
{
    return value == Py_None || PyBytes_CheckExact(value);
}

static int
is_record(PyObject *record)
{
    return PyTuple_Check(record) && PyTuple_GET_SIZE(record) == 4 &&
           is_blob(PyTuple_GET_ITEM(record, 0)) && is_blob(PyTuple_GET_ITEM(record, 1)) &&
           PyTuple_CheckExact(PyTuple_GET_ITEM(record, 2)) &&
           PyLong_CheckExact(PyTuple_GET_ITEM(record, 3));
}

/* Return the size of the headers, 0 when something is wrong with them (an error is set). */
static size_t
headers_size(PyObject *headers)
{
    Py_ssize_t count = PyTuple_GET_SIZE(headers);
    size_t size = varint_size(count);
    for (Py_ssize_t index = 0; index < count; index++) {
        PyObject *header = PyTuple_GET_ITEM(headers, index);
        if (!PyTuple_Check(header) || PyTuple_GET_SIZE(header) != 2 ||
            !PyUnicode_Check(PyTuple_GET_ITEM(header, 0)) ||
            !is_blob(PyTuple_GET_ITEM(header, 1))) {
            PyErr_SetString(PyExc_TypeError, "a header is a pair of str and bytes or None");
            return 0;
        }
        Py_ssize_t length;
        if (PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(header, 0), &length) == NULL) {
            return 0;
        }
        size += varint_size(length) + (size_t)length + blob_size(PyTuple_GET_ITEM(header, 1));
    }
    return size;
}

static char *
put_headers(char *at, PyObject *headers)
{
    Py_ssize_t count = PyTuple_GET_SIZE(headers);
    at = put_varint(at, count);
    for (Py_ssize_t index = 0; index < count; index++) {
        PyObject *header = PyTuple_GET_ITEM(headers, index);
        Py_ssize_t length; /* cached in the str since headers_size() */
        const char *name = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(header, 0), &length);
        at = put_varint(at, length);
        memcpy(at, name, (size_t)length);
        at = put_blob(at + length, PyTuple_GET_ITEM(header, 1));
    }
    return at;
}

static int
write_record(Buffer *buffer, PyObject *record, int64_t delta, int64_t offset)
{
    PyObject *key = PyTuple_GET_ITEM(record, 0), *value = PyTuple_GET_ITEM(record, 1);
    size_t headers = headers_size(PyTuple_GET_ITEM(record, 2));
    if (headers == 0) {
        return -1;
    }
    size_t size = 1 + varint_size(delta) + varint_size(offset) + blob_size(key) +
                  blob_size(value) + headers;
    char *at = buffer_reserve(buffer, size + 10);
    if (at == NULL) {
        return -1;
    }
    at = put_varint(at, (int64_t)size);
    *at++ = 0; /* attributes: unused */
    at = put_varint(at, delta);
    at = put_varint(at, offset);
    at = put_blob(at, key);
    at = put_blob(at, value);
    at = put_headers(at, PyTuple_GET_ITEM(record, 2));
    buffer->size = (size_t)(at - buffer->data);
    return 0;
}

static char *
put_data(char *at, const char *data, size_t size)
{
    at = put_varint(at, (int64_t)size);
    memcpy(at, data, size);
    return at + size;
}

/* Put the digits of a number, as many as there are, at the end of 24 bytes; return the first. */
static char *
digits_of(char *room, long long number)
{
    char *at = room + 24;
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return at;
}

static int
write_quick_item(Buffer *buffer, const QuickItem *item, int64_t delta, int64_t offset)
{
    char room[24], *digits = digits_of(room, item->number);
    const char *first = NULL, *second = NULL, *instance = NULL;
    Py_ssize_t first_size = 0, second_size = 0, instance_size = 0;
    size_t digits_size = (size_t)(room + sizeof(room) - digits), headers = 1;
    if (item->number > 0) {
        first = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(item->instance, 0), &first_size);
        second = PyUnicode_AsUTF8AndSize(item->name, &second_size);
        if (first == NULL || second == NULL) {
            return -1;
        }
        instance = PyBytes_AS_STRING(PyTuple_GET_ITEM(item->instance, 1));
        instance_size = PyBytes_GET_SIZE(PyTuple_GET_ITEM(item->instance, 1));
        headers += varint_size(first_size) + (size_t)first_size + varint_size(instance_size) +
                   (size_t)instance_size + varint_size(second_size) + (size_t)second_size +
                   varint_size((int64_t)digits_size) + digits_size;
    }
    size_t size = 1 + varint_size(delta) + varint_size(offset) + blob_size(item->data) +
                  blob_size(item->value) + headers;
    char *at = buffer_reserve(buffer, size + 10);
    if (at == NULL) {
        return -1;
    }
    at = put_varint(at, (int64_t)size);
    *at++ = 0; /* attributes: unused */
    at = put_varint(at, delta);
    at = put_varint(at, offset);
    at = put_blob(at, item->data);
    at = put_blob(at, item->value);
    at = put_varint(at, item->number > 0 ? 2 : 0);
    if (item->number > 0) {
        at = put_data(at, first, (size_t)first_size);
        at = put_data(at, instance, (size_t)instance_size);
        at = put_data(at, second, (size_t)second_size);
        at = put_data(at, digits, digits_size);
    }
    buffer->size = (size_t)(at - buffer->data);
    return 0;
}

static int
write_any(Buffer *buffer, PyObject *record, int64_t base, int64_t offset)
{
    if (Py_IS_TYPE(record, &QUICK_ITEM)) {
        const QuickItem *item = (const QuickItem *)record;
        return write_quick_item(buffer, item, item->timestamp - base, offset);
    }
    if (!is_record(record)) {
        PyErr_SetString(PyExc_TypeError, "a list of Records was expected");
        return -1;
    }
    int64_t timestamp = PyLong_AsLongLong(PyTuple_GET_ITEM(record, 3));
    if (timestamp == -1 && PyErr_Occurred()) {
        return -1;
    }
    return write_record(buffer, record, timestamp - base, offset);
}

/* latest_timestamp(records) -> int, of at least one. */
static PyObject *
latest_timestamp(PyObject *module, PyObject *records)
{
    (void)module;
    if (!PyList_CheckExact(records) || PyList_GET_SIZE(records) == 0) {
        PyErr_SetString(PyExc_TypeError, "latest_timestamp() takes a list of Records");
        return NULL;
    }
    long long latest = LLONG_MIN;
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(records); index++) {
        PyObject *record = PyList_GET_ITEM(records, index);
        long long timestamp = 0;
        if (Py_IS_TYPE(record, &QUICK_ITEM)) {
            timestamp = ((QuickItem *)record)->timestamp;
        }
        else if (is_record(record)) {
            timestamp = PyLong_AsLongLong(PyTuple_GET_ITEM(record, 3));
        }
        else {
            PyErr_SetString(PyExc_TypeError, "latest_timestamp() takes a list of Records");
        }
        if (PyErr_Occurred()) {
            return NULL;
        }
        latest = timestamp > latest ? timestamp : latest;
    }
    return PyLong_FromLongLong(latest);
}

/* encode_records(records, base_timestamp, first_offset_delta) -> bytes */
static PyObject *
encode_records(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *records;
    long long base, offset;
    if (!PyArg_ParseTuple(args, "O!LL", &PyList_Type, &records, &base, &offset)) {
        return NULL;
    }
    Buffer buffer;
    buffer_begin(&buffer);
    PyObject *made = NULL;
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(records); index++) {
        if (write_any(&buffer, PyList_GET_ITEM(records, index), base, offset + index) < 0) {
            goto end;
        }
    }
    made = PyBytes_FromStringAndSize(buffer.data, (Py_ssize_t)buffer.size);
end:
    buffer_end(&buffer);
    return made;
}

/* -- stamps ----------------------------------------------------------------------------------- */

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

static PyObject *
decimal(long long number)
{
    char room[24], *digits = digits_of(room, number);
    return PyBytes_FromStringAndSize(digits, room + sizeof(room) - digits);
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

static PyObject *
topic_of(PyObject *item)
{
    return Py_IS_TYPE(item, &QUICK_ITEM) ? setting(((QuickItem *)item)->settings, S_TOPIC)
                                         : PyTuple_GET_ITEM(item, I_TOPIC);
}

static int
is_item(PyObject *item)
{
    if (Py_IS_TYPE(item, &QUICK_ITEM)) {
        return 1;
    }
    return PyTuple_Check(item) && PyTuple_GET_SIZE(item) >= I_COUNT &&
           PyUnicode_CheckExact(PyTuple_GET_ITEM(item, I_TOPIC)) &&
           is_record(PyTuple_GET_ITEM(item, I_RECORD)) &&
           PyLong_CheckExact(PyTuple_GET_ITEM(item, I_SIZE));
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
static PyObject *
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

/* -- feeding ---------------------------------------------------------------------------------- */

/* take(popleft, most) -> list: as take_in_python(). */
static PyObject *
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
static PyObject *
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
static PyObject *
records_of(PyObject *module, PyObject *items)
{
    (void)module;
    return picked(items, record_of);
}

/* sizes_of(items) -> list: as sizes_of_in_python(). */
static PyObject *
sizes_of(PyObject *module, PyObject *items)
{
    (void)module;
    return picked(items, size_of);
}

/* memory_of(items) -> int: as memory_of_in_python(). */
static PyObject *
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

/* -- murmur2 ---------------------------------------------------------------------------------- */

static PyObject *
murmur2(PyObject *module, PyObject *key)
{
    (void)module;
    if (!PyBytes_Check(key)) {
        PyErr_SetString(PyExc_TypeError, "murmur2() takes bytes");
        return NULL;
    }
    const uint32_t m = 0x5bd1e995u;
    const unsigned char *data = (const unsigned char *)PyBytes_AS_STRING(key);
    Py_ssize_t length = PyBytes_GET_SIZE(key);
    uint32_t hash = 0x9747b28cu ^ (uint32_t)length;
    for (; length >= 4; data += 4, length -= 4) {
        uint32_t k = (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 |
                     (uint32_t)data[3] << 24;
        k *= m;
        k ^= k >> 24;
        hash = hash * m ^ k * m;
    }
    switch (length) {
    case 3: hash ^= (uint32_t)data[2] << 16; /* fall through */
    case 2: hash ^= (uint32_t)data[1] << 8;  /* fall through */
    case 1: hash = (hash ^ data[0]) * m;
    }
    hash ^= hash >> 13;
    hash *= m;
    return PyLong_FromUnsignedLong(hash ^ hash >> 15);
}

static PyMethodDef METHODS[] = {
    {"compose", (PyCFunction)(void (*)(void))compose, METH_FASTCALL,
     "compose(created, head, message, tail, own, skipped, more, taken, dump, end) -> bytes | None"},
    {"convert", (PyCFunction)(void (*)(void))convert, METH_FASTCALL,
     "convert(settings, record) -> Item | None"},
    {"encode_records", encode_records, METH_VARARGS,
     "encode_records(records, base_timestamp, first_offset_delta) -> bytes"},
    {"group", (PyCFunction)(void (*)(void))group, METH_FASTCALL,
     "group(items, known, find) -> list"},
    {"latest_timestamp", latest_timestamp, METH_O, "latest_timestamp(records) -> int"},
    {"memory_of", memory_of, METH_O, "memory_of(items) -> int"},
    {"murmur2", murmur2, METH_O, "murmur2(key) -> int"},
    {"records_of", records_of, METH_O, "records_of(items) -> list"},
    {"sizes_of", sizes_of, METH_O, "sizes_of(items) -> list"},
    {"stamp", (PyCFunction)(void (*)(void))stamp, METH_FASTCALL,
     "stamp(items, instance, name, sequences) -> list"},
    {"take", (PyCFunction)(void (*)(void))take, METH_FASTCALL, "take(popleft, most) -> list"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "kiel_logging._accelerator", "See _accelerator.c.", -1, METHODS,
    NULL, NULL, NULL, NULL,
};

static int
intern(PyObject **name, const char *text)
{
    *name = PyUnicode_InternFromString(text);
    return *name == NULL ? -1 : 0;
}

PyMODINIT_FUNC
PyInit__accelerator(void)
{
    if (intern(&N_message, "message") < 0 || intern(&N_depth, "depth") < 0 ||
        intern(&N_filters, "filters") < 0 || intern(&N_formatter, "formatter") < 0 ||
        intern(&N_emit, "emit") < 0 || intern(&N_open_telemetry, "opentelemetry.trace") < 0) {
        return NULL;
    }
    PyObject *module = PyModule_Create(&MODULE);
    if (module != NULL && (PyModule_AddType(module, &QUICK_ITEM) < 0 ||
                           PyModule_AddType(module, &COUNTS) < 0 ||
                           PyModule_AddType(module, &QUICK_HANDLE) < 0)) {
        Py_CLEAR(module);
    }
    return module;
}
