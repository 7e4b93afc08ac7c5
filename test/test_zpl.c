/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_zpl.c - the file system layer, call by call: what each does, and which error it gives.
 */
#include "support/barefs.h"
#include "support/faultdisk.h"

#include <check.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define MIB              (1ULL << 20)
#define OK(call)         ck_assert_int_eq(call, 0)
#define FAILS(err, call) ck_assert_int_eq(call, err)

static const zpl_cred_t cred = {.zc_uid = 1000, .zc_gid = 100, .zc_umask = 022};
static faultdisk_t *fd;
static barefs_t *bf;
static zpl_fs_t *zfs;
static znode_t *root;

static void
quiet(int level, const char *line)
{
}

static void
setup(void)
{
    cowbird_log_set_sink(quiet);
    fd = faultdisk_create(256 * MIB);
    bf = barefs_create(fd);
    zfs = bf->bf_zfs;
    OK(zpl_znode_hold(zfs, zpl_fs_root(zfs), &root));
}

static void
say(void *arg, const char *line)
{
    fprintf(stderr, "check: %s\n", line);
}

static void
check_clean(uint64_t unlinked)
{
    zpl_check_t zc = {.zc_report = say};

    OK(zpl_check_objset(bf->bf_os, &zc));
    ck_assert_uint_eq(zc.zc_problems, 0);
    ck_assert_uint_eq(zc.zc_unlinked, unlinked);
}

static void
reopen(void)
{
    zpl_znode_rele(root);
    barefs_close(bf);
    OK(barefs_open(fd, &bf));
    zfs = bf->bf_zfs;
    OK(zpl_znode_hold(zfs, zpl_fs_root(zfs), &root));
}

static void
teardown(void)
{
    check_clean(0);
    reopen();
    check_clean(0);
    zpl_znode_rele(root);
    barefs_close(bf);
    faultdisk_destroy(fd);
}

static znode_t *
mk(znode_t *dir, const char *name, mode_t mode)
{
    znode_t *zp = NULL;

    OK(zpl_mknod(dir, name, mode, 0, &cred, &zp));
    return zp;
}

static void
touch(znode_t *dir, const char *name, mode_t mode)
{
    zpl_znode_rele(mk(dir, name, mode));
}

static znode_t *
get(znode_t *dir, const char *name)
{
    znode_t *zp = NULL;

    OK(zpl_lookup(dir, name, &zp));
    return zp;
}

static struct stat
st_of(znode_t *zp)
{
    struct stat st;

    OK(zpl_getattr(zp, &st));
    return st;
}

static void
put(znode_t *zp, uint64_t off, const void *buf, uint64_t n)
{
    uint64_t done;

    OK(zpl_write(zp, off, n, buf, &done));
    ck_assert_uint_eq(done, n);
}

static void
expect(znode_t *zp, uint64_t off, const void *buf, uint64_t n)
{
    uint8_t *got = xmalloc(n + 1);
    uint64_t done;

    OK(zpl_read(zp, off, n, got, &done));
    ck_assert_uint_eq(done, n);
    ck_assert_mem_eq(got, buf, n);
    free(got);
}

static void
set_size(znode_t *zp, uint64_t size)
{
    struct stat st = {.st_size = (off_t)size};

    OK(zpl_setattr(zp, ZPL_SET_SIZE, &st));
    ck_assert_uint_eq((uint64_t)st.st_size, size);
}

static void
fill(uint8_t *buf, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        buf[i] = (uint8_t)(seed >> 24);
    }
}

/* ---- the new file system ---- */

START_TEST(test_root)
{
    struct stat st = st_of(root);
    zpl_attrs_t at;
    znode_t *zp;

    ck_assert_uint_eq(st.st_mode, S_IFDIR | 0755);
    ck_assert_uint_eq(st.st_nlink, 2);
    ck_assert_uint_eq((uint64_t)st.st_size, 2);
    ck_assert_uint_eq(st.st_ino, zpl_fs_root(zfs));
    zpl_attrs_get(root, &at);
    ck_assert_uint_eq(at.za_flags, 0x40800000144ULL);
    zp = get(root, "..");
    ck_assert_ptr_eq(zp, root);
    zpl_znode_rele(zp);
}
END_TEST

