/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_unlinked.c - the end of a file: freeing what has no name and no holder.
 *
 *     last release of an unlinked znode (DYING)     mount, read-write: each number on the unlinked set
 *          |                                             |  hold, release
 *          v                                             v
 *     contents beyond 1 MiB freed in transactions of their own;  xattr directory emptied
 *          v
 *     one tx:  off the set, the object and its xattr directory freed
 *
 * Invariants:
 *   1. An object leaves the set in the transaction that frees it. A crash before repeats the work at the
 *      next mount; all of it may be done twice.
 *   2. When freeing fails (EIO, a suspended pool), the object stays on the set, and nobody waits for it.
 *
 * ZFS: zfs_rmnode, zfs_unlinked_drain, zfs_purgedir (zfs_dir.c)
 */
#include <syslog.h>
#include "zpl_impl.h"

#define REAP_AT_ONCE (1u << 20)

/* What is too much for one transaction. */
static int
reap_contents(znode_t *zp, const zpl_attrs_t *at)
{
    zpl_fs_t *zfs = zp->z_zfs;
    int err = 0;

    if (zp->z_type == S_IFDIR && (at->za_flags & ZPL_XATTR))
        err = zpl_xattr_purge(zfs, zp->z_object);
    else if (zp->z_type != S_IFDIR && zp->z_multi &&
             (at->za_size > REAP_AT_ONCE || zp->z_blksz > REAP_AT_ONCE))
        err = dmu_free_long_range(zfs->zf_os, zp->z_object, 0, DMU_OBJECT_END);
    if (err == 0 && at->za_xattr != 0)
        err = zpl_xattr_purge(zfs, at->za_xattr);
    return err;
}

static int
reap_free(zpl_fs_t *zfs, uint64_t object, uint64_t xattr, dmu_tx_t *tx)
{
    int err;

    err = zap_remove_int(zfs->zf_os, zfs->zf_unlinkedobj, object, tx);
    if (err == 0 || err == ENOENT)
        err = dmu_object_free(zfs->zf_os, object, tx);
    if (err == 0 && xattr != 0)
        err = dmu_object_free(zfs->zf_os, xattr, tx);
    return err;
}

/* Takes zp out of the hash, on success and on failure. */
static int
reap_tx(znode_t *zp, uint64_t xattr)
{
    zpl_fs_t *zfs = zp->z_zfs;
    uint64_t object = zp->z_object;
    dmu_tx_t *tx = dmu_tx_create(zfs->zf_os);
    int err;

    dmu_tx_hold_zap(tx, zfs->zf_unlinkedobj, false, NULL);
    dmu_tx_hold_free(tx, object, 0, DMU_OBJECT_END);
    if (xattr != 0)
        dmu_tx_hold_free(tx, xattr, 0, DMU_OBJECT_END);
    dmu_tx_mark_netfree(tx);
    err = zpl_tx_assign(tx);
    zpl_unhash(zp);
    zpl_znode_free(zp);
    if (err == 0) {
        err = reap_free(zfs, object, xattr, tx);
        dmu_tx_commit(tx);
    }
    return err;
}

/* An xattr attribute that leads to something else is not to be freed with the file. */
static uint64_t
reap_xattr(znode_t *zp, zpl_attrs_t *at)
{
    zpl_attrs_t xat;

    if (at->za_xattr == zp->z_object || at->za_xattr == 0 ||
        zpl_attr_read(&zp->z_zfs->zf_ac, at->za_xattr, &xat) != 0 || !(xat.za_flags & ZPL_XATTR) ||
        !S_ISDIR(xat.za_mode))
        at->za_xattr = 0;
    return at->za_xattr;
}

void
zpl_reap(znode_t *zp)
{
    zpl_fs_t *zfs = zp->z_zfs;
    uint64_t object = zp->z_object, xattr;
    zpl_attrs_t at;
    int err;

    zpl_attrs_get(zp, &at);
    xattr = reap_xattr(zp, &at);
    if ((err = zpl_check_writable(zfs)) == 0)
        err = reap_contents(zp, &at);
    if (err == 0) {
        err = reap_tx(zp, xattr);
    } else {
        zpl_unhash(zp);
        zpl_znode_free(zp);
    }
    if (err != 0 && err != EROFS)
        cowbird_log(LOG_WARNING, "%s: unlinked object %llu is not freed yet: %s", zfs->zf_name,
                    (unsigned long long)object, cowbird_strerror(err));
}

/* ---- at mount ---- */

#define DRAIN_BATCH 256

/* A number on the set that leads nowhere is taken off. */
static void
drain_forget(zpl_fs_t *zfs, uint64_t object)
{
    dmu_tx_t *tx = dmu_tx_create(zfs->zf_os);

    dmu_tx_hold_zap(tx, zfs->zf_unlinkedobj, false, NULL);
    if (zpl_tx_assign(tx) == 0) {
        (void)zap_remove_int(zfs->zf_os, zfs->zf_unlinkedobj, object, tx);
        dmu_tx_commit(tx);
    }
}

static void
drain_one(zpl_fs_t *zfs, uint64_t object)
{
    znode_t *zp;
    int err = zpl_hold_any(zfs, object, &zp);

    if (err == 0) {
        if (!zpl_is_unlinked(zp))
            cowbird_log(LOG_WARNING, "%s: object %llu is on the unlinked set but has a name", zfs->zf_name,
                        (unsigned long long)object);
        zpl_znode_rele(zp);
    } else if (err == ENOENT) {
        drain_forget(zfs, object);
    } else {
        cowbird_log(LOG_WARNING, "%s: unlinked object %llu: %s", zfs->zf_name, (unsigned long long)object,
                    cowbird_strerror(err));
    }
}

/* Up to DRAIN_BATCH numbers from cookie on; the set may change between calls, not within. */
static int
drain_collect(zpl_fs_t *zfs, uint64_t *cookie, uint64_t *objects)
{
    zap_attribute_t za;
    zap_cursor_t zc;
    int n = 0;

    zap_cursor_init_serialized(&zc, zfs->zf_os, zfs->zf_unlinkedobj, *cookie);
    while (n < DRAIN_BATCH && zap_cursor_retrieve(&zc, &za) == 0) {
        if (za.za_integer_length == 8 && za.za_num_integers == 1)
            objects[n++] = za.za_first_integer;
        zap_cursor_advance(&zc);
    }
    *cookie = zap_cursor_serialize(&zc);
    zap_cursor_fini(&zc);
    return n;
}

void
zpl_unlinked_drain(zpl_fs_t *zfs)
{
    uint64_t objects[DRAIN_BATCH], cookie = 0;
    int n;

    do {
        n = drain_collect(zfs, &cookie, objects);
        for (int i = 0; i < n; i++)
            drain_one(zfs, objects[i]);
    } while (n == DRAIN_BATCH);
}
