/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dmu.h - the contract of the object layer: from blocks to objects that change in transactions.
 *
 *   dmu_read  dmu_write  dmu_free_range   zap_*  bpobj_*  space_map_*        traverse_objset
 *        |         |           |              |                                    |
 *   +----v---------v-----------v--------------v----+      txg: open -> quiescing -> syncing
 *   | objset: dnodes, each with its dbufs:         |             every change belongs to one
 *   | current contents + one dirty copy per txg    |      sync_fn(txg) is called by the txg thread;
 *   +---------------------+------------------------+      it calls objset_sync() for what is dirty
 *                         | objset_sync(): new blocks bottom-up, a new root pointer
 *   ----------------------v--------------------------------------------------------- spa.h
 *
 * An object set starts from a root block pointer and hooks; it knows no names. How to change something:
 *
 *     tx = dmu_tx_create(os);                       open context
 *     dmu_tx_hold_write(tx, object, off, len);      say everything the transaction may touch
 *     err = dmu_tx_assign(tx, DMU_TX_WAIT);         waits for room in the open txg; ENOSPC, EDQUOT, EIO: dmu_tx_abort
 *     dmu_write(os, object, off, len, data, tx);    cannot fail any more but for a read error
 *     dmu_tx_commit(tx);                            the txg may close now; txg_wait_synced() makes it durable
 *
 * Only the syncing thread changes the MOS, with a tx from dmu_tx_create_syncing().
 */
#ifndef COWBIRD_DMU_H
#define COWBIRD_DMU_H

#include "spa.h"
#include "dmu_format.h"

typedef struct objset objset_t;
typedef struct dnode dnode_t;
typedef struct dmu_tx dmu_tx_t;
typedef struct txg_state txg_state_t;

/* ---------------------------------------------------------------- txg.c: transaction groups ---- */

#define TXG_CONCURRENT_STATES 3 /* open, quiescing, syncing */
#define TXG_SIZE              4 /* slots per txg-indexed array: index is txg & TXG_MASK */
#define TXG_MASK              (TXG_SIZE - 1)
#define TXG_INITIAL           4 /* the first txg of a new pool */
#define TXG_DEFER_SIZE        2

/* Starts the quiesce and sync threads. last is the txg on disk; the open txg becomes last + 1. sync_fn makes a txg durable
 * (it calls spa_commit) and returns 0 or the error that ends all syncing. dirty_max: bytes of dirty data over which dmu_tx_assign waits;
 * timeout_ms: how long a txg with changes stays open at most. ZFS: txg_init, txg_sync_start */
typedef int (*txg_sync_fn_t)(void *arg, uint64_t txg);
/* True when a txg would have something to write although no tx dirtied anything (a pending sync task). May be NULL. */
typedef bool (*txg_pending_fn_t)(void *arg, uint64_t txg);
txg_state_t *txg_start(spa_t *spa, uint64_t last, txg_sync_fn_t sync_fn, txg_pending_fn_t pending_fn, void *arg,
                       uint64_t dirty_max, uint64_t timeout_ms);
/* Syncs everything, then until TXG_DEFER_SIZE empty txgs have passed when drain; ends the threads, frees. */
void txg_stop(txg_state_t *ts, bool drain);
uint64_t txg_last_synced(txg_state_t *ts);
uint64_t txg_open_txg(txg_state_t *ts);
uint64_t txg_syncing_txg(txg_state_t *ts); /* 0 when none */
/* Waits until txg (0: the open one as of now) is on disk. 0, or the error that suspended the pool. */
int txg_wait_synced(txg_state_t *ts, uint64_t txg);
/* Ask for the open txg to be synced soon without waiting. */
void txg_kick(txg_state_t *ts);
int txg_error(txg_state_t *ts); /* the error that ended syncing, or 0 */
/* Back-pressure bookkeeping; called by dbuf.c and by the sync. */
void txg_dirty_add(txg_state_t *ts, uint64_t txg, int64_t bytes);

/* ---------------------------------------------------------------- tx.c: transactions ---- */

#define DMU_TX_NOWAIT  0 /* EAGAIN (ERESTART) instead of waiting for room */
#define DMU_TX_WAIT    1
#define DMU_OBJECT_END (-1ULL)
#define DMU_NEW_OBJECT (-1ULL)

