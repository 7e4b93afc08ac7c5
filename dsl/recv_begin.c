/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recv_begin.c - what dmu_recv_begin's sync task checks and makes. The check ends in a shape (recv.c), the sync makes its dataset.
 *
 *                        tofs is there?
 *             no ──────────────┴────────────── yes
 *     full, or origin known:                   being received into already, or in part      EBUSY, unless the stream resumes it
 *          NEW, CLONE                          full       force: REPLACE                    else EEXIST
 *     else ENOENT, EINVAL                      increment  INPLACE, HIDDEN                   ENODEV, ETXTBSY, EEXIST
 *
 * INVARIANT: both runs of the check take every decision anew; the sync goes by the second one. What refuses says why in rb_se.
 * ZFS: recv_begin_check_existing_impl(), dmu_recv_begin_check(), dmu_recv_resume_begin_check() in dmu_recv.c.
 */
#include <stdio.h>

#include "recv_impl.h"

#define FAIL(err, ...) stream_fail(rb->rb_se, SET_ERROR(err), 0, 0, __VA_ARGS__)

/* ---- hidden ones ---- */

void
recv_hidden_name(const dmu_recv_cookie_t *drc, char *name)
{
    if (drc->drc_resumable || drc->drc_resuming)
        snprintf(name, ZFS_MAX_DATASET_NAME_LEN, "%s", RECV_HIDDEN_RESUMABLE);
    else
        snprintf(name, ZFS_MAX_DATASET_NAME_LEN, "%%%.*s", ZFS_MAX_DATASET_NAME_LEN - 2, drc->drc_tosnap);
}

int
recv_hidden_hold(dsl_dataset_t *head, const void *tag, dsl_dataset_t **dsp)
{
    dsl_pool_t *dp = head->ds_pool;
    dsl_dir_phys_t dd;
    zap_cursor_t zc;
    zap_attribute_t za;
    int err;

    zap_cursor_init(&zc, pool_mos(dp), head->ds_dir->dd_phys.dd_child_dir_zapobj);
    while ((err = zap_cursor_retrieve(&zc, &za)) == 0 && za.za_name[0] != '%')
        zap_cursor_advance(&zc);
    zap_cursor_fini(&zc);
    if (err == 0)
        err = mos_read_bonus(dp, za.za_first_integer, DMU_OT_DSL_DIR, &dd, sizeof(dd));
    if (err != 0 || (err = dsl_dataset_hold_obj_locked(dp, dd.dd_head_dataset_obj, tag, dsp)) != 0)
        return err;
    if ((*dsp)->ds_dir->dd_object == za.za_first_integer && !dsl_dataset_is_snapshot(*dsp))
        return 0;
    dsl_dataset_rele(*dsp, tag);
    return SET_ERROR(EIO); /* a damaged directory: it is another one's */
}

static bool
is_owned(dsl_dataset_t *ds)
{
    mutex_enter(&ds->ds_pool->dp_lock);
    bool owned = ds->ds_owner != NULL;
    mutex_exit(&ds->ds_pool->dp_lock);
    return owned;
}

/* ---- NEW and CLONE ---- */

static bool
other_pool(dsl_pool_t *dp, const char *name)
{
    const char *pool = dsl_pool_name(dp);
    size_t n = strlen(pool);

    return strncmp(name, pool, n) != 0 || (name[n] != '/' && name[n] != '@' && name[n] != '\0');
}

