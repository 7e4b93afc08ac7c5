/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hold.c - user holds: a snapshot with a tag on it is not destroyed.
 *
 *     snapshot's dataset ── userrefs ──► ZAP { tag -> when, in seconds since 1970 }          made with the first hold, stays
 *
 * Whoever needs a snapshot for longer than a process lives (a backup that will be the source of the next increment) puts a tag on it. destroy
 * answers EBUSY, destroy -d only marks the snapshot: then it goes with the last of its holds and clones (destroy.c).
 *
 * INVARIANTS
 *  1. All snapshots of one call get or lose the tag, in one txg, or none does.
 *  2. A snapshot marked for deferred destroy has a hold or a clone.
 *
 * ZFS: module/zfs/dsl_userhold.c; there are also temporary holds, which end with a process; here long holds are for that.
 */
#include <time.h>
#include <stdio.h>
#include "dsl_impl.h"

typedef struct hold_arg {
    dsl_pool_t *ha_pool;
    const char *const *ha_snaps;
    int ha_count;
    const char *ha_tag;
    int ha_failed;
} hold_arg_t;

int
dsl_dataset_count_holds(dsl_dataset_t *ds, uint64_t *n)
{
    *n = 0;
    return ds->ds_phys.ds_userrefs_obj == 0
               ? 0
               : zap_count(pool_mos(ds->ds_pool), ds->ds_phys.ds_userrefs_obj, n);
}

/* Has it the tag? 0, ENOENT, or an error of reading. */
static int
find_tag(dsl_dataset_t *ds, const char *tag)
{
    uint64_t when;

    if (ds->ds_phys.ds_userrefs_obj == 0)
        return ENOENT;
    return zap_lookup_u64(pool_mos(ds->ds_pool), ds->ds_phys.ds_userrefs_obj, tag, &when);
}

/* Calls fn for every snapshot, in order; the first error ends it and names the snapshot. */
static int
each_snapshot(hold_arg_t *ha, int (*fn)(hold_arg_t *ha, dsl_dataset_t *ds, dmu_tx_t *tx), dmu_tx_t *tx)
{
    dsl_dataset_t *ds;
    int err = 0;

    for (int i = 0; i < ha->ha_count && err == 0; i++) {
        ha->ha_failed = i;
        if ((err = dsl_dataset_hold_locked(ha->ha_pool, ha->ha_snaps[i], ha, &ds)) != 0)
            return err;
        err = dsl_dataset_is_snapshot(ds) ? fn(ha, ds, tx) : SET_ERROR(EINVAL);
        dsl_dataset_rele(ds, ha);
    }
    return err;
}

/* The same name twice would be found out only when the first is done. */
static int
check_twice(const hold_arg_t *ha, int err)
{
    for (int i = 0; i < ha->ha_count; i++)
        for (int k = 0; k < i; k++)
            if (strcmp(ha->ha_snaps[i], ha->ha_snaps[k]) == 0)
                return SET_ERROR(err);
    return 0;
}

static int
run(hold_arg_t *ha, dsl_checkfunc_t check, dsl_syncfunc_t sync, int twice, int *failed)
{
    int err = strlen(ha->ha_tag) >= ZAP_MAXNAMELEN ? SET_ERROR(E2BIG)
              : ha->ha_tag[0] == '\0'              ? SET_ERROR(EINVAL)
                                                   : check_twice(ha, twice);

    if (err == 0)
        err = dsl_sync_task(ha->ha_pool, check, sync, ha, 4 * ha->ha_count, DSL_SPACE_RESERVED);
    if (failed != NULL)
        *failed = ha->ha_failed;
    return err;
}

/* ---- hold ---- */

static int
hold_check_one(hold_arg_t *ha, dsl_dataset_t *ds, dmu_tx_t *tx)
{
    int err = find_tag(ds, ha->ha_tag);

    return err == 0 ? SET_ERROR(EEXIST) : err == ENOENT ? 0 : err;
}

static int
hold_check(void *arg, dmu_tx_t *tx)
{
    return each_snapshot(arg, hold_check_one, tx);
}

static int
hold_sync_one(hold_arg_t *ha, dsl_dataset_t *ds, dmu_tx_t *tx)
{
    objset_t *mos = pool_mos(ha->ha_pool);

    if (ds->ds_phys.ds_userrefs_obj == 0)
        dsl_dataset_set(ds, &ds->ds_phys.ds_userrefs_obj,
                        zap_create(mos, DMU_OT_USERREFS, DMU_OT_NONE, 0, tx), tx);
    mos_must(ha->ha_pool, zap_add_u64(mos, ds->ds_phys.ds_userrefs_obj, ha->ha_tag, (uint64_t)time(NULL), tx));
    history_log_ds(ds, "hold", tx, "tag=%s", ha->ha_tag);
    return 0;
}

