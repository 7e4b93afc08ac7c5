/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scratch.c - a pool for one look: streams are received into it, its files are read, and it is gone.
 *
 *   FILE,FILE,... ──receive──► pool "stream" on a sparse file without a name in $TMPDIR ──closed, opened read-only──► zpl.h
 *
 * Any stream that can be received can be looked into, by the same code, with the memory of a receive. The file system shown is
 * the one the last stream went into:
 *
 *   full stream, package    stream/LAST, named after the last part of the sender's name
 *   increment               where the snapshot is that it starts from (by guid)
 *   clone                   as a full stream; its origin must have come before
 *
 * INVARIANTS
 *  1. The file is unlinked before anything is written: it goes with the process, however that ends.
 *  2. Nothing in it needs to be durable, so flushes do nothing.
 *  3. After scratch_open() the pool is read-only: nobody changes what a stream said.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "look.h"
#include "stream.h"
#include "zpl.h"

#define SCRATCH_MIN (96ULL << 20)
#define SCRATCH_MAX (8ULL << 40)

struct scratch {
    dsl_pool_t *sc_pool;
    disk_t sc_file; /* the real one */
    bool sc_full;   /* a write said so; atomic */
    char sc_dir[1024];
    char sc_top[NAMELEN];
    uint64_t sc_off; /* bytes read */
    bool sc_any;     /* a stream has been received */
};

/* ---- the disk: the file's, without flushes, and closed by us alone ---- */

static int
scratch_read(void *arg, void *buf, uint64_t off, size_t n)
{
    scratch_t *sc = arg;
    return sc->sc_file.d_ops->dop_read(sc->sc_file.d_arg, buf, off, n);
}

static int
scratch_writev(void *arg, const struct iovec *iov, int cnt, uint64_t off)
{
    scratch_t *sc = arg;
    int err = sc->sc_file.d_ops->dop_writev(sc->sc_file.d_arg, iov, cnt, off);
    if (err == ENOSPC || err == EDQUOT || err == EFBIG)
        __atomic_store_n(&sc->sc_full, true, __ATOMIC_RELAXED);
    return err;
}

static int
scratch_flush(void *arg)
{
    return 0;
}

static uint64_t
scratch_size(void *arg)
{
    scratch_t *sc = arg;
    return sc->sc_file.d_ops->dop_size(sc->sc_file.d_arg);
}

static void
scratch_dont_close(void *arg)
{
}

static const struct disk_ops scratch_ops = {.dop_read = scratch_read,
                                            .dop_writev = scratch_writev,
                                            .dop_flush = scratch_flush,
                                            .dop_size = scratch_size,
                                            .dop_close = scratch_dont_close};

/* A file without a name, as large as there is room for. */
static int
scratch_file(scratch_t *sc)
{
    char name[64], path[sizeof(sc->sc_dir) + 32];
    struct statvfs vfs;
    int fd = open(sc->sc_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), err;
    if (fd < 0) { /* some file systems have no such files */
        snprintf(path, sizeof(path), "%s/cowbird.XXXXXX", sc->sc_dir);
        fd = mkostemp(path, O_CLOEXEC);
        if (fd < 0)
            return SET_ERROR(errno);
        (void)unlink(path);
    }
    err = fstatvfs(fd, &vfs) == 0 ? 0 : SET_ERROR(errno);
    uint64_t size =
        err == 0 ? MIN((uint64_t)vfs.f_bavail * vfs.f_frsize, SCRATCH_MAX) & ~((1ULL << 20) - 1) : 0;
    if (err == 0 && size < SCRATCH_MIN)
        err = SET_ERROR(ENOSPC);
    while (err == 0 && ftruncate(fd, (off_t)size) != 0) { /* EFBIG: that file system's limit */
        size /= 2;
        err = errno == EFBIG && size >= SCRATCH_MIN ? 0 : SET_ERROR(errno);
    }
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    if (err == 0)
        err = disk_open(name, 0, &sc->sc_file);
    close(fd);
    return err;
}

