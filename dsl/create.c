/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * create.c - a new file system: a directory for the name, a head dataset for the contents.
 *
 *     parent's child ZAP ── name ──► dsl_dir ── head ──► dsl_dataset ── prev ──► origin snapshot (or $ORIGIN@$ORIGIN)
 *                                                             │                        ├ num_children + 1
 *                                                             └ deadlist: empty        ├ next_clones += head
 *                                                                                      └ its directory's clones += head
 *
 * An ordinary file system is a clone of nothing: of $ORIGIN@$ORIGIN. The difference is only that it gets an objset of its own instead
 * of the origin's root pointer, and that the layer above fills this in (dsl_set_objset_init).
 *
 * INVARIANTS
 *  1. num_children of a snapshot = 1 + number of heads whose previous snapshot is it but whose directory is another one, or, for
 *     $ORIGIN@$ORIGIN, whose chain of snapshots begins there.
 *  2. A new head's deadlist has the keys of the origin's file system below the origin's txg (deadlist.c, invariant 3).
 *
 * ZFS: dsl_dataset_create_sync (dsl_dataset.c), dmu_objset_create_sync (dmu_objset.c)
 */
#include <time.h>
#include <stdio.h>
#include "dsl_impl.h"

static dsl_objset_init_t objset_init_fn;

void
dsl_set_objset_init(dsl_objset_init_t fn)
{
    objset_init_fn = fn;
}

/* ---- pieces ---- */

/* The new head starts with what the origin has. */
static void
inherit_origin(dsl_dataset_phys_t *p, dsl_dataset_t *origin)
{
    const dsl_dataset_phys_t *o = &origin->ds_phys;

    p->ds_prev_snap_obj = origin->ds_object;
    p->ds_prev_snap_txg = o->ds_creation_txg;
    p->ds_referenced_bytes = o->ds_referenced_bytes;
    p->ds_compressed_bytes = o->ds_compressed_bytes;
    p->ds_uncompressed_bytes = o->ds_uncompressed_bytes;
    p->ds_bp = o->ds_bp;
    p->ds_flags |= o->ds_flags & (DS_FLAG_INCONSISTENT | DS_FLAG_CI_DATASET);
}

static uint64_t
clone_deadlist(dsl_dataset_t *origin, dmu_tx_t *tx)
{
    dsl_dataset_t *head;

    if (!mos_must(origin->ds_pool,
                  dsl_dataset_hold_obj_locked(origin->ds_pool, origin->ds_dir->dd_phys.dd_head_dataset_obj,
                                              __func__, &head)))
        return 0;
    uint64_t object = dsl_deadlist_clone(dsl_dataset_deadlist(head), origin->ds_phys.ds_creation_txg, tx);
    dsl_dataset_rele(head, __func__);
    return object;
}

/* Syncing thread: can clone_deadlist() do its work? */
int
dsl_dataset_clone_check(dsl_dataset_t *origin)
{
    dsl_dataset_t *head;
    int err = dsl_dataset_hold_obj_locked(origin->ds_pool, origin->ds_dir->dd_phys.dd_head_dataset_obj,
                                          __func__, &head);

    if (err != 0)
        return err;
    err = dsl_deadlist_verify(origin->ds_pool, head->ds_phys.ds_deadlist_obj);
    dsl_dataset_rele(head, __func__);
    return err;
}

/* The origin and its directory remember the clone. */
static void
link_origin(dsl_dataset_t *origin, dsl_dir_t *dd, uint64_t dsobj, dmu_tx_t *tx)
{
    objset_t *mos = pool_mos(origin->ds_pool);
    uint64_t next_clones = origin->ds_phys.ds_next_clones_obj, clones = origin->ds_dir->dd_phys.dd_clones;

    if (next_clones == 0)
        next_clones = zap_create(mos, DMU_OT_NEXT_CLONES, DMU_OT_NONE, 0, tx);
    if (clones == 0)
        clones = zap_create(mos, DMU_OT_DSL_CLONES, DMU_OT_NONE, 0, tx);
    mos_must(origin->ds_pool, zap_add_int_key(mos, next_clones, dsobj, dsobj, tx));
    mos_must(origin->ds_pool, zap_add_int_key(mos, clones, dsobj, dsobj, tx));
    dsl_dataset_will_dirty(origin, tx);
    mutex_enter(&origin->ds_lock);
    origin->ds_phys.ds_num_children++;
    origin->ds_phys.ds_next_clones_obj = next_clones;
    mutex_exit(&origin->ds_lock);
    dsl_dir_set(origin->ds_dir, &origin->ds_dir->dd_phys.dd_clones, clones, tx);
    dsl_dir_set(dd, &dd->dd_phys.dd_origin_obj, origin->ds_object, tx);
    dd->dd_origin_txg = origin->ds_phys.ds_creation_txg;
}

