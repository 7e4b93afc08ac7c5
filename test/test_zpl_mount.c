/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_zpl_mount.c - file systems in a pool: mounting datasets and snapshots, properties, space.
 */
#include "support/effort.h"
#include "support/faultdisk.h"
#include "support/fsmodel.h"
#include "zpl_impl.h"

#include <check.h>
#include <stdio.h>

#define MIB              (1ULL << 20)
#define OK(call)         ck_assert_int_eq(call, 0)
#define FAILS(err, call) ck_assert_int_eq(call, err)

static const zpl_cred_t cred = {.zc_uid = 1000, .zc_gid = 100, .zc_umask = 022};
static faultdisk_t *fd;
static dsl_pool_t *dp;
static const char *version = "5"; /* of the pool's root */

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
    fd = faultdisk_create(256 * MIB);
    disk = faultdisk_disk(fd);
    nvlist_t *props = nvlist_alloc();
    nvlist_add_string(props, "version", version);
    args.pca_fsprops = props;
    OK(dsl_pool_create(&disk, &args, &dp));
    nvlist_free(props);
}

static void
setup_4(void)
{
    version = "4";
    setup();
}

static void
pool_reopen(void)
{
    disk_t disk = faultdisk_disk(fd);

    OK(dsl_pool_close(dp));
    OK(dsl_pool_open(&disk, 0, &dp));
}

static void
teardown(void)
{
    OK(dsl_pool_close(dp));
    faultdisk_destroy(fd);
}

static zpl_fs_t *
mount(const char *name, int flags, znode_t **root)
{
    zpl_fs_t *zfs;

    OK(zpl_fs_mount(dp, name, flags, &zfs));
    OK(zpl_znode_hold(zfs, zpl_fs_root(zfs), root));
    return zfs;
}

static void
unmount(zpl_fs_t *zfs, znode_t *root)
{
    zpl_check_t zc = {0};

    zpl_znode_rele(root);
    OK(zpl_fs_sync(zfs));
    OK(zpl_check_objset(zfs->zf_os, &zc));
    ck_assert_uint_eq(zc.zc_problems, 0);
    zpl_fs_unmount(zfs);
}

static void
put(znode_t *dir, const char *name, const char *text)
{
    uint64_t done;
    znode_t *zp;

    if (zpl_lookup(dir, name, &zp) != 0)
        OK(zpl_mknod(dir, name, S_IFREG | 0644, 0, &cred, &zp));
    OK(zpl_write(zp, 0, strlen(text), text, &done));
    zpl_znode_rele(zp);
}

static void
expect(znode_t *dir, const char *name, const char *text)
{
    char buf[100] = "";
    uint64_t done;
    znode_t *zp;

    OK(zpl_lookup(dir, name, &zp));
    OK(zpl_read(zp, 0, sizeof(buf), buf, &done));
    ck_assert_str_eq(buf, text);
    zpl_znode_rele(zp);
}

START_TEST(test_mount)
{
    struct statvfs sv;
    znode_t *root;
    zpl_fs_t *zfs = mount("tank", 0, &root), *again;

    FAILS(EBUSY, zpl_fs_mount(dp, "tank", 0, &again));
    FAILS(ENOENT, zpl_fs_mount(dp, "tank/none", 0, &again));
    ck_assert_str_eq(zpl_fs_name(zfs), "tank");
    OK(zpl_fs_statvfs(zfs, &sv));
    ck_assert_uint_gt(sv.f_bavail * sv.f_frsize, 100 * MIB);
    ck_assert_uint_ge(sv.f_files, sv.f_ffree);
    put(root, "f", "hello");
    unmount(zfs, root);
    pool_reopen();
    zfs = mount("tank", ZPL_MOUNT_RDONLY, &root);
    expect(root, "f", "hello");
    FAILS(EROFS, zpl_unlink(root, "f"));
    unmount(zfs, root);
}
END_TEST

START_TEST(test_snapshot)
{
    const char *snaps[] = {"tank@a", "tank@b"};
    znode_t *root, *sroot, *zp;
    zpl_fs_t *zfs = mount("tank", 0, &root), *snap;
    int failed;

    put(root, "f", "one");
    OK(dsl_snapshot(dp, &snaps[0], 1, NULL, &failed));
    put(root, "f", "two");
    put(root, "g", "new");
    OK(dsl_snapshot(dp, &snaps[1], 1, NULL, &failed));
    put(root, "f", "six");
    snap = mount("tank@a", 0, &sroot);
    expect(sroot, "f", "one");
    FAILS(ENOENT, zpl_lookup(sroot, "g", &zp));
    FAILS(EROFS, zpl_mknod(sroot, "x", S_IFREG, 0, &cred, &zp));
    FAILS(EBUSY, dsl_destroy_snapshots(dp, &snaps[0], 1, false, &failed));
    expect(root, "f", "six");
    unmount(snap, sroot);
    unmount(zfs, root);
    pool_reopen();
    snap = mount("tank@b", 0, &sroot);
    expect(sroot, "f", "two");
    expect(sroot, "g", "new");
    unmount(snap, sroot);
    OK(dsl_destroy_snapshots(dp, snaps, 2, false, &failed));
}
END_TEST

static void
set(const char *ds, const char *prop, const char *value)
{
    nvlist_t *nvl = nvlist_alloc();

    nvlist_add_string(nvl, prop, value);
    OK(dsl_prop_set(dp, ds, nvl));
    nvlist_free(nvl);
}

