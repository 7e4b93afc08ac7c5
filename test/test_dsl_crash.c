/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_crash.c - power fails at every write of a workload with snapshots, clones, rollback and destroys.
 *
 * The recording disk rebuilds what may be on disk after each prefix of its writes and, with seeds, after any subset of the writes since the
 * last flush, some of them torn. Each such disk must open, satisfy dsl_pool_check(), and show the state after some number of steps:
 *
 *     step      1         2         3          each step ends with txg_wait_synced(): it is acknowledged
 *     events  ──|─────────|──cut────|──►       the cut must show step 2 or step 3, nothing older, nothing in between
 */
#include "support/effort.h"
#include "support/dslpool.h"
#include "support/faultdisk.h"
#include <stdio.h>

#define OK(x)     ck_assert_int_eq((x), 0)
#define STEPS_MAX 40

typedef struct step {
    uint64_t st_events; /* the disk had seen so many when the step was acknowledged */
    model_fs_t st_fs[MAX_FS];
} step_t;

static testpool_t *tp;
static step_t *steps;
static int nsteps;

static void
acknowledge(void)
{
    tp_sync(tp);
    steps[nsteps].st_events = faultdisk_events(tp->tp_disk);
    memcpy(steps[nsteps].st_fs, tp->tp_fs, sizeof(tp->tp_fs));
    nsteps++;
}

/* ---- does a cut disk show a step? ---- */

static bool
object_matches(objset_t *os, const model_object_t *mo)
{
    uint8_t want[64], got[64];

    for (uint32_t b = 0; b < FS_BLOCKS; b++) {
        memset(got, 1, sizeof(got));
        tp_block_head(mo->mo_seed[b], want, sizeof(want));
        if (dmu_read(os, mo->mo_object, (uint64_t)b * mo->mo_blksz, sizeof(got), got) != 0 ||
            memcmp(want, got, sizeof(got)) != 0)
            return false;
    }
    return true;
}

static bool
fs_matches(dsl_pool_t *dp, const model_fs_t *mf)
{
    dsl_dataset_t *ds;
    objset_t *os;
    bool same = true;

    if (dsl_dataset_hold(dp, mf->mf_name, tp, &ds) != 0)
        return false;
    OK(dsl_dataset_objset(ds, &os));
    for (int o = 0; o < FS_OBJECTS && same; o++)
        same = mf->mf_objects[o].mo_object == 0 || object_matches(os, &mf->mf_objects[o]);
    dsl_dataset_rele(ds, tp);
    return same;
}

typedef struct count {
    dsl_pool_t *c_dp;
    int c_n;
} count_t;

static int
count_fs(void *arg, const char *name)
{
    count_t *c = arg;

    c->c_n++;
    if (strchr(name, '@') != NULL)
        return 0;
    OK(dsl_for_each_snapshot(c->c_dp, name, count_fs, c));
    return dsl_for_each_child(c->c_dp, name, count_fs, c);
}

static bool
step_matches(dsl_pool_t *dp, const step_t *st)
{
    count_t c = {dp, 0};
    int n = 0;

    for (int i = 0; i < MAX_FS; i++) {
        if (st->st_fs[i].mf_name[0] == '\0')
            continue;
        n++;
        if (!fs_matches(dp, &st->st_fs[i]))
            return false;
    }
    OK(count_fs(&c, "tank"));
    return c.c_n == n;
}

static void
report(void *arg, const char *text)
{
    fprintf(stderr, "check: %s\n", text);
}

