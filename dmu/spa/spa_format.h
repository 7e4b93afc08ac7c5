/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spa_format.h - what the block layer keeps on disk: the device's layout, uberblocks and block pointers.
 *
 *   0        256K      512K                4M                        size-512K   size-256K   size
 *   +---------+---------+------------------+--------------------------+-----------+-----------+
 *   | label 0 | label 1 | boot area, zeros | allocatable: DVA 0 = 4M  |  label 2  |  label 3  |
 *   +---------+---------+------------------+--------------------------+-----------+-----------+
 *
 * One label, 256 KiB:
 *   +--------+------------+--------------------------+----------------------------+
 *   | 8K 0s  | 8K boot blk| 112K packed nvlist (XDR) | 128K ring of uberblocks    |
 *   +--------+------------+--------------------------+----------------------------+
 * Boot block, nvlist and every uberblock slot end in a 40-byte checksum trailer (checksum.h, zio_checksum_embed).
 *
 * All integers little-endian here; a reader also meets big-endian pools. ZFS: include/sys/{spa,vdev_impl,uberblock_impl}.h
 */
#ifndef COWBIRD_SPA_FORMAT_H
#define COWBIRD_SPA_FORMAT_H

#include "base.h"
#include "checksum.h"
#include "compress.h"

#define SPA_MINBLOCKSHIFT     9
#define SPA_MINBLOCKSIZE      (1ULL << 9)
#define SPA_OLD_MAXBLOCKSIZE  (128ULL << 10) /* without feature large_blocks */
#define SPA_MAXBLOCKSIZE      (16ULL << 20)
#define SPA_MINDEVSIZE        (64ULL << 20)
#define SPA_VERSION           5000
#define SPA_VERSION_DEADLISTS 26

#define VDEV_LABELS           4
#define VDEV_LABEL_SIZE       (256ULL << 10)
#define VDEV_BOOT_OFFSET      (8ULL << 10) /* in the label */
#define VDEV_BOOT_SIZE        (8ULL << 10)
#define VDEV_PHYS_OFFSET      (16ULL << 10)
#define VDEV_PHYS_SIZE        (112ULL << 10)
#define VDEV_RING_OFFSET      (128ULL << 10)
#define VDEV_RING_SIZE        (128ULL << 10)
#define VDEV_LABEL_START_SIZE (4ULL << 20) /* DVA offset 0 lies here */
#define VDEV_LABEL_END_SIZE   (2 * VDEV_LABEL_SIZE)

/* ---- data virtual address: where one copy of a block lies ----
 *          63           56 55        32 31      24 23                 0
 *  word 0 |    zero       |  vdev id   |   zero   | allocated size/512 |
 *  word 1 |G|               offset / 512                               |      G: gang header
 */
typedef struct dva {
    uint64_t dva_word[2];
} dva_t;

/* ---- block pointer, 128 bytes ---- words: 0-5 three DVAs, 6 properties, 7-8 zero, 9 physical birth, 10 birth,
 * 11 fill, 12-15 checksum.
 *
 *  blk_prop  63 | 62    | 61    | 60..56 | 55..48 | 47..40   | 39       | 38..32      | 31..16      | 15..0
 *            LE | dedup | crypt | level  | type   | checksum | embedded | compression | psize/512-1 | lsize/512-1
 *
 *  embedded: payload of at most 112 bytes in words 0-5,7-9,11-15; lsize-1 in bits 0-24, psize-1 in bits 25-31 (bytes),
 *  bits 40-47 the payload's kind.
 */
#define SPA_DVAS_PER_BP 3
#define SPA_BLKPTRSHIFT 7

typedef struct blkptr {
    dva_t blk_dva[SPA_DVAS_PER_BP];
    uint64_t blk_prop;
    uint64_t blk_pad[2];
    uint64_t blk_phys_birth; /* txg; 0 = same as blk_birth */
    uint64_t blk_birth;      /* txg */
    uint64_t blk_fill;       /* see dmu_format.h: what counts depends on level and type */
    zio_cksum_t blk_cksum;
} blkptr_t;
_Static_assert(sizeof(blkptr_t) == 128, "a block pointer is 128 bytes");

