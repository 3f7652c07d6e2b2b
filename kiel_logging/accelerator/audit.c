/* The records of a topic that continue known streams, as verify/audit.py notes them. */

#include "accelerator.h"
#include "buffer.h"
#include "seal.h"

enum { CARE = 0, NOTED = 1, FAILED = -1 };

/* As the modules pages.py and stamper.py have them. */
enum { PAGE_BITS = 6, PAGE_SIZE = 64, PLACE_BITS = 48, INTACT_AND_ORDERED = 3 };
enum { LINK_SIZE = 64, MOST_DIGITS = 18, MOST_PARTITIONS = 0x8000 };

/* The names of methods and attributes. */
enum { ERROR, PARTITION, OFFSET, TIMESTAMP, KEY, VALUE, HEADERS,
       STREAM, DIGEST, SPAN, NOTE, PAGES, COURSES, INTACT, TOP, PREVIOUS,
       FLAGS, ENTRIES, NAME_COUNT };
static const char *const TEXTS[NAME_COUNT] = {
    "error", "partition", "offset", "timestamp", "key", "value", "headers",
    "stream", "digest", "span", "note", "pages", "courses", "intact", "top", "previous",
    "flags", "entries",
};
static PyObject *NAMES[NAME_COUNT];

static int
make_names(void)
{
    for (int index = 0; index < NAME_COUNT; index++) {
        if (NAMES[index] == NULL &&
            (NAMES[index] = PyUnicode_InternFromString(TEXTS[index])) == NULL) {
            return -1;
        }
    }
    return 0;
}

/* -- the headers -------------------------------------------------------------------------------- */

/* The marks of proof among the headers of a record: borrowed. Without a chain `link` is NULL. */
typedef struct {
    PyObject *instance, *link;
    int64_t number;
} Marks;

static int
read_number(PyObject *value, int64_t *number)
{
    Py_ssize_t size = PyBytes_GET_SIZE(value);
    const char *digits = PyBytes_AS_STRING(value);
    if (size < 1 || size > MOST_DIGITS || digits[0] == '0') {
        return CARE;
    }
    int64_t found = 0;
    for (Py_ssize_t index = 0; index < size; index++) {
        if (digits[index] < '0' || digits[index] > '9') {
            return CARE;
        }
        found = found * 10 + (digits[index] - '0');
    }
    *number = found;
    return NOTED;
}

/* Note one header; CARE if the record is one of the handler's own, or an odd one. */
static int
read_mark(PyObject *name, PyObject *value, int is_last, Marks *marks)
{
    if (!PyUnicode_Check(name) || !is_blob(value)) {
        return CARE;
    }
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(name, &size);
    if (text == NULL) {
        PyErr_Clear();
        return CARE;
    }
    if (size < 5 || memcmp(text, "kiel-", 5) != 0) {
        return NOTED;
    }
    if (value == Py_None || strlen(text) != (size_t)size) {
        return CARE;
    }
    if (strcmp(text, "kiel-instance") == 0 && marks->instance == NULL) {
        marks->instance = value;
        return NOTED;
    }
    if (strcmp(text, "kiel-sequence") == 0 && marks->number == 0) {
        return read_number(value, &marks->number);
    }
    if (strcmp(text, "kiel-chain") == 0 && is_last && PyBytes_GET_SIZE(value) == LINK_SIZE) {
        marks->link = value;
        return NOTED;
    }
    return CARE;
}

static int
read_marks(PyObject *headers, Marks *marks)
{
    *marks = (Marks){NULL, NULL, 0};
    if (!PyList_CheckExact(headers)) {
        return CARE;
    }
    Py_ssize_t count = PyList_GET_SIZE(headers);
    for (Py_ssize_t index = 0; index < count; index++) {
        PyObject *header = PyList_GET_ITEM(headers, index);
        if (!PyTuple_CheckExact(header) || PyTuple_GET_SIZE(header) != 2 ||
            read_mark(PyTuple_GET_ITEM(header, 0), PyTuple_GET_ITEM(header, 1), index == count - 1,
                      marks) != NOTED) {
            return CARE;
        }
    }
    return marks->instance != NULL && marks->number != 0 ? NOTED : CARE;
}

/* -- the notes ---------------------------------------------------------------------------------- */

/* As pages.py has it. */
typedef struct {
    int64_t prev, digest, place, time;
} Entry;

/* Where a record is noted; all but `slot` are owned. */
typedef struct {
    PyObject *stream, *course, *page, *flags, *entries;
    Py_ssize_t slot;
} Spot;

