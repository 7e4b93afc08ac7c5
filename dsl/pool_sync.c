/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool_sync.c - one txg becomes the pool's state.
 *
 *     frees, a piece (free.c) ─► dirty datasets ─► [ config lock: wanted features, sync tasks, what they dirtied, phys structs ]
 *                                                      │
 *                       ┌──────────────────────────────┘
 *                       ▼      pass 1, 2, 3 ...
 *           $MOS accounted ─► space maps appended ─► MOS clean? ── yes ─► spa_commit ─► metaslab_sync_done
 *                       ▲                              │ no
 *                       └───────── objset_sync(MOS) ◄──┘
 *
 * WHY IT ENDS. Writing the MOS allocates and frees blocks; those go into the space maps and the accounts, which are in the MOS: a
 * snake that bites its tail. But a block born in this txg is rewritten in place, so a pass allocates only for blocks that it
 * touches for the first time in the txg, or that outgrew their place. The first kind runs out: the set of blocks touched (tails of the
 * space maps, the dnodes of space maps and of two directories, what is above) stops growing. For the second kind nothing
 * is compressed from pass 5 on, so that sizes stay. A txg takes 3 to 6 passes; beyond PASS_MAX something is wrong, and the pool stops
 * rather than loops.
 *
 * INVARIANTS
 *  1. At the commit the space maps say what is allocated by the state being committed, their own blocks included.
 *  2. At the commit $MOS's head accounting is the MOS's blocks, $FREE's what free_bpobj and bptree list.
 *  3. An error before the commit leaves the previous state on disk, and nothing is synced ever after.
 *
 * ZFS: spa_sync (spa.c), dsl_pool_sync (dsl_pool.c). There frees of later passes are put off to the next txg (sync_bplist).
 */
#include "dsl_impl.h"

#define PASS_MAX 30

/* ---- the MOS's own accounts ---- */

static void
mos_count(dsl_pool_t *dp, const blkptr_t *bp, int sign)
{
    dp->dp_mos_delta[0] += sign * (int64_t)bp_get_asize(bp);
    dp->dp_mos_delta[1] += sign * (int64_t)BP_GET_PSIZE(bp);
    dp->dp_mos_delta[2] += sign * (int64_t)bp_get_ucsize(bp);
}

static void
mos_born(void *arg, const blkptr_t *bp, dmu_tx_t *tx)
{
    if (!BP_IS_HOLE(bp))
        mos_count(arg, bp, 1);
}

static void
mos_killed(void *arg, const blkptr_t *bp, dmu_tx_t *tx)
{
    dsl_pool_t *dp = arg;

    if (BP_IS_HOLE(bp))
        return;
    mos_count(dp, bp, -1);
    zio_free(dp->dp_spa, dmu_tx_txg(tx), bp);
}

static int
mos_reserve(void *arg, int64_t bytes, bool netfree, uint64_t txg)
{
    return 0; /* sync tasks check by themselves */
}

static void
mos_dirtied(void *arg, uint64_t txg)
{
    /* pool_sync looks at it in every txg */
}

const struct objset_hooks *
pool_mos_hooks(dsl_pool_t *dp)
{
    static __thread struct objset_hooks hooks;

    hooks = (struct objset_hooks){mos_born, mos_killed, mos_reserve, mos_dirtied, dp};
    return &hooks;
}

/* ---- datasets ---- */

static int
sync_dataset(dsl_dataset_t *ds, int pass, dmu_tx_t *tx)
{
    blkptr_t bp = ds->ds_phys.ds_bp;

    if (ds->ds_dead || ds->ds_objset == NULL || !objset_is_dirty(ds->ds_objset, dmu_tx_txg(tx)))
        return 0;
    int err = objset_sync(ds->ds_objset, pass, tx, &bp);
    if (err != 0)
        return err;
    dsl_dataset_will_dirty(ds, tx);
    mutex_enter(&ds->ds_lock);
    ds->ds_phys.ds_bp = bp;
    mutex_exit(&ds->ds_lock);
    return 0;
}

/* The list of the syncing txg grows only by this thread. */
static int
sync_datasets(dsl_pool_t *dp, int pass, dmu_tx_t *tx)
{
    list_t *dirty = &dp->dp_dirty_datasets[dmu_tx_txg(tx) & TXG_MASK];
    int err = 0;

    for (dsl_dataset_t *ds = list_head(dirty); ds != NULL && err == 0; ds = list_next(dirty, ds))
        err = sync_dataset(ds, pass, tx);
    return err;
}

static void
sync_features(dsl_pool_t *dp, dmu_tx_t *tx)
{
    list_t *dirty = &dp->dp_dirty_datasets[dmu_tx_txg(tx) & TXG_MASK];

    for (dsl_dataset_t *ds = list_head(dirty); ds != NULL; ds = list_next(dirty, ds)) {
        uint32_t bits = __atomic_exchange_n(&ds->ds_features_wanted, 0, __ATOMIC_ACQ_REL) & ~ds->ds_features;
        if (bits == 0 || ds->ds_dead)
            continue;
        feature_ds_set(dp, ds->ds_object, bits, tx);
        ds->ds_features |= bits;
    }
}

static void
sync_phys(dsl_pool_t *dp, dmu_tx_t *tx)
{
    dsl_dataset_t *ds;
    dsl_dir_t *dd;

    while ((ds = list_remove_head(&dp->dp_dirty_phys)) != NULL) {
        dsl_dataset_sync_phys(ds, tx);
        dsl_dataset_rele(ds, NULL);
    }
    while ((dd = list_remove_head(&dp->dp_dirty_dirs)) != NULL) {
        dsl_dir_sync(dd, tx);
        dsl_dir_rele(dd, NULL);
    }
}

