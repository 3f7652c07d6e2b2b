/* JSON, as Python's json module writes it without spaces and with all of Unicode. */

#ifndef KIEL_LOGGING_JSON_H
#define KIEL_LOGGING_JSON_H

#include <stdint.h>

#include "buffer.h"

/* The results of functions that write JSON. A value that NEEDS_CARE is written by Python. */
enum { FAILED = -1, WRITTEN = 0, NEEDS_CARE = 1 };

/* How a field is written (record/formats has the same): as `"name":value`; the same, where a name with
 * a dot, or with nothing in front, between or behind dots, needs care; as OTLP has it. */
enum { PLAIN, UNDOTTED, KEY_VALUES };

/* Where JSON is written, and how much of it: whatever is larger needs care, before it is read. A
 * value does too whose name ends in one of `hidden`, or in characters that are not ASCII, and a text
 * that may be a JSON object or array in which such names are. */
typedef struct {
    Buffer *buffer;
    size_t most;        /* bytes */
    Py_ssize_t left;    /* values in lists and dicts */
    int deepest;        /* lists and dicts in each other */
    int style;          /* of fields */
    PyObject *hidden;   /* NULL, or a tuple of ASCII letters and digits in lower case */
} Json;

/* Values in the containers of one log record, and containers in each other. The careful way shows
 * more. */
enum { MOST_VALUES = 1000, DEEPEST_OF_LOG = 20 };

/* The text of the last second, which many records share: `"2026-01-02T03:04:05.`. `text_of` makes
 * it, without the quote and the dot. */
enum { SECOND_SIZE = 21 };
typedef struct {
    PyObject *text_of;
    long long second;
    char text[SECOND_SIZE + 1];
} Clock;

/* Return what was written as bytes; NULL with an error, or without one where it needs care. End the
 * buffer. */
PyObject *taken_from(Buffer *buffer, int result);

/* Write `"2026-01-02T03:04:05.678901Z`, as rfc3339() has it. */
int write_time(Buffer *buffer, double created, Clock *clock);

/* Write `"1767323045678901000`: nanoseconds since 1970. */
int write_nanos(Buffer *buffer, double created);

/* Whether values may have to be hidden in a text, because it begins and ends as JSON does. */
int may_hide(PyObject *text);

/* Write a text. */
int write_text(Json *json, PyObject *text);

/* Write `,"name":value`, as `style` has it. */
int write_field(Json *json, PyObject *name, PyObject *value);

/* Write fields for the items from `place` on, which is one of PyDict_Next(); none may be named as one
 * in `taken`. Runs no Python code. */
int write_fields(Json *json, PyObject *fields, Py_ssize_t place, PyObject *taken);

#endif
