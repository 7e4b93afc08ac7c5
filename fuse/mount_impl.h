/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mount_impl.h - inside the FUSE session: one mount, the file systems it shows, the nodes the kernel knows.
 *
 *   fuse_mount_t ─┬─ fm_fs: by name ──► mount_fs_t "tank"      number 0   ──► zpl_fs_t
 *                 │                 ──► mount_fs_t "tank/a"    number 17  ──► zpl_fs_t
 *                 │                 ──► mount_fs_t "tank@s"    number 33  ──► zpl_fs_t
 *                 └─ fm_stripes: by node id ──► node_t ──► its mount_fs_t, its znode_t (held)
 *
 * NODE IDS. (file system number << 48) | (incarnation << 40) | object number. The mounted dataset has number 0 and no file is object 1
 * (the master node), so FUSE_ROOT_ID is free to stand for its root directory. Two object numbers above all real ones stand for
 * ".zfs" and ".zfs/snapshot" of each file system. The incarnation is 0 but for objects that became other files by a rollback or
 * receive (suspend.c). st_ino is the node id without it, but for the mount's root, which shows its object number.
 *
 * THE LIFE OF A MOUNTED FILE SYSTEM
 *
 *               mf_hold              release, idle             drained
 *     (none) ──► OPENING ──► LIVE ───────────────► DRAINING ──────────► DEAD ── last node forgotten ──► freed
 *                             ▲                       │ suspend
 *                             └──── SUSPENDED ◄───────┘                  its dataset is somebody else's; requests wait
 *
 * INVARIANTS
 *  1. A request is inside a file system between node_enter() and node_leave() (or mf_hold() and mf_put()): mf_busy counts these.
 *     mf_zfs and n_zp stay valid that long; DRAINING waits for mf_busy to become 0, and then gives up every znode.
 *  2. A node is in its stripe exactly while the kernel has lookups of it (n_lookups) or a request is inside it (n_refs). Either
 *     keeps the znode held, and so an unlinked file's contents. There is one node per id.
 *  3. mf_refs = 1 while in fm_fs + 1 for each node. At 0 the number is free again and the memory is gone, so a node id that
 *     the kernel still knows never comes to mean another file system.
 *  4. No lock of ours is held over a call into the layers below or a message to the kernel, but for fm_admin_lock,
 *     which no session thread takes.
 *
 * LOCK ORDER   fm_admin_lock -> fm_lock -> mf_lock; a stripe's lock is taken with no other.
 */
#ifndef COWBIRD_MOUNT_IMPL_H
#define COWBIRD_MOUNT_IMPL_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <stdatomic.h>
#include "mount.h"

#define NODE_STRIPES   256
#define NODE_FS_SHIFT  48
#define NODE_FS_MAX    65536
#define NODE_OBJ_BITS  40
#define NODE_OBJ_MASK  ((1ULL << NODE_OBJ_BITS) - 1)
#define NODE_CTLDIR    NODE_OBJ_MASK       /* .zfs */
#define NODE_SNAPDIR   (NODE_OBJ_MASK - 1) /* .zfs/snapshot */
#define NODE_ID(mf, o) ((mf)->mf_num << NODE_FS_SHIFT | (o))
#define CACHE_FOREVER  (86400.0 * 365) /* seconds: only we change what is mounted, and we tell the kernel */
#define REQUEST_MAX    (1u << 20)      /* bytes of a read or write */
#define COOKIE_SPECIAL (1ULL << 61)    /* readdir: above all cookies of zpl_readdir */

typedef struct mount_fs mount_fs_t;
typedef struct node node_t;

/* A set of names below a file system (children, snapshots), in the order of their hashes, which serve as readdir cookies. */
typedef struct name_entry {
    uint64_t ne_hash;
    char *ne_name;
} name_entry_t;
typedef struct name_set {
    name_entry_t *ns_entries;
    size_t ns_count, ns_room;
} name_set_t;

typedef struct node_list {
    uint64_t *nl_ids;
    size_t nl_count, nl_room;
} node_list_t;

