/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * destroy.c - snapshots and heads go; what only they held becomes free.
 *
 * A SNAPSHOT S between P (previous) and N (next: a snapshot or the head) costs a few MOS blocks, whatever its size:
 *
 *      P ◄──── S ◄──── N                 N's deadlist: what S has and N has not, by birth
 *                                            birth > S.prev_txg:    P never had it: S alone did     ─► free_bpobj, whole buckets
 *                                            birth <= S.prev_txg:   P has it too                    ─► stays on N's deadlist
 *      P ◄──────────── N                 S's deadlist: what P has and S (so N, too) has not         ─► merged into N's deadlist
 *
 * And the accounts:  P.unique grows by what only P and S had; N.unique by what only S and N had.
 * The key S.txg loses its meaning for all heads after N: their bucket joins the one below (deadlist.c, invariant 3), in clones too.
 *
 * A HEAD without snapshots: every block born after its origin is its own. Block birth finds exactly those, the rest of the tree is not
 * even read. Its deadlist lists only what the origin still has: forgotten. A small one's blocks are freed at once, a large one's tree goes
 * to the bptree and is freed in the background (bptree.c, free.c).
 *
 * INVARIANTS
 *  1. A snapshot with clones (num_children > 1) or holds stays. Marked for deferred destroy, it goes in the txg in which the last of
 *     them goes.
 *  2. Space on free_bpobj or bptree counts as used by $FREE until it is freed (free.c): used bytes of the root do not change at destroy.
 *  3. A block that cannot be found, because something above it is unreadable, is leaked to $LEAK, so that the sums stay true.
 *
 * ZFS: dsl_destroy_snapshot_sync_impl, dsl_destroy_head_sync_impl (dsl_destroy.c)
 */
#include <stdio.h>
#include "dsl_impl.h"

static void
destroy_zap(dsl_pool_t *dp, uint64_t object, dmu_tx_t *tx)
{
    if (object != 0)
        mos_must(dp, zap_destroy(pool_mos(dp), object, tx));
}

/* ---- a snapshot leaves its chain ---- */

/* P's next, or, where S is the first of a clone, the origin's list of next ones. */
static void
unlink_previous(dsl_dataset_t *ds, dsl_dataset_t *prev, dmu_tx_t *tx)
{
    uint64_t next = ds->ds_phys.ds_next_snap_obj;

    if (prev->ds_phys.ds_next_snap_obj == ds->ds_object) {
        dsl_dataset_set(prev, &prev->ds_phys.ds_next_snap_obj, next, tx);
    } else if (prev->ds_phys.ds_next_clones_obj != 0) {
        dsl_dataset_remove_from_next_clones(prev, ds->ds_object, tx);
        mos_must(ds->ds_pool,
                 zap_add_int_key(pool_mos(ds->ds_pool), prev->ds_phys.ds_next_clones_obj, next, next, tx));
    }
}

static void
unlink_next(dsl_dataset_t *ds, dsl_dataset_t *next, dmu_tx_t *tx)
{
    dsl_dataset_will_dirty(next, tx);
    mutex_enter(&next->ds_lock);
    next->ds_phys.ds_prev_snap_obj = ds->ds_phys.ds_prev_snap_obj;
    next->ds_phys.ds_prev_snap_txg = ds->ds_phys.ds_prev_snap_txg;
    mutex_exit(&next->ds_lock);
}

static void
add_unique(dsl_dataset_t *ds, uint64_t used, dmu_tx_t *tx)
{
    dsl_dataset_set(ds, &ds->ds_phys.ds_unique_bytes, ds->ds_phys.ds_unique_bytes + used, tx);
}

/* ---- deadlists ---- */

/* The key S.txg goes from every clone below dd that has it. */
static void
remove_clones_key(dsl_dir_t *dd, uint64_t key, dmu_tx_t *tx)
{
    dsl_pool_t *dp = dd->dd_pool;
    dsl_dataset_t *clone;
    zap_cursor_t zc;
    zap_attribute_t za;

    if (dd->dd_phys.dd_clones == 0)
        return;
    for (zap_cursor_init(&zc, pool_mos(dp), dd->dd_phys.dd_clones); zap_cursor_retrieve(&zc, &za) == 0;
         zap_cursor_advance(&zc)) {
        if (!mos_must(dp, dsl_dataset_hold_obj_locked(dp, za.za_first_integer, __func__, &clone)))
            break;
        if (clone->ds_dir->dd_origin_txg > key) {
            dsl_dataset_will_dirty(clone, tx);
            dsl_deadlist_remove_key(dsl_dataset_deadlist(clone), key, tx);
            remove_clones_key(clone->ds_dir, key, tx);
        }
        dsl_dataset_rele(clone, __func__);
    }
    zap_cursor_fini(&zc);
}

