/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * send.c - dmu_send: a snapshot, or what changed between two, as a stream of records.
 *
 *   traversing thread          pool's workers              calling thread
 *   ----------------           --------------              --------------
 *   traverse_objset()          read, verify,               in order: wait for the data,
 *     send_visit()  ──items──►  decompress   ──────────►   Fletcher-4, writev(2)
 *                  (bounded queue: STREAM_QUEUE_BYTES)
 *
 * So the disk, the sums and the pipe work at the same time, in one pass and in bounded memory, and the traversal reads only
 * what was born after the source.
 *
 * INVARIANTS
 *  1. The snapshot is long-held from the resolution of its name to the last byte: it cannot be destroyed meanwhile. The
 *     source need not be: only its creation txg and guid are used.
 *  2. Whoever ends first, the other is told: the writer stops the queue (the traversal gets EINTR), the traversal closes
 *     it. Every item is freed by the writer, after its read has come back.
 *  3. The stream is one every receiver since zfs-fuse takes, unless dsa_flags ask for more: header type 1, BEGIN
 *     without payload, blocks of at most 128 KiB, everything plain.
 *
 * ZFS: dmu_send() in dmu_send.c.
 */
#include <time.h>

#include "dsl_impl.h"
#include "send_impl.h"

/* What is to be sent, resolved. */
typedef struct send_source {
    dsl_dataset_t *ss_ds; /* held and long-held */
    dsl_dataset_phys_t ss_phys;
    dmu_replay_record_t ss_begin;
    uint64_t ss_since;
} send_source_t;

/* ---- resolving ---- */

/* Is the snapshot `from` in the past of the one with this phys? Follows previous snapshots, through origins too. */
static int
source_is_before(dsl_pool_t *dp, uint64_t from, const dsl_dataset_phys_t *phys)
{
    uint64_t obj = phys->ds_prev_snap_obj, txg = UINT64_MAX;

    while (obj != 0 && obj != from) {
        dsl_dataset_phys_t prev;
        dsl_dataset_t *ds;
        int err = dsl_dataset_hold_obj(dp, obj, source_is_before, &ds);
        if (err != 0)
            return err;
        dsl_dataset_phys(ds, &prev);
        dsl_dataset_rele(ds, source_is_before);
        obj = prev.ds_prev_snap_obj;
        if (obj != 0 && prev.ds_prev_snap_txg >= txg)
            return SET_ERROR(EIO); /* snapshots in a circle */
        txg = prev.ds_prev_snap_txg;
    }
    return obj == 0 ? SET_ERROR(EXDEV) : 0;
}

/* The origin's dataset object, 0 when ds is no clone. */
static uint64_t
source_origin(dsl_pool_t *dp, dsl_dataset_t *ds)
{
    uint64_t obj;

    mutex_enter(&ds->ds_dir->dd_lock);
    obj = ds->ds_dir->dd_phys.dd_origin_obj;
    mutex_exit(&ds->ds_dir->dd_lock);
    return obj == dp->dp_origin_snap_obj ? 0 : obj;
}

static int
source_from(dsl_pool_t *dp, send_source_t *ss, dsl_dataset_t *from)
{
    struct drr_begin *b = &ss->ss_begin.drr_u.drr_begin;
    dsl_dataset_phys_t phys;
    int err;

    if (!dsl_dataset_is_snapshot(from))
        return SET_ERROR(EINVAL);
    err = source_is_before(dp, dsl_dataset_obj(from), &ss->ss_phys);
    if (err != 0)
        return err;
    dsl_dataset_phys(from, &phys);
    ss->ss_since = phys.ds_creation_txg;
    b->drr_fromguid = phys.ds_guid;
    if (phys.ds_dir_obj != ss->ss_phys.ds_dir_obj)
        b->drr_flags |= DRR_FLAG_CLONE;
    return 0;
}

