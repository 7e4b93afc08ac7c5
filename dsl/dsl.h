/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dsl.h - the contract of the dataset layer: a pool of named file systems, their snapshots and clones, and the streams between pools.
 *
 *   dsl_pool_open("disk")                                  dmu_send() / dmu_recv_begin(), _stream(), _end()
 *        |                                                        |
 *   +----v---------------------------------------------------------v---+
 *   | dsl_dir (a name, space)  dsl_dataset (a state of a file system)   |   every administrative change is a
 *   | snapshots: states kept; clones: heads that start from one         |   sync task: check, then sync
 *   | deadlists: blocks a head gave up that a snapshot still needs      |
 *   +----+--------------------------------------------------------------+
 *        | dsl_dataset_objset()
 *   -----v----------------------------------------------------------------- dmu.h
 *
 * Names are "pool/fs/...", "pool/fs@snap". Calls take whole names and return 0 or an errno; the texts for people are tools/'s.
 *
 * THE CONFIG LOCK (dp_config_lock). Open context takes it for reading while it resolves names or follows MOS objects; the
 * syncing thread takes it for writing while it runs sync tasks. Nobody waits for a txg (dsl_sync_task, txg_wait_synced,
 * dmu_tx_assign with WAIT) while holding it. A hold on a dataset keeps its memory; an *owner* (mount, receive) keeps it from being
 * destroyed, rolled back or received into; a *long hold* (send) keeps it from being destroyed.
 * Calls below take and drop the lock themselves unless they say "config lock held".
 */
#ifndef COWBIRD_DSL_H
#define COWBIRD_DSL_H

#include "dmu.h"
#include "dsl_format.h"
#include "zap.h"

typedef struct dsl_pool dsl_pool_t;
typedef struct dsl_dir dsl_dir_t;
typedef struct dsl_dataset dsl_dataset_t;

/* ---------------------------------------------------------------- pool.c: life cycle ---- */

typedef struct dsl_pool_create_args {
    const char *pca_name;
    const char *pca_path;  /* absolute, for the label */
    uint64_t pca_ashift;   /* 0: 12 */
    bool pca_compat;       /* compatibility=openzfs: Fletcher-4 instead of XXH3-128 */
    const nvlist_t *pca_fsprops; /* of the root file system, name -> string; may be NULL */
    /* Called once for every new ZPL objset to fill it in (fuse/zpl_create.c): DSL knows no file systems. */
} dsl_pool_create_args_t;

/*
 * New file systems need their first objects (master node, root directory), which this layer knows nothing of: whoever
 * sits above hands down how to make them, once, before any create. Called in syncing context with an empty objset of type ZFS.
 */
typedef void (*dsl_objset_init_t)(objset_t *os, const nvlist_t *props, dmu_tx_t *tx);
void dsl_set_objset_init(dsl_objset_init_t fn);

/* Create and open: the pool owns the disk from success on; after an error it is still the caller's, open. EINVAL a bad name. */
int dsl_pool_create(const disk_t *disk, const dsl_pool_create_args_t *args, dsl_pool_t **dpp);
#define DSL_POOL_RDONLY 1
/* ENOENT no label; ENOTSUP an active feature or version we do not have (read-only may still work; the log says which); EIO; ECKSUM */
int dsl_pool_open(const disk_t *disk, int flags, dsl_pool_t **dpp);
/* Syncs all, drains deferred frees, closes. Returns the error that suspended the pool, if any; it is closed anyway. */
int dsl_pool_close(dsl_pool_t *dp);
/* The same, and the labels say "exported". EBUSY: something is owned. Closed only on success or a pool error. */
int dsl_pool_export(dsl_pool_t *dp);
/* The same, and the labels say "destroyed". */
int dsl_pool_destroy(dsl_pool_t *dp);
spa_t *dsl_pool_spa(dsl_pool_t *dp);
objset_t *dsl_pool_mos(dsl_pool_t *dp);
txg_state_t *dsl_pool_txg(dsl_pool_t *dp);
const char *dsl_pool_name(dsl_pool_t *dp);
bool dsl_pool_readonly(dsl_pool_t *dp);
int dsl_pool_rename(dsl_pool_t *dp, const char *newname); /* import under another name */
/* Free space for whoever asks without quota: bytes usable by datasets, and used by them. Slop (1/32, 128 MiB at least
 * on large, an eighth at most on small pools) is left out. */
