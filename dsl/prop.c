/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * prop.c - properties: set on a directory, seen by everything below.
 *
 *     tank        props { compression = lz4 }          compression of tank/a/b:   b? no.  a? no.  tank: yes, lz4, inherited from tank
 *     └─ a        props { }                            canmount is not inherited:  b? no.  default
 *        └─ b     props { com.me:x = "1" }
 *     b@s         props of its own, then b's chain
 *
 * A value received by a stream is kept apart ("name$recvd"), so that a local one hides it and goes away without loss; "name$inherit" hides a
 * received one in favour of the parent's.
 *
 * INVARIANTS
 *  1. Numbers and indices are stored as one u64, all else as bytes with their NUL.
 *  2. A value that is stored in another shape, or that we cannot name, counts as not set.
 *  3. compression, copies and recordsize act on open objsets when the task has run (dsl_dataset_update_props).
 *
 * ZFS: module/zfs/dsl_prop.c
 */
#include <stdio.h>
#include "dsl_impl.h"

#define SUFFIX_RECVD   "$recvd"
#define SUFFIX_INHERIT "$inherit"
#define KEY_HASRECVD   "$hasrecvd"

/* ---- reading ---- */

/* The text of an entry of a props ZAP. ENOENT: none, or not understood. */
static int
read_entry(dsl_pool_t *dp, uint64_t zap, const char *key, const dsl_prop_desc_t *d, char *value, size_t n)
{
    uint64_t number;
    char *text;
    int err;

    if (zap == 0)
        return ENOENT;
    if (d != NULL && d->pd_type != PROP_STRING) {
        if (zap_lookup(pool_mos(dp), zap, key, 8, 1, &number) != 0)
            return ENOENT;
        prop_number_to_text(d, number, value, n);
        return 0;
    }
    text = xzalloc(ZAP_MAXVALUELEN + 1);
    err = zap_lookup(pool_mos(dp), zap, key, 1, ZAP_MAXVALUELEN, text) == 0 ? 0 : ENOENT;
    if (err == 0)
        snprintf(value, n, "%s", text);
    free(text);
    return err;
}

static bool
has_key(dsl_pool_t *dp, uint64_t zap, const char *prop, const char *suffix)
{
    char key[ZAP_MAXNAMELEN + 16];

    snprintf(key, sizeof(key), "%s%s", prop, suffix);
    return zap != 0 && strlen(key) < ZAP_MAXNAMELEN && zap_contains(pool_mos(dp), zap, key) == 0;
}

/* Local, else received. */
static int
read_props(dsl_pool_t *dp, uint64_t zap, const char *prop, const dsl_prop_desc_t *d, char *value, size_t n,
           dsl_prop_source_t *src)
{
    char key[ZAP_MAXNAMELEN + 16];

    *src = PROP_SRC_LOCAL;
    if (read_entry(dp, zap, prop, d, value, n) == 0)
        return 0;
    if (has_key(dp, zap, prop, SUFFIX_INHERIT) || !has_key(dp, zap, prop, SUFFIX_RECVD))
        return ENOENT;
    *src = PROP_SRC_RECEIVED;
    snprintf(key, sizeof(key), "%s%s", prop, SUFFIX_RECVD);
    return read_entry(dp, zap, key, d, value, n);
}

/* Quotas and reservations live in the directory itself. */
static bool
read_dir_field(dsl_dir_t *dd, const char *prop, char *value, size_t n)
{
    bool quota = strcmp(prop, "quota") == 0;

    if (!quota && strcmp(prop, "reservation") != 0)
        return false;
    mutex_enter(&dd->dd_lock);
    snprintf(value, n, "%llu", (unsigned long long)(quota ? dd->dd_phys.dd_quota : dd->dd_phys.dd_reserved));
    mutex_exit(&dd->dd_lock);
    return true;
}

/* version, normalization, ...: in the file system's own first object. */
static int
read_create_only(dsl_dataset_t *ds, const dsl_prop_desc_t *d, char *value, size_t n)
{
    const char *key = strcmp(d->pd_name, "version") == 0 ? "VERSION" : d->pd_name;
    uint64_t number;
    objset_t *os;

    if (dsl_dataset_objset_locked(ds, &os) != 0 || objset_type(os) != DMU_OST_ZFS ||
        zap_lookup_u64(os, 1, key, &number) != 0)
        return ENOENT;
    prop_number_to_text(d, number, value, n);
    return 0;
}

