/* The hash of a key: what partitioners.py does. */

#include <stdint.h>

#include "accelerator.h"

PyObject *
murmur2(PyObject *module, PyObject *key)
{
    (void)module;
    if (!PyBytes_Check(key)) {
        PyErr_SetString(PyExc_TypeError, "murmur2() takes bytes");
        return NULL;
    }
    const uint32_t m = 0x5bd1e995u;
    const unsigned char *data = (const unsigned char *)PyBytes_AS_STRING(key);
    Py_ssize_t length = PyBytes_GET_SIZE(key);
    uint32_t hash = 0x9747b28cu ^ (uint32_t)length;
    for (; length >= 4; data += 4, length -= 4) {
        uint32_t k = (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 |
                     (uint32_t)data[3] << 24;
        k *= m;
        k ^= k >> 24;
        hash = hash * m ^ k * m;
    }
    switch (length) {
    case 3: hash ^= (uint32_t)data[2] << 16; /* fall through */
    case 2: hash ^= (uint32_t)data[1] << 8;  /* fall through */
    case 1: hash = (hash ^ data[0]) * m;
    }
    hash ^= hash >> 13;
    hash *= m;
    return PyLong_FromUnsignedLong(hash ^ hash >> 15);
}
