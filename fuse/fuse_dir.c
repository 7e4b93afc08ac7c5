/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuse_dir.c - requests that change directories: create, link, remove, rename.
 *
 * Names that belong to a child dataset or to .zfs are taken (EEXIST) and stay (EBUSY): commands create and destroy those.
 * Nothing goes from one file system to another (EXDEV), and nothing is made inside .zfs (EPERM).
 */
#include "mount_impl.h"

static zpl_cred_t
req_cred(fuse_req_t req)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    return (zpl_cred_t){.zc_uid = ctx->uid, .zc_gid = ctx->gid, .zc_umask = ctx->umask};
}

static int
dir_enter(fuse_req_t req, fuse_ino_t ino, const char *name, int taken, node_t **dnp)
{
    int err = file_enter(req, ino, dnp);
    if (err == 0 && ctl_name_taken(*dnp, name)) {
        node_leave(*dnp);
        err = SET_ERROR(taken);
    }
    return err;
}

/* The common end: what was made becomes an entry; the directory is left. */
static void
reply_made(fuse_req_t req, node_t *dn, int err, znode_t *zp)
{
    struct fuse_entry_param e;
    if (dn != NULL) {
        if (err == 0)
            err = entry_fill(dn->n_mf, zp, &e);
        node_leave(dn);
    }
    if (err != 0)
        reply_err(req, err);
    else
        entry_reply(req, &e);
}

static void
make_node(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    node_t *dn = NULL;
    znode_t *zp = NULL;
    zpl_cred_t cr = req_cred(req);
    int err = dir_enter(req, parent, name, EEXIST, &dn);
    if (err != 0)
        dn = NULL;
    else
        err = zpl_mknod(dn->n_zp, name, mode, rdev, &cr, &zp);
    reply_made(req, dn, err, zp);
}

void
op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    make_node(req, parent, name, mode, rdev);
}

void
op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    make_node(req, parent, name, (mode & 07777) | S_IFDIR, 0);
}

void
op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    node_t *dn = NULL;
    znode_t *zp = NULL;
    zpl_cred_t cr = req_cred(req);
    int err = dir_enter(req, parent, name, EEXIST, &dn);
    if (err != 0)
        dn = NULL;
    else
        err = zpl_symlink(dn->n_zp, name, target, &cr, &zp);
    reply_made(req, dn, err, zp);
}

void
op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
    node_t *dn = NULL, *n;
    znode_t *zp = NULL;
    int err = dir_enter(req, newparent, newname, EEXIST, &dn);
    if (err != 0)
        dn = NULL;
    else
        err = node_enter_second(dn, ino, &n);
    if (err == 0) {
        zp = n->n_zp;
        err = zp == NULL ? SET_ERROR(EPERM) : zpl_link(zp, dn->n_zp, newname);
        if (err == 0)
            zpl_znode_addref(zp);
        node_leave_second(n);
    }
    reply_made(req, dn, err, zp);
}

static void
remove_name(fuse_req_t req, fuse_ino_t parent, const char *name,
            int (*remove_fn)(znode_t *dzp, const char *name))
{
    node_t *dn;
    int err = dir_enter(req, parent, name, EBUSY, &dn);
    if (err == 0) {
        err = remove_fn(dn->n_zp, name);
        node_leave(dn);
    }
    reply_err(req, err);
}

void
op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_name(req, parent, name, zpl_unlink);
}

void
op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_name(req, parent, name, zpl_rmdir);
}

static int
rename_second(node_t *dn, const char *name, fuse_ino_t newparent, const char *newname, unsigned flags)
{
    node_t *nd;
    int err = node_enter_second(dn, newparent, &nd);
    if (err != 0)
        return err;
    if (node_is_ctl(nd))
        err = SET_ERROR(EPERM);
    else if (ctl_name_taken(nd, newname))
        err = SET_ERROR(flags & RENAME_NOREPLACE ? EEXIST : EBUSY);
    else
        err = zpl_rename(dn->n_zp, name, nd->n_zp, newname, flags);
    node_leave_second(nd);
    return err;
}

void
op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent, const char *newname,
          unsigned flags)
{
    node_t *dn;
    int err = flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE) ? SET_ERROR(EINVAL) : 0;
    if (err == 0)
        err = dir_enter(req, parent, name, EBUSY, &dn);
    if (err == 0) {
        err = rename_second(dn, name, newparent, newname, flags);
        node_leave(dn);
    }
    reply_err(req, err);
}
