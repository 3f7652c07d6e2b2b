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
blob_size(Blob blob)
{
    return BLOB_SIZE + (size_t)Py_MAX(blob.size, 0);
}

static unsigned char *
put_blob(unsigned char *at, Blob blob)
{
    at = put(at, (uint32_t)blob.size, BLOB_SIZE);
    return blob.size <= 0 ? at : (unsigned char *)memcpy(at, blob.data, (size_t)blob.size) + blob.size;
}

PyObject *
packed(PyObject *quick_item, uint64_t waiter, uint32_t seed)
{
    const QuickItem *item = (const QuickItem *)quick_item;
    if (!Py_IS_TYPE(quick_item, &QUICK_ITEM) || item->number != 0 ||
        item->level != (int32_t)item->level) {
        Py_RETURN_NONE;
    }
    const Contents *its = &item->its;
    size_t body = FIXED_SIZE + blob_size(its->key) + blob_size(its->value) + HEADERS_SIZE +
                  (size_t)its->headers.size;
    if (body > MAX_BODY) {
        Py_RETURN_NONE;
    }
    PyObject *made = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(HEADER_SIZE + body));
    if (made == NULL) {
        return NULL;
    }
    unsigned char *frame = (unsigned char *)PyBytes_AS_STRING(made), *at = frame + HEADER_SIZE;
    at = put(at, RECORD_KIND, 1);
    at = put(at, its->key.size < 0                ? KEY_NONE
                 : PyUnicode_CheckExact(item->key) ? KEY_TEXT
                 : PyLong_CheckExact(item->key)    ? KEY_NUMBER
                                                   : KEY_BYTES, 1);
    at = put(at, 0, 1); /* no digest */
    at = put(at, (uint64_t)item->level, 4);
    at = put(at, (uint64_t)item->timestamp, 8);
    at = put(at, waiter, 8);
    at = put(at, 0, 8); /* no sequence */
    at = put_blob(at, its->key);
    at = put_blob(at, its->value);
    at = put(at, (uint64_t)its->header_count, HEADERS_SIZE);
    at = (unsigned char *)memcpy(at, its->headers.data, (size_t)its->headers.size) +
         its->headers.size;
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
        get(body + AT_SEQUENCE, 8) != 0 ||
        has_stem(body, body + size) || get(at + AT_CHECKSUM, 4) != checksum(seed, at, size)) {
        return 0;
    }
    return HEADER_SIZE + size;
}

/* Read the blob at `*at`, and move behind it; return whether it is whole. */
static int
take_blob(const unsigned char **at, const unsigned char *end, Blob *blob)
{
    if (end - *at < BLOB_SIZE) {
        return 0;
    }
    int32_t size = (int32_t)get(*at, BLOB_SIZE);
    *at += BLOB_SIZE;
    *blob = (Blob){(const char *)*at, size};
    if (size < -1 || size > end - *at) {
        return 0;
    }
    *at += Py_MAX(size, 0);
    return 1;
}

/* Read the headers from `at` to the end; return whether they are whole, with names in ASCII. */
static int
take_headers(const unsigned char *at, const unsigned char *end, Contents *its)
{
    if (end - at < HEADERS_SIZE) {
        return 0;
    }
    its->header_count = (int32_t)get(at, HEADERS_SIZE);
    its->headers = (Blob){(const char *)at + HEADERS_SIZE, end - at - HEADERS_SIZE};
    at += HEADERS_SIZE;
    for (long long index = 0; index < its->header_count; index++) {
        if (end - at < SIZES) {
            return 0;
        }
        int32_t name = (int32_t)get(at, 4), content = (int32_t)get(at + 4, 4);
        at += SIZES;
        if (name < 0 || content < -1 || name > end - at || Py_MAX(content, 0) > end - at - name) {
            return 0;
        }
        for (; name > 0; name--) {
            if (*at++ > 0x7f) {
                return 0;
            }
        }
        at += Py_MAX(content, 0);
    }
    return its->header_count >= 0 && at == end;
}