void dsl_pool_space(dsl_pool_t *dp, uint64_t *avail, uint64_t *used);
/* Bytes of destroyed datasets that are still to be freed; and what damage has kept from ever being freed. */
void dsl_pool_freeing(dsl_pool_t *dp, uint64_t *freeing, uint64_t *leaked);
bool dsl_pool_is_compat(dsl_pool_t *dp);
bool dsl_feature_active(dsl_pool_t *dp, const char *guid);
/* The features known here, one a call (cursor starts at 0; NULL ends): its name without the organisation, and "disabled", "enabled", "active". */
const char *dsl_feature_next(dsl_pool_t *dp, size_t *cursor, const char **state);

/* ---------------------------------------------------------------- synctask.c ---- */

typedef int (*dsl_checkfunc_t)(void *arg, dmu_tx_t *tx);
typedef void (*dsl_syncfunc_t)(void *arg, dmu_tx_t *tx);
typedef enum dsl_space_check {
    DSL_SPACE_NORMAL,   /* ENOSPC when the pool is full */
    DSL_SPACE_RESERVED, /* may use half the slop: destroys and other relief */
    DSL_SPACE_NONE
} dsl_space_check_t;
/*
 * The only way to make an administrative change. check: in open context, then again in syncing context, config lock held
 * (read, then write); it must change nothing. sync: in syncing context, config lock held for writing; it cannot fail. Returns check's error, or 0
 * when the change is on disk. blocks: a rough number of MOS blocks it will write.
 */
int dsl_sync_task(dsl_pool_t *dp, dsl_checkfunc_t check, dsl_syncfunc_t sync, void *arg, int blocks, dsl_space_check_t space);
/* From the syncing thread, or fire-and-forget from open context: no check, not waited for. */
void dsl_sync_task_nowait(dsl_pool_t *dp, dsl_syncfunc_t sync, void *arg, uint64_t txg);

/* ---------------------------------------------------------------- dir.c, dataset.c: holds ---- */

/* ENOENT, ENAMETOOLONG, EINVAL a bad name. tag: for leak messages. */
int dsl_dataset_hold(dsl_pool_t *dp, const char *name, const void *tag, dsl_dataset_t **dsp);
int dsl_dataset_hold_obj(dsl_pool_t *dp, uint64_t dsobj, const void *tag, dsl_dataset_t **dsp);
void dsl_dataset_rele(dsl_dataset_t *ds, const void *tag);
/* A hold that excludes other owners and destruction. EBUSY. An inconsistent one (being received): EBUSY unless inconsistent_ok. */
int dsl_dataset_own(dsl_pool_t *dp, const char *name, bool inconsistent_ok, const void *tag, dsl_dataset_t **dsp);
void dsl_dataset_disown(dsl_dataset_t *ds, const void *tag);
void dsl_dataset_long_hold(dsl_dataset_t *ds, const void *tag);
void dsl_dataset_long_rele(dsl_dataset_t *ds, const void *tag);
bool dsl_dataset_long_held(dsl_dataset_t *ds);
/* Its objset, opened at the first call and kept while the dataset is in memory. Snapshots' are read-only. */
int dsl_dataset_objset(dsl_dataset_t *ds, objset_t **osp);
/* cb(arg, objset) for one who neither owns nor long-holds ds: nothing closes the objset meanwhile (the config lock is held: cb must
 * not take it, nor wait for a txg). EBUSY: it is being received. Else cb's answer. */