static void
hold_sync(void *arg, dmu_tx_t *tx)
{
    mos_must(((hold_arg_t *)arg)->ha_pool, each_snapshot(arg, hold_sync_one, tx));
}

int
dsl_hold(dsl_pool_t *dp, const char *const *snaps, int n, const char *tag, int *failed)
{
    hold_arg_t ha = {dp, snaps, n, tag, 0};

    return run(&ha, hold_check, hold_sync, EEXIST, failed);
}

/* ---- release ---- */

/* Is this its last hold, and waits it for that only? Then it goes. */
static int
is_last(dsl_dataset_t *ds, bool *last)
{
    uint64_t holds;
    int err = dsl_dataset_count_holds(ds, &holds);

    *last = err == 0 && holds == 1 && (ds->ds_phys.ds_flags & DS_FLAG_DEFER_DESTROY) != 0 &&
            ds->ds_phys.ds_num_children == 1;
    return err;
}

static int
release_check_one(hold_arg_t *ha, dsl_dataset_t *ds, dmu_tx_t *tx)
{
    bool last;
    int err = find_tag(ds, ha->ha_tag);

    if (err != 0)
        return err == ENOENT ? SET_ERROR(ESRCH) : err;
    if ((err = is_last(ds, &last)) != 0)
        return err;
    return last ? dsl_destroy_snapshot_ready(ds, tx) : 0;
}

static int
release_check(void *arg, dmu_tx_t *tx)
{
    return each_snapshot(arg, release_check_one, tx);
}

static int
release_sync_one(hold_arg_t *ha, dsl_dataset_t *ds, dmu_tx_t *tx)
{
    bool last;

    mos_must(ha->ha_pool, is_last(ds, &last));
    mos_must(ha->ha_pool, zap_remove(pool_mos(ha->ha_pool), ds->ds_phys.ds_userrefs_obj, ha->ha_tag, tx));
    history_log_ds(ds, "release", tx, "tag=%s", ha->ha_tag);
    if (last)
        dsl_destroy_snapshot_sync_impl(ds, tx);
    return 0;
}

static void
release_sync(void *arg, dmu_tx_t *tx)
{
    mos_must(((hold_arg_t *)arg)->ha_pool, each_snapshot(arg, release_sync_one, tx));
}

int
dsl_release(dsl_pool_t *dp, const char *const *snaps, int n, const char *tag, int *failed)
{
    hold_arg_t ha = {dp, snaps, n, tag, 0};

    return run(&ha, release_check, release_sync, ESRCH, failed);
}

/* ---- listing ---- */

typedef struct tag_list {
    zap_attribute_t *tl_tags;
    size_t tl_count;
} tag_list_t;

static int
collect_tags(dsl_pool_t *dp, uint64_t zap, tag_list_t *tl)
{
    zap_cursor_t zc;
    zap_attribute_t za;
    int err;

    for (zap_cursor_init(&zc, pool_mos(dp), zap); (err = zap_cursor_retrieve(&zc, &za)) == 0;
         zap_cursor_advance(&zc)) {
        tl->tl_tags = xrealloc(tl->tl_tags, (tl->tl_count + 1) * sizeof(za));
        tl->tl_tags[tl->tl_count++] = za;
    }
    zap_cursor_fini(&zc);
    return err == ENOENT ? 0 : err;
}

int
dsl_for_each_hold(dsl_pool_t *dp, const char *snap, int (*cb)(void *arg, const char *tag, uint64_t when),
                  void *arg)
{
    tag_list_t tl = {NULL, 0};
    dsl_dataset_t *ds;

    rw_enter_read(&dp->dp_config_lock);
    int err = dsl_dataset_hold_locked(dp, snap, &tl, &ds);
    if (err == 0) {
        if (!dsl_dataset_is_snapshot(ds))
            err = SET_ERROR(EINVAL);
        else if (ds->ds_phys.ds_userrefs_obj != 0)
            err = collect_tags(dp, ds->ds_phys.ds_userrefs_obj, &tl);
        dsl_dataset_rele(ds, &tl);
    }
    rw_exit(&dp->dp_config_lock);
    for (size_t i = 0; i < tl.tl_count && err == 0; i++)
        err = cb(arg, tl.tl_tags[i].za_name, tl.tl_tags[i].za_first_integer);
    free(tl.tl_tags);
    return err;
}
