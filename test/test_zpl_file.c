/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_zpl_file.c - contents, attributes and xattrs of files, call by call; the speed of all with ZPL_BENCH=1.
 */
#include "support/barefs.h"
#include "support/faultdisk.h"
#include "support/zplcalls.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <sys/xattr.h>

/* ---- contents ---- */

START_TEST(test_block_sizes)
{
    static const struct {
        uint64_t size;
        uint32_t blksz;
    } t[] = {{1, 512},         {512, 512},       {1300, 1536},     {39000, 39424},
             {131072, 131072}, {131073, 131072}, {1000000, 131072}};
    uint8_t *buf = xmalloc(MIB);

    fill(buf, MIB, 3);
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        char name[20];
        snprintf(name, sizeof(name), "f%zu", i);
        znode_t *zp = mk(root, name, S_IFREG | 0644);
        put(zp, 0, buf, t[i].size);
        ck_assert_uint_eq((uint64_t)st_of(zp).st_blksize, t[i].blksz);
        expect(zp, 0, buf, t[i].size);
        zpl_znode_rele(zp);
    }
    reopen();
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        char name[20];
        snprintf(name, sizeof(name), "f%zu", i);
        znode_t *zp = get(root, name);
        expect(zp, 0, buf, t[i].size);
        ck_assert_uint_eq((uint64_t)st_of(zp).st_size, t[i].size);
        zpl_znode_rele(zp);
    }
    free(buf);
}
END_TEST

START_TEST(test_truncate)
{
    znode_t *zp = mk(root, "f", S_IFREG | 0644);
    uint8_t *buf = xmalloc(MIB), *zero = xzalloc(MIB);
    struct stat st = {.st_size = -1};
    uint64_t done;

    fill(buf, MIB, 4);
    put(zp, 0, buf, 1000);
    set_size(zp, 300);
    set_size(zp, 2000);
    expect(zp, 0, buf, 300);
    expect(zp, 300, zero, 1700);
    put(zp, 0, buf, 900000);
    set_size(zp, 200001);
    check_clean(0);
    set_size(zp, 800000);
    expect(zp, 0, buf, 200001);
    expect(zp, 200001, zero, 599999);
    set_size(zp, INT64_MAX);
    put(zp, INT64_MAX - 10, buf, 10);
    FAILS(EFBIG, zpl_write(zp, INT64_MAX, 1, buf, &done));
    expect(zp, INT64_MAX - 10, buf, 10);
    zpl_znode_rele(zp);
    reopen();
    zp = get(root, "f");
    expect(zp, INT64_MAX - 10, buf, 10);
    set_size(zp, 5);
    expect(zp, 0, buf, 5);
    FAILS(EINVAL, zpl_setattr(zp, ZPL_SET_SIZE, &st));
    FAILS(EISDIR, zpl_setattr(root, ZPL_SET_SIZE, &st));
    zpl_znode_rele(zp);
    free(buf);
    free(zero);
}
END_TEST

START_TEST(test_holes)
{
    znode_t *zp = mk(root, "f", S_IFREG | 0644);
    uint8_t *buf = xmalloc(MIB), *zero = xzalloc(MIB);
    uint64_t off;

    fill(buf, MIB, 5);
    put(zp, 0, buf, MIB);
    OK(zpl_fallocate(zp, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 131072, 262144));
    expect(zp, 0, buf, 131072);
    expect(zp, 131072, zero, 262144);
    expect(zp, 393216, buf + 393216, MIB - 393216);
    OK(zpl_fs_sync(zfs));
    off = 0;
    OK(zpl_seek(zp, true, &off));
    ck_assert_uint_eq(off, 131072);
    OK(zpl_seek(zp, false, &off));
    ck_assert_uint_eq(off, 393216);
    OK(zpl_seek(zp, true, &off));
    ck_assert_uint_eq(off, MIB);
    FAILS(ENXIO, zpl_seek(zp, true, &off));
    OK(zpl_fallocate(zp, FALLOC_FL_ZERO_RANGE, MIB - 100, 5000));
    ck_assert_uint_eq((uint64_t)st_of(zp).st_size, MIB + 4900);
    expect(zp, MIB - 100, zero, 5000);
    OK(zpl_fallocate(zp, 0, 0, 2 * MIB));
    ck_assert_uint_eq((uint64_t)st_of(zp).st_size, 2 * MIB);
    OK(zpl_fallocate(zp, FALLOC_FL_KEEP_SIZE, 0, 20 * MIB));
    ck_assert_uint_eq((uint64_t)st_of(zp).st_size, 2 * MIB);
    FAILS(EOPNOTSUPP, zpl_fallocate(zp, FALLOC_FL_COLLAPSE_RANGE, 0, 4096));
    zpl_znode_rele(zp);
    zp = mk(root, "small", S_IFREG | 0644);
    OK(zpl_fallocate(zp, 0, 0, 100000));
    put(zp, 50000, buf, 10);
    expect(zp, 50010, zero, 49990);
    zpl_znode_rele(zp);
    free(buf);
    free(zero);
}
END_TEST

