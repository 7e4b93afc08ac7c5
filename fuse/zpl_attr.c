/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_attr.c - a file's attributes: between the mount, the znode and the form they have on disk.
 *
 *     struct stat  <-- zpl_getattr --  z_at  -- zpl_attrs_set(mask, tx) -->  zpl_attr_ops: znode bonus, or SA
 *
 * Invariants:
 *   1. A changed attribute goes to disk in the transaction that changed it; only atime may wait (for the
 *      next change or the last release), as a read must not cost a transaction.
 *   2. The type bits of a mode never change.
 *
 *     rw_enter_write(z_lock); zpl_hold_attrs(); assign; zpl_attrs_get(); edit; zpl_attrs_set(); commit
 *
 * THREE ENCODINGS OF A DEVICE NUMBER are found on disk, and the number does not say which it is:
 *     above 32 bits     illumos, FreeBSD      major << 32 | minor
 *     zfs-fuse          the C library's       minor & 0xff | major << 8 | minor >> 8 << 20
 *     OpenZFS on Linux  the kernel's          major << 20 | minor
 * Major 0 is no real device, so a number that gives major 0 under one of the last two was written under the
 * other: all with major < 4096 and minor < 256 are told apart. What remains is taken as the likelier
 * writer's: zfs-fuse up to version 4, Linux from 5 on. The same rule says what we write. No number is right
 * for both: zfs-fuse takes bits 8..19 as major, Linux as minor.
 *
 * ZFS: zfs_getattr, zfs_setattr (zfs_vnops_os.c)
 */
#include <sys/sysmacros.h>
#include <time.h>
#include "zpl_impl.h"

#define ZPL_NOBODY 65534

void
zpl_now(struct timespec *ts)
{
    VERIFY0(clock_gettime(CLOCK_REALTIME, ts));
}

/* ---- device numbers ---- */

uint64_t
zpl_rdev_encode(uint64_t version, dev_t dev)
{
    if (version >= ZPL_VERSION_SA)
        return (uint64_t)major(dev) << 20 | minor(dev);
    return (uint64_t)dev;
}

dev_t
zpl_rdev_decode(uint64_t version, uint64_t rdev)
{
    bool user, linux_form;

    if (rdev >> 32 != 0)
        return makedev((unsigned)(rdev >> 32), (unsigned)rdev);
    user = (rdev >> 8 & 0xfff) != 0;
    linux_form = rdev >> 20 != 0;
    if (linux_form && (!user || version >= ZPL_VERSION_SA))
        return makedev((unsigned)(rdev >> 20), (unsigned)(rdev & 0xfffff));
    return (dev_t)rdev;
}

/* ---- reading ---- */

const zpl_attr_ops_t *
zpl_attr_backend(const zpl_attr_ctx_t *ac, uint8_t bonustype)
{
    if (zpl_is_volume(ac))
        return &zpl_volume_ops;
    if (bonustype == DMU_OT_ZNODE)
        return &zpl_znode_ops;
    return bonustype == DMU_OT_SA && ac->ac_sa != NULL ? &zpl_sa_ops : NULL;
}

/* Attributes that nothing below may stumble over. */
static int
attrs_validate(const zpl_attrs_t *at, const dmu_object_info_t *doi)
{
    uint8_t type = S_ISDIR(at->za_mode) ? DMU_OT_DIRECTORY_CONTENTS : DMU_OT_PLAIN_FILE_CONTENTS;

    if ((doi->doi_type != type && doi->doi_type != DMU_OT_ZVOL) || at->za_size > INT64_MAX)
        return SET_ERROR(EIO);
    switch (at->za_mode & S_IFMT) {
    case S_IFDIR:
    case S_IFREG:
    case S_IFLNK:
    case S_IFBLK:
    case S_IFCHR:
    case S_IFIFO:
    case S_IFSOCK:
        return 0;
    default:
        return SET_ERROR(EIO);
    }
}

