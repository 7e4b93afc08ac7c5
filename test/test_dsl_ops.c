/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_ops.c - promote, rename, rollback, holds and deferred destroy: single operations with their errors, random sequences against
 * a model, and the power failing in the middle. After each sequence dsl_pool_check() judges every account, list and link.
 */
#include "support/effort.h"
#include "support/dslpool.h"
#include "support/faultdisk.h"
#include <stdio.h>

#define OK(x)       ck_assert_int_eq((x), 0)
#define ERR(x, err)                    \
    do {                               \
        int want_ = (err), got_ = (x); \
        ck_assert_int_eq(got_, want_); \
    } while (0)

static testpool_t *tp;

static void
setup(void)
{
    tp = tp_create(128 << 20, false, 1);
}

static void
teardown(void)
{
    tp_check(tp);
    tp_destroy(tp);
}

static model_fs_t *
fs(const char *name)
{
    model_fs_t *mf = tp_find(tp, name);

    ck_assert_msg(mf != NULL, "the model has no %s", name);
    return mf;
}

static void
change_and_snapshot(const char *name, const char *snap)
{
    tp_change(tp, fs(name));
    OK(tp_snapshot(tp, fs(name), snap));
}

static void
judge(void)
{
    tp_check(tp);
    tp_verify(tp);
    tp_reopen(tp);
    tp_verify(tp);
}

static void
expect_origin(const char *name, const char *origin)
{
    dsl_stats_t st;

    OK(dsl_dataset_stats(tp->tp_dp, name, &st));
    ck_assert_str_eq(st.dst_origin, origin);
    ck_assert_str_eq(fs(name)->mf_origin, origin);
}

/* ---- promote ---- */

/* a: 1 2 3, c a clone of a@2 with 5. */
static void
make_clone(void)
{
    OK(tp_create_fs(tp, "tank/a", NULL));
    change_and_snapshot("tank/a", "1");
    change_and_snapshot("tank/a", "2");
    OK(tp_clone(tp, fs("tank/a@2"), "tank/c"));
    change_and_snapshot("tank/a", "3");
    tp_change(tp, fs("tank/a"));
    change_and_snapshot("tank/c", "5");
    tp_change(tp, fs("tank/c"));
}

START_TEST(promote_there_and_back)
{
    make_clone();
    judge();
    OK(tp_promote(tp, fs("tank/c")));
    expect_origin("tank/c", "");
    expect_origin("tank/a", "tank/c@2");
    judge();
    ERR(dsl_promote(tp->tp_dp, "tank/c", NULL), EINVAL); /* no clone any more */
    OK(tp_promote(tp, fs("tank/a")));
    expect_origin("tank/c", "tank/a@2");
    judge();
    OK(tp_promote(tp, fs("tank/c")));
    OK(tp_destroy_ds(tp, fs("tank/a@3"))); /* the old trunk can go now */
    OK(tp_destroy_ds(tp, fs("tank/a")));
    judge();
}
END_TEST

START_TEST(promote_errors)
{
    char conflict[ZFS_MAX_DATASET_NAME_LEN];

    make_clone();
    ERR(dsl_promote(tp->tp_dp, "tank/a", NULL), EINVAL);
    ERR(dsl_promote(tp->tp_dp, "tank/a@1", NULL), EINVAL);
    ERR(dsl_promote(tp->tp_dp, "tank/none", NULL), ENOENT);
    OK(tp_snapshot(tp, fs("tank/c"), "1"));
    ERR(dsl_promote(tp->tp_dp, "tank/c", conflict), EEXIST);
    ck_assert_str_eq(conflict, "1");
    OK(tp_destroy_ds(tp, fs("tank/c@1")));
    OK(dsl_promote(tp->tp_dp, "tank/c", conflict));
}
END_TEST

