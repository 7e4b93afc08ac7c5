/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rollback.c - a head becomes its latest snapshot again.
 *
 *     S ◄── H: changed           S ◄── H: changed            S ◄── H: as S              S ◄── H: as S
 *                                S ◄── T: as S       swap    S ◄── T: changed   destroy
 *
 * A temporary clone T of the snapshot is what H should be; the two exchange contents, and T, now with the unwanted changes, is
 * destroyed. All three steps in one txg: each is tested for itself, and nothing new has to be proved about accounts and deadlists.
 * A mounted head is borrowed from the mount meanwhile (suspend.c).
 *
 * ZFS: dsl_dataset_rollback (dsl_dataset.c)
 */
#include "dsl_impl.h"

#define ROLLBACK_NAME "%rollback"

typedef struct rollback_arg {
    dsl_pool_t *ra_pool;
    dsl_dataset_t *ra_ds;  /* held, and owned by us for the task */
    const char *ra_snap;   /* its whole name; NULL: the latest, whichever it is */
} rollback_arg_t;

/* EXDEV: what lies between must be destroyed first. */
static int
check_latest(const rollback_arg_t *ra)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];

    if (ra->ra_snap == NULL)
        return 0;
    dsl_dataset_name(ra->ra_ds->ds_prev, name);
    if (strcmp(name, ra->ra_snap) != 0)
        return SET_ERROR(EXDEV);
    return dsl_bookmarks_check_rollback(ra->ra_ds, ra->ra_ds->ds_phys.ds_prev_snap_txg);
}

static bool
is_read_by_others(dsl_dataset_t *ds)
{
    mutex_enter(&ds->ds_pool->dp_lock);
    bool held = ds->ds_long_holds > 0;
    mutex_exit(&ds->ds_pool->dp_lock);
    return held;
}

static int
rollback_check(void *arg, dmu_tx_t *tx)
{
    rollback_arg_t *ra = arg;
    dsl_dataset_t *ds = ra->ra_ds;
    int err;

    if (dsl_dataset_is_snapshot(ds))
        return SET_ERROR(EINVAL);
    if (ds->ds_prev == NULL || ds->ds_prev->ds_phys.ds_next_snap_obj != ds->ds_object)
        return SET_ERROR(ESRCH);
    if ((err = check_latest(ra)) != 0)
        return err;
    if (is_read_by_others(ds))
        return SET_ERROR(EBUSY);
    if (tx != NULL && ds->ds_phys.ds_prev_snap_txg >= dmu_tx_txg(tx))
        return EAGAIN; /* taken in this very txg */
    return tx != NULL ? dsl_deadlist_verify(ra->ra_pool, ds->ds_phys.ds_deadlist_obj) : 0;
}

static void
rollback_sync(void *arg, dmu_tx_t *tx)
{
    rollback_arg_t *ra = arg;
    dsl_dataset_t *ds = ra->ra_ds, *temp;
    uint64_t object = dsl_dataset_create_sync(ds->ds_dir, ROLLBACK_NAME, ds->ds_prev, 0, tx);

    if (!mos_must(ra->ra_pool, dsl_dataset_hold_obj_locked(ra->ra_pool, object, __func__, &temp)))
        return;
    dsl_dataset_clone_swap_sync(temp, ds, tx);
    history_log_ds(ds, "rollback", tx, "to=%s", ds->ds_prev->ds_snapname);
    mutex_enter(&ds->ds_lock);
    ds->ds_phys.ds_flags &= ~DS_FLAG_INCONSISTENT;
    mutex_exit(&ds->ds_lock);
    dsl_destroy_head_sync_impl(temp, tx);
    dsl_dataset_rele(temp, __func__);
}

int
dsl_rollback(dsl_pool_t *dp, const char *fs, const char *snap)
{
    rollback_arg_t ra = {.ra_pool = dp, .ra_snap = snap};
    bool lent;
    int err = dsl_dataset_hold(dp, fs, &ra, &ra.ra_ds);

    if (err != 0)
        return err;
    if ((err = dsl_dataset_borrow(ra.ra_ds, &ra, &lent)) == 0) {
        err = dsl_sync_task(dp, rollback_check, rollback_sync, &ra, 40, DSL_SPACE_RESERVED);
        dsl_dataset_give_back(ra.ra_ds, &ra, lent);
    }
    dsl_dataset_rele(ra.ra_ds, &ra);
    return err;
}
