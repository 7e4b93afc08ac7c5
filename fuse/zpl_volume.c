/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_volume.c - a volume as a file: a file system that is nothing but its "root", a regular file of the volume's size.
 *
 *     zpl_fs_t of a volume ── root: object 1, the data ──► znode: S_IFREG 0600, size = volsize
 *
 * It has no attributes on disk: mode and owner are always the same, times are those of the dataset's creation until it is
 * written to while in use. It behaves as a device does: it does not grow (ENOSPC at the end), O_TRUNC leaves it alone, it cannot be
 * unlinked (commands make and destroy volumes) and has no extended attributes.
 *
 * ZFS: zvol_os.c, where the kernel shows /dev/zvol/POOL/NAME
 */
#include <unistd.h>
#include "zpl_impl.h"

bool
zpl_is_volume(const zpl_attr_ctx_t *ac)
{
    return ac->ac_new == &zpl_volume_ops;
}

bool
zpl_fs_is_volume(zpl_fs_t *zfs)
{
    return zpl_is_volume(&zfs->zf_ac);
}

int
zpl_volume_limit(znode_t *zp, uint64_t off, uint64_t *len)
{
    uint64_t size = zpl_size(zp);

    if (!zpl_is_volume(&zp->z_zfs->zf_ac))
        return 0;
    if (off >= size)
        return SET_ERROR(ENOSPC);
    *len = MIN(*len, size - off);
    return 0;
}

int
zpl_volume_setattr(znode_t *zp, int *mask, const struct stat *st)
{
    if (!zpl_is_volume(&zp->z_zfs->zf_ac))
        return 0;
    if (*mask & (ZPL_SET_MODE | ZPL_SET_UID | ZPL_SET_GID))
        return SET_ERROR(EPERM);
    if ((*mask & ZPL_SET_SIZE) && st->st_size != 0 && (uint64_t)st->st_size != zpl_size(zp))
        return SET_ERROR(EINVAL);
    *mask &= ~(ZPL_SET_SIZE | ZPL_SET_KILLPRIV);
    return 0;
}

static int
volume_load(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, zpl_attrs_t *at)
{
    uint32_t blksz;

    at->za_mode = S_IFREG | 0600;
    at->za_links = 1;
    at->za_uid = geteuid();
    at->za_gid = getegid();
    at->za_parent = bonus->db_object;
    at->za_crtime.tv_sec = (time_t)ac->ac_when;
    at->za_atime = at->za_mtime = at->za_ctime = at->za_crtime;
    at->za_gen = 1;
    return dsl_volume_geometry(ac->ac_os, &at->za_size, &blksz);
}

static void
volume_hold(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, unsigned mask, dmu_tx_t *tx)
{
}

static void
volume_store(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, const zpl_attrs_t *at, unsigned mask, dmu_tx_t *tx)
{
}

const zpl_attr_ops_t zpl_volume_ops = {
    .ao_load = volume_load,
    .ao_hold = volume_hold,
    .ao_store = volume_store,
};
