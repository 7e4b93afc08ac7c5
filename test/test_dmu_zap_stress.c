/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dmu_zap_stress.c - ZAP objects under damage, from several threads, and at speed
 * (COWBIRD_TEST_SPEED=1 prints rates and goes to a million entries).
 */
#include "support/effort.h"
#include "support/faultdisk.h"
#include "support/zaptest.h"

/* ---- damage ---- */

static void
damage_block(uint64_t z, uint64_t off, const uint8_t *good, dmu_tx_t *tx)
{
    dmu_buf_t *db;
    ck_assert_int_eq(dmu_buf_hold(mp->mp_os, z, off, &db), 0);
    dmu_buf_will_dirty(db, tx);
    uint8_t *p = db->db_data;
    memcpy(p, good, db->db_size);
    for (uint64_t k = rnd(6); k > 0; k--) {
        uint64_t at = rnd(2) == 0 ? rnd(128) : rnd(db->db_size);
        p[at] = rnd(2) == 0 ? (uint8_t)rnd(256) : (uint8_t)(p[at] ^ (1u << rnd(8)));
    }
    dmu_buf_rele(db);
    dnode_t *dn;
    ck_assert_int_eq(dnode_hold(mp->mp_os, z, &dn), 0);
    mzap_drop_index(dn);
    dnode_rele(dn);
}

static void
use_damaged(uint64_t z, dmu_tx_t *tx)
{
    zap_cursor_t zc;
    zap_attribute_t za;
    uint64_t v, a, b;
    char name[100];
    (void)zap_count(mp->mp_os, z, &v);
    zap_cursor_init_serialized(&zc, mp->mp_os, z, rnd(4) == 0 ? rnd(UINT64_MAX) : 0);
    for (int n = 0; zap_cursor_retrieve(&zc, &za) == 0; n++) {
        ck_assert_int_lt(n, 100000);
        zap_cursor_advance(&zc);
    }
    zap_cursor_fini(&zc);
    for (int k = 0; k < 10; k++) {
        snprintf(name, sizeof(name), "name %d", (int)rnd(1200));
        (void)zap_lookup_u64(mp->mp_os, z, name, &v);
        (void)zap_length(mp->mp_os, z, name, &a, &b);
        (void)zap_update_u64(mp->mp_os, z, name, rnd(100), tx);
        (void)zap_remove(mp->mp_os, z, name, tx);
        snprintf(name, sizeof(name), "new %d", (int)rnd(1000));
        (void)zap_add(mp->mp_os, z, name, rnd(2) ? 8 : 1, 1 + rnd(2), "0123456789abcdef", tx);
    }
}

START_TEST(damage)
{
    bool fat = _i == 1;
    uint64_t z = new_zap(0);
    dmu_object_info_t doi;
    char name[100];
    for (int i = 0; i < (fat ? 1000 : 60); i++) {
        snprintf(name, sizeof(name), "name %d", i);
        dmu_tx_t *tx = minipool_tx(mp);
        ck_assert_int_eq(zap_add(mp->mp_os, z, name, 8, fat && i % 50 == 0 ? 2 : 1, (uint64_t[]){1, 2}, tx),
                         0);
        dmu_tx_commit(tx);
    }
    ck_assert_int_eq(dmu_object_info(mp->mp_os, z, &doi), 0);
    uint64_t bs = doi.doi_data_block_size, nblocks = doi.doi_max_offset / bs;
    uint8_t *good = malloc(doi.doi_max_offset);
    ck_assert_int_eq(dmu_read(mp->mp_os, z, 0, doi.doi_max_offset, good), 0);
    for (int round = 0; round < effort(1500); round++) {
        dmu_tx_t *tx = minipool_tx(mp);
        ck_assert_int_eq(dmu_object_info(mp->mp_os, z, &doi), 0);
        if (doi.doi_data_block_size != bs ||
            doi.doi_max_offset != nblocks * bs) { /* grown or turned fat: as it was */
            ck_assert_int_eq(dmu_free_range(mp->mp_os, z, 0, DMU_OBJECT_END, tx), 0);
            ck_assert_int_eq(dmu_object_set_blocksize(mp->mp_os, z, (uint32_t)bs, tx), 0);
        }
        ck_assert_int_eq(dmu_write(mp->mp_os, z, 0, nblocks * bs, good, tx), 0);
        uint64_t blk = rnd(MIN(nblocks, 3));
        damage_block(z, blk * bs, good + blk * bs, tx);
        use_damaged(z, tx);
        dmu_tx_commit(tx);
    }
    free(good);
}
END_TEST

/* ---- threads ---- */

static uint64_t shared_zap;

