/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daemon.c - the process that keeps a pool open: it serves mounts and runs other processes' commands.
 *
 *   cowbird mount tank DIR
 *     └─ fork ─► daemon: open pool ─► mount ─► listen on POOL.sock ─► "ready" through a pipe ─► serve
 *        parent waits for "ready" or the reason why not, and ends
 *
 *   serving ──(last mount ended, or SIGTERM)──► stopping: no new commands, mounts stop ──► pool closed or exported ──► exit
 *
 * INVARIANTS
 *  1. A client whose command ends the daemon (unmount, export) hears the exit code only when the pool is closed and unlocked: the
 *     daemon keeps that connection's answer for last.
 *  2. d_mounts is changed under d_lock; what may wait for the kernel is done outside it (a mount is stopped, daemon_each_mount), so that
 *     other commands and signals get through. A mount with dm_users stays on the list.
 *  3. The pool is closed only when no command uses it: all that run wait in daemon_wait_closed().
 */
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>
#include "look.h"
#include "mount.h"
#include "server.h"

typedef enum daemon_end { END_CLOSE, END_EXPORT } daemon_end_t;

typedef struct daemon_mount {
    fuse_mount_t *dm_fuse;
    daemon_state_t *dm_daemon;
    bool dm_ended;        /* by itself; d_lock */
    uint32_t dm_users;    /* commands that are at it; d_lock */
    list_node_t dm_link;  /* d_mounts */
} daemon_mount_t;

struct daemon_state {
    dsl_pool_t *d_pool;
    server_t *d_server;
    kmutex_t d_lock;      /* all below */
    kcondvar_t d_cv;      /* d_stopping, d_closed, an ended mount, one without users */
    list_t d_mounts;
    bool d_stopping, d_closed;
    bool d_hurry;         /* a signal: running commands are canceled */
    volatile int d_cancel; /* the same, for the setup */
    uint32_t d_running, d_waiting; /* commands; those in daemon_wait_closed() */
    daemon_end_t d_end;
    int d_result;         /* of closing the pool */
};

/* ---- mounts ---- */

static void
daemon_mount_ended(void *arg)
{
    daemon_mount_t *dm = arg;
    mutex_enter(&dm->dm_daemon->d_lock);
    dm->dm_ended = true;
    cv_broadcast(&dm->dm_daemon->d_cv);
    mutex_exit(&dm->dm_daemon->d_lock);
}

static int
daemon_add_mount(daemon_state_t *d, cmd_env_t *env, const char *dataset, const char *dir, const char *opts)
{
    daemon_mount_t *dm = xzalloc(sizeof(*dm));
    dm->dm_daemon = d;
    const char *why = NULL;
    int err = fuse_mount_start(d->d_pool, dataset, dir, opts, daemon_mount_ended, dm, &dm->dm_fuse, &why);
    if (err != 0) {
        free(dm);
        return fail(env, err, "cannot mount '%s' on '%s'%s%s", dataset, dir, why != NULL ? ": " : "", why != NULL ? why : "");
    }
    mutex_enter(&d->d_lock);
    list_insert_tail(&d->d_mounts, dm);
    mutex_exit(&d->d_lock);
    return 0;
}

/* d_lock held. */
static daemon_mount_t *
daemon_find_mount(daemon_state_t *d, const char *dir, bool ended)
{
    daemon_mount_t *dm = list_head(&d->d_mounts);
    while (dm != NULL && ((dir != NULL && strcmp(fuse_mount_dir(dm->dm_fuse), dir) != 0) || (ended && !dm->dm_ended)))
        dm = list_next(&d->d_mounts, dm);
    return dm;
}

/* Takes one mount off the list: a given directory's, any (dir NULL), or one that ended by itself. */
static daemon_mount_t *
daemon_take_mount(daemon_state_t *d, const char *dir, bool ended)
{
    daemon_mount_t *dm;
    mutex_enter(&d->d_lock);
    while ((dm = daemon_find_mount(d, dir, ended)) != NULL && dm->dm_users != 0)
        cv_wait(&d->d_cv, &d->d_lock);
    if (dm != NULL)
        list_remove(&d->d_mounts, dm);
    mutex_exit(&d->d_lock);
    return dm;
}

