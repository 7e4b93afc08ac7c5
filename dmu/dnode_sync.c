/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dnode_sync.c - syncing context: a txg's dirty buffers become new blocks, new pointers to them, new dnodes.
 *
 *   window of dirty dnodes          free ranges: pointers out of the tree, killed
 *      |                            level 0    : dirty buffers  -> zio_write -> pointers into level 1 (copies in memory, ind_t)
 *      |                            level 1..n : changed ind_t  -> zio_write -> pointers into the level above
 *      +- next window               publish    : the new dnode_phys replaces dn_phys, dirty records go
 *   the meta dnode                  level 0    : blocks of 32 dnodes, made from all the dn_phys; then as above
 *   dnode_sync_root()               the objset block -> the new root pointer
 *
 * A window holds 64 MiB of dirty data at most (or one dnode): it bounds the indirect blocks in memory. Within it each zio_write()
 * gets one level of all dnodes, in the order of (object, block), so that all cores work and neighbours lie together on disk.
 *
 * How pointers get into the tree, and the indirect blocks with them: sync_tree.c.
 *
 * INVARIANTS
 *  1. Only the syncing thread changes dn_phys, so it reads it without a lock; it replaces it under dn_mtx.
 *  2. A window is published only when all its blocks are written.
 *  3. Dirty records and shapes of a txg that is being synced are frozen: they are read without a lock.
 *
 * ZFS: dnode_sync.c, dbuf_sync_list() and dbuf_write() in dbuf.c. There every block is a zio of its own, ordered by parent zios.
 */
#include "sync_impl.h"

#define WINDOW_BYTES (64ULL << 20)

/* ---- one dnode ---- */

static int
free_ranges(sync_t *sy, dsync_t *dy)
{
    range_tree_t *rt = dy->dy_dn->dn_free_ranges[sy->sy_tx->tx_txg & TXG_MASK];
    uint64_t start, size, pos = 0;
    int err = 0;

    while (rt != NULL && err == 0 && range_tree_find_next(rt, pos, &start, &size)) {
        err = free_blocks(sy, dy, start, start + size >= DN_BLKID_END ? UINT64_MAX : start + size - 1);
        pos = start + size;
    }
    return err;
}

static dirty_record_t *
record_find(dsync_t *dy, uint64_t txg, uint64_t blkid)
{
    dirty_record_t key = {.dr_blkid = blkid};

    return avl_find(&dy->dy_dn->dn_dirty_dbufs[txg & TXG_MASK], &key, NULL);
}

/* A copy of the old dnode as the start of the new one. */
static void
phys_begin(dsync_t *dy)
{
    const dnode_phys_t *old = dy->dy_dn->dn_phys;
    const dnode_shape_t *ds = dy->dy_shape;
    dnode_phys_t *dnp = xzalloc((size_t)MAX(ds->ds_slots, 1) << DNODE_SHIFT);

    dy->dy_phys = dnp;
    if (old->dn_type == DMU_OT_NONE) {
        dnp->dn_nlevels = 1;
        dnp->dn_nblkptr = ds->ds_nblkptr;
        dnp->dn_indblkshift = ds->ds_indblkshift;
        dnp->dn_extra_slots = (uint8_t)(ds->ds_slots - 1);
    } else {
        VERIFY3U(dnode_phys_size(old), ==, (uint32_t)ds->ds_slots << DNODE_SHIFT);
        memcpy(dnp, old, dnode_phys_size(old));
        if ((dnp->dn_flags & DNODE_FLAG_USED_BYTES) == 0)
            dnp->dn_used <<= SPA_MINBLOCKSHIFT;
    }
    dnp->dn_flags |= DNODE_FLAG_USED_BYTES;
}

