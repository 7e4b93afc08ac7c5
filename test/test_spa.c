/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_spa.c - blocks through the pipeline and back: shapes, copies, damage and repair, gangs, a full pool.
 */
#include "support/effort.h"
#include "support/spapool.h"

#include <check.h>
#include <stdio.h>
#include <unistd.h>

/* ---- shapes ---- */

static const uint64_t sizes[] = {512,   1024,   1536,         4096,    4608,    12800,
                                 16384, 131072, 131072 + 512, 1 << 20, 16 << 20};
static const struct {
    enum zio_compress c;
    uint8_t level;
} algos[] = {{ZIO_COMPRESS_OFF, 0},    {ZIO_COMPRESS_LZJB, 0}, {ZIO_COMPRESS_GZIP_1, 0},
             {ZIO_COMPRESS_GZIP_9, 0}, {ZIO_COMPRESS_ZLE, 0},  {ZIO_COMPRESS_LZ4, 0},
             {ZIO_COMPRESS_ZSTD, 3},   {ZIO_COMPRESS_ZSTD, 12}};

static void
check_shape(const blkptr_t *bp, uint64_t size, uint64_t ashift, int copies)
{
    uint64_t psize = BP_GET_PSIZE(bp), unit = 1ULL << ashift;

    ck_assert_int_eq(bp_validate(bp, 512ULL << 20), 0);
    ck_assert_int_eq(bp_get_ndvas(bp), copies);
    ck_assert_uint_eq(bp_get_asize(bp), (uint64_t)copies * P2ROUNDUP(psize, unit));
    ck_assert_uint_eq(bp->blk_birth, TXG);
    ck_assert_uint_eq(bp->blk_phys_birth, 0);
    ck_assert_uint_eq(bp->blk_fill, 1);
    ck_assert_uint_eq(bp_get_ucsize(bp), size);
    ck_assert(BP_IS_LITTLE(bp) && BP_GET_LEVEL(bp) == 0 && BP_GET_TYPE(bp) == 19);
    if (BP_GET_COMPRESS(bp) == ZIO_COMPRESS_OFF)
        ck_assert_uint_eq(psize, size);
    else
        ck_assert(psize % unit == 0 && psize < size);
}

static void
write_read_all(uint64_t ashift, enum zio_checksum c)
{
    faultdisk_t *fd;
    spa_t *spa = pool(&fd, 600ULL << 20, ashift, c);
    zio_write_t w[2 * ARRAY_SIZE(algos) * 3] = {0};

    for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
        uint64_t n = 0;
        for (size_t a = 0; a < ARRAY_SIZE(algos); a++)
            for (int how = ZEROS; how <= HALF; how++) {
                if (sizes[s] > 1 << 20 && (how != HALF || a % 3 != 0))
                    continue;
                w[n] = (zio_write_t){.zw_buf = make(sizes[s], (enum contents)how, s + a),
                                     .zw_fill = 1,
                                     .zw_prop = prop(algos[a].c, 1 + (int)(a % 3))};
                w[n].zw_prop.zp_complevel = algos[a].level;
                w[n++].zw_prop.zp_keep_zero = a % 2;
            }
        ck_assert_int_eq(zio_write(spa, TXG, 1, w, n), 0);
        for (uint64_t i = 0; i < 2 * n; i++) {
            if (i == n)
                ck_assert_int_eq(zio_queue_drain(spa->spa_queue), 0);
            zio_write_t *one = &w[i % n];
            if (BP_IS_HOLE(&one->zw_bp)) {
                ck_assert(zio_is_zero(one->zw_buf->b_data, sizes[s]) && !one->zw_prop.zp_keep_zero);
                continue;
            }
            check_shape(&one->zw_bp, sizes[s], ashift, one->zw_prop.zp_copies);
            check_contents(spa, &one->zw_bp, one->zw_buf);
        }
        for (uint64_t i = 0; i < n; i++)
            arc_buf_rele(w[i].zw_buf);
    }
    pool_done(spa, fd);
}

START_TEST(write_read)
{
    write_read_all(9, ZIO_CHECKSUM_XXH3_128);
    write_read_all(12, ZIO_CHECKSUM_FLETCHER_4);
    write_read_all(14, ZIO_CHECKSUM_SHA256);
}
END_TEST

