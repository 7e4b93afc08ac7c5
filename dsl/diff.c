/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * diff.c - which objects differ between a snapshot and a later state of the same file system.
 *
 *     from ◄── ... ◄── to          every block of to's meta dnode born after from's txg is read; nothing else is
 *
 *     block of dnodes, new         slot by slot: a dnode: perhaps changed (its neighbours made the block new, too); a free slot: freed
 *     a hole, its parent new       all slots it stands for: freed
 *
 * Who is told compares the objects themselves. Cost: the blocks of dnodes that changed, whatever the size of the file system.
 *
 * A head that is in use changes while it is looked at. It is kept as a hidden snapshot, "fs@%diff", until the walk is done; the object directory
 * remembers it (KEY_DIFF), and after a crash the next open for writing removes it.
 *
 * ZFS: module/zfs/dmu_diff.c; there zfs(8) takes and removes the snapshot.
 */
#include <stdio.h>
#include "dsl_impl.h"

#define SNAP_DIFF "%diff"
#define KEY_DIFF  "io.cowbird:diff" /* u64: the dataset object of fs@%diff */

/* ---- the walk ---- */

typedef struct diff_arg {
    int (*da_cb)(void *arg, uint64_t first, uint64_t last, bool freed);
    void *da_arg;
} diff_arg_t;

/* Slots below a hole of the meta dnode. */
static int
diff_hole(const diff_arg_t *da, const traverse_block_t *tb)
{
    const dnode_phys_t *meta = tb->tb_dnp;
    uint64_t slots = ((uint64_t)meta->dn_datablkszsec << SPA_MINBLOCKSHIFT) >> DNODE_SHIFT;
    uint64_t shift = (uint64_t)tb->tb_zb.zb_level * (meta->dn_indblkshift - SPA_BLKPTRSHIFT);
    uint64_t span = shift < 48 ? slots << shift : 1ULL << 48; /* no object number is larger */
    uint64_t first = tb->tb_zb.zb_blkid * span;

    return da->da_cb(da->da_arg, first, first + span - 1, true);
}

static int
diff_block(void *arg, const traverse_block_t *tb)
{
    const diff_arg_t *da = arg;
    uint64_t object = tb->tb_zb.zb_object;
    int err = 0;

    if (tb->tb_zb.zb_level == ZB_DNODE_LEVEL) {
        bool freed = tb->tb_dnp->dn_type == DMU_OT_NONE;
        if (object < 1ULL << 48) /* else: the accounts of users and groups */
            err = da->da_cb(da->da_arg, object, object + (freed ? tb->tb_zb.zb_blkid - 1 : 0), freed);
        return err != 0 ? err : TRAVERSE_SKIP_BELOW;
    }
    if (object == 0 && tb->tb_zb.zb_level >= 0 && BP_IS_HOLE(tb->tb_bp))
        err = diff_hole(da, tb);
    return err;
}

static int
hold_both(dsl_pool_t *dp, const char *from, const char *to, dsl_dataset_t **fp, dsl_dataset_t **tp)
{
    int err = dsl_dataset_hold_locked(dp, from, __func__, fp);

    if (err != 0)
        return err;
    if ((err = dsl_dataset_hold_locked(dp, to, __func__, tp)) == 0) {
        if (!dsl_dataset_is_snapshot(*fp) || !dsl_dataset_is_before(*tp, *fp))
            err = SET_ERROR(EXDEV);
        else if ((*tp)->ds_phys.ds_flags & DS_FLAG_INCONSISTENT)
            err = SET_ERROR(EBUSY);
        if (err == 0)
            dsl_dataset_long_hold(*tp, __func__);
        else
            dsl_dataset_rele(*tp, __func__);
    }
    if (err != 0)
        dsl_dataset_rele(*fp, __func__);
    return err;
}

int
dmu_diff(dsl_pool_t *dp, const char *from, const char *to,
         int (*cb)(void *arg, uint64_t first, uint64_t last, bool freed), void *arg)
{
    diff_arg_t da = {cb, arg};
    dsl_dataset_t *f, *t;
    dsl_dataset_phys_t p;

    rw_enter_read(&dp->dp_config_lock);
    int err = hold_both(dp, from, to, &f, &t);
    rw_exit(&dp->dp_config_lock);
    if (err != 0)
        return err;
    dsl_dataset_phys(t, &p);
    if (p.ds_bp.blk_birth > f->ds_phys.ds_creation_txg)
        err = traverse_objset(dp->dp_spa, &p.ds_bp, t->ds_object, f->ds_phys.ds_creation_txg, TRAVERSE_PRE, NULL,
                              diff_block, &da, NULL);
    dsl_dataset_long_rele(t, __func__);
    dsl_dataset_rele(t, __func__);
    dsl_dataset_rele(f, __func__);
    return err;
}

