/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl.h - the contract of the file system layer: files and directories over objects, without FUSE in it.
 *
 *   fuse_ops.c (libfuse3)      tests       tools (status names damaged files)
 *        |                       |                |
 *   +----v-----------------------v----------------v---+
 *   | zpl_fs_t: one mounted dataset or snapshot        |   object 1 "master node": VERSION, ROOT, DELETE_QUEUE
 *   |   znode_t: one file in use; attributes in the    |   a directory is a ZAP: name -> type<<60 | object
 *   |   bonus buffer, contents in the object           |   a file's blocks are its contents
 *   +--------------------------------------------------+
 *
 * Files are named by object number (the inode number); a znode is held by zpl_znode_hold() and stays valid until released, also
 * when unlinked meanwhile: the object is then on the unlinked set and freed at the last release, or at the next mount after a crash.
 *
 * Each call does its own transaction(s). Locks are inside: a reader/writer lock per znode (z_lock: attributes, directory entries), a range
 * lock on file contents; order: parent directories by object number, then children. ENOSPC, EDQUOT, EIO, EROFS (snapshot or read-only) from all changing calls.
 * Permission checks are the caller's (the kernel's default_permissions) in this version; ownership rules on create are here.
 *
 * ZFS: zfs_znode.c, zfs_vnops.c, zfs_dir.c, zfs_vfsops.c
 */
#ifndef COWBIRD_ZPL_H
#define COWBIRD_ZPL_H

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include "dsl.h"

typedef struct zpl_fs zpl_fs_t;
typedef struct znode znode_t;

/* Who asks, for the owner of what is created. */
typedef struct zpl_cred {
    uid_t zc_uid;
    gid_t zc_gid;
    mode_t zc_umask; /* applied by create calls */
} zpl_cred_t;

/* ---- zpl_create.c ---- */
/* Hand to dsl_set_objset_init(): fills an empty objset: master node, unlinked set, root directory (0755, owned by this process's user).
 * props may hold "version" (4 or 5), "normalization", "utf8only", "casesensitivity". */
void zpl_objset_init(objset_t *os, const nvlist_t *props, dmu_tx_t *tx);

/* ---- zpl_mount.c, zpl_fs.c ---- */
#define ZPL_MOUNT_RDONLY 1
/* Takes ownership of the dataset (a long hold for a snapshot). EBUSY; ENOTSUP a ZPL version or feature we cannot show (logged);
 * EINVAL not a file system; EIO. A read-write mount frees what the unlinked set lists. Versions 1 to 3 are shown
 * read-only (logged; zpl_fs_readonly() tells). */
/* A volume's root is no directory but the one file it is (zpl_volume.c). */
int zpl_fs_mount(dsl_pool_t *dp, const char *name, int flags, zpl_fs_t **zfsp);
/* All znodes must be released (they are: FUSE forgot them). Syncs nothing by itself. */
void zpl_fs_unmount(zpl_fs_t *zfs);
uint64_t zpl_fs_root(zpl_fs_t *zfs);
bool zpl_fs_readonly(zpl_fs_t *zfs);
bool zpl_fs_is_volume(zpl_fs_t *zfs);
const char *zpl_fs_name(zpl_fs_t *zfs);
dsl_pool_t *zpl_fs_pool(zpl_fs_t *zfs);
uint64_t zpl_fs_dsobj(zpl_fs_t *zfs);
int zpl_fs_statvfs(zpl_fs_t *zfs, struct statvfs *st);
int zpl_fs_sync(zpl_fs_t *zfs); /* everything done so far is durable on return */
/* The settings that act at once (atime, recordsize, readonly) are re-read. */
void zpl_fs_props_changed(zpl_fs_t *zfs);
/* "dir/file" of an object below the root, by parents and a search; for error lists. ENOENT */
int zpl_object_path(objset_t *os, uint64_t object, char *path, size_t n);

/* ---- zpl_diff.c ---- */
typedef struct zpl_diff {
    char zd_what;                        /* '+' new, '-' gone, 'M' changed, 'R' renamed (and perhaps changed) */
    mode_t zd_mode;
    struct timespec zd_ctime;
    const char *zd_path, *zd_newpath;    /* below the root, no leading '/'; the second of 'R' only */
    int64_t zd_links;                    /* of 'M': so many more (fewer) names; 0: as many */
} zpl_diff_t;
/* Files that differ between a snapshot and a later snapshot, or head, of the same file system (or a clone), by object number. cb's error
 * ends it. EXDEV; EINVAL not a file system; EBUSY another diff of a head goes on, or it is being received; EIO, ECKSUM damage. */
int zpl_diff(dsl_pool_t *dp, const char *from, const char *to, int (*cb)(void *arg, const zpl_diff_t *zd), void *arg);

