/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * minipool.h - the least pool that makes object sets work: a disk in memory, txgs, one object set that is its own root.
 *
 *     minipool_t *mp = minipool_create(256 << 20);     ... mp->mp_os ...
 *     tx = minipool_tx(mp);  zap_add(..., tx);  dmu_tx_commit(tx);
 *     minipool_sync(mp);                 on disk
 *     minipool_reopen(mp);               the object set opened anew from its root pointer, with an empty cache of dnodes
 *     minipool_destroy(mp);
 *
 * It plays what dsl/pool.c does in earnest, but keeps no space maps: the disk cannot be opened again for writing.
 */
#ifndef COWBIRD_MINIPOOL_H
#define COWBIRD_MINIPOOL_H

#include <check.h>
#include <stdio.h>
#include "dmu_impl.h"
#include "faultdisk.h"

typedef struct minipool {
    faultdisk_t *mp_fd;
    spa_t *mp_spa;
    txg_state_t *mp_ts;
    objset_t *mp_os;
    blkptr_t mp_root;
    _Atomic bool mp_create; /* for the syncing thread: make mp_os */
    dmu_objset_type_t mp_type;
} minipool_t;

static const objset_props_t minipool_props = {
    .op_compress = ZIO_COMPRESS_LZ4, .op_copies = 1, .op_lz4 = true, .op_recordsize = 16384};

static void
minipool_killed(void *arg, const blkptr_t *bp, dmu_tx_t *tx)
{
    minipool_t *mp = arg;
    zio_free(mp->mp_spa, dmu_tx_txg(tx), bp);
}

static void
minipool_take(minipool_t *mp)
{
    range_tree_t *a = range_tree_create(), *f = range_tree_create();
    for (uint64_t m = 0; m < metaslab_count(mp->mp_spa); m++) {
        while (metaslab_sync_take(mp->mp_spa, m, a, f)) {
            range_tree_vacate(a, NULL, NULL);
            range_tree_vacate(f, NULL, NULL);
        }
    }
    range_tree_destroy(a);
    range_tree_destroy(f);
}

static int
minipool_sync_txg(void *arg, uint64_t txg)
{
    minipool_t *mp = arg;
    dmu_tx_t *tx = dmu_tx_create_syncing(mp->mp_ts, txg);
    struct objset_hooks hooks = {.oh_killed = minipool_killed, .oh_arg = mp};
    int err = 0;
    if (mp->mp_create)
        mp->mp_os = objset_create(mp->mp_spa, mp->mp_ts, 0, mp->mp_type, &hooks, &minipool_props, tx);
    mp->mp_create = false;
    for (int pass = 1; err == 0 && objset_is_dirty(mp->mp_os, txg); pass++)
        err = objset_sync(mp->mp_os, pass, tx, &mp->mp_root);
    dmu_tx_commit(tx);
    minipool_take(mp);
    if (err == 0)
        err = spa_commit(mp->mp_spa, txg, &mp->mp_root);
    if (err == 0)
        metaslab_sync_done(mp->mp_spa, txg);
    return err;
}

static bool
minipool_pending(void *arg, uint64_t txg)
{
    return ((minipool_t *)arg)->mp_create;
}

static inline minipool_t *
minipool_create_type(uint64_t size, dmu_objset_type_t type)
{
    minipool_t *mp = xzalloc(sizeof(*mp));
    spa_create_args_t args = {.sca_name = "mini",
                              .sca_path = "/mini",
                              .sca_ashift = 9,
                              .sca_version = SPA_VERSION,
                              .sca_checksum = ZIO_CHECKSUM_FLETCHER_4};
    mp->mp_fd = faultdisk_create(size);
    disk_t disk = faultdisk_disk(mp->mp_fd);
    ck_assert_int_eq(spa_create(&disk, &args, &mp->mp_spa), 0);
    mp->mp_create = true;
    mp->mp_type = type;
    mp->mp_ts =
        txg_start(mp->mp_spa, TXG_INITIAL - 1, minipool_sync_txg, minipool_pending, mp, 64 << 20, 5000);
    ck_assert_int_eq(txg_wait_synced(mp->mp_ts, 0), 0);
    ck_assert_ptr_nonnull(mp->mp_os);
    return mp;
}

static inline minipool_t *
minipool_create(uint64_t size)
{
    return minipool_create_type(size, DMU_OST_META);
}

static inline void
minipool_sync(minipool_t *mp)
{
    ck_assert_int_eq(txg_wait_synced(mp->mp_ts, 0), 0);
}

static inline void
minipool_reopen(minipool_t *mp)
{
    struct objset_hooks hooks = {.oh_killed = minipool_killed, .oh_arg = mp};
    minipool_sync(mp);
    minipool_sync(mp); /* nothing is dirty any more, whatever was in flight */
    objset_close(mp->mp_os);
    ck_assert_int_eq(objset_open(mp->mp_spa, mp->mp_ts, &mp->mp_root, 0, &hooks, &minipool_props, &mp->mp_os),
                     0);
}

/* An assigned tx without holds: nothing here runs out of space. */
static inline dmu_tx_t *
minipool_tx(minipool_t *mp)
{
    dmu_tx_t *tx = dmu_tx_create(mp->mp_os);
    ck_assert_int_eq(dmu_tx_assign(tx, DMU_TX_WAIT), 0);
    return tx;
}

static inline void
minipool_destroy(minipool_t *mp)
{
    txg_stop(mp->mp_ts, false);
    objset_close(mp->mp_os);
    spa_close(mp->mp_spa);
    faultdisk_destroy(mp->mp_fd);
    free(mp);
}

/* ---- what every random test wants ---- */

static uint64_t minipool_rnd_state = 88172645463325252ULL;

static inline uint64_t
rnd(uint64_t n)
{
    minipool_rnd_state ^= minipool_rnd_state << 13;
    minipool_rnd_state ^= minipool_rnd_state >> 7;
    minipool_rnd_state ^= minipool_rnd_state << 17;
    return minipool_rnd_state % n;
}

static inline void
minipool_quiet(int level, const char *line)
{
}

static inline int
minipool_run(Suite *s)
{
    cowbird_log_set_sink(minipool_quiet);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}

#endif