/* What only S had goes to free_bpobj; what S's own list says is from now on N's. */
static void
join_deadlists(dsl_dataset_t *ds, dsl_dataset_t *next, dmu_tx_t *tx)
{
    dsl_pool_t *dp = ds->ds_pool;
    dsl_deadlist_t *dl = dsl_dataset_deadlist(next);
    uint64_t used, comp, uncomp, key = ds->ds_phys.ds_prev_snap_txg;

    dsl_deadlist_space_range(dl, key, UINT64_MAX, &used, &comp, &uncomp);
    dsl_dir_diduse_space(ds->ds_dir, DD_USED_SNAP, -(int64_t)used, -(int64_t)comp, -(int64_t)uncomp, tx);
    dsl_deadlist_move_bpobj(dl, dp->dp_free_bpobj, key, tx);
    dsl_dir_diduse_space(dp->dp_free_dir, DD_USED_HEAD, (int64_t)used, (int64_t)comp, (int64_t)uncomp, tx);
    dsl_dataset_close_deadlist(ds, tx);
    dsl_deadlist_merge(dl, ds->ds_phys.ds_deadlist_obj, tx);
}

/* Only P and S had it: born in P's own time, on the deadlist that now is N's (so given up after S... by N). */
static void
account_previous(dsl_dataset_t *ds, dsl_dataset_t *prev, dsl_dataset_t *next, dmu_tx_t *tx)
{
    uint64_t used, comp, uncomp;

    dsl_deadlist_space_range(dsl_dataset_deadlist(next), prev->ds_phys.ds_prev_snap_txg,
                             ds->ds_phys.ds_prev_snap_txg, &used, &comp, &uncomp);
    add_unique(prev, used, tx);
}

/* N is a snapshot: only S and N had it: born in S's own time, given up by what follows N. */
static void
account_next_snapshot(dsl_dataset_t *ds, dsl_dataset_t *next, dmu_tx_t *tx)
{
    dsl_pool_t *dp = ds->ds_pool;
    dsl_dataset_t *after, *head;
    uint64_t used, comp, uncomp, key = ds->ds_phys.ds_creation_txg;

    if (!mos_must(dp, dsl_dataset_hold_obj_locked(dp, next->ds_phys.ds_next_snap_obj, __func__, &after)))
        return;
    dsl_deadlist_space_range(dsl_dataset_deadlist(after), ds->ds_phys.ds_prev_snap_txg, key, &used, &comp,
                             &uncomp);
    add_unique(next, used, tx);
    dsl_dataset_rele(after, __func__);
    if (!mos_must(dp,
                  dsl_dataset_hold_obj_locked(dp, ds->ds_dir->dd_phys.dd_head_dataset_obj, __func__, &head)))
        return;
    dsl_dataset_will_dirty(head, tx);
    dsl_deadlist_remove_key(dsl_dataset_deadlist(head), key, tx);
    dsl_dataset_rele(head, __func__);
}

/* N is the head: its unique from scratch, and what a refreservation no longer has to promise. */
static void
account_next_head(dsl_dataset_t *head, dmu_tx_t *tx)
{
    uint64_t dead, comp, uncomp, old = head->ds_phys.ds_unique_bytes, shared = 0;

    dsl_dataset_hold_prev(head);
    if (head->ds_prev != NULL)
        shared = head->ds_prev->ds_phys.ds_referenced_bytes;
    dsl_deadlist_space(dsl_dataset_deadlist(head), &dead, &comp, &uncomp);
    dsl_dataset_will_dirty(head, tx);
    mutex_enter(&head->ds_lock);
    head->ds_phys.ds_unique_bytes = head->ds_phys.ds_referenced_bytes - (shared - dead);
    uint64_t new = head->ds_phys.ds_unique_bytes;
    mutex_exit(&head->ds_lock);
    if (old < head->ds_refreserv)
        dsl_dir_diduse_space(head->ds_dir, DD_USED_REFRSRV,
                             -(int64_t)MIN(new - old, head->ds_refreserv - old), 0, 0, tx);
}