int dsl_dataset_with_objset(dsl_dataset_t *ds, int (*cb)(void *arg, objset_t *os), void *arg);
void dsl_dataset_name(dsl_dataset_t *ds, char *name); /* ZFS_MAX_DATASET_NAME_LEN bytes; config lock NOT needed */
dsl_pool_t *dsl_dataset_pool(dsl_dataset_t *ds);
uint64_t dsl_dataset_obj(dsl_dataset_t *ds);
bool dsl_dataset_is_snapshot(dsl_dataset_t *ds);
void dsl_dataset_phys(dsl_dataset_t *ds, dsl_dataset_phys_t *copy); /* as of now */
/* Anything written since its latest snapshot? */
bool dsl_dataset_modified_since_snap(dsl_dataset_t *ds);

/* Everything list and get show, taken at one moment. Bytes. */
typedef struct dsl_stats {
    char dst_name[ZFS_MAX_DATASET_NAME_LEN];
    char dst_origin[ZFS_MAX_DATASET_NAME_LEN]; /* empty: none */
    bool dst_snapshot, dst_inconsistent;
    bool dst_partial; /* perhaps it has a resume token */
    bool dst_redacted; /* incomplete: what was left out reads as zeros */
    bool dst_bookmark; /* only name, guid, creation and createtxg have a meaning */
    uint64_t dst_dsobj;
    dmu_objset_type_t dst_type;
    uint64_t dst_guid, dst_creation, dst_createtxg;
    uint64_t dst_used, dst_avail, dst_referenced, dst_lreferenced, dst_unique;
    uint64_t dst_usedby[DD_USED_NUM];
    uint64_t dst_usedbychildren; /* with what is reserved for them */
    uint64_t dst_logicalused, dst_written;
    uint64_t dst_compressratio, dst_refcompressratio; /* in 1/100 */
    uint64_t dst_quota, dst_reserved;
    uint64_t dst_numclones, dst_objects;
    uint64_t dst_userrefs;  /* holds */
    bool dst_defer_destroy;
} dsl_stats_t;
int dsl_dataset_stats(dsl_pool_t *dp, const char *name, dsl_stats_t *st); /* a bookmark's too */

/* Walk by name; hidden names ($ORIGIN, %recv) are left out. cb's error ends it and is returned. Names are collected first, so that cb may
 * do anything. Children and snapshots come sorted (snapshots by creation txg). */
typedef int (*dsl_name_cb_t)(void *arg, const char *name);
int dsl_for_each_child(dsl_pool_t *dp, const char *fs, dsl_name_cb_t cb, void *arg);
int dsl_for_each_snapshot(dsl_pool_t *dp, const char *fs, dsl_name_cb_t cb, void *arg);
/* What was cloned from a snapshot, by name. */
int dsl_for_each_clone(dsl_pool_t *dp, const char *snap, dsl_name_cb_t cb, void *arg);
/* Of a dataset that came as a redacted stream: the guids of the snapshots that tell what was left out. ENOENT: it did not. */
#define DSL_REDACT_MAX 64
int dsl_redact_snaps(dsl_pool_t *dp, const char *name, uint64_t guids[DSL_REDACT_MAX], uint64_t *n);
/* The dataset with this guid (snapshots: snapshot true), anywhere in the pool. ENOENT */
int dsl_find_by_guid(dsl_pool_t *dp, uint64_t guid, bool snapshot, char *name);
/* EINVAL, ENAMETOOLONG; reason (may be NULL) a static text. ZFS: zfs_namecheck.c */
int dsl_name_check(const char *name, const char **reason);

/* ---------------------------------------------------------------- operations (create, snapshot, clone, destroy, ...) ---- */

