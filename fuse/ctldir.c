/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ctldir.c - what a file system's root shows beside its own entries.
 *
 *     tank/             root of tank
 *       ├─ a/           child dataset tank/a: its root directory; hides an entry "a" of tank's own
 *       ├─ v            child volume tank/v: a file
 *       └─ .zfs/        found by lookup; listed when snapdir=visible
 *            └─ snapshot/
 *                 ├─ NAME/     root directory of tank@NAME, read-only
 *                 └─ v@NAME    the snapshot of a volume: a file, found by lookup and not listed
 *
 * Looking a child or snapshot up opens it (mf_hold); listing does not, so that `ls .zfs/snapshot` costs no mounts: in
 * readdirplus these entries come without attributes.
 *
 * Child names are remembered (mf_children), snapshots asked for each time: so the kernel may keep "not there" for names in a root, as
 * fuse_mount_refresh() tells it of new children, and must not for snapshots.
 */
#include "mount_impl.h"

static int
join_name(const mount_fs_t *mf, char sep, const char *name, char *full)
{
    int n = snprintf(full, ZFS_MAX_DATASET_NAME_LEN, "%s%c%s", mf->mf_name, sep, name);
    return n < ZFS_MAX_DATASET_NAME_LEN ? 0 : SET_ERROR(ENOENT);
}

/* ---- attributes ---- */

void
ctl_getattr(node_t *n, struct stat *st)
{
    time_t t = n->n_mf->mf_mount->fm_started;
    *st = (struct stat){.st_ino = n->n_id, .st_mode = S_IFDIR | 0555, .st_nlink = 2, .st_blksize = 512};
    st->st_atime = st->st_mtime = st->st_ctime = t;
}

static int
ctl_entry(mount_fs_t *mf, uint64_t object, struct fuse_entry_param *e)
{
    node_t n = {.n_id = NODE_ID(mf, object), .n_mf = mf};
    *e = (struct fuse_entry_param){
        .ino = n.n_id, .attr_timeout = CACHE_FOREVER, .entry_timeout = CACHE_FOREVER};
    ctl_getattr(&n, &e->attr);
    node_remember(mf, object, NULL);
    return 0;
}

/* ---- lookup ---- */

static int
dataset_entry(fuse_mount_t *fm, const char *dsname, struct fuse_entry_param *e)
{
    mount_fs_t *mf;
    znode_t *zp;
    int err = mf_hold(fm, dsname, &mf);
    if (err != 0)
        return err;
    err = zpl_znode_hold(mf->mf_zfs, mf->mf_rootobj, &zp);
    if (err == 0)
        err = entry_fill(mf, zp, e);
    mf_put(mf);
    return err;
}

int
ctl_root_lookup(node_t *dn, const char *name, struct fuse_entry_param *e)
{
    char full[ZFS_MAX_DATASET_NAME_LEN];
    mount_fs_t *mf = dn->n_mf;
    if (mf->mf_snapshot)
        return ENOENT;
    if (strcmp(name, ".zfs") == 0)
        return ctl_entry(mf, NODE_CTLDIR, e);
    if (!mf_is_child(mf, name) || join_name(mf, '/', name, full) != 0)
        return ENOENT;
    return dataset_entry(mf->mf_mount, full, e);
}

bool
ctl_name_taken(node_t *dn, const char *name)
{
    return node_is_root(dn) && !dn->n_mf->mf_snapshot &&
           (strcmp(name, ".zfs") == 0 || mf_is_child(dn->n_mf, name));
}

static int
root_entry(mount_fs_t *mf, struct fuse_entry_param *e)
{
    znode_t *zp;
    int err = zpl_znode_hold(mf->mf_zfs, mf->mf_rootobj, &zp);
    return err != 0 ? err : entry_fill(mf, zp, e);
}

/* "VOLUME@SNAP": a volume has no directory of its own. */
static int
volume_entry(mount_fs_t *mf, const char *name, struct fuse_entry_param *e)
{
    char full[ZFS_MAX_DATASET_NAME_LEN];
    dsl_stats_t st;
    int err = join_name(mf, '/', name, full);
    if (err == 0 && (dsl_dataset_stats(mf->mf_mount->fm_pool, full, &st) != 0 || st.dst_type != DMU_OST_ZVOL))
        err = SET_ERROR(ENOENT);
    return err != 0 ? err : dataset_entry(mf->mf_mount, full, e);
}