START_TEST(test_full)
{
    znode_t *zp = mk(root, "big", S_IFREG | 0644);
    uint8_t *buf = xmalloc(MIB);
    uint64_t done, total = 0;
    int err;

    fill(buf, MIB, 6);
    for (;;) {
        err = zpl_write(zp, total, MIB, buf, &done);
        total += done;
        if (err != 0)
            break;
    }
    ck_assert_int_eq(err, ENOSPC);
    ck_assert_uint_gt(total, 100 * MIB);
    ck_assert_uint_eq((uint64_t)st_of(zp).st_size, total);
    zpl_znode_rele(zp);
    OK(zpl_unlink(root, "big"));
    for (int i = 0; i < 4; i++) {
        touch(root, "more", S_IFREG);
        OK(zpl_fs_sync(zfs));
        OK(zpl_unlink(root, "more"));
    }
    zp = mk(root, "again", S_IFREG | 0644);
    for (int i = 0; i < 50; i++)
        put(zp, (uint64_t)i * MIB, buf, MIB);
    zpl_znode_rele(zp);
    free(buf);
}
END_TEST

/* ---- attributes ---- */

static int
later(struct timespec a, struct timespec b)
{
    return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

START_TEST(test_times)
{
    znode_t *zp = mk(root, "f", S_IFREG | 0644);
    struct stat a = st_of(zp), b, st;
    char c;
    uint64_t done;

    put(zp, 0, "x", 1);
    b = st_of(zp);
    ck_assert(later(b.st_mtim, a.st_mtim) && later(b.st_ctim, a.st_ctim) && !later(b.st_atim, a.st_atim));
    OK(zpl_read(zp, 0, 1, &c, &done));
    a = st_of(zp);
    ck_assert(later(a.st_atim, b.st_atim) && !later(a.st_ctim, b.st_ctim));
    st.st_mode = 04755;
    OK(zpl_setattr(zp, ZPL_SET_MODE, &st));
    ck_assert_uint_eq(st.st_mode, S_IFREG | 04755);
    ck_assert(later(st.st_ctim, a.st_ctim) && !later(st.st_mtim, a.st_mtim));
    st.st_uid = 7;
    OK(zpl_setattr(zp, ZPL_SET_UID | ZPL_SET_KILLPRIV, &st));
    ck_assert_uint_eq(st.st_mode, S_IFREG | 0755);
    st.st_mtim = (struct timespec){.tv_sec = -5, .tv_nsec = 123456789};
    st.st_atim = (struct timespec){.tv_sec = 1LL << 33, .tv_nsec = 1};
    OK(zpl_setattr(zp, ZPL_SET_ATIME | ZPL_SET_MTIME, &st));
    zpl_znode_rele(zp);
    reopen();
    zp = get(root, "f");
    b = st_of(zp);
    ck_assert_int_eq(b.st_mtim.tv_sec, -5);
    ck_assert_int_eq(b.st_mtim.tv_nsec, 123456789);
    ck_assert_int_eq(b.st_atim.tv_sec, 1LL << 33);
    ck_assert_uint_eq(b.st_uid, 7);
    zpl_znode_rele(zp);
}
END_TEST

/* ---- xattrs ---- */

START_TEST(test_xattr)
{
    znode_t *zp = mk(root, "f", S_IFREG | 0644);
    uint8_t *big = xmalloc(70000), *got = xmalloc(70000);
    char names[200];
    size_t len;

    fill(big, 70000, 7);
    FAILS(ENODATA, zpl_getxattr(zp, "user.a", got, 10, &len));
    FAILS(ENODATA, zpl_setxattr(zp, "user.a", "1", 1, XATTR_REPLACE, &cred));
    OK(zpl_setxattr(zp, "user.a", "1", 1, XATTR_CREATE, &cred));
    FAILS(EEXIST, zpl_setxattr(zp, "user.a", "1", 1, XATTR_CREATE, &cred));
    OK(zpl_setxattr(zp, "user.a", "22", 2, 0, &cred));
    OK(zpl_setxattr(zp, "trusted.big", big, 65536, 0, &cred));
    FAILS(E2BIG, zpl_setxattr(zp, "trusted.big", big, 65537, 0, &cred));
    OK(zpl_setxattr(zp, "user.empty", "", 0, 0, &cred));
    OK(zpl_getxattr(zp, "user.a", got, 10, &len));
    ck_assert_uint_eq(len, 2);
    FAILS(ERANGE, zpl_getxattr(zp, "user.a", got, 1, &len));
    zpl_znode_rele(zp);
    reopen();
    zp = get(root, "f");
    OK(zpl_getxattr(zp, "trusted.big", got, 70000, &len));
    ck_assert_uint_eq(len, 65536);
    ck_assert_mem_eq(got, big, len);
    OK(zpl_listxattr(zp, NULL, 0, &len));
    ck_assert_uint_eq(len, 7 + 12 + 11);
    FAILS(ERANGE, zpl_listxattr(zp, names, 5, &len));
    OK(zpl_listxattr(zp, names, sizeof(names), &len));
    OK(zpl_removexattr(zp, "user.a"));
    FAILS(ENODATA, zpl_removexattr(zp, "user.a"));
    check_clean(0);
    zpl_attrs_t at;
    znode_t *hidden;
    zpl_attrs_get(zp, &at);
    FAILS(ENOENT, zpl_znode_hold(zfs, at.za_xattr, &hidden));
    zpl_znode_rele(zp);
    OK(zpl_unlink(root, "f"));
    free(big);
    free(got);
}
END_TEST

/* ---- speed, for people: ZPL_BENCH=1 ---- */

static double
seconds(uint64_t since)
{
    return (double)(gethrtime() - since) / 1e9;
}

START_TEST(test_speed)
{
    const int n = 20000, mib = 64;
    uint8_t *buf = xmalloc(MIB);
    char name[20];
    uint64_t t = gethrtime(), done;
    znode_t *zp;

    if (getenv("ZPL_BENCH") == NULL) {
        free(buf);
        return;
    }
    fill(buf, MIB, 8);
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "file%d", i);
        zp = mk(root, name, S_IFREG | 0644);
        put(zp, 0, buf, 1024);
        zpl_znode_rele(zp);
    }
    printf("create + write 1 KiB: %.0f/s\n", n / seconds(t));
    t = gethrtime();
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "file%d", i);
        zp = get(root, name);
        (void)st_of(zp);
        zpl_znode_rele(zp);
    }
    printf("lookup + getattr: %.0f/s\n", n / seconds(t));
    t = gethrtime();
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "file%d", i);
        OK(zpl_unlink(root, name));
    }
    printf("unlink: %.0f/s\n", n / seconds(t));
    zp = mk(root, "big", S_IFREG | 0644);
    t = gethrtime();
    for (int i = 0; i < mib; i++)
        put(zp, (uint64_t)i * MIB, buf, MIB);
    printf("write 1 MiB: %.0f MB/s\n", mib * 1.048576 / seconds(t));
    OK(zpl_fs_sync(zfs));
    printf("write and sync: %.0f MB/s\n", mib * 1.048576 / seconds(t));
    t = gethrtime();
    for (int i = 0; i < mib; i++)
        OK(zpl_read(zp, (uint64_t)i * MIB, MIB, buf, &done));
    printf("read 1 MiB: %.0f MB/s\n", mib * 1.048576 / seconds(t));
    zpl_znode_rele(zp);
    free(buf);
}
END_TEST

int
main(void)
{
    const named_test_t tests[] = {
        {"block_sizes", test_block_sizes},
        {"truncate", test_truncate},
        {"holes", test_holes},
        {"full", test_full},
        {"times", test_times},
        {"xattr", test_xattr},
        {"speed", test_speed},
    };

    return run_suite("zpl_file", tests, ARRAY_SIZE(tests));
}
