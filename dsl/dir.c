/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dir.c - DSL directories: the tree of names, and the space each part of it uses.
 *
 *      tank ───────────── child ZAP { home, $MOS, $FREE, $ORIGIN }
 *       │ used = HEAD + SNAP + CHILD + CHILD_RSRV + REFRSRV
 *       └─ home           HEAD   blocks of the head born after the origin      (what destroying the head alone would free)
 *           │             SNAP   blocks only snapshots hold                    (what destroying all snapshots would free)
 *           └─ user       CHILD  used by the children; CHILD_RSRV promised to them beyond that
 *
 * INVARIANTS
 *  1. dd_used_bytes = sum of dd_used_breakdown.
 *  2. CHILD + CHILD_RSRV of a directory = sum over its children of max(used, reserved).
 *  3. The root's used bytes = everything allocated in the pool ($MOS and $FREE are children too) + what is reserved beyond.
 *  4. A directory in memory holds its parent, so a chain upwards never needs the disk.
 *
 * A change of delta bytes in one directory changes its parent by less when a reservation absorbs it:
 *
 *      used      |-------|        reserved |------------|        used + delta still below: the parent sees nothing,
 *      + delta   |-----------|                                    only CHILD_RSRV becomes CHILD
 *
 * Typical sequence:  dsl_dir_hold(dp, "tank/home", FTAG, &dd, NULL); ... dsl_dir_rele(dd, FTAG);
 * In a sync task:    dsl_dir_diduse_space(dd, DD_USED_SNAP, -used, -comp, -uncomp, tx);
 *
 * ZFS: module/zfs/dsl_dir.c. There a transaction's space is first reserved, then turned into "to be written", then into used; here a
 * promise is kept until its txg has synced: it counts too much for a moment, and waiting a txg settles it.
 */
#include <time.h>
#include <stdio.h>
#include "dsl_impl.h"

/* ---- holds ---- */

static dsl_dir_t *
dir_find(dsl_pool_t *dp, uint64_t object) /* dp_lock held; takes a reference */
{
    for (dsl_dir_t *dd = list_head(&dp->dp_dirs); dd != NULL; dd = list_next(&dp->dp_dirs, dd)) {
        if (dd->dd_object == object) {
            dd->dd_refs++;
            return dd;
        }
    }
    return NULL;
}

static void
dir_free(dsl_dir_t *dd)
{
    mutex_destroy(&dd->dd_lock);
    free(dd);
}

int
mos_name_of(dsl_pool_t *dp, uint64_t zapobj, uint64_t value, char *name)
{
    zap_cursor_t zc;
    zap_attribute_t za;
    int err;

    zap_cursor_init(&zc, pool_mos(dp), zapobj);
    while ((err = zap_cursor_retrieve(&zc, &za)) == 0 && za.za_first_integer != value)
        zap_cursor_advance(&zc);
    zap_cursor_fini(&zc);
    if (err == 0)
        memcpy(name, za.za_name, ZFS_MAX_DATASET_NAME_LEN);
    return err;
}

/* A bonus of the given type, copied out; short ones (old pools) are filled up with zeros. */
int
mos_read_bonus(dsl_pool_t *dp, uint64_t object, uint8_t type, void *out, size_t n)
{
    dmu_object_info_t doi;
    dmu_buf_t *db;
    int err;

    if (object == 0)
        return SET_ERROR(ENOENT);
    if ((err = dmu_object_info(pool_mos(dp), object, &doi)) != 0)
        return err;
    if (doi.doi_bonus_type != type)
        return SET_ERROR(EIO);
    if ((err = dmu_bonus_hold(pool_mos(dp), object, &db)) != 0)
        return err;
    memset(out, 0, n);
    memcpy(out, db->db_data, MIN(n, db->db_size));
    dmu_buf_rele(db);
    return 0;
}

static int dir_hold_obj(dsl_pool_t *dp, uint64_t ddobj, const char *name, int depth, dsl_dir_t **ddp);

