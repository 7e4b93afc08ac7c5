/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recv_end.c - dmu_recv_end: what was received becomes a snapshot, in one txg.
 *
 *     NEW, CLONE, INPLACE                       HIDDEN, REPLACE
 *                                               borrow tofs from its mount
 *     ┌ flag off                                ┌ tofs and %SNAP exchange their contents
 *     │ snapshot of tofs                        │ %SNAP, now with the old ones, is destroyed
 *     │ its guid, time: the stream's            │ snapshot of tofs, its guid and time
 *     └ properties                              └ properties
 *                                               give tofs back
 *
 * INVARIANT: nothing of this can be seen without the rest, neither by a reader nor after a crash.
 * ZFS: dmu_recv_end_check(), dmu_recv_end_sync() in dmu_recv.c.
 */
#include "recv_impl.h"

/* tofs is what begin found, or may be thrown away. */
static int
check_swap(dmu_recv_cookie_t *drc, dmu_tx_t *tx)
{
    dsl_dataset_t *head = drc->drc_head, *ds = drc->drc_ds;
    int err;

    if (head->ds_prev != ds->ds_prev)
        return SET_ERROR(ETXTBSY); /* a snapshot was taken */
    if (!drc->drc_force && dsl_dataset_modified_since(head, head->ds_prev))
        return SET_ERROR(ETXTBSY);
    if (head->ds_refquota != 0 && ds->ds_phys.ds_referenced_bytes > head->ds_refquota)
        return SET_ERROR(EDQUOT);
    err = dsl_dataset_clone_swap_check(ds, head);
    if (err == 0 && tx != NULL &&
        (err = dsl_deadlist_verify(drc->drc_dp, head->ds_phys.ds_deadlist_obj)) == 0)
        err = dsl_deadlist_verify(drc->drc_dp, ds->ds_phys.ds_deadlist_obj);
    return err;
}

/*
 * What came has used up the refreservation, and after the snapshot it is to be there once more. (When contents are exchanged there is
 * always room: what came was counted beside it, and the old contents go.)
 */
static int
check_refreservation(dsl_dataset_t *ds)
{
    quota_probe_t qp = {0};
    int err = quota_probe_snapshot(&qp, ds);

    quota_probe_fini(&qp);
    return err;
}

static int
recv_end_check(void *arg, dmu_tx_t *tx)
{
    dmu_recv_cookie_t *drc = arg;
    dsl_dataset_t *ds = drc->drc_head != NULL ? drc->drc_head : drc->drc_ds;
    int err = drc->drc_head != NULL ? check_swap(drc, tx) : check_refreservation(ds);

    if (err == 0 && drc->drc_props != NULL)
        err = prop_check_set(ds, drc->drc_props);
    return err != 0 ? err : dsl_dataset_snapshot_check(ds, drc->drc_tosnap, tx);
}

static void
sync_swap(dmu_recv_cookie_t *drc, dmu_tx_t *tx)
{
    dsl_dataset_t *head = drc->drc_head;
    uint64_t ci = drc->drc_ds->ds_phys.ds_flags & DS_FLAG_CI_DATASET;

    dsl_dataset_clone_swap_sync(drc->drc_ds, head, tx);
    dsl_dataset_set(head, &head->ds_phys.ds_flags, (head->ds_phys.ds_flags & ~DS_FLAG_CI_DATASET) | ci, tx);
    dsl_destroy_head_sync_impl(drc->drc_ds, tx);
}

static void
sync_snapshot(dmu_recv_cookie_t *drc, dsl_dataset_t *ds, dmu_tx_t *tx)
{
    dsl_dataset_t *snap;

    dsl_dataset_set(ds, &ds->ds_phys.ds_flags, ds->ds_phys.ds_flags & ~DS_FLAG_INCONSISTENT, tx);
    dsl_dataset_snapshot_sync(ds, drc->drc_tosnap, tx);
    snap = ds->ds_prev;
    if (snap == NULL)
        return; /* damage: the pool is suspended */
    dsl_dataset_will_dirty(snap, tx);
    mutex_enter(&snap->ds_lock);
    snap->ds_phys.ds_guid = drc->drc_drrb.drr_toguid;
    snap->ds_phys.ds_creation_time = drc->drc_drrb.drr_creation_time;
    mutex_exit(&snap->ds_lock);
}

static void
recv_end_sync(void *arg, dmu_tx_t *tx)
{
    dmu_recv_cookie_t *drc = arg;
    dsl_dataset_t *ds = drc->drc_head != NULL ? drc->drc_head : drc->drc_ds;

    if (drc->drc_head != NULL)
        sync_swap(drc, tx);
    else
        recv_resume_clear(ds, tx);
    sync_snapshot(drc, ds, tx);
    history_log_ds(ds, "finish receiving", tx, "snap=%s", drc->drc_tosnap);
    if (drc->drc_props != NULL)
        prop_set_all_sync(ds, drc->drc_props, tx);
}

static int
end_task(dmu_recv_cookie_t *drc)
{
    return dsl_sync_task(drc->drc_dp, recv_end_check, recv_end_sync, drc, 40, DSL_SPACE_NORMAL);
}

/* The mount stands still from before the task until its outcome is known. */
static int
end_borrowed(dmu_recv_cookie_t *drc)
{
    bool lent;
    int err = dsl_dataset_borrow(drc->drc_head, drc, &lent);

    if (err != 0)
        return err;
    err = end_task(drc);
    dsl_dataset_give_back(drc->drc_head, drc, lent);
    return err;
}

static int
end_heal(dmu_recv_cookie_t *drc)
{
    if (drc->drc_healed_out != NULL)
        *drc->drc_healed_out = drc->drc_healed;
    recv_release(drc);
    recv_cookie_free(drc);
    return 0;
}

int
dmu_recv_end(dmu_recv_cookie_t *drc)
{
    if (drc->drc_shape == RECV_HEAL)
        return end_heal(drc);
    int err = drc->drc_head == NULL || drc->drc_head_owned ? end_task(drc) : end_borrowed(drc);

    if (err != 0) {
        recv_abandon(drc);
        return err;
    }
    if (drc->drc_head == NULL)
        objset_evict(
            drc->drc_os); /* ZAPs were written as bytes: what was learnt of them meanwhile may be wrong */
    if (drc->drc_props != NULL)
        prop_changed(drc->drc_dp);
    recv_release(drc);
    recv_cookie_free(drc);
    return 0;
}
