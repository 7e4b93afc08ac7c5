/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * faultdisk.c - see faultdisk.h.
 *
 * Memory is a private mapping, either of nothing or of a base image (a memfd) that recordings share: cutting costs the
 * pages that the events touch, not the size of the disk. One lock covers everything; tests need no speed.
 */
#include "faultdisk.h"

#include <sys/mman.h>
#include <unistd.h>

#define SECTOR    512
#define COPY_STEP (256UL << 10)

typedef struct event {
    uint64_t ev_off;
    size_t ev_n; /* 0: a flush */
    uint8_t *ev_data;
} event_t;

struct faultdisk {
    kmutex_t fd_lock;
    kcondvar_t fd_cv; /* fd_hold went false */
    bool fd_hold;
    uint64_t fd_held; /* writes waiting */
    disk_t fd_under;  /* d_ops NULL: in memory */
    uint8_t *fd_mem;
    uint64_t fd_size;

    uint64_t fd_reads, fd_writes, fd_flushes;
    int fd_fail_kinds;
    uint64_t fd_fail_in, fd_fail_times; /* transfers until the first failure, failures left */
    int fd_range_kinds;
    uint64_t fd_range_off, fd_range_n;
    bool fd_power_armed, fd_power_loud;
    uint64_t fd_power_in; /* writes left */

    bool fd_recording;
    int fd_base; /* memfd with the state at the recording's start; -1 none */
    event_t *fd_ev;
    uint64_t fd_nev, fd_evcap;
};

static uint64_t
next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
    return *state >> 33;
}

/* ---- plain access, under the lock ---- */

static void
plain_read(faultdisk_t *fd, void *buf, uint64_t off, size_t n)
{
    VERIFY(off + n <= fd->fd_size);
    if (fd->fd_mem != NULL)
        memcpy(buf, fd->fd_mem + off, n);
    else
        VERIFY0(fd->fd_under.d_ops->dop_read(fd->fd_under.d_arg, buf, off, n));
}

static void
plain_write(faultdisk_t *fd, const void *buf, uint64_t off, size_t n)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = n};

    VERIFY(off + n <= fd->fd_size);
    if (fd->fd_mem != NULL)
        memcpy(fd->fd_mem + off, buf, n);
    else
        VERIFY0(fd->fd_under.d_ops->dop_writev(fd->fd_under.d_arg, &iov, 1, off));
}

/* ---- faults ---- */

static bool
fault_due(faultdisk_t *fd, int kind, uint64_t off, size_t n)
{
    if ((fd->fd_range_kinds & kind) != 0 && off < fd->fd_range_off + fd->fd_range_n &&
        fd->fd_range_off < off + n)
        return true;
    if ((fd->fd_fail_kinds & kind) == 0 || fd->fd_fail_times == 0)
        return false;
    if (fd->fd_fail_in > 1) {
        fd->fd_fail_in--;
        return false;
    }
    if (fd->fd_fail_times != UINT64_MAX)
        fd->fd_fail_times--;
    return true;
}

static void
event_add(faultdisk_t *fd, uint64_t off, const void *data, size_t n)
{
    if (!fd->fd_recording)
        return;
    if (fd->fd_nev == fd->fd_evcap) {
        fd->fd_evcap = MAX(fd->fd_evcap * 2, 256);
        fd->fd_ev = xrealloc(fd->fd_ev, fd->fd_evcap * sizeof(*fd->fd_ev));
    }
    event_t *ev = &fd->fd_ev[fd->fd_nev++];
    *ev = (event_t){.ev_off = off, .ev_n = n};
    if (n != 0) {
        ev->ev_data = xmalloc(n);
        memcpy(ev->ev_data, data, n);
    }
}

/* ---- struct disk_ops ---- */

static int
fd_read(void *arg, void *buf, uint64_t off, size_t n)
{
    faultdisk_t *fd = arg;
    int err = 0;

    mutex_enter(&fd->fd_lock);
    fd->fd_reads++;
    if (fault_due(fd, FD_READ, off, n) || off + n > fd->fd_size || off + n < off)
        err = EIO;
    else
        plain_read(fd, buf, off, n);
    mutex_exit(&fd->fd_lock);
    return err;
}

/* 0: write; EIO: fail; -1: seem to succeed */
static int
write_verdict(faultdisk_t *fd, uint64_t off, size_t n)
{
    fd->fd_writes++;
    if (fault_due(fd, FD_WRITE, off, n) || off + n > fd->fd_size)
        return EIO;
    if (!fd->fd_power_armed)
        return 0;
    if (fd->fd_power_in > 0) {
        fd->fd_power_in--;
        return 0;
    }
    return fd->fd_power_loud ? EIO : -1;
}

