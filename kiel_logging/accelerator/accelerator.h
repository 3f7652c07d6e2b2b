/* The hottest loops of the package in C. Each function returns what Python code would, to the byte;
 * a record that needs care is left to that Python code. Without a C compiler, Python does it all.
 *
 * The law: no global state changes, the only callbacks are those that are given, and the GIL is held
 * except during the write(2) of tail.c. A call that runs no Python code is therefore one step for
 * all other threads and for signal handlers. module.c says so to the interpreter.
 *
 * This header has what the files share. */

#ifndef KIEL_LOGGING_ACCELERATOR_H
#define KIEL_LOGGING_ACCELERATOR_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

#if defined(__GNUC__)
#pragma GCC visibility push(hidden)
#endif

/* -- records and items ------------------------------------------------------------------------- */

/* The places in an Item and a Record, which are named tuples. */
enum { I_TOPIC = 0, I_KEY, I_RECORD };
enum { R_KEY = 0, R_VALUE, R_HEADERS, R_TIMESTAMP, R_COUNT };

/* Bytes, as wire/sizes.py and record/item.py have them: of a record without key, value and headers
 * in a batch; of a header; of an item in memory; of a LogRecord that is kept with it. */
enum { RECORD_SIZE = 36, HEADER_OVERHEAD = 10, ITEM_MEMORY = 410, SOURCE_MEMORY = 1500 };

static inline int
is_blob(PyObject *value)
{
    return value == Py_None || PyBytes_Check(value);
}

/* An Item with its Record in one object of bytes, texts and numbers, which the garbage collector
 * need not visit: a `source` that is kept with it has nothing else either. `number` is that of its
 * stamp, 0 without one. */
typedef struct {
    PyObject_HEAD
    PyObject *topic, *key, *data, *value, *source, *instance, *name;
    long long timestamp, size, memory, level, number;
} QuickItem;

extern PyTypeObject QUICK_ITEM;

/* Return a QuickItem of borrowed references: `data` is the key as bytes or None, `source` a
 * LogRecord or None. NULL with an error. */
PyObject *new_quick_item(PyObject *topic, PyObject *key, PyObject *data, PyObject *value,
                         PyObject *source, long long timestamp, long long level);

/* Put the digits of a number at the end of 24 bytes; return the first. */
static inline char *
digits_of(char *room, long long number)
{
    char *at = room + 24;
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return at;
}

/* -- the buffer --------------------------------------------------------------------------------- */

/* As CountsInPython in Python. */
typedef struct {
    PyObject_HEAD
    long long emitted, kept, bytes_kept, ended, bytes_ended, out_of_memory;
    long long many_records, many_bytes, batch_size;
    char crowded, closed, unwoken;
} Counts;

extern PyTypeObject COUNTS, FAST_WAY;

/* -- the journal ------------------------------------------------------------------------------- */

/* As JournalCountsInPython in journal/local_stream.py. */
typedef struct {
    PyObject_HEAD
    long long bytes, max_bytes, pending;
    char asleep;
} JournalCounts;

/* Where C appends to a stream, while there is a descriptor; as TailInPython there. */
typedef struct {
    PyObject_HEAD
    JournalCounts *counts;
    PyObject *descriptor;
    unsigned long long device, inode;
    long long appended;
    long writes; /* that are under way */
    unsigned int seed;
    int number;
    char unread, torn;
} Tail;

extern PyTypeObject JOURNAL_COUNTS, TAIL;

/* Append the frame, which is bytes, by one write(2) without the GIL, and count it; return 1. 0 if
 * that needs care: then no record is counted. */
int tail_append(Tail *tail, PyObject *frame);

/* Return the item's frame as bytes; None where that needs care, NULL with an error. */
PyObject *packed(PyObject *item, uint64_t waiter, uint32_t seed);

/* -- the functions of the module ---------------------------------------------------------------- */

PyObject *encode_records(PyObject *module, PyObject *args);
PyObject *group(PyObject *module, PyObject *args);
PyObject *lean_exit(PyObject *module, PyObject *kind);
PyObject *murmur2(PyObject *module, PyObject *key);
PyObject *pack_frame(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *scan_items(PyObject *module, PyObject *args);
PyObject *stamp(PyObject *module, PyObject *args);
PyObject *take(PyObject *module, PyObject *args);
PyObject *to_json(PyObject *module, PyObject *value);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif
