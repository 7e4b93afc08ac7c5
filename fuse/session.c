/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * session.c - the threads that read requests from the kernel and answer them.
 *
 * As few as possible are at work: one thread receives a request, answers it itself and receives the next. So a chain of small
 * requests stays on one warm core, and no other thread is woken for it; that is twice as fast as threads that take turns. The
 * watch looks once per tick (1 ms) and puts more to work when that would help:
 *
 *     parked ──fewer at work than wanted──► at work: receive, answer, receive, ...
 *        ▲                                       │  the same request at two ticks: it is long (a disk, an fsync). It does not
 *        └────── done, or too many ──────────────┘  count as at work any more, and another takes its place
 *
 *     wanted:  +1 when requests waited at two ticks in a row while all at work were busy; -1 after a while without
 *
 * Before it sleeps, a thread that is alone at work looks for the next request for 50 us (session_look).
 * The watch sleeps while nothing comes. A request that makes the kernel send us others and waits for them (session_wait_begin)
 * stops counting at once.
 *
 * libfuse has a loop of its own; it ends threads with pthread_cancel(), which must not happen inside a transaction. Ours are asked to
 * end and woken by a signal.
 *
 * INVARIANTS
 *  1. fm_threads counts threads (the watch too) from before they are created until the last thing they do with fm; fm_serving those that
 *     receive and answer, until they stop serving.
 *  2. fm_working is the number of threads in fm_running with st_working set.
 *  3. The last thread that serves calls fm_on_end, unless fuse_mount_stop() is already at work.
 */
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <syslog.h>
#include "mount_impl.h"

#define THREADS_MAX      128
#define WANTED_MAX       8
#define PARKED_MAX       4
#define LOOK_NS          50000
#define WATCH_TICK_MS    1
#define WATCH_IDLE_TICKS 100
#define WAKE_SIGNAL      (SIGRTMIN + 1)
#define WAKE_INTERVAL_MS 20

static __thread char *thread_buffer;

char *
session_buffer(void)
{
    if (thread_buffer == NULL)
        thread_buffer = xmemalign(REQUEST_MAX);
    return thread_buffer;
}

/* ---- who is at work ---- */

static int session_spawn(fuse_mount_t *fm, void *(*main)(void *));
static void *session_thread(void *arg);
static __thread session_thread_t *me;

/* fm_lock held. More are wanted: wake a parked one, or start one. */
static void
work_offer(fuse_mount_t *fm)
{
    if (fm->fm_parked > 0) {
        cv_signal(&fm->fm_work_cv);
        return;
    }
    if (fm->fm_stopping || fm->fm_serving >= THREADS_MAX + fm->fm_waits)
        return; /* the next one that is done goes on */
    fm->fm_threads++;
    fm->fm_serving++;
    if (session_spawn(fm, session_thread) == 0)
        return;
    fm->fm_threads--;
    fm->fm_serving--;
    cowbird_log(LOG_WARNING, "%s: cannot start one more thread", fm->fm_dir);
}

/* fm_lock held. What the thread is at does not count as work any more. */
static void
work_leave(fuse_mount_t *fm, session_thread_t *st)
{
    if (!atomic_load(&st->st_working))
        return;
    atomic_store(&st->st_working, false);
    fm->fm_working--;
}

/* Parks until more work is wanted. False: the session is over, or enough threads are parked. */
static bool
work_begin(fuse_mount_t *fm, session_thread_t *st)
{
    mutex_enter(&fm->fm_lock);
    bool stay = fm->fm_parked < PARKED_MAX || fm->fm_working < fm->fm_wanted;
    fm->fm_parked++;
    while (stay && fm->fm_working >= fm->fm_wanted && !fuse_session_exited(fm->fm_se))
        cv_wait(&fm->fm_work_cv, &fm->fm_lock);
    fm->fm_parked--;
    stay = stay && !fuse_session_exited(fm->fm_se);
    if (stay) {
        atomic_store(&st->st_working, true);
        fm->fm_working++;
    }
    mutex_exit(&fm->fm_lock);
    return stay;
}

/* ---- answering ---- */

/* The session is over: everybody parked and the watch must hear it. */
static void
session_over(fuse_mount_t *fm)
{
    fuse_session_exit(fm->fm_se);
    mutex_enter(&fm->fm_lock);
    cv_broadcast(&fm->fm_work_cv);
    cv_broadcast(&fm->fm_watch_cv);
    mutex_exit(&fm->fm_lock);
}

/* st_request is odd from here until the request is answered. */
static void
request_begin(fuse_mount_t *fm, session_thread_t *st)
{
    atomic_fetch_add(&st->st_request, 1);
    if (!atomic_load(&fm->fm_watch_asleep))
        return;
    mutex_enter(&fm->fm_lock);
    atomic_store(&fm->fm_watch_asleep, false);
    cv_signal(&fm->fm_watch_cv);
    mutex_exit(&fm->fm_lock);
}

