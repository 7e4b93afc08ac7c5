/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_quota.c - quota, reservation, refquota, refreservation: each as it limits or promises, then random sequences of settings, writes,
 * snapshots, clones, destroys and rollbacks. After each step the checker works out every directory's parts from the blocks; whether
 * a setting must be refused is worked out by adding up the whole tree again with the new value (model_allows).
 */
#include <check.h>
#include <stdio.h>
#include "support/dslpool.h"
#include "support/effort.h"

#define OK(x) ck_assert_int_eq((x), 0)
#define MB    (1ULL << 20)

static testpool_t *tp;

static void
setup(void)
{
    tp = tp_create(192 * MB, true, 7);
    OK(tp_create_fs(tp, "tank/a", NULL));
    OK(tp_create_fs(tp, "tank/a/b", NULL));
    OK(tp_create_fs(tp, "tank/c", NULL));
}

static void
teardown(void)
{
    tp_check(tp);
    tp_reopen(tp);
    tp_check(tp);
    tp_destroy(tp);
}

static int
set_bytes(const char *ds, const char *prop, uint64_t value)
{
    nvlist_t *nvl = nvlist_alloc();
    char text[32];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    nvlist_add_string(nvl, prop, value == 0 ? "none" : text);
    int err = dsl_prop_set(tp->tp_dp, ds, nvl);
    nvlist_free(nvl);
    return err;
}

static uint64_t
get_bytes(const char *ds, const char *prop)
{
    uint64_t v;

    OK(dsl_prop_get_u64(tp->tp_dp, ds, prop, &v));
    return v;
}

static dsl_stats_t
stats(const char *ds)
{
    dsl_stats_t st;

    tp_sync(tp);
    OK(dsl_dataset_stats(tp->tp_dp, ds, &st));
    return st;
}

/* ---- writing bytes that do not compress ---- */

#define GROW_BLOCK 131072U

static int
grow_block(objset_t *os, uint64_t object, uint64_t blk, const uint8_t *buf)
{
    dmu_tx_t *tx = dmu_tx_create(os);

    dmu_tx_hold_write(tx, object, blk * GROW_BLOCK, GROW_BLOCK);
    int err = dmu_tx_assign(tx, DMU_TX_WAIT);
    if (err != 0) {
        dmu_tx_abort(tx);
        return err;
    }
    OK(dmu_write(os, object, blk * GROW_BLOCK, GROW_BLOCK, buf, tx));
    dmu_tx_commit(tx);
    return 0;
}

/* A new object of so many bytes. *done: how far it came. */
static int
grow(const char *ds, uint64_t bytes, uint64_t *done)
{
    uint8_t *buf = xmalloc(GROW_BLOCK);
    dsl_dataset_t *d;
    uint64_t object;
    objset_t *os;

    OK(dsl_dataset_hold(tp->tp_dp, ds, tp, &d));
    OK(dsl_dataset_objset(d, &os));
    dmu_tx_t *tx = dmu_tx_create(os);
    dmu_tx_hold_bonus(tx, DMU_NEW_OBJECT);
    int err = dmu_tx_assign(tx, DMU_TX_WAIT);
    if (err == 0) {
        OK(dmu_object_alloc(os, DMU_OT_PLAIN_FILE_CONTENTS, GROW_BLOCK, DMU_OT_NONE, 0, 0, tx, &object));
        dmu_tx_commit(tx);
    } else {
        dmu_tx_abort(tx);
    }
    *done = 0;
    for (uint64_t blk = 0; err == 0 && blk < bytes / GROW_BLOCK; blk++) {
        for (uint32_t i = 0; i < GROW_BLOCK; i += 8)
            memcpy(buf + i, &(uint64_t){tp_rnd(tp, UINT64_MAX)}, 8);
        if ((err = grow_block(os, object, blk, buf)) == 0)
            *done += GROW_BLOCK;
    }
    dsl_dataset_rele(d, tp);
    free(buf);
    tp_sync(tp);
    return err;
}

static void
expect_grow(const char *ds, uint64_t bytes, int err, uint64_t atleast, uint64_t atmost)
{
    uint64_t done;

    ck_assert_int_eq(grow(ds, bytes, &done), err);
    ck_assert_msg(done >= atleast && done <= atmost, "%s grew by %.1f MB, not %.1f to %.1f", ds,
                  (double)done / MB, (double)atleast / MB, (double)atmost / MB);
}

/* ---- each by itself ---- */

