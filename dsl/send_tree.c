/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * send_tree.c - what a package says of itself: its file systems, in the order they are sent, and the list at its head.
 *
 *   "fss"
 *     0x5f3a...  (guid of the head)          one entry per file system
 *        name            pool/a/b
 *        parentfromsnap  guid of pool/a@from (where there is none: of pool/a@to); 0 at the top
 *        origin          guid of the snapshot it started from, when it is a clone
 *        props           set here or received here: numbers as numbers, all else as text
 *        snaps           name -> guid, each up to @to: how a receiver finds out what was renamed or destroyed
 *        snapprops       name -> its user properties
 *        snapholds       name -> tags
 *
 * The tree is read in several steps, each under the config lock: what is destroyed or renamed meanwhile is missed later, by name, and
 * ends the package with an error.
 *
 * INVARIANT  In the list parents come before children and origins before clones. Where that is impossible (a file system below itself,
 * by way of its origin) the clone is no clone any more: it is sent whole.
 *
 * ZFS: send_iterate_fs(), dump_filesystems() in libzfs_sendrecv.c.
 */
#include <stdio.h>

#include "dsl_impl.h"
#include "send_impl.h"

/* ---- one file system ---- */

static int
head_phys(dsl_pool_t *dp, const char *name, dsl_dataset_phys_t *phys)
{
    dsl_dataset_t *ds;
    int err = dsl_dataset_hold(dp, name, __func__, &ds);

    if (err != 0)
        return err;
    dsl_dataset_phys(ds, phys);
    dsl_dataset_rele(ds, __func__);
    return 0;
}

package_snap_t *
package_find_snap(package_fs_t *pf, const char *snap)
{
    for (size_t i = 0; snap != NULL && i < pf->pf_nsnaps; i++) {
        if (strcmp(pf->pf_snaps[i].ps_name, snap) == 0)
            return &pf->pf_snaps[i];
    }
    return NULL;
}

static int
add_snapshot(void *arg, const char *name)
{
    package_fs_t *pf = arg;
    dsl_dataset_phys_t phys;
    int err = head_phys(pf->pf_pool, name, &phys);

    if (err != 0)
        return err == ENOENT ? 0 : err; /* destroyed just now */
    if ((pf->pf_nsnaps & (pf->pf_nsnaps - 1)) == 0)
        pf->pf_snaps = xrealloc(pf->pf_snaps, (2 * pf->pf_nsnaps + 1) * sizeof(package_snap_t));
    pf->pf_snaps[pf->pf_nsnaps++] = (package_snap_t){
        .ps_name = xstrdup(strchr(name, '@') + 1), .ps_guid = phys.ds_guid, .ps_txg = phys.ds_creation_txg};
    return 0;
}

/* Those after @to are no part of the package. ENOENT: there is no @to. */
static int
drop_later(package_fs_t *pf, const char *to)
{
    while (pf->pf_nsnaps > 0 && strcmp(pf->pf_snaps[pf->pf_nsnaps - 1].ps_name, to) != 0)
        free(pf->pf_snaps[--pf->pf_nsnaps].ps_name);
    return pf->pf_nsnaps == 0 ? SET_ERROR(ENOENT) : 0;
}

static int
find_origin(package_fs_t *pf)
{
    dsl_dataset_phys_t phys;
    dsl_stats_t *st = xzalloc(sizeof(*st));
    int err = dsl_dataset_stats(pf->pf_pool, pf->pf_name, st);

    if (err == 0 && st->dst_origin[0] != '\0' && (err = head_phys(pf->pf_pool, st->dst_origin, &phys)) == 0) {
        snprintf(pf->pf_origin, sizeof(pf->pf_origin), "%s", st->dst_origin);
        pf->pf_originguid = phys.ds_guid;
    }
    free(st);
    return err;
}

static void
fs_free(package_fs_t *pf)
{
    for (size_t i = 0; i < pf->pf_nsnaps; i++)
        free(pf->pf_snaps[i].ps_name);
    free(pf->pf_snaps);
    free(pf);
}

