/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_base_codec.c - checksums and compression: known answers, round trips of every kind of data, hostile bytes.
 *
 * COWBIRD_BENCH=1 in the environment also prints speeds.
 */
#include "checksum.h"
#include "compress.h"

#include <check.h>
#include <stdio.h>

static __thread uint64_t seed = 88172645463325252ull;

static uint64_t
rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void
fill_random(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(rnd() >> 32);
}

/* ---- checksums ---- */

static void
check_sum(enum zio_checksum c, bool swap, const char *text, const uint64_t want[4])
{
    zio_cksum_t got;
    int err = swap ? zio_checksum_compute_swapped(c, text, strlen(text), &got)
                   : zio_checksum_compute(c, text, strlen(text), &got);

    ck_assert_int_eq(err, 0);
    ck_assert_msg(memcmp(&got, want, 32) == 0, "%s: %016lx %016lx %016lx %016lx", zio_checksum_name(c),
                  got.zc_word[0], got.zc_word[1], got.zc_word[2], got.zc_word[3]);
}

START_TEST(known_sums)
{
    /* FIPS 180-4's "abc"; words big-endian for SHA-256, as in memory for SHA-512/256 */
    const uint64_t sha256[] = {0xba7816bf8f01cfeaull, 0x414140de5dae2223ull, 0xb00361a396177a9cull,
                               0xb410ff61f20015adull};
    const uint64_t sha512_be[] = {0x53048e2681941ef9ull, 0x9b2e29b76b4c7dabull, 0xe4c2d0c634fc6d46ull,
                                  0xe0e2f13107e7af23ull};
    uint64_t sha512_le[4];

    for (int i = 0; i < 4; i++)
        sha512_le[i] = __builtin_bswap64(sha512_be[i]);
    check_sum(ZIO_CHECKSUM_SHA256, false, "abc", sha256);
    check_sum(ZIO_CHECKSUM_SHA256, true, "abc", sha256);
    check_sum(ZIO_CHECKSUM_SHA512, false, "abc", sha512_le);
    check_sum(ZIO_CHECKSUM_SHA512, true, "abc", sha512_be);
    check_sum(ZIO_CHECKSUM_OFF, false, "abc", (uint64_t[4]){0});
    /* words 'abcd' and 'efgh' by hand */
    uint64_t w0 = 0x64636261, w1 = 0x68676665;
    check_sum(ZIO_CHECKSUM_FLETCHER_4, false, "abcdefgh",
              (uint64_t[4]){w0 + w1, 2 * w0 + w1, 3 * w0 + w1, 4 * w0 + w1});
    w0 = 0x61626364, w1 = 0x65666768;
    check_sum(ZIO_CHECKSUM_ON, true, "abcdefgh",
              (uint64_t[4]){w0 + w1, 2 * w0 + w1, 3 * w0 + w1, 4 * w0 + w1});
    uint64_t x = 0x6867666564636261ull, y = 0x706f6e6d6c6b6a69ull;
    check_sum(ZIO_CHECKSUM_FLETCHER_2, false, "abcdefghijklmnop", (uint64_t[4]){x, y, x, y});
    check_sum(ZIO_CHECKSUM_FLETCHER_2, true, "abcdefghijklmnop",
              (uint64_t[4]){__builtin_bswap64(x), __builtin_bswap64(y), __builtin_bswap64(x),
                            __builtin_bswap64(y)});
    /* XXH3-128 of nothing, as the xxHash specification's test vectors give it */
    check_sum(ZIO_CHECKSUM_XXH3_128, false, "",
              (uint64_t[4]){0x6001c324468d497full, 0x99aa06d3014798d8ull, 0, 0});
}
END_TEST

START_TEST(sum_names)
{
    zio_cksum_t sum;
    enum zio_checksum c;

    ck_assert_int_eq(zio_checksum_by_name("fletcher4", &c), 0);
    ck_assert_int_eq(c, ZIO_CHECKSUM_FLETCHER_4);
    ck_assert_str_eq(zio_checksum_name(c), "fletcher4");
    ck_assert_int_eq(zio_checksum_by_name("label", &c), EINVAL);
    ck_assert_int_eq(zio_checksum_by_name("", &c), EINVAL);
    ck_assert_str_eq(zio_checksum_name((enum zio_checksum)77), "unknown");
    for (int i = ZIO_CHECKSUM_SKEIN; i <= 20; i++)
        ck_assert_int_eq(zio_checksum_compute((enum zio_checksum)i, "", 0, &sum), ENOTSUP);
    ck_assert_int_eq(zio_checksum_compute(ZIO_CHECKSUM_INHERIT, "", 0, &sum), ENOTSUP);
}
END_TEST