/* The nearest directory, from ds upwards, that has it. */
static int
read_chain(dsl_dataset_t *ds, const char *prop, const dsl_prop_desc_t *d, char *value, size_t n,
           dsl_prop_source_t *src, char *setpoint)
{
    bool inherit = d == NULL || d->pd_inherit, snapshot = dsl_dataset_is_snapshot(ds);
    dsl_pool_t *dp = ds->ds_pool;

    if (snapshot && read_props(dp, ds->ds_phys.ds_props_obj, prop, d, value, n, src) == 0) {
        dsl_dataset_name(ds, setpoint);
        return 0;
    }
    if (snapshot && !inherit)
        return ENOENT;
    for (dsl_dir_t *dd = ds->ds_dir; dd != NULL; dd = inherit ? dd->dd_parent : NULL) {
        if (read_props(dp, dd->dd_phys.dd_props_zapobj, prop, d, value, n, src) != 0)
            continue;
        if (snapshot || dd != ds->ds_dir)
            *src = PROP_SRC_INHERITED;
        dsl_dir_name(dd, setpoint);
        return 0;
    }
    return ENOENT;
}

/* An inherited mountpoint goes on below the place it was set; the default is the dataset's name. */
static void
finish_mountpoint(dsl_dataset_t *ds, dsl_prop_source_t src, const char *setpoint, char *value, size_t n)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];
    size_t len = strlen(value);

    dsl_dir_name(ds->ds_dir, name);
    if (src == PROP_SRC_DEFAULT)
        snprintf(value, n, "/%s", name);
    else if (src == PROP_SRC_INHERITED && value[0] == '/' && len < n)
        snprintf(value + len, n - len, "%s", name + strlen(setpoint) + (strcmp(value, "/") == 0 ? 1 : 0));
}

int
prop_get_locked(dsl_dataset_t *ds, const char *prop, char *value, size_t n, dsl_prop_source_t *src,
                char *setpoint)
{
    const dsl_prop_desc_t *d = dsl_prop_lookup(prop);
    char at[ZFS_MAX_DATASET_NAME_LEN] = "";
    dsl_prop_source_t s = PROP_SRC_DEFAULT;

    if (d == NULL && !prop_is_user(prop))
        return SET_ERROR(EINVAL);
    if (d != NULL && !d->pd_settable)
        return SET_ERROR(ENOTSUP);
    if (d != NULL && prop_is_create_only(prop)) {
        s = PROP_SRC_NONE;
        if (read_create_only(ds, d, value, n) != 0)
            snprintf(value, n, "%s", strcmp(prop, "version") == 0 ? "-" : d->pd_default);
    } else if (d != NULL && read_dir_field(ds->ds_dir, prop, value, n)) {
        s = strcmp(value, "0") == 0 ? PROP_SRC_DEFAULT : PROP_SRC_LOCAL;
    } else if (read_chain(ds, prop, d, value, n, &s, at) != 0) {
        if (d == NULL)
            return ENOENT;
        s = PROP_SRC_DEFAULT;
        snprintf(value, n, "%s", d->pd_default);
    }
    if (strcmp(prop, "mountpoint") == 0)
        finish_mountpoint(ds, s, at, value, n);
    if (src != NULL)
        *src = s;
    if (setpoint != NULL)
        memcpy(setpoint, at, sizeof(at));
    return 0;
}

int
prop_get_u64_locked(dsl_dataset_t *ds, const char *prop, uint64_t *value)
{
    const dsl_prop_desc_t *d = dsl_prop_lookup(prop);
    char text[64];
    int err;

    if (d == NULL || d->pd_type == PROP_STRING)
        return SET_ERROR(EINVAL);
    if ((err = prop_get_locked(ds, prop, text, sizeof(text), NULL, NULL)) != 0)
        return err;
    return prop_text_to_number(d, text, value, NULL);
}

int
dsl_prop_get(dsl_pool_t *dp, const char *name, const char *prop, char *value, size_t n,
             dsl_prop_source_t *src, char *setpoint)
{
    dsl_dataset_t *ds;

    rw_enter_read(&dp->dp_config_lock);
    int err = dsl_dataset_hold_locked(dp, name, __func__, &ds);
    if (err == 0) {
        err = prop_get_locked(ds, prop, value, n, src, setpoint);
        dsl_dataset_rele(ds, __func__);
    }
    rw_exit(&dp->dp_config_lock);
    return err;
}

