/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zio_queue.c - writes that are decided but not yet made: merged, in disk order, behind the writer's back.
 *
 * Blocks are placed one after the other, so pending writes lie side by side. The queue keeps them by offset; workers
 * take the next run of neighbours and write it in one call, sweeping over the disk like an elevator:
 *
 *    pending   [16K][16K][128K]      [4K]   [128K][128K][128K]
 *              `---- one write ----'  `-'   `-- one write ---'
 *                                cursor ^
 *
 * An entry's life:   zio_queue_add()      dirty
 *                    a worker takes it    writing            (zio_queue_add() again: writing and dirty)
 *                    the disk has it      gone               (or dirty once more)
 *
 * Invariants (under zq_lock):
 *   1. Entries do not overlap: space freed in a txg is not allocated again before everything of that txg is on disk.
 *      A second write to one place has the same extent: sync passes rewriting a block.
 *   2. For one place at most one write is under way, so the disk sees them in order.
 *   3. A read finds the newest contents: in an entry until its write is complete, on the disk from then on.
 *   4. zq_bytes <= QUEUE_MAX plus one block. Nobody who holds a lock of a higher order adds.
 *   5. After an error nothing is written any more; entries stay, so that reads still find them.
 *
 * ZFS: module/zfs/vdev_queue.c; its aggregation there is per device and serves reads too.
 */
#include <sys/uio.h>
#include "spa_impl.h"

#define QUEUE_LOW     (32ULL << 20)  /* below this, wait for neighbours to come */
#define QUEUE_MAX     (128ULL << 20) /* above this, adding blocks */
#define QUEUE_RUN     (4ULL << 20)   /* bytes in one write */
#define QUEUE_IOV     512            /* vector entries in one write: a block and its padding take two */
#define QUEUE_WRITERS 2

typedef struct queue_entry {
    avl_node_t qe_node;
    uint64_t qe_off;   /* DVA offset */
    uint64_t qe_size;  /* allocated bytes; what the buffer does not fill is zeros */
    arc_buf_t *qe_buf; /* one reference */
    bool qe_dirty, qe_writing;
} queue_entry_t;

struct zio_queue {
    spa_t *zq_spa;
    kmutex_t zq_lock;
    kcondvar_t zq_work; /* for workers */
    kcondvar_t zq_done; /* for those who wait for workers */
    avl_tree_t zq_tree;
    uint64_t zq_bytes; /* of all entries */
    uint64_t zq_dirty; /* of dirty ones not being written */
    uint64_t zq_cursor;
    int zq_drainers;
    bool zq_stop;
    int zq_error;
    pthread_t zq_threads[QUEUE_WRITERS];
};

typedef struct queue_run { /* what one worker writes at a time */
    queue_entry_t *qr_entry[QUEUE_IOV / 2];
    arc_buf_t *qr_buf[QUEUE_IOV / 2];
    int qr_count;
} queue_run_t;

static const uint8_t zeros[1 << 16]; /* padding is less than 2^ashift */

static int
entry_compare(const void *x, const void *y)
{
    const queue_entry_t *a = x, *b = y;

    return AVL_CMP(a->qe_off, b->qe_off);
}

/* The entry that starts at or before off and ends after it. */
static queue_entry_t *
entry_find(zio_queue_t *q, uint64_t off)
{
    queue_entry_t key = {.qe_off = off};
    avl_index_t where;
    queue_entry_t *e = avl_find(&q->zq_tree, &key, &where);

    if (e == NULL)
        e = avl_nearest(&q->zq_tree, where, 0);
    return e != NULL && e->qe_off + e->qe_size > off ? e : NULL;
}

static void
entry_destroy(zio_queue_t *q, queue_entry_t *e)
{
    avl_remove(&q->zq_tree, e);
    q->zq_bytes -= e->qe_size;
    arc_buf_rele(e->qe_buf);
    free(e);
}

/* ---- workers ---- */

static bool
entry_ready(const queue_entry_t *e)
{
    return e->qe_dirty && !e->qe_writing;
}

