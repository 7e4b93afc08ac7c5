/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dmu_impl.h - inside the object layer: objsets, dnodes, dbufs and their dirty copies.
 *
 * THE IDEA. A dnode in memory has two halves. dn_phys is the dnode as the last synced txg left it: only the syncing thread
 * changes it. The rest is the present: what open transactions made of it. Each txg in flight keeps what it changed:
 *
 *     dbuf of block 7      db_buf ──────────────► contents now (as of the open txg)
 *                          db_dirty[open]   ────► the same buffer
 *                          db_dirty[quiescing] ─► its own buffer, frozen
 *                          db_dirty[syncing] ───► its own buffer, frozen: being written
 *
 * A buffer is copied only when a newer txg changes a block that an older one still has to write (or that the
 * cache shares): dbuf_dirty(). A frozen buffer is never written to, so that the syncing thread needs no lock on it.
 *
 * There are dbufs for level-0 blocks, the bonus and the spill block only. Indirect blocks belong to the syncing thread:
 * it alone reads, changes and writes them (dnode_sync.c); readers walk dn_phys's pointers through the ARC:
 * dnode_block_pointer(). This is where we differ from ZFS, whose dbufs form a tree over all levels.
 *
 * INVARIANTS
 *  1. db_dirty[t] exists <=> the dbuf is on dn_dirty_dbufs[t] => the dnode is on os_dirty_dnodes[t].
 *  2. At most one txg's record shares db_buf, and it is the newest; that buffer is then not shared with the ARC.
 *  3. A block freed in txg t is in dn_free_ranges[t] until t has synced, unless t (or a later txg) wrote it again after: a read of an
 *     uncached block consults them newest first, before the pointer (dnode_block_freed).
 *  4. dn_phys, and all below its pointers, is exactly what txg_last_synced left, seen under dn_mtx.
 *  5. A clean dbuf without holds is freed; its buffer lives on in the ARC. A dnode without holds, dbufs
 *     and dirty txgs is freed likewise.
 *
 * SYNC OF AN OBJSET (dnode_sync.c). For all dirty dnodes together, level by level, so that zio_write() gets large batches:
 *     free ranges -> level 0 (frozen dirty buffers) -> level 1 (indirect blocks in which a pointer changed) -> ... -> dn_phys
 *     -> into the meta dnode's blocks -> the meta dnode the same way -> objset_phys -> the new root pointer
 * Each new pointer goes to oh_born, each replaced or freed one to oh_killed.
 *
 * LOCK ORDER   zap lock (dn_zap_lock) -> os_obj_lock -> os_lock -> dn_mtx -> txg/arc locks.  No I/O under os_lock or dn_mtx: a dbuf being read is in
 * state DB_READ, waiters sleep on dn_cv.
 */
#ifndef COWBIRD_DMU_IMPL_H
#define COWBIRD_DMU_IMPL_H

#include "dmu.h"

#define DMU_BONUS_BLKID (-1ULL)
#define DMU_SPILL_BLKID (-2ULL)
#define DMU_META_DNODE_OBJECT 0ULL
#define DMU_USERUSED_OBJECT   (-1ULL)
#define DMU_GROUPUSED_OBJECT  (-2ULL)
#define DMU_PROJECTUSED_OBJECT (-3ULL)

typedef enum dbuf_state {
    DB_UNCACHED, /* no contents */
    DB_READ,     /* some thread reads it from disk */
    DB_CACHED    /* db_buf holds the contents */
} dbuf_state_t;

typedef struct dbuf {
    dmu_buf_t db; /* what users see; db_data == db_buf->b_data when cached */
    dnode_t *db_dnode;
    uint64_t db_blkid;     /* or DMU_BONUS_BLKID, DMU_SPILL_BLKID */
    avl_node_t db_link;    /* dn_dbufs */
    uint32_t db_holds;     /* all below: dn_mtx */
    dbuf_state_t db_state;
    arc_buf_t *db_buf;
    struct dirty_record *db_dirty[TXG_SIZE];
} dbuf_t;

/* One txg's version of one block. */
typedef struct dirty_record {
    dbuf_t *dr_dbuf;
    uint64_t dr_txg;
    arc_buf_t *dr_buf;
    avl_node_t dr_link; /* dn_dirty_dbufs[txg], by blkid; frozen when the txg is no longer open */
    uint64_t dr_accounted; /* bytes told to txg_dirty_add */
} dirty_record_t;