static int
fd_writev(void *arg, const struct iovec *iov, int cnt, uint64_t off)
{
    faultdisk_t *fd = arg;
    size_t n = 0, pos = 0;

    for (int i = 0; i < cnt; i++)
        n += iov[i].iov_len;
    VERIFY(n > 0 && n % SECTOR == 0 && off % SECTOR == 0);
    uint8_t *flat = xmalloc(n);
    for (int i = 0; i < cnt; pos += iov[i++].iov_len)
        memcpy(flat + pos, iov[i].iov_base, iov[i].iov_len);
    mutex_enter(&fd->fd_lock);
    fd->fd_held++;
    while (fd->fd_hold)
        cv_wait(&fd->fd_cv, &fd->fd_lock);
    fd->fd_held--;
    int verdict = write_verdict(fd, off, n);
    if (verdict == 0) {
        plain_write(fd, flat, off, n);
        event_add(fd, off, flat, n);
    }
    mutex_exit(&fd->fd_lock);
    free(flat);
    return verdict == EIO ? EIO : 0;
}

static int
fd_flush(void *arg)
{
    faultdisk_t *fd = arg;
    int err = 0;

    mutex_enter(&fd->fd_lock);
    fd->fd_flushes++;
    bool off = fd->fd_power_armed && fd->fd_power_in == 0;
    if (fault_due(fd, FD_FLUSH, 0, 0) || (off && fd->fd_power_loud))
        err = EIO;
    else if (!off)
        event_add(fd, 0, NULL, 0);
    if (err == 0 && fd->fd_mem == NULL)
        err = fd->fd_under.d_ops->dop_flush(fd->fd_under.d_arg);
    mutex_exit(&fd->fd_lock);
    return err;
}

static uint64_t
fd_get_size(void *arg)
{
    return ((faultdisk_t *)arg)->fd_size;
}

static void
fd_close(void *arg)
{
}

static const struct disk_ops fault_ops = {
    .dop_read = fd_read,
    .dop_writev = fd_writev,
    .dop_flush = fd_flush,
    .dop_size = fd_get_size,
    .dop_close = fd_close,
};

/* ---- life ---- */

static faultdisk_t *
fd_alloc(uint64_t size)
{
    faultdisk_t *fd = xzalloc(sizeof(*fd));

    mutex_init(&fd->fd_lock);
    cv_init(&fd->fd_cv);
    fd->fd_size = size;
    fd->fd_base = -1;
    return fd;
}

static uint8_t *
map_private(uint64_t size, int base)
{
    int flags = MAP_PRIVATE | MAP_NORESERVE | (base < 0 ? MAP_ANONYMOUS : 0);
    void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, base, 0);

    VERIFY(mem != MAP_FAILED);
    return mem;
}

faultdisk_t *
faultdisk_create(uint64_t size)
{
    faultdisk_t *fd = fd_alloc(size);

    fd->fd_mem = map_private(size, -1);
    return fd;
}

faultdisk_t *
faultdisk_over(const disk_t *under)
{
    faultdisk_t *fd = fd_alloc(under->d_ops->dop_size(under->d_arg));

    fd->fd_under = *under;
    return fd;
}

static void
record_drop(faultdisk_t *fd)
{
    for (uint64_t i = 0; i < fd->fd_nev; i++)
        free(fd->fd_ev[i].ev_data);
    free(fd->fd_ev);
    fd->fd_ev = NULL;
    fd->fd_nev = fd->fd_evcap = 0;
    if (fd->fd_base >= 0)
        close(fd->fd_base);
    fd->fd_base = -1;
}

void
faultdisk_destroy(faultdisk_t *fd)
{
    record_drop(fd);
    if (fd->fd_mem != NULL)
        munmap(fd->fd_mem, fd->fd_size);
    disk_close(&fd->fd_under);
    mutex_destroy(&fd->fd_lock);
    cv_destroy(&fd->fd_cv);
    free(fd);
}

disk_t
faultdisk_disk(faultdisk_t *fd)
{
    return (disk_t){.d_ops = &fault_ops, .d_arg = fd};
}

/* ---- control ---- */

uint64_t
faultdisk_count(faultdisk_t *fd, int kinds)
{
    mutex_enter(&fd->fd_lock);
    uint64_t n = (kinds & FD_READ ? fd->fd_reads : 0) + (kinds & FD_WRITE ? fd->fd_writes : 0) +
                 (kinds & FD_FLUSH ? fd->fd_flushes : 0);
    mutex_exit(&fd->fd_lock);
    return n;
}

void
faultdisk_reset(faultdisk_t *fd)
{
    mutex_enter(&fd->fd_lock);
    fd->fd_reads = fd->fd_writes = fd->fd_flushes = 0;
    fd->fd_fail_kinds = fd->fd_range_kinds = 0;
    fd->fd_power_armed = false;
    mutex_exit(&fd->fd_lock);
}

void
faultdisk_fail_at(faultdisk_t *fd, int kinds, uint64_t n, uint64_t times)
{
    mutex_enter(&fd->fd_lock);
    fd->fd_fail_kinds = kinds;
    fd->fd_fail_in = n;
    fd->fd_fail_times = times;
    mutex_exit(&fd->fd_lock);
}

