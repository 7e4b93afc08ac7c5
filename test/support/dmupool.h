/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dmupool.h - one object set on a disk in memory, whose bookkeeping is checked block by block.
 *
 * Like minipool.h, but the object set plays a dataset, its hooks count what was born and killed, and pool_verify() walks the
 * tree from the root pointer on its own: every block, every fill count, every dnode's `used` and maxblkid.
 *
 *     pool_t *p = pool_create(256 << 20, 64 << 20);   ... p->p_os ...
 *     tx = pool_tx(p); dmu_write(..., tx); dmu_tx_commit(tx);
 *     pool_verify(p);                    syncs, then walks
 *     pool_reopen(p);                    anew from the root pointer
 *     pool_destroy(p);
 */
#ifndef COWBIRD_DMUPOOL_H
#define COWBIRD_DMUPOOL_H

#include <check.h>
#include <stdio.h>
#include "dmu_impl.h"
#include "faultdisk.h"

typedef struct pool {
    faultdisk_t *p_fd;
    spa_t *p_spa;
    txg_state_t *p_ts;
    objset_t *p_os;
    objset_props_t p_props;
    uint64_t p_dsobj;
    bool p_create; /* atomic */
    int p_passes;  /* further objset_sync() calls per txg; each finds p_sync_object changed */
    uint64_t p_sync_object;
    int p_fail;      /* error that the next sync is to return */
    int64_t p_asize; /* born - killed; syncing thread */
    int64_t p_blocks;
    int64_t p_reserved;    /* atomic */
    int64_t p_reserve_max; /* ENOSPC beyond; atomic */
    blkptr_t p_root;
} pool_t;

static void
pool_born(void *arg, const blkptr_t *bp, dmu_tx_t *tx)
{
    pool_t *p = arg;

    ck_assert(!BP_IS_HOLE(bp));
    ck_assert_uint_eq(bp->blk_birth, dmu_tx_txg(tx));
    p->p_asize += (int64_t)bp_get_asize(bp);
    p->p_blocks++;
}

static void
pool_killed(void *arg, const blkptr_t *bp, dmu_tx_t *tx)
{
    pool_t *p = arg;

    ck_assert(!BP_IS_HOLE(bp));
    p->p_asize -= (int64_t)bp_get_asize(bp);
    p->p_blocks--;
    zio_free(p->p_spa, dmu_tx_txg(tx), bp);
}

static int
pool_reserve(void *arg, int64_t bytes, bool netfree, uint64_t txg)
{
    pool_t *p = arg;
    int64_t now = __atomic_add_fetch(&p->p_reserved, bytes, __ATOMIC_SEQ_CST);

    if (bytes > 0 && now > __atomic_load_n(&p->p_reserve_max, __ATOMIC_SEQ_CST) && !netfree) {
        __atomic_sub_fetch(&p->p_reserved, bytes, __ATOMIC_SEQ_CST);
        return SET_ERROR(ENOSPC);
    }
    return 0;
}

static void
pool_take(pool_t *p)
{
    range_tree_t *a = range_tree_create(), *f = range_tree_create();

    for (uint64_t m = 0; m < metaslab_count(p->p_spa); m++)
        while (metaslab_sync_take(p->p_spa, m, a, f)) {
            range_tree_vacate(a, NULL, NULL);
            range_tree_vacate(f, NULL, NULL);
        }
    range_tree_destroy(a);
    range_tree_destroy(f);
}

static void
pool_hooks(pool_t *p, struct objset_hooks *h)
{
    *h = (struct objset_hooks){
        .oh_born = pool_born, .oh_killed = pool_killed, .oh_reserve = pool_reserve, .oh_arg = p};
}

/* What syncing a MOS is like: a pass changes what the next has to write. */
static int
pool_pass(pool_t *p, int pass, dmu_tx_t *tx)
{
    uint64_t word[300];

    for (int i = 0; i < 300; i++)
        word[i] = dmu_tx_txg(tx) * 1000003 * (uint64_t)(i % pass + 1);
    word[0] = dmu_tx_txg(tx);
    ck_assert_int_eq(
        dmu_write(p->p_os, p->p_sync_object, (dmu_tx_txg(tx) % 40) * sizeof(word), sizeof(word), word, tx),
        0);
    return objset_sync(p->p_os, pass, tx, &p->p_root);
}