/* What a txg makes of the dnode itself, applied to dn_phys at its sync. */
typedef struct dnode_shape {
    bool ds_changed;
    bool ds_allocated;    /* newly allocated in this txg */
    bool ds_freed;        /* freed in this txg: blocks go, slot becomes free */
    bool ds_spill_removed;
    uint8_t ds_type, ds_bonustype, ds_checksum, ds_compress, ds_slots;
    uint16_t ds_bonuslen;
    uint32_t ds_datablksz;
    uint64_t ds_maxblkid;
} dnode_shape_t;

struct dnode {
    objset_t *dn_objset;
    uint64_t dn_object;
    struct dnode *dn_hash_next;          /* os_lock */
    list_node_t dn_dirty_link[TXG_SIZE]; /* os_dirty_dnodes; os_lock */
    uint32_t dn_refs;                    /* os_lock: holders, one per dbuf, one per dirty txg */
    krwlock_t dn_zap_lock;               /* for zap.c only */
    void *dn_user;                       /* for the owner of the object type (zap.c); NULL or freed by dn_user_free */
    void (*dn_user_free)(void *);
    kmutex_t dn_mtx;                     /* all below */
    kcondvar_t dn_cv;                    /* a dbuf left DB_READ */
    dnode_phys_t *dn_phys;               /* invariant 4; dn_phys_slots * 512 bytes */
    dnode_shape_t dn_now;                /* the present */
    dnode_shape_t dn_shape[TXG_SIZE];    /* as of the end of each txg that changed it */
    uint64_t dn_allocated_txg, dn_free_txg; /* pending; 0 none */
    avl_tree_t dn_dbufs;                 /* by blkid */
    avl_tree_t dn_dirty_dbufs[TXG_SIZE];
    range_tree_t *dn_free_ranges[TXG_SIZE]; /* block ids; NULL none */
};

#define OS_DNODE_HASH 4096

struct objset {
    spa_t *os_spa;
    txg_state_t *os_txg;     /* NULL: read-only */
    uint64_t os_dsobj;
    struct objset_hooks os_hooks;
    kmutex_t os_obj_lock;    /* object allocation: os_obj_next and the scan */
    uint64_t os_obj_next;
    uint64_t os_obj_freed;   /* since the last rewind of os_obj_next */
    kmutex_t os_lock;        /* the rest */
    objset_props_t os_props;
    dnode_t *os_hash[OS_DNODE_HASH];
    list_t os_dirty_dnodes[TXG_SIZE];
    dnode_t *os_meta_dnode;
    blkptr_t os_rootbp;      /* as last synced */
    arc_buf_t *os_phys_buf;  /* the root block as last synced; syncing thread writes a copy */
    uint32_t os_phys_size;
};

/* ---- dnode.c ---- */
/* Hold an allocated object's dnode. ENOENT; EIO/ECKSUM its block is unreadable or invalid. */
int dnode_hold(objset_t *os, uint64_t object, dnode_t **dnp);
void dnode_add_ref(dnode_t *dn);
void dnode_rele(dnode_t *dn);
void dnode_setdirty(dnode_t *dn, dmu_tx_t *tx); /* dn_mtx held; opens this txg's shape */
/* The synced pointer of a level-0 block (a hole when beyond the end); reads indirect blocks. EIO/ECKSUM. */
int dnode_block_pointer(dnode_t *dn, uint64_t blkid, blkptr_t *bp);
bool dnode_block_freed(dnode_t *dn, uint64_t blkid); /* dn_mtx held; invariant 3 */
void dnode_free_range(dnode_t *dn, uint64_t off, uint64_t len, dmu_tx_t *tx);

/* ---- dbuf.c ---- */
int dbuf_hold(dnode_t *dn, uint64_t blkid, bool read, dbuf_t **dbp);
void dbuf_rele(dbuf_t *db);
void dbuf_dirty(dbuf_t *db, dmu_tx_t *tx, bool fill);
void dbuf_undirty(dbuf_t *db, uint64_t txg);
void dbuf_verify(dbuf_t *db); /* asserts the invariants above; dn_mtx held */

/* ---- dnode_sync.c ---- */
int dnode_sync_list(objset_t *os, list_t *dirty, int pass, dmu_tx_t *tx);

#endif