/* ---- the dataset object ---- */

static void
remove_snapname(dsl_dataset_t *ds, dmu_tx_t *tx)
{
    dsl_dataset_phys_t phys;
    dsl_dataset_t *head;

    if (!mos_must(ds->ds_pool, dsl_dataset_hold_obj_locked(
                                   ds->ds_pool, ds->ds_dir->dd_phys.dd_head_dataset_obj, __func__, &head)))
        return;
    dsl_dataset_phys(head, &phys);
    mos_must(ds->ds_pool, zap_remove(pool_mos(ds->ds_pool), phys.ds_snapnames_zapobj, ds->ds_snapname, tx));
    dsl_dataset_rele(head, __func__);
}

static void
free_dataset_object(dsl_dataset_t *ds, dmu_tx_t *tx)
{
    dsl_pool_t *dp = ds->ds_pool;
    dsl_dataset_phys_t p = ds->ds_phys;

    dsl_dataset_evict_objset(ds);
    dsl_dataset_set_dead(ds);
    feature_ds_clear(dp, ds->ds_object, ds->ds_features, tx);
    destroy_zap(dp, p.ds_next_clones_obj, tx);
    destroy_zap(dp, p.ds_props_obj, tx);
    destroy_zap(dp, p.ds_userrefs_obj, tx);
    destroy_zap(dp, p.ds_snapnames_zapobj, tx);
    feature_free_object(dp, ds->ds_object, tx);
}

/* prev: NULL when there is none in the same chain. */
static void
leave_chain(dsl_dataset_t *ds, dsl_dataset_t *prev, dsl_dataset_t *next, dmu_tx_t *tx)
{
    unlink_next(ds, next, tx);
    if (prev != NULL)
        account_previous(ds, prev, next, tx);
    join_deadlists(ds, next, tx);
    remove_clones_key(ds->ds_dir, ds->ds_phys.ds_creation_txg, tx);
    if (dsl_dataset_is_snapshot(next))
        account_next_snapshot(ds, next, tx);
    else
        account_next_head(next, tx);
    remove_snapname(ds, tx);
    free_dataset_object(ds, tx);
}

void
dsl_destroy_snapshot_sync_impl(dsl_dataset_t *ds, dmu_tx_t *tx)
{
    dsl_pool_t *dp = ds->ds_pool;
    dsl_dataset_t *prev = NULL, *next;
    bool own_prev = false; /* P is of the same chain, not the origin of a clone */

    history_log_ds(ds, "destroy", tx, " ");
    if (ds->ds_phys.ds_prev_snap_obj != 0) {
        if (!mos_must(dp, dsl_dataset_hold_obj_locked(dp, ds->ds_phys.ds_prev_snap_obj, __func__, &prev)))
            return;
        own_prev = prev->ds_phys.ds_next_snap_obj == ds->ds_object;
        unlink_previous(ds, prev, tx);
    }
    if (mos_must(dp, dsl_dataset_hold_obj_locked(dp, ds->ds_phys.ds_next_snap_obj, __func__, &next))) {
        leave_chain(ds, own_prev ? prev : NULL, next, tx);
        dsl_dataset_rele(next, __func__);
    }
    if (prev != NULL)
        dsl_dataset_rele(prev, __func__);
}

/* ---- a head ---- */

typedef struct kill_arg {
    dsl_dataset_t *ka_ds;
    dmu_tx_t *ka_tx;
} kill_arg_t;

static int
kill_cb(void *arg, const traverse_block_t *tb)
{
    kill_arg_t *ka = arg;

    if (tb->tb_zb.zb_level != ZB_DNODE_LEVEL && !BP_IS_HOLE(tb->tb_bp))
        dsl_dataset_block_kill(ka->ka_ds, tb->tb_bp, ka->ka_tx);
    return 0;
}

static void
kill_blocks(dsl_dataset_t *ds, dmu_tx_t *tx)
{
    kill_arg_t ka = {ds, tx};
    blkptr_t bp = ds->ds_phys.ds_bp;

    if (BP_IS_HOLE(&bp) || bp.blk_birth <= ds->ds_phys.ds_prev_snap_txg)
        return;
    (void)traverse_objset(ds->ds_pool->dp_spa, &bp, ds->ds_object, ds->ds_phys.ds_prev_snap_txg,
                          TRAVERSE_POST | TRAVERSE_HARD, NULL, kill_cb, &ka, NULL);
}