/* Pointers end where the bonus starts, whose place and contents may have changed. */
static void
phys_set_bonus(sync_t *sy, dsync_t *dy)
{
    dirty_record_t *dr = record_find(dy, sy->sy_tx->tx_txg, DMU_BONUS_BLKID);
    const dnode_phys_t *old = dy->dy_dn->dn_phys;
    dnode_phys_t *dnp = dy->dy_phys;
    size_t room = dnode_phys_size(dnp) - DNODE_CORE_SIZE - ((size_t)dnp->dn_nblkptr << SPA_BLKPTRSHIFT);

    if (dnp->dn_flags & DNODE_FLAG_SPILL_BLKPTR)
        room -= sizeof(blkptr_t);
    memset(dnode_phys_bonus(dnp), 0, room);
    VERIFY3U(dnp->dn_bonuslen, <=, room);
    if (dr != NULL)
        memcpy(dnode_phys_bonus(dnp), dr->dr_bonus, dnp->dn_bonuslen);
    else if (old->dn_type != DMU_OT_NONE)
        memcpy(dnode_phys_bonus(dnp), dnode_phys_bonus(old), MIN(old->dn_bonuslen, dnp->dn_bonuslen));
}

static void
phys_set_spill(sync_t *sy, dsync_t *dy)
{
    dirty_record_t *dr = record_find(dy, sy->sy_tx->tx_txg, DMU_SPILL_BLKID);
    dnode_phys_t *dnp = dy->dy_phys;
    bool had = (dnp->dn_flags & DNODE_FLAG_SPILL_BLKPTR) != 0;

    if (had && !dy->dy_shape->ds_has_spill)
        slot_clear(sy, dy, dnode_phys_spill(dnp), NULL);
    if (!had && dr != NULL)
        bp_zero(dnode_phys_spill(dnp));
    dnp->dn_flags &= (uint8_t)~DNODE_FLAG_SPILL_BLKPTR;
    if (dr != NULL || (had && dy->dy_shape->ds_has_spill))
        dnp->dn_flags |= DNODE_FLAG_SPILL_BLKPTR;
}

static void
phys_set_shape(sync_t *sy, dsync_t *dy)
{
    const dnode_shape_t *ds = dy->dy_shape;
    dnode_phys_t *dnp = dy->dy_phys;

    phys_set_spill(sy, dy);
    dnp->dn_type = ds->ds_type;
    dnp->dn_bonustype = ds->ds_bonustype;
    dnp->dn_checksum = ds->ds_checksum;
    dnp->dn_compress = ds->ds_compress;
    dnp->dn_bonuslen = ds->ds_bonuslen;
    dnp->dn_datablkszsec = (uint16_t)(ds->ds_datablksz >> SPA_MINBLOCKSHIFT);
    dnp->dn_maxblkid = ds->ds_maxblkid;
    for (uint8_t i = dnp->dn_nblkptr; i < ds->ds_nblkptr; i++) /* was bonus */
        bp_zero(phys_bps(dnp) + i);
    dnp->dn_nblkptr = ds->ds_nblkptr;
    phys_set_bonus(sy, dy);
}

static int
dnode_write_data(sync_t *sy, dsync_t *dy)
{
    avl_tree_t *records = &dy->dy_dn->dn_dirty_dbufs[sy->sy_tx->tx_txg & TXG_MASK];
    blkptr_t *slot;
    ind_t *parent;
    int err = 0;

    for (dirty_record_t *dr = avl_first(records); err == 0 && dr != NULL; dr = avl_next(records, dr)) {
        uint8_t type = dy->dy_phys->dn_type;
        if (dr->dr_blkid == DMU_BONUS_BLKID)
            continue;
        if (dr->dr_blkid == DMU_SPILL_BLKID) {
            type = dy->dy_phys->dn_bonustype;
            slot = dnode_phys_spill(dy->dy_phys);
            parent = NULL;
        } else if ((err = slot_get(sy, dy, 0, dr->dr_blkid, &slot, &parent)) != 0) {
            break;
        }
        sy->sy_window_bytes += dr->dr_accounted;
        err = batch_add(sy, dy, slot, parent, arc_buf_hold(dr->dr_buf), type, 0, dr->dr_blkid, 1);
    }
    return err;
}

/* Everything of a dnode but its indirect blocks. */
static int
dnode_begin(sync_t *sy, dnode_t *dn)
{
    dsync_t *dy = dsync_begin(sy, dn, &dn->dn_shape[sy->sy_tx->tx_txg & TXG_MASK]);
    int err;

    phys_begin(dy);
    if (dy->dy_shape->ds_freed) {
        if (dn->dn_phys->dn_type != DMU_OT_NONE && (err = free_blocks(sy, dy, 0, UINT64_MAX)) != 0)
            return err;
        if (dy->dy_phys->dn_flags & DNODE_FLAG_SPILL_BLKPTR)
            slot_clear(sy, dy, dnode_phys_spill(dy->dy_phys), NULL);
        memset(dy->dy_phys, 0, (size_t)MAX(dy->dy_shape->ds_slots, 1) << DNODE_SHIFT);
        return 0;
    }
    if ((err = free_ranges(sy, dy)) != 0)
        return err;
    phys_set_shape(sy, dy);
    grow_levels(dy, dy->dy_phys->dn_maxblkid);
    return dnode_write_data(sy, dy);
}

