/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_history.c - the pool's history: what is logged by whom, the ring when it wraps, and rings that are damaged.
 */
#include <check.h>
#include <stdlib.h>
#include <unistd.h>
#include "support/dslpool.h"

#define OK(x) ck_assert_int_eq((x), 0)

static testpool_t *tp;

static void
setup(void)
{
    tp = tp_create(64 << 20, true, 3);
}

static void
teardown(void)
{
    tp_check(tp);
    tp_destroy(tp);
}

/* ---- reading ---- */

#define MAX_LINES 2000
typedef struct lines {
    char *l_text[MAX_LINES]; /* "command", or "what dsname text" */
    int l_count;
    uint64_t l_txg;
} lines_t;

static int
add_line(void *arg, const nvlist_t *event)
{
    const char *cmd, *what, *text, *ds = "", *host;
    uint64_t when, txg = 0, id;
    lines_t *l = arg;

    OK(nvlist_lookup_uint64(event, HISTORY_TIME, &when));
    OK(nvlist_lookup_string(event, HISTORY_HOST, &host));
    ck_assert_int_lt(l->l_count, MAX_LINES);
    if (nvlist_lookup_string(event, HISTORY_CMD, &cmd) == 0) {
        l->l_text[l->l_count++] = xstrdup(cmd);
        return 0;
    }
    OK(nvlist_lookup_string(event, HISTORY_INT_NAME, &what));
    OK(nvlist_lookup_string(event, HISTORY_INT_STR, &text));
    OK(nvlist_lookup_uint64(event, HISTORY_TXG, &txg));
    ck_assert_uint_ge(txg, l->l_txg);
    l->l_txg = txg;
    if (nvlist_lookup_string(event, HISTORY_DSNAME, &ds) == 0)
        OK(nvlist_lookup_uint64(event, HISTORY_DSID, &id));
    l->l_text[l->l_count++] = xasprintf("%s %s %s", what, ds, text);
    return 0;
}

static void
read_all(lines_t *l)
{
    memset(l, 0, sizeof(*l));
    OK(dsl_history_read(tp->tp_dp, add_line, l));
}

static void
free_all(lines_t *l)
{
    for (int i = 0; i < l->l_count; i++)
        free(l->l_text[i]);
}

static void
expect_lines(const char *const *want, int n)
{
    lines_t l;

    read_all(&l);
    for (int i = 0; i < MIN(n, l.l_count); i++)
        ck_assert_str_eq(l.l_text[i], want[i]);
    ck_assert_int_eq(l.l_count, n);
    free_all(&l);
}

#define EXPECT(...)                                                                                          \
    expect_lines((const char *const[]){__VA_ARGS__}, ARRAY_SIZE(((const char *const[]){__VA_ARGS__})))

START_TEST(events)
{
    nvlist_t *nvl = nvlist_alloc();
    char clone[100];
    dsl_dataset_t *ds;

    EXPECT("create  pool version 5000");
    OK(tp_create_fs(tp, "tank/a", NULL));
    OK(dsl_history_log(tp->tp_dp, "cowbird create tank/a"));
    nvlist_add_string(nvl, "compression", "lz4");
    OK(dsl_prop_set(tp->tp_dp, "tank/a", nvl));
    OK(tp_snapshot(tp, tp_find(tp, "tank/a"), "s"));
    OK(dsl_prop_inherit(tp->tp_dp, "tank/a", "compression", false));
    ck_assert_int_eq(dsl_create(tp->tp_dp, "tank/a", DMU_OST_OTHER, NULL), EEXIST); /* not done: not told */
    OK(tp_clone(tp, tp_find(tp, "tank/a@s"), "tank/c"));
    OK(dsl_dataset_hold(tp->tp_dp, "tank/a@s", tp, &ds));
    snprintf(clone, sizeof(clone), "clone tank/c origin=tank/a@s (%llu)",
             (unsigned long long)dsl_dataset_obj(ds));
    dsl_dataset_rele(ds, tp);
    OK(tp_destroy_ds(tp, tp_find(tp, "tank/c")));
    OK(tp_destroy_ds(tp, tp_find(tp, "tank/a@s")));
    tp_reopen(tp);
    EXPECT("create  pool version 5000", "create tank/a  ", "cowbird create tank/a",
           "set tank/a compression=lz4", "snapshot tank/a@s  ", "inherit tank/a compression=", clone,
           "destroy tank/c  ", "destroy tank/a@s  ");
    nvlist_free(nvl);
}
END_TEST

static int
stop_at_second(void *arg, const nvlist_t *event)
{
    return ++*(int *)arg == 2 ? EINTR : 0;
}

START_TEST(reader_stops)
{
    int n = 0;

    OK(dsl_history_log(tp->tp_dp, "one"));
    OK(dsl_history_log(tp->tp_dp, "two"));
    ck_assert_int_eq(dsl_history_read(tp->tp_dp, stop_at_second, &n), EINTR);
    ck_assert_int_eq(n, 2);
}
END_TEST

/* ---- the ring ---- */

static char *
long_line(int i)
{
    size_t n = 20 + tp_rnd(tp, 4000);
    char *s = xmalloc(n + 1);

    memset(s, 'a' + i % 26, n);
    s[n] = '\0';
    (void)snprintf(s, 12, "%d", i);
    s[strlen(s)] = ' ';
    return s;
}

