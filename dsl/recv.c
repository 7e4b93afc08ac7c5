/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recv.c - dmu_recv_begin: a stream gets a dataset to be received into. Which one, and what becomes of it, is the shape of a receive:
 *
 *   shape     the stream       tofs                                  received into             end                        failure
 *   -------   --------------   -----------------------------------   -----------------------   ------------------------   --------------
 *   NEW       full             is not there                          tofs, empty               snapshot                   tofs destroyed
 *   CLONE     of a clone       is not there                          tofs, clone of origin     snapshot                   tofs destroyed
 *   INPLACE   increment        unmounted, unchanged                  tofs                      snapshot                   rolled back
 *   HIDDEN    increment        mounted; or changed, with force;      tofs/%SNAP, a clone of    swap, snapshot, destroy    %SNAP destroyed
 *                              or to be resumable                    its latest snapshot
 *   REPLACE   full, force      has no snapshots, is no clone         tofs/%SNAP, empty         swap, snapshot, destroy    %SNAP destroyed
 *   HEAL      any                has a snapshot with this guid         its damaged blocks         -                          -
 *
 * Resumable: a failure destroys nothing. The next stream that begins where this one broke off goes on in the same dataset, in the
 * same shape. (The hidden one is then called %recv.)
 *
 *                     begin (one txg)            _stream (many txgs)             end (one txg)
 *                 INCONSISTENT, owned    ──►     objects change        ──►      flag off, snapshot, guid, time
 *                                                   │ any error                     a crash at any time: dsl_recv_cleanup()
 *                                                   ▼ as before                     at the next open does what an error does
 *
 * INVARIANTS
 *  1. A dataset with DS_FLAG_INCONSISTENT is being received into, or was when the machine stopped. It cannot be mounted, sent or
 *     owned by anyone else.
 *  2. Until end's txg, tofs has all that it had: a failure, a crash and a change of mind cost nothing. (INPLACE: in its snapshot.)
 *  3. Which way back is right can be told from the dataset alone: resume keys: keep; a snapshot of its own: it existed before, roll
 *     back; else destroy. (So a clone without a snapshot of its own is not received into.)
 *
 * Typical use:  dmu_recv_begin(dp, &args, se, &drc);  dmu_recv_stream(drc, se);  dmu_recv_end(drc);
 * ZFS: dmu_recv_begin() in dmu_recv.c; there every increment is HIDDEN.
 */
#include <stdio.h>

#include "recv_impl.h"

