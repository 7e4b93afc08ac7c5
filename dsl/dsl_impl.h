/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dsl_impl.h - inside the dataset layer: pools, directories and datasets in memory, and the pieces sync tasks are made of.
 *
 * THE IDEA. Every *_phys struct lives as a copy in memory, guarded by its object's lock. The syncing thread marks it dirty
 * and writes it back into its bonus buffer once per pass. So open context reads numbers without touching a MOS buffer.
 *
 * INVARIANTS
 *  1. Only the syncing thread changes the MOS. What open context reads of it (names, properties, phys structs, features) changes
 *     only while the syncing thread holds dp_config_lock for writing; so a reader under the lock sees no half-made change.
 *     Deadlists' block lists, free_bpobj and space maps change without the lock: open context reads none of them but the sums of
 *     deadlists, through the one dsl_deadlist that the dataset has in memory, which has a lock for them.
 *  2. A dataset or directory whose phys is dirty, or whose objset is dirty in some txg, is held: its memory cannot go
 *     before it is written.
 *  3. There is at most one dsl_dataset / dsl_dir in dp_datasets / dp_dirs per object; one with refs 0 is on neither.
 *  4. After a txg: used bytes of the root directory = allocated bytes of the pool + unfilled reservations. Each directory: used = sum of its breakdown.
 *
 * LOCK ORDER   dp_config_lock -> ds_opening -> dp_lock -> ds_lock -> dl_lock -> dd_lock (child before parent) -> all in dmu
 *
 * pool_sync(txg), the syncing thread's whole work (pool_sync.c):
 *     1. dirty datasets: objset_sync -> new ds_bp; births and kills go to the accounts and deadlists
 *     2. config lock for writing: sync tasks queued for this txg, then what they made dirty, phys structs written back
 *     3. until the MOS is clean:  append what was allocated and freed to the space maps (which dirties the MOS), objset_sync(MOS),
 *        its own births and kills accounted to $MOS
 *     4. spa_commit()  <- the new state is the pool's state
 *     5. metaslab_sync_done()
 * Frees go to the space maps of the same txg, but space returns to the allocator two txgs later; sync_bplist stays empty (ZFS defers
 * frees from pass 2 on to converge; here rewriting in place is enough).
 */
#ifndef COWBIRD_DSL_IMPL_H
#define COWBIRD_DSL_IMPL_H

#include <syslog.h>
#include "dsl.h"

typedef struct dsl_deadlist dsl_deadlist_t;
typedef struct dsl_task dsl_task_t;

/* ---------------------------------------------------------------- deadlist.c ----
 * the blocks a dataset gave up that earlier snapshots hold, in buckets by birth
 *
 *   keys   0        67           107              bucket k holds births in (k, next k]
 *          |--------|-------------|------>
 */
uint64_t dsl_deadlist_alloc(dsl_pool_t *dp, dmu_tx_t *tx);
void dsl_deadlist_free(dsl_pool_t *dp, uint64_t dlobj, dmu_tx_t *tx); /* with its bpobjs; the blocks listed stay */
int dsl_deadlist_open(dsl_pool_t *dp, uint64_t dlobj, dsl_deadlist_t **dlp);
dsl_deadlist_t *dsl_deadlist_none(dsl_pool_t *dp); /* an empty one without an object, for a txg that will not be committed */
void dsl_deadlist_close(dsl_deadlist_t *dl); /* must be written back: dsl_deadlist_sync */
void dsl_deadlist_sync(dsl_deadlist_t *dl, dmu_tx_t *tx); /* the header to its bonus, when changed */
void dsl_deadlist_insert(dsl_deadlist_t *dl, const blkptr_t *bp, dmu_tx_t *tx);
void dsl_deadlist_add_key(dsl_deadlist_t *dl, uint64_t mintxg, dmu_tx_t *tx);
void dsl_deadlist_remove_key(dsl_deadlist_t *dl, uint64_t mintxg, dmu_tx_t *tx); /* merged into the key below; none: nothing */
/* A new deadlist with dl's keys below maxtxg, all empty. */
uint64_t dsl_deadlist_clone(dsl_deadlist_t *dl, uint64_t maxtxg, dmu_tx_t *tx);
void dsl_deadlist_space(dsl_deadlist_t *dl, uint64_t *used, uint64_t *comp, uint64_t *uncomp);
/* Of the buckets with mintxg <= key < maxtxg; both must be keys or beyond the last. From any thread, config lock held. */
int dsl_deadlist_space_range(dsl_deadlist_t *dl, uint64_t mintxg, uint64_t maxtxg, uint64_t *used, uint64_t *comp, uint64_t *uncomp);
void dsl_deadlist_merge(dsl_deadlist_t *dl, uint64_t otherobj, dmu_tx_t *tx); /* other is freed */
/* Buckets with key >= mintxg move whole onto bpo. */
void dsl_deadlist_move_bpobj(dsl_deadlist_t *dl, bpobj_t *bpo, uint64_t mintxg, dmu_tx_t *tx);
/* Every block listed. cb's error ends it. */
int dsl_deadlist_walk(dsl_deadlist_t *dl, int (*cb)(void *arg, uint64_t key, const blkptr_t *bp), void *arg);
uint64_t dsl_deadlist_next_key(dsl_deadlist_t *dl, uint64_t key); /* the upper bound of key's bucket; UINT64_MAX the last */
int dsl_deadlist_verify(dsl_pool_t *dp, uint64_t dlobj); /* can it and all its bpobjs be opened? EIO, ECKSUM */
int dsl_deadlist_verify_from(dsl_pool_t *dp, uint64_t dlobj, uint64_t mintxg); /* the buckets with keys >= mintxg */
/* Its used bytes without opening it; old formats too. */
int dsl_deadlist_obj_used(dsl_pool_t *dp, uint64_t dlobj, uint64_t *used);