static int
daemon_stop_mount(daemon_state_t *d, daemon_mount_t *dm, bool force)
{
    int err = fuse_mount_stop(dm->dm_fuse, force);
    if (err == 0) {
        free(dm);
        return 0;
    }
    mutex_enter(&d->d_lock);
    list_insert_tail(&d->d_mounts, dm);
    mutex_exit(&d->d_lock);
    return err;
}

static void
daemon_begin_stop(daemon_state_t *d, daemon_end_t end)
{
    mutex_enter(&d->d_lock);
    d->d_stopping = true;
    if (end == END_EXPORT) /* also when the last mount's end or a signal comes before or after it */
        d->d_end = end;
    cv_broadcast(&d->d_cv);
    mutex_exit(&d->d_lock);
}

static bool
daemon_no_mounts(daemon_state_t *d)
{
    mutex_enter(&d->d_lock);
    bool none = list_is_empty(&d->d_mounts);
    mutex_exit(&d->d_lock);
    return none;
}

/* Invariant 1: the command's thread waits here for the main thread to close the pool. */
static int
daemon_wait_closed(daemon_state_t *d)
{
    mutex_enter(&d->d_lock);
    d->d_waiting++;
    cv_broadcast(&d->d_cv);
    while (!d->d_closed)
        cv_wait(&d->d_cv, &d->d_lock);
    int err = d->d_result;
    mutex_exit(&d->d_lock);
    return err;
}

/* Invariant 2. The first error ends it. */
static int
daemon_each_mount(daemon_state_t *d, int (*fn)(fuse_mount_t *fm, const char *dataset), const char *dataset)
{
    int err = 0;
    if (d == NULL)
        return 0;
    mutex_enter(&d->d_lock);
    for (daemon_mount_t *dm = list_head(&d->d_mounts); dm != NULL && err == 0; dm = list_next(&d->d_mounts, dm)) {
        dm->dm_users++;
        mutex_exit(&d->d_lock);
        err = fn(dm->dm_fuse, dataset);
        mutex_enter(&d->d_lock);
        if (--dm->dm_users == 0)
            cv_broadcast(&d->d_cv);
    }
    mutex_exit(&d->d_lock);
    return err;
}

int
daemon_release(cmd_env_t *env, const char *dataset)
{
    return daemon_each_mount(env->daemon, fuse_mount_release, dataset);
}

static int
flush_one(fuse_mount_t *fm, const char *dataset)
{
    (void)fuse_mount_flush(fm); /* who wrote hears of an error */
    return 0;
}

void
daemon_flush(cmd_env_t *env)
{
    (void)daemon_each_mount(env->daemon, flush_one, NULL);
}

/* ---- heads lent out (dsl_pool_set_suspend) ---- */

/* The mount has a user from suspend to resume, so that it stays on the list. */
static int
daemon_suspend(void *arg, const char *fs)
{
    daemon_state_t *d = arg;
    int err = ENOENT;
    mutex_enter(&d->d_lock);
    for (daemon_mount_t *dm = list_head(&d->d_mounts); dm != NULL && err == ENOENT; dm = list_next(&d->d_mounts, dm)) {
        dm->dm_users++;
        mutex_exit(&d->d_lock);
        err = fuse_mount_suspend(dm->dm_fuse, fs);
        mutex_enter(&d->d_lock);
        if (err != 0 && --dm->dm_users == 0)
            cv_broadcast(&d->d_cv);
    }
    mutex_exit(&d->d_lock);
    return err == ENOENT ? EBUSY : err;
}

static void
daemon_resume(void *arg, const char *fs)
{
    daemon_state_t *d = arg;
    mutex_enter(&d->d_lock);
    for (daemon_mount_t *dm = list_head(&d->d_mounts); dm != NULL; dm = list_next(&d->d_mounts, dm)) {
        dm->dm_users++;
        mutex_exit(&d->d_lock);
        bool resumed = fuse_mount_resume(dm->dm_fuse, fs);
        mutex_enter(&d->d_lock);
        dm->dm_users -= resumed ? 2 : 1;
        if (dm->dm_users == 0)
            cv_broadcast(&d->d_cv);
    }
    mutex_exit(&d->d_lock);
}