START_TEST(shapes)
{
    faultdisk_t *fd;
    spa_t *spa = pool(&fd, 64ULL << 20, 12, ZIO_CHECKSUM_XXH3_128);
    zio_prop_t zp = prop(ZIO_COMPRESS_LZ4, 1);
    arc_buf_t *text = make(128 << 10, TEXT, 1), *tiny = make(512, TEXT, 2), *zero = make(4096, ZEROS, 0);
    uint8_t raw[128 << 10];

    blkptr_t bp = put(spa, TXG, text, zp);
    ck_assert_uint_eq(BP_GET_PSIZE(&bp), 4096);
    ck_assert_int_eq(BP_GET_COMPRESS(&bp), ZIO_COMPRESS_LZ4);
    ck_assert_int_eq(zio_read_raw(spa, &bp, raw, NULL), 0);
    uint8_t *plain = xmalloc(128 << 10);
    ck_assert_int_eq(zio_decompress_data(ZIO_COMPRESS_LZ4, raw, 4096, plain, 128 << 10), 0);
    ck_assert_int_eq(memcmp(plain, text->b_data, 128 << 10), 0);
    free(plain);

    zp.zp_may_embed = true;
    bp = put(spa, TXG, tiny, zp);
    ck_assert(BP_IS_EMBEDDED(&bp) && BPE_GET_PSIZE(&bp) <= 112 && bp.blk_birth == TXG);
    ck_assert_uint_eq(bp_get_asize(&bp) + BP_GET_PSIZE(&bp), 0);
    ck_assert_uint_eq(bp_get_ucsize(&bp), 512);
    check_contents(spa, &bp, tiny);
    arc_buf_t *got = NULL;
    ck_assert_int_eq(arc_read(spa, &bp, NULL, 0, &got), 0);
    ck_assert(arc_buf_writable(got)); /* not cached: nothing to share */
    arc_buf_rele(got);

    zp.zp_compress = ZIO_COMPRESS_OFF;
    bp = put(spa, TXG, tiny, zp);
    ck_assert(!BP_IS_EMBEDDED(&bp) && BP_GET_PSIZE(&bp) == 512 && bp_get_asize(&bp) == 4096);
    bp = put(spa, TXG, zero, zp);
    ck_assert(BP_IS_HOLE(&bp) && zio_is_zero(&bp, sizeof(bp)));
    ck_assert_int_eq(zio_read(spa, &bp, raw, NULL), EINVAL);
    ck_assert_int_eq(arc_read(spa, &bp, NULL, 0, &got), EINVAL);
    zp.zp_keep_zero = true;
    bp = put(spa, TXG, zero, zp);
    ck_assert(!BP_IS_HOLE(&bp));
    check_contents(spa, &bp, zero);
    arc_buf_rele(text);
    arc_buf_rele(tiny);
    arc_buf_rele(zero);
    pool_done(spa, fd);
}
END_TEST

START_TEST(in_place)
{
    faultdisk_t *fd;
    spa_t *spa = pool(&fd, 64ULL << 20, 12, ZIO_CHECKSUM_XXH3_128);
    zio_write_t w = {.zw_prop = prop(ZIO_COMPRESS_LZ4, 2)};
    static const enum contents how[] = {HALF, TEXT, NOISE, TEXT, HALF, NOISE};
    static const int pass[] = {1, 2, 3, 4, 5, 6};
    static const bool stays[] = {false, true, false, true, true, true};

    for (size_t i = 0; i < ARRAY_SIZE(how); i++) {
        blkptr_t old = w.zw_bp;
        w.zw_buf = make(64 << 10, how[i], i);
        ck_assert_int_eq(zio_write(spa, TXG, pass[i], &w, 1), 0);
        ck_assert_int_eq(w.zw_inplace, stays[i]);
        ck_assert_int_eq(memcmp(old.blk_dva, w.zw_bp.blk_dva, sizeof(old.blk_dva)) == 0, stays[i]);
        check_contents(spa, &w.zw_bp, w.zw_buf);
        ck_assert_int_eq(zio_queue_drain(spa->spa_queue), 0);
        check_contents(spa, &w.zw_bp, w.zw_buf);
        arc_buf_rele(w.zw_buf);
    }
    ck_assert_int_eq(BP_GET_COMPRESS(&w.zw_bp), ZIO_COMPRESS_OFF);
    commit(spa, TXG, &w.zw_bp);
    w.zw_buf = make(64 << 10, TEXT, 9);
    ck_assert_int_eq(zio_write(spa, TXG + 1, 1, &w, 1), 0);
    ck_assert(!w.zw_inplace); /* committed blocks are never written over */
    arc_buf_rele(w.zw_buf);
    pool_done(spa, fd);
}
END_TEST