/* EEXIST, ENOENT parent, ENOSPC. props: name -> string, as `zfs create -o`; already checked by dsl_prop_check. */
int dsl_create(dsl_pool_t *dp, const char *name, dmu_objset_type_t type, const nvlist_t *props);
/* n names "fs@snap", all or none, in one txg. EEXIST, ENOENT, ENOSPC; *failed (may be NULL) the index of the name to blame. */
int dsl_snapshot(dsl_pool_t *dp, const char *const *names, int n, const nvlist_t *props, int *failed);
int dsl_clone(dsl_pool_t *dp, const char *origin, const char *name, const nvlist_t *props);
/*
 * Snapshots, all or none, any order. EBUSY held or owned; EEXIST has clones; ENOENT. defer: one that has clones or holds is marked
 * instead (DS_FLAG_DEFER_DESTROY) and goes with the last of them.
 */
int dsl_destroy_snapshots(dsl_pool_t *dp, const char *const *names, int n, bool defer, int *failed);
/* Bytes that destroying exactly these snapshots would give back, together; what `destroy -nv` says. */
int dsl_destroy_space(dsl_pool_t *dp, const char *const *names, int n, uint64_t *bytes);
/* A head (file system or clone) without snapshots and children. EBUSY owned, ENOTEMPTY has snapshots or children. The name is gone on
 * return; a large one's blocks are freed over the following txgs (feature async_destroy), crash or not. */
int dsl_destroy_head(dsl_pool_t *dp, const char *name);

/* The state of snap ("fs@snap", which must be the latest; NULL: whichever is) again. EXDEV not the latest; EEXIST a bookmark is
 * younger than snap; EBUSY owned; ESRCH no snapshot. A mounted one is suspended meanwhile (dsl_pool_set_suspend). ZFS: dsl_dataset_rollback */
int dsl_rollback(dsl_pool_t *dp, const char *fs, const char *snap);

/* promote.c. The clone takes over its origin and all snapshots before it, the other file system becomes the clone. EINVAL no clone;
 * EEXIST a snapshot's name is on both sides (conflict: its short name, may be NULL); EDQUOT, ENOSPC. ZFS: dsl_dataset_promote */
int dsl_promote(dsl_pool_t *dp, const char *clone, char *conflict);

/* rename.c. ENOENT no such dataset, or no parent; EEXIST; EXDEV another pool; EINVAL below itself, or the pool's root; ENAMETOOLONG
 * itself or something below; EDQUOT the new parents' quotas; EBUSY being received. Works on mounted ones. ZFS: dsl_dir_rename */
int dsl_rename(dsl_pool_t *dp, const char *from, const char *to);
/* fs@from becomes fs@to; recursive: in every file system below fs that has it, in one txg. ZFS: dsl_dataset_rename_snapshot */
int dsl_rename_snapshot(dsl_pool_t *dp, const char *fs, const char *from, const char *to, bool recursive);

/* hold.c: user holds. All or none. hold: EEXIST has this tag already; E2BIG the tag is too long. release: ESRCH no such tag; a
 * snapshot marked for deferred destroy goes with its last hold. cb: tag and when (s since 1970). ZFS: dsl_userhold.c */
int dsl_hold(dsl_pool_t *dp, const char *const *snaps, int n, const char *tag, int *failed);
int dsl_release(dsl_pool_t *dp, const char *const *snaps, int n, const char *tag, int *failed);
int dsl_for_each_hold(dsl_pool_t *dp, const char *snap, int (*cb)(void *arg, const char *tag, uint64_t when), void *arg);

/* bookmark.c: "fs#mark", the birth time of a snapshot (or bookmark) that may be gone. All or none. EEXIST; EINVAL another file system's;
 * ENOTSUP the feature is off. ZFS: dsl_bookmark.c */
typedef struct dsl_bookmark {
    uint64_t db_guid, db_createtxg, db_creation; /* of the snapshot */
} dsl_bookmark_t;
int dsl_bookmark(dsl_pool_t *dp, const char *const *marks, const char *const *sources, int n, int *failed);
int dsl_destroy_bookmarks(dsl_pool_t *dp, const char *const *marks, int n, int *failed);
int dsl_bookmark_get(dsl_pool_t *dp, const char *mark, dsl_bookmark_t *bm);
int dsl_for_each_bookmark(dsl_pool_t *dp, const char *fs, dsl_name_cb_t cb, void *arg); /* whole names, oldest first */