static int
scratch_make(cmd_env_t *env, scratch_t *sc, const char *pool)
{
    const char *dir = getenv("TMPDIR");
    snprintf(sc->sc_dir, sizeof(sc->sc_dir), "%s", dir != NULL && *dir != '\0' ? dir : "/tmp");
    int err = scratch_file(sc);
    if (err != 0)
        return failx(env, "cannot make a scratch file in '%s': %s (TMPDIR names another folder)", sc->sc_dir,
                     strerror(err));
    nvlist_t *props = nvlist_alloc();
    nvlist_add_string(props, "compression", "lz4"); /* less of the scratch file is used */
    dsl_pool_create_args_t args = {.pca_name = pool, .pca_path = "/scratch", .pca_fsprops = props};
    disk_t disk = {&scratch_ops, sc};
    dsl_set_objset_init(zpl_objset_init);
    err = dsl_pool_create(&disk, &args, &sc->sc_pool);
    nvlist_free(props);
    if (err != 0)
        return failx(env, "cannot make a scratch pool in '%s': %s", sc->sc_dir, cowbird_strerror(err));
    return 0;
}

/* ---- where a stream goes ---- */

/* A name that is free: the last part of what the sender called it. */
static void
scratch_new_name(scratch_t *sc, const char *toname)
{
    const char *pool = dsl_pool_name(sc->sc_pool), *at = toname + strcspn(toname, "@"), *last = at;
    while (last > toname && last[-1] != '/')
        last--;
    dsl_stats_t st;
    for (int i = 1;; i++) {
        char suffix[16] = "";
        if (i > 1)
            snprintf(suffix, sizeof(suffix), "-%d", i);
        int n = snprintf(sc->sc_top, NAMELEN, "%s/%.*s%s", pool, (int)(at - last), last, suffix);
        if (n >= NAMELEN || dsl_name_check(sc->sc_top, NULL) != 0)
            snprintf(sc->sc_top, NAMELEN, "%s/fs%s", pool, suffix);
        if (dsl_dataset_stats(sc->sc_pool, sc->sc_top, &st) == ENOENT)
            return;
    }
}

/* sc_top for the stream that begins so. 0, or 1 after a message. */
static int
scratch_target(cmd_env_t *env, scratch_t *sc, const char *file, const dmu_replay_record_t *wire)
{
    dmu_replay_record_t begin = *wire;
    const struct drr_begin *b = &begin.drr_u.drr_begin;
    char snap[NAMELEN], toname[sizeof(b->drr_toname)];
    bool swap;
    if (drr_begin_order(wire, &swap) != 0)
        return failx(env, "%s: this is not a send stream", file);
    if (swap)
        drr_byteswap(&begin, DRR_BEGIN);
    snprintf(toname, sizeof(toname), "%.*s", (int)sizeof(b->drr_toname) - 1, b->drr_toname);
    bool package = DMU_GET_STREAM_HDRTYPE(b->drr_versioninfo) == DMU_COMPOUNDSTREAM;
    if (package && sc->sc_any) /* an incremental package goes on with what is there */
        return 0;
    if (package || b->drr_fromguid == 0) {
        scratch_new_name(sc, toname);
        return 0;
    }
    if (dsl_find_by_guid(sc->sc_pool, b->drr_fromguid, true, snap) != 0)
        return failx(env,
                     "%s: the stream '%s' starts from another snapshot (guid %" PRIu64
                     "), and no stream before it holds that one",
                     file, toname, b->drr_fromguid);
    if (b->drr_flags & DRR_FLAG_CLONE)
        scratch_new_name(sc, toname);
    else
        snprintf(sc->sc_top, NAMELEN, "%.*s", (int)strcspn(snap, "@"), snap);
    return 0;
}

static int
scratch_failed(cmd_env_t *env, scratch_t *sc, const char *file, int err, const stream_error_t *se)
{
    if (__atomic_load_n(&sc->sc_full, __ATOMIC_RELAXED) || err == ENOSPC)
        return failx(
            env,
            "%s: there is not enough room in '%s' for what the stream holds (TMPDIR names another folder)",
            file, sc->sc_dir);
    if (err == EINTR)
        return failx(env, "%s: interrupted", file);
    const char *text = se->se_text[0] != '\0' ? se->se_text : zfs_strerror(err);
    if (se->se_offset != 0)
        return failx(env, "%s: record %" PRIu64 ", byte %" PRIu64 ": %s", file, se->se_record, se->se_offset,
                     text);
    return failx(env, "%s: %s", file, text);
}

