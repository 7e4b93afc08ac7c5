/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recv_stream.c - dmu_recv_stream: the records of a stream, into the dataset that recv.c prepared.
 *
 *   reading thread                        calling thread
 *   --------------                        --------------
 *   read(2), Fletcher-4, the gate  ──────► recv_apply(): transactions        (the txg threads write behind)
 *   one header ahead          (bounded queue)
 *
 * INVARIANTS
 *  1. Only verified records reach the queue, so that a damaged one changes nothing.
 *  2. END has been verified before success is reported; a stream that stops anywhere before is an error.
 *  3. After an error everything is as before the receive (or kept, to be resumed), and the cookie is gone.
 *
 * ZFS: dmu_recv_stream(), receive_writer_thread() in dmu_recv.c.
 */
#include <stdio.h>

#include "recv_impl.h"

typedef struct recv_reader {
    stream_in_t *rr_in;
    stream_queue_t rr_queue;
    stream_error_t rr_se; /* the reader's own */
    volatile int rr_stop; /* the applying thread failed */
    int rr_err;
} recv_reader_t;

static uint64_t
rec_cost(const stream_rec_t *rec)
{
    return sizeof(*rec) + rec->sr_len;
}

static void *
recv_reader(void *arg)
{
    recv_reader_t *rr = arg;
    stream_rec_t *rec;

    while (!rr->rr_in->in_ended && (rr->rr_err = stream_in_next(rr->rr_in, &rec)) == 0) {
        if (!stream_queue_put(&rr->rr_queue, rec, rec_cost(rec))) {
            stream_rec_free(rec);
            rr->rr_err = SET_ERROR(EINTR);
            break;
        }
    }
    stream_queue_close(&rr->rr_queue);
    return NULL;
}

/* The sentence for an error that only an errno tells of. */
static const char *
apply_error_text(int err, const char *text)
{
    if (text[0] != '\0')
        return text;
    switch (err) {
    case ENOSPC:
        return "the pool is full";
    case EDQUOT:
        return "the quota is used up";
    default:
        return cowbird_strerror(err);
    }
}

static int
apply_one(dmu_recv_cookie_t *drc, stream_rec_t *rec, stream_error_t *se)
{
    char text[sizeof(se->se_text)];
    int err;

    if (rec->sr_drr.drr_type == DRR_END)
        return 0;
    drc->drc_bytes += DRR_SIZE + rec->sr_len;
    err = recv_apply(drc, rec, text);
    if (err != 0)
        stream_fail(se, err, rec->sr_number, rec->sr_offset, "%s: %s", drr_type_name(rec->sr_drr.drr_type),
                    apply_error_text(err, text));
    return err;
}

/* Everything on the queue; after an error only to free it. */
static int
apply_all(dmu_recv_cookie_t *drc, recv_reader_t *rr, stream_error_t *se)
{
    stream_rec_t *rec;
    int err = 0;

    while ((rec = stream_queue_get(&rr->rr_queue)) != NULL) {
        uint64_t cost = rec_cost(rec);
        if (err == 0)
            err = apply_one(drc, rec, se);
        stream_rec_free(rec);
        stream_queue_done(&rr->rr_queue, cost);
        if (err != 0) {
            __atomic_store_n(&rr->rr_stop, 1, __ATOMIC_RELAXED);
            stream_queue_stop(&rr->rr_queue);
        }
    }
    return err;
}

/* Objects beyond what a full stream told of: left over from the origin it was received on. */
static int
recv_trim(dmu_recv_cookie_t *drc)
{
    if (!drc->drc_full || drc->drc_shape == RECV_HEAL)
        return 0;
    return recv_freeobjects(drc, drc->drc_max_object + 1, DN_MAX_OBJECT - drc->drc_max_object - 1);
}

static int
recv_records(dmu_recv_cookie_t *drc, recv_reader_t *rr, stream_error_t *se)
{
    pthread_t reader;
    int err;

    VERIFY0(pthread_create(&reader, NULL, recv_reader, rr));
    err = apply_all(drc, rr, se);
    VERIFY0(pthread_join(reader, NULL));
    recv_apply_fini(drc);
    if (err == 0 && rr->rr_err != 0) {
        err = rr->rr_err;
        *se = rr->rr_se;
    }
    return err != 0 ? err : recv_trim(drc);
}

int
dmu_recv_stream(dmu_recv_cookie_t *drc, stream_error_t *se)
{
    recv_reader_t *rr = xzalloc(sizeof(*rr));
    stream_error_t dummy;
    int err;

    if (se == NULL)
        se = &dummy;
    memset(se, 0, sizeof(*se));
    rr->rr_in = &drc->drc_in; /* begun by dmu_recv_begin */
    rr->rr_in->in_se = &rr->rr_se;
    rr->rr_in->in_stop = &rr->rr_stop;
    stream_queue_init(&rr->rr_queue, offsetof(stream_rec_t, sr_node), STREAM_QUEUE_BYTES);
    err = recv_records(drc, rr, se);
    stream_queue_fini(&rr->rr_queue);
    free(rr);
    if (err != 0)
        recv_abandon(drc);
    return err;
}