/*
 * Whoever asks one thing after another has the next request ready in some microseconds; to wake a sleeping core takes
 * many times that. So the only thread at work looks for a moment, giving way to others, before it sleeps in receive.
 */
static void
session_look(fuse_mount_t *fm)
{
    struct pollfd p = {fuse_session_fd(fm->fm_se), POLLIN, 0};
    uint64_t until = gethrtime() + LOOK_NS;
    while (atomic_load(&fm->fm_working) == 1 && poll(&p, 1, 0) == 0 && gethrtime() < until)
        sched_yield();
}

/* Receive and answer for as long as this thread counts as at work. */
static void
session_serve(fuse_mount_t *fm, session_thread_t *st, struct fuse_buf *buf)
{
    while (atomic_load(&st->st_working) && !fuse_session_exited(fm->fm_se)) {
        int res = fuse_session_receive_buf(fm->fm_se, buf);
        if (res == -EINTR || res == -EAGAIN)
            continue;
        if (res <= 0) {
            session_over(fm);
            return;
        }
        request_begin(fm, st);
        fuse_session_process_buf(fm->fm_se, buf);
        atomic_fetch_add(&st->st_request, 1);
        session_look(fm);
    }
}

static void *
session_thread(void *arg)
{
    fuse_mount_t *fm = arg;
    struct fuse_buf buf = {.mem = NULL};
    session_thread_t st = {.st_self = pthread_self()};
    me = &st;
    mutex_enter(&fm->fm_lock);
    list_insert_tail(&fm->fm_running, &st);
    mutex_exit(&fm->fm_lock);
    while (work_begin(fm, &st))
        session_serve(fm, &st, &buf);
    free(buf.mem);
    free(thread_buffer);
    thread_buffer = NULL;

    mutex_enter(&fm->fm_lock);
    work_leave(fm, &st);
    list_remove(&fm->fm_running, &st);
    bool last = --fm->fm_serving == 0 && !fm->fm_stopping;
    mutex_exit(&fm->fm_lock);
    if (last && fm->fm_on_end != NULL)
        fm->fm_on_end(fm->fm_arg);
    mutex_enter(&fm->fm_lock);
    fm->fm_threads--;
    cv_broadcast(&fm->fm_cv);
    mutex_exit(&fm->fm_lock);
    return NULL;
}

void
session_wait_begin(fuse_mount_t *fm)
{
    mutex_enter(&fm->fm_lock);
    fm->fm_waits++;
    work_leave(fm, me);
    work_offer(fm);
    mutex_exit(&fm->fm_lock);
}

void
session_wait_end(fuse_mount_t *fm)
{
    mutex_enter(&fm->fm_lock);
    fm->fm_waits--;
    mutex_exit(&fm->fm_lock);
}

/* ---- the watch ---- */

/* fm_lock held. Threads that were at the same request one tick ago stop counting. False: nothing happened since then. */
static bool
watch_threads(fuse_mount_t *fm)
{
    bool busy = false;
    for (session_thread_t *st = list_head(&fm->fm_running); st != NULL; st = list_next(&fm->fm_running, st)) {
        uint64_t request = atomic_load(&st->st_request);
        if (request == st->st_seen && request % 2 != 0)
            work_leave(fm, st);
        busy = busy || request != st->st_seen || request % 2 != 0;
        st->st_seen = request;
    }
    return busy;
}

/* fm_lock held. The sum of what those at work are at, or 0 if one of them is free to receive. */
static uint64_t
watch_all_busy(fuse_mount_t *fm)
{
    uint64_t sum = 0;
    for (session_thread_t *st = list_head(&fm->fm_running); st != NULL; st = list_next(&fm->fm_running, st)) {
        uint64_t request = atomic_load(&st->st_request);
        if (atomic_load(&st->st_working) && request % 2 == 0)
            return 0;
        sum += atomic_load(&st->st_working) ? request : 0;
    }
    return sum;
}

/* fm_lock held. A request waits while all at work answer others (and do so before and after we look). */
static bool
watch_backlog(fuse_mount_t *fm)
{
    struct pollfd p = {fuse_session_fd(fm->fm_se), POLLIN, 0};
    uint64_t before = watch_all_busy(fm);
    return before != 0 && poll(&p, 1, 0) > 0 && watch_all_busy(fm) == before;
}

/* fm_lock held. Does the kernel have more than those at work get through? */
static void
watch_queue(fuse_mount_t *fm, unsigned *full, unsigned *empty)
{
    bool backlog = watch_backlog(fm);
    *full = backlog ? *full + 1 : 0;
    *empty = backlog ? 0 : *empty + 1;
    if (*full >= 2 && fm->fm_wanted < WANTED_MAX) {
        fm->fm_wanted++;
        *full = 0;
    } else if (*empty >= WATCH_IDLE_TICKS && fm->fm_wanted > 1) {
        fm->fm_wanted--; /* one of them will notice at its next request */
        *empty = 0;
        for (session_thread_t *st = list_head(&fm->fm_running); st != NULL;
             st = list_next(&fm->fm_running, st)) {
            if (fm->fm_working > fm->fm_wanted)
                work_leave(fm, st);
        }
    }
    if (fm->fm_working < fm->fm_wanted)
        work_offer(fm);
}

static void *
session_watch(void *arg)
{
    fuse_mount_t *fm = arg;
    unsigned full = 0, empty = 0, idle = 0;
    mutex_enter(&fm->fm_lock);
    while (!fuse_session_exited(fm->fm_se)) {
        if (idle > 2 * WATCH_IDLE_TICKS && fm->fm_wanted == 1) {
            atomic_store(&fm->fm_watch_asleep, true);
            if (!watch_threads(fm)) { /* nor did a request begin just now */
                while (atomic_load(&fm->fm_watch_asleep) && !fuse_session_exited(fm->fm_se))
                    cv_wait(&fm->fm_watch_cv, &fm->fm_lock);
            }
            atomic_store(&fm->fm_watch_asleep, false);
            idle = 0;
        }
        (void)cv_timedwait_ms(&fm->fm_watch_cv, &fm->fm_lock, WATCH_TICK_MS);
        idle = watch_threads(fm) ? 0 : idle + 1;
        watch_queue(fm, &full, &empty);
    }
    fm->fm_threads--;
    cv_broadcast(&fm->fm_cv);
    mutex_exit(&fm->fm_lock);
    return NULL;
}

/* fm_threads includes it already. Its signals are the caller's business, but for the one that wakes it. */
static int
session_spawn(fuse_mount_t *fm, void *(*main)(void *))
{
    sigset_t all, old;
    pthread_attr_t attr;
    pthread_t tid;
    sigfillset(&all);
    sigdelset(&all, WAKE_SIGNAL);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int err = pthread_create(&tid, &attr, main, fm);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return err;
}

static void
wake_handler(int sig)
{
}

int
session_start(fuse_mount_t *fm)
{
    struct fuse_buf buf = {.mem = NULL};
    int res = fuse_session_receive_buf(fm->fm_se, &buf);
    if (res > 0)
        fuse_session_process_buf(fm->fm_se, &buf);
    free(buf.mem);
    if (res <= 0 || fuse_session_exited(fm->fm_se))
        return SET_ERROR(res < 0 ? -res : EPROTO);
    struct sigaction sa = {.sa_handler = wake_handler}; /* no SA_RESTART: read() returns */
    sigaction(WAKE_SIGNAL, &sa, NULL);
    mutex_enter(&fm->fm_lock);
    fm->fm_threads = fm->fm_wanted = 1;
    int err = session_spawn(fm, session_watch);
    if (err == 0)
        work_offer(fm);
    else
        fm->fm_threads = 0;
    if (err == 0 && fm->fm_serving == 0) {
        fuse_session_exit(fm->fm_se); /* the watch ends */
        err = EAGAIN;
    }
    mutex_exit(&fm->fm_lock);
    if (err != 0)
        (void)session_join(fm, 0); /* the caller frees fm */
    return err != 0 ? SET_ERROR(err) : 0;
}

bool
session_join(fuse_mount_t *fm, uint64_t ms)
{
    uint64_t end = gethrtime() + ms * 1000000;
    mutex_enter(&fm->fm_lock);
    while (fm->fm_threads != 0 && (ms == 0 || gethrtime() < end))
        (void)cv_timedwait_ms(&fm->fm_cv, &fm->fm_lock, 100);
    bool all = fm->fm_threads == 0;
    mutex_exit(&fm->fm_lock);
    return all;
}

void
session_end(fuse_mount_t *fm)
{
    session_over(fm);
    mutex_enter(&fm->fm_lock);
    while (fm->fm_threads != 0) {
        for (session_thread_t *st = list_head(&fm->fm_running); st != NULL;
             st = list_next(&fm->fm_running, st))
            pthread_kill(st->st_self, WAKE_SIGNAL);
        (void)cv_timedwait_ms(&fm->fm_cv, &fm->fm_lock,
                              WAKE_INTERVAL_MS); /* again: it may not have been in read() yet */
    }
    mutex_exit(&fm->fm_lock);
}
