/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * prop_set.c - properties written: set, inherit, inherit -S, and the values a stream brings.
 *
 *      what is done                     NAME      NAME$inherit    NAME$recvd      counts then
 *      set (also create -o)             value     -                               the value
 *      inherit, nothing ever received   -                                         the parent's
 *      inherit, else                    -         0                               the parent's
 *      inherit -S                       -         -                               the received one, if any
 *      receive brings it                                          value           the local one, else (no $inherit) this
 *      receive no longer brings it                                -               the local one, else the parent's
 *
 * An empty cell is left as it is. A dataset that has ever received properties has the entry "$hasrecvd".
 *
 * INVARIANTS
 *  1. One call is one txg: all its properties or none. What can fail (names, values, space) fails in the check.
 *  2. compression, copies and recordsize act on open objsets when the task has run (dsl_dataset_update_props), quotas and
 *     reservations at once (quota.c).
 *  3. A snapshot has only user properties; its ZAP exists only while it has entries.
 *
 * ZFS: dsl_props_set_sync, dsl_prop_set_sync_impl (dsl_prop.c), zfs_set_prop_nvlist, clear_received_props (zfs_ioctl.c). Unlike there, the
 * first receive that brings properties leaves local ones alone.
 */
#include <stdio.h>
#include "dsl_impl.h"

/* ---- one entry ---- */

static uint64_t
props_zap_create(dsl_dataset_t *ds, dmu_tx_t *tx)
{
    if (prop_zap(ds) == 0)
        dsl_dataset_set(ds, &ds->ds_phys.ds_props_obj,
                        zap_create(pool_mos(ds->ds_pool), DMU_OT_DSL_PROPS, DMU_OT_NONE, 0, tx), tx);
    return prop_zap(ds);
}

/* Invariant 3. */
static void
props_zap_drop_empty(dsl_dataset_t *ds, dmu_tx_t *tx)
{
    uint64_t zap = ds->ds_phys.ds_props_obj, count;

    if (!dsl_dataset_is_snapshot(ds) || zap == 0 || zap_count(pool_mos(ds->ds_pool), zap, &count) != 0 ||
        count != 0)
        return;
    dsl_dataset_set(ds, &ds->ds_phys.ds_props_obj, 0, tx);
    mos_must(ds->ds_pool, zap_destroy(pool_mos(ds->ds_pool), zap, tx));
}

static void
remove_entry(dsl_pool_t *dp, uint64_t zap, const char *prop, const char *suffix, dmu_tx_t *tx)
{
    char key[ZAP_MAXNAMELEN];
    int err = prop_key(prop, suffix, key) ? zap_remove(pool_mos(dp), zap, key, tx) : ENOENT;

    mos_must(dp, err == ENOENT ? 0 : err);
}

static void
write_entry(dsl_pool_t *dp, uint64_t zap, const char *prop, const char *suffix, const char *value,
            dmu_tx_t *tx)
{
    const dsl_prop_desc_t *d = dsl_prop_lookup(prop);
    char key[ZAP_MAXNAMELEN];
    uint64_t number;

    VERIFY(prop_key(prop, suffix, key));
    remove_entry(dp, zap, prop, suffix, tx); /* it may have another shape */
    if (d == NULL || d->pd_type == PROP_STRING) {
        mos_must(dp, zap_update(pool_mos(dp), zap, key, 1, strlen(value) + 1, value, tx));
    } else {
        VERIFY0(prop_text_to_number(d, value, &number, NULL));
        mos_must(dp, zap_update_u64(pool_mos(dp), zap, key, number, tx));
    }
}

static void
hide_received(dsl_pool_t *dp, uint64_t zap, const char *prop, dmu_tx_t *tx)
{
    char key[ZAP_MAXNAMELEN];

    VERIFY(prop_key(prop, PROP_SUFFIX_INHERIT, key));
    mos_must(dp, zap_update_u64(pool_mos(dp), zap, key, 0, tx));
}

