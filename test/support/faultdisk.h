/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * faultdisk.h - a disk that fails on purpose.
 *
 * It lies in memory (or over another disk), counts what passes, and can
 *
 *   - fail the n-th transfer, or all that touch a range
 *   - lose power after n writes: later writes vanish, or fail
 *   - damage bytes behind everybody's back
 *   - record every write and flush, and rebuild what the disk may hold had the power failed at any moment:
 *
 *        events   W W F W W W|W F W          cut here, after 6 events
 *                 `-----´ |   `---- never happened
 *            certainly    +-- since the last flush: in order (seed 0), or any subset, some torn between sectors
 *
 * The disk outlives the pool on it: closing the disk_t does nothing, so that a test can look and open again.
 *
 *   fd = faultdisk_create(64 << 20); disk = faultdisk_disk(fd); spa_create(&disk, ...); faultdisk_record(fd); ...
 *   for (n = 0; n <= faultdisk_events(fd); n++) { cut = faultdisk_cut(fd, n, seed); disk = faultdisk_disk(cut); ... }
 */
#ifndef COWBIRD_FAULTDISK_H
#define COWBIRD_FAULTDISK_H

#include "spa.h"

typedef struct faultdisk faultdisk_t;

enum { FD_READ = 1, FD_WRITE = 2, FD_FLUSH = 4, FD_ALL = 7 }; /* kinds of transfers, to be or-ed */

faultdisk_t *faultdisk_create(uint64_t size);     /* memory, all zeros */
faultdisk_t *faultdisk_over(const disk_t *under); /* passes on to another disk, which it closes in the end */
void faultdisk_destroy(faultdisk_t *fd);
disk_t faultdisk_disk(faultdisk_t *fd);

/* Transfers of these kinds since creation or the last reset. */
uint64_t faultdisk_count(faultdisk_t *fd, int kinds);
/* No faults, counters zero, power back on. What a recording has so far stays. */
void faultdisk_reset(faultdisk_t *fd);

/* The n-th transfer of these kinds from now (1 is the next) and times - 1 after it give EIO. UINT64_MAX: for ever. */
void faultdisk_fail_at(faultdisk_t *fd, int kinds, uint64_t n, uint64_t times);
/* Transfers of these kinds that touch the range give EIO. One range at a time. */
void faultdisk_fail_range(faultdisk_t *fd, int kinds, uint64_t off, uint64_t n);
/* After n more writes nothing reaches the disk. loud: those writes and flushes give EIO; else they seem to succeed. */
void faultdisk_power_off(faultdisk_t *fd, uint64_t n, bool loud);

/* While held, writes wait (others go on); faultdisk_held() says how many do. */
void faultdisk_hold_writes(faultdisk_t *fd, bool hold);
uint64_t faultdisk_held(faultdisk_t *fd);

/* Contents, without counting, failing or recording. */
void faultdisk_peek(faultdisk_t *fd, uint64_t off, void *buf, size_t n);
void faultdisk_poke(faultdisk_t *fd, uint64_t off, const void *buf, size_t n);
void faultdisk_corrupt(faultdisk_t *fd, uint64_t off, size_t n); /* every byte changes */

/* Forget the recording so far and begin a new one from the present state. */
void faultdisk_record(faultdisk_t *fd);
uint64_t faultdisk_events(faultdisk_t *fd);
bool faultdisk_event_is_flush(faultdisk_t *fd, uint64_t event);
/* A new disk (memory) as the power cut after so many events may have left it. */
faultdisk_t *faultdisk_cut(faultdisk_t *fd, uint64_t events, uint64_t seed);

#endif