/* ---------------------------------------------------------------- the things in memory ---- */

struct dsl_dir {
    dsl_pool_t *dd_pool;
    uint64_t dd_object;
    dsl_dir_t *dd_parent;          /* held; NULL: the root; a rename changes it: dp_lock and dp_config_lock */
    char dd_name[ZFS_MAX_DATASET_NAME_LEN]; /* last component; dp_lock */
    uint32_t dd_refs;              /* dp_lock */
    list_node_t dd_link;           /* dp_dirs; dp_lock */
    list_node_t dd_dirty_link;     /* dp_dirty_dirs; syncing thread; holds a ref */
    uint64_t dd_origin_txg;        /* blocks born later are this dir's own; constant but for promote */
    kmutex_t dd_lock;              /* below */
    dsl_dir_phys_t dd_phys;
    int64_t dd_reserved_tx[TXG_SIZE]; /* bytes promised to transactions of each txg, this dir and below */
};

#define DS_FEATURE_LARGE_BLOCKS 1
#define DS_FEATURE_LARGE_DNODE  2
#define DS_FEATURE_ZSTD         4
#define DS_FEATURE_LONGNAME     8
#define DS_FEATURE_MICROZAP     16 /* large ones */
#define DS_FEATURE_REDACTED     32 /* its values: guids of the snapshots that tell what was left out */
#define DS_FEATURE_NUM          6

struct dsl_dataset {
    dsl_pool_t *ds_pool;
    uint64_t ds_object;
    bool ds_snapshot;              /* constant */
    dsl_dir_t *ds_dir;             /* held; constant for a head; a promoted snapshot's changes: dp_lock and dp_config_lock */
    char ds_snapname[ZFS_MAX_DATASET_NAME_LEN]; /* empty for a head; dp_lock */
    uint32_t ds_refs;              /* dp_lock */
    uint32_t ds_long_holds;        /* dp_lock */
    const void *ds_owner;          /* dp_lock */
    bool ds_dead;                  /* destroyed, its object is gone; dp_lock */
    list_node_t ds_link;           /* dp_datasets; dp_lock */
    list_node_t ds_dirty_link[TXG_SIZE]; /* dp_dirty_datasets; dp_lock; holds a ref */
    list_node_t ds_phys_link;      /* dp_dirty_phys; syncing thread; holds a ref */
    dsl_dataset_t *ds_prev;        /* held, head only: its latest snapshot, or origin; syncing thread, dp_config_lock */
    kmutex_t ds_opening;           /* opening or replacing ds_objset */
    objset_t *ds_objset;
    dsl_deadlist_t *ds_deadlist;   /* opened when needed; set under ds_lock, cleared under the config lock too */
    uint64_t ds_refquota, ds_refreserv; /* bytes, from the properties (quota.c); changed with ds_lock held */
    uint32_t ds_features;          /* DS_FEATURE_*: keys on the object; syncing thread, dp_config_lock */
    uint32_t ds_features_wanted;   /* atomic: keys to be added at the next sync */
    kmutex_t ds_lock;              /* below */
    dsl_dataset_phys_t ds_phys;
    int64_t ds_reserved_tx[TXG_SIZE];
};