int
zpl_attr_load(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, zpl_attrs_t *at, dmu_object_info_t *doi)
{
    const zpl_attr_ops_t *ops;
    int err;

    if ((err = dmu_object_info(ac->ac_os, bonus->db_object, doi)) != 0)
        return err;
    if ((ops = zpl_attr_backend(ac, doi->doi_bonus_type)) == NULL)
        return SET_ERROR(EIO);
    memset(at, 0, sizeof(*at));
    if ((err = ops->ao_load(ac, bonus, at)) != 0)
        return err;
    return attrs_validate(at, doi);
}

int
zpl_attr_read(const zpl_attr_ctx_t *ac, uint64_t object, zpl_attrs_t *at)
{
    dmu_object_info_t doi;
    dmu_buf_t *bonus;
    int err;

    if ((err = dmu_bonus_hold(ac->ac_os, object, &bonus)) != 0)
        return err;
    err = zpl_attr_load(ac, bonus, at, &doi);
    dmu_buf_rele(bonus);
    return err;
}

void
zpl_attrs_get(znode_t *zp, zpl_attrs_t *at)
{
    mutex_enter(&zp->z_attr_lock);
    *at = zp->z_at;
    mutex_exit(&zp->z_attr_lock);
}

uint64_t
zpl_size(znode_t *zp)
{
    uint64_t size;

    mutex_enter(&zp->z_attr_lock);
    size = zp->z_at.za_size;
    mutex_exit(&zp->z_attr_lock);
    return size;
}

/* An owner with a Windows domain has no Unix number. */
static uint32_t
fuid_to_id(uint64_t fuid)
{
    return fuid >> 32 != 0 ? ZPL_NOBODY : (uint32_t)fuid;
}

int
zpl_getattr(znode_t *zp, struct stat *st)
{
    dmu_object_info_t doi;
    zpl_attrs_t at;
    int err;

    if ((err = dmu_object_info(zp->z_zfs->zf_os, zp->z_object, &doi)) != 0)
        return err;
    zpl_attrs_get(zp, &at);
    memset(st, 0, sizeof(*st));
    st->st_ino = zp->z_object;
    st->st_mode = at.za_mode;
    st->st_nlink = at.za_links;
    st->st_uid = fuid_to_id(at.za_uid);
    st->st_gid = fuid_to_id(at.za_gid);
    st->st_size = (off_t)at.za_size;
    st->st_blocks = (blkcnt_t)doi.doi_physical_blocks_512;
    st->st_blksize = (blksize_t)doi.doi_data_block_size;
    st->st_atim = at.za_atime;
    st->st_mtim = at.za_mtime;
    st->st_ctim = at.za_ctime;
    if (S_ISCHR(at.za_mode) || S_ISBLK(at.za_mode))
        st->st_rdev = zpl_rdev_decode(zp->z_zfs->zf_ac.ac_version, at.za_rdev);
    return 0;
}

/* ---- changing ---- */

static void
attrs_copy(zpl_attrs_t *to, const zpl_attrs_t *from, unsigned mask)
{
    zpl_attrs_t old = *to;

    *to = *from;
    to->za_crtime = old.za_crtime;
    to->za_gen = old.za_gen;
    to->za_rdev = old.za_rdev;
    if (!(mask & ZA_ATIME))
        to->za_atime = old.za_atime;
    if (!(mask & ZA_MTIME))
        to->za_mtime = old.za_mtime;
    if (!(mask & ZA_CTIME))
        to->za_ctime = old.za_ctime;
    if (!(mask & ZA_MODE))
        to->za_mode = old.za_mode;
    if (!(mask & ZA_SIZE))
        to->za_size = old.za_size;
    if (!(mask & ZA_PARENT))
        to->za_parent = old.za_parent;
    if (!(mask & ZA_LINKS))
        to->za_links = old.za_links;
    if (!(mask & ZA_XATTR))
        to->za_xattr = old.za_xattr;
    if (!(mask & ZA_FLAGS))
        to->za_flags = old.za_flags;
    if (!(mask & ZA_UID))
        to->za_uid = old.za_uid;
    if (!(mask & ZA_GID))
        to->za_gid = old.za_gid;
}