static void
leave(Spot *spot)
{
    Py_CLEAR(spot->stream);
    Py_CLEAR(spot->course);
    Py_CLEAR(spot->page);
    Py_CLEAR(spot->flags);
    Py_CLEAR(spot->entries);
}

/* Return a new reference to an item of a dict that is an attribute; NULL without an error if it
 * has none. */
static PyObject *
item_of(PyObject *owner, int attribute, PyObject *key)
{
    PyObject *dict = PyObject_GetAttr(owner, NAMES[attribute]), *found = NULL;
    if (dict != NULL && PyDict_Check(dict)) {
        found = Py_XNewRef(PyDict_GetItemWithError(dict, key));
    }
    Py_XDECREF(dict);
    return found;
}

static int64_t
integer_of(PyObject *owner, int attribute)
{
    PyObject *value = PyObject_GetAttr(owner, NAMES[attribute]);
    int64_t found = value == NULL ? -1 : PyLong_AsLongLong(value);
    Py_XDECREF(value);
    return found;
}

static int
has_size(PyObject *bytes, size_t size)
{
    return PyByteArray_CheckExact(bytes) && (size_t)PyByteArray_GET_SIZE(bytes) == size;
}

/* Find the free slot of a number that is above all others of the stream in its partition. */
static int
find_spot(Spot *spot, PyObject *partition, int64_t number)
{
    PyObject *index = PyLong_FromLongLong(number >> PAGE_BITS);
    if (index == NULL) {
        return FAILED;
    }
    spot->page = item_of(spot->stream, PAGES, index);
    Py_DECREF(index);
    spot->course = spot->page == NULL ? NULL : item_of(spot->stream, COURSES, partition);
    if (spot->course == NULL) {
        return PyErr_Occurred() ? FAILED : CARE;
    }
    spot->flags = PyObject_GetAttr(spot->page, NAMES[FLAGS]);
    spot->entries = spot->flags == NULL ? NULL : PyObject_GetAttr(spot->page, NAMES[ENTRIES]);
    int64_t top = spot->entries == NULL ? -1 : integer_of(spot->course, TOP);
    if (top == -1 && PyErr_Occurred()) {
        return FAILED;
    }
    spot->slot = number & (PAGE_SIZE - 1);
    return number > top && has_size(spot->flags, PAGE_SIZE) &&
                   has_size(spot->entries, PAGE_SIZE * sizeof(Entry)) &&
                   PyByteArray_AS_STRING(spot->flags)[spot->slot] == 0
               ? NOTED
               : CARE;
}

static int
set_integer(PyObject *owner, int attribute, int64_t value)
{
    PyObject *made = PyLong_FromLongLong(value);
    int result = made == NULL ? -1 : PyObject_SetAttr(owner, NAMES[attribute], made);
    Py_XDECREF(made);
    return result;
}

/* Do what Stream.add() does with the record of a free slot. */
static int
write_notes(const Spot *spot, int64_t number, const Entry *entry)
{
    int64_t intact = integer_of(spot->stream, INTACT);
    PyObject *top = PyLong_FromLongLong(number);
    int result = FAILED;
    if (top != NULL && !(intact == -1 && PyErr_Occurred()) &&
        set_integer(spot->stream, INTACT, intact + 1) == 0 &&
        PyObject_SetAttr(spot->course, NAMES[TOP], top) == 0 &&
        PyObject_SetAttr(spot->course, NAMES[PREVIOUS], top) == 0) {
        memcpy(PyByteArray_AS_STRING(spot->entries) + spot->slot * sizeof(*entry), entry,
               sizeof(*entry));
        PyByteArray_AS_STRING(spot->flags)[spot->slot] = INTACT_AND_ORDERED;
        result = NOTED;
    }
    Py_XDECREF(top);
    return result;
}

/* -- one record --------------------------------------------------------------------------------- */

/* The parts of a message that are covered; borrowed. */
typedef struct {
    PyObject *key, *value, *headers;
} Content;

static int64_t
first_bits(const char *digest)
{
    uint64_t bits = 0;
    for (int index = 0; index < 8; index++) {
        bits = bits << 8 | (unsigned char)digest[index];
    }
    return (int64_t)bits;
}

