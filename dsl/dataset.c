/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dataset.c - datasets in memory: found by name or object, held, owned, opened.
 *
 *      dsl_dataset_hold  ──► the memory stays                     stats, names
 *      long hold         ──► and it is not destroyed              send, a mounted snapshot
 *      own               ──► and nobody else owns it: no rollback, no receive, no destroy     mount, receive
 *
 * INVARIANTS
 *  1. One dsl_dataset per object in dp_datasets; it is there while ds_refs > 0 and not dead.
 *  2. A head holds its previous snapshot (or its origin): births and kills never read the disk for it.
 *  3. ds_objset is opened at most once and lives as long as the dataset's memory, except that destroy and swap close it.
 *  4. num_children tells a snapshot (1 + clones) from a head (0).
 *
 * Typical sequence:
 *     dsl_dataset_hold(dp, "tank/home", FTAG, &ds); dsl_dataset_objset(ds, &os); ... dsl_dataset_rele(ds, FTAG);
 *
 * ZFS: module/zfs/dsl_dataset.c (2000 lines of it are in snapshot.c, clone.c, destroy.c, account.c, stats.c here). ZFS keeps a
 * dataset as the user data of its bonus buffer; here it has a copy, see dsl_impl.h.
 */
#include <stdio.h>
#include "dsl_impl.h"

/* ---- holds ---- */

static dsl_dataset_t *
ds_find(dsl_pool_t *dp, uint64_t object) /* dp_lock held; takes a reference */
{
    for (dsl_dataset_t *ds = list_head(&dp->dp_datasets); ds != NULL; ds = list_next(&dp->dp_datasets, ds)) {
        if (ds->ds_object == object) {
            ds->ds_refs++;
            return ds;
        }
    }
    return NULL;
}

/* Give back all it has. Nobody else can see it. */
static void
ds_free(dsl_dataset_t *ds)
{
    if (ds->ds_objset != NULL)
        objset_close(ds->ds_objset);
    if (ds->ds_deadlist != NULL)
        dsl_deadlist_close(ds->ds_deadlist);
    if (ds->ds_prev != NULL)
        dsl_dataset_rele(ds->ds_prev, ds);
    if (ds->ds_dir != NULL)
        dsl_dir_rele(ds->ds_dir, ds);
    mutex_destroy(&ds->ds_opening);
    mutex_destroy(&ds->ds_lock);
    free(ds);
}

/* Which must be a snapshot: heads in a circle would have no end. */
static int
load_prev(dsl_dataset_t *ds)
{
    dsl_dataset_phys_t prev;
    int err =
        mos_read_bonus(ds->ds_pool, ds->ds_phys.ds_prev_snap_obj, DMU_OT_DSL_DATASET, &prev, sizeof(prev));

    if (err == 0 && prev.ds_num_children == 0)
        err = SET_ERROR(EIO);
    return err != 0
               ? err
               : dsl_dataset_hold_obj_locked(ds->ds_pool, ds->ds_phys.ds_prev_snap_obj, ds, &ds->ds_prev);
}

static int
ds_load(dsl_dataset_t *ds, const char *snapname)
{
    dsl_pool_t *dp = ds->ds_pool;
    dsl_dataset_phys_t head, *p = &ds->ds_phys;
    int err = mos_read_bonus(dp, ds->ds_object, DMU_OT_DSL_DATASET, p, sizeof(*p));

    if (err == 0)
        err = dsl_dir_hold_obj(dp, p->ds_dir_obj, ds, &ds->ds_dir);
    if (err != 0)
        return err;
    ds->ds_features = feature_ds_load(dp, ds->ds_object);
    ds->ds_snapshot = p->ds_num_children != 0;
    if (!ds->ds_snapshot) {
        quota_load(ds);
        if (p->ds_prev_snap_obj != 0)
            err = load_prev(ds);
    } else if (snapname != NULL) {
        snprintf(ds->ds_snapname, sizeof(ds->ds_snapname), "%s", snapname);
    } else {
        err = mos_read_bonus(dp, ds->ds_dir->dd_phys.dd_head_dataset_obj, DMU_OT_DSL_DATASET, &head,
                             sizeof(head));
        if (err == 0)
            err = mos_name_of(dp, head.ds_snapnames_zapobj, ds->ds_object, ds->ds_snapname);
    }
    return err;
}