struct dsl_pool {
    spa_t *dp_spa;
    objset_t *dp_mos;
    txg_state_t *dp_txg;           /* NULL: read-only */
    krwlock_t dp_config_lock;
    dsl_dir_t *dp_root_dir, *dp_mos_dir, *dp_free_dir; /* held; the last two may be NULL when read-only */
    uint64_t dp_origin_snap_obj;   /* $ORIGIN@$ORIGIN */
    uint64_t dp_features_obj[2];   /* features_for_read, _write; 0: an old pool */
    uint64_t dp_feature_desc_obj;
    uint64_t dp_config_obj;
    const dsl_pool_create_args_t *dp_create; /* while being created */
    uint64_t dp_empty_bpobj;       /* what empty buckets of deadlists name; 0: none yet; dp_config_lock */
    bool dp_lz4, dp_embed;         /* features lz4_compress, embedded_data; constant */

    /* syncing thread */
    bpobj_t *dp_free_bpobj;        /* blocks of destroyed snapshots, freed over the next txgs */
    uint64_t dp_bptree_obj;        /* trees of destroyed file systems, freed likewise; 0: none */
    _Atomic uint64_t dp_free_max;          /* blocks freed so per txg */
    _Atomic uint64_t dp_destroy_now;       /* a file system with fewer blocks is freed in the txg of its destroy */
    bpobj_t *dp_sync_bpobj;        /* left by other software; emptied in our first txg */
    space_map_t **dp_space_maps;   /* per metaslab, NULL: never used */
    uint64_t dp_metaslab_array;
    int64_t dp_mos_delta[3];       /* used, compressed, uncompressed: births less kills of the MOS, not yet accounted */
    list_t dp_dirty_dirs, dp_dirty_phys;
    bool dp_config_changed;        /* the MOS's config object must be rewritten */
    int dp_max_pass;               /* most passes a txg took; statistics */

    kmutex_t dp_lock;
    list_t dp_dirs, dp_datasets;   /* all in memory */
    list_t dp_dirty_datasets[TXG_SIZE];
    list_t dp_sync_tasks[TXG_SIZE];
    bool dp_want_txg;              /* there is work for a txg that no transaction brings (free_bpobj) */
    int64_t dp_reserved_tx[TXG_SIZE]; /* bytes promised to transactions of each txg */
    void (*dp_prop_listener)(void *arg);
    void *dp_prop_listener_arg;
    dsl_scan_progress_t dp_scan;   /* the last or running scrub; dp_lock */
    dsl_suspend_ops_t dp_suspend;  /* dp_lock */
};

/* ---------------------------------------------------------------- pool.c, pool_sync.c ---- */

int pool_sync(void *arg, uint64_t txg);
bool pool_pending(void *arg, uint64_t txg);
void pool_create_sync(void *arg, dmu_tx_t *tx); /* pool_create.c: the first state of a pool */
int pool_load_space_maps(dsl_pool_t *dp); /* space_maps.c */
void pool_close_space_maps(dsl_pool_t *dp);
void pool_sync_space_maps(dsl_pool_t *dp, int pass, dmu_tx_t *tx);
int pool_open_dirs(dsl_pool_t *dp);
void pool_mos_props(dsl_pool_t *dp, objset_props_t *op);
const struct objset_hooks *pool_mos_hooks(dsl_pool_t *dp);
objset_t *pool_mos(dsl_pool_t *dp);
uint64_t pool_slop(dsl_pool_t *dp);
/* Bytes a pool without slop (half of it with reserve) would hold. */
uint64_t pool_capacity(dsl_pool_t *dp, bool reserve);
dsl_task_t *dsl_task_next(dsl_pool_t *dp, uint64_t txg);
void dsl_task_run(dsl_pool_t *dp, dsl_task_t *task, uint64_t txg);
void dsl_task_enqueue(dsl_pool_t *dp, dsl_syncfunc_t sync, void *arg, uint64_t txg);

/* ---------------------------------------------------------------- free.c, bptree.c: syncing thread ---- */

