/* See json.h. */

#include "accelerator.h"
#include "json.h"

#include <math.h>
#include <stdint.h>

/* Containers in each other that to_json() writes; what is plain has fewer. */
enum { DEEPEST = 100 };

/* Characters for which room is reserved at a time: six bytes each. */
enum { PIECE = 256, WIDEST = 6 };

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

static char *
write_ascii(char *at, const char *data, Py_ssize_t size)
{
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
    return at;
}

/* Write a character in UTF-8; NULL where it has none. */
static char *
write_character(char *at, Py_UCS4 character)
{
    if (character < 0x80) {
        if (must_escape((unsigned char)character)) {
            return write_escaped(at, (unsigned char)character);
        }
        *at++ = (char)character;
        return at;
    }
    if (character < 0x800) {
        *at++ = (char)(0xc0 | character >> 6);
    }
    else {
        if (character < 0x10000) {
            if (Py_UNICODE_IS_SURROGATE(character)) {
                return NULL;
            }
            *at++ = (char)(0xe0 | character >> 12);
        }
        else {
            *at++ = (char)(0xf0 | character >> 18);
            *at++ = (char)(0x80 | (character >> 12 & 0x3f));
        }
        *at++ = (char)(0x80 | (character >> 6 & 0x3f));
    }
    *at++ = (char)(0x80 | (character & 0x3f));
    return at;
}

/* Python's own UTF-8 of a text is not asked for: the text would keep it for as long as it lives. */
static char *
write_characters(char *at, PyObject *text, Py_ssize_t from, Py_ssize_t until)
{
    int kind = PyUnicode_KIND(text);
    const void *data = PyUnicode_DATA(text);
    for (Py_ssize_t index = from; at != NULL && index < until; index++) {
        at = write_character(at, PyUnicode_READ(kind, data, index));
    }
    return at;
}

static int
has_room(const Json *json, Py_ssize_t more)
{
    return json->buffer->size <= json->most && (size_t)more <= json->most - json->buffer->size;
}

int
write_text(Json *json, PyObject *text)
{
    Buffer *buffer = json->buffer;
#if PY_VERSION_HEX < 0x030c0000
    if (PyUnicode_READY(text) < 0) {
        return FAILED;
    }
#endif
    Py_ssize_t size = PyUnicode_GET_LENGTH(text);
    if (!has_room(json, size)) {
        return NEEDS_CARE;
    }
    int is_ascii = PyUnicode_IS_ASCII(text), result = buffer_write(buffer, "\"", 1);
    for (Py_ssize_t from = 0; result == WRITTEN && from < size; from += PIECE) {
        Py_ssize_t until = Py_MIN(from + PIECE, size);
        char *at = buffer_reserve(buffer, (size_t)(until - from) * WIDEST);
        if (at == NULL) {
            return FAILED;
        }
        char *end = is_ascii ? write_ascii(at, (const char *)PyUnicode_1BYTE_DATA(text) + from,
                                           until - from)
                             : write_characters(at, text, from, until);
        if (end == NULL) { /* a lone surrogate */
            return NEEDS_CARE;
        }
        buffer->size += (size_t)(end - at);
        result = has_room(json, size - until) ? WRITTEN : NEEDS_CARE;
    }
    return result == WRITTEN ? buffer_write(buffer, "\"", 1) : result;
}

static int
write_int(Json *json, PyObject *number)
{
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (overflow) {
        return NEEDS_CARE;
    }
    char digits[24];
    int size = PyOS_snprintf(digits, sizeof(digits), "%lld", value);
    return buffer_write(json->buffer, digits, (size_t)size);
}