static void
compare_fletcher(const uint8_t *p, size_t n, const zio_cksum_t *start)
{
    zio_cksum_t a = *start, b = *start;

    fletcher_4_scalar(p, n, false, &a);
    fletcher_4_incremental_native(p, n, &b);
    ck_assert_msg(zio_cksum_equal(&a, &b), "native, %zu bytes", n);
    a = b = *start;
    fletcher_4_scalar(p, n, true, &a);
    fletcher_4_incremental_byteswap(p, n, &b);
    ck_assert_msg(zio_cksum_equal(&a, &b), "swapped, %zu bytes", n);
}

START_TEST(fletcher_lanes)
{
    size_t big = (9u << 20) + 12;
    uint8_t *p = xmalloc(big + 1);
    zio_cksum_t start;

    fill_random(p, big + 1);
    for (size_t n = 0; n < 1500; n++) {
        fill_random((uint8_t *)&start, sizeof(start));
        compare_fletcher(p + n % 7, n, &start);
    }
    compare_fletcher(p + 1, big, &start);
    memset(p, 0xff, big); /* the largest sums */
    compare_fletcher(p, big, &start);
    compare_fletcher(p, 16 << 10, &start);
    free(p);
}
END_TEST

START_TEST(fletcher_pieces)
{
    uint8_t *p = xmalloc(100000);
    zio_cksum_t whole = {{0}}, pieces = {{0}};

    fill_random(p, 100000);
    fletcher_4_incremental_native(p, 100000, &whole);
    for (size_t at = 0, n; at < 100000; at += n) {
        n = MIN((rnd() % 3000) & ~3ull, 100000 - at);
        fletcher_4_incremental_native(p + at, n, &pieces);
    }
    ck_assert(zio_cksum_equal(&whole, &pieces));
    free(p);
}
END_TEST

/* As a big-endian machine would have written it. */
static void
swap_trailer(uint8_t *block, size_t size, uint64_t offset)
{
    uint64_t t[5] = {__builtin_bswap64(ZEC_MAGIC), __builtin_bswap64(offset)};
    zio_cksum_t sum;

    memcpy(block + size - 40, t, 40);
    VERIFY0(zio_checksum_compute(ZIO_CHECKSUM_SHA256, block, size, &sum));
    for (int i = 0; i < 4; i++)
        t[i + 1] = __builtin_bswap64(sum.zc_word[i]);
    memcpy(block + size - 40, t, 40);
}

START_TEST(embedded)
{
    uint8_t block[1024];
    bool swapped;
    uint64_t place[4] = {0x21000, 0, 0, 0}, gang[4] = {1, 0x5000, 77, 0};

    fill_random(block, sizeof(block));
    zio_checksum_embed(block, sizeof(block), 0x21000);
    ck_assert_int_eq(zio_checksum_embed_verify(block, sizeof(block), place, &swapped), 0);
    ck_assert(!swapped);
    ck_assert_int_eq(zio_checksum_embed_verify(block, sizeof(block), gang, NULL), ECKSUM);
    for (size_t i = 0; i < sizeof(block); i++) {
        block[i] ^= 0x10;
        ck_assert_int_eq(zio_checksum_embed_verify(block, sizeof(block), place, NULL), ECKSUM);
        block[i] ^= 0x10;
    }
    swap_trailer(block, sizeof(block), 0x21000);
    ck_assert_int_eq(zio_checksum_embed_verify(block, sizeof(block), place, &swapped), 0);
    ck_assert(swapped);
    zio_checksum_embed_verifier(block, 512, gang);
    ck_assert_int_eq(zio_checksum_embed_verify(block, 512, gang, NULL), 0);
    ck_assert_int_eq(zio_checksum_embed_verify(block, 40, gang, NULL), ECKSUM);
    memset(block, 0, sizeof(block));
    ck_assert_int_eq(zio_checksum_embed_verify(block, sizeof(block), place, NULL), ECKSUM);
}
END_TEST

