/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_recv_heal.c - blocks of a snapshot are damaged on disk, a stream of that snapshot gives them back, and nothing else changes.
 */
#include "recvpool.h"
#include "streampool.h"

#define NOBJ  6
#define BLOCK 16384
#define SIZE  (10 * BLOCK)

static const char *const compressions[] = {"off", "lz4", "gzip-6", "zstd", "zstd-9", "lzjb", "zle"};

static void
write_object(objset_t *os, uint64_t object)
{
    static uint8_t buf[SIZE];
    dmu_tx_t *tx = dmu_tx_create(os);

    for (size_t i = 0; i < SIZE; i++) /* neither embedded nor incompressible */
        buf[i] = (uint8_t)(i % 251 < 120 ? random_u64() : 0);
    dmu_tx_hold_write(tx, DMU_NEW_OBJECT, 0, SIZE);
    ck_assert_int_eq(dmu_tx_assign(tx, DMU_TX_WAIT), 0);
    ck_assert_int_eq(dmu_object_claim(os, object, DMU_OT_PLAIN_FILE_CONTENTS, BLOCK, DMU_OT_NONE, 0, 0, tx), 0);
    ck_assert_int_eq(dmu_write(os, object, 0, SIZE, buf, tx), 0);
    dmu_tx_commit(tx);
}

static void
make_fs(dsl_pool_t *dp, const char *fs, const char *compression)
{
    nvlist_t *props = nvlist_alloc();
    dsl_dataset_t *ds;

    nvlist_add_string(props, "compression", compression);
    ck_assert_int_eq(dsl_create(dp, fs, DMU_OST_OTHER, props), 0);
    nvlist_free(props);
    objset_t *os = snap_hold(dp, fs, &ds);
    for (uint64_t i = 0; i < NOBJ; i++)
        write_object(os, 10 + i);
    dsl_dataset_rele(ds, dp);
}

/* Every copy of every second block, in the snapshot's own places. */
static uint64_t
damage(dsl_pool_t *dp, faultdisk_t *fd, const char *snap)
{
    dsl_dataset_t *ds;
    objset_t *os = snap_hold(dp, snap, &ds);
    zbookmark_t zb;
    blkptr_t bp;
    uint64_t n = 0;

    for (uint64_t i = 0; i < NOBJ * SIZE / BLOCK; i += 2, n++) {
        ck_assert_int_eq(dmu_block_pointer(os, 10 + i * BLOCK / SIZE, i * BLOCK % SIZE, &bp, &zb), 0);
        ck_assert(!BP_IS_HOLE(&bp) && !BP_IS_EMBEDDED(&bp));
        for (int d = 0; d < SPA_DVAS_PER_BP; d++)
            if (DVA_IS_VALID(&bp.blk_dva[d]))
                faultdisk_corrupt(fd, DVA_GET_OFFSET(&bp.blk_dva[d]) + VDEV_LABEL_START_SIZE, 512);
    }
    dsl_dataset_rele(ds, dp);
    return n;
}

static uint64_t
unreadable(dsl_pool_t *dp, const char *snap)
{
    static uint8_t buf[BLOCK];
    dsl_dataset_t *ds;
    objset_t *os = snap_hold(dp, snap, &ds);
    uint64_t n = 0;

    for (uint64_t i = 0; i < NOBJ * SIZE / BLOCK; i++)
        n += dmu_read(os, 10 + i * BLOCK / SIZE, i * BLOCK % SIZE, BLOCK, buf) != 0;
    dsl_dataset_rele(ds, dp);
    return n;
}

static int
heal(dsl_pool_t *dp, const char *fs, const void *data, uint64_t size, uint64_t *healed, stream_error_t *se)
{
    dmu_recv_args_t rva = {.rva_tofs = fs, .rva_tosnap = "1", .rva_heal = true, .rva_healed = healed};

    *healed = 0;
    return receive_calls(dp, &rva, data, size, se);
}

