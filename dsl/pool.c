/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool.c - a pool's life: made, opened, closed, exported.
 *
 *     open:   labels ──► uberblock ──► MOS ──► object directory ──► versions and features: may we read it, may we write it?
 *                                       │                                 │ yes
 *                                       │      txg threads start, the MOS is opened again for writing
 *                                       ├─► space maps ──► metaslabs (all of them, replayed)
 *                                       └─► root directory, $MOS, $FREE, $ORIGIN; free_bpobj, sync_bplist
 *
 *     close:  wait until all is synced (and, for a while, until nothing is left to be freed); stop the threads; let go of everything in the reverse order
 *
 * INVARIANTS
 *  1. Nothing is written before the checks of feature.c have passed for writing.
 *  2. A pool that is open for writing has replayed every space map, and their sums are the sum of what is allocated.
 *  3. A new pool comes into being by its first txg (pool_create.c): before that commit there is no pool on the disk.
 *
 * Typical sequence:  dsl_pool_open(&disk, 0, &dp); ... dsl_pool_close(dp);
 *
 * ZFS: module/zfs/spa.c (spa_load), dsl_pool.c
 */
#include <unistd.h>
#include "dsl_impl.h"

#define POOL_DIRTY_MAX (256ULL << 20)
#define POOL_TXG_MS    5000
#define FREES_PER_TXG  100000 /* about a second of work */
#define DESTROY_NOW    1024   /* blocks */
#define CLOSE_TXGS     8      /* so many does closing wait for frees; the rest goes on at the next open */

/* ---- small things others ask ---- */

objset_t *
pool_mos(dsl_pool_t *dp)
{
    return dp->dp_mos;
}

spa_t *
dsl_pool_spa(dsl_pool_t *dp)
{
    return dp->dp_spa;
}

objset_t *
dsl_pool_mos(dsl_pool_t *dp)
{
    return dp->dp_mos;
}

txg_state_t *
dsl_pool_txg(dsl_pool_t *dp)
{
    return dp->dp_txg;
}

const char *
dsl_pool_name(dsl_pool_t *dp)
{
    return spa_name(dp->dp_spa);
}

bool
dsl_pool_readonly(dsl_pool_t *dp)
{
    return dp->dp_txg == NULL;
}

bool
dsl_pool_is_compat(dsl_pool_t *dp)
{
    return !spa_has_feature(dp->dp_spa, FEATURE_XXH3_128);
}

void
pool_mos_props(dsl_pool_t *dp, objset_props_t *op)
{
    *op = (objset_props_t){.op_compress = dp->dp_lz4 ? ZIO_COMPRESS_LZ4 : ZIO_COMPRESS_LZJB,
                           .op_copies = 3,
                           .op_embed = dp->dp_embed,
                           .op_lz4 = dp->dp_lz4,
                           .op_recordsize = SPA_OLD_MAXBLOCKSIZE};
}

/* ---- space ---- */

uint64_t
pool_slop(dsl_pool_t *dp)
{
    uint64_t total = spa_total_space(dp->dp_spa);

    return MIN(MAX(total / 32, 128ULL << 20), total / 8);
}

uint64_t
pool_capacity(dsl_pool_t *dp, bool reserve)
{
    return spa_total_space(dp->dp_spa) - (reserve ? pool_slop(dp) / 2 : pool_slop(dp));
}

void
dsl_pool_space(dsl_pool_t *dp, uint64_t *avail, uint64_t *used)
{
    *avail = dsl_dir_available(dp->dp_root_dir, false);
    mutex_enter(&dp->dp_root_dir->dd_lock);
    *used = dp->dp_root_dir->dd_phys.dd_used_bytes;
    mutex_exit(&dp->dp_root_dir->dd_lock);
}

/* ---- the struct ---- */

/* The syncing thread goes first: many readers, one after the other, would keep it waiting for ever. So nobody may take the lock for
 * reading twice. */