/* The new state becomes the synced state: invariant 4 of dmu_impl.h. */
static void
dnode_publish(dsync_t *dy, uint64_t txg)
{
    dnode_t *dn = dy->dy_dn;
    avl_tree_t *records = &dn->dn_dirty_dbufs[txg & TXG_MASK];
    dirty_record_t *dr;
    uint64_t unrefs = 0, bytes;

    mutex_enter(&dn->dn_mtx);
    free(dn->dn_phys);
    dn->dn_phys = dy->dy_phys;
    dy->dy_phys = NULL;
    dn->dn_sync_gen++;
    bytes = dn->dn_dirty_bytes;
    for (dr = avl_first(records); dr != NULL;)
        dr = dbuf_record_done(dr, &unrefs);
    bytes -= dn->dn_dirty_bytes;
    if (dn->dn_free_ranges[txg & TXG_MASK] != NULL)
        range_tree_destroy(dn->dn_free_ranges[txg & TXG_MASK]);
    dn->dn_free_ranges[txg & TXG_MASK] = NULL;
    mutex_exit(&dn->dn_mtx);
    for (; unrefs > 0; unrefs--)
        dnode_rele(dn);
    if (bytes != 0)
        txg_dirty_add(dn->dn_objset->os_txg, txg, -(int64_t)bytes);
}

static int
window_end(sync_t *sy, int err)
{
    if (err == 0)
        err = inds_write(sy);
    for (uint64_t i = 0; i < sy->sy_n; i++) /* left over from an error */
        arc_buf_rele(sy->sy_w[i].zw_buf);
    for (uint64_t i = 0; i < sy->sy_ndys; i++) {
        if (err == 0)
            dnode_publish(&sy->sy_dys[i], sy->sy_tx->tx_txg);
        dsync_end(&sy->sy_dys[i]);
    }
    sy->sy_n = sy->sy_bytes = sy->sy_ndys = sy->sy_window_bytes = 0;
    return err;
}

/* ---- the meta dnode ---- */

/* Put the dnodes dns[0..n-1], all of one block, into it. *fill: how many dnodes it then has. */
static void
meta_fill_block(arc_buf_t *buf, uint64_t t, dnode_t **dns, uint64_t n, uint64_t *fill)
{
    dnode_slot_t sl = {0};

    for (uint64_t i = 0; i < n; i++) {
        uint8_t *at = (uint8_t *)buf->b_data + dns[i]->dn_object % DNODES_PER_BLOCK * DNODE_MIN_SIZE;
        size_t size = (size_t)MAX(dns[i]->dn_shape[t].ds_slots, 1) << DNODE_SHIFT;
        if (dns[i]->dn_phys->dn_type != DMU_OT_NONE)
            memcpy(at, dns[i]->dn_phys, size);
        else
            memset(at, 0, size);
    }
    *fill = 0;
    while (dnode_slot_next(buf->b_data, buf->b_size, &sl))
        *fill += sl.sl_dnp->dn_type != DMU_OT_NONE;
}

static int
meta_write_block(sync_t *sy, dsync_t *dy, uint64_t blkid, dnode_t **dns, uint64_t n)
{
    arc_buf_t *buf;
    blkptr_t *slot;
    ind_t *parent;
    uint64_t fill;
    int err;

    if ((err = slot_get(sy, dy, 0, blkid, &slot, &parent)) != 0 ||
        (err = read_owned(sy, dy, slot, 0, blkid, DNODE_BLOCK_SIZE, &buf)) != 0)
        return err;
    meta_fill_block(buf, sy->sy_tx->tx_txg & TXG_MASK, dns, n, &fill);
    if (fill == 0) {
        arc_buf_rele(buf);
        slot_clear(sy, dy, slot, parent);
        return 0;
    }
    return batch_add(sy, dy, slot, parent, buf, DMU_OT_DNODE, 0, blkid, fill);
}

