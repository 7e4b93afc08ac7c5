/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_zpl_volume.c - volumes as files: making, writing against a plain array, resizing, snapshots, and power cuts at any of it.
 */
#include "support/faultdisk.h"
#include "dsl_impl.h"
#include "zpl_impl.h"

#include <check.h>
#include <linux/falloc.h>
#include <stdio.h>

#define MIB              (1ULL << 20)
#define OK(call)         ck_assert_int_eq(call, 0)
#define FAILS(err, call) ck_assert_int_eq(call, err)
#define SIZE             (2 * MIB)

static faultdisk_t *fd;
static dsl_pool_t *dp;
static uint64_t rng = 1;

static uint64_t
rnd(uint64_t n)
{
    rng = rng * 6364136223846793005ULL + 1442695040888963407ULL;
    return (rng >> 33) % n;
}

static void
quiet(int level, const char *line)
{
}

static void
setup(void)
{
    dsl_pool_create_args_t args = {.pca_name = "tank", .pca_path = "/tank", .pca_ashift = 12};
    disk_t disk;

    cowbird_log_set_sink(quiet);
    dsl_set_objset_init(zpl_objset_init);
    fd = faultdisk_create(128 * MIB);
    disk = faultdisk_disk(fd);
    OK(dsl_pool_create(&disk, &args, &dp));
}

static void
say(void *arg, const char *line)
{
    fprintf(stderr, "check: %s\n", line);
}

static void
teardown(void)
{
    OK(txg_wait_synced(dp->dp_txg, 0));
    ck_assert_uint_eq(dsl_pool_check(dp, say, NULL), 0);
    OK(dsl_pool_close(dp));
    faultdisk_destroy(fd);
}

static int
create(const char *name, const char *size, const char *bs)
{
    nvlist_t *props = nvlist_alloc();
    int err;

    if (size != NULL)
        nvlist_add_string(props, "volsize", size);
    if (bs != NULL)
        nvlist_add_string(props, "volblocksize", bs);
    err = dsl_create(dp, name, DMU_OST_ZVOL, props);
    nvlist_free(props);
    return err;
}

static zpl_fs_t *
open_volume(const char *name, znode_t **zp)
{
    zpl_fs_t *zfs;

    OK(zpl_fs_mount(dp, name, 0, &zfs));
    ck_assert(zpl_fs_is_volume(zfs));
    OK(zpl_znode_hold(zfs, zpl_fs_root(zfs), zp));
    return zfs;
}

static void
close_volume(zpl_fs_t *zfs, znode_t *zp)
{
    zpl_znode_rele(zp);
    zpl_fs_unmount(zfs);
}

START_TEST(test_create)
{
    static const struct {
        int err;
        const char *size, *bs;
    } rows[] = {
        {EINVAL, NULL, NULL},   {EINVAL, "0", NULL},  {EINVAL, "100000", NULL}, {EINVAL, "1M", "3K"},
        {EINVAL, "1M", "256K"}, {EINVAL, "1K", NULL}, {EINVAL, "1M", "256"},    {0, "512", "512"},
        {0, "16K", NULL},       {0, "1024T", "128K"},
    };
    uint64_t v;
    char name[30];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        snprintf(name, sizeof(name), "tank/v%zu", i);
        FAILS(rows[i].err, create(name, rows[i].size, rows[i].bs));
        if (rows[i].err != 0)
            continue;
        OK(dsl_prop_get_u64(dp, name, "volsize", &v));
        ck_assert_uint_eq(v, i == 7 ? 512 : i == 8 ? 16384 : 1024ULL << 40);
        OK(dsl_prop_get_u64(dp, name, "volblocksize", &v));
        ck_assert_uint_eq(v, i == 7 ? 512 : i == 8 ? 16384 : 131072);
    }
    FAILS(ENOTDIR, create("tank/v8/below", "1M", NULL));
    FAILS(ENOTDIR, dsl_create(dp, "tank/v8/below", DMU_OST_ZFS, NULL));
    FAILS(EEXIST, create("tank/v8", "1M", NULL));
    OK(dsl_destroy_head(dp, "tank/v8"));
}
END_TEST

