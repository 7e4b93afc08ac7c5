/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * barefs.h - a file system without datasets: one object set is the whole pool, on a faultdisk.
 *
 *     uberblock --> object set of type ZFS          no MOS, no space maps: at open the tree is walked
 *
 * For tests of the file system layer alone, its crashes above all. The disk outlives the pool on it.
 */
#ifndef COWBIRD_BAREFS_H
#define COWBIRD_BAREFS_H

#include "faultdisk.h"
#include "zpl_impl.h"

typedef struct barefs {
    faultdisk_t *bf_disk;
    spa_t *bf_spa;
    txg_state_t *bf_txg;
    objset_t *bf_os;
    zpl_fs_t *bf_zfs;
    int64_t bf_reserved; /* atomic */
} barefs_t;

extern uint64_t barefs_version; /* of the file system that barefs_create makes: 5 */
barefs_t *barefs_create(faultdisk_t *fd);
int barefs_open(faultdisk_t *fd, barefs_t **bfp); /* mounted read-write */
void barefs_close(barefs_t *bf);                  /* everything on disk */
void barefs_abandon(barefs_t *bf);                /* as if the power had gone: nothing more is written */

#endif
