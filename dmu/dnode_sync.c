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
 * INVARIANTS
 *  1. A level is written only when all below it is: the fill counts and checksums in an ind_t are then final.
 *  2. Every pointer that gets into or out of the tree passes sync_born() or sync_killed(): dn_used and the hooks agree with the tree.
 *  3. Only the syncing thread changes dn_phys, so it reads it without a lock; it replaces it under dn_mtx.
 *  4. An indirect block without any pointer becomes a hole itself.
 *  5. Level growth comes after the free ranges, which are walked in the old shape.
 *
 * ZFS: dnode_sync.c, dbuf_sync_list() and dbuf_write() in dbuf.c. There every block is a zio of its own, ordered by parent zios.
 */
#include <syslog.h>
#include "dmu_impl.h"

#define WINDOW_BYTES  (64ULL << 20)
#define WINDOW_DNODES 4096
#define BATCH_BYTES   (16ULL << 20)
#define BATCH_BLOCKS  4096

/* An indirect block being changed. */
typedef struct ind {
    avl_node_t in_link; /* dy_inds, by level and blkid */
    int in_level;
    uint64_t in_blkid;
    arc_buf_t *in_buf; /* our own copy */
    bool in_changed;
} ind_t;

/* A dnode being synced. */
typedef struct dsync {
    dnode_t *dy_dn;
    const dnode_shape_t *dy_shape;
    dnode_phys_t *dy_phys; /* the new one */
    avl_tree_t dy_inds;
} dsync_t;

/* Where a written block's pointer goes. */
typedef struct target {
    dsync_t *tg_dy;
    blkptr_t *tg_slot;
    ind_t *tg_parent; /* NULL: the slot is in the dnode */
} target_t;

typedef struct sync {
    objset_t *sy_os;
    dmu_tx_t *sy_tx;
    int sy_pass;
    objset_props_t sy_props;
    zio_write_t *sy_w; /* the batch */
    target_t *sy_targets;
    uint64_t sy_n, sy_bytes;
    dsync_t *sy_dys; /* the window */
    uint64_t sy_ndys, sy_window_bytes;
} sync_t;

static blkptr_t *
phys_bps(dnode_phys_t *dnp)
{
    return (blkptr_t *)((uint8_t *)dnp + DNODE_CORE_SIZE);
}

static unsigned
dy_epbs(const dsync_t *dy)
{
    return dy->dy_phys->dn_indblkshift - SPA_BLKPTRSHIFT;
}

/* ---- into and out of the tree ---- */

static void
sync_killed(sync_t *sy, dsync_t *dy, const blkptr_t *bp)
{
    const struct objset_hooks *h = &sy->sy_os->os_hooks;

    if (BP_IS_HOLE(bp))
        return;
    dy->dy_phys->dn_used -= MIN(dy->dy_phys->dn_used, bp_get_asize(bp));
    if (h->oh_killed != NULL)
        h->oh_killed(h->oh_arg, bp, sy->sy_tx);
}

static void
sync_born(sync_t *sy, dsync_t *dy, const blkptr_t *bp)
{
    const struct objset_hooks *h = &sy->sy_os->os_hooks;

    if (BP_IS_HOLE(bp))
        return;
    dy->dy_phys->dn_used += bp_get_asize(bp);
    if (h->oh_born != NULL)
        h->oh_born(h->oh_arg, bp, sy->sy_tx);
}

/* A pointer goes and nothing comes in its place. */
static void
slot_clear(sync_t *sy, dsync_t *dy, blkptr_t *slot, ind_t *parent)
{
    if (parent != NULL)
        parent->in_changed = parent->in_changed || !BP_IS_HOLE(slot);
    sync_killed(sy, dy, slot);
    bp_zero(slot);
}

/* ---- the batch ---- */

static void
batch_done(sync_t *sy, zio_write_t *w, const target_t *t)
{
    spa_t *spa = sy->sy_os->os_spa;

    if (w->zw_inplace) {
        arc_forget(spa, t->tg_slot);
    } else {
        sync_killed(sy, t->tg_dy, t->tg_slot);
        sync_born(sy, t->tg_dy, &w->zw_bp);
    }
    if (BP_IS_HOLE(&w->zw_bp))
        bp_zero(&w->zw_bp);
    *t->tg_slot = w->zw_bp;
    if (t->tg_parent != NULL)
        t->tg_parent->in_changed = true;
    arc_insert(spa, &w->zw_bp, w->zw_buf);
}

