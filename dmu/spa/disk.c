/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * disk.c - a regular file or block device behind struct disk_ops, and counted access to the pool's disk.
 *
 * Invariants:
 *   1. A transfer is whole or an error: short reads and writes are carried on, end of file is EIO.
 *   2. Large writes of whole pages go to the device directly, which spares a copy; all else goes through the page cache, and the
 *      kernel is told to start writing right away. No page is written both ways at once: blocks of such pools are whole pages, and of
 *      pools with smaller ones a write's first and last page may be shared, so those stay in the cache.
 *      fdatasync() is what makes either durable.
 *   3. Two processes never have one pool open for writing: an flock() lives as long as the descriptor.
 *
 * ZFS: module/os/linux/zfs/vdev_disk.c, vdev_file.c
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "spa_impl.h"

#define DIRECT_MIN  (64 << 10) /* below, the copy costs less than waiting for the device */
#define DIRECT_PAGE 4096

typedef struct file_disk {
    int fd_fd;
    int fd_direct;       /* the same, O_DIRECT; -1 none */
    bool fd_no_direct;   /* atomic: it was refused */
    bool fd_is_block;
    uint64_t fd_size;
} file_disk_t;

static int
file_read(void *arg, void *buf, uint64_t off, size_t n)
{
    file_disk_t *fd = arg;
    uint8_t *p = buf;

    while (n > 0) {
        ssize_t r = pread(fd->fd_fd, p, n, (off_t)off);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return SET_ERROR(r < 0 ? errno : EIO);
        p += r;
        off += (uint64_t)r;
        n -= (size_t)r;
    }
    return 0;
}

/* Drop the first n bytes of a vector that is ours to change; returns how many entries are used up. */
static int
iov_advance(struct iovec *iov, int cnt, size_t n)
{
    int i = 0;

    while (i < cnt && n >= iov[i].iov_len)
        n -= iov[i++].iov_len;
    if (i < cnt) {
        iov[i].iov_base = (uint8_t *)iov[i].iov_base + n;
        iov[i].iov_len -= n;
    }
    return i;
}

#define WRITEV_MAX 256 /* entries per call: the vector is copied, so that it can be advanced */

static int
file_write_some(int fd, const struct iovec *iov, int cnt, uint64_t *off)
{
    struct iovec v[WRITEV_MAX];
    int done = 0;

    memcpy(v, iov, (size_t)cnt * sizeof(*iov));
    while (done < cnt) {
        ssize_t w = pwritev(fd, v + done, cnt - done, (off_t)*off);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return SET_ERROR(w < 0 ? errno : EIO);
        *off += (uint64_t)w;
        done += iov_advance(v + done, cnt - done, (size_t)w);
    }
    return 0;
}

/* Whole pages from aligned memory: such a write needs no copy in the page cache. */
static bool
direct_possible(const file_disk_t *fd, const struct iovec *iov, int cnt, uint64_t off)
{
    uint64_t n = 0;

    for (int i = 0; i < cnt; i++) {
        if ((uintptr_t)iov[i].iov_base % SPA_MINBLOCKSIZE != 0 || iov[i].iov_len % SPA_MINBLOCKSIZE != 0)
            return false;
        n += iov[i].iov_len;
    }
    return fd->fd_direct >= 0 && !ATOMIC_LOAD(&fd->fd_no_direct) && n >= DIRECT_MIN && off % DIRECT_PAGE == 0 && n % DIRECT_PAGE == 0;
}

static int
file_writev_fd(int fd, const struct iovec *iov, int cnt, uint64_t *pos)
{
    int err = 0;

    for (int i = 0; i < cnt && err == 0; i += WRITEV_MAX)
        err = file_write_some(fd, iov + i, MIN(cnt - i, WRITEV_MAX), pos);
    return err;
}

static int
file_writev(void *arg, const struct iovec *iov, int cnt, uint64_t off)
{
    file_disk_t *fd = arg;
    uint64_t pos = off;
    int err;

    if (direct_possible(fd, iov, cnt, off)) {
        err = file_writev_fd(fd->fd_direct, iov, cnt, &pos);
        if (err != EINVAL)
            return err;
        ATOMIC_STORE(&fd->fd_no_direct, true); /* this file system cannot */
        pos = off;
    }
    err = file_writev_fd(fd->fd_fd, iov, cnt, &pos);
    if (err == 0)
        (void)sync_file_range(fd->fd_fd, (off_t)off, (off_t)(pos - off), SYNC_FILE_RANGE_WRITE);
    return err;
}

static int
file_flush(void *arg)
{
    file_disk_t *fd = arg;

    return fdatasync(fd->fd_fd) == 0 ? 0 : SET_ERROR(errno);
}

