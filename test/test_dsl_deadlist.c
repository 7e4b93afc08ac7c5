/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_deadlist.c - many snapshots of one file system: how much of the MOS their deadlists take, with the empty buckets in one object
 * (empty_bpobj.c), without that feature, and when that object is damaged.
 */
#include <stdio.h>
#include "support/dslpool.h"
#include "support/effort.h"

#define OK(x) ck_assert_int_eq((x), 0)
#define MANY  100

static testpool_t *tp;

static void
teardown(void)
{
    if (tp != NULL)
        tp_destroy(tp);
    tp = NULL;
}

static uint64_t
mos_objects(void)
{
    uint64_t n = 0;

    for (uint64_t object = 0; dmu_object_next(tp->tp_dp->dp_mos, &object, false, 0) == 0;)
        n++;
    return n;
}

static uint64_t
shared_buckets(void)
{
    uint64_t count = 0;

    OK(feature_get(tp->tp_dp, FEATURE_EMPTY_BPOBJ, &count));
    return count;
}

static void
snapshot(const char *fs, int n)
{
    char name[64];
    const char *names[] = {name};

    snprintf(name, sizeof(name), "%s@%d", fs, n);
    OK(dsl_snapshot(tp->tp_dp, names, 1, NULL, NULL));
}

static int
destroy_snapshot(const char *fs, int n)
{
    char name[64];
    const char *names[] = {name};

    snprintf(name, sizeof(name), "%s@%d", fs, n);
    return dsl_destroy_snapshots(tp->tp_dp, names, 1, false, NULL);
}

static void
zdb_agrees(bool asked)
{
    if (!asked)
        return;
    tp_close(tp);
    ck_assert_int_eq(tp_zdb(tp) % 77, 0);
    tp_open(tp);
}

/* ---- the feature ---- */

static void
chain(model_fs_t *fs, const char *name, int from, int to)
{
    for (int n = from; n < to; n++) {
        OK(tp_write(tp, fs, 0, (uint32_t)tp_rnd(tp, FS_BLOCKS), 1));
        snapshot(name, n);
    }
}

/* One block a snapshot: its lists and its object are a handful, however many there are before it. */
START_TEST(objects_grow_with_snapshots)
{
    tp = tp_create(128 << 20, true, 3);
    OK(tp_create_fs(tp, "tank/a", NULL));
    OK(tp_write(tp, tp_find(tp, "tank/a"), 0, 0, FS_BLOCKS));
    uint64_t shared = shared_buckets(), objects = mos_objects();
    chain(tp_find(tp, "tank/a"), "tank/a", 0, MANY / 2);
    uint64_t half = mos_objects();
    chain(tp_find(tp, "tank/a"), "tank/a", MANY / 2, MANY);
    ck_assert_uint_le(mos_objects() - half, (half - objects) * 3 / 2);
    ck_assert_uint_le(mos_objects() - objects, 8 * MANY);
    ck_assert_uint_gt(shared_buckets(), MANY * MANY / 3);
    tp_check(tp);
    for (int left = MANY; left > 0;) { /* in any order */
        int err = destroy_snapshot("tank/a", (int)tp_rnd(tp, MANY));
        ck_assert(err == 0 || err == ENOENT);
        if (err != 0)
            continue;
        if (left-- % 20 == 0)
            tp_check(tp);
        if (left == MANY / 3)
            zdb_agrees(true);
    }
    tp_check(tp);
    ck_assert_uint_le(shared_buckets(), shared);
    tp_verify(tp);
}
END_TEST

/* A clone half way, with snapshots of its own, promoted; then everything goes, in any order that can be. */
START_TEST(clone_and_promote)
{
    int n = MANY / 4;

    tp = tp_create(128 << 20, _i % 2 == 0, (uint64_t)_i + 40);
    OK(tp_create_fs(tp, "tank/a", NULL));
    OK(tp_write(tp, tp_find(tp, "tank/a"), 0, 0, FS_BLOCKS));
    chain(tp_find(tp, "tank/a"), "tank/a", 0, n / 2);
    OK(tp_snapshot(tp, tp_find(tp, "tank/a"), "s"));
    chain(tp_find(tp, "tank/a"), "tank/a", n / 2, n);
    OK(tp_clone(tp, tp_find(tp, "tank/a@s"), "tank/c"));
    chain(tp_find(tp, "tank/c"), "tank/c", n, 2 * n);
    tp_check(tp);
    for (int left = 2 * n; left > 0;) {
        if (tp_rnd(tp, 12) == 0)
            OK(tp_promote(tp, tp_find(tp, tp_find(tp, "tank/a@s") != NULL ? "tank/c" : "tank/a")));
        int k = (int)tp_rnd(tp, (uint64_t)(2 * n));
        if (destroy_snapshot("tank/a", k) == 0 || destroy_snapshot("tank/c", k) == 0)
            left--;
        if (tp_rnd(tp, 10) == 0)
            tp_check(tp);
        if (left == n)
            zdb_agrees(_i == 0);
    }
    bool from_a = tp_find(tp, "tank/a@s") != NULL;
    OK(tp_destroy_ds(tp, tp_find(tp, from_a ? "tank/c" : "tank/a")));
    OK(tp_destroy_ds(tp, tp_find(tp, from_a ? "tank/a@s" : "tank/c@s")));
    tp_check(tp);
    tp_verify(tp);
}
END_TEST