static int
dir_load(dsl_dir_t *dd, const char *name, int depth)
{
    dsl_pool_t *dp = dd->dd_pool;
    dsl_dataset_phys_t origin;
    int err = mos_read_bonus(dp, dd->dd_object, DMU_OT_DSL_DIR, &dd->dd_phys, sizeof(dd->dd_phys));

    if (err == 0 && depth > ZFS_MAX_DATASET_NAME_LEN / 2)
        err = SET_ERROR(EIO); /* parents in a circle */
    if (err == 0 && dd->dd_phys.dd_parent_obj != 0)
        err = dir_hold_obj(dp, dd->dd_phys.dd_parent_obj, NULL, depth + 1, &dd->dd_parent);
    if (err == 0 && dd->dd_phys.dd_origin_obj != 0 &&
        (err = mos_read_bonus(dp, dd->dd_phys.dd_origin_obj, DMU_OT_DSL_DATASET, &origin, sizeof(origin))) ==
            0)
        dd->dd_origin_txg = origin.ds_creation_txg;
    if (err != 0)
        return err;
    if (name != NULL)
        snprintf(dd->dd_name, sizeof(dd->dd_name), "%s", name);
    else if (dd->dd_parent == NULL)
        snprintf(dd->dd_name, sizeof(dd->dd_name), "%s", spa_name(dp->dp_spa));
    else
        err = mos_name_of(dp, dd->dd_parent->dd_phys.dd_child_dir_zapobj, dd->dd_object, dd->dd_name);
    return err;
}

static int
dir_hold_obj(dsl_pool_t *dp, uint64_t ddobj, const char *name, int depth, dsl_dir_t **ddp)
{
    dsl_dir_t *dd, *other;
    int err;

    mutex_enter(&dp->dp_lock);
    *ddp = dir_find(dp, ddobj);
    mutex_exit(&dp->dp_lock);
    if (*ddp != NULL)
        return 0;
    dd = xzalloc(sizeof(*dd));
    dd->dd_pool = dp;
    dd->dd_object = ddobj;
    dd->dd_refs = 1;
    mutex_init(&dd->dd_lock);
    if ((err = dir_load(dd, name, depth)) == 0) {
        mutex_enter(&dp->dp_lock);
        if ((other = dir_find(dp, ddobj)) == NULL)
            list_insert_tail(&dp->dp_dirs, dd);
        mutex_exit(&dp->dp_lock);
        *ddp = other != NULL ? other : dd;
        if (other == NULL)
            return 0;
    }
    if (dd->dd_parent != NULL)
        dsl_dir_rele(dd->dd_parent, dd);
    dir_free(dd);
    return err;
}

int
dsl_dir_hold_obj(dsl_pool_t *dp, uint64_t ddobj, const void *tag, dsl_dir_t **ddp)
{
    return dir_hold_obj(dp, ddobj, NULL, 0, ddp);
}

void
dsl_dir_rele(dsl_dir_t *dd, const void *tag)
{
    while (dd != NULL) {
        dsl_pool_t *dp = dd->dd_pool;
        mutex_enter(&dp->dp_lock);
        dsl_dir_t *parent = dd->dd_parent;
        VERIFY(dd->dd_refs > 0);
        bool last = --dd->dd_refs == 0;
        if (last && list_link_active(&dd->dd_link))
            list_remove(&dp->dp_dirs, dd);
        mutex_exit(&dp->dp_lock);
        if (!last)
            return;
        dir_free(dd);
        dd = parent;
    }
}

/* The first component of a name into comp; returns what follows it, NULL at the end (or at '@'). */
static const char *
next_component(const char *name, char *comp)
{
    size_t n = strcspn(name, "/@");

    n = MIN(n, ZFS_MAX_DATASET_NAME_LEN - 1);
    memcpy(comp, name, n);
    comp[n] = '\0';
    return name[n] == '/' ? name + n + 1 : NULL;
}

int
dsl_dir_hold(dsl_pool_t *dp, const char *name, const void *tag, dsl_dir_t **ddp, const char **tail)
{
    char comp[ZFS_MAX_DATASET_NAME_LEN];
    const char *rest = next_component(name, comp);
    dsl_dir_t *dd, *child;
    uint64_t object;
    int err;

    if (strlen(name) >= ZFS_MAX_DATASET_NAME_LEN)
        return SET_ERROR(ENAMETOOLONG);
    if (strcmp(comp, spa_name(dp->dp_spa)) != 0)
        return SET_ERROR(ENOENT);
    err = dsl_dir_hold_obj(dp, dp->dp_root_dir->dd_object, tag, &dd);
    while (err == 0 && rest != NULL) {
        const char *at = rest;
        rest = next_component(at, comp);
        err = zap_lookup_u64(pool_mos(dp), dd->dd_phys.dd_child_dir_zapobj, comp, &object);
        if (err == ENOENT && tail != NULL) {
            *ddp = dd;
            *tail = at;
            return 0;
        }
        if (err == 0)
            err = dir_hold_obj(dp, object, comp, 0, &child);
        if (err == 0 && child->dd_parent != dd) {
            dsl_dir_rele(child, tag);
            err = SET_ERROR(EIO);
        }
        dsl_dir_rele(dd, tag);
        if (err == 0)
            dd = child;
    }
    if (err != 0)
        return err == ENOENT ? SET_ERROR(ENOENT) : err;
    if (tail != NULL)
        *tail = NULL;
    *ddp = dd;
    return 0;
}

