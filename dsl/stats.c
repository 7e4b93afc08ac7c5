/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stats.c - what list and get show: numbers of a dataset, names of children and snapshots, searches.
 *
 * Everything is read under the config lock at one moment; names are collected first and called back after, with no lock held, so that
 * a callback may do whatever it likes, destroy included.
 *
 *     used of a head       = its directory's used bytes, all below included        of a snapshot = its unique bytes
 *     written              = blocks born since the previous snapshot = referenced - previous referenced + deadlist
 *
 * ZFS: dsl_dataset_stats (dsl_dataset.c), dsl_dir_stats (dsl_dir.c), dmu_objset_find
 */
#include <stdio.h>
#include "dsl_impl.h"

/* ---- one dataset ---- */

static uint64_t
ratio(uint64_t uncompressed, uint64_t compressed)
{
    return compressed == 0 ? 100 : uncompressed * 100 / compressed;
}

static uint64_t
written_since_previous(dsl_dataset_t *ds, const dsl_dataset_phys_t *p)
{
    dsl_dataset_t *prev;
    dsl_dataset_phys_t pp = {0};
    uint64_t dead = 0, comp, uncomp;

    if (p->ds_prev_snap_obj != 0 &&
        dsl_dataset_hold_obj_locked(ds->ds_pool, p->ds_prev_snap_obj, __func__, &prev) == 0) {
        dsl_dataset_phys(prev, &pp);
        dsl_dataset_rele(prev, __func__);
    }
    mutex_enter(&ds->ds_lock);
    dsl_deadlist_t *dl = ds->ds_deadlist; /* replaced only under the config lock */
    mutex_exit(&ds->ds_lock);
    if (dl != NULL)
        dsl_deadlist_space(dl, &dead, &comp, &uncomp);
    else if (p->ds_deadlist_obj != 0)
        (void)dsl_deadlist_obj_used(ds->ds_pool, p->ds_deadlist_obj, &dead);
    uint64_t sum = p->ds_referenced_bytes + dead;
    return sum > pp.ds_referenced_bytes ? sum - pp.ds_referenced_bytes : 0;
}

static void
stats_snapshot(dsl_dataset_t *ds, const dsl_dataset_phys_t *p, dsl_stats_t *st)
{
    (void)dsl_dataset_count_holds(ds, &st->dst_userrefs); /* unreadable: none are shown */
    st->dst_used = p->ds_unique_bytes;
    st->dst_numclones = p->ds_num_children - 1;
    st->dst_defer_destroy = (p->ds_flags & DS_FLAG_DEFER_DESTROY) != 0;
    st->dst_compressratio = st->dst_refcompressratio;
    st->dst_logicalused = p->ds_uncompressed_bytes;
}

static void
stats_head(dsl_dataset_t *ds, const dsl_dataset_phys_t *p, dsl_stats_t *st)
{
    dsl_dir_t *dd = ds->ds_dir;
    dsl_dataset_t *origin;

    mutex_enter(&dd->dd_lock);
    dsl_dir_phys_t d = dd->dd_phys;
    mutex_exit(&dd->dd_lock);
    st->dst_used = d.dd_used_bytes;
    st->dst_avail = dsl_dir_available(dd, false) + quota_unfilled(ds);
    if (ds->ds_refquota != 0)
        st->dst_avail =
            MIN(st->dst_avail,
                ds->ds_refquota > p->ds_referenced_bytes ? ds->ds_refquota - p->ds_referenced_bytes : 0);
    memcpy(st->dst_usedby, d.dd_used_breakdown, sizeof(st->dst_usedby));
    st->dst_usedbychildren = d.dd_used_breakdown[DD_USED_CHILD] + d.dd_used_breakdown[DD_USED_CHILD_RSRV];
    st->dst_logicalused = d.dd_uncompressed_bytes;
    st->dst_compressratio = ratio(d.dd_uncompressed_bytes, d.dd_compressed_bytes);
    st->dst_quota = d.dd_quota;
    st->dst_reserved = d.dd_reserved;
    if (dsl_dir_is_clone(dd) &&
        dsl_dataset_hold_obj_locked(ds->ds_pool, d.dd_origin_obj, __func__, &origin) == 0) {
        dsl_dataset_name(origin, st->dst_origin);
        dsl_dataset_rele(origin, __func__);
    }
}

