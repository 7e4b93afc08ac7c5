/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * renamed.c - datasets have other names now (rename, promote): the file systems that are open follow.
 *
 *     "tank/a" is "tank/b" now:    tank/a, tank/a/x, tank/a@s, tank/a/x@s   ─► tank/b, tank/b/x, tank/b@s, tank/b/x@s
 *
 * Nodes, znodes and open files do not notice: a name is only the key under which a file system is found. Those that are no
 * longer below the dataset that is mounted here are given up. The entries of directories that show datasets
 * (children, snapshots) are the business of fuse_mount_refresh(), which the caller calls next.
 */
#include "mount_impl.h"

typedef struct renames {
    const char *rn_from, *rn_to;
    name_set_t rn_found;
} renames_t;

/* name with from's part replaced, or false. */
static bool
new_name(const renames_t *rn, const char *name, char *new)
{
    size_t n = strlen(rn->rn_from);
    if (strncmp(name, rn->rn_from, n) != 0 || (name[n] != '\0' && name[n] != '/' && name[n] != '@'))
        return false;
    snprintf(new, ZFS_MAX_DATASET_NAME_LEN, "%s%s", rn->rn_to, name + n);
    return true;
}

static void
collect(mount_fs_t *mf, void *arg)
{
    renames_t *rn = arg;
    char new[ZFS_MAX_DATASET_NAME_LEN];
    if (new_name(rn, mf->mf_name, new))
        names_add(&rn->rn_found, mf->mf_name);
}

static bool
is_below(const char *name, const char *top)
{
    size_t n = strlen(top);
    return strncmp(name, top, n) == 0 && (name[n] == '\0' || name[n] == '/' || name[n] == '@');
}

static void
rename_one(fuse_mount_t *fm, const char *name, const char *new)
{
    node_list_t dead = {.nl_count = 0};
    char *at = strchr(name, '@');
    if (!is_below(new, fm->fm_dsname)) {
        mf_give_up(fm, name, &dead);
        inval_dataset(fm, name, &dead);
        free(dead.nl_ids);
        return;
    }
    mount_fs_t *mf = mf_begin_drain(fm, name);
    if (mf == NULL)
        return;
    mf_set_name(mf, new);
    mf_set_state(mf, MF_LIVE);
    if (at != NULL)
        inval_dataset(fm, name, &dead); /* .zfs/snapshot/NAME where it was */
}

void
fuse_mount_renamed(fuse_mount_t *fm, const char *from, const char *to)
{
    renames_t rn = {.rn_from = from, .rn_to = to};
    char new[ZFS_MAX_DATASET_NAME_LEN];
    mutex_enter(&fm->fm_admin_lock);
    if (new_name(&rn, fm->fm_dsname, new)) {
        names_add(&fm->fm_dsnames, new); /* who has the old pointer may still read it */
        __atomic_store_n(&fm->fm_dsname, fm->fm_dsnames.ns_entries[fm->fm_dsnames.ns_count - 1].ne_name,
                         __ATOMIC_RELEASE);
    }
    mf_for_each(fm, collect, &rn);
    for (size_t i = 0; i < rn.rn_found.ns_count; i++) {
        const char *name = rn.rn_found.ns_entries[i].ne_name;
        if (new_name(&rn, name, new))
            rename_one(fm, name, new);
    }
    mutex_exit(&fm->fm_admin_lock);
    names_free(&rn.rn_found);
}