START_TEST(test_heal)
{
    static const uint32_t flags[] = {0, DMU_SEND_LARGE_BLOCK | DMU_SEND_EMBED | DMU_SEND_COMPRESSED};
    faultdisk_t *fd = faultdisk_create(DISK);
    dsl_pool_t *dp = pool_make(fd, "b");
    stream_error_t se;
    uint64_t size[2], healed;
    uint8_t *data[2];

    make_fs(dp, "b/fs", compressions[_i]);
    snapshot(dp, "b/fs@1");
    ck_assert_int_eq(dsl_clone(dp, "b/fs@1", "b/clone", NULL), 0);
    for (size_t f = 0; f < 2; f++)
        data[f] = send_bytes(dp, "b/fs@1", NULL, flags[f], &size[f]);
    snapshot(dp, "b/fs@2");
    for (size_t f = 0; f < 2; f++) {
        uint64_t n = damage(dp, fd, "b/fs@1");
        ck_assert_int_eq(dsl_pool_close(dp), 0); /* and the cache forgets */
        dp = pool_reopen(fd);
        ck_assert_uint_eq(unreadable(dp, "b/fs@1"), n);
        char *before = pool_text(dp);
        int err = heal(dp, "b/fs", data[f], size[f], &healed, &se);
        ck_assert_msg(err == 0, "%s: %s", compressions[_i], se.se_text);
        printf("%-8s %s: %lu blocks damaged, %lu healed\n", compressions[_i], f != 0 ? "-Lec" : "", n, healed);
        ck_assert_uint_eq(healed, n);
        ck_assert_uint_eq(unreadable(dp, "b/fs@1"), 0);
        ck_assert_uint_eq(unreadable(dp, "b/clone"), 0);
        char *after = pool_text(dp);
        ck_assert_str_eq(before, after);
        ck_assert_int_eq(heal(dp, "b/fs", data[f], size[f], &healed, &se), 0);
        ck_assert_uint_eq(healed, 0); /* nothing left to do */
        pool_verify(dp);
        free(before);
        free(after);
    }
    ck_assert_int_eq(dsl_pool_close(dp), 0);
    faultdisk_destroy(fd);
    free(data[0]);
    free(data[1]);
}
END_TEST

/* Another snapshot's stream, a stream of other contents, a broken one. */
START_TEST(test_refused)
{
    faultdisk_t *fd = faultdisk_create(DISK);
    dsl_pool_t *dp = pool_make(fd, "b");
    uint64_t size, healed, other_size;
    stream_error_t se;
    streamfile_t sf;

    make_fs(dp, "b/fs", "lz4");
    make_fs(dp, "b/other", "lz4");
    snapshot(dp, "b/fs@1");
    snapshot(dp, "b/other@1");
    uint8_t *data = send_bytes(dp, "b/fs@1", NULL, 0, &size), *other = send_bytes(dp, "b/other@1", NULL, 0, &other_size);
    uint64_t n = damage(dp, fd, "b/fs@1"), guid = ((dmu_replay_record_t *)data)->drr_u.drr_begin.drr_toguid;
    ck_assert_int_eq(dsl_pool_close(dp), 0);
    dp = pool_reopen(fd);
    ck_assert_int_eq(heal(dp, "b/fs", other, other_size, &healed, &se), ENODEV);
    ck_assert_int_eq(heal(dp, "b/none", data, size, &healed, &se), ENOENT);
    ck_assert_int_eq(sf_parse(other, other_size, &sf), 0);
    sf.sf_recs[0].r_drr.drr_u.drr_begin.drr_toguid = guid; /* it lies about whose it is: no block is touched */
    uint8_t *liar = sf_store(&sf, 0, &other_size);
    ck_assert_int_eq(heal(dp, "b/fs", liar, other_size, &healed, &se), 0);
    ck_assert_uint_eq(healed, 0);
    ck_assert_uint_eq(unreadable(dp, "b/fs@1"), n);
    ck_assert_int_eq(heal(dp, "b/fs", data, size / 2, &healed, &se), EINVAL);
    uint64_t left = unreadable(dp, "b/fs@1");
    ck_assert_uint_lt(left, n); /* what came before it broke is good */
    ck_assert_int_eq(heal(dp, "b/fs", data, size, &healed, &se), 0);
    ck_assert_uint_eq(healed, left);
    pool_verify(dp);
    ck_assert_int_eq(dsl_pool_close(dp), 0);
    faultdisk_destroy(fd);
    free(data);
    free(liar);
    sf_free(&sf);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("corrective receive");
    TCase *tc = tcase_create("heal");

    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, test_heal, 0, ARRAY_SIZE(compressions));
    tcase_add_test(tc, test_refused);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
