/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zap_fat.c - the large ZAP: an extensible hash table of leaf blocks.
 *
 *   hash 1011 0110 ...     table shift 3: index 101             a leaf of prefix "10" (length 2) stands at
 *        |||                                                    two entries of the table
 *        101 --> table[5] --> block 9: leaf, prefix 10
 *
 *   A full leaf splits in two by the next bit of the hash. When its prefix is as long as the table's index already, the table is
 *   doubled first: each entry twice. The first table lies in block 0's second half, larger ones in blocks of their own.
 *
 * INVARIANTS
 *  1. table[i] is a leaf whose prefix is the first bits of i; checked whenever a leaf is taken by its index.
 *  2. zap_freeblk and the blocks after it hold nothing.
 *  3. zt_nextblk is 0: a doubling is done at once (an older writer's half-done one is undone by the first change).
 *
 * The block that a split allocates is never given back; ZFS (until 2.3) does not shrink either.  ZFS: zap_fat.c
 */
#include "zap_impl.h"

static zap_phys_t *
fzap_phys(const zap_t *zap)
{
    return zap->zap_db->db.db_data;
}

static uint64_t
table_shift(const zap_t *zap)
{
    return fzap_phys(zap)->zap_ptrtbl.zt_shift;
}

static uint64_t
table_index(const zap_t *zap, uint64_t hash)
{
    uint64_t shift = table_shift(zap);
    return shift == 0 ? 0 : hash >> (64 - shift);
}

static uint64_t *
embedded_table(const zap_t *zap)
{
    return (uint64_t *)zap->zap_db->db.db_data + (1u << FZAP_EMBEDDED_SHIFT(zap->zap_shift));
}

/* ---- opening: the gate of block 0 ---- */

static bool
table_valid(const zap_t *zap, const zap_table_phys_t *zt)
{
    uint32_t per_block = zap->zap_shift - 3;
    if (zt->zt_numblks == 0)
        return zt->zt_shift == (uint64_t)FZAP_EMBEDDED_SHIFT(zap->zap_shift) &&
               zt->zt_shift <= zap->zap_hashbits;
    return zt->zt_shift >= per_block && zt->zt_shift <= zap->zap_hashbits && zt->zt_blk != 0 &&
           zt->zt_numblks == 1ULL << (zt->zt_shift - per_block) && zt->zt_blk < 1ULL << 40;
}

int
fzap_open(zap_t *zap)
{
    uint64_t size = zap->zap_db->db.db_size;
    int shift = highbit64(size) - 1;
    if (!ISP2(size) || shift < FZAP_MIN_SHIFT || shift > FZAP_MAX_SHIFT)
        return SET_ERROR(EIO);
    const zap_phys_t *zp = fzap_phys(zap);
    zap->zap_shift = (uint8_t)shift;
    zap->zap_salt = zp->zap_salt;
    zap->zap_normflags = zp->zap_normflags;
    zap->zap_flags = zp->zap_flags;
    zap->zap_hashbits = (zp->zap_flags & ZAP_FLAG_HASH64) ? 48 : 28;
    if (zp->zap_magic != ZAP_MAGIC || !table_valid(zap, &zp->zap_ptrtbl))
        return SET_ERROR(EIO);
    return 0;
}

/* ---- blocks ---- */

static int
hold_new_block(zap_t *zap, uint64_t blkid, dmu_tx_t *tx, dbuf_t **dbp)
{
    int err = dbuf_hold(zap->zap_dn, blkid, false, dbp);
    if (err == 0)
        dmu_buf_will_fill(&(*dbp)->db, tx);
    return err;
}

#define FREEBLK_SLACK                                                                                        \
    64 /* blocks taken in vain: by a split that failed, by a doubling that an older writer did not end */

static int
allocate_blocks(zap_t *zap, uint64_t n, dmu_tx_t *tx, uint64_t *blkid)
{
    dnode_t *dn = zap->zap_dn;
    mutex_enter(&dn->dn_mtx);
    uint64_t maxblkid = dn->dn_now.ds_maxblkid;
    mutex_exit(&dn->dn_mtx);
    dmu_buf_will_dirty(&zap->zap_db->db, tx);
    zap_phys_t *zp = fzap_phys(zap);
    if (zp->zap_freeblk == 0 ||
        zp->zap_freeblk > maxblkid + 1 + 2 * zp->zap_ptrtbl.zt_numblks + FREEBLK_SLACK)
        return SET_ERROR(EIO);
    *blkid = zp->zap_freeblk;
    zp->zap_freeblk += n;
    return 0;
}

/* ---- the pointer table ---- */

static int
table_get(zap_t *zap, uint64_t idx, uint64_t *blk)
{
    const zap_table_phys_t *zt = &fzap_phys(zap)->zap_ptrtbl;
    uint32_t per_block = zap->zap_shift - 3;
    dbuf_t *db;
    if (zt->zt_numblks == 0) {
        *blk = embedded_table(zap)[idx];
        return 0;
    }
    int err = dbuf_hold(zap->zap_dn, zt->zt_blk + (idx >> per_block), true, &db);
    if (err != 0)
        return err;
    *blk = ((uint64_t *)db->db.db_data)[idx & ((1u << per_block) - 1)];
    dbuf_rele(db);
    return 0;
}

/* n entries from idx on; in one block or the embedded table, or whole blocks. */
static int
table_set(zap_t *zap, uint64_t idx, uint64_t n, uint64_t blk, dmu_tx_t *tx)
{
    uint64_t per_block = 1ULL << (zap->zap_shift - 3);
    if (fzap_phys(zap)->zap_ptrtbl.zt_numblks == 0) {
        dmu_buf_will_dirty(&zap->zap_db->db, tx);
        for (uint64_t i = 0; i < n; i++)
            embedded_table(zap)[idx + i] = blk;
        return 0;
    }
    while (n > 0) {
        uint64_t first = idx & (per_block - 1), take = MIN(n, per_block - first);
        dbuf_t *db;
        int err = dbuf_hold(zap->zap_dn, fzap_phys(zap)->zap_ptrtbl.zt_blk + idx / per_block, true, &db);
        if (err != 0)
            return err;
        dmu_buf_will_dirty(&db->db, tx);
        for (uint64_t i = 0; i < take; i++)
            ((uint64_t *)db->db.db_data)[first + i] = blk;
        dbuf_rele(db);
        idx += take;
        n -= take;
    }
    return 0;
}

/* An older writer was filling a table of twice the size: its blocks are given up, we start over when it is time. */
static int
table_undo_doubling(zap_t *zap, dmu_tx_t *tx)
{
    zap_table_phys_t *zt = &fzap_phys(zap)->zap_ptrtbl;
    uint64_t blk = zt->zt_nextblk, n = 2 * zt->zt_numblks;
    if (blk == 0)
        return 0;
    dmu_buf_will_dirty(&zap->zap_db->db, tx);
    zt = &fzap_phys(zap)->zap_ptrtbl;
    zt->zt_nextblk = zt->zt_blks_copied = 0;
    if (blk >= 1ULL << 40)
        return SET_ERROR(EIO);
    return dmu_free_range(zap->zap_os, zap->zap_dn->dn_object, blk << zap->zap_shift, n << zap->zap_shift,
                          tx);
}

static void
double_entries(uint64_t *to, const uint64_t *from, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        to[2 * i] = to[2 * i + 1] = from[i];
}

/* From old block i (NULL: the embedded table) to block(s) of the new table at blk. */
static int
table_double_block(zap_t *zap, dbuf_t *old, uint64_t blk, dmu_tx_t *tx)
{
    uint64_t half = 1ULL << (zap->zap_shift - 4);
    for (int k = 0; k < (old == NULL ? 1 : 2); k++) {
        dbuf_t *db;
        int err = hold_new_block(zap, blk + (uint64_t)k, tx, &db);
        if (err != 0)
            return err;
        double_entries(db->db.db_data,
                       old == NULL ? embedded_table(zap) : (uint64_t *)old->db.db_data + (uint64_t)k * half,
                       half);
        dbuf_rele(db);
    }
    return 0;
}

static int
table_double_external(zap_t *zap, uint64_t old, uint64_t n, uint64_t blk, dmu_tx_t *tx)
{
    for (uint64_t i = 0; i < n; i++) {
        dbuf_t *db;
        int err = dbuf_hold(zap->zap_dn, old + i, true, &db);
        if (err != 0)
            return err;
        err = table_double_block(zap, db, blk + 2 * i, tx);
        dbuf_rele(db);
        if (err != 0)
            return err;
    }
    return dmu_free_range(zap->zap_os, zap->zap_dn->dn_object, old << zap->zap_shift, n << zap->zap_shift,
                          tx);
}

/* A table far larger than its leaves need means names chosen to collide. ENOSPC, as for the last bit of the hash. */
static int
table_grow(zap_t *zap, dmu_tx_t *tx)
{
    zap_table_phys_t zt = fzap_phys(zap)->zap_ptrtbl;
    uint64_t newblk, newn = zt.zt_numblks == 0 ? 1 : 2 * zt.zt_numblks;
    if (zt.zt_shift >= zap->zap_hashbits ||
        (zt.zt_shift >= 20 && (1ULL << (zt.zt_shift - 10)) > fzap_phys(zap)->zap_num_leafs))
        return SET_ERROR(ENOSPC);
    int err = allocate_blocks(zap, newn, tx, &newblk);
    if (err == 0)
        err = zt.zt_numblks == 0 ? table_double_block(zap, NULL, newblk, tx)
                                 : table_double_external(zap, zt.zt_blk, zt.zt_numblks, newblk, tx);
    if (err != 0)
        return err;
    dmu_buf_will_dirty(&zap->zap_db->db, tx);
    zap_table_phys_t *now = &fzap_phys(zap)->zap_ptrtbl;
    if (zt.zt_numblks == 0)
        memset(embedded_table(zap), 0, sizeof(uint64_t) << FZAP_EMBEDDED_SHIFT(zap->zap_shift));
    now->zt_blk = newblk;
    now->zt_numblks = newn;
    now->zt_shift++;
    return 0;
}

/* ---- leaves ---- */

static zap_leaf_t
leaf_of(const zap_t *zap, dbuf_t *db)
{
    return (zap_leaf_t){.l_phys = db->db.db_data,
                        .l_shift = zap->zap_shift,
                        .l_hashbits = zap->zap_hashbits,
                        .l_namesize = (zap->zap_flags & ZAP_FLAG_UINT64_KEY) ? 8 : 1,
                        .l_db = db};
}

/* keep, if not NULL, holds a block from an earlier call; afterwards l->l_db is the only hold. */
static int
leaf_hold(zap_t *zap, uint64_t hash, zap_leaf_t *l, dbuf_t **keep)
{
    uint64_t blk, idx = table_index(zap, hash);
    dbuf_t *db = NULL;
    int err = table_get(zap, idx, &blk);
    if (err == 0 && (blk == 0 || blk >= 1ULL << 40))
        err = SET_ERROR(EIO);
    if (err == 0 && keep != NULL && *keep != NULL && (*keep)->db_blkid == blk) {
        db = *keep;
        *keep = NULL;
    } else if (err == 0) {
        err = dbuf_hold(zap->zap_dn, blk, true, &db);
    }
    if (err != 0)
        return err;
    *l = leaf_of(zap, db);
    err =
        db->db.db_size != 1ULL << zap->zap_shift ? SET_ERROR(EIO) : zap_leaf_check(l, idx, table_shift(zap));
    if (err != 0)
        dbuf_rele(db);
    return err;
}

static void
leaf_dirty(zap_leaf_t *l, dmu_tx_t *tx)
{
    dmu_buf_will_dirty(&l->l_db->db, tx);
    l->l_phys = l->l_db->db.db_data;
}

/* All the table entries of the leaf point at it? (else splitting would lose somebody) */
static int
leaf_owns_table(zap_t *zap, const zap_leaf_t *l, uint64_t first, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t blk;
        int err = table_get(zap, first + i, &blk);
        if (err != 0)
            return err;
        if (blk != l->l_db->db_blkid)
            return SET_ERROR(EIO);
    }
    return 0;
}

