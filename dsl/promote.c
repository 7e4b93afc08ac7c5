/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * promote.c - a clone and the file system it came from change places.
 *
 *     before    fs:     M ◄── s1 ◄── O ◄── a ◄── H            after     fs:                  a ◄── H
 *                                    ▲                                                       │
 *               clone:               └── k ◄── C              clone:  M ◄── s1 ◄── O ◄── k ◄── C
 *
 * No dataset gets another predecessor: the chains of prev pointers stay as they are, and with them all deadlists and their keys. What
 * changes is which branch is the trunk: the snapshots up to the origin O (the "shared" ones) now belong to the clone's directory, O's next is
 * the clone's first dataset, and fs is a clone of O. Accordingly:
 *
 *     names           s1, O leave fs's snapshot names, enter the clone's
 *     directories     clone.origin = fs.origin (M, or $ORIGIN);  fs.origin = O
 *     next_clones     of O: the clone's first goes, fs's first comes. Of M: s1 stays the first
 *     clones ZAPs     M's directory: fs's head -> clone's head. fs's: other clones of shared snapshots move to the clone's; there fs's head joins
 *     num_children    as before: O loses one clone and gains one
 *     O.unique        what O has and its new next has not: on the deadlist of that next
 *     space           the blocks of s1..O born after M move from fs to the clone
 *
 * The space, of all that is in some of s1..O and born after M:    O.referenced + sum of deadlists(s1..O) - M.referenced
 * And SNAP of a directory is the sum over its datasets' deadlists, head too, of what was born after its origin:
 * both directories' SNAP are worked out like that, HEAD is what remains.
 *
 * ZFS: dsl_dataset_promote_check, dsl_dataset_promote_sync (dsl_dataset.c)
 */
#include <stdio.h>
#include "dsl_impl.h"

typedef struct chain { /* held; newest first */
    dsl_dataset_t **c_ds;
    size_t c_count;
} chain_t;

typedef struct promote {
    dsl_dataset_t *p_head;   /* of the clone */
    dsl_dataset_t *p_origin; /* O */
    dsl_dataset_t *p_ohead;  /* the head of O's file system */
    dsl_dir_t *p_dd, *p_odd; /* the clone's directory, O's; by the heads' holds */
    uint64_t p_base;         /* M: where O's file system began */
    chain_t p_own;           /* the clone's head and snapshots */
    chain_t p_shared;        /* O and the snapshots before it: they move */
    chain_t p_after;         /* the other head and its snapshots since O */
} promote_t;

typedef struct promote_arg {
    dsl_pool_t *pa_pool;
    const char *pa_name;
    char pa_conflict[ZFS_MAX_DATASET_NAME_LEN];
} promote_arg_t;

/* ---- what takes part ---- */

/* From first back to stop, which is not one of them; all belong to dd. */
static int
chain_hold(dsl_dir_t *dd, chain_t *c, uint64_t first, uint64_t stop)
{
    dsl_pool_t *dp = dd->dd_pool;
    uint64_t object = first, below = UINT64_MAX;
    dsl_dataset_t *ds;
    int err;

    while (object != stop) {
        if ((err = dsl_dataset_hold_obj_locked(dp, object, c, &ds)) != 0)
            return err == ENOENT ? SET_ERROR(EIO) : err;
        if ((c->c_count & (c->c_count - 1)) == 0)
            c->c_ds = xrealloc(c->c_ds, (c->c_count * 2 + 1) * sizeof(c->c_ds[0]));
        c->c_ds[c->c_count++] = ds;
        if (ds->ds_phys.ds_prev_snap_txg >= below || ds->ds_dir != dd)
            return SET_ERROR(EIO); /* a circle, or a stranger */
        below = ds->ds_phys.ds_prev_snap_txg;
        object = ds->ds_phys.ds_prev_snap_obj;
    }
    return c->c_count > 0 ? 0 : SET_ERROR(EIO);
}

static void
chain_rele(chain_t *c)
{
    for (size_t i = 0; i < c->c_count; i++)
        dsl_dataset_rele(c->c_ds[i], c);
    free(c->c_ds);
}