/* space.c. Bytes referenced by to (a head or snapshot) that were written after from ("fs@snap", "fs#mark"): `written@SNAP`. EXDEV */
int dsl_space_written(dsl_pool_t *dp, const char *from, const char *to, uint64_t *bytes);

/* diff.c. Objects that differ between a snapshot and a later state (snapshot or head) of the same file system: cb gets ranges of object
 * numbers, freed or (perhaps) changed. EXDEV. What they are called is fuse/zpl_diff.c's. ZFS: dmu_diff.c */
int dmu_diff(dsl_pool_t *dp, const char *from, const char *to, int (*cb)(void *arg, uint64_t first, uint64_t last, bool freed), void *arg);
/* A state that stands still meanwhile: the snapshot itself; of a head of a pool open for writing, a hidden snapshot. Long-held. EBUSY */
int dmu_diff_hold(dsl_pool_t *dp, const char *name, const void *tag, dsl_dataset_t **dsp);
void dmu_diff_rele(dsl_dataset_t *ds, const void *tag);
int dsl_diff_cleanup(dsl_pool_t *dp); /* after opening for writing: what a crash left of it */

/* history.c: what was done to the pool, in a ring in the MOS. log: a command line, from open context, waits for its txg. Internal events come by
 * themselves, with the dataset and txg. read: oldest first; each an nvlist with ZFS's names. ZFS: spa_history.c */
#define HISTORY_TIME     "history time"     /* u64, s since 1970 */
#define HISTORY_HOST     "history hostname"
#define HISTORY_WHO      "history who"      /* u64, uid */
#define HISTORY_CMD      "history command"  /* with _ZONE */
#define HISTORY_ZONE     "history zone"
#define HISTORY_INT_NAME "internal_name"    /* with _INT_STR, _TXG (u64); of a dataset also _DSNAME, _DSID (u64) */
#define HISTORY_INT_STR  "history internal str"
#define HISTORY_TXG      "history txg"
#define HISTORY_DSNAME   "dsname"
#define HISTORY_DSID     "dsid"
int dsl_history_log(dsl_pool_t *dp, const char *command);
int dsl_history_read(dsl_pool_t *dp, int (*cb)(void *arg, const nvlist_t *event), void *arg);

/*
 * Whoever shows heads to programs lends the owned ones out while their contents are exchanged (rollback, receive into a mounted one).
 * suspend: the requests inside fs end, new ones wait, the dataset is disowned: EBUSY when that cannot be or it is not mounted. resume: it is owned again, with the
 * contents it now has; files of before that are no more give ESTALE. From the thread that called the operation, no locks held.
 */
typedef struct dsl_suspend_ops {
    int (*so_suspend)(void *arg, const char *fs);
    void (*so_resume)(void *arg, const char *fs);
    void *so_arg;
} dsl_suspend_ops_t;
void dsl_pool_set_suspend(dsl_pool_t *dp, const dsl_suspend_ops_t *ops); /* NULL: nobody does */

/* ---------------------------------------------------------------- prop.c: properties ---- */