static int
check_origin(recv_begin_t *rb, dsl_pool_t *dp, dmu_tx_t *tx)
{
    dmu_recv_cookie_t *drc = rb->rb_drc;
    dsl_dataset_phys_t phys;
    dsl_dataset_t *origin;
    bool snapshot;
    int err;

    if (other_pool(dp, rb->rb_origin))
        return FAIL(EXDEV, "origin %s is in another pool", rb->rb_origin);
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
    int err;

    if (!drc->drc_full && rb->rb_origin == NULL && (drc->drc_drrb.drr_flags & DRR_FLAG_CLONE))
        return FAIL(EINVAL, "the origin of this clone is not here");
    if (!drc->drc_full && rb->rb_origin == NULL)
        return FAIL(ENOENT, "destination '%s' does not exist", drc->drc_tofs);
    err = dsl_create_check_name(dp, drc->drc_tofs, &parent, &tail);
    if (err == ENOENT)
        return FAIL(ENOENT, "the parent of '%s' does not exist", drc->drc_tofs);
    if (err != 0)
        return FAIL(err, "%s: %s", drc->drc_tofs, cowbird_strerror(err));
    dsl_dir_rele(parent, drc->drc_tofs);
    drc->drc_shape = rb->rb_origin != NULL ? RECV_CLONE : RECV_NEW;
    return rb->rb_origin != NULL ? check_origin(rb, dp, tx) : 0;
}

static uint64_t
begin_flags(const dmu_recv_cookie_t *drc)
{
    return DS_FLAG_INCONSISTENT | (drc->drc_drrb.drr_flags & DRR_FLAG_CI_DATA ? DS_FLAG_CI_DATASET : 0);
}

/* A new head below parent, empty unless it is a clone. */
static dsl_dataset_t *
make_dataset(dmu_recv_cookie_t *drc, dsl_dir_t *parent, const char *name, dsl_dataset_t *origin, dmu_tx_t *tx)
{
    uint64_t obj = dsl_dataset_create_sync(parent, name, origin, begin_flags(drc), tx);
    dsl_dataset_t *ds;

    if (obj == 0 || !mos_must(drc->drc_dp, dsl_dataset_hold_obj_locked(drc->drc_dp, obj, drc, &ds)))
        return NULL;
    if (origin == NULL)
        dsl_dataset_create_objset(ds, (dmu_objset_type_t)drc->drc_drrb.drr_type, NULL, false, tx);
    return ds;
}

static dsl_dataset_t *
sync_new(recv_begin_t *rb, dmu_tx_t *tx)
{
    dmu_recv_cookie_t *drc = rb->rb_drc;
    dsl_dataset_t *ds = NULL, *origin = NULL;
    dsl_dir_t *parent;
    const char *tail;

    if (!mos_must(drc->drc_dp, dsl_create_check_name(drc->drc_dp, drc->drc_tofs, &parent, &tail)))
        return NULL;
    if (drc->drc_shape != RECV_CLONE ||
        mos_must(drc->drc_dp, dsl_dataset_hold_locked(drc->drc_dp, rb->rb_origin, rb, &origin)))
        ds = make_dataset(drc, parent, tail, origin, tx);
    dsl_dir_rele(parent, drc->drc_tofs);
    if (origin != NULL)
        dsl_dataset_rele(origin, rb);
    return ds;
}

/* ---- INPLACE and HIDDEN ---- */

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
    if (!drc->drc_force && dsl_dataset_modified_since(ds, ds->ds_prev))
        return FAIL(ETXTBSY, "destination %s has been modified since most recent snapshot", drc->drc_tofs);
    if (dsl_dataset_snap_lookup(ds, drc->drc_tosnap, &obj) == 0)
        return FAIL(EEXIST, "snapshot '%s@%s' exists", drc->drc_tofs, drc->drc_tosnap);
    if ((ds->ds_features & DS_FEATURE_LARGE_BLOCKS) && !(drc->drc_features & DMU_BACKUP_FEATURE_LARGE_BLOCKS))
        return FAIL(ENOTSUP, "%s has blocks over 128 KiB, which this stream was sent without (-L)",
                    drc->drc_tofs);
    return 0;
}

static int
check_hidden_name(recv_begin_t *rb)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];

    recv_hidden_name(rb->rb_drc, name);
    if (strlen(rb->rb_drc->drc_tofs) + 1 + strlen(name) >= ZFS_MAX_DATASET_NAME_LEN)
        return FAIL(ENAMETOOLONG, "the name of the hidden file system below %s is too long",
                    rb->rb_drc->drc_tofs);
    return 0;
}

