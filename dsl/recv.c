/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recv.c - dmu_recv_begin and dmu_recv_end: the dataset that receives, from "not there" to "a snapshot", or back.
 *
 *                       begin (one txg)          _stream (many txgs)         end (one txg)
 *   full, clone    create, INCONSISTENT, own ──► objects change ──► flag off, snapshot, guid, time ──► disown
 *   incremental           INCONSISTENT, own ──►      "                  "
 *                                                    │ any error
 *   full, clone    destroyed                    ◄────┤ abandon
 *   incremental    rolled back, flag off        ◄────┘        a crash instead: dsl_recv_cleanup() at the next open
 *
 * INVARIANTS
 *  1. A dataset with DS_FLAG_INCONSISTENT is being received into, or was when the machine stopped. It cannot be mounted, sent or
 *     owned by anyone else.
 *  2. Which of the two ways back is right can be told from the dataset alone: one that has a snapshot of its own existed
 *     before. (So a clone without one is not received into: there the question would have no answer.)
 *  3. The flag goes and the snapshot comes in one txg: no crash leaves one without the other.
 *
 * Typical use:  dmu_recv_begin(dp, &args, se, &drc);  dmu_recv_stream(drc, se);  dmu_recv_end(drc);
 * ZFS: dmu_recv_begin(), dmu_recv_end(), dmu_recv_cleanup_ds() in dmu_recv.c.
 */
#include <stdio.h>
#include <syslog.h>

#include "recv_impl.h"

/* What begin's check and sync share. */
typedef struct recv_begin {
    dmu_recv_cookie_t *rb_drc;
    bool rb_force;
    const char *rb_origin; /* snapshot, or NULL */
    stream_error_t *rb_se;
} recv_begin_t;

#define FAIL(err, ...) stream_fail(rb->rb_se, SET_ERROR(err), 0, 0, __VA_ARGS__)

/* ---- begin: a dataset that is not there yet ---- */

static int
check_origin(recv_begin_t *rb, dsl_pool_t *dp, dmu_tx_t *tx)
{
    dmu_recv_cookie_t *drc = rb->rb_drc;
    dsl_dataset_phys_t phys;
    dsl_dataset_t *origin;
    bool snapshot;
    int err;

    if (rb->rb_origin == NULL)
        return drc->drc_full ? 0 : FAIL(EINVAL, "the origin of this clone is not here");
    err = dsl_dataset_hold_locked(dp, rb->rb_origin, rb, &origin);
    if (err != 0)
        return FAIL(err, "origin %s: %s", rb->rb_origin, cowbird_strerror(err));
    dsl_dataset_phys(origin, &phys);
    snapshot = dsl_dataset_is_snapshot(origin);
    if (snapshot && tx != NULL)
        err = dsl_dataset_clone_check(origin);
    dsl_dataset_rele(origin, rb);
    if (err != 0)
        return FAIL(err, "origin %s: %s", rb->rb_origin, cowbird_strerror(err));
    if (!snapshot)
        return FAIL(EINVAL, "origin %s is not a snapshot", rb->rb_origin);
    if (!drc->drc_full && phys.ds_guid != drc->drc_drrb.drr_fromguid)
        return FAIL(ENODEV, "origin %s is not the snapshot this clone started from", rb->rb_origin);
    if (drc->drc_full && !(drc->drc_drrb.drr_flags & DRR_FLAG_FREERECORDS))
        return FAIL(EINVAL, "this full stream cannot become a clone: its sender was too old");
    return 0;
}

static int
check_new(recv_begin_t *rb, dsl_pool_t *dp, dmu_tx_t *tx)
{
    dmu_recv_cookie_t *drc = rb->rb_drc;
    dsl_dir_t *parent;
    const char *tail;
    int err = dsl_create_check_name(dp, drc->drc_tofs, &parent, &tail);

    if (err == EEXIST)
        return FAIL(EEXIST, "destination '%s' exists", drc->drc_tofs);
    if (err == ENOENT)
        return FAIL(ENOENT, "the parent of '%s' does not exist", drc->drc_tofs);
    if (err != 0)
        return FAIL(err, "%s: %s", drc->drc_tofs, cowbird_strerror(err));
    dsl_dir_rele(parent, drc->drc_tofs);
    return check_origin(rb, dp, tx);
}