static int
ds_hold_obj(dsl_pool_t *dp, uint64_t dsobj, const char *snapname, dsl_dataset_t **dsp)
{
    dsl_dataset_t *ds, *other;

    mutex_enter(&dp->dp_lock);
    *dsp = ds_find(dp, dsobj);
    mutex_exit(&dp->dp_lock);
    if (*dsp != NULL)
        return 0;
    ds = xzalloc(sizeof(*ds));
    ds->ds_pool = dp;
    ds->ds_object = dsobj;
    ds->ds_refs = 1;
    mutex_init(&ds->ds_opening);
    mutex_init(&ds->ds_lock);
    int err = ds_load(ds, snapname);
    if (err != 0) {
        ds_free(ds);
        return err;
    }
    mutex_enter(&dp->dp_lock);
    if ((other = ds_find(dp, dsobj)) == NULL)
        list_insert_tail(&dp->dp_datasets, ds);
    mutex_exit(&dp->dp_lock);
    *dsp = other != NULL ? other : ds;
    if (other != NULL)
        ds_free(ds);
    return 0;
}

int
dsl_dataset_hold_obj_locked(dsl_pool_t *dp, uint64_t dsobj, const void *tag, dsl_dataset_t **dsp)
{
    return ds_hold_obj(dp, dsobj, NULL, dsp);
}

int
dsl_dataset_hold_locked(dsl_pool_t *dp, const char *name, const void *tag, dsl_dataset_t **dsp)
{
    const char *snap = strchr(name, '@');
    dsl_dataset_t *head, *ds;
    dsl_dir_t *dd;
    uint64_t object;
    int err = name_check_internal(name);

    if (err != 0 || (err = dsl_dir_hold(dp, name, tag, &dd, NULL)) != 0)
        return err;
    object = dd->dd_phys.dd_head_dataset_obj;
    err = object == 0 ? SET_ERROR(ENOENT) : ds_hold_obj(dp, object, NULL, &head);
    dsl_dir_rele(dd, tag);
    if (err != 0)
        return err;
    if (snap == NULL) {
        *dsp = head;
        return 0;
    }
    err = dsl_dataset_snap_lookup(head, snap + 1, &object);
    if (err == 0 && (err = ds_hold_obj(dp, object, snap + 1, &ds)) == 0)
        *dsp = ds;
    dsl_dataset_rele(head, tag);
    return err;
}

int
dsl_dataset_hold(dsl_pool_t *dp, const char *name, const void *tag, dsl_dataset_t **dsp)
{
    rw_enter_read(&dp->dp_config_lock);
    int err = dsl_dataset_hold_locked(dp, name, tag, dsp);
    rw_exit(&dp->dp_config_lock);
    return err;
}

int
dsl_dataset_hold_obj(dsl_pool_t *dp, uint64_t dsobj, const void *tag, dsl_dataset_t **dsp)
{
    rw_enter_read(&dp->dp_config_lock);
    int err = dsl_dataset_hold_obj_locked(dp, dsobj, tag, dsp);
    rw_exit(&dp->dp_config_lock);
    return err;
}

void
dsl_dataset_add_ref(dsl_dataset_t *ds)
{
    mutex_enter(&ds->ds_pool->dp_lock);
    VERIFY(ds->ds_refs > 0);
    ds->ds_refs++;
    mutex_exit(&ds->ds_pool->dp_lock);
}

