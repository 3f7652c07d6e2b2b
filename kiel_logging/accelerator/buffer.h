/* Bytes that grow, on the stack while they are few. */

#ifndef KIEL_LOGGING_BUFFER_H
#define KIEL_LOGGING_BUFFER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

#define ON_STACK 2048

typedef struct {
    char *data;
    size_t size;
    size_t room;
    char first[ON_STACK];
} Buffer;

static inline void
buffer_begin(Buffer *buffer)
{
    buffer->data = buffer->first;
    buffer->size = 0;
    buffer->room = ON_STACK;
}

static inline void
buffer_end(Buffer *buffer)
{
    if (buffer->data != buffer->first) {
        PyMem_Free(buffer->data);
    }
}

/* Return where `more` bytes can be written, or NULL with MemoryError set. */
static inline char *
buffer_reserve(Buffer *buffer, size_t more)
{
    if (buffer->room - buffer->size < more) {
        size_t room = (buffer->size + more) * 2;
        char *data = buffer->data == buffer->first
                         ? PyMem_Malloc(room)
                         : PyMem_Realloc(buffer->data, room);
        if (data == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        if (buffer->data == buffer->first) {
            memcpy(data, buffer->first, buffer->size);
        }
        buffer->data = data;
        buffer->room = room;
    }
    return buffer->data + buffer->size;
}

static inline int
buffer_write(Buffer *buffer, const char *data, size_t size)
{
    char *at = buffer_reserve(buffer, size);
    if (at == NULL) {
        return -1;
    }
    memcpy(at, data, size);
    buffer->size += size;
    return 0;
}

static inline int
buffer_write_bytes(Buffer *buffer, PyObject *bytes)
{
    return buffer_write(buffer, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
}

#endif
