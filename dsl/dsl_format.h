/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dsl_format.h - datasets on disk: the MOS's object directory, DSL directories, datasets, deadlists.
 *
 *   MOS object 1 ("object directory") ── root_dataset ──► dsl_dir of the pool
 *      dsl_dir ── child ZAP ──► dsl_dir ...          one per file system name
 *         └── head dataset ──► dsl_dataset ── ds_bp ──► the file system's objset
 *                                  └── prev ──► snapshot ── prev ──► ... ──► $ORIGIN@$ORIGIN
 *
 * ZFS: include/sys/{dsl_dir,dsl_dataset,dsl_deadlist,dsl_pool}.h
 */
#ifndef COWBIRD_DSL_FORMAT_H
#define COWBIRD_DSL_FORMAT_H

#include "dmu_format.h"

/* ---- keys of the object directory (MOS object 1) ---- */
#define DMU_POOL_DIRECTORY_OBJECT    1
#define DMU_POOL_ROOT_DATASET        "root_dataset"
#define DMU_POOL_CONFIG              "config"
#define DMU_POOL_SYNC_BPOBJ          "sync_bplist"
#define DMU_POOL_FREE_BPOBJ          "free_bpobj"
#define DMU_POOL_BPTREE_OBJ          "bptree_obj"
#define DMU_POOL_EMPTY_BPOBJ         "empty_bpobj"
#define DMU_POOL_FEATURES_FOR_READ   "features_for_read"
#define DMU_POOL_FEATURES_FOR_WRITE  "features_for_write"
#define DMU_POOL_FEATURE_DESCRIPTIONS "feature_descriptions"
#define DMU_POOL_DEFLATE             "deflate"
#define DMU_POOL_CREATION_VERSION    "creation_version"
#define DMU_POOL_PROPS               "pool_props"
#define DMU_POOL_HISTORY             "history"

/* ---- a volume's objset ---- */
#define ZVOL_OBJ      1 /* DMU_OT_ZVOL: the data */
#define ZVOL_ZAP_OBJ  2
#define ZVOL_KEY_SIZE "size"

#define MOS_DIR_NAME    "$MOS"
#define FREE_DIR_NAME   "$FREE"
#define ORIGIN_DIR_NAME "$ORIGIN"

/* ---- DSL directory: bonus type 12, 256 bytes ---- */
typedef enum dd_used {
    DD_USED_HEAD,
    DD_USED_SNAP,
    DD_USED_CHILD,
    DD_USED_CHILD_RSRV,
    DD_USED_REFRSRV,
    DD_USED_NUM
} dd_used_t;
#define DD_FLAG_USED_BREAKDOWN 1

typedef struct dsl_dir_phys {
    uint64_t dd_creation_time;      /* s */
    uint64_t dd_head_dataset_obj;   /* DMU_OT_DSL_DATASET; 0: a pure directory */
    uint64_t dd_parent_obj;         /* DMU_OT_DSL_DIR; 0: the root */
    uint64_t dd_origin_obj;         /* DMU_OT_DSL_DATASET */
    uint64_t dd_child_dir_zapobj;   /* name -> DMU_OT_DSL_DIR */
    uint64_t dd_used_bytes;         /* sum of the breakdown */
    uint64_t dd_compressed_bytes;
    uint64_t dd_uncompressed_bytes;
    uint64_t dd_quota;
    uint64_t dd_reserved;
    uint64_t dd_props_zapobj;
    uint64_t dd_deleg_zapobj;
    uint64_t dd_flags;
    uint64_t dd_used_breakdown[DD_USED_NUM];
    uint64_t dd_clones;             /* ZAP of clones' head datasets */
    uint64_t dd_pad[13];
} dsl_dir_phys_t;
_Static_assert(sizeof(dsl_dir_phys_t) == 256, "a DSL directory is 256 bytes");

/* ---- DSL dataset: bonus type 16, 320 bytes ---- */
#define DS_FLAG_INCONSISTENT    (1ULL << 0)
#define DS_FLAG_NOPROMOTE       (1ULL << 1)
#define DS_FLAG_UNIQUE_ACCURATE (1ULL << 2)
#define DS_FLAG_DEFER_DESTROY   (1ULL << 3)
#define DS_FLAG_CI_DATASET      (1ULL << 16)

