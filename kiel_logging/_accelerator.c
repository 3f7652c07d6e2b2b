/* The hottest loops of the package in C: what wire/record_batch.py, partitioners.py and
 * handler/conversion/quick.py do, to the byte, for what is common; for the rest None, which means
 * "do it in Python". Optional: without it everything works as well, only slower.
 *
 * Pure: no state, no callbacks but the ones that are given. Every function holds the GIL.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

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

/* -- one log record --------------------------------------------------------------------------- */

/* Write `"2026-01-02T03:04:05.678901Z`, as log_record.rfc3339() has it. */
static int
write_time(Buffer *buffer, double created)
{
    double micros = rint(created * 1e6);
    if (!(micros >= 0 && micros < 253402300800e6)) { /* year 10000 */
        return NEEDS_CARE;
    }
    int64_t all = (int64_t)micros;
    int64_t seconds = all / 1000000, days = seconds / 86400;
    int rest = (int)(seconds % 86400), fraction = (int)(all % 1000000);
    /* Howard Hinnant's civil_from_days, for days since 1970. */
    int64_t shifted = days + 719468;
    int64_t era = shifted / 146097;
    unsigned day_of_era = (unsigned)(shifted - era * 146097);
    unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned part = (5 * day_of_year + 2) / 153;
    unsigned day = day_of_year - (153 * part + 2) / 5 + 1;
    unsigned month = part < 10 ? part + 3 : part - 9;
    int year = (int)(year_of_era + era * 400) + (month <= 2);
    char text[40];
    int size = PyOS_snprintf(text, sizeof(text), "\"%04d-%02u-%02uT%02d:%02d:%02d.%06dZ", year,
                             month, day, rest / 3600, rest / 60 % 60, rest % 60, fraction);
    return buffer_write(buffer, text, (size_t)size) < 0 ? FAILED : WRITTEN;
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
    Py_ssize_t skipped = PyLong_AsSsize_t(args[5]);
    if (skipped == -1 && PyErr_Occurred()) {
        return NULL;
    }
    Buffer buffer;
    buffer_begin(&buffer);
    int result = buffer_write(&buffer, "{\"time\":", 8);
    if (result == WRITTEN) {
        result = write_time(&buffer, PyFloat_AS_DOUBLE(args[0]));
    }
    if (result == WRITTEN) {
        result = buffer_write_bytes(&buffer, args[1]);
    }
    if (result == WRITTEN) {
        result = write_text(&buffer, args[2]);
    }
    if (result == WRITTEN) {
        result = buffer_write_bytes(&buffer, args[3]);
    }
    if (result == WRITTEN) {
        result = write_fields(&buffer, args[4], skipped, args[7], args[8]);
    }
    if (result == WRITTEN) {
        result = write_fields(&buffer, args[6], 0, args[7], args[8]);
    }
    if (result == WRITTEN) {
        result = buffer_write_bytes(&buffer, args[9]);
    }
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

static int
timestamp_of(PyObject *record, int64_t *timestamp)
{
    *timestamp = PyLong_AsLongLong(PyTuple_GET_ITEM(record, 3));
    return *timestamp == -1 && PyErr_Occurred() ? -1 : 0;
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
        PyObject *record = PyList_GET_ITEM(records, index);
        int64_t timestamp;
        if (!is_record(record)) {
            PyErr_SetString(PyExc_TypeError, "a list of Records was expected");
            goto end;
        }
        if (timestamp_of(record, &timestamp) < 0 ||
            write_record(&buffer, record, timestamp - base, offset + index) < 0) {
            goto end;
        }
    }
    made = PyBytes_FromStringAndSize(buffer.data, (Py_ssize_t)buffer.size);
end:
    buffer_end(&buffer);
    return made;
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
    {"encode_records", encode_records, METH_VARARGS,
     "encode_records(records, base_timestamp, first_offset_delta) -> bytes"},
    {"murmur2", murmur2, METH_O, "murmur2(key) -> int"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "kiel_logging._accelerator", "See _accelerator.c.", 0, METHODS,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__accelerator(void)
{
    return PyModuleDef_Init(&MODULE);
}