static uint64_t
create_head(dsl_dir_t *dd, dsl_dataset_t *origin, uint64_t flags, dmu_tx_t *tx)
{
    dsl_pool_t *dp = dd->dd_pool;
    objset_t *mos = pool_mos(dp);
    uint64_t object, txg = dmu_tx_txg(tx);
    dmu_buf_t *db;

    if (!mos_must(dp, dmu_object_alloc(mos, DMU_OT_DSL_DATASET, 0, DMU_OT_DSL_DATASET,
                                       sizeof(dsl_dataset_phys_t), 0, tx, &object)) ||
        !mos_bonus_for_sync(dp, object, &db))
        return 0;
    dmu_buf_will_dirty(db, tx);
    dsl_dataset_phys_t *p = db->db_data;
    memset(p, 0, sizeof(*p));
    p->ds_dir_obj = dd->dd_object;
    p->ds_flags = flags | DS_FLAG_UNIQUE_ACCURATE;
    p->ds_fsid_guid = random_u64() >> 8;
    p->ds_guid = random_u64();
    p->ds_snapnames_zapobj =
        zap_create_norm(mos, 2, DMU_OT_DSL_DS_SNAP_MAP, DMU_OT_NONE, 0, tx); /* 2: to upper case */
    p->ds_creation_time = (uint64_t)time(NULL);
    p->ds_creation_txg = txg == TXG_INITIAL ? 1 : txg;
    if (origin != NULL) {
        inherit_origin(p, origin);
        p->ds_deadlist_obj = clone_deadlist(origin, tx);
        link_origin(origin, dd, object, tx);
    } else {
        p->ds_deadlist_obj = dsl_deadlist_alloc(dp, tx);
    }
    dmu_buf_rele(db);
    if (origin != NULL)
        feature_ds_copy(dp, origin->ds_object, object, origin->ds_features, tx);
    dsl_dir_set(dd, &dd->dd_phys.dd_head_dataset_obj, object, tx);
    return object;
}

/* name NULL: parent itself gets the head (the root). origin NULL: $ORIGIN's snapshot, once there is one. */
uint64_t
dsl_dataset_create_sync(dsl_dir_t *parent, const char *name, dsl_dataset_t *origin, uint64_t flags,
                        dmu_tx_t *tx)
{
    dsl_pool_t *dp = parent->dd_pool;
    dsl_dataset_t *from = origin;
    dsl_dir_t *dd;
    uint64_t ddobj = name == NULL ? parent->dd_object : dsl_dir_create_sync(dp, parent, name, tx);

    uint64_t object = 0;

    if (!mos_must(dp, dsl_dir_hold_obj(dp, ddobj, __func__, &dd)))
        return 0;
    if (origin != NULL || dp->dp_origin_snap_obj == 0 ||
        mos_must(dp, dsl_dataset_hold_obj_locked(dp, dp->dp_origin_snap_obj, __func__, &from)))
        object = create_head(dd, from, flags, tx);
    if (from != origin)
        dsl_dataset_rele(from, __func__);
    dsl_dir_rele(dd, __func__);
    return object;
}