static void
daemon_lend(daemon_state_t *d)
{
    dsl_suspend_ops_t ops = {daemon_suspend, daemon_resume, d};
    dsl_pool_set_suspend(d->d_pool, &ops);
}

typedef struct renaming {
    const char *rn_from, *rn_to;
} renaming_t;

static int
renamed_one(fuse_mount_t *fm, const char *arg)
{
    const renaming_t *rn = (const void *)arg;
    fuse_mount_renamed(fm, rn->rn_from, rn->rn_to);
    return 0;
}

void
daemon_renamed(cmd_env_t *env, const char *from, const char *to)
{
    renaming_t rn = {from, to};
    (void)daemon_each_mount(env->daemon, renamed_one, (const void *)&rn);
}

static int
refresh_one(fuse_mount_t *fm, const char *dataset)
{
    fuse_mount_refresh(fm);
    return 0;
}

void
daemon_refresh(cmd_env_t *env)
{
    (void)daemon_each_mount(env->daemon, refresh_one, NULL);
}

bool
daemon_is_mounted(cmd_env_t *env, const char *dataset)
{
    daemon_state_t *d = env->daemon;
    if (d == NULL)
        return false;
    bool found = false;
    mutex_enter(&d->d_lock);
    for (daemon_mount_t *dm = list_head(&d->d_mounts); dm != NULL && !found; dm = list_next(&d->d_mounts, dm)) {
        const char *root = fuse_mount_dataset(dm->dm_fuse);
        size_t n = strlen(root);
        found = strncmp(root, dataset, n) == 0 && (dataset[n] == '\0' || dataset[n] == '/');
    }
    mutex_exit(&d->d_lock);
    return found;
}

/* The directory where a mounted file system is to be seen: below that of the mount's root. */
bool
daemon_mounted_at(cmd_env_t *env, const char *dataset, char *dir, size_t n)
{
    daemon_state_t *d = env->daemon;
    bool found = false;
    if (d == NULL)
        return false;
    mutex_enter(&d->d_lock);
    for (daemon_mount_t *dm = list_head(&d->d_mounts); dm != NULL && !found; dm = list_next(&d->d_mounts, dm)) {
        const char *root = fuse_mount_dataset(dm->dm_fuse);
        size_t len = strlen(root);
        found = strncmp(root, dataset, len) == 0 && (dataset[len] == '\0' || dataset[len] == '/');
        if (found)
            snprintf(dir, n, "%s%s", fuse_mount_dir(dm->dm_fuse), dataset + len);
    }
    mutex_exit(&d->d_lock);
    return found;
}

/* ---- serving ---- */

static int
daemon_run_env(daemon_state_t *d, const server_request_t *req)
{
    cmd_env_t env = {.fd_in = req->sr_fds[0],
                     .fd_out = req->sr_fds[1],
                     .fd_err = req->sr_fds[2],
                     .cwd = req->sr_cwd,
                     .cancel = req->sr_cancel,
                     .daemon = d,
                     .pool = d->d_pool};
    env.out = fdopen(dup(env.fd_out), "w");
    env.err = fdopen(dup(env.fd_err), "w");
    int code = 1;
    if (env.out != NULL && env.err != NULL) {
        setvbuf(env.err, NULL, _IOLBF, 0);
        code = cmd_dispatch(&env, req->sr_argc, req->sr_argv);
    }
    if (env.out != NULL && fclose(env.out) != 0 && code == 0)
        code = 1;
    if (env.err != NULL)
        fclose(env.err);
    return code;
}

static int
daemon_run(void *arg, const server_request_t *req)
{
    daemon_state_t *d = arg;
    mutex_enter(&d->d_lock);
    bool stopping = d->d_stopping;
    d->d_running += !stopping;
    mutex_exit(&d->d_lock);
    if (stopping)
        return SERVER_ENDS; /* the client opens the pool when it is closed here */
    int code = daemon_run_env(d, req);
    mutex_enter(&d->d_lock);
    d->d_running--;
    cv_broadcast(&d->d_cv);
    mutex_exit(&d->d_lock);
    return code;
}

