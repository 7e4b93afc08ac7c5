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
 * dnode_read_block(). This is where we differ from ZFS, whose dbufs form a tree over all levels.
 *
 * INVARIANTS
 *  1. db_dirty[t] exists <=> the record is in dn_dirty_dbufs[t] => the dnode is on os_dirty_dnodes[t].
 *  2. Transactions of one txg only are under way at a time (txg.c), so that the newest record is always the open txg's. At
 *     most one record shares db_buf, and it is the newest; while its txg is open that buffer is in no cache.
 *  3. A block freed in txg t is in dn_free_ranges[t] until t has synced, unless t wrote it again after. Having no dbuf
 *     then, it reads as zeros whatever the pointers say (dnode_block_freed). No block is in dn_free_ranges[t] and dirty in t.
 *  4. dn_phys, and all below its pointers, is one consistent state: the last that was synced. It is replaced as a whole, under
 *     dn_mtx, together with the removal of that txg's dirty records; dn_sync_gen counts the replacements.
 *  5. A clean dbuf without holds is freed; its buffer lives on in the ARC. A dnode without references stays in the hash
 *     and on os_lru for a while; one with references is never on os_lru.
 *  6. A dirty dnode stays in the hash until the meta dnode has been replaced (os_sync_gen), so that a look-up either finds it
 *     or reads it as it is now.
 *
 * SYNC OF AN OBJSET (dnode_sync.c). For a window of dirty dnodes together, level by level, so that zio_write() gets large batches:
 *     free ranges -> level 0 (frozen dirty buffers) -> level 1 (indirect blocks in which a pointer changed) -> ... -> dn_phys
 *     -> into the meta dnode's blocks -> the meta dnode the same way -> objset_phys -> the new root pointer
 * Each new pointer goes to oh_born, each replaced or freed one to oh_killed. The hooks must not dirty the very objset being synced.
 *
 * LOCK ORDER   zap lock (dn_zap_lock) -> os_obj_lock -> os_lock -> dn_mtx -> os_dirty_lock, txg and arc locks.  No I/O under
 * os_lock, dn_mtx or below: a dbuf being read is in state DB_READ, waiters sleep on dn_cv. Never two dn_mtx at once.
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
#define DN_BLKID_END (1ULL << 56) /* beyond any block number: a 64-bit offset over 512-byte blocks */

typedef enum dbuf_state {
    DB_UNCACHED, /* no contents */
    DB_READ,     /* some thread reads it from disk */
    DB_CACHED,   /* db_buf (the bonus: db_data) holds the contents */
    DB_PACKED    /* db_buf holds them compressed, as they are to be stored; nobody but who put it there has a hold */
} dbuf_state_t;

typedef struct dbuf {
    dmu_buf_t db; /* what users see; db_data == db_buf->b_data when cached; the bonus has malloc'ed data and no db_buf */
    dnode_t *db_dnode;
    uint64_t db_blkid;  /* or DMU_BONUS_BLKID, DMU_SPILL_BLKID */
    avl_node_t db_link; /* dn_dbufs */
    uint32_t db_holds;  /* all below: dn_mtx */
    dbuf_state_t db_state;
    arc_buf_t *db_buf;
    struct dirty_record *db_dirty[TXG_SIZE];
} dbuf_t;

/* One txg's version of one block. Immutable once its txg is quiesced. */
typedef struct dirty_record {
    dbuf_t *dr_dbuf;
    uint64_t dr_txg;
    uint64_t dr_blkid;
    arc_buf_t *dr_buf;     /* own reference */
    void *dr_bonus;        /* the bonus instead: owned unless it is still db_data */
    avl_node_t dr_link;    /* dn_dirty_dbufs[txg], by blkid */
    uint64_t dr_accounted; /* bytes told to txg_dirty_add */
} dirty_record_t;

/* The dnode itself, as the present or a txg sees it. The upper part is what happened to it within that txg. */
typedef struct dnode_shape {
    bool ds_changed;       /* there is something to sync */
    bool ds_allocated;     /* newly allocated in this txg */
    bool ds_freed;         /* freed in this txg: blocks go, slots become free */
    uint8_t ds_type, ds_bonustype, ds_checksum, ds_compress, ds_slots; /* ds_type 0: not allocated */
    uint8_t ds_nblkptr, ds_indblkshift;
    bool ds_has_spill;
    uint16_t ds_bonuslen;
    uint32_t ds_datablksz;
    uint64_t ds_maxblkid;
} dnode_shape_t;

