/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * clone.c - a head that starts from a snapshot; and two heads that exchange their contents.
 *
 *     fs:     P ◄── S ◄──── H                 clone:   S ◄── C          C shares all of S's blocks; they are in fs's accounts
 *
 * THE SWAP. A receive or a rollback prepares the new state in a clone C of H's latest snapshot S and then exchanges C and H in one
 * txg. The two heads have the same previous snapshot; so what changes hands is root pointer, sizes, unique and deadlist:
 *
 *          before                         after                 numbers: (blocks of D not in S) + (blocks of S not in D)
 *      S ◄── H: old                   S ◄── H: new                       └ unique = HEAD part       └ deadlist = S's loss
 *      S ◄── C: new                   S ◄── C: old     C is destroyed next
 *
 * S's unique is what only S has now: what is on the *new* H's deadlist and born after S's own previous snapshot.
 * A directory's HEAD + SNAP is referenced + deadlist of its head (as far as S is in the same directory), so both directories change by the
 * difference of these.
 *
 * ZFS: dsl_dataset_clone_sync, dsl_dataset_clone_swap_sync_impl (dsl_dataset.c)
 */
#include <stdio.h>
#include "dsl_impl.h"

/* ---- clone ---- */

typedef struct clone_arg {
    dsl_pool_t *ca_pool;
    const char *ca_origin, *ca_name;
    const nvlist_t *ca_props;
} clone_arg_t;

static int
clone_check(void *arg, dmu_tx_t *tx)
{
    clone_arg_t *ca = arg;
    const char *tail;
    dsl_dir_t *parent;
    dsl_dataset_t *origin;
    int err = dsl_create_check_name(ca->ca_pool, ca->ca_name, &parent, &tail);

    if (err != 0)
        return err;
    err = quota_check_create(parent, ca->ca_props);
    dsl_dir_rele(parent, ca->ca_name);
    if (err != 0 || (err = dsl_dataset_hold_locked(ca->ca_pool, ca->ca_origin, __func__, &origin)) != 0)
        return err;
    if (!dsl_dataset_is_snapshot(origin))
        err = SET_ERROR(EINVAL);
    else if (tx != NULL)
        err = dsl_dataset_clone_check(origin);
    dsl_dataset_rele(origin, __func__);
    return err;
}

static void
clone_sync(void *arg, dmu_tx_t *tx)
{
    clone_arg_t *ca = arg;
    const char *tail;
    dsl_dir_t *parent;
    dsl_dataset_t *origin, *ds;

    if (!mos_must(ca->ca_pool, dsl_create_check_name(ca->ca_pool, ca->ca_name, &parent, &tail)))
        return;
    if (mos_must(ca->ca_pool, dsl_dataset_hold_locked(ca->ca_pool, ca->ca_origin, __func__, &origin))) {
        uint64_t object = dsl_dataset_create_sync(parent, tail, origin, 0, tx);
        if (mos_must(ca->ca_pool, dsl_dataset_hold_obj_locked(ca->ca_pool, object, __func__, &ds))) {
            if (ca->ca_props != NULL)
                prop_set_all_sync(ds, ca->ca_props, tx);
            history_log_ds(ds, "clone", tx, "origin=%s (%llu)", ca->ca_origin,
                           (unsigned long long)origin->ds_object);
            dsl_dataset_rele(ds, __func__);
        }
        dsl_dataset_rele(origin, __func__);
    }
    dsl_dir_rele(parent, ca->ca_name);
}

int
dsl_clone(dsl_pool_t *dp, const char *origin, const char *name, const nvlist_t *props)
{
    clone_arg_t ca = {dp, origin, name, props};
    int err = dsl_name_check(name, NULL);

    return err != 0 ? err : dsl_sync_task(dp, clone_check, clone_sync, &ca, 20, DSL_SPACE_NORMAL);
}

/* ---- swap ---- */

int
dsl_dataset_clone_swap_check(dsl_dataset_t *clone, dsl_dataset_t *head)
{
    if (dsl_dataset_is_snapshot(clone) || dsl_dataset_is_snapshot(head) || clone->ds_prev == NULL)
        return SET_ERROR(EINVAL);
    if (clone->ds_prev != head->ds_prev)
        return SET_ERROR(EINVAL); /* not a clone of head's latest snapshot */
    return 0;
}

static void
swap_u64(uint64_t *a, uint64_t *b)
{
    uint64_t t = *a;

    *a = *b;
    *b = t;
}

