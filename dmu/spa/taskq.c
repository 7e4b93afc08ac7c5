/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * taskq.c - a fixed set of worker threads, fed with single tasks and with parallel loops.
 *
 * A task is a function to be called once, some time. A loop (taskq_parallel) is an array of calls that its caller
 * waits for: the caller works on it itself, and every idle worker that sees it helps by taking the next index. As the
 * caller alone would get through, a loop never depends on a worker being free: loops may be started from many threads,
 * and from inside tasks and loops, without deadlock.
 *
 *   tq_active   task task task ...   in order of dispatch, running ones included (what taskq_wait looks at)
 *   tq_queue         task task ...   those not yet begun
 *   tq_loops    loop loop            those that still have indices to give away
 *
 * Invariants (all under tq_lock, but for tl_next, which is atomic):
 *   1. Task numbers ascend along tq_active, so "all up to k are done" is "the head is above k".
 *   2. A loop lives on its caller's stack: the caller leaves only when it is off tq_loops and tl_helpers is 0.
 *
 * taskq_wait() must not be called from a task of the same queue. ZFS: module/os/linux/spl/spl-taskq.c; it has no loops.
 */
#include "base.h"

#include <sched.h>
#include <stdio.h>

typedef struct task {
    list_node_t tk_active, tk_queue;
    uint64_t tk_number;
    void (*tk_fn)(void *);
    void *tk_arg;
} task_t;

typedef struct loop {
    list_node_t tl_node;
    void (*tl_fn)(void *, uint64_t);
    void *tl_arg;
    uint64_t tl_n;
    uint64_t tl_next;    /* atomic: the next index to give away */
    uint64_t tl_helpers; /* workers inside */
} loop_t;

struct taskq {
    kmutex_t tq_lock;
    kcondvar_t tq_work; /* a task, a loop or the end for workers */
    kcondvar_t tq_done; /* a task or a helper finished */
    list_t tq_active, tq_queue, tq_loops;
    uint64_t tq_last; /* number of the last task dispatched */
    bool tq_exit;
    int tq_nthreads;
    pthread_t tq_threads[];
};

static void
loop_run(loop_t *l)
{
    uint64_t i;

    while ((i = __atomic_fetch_add(&l->tl_next, 1, __ATOMIC_RELAXED)) < l->tl_n)
        l->tl_fn(l->tl_arg, i);
}

static void
loop_retire(taskq_t *tq, loop_t *l)
{
    if (list_link_active(&l->tl_node))
        list_remove(&tq->tq_loops, l);
}

static void
help_loop(taskq_t *tq, loop_t *l)
{
    l->tl_helpers++;
    mutex_exit(&tq->tq_lock);
    loop_run(l);
    mutex_enter(&tq->tq_lock);
    loop_retire(tq, l);
    if (--l->tl_helpers == 0)
        cv_broadcast(&tq->tq_done);
}

static void
run_task(taskq_t *tq, task_t *tk)
{
    list_remove(&tq->tq_queue, tk);
    mutex_exit(&tq->tq_lock);
    tk->tk_fn(tk->tk_arg);
    mutex_enter(&tq->tq_lock);
    list_remove(&tq->tq_active, tk);
    free(tk);
    cv_broadcast(&tq->tq_done);
}

static void *
worker(void *arg)
{
    taskq_t *tq = arg;

    mutex_enter(&tq->tq_lock);
    for (;;) {
        loop_t *l = list_head(&tq->tq_loops);
        task_t *tk = list_head(&tq->tq_queue);

        if (l != NULL)
            help_loop(tq, l);
        else if (tk != NULL)
            run_task(tq, tk);
        else if (tq->tq_exit)
            break;
        else
            cv_wait(&tq->tq_work, &tq->tq_lock);
    }
    mutex_exit(&tq->tq_lock);
    return NULL;
}

static int
cores(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

taskq_t *
taskq_create(const char *name, int nthreads)
{
    int n = nthreads > 0 ? nthreads : cores();
    taskq_t *tq = xzalloc(sizeof(*tq) + (size_t)n * sizeof(tq->tq_threads[0]));
    char short_name[16]; /* the kernel's limit */

    snprintf(short_name, sizeof(short_name), "%s", name);
    mutex_init(&tq->tq_lock);
    cv_init(&tq->tq_work);
    cv_init(&tq->tq_done);
    list_create(&tq->tq_active, offsetof(task_t, tk_active));
    list_create(&tq->tq_queue, offsetof(task_t, tk_queue));
    list_create(&tq->tq_loops, offsetof(loop_t, tl_node));
    tq->tq_nthreads = n;
    for (int i = 0; i < n; i++) {
        VERIFY0(pthread_create(&tq->tq_threads[i], NULL, worker, tq));
        (void)pthread_setname_np(tq->tq_threads[i], short_name);
    }
    return tq;
}

void
taskq_destroy(taskq_t *tq)
{
    mutex_enter(&tq->tq_lock);
    tq->tq_exit = true;
    cv_broadcast(&tq->tq_work);
    mutex_exit(&tq->tq_lock);
    for (int i = 0; i < tq->tq_nthreads; i++)
        VERIFY0(pthread_join(tq->tq_threads[i], NULL));
    list_destroy(&tq->tq_active);
    list_destroy(&tq->tq_queue);
    list_destroy(&tq->tq_loops);
    cv_destroy(&tq->tq_done);
    cv_destroy(&tq->tq_work);
    mutex_destroy(&tq->tq_lock);
    free(tq);
}

void
taskq_dispatch(taskq_t *tq, void (*fn)(void *), void *arg)
{
    task_t *tk = xzalloc(sizeof(*tk));

    tk->tk_fn = fn;
    tk->tk_arg = arg;
    mutex_enter(&tq->tq_lock);
    tk->tk_number = ++tq->tq_last;
    list_insert_tail(&tq->tq_active, tk);
    list_insert_tail(&tq->tq_queue, tk);
    cv_signal(&tq->tq_work);
    mutex_exit(&tq->tq_lock);
}

void
taskq_wait(taskq_t *tq)
{
    task_t *tk;

    mutex_enter(&tq->tq_lock);
    uint64_t upto = tq->tq_last;
    while ((tk = list_head(&tq->tq_active)) != NULL && tk->tk_number <= upto)
        cv_wait(&tq->tq_done, &tq->tq_lock);
    mutex_exit(&tq->tq_lock);
}

void
taskq_parallel(taskq_t *tq, void (*fn)(void *arg, uint64_t i), void *arg, uint64_t n)
{
    loop_t l = {.tl_fn = fn, .tl_arg = arg, .tl_n = n};

    if (n <= 1) {
        loop_run(&l);
        return;
    }
    mutex_enter(&tq->tq_lock);
    list_insert_tail(&tq->tq_loops, &l);
    for (uint64_t i = 0; i < MIN(n - 1, (uint64_t)tq->tq_nthreads); i++)
        cv_signal(&tq->tq_work);
    mutex_exit(&tq->tq_lock);
    loop_run(&l);
    mutex_enter(&tq->tq_lock);
    loop_retire(tq, &l);
    while (l.tl_helpers > 0)
        cv_wait(&tq->tq_done, &tq->tq_lock);
    mutex_exit(&tq->tq_lock);
}
