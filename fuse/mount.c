/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mount.c - a mount begins and ends.
 *
 *     fuse_mount_start: open the dataset -> clear a stale mount point -> mount -> answer INIT -> threads
 *     fuse_mount_stop:  unmount (the kernel writes back what is dirty) -> threads end -> sync -> file systems closed -> freed
 *
 * INVARIANTS
 *  1. After an error of fuse_mount_start() nothing is mounted, owned or running.
 *  2. Until the kernel has let go of the mount, threads serve it: it may have data to write back.
 *  3. fuse_mount_stop() failing leaves a mount that works.
 */
#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>
#include "mount_impl.h"

#define KERNEL_GOES_MS 3000 /* after an unmount, for the kernel to close the session */
#define READAHEAD_KB   1024

/* ---- options ---- */

/* What mount(8) and fstab say to themselves. */
static bool
option_is_noise(const char *opt)
{
    static const char *const noise[] = {
        "rw",    "defaults",           "auto", "noauto", "user", "nouser", "users", "_netdev", "nofail",
        "owner", "default_permissions"};
    for (size_t i = 0; i < ARRAY_SIZE(noise); i++) {
        if (strcmp(opt, noise[i]) == 0)
            return true;
    }
    return opt[0] == '\0' || strncmp(opt, "x-", 2) == 0 || strncmp(opt, "comment=", 8) == 0;
}

static void
option_append(char **all, const char *opt)
{
    char *longer = xasprintf("%s,%s", *all, opt);
    free(*all);
    *all = longer;
}

/* The option list for libfuse; freed by the caller. */
static char *
mount_options(fuse_mount_t *fm, const char *opts)
{
    char *all = xasprintf("fsname=%s,subtype=cowbird,default_permissions", fm->fm_dsname);
    bool others = geteuid() == 0;
    char *copy = xstrdup(opts != NULL ? opts : ""), *save = NULL;
    for (char *o = strtok_r(copy, ",", &save); o != NULL; o = strtok_r(NULL, ",", &save)) {
        if (strcmp(o, "ro") == 0)
            fm->fm_rdonly = true;
        else if (strcmp(o, "allow_other") == 0)
            others = true;
        else if (strcmp(o, "allow_root") == 0)
            option_append(&all, o), others = false;
        else if (!option_is_noise(o))
            option_append(&all, o);
    }
    free(copy);
    if (others)
        option_append(&all, "allow_other");
    if (fm->fm_rdonly)
        option_append(&all, "ro");
    return all;
}

/* ---- unmounting ---- */

static int
run_fusermount(const char *flags, const char *dir)
{
    char *argv[] = {(char *)(uintptr_t) "fusermount3", (char *)(uintptr_t)flags, (char *)(uintptr_t) "--",
                    (char *)(uintptr_t)dir, NULL};
    posix_spawn_file_actions_t fa;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0);
    pid_t pid;
    int status = 0, err = posix_spawnp(&pid, argv[0], &fa, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    if (err != 0)
        return SET_ERROR(err);
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return SET_ERROR(errno);
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : SET_ERROR(EBUSY);
}

static int
unmount_dir(const char *dir, bool lazy)
{
    if (geteuid() != 0)
        return run_fusermount(lazy ? "-uz" : "-u", dir);
    return umount2(dir, lazy ? MNT_DETACH : 0) == 0 ? 0 : SET_ERROR(errno);
}

/* A daemon that was killed leaves a mount point that answers ENOTCONN, when asked for more than the kernel remembers. */
static int
clear_stale(const char *dir, const char **why)
{
    struct statx st;
    for (int tries = 0; statx(AT_FDCWD, dir, AT_STATX_FORCE_SYNC, STATX_TYPE, &st) != 0; tries++) {
        if ((errno != ENOTCONN && errno != ECONNABORTED) || tries == 16)
            return SET_ERROR(errno);
        int err = unmount_dir(dir, true);
        if (err != 0) {
            *why = "the mount point belongs to a process that is gone, and could not be cleared";
            return err;
        }
        cowbird_log(LOG_NOTICE, "%s: cleared the mount of a process that is gone", dir);
    }
    return S_ISDIR(st.stx_mode) ? 0 : SET_ERROR(ENOTDIR);
}

/* ---- starting ---- */

static int
mf_compare(const void *l, const void *r)
{
    const mount_fs_t *a = l, *b = r;
    int c = strcmp(a->mf_name, b->mf_name);
    return AVL_CMP(c, 0);
}