void
dsl_dir_name_locked(dsl_dir_t *dd, char *name)
{
    char buf[ZFS_MAX_DATASET_NAME_LEN], *at = buf + sizeof(buf) - 1;
    size_t n;

    *at = '\0'; /* filled from the end */
    for (dsl_dir_t *up = dd; up != NULL && (n = strlen(up->dd_name)) < (size_t)(at - buf);
         up = up->dd_parent) {
        if (up != dd)
            *--at = '/';
        at -= n;
        memcpy(at, up->dd_name, n);
    }
    memcpy(name, at, (size_t)(buf + sizeof(buf) - at));
}

void
dsl_dir_name(dsl_dir_t *dd, char *name)
{
    mutex_enter(&dd->dd_pool->dp_lock);
    dsl_dir_name_locked(dd, name);
    mutex_exit(&dd->dd_pool->dp_lock);
}

bool
dsl_dir_is_clone(dsl_dir_t *dd)
{
    return dd->dd_phys.dd_origin_obj != 0 && dd->dd_phys.dd_origin_obj != dd->dd_pool->dp_origin_snap_obj;
}

/* ---- writing back ---- */

bool
mos_must(dsl_pool_t *dp, int err)
{
    if (err != 0)
        spa_suspend(dp->dp_spa, err);
    return err == 0;
}

/* It was readable when it was loaded; when it no longer is, this txg must not become the pool's state. */
bool
mos_bonus_for_sync(dsl_pool_t *dp, uint64_t object, dmu_buf_t **dbp)
{
    return mos_must(dp, dmu_bonus_hold(pool_mos(dp), object, dbp));
}

void
dsl_dir_will_dirty(dsl_dir_t *dd, dmu_tx_t *tx)
{
    dsl_pool_t *dp = dd->dd_pool;

    if (list_link_active(&dd->dd_dirty_link))
        return;
    mutex_enter(&dp->dp_lock);
    dd->dd_refs++;
    mutex_exit(&dp->dp_lock);
    list_insert_tail(&dp->dp_dirty_dirs, dd);
}

void
dsl_dir_set(dsl_dir_t *dd, uint64_t *field, uint64_t value, dmu_tx_t *tx)
{
    dsl_dir_will_dirty(dd, tx);
    mutex_enter(&dd->dd_lock);
    *field = value;
    mutex_exit(&dd->dd_lock);
}

void
dsl_dir_sync(dsl_dir_t *dd, dmu_tx_t *tx)
{
    dmu_buf_t *db;

    if (!mos_bonus_for_sync(dd->dd_pool, dd->dd_object, &db))
        return;
    dmu_buf_will_dirty(db, tx);
    mutex_enter(&dd->dd_lock);
    memcpy(db->db_data, &dd->dd_phys, MIN(db->db_size, sizeof(dd->dd_phys)));
    mutex_exit(&dd->dd_lock);
    dmu_buf_rele(db);
}

/* ---- making and removing ---- */

uint64_t
dsl_dir_create_sync(dsl_pool_t *dp, dsl_dir_t *parent, const char *name, dmu_tx_t *tx)
{
    objset_t *mos = pool_mos(dp);
    uint64_t object;
    dmu_buf_t *db;

    if (!mos_must(dp, dmu_object_alloc(mos, DMU_OT_DSL_DIR, 0, DMU_OT_DSL_DIR, sizeof(dsl_dir_phys_t), 0, tx,
                                       &object)))
        return 0;
    if (parent != NULL)
        mos_must(dp, zap_add_u64(mos, parent->dd_phys.dd_child_dir_zapobj, name, object, tx));
    else
        mos_must(dp, zap_add_u64(mos, DMU_POOL_DIRECTORY_OBJECT, DMU_POOL_ROOT_DATASET, object, tx));
    if (!mos_bonus_for_sync(dp, object, &db))
        return 0;
    dmu_buf_will_dirty(db, tx);
    dsl_dir_phys_t *phys = db->db_data;
    memset(phys, 0, sizeof(*phys));
    phys->dd_creation_time = (uint64_t)time(NULL);
    phys->dd_parent_obj = parent != NULL ? parent->dd_object : 0;
    phys->dd_props_zapobj = zap_create(mos, DMU_OT_DSL_PROPS, DMU_OT_NONE, 0, tx);
    phys->dd_child_dir_zapobj = zap_create(mos, DMU_OT_DSL_DIR_CHILD_MAP, DMU_OT_NONE, 0, tx);
    phys->dd_flags = DD_FLAG_USED_BREAKDOWN;
    dmu_buf_rele(db);
    return object;
}