/* Clones of clones, and other clones of the snapshots that move: in every order of promotions. */
START_TEST(promote_trees)
{
    static const char *const orders[][4] = {{"tank/c", "tank/d", "tank/e", "tank/a"},
                                            {"tank/d", "tank/e", "tank/a", "tank/c"},
                                            {"tank/e", "tank/c", "tank/a", "tank/d"},
                                            {"tank/d", "tank/c", "tank/e", "tank/d"},
                                            {"tank/e", "tank/d", "tank/c", "tank/e"}};

    make_clone();
    OK(tp_clone(tp, fs("tank/a@1"), "tank/d")); /* beside c, from before */
    change_and_snapshot("tank/d", "6");
    OK(tp_clone(tp, fs("tank/c@5"), "tank/e")); /* a clone of the clone */
    change_and_snapshot("tank/e", "7");
    tp_change(tp, fs("tank/e"));
    for (int i = 0; i < 4; i++) {
        int want = fs(orders[_i][i])->mf_origin[0] != '\0' ? 0 : EINVAL;
        ERR(tp_promote(tp, fs(orders[_i][i])), want);
        tp_change(tp, fs(orders[_i][i]));
        judge();
    }
}
END_TEST

/* Between file systems with quotas and reservations, far apart. */
START_TEST(promote_across_parents)
{
    OK(tp_create_fs(tp, "tank/p", NULL));
    OK(tp_create_fs(tp, "tank/q", NULL));
    OK(tp_create_fs(tp, "tank/p/a", NULL));
    for (int i = 0; i < 3; i++)
        OK(tp_write(tp, fs("tank/p/a"), i, 0, 8));
    OK(tp_snapshot(tp, fs("tank/p/a"), "1"));
    OK(tp_clone(tp, fs("tank/p/a@1"), "tank/q/c"));
    OK(tp_write(tp, fs("tank/p/a"), 0, 0, 8));
    tp_sync(tp);
    OK(tp_set_dir_u64(tp, "tank/q", offsetof(dsl_dir_phys_t, dd_quota), 200 << 10));
    ERR(tp_promote(tp, fs("tank/q/c")), EDQUOT);
    judge();
    OK(tp_set_dir_u64(tp, "tank/q", offsetof(dsl_dir_phys_t, dd_quota), 0));
    OK(tp_set_dir_u64(tp, "tank/q", offsetof(dsl_dir_phys_t, dd_reserved), 300 << 10));
    OK(tp_set_dir_u64(tp, "tank/p/a", offsetof(dsl_dir_phys_t, dd_reserved), 8 << 20));
    judge();
    OK(tp_promote(tp, fs("tank/q/c")));
    judge();
}
END_TEST

/* ---- rename ---- */

START_TEST(rename_errors)
{
    char name[300];

    OK(tp_create_fs(tp, "tank/a", NULL));
    OK(tp_create_fs(tp, "tank/a/b", NULL));
    OK(tp_snapshot(tp, fs("tank/a/b"), "snapshot"));
    ERR(dsl_rename(tp->tp_dp, "tank/x", "tank/y"), ENOENT);
    ERR(dsl_rename(tp->tp_dp, "tank/a", "tank/x/y"), ENOENT);
    ERR(dsl_rename(tp->tp_dp, "tank/a", "tank/a"), EEXIST);
    ERR(dsl_rename(tp->tp_dp, "tank/a", "tank/a/c"), EINVAL);
    ERR(dsl_rename(tp->tp_dp, "tank/a", "tank/a/b/c"), EINVAL);
    ERR(dsl_rename(tp->tp_dp, "tank", "tank/c"), EINVAL);
    ERR(dsl_rename(tp->tp_dp, "tank", "tonk"), EXDEV);
    ERR(dsl_rename(tp->tp_dp, "tank/a", "tan/a"), EXDEV);
    ERR(dsl_rename(tp->tp_dp, "tank/$MOS", "tank/mos"), EINVAL);
    ERR(dsl_rename(tp->tp_dp, "tank/a@x", "tank/a@y"), EINVAL);
    memset(name, 'n', sizeof(name));
    memcpy(name, "tank/", 5);
    name[255 - strlen("/b@snapshot") + 1] = '\0';
    ERR(dsl_rename(tp->tp_dp, "tank/a", name), ENAMETOOLONG); /* one byte too long, two levels below */
    name[255 - strlen("/b@snapshot")] = '\0';
    OK(dsl_rename(tp->tp_dp, "tank/a", name));
    OK(dsl_rename(tp->tp_dp, name, "tank/a"));
    ERR(dsl_rename_snapshot(tp->tp_dp, "tank/a/b", "none", "x", false), ENOENT);
    ERR(dsl_rename_snapshot(tp->tp_dp, "tank/a/b", "snapshot", "snapshot", false), EEXIST);
    ERR(dsl_rename_snapshot(tp->tp_dp, "tank/a/b", "snapshot", "a/b", false), EINVAL);
    memset(name, 'n', sizeof(name));
    name[255 - strlen("tank/a/b@") + 1] = '\0';
    ERR(dsl_rename_snapshot(tp->tp_dp, "tank/a/b", "snapshot", name, false), ENAMETOOLONG);
}
END_TEST

