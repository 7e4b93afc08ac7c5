/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_space.c - full pools: ENOSPC comes at assign, never in the sync; what was freed can be used again; quotas and reservations.
 */
#include "support/dslpool.h"
#include "support/faultdisk.h"
#include <stdio.h>

#define OK(x) ck_assert_int_eq((x), 0)

static testpool_t *tp;

static void
setup(void)
{
    tp = tp_create(64 << 20, false, 5);
    OK(tp_create_fs(tp, "tank/a", NULL));
}

static void
teardown(void)
{
    tp_check(tp);
    tp_destroy(tp);
}

/* One large object of random bytes, as far as it goes; *bytes: how far it went. Returns the error that ended it. */
static int
fill(const char *fs, uint64_t max, uint64_t *bytes)
{
    uint32_t step = 256 << 10;
    uint64_t object = 0;
    uint8_t *buf = xmalloc(step);
    dsl_dataset_t *ds;
    objset_t *os;
    int err = 0;

    random_bytes(buf, step);
    OK(dsl_dataset_hold(tp->tp_dp, fs, buf, &ds));
    OK(dsl_dataset_objset(ds, &os));
    for (*bytes = 0; *bytes < max && err == 0;) {
        dmu_tx_t *tx = dmu_tx_create(os);
        dmu_tx_hold_write(tx, object == 0 ? DMU_NEW_OBJECT : object, *bytes, step);
        if ((err = dmu_tx_assign(tx, DMU_TX_WAIT)) != 0) {
            dmu_tx_abort(tx);
            break;
        }
        if (object == 0)
            OK(dmu_object_alloc(os, DMU_OT_PLAIN_FILE_CONTENTS, 128 << 10, DMU_OT_NONE, 0, 0, tx, &object));
        memcpy(buf, bytes, sizeof(*bytes)); /* no two blocks alike */
        OK(dmu_write(os, object, *bytes, step, buf, tx));
        dmu_tx_commit(tx);
        *bytes += step;
    }
    dsl_dataset_rele(ds, buf);
    free(buf);
    return err;
}

static void
free_all(const char *fs)
{
    uint64_t object = 0;
    dsl_dataset_t *ds;
    objset_t *os;

    OK(dsl_dataset_hold(tp->tp_dp, fs, fs, &ds));
    OK(dsl_dataset_objset(ds, &os));
    while (dmu_object_next(os, &object, false, 0) == 0) {
        OK(dmu_free_long_range(os, object, 0, DMU_OBJECT_END));
        dmu_tx_t *tx = dmu_tx_create(os);
        dmu_tx_hold_free(tx, object, 0, DMU_OBJECT_END);
        dmu_tx_mark_netfree(tx);
        OK(dmu_tx_assign(tx, DMU_TX_WAIT));
        OK(dmu_object_free(os, object, tx));
        dmu_tx_commit(tx);
    }
    dsl_dataset_rele(ds, fs);
}

START_TEST(full_and_empty)
{
    uint64_t first, again;

    for (int round = 0; round < 3; round++) {
        ck_assert_int_eq(fill("tank/a", UINT64_MAX, &first), ENOSPC);
        tp_check(tp);
        ck_assert_uint_gt(first, 40 << 20);
        free_all("tank/a"); /* a full pool can be emptied */
        ck_assert_int_eq(fill("tank/a", UINT64_MAX, &again),
                         ENOSPC); /* at once, deferred frees are waited for */
        ck_assert_uint_ge(again + (4 << 20), first);
        free_all("tank/a");
    }
}
END_TEST

START_TEST(snapshot_holds_space)
{
    const char *s[] = {"tank/a@s"};
    uint64_t n;
    dsl_stats_t st;

    ck_assert_int_eq(fill("tank/a", UINT64_MAX, &n), ENOSPC);
    OK(dsl_snapshot(tp->tp_dp, s, 1, NULL, NULL) == ENOSPC ? 0 : 0); /* may or may not fit */
    tp_sync(tp);
    if (dsl_dataset_stats(tp->tp_dp, s[0], &st) == 0) {
        free_all("tank/a");
        ck_assert_int_eq(fill("tank/a", UINT64_MAX, &n), ENOSPC);
        ck_assert_uint_lt(n, 8 << 20);
        OK(dsl_destroy_snapshots(tp->tp_dp, s, 1, false, NULL));
    }
    free_all("tank/a");
    ck_assert_int_eq(fill("tank/a", UINT64_MAX, &n), ENOSPC);
    ck_assert_uint_gt(n, 40 << 20);
}
END_TEST

