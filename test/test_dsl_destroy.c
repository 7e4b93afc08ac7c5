/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_destroy.c - what a destroy gives back is what was said before; what it costs; what a crash in the middle leaves.
 *
 * The pool's used bytes less the MOS's own are compared before and after, when nothing is left to be freed.
 */
#include <stdio.h>
#include "support/dslpool.h"

#define OK(x) ck_assert_int_eq((x), 0)

static testpool_t *tp;

static void
teardown(void)
{
    tp_destroy(tp);
    tp = NULL;
}

static uint64_t
dir_used(dsl_dir_t *dd)
{
    mutex_enter(&dd->dd_lock);
    uint64_t used = dd->dd_phys.dd_used_bytes;
    mutex_exit(&dd->dd_lock);
    return used;
}

static bool
freeing(void)
{
    mutex_enter(&tp->tp_dp->dp_lock);
    bool want = tp->tp_dp->dp_want_txg;
    mutex_exit(&tp->tp_dp->dp_lock);
    return want;
}

/* All that datasets use, when nothing is on its way out. */
static uint64_t
settled_used(void)
{
    tp_sync(tp);
    while (freeing())
        OK(txg_wait_synced(tp->tp_dp->dp_txg, txg_open_txg(tp->tp_dp->dp_txg)));
    ck_assert_uint_eq(dir_used(tp->tp_dp->dp_free_dir), 0);
    return dir_used(tp->tp_dp->dp_root_dir) - dir_used(tp->tp_dp->dp_mos_dir);
}

/* ---- the prediction ---- */

/* Any of the snapshots that have no clones, of all file systems; then they go. */
static void
predict_and_destroy(void)
{
    char name[MAX_FS][ZFS_MAX_DATASET_NAME_LEN];
    const char *names[MAX_FS + 1];
    uint64_t bytes, before;
    int n = 0;

    for (int i = 0; i < MAX_FS; i++) {
        model_fs_t *mf = &tp->tp_fs[i];
        if (strchr(mf->mf_name, '@') == NULL || tp_has_clones(tp, mf) || tp_rnd(tp, 2) == 0)
            continue;
        strcpy(name[n], mf->mf_name);
        names[n] = name[n];
        n++;
    }
    if (n == 0)
        return;
    for (int i = n - 1; i > 0; i--) { /* in any order, one of them twice */
        uint64_t j = tp_rnd(tp, (uint64_t)i + 1);
        const char *t = names[i];
        names[i] = names[j];
        names[j] = t;
    }
    names[n] = names[0];
    before = settled_used();
    OK(dsl_destroy_space(tp->tp_dp, names, n + 1, &bytes));
    OK(dsl_destroy_snapshots(tp->tp_dp, names, n + 1, false, NULL));
    ck_assert_uint_eq(before - settled_used(), bytes);
    for (int i = 0; i < n; i++)
        memset(tp_find(tp, name[i]), 0, sizeof(model_fs_t));
}

START_TEST(prediction)
{
    tp = tp_create(256 << 20, _i % 2 == 0, (uint64_t)_i + 17);
    for (int round = 0; round < 8; round++) {
        for (int op = 0; op < 25; op++)
            tp_random_op(tp);
        predict_and_destroy();
    }
    tp_check(tp);
    tp_verify(tp);
}
END_TEST

START_TEST(prediction_errors)
{
    const char *none[] = {"tank@none"}, *head[] = {"tank"};
    uint64_t bytes;

    tp = tp_create(64 << 20, false, 1);
    OK(dsl_destroy_space(tp->tp_dp, none, 0, &bytes));
    ck_assert_uint_eq(bytes, 0);
    ck_assert_int_eq(dsl_destroy_space(tp->tp_dp, none, 1, &bytes), ENOENT);
    ck_assert_int_eq(dsl_destroy_space(tp->tp_dp, head, 1, &bytes), EINVAL);
}
END_TEST

/* ---- written since ---- */

typedef struct born {
    uint64_t b_bytes;
} born_t;

static int
born_cb(void *arg, const traverse_block_t *tb)
{
    born_t *b = arg;

    if (tb->tb_zb.zb_level != ZB_DNODE_LEVEL && !BP_IS_HOLE(tb->tb_bp))
        b->b_bytes += bp_get_asize(tb->tb_bp);
    return 0;
}