/* SIGTERM and SIGINT end the daemon in good order. */
static void *
daemon_signals(void *arg)
{
    daemon_state_t *d = arg;
    sigset_t set;
    int sig;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    while (sigwait(&set, &sig) == 0) {
        mutex_enter(&d->d_lock);
        d->d_hurry = true;
        d->d_cancel = 1;
        mutex_exit(&d->d_lock);
        daemon_begin_stop(d, END_CLOSE);
    }
    return NULL;
}

static void
daemon_block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* Until told to stop, or the last mount is gone. */
static void
daemon_serve(daemon_state_t *d)
{
    for (;;) {
        daemon_mount_t *dm = daemon_take_mount(d, NULL, true);
        if (dm != NULL) {
            (void)daemon_stop_mount(d, dm, true);
            if (daemon_no_mounts(d))
                daemon_begin_stop(d, END_CLOSE);
            continue;
        }
        mutex_enter(&d->d_lock);
        bool stop = d->d_stopping;
        if (!stop)
            (void)cv_timedwait_ms(&d->d_cv, &d->d_lock, 1000);
        mutex_exit(&d->d_lock);
        if (stop)
            return;
    }
}

static int
daemon_close(daemon_state_t *d)
{
    char pool[NAMELEN];
    snprintf(pool, sizeof(pool), "%s", dsl_pool_name(d->d_pool));
    daemon_mount_t *dm;
    server_shutdown(d->d_server, d->d_hurry);
    mutex_enter(&d->d_lock);
    while (d->d_running != d->d_waiting)
        cv_wait(&d->d_cv, &d->d_lock);
    mutex_exit(&d->d_lock);
    while ((dm = daemon_take_mount(d, NULL, false)) != NULL)
        (void)daemon_stop_mount(d, dm, true);
    known_daemon_clear(pool); /* before the next daemon can have the pool */
    int err = EBUSY;
    if (d->d_end == END_EXPORT)
        err = dsl_pool_export(d->d_pool);
    if (err == EBUSY)
        err = dsl_pool_close(d->d_pool);
    mutex_enter(&d->d_lock);
    d->d_closed = true;
    d->d_result = err;
    cv_broadcast(&d->d_cv);
    mutex_exit(&d->d_lock);
    server_stop(d->d_server);
    return err;
}

/* ---- starting ---- */

typedef struct mount_args {
    const char *ma_dataset, *ma_opts;
    const char *ma_streams; /* files with streams: ma_dataset is the name for their pool */
    char ma_dir[PATH_MAX];
    bool ma_foreground, ma_readonly;
} mount_args_t;

/* The daemon's setup: everything that can fail, told on env->err. */
static int
daemon_setup(daemon_state_t *d, cmd_env_t *env, const mount_args_t *ma)
{
    char sock[PATH_MAX];
    const char *pool = dsl_pool_name(env->pool);
    int err = known_socket(pool, sock, sizeof(sock));
    if (err != 0)
        return fail(env, err, "cannot use the runtime directory");
    d->d_pool = env->pool;
    env->daemon = d;
    if (daemon_add_mount(d, env, ma->ma_dataset, ma->ma_dir, ma->ma_opts) != 0)
        return 1;
    daemon_lend(d);
    err = server_start(sock, daemon_run, d, &d->d_server);
    if (err != 0) {
        dsl_pool_set_suspend(d->d_pool, NULL);
        (void)daemon_stop_mount(d, daemon_take_mount(d, NULL, false), true);
        return fail(env, err, "cannot listen on '%s'", sock);
    }
    return 0;
}

/* Standard streams go away, so that whoever waits for their end is not kept waiting. */
static void
daemon_detach(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3 && null >= 0; fd++)
        dup2(null, fd);
    openlog("cowbird", LOG_PID, LOG_DAEMON);
    if (chdir("/") != 0)
        cowbird_log(LOG_WARNING, "cannot leave the working directory");
}

static void
syslog_sink(int level, const char *line)
{
    syslog(level, "%s", line);
}

/* What is mounted: a dataset of a pool, or what the streams give (a volume is a file in its pool's root). */
static int
daemon_open(cmd_env_t *env, mount_args_t *ma, scratch_t **scp)
{
    dsl_pool_t *dp;
    dsl_stats_t st;
    if (ma->ma_streams == NULL)
        return env_pool(env, ma->ma_dataset, ma->ma_readonly ? ENV_RDONLY : 0, &dp);
    if (scratch_open(env, ma->ma_dataset, ma->ma_streams, scp) != 0)
        return 1;
    env->pool = scratch_take_pool(*scp);
    if (dsl_dataset_stats(env->pool, scratch_top(*scp), &st) == 0 && st.dst_type == DMU_OST_ZFS)
        ma->ma_dataset = scratch_top(*scp);
    return 0;
}