void
dsl_dataset_rele(dsl_dataset_t *ds, const void *tag)
{
    dsl_pool_t *dp = ds->ds_pool;

    mutex_enter(&dp->dp_lock);
    VERIFY(ds->ds_refs > 0);
    bool last = --ds->ds_refs == 0;
    if (last && list_link_active(&ds->ds_link))
        list_remove(&dp->dp_datasets, ds);
    mutex_exit(&dp->dp_lock);
    if (last)
        ds_free(ds);
}

/* ---- owners ---- */

bool
dsl_dataset_tryown(dsl_dataset_t *ds, const void *tag)
{
    mutex_enter(&ds->ds_pool->dp_lock);
    bool won = ds->ds_owner == NULL && !ds->ds_dead;
    if (won)
        ds->ds_owner = tag;
    mutex_exit(&ds->ds_pool->dp_lock);
    return won;
}

int
dsl_dataset_own_locked(dsl_pool_t *dp, const char *name, bool inconsistent_ok, const void *tag,
                       dsl_dataset_t **dsp)
{
    dsl_dataset_t *ds;
    int err = dsl_dataset_hold_locked(dp, name, tag, &ds);

    if (err != 0)
        return err;
    if ((!inconsistent_ok && (ds->ds_phys.ds_flags & DS_FLAG_INCONSISTENT)) || !dsl_dataset_tryown(ds, tag)) {
        dsl_dataset_rele(ds, tag);
        return SET_ERROR(EBUSY);
    }
    *dsp = ds;
    return 0;
}

int
dsl_dataset_own(dsl_pool_t *dp, const char *name, bool inconsistent_ok, const void *tag, dsl_dataset_t **dsp)
{
    rw_enter_read(&dp->dp_config_lock);
    int err = dsl_dataset_own_locked(dp, name, inconsistent_ok, tag, dsp);
    rw_exit(&dp->dp_config_lock);
    return err;
}

void
dsl_dataset_disown(dsl_dataset_t *ds, const void *tag)
{
    mutex_enter(&ds->ds_pool->dp_lock);
    VERIFY(ds->ds_owner == tag);
    ds->ds_owner = NULL;
    mutex_exit(&ds->ds_pool->dp_lock);
    dsl_dataset_rele(ds, tag);
}

void
dsl_dataset_long_hold(dsl_dataset_t *ds, const void *tag)
{
    mutex_enter(&ds->ds_pool->dp_lock);
    ds->ds_long_holds++;
    mutex_exit(&ds->ds_pool->dp_lock);
}

void
dsl_dataset_long_rele(dsl_dataset_t *ds, const void *tag)
{
    mutex_enter(&ds->ds_pool->dp_lock);
    VERIFY(ds->ds_long_holds > 0);
    ds->ds_long_holds--;
    mutex_exit(&ds->ds_pool->dp_lock);
}

bool
dsl_dataset_long_held(dsl_dataset_t *ds)
{
    mutex_enter(&ds->ds_pool->dp_lock);
    bool held = ds->ds_long_holds > 0 || ds->ds_owner != NULL;
    mutex_exit(&ds->ds_pool->dp_lock);
    return held;
}

/* ---- its objset ---- */

void
dsl_dataset_objset_props(dsl_dataset_t *ds, objset_props_t *op)
{
    uint64_t compress = ZIO_COMPRESS_ON, copies = 1, recordsize = SPA_OLD_MAXBLOCKSIZE;

    pool_mos_props(ds->ds_pool, op);
    (void)prop_get_u64_locked(ds, "compression", &compress);
    (void)prop_get_u64_locked(ds, "copies", &copies);
    (void)prop_get_u64_locked(ds, "recordsize", &recordsize);
    op->op_compress = (enum zio_compress)(compress & 0x7f);
    op->op_complevel = (uint8_t)(compress >> 7);
    if (op->op_compress == ZIO_COMPRESS_ON || op->op_compress == ZIO_COMPRESS_INHERIT)
        op->op_compress = op->op_lz4 ? ZIO_COMPRESS_LZ4 : ZIO_COMPRESS_LZJB;
    op->op_copies = (uint8_t)MIN(MAX(copies, 1), 3);
    op->op_recordsize = ISP2(recordsize) && recordsize >= SPA_MINBLOCKSIZE && recordsize <= SPA_MAXBLOCKSIZE
                            ? (uint32_t)recordsize
                            : SPA_OLD_MAXBLOCKSIZE;
}