typedef enum mf_state { MF_OPENING, MF_LIVE, MF_DRAINING, MF_SUSPENDED, MF_DEAD } mf_state_t;

typedef struct parked parked_t; /* suspend.c: what the kernel knew of a file when its file system was suspended */
typedef struct moved {          /* an object whose node id is not its first one */
    uint64_t mv_object, mv_incarnation;
} moved_t;

struct mount_fs {
    fuse_mount_t *mf_mount;
    avl_node_t mf_link; /* fm_fs; fm_lock */
    char mf_name[ZFS_MAX_DATASET_NAME_LEN];
    bool mf_snapshot;
    uint64_t mf_num;
    uint64_t mf_rootobj;
    zpl_fs_t *mf_zfs;
    atomic_int mf_state;  /* mf_state_t; changed under fm_lock */
    atomic_ulong mf_refs; /* invariant 3 */
    atomic_ulong mf_busy; /* invariant 1 */
    parked_t *mf_parked;  /* while suspended */
    size_t mf_nparked;
    moved_t *mf_moved;    /* by object; changed while nobody is inside */
    size_t mf_nmoved;
    kmutex_t mf_lock;     /* all below */
    name_set_t mf_children;
    bool mf_snapdir_visible;
};

struct node {
    uint64_t n_id;
    node_t *n_next;   /* in its stripe; its lock, likewise all below */
    mount_fs_t *n_mf; /* constant, likewise n_id */
    znode_t *n_zp;    /* NULL: .zfs, .zfs/snapshot, or the file is no more. Readable without the lock while inside */
    uint64_t n_lookups;
    uint32_t n_refs;
};

typedef struct node_stripe {
    kmutex_t ns_lock;
    node_t **ns_buckets;
    size_t ns_size, ns_count;
} node_stripe_t;

struct fuse_mount {
    dsl_pool_t *fm_pool;
    char *fm_dsname, *fm_dir;
    name_set_t fm_dsnames; /* all that fm_dsname ever was: it points into the last one; fm_admin_lock */
    bool fm_rdonly;
    time_t fm_started;
    dev_t fm_dev; /* of the mounted tree; 0: not known */
    struct fuse_session *fm_se;
    mount_fs_t *fm_root;
    void (*fm_on_end)(void *arg);
    void *fm_arg;
    kmutex_t fm_admin_lock; /* one release or refresh at a time */
    kmutex_t fm_lock;       /* all below */
    kcondvar_t fm_cv;       /* a state changed, a drain ended, a thread ended */
    avl_tree_t fm_fs;       /* mount_fs_t by name */
    uint64_t fm_numbers[NODE_FS_MAX / 64];
    uint32_t fm_threads, fm_serving, fm_waits; /* session.c */
    list_t fm_running;
    bool fm_stopping;
    uint32_t fm_wanted, fm_parked; /* session.c: how many should be at work; those waiting for work */
    atomic_uint fm_working;        /* changed under fm_lock */
    kcondvar_t fm_work_cv, fm_watch_cv;
    atomic_bool fm_watch_asleep;
    node_stripe_t fm_stripes[NODE_STRIPES];
};

/* ---- session.c: the threads ---- */
/* On the thread's stack; in fm_running while it serves, so that it can be woken. */
typedef struct session_thread {
    pthread_t st_self;
    atomic_bool st_working;  /* changed under fm_lock */
    atomic_ulong st_request; /* odd while one is answered; written by the thread */
    uint64_t st_seen;        /* at the last tick; fm_lock */
    list_node_t st_link;
} session_thread_t;
#define SESSION_THREAD_LINK offsetof(session_thread_t, st_link)
/* Answers the kernel's first message in the calling thread, then starts the others. */
int session_start(fuse_mount_t *fm);
/* Waits until all threads ended, at most ms (0: no limit); false when some still run. */
bool session_join(fuse_mount_t *fm, uint64_t ms);
void session_end(fuse_mount_t *fm); /* tells the threads to end, wakes and joins them */
/* Around what makes the kernel send requests, in a session thread. */
void session_wait_begin(fuse_mount_t *fm);
void session_wait_end(fuse_mount_t *fm);
/* REQUEST_MAX bytes of the calling session thread's own. */
char *session_buffer(void);