/* The first entry from the cursor on that is to be written; goes round once. */
static queue_entry_t *
run_start(zio_queue_t *q)
{
    queue_entry_t key = {.qe_off = q->zq_cursor};
    avl_index_t where;
    queue_entry_t *e = avl_find(&q->zq_tree, &key, &where);

    if (e == NULL)
        e = avl_nearest(&q->zq_tree, where, 1);
    while (e != NULL && !entry_ready(e))
        e = avl_next(&q->zq_tree, e);
    if (e == NULL)
        for (e = avl_first(&q->zq_tree); e != NULL && !entry_ready(e);)
            e = avl_next(&q->zq_tree, e);
    return e;
}

/* Collect e and its neighbours and mark them. Returns the run's offset. */
static uint64_t
run_take(zio_queue_t *q, queue_entry_t *e, queue_run_t *r)
{
    uint64_t start = e->qe_off, end = start;

    r->qr_count = 0;
    while (e != NULL && entry_ready(e) && e->qe_off == end && r->qr_count < QUEUE_IOV / 2 &&
           (r->qr_count == 0 || end + e->qe_size - start <= QUEUE_RUN)) {
        e->qe_writing = true;
        e->qe_dirty = false;
        q->zq_dirty -= e->qe_size;
        r->qr_entry[r->qr_count] = e;
        r->qr_buf[r->qr_count++] = arc_buf_hold(e->qe_buf);
        end += e->qe_size;
        e = avl_next(&q->zq_tree, e);
    }
    q->zq_cursor = end;
    return start;
}

static int
run_write(zio_queue_t *q, queue_run_t *r, uint64_t start)
{
    struct iovec iov[QUEUE_IOV];
    int cnt = 0;

    for (int i = 0; i < r->qr_count; i++) {
        arc_buf_t *buf = r->qr_buf[i];
        uint64_t pad = r->qr_entry[i]->qe_size - buf->b_size; /* constant while in the tree */
        iov[cnt++] = (struct iovec){.iov_base = buf->b_data, .iov_len = buf->b_size};
        if (pad != 0)
            iov[cnt++] = (struct iovec){.iov_base = (void *)(uintptr_t)zeros, .iov_len = pad};
    }
    return spa_disk_writev(q->zq_spa, iov, cnt, start + VDEV_LABEL_START_SIZE);
}

static void
run_finish(zio_queue_t *q, queue_run_t *r, int err)
{
    if (err != 0 && q->zq_error == 0)
        q->zq_error = err;
    for (int i = 0; i < r->qr_count; i++) {
        queue_entry_t *e = r->qr_entry[i];
        arc_buf_rele(r->qr_buf[i]);
        e->qe_writing = false;
        if (e->qe_dirty) {
            q->zq_dirty += e->qe_size;
        } else if (err != 0) {
            e->qe_dirty = true; /* unwritten: keep it for readers */
            q->zq_dirty += e->qe_size;
        } else {
            entry_destroy(q, e);
        }
    }
    cv_broadcast(&q->zq_done);
}

static bool
queue_has_work(const zio_queue_t *q)
{
    return q->zq_error == 0 && q->zq_dirty > 0 && (q->zq_dirty > QUEUE_LOW || q->zq_drainers > 0);
}

static void
queue_work_once(zio_queue_t *q, queue_run_t *r)
{
    uint64_t start = run_take(q, run_start(q), r);

    mutex_exit(&q->zq_lock);
    int err = run_write(q, r, start);
    if (err != 0)
        spa_suspend(q->zq_spa, err);
    mutex_enter(&q->zq_lock);
    run_finish(q, r, err);
}

static void *
queue_worker(void *arg)
{
    zio_queue_t *q = arg;
    queue_run_t run;

    mutex_enter(&q->zq_lock);
    while (!q->zq_stop) {
        if (queue_has_work(q))
            queue_work_once(q, &run);
        else
            cv_wait(&q->zq_work, &q->zq_lock);
    }
    mutex_exit(&q->zq_lock);
    return NULL;
}

/* ---- the queue ---- */

