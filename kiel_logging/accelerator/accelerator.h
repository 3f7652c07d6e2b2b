/* The hottest loops of the package in C: the same as in Python, to the byte, for what is common; for
 * the rest None, or with_care(), which means "do it in Python". Optional: without it everything works
 * as well, only slower.
 *
 * The law: no state but the text of the last second, no callbacks but the ones that are given, and
 * the GIL is held all the time, but for the write(2) of gate.c. What runs no Python code in here is
 * one step for all threads and signal handlers.
 *
 * This is what the files have in common. */

#ifndef KIEL_LOGGING_ACCELERATOR_H
#define KIEL_LOGGING_ACCELERATOR_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

#if defined(__GNUC__)
#pragma GCC visibility push(hidden)
#endif

/* -- the values of the package ---------------------------------------------------------------- */

/* Where an Item and a Record have what is needed of them. */
enum { I_TOPIC = 0, I_KEY, I_RECORD, I_SIZE, I_COUNT, I_MEMORY = 4, R_HEADERS = 2 };

static inline int
is_blob(PyObject *value)
{
    return value == Py_None || PyBytes_Check(value);
}

static inline int
is_record(PyObject *record)
{
    return PyTuple_Check(record) && PyTuple_GET_SIZE(record) == 4 &&
           is_blob(PyTuple_GET_ITEM(record, 0)) && is_blob(PyTuple_GET_ITEM(record, 1)) &&
           PyTuple_CheckExact(PyTuple_GET_ITEM(record, 2)) &&
           PyLong_CheckExact(PyTuple_GET_ITEM(record, 3));
}

/* Put the digits of a number, as many as there are, at the end of 24 bytes; return the first. */
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

static inline PyObject *
decimal(long long number)
{
    char room[24], *digits = digits_of(room, number);
    return PyBytes_FromStringAndSize(digits, room + sizeof(room) - digits);
}

/* Return a named tuple of the type, with the references that are given; NULL takes them too. */
PyObject *new_named_tuple(PyObject *type, Py_ssize_t count, PyObject **values);

/* -- what quick.py has for C ------------------------------------------------------------------- */

/* What Quick.settings_in_c in quick.py has, in this order. */
enum {
    S_LOG_RECORD, S_RECORD, S_ITEM, S_SITES, S_NEW_SITE, S_NAMES, S_PLACES, S_RUNNING_LOOP,
    S_TASK_NAME, S_MODULES, S_TOPIC, S_KEY, S_TAKEN, S_END, S_RECORD_SIZE, S_OVERHEAD, S_MOST,
    S_COUNT
};

static inline PyObject *
setting(PyObject *settings, int which)
{
    return PyTuple_GET_ITEM(settings, which);
}

/* Whether quick.py made them; an error is set if not. */
int are_settings(PyObject *settings);

/* What a value is composed of, in this order.
 *
 * `head` stands between the time and the message, `tail` behind it, `end` behind all fields. Of `own`
 * all but the first `skipped` are fields; `more`, which may be NULL, are others. No field may have a
 * name that is `taken`. Of more than `most` bytes, more or less, the record needs care. */
typedef struct {
    double created;
    PyObject *head, *message, *tail, *task, *own, *more, *taken, *end;
    Py_ssize_t skipped, most;
} Parts;

/* Return the value as bytes, None where it needs care, NULL with an error. */
PyObject *value_of(const Parts *parts);

/* -- items ------------------------------------------------------------------------------------ */

/* An Item with its Record, of which only C makes some: one object where they are two and
 * three numbers, and one that the garbage collector need not know, for it has only texts, bytes and
 * numbers. `number` is that of its stamp, 0 where it has none. */
typedef struct {
    PyObject_HEAD
    PyObject *settings, *key, *data, *value, *instance, *name;
    long long timestamp, size, memory, level, number;
} QuickItem;

extern PyTypeObject QUICK_ITEM;

/* Whether the settings have all that a QuickItem needs of them; an error is set if not. */
int are_item_settings(PyObject *settings);

/* Return a QuickItem without a number, for the caller to set the other numbers; NULL with an error.
 * Takes the references to key, data and value in any case. */