static int
leaf_split_to(zap_t *zap, zap_leaf_t *l, uint64_t blk, dmu_tx_t *tx)
{
    dbuf_t *db;
    uint64_t diff = table_shift(zap) - l->l_phys->lh_prefix_len - 1;
    uint64_t first = (l->l_phys->lh_prefix << 1 | 1) << diff;
    int err = leaf_owns_table(zap, l, first, 1ULL << diff);
    if (err == 0)
        err = hold_new_block(zap, blk, tx, &db);
    if (err != 0)
        return err;
    zap_leaf_t nl = leaf_of(zap, db);
    leaf_dirty(l, tx);
    err = zap_leaf_split(l, &nl);
    dbuf_rele(db);
    if (err == 0)
        err = table_set(zap, first, 1ULL << diff, blk, tx);
    if (err == 0)
        fzap_phys(zap)->zap_num_leafs++; /* block 0 was dirtied for the allocation */
    return err;
}

/* Make room where hash belongs. l is released. */
static int
leaf_split(zap_t *zap, zap_leaf_t *l, uint64_t hash, dmu_tx_t *tx)
{
    uint64_t blk = 0;
    int err = table_undo_doubling(zap, tx);
    if (err == 0 && (l->l_phys->lh_prefix_len >= zap->zap_hashbits || zap_leaf_one_hash(l, hash)))
        err = SET_ERROR(ENOSPC);
    if (err == 0 && l->l_phys->lh_prefix_len == table_shift(zap))
        err = table_grow(zap, tx);
    if (err == 0)
        err = allocate_blocks(zap, 1, tx, &blk);
    if (err == 0)
        err = leaf_split_to(zap, l, blk, tx);
    dbuf_rele(l->l_db);
    return err;
}

