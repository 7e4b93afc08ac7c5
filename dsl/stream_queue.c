/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream_queue.c - a bounded queue between two threads of a send or a receive.
 *
 *   producer ──put──► [ elem elem elem ] ──get──► consumer ──done──► room again
 *        waits while sq_bytes >= sq_max      waits while empty
 *
 * An element of any size fits into an empty queue, so a block larger than the limit does not get stuck. Elements given
 * out count until stream_queue_done(): the limit is on memory in use, not on the length of the list.
 *
 * Either side may end it: the producer closes (the consumer still gets what is there), the consumer stops (the producer
 * is turned away, the consumer empties it). ZFS: module/zfs/bqueue.c.
 */
#include "stream.h"

void
stream_queue_init(stream_queue_t *q, size_t node_offset, uint64_t max)
{
    memset(q, 0, sizeof(*q));
    mutex_init(&q->sq_lock);
    cv_init(&q->sq_put);
    cv_init(&q->sq_get);
    list_create(&q->sq_list, node_offset);
    q->sq_max = max;
}

void
stream_queue_fini(stream_queue_t *q)
{
    list_destroy(&q->sq_list);
    cv_destroy(&q->sq_get);
    cv_destroy(&q->sq_put);
    mutex_destroy(&q->sq_lock);
}

bool
stream_queue_put(stream_queue_t *q, void *elem, uint64_t bytes)
{
    bool taken;

    mutex_enter(&q->sq_lock);
    while (!q->sq_stopped && q->sq_bytes != 0 && q->sq_bytes + bytes > q->sq_max)
        cv_wait(&q->sq_put, &q->sq_lock);
    taken = !q->sq_stopped;
    if (taken) {
        q->sq_bytes += bytes;
        list_insert_tail(&q->sq_list, elem);
        cv_signal(&q->sq_get);
    }
    mutex_exit(&q->sq_lock);
    return taken;
}

void
stream_queue_close(stream_queue_t *q)
{
    mutex_enter(&q->sq_lock);
    q->sq_closed = true;
    cv_broadcast(&q->sq_get);
    mutex_exit(&q->sq_lock);
}

void *
stream_queue_get(stream_queue_t *q)
{
    void *elem;

    mutex_enter(&q->sq_lock);
    while (list_is_empty(&q->sq_list) && !q->sq_closed)
        cv_wait(&q->sq_get, &q->sq_lock);
    elem = list_remove_head(&q->sq_list);
    mutex_exit(&q->sq_lock);
    return elem;
}

void
stream_queue_done(stream_queue_t *q, uint64_t bytes)
{
    mutex_enter(&q->sq_lock);
    ASSERT3U(q->sq_bytes, >=, bytes);
    q->sq_bytes -= bytes;
    cv_signal(&q->sq_put);
    mutex_exit(&q->sq_lock);
}

void
stream_queue_stop(stream_queue_t *q)
{
    mutex_enter(&q->sq_lock);
    q->sq_stopped = true;
    cv_broadcast(&q->sq_put);
    mutex_exit(&q->sq_lock);
}
