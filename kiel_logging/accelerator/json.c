/* See json.h. */

#include "accelerator.h"
#include "json.h"

#include <math.h>
#include <stdint.h>

/* Containers in each other that to_json() writes; what is plain has fewer. */
enum { DEEPEST = 100 };

/* Characters of a name; the value under a longer one is hidden. */
enum { LONGEST_NAME = 1000 };

/* Characters for which room is reserved at a time: six bytes each. */
enum { PIECE = 256, WIDEST = 6 };

/* Bytes that are looked at together. */
enum { EIGHT = 8 };

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
    memcpy(&bytes, eight, EIGHT);
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

/* Write text, and up to EIGHT bytes of anything behind it. */
static char *
write_escaping(char *at, const char *data, Py_ssize_t size)
{
    for (const char *end = data + size; data < end; data += EIGHT) {
        char eight[EIGHT + 1] = "        ";
        int count = EIGHT;
        if (end - data >= EIGHT) {
            memcpy(eight, data, EIGHT);
        }
        else {
            count = (int)(end - data);
            memcpy(eight, data, (size_t)count);
        }
        if (!any_to_escape(eight)) {
            memcpy(at, eight, EIGHT);
            at += count;
            continue;
        }
        for (int index = 0; index < count; index++) {
            if (must_escape((unsigned char)eight[index])) {
                at = write_escaped(at, (unsigned char)eight[index]);
            }
            else {
                *at++ = eight[index];
            }
        }
    }
    return at;
}

static int
has_room(const Json *json, Py_ssize_t more)
{
    return json->buffer->size <= json->most && (size_t)more <= json->most - json->buffer->size;
}

/* Write bytes of UTF-8, which JSON has as they are, but for some of ASCII. */
static int
write_utf8(Json *json, const char *data, Py_ssize_t size)
{
    Py_ssize_t from = 0;
    do {
        if (!has_room(json, size - from)) {
            return NEEDS_CARE;
        }
        Py_ssize_t count = Py_MIN(PIECE, size - from);
        char *begin = buffer_reserve(json->buffer, (size_t)count * WIDEST + 2 + EIGHT), *at = begin;
        if (begin == NULL) {
            return FAILED;
        }
        if (from == 0) {
            *at++ = '"';
        }
        at = write_escaping(at, data + from, count);
        from += count;
        if (from == size) {
            *at++ = '"';
        }
        json->buffer->size += (size_t)(at - begin);
    } while (from < size);
    return WRITTEN;
}

static int
is_space(Py_UCS4 one)
{
    return one == ' ' || one == '\t' || one == '\n' || one == '\r';
}

int
may_hide(PyObject *text)
{
#if PY_VERSION_HEX < 0x030c0000
    if (PyUnicode_READY(text) < 0) {
        PyErr_Clear();
        return 1;
    }
#endif
    Py_ssize_t from = 0, to = PyUnicode_GET_LENGTH(text);
    while (from < to && is_space(PyUnicode_READ_CHAR(text, from))) {
        from++;
    }
    Py_UCS4 one = from < to ? PyUnicode_READ_CHAR(text, from) : 0;
    if (one != '{' && one != '[') {
        return 0;
    }
    while (is_space(PyUnicode_READ_CHAR(text, to - 1))) {
        to--;
    }
    one = PyUnicode_READ_CHAR(text, to - 1);
    return one == '}' || one == ']';
}

/* Write a text in which nothing is hidden. */
static int
write_name(Json *json, PyObject *text)
{
#if PY_VERSION_HEX < 0x030c0000
    if (PyUnicode_READY(text) < 0) {
        return FAILED;
    }
#endif
    Py_ssize_t size = PyUnicode_GET_LENGTH(text);
    if (PyUnicode_IS_ASCII(text)) {
        return write_utf8(json, (const char *)PyUnicode_1BYTE_DATA(text), size);
    }
    /* Not PyUnicode_AsUTF8(): the text would keep its UTF-8 for as long as it lives. */
    PyObject *data = has_room(json, size) ? PyUnicode_AsUTF8String(text) : NULL;
    if (data == NULL) { /* a lone surrogate, or too large */
        PyErr_Clear();
        return NEEDS_CARE;
    }
    int result = write_utf8(json, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data));
    Py_DECREF(data);
    return result;
}

int
write_text(Json *json, PyObject *text)
{
    return json->hidden != NULL && may_hide(text) ? NEEDS_CARE : write_name(json, text);
}