dmu_tx_t *dmu_tx_create(objset_t *os);
dmu_tx_t *dmu_tx_create_syncing(txg_state_t *ts, uint64_t txg); /* syncing context: assigned already */
void dmu_tx_hold_write(dmu_tx_t *tx, uint64_t object, uint64_t off, uint64_t len);
void dmu_tx_hold_free(dmu_tx_t *tx, uint64_t object, uint64_t off, uint64_t len);
void dmu_tx_hold_bonus(dmu_tx_t *tx, uint64_t object);
/* A spill block may be made, changed or freed. One that is there is read, and stays in memory as long as the tx. */
void dmu_tx_hold_spill(dmu_tx_t *tx, uint64_t object);
/* add: something may be added (else only removed or changed in place); name NULL: any number up to a few. */
void dmu_tx_hold_zap(dmu_tx_t *tx, uint64_t object, bool add, const char *name);
void dmu_tx_hold_space(dmu_tx_t *tx, uint64_t bytes);
/* The caller found a reason of its own why the transaction cannot be: assign gives it. */
void dmu_tx_hold_error(dmu_tx_t *tx, int err);
/* The transaction frees more than it writes: may go on when the pool or a quota is full (down to a reserve). */
void dmu_tx_mark_netfree(dmu_tx_t *tx);
/* Not while holding another transaction, nor a lock that others take within one: it may wait for both.
 * 0; ENOENT/EIO/ECKSUM from a hold; ENOSPC/EDQUOT from the objset's reserve hook; EIO (or the suspending error); EROFS; EAGAIN with NOWAIT. */
int dmu_tx_assign(dmu_tx_t *tx, int how);
void dmu_tx_commit(dmu_tx_t *tx);
void dmu_tx_abort(dmu_tx_t *tx); /* of a tx that is not assigned */
uint64_t dmu_tx_txg(const dmu_tx_t *tx);
bool dmu_tx_is_syncing(const dmu_tx_t *tx);

/* ---------------------------------------------------------------- objset.c: object sets ---- */

/*
 * What the layer above learns and decides. All but reserve are called by the syncing thread.
 *   born     a block was written under this objset (its root block, indirect and embedded ones too)
 *   killed   a block of an earlier state is no longer part of it (also: born earlier in this same txg).
 *            "Free now" or "on the deadlist" is the hook's choice: it calls zio_free or keeps the pointer.
 *   reserve  open context, at assign: may the tx add this many bytes? negative: the tx is over (commit or sync).
 *            netfree as in dmu_tx_mark_netfree.
 *   dirtied  open or syncing context: first change of this objset in tx's txg. It must see to it that objset_sync is called. Called
 *            under a dnode's lock: it may put the objset on a list, not call back.
 * None may dirty the objset that is being synced (a list of the MOS's own frees is to be written in the next pass).
 */
struct objset_hooks {
    void (*oh_born)(void *arg, const blkptr_t *bp, dmu_tx_t *tx);
    void (*oh_killed)(void *arg, const blkptr_t *bp, dmu_tx_t *tx);
    int (*oh_reserve)(void *arg, int64_t bytes, bool netfree, uint64_t txg);
    void (*oh_dirtied)(void *arg, uint64_t txg);
    void *oh_arg;
};

/* How an objset's new blocks are stored. The owner may change it at any time with objset_set_props. */
typedef struct objset_props {
    enum zio_compress op_compress; /* of data; metadata always gets lz4 (or lzjb where lz4 is no feature) */
    uint8_t op_complevel;
    uint8_t op_copies;             /* of data, 1..3; metadata gets one more, at least 2; the MOS 3 */
    bool op_embed;                 /* feature embedded_data */
    bool op_lz4;                   /* feature lz4_compress */
    uint32_t op_recordsize;        /* default block size of new plain files */
} objset_props_t;

/* Opens the objset under a root pointer; ts NULL: read-only. dsobj names it in errors (0: the MOS). hooks are copied.
 * EIO, ECKSUM; ENOTSUP for an objset of unknown shape. ZFS: dmu_objset_open_impl */
int objset_open(spa_t *spa, txg_state_t *ts, const blkptr_t *rootbp, uint64_t dsobj, const struct objset_hooks *hooks,
                const objset_props_t *props, objset_t **osp);
/* A new empty one; its root block is written when tx's txg syncs. ZFS: dmu_objset_create_impl */
objset_t *objset_create(spa_t *spa, txg_state_t *ts, uint64_t dsobj, dmu_objset_type_t type, const struct objset_hooks *hooks,
                        const objset_props_t *props, dmu_tx_t *tx);
/* All dnodes must be released and nothing dirty. */
void objset_close(objset_t *os);
/* Drop cached dnodes and dbufs that nobody holds (after rollback, or to save memory). */
void objset_evict(objset_t *os);
bool objset_is_dirty(objset_t *os, uint64_t txg);
/* Syncing context: write everything that tx's txg changed; *rootbp receives the new root pointer. May be called again in the
 * same txg (later passes). 0 or the write error. ZFS: dmu_objset_sync */