/* What is still promised to it goes back to the parent. */
static void
dir_drop_reservation(dsl_dir_t *dd, dmu_tx_t *tx)
{
    int64_t unfilled = (int64_t)dd->dd_phys.dd_reserved - (int64_t)dd->dd_phys.dd_used_bytes;

    dsl_dir_set(dd, &dd->dd_phys.dd_reserved, 0, tx);
    if (unfilled > 0)
        dsl_dir_diduse_space(dd->dd_parent, DD_USED_CHILD_RSRV, -unfilled, 0, 0, tx);
}

void
dsl_dir_destroy_sync(uint64_t ddobj, dsl_pool_t *dp, dmu_tx_t *tx)
{
    objset_t *mos = pool_mos(dp);
    dsl_dir_t *dd;

    if (!mos_must(dp, dsl_dir_hold_obj(dp, ddobj, __func__, &dd)))
        return;
    dir_drop_reservation(dd, tx);
    mos_must(dp, dd->dd_phys.dd_used_bytes == 0 ? 0 : SET_ERROR(EIO));
    mos_must(dp, zap_destroy(mos, dd->dd_phys.dd_child_dir_zapobj, tx));
    mos_must(dp, zap_destroy(mos, dd->dd_phys.dd_props_zapobj, tx));
    if (dd->dd_phys.dd_clones != 0)
        mos_must(dp, zap_destroy(mos, dd->dd_phys.dd_clones, tx));
    mos_must(dp, zap_remove(mos, dd->dd_parent->dd_phys.dd_child_dir_zapobj, dd->dd_name, tx));
    dsl_dir_undirty(dd);
    mutex_enter(&dp->dp_lock);
    list_remove(&dp->dp_dirs, dd); /* its number may be used again: not to be found any more */
    mutex_exit(&dp->dp_lock);
    dsl_dir_rele(dd, __func__);
    feature_free_object(dp, ddobj, tx);
}

/* Its object is about to go: nothing is to be written back any more. */
void
dsl_dir_undirty(dsl_dir_t *dd)
{
    if (list_link_active(&dd->dd_dirty_link)) {
        list_remove(&dd->dd_pool->dp_dirty_dirs, dd);
        dsl_dir_rele(dd, NULL);
    }
}

int
dsl_dir_count_children(dsl_dir_t *dd, uint64_t *n)
{
    return zap_count(pool_mos(dd->dd_pool), dd->dd_phys.dd_child_dir_zapobj, n);
}

/* ---- space ---- */

/* What a change of used by delta means for the parent (invariant 2). */
static int64_t
parent_delta(const dsl_dir_phys_t *p, int64_t delta)
{
    int64_t used = (int64_t)p->dd_used_bytes, reserved = (int64_t)p->dd_reserved;

    return MAX(used + delta, reserved) - MAX(used, reserved);
}

void
dsl_dir_diduse_space(dsl_dir_t *dd, dd_used_t type, int64_t used, int64_t comp, int64_t uncomp, dmu_tx_t *tx)
{
    int64_t up;

    dsl_dir_will_dirty(dd, tx);
    mutex_enter(&dd->dd_lock);
    up = parent_delta(&dd->dd_phys, used);
    dd->dd_phys.dd_used_bytes += (uint64_t)used;
    dd->dd_phys.dd_compressed_bytes += (uint64_t)comp;
    dd->dd_phys.dd_uncompressed_bytes += (uint64_t)uncomp;
    if (dd->dd_phys.dd_flags & DD_FLAG_USED_BREAKDOWN)
        dd->dd_phys.dd_used_breakdown[type] += (uint64_t)used;
    mutex_exit(&dd->dd_lock);
    if (dd->dd_parent == NULL)
        return;
    dsl_dir_diduse_space(dd->dd_parent, DD_USED_CHILD, up, comp, uncomp, tx);
    dsl_dir_transfer_space(dd->dd_parent, used - up, DD_USED_CHILD_RSRV, DD_USED_CHILD, tx);
}