static int
objset_open_ds(dsl_dataset_t *ds)
{
    bool writable = ds->ds_phys.ds_num_children == 0 && ds->ds_pool->dp_txg != NULL;
    struct objset_hooks hooks;
    objset_props_t props;
    blkptr_t bp;

    mutex_enter(&ds->ds_lock);
    bp = ds->ds_phys.ds_bp;
    mutex_exit(&ds->ds_lock);
    if (BP_IS_HOLE(&bp))
        return SET_ERROR(ENOENT);
    dsl_dataset_hooks(ds, &hooks);
    dsl_dataset_objset_props(ds, &props);
    return objset_open(ds->ds_pool->dp_spa, writable ? ds->ds_pool->dp_txg : NULL, &bp, ds->ds_object, &hooks,
                       &props, &ds->ds_objset);
}

int
dsl_dataset_objset_locked(dsl_dataset_t *ds, objset_t **osp)
{
    mutex_enter(&ds->ds_opening);
    int err = ds->ds_objset != NULL ? 0 : ds->ds_dead ? SET_ERROR(ENOENT) : objset_open_ds(ds);
    *osp = ds->ds_objset;
    mutex_exit(&ds->ds_opening);
    return err;
}

int
dsl_dataset_objset(dsl_dataset_t *ds, objset_t **osp)
{
    rw_enter_read(&ds->ds_pool->dp_config_lock);
    int err = dsl_dataset_objset_locked(ds, osp);
    rw_exit(&ds->ds_pool->dp_config_lock);
    return err;
}

int
dsl_dataset_with_objset(dsl_dataset_t *ds, int (*cb)(void *arg, objset_t *os), void *arg)
{
    dsl_dataset_phys_t phys;
    objset_t *os;
    int err = 0;

    rw_enter_read(&ds->ds_pool->dp_config_lock);
    dsl_dataset_phys(ds, &phys);
    if (phys.ds_num_children == 0 && (phys.ds_flags & DS_FLAG_INCONSISTENT))
        err = SET_ERROR(EBUSY);
    if (err == 0 && (err = dsl_dataset_objset_locked(ds, &os)) == 0)
        err = cb(arg, os);
    rw_exit(&ds->ds_pool->dp_config_lock);
    return err;
}

void
dsl_dataset_update_props(dsl_dataset_t *ds)
{
    objset_props_t props;

    mutex_enter(&ds->ds_opening);
    if (ds->ds_objset != NULL && ds->ds_phys.ds_num_children == 0) {
        dsl_dataset_objset_props(ds, &props);
        objset_set_props(ds->ds_objset, &props);
    }
    mutex_exit(&ds->ds_opening);
}

void
dsl_dataset_evict_objset(dsl_dataset_t *ds)
{
    mutex_enter(&ds->ds_opening);
    if (ds->ds_objset != NULL)
        objset_close(ds->ds_objset);
    ds->ds_objset = NULL;
    mutex_exit(&ds->ds_opening);
}

/* ---- writing back; syncing thread ---- */

void
dsl_dataset_will_dirty(dsl_dataset_t *ds, dmu_tx_t *tx)
{
    if (list_link_active(&ds->ds_phys_link))
        return;
    dsl_dataset_add_ref(ds);
    list_insert_tail(&ds->ds_pool->dp_dirty_phys, ds);
}