struct dnode {
    objset_t *dn_objset;
    uint64_t dn_object;
    struct dnode *dn_hash_next;          /* os_lock */
    list_node_t dn_lru_link;             /* os_lock; on os_lru <=> no references */
    list_node_t dn_dirty_link[TXG_SIZE]; /* os_dirty_dnodes; os_dirty_lock */
    uint32_t dn_refs;                    /* atomic: holders, one per dbuf, one per dirty txg; 0 <-> 1 only under os_lock */
    krwlock_t dn_zap_lock;               /* for zap.c only */
    void *dn_user;                       /* for the owner of the object type (zap.c); NULL or freed by dn_user_free */
    void (*dn_user_free)(void *);
    kmutex_t dn_mtx;                     /* all below */
    kcondvar_t dn_cv;                    /* a dbuf left DB_READ */
    dnode_phys_t *dn_phys;               /* invariant 4; ds_slots * 512 bytes */
    uint64_t dn_sync_gen;
    dnode_shape_t dn_now;                /* the present */
    dnode_shape_t dn_shape[TXG_SIZE];    /* as of the end of each txg that changed it */
    avl_tree_t dn_dbufs;                 /* by blkid */
    avl_tree_t dn_dirty_dbufs[TXG_SIZE];
    range_tree_t *dn_free_ranges[TXG_SIZE]; /* block ids; NULL none */
    uint64_t dn_dirty_bytes;             /* accounted and not yet synced */
    uint64_t dn_ra_next, dn_ra_end;      /* read-ahead: next block of a sequential reader; prefetched up to here */
    uint64_t dn_ra_window;               /* blocks; doubles while the reader goes on */
};

#define OS_DNODE_HASH 4096
#define OS_LRU_MAX    4096 /* clean dnodes kept */
#define DNODE_DIRTY_BYTES 1024ULL /* what a dirty dnode itself counts in the dirty data */

struct objset {
    spa_t *os_spa;
    txg_state_t *os_txg;     /* NULL: read-only */
    uint64_t os_dsobj;
    struct objset_hooks os_hooks;
    uint8_t os_indblkshift;  /* of new objects; tests make it small */

    kmutex_t os_obj_lock;    /* object allocation, object.c; held over reads of the meta dnode */
    uint64_t os_obj_blk;     /* the block of dnodes now being filled ... */
    uint32_t os_obj_used;    /* ... and its slots in use; all ones: take the next block */
    uint64_t os_obj_cursor;  /* where to look for the next block */

    kmutex_t os_lock;        /* down to os_phys_buf */
    objset_props_t os_props;
    dnode_t *os_hash[OS_DNODE_HASH];
    list_t os_lru;           /* least recently used first */
    uint64_t os_lru_count;
    uint64_t os_sync_gen;    /* counts replacements of the meta dnode; invariant 6 */
    blkptr_t os_rootbp;      /* as last synced */
    arc_buf_t *os_phys_buf;  /* the root block as last synced; the syncing thread writes a copy */

    kmutex_t os_dirty_lock;  /* a leaf; down to os_zil */
    list_t os_dirty_dnodes[TXG_SIZE];
    bool os_dirty[TXG_SIZE]; /* oh_dirtied has been called */
    range_tree_t *os_pending; /* slots allocated but not yet in the synced meta dnode */
    uint64_t os_obj_freed;   /* objects freed since the last rewind of os_obj_cursor */
    uint64_t os_reserved[TXG_SIZE]; /* bytes of oh_reserve that the txg's sync gives back; see tx.c */
    bool os_zil_set[TXG_SIZE];
    zil_header_t os_zil[TXG_SIZE];

    dnode_t *os_meta_dnode;  /* constant */
    uint8_t os_copies;       /* atomic: os_props.op_copies, for use under any lock */
    uint64_t os_syncing;     /* atomic: the txg being written by objset_sync, or 0 */
};

struct dmu_tx {
    objset_t *tx_os; /* NULL in syncing context */
    txg_state_t *tx_ts;
    uint64_t tx_txg; /* 0 until assigned */
    bool tx_syncing, tx_netfree, tx_dnode_counted;
    int tx_err;           /* found while holding; assign returns it */
    uint64_t tx_space;    /* worst case of what will be written */
    uint64_t tx_reserved; /* of it, what oh_reserve granted */
    uint64_t tx_dirtied;  /* atomic: what was really dirtied, all copies */
    dmu_buf_t **tx_spills; /* held until the end */
    int tx_nspills;
};