/* From an open pool to "ready", and on to the end. */
static int
daemon_run_pool(daemon_state_t *d, cmd_env_t *env, const mount_args_t *ma, const char *file, int ready)
{
    char real[PATH_MAX];
    if (daemon_setup(d, env, ma) != 0) {
        env->daemon = NULL;
        env_close(env);
        return 1;
    }
    known_daemon_set(dsl_pool_name(d->d_pool), file != NULL && realpath(file, real) != NULL ? real : "");
    fflush(env->err);
    if (ready >= 0) {
        cowbird_log_set_sink(syslog_sink);
        daemon_detach();
        VERIFY3U(write(ready, "", 1), ==, 1);
        close(ready);
    }
    daemon_serve(d);
    int err = daemon_close(d);
    env->pool = NULL;
    env->daemon = NULL;
    return err != 0;
}

/* In the daemon process. ready: the pipe to the parent, or -1. Returns the exit code. */
static int
daemon_main(cmd_env_t *env, const mount_args_t *args, const char *file, int ready)
{
    daemon_state_t d = {.d_stopping = false};
    mount_args_t ma = *args;
    scratch_t *sc = NULL;
    pthread_t signals;
    daemon_block_signals();
    mutex_init(&d.d_lock);
    cv_init(&d.d_cv);
    list_create(&d.d_mounts, offsetof(daemon_mount_t, dm_link));
    env->cancel = &d.d_cancel;
    VERIFY0(pthread_create(&signals, NULL, daemon_signals, &d));
    int code = daemon_open(env, &ma, &sc);
    if (code == 0)
        code = daemon_run_pool(&d, env, &ma, file, ready);
    if (sc != NULL)
        scratch_close(sc);
    pthread_cancel(signals);
    pthread_join(signals, NULL);
    return code;
}

static int
daemon_fork(cmd_env_t *env, const mount_args_t *ma, const char *file)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC) != 0)
        return fail(env, errno, "cannot start");
    fflush(env->out);
    fflush(env->err);
    pid_t pid = fork();
    if (pid < 0)
        return fail(env, errno, "cannot start");
    if (pid == 0) {
        close(p[0]);
        (void)setsid();
        _exit(daemon_main(env, ma, file, p[1]));
    }
    close(p[1]);
    char ok;
    ssize_t n;
    while ((n = read(p[0], &ok, 1)) < 0 && errno == EINTR) {
        if (env_canceled(env))
            kill(pid, SIGTERM); /* it is still receiving streams, or waits for the pool */
    }
    close(p[0]);
    if (n == 1)
        return 0;
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status))
        return failx(env, "cannot mount '%s': the serving process died of signal %d", ma->ma_dataset, WTERMSIG(status));
    return WEXITSTATUS(status); /* not 1: another daemon was first, and took the command */
}

/* ---- the commands ---- */

static int
show_mounts(cmd_env_t *env)
{
    FILE *f = setmntent("/proc/self/mounts", "re");
    if (f == NULL)
        return fail(env, errno, "cannot read the table of mounts");
    struct mntent *m;
    while ((m = getmntent(f)) != NULL) {
        if (strcmp(m->mnt_type, "fuse.cowbird") == 0)
            fprintf(env->out, "%-30s  %s\n", m->mnt_fsname, m->mnt_dir);
    }
    endmntent(f);
    return 0;
}

/* The directory's real path. A stale mount point (its daemon was killed) cannot be looked at: its path is taken as given. */
static int
mount_dir(cmd_env_t *env, const char *arg, char *real)
{
    char *path = env_path(env, arg);
    struct stat st;
    int err = 0;
    if (realpath(path, real) == NULL) {
        err = errno;
        if (err == ENOTCONN && strlen(path) < PATH_MAX) {
            strcpy(real, path);
            err = 0;
        }
    } else if (stat(real, &st) == 0 && !S_ISDIR(st.st_mode)) {
        err = ENOTDIR;
    }
    free(path);
    return err;
}

