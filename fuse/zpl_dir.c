/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_dir.c - directories: finding, making and listing names.
 *
 *     create:  z_lock of the directory  ->  no such name yet  ->  tx: object + entry + directory's attributes
 *
 * Invariants:
 *   1. Entry, object and both sides' attributes change in one transaction: no crash shows one without the
 *      other.
 *   2. A directory's size is its entries + 2, its links 2 + the directories in it.
 *   3. An entry leads to an existing file of the entry's type, or using it is EIO: entries come from disk
 *      and may lie.
 *   4. A directory without links (removed, still held) takes no entries: ENOENT.
 *   5. A readdir cookie names a place between entries: 0 before ".", 1 before "..", 2 before the first
 *      entry, and 3 + the ZAP's own cookie after any other; DIR_END after the last. Entries that stay are
 *      seen exactly once.
 *
 * ZFS: zfs_dir.c, zfs_create, zfs_mkdir, zfs_lookup, zfs_readdir (zfs_vnops_os.c)
 */
#include "zpl_impl.h"

#define DIR_AFTER_DOT    1
#define DIR_AFTER_DOTDOT 2
#define DIR_ZAP_BASE     3
#define DIR_END          ((uint64_t)INT64_MAX)
#define ZPL_MAX_LINKS    ((1u << 31) - 1)

/* ---- names ---- */

static bool
utf8_valid(const unsigned char *s)
{
    while (*s != 0) {
        int n = *s < 0x80                 ? 0
                : *s >= 0xc2 && *s < 0xe0 ? 1
                : *s >= 0xe0 && *s < 0xf0 ? 2
                : *s >= 0xf0 && *s < 0xf5 ? 3
                                          : -1;
        bool low = (*s == 0xe0 && s[1] < 0xa0) || (*s == 0xf0 && s[1] < 0x90); /* overlong */
        bool high =
            (*s == 0xed && s[1] >= 0xa0) || (*s == 0xf4 && s[1] >= 0x90); /* surrogates; beyond Unicode */

        if (n < 0 || low || high)
            return false;
        for (s++; n > 0; n--, s++)
            if ((*s & 0xc0) != 0x80)
                return false;
    }
    return true;
}

