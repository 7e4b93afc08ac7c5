/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuse_ops.c - the kernel's requests: the table of them, what the session asks of the kernel, lookups and attributes.
 *
 *     op_X(req, ino, ...)
 *         node_enter            the node is known and its file system open: else ESTALE
 *         zpl_X(n->n_zp, ...)   the work, without a lock of ours
 *         node_leave            before the answer, so that nothing of the request is left when the program goes on
 *         fuse_reply_...        exactly one
 *
 * The kernel checks permissions (default_permissions) and keeps attributes, entries and pages for ever; with its writeback
 * cache it also owns size and times of files being written, and tells us later by setattr. invalidate.c is the way back.
 *
 * Opening and closing concerns the kernel alone: open and opendir are answered ENOSYS once, then no longer asked, and nothing that
 * was cached is dropped (half the cost of reading a small file, all of it when it is cached). A file that was unlinked while open
 * lives by the kernel's lookup of its node. create likewise, so that the kernel uses mknod: one answer, no release.
 * Who has files open is found out when someone wants to know: inuse.c.
 */
#include <fcntl.h>
#include <sys/statvfs.h>
#include "mount_impl.h"

/* ---- entries ---- */

void
stat_to_mount(mount_fs_t *mf, struct stat *st)
{
    st->st_ino = NODE_ID(mf, st->st_ino);
}

int
entry_fill(mount_fs_t *mf, znode_t *zp, struct fuse_entry_param *e)
{
    *e = (struct fuse_entry_param){.attr_timeout = CACHE_FOREVER, .entry_timeout = CACHE_FOREVER};
    int err = zpl_getattr(zp, &e->attr);
    if (err != 0) {
        zpl_znode_rele(zp);
        return err;
    }
    uint64_t object = zpl_znode_object(zp);
    if (object >= NODE_SNAPDIR) {
        zpl_znode_rele(zp);
        return SET_ERROR(EOVERFLOW);
    }
    stat_to_mount(mf, &e->attr);
    e->ino = node_id(mf, object);
    e->generation = zpl_znode_gen(zp);
    node_remember(mf, object, zp);
    return 0;
}

int
entry_lookup(node_t *dn, const char *name, struct fuse_entry_param *e)
{
    if (node_is_ctl(dn))
        return ctl_lookup(dn, name, e);
    if (strcmp(name, ".") == 0) {
        zpl_znode_addref(dn->n_zp);
        return entry_fill(dn->n_mf, dn->n_zp, e);
    }
    if (node_is_root(dn)) {
        int err = strcmp(name, "..") == 0 ? ctl_parent(dn->n_mf, e) : ctl_root_lookup(dn, name, e);
        if (err != ENOENT)
            return err;
    }
    znode_t *zp;
    int err = zpl_lookup(dn->n_zp, name, &zp);
    return err != 0 ? err : entry_fill(dn->n_mf, zp, e);
}

/* ZFS: the ends of zfs_read() and zfs_write(), which turn ECKSUM into EIO. */
void
reply_err(fuse_req_t req, int err)
{
    fuse_reply_err(req, err == ECKSUM ? EIO : err);
}

/* A request that was interrupted never reaches the kernel's tables: its lookup did not happen. */
void
entry_reply(fuse_req_t req, const struct fuse_entry_param *e)
{
    fuse_mount_t *fm = req_mount(req);
    if (fuse_reply_entry(req, e) != 0 && e->ino != 0)
        node_forget(fm, e->ino, 1);
}

int
file_enter(fuse_req_t req, fuse_ino_t ino, node_t **np)
{
    int err = node_enter(req_mount(req), ino, np);
    if (err == 0 && node_is_ctl(*np)) {
        node_leave(*np);
        err = SET_ERROR(EPERM);
    }
    return err;
}

static void
op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    node_t *dn;
    struct fuse_entry_param e;
    int err = node_enter(req_mount(req), parent, &dn);
    if (err == 0) {
        bool cache_absence = !node_is_ctl(dn);
        err = entry_lookup(dn, name, &e);
        node_leave(dn);
        if (err == ENOENT && cache_absence) {
            e = (struct fuse_entry_param){.entry_timeout = CACHE_FOREVER};
            err = 0;
        }
    }
    if (err != 0)
        reply_err(req, err);
    else
        entry_reply(req, &e);
}

static void
op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
    node_forget(req_mount(req), ino, nlookup);
    fuse_reply_none(req);
}

static void
op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        node_forget(req_mount(req), forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

/* ---- attributes ---- */

static void
op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    node_t *n;
    struct stat st;
    int err = node_enter(req_mount(req), ino, &n);
    if (err == 0) {
        if (node_is_ctl(n)) {
            ctl_getattr(n, &st);
        } else {
            err = zpl_getattr(n->n_zp, &st);
            stat_to_mount(n->n_mf, &st);
        }
        node_leave(n);
    }
    if (err != 0)
        reply_err(req, err);
    else
        fuse_reply_attr(req, &st, CACHE_FOREVER);
}