static int
has_digest(PyObject *digest, const char *prev, const char *body, size_t size, const char *expected)
{
    if (Py_IS_TYPE(digest, &SEAL)) {
        unsigned char found[DIGEST_SIZE];
        seal_digest((Seal *)digest, prev, DIGEST_SIZE, body, size, found);
        return memcmp(found, expected, DIGEST_SIZE) == 0 ? NOTED : CARE;
    }
    PyObject *made = PyObject_CallFunction(digest, "y#y#", prev, (Py_ssize_t)DIGEST_SIZE, body,
                                           (Py_ssize_t)size);
    int result = made == NULL ? FAILED
                 : PyBytes_Check(made) && PyBytes_GET_SIZE(made) == DIGEST_SIZE &&
                         memcmp(PyBytes_AS_STRING(made), expected, DIGEST_SIZE) == 0
                     ? NOTED
                     : CARE;
    Py_XDECREF(made);
    return result;
}

/* Whether `digest` makes the digest of the record that its link has. */
static int
is_sealed(PyObject *digest, const Content *content, PyObject *link)
{
    Blob key = blob_of(content->key), value = blob_of(content->value);
    Py_ssize_t count = PyList_GET_SIZE(content->headers) - 1, more = 0;
    Py_ssize_t size = 3 * MOST_OF_VARINT + Py_MAX(key.size, 0) + Py_MAX(value.size, 0);
    for (Py_ssize_t index = 0; more >= 0 && index < count; index++) {
        more = measure_header(PyList_GET_ITEM(content->headers, index));
        size += more;
    }
    Buffer buffer;
    buffer_begin(&buffer);
    char *at = more < 0 ? NULL : buffer_reserve(&buffer, (size_t)size);
    int result = FAILED;
    if (at != NULL) {
        at = write_varint(write_blob(write_blob(at, key), value), count);
        for (Py_ssize_t index = 0; index < count; index++) {
            at = write_header(at, PyList_GET_ITEM(content->headers, index));
        }
        const char *prev = PyBytes_AS_STRING(link);
        result = has_digest(digest, prev, buffer.data, (size_t)(at - buffer.data),
                            prev + DIGEST_SIZE);
    }
    buffer_end(&buffer);
    return result;
}

/* Fill in the links of a record without digests. */
static int
hash_plain(const Content *content, Entry *entry)
{
    PyObject *headers = PyList_AsTuple(content->headers);
    PyObject *all = headers == NULL ? NULL : PyTuple_Pack(3, content->key, content->value, headers);
    Py_hash_t hash = all == NULL ? -1 : PyObject_Hash(all);
    Py_XDECREF(headers);
    Py_XDECREF(all);
    entry->prev = 0;
    entry->digest = hash;
    return hash == -1 ? FAILED : NOTED;
}

/* Note in the span of a source, if it has one, that it has sealed the number. */
static int
note_in_span(PyObject *source, int64_t number)
{
    PyObject *span = PyObject_GetAttr(source, NAMES[SPAN]), *done = NULL;
    if (span == NULL || span == Py_None) {
        Py_XDECREF(span);
        return span == NULL ? FAILED : NOTED;
    }
    PyObject *noted = PyLong_FromLongLong(number);
    if (noted != NULL) {
        done = PyObject_CallMethodOneArg(span, NAMES[NOTE], noted);
    }
    Py_XDECREF(noted);
    Py_DECREF(span);
    Py_XDECREF(done);
    return done == NULL ? FAILED : NOTED;
}

static int
note_content(const Content *content, PyObject *partition, Entry *entry, PyObject *sources,
             PyObject *plain)
{
    Marks marks;
    if (!is_blob(content->key) || !is_blob(content->value) ||
        read_marks(content->headers, &marks) != NOTED) {
        return CARE;
    }
    PyObject *source = PyDict_GetItemWithError(marks.link ? sources : plain, marks.instance);
    if (source == NULL) {
        return PyErr_Occurred() ? FAILED : CARE;
    }
    Spot spot = {NULL, NULL, NULL, NULL, NULL, 0};
    Py_INCREF(source);
    spot.stream = marks.link ? PyObject_GetAttr(source, NAMES[STREAM]) : Py_NewRef(source);
    int result = spot.stream == NULL ? FAILED : find_spot(&spot, partition, marks.number);
    if (result == NOTED && marks.link) {
        PyObject *digest = PyObject_GetAttr(source, NAMES[DIGEST]);
        result = digest == NULL ? FAILED : is_sealed(digest, content, marks.link);
        Py_XDECREF(digest);
        result = result == NOTED ? note_in_span(source, marks.number) : result;
        entry->prev = first_bits(PyBytes_AS_STRING(marks.link));
        entry->digest = first_bits(PyBytes_AS_STRING(marks.link) + DIGEST_SIZE);
    } else if (result == NOTED) {
        result = hash_plain(content, entry);
    }
    if (result == NOTED) {
        result = write_notes(&spot, marks.number, entry);
    }
    leave(&spot);
    Py_DECREF(source);
    return result;
}

