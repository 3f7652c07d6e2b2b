/* The hottest loops of the package in C. Each function returns what Python code would, to the byte;
 * a record that needs care is left to that Python code. Without a C compiler, Python does it all.
 *
 * The law: no global state changes, and the only callbacks are those that are given. On the threads
 * that log, the GIL is held except during the write(2) of tail.c: a call that runs no Python code is
 * one step for all other threads and for signal handlers. The loop thread gives it up while it
 * encodes many records or looks through a block of frames (record_batch.c, frames.c): all that it
 * reads meanwhile is immutable, and held. module.c says so to the interpreter.
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
enum { I_TOPIC = 0, I_KEY, I_RECORD, I_SIZE, I_MEMORY };
enum { R_KEY = 0, R_VALUE, R_HEADERS, R_TIMESTAMP, R_COUNT };

/* Bytes, as wire/sizes.py and record/item.py have them: of a record without key, value and headers
 * in a batch; of a header; of an item in memory; of a LogRecord that is kept with it. */
enum { RECORD_SIZE = 36, HEADER_OVERHEAD = 10, ITEM_MEMORY = 410, SOURCE_MEMORY = 1500 };

static inline int
is_blob(PyObject *value)
{
    return value == Py_None || PyBytes_Check(value);
}

/* Bytes that have another owner; a size of -1 stands for None. */
typedef struct {
    const char *data;
    Py_ssize_t size;
} Blob;

static inline Blob
blob_of(PyObject *value)
{
    return value == Py_None ? (Blob){"", -1} : (Blob){PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)};
}

/* The bytes of a record: its key as it is stored, its value, and its headers but for the stamp as a
 * frame of the journal has them: for each the sizes of its name, in ASCII, and of its content. */
typedef struct {
    Blob key, value, headers;
    long long header_count;
} Contents;

/* An Item with its Record and the bytes of it in one object, which the garbage collector need not
 * visit: a `source` that is kept with it has nothing but texts and numbers, and a `run` no items.
 * `number` is that of its stamp, 0 without one. */
typedef struct {
    PyObject_HEAD
    PyObject *topic, *key, *source, *instance, *name, *run;
    long long timestamp, size, memory, level, number, entry;
    Contents its; /* in `bytes` */
    char bytes[];
} QuickItem;

extern PyTypeObject QUICK_ITEM;

/* Return a QuickItem with a copy of the contents; the references are borrowed, and `source` is a
 * LogRecord or None. NULL with an error. */
PyObject *new_quick_item(PyObject *topic, PyObject *key, const Contents *its, PyObject *source,
                         long long timestamp, long long level);

enum { SIZES = 8 }; /* bytes in front of a header */

/* Write a number in as many bytes as it has there; return what is behind. */
static inline unsigned char *
put(unsigned char *at, uint64_t number, int size)
{
    for (int index = size - 1; index >= 0; index--) {
        *at++ = (unsigned char)(number >> 8 * index);
    }
    return at;
}

static inline uint64_t
get(const unsigned char *at, int size)
{
    uint64_t number = 0;
    for (int index = 0; index < size; index++) {
        number = number << 8 | at[index];
    }
    return number;
}

/* Read the header at `at`, of which there is all; return what is behind. */
static inline const char *
get_header(const char *at, Blob *name, Blob *content)
{
    const unsigned char *sizes = (const unsigned char *)at;
    *name = (Blob){at + SIZES, (int32_t)get(sizes, 4)};
    *content = (Blob){name->data + name->size, (int32_t)get(sizes + 4, 4)};
    return content->data + Py_MAX(content->size, 0);
}

enum { DIGITS = 24 };

/* Put a number at the end of DIGITS bytes, in decimal; return where it begins. */
static inline char *
digits_of(char *room, long long number)
{
    char *at = room + DIGITS;
    unsigned long long left = number < 0 ? 0 - (unsigned long long)number : (unsigned long long)number;
    do {
        *--at = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (number < 0) {
        *--at = '-';
    }
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

/* -- record batches ------------------------------------------------------------------------------- */

enum { MOST_OF_VARINT = 10 };

/* Return the most bytes that a header takes; -1 with an error, if it is none. */
Py_ssize_t measure_header(PyObject *header);

/* Write as record batches have it, where there is room for it; return what is behind. */
char *write_varint(char *at, int64_t value);
char *write_blob(char *at, Blob blob);
char *write_header(char *at, PyObject *header); /* that was measured */

/* -- the functions of the module ---------------------------------------------------------------- */

PyObject *encode_records(PyObject *module, PyObject *args);
PyObject *group(PyObject *module, PyObject *args);
PyObject *lean_exit(PyObject *module, PyObject *kind);
PyObject *mark_items(PyObject *module, PyObject *args);
PyObject *crc32c_of(PyObject *module, PyObject *args);
PyObject *murmur2(PyObject *module, PyObject *key);
PyObject *pack_frame(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *scan_items(PyObject *module, PyObject *args);
PyObject *stamp(PyObject *module, PyObject *args);
PyObject *take(PyObject *module, PyObject *args);
PyObject *write_to(PyObject *module, PyObject *args);
PyObject *to_json(PyObject *module, PyObject *value);
PyObject *totals(PyObject *module, PyObject *items);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif
