/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_zpl_model.c - a file system against its model (support/fsmodel.h): same answers, same tree, also after a remount;
 * several threads at once; and after a power cut at any moment a consistent file system.
 *
 * SEED=n ROUNDS=n CUTS=n in the environment change the run; a run prints its seed.
 */
#include "support/effort.h"
#include "support/barefs.h"
#include "support/faultdisk.h"
#include "support/fsmodel.h"

#include <check.h>
#include <stdio.h>

#define MIB (1ULL << 20)

static const zpl_cred_t cred = {.zc_uid = 1, .zc_gid = 2, .zc_umask = 0};

/* ---- the file system around it ---- */

static void
quiet(int level, const char *line)
{
}

static void
say(void *arg, const char *line)
{
    fprintf(stderr, "check: %s\n", line);
}

static void
check_clean(barefs_t *bf, bool drained)
{
    zpl_check_t zc = {.zc_report = say};

    ck_assert_int_eq(zpl_check_objset(bf->bf_os, &zc), 0);
    ck_assert_uint_eq(zc.zc_problems, 0);
    if (drained)
        ck_assert_uint_eq(zc.zc_unlinked, 0);
}

/* Every other one is of version 4. */
static barefs_t *
make(faultdisk_t *fd, int i)
{
    barefs_version = i % 2 == 0 ? ZPL_VERSION_SA : ZPL_VERSION_USERSPACE;
    return barefs_create(fd);
}

static uint64_t
env(const char *name, uint64_t def)
{
    const char *v = getenv(name);

    return v != NULL ? strtoull(v, NULL, 0) : def;
}

START_TEST(test_model)
{
    uint64_t seed = env("SEED", 1) + (uint64_t)_i, rounds = env("ROUNDS", (uint64_t)effort(8000));
    faultdisk_t *fd = faultdisk_create(256 * MIB);
    barefs_t *bf = make(fd, _i);
    ctx_t c;

    cowbird_log_set_sink(quiet);
    printf("seed %llu\n", (unsigned long long)seed);
    ctx_init(&c, seed);
    ctx_mount(&c, bf->bf_zfs, NULL);
    for (uint64_t i = 1; i <= rounds; i++) {
        step(&c);
        if (rnd(&c, 200) == 0)
            ck_assert_int_eq(zpl_fs_sync(c.zfs), 0);
        if (rnd(&c, 500) == 0)
            check_clean(bf, false);
        if (i % (rounds / 4) == 0) {
            close_all(&c);
            compare_dir(&c, c.root, c.zroot);
            zpl_znode_rele(c.zroot);
            barefs_close(bf);
            ck_assert_int_eq(barefs_open(fd, &bf), 0);
            ctx_mount(&c, bf->bf_zfs, NULL);
            check_clean(bf, true);
            compare_dir(&c, c.root, c.zroot);
        }
    }
    zpl_znode_rele(c.zroot);
    barefs_close(bf);
    ctx_fini(&c);
    faultdisk_destroy(fd);
}
END_TEST

/* ---- threads: each its own subtree, and one they share ---- */

#define NTHREADS 4

static void *
thread_main(void *arg)
{
    ctx_t *c = arg;

    for (uint64_t i = 0; i < env("ROUNDS", (uint64_t)effort(8000)) / 4; i++) {
        step(c);
        if (rnd(c, 1000) == 0)
            VERIFY0(zpl_fs_sync(c->zfs));
    }
    close_all(c);
    compare_dir(c, c->root, c->zroot);
    return NULL;
}

/* No model: errors are fine, damage is not. */
static void *
shared_main(void *arg)
{
    ctx_t *c = arg;
    char a[256], b[256];
    znode_t *d1, *d2, *zp;
    uint64_t done;

    for (uint64_t i = 0; i < env("ROUNDS", (uint64_t)effort(8000)) / 2; i++) {
        zpl_znode_addref(d1 = c->zroot);
        zpl_znode_addref(d2 = c->zroot);
        for (int k = 0; k < 3; k++) {
            rnd_name(c, a);
            if (zpl_lookup(k & 1 ? d1 : d2, a, &zp) == 0) {
                zpl_znode_rele(k & 1 ? d1 : d2);
                *(k & 1 ? &d1 : &d2) = zp;
            }
        }
        rnd_name(c, a);
        rnd_name(c, b);
        if (zpl_mknod(d1, a, rnd(c, 2) ? S_IFREG : S_IFDIR | 0755, 0, &cred, &zp) == 0) {
            (void)zpl_write(zp, rnd(c, 1000), 600, c->buf, &done);
            zpl_znode_rele(zp);
        }
        (void)zpl_rename(d1, a, d2, b, rnd(c, 3) == 0 ? RENAME_EXCHANGE : 0);
        (void)zpl_link(d1, d2, a);
        if (rnd(c, 2))
            (void)zpl_unlink(d2, b);
        if (rnd(c, 4) == 0)
            (void)zpl_rmdir(d1, a);
        zpl_znode_rele(d1);
        zpl_znode_rele(d2);
    }
    return NULL;
}