/* ---- txg.c ---- */
int txg_hold_open(txg_state_t *ts, int how, uint64_t *txgp);
void txg_rele(txg_state_t *ts);
bool txg_is_clean(txg_state_t *ts); /* nothing changed since the last sync */

/* ---- dnode.c ---- */
/* Hold an allocated object's dnode. ENOENT; EIO/ECKSUM its block is unreadable or invalid. */
int dnode_hold(objset_t *os, uint64_t object, dnode_t **dnp);
void dnode_add_ref(dnode_t *dn); /* the caller has one already */
void dnode_rele(dnode_t *dn);    /* not under dn_mtx */
/* A dnode in memory; phys NULL: not on disk yet. Takes phys over. One reference, in no hash. */
dnode_t *dnode_new(objset_t *os, uint64_t object, dnode_phys_t *phys);
void dnode_destroy(dnode_t *dn); /* drops whatever it has, dirty or not */
/* Put a new dnode into the hash. EEXIST: some thread still holds an old dnode of that number. */
int dnode_enter(dnode_t *dn);
bool dnode_object_freed(objset_t *os, uint64_t object); /* freed in a txg that has not synced */
bool dnode_object_allocated(objset_t *os, uint64_t object); /* in memory and allocated */
/* After a change of dn_now: put the dnode on tx's txg's list and keep the shape. dn_mtx held. */
void dnode_setdirty(dnode_t *dn, dmu_tx_t *tx);
void dnode_account(dnode_t *dn, dmu_tx_t *tx, uint64_t bytes, uint64_t copies);
/* Blocks [first, last] become holes in tx's txg; no edges. dn_mtx held (waits for reads: it is given up meanwhile). */
void dnode_free_blocks(dnode_t *dn, uint64_t first, uint64_t last, dmu_tx_t *tx);
bool dnode_block_freed(dnode_t *dn, uint64_t blkid); /* dn_mtx held; invariant 3 */
void dnode_wait_reads(dnode_t *dn, uint64_t first, uint64_t last); /* until no dbuf there is in DB_READ; dn_mtx held */
bool dnode_is_dirty(dnode_t *dn);
uint8_t dnode_copies(objset_t *os, uint8_t type, int level); /* of a block */
/* Is slot i of a meta-dnode block the first of a used dnode? Steps over large dnodes and invalid ones; *next: the slot after. */
typedef struct dnode_slot {
    const dnode_phys_t *sl_dnp;
    uint32_t sl_index, sl_count; /* first slot, number of slots */
    int sl_err;                  /* EIO: an invalid dnode */
} dnode_slot_t;
bool dnode_slot_next(const void *block, uint32_t size, dnode_slot_t *sl); /* start with a zeroed sl; free slots come one by one */

/* ---- dnode_walk.c: the synced pointers ---- */
typedef struct dnode_roots { /* what a walk starts from; a copy, so that it needs no lock */
    uint8_t r_type, r_nlevels, r_nblkptr, r_indblkshift;
    uint64_t r_maxblkid, r_gen;
    uint64_t r_since; /* spa_committed_txg() when they were copied */
    blkptr_t r_bp[3];
} dnode_roots_t;
void dnode_roots(dnode_t *dn, dnode_roots_t *r);        /* takes dn_mtx */
void dnode_roots_locked(dnode_t *dn, dnode_roots_t *r); /* dn_mtx held */
bool dnode_roots_stale(dnode_t *dn, const dnode_roots_t *r); /* synced since? Then an error may be due to a reused block. */
/* After an error: is the walk to be tried again, from new roots? Also while they are of a txg not yet committed, *tries (0 at first) times. */
bool dnode_walk_again(dnode_t *dn, const dnode_roots_t *r, int *tries);
/* Read one block of an object in our byte order: level > 0 an indirect block. EIO when the pointer is of another level or size.
 * The buffer is shared: arc_buf_own() before changing it. */
int dmu_block_read(spa_t *spa, const blkptr_t *bp, const zbookmark_t *zb, uint8_t type, uint32_t indsize, int flags,
                   arc_buf_t **bufp);