static bool
is_small(dsl_dataset_t *ds)
{
    return ds->ds_phys.ds_unique_bytes >> spa_ashift(ds->ds_pool->dp_spa) < ds->ds_pool->dp_destroy_now;
}

/* All that the directory has is the head's; it is freed over the next txgs. */
static void
queue_blocks(dsl_dataset_t *ds, dmu_tx_t *tx)
{
    dsl_pool_t *dp = ds->ds_pool;
    dsl_dir_phys_t d = ds->ds_dir->dd_phys;
    int64_t used = (int64_t)d.dd_used_bytes, comp = (int64_t)d.dd_compressed_bytes,
            uncomp = (int64_t)d.dd_uncompressed_bytes;

    bptree_add(dp, &ds->ds_phys.ds_bp, ds->ds_phys.ds_prev_snap_txg, d.dd_used_bytes, d.dd_compressed_bytes,
               d.dd_uncompressed_bytes, tx);
    dsl_dir_diduse_space(ds->ds_dir, DD_USED_HEAD, -used, -comp, -uncomp, tx);
    dsl_dir_diduse_space(dp->dp_free_dir, DD_USED_HEAD, used, comp, uncomp, tx);
}

static void
unlink_origin(dsl_dataset_t *ds, dmu_tx_t *tx)
{
    dsl_dataset_t *origin = ds->ds_prev;
    char name[20];

    dsl_dataset_remove_from_next_clones(origin, ds->ds_object, tx);
    dsl_dataset_set(origin, &origin->ds_phys.ds_num_children, origin->ds_phys.ds_num_children - 1, tx);
    if (origin->ds_dir->dd_phys.dd_clones != 0) {
        snprintf(name, sizeof(name), "%llx", (unsigned long long)ds->ds_object);
        mos_must(ds->ds_pool,
                 zap_remove(pool_mos(ds->ds_pool), origin->ds_dir->dd_phys.dd_clones, name, tx));
    }
}

/* A refreservation's unfilled part no longer burdens the directory. */
static void
drop_refreservation(dsl_dataset_t *ds, dmu_tx_t *tx)
{
    int64_t unfilled =
        (int64_t)ds->ds_refreserv - (int64_t)MIN(ds->ds_phys.ds_unique_bytes, ds->ds_refreserv);

    ds->ds_refreserv = 0;
    if (unfilled > 0)
        dsl_dir_diduse_space(ds->ds_dir, DD_USED_REFRSRV, -unfilled, 0, 0, tx);
}

/* A snapshot marked for deferred destroy that only clones kept, children - 1 of them by now. */
static bool
origin_waits(dsl_dataset_t *origin, uint64_t children)
{
    uint64_t holds = 0;

    return (origin->ds_phys.ds_flags & DS_FLAG_DEFER_DESTROY) != 0 && origin->ds_phys.ds_num_children == children &&
           dsl_dataset_count_holds(origin, &holds) == 0 && holds == 0;
}

/* The last clone of a marked snapshot takes it along; who uses it just now keeps it (marked). */
static void
destroy_waiting_origin(dsl_dataset_t *origin, dmu_tx_t *tx)
{
    if (origin_waits(origin, 1) && !dsl_dataset_long_held(origin))
        dsl_destroy_snapshot_sync_impl(origin, tx);
    dsl_dataset_rele(origin, __func__);
}

void
dsl_destroy_head_sync_impl(dsl_dataset_t *ds, dmu_tx_t *tx)
{
    dsl_pool_t *dp = ds->ds_pool;
    dsl_dataset_t *origin = ds->ds_prev;
    uint64_t ddobj = ds->ds_dir->dd_object;

    history_log_ds(ds, "destroy", tx, " ");
    if (origin != NULL)
        dsl_dataset_add_ref(origin);
    drop_refreservation(ds, tx);
    dsl_dataset_evict_objset(ds);
    if (is_small(ds)) {
        kill_blocks(ds, tx);
        pool_leak(dp, ds->ds_dir, tx); /* invariant 3 */
    } else {
        queue_blocks(ds, tx);
    }
    dsl_dataset_close_deadlist(ds, tx);
    dsl_deadlist_free(dp, ds->ds_phys.ds_deadlist_obj, tx);
    if (ds->ds_prev != NULL)
        unlink_origin(ds, tx);
    dsl_bookmarks_destroy_all(ds, tx);
    dsl_dir_set(ds->ds_dir, &ds->ds_dir->dd_phys.dd_head_dataset_obj, 0, tx);
    free_dataset_object(ds, tx);
    dsl_dir_destroy_sync(ddobj, dp, tx);
    if (origin != NULL)
        destroy_waiting_origin(origin, tx);
}