static int
source_resolve_from(dsl_pool_t *dp, const dmu_send_args_t *args, send_source_t *ss)
{
    uint64_t origin = args->dsa_fromorigin ? source_origin(dp, ss->ss_ds) : 0;
    dsl_dataset_t *from;
    int err;

    if (args->dsa_from == NULL && origin == 0)
        return 0;
    err = origin != 0 ? dsl_dataset_hold_obj(dp, origin, args, &from)
                      : dsl_dataset_hold(dp, args->dsa_from, args, &from);
    if (err != 0)
        return err;
    err = source_from(dp, ss, from);
    dsl_dataset_rele(from, args);
    return err;
}

/* Is this feature in use in the dataset (which then is a ZAP as well)? */
static bool
dataset_uses(dsl_pool_t *dp, dsl_dataset_t *ds, const char *feature)
{
    bool uses;

    rw_enter_read(&dp->dp_config_lock);
    uses = zap_contains(dp->dp_mos, dsl_dataset_obj(ds), feature) == 0;
    rw_exit(&dp->dp_config_lock);
    return uses;
}

static int
source_features(dsl_pool_t *dp, const send_source_t *ss, objset_t *os, uint32_t flags, uint64_t *features)
{
    uint64_t version = 0;
    int err;

    *features = 0;
    if (objset_type(os) == DMU_OST_ZFS) {
        err = zap_lookup_u64(os, 1, "VERSION", &version);
        if (err != 0)
            return err;
    }
    if (version >= 5)
        *features |= DMU_BACKUP_FEATURE_SA_SPILL;
    if (dataset_uses(dp, ss->ss_ds, FEATURE_LARGE_DNODE))
        *features |= DMU_BACKUP_FEATURE_LARGE_DNODE;
    if ((flags & DMU_SEND_LARGE_BLOCK) && dataset_uses(dp, ss->ss_ds, FEATURE_LARGE_BLOCKS))
        *features |= DMU_BACKUP_FEATURE_LARGE_BLOCKS;
    if ((flags & DMU_SEND_EMBED) && dsl_feature_active(dp, FEATURE_EMBEDDED_DATA))
        *features |= DMU_BACKUP_FEATURE_EMBED_DATA;
    if (flags & DMU_SEND_COMPRESSED)
        *features |= DMU_BACKUP_FEATURE_COMPRESSED;
    if ((flags & (DMU_SEND_COMPRESSED | DMU_SEND_EMBED)) && dsl_feature_active(dp, FEATURE_LZ4_COMPRESS))
        *features |= DMU_BACKUP_FEATURE_LZ4;
    if ((flags & (DMU_SEND_COMPRESSED | DMU_SEND_EMBED)) &&
        dataset_uses(dp, ss->ss_ds, FEATURE_ZSTD_COMPRESS))
        *features |= DMU_BACKUP_FEATURE_ZSTD;
    return 0;
}

static int
source_begin(dsl_pool_t *dp, send_source_t *ss, uint32_t flags)
{
    struct drr_begin *b = &ss->ss_begin.drr_u.drr_begin;
    uint64_t features;
    objset_t *os;
    int err = dsl_dataset_objset(ss->ss_ds, &os);

    if (err == 0)
        err = source_features(dp, ss, os, flags, &features);
    if (err != 0)
        return err;
    ss->ss_begin.drr_type = DRR_BEGIN;
    b->drr_magic = DRR_MAGIC;
    b->drr_versioninfo = DMU_VERSIONINFO(DMU_SUBSTREAM, features);
    b->drr_creation_time = ss->ss_phys.ds_creation_time;
    b->drr_type = objset_type(os);
    b->drr_flags |= DRR_FLAG_FREERECORDS | DRR_FLAG_SPILL_BLOCK;
    if (ss->ss_phys.ds_flags & DS_FLAG_CI_DATASET)
        b->drr_flags |= DRR_FLAG_CI_DATA;
    b->drr_toguid = ss->ss_phys.ds_guid;
    dsl_dataset_name(ss->ss_ds, b->drr_toname);
    return 0;
}

static void
source_rele(send_source_t *ss)
{
    dsl_dataset_long_rele(ss->ss_ds, ss);
    dsl_dataset_rele(ss->ss_ds, ss);
}

