/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_xattr.c - extended attributes: which form, and ZFS's directory form.
 *
 *     xattr=sa (on)  version 5: among the file's attributes (zpl_xattr_sa.c), or below when too long
 *     xattr=dir      and version 4:
 *
 *     file ── xattr ──► hidden directory (041777) ── "user.mime" ──► hidden file (0100644): the value
 *                       "security.selinux" ──► ...
 *
 * Invariants:
 *   1. All that hangs below a file's xattr attribute is covered by that file's z_lock. Hidden objects have
 *      no znode.
 *   2. Setting a value makes a new hidden file and frees the old one in the same transaction: a value is
 *      old or new, never mixed.
 *   3. Hidden objects are not linked from anywhere else; they go with their file (zpl_unlinked.c).
 *   4. A name is in one of the two forms. When it moves, it is made in the new one and then removed from the
 *      old one; a crash between leaves both, and the SA form is the one that counts.
 *
 * Names: Linux stores them with their namespace, other systems store "user." attributes bare; both are
 * found, and bare names listed as "user.".
 *
 * ZFS: zpl_xattr.c, zfs_make_xattrdir (zfs_dir.c)
 */
#include <sys/xattr.h>
#include "zpl_impl.h"

#define XATTR_VALUE_MAX 65536
#define USER_PREFIX     "user."
#define USER_PREFIX_LEN 5

static const char *const namespaces[] = {"user.", "trusted.", "security.", "system."};

static bool
has_namespace(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(namespaces); i++)
        if (strncmp(name, namespaces[i], strlen(namespaces[i])) == 0)
            return true;
    return false;
}

const char *
zpl_xattr_bare(const char *name)
{
    bool user = strncmp(name, USER_PREFIX, USER_PREFIX_LEN) == 0 && name[USER_PREFIX_LEN] != '\0';

    return user ? name + USER_PREFIX_LEN : NULL;
}

/* The hidden directory. ENODATA: none. z_lock held. */
static int
xattr_dir(znode_t *zp, uint64_t *xdir)
{
    zpl_attrs_t at, xat;
    int err;

    zpl_attrs_get(zp, &at);
    *xdir = at.za_xattr;
    if (*xdir == 0)
        return SET_ERROR(ENODATA);
    if ((err = zpl_attr_read(&zp->z_zfs->zf_ac, *xdir, &xat)) != 0)
        return err == ENOENT ? SET_ERROR(EIO) : err;
    return S_ISDIR(xat.za_mode) && (xat.za_flags & ZPL_XATTR) ? 0 : SET_ERROR(EIO);
}

/* The hidden file of a name, and the name it is stored under. */
static int
xattr_find(znode_t *zp, uint64_t xdir, const char **name, uint64_t *object)
{
    objset_t *os = zp->z_zfs->zf_os;
    uint64_t de = 0;
    const char *bare = zpl_xattr_bare(*name);
    int err = zap_lookup_u64(os, xdir, *name, &de);

    if (err == ENOENT && bare != NULL && (err = zap_lookup_u64(os, xdir, bare, &de)) == 0)
        *name = bare;
    *object = ZPL_DIRENT_OBJ(de);
    return err == ENOENT ? SET_ERROR(ENODATA) : err;
}

/* A hidden file that really belongs to xdir, and so may be freed: entries come from disk and may lie. */
static bool
xattr_owned(zpl_fs_t *zfs, uint64_t xdir, uint64_t object)
{
    zpl_attrs_t at;

    return zpl_attr_read(&zfs->zf_ac, object, &at) == 0 && S_ISREG(at.za_mode) && (at.za_flags & ZPL_XATTR) &&
           at.za_parent == xdir;
}

/* ---- reading ---- */

static int
value_copy(const void *value, size_t size, void *buf, size_t n, size_t *len)
{
    *len = size;
    if (n == 0)
        return 0;
    if (size > n)
        return SET_ERROR(ERANGE);
    memcpy(buf, value, size);
    return 0;
}

