/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_incremental.c - an incremental stream costs what changed, not what there is.
 *
 * A dataset of n blocks, snapshot, k of them changed, snapshot, the pool closed and opened again so that the cache is cold; then the
 * stream between the two is made and everything is counted: pointers looked at, metadata blocks and bytes read by
 * the walk, and reads and bytes of the disk itself. Seconds are not measured.
 *
 *      n      one block of pointers holds 128, so the tree has log2(n) / 7 levels of them, rounded up; above
 *      /\     it the dnode's block and the root. A changed block costs one path from the root: at n = 512 and at 16 n
 *     /  \    that is two blocks of pointers, at 256 n three. All bounds are linear in k and in the levels.
 *    /_k__\
 */
#include "streampool.h"

#define DISK  (512ULL << 20)
#define BLOCK 512
#define PTRS  128 /* in a block of pointers */
#define OK(x) ck_assert_int_eq((x), 0)

typedef struct cost {
    uint64_t c_visited, c_read, c_read_bytes; /* by the walk */
    uint64_t c_disk_reads, c_disk_bytes;      /* by everything */
    uint64_t c_stream;
} cost_t;

static uint64_t rng;

static uint64_t
rnd(uint64_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (rng >> 11) % n;
}

static void
noise(void *buf, size_t n)
{
    for (uint64_t *p = buf; n >= 8; n -= 8)
        *p++ = rnd(UINT64_MAX);
}

/* ---- building ---- */

/* Sectors of 512 bytes, so that many small blocks fit. */
static dsl_pool_t *
make_pool(faultdisk_t *fd)
{
    dsl_pool_create_args_t args = {.pca_name = "a", .pca_path = "/test", .pca_ashift = 9};
    disk_t disk = faultdisk_disk(fd);
    dsl_pool_t *dp;

    OK(dsl_pool_create(&disk, &args, &dp));
    return dp;
}

static dsl_dataset_t *
own(dsl_pool_t *dp, objset_t **os)
{
    dsl_dataset_t *ds;

    OK(dsl_dataset_own(dp, "a/fs", false, &rng, &ds));
    OK(dsl_dataset_objset(ds, os));
    return ds;
}

static void
write_range(objset_t *os, uint64_t object, uint64_t off, uint64_t n)
{
    uint8_t *buf = xmalloc(n);
    dmu_tx_t *tx = dmu_tx_create(os);

    noise(buf, n);
    dmu_tx_hold_write(tx, object, off, n);
    OK(dmu_tx_assign(tx, DMU_TX_WAIT));
    OK(dmu_write(os, object, off, n, buf, tx));
    dmu_tx_commit(tx);
    free(buf);
}

static uint64_t
new_object(objset_t *os)
{
    dmu_tx_t *tx = dmu_tx_create(os);
    uint64_t object;

    dmu_tx_hold_bonus(tx, DMU_NEW_OBJECT);
    OK(dmu_tx_assign(tx, DMU_TX_WAIT));
    OK(dmu_object_alloc(os, DMU_OT_PLAIN_FILE_CONTENTS, BLOCK, 0, 0, 0, tx, &object));
    dmu_tx_commit(tx);
    return object;
}

static void
snapshot(dsl_pool_t *dp, const char *name)
{
    int failed;

    OK(dsl_snapshot(dp, &name, 1, NULL, &failed));
}

/* ---- counting ---- */

static cost_t
measure(dsl_pool_t *dp, const char *from, const char *to)
{
    uint64_t off = 0;
    dmu_send_args_t args = {.dsa_tosnap = to, .dsa_from = from, .dsa_off = &off};
    spa_stats_t a, b;

    args.dsa_fd = open("/dev/null", O_WRONLY);
    spa_get_stats(dsl_pool_spa(dp), &a);
    OK(dmu_send(dp, &args));
    spa_get_stats(dsl_pool_spa(dp), &b);
    close(args.dsa_fd);
    return (cost_t){args.dsa_stats.ts_visited,         args.dsa_stats.ts_read,
                    args.dsa_stats.ts_read_bytes,      b.ss_reads - a.ss_reads,
                    b.ss_read_bytes - a.ss_read_bytes, off};
}

static void
show(const char *what, uint64_t n, uint64_t k, const cost_t *c)
{
    printf("%s: n %7lu k %4lu: visited %6lu, read %5lu blocks %8lu bytes; disk %5lu reads %9lu bytes; stream "
           "%9lu\n",
           what, n, k, c->c_visited, c->c_read, c->c_read_bytes, c->c_disk_reads, c->c_disk_bytes,
           c->c_stream);
}