static void
config_lock_init(krwlock_t *rw)
{
    pthread_rwlockattr_t attr;

    VERIFY0(pthread_rwlockattr_init(&attr));
    VERIFY0(pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP));
    VERIFY0(pthread_rwlock_init(rw, &attr));
    VERIFY0(pthread_rwlockattr_destroy(&attr));
}

static dsl_pool_t *
pool_alloc(spa_t *spa)
{
    dsl_pool_t *dp = xzalloc(sizeof(*dp));

    dp->dp_spa = spa;
    dp->dp_free_max = FREES_PER_TXG;
    dp->dp_destroy_now = DESTROY_NOW;
    config_lock_init(&dp->dp_config_lock);
    mutex_init(&dp->dp_lock);
    list_create(&dp->dp_dirs, offsetof(dsl_dir_t, dd_link));
    list_create(&dp->dp_datasets, offsetof(dsl_dataset_t, ds_link));
    list_create(&dp->dp_dirty_dirs, offsetof(dsl_dir_t, dd_dirty_link));
    list_create(&dp->dp_dirty_phys, offsetof(dsl_dataset_t, ds_phys_link));
    for (int t = 0; t < TXG_SIZE; t++) {
        list_create(&dp->dp_dirty_datasets[t],
                    offsetof(dsl_dataset_t, ds_dirty_link) + (size_t)t * sizeof(list_node_t));
        list_create(&dp->dp_sync_tasks[t], 0); /* dt_link comes first */
    }
    dp->dp_space_maps = xzalloc(MAX(metaslab_count(spa), 1) * sizeof(space_map_t *));
    return dp;
}

/* A suspended pool may leave what never was synced: forget it. */
static void
pool_drop_dirty(dsl_pool_t *dp)
{
    dsl_dataset_t *ds;
    dsl_dir_t *dd;
    void *task;

    for (int t = 0; t < TXG_SIZE; t++) {
        while ((ds = list_remove_head(&dp->dp_dirty_datasets[t])) != NULL)
            dsl_dataset_rele(ds, NULL);
        while ((task = list_remove_head(&dp->dp_sync_tasks[t])) != NULL)
            free(task);
    }
    while ((ds = list_remove_head(&dp->dp_dirty_phys)) != NULL)
        dsl_dataset_rele(ds, NULL);
    while ((dd = list_remove_head(&dp->dp_dirty_dirs)) != NULL)
        dsl_dir_rele(dd, NULL);
}

static void
pool_report_held(dsl_pool_t *dp)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];

    for (dsl_dataset_t *ds = list_head(&dp->dp_datasets); ds != NULL; ds = list_next(&dp->dp_datasets, ds)) {
        dsl_dataset_name(ds, name);
        cowbird_log(LOG_ERR, "dataset %s is still held at the closing of the pool", name);
    }
}

static void
pool_release_dirs(dsl_pool_t *dp)
{
    dsl_dir_t **held[] = {&dp->dp_free_dir, &dp->dp_mos_dir, &dp->dp_root_dir};

    for (size_t i = 0; i < ARRAY_SIZE(held); i++) {
        if (*held[i] != NULL)
            dsl_dir_rele(*held[i], dp);
        *held[i] = NULL;
    }
}

/* opened: the disk is the pool's, and is closed with it; else it stays the caller's. */
static void
pool_free(dsl_pool_t *dp, bool opened)
{
    if (dp->dp_txg != NULL)
        txg_stop(dp->dp_txg, false);
    pool_drop_dirty(dp);
    pool_release_dirs(dp);
    if (dp->dp_free_bpobj != NULL)
        bpobj_close(dp->dp_free_bpobj);
    if (dp->dp_sync_bpobj != NULL)
        bpobj_close(dp->dp_sync_bpobj);
    pool_close_space_maps(dp);
    pool_report_held(dp);
    if (dp->dp_mos != NULL)
        objset_close(dp->dp_mos);
    if (opened)
        spa_close(dp->dp_spa);
    else
        spa_release(dp->dp_spa);
    free(dp->dp_space_maps);
    rw_destroy(&dp->dp_config_lock);
    mutex_destroy(&dp->dp_lock);
    free(dp);
}