/* Return the key that is stored as `data`; NULL with an error, or without one if it needs care. */
static PyObject *
key_of(int kind, Blob data)
{
    if ((data.size < 0) != (kind == KEY_NONE)) {
        return NULL;
    }
    if (kind == KEY_NONE) {
        return Py_NewRef(Py_None);
    }
    if (kind == KEY_TEXT) {
        return PyUnicode_DecodeUTF8(data.data, data.size, NULL);
    }
    if (kind == KEY_BYTES) {
        return PyBytes_FromStringAndSize(data.data, data.size);
    }
    char text[DIGITS], digits[DIGITS]; /* what int() reads may be written in more ways than one */
    if (kind != KEY_NUMBER || (size_t)data.size >= sizeof(text)) {
        return NULL;
    }
    memcpy(text, data.data, (size_t)data.size);
    text[data.size] = 0;
    long long number = strtoll(text, NULL, 10);
    char *first = digits_of(digits, number);
    int same = digits + DIGITS - first == data.size && memcmp(first, text, (size_t)data.size) == 0;
    return same ? PyLong_FromLongLong(number) : NULL;
}

/* Return the item of a plain frame; NULL with an error, or without one if it needs care. */
static PyObject *
item_of(const unsigned char *frame, size_t size, PyObject *topic)
{
    const unsigned char *body = frame + HEADER_SIZE, *at = body + FIXED_SIZE;
    const unsigned char *end = frame + size;
    long long timestamp = (long long)get(body + AT_TIMESTAMP, 8);
    Contents its;
    PyObject *key = NULL, *made = NULL;
    /* Differences of timestamps are computed where records are sent: none may overflow. */
    if (take_blob(&at, end, &its.key) && take_blob(&at, end, &its.value) &&
        take_headers(at, end, &its) && timestamp >= 0) {
        key = key_of(body[AT_KEY_KIND], its.key);
    }
    if (key != NULL) {
        made = new_quick_item(topic, key, &its, Py_None, timestamp,
                              (int32_t)get(body + AT_LEVEL, 4));
        Py_DECREF(key);
    }
    else if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_Clear(); /* a lone surrogate, or damage */
    }
    return made;
}

/* Frames that are looked through without the GIL at a time: about 30 us, and as long again under it
 * to make items of them. */
enum { FEW = 256 };

/* Find plain frames, one behind the other; return how many, with the size of each. */
static Py_ssize_t
find_frames(const unsigned char *at, const unsigned char *end, Py_ssize_t most, uint32_t seed,
            size_t *sizes)
{
    Py_ssize_t found = 0;
    while (found < most && (sizes[found] = plain_frame(at, (size_t)(end - at), seed)) > 0) {
        at += sizes[found++];
    }
    return found;
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
    Py_ssize_t size = PyBytes_GET_SIZE(bytes), found = at < 0 || at > size ? 0 : FEW;
    const unsigned char *block = (const unsigned char *)PyBytes_AS_STRING(bytes);
    PyObject *items = PyList_New(0), *ends = PyList_New(0), *item;
    int result = items == NULL || ends == NULL ? -1 : 0;
    while (result == 0 && found == FEW) {
        size_t sizes[FEW];
        Py_ssize_t wanted = Py_MIN(FEW, most - PyList_GET_SIZE(items));
        Py_BEGIN_ALLOW_THREADS
        found = find_frames(block + at, block + size, wanted, seed, sizes);
        Py_END_ALLOW_THREADS
        for (Py_ssize_t index = 0; result == 0 && index < found; index++) {
            if ((item = item_of(block + at, sizes[index], topic)) == NULL) {
                result = PyErr_Occurred() ? -1 : 0;
                found = 0; /* that one needs care */
                break;
            }
            at += (Py_ssize_t)sizes[index];
            result = append(items, item) < 0 ? -1 : append(ends, PyLong_FromSsize_t(at));
        }
    }
    if (result < 0) {
        Py_XDECREF(items);
        Py_XDECREF(ends);
        return NULL;
    }
    return Py_BuildValue("(NNn)", items, ends, at);
}

/* crc32c(data, value=0) -> int: as the package crc32c has it, which takes 40 ms to import. */
PyObject *
crc32c_of(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer data;
    unsigned int value = 0;
    if (!PyArg_ParseTuple(args, "y*|I", &data, &value)) {
        return NULL;
    }
    value = crc32c(value, data.buf, (size_t)data.len);
    PyBuffer_Release(&data);
    return PyLong_FromUnsignedLong(value);
}
