/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * checksum.h - the 256-bit sum that a block pointer holds of its block.
 *
 * The sum covers the bytes as they lie on disk, so it is checked before anything is decompressed or believed. A block
 * without a parent (label, uberblock, gang header) carries its own sum in its last 40 bytes, salted with its place, so
 * that a copy read from the wrong place does not verify.
 *
 *   block  |<------------- size - 40 ------------->| magic u64 | 4 x u64 |
 *
 * ZFS: module/zfs/zio_checksum.c, module/zcommon/zfs_fletcher.c. Here: checksum.c, fletcher.c.
 */
#ifndef COWBIRD_CHECKSUM_H
#define COWBIRD_CHECKSUM_H

#include "base.h"

typedef struct zio_cksum {
    uint64_t zc_word[4];
} zio_cksum_t;

enum zio_checksum { /* numbers as stored in block pointers and properties */
                    ZIO_CHECKSUM_INHERIT = 0,
                    ZIO_CHECKSUM_ON = 1,
                    ZIO_CHECKSUM_OFF = 2,
                    ZIO_CHECKSUM_LABEL = 3,
                    ZIO_CHECKSUM_GANG_HEADER = 4,
                    ZIO_CHECKSUM_ZILOG = 5,
                    ZIO_CHECKSUM_FLETCHER_2 = 6,
                    ZIO_CHECKSUM_FLETCHER_4 = 7,
                    ZIO_CHECKSUM_SHA256 = 8,
                    ZIO_CHECKSUM_ZILOG2 = 9,
                    ZIO_CHECKSUM_NOPARITY = 10,
                    ZIO_CHECKSUM_SHA512 = 11,
                    ZIO_CHECKSUM_SKEIN = 12,
                    ZIO_CHECKSUM_EDONR = 13,
                    ZIO_CHECKSUM_BLAKE3 = 14,
                    ZIO_CHECKSUM_XXH3_128 = 200 /* Cowbird's own, behind an entry in features_for_read */
};

/* ---- whole blocks ---- */

/* The sum of n bytes. Errors: ENOTSUP for skein, edonr, blake3, inherit and unknown numbers (*out is then zero). */
int zio_checksum_compute(enum zio_checksum c, const void *buf, size_t n, zio_cksum_t *out);
/* The same for a block written by a machine of the other byte order, as numbers of ours. */
int zio_checksum_compute_swapped(enum zio_checksum c, const void *buf, size_t n, zio_cksum_t *out);
bool zio_cksum_equal(const zio_cksum_t *a, const zio_cksum_t *b);

/* The property value ("fletcher4"); "unknown" for a number without a name. */
const char *zio_checksum_name(enum zio_checksum c);
/* EINVAL when no property value has that name. "inherit" and the internal kinds are not property values. */
int zio_checksum_by_name(const char *name, enum zio_checksum *out);

/* ---- Fletcher-4 piecewise: streams. Bytes after the last whole word of a piece do not count. ---- */

void fletcher_4_incremental_native(const void *buf, size_t n, zio_cksum_t *zc);
void fletcher_4_incremental_byteswap(const void *buf, size_t n, zio_cksum_t *zc);
/* The same in plain C: the reference for tests. */
void fletcher_4_scalar(const void *buf, size_t n, bool swap, zio_cksum_t *zc);

/* ---- blocks that carry their own sum ---- */

#define ZEC_MAGIC 0x0210DA7AB10C7A11ull
#define ZEC_SIZE  40 /* magic and sum, at the very end of the block */

/* Write the trailer of a label part, boot block or uberblock that lies at byte `offset` of its device. */
void zio_checksum_embed(void *block, size_t size, uint64_t offset);
/* The same with any verifier: a gang header's is (vdev, offset, birth txg, 0). */
void zio_checksum_embed_verifier(void *block, size_t size, const uint64_t verifier[4]);
/* 0 or ECKSUM. *swapped (may be NULL) tells whether the writer's byte order is not ours. Reads only. */
int zio_checksum_embed_verify(const void *block, size_t size, const uint64_t verifier[4], bool *swapped);

#endif