START_TEST(bad_pointers)
{
    faultdisk_t *fd;
    spa_t *spa = pool(&fd, 64ULL << 20, 12, ZIO_CHECKSUM_XXH3_128);
    arc_buf_t *buf = make(16 << 10, HALF, 1), *got;
    blkptr_t bp = put(spa, TXG, buf, prop(ZIO_COMPRESS_LZ4, 2)), bad = bp;
    char text[400], small[20];

    ck_assert_ptr_nonnull(strstr(bp_sprint(&bp, text, sizeof(text)), "lz4"));
    bp_sprint(&bp, small, sizeof(small));
    BF64_SET(bad.blk_prop, 61, 1, 1);
    ck_assert_int_eq(arc_read(spa, &bad, NULL, 0, &got), ENOTSUP);
    for (int i = 0; i < effort(200000); i++) {
        uint64_t *w = (uint64_t *)&bad;
        bad = bp;
        for (uint64_t n = 1 + rnd() % 3; n > 0; n--)
            w[rnd() % 11] ^= 1ULL << rnd() % 64;
        if (rnd() % 50 == 0)
            w[rnd() % 12] = rnd() << rnd() % 64;
        bp_sprint(&bad, text, sizeof(text));
        (void)bp_get_asize(&bad);
        if (bp_validate(&bad, spa_asize(spa)) != 0 || BP_IS_HOLE(&bad))
            continue;
        if (i % 16 == 0 && arc_read(spa, &bad, NULL, ARC_NOCACHE, &got) == 0)
            arc_buf_rele(got);
    }
    arc_buf_rele(buf);
    pool_done(spa, fd);
}
END_TEST

/* Every rule of the gate, one at a time. */
START_TEST(gate)
{
    uint64_t asize = 64 << 20;
    blkptr_t good = {.blk_birth = TXG}, bp;

    BP_SET_LSIZE(&good, 128 << 10);
    BP_SET_PSIZE(&good, 64 << 10);
    BP_SET_COMPRESS(&good, ZIO_COMPRESS_LZ4);
    DVA_SET_ASIZE(&good.blk_dva[0], 64 << 10);
    DVA_SET_OFFSET(&good.blk_dva[0], asize - (64 << 10));
    ck_assert_int_eq(bp_validate(&good, asize), 0);
#define REFUSED(change)                                                                                      \
    do {                                                                                                     \
        bp = good;                                                                                           \
        change;                                                                                              \
        ck_assert_int_eq(bp_validate(&bp, asize), EIO);                                                      \
    } while (0)
    REFUSED(DVA_SET_OFFSET(&bp.blk_dva[0], asize - (63 << 10)));
    REFUSED(DVA_SET_OFFSET(&bp.blk_dva[0], asize + 512));
    REFUSED(bp.blk_dva[0].dva_word[1] = UINT64_MAX >> 1);
    REFUSED(bp.blk_dva[0].dva_word[1] = UINT64_MAX);
    REFUSED(DVA_SET_VDEV(&bp.blk_dva[0], 1));
    REFUSED(DVA_SET_ASIZE(&bp.blk_dva[0], 32 << 10));
    REFUSED(bp.blk_dva[1] = bp.blk_dva[0]; DVA_SET_OFFSET(&bp.blk_dva[1], asize));
    REFUSED(BP_SET_PSIZE(&bp, 129 << 10));
    REFUSED(BP_SET_LSIZE(&bp, SPA_MAXBLOCKSIZE + 512));
    REFUSED(BP_SET_COMPRESS(&bp, ZIO_COMPRESS_OFF));
    REFUSED(BP_SET_COMPRESS(&bp, ZIO_COMPRESS_ON));
    REFUSED(BP_SET_COMPRESS(&bp, 99));
    REFUSED(bp.blk_birth = 0);
    REFUSED(BF64_SET(bp.blk_prop, 39, 1, 1); BF64_SET(bp.blk_prop, 25, 7, 112));
    REFUSED(bpe_encode(&bp, "x", ZIO_COMPRESS_LZ4, 512, 1); BP_SET_LEVEL(&bp, 1));
    REFUSED(bpe_encode(&bp, "x", ZIO_COMPRESS_LZ4, 17 << 20, 1));
#undef REFUSED
}
END_TEST