static int
source_resolve(dsl_pool_t *dp, const dmu_send_args_t *args, send_source_t *ss)
{
    int err;

    memset(ss, 0, sizeof(*ss));
    if (args->dsa_from != NULL && args->dsa_fromorigin)
        return SET_ERROR(EINVAL);
    err = dsl_dataset_hold(dp, args->dsa_tosnap, ss, &ss->ss_ds);
    if (err != 0)
        return err;
    if (!dsl_dataset_is_snapshot(ss->ss_ds)) {
        dsl_dataset_rele(ss->ss_ds, ss);
        return SET_ERROR(EINVAL);
    }
    dsl_dataset_long_hold(ss->ss_ds, ss);
    dsl_dataset_phys(ss->ss_ds, &ss->ss_phys);
    err = source_resolve_from(dp, args, ss);
    if (err == 0)
        err = source_begin(dp, ss, args->dsa_flags);
    if (err != 0)
        source_rele(ss);
    return err;
}

/* ---- traversing ---- */

typedef struct send_walk {
    send_t *sw_send;
    const send_source_t *sw_source;
    traverse_stats_t sw_stats;
    int sw_err;
} send_walk_t;

static void
send_walk(send_walk_t *sw)
{
    const send_source_t *ss = sw->sw_source;
    send_t *snd = sw->sw_send;

    sw->sw_err = traverse_objset(snd->snd_spa, &ss->ss_phys.ds_bp, dsl_dataset_obj(ss->ss_ds), ss->ss_since,
                                 TRAVERSE_PRE, NULL, send_visit, snd, &sw->sw_stats);
    if (sw->sw_err == 0)
        sw->sw_err = send_flush_frees(snd);
}

static void *
send_walk_thread(void *arg)
{
    send_walk_t *sw = arg;

    send_walk(sw);
    stream_queue_close(&sw->sw_send->snd_queue);
    return NULL;
}

/* ---- writing ---- */

static void
rele_buf(void *arg)
{
    arc_buf_rele(arg);
}

static void
item_wait(send_t *snd, send_item_t *it)
{
    mutex_enter(&snd->snd_lock);
    while (!it->it_done)
        cv_wait(&snd->snd_cv, &snd->snd_lock);
    mutex_exit(&snd->snd_lock);
}

/* A block read from the pool, in as many records as it takes. */
static int
write_block(send_t *snd, stream_out_t *so, send_item_t *it)
{
    struct drr_write *w = &it->it_drr.drr_u.drr_write;
    uint64_t start = w->drr_offset, off = 0;
    int err = 0;

    if (it->it_drr.drr_type == DRR_SPILL)
        return stream_out_record(so, &it->it_drr, it->it_buf->b_data, it->it_len, rele_buf,
                                 arc_buf_hold(it->it_buf));
    while (err == 0 && off < it->it_len) {
        uint64_t n = send_piece(snd, off, it->it_len);
        w->drr_offset = start + off;
        w->drr_logical_size = n;
        err = stream_out_record(so, &it->it_drr, (char *)it->it_buf->b_data + off, n, rele_buf,
                                arc_buf_hold(it->it_buf));
        off += n;
    }
    return err;
}

static int
write_item(send_t *snd, stream_out_t *so, send_item_t *it)
{
    void *bytes = it->it_bytes;

    if (it->it_buf != NULL)
        return write_block(snd, so, it);
    it->it_bytes = NULL;
    return stream_out_record(so, &it->it_drr, bytes, it->it_len, free, bytes);
}

/* Everything the traversal puts on the queue; after an error only to free it. */
static int
write_items(send_t *snd, stream_out_t *so)
{
    send_item_t *it;
    int err = 0;

    while ((it = stream_queue_get(&snd->snd_queue)) != NULL) {
        uint64_t cost = it->it_cost;
        if (it->it_read) {
            item_wait(snd, it);
            if (err == 0)
                err = it->it_err;
        }
        if (err == 0)
            err = write_item(snd, so, it);
        send_item_free(it);
        stream_queue_done(&snd->snd_queue, cost);
        if (err != 0)
            stream_queue_stop(&snd->snd_queue);
    }
    return err;
}