/* ---- opening ---- */

static uint64_t
mos_key(dsl_pool_t *dp, const char *key)
{
    uint64_t v = 0;

    return zap_lookup_u64(dp->dp_mos, DMU_POOL_DIRECTORY_OBJECT, key, &v) == 0 ? v : 0;
}

static void
pool_read_keys(dsl_pool_t *dp)
{
    uint64_t count = 0;

    dp->dp_config_obj = mos_key(dp, DMU_POOL_CONFIG);
    dp->dp_features_obj[0] = mos_key(dp, DMU_POOL_FEATURES_FOR_READ);
    dp->dp_features_obj[1] = mos_key(dp, DMU_POOL_FEATURES_FOR_WRITE);
    dp->dp_feature_desc_obj = mos_key(dp, DMU_POOL_FEATURE_DESCRIPTIONS);
    dp->dp_lz4 = feature_get(dp, FEATURE_LZ4_COMPRESS, &count) == 0 && count > 0;
    count = 0;
    dp->dp_embed = feature_get(dp, FEATURE_EMBEDDED_DATA, &count) == 0 && count > 0;
}

static int
pool_open_mos(dsl_pool_t *dp)
{
    objset_props_t props;

    pool_mos_props(dp, &props);
    return objset_open(dp->dp_spa, dp->dp_txg, &spa_uberblock(dp->dp_spa)->ub_rootbp, 0,
                       dp->dp_txg != NULL ? pool_mos_hooks(dp) : NULL, &props, &dp->dp_mos);
}

static int
hold_special(dsl_pool_t *dp, const char *name, dsl_dir_t **ddp)
{
    uint64_t object;
    int err = zap_lookup_u64(dp->dp_mos, dp->dp_root_dir->dd_phys.dd_child_dir_zapobj, name, &object);

    return err != 0 ? err : dsl_dir_hold_obj(dp, object, dp, ddp);
}

static int
find_origin(dsl_pool_t *dp)
{
    dsl_dataset_phys_t head;
    dsl_dir_t *dd;
    int err = hold_special(dp, ORIGIN_DIR_NAME, &dd);

    if (err != 0)
        return err;
    err = mos_read_bonus(dp, dd->dd_phys.dd_head_dataset_obj, DMU_OT_DSL_DATASET, &head, sizeof(head));
    if (err == 0)
        dp->dp_origin_snap_obj = head.ds_prev_snap_obj;
    dsl_dir_rele(dd, dp);
    return err;
}

/* Old pools lack the special directories; they are only read. */
int
pool_open_dirs(dsl_pool_t *dp)
{
    bool must = dp->dp_txg != NULL;
    int err = dsl_dir_hold_obj(dp, mos_key(dp, DMU_POOL_ROOT_DATASET), dp, &dp->dp_root_dir);

    if (err != 0)
        return err == ENOENT ? SET_ERROR(EIO) : err;
    if ((err = hold_special(dp, MOS_DIR_NAME, &dp->dp_mos_dir)) != 0 && must)
        return err;
    if ((err = hold_special(dp, FREE_DIR_NAME, &dp->dp_free_dir)) != 0 && must)
        return err;
    if ((err = find_origin(dp)) != 0 && must)
        return err;
    return 0;
}

static int
open_list(dsl_pool_t *dp, const char *key, bpobj_t **bpop)
{
    uint64_t object = mos_key(dp, key);

    if (object == 0)
        return dp->dp_txg != NULL ? SET_ERROR(EIO) : 0; /* an old pool, which is only read */
    return bpobj_open(dp->dp_mos, object, bpop);
}

