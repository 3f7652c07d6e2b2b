/* Record batches as wire/record_batch.py encodes them, and the hash of a key (partitioners.py). */

#include "accelerator.h"
#include "buffer.h"

int
write_varint(Buffer *buffer, int64_t value)
{
    char *at = buffer_reserve(buffer, 10);
    if (at == NULL) {
        return -1;
    }
    uint64_t rest = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    while (rest > 0x7f) {
        *at++ = (char)(rest | 0x80);
        rest >>= 7;
    }
    *at++ = (char)rest;
    buffer->size = (size_t)(at - buffer->data);
    return 0;
}

static int
write_data(Buffer *buffer, const char *data, Py_ssize_t size)
{
    return write_varint(buffer, size) < 0 ? -1 : buffer_write(buffer, data, (size_t)size);
}

int
write_blob(Buffer *buffer, PyObject *blob)
{
    return blob == Py_None ? write_varint(buffer, -1)
                           : write_data(buffer, PyBytes_AS_STRING(blob), PyBytes_GET_SIZE(blob));
}

static int
write_name(Buffer *buffer, PyObject *name)
{
    Py_ssize_t size;
    const char *data = PyUnicode_AsUTF8AndSize(name, &size);
    return data == NULL ? -1 : write_data(buffer, data, size);
}

int
write_header(Buffer *buffer, PyObject *header)
{
    if (!PyTuple_Check(header) || PyTuple_GET_SIZE(header) != 2 ||
        !PyUnicode_Check(PyTuple_GET_ITEM(header, 0)) || !is_blob(PyTuple_GET_ITEM(header, 1))) {
        PyErr_SetString(PyExc_TypeError, "a header is a pair of str and bytes or None");
        return -1;
    }
    return write_name(buffer, PyTuple_GET_ITEM(header, 0)) < 0
               ? -1
               : write_blob(buffer, PyTuple_GET_ITEM(header, 1));
}

static int
write_headers(Buffer *buffer, PyObject *headers)
{
    int result = write_varint(buffer, PyTuple_GET_SIZE(headers));
    for (Py_ssize_t index = 0; result == 0 && index < PyTuple_GET_SIZE(headers); index++) {
        result = write_header(buffer, PyTuple_GET_ITEM(headers, index));
    }
    return result;
}

static int
write_stamp(Buffer *buffer, const QuickItem *item)
{
    char room[24], *digits = digits_of(room, item->number);
    if (item->number == 0) {
        return write_varint(buffer, 0);
    }
    return write_varint(buffer, 2) < 0 || write_header(buffer, item->instance) < 0 ||
                   write_name(buffer, item->name) < 0 ||
                   write_data(buffer, digits, room + sizeof(room) - digits) < 0
               ? -1
               : 0;
}

/* Write the body of a record, without its size. */
static int
write_body(Buffer *buffer, PyObject *record, int64_t base, int64_t offset)
{
    const QuickItem *item = Py_IS_TYPE(record, &QUICK_ITEM) ? (QuickItem *)record : NULL;
    if (item == NULL &&
        !(PyTuple_Check(record) && PyTuple_GET_SIZE(record) == R_COUNT &&
          is_blob(PyTuple_GET_ITEM(record, R_KEY)) && is_blob(PyTuple_GET_ITEM(record, R_VALUE)) &&
          PyTuple_CheckExact(PyTuple_GET_ITEM(record, R_HEADERS)) &&
          PyLong_CheckExact(PyTuple_GET_ITEM(record, R_TIMESTAMP)))) {
        PyErr_SetString(PyExc_TypeError, "a list of Records was expected");
        return -1;
    }
    int64_t timestamp =
        item ? item->timestamp : PyLong_AsLongLong(PyTuple_GET_ITEM(record, R_TIMESTAMP));
    if (timestamp == -1 && PyErr_Occurred()) {
        return -1;
    }
    return buffer_write(buffer, "", 1) < 0 || /* attributes: unused */
                   write_varint(buffer, timestamp - base) < 0 ||
                   write_varint(buffer, offset) < 0 ||
                   write_blob(buffer, item ? item->data : PyTuple_GET_ITEM(record, R_KEY)) < 0 ||
                   write_blob(buffer, item ? item->value : PyTuple_GET_ITEM(record, R_VALUE)) < 0
               ? -1
           : item ? write_stamp(buffer, item)
                  : write_headers(buffer, PyTuple_GET_ITEM(record, R_HEADERS));
}

enum { PREFIX = 2 }; /* bytes that the size of most records takes */

static int
write_record(Buffer *buffer, PyObject *record, int64_t base, int64_t offset)
{
    size_t start = buffer->size;
    if (buffer_write(buffer, "\0", PREFIX) < 0 || write_body(buffer, record, base, offset) < 0) {
        return -1;
    }
    size_t size = buffer->size - start - PREFIX; /* which comes first */
    if (write_varint(buffer, (int64_t)size) < 0) {
        return -1;
    }
    char prefix[10], *at = buffer->data + start;
    size_t taken = buffer->size - start - PREFIX - size;
    memcpy(prefix, at + PREFIX + size, taken);
    if (taken != PREFIX) {
        memmove(at + taken, at + PREFIX, size);
    }
    memcpy(at, prefix, taken);
    buffer->size = start + taken + size;
    return 0;
}

/* encode_records(records, base_timestamp, first_offset_delta) -> bytes */
PyObject *
encode_records(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *records, *made = NULL;
    long long base, offset;
    if (!PyArg_ParseTuple(args, "O!LL", &PyList_Type, &records, &base, &offset)) {
        return NULL;
    }
    Buffer buffer;
    buffer_begin(&buffer);
    int result = 0;
    for (Py_ssize_t index = 0; result == 0 && index < PyList_GET_SIZE(records); index++) {
        result = write_record(&buffer, PyList_GET_ITEM(records, index), base, offset + index);
    }
    if (result == 0) {
        made = PyBytes_FromStringAndSize(buffer.data, (Py_ssize_t)buffer.size);
    }
    buffer_end(&buffer);
    return made;
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