/* Blocks of pointers from the dnode's own pointers (3, counted as 1) down to block n. */
static uint64_t
levels(uint64_t n)
{
    uint64_t l = 1;

    for (uint64_t span = PTRS; span < n; span *= PTRS)
        l++;
    return l;
}

/* Whole sizes, before compression: what the walk reads for one changed block of a file, at most. */
#define PATH_BYTES(l) ((l)*PTRS * sizeof(blkptr_t))
/* Whatever n and k: root block, the dnodes' blocks and their pointers; on the disk also names and snapshots in the MOS. */
#define BASE_VISITED 16
#define BASE_READ    10
#define BASE_BYTES   (BASE_READ * (16ULL << 10))

static void
check_cost(const cost_t *c, uint64_t n, uint64_t k)
{
    uint64_t l = levels(n);

    ck_assert_uint_le(c->c_visited, BASE_VISITED + k * (l + 1));
    ck_assert_uint_le(c->c_read, BASE_READ + k * l);
    ck_assert_uint_le(c->c_read_bytes, BASE_BYTES + k * PATH_BYTES(l));
    ck_assert_uint_le(c->c_disk_reads, 3 * BASE_READ + k * (l + 1));
    ck_assert_uint_le(c->c_disk_bytes, 2 * BASE_BYTES + k * (PATH_BYTES(l) + BLOCK));
    ck_assert_uint_le(c->c_stream, 64 * 1024 + k * (BLOCK + 312));
}

/* ---- one large file ---- */

static const uint64_t sizes[] = {512, 16 * 512, 256 * 512};
static const uint64_t changes[] = {1, 4, 16, 64, 256};
#define NCHANGES ARRAY_SIZE(changes)

static void
file_costs(uint64_t n, cost_t *cost, cost_t *none)
{
    faultdisk_t *fd = faultdisk_create(DISK);
    dsl_pool_t *dp = make_pool(fd);
    char from[32] = "a/fs@0", to[32];
    cost_t full;
    objset_t *os;

    OK(dsl_create(dp, "a/fs", DMU_OST_OTHER, NULL));
    dsl_dataset_t *ds = own(dp, &os);
    uint64_t object = new_object(os);
    for (uint64_t b = 0; b < n; b += MIN(n, 2048))
        write_range(os, object, b * BLOCK, MIN(n, 2048) * BLOCK);
    snapshot(dp, from);
    for (size_t i = 0; i < NCHANGES; i++) {
        for (uint64_t c = 0; c < changes[i]; c++) /* spread over the file */
            write_range(os, object, (c * (n / changes[i]) + rnd(n / changes[i])) * BLOCK, BLOCK);
        snprintf(to, sizeof(to), "a/fs@%zu", i + 1);
        snapshot(dp, to);
    }
    snapshot(dp, "a/fs@same");
    dsl_dataset_disown(ds, &rng);
    for (size_t i = 0; i < NCHANGES; i++) {
        OK(dsl_pool_close(dp));
        dp = pool_reopen(fd);
        snprintf(from, sizeof(from), "a/fs@%zu", i);
        snprintf(to, sizeof(to), "a/fs@%zu", i + 1);
        cost[i] = measure(dp, from, to);
        show("file", n, changes[i], &cost[i]);
        check_cost(&cost[i], n, changes[i]);
        ck_assert_uint_ge(cost[i].c_stream, changes[i] * (BLOCK + 312));
    }
    *none = measure(dp, to, "a/fs@same");
    show("file, unchanged", n, 0, none);
    OK(dsl_pool_close(dp));
    dp = pool_reopen(fd);
    full = measure(dp, NULL, "a/fs@same");
    show("file, full", n, n, &full);
    ck_assert_uint_ge(full.c_visited, n); /* so the counters do count */
    ck_assert_uint_ge(full.c_disk_bytes, n * BLOCK);
    OK(dsl_pool_close(dp));
    faultdisk_destroy(fd);
}

