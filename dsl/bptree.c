/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bptree.c - trees of blocks on their way out: what destroyed file systems leave, freed a piece per txg.
 *
 * A file system's own blocks can be many. So destroy only takes its name away and puts the root pointer here, in one small txg; the
 * tree is then walked, children before parents, and freed over the following ones:
 *
 *     MOS key "bptree_obj" ──► entries   [ done | root, born after 120, resume at X | root, born after 80, from the start ]
 *                              bonus       begin ─┘                                            end ─┘     bytes still to be freed
 *
 *                                  root                  x = freed in txgs before. The next block to be freed is X: all below
 *                                 /    \                 X and to the left of it is gone, all others are whole.
 *                               X       o                A crash loses at most the piece of one txg, of which then nothing
 *                             x   x   o   o              happened: frees and the bookmark become real with the same uberblock.
 *
 * INVARIANTS
 *  1. What is here counts as used by $FREE, and is allocated, until the txg that frees it.
 *  2. Feature com.delphix:async_destroy is active (count 1) exactly while the object exists.
 *  3. Only blocks born after an entry's txg are its own; older ones belong to the origin.
 *  4. The blocks of an entry that are not freed yet are those from its bookmark on, in the order of a post-order walk. Nobody else
 *     refers to them.
 *
 * What cannot be read is not found, and stays allocated: pool_sync.c moves its bytes from $FREE to $LEAK when nothing else is left.
 * Syncing thread. ZFS: module/zfs/bptree.c, dsl_process_async_destroys (dsl_scan.c)
 */
#include "dsl_impl.h"

#define ZB_DESTROYED_OBJSET UINT64_MAX
#define BPTREE_BLKSZ        SPA_OLD_MAXBLOCKSIZE

/* ---- opening ---- */

static int
bptree_check(dsl_pool_t *dp)
{
    bptree_phys_t bt;
    dmu_object_info_t doi;
    int err = mos_read_bonus(dp, dp->dp_bptree_obj, DMU_OTN_UINT64_METADATA, &bt, sizeof(bt));

    if (err == 0)
        err = dmu_object_info(pool_mos(dp), dp->dp_bptree_obj, &doi);
    if (err == 0 && (bt.bt_begin > bt.bt_end || bt.bt_end > doi.doi_max_offset / sizeof(bptree_entry_phys_t)))
        err = SET_ERROR(EIO);
    return err;
}

int
bptree_open(dsl_pool_t *dp)
{
    int err =
        zap_lookup_u64(pool_mos(dp), DMU_POOL_DIRECTORY_OBJECT, DMU_POOL_BPTREE_OBJ, &dp->dp_bptree_obj);

    return err == ENOENT ? 0 : err != 0 ? err : bptree_check(dp);
}

/* ---- adding ---- */

static void
bptree_create(dsl_pool_t *dp, dmu_tx_t *tx)
{
    int err = dmu_object_alloc(pool_mos(dp), DMU_OTN_UINT64_METADATA, BPTREE_BLKSZ, DMU_OTN_UINT64_METADATA,
                               sizeof(bptree_phys_t), 0, tx, &dp->dp_bptree_obj);

    if (err == 0)
        err =
            zap_add_u64(pool_mos(dp), DMU_POOL_DIRECTORY_OBJECT, DMU_POOL_BPTREE_OBJ, dp->dp_bptree_obj, tx);
    if (err == 0)
        feature_add(dp, FEATURE_ASYNC_DESTROY, 1, tx);
    else
        spa_suspend(dp->dp_spa, err);
}

void
bptree_add(dsl_pool_t *dp, const blkptr_t *bp, uint64_t birth_txg, uint64_t used, uint64_t comp,
           uint64_t uncomp, dmu_tx_t *tx)
{
    bptree_entry_phys_t be = {.be_bp = *bp, .be_birth_txg = birth_txg};
    dmu_buf_t *db;

    if (dp->dp_bptree_obj == 0)
        bptree_create(dp, tx);
    if (!mos_bonus_for_sync(dp, dp->dp_bptree_obj, &db))
        return;
    dmu_buf_will_dirty(db, tx);
    bptree_phys_t *bt = db->db_data;
    int err = dmu_write(pool_mos(dp), dp->dp_bptree_obj, bt->bt_end * sizeof(be), sizeof(be), &be, tx);
    bt->bt_end++;
    bt->bt_bytes += used;
    bt->bt_comp += comp;
    bt->bt_uncomp += uncomp;
    dmu_buf_rele(db);
    if (err != 0)
        spa_suspend(dp->dp_spa, err);
}

/* ---- walking one entry ---- */

typedef struct entry_walk {
    int (*ew_cb)(void *arg, const blkptr_t *bp);
    void *ew_arg;
    zbookmark_t ew_stopped; /* where cb said so */
} entry_walk_t;

static int
entry_block(void *arg, const traverse_block_t *tb)
{
    entry_walk_t *ew = arg;

    if (tb->tb_zb.zb_level == ZB_DNODE_LEVEL || BP_IS_HOLE(tb->tb_bp))
        return 0;
    int err = ew->ew_cb(ew->ew_arg, tb->tb_bp);
    if (err != 0)
        ew->ew_stopped = tb->tb_zb;
    return err;
}