static int64_t
integer_from(PyObject *message, int method)
{
    PyObject *value = PyObject_CallMethodNoArgs(message, NAMES[method]);
    int64_t found = value == NULL ? -1 : PyLong_AsLongLong(value);
    Py_XDECREF(value);
    return found;
}

static int
note_message(PyObject *message, PyObject *partition, int64_t offset, PyObject *sources,
             PyObject *plain)
{
    PyObject *stamp = PyObject_CallMethodNoArgs(message, NAMES[TIMESTAMP]);
    if (stamp == NULL || !PyTuple_Check(stamp) || PyTuple_GET_SIZE(stamp) != 2) {
        Py_XDECREF(stamp);
        return stamp == NULL ? FAILED : CARE;
    }
    int64_t time = PyLong_AsLongLong(PyTuple_GET_ITEM(stamp, 1));
    Py_DECREF(stamp);
    if (time == -1 && PyErr_Occurred()) {
        return FAILED;
    }
    PyObject *key = PyObject_CallMethodNoArgs(message, NAMES[KEY]);
    PyObject *value = key == NULL ? NULL : PyObject_CallMethodNoArgs(message, NAMES[VALUE]);
    PyObject *headers = value == NULL ? NULL : PyObject_CallMethodNoArgs(message, NAMES[HEADERS]);
    int result = FAILED;
    if (headers != NULL) {
        Content content = {key, value, headers};
        Entry entry = {0, 0, (int64_t)PyLong_AsLong(partition) << PLACE_BITS | offset, time};
        result = note_content(&content, partition, &entry, sources, plain);
    } else if (PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_Clear(); /* a name that is no UTF-8 */
        result = CARE;
    }
    Py_XDECREF(key);
    Py_XDECREF(value);
    Py_XDECREF(headers);
    return result;
}

/* -- many records ------------------------------------------------------------------------------- */

static int
take_message(PyObject *message, PyObject *ends, PyObject *newest, PyObject *sources,
             PyObject *plain)
{
    PyObject *error = PyObject_CallMethodNoArgs(message, NAMES[ERROR]);
    Py_XDECREF(error);
    if (error != Py_None) {
        return error == NULL ? FAILED : CARE;
    }
    PyObject *partition = PyObject_CallMethodNoArgs(message, NAMES[PARTITION]);
    if (partition == NULL) {
        return FAILED;
    }
    PyObject *end = PyDict_GetItemWithError(ends, partition);
    int64_t bound = end == NULL ? -1 : PyLong_AsLongLong(end);
    int64_t offset = bound == -1 ? -1 : integer_from(message, OFFSET);
    int64_t number = offset == -1 ? -1 : PyLong_AsLongLong(partition);
    int result = PyErr_Occurred() ? FAILED : CARE;
    if (result == CARE && offset >= 0 && offset < bound && number >= 0 &&
        number < MOST_PARTITIONS) {
        result = note_message(message, partition, offset, sources, plain);
        if (result == NOTED && PyDict_SetItem(newest, partition, message) < 0) {
            result = FAILED;
        }
    }
    Py_DECREF(partition);
    return result;
}

/* take(messages, at, ends, newest, sources, plain) -> the index of the first that needs care */
PyObject *
take(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *messages, *ends, *newest, *sources, *plain;
    Py_ssize_t at;
    if (!PyArg_ParseTuple(args, "O!nO!O!O!O!", &PyList_Type, &messages, &at, &PyDict_Type, &ends,
                          &PyDict_Type, &newest, &PyDict_Type, &sources, &PyDict_Type, &plain) ||
        make_names() < 0) {
        return NULL;
    }
    for (; at >= 0 && at < PyList_GET_SIZE(messages); at++) {
        PyObject *message = Py_NewRef(PyList_GET_ITEM(messages, at));
        int result = take_message(message, ends, newest, sources, plain);
        Py_DECREF(message);
        if (result == FAILED) {
            return NULL;
        }
        if (result == CARE) {
            break;
        }
    }
    return PyLong_FromSsize_t(at);
}