/* The same of a pointer that the caller has had for a while: arc_read_since(). */
int dmu_block_read_since(spa_t *spa, const blkptr_t *bp, const zbookmark_t *zb, uint8_t type, uint32_t indsize, int flags,
                         uint64_t since, arc_buf_t **bufp);
/* The synced pointer of a level-0 block (a hole when beyond the end); reads indirect blocks. EIO/ECKSUM. */
int dnode_block_pointer(dnode_t *dn, uint64_t blkid, blkptr_t *bp);
int dnode_walk(dnode_t *dn, const dnode_roots_t *r, uint64_t blkid, blkptr_t *bp); /* one try from given roots */
/* The synced contents of a level-0 block; *bufp NULL for a hole. The same, one try: from given roots. */
int dnode_read_block(dnode_t *dn, uint64_t blkid, arc_buf_t **bufp);
int dnode_read_once(dnode_t *dn, const dnode_roots_t *r, uint64_t blkid, arc_buf_t **bufp);
typedef enum dnode_find { DN_FIND_DATA, DN_FIND_HOLE, DN_FIND_NOTFULL } dnode_find_t;
/* The first block from *blkid on that has data born after since, has none, or (meta dnode) has a free slot. ESRCH none. */
int dnode_find_next(dnode_t *dn, dnode_find_t what, uint64_t since, uint64_t *blkid);
uint64_t bp_fill(const blkptr_t *bp);
static inline uint64_t
shr64(uint64_t x, unsigned s)
{
    return s >= 64 ? 0 : x >> s;
}
static inline uint64_t
shl64_sat(uint64_t x, unsigned s)
{
    return x == 0 ? 0 : s >= 64 || x > (UINT64_MAX >> s) ? UINT64_MAX : x << s;
}
/* Levels an object needs so that maxblkid has a pointer; 0: more than DN_MAX_LEVELS. */
int dnode_levels_for(uint8_t nblkptr, uint8_t indblkshift, uint64_t maxblkid);

/* ---- dbuf.c ---- */
int dbuf_hold(dnode_t *dn, uint64_t blkid, bool read, dbuf_t **dbp);
void dbuf_rele(dbuf_t *db);
void dbuf_dirty(dbuf_t *db, dmu_tx_t *tx, bool fill);
/* buf (the caller's reference) becomes the block's contents in tx's txg, whatever its size was.
 * False, and the reference is still the caller's: it is packed, and somebody else holds the block. */
bool dbuf_replace(dbuf_t *db, arc_buf_t *buf, dmu_tx_t *tx);
/* All below: dn_mtx held. */
int dbuf_unpack(dbuf_t *db); /* PACKED -> READ -> CACHED or, EIO, back; dn_mtx is given up meanwhile. */
dbuf_t *dbuf_find(dnode_t *dn, uint64_t blkid);
dirty_record_t *dbuf_newest(dbuf_t *db);
void dbuf_undirty(dbuf_t *db, uint64_t txg);     /* drop the record, if any: the block was freed */
void dbuf_clear(dbuf_t *db);                      /* the block was freed: zeros for who holds it, else uncached */
/* Another block size. The dbufs of blocks that are holes now follow: all of them, or all but the first (dbuf_replace() it then). */
void dbuf_set_blksz(dnode_t *dn, uint32_t size, bool keep_first);
bool dbuf_reap(dbuf_t *db); /* free it if nobody needs it; true: the caller must dnode_rele() after unlocking */
dirty_record_t *dbuf_record_done(dirty_record_t *dr, uint64_t *unrefs); /* synced (or dropped): unlink; freed; counts dbufs reaped */
void dbuf_verify(dbuf_t *db); /* asserts the invariants above */

/* ---- dnode_sync.c ---- */
/* Write what the n dnodes (by object number) changed in tx's txg, then their meta dnode. */
int dnode_sync_all(objset_t *os, dnode_t **dns, uint64_t n, int pass, dmu_tx_t *tx);
int dnode_sync_root(objset_t *os, int pass, dmu_tx_t *tx);
/* A zio_prop for a block of this objset. */
void objset_zio_prop(objset_t *os, const objset_props_t *p, uint8_t type, int level, uint8_t dn_compress, zio_prop_t *zp);

/* ---- objset.c ---- */
void objset_account_reserve(objset_t *os, uint64_t txg, uint64_t bytes);

#endif