/* What only the origin snapshot has, once the clone's contents are the head's. */
static void
swap_origin_unique(dsl_dataset_t *clone, dsl_dataset_t *head, dmu_tx_t *tx)
{
    dsl_dataset_t *origin = clone->ds_prev;
    uint64_t used, comp, uncomp;

    if (origin->ds_phys.ds_next_snap_obj != head->ds_object)
        return; /* the origin of both: it counts what its own next dataset lacks */
    dsl_deadlist_space_range(dsl_dataset_deadlist(clone), origin->ds_phys.ds_prev_snap_txg, UINT64_MAX, &used,
                             &comp, &uncomp);
    dsl_dataset_set(origin, &origin->ds_phys.ds_unique_bytes, used, tx);
}

static void
swap_directories(dsl_dataset_t *clone, dsl_dataset_t *head, dmu_tx_t *tx)
{
    const dsl_dataset_phys_t *c = &clone->ds_phys, *h = &head->ds_phys;
    uint64_t cu, cc, cn, hu, hc, hn, x, y;

    dsl_deadlist_space(dsl_dataset_deadlist(clone), &cu, &cc, &cn);
    dsl_deadlist_space(dsl_dataset_deadlist(head), &hu, &hc, &hn);
    int64_t used = (int64_t)(c->ds_referenced_bytes + cu) - (int64_t)(h->ds_referenced_bytes + hu);
    int64_t comp = (int64_t)(c->ds_compressed_bytes + cc) - (int64_t)(h->ds_compressed_bytes + hc);
    int64_t uncomp = (int64_t)(c->ds_uncompressed_bytes + cn) - (int64_t)(h->ds_uncompressed_bytes + hn);
    dsl_dir_diduse_space(head->ds_dir, DD_USED_HEAD, used, comp, uncomp, tx);
    dsl_dir_diduse_space(clone->ds_dir, DD_USED_HEAD, -used, -comp, -uncomp, tx);
    dsl_deadlist_space_range(clone->ds_deadlist, head->ds_dir->dd_origin_txg, UINT64_MAX, &cu, &x, &y);
    dsl_deadlist_space_range(head->ds_deadlist, head->ds_dir->dd_origin_txg, UINT64_MAX, &hu, &x, &y);
    dsl_dir_transfer_space(head->ds_dir, (int64_t)cu - (int64_t)hu, DD_USED_HEAD, DD_USED_SNAP, tx);
}

static void
swap_phys(dsl_dataset_t *clone, dsl_dataset_t *head)
{
    dsl_dataset_phys_t *c = &clone->ds_phys, *h = &head->ds_phys;
    blkptr_t bp;

    mutex_enter(&clone->ds_lock);
    mutex_enter(&head->ds_lock);
    bp = c->ds_bp;
    c->ds_bp = h->ds_bp;
    h->ds_bp = bp;
    swap_u64(&c->ds_referenced_bytes, &h->ds_referenced_bytes);
    swap_u64(&c->ds_compressed_bytes, &h->ds_compressed_bytes);
    swap_u64(&c->ds_uncompressed_bytes, &h->ds_uncompressed_bytes);
    swap_u64(&c->ds_unique_bytes, &h->ds_unique_bytes);
    swap_u64(&c->ds_deadlist_obj, &h->ds_deadlist_obj);
    mutex_exit(&head->ds_lock);
    mutex_exit(&clone->ds_lock);
}

static void
swap_features(dsl_dataset_t *clone, dsl_dataset_t *head, dmu_tx_t *tx)
{
    uint32_t c = clone->ds_features, h = head->ds_features;

    feature_ds_copy(clone->ds_pool, head->ds_object, clone->ds_object, h & ~c, tx);
    feature_ds_copy(head->ds_pool, clone->ds_object, head->ds_object, c & ~h, tx);
    feature_ds_clear(clone->ds_pool, clone->ds_object, c & ~h, tx);
    feature_ds_clear(head->ds_pool, head->ds_object, h & ~c, tx);
    clone->ds_features = h;
    head->ds_features = c;
}

void
dsl_dataset_clone_swap_sync(dsl_dataset_t *clone, dsl_dataset_t *head, dmu_tx_t *tx)
{
    VERIFY0(dsl_dataset_clone_swap_check(clone, head));
    dsl_dataset_evict_objset(clone);
    dsl_dataset_evict_objset(head);
    int64_t unfilled = (int64_t)MIN(head->ds_refreserv, head->ds_phys.ds_unique_bytes) -
                       (int64_t)MIN(head->ds_refreserv, clone->ds_phys.ds_unique_bytes);
    swap_origin_unique(clone, head, tx);
    swap_directories(clone, head, tx);
    dsl_dataset_will_dirty(clone, tx);
    dsl_dataset_will_dirty(head, tx);
    dsl_dataset_close_deadlist(clone, tx);
    dsl_dataset_close_deadlist(head, tx);
    swap_phys(clone, head);
    if (unfilled != 0)
        dsl_dir_diduse_space(head->ds_dir, DD_USED_REFRSRV, unfilled, 0, 0, tx);
    swap_features(clone, head, tx);
}