#define BF64_GET(x, low, len) (((x) >> (low)) & ((1ULL << (len)) - 1))
#define BF64_SET(x, low, len, val)                                                                           \
    ((x) = ((x) & ~(((1ULL << (len)) - 1) << (low))) | (((uint64_t)(val) & ((1ULL << (len)) - 1)) << (low)))

#define DVA_GET_ASIZE(d)     (BF64_GET((d)->dva_word[0], 0, 24) << SPA_MINBLOCKSHIFT)
#define DVA_SET_ASIZE(d, v)  BF64_SET((d)->dva_word[0], 0, 24, (v) >> SPA_MINBLOCKSHIFT)
#define DVA_GET_VDEV(d)      BF64_GET((d)->dva_word[0], 32, 24)
#define DVA_SET_VDEV(d, v)   BF64_SET((d)->dva_word[0], 32, 24, v)
#define DVA_GET_OFFSET(d)    (BF64_GET((d)->dva_word[1], 0, 63) << SPA_MINBLOCKSHIFT)
#define DVA_SET_OFFSET(d, v) BF64_SET((d)->dva_word[1], 0, 63, (v) >> SPA_MINBLOCKSHIFT)
#define DVA_GET_GANG(d)      BF64_GET((d)->dva_word[1], 63, 1)
#define DVA_SET_GANG(d, v)   BF64_SET((d)->dva_word[1], 63, 1, v)
#define DVA_IS_VALID(d)      (DVA_GET_ASIZE(d) != 0)

#define BP_GET_COMPRESS(bp)    ((enum zio_compress)BF64_GET((bp)->blk_prop, 32, 7))
#define BP_SET_COMPRESS(bp, v) BF64_SET((bp)->blk_prop, 32, 7, v)
#define BP_IS_EMBEDDED(bp)     (BF64_GET((bp)->blk_prop, 39, 1) != 0)
#define BP_GET_CHECKSUM(bp)    ((enum zio_checksum)BF64_GET((bp)->blk_prop, 40, 8))
#define BP_SET_CHECKSUM(bp, v) BF64_SET((bp)->blk_prop, 40, 8, v)
#define BPE_GET_ETYPE(bp)      BF64_GET((bp)->blk_prop, 40, 8)
#define BPE_GET_LSIZE(bp)      (BF64_GET((bp)->blk_prop, 0, 25) + 1)
#define BPE_GET_PSIZE(bp)      (BF64_GET((bp)->blk_prop, 25, 7) + 1)
#define BPE_PAYLOAD_SIZE       112
#define BP_GET_TYPE(bp)        ((uint8_t)BF64_GET((bp)->blk_prop, 48, 8))
#define BP_SET_TYPE(bp, v)     BF64_SET((bp)->blk_prop, 48, 8, v)
#define BP_GET_LEVEL(bp)       ((int)BF64_GET((bp)->blk_prop, 56, 5))
#define BP_SET_LEVEL(bp, v)    BF64_SET((bp)->blk_prop, 56, 5, v)
#define BP_IS_ENCRYPTED(bp)    (BF64_GET((bp)->blk_prop, 61, 1) != 0)
#define BP_GET_DEDUP(bp)       (BF64_GET((bp)->blk_prop, 62, 1) != 0)
#define BP_IS_LITTLE(bp)       (BF64_GET((bp)->blk_prop, 63, 1) != 0)
#define BP_SET_LITTLE(bp)      BF64_SET((bp)->blk_prop, 63, 1, 1)
#define BP_IS_HOLE(bp)         (!BP_IS_EMBEDDED(bp) && (bp)->blk_dva[0].dva_word[0] == 0 && (bp)->blk_dva[0].dva_word[1] == 0)
#define BP_IS_GANG(bp)         (!BP_IS_EMBEDDED(bp) && DVA_GET_GANG(&(bp)->blk_dva[0]) != 0)
#define BP_GET_LSIZE(bp)       (BP_IS_EMBEDDED(bp) ? BPE_GET_LSIZE(bp) : (BF64_GET((bp)->blk_prop, 0, 16) + 1) << SPA_MINBLOCKSHIFT)
#define BP_SET_LSIZE(bp, v)    BF64_SET((bp)->blk_prop, 0, 16, ((v) >> SPA_MINBLOCKSHIFT) - 1)
/* Bytes stored on disk per copy; 0 for embedded blocks and holes. */
#define BP_GET_PSIZE(bp)       (BP_IS_EMBEDDED(bp) || BP_IS_HOLE(bp) ? 0 : (BF64_GET((bp)->blk_prop, 16, 16) + 1) << SPA_MINBLOCKSHIFT)
#define BP_SET_PSIZE(bp, v)    BF64_SET((bp)->blk_prop, 16, 16, ((v) >> SPA_MINBLOCKSHIFT) - 1)
#define BP_PHYSICAL_BIRTH(bp)  ((bp)->blk_phys_birth != 0 ? (bp)->blk_phys_birth : (bp)->blk_birth)

