/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * look_ls.c - names and attributes of files in streams, a line each, and their contents.
 *
 *   ls           names in a directory, or the file itself
 *   ls -R        everything below, as paths
 *   ls -l        -rw-r--r--  links  uid gid  size  date time  name -> target      numbers only, times in whole nanoseconds, UTC
 */
#include <inttypes.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "look.h"

#define CAT_CHUNK (1u << 20)
#define DEPTH_MAX 2000

typedef struct ls {
    cmd_env_t *ls_env;
    look_tree_t *ls_tree;
    look_seen_t ls_seen; /* a damaged directory may hold itself */
    int ls_flags;
    bool ls_terminal; /* bytes it would act on become '?' */
    int ls_code;
} ls_t;

static int
ls_fail(ls_t *ls, const char *path, int err)
{
    ls->ls_code = failx(ls->ls_env, "%s: %s", *path != '\0' ? path : "/", tree_strerror(err));
    return ls->ls_code;
}

static void
ls_text(ls_t *ls, const char *s)
{
    for (; *s != '\0'; s++)
        fputc(ls->ls_terminal && ((uint8_t)*s < 0x20 || *s == 0x7f) ? '?' : *s, ls->ls_env->out);
}

static void
ls_mode(mode_t mode, char *text)
{
    static const char type[] = "?pc?d?b?-?l?s???";
    const char *bits = "rwxrwxrwx";
    text[0] = type[(mode >> 12) & 15];
    for (int i = 0; i < 9; i++)
        text[i + 1] = mode & (0400 >> i) ? bits[i] : '-';
    if (mode & S_ISUID)
        text[3] = mode & S_IXUSR ? 's' : 'S';
    if (mode & S_ISGID)
        text[6] = mode & S_IXGRP ? 's' : 'S';
    if (mode & S_ISVTX)
        text[9] = mode & S_IXOTH ? 't' : 'T';
    text[10] = '\0';
}

static void
ls_long(ls_t *ls, const struct stat *st)
{
    char mode[12], size[48], when[40];
    struct tm tm;
    ls_mode(st->st_mode, mode);
    if (S_ISBLK(st->st_mode) || S_ISCHR(st->st_mode))
        snprintf(size, sizeof(size), "%u, %u", major(st->st_rdev), minor(st->st_rdev));
    else
        snprintf(size, sizeof(size), "%" PRIu64, (uint64_t)st->st_size);
    time_t t = st->st_mtim.tv_sec;
    if (gmtime_r(&t, &tm) == NULL || strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm) == 0)
        snprintf(when, sizeof(when), "@%lld", (long long)t);
    fprintf(ls->ls_env->out, "%s %3ju %5u %5u %12s %s.%09ld ", mode, (uintmax_t)st->st_nlink, st->st_uid,
            st->st_gid, size, when, st->st_mtim.tv_nsec);
}

static void
ls_target(ls_t *ls, const look_file_t *f)
{
    char target[4097];
    size_t n;
    int err = zpl_readlink(f->lf_zp, target, sizeof(target) - 1, &n);
    if (err != 0) {
        (void)ls_fail(ls, "a link's target", err);
        return;
    }
    target[MIN(n, sizeof(target) - 1)] = '\0';
    fputs(" -> ", ls->ls_env->out);
    ls_text(ls, target);
}

static void
ls_line(ls_t *ls, const look_file_t *f, const struct stat *st, const char *name)
{
    if (ls->ls_flags & LS_LONG)
        ls_long(ls, st);
    ls_text(ls, name);
    if ((ls->ls_flags & LS_LONG) && S_ISLNK(st->st_mode))
        ls_target(ls, f);
    fputc('\n', ls->ls_env->out);
}

static void ls_dir(ls_t *ls, const look_file_t *dir, uint64_t object, const char *path, int depth);

