/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lzjb.c - LZJB: the simplest useful Lempel-Ziv code, ZFS's first compression.
 *
 *   stream   { map byte, 8 items }...      bit i of the map (low first) describes item i
 *   item 0   one literal byte
 *   item 1   two bytes, big-endian: 6 bits length - 3, 10 bits distance back (1..1023)
 *
 * A match may overlap what it produces (distance 1 repeats a byte). The compressor keeps, for each hash of three bytes,
 * where they were seen last; any choice of matches is a valid stream. The output length is known from outside.
 *
 * ZFS: module/zfs/lzjb.c.
 */
#include "compress.h"

enum { MATCH_MIN = 3, MATCH_MAX = 66, DISTANCE_MAX = 1023, HASH_SIZE = 2048 };

static uint32_t
hash3(const uint8_t *p)
{
    uint32_t v = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;

    return (v * 2654435761u) >> 21; /* the top 11 bits */
}

/* How many bytes at src + at repeat those `dist` before; 0 when no match may be coded. */
static size_t
match_length(const uint8_t *src, size_t s_len, size_t at, size_t dist)
{
    size_t max = MIN(s_len - at, (size_t)MATCH_MAX), n = 0;

    if (dist == 0 || dist > DISTANCE_MAX)
        return 0;
    while (n < max && src[at + n] == src[at + n - dist])
        n++;
    return n >= MATCH_MIN ? n : 0;
}

size_t
lzjb_compress(const uint8_t *src, size_t s_len, uint8_t *dst, size_t d_cap)
{
    uint32_t seen[HASH_SIZE] = {0}; /* position + 1 */
    size_t in = 0, out = 0, map = 0;

    for (int bit = 8; in < s_len; bit++) {
        if (bit == 8) {
            if (out >= d_cap)
                return 0;
            bit = 0;
            map = out++;
            dst[map] = 0;
        }
        size_t len = 0, dist = 0;
        if (s_len - in >= MATCH_MIN) {
            uint32_t *slot = &seen[hash3(src + in)];
            dist = *slot == 0 ? 0 : in + 1 - *slot;
            *slot = (uint32_t)in + 1;
            len = match_length(src, s_len, in, dist);
        }
        if (d_cap - out < (len == 0 ? 1u : 2u))
            return 0;
        if (len == 0) {
            dst[out++] = src[in++];
            continue;
        }
        dst[map] |= (uint8_t)(1u << bit);
        dst[out++] = (uint8_t)((len - MATCH_MIN) << 2 | dist >> 8);
        dst[out++] = (uint8_t)dist;
        in += len;
    }
    return out;
}

int
lzjb_decompress(const uint8_t *src, size_t s_len, uint8_t *dst, size_t d_len)
{
    size_t in = 0, out = 0;
    unsigned map = 0;

    for (int bit = 8; out < d_len; bit++) {
        if (bit == 8) {
            if (in >= s_len)
                return SET_ERROR(EIO);
            map = src[in++];
            bit = 0;
        }
        bool match = (map >> bit & 1) != 0;
        if (s_len - in < (match ? 2u : 1u))
            return SET_ERROR(EIO);
        if (!match) {
            dst[out++] = src[in++];
            continue;
        }
        size_t len = (size_t)(src[in] >> 2) + MATCH_MIN, dist = (size_t)(src[in] & 3) << 8 | src[in + 1];
        in += 2;
        if (dist == 0 || dist > out)
            return SET_ERROR(EIO);
        for (len = MIN(len, d_len - out); len > 0; len--, out++)
            dst[out] = dst[out - dist];
    }
    return 0;
}
