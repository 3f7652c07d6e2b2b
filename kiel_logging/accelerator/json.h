/* JSON, as Python's json module writes it without spaces and with all of Unicode. */

#ifndef KIEL_LOGGING_JSON_H
#define KIEL_LOGGING_JSON_H

#include "buffer.h"

/* What a function that writes JSON returns: NEEDS_CARE is for what Python has to look at. */
enum { FAILED = -1, WRITTEN = 0, NEEDS_CARE = 1 };

/* Where JSON is written, and how much of it: whatever is larger needs care, before it is read. */
typedef struct {
    Buffer *buffer;
    size_t most;     /* bytes */
    Py_ssize_t left; /* values in lists and dicts */
    int deepest;     /* lists and dicts in each other */
} Json;

/* Return what was written as bytes, None where it needs care, NULL with an error; end the buffer. */
PyObject *taken_from(Buffer *buffer, int result);

/* Write a text. */
int write_text(Json *json, PyObject *text);

/* Write `,"name":value` for the items behind the first `skipped`; none may be named as one in
 * `taken`. Runs no Python code. */
int write_fields(Json *json, PyObject *fields, Py_ssize_t skipped, PyObject *taken);

#endif