void
dsl_dataset_set(dsl_dataset_t *ds, uint64_t *field, uint64_t value, dmu_tx_t *tx)
{
    dsl_dataset_will_dirty(ds, tx);
    mutex_enter(&ds->ds_lock);
    *field = value;
    mutex_exit(&ds->ds_lock);
}

int
dsl_dataset_open_deadlist(dsl_dataset_t *ds, dsl_deadlist_t **dlp)
{
    int err = 0;

    mutex_enter(&ds->ds_lock); /* held while it is read: there must be one of it only */
    if (ds->ds_deadlist == NULL)
        err = dsl_deadlist_open(ds->ds_pool, ds->ds_phys.ds_deadlist_obj, &ds->ds_deadlist);
    *dlp = ds->ds_deadlist;
    mutex_exit(&ds->ds_lock);
    return err;
}

dsl_deadlist_t *
dsl_dataset_deadlist(dsl_dataset_t *ds)
{
    dsl_deadlist_t *dl;

    if (!mos_must(ds->ds_pool, dsl_dataset_open_deadlist(ds, &dl))) {
        dl = dsl_deadlist_none(ds->ds_pool);
        mutex_enter(&ds->ds_lock);
        ds->ds_deadlist = dl;
        mutex_exit(&ds->ds_lock);
    }
    return dl;
}

void
dsl_dataset_close_deadlist(dsl_dataset_t *ds, dmu_tx_t *tx)
{
    dsl_deadlist_t *dl = ds->ds_deadlist;

    if (dl == NULL)
        return;
    mutex_enter(&ds->ds_lock);
    ds->ds_deadlist = NULL;
    mutex_exit(&ds->ds_lock);
    dsl_deadlist_sync(dl, tx);
    dsl_deadlist_close(dl);
}

void
dsl_dataset_sync_phys(dsl_dataset_t *ds, dmu_tx_t *tx)
{
    dmu_buf_t *db;

    if (ds->ds_deadlist != NULL)
        dsl_deadlist_sync(ds->ds_deadlist, tx);
    if (!mos_bonus_for_sync(ds->ds_pool, ds->ds_object, &db))
        return;
    dmu_buf_will_dirty(db, tx);
    mutex_enter(&ds->ds_lock);
    memcpy(db->db_data, &ds->ds_phys, MIN(db->db_size, sizeof(ds->ds_phys)));
    mutex_exit(&ds->ds_lock);
    dmu_buf_rele(db);
}

void
dsl_dataset_set_dead(dsl_dataset_t *ds)
{
    dsl_pool_t *dp = ds->ds_pool;

    if (list_link_active(&ds->ds_phys_link)) {
        list_remove(&dp->dp_dirty_phys, ds);
        dsl_dataset_rele(ds, NULL); /* not the last: the caller holds it */
    }
    mutex_enter(&dp->dp_lock);
    ds->ds_dead = true;
    if (list_link_active(&ds->ds_link))
        list_remove(&dp->dp_datasets, ds);
    mutex_exit(&dp->dp_lock);
}

void
dsl_dataset_hold_prev(dsl_dataset_t *ds)
{
    dsl_dataset_t *old = ds->ds_prev, *prev = NULL;

    if (ds->ds_phys.ds_prev_snap_obj != 0 &&
        !mos_must(ds->ds_pool, dsl_dataset_hold_obj_locked(ds->ds_pool, ds->ds_phys.ds_prev_snap_obj, ds, &prev)))
        return;
    ds->ds_prev = prev;
    if (old != NULL)
        dsl_dataset_rele(old, ds);
}

void
dsl_dataset_move_sync(dsl_dataset_t *ds, dsl_dir_t *dd, dmu_tx_t *tx)
{
    dsl_dir_t *old = ds->ds_dir;

    ASSERT(ds->ds_snapshot);
    mutex_enter(&ds->ds_pool->dp_lock);
    dd->dd_refs++;
    ds->ds_dir = dd;
    mutex_exit(&ds->ds_pool->dp_lock);
    dsl_dir_rele(old, ds);
    dsl_dataset_set(ds, &ds->ds_phys.ds_dir_obj, dd->dd_object, tx);
}