void
prop_op_sync(dsl_dataset_t *ds, prop_op_t op, const char *prop, const char *value, dmu_tx_t *tx)
{
    dsl_pool_t *dp = ds->ds_pool;
    uint64_t zap = props_zap_create(ds, tx);

    if (op == PROP_OP_RECEIVED) {
        write_entry(dp, zap, prop, PROP_SUFFIX_RECVD, value, tx);
    } else if (op == PROP_OP_UNRECEIVED) {
        remove_entry(dp, zap, prop, PROP_SUFFIX_RECVD, tx);
    } else {
        remove_entry(dp, zap, prop, "", tx);
        remove_entry(dp, zap, prop, PROP_SUFFIX_INHERIT, tx);
        remove_entry(dp, zap, prop, PROP_SUFFIX_IUV, tx);
        if (op == PROP_OP_SET)
            write_entry(dp, zap, prop, "", value, tx);
        else if (op == PROP_OP_INHERIT && prop_has_entry(dp, zap, PROP_KEY_HASRECVD, ""))
            hide_received(dp, zap, prop, tx);
    }
    quota_sync(ds, prop, tx);
    props_zap_drop_empty(ds, tx);
    history_log_ds(ds, op == PROP_OP_SET || op == PROP_OP_RECEIVED ? "set" : "inherit", tx, "%s=%s", prop,
                   value != NULL ? value : "");
}

/* ---- many ---- */

/* A value as text: streams bring numbers, too. NULL: of a type that no property has. */
static const char *
pair_text(const nvpair_t *p, char *buf, size_t n)
{
    const dsl_prop_desc_t *d = dsl_prop_lookup(nvpair_name(p));

    if (nvpair_type(p) != DATA_TYPE_UINT64)
        return nvpair_value_string(p);
    if (d == NULL || d->pd_type == PROP_STRING)
        return NULL;
    prop_number_to_text(d, nvpair_value_uint64(p), buf, n);
    return buf;
}

static int
check_values(const nvlist_t *props)
{
    char buf[64];
    int err = 0;

    for (const nvpair_t *p = nvlist_next_nvpair(props, NULL); p != NULL && err == 0;
         p = nvlist_next_nvpair(props, p)) {
        const char *value = pair_text(p, buf, sizeof(buf));
        if (value == NULL)
            err = SET_ERROR(EINVAL);
        else if (prop_is_create_only(nvpair_name(p)) || strcmp(nvpair_name(p), "volblocksize") == 0)
            err = SET_ERROR(ENOTSUP);
        else
            err = dsl_prop_check(nvpair_name(p), value, NULL);
    }
    return err;
}

static void
set_pairs(dsl_dataset_t *ds, prop_op_t op, const nvlist_t *props, dmu_tx_t *tx)
{
    char buf[64];

    for (const nvpair_t *p = nvlist_next_nvpair(props, NULL); p != NULL; p = nvlist_next_nvpair(props, p))
        prop_op_sync(ds, op, nvpair_name(p), pair_text(p, buf, sizeof(buf)), tx);
}

/* Those that live in the ZAP; what a new file system keeps inside itself is none of them. */
void
prop_set_all_sync(dsl_dataset_t *ds, const nvlist_t *props, dmu_tx_t *tx)
{
    for (const nvpair_t *p = nvlist_next_nvpair(props, NULL); p != NULL; p = nvlist_next_nvpair(props, p)) {
        const char *name = nvpair_name(p), *value = nvpair_value_string(p);
        if (value != NULL && !prop_is_create_only(name) && dsl_prop_check(name, value, NULL) == 0)
            prop_op_sync(ds, PROP_OP_SET, name, value, tx);
    }
}

/* Names with a received value that keep (may be NULL) has not. */
static nvlist_t *
stale_received(dsl_dataset_t *ds, const nvlist_t *keep)
{
    nvlist_t *names = nvlist_alloc();
    zap_cursor_t zc;
    zap_attribute_t za;

    if (prop_zap(ds) == 0)
        return names;
    for (zap_cursor_init(&zc, pool_mos(ds->ds_pool), prop_zap(ds)); zap_cursor_retrieve(&zc, &za) == 0;
         zap_cursor_advance(&zc)) {
        char *suffix = strchr(za.za_name, '$');
        if (suffix == NULL || strcmp(suffix, PROP_SUFFIX_RECVD) != 0)
            continue;
        *suffix = '\0';
        if (keep == NULL || !nvlist_exists(keep, za.za_name))
            nvlist_add_boolean(names, za.za_name);
    }
    zap_cursor_fini(&zc);
    return names;
}

