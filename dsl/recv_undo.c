/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recv_undo.c - the way back from a receive that failed: at once, at the next opening of the pool, or when somebody says so.
 *
 *     recv_abandon()        an error                       INPLACE: rolled back       all others: destroyed       resumable: kept
 *     dsl_recv_cleanup()    the machine stopped            flag, own snapshot: rolled back;  flag: destroyed;     resume keys: kept
 *     dsl_recv_abort()      `receive -A`                   kept ones: destroyed
 *
 * A failure in here (the pool is suspended) is made up for by the next opening: the flag is still there.
 * ZFS: dmu_recv_cleanup_ds() in dmu_recv.c; dsl_destroy_inconsistent() in dsl_destroy.c.
 */
#include <syslog.h>

#include "recv_impl.h"

void
recv_release(dmu_recv_cookie_t *drc)
{
    if (drc->drc_ds != NULL && drc->drc_shape == RECV_HEAL)
        recv_heal_end(drc);
    else if (drc->drc_ds != NULL)
        dsl_dataset_disown(drc->drc_ds, drc);
    if (drc->drc_head != NULL)
        dsl_dataset_long_rele(drc->drc_head, drc);
    if (drc->drc_head_owned)
        dsl_dataset_disown(drc->drc_head, drc);
    else if (drc->drc_head != NULL)
        dsl_dataset_rele(drc->drc_head, drc);
}

void
recv_cookie_free(dmu_recv_cookie_t *drc)
{
    nvlist_free(drc->drc_props);
    free(drc);
}

static void
undo(dsl_pool_t *dp, const char *fs, bool existed)
{
    int err = existed ? dsl_rollback(dp, fs, NULL) /* which drops the flag, too */ : dsl_destroy_head(dp, fs);

    if (err != 0)
        cowbird_log(LOG_WARNING, "cannot clean up after the failed receive into %s: %s", fs,
                    cowbird_strerror(err));
}

void
recv_abandon(dmu_recv_cookie_t *drc)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];

    dsl_dataset_name(drc->drc_ds, name);
    if (drc->drc_resumable && drc->drc_shape != RECV_HEAL) {
        (void)txg_wait_synced(dsl_pool_txg(drc->drc_dp), 0); /* all that arrived, with the note of how far */
        if (drc->drc_os != NULL)
            objset_evict(drc->drc_os);
    }
    recv_release(drc);
    if (!drc->drc_resumable && drc->drc_shape != RECV_HEAL)
        undo(drc->drc_dp, name, drc->drc_shape == RECV_INPLACE);
    recv_cookie_free(drc);
}

/* ---- after a crash ---- */

/* What the flag and the keys of ds say; existed: of one to be undone. */
static int
is_unfinished(dsl_dataset_t *ds, bool *unfinished, bool *existed)
{
    dsl_dataset_phys_t phys, prev = {0};
    dsl_resume_t dr;
    int err;

    dsl_dataset_phys(ds, &phys);
    if (ds->ds_prev != NULL)
        dsl_dataset_phys(ds->ds_prev, &prev);
    err = recv_resume_load(ds->ds_pool, ds->ds_object, &dr);
    *unfinished = (phys.ds_flags & DS_FLAG_INCONSISTENT) && err == ENOENT;
    *existed = prev.ds_dir_obj == phys.ds_dir_obj;
    return err == ENOENT ? 0 : err;
}

/* fs, or the hidden one below it. Its name is returned when there is something to do. */
static int
look_at(dsl_pool_t *dp, const char *fs, bool hidden, char *name, bool *existed)
{
    dsl_dataset_t *head, *ds;
    bool unfinished = false;
    int err;

    rw_enter_read(&dp->dp_config_lock);
    err = dsl_dataset_hold_locked(dp, fs, look_at, &head);
    if (err == 0) {
        ds = head;
        err = hidden ? recv_hidden_hold(head, look_at, &ds) : 0;
        if (err == 0) {
            err = is_unfinished(ds, &unfinished, existed);
            dsl_dataset_name(ds, name);
        }
        if (err == 0 && hidden)
            dsl_dataset_rele(ds, look_at);
        dsl_dataset_rele(head, look_at);
    }
    rw_exit(&dp->dp_config_lock);
    if (err == 0 && !unfinished)
        name[0] = '\0';
    return hidden && err == ENOENT ? 0 : err;
}

static int
cleanup_one(dsl_pool_t *dp, const char *fs)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];
    bool existed = false;
    int err = 0;

    for (int hidden = 1; hidden >= 0 && err == 0; hidden--) {
        name[0] = '\0';
        err = look_at(dp, fs, hidden, name, &existed);
        if (err == 0 && name[0] != '\0')
            undo(dp, name, existed);
    }
    return err;
}

/* What cannot be read is passed over: it is no reason not to open the pool. */
static int
cleanup_below(void *arg, const char *fs)
{
    int err = dsl_for_each_child(arg, fs, cleanup_below, arg), err2 = cleanup_one(arg, fs);

    if (err != 0 || err2 != 0)
        cowbird_log(LOG_WARNING, "cannot look for unfinished receives in %s: %s", fs,
                    cowbird_strerror(err != 0 ? err : err2));
    return spa_suspended(dsl_pool_spa(arg));
}

int
dsl_recv_cleanup(dsl_pool_t *dp)
{
    return cleanup_below(dp, dsl_pool_name(dp));
}

/* ---- given up ---- */

/* The partly received dataset of fs: itself, or the hidden one below it; held. EINVAL there is none. Config lock held. */
static int
partial_hold(dsl_pool_t *dp, const char *fs, const void *tag, dsl_dataset_t **dsp, dsl_resume_t *dr)
{
    dsl_dataset_t *head, *ds;
    int err = dsl_dataset_hold_locked(dp, fs, tag, &head);

    if (err != 0)
        return err;
    if (recv_hidden_hold(head, tag, &ds) == 0)
        dsl_dataset_rele(head, tag);
    else
        ds = head;
    err = recv_resume_load(dp, ds->ds_object, dr);
    if (err != 0)
        dsl_dataset_rele(ds, tag);
    else
        *dsp = ds;
    return err;
}

int
dsl_recv_partial(dsl_pool_t *dp, const char *fs, char *name, dsl_resume_t *dr)
{
    dsl_dataset_t *ds;

    rw_enter_read(&dp->dp_config_lock);
    int err = partial_hold(dp, fs, dsl_recv_partial, &ds, dr);
    if (err == 0) {
        dsl_dataset_name(ds, name);
        dsl_dataset_rele(ds, dsl_recv_partial);
    }
    rw_exit(&dp->dp_config_lock);
    return err;
}

int
dsl_recv_abort(dsl_pool_t *dp, const char *fs)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];
    dsl_resume_t dr;
    int err = dsl_recv_partial(dp, fs, name, &dr);

    if (err != 0)
        return err == ENOENT ? SET_ERROR(EINVAL) : err;
    return dsl_destroy_head(dp, name);
}