START_TEST(test_flags_and_acl)
{
    static const struct {
        mode_t mode;
        uint16_t n;
        uint32_t masks[6];
        uint16_t types[6];
    } t[] = {
        {S_IFREG | 0644, 3, {0x1e019f, 0x120089, 0x120089}, {0}},
        {S_IFDIR | 0755, 3, {0x1e01ff, 0x1200a9, 0x1200a9}, {0}},
        {S_IFREG | 0604, 5, {0x1, 0x1, 0x1e019f, 0x120088, 0x120089}, {0, 1}},
        {S_IFREG | 0077, 4, {0x27, 0x1e0198, 0x1200af, 0x1200af}, {1}},
    };
    znode_t *zp = mk(root, "f", S_IFREG | 0644), *ln;
    zpl_attrs_t at;

    zpl_attrs_get(zp, &at);
    ck_assert_uint_eq(at.za_flags, 0x40800000004ULL);
    zpl_znode_rele(zp);
    OK(zpl_symlink(root, "s", "x", &cred, &ln));
    zpl_attrs_get(ln, &at);
    ck_assert_uint_eq(at.za_flags, 0x40800000104ULL);
    zpl_znode_rele(ln);
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        zfs_acl_phys_t acl;
        zpl_acl_trivial(&acl, t[i].mode);
        ck_assert_uint_eq(acl.z_acl_count, t[i].n);
        ck_assert_uint_eq(acl.z_acl_size, 8u * t[i].n);
        for (int e = 0; e < t[i].n; e++) {
            zfs_ace_hdr_t ace;
            memcpy(&ace, acl.z_ace_data + 8 * e, 8);
            ck_assert_uint_eq(ace.z_access_mask, t[i].masks[e]);
            ck_assert_uint_eq(ace.z_type, t[i].types[e]);
        }
    }
}
END_TEST

/* ---- names ---- */

START_TEST(test_create)
{
    char longname[300];
    znode_t *zp = mk(root, "a", S_IFREG | 0666), *zp2;
    struct stat st = st_of(zp);

    ck_assert_uint_eq(st.st_mode, S_IFREG | 0644);
    ck_assert_uint_eq(st.st_uid, 1000);
    ck_assert_uint_eq(st.st_gid, 100);
    ck_assert_uint_eq(st.st_nlink, 1);
    FAILS(EEXIST, zpl_mknod(root, "a", S_IFREG, 0, &cred, &zp2));
    FAILS(ENOTDIR, zpl_mknod(zp, "b", S_IFREG, 0, &cred, &zp2));
    FAILS(ENOTDIR, zpl_lookup(zp, "b", &zp2));
    FAILS(ENOENT, zpl_lookup(root, "b", &zp2));
    memset(longname, 'x', sizeof(longname));
    longname[255] = '\0';
    touch(root, longname, S_IFREG);
    longname[255] = 'x', longname[256] = '\0';
    FAILS(ENAMETOOLONG, zpl_mknod(root, longname, S_IFREG, 0, &cred, &zp2));
    FAILS(ENAMETOOLONG, zpl_lookup(root, longname, &zp2));
    FAILS(EINVAL, zpl_mknod(root, "..", S_IFREG, 0, &cred, &zp2));
    zpl_znode_rele(zp);
    ck_assert_uint_eq((uint64_t)st_of(root).st_size, 4);
}
END_TEST

START_TEST(test_mkdir_rmdir)
{
    znode_t *d = mk(root, "d", S_IFDIR | 0777), *zp, *e;

    ck_assert_uint_eq(st_of(root).st_nlink, 3);
    ck_assert_uint_eq(st_of(d).st_mode, S_IFDIR | 0755);
    touch(d, "f", S_IFREG);
    FAILS(ENOTEMPTY, zpl_rmdir(root, "d"));
    FAILS(EISDIR, zpl_unlink(root, "d"));
    FAILS(ENOTDIR, zpl_rmdir(d, "f"));
    OK(zpl_unlink(d, "f"));
    OK(zpl_rmdir(root, "d"));
    ck_assert_uint_eq(st_of(d).st_nlink, 0);
    FAILS(ENOENT, zpl_mknod(d, "g", S_IFREG, 0, &cred, &zp));
    FAILS(ENOENT, zpl_lookup(d, "g", &zp));
    ck_assert_uint_eq(st_of(root).st_nlink, 2);
    check_clean(1);
    zpl_znode_rele(d);
    d = mk(root, "sg", S_IFDIR | 0755);
    struct stat st = {.st_mode = S_ISGID | 0755, .st_gid = 55};
    OK(zpl_setattr(d, ZPL_SET_MODE | ZPL_SET_GID, &st));
    e = mk(d, "e", S_IFDIR | 0755);
    ck_assert_uint_eq(st_of(e).st_gid, 55);
    ck_assert_uint_eq(st_of(e).st_mode, S_IFDIR | S_ISGID | 0755);
    zpl_znode_rele(e);
    zpl_znode_rele(d);
}
END_TEST

