/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_spa_alloc.c - sets of ranges and the allocator against byte maps.
 */
#include "support/effort.h"
#include "support/faultdisk.h"
#include "spa_impl.h"

#include <check.h>

static uint64_t seed = 88172645463325252ull;

static uint64_t
rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void
quiet(int level, const char *line)
{
}

/* ---- range.c ---- */

#define RT_MAX 512

typedef struct check_arg {
    const uint8_t *map;
    uint64_t end, space;
} check_arg_t;

static void
check_run(void *arg, uint64_t start, uint64_t size)
{
    check_arg_t *c = arg;

    for (uint64_t i = c->end; i < start; i++)
        ck_assert_uint_eq(c->map[i], 0);
    for (uint64_t i = start; i < start + size; i++)
        ck_assert_uint_eq(c->map[i], 1);
    ck_assert(c->space == 0 || start > c->end); /* not touching */
    c->end = start + size;
    c->space += size;
}

static void
rt_check(range_tree_t *rt, const uint8_t *map)
{
    check_arg_t c = {.map = map};

    range_tree_walk(rt, check_run, &c);
    for (uint64_t i = c.end; i < RT_MAX; i++)
        ck_assert_uint_eq(map[i], 0);
    ck_assert_uint_eq(c.space, range_tree_space(rt));
}

static uint64_t
map_count(const uint8_t *map, uint64_t start, uint64_t size)
{
    uint64_t n = 0;

    for (uint64_t i = start; i < start + size; i++)
        n += map[i];
    return n;
}

static void
rt_step(range_tree_t *rt, uint8_t *map)
{
    uint64_t start = rnd() % RT_MAX, size = 1 + rnd() % 24;

    size = MIN(size, RT_MAX - start);
    uint64_t n = map_count(map, start, size);
    ck_assert_int_eq(range_tree_contains(rt, start, size), n == size);
    ck_assert_int_eq(range_tree_overlaps(rt, start, size), n > 0);
    switch (rnd() % 4) {
    case 0:
        if (n != 0)
            return;
        range_tree_add(rt, start, size);
        break;
    case 1:
        if (n != size)
            return;
        range_tree_remove(rt, start, size);
        memset(map + start, 0, size);
        return;
    case 2:
        range_tree_set(rt, start, size);
        break;
    default:
        range_tree_clear(rt, start, size);
        memset(map + start, 0, size);
        return;
    }
    memset(map + start, 1, size);
}

static void
rt_check_fit(range_tree_t *rt, const uint8_t *map)
{
    uint64_t want = 1 + rnd() % 40, best = UINT64_MAX, longest = 0, run = 0, start;

    for (uint64_t i = 0; i <= RT_MAX; i++) {
        if (i < RT_MAX && map[i]) {
            run++;
            continue;
        }
        if (run >= want)
            best = MIN(best, run);
        longest = MAX(longest, run);
        run = 0;
    }
    ck_assert_uint_eq(range_tree_max(rt), longest);
    ck_assert_int_eq(range_tree_best_fit(rt, want, &start), best != UINT64_MAX);
    if (best != UINT64_MAX)
        ck_assert_uint_eq(map_count(map, start, best), best);
}

START_TEST(range_model)
{
    range_tree_t *rt = range_tree_create_sized();
    uint8_t map[RT_MAX] = {0};

    for (int i = 0; i < effort(10000); i++) {
        rt_step(rt, map);
        if (i % 16 == 0) {
            rt_check(rt, map);
            rt_check_fit(rt, map);
        }
        if (i % 5000 == 4999) {
            range_tree_vacate(rt, NULL, NULL);
            memset(map, 0, sizeof(map));
        }
    }
    range_tree_destroy(rt);
}
END_TEST

