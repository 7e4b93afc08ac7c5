/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuse_xattr.c - extended attributes. user, trusted and security are kept as they come; system (ACLs and what the kernel itself
 * invents there) is not supported yet. Control directories have none.
 */
#include <linux/limits.h>
#include "mount_impl.h"

static int
xattr_enter(fuse_req_t req, fuse_ino_t ino, const char *name, node_t **np)
{
    static const char *const spaces[] = {"user.", "trusted.", "security."};
    size_t i = 0;
    while (i < ARRAY_SIZE(spaces) &&
           (strncmp(name, spaces[i], strlen(spaces[i])) != 0 || name[strlen(spaces[i])] == '\0'))
        i++;
    if (i == ARRAY_SIZE(spaces))
        return SET_ERROR(EOPNOTSUPP);
    if (strlen(name) > XATTR_NAME_MAX)
        return SET_ERROR(ERANGE);
    int err = file_enter(req, ino, np);
    return err == EPERM ? SET_ERROR(EOPNOTSUPP) : err;
}

void
op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
    node_t *n;
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    zpl_cred_t cr = {.zc_uid = ctx->uid, .zc_gid = ctx->gid, .zc_umask = ctx->umask};
    int err = size > XATTR_SIZE_MAX ? SET_ERROR(E2BIG) : xattr_enter(req, ino, name, &n);
    if (err == 0) {
        err = zpl_setxattr(n->n_zp, name, value, size, flags, &cr);
        node_leave(n);
    }
    reply_err(req, err);
}

/* size 0: the caller wants the length only. */
static void
reply_value(fuse_req_t req, int err, size_t size, const char *buf, size_t len)
{
    if (err == 0 && size != 0 && len > size)
        err = SET_ERROR(ERANGE);
    if (err != 0)
        reply_err(req, err);
    else if (size == 0)
        fuse_reply_xattr(req, len);
    else
        fuse_reply_buf(req, buf, len);
}

void
op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    node_t *n;
    size_t len = 0;
    char *buf = size != 0 ? session_buffer() : NULL;
    int err = xattr_enter(req, ino, name, &n);
    if (err == 0) {
        err = zpl_getxattr(n->n_zp, name, buf, MIN(size, REQUEST_MAX), &len);
        node_leave(n);
    }
    reply_value(req, err, size, buf, len);
}

void
op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    node_t *n;
    size_t len = 0;
    char *buf = size != 0 ? session_buffer() : NULL;
    int err = node_enter(req_mount(req), ino, &n);
    if (err == 0) {
        if (!node_is_ctl(n))
            err = zpl_listxattr(n->n_zp, buf, MIN(size, REQUEST_MAX), &len);
        node_leave(n);
    }
    reply_value(req, err, size, buf, len);
}

void
op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    node_t *n;
    int err = xattr_enter(req, ino, name, &n);
    if (err == 0) {
        err = zpl_removexattr(n->n_zp, name);
        node_leave(n);
    }
    reply_err(req, err);
}