START_TEST(quota_limit)
{
    OK(set_bytes("tank/a", "quota", 16 * MB));
    expect_grow("tank/a/b", 32 * MB, EDQUOT, 13 * MB, 16 * MB);
    expect_grow("tank/a", 16 * MB, EDQUOT, 0, 3 * MB);
    expect_grow("tank/c", 8 * MB, 0, 8 * MB, 8 * MB);
    dsl_stats_t st = stats("tank/a");
    ck_assert_uint_le(st.dst_used, 16 * MB);
    ck_assert_uint_le(st.dst_avail, 3 * MB);
    ck_assert_uint_le(stats("tank/a/b").dst_avail, 3 * MB);
    ck_assert_int_eq(set_bytes("tank/a", "quota", 8 * MB), ENOSPC);
    ck_assert_uint_eq(get_bytes("tank/a", "quota"), 16 * MB);
    OK(set_bytes("tank/a", "quota", 24 * MB)); /* at once */
    expect_grow("tank/a/b", 4 * MB, 0, 4 * MB, 4 * MB);
    tp_reopen(tp);
    ck_assert_uint_eq(get_bytes("tank/a", "quota"), 24 * MB);
    OK(set_bytes("tank/a", "quota", 0));
    expect_grow("tank/a/b", 16 * MB, 0, 16 * MB, 16 * MB);
}
END_TEST

/* Limits the head alone: neither children nor snapshots. */
START_TEST(refquota_limit)
{
    OK(set_bytes("tank/a", "refquota", 8 * MB));
    expect_grow("tank/a/b", 12 * MB, 0, 12 * MB, 12 * MB);
    expect_grow("tank/a", 32 * MB, EDQUOT, 6 * MB, 8 * MB);
    ck_assert_uint_le(stats("tank/a").dst_referenced, 8 * MB);
    ck_assert_int_eq(set_bytes("tank/a", "refquota", 2 * MB), ENOSPC);
    ck_assert_int_eq(set_bytes("tank/a", "refreservation", 9 * MB), ENOSPC);
    OK(tp_snapshot(tp, tp_find(tp, "tank/a"), "s"));
    OK(set_bytes("tank/a", "refquota", 12 * MB));
    tp_reopen(tp);
    expect_grow("tank/a", 32 * MB, EDQUOT, 2 * MB, 5 * MB);
}
END_TEST

/* Nobody else can have it. */
START_TEST(reservation)
{
    uint64_t avail = stats("tank").dst_avail, done;

    ck_assert_int_eq(set_bytes("tank/a", "reservation", avail + 4 * MB), ENOSPC);
    OK(set_bytes("tank/a", "reservation", 40 * MB));
    ck_assert_uint_le(stats("tank").dst_avail, avail - 39 * MB);
    ck_assert_uint_ge(stats("tank/a/b").dst_avail + 4 * MB, avail);
    ck_assert_int_eq(grow("tank/c", 400 * MB, &done), ENOSPC);
    ck_assert_uint_ge(done, 80 * MB);
    tp_check(tp);
    ck_assert_int_eq(set_bytes("tank/c", "reservation", 300 * MB), ENOSPC);
    expect_grow("tank/a/b", 30 * MB, 0, 30 * MB, 30 * MB);
    tp_check(tp);
}
END_TEST

START_TEST(refreservation)
{
    uint64_t done;

    OK(set_bytes("tank/a", "refreservation", 40 * MB));
    dsl_stats_t st = stats("tank/a");
    ck_assert_uint_eq(st.dst_usedby[DD_USED_REFRSRV] + st.dst_unique, 40 * MB);
    ck_assert_int_eq(grow("tank/c", 400 * MB, &done), ENOSPC);
    expect_grow("tank/a", 30 * MB, 0, 30 * MB, 30 * MB);
    ck_assert_int_ne(grow("tank/a/b", 30 * MB, &done), 0); /* not for the children */
    tp_check(tp);
    /* a snapshot takes 30 MB into its custody, and there are no 30 MB to promise anew */
    ck_assert_int_eq(tp_snapshot(tp, tp_find(tp, "tank/a"), "s"), ENOSPC);
    OK(set_bytes("tank/a", "refreservation", 0));
    OK(tp_snapshot(tp, tp_find(tp, "tank/a"), "s"));
    ck_assert_int_eq(set_bytes("tank/a", "refreservation", 40 * MB), ENOSPC);
}
END_TEST

/* What a promise covers does not ask the limits above it a second time. */
START_TEST(limit_equals_promise)
{
    OK(set_bytes("tank/c", "quota", 16 * MB));
    OK(set_bytes("tank/c", "refreservation", 15 * MB));
    expect_grow("tank/c", 12 * MB, 0, 12 * MB, 12 * MB);
    ck_assert_int_eq(set_bytes("tank/c", "refreservation", 17 * MB), ENOSPC);
    OK(set_bytes("tank/a", "quota", 16 * MB));
    OK(set_bytes("tank/a/b", "reservation", 15 * MB));
    ck_assert_int_eq(set_bytes("tank/a/b", "reservation", 17 * MB), ENOSPC);
    expect_grow("tank/a", 8 * MB, EDQUOT, 0, MB);
    expect_grow("tank/a/b", 12 * MB, 0, 12 * MB, 12 * MB);
}
END_TEST