/* ---- a head that stands still ---- */

typedef struct freeze_arg {
    dsl_pool_t *fa_pool;
    const char *fa_name;
    uint64_t fa_object; /* out */
} freeze_arg_t;

static int
freeze_check(void *arg, dmu_tx_t *tx)
{
    freeze_arg_t *fa = arg;
    dsl_dataset_t *ds;
    int err = dsl_dataset_hold_locked(fa->fa_pool, fa->fa_name, __func__, &ds);

    if (err != 0)
        return err;
    if (ds->ds_phys.ds_flags & DS_FLAG_INCONSISTENT)
        err = SET_ERROR(EBUSY);
    if (err == 0) { /* one at a time */
        err = zap_contains(pool_mos(fa->fa_pool), DMU_POOL_DIRECTORY_OBJECT, KEY_DIFF);
        err = err == 0 ? SET_ERROR(EBUSY) : err == ENOENT ? 0 : err;
    }
    if (err == 0 && (err = dsl_dataset_snapshot_check(ds, SNAP_DIFF, tx)) == EEXIST)
        err = SET_ERROR(EBUSY);
    dsl_dataset_rele(ds, __func__);
    return err;
}

static void
freeze_sync(void *arg, dmu_tx_t *tx)
{
    freeze_arg_t *fa = arg;
    dsl_dataset_t *ds;

    if (!mos_must(fa->fa_pool, dsl_dataset_hold_locked(fa->fa_pool, fa->fa_name, __func__, &ds)))
        return;
    dsl_dataset_snapshot_sync(ds, SNAP_DIFF, tx);
    fa->fa_object = ds->ds_phys.ds_prev_snap_obj;
    (void)mos_must(fa->fa_pool,
                   zap_add_u64(pool_mos(fa->fa_pool), DMU_POOL_DIRECTORY_OBJECT, KEY_DIFF, fa->fa_object, tx));
    dsl_dataset_rele(ds, __func__);
}

static void
forget_sync(void *arg, dmu_tx_t *tx)
{
    (void)zap_remove(pool_mos(arg), DMU_POOL_DIRECTORY_OBJECT, KEY_DIFF, tx);
}

/* The name is looked at: the object's number may be another dataset's when a crash came between the two steps. */
int
dsl_diff_cleanup(dsl_pool_t *dp)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];
    const char *names[] = {name};
    dsl_dataset_t *ds;
    uint64_t object;

    rw_enter_read(&dp->dp_config_lock);
    int err = zap_lookup_u64(pool_mos(dp), DMU_POOL_DIRECTORY_OBJECT, KEY_DIFF, &object);
    rw_exit(&dp->dp_config_lock);
    if (err != 0)
        return err == ENOENT ? 0 : err;
    if (dsl_dataset_hold_obj(dp, object, __func__, &ds) == 0) {
        bool ours = strcmp(ds->ds_snapname, SNAP_DIFF) == 0;
        dsl_dataset_name(ds, name);
        dsl_dataset_rele(ds, __func__);
        if (ours && (err = dsl_destroy_snapshots(dp, names, 1, false, NULL)) != 0)
            return err;
    }
    return dsl_sync_task(dp, NULL, forget_sync, dp, 2, DSL_SPACE_RESERVED);
}

int
dmu_diff_hold(dsl_pool_t *dp, const char *name, const void *tag, dsl_dataset_t **dsp)
{
    bool freeze = strchr(name, '@') == NULL && dp->dp_txg != NULL;
    freeze_arg_t fa = {dp, name, 0};
    int err = !freeze ? 0 : dsl_sync_task(dp, freeze_check, freeze_sync, &fa, 12, DSL_SPACE_NORMAL);

    if (err != 0)
        return err;
    rw_enter_read(&dp->dp_config_lock);
    err = freeze ? dsl_dataset_hold_obj_locked(dp, fa.fa_object, tag, dsp) : dsl_dataset_hold_locked(dp, name, tag, dsp);
    if (err == 0)
        dsl_dataset_long_hold(*dsp, tag);
    rw_exit(&dp->dp_config_lock);
    if (err != 0 && freeze)
        (void)dsl_diff_cleanup(dp);
    return err;
}

void
dmu_diff_rele(dsl_dataset_t *ds, const void *tag)
{
    dsl_pool_t *dp = ds->ds_pool;
    bool frozen = strcmp(ds->ds_snapname, SNAP_DIFF) == 0;

    dsl_dataset_long_rele(ds, tag);
    dsl_dataset_rele(ds, tag);
    if (frozen && dsl_diff_cleanup(dp) != 0)
        cowbird_log(LOG_WARNING, "pool '%s': a hidden snapshot could not be removed yet", spa_name(dp->dp_spa));
}
