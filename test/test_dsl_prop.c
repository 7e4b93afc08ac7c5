/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_prop.c - where a property's value comes from: local, received, inherited, default. First the rules one by one with the entries they
 * leave in the ZAP, then random sequences on a chain of three file systems and a snapshot against a model of nine lines (model_value).
 */
#include <check.h>
#include <stdlib.h>
#include "support/dslpool.h"

#define OK(x) ck_assert_int_eq((x), 0)

static testpool_t *tp;

static void
setup(void)
{
    tp = tp_create(64 << 20, true, 11);
    OK(tp_create_fs(tp, "tank/a", NULL));
    OK(tp_create_fs(tp, "tank/a/b", NULL));
}

static void
teardown(void)
{
    tp_check(tp);
    tp_destroy(tp);
}

static int
set(const char *ds, const char *prop, const char *value)
{
    nvlist_t *nvl = nvlist_alloc();

    nvlist_add_string(nvl, prop, value);
    int err = dsl_prop_set(tp->tp_dp, ds, nvl);
    nvlist_free(nvl);
    return err;
}

/* n pairs of name and value; received as one set. */
static int
receive(const char *ds, const char *const (*pairs)[2], int n)
{
    nvlist_t *nvl = nvlist_alloc();

    for (int i = 0; i < n; i++)
        nvlist_add_string(nvl, pairs[i][0], pairs[i][1]);
    int err = dsl_prop_set_received(tp->tp_dp, ds, nvl);
    nvlist_free(nvl);
    return err;
}

#define RECEIVE(ds, ...)                                                                                     \
    receive(ds, (const char *const[][2]){__VA_ARGS__}, ARRAY_SIZE(((const char *const[][2]){__VA_ARGS__})))

static void
expect(const char *ds, const char *prop, const char *value, dsl_prop_source_t src, const char *from)
{
    char v[200], setpoint[ZFS_MAX_DATASET_NAME_LEN];
    dsl_prop_source_t s;

    int err = dsl_prop_get(tp->tp_dp, ds, prop, v, sizeof(v), &s, setpoint);
    if (value == NULL) {
        ck_assert_int_eq(err, ENOENT);
        return;
    }
    ck_assert_msg(err == 0, "%s of %s: %s", prop, ds, cowbird_strerror(err));
    ck_assert_str_eq(v, value);
    ck_assert_msg(s == src, "%s of %s: source %d, not %d", prop, ds, s, src);
    ck_assert_str_eq(setpoint, from);
}

static void
expect_received(const char *ds, const char *prop, const char *value)
{
    char v[200];
    int err = dsl_prop_get_received(tp->tp_dp, ds, prop, v, sizeof(v));

    ck_assert_int_eq(err, value == NULL ? ENOENT : 0);
    if (value != NULL)
        ck_assert_str_eq(v, value);
}

/* Which of NAME, NAME$inherit, NAME$recvd are there, as "l", "i", "r". */
static void
expect_entries(const char *ds, const char *prop, const char *which)
{
    static const char *const suffix[] = {"", "$inherit", "$recvd"};
    char got[4] = "", *p = got;
    dsl_dataset_t *d;

    OK(dsl_dataset_hold(tp->tp_dp, ds, tp, &d));
    for (int i = 0; i < 3; i++)
        if (prop_has_entry(tp->tp_dp, prop_zap(d), prop, suffix[i]))
            *p++ = "lir"[i];
    dsl_dataset_rele(d, tp);
    ck_assert_str_eq(got, which);
}

