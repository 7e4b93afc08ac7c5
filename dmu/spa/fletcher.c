/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fletcher.c - Fletcher-4: four running sums over 32-bit words, each the sum of the one before it.
 *
 *   for each word w:   a += w   b += a   c += b   d += c          (64 bits, modulo 2^64)
 *
 * The chain makes it serial, so that a plain loop is far slower than memory. The vector form cuts the words into four
 * lanes, word i into lane i mod 4, runs the same recurrence in each lane from zero, and puts the lanes together. With
 * N = 4m words, word 4k+j has y = m-k steps to the end of its lane and x = 4y-j to the end of the whole, and it counts
 *
 *   in a: 1      in b: x      in c: x(x+1)/2      in d: x(x+1)(x+2)/6
 *
 * times; the lane's own sums hold the same polynomials of y. Writing those of x in terms of those of y gives lane_join().
 * A state from before (incremental use) joins the same way, as words followed by N more.
 *
 * Invariants: both forms give the same sums for every length; a piece's bytes after its last whole word do not count.
 *
 * ZFS: module/zcommon/zfs_fletcher.c.
 */
#include "checksum.h"

void
fletcher_4_scalar(const void *buf, size_t n, bool swap, zio_cksum_t *zc)
{
    uint64_t a = zc->zc_word[0], b = zc->zc_word[1], c = zc->zc_word[2], d = zc->zc_word[3];
    uint32_t w;

    for (size_t i = 0; i + sizeof(w) <= n; i += sizeof(w)) {
        memcpy(&w, (const uint8_t *)buf + i, sizeof(w));
        a += swap ? __builtin_bswap32(w) : w;
        b += a;
        c += b;
        d += c;
    }
    *zc = (zio_cksum_t){{a, b, c, d}};
}

#ifdef __x86_64__

#include <immintrin.h>

#define VECTOR_MIN   256        /* bytes; shorter pieces are not worth joining lanes for */
#define VECTOR_CHUNK (1u << 22) /* bytes; keeps N(N+1)(N+2) inside 64 bits */

typedef struct lanes {
    uint64_t a[4], b[4], c[4], d[4];
} lanes_t;

/* The sums of n bytes (a multiple of 16) from zero, lane by lane. */
__attribute__((target("avx2"))) static void
lanes_run(const uint8_t *p, size_t n, bool swap, lanes_t *out)
{
    const __m256i reverse = _mm256_setr_epi8(3, 2, 1, 0, -1, -1, -1, -1, 11, 10, 9, 8, -1, -1, -1, -1, 3, 2,
                                             1, 0, -1, -1, -1, -1, 11, 10, 9, 8, -1, -1, -1, -1);
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;

    for (const uint8_t *end = p + n; p < end; p += 16) {
        __m256i w = _mm256_cvtepu32_epi64(_mm_loadu_si128((const __m128i *)p));
        if (swap)
            w = _mm256_shuffle_epi8(w, reverse);
        a = _mm256_add_epi64(a, w);
        b = _mm256_add_epi64(b, a);
        c = _mm256_add_epi64(c, b);
        d = _mm256_add_epi64(d, c);
    }
    _mm256_storeu_si256((__m256i *)out->a, a);
    _mm256_storeu_si256((__m256i *)out->b, b);
    _mm256_storeu_si256((__m256i *)out->c, c);
    _mm256_storeu_si256((__m256i *)out->d, d);
}

/* The four lanes as one sum. Lane j's share, from x = 4y - j; negative terms wrap, as the sums themselves do. */
static void
lanes_join(const lanes_t *l, zio_cksum_t *sum)
{
    *sum = (zio_cksum_t){{0}};
    for (uint64_t j = 0; j < 4; j++) {
        uint64_t a = l->a[j], b = l->b[j], c = l->c[j], d = l->d[j];

        sum->zc_word[0] += a;
        sum->zc_word[1] += 4 * b - j * a;
        sum->zc_word[2] += 16 * c - (6 + 4 * j) * b + (j == 0 ? 0 : j * (j - 1) / 2) * a;
        sum->zc_word[3] += 64 * d - (48 + 16 * j) * c + (4 + 4 * j + 2 * j * j) * b - (j == 3 ? a : 0);
    }
}

/* `zc` was the state; N words with the sum `more` (from zero) follow. */
static void
append(zio_cksum_t *zc, uint64_t N, const zio_cksum_t *more)
{
    uint64_t a = zc->zc_word[0], b = zc->zc_word[1], c = zc->zc_word[2];
    uint64_t n2 = N * (N + 1) / 2, n3 = N * (N + 1) * (N + 2) / 6;

    zc->zc_word[0] += more->zc_word[0];
    zc->zc_word[1] += more->zc_word[1] + N * a;
    zc->zc_word[2] += more->zc_word[2] + N * b + n2 * a;
    zc->zc_word[3] += more->zc_word[3] + N * c + n2 * b + n3 * a;
}

static pthread_once_t cpu_once = PTHREAD_ONCE_INIT;
static bool cpu_has_avx2;

static void
cpu_init(void)
{
    __builtin_cpu_init();
    cpu_has_avx2 = __builtin_cpu_supports("avx2");
}

static void
fletcher_4(const void *buf, size_t n, bool swap, zio_cksum_t *zc)
{
    const uint8_t *p = buf;

    pthread_once(&cpu_once, cpu_init);
    while (cpu_has_avx2 && n >= VECTOR_MIN) {
        size_t len = MIN(n, (size_t)VECTOR_CHUNK) & ~(size_t)15;
        lanes_t l;
        zio_cksum_t sum;

        lanes_run(p, len, swap, &l);
        lanes_join(&l, &sum);
        append(zc, len / sizeof(uint32_t), &sum);
        p += len;
        n -= len;
    }
    fletcher_4_scalar(p, n, swap, zc);
}

#else
#define fletcher_4 fletcher_4_scalar
#endif

void
fletcher_4_incremental_native(const void *buf, size_t n, zio_cksum_t *zc)
{
    fletcher_4(buf, n, false, zc);
}

void
fletcher_4_incremental_byteswap(const void *buf, size_t n, zio_cksum_t *zc)
{
    fletcher_4(buf, n, true, zc);
}
