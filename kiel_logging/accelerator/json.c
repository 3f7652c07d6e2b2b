/* See json.h. */

#include "json.h"

#include <math.h>
#include <stdint.h>

/* Bytes of a text: six times as many are reserved for it. Longer ones are cut, mostly. */
enum { MOST_TEXT = 4 * 1024 * 1024 };

static const char HEX[] = "0123456789abcdef";

static int
must_escape(unsigned char character)
{
    return character < 0x20 || character == '"' || character == '\\';
}

/* Whether one of eight characters must be, or perhaps one: a byte is below another, or the same as
 * another, where the subtraction of each borrows (Bit Twiddling Hacks, "haszero" and "hasless"). */
static int
any_to_escape(const char *eight)
{
    const uint64_t each = UINT64_C(0x0101010101010101), high = each << 7;
    uint64_t bytes, quotes, slashes;
    memcpy(&bytes, eight, 8);
    quotes = bytes ^ (each * '"');
    slashes = bytes ^ (each * '\\');
    return (((bytes - each * 0x20) & ~bytes) | ((quotes - each) & ~quotes) |
            ((slashes - each) & ~slashes)) & high
               ? 1
               : 0;
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

int
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
    if (size > MOST_TEXT) {
        return NEEDS_CARE;
    }
    char *at = buffer_reserve(buffer, (size_t)size * 6 + 2);
    if (at == NULL) {
        return FAILED;
    }
    *at++ = '"';
    Py_ssize_t index = 0;
    while (index < size) {
        if (size - index >= 8 && !any_to_escape(data + index)) {
            memcpy(at, data + index, 8);
            at += 8;
            index += 8;
            continue;
        }
        for (Py_ssize_t end = Py_MIN(index + 8, size); index < end; index++) {
            unsigned char character = (unsigned char)data[index];
            if (must_escape(character)) {
                at = write_escaped(at, character);
            }
            else {
                *at++ = (char)character;
            }
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

int
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