/* The pool on a cut disk: sound, and at the last acknowledged step or the one under way. */
static void
judge(uint64_t events, uint64_t seed)
{
    faultdisk_t *cut = faultdisk_cut(tp->tp_disk, events, seed);
    disk_t disk = faultdisk_disk(cut);
    dsl_pool_t *dp;
    int last = 0, err = dsl_pool_open(&disk, DSL_POOL_RDONLY, &dp); /* writing, it would go on at once */

    ck_assert_msg(err == 0, "cut after %lu events, seed %lu: %s", events, seed, cowbird_strerror(err));
    ck_assert_msg(dsl_pool_check(dp, report, NULL) == 0, "cut after %lu events, seed %lu", events, seed);
    while (last + 1 < nsteps && steps[last + 1].st_events <= events)
        last++;
    bool found = step_matches(dp, &steps[last]) || (last + 1 < nsteps && step_matches(dp, &steps[last + 1]));
    ck_assert_msg(found, "cut after %lu events, seed %lu: neither step %d nor %d", events, seed, last,
                  last + 1);
    OK(dsl_pool_close(dp));
    OK(dsl_pool_open(&disk, 0, &dp));
    OK(dsl_pool_close(dp)); /* what was interrupted (free_bpobj) goes on, to its end */
    OK(dsl_pool_open(&disk, DSL_POOL_RDONLY, &dp));
    ck_assert_msg(dsl_pool_check(dp, report, NULL) == 0, "after going on: cut after %lu events, seed %lu",
                  events, seed);
    OK(dsl_pool_close(dp));
    faultdisk_destroy(cut);
}

/* ---- the workload ---- */

static void
setup(void)
{
    tp = tp_create(64 << 20, false, 77);
    steps = xzalloc(STEPS_MAX * sizeof(step_t));
    nsteps = 0;
    tp_sync(tp);
    faultdisk_record(tp->tp_disk);
}

static void
teardown(void)
{
    tp_destroy(tp);
    free(steps);
}

static void
change(const char *fs)
{
    for (int i = 0; i < 2; i++)
        OK(tp_write(tp, tp_find(tp, fs), (int)tp_rnd(tp, FS_OBJECTS), (uint32_t)tp_rnd(tp, 20), 4));
    OK(tp_punch(tp, tp_find(tp, fs), (int)tp_rnd(tp, FS_OBJECTS), (uint32_t)tp_rnd(tp, 20), 3));
    acknowledge();
}

static void
workload(void)
{
    static const char *const order[] = {"tank/a@3", "tank/c@5", "tank/a@1", "tank/a@2"};

    acknowledge();
    OK(tp_create_fs(tp, "tank/a", NULL));
    acknowledge();
    change("tank/a");
    OK(tp_snapshot(tp, tp_find(tp, "tank/a"), "1"));
    acknowledge();
    change("tank/a");
    OK(tp_snapshot(tp, tp_find(tp, "tank/a"), "2"));
    acknowledge();
    OK(tp_clone(tp, tp_find(tp, "tank/a@1"), "tank/c"));
    acknowledge();
    change("tank/c");
    OK(tp_snapshot(tp, tp_find(tp, "tank/c"), "5"));
    acknowledge();
    change("tank/a");
    OK(tp_snapshot(tp, tp_find(tp, "tank/a"), "3"));
    acknowledge();
    change("tank/a");
    OK(tp_rollback(tp, tp_find(tp, "tank/a")));
    acknowledge();
    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        if (i == 2) {
            OK(tp_destroy_ds(tp, tp_find(tp, "tank/c")));
            acknowledge();
        }
        OK(tp_destroy_ds(tp, tp_find(tp, order[i])));
        acknowledge();
    }
    OK(tp_destroy_ds(tp, tp_find(tp, "tank/a")));
    acknowledge();
}

