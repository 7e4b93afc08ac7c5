/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * snapshot.c - the state of a head kept for good, in constant time.
 *
 *     before       P ◄── prev ── H                      after       P ◄── prev ── S ◄── prev ── H
 *                  └── next ──► H                                   └── next ──► S ── next ──► H
 *                                                                   S has H's root pointer and H's deadlist
 *
 * Nothing is copied. H goes on with the very same blocks; all of them now have a birth <= H's previous-snapshot txg, so H never again
 * frees one: what it gives up goes onto its deadlist, which starts empty.
 *
 * INVARIANTS
 *  1. All changes of a txg belong to the snapshot taken in it: datasets are synced before the tasks run, and nothing writes to H in this txg
 *     after (account.c asserts it). So a head has at most one snapshot per txg; the second is tried in the next one.
 *  2. S.unique = 0 at birth: everything it has, H has.
 *  3. S's old deadlist and H's new one have the same keys; H's has one more: H's old previous-snapshot txg.
 *
 * ZFS: dsl_dataset_snapshot_sync_impl (dsl_dataset.c)
 */
#include <time.h>
#include <stdio.h>
#include "dsl_impl.h"

/* ---- pieces ---- */

int
dsl_dataset_snapshot_check(dsl_dataset_t *ds, const char *snapname, dmu_tx_t *tx)
{
    uint64_t object;
    int err = dsl_dataset_snap_lookup(ds, snapname, &object);

    if (err == 0)
        return SET_ERROR(EEXIST);
    if (err != ENOENT)
        return err;
    if (dsl_dataset_is_snapshot(ds))
        return SET_ERROR(EINVAL);
    if (tx == NULL)
        return 0;
    if (ds->ds_phys.ds_prev_snap_txg >= dmu_tx_txg(tx))
        return EAGAIN;
    return dsl_deadlist_verify(ds->ds_pool, ds->ds_phys.ds_deadlist_obj);
}

static uint64_t
snapshot_object(dsl_dataset_t *ds, uint64_t crtxg, dmu_tx_t *tx)
{
    objset_t *mos = pool_mos(ds->ds_pool);
    uint64_t object;
    dmu_buf_t *db;

    if (!mos_must(ds->ds_pool, dmu_object_alloc(mos, DMU_OT_DSL_DATASET, 0, DMU_OT_DSL_DATASET,
                                                sizeof(dsl_dataset_phys_t), 0, tx, &object)) ||
        !mos_bonus_for_sync(ds->ds_pool, object, &db))
        return 0;
    dmu_buf_will_dirty(db, tx);
    dsl_dataset_phys_t *p = db->db_data;
    *p = ds->ds_phys; /* directory, previous snapshot, deadlist, sizes, flags, root pointer */
    p->ds_next_snap_obj = ds->ds_object;
    p->ds_snapnames_zapobj = 0;
    p->ds_num_children = 1;
    p->ds_creation_time = (uint64_t)time(NULL);
    p->ds_creation_txg = crtxg;
    p->ds_unique_bytes = 0;
    p->ds_fsid_guid = random_u64() >> 8;
    p->ds_guid = random_u64();
    p->ds_flags |= DS_FLAG_UNIQUE_ACCURATE;
    p->ds_next_clones_obj = p->ds_props_obj = p->ds_userrefs_obj = 0;
    dmu_buf_rele(db);
    feature_ds_copy(ds->ds_pool, ds->ds_object, object, ds->ds_features, tx);
    return object;
}

/* The snapshot steps between the head and what was before it. */
static void
relink_previous(dsl_dataset_t *ds, uint64_t snapobj, dmu_tx_t *tx)
{
    dsl_dataset_t *prev = ds->ds_prev;

    if (prev == NULL)
        return;
    if (prev->ds_phys.ds_next_snap_obj == ds->ds_object) {
        dsl_dataset_set(prev, &prev->ds_phys.ds_next_snap_obj, snapobj, tx);
    } else if (prev->ds_phys.ds_next_clones_obj != 0) { /* prev is the origin */
        dsl_dataset_remove_from_next_clones(prev, ds->ds_object, tx);
        mos_must(ds->ds_pool, zap_add_int_key(pool_mos(ds->ds_pool), prev->ds_phys.ds_next_clones_obj, snapobj,
                                              snapobj, tx));
    }
}

void
dsl_dataset_remove_from_next_clones(dsl_dataset_t *origin, uint64_t dsobj, dmu_tx_t *tx)
{
    char name[20];

    if (origin->ds_phys.ds_next_clones_obj == 0)
        return;
    snprintf(name, sizeof(name), "%llx", (unsigned long long)dsobj);
    mos_must(origin->ds_pool,
             zap_remove(pool_mos(origin->ds_pool), origin->ds_phys.ds_next_clones_obj, name, tx));
}

