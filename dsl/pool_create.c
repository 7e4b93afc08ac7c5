/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool_create.c - the first txg of a pool: a sync task that finds no MOS and makes one.
 *
 *      1  object directory ─┬─ root_dataset ──► root directory ──┬─ $MOS      accounts of the MOS itself
 *                           ├─ config                            ├─ $FREE     accounts of free_bpobj
 *                           ├─ sync_bplist, free_bpobj           ├─ $ORIGIN   an empty head and its snapshot: where all others begin
 *                           ├─ features_for_read, _for_write     └─ (head)    the root file system
 *                           └─ deflate, creation_version
 *
 * Why an $ORIGIN: with it every head is a clone of something, with a previous snapshot and an origin, and no rule needs an
 * exception for "the first". Datasets made in this txg say creation txg 1, so that the blocks written in it are later than their origin.
 *
 * ZFS: dsl_pool_create, dsl_pool_create_origin (dsl_pool.c), spa_create (spa.c)
 */
#include "dsl_impl.h"

static void
set_key(dsl_pool_t *dp, const char *key, uint64_t value, dmu_tx_t *tx)
{
    VERIFY0(zap_add_u64(dp->dp_mos, DMU_POOL_DIRECTORY_OBJECT, key, value, tx));
}

static void
create_config(dsl_pool_t *dp, dmu_tx_t *tx)
{
    VERIFY0(dmu_object_alloc(dp->dp_mos, DMU_OT_PACKED_NVLIST, 16 << 10, DMU_OT_PACKED_NVLIST_SIZE,
                             sizeof(uint64_t), 0, tx, &dp->dp_config_obj));
    set_key(dp, DMU_POOL_CONFIG, dp->dp_config_obj, tx);
    dp->dp_config_changed = true;
    VERIFY0(
        dmu_object_alloc(dp->dp_mos, DMU_OT_OBJECT_ARRAY, 0, DMU_OT_NONE, 0, 0, tx, &dp->dp_metaslab_array));
    spa_set_metaslab_array(dp->dp_spa, dp->dp_metaslab_array);
}

static bpobj_t *
create_bpobj(dsl_pool_t *dp, const char *key, dmu_tx_t *tx)
{
    uint64_t object = bpobj_alloc(dp->dp_mos, tx);
    bpobj_t *bpo;

    set_key(dp, key, object, tx);
    VERIFY0(bpobj_open(dp->dp_mos, object, &bpo));
    return bpo;
}

static dsl_dir_t *
create_dir(dsl_pool_t *dp, dsl_dir_t *parent, const char *name, dmu_tx_t *tx)
{
    dsl_dir_t *dd;

    VERIFY0(dsl_dir_hold_obj(dp, dsl_dir_create_sync(dp, parent, name, tx), dp, &dd));
    return dd;
}

static void
create_origin(dsl_pool_t *dp, dmu_tx_t *tx)
{
    dsl_dataset_t *ds;
    uint64_t object = dsl_dataset_create_sync(dp->dp_root_dir, ORIGIN_DIR_NAME, NULL, 0, tx);

    VERIFY0(dsl_dataset_hold_obj_locked(dp, object, __func__, &ds));
    dsl_dataset_snapshot_sync(ds, ORIGIN_DIR_NAME, tx);
    dp->dp_origin_snap_obj = ds->ds_phys.ds_prev_snap_obj;
    dsl_dataset_rele(ds, __func__);
}

static void
create_root_fs(dsl_pool_t *dp, dmu_tx_t *tx)
{
    const nvlist_t *props = dp->dp_create->pca_fsprops;
    dsl_dataset_t *ds;
    uint64_t object = dsl_dataset_create_sync(dp->dp_root_dir, NULL, NULL, 0, tx);

    VERIFY0(dsl_dataset_hold_obj_locked(dp, object, __func__, &ds));
    if (props != NULL)
        prop_set_all_sync(ds, props, tx);
    (void)dsl_dataset_create_objset(ds, DMU_OST_ZFS, props, true, tx);
    dsl_dataset_rele(ds, __func__);
}

void
pool_create_sync(void *arg, dmu_tx_t *tx)
{
    dsl_pool_t *dp = arg;
    objset_props_t props;

    pool_mos_props(dp, &props);
    dp->dp_mos = objset_create(dp->dp_spa, dp->dp_txg, 0, DMU_OST_META, pool_mos_hooks(dp), &props, tx);
    VERIFY0(
        zap_create_claim(dp->dp_mos, DMU_POOL_DIRECTORY_OBJECT, DMU_OT_OBJECT_DIRECTORY, DMU_OT_NONE, 0, tx));
    create_config(dp, tx);
    dp->dp_sync_bpobj = create_bpobj(dp, DMU_POOL_SYNC_BPOBJ, tx);
    dp->dp_free_bpobj = create_bpobj(dp, DMU_POOL_FREE_BPOBJ, tx);
    feature_create_zaps(dp, dp->dp_create->pca_compat, tx);
    set_key(dp, DMU_POOL_DEFLATE, 1, tx);
    set_key(dp, DMU_POOL_CREATION_VERSION, SPA_VERSION, tx);
    dp->dp_root_dir = create_dir(dp, NULL, NULL, tx);
    dp->dp_mos_dir = create_dir(dp, dp->dp_root_dir, MOS_DIR_NAME, tx);
    dp->dp_free_dir = create_dir(dp, dp->dp_root_dir, FREE_DIR_NAME, tx);
    create_origin(dp, tx);
    create_root_fs(dp, tx);
    history_log(dp, "create", tx, "pool version %llu", (unsigned long long)SPA_VERSION);
}