int
ctl_lookup(node_t *dn, const char *name, struct fuse_entry_param *e)
{
    char full[ZFS_MAX_DATASET_NAME_LEN];
    mount_fs_t *mf = dn->n_mf;
    bool top = node_object(dn) == NODE_CTLDIR;
    if (strcmp(name, ".") == 0)
        return ctl_entry(mf, node_object(dn), e);
    if (strcmp(name, "..") == 0)
        return top ? root_entry(mf, e) : ctl_entry(mf, NODE_CTLDIR, e);
    if (top)
        return strcmp(name, "snapshot") == 0 ? ctl_entry(mf, NODE_SNAPDIR, e) : SET_ERROR(ENOENT);
    if (strlen(name) > 255)
        return SET_ERROR(ENAMETOOLONG);
    if (strchr(name, '@') != NULL)
        return volume_entry(mf, name, e);
    int err = join_name(mf, '@', name, full);
    if (err == 0 && dsl_name_check(full, NULL) != 0)
        err = SET_ERROR(ENOENT);
    return err != 0 ? err : dataset_entry(mf->mf_mount, full, e);
}

int
ctl_parent(mount_fs_t *mf, struct fuse_entry_param *e)
{
    char parent[ZFS_MAX_DATASET_NAME_LEN];
    if (mf->mf_num == 0)
        return root_entry(mf, e);
    snprintf(parent, sizeof(parent), "%s", mf->mf_name);
    parent[strcspn(parent, "@")] = '\0';
    if (!mf->mf_snapshot)
        *strrchr(parent, '/') = '\0';
    mount_fs_t *pf;
    int err = mf_hold(mf->mf_mount, parent, &pf);
    if (err != 0)
        return err;
    err = mf->mf_snapshot ? ctl_entry(pf, NODE_SNAPDIR, e) : root_entry(pf, e);
    mf_put(pf);
    return err;
}

/* ---- listing ---- */

static int
add_snapshot(void *arg, const char *name)
{
    const char *at = strchr(name, '@');
    names_add(arg, at != NULL ? at + 1 : name);
    return 0;
}

static int
snapdir_readdir(node_t *dn, dirbuf_t *db, uint64_t cookie)
{
    name_set_t names = {.ns_count = 0};
    int err = dsl_for_each_snapshot(dn->n_mf->mf_mount->fm_pool, dn->n_mf->mf_name, add_snapshot, &names);
    if (err == 0) {
        names_sort(&names);
        dirbuf_add_names(db, &names, cookie, dn->n_id);
    }
    names_free(&names);
    return err;
}

int
ctl_readdir(node_t *dn, dirbuf_t *db, uint64_t cookie)
{
    mount_fs_t *mf = dn->n_mf;
    bool top = node_object(dn) == NODE_CTLDIR;
    uint64_t up = top ? node_id(mf, mf->mf_rootobj) : NODE_ID(mf, NODE_CTLDIR);
    if (cookie < 1 && !dirbuf_add_special(db, ".", dn->n_id, 1))
        return 0;
    if (cookie < 2 && !dirbuf_add_special(db, "..", up, 2))
        return 0;
    if (!top)
        return snapdir_readdir(dn, db, cookie);
    if (cookie < COOKIE_SPECIAL)
        (void)dirbuf_add_special(db, "snapshot", NODE_ID(mf, NODE_SNAPDIR), COOKIE_SPECIAL);
    return 0;
}

void
ctl_root_readdir(node_t *dn, dirbuf_t *db, uint64_t cookie)
{
    mount_fs_t *mf = dn->n_mf;
    if (mf->mf_snapshot)
        return;
    mutex_enter(&mf->mf_lock);
    if (cookie >= COOKIE_SPECIAL || !mf->mf_snapdir_visible ||
        dirbuf_add_special(db, ".zfs", NODE_ID(mf, NODE_CTLDIR), COOKIE_SPECIAL))
        dirbuf_add_names(db, &mf->mf_children, cookie, dn->n_id);
    mutex_exit(&mf->mf_lock);
}