int
zpl_name_check(zpl_fs_t *zfs, const char *name)
{
    size_t len = strlen(name);

    if (len >= ZAP_MAXNAMELEN)
        return SET_ERROR(ENAMETOOLONG);
    if (len == 0)
        return SET_ERROR(ENOENT);
    if (strchr(name, '/') != NULL || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return SET_ERROR(EINVAL);
    if (zfs->zf_utf8 && !utf8_valid((const unsigned char *)name))
        return SET_ERROR(EILSEQ);
    return 0;
}

/* ---- entries ---- */

int
zpl_dir_check(znode_t *dzp)
{
    if (dzp->z_type != S_IFDIR)
        return SET_ERROR(ENOTDIR);
    return zpl_is_unlinked(dzp) ? SET_ERROR(ENOENT) : 0;
}

int
zpl_dirent_get(znode_t *dzp, const char *name, uint64_t *de)
{
    int err = zap_lookup_u64(dzp->z_zfs->zf_os, dzp->z_object, name, de);

    if (err == EINVAL || err == EOVERFLOW)
        return SET_ERROR(EIO);
    return err;
}

int
zpl_dirent_hold(znode_t *dzp, uint64_t de, znode_t **zpp)
{
    unsigned char type = ZPL_DIRENT_TYPE(de);
    int err = zpl_znode_hold(dzp->z_zfs, ZPL_DIRENT_OBJ(de), zpp);

    if (err == ENOENT || err == ESTALE)
        return SET_ERROR(EIO);
    if (err == 0 && type != 0 && ((*zpp)->z_type == S_IFDIR) != (type == S_IFDIR >> 12)) {
        zpl_znode_rele(*zpp);
        *zpp = NULL;
        return SET_ERROR(EIO);
    }
    return err;
}

int
zpl_child_hold(znode_t *dzp, uint64_t de, znode_t **zpp)
{
    zpl_attrs_t at;
    int err;

    if (ZPL_DIRENT_OBJ(de) == dzp->z_object)
        return SET_ERROR(EIO);
    if ((err = zpl_dirent_hold(dzp, de, zpp)) != 0)
        return err;
    zpl_attrs_get(*zpp, &at);
    if ((*zpp)->z_type != S_IFDIR || at.za_parent == dzp->z_object)
        return 0;
    zpl_znode_rele(*zpp);
    *zpp = NULL;
    return SET_ERROR(EIO);
}

uint64_t
zpl_dirent_make(znode_t *zp)
{
    return ZPL_DIRENT_MAKE(zp->z_object, zp->z_type);
}

void
zpl_dir_changed(znode_t *dzp, int64_t entries, int64_t subdirs, dmu_tx_t *tx)
{
    zpl_attrs_t at;

    zpl_attrs_get(dzp, &at);
    zpl_now(&at.za_mtime);
    at.za_ctime = at.za_mtime;
    at.za_size += (uint64_t)entries;
    at.za_links += (uint64_t)subdirs;
    zpl_attrs_set(dzp, &at, ZA_MTIME | ZA_CTIME | ZA_SIZE | ZA_LINKS, tx);
}

void
zpl_node_linked(znode_t *zp, int64_t links, uint64_t parent, dmu_tx_t *tx)
{
    zpl_attrs_t at;

    zpl_attrs_get(zp, &at);
    zpl_now(&at.za_ctime);
    at.za_links += (uint64_t)links;
    if (parent != 0)
        at.za_parent = parent;
    zpl_attrs_set(zp, &at, ZA_CTIME | ZA_LINKS | ZA_PARENT, tx);
}

/* ---- lookup ---- */

static int
lookup_parent(znode_t *dzp, znode_t **zpp)
{
    zpl_attrs_t at;
    int err;

    zpl_attrs_get(dzp, &at);
    err = zpl_znode_hold(dzp->z_zfs, at.za_parent, zpp);
    return err == ENOENT ? SET_ERROR(EIO) : err;
}

int
zpl_lookup(znode_t *dzp, const char *name, znode_t **zpp)
{
    uint64_t de;
    int err;

    if (dzp->z_type != S_IFDIR)
        return SET_ERROR(ENOTDIR);
    if (strcmp(name, ".") == 0) {
        zpl_znode_addref(*zpp = dzp);
        return 0;
    }
    if (strcmp(name, "..") == 0)
        return lookup_parent(dzp, zpp);
    if (strlen(name) >= ZAP_MAXNAMELEN)
        return SET_ERROR(ENAMETOOLONG);
    rw_enter_read(&dzp->z_lock);
    if ((err = zpl_dir_check(dzp)) == 0 && (err = zpl_dirent_get(dzp, name, &de)) == 0)
        err = zpl_dirent_hold(dzp, de, zpp);
    rw_exit(&dzp->z_lock);
    return err;
}

/* ---- create ---- */

/* Owner and mode of what cr makes in a directory: a set-gid directory passes on its group. */
static void
newnode_owner(znode_t *dzp, mode_t mode, const zpl_cred_t *cr, zpl_newnode_t *nn)
{
    zpl_attrs_t dir;

    zpl_attrs_get(dzp, &dir);
    nn->nn_mode = S_ISLNK(mode) ? S_IFLNK | 0777 : mode & ~(cr->zc_umask & 0777);
    nn->nn_uid = cr->zc_uid;
    nn->nn_gid = cr->zc_gid;
    nn->nn_parent = dzp->z_object;
    nn->nn_norm = dzp->z_zfs->zf_norm;
    if (dir.za_mode & S_ISGID) {
        nn->nn_gid = dir.za_gid;
        if (S_ISDIR(mode))
            nn->nn_mode |= S_ISGID;
    }
}

/* Object, entry and the directory's attributes, all in tx. */
static int
create_apply(znode_t *dzp, const char *name, const zpl_newnode_t *nn, dmu_tx_t *tx, uint64_t *objectp)
{
    zpl_fs_t *zfs = dzp->z_zfs;
    int err;

    if ((err = zpl_mknode(&zfs->zf_ac, nn, tx, objectp)) != 0)
        return err;
    err = zap_add_u64(zfs->zf_os, dzp->z_object, name, ZPL_DIRENT_MAKE(*objectp, nn->nn_mode), tx);
    if (err != 0) {
        (void)dmu_object_free(zfs->zf_os, *objectp, tx);
        return err;
    }
    zpl_dir_changed(dzp, 1, S_ISDIR(nn->nn_mode), tx);
    return 0;
}

static int
create_tx(znode_t *dzp, const char *name, const zpl_newnode_t *nn, uint64_t *objectp)
{
    dmu_tx_t *tx = dmu_tx_create(dzp->z_zfs->zf_os);
    int err;

    zpl_hold_mknode(&dzp->z_zfs->zf_ac, nn, tx);
    dmu_tx_hold_zap(tx, dzp->z_object, true, name);
    zpl_hold_attrs(dzp, ZA_SIZE, tx);
    if ((err = zpl_tx_assign(tx)) != 0)
        return err;
    err = create_apply(dzp, name, nn, tx, objectp);
    dmu_tx_commit(tx);
    return err;
}

/* ENOENT when the name is free: what its maker wants to hear. */
static int
name_is_free(znode_t *dzp, const char *name)
{
    uint64_t de;
    int err;

    if ((err = zpl_dir_check(dzp)) != 0)
        return err;
    err = zpl_dirent_get(dzp, name, &de);
    if (err == 0)
        return SET_ERROR(EEXIST);
    return err == ENOENT ? 0 : err;
}

static int
create_common(znode_t *dzp, const char *name, const zpl_newnode_t *nn, znode_t **zpp)
{
    zpl_attrs_t dir;
    uint64_t object;
    int err;

    rw_enter_write(&dzp->z_lock);
    err = name_is_free(dzp, name);
    zpl_attrs_get(dzp, &dir);
    if (err == 0 && S_ISDIR(nn->nn_mode) && dir.za_links >= ZPL_MAX_LINKS)
        err = SET_ERROR(EMLINK);
    if (err == 0 && (err = create_tx(dzp, name, nn, &object)) == 0)
        err = zpl_znode_hold(dzp->z_zfs, object, zpp);
    rw_exit(&dzp->z_lock);
    return err;
}

int
zpl_mknod(znode_t *dzp, const char *name, mode_t mode, dev_t rdev, const zpl_cred_t *cr, znode_t **zpp)
{
    zpl_newnode_t nn = {0};
    int err;

    if ((mode & S_IFMT) == 0)
        mode |= S_IFREG;
    if (S_ISLNK(mode))
        return SET_ERROR(EINVAL);
    if ((err = zpl_name_check(dzp->z_zfs, name)) != 0 || (err = zpl_check_writable(dzp->z_zfs)) != 0)
        return err;
    newnode_owner(dzp, mode, cr, &nn);
    if (S_ISCHR(mode) || S_ISBLK(mode))
        nn.nn_rdev = zpl_rdev_encode(dzp->z_zfs->zf_ac.ac_version, rdev);
    return create_common(dzp, name, &nn, zpp);
}

int
zpl_symlink(znode_t *dzp, const char *name, const char *target, const zpl_cred_t *cr, znode_t **zpp)
{
    zpl_newnode_t nn = {.nn_data = target, .nn_len = strlen(target)};
    int err;

    if (nn.nn_len == 0)
        return SET_ERROR(ENOENT);
    if (nn.nn_len > 4095)
        return SET_ERROR(ENAMETOOLONG);
    if ((err = zpl_name_check(dzp->z_zfs, name)) != 0 || (err = zpl_check_writable(dzp->z_zfs)) != 0)
        return err;
    newnode_owner(dzp, S_IFLNK, cr, &nn);
    return create_common(dzp, name, &nn, zpp);
}

int
zpl_readlink(znode_t *zp, char *buf, size_t n, size_t *len)
{
    zpl_fs_t *zfs = zp->z_zfs;
    zpl_attrs_t at;
    int err;

    if (zp->z_type != S_IFLNK)
        return SET_ERROR(EINVAL);
    rw_enter_read(&zp->z_lock);
    zpl_attrs_get(zp, &at);
    err = zp->z_aops->ao_symlink(&zfs->zf_ac, zp->z_bonus, &at, buf, n, len);
    rw_exit(&zp->z_lock);
    return err;
}

/* ---- link ---- */

static int
link_check(znode_t *zp, znode_t *dzp, const char *name)
{
    zpl_attrs_t at;
    int err;

    if ((err = name_is_free(dzp, name)) != 0)
        return err;
    zpl_attrs_get(zp, &at);
    if (at.za_links == 0)
        return SET_ERROR(ENOENT);
    return at.za_links >= ZPL_MAX_LINKS ? SET_ERROR(EMLINK) : 0;
}

static int
link_tx(znode_t *zp, znode_t *dzp, const char *name)
{
    objset_t *os = zp->z_zfs->zf_os;
    dmu_tx_t *tx = dmu_tx_create(os);
    int err;

    dmu_tx_hold_zap(tx, dzp->z_object, true, name);
    zpl_hold_attrs(dzp, ZA_SIZE, tx);
    zpl_hold_attrs(zp, ZA_LINKS, tx);
    if ((err = zpl_tx_assign(tx)) != 0)
        return err;
    if ((err = zap_add_u64(os, dzp->z_object, name, zpl_dirent_make(zp), tx)) == 0) {
        zpl_dir_changed(dzp, 1, 0, tx);
        zpl_node_linked(zp, 1, dzp->z_object, tx);
    }
    dmu_tx_commit(tx);
    return err;
}

int
zpl_link(znode_t *zp, znode_t *dzp, const char *name)
{
    int err;

    if ((err = zpl_name_check(dzp->z_zfs, name)) != 0 || (err = zpl_check_writable(dzp->z_zfs)) != 0)
        return err;
    if (zp->z_zfs != dzp->z_zfs)
        return SET_ERROR(EXDEV);
    if (zp->z_type == S_IFDIR)
        return SET_ERROR(EPERM);
    if (dzp->z_type != S_IFDIR)
        return SET_ERROR(ENOTDIR);
    rw_enter_write(&dzp->z_lock);
    rw_enter_write(&zp->z_lock);
    if ((err = link_check(zp, dzp, name)) == 0)
        err = link_tx(zp, dzp, name);
    rw_exit(&zp->z_lock);
    rw_exit(&dzp->z_lock);
    return err;
}

/* ---- readdir ---- */

/* d_type of an entry; version 1 has no type bits, so the file is asked. */
static unsigned char
dirent_type(zpl_fs_t *zfs, uint64_t de)
{
    zpl_attrs_t at;

    if (ZPL_DIRENT_TYPE(de) != 0)
        return ZPL_DIRENT_TYPE(de);
    return zpl_attr_read(&zfs->zf_ac, ZPL_DIRENT_OBJ(de), &at) == 0 ? (unsigned char)(at.za_mode >> 12) : 0;
}

/* The entries of the ZAP from cookie on. */
static int
readdir_zap(znode_t *dzp, uint64_t cookie, zpl_dirent_cb_t cb, void *arg)
{
    zpl_fs_t *zfs = dzp->z_zfs;
    zap_attribute_t za;
    zap_cursor_t zc;
    uint64_t de, next;
    bool more = true;
    int err;

    zap_cursor_init_serialized(&zc, zfs->zf_os, dzp->z_object, cookie);
    while (more && (err = zap_cursor_retrieve(&zc, &za)) == 0) {
        zap_cursor_advance(&zc);
        next = zap_cursor_serialize(&zc);
        next = next >= DIR_END - DIR_ZAP_BASE ? DIR_END : next + DIR_ZAP_BASE;
        if (za.za_integer_length != 8 || za.za_num_integers != 1)
            continue;
        de = za.za_first_integer;
        more = cb(arg, za.za_name, ZPL_DIRENT_OBJ(de), dirent_type(zfs, de), next);
    }
    zap_cursor_fini(&zc);
    return more && err != ENOENT ? err : 0;
}

int
zpl_readdir(znode_t *dzp, uint64_t cookie, zpl_dirent_cb_t cb, void *arg)
{
    zpl_attrs_t at;
    int err = 0;

    if (dzp->z_type != S_IFDIR)
        return SET_ERROR(ENOTDIR);
    zpl_attrs_get(dzp, &at);
    if (cookie == 0 && !cb(arg, ".", dzp->z_object, S_IFDIR >> 12, DIR_AFTER_DOT))
        return 0;
    if (cookie <= DIR_AFTER_DOT && !cb(arg, "..", at.za_parent, S_IFDIR >> 12, DIR_AFTER_DOTDOT))
        return 0;
    if (cookie >= DIR_END)
        return 0;
    rw_enter_read(&dzp->z_lock);
    if (!zpl_is_unlinked(dzp))
        err = readdir_zap(dzp, cookie >= DIR_ZAP_BASE ? cookie - DIR_ZAP_BASE : 0, cb, arg);
    rw_exit(&dzp->z_lock);
    return err;
}