int
dsl_prop_get_u64(dsl_pool_t *dp, const char *name, const char *prop, uint64_t *value)
{
    dsl_dataset_t *ds;

    rw_enter_read(&dp->dp_config_lock);
    int err = dsl_dataset_hold_locked(dp, name, __func__, &ds);
    if (err == 0) {
        err = prop_get_u64_locked(ds, prop, value);
        dsl_dataset_rele(ds, __func__);
    }
    rw_exit(&dp->dp_config_lock);
    return err;
}

/* ---- user properties ---- */

static void
collect_user(dsl_pool_t *dp, uint64_t zap, nvlist_t *names)
{
    zap_cursor_t zc;
    zap_attribute_t za;

    if (zap == 0)
        return;
    for (zap_cursor_init(&zc, pool_mos(dp), zap); zap_cursor_retrieve(&zc, &za) == 0;
         zap_cursor_advance(&zc)) {
        char *dollar = strchr(za.za_name, '$');
        if (dollar != NULL)
            *dollar = '\0';
        if (prop_is_user(za.za_name))
            nvlist_add_boolean(names, za.za_name);
    }
    zap_cursor_fini(&zc);
}

int
dsl_prop_for_each_user(dsl_pool_t *dp, const char *name, dsl_name_cb_t cb, void *arg)
{
    nvlist_t *names = nvlist_alloc();
    dsl_dataset_t *ds;

    rw_enter_read(&dp->dp_config_lock);
    int err = dsl_dataset_hold_locked(dp, name, __func__, &ds);
    if (err == 0) {
        collect_user(dp, ds->ds_phys.ds_props_obj, names);
        for (dsl_dir_t *dd = ds->ds_dir; dd != NULL; dd = dd->dd_parent)
            collect_user(dp, dd->dd_phys.dd_props_zapobj, names);
        dsl_dataset_rele(ds, __func__);
    }
    rw_exit(&dp->dp_config_lock);
    for (const nvpair_t *p = nvlist_next_nvpair(names, NULL); p != NULL && err == 0;
         p = nvlist_next_nvpair(names, p))
        err = cb(arg, nvpair_name(p));
    nvlist_free(names);
    return err;
}

/* ---- writing ---- */

static uint64_t
props_zap(dsl_dataset_t *ds, dmu_tx_t *tx)
{
    if (!dsl_dataset_is_snapshot(ds))
        return ds->ds_dir->dd_phys.dd_props_zapobj;
    if (ds->ds_phys.ds_props_obj == 0)
        dsl_dataset_set(ds, &ds->ds_phys.ds_props_obj,
                        zap_create(pool_mos(ds->ds_pool), DMU_OT_DSL_PROPS, DMU_OT_NONE, 0, tx), tx);
    return ds->ds_phys.ds_props_obj;
}

static void
remove_key(dsl_pool_t *dp, uint64_t zap, const char *key, dmu_tx_t *tx)
{
    int err = zap_remove(pool_mos(dp), zap, key, tx);

    VERIFY(err == 0 || err == ENOENT);
}

static void
write_entry(dsl_pool_t *dp, uint64_t zap, const char *key, const dsl_prop_desc_t *d, const char *value,
            dmu_tx_t *tx)
{
    uint64_t number;

    remove_key(dp, zap, key, tx); /* it may have another shape */
    if (d == NULL || d->pd_type == PROP_STRING) {
        VERIFY0(zap_update(pool_mos(dp), zap, key, 1, strlen(value) + 1, value, tx));
    } else {
        VERIFY0(prop_text_to_number(d, value, &number, NULL));
        VERIFY0(zap_update_u64(pool_mos(dp), zap, key, number, tx));
    }
}