/* Inherited values are the new parent's. Writers under way write on. */
START_TEST(rename_across_parents)
{
    nvlist_t *nvl = nvlist_alloc();
    dsl_dataset_t *ds;
    char name[ZFS_MAX_DATASET_NAME_LEN], value[32];
    objset_t *os;
    objset_props_t op;

    OK(tp_create_fs(tp, "tank/p", NULL));
    OK(tp_create_fs(tp, "tank/q", NULL));
    OK(tp_create_fs(tp, "tank/p/a", NULL));
    OK(tp_create_fs(tp, "tank/p/a/b", NULL));
    nvlist_add_string(nvl, "copies", "2");
    OK(dsl_prop_set(tp->tp_dp, "tank/q", nvl));
    nvlist_free(nvl);
    OK(tp_write(tp, fs("tank/p/a/b"), 0, 0, 8));
    change_and_snapshot("tank/p/a/b", "1");
    OK(tp_set_dir_u64(tp, "tank/p/a", offsetof(dsl_dir_phys_t, dd_reserved), 8 << 20));
    OK(dsl_dataset_own(tp->tp_dp, "tank/p/a/b", false, tp, &ds));
    OK(dsl_dataset_objset(ds, &os));
    OK(tp_set_dir_u64(tp, "tank/q", offsetof(dsl_dir_phys_t, dd_quota), 1 << 20));
    ERR(tp_rename(tp, fs("tank/p/a"), "tank/q/moved"), EDQUOT); /* 8 MiB are reserved */
    OK(tp_set_dir_u64(tp, "tank/q", offsetof(dsl_dir_phys_t, dd_quota), 20 << 20));
    OK(tp_write(tp, fs("tank/p/a/b"), 1, 0, 8)); /* its promise moves, too */
    OK(tp_rename(tp, fs("tank/p/a"), "tank/q/moved"));
    dsl_dataset_name(ds, name);
    ck_assert_str_eq(name, "tank/q/moved/b");
    objset_get_props(os, &op);
    ck_assert_int_eq(op.op_copies, 2);
    OK(dsl_prop_get(tp->tp_dp, "tank/q/moved/b", "copies", value, sizeof(value), NULL, name));
    ck_assert_str_eq(value, "2");
    ck_assert_str_eq(name, "tank/q");
    tp_change(tp, fs("tank/q/moved/b"));
    dsl_dataset_disown(ds, tp);
    ERR(dsl_dataset_hold(tp->tp_dp, "tank/p/a", tp, &ds), ENOENT);
    judge();
}
END_TEST

START_TEST(rename_snapshots)
{
    dsl_dataset_t *ds;
    char name[ZFS_MAX_DATASET_NAME_LEN];

    OK(tp_create_fs(tp, "tank/a", NULL));
    OK(tp_create_fs(tp, "tank/a/b", NULL));
    OK(tp_create_fs(tp, "tank/a/b/c", NULL));
    change_and_snapshot("tank/a", "x");
    change_and_snapshot("tank/a/b/c", "x");
    change_and_snapshot("tank/a/b/c", "taken");
    OK(dsl_dataset_hold(tp->tp_dp, "tank/a/b/c@x", tp, &ds));
    ERR(tp_rename_snapshot(tp, fs("tank/a"), "x", "taken", true), EEXIST); /* none of them */
    OK(tp_rename_snapshot(tp, fs("tank/a"), "x", "y", true));
    dsl_dataset_name(ds, name);
    ck_assert_str_eq(name, "tank/a/b/c@y");
    dsl_dataset_rele(ds, tp);
    OK(tp_rename_snapshot(tp, fs("tank/a"), "y", "z", false));
    ck_assert_ptr_nonnull(tp_find(tp, "tank/a/b/c@y"));
    judge();
}
END_TEST

