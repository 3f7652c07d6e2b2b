/* JSON, as orjson writes it. */

#ifndef KIEL_LOGGING_JSON_H
#define KIEL_LOGGING_JSON_H

#include "buffer.h"

/* What a function that writes JSON returns: NEEDS_CARE is for what Python has to look at. */
enum { FAILED = -1, WRITTEN = 0, NEEDS_CARE = 1 };

/* Write a text. */
int write_text(Buffer *buffer, PyObject *text);

/* Write `,"name":value` for the items behind the first `skipped`; none may be named as one in
 * `taken`. `dump` writes what is none of the plain kinds; it may run anything. */
int write_fields(Buffer *buffer, PyObject *fields, Py_ssize_t skipped, PyObject *taken,
                 PyObject *dump);

#endif