/* ---- a pool that lacks it ---- */

static void
each_deadlist(void (*cb)(uint64_t dlobj, const zap_attribute_t *za, dmu_tx_t *tx), dmu_tx_t *tx)
{
    dmu_object_info_t doi;
    dsl_dataset_phys_t p;
    zap_attribute_t za;
    zap_cursor_t zc;

    for (uint64_t object = 0; dmu_object_next(tp->tp_dp->dp_mos, &object, false, 0) == 0;) {
        OK(dmu_object_info(tp->tp_dp->dp_mos, object, &doi));
        if (doi.doi_bonus_type != DMU_OT_DSL_DATASET)
            continue;
        OK(mos_read_bonus(tp->tp_dp, object, DMU_OT_DSL_DATASET, &p, sizeof(p)));
        for (zap_cursor_init(&zc, tp->tp_dp->dp_mos, p.ds_deadlist_obj); zap_cursor_retrieve(&zc, &za) == 0;
             zap_cursor_advance(&zc))
            cb(p.ds_deadlist_obj, &za, tx);
        zap_cursor_fini(&zc);
    }
}

static void
own_list(uint64_t dlobj, const zap_attribute_t *za, dmu_tx_t *tx)
{
    dsl_pool_t *dp = tp->tp_dp;

    if (za->za_first_integer != dp->dp_empty_bpobj)
        return;
    OK(zap_update_u64(dp->dp_mos, dlobj, za->za_name, bpobj_alloc(dp->dp_mos, tx), tx));
    empty_bpobj_rele(dp, 1, tx);
}

static void
drop_feature(void *arg, dmu_tx_t *tx)
{
    dsl_pool_t *dp = tp->tp_dp;

    each_deadlist(own_list, tx);
    ck_assert_uint_eq(dp->dp_empty_bpobj, 0);
    OK(zap_remove(dp->dp_mos, dp->dp_features_obj[1], FEATURE_EMPTY_BPOBJ, tx));
    OK(zap_remove(dp->dp_mos, dp->dp_feature_desc_obj, FEATURE_EMPTY_BPOBJ, tx));
}

static void
no_shared(uint64_t dlobj, const zap_attribute_t *za, dmu_tx_t *tx)
{
    static uint64_t last;

    ck_assert_uint_ne(za->za_first_integer, last);
    last = za->za_first_integer;
}

START_TEST(without_the_feature)
{
    tp = tp_create(256 << 20, _i % 2 == 0, (uint64_t)_i + 900);
    OK(dsl_sync_task(tp->tp_dp, NULL, drop_feature, NULL, 10, DSL_SPACE_NONE));
    tp_reopen(tp);
    for (int op = 0; op < effort(150); op++) {
        tp_random_op(tp);
        if (op % 30 == 0)
            tp_check(tp);
    }
    tp_check(tp);
    tp_verify(tp);
    ck_assert(!feature_enabled(tp->tp_dp, FEATURE_EMPTY_BPOBJ));
    each_deadlist(no_shared, NULL);
}
END_TEST

/* ---- damage ---- */

static void
spoil(void *arg, dmu_tx_t *tx)
{
    blkptr_t bp = {0};
    bpobj_t *bpo;

    if (*(int *)arg == 0) {
        OK(zap_remove(tp->tp_dp->dp_mos, DMU_POOL_DIRECTORY_OBJECT, DMU_POOL_EMPTY_BPOBJ, tx));
        return;
    }
    BP_SET_LSIZE(&bp, 512);
    DVA_SET_ASIZE(&bp.blk_dva[0], 512);
    bp.blk_birth = 4;
    OK(bpobj_open(tp->tp_dp->dp_mos, tp->tp_dp->dp_empty_bpobj, &bpo));
    bpobj_enqueue(bpo, &bp, tx);
    bpobj_close(bpo);
}

/* Not there though it is counted, or not empty: nobody writes to such a pool; it can be read. */
START_TEST(damaged)
{
    dsl_pool_t *dp;

    tp = tp_create(64 << 20, false, 4);
    OK(tp_create_fs(tp, "tank/a", NULL));
    model_fs_t *fs = tp_find(tp, "tank/a");
    OK(tp_write(tp, fs, 0, 0, 4));
    OK(tp_snapshot(tp, fs, "s"));
    OK(dsl_sync_task(tp->tp_dp, NULL, spoil, &_i, 10, DSL_SPACE_NONE));
    tp_close(tp);
    disk_t disk = faultdisk_disk(tp->tp_disk);
    ck_assert_int_eq(dsl_pool_open(&disk, 0, &dp), EIO);
    OK(dsl_pool_open(&disk, DSL_POOL_RDONLY, &dp));
    tp_verify_fs(tp, dp, tp_find(tp, "tank/a@s"));
    OK(dsl_pool_close(dp));
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("dsl_deadlist");
    TCase *tc = tcase_create("deadlist");

    tcase_add_checked_fixture(tc, NULL, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, objects_grow_with_snapshots);
    tcase_add_loop_test(tc, clone_and_promote, 0, 4);
    tcase_add_loop_test(tc, without_the_feature, 0, 4);
    tcase_add_loop_test(tc, damaged, 0, 2);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