int pool_free_some(dsl_pool_t *dp, dmu_tx_t *tx);    /* a txg's worth of what is to be freed */
void pool_free_finish(dsl_pool_t *dp, dmu_tx_t *tx); /* config lock held for writing */
bool pool_free_pending(dsl_pool_t *dp);
void pool_leak(dsl_pool_t *dp, dsl_dir_t *from, dmu_tx_t *tx); /* all that from has becomes $LEAK's; config lock for writing */

typedef struct bptree_sums {
    int64_t bs_used, bs_comp, bs_uncomp;
} bptree_sums_t;
int bptree_open(dsl_pool_t *dp); /* dp_bptree_obj; EIO */
void bptree_add(dsl_pool_t *dp, const blkptr_t *bp, uint64_t birth_txg, uint64_t used, uint64_t comp, uint64_t uncomp, dmu_tx_t *tx);
/* cb frees a block and counts it in *freed (part of arg), or answers EAGAIN: enough for this txg. */
int bptree_free_some(dsl_pool_t *dp, int (*cb)(void *arg, const blkptr_t *bp), bptree_sums_t *freed, void *arg, dmu_tx_t *tx);
bool bptree_is_empty(dsl_pool_t *dp);
void bptree_destroy(dsl_pool_t *dp, dmu_tx_t *tx); /* the empty object; config lock held for writing */
/* Every block that is still to be freed; nothing may be syncing. *bt: the header. */
int bptree_walk(dsl_pool_t *dp, int (*cb)(void *arg, const blkptr_t *bp), void *arg, bptree_phys_t *bt);

/* ---------------------------------------------------------------- empty_bpobj.c: syncing thread, config lock held for writing ---- */

int empty_bpobj_open(dsl_pool_t *dp);  /* dp_empty_bpobj; EIO */
int empty_bpobj_check(dsl_pool_t *dp); /* is it there while it must be, and empty? EIO, ECKSUM */
/* n references more. Returns the object; 0: the pool does not have the feature, each bucket needs a bpobj of its own. */
uint64_t empty_bpobj_hold(dsl_pool_t *dp, uint64_t n, dmu_tx_t *tx);
void empty_bpobj_rele(dsl_pool_t *dp, uint64_t n, dmu_tx_t *tx); /* the last frees it */

/* ---------------------------------------------------------------- feature.c ---- */

int feature_check_open(dsl_pool_t *dp, bool writing); /* ENOTSUP */
void feature_create_zaps(dsl_pool_t *dp, bool compat, dmu_tx_t *tx);
int feature_get(dsl_pool_t *dp, const char *guid, uint64_t *count); /* ENOENT not enabled */
void feature_add(dsl_pool_t *dp, const char *guid, int64_t delta, dmu_tx_t *tx);
bool feature_enabled(dsl_pool_t *dp, const char *guid);
uint32_t feature_ds_load(dsl_pool_t *dp, uint64_t dsobj);        /* DS_FEATURE_* keys of a dataset object */
void feature_ds_set(dsl_pool_t *dp, uint64_t dsobj, uint32_t features, dmu_tx_t *tx);   /* add keys and count them */
/* The same keys as another dataset object has, with their values. */
void feature_ds_copy(dsl_pool_t *dp, uint64_t from, uint64_t to, uint32_t features, dmu_tx_t *tx);
#define DS_FEATURE_VALUES DSL_REDACT_MAX
/* The values of a key (at most DS_FEATURE_VALUES): 0 for most. ENOENT: dsobj has no such key. Setting: after feature_ds_set. */
int feature_ds_values(dsl_pool_t *dp, uint64_t dsobj, uint32_t feature, uint64_t *v, uint64_t *n);
void feature_ds_set_values(dsl_pool_t *dp, uint64_t dsobj, uint32_t feature, const uint64_t *v, uint64_t n, dmu_tx_t *tx);
void feature_ds_clear(dsl_pool_t *dp, uint64_t dsobj, uint32_t features, dmu_tx_t *tx); /* the reverse; zapified stays */
/* A dataset or directory object becomes a ZAP beside its bonus, for named values of its own (zap_* with that object); counted. */
void feature_zapify(dsl_pool_t *dp, uint64_t object, dmu_tx_t *tx);
bool feature_is_zapified(dsl_pool_t *dp, uint64_t object);
/* Free a dataset or directory object, with its zapified keys. */
void feature_free_object(dsl_pool_t *dp, uint64_t object, dmu_tx_t *tx);
/* Something is about to be written under ds that needs a feature (DS_FEATURE_*): called from any thread before the tx commits. */
void dsl_dataset_want_feature(dsl_dataset_t *ds, uint32_t feature);
/* The bit for guid, 0 when it is no per-dataset feature of ours. */
uint32_t feature_ds_bit(const char *guid);

