/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * env.c - from a name to an open pool. A pool has one owner at a time:
 *
 *     in the daemon ──────────────────────────────► the daemon's own pool
 *     a daemon serves it ──► the whole command line travels over its socket; the client ends with its exit code
 *     nobody has it ───────► opened here; env_close() closes it
 *     somebody else is at it (a command that runs right now) ──► wait a little, then "pool is busy"
 *
 * The file comes from -f, COWBIRD_POOL or the list of known pools.
 */
#include <limits.h>
#include <unistd.h>
#include "cmd.h"
#include "server.h"
#include "zpl.h"

#define BUSY_WAIT_MS 15000

bool
env_canceled(const cmd_env_t *env)
{
    return env->cancel != NULL && *env->cancel != 0;
}

char *
env_path(const cmd_env_t *env, const char *path)
{
    return path[0] == '/' ? xstrdup(path) : xasprintf("%s/%s", env->cwd, path);
}

/* Hand the command line to the pool's daemon, if there is one: then this process is done.
 * Returns when no daemon listens; with keep, also when it ran (true). */
static bool
env_forward(cmd_env_t *env, const char *pool, bool keep, int *code)
{
    char sock[PATH_MAX];
    if (known_socket(pool, sock, sizeof(sock)) != 0)
        return false;
    fflush(env->out);
    fflush(env->err);
    int err = server_call(sock, env->argc, env->argv, 1, env->cancel, code);
    if (err == ENOENT || err == ECONNREFUSED)
        return false;
    if (err == EINTR)
        *code = 130;
    else if (err != 0)
        *code = failx(env, "the process that serves pool '%s' did not answer: %s", pool, cowbird_strerror(err));
    if (!keep)
        exit(*code);
    return true;
}

/* With -f FILE only the daemon that has this file is meant. */
static bool
env_asks_daemon(const cmd_env_t *env, const char *pool)
{
    char served[NAMELEN];
    return env->file == NULL || (known_daemon_find(env->file, served, sizeof(served)) == 0 && strcmp(served, pool) == 0);
}

int
env_call(cmd_env_t *env, const char *pool, int argc, char **argv, int fd, int *code)
{
    char sock[PATH_MAX];
    if (!env_asks_daemon(env, pool) || known_socket(pool, sock, sizeof(sock)) != 0)
        return ENOENT;
    int err = server_call(sock, argc, argv, fd, env->cancel, code);
    if (err == EINTR)
        *code = 130;
    return err == EINTR ? 0 : err;
}

/* The file of a pool that no daemon serves. */
static int
env_find_file(cmd_env_t *env, const char *pool, char *file, size_t n)
{
    if (env->file == NULL)
        return known_find(pool, file, n);
    char *path = env_path(env, env->file);
    int len = snprintf(file, n, "%s", path);
    free(path);
    return len < (int)n ? 0 : SET_ERROR(ENAMETOOLONG);
}

/* A command of another process may have the pool for a moment; or a daemon that begins and does not listen yet (ask: the pool's name). */
static int
env_open_disk(cmd_env_t *env, const char *file, int flags, const char *ask, disk_t *disk)
{
    int err, code;
    for (int waited = 0; (err = disk_open(file, flags & ENV_RDONLY ? DISK_RDONLY : 0, disk)) == EBUSY; waited += 50) {
        if (waited >= BUSY_WAIT_MS || env_canceled(env))
            break;
        usleep(50 * 1000);
        if (ask != NULL)
            (void)env_forward(env, ask, false, &code);
    }
    return err;
}

static int
env_open_failed(cmd_env_t *env, const char *pool, const char *file, int err)
{
    if (err == EBUSY)
        return failx(env, "cannot open '%s': pool is busy: another process has '%s' open", pool, file);
    if (err == ENOENT)
        return failx(env, "cannot open '%s': no such pool: '%s' is missing or is not a pool", pool, file);
    if (err == ENOTSUP)
        return failx(env, "cannot open '%s': it uses a format or feature that is not supported here", pool);
    return failx(env, "cannot open '%s' in '%s': %s", pool, file, cowbird_strerror(err));
}

static int
env_open(cmd_env_t *env, const char *pool, const char *file, int flags, bool ask)
{
    disk_t disk;
    int err = env_open_disk(env, file, flags, ask ? pool : NULL, &disk);
    if (err != 0)
        return env_open_failed(env, pool, file, err);
    dsl_set_objset_init(zpl_objset_init);
    err = dsl_pool_open(&disk, flags & ENV_RDONLY ? DSL_POOL_RDONLY : 0, &env->pool);
    if (err != 0) {
        disk_close(&disk);
        return env_open_failed(env, pool, file, err);
    }
    if (strcmp(dsl_pool_name(env->pool), pool) != 0) {
        failx(env, "cannot open '%s': no such pool ('%s' holds the pool '%s')", pool, file, dsl_pool_name(env->pool));
        (void)dsl_pool_close(env->pool);
        env->pool = NULL;
        return 1;
    }
    return 0;
}

/* "pool/fs@snap" -> "pool"; false when it is no pool's name. */
static bool
pool_component(const char *name, char *pool)
{
    size_t n = strcspn(name, "/@#");
    if (n == 0 || n >= NAMELEN)
        return false;
    memcpy(pool, name, n);
    pool[n] = '\0';
    return true;
}

