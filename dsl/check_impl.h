/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_impl.h - what the two halves of the checker share: a run over the whole pool (check.c), which objects of the MOS somebody
 * refers to (check_mos.c).
 */
#ifndef COWBIRD_CHECK_IMPL_H
#define COWBIRD_CHECK_IMPL_H

#include "dsl_impl.h"

typedef struct check_block { /* a block with a place on disk */
    uint64_t cb_offset;      /* of its first copy */
    uint64_t cb_birth;
    uint64_t cb_used, cb_comp;
} check_block_t;

typedef struct block_list { /* sorted by offset */
    check_block_t *bl_blocks;
    size_t bl_count;
} block_list_t;

typedef struct check {
    dsl_pool_t *ck_pool;
    dsl_check_report_t ck_report;
    void *ck_arg;
    uint64_t ck_bad;
    range_tree_t *ck_claimed; /* device bytes that something refers to */
    range_tree_t *ck_objects; /* MOS objects that something refers to */
    uint64_t ck_feature_count[DS_FEATURE_NUM];
    uint64_t ck_bookmark_zaps;
    uint64_t ck_empty_buckets; /* that name the shared empty list */
    uint64_t ck_reserved; /* what reservations of all directories promise beyond what is used */
} check_t;

void check_bad(check_t *ck, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* check_mos.c */
void check_object(check_t *ck, uint64_t object, const char *what); /* somebody refers to it; 0: nobody does */
void check_bpobj_objects(check_t *ck, uint64_t object);
void check_deadlist_objects(check_t *ck, uint64_t object);
void check_mos_fixed(check_t *ck);  /* what the object directory and the space maps refer to */
void check_mos_leaked(check_t *ck); /* after all was seen */
void check_features(check_t *ck);

#endif