/* ---- rollback ---- */

START_TEST(rollback_to_a_name)
{
    dsl_dataset_t *ds;

    OK(tp_create_fs(tp, "tank/a", NULL));
    ERR(dsl_rollback(tp->tp_dp, "tank/a", NULL), ESRCH);
    change_and_snapshot("tank/a", "1");
    change_and_snapshot("tank/a", "2");
    tp_change(tp, fs("tank/a"));
    ERR(dsl_rollback(tp->tp_dp, "tank/a", "tank/a@1"), EXDEV);
    OK(dsl_dataset_hold(tp->tp_dp, "tank/a", tp, &ds));
    dsl_dataset_long_hold(ds, tp);
    ERR(dsl_rollback(tp->tp_dp, "tank/a", "tank/a@2"), EBUSY); /* somebody reads it */
    dsl_dataset_long_rele(ds, tp);
    dsl_dataset_rele(ds, tp);
    OK(dsl_rollback(tp->tp_dp, "tank/a", "tank/a@2"));
    memcpy(fs("tank/a")->mf_objects, fs("tank/a@2")->mf_objects, sizeof(fs("tank/a")->mf_objects));
    judge();
}
END_TEST

/* A mount stands in: it owns the head, and lends it out. */
typedef struct lender {
    dsl_dataset_t *l_ds;
    int l_suspended, l_resumed, l_refuse;
} lender_t;

static int
lend(void *arg, const char *name)
{
    lender_t *l = arg;

    if (l->l_refuse)
        return EBUSY;
    ck_assert_str_eq(name, "tank/a");
    l->l_suspended++;
    dsl_dataset_disown(l->l_ds, l);
    return 0;
}

static void
take_back(void *arg, const char *name)
{
    lender_t *l = arg;

    l->l_resumed++;
    OK(dsl_dataset_own(tp->tp_dp, name, false, l, &l->l_ds));
}

START_TEST(rollback_of_a_mounted_one)
{
    lender_t l = {.l_refuse = 1};
    dsl_suspend_ops_t ops = {lend, take_back, &l};

    OK(tp_create_fs(tp, "tank/a", NULL));
    change_and_snapshot("tank/a", "1");
    tp_change(tp, fs("tank/a"));
    OK(dsl_dataset_own(tp->tp_dp, "tank/a", false, &l, &l.l_ds));
    ERR(dsl_rollback(tp->tp_dp, "tank/a", NULL), EBUSY);
    dsl_pool_set_suspend(tp->tp_dp, &ops);
    ERR(dsl_rollback(tp->tp_dp, "tank/a", NULL), EBUSY);
    l.l_refuse = 0;
    OK(tp_rollback(tp, fs("tank/a")));
    ERR(dsl_rollback(tp->tp_dp, "tank/a", "tank/a@0"), EXDEV); /* resumed after an error, too */
    ck_assert_int_eq(l.l_suspended, 2);
    ck_assert_int_eq(l.l_resumed, 2);
    dsl_pool_set_suspend(tp->tp_dp, NULL);
    dsl_dataset_disown(l.l_ds, &l);
    judge();
}
END_TEST

/* ---- holds ---- */

typedef struct tags {
    char t_text[200];
    uint64_t t_when;
} tags_t;

static int
add_tag(void *arg, const char *tag, uint64_t when)
{
    tags_t *t = arg;

    snprintf(t->t_text + strlen(t->t_text), sizeof(t->t_text) - strlen(t->t_text), "%s ", tag);
    t->t_when = when;
    return 0;
}

