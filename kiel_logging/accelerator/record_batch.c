/* Record batches as wire/record_batch.py encodes them, and the hash of a key (partitioners.py).
 *
 * The law: measure_record() checks a record, under the GIL, and returns the most bytes that it can
 * take. Then write_record() writes it without the GIL: it can't fail, and reads nothing that could
 * change. */

#include "accelerator.h"

#include <string.h>

/* Bytes of a batch that are worth giving up the GIL for: about 10 us. */
enum { MANY = 32 * 1024 };

/* -- under the GIL ------------------------------------------------------------------------------ */

/* Return the most bytes that a name takes; -1 with an error. Its UTF-8 is kept with it. */
static Py_ssize_t
measure_name(PyObject *name)
{
    Py_ssize_t size;
    return PyUnicode_AsUTF8AndSize(name, &size) == NULL ? -1 : HEADER_OVERHEAD + size;
}

Py_ssize_t
measure_header(PyObject *header)
{
    if (!PyTuple_Check(header) || PyTuple_GET_SIZE(header) != 2 ||
        !PyUnicode_Check(PyTuple_GET_ITEM(header, 0)) || !is_blob(PyTuple_GET_ITEM(header, 1))) {
        PyErr_SetString(PyExc_TypeError, "a header is a pair of str and bytes or None");
        return -1;
    }
    Py_ssize_t size = measure_name(PyTuple_GET_ITEM(header, 0));
    return size < 0 ? -1 : size + Py_MAX(blob_of(PyTuple_GET_ITEM(header, 1)).size, 0);
}

/* Return the Record of an Item; a Record, or anything else, as it is. */
static PyObject *
record_of(PyObject *record)
{
    return PyTuple_Check(record) && PyTuple_GET_SIZE(record) > R_COUNT
               ? PyTuple_GET_ITEM(record, I_RECORD)
               : record;
}

/* Return the most bytes that a record takes; -1 with an error. */
static Py_ssize_t
measure_record(PyObject *record, long long *timestamp)
{
    if (Py_IS_TYPE(record, &QUICK_ITEM)) {
        QuickItem *item = (QuickItem *)record;
        *timestamp = item->timestamp;
        return item->number > 0 && (measure_header(item->instance) < 0 || measure_name(item->name) < 0)
                   ? -1
                   : (Py_ssize_t)item->size;
    }
    record = record_of(record);
    if (!PyTuple_Check(record) || PyTuple_GET_SIZE(record) != R_COUNT ||
        !is_blob(PyTuple_GET_ITEM(record, R_KEY)) || !is_blob(PyTuple_GET_ITEM(record, R_VALUE)) ||
        !PyTuple_CheckExact(PyTuple_GET_ITEM(record, R_HEADERS)) ||
        !PyLong_CheckExact(PyTuple_GET_ITEM(record, R_TIMESTAMP))) {
        PyErr_SetString(PyExc_TypeError, "a list of Records was expected");
        return -1;
    }
    PyObject *headers = PyTuple_GET_ITEM(record, R_HEADERS);
    Py_ssize_t size = RECORD_SIZE + Py_MAX(blob_of(PyTuple_GET_ITEM(record, R_KEY)).size, 0) +
                      Py_MAX(blob_of(PyTuple_GET_ITEM(record, R_VALUE)).size, 0);
    for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(headers); index++) {
        Py_ssize_t more = measure_header(PyTuple_GET_ITEM(headers, index));
        if (more < 0) {
            return -1;
        }
        size += more;
    }
    *timestamp = PyLong_AsLongLong(PyTuple_GET_ITEM(record, R_TIMESTAMP));
    return PyErr_Occurred() ? -1 : size;
}

/* -- without it --------------------------------------------------------------------------------- */

char *
write_varint(char *at, int64_t value)
{
    uint64_t rest = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    while (rest > 0x7f) {
        *at++ = (char)(rest | 0x80);
        rest >>= 7;
    }
    *at++ = (char)rest;
    return at;
}

char *
write_blob(char *at, Blob blob)
{
    at = write_varint(at, blob.size);
    return blob.size <= 0 ? at : (char *)memcpy(at, blob.data, (size_t)blob.size) + blob.size;
}

static char *
write_name(char *at, PyObject *name)
{
    Blob blob;
    blob.data = PyUnicode_AsUTF8AndSize(name, &blob.size); /* which it has by now */
    return write_blob(at, blob);
}

char *
write_header(char *at, PyObject *header)
{
    return write_blob(write_name(at, PyTuple_GET_ITEM(header, 0)),
                      blob_of(PyTuple_GET_ITEM(header, 1)));
}