static int
batch_flush(sync_t *sy)
{
    int err = 0;

    if (sy->sy_n != 0)
        err = zio_write(sy->sy_os->os_spa, sy->sy_tx->tx_txg, sy->sy_pass, sy->sy_w, sy->sy_n);
    for (uint64_t i = 0; i < sy->sy_n; i++) {
        if (err == 0)
            batch_done(sy, &sy->sy_w[i], &sy->sy_targets[i]);
        arc_buf_rele(sy->sy_w[i].zw_buf);
    }
    sy->sy_n = sy->sy_bytes = 0;
    return err;
}

/* Takes buf's reference. The slot keeps the old pointer until the batch is flushed. */
static int
batch_add(sync_t *sy, dsync_t *dy, blkptr_t *slot, ind_t *parent, arc_buf_t *buf, uint8_t type, int level, uint64_t blkid,
          uint64_t fill)
{
    zio_write_t *w = &sy->sy_w[sy->sy_n];

    *w = (zio_write_t){.zw_buf = buf, .zw_bp = *slot, .zw_fill = fill};
    w->zw_zb = (zbookmark_t){sy->sy_os->os_dsobj, dy->dy_dn->dn_object, level, blkid};
    objset_zio_prop(sy->sy_os, &sy->sy_props, type, level, dy->dy_phys->dn_compress, &w->zw_prop);
    sy->sy_targets[sy->sy_n] = (target_t){dy, slot, parent};
    sy->sy_bytes += buf->b_size;
    if (++sy->sy_n == BATCH_BLOCKS || sy->sy_bytes >= BATCH_BYTES)
        return batch_flush(sy);
    return 0;
}

/* ---- indirect blocks ---- */

static int
ind_compare(const void *a, const void *b)
{
    const ind_t *x = a, *y = b;

    return x->in_level != y->in_level ? AVL_CMP(x->in_level, y->in_level) : AVL_CMP(x->in_blkid, y->in_blkid);
}

static blkptr_t *
ind_bps(const ind_t *ind)
{
    return ind->in_buf->b_data;
}

static ind_t *
ind_add(dsync_t *dy, int level, uint64_t blkid, arc_buf_t *buf)
{
    ind_t *ind = xzalloc(sizeof(*ind));

    ind->in_level = level;
    ind->in_blkid = blkid;
    ind->in_buf = buf;
    avl_add(&dy->dy_inds, ind);
    return ind;
}

static int
read_owned(sync_t *sy, dsync_t *dy, const blkptr_t *bp, int level, uint64_t blkid, uint32_t size, arc_buf_t **bufp)
{
    zbookmark_t zb = {sy->sy_os->os_dsobj, dy->dy_dn->dn_object, level, blkid};
    int err;

    if (BP_IS_HOLE(bp)) {
        *bufp = arc_buf_alloc(size);
        memset((*bufp)->b_data, 0, size);
        return 0;
    }
    if ((err = dmu_block_read(sy->sy_os->os_spa, bp, &zb, dy->dy_phys->dn_type, size, 0, bufp)) != 0)
        return err;
    if ((*bufp)->b_size != size) {
        arc_buf_rele(*bufp);
        return SET_ERROR(EIO);
    }
    *bufp = arc_buf_own(*bufp);
    return 0;
}

static int ind_get(sync_t *sy, dsync_t *dy, int level, uint64_t blkid, ind_t **indp);

/* The place of a block's pointer: in the dnode, or in an indirect block, which is read. */
static int
slot_get(sync_t *sy, dsync_t *dy, int level, uint64_t blkid, blkptr_t **slot, ind_t **parent)
{
    int err;

    *parent = NULL;
    if (level == dy->dy_phys->dn_nlevels - 1) {
        VERIFY3U(blkid, <, dy->dy_phys->dn_nblkptr);
        *slot = phys_bps(dy->dy_phys) + blkid;
        return 0;
    }
    if ((err = ind_get(sy, dy, level + 1, blkid >> dy_epbs(dy), parent)) == 0)
        *slot = ind_bps(*parent) + (blkid & ((1ULL << dy_epbs(dy)) - 1));
    return err;
}

