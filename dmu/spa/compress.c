/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compress.c - the compression numbers, their names, and ZFS's framing around lz4, zlib and zstd.
 *
 * The libraries want working memory that costs more to set up than a small block costs to compress, so each thread
 * keeps one set (struct codec) for as long as it lives.
 *
 * Invariants:
 *   1. A compressed result, framing included, is never longer than d_cap; 0 says that it would have been.
 *   2. A decoder gives exactly d_len bytes or an error, whatever the input.
 *
 * The zstd frame lies in the block without its four magic bytes; the library reads and writes that form itself.
 *
 * ZFS: module/zfs/zio_compress.c, gzip.c, lz4_zfs.c, module/zstd/zfs_zstd.c.
 */
#define ZSTD_STATIC_LINKING_ONLY /* for the name of the magicless format; the shared library has the parameter */
#include "compress.h"

#include <limits.h>
#include <lz4.h>
#include <stdio.h>
#include <zlib.h>
#include <zstd.h>

/* ---- per-thread state ---- */

typedef struct codec {
    void *co_lz4;
    ZSTD_CCtx *co_zstd_c;
    ZSTD_DCtx *co_zstd_d;
    z_stream co_deflate, co_inflate;
    int co_deflate_level; /* 0: not set up yet */
    bool co_inflate_ready;
} codec_t;

static pthread_once_t codec_once = PTHREAD_ONCE_INIT;
static pthread_key_t codec_key;

static void
codec_free(void *arg)
{
    codec_t *co = arg;

    free(co->co_lz4);
    ZSTD_freeCCtx(co->co_zstd_c);
    ZSTD_freeDCtx(co->co_zstd_d);
    if (co->co_deflate_level != 0)
        deflateEnd(&co->co_deflate);
    if (co->co_inflate_ready)
        inflateEnd(&co->co_inflate);
    free(co);
}

static void
codec_init(void)
{
    VERIFY0(pthread_key_create(&codec_key, codec_free));
}

static codec_t *
codec_get(void)
{
    pthread_once(&codec_once, codec_init);
    codec_t *co = pthread_getspecific(codec_key);
    if (co == NULL) {
        co = xzalloc(sizeof(*co));
        VERIFY0(pthread_setspecific(codec_key, co));
    }
    return co;
}

static void
put_be32(uint8_t *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, sizeof(v));
}

static uint32_t
get_be32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return __builtin_bswap32(v);
}

/* ---- gzip: a zlib stream ---- */

static z_stream *
deflate_get(int level)
{
    codec_t *co = codec_get();

    if (co->co_deflate_level == level) {
        VERIFY(deflateReset(&co->co_deflate) == Z_OK);
        return &co->co_deflate;
    }
    if (co->co_deflate_level != 0)
        deflateEnd(&co->co_deflate);
    memset(&co->co_deflate, 0, sizeof(co->co_deflate));
    VERIFY(deflateInit(&co->co_deflate, level) == Z_OK);
    co->co_deflate_level = level;
    return &co->co_deflate;
}

static z_stream *
inflate_get(void)
{
    codec_t *co = codec_get();

    VERIFY((co->co_inflate_ready ? inflateReset(&co->co_inflate) : inflateInit(&co->co_inflate)) == Z_OK);
    co->co_inflate_ready = true;
    return &co->co_inflate;
}

static void
z_set(z_stream *z, const void *src, size_t s_len, void *dst, size_t d_len)
{
    z->next_in = (Bytef *)(uintptr_t)src;
    z->avail_in = (uInt)s_len;
    z->next_out = dst;
    z->avail_out = (uInt)d_len;
}

static size_t
gzip_compress(int level, const void *src, size_t s_len, void *dst, size_t d_cap)
{
    z_stream *z = deflate_get(level);

    z_set(z, src, s_len, dst, d_cap);
    return deflate(z, Z_FINISH) == Z_STREAM_END ? z->total_out : 0;
}

static int
gzip_decompress(const void *src, size_t s_len, void *dst, size_t d_len)
{
    z_stream *z = inflate_get();

    z_set(z, src, s_len, dst, d_len);
    if (inflate(z, Z_FINISH) != Z_STREAM_END || z->total_out != d_len)
        return SET_ERROR(EIO);
    return 0;
}