static void
promote_rele(promote_t *p)
{
    chain_rele(&p->p_own);
    chain_rele(&p->p_shared);
    chain_rele(&p->p_after);
    if (p->p_ohead != NULL)
        dsl_dataset_rele(p->p_ohead, p);
    if (p->p_origin != NULL)
        dsl_dataset_rele(p->p_origin, p);
    dsl_dataset_rele(p->p_head, p);
}

static int
promote_hold_chains(dsl_pool_t *dp, promote_t *p)
{
    int err = dsl_dataset_hold_obj_locked(dp, p->p_dd->dd_phys.dd_origin_obj, p, &p->p_origin);

    if (err != 0)
        return err;
    p->p_odd = p->p_origin->ds_dir;
    if (p->p_odd == p->p_dd)
        return SET_ERROR(EIO);
    p->p_base = p->p_odd->dd_phys.dd_origin_obj;
    err = dsl_dataset_hold_obj_locked(dp, p->p_odd->dd_phys.dd_head_dataset_obj, p, &p->p_ohead);
    if (err == 0)
        err = chain_hold(p->p_dd, &p->p_own, p->p_head->ds_object, p->p_origin->ds_object);
    if (err == 0)
        err = chain_hold(p->p_odd, &p->p_shared, p->p_origin->ds_object, p->p_base);
    if (err == 0)
        err = chain_hold(p->p_odd, &p->p_after, p->p_ohead->ds_object, p->p_origin->ds_object);
    return err;
}

/* On success the caller releases. */
static int
promote_hold(promote_arg_t *pa, promote_t *p)
{
    int err;

    memset(p, 0, sizeof(*p));
    if ((err = dsl_dataset_hold_locked(pa->pa_pool, pa->pa_name, p, &p->p_head)) != 0)
        return err;
    p->p_dd = p->p_head->ds_dir;
    if (dsl_dataset_is_snapshot(p->p_head) || !dsl_dir_is_clone(p->p_dd))
        err = SET_ERROR(EINVAL);
    else if (p->p_head->ds_phys.ds_flags & DS_FLAG_NOPROMOTE)
        err = SET_ERROR(EXDEV);
    else if (p->p_head->ds_phys.ds_flags & DS_FLAG_INCONSISTENT)
        err = SET_ERROR(EBUSY);
    else
        err = promote_hold_chains(pa->pa_pool, p);
    if (err != 0)
        promote_rele(p);
    return err;
}

/* ---- space ---- */

typedef struct space {
    uint64_t s_used, s_comp, s_uncomp;
} space_t;

/* The blocks of the shared snapshots that were born after the base: they change directories. Syncing thread. */
static int
shared_space(dsl_pool_t *dp, const promote_t *p, space_t *s)
{
    const dsl_dataset_phys_t *o = &p->p_origin->ds_phys;
    dsl_dataset_phys_t base;
    uint64_t used, comp, uncomp;
    int err = mos_read_bonus(dp, p->p_base, DMU_OT_DSL_DATASET, &base, sizeof(base));

    if (err != 0)
        return err;
    s->s_used = o->ds_referenced_bytes - base.ds_referenced_bytes;
    s->s_comp = o->ds_compressed_bytes - base.ds_compressed_bytes;
    s->s_uncomp = o->ds_uncompressed_bytes - base.ds_uncompressed_bytes;
    for (size_t i = 0; i < p->p_shared.c_count; i++) {
        dsl_deadlist_space(dsl_dataset_deadlist(p->p_shared.c_ds[i]), &used, &comp, &uncomp);
        s->s_used += used;
        s->s_comp += comp;
        s->s_uncomp += uncomp;
    }
    return 0;
}

/* What was given up within a chain, of blocks born after since. */
static uint64_t
chain_dead(const chain_t *c, uint64_t since)
{
    uint64_t sum = 0, used, comp, uncomp;

    for (size_t i = 0; i < c->c_count; i++) {
        dsl_deadlist_t *dl = dsl_dataset_deadlist(c->c_ds[i]);
        if (since <
            TXG_INITIAL) /* all of it: no bucket has to be opened; with many snapshots these are many */
            dsl_deadlist_space(dl, &used, &comp, &uncomp);
        else
            dsl_deadlist_space_range(dl, since, UINT64_MAX, &used, &comp, &uncomp);
        sum += used;
    }
    return sum;
}