static int
entry_walk(dsl_pool_t *dp, const bptree_entry_phys_t *be, entry_walk_t *ew)
{
    const zbookmark_t *resume = &be->be_zb;
    bool fresh =
        resume->zb_objset == 0 && resume->zb_object == 0 && resume->zb_level == 0 && resume->zb_blkid == 0;

    if (BP_IS_HOLE(&be->be_bp) || be->be_bp.blk_birth <= be->be_birth_txg)
        return 0;
    return traverse_objset(dp->dp_spa, &be->be_bp, ZB_DESTROYED_OBJSET, be->be_birth_txg,
                           TRAVERSE_POST | TRAVERSE_HARD | TRAVERSE_RESUME_POST, fresh ? NULL : resume,
                           entry_block, ew, NULL);
}

static int
entry_read(dsl_pool_t *dp, uint64_t i, bptree_entry_phys_t *be)
{
    return dmu_read(pool_mos(dp), dp->dp_bptree_obj, i * sizeof(*be), sizeof(*be), be);
}

int
bptree_walk(dsl_pool_t *dp, int (*cb)(void *arg, const blkptr_t *bp), void *arg, bptree_phys_t *bt)
{
    entry_walk_t ew = {.ew_cb = cb, .ew_arg = arg};
    bptree_entry_phys_t be;
    int err;

    memset(bt, 0, sizeof(*bt));
    if (dp->dp_bptree_obj == 0)
        return 0;
    err = mos_read_bonus(dp, dp->dp_bptree_obj, DMU_OTN_UINT64_METADATA, bt, sizeof(*bt));
    for (uint64_t i = bt->bt_begin; i < bt->bt_end && err == 0; i++)
        if ((err = entry_read(dp, i, &be)) == 0)
            err = entry_walk(dp, &be, &ew);
    return err;
}

/* ---- freeing ---- */

/* Frees what is left of entry i, as far as cb lets it. EAGAIN: the rest another time. */
static int
entry_free(dsl_pool_t *dp, uint64_t i, int (*cb)(void *arg, const blkptr_t *bp), void *arg, dmu_tx_t *tx)
{
    entry_walk_t ew = {.ew_cb = cb, .ew_arg = arg};
    bptree_entry_phys_t be;
    int err = entry_read(dp, i, &be);

    if (err == 0)
        err = entry_walk(dp, &be, &ew);
    if (err == EAGAIN) {
        be.be_zb = ew.ew_stopped;
        err = dmu_write(pool_mos(dp), dp->dp_bptree_obj, i * sizeof(be), sizeof(be), &be, tx);
        return err != 0 ? err : EAGAIN;
    }
    if (err != 0)
        cowbird_log(LOG_ERR, "a part of a destroyed file system cannot be found (%s): its space is leaked",
                    cowbird_strerror(err));
    return 0;
}

int
bptree_free_some(dsl_pool_t *dp, int (*cb)(void *arg, const blkptr_t *bp), bptree_sums_t *freed, void *arg,
                 dmu_tx_t *tx)
{
    bptree_sums_t before = *freed;
    dmu_buf_t *db;
    int err = 0;

    if (dp->dp_bptree_obj == 0)
        return 0;
    if (!mos_bonus_for_sync(dp, dp->dp_bptree_obj, &db))
        return SET_ERROR(EIO);
    dmu_buf_will_dirty(db, tx);
    bptree_phys_t *bt = db->db_data;
    while (bt->bt_begin < bt->bt_end && (err = entry_free(dp, bt->bt_begin, cb, arg, tx)) == 0)
        bt->bt_begin++;
    bt->bt_bytes -= (uint64_t)(freed->bs_used - before.bs_used);
    bt->bt_comp -= (uint64_t)(freed->bs_comp - before.bs_comp);
    bt->bt_uncomp -= (uint64_t)(freed->bs_uncomp - before.bs_uncomp);
    dmu_buf_rele(db);
    return err == EAGAIN ? 0 : err;
}

bool
bptree_is_empty(dsl_pool_t *dp)
{
    bptree_phys_t bt;

    return dp->dp_bptree_obj == 0 ||
           (mos_read_bonus(dp, dp->dp_bptree_obj, DMU_OTN_UINT64_METADATA, &bt, sizeof(bt)) == 0 &&
            bt.bt_begin == bt.bt_end);
}

void
bptree_destroy(dsl_pool_t *dp, dmu_tx_t *tx)
{
    int err = zap_remove(pool_mos(dp), DMU_POOL_DIRECTORY_OBJECT, DMU_POOL_BPTREE_OBJ, tx);

    if (err == 0)
        err = dmu_object_free(pool_mos(dp), dp->dp_bptree_obj, tx);
    if (err == 0)
        feature_add(dp, FEATURE_ASYNC_DESTROY, -1, tx);
    else
        spa_suspend(dp->dp_spa, err);
    dp->dp_bptree_obj = 0;
}