static int
pool_sync_txg(void *arg, uint64_t txg)
{
    pool_t *p = arg;
    dmu_tx_t *tx = dmu_tx_create_syncing(p->p_ts, txg);
    struct objset_hooks h;
    int err = p->p_fail;

    pool_hooks(p, &h);
    if (__atomic_load_n(&p->p_create, __ATOMIC_SEQ_CST))
        p->p_os = objset_create(p->p_spa, p->p_ts, p->p_dsobj, p->p_dsobj == 0 ? DMU_OST_META : DMU_OST_ZFS,
                                &h, &p->p_props, tx);
    __atomic_store_n(&p->p_create, false, __ATOMIC_SEQ_CST);
    if (err == 0)
        err = objset_sync(p->p_os, 1, tx, &p->p_root);
    for (int pass = 2; err == 0 && pass < 2 + p->p_passes; pass++)
        err = pool_pass(p, pass, tx);
    dmu_tx_commit(tx);
    pool_take(p);
    if (err == 0)
        err = spa_commit(p->p_spa, txg, &p->p_root);
    if (err == 0)
        metaslab_sync_done(p->p_spa, txg);
    return err;
}

static bool
pool_pending(void *arg, uint64_t txg)
{
    return __atomic_load_n(&((pool_t *)arg)->p_create, __ATOMIC_SEQ_CST);
}

static inline pool_t *
pool_create_ds(uint64_t size, uint64_t dirty_max, uint64_t dsobj)
{
    pool_t *p = xzalloc(sizeof(*p));
    spa_create_args_t args = {.sca_name = "p",
                              .sca_path = "/p",
                              .sca_ashift = 9,
                              .sca_version = SPA_VERSION,
                              .sca_checksum = ZIO_CHECKSUM_XXH3_128};

    p->p_fd = faultdisk_create(size);
    disk_t disk = faultdisk_disk(p->p_fd);
    ck_assert_int_eq(spa_create(&disk, &args, &p->p_spa), 0);
    p->p_props = (objset_props_t){.op_compress = ZIO_COMPRESS_LZ4,
                                  .op_copies = 1,
                                  .op_lz4 = true,
                                  .op_embed = true,
                                  .op_recordsize = 131072};
    p->p_reserve_max = INT64_MAX / 2;
    p->p_dsobj = dsobj;
    p->p_create = true;
    p->p_ts = txg_start(p->p_spa, TXG_INITIAL - 1, pool_sync_txg, pool_pending, p, dirty_max, 200);
    ck_assert_int_eq(txg_wait_synced(p->p_ts, 0), 0);
    return p;
}

static inline pool_t *
pool_create(uint64_t size, uint64_t dirty_max)
{
    return pool_create_ds(size, dirty_max, 21);
}

static inline dmu_tx_t *
pool_tx(pool_t *p)
{
    dmu_tx_t *tx = dmu_tx_create(p->p_os);

    dmu_tx_hold_bonus(tx, DMU_NEW_OBJECT);
    ck_assert_int_eq(dmu_tx_assign(tx, DMU_TX_WAIT), 0);
    return tx;
}

static inline void
pool_sync(pool_t *p)
{
    ck_assert_int_eq(txg_wait_synced(p->p_ts, 0), 0);
}

static inline void
pool_reopen(pool_t *p)
{
    struct objset_hooks h;

    pool_sync(p);
    objset_close(p->p_os);
    pool_hooks(p, &h);
    ck_assert_int_eq(objset_open(p->p_spa, p->p_ts, &p->p_root, p->p_dsobj, &h, &p->p_props, &p->p_os), 0);
}

static inline void
pool_destroy(pool_t *p)
{
    txg_stop(p->p_ts, true);
    objset_close(p->p_os);
    spa_close(p->p_spa);
    faultdisk_destroy(p->p_fd);
    free(p);
}

/* ---- the independent walk ---- */

typedef struct walk {
    pool_t *w_p;
    int64_t w_asize, w_blocks;
    uint64_t w_maxblkid; /* of the object being walked: largest non-hole */
} walk_t;

static void
walk_count(walk_t *w, const blkptr_t *bp)
{
    ck_assert_uint_le(bp->blk_birth, txg_last_synced(w->w_p->p_ts));
    w->w_asize += (int64_t)bp_get_asize(bp);
    w->w_blocks++;
}

static arc_buf_t *
walk_read(walk_t *w, const blkptr_t *bp)
{
    arc_buf_t *buf;

    ck_assert_int_eq(arc_read(w->w_p->p_spa, bp, NULL, 0, &buf), 0);
    return buf;
}

static uint64_t walk_dnode(walk_t *w, const dnode_phys_t *dnp, uint64_t object);