int feature_check_use(dsl_pool_t *dp, const char *guid); /* ENOTSUP: the pool cannot have it; EIO */

/* ---------------------------------------------------------------- dir.c: config lock held ---- */

/* The directory of "pool/a/b[@snap]". With tail: the deepest existing one; *tail points at the missing component, or NULL. */
int dsl_dir_hold(dsl_pool_t *dp, const char *name, const void *tag, dsl_dir_t **ddp, const char **tail);
int dsl_dir_hold_obj(dsl_pool_t *dp, uint64_t ddobj, const void *tag, dsl_dir_t **ddp);
void dsl_dir_rele(dsl_dir_t *dd, const void *tag);
void dsl_dir_name(dsl_dir_t *dd, char *name); /* ZFS_MAX_DATASET_NAME_LEN bytes; no lock needed */
void dsl_dir_name_locked(dsl_dir_t *dd, char *name); /* dp_lock held */
void dsl_dir_will_dirty(dsl_dir_t *dd, dmu_tx_t *tx); /* syncing thread, before changing dd_phys */
void dsl_dir_set(dsl_dir_t *dd, uint64_t *field, uint64_t value, dmu_tx_t *tx); /* will_dirty, one field of dd_phys */
uint64_t dsl_dir_create_sync(dsl_pool_t *dp, dsl_dir_t *parent, const char *name, dmu_tx_t *tx); /* parent NULL: the root */
void dsl_dir_destroy_sync(uint64_t ddobj, dsl_pool_t *dp, dmu_tx_t *tx); /* empty of everything */
/* Space born (or gone, negative) in dd: to its breakdown and up the chain, with reservations. ZFS: same names */
void dsl_dir_diduse_space(dsl_dir_t *dd, dd_used_t type, int64_t used, int64_t comp, int64_t uncomp, dmu_tx_t *tx);
void dsl_dir_transfer_space(dsl_dir_t *dd, int64_t delta, dd_used_t from, dd_used_t to, dmu_tx_t *tx);
/* Bytes that could still be written below dd. */
uint64_t dsl_dir_available(dsl_dir_t *dd, bool netfree);
/* May bytes that are in from's accounts go to to's? EDQUOT a quota above to; ENOSPC. ZFS: dsl_dir_transfer_possible */
int dsl_dir_transfer_possible(dsl_dir_t *from, dsl_dir_t *to, uint64_t bytes);
/* dp_lock held. Quotas up the chain: EDQUOT, EAGAIN. credit: so much of dd's used bytes is a refreservation the bytes may fill. */
int dsl_dir_reserve(dsl_dir_t *dd, uint64_t bytes, uint64_t credit, bool netfree, uint64_t txg);
void dsl_dir_unreserve(dsl_dir_t *dd, uint64_t bytes, uint64_t txg);
void dsl_dir_undirty(dsl_dir_t *dd);
bool dsl_dir_is_clone(dsl_dir_t *dd);
/* Reading the MOS: the name that has this value in a ZAP (ZFS_MAX_DATASET_NAME_LEN bytes; ENOENT); a bonus of the given type. */
int mos_name_of(dsl_pool_t *dp, uint64_t zapobj, uint64_t value, char *name);
/*
 * Steps of sync tasks that only damage can make fail, damage that their check has not seen: the pool is suspended, so that the txg never
 * becomes its state; what the task still does in memory does not matter. False: it failed.
 */
bool mos_must(dsl_pool_t *dp, int err);
bool mos_bonus_for_sync(dsl_pool_t *dp, uint64_t object, dmu_buf_t **dbp);
int mos_read_bonus(dsl_pool_t *dp, uint64_t object, uint8_t type, void *out, size_t n);
void dsl_dir_sync(dsl_dir_t *dd, dmu_tx_t *tx); /* phys to its bonus */
int dsl_dir_count_children(dsl_dir_t *dd, uint64_t *n);

/* ---------------------------------------------------------------- dataset.c: config lock held ---- */