/* Find a name's leaf; a name of unknown hash is searched in all of them. ENOENT. On success the leaf is held. */
static int
leaf_find(zap_t *zap, const zap_name_t *zn, zap_leaf_t *l, uint16_t *chunk)
{
    uint64_t hash = zn->zn_hashed ? zn->zn_hash : 0;
    for (;;) {
        int err = leaf_hold(zap, hash, l, NULL);
        if (err != 0)
            return err;
        err = zap_leaf_lookup(l, zn, chunk);
        if (err == 0)
            return 0;
        hash = zap_leaf_end(l);
        dbuf_rele(l->l_db);
        if (err != ENOENT || zn->zn_hashed || hash == 0)
            return err;
    }
}

/* ---- the calls ---- */

int
fzap_format(zap_t *zap, uint64_t salt, uint64_t normflags, uint64_t flags, dmu_tx_t *tx)
{
    dbuf_t *db;
    dmu_buf_will_fill(&zap->zap_db->db, tx);
    uint64_t size = zap->zap_db->db.db_size;
    zap_phys_t *zp = fzap_phys(zap);
    if (!ISP2(size) || size < (1u << FZAP_MIN_SHIFT) || size > (1u << FZAP_MAX_SHIFT))
        return SET_ERROR(EINVAL);
    zap->zap_ismicro = false;
    zap->zap_shift = (uint8_t)(highbit64(size) - 1);
    memset(zp, 0, size);
    *zp = (zap_phys_t){.zap_block_type = ZBT_HEADER,
                       .zap_magic = ZAP_MAGIC,
                       .zap_ptrtbl = {.zt_shift = FZAP_EMBEDDED_SHIFT(zap->zap_shift)},
                       .zap_freeblk = 2,
                       .zap_num_leafs = 1,
                       .zap_salt = salt,
                       .zap_normflags = normflags,
                       .zap_flags = flags};
    for (uint32_t i = 0; i < 1u << FZAP_EMBEDDED_SHIFT(zap->zap_shift); i++)
        embedded_table(zap)[i] = 1;
    int err = fzap_open(zap);
    if (err == 0)
        err = hold_new_block(zap, 1, tx, &db);
    if (err != 0)
        return err;
    zap_leaf_t l = leaf_of(zap, db);
    zap_leaf_format(&l, 0, 0, normflags != 0);
    dbuf_rele(db);
    return 0;
}

