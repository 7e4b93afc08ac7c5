/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_impl.h - inside the file system layer: one mounted file system and its files in use.
 *
 *   zpl_fs_t ── zf_hash: object number -> znode_t ──► z_at      the attributes, decoded        (z_attr_lock)
 *                                                 ├─► z_bonus   the same on their way to disk  (z_lock)
 *                                                 └─► z_rl      who reads and writes which bytes
 *
 * INVARIANTS
 *  1. z_at and the attributes on disk (as of the open txg) are equal whenever z_lock is not held for
 *     writing; only z_at's atime may be newer.
 *  2. Entries, attributes and contents of an object change under its z_lock, held for writing over the
 *     whole transaction. (What is inside a hidden xattr directory: under the z_lock of the file it belongs
 *     to.)
 *  3. A znode is in the hash exactly while it has references (or is being loaded). There is one per object.
 *  4. links == 0 <=> the object is on the unlinked set. It is freed by whoever drops the last reference, or
 *     by the next mount.
 *  5. size <= block size, or the block size is a power of two.
 *
 * LOCK ORDER
 *     range lock -> zf_rename_lock -> z_lock of directories, ancestors first, unrelated ones by object number
 *                -> z_lock of other files by object number -> [dmu_tx_assign(WAIT) .. dmu_tx_commit]
 *                -> z_attr_lock, hash locks, everything in dmu
 *
 * WHY dmu_tx_assign MAY WAIT WITH LOCKS HELD. It waits for the syncing thread, which takes none of our
 * locks, and for other transactions to commit (txg.c). A thread with an assigned transaction takes only
 * locks to the right of the bracket, which nobody holds while waiting; so it commits. (ZFS takes some of
 * its locks inside the transaction, and must then assign without waiting, drop everything and retry.) For
 * the same reason no znode is released inside a transaction: the last release may start one.
 *
 * ATTRIBUTES are reached through zpl_attr.c alone, by name (ZA_*): where they lie on disk, znode or SA, is
 * the business of a zpl_attr_ops_t.
 *
 * ZFS: zfs_znode.h, zfs_vfsops.h. ZFS decodes into the inode and the znode; its znode cache is the kernel's
 * inode cache.
 */
#ifndef COWBIRD_ZPL_IMPL_H
#define COWBIRD_ZPL_IMPL_H

#include "zpl.h"
#include "zpl_format.h"

/* ---- attributes ---- */
#define ZA_ATIME  (1u << 0)
#define ZA_MTIME  (1u << 1)
#define ZA_CTIME  (1u << 2)
#define ZA_CRTIME (1u << 3)
#define ZA_GEN    (1u << 4)
#define ZA_MODE   (1u << 5) /* on the way to disk the ACL follows the mode */
#define ZA_SIZE   (1u << 6)
#define ZA_PARENT (1u << 7)
#define ZA_LINKS  (1u << 8)
#define ZA_XATTR  (1u << 9)
#define ZA_RDEV   (1u << 10)
#define ZA_FLAGS  (1u << 11)
#define ZA_UID    (1u << 12)
#define ZA_GID    (1u << 13)
#define ZA_ALL    ((1u << 14) - 1)

typedef struct zpl_attrs {
    struct timespec za_atime, za_mtime, za_ctime, za_crtime;
    uint64_t za_gen, za_size, za_parent, za_links, za_xattr, za_rdev, za_flags, za_uid, za_gid;
    uint32_t za_mode;
} zpl_attrs_t;

typedef struct zpl_sa zpl_sa_t; /* registry and layouts of a version 5 file system: zpl_sa.c */

/* What is needed to read an object's attributes: an object set and its version. */
typedef struct zpl_attr_ctx {
    objset_t *ac_os;
    uint64_t ac_version;
    zpl_sa_t *ac_sa; /* version 5 only */
    const struct zpl_attr_ops *ac_new; /* how new objects are kept */
    uint64_t ac_when; /* of a volume: its dataset's creation */
} zpl_attr_ctx_t;

typedef struct zpl_newnode {
    uint32_t nn_mode; /* with type bits */
    uint64_t nn_uid, nn_gid, nn_parent, nn_rdev;
    uint64_t nn_norm;    /* of a directory's ZAP */
    uint64_t nn_flags;   /* beside the usual ones */
    const void *nn_data; /* a symlink's text, or a file's first and only block */
    size_t nn_len;
} zpl_newnode_t;

