/* Record batches: what wire/record_batch.py does, to the byte. */

#include <limits.h>
#include <stdint.h>

#include "accelerator.h"
#include "buffer.h"

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
PyObject *
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
PyObject *
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
