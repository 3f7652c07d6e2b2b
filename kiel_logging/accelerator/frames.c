/* Frames of the journal that hold a QuickItem and nothing else; journal/frames.py has all others.
 *
 * The law: a frame is packed as encode() does it, to the byte, and read only where scan() would
 * find the same in it, whatever the bytes around it are. Everything else is left to Python. */

#include <stdlib.h>

#include "accelerator.h"
#include "crc32c.h"

/* As journal/frames.py has them. */
enum {
    AT_LENGTH = 4, AT_CHECKSUM = 8, HEADER_SIZE = 12,
    AT_KEY_KIND = 1, AT_DIGEST_SIZE = 2, AT_LEVEL = 3, AT_TIMESTAMP = 7, AT_WAITER = 15,
    AT_SEQUENCE = 23, FIXED_SIZE = 31,
    BLOB_SIZE = 4, HEADERS_SIZE = 4,
    SMALLEST = HEADER_SIZE + FIXED_SIZE + 2 * BLOB_SIZE + HEADERS_SIZE,
    MAX_BODY = 128 * 1024 * 1024,
    RECORD_KIND = 1,
    KEY_NONE = 0, KEY_BYTES, KEY_TEXT, KEY_NUMBER
};
static const unsigned char MAGIC[4] = {'K', 'J', 1, 0xc5};

static unsigned char *
put(unsigned char *at, uint64_t number, int size)
{
    for (int index = size - 1; index >= 0; index--) {
        *at++ = (unsigned char)(number >> 8 * index);
    }
    return at;
}

static uint64_t
get(const unsigned char *at, int size)
{
    uint64_t number = 0;
    for (int index = 0; index < size; index++) {
        number = number << 8 | at[index];
    }
    return number;
}

/* Whether the first three bytes of a magic are in a body: then some are stuffed, or will be. Texts
 * have no \1, so it is found soonest. */
static int
has_stem(const unsigned char *body, const unsigned char *end)
{
    const unsigned char *at = body + 2;
    while (at < end && (at = memchr(at, MAGIC[2], (size_t)(end - at))) != NULL) {
        if (at[-1] == MAGIC[1] && at[-2] == MAGIC[0]) {
            return 1;
        }
        at++;
    }
    return 0;
}

static uint32_t
checksum(uint32_t seed, const unsigned char *frame, size_t body)
{
    return crc32c(crc32c(seed, frame + AT_LENGTH, 4), frame + HEADER_SIZE, body);
}

/* -- packing ---------------------------------------------------------------------------------- */

static size_t
blob_size(PyObject *blob)
{
    return BLOB_SIZE + (blob == Py_None ? 0 : (size_t)PyBytes_GET_SIZE(blob));
}

static unsigned char *
put_blob(unsigned char *at, PyObject *blob)
{
    if (blob == Py_None) {
        return put(at, UINT32_MAX, BLOB_SIZE);
    }
    size_t size = (size_t)PyBytes_GET_SIZE(blob);
    at = put(at, size, BLOB_SIZE);
    memcpy(at, PyBytes_AS_STRING(blob), size);
    return at + size;
}

PyObject *
packed(PyObject *quick_item, uint64_t waiter, uint32_t seed)
{
    const QuickItem *item = (const QuickItem *)quick_item;
    if (!Py_IS_TYPE(quick_item, &QUICK_ITEM) || item->number != 0 ||
        item->level != (int32_t)item->level) {
        Py_RETURN_NONE;
    }
    size_t body = FIXED_SIZE + blob_size(item->data) + blob_size(item->value) + HEADERS_SIZE;
    if (body > MAX_BODY) {
        Py_RETURN_NONE;
    }
    PyObject *made = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(HEADER_SIZE + body));
    if (made == NULL) {
        return NULL;
    }
    unsigned char *frame = (unsigned char *)PyBytes_AS_STRING(made), *at = frame + HEADER_SIZE;
    at = put(at, RECORD_KIND, 1);
    at = put(at, item->data == Py_None             ? KEY_NONE
                 : PyUnicode_CheckExact(item->key) ? KEY_TEXT
                 : PyLong_CheckExact(item->key)    ? KEY_NUMBER
                                                   : KEY_BYTES, 1);
    at = put(at, 0, 1); /* no digest */
    at = put(at, (uint64_t)item->level, 4);
    at = put(at, (uint64_t)item->timestamp, 8);
    at = put(at, waiter, 8);
    at = put(at, 0, 8); /* no sequence */
    at = put_blob(at, item->data);
    at = put_blob(at, item->value);
    at = put(at, 0, HEADERS_SIZE);
    if (has_stem(frame + HEADER_SIZE, at)) {
        Py_DECREF(made);
        Py_RETURN_NONE;
    }
    memcpy(frame, MAGIC, sizeof(MAGIC));
    put(frame + AT_LENGTH, body, 4);
    put(frame + AT_CHECKSUM, checksum(seed, frame, body), 4);
    return made;
}

/* pack_frame(item, waiter, seed) -> bytes | None: as encode(frame_of(item, waiter), seed). */
PyObject *
pack_frame(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "pack_frame() takes an item, a waiter and a seed");
        return NULL;
    }
    uint64_t waiter = PyLong_AsUnsignedLongLong(args[1]);
    uint32_t seed = (uint32_t)PyLong_AsUnsignedLongMask(args[2]);
    return PyErr_Occurred() ? NULL : packed(args[0], waiter, seed);
}

/* -- reading ---------------------------------------------------------------------------------- */