/* One way to keep attributes in an object. */
typedef struct zpl_attr_ops {
    uint8_t ao_bonustype; /* of a new object; and its bonus length, which ao_init may change */
    uint16_t ao_bonuslen;
    /* EIO: not a file of this form. */
    int (*ao_load)(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, zpl_attrs_t *at);
    /* What a store of mask needs in tx: ZA_MODE and ZA_XATTR when they change, the others always may. z_lock held. */
    void (*ao_hold)(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, unsigned mask, dmu_tx_t *tx);
    /* Writes the attributes in mask; with ZA_MODE the ACL is made anew. */
    void (*ao_store)(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, const zpl_attrs_t *at, unsigned mask,
                     dmu_tx_t *tx);
    /* A new object: what its attributes need in tx, and their first store. Does the symlink's text lie with them? */
    void (*ao_hold_new)(const zpl_attr_ctx_t *ac, const zpl_newnode_t *nn, dmu_tx_t *tx);
    void (*ao_init)(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, const zpl_newnode_t *nn, const zpl_attrs_t *at,
                    dmu_tx_t *tx);
    bool (*ao_holds_text)(const zpl_newnode_t *nn);
    /* A symlink's text: at most n bytes of it. *len its whole length. */
    int (*ao_symlink)(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, const zpl_attrs_t *at, char *buf, size_t n,
                      size_t *len);
} zpl_attr_ops_t;
extern const zpl_attr_ops_t zpl_znode_ops; /* zpl_attr_znode.c */
extern const zpl_attr_ops_t zpl_sa_ops;    /* zpl_attr_sa.c */
extern const zpl_attr_ops_t zpl_volume_ops; /* zpl_volume.c */

/* ---- range locks ---- */
typedef struct zpl_range {
    list_node_t r_node;
    uint64_t r_off, r_end;
    bool r_write;
} zpl_range_t;
typedef struct zpl_rlock {
    kmutex_t rl_lock;
    kcondvar_t rl_cv;
    list_t rl_list; /* in order of arrival; granted when nothing earlier is in the way */
    uint32_t rl_waiters;
} zpl_rlock_t;

/* ---- znodes ---- */
typedef enum znode_state {
    ZS_LOADING, /* its first holder reads it; others wait */
    ZS_READY,
    ZS_FAILED, /* could not be read: unhashed, kept for those who waited */
    ZS_DYING   /* unlinked, and the last holder frees it: nobody can hold it any more */
} znode_state_t;

struct znode {
    zpl_fs_t *z_zfs;
    uint64_t z_object;
    struct znode *z_hash_next; /* its stripe's lock, likewise the next three */
    uint32_t z_refs;
    znode_state_t z_state;
    int z_error;        /* ZS_FAILED: why */
    uint32_t z_type;    /* S_IFMT bits; never change */
    dmu_buf_t *z_bonus; /* z_lock */
    const zpl_attr_ops_t *z_aops; /* never changes: a file made before the file system became version 5 stays as it was */
    krwlock_t z_lock;
    zpl_rlock_t z_rl;
    kmutex_t z_attr_lock; /* all below */
    zpl_attrs_t z_at;
    bool z_atime_dirty; /* atime is newer than on disk */
    bool z_multi;       /* more than one block: the block size is settled */
    uint32_t z_blksz;
    uint64_t z_txg; /* of the last change, for fsync */
};

/* ---- file systems ---- */
#define ZPL_HASH_SIZE    4096
#define ZPL_HASH_STRIPES 64
typedef struct zpl_stripe {
    kmutex_t zs_lock;
    kcondvar_t zs_cv; /* a znode left ZS_LOADING, or the hash */
} zpl_stripe_t;

typedef enum zpl_xattr { ZPL_XATTR_OFF, ZPL_XATTR_DIR, ZPL_XATTR_SA } zpl_xattr_t; /* the property's numbers */
typedef enum zpl_atime { ZPL_ATIME_OFF, ZPL_ATIME_ON, ZPL_ATIME_RELATIVE } zpl_atime_t;

struct zpl_fs {
    objset_t *zf_os;
    dsl_pool_t *zf_pool; /* NULL: a bare object set, likewise zf_ds */
    dsl_dataset_t *zf_ds;
    bool zf_snapshot;
    bool zf_fixed_rdonly; /* asked for, a snapshot, or of a version we only read */
    char zf_name[ZFS_MAX_DATASET_NAME_LEN];
    zpl_attr_ctx_t zf_ac;
    uint64_t zf_root, zf_unlinkedobj, zf_norm, zf_case;
    bool zf_utf8;
    bool zf_readonly; /* atomic, likewise the next three: properties */
    int zf_atime, zf_xattr;
    uint32_t zf_recordsize;
    kmutex_t zf_rename_lock; /* moves between directories: the tree's shape stands still */
    zpl_stripe_t zf_stripes[ZPL_HASH_STRIPES];
    znode_t *zf_hash[ZPL_HASH_SIZE];
};