START_TEST(with_create)
{
    nvlist_t *nvl = nvlist_alloc();

    nvlist_add_string(nvl, "quota", "20M");
    nvlist_add_string(nvl, "refreservation", "8M");
    OK(tp_create_fs(tp, "tank/d", nvl));
    ck_assert_uint_eq(get_bytes("tank/d", "quota"), 20 * MB);
    dsl_stats_t st = stats("tank/d");
    ck_assert_uint_eq(st.dst_used, 8 * MB);
    OK(tp_snapshot(tp, tp_find(tp, "tank/a"), "s"));
    OK(dsl_clone(tp->tp_dp, "tank/a@s", "tank/e", nvl));
    ck_assert_uint_eq(stats("tank/e").dst_used, 8 * MB);
    tp_check(tp);
    nvlist_add_string(nvl, "reservation", "21M");
    ck_assert_int_eq(tp_create_fs(tp, "tank/f", nvl), ENOSPC);
    nvlist_remove(nvl, "quota");
    nvlist_add_string(nvl, "refreservation", "9G");
    ck_assert_int_eq(dsl_clone(tp->tp_dp, "tank/a@s", "tank/f", nvl), ENOSPC);
    nvlist_free(nvl);
    OK(dsl_destroy_head(tp->tp_dp, "tank/e"));
}
END_TEST

/* Snapshots of one txg count together. */
START_TEST(many_snapshots)
{
    static const char *const names[] = {"tank/a@s", "tank/a/b@s", "tank/c@s"};
    uint64_t done;
    int failed;

    OK(set_bytes("tank", "quota", 70 * MB));
    for (int i = 0; i < 3; i++) {
        char fs[20];
        snprintf(fs, sizeof(fs), "%.*s", (int)strcspn(names[i], "@"), names[i]);
        OK(grow(fs, 10 * MB, &done));
        OK(set_bytes(fs, "refreservation", 10 * MB));
    }
    expect_grow("tank", 14 * MB, 0, 14 * MB, 14 * MB);
    ck_assert_int_eq(dsl_snapshot(tp->tp_dp, names, 3, NULL, &failed), ENOSPC);
    ck_assert_int_eq(failed, 2);
    OK(dsl_snapshot(tp->tp_dp, names, 2, NULL, NULL));
    ck_assert_uint_le(stats("tank").dst_used, 70 * MB);
}
END_TEST

/* ---- random sequences ---- */

/* The whole tree added up: what dd is charged to its parent when prop of target is value. false: some limit on the way is passed. */
typedef struct model {
    dsl_dir_t *md_target;
    int md_kind;
    uint64_t md_value;
    int64_t md_growth; /* of the root */
} model_t;

static bool
model_charge(const model_t *md, dsl_dir_t *dd, uint64_t new_used, uint64_t *charged)
{
    uint64_t quota = dd->dd_phys.dd_quota, reserved = dd->dd_phys.dd_reserved,
             was = dd->dd_phys.dd_used_bytes;

    if (dd == md->md_target && md->md_kind == Q_QUOTA)
        quota = md->md_value;
    if (dd == md->md_target && md->md_kind == Q_RESERVATION)
        reserved = md->md_value;
    *charged = MAX(new_used, reserved);
    bool grows = *charged > MAX(was, dd->dd_phys.dd_reserved);
    if (quota != 0 && (grows || (dd == md->md_target && md->md_kind == Q_QUOTA)) && quota < *charged)
        return false;
    return true;
}

/* 1 allowed, 0 not, -1 too close to say: the MOS changes as we look. */
static int
model_allows(dsl_dataset_t *ds, quota_kind_t kind, uint64_t value)
{
    model_t md = {.md_target = ds->ds_dir, .md_kind = kind, .md_value = value};
    const dsl_dataset_phys_t *p = &ds->ds_phys;
    uint64_t used = ds->ds_dir->dd_phys.dd_used_bytes, charged = 0, refreserv = ds->ds_refreserv;

    if (kind == Q_REFQUOTA)
        return value == 0 || value == ds->ds_refquota || value >= MAX(p->ds_referenced_bytes, refreserv);
    if (kind == Q_REFRESERV) {
        if (ds->ds_refquota != 0 && value > refreserv && value > ds->ds_refquota)
            return 0;
        used = used - MAX(p->ds_unique_bytes, refreserv) + MAX(p->ds_unique_bytes, value);
    }
    for (dsl_dir_t *dd = ds->ds_dir; dd != NULL; dd = dd->dd_parent) {
        if (!model_charge(&md, dd, used, &charged))
            return 0;
        if (dd->dd_parent != NULL)
            used = dd->dd_parent->dd_phys.dd_used_bytes -
                   MAX(dd->dd_phys.dd_used_bytes, dd->dd_phys.dd_reserved) + charged;
    }
    int64_t left = (int64_t)pool_capacity(tp->tp_dp, false) - (int64_t)charged;
    return left > (int64_t)(2 * MB) ? 1 : left < -(int64_t)(2 * MB) ? 0 : -1;
}