static char *
write_headers(char *at, PyObject *headers)
{
    at = write_varint(at, PyTuple_GET_SIZE(headers));
    for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(headers); index++) {
        at = write_header(at, PyTuple_GET_ITEM(headers, index));
    }
    return at;
}

/* Write the headers of an item, those of its stamp behind the others. */
static char *
write_item_headers(char *at, const QuickItem *item)
{
    const char *headers = item->its.headers.data;
    at = write_varint(at, item->its.header_count + (item->number > 0 ? 2 : 0));
    for (long long index = 0; index < item->its.header_count; index++) {
        Blob name, content;
        headers = get_header(headers, &name, &content);
        at = write_blob(write_blob(at, name), content);
    }
    if (item->number > 0) {
        char room[DIGITS], *digits = digits_of(room, item->number);
        at = write_name(write_header(at, item->instance), item->name);
        at = write_blob(at, (Blob){digits, room + sizeof(room) - digits});
    }
    return at;
}

/* Write the body of a record, without its size. */
static char *
write_body(char *at, PyObject *record, int64_t timestamp, int64_t offset)
{
    *at++ = 0; /* attributes: unused */
    at = write_varint(write_varint(at, timestamp), offset);
    if (Py_IS_TYPE(record, &QUICK_ITEM)) {
        const QuickItem *item = (QuickItem *)record;
        return write_item_headers(write_blob(write_blob(at, item->its.key), item->its.value), item);
    }
    record = record_of(record);
    at = write_blob(at, blob_of(PyTuple_GET_ITEM(record, R_KEY)));
    at = write_blob(at, blob_of(PyTuple_GET_ITEM(record, R_VALUE)));
    return write_headers(at, PyTuple_GET_ITEM(record, R_HEADERS));
}

enum { PREFIX = 2 }; /* bytes that the size of most records takes */

static char *
write_record(char *at, PyObject *record, int64_t timestamp, int64_t offset)
{
    char *body = at + PREFIX, *end = write_body(body, record, timestamp, offset);
    char prefix[10];
    size_t taken = (size_t)(write_varint(prefix, end - body) - prefix);
    if (taken != PREFIX) {
        memmove(at + taken, body, (size_t)(end - body));
    }
    memcpy(at, prefix, taken);
    return end - PREFIX + taken;
}

static char *
write_records(char *at, PyObject *records, const long long *timestamps, int64_t base, int64_t offset)
{
    for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(records); index++) {
        at = write_record(at, PyTuple_GET_ITEM(records, index), timestamps[index] - base,
                          offset + index);
    }
    return at;
}

/* Return what the records of a tuple take, written; NULL with an error. */
static PyObject *
written(PyObject *records, long long *timestamps, int64_t base, int64_t offset)
{
    Py_ssize_t size = 0;
    for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(records); index++) {
        Py_ssize_t more = measure_record(PyTuple_GET_ITEM(records, index), &timestamps[index]);
        if (more < 0) {
            return NULL;
        }
        size += more;
    }
    PyObject *made = PyBytes_FromStringAndSize(NULL, size);
    if (made == NULL) {
        return NULL;
    }
    char *at = PyBytes_AS_STRING(made), *end;
    PyThreadState *state = size > MANY ? PyEval_SaveThread() : NULL;
    end = write_records(at, records, timestamps, base, offset);
    if (state != NULL) {
        PyEval_RestoreThread(state);
    }
    _PyBytes_Resize(&made, end - at);
    return made;
}

/* encode_records(records, base_timestamp, first_offset_delta) -> (bytes, last timestamp): as
 * encode_records_in_python(). */
PyObject *
encode_records(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *list, *made = NULL;
    long long base, offset;
    if (!PyArg_ParseTuple(args, "O!LL", &PyList_Type, &list, &base, &offset)) {
        return NULL;
    }
    PyObject *records = PyList_AsTuple(list); /* so that they stay while others run */
    long long *timestamps =
        records == NULL ? NULL : PyMem_New(long long, PyTuple_GET_SIZE(records) + 1);
    if (timestamps != NULL && (made = written(records, timestamps, base, offset)) != NULL) {
        long long last = base;
        for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(records); index++) {
            last = index == 0 ? timestamps[0] : Py_MAX(last, timestamps[index]);
        }
        made = Py_BuildValue("(NL)", made, last);
    }
    PyMem_Free(timestamps);
    Py_XDECREF(records);
    return made != NULL || PyErr_Occurred() ? made : PyErr_NoMemory();
}

/* murmur2(key) -> int */
PyObject *
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
    return PyLong_FromUnsignedLong((hash ^ hash >> 15) & 0x7fffffffu);
}