/* ---- damage and repair ---- */

START_TEST(heal)
{
    faultdisk_t *fd;
    spa_t *spa = pool(&fd, 64ULL << 20, 12, ZIO_CHECKSUM_XXH3_128);
    arc_buf_t *buf = make(16 << 10, HALF, 1);
    blkptr_t bp = put(spa, TXG, buf, prop(ZIO_COMPRESS_LZ4, 3));
    zbookmark_t zb = {.zb_object = 7, .zb_blkid = 9};
    uint8_t *tmp = xmalloc(16 << 10);
    spa_stats_t st;
    uint64_t repaired;

    commit(spa, TXG, &bp);
    damage(fd, &bp, 0);
    check_contents(spa, &bp, buf);
    spa_get_stats(spa, &st);
    ck_assert(st.ss_cksum_errors == 1 && st.ss_repaired == 1);
    check_contents(spa, &bp, buf); /* from copy 1 again */
    spa_get_stats(spa, &st);
    ck_assert(st.ss_cksum_errors == 1 && st.ss_repaired == 1);

    damage(fd, &bp, 1);
    damage(fd, &bp, 2);
    ck_assert_int_eq(zio_scrub(spa, &bp, &zb, &repaired), 0);
    ck_assert_uint_eq(repaired, 2);
    ck_assert_int_eq(zio_scrub(spa, &bp, &zb, &repaired), 0);
    ck_assert_uint_eq(repaired, 0);

    faultdisk_fail_range(fd, FD_READ, DVA_GET_OFFSET(&bp.blk_dva[0]) + VDEV_LABEL_START_SIZE, 512);
    check_contents(spa, &bp, buf);
    faultdisk_reset(fd);
    spa_get_stats(spa, &st);
    ck_assert(st.ss_read_errors == 1 && st.ss_repaired == 4);

    for (int d = 0; d < 3; d++)
        damage(fd, &bp, d);
    ck_assert_int_eq(zio_read(spa, &bp, tmp, &zb), ECKSUM);
    ck_assert_int_eq(zio_scrub(spa, &bp, &zb, &repaired), ECKSUM);
    ck_assert_uint_eq(spa->spa_errlog_count, 1);
    spa_errlog_clear(spa);
    ck_assert_int_eq(spa_suspended(spa), 0);
    free(tmp);
    arc_buf_rele(buf);
    pool_done(spa, fd);
}
END_TEST

static void
count_one(void *arg, const zbookmark_t *zb)
{
    ++*(uint64_t *)arg;
}

START_TEST(errlog)
{
    faultdisk_t *fd;
    spa_t *spa = pool(&fd, 64ULL << 20, 12, ZIO_CHECKSUM_XXH3_128);
    uint64_t n = 0;

    for (uint64_t i = 0; i < 3000; i++) {
        zbookmark_t zb = {.zb_object = i / 2};
        spa_errlog_add(spa, &zb);
    }
    spa_errlog_walk(spa, count_one, &n);
    ck_assert_uint_eq(n, 1024);
    pool_done(spa, fd);
}
END_TEST

