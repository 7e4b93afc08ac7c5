/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_mos.c - second half of the checker: each object of the MOS has exactly one that refers to it, and features are counted right.
 *
 * ZFS: the "MOS object leaked" part of zdb.
 */
#include <stdio.h>
#include "check_impl.h"

void
check_object(check_t *ck, uint64_t object, const char *what)
{
    dmu_object_info_t doi;

    if (object == 0)
        return;
    if (range_tree_contains(ck->ck_objects, object, 1))
        check_bad(ck, "MOS object %llu (%s) has two owners", (unsigned long long)object, what);
    range_tree_set(ck->ck_objects, object, 1);
    if (dmu_object_info(pool_mos(ck->ck_pool), object, &doi) != 0)
        check_bad(ck, "MOS object %llu (%s) does not exist", (unsigned long long)object, what);
}

void
check_bpobj_objects(check_t *ck, uint64_t object)
{
    bpobj_phys_t p;
    uint64_t sub;

    check_object(ck, object, "block list");
    if (mos_read_bonus(ck->ck_pool, object, DMU_OT_BPOBJ_HDR, &p, sizeof(p)) != 0)
        return;
    check_object(ck, p.bpo_subobjs, "array of block lists");
    for (uint64_t i = 0; p.bpo_subobjs != 0 && i < p.bpo_num_subobjs; i++)
        if (dmu_read(pool_mos(ck->ck_pool), p.bpo_subobjs, i * sizeof(sub), sizeof(sub), &sub) == 0)
            check_bpobj_objects(ck, sub);
}

void
check_deadlist_objects(check_t *ck, uint64_t object)
{
    zap_cursor_t zc;
    zap_attribute_t za;

    check_object(ck, object, "deadlist");
    for (zap_cursor_init(&zc, pool_mos(ck->ck_pool), object); zap_cursor_retrieve(&zc, &za) == 0;
         zap_cursor_advance(&zc)) {
        if (za.za_first_integer == ck->ck_pool->dp_empty_bpobj)
            ck->ck_empty_buckets++;
        else
            check_bpobj_objects(ck, za.za_first_integer);
    }
    zap_cursor_fini(&zc);
}

static void
check_space_maps(check_t *ck)
{
    dsl_pool_t *dp = ck->ck_pool;
    uint64_t object;

    check_object(ck, dp->dp_metaslab_array, "metaslab array");
    for (uint64_t id = 0; id < metaslab_count(dp->dp_spa); id++)
        if (dmu_read(dp->dp_mos, dp->dp_metaslab_array, id * sizeof(object), sizeof(object), &object) == 0)
            check_object(ck, object, "space map");
}

void
check_mos_fixed(check_t *ck)
{
    static const char *const keys[] = {DMU_POOL_CONFIG,
                                       DMU_POOL_FEATURES_FOR_READ,
                                       DMU_POOL_FEATURES_FOR_WRITE,
                                       DMU_POOL_FEATURE_DESCRIPTIONS,
                                       DMU_POOL_BPTREE_OBJ,
                                       DMU_POOL_PROPS,
                                       DMU_POOL_HISTORY};
    objset_t *mos = pool_mos(ck->ck_pool);
    uint64_t object;

    check_object(ck, DMU_POOL_DIRECTORY_OBJECT, "object directory");
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (zap_lookup_u64(mos, DMU_POOL_DIRECTORY_OBJECT, keys[i], &object) == 0)
            check_object(ck, object, keys[i]);
    if (zap_lookup_u64(mos, DMU_POOL_DIRECTORY_OBJECT, DMU_POOL_SYNC_BPOBJ, &object) == 0)
        check_bpobj_objects(ck, object);
    if (zap_lookup_u64(mos, DMU_POOL_DIRECTORY_OBJECT, DMU_POOL_FREE_BPOBJ, &object) == 0)
        check_bpobj_objects(ck, object);
    if (ck->ck_pool->dp_empty_bpobj != 0)
        check_object(ck, ck->ck_pool->dp_empty_bpobj, DMU_POOL_EMPTY_BPOBJ);
    if (empty_bpobj_check(ck->ck_pool) != 0)
        check_bad(ck, "the shared empty block list is not there, or not empty");
    check_space_maps(ck);
}

void
check_mos_leaked(check_t *ck)
{
    dmu_object_info_t doi;

    for (uint64_t object = 0; dmu_object_next(pool_mos(ck->ck_pool), &object, false, 0) == 0;) {
        if (range_tree_contains(ck->ck_objects, object, 1))
            continue;
        memset(&doi, 0, sizeof(doi));
        (void)dmu_object_info(pool_mos(ck->ck_pool), object, &doi);
        check_bad(ck, "MOS object %llu (%s) is leaked", (unsigned long long)object,
                  dmu_ot_name(doi.doi_type));
    }
}

static uint64_t
count_zapified(check_t *ck)
{
    dmu_object_info_t doi;
    uint64_t n = 0;

    for (uint64_t object = 0; dmu_object_next(pool_mos(ck->ck_pool), &object, false, 0) == 0;)
        if (dmu_object_info(pool_mos(ck->ck_pool), object, &doi) == 0 &&
            doi.doi_type == DMU_OTN_ZAP_METADATA &&
            (doi.doi_bonus_type == DMU_OT_DSL_DATASET || doi.doi_bonus_type == DMU_OT_DSL_DIR))
            n++;
    return n;
}

static void
check_feature(check_t *ck, const char *guid, uint64_t is)
{
    uint64_t count = 0;

    (void)feature_get(ck->ck_pool, guid, &count);
    if (count != is)
        check_bad(ck, "feature %s is counted %llu times, used %llu times", guid, (unsigned long long)count,
                  (unsigned long long)is);
}

void
check_features(check_t *ck)
{
    if (ck->ck_pool->dp_features_obj[0] == 0)
        return;
    check_feature(ck, FEATURE_LARGE_BLOCKS, ck->ck_feature_count[0]);
    check_feature(ck, FEATURE_LARGE_DNODE, ck->ck_feature_count[1]);
    check_feature(ck, FEATURE_ZSTD_COMPRESS, ck->ck_feature_count[2]);
    check_feature(ck, FEATURE_LONGNAME, ck->ck_feature_count[3]);
    check_feature(ck, FEATURE_LARGE_MICROZAP, ck->ck_feature_count[4]);
    check_feature(ck, FEATURE_REDACTED_DATASETS, ck->ck_feature_count[5]);
    check_feature(ck, FEATURE_ASYNC_DESTROY, ck->ck_pool->dp_bptree_obj != 0);
    check_feature(ck, FEATURE_EMPTY_BPOBJ, ck->ck_empty_buckets);
    if ((ck->ck_empty_buckets == 0) != (ck->ck_pool->dp_empty_bpobj == 0))
        check_bad(ck, "%llu empty buckets and the shared empty block list %llu",
                  (unsigned long long)ck->ck_empty_buckets, (unsigned long long)ck->ck_pool->dp_empty_bpobj);
    check_feature(ck, FEATURE_BOOKMARKS, ck->ck_bookmark_zaps);
    check_feature(ck, FEATURE_EXTENSIBLE_DATASET, count_zapified(ck));
}