/* Sum of the allocated sizes of all copies; 0 for holes and embedded blocks. */
uint64_t bp_get_asize(const blkptr_t *bp);
/* What space accounting calls "uncompressed": lsize of file data at level 0, else psize. ZFS: BP_GET_UCSIZE */
uint64_t bp_get_ucsize(const blkptr_t *bp);
int bp_get_ndvas(const blkptr_t *bp);
/* Payload of an embedded pointer; out must hold BPE_PAYLOAD_SIZE bytes. ZFS: decode_embedded_bp_compressed */
void bpe_decode(const blkptr_t *bp, uint8_t *out);
void bpe_encode(blkptr_t *bp, const void *payload, enum zio_compress c, uint64_t lsize, uint64_t psize);
/* The one gate for pointers read from disk: levels, sizes, types, offsets within the device. EIO with a reason logged. */
int bp_validate(const blkptr_t *bp, uint64_t asize);
/* A hole that remembers its shape: with feature hole_birth off, simply all zeros. */
void bp_zero(blkptr_t *bp);
/* Text for inspectors and logs, in the manner of zdb; returns buf. */
char *bp_sprint(const blkptr_t *bp, char *buf, size_t n);

/* ---- gang header: a block that did not fit in one run ---- 512 bytes: 3 pointers, zeros, checksum trailer */
#define SPA_GANGBLOCKSIZE 512
#define SPA_GBH_NBLKPTRS  3

/* ---- uberblock: the root of everything; slot = txg mod slots ---- */
#define UBERBLOCK_MAGIC 0x00BAB10CULL
#define MMP_MAGIC       0xA11CEA11ULL
#define UBERBLOCK_SHIFT(ashift) MIN(MAX((ashift), 10), 13)
#define UBERBLOCK_COUNT(ashift) (VDEV_RING_SIZE >> UBERBLOCK_SHIFT(ashift))

typedef struct uberblock {
    uint64_t ub_magic;
    uint64_t ub_version;
    uint64_t ub_txg;
    uint64_t ub_guid_sum;  /* pool guid + every vdev guid */
    uint64_t ub_timestamp; /* s since 1970 */
    blkptr_t ub_rootbp;    /* the MOS */
    uint64_t ub_software_version;
    uint64_t ub_mmp_magic;
    uint64_t ub_mmp_delay;
    uint64_t ub_mmp_config;
    uint64_t ub_checkpoint_txg;
    uint64_t ub_raidz_reflow;
} uberblock_t;
_Static_assert(sizeof(uberblock_t) == 216, "an uberblock is 216 bytes");
_Static_assert(offsetof(uberblock_t, ub_rootbp) == 40, "the MOS pointer lies at 40");

/* pool states in the label */
enum { POOL_STATE_ACTIVE = 0, POOL_STATE_EXPORTED = 1, POOL_STATE_DESTROYED = 2 };

/* features this layer's formats need (guid text); counted in dsl/feature.c */
#define FEATURE_XXH3_128 "io.cowbird:xxh3_128"

#endif