/* ---- mountfs.c: file systems ---- */
/* Opens it when needed; the caller is inside until mf_put(). Errors of zpl_fs_mount; ENOENT */
int mf_hold(fuse_mount_t *fm, const char *dsname, mount_fs_t **mfp);
void mf_put(mount_fs_t *mf);
mount_fs_t *mf_hold_open(fuse_mount_t *fm, const char *dsname); /* only if it is open: else NULL */
int mf_enter(mount_fs_t *mf);                                   /* of a node that is held: ESTALE */
void mf_exit(mount_fs_t *mf);
void mf_ref(mount_fs_t *mf);
/* One node less. Without nodes and requests a file system (not the mount's root) is closed. */
void mf_unref(mount_fs_t *mf);
/* Closes it if it is open. *dead (may be NULL) gets the nodes that the kernel still knows. */
void mf_give_up(fuse_mount_t *fm, const char *dsname, node_list_t *dead);
/* Re-reads what it caches of properties and names; *changed gets the names that came or went (empty set given). */
void mf_reload(mount_fs_t *mf, name_set_t *changed);
/* Calls fn(mf, arg) for each file system open now, with the caller inside it. */
void mf_for_each(fuse_mount_t *fm, void (*fn)(mount_fs_t *mf, void *arg), void *arg);
bool mf_is_child(mount_fs_t *mf, const char *name); /* a child dataset's name? */
bool mf_snapdir_visible(mount_fs_t *mf);

/* ---- names.c ---- */
void names_add(name_set_t *ns, const char *name);
void names_sort(name_set_t *ns); /* after the last names_add */
bool names_contain(const name_set_t *ns, const char *name);
void names_free(name_set_t *ns);
void names_diff(const name_set_t *a, const name_set_t *b, name_set_t *out); /* in one of both */

/* ---- nodes.c ---- */
void nodes_init(fuse_mount_t *fm);
void nodes_fini(fuse_mount_t *fm); /* forgets whatever the kernel did not */
/* The request for this node begins: ESTALE when it or its file system is gone. */
int node_enter(fuse_mount_t *fm, fuse_ino_t ino, node_t **np);
void node_leave(node_t *n);
/* A second node of the request: EXDEV when its file system is another one. */
int node_enter_second(node_t *first, fuse_ino_t ino, node_t **np);
void node_leave_second(node_t *n);
/* The kernel is about to learn of this object once more; the hold on zp (NULL: a control directory) becomes the node's. The caller
 * is inside mf. */
void node_remember(mount_fs_t *mf, uint64_t object, znode_t *zp);
void node_forget(fuse_mount_t *fm, fuse_ino_t ino, uint64_t lookups);
/* Releases every znode of a drained file system; its nodes stay until forgotten. */
void nodes_give_up(mount_fs_t *mf);
/* The same, but calls fn(arg, node id, znode) instead, which takes over the hold. */
void nodes_take(mount_fs_t *mf, void (*fn)(void *arg, uint64_t id, znode_t *zp), void *arg);
/* A file again for a node of a drained file system; takes over the hold. */
void node_set_znode(mount_fs_t *mf, uint64_t id, znode_t *zp);
void nodes_list(mount_fs_t *mf,
                node_list_t *list); /* adds the ids of all its nodes; nl_ids is freed by the caller */
uint64_t node_id(mount_fs_t *mf, uint64_t object); /* FUSE_ROOT_ID for the mount's root */

static inline uint64_t
node_object(const node_t *n)
{
    return n->n_id == FUSE_ROOT_ID ? n->n_mf->mf_rootobj : n->n_id & NODE_OBJ_MASK;
}

static inline bool
node_is_ctl(const node_t *n)
{
    return (n->n_id & NODE_OBJ_MASK) >= NODE_SNAPDIR;
}

