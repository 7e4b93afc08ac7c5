/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_unlink.c - taking names away.
 *
 *     unlink:  z_lock of the directory, of the file  ->  tx: entry gone, links - 1; the last: onto the set
 *     rmdir:   the same, when the directory is empty; its links become 0
 *
 * Invariant: that a file loses its last name and comes onto the unlinked set is one transaction. It is
 * freed later, by its last holder (zpl_unlinked.c).
 *
 * ZFS: zfs_remove, zfs_rmdir (zfs_vnops_os.c), zfs_link_destroy (zfs_dir.c)
 */
#include "zpl_impl.h"

int
zpl_dir_is_empty(znode_t *zp)
{
    uint64_t count;
    int err = zap_count(zp->z_zfs->zf_os, zp->z_object, &count);

    if (err != 0)
        return err;
    return count != 0 ? SET_ERROR(ENOTEMPTY) : 0;
}

/* Does it lose its last name? A directory has one only. */
static bool
last_name(znode_t *zp, const zpl_attrs_t *at)
{
    return zp->z_type == S_IFDIR || at->za_links <= 1;
}

void
zpl_unlink_hold(znode_t *zp, dmu_tx_t *tx)
{
    zpl_attrs_t at;

    zpl_attrs_get(zp, &at);
    zpl_hold_attrs(zp, ZA_LINKS, tx);
    if (last_name(zp, &at))
        dmu_tx_hold_zap(tx, zp->z_zfs->zf_unlinkedobj, true, NULL);
}

int
zpl_unlink_apply(znode_t *zp, dmu_tx_t *tx)
{
    zpl_fs_t *zfs = zp->z_zfs;
    zpl_attrs_t at;
    bool last;
    int err = 0;

    zpl_attrs_get(zp, &at);
    last = last_name(zp, &at);
    if (last)
        err = zap_add_int(zfs->zf_os, zfs->zf_unlinkedobj, zp->z_object, tx);
    if (err == EEXIST) /* a foreign mess; it is on the set, which is what we want */
        err = 0;
    if (err == 0)
        zpl_node_linked(zp, last ? -(int64_t)at.za_links : -1, 0, tx);
    return err;
}

/* The entry goes first: if anything here can fail, it is the reading of the directory. */
static int
remove_apply(znode_t *dzp, const char *name, znode_t *zp, dmu_tx_t *tx)
{
    objset_t *os = dzp->z_zfs->zf_os;
    int err;

    if ((err = zap_remove(os, dzp->z_object, name, tx)) != 0)
        return err;
    if ((err = zpl_unlink_apply(zp, tx)) != 0) {
        (void)zap_add_u64(os, dzp->z_object, name, zpl_dirent_make(zp), tx);
        return err;
    }
    zpl_dir_changed(dzp, -1, zp->z_type == S_IFDIR ? -1 : 0, tx);
    return 0;
}

static int
remove_tx(znode_t *dzp, const char *name, znode_t *zp)
{
    dmu_tx_t *tx = dmu_tx_create(dzp->z_zfs->zf_os);
    int err;

    dmu_tx_hold_zap(tx, dzp->z_object, false, name);
    zpl_hold_attrs(dzp, ZA_SIZE, tx);
    dmu_tx_mark_netfree(tx);
    zpl_unlink_hold(zp, tx);
    if ((err = zpl_tx_assign(tx)) == 0) {
        err = remove_apply(dzp, name, zp, tx);
        dmu_tx_commit(tx);
    }
    return err;
}

/* The file under a name, and whether it may be removed as what was asked. Both locks are held. */
static int
remove_check(znode_t *zp, bool dir)
{
    if (dir && zp->z_type != S_IFDIR)
        return SET_ERROR(ENOTDIR);
    if (!dir && zp->z_type == S_IFDIR)
        return SET_ERROR(EISDIR);
    return dir ? zpl_dir_is_empty(zp) : 0;
}

static int
remove_common(znode_t *dzp, const char *name, bool dir)
{
    znode_t *zp = NULL;
    uint64_t de;
    int err;

    if ((err = zpl_name_check(dzp->z_zfs, name)) != 0 || (err = zpl_check_writable(dzp->z_zfs)) != 0)
        return err;
    rw_enter_write(&dzp->z_lock);
    if ((err = zpl_dir_check(dzp)) == 0 && (err = zpl_dirent_get(dzp, name, &de)) == 0)
        err = zpl_child_hold(dzp, de, &zp);
    if (err == 0) {
        rw_enter_write(&zp->z_lock);
        if ((err = remove_check(zp, dir)) == 0)
            err = remove_tx(dzp, name, zp);
        rw_exit(&zp->z_lock);
    }
    rw_exit(&dzp->z_lock);
    if (zp != NULL)
        zpl_znode_rele(zp);
    return err;
}

int
zpl_unlink(znode_t *dzp, const char *name)
{
    return remove_common(dzp, name, false);
}

int
zpl_rmdir(znode_t *dzp, const char *name)
{
    return remove_common(dzp, name, true);
}