void
prop_set_sync(dsl_dataset_t *ds, const char *prop, const char *value, bool received, dmu_tx_t *tx)
{
    const dsl_prop_desc_t *d = dsl_prop_lookup(prop);
    dsl_pool_t *dp = ds->ds_pool;
    uint64_t zap = props_zap(ds, tx), zero = 0;
    char key[ZAP_MAXNAMELEN + 16];

    if (strlen(prop) + strlen(SUFFIX_INHERIT) >= ZAP_MAXNAMELEN)
        return;
    if (received) {
        snprintf(key, sizeof(key), "%s%s", prop, SUFFIX_RECVD);
        write_entry(dp, zap, key, d, value, tx);
        VERIFY0(zap_update(pool_mos(dp), zap, KEY_HASRECVD, 8, 1, &zero, tx));
        return;
    }
    snprintf(key, sizeof(key), "%s%s", prop, SUFFIX_INHERIT);
    if (value != NULL) {
        remove_key(dp, zap, key, tx);
        write_entry(dp, zap, prop, d, value, tx);
    } else {
        remove_key(dp, zap, prop, tx);
        if (has_key(dp, zap, prop, SUFFIX_RECVD))
            VERIFY0(zap_update(pool_mos(dp), zap, key, 1, 1, "", tx));
    }
}

/* Those that live in the ZAP; what a new file system keeps inside itself is none of them. */
void
prop_set_all_sync(dsl_dataset_t *ds, const nvlist_t *props, dmu_tx_t *tx)
{
    for (const nvpair_t *p = nvlist_next_nvpair(props, NULL); p != NULL; p = nvlist_next_nvpair(props, p)) {
        const char *name = nvpair_name(p), *value = nvpair_value_string(p);
        if (value == NULL || prop_is_create_only(name) || dsl_prop_check(name, value, NULL) != 0)
            continue;
        if (strstr(name, "quota") == NULL && strstr(name, "reservation") == NULL)
            prop_set_sync(ds, name, value, false, tx);
    }
}

/* ---- the operations ---- */

typedef struct prop_arg {
    dsl_pool_t *pa_pool;
    const char *pa_ds;
    const nvlist_t *pa_props; /* set these */
    const char *pa_inherit;   /* or drop this one */
} prop_arg_t;

static int
check_for_snapshot(const prop_arg_t *pa)
{
    if (pa->pa_inherit != NULL)
        return prop_is_user(pa->pa_inherit) ? 0 : SET_ERROR(EINVAL);
    for (const nvpair_t *p = nvlist_next_nvpair(pa->pa_props, NULL); p != NULL;
         p = nvlist_next_nvpair(pa->pa_props, p))
        if (!prop_is_user(nvpair_name(p)))
            return SET_ERROR(EINVAL);
    return 0;
}

static int
prop_check(void *arg, dmu_tx_t *tx)
{
    prop_arg_t *pa = arg;
    dsl_dataset_t *ds;
    int err = dsl_dataset_hold_locked(pa->pa_pool, pa->pa_ds, __func__, &ds);

    if (err != 0)
        return err;
    if (dsl_dataset_is_snapshot(ds))
        err = check_for_snapshot(pa);
    dsl_dataset_rele(ds, __func__);
    return err;
}

static void
update_open_objsets(dsl_pool_t *dp)
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

    VERIFY0(dsl_dataset_hold_locked(pa->pa_pool, pa->pa_ds, __func__, &ds));
    if (pa->pa_props != NULL)
        prop_set_all_sync(ds, pa->pa_props, tx);
    else
        prop_set_sync(ds, pa->pa_inherit, NULL, false, tx);
    dsl_dataset_rele(ds, __func__);
    update_open_objsets(pa->pa_pool);
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
    prop_arg_t pa = {dp, name, props, NULL};
    int err = 0;

    for (const nvpair_t *p = nvlist_next_nvpair(props, NULL); p != NULL && err == 0;
         p = nvlist_next_nvpair(props, p)) {
        if (nvpair_value_string(p) == NULL)
            err = SET_ERROR(EINVAL);
        else if (prop_is_create_only(nvpair_name(p)))
            err = SET_ERROR(ENOTSUP);
        else
            err = dsl_prop_check(nvpair_name(p), nvpair_value_string(p), NULL);
    }
    return err != 0 ? err : prop_task(&pa);
}

int
dsl_prop_inherit(dsl_pool_t *dp, const char *name, const char *prop, bool received)
{
    prop_arg_t pa = {dp, name, NULL, prop};
    const dsl_prop_desc_t *d = dsl_prop_lookup(prop);

    if (received)
        return SET_ERROR(ENOTSUP);
    if (d == NULL && !prop_is_user(prop))
        return SET_ERROR(EINVAL);
    if (d != NULL && (!d->pd_settable || prop_is_create_only(prop)))
        return SET_ERROR(ENOTSUP);
    return prop_task(&pa);
}