static void
stats_fill(dsl_dataset_t *ds, dsl_stats_t *st)
{
    dsl_dataset_phys_t p;
    objset_t *os;

    memset(st, 0, sizeof(*st));
    dsl_dataset_phys(ds, &p);
    dsl_dataset_name(ds, st->dst_name);
    st->dst_snapshot = dsl_dataset_is_snapshot(ds);
    st->dst_inconsistent = (p.ds_flags & DS_FLAG_INCONSISTENT) != 0;
    st->dst_partial = st->dst_inconsistent || zap_contains(pool_mos(ds->ds_pool), ds->ds_dir->dd_phys.dd_child_dir_zapobj,
                                                           RECV_HIDDEN_RESUMABLE) == 0;
    st->dst_redacted = (ds->ds_features & DS_FEATURE_REDACTED) != 0;
    st->dst_dsobj = ds->ds_object;
    st->dst_guid = p.ds_guid;
    st->dst_creation = p.ds_creation_time;
    st->dst_createtxg = p.ds_creation_txg;
    st->dst_referenced = p.ds_referenced_bytes;
    st->dst_lreferenced = p.ds_uncompressed_bytes;
    st->dst_unique = p.ds_unique_bytes;
    st->dst_refcompressratio = ratio(p.ds_uncompressed_bytes, p.ds_compressed_bytes);
    st->dst_objects = p.ds_bp.blk_fill;
    st->dst_written = written_since_previous(ds, &p);
    if (dsl_dataset_objset_locked(ds, &os) == 0)
        st->dst_type = objset_type(os);
    if (st->dst_snapshot)
        stats_snapshot(ds, &p, st);
    else
        stats_head(ds, &p, st);
}

static int
stats_bookmark(dsl_pool_t *dp, const char *name, dsl_stats_t *st)
{
    dsl_bookmark_t bm;
    int err = dsl_bookmark_get(dp, name, &bm);

    memset(st, 0, sizeof(*st));
    snprintf(st->dst_name, sizeof(st->dst_name), "%s", name);
    st->dst_bookmark = true;
    st->dst_guid = bm.db_guid;
    st->dst_createtxg = bm.db_createtxg;
    st->dst_creation = bm.db_creation;
    return err;
}

int
dsl_dataset_stats(dsl_pool_t *dp, const char *name, dsl_stats_t *st)
{
    dsl_dataset_t *ds;

    if (strchr(name, '#') != NULL)
        return stats_bookmark(dp, name, st);
    rw_enter_read(&dp->dp_config_lock);
    int err = dsl_dataset_hold_locked(dp, name, __func__, &ds);
    if (err == 0) {
        stats_fill(ds, st);
        dsl_dataset_rele(ds, __func__);
    }
    rw_exit(&dp->dp_config_lock);
    return err;
}

/* ---- names ---- */

typedef struct name_entry {
    char *ne_name;
    uint64_t ne_key; /* sorted by it, then by name */
} name_entry_t;

typedef struct name_list {
    name_entry_t *nl_entries;
    size_t nl_count;
} name_list_t;

static void
list_add(name_list_t *nl, char *name, uint64_t key)
{
    if ((nl->nl_count & (nl->nl_count - 1)) == 0)
        nl->nl_entries = xrealloc(nl->nl_entries, (nl->nl_count * 2 + 1) * sizeof(name_entry_t));
    nl->nl_entries[nl->nl_count++] = (name_entry_t){name, key};
}