static int
value_read(znode_t *zp, uint64_t object, void *buf, size_t n, size_t *len)
{
    zpl_attrs_t at;
    int err;

    if ((err = zpl_attr_read(&zp->z_zfs->zf_ac, object, &at)) != 0)
        return err == ENOENT ? SET_ERROR(EIO) : err;
    if (!S_ISREG(at.za_mode) || !(at.za_flags & ZPL_XATTR))
        return SET_ERROR(EIO);
    if (at.za_size > XATTR_VALUE_MAX)
        return SET_ERROR(E2BIG);
    *len = at.za_size;
    if (n == 0)
        return 0;
    if (at.za_size > n)
        return SET_ERROR(ERANGE);
    return dmu_read(zp->z_zfs->zf_os, object, 0, at.za_size, buf);
}

static int
sa_get(znode_t *zp, const char *name, void *buf, size_t n, size_t *len)
{
    const uint8_t *value;
    nvlist_t *nvl;
    uint32_t size;
    int err;

    if ((err = zpl_xattr_sa_list(zp, &nvl)) != 0)
        return err;
    if (zpl_xattr_sa_find(nvl, name, &value, &size) != NULL)
        err = value_copy(value, size, buf, n, len);
    else
        err = SET_ERROR(ENODATA);
    nvlist_free(nvl);
    return err;
}

static int
xattr_allowed(znode_t *zp)
{
    return __atomic_load_n(&zp->z_zfs->zf_xattr, __ATOMIC_RELAXED) == ZPL_XATTR_OFF ? SET_ERROR(EOPNOTSUPP)
                                                                                    : 0;
}

int
zpl_getxattr(znode_t *zp, const char *name, void *buf, size_t n, size_t *len)
{
    uint64_t xdir, object;
    int err;

    if ((err = xattr_allowed(zp)) != 0)
        return err;
    rw_enter_read(&zp->z_lock);
    err = sa_get(zp, name, buf, n, len);
    if (err == ENODATA && (err = xattr_dir(zp, &xdir)) == 0 &&
        (err = xattr_find(zp, xdir, &name, &object)) == 0)
        err = value_read(zp, object, buf, n, len);
    rw_exit(&zp->z_lock);
    return err;
}

/* ---- listing ---- */

typedef struct name_list {
    char *nl_buf;
    size_t nl_room, nl_len;
} name_list_t;

static void
list_append(name_list_t *nl, const char *text, size_t n)
{
    if (nl->nl_len + n <= nl->nl_room)
        memcpy(nl->nl_buf + nl->nl_len, text, n);
    nl->nl_len += n;
}

static void
list_name(name_list_t *nl, const char *name)
{
    if (strncmp(name, "SUNWattr_", 9) == 0) /* what Solaris shows of its own attributes */
        return;
    if (!has_namespace(name))
        list_append(nl, USER_PREFIX, USER_PREFIX_LEN);
    list_append(nl, name, strlen(name) + 1);
}

static void
list_sa(const nvlist_t *nvl, name_list_t *nl)
{
    const nvpair_t *nvp = NULL;

    while (nvl != NULL && (nvp = nvlist_next_nvpair(nvl, nvp)) != NULL)
        list_name(nl, nvpair_name(nvp));
}

/* Those that are not in the SA form. */
static int
list_dir(znode_t *zp, const nvlist_t *nvl, name_list_t *nl)
{
    zap_attribute_t za;
    zap_cursor_t zc;
    uint64_t xdir;
    int err;

    if ((err = xattr_dir(zp, &xdir)) != 0)
        return err == ENODATA ? 0 : err;
    zap_cursor_init(&zc, zp->z_zfs->zf_os, xdir);
    while ((err = zap_cursor_retrieve(&zc, &za)) == 0) {
        if (nvl == NULL || !nvlist_exists(nvl, za.za_name))
            list_name(nl, za.za_name);
        zap_cursor_advance(&zc);
    }
    zap_cursor_fini(&zc);
    return err == ENOENT ? 0 : err;
}

