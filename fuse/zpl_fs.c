/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_fs.c - one file system in use, on an object set that somebody opened (zpl_mount.c: a dataset's).
 *
 *     master node  ->  zpl_fs_t  ->  root checked  ->  the unlinked set drained (read-write)
 *
 * Invariants:
 *   1. Versions 1 to 5 are shown, versions 4 and 5 written to. Anything else is refused by name.
 *   2. A file system on which zpl_check_writable() fails is never changed, not even its unlinked set.
 *
 * ZFS: zfsvfs_create_impl, zfsvfs_setup (zfs_vfsops_os.c)
 */
#include <syslog.h>
#include "zpl_impl.h"

int
zpl_tx_assign(dmu_tx_t *tx)
{
    int err = dmu_tx_assign(tx, DMU_TX_WAIT);

    if (err != 0)
        dmu_tx_abort(tx);
    return err;
}

int
zpl_check_writable(zpl_fs_t *zfs)
{
    return zpl_fs_readonly(zfs) ? SET_ERROR(EROFS) : 0;
}

bool
zpl_fs_readonly(zpl_fs_t *zfs)
{
    return zfs->zf_fixed_rdonly || __atomic_load_n(&zfs->zf_readonly, __ATOMIC_RELAXED);
}

int
zpl_attr_ctx_init(objset_t *os, zpl_attr_ctx_t *ac)
{
    int err;

    memset(ac, 0, sizeof(*ac));
    ac->ac_os = os;
    if (objset_type(os) == DMU_OST_ZVOL) {
        ac->ac_new = &zpl_volume_ops;
        return 0;
    }
    if (objset_type(os) != DMU_OST_ZFS)
        return SET_ERROR(EINVAL);
    err = zap_lookup_u64(os, MASTER_NODE_OBJ, ZPL_KEY_VERSION, &ac->ac_version);
    if (err != 0)
        return SET_ERROR(err == ENOENT ? EIO : err);
    if (ac->ac_version < ZPL_VERSION_INITIAL || ac->ac_version > ZPL_VERSION_SA) {
        cowbird_log(LOG_ERR, "file system version %llu is not supported (1 to 5 are)",
                    (unsigned long long)ac->ac_version);
        return SET_ERROR(ENOTSUP);
    }
    ac->ac_new = ac->ac_version == ZPL_VERSION_SA ? &zpl_sa_ops : &zpl_znode_ops;
    return ac->ac_version == ZPL_VERSION_SA ? zpl_sa_open(os, &ac->ac_sa) : 0;
}

void
zpl_attr_ctx_fini(zpl_attr_ctx_t *ac)
{
    zpl_sa_close(ac->ac_sa);
    ac->ac_sa = NULL;
}

static int
master_key(objset_t *os, const char *key, bool needed, uint64_t *value)
{
    int err = zap_lookup_u64(os, MASTER_NODE_OBJ, key, value);

    if (err == ENOENT) {
        *value = 0;
        err = needed ? SET_ERROR(EIO) : 0;
    }
    return err;
}

static int
master_read(zpl_fs_t *zfs)
{
    uint64_t utf8 = 0;
    int err;

    if (zpl_is_volume(&zfs->zf_ac)) {
        zfs->zf_root = ZVOL_OBJ;
        zfs->zf_xattr = ZPL_XATTR_OFF;
        return 0;
    }
    if ((err = master_key(zfs->zf_os, ZPL_KEY_ROOT, true, &zfs->zf_root)) != 0 ||
        (err = master_key(zfs->zf_os, ZPL_KEY_UNLINKED, false, &zfs->zf_unlinkedobj)) != 0 ||
        (err = master_key(zfs->zf_os, ZPL_KEY_NORM, false, &zfs->zf_norm)) != 0 ||
        (err = master_key(zfs->zf_os, ZPL_KEY_CASE, false, &zfs->zf_case)) != 0 ||
        (err = master_key(zfs->zf_os, ZPL_KEY_UTF8, false, &utf8)) != 0)
        return err;
    zfs->zf_utf8 = utf8 != 0;
    if (zfs->zf_case != ZPL_CASE_SENSITIVE) {
        zfs->zf_norm |= ZPL_NORM_TOUPPER;
        cowbird_log(LOG_WARNING,
                    "%s: casesensitivity is not sensitive; names are matched exactly all the same",
                    zfs->zf_name);
    }
    return 0;
}

static int
check_root(zpl_fs_t *zfs)
{
    znode_t *zp;
    int err = zpl_znode_hold(zfs, zfs->zf_root, &zp);

    if (err != 0)
        return err == ENOENT || err == ESTALE ? SET_ERROR(EIO) : err;
    err = zp->z_type == S_IFDIR || zpl_is_volume(&zfs->zf_ac) ? 0 : SET_ERROR(EIO);
    zpl_znode_rele(zp);
    return err;
}

static zpl_fs_t *
fs_alloc(objset_t *os)
{
    zpl_fs_t *zfs = xzalloc(sizeof(*zfs));
    objset_props_t props;

    zfs->zf_os = os;
    objset_get_props(os, &props);
    zfs->zf_recordsize = props.op_recordsize != 0 ? props.op_recordsize : 128u << 10;
    zfs->zf_atime = ZPL_ATIME_ON;
    zfs->zf_xattr = ZPL_XATTR_SA;
    mutex_init(&zfs->zf_rename_lock);
    for (int i = 0; i < ZPL_HASH_STRIPES; i++) {
        mutex_init(&zfs->zf_stripes[i].zs_lock);
        cv_init(&zfs->zf_stripes[i].zs_cv);
    }
    return zfs;
}

static void
fs_free(zpl_fs_t *zfs)
{
    for (int i = 0; i < ZPL_HASH_STRIPES; i++) {
        cv_destroy(&zfs->zf_stripes[i].zs_cv);
        mutex_destroy(&zfs->zf_stripes[i].zs_lock);
    }
    mutex_destroy(&zfs->zf_rename_lock);
    zpl_attr_ctx_fini(&zfs->zf_ac);
    free(zfs);
}

/* Older versions are shown but not changed: their entries and ACLs have other forms than we write. */
static void
fs_decide_rdonly(zpl_fs_t *zfs, int flags)
{
    uint64_t version = zfs->zf_ac.ac_version;

    zfs->zf_fixed_rdonly = (flags & ZPL_MOUNT_RDONLY) != 0 || objset_readonly(zfs->zf_os);
    if (zfs->zf_fixed_rdonly || zpl_is_volume(&zfs->zf_ac))
        return;
    if (version < ZPL_VERSION_USERSPACE || zfs->zf_unlinkedobj == 0) {
        zfs->zf_fixed_rdonly = true;
        cowbird_log(LOG_WARNING, "file system version %llu is shown read-only", (unsigned long long)version);
    }
}

int
zpl_fs_open_objset(objset_t *os, int flags, zpl_fs_t **zfsp)
{
    zpl_fs_t *zfs = fs_alloc(os);
    int err;

    if ((err = zpl_attr_ctx_init(os, &zfs->zf_ac)) != 0 || (err = master_read(zfs)) != 0)
        goto fail;
    fs_decide_rdonly(zfs, flags);
    if ((err = check_root(zfs)) != 0)
        goto fail;
    if (!zpl_fs_readonly(zfs) && !zpl_is_volume(&zfs->zf_ac))
        zpl_unlinked_drain(zfs);
    *zfsp = zfs;
    return 0;
fail:
    fs_free(zfs);
    return err;
}

void
zpl_fs_close_objset(zpl_fs_t *zfs)
{
    for (int i = 0; i < ZPL_HASH_SIZE; i++)
        if (zfs->zf_hash[i] != NULL)
            cowbird_log(LOG_ERR, "%s: object %llu is still held at unmount", zfs->zf_name,
                        (unsigned long long)zfs->zf_hash[i]->z_object);
    fs_free(zfs);
}

uint64_t
zpl_fs_root(zpl_fs_t *zfs)
{
    return zfs->zf_root;
}

const char *
zpl_fs_name(zpl_fs_t *zfs)
{
    return zfs->zf_name;
}

dsl_pool_t *
zpl_fs_pool(zpl_fs_t *zfs)
{
    return zfs->zf_pool;
}

int
zpl_fs_sync(zpl_fs_t *zfs)
{
    txg_state_t *ts = objset_txg_state(zfs->zf_os);

    return ts == NULL ? 0 : txg_wait_synced(ts, 0);
}
