/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * look_extract.c - files of a stream written into a directory: contents, holes, modes, times, owners (for root), links, extended attributes.
 *
 * A stream may be hostile: no name or link in it leads outside DIR.
 *
 * INVARIANTS
 *  1. Every directory is opened from its parent's descriptor, by one name, without following a link (O_NOFOLLOW); every file is made
 *     there with O_EXCL. What is in the way of a file is unlinked first, never written through.
 *  2. A name is one component: no '/', not "", "." or "..".
 *  3. A directory's times and mode are set after its contents, so that a read-only directory can be filled.
 *  4. An object is met once: a directory a second time is an error, a file a second time a hard link.
 */
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "look.h"

#define CHUNK      (128u << 10)
#define DEPTH_MAX  400 /* one descriptor each */
#define XATTR_MAX  65536
#define NAME_SPACE 65536

typedef struct extract {
    cmd_env_t *ex_env;
    look_tree_t *ex_tree;
    look_seen_t ex_seen;
    int ex_root; /* DIR */
    bool ex_owner;
    int ex_code;
    uint8_t *ex_buf;
} extract_t;

static void
ex_fail(extract_t *ex, const char *path, const char *what, int err)
{
    ex->ex_code = failx(ex->ex_env, "%s: %s%s", *path != '\0' ? path : "/", what, tree_strerror(err));
}

/* ---- one directory below another ---- */

static int
open_dir(int parent, const char *name, bool make)
{
    if (make && mkdirat(parent, name, 0700) != 0 && errno != EEXIST)
        return -1;
    return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* The directory that holds path's last name, each step as invariant 1 says. *last: that name. */
static int
open_parent(extract_t *ex, const char *path, bool make, const char **last)
{
    char name[ZAP_MAXNAMELEN];
    int fd = fcntl(ex->ex_root, F_DUPFD_CLOEXEC, 3);
    for (size_t n; fd >= 0 && path[n = strcspn(path, "/")] == '/'; path += n + 1) {
        if (n == 0)
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)MIN(n, sizeof(name) - 1), path);
        int next = open_dir(fd, name, make);
        int err = errno;
        close(fd);
        fd = next;
        errno = err;
    }
    *last = path;
    return fd;
}

/* ---- attributes ---- */

static int
set_xattr(extract_t *ex, const look_file_t *f, const char *at, const char *name)
{
    size_t len;
    int err = zpl_getxattr(f->lf_zp, name, NULL, 0, &len);
    if (err != 0 || len > XATTR_MAX)
        return err != 0 ? err : SET_ERROR(E2BIG);
    uint8_t *value = xmalloc(len + 1);
    err = zpl_getxattr(f->lf_zp, name, value, len, &len);
    if (err == 0 && lsetxattr(at, name, value, len, 0) != 0)
        err = errno;
    free(value);
    return err;
}

static void
set_xattrs(extract_t *ex, const look_file_t *f, int dir, const char *name, const char *path)
{
    char *at = xasprintf("/proc/self/fd/%d/%s", dir, name), *list = NULL;
    size_t n = 0;
    int err = f->lf_zp == NULL ? 0 : zpl_listxattr(f->lf_zp, NULL, 0, &n);
    if (err == 0 && n > 0) {
        list = xmalloc(n);
        err = zpl_listxattr(f->lf_zp, list, n, &n);
    }
    for (size_t i = 0; err == 0 && i < n; i += strlen(list + i) + 1) {
        int one = set_xattr(ex, f, at, list + i);
        if (one != 0)
            ex_fail(ex, path, "an extended attribute: ", one);
    }
    if (err != 0)
        ex_fail(ex, path, "extended attributes: ", err);
    free(list);
    free(at);
}

/* Owner before mode: a change of owner takes set-id bits away. */
static void
set_attributes(extract_t *ex, const look_file_t *f, const struct stat *st, int dir, const char *name,
               const char *path)
{
    const struct timespec times[2] = {st->st_atim, st->st_mtim};
    mode_t mode = st->st_mode & 07777;
    int err = 0;
    set_xattrs(ex, f, dir, name, path);
    if (ex->ex_owner && fchownat(dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) != 0)
        err = errno;
    if (!ex->ex_owner || err != 0)
        mode &= ~(mode_t)(S_ISUID | S_ISGID); /* not for another owner */
    if (!S_ISLNK(st->st_mode) && fchmodat(dir, name, mode, 0) != 0)
        err = errno;
    if (utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) != 0)
        err = errno;
    if (err != 0)
        ex_fail(ex, path, "attributes: ", err);
}

