/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * progress.c - how far a long command is: one line on the caller's terminal, rewritten twice a second by a thread of its own.
 * Where standard error is no terminal nothing is written. Or (progress_lines) a new line each second, terminal or not.
 */
#include <inttypes.h>
#include <time.h>
#include <unistd.h>
#include "cmd.h"

struct progress {
    FILE *p_file;
    const char *p_what;
    const uint64_t *p_done; /* grows in another thread: read atomically */
    uint64_t p_total, p_begin;
    bool p_lines, p_script;
    char p_name[NAMELEN];   /* p_lock, as is p_base: where its bytes begin */
    uint64_t p_base;
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

static void
name_line(progress_t *p)
{
    uint64_t done = __atomic_load_n(p->p_done, __ATOMIC_RELAXED) - p->p_base;
    time_t now = time(NULL);
    struct tm tm;
    char clock[16], b[16];
    localtime_r(&now, &tm);
    strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
    if (p->p_script)
        fprintf(p->p_file, "%s\t%" PRIu64 "\t%s\n", clock, done, p->p_name);
    else
        fprintf(p->p_file, "%s   %5s   %s\n", clock, nicebytes(done, b), p->p_name);
    fflush(p->p_file);
}

static void *
progress_thread(void *arg)
{
    progress_t *p = arg;
    mutex_enter(&p->p_lock);
    while (!p->p_stop) {
        if (cv_timedwait_ms(&p->p_cv, &p->p_lock, p->p_lines ? 1000 : 500) || p->p_stop)
            continue;
        if (p->p_lines)
            name_line(p);
        else
            progress_line(p);
    }
    mutex_exit(&p->p_lock);
    return NULL;
}

static progress_t *
progress_run(const progress_t *how)
{
    progress_t *p = xzalloc(sizeof(*p));
    *p = *how;
    mutex_init(&p->p_lock);
    cv_init(&p->p_cv);
    VERIFY0(pthread_create(&p->p_thread, NULL, progress_thread, p));
    return p;
}

progress_t *
progress_start(cmd_env_t *env, const char *what, const uint64_t *done, uint64_t total)
{
    progress_t how = {.p_file = env->err, .p_what = what, .p_done = done, .p_total = total, .p_begin = gethrtime()};
    return isatty(env->fd_err) ? progress_run(&how) : NULL;
}

progress_t *
progress_lines(cmd_env_t *env, const uint64_t *done, const char *name, bool script)
{
    progress_t how = {.p_file = env->err, .p_done = done, .p_lines = true, .p_script = script};
    snprintf(how.p_name, sizeof(how.p_name), "%s", name);
    if (!script)
        fprintf(env->err, "TIME        SENT   SNAPSHOT %s\n", name);
    fflush(env->err);
    return progress_run(&how);
}

void
progress_name(progress_t *p, const char *name)
{
    if (p == NULL)
        return;
    mutex_enter(&p->p_lock);
    snprintf(p->p_name, sizeof(p->p_name), "%s", name);
    p->p_base = __atomic_load_n(p->p_done, __ATOMIC_RELAXED);
    mutex_exit(&p->p_lock);
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
    if (!p->p_lines) {
        progress_line(p);
        fputc('\n', p->p_file);
        fflush(p->p_file);
    }
    cv_destroy(&p->p_cv);
    mutex_destroy(&p->p_lock);
    free(p);
}