int
zpl_listxattr(znode_t *zp, char *buf, size_t n, size_t *len)
{
    name_list_t nl = {.nl_buf = buf, .nl_room = n};
    nvlist_t *nvl = NULL;
    int err;

    *len = 0;
    if (xattr_allowed(zp) != 0)
        return 0;
    rw_enter_read(&zp->z_lock);
    if ((err = zpl_xattr_sa_list(zp, &nvl)) == 0) {
        list_sa(nvl, &nl);
        err = list_dir(zp, nvl, &nl);
    }
    rw_exit(&zp->z_lock);
    nvlist_free(nvl);
    *len = nl.nl_len;
    return err == 0 && n != 0 && nl.nl_len > n ? SET_ERROR(ERANGE) : err;
}

/* ---- changing ---- */

/* Attributes of the hidden directory after delta more entries. */
static int
xdir_changed(zpl_fs_t *zfs, uint64_t xdir, int64_t delta, dmu_tx_t *tx)
{
    dmu_object_info_t doi;
    dmu_buf_t *bonus;
    zpl_attrs_t at;
    int err;

    if ((err = dmu_bonus_hold(zfs->zf_os, xdir, &bonus)) != 0)
        return err;
    if ((err = zpl_attr_load(&zfs->zf_ac, bonus, &at, &doi)) == 0) {
        at.za_size += (uint64_t)delta;
        zpl_now(&at.za_mtime);
        at.za_ctime = at.za_mtime;
        zpl_attr_backend(&zfs->zf_ac, doi.doi_bonus_type)
            ->ao_store(&zfs->zf_ac, bonus, &at, ZA_SIZE | ZA_MTIME | ZA_CTIME, tx);
    }
    dmu_buf_rele(bonus);
    return err;
}

/* The file's ctime, and its xattr directory when it has a new one (0: as is). */
void
zpl_xattr_changed(znode_t *zp, uint64_t xdir, dmu_tx_t *tx)
{
    unsigned mask = ZA_CTIME;
    zpl_attrs_t at;

    zpl_attrs_get(zp, &at);
    zpl_now(&at.za_ctime);
    if (xdir != 0) {
        at.za_xattr = xdir;
        mask |= ZA_XATTR;
    }
    zpl_attrs_set(zp, &at, mask, tx);
}

typedef struct xattr_set {
    znode_t *xs_zp;
    const char *xs_name;
    uint64_t xs_xdir; /* 0: to be made */
    uint64_t xs_old;  /* the hidden file replaced or removed; 0 none */
    zpl_newnode_t xs_dir, xs_file;
} xattr_set_t;

static void
xattr_newnodes(xattr_set_t *xs, const void *value, size_t n)
{
    zpl_attrs_t at;

    zpl_attrs_get(xs->xs_zp, &at);
    xs->xs_dir = (zpl_newnode_t){.nn_mode = S_IFDIR | S_ISVTX | 0777,
                                 .nn_uid = at.za_uid,
                                 .nn_gid = at.za_gid,
                                 .nn_parent = xs->xs_zp->z_object,
                                 .nn_flags = ZPL_XATTR};
    xs->xs_file = (zpl_newnode_t){.nn_mode = S_IFREG | 0644,
                                  .nn_uid = at.za_uid,
                                  .nn_gid = at.za_gid,
                                  .nn_flags = ZPL_XATTR,
                                  .nn_data = value,
                                  .nn_len = n};
}

static int
xattr_set_apply(xattr_set_t *xs, dmu_tx_t *tx)
{
    zpl_fs_t *zfs = xs->xs_zp->z_zfs;
    uint64_t object, fresh = 0;
    int err = 0;

    if (xs->xs_xdir == 0) {
        if ((err = zpl_mknode(&zfs->zf_ac, &xs->xs_dir, tx, &fresh)) != 0)
            return err;
        xs->xs_xdir = fresh;
    }
    xs->xs_file.nn_parent = xs->xs_xdir;
    if ((err = zpl_mknode(&zfs->zf_ac, &xs->xs_file, tx, &object)) == 0)
        err = zap_update_u64(zfs->zf_os, xs->xs_xdir, xs->xs_name, ZPL_DIRENT_MAKE(object, S_IFREG), tx);
    if (err == 0 && xs->xs_old != 0)
        err = dmu_object_free(zfs->zf_os, xs->xs_old, tx);
    if (err == 0)
        err = xdir_changed(zfs, xs->xs_xdir, xs->xs_old == 0, tx);
    zpl_xattr_changed(xs->xs_zp, fresh, tx);
    return err;
}