static int
write_end(stream_out_t *so, uint64_t toguid)
{
    dmu_replay_record_t end = {.drr_type = DRR_END};
    int err;

    end.drr_u.drr_end.drr_toguid = toguid;
    err = stream_out_record(so, &end, NULL, 0, NULL, NULL);
    return err != 0 ? err : stream_out_flush(so);
}

static int
send_stream(send_t *snd, send_source_t *ss, stream_out_t *so, traverse_stats_t *stats)
{
    send_walk_t sw = {.sw_send = snd, .sw_source = ss};
    pthread_t walker;
    int err = stream_out_record(so, &ss->ss_begin, NULL, 0, NULL, NULL);

    if (err != 0)
        return err;
    VERIFY0(pthread_create(&walker, NULL, send_walk_thread, &sw));
    err = write_items(snd, so);
    VERIFY0(pthread_join(walker, NULL));
    *stats = sw.sw_stats;
    if (err == 0)
        err = sw.sw_err;
    return err != 0 ? err : write_end(so, snd->snd_toguid);
}

/* ---- the calls ---- */

void
sigpipe_block(sigset_t *old)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    VERIFY0(pthread_sigmask(SIG_BLOCK, &set, old));
}

void
sigpipe_restore(const sigset_t *old)
{
    const struct timespec now = {0, 0};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    if (!sigismember(old, SIGPIPE)) {
        while (sigtimedwait(&set, NULL, &now) == SIGPIPE)
            ;
    }
    VERIFY0(pthread_sigmask(SIG_SETMASK, old, NULL));
}

static void
send_init(send_t *snd, dsl_pool_t *dp, const send_source_t *ss)
{
    memset(snd, 0, sizeof(*snd));
    snd->snd_spa = dsl_pool_spa(dp);
    snd->snd_since = ss->ss_since;
    snd->snd_toguid = ss->ss_phys.ds_guid;
    snd->snd_features = DMU_GET_FEATUREFLAGS(ss->ss_begin.drr_u.drr_begin.drr_versioninfo);
    mutex_init(&snd->snd_lock);
    cv_init(&snd->snd_cv);
    stream_queue_init(&snd->snd_queue, offsetof(send_item_t, it_node), STREAM_QUEUE_BYTES);
}

static void
send_fini(send_t *snd)
{
    stream_queue_fini(&snd->snd_queue);
    cv_destroy(&snd->snd_cv);
    mutex_destroy(&snd->snd_lock);
}

int
dmu_send(dsl_pool_t *dp, dmu_send_args_t *args)
{
    stream_out_t *so;
    send_source_t ss;
    sigset_t old;
    send_t snd;
    int err = source_resolve(dp, args, &ss);

    if (err != 0)
        return err;
    send_init(&snd, dp, &ss);
    so = xzalloc(sizeof(*so));
    stream_out_init(so, args->dsa_fd, args->dsa_off, args->dsa_cancel);
    sigpipe_block(&old);
    err = send_stream(&snd, &ss, so, &args->dsa_stats);
    stream_out_fini(so);
    sigpipe_restore(&old);
    free(so);
    send_fini(&snd);
    source_rele(&ss);
    return err;
}

int
dmu_send_estimate(dsl_pool_t *dp, const dmu_send_args_t *args, uint64_t *bytes)
{
    send_source_t ss;
    send_t snd;
    int err = source_resolve(dp, args, &ss);

    if (err != 0)
        return err;
    send_init(&snd, dp, &ss);
    snd.snd_count = true;
    send_walk_t sw = {.sw_send = &snd, .sw_source = &ss};
    send_walk(&sw);
    *bytes = snd.snd_bytes + 2 * DRR_SIZE; /* BEGIN and END */
    send_fini(&snd);
    source_rele(&ss);
    return sw.sw_err;
}