/* ---- compression ---- */

enum { TEXT, ZEROS, RANDOM, SPARSE, REPEAT, MIXED, KINDS };

static void
fill(uint8_t *p, size_t n, int kind)
{
    static const char *words[] = {"the ",      "quick ",  "brown ", "fox ",
                                  "snapshot ", "block\n", "birth ", "txg "};

    memset(p, 0, n);
    switch (kind) {
    case TEXT:
        for (size_t at = 0; at < n;) {
            const char *w = words[rnd() % 8];
            size_t len = MIN(strlen(w), n - at);
            memcpy(p + at, w, len);
            at += len;
        }
        break;
    case RANDOM:
        fill_random(p, n);
        break;
    case SPARSE:
        for (size_t i = 0; i < n; i += 1 + rnd() % 300)
            p[i] = (uint8_t)rnd();
        break;
    case REPEAT:
        for (size_t i = 0; i < n; i++)
            p[i] = (uint8_t)("abcabcd"[i % 7]);
        break;
    case MIXED:
        fill_random(p, n / 2);
        break;
    }
}

static const struct {
    enum zio_compress c;
    int level;
} codecs[] = {
    {ZIO_COMPRESS_LZJB, 0},   {ZIO_COMPRESS_ZLE, 0},    {ZIO_COMPRESS_LZ4, 0},    {ZIO_COMPRESS_GZIP_1, 0},
    {ZIO_COMPRESS_GZIP_6, 0}, {ZIO_COMPRESS_GZIP_9, 0}, {ZIO_COMPRESS_ZSTD, 0},   {ZIO_COMPRESS_ZSTD, 1},
    {ZIO_COMPRESS_ZSTD, 19},  {ZIO_COMPRESS_ZSTD, 102}, {ZIO_COMPRESS_ZSTD, 103}, {ZIO_COMPRESS_ZSTD, 123},
};

/* Compress with room to spare and exactly enough; one byte less must be refused, not overrun. */
static void
round_trip(size_t which, const uint8_t *src, size_t n, int kind)
{
    enum zio_compress c = codecs[which].c;
    int level = codecs[which].level;
    size_t cap = n + n / 8 + 1024;
    uint8_t *z = xmalloc(cap), *back = xmalloc(n);
    size_t len = zio_compress_data(c, level, src, z, n, cap);

    ck_assert_msg(len > 0 && len <= cap, "codec %zu kind %d size %zu", which, kind, n);
    if (kind == ZEROS && level != 123) /* zstd-fast-1000 finds little in small blocks */
        ck_assert_uint_lt(len, n / 8);
    memset(back, 0xee, n);
    ck_assert_int_eq(zio_decompress_data(c, z, len, back, n), 0);
    ck_assert_mem_eq(back, src, n);
    memset(z + len, 0, cap - len); /* padding to a sector */
    ck_assert_int_eq(zio_decompress_data(c, z, cap, back, n), 0);
    ck_assert_mem_eq(back, src, n);
    ck_assert_int_ne(zio_decompress_data(c, z, len / 2, back, n), 0);
    uint8_t *longer = xmalloc(n + 1);
    ck_assert_int_ne(zio_decompress_data(c, z, len, longer, n + 1), 0);
    free(longer);
    if (level < 4 && n <= 131072) { /* a tight buffer */
        uint8_t *tight = xmalloc(len - 1);
        size_t l2 = zio_compress_data(c, level, src, tight, n, len - 1);
        ck_assert_uint_le(l2, len - 1);
        if (l2 > 0) { /* lz4 may find another way to say it */
            ck_assert_int_eq(zio_decompress_data(c, tight, l2, back, n), 0);
            ck_assert_mem_eq(back, src, n);
        }
        free(tight);
    }
    free(z);
    free(back);
}

START_TEST(round_trips)
{
    static const size_t sizes[] = {512, 1024, 1536, 4096, 12800, 131072, 1 << 20};

    for (size_t s = 0; s < ARRAY_SIZE(sizes); s++)
        for (int kind = 0; kind < KINDS; kind++) {
            uint8_t *src = xmalloc(sizes[s]);
            fill(src, sizes[s], kind);
            round_trip((size_t)_i, src, sizes[s], kind);
            free(src);
        }
}
END_TEST