START_TEST(range_next)
{
    range_tree_t *rt = range_tree_create();
    uint64_t rs, size;

    ck_assert(!range_tree_find_next(rt, 0, &rs, &size));
    range_tree_add(rt, 10, 5);
    range_tree_add(rt, 20, 5);
    ck_assert(range_tree_find_next(rt, 12, &rs, &size));
    ck_assert_uint_eq(rs, 10);
    ck_assert(range_tree_find_next(rt, 15, &rs, &size));
    ck_assert_uint_eq(rs, 20);
    ck_assert(!range_tree_find_next(rt, 25, &rs, &size));
    range_tree_set(rt, 12, 10);
    ck_assert_uint_eq(range_tree_numsegs(rt), 1);
    ck_assert_uint_eq(range_tree_space(rt), 15);
    range_tree_destroy(rt);
}
END_TEST

/* ---- metaslab.c ---- */

static spa_t *
pool(faultdisk_t **fd, uint64_t size, uint64_t ashift)
{
    spa_create_args_t args = {.sca_name = "t",
                              .sca_path = "/t",
                              .sca_ashift = ashift,
                              .sca_version = 5000,
                              .sca_checksum = ZIO_CHECKSUM_XXH3_128};
    spa_t *spa = NULL;

    *fd = faultdisk_create(size);
    disk_t disk = faultdisk_disk(*fd);
    ck_assert_int_eq(spa_create(&disk, &args, &spa), 0);
    return spa;
}

static void
pool_done(spa_t *spa, faultdisk_t *fd)
{
    spa_close(spa);
    faultdisk_destroy(fd);
}

/* One byte per 512: 0 free, 1 used, 2.. freed and waiting so many ends of txgs. */
typedef struct model {
    spa_t *spa;
    uint8_t *unit;
    uint64_t units;
    dva_t *live; /* all used runs */
    uint64_t nlive;
    uint8_t *logged; /* what the take() calls said: 1 used */
    uint64_t base;   /* of the metaslab being taken */
} model_t;

#define WAITING 4 /* freed in the open txg; becomes 3, 2, 0 at the ends of it and the next two */

static void
model_set(model_t *m, uint64_t off, uint64_t size, uint8_t from, uint8_t to)
{
    for (uint64_t u = off / 512; u < (off + size) / 512; u++) {
        ck_assert_uint_eq(m->unit[u], from);
        m->unit[u] = to;
    }
}

static void
model_alloc(model_t *m)
{
    uint64_t unit = 1ULL << m->spa->spa_ashift_, size = unit * (1 + rnd() % (rnd() % 8 == 0 ? 64 : 6));
    int copies = 1 + (int)(rnd() % 3);
    dva_t dva[3];

    if (metaslab_alloc(m->spa, size, copies, dva) != 0)
        return;
    for (int d = 0; d < copies; d++) {
        ck_assert_uint_eq(DVA_GET_ASIZE(&dva[d]), size);
        ck_assert_uint_eq(DVA_GET_OFFSET(&dva[d]) % unit, 0);
        model_set(m, DVA_GET_OFFSET(&dva[d]), size, 0, 1);
        m->live[m->nlive++] = dva[d];
    }
}

static void
model_free(model_t *m)
{
    if (m->nlive == 0)
        return;
    uint64_t i = rnd() % m->nlive;
    dva_t dva = m->live[i];

    m->live[i] = m->live[--m->nlive];
    ck_assert_int_eq(metaslab_free_range(m->spa, DVA_GET_OFFSET(&dva), DVA_GET_ASIZE(&dva)), 0);
    model_set(m, DVA_GET_OFFSET(&dva), DVA_GET_ASIZE(&dva), 1, WAITING);
    ck_assert_int_eq(metaslab_free_range(m->spa, DVA_GET_OFFSET(&dva), DVA_GET_ASIZE(&dva)), EIO);
}

static void
log_alloc(void *arg, uint64_t start, uint64_t size)
{
    model_t *m = arg;

    for (uint64_t u = (m->base + start) / 512; u < (m->base + start + size) / 512; u++)
        ck_assert_uint_eq(m->logged[u]++, 0);
}

static void
log_free(void *arg, uint64_t start, uint64_t size)
{
    model_t *m = arg;

    for (uint64_t u = (m->base + start) / 512; u < (m->base + start + size) / 512; u++)
        ck_assert_uint_eq(m->logged[u]--, 1);
}