static dsl_dataset_t *
sync_new(recv_begin_t *rb, dsl_pool_t *dp, dmu_tx_t *tx)
{
    dmu_recv_cookie_t *drc = rb->rb_drc;
    uint64_t flags = DS_FLAG_INCONSISTENT, obj;
    dsl_dataset_t *ds, *origin = NULL;
    dsl_dir_t *parent;
    const char *tail;

    if (drc->drc_drrb.drr_flags & DRR_FLAG_CI_DATA)
        flags |= DS_FLAG_CI_DATASET;
    VERIFY0(dsl_create_check_name(dp, drc->drc_tofs, &parent, &tail));
    if (rb->rb_origin != NULL)
        VERIFY0(dsl_dataset_hold_locked(dp, rb->rb_origin, rb, &origin));
    obj = dsl_dataset_create_sync(parent, tail, origin, flags, tx);
    dsl_dir_rele(parent, drc->drc_tofs);
    if (origin != NULL)
        dsl_dataset_rele(origin, rb);
    VERIFY0(dsl_dataset_hold_obj_locked(dp, obj, drc, &ds));
    if (origin == NULL)
        dsl_dataset_create_objset(ds, (dmu_objset_type_t)drc->drc_drrb.drr_type, NULL, false, tx);
    return ds;
}

/* ---- begin: one that is ---- */

static int
check_latest(recv_begin_t *rb, dsl_dataset_t *ds)
{
    dmu_recv_cookie_t *drc = rb->rb_drc;
    dsl_dataset_phys_t phys, prev;
    uint64_t obj;

    dsl_dataset_phys(ds, &phys);
    if (ds->ds_prev != NULL)
        dsl_dataset_phys(ds->ds_prev, &prev);
    if (ds->ds_prev == NULL || prev.ds_dir_obj != phys.ds_dir_obj ||
        prev.ds_guid != drc->drc_drrb.drr_fromguid)
        return FAIL(ENODEV, "most recent snapshot of %s does not match incremental source", drc->drc_tofs);
    if (!rb->rb_force && dsl_dataset_modified_since(ds, ds->ds_prev))
        return FAIL(ETXTBSY, "destination %s has been modified since most recent snapshot", drc->drc_tofs);
    if (dsl_dataset_snap_lookup(ds, drc->drc_tosnap, &obj) == 0)
        return FAIL(EEXIST, "snapshot '%s@%s' exists", drc->drc_tofs, drc->drc_tosnap);
    if ((ds->ds_features & DS_FEATURE_LARGE_BLOCKS) && !(drc->drc_features & DMU_BACKUP_FEATURE_LARGE_BLOCKS))
        return FAIL(ENOTSUP, "%s has blocks over 128 KiB, which this stream was sent without (-L)",
                    drc->drc_tofs);
    return 0;
}

static int
check_existing(recv_begin_t *rb, dsl_pool_t *dp)
{
    dmu_recv_cookie_t *drc = rb->rb_drc;
    dsl_dataset_phys_t phys;
    dsl_dataset_t *ds;
    int err = dsl_dataset_hold_locked(dp, drc->drc_tofs, rb, &ds);

    if (err == ENOENT)
        return FAIL(ENOENT, "destination '%s' does not exist", drc->drc_tofs);
    if (err != 0)
        return FAIL(err, "%s: %s", drc->drc_tofs, cowbird_strerror(err));
    dsl_dataset_phys(ds, &phys);
    mutex_enter(&dp->dp_lock);
    bool owned = ds->ds_owner != NULL;
    mutex_exit(&dp->dp_lock);
    if (dsl_dataset_is_snapshot(ds))
        err = FAIL(EINVAL, "'%s' is a snapshot", drc->drc_tofs);
    else if (owned || (phys.ds_flags & DS_FLAG_INCONSISTENT))
        err = FAIL(EBUSY, "destination '%s' is in use (mounted, or being received into)", drc->drc_tofs);
    else
        err = check_latest(rb, ds);
    dsl_dataset_rele(ds, rb);
    return err;
}

static dsl_dataset_t *
sync_existing(recv_begin_t *rb, dsl_pool_t *dp, dmu_tx_t *tx)
{
    dmu_recv_cookie_t *drc = rb->rb_drc;
    dsl_dataset_t *ds;

    VERIFY0(dsl_dataset_hold_locked(dp, drc->drc_tofs, drc, &ds));
    dsl_dataset_will_dirty(ds, tx);
    mutex_enter(&ds->ds_lock);
    ds->ds_phys.ds_flags |= DS_FLAG_INCONSISTENT;
    mutex_exit(&ds->ds_lock);
    return ds;
}

/* ---- begin ---- */

static int
recv_begin_check(void *arg, dmu_tx_t *tx)
{
    recv_begin_t *rb = arg;
    dsl_pool_t *dp = rb->rb_drc->drc_dp;

    return rb->rb_drc->drc_newfs ? check_new(rb, dp, tx) : check_existing(rb, dp);
}