static inline bool
node_is_root(const node_t *n)
{
    return node_object(n) == n->n_mf->mf_rootobj;
}

/* ---- mountfs.c, for suspend.c and renamed.c ---- */
/* LIVE -> DRAINING, and nobody is inside. NULL: it is not open. */
mount_fs_t *mf_begin_drain(fuse_mount_t *fm, const char *dsname);
void mf_wait_idle(mount_fs_t *mf); /* DRAINING: whoever came in again (forgets) has left */
void mf_set_state(mount_fs_t *mf, mf_state_t state);
mount_fs_t *mf_suspended(fuse_mount_t *fm, const char *dsname); /* NULL: it is not */
void mf_set_name(mount_fs_t *mf, const char *name);             /* DRAINING */
void mf_end(mount_fs_t *mf); /* DRAINING or SUSPENDED, mf_zfs closed -> DEAD */

/* ---- invalidate.c ---- */
void inval_inode(fuse_mount_t *fm, uint64_t ino);
void inval_entry(fuse_mount_t *fm, uint64_t parent, const char *name);
/* The entry under which a dataset is seen in this mount, and these nodes of it. */
void inval_dataset(fuse_mount_t *fm, const char *dsname, node_list_t *dead);

/* ---- inuse.c ---- */
/* Does any process have a file of this file system open or mapped? */
bool mf_in_use(mount_fs_t *mf);

/* ---- fuse_ops.c ---- */
extern const struct fuse_lowlevel_ops fuse_ops;
static inline fuse_mount_t *
req_mount(fuse_req_t req)
{
    return fuse_req_userdata(req);
}
void reply_err(fuse_req_t req, int err); /* damage is EIO for programs, whatever it is called inside */
void stat_to_mount(mount_fs_t *mf, struct stat *st); /* object numbers become this mount's */
/* Fills *e for the kernel and remembers the node; takes the hold on zp, also on errors. The caller is inside mf. */
int entry_fill(mount_fs_t *mf, znode_t *zp, struct fuse_entry_param *e);
/* Any name, also "..", children and .zfs. */
int entry_lookup(node_t *dn, const char *name, struct fuse_entry_param *e);
void entry_reply(fuse_req_t req, const struct fuse_entry_param *e);
/* node_enter for requests that need a file or directory of a file system: EPERM for control directories. */
int file_enter(fuse_req_t req, fuse_ino_t ino, node_t **np);

/* ---- fuse_dir.c ---- */
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent, const char *newname,
               unsigned flags);

/* ---- fuse_readdir.c ---- */
typedef struct dirbuf dirbuf_t;
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
/* A directory that is not in the file system itself: shown without attributes. false: full. */
bool dirbuf_add_special(dirbuf_t *db, const char *name, uint64_t ino, uint64_t next);
/* Names of a set whose cookie is above *cookie. */
void dirbuf_add_names(dirbuf_t *db, const name_set_t *ns, uint64_t cookie, uint64_t ino);

/* ---- fuse_file.c ---- */
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *bufv, off_t off,
                  struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);

/* ---- fuse_xattr.c ---- */
void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags);
void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

/* ---- ctldir.c ---- */
/* A name that a file system's root shows beside its own entries. ENOENT: none of these. */
int ctl_root_lookup(node_t *dn, const char *name, struct fuse_entry_param *e);
bool ctl_name_taken(node_t *dn, const char *name); /* a child dataset or .zfs, in a root directory? */
int ctl_lookup(node_t *dn, const char *name, struct fuse_entry_param *e); /* inside .zfs */
int ctl_parent(mount_fs_t *mf, struct fuse_entry_param *e);               /* ".." of a root directory */
void ctl_getattr(node_t *n, struct stat *st);
int ctl_readdir(node_t *dn, dirbuf_t *db, uint64_t cookie);
void ctl_root_readdir(node_t *dn, dirbuf_t *db, uint64_t cookie); /* after the root's own entries */

#endif