/* ---- files ---- */

static bool
all_zero(const uint8_t *p, uint64_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

static int
copy_contents(extract_t *ex, const look_file_t *f, int fd, uint64_t size)
{
    uint64_t n;
    int err = 0;
    for (uint64_t off = 0; err == 0 && off < size; off += n) {
        if (env_canceled(ex->ex_env))
            return SET_ERROR(EINTR);
        if (f->lf_zp != NULL && (err = zpl_seek(f->lf_zp, false, &off)) != 0) /* over a hole */
            break;
        err = tree_read(f, off, CHUNK, ex->ex_buf, &n);
        if (err == 0 && n == 0)
            break;
        if (err == 0 && !all_zero(ex->ex_buf, n) && pwrite(fd, ex->ex_buf, n, (off_t)off) != (ssize_t)n)
            err = errno != 0 ? errno : EIO;
    }
    if (err == ENXIO) /* no data behind */
        err = 0;
    return err == 0 && ftruncate(fd, (off_t)size) != 0 ? errno : err;
}

static int
make_file(extract_t *ex, const look_file_t *f, const struct stat *st, int dir, const char *name)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    int err = copy_contents(ex, f, fd, (uint64_t)st->st_size);
    if (close(fd) != 0 && err == 0)
        err = errno;
    return err;
}

static int
make_symlink(const look_file_t *f, int dir, const char *name)
{
    char target[4097];
    size_t n;
    int err = zpl_readlink(f->lf_zp, target, sizeof(target) - 1, &n);
    if (err != 0)
        return err;
    target[MIN(n, sizeof(target) - 1)] = '\0';
    return symlinkat(target, dir, name) == 0 ? 0 : errno;
}

static int
make_other(extract_t *ex, const look_file_t *f, const struct stat *st, int dir, const char *name)
{
    if (S_ISREG(st->st_mode))
        return make_file(ex, f, st, dir, name);
    if (S_ISLNK(st->st_mode))
        return make_symlink(f, dir, name);
    return mknodat(dir, name, (st->st_mode & S_IFMT) | 0600, st->st_rdev) == 0
               ? 0
               : errno; /* EPERM: a device, not for root */
}

/* The same file as path, which was written before. */
static int
make_link(extract_t *ex, const char *first, int dir, const char *name)
{
    const char *last;
    int from = open_parent(ex, first, false, &last);
    if (from < 0)
        return errno;
    int err = linkat(from, last, dir, name, 0) == 0 ? 0 : errno;
    close(from);
    return err;
}

static void
extract_file(extract_t *ex, const look_file_t *f, const struct stat *st, int dir, const char *name,
             const char *path)
{
    const char *first = st->st_nlink > 1 ? seen_before(&ex->ex_seen, f, st->st_ino, path) : NULL;
    if (unlinkat(dir, name, 0) != 0 && errno != ENOENT) {
        ex_fail(ex, path, "in the way: ", errno);
        return;
    }
    int err = first != NULL ? make_link(ex, first, dir, name) : make_other(ex, f, st, dir, name);
    if (err != 0)
        ex_fail(ex, path, "", err);
    else if (first == NULL)
        set_attributes(ex, f, st, dir, name, path);
}

/* ---- directories ---- */

static void extract_one(extract_t *ex, const look_file_t *f, int dir, const char *name, const char *path,
                        int depth);