/* FILE[,FILE]...: a path (begins with / ./ ../), or the name of a file that ends in .zs. All else is a dataset's name. */
static bool
names_streams(cmd_env_t *env, const char *arg)
{
    if (arg[0] == '/' || strncmp(arg, "./", 2) == 0 || strncmp(arg, "../", 3) == 0 || strcmp(arg, "-") == 0)
        return true;
    char *first = xasprintf("%.*s", (int)strcspn(arg, ","), arg), *path = env_path(env, first);
    size_t n = strlen(first);
    bool stream = n > 3 && strcmp(first + n - 3, ".zs") == 0 && access(path, F_OK) == 0;
    free(path);
    free(first);
    return stream;
}

/* A pool of its own, which lives as long as the mount. */
static int
mount_streams(cmd_env_t *env, mount_args_t *ma)
{
    char pool[32];
    if (env->daemon != NULL)
        return failx(env, "cannot mount '%s': not through another mount's process", ma->ma_dataset);
    snprintf(pool, sizeof(pool), "stream-%d", (int)getpid());
    ma->ma_streams = ma->ma_dataset;
    ma->ma_dataset = pool;
    return ma->ma_foreground ? daemon_main(env, ma, NULL, -1) : daemon_fork(env, ma, NULL);
}

int
cmd_mount(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    mount_args_t ma = {.ma_opts = NULL};
    char opts[4096] = "";
    int c;
    while ((c = opt_next(&o, "Fo:")) != -1) {
        if (c == 'F')
            ma.ma_foreground = true;
        else if (c == 'o' && strlen(opts) + strlen(o.o_arg) + 2 < sizeof(opts))
            snprintf(opts + strlen(opts), sizeof(opts) - strlen(opts), "%s%s", opts[0] != '\0' ? "," : "", o.o_arg);
        else
            return opt_bad(env, "mount", &o);
    }
    if (o.o_ind == argc)
        return show_mounts(env);
    if (argc - o.o_ind != 2)
        return usage_error(env, "mount", "a dataset and a directory are needed");
    ma.ma_dataset = argv[o.o_ind];
    ma.ma_opts = opts[0] != '\0' ? opts : NULL;
    for (char *t = opts; *t != '\0'; t += strcspn(t, ","), t += *t == ',')
        ma.ma_readonly |= strncmp(t, "ro", 2) == 0 && (t[2] == ',' || t[2] == '\0');
    int err = mount_dir(env, argv[o.o_ind + 1], ma.ma_dir);
    if (err != 0)
        return failx(env, "cannot mount on '%s': %s", argv[o.o_ind + 1], strerror(err));
    if (names_streams(env, ma.ma_dataset))
        return mount_streams(env, &ma);
    if (env->daemon != NULL)
        return daemon_add_mount(env->daemon, env, ma.ma_dataset, ma.ma_dir, ma.ma_opts);

    /* Here only when no daemon serves the pool: env_pool() would have handed the command over. */
    char pool[NAMELEN], file[PATH_MAX] = "", sock[PATH_MAX];
    snprintf(pool, sizeof(pool), "%.*s", (int)strcspn(ma.ma_dataset, "/@"), ma.ma_dataset);
    char served[NAMELEN];
    int code;
    bool other = env->file != NULL && (known_daemon_find(env->file, served, sizeof(served)) != 0 || strcmp(served, pool) != 0);
    if (!other && known_socket(pool, sock, sizeof(sock)) == 0) {
        err = server_call(sock, env->argc, env->argv, 1, env->cancel, &code);
        if (err == 0)
            return code;
    }
    if (env->file != NULL) {
        char *path = env_path(env, env->file);
        snprintf(file, sizeof(file), "%s", path);
        free(path);
    } else {
        (void)known_find(pool, file, sizeof(file));
    }
    return ma.ma_foreground ? daemon_main(env, &ma, file, -1) : daemon_fork(env, &ma, file);
}

