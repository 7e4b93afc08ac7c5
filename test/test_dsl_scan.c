/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_scan.c - scrub: everything is looked at, damage is repaired or named, and a pool that lives meanwhile is not mistaken for a damaged one.
 */
#include "streampool.h"

#define DISK (256ULL << 20)

/* ---- a file system to scrub ---- */

static uint64_t
make_object(objset_t *os)
{
    dmu_tx_t *tx = dmu_tx_create(os);
    uint64_t object;

    dmu_tx_hold_bonus(tx, DMU_NEW_OBJECT);
    ck_assert_int_eq(dmu_tx_assign(tx, DMU_TX_WAIT), 0);
    ck_assert_int_eq(dmu_object_alloc(os, DMU_OT_PLAIN_OTHER, 16384, DMU_OT_NONE, 0, 0, tx, &object), 0);
    dmu_tx_commit(tx);
    return object;
}

static void
write_object(objset_t *os, uint64_t object, uint64_t off, uint64_t n)
{
    uint8_t *buf = xmalloc(n);
    dmu_tx_t *tx = dmu_tx_create(os);

    random_bytes(buf, n);
    dmu_tx_hold_write(tx, object, off, n);
    ck_assert_int_eq(dmu_tx_assign(tx, DMU_TX_WAIT), 0);
    ck_assert_int_eq(dmu_write(os, object, off, n, buf, tx), 0);
    dmu_tx_commit(tx);
    free(buf);
}

static void
fill(dsl_pool_t *dp, const char *fs, uint64_t bytes)
{
    dsl_dataset_t *ds;
    objset_t *os = snap_hold(dp, fs, &ds);
    uint64_t object = make_object(os);

    for (uint64_t at = 0; at < bytes; at += 1 << 20)
        write_object(os, object, at, 1 << 20);
    dsl_dataset_rele(ds, dp);
}

static void
snapshot(dsl_pool_t *dp, const char *name)
{
    ck_assert_int_eq(dsl_snapshot(dp, &name, 1, NULL, NULL), 0);
}

static dsl_pool_t *
make_pool(faultdisk_t *fd)
{
    dsl_pool_t *dp = pool_make(fd, "p");

    ck_assert_int_eq(dsl_create(dp, "p/fs", DMU_OST_OTHER, NULL), 0);
    fill(dp, "p/fs", 8 << 20);
    snapshot(dp, "p/fs@1");
    fill(dp, "p/fs", 4 << 20);
    snapshot(dp, "p/fs@2");
    ck_assert_int_eq(dsl_clone(dp, "p/fs@1", "p/clone", NULL), 0);
    fill(dp, "p/clone", 2 << 20);
    return dp;
}

static dsl_scan_progress_t
scrub(dsl_pool_t *dp)
{
    dsl_scan_progress_t p;

    ck_assert_int_eq(dsl_scrub(dp, NULL, NULL, NULL), 0);
    dsl_scan_last(dp, &p);
    ck_assert_uint_ne(p.sp_end, 0);
    return p;
}

/* ---- a quiet pool ---- */

START_TEST(test_clean)
{
    faultdisk_t *fd = faultdisk_create(DISK);
    dsl_pool_t *dp = make_pool(fd);

    ck_assert_int_eq(dsl_pool_close(dp), 0);
    dp = pool_reopen(fd);
    dsl_scan_progress_t p = scrub(dp);
    ck_assert_uint_eq(p.sp_errors + p.sp_repaired, 0);
    ck_assert_uint_ge(p.sp_done, p.sp_total * 99 / 100); /* the MOS is rewritten now and then */
    ck_assert_uint_le(p.sp_done, p.sp_total * 101 / 100 + (64 << 10));
    pool_verify(dp);
    ck_assert_int_eq(dsl_pool_close(dp), 0);
    faultdisk_destroy(fd);
}
END_TEST

/* ---- damage ---- */

typedef struct victims {
    blkptr_t v_data, v_meta;
    zbookmark_t v_zb;
} victims_t;

static int
find_victims(void *arg, const traverse_block_t *tb)
{
    victims_t *v = arg;

    if (tb->tb_dnp == NULL || BP_IS_HOLE(tb->tb_bp) || tb->tb_zb.zb_level == ZB_DNODE_LEVEL ||
        tb->tb_zb.zb_object == 0)
        return 0;
    if (tb->tb_zb.zb_level == 1)
        v->v_meta = *tb->tb_bp;
    if (tb->tb_zb.zb_level == 0 && tb->tb_zb.zb_blkid == 7) {
        v->v_data = *tb->tb_bp;
        v->v_zb = tb->tb_zb;
    }
    return 0;
}

static void
corrupt(faultdisk_t *fd, const blkptr_t *bp, int d)
{
    faultdisk_corrupt(fd, DVA_GET_OFFSET(&bp->blk_dva[d]) + VDEV_LABEL_START_SIZE, 512);
}