/* Overwriting in a full pool: each txg needs room for the new before the old is free. */
START_TEST(overwrite_when_full)
{
    model_fs_t *fs = tp_find(tp, "tank/a");
    uint64_t n;

    OK(tp_create_fs(tp, "tank/b", NULL));
    for (int o = 0; o < FS_OBJECTS; o++)
        OK(tp_write(tp, fs, o, 0, FS_BLOCKS));
    ck_assert_int_eq(fill("tank/b", UINT64_MAX, &n), ENOSPC);
    for (int i = 0; i < 300; i++) {
        int err = tp_write(tp, fs, (int)tp_rnd(tp, FS_OBJECTS), (uint32_t)tp_rnd(tp, FS_BLOCKS), 1);
        ck_assert(err == 0 || err == ENOSPC);
    }
    tp_verify_fs(tp, tp->tp_dp, fs);
}
END_TEST

START_TEST(quota)
{
    uint64_t n;
    dsl_stats_t st;

    OK(tp_create_fs(tp, "tank/a/b", NULL));
    OK(tp_set_dir_u64(tp, "tank/a", offsetof(dsl_dir_phys_t, dd_quota), 10 << 20));
    OK(dsl_dataset_stats(tp->tp_dp, "tank/a/b", &st));
    ck_assert_uint_le(st.dst_avail, 10 << 20);
    ck_assert_int_eq(fill("tank/a/b", UINT64_MAX, &n), EDQUOT);
    ck_assert_uint_gt(n, 8 << 20);
    ck_assert_uint_le(n, 10 << 20);
    tp_sync(tp);
    OK(dsl_dataset_stats(tp->tp_dp, "tank/a", &st));
    ck_assert_uint_le(st.dst_used, 10 << 20);
    ck_assert_int_eq(fill("tank/a", UINT64_MAX, &n), EDQUOT);
    OK(fill("tank", 1 << 20, &n));
    free_all("tank/a/b");
    OK(fill("tank/a", 5 << 20, &n));
}
END_TEST

START_TEST(reservation)
{
    uint64_t n;
    dsl_stats_t st;

    OK(tp_set_dir_u64(tp, "tank/a", offsetof(dsl_dir_phys_t, dd_reserved), 20 << 20));
    tp_check(tp);
    OK(dsl_dataset_stats(tp->tp_dp, "tank", &st));
    ck_assert_uint_gt(st.dst_usedby[DD_USED_CHILD_RSRV], 19 << 20);
    ck_assert_int_eq(fill("tank", UINT64_MAX, &n), ENOSPC);
    ck_assert_uint_lt(n, 36 << 20);
    tp_check(tp);
    OK(fill("tank/a", 15 << 20, &n)); /* its space was kept */
    tp_check(tp);
    OK(tp_set_dir_u64(tp, "tank/a", offsetof(dsl_dir_phys_t, dd_reserved), 0));
}
END_TEST

/* Blocks of a destroyed snapshot pass through free_bpobj; a close in between loses none. */
START_TEST(freed_over_txgs)
{
    const char *s[] = {"tank/a@s"};
    uint64_t n, avail, used, before;

    OK(fill("tank/a", 20 << 20, &n));
    OK(dsl_snapshot(tp->tp_dp, s, 1, NULL, NULL));
    free_all("tank/a");
    tp_sync(tp);
    dsl_pool_space(tp->tp_dp, &avail, &before);
    ck_assert_uint_gt(before, 20 << 20);
    OK(dsl_destroy_snapshots(tp->tp_dp, s, 1, false, NULL));
    tp_reopen(tp);
    dsl_pool_space(tp->tp_dp, &avail, &used);
    ck_assert_uint_lt(used, 2 << 20);
}
END_TEST

/* The logs of the space maps stay short, however long the pool is used. */
START_TEST(space_maps_condense)
{
    model_fs_t *fs = tp_find(tp, "tank/a");
    uint64_t length = 0;

    for (int i = 0; i < 400; i++) {
        OK(tp_write(tp, fs, (int)tp_rnd(tp, FS_OBJECTS), 0, FS_BLOCKS));
        if (i % 2 == 0)
            OK(txg_wait_synced(tp->tp_dp->dp_txg, 0));
    }
    tp_sync(tp);
    for (uint64_t m = 0; m < metaslab_count(tp->tp_dp->dp_spa); m++)
        if (tp->tp_dp->dp_space_maps[m] != NULL)
            length = MAX(length, space_map_length(tp->tp_dp->dp_space_maps[m]));
    ck_assert_uint_lt(length, 64 << 10);
    ck_assert_int_lt(tp->tp_dp->dp_max_pass, 15);
    tp_reopen(tp);
    tp_verify(tp);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("dsl space");
    TCase *tc = tcase_create("space");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, full_and_empty);
    tcase_add_test(tc, snapshot_holds_space);
    tcase_add_test(tc, overwrite_when_full);
    tcase_add_test(tc, quota);
    tcase_add_test(tc, reservation);
    tcase_add_test(tc, freed_over_txgs);
    tcase_add_test(tc, space_maps_condense);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