int objset_sync(objset_t *os, int pass, dmu_tx_t *tx, blkptr_t *rootbp);
const blkptr_t *objset_rootbp(objset_t *os); /* as last synced */
dmu_objset_type_t objset_type(objset_t *os);
uint64_t objset_dsobj(objset_t *os);
spa_t *objset_spa(objset_t *os);
txg_state_t *objset_txg_state(objset_t *os);
bool objset_readonly(objset_t *os);
void objset_get_props(objset_t *os, objset_props_t *props);
void objset_set_props(objset_t *os, const objset_props_t *props);
const zil_header_t *objset_zil_header(objset_t *os); /* as last synced; valid until the next sync */
/* The header from tx's txg on. Open or syncing context. ZFS: zil_sync */
void objset_set_zil_header(objset_t *os, const zil_header_t *zh, dmu_tx_t *tx);
uint64_t objset_nobjects(objset_t *os); /* allocated objects, as of the last sync */

/* ---------------------------------------------------------------- object.c: allocating objects ---- */

/* blksz 0: the type's default (recordsize for plain files grows from 512: see dmu_object_set_blocksize). dnodesize 0: 512.
 * ENOSPC: no number left. ZFS: dmu_object.c */
int dmu_object_alloc(objset_t *os, dmu_object_type_t type, uint32_t blksz, dmu_object_type_t bonustype, uint32_t bonuslen,
                     uint32_t dnodesize, dmu_tx_t *tx, uint64_t *objectp);
/* A given number. EEXIST in use (or its slots are), or freed in a txg that has not synced yet (txg_wait_synced helps); EINVAL. */
int dmu_object_claim(objset_t *os, uint64_t object, dmu_object_type_t type, uint32_t blksz, dmu_object_type_t bonustype,
                     uint32_t bonuslen, uint32_t dnodesize, dmu_tx_t *tx);
/* Change an existing object's type, bonus and, when it holds no data, block size. Contents stay. ENOENT, EINVAL. */
int dmu_object_reclaim(objset_t *os, uint64_t object, dmu_object_type_t type, uint32_t blksz, dmu_object_type_t bonustype,
                       uint32_t bonuslen, dmu_tx_t *tx);
/* Frees the object and all its blocks. Large objects: shrink first with dmu_free_long_range. ENOENT */
int dmu_object_free(objset_t *os, uint64_t object, dmu_tx_t *tx);
/* The next allocated object (hole: free number) after *objectp whose dnode block is newer than since. ESRCH: none. */
int dmu_object_next(objset_t *os, uint64_t *objectp, bool hole, uint64_t since);
/* Only while the object has at most one block (that is rewritten at the new size) or none. ENOTSUP otherwise. */
int dmu_object_set_blocksize(objset_t *os, uint64_t object, uint32_t blksz, dmu_tx_t *tx);
void dmu_object_set_compress(objset_t *os, uint64_t object, uint8_t compress, dmu_tx_t *tx); /* 0 inherit */
void dmu_object_set_checksum(objset_t *os, uint64_t object, uint8_t checksum, dmu_tx_t *tx);

typedef struct dmu_object_info {
    uint32_t doi_data_block_size;
    uint32_t doi_metadata_block_size;
    uint8_t doi_type, doi_bonus_type, doi_indirection, doi_checksum, doi_compress;
    uint16_t doi_bonus_size;
    uint16_t doi_bonus_max; /* what fits; a spill block takes 128 bytes of it */
    uint32_t doi_dnodesize;
    uint64_t doi_physical_blocks_512; /* as of the last sync, dirty data added in estimate */
    uint64_t doi_max_offset;          /* (maxblkid + 1) * block size; 0 when there is no block */
    uint64_t doi_fill_count;
    bool doi_has_spill;
} dmu_object_info_t;
int dmu_object_info(objset_t *os, uint64_t object, dmu_object_info_t *doi); /* ENOENT */

/* ---------------------------------------------------------------- dmu.c: contents ---- */

/* Bytes beyond the last block and in holes read as zeros. 0, EIO, ECKSUM, ENOENT (no such object). */
int dmu_read(objset_t *os, uint64_t object, uint64_t off, uint64_t len, void *buf);
/* The tx must hold [off, off+len). A write over whole blocks reads nothing. EIO, ECKSUM: nothing was changed; EFBIG: beyond 2^63. */
int dmu_write(objset_t *os, uint64_t object, uint64_t off, uint64_t len, const void *buf, dmu_tx_t *tx);
/* The same with a buffer, plain or packed. If it is a whole block it becomes the block itself: the caller may do nothing more with it but
 * release it. A packed one is stored as it is where that may be, else unpacked; EINVAL: it does not unpack. */