int
fzap_lookup(zap_t *zap, const zap_name_t *zn, zap_value_t *zv)
{
    zap_leaf_t l;
    uint16_t c;
    int err = leaf_find(zap, zn, &l, &c);
    if (err != 0)
        return err;
    err = zap_leaf_value(&l, c, zv);
    dbuf_rele(l.l_db);
    return err;
}

int
fzap_length(zap_t *zap, const zap_name_t *zn, uint64_t *intlen, uint64_t *num)
{
    zap_leaf_t l;
    uint16_t c;
    int err = leaf_find(zap, zn, &l, &c);
    if (err != 0)
        return err;
    *intlen = zap_leaf_entry(&l, c)->le_value_intlen;
    *num = zap_leaf_entry(&l, c)->le_value_numints;
    dbuf_rele(l.l_db);
    return 0;
}

static void
count_change(zap_t *zap, int delta, dmu_tx_t *tx)
{
    dmu_buf_will_dirty(&zap->zap_db->db, tx);
    fzap_phys(zap)->zap_num_entries += (uint64_t)(int64_t)delta;
}

/* The name is not there yet. Each split makes the prefix longer, so this ends. */
int
fzap_add(zap_t *zap, const zap_name_t *zn, uint32_t cd, const zap_value_t *zv, dmu_tx_t *tx)
{
    if (!zn->zn_hashed)
        return SET_ERROR(ENOTSUP);
    for (;;) {
        zap_leaf_t l;
        int err = leaf_hold(zap, zn->zn_hash, &l, NULL);
        if (err != 0)
            return err;
        leaf_dirty(&l, tx);
        err = zap_leaf_add(&l, zn, cd, zv);
        if (err == EAGAIN) {
            err = leaf_split(zap, &l, zn->zn_hash, tx);
            if (err != 0)
                return err;
            continue;
        }
        dbuf_rele(l.l_db);
        if (err == 0)
            count_change(zap, 1, tx);
        return err;
    }
}