/* dd's sums change by sign * s, its SNAP part becomes snap. */
static void
move_space(dsl_dir_t *dd, int64_t sign, const space_t *s, uint64_t snap, dmu_tx_t *tx)
{
    int64_t used = sign * (int64_t)s->s_used, comp = sign * (int64_t)s->s_comp,
            uncomp = sign * (int64_t)s->s_uncomp;
    int64_t more = (int64_t)snap - (int64_t)dd->dd_phys.dd_used_breakdown[DD_USED_SNAP];

    dsl_dir_diduse_space(dd, DD_USED_HEAD, used, comp, uncomp, tx);
    dsl_dir_transfer_space(dd, more, DD_USED_HEAD, DD_USED_SNAP, tx);
}

/* ---- other clones of shared snapshots ---- */

typedef int (*clone_cb_t)(const promote_t *p, uint64_t head, dmu_tx_t *tx);

/* cb for the head of every clone of a shared snapshot, but for the clone that is promoted. */
static int
each_other_clone(dsl_pool_t *dp, const promote_t *p, clone_cb_t cb, dmu_tx_t *tx)
{
    zap_cursor_t zc;
    zap_attribute_t za;
    dsl_dataset_t *ds;
    int err = 0;

    for (size_t i = 0; i < p->p_shared.c_count && err == 0; i++) {
        uint64_t zap = p->p_shared.c_ds[i]->ds_phys.ds_next_clones_obj;
        if (zap == 0)
            continue;
        for (zap_cursor_init(&zc, pool_mos(dp), zap); err == 0 && (err = zap_cursor_retrieve(&zc, &za)) == 0;
             zap_cursor_advance(&zc)) {
            if ((err = dsl_dataset_hold_obj_locked(dp, za.za_first_integer, p, &ds)) != 0)
                break;
            if (ds->ds_dir != p->p_dd)
                err = cb(p, ds->ds_dir->dd_phys.dd_head_dataset_obj, tx);
            dsl_dataset_rele(ds, p);
        }
        zap_cursor_fini(&zc);
        err = err == ENOENT ? 0 : err;
    }
    return err;
}

/* Is value in the set, as it must be or must not be? */
static int
check_set(dsl_pool_t *dp, uint64_t zap, uint64_t value, bool member)
{
    int err = zap == 0 ? ENOENT : zap_lookup_int(pool_mos(dp), zap, value);

    return err == (member ? 0 : ENOENT) ? 0 : err == 0 || err == ENOENT ? SET_ERROR(EIO) : err;
}

static int
clone_can_move(const promote_t *p, uint64_t head, dmu_tx_t *tx)
{
    dsl_pool_t *dp = p->p_dd->dd_pool;
    int err = check_set(dp, p->p_odd->dd_phys.dd_clones, head, true);

    return err != 0 ? err : check_set(dp, p->p_dd->dd_phys.dd_clones, head, false);
}

static void
clones_remove(dsl_dir_t *dd, uint64_t head, dmu_tx_t *tx)
{
    char name[20];

    snprintf(name, sizeof(name), "%llx", (unsigned long long)head);
    mos_must(dd->dd_pool, zap_remove(pool_mos(dd->dd_pool), dd->dd_phys.dd_clones, name, tx));
}

static void
clones_add(dsl_dir_t *dd, uint64_t head, dmu_tx_t *tx)
{
    objset_t *mos = pool_mos(dd->dd_pool);

    if (dd->dd_phys.dd_clones == 0)
        dsl_dir_set(dd, &dd->dd_phys.dd_clones, zap_create(mos, DMU_OT_DSL_CLONES, DMU_OT_NONE, 0, tx), tx);
    mos_must(dd->dd_pool, zap_add_int_key(mos, dd->dd_phys.dd_clones, head, head, tx));
}

static int
clone_moves(const promote_t *p, uint64_t head, dmu_tx_t *tx)
{
    clones_remove(p->p_odd, head, tx);
    clones_add(p->p_dd, head, tx);
    return 0;
}

/* ---- check ---- */

