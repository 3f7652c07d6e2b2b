/* The value of a log record, as the careful way (record/log_json.py) writes it. */

#include <math.h>
#include <stdint.h>

#include "accelerator.h"
#include "json.h"

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

enum { SECOND_SIZE = 20 };

/* Write `"2026-01-02T03:04:05.678901Z`, as log_record.rfc3339() has it. */
static int
write_time(Buffer *buffer, double created)
{
    static int64_t last_second = -1; /* many records share one */
    static char last_text[SECOND_SIZE];
    double micros = rint(created * 1e6);
    if (!(micros >= 0 && micros < 253402300800e6)) { /* year 10000 */
        return NEEDS_CARE;
    }
    int64_t all = (int64_t)micros, second = all / 1000000;
    if (second != last_second) {
        put_second(last_text, second);
        last_second = second;
    }
    char *at = buffer_reserve(buffer, SECOND_SIZE + 8);
    if (at == NULL) {
        return FAILED;
    }
    memcpy(at, last_text, SECOND_SIZE);
    at[SECOND_SIZE] = '.';
    put_digits(at + SECOND_SIZE + 1, 6, (unsigned)(all % 1000000));
    at[SECOND_SIZE + 7] = 'Z';
    buffer->size += SECOND_SIZE + 8;
    return WRITTEN;
}

/* Values in the containers of one record, and containers in each other; the careful way shows more. */
enum { MOST_VALUES = 1000, DEEPEST = 20 };

static int
write_parts(Buffer *buffer, const Parts *parts)
{
    Json json = {.buffer = buffer, .most = (size_t)parts->most, .left = MOST_VALUES,
                 .deepest = DEEPEST};
    int result = buffer_write(buffer, "{\"time\":", 8);
    if (result == WRITTEN) {
        result = write_time(buffer, parts->created);
    }
    if (result == WRITTEN) {
        result = buffer_write_bytes(buffer, parts->head);
    }
    if (result == WRITTEN) {
        result = write_text(&json, parts->message);
    }
    if (result == WRITTEN) {
        result = buffer_write_bytes(buffer, parts->tail);
    }
    if (result == WRITTEN && parts->task != NULL) {
        result = buffer_write(buffer, ",\"task\":", 8);
        if (result == WRITTEN) {
            result = write_text(&json, parts->task);
        }
    }
    if (result == WRITTEN) {
        result = write_fields(&json, parts->own, parts->skipped, parts->taken);
    }
    if (result == WRITTEN && parts->more != NULL) {
        result = write_fields(&json, parts->more, 0, parts->taken);
    }
    if (result == WRITTEN) {
        result = buffer_write_bytes(buffer, parts->end);
    }
    return result;
}

PyObject *
value_of(const Parts *parts)
{
    Buffer buffer;
    buffer_begin(&buffer);
    return taken_from(&buffer, write_parts(&buffer, parts));
}

/* compose(created, head, message, tail, own, skipped, more, taken, end, most) -> bytes | None */
PyObject *
compose(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 10 || !PyBytes_CheckExact(args[1]) || !PyBytes_CheckExact(args[3]) ||
        !PyDict_CheckExact(args[4]) || !PyDict_CheckExact(args[6]) ||
        !PyAnySet_Check(args[7]) || !PyBytes_CheckExact(args[8])) {
        PyErr_SetString(PyExc_TypeError, "compose(): arguments of other types were expected");
        return NULL;
    }
    if (!PyFloat_CheckExact(args[0]) || !PyUnicode_CheckExact(args[2])) {
        Py_RETURN_NONE;
    }
    Parts parts = {
        .created = PyFloat_AS_DOUBLE(args[0]), .head = args[1], .message = args[2],
        .tail = args[3], .own = args[4], .skipped = PyLong_AsSsize_t(args[5]),
        .more = args[6], .taken = args[7], .end = args[8], .most = PyLong_AsSsize_t(args[9]),
    };
    if (PyErr_Occurred()) {
        return NULL;
    }
    return value_of(&parts);
}