static void
recv_begin_sync(void *arg, dmu_tx_t *tx)
{
    recv_begin_t *rb = arg;
    dmu_recv_cookie_t *drc = rb->rb_drc;

    drc->drc_ds = drc->drc_newfs ? sync_new(rb, drc->drc_dp, tx) : sync_existing(rb, drc->drc_dp, tx);
    VERIFY(dsl_dataset_tryown(drc->drc_ds, drc));
}

static int
cookie_create(dsl_pool_t *dp, const dmu_recv_args_t *args, stream_error_t *se, dmu_recv_cookie_t **drcp)
{
    dmu_recv_cookie_t *drc = xzalloc(sizeof(*drc));
    dmu_replay_record_t host = *args->rva_begin;
    char text[sizeof(se->se_text)];
    bool swap;
    int err = drr_begin_order(args->rva_begin, &swap);

    if (err == 0 && swap)
        drr_byteswap(&host, DRR_BEGIN);
    if (err == 0)
        err = stream_check_begin(&host.drr_u.drr_begin, text);
    else
        snprintf(text, sizeof(text), "this is not a send stream (bad magic number)");
    if (err != 0) {
        free(drc);
        (void)stream_fail(se, err, 0, 0, "%s", text);
        return err;
    }
    drc->drc_dp = dp;
    drc->drc_wire = *args->rva_begin;
    drc->drc_fd = args->rva_fd;
    drc->drc_off = args->rva_off;
    drc->drc_cancel = args->rva_cancel;
    drc->drc_drrb = host.drr_u.drr_begin;
    drc->drc_features = DMU_GET_FEATUREFLAGS(drc->drc_drrb.drr_versioninfo);
    drc->drc_full = drc->drc_drrb.drr_fromguid == 0;
    snprintf(drc->drc_tofs, sizeof(drc->drc_tofs), "%s", args->rva_tofs);
    snprintf(drc->drc_tosnap, sizeof(drc->drc_tosnap), "%s", args->rva_tosnap);
    *drcp = drc;
    return 0;
}

static int
check_names(const char *tofs, const char *tosnap, stream_error_t *se)
{
    char whole[2 * ZFS_MAX_DATASET_NAME_LEN + 2];
    const char *reason = NULL;
    int err;

    snprintf(whole, sizeof(whole), "%s@%s", tofs, tosnap);
    err = strlen(tofs) >= ZFS_MAX_DATASET_NAME_LEN || strlen(tosnap) >= ZFS_MAX_DATASET_NAME_LEN
              ? SET_ERROR(ENAMETOOLONG)
              : dsl_name_check(whole, &reason);
    if (err != 0)
        return stream_fail(se, err, 0, 0, "'%s': %s", whole, reason != NULL ? reason : cowbird_strerror(err));
    return 0;
}

/* With force: the head is given back the state of its latest snapshot first, but only when all else is right. */
static int
recv_force(recv_begin_t *rb, dsl_pool_t *dp)
{
    int err;

    rw_enter_read(&dp->dp_config_lock);
    err = recv_begin_check(rb, NULL);
    rw_exit(&dp->dp_config_lock);
    if (err == 0)
        err = dsl_rollback(dp, rb->rb_drc->drc_tofs, NULL);
    rb->rb_force = false;
    return err;
}

/* Any error: the cookie is gone. */
static int
recv_begin(recv_begin_t *rb, dsl_pool_t *dp)
{
    dmu_recv_cookie_t *drc = rb->rb_drc;
    char found[ZFS_MAX_DATASET_NAME_LEN];
    int err = 0;

    drc->drc_newfs = drc->drc_full || rb->rb_origin != NULL || (drc->drc_drrb.drr_flags & DRR_FLAG_CLONE);
    if (!drc->drc_full && drc->drc_newfs && rb->rb_origin == NULL &&
        dsl_find_by_guid(dp, drc->drc_drrb.drr_fromguid, true, found) == 0)
        rb->rb_origin = found;
    if (!drc->drc_newfs && rb->rb_force)
        err = recv_force(rb, dp);
    if (err == 0)
        err = dsl_sync_task(dp, recv_begin_check, recv_begin_sync, rb, 8, DSL_SPACE_NORMAL);
    if (err != 0) {
        if (drc->drc_ds != NULL) /* the task ran, but its txg did not get to disk */
            dsl_dataset_disown(drc->drc_ds, drc);
        free(drc);
        return stream_fail(rb->rb_se, err, 0, 0, "%s", cowbird_strerror(err));
    }
    err = dsl_dataset_objset(drc->drc_ds, &drc->drc_os);
    if (err != 0)
        recv_abandon(drc);
    return err;
}

