/* CRC-32C, as the package crc32c computes it, which would release the GIL for long data. */

#ifndef KIEL_LOGGING_CRC32C_H
#define KIEL_LOGGING_CRC32C_H

#include <stdint.h>
#include <string.h>

/* The remainder of each byte with none to seven zeros behind it. That of a number is the XOR of
 * those of its bits, and only these are written out. */
#define CRC_1(crc, a) (crc), (crc) ^ (a)
#define CRC_2(crc, a, b) CRC_1(crc, a), CRC_1((crc) ^ (b), a)
#define CRC_3(crc, a, b, c) CRC_2(crc, a, b), CRC_2((crc) ^ (c), a, b)
#define CRC_4(crc, a, b, c, d) CRC_3(crc, a, b, c), CRC_3((crc) ^ (d), a, b, c)
#define CRC_5(crc, a, b, c, d, e) CRC_4(crc, a, b, c, d), CRC_4((crc) ^ (e), a, b, c, d)
#define CRC_6(crc, a, b, c, d, e, f) CRC_5(crc, a, b, c, d, e), CRC_5((crc) ^ (f), a, b, c, d, e)
#define CRC_7(crc, a, b, c, d, e, f, g) \
    CRC_6(crc, a, b, c, d, e, f), CRC_6((crc) ^ (g), a, b, c, d, e, f)
#define CRC_8(crc, a, b, c, d, e, f, g, h) \
    CRC_7(crc, a, b, c, d, e, f, g), CRC_7((crc) ^ (h), a, b, c, d, e, f, g)
static const uint32_t CRC_OF_BYTE[8][256] = {
    {CRC_8(0u, 0xf26b8303u, 0xe13b70f7u, 0xc79a971fu, 0x8ad958cfu,
           0x105ec76fu, 0x20bd8edeu, 0x417b1dbcu, 0x82f63b78u)},
    {CRC_8(0u, 0x13a29877u, 0x274530eeu, 0x4e8a61dcu, 0x9d14c3b8u,
           0x3fc5f181u, 0x7f8be302u, 0xff17c604u, 0xfbc3faf9u)},
    {CRC_8(0u, 0xa541927eu, 0x4f6f520du, 0x9edea41au, 0x38513ec5u,
           0x70a27d8au, 0xe144fb14u, 0xc76580d9u, 0x8b277743u)},
    {CRC_8(0u, 0xdd45aab8u, 0xbf672381u, 0x7b2231f3u, 0xf64463e6u,
           0xe964b13du, 0xd725148bu, 0xaba65fe7u, 0x52a0c93fu)},
    {CRC_8(0u, 0x38116facu, 0x7022df58u, 0xe045beb0u, 0xc5670b91u,
           0x8f2261d3u, 0x1ba8b557u, 0x37516aaeu, 0x6ea2d55cu)},
    {CRC_8(0u, 0xef306b19u, 0xdb8ca0c3u, 0xb2f53777u, 0x6006181fu,
           0xc00c303eu, 0x85f4168du, 0x0e045bebu, 0x1c08b7d6u)},
    {CRC_8(0u, 0x68032cc8u, 0xd0065990u, 0xa5e0c5d1u, 0x4e2dfd53u,
           0x9c5bfaa6u, 0x3d5b83bdu, 0x7ab7077au, 0xf56e0ef4u)},
    {CRC_8(0u, 0x493c7d27u, 0x9278fa4eu, 0x211d826du, 0x423b04dau,
           0x847609b4u, 0x0d006599u, 0x1a00cb32u, 0x34019664u)},
};

static inline uint32_t
crc_by_table(uint32_t crc, const unsigned char *at, size_t size)
{
    for (; size >= 8; at += 8, size -= 8) {
        uint32_t next = 0;
        for (int index = 0; index < 8; index++) {
            uint32_t byte = at[index] ^ (index < 4 ? crc >> 8 * index & 0xff : 0);
            next ^= CRC_OF_BYTE[7 - index][byte];
        }
        crc = next;
    }
    for (; size > 0; size--) {
        crc = crc >> 8 ^ CRC_OF_BYTE[0][(crc ^ *at++) & 0xff];
    }
    return crc;
}

#if defined(__GNUC__) && defined(__x86_64__)
__attribute__((target("sse4.2"))) static inline uint32_t
crc_by_processor(uint32_t crc, const unsigned char *at, size_t size)
{
    uint64_t eight, wide = crc;
    for (; size >= 8; at += 8, size -= 8) {
        memcpy(&eight, at, 8);
        wide = __builtin_ia32_crc32di(wide, eight);
    }
    return crc_by_table((uint32_t)wide, at, size);
}
#endif

/* Return what crc32c(data, crc) returns in Python. */
static inline uint32_t
crc32c(uint32_t crc, const unsigned char *data, size_t size)
{
#if defined(__GNUC__) && defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) {
        return ~crc_by_processor(~crc, data, size);
    }
#endif
    return ~crc_by_table(~crc, data, size);
}

#endif
