/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sync_tree.c - syncing context: pointers go into and out of a dnode's tree of indirect blocks.
 *
 *        new dnode_phys          level 2               level 1                 a changed pointer makes its block a changed one,
 *        +-----------+        +-----------+         +-----------+              whose rewriting changes the pointer above, ...
 *        |  bp bp bp |------->| ind_t     |-------->| ind_t     |------> L0    only the ind_t's (copies) on the way are in memory
 *        +-----------+        +-----------+         +-----------+
 *
 * Blocks to be written gather in a batch of up to 16 MiB for zio_write(); their pointers fall into their slots when it is flushed.
 *
 * INVARIANTS
 *  1. A level is written only when all below it is: the fill counts and checksums in an ind_t are then final.
 *  2. Every pointer that gets into or out of the tree passes sync_born() or sync_killed(): dn_used and the hooks agree with the tree.
 *  3. An indirect block without any pointer becomes a hole itself.
 *  4. Levels grow after the free ranges, which are walked in the old shape.
 *
 *     dsync_begin() -> free_blocks()* -> grow_levels() -> (slot_get() -> batch_add())* -> inds_write() -> dsync_end()
 *
 * ZFS: free_children() and dnode_increase_indirection() in dnode_sync.c, dbuf_write() in dbuf.c
 */
#include <syslog.h>
#include "sync_impl.h"

#define BATCH_BYTES  (16ULL << 20)
#define BATCH_BLOCKS 4096

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
void
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
int
batch_add(sync_t *sy, dsync_t *dy, blkptr_t *slot, ind_t *parent, arc_buf_t *buf, uint8_t type, int level,
          uint64_t blkid, uint64_t fill)
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

int
read_owned(sync_t *sy, dsync_t *dy, const blkptr_t *bp, int level, uint64_t blkid, uint32_t size,
           arc_buf_t **bufp)
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
int
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
void
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
    return batch_add(sy, dy, slot, parent, arc_buf_hold(ind->in_buf), dy->dy_phys->dn_type, ind->in_level,
                     ind->in_blkid, fill);
}

/* Level by level over the whole window. */
int
inds_write(sync_t *sy)
{
    int err = batch_flush(sy);

    for (int level = 1; err == 0 && level < DN_MAX_LEVELS; level++) {
        for (uint64_t i = 0; err == 0 && i < sy->sy_ndys; i++) {
            ind_t key = {.in_level = level}, *ind;
            avl_index_t where;
            if ((ind = avl_find(&sy->sy_dys[i].dy_inds, &key, &where)) == NULL)
                ind = avl_nearest(&sy->sy_dys[i].dy_inds, where, 1);
            for (; err == 0 && ind != NULL && ind->in_level == level;
                 ind = avl_next(&sy->sy_dys[i].dy_inds, ind))
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
    if (level > 0 && dmu_block_read(sy->sy_os->os_spa, bp, &zb, dy->dy_phys->dn_type,
                                    1U << dy->dy_phys->dn_indblkshift, ARC_NOCACHE, &buf) != 0)
        cowbird_log(
            LOG_ERR,
            "objset %llu object %llu: level %d block %llu is unreadable; what it points to is not freed",
            (unsigned long long)zb.zb_objset, (unsigned long long)zb.zb_object, level,
            (unsigned long long)blkid);
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

int
free_blocks(sync_t *sy, dsync_t *dy, uint64_t first, uint64_t last)
{
    int err = 0;

    for (uint64_t i = 0; err == 0 && i < dy->dy_phys->dn_nblkptr; i++)
        err = free_below(sy, dy, dy->dy_phys->dn_nlevels - 1, i, first, last);
    return err;
}

/* ---- begin and end ---- */

void
sync_init(sync_t *sy, objset_t *os, int pass, dmu_tx_t *tx)
{
    *sy = (sync_t){.sy_os = os, .sy_tx = tx, .sy_pass = pass};
    objset_get_props(os, &sy->sy_props);
    sy->sy_w = xmalloc(BATCH_BLOCKS * sizeof(*sy->sy_w));
    sy->sy_targets = xmalloc(BATCH_BLOCKS * sizeof(*sy->sy_targets));
    sy->sy_dys = xmalloc(SYNC_WINDOW_DNODES * sizeof(*sy->sy_dys));
}

void
sync_fini(sync_t *sy)
{
    free(sy->sy_w);
    free(sy->sy_targets);
    free(sy->sy_dys);
}

dsync_t *
dsync_begin(sync_t *sy, dnode_t *dn, const dnode_shape_t *shape)
{
    dsync_t *dy = &sy->sy_dys[sy->sy_ndys++];

    *dy = (dsync_t){.dy_dn = dn, .dy_shape = shape};
    avl_create(&dy->dy_inds, ind_compare, offsetof(ind_t, in_link));
    return dy;
}

void
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