/* Take all changes; the log must then say what is used. */
static void
model_take(model_t *m)
{
    range_tree_t *allocs = range_tree_create(), *frees = range_tree_create();

    for (uint64_t id = 0; id < metaslab_count(m->spa); id++) {
        m->base = id * metaslab_size(m->spa);
        bool changed = metaslab_sync_take(m->spa, id, allocs, frees);
        ck_assert_int_eq(changed, range_tree_space(allocs) + range_tree_space(frees) > 0);
        range_tree_vacate(allocs, log_alloc, m);
        range_tree_vacate(frees, log_free, m);
        ck_assert(!metaslab_sync_take(m->spa, id, allocs, frees));
    }
    range_tree_destroy(allocs);
    range_tree_destroy(frees);
}

static void
model_check(model_t *m)
{
    uint64_t used = 0, waiting = 0;

    for (uint64_t u = 0; u < m->units; u++) {
        ck_assert_int_eq(m->logged[u], m->unit[u] == 1);
        used += m->unit[u] == 1;
        waiting += m->unit[u] > 1;
    }
    ck_assert_uint_eq(spa_alloc_space(m->spa), used * 512);
    ck_assert_uint_eq(spa_deferred_space(m->spa), waiting * 512);
}

static void
model_done(model_t *m, uint64_t txg)
{
    model_take(m);
    model_check(m);
    metaslab_sync_done(m->spa, txg);
    for (uint64_t u = 0; u < m->units; u++) {
        if (m->unit[u] > 1)
            m->unit[u]--;
        if (m->unit[u] == 1 && m->logged[u] == 0)
            m->unit[u] = 0;
    }
}

static void
model_run(uint64_t ashift, int txgs, uint64_t steps)
{
    faultdisk_t *fd;
    spa_t *spa = pool(&fd, 80ULL << 20, ashift);
    model_t m = {.spa = spa, .units = spa_total_space(spa) / 512};

    m.unit = xzalloc(m.units);
    m.logged = xzalloc(m.units);
    m.live = xzalloc(m.units * sizeof(dva_t));
    for (int txg = 1; txg <= txgs; txg++) {
        uint64_t bias = 2 + (uint64_t)txg % 7; /* now filling, now emptying */
        for (uint64_t i = 0; i < steps; i++) {
            if (rnd() % 10 < bias)
                model_alloc(&m);
            else
                model_free(&m);
            if (rnd() % 1000 == 0)
                model_take(&m);
        }
        model_done(&m, (uint64_t)txg);
    }
    while (m.nlive > 0)
        model_free(&m);
    for (int txg = 0; txg < 3; txg++) {
        ck_assert_uint_eq(spa_deferred_space(spa) > 0, true);
        model_done(&m, (uint64_t)txgs + 1);
    }
    ck_assert_uint_eq(spa_alloc_space(spa), 0);
    ck_assert_uint_eq(spa_deferred_space(spa), 0);
    for (uint64_t id = 0; id < metaslab_count(spa); id++) /* in one run each again */
        ck_assert_int_eq(metaslab_load(spa, id, true, 0, metaslab_size(spa)), 0);
    free(m.unit);
    free(m.logged);
    free(m.live);
    pool_done(spa, fd);
}

START_TEST(alloc_model)
{
    model_run(9, 40, 2000);
    model_run(12, 60, 3000);
}
END_TEST

START_TEST(alloc_shift)
{
    ck_assert_uint_eq(metaslab_choose_shift((64ULL << 20) - (9ULL << 19), 12), 21);
    for (uint64_t size = 64ULL << 20; size < 1ULL << 45; size += size / 3) {
        uint64_t shift = metaslab_choose_shift(size, 12), count = size >> shift;
        ck_assert_uint_ge(count, 16);
        ck_assert_uint_le(count, 600);
        if (size >= 8ULL << 30)
            ck_assert_uint_ge(shift, 24);
    }
}
END_TEST