START_TEST(received_rules)
{
    expect_received("tank/a", "compression", NULL);
    OK(RECEIVE("tank/a", {"compression", "gzip-9"}, {"com.me:x", "r"}, {"recordsize", "65536"}));
    expect("tank/a", "compression", "gzip-9", PROP_SRC_RECEIVED, "tank/a");
    expect("tank/a/b", "compression", "gzip-9", PROP_SRC_INHERITED, "tank/a");
    expect("tank/a", "com.me:x", "r", PROP_SRC_RECEIVED, "tank/a");
    expect_entries("tank/a", "compression", "r");
    OK(set("tank/a", "compression", "lz4"));
    expect("tank/a", "compression", "lz4", PROP_SRC_LOCAL, "tank/a");
    expect_received("tank/a", "compression", "gzip-9");
    expect_entries("tank/a", "compression", "lr");
    OK(dsl_prop_inherit(tp->tp_dp, "tank/a", "compression", false));
    expect("tank/a", "compression", "on", PROP_SRC_DEFAULT, "");
    expect_entries("tank/a", "compression", "ir");
    OK(dsl_prop_inherit(tp->tp_dp, "tank/a", "compression", true));
    expect("tank/a", "compression", "gzip-9", PROP_SRC_RECEIVED, "tank/a");
    expect_entries("tank/a", "compression", "r");
    /* a name that was not received, on a dataset that has received others */
    OK(set("tank/a", "atime", "off"));
    OK(dsl_prop_inherit(tp->tp_dp, "tank/a", "atime", false));
    expect_entries("tank/a", "atime", "i");
    /* the next receive: what it lacks is gone, what a user hid stays hidden */
    OK(dsl_prop_inherit(tp->tp_dp, "tank/a", "recordsize", false));
    OK(RECEIVE("tank/a", {"recordsize", "32K"}, {"atime", "off"}));
    expect_received("tank/a", "compression", NULL);
    expect("tank/a", "com.me:x", NULL, PROP_SRC_NONE, "");
    expect("tank/a", "recordsize", "131072", PROP_SRC_DEFAULT, "");
    expect_received("tank/a", "recordsize", "32768");
    expect("tank/a", "atime", "on", PROP_SRC_DEFAULT, "");
    OK(dsl_prop_set_received(tp->tp_dp, "tank/a", NULL));
    expect_received("tank/a", "recordsize", NULL);
    expect_entries("tank/a", "$hasrecvd", "");
}
END_TEST

START_TEST(received_errors)
{
    nvlist_t *nvl = nvlist_alloc();
    uint64_t words[2] = {1, 2};

    ck_assert_int_eq(RECEIVE("tank/none", {"atime", "off"}), ENOENT);
    ck_assert_int_eq(RECEIVE("tank/a", {"atime", "off"}, {"nonsense", "1"}), EINVAL);
    ck_assert_int_eq(RECEIVE("tank/a", {"atime", "maybe"}), EINVAL);
    ck_assert_int_eq(RECEIVE("tank/a", {"used", "1"}), ENOTSUP);
    ck_assert_int_eq(RECEIVE("tank/a", {"utf8only", "on"}), ENOTSUP);
    nvlist_add_uint64_array(nvl, "atime", words, 2);
    ck_assert_int_eq(dsl_prop_set_received(tp->tp_dp, "tank/a", nvl), EINVAL);
    nvlist_free(nvl);
    expect_entries("tank/a", "$hasrecvd", "");
    ck_assert_int_eq(dsl_prop_get_received(tp->tp_dp, "tank/a", "nonsense", (char[8]){0}, 8), EINVAL);
    ck_assert_int_eq(dsl_prop_inherit(tp->tp_dp, "tank/a", "used", true), ENOTSUP);
    ck_assert_int_eq(dsl_prop_inherit(tp->tp_dp, "tank/a", "nonsense", true), EINVAL);
}
END_TEST

START_TEST(received_numbers)
{
    nvlist_t *nvl = nvlist_alloc();

    nvlist_add_uint64(nvl, "recordsize", 4096);
    nvlist_add_uint64(nvl, "atime", 0);
    nvlist_add_uint64(nvl, "quota", 8 << 20);
    nvlist_add_uint64(nvl, "reservation", 4 << 20);
    OK(dsl_prop_set_received(tp->tp_dp, "tank/a", nvl));
    expect("tank/a", "recordsize", "4096", PROP_SRC_RECEIVED, "tank/a");
    expect("tank/a", "atime", "off", PROP_SRC_RECEIVED, "tank/a");
    expect("tank/a", "quota", "8388608", PROP_SRC_RECEIVED, "tank/a");
    expect("tank/a", "reservation", "4194304", PROP_SRC_RECEIVED, "tank/a");
    OK(set("tank/a", "quota", "none"));
    expect("tank/a", "quota", "0", PROP_SRC_LOCAL, "tank/a");
    OK(dsl_prop_inherit(tp->tp_dp, "tank/a", "quota", true));
    expect("tank/a", "quota", "8388608", PROP_SRC_RECEIVED, "tank/a");
    tp_check(tp);
    nvlist_add_uint64(nvl, "com.me:x", 1); /* user values are text */
    ck_assert_int_eq(dsl_prop_set_received(tp->tp_dp, "tank/a", nvl), EINVAL);
    nvlist_free(nvl);
    OK(dsl_prop_set_received(tp->tp_dp, "tank/a", NULL));
    expect("tank/a", "quota", "0", PROP_SRC_DEFAULT, "");
}
END_TEST