/* The kernel's mask in the file system layer's terms; "now" becomes a time. */
static int
setattr_mask(int to_set, struct stat *st)
{
    static const struct {
        int kernel, zpl;
    } bits[] = {{FUSE_SET_ATTR_MODE, ZPL_SET_MODE},   {FUSE_SET_ATTR_UID, ZPL_SET_UID},
                {FUSE_SET_ATTR_GID, ZPL_SET_GID},     {FUSE_SET_ATTR_SIZE, ZPL_SET_SIZE},
                {FUSE_SET_ATTR_ATIME, ZPL_SET_ATIME}, {FUSE_SET_ATTR_MTIME, ZPL_SET_MTIME},
                {FUSE_SET_ATTR_CTIME, ZPL_SET_CTIME}};
    int mask = 0;
    for (size_t i = 0; i < ARRAY_SIZE(bits); i++) {
        if (to_set & bits[i].kernel)
            mask |= bits[i].zpl;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to_set & FUSE_SET_ATTR_ATIME_NOW) {
        st->st_atim = now;
        mask |= ZPL_SET_ATIME;
    }
    if (to_set & FUSE_SET_ATTR_MTIME_NOW) {
        st->st_mtim = now;
        mask |= ZPL_SET_MTIME;
    }
    return mask;
}

static void
op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
    node_t *n;
    struct stat st = *attr;
    int err = file_enter(req, ino, &n);
    if (err == 0) {
        err = zpl_setattr(n->n_zp, setattr_mask(to_set, &st), &st);
        stat_to_mount(n->n_mf, &st);
        node_leave(n);
    }
    if (err != 0)
        reply_err(req, err);
    else
        fuse_reply_attr(req, &st, CACHE_FOREVER);
}

static void
op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    node_t *n;
    char target[4097];
    size_t len = 0;
    int err = file_enter(req, ino, &n);
    if (err == 0) {
        err = zpl_readlink(n->n_zp, target, sizeof(target) - 1, &len);
        node_leave(n);
    }
    if (err == 0 && len >= sizeof(target))
        err = SET_ERROR(ENAMETOOLONG);
    if (err != 0) {
        reply_err(req, err);
        return;
    }
    target[len] = '\0';
    fuse_reply_readlink(req, target);
}

static void
op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    node_t *n;
    struct statvfs st;
    int err = node_enter(req_mount(req), ino, &n);
    if (err == 0) {
        err = zpl_fs_statvfs(n->n_mf->mf_zfs, &st);
        node_leave(n);
    }
    if (err != 0)
        reply_err(req, err);
    else
        fuse_reply_statfs(req, &st);
}

/* ---- the session ---- */

static void
op_init(void *userdata, struct fuse_conn_info *conn)
{
    unsigned want = FUSE_CAP_ASYNC_READ | FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_PARALLEL_DIROPS |
                    FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_ASYNC_DIO |
                    FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_NO_OPEN_SUPPORT | FUSE_CAP_NO_OPENDIR_SUPPORT |
                    FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_EXPORT_SUPPORT;
    /*
     * Not wanted: SPLICE_* (data is in memory on both sides), AUTO_INVAL_DATA (nobody but the kernel writes), ATOMIC_O_TRUNC
     * (the kernel truncates by setattr), HANDLE_KILLPRIV (the kernel clears setuid bits by setattr), locks (the kernel keeps them).
     */
    conn->want = want & conn->capable;
    conn->max_write = REQUEST_MAX;
    conn->max_readahead = REQUEST_MAX;
    conn->max_background = 64;
    conn->congestion_threshold = 48;
    conn->time_gran = 1;
}

static void
op_open_any(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    reply_err(req, ENOSYS);
}

static void
op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    op_fsync(req, ino, datasync, fi);
}

const struct fuse_lowlevel_ops fuse_ops = {
    .init = op_init,
    .lookup = op_lookup,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .readlink = op_readlink,
    .mknod = op_mknod,
    .mkdir = op_mkdir,
    .unlink = op_unlink,
    .rmdir = op_rmdir,
    .symlink = op_symlink,
    .rename = op_rename,
    .link = op_link,
    .open = op_open_any,
    .read = op_read,
    .write_buf = op_write_buf,
    .fsync = op_fsync,
    .opendir = op_open_any,
    .readdir = op_readdir,
    .readdirplus = op_readdirplus,
    .fsyncdir = op_fsyncdir,
    .statfs = op_statfs,
    .setxattr = op_setxattr,
    .getxattr = op_getxattr,
    .listxattr = op_listxattr,
    .removexattr = op_removexattr,
    .fallocate = op_fallocate,
    .lseek = op_lseek,
};
