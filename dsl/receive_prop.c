/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * receive_prop.c - the properties a package carries, and what -o and -x say to them.
 *
 *                         top of the package                         below it
 *   from the list         received value (counts below a local one)  the same
 *   -o prop=value         local value                                received value hidden: the top's is inherited
 *   -x prop               received value hidden, unless a local one hides it anyway; not inheritable: not taken at all
 *
 * A new file system has them before its data comes (compression), one that was there when the stream was whole, so that a
 * broken stream changes nothing. Nothing here fails: a property this program does not know, or whose value it does not take, is warned of.
 *
 * ZFS: zfs_setup_cmdline_props() and zfs_receive_one() in libzfs_sendrecv.c
 */
#include <inttypes.h>
#include <stdio.h>

#include "receive_impl.h"

/* Of the data, not of the dataset: the stream itself brings them. */
static bool
comes_with_data(const char *name)
{
    return prop_is_create_only(name) || strcmp(name, "volsize") == 0 || strcmp(name, "volblocksize") == 0;
}

static bool
is_excluded(const dmu_receive_args_t *args, const char *name)
{
    for (const char *const *x = args->dra_exclude; x != NULL && *x != NULL; x++)
        if (strcmp(*x, name) == 0)
            return true;
    return false;
}

static bool
is_inheritable(const char *name)
{
    const dsl_prop_desc_t *d = dsl_prop_lookup(name);

    return d == NULL || d->pd_inherit;
}

/* Strings come as they are, the rest as numbers. False: the number has no name. */
static bool
value_text(const nvpair_t *p, char *text, size_t n)
{
    const dsl_prop_desc_t *d = dsl_prop_lookup(nvpair_name(p));
    const char *string = nvpair_value_string(p);
    int len;

    if (string == NULL && nvpair_type(p) != DATA_TYPE_UINT64)
        return false;
    if (string != NULL) {
        len = snprintf(text, n, "%s", string);
    } else if (d != NULL && d->pd_type == PROP_INDEX) {
        prop_number_to_text(d, nvpair_value_uint64(p), text, n);
        len = 0;
    } else {
        len = snprintf(text, n, "%" PRIu64, nvpair_value_uint64(p));
    }
    return len < (int)n;
}

/* What of the list can be kept as received values of a dataset. */
static nvlist_t *
acceptable(receive_t *rc, const nvlist_t *props, const char *ds)
{
    char text[ZAP_MAXVALUELEN];
    nvlist_t *out = nvlist_alloc();

    for (const nvpair_t *p = nvlist_next_nvpair(props, NULL); p != NULL; p = nvlist_next_nvpair(props, p)) {
        const char *name = nvpair_name(p), *reason = NULL;
        bool excluded = is_excluded(rc->rc_args, name) && !is_inheritable(name);
        if (comes_with_data(name) || excluded)
            continue;
        if (!value_text(p, text, sizeof(text)) || dsl_prop_check(name, text, &reason) != 0)
            receive_warn(rc, "cannot receive %.100s property on %s: %s", name, ds,
                         reason != NULL ? reason : "invalid value");
        else
            nvlist_add_string(out, name, text);
    }
    return out;
}

static void
set_received(receive_t *rc, const char *ds, const nvlist_t *props)
{
    int err = dsl_prop_set_received(rc->rc_dp, ds, props);

    if (err != 0)
        receive_warn(rc, "cannot receive properties on %s: %s", ds, cowbird_strerror(err));
}

/* A received value stays where it is, but does not count; a local one goes, or hides it anyway. */
static void
hide_received(receive_t *rc, const char *name, bool local_stays)
{
    dsl_prop_source_t src;
    char value[ZAP_MAXVALUELEN];

    if (dsl_prop_get(rc->rc_dp, rc->rc_fs, name, value, sizeof(value), &src, NULL) != 0 ||
        (src != PROP_SRC_RECEIVED && (src != PROP_SRC_LOCAL || local_stays)))
        return;
    int err = dsl_prop_inherit(rc->rc_dp, rc->rc_fs, name, false);
    if (err != 0)
        receive_warn(rc, "cannot inherit %.100s on %s: %s", name, rc->rc_fs, cowbird_strerror(err));
}

static void
set_local(receive_t *rc, const nvlist_t *props)
{
    int err = dsl_prop_set(rc->rc_dp, rc->rc_fs, props);

    if (err != 0)
        receive_warn(rc, "cannot set properties on %s: %s", rc->rc_fs, cowbird_strerror(err));
}

void
receive_props(receive_t *rc, const nvlist_t *fs, bool top, bool is_new)
{
    const dmu_receive_args_t *args = rc->rc_args;
    const nvlist_t *sent = receive_list_inner(fs, "props", NULL);
    const nvlist_t *set = args->dra_props;

    if (sent != NULL) {
        nvlist_t *received = acceptable(rc, sent, rc->rc_fs);
        set_received(rc, rc->rc_fs, received);
        nvlist_free(received);
    }
    for (const char *const *x = args->dra_exclude; x != NULL && *x != NULL; x++)
        if (is_inheritable(*x) && sent != NULL && nvlist_exists(sent, *x))
            hide_received(rc, *x, true);
    if (set == NULL)
        return;
    if (top && is_new) /* else dmu_recv_end() has set them */
        set_local(rc, set);
    for (const nvpair_t *p = nvlist_next_nvpair(set, NULL); !top && p != NULL; p = nvlist_next_nvpair(set, p))
        hide_received(rc, nvpair_name(p), false);
}

static void
hold_snapshot(receive_t *rc, const char *snap, const nvlist_t *tags)
{
    int failed;

    for (const nvpair_t *p = nvlist_next_nvpair(tags, NULL); p != NULL; p = nvlist_next_nvpair(tags, p)) {
        int err = dsl_hold(rc->rc_dp, &snap, 1, nvpair_name(p), &failed);
        if (err != 0 && err != EEXIST)
            receive_warn(rc, "cannot hold %s with tag '%.100s': %s", snap, nvpair_name(p),
                         cowbird_strerror(err));
    }
}

void
receive_snap_props(receive_t *rc, const char *fs, const char *snap, const receive_snap_t *rs, bool and_holds)
{
    const nvlist_t *props = receive_list_inner(rs->rs_fs, "snapprops", rs->rs_name);
    const nvlist_t *holds = receive_list_inner(rs->rs_fs, "snapholds", rs->rs_name);
    char name[2 * ZFS_MAX_DATASET_NAME_LEN];

    snprintf(name, sizeof(name), "%s@%s", fs, snap);
    if (props != NULL && !nvlist_empty(props)) {
        nvlist_t *received = acceptable(rc, props, name);
        set_received(rc, name, received);
        nvlist_free(received);
    }
    if (holds != NULL && and_holds && !rc->rc_args->dra_skip_holds)
        hold_snapshot(rc, name, holds);
}