static int
ind_get(sync_t *sy, dsync_t *dy, int level, uint64_t blkid, ind_t **indp)
{
    ind_t key = {.in_level = level, .in_blkid = blkid}, *parent;
    blkptr_t *slot;
    arc_buf_t *buf;
    int err;

    if ((*indp = avl_find(&dy->dy_inds, &key, NULL)) != NULL)
        return 0;
    if ((err = slot_get(sy, dy, level, blkid, &slot, &parent)) != 0)
        return err;
    if ((err = read_owned(sy, dy, slot, level, blkid, 1U << dy->dy_phys->dn_indblkshift, &buf)) != 0)
        return err;
    *indp = ind_add(dy, level, blkid, buf);
    return 0;
}

/* More levels until maxblkid has a pointer: the dnode's pointers move into a block at the bottom left of the new level. */
static void
grow_levels(dsync_t *dy, uint64_t maxblkid)
{
    dnode_phys_t *dnp = dy->dy_phys;
    int want = dnode_levels_for(dnp->dn_nblkptr, dnp->dn_indblkshift, maxblkid);

    VERIFY(want != 0);
    while (dnp->dn_nlevels < want) {
        size_t n = (size_t)dnp->dn_nblkptr * sizeof(blkptr_t);
        arc_buf_t *buf = arc_buf_alloc(1U << dnp->dn_indblkshift);
        memset(buf->b_data, 0, buf->b_size);
        memcpy(buf->b_data, phys_bps(dnp), n);
        memset(phys_bps(dnp), 0, n);
        ind_add(dy, dnp->dn_nlevels++, 0, buf)->in_changed = true;
    }
}

/* Write one, if it changed; its own slot changes. */
static int
ind_write(sync_t *sy, dsync_t *dy, ind_t *ind)
{
    uint64_t fill = 0, n = 1ULL << dy_epbs(dy);
    blkptr_t *slot, *bps = ind_bps(ind);
    bool empty = true;
    ind_t *parent;
    int err;

    if (!ind->in_changed)
        return 0;
    if ((err = slot_get(sy, dy, ind->in_level, ind->in_blkid, &slot, &parent)) != 0)
        return err;
    for (uint64_t i = 0; i < n; i++) {
        fill += bp_fill(&bps[i]);
        empty = empty && BP_IS_HOLE(&bps[i]);
    }
    if (empty) {
        slot_clear(sy, dy, slot, parent);
        return 0;
    }
    return batch_add(sy, dy, slot, parent, arc_buf_hold(ind->in_buf), dy->dy_phys->dn_type, ind->in_level, ind->in_blkid, fill);
}

/* Level by level over the whole window. */
static int
inds_write(sync_t *sy)
{
    int err = batch_flush(sy);

    for (int level = 1; err == 0 && level < DN_MAX_LEVELS; level++) {
        for (uint64_t i = 0; err == 0 && i < sy->sy_ndys; i++) {
            ind_t key = {.in_level = level}, *ind;
            avl_index_t where;
            if ((ind = avl_find(&sy->sy_dys[i].dy_inds, &key, &where)) == NULL)
                ind = avl_nearest(&sy->sy_dys[i].dy_inds, where, 1);
            for (; err == 0 && ind != NULL && ind->in_level == level; ind = avl_next(&sy->sy_dys[i].dy_inds, ind))
                err = ind_write(sy, &sy->sy_dys[i], ind);
        }
        if (err == 0)
            err = batch_flush(sy);
    }
    return err;
}

/* ---- freeing ---- */

/* A subtree leaves the tree as a whole. What an unreadable indirect block points to stays allocated: lost space, but no lost pool. */
static void
kill_tree(sync_t *sy, dsync_t *dy, const blkptr_t *bp, int level, uint64_t blkid)
{
    zbookmark_t zb = {sy->sy_os->os_dsobj, dy->dy_dn->dn_object, level, blkid};
    uint64_t n = 1ULL << dy_epbs(dy);
    arc_buf_t *buf = NULL;

    if (BP_IS_HOLE(bp))
        return;
    if (level > 0 && dmu_block_read(sy->sy_os->os_spa, bp, &zb, dy->dy_phys->dn_type, 1U << dy->dy_phys->dn_indblkshift,
                                    ARC_NOCACHE, &buf) != 0)
        cowbird_log(LOG_ERR, "objset %llu object %llu: level %d block %llu is unreadable; what it points to is not freed",
                    (unsigned long long)zb.zb_objset, (unsigned long long)zb.zb_object, level, (unsigned long long)blkid);
    if (buf != NULL) {
        const blkptr_t *bps = buf->b_data;
        for (uint64_t i = 0; level > 1 && i < n; i++)
            arc_prefetch(sy->sy_os->os_spa, &bps[i], NULL);
        for (uint64_t i = 0; i < n; i++)
            kill_tree(sy, dy, &bps[i], level - 1, (blkid << dy_epbs(dy)) + i);
        arc_buf_rele(buf);
    }
    sync_killed(sy, dy, bp);
}