int dsl_dataset_hold_locked(dsl_pool_t *dp, const char *name, const void *tag, dsl_dataset_t **dsp);
int dsl_dataset_hold_obj_locked(dsl_pool_t *dp, uint64_t dsobj, const void *tag, dsl_dataset_t **dsp);
int dsl_dataset_own_locked(dsl_pool_t *dp, const char *name, bool inconsistent_ok, const void *tag, dsl_dataset_t **dsp);
bool dsl_dataset_tryown(dsl_dataset_t *ds, const void *tag); /* of a held one; disown drops owner and hold */
int dsl_dataset_objset_locked(dsl_dataset_t *ds, objset_t **osp);
void dsl_dataset_add_ref(dsl_dataset_t *ds);
void dsl_dataset_will_dirty(dsl_dataset_t *ds, dmu_tx_t *tx); /* syncing thread, before changing ds_phys */
void dsl_dataset_set(dsl_dataset_t *ds, uint64_t *field, uint64_t value, dmu_tx_t *tx); /* will_dirty, one field of ds_phys */
dsl_deadlist_t *dsl_dataset_deadlist(dsl_dataset_t *ds);      /* syncing thread: open it if need be. Unreadable: the pool is suspended, this one empty */
int dsl_dataset_open_deadlist(dsl_dataset_t *ds, dsl_deadlist_t **dlp); /* the same, from any thread; EIO, ECKSUM */
void dsl_dataset_close_deadlist(dsl_dataset_t *ds, dmu_tx_t *tx);
void dsl_dataset_sync_phys(dsl_dataset_t *ds, dmu_tx_t *tx);
void dsl_dataset_update_props(dsl_dataset_t *ds); /* properties again, onto the open objset; config lock held */
void dsl_dataset_evict_objset(dsl_dataset_t *ds);
void dsl_dataset_set_dead(dsl_dataset_t *ds); /* its object is about to go: forget changes, be found no more */
void dsl_dataset_move_sync(dsl_dataset_t *ds, dsl_dir_t *dd, dmu_tx_t *tx); /* a snapshot to another directory */
void dsl_dataset_hold_prev(dsl_dataset_t *ds); /* syncing thread: ds_prev follows ds_prev_snap_obj */
void dsl_dataset_objset_props(dsl_dataset_t *ds, objset_props_t *op);
int dsl_dataset_snap_lookup(dsl_dataset_t *head, const char *snap, uint64_t *dsobj); /* ENOENT */
int dsl_dataset_snapname(dsl_dataset_t *ds, char *snap); /* of a snapshot */
int dsl_dataset_count_holds(dsl_dataset_t *ds, uint64_t *n); /* hold.c */
int dsl_dataset_count_snapshots(dsl_dataset_t *head, uint64_t *n);
bool dsl_dataset_modified_since(dsl_dataset_t *ds, dsl_dataset_t *snap);
/* Is earlier a snapshot before later, in the same file system or among its origins? */
bool dsl_dataset_is_before(dsl_dataset_t *later, dsl_dataset_t *earlier);
/* ZAP sets used both ways: in hex, as ZFS writes them. */
void dsl_dataset_remove_from_next_clones(dsl_dataset_t *origin, uint64_t dsobj, dmu_tx_t *tx);

/* ---------------------------------------------------------------- suspend.c: no locks held ---- */

#define RECV_HIDDEN_RESUMABLE "%recv" /* a head's hidden child that can be resumed is where OpenZFS looks for it */

/* Own a held head, out of the hands of the mount if need be (*lent). EBUSY. Give back with the same tag and *lent. */
int dsl_dataset_borrow(dsl_dataset_t *ds, const void *tag, bool *lent);
void dsl_dataset_give_back(dsl_dataset_t *ds, const void *tag, bool lent);

/* ---------------------------------------------------------------- bookmark.c: config lock held ---- */

/* EXDEV: later (may be NULL) is no later state of the bookmark's file system. */
int dsl_bookmark_lookup(dsl_pool_t *dp, const char *name, dsl_dataset_t *later, dsl_bookmark_t *bm);
bool dsl_dataset_is_before_txg(dsl_dataset_t *later, dsl_dataset_t *head, uint64_t txg);
int dsl_bookmarks_check_rollback(dsl_dataset_t *head, uint64_t txg); /* EEXIST: there is a younger one */
void dsl_bookmarks_destroy_all(dsl_dataset_t *head, dmu_tx_t *tx); /* they go with the file system */
uint64_t dsl_bookmarks_obj(dsl_pool_t *dp, uint64_t dsobj);        /* the ZAP; 0: none */

/* ---------------------------------------------------------------- account.c: births and kills ---- */