int dmu_assign_arcbuf(objset_t *os, uint64_t object, uint64_t off, arc_buf_t *buf, dmu_tx_t *tx);
/* Whole blocks become holes, edges are zeroed; len DMU_OBJECT_END: to the end, maxblkid shrinks. */
int dmu_free_range(objset_t *os, uint64_t object, uint64_t off, uint64_t len, dmu_tx_t *tx);
/* The same in transactions of its own, bounded each (so not within one). May be interrupted half way by an error. */
int dmu_free_long_range(objset_t *os, uint64_t object, uint64_t off, uint64_t len);
/* Where the block with byte off lies, as of the last sync (a hole: nowhere), and its bookmark. EIO, ECKSUM, ENOENT */
int dmu_block_pointer(objset_t *os, uint64_t object, uint64_t off, blkptr_t *bp, zbookmark_t *zb);
void dmu_prefetch(objset_t *os, uint64_t object, uint64_t off, uint64_t len);
/* SEEK_HOLE / SEEK_DATA over synced and dirty state (a dirty object is synced first: not within a transaction). Data: ESRCH when
 * there is none from *off on. Hole: what follows the last block counts as one. ZFS: dmu_offset_next */
int dmu_offset_next(objset_t *os, uint64_t object, bool hole, uint64_t *off);

/* A held piece of an object: a block, the bonus or the spill block. */
typedef struct dmu_buf {
    uint64_t db_object;
    uint64_t db_offset; /* bytes; DMU_BONUS/SPILL: not meaningful */
    uint64_t db_size;   /* of the block, or of the bonus */
    void *db_data;      /* may change in dmu_buf_will_dirty: read it again after; users serialise by their own lock */
} dmu_buf_t;

int dmu_buf_hold(objset_t *os, uint64_t object, uint64_t off, dmu_buf_t **dbp); /* reads it */
int dmu_bonus_hold(objset_t *os, uint64_t object, dmu_buf_t **dbp);
/* create: make a spill block of size bytes where there is none (tx needed). ENOENT: none and !create. */
int dmu_spill_hold(objset_t *os, uint64_t object, dmu_buf_t **dbp);
int dmu_spill_create(objset_t *os, uint64_t object, uint32_t size, dmu_tx_t *tx, dmu_buf_t **dbp); /* or resize: contents zeroed */
int dmu_spill_remove(objset_t *os, uint64_t object, dmu_tx_t *tx);
void dmu_buf_will_dirty(dmu_buf_t *db, dmu_tx_t *tx);
/* The caller overwrites every byte: nothing is read or copied. */
void dmu_buf_will_fill(dmu_buf_t *db, dmu_tx_t *tx);
void dmu_buf_rele(dmu_buf_t *db);
int dmu_set_bonus(dmu_buf_t *bonus, uint16_t newlen, uint8_t newtype, dmu_tx_t *tx);

/* ---------------------------------------------------------------- traverse.c: blocks by birth ---- */

#define TRAVERSE_PRE      1  /* call before what is below */
#define TRAVERSE_POST     2  /* call after; PRE and POST may both be given */
#define TRAVERSE_PREFETCH 4  /* read ahead data as well as metadata */
#define TRAVERSE_HARD     8  /* go on after an unreadable block (the callback saw it with err set) */
#define TRAVERSE_RESUME_POST 16 /* resume is where a post call stopped: all below that block was visited */
#define TRAVERSE_SKIP_BELOW (-1) /* a callback's answer: not into this subtree */

typedef struct traverse_block {
    zbookmark_t tb_zb;         /* level -1: the objset's root block */
    const blkptr_t *tb_bp;     /* a hole is reported with its level: the span it stands for */
    const dnode_phys_t *tb_dnp; /* the dnode the block belongs to; NULL for the root block */
    int tb_err;                /* unreadable: what is below is not visited (only with TRAVERSE_HARD) */
    bool tb_post;
} traverse_block_t;
typedef int (*traverse_cb_t)(void *arg, const traverse_block_t *tb);
typedef struct traverse_stats {
    uint64_t ts_visited;    /* pointers looked at that were new enough (or holes) */
    uint64_t ts_read;       /* metadata blocks read */
    uint64_t ts_read_bytes;
} traverse_stats_t;