static void
extract_contents(extract_t *ex, const look_file_t *f, int fd, const char *path, int depth)
{
    look_names_t names;
    int err = depth > DEPTH_MAX ? ELOOP : tree_list(ex->ex_tree, f, &names);
    if (err != 0) {
        ex_fail(ex, path, "", err);
        return;
    }
    for (size_t i = 0; i < names.ln_count && !env_canceled(ex->ex_env); i++) {
        const char *name = names.ln_names[i];
        char *full = *path != '\0' ? xasprintf("%s/%s", path, name) : xstrdup(name);
        look_file_t child;
        err = *name == '\0' || strchr(name, '/') != NULL ? SET_ERROR(EINVAL)
                                                         : tree_lookup(ex->ex_tree, f, name, &child);
        if (err != 0) {
            ex_fail(ex, full, "", err);
        } else {
            extract_one(ex, &child, fd, name, full, depth);
            tree_put(&child);
        }
        free(full);
    }
    tree_list_free(&names);
}

static void
extract_dir(extract_t *ex, const look_file_t *f, const struct stat *st, int dir, const char *name,
            const char *path, int depth)
{
    if (seen_before(&ex->ex_seen, f, st->st_ino, path) != NULL) {
        ex_fail(ex, path, "", ELOOP);
        return;
    }
    int fd = open_dir(dir, name, true);
    if (fd < 0) {
        ex_fail(ex, path, "", errno);
        return;
    }
    extract_contents(ex, f, fd, path, depth + 1);
    close(fd);
    set_attributes(ex, f, st, dir, name, path);
}

static void
extract_one(extract_t *ex, const look_file_t *f, int dir, const char *name, const char *path, int depth)
{
    struct stat st;
    int err = tree_stat(f, &st);
    if (err != 0)
        ex_fail(ex, path, "", err);
    else if (S_ISDIR(st.st_mode))
        extract_dir(ex, f, &st, dir, name, path, depth);
    else
        extract_file(ex, f, &st, dir, name, path);
}

/* One that was asked for: its parents are made as they come. "" is everything. */
static void
extract_path(extract_t *ex, const char *path)
{
    struct stat st;
    const char *last;
    look_file_t f;
    int err = tree_path(ex->ex_tree, path, &f);
    if (err == 0 && (err = tree_stat(&f, &st)) != 0)
        tree_put(&f);
    if (err != 0) {
        ex_fail(ex, path, "", err);
        return;
    }
    if (*path == '\0' && S_ISDIR(st.st_mode)) {
        (void)seen_before(&ex->ex_seen, &f, st.st_ino, path);
        extract_contents(ex, &f, ex->ex_root, "", 0);
        set_attributes(ex, &f, &st, ex->ex_root, ".", path);
    } else {
        const char *name = *path != '\0' ? path : strrchr(tree_name(ex->ex_tree), '/') + 1; /* a volume */
        int dir = open_parent(ex, name, true, &last);
        if (dir < 0)
            ex_fail(ex, path, "", errno);
        else
            extract_one(ex, &f, dir, last, name, 0);
        if (dir >= 0)
            close(dir);
    }
    tree_put(&f);
}

/* "a//b/./c/" is "a/b/c"; freed by the caller. */
static char *
clean_path(const char *path)
{
    char *clean = xmalloc(strlen(path) + 1), *to = clean;
    while (*path != '\0') {
        size_t n = strcspn(path, "/");
        if (n != 0 && !(n == 1 && path[0] == '.')) {
            if (to != clean)
                *to++ = '/';
            memcpy(to, path, n);
            to += n;
        }
        path += n + (path[n] == '/');
    }
    *to = '\0';
    return clean;
}

int
look_extract(cmd_env_t *env, look_tree_t *tr, const char *dir, char **paths, int n)
{
    extract_t ex = {.ex_env = env, .ex_tree = tr, .ex_owner = geteuid() == 0, .ex_buf = xmalloc(CHUNK)};
    char *at = env_path(env, dir);
    seen_init(&ex.ex_seen);
    ex.ex_root = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (ex.ex_root < 0)
        ex.ex_code = failx(env, "%s: %s", dir, strerror(errno));
    for (int i = 0; ex.ex_root >= 0 && i < MAX(n, 1) && !env_canceled(env); i++) {
        char *path = clean_path(n > 0 ? paths[i] : "");
        extract_path(&ex, path);
        free(path);
    }
    if (env_canceled(env))
        ex.ex_code = failx(env, "interrupted");
    if (ex.ex_root >= 0)
        close(ex.ex_root);
    seen_fini(&ex.ex_seen);
    free(ex.ex_buf);
    free(at);
    return ex.ex_code;
}
