/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_xattr_sa.c - extended attributes in SA form: one packed list of names and values among a file's attributes.
 *
 *     ZPL_DXATTR:   XDR nvlist   "user.mime" -> bytes   "security.selinux" -> bytes
 *                   in the bonus when it is short, in the spill block when it is not: no objects, no directory
 *
 * Version 5 only, and small: a value of at most 32 KiB, all of them together less than 64 KiB. What is longer goes to
 * the directory form (zpl_xattr.c).
 *
 * Invariant: the list is replaced as a whole, in one transaction with the file's ctime; an empty one is no attribute.
 *
 * ZFS: zpl_xattr_get_sa, zpl_xattr_set_sa (zpl_xattr.c), zfs_sa_set_xattr (zfs_sa.c)
 */
#include "zpl_impl.h"

#define DXATTR_MAX_VALUE 32768

bool
zpl_xattr_sa_able(znode_t *zp)
{
    return zp->z_aops == &zpl_sa_ops;
}

int
zpl_xattr_sa_list(znode_t *zp, nvlist_t **nvl)
{
    void *buf = NULL;
    size_t len;
    int err;

    *nvl = NULL;
    if (!zpl_xattr_sa_able(zp))
        return 0;
    if ((err = zpl_sa_dxattr(&zp->z_zfs->zf_ac, zp->z_bonus, &buf, &len)) != 0 || buf == NULL)
        return err;
    err = nvlist_unpack(buf, len, nvl) == 0 ? 0 : SET_ERROR(EIO);
    free(buf);
    return err;
}

const char *
zpl_xattr_sa_find(const nvlist_t *nvl, const char *name, const uint8_t **value, uint32_t *n)
{
    if (nvl == NULL)
        return NULL;
    if (nvlist_lookup_byte_array(nvl, name, value, n) == 0)
        return name;
    name = zpl_xattr_bare(name);
    return name != NULL && nvlist_lookup_byte_array(nvl, name, value, n) == 0 ? name : NULL;
}

static int
list_store(znode_t *zp, const nvlist_t *nvl)
{
    const zpl_attr_ctx_t *ac = &zp->z_zfs->zf_ac;
    dmu_tx_t *tx = dmu_tx_create(ac->ac_os);
    uint8_t *buf = NULL;
    size_t len = 0;
    int err;

    if (nvlist_next_nvpair(nvl, NULL) != NULL)
        nvlist_pack(nvl, NV_ENCODE_XDR, &buf, &len);
    if ((err = zpl_sa_dxattr_hold(ac, zp->z_bonus, buf, len, tx)) != 0) {
        dmu_tx_abort(tx);
    } else {
        zpl_hold_attrs(zp, ZA_CTIME, tx);
        if (len == 0)
            dmu_tx_mark_netfree(tx);
        if ((err = zpl_tx_assign(tx)) == 0) {
            zpl_sa_dxattr_store(ac, zp->z_bonus, buf, len, tx);
            zpl_xattr_changed(zp, 0, tx);
            dmu_tx_commit(tx);
        }
    }
    free(buf);
    return err;
}

int
zpl_xattr_sa_set(znode_t *zp, const char *name, const void *value, size_t n)
{
    const uint8_t *old;
    const char *stored;
    nvlist_t *nvl;
    uint32_t len;
    int err;

    if (n > DXATTR_MAX_VALUE)
        return EFBIG;
    if ((err = zpl_xattr_sa_list(zp, &nvl)) != 0)
        return err;
    if (nvl == NULL)
        nvl = nvlist_alloc();
    if ((stored = zpl_xattr_sa_find(nvl, name, &old, &len)) != NULL)
        (void)nvlist_remove(nvl, stored);
    if (value != NULL)
        nvlist_add_byte_array(nvl, stored != NULL ? stored : name, value, (uint32_t)n);
    err = list_store(zp, nvl);
    nvlist_free(nvl);
    return err;
}