START_TEST(test_unlinked_open)
{
    znode_t *zp = mk(root, "f", S_IFREG | 0600), *again;
    uint64_t object = zpl_znode_object(zp);
    uint8_t buf[3000];

    fill(buf, sizeof(buf), 1);
    put(zp, 0, buf, sizeof(buf));
    OK(zpl_unlink(root, "f"));
    FAILS(ENOENT, zpl_lookup(root, "f", &again));
    ck_assert_uint_eq(st_of(zp).st_nlink, 0);
    expect(zp, 0, buf, sizeof(buf));
    put(zp, 3000, buf, 100);
    OK(zpl_znode_hold(zfs, object, &again));
    zpl_znode_rele(again);
    FAILS(ENOENT, zpl_link(zp, root, "back"));
    check_clean(1);
    zpl_znode_rele(zp);
    FAILS(ENOENT, zpl_znode_hold(zfs, object, &zp));
    check_clean(0);
}
END_TEST

/* Power fails while a file without a name is open: the next mount frees it. */
START_TEST(test_unlinked_crash)
{
    znode_t *zp = mk(root, "f", S_IFREG | 0600), *d = mk(root, "d", S_IFDIR | 0755);
    uint8_t *buf = xmalloc(3 * MIB);
    uint64_t object = zpl_znode_object(zp);

    fill(buf, 3 * MIB, 2);
    put(zp, 0, buf, 3 * MIB);
    OK(zpl_setxattr(zp, "user.x", "1", 1, 0, &cred));
    OK(zpl_unlink(root, "f"));
    OK(zpl_rmdir(root, "d"));
    OK(zpl_fs_sync(zfs));
    check_clean(2);
    faultdisk_power_off(fd, 0, true);
    zpl_znode_rele(zp);
    zpl_znode_rele(d);
    zpl_znode_rele(root);
    barefs_close(bf);
    faultdisk_reset(fd);
    OK(barefs_open(fd, &bf));
    zfs = bf->bf_zfs;
    OK(zpl_znode_hold(zfs, zpl_fs_root(zfs), &root));
    FAILS(ENOENT, zpl_znode_hold(zfs, object, &zp));
    check_clean(0);
    free(buf);
}
END_TEST

START_TEST(test_links)
{
    znode_t *zp = mk(root, "a", S_IFREG), *d = mk(root, "d", S_IFDIR | 0755), *b;

    OK(zpl_link(zp, d, "b"));
    ck_assert_uint_eq(st_of(zp).st_nlink, 2);
    FAILS(EEXIST, zpl_link(zp, d, "b"));
    FAILS(EPERM, zpl_link(d, root, "dd"));
    OK(zpl_unlink(root, "a"));
    ck_assert_uint_eq(st_of(zp).st_nlink, 1);
    b = get(d, "b");
    ck_assert_ptr_eq(b, zp);
    zpl_znode_rele(b);
    zpl_znode_rele(zp);
    zpl_znode_rele(d);
}
END_TEST

START_TEST(test_symlink)
{
    char target[4096], got[4096];
    static const size_t lens[] = {1, 56, 57, 300, 512, 513, 4095};
    size_t len;

    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        char name[20];
        znode_t *zp;
        snprintf(name, sizeof(name), "s%zu", lens[i]);
        memset(target, 'a' + (int)i, lens[i]);
        target[lens[i]] = '\0';
        OK(zpl_symlink(root, name, target, &cred, &zp));
        ck_assert_uint_eq((uint64_t)st_of(zp).st_size, lens[i]);
        OK(zpl_readlink(zp, got, sizeof(got), &len));
        ck_assert_uint_eq(len, lens[i]);
        ck_assert_mem_eq(got, target, len);
        zpl_znode_rele(zp);
    }
    reopen();
    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        char name[20];
        snprintf(name, sizeof(name), "s%zu", lens[i]);
        znode_t *zp = get(root, name);
        OK(zpl_readlink(zp, got, sizeof(got), &len));
        ck_assert_uint_eq(len, lens[i]);
        ck_assert_int_eq(got[0], 'a' + (int)i);
        ck_assert_int_eq(got[len - 1], 'a' + (int)i);
        zpl_znode_rele(zp);
    }
}
END_TEST