static void
random_setting(void)
{
    static const char *const names[] = {"quota", "reservation", "refquota", "refreservation"};
    model_fs_t *fs = tp_pick(tp, false);
    quota_kind_t kind = (quota_kind_t)tp_rnd(tp, Q_NUM);
    uint64_t value =
        tp_rnd(tp, 4) == 0 ? 0 : tp_rnd(tp, kind == Q_QUOTA || kind == Q_REFQUOTA ? 80 * MB : 25 * MB);
    dsl_dataset_t *ds;

    tp_sync(tp);
    OK(dsl_dataset_hold(tp->tp_dp, fs->mf_name, tp, &ds));
    int allowed = model_allows(ds, kind, value);
    dsl_dataset_rele(ds, tp);
    int err = set_bytes(fs->mf_name, names[kind], value);
    ck_assert_msg(allowed < 0 || err == (allowed ? 0 : ENOSPC), "%s=%llu of %s: %s, allowed %d", names[kind],
                  (unsigned long long)value, fs->mf_name, cowbird_strerror(err), allowed);
    if (err == 0)
        ck_assert_uint_eq(get_bytes(fs->mf_name, names[kind]), value);
}

static void
expect_space_error(int err)
{
    ck_assert_msg(err == 0 || err == EDQUOT || err == ENOSPC, "%s", cowbird_strerror(err));
}

static void
random_step(void)
{
    model_fs_t *fs = tp_pick(tp, false), *snap = tp_pick(tp, true);
    bool room = tp_find(tp, "") != NULL && ++tp->tp_names < MAX_FS * 100;
    uint64_t what = tp_rnd(tp, 100);
    char name[100];

    snprintf(name, sizeof(name), "%.50s/f%d", fs->mf_name, tp->tp_names);
    if (what < 35)
        random_setting();
    else if (what < 60)
        expect_space_error(tp_write(tp, fs, (int)tp_rnd(tp, FS_OBJECTS), (uint32_t)tp_rnd(tp, FS_BLOCKS / 2),
                                    FS_BLOCKS / 2));
    else if (what < 70)
        OK(tp_punch(tp, fs, (int)tp_rnd(tp, FS_OBJECTS), 0, 1 + (uint32_t)tp_rnd(tp, FS_BLOCKS)));
    else if (what < 80 && room)
        expect_space_error(tp_snapshot(tp, fs, strrchr(name, '/') + 1));
    else if (what < 84 && room && strlen(fs->mf_name) < 30)
        expect_space_error(tp_create_fs(tp, name, NULL));
    else if (what < 89 && room && snap != NULL && strlen(fs->mf_name) < 30)
        expect_space_error(tp_clone(tp, snap, name));
    else if (what < 93 && snap != NULL && !tp_has_clones(tp, snap))
        OK(tp_destroy_ds(tp, snap));
    else if (what < 96 && strcmp(fs->mf_name, "tank") != 0 && !tp_has_snapshots(tp, fs) &&
             !tp_has_children(tp, fs))
        OK(tp_destroy_ds(tp, fs));
    else if (what < 98 && tp_has_snapshots(tp, fs))
        OK(tp_rollback(tp, fs));
    else if (what >= 98)
        tp_reopen(tp);
}

START_TEST(random_sequences)
{
    tp->tp_rng += (uint64_t)_i * 977;
    for (int step = 0; step < effort(250); step++) {
        random_step();
        if (step % 10 == 9)
            tp_check(tp);
    }
    tp_verify(tp);
    if (_i == 0) {
        int rc = tp_zdb(tp);
        ck_assert_msg(rc == 0 || rc == 77, "zdb: %d", rc);
    }
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("dsl_quota");
    TCase *tc = tcase_create("quotas");
    tcase_set_timeout(tc, 240);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, quota_limit);
    tcase_add_test(tc, refquota_limit);
    tcase_add_test(tc, reservation);
    tcase_add_test(tc, refreservation);
    tcase_add_test(tc, limit_equals_promise);
    tcase_add_test(tc, with_create);
    tcase_add_test(tc, many_snapshots);
    tcase_add_loop_test(tc, random_sequences, 0, 4);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