/* ---- lz4: u32 BE length, block ---- */

enum { LZ4_HEAD = 4 };

static size_t
lz4_compress(const void *src, size_t s_len, uint8_t *dst, size_t d_cap)
{
    codec_t *co = codec_get();

    if (d_cap <= LZ4_HEAD)
        return 0;
    if (co->co_lz4 == NULL)
        co->co_lz4 = xmemalign((size_t)LZ4_sizeofState());
    int n = LZ4_compress_fast_extState(co->co_lz4, src, (char *)dst + LZ4_HEAD, (int)s_len,
                                       (int)(d_cap - LZ4_HEAD), 1);
    if (n <= 0)
        return 0;
    put_be32(dst, (uint32_t)n);
    return (size_t)n + LZ4_HEAD;
}

static int
lz4_decompress(const uint8_t *src, size_t s_len, void *dst, size_t d_len)
{
    if (s_len < LZ4_HEAD || get_be32(src) > s_len - LZ4_HEAD)
        return SET_ERROR(EIO);
    int n = LZ4_decompress_safe((const char *)src + LZ4_HEAD, dst, (int)get_be32(src), (int)d_len);
    if (n < 0 || (size_t)n != d_len)
        return SET_ERROR(EIO);
    return 0;
}

/* ---- zstd: u32 BE length, u32 BE (level, version), frame without magic ---- */

enum { ZSTD_HEAD = 8 };

/* fast-N by ZFS's number; the steps after 10 are 20, 30 .. 100, 500, 1000. */
static const int fast_levels[] = {1,  2,  3,  4,  5,  6,  7,  8,   9,   10,  20,
                                  30, 40, 50, 60, 70, 80, 90, 100, 500, 1000};

/* ZFS's number of a level without "the default", or 0 when there is none such. */
static int
zstd_level(int level)
{
    if (level == 0 || level == 255)
        return ZIO_ZSTD_LEVEL_DEFAULT;
    if (level == ZIO_ZSTD_LEVEL_FAST)
        return ZIO_ZSTD_LEVEL_FAST_1;
    bool fast =
        level >= ZIO_ZSTD_LEVEL_FAST_1 && level < ZIO_ZSTD_LEVEL_FAST_1 + (int)ARRAY_SIZE(fast_levels);
    return fast || (level >= 1 && level <= ZIO_ZSTD_LEVEL_MAX) ? level : 0;
}

static ZSTD_CCtx *
zstd_cctx(int level)
{
    codec_t *co = codec_get();
    int lib_level = level >= ZIO_ZSTD_LEVEL_FAST_1 ? -fast_levels[level - ZIO_ZSTD_LEVEL_FAST_1] : level;

    if (co->co_zstd_c == NULL) {
        co->co_zstd_c = ZSTD_createCCtx();
        VERIFY(co->co_zstd_c != NULL);
        VERIFY(!ZSTD_isError(ZSTD_CCtx_setParameter(co->co_zstd_c, ZSTD_c_format, ZSTD_f_zstd1_magicless)));
        VERIFY(!ZSTD_isError(ZSTD_CCtx_setParameter(co->co_zstd_c, ZSTD_c_contentSizeFlag, 0)));
        VERIFY(!ZSTD_isError(ZSTD_CCtx_setParameter(co->co_zstd_c, ZSTD_c_checksumFlag, 0)));
    }
    VERIFY(!ZSTD_isError(ZSTD_CCtx_setParameter(co->co_zstd_c, ZSTD_c_compressionLevel, lib_level)));
    return co->co_zstd_c;
}

static ZSTD_DCtx *
zstd_dctx(void)
{
    codec_t *co = codec_get();

    if (co->co_zstd_d == NULL) {
        co->co_zstd_d = ZSTD_createDCtx();
        VERIFY(co->co_zstd_d != NULL);
        VERIFY(!ZSTD_isError(ZSTD_DCtx_setParameter(co->co_zstd_d, ZSTD_d_format, ZSTD_f_zstd1_magicless)));
    }
    return co->co_zstd_d;
}