/* Return the size of the good and plain frame at `at`; 0 for anything else there.
 *
 * scan() searches for a magic inside of a frame before it believes the length. Where there is no
 * stem there is no magic. The search comes before the checksum here as well, or each length that
 * lies would cost a checksum of all that is behind it. */
static size_t
plain_frame(const unsigned char *at, size_t left, uint32_t seed)
{
    if (left < SMALLEST || memcmp(at, MAGIC, sizeof(MAGIC)) != 0) {
        return 0;
    }
    size_t size = get(at + AT_LENGTH, 4);
    const unsigned char *body = at + HEADER_SIZE;
    if (size > MAX_BODY || size < SMALLEST - HEADER_SIZE || size > left - HEADER_SIZE ||
        body[0] != RECORD_KIND || body[AT_DIGEST_SIZE] != 0 || get(body + AT_WAITER, 8) != 0 ||
        get(body + AT_SEQUENCE, 8) != 0 || get(body + size - HEADERS_SIZE, HEADERS_SIZE) != 0 ||
        has_stem(body, body + size) || get(at + AT_CHECKSUM, 4) != checksum(seed, at, size)) {
        return 0;
    }
    return HEADER_SIZE + size;
}

/* Return the blob at `*at`, and move behind it; NULL with an error, or without one if it is cut. */
static PyObject *
take_blob(const unsigned char **at, const unsigned char *end)
{
    if (end - *at < BLOB_SIZE) {
        return NULL;
    }
    int32_t size = (int32_t)get(*at, BLOB_SIZE);
    *at += BLOB_SIZE;
    if (size == -1) {
        return Py_NewRef(Py_None);
    }
    if (size < 0 || size > end - *at) {
        return NULL;
    }
    *at += size;
    return PyBytes_FromStringAndSize((const char *)*at - size, size);
}

/* Return the key that is stored as `data`; NULL with an error, or without one if it needs care. */
static PyObject *
key_of(int kind, PyObject *data)
{
    if ((data == Py_None) != (kind == KEY_NONE)) {
        return NULL;
    }
    if (kind == KEY_TEXT) {
        return PyUnicode_DecodeUTF8(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), NULL);
    }
    if (kind == KEY_NUMBER) {
        long long number = strtoll(PyBytes_AS_STRING(data), NULL, 10);
        char digits[24]; /* what int() reads may be written in more ways than one */
        int size = PyOS_snprintf(digits, sizeof(digits), "%lld", number);
        int same = size == PyBytes_GET_SIZE(data) &&
                   memcmp(digits, PyBytes_AS_STRING(data), (size_t)size) == 0;
        return same ? PyLong_FromLongLong(number) : NULL;
    }
    return kind == KEY_NONE || kind == KEY_BYTES ? Py_NewRef(data) : NULL;
}

/* Return the item of a plain frame; NULL with an error, or without one if it needs care. */
static PyObject *
item_of(const unsigned char *frame, size_t size, PyObject *topic)
{
    const unsigned char *body = frame + HEADER_SIZE, *at = body + FIXED_SIZE;
    const unsigned char *end = frame + size - HEADERS_SIZE;
    long long timestamp = (long long)get(body + AT_TIMESTAMP, 8);
    PyObject *data = take_blob(&at, end), *value = NULL, *key = NULL;
    if (data != NULL) {
        value = take_blob(&at, end);
    }
    /* Differences of timestamps are computed where records are sent: none may overflow. */
    if (value != NULL && at == end && timestamp >= 0) {
        key = key_of(body[AT_KEY_KIND], data);
    }
    if (key == NULL) {
        Py_XDECREF(data);
        Py_XDECREF(value);
        if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
            PyErr_Clear(); /* a lone surrogate, or damage */
        }
        return NULL;
    }
    PyObject *made = new_quick_item(topic, key, data, value, Py_None, timestamp,
                                    (int32_t)get(body + AT_LEVEL, 4));
    Py_DECREF(key);
    Py_DECREF(data);
    Py_DECREF(value);
    return made;
}

static int
append(PyObject *list, PyObject *made)
{
    int result = made == NULL ? -1 : PyList_Append(list, made);
    Py_XDECREF(made);
    return result;
}

/* scan_items(block, at, most, seed, topic) -> (items, ends, at): the items from `at` on, and the
 * offset behind each, up to the first frame that is not plain. */
PyObject *
scan_items(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *bytes, *topic;
    Py_ssize_t at, most;
    unsigned int seed;
    if (!PyArg_ParseTuple(args, "SnnIU", &bytes, &at, &most, &seed, &topic)) {
        return NULL;
    }
    const unsigned char *block = (const unsigned char *)PyBytes_AS_STRING(bytes);
    Py_ssize_t size = PyBytes_GET_SIZE(bytes);
    PyObject *items = PyList_New(0), *ends = PyList_New(0);
    int result = items == NULL || ends == NULL ? -1 : 0;
    while (result == 0 && at >= 0 && at < size && PyList_GET_SIZE(items) < most) {
        size_t found = plain_frame(block + at, (size_t)(size - at), seed);
        PyObject *item = found == 0 ? NULL : item_of(block + at, found, topic);
        if (item == NULL) {
            result = PyErr_Occurred() ? -1 : 0;
            break;
        }
        at += (Py_ssize_t)found;
        result = append(items, item) < 0 ? -1 : append(ends, PyLong_FromSsize_t(at));
    }
    if (result < 0) {
        Py_XDECREF(items);
        Py_XDECREF(ends);
        return NULL;
    }
    return Py_BuildValue("(NNn)", items, ends, at);
}