/* ---- zpl_znode.c ---- */
int zpl_znode_hold(zpl_fs_t *zfs, uint64_t object, znode_t **zpp); /* ENOENT, EIO; ESTALE freed meanwhile */
void zpl_znode_addref(znode_t *zp);
void zpl_znode_rele(znode_t *zp); /* frees an unlinked file at the last release */
uint64_t zpl_znode_object(znode_t *zp);
uint64_t zpl_znode_gen(znode_t *zp);

/* ---- zpl_attr.c ---- */
int zpl_getattr(znode_t *zp, struct stat *st); /* st_dev 0; st_ino the object number */
#define ZPL_SET_MODE  1
#define ZPL_SET_UID   2
#define ZPL_SET_GID   4
#define ZPL_SET_SIZE  8
#define ZPL_SET_ATIME 16
#define ZPL_SET_MTIME 32
#define ZPL_SET_CTIME 64
#define ZPL_SET_KILLPRIV 128 /* clear set-id bits, as a write, truncate or chown by an unprivileged caller does */
/* Sets what mask names, from st; ctime becomes now unless given. st receives the result. EFBIG, EISDIR for a directory's size. */
int zpl_setattr(znode_t *zp, int mask, struct stat *st);

/* ---- zpl_file.c ---- */
/* len bytes; *done is less at the end of file only. An unreadable block fails the whole call (EIO, ECKSUM). */
int zpl_read(znode_t *zp, uint64_t off, uint64_t len, void *buf, uint64_t *done);
/* All or an error with *done bytes written before it (ENOSPC, EDQUOT, EIO, EFBIG). */
int zpl_write(znode_t *zp, uint64_t off, uint64_t len, const void *buf, uint64_t *done);
/* The same for what a page cache held back: mtime stays, as the cache has it and sets it itself (perhaps before this arrives). */
int zpl_writeback(znode_t *zp, uint64_t off, uint64_t len, const void *buf, uint64_t *done);
int zpl_fsync(znode_t *zp, bool datasync);
int zpl_seek(znode_t *zp, bool hole, uint64_t *off); /* ENXIO beyond the end */
/* FALLOC_FL_PUNCH_HOLE / ZERO_RANGE (KEEP_SIZE); mode 0 extends the size. EOPNOTSUPP others. */
int zpl_fallocate(znode_t *zp, int mode, uint64_t off, uint64_t len);

/* ---- zpl_dir.c, zpl_unlink.c, zpl_rename.c ---- names are exact bytes, 1..255, no '/', not "." or ".." ---- */
int zpl_lookup(znode_t *dzp, const char *name, znode_t **zpp); /* ".." gives the parent; ENOENT ENOTDIR ENAMETOOLONG */
/* A new file, fifo, socket or device (mode's type bits) or, with S_IFDIR, directory. EEXIST ENOENT (directory removed) */
int zpl_mknod(znode_t *dzp, const char *name, mode_t mode, dev_t rdev, const zpl_cred_t *cr, znode_t **zpp);
int zpl_symlink(znode_t *dzp, const char *name, const char *target, const zpl_cred_t *cr, znode_t **zpp);
int zpl_readlink(znode_t *zp, char *buf, size_t n, size_t *len);
int zpl_link(znode_t *zp, znode_t *dzp, const char *name); /* EMLINK, EPERM for a directory */
int zpl_unlink(znode_t *dzp, const char *name);            /* EISDIR */
int zpl_rmdir(znode_t *dzp, const char *name);             /* ENOTEMPTY ENOTDIR */
/* flags: RENAME_NOREPLACE, RENAME_EXCHANGE. EINVAL into its own child. Atomic in one txg. */
int zpl_rename(znode_t *from, const char *oname, znode_t *to, const char *nname, unsigned flags);
/* Entries from cookie on; "." and ".." first. The directory is locked meanwhile: the callback may use zpl_znode_hold(object), no
 * call that takes the directory. The callback gets the cookie *after* its entry; false ends the walk (entry not taken). */
typedef bool (*zpl_dirent_cb_t)(void *arg, const char *name, uint64_t object, unsigned char d_type, uint64_t next_cookie);
int zpl_readdir(znode_t *dzp, uint64_t cookie, zpl_dirent_cb_t cb, void *arg);

/* ---- zpl_xattr.c ---- names with their namespace as Linux passes them ---- */
int zpl_getxattr(znode_t *zp, const char *name, void *buf, size_t n, size_t *len);   /* ENODATA; ERANGE; n 0: the length only */
int zpl_setxattr(znode_t *zp, const char *name, const void *value, size_t n, int flags, const zpl_cred_t *cr); /* XATTR_CREATE/REPLACE */
int zpl_listxattr(znode_t *zp, char *buf, size_t n, size_t *len);
int zpl_removexattr(znode_t *zp, const char *name);

#endif