START_TEST(of_snapshots)
{
    dsl_dataset_t *ds;

    OK(tp_snapshot(tp, tp_find(tp, "tank/a"), "s"));
    nvlist_t *nvl = nvlist_alloc();
    nvlist_add_string(nvl, "com.me:x", "taken");
    OK(dsl_snapshot(tp->tp_dp, (const char *const[]){"tank/a@t"}, 1, nvl, NULL));
    expect("tank/a@t", "com.me:x", "taken", PROP_SRC_LOCAL, "tank/a@t");
    nvlist_add_string(nvl, "atime", "off");
    ck_assert_int_eq(dsl_snapshot(tp->tp_dp, (const char *const[]){"tank/a@u"}, 1, nvl, NULL), EINVAL);
    nvlist_free(nvl);
    OK(RECEIVE("tank/a@s", {"com.me:x", "r"}));
    expect("tank/a@s", "com.me:x", "r", PROP_SRC_RECEIVED, "tank/a@s");
    OK(set("tank/a@s", "com.me:x", "l"));
    expect("tank/a@s", "com.me:x", "l", PROP_SRC_LOCAL, "tank/a@s");
    OK(set("tank/a", "com.me:x", "fs"));
    OK(dsl_prop_inherit(tp->tp_dp, "tank/a@s", "com.me:x", false));
    expect("tank/a@s", "com.me:x", "fs", PROP_SRC_INHERITED, "tank/a");
    ck_assert_int_eq(RECEIVE("tank/a@s", {"atime", "off"}), EINVAL);
    tp_reopen(tp);
    expect_received("tank/a@s", "com.me:x", "r");
    OK(dsl_prop_inherit(tp->tp_dp, "tank/a@s", "com.me:x", true));
    OK(dsl_prop_set_received(tp->tp_dp, "tank/a@s", NULL));
    OK(dsl_dataset_hold(tp->tp_dp, "tank/a@s", tp, &ds));
    ck_assert_uint_eq(prop_zap(ds), 0); /* without entries no ZAP */
    dsl_dataset_rele(ds, tp);
}
END_TEST

/* A ZAP that is no ZAP any more: values are the defaults, changes are refused. */
static void
damage_sync(void *arg, dmu_tx_t *tx)
{
    uint64_t garbage[2] = {0x1234567890abcdef, 77};

    VERIFY0(dmu_write(pool_mos(tp->tp_dp), *(uint64_t *)arg, 0, sizeof(garbage), garbage, tx));
}

static uint64_t
get_first_words(uint64_t object, uint64_t *words)
{
    OK(dmu_read(pool_mos(tp->tp_dp), object, 0, 16, words));
    return object;
}

static void
repair_sync(void *arg, dmu_tx_t *tx)
{
    uint64_t *words = arg;

    VERIFY0(dmu_write(pool_mos(tp->tp_dp), words[2], 0, 16, words, tx));
}

START_TEST(damaged)
{
    uint64_t words[3], zap;
    dsl_dataset_t *ds;

    OK(set("tank/a", "com.me:x", "l"));
    OK(dsl_dataset_hold(tp->tp_dp, "tank/a", tp, &ds));
    zap = prop_zap(ds);
    dsl_dataset_rele(ds, tp);
    words[2] = get_first_words(zap, words);
    OK(dsl_sync_task(tp->tp_dp, NULL, damage_sync, &zap, 2, DSL_SPACE_NONE));
    tp_reopen(tp);
    expect("tank/a", "compression", "on", PROP_SRC_DEFAULT, "");
    ck_assert_int_ne(set("tank/a", "com.me:x", "new"), 0);
    ck_assert_int_ne(dsl_prop_inherit(tp->tp_dp, "tank/a", "com.me:x", false), 0);
    ck_assert_int_ne(RECEIVE("tank/a", {"atime", "off"}), 0);
    OK(set("tank/a/b", "com.me:x", "below"));
    OK(dsl_sync_task(tp->tp_dp, NULL, repair_sync, words, 2, DSL_SPACE_NONE));
    tp_reopen(tp);
    expect("tank/a", "com.me:x", "l", PROP_SRC_LOCAL, "tank/a");
}
END_TEST

