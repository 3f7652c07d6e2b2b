/* The digests of a chain (proof/chain.py), by the processor's instructions for SHA-256 (FIPS 180-4).
 *
 * A hash of hashlib takes some 2 us for a record, of which the hash itself is a fifth. Where the
 * processor has no such instructions, the type is absent and hashlib does it. */

#include "seal.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <cpuid.h>
#include <immintrin.h>

static const uint32_t CONSTANTS[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

#define SHA __attribute__((target("sha,sse4.1")))

/* Take whole blocks into the state. The instructions want it as ABEF and CDGH. */
SHA static void
take_blocks(uint32_t state[8], const unsigned char *data, size_t blocks)
{
    const __m128i order = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    __m128i low = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
    __m128i cdgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);
    __m128i abef = _mm_alignr_epi8(low, cdgh, 8);
    cdgh = _mm_blend_epi16(cdgh, low, 0xf0);
    for (; blocks > 0; blocks--, data += BLOCK_SIZE) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i words[4];
#pragma GCC unroll 16
        for (int step = 0; step < 16; step++) {
            __m128i *now = &words[step & 3];
            if (step < 4) {
                *now = _mm_loadu_si128((const __m128i *)(data + 16 * step));
                *now = _mm_shuffle_epi8(*now, order);
            } else {
                __m128i last = words[(step + 3) & 3], second = words[(step + 2) & 3];
                *now = _mm_sha256msg1_epu32(*now, words[(step + 1) & 3]);
                *now = _mm_add_epi32(*now, _mm_alignr_epi8(last, second, 4));
                *now = _mm_sha256msg2_epu32(*now, last);
            }
            __m128i sums = _mm_loadu_si128((const __m128i *)(CONSTANTS + 4 * step));
            sums = _mm_add_epi32(sums, *now);
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sums);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sums, 0x0e));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    low = _mm_shuffle_epi32(abef, 0x1b);
    cdgh = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(low, cdgh, 0xf0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(cdgh, low, 8));
}

int
can_seal(void)
{
    unsigned int a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_1) &&
           __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & 1u << 29);
}

#else

static void
take_blocks(uint32_t state[8], const unsigned char *data, size_t blocks)
{
    (void)state, (void)data, (void)blocks;
}

int
can_seal(void)
{
    return 0;
}

#endif

/* -- one hash ----------------------------------------------------------------------------------- */

static void
begin(Hash *hash)
{
    static const uint32_t FIRST[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(hash->state, FIRST, sizeof(FIRST));
    hash->size = 0;
}

static void
update(Hash *hash, const void *content, size_t size)
{
    const unsigned char *data = content;
    size_t filled = hash->size % BLOCK_SIZE;
    hash->size += size;
    if (filled > 0) {
        size_t fits = BLOCK_SIZE - filled < size ? BLOCK_SIZE - filled : size;
        memcpy(hash->rest + filled, data, fits);
        data += fits;
        size -= fits;
        if (filled + fits < BLOCK_SIZE) {
            return;
        }
        take_blocks(hash->state, hash->rest, 1);
    }
    take_blocks(hash->state, data, size / BLOCK_SIZE);
    memcpy(hash->rest, data + size - size % BLOCK_SIZE, size % BLOCK_SIZE);
}

static void
finish(Hash *hash, unsigned char digest[DIGEST_SIZE])
{
    static const unsigned char PADDING[BLOCK_SIZE] = {0x80};
    uint64_t bits = hash->size * 8;
    unsigned char length[8];
    for (int index = 0; index < 8; index++) {
        length[index] = (unsigned char)(bits >> (56 - 8 * index));
    }
    update(hash, PADDING, 1 + (2 * BLOCK_SIZE - 9 - hash->size % BLOCK_SIZE) % BLOCK_SIZE);
    update(hash, length, sizeof(length));
    for (int index = 0; index < DIGEST_SIZE; index++) {
        digest[index] = (unsigned char)(hash->state[index / 4] >> (24 - 8 * (index % 4)));
    }
}

/* -- Seal --------------------------------------------------------------------------------------- */

void
seal_digest(const Seal *seal, const void *prev, size_t prev_size, const void *body, size_t size,
            unsigned char digest[DIGEST_SIZE])
{
    Hash hash = seal->inner;
    update(&hash, prev, prev_size);
    update(&hash, body, size);
    finish(&hash, digest);
    if (seal->is_keyed) {
        hash = seal->outer;
        update(&hash, digest, DIGEST_SIZE);
        finish(&hash, digest);
    }
}

/* Seal(key) -> Seal; HMAC's halves (RFC 2104), begun with the key. */
static PyObject *
seal_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    const char *key = NULL;
    Py_ssize_t size = 0;
    if (!PyArg_ParseTuple(args, "|z#", &key, &size)) {
        return NULL;
    }
    (void)keywords;
    Seal *seal = (Seal *)type->tp_alloc(type, 0);
    if (seal == NULL) {
        return NULL;
    }
    begin(&seal->inner);
    begin(&seal->outer);
    seal->is_keyed = key != NULL;
    if (key != NULL) {
        unsigned char block[BLOCK_SIZE] = {0};
        if (size > BLOCK_SIZE) {
            Hash hash = seal->inner;
            update(&hash, key, (size_t)size);
            finish(&hash, block);
        } else {
            memcpy(block, key, (size_t)size);
        }
        for (int index = 0; index < BLOCK_SIZE; index++) {
            block[index] ^= 0x36;
        }
        update(&seal->inner, block, BLOCK_SIZE);
        for (int index = 0; index < BLOCK_SIZE; index++) {
            block[index] ^= 0x36 ^ 0x5c;
        }
        update(&seal->outer, block, BLOCK_SIZE);
    }
    return (PyObject *)seal;
}

/* begin(stream) -> Seal of the stream. */
static PyObject *
seal_begin(PyObject *self, PyObject *stream)
{
    if (!PyBytes_Check(stream)) {
        PyErr_SetString(PyExc_TypeError, "a stream is bytes");
        return NULL;
    }
    Seal *made = (Seal *)SEAL.tp_alloc(&SEAL, 0);
    if (made != NULL) {
        made->inner = ((Seal *)self)->inner;
        made->outer = ((Seal *)self)->outer;
        made->is_keyed = ((Seal *)self)->is_keyed;
        update(&made->inner, PyBytes_AS_STRING(stream), (size_t)PyBytes_GET_SIZE(stream));
    }
    return (PyObject *)made;
}

/* digest(prev, body) -> bytes */
static PyObject *
seal_call(PyObject *self, PyObject *args, PyObject *keywords)
{
    (void)keywords;
    PyObject *prev, *body;
    if (!PyArg_ParseTuple(args, "SS", &prev, &body)) {
        return NULL;
    }
    unsigned char digest[DIGEST_SIZE];
    seal_digest((Seal *)self, PyBytes_AS_STRING(prev), (size_t)PyBytes_GET_SIZE(prev),
                PyBytes_AS_STRING(body), (size_t)PyBytes_GET_SIZE(body), digest);
    return PyBytes_FromStringAndSize((const char *)digest, DIGEST_SIZE);
}

static PyMethodDef METHODS[] = {
    {"begin", seal_begin, METH_O, "begin(stream) -> Seal of the stream"},
    {NULL, NULL, 0, NULL},
};

PyTypeObject SEAL = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "kiel_logging._accelerator.Seal",
    .tp_doc = "Seal(key=None): makes digests, as chain.py does with hashlib.",
    .tp_basicsize = sizeof(Seal),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = seal_new,
    .tp_call = seal_call,
    .tp_methods = METHODS,
};