/* The truth: blocks of the later one born after the earlier one's txg. */
static uint64_t
born_since(dsl_dataset_t *ds, uint64_t txg)
{
    born_t b = {0};

    if (!BP_IS_HOLE(&ds->ds_phys.ds_bp) && ds->ds_phys.ds_bp.blk_birth > txg)
        OK(traverse_objset(tp->tp_dp->dp_spa, &ds->ds_phys.ds_bp, ds->ds_object, txg, TRAVERSE_PRE, NULL,
                           born_cb, &b, NULL));
    return b.b_bytes;
}

static void
compare_written(const model_fs_t *from, const model_fs_t *to)
{
    dsl_dataset_t *fds, *tds;
    uint64_t bytes = 0;

    OK(dsl_dataset_hold(tp->tp_dp, from->mf_name, tp, &fds));
    OK(dsl_dataset_hold(tp->tp_dp, to->mf_name, tp, &tds));
    int err = dsl_space_written(tp->tp_dp, from->mf_name, to->mf_name, &bytes);
    if (from == to)
        ck_assert_int_eq(err, 0);
    else if (!dsl_dataset_is_before(tds, fds))
        ck_assert_int_eq(err, EXDEV);
    else
        ck_assert_msg(err == 0 && bytes == born_since(tds, fds->ds_phys.ds_creation_txg),
                      "%s since %s: %d, %lu, is %lu", to->mf_name, from->mf_name, err, bytes,
                      born_since(tds, fds->ds_phys.ds_creation_txg));
    dsl_dataset_rele(fds, tp);
    dsl_dataset_rele(tds, tp);
}

START_TEST(written)
{
    uint64_t bytes;

    tp = tp_create(256 << 20, false, (uint64_t)_i + 31);
    for (int round = 0; round < 6; round++) {
        for (int op = 0; op < 25; op++)
            tp_random_op(tp);
        tp_sync(tp);
        for (int i = 0; i < MAX_FS; i++)
            for (int j = 0; j < MAX_FS; j++)
                if (strchr(tp->tp_fs[i].mf_name, '@') != NULL && tp->tp_fs[j].mf_name[0] != '\0')
                    compare_written(&tp->tp_fs[i], &tp->tp_fs[j]);
    }
    ck_assert_int_eq(dsl_space_written(tp->tp_dp, "tank@none", "tank", &bytes), ENOENT);
    ck_assert_int_eq(dsl_space_written(tp->tp_dp, "tank", "tank", &bytes), EINVAL);
}
END_TEST

/* Numbers can be asked for at any moment, while others write. */
static void *
asker(void *arg)
{
    const char *names[] = {"tank/a@s"};
    uint64_t bytes;

    while (!__atomic_load_n((bool *)arg, __ATOMIC_ACQUIRE)) {
        OK(dsl_space_written(tp->tp_dp, "tank/a@s", "tank/a", &bytes));
        OK(dsl_destroy_space(tp->tp_dp, names, 1, &bytes));
    }
    return NULL;
}

START_TEST(asked_while_writing)
{
    bool stop = false;
    pthread_t thread;

    tp = tp_create(128 << 20, false, 9);
    OK(tp_create_fs(tp, "tank/a", NULL));
    model_fs_t *fs = tp_find(tp, "tank/a");
    for (int o = 0; o < FS_OBJECTS; o++)
        OK(tp_write(tp, fs, o, 0, FS_BLOCKS));
    OK(tp_snapshot(tp, fs, "s"));
    OK(pthread_create(&thread, NULL, asker, &stop));
    for (int i = 0; i < 30; i++) {
        tp_change(tp, fs);
        tp_sync(tp);
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELEASE);
    OK(pthread_join(thread, NULL));
    tp_check(tp);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("dsl_destroy");
    TCase *tc = tcase_create("destroy");

    tcase_add_checked_fixture(tc, NULL, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, prediction, 0, 4);
    tcase_add_test(tc, prediction_errors);
    tcase_add_loop_test(tc, written, 0, 2);
    tcase_add_test(tc, asked_while_writing);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