static uint64_t
walk_dnode_block(walk_t *w, const blkptr_t *bp, uint64_t blkid)
{
    arc_buf_t *buf = walk_read(w, bp);
    dnode_slot_t sl = {0};
    uint64_t fill = 0;

    while (dnode_slot_next(buf->b_data, buf->b_size, &sl)) {
        ck_assert_int_eq(sl.sl_err, 0);
        if (sl.sl_dnp->dn_type == DMU_OT_NONE) {
            static const uint8_t zeros[DNODE_MIN_SIZE];
            ck_assert_int_eq(memcmp(sl.sl_dnp, zeros, DNODE_MIN_SIZE), 0);
            continue;
        }
        fill++;
        walk_dnode(w, sl.sl_dnp, blkid * DNODES_PER_BLOCK + sl.sl_index);
    }
    arc_buf_rele(buf);
    return fill;
}

/* Returns the fill of the pointer. */
static uint64_t
walk_bp(walk_t *w, const dnode_phys_t *dnp, const blkptr_t *bp, int level, uint64_t blkid, bool spill)
{
    static const blkptr_t zero;
    uint64_t fill = 1, n = 1ULL << (dnp->dn_indblkshift - SPA_BLKPTRSHIFT);

    if (BP_IS_HOLE(bp)) {
        ck_assert_int_eq(memcmp(bp, &zero, sizeof(zero)), 0);
        return 0;
    }
    walk_count(w, bp);
    ck_assert_int_eq(BP_GET_LEVEL(bp), level);
    ck_assert_int_eq(BP_GET_TYPE(bp), spill ? dnp->dn_bonustype : dnp->dn_type);
    if (level > 0) {
        arc_buf_t *buf = walk_read(w, bp);
        fill = 0;
        for (uint64_t i = 0; i < n; i++)
            fill += walk_bp(w, dnp, (blkptr_t *)buf->b_data + i, level - 1, blkid * n + i, false);
        ck_assert_uint_gt(fill, 0);
        arc_buf_rele(buf);
    } else if (!spill) {
        w->w_maxblkid = MAX(w->w_maxblkid, blkid);
        if (dnp->dn_type == DMU_OT_DNODE)
            fill = walk_dnode_block(w, bp, blkid);
        else
            ck_assert_uint_eq(BP_GET_LSIZE(bp), (uint64_t)dnp->dn_datablkszsec << 9);
    }
    if (!BP_IS_EMBEDDED(bp))
        ck_assert_uint_eq(bp->blk_fill, fill);
    return fill;
}

static uint64_t
walk_dnode(walk_t *w, const dnode_phys_t *dnp, uint64_t object)
{
    walk_t own = {.w_p = w->w_p};
    uint64_t fill = 0;

    for (uint8_t i = 0; i < dnp->dn_nblkptr; i++)
        fill += walk_bp(&own, dnp, (const blkptr_t *)((const uint8_t *)dnp + DNODE_CORE_SIZE) + i,
                        dnp->dn_nlevels - 1, i, false);
    if (dnp->dn_flags & DNODE_FLAG_SPILL_BLKPTR)
        walk_bp(&own, dnp, dnode_phys_spill(dnp), 0, 0, true);
    ck_assert_uint_le(own.w_maxblkid, dnp->dn_maxblkid);
    if (object != 0)
        ck_assert_uint_eq((uint64_t)own.w_asize, dnp->dn_used);
    w->w_asize += own.w_asize;
    w->w_blocks += own.w_blocks;
    return fill;
}

/* Sync, then compare the tree with the bookkeeping. */
static inline void
pool_verify(pool_t *p)
{
    walk_t w = {.w_p = p};
    arc_buf_t *buf;
    uint64_t fill;

    pool_sync(p);
    walk_count(&w, &p->p_root);
    buf = walk_read(&w, &p->p_root);
    fill = walk_dnode(&w, &((objset_phys_t *)buf->b_data)->os_meta_dnode, 0);
    ck_assert_uint_eq(fill, p->p_root.blk_fill);
    ck_assert_uint_eq(fill, objset_nobjects(p->p_os));
    arc_buf_rele(buf);
    ck_assert_int_eq(w.w_asize, p->p_asize);
    ck_assert_int_eq(w.w_blocks, p->p_blocks);
    ck_assert_uint_eq((uint64_t)w.w_asize, spa_alloc_space(p->p_spa));
    ck_assert_int_eq(__atomic_load_n(&p->p_reserved, __ATOMIC_SEQ_CST), 0);
}

#endif