static void
sync_config_object(dsl_pool_t *dp, dmu_tx_t *tx)
{
    nvlist_t *config;
    uint8_t *buf;
    size_t len;
    dmu_buf_t *db;

    if (!dp->dp_config_changed)
        return;
    dp->dp_config_changed = false;
    config = spa_mos_config(dp->dp_spa, dmu_tx_txg(tx));
    nvlist_pack(config, NV_ENCODE_XDR, &buf, &len);
    if (mos_must(dp, dmu_write(dp->dp_mos, dp->dp_config_obj, 0, len, buf, tx)) &&
        mos_bonus_for_sync(dp, dp->dp_config_obj, &db)) {
        dmu_buf_will_dirty(db, tx);
        if (mos_must(dp, db->db_size < sizeof(uint64_t) ? SET_ERROR(EIO) : 0))
            *(uint64_t *)db->db_data = len;
        dmu_buf_rele(db);
    }
    free(buf);
    nvlist_free(config);
}

/* ---- the txg ---- */

static int
sync_tasks(dsl_pool_t *dp, dmu_tx_t *tx)
{
    uint64_t txg = dmu_tx_txg(tx);
    dsl_task_t *task;
    int err;

    rw_enter_write(&dp->dp_config_lock);
    sync_features(dp, tx);
    if (dp->dp_free_bpobj != NULL)
        pool_free_finish(dp, tx);
    while ((task = dsl_task_next(dp, txg)) != NULL)
        dsl_task_run(dp, task, txg);
    if ((err = sync_datasets(dp, 2, tx)) == 0) {
        sync_features(dp, tx);
        sync_config_object(dp, tx);
        sync_phys(dp, tx);
    }
    rw_exit(&dp->dp_config_lock);
    return err;
}

static void
sync_mos_account(dsl_pool_t *dp, dmu_tx_t *tx)
{
    int64_t *d = dp->dp_mos_delta;

    if (d[0] != 0 || d[1] != 0 || d[2] != 0)
        dsl_dir_diduse_space(dp->dp_mos_dir, DD_USED_HEAD, d[0], d[1], d[2], tx);
    memset(d, 0, sizeof(dp->dp_mos_delta));
    rw_enter_write(&dp->dp_config_lock);
    sync_phys(dp, tx);
    rw_exit(&dp->dp_config_lock);
}

static int
sync_mos(dsl_pool_t *dp, blkptr_t *rootbp, dmu_tx_t *tx)
{
    int err = 0, pass;

    *rootbp = *objset_rootbp(dp->dp_mos);
    for (pass = 1; pass <= PASS_MAX && err == 0; pass++) {
        sync_mos_account(dp, tx);
        pool_sync_space_maps(dp, pass, tx);
        if (!objset_is_dirty(dp->dp_mos, dmu_tx_txg(tx)))
            break;
        err = objset_sync(dp->dp_mos, pass, tx, rootbp);
    }
    dp->dp_max_pass = MAX(dp->dp_max_pass, pass);
    if (pass > PASS_MAX) {
        cowbird_log(LOG_ERR,
                    "txg %llu does not converge in %d passes; the pool is suspended, its last state is safe",
                    (unsigned long long)dmu_tx_txg(tx), PASS_MAX);
        err = SET_ERROR(EIO);
        spa_suspend(dp->dp_spa, err);
    }
    return err;
}

/* Who was dirty in this txg no longer is. */
static void
release_datasets(dsl_pool_t *dp, uint64_t txg)
{
    dsl_dataset_t *ds;

    do {
        mutex_enter(&dp->dp_lock);
        ds = list_remove_head(&dp->dp_dirty_datasets[txg & TXG_MASK]);
        mutex_exit(&dp->dp_lock);
        if (ds != NULL)
            dsl_dataset_rele(ds, NULL);
    } while (ds != NULL);
}

static void
sync_finish(dsl_pool_t *dp, uint64_t txg)
{
    bool want = pool_free_pending(dp);

    metaslab_sync_done(dp->dp_spa, txg);
    account_txg_done(dp, txg);
    release_datasets(dp, txg);
    mutex_enter(&dp->dp_lock);
    dp->dp_want_txg = want;
    mutex_exit(&dp->dp_lock);
    if (want)
        txg_kick(dp->dp_txg);
}

static int
sync_txg(dsl_pool_t *dp, dmu_tx_t *tx)
{
    blkptr_t rootbp;
    int err = dp->dp_free_bpobj != NULL ? pool_free_some(dp, tx) : 0; /* the first txg makes the lists */

    if (err != 0 || (err = sync_datasets(dp, 1, tx)) != 0 || (err = sync_tasks(dp, tx)) != 0 ||
        (err = sync_mos(dp, &rootbp, tx)) != 0)
        return err;
    return spa_commit(dp->dp_spa, dmu_tx_txg(tx), &rootbp);
}

int
pool_sync(void *arg, uint64_t txg)
{
    dsl_pool_t *dp = arg;
    dmu_tx_t *tx = dmu_tx_create_syncing(dp->dp_txg, txg);
    int err = sync_txg(dp, tx);

    dmu_tx_commit(tx);
    if (err == 0)
        sync_finish(dp, txg);
    else
        spa_suspend(dp->dp_spa, err);
    return err;
}

bool
pool_pending(void *arg, uint64_t txg)
{
    dsl_pool_t *dp = arg;

    mutex_enter(&dp->dp_lock);
    bool pending = dp->dp_want_txg || !list_is_empty(&dp->dp_sync_tasks[txg & TXG_MASK]);
    mutex_exit(&dp->dp_lock);
    return pending;
}