START_TEST(holds)
{
    const char *both[] = {"tank/a@1", "tank/b@1"}, *none[] = {"tank/a@1", "tank/b@none"}, *head[] = {"tank/a"};
    const char *twice[] = {"tank/a@1", "tank/a@1"};
    char longtag[300];
    int failed = -1;
    tags_t t = {"", 0};
    dsl_stats_t st;

    OK(tp_create_fs(tp, "tank/a", NULL));
    OK(tp_create_fs(tp, "tank/b", NULL));
    change_and_snapshot("tank/a", "1");
    change_and_snapshot("tank/b", "1");
    ERR(dsl_hold(tp->tp_dp, none, 2, "keep", &failed), ENOENT);
    ck_assert_int_eq(failed, 1);
    OK(dsl_for_each_hold(tp->tp_dp, "tank/a@1", add_tag, &t)); /* neither has it */
    ck_assert_str_eq(t.t_text, "");
    ERR(dsl_hold(tp->tp_dp, head, 1, "keep", NULL), EINVAL);
    ERR(dsl_hold(tp->tp_dp, twice, 2, "keep", NULL), EEXIST);
    memset(longtag, 't', sizeof(longtag));
    longtag[256] = '\0';
    ERR(dsl_hold(tp->tp_dp, both, 2, longtag, NULL), E2BIG);
    OK(dsl_hold(tp->tp_dp, both, 2, "keep", NULL));
    ERR(dsl_hold(tp->tp_dp, both + 1, 1, "keep", NULL), EEXIST);
    OK(dsl_hold(tp->tp_dp, both + 1, 1, "also", NULL));
    OK(dsl_for_each_hold(tp->tp_dp, "tank/b@1", add_tag, &t));
    ck_assert(strstr(t.t_text, "keep ") != NULL && strstr(t.t_text, "also ") != NULL);
    ck_assert_uint_ge(t.t_when, 1700000000);
    ERR(dsl_destroy_snapshots(tp->tp_dp, both, 1, false, NULL), EBUSY);
    judge();
    OK(dsl_dataset_stats(tp->tp_dp, "tank/b@1", &st));
    ck_assert_uint_eq(st.dst_userrefs, 2);
    ERR(dsl_release(tp->tp_dp, both, 2, "also", &failed), ESRCH);
    ck_assert_int_eq(failed, 0);
    OK(dsl_release(tp->tp_dp, both, 2, "keep", NULL));
    ERR(dsl_release(tp->tp_dp, both, 1, "keep", NULL), ESRCH);
    OK(tp_destroy_ds(tp, fs("tank/a@1")));
}
END_TEST

START_TEST(deferred_destroy)
{
    dsl_dataset_t *ds;
    dsl_stats_t st;

    make_clone();
    OK(tp_hold(tp, fs("tank/a@2")));
    OK(tp_defer(tp, fs("tank/a@2"))); /* a hold and a clone */
    OK(dsl_dataset_stats(tp->tp_dp, "tank/a@2", &st));
    ck_assert(st.dst_defer_destroy);
    judge();
    OK(tp_release(tp, fs("tank/a@2")));
    judge();
    OK(tp_destroy_ds(tp, fs("tank/c@5")));
    OK(tp_destroy_ds(tp, fs("tank/c"))); /* which takes it along */
    ck_assert_ptr_null(tp_find(tp, "tank/a@2"));
    ERR(dsl_dataset_stats(tp->tp_dp, "tank/a@2", &st), ENOENT);
    judge();
    OK(tp_hold(tp, fs("tank/a@1")));
    OK(tp_hold(tp, fs("tank/a@1")));
    OK(tp_defer(tp, fs("tank/a@1")));
    OK(tp_release(tp, fs("tank/a@1")));
    OK(dsl_dataset_hold(tp->tp_dp, "tank/a@1", tp, &ds));
    dsl_dataset_long_hold(ds, tp);
    ERR(tp_release(tp, fs("tank/a@1")), EBUSY); /* somebody reads it */
    dsl_dataset_long_rele(ds, tp);
    dsl_dataset_rele(ds, tp);
    OK(tp_release(tp, fs("tank/a@1")));
    ck_assert_ptr_null(tp_find(tp, "tank/a@1"));
    OK(tp_defer(tp, fs("tank/a@3"))); /* nothing keeps it: at once */
    ck_assert_ptr_null(tp_find(tp, "tank/a@3"));
    judge();
}
END_TEST

/* ---- random sequences ---- */

static bool
names_collide(const model_fs_t *clone)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];
    const model_fs_t *origin = tp_find(tp, clone->mf_origin);
    size_t n = strcspn(clone->mf_origin, "@");

    for (int i = 0; i < MAX_FS; i++) {
        const model_fs_t *mf = &tp->tp_fs[i];
        if (strncmp(mf->mf_name, clone->mf_origin, n) != 0 || mf->mf_name[n] != '@' ||
            mf->mf_order > origin->mf_order)
            continue;
        snprintf(name, sizeof(name), "%.120s%.120s", clone->mf_name, mf->mf_name + n);
        if (tp_find(tp, name) != NULL)
            return true;
    }
    return false;
}

