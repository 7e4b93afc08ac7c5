/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * known.c - where pools are found: the list of known pools, and the runtime directory with a socket per daemon.
 *
 *   list      COWBIRD_CACHEFILE, else /var/lib/cowbird/pools (root), else ~/.local/state/cowbird/pools
 *             one line per pool: NAME <tab> absolute path of its file
 *   runtime   COWBIRD_RUNDIR, else /run/cowbird (root), else $XDG_RUNTIME_DIR/cowbird, else /tmp/cowbird-UID; mode 0700
 *             POOL.sock the daemon's socket, POOL.file the real path of the pool's file
 *
 * The list is rewritten whole into a new file that is renamed over the old one: a reader never sees half of it.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cmd.h"

/* ---- the runtime directory ---- */

int
known_rundir(char *path, size_t n)
{
    const char *own = getenv("COWBIRD_RUNDIR"), *xdg = getenv("XDG_RUNTIME_DIR");
    if (own != NULL && *own != '\0')
        snprintf(path, n, "%s", own);
    else if (geteuid() == 0)
        snprintf(path, n, "/run/cowbird");
    else if (xdg != NULL && *xdg != '\0')
        snprintf(path, n, "%s/cowbird", xdg);
    else
        snprintf(path, n, "/tmp/cowbird-%u", (unsigned)geteuid());
    struct stat st;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return SET_ERROR(errno);
    if (lstat(path, &st) != 0)
        return SET_ERROR(errno);
    /* Somebody else's directory there could listen to our commands. */
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        return SET_ERROR(EPERM);
    return 0;
}

static int
rundir_file(const char *pool, const char *suffix, char *path, size_t n)
{
    char dir[PATH_MAX - 300];
    int err = known_rundir(dir, sizeof(dir));
    if (err == 0 && snprintf(path, n, "%s/%s%s", dir, pool, suffix) >= (int)n)
        err = SET_ERROR(ENAMETOOLONG);
    return err;
}

int
known_socket(const char *pool, char *path, size_t n)
{
    return rundir_file(pool, ".sock", path, n);
}

void
known_daemon_set(const char *pool, const char *file)
{
    char path[PATH_MAX];
    if (rundir_file(pool, ".file", path, sizeof(path)) != 0)
        return;
    FILE *f = fopen(path, "we");
    if (f != NULL) {
        fprintf(f, "%s\n", file);
        fclose(f);
    }
}

void
known_daemon_clear(const char *pool)
{
    char path[PATH_MAX];
    if (rundir_file(pool, ".file", path, sizeof(path)) == 0)
        unlink(path);
}

typedef struct daemon_search {
    const char *ds_file;
    char *ds_pool;
    size_t ds_n;
} daemon_search_t;

static int
daemon_match(void *arg, const char *pool)
{
    daemon_search_t *s = arg;
    char path[PATH_MAX], line[PATH_MAX] = "";
    if (rundir_file(pool, ".file", path, sizeof(path)) != 0)
        return 0;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    bool got = fgets(line, sizeof(line), f) != NULL;
    fclose(f);
    line[strcspn(line, "\n")] = '\0';
    if (!got || strcmp(line, s->ds_file) != 0)
        return 0;
    snprintf(s->ds_pool, s->ds_n, "%s", pool);
    return EEXIST;
}

int
known_daemon_find(const char *file, char *pool, size_t n)
{
    char real[PATH_MAX];
    if (realpath(file, real) == NULL)
        return ENOENT;
    daemon_search_t s = {real, pool, n};
    return known_each_daemon(daemon_match, &s) == EEXIST ? 0 : ENOENT;
}

int
known_each_daemon(int (*fn)(void *arg, const char *pool), void *arg)
{
    char dir[PATH_MAX];
    int err = known_rundir(dir, sizeof(dir));
    if (err != 0)
        return err;
    struct dirent **ents;
    int n = scandir(dir, &ents, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char *dot = strrchr(ents[i]->d_name, '.');
        if (err == 0 && dot != NULL && strcmp(dot, ".sock") == 0) {
            *dot = '\0';
            err = fn(arg, ents[i]->d_name);
        }
        free(ents[i]);
    }
    if (n >= 0)
        free(ents);
    return err;
}

/* ---- the list of known pools ---- */

static void
mkdirs(char *path)
{
    for (char *p = path + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        (void)mkdir(path, 0755);
        *p = '/';
    }
}

static void
list_path(char *path, size_t n)
{
    const char *own = getenv("COWBIRD_CACHEFILE"), *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (own != NULL && *own != '\0')
        snprintf(path, n, "%s", own);
    else if (geteuid() == 0)
        snprintf(path, n, "/var/lib/cowbird/pools");
    else if (state != NULL && *state != '\0')
        snprintf(path, n, "%s/cowbird/pools", state);
    else
        snprintf(path, n, "%s/.local/state/cowbird/pools", home != NULL ? home : "/tmp");
}

int
known_each(int (*fn)(void *arg, const char *pool, const char *file), void *arg)
{
    char path[PATH_MAX], line[PATH_MAX + NAMELEN];
    list_path(path, sizeof(path));
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    int err = 0;
    while (err == 0 && fgets(line, sizeof(line), f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *tab = strchr(line, '\t');
        if (tab == NULL || line[0] == '#')
            continue;
        *tab = '\0';
        err = fn(arg, line, tab + 1);
    }
    fclose(f);
    return err;
}

typedef struct rewrite {
    FILE *rw_file;
    const char *rw_pool; /* left out */
} rewrite_t;

static int
rewrite_line(void *arg, const char *pool, const char *file)
{
    rewrite_t *rw = arg;
    if (strcmp(pool, rw->rw_pool) != 0)
        fprintf(rw->rw_file, "%s\t%s\n", pool, file);
    return 0;
}

/* All lines but the pool's, then the pool's when file is given. */
static void
list_rewrite(const char *pool, const char *file)
{
    char path[PATH_MAX - 8], tmp[PATH_MAX];
    list_path(path, sizeof(path));
    mkdirs(path);
    snprintf(tmp, sizeof(tmp), "%s.lock", path);
    int lock = open(tmp, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX) != 0)
        goto out;
    snprintf(tmp, sizeof(tmp), "%s.new", path);
    FILE *f = fopen(tmp, "we");
    if (f == NULL)
        goto out;
    rewrite_t rw = {f, pool};
    (void)known_each(rewrite_line, &rw);
    if (file != NULL)
        fprintf(f, "%s\t%s\n", pool, file);
    if (fclose(f) == 0)
        (void)rename(tmp, path);
out:
    if (lock >= 0)
        close(lock);
}

void
known_add(const char *pool, const char *file)
{
    list_rewrite(pool, file);
}

void
known_remove(const char *pool)
{
    list_rewrite(pool, NULL);
}

typedef struct find {
    const char *fi_pool;
    char *fi_file;
    size_t fi_n;
} find_t;

static int
find_line(void *arg, const char *pool, const char *file)
{
    find_t *fi = arg;
    if (strcmp(pool, fi->fi_pool) != 0)
        return 0;
    snprintf(fi->fi_file, fi->fi_n, "%s", file);
    return EEXIST;
}

int
known_find(const char *pool, char *file, size_t n)
{
    find_t fi = {pool, file, n};
    return known_each(find_line, &fi) == EEXIST ? 0 : ENOENT;
}