void dsl_dataset_hooks(dsl_dataset_t *ds, struct objset_hooks *h);
void dsl_dataset_block_born(dsl_dataset_t *ds, const blkptr_t *bp, dmu_tx_t *tx);
void dsl_dataset_block_kill(dsl_dataset_t *ds, const blkptr_t *bp, dmu_tx_t *tx);
void dsl_dataset_dirtied(dsl_dataset_t *ds, uint64_t txg);
/* Is there room for bytes below dd? 0; ENOSPC; EAGAIN: after a txg or two there may be. dp_lock held. */
int account_check(dsl_dir_t *dd, uint64_t bytes, uint64_t credit, bool netfree);
void account_txg_done(dsl_pool_t *dp, uint64_t txg); /* txg has synced: its promises are kept */

/* ---------------------------------------------------------------- pieces of sync tasks: config lock held for writing ---- */

/* create.c. A new head under parent, as a clone of origin (NULL: an empty one). Returns its dataset object. 0: the pool is suspended. ZFS: dsl_dataset_create_sync */
uint64_t dsl_dataset_create_sync(dsl_dir_t *parent, const char *name, dsl_dataset_t *origin, uint64_t flags, dmu_tx_t *tx);
int dsl_dataset_clone_check(dsl_dataset_t *origin); /* syncing thread: EIO, ECKSUM when there can be no clone of it */
/* Give a new head its (empty) objset; init is called when type is ZFS and init_zfs. */
/* volume.c */
int volume_check(const nvlist_t *props); /* EINVAL: no volume can be made of them */
void volume_init_sync(objset_t *os, const nvlist_t *props, dmu_tx_t *tx);

objset_t *dsl_dataset_create_objset(dsl_dataset_t *ds, dmu_objset_type_t type, const nvlist_t *props, bool init_zfs, dmu_tx_t *tx);
int dsl_create_check_name(dsl_pool_t *dp, const char *name, dsl_dir_t **parentp, const char **tail); /* parent held on success, tag = the name */
/* Is a child or snapshot with props NULL or settable ones? stores them, tx. */
/* snapshot.c. EAGAIN: it has one of this txg already. */
int dsl_dataset_snapshot_check(dsl_dataset_t *ds, const char *snapname, dmu_tx_t *tx);
void dsl_dataset_snapshot_sync(dsl_dataset_t *ds, const char *snapname, dmu_tx_t *tx);
/* clone.c: exchange contents of a clone and the head that owns the snapshot it started from. ZFS: dsl_dataset_clone_swap_sync_impl */
int dsl_dataset_clone_swap_check(dsl_dataset_t *clone, dsl_dataset_t *head);
void dsl_dataset_clone_swap_sync(dsl_dataset_t *clone, dsl_dataset_t *head, dmu_tx_t *tx);
/* destroy.c. holds: how many references the caller itself has. */
int dsl_destroy_head_check_impl(dsl_dataset_t *ds);
void dsl_destroy_head_sync_impl(dsl_dataset_t *ds, dmu_tx_t *tx); /* the caller's hold stays, on a dead dataset: release it */
int dsl_destroy_snapshot_check_impl(dsl_dataset_t *ds);
int dsl_destroy_snapshot_ready(dsl_dataset_t *ds, dmu_tx_t *tx); /* nobody uses it, and sync can read all it needs: EBUSY, EAGAIN, EIO */
void dsl_destroy_snapshot_sync_impl(dsl_dataset_t *ds, dmu_tx_t *tx);

/* prop.c: config lock held */
#define PROP_SUFFIX_RECVD   "$recvd"
#define PROP_SUFFIX_INHERIT "$inherit"
#define PROP_SUFFIX_IUV     "$iuv" /* a value that older software does not know; not written here */
#define PROP_KEY_HASRECVD   "$hasrecvd"
int prop_get_locked(dsl_dataset_t *ds, const char *prop, char *value, size_t n, dsl_prop_source_t *src, char *setpoint);
int prop_get_u64_locked(dsl_dataset_t *ds, const char *prop, uint64_t *value);
uint64_t prop_zap(const dsl_dataset_t *ds); /* 0: a snapshot without properties */
bool prop_key(const char *prop, const char *suffix, char *key); /* ZAP_MAXNAMELEN bytes */
bool prop_has_entry(dsl_pool_t *dp, uint64_t zap, const char *prop, const char *suffix);
int prop_read_entry(dsl_pool_t *dp, uint64_t zap, const char *prop, const char *suffix, char *value, size_t n);
uint64_t prop_entry_u64(dsl_dataset_t *ds, const char *prop); /* what counts of the dataset's own entries; 0: none */