/* A block of the open txg is not repaired: its place may be rewritten at any moment. */
START_TEST(no_heal_before_commit)
{
    faultdisk_t *fd;
    spa_t *spa = pool(&fd, 64ULL << 20, 12, ZIO_CHECKSUM_XXH3_128);
    arc_buf_t *buf = make(16 << 10, HALF, 1);
    blkptr_t bp = put(spa, TXG, buf, prop(ZIO_COMPRESS_LZ4, 2));
    spa_stats_t st;

    ck_assert_int_eq(zio_queue_drain(spa->spa_queue), 0);
    damage(fd, &bp, 0);
    check_contents(spa, &bp, buf);
    spa_get_stats(spa, &st);
    ck_assert(st.ss_cksum_errors == 1 && st.ss_repaired == 0);
    arc_buf_rele(buf);
    pool_done(spa, fd);
}
END_TEST

/* The n-th transfer fails, for every n: right contents or an error, never anything else. */
START_TEST(fault_every_io)
{
    for (uint64_t n = 1;; n++) {
        faultdisk_t *fd;
        spa_t *spa = pool(&fd, 64ULL << 20, 12, ZIO_CHECKSUM_XXH3_128);
        arc_buf_t *buf = make(100 << 10, HALF, 1), *one = make(32 << 10, NOISE, 2), *got;
        faultdisk_fail_at(fd, FD_ALL, n, 1);
        blkptr_t bp = put(spa, TXG, buf, prop(ZIO_COMPRESS_LZ4, 2)),
                 bp1 = put(spa, TXG, one, prop(ZIO_COMPRESS_OFF, 1));
        int err = spa_commit(spa, TXG, &bp);
        int err2 = arc_read(spa, &bp, NULL, 0, &got); /* two copies: one failure cannot matter */
        ck_assert_int_eq(err2, 0);
        ck_assert_int_eq(memcmp(got->b_data, buf->b_data, buf->b_size), 0);
        arc_buf_rele(got);
        int err3 = arc_read(spa, &bp1, NULL, 0, &got);
        ck_assert(err3 == 0 || err3 == EIO);
        if (err3 == 0) {
            ck_assert_int_eq(memcmp(got->b_data, one->b_data, one->b_size), 0);
            arc_buf_rele(got);
        }
        ck_assert_int_eq(spa_suspended(spa), err);
        arc_buf_rele(buf);
        arc_buf_rele(one);
        bool clean = faultdisk_count(fd, FD_ALL) < n;
        pool_done(spa, fd);
        if (clean)
            break;
    }
}
END_TEST

/* ---- gangs ---- */

/* Leave only single free units, every other one. */
static void
fragment(spa_t *spa, uint64_t unit)
{
    uint64_t ms = metaslab_size(spa);

    for (uint64_t id = 0; id < metaslab_count(spa); id++)
        for (uint64_t off = 0; off < ms; off += 2 * unit)
            ck_assert_int_eq(metaslab_load(spa, id, true, off, unit), 0);
}

/* Written again in the same txg it stays where it is: so sync passes converge. */
static blkptr_t
gang_again(spa_t *spa, const blkptr_t *bp, arc_buf_t *buf)
{
    uint64_t before = spa_alloc_space(spa);
    zio_write_t w = {.zw_buf = buf, .zw_bp = *bp, .zw_prop = prop(ZIO_COMPRESS_OFF, bp_get_ndvas(bp)), .zw_fill = 1};

    ck_assert_int_eq(zio_write(spa, TXG, 5, &w, 1), 0);
    ck_assert(w.zw_inplace);
    ck_assert_mem_eq(w.zw_bp.blk_dva, bp->blk_dva, sizeof(bp->blk_dva));
    ck_assert_uint_eq(spa_alloc_space(spa), before);
    check_contents(spa, &w.zw_bp, buf);
    return w.zw_bp;
}