START_TEST(test_devices)
{
    static const struct {
        uint64_t raw;
        unsigned maj, min;
    } t[] = {
        {0x801, 8, 1},    {0x10082c, 8, 300},     {0x501, 5, 1}, {0x800001, 8, 1},
        {0x500000, 5, 0}, {8ULL << 32 | 1, 8, 1}, {0, 0, 0},
    };
    znode_t *zp;

    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        dev_t dev = zpl_rdev_decode(4, t[i].raw);
        ck_assert_uint_eq(major(dev), t[i].maj);
        ck_assert_uint_eq(minor(dev), t[i].min);
    }
    ck_assert_uint_eq(zpl_rdev_decode(5, 0x10082c), makedev(1, 0x82c));
    ck_assert_uint_eq(zpl_rdev_encode(4, makedev(8, 300)), 0x10082c);
    OK(zpl_mknod(root, "dev", S_IFBLK | 0600, makedev(8, 300), &cred, &zp));
    ck_assert_uint_eq(st_of(zp).st_rdev, makedev(8, 300));
    zpl_znode_rele(zp);
    touch(root, "fifo", S_IFIFO | 0600);
    touch(root, "sock", S_IFSOCK | 0600);
    reopen();
    zp = get(root, "fifo");
    ck_assert_uint_eq(st_of(zp).st_mode & S_IFMT, S_IFIFO);
    zpl_znode_rele(zp);
}
END_TEST

/* ---- rename ---- */

START_TEST(test_rename)
{
    znode_t *a = mk(root, "a", S_IFDIR | 0755), *b = mk(a, "b", S_IFDIR | 0755),
            *c = mk(b, "c", S_IFDIR | 0755), *zp;

    touch(root, "f", S_IFREG);
    OK(zpl_rename(root, "f", root, "g", 0));
    FAILS(ENOENT, zpl_rename(root, "f", root, "h", 0));
    OK(zpl_rename(root, "g", c, "g", 0));
    FAILS(EINVAL, zpl_rename(root, "a", c, "x", 0));
    FAILS(EINVAL, zpl_rename(root, "a", a, "x", 0));
    FAILS(ENOTEMPTY, zpl_rename(b, "c", root, "a", 0));
    FAILS(EISDIR, zpl_rename(c, "g", root, "a", 0));
    FAILS(ENOTDIR, zpl_rename(a, "b", c, "g", 0) == EINVAL ? ENOTDIR : 0);
    touch(root, "h", S_IFREG);
    FAILS(EISDIR, zpl_rename(root, "h", a, "b", 0));
    FAILS(EEXIST, zpl_rename(root, "h", c, "g", RENAME_NOREPLACE));
    OK(zpl_rename(root, "h", c, "g", 0));
    ck_assert_uint_eq((uint64_t)st_of(root).st_size, 3);
    OK(zpl_rename(b, "c", root, "c", 0));
    ck_assert_uint_eq(st_of(root).st_nlink, 4);
    ck_assert_uint_eq(st_of(b).st_nlink, 2);
    zp = get(c, "..");
    ck_assert_ptr_eq(zp, root);
    zpl_znode_rele(zp);
    touch(root, "e", S_IFDIR | 0755);
    OK(zpl_rename(root, "c", root, "e", 0)); /* onto an empty directory */
    FAILS(ENOTDIR, zpl_rename(root, "a", c, "g", 0));
    OK(zpl_rename(root, "a", root, "a", 0));
    zpl_znode_rele(a);
    zpl_znode_rele(b);
    zpl_znode_rele(c);
}
END_TEST