typedef struct dsl_dataset_phys {
    uint64_t ds_dir_obj;            /* DMU_OT_DSL_DIR */
    uint64_t ds_prev_snap_obj;      /* DMU_OT_DSL_DATASET */
    uint64_t ds_prev_snap_txg;
    uint64_t ds_next_snap_obj;      /* DMU_OT_DSL_DATASET; 0 for a head */
    uint64_t ds_snapnames_zapobj;   /* head only: name -> DMU_OT_DSL_DATASET */
    uint64_t ds_num_children;       /* snapshot: 1 + clones; head: 0 */
    uint64_t ds_creation_time;      /* s */
    uint64_t ds_creation_txg;
    uint64_t ds_deadlist_obj;       /* DMU_OT_DEADLIST */
    uint64_t ds_referenced_bytes;
    uint64_t ds_compressed_bytes;
    uint64_t ds_uncompressed_bytes;
    uint64_t ds_unique_bytes;
    uint64_t ds_fsid_guid;          /* 56 bits */
    uint64_t ds_guid;
    uint64_t ds_flags;
    blkptr_t ds_bp;
    uint64_t ds_next_clones_obj;    /* snapshot: ZAP of clones */
    uint64_t ds_props_obj;          /* snapshot: ZAP */
    uint64_t ds_userrefs_obj;       /* snapshot: ZAP of holds */
    uint64_t ds_pad[5];
} dsl_dataset_phys_t;
_Static_assert(sizeof(dsl_dataset_phys_t) == 320, "a DSL dataset is 320 bytes");
_Static_assert(offsetof(dsl_dataset_phys_t, ds_bp) == 128, "the block pointer lies at 128");

/* ---- deadlist: ZAP (type 50) of hex(mintxg) -> bpobj; bonus type 51 ---- */
typedef struct dsl_deadlist_phys {
    uint64_t dl_used;
    uint64_t dl_comp;
    uint64_t dl_uncomp;
    uint64_t dl_pad[37];
} dsl_deadlist_phys_t;
_Static_assert(sizeof(dsl_deadlist_phys_t) == 320, "a deadlist header is 320 bytes");

/* ---- trees of blocks to be freed: object type and bonus type 0xC3, data = entries ---- */
typedef struct bptree_phys {
    uint64_t bt_begin, bt_end; /* entries: the first that is left, the first that is free */
    uint64_t bt_bytes, bt_comp, bt_uncomp;
} bptree_phys_t;
_Static_assert(sizeof(bptree_phys_t) == 40, "a bptree header is 40 bytes");

typedef struct bptree_entry_phys {
    blkptr_t be_bp;        /* root block of a file system's objset */
    uint64_t be_birth_txg; /* blocks born later are to be freed */
    zbookmark_t be_zb;     /* the next block to be freed (objset 2^64 - 1); zeros: from the start */
} bptree_entry_phys_t;
_Static_assert(sizeof(bptree_entry_phys_t) == 168, "a bptree entry is 168 bytes");

/* ---- keys of zapified dataset objects ---- */
#define DS_FIELD_BOOKMARK_NAMES "com.delphix:bookmarks" /* head: ZAP of name -> u64[3]: guid, creation txg, creation time (s) */

/* ---- features this code knows (guid text) ---- */
#define FEATURE_LZ4_COMPRESS        "org.illumos:lz4_compress"
#define FEATURE_EXTENSIBLE_DATASET  "com.delphix:extensible_dataset"
#define FEATURE_EMBEDDED_DATA       "com.delphix:embedded_data"
#define FEATURE_HOLE_BIRTH          "com.delphix:hole_birth"
#define FEATURE_LARGE_BLOCKS        "org.open-zfs:large_blocks"
#define FEATURE_LARGE_DNODE         "org.zfsonlinux:large_dnode"
#define FEATURE_ZSTD_COMPRESS       "org.freebsd:zstd_compress"
#define FEATURE_LONGNAME            "org.zfsonlinux:longname"
#define FEATURE_REDACTED_DATASETS   "com.delphix:redacted_datasets"
#define FEATURE_LARGE_MICROZAP      "com.klarasystems:large_microzap"
#define FEATURE_BOOKMARKS           "com.delphix:bookmarks"
#define FEATURE_ASYNC_DESTROY       "com.delphix:async_destroy"
#define FEATURE_EMPTY_BPOBJ         "com.delphix:empty_bpobj"

/* ---- names ---- */
#define ZFS_MAX_DATASET_NAME_LEN 256 /* whole name, with NUL; a component likewise */

#endif
