/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rename.c - directories and snapshots under other names.
 *
 * A name is an entry in the parent's ZAP and nothing else; whatever lies below follows. So a file system with all its descendants moves in
 * constant time:
 *
 *        tank                     tank            child ZAPs:   a loses x, b gains x
 *        /  \                     /  \            x:            parent = b
 *       a    b      a/x to b/x   a    b           space:        max(used, reserved) of x leaves a's CHILD + CHILD_RSRV and all above a,
 *       |                             |                         and comes to b's: tank sees both and stays
 *       x                             x           inheritance:  properties that x inherits are b's from now on
 *
 * Promises to transactions under way below x (dd_reserved_tx) move along, as they are counted in every directory upwards.
 *
 * A snapshot's name is an entry in its head's ZAP.
 *
 * ZFS: dsl_dir_rename (dsl_dir.c), dsl_dataset_rename_snapshot (dsl_dataset.c)
 */
#include <stdio.h>
#include "dsl_impl.h"

typedef struct rename_arg {
    dsl_pool_t *ra_pool;
    const char *ra_from, *ra_to; /* of a snapshot: what follows the '@' */
    const char *ra_fs;           /* snapshots */
    bool ra_recursive;
    dmu_tx_t *ra_tx;
    int ra_found;
} rename_arg_t;

/* cb for every child of dd, but the pool's own. */
static int
each_child(dsl_dir_t *dd, int (*cb)(void *arg, dsl_dir_t *child), void *arg)
{
    dsl_pool_t *dp = dd->dd_pool;
    dsl_dir_t *child;
    zap_cursor_t zc;
    zap_attribute_t za;
    int err = 0, end = 0;

    for (zap_cursor_init(&zc, pool_mos(dp), dd->dd_phys.dd_child_dir_zapobj);
         err == 0 && (end = zap_cursor_retrieve(&zc, &za)) == 0; zap_cursor_advance(&zc)) {
        if (za.za_name[0] == '$')
            continue;
        if ((err = dsl_dir_hold_obj(dp, za.za_first_integer, arg, &child)) != 0)
            break;
        err = child->dd_parent == dd ? cb(arg, child) : SET_ERROR(EIO);
        dsl_dir_rele(child, arg);
    }
    zap_cursor_fini(&zc);
    return err != 0 ? err : end == ENOENT ? 0 : end;
}

/* ---- directories: check ---- */

typedef struct longest {
    size_t l_prefix; /* of the directory being looked at */
    size_t l_max;
} longest_t;

static int
longest_snapshot(dsl_dir_t *dd, size_t *max)
{
    dsl_dataset_t *head;
    zap_cursor_t zc;
    zap_attribute_t za;
    int err;

    *max = 0;
    if (dd->dd_phys.dd_head_dataset_obj == 0)
        return 0;
    err = dsl_dataset_hold_obj_locked(dd->dd_pool, dd->dd_phys.dd_head_dataset_obj, max, &head);
    if (err != 0)
        return err;
    if ((head->ds_phys.ds_flags & DS_FLAG_INCONSISTENT) && dsl_dataset_long_held(head)) {
        dsl_dataset_rele(head, max);
        return SET_ERROR(EBUSY); /* a receive is at work, which knows it by its name */
    }
    for (zap_cursor_init(&zc, pool_mos(dd->dd_pool), head->ds_phys.ds_snapnames_zapobj);
         (err = zap_cursor_retrieve(&zc, &za)) == 0; zap_cursor_advance(&zc))
        *max = MAX(*max, strlen(za.za_name) + 1);
    zap_cursor_fini(&zc);
    dsl_dataset_rele(head, max);
    return err == ENOENT ? 0 : err;
}

static int
find_longest(void *arg, dsl_dir_t *dd)
{
    longest_t *l = arg;
    size_t before = l->l_prefix, snap;
    int err = longest_snapshot(dd, &snap);

    l->l_prefix += 1 + strlen(dd->dd_name);
    l->l_max = MAX(l->l_max, l->l_prefix + snap);
    if (err == 0)
        err = each_child(dd, find_longest, l);
    l->l_prefix = before;
    return err;
}

/* Every name below dd still fits when dd is called to. */
static int
check_lengths(dsl_dir_t *dd, const char *to)
{
    longest_t l = {strlen(to), 0};
    size_t snap;
    int err = longest_snapshot(dd, &snap);

    l.l_max = l.l_prefix + snap;
    if (err == 0)
        err = each_child(dd, find_longest, &l);
    return err != 0 ? err : l.l_max >= ZFS_MAX_DATASET_NAME_LEN ? SET_ERROR(ENAMETOOLONG) : 0;
}