static size_t
zstd_compress(int level, const void *src, size_t s_len, uint8_t *dst, size_t d_cap)
{
    int l = zstd_level(level);

    if (l == 0 || d_cap <= ZSTD_HEAD)
        return 0;
    size_t n = ZSTD_compress2(zstd_cctx(l), dst + ZSTD_HEAD, d_cap - ZSTD_HEAD, src, s_len);
    if (ZSTD_isError(n))
        return 0;
    put_be32(dst, (uint32_t)n);
    put_be32(dst + 4, (uint32_t)l << 24 | (uint32_t)ZSTD_versionNumber());
    return n + ZSTD_HEAD;
}

static int
zstd_decompress(const uint8_t *src, size_t s_len, void *dst, size_t d_len)
{
    if (s_len < ZSTD_HEAD || get_be32(src) > s_len - ZSTD_HEAD)
        return SET_ERROR(EIO);
    size_t n = ZSTD_decompressDCtx(zstd_dctx(), dst, d_len, src + ZSTD_HEAD, get_be32(src));
    if (ZSTD_isError(n) || n != d_len)
        return SET_ERROR(EIO);
    return 0;
}

/* ---- by number ---- */

static bool
is_gzip(enum zio_compress c)
{
    return c >= ZIO_COMPRESS_GZIP_1 && c <= ZIO_COMPRESS_GZIP_9;
}

size_t
zio_compress_data(enum zio_compress c, int level, const void *src, void *dst, size_t s_len, size_t d_cap)
{
    if (s_len > LZ4_MAX_INPUT_SIZE || s_len == 0 || d_cap == 0)
        return 0;
    d_cap = MIN(d_cap, (size_t)INT_MAX); /* what the libraries' lengths hold */
    if (is_gzip(c))
        return gzip_compress((int)c - ZIO_COMPRESS_GZIP_1 + 1, src, s_len, dst, d_cap);
    switch ((int)c) {
    case ZIO_COMPRESS_LZJB:
        return lzjb_compress(src, s_len, dst, d_cap);
    case ZIO_COMPRESS_ZLE:
        return zle_compress(src, s_len, dst, d_cap);
    case ZIO_COMPRESS_ON:
    case ZIO_COMPRESS_LZ4:
        return lz4_compress(src, s_len, dst, d_cap);
    case ZIO_COMPRESS_ZSTD:
        return zstd_compress(level, src, s_len, dst, d_cap);
    default:
        return 0;
    }
}

static int
copy_plain(const void *src, size_t s_len, void *dst, size_t d_len)
{
    if (s_len < d_len)
        return SET_ERROR(EIO);
    memcpy(dst, src, d_len);
    return 0;
}

int
zio_decompress_data(enum zio_compress c, const void *src, size_t s_len, void *dst, size_t d_len)
{
    if (s_len > INT_MAX || d_len > INT_MAX)
        return SET_ERROR(EIO);
    if (is_gzip(c))
        return gzip_decompress(src, s_len, dst, d_len);
    switch ((int)c) {
    case ZIO_COMPRESS_OFF:
        return copy_plain(src, s_len, dst, d_len);
    case ZIO_COMPRESS_EMPTY:
        memset(dst, 0, d_len);
        return 0;
    case ZIO_COMPRESS_LZJB:
        return lzjb_decompress(src, s_len, dst, d_len);
    case ZIO_COMPRESS_ZLE:
        return zle_decompress(src, s_len, dst, d_len);
    case ZIO_COMPRESS_LZ4:
        return lz4_decompress(src, s_len, dst, d_len);
    case ZIO_COMPRESS_ZSTD:
        return zstd_decompress(src, s_len, dst, d_len);
    default:
        return SET_ERROR(ENOTSUP);
    }
}

/* All bytes equal their neighbour 16 further on, and the first 16 are zero: memcmp is the fastest scan there is. */
bool
zio_is_zero(const void *buf, size_t n)
{
    static const uint8_t zero[16];
    const uint8_t *p = buf;

    if (n <= sizeof(zero))
        return memcmp(p, zero, n) == 0;
    return memcmp(p, zero, sizeof(zero)) == 0 && memcmp(p, p + sizeof(zero), n - sizeof(zero)) == 0;
}