/* ---- checks ---- */

/* So can those that remove_clones_key() will change. A clone's origin is younger than that of its own origin's file system. */
static int
check_clones_key(dsl_dir_t *dd, uint64_t key)
{
    dsl_dataset_t *clone;
    zap_cursor_t zc;
    zap_attribute_t za;
    int err = 0, end = 0;

    if (dd->dd_phys.dd_clones == 0)
        return 0;
    for (zap_cursor_init(&zc, pool_mos(dd->dd_pool), dd->dd_phys.dd_clones);
         err == 0 && (end = zap_cursor_retrieve(&zc, &za)) == 0; zap_cursor_advance(&zc)) {
        if ((err = dsl_dataset_hold_obj_locked(dd->dd_pool, za.za_first_integer, __func__, &clone)) != 0)
            break;
        if (clone->ds_dir->dd_origin_txg <= dd->dd_origin_txg)
            err = SET_ERROR(EIO); /* else clones could form a circle */
        else if (clone->ds_dir->dd_origin_txg > key &&
                 (err = dsl_deadlist_verify(dd->dd_pool, clone->ds_phys.ds_deadlist_obj)) == 0)
            err = check_clones_key(clone->ds_dir, key);
        dsl_dataset_rele(clone, __func__);
    }
    zap_cursor_fini(&zc);
    return err != 0 ? err : end == ENOENT ? 0 : end;
}

/* All deadlists that the destroy of ds will touch can be read. Syncing thread only: dsl_impl.h, invariant 1. */
static int
check_deadlists(dsl_dataset_t *ds)
{
    dsl_pool_t *dp = ds->ds_pool;
    dsl_dataset_phys_t p = ds->ds_phys;
    int err = dsl_deadlist_verify(dp, p.ds_deadlist_obj);

    if (err == 0 && p.ds_prev_snap_obj != 0)
        err = mos_read_bonus(dp, p.ds_prev_snap_obj, DMU_OT_DSL_DATASET, &p, sizeof(p));
    p = ds->ds_phys;
    for (int i = 0; i < 2 && err == 0 && p.ds_next_snap_obj != 0; i++) { /* the next, and the one after it */
        err = mos_read_bonus(dp, p.ds_next_snap_obj, DMU_OT_DSL_DATASET, &p, sizeof(p));
        if (err == 0 && i == 0 && p.ds_prev_snap_obj != ds->ds_object)
            err = SET_ERROR(EIO);
        if (err == 0)
            err = dsl_deadlist_verify(dp, p.ds_deadlist_obj);
    }
    if (err == 0)
        err = mos_read_bonus(dp, ds->ds_dir->dd_phys.dd_head_dataset_obj, DMU_OT_DSL_DATASET, &p, sizeof(p));
    return err != 0 ? err : dsl_deadlist_verify(dp, p.ds_deadlist_obj);
}

int
dsl_destroy_snapshot_check_impl(dsl_dataset_t *ds)
{
    uint64_t holds = 0;

    if (!dsl_dataset_is_snapshot(ds))
        return SET_ERROR(EINVAL);
    if (ds->ds_phys.ds_num_children > 1)
        return SET_ERROR(EEXIST);
    return dsl_dataset_count_holds(ds, &holds) != 0 || holds > 0 ? SET_ERROR(EBUSY) : 0;
}

int
dsl_destroy_head_check_impl(dsl_dataset_t *ds)
{
    uint64_t snapshots, children;
    int err;

    if (dsl_dataset_is_snapshot(ds))
        return SET_ERROR(EINVAL);
    if (ds->ds_dir->dd_parent == NULL)
        return SET_ERROR(EBUSY);
    if ((err = dsl_dataset_count_snapshots(ds, &snapshots)) != 0 ||
        (err = dsl_dir_count_children(ds->ds_dir, &children)) != 0)
        return err == ENOENT ? SET_ERROR(EIO) : err;
    return snapshots > 0 || children > 0 ? SET_ERROR(ENOTEMPTY) : 0;
}