static int
entry_compare(const void *a, const void *b)
{
    const name_entry_t *x = a, *y = b;

    return x->ne_key != y->ne_key ? AVL_CMP(x->ne_key, y->ne_key) : strcmp(x->ne_name, y->ne_name);
}

/* Calls back in order, and frees the list. */
static int
list_call(name_list_t *nl, int err, dsl_name_cb_t cb, void *arg)
{
    if (nl->nl_count > 1)
        qsort(nl->nl_entries, nl->nl_count, sizeof(name_entry_t), entry_compare);
    for (size_t i = 0; i < nl->nl_count; i++) {
        if (err == 0)
            err = cb(arg, nl->nl_entries[i].ne_name);
        free(nl->nl_entries[i].ne_name);
    }
    free(nl->nl_entries);
    return err;
}

static bool
is_hidden(const char *name)
{
    return name[0] == '$' || strchr(name, '%') != NULL;
}

static int
collect_children(dsl_pool_t *dp, const char *fs, name_list_t *nl)
{
    zap_cursor_t zc;
    zap_attribute_t za;
    dsl_dir_t *dd;
    int err = dsl_dir_hold(dp, fs, __func__, &dd, NULL);

    if (err != 0)
        return err;
    zap_cursor_init(&zc, pool_mos(dp), dd->dd_phys.dd_child_dir_zapobj);
    while ((err = zap_cursor_retrieve(&zc, &za)) == 0) {
        if (!is_hidden(za.za_name))
            list_add(nl, xasprintf("%s/%s", fs, za.za_name), 0);
        zap_cursor_advance(&zc);
    }
    zap_cursor_fini(&zc);
    dsl_dir_rele(dd, __func__);
    return err == ENOENT ? 0 : err;
}

int
dsl_for_each_child(dsl_pool_t *dp, const char *fs, dsl_name_cb_t cb, void *arg)
{
    name_list_t nl = {0};

    rw_enter_read(&dp->dp_config_lock);
    int err = strchr(fs, '@') != NULL ? SET_ERROR(EINVAL) : collect_children(dp, fs, &nl);
    rw_exit(&dp->dp_config_lock);
    return list_call(&nl, err, cb, arg);
}

static int
collect_snapshots(dsl_pool_t *dp, const char *fs, name_list_t *nl)
{
    dsl_dataset_phys_t p;
    zap_cursor_t zc;
    zap_attribute_t za;
    dsl_dataset_t *ds;
    int err = dsl_dataset_hold_locked(dp, fs, __func__, &ds);

    if (err != 0)
        return err;
    zap_cursor_init(&zc, pool_mos(dp), ds->ds_phys.ds_snapnames_zapobj);
    while ((err = zap_cursor_retrieve(&zc, &za)) == 0) {
        err = mos_read_bonus(dp, za.za_first_integer, DMU_OT_DSL_DATASET, &p, sizeof(p));
        if (err == 0 && !is_hidden(za.za_name))
            list_add(nl, xasprintf("%s@%s", fs, za.za_name), p.ds_creation_txg);
        zap_cursor_advance(&zc);
    }
    zap_cursor_fini(&zc);
    dsl_dataset_rele(ds, __func__);
    return err == ENOENT ? 0 : err;
}

int
dsl_for_each_snapshot(dsl_pool_t *dp, const char *fs, dsl_name_cb_t cb, void *arg)
{
    name_list_t nl = {0};

    rw_enter_read(&dp->dp_config_lock);
    int err = strchr(fs, '@') != NULL ? SET_ERROR(EINVAL) : collect_snapshots(dp, fs, &nl);
    rw_exit(&dp->dp_config_lock);
    return list_call(&nl, err, cb, arg);
}