/* ---- zpl_names.c, zpl_path.c ---- */
typedef struct zpl_names zpl_names_t;
zpl_names_t *zpl_names_alloc(void);
void zpl_names_free(zpl_names_t *zn);
/* A name of object in dir, valid until the next call. ENOENT */
int zpl_names_find(zpl_names_t *zn, objset_t *os, uint64_t dir, uint64_t object, const char **name);
/* As zpl_object_path, of a file system that is open already. names may be NULL. */
int zpl_path_of(const zpl_attr_ctx_t *ac, uint64_t root, zpl_names_t *names, uint64_t object, char *path, size_t n);

/* ---- zpl_fs.c ---- */
/* A file system on a bare object set (tests; zpl_fs_mount). The object set stays the caller's. */
int zpl_fs_open_objset(objset_t *os, int flags, zpl_fs_t **zfsp);
void zpl_fs_close_objset(zpl_fs_t *zfs);
int zpl_check_writable(zpl_fs_t *zfs); /* EROFS */
/* Assign with waiting; on an error the tx is gone. */
int zpl_tx_assign(dmu_tx_t *tx);
int zpl_attr_ctx_init(objset_t *os, zpl_attr_ctx_t *ac); /* reads the version, and for 5 the SA tables */
void zpl_attr_ctx_fini(zpl_attr_ctx_t *ac);

/* ---- zpl_attr.c ---- */
const zpl_attr_ops_t *zpl_attr_backend(const zpl_attr_ctx_t *ac, uint8_t bonustype);
/* The attributes of any object, uncached. ENOENT no such object; EIO not a file or nonsense. */
int zpl_attr_read(const zpl_attr_ctx_t *ac, uint64_t object, zpl_attrs_t *at);
int zpl_attr_load(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, zpl_attrs_t *at,
                  dmu_object_info_t *doi); /* likewise, held */
/* Likewise, of a hidden object: what zpl_hold_attrs and zpl_attrs_set are for a znode. */
void zpl_attr_hold(const zpl_attr_ctx_t *ac, uint64_t object, dmu_tx_t *tx);
void zpl_now(struct timespec *ts);
void zpl_attrs_get(znode_t *zp, zpl_attrs_t *at); /* a copy */
uint64_t zpl_size(znode_t *zp);
/* z_at becomes *at where mask says so, and goes to disk. z_lock held for writing, tx holds the bonus. */
void zpl_attrs_set(znode_t *zp, const zpl_attrs_t *at, unsigned mask, dmu_tx_t *tx);
void zpl_hold_attrs(znode_t *zp, unsigned mask, dmu_tx_t *tx);
/* What zpl_setattr does between assign and commit. */
unsigned zpl_setattr_mask(int mask); /* and what it needs */
void zpl_setattr_apply(znode_t *zp, int mask, const struct stat *st, dmu_tx_t *tx);
void zpl_touch_atime(znode_t *zp);
void zpl_flush_atime(znode_t *zp);
dev_t zpl_rdev_decode(uint64_t version, uint64_t rdev);
uint64_t zpl_rdev_encode(uint64_t version, dev_t dev);

/* ---- zpl_acl.c ---- */
void zpl_acl_trivial(zfs_acl_phys_t *acl, uint32_t mode);
uint64_t zpl_acl_flags(uint32_t mode); /* the flags that go with it */

/* ---- zpl_create.c ---- */
/* A new object with attributes; for a directory an empty ZAP. parent 0: itself. */
void zpl_hold_mknode(const zpl_attr_ctx_t *ac, const zpl_newnode_t *nn, dmu_tx_t *tx);
int zpl_mknode(const zpl_attr_ctx_t *ac, const zpl_newnode_t *nn, dmu_tx_t *tx, uint64_t *objectp);

/* ---- zpl_znode.c ---- */
/* Like zpl_znode_hold, also for what is unlinked or hidden. */
int zpl_hold_any(zpl_fs_t *zfs, uint64_t object, znode_t **zpp);
void zpl_unhash(znode_t *zp); /* ZS_DYING: its number may be used again after */
void zpl_znode_free(znode_t *zp);
bool zpl_is_unlinked(znode_t *zp);

/* ---- zpl_rlock.c ---- */
void zpl_rlock_init(zpl_rlock_t *rl);
void zpl_rlock_fini(zpl_rlock_t *rl);
void zpl_range_enter(zpl_rlock_t *rl, zpl_range_t *r, uint64_t off, uint64_t len,
                     bool write); /* len ~0: to the end */
void zpl_range_exit(zpl_rlock_t *rl, zpl_range_t *r);

/* ---- zpl_file.c ---- */
/* Set the size, and what else mask names, in one transaction. (Cutting off more than 1 GiB frees blocks before.) */
int zpl_truncate(znode_t *zp, int mask, const struct stat *st);

