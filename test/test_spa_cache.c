/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_spa_cache.c - what lies between a block and the disk in time: the write queue, the cache, many threads at once.
 */
#include "support/spapool.h"

#include <unistd.h>

/* ---- batches and the queue ---- */

START_TEST(large_batch)
{
    enum { N = 40000 };
    faultdisk_t *fd;
    spa_t *spa = pool(&fd, 1ULL << 30, 12, ZIO_CHECKSUM_XXH3_128);
    zio_write_t *w = xzalloc(N * sizeof(*w));
    spa_stats_t st;

    for (uint64_t i = 0; i < N; i++)
        w[i] =
            (zio_write_t){.zw_buf = make(4096 * (1 + i % 5), NOISE, i), .zw_prop = prop(ZIO_COMPRESS_LZ4, 1)};
    ck_assert_int_eq(zio_write(spa, TXG, 1, w, N), 0);
    for (uint64_t i = 0; i < N; i += 7)
        check_contents(spa, &w[i].zw_bp, w[i].zw_buf);
    commit(spa, TXG, &w[0].zw_bp);
    spa_get_stats(spa, &st);
    ck_assert_uint_le(st.ss_writes, 300); /* neighbours went together */
    for (uint64_t i = 0; i < N; i++) {
        if (i % 3 == 0)
            check_contents(spa, &w[i].zw_bp, w[i].zw_buf);
        ck_assert_uint_eq(w[i].zw_buf->b_refs, 1); /* nobody kept one */
        arc_buf_rele(w[i].zw_buf);
    }
    free(w);
    pool_done(spa, fd);
}
END_TEST

static void *
drain_run(void *arg)
{
    VERIFY0(zio_queue_drain(arg));
    return NULL;
}

/* A block is rewritten while its first version is on the way to the disk: the second must follow, and readers see it. */
START_TEST(rewrite_under_way)
{
    faultdisk_t *fd;
    spa_t *spa = pool(&fd, 64ULL << 20, 12, ZIO_CHECKSUM_XXH3_128);
    zio_write_t w = {.zw_buf = make(16 << 10, NOISE, 1), .zw_prop = prop(ZIO_COMPRESS_OFF, 1)};
    pthread_t th;

    ck_assert_int_eq(zio_write(spa, TXG, 1, &w, 1), 0);
    faultdisk_hold_writes(fd, true);
    VERIFY0(pthread_create(&th, NULL, drain_run, spa->spa_queue));
    while (faultdisk_held(fd) == 0)
        usleep(1000);
    for (uint64_t i = 2; i < 4; i++) {
        arc_buf_rele(w.zw_buf);
        w.zw_buf = make(16 << 10, NOISE, i);
        ck_assert_int_eq(zio_write(spa, TXG, 2, &w, 1), 0);
        ck_assert(w.zw_inplace);
        check_contents(spa, &w.zw_bp, w.zw_buf);
    }
    faultdisk_hold_writes(fd, false);
    VERIFY0(pthread_join(th, NULL));
    check_contents(spa, &w.zw_bp, w.zw_buf);
    commit(spa, TXG, &w.zw_bp);
    check_contents(spa, &w.zw_bp, w.zw_buf);
    arc_buf_rele(w.zw_buf);
    pool_done(spa, fd);
}
END_TEST

typedef struct reader {
    spa_t *spa;
    const blkptr_t *bp;
    arc_buf_t *const *want;
    uint64_t n, seed;
    int stop; /* atomic */
    int flags;
} reader_t;

static void *
reader_run(void *arg)
{
    reader_t *r = arg;
    uint64_t x = r->seed;

    while (ATOMIC_LOAD(&r->stop) == 0) {
        arc_buf_t *got = NULL;
        x = x * 6364136223846793005ULL + 1442695040888963407ULL;
        uint64_t i = (x >> 33) % r->n;
        if (x >> 60 == 0) {
            arc_prefetch(r->spa, &r->bp[i], NULL);
        } else if (x >> 60 == 1) {
            arc_forget(r->spa, &r->bp[i]);
        } else {
            int err = arc_read(r->spa, &r->bp[i], NULL, x >> 60 == 2 ? ARC_NOCACHE : 0, &got);
            VERIFY0(err);
            VERIFY0(memcmp(got->b_data, r->want[i]->b_data, got->b_size));
            if (x >> 62 == 3) {
                got = arc_buf_own(got);
                memset(got->b_data, 0xAB, got->b_size); /* ours alone */
            }
            arc_buf_rele(got);
        }
    }
    return NULL;
}