static int
pool_open_lists(dsl_pool_t *dp)
{
    int err = open_list(dp, DMU_POOL_FREE_BPOBJ, &dp->dp_free_bpobj);

    if (err == 0)
        err = open_list(dp, DMU_POOL_SYNC_BPOBJ, &dp->dp_sync_bpobj);
    if (err == 0 && (err = bptree_open(dp)) != 0 && dp->dp_txg == NULL)
        dp->dp_bptree_obj = err = 0; /* what is to be freed is of no interest to a reader */
    if (err == 0 && (err = empty_bpobj_open(dp)) != 0 && dp->dp_txg == NULL)
        err = 0; /* nor is who else names an empty list */
    if (err == 0 && dp->dp_txg != NULL)
        dp->dp_want_txg = pool_free_pending(dp);
    return err;
}

static void
pool_start_txgs(dsl_pool_t *dp, uint64_t last)
{
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t dirty_max =
        MIN(MIN(memory / 8, POOL_DIRTY_MAX), MAX(spa_total_space(dp->dp_spa) / 4, 16ULL << 20));

    dp->dp_txg = txg_start(dp->dp_spa, last, pool_sync, pool_pending, dp, dirty_max, POOL_TXG_MS);
}

/* May we, first for reading, then for writing? Nothing has been written, and the MOS is open read-only. */
static int
pool_check_open(dsl_pool_t *dp, bool writing)
{
    int err = pool_open_mos(dp);

    if (err != 0)
        return err;
    pool_read_keys(dp);
    if ((err = feature_check_open(dp, false)) == 0 && writing)
        err = feature_check_open(dp, true);
    if (err == 0 && writing) {
        objset_close(dp->dp_mos);
        dp->dp_mos = NULL;
    }
    return err;
}

static int
pool_load(dsl_pool_t *dp, bool writing)
{
    int err = pool_check_open(dp, writing);

    if (err != 0)
        return err;
    if (writing) {
        pool_start_txgs(dp, spa_uberblock(dp->dp_spa)->ub_txg);
        if ((err = pool_open_mos(dp)) != 0)
            return err;
    }
    if ((err = pool_load_space_maps(dp)) != 0 && writing)
        return err;
    if ((err = pool_open_dirs(dp)) == 0)
        err = pool_open_lists(dp);
    return err;
}

int
dsl_pool_open(const disk_t *disk, int flags, dsl_pool_t **dpp)
{
    bool writing = (flags & DSL_POOL_RDONLY) == 0;
    uint64_t state;
    spa_t *spa;
    int err = spa_open(disk, writing ? 0 : SPA_OPEN_RDONLY, &spa);

    if (err != 0)
        return err;
    dsl_pool_t *dp = pool_alloc(spa);
    if ((err = pool_load(dp, writing)) != 0) {
        pool_free(dp, false);
        return err;
    }
    if (writing && nvlist_lookup_uint64(spa_label(spa), "state", &state) == 0 && state != POOL_STATE_ACTIVE)
        spa_set_state(spa, POOL_STATE_ACTIVE);
    if (dp->dp_want_txg)
        txg_kick(dp->dp_txg);
    if (writing && (err = dsl_recv_cleanup(dp)) != 0) {
        (void)dsl_pool_close(dp);
        return err;
    }
    if (writing)
        (void)dsl_diff_cleanup(dp); /* if it cannot be, then not: nothing depends on it */
    *dpp = dp;
    return 0;
}

int
dsl_pool_create(const disk_t *disk, const dsl_pool_create_args_t *args, dsl_pool_t **dpp)
{
    spa_create_args_t sca = {.sca_name = args->pca_name,
                             .sca_path = args->pca_path,
                             .sca_ashift = args->pca_ashift != 0 ? args->pca_ashift : 12,
                             .sca_version = SPA_VERSION,
                             .sca_checksum =
                                 args->pca_compat ? ZIO_CHECKSUM_FLETCHER_4 : ZIO_CHECKSUM_XXH3_128};
    spa_t *spa;
    int err;

    if (strpbrk(args->pca_name, "/@") != NULL || dsl_name_check(args->pca_name, NULL) != 0)
        return SET_ERROR(EINVAL);
    if ((err = spa_create(disk, &sca, &spa)) != 0)
        return err;
    dsl_pool_t *dp = pool_alloc(spa);
    dp->dp_lz4 = dp->dp_embed = true;
    dp->dp_create = args;
    dsl_task_enqueue(dp, pool_create_sync, dp, TXG_INITIAL);
    pool_start_txgs(dp, TXG_INITIAL - 1);
    err = txg_wait_synced(dp->dp_txg, TXG_INITIAL);
    dp->dp_create = NULL;
    if (err != 0) {
        pool_free(dp, false);
        return err;
    }
    *dpp = dp;
    return 0;
}