void
zpl_attrs_set(znode_t *zp, const zpl_attrs_t *at, unsigned mask, dmu_tx_t *tx)
{
    zpl_fs_t *zfs = zp->z_zfs;
    zpl_attrs_t now;

    mutex_enter(&zp->z_attr_lock);
    attrs_copy(&zp->z_at, at, mask);
    if (zp->z_atime_dirty)
        mask |= ZA_ATIME;
    zp->z_atime_dirty = false;
    zp->z_txg = MAX(zp->z_txg, dmu_tx_txg(tx));
    now = zp->z_at;
    mutex_exit(&zp->z_attr_lock);
    zp->z_aops->ao_store(&zfs->zf_ac, zp->z_bonus, &now, mask, tx);
}

void
zpl_hold_attrs(znode_t *zp, unsigned mask, dmu_tx_t *tx)
{
    zp->z_aops->ao_hold(&zp->z_zfs->zf_ac, zp->z_bonus, mask, tx);
}

void
zpl_attr_hold(const zpl_attr_ctx_t *ac, uint64_t object, dmu_tx_t *tx)
{
    const zpl_attr_ops_t *ops = NULL;
    dmu_object_info_t doi;
    dmu_buf_t *bonus;
    int err;

    if ((err = dmu_object_info(ac->ac_os, object, &doi)) == 0 &&
        (ops = zpl_attr_backend(ac, doi.doi_bonus_type)) == NULL)
        err = SET_ERROR(EIO);
    if (err == 0 && (err = dmu_bonus_hold(ac->ac_os, object, &bonus)) == 0) {
        ops->ao_hold(ac, bonus, ZA_SIZE, tx);
        dmu_buf_rele(bonus);
    }
    if (err != 0)
        dmu_tx_hold_error(tx, err);
}

/* The mode that setattr makes: its type bits stay; set-id bits go when asked. */
static unsigned
apply_mode(zpl_attrs_t *at, int mask, const struct stat *st)
{
    uint32_t old = at->za_mode;

    if (mask & ZPL_SET_MODE)
        at->za_mode = (old & S_IFMT) | (st->st_mode & 07777);
    if ((mask & ZPL_SET_KILLPRIV) && !S_ISDIR(old)) {
        at->za_mode &= ~(uint32_t)S_ISUID;
        if (at->za_mode & S_IXGRP)
            at->za_mode &= ~(uint32_t)S_ISGID;
    }
    if (at->za_mode == old && !(mask & ZPL_SET_MODE))
        return 0;
    at->za_flags = (at->za_flags & ~ZPL_NO_EXECS_DENIED) | zpl_acl_flags(at->za_mode);
    return ZA_MODE | ZA_FLAGS;
}

static unsigned
apply_owner(zpl_attrs_t *at, int mask, const struct stat *st)
{
    unsigned za = 0;

    if (mask & ZPL_SET_UID) {
        at->za_uid = st->st_uid;
        za |= ZA_UID;
    }
    if (mask & ZPL_SET_GID) {
        at->za_gid = st->st_gid;
        za |= ZA_GID;
    }
    return za;
}

static unsigned
apply_times(zpl_attrs_t *at, int mask, const struct stat *st)
{
    unsigned za = ZA_CTIME;

    zpl_now(&at->za_ctime);
    if (mask & ZPL_SET_SIZE) {
        at->za_mtime = at->za_ctime;
        za |= ZA_MTIME;
    }
    if (mask & ZPL_SET_ATIME) {
        at->za_atime = st->st_atim;
        za |= ZA_ATIME;
    }
    if (mask & ZPL_SET_MTIME) {
        at->za_mtime = st->st_mtim;
        za |= ZA_MTIME;
    }
    if (mask & ZPL_SET_CTIME)
        at->za_ctime = st->st_ctim;
    return za;
}

