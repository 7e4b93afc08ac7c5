/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_bookmark.c - bookmarks: made, found, counted, gone with their file system; what was written since one.
 */
#include <stdio.h>
#include "support/dslpool.h"

#define OK(x) ck_assert_int_eq((x), 0)

static testpool_t *tp;
static model_fs_t *fs;

static void
setup(void)
{
    tp = tp_create(64 << 20, true, 3);
    OK(tp_create_fs(tp, "tank/a", NULL));
    fs = tp_find(tp, "tank/a");
    OK(tp_write(tp, fs, 0, 0, FS_BLOCKS));
    OK(tp_snapshot(tp, fs, "one"));
    OK(tp_write(tp, fs, 1, 0, FS_BLOCKS));
    OK(tp_snapshot(tp, fs, "two"));
}

static void
teardown(void)
{
    tp_check(tp);
    tp_destroy(tp);
}

static int
mark(const char *name, const char *source)
{
    return dsl_bookmark(tp->tp_dp, &name, &source, 1, NULL);
}

static int
unmark(const char *name)
{
    return dsl_destroy_bookmarks(tp->tp_dp, &name, 1, NULL);
}

static int
destroy_snapshot(const char *name)
{
    int err = dsl_destroy_snapshots(tp->tp_dp, &name, 1, false, NULL);

    if (err == 0)
        memset(tp_find(tp, name), 0, sizeof(model_fs_t));
    return err;
}

static uint64_t
feature_count(const char *guid)
{
    uint64_t count = 0;

    OK(feature_get(tp->tp_dp, guid, &count));
    return count;
}

typedef struct names {
    char n_text[200];
} names_t;

static int
add_name(void *arg, const char *name)
{
    names_t *n = arg;

    strcat(strcat(n->n_text, name), " ");
    return 0;
}

static const char *
listed(const char *of)
{
    static names_t n;

    n.n_text[0] = '\0';
    OK(dsl_for_each_bookmark(tp->tp_dp, of, add_name, &n));
    return n.n_text;
}

/* ---- one by one ---- */

START_TEST(made_and_destroyed)
{
    dsl_stats_t st;
    dsl_bookmark_t bm;

    ck_assert_str_eq(listed("tank/a"), "");
    OK(mark("tank/a#z", "tank/a@one"));
    OK(mark("tank/a#copy", "tank/a#z"));
    OK(mark("tank/a#b", "tank/a@two"));
    ck_assert_str_eq(listed("tank/a"), "tank/a#copy tank/a#z tank/a#b ");
    ck_assert_uint_eq(feature_count(FEATURE_BOOKMARKS), 1);
    OK(dsl_dataset_stats(tp->tp_dp, "tank/a@one", &st));
    tp_reopen(tp);
    for (int i = 0; i < 2; i++) {
        OK(dsl_bookmark_get(tp->tp_dp, i == 0 ? "tank/a#z" : "tank/a#copy", &bm));
        ck_assert_uint_eq(bm.db_guid, st.dst_guid);
        ck_assert_uint_eq(bm.db_createtxg, st.dst_createtxg);
        ck_assert_uint_eq(bm.db_creation, st.dst_creation);
    }
    OK(destroy_snapshot("tank/a@one"));
    OK(dsl_bookmark_get(tp->tp_dp, "tank/a#z", &bm));
    tp_check(tp);
    ck_assert_int_eq(tp_zdb(tp) % 77, 0);
    OK(unmark("tank/a#z"));
    OK(unmark("tank/a#b"));
    ck_assert_int_eq(unmark("tank/a#b"), ENOENT);
    ck_assert_uint_eq(feature_count(FEATURE_BOOKMARKS), 1);
    OK(unmark("tank/a#copy"));
    ck_assert_uint_eq(feature_count(FEATURE_BOOKMARKS), 0);
    ck_assert_int_eq(dsl_bookmark_get(tp->tp_dp, "tank/a#z", &bm), ENOENT);
}
END_TEST

START_TEST(errors)
{
    char longname[300];
    dsl_bookmark_t bm;

    OK(tp_create_fs(tp, "tank/b", NULL));
    OK(tp_write(tp, tp_find(tp, "tank/b"), 0, 0, 1));
    OK(tp_snapshot(tp, tp_find(tp, "tank/b"), "s"));
    OK(mark("tank/a#m", "tank/a@one"));
    ck_assert_int_eq(mark("tank/a#m", "tank/a@two"), EEXIST);
    ck_assert_int_eq(mark("tank/a#n", "tank/b@s"), EINVAL);
    ck_assert_int_eq(mark("tank/b#n", "tank/a#m"), EINVAL);
    ck_assert_int_eq(mark("tank/a#n", "tank/a@none"), ENOENT);
    ck_assert_int_eq(mark("tank/a#n", "tank/a#none"), ENOENT);
    ck_assert_int_eq(mark("tank/a#n", "tank/a"), EINVAL);
    ck_assert_int_eq(mark("tank/none#n", "tank/a@one"), ENOENT);
    ck_assert_int_eq(mark("tank/a", "tank/a@one"), EINVAL);
    ck_assert_int_eq(mark("tank/a@one#n", "tank/a@one"), EINVAL);
    ck_assert_int_eq(mark("tank/a#", "tank/a@one"), EINVAL);
    ck_assert_int_eq(mark("tank/a#n/m", "tank/a@one"), EINVAL);
    ck_assert_int_eq(mark("tank/a#n%", "tank/a@one"), EINVAL);
    memset(longname, 'x', sizeof(longname));
    memcpy(longname, "tank/a#", 7);
    longname[256] = '\0';
    ck_assert_int_eq(mark(longname, "tank/a@one"), ENAMETOOLONG);
    longname[255] = '\0';
    OK(mark(longname, "tank/a@one"));
    ck_assert_int_eq(dsl_bookmark_get(tp->tp_dp, "tank/b#m", &bm), ENOENT);
    ck_assert_int_eq(dsl_for_each_bookmark(tp->tp_dp, "tank/a@one", add_name, NULL), EINVAL);
    ck_assert_uint_eq(feature_count(FEATURE_BOOKMARKS), 1);
}
END_TEST

