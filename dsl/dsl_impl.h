/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dsl_impl.h - inside the dataset layer: pools, directories and datasets in memory.
 *
 * Every *_phys struct is kept as a copy in memory, guarded by its object's lock, and written back into its bonus buffer by
 * the syncing thread, once per pass, when dirty. So open context reads numbers without touching a MOS buffer, and the MOS's own buffers are changed
 * by one thread only.
 *
 * LOCK ORDER   dp_config_lock -> ds_opening (objset) -> dp_lock -> ds_lock -> dd_lock (child before parent) -> everything in dmu
 *
 * pool_sync(txg), the syncing thread's whole work (pool.c):
 *     1. dirty datasets: objset_sync -> new ds_bp; births and kills go to the accounts and deadlists
 *     2. sync tasks queued for this txg (config lock for writing)
 *     3. dirty datasets again (what sync tasks touched), dirs and datasets' phys written back
 *     4. until the MOS is clean:  objset_sync(MOS), append what was allocated and freed to the space maps (which dirties the MOS)
 *     5. spa_commit()  <- the new state is the pool's state
 *     6. metaslab_sync_done()
 * Frees go to the space maps of the same txg, but space returns to the allocator two txgs later; sync_bplist stays empty (ZFS defers
 * frees from pass 2 on to converge; here rewriting in place is enough).
 */
#ifndef COWBIRD_DSL_IMPL_H
#define COWBIRD_DSL_IMPL_H

#include "dsl.h"

typedef struct dsl_deadlist dsl_deadlist_t;

/* ---- deadlist.c: the blocks a dataset gave up that earlier snapshots hold, in buckets by birth ----
 *
 *   keys   0        67           107              bucket k holds births in (k, next k]
 *          |--------|-------------|------>
 */
uint64_t dsl_deadlist_alloc(dsl_pool_t *dp, dmu_tx_t *tx);
void dsl_deadlist_free(dsl_pool_t *dp, uint64_t dlobj, dmu_tx_t *tx); /* with its (empty or owned) bpobjs */
int dsl_deadlist_open(dsl_pool_t *dp, uint64_t dlobj, dsl_deadlist_t **dlp);
void dsl_deadlist_close(dsl_deadlist_t *dl);
void dsl_deadlist_insert(dsl_deadlist_t *dl, const blkptr_t *bp, dmu_tx_t *tx);
void dsl_deadlist_add_key(dsl_deadlist_t *dl, uint64_t mintxg, dmu_tx_t *tx);
void dsl_deadlist_remove_key(dsl_deadlist_t *dl, uint64_t mintxg, dmu_tx_t *tx); /* merged into the key below */
/* A new deadlist with dl's keys below maxtxg, all empty. */
uint64_t dsl_deadlist_clone(dsl_deadlist_t *dl, uint64_t maxtxg, dmu_tx_t *tx);
void dsl_deadlist_space(dsl_deadlist_t *dl, uint64_t *used, uint64_t *comp, uint64_t *uncomp);
void dsl_deadlist_space_range(dsl_deadlist_t *dl, uint64_t mintxg, uint64_t maxtxg, uint64_t *used, uint64_t *comp, uint64_t *uncomp);
void dsl_deadlist_merge(dsl_deadlist_t *dl, uint64_t otherobj, dmu_tx_t *tx); /* other is emptied and freed */
/* Buckets with key >= mintxg move whole onto bpo. */
void dsl_deadlist_move_bpobj(dsl_deadlist_t *dl, bpobj_t *bpo, uint64_t mintxg, dmu_tx_t *tx);

struct dsl_dir {
    dsl_pool_t *dd_pool;
    uint64_t dd_object;
    dsl_dir_t *dd_parent;          /* held; NULL: the root */
    char dd_name[ZFS_MAX_DATASET_NAME_LEN]; /* last component; dp_config_lock */
    uint32_t dd_refs;              /* dp_lock */
    list_node_t dd_link;           /* dp_dirs; dp_lock */
    kmutex_t dd_lock;              /* below */
    dsl_dir_phys_t dd_phys;
    bool dd_phys_dirty;            /* to be written back by the syncing thread */
    int64_t dd_reserved_tx[TXG_SIZE]; /* bytes promised to transactions of each txg, this dir and below */
};

struct dsl_dataset {
    dsl_pool_t *ds_pool;
    uint64_t ds_object;
    dsl_dir_t *ds_dir;             /* held */
    char ds_snapname[ZFS_MAX_DATASET_NAME_LEN]; /* empty for a head; dp_config_lock */
    uint32_t ds_refs;              /* dp_lock; also one per txg in which it is dirty */
    uint32_t ds_long_holds;        /* dp_lock */
    const void *ds_owner;          /* dp_lock */
    list_node_t ds_link;           /* dp_datasets; dp_lock */
    list_node_t ds_dirty_link[TXG_SIZE]; /* dp_dirty_datasets; dp_lock */
    dsl_dataset_t *ds_prev;        /* held, head only: its latest snapshot; syncing thread, dp_config_lock */
    kmutex_t ds_opening;           /* opening ds_objset */
    objset_t *ds_objset;
    dsl_deadlist_t *ds_deadlist;   /* syncing thread; NULL for snapshots until needed */
    kmutex_t ds_lock;              /* below */
    dsl_dataset_phys_t ds_phys;
    bool ds_phys_dirty;
};

struct dsl_pool {
    spa_t *dp_spa;
    objset_t *dp_mos;
    txg_state_t *dp_txg;           /* NULL: read-only */
    krwlock_t dp_config_lock;
    dsl_dir_t *dp_root_dir, *dp_mos_dir, *dp_free_dir; /* held */
    uint64_t dp_origin_snap_obj;   /* $ORIGIN@$ORIGIN */
    bpobj_t *dp_free_bpobj;        /* blocks of destroyed datasets, freed over the next txgs; syncing thread */
    space_map_t **dp_space_maps;   /* per metaslab, NULL: never used; syncing thread */
    uint64_t dp_metaslab_array;
    kmutex_t dp_lock;
    list_t dp_dirs, dp_datasets;   /* all in memory */
    list_t dp_dirty_datasets[TXG_SIZE];
    list_t dp_sync_tasks[TXG_SIZE];
};

#endif