START_TEST(does_not_fit)
{
    uint8_t src[4096], dst[4096];

    fill(src, sizeof(src), RANDOM);
    for (size_t i = 0; i < ARRAY_SIZE(codecs); i++)
        for (size_t cap = 0; cap < sizeof(dst) - 512; cap += cap < 40 ? 1 : 500) {
            uint8_t *tight = xmalloc(cap);
            ck_assert_uint_eq(zio_compress_data(codecs[i].c, codecs[i].level, src, tight, sizeof(src), cap),
                              0);
            free(tight);
        }
    ck_assert_uint_eq(zio_compress_data(ZIO_COMPRESS_OFF, 0, src, dst, 512, 4096), 0);
    ck_assert_uint_eq(zio_compress_data(ZIO_COMPRESS_EMPTY, 0, src, dst, 512, 4096), 0);
    ck_assert_uint_eq(zio_compress_data(ZIO_COMPRESS_ZSTD, 55, src, dst, 512, 4096), 0);
}
END_TEST

/* Truncated and damaged input: an error or other bytes, never outside the buffers (exact sizes, for the sanitizer). */
START_TEST(damaged_input)
{
    enum { N = 4096 };
    uint8_t src[N], z[2 * N];

    for (int kind = 0; kind < KINDS; kind++) {
        fill(src, N, kind);
        size_t len = zio_compress_data(codecs[_i].c, codecs[_i].level, src, z, N, sizeof(z));
        for (int i = 0; i < 1500; i++) {
            size_t n = i % 3 ? len : rnd() % len;
            uint8_t *bad = xmalloc(n), *out = xmalloc(N);
            memcpy(bad, z, n);
            for (uint64_t k = rnd() % 4; n > 0 && k > 0; k--)
                bad[rnd() % n] ^= (uint8_t)(1u << rnd() % 8);
            (void)zio_decompress_data(codecs[_i].c, bad, n, out, N);
            free(bad);
            free(out);
        }
    }
    for (int i = 0; i < 3000; i++) { /* noise */
        size_t n = rnd() % 300;
        uint8_t *bad = xmalloc(n), *out = xmalloc(N);
        fill_random(bad, n);
        (void)zio_decompress_data(codecs[_i].c, bad, n, out, N);
        free(bad);
        free(out);
    }
}
END_TEST

/* Streams made by hand from the format's description. */
START_TEST(known_codes)
{
    uint8_t out[200];
    /* items: 'a', then length 5 distance 1; then 'b' */
    const uint8_t lz[] = {0x02, 'a', 2 << 2, 1, 'b'};
    const uint8_t zl[] = {2, 'x', 'y', 'z', 255, 64, 0, 'q'};

    ck_assert_int_eq(zio_decompress_data(ZIO_COMPRESS_LZJB, lz, sizeof(lz), out, 7), 0);
    ck_assert_mem_eq(out, "aaaaaab", 7);
    ck_assert_int_eq(zio_decompress_data(ZIO_COMPRESS_LZJB, "\x01\x00\x00", 3, out, 3),
                     EIO); /* before the start */
    ck_assert_int_eq(zio_decompress_data(ZIO_COMPRESS_LZJB,
                                         "\x02"
                                         "a\x00\x00",
                                         4, out, 4),
                     EIO); /* distance 0 */
    ck_assert_int_eq(zio_decompress_data(ZIO_COMPRESS_ZLE, zl, sizeof(zl), out, 197), 0);
    ck_assert_mem_eq(out, "xyz", 3);
    ck_assert(zio_is_zero(out + 3, 193));
    ck_assert_int_eq(out[196], 'q');
    ck_assert_uint_eq(zle_compress((const uint8_t *)"xyz\0\0q", 6, out, sizeof(out)), 7);
    ck_assert_mem_eq(out, "\2xyz\101\0q", 7);
    memset(out, 7, sizeof(out));
    ck_assert_int_eq(zio_decompress_data(ZIO_COMPRESS_EMPTY, "", 0, out, 200), 0);
    ck_assert(zio_is_zero(out, 200));
    ck_assert_int_eq(zio_decompress_data(ZIO_COMPRESS_OFF, "abcd", 4, out, 3), 0);
    ck_assert_int_eq(zio_decompress_data(ZIO_COMPRESS_OFF, "ab", 2, out, 3), EIO);
    ck_assert_int_eq(zio_decompress_data((enum zio_compress)17, "ab", 2, out, 2), ENOTSUP);
}
END_TEST