objset_t *
dsl_dataset_create_objset(dsl_dataset_t *ds, dmu_objset_type_t type, const nvlist_t *props, bool init_zfs,
                          dmu_tx_t *tx)
{
    dsl_pool_t *dp = ds->ds_pool;
    struct objset_hooks hooks;
    objset_props_t op;

    VERIFY(ds->ds_objset == NULL);
    dsl_dataset_hooks(ds, &hooks);
    dsl_dataset_objset_props(ds, &op);
    dsl_dataset_dirtied(ds, dmu_tx_txg(tx));
    mutex_enter(&ds->ds_opening);
    ds->ds_objset = objset_create(dp->dp_spa, dp->dp_txg, ds->ds_object, type, &hooks, &op, tx);
    mutex_exit(&ds->ds_opening);
    if (type == DMU_OST_ZFS && init_zfs && objset_init_fn != NULL)
        objset_init_fn(ds->ds_objset, props, tx);
    else if (type == DMU_OST_ZVOL && init_zfs)
        volume_init_sync(ds->ds_objset, props, tx);
    return ds->ds_objset;
}

/* ---- the operation ---- */

typedef struct create_arg {
    dsl_pool_t *ca_pool;
    const char *ca_name;
    dmu_objset_type_t ca_type;
    const nvlist_t *ca_props;
} create_arg_t;

/* Nothing is below a volume. ENOTDIR */
static int
check_parent(dsl_dir_t *parent)
{
    dsl_dataset_t *ds;
    objset_t *os;
    int err = dsl_dataset_hold_obj_locked(parent->dd_pool, parent->dd_phys.dd_head_dataset_obj, __func__, &ds);

    if (err != 0)
        return err;
    if ((err = dsl_dataset_objset_locked(ds, &os)) == 0 && objset_type(os) == DMU_OST_ZVOL)
        err = SET_ERROR(ENOTDIR);
    else
        err = 0; /* an unreadable one is no reason to refuse */
    dsl_dataset_rele(ds, __func__);
    return err;
}

/* A new name: its parent exists and is no volume, itself does not. */
int
dsl_create_check_name(dsl_pool_t *dp, const char *name, dsl_dir_t **parentp, const char **tail)
{
    int err = name_check_internal(name);

    if (err != 0)
        return err;
    if (strchr(name, '@') != NULL)
        return SET_ERROR(EINVAL);
    if ((err = dsl_dir_hold(dp, name, name, parentp, tail)) != 0)
        return err;
    if (*tail == NULL)
        err = SET_ERROR(EEXIST);
    else if (strchr(*tail, '/') != NULL || (*parentp)->dd_phys.dd_head_dataset_obj == 0)
        err = SET_ERROR(ENOENT);
    else
        err = check_parent(*parentp);
    if (err != 0)
        dsl_dir_rele(*parentp, name);
    return err;
}

static int
create_check(void *arg, dmu_tx_t *tx)
{
    create_arg_t *ca = arg;
    const char *tail;
    dsl_dir_t *parent;
    int err = dsl_create_check_name(ca->ca_pool, ca->ca_name, &parent, &tail);

    if (err == 0) {
        err = quota_check_create(parent, ca->ca_props);
        dsl_dir_rele(parent, ca->ca_name);
    }
    return err;
}

static void
create_sync(void *arg, dmu_tx_t *tx)
{
    create_arg_t *ca = arg;
    const char *tail;
    dsl_dir_t *parent;
    dsl_dataset_t *ds;

    if (!mos_must(ca->ca_pool, dsl_create_check_name(ca->ca_pool, ca->ca_name, &parent, &tail)))
        return;
    uint64_t object = dsl_dataset_create_sync(parent, tail, NULL, 0, tx);
    if (mos_must(ca->ca_pool, dsl_dataset_hold_obj_locked(ca->ca_pool, object, __func__, &ds))) {
        if (ca->ca_props != NULL)
            prop_set_all_sync(ds, ca->ca_props, tx);
        (void)dsl_dataset_create_objset(ds, ca->ca_type, ca->ca_props, true, tx);
        history_log_ds(ds, "create", tx, " ");
        dsl_dataset_rele(ds, __func__);
    }
    dsl_dir_rele(parent, ca->ca_name);
}

int
dsl_create(dsl_pool_t *dp, const char *name, dmu_objset_type_t type, const nvlist_t *props)
{
    create_arg_t ca = {dp, name, type, props};
    int err = dsl_name_check(name, NULL);

    if (err == 0 && type == DMU_OST_ZVOL)
        err = volume_check(props);
    return err != 0 ? err : dsl_sync_task(dp, create_check, create_sync, &ca, 20, DSL_SPACE_NORMAL);
}