static int
check_names(promote_arg_t *pa, const promote_t *p)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];
    uint64_t object;
    int err = ENOENT;

    dsl_dir_name(p->p_dd, name);
    for (size_t i = 0; i < p->p_shared.c_count && err == ENOENT; i++) {
        VERIFY0(dsl_dataset_snapname(p->p_shared.c_ds[i], pa->pa_conflict));
        if (strlen(name) + 1 + strlen(pa->pa_conflict) >= ZFS_MAX_DATASET_NAME_LEN)
            err = SET_ERROR(ENAMETOOLONG);
        else if ((err = dsl_dataset_snap_lookup(p->p_head, pa->pa_conflict, &object)) == 0)
            err = SET_ERROR(EEXIST);
    }
    return err == ENOENT ? 0 : err;
}

/* What chain_dead() will read. */
static int
check_deadlists(dsl_pool_t *dp, const chain_t *c, uint64_t since)
{
    int err = 0;

    for (size_t i = 0; i < c->c_count && err == 0; i++)
        err = dsl_deadlist_verify_from(dp, c->c_ds[i]->ds_phys.ds_deadlist_obj,
                                       since < TXG_INITIAL ? UINT64_MAX : since);
    return err;
}

/* Everybody who is to change says of the others what they say of him. */
static int
check_links(dsl_pool_t *dp, const promote_t *p, dmu_tx_t *tx)
{
    const dsl_dataset_phys_t *o = &p->p_origin->ds_phys;
    dsl_dataset_t *base;
    int err = dsl_dataset_hold_obj_locked(dp, p->p_base, p, &base);

    if (err != 0)
        return err == ENOENT ? SET_ERROR(EIO) : err;
    uint64_t first = p->p_own.c_ds[p->p_own.c_count - 1]->ds_object,
             other = p->p_after.c_ds[p->p_after.c_count - 1]->ds_object;
    if (base->ds_dir == p->p_dd || base->ds_dir == p->p_odd || o->ds_next_snap_obj != other)
        err = SET_ERROR(EIO);
    else if ((err = check_set(dp, base->ds_dir->dd_phys.dd_clones, p->p_ohead->ds_object, true)) == 0 &&
             (err = check_set(dp, base->ds_dir->dd_phys.dd_clones, p->p_head->ds_object, false)) == 0 &&
             (err = check_set(dp, o->ds_next_clones_obj, first, true)) == 0 &&
             (err = check_set(dp, o->ds_next_clones_obj, other, false)) == 0 &&
             (err = check_set(dp, p->p_dd->dd_phys.dd_clones, p->p_ohead->ds_object, false)) == 0)
        err = check_set(dp, p->p_odd->dd_phys.dd_clones, p->p_head->ds_object, true);
    dsl_dataset_rele(base, p);
    return err != 0 ? err : each_other_clone(dp, p, clone_can_move, tx);
}

/* All that sync will read can be read, and the clone's parents have room for what comes. */
static int
check_in_sync(dsl_pool_t *dp, const promote_t *p, dmu_tx_t *tx)
{
    const dsl_dataset_t *first = p->p_own.c_ds[p->p_own.c_count - 1];
    uint64_t base = p->p_odd->dd_origin_txg;
    space_t s;
    int err;

    if ((err = check_deadlists(dp, &p->p_own, base)) != 0 ||
        (err = check_deadlists(dp, &p->p_shared, base)) != 0 ||
        (err = check_deadlists(dp, &p->p_after, p->p_origin->ds_phys.ds_creation_txg)) != 0 ||
        (err = dsl_deadlist_verify_from(dp, first->ds_phys.ds_deadlist_obj,
                                        p->p_origin->ds_phys.ds_prev_snap_txg)) != 0 ||
        (err = check_links(dp, p, tx)) != 0 || (err = shared_space(dp, p, &s)) != 0)
        return err;
    return dsl_dir_transfer_possible(p->p_odd, p->p_dd, s.s_used);
}

static int
promote_check(void *arg, dmu_tx_t *tx)
{
    promote_arg_t *pa = arg;
    promote_t p;
    int err = promote_hold(pa, &p);

    if (err != 0)
        return err;
    err = check_names(pa, &p);
    if (err == 0 && tx != NULL)
        err = check_in_sync(pa->pa_pool, &p, tx);
    promote_rele(&p);
    return err;
}

/* ---- sync ---- */