START_TEST(zstd_header)
{
    uint8_t src[4096], z[4096];

    fill(src, sizeof(src), TEXT);
    size_t n = zio_compress_data(ZIO_COMPRESS_ZSTD, 0, src, z, sizeof(src), sizeof(z));
    ck_assert_uint_eq((size_t)z[2] << 8 | z[3], n - 8);
    ck_assert_uint_eq(z[4], 3); /* the default level, under its number */
    ck_assert_uint_eq(z[5], 0);
    ck_assert_uint_ge((unsigned)z[6] << 8 | z[7], 10400);
    ck_assert_mem_ne(z + 8, "\x28\xb5\x2f\xfd", 4);
    zio_compress_data(ZIO_COMPRESS_ZSTD, ZIO_ZSTD_LEVEL_FAST, src, z, sizeof(src), sizeof(z));
    ck_assert_uint_eq(z[4], ZIO_ZSTD_LEVEL_FAST_1);
}
END_TEST

START_TEST(compress_names)
{
    static const char *good[] = {
        "on",     "off",    "lzjb",    "zle",          "lz4",           "gzip",          "gzip-1",
        "gzip-9", "zstd",   "zstd-1",  "zstd-19",      "zstd-fast",     "zstd-fast-1",   "zstd-fast-10",
        "zstd-7", "zstd-3", "zstd-12", "zstd-fast-20", "zstd-fast-100", "zstd-fast-500", "zstd-fast-1000"};
    static const char *bad[] = {"",           "gzip-0",  "gzip-10", "gzip-",   "gzip-01",     "zstd-0",
                                "zstd-20",    "zstd-",   "zstd--1", "zstd-1x", "zstd-fast-0", "zstd-fast-15",
                                "zstd-fast-", "inherit", "empty",   "LZ4"};
    enum zio_compress c;
    int level;
    char buf[32];

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        ck_assert_msg(zio_compress_by_name(good[i], &c, &level) == 0, "%s", good[i]);
        ck_assert_str_eq(zio_compress_name(c, level, buf, sizeof(buf)), good[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        ck_assert_msg(zio_compress_by_name(bad[i], &c, &level) == EINVAL, "%s", bad[i]);
    VERIFY0(zio_compress_by_name("gzip-6", &c, &level));
    ck_assert_str_eq(zio_compress_name(c, level, buf, sizeof(buf)), "gzip");
    VERIFY0(zio_compress_by_name("zstd-fast-1000", &c, &level));
    ck_assert_int_eq(level, 123);
    ck_assert_str_eq(zio_compress_name((enum zio_compress)99, 0, buf, sizeof(buf)), "unknown");
}
END_TEST

START_TEST(is_zero)
{
    uint8_t p[300] = {0};

    for (size_t n = 0; n <= 290; n++) {
        ck_assert(zio_is_zero(p + n % 9, n));
        if (n == 0)
            continue;
        size_t at = n % 9 + rnd() % n;
        p[at] = 1;
        ck_assert(!zio_is_zero(p + n % 9, n));
        p[at] = 0;
    }
}
END_TEST

static void *
codec_thread(void *arg)
{
    uint8_t src[8192], z[16384], back[8192];

    for (int i = 0; i < 200; i++) {
        size_t k = (size_t)i % ARRAY_SIZE(codecs);
        fill(src, sizeof(src), TEXT + (i + (int)(uintptr_t)arg) % 2);
        size_t n = zio_compress_data(codecs[k].c, codecs[k].level, src, z, sizeof(src), sizeof(z));
        VERIFY0(zio_decompress_data(codecs[k].c, z, n, back, sizeof(back)));
        VERIFY(memcmp(src, back, sizeof(src)) == 0);
    }
    return NULL;
}

START_TEST(threads)
{
    pthread_t th[6];

    for (uintptr_t i = 0; i < 6; i++)
        VERIFY0(pthread_create(&th[i], NULL, codec_thread, (void *)i));
    for (int i = 0; i < 6; i++)
        VERIFY0(pthread_join(th[i], NULL));
}
END_TEST

/* ---- speed ---- */

static double
gbps(uint64_t since, double bytes)
{
    return bytes / (double)(gethrtime() - since);
}

static void
bench_sums(const uint8_t *p, size_t n, int rounds)
{
    static const enum zio_checksum cs[] = {ZIO_CHECKSUM_FLETCHER_2, ZIO_CHECKSUM_FLETCHER_4,
                                           ZIO_CHECKSUM_SHA256, ZIO_CHECKSUM_SHA512, ZIO_CHECKSUM_XXH3_128};
    zio_cksum_t sum = {{0}};

    for (size_t k = 0; k < ARRAY_SIZE(cs); k++) {
        uint64_t t = gethrtime();
        for (int i = 0; i < rounds; i++)
            VERIFY0(zio_checksum_compute(cs[k], p, n, &sum));
        printf("%-12s %8zu %6.2f GB/s\n", zio_checksum_name(cs[k]), n, gbps(t, (double)n * rounds));
    }
    uint64_t t = gethrtime();
    for (int i = 0; i < rounds; i++)
        fletcher_4_incremental_byteswap(p, n, &sum);
    printf("%-12s %8zu %6.2f GB/s\n", "f4 swapped", n, gbps(t, (double)n * rounds));
    t = gethrtime();
    for (int i = 0; i < rounds; i++)
        fletcher_4_scalar(p, n, false, &sum);
    printf("%-12s %8zu %6.2f GB/s\n", "f4 scalar", n, gbps(t, (double)n * rounds));
}

static void
bench_codec(size_t k, const uint8_t *src, size_t n)
{
    uint8_t *z = xmalloc(2 * n), *back = xmalloc(n);
    char name[32];
    size_t len = 0;
    int rounds = 200;
    uint64_t t = gethrtime();

    for (int i = 0; i < rounds; i++)
        len = zio_compress_data(codecs[k].c, codecs[k].level, src, z, n, 2 * n);
    double c = gbps(t, (double)n * rounds);
    t = gethrtime();
    for (int i = 0; i < rounds; i++)
        VERIFY0(zio_decompress_data(codecs[k].c, z, len, back, n));
    double d = gbps(t, (double)n * rounds);
    printf("%-14s %5.2fx  compress %6.3f  decompress %6.3f GB/s\n",
           zio_compress_name(codecs[k].c, codecs[k].level, name, sizeof(name)), (double)n / (double)len, c,
           d);
    free(z);
    free(back);
}

START_TEST(bench)
{
    enum { N = 128 << 10 };
    uint8_t *p = xmemalign(N);

    if (getenv("COWBIRD_BENCH") != NULL) {
        fill(p, N, TEXT);
        bench_sums(p, N, 2000);
        bench_sums(p, 4096, 50000);
        bench_sums(p, 512, 100000);
        for (size_t k = 0; k < ARRAY_SIZE(codecs); k++)
            if (codecs[k].level != 19)
                bench_codec(k, p, N);
        memset(p, 0, N);
        uint64_t t = gethrtime();
        for (int i = 0; i < 2000; i++)
            VERIFY(zio_is_zero(p, N));
        printf("is_zero %.2f GB/s\n", gbps(t, 2000.0 * N));
    }
    free(p);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("codec");
    TCase *tc = tcase_create("codec");
    int n = (int)ARRAY_SIZE(codecs);

    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, known_sums);
    tcase_add_test(tc, sum_names);
    tcase_add_test(tc, fletcher_lanes);
    tcase_add_test(tc, fletcher_pieces);
    tcase_add_test(tc, embedded);
    tcase_add_loop_test(tc, round_trips, 0, n);
    tcase_add_test(tc, does_not_fit);
    tcase_add_loop_test(tc, damaged_input, 0, n);
    tcase_add_test(tc, known_codes);
    tcase_add_test(tc, zstd_header);
    tcase_add_test(tc, compress_names);
    tcase_add_test(tc, is_zero);
    tcase_add_test(tc, threads);
    tcase_add_test(tc, bench);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