static int
write_float(Json *json, PyObject *number)
{
    double value = PyFloat_AS_DOUBLE(number);
    if (!isfinite(value)) {
        return NEEDS_CARE;
    }
    char *digits = PyOS_double_to_string(value, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (digits == NULL) {
        return FAILED;
    }
    int result = buffer_write(json->buffer, digits, strlen(digits));
    PyMem_Free(digits);
    return result;
}

static int write_value(Json *json, PyObject *value, int depth);

/* Write what stands before one more value in a container: a comma, if it is not the first. */
static int
begin_value(Json *json, int is_first)
{
    if (json->left-- <= 0 || !has_room(json, 1)) {
        return NEEDS_CARE;
    }
    return is_first ? WRITTEN : buffer_write(json->buffer, ",", 1);
}

/* Nothing here runs Python code or lets another thread run, so that no container changes. */
static int
write_items(Json *json, PyObject *items, int depth)
{
    Py_ssize_t count = PySequence_Fast_GET_SIZE(items);
    int result = buffer_write(json->buffer, "[", 1);
    for (Py_ssize_t index = 0; result == WRITTEN && index < count; index++) {
        result = begin_value(json, index == 0);
        if (result == WRITTEN) {
            result = write_value(json, PySequence_Fast_GET_ITEM(items, index), depth);
        }
    }
    return result == WRITTEN ? buffer_write(json->buffer, "]", 1) : result;
}

static int
write_named(Json *json, PyObject *name, PyObject *value, int depth)
{
    int result = PyUnicode_CheckExact(name) ? write_text(json, name) : NEEDS_CARE;
    if (result == WRITTEN) {
        result = buffer_write(json->buffer, ":", 1);
    }
    return result == WRITTEN ? write_value(json, value, depth) : result;
}

static int
write_dict(Json *json, PyObject *dict, int depth)
{
    PyObject *name, *value;
    Py_ssize_t place = 0;
    int result = buffer_write(json->buffer, "{", 1), is_first = 1;
    while (result == WRITTEN && PyDict_Next(dict, &place, &name, &value)) {
        result = begin_value(json, is_first);
        if (result == WRITTEN) {
            result = write_named(json, name, value, depth);
        }
        is_first = 0;
    }
    return result == WRITTEN ? buffer_write(json->buffer, "}", 1) : result;
}

static int
write_value(Json *json, PyObject *value, int depth)
{
    if (PyUnicode_CheckExact(value)) {
        return write_text(json, value);
    }
    if (PyLong_CheckExact(value)) {
        return write_int(json, value);
    }
    if (value == Py_None) {
        return buffer_write(json->buffer, "null", 4);
    }
    if (value == Py_True) {
        return buffer_write(json->buffer, "true", 4);
    }
    if (value == Py_False) {
        return buffer_write(json->buffer, "false", 5);
    }
    if (PyFloat_CheckExact(value)) {
        return write_float(json, value);
    }
    if (depth >= json->deepest) { /* a cycle, perhaps */
        return NEEDS_CARE;
    }
    if (PyDict_CheckExact(value)) {
        return write_dict(json, value, depth + 1);
    }
    if (PyList_CheckExact(value) || PyTuple_CheckExact(value)) {
        return write_items(json, value, depth + 1);
    }
    return NEEDS_CARE;
}

int
write_fields(Json *json, PyObject *fields, Py_ssize_t skipped, PyObject *taken)
{
    PyObject *name, *value;
    Py_ssize_t place = 0;
    for (Py_ssize_t index = 0; PyDict_Next(fields, &place, &name, &value); index++) {
        if (index < skipped) {
            continue;
        }
        int known = PyUnicode_CheckExact(name) ? PySet_Contains(taken, name) : 1;
        if (known != 0) {
            return known < 0 ? FAILED : NEEDS_CARE;
        }
        int result = has_room(json, 1) ? buffer_write(json->buffer, ",", 1) : NEEDS_CARE;
        if (result == WRITTEN) {
            result = write_named(json, name, value, 0);
        }
        if (result != WRITTEN) {
            return result;
        }
    }
    return WRITTEN;
}

/* -- times --------------------------------------------------------------------------------------- */

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

int
write_time(Buffer *buffer, double created, Clock *clock)
{
    double micros = rint(created * 1e6);
    if (!(micros >= 0 && micros < 253402300800e6)) { /* year 10000 */
        return NEEDS_CARE;
    }
    int64_t all = (int64_t)micros, second = all / 1000000;
    if (second != clock->second) {
        put_second(clock->text, second);
        clock->second = second;
    }
    char *at = buffer_reserve(buffer, SECOND_SIZE + 8);
    if (at == NULL) {
        return FAILED;
    }
    memcpy(at, clock->text, SECOND_SIZE);
    at[SECOND_SIZE] = '.';
    put_digits(at + SECOND_SIZE + 1, 6, (unsigned)(all % 1000000));
    at[SECOND_SIZE + 7] = 'Z';
    buffer->size += SECOND_SIZE + 8;
    return WRITTEN;
}

/* -- bytes --------------------------------------------------------------------------------------- */

PyObject *
taken_from(Buffer *buffer, int result)
{
    PyObject *made = NULL;
    if (result == WRITTEN) {
        made = PyBytes_FromStringAndSize(buffer->data, (Py_ssize_t)buffer->size);
    }
    buffer_end(buffer);
    return made;
}

/* to_json(value) -> bytes | None: a plain value as JSON; None where Python has to write it. */
PyObject *
to_json(PyObject *module, PyObject *value)
{
    (void)module;
    Buffer buffer;
    buffer_begin(&buffer);
    Json json = {.buffer = &buffer, .most = SIZE_MAX, .left = PY_SSIZE_T_MAX, .deepest = DEEPEST};
    PyObject *made = taken_from(&buffer, write_value(&json, value, 0));
    return made != NULL || PyErr_Occurred() ? made : Py_NewRef(Py_None);
}