/* The pool that serves a mount point, from the table of mounts. */
static bool
mounted_pool(const char *dir, char *pool)
{
    FILE *f = setmntent("/proc/self/mounts", "re");
    struct mntent *m;
    bool found = false;
    while (f != NULL && (m = getmntent(f)) != NULL) {
        if (strcmp(m->mnt_type, "fuse.cowbird") != 0 || strcmp(m->mnt_dir, dir) != 0)
            continue;
        snprintf(pool, NAMELEN, "%.*s", (int)strcspn(m->mnt_fsname, "/@"), m->mnt_fsname);
        found = true;
    }
    if (f != NULL)
        endmntent(f);
    return found;
}

/* In the daemon: one mount (dir) or all of them. When none is left the daemon ends. */
static int
unmount_here(cmd_env_t *env, const char *dir, bool force)
{
    daemon_state_t *d = env->daemon;
    daemon_mount_t *dm = daemon_take_mount(d, dir, false);
    if (dm == NULL)
        return failx(env, "cannot unmount '%s': not currently mounted", dir != NULL ? dir : dsl_pool_name(d->d_pool));
    do {
        char path[PATH_MAX];
        snprintf(path, sizeof(path), "%s", fuse_mount_dir(dm->dm_fuse));
        int err = daemon_stop_mount(d, dm, force);
        if (err == EBUSY)
            return failx(env, "cannot unmount '%s': pool or dataset is busy", path);
        if (err != 0)
            return fail(env, err, "cannot unmount '%s'", path);
    } while (dir == NULL && (dm = daemon_take_mount(d, NULL, false)) != NULL);
    if (!daemon_no_mounts(d))
        return 0;
    daemon_begin_stop(d, END_CLOSE);
    int err = daemon_wait_closed(d);
    return err == 0 ? 0 : failx(env, "the pool could not be closed cleanly: %s", cowbird_strerror(err));
}

int
cmd_unmount(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    bool force = false;
    int c;
    while ((c = opt_next(&o, "f")) != -1) {
        if (c != 'f')
            return opt_bad(env, "unmount", &o);
        force = true;
    }
    if (argc - o.o_ind != 1)
        return usage_error(env, "unmount", "a mount point or a pool is needed");
    const char *what = argv[o.o_ind];
    char dir[PATH_MAX], pool[NAMELEN], sock[PATH_MAX];
    bool is_dir = mount_dir(env, what, dir) == 0 && mounted_pool(dir, pool);
    if (env->daemon != NULL && !is_dir && strcmp(what, dsl_pool_name(env->pool)) != 0) /* ended meanwhile */
        return failx(env, "cannot unmount '%s': not currently mounted", what);
    if (env->daemon != NULL)
        return unmount_here(env, is_dir ? dir : NULL, force);
    if (!is_dir)
        snprintf(pool, sizeof(pool), "%s", what);
    int code, err = known_socket(pool, sock, sizeof(sock));
    if (err == 0)
        err = server_call(sock, env->argc, env->argv, 1, env->cancel, &code);
    if (err == 0)
        return code;
    return failx(env, "cannot unmount '%s': not currently mounted", what);
}

int
cmd_pool_export(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    bool force = false;
    int c;
    while ((c = opt_next(&o, "f")) != -1) {
        if (c != 'f')
            return opt_bad(env, "pool export", &o);
        force = true;
    }
    if (argc - o.o_ind != 1)
        return usage_error(env, "pool export", "one pool is needed");
    const char *pool = argv[o.o_ind];
    dsl_pool_t *dp;
    if (env_pool(env, pool, 0, &dp) != 0)
        return 1;
    (void)dsl_history_log(dp, env->line); /* beforehand: afterwards it is closed */
    int err;
    if (env->daemon == NULL) {
        err = dsl_pool_export(dp);
        if (err != EBUSY)
            env->pool = NULL;
    } else {
        daemon_mount_t *dm;
        while ((dm = daemon_take_mount(env->daemon, NULL, false)) != NULL) {
            if (daemon_stop_mount(env->daemon, dm, force) != 0)
                return failx(env, "cannot export '%s': pool is busy", pool);
        }
        daemon_begin_stop(env->daemon, END_EXPORT);
        err = daemon_wait_closed(env->daemon);
    }
    if (err != 0)
        return failx(env, "cannot export '%s': %s", pool, err == EBUSY ? "pool is busy" : cowbird_strerror(err));
    if (env->file == NULL)
        known_remove(pool);
    return 0;
}
