/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zle.c - zero-length encoding: runs of zero bytes made short, all else left as it is.
 *
 *   byte b < 64    b + 1 literal bytes follow
 *   byte b >= 64   b - 63 zero bytes (1..192)
 *
 * A single zero inside a literal run stays there, as leaving and re-entering the run would cost a byte more. The output
 * length is known from outside.
 *
 * ZFS: module/zfs/zle.c.
 */
#include "compress.h"

enum { ZLE_LITERALS = 64, ZLE_ZEROS = 192 };

static size_t
zeros_at(const uint8_t *p, size_t n)
{
    size_t i = 0;

    while (i < n && p[i] == 0)
        i++;
    return i;
}

/* Length of the literal run at p: up to two zeros in a row, or to a zero at the end. */
static size_t
literals_at(const uint8_t *p, size_t n)
{
    size_t i = 0;

    while (i < n && (p[i] != 0 || (i + 1 < n && p[i + 1] != 0)))
        i++;
    return i;
}

size_t
zle_compress(const uint8_t *src, size_t s_len, uint8_t *dst, size_t d_cap)
{
    size_t in = 0, out = 0;

    while (in < s_len) {
        size_t n = src[in] == 0 ? zeros_at(src + in, MIN(s_len - in, (size_t)ZLE_ZEROS)) : 0;
        if (n > 0) {
            if (out == d_cap)
                return 0;
            dst[out++] = (uint8_t)(ZLE_LITERALS - 1 + n);
        } else {
            n = MIN(literals_at(src + in, MIN(s_len - in, (size_t)ZLE_LITERALS + 1)), (size_t)ZLE_LITERALS);
            if (d_cap - out < 1 + n)
                return 0;
            dst[out++] = (uint8_t)(n - 1);
            memcpy(dst + out, src + in, n);
            out += n;
        }
        in += n;
    }
    return out;
}

int
zle_decompress(const uint8_t *src, size_t s_len, uint8_t *dst, size_t d_len)
{
    size_t in = 0, out = 0;

    while (out < d_len) {
        if (in == s_len)
            return SET_ERROR(EIO);
        size_t b = src[in++], n = b < ZLE_LITERALS ? b + 1 : b - ZLE_LITERALS + 1;
        if (n > d_len - out)
            return SET_ERROR(EIO);
        if (b >= ZLE_LITERALS) {
            memset(dst + out, 0, n);
        } else {
            if (n > s_len - in)
                return SET_ERROR(EIO);
            memcpy(dst + out, src + in, n);
            in += n;
        }
        out += n;
    }
    return 0;
}