int
fzap_update(zap_t *zap, const zap_name_t *zn, const zap_value_t *zv, dmu_tx_t *tx)
{
    for (;;) {
        zap_leaf_t l;
        uint16_t c;
        int err = leaf_find(zap, zn, &l, &c);
        if (err != 0)
            return err;
        leaf_dirty(&l, tx);
        err = zap_leaf_update(&l, c, zv);
        if (err != EAGAIN) {
            dbuf_rele(l.l_db);
            return err;
        }
        err = leaf_split(zap, &l, zap_leaf_entry(&l, c)->le_hash, tx);
        if (err != 0)
            return err;
    }
}

int
fzap_remove(zap_t *zap, const zap_name_t *zn, dmu_tx_t *tx)
{
    zap_leaf_t l;
    uint16_t c;
    int err = leaf_find(zap, zn, &l, &c);
    if (err != 0)
        return err;
    leaf_dirty(&l, tx);
    err = zap_leaf_remove(&l, c);
    dbuf_rele(l.l_db);
    if (err == 0)
        count_change(zap, -1, tx);
    return err;
}

uint64_t
fzap_count(zap_t *zap)
{
    return fzap_phys(zap)->zap_num_entries;
}

/* ---- iteration ---- */

static int
leaf_attribute(const zap_leaf_t *l, uint16_t c, uint64_t *hash, uint32_t *cd, zap_attribute_t *za)
{
    const struct zap_leaf_entry *le = zap_leaf_entry(l, c);
    zap_value_t zv = {8, 1, &za->za_first_integer};
    *hash = le->le_hash;
    *cd = le->le_cd;
    za->za_integer_length = le->le_value_intlen;
    za->za_num_integers = le->le_value_numints;
    za->za_first_integer = 0;
    int err = zap_leaf_value(l, c, &zv);
    if (err != 0 && err != EOVERFLOW)
        return err;
    return zap_leaf_name(l, c, za->za_name, sizeof(za->za_name));
}

int
fzap_closest(zap_t *zap, dbuf_t **keep, uint64_t *hash, uint32_t *cd, zap_attribute_t *za)
{
    int err;
    do {
        zap_leaf_t l;
        uint16_t c = 0;
        err = leaf_hold(zap, *hash, &l, keep);
        if (err != 0)
            return err;
        err = zap_leaf_closest(&l, *hash, *cd, &c);
        if (err == 0)
            err = leaf_attribute(&l, c, hash, cd, za);
        if (err == ENOENT) {
            *hash = zap_leaf_end(&l);
            *cd = 0;
        }
        if (*keep != NULL)
            dbuf_rele(*keep);
        *keep = l.l_db;
    } while (err == ENOENT && *hash != 0);
    return err;
}