static void
run_threads(barefs_t *bf, ctx_t *c, const char *name, void *(*fn)(void *))
{
    pthread_t t[NTHREADS];
    char dir[30];

    for (int i = 0; i < NTHREADS; i++) {
        ctx_init(&c[i], env("SEED", 1) + (uint64_t)i + 100);
        snprintf(dir, sizeof(dir), "%s%d", name, fn == shared_main ? 0 : i);
        ctx_mount(&c[i], bf->bf_zfs, dir);
    }
    for (int i = 0; i < NTHREADS; i++)
        VERIFY0(pthread_create(&t[i], NULL, fn, &c[i]));
    for (int i = 0; i < NTHREADS; i++)
        VERIFY0(pthread_join(t[i], NULL));
    for (int i = 0; i < NTHREADS; i++)
        zpl_znode_rele(c[i].zroot);
}

START_TEST(test_model_threads)
{
    faultdisk_t *fd = faultdisk_create(512 * MIB);
    barefs_t *bf = make(fd, _i);
    ctx_t own[NTHREADS], shared[NTHREADS];
    char dir[30];

    cowbird_log_set_sink(quiet);
    run_threads(bf, own, "own", thread_main);
    run_threads(bf, shared, "shared", shared_main);
    check_clean(bf, true);
    barefs_close(bf);
    ck_assert_int_eq(barefs_open(fd, &bf), 0);
    check_clean(bf, true);
    for (int i = 0; i < NTHREADS; i++) {
        snprintf(dir, sizeof(dir), "own%d", i);
        ctx_mount(&own[i], bf->bf_zfs, dir);
        compare_dir(&own[i], own[i].root, own[i].zroot);
        zpl_znode_rele(own[i].zroot);
        ctx_fini(&own[i]);
        ctx_fini(&shared[i]);
    }
    barefs_close(bf);
    faultdisk_destroy(fd);
}
END_TEST

/* ---- power cuts ---- */

#define ACKS 12

/* What was synced before the cut must be there. */
static void
check_acks(barefs_t *bf, const uint64_t *acked, uint64_t events)
{
    znode_t *root, *zp;
    char name[20];

    ck_assert_int_eq(zpl_znode_hold(bf->bf_zfs, zpl_fs_root(bf->bf_zfs), &root), 0);
    for (int i = 0; i < ACKS && acked[i] <= events; i++) {
        snprintf(name, sizeof(name), "ack%d", i);
        ck_assert_int_eq(zpl_lookup(root, name, &zp), 0);
        ck_assert_uint_eq(zpl_size(zp), (uint64_t)i * 1000);
        zpl_znode_rele(zp);
    }
    zpl_znode_rele(root);
}

static void
cut_and_look(faultdisk_t *fd, uint64_t events, uint64_t seed, const uint64_t *acked)
{
    faultdisk_t *cut = faultdisk_cut(fd, events, seed);
    barefs_t *bf;

    ck_assert_int_eq(barefs_open(cut, &bf), 0);
    check_clean(bf, true);
    check_acks(bf, acked, events);
    barefs_close(bf);
    faultdisk_destroy(cut);
}

START_TEST(test_model_crash)
{
    faultdisk_t *fd = faultdisk_create(64 * MIB);
    barefs_t *bf = make(fd, _i);
    uint64_t acked[ACKS], total, seed = env("SEED", 1) + (uint64_t)_i + 50;
    uint8_t zeros[ACKS * 1000] = {0};
    uint64_t done;
    znode_t *zp;
    char name[20];
    ctx_t c;

    cowbird_log_set_sink(quiet);
    ctx_init(&c, seed);
    ctx_mount(&c, bf->bf_zfs, "work");
    ck_assert_int_eq(zpl_fs_sync(bf->bf_zfs), 0);
    faultdisk_record(fd);
    for (int i = 0; i < ACKS; i++) {
        znode_t *root;
        for (int k = 0; k < 60; k++)
            step(&c);
        snprintf(name, sizeof(name), "ack%d", i);
        ck_assert_int_eq(zpl_lookup(c.zroot, "..", &root), 0);
        ck_assert_int_eq(zpl_mknod(root, name, S_IFREG | 0644, 0, &cred, &zp), 0);
        ck_assert_int_eq(zpl_write(zp, 0, (uint64_t)i * 1000, zeros, &done), 0);
        ck_assert_int_eq(zpl_fsync(zp, false), 0);
        acked[i] = faultdisk_events(fd);
        zpl_znode_rele(zp);
        zpl_znode_rele(root);
    }
    close_all(&c);
    zpl_znode_rele(c.zroot);
    barefs_close(bf);
    total = faultdisk_events(fd);
    for (uint64_t e = 0; e <= total; e += 1 + total / env("CUTS", 150))
        cut_and_look(fd, e, e % 3 == 0 ? 0 : e, acked);
    ctx_fini(&c);
    faultdisk_destroy(fd);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("zpl_model");
    const struct {
        const char *name;
        const TTest *t;
        int n;
    } tests[] = {
        {"model", test_model, 4}, {"threads", test_model_threads, 2}, {"crash", test_model_crash, 4}};

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
        TCase *tc = tcase_create(tests[i].name);
        tcase_set_timeout(tc, 120);
        tcase_add_loop_test(tc, tests[i].t, 0, tests[i].n);
        suite_add_tcase(s, tc);
    }
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