/* O's next changes sides. */
static void
turn_origin(const promote_t *p, dmu_tx_t *tx)
{
    dsl_dataset_t *o = p->p_origin, *first = p->p_own.c_ds[p->p_own.c_count - 1];
    uint64_t other = p->p_after.c_ds[p->p_after.c_count - 1]->ds_object, unique, comp, uncomp;

    dsl_dataset_remove_from_next_clones(o, first->ds_object, tx);
    mos_must(o->ds_pool,
             zap_add_int_key(pool_mos(o->ds_pool), o->ds_phys.ds_next_clones_obj, other, other, tx));
    dsl_deadlist_space_range(dsl_dataset_deadlist(first), o->ds_phys.ds_prev_snap_txg, UINT64_MAX, &unique,
                             &comp, &uncomp);
    dsl_dataset_will_dirty(o, tx);
    mutex_enter(&o->ds_lock);
    o->ds_phys.ds_next_snap_obj = first->ds_object;
    o->ds_phys.ds_unique_bytes = unique;
    mutex_exit(&o->ds_lock);
}

/* Who is a clone of whom. */
static void
turn_directories(dsl_pool_t *dp, const promote_t *p, dmu_tx_t *tx)
{
    dsl_dataset_t *base;

    clones_remove(p->p_odd, p->p_head->ds_object, tx);
    clones_add(p->p_dd, p->p_ohead->ds_object, tx);
    if (!mos_must(dp, dsl_dataset_hold_obj_locked(dp, p->p_base, p, &base)))
        return;
    clones_remove(base->ds_dir, p->p_ohead->ds_object, tx);
    clones_add(base->ds_dir, p->p_head->ds_object, tx);
    p->p_dd->dd_origin_txg = base->ds_phys.ds_creation_txg;
    p->p_odd->dd_origin_txg = p->p_origin->ds_phys.ds_creation_txg;
    dsl_dataset_rele(base, p);
    dsl_dir_set(p->p_dd, &p->p_dd->dd_phys.dd_origin_obj, p->p_base, tx);
    dsl_dir_set(p->p_odd, &p->p_odd->dd_phys.dd_origin_obj, p->p_origin->ds_object, tx);
}

static void
move_snapshots(dsl_pool_t *dp, const promote_t *p, dmu_tx_t *tx)
{
    for (size_t i = 0; i < p->p_shared.c_count; i++) {
        dsl_dataset_t *ds = p->p_shared.c_ds[i];
        mos_must(dp, zap_remove(pool_mos(dp), p->p_ohead->ds_phys.ds_snapnames_zapobj, ds->ds_snapname, tx));
        mos_must(dp, zap_add_u64(pool_mos(dp), p->p_head->ds_phys.ds_snapnames_zapobj, ds->ds_snapname,
                                 ds->ds_object, tx));
        dsl_dataset_move_sync(ds, p->p_dd, tx);
    }
}

static void
promote_sync(void *arg, dmu_tx_t *tx)
{
    promote_arg_t *pa = arg;
    dsl_pool_t *dp = pa->pa_pool;
    promote_t p;
    space_t s;

    if (!mos_must(dp, promote_hold(pa, &p)))
        return;
    if (!mos_must(dp, shared_space(dp, &p, &s))) {
        promote_rele(&p);
        return;
    }
    history_log_ds(p.p_head, "promote", tx, " ");
    mos_must(dp, each_other_clone(dp, &p, clone_moves, tx));
    turn_origin(&p, tx);
    turn_directories(dp, &p, tx);
    move_snapshots(dp, &p, tx);
    uint64_t snap =
        chain_dead(&p.p_own, p.p_dd->dd_origin_txg) + chain_dead(&p.p_shared, p.p_dd->dd_origin_txg);
    move_space(p.p_odd, -1, &s, chain_dead(&p.p_after, p.p_odd->dd_origin_txg), tx);
    move_space(p.p_dd, 1, &s, snap, tx);
    promote_rele(&p);
}

int
dsl_promote(dsl_pool_t *dp, const char *clone, char *conflict)
{
    promote_arg_t pa = {.pa_pool = dp, .pa_name = clone};
    int err = dsl_sync_task(dp, promote_check, promote_sync, &pa, 20, DSL_SPACE_RESERVED);

    if (conflict != NULL)
        memcpy(conflict, pa.pa_conflict, sizeof(pa.pa_conflict));
    return err;
}