/* ---- names ---- */

static const struct {
    enum zio_compress number;
    bool property;
    const char *name;
} names[] = {
    {ZIO_COMPRESS_INHERIT, false, "inherit"}, {ZIO_COMPRESS_ON, true, "on"},
    {ZIO_COMPRESS_OFF, true, "off"},          {ZIO_COMPRESS_LZJB, true, "lzjb"},
    {ZIO_COMPRESS_EMPTY, false, "empty"},     {ZIO_COMPRESS_ZLE, true, "zle"},
    {ZIO_COMPRESS_LZ4, true, "lz4"},          {ZIO_COMPRESS_ZSTD, true, "zstd"},
    {ZIO_COMPRESS_GZIP_6, true, "gzip"},
};

static const char *
zstd_name(int level, char *buf, size_t n)
{
    int l = zstd_level(level);

    if (level == 0 || level == 255 || l == 0)
        snprintf(buf, n, "zstd");
    else if (level == ZIO_ZSTD_LEVEL_FAST)
        snprintf(buf, n, "zstd-fast");
    else if (l >= ZIO_ZSTD_LEVEL_FAST_1)
        snprintf(buf, n, "zstd-fast-%d", fast_levels[l - ZIO_ZSTD_LEVEL_FAST_1]);
    else
        snprintf(buf, n, "zstd-%d", l);
    return buf;
}

const char *
zio_compress_name(enum zio_compress c, int level, char *buf, size_t n)
{
    if (c == ZIO_COMPRESS_ZSTD)
        return zstd_name(level, buf, n);
    if (is_gzip(c) && c != ZIO_COMPRESS_GZIP_6) { /* the sixth is called gzip, as in ZFS */
        snprintf(buf, n, "gzip-%d", (int)c - ZIO_COMPRESS_GZIP_1 + 1);
        return buf;
    }
    const char *name = "unknown";
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (names[i].number == c)
            name = names[i].name;
    snprintf(buf, n, "%s", name);
    return buf;
}

/* A decimal number from 1 up with nothing around it; 0 when s is not one. */
static int
parse_level(const char *s)
{
    int v = 0;

    if (*s == '0' || strlen(s) > 4)
        return 0;
    for (; *s != '\0'; s++) {
        if (*s < '0' || *s > '9')
            return 0;
        v = v * 10 + (*s - '0');
    }
    return v;
}

static int
fast_by_number(int v)
{
    for (size_t i = 0; i < ARRAY_SIZE(fast_levels); i++)
        if (fast_levels[i] == v)
            return ZIO_ZSTD_LEVEL_FAST_1 + (int)i;
    return 0;
}

/* The level after "zstd-", as ZFS's number; 0 when there is none such. */
static int
zstd_level_by_name(const char *s)
{
    if (strcmp(s, "fast") == 0)
        return ZIO_ZSTD_LEVEL_FAST;
    if (strncmp(s, "fast-", 5) == 0)
        return fast_by_number(parse_level(s + 5));
    int v = parse_level(s);
    return v <= ZIO_ZSTD_LEVEL_MAX ? v : 0;
}

int
zio_compress_by_name(const char *name, enum zio_compress *c, int *level)
{
    *level = 0;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (names[i].property && strcmp(names[i].name, name) == 0) {
            *c = names[i].number;
            return 0;
        }
    }
    if (strncmp(name, "zstd-", 5) == 0) {
        *c = ZIO_COMPRESS_ZSTD;
        *level = zstd_level_by_name(name + 5);
        return *level != 0 ? 0 : SET_ERROR(EINVAL);
    }
    int gz = strncmp(name, "gzip-", 5) == 0 ? parse_level(name + 5) : 0;
    if (gz < 1 || gz > 9)
        return SET_ERROR(EINVAL);
    *c = (enum zio_compress)(ZIO_COMPRESS_GZIP_1 + gz - 1);
    return 0;
}
