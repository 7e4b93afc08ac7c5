/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * account.c - what every written and every given-up block means for the accounts; and promises of space.
 *
 * This is the object layer's window to the dataset layer (struct objset_hooks). For a head H with the previous snapshot P:
 *
 *      block born             referenced += , unique += ,  directory HEAD +=
 *      block given up         referenced -= , and
 *         birth > P's txg         nobody else has it:  free it now;          unique -= , HEAD -=
 *         birth <= P's txg        P still has it:      onto H's deadlist;    if P alone has it now: P.unique += ;  HEAD -> SNAP
 *
 * "P alone": born after P's own previous snapshot, and P's next is H (P may be the origin of a clone H: then P's next dataset has it too).
 * A clone's blocks from before its origin never were in its directory's accounts: HEAD -> SNAP only when birth > dd_origin_txg.
 *
 * PROMISES. A transaction is told at assign whether its bytes fit (worst case), so that the sync never runs out of space.
 * A promise lasts until its txg has synced. When there is no room because of promises, deferred frees or blocks on free_bpobj, the
 * answer is EAGAIN: the caller waits a txg and asks again. ENOSPC and EDQUOT are final: syncing would not help.
 *
 * ZFS: dsl_dataset_block_born, dsl_dataset_block_kill (dsl_dataset.c), dsl_dir_tempreserve_space (dsl_dir.c)
 */
#include "dsl_impl.h"

/* What blocks take at most when all free space is in single units: the headers of gang blocks are counted once they are written,
 * so what is promised must leave room for them. A block of n units has up to 3n/4 headers (2 units 1, 6 units 4, 18 units 13). */
#define GANG_WORST(bytes) ((bytes) + (bytes) / 4 * 3)

typedef struct sizes {
    int64_t used, comp, uncomp;
} sizes_t;

static sizes_t
sizes_of(const blkptr_t *bp)
{
    return (sizes_t){(int64_t)bp_get_asize(bp), (int64_t)BP_GET_PSIZE(bp), (int64_t)bp_get_ucsize(bp)};
}

static void
count_referenced(dsl_dataset_t *ds, int sign, const sizes_t *s) /* ds_lock held */
{
    ds->ds_phys.ds_referenced_bytes += (uint64_t)(sign * s->used);
    ds->ds_phys.ds_compressed_bytes += (uint64_t)(sign * s->comp);
    ds->ds_phys.ds_uncompressed_bytes += (uint64_t)(sign * s->uncomp);
}

/* unique changes by delta: what that does to the directory, where an unfilled refreservation absorbs it. ds_lock held */
static int64_t
change_unique(dsl_dataset_t *ds, int64_t delta)
{
    int64_t before = (int64_t)MAX(ds->ds_phys.ds_unique_bytes, ds->ds_refreserv);

    ds->ds_phys.ds_unique_bytes += (uint64_t)delta;
    return (int64_t)MAX(ds->ds_phys.ds_unique_bytes, ds->ds_refreserv) - before;
}

/* ---- births ---- */

static uint32_t
features_of(const blkptr_t *bp)
{
    uint32_t bits = BP_GET_LSIZE(bp) > SPA_OLD_MAXBLOCKSIZE ? DS_FEATURE_LARGE_BLOCKS : 0;

    return bits | (BP_GET_COMPRESS(bp) == ZIO_COMPRESS_ZSTD ? DS_FEATURE_ZSTD : 0);
}

void
dsl_dataset_block_born(dsl_dataset_t *ds, const blkptr_t *bp, dmu_tx_t *tx)
{
    sizes_t s = sizes_of(bp);

    if (BP_IS_HOLE(bp))
        return;
    ASSERT3U(bp->blk_birth, >, ds->ds_phys.ds_prev_snap_txg);
    if ((features_of(bp) & ~ds->ds_features) != 0)
        dsl_dataset_want_feature(ds, features_of(bp) & ~ds->ds_features);
    dsl_dataset_will_dirty(ds, tx);
    mutex_enter(&ds->ds_lock);
    count_referenced(ds, 1, &s);
    int64_t delta = change_unique(ds, s.used);
    mutex_exit(&ds->ds_lock);
    dsl_dir_diduse_space(ds->ds_dir, DD_USED_HEAD, delta, s.comp, s.uncomp, tx);
    dsl_dir_transfer_space(ds->ds_dir, s.used - delta, DD_USED_REFRSRV, DD_USED_HEAD, tx);
}

/* ---- kills ---- */

static void
kill_own(dsl_dataset_t *ds, const blkptr_t *bp, const sizes_t *s, dmu_tx_t *tx)
{
    zio_free(ds->ds_pool->dp_spa, dmu_tx_txg(tx), bp);
    mutex_enter(&ds->ds_lock);
    int64_t delta = change_unique(ds, -s->used);
    mutex_exit(&ds->ds_lock);
    dsl_dir_diduse_space(ds->ds_dir, DD_USED_HEAD, delta, -s->comp, -s->uncomp, tx);
    dsl_dir_transfer_space(ds->ds_dir, -s->used - delta, DD_USED_REFRSRV, DD_USED_HEAD, tx);
}

static void
kill_shared(dsl_dataset_t *ds, const blkptr_t *bp, const sizes_t *s, dmu_tx_t *tx)
{
    dsl_dataset_t *prev = ds->ds_prev;
    dsl_deadlist_t *dl;
    int err = prev == NULL ? SET_ERROR(EIO) : dsl_dataset_open_deadlist(ds, &dl);

    if (err != 0) { /* this txg will not be committed */
        spa_suspend(ds->ds_pool->dp_spa, err);
        return;
    }
    dsl_deadlist_insert(dl, bp, tx);
    if (prev->ds_phys.ds_next_snap_obj == ds->ds_object && bp->blk_birth > prev->ds_phys.ds_prev_snap_txg) {
        dsl_dataset_will_dirty(prev, tx);
        mutex_enter(&prev->ds_lock);
        prev->ds_phys.ds_unique_bytes += (uint64_t)s->used;
        mutex_exit(&prev->ds_lock);
    }
    if (bp->blk_birth > ds->ds_dir->dd_origin_txg)
        dsl_dir_transfer_space(ds->ds_dir, s->used, DD_USED_HEAD, DD_USED_SNAP, tx);
}

void
dsl_dataset_block_kill(dsl_dataset_t *ds, const blkptr_t *bp, dmu_tx_t *tx)
{
    sizes_t s = sizes_of(bp);

    if (BP_IS_HOLE(bp))
        return;
    dsl_dataset_will_dirty(ds, tx);
    if (bp->blk_birth > ds->ds_phys.ds_prev_snap_txg)
        kill_own(ds, bp, &s, tx);
    else
        kill_shared(ds, bp, &s, tx);
    mutex_enter(&ds->ds_lock);
    count_referenced(ds, -1, &s);
    mutex_exit(&ds->ds_lock);
}

/* ---- promises ---- */

static uint64_t
pool_promised(const dsl_pool_t *dp) /* dp_lock held */
{
    int64_t sum = 0;

    for (int t = 0; t < TXG_SIZE; t++)
        sum += dp->dp_reserved_tx[t];
    return (uint64_t)sum;
}

/*
 * Deferred frees matter only when there are many: each txg frees some of the MOS's blocks, so they never end; for those few the slop is there.
 */
int
account_check(dsl_dir_t *dd, uint64_t bytes, uint64_t credit, bool netfree)
{
    dsl_pool_t *dp = dd->dd_pool;
    uint64_t avail = dsl_dir_available(dd, netfree) + credit, promised = pool_promised(dp);
    uint64_t deferred = spa_deferred_space(dp->dp_spa), few = pool_slop(dp) / 4;

    if (avail < bytes)
        return promised > 0 || dp->dp_want_txg ? EAGAIN : SET_ERROR(ENOSPC);
    deferred -= MIN(deferred, few);
    if (promised > 0 && avail + (netfree ? 0 : pool_slop(dp) / 2) < GANG_WORST(bytes + promised))
        return EAGAIN;
    return avail < bytes + promised + deferred ? EAGAIN : 0;
}

static int
refquota_check(dsl_dataset_t *ds, uint64_t bytes)
{
    int64_t promised = 0;
    int err = 0;

    mutex_enter(&ds->ds_lock);
    for (int t = 0; t < TXG_SIZE; t++)
        promised += ds->ds_reserved_tx[t];
    if (ds->ds_refquota == 0)
        err = 0;
    else if (ds->ds_phys.ds_referenced_bytes + bytes > ds->ds_refquota)
        err = SET_ERROR(EDQUOT);
    else if (ds->ds_phys.ds_referenced_bytes + bytes + (uint64_t)promised > ds->ds_refquota)
        err = EAGAIN;
    mutex_exit(&ds->ds_lock);
    return err;
}

static int
dataset_reserve(dsl_dataset_t *ds, uint64_t bytes, bool netfree, uint64_t txg)
{
    dsl_pool_t *dp = ds->ds_pool;
    uint64_t credit = quota_unfilled(ds);
    int err = netfree ? 0 : refquota_check(ds, bytes);

    if (err != 0)
        return err;
    mutex_enter(&dp->dp_lock);
    err = dsl_dir_reserve(ds->ds_dir, bytes, credit, netfree, txg); /* first: EDQUOT says more than ENOSPC */
    if (err == 0 && (err = account_check(ds->ds_dir, bytes, credit, netfree)) != 0)
        dsl_dir_unreserve(ds->ds_dir, bytes, txg);
    if (err == 0)
        dp->dp_reserved_tx[txg & TXG_MASK] += (int64_t)bytes;
    mutex_exit(&dp->dp_lock);
    if (err == 0) {
        mutex_enter(&ds->ds_lock);
        ds->ds_reserved_tx[txg & TXG_MASK] += (int64_t)bytes;
        mutex_exit(&ds->ds_lock);
    }
    return err;
}

/* A part of a promise is not needed, or was turned into blocks. */
static void
dataset_unreserve(dsl_dataset_t *ds, uint64_t bytes, uint64_t txg)
{
    dsl_pool_t *dp = ds->ds_pool;

    mutex_enter(&dp->dp_lock);
    dp->dp_reserved_tx[txg & TXG_MASK] -= (int64_t)bytes;
    dsl_dir_unreserve(ds->ds_dir, bytes, txg);
    mutex_exit(&dp->dp_lock);
    mutex_enter(&ds->ds_lock);
    ds->ds_reserved_tx[txg & TXG_MASK] -= (int64_t)bytes;
    mutex_exit(&ds->ds_lock);
}

void
account_txg_done(dsl_pool_t *dp, uint64_t txg)
{
    int t = txg & TXG_MASK;

    mutex_enter(&dp->dp_lock);
    dp->dp_reserved_tx[t] = 0;
    for (dsl_dir_t *dd = list_head(&dp->dp_dirs); dd != NULL; dd = list_next(&dp->dp_dirs, dd)) {
        mutex_enter(&dd->dd_lock);
        dd->dd_reserved_tx[t] = 0;
        mutex_exit(&dd->dd_lock);
    }
    for (dsl_dataset_t *ds = list_head(&dp->dp_datasets); ds != NULL; ds = list_next(&dp->dp_datasets, ds)) {
        mutex_enter(&ds->ds_lock);
        ds->ds_reserved_tx[t] = 0;
        mutex_exit(&ds->ds_lock);
    }
    mutex_exit(&dp->dp_lock);
}

/* ---- the hooks ---- */

static void
hook_born(void *arg, const blkptr_t *bp, dmu_tx_t *tx)
{
    dsl_dataset_block_born(arg, bp, tx);
}

static void
hook_killed(void *arg, const blkptr_t *bp, dmu_tx_t *tx)
{
    dsl_dataset_block_kill(arg, bp, tx);
}

static int
hook_reserve(void *arg, int64_t bytes, bool netfree, uint64_t txg)
{
    if (bytes > 0)
        return dataset_reserve(arg, (uint64_t)bytes, netfree, txg);
    dataset_unreserve(arg, (uint64_t)-bytes, txg);
    return 0;
}

void
dsl_dataset_dirtied(dsl_dataset_t *ds, uint64_t txg)
{
    dsl_pool_t *dp = ds->ds_pool;
    list_node_t *link = &ds->ds_dirty_link[txg & TXG_MASK];

    mutex_enter(&dp->dp_lock);
    if (!list_link_active(link)) {
        ds->ds_refs++;
        list_insert_tail(&dp->dp_dirty_datasets[txg & TXG_MASK], ds);
    }
    mutex_exit(&dp->dp_lock);
}

static void
hook_dirtied(void *arg, uint64_t txg)
{
    dsl_dataset_dirtied(arg, txg);
}

void
dsl_dataset_hooks(dsl_dataset_t *ds, struct objset_hooks *h)
{
    *h = (struct objset_hooks){hook_born, hook_killed, hook_reserve, hook_dirtied, ds};
}