/* prop_set.c: values checked already. SET and RECEIVED have a value. */
typedef enum prop_op { PROP_OP_SET, PROP_OP_INHERIT, PROP_OP_REVERT, PROP_OP_RECEIVED, PROP_OP_UNRECEIVED } prop_op_t;
void prop_op_sync(dsl_dataset_t *ds, prop_op_t op, const char *prop, const char *value, dmu_tx_t *tx);
int prop_check_set(dsl_dataset_t *ds, const nvlist_t *props); /* can prop_set_all_sync() do it? ENOSPC quotas and reservations; EIO, ECKSUM */
int prop_check_snapshot(const nvlist_t *props); /* EINVAL: only user properties are for snapshots */
void prop_set_all_sync(dsl_dataset_t *ds, const nvlist_t *props, dmu_tx_t *tx);
/* props (NULL: none, ever) are what was received; earlier received ones go. Names -> string or u64. */
void prop_set_received_sync(dsl_dataset_t *ds, const nvlist_t *props, dmu_tx_t *tx);
void prop_update_open_objsets(dsl_pool_t *dp); /* syncing thread: what properties say to objsets that are open */
void prop_changed(dsl_pool_t *dp); /* tell the listener; no locks */
int prop_text_to_number(const dsl_prop_desc_t *d, const char *value, uint64_t *number, const char **reason);
void prop_number_to_text(const dsl_prop_desc_t *d, uint64_t number, char *value, size_t n);
bool prop_is_user(const char *name);
bool prop_is_create_only(const char *name);

/* quota.c: quota, reservation, refquota, refreservation; 0: none */
typedef enum quota_kind { Q_QUOTA, Q_RESERVATION, Q_REFQUOTA, Q_REFRESERV, Q_NUM } quota_kind_t;
typedef struct quota_values {
    uint64_t qv[Q_NUM];
} quota_values_t;
void quota_get(dsl_dataset_t *ds, quota_values_t *qv);
/* What op would make of prop; nothing when it is none of them. */
void quota_predict(dsl_dataset_t *ds, quota_values_t *qv, prop_op_t op, const char *prop, const char *value);
int quota_check(dsl_dataset_t *ds, const quota_values_t *want); /* ENOSPC */
int quota_check_create(dsl_dir_t *parent, const nvlist_t *props); /* the same for a new head */
void quota_sync(dsl_dataset_t *ds, const char *prop, dmu_tx_t *tx); /* its entry has changed: act on it */
void quota_load(dsl_dataset_t *ds); /* refquota and refreservation of a head that comes into memory */
uint64_t quota_unfilled(dsl_dataset_t *ds); /* of the refreservation */
/* Snapshots of one txg, one after the other: can every refreservation be covered anew? Starts zeroed. ENOSPC */
typedef struct quota_probe {
    struct quota_probe_dir *qp_dirs;
    size_t qp_count;
} quota_probe_t;
int quota_probe_snapshot(quota_probe_t *qp, dsl_dataset_t *ds);
void quota_probe_fini(quota_probe_t *qp);

/* history.c: an internal event of a sync task, part of its txg. text may be " ". ZFS: spa_history_log_internal, _ds */
void history_log(dsl_pool_t *dp, const char *what, dmu_tx_t *tx, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void history_log_ds(dsl_dataset_t *ds, const char *what, dmu_tx_t *tx, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* stats.c: as dsl_find_by_guid, in fs and below. */
int find_by_guid_below(dsl_pool_t *dp, const char *fs, uint64_t guid, bool snapshot, char *name);

/* name.c */
int name_check_component(const char *s, size_t n, bool internal); /* EINVAL */
/* "a/b@c" -> "a/b"; out has ZFS_MAX_DATASET_NAME_LEN bytes. EINVAL no '@', ENAMETOOLONG. snap points into name. */
int name_split_snapshot(const char *name, char *fs, const char **snap);
int name_check_internal(const char *name); /* as dsl_name_check, '%' and '$' allowed */

/* check.c: the pool's own zdb. Nothing may be syncing. report is called for every rule broken; returns their number. */
typedef void (*dsl_check_report_t)(void *arg, const char *text);
uint64_t dsl_pool_check(dsl_pool_t *dp, dsl_check_report_t report, void *arg);

#endif