/* A dataset's name, or a bookmark's: whose parts are like a snapshot's. */
int
check_name(const char *name, const char **reason)
{
    char *like = xstrdup(name), *hash = strchr(like, '#');
    if (hash != NULL && strchr(name, '@') == NULL)
        *hash = '@';
    int err = dsl_name_check(like, reason);
    free(like);
    return err;
}

int
env_pool(cmd_env_t *env, const char *name, int flags, dsl_pool_t **dpp)
{
    char pool[NAMELEN], file[PATH_MAX];
    const char *reason;
    env->writes |= !(flags & ENV_RDONLY);
    if (check_name(name, &reason) != 0 || !pool_component(name, pool))
        return failx(env, "cannot open '%s': invalid dataset name: %s", name, reason != NULL ? reason : "empty");
    if (env->pool != NULL) {
        *dpp = env->pool;
        if (strcmp(dsl_pool_name(env->pool), pool) == 0)
            return 0;
        return failx(env, "cannot open '%s': dataset does not exist", name);
    }
    int code;
    bool ask = env_asks_daemon(env, pool);
    if (ask)
        (void)env_forward(env, pool, false, &code);
    if (env_find_file(env, pool, file, sizeof(file)) != 0)
        return failx(env, "cannot open '%s': no such pool '%s' (is it imported? see: cowbird pool import)", name, pool);
    int err = env_open(env, pool, file, flags, ask);
    *dpp = env->pool;
    return err;
}

void
env_close(cmd_env_t *env)
{
    if (env->daemon != NULL || env->pool == NULL)
        return;
    int err = dsl_pool_close(env->pool);
    env->pool = NULL;
    if (err != 0)
        failx(env, "the pool could not be closed cleanly: %s", cowbird_strerror(err));
}

/* ---- every pool ---- */

typedef struct pool_names {
    char (*pn_names)[NAMELEN];
    size_t pn_count;
} pool_names_t;

static int
add_name(void *arg, const char *pool)
{
    pool_names_t *pn = arg;
    for (size_t i = 0; i < pn->pn_count; i++) {
        if (strcmp(pn->pn_names[i], pool) == 0)
            return 0;
    }
    pn->pn_names = xrealloc(pn->pn_names, (pn->pn_count + 1) * NAMELEN);
    snprintf(pn->pn_names[pn->pn_count++], NAMELEN, "%s", pool);
    return 0;
}

static int
add_known(void *arg, const char *pool, const char *file)
{
    return access(file, F_OK) == 0 ? add_name(arg, pool) : 0;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* The one pool of -f FILE, by its label. */
static int
env_file_pool(cmd_env_t *env, pool_names_t *pn)
{
    char served[NAMELEN];
    char *path = env_path(env, env->file);
    if (known_daemon_find(path, served, sizeof(served)) == 0) {
        free(path);
        return add_name(pn, served);
    }
    disk_t disk;
    spa_t *spa;
    int err = env_open_disk(env, path, ENV_RDONLY, NULL, &disk);
    if (err == 0 && (err = spa_open(&disk, SPA_OPEN_RDONLY, &spa)) != 0)
        disk_close(&disk);
    if (err != 0) {
        (void)env_open_failed(env, env->file, path, err);
    } else {
        (void)add_name(pn, spa_name(spa));
        spa_close(spa);
    }
    free(path);
    return err;
}

static int
env_names(cmd_env_t *env, pool_names_t *pn)
{
    if (env->file != NULL) {
        if (env_file_pool(env, pn) != 0)
            return 1;
    } else {
        (void)known_each_daemon(add_name, pn);
        (void)known_each(add_known, pn);
    }
    if (pn->pn_count > 1)
        qsort(pn->pn_names, pn->pn_count, NAMELEN, by_name);
    return 0;
}

int
env_each_name(cmd_env_t *env, int (*fn)(void *arg, const char *pool), void *arg)
{
    pool_names_t pn = {NULL, 0};
    int code = env_names(env, &pn);
    for (size_t i = 0; i < pn.pn_count && code == 0; i++)
        code = fn(arg, pn.pn_names[i]);
    free(pn.pn_names);
    return code;
}

int
env_each_pool(cmd_env_t *env, int flags, int (*fn)(cmd_env_t *env, dsl_pool_t *dp, void *arg), void *arg)
{
    if (env->pool != NULL)
        return fn(env, env->pool, arg);
    pool_names_t pn = {NULL, 0};
    if (env_names(env, &pn) != 0)
        return 1;
    int code = 0;
    char served[NAMELEN];
    bool other = env->file != NULL && known_daemon_find(env->file, served, sizeof(served)) != 0; /* than a daemon's of that name */
    for (size_t i = 0; i < pn.pn_count; i++) {
        int one = 0;
        char file[PATH_MAX];
        if (other || !env_forward(env, pn.pn_names[i], true, &one)) {
            if (env_find_file(env, pn.pn_names[i], file, sizeof(file)) != 0)
                continue;
            one = env_open(env, pn.pn_names[i], file, flags, false);
            if (one == 0)
                one = fn(env, env->pool, arg);
            env_close(env);
        }
        code = MAX(code, one);
    }
    free(pn.pn_names);
    return code;
}