/* ---- closing ---- */

static bool
pool_wants_txg(dsl_pool_t *dp)
{
    mutex_enter(&dp->dp_lock);
    bool want = dp->dp_want_txg;
    mutex_exit(&dp->dp_lock);
    return want;
}

/* Everything on disk, and as a rule nothing left to be freed. */
static int
pool_settle(dsl_pool_t *dp)
{
    int err = txg_wait_synced(dp->dp_txg, 0);

    for (int i = 0; i < CLOSE_TXGS && err == 0 && pool_wants_txg(dp); i++)
        err = txg_wait_synced(dp->dp_txg, txg_open_txg(dp->dp_txg));
    return err;
}

int
dsl_pool_close(dsl_pool_t *dp)
{
    int err = dp->dp_txg != NULL ? pool_settle(dp) : 0;

    pool_free(dp, true);
    return err;
}

static bool
pool_is_owned(dsl_pool_t *dp)
{
    bool owned = false;

    mutex_enter(&dp->dp_lock);
    for (dsl_dataset_t *ds = list_head(&dp->dp_datasets); ds != NULL; ds = list_next(&dp->dp_datasets, ds))
        owned |= ds->ds_owner != NULL || ds->ds_long_holds > 0;
    mutex_exit(&dp->dp_lock);
    return owned;
}

/* Everything to disk, the last txg with the pool's new state in its labels; closed unless somebody owns a dataset. */
static int
pool_leave(dsl_pool_t *dp, uint64_t state)
{
    int err;

    if (dp->dp_txg == NULL)
        return SET_ERROR(EROFS);
    if (pool_is_owned(dp))
        return SET_ERROR(EBUSY);
    if ((err = pool_settle(dp)) == 0) {
        spa_set_state(dp->dp_spa, state);
        err = txg_wait_synced(dp->dp_txg, txg_open_txg(dp->dp_txg));
    }
    pool_free(dp, true);
    return err;
}

int
dsl_pool_export(dsl_pool_t *dp)
{
    return pool_leave(dp, POOL_STATE_EXPORTED);
}

int
dsl_pool_destroy(dsl_pool_t *dp)
{
    return pool_leave(dp, POOL_STATE_DESTROYED);
}

/* ---- renaming ---- */

typedef struct rename_arg {
    dsl_pool_t *ra_pool;
    const char *ra_name;
} rename_arg_t;

static void
rename_sync(void *arg, dmu_tx_t *tx)
{
    rename_arg_t *ra = arg;
    dsl_pool_t *dp = ra->ra_pool;

    spa_set_name(dp->dp_spa, ra->ra_name);
    mutex_enter(&dp->dp_lock);
    snprintf(dp->dp_root_dir->dd_name, ZFS_MAX_DATASET_NAME_LEN, "%s", ra->ra_name);
    mutex_exit(&dp->dp_lock);
    dp->dp_config_changed = true;
}

int
dsl_pool_rename(dsl_pool_t *dp, const char *newname)
{
    rename_arg_t ra = {dp, newname};
    int err = strpbrk(newname, "/@") != NULL ? SET_ERROR(EINVAL) : dsl_name_check(newname, NULL);

    return err != 0 ? err : dsl_sync_task(dp, NULL, rename_sync, &ra, 4, DSL_SPACE_RESERVED);
}