START_TEST(test_props)
{
    znode_t *root, *zp;
    zpl_fs_t *zfs = mount("tank", 0, &root);
    uint8_t *buf = xzalloc(100000);
    struct stat a, b;
    uint64_t done;

    memset(buf, 'x', 100000);
    set("tank", "recordsize", "16K");
    set("tank", "atime", "off");
    zpl_fs_props_changed(zfs);
    OK(zpl_mknod(root, "f", S_IFREG | 0644, 0, &cred, &zp));
    OK(zpl_write(zp, 0, 100000, buf, &done));
    OK(zpl_getattr(zp, &a));
    ck_assert_int_eq(a.st_blksize, 16384);
    OK(zpl_read(zp, 0, 10, buf, &done));
    OK(zpl_getattr(zp, &b));
    ck_assert_int_eq(memcmp(&a.st_atim, &b.st_atim, sizeof(a.st_atim)), 0);
    zpl_znode_rele(zp);
    set("tank", "readonly", "on");
    zpl_fs_props_changed(zfs);
    FAILS(EROFS, zpl_unlink(root, "f"));
    set("tank", "readonly", "off");
    zpl_fs_props_changed(zfs);
    OK(zpl_unlink(root, "f"));
    unmount(zfs, root);
    free(buf);
}
END_TEST

START_TEST(test_new_fs)
{
    nvlist_t *props = nvlist_alloc();
    znode_t *root, *zp;
    zpl_fs_t *zfs;
    struct stat st;

    nvlist_add_string(props, "normalization", "formD");
    OK(dsl_create(dp, "tank/utf", DMU_OST_ZFS, props));
    OK(dsl_create(dp, "tank/plain", DMU_OST_ZFS, NULL));
    nvlist_free(props);
    zfs = mount("tank/utf", 0, &root);
    FAILS(EILSEQ, zpl_mknod(root, "\xff\xfe", S_IFREG, 0, &cred, &zp));
    put(root, "ascii", "folds to itself");
    FAILS(ENOTSUP,
          zpl_mknod(root, "\xc3\xa4", S_IFREG, 0, &cred, &zp)); /* until the ZAP knows Unicode's forms */
    FAILS(ENOTSUP, zpl_rename(root, "ascii", root, "\xc3\xa4", 0));
    expect(root, "ascii", "folds to itself");
    unmount(zfs, root);
    zfs = mount("tank/plain", 0, &root);
    put(root, "\xff\xfe", "bytes");
    OK(zpl_getattr(root, &st));
    ck_assert_uint_eq(st.st_mode, S_IFDIR | 0755);
    unmount(zfs, root);
    OK(dsl_destroy_head(dp, "tank/plain"));
    FAILS(ENOENT, zpl_fs_mount(dp, "tank/plain", 0, &zfs));
}
END_TEST

/* Random work, snapshots, and the power goes at any moment: the pool opens, and every file system in it is sound. */
static void
look_after_cut(uint64_t events, uint64_t seed)
{
    faultdisk_t *cut = faultdisk_cut(fd, events, seed);
    disk_t disk = faultdisk_disk(cut);
    dsl_pool_t *keep = dp;
    znode_t *r;
    zpl_fs_t *zfs;

    OK(dsl_pool_open(&disk, 0, &dp));
    zfs = mount("tank", 0, &r);
    unmount(zfs, r);
    OK(dsl_pool_close(dp));
    dp = keep;
    faultdisk_destroy(cut);
}

START_TEST(test_crash)
{
    const char *cuts = getenv("CUTS"), *seed = getenv("SEED");
    uint64_t total, n = cuts != NULL ? strtoull(cuts, NULL, 0) : (uint64_t)effort(60);
    zpl_fs_t *zfs;
    char name[30];
    const char *snap = name;
    znode_t *r;
    ctx_t c;

    zfs = mount("tank", 0, &r);
    ctx_init(&c, seed != NULL ? strtoull(seed, NULL, 0) : 7);
    ctx_mount(&c, zfs, "work");
    OK(zpl_fs_sync(zfs));
    faultdisk_record(fd);
    for (int i = 0; i < 400; i++) {
        step(&c);
        snprintf(name, sizeof(name), "tank@%d", i);
        if (i % 100 == 50)
            OK(dsl_snapshot(dp, &snap, 1, NULL, NULL));
        else if (i % 30 == 0)
            OK(zpl_fs_sync(zfs));
    }
    close_all(&c);
    compare_dir(&c, c.root, c.zroot);
    zpl_znode_rele(c.zroot);
    unmount(zfs, r);
    pool_reopen();
    total = faultdisk_events(fd);
    for (uint64_t e = 0; e <= total; e += 1 + total / n)
        look_after_cut(e, e % 3 == 0 ? 0 : e);
    ctx_fini(&c);
}
END_TEST

int
main(void)
{
    const struct {
        const char *name;
        const TTest *t;
    } tests[] = {{"mount", test_mount},
                 {"snapshot", test_snapshot},
                 {"props", test_props},
                 {"new_fs", test_new_fs},
                 {"crash", test_crash}};
    Suite *s = suite_create("zpl_mount");

    for (size_t i = 0; i < 2 * ARRAY_SIZE(tests); i++) {
        TCase *tc = tcase_create(tests[i / 2].name);
        tcase_add_checked_fixture(tc, i % 2 == 0 ? setup : setup_4, teardown);
        tcase_set_timeout(tc, 60);
        tcase_add_test(tc, tests[i / 2].t);
        suite_add_tcase(s, tc);
    }
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