START_TEST(test_rename_exchange)
{
    znode_t *a = mk(root, "a", S_IFDIR | 0755), *b = mk(a, "b", S_IFDIR | 0755), *f = mk(root, "f", S_IFREG),
            *zp;

    FAILS(EINVAL, zpl_rename(root, "a", a, "b", RENAME_EXCHANGE));
    FAILS(EINVAL, zpl_rename(a, "b", root, "a", RENAME_EXCHANGE));
    FAILS(ENOENT, zpl_rename(root, "f", a, "none", RENAME_EXCHANGE));
    OK(zpl_rename(root, "f", a, "b", RENAME_EXCHANGE));
    zp = get(root, "f");
    ck_assert_ptr_eq(zp, b);
    zpl_znode_rele(zp);
    zp = get(a, "b");
    ck_assert_ptr_eq(zp, f);
    zpl_znode_rele(zp);
    ck_assert_uint_eq(st_of(a).st_nlink, 2);
    ck_assert_uint_eq(st_of(root).st_nlink, 4);
    zpl_znode_rele(a);
    zpl_znode_rele(b);
    zpl_znode_rele(f);
}
END_TEST

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

/* ---- readdir ---- */

typedef struct dirlist {
    int n, max;
    uint64_t cookie;
    uint8_t seen[30000];
    int other;
} dirlist_t;

static bool
list_cb(void *arg, const char *name, uint64_t object, unsigned char type, uint64_t next)
{
    dirlist_t *dl = arg;
    int i;

    if (dl->max-- == 0)
        return false;
    dl->n++;
    dl->cookie = next;
    if (sscanf(name, "n%d", &i) == 1)
        dl->seen[i]++;
    else
        dl->other++;
    return true;
}

static void
readdir_test(int n, int step)
{
    dirlist_t *dl = xzalloc(sizeof(*dl));
    char name[20];
    int before;

    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        touch(root, name, S_IFREG);
    }
    for (int i = 0;; i++) { /* while entries of another name come and go */
        before = dl->n;
        dl->max = step;
        OK(zpl_readdir(root, dl->cookie, list_cb, dl));
        if (dl->n == before)
            break;
        snprintf(name, sizeof(name), "x%d", i);
        touch(root, name, S_IFREG);
        if (i > 3) {
            snprintf(name, sizeof(name), "x%d", i - 2);
            OK(zpl_unlink(root, name));
        }
    }
    ck_assert_int_ge(dl->other, 2);
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(dl->seen[i], 1);
    free(dl);
}

START_TEST(test_readdir_small)
{
    readdir_test(20, 1);
}
END_TEST

START_TEST(test_readdir_grows)
{
    readdir_test(300, 3);
}
END_TEST