void
faultdisk_fail_range(faultdisk_t *fd, int kinds, uint64_t off, uint64_t n)
{
    mutex_enter(&fd->fd_lock);
    fd->fd_range_kinds = kinds;
    fd->fd_range_off = off;
    fd->fd_range_n = n;
    mutex_exit(&fd->fd_lock);
}

void
faultdisk_power_off(faultdisk_t *fd, uint64_t n, bool loud)
{
    mutex_enter(&fd->fd_lock);
    fd->fd_power_armed = true;
    fd->fd_power_loud = loud;
    fd->fd_power_in = n;
    mutex_exit(&fd->fd_lock);
}

void
faultdisk_hold_writes(faultdisk_t *fd, bool hold)
{
    mutex_enter(&fd->fd_lock);
    fd->fd_hold = hold;
    cv_broadcast(&fd->fd_cv);
    mutex_exit(&fd->fd_lock);
}

uint64_t
faultdisk_held(faultdisk_t *fd)
{
    mutex_enter(&fd->fd_lock);
    uint64_t n = fd->fd_hold ? fd->fd_held : 0;
    mutex_exit(&fd->fd_lock);
    return n;
}

void
faultdisk_peek(faultdisk_t *fd, uint64_t off, void *buf, size_t n)
{
    mutex_enter(&fd->fd_lock);
    plain_read(fd, buf, off, n);
    mutex_exit(&fd->fd_lock);
}

void
faultdisk_poke(faultdisk_t *fd, uint64_t off, const void *buf, size_t n)
{
    mutex_enter(&fd->fd_lock);
    plain_write(fd, buf, off, n);
    mutex_exit(&fd->fd_lock);
}

void
faultdisk_corrupt(faultdisk_t *fd, uint64_t off, size_t n)
{
    uint8_t *buf = xmalloc(n);

    faultdisk_peek(fd, off, buf, n);
    for (size_t i = 0; i < n; i++)
        buf[i] ^= (uint8_t)(0x5A + i % 97);
    faultdisk_poke(fd, off, buf, n);
    free(buf);
}

/* ---- recordings ---- */

void
faultdisk_record(faultdisk_t *fd)
{
    uint8_t *buf = xmalloc(COPY_STEP);

    mutex_enter(&fd->fd_lock);
    record_drop(fd);
    fd->fd_base = memfd_create("faultdisk", MFD_CLOEXEC);
    VERIFY(fd->fd_base >= 0);
    VERIFY0(ftruncate(fd->fd_base, (off_t)fd->fd_size));
    for (uint64_t off = 0; off < fd->fd_size; off += COPY_STEP) {
        size_t n = MIN(COPY_STEP, fd->fd_size - off);
        plain_read(fd, buf, off, n);
        if (!zio_is_zero(buf, n))
            VERIFY(pwrite(fd->fd_base, buf, n, (off_t)off) == (ssize_t)n);
    }
    fd->fd_recording = true;
    mutex_exit(&fd->fd_lock);
    free(buf);
}

uint64_t
faultdisk_events(faultdisk_t *fd)
{
    mutex_enter(&fd->fd_lock);
    uint64_t n = fd->fd_nev;
    mutex_exit(&fd->fd_lock);
    return n;
}

bool
faultdisk_event_is_flush(faultdisk_t *fd, uint64_t event)
{
    mutex_enter(&fd->fd_lock);
    bool flush = event < fd->fd_nev && fd->fd_ev[event].ev_n == 0;
    mutex_exit(&fd->fd_lock);
    return flush;
}

/* A write that was under way: not at all, whole, or sector by sector by chance. */
static void
apply_torn(uint8_t *mem, const event_t *ev, uint64_t *state)
{
    uint64_t how = next_random(state) % 4;

    for (size_t s = 0; s < ev->ev_n; s += SECTOR)
        if (how == 1 || (how >= 2 && next_random(state) % 2 == 0))
            memcpy(mem + ev->ev_off + s, ev->ev_data + s, SECTOR);
}

faultdisk_t *
faultdisk_cut(faultdisk_t *fd, uint64_t events, uint64_t seed)
{
    uint64_t durable = 0, state = seed;

    mutex_enter(&fd->fd_lock);
    VERIFY(fd->fd_base >= 0 && events <= fd->fd_nev);
    faultdisk_t *cut = fd_alloc(fd->fd_size);
    cut->fd_mem = map_private(fd->fd_size, fd->fd_base);
    for (uint64_t i = 0; i < events; i++)
        if (fd->fd_ev[i].ev_n == 0)
            durable = i;
    for (uint64_t i = 0; i < events; i++) {
        const event_t *ev = &fd->fd_ev[i];
        if (ev->ev_n != 0 && (i < durable || seed == 0))
            memcpy(cut->fd_mem + ev->ev_off, ev->ev_data, ev->ev_n);
        else if (ev->ev_n != 0)
            apply_torn(cut->fd_mem, ev, &state);
    }
    mutex_exit(&fd->fd_lock);
    return cut;
}