static int
fs_read(package_t *pk, package_fs_t *pf)
{
    const package_snap_t *from;
    dsl_dataset_phys_t phys;
    int err = head_phys(pf->pf_pool, pf->pf_name, &phys);

    if (err == 0)
        err = dsl_for_each_snapshot(pf->pf_pool, pf->pf_name, add_snapshot, pf);
    if (err == 0)
        err = drop_later(pf, pk->pk_to);
    if (err == 0)
        err = find_origin(pf);
    if (err != 0)
        return err;
    pf->pf_guid = phys.ds_guid;
    from = package_find_snap(pf, pk->pk_from);
    if (from == NULL) /* full, or new since then */
        from = package_find_snap(pf, pk->pk_to);
    pf->pf_fromguid = from->ps_guid;
    return 0;
}

/* ---- the tree ---- */

typedef struct gather {
    package_t *ga_pk;
    package_fs_t *ga_parent;
} gather_t;

/* A file system without @to: it may be younger than the parent's @to, or the caller does not mind. */
static bool
may_be_missing(const package_t *pk, const package_fs_t *parent, const char *name)
{
    dsl_dataset_phys_t phys;

    if (parent == NULL)
        return false;
    if (pk->pk_args->dpa_skip_missing)
        return true;
    return head_phys(pk->pk_pool, name, &phys) == 0 &&
           phys.ds_creation_txg > parent->pf_snaps[parent->pf_nsnaps - 1].ps_txg;
}

static int
gather_fs(void *arg, const char *name)
{
    gather_t *ga = arg;
    package_t *pk = ga->ga_pk;
    package_fs_t *pf = xzalloc(sizeof(*pf));

    pf->pf_pool = pk->pk_pool;
    pf->pf_parent = ga->ga_parent;
    snprintf(pf->pf_name, sizeof(pf->pf_name), "%s", name);
    int err = fs_read(pk, pf);
    if (err != 0) {
        fs_free(pf);
        if (err == ENOENT && may_be_missing(pk, ga->ga_parent, name))
            return 0;
        snprintf(pk->pk_failed, sizeof(pk->pk_failed), "%s", name);
        return err;
    }
    list_insert_tail(&pk->pk_fs, pf);
    if (!pk->pk_args->dpa_replicate)
        return 0;
    gather_t below = {pk, pf};
    return dsl_for_each_child(pk->pk_pool, name, gather_fs, &below);
}

/* ---- the order ---- */

/* The snapshot with this guid, if it is in the package. */
static package_snap_t *
find_guid(package_t *pk, uint64_t guid, package_fs_t **owner)
{
    for (package_fs_t *pf = list_head(&pk->pk_fs); pf != NULL; pf = list_next(&pk->pk_fs, pf)) {
        for (size_t i = 0; i < pf->pf_nsnaps; i++) {
            if (pf->pf_snaps[i].ps_guid == guid) {
                *owner = pf;
                return &pf->pf_snaps[i];
            }
        }
    }
    return NULL;
}

static void
mark_origins(package_t *pk)
{
    for (package_fs_t *pf = list_head(&pk->pk_fs); pf != NULL; pf = list_next(&pk->pk_fs, pf)) {
        package_snap_t *ps =
            pf->pf_originguid != 0 ? find_guid(pk, pf->pf_originguid, &pf->pf_origin_fs) : NULL;
        if (ps != NULL)
            ps->ps_origin = true;
    }
}

/* One that is sent from a snapshot of its own does not ask for its origin. */
static bool
is_ready(package_t *pk, package_fs_t *pf)
{
    return (pf->pf_parent == NULL || pf->pf_parent->pf_placed) &&
           (pf->pf_origin_fs == NULL || pf->pf_origin_fs->pf_placed ||
            package_find_snap(pf, pk->pk_from) != NULL);
}