/* ---- zpl_dir.c ---- */
int zpl_name_check(zpl_fs_t *zfs, const char *name);
/* The directory is one, and still has a name. ENOTDIR ENOENT; z_lock held */
int zpl_dir_check(znode_t *dzp);
/* The entry's value; z_lock held. ENOENT; EIO for nonsense */
int zpl_dirent_get(znode_t *dzp, const char *name, uint64_t *de);
/* The file an entry names; EIO when there is none. */
int zpl_dirent_hold(znode_t *dzp, uint64_t de, znode_t **zpp);
/* The same for one to be locked after dzp: a directory that says its parent is another is EIO, it may be above. */
int zpl_child_hold(znode_t *dzp, uint64_t de, znode_t **zpp);
uint64_t zpl_dirent_make(znode_t *zp);
/* What adding and removing entries does to the directory's attributes. */
void zpl_dir_changed(znode_t *dzp, int64_t entries, int64_t subdirs, dmu_tx_t *tx);
/* n more names, another parent (0: as is), ctime. */
void zpl_node_linked(znode_t *zp, int64_t links, uint64_t parent, dmu_tx_t *tx);

/* ---- zpl_unlink.c ---- */
int zpl_dir_is_empty(znode_t *zp); /* ENOTEMPTY, EIO; z_lock held */
/* Taking one name from zp (a directory: its only one): before assign, and in the tx. z_lock held. */
void zpl_unlink_hold(znode_t *zp, dmu_tx_t *tx);
int zpl_unlink_apply(znode_t *zp, dmu_tx_t *tx);

/* ---- zpl_unlinked.c ---- */
void zpl_unlinked_drain(zpl_fs_t *zfs);
/* Free an unlinked object with all it owns; the caller has the last reference; zp is gone after. */
void zpl_reap(znode_t *zp);

/* ---- zpl_xattr_sa.c ---- z_lock held ---- */
bool zpl_xattr_sa_able(znode_t *zp); /* can it have attributes in this form? */
int zpl_xattr_sa_list(znode_t *zp, nvlist_t **nvl); /* NULL when there are none */
/* The name it is stored under, and its value; NULL: not there. nvl may be NULL. */
const char *zpl_xattr_sa_find(const nvlist_t *nvl, const char *name, const uint8_t **value, uint32_t *n);
/* value NULL: remove. EFBIG: too long for this form. */
int zpl_xattr_sa_set(znode_t *zp, const char *name, const void *value, size_t n);

/* ---- zpl_xattr.c ---- */
const char *zpl_xattr_bare(const char *name); /* without "user."; NULL when it has none */
void zpl_xattr_changed(znode_t *zp, uint64_t xdir, dmu_tx_t *tx);
/* Frees the contents of an xattr directory, a few entries per transaction. */
int zpl_xattr_purge(zpl_fs_t *zfs, uint64_t xdir);

/* ---- zpl_volume.c ---- */
bool zpl_is_volume(const zpl_attr_ctx_t *ac);
/* Writes and holes end at the end: ENOSPC, *len shortened. Of any other file: as it is. */
int zpl_volume_limit(znode_t *zp, uint64_t off, uint64_t *len);
/* What setattr may do to a volume: EPERM, EINVAL; *mask loses what is ignored. */
int zpl_volume_setattr(znode_t *zp, int *mask, const struct stat *st);

/* ---- zpl_sa.c ---- */
int zpl_sa_open(objset_t *os, zpl_sa_t **sap);
void zpl_sa_close(zpl_sa_t *sa);

/* ---- zpl_attr_sa.c ---- */
/* The SA form of xattrs: the packed list, malloced; *buf NULL when there is none. */
int zpl_sa_dxattr(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, void **buf, size_t *len);
/* A new list (len 0: none any more). EFBIG: too long for this form. The store needs the same list as the hold. */
int zpl_sa_dxattr_hold(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, const void *buf, size_t len, dmu_tx_t *tx);
void zpl_sa_dxattr_store(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, const void *buf, size_t len, dmu_tx_t *tx);

/* ---- zpl_check.c: is a whole file system consistent? ---- */
typedef struct zpl_check {
    uint64_t zc_files, zc_dirs, zc_unlinked, zc_problems;
    void (*zc_report)(void *arg, const char *line); /* may be NULL */
    void *zc_arg;
} zpl_check_t;
/* Walks everything: 0 and zc_problems, or the error that stopped it. Nothing may change meanwhile. */
int zpl_check_objset(objset_t *os, zpl_check_t *zc);
/* ---- zpl_check_sa.c: of one object of version 5; of the layouts. What is wrong, or NULL ---- */
const char *zpl_check_sa(const zpl_attr_ctx_t *ac, uint64_t object, const zpl_attrs_t *at);
const char *zpl_check_sa_tables(const zpl_attr_ctx_t *ac, unsigned *layout);

#endif
