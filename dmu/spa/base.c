/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base.c - errors, log, memory, random numbers and locks: the few services every layer takes for granted.
 *
 * Invariants:
 *   1. Nothing here returns NULL or an error for lack of memory or a misused lock: the process ends instead.
 *   2. set_error_at() returns its argument, so that `return SET_ERROR(EIO)` reads like `return EIO`.
 *   3. The log sink is called with one whole line, without the newline, by one thread at a time.
 *
 * ZFS: lib/libspl, module/os/linux/spl (SET_ERROR, VERIFY, kmutex_t, kcondvar_t, krwlock_t).
 */
#include "base.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/random.h>
#include <syslog.h>
#include <time.h>

/* ---- errors and the log ---- */

static pthread_once_t trace_once = PTHREAD_ONCE_INIT;
static bool trace_errors;

static void
trace_init(void)
{
    const char *v = getenv("COWBIRD_TRACE_ERRORS");

    trace_errors = v != NULL && strcmp(v, "1") == 0;
}

int
set_error_at(int err, const char *file, int line, const char *func)
{
    pthread_once(&trace_once, trace_init);
    if (trace_errors)
        fprintf(stderr, "%s:%d: %s: error %d (%s)\n", file, line, func, err, cowbird_strerror(err));
    return err;
}

const char *
cowbird_strerror(int err)
{
    switch (err) {
    case ECKSUM:
        return "checksum mismatch";
    case EFRAGS:
        return "free space is too fragmented";
    default: {
        const char *s = strerrordesc_np(err);
        return s != NULL ? s : "unknown error";
    }
    }
}

static void
log_to_stderr(int level, const char *line)
{
    if (level <= LOG_INFO || trace_errors)
        fprintf(stderr, "cowbird: %s\n", line);
}

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static void (*log_sink)(int level, const char *line) = log_to_stderr;

void
cowbird_log_set_sink(void (*sink)(int level, const char *line))
{
    mutex_enter(&log_lock);
    log_sink = sink != NULL ? sink : log_to_stderr;
    mutex_exit(&log_lock);
}

void
cowbird_log(int level, const char *fmt, ...)
{
    char *line;
    va_list ap;

    pthread_once(&trace_once, trace_init);
    va_start(ap, fmt);
    int n = vasprintf(&line, fmt, ap);
    va_end(ap);
    VERIFY(n >= 0);
    mutex_enter(&log_lock);
    log_sink(level, line);
    mutex_exit(&log_lock);
    free(line);
}

void
verify_failed(const char *expr, uint64_t l, uint64_t r, const char *file, int line)
{
    fprintf(stderr, "cowbird: %s:%d: VERIFY(%s) failed (0x%llx, 0x%llx)\n", file, line, expr,
            (unsigned long long)l, (unsigned long long)r);
    fflush(stderr);
    abort();
}

/* ---- memory ---- */

void *
xmalloc(size_t n)
{
    void *p = malloc(n != 0 ? n : 1);

    VERIFY(p != NULL);
    return p;
}

void *
xzalloc(size_t n)
{
    void *p = calloc(1, n != 0 ? n : 1);

    VERIFY(p != NULL);
    return p;
}

void *
xrealloc(void *p, size_t n)
{
    p = realloc(p, n != 0 ? n : 1);
    VERIFY(p != NULL);
    return p;
}

char *
xstrdup(const char *s)
{
    size_t n = strlen(s) + 1;

    return memcpy(xmalloc(n), s, n);
}

char *
xasprintf(const char *fmt, ...)
{
    char *s;
    va_list ap;

    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    VERIFY(n >= 0);
    return s;
}

void *
xmemalign(size_t n)
{
    void *p = NULL;

    VERIFY0(posix_memalign(&p, 4096, n != 0 ? n : 1));
    return p;
}

/* ---- random numbers and time ---- */

void
random_bytes(void *p, size_t n)
{
    uint8_t *at = p;

    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        VERIFY(got > 0);
        at += got;
        n -= (size_t)got;
    }
}

uint64_t
random_u64(void)
{
    uint64_t v;

    do {
        random_bytes(&v, sizeof(v));
    } while (v == 0);
    return v;
}

uint64_t
gethrtime(void)
{
    struct timespec ts;

    VERIFY0(clock_gettime(CLOCK_MONOTONIC, &ts));
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* ---- locks ---- */

void
mutex_init(kmutex_t *m)
{
    VERIFY0(pthread_mutex_init(m, NULL));
}

void
mutex_destroy(kmutex_t *m)
{
    VERIFY0(pthread_mutex_destroy(m));
}

void
mutex_enter(kmutex_t *m)
{
    VERIFY0(pthread_mutex_lock(m));
}

void
mutex_exit(kmutex_t *m)
{
    VERIFY0(pthread_mutex_unlock(m));
}

void
cv_init(kcondvar_t *cv)
{
    pthread_condattr_t attr;

    VERIFY0(pthread_condattr_init(&attr));
    VERIFY0(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
    VERIFY0(pthread_cond_init(cv, &attr));
    VERIFY0(pthread_condattr_destroy(&attr));
}

void
cv_destroy(kcondvar_t *cv)
{
    VERIFY0(pthread_cond_destroy(cv));
}

void
cv_wait(kcondvar_t *cv, kmutex_t *m)
{
    VERIFY0(pthread_cond_wait(cv, m));
}

bool
cv_timedwait_ms(kcondvar_t *cv, kmutex_t *m, uint64_t ms)
{
    uint64_t when = gethrtime() + ms * 1000000;
    struct timespec ts = {.tv_sec = (time_t)(when / 1000000000), .tv_nsec = (long)(when % 1000000000)};
    int err = pthread_cond_timedwait(cv, m, &ts);

    VERIFY(err == 0 || err == ETIMEDOUT);
    return err == 0;
}

void
cv_signal(kcondvar_t *cv)
{
    VERIFY0(pthread_cond_signal(cv));
}

void
cv_broadcast(kcondvar_t *cv)
{
    VERIFY0(pthread_cond_broadcast(cv));
}

void
rw_init(krwlock_t *rw)
{
    VERIFY0(pthread_rwlock_init(rw, NULL));
}

void
rw_destroy(krwlock_t *rw)
{
    VERIFY0(pthread_rwlock_destroy(rw));
}

void
rw_enter_read(krwlock_t *rw)
{
    VERIFY0(pthread_rwlock_rdlock(rw));
}

void
rw_enter_write(krwlock_t *rw)
{
    VERIFY0(pthread_rwlock_wrlock(rw));
}

void
rw_exit(krwlock_t *rw)
{
    VERIFY0(pthread_rwlock_unlock(rw));
}