typedef enum dsl_prop_source { PROP_SRC_DEFAULT, PROP_SRC_LOCAL, PROP_SRC_INHERITED, PROP_SRC_RECEIVED, PROP_SRC_NONE } dsl_prop_source_t;
typedef enum dsl_prop_type { PROP_NUMBER, PROP_INDEX, PROP_STRING } dsl_prop_type_t;
typedef struct dsl_prop_desc {
    const char *pd_name;
    dsl_prop_type_t pd_type;
    bool pd_settable, pd_inherit;
    const char *pd_default;          /* as text */
    const char *const *pd_values;    /* PROP_INDEX: NULL-terminated names; their stored numbers in pd_numbers */
    const uint64_t *pd_numbers;
    const char *pd_help;             /* values in words, as zfs get prints them in usage */
} dsl_prop_desc_t;
const dsl_prop_desc_t *dsl_prop_lookup(const char *name); /* NULL: unknown (user properties contain ':') */
const dsl_prop_desc_t *dsl_prop_next(const dsl_prop_desc_t *d); /* the table, in zfs's order; NULL starts */
/* Text to a stored value: EINVAL with a static reason; ENOTSUP read-only property. */
int dsl_prop_check(const char *name, const char *value, const char **reason);
/* The value as text, and where it comes from (source name in setpoint, ZFS_MAX_DATASET_NAME_LEN bytes; may be NULL). */
int dsl_prop_get(dsl_pool_t *dp, const char *ds, const char *prop, char *value, size_t n, dsl_prop_source_t *src, char *setpoint);
int dsl_prop_get_u64(dsl_pool_t *dp, const char *ds, const char *prop, uint64_t *value);
int dsl_prop_set(dsl_pool_t *dp, const char *ds, const nvlist_t *props); /* name -> string; all or none, one txg */
/* As a receive leaves them: they count below local values, and stay when a local value is given up. NULL: none were received. */
int dsl_prop_set_received(dsl_pool_t *dp, const char *ds, const nvlist_t *props);
/* received: the received value counts again (`inherit -S`), if there is one. */
int dsl_prop_inherit(dsl_pool_t *dp, const char *ds, const char *prop, bool received);
/* The received value as text, whether it counts or not. ENOENT */
int dsl_prop_get_received(dsl_pool_t *dp, const char *ds, const char *prop, char *value, size_t n);
/* Names of user properties (containing ':') visible at ds. */
int dsl_prop_for_each_user(dsl_pool_t *dp, const char *ds, dsl_name_cb_t cb, void *arg);
/* Called (from any thread, no locks held) after properties of a dataset or a parent changed. */
void dsl_prop_set_listener(dsl_pool_t *dp, void (*fn)(void *arg), void *arg);

/* ---------------------------------------------------------------- volume.c: volumes ---- */

#define DSL_VOLBLOCKSIZE_DEFAULT 16384
/* Made by dsl_create with type DMU_OST_ZVOL and the properties volsize (and volblocksize). EINVAL: it is none; EIO */
int dsl_volume_geometry(objset_t *os, uint64_t *size, uint32_t *blksz);
/* Grow or shrink, durable on return. EINVAL not a multiple of the block size; EBUSY shown by a mount; ENOTSUP no volume. */
int dsl_volume_set_size(dsl_pool_t *dp, const char *name, uint64_t size);
/* Bytes that a volume written all over takes, with its pointers: the refreservation it gets. */
uint64_t dsl_volume_reservation(uint64_t size, uint32_t blksz, uint64_t copies);

/* ---------------------------------------------------------------- scan.c: scrub ---- */

typedef struct dsl_scan_progress {
    uint64_t sp_done, sp_total; /* bytes (allocated) */
    uint64_t sp_errors, sp_repaired; /* blocks; bytes rewritten */
    uint64_t sp_start, sp_end;  /* s since 1970; end 0 while running */
    bool sp_canceled;
} dsl_scan_progress_t;
/* Reads every copy of every block of the pool (MOS, heads, snapshots; each block once), repairs what it can, adds the rest to
 * the error log. Runs in the calling thread beside all else. *cancel != 0 ends it: EINTR. */
int dsl_scrub(dsl_pool_t *dp, void (*progress)(void *arg, const dsl_scan_progress_t *p), void *arg, const volatile int *cancel);
void dsl_scan_last(dsl_pool_t *dp, dsl_scan_progress_t *p); /* the last or running one since open */

/* ---------------------------------------------------------------- send.c, recv.c, stream.c ---- */

/* Where a stream's error lies, for the message. */
typedef struct stream_error {
    uint64_t se_record; /* number, from 0 */
    uint64_t se_offset; /* byte in the stream */
    char se_text[200];  /* what is wrong, one clause, no newline */
    const char *se_what; /* dmu_receive: "new filesystem stream", "incremental stream", ..., or NULL */
} stream_error_t;