START_TEST(test_file)
{
    cost_t cost[ARRAY_SIZE(sizes)][NCHANGES], none[ARRAY_SIZE(sizes)];

    rng = 1;
    for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
        file_costs(sizes[s], cost[s], &none[s]);
        ck_assert_uint_le(none[s].c_visited, 2); /* nothing new: the root says so */
        ck_assert_uint_le(none[s].c_read, 1);
    }
    for (size_t s = 1; s < ARRAY_SIZE(sizes); s++)
        for (size_t i = 0; i < NCHANGES;
             i++) { /* 16 times the size: one level more at most, for each changed block */
            const cost_t *a = &cost[s - 1][i], *b = &cost[s][i];
            uint64_t k = changes[i];
            ck_assert_uint_le(b->c_visited, a->c_visited + k * 2 + 4);
            ck_assert_uint_le(b->c_read, a->c_read + k + 1);
            ck_assert_uint_le(b->c_read_bytes, a->c_read_bytes + (k + 1) * PATH_BYTES(1));
            ck_assert_uint_le(b->c_disk_reads, a->c_disk_reads + k + 16);
        }
    /* From n to 16 n there is no further level: one block costs the very same. */
    ck_assert_uint_eq(levels(sizes[0]), levels(sizes[1]));
    ck_assert_uint_eq(cost[0][0].c_visited, cost[1][0].c_visited);
    ck_assert_uint_eq(cost[0][0].c_read, cost[1][0].c_read);
}
END_TEST

/* ---- many small files ---- */

static const uint64_t counts[] = {1024, 16 * 1024};

static void
many_costs(uint64_t n, cost_t *cost, cost_t *none)
{
    faultdisk_t *fd = faultdisk_create(DISK);
    dsl_pool_t *dp = make_pool(fd);
    uint64_t *objects = xmalloc(n * sizeof(uint64_t));
    char from[32] = "a/fs@0", to[32];
    objset_t *os;

    OK(dsl_create(dp, "a/fs", DMU_OST_OTHER, NULL));
    dsl_dataset_t *ds = own(dp, &os);
    for (uint64_t i = 0; i < n; i++) {
        objects[i] = new_object(os);
        write_range(os, objects[i], 0, BLOCK);
    }
    snapshot(dp, from);
    for (size_t i = 0; i < NCHANGES; i++) {
        for (uint64_t c = 0; c < changes[i]; c++)
            write_range(os, objects[c * (n / changes[i]) + rnd(n / changes[i])], 0, BLOCK);
        snprintf(to, sizeof(to), "a/fs@%zu", i + 1);
        snapshot(dp, to);
    }
    snapshot(dp, "a/fs@same");
    dsl_dataset_disown(ds, &rng);
    for (size_t i = 0; i < NCHANGES; i++) {
        OK(dsl_pool_close(dp));
        dp = pool_reopen(fd);
        snprintf(from, sizeof(from), "a/fs@%zu", i);
        snprintf(to, sizeof(to), "a/fs@%zu", i + 1);
        cost[i] = measure(dp, from, to);
        show("many files", n, changes[i], &cost[i]);
        /* For each: a pointer to the block of dnodes and one above it at most, and the file's own. */
        ck_assert_uint_le(cost[i].c_visited, BASE_VISITED + changes[i] * 3);
        ck_assert_uint_le(cost[i].c_read, BASE_READ + changes[i] * 2);
        ck_assert_uint_le(cost[i].c_read_bytes, BASE_BYTES + changes[i] * (16ULL << 10));
        ck_assert_uint_le(cost[i].c_disk_bytes, 2 * BASE_BYTES + changes[i] * ((16ULL << 10) + BLOCK));
    }
    *none = measure(dp, to, "a/fs@same");
    show("many files, unchanged", n, 0, none);
    OK(dsl_pool_close(dp));
    faultdisk_destroy(fd);
    free(objects);
}

START_TEST(test_many)
{
    cost_t cost[ARRAY_SIZE(counts)][NCHANGES], none[ARRAY_SIZE(counts)];

    rng = 2;
    for (size_t s = 0; s < ARRAY_SIZE(counts); s++) {
        many_costs(counts[s], cost[s], &none[s]);
        ck_assert_uint_le(none[s].c_visited, 2);
        ck_assert_uint_le(none[s].c_read, 1);
    }
    for (size_t i = 0; i < NCHANGES && changes[i] <= counts[0] / 32;
         i++) /* more would share blocks of dnodes in the small one */
        ck_assert_uint_le(cost[1][i].c_read, cost[0][i].c_read + changes[i] + 2);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("dsl_incremental");
    TCase *tc = tcase_create("costs");

    setvbuf(stdout, NULL, _IOLBF, 0);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, test_file);
    tcase_add_test(tc, test_many);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
