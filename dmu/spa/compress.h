/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compress.h - blocks made smaller, in the framings that ZFS stores in pools and streams.
 *
 * The block pointer or record says which algorithm and how long the result is; whatever else a decoder needs (the exact
 * inner length, zstd's level) is in the framing. Compressed bytes come from disks and streams and are hostile: a
 * decoder never reads or writes outside what it was given.
 *
 *   lzjb, zle   codes; the output length ends them        gzip   a zlib stream
 *   lz4         u32 BE length, LZ4 block                  zstd   u32 BE length, u32 BE (level << 24 | version), frame
 *
 * ZFS: module/zfs/zio_compress.c, lzjb.c, zle.c, gzip.c, lz4_zfs.c, module/zstd/zfs_zstd.c.
 */
#ifndef COWBIRD_COMPRESS_H
#define COWBIRD_COMPRESS_H

#include "base.h"

enum zio_compress { /* numbers as stored */
                    ZIO_COMPRESS_INHERIT = 0,
                    ZIO_COMPRESS_ON = 1,
                    ZIO_COMPRESS_OFF = 2,
                    ZIO_COMPRESS_LZJB = 3,
                    ZIO_COMPRESS_EMPTY = 4,
                    ZIO_COMPRESS_GZIP_1 = 5,
                    ZIO_COMPRESS_GZIP_2,
                    ZIO_COMPRESS_GZIP_3,
                    ZIO_COMPRESS_GZIP_4,
                    ZIO_COMPRESS_GZIP_5,
                    ZIO_COMPRESS_GZIP_6,
                    ZIO_COMPRESS_GZIP_7,
                    ZIO_COMPRESS_GZIP_8,
                    ZIO_COMPRESS_GZIP_9,
                    ZIO_COMPRESS_ZLE = 14,
                    ZIO_COMPRESS_LZ4 = 15,
                    ZIO_COMPRESS_ZSTD = 16,
                    ZIO_COMPRESS_FUNCTIONS
};

/* zstd levels under ZFS's numbers: 0 the default (3), 1..19 themselves, the fast ones from ZIO_ZSTD_LEVEL_FAST up. */
#define ZIO_ZSTD_LEVEL_DEFAULT 3
#define ZIO_ZSTD_LEVEL_MAX     19
#define ZIO_ZSTD_LEVEL_FAST    102 /* "zstd-fast", which is fast-1 */
#define ZIO_ZSTD_LEVEL_FAST_1  103 /* then 2..10, 20, 30..100, 500, 1000 */

/*
 * Compress s_len bytes into at most d_cap. Returns the length with framing, not rounded up to sectors; 0 when the
 * result does not fit or c does not compress (off, inherit, empty, unknown). ON is lz4. The source is left alone.
 */
size_t zio_compress_data(enum zio_compress c, int level, const void *src, void *dst, size_t s_len,
                         size_t d_cap);

/*
 * Decompress to exactly d_len bytes; s_len may include padding after the end. dst is undefined after an error.
 * Errors: EIO malformed or of another length, ENOTSUP an unknown algorithm.
 */
int zio_decompress_data(enum zio_compress c, const void *src, size_t s_len, void *dst, size_t d_len);

bool zio_is_zero(const void *buf, size_t n);

/* The property value ("zstd-7") into buf, which is also returned. level is looked at for zstd only. */
const char *zio_compress_name(enum zio_compress c, int level, char *buf, size_t n);
/* EINVAL when no property value has that name. *level is 0 where none was named. */
int zio_compress_by_name(const char *name, enum zio_compress *c, int *level);

/* ---- lzjb.c, zle.c: the two that only ZFS has. 0 when it does not fit; 0 or EIO. ---- */

size_t lzjb_compress(const uint8_t *src, size_t s_len, uint8_t *dst, size_t d_cap);
int lzjb_decompress(const uint8_t *src, size_t s_len, uint8_t *dst, size_t d_len);
size_t zle_compress(const uint8_t *src, size_t s_len, uint8_t *dst, size_t d_cap);
int zle_decompress(const uint8_t *src, size_t s_len, uint8_t *dst, size_t d_len);

#endif
