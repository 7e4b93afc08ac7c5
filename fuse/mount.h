/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mount.h - the contract of the FUSE session: a dataset tree shown as one mounted directory tree.
 *
 *   kernel ──► session threads (libfuse3 low level) ──► fuse_ops.c ──► zpl.h      ordinary files
 *                                                   └─► ctldir.c                  .zfs/snapshot/NAME, child datasets
 *
 * A node of the mount is (file system number << 48 | object number), so that datasets below the mounted one and snapshots
 * are directories of the same mount; crossing between them gives EXDEV. File systems are opened (zpl_fs_mount) when first looked up.
 *
 * The daemon alone changes the pool, so the kernel may cache entries and attributes for ever: whoever changes something behind the
 * kernel's back (a command through the control socket) calls fuse_mount_refresh(), which tells the kernel.
 */
#ifndef COWBIRD_MOUNT_H
#define COWBIRD_MOUNT_H

#include "zpl.h"

typedef struct fuse_mount fuse_mount_t;

/*
 * Mounts dsname ("pool", "pool/fs" or "pool/fs@snap") on dir and serves it from background threads; returns when the kernel uses it.
 * opts: comma-separated FUSE options (allow_other, ro, ...), may be NULL. On an error nothing is mounted, and *why (a static text or
 * NULL) says more. on_end is called from a session thread when the mount ends by itself (umount(8), fusermount3 -u).
 */
int fuse_mount_start(dsl_pool_t *dp, const char *dsname, const char *dir, const char *opts, void (*on_end)(void *arg), void *arg,
                     fuse_mount_t **fmp, const char **why);
/* Unmounts (lazily when busy and force), ends the threads, releases every dataset. EBUSY: files are open and !force. */
int fuse_mount_stop(fuse_mount_t *fm, bool force);
/* What programs wrote and the kernel still keeps comes down to the pool (not yet to disk): before a snapshot. Not from a session thread. */
int fuse_mount_flush(fuse_mount_t *fm);
const char *fuse_mount_dir(fuse_mount_t *fm);
const char *fuse_mount_dataset(fuse_mount_t *fm);
/* Give up a dataset (and its snapshots) so that it can be destroyed or received into. EBUSY: open files, or it is the mount's root. 0
 * also when it was not in use. It is opened anew at the next lookup; the kernel's old nodes answer ESTALE. */
int fuse_mount_release(fuse_mount_t *fm, const char *dsname);
/*
 * The contents of a dataset are about to be exchanged (dsl_pool_set_suspend): suspend ends the requests inside, lets new ones wait and
 * disowns it; ENOENT: it is not open here. resume opens it again: files that are the same go on, others answer ESTALE; when it
 * returns the kernel knows. false: it was not suspended here. Neither is called from a session thread.
 */
int fuse_mount_suspend(fuse_mount_t *fm, const char *dsname);
bool fuse_mount_resume(fuse_mount_t *fm, const char *dsname);
/* from (a file system with all below it, or a snapshot) is called to now. Open files do not notice. fuse_mount_refresh() is to follow. */
void fuse_mount_renamed(fuse_mount_t *fm, const char *from, const char *to);
/* Datasets, snapshots or properties changed: drop the kernel's entries that are no longer true, re-read properties. */
void fuse_mount_refresh(fuse_mount_t *fm);

#endif