static int
meta_sync(sync_t *sy, dnode_t **dns, uint64_t n)
{
    dnode_t *meta = sy->sy_os->os_meta_dnode;
    dsync_t *dy = dsync_begin(sy, meta, &meta->dn_now);
    int err = 0;

    phys_begin(dy);
    dy->dy_phys->dn_maxblkid = MAX(dy->dy_phys->dn_maxblkid, dns[n - 1]->dn_object / DNODES_PER_BLOCK);
    grow_levels(dy, dy->dy_phys->dn_maxblkid);
    for (uint64_t i = 0, j; err == 0 && i < n; i = j) {
        uint64_t blkid = dns[i]->dn_object / DNODES_PER_BLOCK;
        for (j = i + 1; j < n && dns[j]->dn_object / DNODES_PER_BLOCK == blkid;)
            j++;
        err = meta_write_block(sy, dy, blkid, dns + i, j - i);
    }
    return window_end(sy, err);
}

/* ---- all ---- */

int
dnode_sync_all(objset_t *os, dnode_t **dns, uint64_t n, int pass, dmu_tx_t *tx)
{
    sync_t sy;
    int err = 0;

    sync_init(&sy, os, pass, tx);
    for (uint64_t i = 0; err == 0 && i < n; i++) {
        err = dnode_begin(&sy, dns[i]);
        if (err != 0 || sy.sy_ndys == SYNC_WINDOW_DNODES || sy.sy_window_bytes >= WINDOW_BYTES)
            err = window_end(&sy, err);
    }
    if (err == 0)
        err = window_end(&sy, 0);
    if (err == 0 && n != 0)
        err = meta_sync(&sy, dns, n);
    sync_fini(&sy);
    return err;
}

int
dnode_sync_root(objset_t *os, int pass, dmu_tx_t *tx)
{
    const dnode_phys_t *meta = os->os_meta_dnode->dn_phys;
    uint64_t t = tx->tx_txg & TXG_MASK;
    blkptr_t old = os->os_rootbp;
    objset_props_t props;
    objset_phys_t *osp;
    zio_write_t w;
    int err;

    arc_buf_t *buf = arc_buf_alloc(os->os_phys_buf->b_size);
    osp = memcpy(buf->b_data, os->os_phys_buf->b_data, buf->b_size);
    memcpy(&osp->os_meta_dnode, meta, DNODE_MIN_SIZE);
    mutex_enter(&os->os_dirty_lock);
    if (os->os_zil_set[t])
        osp->os_zil_header = os->os_zil[t];
    os->os_zil_set[t] = false;
    mutex_exit(&os->os_dirty_lock);
    w = (zio_write_t){.zw_buf = buf, .zw_bp = old, .zw_zb = {os->os_dsobj, 0, ZB_ROOT_LEVEL, 0}};
    for (uint8_t i = 0; i < meta->dn_nblkptr; i++)
        w.zw_fill += bp_fill((const blkptr_t *)((const uint8_t *)meta + DNODE_CORE_SIZE) + i);
    objset_get_props(os, &props);
    objset_zio_prop(os, &props, DMU_OT_OBJSET, 0, 0, &w.zw_prop);
    if ((err = zio_write(os->os_spa, tx->tx_txg, pass, &w, 1)) != 0) {
        arc_buf_rele(buf);
        return err;
    }
    if (w.zw_inplace)
        arc_forget(os->os_spa, &old);
    if (!w.zw_inplace && !BP_IS_HOLE(&old) && os->os_hooks.oh_killed != NULL)
        os->os_hooks.oh_killed(os->os_hooks.oh_arg, &old, tx);
    if (!w.zw_inplace && os->os_hooks.oh_born != NULL)
        os->os_hooks.oh_born(os->os_hooks.oh_arg, &w.zw_bp, tx);
    arc_insert(os->os_spa, &w.zw_bp, buf);
    mutex_enter(&os->os_lock);
    arc_buf_rele(os->os_phys_buf);
    os->os_phys_buf = buf;
    os->os_rootbp = w.zw_bp;
    mutex_exit(&os->os_lock);
    return 0;
}