START_TEST(all_or_none)
{
    const char *marks[] = {"tank/a#x", "tank/a#y", "tank/a#x"},
               *good[] = {"tank/a#x", "tank/a#y", "tank/a#x"};
    const char *sources[] = {"tank/a@one", "tank/a@two", "tank/a@one"};
    int failed = -1;

    ck_assert_int_eq(dsl_bookmark(tp->tp_dp, marks, sources, 3, &failed), EEXIST);
    ck_assert_int_eq(failed, 2);
    ck_assert_str_eq(listed("tank/a"), "");
    OK(dsl_bookmark(tp->tp_dp, marks, sources, 2, NULL));
    marks[1] = "tank/a#none";
    ck_assert_int_eq(dsl_destroy_bookmarks(tp->tp_dp, marks, 3, &failed), ENOENT);
    ck_assert_int_eq(failed, 1);
    ck_assert_str_eq(listed("tank/a"), "tank/a#x tank/a#y ");
    OK(dsl_destroy_bookmarks(tp->tp_dp, good, 3, NULL));
    ck_assert_uint_eq(feature_count(FEATURE_BOOKMARKS), 0);
}
END_TEST

/* Destroyed, and rolled back. */
START_TEST(follow_the_file_system)
{
    OK(mark("tank/a#m", "tank/a@one"));
    OK(tp_write(tp, fs, 2, 0, 4));
    OK(tp_rollback(tp, fs));
    ck_assert_str_eq(listed("tank/a"), "tank/a#m ");
    tp_check(tp);
    OK(mark("tank/a#young", "tank/a@two")); /* what follows it in a stream would not be what was written since */
    OK(destroy_snapshot("tank/a@two"));
    ck_assert_int_eq(dsl_rollback(tp->tp_dp, "tank/a", "tank/a@one"), EEXIST);
    OK(unmark("tank/a#young"));
    OK(dsl_rollback(tp->tp_dp, "tank/a", "tank/a@one"));
    OK(destroy_snapshot("tank/a@one"));
    OK(tp_destroy_ds(tp, fs));
    ck_assert_uint_eq(feature_count(FEATURE_BOOKMARKS), 0);
    ck_assert_uint_eq(feature_count(FEATURE_EXTENSIBLE_DATASET), 0);
}
END_TEST

/* ---- of clones; what was written since ---- */

START_TEST(written_since)
{
    uint64_t a, b;

    OK(mark("tank/a#one", "tank/a@one"));
    OK(mark("tank/a#two", "tank/a@two"));
    OK(tp_write(tp, fs, 0, 3, 5));
    OK(tp_clone(tp, tp_find(tp, "tank/a@two"), "tank/c"));
    OK(tp_write(tp, tp_find(tp, "tank/c"), 0, 1, 7));
    tp_sync(tp);
    for (int i = 0; i < 2; i++) {
        const char *to = i == 0 ? "tank/a" : "tank/c";
        OK(dsl_space_written(tp->tp_dp, "tank/a@one", to, &a));
        OK(dsl_space_written(tp->tp_dp, "tank/a#one", to, &b));
        ck_assert_uint_gt(a, 0);
        ck_assert_uint_eq(a, b);
    }
    ck_assert_int_eq(dsl_space_written(tp->tp_dp, "tank/a#two", "tank/a@one", &b), EXDEV);
    ck_assert_int_eq(dsl_space_written(tp->tp_dp, "tank/a#two", "tank", &b), EXDEV);
    OK(dsl_space_written(tp->tp_dp, "tank/a@one", "tank/a", &a));
    OK(destroy_snapshot("tank/a@one")); /* and now from the tree */
    OK(dsl_space_written(tp->tp_dp, "tank/a#one", "tank/a", &b));
    ck_assert_uint_eq(a, b);
    OK(mark("tank/c#from", "tank/a@two")); /* of its origin */
    OK(mark("tank/c#early", "tank/a#one"));
}
END_TEST

/* As deadlists see it: destroys in any order with bookmarks around. */
START_TEST(random_destroys)
{
    for (int i = 0; i < 12; i++) {
        char snap[ZFS_MAX_DATASET_NAME_LEN], name[ZFS_MAX_DATASET_NAME_LEN + 8];
        model_fs_t *mf;
        tp_change(tp, fs);
        snprintf(snap, sizeof(snap), "s%d", i);
        OK(tp_snapshot(tp, fs, snap));
        snprintf(snap, sizeof(snap), "tank/a@s%d", i);
        snprintf(name, sizeof(name), "tank/a#s%d", i);
        OK(mark(name, snap));
        if (i % 3 == 2 && (mf = tp_pick(tp, true)) != NULL)
            OK(tp_destroy_ds(tp, mf));
    }
    tp_check(tp);
    for (model_fs_t *mf; (mf = tp_pick(tp, true)) != NULL;)
        OK(tp_destroy_ds(tp, mf));
    ck_assert_int_eq(tp_zdb(tp) % 77, 0);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("dsl_bookmark");
    TCase *tc = tcase_create("bookmark");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, made_and_destroyed);
    tcase_add_test(tc, errors);
    tcase_add_test(tc, all_or_none);
    tcase_add_test(tc, follow_the_file_system);
    tcase_add_test(tc, written_since);
    tcase_add_test(tc, random_destroys);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