#define DMU_SEND_LARGE_BLOCK 1 /* -L: blocks over 128 KiB stay whole */
#define DMU_SEND_EMBED       2 /* -e: embedded blocks stay embedded */
#define DMU_SEND_COMPRESSED  4 /* -c: compressed blocks go as they lie on disk */
#define DMU_SEND_SAVED       8 /* -S: the partly received state of tosnap (a file system's name) */
typedef struct dmu_send_args {
    const char *dsa_tosnap;       /* "fs@snap" */
    const char *dsa_from;         /* "fs@snap" of the same file system (or its origin), or "fs#mark"; NULL: all */
    bool dsa_fromorigin;          /* a clone, as an increment on its origin */
    int dsa_fd;
    uint64_t *dsa_off;            /* grows with every byte written (atomic store) */
    const volatile int *dsa_cancel; /* may be NULL */
    uint32_t dsa_flags;           /* DMU_SEND_* */
    uint64_t dsa_resumeobj, dsa_resumeoff; /* go on there (resume token); 0: from the start */
    traverse_stats_t dsa_stats;   /* out */
} dmu_send_args_t;
/* EINVAL not a snapshot, or both sources given; EXDEV the source is no earlier snapshot of the same file system; EINTR canceled;
 * EPIPE the reader went away; EIO/ECKSUM damage. ZFS: dmu_send.c */
int dmu_send(dsl_pool_t *dp, dmu_send_args_t *args);
/* Bytes the stream would have, within 5 percent, without reading the data. */
int dmu_send_estimate(dsl_pool_t *dp, const dmu_send_args_t *args, uint64_t *bytes);

/* send_package.c: everything `send -R`, `-I` and `-p` write: one package of several streams, END after it. ZFS: libzfs_sendrecv.c */
typedef struct dmu_send_package_args {
    dmu_send_args_t dpa_send;  /* tosnap, from (NULL: full), fd, off, cancel, flags */
    bool dpa_replicate;        /* -R: everything below, with snapshots, clones, properties */
    bool dpa_intermediate;     /* -I: each snapshot between from and tosnap as a step of its own */
    bool dpa_props;            /* -p; with replicate always */
    bool dpa_backup;           /* -b: received values instead of the ones that count */
    bool dpa_holds;            /* -h */
    bool dpa_skip_missing;     /* -s, with replicate: file systems without tosnap are left out; else ENOENT */
    bool dpa_dryrun;           /* count, write nothing */
    void (*dpa_said)(void *arg, const char *from, const char *to, uint64_t bytes); /* before each stream; may be NULL. bytes: of a
                                                                                    * dry run only; from NULL: full */
    void *dpa_arg;
    uint64_t dpa_bytes;        /* out: of the whole package, in a dry run an estimate */
    char dpa_failed[ZFS_MAX_DATASET_NAME_LEN]; /* out: the dataset an error is about, or empty */
} dmu_send_package_args_t;
int dmu_send_package(dsl_pool_t *dp, dmu_send_package_args_t *args);

struct dmu_replay_record; /* stream.h */
typedef struct dmu_recv_cookie dmu_recv_cookie_t;
typedef struct dmu_recv_args {
    const char *rva_tofs, *rva_tosnap;          /* rva_tosnap: without '@' */
    const struct dmu_replay_record *rva_begin;  /* as read from the stream, in its own byte order */
    int rva_fd;                                 /* what follows BEGIN (its payload first) */
    uint64_t *rva_off;
    const volatile int *rva_cancel;
    bool rva_force;                             /* -F: rolled back, or (full) replaced */
    bool rva_resumable;                         /* -s: what was received stays when the stream breaks */
    bool rva_heal;                              /* -c: damaged blocks of tofs@tosnap are written anew; nothing else changes */
    uint64_t *rva_healed;                       /* out, by dmu_recv_end: blocks healed; may be NULL */
    const char *rva_origin;                     /* snapshot's name for clone streams; NULL: found by guid */
    const nvlist_t *rva_props;                  /* -o: set in the txg that ends the receive; NULL: none */
} dmu_recv_args_t;
/*
 * The three steps of a receive of one snapshot. begin: EINVAL/ENOTSUP bad or unknown stream; ENOENT parent; EEXIST; ENODEV no matching
 * snapshot; ETXTBSY changed since and no force; EBUSY in use; EXDEV origin of another pool. On success the dataset is inconsistent, and owned (offline), or
 * a hidden clone is (fs/%SNAP, online: tofs is mounted and stays in use), until _end or the clean-up in _stream's failure.
 * _stream: the records through END; any error: everything is as before (resumable: kept, with a token), the cookie is gone.
 * _end: EBUSY someone holds it. ZFS: dmu_recv.c
 */
