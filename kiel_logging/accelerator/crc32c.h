/* CRC-32C, as the package crc32c computes it, which would release the GIL for long data. */

#ifndef KIEL_LOGGING_CRC32C_H
#define KIEL_LOGGING_CRC32C_H

#include <stdint.h>
#include <string.h>

#if defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#endif

/* Half a byte at a time, for processors that have no instruction for it. */
static inline uint32_t
crc_by_table(uint32_t crc, const unsigned char *at, size_t size)
{
    static const uint32_t remainders[16] = {
        0x00000000u, 0x105ec76fu, 0x20bd8edeu, 0x30e349b1u, 0x417b1dbcu, 0x5125dad3u,
        0x61c69362u, 0x7198540du, 0x82f63b78u, 0x92a8fc17u, 0xa24bb5a6u, 0xb21572c9u,
        0xc38d26c4u, 0xd3d3e1abu, 0xe330a81au, 0xf36e6f75u,
    };
    for (; size > 0; size--) {
        crc ^= *at++;
        crc = crc >> 4 ^ remainders[crc & 15];
        crc = crc >> 4 ^ remainders[crc & 15];
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
#elif defined(__ARM_FEATURE_CRC32)
static inline uint32_t
crc_by_processor(uint32_t crc, const unsigned char *at, size_t size)
{
    uint64_t eight;
    for (; size >= 8; at += 8, size -= 8) {
        memcpy(&eight, at, 8);
        crc = __crc32cd(crc, eight);
    }
    return crc_by_table(crc, at, size);
}
#endif

/* Return crc32c(data, crc) of Python. */
static inline uint32_t
crc32c(uint32_t crc, const unsigned char *data, size_t size)
{
#if defined(__GNUC__) && defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) {
        return ~crc_by_processor(~crc, data, size);
    }
#elif defined(__ARM_FEATURE_CRC32)
    return ~crc_by_processor(~crc, data, size);
#endif
    return ~crc_by_table(~crc, data, size);
}

#endif