/* The next one: first come, first served. */
static package_fs_t *
next_ready(package_t *pk)
{
    package_fs_t *pf, *stuck = NULL;

    for (pf = list_head(&pk->pk_fs); pf != NULL; pf = list_next(&pk->pk_fs, pf)) {
        if (is_ready(pk, pf))
            return pf;
        if (stuck == NULL && (pf->pf_parent == NULL || pf->pf_parent->pf_placed))
            stuck = pf;
    }
    if (stuck != NULL) { /* its origin lies below itself */
        stuck->pf_originguid = 0;
        stuck->pf_origin[0] = '\0';
    }
    return stuck;
}

static void
put_in_order(package_t *pk)
{
    list_t ordered;
    package_fs_t *pf;

    mark_origins(pk);
    list_create(&ordered, offsetof(package_fs_t, pf_node));
    while ((pf = next_ready(pk)) != NULL) {
        list_remove(&pk->pk_fs, pf);
        pf->pf_placed = true;
        list_insert_tail(&ordered, pf);
    }
    VERIFY(
        list_is_empty(&pk->pk_fs)); /* a parent is always ready before its children, and the top has none */
    while ((pf = list_head(&ordered)) != NULL) {
        list_remove(&ordered, pf);
        list_insert_tail(&pk->pk_fs, pf);
    }
}

int
package_gather(package_t *pk, dsl_pool_t *dp, const dmu_send_package_args_t *args)
{
    const char *to = args->dpa_send.dsa_tosnap, *from = args->dpa_send.dsa_from;
    char top[ZFS_MAX_DATASET_NAME_LEN];
    gather_t ga = {pk, NULL};

    memset(pk, 0, sizeof(*pk));
    list_create(&pk->pk_fs, offsetof(package_fs_t, pf_node));
    pk->pk_pool = dp;
    pk->pk_args = args;
    int err = name_split_snapshot(to, top, &pk->pk_to);
    if (err != 0)
        return err;
    if (from != NULL && (from[strcspn(from, "@#")] == '\0' || (args->dpa_replicate && strchr(from, '#') != NULL)))
        return SET_ERROR(EINVAL);
    pk->pk_from = from != NULL ? from + strcspn(from, "@#") + 1 : NULL;
    err = gather_fs(&ga, top);
    if (err == 0)
        put_in_order(pk);
    return err;
}

void
package_free(package_t *pk)
{
    package_fs_t *pf;

    while ((pf = list_head(&pk->pk_fs)) != NULL) {
        list_remove(&pk->pk_fs, pf);
        fs_free(pf);
    }
}

/* ---- the list at the head ---- */

typedef struct props {
    dsl_pool_t *pr_pool;
    const char *pr_name;
    bool pr_received; /* -b: what was received, whether it counts or not */
    nvlist_t *pr_list;
} props_t;

static void
add_value(nvlist_t *list, const dsl_prop_desc_t *d, const char *name, const char *value)
{
    uint64_t number;

    if (d == NULL || d->pd_type == PROP_STRING)
        nvlist_add_string(list, name, value);
    else if (prop_text_to_number(d, value, &number, NULL) == 0)
        nvlist_add_uint64(list, name, number);
}

static int
add_property(void *arg, const char *name)
{
    props_t *pr = arg;
    dsl_prop_source_t src = PROP_SRC_RECEIVED;
    size_t n = ZAP_MAXVALUELEN + 1;
    char *value = xzalloc(n);
    int err = pr->pr_received ? dsl_prop_get_received(pr->pr_pool, pr->pr_name, name, value, n)
                              : dsl_prop_get(pr->pr_pool, pr->pr_name, name, value, n, &src, NULL);

    if (err == 0 && (src == PROP_SRC_LOCAL || src == PROP_SRC_RECEIVED))
        add_value(pr->pr_list, dsl_prop_lookup(name), name, value);
    free(value);
    return 0;
}