static int
write_int(Json *json, PyObject *number)
{
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (overflow) {
        return NEEDS_CARE;
    }
    char digits[DIGITS], *first = digits_of(digits, value);
    return buffer_write(json->buffer, first, (size_t)(digits + DIGITS - first));
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
static int write_any_value(Json *json, PyObject *value, int depth);

/* Write what stands before one more value in a container: a comma, if it is not the first. */
static int
begin_value(Json *json, int is_first)
{
    if (json->left-- <= 0 || !has_room(json, 1)) {
        return NEEDS_CARE;
    }
    return is_first ? WRITTEN : buffer_write(json->buffer, ",", 1);
}

/* Whether a word of a name begins at a letter or digit of it, as redaction.py divides ASCII. */
static int
begins_word(const unsigned char *name, Py_ssize_t size, Py_ssize_t at)
{
    if (at == 0 || !Py_ISALNUM(name[at - 1])) {
        return 1;
    }
    if (Py_ISUPPER(name[at])) {
        return !Py_ISUPPER(name[at - 1]) || (at + 1 < size && Py_ISLOWER(name[at + 1]));
    }
    return Py_ISUPPER(name[at - 1]) && Py_ISDIGIT(name[at]);
}

/* Whether the letters and digits of a name end in those of `hidden`, with which a word begins. */
static int
ends_in(const unsigned char *name, Py_ssize_t size, PyObject *hidden)
{
    const unsigned char *wanted = PyUnicode_1BYTE_DATA(hidden);
    Py_ssize_t left = PyUnicode_GET_LENGTH(hidden), at = size;
    while (left > 0 && at > 0) {
        unsigned char one = name[--at];
        if (Py_ISALNUM(one) && Py_TOLOWER(one) != wanted[--left]) {
            return 0;
        }
    }
    return left == 0 && begins_word(name, size, at);
}

/* Whether a value must be hidden because of its name, or perhaps. */
static int
is_hidden(const Json *json, PyObject *name)
{
    if (json->hidden == NULL) {
        return 0;
    }
#if PY_VERSION_HEX < 0x030c0000
    if (PyUnicode_READY(name) < 0) {
        PyErr_Clear();
        return 1;
    }
#endif
    int found = !PyUnicode_IS_ASCII(name) || PyUnicode_GET_LENGTH(name) > LONGEST_NAME;
    for (Py_ssize_t index = 0; !found && index < PyTuple_GET_SIZE(json->hidden); index++) {
        found = ends_in(PyUnicode_1BYTE_DATA(name), PyUnicode_GET_LENGTH(name),
                        PyTuple_GET_ITEM(json->hidden, index));
    }
    return found;
}

/* Whether an item of a list is a pair of such a name and its value. */
static int
is_hidden_pair(const Json *json, PyObject *item)
{
    if (json->hidden == NULL || !(PyList_CheckExact(item) || PyTuple_CheckExact(item)) ||
        PySequence_Fast_GET_SIZE(item) != 2) {
        return 0;
    }
    PyObject *name = PySequence_Fast_GET_ITEM(item, 0);
    return PyUnicode_CheckExact(name) && is_hidden(json, name);
}

/* Nothing here runs Python code or lets another thread run, so that no container changes. */
static int
write_items(Json *json, PyObject *items, int depth)
{
    Py_ssize_t count = PySequence_Fast_GET_SIZE(items);
    int result = buffer_write(json->buffer, "[", 1);
    for (Py_ssize_t index = 0; result == WRITTEN && index < count; index++) {
        PyObject *item = PySequence_Fast_GET_ITEM(items, index);
        result = is_hidden_pair(json, item) ? NEEDS_CARE : begin_value(json, index == 0);
        if (result == WRITTEN) {
            result = json->style == KEY_VALUES ? write_any_value(json, item, depth)
                                               : write_value(json, item, depth);
        }
    }
    return result == WRITTEN ? buffer_write(json->buffer, "]", 1) : result;
}

/* Whether a name is more than one name, or none. */
static int
is_dotted(PyObject *name)
{
    Py_ssize_t size = PyUnicode_GET_LENGTH(name);
    return size == 0 || Py_UNICODE_ISSPACE(PyUnicode_READ_CHAR(name, 0)) ||
           PyUnicode_FindChar(name, '.', 0, size, 1) >= 0;
}

static inline int
write_constant(Json *json, const char *text)
{
    return buffer_write(json->buffer, text, strlen(text));
}

static int
write_named(Json *json, PyObject *name, PyObject *value, int depth)
{
    if (!PyUnicode_CheckExact(name) || is_hidden(json, name) ||
        (json->style == UNDOTTED && is_dotted(name))) {
        return NEEDS_CARE;
    }
    int is_any = json->style == KEY_VALUES, result;
    if ((is_any && (result = write_constant(json, "{\"key\":"))) ||
        (result = write_name(json, name)) ||
        (result = write_constant(json, is_any ? ",\"value\":" : ":")) ||
        (result = is_any ? write_any_value(json, value, depth) : write_value(json, value, depth))) {
        return result;
    }
    return is_any ? write_constant(json, "}") : WRITTEN;
}

static int
write_dict(Json *json, PyObject *dict, int depth)
{
    PyObject *name, *value;
    Py_ssize_t place = 0;
    int is_any = json->style == KEY_VALUES, is_first = 1;
    int result = write_constant(json, is_any ? "[" : "{");
    while (result == WRITTEN && PyDict_Next(dict, &place, &name, &value)) {
        result = begin_value(json, is_first);
        if (result == WRITTEN) {
            result = write_named(json, name, value, depth);
        }
        is_first = 0;
    }
    return result == WRITTEN ? write_constant(json, is_any ? "]" : "}") : result;
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

/* Write OTLP's AnyValue. */
static int
write_any_value(Json *json, PyObject *value, int depth)
{
    const char *begin, *end = "}";
    if (value == Py_None) {
        return write_constant(json, "{}");
    }
    if (PyUnicode_CheckExact(value)) {
        begin = "{\"stringValue\":";
    }
    else if (PyBool_Check(value)) {
        begin = "{\"boolValue\":";
    }
    else if (PyLong_CheckExact(value)) {
        begin = "{\"intValue\":\"";
        end = "\"}";
    }
    else if (PyFloat_CheckExact(value)) {
        begin = "{\"doubleValue\":";
    }
    else {
        begin = PyDict_CheckExact(value) ? "{\"kvlistValue\":{\"values\":"
                                         : "{\"arrayValue\":{\"values\":";
        end = "}}";
    }
    int result = write_constant(json, begin);
    if (result == WRITTEN) {
        result = write_value(json, value, depth);
    }
    return result == WRITTEN ? write_constant(json, end) : result;
}

int
write_field(Json *json, PyObject *name, PyObject *value)
{
    int result = has_room(json, 1) ? write_constant(json, ",") : NEEDS_CARE;
    return result == WRITTEN ? write_named(json, name, value, 0) : result;
}

int
write_fields(Json *json, PyObject *fields, Py_ssize_t place, PyObject *taken)
{
    PyObject *name, *value;
    while (PyDict_Next(fields, &place, &name, &value)) {
        int known = PyUnicode_CheckExact(name) ? PySet_Contains(taken, name) : 1;
        if (known != 0) {
            return known < 0 ? FAILED : NEEDS_CARE;
        }
        int result = write_field(json, name, value);
        if (result != WRITTEN) {
            return result;
        }
    }
    return WRITTEN;
}

/* -- times --------------------------------------------------------------------------------------- */

int
write_time(Buffer *buffer, double created, Clock *clock)
{
    double micros = rint(created * 1e6);
    if (!(micros >= 0 && micros < 253402300800e6)) { /* year 10000 */
        return NEEDS_CARE;
    }
    long long all = (long long)micros, second = all / 1000000;
    if (second != clock->second) {
        PyObject *text = PyObject_CallFunction(clock->text_of, "L", second);
        const char *data = text == NULL ? NULL : PyUnicode_AsUTF8(text);
        int size = PyOS_snprintf(clock->text, sizeof(clock->text), "\"%s.", data ? data : "");
        Py_XDECREF(text);
        clock->second = size == SECOND_SIZE ? second : -1;
        if (clock->second < 0) {
            return data == NULL ? FAILED : NEEDS_CARE;
        }
    }
    char digits[DIGITS];
    digits_of(digits, 1000000 + all % 1000000); /* six digits behind a 1 */
    int failed = buffer_write(buffer, clock->text, SECOND_SIZE) < 0 ||
                 buffer_write(buffer, digits + DIGITS - 6, 6) < 0 ||
                 buffer_write(buffer, "Z", 1) < 0;
    return failed ? FAILED : WRITTEN;
}

int
write_nanos(Buffer *buffer, double created)
{
    double micros = rint(created * 1e6);
    if (!(micros > 0 && micros < 9.2e15)) { /* such nanoseconds are no long long */
        return NEEDS_CARE;
    }
    char digits[DIGITS], *first = digits_of(digits, (long long)micros * 1000);
    *--first = '"';
    return buffer_write(buffer, first, (size_t)(digits + DIGITS - first));
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