int dmu_recv_begin(dsl_pool_t *dp, const dmu_recv_args_t *args, stream_error_t *se, dmu_recv_cookie_t **drcp);
int dmu_recv_stream(dmu_recv_cookie_t *drc, stream_error_t *se);
int dmu_recv_end(dmu_recv_cookie_t *drc);
/* After opening for writing: what a crash left of receives goes, as if they had failed; resumable ones stay. */
int dsl_recv_cleanup(dsl_pool_t *dp);
/* What is kept of a broken resumable receive into fs, and the (perhaps hidden) dataset that has it. ENOENT: nothing. */
typedef struct dsl_resume dsl_resume_t;
int dsl_recv_partial(dsl_pool_t *dp, const char *fs, char *name, dsl_resume_t *dr);
/* The property receive_resume_token of a partly received dataset ("1-..."); ENOENT: it is none. And what a token says. EINVAL */
#define RESUME_TOKEN_MAX 4096
struct dsl_resume {
    uint64_t dr_object, dr_offset, dr_bytes, dr_toguid, dr_fromguid;
    uint32_t dr_flags; /* DMU_SEND_* */
    char dr_toname[ZFS_MAX_DATASET_NAME_LEN];
};
int dsl_resume_token(dsl_pool_t *dp, const char *fs, char *token);
int dsl_resume_parse(const char *token, dsl_resume_t *dr);
/* receive -A: a partly received state is thrown away. EINVAL there is none */
int dsl_recv_abort(dsl_pool_t *dp, const char *fs);

/*
 * receive.c: all of `receive` for one stream or package: names, properties, renames, deletions. received (may be NULL): the snapshot's full
 * name (the last one of a package; after an error: the one it was about, or empty), ZFS_MAX_DATASET_NAME_LEN bytes.
 * EAGAIN: all streams were received, but something the package's list asks for (a rename, a destroy) could not be done; dra_warn said what.
 */
typedef struct dmu_receive_args {
    const char *dra_target;  /* "fs" or "fs@snap" */
    bool dra_force, dra_drop_first, dra_use_last, dra_dryrun; /* -F -d -e -n */
    bool dra_resumable, dra_heal, dra_skip_holds;             /* -s -c -h */
    const char *dra_origin;
    const nvlist_t *dra_props;         /* -o: name -> string; these count at the top and below, whatever the stream says */
    const char *const *dra_exclude;    /* -x: names, NULL-terminated; or NULL */
    int dra_fd;
    uint64_t *dra_off;
    const volatile int *dra_cancel;
    /* All of these may be NULL. */
    void (*dra_said)(void *arg, const char *line); /* -v: one line per thing done */
    void (*dra_warn)(void *arg, const char *line); /* what went wrong and does not end the receive */
    void (*dra_received)(void *arg, uint64_t bytes, uint64_t nsec); /* -v: after each stream */
    int (*dra_release)(void *arg, const char *ds); /* before a dataset is destroyed or replaced: whoever shows it gives it up. EBUSY */
    void *dra_arg;
} dmu_receive_args_t;
int dmu_receive(dsl_pool_t *dp, const dmu_receive_args_t *args, char *received, stream_error_t *se);

#endif