/* The head starts over: everything shared, nothing given up. */
static void
head_after_snapshot(dsl_dataset_t *ds, uint64_t snapobj, uint64_t crtxg, dmu_tx_t *tx)
{
    uint64_t newdl = dsl_deadlist_clone(dsl_dataset_deadlist(ds), UINT64_MAX, tx);
    uint64_t unfilled = MIN(ds->ds_phys.ds_unique_bytes, ds->ds_refreserv);

    if (unfilled > 0)
        dsl_dir_diduse_space(ds->ds_dir, DD_USED_REFRSRV, (int64_t)unfilled, 0, 0, tx);
    dsl_dataset_close_deadlist(ds, tx);
    dsl_dataset_will_dirty(ds, tx);
    mutex_enter(&ds->ds_lock);
    uint64_t oldprev = ds->ds_phys.ds_prev_snap_txg;
    ds->ds_phys.ds_deadlist_obj = newdl;
    ds->ds_phys.ds_prev_snap_obj = snapobj;
    ds->ds_phys.ds_prev_snap_txg = crtxg;
    ds->ds_phys.ds_unique_bytes = 0;
    ds->ds_phys.ds_flags |= DS_FLAG_UNIQUE_ACCURATE;
    mutex_exit(&ds->ds_lock);
    dsl_deadlist_add_key(dsl_dataset_deadlist(ds), oldprev, tx);
}

void
dsl_dataset_snapshot_sync(dsl_dataset_t *ds, const char *snapname, dmu_tx_t *tx)
{
    uint64_t txg = dmu_tx_txg(tx), crtxg = txg == TXG_INITIAL ? 1 : txg;

    dsl_deadlist_sync(dsl_dataset_deadlist(ds), tx); /* the snapshot takes it over as it is */
    uint64_t object = snapshot_object(ds, crtxg, tx);
    relink_previous(ds, object, tx);
    head_after_snapshot(ds, object, crtxg, tx);
    mos_must(ds->ds_pool,
             zap_add_u64(pool_mos(ds->ds_pool), ds->ds_phys.ds_snapnames_zapobj, snapname, object, tx));
    dsl_dataset_hold_prev(ds);
}

/* ---- the operation ---- */

typedef struct snapshot_arg {
    dsl_pool_t *sa_pool;
    const char *const *sa_names;
    int sa_count;
    const nvlist_t *sa_props;
    int sa_failed;
    quota_probe_t sa_probe;
} snapshot_arg_t;

static int
check_one(snapshot_arg_t *sa, const char *name, dmu_tx_t *tx)
{
    char fs[ZFS_MAX_DATASET_NAME_LEN];
    const char *snap;
    dsl_dataset_t *ds;
    int err = name_split_snapshot(name, fs, &snap);

    if (err != 0 || (err = name_check_internal(name)) != 0)
        return err;
    if ((err = dsl_dataset_hold_locked(sa->sa_pool, fs, __func__, &ds)) != 0)
        return err;
    err = dsl_dataset_snapshot_check(ds, snap, tx);
    if (err == 0 && (ds->ds_phys.ds_flags & DS_FLAG_INCONSISTENT))
        err = SET_ERROR(EBUSY);
    if (err == 0)
        err = quota_probe_snapshot(&sa->sa_probe, ds);
    dsl_dataset_rele(ds, __func__);
    return err;
}

/* "a@x" and "a@y" in one call would need two txgs. */
static bool
same_fs_before(const snapshot_arg_t *sa, int i)
{
    size_t n = strcspn(sa->sa_names[i], "@") + 1;

    for (int j = 0; j < i; j++)
        if (strncmp(sa->sa_names[i], sa->sa_names[j], n) == 0)
            return true;
    return false;
}

static int
snapshot_check(void *arg, dmu_tx_t *tx)
{
    snapshot_arg_t *sa = arg;
    int err = 0;

    for (int i = 0; i < sa->sa_count && err == 0; i++) {
        err = same_fs_before(sa, i) ? SET_ERROR(EXDEV) : check_one(sa, sa->sa_names[i], tx);
        if (err != 0)
            sa->sa_failed = i;
    }
    quota_probe_fini(&sa->sa_probe);
    return err;
}

static void
snapshot_sync(void *arg, dmu_tx_t *tx)
{
    snapshot_arg_t *sa = arg;
    char fs[ZFS_MAX_DATASET_NAME_LEN];
    const char *snap;
    dsl_dataset_t *ds;

    for (int i = 0; i < sa->sa_count; i++) {
        VERIFY0(name_split_snapshot(sa->sa_names[i], fs, &snap));
        if (!mos_must(sa->sa_pool, dsl_dataset_hold_locked(sa->sa_pool, fs, __func__, &ds)))
            return;
        dsl_dataset_snapshot_sync(ds, snap, tx);
        if (ds->ds_prev != NULL) {
            history_log_ds(ds->ds_prev, "snapshot", tx, " ");
            if (sa->sa_props != NULL)
                prop_set_all_sync(ds->ds_prev, sa->sa_props, tx);
        }
        dsl_dataset_rele(ds, __func__);
    }
}

int
dsl_snapshot(dsl_pool_t *dp, const char *const *names, int n, const nvlist_t *props, int *failed)
{
    snapshot_arg_t sa = {.sa_pool = dp, .sa_names = names, .sa_count = n, .sa_props = props};
    int err = prop_check_snapshot(props);

    for (int i = 0; i < n && err == 0; i++) {
        err = strchr(names[i], '@') == NULL ? SET_ERROR(EINVAL) : dsl_name_check(names[i], NULL);
        sa.sa_failed = i;
    }
    if (err == 0)
        err = dsl_sync_task(dp, snapshot_check, snapshot_sync, &sa, 10 * n, DSL_SPACE_NORMAL);
    if (failed != NULL)
        *failed = sa.sa_failed;
    return err;
}