/* ---- receiving ---- */

/* Properties of a package that would stand in the way here. */
static const char *const excluded[] = {"quota",          "refquota",    "reservation",
                                       "refreservation", "readonly",    "mountpoint",
                                       "canmount",       "compression", NULL};

/* The streams of one file, to its end. */
static int
scratch_receive_file(cmd_env_t *env, scratch_t *sc, const char *file, int fd)
{
    for (uint64_t start = sc->sc_off;;) {
        dmu_replay_record_t begin;
        stream_error_t se = {.se_text = ""};
        char received[NAMELEN];
        size_t got;
        int err = look_peek(env, fd, &begin, sizeof(begin), &got);
        if (err != 0)
            return scratch_failed(env, sc, file, err, &se);
        if (got == 0 && sc->sc_off > start)
            return 0;
        if (got < sizeof(begin))
            return failx(env,
                         got == 0 ? "%s: there is no stream: the input is empty"
                                  : "%s: the stream ends in the middle",
                         file);
        if (scratch_target(env, sc, file, &begin) != 0)
            return 1;
        dmu_receive_args_t args = {.dra_target = sc->sc_top,
                                   .dra_fd = fd,
                                   .dra_off = &sc->sc_off,
                                   .dra_cancel = env->cancel,
                                   .dra_exclude = excluded};
        err = dmu_receive(sc->sc_pool, &args, received, &se);
        if (err != 0)
            return scratch_failed(env, sc, file, err, &se);
        sc->sc_any = true;
    }
}

static int
scratch_receive(cmd_env_t *env, scratch_t *sc, const char *files)
{
    int code = 0;
    for (const char *f = files; code == 0 && *f != '\0'; f += strcspn(f, ","), f += *f == ',') {
        char *whole = env_path(env, files);
        bool one = access(whole, F_OK) == 0; /* a name with a comma in it */
        char *file = one ? xstrdup(files) : xasprintf("%.*s", (int)strcspn(f, ","), f);
        int fd = look_open(env, file);
        free(whole);
        code = fd < 0 ? 1 : scratch_receive_file(env, sc, file, fd);
        if (fd >= 0)
            close(fd);
        free(file);
        if (one)
            break;
    }
    if (code == 0 && !sc->sc_any)
        code = failx(env, "no stream is named");
    return code;
}

/* Invariant 3. */
static int
scratch_reopen(cmd_env_t *env, scratch_t *sc)
{
    disk_t disk = {&scratch_ops, sc};
    stream_error_t se = {.se_text = ""};
    int err = dsl_pool_close(sc->sc_pool);
    sc->sc_pool = NULL;
    if (err == 0)
        err = dsl_pool_open(&disk, DSL_POOL_RDONLY, &sc->sc_pool);
    return err == 0 ? 0 : scratch_failed(env, sc, "the streams", err, &se);
}

int
scratch_open(cmd_env_t *env, const char *pool, const char *files, scratch_t **scp)
{
    scratch_t *sc = xzalloc(sizeof(*sc));
    int code = scratch_make(env, sc, pool);
    if (code == 0) {
        progress_t *p = progress_start(env, "read", &sc->sc_off, 0);
        code = scratch_receive(env, sc, files);
        progress_stop(p);
    }
    if (code == 0)
        code = scratch_reopen(env, sc);
    if (code == 0)
        *scp = sc;
    else
        scratch_close(sc);
    return code;
}

dsl_pool_t *
scratch_pool(scratch_t *sc)
{
    return sc->sc_pool;
}

dsl_pool_t *
scratch_take_pool(scratch_t *sc)
{
    dsl_pool_t *dp = sc->sc_pool;
    sc->sc_pool = NULL;
    return dp;
}

const char *
scratch_top(const scratch_t *sc)
{
    return sc->sc_top;
}

void
scratch_close(scratch_t *sc)
{
    if (sc->sc_pool != NULL)
        (void)dsl_pool_close(sc->sc_pool);
    if (sc->sc_file.d_ops != NULL)
        disk_close(&sc->sc_file);
    free(sc);
}