/* Random reads, writes and holes against an array; closed and opened again. */
START_TEST(test_contents)
{
    uint8_t *model = xzalloc(SIZE), *buf = xmalloc(SIZE);
    const char *snap = "tank/v@s";
    uint64_t done;
    zpl_fs_t *zfs;
    znode_t *zp;

    OK(create("tank/v", "2M", "8K"));
    zfs = open_volume("tank/v", &zp);
    for (int i = 0; i < 600; i++) {
        uint64_t off = rnd(SIZE), len = MIN(1 + rnd(i % 10 == 0 ? 300000 : 9000), SIZE - off);

        memset(buf, (int)rnd(256), len);
        if (i % 5 == 4) {
            memset(buf, 0, len);
            OK(zpl_fallocate(zp, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len));
        } else {
            OK(zpl_write(zp, off, len, buf, &done));
            ck_assert_uint_eq(done, len);
        }
        memcpy(model + off, buf, len);
        if (i % 100 == 50) {
            OK(zpl_fsync(zp, false));
            close_volume(zfs, zp);
            zfs = open_volume("tank/v", &zp);
        }
        if (i == 400)
            OK(dsl_snapshot(dp, &snap, 1, NULL, NULL));
    }
    OK(zpl_read(zp, 0, SIZE, buf, &done));
    ck_assert_uint_eq(done, SIZE);
    ck_assert_mem_eq(buf, model, SIZE);
    close_volume(zfs, zp);
    zfs = open_volume("tank/v@s", &zp);
    FAILS(EROFS, zpl_write(zp, 0, 1, buf, &done));
    close_volume(zfs, zp);
    free(model);
    free(buf);
}
END_TEST

/* It is a device: its end is its end, and what makes sense for files only is refused. */
START_TEST(test_device)
{
    struct stat st = {.st_size = 0};
    uint8_t buf[100] = {1};
    uint64_t done;
    zpl_fs_t *zfs;
    znode_t *zp, *no;
    size_t len;

    OK(create("tank/v", "2M", NULL));
    zfs = open_volume("tank/v", &zp);
    OK(zpl_getattr(zp, &st));
    ck_assert_uint_eq(st.st_mode, S_IFREG | 0600);
    ck_assert_uint_eq((uint64_t)st.st_size, SIZE);
    ck_assert_int_gt(st.st_mtim.tv_sec, 0);
    FAILS(ENOSPC, zpl_write(zp, SIZE, 1, buf, &done));
    OK(zpl_write(zp, SIZE - 10, 100, buf, &done));
    ck_assert_uint_eq(done, 10);
    FAILS(ENOSPC, zpl_fallocate(zp, 0, SIZE, 100));
    st.st_size = 0;
    OK(zpl_setattr(zp, ZPL_SET_SIZE, &st)); /* O_TRUNC */
    ck_assert_uint_eq((uint64_t)st.st_size, SIZE);
    st.st_size = 4096;
    FAILS(EINVAL, zpl_setattr(zp, ZPL_SET_SIZE, &st));
    FAILS(EPERM, zpl_setattr(zp, ZPL_SET_MODE, &st));
    st.st_mtim.tv_sec = 12345;
    OK(zpl_setattr(zp, ZPL_SET_MTIME, &st));
    FAILS(ENOTDIR, zpl_lookup(zp, "x", &no));
    FAILS(EOPNOTSUPP, zpl_setxattr(zp, "user.x", "1", 1, 0, NULL));
    FAILS(EOPNOTSUPP, zpl_getxattr(zp, "user.x", buf, 10, &len));
    FAILS(EBUSY, dsl_volume_set_size(dp, "tank/v", SIZE / 2));
    close_volume(zfs, zp);
}
END_TEST