static int
check_target(dsl_dir_t *dd, dsl_dir_t *newparent, const char *to)
{
    for (dsl_dir_t *up = newparent; up != NULL; up = up->dd_parent)
        if (up == dd)
            return SET_ERROR(EINVAL); /* below itself */
    if (newparent == dd->dd_parent)
        return check_lengths(dd, to);
    int err = dsl_dir_transfer_possible(dd->dd_parent, newparent,
                                        MAX(dd->dd_phys.dd_used_bytes, dd->dd_phys.dd_reserved));
    return err != 0 ? err : check_lengths(dd, to);
}

static int
rename_check(void *arg, dmu_tx_t *tx)
{
    rename_arg_t *ra = arg;
    dsl_dir_t *dd, *newparent;
    const char *tail;
    int err = dsl_dir_hold(ra->ra_pool, ra->ra_from, ra, &dd, NULL);

    if (err != 0)
        return err;
    if (dd->dd_parent == NULL)
        err = SET_ERROR(EINVAL);
    else if ((err = dsl_create_check_name(ra->ra_pool, ra->ra_to, &newparent, &tail)) == 0) {
        err = check_target(dd, newparent, ra->ra_to);
        dsl_dir_rele(newparent, ra->ra_to);
    }
    dsl_dir_rele(dd, ra);
    return err;
}

/* ---- directories: sync ---- */

static void
move_promises(dsl_dir_t *dd, dsl_dir_t *parent, int sign)
{
    for (; parent != NULL; parent = parent->dd_parent) {
        mutex_enter(&parent->dd_lock);
        for (int t = 0; t < TXG_SIZE; t++)
            parent->dd_reserved_tx[t] += sign * dd->dd_reserved_tx[t];
        mutex_exit(&parent->dd_lock);
    }
}

/* What dd means for its parent's accounts: comes (1) or goes (-1). */
static void
move_space(const dsl_dir_t *dd, dsl_dir_t *parent, int64_t sign, dmu_tx_t *tx)
{
    const dsl_dir_phys_t *p = &dd->dd_phys;

    dsl_dir_diduse_space(parent, DD_USED_CHILD, sign * (int64_t)p->dd_used_bytes,
                         sign * (int64_t)p->dd_compressed_bytes, sign * (int64_t)p->dd_uncompressed_bytes,
                         tx);
    if (p->dd_reserved > p->dd_used_bytes)
        dsl_dir_diduse_space(parent, DD_USED_CHILD_RSRV, sign * (int64_t)(p->dd_reserved - p->dd_used_bytes),
                             0, 0, tx);
}

static void
rename_entry(dsl_dir_t *dd, dsl_dir_t *newparent, const char *name, dmu_tx_t *tx)
{
    objset_t *mos = pool_mos(dd->dd_pool);

    mos_must(dd->dd_pool, zap_remove(mos, dd->dd_parent->dd_phys.dd_child_dir_zapobj, dd->dd_name, tx));
    mos_must(dd->dd_pool, zap_add_u64(mos, newparent->dd_phys.dd_child_dir_zapobj, name, dd->dd_object, tx));
    dsl_dir_set(dd, &dd->dd_phys.dd_parent_obj, newparent->dd_object, tx);
}

/* Takes over the caller's hold of newparent. */
static void
rename_in_memory(dsl_dir_t *dd, dsl_dir_t *newparent, const char *name)
{
    dsl_pool_t *dp = dd->dd_pool;
    dsl_dir_t *old = dd->dd_parent;

    mutex_enter(&dp->dp_lock);
    if (old != newparent) {
        move_promises(dd, old, -1);
        move_promises(dd, newparent, 1);
    }
    dd->dd_parent = newparent;
    snprintf(dd->dd_name, sizeof(dd->dd_name), "%s", name);
    mutex_exit(&dp->dp_lock);
    dsl_dir_rele(old, dd);
}

static void
rename_sync(void *arg, dmu_tx_t *tx)
{
    rename_arg_t *ra = arg;
    dsl_dir_t *dd, *newparent;
    const char *tail;

    if (!mos_must(ra->ra_pool, dsl_dir_hold(ra->ra_pool, ra->ra_from, ra, &dd, NULL)))
        return;
    if (!mos_must(ra->ra_pool, dsl_create_check_name(ra->ra_pool, ra->ra_to, &newparent, &tail))) {
        dsl_dir_rele(dd, ra);
        return;
    }
    if (newparent != dd->dd_parent) {
        move_space(dd, dd->dd_parent, -1, tx);
        move_space(dd, newparent, 1, tx);
    }
    history_log(ra->ra_pool, "rename", tx, "%s -> %s", ra->ra_from, ra->ra_to);
    rename_entry(dd, newparent, tail, tx);
    rename_in_memory(dd, newparent, tail);
    prop_update_open_objsets(ra->ra_pool);
    dsl_dir_rele(dd, ra);
}