/*
 * Every block of the objset under rootbp born after since, in the order of (object, level-0 block, outer before inner, spill last).
 *   a dnode       has a call of its own before its blocks, whatever flags say: bookmark (object, ZB_DNODE_LEVEL, 0), tb_bp the
 *                 pointer of the block it stands in; for every used slot of each *new* block of dnodes
 *   free slots    likewise, once per run: dn_type 0, blkid = number of slots
 *   a hole        one call (post only when PRE is not asked for), not beyond the object's last block
 *   unreadable    with TRAVERSE_HARD the block's (or dnode's) own calls have tb_err set; without it the error ends the walk
 * Blocks born at or before since are passed over unread. resume (may be NULL): calls before that bookmark, which may be any a call
 * had, are left out. The accounting dnodes come last, as objects 2^64-3 (project) .. 2^64-1 (user); callers can skip them.
 * ZIL blocks are not visited. EINVAL: neither PRE nor POST. ZFS: dmu_traverse.c
 */
#define ZB_DNODE_LEVEL (-2LL)
int traverse_objset(spa_t *spa, const blkptr_t *rootbp, uint64_t dsobj, uint64_t since, int flags, const zbookmark_t *resume,
                    traverse_cb_t cb, void *arg, traverse_stats_t *stats);

/* ---------------------------------------------------------------- bpobj.c: lists of block pointers, as objects ---- */

/* What cannot be undone suspends the pool when it fails (a block of the list is unreadable): calls without a result. */
typedef struct bpobj bpobj_t;
typedef int (*bpobj_cb_t)(void *arg, const blkptr_t *bp, dmu_tx_t *tx);

uint64_t bpobj_alloc(objset_t *mos, dmu_tx_t *tx);
void bpobj_free(objset_t *mos, uint64_t object, dmu_tx_t *tx); /* with all sub-objects; the blocks listed are not freed */
int bpobj_open(objset_t *mos, uint64_t object, bpobj_t **bpop);
void bpobj_close(bpobj_t *bpo);
bool bpobj_is_empty(bpobj_t *bpo);
void bpobj_enqueue(bpobj_t *bpo, const blkptr_t *bp, dmu_tx_t *tx);
void bpobj_enqueue_subobj(bpobj_t *bpo, uint64_t subobj, dmu_tx_t *tx); /* O(1): takes it over; a small one is copied and freed */
int bpobj_iterate(bpobj_t *bpo, bpobj_cb_t cb, void *arg, dmu_tx_t *tx);      /* consumes entries as cb returns 0 */
/* After bpobj_iterate() has met a piece it cannot read: that piece is forgotten (its blocks stay allocated). False: there was none. */
bool bpobj_drop_unreadable(bpobj_t *bpo, dmu_tx_t *tx);
int bpobj_iterate_nofree(bpobj_t *bpo, bpobj_cb_t cb, void *arg);           /* cb's tx is NULL; it must not use bpo itself */
int bpobj_space(bpobj_t *bpo, uint64_t *used, uint64_t *comp, uint64_t *uncomp);
/* Of blocks born in (mintxg, maxtxg]; walks the list. */
int bpobj_space_range(bpobj_t *bpo, uint64_t mintxg, uint64_t maxtxg, uint64_t *used, uint64_t *comp, uint64_t *uncomp);

/* ---------------------------------------------------------------- space_map.c: allocation logs ---- */

typedef struct space_map space_map_t;
uint64_t space_map_alloc(objset_t *mos, dmu_tx_t *tx);
void space_map_free(objset_t *mos, uint64_t object, dmu_tx_t *tx);
/* start..size: the metaslab, bytes; shift: log2 of the unit. EIO when header and object disagree. */
int space_map_open(objset_t *mos, uint64_t object, uint64_t start, uint64_t size, uint8_t shift, space_map_t **smp);
void space_map_close(space_map_t *sm);
uint64_t space_map_length(space_map_t *sm);
int64_t space_map_allocated(space_map_t *sm);
/* Replay in order; offsets from the metaslab's start. cb's error ends it. EIO malformed entry. */
int space_map_iterate(space_map_t *sm, int (*cb)(void *arg, bool alloc, uint64_t offset, uint64_t size), void *arg);
void space_map_write(space_map_t *sm, range_tree_t *rt, bool alloc, dmu_tx_t *tx);
void space_map_truncate(space_map_t *sm, dmu_tx_t *tx); /* empty log, for rewriting it shorter */
/* True when rewriting the log from n segments would save enough to be worth it. */
bool space_map_should_condense(space_map_t *sm, uint64_t nsegs);

#endif