static fuse_mount_t *
mount_alloc(dsl_pool_t *dp, const char *dsname, const char *dir)
{
    fuse_mount_t *fm = xzalloc(sizeof(*fm));
    fm->fm_pool = dp;
    names_add(&fm->fm_dsnames, dsname);
    fm->fm_dsname = fm->fm_dsnames.ns_entries[0].ne_name;
    fm->fm_dir = xstrdup(dir);
    fm->fm_started = time(NULL);
    mutex_init(&fm->fm_admin_lock);
    mutex_init(&fm->fm_lock);
    cv_init(&fm->fm_cv);
    cv_init(&fm->fm_work_cv);
    cv_init(&fm->fm_watch_cv);
    list_create(&fm->fm_running, SESSION_THREAD_LINK);
    avl_create(&fm->fm_fs, mf_compare, offsetof(mount_fs_t, mf_link));
    nodes_init(fm);
    return fm;
}

static void
mount_free(fuse_mount_t *fm)
{
    nodes_fini(fm);
    avl_destroy(&fm->fm_fs);
    list_destroy(&fm->fm_running);
    cv_destroy(&fm->fm_cv);
    cv_destroy(&fm->fm_work_cv);
    cv_destroy(&fm->fm_watch_cv);
    mutex_destroy(&fm->fm_lock);
    mutex_destroy(&fm->fm_admin_lock);
    free(fm->fm_dir);
    names_free(&fm->fm_dsnames);
    free(fm);
}

/* The mounted dataset and its root directory, which is a node from the start. */
static int
mount_open_root(fuse_mount_t *fm, const char **why)
{
    int err = mf_hold(fm, fm->fm_dsname, &fm->fm_root);
    if (err != 0)
        return err;
    if (zpl_fs_is_volume(fm->fm_root->mf_zfs)) {
        mf_put(fm->fm_root);
        *why = "it is a volume: a file in the directory of the file system it is in";
        return SET_ERROR(ENOTDIR);
    }
    znode_t *zp;
    err = zpl_znode_hold(fm->fm_root->mf_zfs, fm->fm_root->mf_rootobj, &zp);
    if (err == 0)
        node_remember(fm->fm_root, fm->fm_root->mf_rootobj, zp);
    mf_put(fm->fm_root);
    return err;
}

/* Ends every file system; no thread serves. */
static void
mount_close_all(fuse_mount_t *fm)
{
    for (;;) {
        mutex_enter(&fm->fm_lock);
        mount_fs_t *mf = avl_first(&fm->fm_fs);
        char *name = mf != NULL ? xstrdup(mf->mf_name) : NULL;
        mutex_exit(&fm->fm_lock);
        if (name == NULL)
            return;
        mf_give_up(fm, name, NULL);
        free(name);
    }
}

static void
fuse_log_line(enum fuse_log_level level, const char *fmt, va_list ap)
{
    char line[512];
    vsnprintf(line, sizeof(line), fmt, ap);
    line[strcspn(line, "\n")] = '\0';
    cowbird_log((int)level, "%s", line);
}

/* The session, not mounted yet; reads the options. */
static int
mount_session(fuse_mount_t *fm, const char *opts, const char **why)
{
    char *all = mount_options(fm, opts);
    char *argv[] = {(char *)(uintptr_t) "cowbird", (char *)(uintptr_t) "-o", all};
    struct fuse_args args = FUSE_ARGS_INIT(3, argv);
    fuse_set_log_func(fuse_log_line);
    fm->fm_se = fuse_session_new(&args, &fuse_ops, sizeof(fuse_ops), fm);
    fuse_opt_free_args(&args);
    free(all);
    if (fm->fm_se != NULL)
        return 0;
    *why = "a mount option is unknown or wrong";
    return SET_ERROR(EINVAL);
}

static int
mount_kernel(fuse_mount_t *fm, const char **why)
{
    if (access("/dev/fuse", F_OK) != 0) {
        *why = "this system has no /dev/fuse";
        return SET_ERROR(ENODEV);
    }
    if (fuse_session_mount(fm->fm_se, fm->fm_dir) != 0) {
        *why = "the kernel or fusermount3 refused";
        return SET_ERROR(EPERM);
    }
    int err = session_start(fm);
    if (err != 0)
        fuse_session_unmount(fm->fm_se);
    return err;
}

static void
write_setting(const char *file, dev_t dev, unsigned value)
{
    char *path = xasprintf("/sys/class/bdi/%u:%u/%s", major(dev), minor(dev), file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (dprintf(fd, "%u\n", value) < 0)
            cowbird_log(LOG_DEBUG, "cannot write %s", path);
        close(fd);
    }
    free(path);
}