static int
xattr_set_tx(xattr_set_t *xs)
{
    zpl_fs_t *zfs = xs->xs_zp->z_zfs;
    dmu_tx_t *tx = dmu_tx_create(zfs->zf_os);
    int err;

    if (xs->xs_xdir == 0)
        zpl_hold_mknode(&zfs->zf_ac, &xs->xs_dir, tx);
    else {
        dmu_tx_hold_zap(tx, xs->xs_xdir, true, xs->xs_name);
        zpl_attr_hold(&zfs->zf_ac, xs->xs_xdir, tx);
    }
    zpl_hold_mknode(&zfs->zf_ac, &xs->xs_file, tx);
    if (xs->xs_old != 0)
        dmu_tx_hold_free(tx, xs->xs_old, 0, DMU_OBJECT_END);
    zpl_hold_attrs(xs->xs_zp, xs->xs_xdir == 0 ? ZA_XATTR : ZA_CTIME, tx);
    if ((err = zpl_tx_assign(tx)) != 0)
        return err;
    err = xattr_set_apply(xs, tx);
    dmu_tx_commit(tx);
    return err;
}

static int
xattr_remove_tx(xattr_set_t *xs)
{
    zpl_fs_t *zfs = xs->xs_zp->z_zfs;
    dmu_tx_t *tx = dmu_tx_create(zfs->zf_os);
    int err;

    dmu_tx_hold_zap(tx, xs->xs_xdir, false, xs->xs_name);
    zpl_attr_hold(&zfs->zf_ac, xs->xs_xdir, tx);
    dmu_tx_hold_free(tx, xs->xs_old, 0, DMU_OBJECT_END);
    zpl_hold_attrs(xs->xs_zp, ZA_CTIME, tx);
    dmu_tx_mark_netfree(tx);
    if ((err = zpl_tx_assign(tx)) != 0)
        return err;
    if ((err = zap_remove(zfs->zf_os, xs->xs_xdir, xs->xs_name, tx)) == 0) {
        err = dmu_object_free(zfs->zf_os, xs->xs_old, tx);
        if (err == 0)
            err = xdir_changed(zfs, xs->xs_xdir, -1, tx);
        zpl_xattr_changed(xs->xs_zp, 0, tx);
    }
    dmu_tx_commit(tx);
    return err;
}

/* Where the name is: xs_old and xs_xdir, *in_sa. z_lock held, as in all below. */
static int
xattr_locate(xattr_set_t *xs, bool *in_sa)
{
    const uint8_t *value;
    nvlist_t *nvl;
    uint32_t n;
    int err = zpl_xattr_sa_list(xs->xs_zp, &nvl);

    if (err != 0)
        return err;
    *in_sa = zpl_xattr_sa_find(nvl, xs->xs_name, &value, &n) != NULL;
    nvlist_free(nvl);
    if ((err = xattr_dir(xs->xs_zp, &xs->xs_xdir)) == 0)
        err = xattr_find(xs->xs_zp, xs->xs_xdir, &xs->xs_name, &xs->xs_old);
    if (err == 0 && !xattr_owned(xs->xs_zp->z_zfs, xs->xs_xdir, xs->xs_old))
        return SET_ERROR(EIO);
    return err == ENODATA ? 0 : err;
}

