/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zap_impl.h - inside the ZAP.
 *
 *   zap.c        the calls of zap.h: lock, open block 0, hash the name, go to micro or fat; cursors
 *   zap_micro.c  one block of entries, with a sorted index in memory
 *   zap_fat.c    header, pointer table, leaves by block number; splitting and growing
 *   zap_leaf.c   one leaf as bytes in a buffer: knows nothing of objects, so that it can be tested alone
 *
 * INVARIANTS
 *  1. Whoever has a zap_t holds the dnode, its dn_zap_lock and block 0. Pointers into block 0 die with dmu_buf_will_dirty().
 *  2. Bytes of a block are not trusted: each index is checked where it is used, each walk has a bound. Failing is EIO.
 *  3. dn_user of a micro ZAP is NULL or an index that describes block 0 exactly (zap lock).
 *     So nobody else writes to the blocks of a ZAP whose dnode stays in memory; a receiver that does evicts it after.
 */
#ifndef COWBIRD_ZAP_IMPL_H
#define COWBIRD_ZAP_IMPL_H

#include "dmu_impl.h"
#include "zap.h"
#include "zap_format.h"

typedef struct zap {
    objset_t *zap_os;
    dnode_t *zap_dn;
    dbuf_t *zap_db; /* block 0 */
    bool zap_ismicro;
    bool zap_iswriter;
    uint8_t zap_shift;    /* fat: log2 of the block size */
    uint8_t zap_hashbits; /* 28 or 48 */
    uint64_t zap_salt, zap_normflags, zap_flags;
} zap_t;

/* A name on its way through a call. */
typedef struct zap_name {
    const char *zn_name;
    uint32_t zn_len; /* with NUL */
    uint64_t zn_hash;
    bool zn_hashed; /* false: we cannot normalise it, so its true hash is unknown: search everywhere */
} zap_name_t;

/* An array of integers on its way in or out. */
typedef struct zap_value {
    uint64_t zv_intlen, zv_num;
    void *zv_buf; /* not written to by add and update */
} zap_value_t;

/* ---- zap.c ---- */
uint64_t zap_hash_bytes(uint64_t salt, const void *p, size_t len, bool upper, int hashbits);
/* ENAMETOOLONG */
int zap_name_init(const zap_t *zap, zap_name_t *zn, const char *name);

/* ---- zap_micro.c ---- */
void mzap_format(void *block, size_t size, uint64_t salt, uint64_t normflags);
int mzap_lookup(zap_t *zap, const zap_name_t *zn, uint64_t *value);
int mzap_add(zap_t *zap, const zap_name_t *zn, uint64_t value, dmu_tx_t *tx); /* EFBIG: must turn fat first */
int mzap_update(zap_t *zap, const zap_name_t *zn, uint64_t value, dmu_tx_t *tx); /* ENOENT */
int mzap_remove(zap_t *zap, const zap_name_t *zn, dmu_tx_t *tx);
uint64_t mzap_count(zap_t *zap);
bool mzap_has_index(zap_t *zap);
void mzap_build_index(zap_t *zap); /* writer */
/* The first entry at or after (hash, cd); they receive its place. ENOENT. */
int mzap_closest(zap_t *zap, uint64_t *hash, uint32_t *cd, zap_attribute_t *za);
void mzap_drop_index(dnode_t *dn);
/* Turn block 0 into a fat ZAP with the same entries. */
int mzap_upgrade(zap_t *zap, uint64_t flags, dmu_tx_t *tx);

/* ---- zap_fat.c ---- */
typedef struct zap_leaf {
    zap_leaf_phys_t *l_phys;
    uint8_t l_shift; /* log2 of its size */
    uint8_t l_hashbits;
    uint8_t l_namesize; /* bytes of one integer of a name: 1 or 8 */
    dbuf_t *l_db;       /* zap_fat.c only */
} zap_leaf_t;

int fzap_open(zap_t *zap);
int fzap_format(zap_t *zap, uint64_t salt, uint64_t normflags, uint64_t flags, dmu_tx_t *tx);
int fzap_lookup(zap_t *zap, const zap_name_t *zn, zap_value_t *zv);
int fzap_length(zap_t *zap, const zap_name_t *zn, uint64_t *intlen, uint64_t *num);
int fzap_add(zap_t *zap, const zap_name_t *zn, uint32_t cd, const zap_value_t *zv, dmu_tx_t *tx);
int fzap_update(zap_t *zap, const zap_name_t *zn, const zap_value_t *zv, dmu_tx_t *tx); /* ENOENT */
int fzap_remove(zap_t *zap, const zap_name_t *zn, dmu_tx_t *tx);
uint64_t fzap_count(zap_t *zap);
/* keep: a leaf held from call to call, or NULL in the beginning. */
int fzap_closest(zap_t *zap, dbuf_t **keep, uint64_t *hash, uint32_t *cd, zap_attribute_t *za);

/* ---- zap_leaf.c ---- */
#define ZAP_NEED_CD UINT32_MAX

void zap_leaf_format(zap_leaf_t *l, uint64_t prefix, uint16_t prefix_len, bool sorted);
/* Is it the leaf of table entry idx, the table having 2^shift? EIO */
int zap_leaf_check(const zap_leaf_t *l, uint64_t idx, uint64_t shift);
int zap_leaf_lookup(const zap_leaf_t *l, const zap_name_t *zn, uint16_t *chunk);
int zap_leaf_closest(const zap_leaf_t *l, uint64_t hash, uint32_t cd, uint16_t *chunk);
const struct zap_leaf_entry *zap_leaf_entry(const zap_leaf_t *l, uint16_t chunk); /* NULL: not one */
int zap_leaf_value(const zap_leaf_t *l, uint16_t chunk, zap_value_t *zv);
int zap_leaf_name(const zap_leaf_t *l, uint16_t chunk, char *name, size_t room);
/* EAGAIN: no room, split; E2BIG: no leaf has that much room. */
int zap_leaf_add(zap_leaf_t *l, const zap_name_t *zn, uint32_t cd, const zap_value_t *zv);
int zap_leaf_update(zap_leaf_t *l, uint16_t chunk, const zap_value_t *zv);
int zap_leaf_remove(zap_leaf_t *l, uint16_t chunk);
/* Half of l (by the next hash bit) goes to nl. Changes nothing when it fails. */
int zap_leaf_split(zap_leaf_t *l, zap_leaf_t *nl);
/* Every entry has this hash: splitting is no use. */
bool zap_leaf_one_hash(const zap_leaf_t *l, uint64_t hash);

static inline uint64_t
zap_leaf_end(const zap_leaf_t *l) /* the hash after its last; 0: it is the last leaf */
{
    uint32_t n = l->l_phys->lh_prefix_len;
    return n == 0 ? 0 : (l->l_phys->lh_prefix + 1) << (64 - n);
}

#endif