/* The kernel gives FUSE 128 KiB of readahead and 1 % of memory for dirty pages; root may say otherwise. */
static void
mount_tune(fuse_mount_t *fm)
{
    struct stat st;
    if (stat(fm->fm_dir, &st) == 0)
        fm->fm_dev = st.st_dev;
    if (geteuid() != 0 || fm->fm_dev == 0)
        return;
    write_setting("read_ahead_kb", fm->fm_dev, READAHEAD_KB);
    write_setting("max_ratio", fm->fm_dev, 20);
    write_setting("strict_limit", fm->fm_dev, 0);
}

int
fuse_mount_start(dsl_pool_t *dp, const char *dsname, const char *dir, const char *opts,
                 void (*on_end)(void *arg), void *arg, fuse_mount_t **fmp, const char **why)
{
    *why = NULL;
    int err = clear_stale(dir, why);
    if (err != 0)
        return err;
    fuse_mount_t *fm = mount_alloc(dp, dsname, dir);
    fm->fm_rdonly = dsl_pool_readonly(dp) || strchr(dsname, '@') != NULL;
    fm->fm_on_end = on_end;
    fm->fm_arg = arg;
    err = mount_session(fm, opts, why);
    if (err == 0)
        err = mount_open_root(fm, why);
    if (err == 0)
        err = mount_kernel(fm, why);
    if (err != 0) {
        if (fm->fm_se != NULL)
            fuse_session_destroy(fm->fm_se);
        mount_close_all(fm);
        mount_free(fm);
        return err;
    }
    mount_tune(fm);
    *fmp = fm;
    return 0;
}

/* ---- stopping ---- */

int
fuse_mount_flush(fuse_mount_t *fm)
{
    int fd = open(fm->fm_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return SET_ERROR(errno);
    int err = syncfs(fd) == 0 ? 0 : SET_ERROR(errno);
    close(fd);
    return err;
}

/* The kernel lets go, or must be left behind (force). */
static int
mount_detach(fuse_mount_t *fm, bool force)
{
    mutex_enter(&fm->fm_lock);
    bool ended = fm->fm_serving == 0;
    mutex_exit(&fm->fm_lock);
    if (ended) /* umount(8), fusermount3 -u: it is gone */
        return 0;
    int err = unmount_dir(fm->fm_dir, false);
    if (err == 0 || !force)
        return err;
    (void)fuse_mount_flush(fm); /* of files that stay open */
    err = unmount_dir(fm->fm_dir, true);
    if (err != 0)
        cowbird_log(LOG_WARNING, "%s: cannot unmount: %s", fm->fm_dir, cowbird_strerror(err));
    return 0;
}

static void
sync_one(mount_fs_t *mf, void *arg)
{
    int err = zpl_fs_readonly(mf->mf_zfs) ? 0 : zpl_fs_sync(mf->mf_zfs);
    if (err != 0)
        cowbird_log(LOG_ERR, "%s: not all data could be written: %s", mf->mf_name, cowbird_strerror(err));
}

int
fuse_mount_stop(fuse_mount_t *fm, bool force)
{
    mutex_enter(&fm->fm_lock);
    fm->fm_stopping = true;
    mutex_exit(&fm->fm_lock);
    int err = mount_detach(fm, force);
    if (err != 0) {
        mutex_enter(&fm->fm_lock);
        fm->fm_stopping = fm->fm_serving == 0; /* ended by itself meanwhile, and nobody was told: on with it */
        bool ended = fm->fm_stopping;
        mutex_exit(&fm->fm_lock);
        if (!ended)
            return err;
    }
    /* Still mounted in another namespace, or files open after a forced unmount: they lose their connection. */
    if (session_join(fm, force ? 500 : KERNEL_GOES_MS))
        fuse_session_unmount(fm->fm_se); /* sees that it is gone, and only closes */
    else
        session_end(
            fm); /* no fuse_session_unmount: it would unmount whatever is at fm_dir now; costs its copy of the path */
    fuse_session_destroy(fm->fm_se);
    mf_for_each(fm, sync_one, NULL);
    mount_close_all(fm);
    mount_free(fm);
    return 0;
}

const char *
fuse_mount_dir(fuse_mount_t *fm)
{
    return fm->fm_dir;
}

const char *
fuse_mount_dataset(fuse_mount_t *fm)
{
    return __atomic_load_n(&fm->fm_dsname, __ATOMIC_ACQUIRE);
}