/* ---- small questions ---- */

void
dsl_dataset_name(dsl_dataset_t *ds, char *name)
{
    mutex_enter(&ds->ds_pool->dp_lock); /* a rename or promote changes all of it at once */
    dsl_dir_name_locked(ds->ds_dir, name);
    size_t n = strlen(name);
    if (ds->ds_snapshot)
        snprintf(name + n, ZFS_MAX_DATASET_NAME_LEN - n, "@%s", ds->ds_snapname);
    mutex_exit(&ds->ds_pool->dp_lock);
}

dsl_pool_t *
dsl_dataset_pool(dsl_dataset_t *ds)
{
    return ds->ds_pool;
}

uint64_t
dsl_dataset_obj(dsl_dataset_t *ds)
{
    return ds->ds_object;
}

bool
dsl_dataset_is_snapshot(dsl_dataset_t *ds)
{
    return ds->ds_snapshot;
}

void
dsl_dataset_phys(dsl_dataset_t *ds, dsl_dataset_phys_t *copy)
{
    mutex_enter(&ds->ds_lock);
    *copy = ds->ds_phys;
    mutex_exit(&ds->ds_lock);
}

int
dsl_dataset_snapname(dsl_dataset_t *ds, char *snap)
{
    mutex_enter(&ds->ds_pool->dp_lock);
    memcpy(snap, ds->ds_snapname, sizeof(ds->ds_snapname));
    mutex_exit(&ds->ds_pool->dp_lock);
    return ds->ds_snapshot ? 0 : SET_ERROR(EINVAL);
}

int
dsl_dataset_snap_lookup(dsl_dataset_t *head, const char *snap, uint64_t *dsobj)
{
    return zap_lookup_u64(pool_mos(head->ds_pool), head->ds_phys.ds_snapnames_zapobj, snap, dsobj);
}

int
dsl_dataset_count_snapshots(dsl_dataset_t *head, uint64_t *n)
{
    return zap_count(pool_mos(head->ds_pool), head->ds_phys.ds_snapnames_zapobj, n);
}

/* The root block is rewritten by every change, so its birth is that of the latest one. */
bool
dsl_dataset_modified_since(dsl_dataset_t *ds, dsl_dataset_t *snap)
{
    dsl_dataset_phys_t p;

    dsl_dataset_phys(ds, &p);
    return snap != NULL && p.ds_bp.blk_birth > snap->ds_phys.ds_creation_txg;
}

bool
dsl_dataset_modified_since_snap(dsl_dataset_t *ds)
{
    rw_enter_read(&ds->ds_pool->dp_config_lock);
    bool modified = dsl_dataset_modified_since(ds, ds->ds_prev);
    rw_exit(&ds->ds_pool->dp_config_lock);
    return modified;
}

bool
dsl_dataset_is_before(dsl_dataset_t *later, dsl_dataset_t *earlier)
{
    dsl_pool_t *dp = later->ds_pool;
    dsl_dataset_phys_t p;

    dsl_dataset_phys(later, &p);
    if (dsl_dataset_obj(later) == earlier->ds_object || !earlier->ds_snapshot)
        return false;
    while (p.ds_prev_snap_obj != 0 && p.ds_prev_snap_txg >= earlier->ds_phys.ds_creation_txg) {
        uint64_t object = p.ds_prev_snap_obj, txg = p.ds_prev_snap_txg;
        if (object == earlier->ds_object)
            return true;
        if (mos_read_bonus(dp, object, DMU_OT_DSL_DATASET, &p, sizeof(p)) != 0 || p.ds_prev_snap_txg >= txg)
            return false;
    }
    return false;
}
