/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_mount.c - a dataset becomes a file system in use.
 *
 *     zpl_fs_mount:   own (a snapshot: hold and long hold) -> its object set -> zpl_fs_open_objset
 *     zpl_fs_unmount: the reverse
 *
 * Invariants:
 *   1. While mounted, a head has an owner and a snapshot a long hold: neither can be destroyed under the
 *      mount.
 *   2. Properties that act at once (readonly, atime, relatime, recordsize) are atomic fields, read again by
 *      zpl_fs_props_changed().
 *
 * ZFS: zfsvfs_create, zfs_domount, zfs_statvfs (zfs_vfsops_os.c)
 */
#include "zpl_impl.h"

static const char zpl_tag[] = "zpl";

static int
dataset_get(dsl_pool_t *dp, const char *name, bool snapshot, dsl_dataset_t **dsp)
{
    int err;

    if (!snapshot)
        return dsl_dataset_own(dp, name, false, zpl_tag, dsp);
    if ((err = dsl_dataset_hold(dp, name, zpl_tag, dsp)) == 0)
        dsl_dataset_long_hold(*dsp, zpl_tag);
    return err;
}

static void
dataset_put(dsl_dataset_t *ds, bool snapshot)
{
    if (!snapshot) {
        dsl_dataset_disown(ds, zpl_tag);
        return;
    }
    dsl_dataset_long_rele(ds, zpl_tag);
    dsl_dataset_rele(ds, zpl_tag);
}

static uint64_t
prop_u64(zpl_fs_t *zfs, const char *prop, uint64_t def)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];
    uint64_t v;

    dsl_dataset_name(zfs->zf_ds, name);
    return dsl_prop_get_u64(zfs->zf_pool, name, prop, &v) == 0 ? v : def;
}

void
zpl_fs_props_changed(zpl_fs_t *zfs)
{
    uint64_t recordsize;
    int atime = ZPL_ATIME_OFF;

    if (zfs->zf_ds == NULL)
        return;
    if (!zpl_is_volume(&zfs->zf_ac) && prop_u64(zfs, "atime", 1) != 0)
        atime = prop_u64(zfs, "relatime", 0) != 0 ? ZPL_ATIME_RELATIVE : ZPL_ATIME_ON;
    recordsize = prop_u64(zfs, "recordsize", 128u << 10);
    if (!ISP2(recordsize) || recordsize < 512 || recordsize > 16u << 20)
        recordsize = 128u << 10;
    if (!zpl_is_volume(&zfs->zf_ac))
        __atomic_store_n(&zfs->zf_xattr, (int)prop_u64(zfs, "xattr", ZPL_XATTR_SA), __ATOMIC_RELAXED);
    __atomic_store_n(&zfs->zf_atime, atime, __ATOMIC_RELAXED);
    __atomic_store_n(&zfs->zf_recordsize, (uint32_t)recordsize, __ATOMIC_RELAXED);
    __atomic_store_n(&zfs->zf_readonly, prop_u64(zfs, "readonly", 0) != 0, __ATOMIC_RELAXED);
}

int
zpl_fs_mount(dsl_pool_t *dp, const char *name, int flags, zpl_fs_t **zfsp)
{
    bool snapshot = strchr(name, '@') != NULL;
    dsl_dataset_t *ds;
    dsl_stats_t st;
    zpl_fs_t *zfs;
    objset_t *os;
    int err;

    if (snapshot || dsl_pool_readonly(dp))
        flags |= ZPL_MOUNT_RDONLY;
    if ((err = dataset_get(dp, name, snapshot, &ds)) != 0)
        return err;
    if ((err = dsl_dataset_objset(ds, &os)) == 0)
        err = zpl_fs_open_objset(os, flags, &zfs);
    if (err != 0) {
        dataset_put(ds, snapshot);
        return err;
    }
    zfs->zf_pool = dp;
    zfs->zf_ds = ds;
    zfs->zf_snapshot = snapshot;
    dsl_dataset_name(ds, zfs->zf_name);
    if (zpl_is_volume(&zfs->zf_ac) && dsl_dataset_stats(dp, name, &st) == 0)
        zfs->zf_ac.ac_when = st.dst_creation;
    zpl_fs_props_changed(zfs);
    *zfsp = zfs;
    return 0;
}

void
zpl_fs_unmount(zpl_fs_t *zfs)
{
    dsl_dataset_t *ds = zfs->zf_ds;
    bool snapshot = zfs->zf_snapshot;

    zpl_fs_close_objset(zfs);
    dataset_put(ds, snapshot);
}

uint64_t
zpl_fs_dsobj(zpl_fs_t *zfs)
{
    return objset_dsobj(zfs->zf_os);
}

int
zpl_fs_statvfs(zpl_fs_t *zfs, struct statvfs *st)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];
    const uint64_t bsize = 512;
    dsl_stats_t ds;
    int err;

    dsl_dataset_name(zfs->zf_ds, name);
    if ((err = dsl_dataset_stats(zfs->zf_pool, name, &ds)) != 0)
        return err;
    memset(st, 0, sizeof(*st));
    st->f_bsize = __atomic_load_n(&zfs->zf_recordsize, __ATOMIC_RELAXED);
    st->f_frsize = bsize;
    st->f_blocks = (ds.dst_referenced + ds.dst_avail) / bsize;
    st->f_bfree = st->f_bavail = ds.dst_avail / bsize;
    st->f_ffree = st->f_favail = MIN(ds.dst_avail / bsize, DN_MAX_OBJECT);
    st->f_files = st->f_ffree + objset_nobjects(zfs->zf_os);
    st->f_namemax = ZAP_MAXNAMELEN - 1;
    st->f_flag = zpl_fs_readonly(zfs) ? ST_RDONLY : 0;
    return 0;
}
