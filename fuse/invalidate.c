/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * invalidate.c - telling the kernel what it must no longer believe.
 *
 *     a command in the daemon: release ─► dataset changes ─► refresh
 *
 * The kernel caches entries and attributes for ever, so whatever changes a mount other than through it has to say so here.
 *
 * INVARIANTS
 *  1. Messages are sent with no lock but fm_admin_lock and from no session thread. To drop an entry the kernel takes the directory's
 *     lock, which a request in flight may hold: its answer must not depend on us.
 *  2. What is sent is never needed for correctness of the file systems below, only for what the kernel shows: an error (the entry
 *     is not cached) is no failure.
 *  3. First the state changes, then the kernel is told: a lookup that was answered from the old state holds the directory's
 *     lock until its answer is in, and is dropped after.
 */
#include "mount_impl.h"

void
inval_inode(fuse_mount_t *fm, uint64_t ino)
{
    (void)fuse_lowlevel_notify_inval_inode(fm->fm_se, ino, 0, 0); /* attributes and all pages */
}

void
inval_entry(fuse_mount_t *fm, uint64_t parent, const char *name)
{
    (void)fuse_lowlevel_notify_inval_entry(fm->fm_se, parent, name, strlen(name));
}

/* ---- release ---- */

void
inval_dataset(fuse_mount_t *fm, const char *dsname, node_list_t *dead)
{
    char parent[ZFS_MAX_DATASET_NAME_LEN];
    snprintf(parent, sizeof(parent), "%s", dsname);
    char *cut = strrchr(parent, '@');
    bool snapshot = cut != NULL;
    if (cut == NULL)
        cut = strrchr(parent, '/');
    for (size_t i = 0; i < dead->nl_count; i++)
        inval_inode(fm, dead->nl_ids[i]);
    if (cut == NULL)
        return;
    const char *name = dsname + (cut - parent) + 1;
    *cut = '\0';
    mount_fs_t *mf = mf_hold_open(fm, parent);
    if (mf == NULL)
        return;
    uint64_t dir = snapshot ? NODE_ID(mf, NODE_SNAPDIR) : node_id(mf, mf->mf_rootobj);
    mf_put(mf);
    inval_entry(fm, dir, name);
    inval_inode(fm, dir);
}

static int
release_one(fuse_mount_t *fm, const char *dsname)
{
    node_list_t dead = {.nl_count = 0};
    mount_fs_t *mf = mf_hold_open(fm, dsname);
    bool busy = mf != NULL && mf_in_use(mf);
    if (mf != NULL)
        mf_put(mf);
    if (busy)
        return SET_ERROR(EBUSY);
    mf_give_up(fm, dsname, &dead);
    if (dead.nl_ids != NULL)
        inval_dataset(fm, dsname, &dead);
    free(dead.nl_ids);
    return 0;
}

typedef struct release_search {
    const char *rs_dsname;
    name_set_t rs_found;
} release_search_t;

static void
release_collect(mount_fs_t *mf, void *arg)
{
    release_search_t *rs = arg;
    size_t n = strlen(rs->rs_dsname);
    if (strncmp(mf->mf_name, rs->rs_dsname, n) == 0 && (mf->mf_name[n] == '\0' || mf->mf_name[n] == '@') &&
        mf->mf_num != 0)
        names_add(&rs->rs_found, mf->mf_name);
}

int
fuse_mount_release(fuse_mount_t *fm, const char *dsname)
{
    if (strcmp(dsname, fm->fm_dsname) == 0)
        return SET_ERROR(EBUSY);
    release_search_t rs = {.rs_dsname = dsname};
    mutex_enter(&fm->fm_admin_lock);
    mf_for_each(fm, release_collect, &rs);
    int err = 0;
    for (size_t i = 0; i < rs.rs_found.ns_count && err == 0; i++)
        err = release_one(fm, rs.rs_found.ns_entries[i].ne_name);
    mutex_exit(&fm->fm_admin_lock);
    names_free(&rs.rs_found);
    return err;
}

/* ---- refresh ---- */

static void
refresh_one(mount_fs_t *mf, void *arg)
{
    fuse_mount_t *fm = mf->mf_mount;
    name_set_t changed = {.ns_count = 0};
    zpl_fs_props_changed(mf->mf_zfs);
    mf_reload(mf, &changed);
    uint64_t root = node_id(mf, mf->mf_rootobj);
    for (size_t i = 0; i < changed.ns_count; i++)
        inval_entry(fm, root, changed.ns_entries[i].ne_name);
    if (changed.ns_count > 0)
        inval_inode(fm, root); /* its list of entries */
    names_free(&changed);
    inval_inode(fm, NODE_ID(mf, NODE_SNAPDIR));
}

void
fuse_mount_refresh(fuse_mount_t *fm)
{
    mutex_enter(&fm->fm_admin_lock);
    mf_for_each(fm, refresh_one, NULL);
    mutex_exit(&fm->fm_admin_lock);
}