QuickItem *new_quick_item(PyObject *settings, PyObject *key, PyObject *data, PyObject *value);

/* Return a QuickItem, or an Item, of the record; None where it needs care, NULL with an error. */
PyObject *quick_item_from(PyObject *settings, PyObject *record);

static inline PyObject *
topic_of(PyObject *item)
{
    return Py_IS_TYPE(item, &QUICK_ITEM) ? setting(((QuickItem *)item)->settings, S_TOPIC)
                                         : PyTuple_GET_ITEM(item, I_TOPIC);
}

static inline int
is_item(PyObject *item)
{
    if (Py_IS_TYPE(item, &QUICK_ITEM)) {
        return 1;
    }
    return PyTuple_Check(item) && PyTuple_GET_SIZE(item) >= I_COUNT &&
           PyUnicode_Check(PyTuple_GET_ITEM(item, I_TOPIC)) &&
           is_record(PyTuple_GET_ITEM(item, I_RECORD)) &&
           PyLong_CheckExact(PyTuple_GET_ITEM(item, I_SIZE));
}

static inline long long
number_of(PyObject *item, int which)
{
    if (Py_IS_TYPE(item, &QUICK_ITEM)) {
        return which == I_MEMORY ? ((QuickItem *)item)->memory : ((QuickItem *)item)->size;
    }
    return PyLong_AsLongLong(PyTuple_GET_ITEM(item, which));
}

/* -- the buffer ------------------------------------------------------------------------------ */

/* As CountsInPython in handler/buffer.py. */
typedef struct {
    PyObject_HEAD
    long long emitted, kept, bytes_kept, ended, bytes_ended, out_of_memory;
    long long many_records, many_bytes, batch_size;
    char crowded, closed, unwoken;
} Counts;

extern PyTypeObject COUNTS, QUICK_HANDLE;

/* Queue the item if there is plenty of room; return how many are queued, 0 if there is not, -1
 * with an error. No Python code runs in here, so nobody comes in between. */
Py_ssize_t queue_up(Counts *counts, PyObject *queue, PyObject *append, PyObject *item);

/* -- the journal ------------------------------------------------------------------------------- */

/* Passed by those who append; see GateInPython in journal/gate.py. */
typedef struct {
    PyObject_HEAD
    PyObject *lock;           /* an RLock */
    PyThread_type_lock quiet; /* free while no flight is under way */
    PyObject *dirty;
    long long appended_bytes, released_bytes, max_bytes, pending;
    long holders, flights, asides;
    char asleep;
} Gate;

/* Where C appends to a stream, while there is a descriptor. */
typedef struct {
    PyObject_HEAD
    Gate *gate;
    PyObject *topic, *descriptor, *sizes, *segment;
    unsigned long long device, inode;
    long long appended;
    unsigned int seed;
    int number;
    char torn;
} Tail;

extern PyTypeObject GATE, TAIL;

/* Append the frame, which is bytes, by one write(2) without the GIL, and count it; return 1. 0 if
 * that needs care: then nothing is counted. -1 with an error. */
int tail_append(Tail *tail, PyObject *frame);

/* Return the item's frame as bytes; None where that needs care, NULL with an error. */
PyObject *packed(PyObject *item, uint64_t waiter, uint32_t seed);

/* -- the module's functions -------------------------------------------------------------------- */

extern PyObject *N_message, *N_open_telemetry, *N_depth, *N_filters, *N_formatter, *N_emit;

PyObject *compose(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *convert(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *convert_quick(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *group(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *item_settings(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *pack_frame(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *queue_up_method(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *stamp(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *take(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *encode_records(PyObject *module, PyObject *args);
PyObject *latest_timestamp(PyObject *module, PyObject *argument);
PyObject *memory_of(PyObject *module, PyObject *argument);
PyObject *murmur2(PyObject *module, PyObject *argument);
PyObject *records_of(PyObject *module, PyObject *argument);
PyObject *scan_items(PyObject *module, PyObject *args);
PyObject *sizes_of(PyObject *module, PyObject *argument);
PyObject *to_json(PyObject *module, PyObject *value);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif
