/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * session.c - the threads that read requests from the kernel and answer them.
 *
 *     receive ──► am I the last one that was waiting? start another ──► process ──► too many waiting? end : receive
 *
 * Requests may take long (an fsync waits for the disk, a write for room in a txg), so there is always a thread left to receive, up to
 * THREADS_MAX. libfuse has a loop of its own; it ends threads with pthread_cancel(), which must not happen inside a transaction.
 * Ours are asked to end and woken by a signal.
 *
 * A request that makes the kernel send us others and waits for them (session_wait_begin) does not count, or all threads could wait
 * for one that is not there.
 *
 * INVARIANTS
 *  1. fm_threads counts threads from before they are created until the last thing they do with fm; fm_serving until they stop serving.
 *  2. The last thread that serves calls fm_on_end, unless fuse_mount_stop() is already at work.
 */
#include <signal.h>
#include <syslog.h>
#include "mount_impl.h"

#define THREADS_MAX      128
#define THREADS_IDLE_MAX 4
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

static void session_grow(fuse_mount_t *fm);

/* One request. False when the session is over or this thread is one too many. */
static bool
session_request(fuse_mount_t *fm, struct fuse_buf *buf)
{
    atomic_fetch_add(&fm->fm_idle, 1);
    int res = fuse_session_receive_buf(fm->fm_se, buf);
    unsigned waiting = atomic_fetch_sub(&fm->fm_idle, 1) - 1;
    if (res == -EINTR || res == -EAGAIN)
        return true;
    if (res <= 0) {
        fuse_session_exit(fm->fm_se);
        return false;
    }
    if (waiting == 0)
        session_grow(fm);
    fuse_session_process_buf(fm->fm_se, buf);
    return atomic_load(&fm->fm_idle) < THREADS_IDLE_MAX;
}

static void *
session_thread(void *arg)
{
    fuse_mount_t *fm = arg;
    struct fuse_buf buf = {.mem = NULL};
    session_thread_t st = {.st_self = pthread_self()};
    mutex_enter(&fm->fm_lock);
    list_insert_tail(&fm->fm_running, &st);
    mutex_exit(&fm->fm_lock);
    while (!fuse_session_exited(fm->fm_se) && session_request(fm, &buf))
        ;
    free(buf.mem);
    free(thread_buffer);
    thread_buffer = NULL;

    mutex_enter(&fm->fm_lock);
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

/* fm_threads includes it already. Its signals are the caller's business, but for the one that wakes it. */
static int
session_spawn(fuse_mount_t *fm)
{
    sigset_t all, old;
    pthread_attr_t attr;
    pthread_t tid;
    sigfillset(&all);
    sigdelset(&all, WAKE_SIGNAL);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int err = pthread_create(&tid, &attr, session_thread, fm);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return err;
}

static void
session_grow(fuse_mount_t *fm)
{
    mutex_enter(&fm->fm_lock);
    bool grow =
        fm->fm_threads < THREADS_MAX + fm->fm_waits && !fm->fm_stopping && atomic_load(&fm->fm_idle) == 0;
    fm->fm_threads += grow;
    fm->fm_serving += grow;
    mutex_exit(&fm->fm_lock);
    if (!grow || session_spawn(fm) == 0)
        return;
    mutex_enter(&fm->fm_lock);
    fm->fm_threads--;
    fm->fm_serving--;
    mutex_exit(&fm->fm_lock);
    cowbird_log(LOG_WARNING, "%s: cannot start one more thread", fm->fm_dir);
}

void
session_wait_begin(fuse_mount_t *fm)
{
    mutex_enter(&fm->fm_lock);
    fm->fm_waits++;
    mutex_exit(&fm->fm_lock);
    session_grow(fm);
}

void
session_wait_end(fuse_mount_t *fm)
{
    mutex_enter(&fm->fm_lock);
    fm->fm_waits--;
    mutex_exit(&fm->fm_lock);
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
    fm->fm_threads = fm->fm_serving = 1;
    int err = session_spawn(fm);
    if (err != 0)
        fm->fm_threads = fm->fm_serving = 0;
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
    fuse_session_exit(fm->fm_se);
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
