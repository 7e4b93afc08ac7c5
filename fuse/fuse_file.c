/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuse_file.c - requests on files: read, write, fsync and relatives.
 *
 * A write request's data is copied once: from where the request was read to, into the object's buffers. A read's answer likewise:
 * into this thread's buffer, from where the kernel takes it.
 *
 * Errors of delayed writes reach the program at fsync or close; so such a request fails as a whole, as a short
 * one would be told as EIO.
 */
#include <fcntl.h>
#include <unistd.h>
#include "mount_impl.h"

void
op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    node_t *n;
    uint64_t done = 0;
    char *buf = session_buffer();
    int err = file_enter(req, ino, &n);
    if (err == 0) {
        err = zpl_read(n->n_zp, (uint64_t)off, MIN(size, REQUEST_MAX), buf, &done);
        node_leave(n);
    }
    if (err != 0)
        reply_err(req, err);
    else
        fuse_reply_buf(req, buf, done);
}

/* The data in one piece of memory. */
static int
write_data(struct fuse_bufvec *bufv, const char **data, size_t *size)
{
    *size = fuse_buf_size(bufv);
    if (bufv->count == 1 && !(bufv->buf[0].flags & FUSE_BUF_IS_FD)) {
        *data = (const char *)bufv->buf[0].mem + bufv->off;
        return 0;
    }
    if (*size > REQUEST_MAX)
        return SET_ERROR(EINVAL);
    struct fuse_bufvec mem = FUSE_BUFVEC_INIT(*size);
    mem.buf[0].mem = session_buffer();
    ssize_t n = fuse_buf_copy(&mem, bufv, 0);
    if (n < 0)
        return SET_ERROR((int)-n);
    *size = (size_t)n;
    *data = mem.buf[0].mem;
    return 0;
}

void
op_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *bufv, off_t off, struct fuse_file_info *fi)
{
    node_t *n;
    const char *data = NULL;
    size_t size = 0;
    uint64_t done = 0;
    int err = write_data(bufv, &data, &size);
    if (err == 0)
        err = file_enter(req, ino, &n);
    if (err == 0) {
        err = (fi->writepage ? zpl_writeback : zpl_write)(n->n_zp, (uint64_t)off, size, data, &done);
        node_leave(n);
    }
    if (err != 0 && (done == 0 || fi->writepage))
        reply_err(req, err);
    else
        fuse_reply_write(req, done);
}

void
op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    node_t *n;
    int err = node_enter(req_mount(req), ino, &n);
    if (err == 0) {
        if (!node_is_ctl(n))
            err = zpl_fsync(n->n_zp, datasync != 0);
        node_leave(n);
    }
    reply_err(req, err);
}

void
op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
    node_t *n;
    int err = off < 0 || len <= 0 ? SET_ERROR(EINVAL) : file_enter(req, ino, &n);
    if (err == 0) {
        err = zpl_fallocate(n->n_zp, mode, (uint64_t)off, (uint64_t)len);
        node_leave(n);
    }
    reply_err(req, err);
}

/* The kernel's handle of a cached inode (FILEID_INO64_GEN): what name_to_handle_at() would say. */
typedef struct fuse_handle {
    struct file_handle fh_head;
    uint32_t fh_node[2], fh_gen;
} fuse_handle_t;

/* Root may open a file by its number; that alone asks us nothing. */
static int
open_node(fuse_mount_t *fm, fuse_ino_t ino, uint64_t gen)
{
    fuse_handle_t fh = {.fh_head = {.handle_bytes = 3 * sizeof(uint32_t), .handle_type = 0x81}};
    fh.fh_node[0] = (uint32_t)(ino >> 32);
    fh.fh_node[1] = (uint32_t)ino;
    fh.fh_gen = (uint32_t)gen;
    int dir = open(fm->fm_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -1;
    int fd = open_by_handle_at(dir, &fh.fh_head, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    close(dir);
    return fd;
}

/*
 * The kernel asks for SEEK_DATA and SEEK_HOLE without writing dirty pages first. We make it: through a file descriptor of our own, or, without
 * the right to have one, by having it drop its pages, which it writes before. Other threads serve these writes; the caller is not
 * inside the file system, or one that drains would let neither in nor out.
 */
static void
write_back(fuse_mount_t *fm, fuse_ino_t ino, uint64_t gen)
{
    session_wait_begin(fm);
    int fd = geteuid() == 0 ? open_node(fm, ino, gen) : -1;
    int all = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    if (fd < 0 || sync_file_range(fd, 0, 0, (unsigned)all) != 0)
        (void)fuse_lowlevel_notify_inval_inode(fm->fm_se, ino, 0, 0);
    if (fd >= 0)
        close(fd);
    session_wait_end(fm);
}

void
op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
    node_t *n;
    uint64_t pos = (uint64_t)off;
    int err = whence != SEEK_DATA && whence != SEEK_HOLE ? SET_ERROR(EINVAL) : file_enter(req, ino, &n);
    if (err == 0 && !zpl_fs_readonly(n->n_mf->mf_zfs)) {
        uint64_t gen = zpl_znode_gen(n->n_zp);
        node_leave(n);
        write_back(req_mount(req), ino, gen);
        err = file_enter(req, ino, &n);
    }
    if (err == 0) {
        err = off < 0 ? SET_ERROR(ENXIO) : zpl_seek(n->n_zp, whence == SEEK_HOLE, &pos);
        node_leave(n);
    }
    if (err != 0)
        reply_err(req, err);
    else
        fuse_reply_lseek(req, (off_t)pos);
}