static void
random_rename(void)
{
    model_fs_t *mf = tp_pick(tp, false), *parent = tp_pick(tp, false);
    char to[ZFS_MAX_DATASET_NAME_LEN];
    size_t n = strlen(mf->mf_name);

    if (strlen(parent->mf_name) > 60)
        return;
    snprintf(to, sizeof(to), "%.60s/r%d", parent->mf_name, ++tp->tp_names);
    bool below = strncmp(parent->mf_name, mf->mf_name, n) == 0 && strchr("/", parent->mf_name[n]) != NULL;
    ERR(tp_rename(tp, mf, to), strcmp(mf->mf_name, "tank") == 0 || below ? EINVAL : 0);
}

static void
random_rename_snapshot(void)
{
    model_fs_t *snap = tp_pick(tp, true);
    char name[ZFS_MAX_DATASET_NAME_LEN], to[20];

    if (snap == NULL)
        return;
    strcpy(name, snap->mf_name);
    char *at = strchr(name, '@');
    *at = '\0';
    snprintf(to, sizeof(to), "s%d", (int)tp_rnd(tp, 8)); /* names meet */
    model_fs_t *head = tp_find(tp, name);
    *at = '@';
    char full[ZFS_MAX_DATASET_NAME_LEN];
    snprintf(full, sizeof(full), "%.120s@%s", head->mf_name, to);
    ERR(tp_rename_snapshot(tp, head, at + 1, to, false), tp_find(tp, full) != NULL ? EEXIST : 0);
}

static void
random_hold(void)
{
    model_fs_t *snap = tp_pick(tp, true);
    uint64_t what = tp_rnd(tp, 7);

    if (snap == NULL)
        return;
    if (what < 3 && snap->mf_holds < 3)
        OK(tp_hold(tp, snap));
    else if (what < 6)
        ERR(tp_release(tp, snap), snap->mf_holds == 0 ? ESRCH : 0);
    else
        OK(tp_defer(tp, snap));
}

static void
random_op(void)
{
    model_fs_t *mf = tp_pick(tp, false);
    uint64_t what = tp_rnd(tp, 100);

    if (what < 15)
        ERR(tp_promote(tp, mf), mf->mf_origin[0] == '\0' ? EINVAL : names_collide(mf) ? EEXIST : 0);
    else if (what < 22)
        random_rename();
    else if (what < 30)
        random_rename_snapshot();
    else if (what < 42)
        random_hold();
    else
        tp_random_op(tp);
}

START_TEST(random_sequences)
{
    tp->tp_rng += (uint64_t)_i * 7919;
    for (int i = 0; i < effort(150); i++) {
        random_op();
        if (i % 10 == 9)
            tp_check(tp);
    }
    judge();
}
END_TEST

START_TEST(zdb_agrees)
{
    teardown();
    tp = tp_create(128 << 20, true, 1000 + (uint64_t)_i);
    for (int i = 0; i < effort(120); i++)
        random_op();
    judge();
    tp_close(tp);
    int rc = tp_zdb(tp);
    ck_assert_msg(rc == 0 || rc == 77, "zdb says no");
    tp_open(tp);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("dsl ops");
    TCase *tc = tcase_create("single");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, promote_there_and_back);
    tcase_add_test(tc, promote_errors);
    tcase_add_loop_test(tc, promote_trees, 0, 5);
    tcase_add_test(tc, promote_across_parents);
    tcase_add_test(tc, rename_errors);
    tcase_add_test(tc, rename_across_parents);
    tcase_add_test(tc, rename_snapshots);
    tcase_add_test(tc, rollback_to_a_name);
    tcase_add_test(tc, rollback_of_a_mounted_one);
    tcase_add_test(tc, holds);
    tcase_add_test(tc, deferred_destroy);
    suite_add_tcase(s, tc);
    tc = tcase_create("random");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, random_sequences, 0, 8);
    tcase_add_loop_test(tc, zdb_agrees, 0, 2);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