zio_queue_t *
zio_queue_create(spa_t *spa)
{
    zio_queue_t *q = xzalloc(sizeof(*q));

    q->zq_spa = spa;
    mutex_init(&q->zq_lock);
    cv_init(&q->zq_work);
    cv_init(&q->zq_done);
    avl_create(&q->zq_tree, entry_compare, offsetof(queue_entry_t, qe_node));
    for (int i = 0; i < QUEUE_WRITERS; i++)
        VERIFY0(pthread_create(&q->zq_threads[i], NULL, queue_worker, q));
    return q;
}

void
zio_queue_destroy(zio_queue_t *q)
{
    queue_entry_t *e;

    mutex_enter(&q->zq_lock);
    q->zq_stop = true;
    cv_broadcast(&q->zq_work);
    mutex_exit(&q->zq_lock);
    for (int i = 0; i < QUEUE_WRITERS; i++)
        VERIFY0(pthread_join(q->zq_threads[i], NULL));
    while ((e = avl_first(&q->zq_tree)) != NULL)
        entry_destroy(q, e);
    avl_destroy(&q->zq_tree);
    mutex_destroy(&q->zq_lock);
    cv_destroy(&q->zq_work);
    cv_destroy(&q->zq_done);
    free(q);
}

static void
queue_replace(zio_queue_t *q, queue_entry_t *e, uint64_t size, arc_buf_t *buf)
{
    VERIFY3U(e->qe_size, ==, size);
    VERIFY3U(e->qe_buf->b_size, ==, buf->b_size);
    arc_buf_rele(e->qe_buf);
    e->qe_buf = arc_buf_hold(buf);
    if (!e->qe_dirty && !e->qe_writing)
        q->zq_dirty += size;
    else if (!e->qe_dirty)
        ASSERT(e->qe_writing); /* counted again in run_finish() */
    e->qe_dirty = true;
}

static void
queue_insert(zio_queue_t *q, uint64_t off, uint64_t size, arc_buf_t *buf)
{
    queue_entry_t *e = xzalloc(sizeof(*e));

    e->qe_off = off;
    e->qe_size = size;
    e->qe_buf = arc_buf_hold(buf);
    e->qe_dirty = true;
    avl_add(&q->zq_tree, e);
    q->zq_bytes += size;
    q->zq_dirty += size;
}

int
zio_queue_add(zio_queue_t *q, uint64_t off, uint64_t size, arc_buf_t *buf)
{
    ASSERT(size >= buf->b_size && size - buf->b_size <= sizeof(zeros));
    mutex_enter(&q->zq_lock);
    while (q->zq_bytes > QUEUE_MAX && q->zq_error == 0)
        cv_wait(&q->zq_done, &q->zq_lock);
    int err = q->zq_error;
    if (err == 0) {
        queue_entry_t *e = entry_find(q, off);
        VERIFY(e == NULL || e->qe_off == off);
        if (e != NULL)
            queue_replace(q, e, size, buf);
        else
            queue_insert(q, off, size, buf);
        if (queue_has_work(q))
            cv_signal(&q->zq_work);
    }
    mutex_exit(&q->zq_lock);
    return err;
}

bool
zio_queue_read(zio_queue_t *q, uint64_t off, void *buf, uint64_t n)
{
    arc_buf_t *src = NULL;
    uint64_t skip = 0;

    mutex_enter(&q->zq_lock);
    queue_entry_t *e = entry_find(q, off);
    if (e != NULL && off + n <= e->qe_off + e->qe_buf->b_size) {
        src = arc_buf_hold(e->qe_buf);
        skip = off - e->qe_off;
    }
    mutex_exit(&q->zq_lock);
    if (src == NULL)
        return false;
    memcpy(buf, (uint8_t *)src->b_data + skip, n);
    arc_buf_rele(src);
    return true;
}

int
zio_queue_drain(zio_queue_t *q)
{
    mutex_enter(&q->zq_lock);
    q->zq_drainers++;
    cv_broadcast(&q->zq_work);
    while (q->zq_bytes > 0 && q->zq_error == 0)
        cv_wait(&q->zq_done, &q->zq_lock);
    q->zq_drainers--;
    int err = q->zq_error;
    mutex_exit(&q->zq_lock);
    return err;
}