/* Readers on committed blocks while the syncing thread writes, rewrites in place, frees and commits. */
START_TEST(threads)
{
    enum { N = 64, READERS = 4 };
    faultdisk_t *fd;
    spa_t *spa = pool(&fd, 128ULL << 20, 12, ZIO_CHECKSUM_XXH3_128);
    arc_buf_t *want[N];
    blkptr_t bp[N];
    pthread_t th[READERS];
    reader_t r[READERS];

    arc_set_limit(4 << 20);
    for (uint64_t i = 0; i < N; i++) {
        want[i] = make(4096 << i % 6, i % 2 ? HALF : NOISE, i);
        bp[i] = put(spa, TXG, want[i], prop(ZIO_COMPRESS_LZ4, 2));
    }
    commit(spa, TXG, &bp[0]);
    for (uint64_t i = 0; i < READERS; i++) {
        r[i] = (reader_t){.spa = spa, .bp = bp, .want = want, .n = N, .seed = i + 1};
        VERIFY0(pthread_create(&th[i], NULL, reader_run, &r[i]));
    }
    zio_write_t w[16] = {0};
    for (uint64_t txg = TXG + 1; txg < TXG + 40; txg++) {
        for (int i = 0; i < 16; i++) {
            if (txg > TXG + 1)
                zio_free(spa, txg, &w[i].zw_bp);
            bp_zero(&w[i].zw_bp);
        }
        for (int pass = 1; pass <= 3; pass++) {
            for (uint64_t i = 0; i < 16; i++) {
                w[i].zw_buf = make(32 << 10, HALF, txg * 100 + i + (uint64_t)pass);
                w[i].zw_prop = prop(ZIO_COMPRESS_OFF, 2);
            }
            VERIFY0(zio_write(spa, txg, pass, w, 16));
            for (int i = 0; i < 16; i++) {
                VERIFY(w[i].zw_inplace == (pass > 1));
                arc_insert(spa, &w[i].zw_bp, w[i].zw_buf);
                arc_buf_rele(w[i].zw_buf);
            }
        }
        damage(fd, &bp[txg % N], (int)(txg % 2));
        commit(spa, txg, &w[0].zw_bp);
    }
    for (int i = 0; i < READERS; i++)
        ATOMIC_STORE(&r[i].stop, 1);
    for (int i = 0; i < READERS; i++)
        VERIFY0(pthread_join(th[i], NULL));
    for (int i = 0; i < N; i++)
        arc_buf_rele(want[i]);
    pool_done(spa, fd);
    arc_set_limit(64 << 20);
}
END_TEST

/* ---- the cache ---- */

static uint64_t
misses(spa_t *spa)
{
    spa_stats_t st;

    spa_get_stats(spa, &st);
    return st.ss_arc_misses;
}

static void
touch(spa_t *spa, const blkptr_t *bp, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        arc_buf_t *got = NULL;
        ck_assert_int_eq(arc_read(spa, &bp[i], NULL, 0, &got), 0);
        ck_assert(!arc_buf_writable(got));
        arc_buf_rele(got);
    }
}

START_TEST(cache)
{
    enum { N = 400, HOT = 40 };
    faultdisk_t *fd;
    spa_t *spa = pool(&fd, 128ULL << 20, 12, ZIO_CHECKSUM_XXH3_128);
    blkptr_t *bp = xzalloc(N * sizeof(*bp));
    spa_stats_t st;

    arc_set_limit(4 << 20);
    for (uint64_t i = 0; i < N; i++) {
        arc_buf_t *buf = make(64 << 10, TEXT, i);
        bp[i] = put(spa, TXG, buf, prop(ZIO_COMPRESS_LZ4, 1));
        arc_buf_rele(buf);
    }
    touch(spa, bp, 0, HOT);
    usleep(60000);
    touch(spa, bp, 0, HOT); /* used again later: frequent */
    ck_assert_uint_eq(misses(spa), HOT);
    touch(spa, bp, HOT, N); /* a scan, six times the cache */
    spa_get_stats(spa, &st);
    ck_assert_uint_le(st.ss_arc_bytes, 4 << 20);
    uint64_t before = misses(spa);
    touch(spa, bp, 0, HOT);
    ck_assert_uint_eq(misses(spa), before); /* the scan pushed none of them out */
    arc_forget(spa, &bp[0]);
    touch(spa, bp, 0, HOT);
    ck_assert_uint_eq(misses(spa), before + 1);

    arc_buf_t *got = NULL;
    ck_assert_int_eq(arc_read(spa, &bp[HOT], NULL, ARC_NOCACHE, &got), 0);
    ck_assert(arc_buf_writable(got));
    arc_insert(spa, &bp[HOT], got);
    ck_assert(!arc_buf_writable(got));
    arc_buf_t *own = arc_buf_own(arc_buf_hold(got));
    ck_assert(own != got && arc_buf_writable(own));
    arc_buf_rele(own);
    arc_buf_rele(got);
    free(bp);
    pool_done(spa, fd);
    arc_set_limit(64 << 20);
}
END_TEST

START_TEST(two_pools)
{
    faultdisk_t *fd[2];
    spa_t *spa[2] = {pool(&fd[0], 64 << 20, 12, ZIO_CHECKSUM_OFF),
                     pool(&fd[1], 64 << 20, 12, ZIO_CHECKSUM_OFF)};
    arc_buf_t *buf[2] = {make(4096, NOISE, 1), make(4096, NOISE, 2)}, *got = NULL;
    blkptr_t bp[2];

    for (int p = 0; p < 2; p++)
        bp[p] = put(spa[p], TXG, buf[p], prop(ZIO_COMPRESS_OFF, 1));
    ck_assert_int_eq(memcmp(&bp[0], &bp[1], sizeof(bp[0])), 0); /* same place, no checksum: same pointer */
    for (int p = 0; p < 4; p++) {
        ck_assert_int_eq(arc_read(spa[p % 2], &bp[p % 2], NULL, 0, &got), 0);
        ck_assert_int_eq(memcmp(got->b_data, buf[p % 2]->b_data, 4096), 0);
        arc_buf_rele(got);
    }
    for (int p = 0; p < 2; p++) {
        arc_buf_rele(buf[p]);
        pool_done(spa[p], fd[p]);
    }
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("spa_cache");
    TCase *tc = tcase_create("cache");

    cowbird_log_set_sink(quiet);
    tcase_set_timeout(tc, 600);
    tcase_add_test(tc, large_batch);
    tcase_add_test(tc, rewrite_under_way);
    tcase_add_test(tc, threads);
    tcase_add_test(tc, cache);
    tcase_add_test(tc, two_pools);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