/* What is there is the creation and an unbroken run of the latest lines, and the ring is well filled. */
static void
expect_latest(char *const *all, int n, bool wrapped)
{
    size_t bytes = 0;
    lines_t l;

    read_all(&l);
    ck_assert_str_eq(l.l_text[0], "create  pool version 5000");
    ck_assert_int_le(l.l_count - 1, n);
    for (int i = 1; i < l.l_count; i++) {
        ck_assert_str_eq(l.l_text[i], all[n - (l.l_count - 1) + i - 1]);
        bytes += strlen(l.l_text[i]);
    }
    if (wrapped)
        ck_assert_uint_gt(bytes, 90 << 10); /* of 128 KiB, the rest is packing */
    else if (n <= 40)
        ck_assert_int_eq(l.l_count - 1, n);
    free_all(&l);
}

START_TEST(wraps)
{
    char *all[300];

    for (int i = 0; i < 300; i++) {
        all[i] = long_line(i);
        OK(dsl_history_log(tp->tp_dp, all[i]));
        if (i % 20 == 0)
            expect_latest(all, i + 1, i >= 100);
        if (i % 90 == 89)
            tp_reopen(tp);
    }
    expect_latest(all, 300, true);
    for (int i = 0; i < 300; i++)
        free(all[i]);
}
END_TEST

START_TEST(too_long)
{
    char *s = xmalloc(100001);
    lines_t l;

    memset(s, 'x', 100000);
    s[100000] = '\0';
    OK(dsl_history_log(tp->tp_dp, s));
    read_all(&l);
    ck_assert_int_eq(l.l_count, 2);
    ck_assert_uint_eq(strlen(l.l_text[1]), 8191); /* cut */
    free_all(&l);
    free(s);
}
END_TEST

/* ---- damage ---- */

typedef struct damage {
    int da_word; /* of the bonus; -1: of the data at da_off */
    uint64_t da_off, da_value;
} damage_t;

static void
damage_sync(void *arg, dmu_tx_t *tx)
{
    objset_t *mos = pool_mos(tp->tp_dp);
    const damage_t *da = arg;
    uint64_t object;
    dmu_buf_t *db;

    VERIFY0(zap_lookup_u64(mos, DMU_POOL_DIRECTORY_OBJECT, DMU_POOL_HISTORY, &object));
    if (da->da_word < 0) {
        VERIFY0(dmu_write(mos, object, da->da_off, sizeof(da->da_value), &da->da_value, tx));
        return;
    }
    VERIFY0(dmu_bonus_hold(mos, object, &db));
    dmu_buf_will_dirty(db, tx);
    ((uint64_t *)db->db_data)[da->da_word] = da->da_value;
    dmu_buf_rele(db);
}

static int
count_events(void *arg, const nvlist_t *event)
{
    ++*(int *)arg;
    return 0;
}

/* Reading says so; the next event begins a new ring when it cannot go on in this one. */
START_TEST(damaged)
{
    static const damage_t all[] = {{0, 0, UINT64_MAX}, {0, 0, 128 << 10},   {1, 0, 0},
                                   {1, 0, UINT64_MAX}, {1, 0, 1ULL << 40},  {2, 0, UINT64_MAX},
                                   {3, 0, 1},          {3, 0, UINT64_MAX},  {2, 0, 1},
                                   {-1, 0, 0},         {-1, 0, UINT64_MAX}, {-1, 8, 0x0101010101010101},
                                   {-1, 0, 1ULL << 50}};
    damage_t da = all[_i];
    int n = 0;

    for (int i = 0; i < 5; i++)
        OK(dsl_history_log(tp->tp_dp, "a command"));
    OK(dsl_sync_task(tp->tp_dp, NULL, damage_sync, &da, 2, DSL_SPACE_NONE));
    tp_reopen(tp);
    int err = dsl_history_read(tp->tp_dp, count_events, &n);
    ck_assert_msg(err == EIO, "damage %d: %d, %d events", _i, err, n);
    for (int i = 0; i < 200; i++) {
        char *s = long_line(i);
        OK(dsl_history_log(tp->tp_dp, s));
        free(s);
    }
    if (da.da_word >= 0) { /* the first record stays damaged, all else goes on */
        n = 0;
        OK(dsl_history_read(tp->tp_dp, count_events, &n));
        ck_assert_int_gt(n, 30);
    }
}
END_TEST

START_TEST(zdb_prints_it)
{
    static const char script[] =
        "export LD_LIBRARY_PATH=$(echo build/peers/openzfs/lib/*-linux-gnu); "
        "timeout 60 build/peers/openzfs/sbin/zdb -e -p %s -hh tank >%s/out 2>&1 && grep -q 'cowbird snapshot "
        "tank@x' %s/out && "
        "grep -q 'snapshot tank@x' %s/out; rc=$?; [ $rc = 0 ] || cat %s/out; rm -rf %s; exit $rc";
    char dir[] = "/tmp/cowbird-zdb.XXXXXX", path[64], cmd[900];

    OK(tp_snapshot(tp, tp_find(tp, "tank"), "x"));
    OK(dsl_history_log(tp->tp_dp, "cowbird snapshot tank@x"));
    tp_close(tp);
    if (access("build/peers/openzfs/sbin/zdb", X_OK) == 0) {
        ck_assert_ptr_nonnull(mkdtemp(dir));
        snprintf(path, sizeof(path), "%s/img", dir);
        tp_copy_out(tp, path);
        snprintf(cmd, sizeof(cmd), script, dir, dir, dir, dir, dir, dir);
        OK(system(cmd));
    }
    tp_open(tp);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("dsl_history");
    TCase *tc = tcase_create("history");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, events);
    tcase_add_test(tc, reader_stops);
    tcase_add_test(tc, wraps);
    tcase_add_test(tc, too_long);
    tcase_add_loop_test(tc, damaged, 0, 13);
    tcase_add_test(tc, zdb_prints_it);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