static int
file_trim(void *arg, uint64_t off, uint64_t n)
{
    file_disk_t *fd = arg;
    uint64_t range[2] = {off, n};
    int r = fd->fd_is_block
                ? ioctl(fd->fd_fd, BLKDISCARD, range)
                : fallocate(fd->fd_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)n);

    return r == 0 ? 0 : SET_ERROR(errno);
}

static uint64_t
file_size(void *arg)
{
    return ((file_disk_t *)arg)->fd_size;
}

static void
file_close(void *arg)
{
    file_disk_t *fd = arg;

    if (fd->fd_direct >= 0)
        close(fd->fd_direct);
    close(fd->fd_fd);
    free(fd);
}

static const struct disk_ops file_ops = {
    .dop_read = file_read,
    .dop_writev = file_writev,
    .dop_flush = file_flush,
    .dop_trim = file_trim,
    .dop_size = file_size,
    .dop_close = file_close,
};

/* Fill type and size of an open descriptor. */
static int
file_identify(file_disk_t *fd)
{
    struct stat st;

    if (fstat(fd->fd_fd, &st) != 0)
        return SET_ERROR(errno);
    fd->fd_is_block = S_ISBLK(st.st_mode);
    if (!fd->fd_is_block && !S_ISREG(st.st_mode))
        return SET_ERROR(ENODEV);
    fd->fd_size = (uint64_t)st.st_size;
    if (fd->fd_is_block && ioctl(fd->fd_fd, BLKGETSIZE64, &fd->fd_size) != 0)
        return SET_ERROR(errno);
    return fd->fd_size < SPA_MINDEVSIZE ? SET_ERROR(EOVERFLOW) : 0;
}

/* The very file that was locked, whatever its name means by now. -1: not possible. */
static int
open_direct(int fd)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
}

static int
file_open(const char *path, int flags, file_disk_t *fd)
{
    bool rdonly = (flags & DISK_RDONLY) != 0;

    fd->fd_fd = open(path, (rdonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (fd->fd_fd < 0)
        return SET_ERROR(errno == EISDIR ? ENODEV : errno);
    int err = file_identify(fd);
    if (err == 0 && flock(fd->fd_fd, (rdonly ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0)
        err = SET_ERROR(errno == EWOULDBLOCK ? EBUSY : errno);
    if (err != 0)
        close(fd->fd_fd);
    else
        fd->fd_direct = rdonly ? -1 : open_direct(fd->fd_fd);
    return err;
}

int
disk_open(const char *path, int flags, disk_t *disk)
{
    file_disk_t *fd = xzalloc(sizeof(*fd));
    int err = file_open(path, flags, fd);

    if (err != 0) {
        free(fd);
        return err;
    }
    *disk = (disk_t){.d_ops = &file_ops, .d_arg = fd};
    return 0;
}

void
disk_close(disk_t *disk)
{
    if (disk->d_ops != NULL)
        disk->d_ops->dop_close(disk->d_arg);
    *disk = (disk_t){0};
}

/* ---- the pool's disk, counted ---- */

int
spa_disk_read(spa_t *spa, void *buf, uint64_t off, size_t n)
{
    int err = spa->spa_disk.d_ops->dop_read(spa->spa_disk.d_arg, buf, off, n);

    ATOMIC_ADD(&spa->spa_stats.ss_reads, 1);
    ATOMIC_ADD(&spa->spa_stats.ss_read_bytes, n);
    if (err != 0)
        ATOMIC_ADD(&spa->spa_stats.ss_read_errors, 1);
    return err;
}

int
spa_disk_writev(spa_t *spa, const struct iovec *iov, int cnt, uint64_t off)
{
    uint64_t n = 0;

    if (spa->spa_rdonly)
        return SET_ERROR(EROFS);
    for (int i = 0; i < cnt; i++)
        n += iov[i].iov_len;
    int err = spa->spa_disk.d_ops->dop_writev(spa->spa_disk.d_arg, iov, cnt, off);

    ATOMIC_ADD(&spa->spa_stats.ss_writes, 1);
    ATOMIC_ADD(&spa->spa_stats.ss_write_bytes, n);
    if (err != 0)
        ATOMIC_ADD(&spa->spa_stats.ss_write_errors, 1);
    return err;
}

int
spa_disk_write(spa_t *spa, const void *buf, uint64_t off, size_t n)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = n};

    return spa_disk_writev(spa, &iov, 1, off);
}

int
spa_disk_flush(spa_t *spa)
{
    int err = spa->spa_disk.d_ops->dop_flush(spa->spa_disk.d_arg);

    if (err != 0)
        ATOMIC_ADD(&spa->spa_stats.ss_write_errors, 1);
    return err;
}