static nvlist_t *
read_props(const package_t *pk, const char *name)
{
    props_t pr = {pk->pk_pool, name, pk->pk_args->dpa_backup, nvlist_alloc()};

    for (const dsl_prop_desc_t *d = dsl_prop_next(NULL); d != NULL && strchr(name, '@') == NULL;
         d = dsl_prop_next(d)) {
        if (d->pd_settable && !prop_is_create_only(d->pd_name))
            (void)add_property(&pr, d->pd_name);
    }
    (void)dsl_prop_for_each_user(pk->pk_pool, name, add_property, &pr);
    return pr.pr_list;
}

static int
add_hold(void *arg, const char *tag, uint64_t when)
{
    nvlist_add_uint64(arg, tag, when);
    return 0;
}

static void
put_list(nvlist_t *into, const char *name, nvlist_t *list)
{
    nvlist_add_nvlist(into, name, list);
    nvlist_free(list);
}

/* Of a package of one file system only what is sent is described. */
static bool
is_described(const package_t *pk, package_fs_t *pf, const package_snap_t *ps)
{
    if (pk->pk_args->dpa_replicate || ps == &pf->pf_snaps[pf->pf_nsnaps - 1])
        return true;
    if (!pk->pk_args->dpa_intermediate)
        return false;
    const package_snap_t *from = package_find_snap(pf, pk->pk_from);
    return from == NULL || ps > from;
}

static void
add_snapshots(const package_t *pk, package_fs_t *pf, nvlist_t *entry)
{
    nvlist_t *snaps = nvlist_alloc(), *props = nvlist_alloc(), *holds = nvlist_alloc();
    char name[2 * ZFS_MAX_DATASET_NAME_LEN];

    for (size_t i = 0; i < pf->pf_nsnaps; i++) {
        const package_snap_t *ps = &pf->pf_snaps[i];
        nvlist_add_uint64(snaps, ps->ps_name, ps->ps_guid);
        if (!is_described(pk, pf, ps))
            continue;
        snprintf(name, sizeof(name), "%s@%s", pf->pf_name, ps->ps_name);
        put_list(props, ps->ps_name, read_props(pk, name));
        if (pk->pk_args->dpa_holds) {
            nvlist_t *tags = nvlist_alloc();
            (void)dsl_for_each_hold(pk->pk_pool, name, add_hold, tags);
            put_list(holds, ps->ps_name, tags);
        }
    }
    put_list(entry, "snaps", snaps);
    put_list(entry, "snapprops", props);
    if (pk->pk_args->dpa_holds)
        nvlist_add_nvlist(entry, "snapholds", holds);
    nvlist_free(holds);
}

static nvlist_t *
fs_list(const package_t *pk, package_fs_t *pf)
{
    nvlist_t *entry = nvlist_alloc();

    nvlist_add_string(entry, "name", pf->pf_name);
    nvlist_add_uint64(entry, "parentfromsnap", pf->pf_parent != NULL ? pf->pf_parent->pf_fromguid : 0);
    if (pf->pf_originguid != 0)
        nvlist_add_uint64(entry, "origin", pf->pf_originguid);
    if (pk->pk_args->dpa_props || pk->pk_args->dpa_backup || pk->pk_args->dpa_replicate)
        put_list(entry, "props", read_props(pk, pf->pf_name));
    add_snapshots(pk, pf, entry);
    return entry;
}

nvlist_t *
package_list(package_t *pk)
{
    const dmu_send_package_args_t *a = pk->pk_args;
    nvlist_t *head = nvlist_alloc(), *fss = nvlist_alloc();
    char key[24];

    if (pk->pk_from != NULL)
        nvlist_add_string(head, "fromsnap", pk->pk_from);
    nvlist_add_string(head, "tosnap", pk->pk_to);
    if (!a->dpa_replicate)
        nvlist_add_boolean(head, "not_recursive");
    for (package_fs_t *pf = list_head(&pk->pk_fs); pf != NULL; pf = list_next(&pk->pk_fs, pf)) {
        snprintf(key, sizeof(key), "0x%llx", (unsigned long long)pf->pf_guid);
        put_list(fss, key, fs_list(pk, pf));
    }
    put_list(head, "fss", fss);
    return head;
}
