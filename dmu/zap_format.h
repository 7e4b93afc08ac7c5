/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zap_format.h - the ZAP on disk: how an object's blocks map names to integers.
 *
 * MICRO: the whole object is one block of at most 128 KiB. The order of the entries means nothing.
 *   +----------------------+------------+------------+-----
 *   | kind, salt, norm (64)| entry (64) | entry (64) | ...        entry: value u64, cd, name of up to 49 bytes
 *   +----------------------+------------+------------+-----
 *
 * FAT: blocks of 2^bs bytes, an extensible hash table.
 *                        hash, 28 bits at the top of a u64
 *                       |<- table shift ->|
 *   block 0: header ... | pointer table: leaf block numbers (2^(bs-4) of them; more: in blocks of its own)
 *                              |      |
 *                              v      v          several table entries may name one leaf: its prefix is shorter
 *   leaf: header 48 | bucket heads u16[2^(bs-5)] | chunks of 24 bytes: entries, arrays (name, value), free ones
 *
 *   bucket --> entry --> entry --> 0xffff             an entry's name and value are chains of array chunks, 21 bytes each;
 *               |  `-value--> array --> array         integers in them are big-endian
 *               `-name--> array
 *
 * cd, the collision number, tells entries of equal hash apart: (hash, cd) is unique and is the order of iteration.
 * Facts: docs of the format, zpl.md 4. ZFS: include/sys/{zap_impl,zap_leaf}.h
 */
#ifndef COWBIRD_ZAP_FORMAT_H
#define COWBIRD_ZAP_FORMAT_H

#include "base.h"

#define ZBT_LEAF   (1ULL << 63) /* first u64 of a block: its kind */
#define ZBT_HEADER ((1ULL << 63) + 1)
#define ZBT_MICRO  ((1ULL << 63) + 3)

/* ---- micro ---- */
#define MZAP_ENT_LEN     64
#define MZAP_NAME_LEN    50 /* with NUL */
#define MZAP_MAX_BLKSZ   (128u << 10)
#define MZAP_SLOTS(size) ((uint32_t)((size) / MZAP_ENT_LEN - 1))

typedef struct mzap_ent_phys {
    uint64_t mze_value;
    uint32_t mze_cd;
    uint16_t mze_pad;
    char mze_name[MZAP_NAME_LEN]; /* first byte 0: free */
} mzap_ent_phys_t;
_Static_assert(sizeof(mzap_ent_phys_t) == MZAP_ENT_LEN, "a micro entry is 64 bytes");
_Static_assert(offsetof(mzap_ent_phys_t, mze_name) == 14, "the name lies at 14");

typedef struct mzap_phys {
    uint64_t mz_block_type;
    uint64_t mz_salt;
    uint64_t mz_normflags;
    uint64_t mz_pad[5];
    mzap_ent_phys_t mz_ent[];
} mzap_phys_t;
_Static_assert(offsetof(mzap_phys_t, mz_ent) == 64, "the micro header is 64 bytes");

/* ---- fat: block 0 ---- */
#define ZAP_MAGIC               0x2F52AB2ABULL
#define FZAP_DEFAULT_SHIFT      14
#define FZAP_MIN_SHIFT          9
#define FZAP_MAX_SHIFT          20
#define FZAP_EMBEDDED_SHIFT(bs) ((bs)-4) /* the table is the block's second half */

#define ZAP_FLAG_HASH64     1 /* keep 48 bits of hash, not 28 */
#define ZAP_FLAG_UINT64_KEY 2 /* names are arrays of u64 */
#define ZAP_FLAG_PREHASHED  4 /* the name's first u64 is the hash */

#define ZAP_NORM_UPPER 0x2  /* fold to upper case before hashing */
#define ZAP_NORM_FORMS 0x70 /* any Unicode form */

