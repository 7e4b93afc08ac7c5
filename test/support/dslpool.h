/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dslpool.h - a pool to test the dataset layer on: on a memory disk, with a model beside it of what every dataset should hold.
 *
 * A dataset is FS_OBJECTS objects of FS_BLOCKS blocks; the model knows each block by a seed (0: a hole). Snapshots are copies of the model.
 */
#ifndef COWBIRD_TEST_DSLPOOL_H
#define COWBIRD_TEST_DSLPOOL_H

#include <check.h>
#include "dsl_impl.h"
#include "support/faultdisk.h"

#define FS_OBJECTS 6
#define FS_BLOCKS  24
#define MAX_FS     24

typedef struct model_object {
    uint64_t mo_object; /* 0: none */
    uint32_t mo_blksz;
    uint32_t mo_seed[FS_BLOCKS];
} model_object_t;

typedef struct model_fs {
    char mf_name[ZFS_MAX_DATASET_NAME_LEN]; /* empty: free slot; with '@' a snapshot */
    char mf_origin[ZFS_MAX_DATASET_NAME_LEN];
    uint64_t mf_order;
    int mf_holds;     /* snapshots: tags on it */
    bool mf_deferred; /* marked: goes with the last hold or clone */
    model_object_t mf_objects[FS_OBJECTS];
} model_fs_t;

typedef struct testpool {
    faultdisk_t *tp_disk;
    dsl_pool_t *tp_dp;
    uint64_t tp_rng, tp_order;
    model_fs_t tp_fs[MAX_FS];
    int tp_names; /* for new names */
} testpool_t;

testpool_t *tp_create(uint64_t size, bool compat, uint64_t seed);
void tp_destroy(testpool_t *tp); /* closes, checks leaks of holds by the log */
void tp_close(testpool_t *tp);
void tp_open(testpool_t *tp);
void tp_reopen(testpool_t *tp);
uint64_t tp_rnd(testpool_t *tp, uint64_t n);
void tp_sync(testpool_t *tp);
void tp_check(testpool_t *tp);  /* sync, dsl_pool_check: nothing to report */
void tp_verify(testpool_t *tp); /* every dataset reads as the model says */
void tp_verify_fs(testpool_t *tp, dsl_pool_t *dp, const model_fs_t *mf);
void tp_block_head(uint32_t seed, uint8_t *buf, uint32_t n); /* how a block with this seed begins */
model_fs_t *tp_find(testpool_t *tp, const char *name);
model_fs_t *tp_pick(testpool_t *tp, bool snapshot); /* NULL: none */
bool tp_has_snapshots(testpool_t *tp, const model_fs_t *fs);
bool tp_has_children(testpool_t *tp, const model_fs_t *fs);
bool tp_has_clones(testpool_t *tp, const model_fs_t *snap);

/* Operations on pool and model; each returns the errno (0) and changes the model only on success. */
int tp_create_fs(testpool_t *tp, const char *name, const nvlist_t *props);
int tp_snapshot(testpool_t *tp, model_fs_t *fs, const char *snap);
int tp_clone(testpool_t *tp, const model_fs_t *snap, const char *name);
int tp_destroy_ds(testpool_t *tp, model_fs_t *mf);
int tp_rollback(testpool_t *tp, model_fs_t *fs);
int tp_promote(testpool_t *tp, model_fs_t *fs);
int tp_rename(testpool_t *tp, model_fs_t *fs, const char *to);
int tp_hold(testpool_t *tp, model_fs_t *snap); /* with the next tag: "1", "2" ... */
int tp_release(testpool_t *tp, model_fs_t *snap);
int tp_defer(testpool_t *tp, model_fs_t *snap);
int tp_rename_snapshot(testpool_t *tp, model_fs_t *fs, const char *from, const char *to, bool recursive);
int tp_write(testpool_t *tp, model_fs_t *fs, int o, uint32_t first, uint32_t count);
int tp_punch(testpool_t *tp, model_fs_t *fs, int o, uint32_t first, uint32_t count);
int tp_remove(testpool_t *tp, model_fs_t *fs, int o);
void tp_change(testpool_t *tp, model_fs_t *fs); /* a few random changes */
void tp_random_op(testpool_t *tp);

/* One sync task that sets a field of a directory's phys: quotas, for which there is no call yet. */
int tp_set_dir_u64(testpool_t *tp, const char *fs, size_t field, uint64_t value);
/* Copy the disk to a file and let zdb judge it: 0; 77 no zdb here. */
int tp_zdb(testpool_t *tp);
void tp_copy_out(testpool_t *tp, const char *path);

#endif
