/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * send.c - dmu_send: a snapshot, or what changed between two, as a stream of records. What that is, send_source.c finds out.
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
 *  1. What is sent is held from the resolution of its name to the last byte (invariants of send_source.c).
 *  2. Whoever ends first, the other is told: the writer stops the queue (the traversal gets EINTR), the traversal closes
 *     it. Every item is let go by the writer after its read has come back, and by the worker that it was given to.
 *  3. The stream is one every receiver since zfs-fuse takes, unless dsa_flags ask for more: header type 1, BEGIN
 *     without payload, blocks of at most 128 KiB, everything plain.
 *
 * ZFS: dmu_send() in dmu_send.c.
 */
#include <time.h>

#include "dsl_impl.h"
#include "send_impl.h"

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

    zbookmark_t resume = {dsl_dataset_obj(ss->ss_ds), snd->snd_resumeobj, ZB_DNODE_LEVEL, 0};
    sw->sw_err = traverse_objset(snd->snd_spa, &ss->ss_phys.ds_bp, dsl_dataset_obj(ss->ss_ds), ss->ss_since, TRAVERSE_PRE,
                                 snd->snd_resumeobj > 1 ? &resume : NULL, send_visit, snd, &sw->sw_stats);
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
    send_item_fetch(it); /* rather than wait for a worker to begin */
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

/* What counts against the queue's limit goes now, though a late worker may still have to look at the item. */
static void
item_done(send_item_t *it)
{
    arc_buf_rele(it->it_buf);
    free(it->it_bytes);
    it->it_buf = NULL;
    it->it_bytes = NULL;
    send_item_free(it);
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
        item_done(it);
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
    int err = stream_out_record(so, &ss->ss_begin, ss->ss_list, ss->ss_begin.drr_payloadlen, NULL, NULL);

    if (err != 0)
        return err;
    VERIFY0(pthread_create(&walker, NULL, send_walk_thread, &sw));
    err = write_items(snd, so);
    VERIFY0(pthread_join(walker, NULL));
    *stats = sw.sw_stats;
    if (err == 0)
        err = sw.sw_err;
    if (err == 0 && ss->ss_saved) /* more is to come, from someone else */
        return stream_out_flush(so);
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
send_init(send_t *snd, dsl_pool_t *dp, const dmu_send_args_t *args, const send_source_t *ss)
{
    memset(snd, 0, sizeof(*snd));
    snd->snd_spa = dsl_pool_spa(dp);
    snd->snd_since = ss->ss_since;
    snd->snd_toguid = ss->ss_begin.drr_u.drr_begin.drr_toguid;
    snd->snd_features = DMU_GET_FEATUREFLAGS(ss->ss_begin.drr_u.drr_begin.drr_versioninfo);
    snd->snd_resumeobj = args->dsa_resumeobj;
    snd->snd_resumeoff = args->dsa_resumeoff;
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
    int err = send_source_resolve(dp, args, &ss);

    if (err != 0)
        return err;
    send_init(&snd, dp, args, &ss);
    so = xzalloc(sizeof(*so));
    stream_out_init(so, args->dsa_fd, args->dsa_off, args->dsa_cancel);
    sigpipe_block(&old);
    err = send_stream(&snd, &ss, so, &args->dsa_stats);
    stream_out_fini(so);
    sigpipe_restore(&old);
    free(so);
    send_fini(&snd);
    send_source_rele(&ss);
    return err;
}

int
dmu_send_estimate(dsl_pool_t *dp, const dmu_send_args_t *args, uint64_t *bytes)
{
    send_source_t ss;
    send_t snd;
    int err = send_source_resolve(dp, args, &ss);

    if (err != 0)
        return err;
    send_init(&snd, dp, args, &ss);
    snd.snd_count = true;
    send_walk_t sw = {.sw_send = &snd, .sw_source = &ss};
    send_walk(&sw);
    *bytes = snd.snd_bytes + ss.ss_begin.drr_payloadlen + (ss.ss_saved ? 1 : 2) * DRR_SIZE; /* BEGIN and END */
    send_fini(&snd);
    send_source_rele(&ss);
    return sw.sw_err;
}