void
prop_set_received_sync(dsl_dataset_t *ds, const nvlist_t *props, dmu_tx_t *tx)
{
    nvlist_t *stale = stale_received(ds, props);

    for (const nvpair_t *p = nvlist_next_nvpair(stale, NULL); p != NULL; p = nvlist_next_nvpair(stale, p))
        prop_op_sync(ds, PROP_OP_UNRECEIVED, nvpair_name(p), NULL, tx);
    nvlist_free(stale);
    uint64_t zap = props_zap_create(ds, tx);
    remove_entry(ds->ds_pool, zap, PROP_KEY_HASRECVD, "", tx);
    if (props != NULL) {
        mos_must(ds->ds_pool, zap_update_u64(pool_mos(ds->ds_pool), zap, PROP_KEY_HASRECVD, 0, tx));
        set_pairs(ds, PROP_OP_RECEIVED, props, tx);
    }
    props_zap_drop_empty(ds, tx);
}

/* ---- the operations ---- */

typedef struct prop_arg {
    dsl_pool_t *pa_pool;
    const char *pa_ds;
    prop_op_t pa_op;          /* RECEIVED: pa_props replace all received ones */
    const nvlist_t *pa_props; /* these; NULL: */
    const char *pa_prop;      /* this one, without a value */
} prop_arg_t;

int
prop_check_snapshot(const nvlist_t *props)
{
    if (props == NULL)
        return 0;
    for (const nvpair_t *p = nvlist_next_nvpair(props, NULL); p != NULL; p = nvlist_next_nvpair(props, p))
        if (!prop_is_user(nvpair_name(p)))
            return SET_ERROR(EINVAL);
    return 0;
}

static int
check_for_snapshot(const prop_arg_t *pa)
{
    if (pa->pa_prop != NULL)
        return prop_is_user(pa->pa_prop) ? 0 : SET_ERROR(EINVAL);
    return prop_check_snapshot(pa->pa_props);
}

/* Quotas and reservations as they will be: is that possible? */
static int
check_quotas(dsl_dataset_t *ds, const prop_arg_t *pa)
{
    quota_values_t want;
    char buf[64];

    quota_get(ds, &want);
    if (pa->pa_prop != NULL)
        quota_predict(ds, &want, pa->pa_op, pa->pa_prop, NULL);
    if (pa->pa_op == PROP_OP_RECEIVED) {
        nvlist_t *stale = stale_received(ds, pa->pa_props);
        for (const nvpair_t *p = nvlist_next_nvpair(stale, NULL); p != NULL; p = nvlist_next_nvpair(stale, p))
            quota_predict(ds, &want, PROP_OP_UNRECEIVED, nvpair_name(p), NULL);
        nvlist_free(stale);
    }
    if (pa->pa_props != NULL)
        for (const nvpair_t *p = nvlist_next_nvpair(pa->pa_props, NULL); p != NULL;
             p = nvlist_next_nvpair(pa->pa_props, p))
            quota_predict(ds, &want, pa->pa_op, nvpair_name(p), pair_text(p, buf, sizeof(buf)));
    return quota_check(ds, &want);
}

/* All of the ZAP is read once: sync will find nothing it cannot read. EIO, ECKSUM */
static int
check_readable(dsl_dataset_t *ds)
{
    zap_cursor_t zc;
    zap_attribute_t za;
    int err = ENOENT;

    if (prop_zap(ds) == 0)
        return dsl_dataset_is_snapshot(ds) ? 0 : SET_ERROR(EIO);
    for (zap_cursor_init(&zc, pool_mos(ds->ds_pool), prop_zap(ds)); (err = zap_cursor_retrieve(&zc, &za)) == 0;)
        zap_cursor_advance(&zc);
    zap_cursor_fini(&zc);
    return err == ENOENT ? 0 : err;
}

int
prop_check_set(dsl_dataset_t *ds, const nvlist_t *props)
{
    prop_arg_t pa = {.pa_pool = ds->ds_pool, .pa_op = PROP_OP_SET, .pa_props = props};
    int err = check_readable(ds);

    return err != 0 ? err : check_quotas(ds, &pa);
}