/* ---- random sequences ---- */

#define NMODEL 4 /* tank, tank/a, tank/a/b, tank/a/b@s */
static const char *const model_names[NMODEL] = {"tank", "tank/a", "tank/a/b", "tank/a/b@s"};

typedef struct model {
    char mo_local[16], mo_recvd[16]; /* empty: none */
    bool mo_hidden, mo_hasrecvd;
} model_t;

/* The index of the dataset whose value counts at ds, -1 none. */
static int
model_value(const model_t *m, int ds, const char **value, bool *received)
{
    for (int i = ds; i >= 0; i--) {
        *received = m[i].mo_local[0] == '\0';
        *value = *received ? m[i].mo_recvd : m[i].mo_local;
        if ((*value)[0] != '\0' && !(*received && m[i].mo_hidden))
            return i;
    }
    return -1;
}

static void
model_step(model_t *m, int i)
{
    char value[16];

    snprintf(value, sizeof(value), "v%d", (int)tp_rnd(tp, 1000));
    switch (tp_rnd(tp, 6)) {
    case 0:
    case 1:
        OK(set(model_names[i], "com.me:x", value));
        strcpy(m[i].mo_local, value);
        m[i].mo_hidden = false;
        break;
    case 2:
        OK(dsl_prop_inherit(tp->tp_dp, model_names[i], "com.me:x", false));
        m[i].mo_local[0] = '\0';
        m[i].mo_hidden = m[i].mo_hasrecvd;
        break;
    case 3:
        OK(dsl_prop_inherit(tp->tp_dp, model_names[i], "com.me:x", true));
        m[i].mo_local[0] = '\0';
        m[i].mo_hidden = false;
        break;
    case 4:
        OK(RECEIVE(model_names[i], {"com.me:x", value}, {"com.me:y", "y"}));
        strcpy(m[i].mo_recvd, value);
        m[i].mo_hasrecvd = true;
        break;
    default:
        OK(tp_rnd(tp, 4) == 0
               ? (m[i].mo_hasrecvd = false, dsl_prop_set_received(tp->tp_dp, model_names[i], NULL))
               : (m[i].mo_hasrecvd = true, RECEIVE(model_names[i], {"com.me:y", "z"})));
        m[i].mo_recvd[0] = '\0';
    }
}

START_TEST(random_sequences)
{
    model_t m[NMODEL] = {0};

    OK(tp_snapshot(tp, tp_find(tp, "tank/a/b"), "s"));
    for (int step = 0; step < 400; step++) {
        model_step(m, (int)tp_rnd(tp, NMODEL));
        if (step % 50 == 49)
            tp_reopen(tp);
        for (int i = 0; i < NMODEL; i++) {
            const char *value;
            bool received = false;
            int at = model_value(m, i, &value, &received);
            dsl_prop_source_t src = at != i    ? PROP_SRC_INHERITED
                                    : received ? PROP_SRC_RECEIVED
                                               : PROP_SRC_LOCAL;
            expect(model_names[i], "com.me:x", at < 0 ? NULL : value, src, at < 0 ? "" : model_names[at]);
            expect_received(model_names[i], "com.me:x", m[i].mo_recvd[0] != '\0' ? m[i].mo_recvd : NULL);
        }
    }
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("dsl_prop");
    TCase *tc = tcase_create("properties");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, received_rules);
    tcase_add_test(tc, received_errors);
    tcase_add_test(tc, received_numbers);
    tcase_add_test(tc, of_snapshots);
    tcase_add_test(tc, damaged);
    tcase_add_test(tc, random_sequences);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
