/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * progress.c - how far a long command is: one line on the caller's terminal, rewritten twice a second by a thread of its own.
 * Where standard error is no terminal nothing is written.
 */
#include <inttypes.h>
#include <unistd.h>
#include "cmd.h"

struct progress {
    FILE *p_file;
    const char *p_what;
    const uint64_t *p_done; /* grows in another thread: read atomically */
    uint64_t p_total, p_begin;
    pthread_t p_thread;
    kmutex_t p_lock;
    kcondvar_t p_cv;
    bool p_stop;            /* p_lock */
};

static void
progress_line(progress_t *p)
{
    uint64_t done = __atomic_load_n(p->p_done, __ATOMIC_RELAXED), total = __atomic_load_n(&p->p_total, __ATOMIC_RELAXED);
    double seconds = (double)(gethrtime() - p->p_begin) / 1e9, rate = seconds > 0 ? (double)done / seconds : 0;
    char b1[16], b2[16], b3[16];
    fprintf(p->p_file, "\r%s %s", p->p_what, nicebytes(done, b1));
    if (total > 0)
        fprintf(p->p_file, " of %s (%d%%)", nicebytes(total, b2), (int)(100.0 * (double)MIN(done, total) / (double)total));
    fprintf(p->p_file, ", %s/s", nicebytes((uint64_t)rate, b3));
    if (total > done && rate > 0) {
        uint64_t eta = (uint64_t)((double)(total - done) / rate);
        fprintf(p->p_file, ", %" PRIu64 ":%02" PRIu64 " to go", eta / 60, eta % 60);
    }
    fprintf(p->p_file, "\033[K");
    fflush(p->p_file);
}

static void *
progress_thread(void *arg)
{
    progress_t *p = arg;
    mutex_enter(&p->p_lock);
    while (!p->p_stop) {
        if (!cv_timedwait_ms(&p->p_cv, &p->p_lock, 500) && !p->p_stop)
            progress_line(p);
    }
    mutex_exit(&p->p_lock);
    return NULL;
}

progress_t *
progress_start(cmd_env_t *env, const char *what, const uint64_t *done, uint64_t total)
{
    if (!isatty(env->fd_err))
        return NULL;
    progress_t *p = xzalloc(sizeof(*p));
    *p = (progress_t){.p_file = env->err, .p_what = what, .p_done = done, .p_total = total, .p_begin = gethrtime()};
    mutex_init(&p->p_lock);
    cv_init(&p->p_cv);
    VERIFY0(pthread_create(&p->p_thread, NULL, progress_thread, p));
    return p;
}

void
progress_total(progress_t *p, uint64_t total)
{
    if (p != NULL)
        __atomic_store_n(&p->p_total, total, __ATOMIC_RELAXED);
}

void
progress_stop(progress_t *p)
{
    if (p == NULL)
        return;
    mutex_enter(&p->p_lock);
    p->p_stop = true;
    cv_signal(&p->p_cv);
    mutex_exit(&p->p_lock);
    pthread_join(p->p_thread, NULL);
    progress_line(p);
    fputc('\n', p->p_file);
    fflush(p->p_file);
    cv_destroy(&p->p_cv);
    mutex_destroy(&p->p_lock);
    free(p);
}