START_TEST(test_readdir_large)
{
    readdir_test(20000, 100);
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

/* ---- paths and bad disks ---- */

START_TEST(test_path)
{
    znode_t *a = mk(root, "a", S_IFDIR | 0755), *b = mk(a, "b", S_IFDIR | 0755), *f = mk(b, "f", S_IFREG);
    char path[100];

    OK(zpl_object_path(bf->bf_os, zpl_znode_object(f), path, sizeof(path)));
    ck_assert_str_eq(path, "a/b/f");
    OK(zpl_link(f, root, "g"));
    OK(zpl_link(f, b, "h"));
    OK(zpl_unlink(b, "h"));
    OK(zpl_unlink(b, "f"));
    OK(zpl_object_path(bf->bf_os, zpl_znode_object(f), path, sizeof(path)));
    ck_assert_str_eq(path, "g");
    FAILS(ENOENT, zpl_object_path(bf->bf_os, 999999, path, sizeof(path)));
    FAILS(ENAMETOOLONG, zpl_object_path(bf->bf_os, zpl_znode_object(b), path, 2));
    zpl_znode_rele(a);
    zpl_znode_rele(b);
    zpl_znode_rele(f);
}
END_TEST

static void
poison(uint64_t dir, const char *name, uint64_t value, bool add)
{
    dmu_tx_t *tx = dmu_tx_create(bf->bf_os);

    dmu_tx_hold_zap(tx, dir, true, name);
    OK(dmu_tx_assign(tx, DMU_TX_WAIT));
    if (add)
        OK(zap_update_u64(bf->bf_os, dir, name, value, tx));
    else
        OK(zap_remove(bf->bf_os, dir, name, tx));
    dmu_tx_commit(tx);
}

START_TEST(test_hostile_entries)
{
    znode_t *d = mk(root, "d", S_IFDIR | 0755), *zp;
    uint64_t dobj = zpl_znode_object(d);
    static const char *const bad[] = {"master", "free", "self", "up", "asfile", "zero"};
    const uint64_t values[] = {4ULL << 60 | 1,    8ULL << 60 | 123456,
                               4ULL << 60 | dobj, 4ULL << 60 | zpl_fs_root(zfs),
                               8ULL << 60 | dobj, 0};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        poison(dobj, bad[i], values[i], true);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (zpl_lookup(d, bad[i], &zp) == 0)
            zpl_znode_rele(zp);
        ck_assert_int_ne(zpl_rmdir(d, bad[i]), 0);
        ck_assert_int_ne(zpl_unlink(d, bad[i]), 0);
        ck_assert_int_ne(zpl_rename(d, bad[i], root, "moved", 0), 0);
        ck_assert_int_ne(zpl_rename(root, "d", d, bad[i], 0), 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        poison(dobj, bad[i], 0, false);
    zpl_znode_rele(d);
}
END_TEST

/* ---- many at once ---- */

static void *
churn(void *arg)
{
    unsigned id = (unsigned)(uintptr_t)arg, seed = id;
    char a[20], b[20];
    znode_t *zp;

    for (int i = 0; i < 3000; i++) {
        snprintf(a, sizeof(a), "c%d", rand_r(&seed) % 8);
        snprintf(b, sizeof(b), "c%d", rand_r(&seed) % 8);
        switch (rand_r(&seed) % 5) {
        case 0:
            if (zpl_mknod(root, a, rand_r(&seed) % 2 ? S_IFREG : S_IFDIR | 0755, 0, &cred, &zp) == 0)
                zpl_znode_rele(zp);
            break;
        case 1:
            if (zpl_unlink(root, a) == EISDIR)
                (void)zpl_rmdir(root, a);
            break;
        case 2:
            (void)zpl_rename(root, a, root, b, rand_r(&seed) % 3 == 0 ? RENAME_EXCHANGE : 0);
            break;
        case 3: {
            znode_t *d1 = NULL, *d2 = NULL;
            if (zpl_lookup(root, a, &d1) == 0 && zpl_lookup(root, b, &d2) == 0) {
                (void)zpl_rename(root, b, d1, "in", 0);
                (void)zpl_rename(d1, "in", d2, "in", 0);
                (void)zpl_link(d2, d1, "ln");
                if (d1 != root && zpl_mknod(d1, "in", S_IFDIR | 0755, 0, &cred, &zp) == 0)
                    zpl_znode_rele(zp);
            }
            if (d1 != NULL)
                zpl_znode_rele(d1);
            if (d2 != NULL)
                zpl_znode_rele(d2);
            break;
        }
        default:
            if (zpl_lookup(root, a, &zp) == 0) {
                uint64_t done;
                char buf[700];
                memset(buf, 'a', sizeof(buf));
                (void)zpl_write(zp, rand_r(&seed) % 5000, sizeof(buf), buf, &done);
                (void)zpl_read(zp, 0, sizeof(buf), buf, &done);
                (void)zpl_setxattr(zp, "user.t", buf, 10, 0, &cred);
                zpl_znode_rele(zp);
            }
        }
    }
    return NULL;
}

START_TEST(test_threads)
{
    pthread_t t[4];

    for (uintptr_t i = 0; i < 4; i++)
        VERIFY0(pthread_create(&t[i], NULL, churn, (void *)(i + 1)));
    for (int i = 0; i < 4; i++)
        VERIFY0(pthread_join(t[i], NULL));
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
    const struct {
        const char *name;
        const TTest *t;
    } tests[] = {
        {"root", test_root},
        {"acl", test_flags_and_acl},
        {"create", test_create},
        {"mkdir", test_mkdir_rmdir},
        {"unlinked_open", test_unlinked_open},
        {"unlinked_crash", test_unlinked_crash},
        {"links", test_links},
        {"symlink", test_symlink},
        {"devices", test_devices},
        {"rename", test_rename},
        {"exchange", test_rename_exchange},
        {"block_sizes", test_block_sizes},
        {"truncate", test_truncate},
        {"holes", test_holes},
        {"full", test_full},
        {"times", test_times},
        {"readdir_small", test_readdir_small},
        {"readdir_grows", test_readdir_grows},
        {"readdir_large", test_readdir_large},
        {"xattr", test_xattr},
        {"path", test_path},
        {"hostile", test_hostile_entries},
        {"threads", test_threads},
        {"speed", test_speed},
    };
    Suite *s = suite_create("zpl");

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