START_TEST(alloc_apart)
{
    faultdisk_t *fd;
    spa_t *spa = pool(&fd, 1ULL << 30, 12);
    uint64_t quarter = spa_total_space(spa) / 4 - metaslab_size(spa), expect[3];

    for (int i = 0; i < 1000; i++) {
        dva_t dva[3];
        ck_assert_int_eq(metaslab_alloc(spa, 16 << 10, 3, dva), 0);
        for (int a = 0; a < 3; a++) {
            uint64_t off = DVA_GET_OFFSET(&dva[a]);
            if (i > 0) /* one long run per copy */
                ck_assert_uint_eq(off, expect[a]);
            expect[a] = off + (16 << 10);
            for (int b = 0; b < a; b++) {
                uint64_t other = DVA_GET_OFFSET(&dva[b]);
                ck_assert_uint_ge(off > other ? off - other : other - off, quarter);
            }
        }
    }
    pool_done(spa, fd);
}
END_TEST

START_TEST(alloc_full)
{
    faultdisk_t *fd;
    spa_t *spa = pool(&fd, 64ULL << 20, 12);
    dva_t dva[3];
    uint64_t before;

    while (metaslab_alloc(spa, 64 << 10, 1, dva) == 0)
        continue;
    while (metaslab_alloc(spa, 4 << 10, 2, dva) == 0)
        continue;
    before = spa_alloc_space(spa);
    ck_assert_int_eq(metaslab_alloc(spa, 4 << 10, 3, dva), ENOSPC);
    ck_assert_uint_eq(spa_alloc_space(spa), before); /* all or none */
    ck_assert_uint_le(spa_total_space(spa) - before, 4 << 10);
    pool_done(spa, fd);
}
END_TEST

START_TEST(load_hostile)
{
    faultdisk_t *fd;
    spa_t *spa = pool(&fd, 64ULL << 20, 12);
    uint64_t ms = metaslab_size(spa), n = metaslab_count(spa);

    ck_assert_int_eq(metaslab_load(spa, n, true, 0, 4096), EIO);
    ck_assert_int_eq(metaslab_load(spa, 0, true, ms - 4096, 8192), EIO);
    ck_assert_int_eq(metaslab_load(spa, 0, true, UINT64_MAX - 4095, 8192), EIO);
    ck_assert_int_eq(metaslab_load(spa, 0, true, 0, 0), EIO);
    ck_assert_int_eq(metaslab_load(spa, 0, false, 0, 4096), EIO);
    ck_assert_int_eq(metaslab_load(spa, 0, true, 4096, 8192), 0);
    ck_assert_int_eq(metaslab_load(spa, 0, true, 8192, 8192), EIO);
    ck_assert_int_eq(metaslab_load(spa, 0, false, 4096, 12288), EIO);
    ck_assert_int_eq(metaslab_load(spa, 0, false, 8192, 4096), 0);
    ck_assert_uint_eq(spa_alloc_space(spa), 4096);
    ck_assert_int_eq(metaslab_free_range(spa, ms - 4096, 8192), EIO);
    ck_assert_int_eq(metaslab_free_range(spa, n * ms, 4096), EIO);
    ck_assert_int_eq(metaslab_free_range(spa, 0, 4096), EIO);
    ck_assert_int_eq(metaslab_free_range(spa, 4096, 4096), 0);

    range_tree_t *rt = range_tree_create();
    metaslab_free_ranges(spa, 0, rt);
    ck_assert_uint_eq(range_tree_space(rt), ms); /* free and waiting */
    range_tree_destroy(rt);
    pool_done(spa, fd);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("spa_alloc");
    TCase *tc = tcase_create("alloc");

    cowbird_log_set_sink(quiet);
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, range_model);
    tcase_add_test(tc, range_next);
    tcase_add_test(tc, alloc_model);
    tcase_add_test(tc, alloc_shift);
    tcase_add_test(tc, alloc_apart);
    tcase_add_test(tc, alloc_full);
    tcase_add_test(tc, load_hostile);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