typedef struct zap_table_phys {
    uint64_t zt_blk;         /* first block; meaningless with zt_numblks 0 (embedded) */
    uint64_t zt_numblks;     /* 0, or 2^(shift - (bs - 3)) */
    uint64_t zt_shift;       /* log2 of the number of entries */
    uint64_t zt_nextblk;     /* an older writer fills a table of twice the size here; we double at once */
    uint64_t zt_blks_copied; /* how far it got */
} zap_table_phys_t;

typedef struct zap_phys {
    uint64_t zap_block_type;
    uint64_t zap_magic;
    zap_table_phys_t zap_ptrtbl;
    uint64_t zap_freeblk; /* blocks from here on were never used */
    uint64_t zap_num_leafs;
    uint64_t zap_num_entries;
    uint64_t zap_salt;
    uint64_t zap_normflags;
    uint64_t zap_flags;
} zap_phys_t;
_Static_assert(offsetof(zap_phys_t, zap_freeblk) == 56, "the free block lies at 56");
_Static_assert(sizeof(zap_phys_t) == 104, "the used part of a fat header is 104 bytes");

/* ---- fat: leaf ---- */
#define ZAP_LEAF_MAGIC          0x2AB1EAFU
#define ZAP_LEAF_CHUNKSIZE      24
#define ZAP_LEAF_ARRAY_BYTES    21
#define ZAP_CHAIN_END           0xFFFF
#define ZAP_LEAF_HASH_SHIFT(bs) ((bs)-5)
#define ZAP_LEAF_NUMCHUNKS(bs)  ((((1u << (bs)) - (2u << ZAP_LEAF_HASH_SHIFT(bs))) / ZAP_LEAF_CHUNKSIZE) - 2)
#define ZLF_ENTRIES_CDSORTED    1

enum { ZAP_CHUNK_FREE = 253, ZAP_CHUNK_ENTRY = 252, ZAP_CHUNK_ARRAY = 251 };

typedef struct zap_leaf_phys {
    uint64_t lh_block_type;
    uint64_t lh_pad1;
    uint64_t lh_prefix; /* the lh_prefix_len top bits that all hashes here share */
    uint32_t lh_magic;
    uint16_t lh_nfree;
    uint16_t lh_nentries;
    uint16_t lh_prefix_len;
    uint16_t lh_freelist;
    uint8_t lh_flags;
    uint8_t lh_pad2[11];
    uint16_t lh_hash[]; /* bucket heads, then the chunks */
} zap_leaf_phys_t;
_Static_assert(offsetof(zap_leaf_phys_t, lh_hash) == 48, "the leaf header is 48 bytes");
_Static_assert(offsetof(zap_leaf_phys_t, lh_freelist) == 34, "the free list lies at 34");

typedef union zap_leaf_chunk {
    struct zap_leaf_entry {
        uint8_t le_type;
        uint8_t le_value_intlen;
        uint16_t le_next;
        uint16_t le_name_chunk;
        uint16_t le_name_numints; /* bytes with NUL; u64 names: words */
        uint16_t le_value_chunk;
        uint16_t le_value_numints;
        uint32_t le_cd;
        uint64_t le_hash;
    } l_entry;
    struct zap_leaf_array {
        uint8_t la_type;
        uint8_t la_array[ZAP_LEAF_ARRAY_BYTES];
        uint16_t la_next;
    } l_array;
    struct zap_leaf_free {
        uint8_t lf_type;
        uint8_t lf_pad[ZAP_LEAF_ARRAY_BYTES];
        uint16_t lf_next;
    } l_free;
} zap_leaf_chunk_t;
_Static_assert(sizeof(zap_leaf_chunk_t) == ZAP_LEAF_CHUNKSIZE, "a chunk is 24 bytes");
_Static_assert(offsetof(struct zap_leaf_entry, le_cd) == 12, "the cd lies at 12");
_Static_assert(ZAP_LEAF_NUMCHUNKS(12) == 158 && ZAP_LEAF_NUMCHUNKS(14) == 638 &&
                   ZAP_LEAF_NUMCHUNKS(17) == 5118,
               "chunks per leaf");

#endif
