/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * barefs.c - one object set as a pool: the smallest thing above the dmu that can sync, crash and open again.
 *
 *     sync of a txg:  objset_sync -> frees (oh_killed) -> spa_commit with the object set's own root pointer
 *     open:           traverse: every DVA met is loaded as allocated
 */
#include "barefs.h"

static void
killed(void *arg, const blkptr_t *bp, dmu_tx_t *tx)
{
    barefs_t *bf = arg;

    zio_free(bf->bf_spa, dmu_tx_txg(tx), bp);
}

static int
reserve(void *arg, int64_t bytes, bool netfree, uint64_t txg)
{
    barefs_t *bf = arg;
    int64_t was = __atomic_fetch_add(&bf->bf_reserved, bytes, __ATOMIC_RELAXED);
    uint64_t slop = spa_total_space(bf->bf_spa) / (netfree ? 16 : 8);

    if (bytes <= 0 ||
        spa_alloc_space(bf->bf_spa) + spa_deferred_space(bf->bf_spa) + (uint64_t)(was + bytes) + slop <
            spa_total_space(bf->bf_spa))
        return 0;
    __atomic_fetch_sub(&bf->bf_reserved, bytes, __ATOMIC_RELAXED);
    return SET_ERROR(ENOSPC);
}

/* The space maps that a real pool would write. */
static void
drop_space_changes(spa_t *spa)
{
    range_tree_t *a = range_tree_create(), *f = range_tree_create();

    for (uint64_t id = 0; id < metaslab_count(spa); id++) {
        (void)metaslab_sync_take(spa, id, a, f);
        range_tree_vacate(a, NULL, NULL);
        range_tree_vacate(f, NULL, NULL);
    }
    range_tree_destroy(a);
    range_tree_destroy(f);
}

static int
sync_txg(void *arg, uint64_t txg)
{
    barefs_t *bf = arg;
    dmu_tx_t *tx = dmu_tx_create_syncing(bf->bf_txg, txg);
    blkptr_t root;
    int err = objset_sync(bf->bf_os, 1, tx, &root);

    dmu_tx_commit(tx);
    drop_space_changes(bf->bf_spa);
    if (err == 0)
        err = spa_commit(bf->bf_spa, txg, &root);
    if (err == 0)
        metaslab_sync_done(bf->bf_spa, txg);
    return err;
}

static const objset_props_t props = {.op_compress = ZIO_COMPRESS_LZ4,
                                     .op_copies = 1,
                                     .op_embed = true,
                                     .op_lz4 = true,
                                     .op_recordsize = 128 << 10};

static struct objset_hooks
hooks(barefs_t *bf)
{
    return (struct objset_hooks){.oh_killed = killed, .oh_reserve = reserve, .oh_arg = bf};
}

static void
start(barefs_t *bf, uint64_t last)
{
    bf->bf_txg = txg_start(bf->bf_spa, last, sync_txg, NULL, bf, 64 << 20, 200);
}

uint64_t barefs_version = ZPL_VERSION_SA;

barefs_t *
barefs_create(faultdisk_t *fd)
{
    spa_create_args_t args = {.sca_name = "bare",
                              .sca_path = "/bare",
                              .sca_ashift = 12,
                              .sca_version = 5000,
                              .sca_checksum = ZIO_CHECKSUM_FLETCHER_4};
    barefs_t *bf = xzalloc(sizeof(*bf));
    disk_t disk = faultdisk_disk(fd);
    struct objset_hooks h = hooks(bf);
    dmu_tx_t *tx;

    bf->bf_disk = fd;
    VERIFY0(spa_create(&disk, &args, &bf->bf_spa));
    start(bf, TXG_INITIAL - 1);
    tx = dmu_tx_create_syncing(bf->bf_txg, txg_open_txg(bf->bf_txg));
    bf->bf_os = objset_create(bf->bf_spa, bf->bf_txg, 1, DMU_OST_ZFS, &h, &props, tx);
    nvlist_t *nvl = nvlist_alloc();
    nvlist_add_uint64(nvl, "version", barefs_version);
    zpl_objset_init(bf->bf_os, nvl, tx);
    nvlist_free(nvl);
    dmu_tx_commit(tx);
    VERIFY0(txg_wait_synced(bf->bf_txg, 0));
    VERIFY0(zpl_fs_open_objset(bf->bf_os, 0, &bf->bf_zfs));
    return bf;
}

static void
load_bp(spa_t *spa, const blkptr_t *bp)
{
    uint64_t shift = metaslab_shift(spa);

    if (BP_IS_HOLE(bp) || BP_IS_EMBEDDED(bp))
        return;
    for (int d = 0; d < bp_get_ndvas(bp); d++) {
        uint64_t off = DVA_GET_OFFSET(&bp->blk_dva[d]), asize = DVA_GET_ASIZE(&bp->blk_dva[d]);

        VERIFY0(metaslab_load(spa, off >> shift, true, off & ((1ULL << shift) - 1), asize));
    }
}

static int
load_block(void *arg, const traverse_block_t *tb)
{
    if (tb->tb_zb.zb_level != ZB_DNODE_LEVEL && tb->tb_bp != NULL)
        load_bp(arg, tb->tb_bp);
    return 0;
}

int
barefs_open(faultdisk_t *fd, barefs_t **bfp)
{
    barefs_t *bf = xzalloc(sizeof(*bf));
    disk_t disk = faultdisk_disk(fd);
    struct objset_hooks h = hooks(bf);
    const uberblock_t *ub;
    int err;

    bf->bf_disk = fd;
    if ((err = spa_open(&disk, 0, &bf->bf_spa)) != 0) {
        free(bf);
        return err;
    }
    ub = spa_uberblock(bf->bf_spa);
    err = traverse_objset(bf->bf_spa, &ub->ub_rootbp, 1, 0, TRAVERSE_PRE, NULL, load_block, bf->bf_spa, NULL);
    start(bf, ub->ub_txg);
    if (err == 0)
        err = objset_open(bf->bf_spa, bf->bf_txg, &ub->ub_rootbp, 1, &h, &props, &bf->bf_os);
    if (err == 0)
        err = zpl_fs_open_objset(bf->bf_os, 0, &bf->bf_zfs);
    if (err != 0)
        barefs_close(bf);
    else
        *bfp = bf;
    return err;
}

void
barefs_close(barefs_t *bf)
{
    if (bf->bf_zfs != NULL)
        zpl_fs_close_objset(bf->bf_zfs);
    txg_stop(bf->bf_txg, false);
    if (bf->bf_os != NULL)
        objset_close(bf->bf_os);
    spa_close(bf->bf_spa);
    free(bf);
}

void
barefs_abandon(barefs_t *bf)
{
    faultdisk_power_off(bf->bf_disk, 0, true);
    barefs_close(bf);
    faultdisk_reset(bf->bf_disk);
}