static void
gang_cycle(uint64_t ashift, uint64_t frag, uint64_t size, int copies)
{
    faultdisk_t *fd;
    spa_t *spa = pool(&fd, 64ULL << 20, ashift, ZIO_CHECKSUM_FLETCHER_4);
    arc_buf_t *buf = make(size, NOISE, size);
    uint64_t repaired;

    fragment(spa, frag);
    uint64_t before = spa_alloc_space(spa);
    blkptr_t bp = put(spa, TXG, buf, prop(ZIO_COMPRESS_OFF, copies));
    ck_assert(BP_IS_GANG(&bp));
    ck_assert_int_eq(bp_get_ndvas(&bp), copies);
    ck_assert_uint_eq(bp_get_asize(&bp), spa_alloc_space(spa) - before); /* every byte is accounted for */
    check_contents(spa, &bp, buf);
    arc_buf_t *other = make(size, NOISE, size + 1);
    bp = gang_again(spa, &bp, other);
    bp = gang_again(spa, &bp, buf);
    arc_buf_rele(other);
    commit(spa, TXG, &bp);
    check_contents(spa, &bp, buf);
    ck_assert_int_eq(zio_scrub(spa, &bp, NULL, &repaired), 0);
    ck_assert_uint_eq(repaired, 0);

    uint64_t off = DVA_GET_OFFSET(&bp.blk_dva[0]) + VDEV_LABEL_START_SIZE;
    faultdisk_corrupt(fd, off + 64, 8); /* the header */
    uint8_t *got = xmalloc(size);
    ck_assert_int_eq(zio_read(spa, &bp, got, NULL), copies > 1 ? 0 : ECKSUM);
    if (copies > 1) {
        damage(fd, &bp, 1); /* the first was repaired */
        check_contents(spa, &bp, buf);
        zio_free(spa, TXG + 1, &bp);
        ck_assert_uint_eq(spa_alloc_space(spa), before);
        ck_assert_int_eq(spa_suspended(spa), 0);
    }
    free(got);
    arc_buf_rele(buf);
    pool_done(spa, fd);
}

START_TEST(gang)
{
    gang_cycle(9, 4096, 12 << 10, 1);
    gang_cycle(9, 4096, 12 << 10, 2);
    gang_cycle(9, 4096, 12 << 10, 3);
    gang_cycle(12, 4096, 128 << 10, 2);
    gang_cycle(12, 8192, 1 << 20, 2);
    gang_cycle(12, 16384, 5 << 20, 2);
    gang_cycle(9, 512, 16 << 10, 2);
}
END_TEST

START_TEST(gang_corrupt)
{
    faultdisk_t *fd;
    spa_t *spa = pool(&fd, 64ULL << 20, 9, ZIO_CHECKSUM_XXH3_128);
    arc_buf_t *buf = make(100 << 10, NOISE, 1);
    uint8_t *got = xmalloc(100 << 10), sector[512], good[512];

    fragment(spa, 4096);
    blkptr_t bp = put(spa, TXG, buf, prop(ZIO_COMPRESS_OFF, 1));
    commit(spa, TXG, &bp);
    uint64_t off = DVA_GET_OFFSET(&bp.blk_dva[0]) + VDEV_LABEL_START_SIZE;
    faultdisk_peek(fd, off, good, 512);
    for (int i = 0; i < effort(5000); i++) { /* hostile headers under a valid checksum */
        uint64_t verifier[4] = {0, DVA_GET_OFFSET(&bp.blk_dva[0]), TXG, 0}, *w = (uint64_t *)sector;
        memcpy(sector, good, 512);
        for (uint64_t n = 1 + rnd() % 3; n > 0; n--)
            w[rnd() % 48] ^= 1ULL << rnd() % 64;
        if (rnd() % 4 == 0)
            memcpy(sector + 128 * (rnd() % 3), &bp, 128); /* a loop */
        zio_checksum_embed_verifier(sector, 512, verifier);
        faultdisk_poke(fd, off, sector, 512);
        if (zio_read(spa, &bp, got, NULL) == 0)
            ck_assert_int_eq(memcmp(got, buf->b_data, 100 << 10), 0);
    }
    free(got);
    arc_buf_rele(buf);
    pool_done(spa, fd);
}
END_TEST