static int
prop_check(void *arg, dmu_tx_t *tx)
{
    prop_arg_t *pa = arg;
    dsl_dataset_t *ds;
    int err = dsl_dataset_hold_locked(pa->pa_pool, pa->pa_ds, __func__, &ds);

    if (err != 0)
        return err;
    if ((err = check_readable(ds)) == 0)
        err = dsl_dataset_is_snapshot(ds) ? check_for_snapshot(pa) : check_quotas(ds, pa);
    dsl_dataset_rele(ds, __func__);
    return err;
}

void
prop_update_open_objsets(dsl_pool_t *dp)
{
    dsl_dataset_t **all, *ds;
    size_t n = 0;

    mutex_enter(&dp->dp_lock);
    for (ds = list_head(&dp->dp_datasets); ds != NULL; ds = list_next(&dp->dp_datasets, ds))
        n++;
    all = xzalloc((n + 1) * sizeof(dsl_dataset_t *));
    n = 0;
    for (ds = list_head(&dp->dp_datasets); ds != NULL; ds = list_next(&dp->dp_datasets, ds)) {
        ds->ds_refs++;
        all[n++] = ds;
    }
    mutex_exit(&dp->dp_lock);
    while (n-- > 0) {
        dsl_dataset_update_props(all[n]);
        dsl_dataset_rele(all[n], __func__);
    }
    free(all);
}

static void
prop_sync(void *arg, dmu_tx_t *tx)
{
    prop_arg_t *pa = arg;
    dsl_dataset_t *ds;

    if (!mos_must(pa->pa_pool, dsl_dataset_hold_locked(pa->pa_pool, pa->pa_ds, __func__, &ds)))
        return;
    if (pa->pa_op == PROP_OP_RECEIVED)
        prop_set_received_sync(ds, pa->pa_props, tx);
    else if (pa->pa_props != NULL)
        set_pairs(ds, pa->pa_op, pa->pa_props, tx);
    else
        prop_op_sync(ds, pa->pa_op, pa->pa_prop, NULL, tx);
    dsl_dataset_rele(ds, __func__);
    prop_update_open_objsets(pa->pa_pool);
}

void
prop_changed(dsl_pool_t *dp)
{
    mutex_enter(&dp->dp_lock);
    void (*fn)(void *) = dp->dp_prop_listener;
    void *arg = dp->dp_prop_listener_arg;
    mutex_exit(&dp->dp_lock);
    if (fn != NULL)
        fn(arg);
}

void
dsl_prop_set_listener(dsl_pool_t *dp, void (*fn)(void *arg), void *arg)
{
    mutex_enter(&dp->dp_lock);
    dp->dp_prop_listener = fn;
    dp->dp_prop_listener_arg = arg;
    mutex_exit(&dp->dp_lock);
}

static int
prop_task(prop_arg_t *pa)
{
    int err = dsl_sync_task(pa->pa_pool, prop_check, prop_sync, pa, 6, DSL_SPACE_RESERVED);

    if (err == 0)
        prop_changed(pa->pa_pool);
    return err;
}

int
dsl_prop_set(dsl_pool_t *dp, const char *name, const nvlist_t *props)
{
    prop_arg_t pa = {dp, name, PROP_OP_SET, props, NULL};
    int err = check_values(props);

    return err != 0 ? err : prop_task(&pa);
}

int
dsl_prop_set_received(dsl_pool_t *dp, const char *name, const nvlist_t *props)
{
    prop_arg_t pa = {dp, name, PROP_OP_RECEIVED, props, NULL};
    int err = props == NULL ? 0 : check_values(props);

    return err != 0 ? err : prop_task(&pa);
}

int
dsl_prop_inherit(dsl_pool_t *dp, const char *name, const char *prop, bool received)
{
    prop_arg_t pa = {dp, name, received ? PROP_OP_REVERT : PROP_OP_INHERIT, NULL, prop};
    const dsl_prop_desc_t *d = dsl_prop_lookup(prop);

    if (d == NULL && !prop_is_user(prop))
        return SET_ERROR(EINVAL);
    if (strlen(prop) + strlen(PROP_SUFFIX_INHERIT) >= ZAP_MAXNAMELEN)
        return SET_ERROR(ENAMETOOLONG);
    if (d != NULL && (!d->pd_settable || prop_is_create_only(prop)))
        return SET_ERROR(ENOTSUP);
    return prop_task(&pa);
}