static int
check_increment(recv_begin_t *rb, dsl_dataset_t *ds, dmu_tx_t *tx)
{
    dmu_recv_cookie_t *drc = rb->rb_drc;
    int err = check_latest(rb, ds);

    if (err != 0)
        return err;
    bool hidden = drc->drc_resumable || is_owned(ds) || dsl_dataset_modified_since(ds, ds->ds_prev);
    drc->drc_shape = hidden ? RECV_HIDDEN : RECV_INPLACE;
    if (!hidden)
        return 0;
    err = tx != NULL ? dsl_dataset_clone_check(ds->ds_prev) : 0;
    return err != 0 ? FAIL(err, "%s: %s", drc->drc_tofs, cowbird_strerror(err)) : check_hidden_name(rb);
}

static dsl_dataset_t *
sync_inplace(dmu_recv_cookie_t *drc, dmu_tx_t *tx)
{
    dsl_dataset_t *ds;

    if (!mos_must(drc->drc_dp, dsl_dataset_hold_locked(drc->drc_dp, drc->drc_tofs, drc, &ds)))
        return NULL;
    dsl_dataset_set(ds, &ds->ds_phys.ds_flags, ds->ds_phys.ds_flags | DS_FLAG_INCONSISTENT, tx);
    return ds;
}

/* ---- REPLACE ---- */

/* Open context: is it what the stream is, a file system or a volume? */
static int
check_type(recv_begin_t *rb, dsl_dataset_t *ds)
{
    objset_t *os;
    int err = dsl_dataset_objset_locked(ds, &os);

    if (err == 0 && (uint32_t)objset_type(os) != rb->rb_drc->drc_drrb.drr_type)
        return FAIL(EINVAL, "destination '%s' is of another type than the stream", rb->rb_drc->drc_tofs);
    return err;
}

static int
check_replace(recv_begin_t *rb, dsl_dataset_t *ds, dmu_tx_t *tx)
{
    dmu_recv_cookie_t *drc = rb->rb_drc;
    uint64_t snapshots;
    int err;

    if (!drc->drc_full || rb->rb_origin != NULL || !drc->drc_force)
        return FAIL(EEXIST, "destination '%s' exists", drc->drc_tofs);
    if (dsl_dir_is_clone(ds->ds_dir))
        return FAIL(EINVAL, "destination '%s' is a clone", drc->drc_tofs);
    if ((err = dsl_dataset_count_snapshots(ds, &snapshots)) == 0 && snapshots != 0)
        return FAIL(EINVAL, "destination '%s' has snapshots", drc->drc_tofs);
    if (err == 0 && tx == NULL)
        err = check_type(rb, ds);
    drc->drc_shape = RECV_REPLACE;
    return err != 0 ? FAIL(err, "%s: %s", drc->drc_tofs, cowbird_strerror(err)) : check_hidden_name(rb);
}

/* While the hidden one grows, its head stays in use, or unused, as it is; nobody can destroy it or roll it back. */
static void
keep_head(dmu_recv_cookie_t *drc, dsl_dataset_t *head)
{
    drc->drc_head = head;
    drc->drc_head_owned = dsl_dataset_tryown(head, drc);
    dsl_dataset_long_hold(head, drc);
}

static dsl_dataset_t *
sync_hidden(dmu_recv_cookie_t *drc, dmu_tx_t *tx)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];
    dsl_dataset_t *head;

    if (!mos_must(drc->drc_dp, dsl_dataset_hold_locked(drc->drc_dp, drc->drc_tofs, drc, &head)))
        return NULL;
    keep_head(drc, head);
    recv_hidden_name(drc, name);
    return make_dataset(drc, head->ds_dir, name, drc->drc_shape == RECV_HIDDEN ? head->ds_prev : NULL, tx);
}

/* ---- going on ---- */