unsigned
zpl_setattr_mask(int mask)
{
    return mask & (ZPL_SET_MODE | ZPL_SET_KILLPRIV) ? ZA_MODE | ZA_FLAGS : ZA_CTIME;
}

void
zpl_setattr_apply(znode_t *zp, int mask, const struct stat *st, dmu_tx_t *tx)
{
    zpl_attrs_t at;
    unsigned za;

    zpl_attrs_get(zp, &at);
    za = apply_times(&at, mask, st) | apply_mode(&at, mask, st) | apply_owner(&at, mask, st);
    if (mask & ZPL_SET_SIZE) {
        at.za_size = (uint64_t)st->st_size;
        za |= ZA_SIZE;
    }
    zpl_attrs_set(zp, &at, za, tx);
}

static int
setattr_simple(znode_t *zp, int mask, const struct stat *st)
{
    dmu_tx_t *tx = dmu_tx_create(zp->z_zfs->zf_os);
    int err;

    rw_enter_write(&zp->z_lock);
    zpl_hold_attrs(zp, zpl_setattr_mask(mask), tx);
    if ((err = zpl_tx_assign(tx)) == 0) {
        zpl_setattr_apply(zp, mask, st, tx);
        dmu_tx_commit(tx);
    }
    rw_exit(&zp->z_lock);
    return err;
}

int
zpl_setattr(znode_t *zp, int mask, struct stat *st)
{
    int err;

    if ((err = zpl_check_writable(zp->z_zfs)) != 0 || (err = zpl_volume_setattr(zp, &mask, st)) != 0)
        return err;
    if (mask & ZPL_SET_SIZE)
        err = zpl_truncate(zp, mask, st);
    else if (mask != 0)
        err = setattr_simple(zp, mask, st);
    return err != 0 ? err : zpl_getattr(zp, st);
}

/* ---- atime ---- */

#define RELATIME_AGE (24 * 3600)

static int
ts_cmp(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? AVL_CMP(a->tv_sec, b->tv_sec) : AVL_CMP(a->tv_nsec, b->tv_nsec);
}

void
zpl_touch_atime(znode_t *zp)
{
    int how = __atomic_load_n(&zp->z_zfs->zf_atime, __ATOMIC_RELAXED);
    struct timespec now;
    zpl_attrs_t *at = &zp->z_at;

    if (how == ZPL_ATIME_OFF || zpl_fs_readonly(zp->z_zfs))
        return;
    zpl_now(&now);
    mutex_enter(&zp->z_attr_lock);
    if (how == ZPL_ATIME_ON || ts_cmp(&at->za_atime, &at->za_mtime) <= 0 ||
        ts_cmp(&at->za_atime, &at->za_ctime) <= 0 || at->za_atime.tv_sec + RELATIME_AGE < now.tv_sec) {
        at->za_atime = now;
        zp->z_atime_dirty = true;
    }
    mutex_exit(&zp->z_attr_lock);
}

void
zpl_flush_atime(znode_t *zp)
{
    dmu_tx_t *tx = dmu_tx_create(zp->z_zfs->zf_os);
    zpl_attrs_t at;

    rw_enter_write(&zp->z_lock);
    zpl_hold_attrs(zp, ZA_ATIME, tx);
    if (zpl_tx_assign(tx) == 0) {
        zpl_attrs_get(zp, &at);
        zpl_attrs_set(zp, &at, ZA_ATIME, tx);
        dmu_tx_commit(tx);
    }
    mutex_enter(&zp->z_attr_lock);
    zp->z_atime_dirty = false; /* also when there was no room: it is only an atime */
    mutex_exit(&zp->z_attr_lock);
    rw_exit(&zp->z_lock);
}
