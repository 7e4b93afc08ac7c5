/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * free.c - space on its way out. Destroys are quick because they only move lists and roots here; each txg then frees a piece.
 *
 *     destroy of a snapshot      deadlist buckets ──► free_bpobj ─┐
 *     destroy of a file system   root pointer ──────► bptree ─────┼─► at the start of each txg: dp_free_max blocks, or a second's work
 *     other software's leftovers                     sync_bplist ─┘
 *
 * INVARIANTS
 *  1. $FREE's used bytes are what free_bpobj and bptree say; sync_bplist's were accounted when they were listed.
 *  2. While there is something left, there is always a next txg (dp_want_txg), crash or not.
 *  3. A damaged piece never stops the pool: what cannot be found stays allocated. Its bytes are what $FREE still has when the lists are
 *     empty; they become $LEAK's, so that the sums stay true.
 *
 * Syncing thread. ZFS: dsl_process_async_destroys, dsl_scan_free_block_cb (dsl_scan.c)
 */
#include "dsl_impl.h"

#define FREE_NS       1000000000ULL
#define DROPS_PER_TXG 1000 /* unreadable pieces */

typedef struct free_arg {
    dsl_pool_t *fa_pool;
    dmu_tx_t *fa_tx;
    uint64_t fa_left, fa_deadline;
    bptree_sums_t fa_sums;
} free_arg_t;

static int
free_block(void *arg, const blkptr_t *bp)
{
    free_arg_t *fa = arg;

    if (fa->fa_left == 0 || gethrtime() > fa->fa_deadline)
        return EAGAIN;
    fa->fa_left--;
    zio_free(fa->fa_pool->dp_spa, dmu_tx_txg(fa->fa_tx), bp);
    fa->fa_sums.bs_used += (int64_t)bp_get_asize(bp);
    fa->fa_sums.bs_comp += (int64_t)BP_GET_PSIZE(bp);
    fa->fa_sums.bs_uncomp += (int64_t)bp_get_ucsize(bp);
    return 0;
}

static int
free_listed(void *arg, const blkptr_t *bp, dmu_tx_t *tx)
{
    return free_block(arg, bp);
}

/* Damage in the list is passed over, as long as anything is left to pass over. */
static int
free_list(bpobj_t *bpo, free_arg_t *fa, dmu_tx_t *tx)
{
    int err;

    if (bpobj_is_empty(bpo))
        return 0;
    for (int drops = 0; drops < DROPS_PER_TXG; drops++) {
        err = bpobj_iterate(bpo, free_listed, fa, tx);
        if (err == 0 || err == EAGAIN)
            return 0;
        cowbird_log(LOG_ERR, "a list of freed blocks is damaged (%s): their space is leaked",
                    cowbird_strerror(err));
        if (!bpobj_drop_unreadable(bpo, tx))
            return err;
    }
    return 0;
}

int
pool_free_some(dsl_pool_t *dp, dmu_tx_t *tx)
{
    free_arg_t fa = {
        .fa_pool = dp, .fa_tx = tx, .fa_left = dp->dp_free_max, .fa_deadline = gethrtime() + FREE_NS};
    int err = free_list(dp->dp_sync_bpobj, &fa, tx);

    memset(&fa.fa_sums, 0, sizeof(fa.fa_sums));
    if (err == 0)
        err = free_list(dp->dp_free_bpobj, &fa, tx);
    if (err == 0)
        err = bptree_free_some(dp, free_block, &fa.fa_sums, &fa, tx);
    if (fa.fa_sums.bs_used != 0 || fa.fa_sums.bs_comp != 0 || fa.fa_sums.bs_uncomp != 0)
        dsl_dir_diduse_space(dp->dp_free_dir, DD_USED_HEAD, -fa.fa_sums.bs_used, -fa.fa_sums.bs_comp,
                             -fa.fa_sums.bs_uncomp, tx);
    return err;
}

bool
pool_free_pending(dsl_pool_t *dp)
{
    return !bpobj_is_empty(dp->dp_free_bpobj) || !bpobj_is_empty(dp->dp_sync_bpobj) || dp->dp_bptree_obj != 0;
}

/* ---- what is left over ---- */

#define LEAK_DIR_NAME "$LEAK"

/* Bytes of from that no one will ever find. Config lock held for writing. */
void
pool_leak(dsl_pool_t *dp, dsl_dir_t *from, dmu_tx_t *tx)
{
    int64_t used = (int64_t)from->dd_phys.dd_used_bytes;
    int64_t comp = (int64_t)from->dd_phys.dd_compressed_bytes;
    int64_t uncomp = (int64_t)from->dd_phys.dd_uncompressed_bytes;
    dsl_dir_t *leak;
    uint64_t object;
    int err;

    if (used == 0 && comp == 0 && uncomp == 0)
        return;
    cowbird_log(LOG_ERR,
                "%lld bytes of what was destroyed could not be found, as metadata is damaged: leaked",
                (long long)used);
    err = zap_lookup_u64(pool_mos(dp), dp->dp_root_dir->dd_phys.dd_child_dir_zapobj, LEAK_DIR_NAME, &object);
    if (err == ENOENT) {
        object = dsl_dir_create_sync(dp, dp->dp_root_dir, LEAK_DIR_NAME, tx);
        err = 0;
    }
    if (err == 0)
        err = dsl_dir_hold_obj(dp, object, __func__, &leak);
    if (err != 0) {
        spa_suspend(dp->dp_spa, err);
        return;
    }
    dsl_dir_diduse_space(from, DD_USED_HEAD, -used, -comp, -uncomp, tx);
    dsl_dir_diduse_space(leak, DD_USED_HEAD, used, comp, uncomp, tx);
    dsl_dir_rele(leak, __func__);
}

void
pool_free_finish(dsl_pool_t *dp, dmu_tx_t *tx)
{
    if (dp->dp_bptree_obj != 0 && bptree_is_empty(dp))
        bptree_destroy(dp, tx);
    if (dp->dp_bptree_obj == 0 && bpobj_is_empty(dp->dp_free_bpobj))
        pool_leak(dp, dp->dp_free_dir, tx);
}

static uint64_t
dir_used(dsl_dir_t *dd)
{
    mutex_enter(&dd->dd_lock);
    uint64_t used = dd->dd_phys.dd_used_bytes;
    mutex_exit(&dd->dd_lock);
    return used;
}

void
dsl_pool_freeing(dsl_pool_t *dp, uint64_t *freeing, uint64_t *leaked)
{
    dsl_dir_t *leak;
    uint64_t object;

    *freeing = dp->dp_free_dir != NULL ? dir_used(dp->dp_free_dir) : 0;
    *leaked = 0;
    rw_enter_read(&dp->dp_config_lock);
    if (zap_lookup_u64(pool_mos(dp), dp->dp_root_dir->dd_phys.dd_child_dir_zapobj, LEAK_DIR_NAME, &object) ==
            0 &&
        dsl_dir_hold_obj(dp, object, __func__, &leak) == 0) {
        *leaked = dir_used(leak);
        dsl_dir_rele(leak, __func__);
    }
    rw_exit(&dp->dp_config_lock);
}