/* Is ds, partly received, what the stream goes on with? */
static int
check_resume(recv_begin_t *rb, dsl_dataset_t *ds, dmu_tx_t *tx)
{
    dmu_recv_cookie_t *drc = rb->rb_drc;
    dsl_resume_t dr;
    int err = recv_resume_load(drc->drc_dp, ds->ds_object, &dr);

    if (err == ENOENT)
        return FAIL(EINVAL, "%s has nothing to go on with", drc->drc_tofs);
    if (err != 0)
        return FAIL(err, "%s: %s", drc->drc_tofs, cowbird_strerror(err));
    if (is_owned(ds))
        return FAIL(EBUSY, "destination '%s' is being received into", drc->drc_tofs);
    if (dr.dr_toguid != drc->drc_drrb.drr_toguid || dr.dr_fromguid != drc->drc_drrb.drr_fromguid)
        return FAIL(EINVAL, "the interrupted receive into %s was of another stream", drc->drc_tofs);
    drc->drc_bytes = dr.dr_bytes;
    if (drc->drc_in.in_off != 0 && /* BEGIN's list has been read */
        (dr.dr_object != drc->drc_resume.dr_object || dr.dr_offset != drc->drc_resume.dr_offset))
        return FAIL(EINVAL, "the stream does not begin where the receive into %s broke off", drc->drc_tofs);
    return 0;
}

/* The hidden child of tofs goes on: its head must still be what it was. */
static int
check_resume_hidden(recv_begin_t *rb, dsl_dataset_t *head, dsl_dataset_t *ds, dmu_tx_t *tx)
{
    dmu_recv_cookie_t *drc = rb->rb_drc;
    uint64_t obj;
    int err = check_resume(rb, ds, tx);

    if (err != 0)
        return err;
    drc->drc_shape = drc->drc_full ? RECV_REPLACE : RECV_HIDDEN;
    if (drc->drc_full)
        return drc->drc_force ? 0 : FAIL(EEXIST, "destination '%s' exists", drc->drc_tofs);
    if (head->ds_prev != ds->ds_prev)
        return FAIL(ENODEV, "most recent snapshot of %s does not match incremental source", drc->drc_tofs);
    if (!drc->drc_force && dsl_dataset_modified_since(head, head->ds_prev))
        return FAIL(ETXTBSY, "destination %s has been modified since most recent snapshot", drc->drc_tofs);
    if (dsl_dataset_snap_lookup(head, drc->drc_tosnap, &obj) == 0)
        return FAIL(EEXIST, "snapshot '%s@%s' exists", drc->drc_tofs, drc->drc_tosnap);
    return 0;
}

static dsl_dataset_t *
sync_resume(dmu_recv_cookie_t *drc)
{
    dsl_dataset_t *tofs, *ds;

    if (!mos_must(drc->drc_dp, dsl_dataset_hold_locked(drc->drc_dp, drc->drc_tofs, drc, &tofs)))
        return NULL;
    if (drc->drc_shape == RECV_NEW)
        return tofs;
    keep_head(drc, tofs);
    return mos_must(drc->drc_dp, recv_hidden_hold(tofs, drc, &ds)) ? ds : NULL;
}

/* ---- the task ---- */

static int
busy(recv_begin_t *rb, dsl_dataset_t *ds)
{
    const char *tofs = rb->rb_drc->drc_tofs;
    dsl_resume_t dr;

    if (!is_owned(ds) && recv_resume_load(ds->ds_pool, ds->ds_object, &dr) == 0)
        return FAIL(EBUSY, "destination %s contains partially-complete state from \"receive -s\"", tofs);
    return FAIL(EBUSY, "destination '%s' is being received into", tofs);
}