void
dsl_dir_transfer_space(dsl_dir_t *dd, int64_t delta, dd_used_t from, dd_used_t to, dmu_tx_t *tx)
{
    if (delta == 0 || (dd->dd_phys.dd_flags & DD_FLAG_USED_BREAKDOWN) == 0)
        return;
    dsl_dir_will_dirty(dd, tx);
    mutex_enter(&dd->dd_lock);
    dd->dd_phys.dd_used_breakdown[from] -= (uint64_t)delta;
    dd->dd_phys.dd_used_breakdown[to] += (uint64_t)delta;
    mutex_exit(&dd->dd_lock);
}

static int64_t
dir_promised(const dsl_dir_t *dd) /* dd_lock held */
{
    int64_t sum = 0;

    for (int t = 0; t < TXG_SIZE; t++)
        sum += dd->dd_reserved_tx[t];
    return sum;
}

uint64_t
dsl_dir_available(dsl_dir_t *dd, bool netfree)
{
    uint64_t avail, used, quota, reserved;

    mutex_enter(&dd->dd_lock);
    used = dd->dd_phys.dd_used_bytes;
    quota = dd->dd_phys.dd_quota;
    reserved = dd->dd_phys.dd_reserved;
    mutex_exit(&dd->dd_lock);
    if (dd->dd_parent == NULL) {
        uint64_t capacity = pool_capacity(dd->dd_pool, netfree);
        avail = capacity > used ? capacity - used : 0;
    } else {
        avail = dsl_dir_available(dd->dd_parent, netfree) + (reserved > used ? reserved - used : 0);
    }
    if (quota != 0 && !netfree)
        avail = MIN(avail, quota > used ? quota - used : 0);
    return avail;
}

static bool
dir_is_above(const dsl_dir_t *above, const dsl_dir_t *dd)
{
    while (dd != NULL && dd != above)
        dd = dd->dd_parent;
    return dd != NULL;
}

/*
 *            root            The common parent sees what the one side grows less what the other shrinks: reservations
 *           /    \           may absorb a part of either. Below it every quota is asked.
 *       from      to
 */
int
dsl_dir_transfer_possible(dsl_dir_t *from, dsl_dir_t *to, uint64_t bytes)
{
    int64_t grows = (int64_t)bytes, shrinks = -(int64_t)bytes;
    dsl_dir_t *up = to;

    for (; !dir_is_above(up, from); up = up->dd_parent) {
        const dsl_dir_phys_t *p = &up->dd_phys;
        if (grows > 0 && p->dd_quota != 0 && p->dd_used_bytes + (uint64_t)grows > p->dd_quota)
            return SET_ERROR(EDQUOT);
        grows = parent_delta(p, grows);
    }
    for (dsl_dir_t *dd = from; dd != up; dd = dd->dd_parent)
        shrinks = parent_delta(&dd->dd_phys, shrinks);
    if (grows + shrinks > 0 && dsl_dir_available(up, false) < (uint64_t)(grows + shrinks))
        return SET_ERROR(ENOSPC);
    return 0;
}

/*
 * Promise bytes below dd to a transaction, if the quotas allow it (netfree: they are not asked).
 *
 *      used of dd    |==== written ====|---- credit ----|        bytes fill the credit first, and the parent sees nothing of that;
 *      reserved      |------------------------------------|      the same for what dd's own reservation still absorbs
 */
int
dsl_dir_reserve(dsl_dir_t *dd, uint64_t bytes, uint64_t credit, bool netfree, uint64_t txg)
{
    int err = 0;

    mutex_enter(&dd->dd_lock);
    uint64_t quota = netfree ? 0 : dd->dd_phys.dd_quota, charged = dd->dd_phys.dd_used_bytes;
    uint64_t used = charged - MIN(charged, credit);
    if (quota != 0 && used + bytes > quota)
        err = SET_ERROR(EDQUOT);
    else if (quota != 0 && used + (uint64_t)dir_promised(dd) + bytes > quota)
        err = EAGAIN;
    charged = MAX(charged, dd->dd_phys.dd_reserved);
    mutex_exit(&dd->dd_lock);
    if (err == 0 && dd->dd_parent != NULL)
        err = dsl_dir_reserve(dd->dd_parent, bytes, charged - used, netfree, txg);
    if (err == 0) {
        mutex_enter(&dd->dd_lock);
        dd->dd_reserved_tx[txg & TXG_MASK] += (int64_t)bytes;
        mutex_exit(&dd->dd_lock);
    }
    return err;
}

void
dsl_dir_unreserve(dsl_dir_t *dd, uint64_t bytes, uint64_t txg)
{
    for (; dd != NULL; dd = dd->dd_parent) {
        mutex_enter(&dd->dd_lock);
        dd->dd_reserved_tx[txg & TXG_MASK] -= (int64_t)bytes;
        mutex_exit(&dd->dd_lock);
    }
}