int
dmu_recv_begin(dsl_pool_t *dp, const dmu_recv_args_t *args, stream_error_t *se, dmu_recv_cookie_t **drcp)
{
    recv_begin_t rb = {.rb_force = args->rva_force, .rb_origin = args->rva_origin, .rb_se = se};
    int err;

    *drcp = NULL;
    if (se != NULL)
        memset(se, 0, sizeof(*se));
    if (dsl_pool_readonly(dp))
        return stream_fail(se, SET_ERROR(EROFS), 0, 0, "the pool is read-only");
    if (args->rva_resumable || args->rva_heal || args->rva_props != NULL)
        return stream_fail(se, SET_ERROR(ENOTSUP), 0, 0, "not there yet");
    err = check_names(args->rva_tofs, args->rva_tosnap, se);
    if (err == 0)
        err = cookie_create(dp, args, se, &rb.rb_drc);
    if (err != 0)
        return err;
    err = recv_begin(&rb, dp);
    if (err == 0)
        *drcp = rb.rb_drc;
    return err;
}

/* ---- end ---- */

static int
recv_end_check(void *arg, dmu_tx_t *tx)
{
    dmu_recv_cookie_t *drc = arg;

    return dsl_dataset_snapshot_check(drc->drc_ds, drc->drc_tosnap, tx);
}

static void
recv_end_sync(void *arg, dmu_tx_t *tx)
{
    dmu_recv_cookie_t *drc = arg;
    dsl_dataset_t *ds = drc->drc_ds, *snap;

    dsl_dataset_will_dirty(ds, tx);
    mutex_enter(&ds->ds_lock);
    ds->ds_phys.ds_flags &= ~DS_FLAG_INCONSISTENT;
    mutex_exit(&ds->ds_lock);
    dsl_dataset_snapshot_sync(ds, drc->drc_tosnap, tx);
    snap = ds->ds_prev;
    dsl_dataset_will_dirty(snap, tx);
    mutex_enter(&snap->ds_lock);
    snap->ds_phys.ds_guid = drc->drc_drrb.drr_toguid;
    snap->ds_phys.ds_creation_time = drc->drc_drrb.drr_creation_time;
    snap->ds_phys.ds_flags &= ~DS_FLAG_INCONSISTENT;
    mutex_exit(&snap->ds_lock);
}

int
dmu_recv_end(dmu_recv_cookie_t *drc)
{
    int err = dsl_sync_task(drc->drc_dp, recv_end_check, recv_end_sync, drc, 8, DSL_SPACE_NORMAL);

    if (err != 0) {
        recv_abandon(drc);
        return err;
    }
    objset_evict(drc->drc_os); /* ZAPs were written as bytes: what was learnt of them meanwhile may be wrong */
    dsl_dataset_disown(drc->drc_ds, drc);
    free(drc);
    return 0;
}

/* ---- the way back ---- */

/* A failure here (the pool is suspended) is made up for at the next open: the flag is still there. */
static void
undo(dsl_pool_t *dp, const char *fs, bool newfs)
{
    int err = newfs ? dsl_destroy_head(dp, fs) : dsl_rollback(dp, fs, NULL); /* which drops the flag, too */

    if (err != 0)
        cowbird_log(LOG_WARNING, "cannot clean up after the failed receive into %s: %s", fs,
                    cowbird_strerror(err));
}

void
recv_abandon(dmu_recv_cookie_t *drc)
{
    dsl_dataset_disown(drc->drc_ds, drc);
    undo(drc->drc_dp, drc->drc_tofs, drc->drc_newfs);
    free(drc);
}

static int
cleanup_one(dsl_pool_t *dp, const char *fs)
{
    dsl_dataset_phys_t phys, prev = {0};
    dsl_dataset_t *ds;
    int err = dsl_dataset_hold(dp, fs, cleanup_one, &ds);

    if (err != 0)
        return err;
    dsl_dataset_phys(ds, &phys);
    rw_enter_read(&dp->dp_config_lock);
    if (ds->ds_prev != NULL)
        dsl_dataset_phys(ds->ds_prev, &prev);
    rw_exit(&dp->dp_config_lock);
    dsl_dataset_rele(ds, cleanup_one);
    if (phys.ds_flags & DS_FLAG_INCONSISTENT)
        undo(dp, fs, prev.ds_dir_obj != phys.ds_dir_obj);
    return 0;
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