static int
check_existing(recv_begin_t *rb, dsl_dataset_t *ds, dmu_tx_t *tx)
{
    dmu_recv_cookie_t *drc = rb->rb_drc;
    dsl_dataset_phys_t phys;
    dsl_dataset_t *hidden;
    int err;

    dsl_dataset_phys(ds, &phys);
    if (phys.ds_flags & DS_FLAG_INCONSISTENT) {
        drc->drc_shape = RECV_NEW;
        return drc->drc_resuming ? check_resume(rb, ds, tx) : busy(rb, ds);
    }
    err = recv_hidden_hold(ds, rb, &hidden);
    if (err == 0) {
        err = drc->drc_resuming ? check_resume_hidden(rb, ds, hidden, tx) : busy(rb, hidden);
        dsl_dataset_rele(hidden, rb);
        return err;
    }
    if (err != ENOENT)
        return FAIL(err, "%s: %s", drc->drc_tofs, cowbird_strerror(err));
    if (drc->drc_resuming)
        return FAIL(EINVAL, "%s has nothing to go on with", drc->drc_tofs);
    if (drc->drc_full || rb->rb_origin != NULL || (drc->drc_drrb.drr_flags & DRR_FLAG_CLONE))
        return check_replace(rb, ds, tx);
    return check_increment(rb, ds, tx);
}

int
recv_begin_check(void *arg, dmu_tx_t *tx)
{
    recv_begin_t *rb = arg;
    dmu_recv_cookie_t *drc = rb->rb_drc;
    dsl_dataset_t *ds;
    int err = dsl_dataset_hold_locked(drc->drc_dp, drc->drc_tofs, rb, &ds);

    if (err == ENOENT && drc->drc_resuming)
        return FAIL(ENOENT, "destination '%s' does not exist", drc->drc_tofs);
    if (err == ENOENT)
        return check_new(rb, drc->drc_dp, tx);
    if (err != 0)
        return FAIL(err, "%s: %s", drc->drc_tofs, cowbird_strerror(err));
    err = check_existing(rb, ds, tx);
    dsl_dataset_rele(ds, rb);
    return err;
}

static dsl_dataset_t *
sync_dataset(recv_begin_t *rb, dmu_tx_t *tx)
{
    dmu_recv_cookie_t *drc = rb->rb_drc;

    if (drc->drc_resuming)
        return sync_resume(drc);
    switch (drc->drc_shape) {
    case RECV_NEW:
    case RECV_CLONE:
        return sync_new(rb, tx);
    case RECV_INPLACE:
        return sync_inplace(drc, tx);
    case RECV_HIDDEN:
    case RECV_REPLACE:
    case RECV_HEAL: /* has no task */
        break;
    }
    return sync_hidden(drc, tx);
}

/* What cannot be told by the blocks: a dataset says so itself, and its snapshots and clones do, and what is sent of them. */
static void
sync_features(dmu_recv_cookie_t *drc, dmu_tx_t *tx)
{
    dsl_dataset_t *ds = drc->drc_ds;
    uint32_t bits = (drc->drc_features & DMU_BACKUP_FEATURE_LONGNAME ? DS_FEATURE_LONGNAME : 0) |
                    (drc->drc_features & DMU_BACKUP_FEATURE_LARGE_MICROZAP ? DS_FEATURE_MICROZAP : 0) |
                    (drc->drc_features & DMU_BACKUP_FEATURE_REDACTED ? DS_FEATURE_REDACTED : 0);

    feature_ds_set(ds->ds_pool, ds->ds_object, bits & ~ds->ds_features, tx);
    ds->ds_features |= bits;
    if (bits & DS_FEATURE_REDACTED)
        feature_ds_set_values(ds->ds_pool, ds->ds_object, DS_FEATURE_REDACTED, drc->drc_redact,
                              drc->drc_nredact, tx);
}

void
recv_begin_sync(void *arg, dmu_tx_t *tx)
{
    recv_begin_t *rb = arg;
    dmu_recv_cookie_t *drc = rb->rb_drc;

    drc->drc_ds = sync_dataset(rb, tx);
    if (drc->drc_ds == NULL)
        return; /* damage: the pool is suspended */
    VERIFY(dsl_dataset_tryown(drc->drc_ds, drc));
    sync_features(drc, tx);
    history_log_ds(drc->drc_ds, drc->drc_resuming ? "resume receiving" : "receive", tx, "snap=%s", drc->drc_tosnap);
    if (drc->drc_resumable && !drc->drc_resuming)
        recv_resume_init(drc, tx);
}