int
dsl_rename(dsl_pool_t *dp, const char *from, const char *to)
{
    rename_arg_t ra = {.ra_pool = dp, .ra_from = from, .ra_to = to};
    size_t n = strcspn(from, "/");
    int err = name_check_internal(to);

    if (err == 0 && (strpbrk(from, "@$") != NULL || strpbrk(to, "@$") != NULL))
        err = SET_ERROR(EINVAL);
    if (err == 0 && (strncmp(from, to, n) != 0 || (to[n] != '/' && to[n] != '\0')))
        err = SET_ERROR(EXDEV);
    if (err == 0)
        err = dsl_sync_task(dp, rename_check, rename_sync, &ra, 10, DSL_SPACE_RESERVED);
    if (err == 0)
        prop_changed(dp);
    return err;
}

/* ---- snapshots ---- */

static int
snapshot_check_one(rename_arg_t *ra, dsl_dir_t *dd, dsl_dataset_t *head)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];
    uint64_t object;
    int err = dsl_dataset_snap_lookup(head, ra->ra_from, &object);

    if (err == ENOENT)
        return 0;
    if (err == 0 && (err = dsl_dataset_snap_lookup(head, ra->ra_to, &object)) == 0)
        err = SET_ERROR(EEXIST);
    if (err != ENOENT)
        return err;
    ra->ra_found++;
    dsl_dir_name(dd, name);
    return strlen(name) + 1 + strlen(ra->ra_to) >= ZFS_MAX_DATASET_NAME_LEN ? SET_ERROR(ENAMETOOLONG) : 0;
}

static void
snapshot_sync_one(rename_arg_t *ra, dsl_dataset_t *head)
{
    dsl_pool_t *dp = ra->ra_pool;
    uint64_t object, names = head->ds_phys.ds_snapnames_zapobj;
    dsl_dataset_t *ds;

    if (dsl_dataset_snap_lookup(head, ra->ra_from, &object) != 0)
        return;
    if (!mos_must(dp, dsl_dataset_hold_obj_locked(dp, object, ra, &ds)))
        return;
    history_log_ds(ds, "rename", ra->ra_tx, "-> @%s", ra->ra_to);
    mos_must(dp, zap_remove(pool_mos(dp), names, ra->ra_from, ra->ra_tx));
    mos_must(dp, zap_add_u64(pool_mos(dp), names, ra->ra_to, object, ra->ra_tx));
    mutex_enter(&dp->dp_lock);
    snprintf(ds->ds_snapname, sizeof(ds->ds_snapname), "%s", ra->ra_to);
    mutex_exit(&dp->dp_lock);
    dsl_dataset_rele(ds, ra);
}

/* ra_tx NULL: only checks. */
static int
snapshot_step(void *arg, dsl_dir_t *dd)
{
    rename_arg_t *ra = arg;
    dsl_dataset_t *head;
    int err = 0;

    if (dd->dd_phys.dd_head_dataset_obj != 0) {
        if ((err = dsl_dataset_hold_obj_locked(ra->ra_pool, dd->dd_phys.dd_head_dataset_obj, ra, &head)) != 0)
            return err;
        if (ra->ra_tx == NULL)
            err = snapshot_check_one(ra, dd, head);
        else
            snapshot_sync_one(ra, head);
        dsl_dataset_rele(head, ra);
    }
    return err == 0 && ra->ra_recursive ? each_child(dd, snapshot_step, ra) : err;
}

static int
snapshot_walk(rename_arg_t *ra)
{
    dsl_dir_t *dd;
    int err = dsl_dir_hold(ra->ra_pool, ra->ra_fs, ra, &dd, NULL);

    if (err != 0)
        return err;
    err = snapshot_step(ra, dd);
    dsl_dir_rele(dd, ra);
    return err;
}

static int
snapshot_check(void *arg, dmu_tx_t *tx)
{
    rename_arg_t *ra = arg;

    ra->ra_tx = NULL;
    ra->ra_found = 0;
    int err = snapshot_walk(ra);
    return err == 0 && ra->ra_found == 0 ? SET_ERROR(ENOENT) : err;
}

static void
snapshot_sync(void *arg, dmu_tx_t *tx)
{
    rename_arg_t *ra = arg;

    ra->ra_tx = tx;
    mos_must(ra->ra_pool, snapshot_walk(ra));
}

int
dsl_rename_snapshot(dsl_pool_t *dp, const char *fs, const char *from, const char *to, bool recursive)
{
    rename_arg_t ra = {.ra_pool = dp, .ra_from = from, .ra_to = to, .ra_fs = fs, .ra_recursive = recursive};
    int err = strlen(to) >= ZFS_MAX_DATASET_NAME_LEN ? SET_ERROR(ENAMETOOLONG)
                                                     : name_check_component(to, strlen(to), true);

    if (err == 0 && strchr(fs, '@') != NULL)
        err = SET_ERROR(EINVAL);
    return err != 0 ? err : dsl_sync_task(dp, snapshot_check, snapshot_sync, &ra, 10, DSL_SPACE_RESERVED);
}
