/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * prop.c - properties read: set on a directory, seen by everything below. How they get there is prop_set.c's.
 *
 *     tank        props { compression = lz4 }          compression of tank/a/b:   b? no.  a? no.  tank: yes, lz4, inherited from tank
 *     └─ a        props { }                            canmount is not inherited:  b? no.  default
 *        └─ b     props { com.me:x = "1" }
 *     b@s         props of its own, then b's chain
 *
 * One dataset can have three entries for a name; the first that is there decides:
 *
 *     name            local
 *     name$inherit    no value: the parent's counts, although there is a received one
 *     name$recvd      received
 *
 * INVARIANTS
 *  1. Numbers and indices are stored as one u64, all else as bytes with their NUL.
 *  2. A value that is stored in another shape, or that we cannot name, counts as not set.
 *  3. quota and reservation count as the directory's own fields say; their entries only tell the source.
 *
 * ZFS: module/zfs/dsl_prop.c
 */
#include <stdio.h>
#include "dsl_impl.h"

/* ---- entries of a props ZAP ---- */

/* The entry's key; false: too long to be one. */
bool
prop_key(const char *prop, const char *suffix, char *key)
{
    return snprintf(key, ZAP_MAXNAMELEN, "%s%s", prop, suffix) < ZAP_MAXNAMELEN;
}

bool
prop_has_entry(dsl_pool_t *dp, uint64_t zap, const char *prop, const char *suffix)
{
    char key[ZAP_MAXNAMELEN];

    return zap != 0 && prop_key(prop, suffix, key) && zap_contains(pool_mos(dp), zap, key) == 0;
}

/* Its value as text. ENOENT: none, or not understood. */
int
prop_read_entry(dsl_pool_t *dp, uint64_t zap, const char *prop, const char *suffix, char *value, size_t n)
{
    const dsl_prop_desc_t *d = dsl_prop_lookup(prop);
    char key[ZAP_MAXNAMELEN], *text;
    uint64_t number;
    int err;

    if (zap == 0 || !prop_key(prop, suffix, key))
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

uint64_t
prop_zap(const dsl_dataset_t *ds)
{
    return ds->ds_snapshot ? ds->ds_phys.ds_props_obj : ds->ds_dir->dd_phys.dd_props_zapobj;
}

/* ---- reading ---- */

/* Local, else received. */
static int
read_props(dsl_pool_t *dp, uint64_t zap, const char *prop, char *value, size_t n, dsl_prop_source_t *src)
{
    *src = PROP_SRC_LOCAL;
    if (prop_read_entry(dp, zap, prop, "", value, n) == 0)
        return 0;
    if (prop_has_entry(dp, zap, prop, PROP_SUFFIX_INHERIT))
        return ENOENT;
    *src = PROP_SRC_RECEIVED;
    return prop_read_entry(dp, zap, prop, PROP_SUFFIX_RECVD, value, n);
}

uint64_t
prop_entry_u64(dsl_dataset_t *ds, const char *prop)
{
    dsl_prop_source_t src;
    uint64_t number;
    char text[64];

    if (read_props(ds->ds_pool, prop_zap(ds), prop, text, sizeof(text), &src) != 0 ||
        prop_text_to_number(dsl_prop_lookup(prop), text, &number, NULL) != 0)
        return 0;
    return number;
}

/* Quota and reservation live in the directory itself. Old pools have no entry beside them: then a value is a local one. */
static bool
read_dir_field(dsl_dir_t *dd, const char *prop, char *value, size_t n, dsl_prop_source_t *src)
{
    bool quota = strcmp(prop, "quota") == 0;

    if (!quota && strcmp(prop, "reservation") != 0)
        return false;
    if (read_props(dd->dd_pool, dd->dd_phys.dd_props_zapobj, prop, value, n, src) != 0)
        *src = PROP_SRC_DEFAULT;
    mutex_enter(&dd->dd_lock);
    uint64_t number = quota ? dd->dd_phys.dd_quota : dd->dd_phys.dd_reserved;
    mutex_exit(&dd->dd_lock);
    if (number != 0 && *src == PROP_SRC_DEFAULT)
        *src = PROP_SRC_LOCAL;
    snprintf(value, n, "%llu", (unsigned long long)number);
    return true;
}

/* version, normalization, ...: in the file system's own first object; a volume's in its two. */
static int
read_create_only(dsl_dataset_t *ds, const dsl_prop_desc_t *d, char *value, size_t n)
{
    const char *key = strcmp(d->pd_name, "version") == 0 ? "VERSION" : d->pd_name;
    uint64_t number, size;
    uint32_t blksz;
    objset_t *os;

    if (strncmp(d->pd_name, "vol", 3) == 0) {
        if (dsl_dataset_objset_locked(ds, &os) != 0 || dsl_volume_geometry(os, &size, &blksz) != 0)
            return ENOENT;
        prop_number_to_text(d, strcmp(d->pd_name, "volsize") == 0 ? size : blksz, value, n);
        return 0;
    }
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

    if (snapshot && read_props(dp, ds->ds_phys.ds_props_obj, prop, value, n, src) == 0) {
        dsl_dataset_name(ds, setpoint);
        return 0;
    }
    if (snapshot && !inherit)
        return ENOENT;
    for (dsl_dir_t *dd = ds->ds_dir; dd != NULL; dd = inherit ? dd->dd_parent : NULL) {
        if (read_props(dp, dd->dd_phys.dd_props_zapobj, prop, value, n, src) != 0)
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
            snprintf(value, n, "%s", prop[0] == 'v' ? "-" : d->pd_default); /* version, volsize, volblocksize */
        else if (strcmp(prop, "volsize") == 0 && !dsl_dataset_is_snapshot(ds))
            s = PROP_SRC_LOCAL;
    } else if (d != NULL && read_dir_field(ds->ds_dir, prop, value, n, &s)) {
        if (s != PROP_SRC_DEFAULT)
            dsl_dir_name(ds->ds_dir, at);
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

int
dsl_prop_get_received(dsl_pool_t *dp, const char *name, const char *prop, char *value, size_t n)
{
    dsl_dataset_t *ds;

    if (dsl_prop_lookup(prop) == NULL && !prop_is_user(prop))
        return SET_ERROR(EINVAL);
    rw_enter_read(&dp->dp_config_lock);
    int err = dsl_dataset_hold_locked(dp, name, __func__, &ds);
    if (err == 0) {
        err = prop_read_entry(dp, prop_zap(ds), prop, PROP_SUFFIX_RECVD, value, n);
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
