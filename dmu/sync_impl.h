/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sync_impl.h - between sync_tree.c (pointers in and out of a dnode's tree) and dnode_sync.c (what goes in and out).
 *
 * All of it belongs to the syncing thread: no locks.
 */
#ifndef COWBIRD_SYNC_IMPL_H
#define COWBIRD_SYNC_IMPL_H

#include "dmu_impl.h"

#define SYNC_WINDOW_DNODES 4096 /* dnodes in a window at most */

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

static inline blkptr_t *
phys_bps(dnode_phys_t *dnp)
{
    return (blkptr_t *)((uint8_t *)dnp + DNODE_CORE_SIZE);
}

void sync_init(sync_t *sy, objset_t *os, int pass, dmu_tx_t *tx);
void sync_fini(sync_t *sy);
/* Start on a dnode: the next of the window. */
dsync_t *dsync_begin(sync_t *sy, dnode_t *dn, const dnode_shape_t *shape);
void dsync_end(dsync_t *dy);

/* The place of a block's pointer: in the dnode, or in an indirect block, which is read (*parent). */
int slot_get(sync_t *sy, dsync_t *dy, int level, uint64_t blkid, blkptr_t **slot, ind_t **parent);
/* A pointer goes and nothing comes in its place. */
void slot_clear(sync_t *sy, dsync_t *dy, blkptr_t *slot, ind_t *parent);
/* Write buf (takes the reference) and put its pointer into the slot, now or with a later one; the slot keeps the old one till then. */
int batch_add(sync_t *sy, dsync_t *dy, blkptr_t *slot, ind_t *parent, arc_buf_t *buf, uint8_t type, int level,
              uint64_t blkid, uint64_t fill);
/* Flush the batch, then all changed indirect blocks of the window, level by level. */
int inds_write(sync_t *sy);
/* The block under a pointer, to be changed; a hole gives zeros. */
int read_owned(sync_t *sy, dsync_t *dy, const blkptr_t *bp, int level, uint64_t blkid, uint32_t size,
               arc_buf_t **bufp);
/* More levels until maxblkid has a pointer. */
void grow_levels(dsync_t *dy, uint64_t maxblkid);
/* Blocks [first, last] leave the tree; last UINT64_MAX: to the end. */
int free_blocks(sync_t *sy, dsync_t *dy, uint64_t first, uint64_t last);

#endif