static void
ls_entry(ls_t *ls, const look_file_t *dir, const char *path, const char *name, int depth)
{
    look_file_t f;
    struct stat st;
    char *full = path[0] != '\0' ? xasprintf("%s/%s", path, name) : xstrdup(name);
    int err = tree_lookup(ls->ls_tree, dir, name, &f);
    if (err == 0) {
        err = tree_stat(&f, &st);
        if (err == 0)
            ls_line(ls, &f, &st, ls->ls_flags & LS_RECURSIVE ? full : name);
        if (err == 0 && S_ISDIR(st.st_mode) && (ls->ls_flags & LS_RECURSIVE))
            ls_dir(ls, &f, st.st_ino, full, depth + 1);
        tree_put(&f);
    }
    if (err != 0)
        (void)ls_fail(ls, full, err);
    free(full);
}

static void
ls_dir(ls_t *ls, const look_file_t *dir, uint64_t object, const char *path, int depth)
{
    look_names_t names;
    int err = depth > DEPTH_MAX || seen_before(&ls->ls_seen, dir, object, "") != NULL
                  ? ELOOP
                  : tree_list(ls->ls_tree, dir, &names);
    if (err != 0) {
        (void)ls_fail(ls, path, err);
        return;
    }
    for (size_t i = 0; i < names.ln_count && !env_canceled(ls->ls_env) && !ferror(ls->ls_env->out); i++)
        ls_entry(ls, dir, path, names.ln_names[i], depth);
    tree_list_free(&names);
}

int
look_ls(cmd_env_t *env, look_tree_t *tr, const char *path, int flags)
{
    ls_t ls = {.ls_env = env, .ls_tree = tr, .ls_flags = flags, .ls_terminal = isatty(env->fd_out) != 0};
    look_file_t f;
    struct stat st;
    seen_init(&ls.ls_seen);
    while (*path == '/')
        path++;
    int err = tree_path(tr, path, &f);
    if (err == 0 && (err = tree_stat(&f, &st)) != 0)
        tree_put(&f);
    if (err != 0)
        (void)ls_fail(&ls, path, err);
    else if (S_ISDIR(st.st_mode))
        ls_dir(&ls, &f, st.st_ino, path, 0);
    else
        ls_line(&ls, &f, &st, *path != '\0' ? path : strrchr(tree_name(tr), '/') + 1);
    if (err == 0)
        tree_put(&f);
    seen_fini(&ls.ls_seen);
    return ls.ls_code;
}

/* ---- contents ---- */

static int
write_all(int fd, const uint8_t *p, uint64_t n)
{
    while (n > 0) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return SET_ERROR(w < 0 ? errno : EIO);
        p += w;
        n -= (uint64_t)w;
    }
    return 0;
}

int
look_cat(cmd_env_t *env, look_tree_t *tr, const char *path)
{
    look_file_t f;
    struct stat st;
    int err = tree_path(tr, path, &f);
    if (err == 0 && (err = tree_stat(&f, &st)) != 0)
        tree_put(&f);
    if (err != 0)
        return failx(env, "%s: %s", path, tree_strerror(err));
    if (!S_ISREG(st.st_mode)) {
        tree_put(&f);
        return failx(env, "%s: %s", *path != '\0' ? path : "/",
                     S_ISDIR(st.st_mode) ? "is a directory" : "is not a regular file");
    }
    uint8_t *buf = xmalloc(CAT_CHUNK);
    uint64_t off = 0, n = 1;
    bool written = true;
    while (err == 0 && n != 0 && !env_canceled(env)) {
        err = tree_read(&f, off, CAT_CHUNK, buf, &n);
        if (err == 0 && (err = write_all(env->fd_out, buf, n)) != 0)
            written = false;
        off += n;
    }
    free(buf);
    tree_put(&f);
    if (err != 0)
        return failx(env, "%s: %s%s", *path != '\0' ? path : "/",
                     written ? "" : "cannot write: ", cowbird_strerror(err));
    return env_canceled(env);
}