/* Blocks [first, last], as far as they lie under this pointer. */
static int
free_below(sync_t *sy, dsync_t *dy, int level, uint64_t blkid, uint64_t first, uint64_t last)
{
    unsigned shift = dy_epbs(dy) * (unsigned)level;
    uint64_t lo = shl64_sat(blkid, shift), hi = shl64_sat(blkid + 1, shift) - 1, base = blkid << dy_epbs(dy);
    ind_t *parent, *ind;
    blkptr_t *slot;
    int err;

    if (hi < first || lo > last)
        return 0;
    if ((err = slot_get(sy, dy, level, blkid, &slot, &parent)) != 0 || BP_IS_HOLE(slot))
        return err;
    if (first <= lo && hi <= last) {
        if (parent != NULL)
            parent->in_changed = true;
        kill_tree(sy, dy, slot, level, blkid);
        bp_zero(slot);
        return 0;
    }
    if ((err = ind_get(sy, dy, level, blkid, &ind)) != 0)
        return err;
    shift -= dy_epbs(dy);
    for (uint64_t i = 0; err == 0 && i < 1ULL << dy_epbs(dy); i++)
        if (shl64_sat(base + i, shift) <= last && !BP_IS_HOLE(&ind_bps(ind)[i]))
            err = free_below(sy, dy, level - 1, base + i, first, last);
    return err;
}

static int
free_blocks(sync_t *sy, dsync_t *dy, uint64_t first, uint64_t last)
{
    int err = 0;

    for (uint64_t i = 0; err == 0 && i < dy->dy_phys->dn_nblkptr; i++)
        err = free_below(sy, dy, dy->dy_phys->dn_nlevels - 1, i, first, last);
    return err;
}

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

/* ---- one dnode ---- */

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
    dsync_t *dy = &sy->sy_dys[sy->sy_ndys++];
    int err;

    *dy = (dsync_t){.dy_dn = dn, .dy_shape = &dn->dn_shape[sy->sy_tx->tx_txg & TXG_MASK]};
    avl_create(&dy->dy_inds, ind_compare, offsetof(ind_t, in_link));
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

static void
dsync_end(dsync_t *dy)
{
    void *cookie = NULL;
    ind_t *ind;

    while ((ind = avl_destroy_nodes(&dy->dy_inds, &cookie)) != NULL) {
        arc_buf_rele(ind->in_buf);
        free(ind);
    }
    avl_destroy(&dy->dy_inds);
    free(dy->dy_phys);
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
    dsync_t *dy = &sy->sy_dys[sy->sy_ndys++];
    int err = 0;

    *dy = (dsync_t){.dy_dn = meta, .dy_shape = &meta->dn_now};
    avl_create(&dy->dy_inds, ind_compare, offsetof(ind_t, in_link));
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

static void
sync_init(sync_t *sy, objset_t *os, int pass, dmu_tx_t *tx)
{
    *sy = (sync_t){.sy_os = os, .sy_tx = tx, .sy_pass = pass};
    objset_get_props(os, &sy->sy_props);
    sy->sy_w = xmalloc(BATCH_BLOCKS * sizeof(*sy->sy_w));
    sy->sy_targets = xmalloc(BATCH_BLOCKS * sizeof(*sy->sy_targets));
    sy->sy_dys = xmalloc(WINDOW_DNODES * sizeof(*sy->sy_dys));
}

static void
sync_fini(sync_t *sy)
{
    free(sy->sy_w);
    free(sy->sy_targets);
    free(sy->sy_dys);
}

int
dnode_sync_all(objset_t *os, dnode_t **dns, uint64_t n, int pass, dmu_tx_t *tx)
{
    sync_t sy;
    int err = 0;

    sync_init(&sy, os, pass, tx);
    for (uint64_t i = 0; err == 0 && i < n; i++) {
        err = dnode_begin(&sy, dns[i]);
        if (err != 0 || sy.sy_ndys == WINDOW_DNODES || sy.sy_window_bytes >= WINDOW_BYTES)
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
