/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_zpl.c - directories and names, call by call: what each does, and which error it gives.
 */
#include "support/barefs.h"
#include "support/faultdisk.h"
#include "support/zplcalls.h"

#include <stdio.h>
#include <sys/sysmacros.h>

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

int
main(void)
{
    const named_test_t tests[] = {
        {"root", test_root},
        {"flags_and_acl", test_flags_and_acl},
        {"create", test_create},
        {"mkdir_rmdir", test_mkdir_rmdir},
        {"unlinked_open", test_unlinked_open},
        {"unlinked_crash", test_unlinked_crash},
        {"links", test_links},
        {"symlink", test_symlink},
        {"devices", test_devices},
        {"rename", test_rename},
        {"rename_exchange", test_rename_exchange},
        {"readdir_small", test_readdir_small},
        {"readdir_grows", test_readdir_grows},
        {"readdir_large", test_readdir_large},
        {"path", test_path},
        {"hostile_entries", test_hostile_entries},
        {"threads", test_threads},
    };

    return run_suite("zpl", tests, ARRAY_SIZE(tests));
}
