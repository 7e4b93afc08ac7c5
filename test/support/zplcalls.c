/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zplcalls.c - see zplcalls.h.
 */
#include "zplcalls.h"

#include <stdio.h>

const zpl_cred_t cred = {.zc_uid = 1000, .zc_gid = 100, .zc_umask = 022};
faultdisk_t *fd;
barefs_t *bf;
zpl_fs_t *zfs;
znode_t *root;

static void
quiet(int level, const char *line)
{
}

static void
setup_4(void)
{
    barefs_version = 4;
    setup();
}

static void
setup_5(void)
{
    barefs_version = 5;
    setup();
}

void
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

void
check_clean(uint64_t unlinked)
{
    zpl_check_t zc = {.zc_report = say};

    OK(zpl_check_objset(bf->bf_os, &zc));
    ck_assert_uint_eq(zc.zc_problems, 0);
    ck_assert_uint_eq(zc.zc_unlinked, unlinked);
}

void
reopen(void)
{
    zpl_znode_rele(root);
    barefs_close(bf);
    OK(barefs_open(fd, &bf));
    zfs = bf->bf_zfs;
    OK(zpl_znode_hold(zfs, zpl_fs_root(zfs), &root));
}

void
teardown(void)
{
    check_clean(0);
    reopen();
    check_clean(0);
    zpl_znode_rele(root);
    barefs_close(bf);
    faultdisk_destroy(fd);
}

znode_t *
mk(znode_t *dir, const char *name, mode_t mode)
{
    znode_t *zp = NULL;

    OK(zpl_mknod(dir, name, mode, 0, &cred, &zp));
    return zp;
}

void
touch(znode_t *dir, const char *name, mode_t mode)
{
    zpl_znode_rele(mk(dir, name, mode));
}

znode_t *
get(znode_t *dir, const char *name)
{
    znode_t *zp = NULL;

    OK(zpl_lookup(dir, name, &zp));
    return zp;
}

struct stat
st_of(znode_t *zp)
{
    struct stat st;

    OK(zpl_getattr(zp, &st));
    return st;
}

void
put(znode_t *zp, uint64_t off, const void *buf, uint64_t n)
{
    uint64_t done;

    OK(zpl_write(zp, off, n, buf, &done));
    ck_assert_uint_eq(done, n);
}

void
expect(znode_t *zp, uint64_t off, const void *buf, uint64_t n)
{
    uint8_t *got = xmalloc(n + 1);
    uint64_t done;

    OK(zpl_read(zp, off, n, got, &done));
    ck_assert_uint_eq(done, n);
    ck_assert_mem_eq(got, buf, n);
    free(got);
}

void
set_size(znode_t *zp, uint64_t size)
{
    struct stat st = {.st_size = (off_t)size};

    OK(zpl_setattr(zp, ZPL_SET_SIZE, &st));
    ck_assert_uint_eq((uint64_t)st.st_size, size);
}

void
fill(uint8_t *buf, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        buf[i] = (uint8_t)(seed >> 24);
    }
}

static int
run(const char *name, const named_test_t *tests, size_t n, uint64_t first)
{
    static char names[100][80]; /* they stay with the suite */
    Suite *s = suite_create(name);
    SRunner *sr = srunner_create(s);
    size_t k = 0;

    for (size_t i = 0; i < n; i++) {
        for (uint64_t v = first; v <= 5; v++, k++) {
            VERIFY(k < ARRAY_SIZE(names));
            snprintf(names[k], sizeof(names[k]), "%s, version %d", tests[i].nt_name, (int)v);
            TCase *tc = tcase_create(names[k]);
            tcase_add_checked_fixture(tc, v == 4 ? setup_4 : setup_5, teardown);
            tcase_set_timeout(tc, 60);
            tcase_add_test(tc, tests[i].nt_test);
            suite_add_tcase(s, tc);
        }
    }
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}

int
run_suite(const char *name, const named_test_t *tests, size_t n)
{
    return run(name, tests, n, 4);
}

int
run_suite_5(const char *name, const named_test_t *tests, size_t n)
{
    return run(name, tests, n, 5);
}