/* In the form that the property asks for and that can take it; then out of the other. */
static int
xattr_set_locked(xattr_set_t *xs, int flags)
{
    int form = __atomic_load_n(&xs->xs_zp->z_zfs->zf_xattr, __ATOMIC_RELAXED);
    const char *name = xs->xs_name;
    int err = EFBIG;
    bool in_sa;

    if ((err = xattr_locate(xs, &in_sa)) != 0)
        return err;
    if ((in_sa || xs->xs_old != 0) && (flags & XATTR_CREATE))
        return SET_ERROR(EEXIST);
    if (!in_sa && xs->xs_old == 0 && (flags & XATTR_REPLACE))
        return SET_ERROR(ENODATA);
    err = EFBIG;
    if (form == ZPL_XATTR_SA && zpl_xattr_sa_able(xs->xs_zp))
        err = zpl_xattr_sa_set(xs->xs_zp, name, xs->xs_file.nn_data, xs->xs_file.nn_len);
    if (err != EFBIG)
        return err == 0 && xs->xs_old != 0 ? xattr_remove_tx(xs) : err;
    if ((err = xattr_set_tx(xs)) == 0 && in_sa)
        err = zpl_xattr_sa_set(xs->xs_zp, name, NULL, 0);
    return err;
}

int
zpl_setxattr(znode_t *zp, const char *name, const void *value, size_t n, int flags, const zpl_cred_t *cr)
{
    xattr_set_t xs = {.xs_zp = zp, .xs_name = name};
    int err;

    if ((err = zpl_check_writable(zp->z_zfs)) != 0 || (err = xattr_allowed(zp)) != 0)
        return err;
    if (strlen(name) >= ZAP_MAXNAMELEN || name[0] == '\0')
        return SET_ERROR(ERANGE);
    if (n > XATTR_VALUE_MAX)
        return SET_ERROR(E2BIG);
    rw_enter_write(&zp->z_lock);
    xattr_newnodes(&xs, n == 0 ? "" : value, n);
    err = xattr_set_locked(&xs, flags);
    rw_exit(&zp->z_lock);
    return err;
}

int
zpl_removexattr(znode_t *zp, const char *name)
{
    xattr_set_t xs = {.xs_zp = zp, .xs_name = name};
    bool in_sa;
    int err;

    if ((err = zpl_check_writable(zp->z_zfs)) != 0 || (err = xattr_allowed(zp)) != 0)
        return err;
    rw_enter_write(&zp->z_lock);
    if ((err = xattr_locate(&xs, &in_sa)) == 0 && !in_sa && xs.xs_old == 0)
        err = SET_ERROR(ENODATA);
    if (err == 0 && xs.xs_old != 0)
        err = xattr_remove_tx(&xs);
    if (err == 0 && in_sa)
        err = zpl_xattr_sa_set(zp, name, NULL, 0);
    rw_exit(&zp->z_lock);
    return err;
}

/* ---- the end ---- */

/* One hidden file less; its directory's own attributes no longer matter. */
static int
purge_one(zpl_fs_t *zfs, uint64_t xdir, const char *name, uint64_t object)
{
    dmu_tx_t *tx = dmu_tx_create(zfs->zf_os);
    bool ours = xattr_owned(zfs, xdir, object);
    int err;

    dmu_tx_hold_zap(tx, xdir, false, name);
    if (ours)
        dmu_tx_hold_free(tx, object, 0, DMU_OBJECT_END);
    dmu_tx_mark_netfree(tx);
    if ((err = zpl_tx_assign(tx)) != 0)
        return err;
    err = zap_remove(zfs->zf_os, xdir, name, tx);
    if (err == 0 && ours)
        err = dmu_object_free(zfs->zf_os, object, tx);
    dmu_tx_commit(tx);
    return err;
}

int
zpl_xattr_purge(zpl_fs_t *zfs, uint64_t xdir)
{
    zap_attribute_t za;
    zap_cursor_t zc;
    int err;

    do {
        zap_cursor_init(&zc, zfs->zf_os, xdir);
        err = zap_cursor_retrieve(&zc, &za);
        zap_cursor_fini(&zc);
        if (err == 0)
            err = purge_one(zfs, xdir, za.za_name, ZPL_DIRENT_OBJ(za.za_first_integer));
    } while (err == 0);
    return err == ENOENT ? 0 : err;
}