static void
note_error(void *arg, const zbookmark_t *zb)
{
    zbookmark_t *out = arg;

    ck_assert_uint_eq(out->zb_object, 0); /* only one */
    *out = *zb;
}

START_TEST(test_damage)
{
    faultdisk_t *fd = faultdisk_create(DISK);
    dsl_pool_t *dp = make_pool(fd);
    dsl_dataset_phys_t phys;
    dsl_dataset_t *ds;
    victims_t v = {0};
    zbookmark_t zb = {0};

    (void)snap_hold(dp, "p/fs@1", &ds);
    dsl_dataset_phys(ds, &phys);
    dsl_dataset_rele(ds, dp);
    ck_assert_int_eq(
        traverse_objset(dsl_pool_spa(dp), &phys.ds_bp, 1, 0, TRAVERSE_PRE, NULL, find_victims, &v, NULL), 0);
    ck_assert_int_eq(dsl_pool_close(dp), 0);
    corrupt(fd, &v.v_data, 0);
    corrupt(fd, &v.v_meta, 1); /* the copy that nobody reads as long as the first is good */
    dp = pool_reopen(fd);
    dsl_scan_progress_t p = scrub(dp);
    ck_assert_uint_gt(p.sp_repaired, 0);
    ck_assert_uint_eq(p.sp_errors, 1);
    spa_errlog_walk(dsl_pool_spa(dp), note_error, &zb);
    ck_assert_uint_eq(zb.zb_object, v.v_zb.zb_object);
    ck_assert_uint_eq(zb.zb_blkid, 7);
    spa_errlog_clear(dsl_pool_spa(dp));
    p = scrub(dp);
    ck_assert_uint_eq(p.sp_repaired, 0);
    ck_assert_uint_eq(p.sp_errors, 1);
    ck_assert_int_eq(dsl_pool_close(dp), 0);
    faultdisk_destroy(fd);
}
END_TEST

/* ---- a pool that lives ---- */

static volatile int stop;

static void *
live(void *arg)
{
    dsl_pool_t *dp = arg;
    dsl_dataset_t *ds;
    objset_t *os = snap_hold(dp, "p/fs", &ds);
    uint64_t objects[20];
    char name[64];

    for (int i = 0; i < 20; i++)
        objects[i] = make_object(os);
    for (unsigned i = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++) {
        uint64_t object = objects[random_u64() % 20];
        write_object(os, object, random_u64() % 500000, 1 + random_u64() % 200000);
        if (i % 7 == 0)
            ck_assert_int_eq(dmu_free_long_range(os, object, random_u64() % 500000, DMU_OBJECT_END), 0);
        if (i % 20 == 0)
            txg_kick(dsl_pool_txg(dp));
        const char *snap = name;
        snprintf(name, sizeof(name), "p/fs@live%u", i % 200);
        if (i % 40 == 0)
            (void)dsl_snapshot(dp, &snap, 1, NULL, NULL);
        snprintf(name, sizeof(name), "p/fs@live%u", (i + 80) % 200);
        if (i % 40 == 0)
            (void)dsl_destroy_snapshots(dp, &snap, 1, false, NULL);
    }
    dsl_dataset_rele(ds, dp);
    return NULL;
}

START_TEST(test_live)
{
    faultdisk_t *fd = faultdisk_create(DISK);
    dsl_pool_t *dp = make_pool(fd);
    uint64_t start = gethrtime();
    pthread_t t;
    int n = 0;

    pthread_create(&t, NULL, live, dp);
    while (gethrtime() - start < 5000000000ULL || n < 3) {
        dsl_scan_progress_t p = scrub(dp);
        ck_assert_uint_eq(p.sp_errors, 0);
        ck_assert_uint_eq(p.sp_repaired, 0);
        n++;
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    pthread_join(t, NULL);
    pool_verify(dp);
    ck_assert_int_eq(dsl_pool_close(dp), 0);
    faultdisk_destroy(fd);
}
END_TEST

static void
cancel_at_once(void *arg, const dsl_scan_progress_t *p)
{
    __atomic_store_n((volatile int *)arg, 1, __ATOMIC_RELAXED);
}

START_TEST(test_cancel)
{
    faultdisk_t *fd = faultdisk_create(DISK);
    dsl_pool_t *dp = make_pool(fd);
    volatile int cancel = 0;
    dsl_scan_progress_t p;

    ck_assert_int_eq(dsl_scrub(dp, cancel_at_once, (void *)(uintptr_t)&cancel, &cancel), EINTR);
    dsl_scan_last(dp, &p);
    ck_assert(p.sp_canceled);
    (void)scrub(dp);
    ck_assert_int_eq(dsl_pool_close(dp), 0);
    faultdisk_destroy(fd);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("scrub");
    TCase *tc = tcase_create("scrub");

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, test_clean);
    tcase_add_test(tc, test_damage);
    tcase_add_test(tc, test_live);
    tcase_add_test(tc, test_cancel);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