/* Promote there and back, names that change far above, holds and what goes with the last of them. */
static void
operations(void)
{
    acknowledge();
    OK(tp_create_fs(tp, "tank/a", NULL));
    acknowledge();
    OK(tp_create_fs(tp, "tank/b", NULL));
    acknowledge();
    change("tank/a");
    OK(tp_snapshot(tp, tp_find(tp, "tank/a"), "1"));
    acknowledge();
    change("tank/a");
    OK(tp_snapshot(tp, tp_find(tp, "tank/a"), "2"));
    acknowledge();
    change("tank/a");
    OK(tp_clone(tp, tp_find(tp, "tank/a@2"), "tank/b/c"));
    acknowledge();
    change("tank/b/c");
    OK(tp_promote(tp, tp_find(tp, "tank/b/c")));
    acknowledge();
    OK(tp_rename(tp, tp_find(tp, "tank/b"), "tank/a/moved"));
    acknowledge();
    OK(tp_rename_snapshot(tp, tp_find(tp, "tank"), "2", "two", true));
    acknowledge();
    OK(tp_hold(tp, tp_find(tp, "tank/a/moved/c@1")));
    acknowledge();
    OK(tp_defer(tp, tp_find(tp, "tank/a/moved/c@1")));
    acknowledge();
    OK(tp_release(tp, tp_find(tp, "tank/a/moved/c@1")));
    acknowledge();
    OK(tp_rename(tp, tp_find(tp, "tank/a/moved/c"), "tank/c"));
    acknowledge();
    OK(tp_promote(tp, tp_find(tp, "tank/a")));
    acknowledge();
    OK(tp_defer(tp, tp_find(tp, "tank/a@two")));
    acknowledge();
    OK(tp_destroy_ds(tp, tp_find(tp, "tank/c"))); /* with the origin */
    acknowledge();
}

/* Fewer under the sanitizers. */
static uint64_t
every(uint64_t n)
{
    return MAX(n * 100 / (uint64_t)MIN(effort(100), 100), 1);
}

START_TEST(operations_prefix)
{
    operations();
    uint64_t n = faultdisk_events(tp->tp_disk);
    for (uint64_t i = (uint64_t)_i; i <= n; i += every(4))
        judge(i, 0);
}
END_TEST

START_TEST(operations_subsets)
{
    operations();
    uint64_t n = faultdisk_events(tp->tp_disk);
    for (uint64_t i = (uint64_t)_i * 5; i <= n; i += every(11))
        judge(i, i * 17 + (uint64_t)_i + 1);
}
END_TEST

/* In order: every prefix (in turns, to keep each run short). */
START_TEST(every_prefix)
{
    workload();
    uint64_t n = faultdisk_events(tp->tp_disk);
    for (uint64_t i = (uint64_t)_i; i <= n; i += every(4))
        judge(i, 0);
}
END_TEST

/* Any subset of what was written since the last flush, some of it torn. */
START_TEST(subsets_and_tears)
{
    workload();
    uint64_t n = faultdisk_events(tp->tp_disk);
    for (uint64_t i = (uint64_t)_i * 5; i <= n; i += every(11))
        judge(i, i * 31 + (uint64_t)_i + 1);
}
END_TEST

/* A write error: the pool is suspended, says so, and what was acknowledged is there after. */
START_TEST(write_errors)
{
    char name[32];
    int err = 0;

    OK(tp_create_fs(tp, "tank/a", NULL));
    change("tank/a");
    faultdisk_fail_at(tp->tp_disk, FD_WRITE | FD_FLUSH, 5 + (uint64_t)_i * 9, UINT64_MAX);
    for (int i = 0; i < 10 && err == 0; i++) {
        snprintf(name, sizeof(name), "s%d", i);
        err = tp_snapshot(tp, tp_find(tp, "tank/a"), name);
    }
    ck_assert_int_eq(err, EIO);
    ck_assert_int_eq(dsl_create(tp->tp_dp, "tank/late", DMU_OST_OTHER, NULL), EIO);
    ck_assert_int_eq(dsl_pool_close(tp->tp_dp), EIO);
    tp->tp_dp = NULL;
    faultdisk_reset(tp->tp_disk);
    tp_open(tp);
    tp_check(tp);
    tp_verify(tp);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("dsl crash");
    TCase *tc = tcase_create("crash");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, every_prefix, 0, 4);
    tcase_add_loop_test(tc, subsets_and_tears, 0, 4);
    tcase_add_loop_test(tc, operations_prefix, 0, 4);
    tcase_add_loop_test(tc, operations_subsets, 0, 4);
    tcase_add_loop_test(tc, write_errors, 0, 6);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