/* What must be right of BEGIN alone. host: in our order. */
static int
check_begin(const dmu_recv_args_t *args, dmu_replay_record_t *host, stream_error_t *se)
{
    char text[sizeof(se->se_text)];
    bool swap;
    int err = drr_begin_order(args->rva_begin, &swap);

    *host = *args->rva_begin;
    if (err == 0 && swap)
        drr_byteswap(host, DRR_BEGIN);
    if (err == 0)
        err = stream_check_begin(&host->drr_u.drr_begin, text);
    else
        snprintf(text, sizeof(text), "this is not a send stream (bad magic number)");
    return err != 0 ? stream_fail(se, err, 0, 0, "%s", text) : 0;
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

static dmu_recv_cookie_t *
cookie_create(dsl_pool_t *dp, const dmu_recv_args_t *args, const struct drr_begin *drrb)
{
    dmu_recv_cookie_t *drc = xzalloc(sizeof(*drc));

    drc->drc_dp = dp;
    drc->drc_wire = *args->rva_begin;
    drc->drc_drrb = *drrb;
    drc->drc_features = DMU_GET_FEATUREFLAGS(drrb->drr_versioninfo);
    drc->drc_full = drrb->drr_fromguid == 0;
    drc->drc_force = args->rva_force;
    drc->drc_resumable = args->rva_resumable;
    drc->drc_healed_out = args->rva_healed;
    drc->drc_resuming = (drc->drc_features & DMU_BACKUP_FEATURE_RESUMING) != 0;
    drc->drc_props = args->rva_props != NULL ? nvlist_dup(args->rva_props) : NULL;
    drc->drc_order = (stream_order_t){.sd_swap = drc->drc_wire.drr_u.drr_begin.drr_magic != DRR_MAGIC};
    snprintf(drc->drc_tofs, sizeof(drc->drc_tofs), "%s", args->rva_tofs);
    snprintf(drc->drc_tosnap, sizeof(drc->drc_tosnap), "%s", args->rva_tosnap);
    return drc;
}

/* What BEGIN's list says: where a resuming stream goes on, and of what a redacted one was left out. */
static int
read_list(dmu_recv_cookie_t *drc, const nvlist_t *list)
{
    const uint64_t *guids;
    uint32_t n;
    int err;

    if (nvlist_lookup_uint64_array(list, "redact_snaps", &guids, &n) == 0) {
        drc->drc_nredact = MIN(n, DS_FEATURE_VALUES);
        memcpy(drc->drc_redact, guids, drc->drc_nredact * sizeof(*guids));
    }
    if (!drc->drc_resuming)
        return 0;
    if ((err = nvlist_lookup_uint64(list, "resume_object", &drc->drc_resume.dr_object)) == 0)
        err = nvlist_lookup_uint64(list, "resume_offset", &drc->drc_resume.dr_offset);
    drc->drc_max_object = drc->drc_resume.dr_object;
    return err;
}

static int
read_payload(dmu_recv_cookie_t *drc, const uint8_t *payload, stream_error_t *se)
{
    uint32_t len = drc->drc_wire.drr_payloadlen;
    nvlist_t *list;
    int err;

    if (!drc->drc_resuming && !(drc->drc_features & DMU_BACKUP_FEATURE_REDACTED))
        return 0;
    len = drc->drc_order.sd_swap ? __builtin_bswap32(len) : len;
    if (payload == NULL)
        list = nvlist_alloc();
    else if (nvlist_unpack(payload, len, &list) != 0)
        return stream_fail(se, SET_ERROR(EINVAL), 0, 0, "BEGIN: its list is damaged");
    err = read_list(drc, list);
    nvlist_free(list);
    return err == 0 ? 0
                    : stream_fail(se, SET_ERROR(EINVAL), 0, 0, "BEGIN does not say where the stream goes on");
}

/* BEGIN's list, and the header of the first record: what is wrong with them is found before anything changes. */
static int
start_stream(recv_begin_t *rb, const dmu_recv_args_t *args)
{
    dmu_recv_cookie_t *drc = rb->rb_drc;
    uint8_t *payload;
    int err = stream_in_start(&drc->drc_in, args->rva_fd, args->rva_off, args->rva_cancel, rb->rb_se,
                              &drc->drc_wire, &payload);

    if (err == 0)
        err = read_payload(drc, payload, rb->rb_se);
    free(payload);
    return err;
}

static int
check_rules(recv_begin_t *rb)
{
    dsl_pool_t *dp = rb->rb_drc->drc_dp;

    rw_enter_read(&dp->dp_config_lock);
    rb->rb_drc->drc_zstd = feature_enabled(dp, FEATURE_ZSTD_COMPRESS);
    int err = recv_begin_check(rb, NULL);
    rw_exit(&dp->dp_config_lock);
    return err;
}

/* The rules first: what they refuse costs neither a byte of the stream nor a txg. */
static int
recv_begin(recv_begin_t *rb, const dmu_recv_args_t *args)
{
    dmu_recv_cookie_t *drc = rb->rb_drc;
    int err = args->rva_heal ? recv_heal_begin(drc, rb->rb_se) : check_rules(rb);

    if (err == 0)
        err = start_stream(rb, args);
    if (err == 0 && !args->rva_heal)
        err = dsl_sync_task(drc->drc_dp, recv_begin_check, recv_begin_sync, rb, 20, DSL_SPACE_NORMAL);
    if (err != 0) { /* if the task ran, its txg did not get to disk */
        recv_release(drc);
        recv_cookie_free(drc);
        return stream_fail(rb->rb_se, err, 0, 0, "%s", cowbird_strerror(err));
    }
    if (drc->drc_os == NULL && (err = dsl_dataset_objset(drc->drc_ds, &drc->drc_os)) != 0)
        recv_abandon(drc);
    return err;
}

int
dmu_recv_begin(dsl_pool_t *dp, const dmu_recv_args_t *args, stream_error_t *se, dmu_recv_cookie_t **drcp)
{
    recv_begin_t rb = {.rb_origin = args->rva_origin, .rb_se = se};
    char found[ZFS_MAX_DATASET_NAME_LEN];
    dmu_replay_record_t begin;
    int err;

    *drcp = NULL;
    if (se != NULL)
        memset(se, 0, sizeof(*se));
    if (dsl_pool_readonly(dp))
        return stream_fail(se, SET_ERROR(EROFS), 0, 0, "the pool is read-only");
    if ((err = check_names(args->rva_tofs, args->rva_tosnap, se)) != 0 ||
        (err = check_begin(args, &begin, se)) != 0)
        return err;
    const struct drr_begin *drrb = &begin.drr_u.drr_begin;
    if (rb.rb_origin == NULL && (drrb->drr_flags & DRR_FLAG_CLONE) &&
        dsl_find_by_guid(dp, drrb->drr_fromguid, true, found) == 0)
        rb.rb_origin = found;
    rb.rb_drc = cookie_create(dp, args, drrb);
    err = recv_begin(&rb, args);
    if (err == 0)
        *drcp = rb.rb_drc;
    return err;
}