static void *
reader(void *arg)
{
    char name[64];
    for (int i = 0; i < 3000; i++) {
        uint64_t v;
        snprintf(name, sizeof(name), "stay %d", i % 300);
        ck_assert_int_eq(zap_lookup_u64(mp->mp_os, shared_zap, name, &v), 0);
        if (i % 500 == 0) {
            zap_cursor_t zc;
            zap_attribute_t za;
            int n = 0;
            for (zap_cursor_init(&zc, mp->mp_os, shared_zap); zap_cursor_retrieve(&zc, &za) == 0;
                 zap_cursor_advance(&zc))
                n += strncmp(za.za_name, "stay", 4) == 0;
            zap_cursor_fini(&zc);
            ck_assert_int_eq(n, 300);
        }
    }
    return NULL;
}

static void *
writer(void *arg)
{
    char name[64];
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof(name), "w%d %d", (int)(intptr_t)arg, i);
        ck_assert_int_eq(add(shared_zap, name, 1), 0);
        if (i % 3 == 0)
            ck_assert_int_eq(del(shared_zap, name), 0);
        if (i % 1000 == 999)
            txg_kick(mp->mp_ts);
    }
    return NULL;
}

START_TEST(threads)
{
    pthread_t t[4];
    char name[64];
    uint64_t n;
    shared_zap = new_zap(0);
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "stay %d", i);
        ck_assert_int_eq(add(shared_zap, name, (uint64_t)i), 0);
    }
    for (intptr_t i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, i < 2 ? reader : writer, (void *)i);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    ck_assert_int_eq(zap_count(mp->mp_os, shared_zap, &n), 0);
    ck_assert_uint_eq(n, 300 + 2 * 2000);
}
END_TEST

/* ---- speed: printed, and only loosely judged ---- */

static void
print_rate(const char *what, uint64_t n, uint64_t t0)
{
    double s = (double)(gethrtime() - t0) / 1e9;
    if (getenv("COWBIRD_TEST_SPEED") != NULL)
        printf("%-24s %8.0f/s\n", what, (double)n / s);
}

START_TEST(speed)
{
    uint64_t n = getenv("COWBIRD_TEST_SPEED") != NULL && _i == 1 ? 1000000 : 20000, z = new_zap(0),
             t0 = gethrtime(), v, k = 0;
    char name[64];
    for (uint64_t i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "file-%06llu.txt", (unsigned long long)i);
        ck_assert_int_eq(add(z, name, i), 0);
    }
    print_rate("add", n, t0);
    minipool_sync(mp);
    print_rate("add and sync", n, t0);
    t0 = gethrtime();
    for (uint64_t i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "file-%06llu.txt", (unsigned long long)(i * 7919 % n));
        ck_assert_int_eq(zap_lookup_u64(mp->mp_os, z, name, &v), 0);
    }
    print_rate("lookup", n, t0);
    t0 = gethrtime();
    zap_cursor_t zc;
    zap_attribute_t za;
    for (zap_cursor_init(&zc, mp->mp_os, z); zap_cursor_retrieve(&zc, &za) == 0; zap_cursor_advance(&zc))
        k++;
    zap_cursor_fini(&zc);
    ck_assert_uint_eq(k, n);
    print_rate("iterate", n, t0);
    t0 = gethrtime();
    for (uint64_t i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "file-%06llu.txt", (unsigned long long)i);
        ck_assert_int_eq(del(z, name), 0);
    }
    print_rate("remove", n, t0);
    z = new_zap(0);
    t0 = gethrtime();
    for (uint64_t i = 0; i < 2000; i++) {
        snprintf(name, sizeof(name), "file-%06llu.txt", (unsigned long long)i);
        ck_assert_int_eq(add(z, name, i), 0);
    }
    print_rate("micro: add", 2000, t0);
    minipool_sync(mp);
    t0 = gethrtime();
    for (uint64_t i = 0; i < 20000; i++) {
        snprintf(name, sizeof(name), "file-%06llu.txt", (unsigned long long)(i % 2000));
        ck_assert_int_eq(zap_lookup_u64(mp->mp_os, z, name, &v), 0);
    }
    print_rate("micro: lookup", 20000, t0);
    ck_assert_uint_eq(first_word(z), ZBT_MICRO);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("zap_stress");
    TCase *alone = tcase_create("alone"), *together = tcase_create("together");
    tcase_set_timeout(alone, 300);
    tcase_add_checked_fixture(alone, setup, teardown);
    tcase_add_loop_test(alone, damage, 0, 2);
    tcase_add_loop_test(alone, speed, 0, 2);
    tcase_set_timeout(together, 120);
    tcase_add_checked_fixture(together, setup, teardown);
    tcase_add_test(together, threads);
    suite_add_tcase(s, alone);
    suite_add_tcase(s, together);
    return minipool_run(s);
}