START_TEST(full)
{
    faultdisk_t *fd;
    spa_t *spa = pool(&fd, 64ULL << 20, 12, ZIO_CHECKSUM_XXH3_128);
    zio_write_t w = {.zw_prop = prop(ZIO_COMPRESS_OFF, 1)};
    int err = 0;

    w.zw_buf = make(100 << 10, NOISE, 1);
    while (err == 0) {
        bp_zero(&w.zw_bp);
        err = zio_write(spa, TXG, 1, &w, 1);
    }
    ck_assert_int_eq(err, ENOSPC);
    ck_assert_int_eq(spa_suspended(spa), ENOSPC);
    ck_assert_uint_ge(spa_alloc_space(spa), spa_total_space(spa) - (104 << 10)); /* gangs filled the gaps */
    ck_assert_int_eq(spa_commit(spa, TXG, &w.zw_bp), ENOSPC);
    arc_buf_rele(w.zw_buf);
    pool_done(spa, fd);
}
END_TEST

START_TEST(double_free)
{
    faultdisk_t *fd;
    spa_t *spa = pool(&fd, 64ULL << 20, 12, ZIO_CHECKSUM_XXH3_128);
    arc_buf_t *buf = make(16 << 10, NOISE, 1);
    blkptr_t bp = put(spa, TXG, buf, prop(ZIO_COMPRESS_OFF, 2));

    zio_free(spa, TXG, &bp);
    ck_assert_int_eq(spa_suspended(spa), 0);
    zio_free(spa, TXG, &bp);
    ck_assert_int_eq(spa_suspended(spa), EIO);
    arc_buf_rele(buf);
    pool_done(spa, fd);
}
END_TEST

/* ---- the real disk ---- */

START_TEST(real_file)
{
    char path[] = "/tmp/test_spa.XXXXXX";
    int tmp = mkstemp(path);
    disk_t disk, again;
    spa_t *spa = NULL;
    spa_create_args_t args = {.sca_name = "f",
                              .sca_path = path,
                              .sca_ashift = 12,
                              .sca_version = 5000,
                              .sca_checksum = ZIO_CHECKSUM_FLETCHER_4};

    ck_assert_int_ge(tmp, 0);
    ck_assert_int_eq(disk_open("/nonexistent/x", 0, &disk), ENOENT);
    ck_assert_int_eq(disk_open("/tmp", DISK_RDONLY, &disk), ENODEV);
    ck_assert_int_eq(disk_open("/dev/null", 0, &disk), ENODEV);
    ck_assert_int_eq(disk_open(path, 0, &disk), EOVERFLOW);
    ck_assert_int_eq(ftruncate(tmp, (64 << 20) + 12345), 0);
    ck_assert_int_eq(disk_open(path, 0, &disk), 0);
    ck_assert_int_eq(disk_open(path, DISK_RDONLY, &again), EBUSY);
    ck_assert_int_eq(spa_create(&disk, &args, &spa), 0);
    arc_buf_t *buf = make(200 << 10, HALF, 3);
    blkptr_t bp = put(spa, TXG, buf, prop(ZIO_COMPRESS_ZSTD, 3));
    commit(spa, TXG, &bp);
    spa_close(spa);
    ck_assert_int_eq(disk_open(path, DISK_RDONLY, &disk), 0);
    ck_assert_int_eq(disk_open(path, DISK_RDONLY, &again), 0);
    disk_close(&again);
    ck_assert_int_eq(spa_open(&disk, SPA_OPEN_RDONLY, &spa), 0);
    ck_assert_int_eq(spa_checksum(spa), ZIO_CHECKSUM_FLETCHER_4);
    check_contents(spa, &spa_uberblock(spa)->ub_rootbp, buf);
    spa_close(spa);
    arc_buf_rele(buf);
    close(tmp);
    unlink(path);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("spa");
    TCase *tc = tcase_create("spa");

    cowbird_log_set_sink(quiet);
    tcase_set_timeout(tc, 600);
    tcase_add_test(tc, write_read);
    tcase_add_test(tc, shapes);
    tcase_add_test(tc, in_place);
    tcase_add_test(tc, gate);
    tcase_add_test(tc, bad_pointers);
    tcase_add_test(tc, heal);
    tcase_add_test(tc, errlog);
    tcase_add_test(tc, no_heal_before_commit);
    tcase_add_test(tc, fault_every_io);
    tcase_add_test(tc, gang);
    tcase_add_test(tc, gang_corrupt);
    tcase_add_test(tc, full);
    tcase_add_test(tc, double_free);
    tcase_add_test(tc, real_file);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