START_TEST(test_resize)
{
    uint8_t *buf = xmalloc(SIZE);
    dsl_stats_t st;
    uint64_t done;
    zpl_fs_t *zfs;
    znode_t *zp;

    OK(create("tank/v", "2M", NULL));
    zfs = open_volume("tank/v", &zp);
    for (uint64_t i = 0; i < SIZE; i++)
        buf[i] = (uint8_t)rnd(256);
    OK(zpl_write(zp, 0, SIZE, buf, &done));
    OK(zpl_fsync(zp, false));
    close_volume(zfs, zp);
    FAILS(EINVAL, dsl_volume_set_size(dp, "tank/v", 0));
    FAILS(EINVAL, dsl_volume_set_size(dp, "tank/v", 8192));
    FAILS(ENOTSUP, dsl_volume_set_size(dp, "tank", MIB));
    FAILS(ENOENT, dsl_volume_set_size(dp, "tank/w", MIB));
    OK(dsl_volume_set_size(dp, "tank/v", MIB));
    OK(dsl_dataset_stats(dp, "tank/v", &st));
    ck_assert_uint_lt(st.dst_referenced, MIB + 100000);
    OK(dsl_volume_set_size(dp, "tank/v", 2 * SIZE));
    memset(buf + MIB, 0, SIZE - MIB);
    zfs = open_volume("tank/v", &zp);
    ck_assert_uint_eq(zpl_size(zp), 2 * SIZE);
    uint8_t *got = xmalloc(SIZE);
    OK(zpl_read(zp, 0, SIZE, got, &done));
    ck_assert_mem_eq(got, buf, SIZE);
    close_volume(zfs, zp);
    free(buf);
    free(got);
}
END_TEST

/* Power goes while it is written to and resized: block i holds the number of the last synced round or a later one. */
START_TEST(test_crash)
{
    enum { ROUNDS = 8, BS = 16384 };
    uint64_t synced[ROUNDS], total, done;
    uint8_t buf[BS];
    zpl_fs_t *zfs;
    znode_t *zp;

    OK(create("tank/v", "512K", NULL));
    faultdisk_record(fd);
    for (int r = 0; r < ROUNDS; r++) {
        zfs = open_volume("tank/v", &zp);
        memset(buf, r + 1, sizeof(buf));
        for (uint64_t off = 0; off < zpl_size(zp); off += BS)
            OK(zpl_write(zp, off, BS, buf, &done));
        OK(zpl_fsync(zp, false));
        close_volume(zfs, zp);
        synced[r] = faultdisk_events(fd);
        OK(dsl_volume_set_size(dp, "tank/v", (r % 2 ? 512 : 256) << 10));
    }
    total = faultdisk_events(fd);
    for (uint64_t e = 0; e <= total; e += 1 + total / 60) {
        faultdisk_t *cut = faultdisk_cut(fd, e, e);
        disk_t disk = faultdisk_disk(cut);
        dsl_pool_t *keep = dp;
        int r = 0;

        while (r < ROUNDS && synced[r] <= e)
            r++;
        OK(dsl_pool_open(&disk, 0, &dp));
        zfs = open_volume("tank/v", &zp);
        ck_assert(zpl_size(zp) == 512 << 10 || zpl_size(zp) == 256 << 10);
        OK(zpl_read(zp, 0, BS, buf, &done));
        ck_assert_uint_ge(buf[0], (unsigned)r);
        ck_assert_uint_le(buf[0], (unsigned)r + 1);
        close_volume(zfs, zp);
        ck_assert_uint_eq(dsl_pool_check(dp, say, NULL), 0);
        OK(dsl_pool_close(dp));
        dp = keep;
        faultdisk_destroy(cut);
    }
}
END_TEST

int
main(void)
{
    const struct {
        const char *name;
        const TTest *t;
    } tests[] = {{"create", test_create},
                 {"contents", test_contents},
                 {"device", test_device},
                 {"resize", test_resize},
                 {"crash", test_crash}};
    Suite *s = suite_create("zpl_volume");

    for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
        TCase *tc = tcase_create(tests[i].name);
        tcase_add_checked_fixture(tc, setup, teardown);
        tcase_set_timeout(tc, 60);
        tcase_add_test(tc, tests[i].t);
        suite_add_tcase(s, tc);
    }
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