/* What follows the snapshot outside its file system: a clone's head, or the clone's oldest snapshot. */
static int
collect_clones(dsl_pool_t *dp, const char *snap, name_list_t *nl)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];
    zap_cursor_t zc;
    zap_attribute_t za;
    dsl_dataset_t *ds, *next;
    int err = dsl_dataset_hold_locked(dp, snap, __func__, &ds);

    if (err != 0 || ds->ds_phys.ds_next_clones_obj == 0) {
        if (err == 0)
            dsl_dataset_rele(ds, __func__);
        return err;
    }
    zap_cursor_init(&zc, pool_mos(dp), ds->ds_phys.ds_next_clones_obj);
    while ((err = zap_cursor_retrieve(&zc, &za)) == 0) {
        if (dsl_dataset_hold_obj_locked(dp, za.za_first_integer, __func__, &next) == 0) {
            dsl_dataset_name(next, name);
            dsl_dataset_rele(next, __func__);
            name[strcspn(name, "@")] = '\0';
            if (!is_hidden(name))
                list_add(nl, xstrdup(name), 0);
        }
        zap_cursor_advance(&zc);
    }
    zap_cursor_fini(&zc);
    dsl_dataset_rele(ds, __func__);
    return err == ENOENT ? 0 : err;
}

int
dsl_for_each_clone(dsl_pool_t *dp, const char *snap, dsl_name_cb_t cb, void *arg)
{
    name_list_t nl = {0};

    rw_enter_read(&dp->dp_config_lock);
    int err = strchr(snap, '@') == NULL ? SET_ERROR(EINVAL) : collect_clones(dp, snap, &nl);
    rw_exit(&dp->dp_config_lock);
    return list_call(&nl, err, cb, arg);
}

int
dsl_redact_snaps(dsl_pool_t *dp, const char *name, uint64_t guids[DSL_REDACT_MAX], uint64_t *n)
{
    dsl_dataset_t *ds;

    rw_enter_read(&dp->dp_config_lock);
    int err = dsl_dataset_hold_locked(dp, name, __func__, &ds);
    if (err == 0) {
        err = feature_ds_values(dp, ds->ds_object, DS_FEATURE_REDACTED, guids, n);
        dsl_dataset_rele(ds, __func__);
    }
    rw_exit(&dp->dp_config_lock);
    return err;
}

/* ---- search by guid ---- */

typedef struct find_arg {
    dsl_pool_t *fa_pool;
    uint64_t fa_guid;
    bool fa_snapshot;
    char *fa_name;
} find_arg_t;

#define FOUND (-1)

static int
find_match(void *arg, const char *name)
{
    find_arg_t *fa = arg;
    dsl_dataset_phys_t p;
    dsl_dataset_t *ds;

    if (dsl_dataset_hold(fa->fa_pool, name, fa, &ds) != 0)
        return 0;
    dsl_dataset_phys(ds, &p);
    dsl_dataset_rele(ds, fa);
    if (p.ds_guid != fa->fa_guid)
        return 0;
    snprintf(fa->fa_name, ZFS_MAX_DATASET_NAME_LEN, "%s", name);
    return FOUND;
}

static int
find_below(void *arg, const char *fs)
{
    find_arg_t *fa = arg;
    int err = fa->fa_snapshot ? dsl_for_each_snapshot(fa->fa_pool, fs, find_match, fa) : find_match(fa, fs);

    return err != 0 ? err : dsl_for_each_child(fa->fa_pool, fs, find_below, fa);
}

int
find_by_guid_below(dsl_pool_t *dp, const char *fs, uint64_t guid, bool snapshot, char *name)
{
    find_arg_t fa = {dp, guid, snapshot, name};
    int err = find_below(&fa, fs);

    return err == FOUND ? 0 : err != 0 ? err : SET_ERROR(ENOENT);
}

int
dsl_find_by_guid(dsl_pool_t *dp, uint64_t guid, bool snapshot, char *name)
{
    return find_by_guid_below(dp, dsl_pool_name(dp), guid, snapshot, name);
}