int
dsl_destroy_snapshot_ready(dsl_dataset_t *ds, dmu_tx_t *tx)
{
    int err;

    if (dsl_dataset_long_held(ds))
        return SET_ERROR(EBUSY);
    if (tx == NULL)
        return 0;
    if (ds->ds_phys.ds_creation_txg == dmu_tx_txg(tx))
        return EAGAIN; /* born in this very txg */
    err = check_deadlists(ds);
    return err != 0 ? err : check_clones_key(ds->ds_dir, ds->ds_phys.ds_creation_txg);
}

/* ---- the operations ---- */

typedef struct destroy_arg {
    dsl_pool_t *da_pool;
    const char *const *da_names;
    int da_count;
    int da_failed;
    bool da_defer;
} destroy_arg_t;

/* With the same answer in both checks: something keeps it, so that a deferred destroy only marks it. */
static bool
only_marked(const destroy_arg_t *da, dsl_dataset_t *ds)
{
    uint64_t holds = 0;

    return da->da_defer && dsl_dataset_is_snapshot(ds) && dsl_dataset_count_holds(ds, &holds) == 0 &&
           (holds > 0 || ds->ds_phys.ds_num_children > 1);
}

static int
snapshots_check(void *arg, dmu_tx_t *tx)
{
    destroy_arg_t *da = arg;
    dsl_dataset_t *ds;
    int err = 0;

    for (int i = 0; i < da->da_count && err == 0; i++) {
        da->da_failed = i;
        if ((err = dsl_dataset_hold_locked(da->da_pool, da->da_names[i], __func__, &ds)) != 0)
            return err;
        if (!only_marked(da, ds)) {
            err = dsl_destroy_snapshot_check_impl(ds);
            if (err == 0)
                err = dsl_destroy_snapshot_ready(ds, tx);
        }
        dsl_dataset_rele(ds, __func__);
    }
    return err;
}

static void
snapshots_sync(void *arg, dmu_tx_t *tx)
{
    destroy_arg_t *da = arg;
    dsl_dataset_t *ds;

    for (int i = 0; i < da->da_count; i++) {
        if (dsl_dataset_hold_locked(da->da_pool, da->da_names[i], __func__, &ds) != 0)
            continue; /* named twice */
        if (only_marked(da, ds)) {
            dsl_dataset_set(ds, &ds->ds_phys.ds_flags, ds->ds_phys.ds_flags | DS_FLAG_DEFER_DESTROY, tx);
            history_log_ds(ds, "defer_destroy", tx, " ");
        } else {
            dsl_destroy_snapshot_sync_impl(ds, tx);
        }
        dsl_dataset_rele(ds, __func__);
    }
}

int
dsl_destroy_snapshots(dsl_pool_t *dp, const char *const *names, int n, bool defer, int *failed)
{
    destroy_arg_t da = {dp, names, n, 0, defer};
    int err = dsl_sync_task(dp, snapshots_check, snapshots_sync, &da, 10 * n, DSL_SPACE_RESERVED);

    if (failed != NULL)
        *failed = da.da_failed;
    return err;
}

static int
head_check(void *arg, dmu_tx_t *tx)
{
    destroy_arg_t *da = arg;
    dsl_dataset_t *ds;
    int err = dsl_dataset_hold_locked(da->da_pool, da->da_names[0], __func__, &ds);

    if (err != 0)
        return err;
    err = dsl_dataset_long_held(ds) ? SET_ERROR(EBUSY) : dsl_destroy_head_check_impl(ds);
    if (err == 0 && tx != NULL)
        err = dsl_deadlist_verify(da->da_pool, ds->ds_phys.ds_deadlist_obj);
    if (err == 0 && ds->ds_prev != NULL && origin_waits(ds->ds_prev, 2))
        err = dsl_destroy_snapshot_ready(ds->ds_prev, tx);
    dsl_dataset_rele(ds, __func__);
    return err;
}

static void
head_sync(void *arg, dmu_tx_t *tx)
{
    destroy_arg_t *da = arg;
    dsl_dataset_t *ds;

    if (!mos_must(da->da_pool, dsl_dataset_hold_locked(da->da_pool, da->da_names[0], __func__, &ds)))
        return;
    dsl_destroy_head_sync_impl(ds, tx);
    dsl_dataset_rele(ds, __func__);
}

int
dsl_destroy_head(dsl_pool_t *dp, const char *name)
{
    destroy_arg_t da = {dp, &name, 1, 0, false};

    return dsl_sync_task(dp, head_check, head_sync, &da, 20, DSL_SPACE_RESERVED);
}
