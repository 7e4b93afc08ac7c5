/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dmu_list.c - lists of block pointers and space maps, against models.
 */
#include "support/effort.h"
#include "support/faultdisk.h"
#include "support/minipool.h"

static minipool_t *mp;

static void
setup(void)
{
    mp = minipool_create(128ULL << 20);
}

static void
teardown(void)
{
    minipool_destroy(mp);
}

/* ---- bpobj ---- */

static blkptr_t
make_bp(uint64_t id)
{
    blkptr_t bp = {0};
    DVA_SET_ASIZE(&bp.blk_dva[0], 512 * (1 + id % 7));
    DVA_SET_OFFSET(&bp.blk_dva[0], id * 4096);
    BP_SET_LSIZE(&bp, 4096);
    BP_SET_PSIZE(&bp, 512 * (1 + id % 7));
    BP_SET_TYPE(&bp, id % 3 == 0 ? DMU_OT_DNODE : DMU_OT_PLAIN_FILE_CONTENTS);
    BP_SET_LITTLE(&bp);
    bp.blk_birth = 10 + id % 50;
    bp.blk_fill = 1;
    bp.blk_cksum.zc_word[0] = id;
    if (id % 11 == 0)
        bpe_encode(&bp, "payload", ZIO_COMPRESS_OFF, 7, 7);
    bp.blk_birth = 10 + id % 50;
    return bp;
}

static uint64_t
bp_id(const blkptr_t *bp)
{
    return DVA_GET_OFFSET(&bp->blk_dva[0]) / 4096;
}

typedef struct sums {
    uint64_t n, used, comp, uncomp, idsum;
} sums_t;

static void
sums_bp(sums_t *s, const blkptr_t *bp)
{
    s->n++;
    s->used += bp_get_asize(bp);
    s->comp += BP_GET_PSIZE(bp);
    s->uncomp += bp_get_ucsize(bp);
    s->idsum += BP_IS_EMBEDDED(bp) ? bp->blk_birth : bp_id(bp);
}

static void
fill(bpobj_t *bpo, uint64_t first, uint64_t n, sums_t *s, dmu_tx_t *tx)
{
    for (uint64_t i = 0; i < n; i++) {
        blkptr_t bp = make_bp(first + i);
        bpobj_enqueue(bpo, &bp, tx);
        sums_bp(s, &bp);
    }
}

typedef struct walk {
    sums_t w_sums;
    uint64_t w_stop; /* EAGAIN after so many */
} walk_t;

static int
walk_cb(void *arg, const blkptr_t *bp, dmu_tx_t *tx)
{
    walk_t *w = arg;
    if (w->w_stop-- == 0)
        return EAGAIN;
    ck_assert_uint_eq(bp->blk_fill, 0);
    if (!BP_IS_EMBEDDED(bp))
        ck_assert_uint_eq(bp->blk_cksum.zc_word[0], 0);
    sums_bp(&w->w_sums, bp);
    return 0;
}

static void
check_sums(bpobj_t *bpo, const sums_t *s)
{
    uint64_t used, comp, uncomp;
    walk_t w = {.w_stop = UINT64_MAX};
    ck_assert_int_eq(bpobj_space(bpo, &used, &comp, &uncomp), 0);
    ck_assert_uint_eq(used, s->used);
    ck_assert_uint_eq(comp, s->comp);
    ck_assert_uint_eq(uncomp, s->uncomp);
    ck_assert_int_eq(bpobj_iterate_nofree(bpo, walk_cb, &w), 0);
    ck_assert_int_eq(memcmp(&w.w_sums, s, sizeof(*s)), 0);
    ck_assert_int_eq(bpobj_is_empty(bpo), s->n == 0);
}

static bpobj_t *
open_list(uint64_t object)
{
    bpobj_t *bpo;
    ck_assert_int_eq(bpobj_open(mp->mp_os, object, &bpo), 0);
    return bpo;
}

static uint64_t
new_list(uint64_t first, uint64_t n, sums_t *s)
{
    dmu_tx_t *tx = minipool_tx(mp);
    uint64_t object = bpobj_alloc(mp->mp_os, tx);
    bpobj_t *bpo = open_list(object);
    fill(bpo, first, n, s, tx);
    bpobj_close(bpo);
    dmu_tx_commit(tx);
    return object;
}

/* How many objects there are: nothing may be left behind. */
static uint64_t
count_objects(void)
{
    uint64_t n = 0, object = 0;
    minipool_sync(mp);
    minipool_sync(mp);
    while (dmu_object_next(mp->mp_os, &object, false, 0) == 0)
        n++;
    return n;
}

/* Consumes everything in portions, with the sums right at each stop. */
static void
consume_all(uint64_t object, sums_t *s)
{
    int err;
    do {
        bpobj_t *bpo = open_list(object);
        dmu_tx_t *tx = minipool_tx(mp);
        walk_t w = {.w_stop = 1 + rnd(700)};
        err = bpobj_iterate(bpo, walk_cb, &w, tx);
        ck_assert(err == 0 || err == EAGAIN);
        dmu_tx_commit(tx);
        s->n -= w.w_sums.n;
        s->used -= w.w_sums.used;
        s->comp -= w.w_sums.comp;
        s->uncomp -= w.w_sums.uncomp;
        s->idsum -= w.w_sums.idsum;
        check_sums(bpo, s);
        bpobj_close(bpo);
        if (rnd(3) == 0)
            minipool_reopen(mp);
    } while (err == EAGAIN);
    ck_assert_uint_eq(s->n, 0);
}

START_TEST(bpobj_plain)
{
    sums_t s = {0};
    uint64_t objects = count_objects(), object = new_list(1, 1000, &s), u, c, uc;
    for (int round = 0; round < 5; round++) {
        minipool_reopen(mp);
        bpobj_t *bpo = open_list(object);
        check_sums(bpo, &s);
        dmu_tx_t *tx = minipool_tx(mp);
        fill(bpo, 2000 + (uint64_t)round * 100, 50, &s, tx);
        dmu_tx_commit(tx);
        check_sums(bpo, &s);
        ck_assert_int_eq(bpobj_space_range(bpo, 0, 9, &u, &c, &uc), 0);
        ck_assert_uint_eq(u, 0);
        ck_assert_int_eq(bpobj_space_range(bpo, 9, 70, &u, &c, &uc), 0);
        ck_assert_uint_eq(u, s.used);
        bpobj_close(bpo);
    }
    consume_all(object, &s);
    dmu_tx_t *tx = minipool_tx(mp);
    bpobj_free(mp->mp_os, object, tx);
    dmu_tx_commit(tx);
    ck_assert_uint_eq(count_objects(), objects);
}
END_TEST

/* Random lists taken over by random others. */
START_TEST(bpobj_nested)
{
    enum { N = 60 };
    uint64_t object[N], objects = count_objects();
    sums_t s[N] = {{0}};
    for (uint64_t i = 0; i < N; i++)
        object[i] = new_list(1 + i * 1000, rnd(3) == 0 ? rnd(5) : rnd(600), &s[i]);
    for (uint64_t left = N; left > 1; left--) {
        uint64_t to = rnd(left), from = rnd(left);
        if (to == from)
            from = (from + 1) % left;
        bpobj_t *bpo = open_list(object[to]);
        dmu_tx_t *tx = minipool_tx(mp);
        bpobj_enqueue_subobj(bpo, object[from], tx);
        fill(bpo, 1 + rnd(10000), rnd(4), &s[to], tx);
        dmu_tx_commit(tx);
        for (size_t k = 0; k < sizeof(sums_t) / 8; k++)
            ((uint64_t *)&s[to])[k] += ((uint64_t *)&s[from])[k];
        check_sums(bpo, &s[to]);
        bpobj_close(bpo);
        object[from] = object[left - 1];
        s[from] = s[left - 1];
        if (rnd(8) == 0)
            minipool_reopen(mp);
    }
    if (_i == 0)
        consume_all(object[0], &s[0]);
    dmu_tx_t *tx = minipool_tx(mp);
    bpobj_free(mp->mp_os, object[0], tx);
    dmu_tx_commit(tx);
    ck_assert_uint_eq(count_objects(), objects);
}
END_TEST

/* More sub-objects than move up: real nesting. */
START_TEST(bpobj_wide)
{
    sums_t all = {0}, none = {0};
    uint64_t objects = count_objects(), inner = new_list(0, 0, &none), outer = new_list(1, 200, &all);
    for (uint64_t i = 0; i < 100; i++) {
        uint64_t sub = new_list(1 + i * 1000, 150, &all);
        bpobj_t *bpo = open_list(inner);
        dmu_tx_t *tx = minipool_tx(mp);
        bpobj_enqueue_subobj(bpo, sub, tx);
        dmu_tx_commit(tx);
        bpobj_close(bpo);
    }
    bpobj_t *bpo = open_list(outer);
    dmu_tx_t *tx = minipool_tx(mp);
    bpobj_enqueue_subobj(bpo, inner, tx);
    dmu_tx_commit(tx);
    check_sums(bpo, &all);
    bpobj_close(bpo);
    consume_all(outer, &all);
    tx = minipool_tx(mp);
    bpobj_free(mp->mp_os, outer, tx);
    dmu_tx_commit(tx);
    ck_assert_uint_eq(count_objects(), objects);
}
END_TEST

static uint64_t
raw_list(uint32_t bonuslen, const bpobj_phys_t *phys)
{
    uint64_t object;
    dmu_buf_t *db;
    dmu_tx_t *tx = minipool_tx(mp);
    ck_assert_int_eq(
        dmu_object_alloc(mp->mp_os, DMU_OT_BPOBJ, 4096, DMU_OT_BPOBJ_HDR, bonuslen, 0, tx, &object), 0);
    ck_assert_int_eq(dmu_bonus_hold(mp->mp_os, object, &db), 0);
    dmu_buf_will_dirty(db, tx);
    memcpy(db->db_data, phys, MIN(bonuslen, sizeof(*phys)));
    dmu_buf_rele(db);
    dmu_tx_commit(tx);
    return object;
}

/* Older pools' lists: 16 and 32 bytes of bonus. 56: a livelist. */
START_TEST(bpobj_old)
{
    static const uint32_t lens[] = {16, 32, 56};
    sums_t s = {0};
    bpobj_phys_t none = {0};
    uint64_t object = raw_list(lens[_i], &none);
    bpobj_t *bpo = open_list(object);
    dmu_tx_t *tx = minipool_tx(mp);
    fill(bpo, 1, 100, &s, tx);
    dmu_tx_commit(tx);
    uint64_t sub = new_list(500, 300, &s);
    tx = minipool_tx(mp);
    bpobj_enqueue_subobj(bpo, sub, tx);
    dmu_tx_commit(tx);
    check_sums(bpo, &s);
    bpobj_close(bpo);
    consume_all(object, &s);
}
END_TEST

/* Counts that cannot be, and a list that contains itself. */
START_TEST(bpobj_damaged)
{
    bpobj_t *bpo;
    walk_t w = {.w_stop = UINT64_MAX};
    bpobj_phys_t p = {.bpo_num_blkptrs = 1ULL << 40};
    ck_assert_int_eq(bpobj_open(mp->mp_os, raw_list(48, &p), &bpo), EIO);
    p = (bpobj_phys_t){.bpo_num_subobjs = 3};
    ck_assert_int_eq(bpobj_open(mp->mp_os, raw_list(48, &p), &bpo), EIO);
    ck_assert_int_eq(bpobj_open(mp->mp_os, raw_list(8, &p), &bpo), EIO);
    ck_assert_int_eq(bpobj_open(mp->mp_os, 77777, &bpo), ENOENT);
    dmu_tx_t *tx = minipool_tx(mp);
    uint64_t list;
    ck_assert_int_eq(dmu_object_alloc(mp->mp_os, DMU_OT_BPOBJ_SUBOBJ, 4096, DMU_OT_NONE, 0, 0, tx, &list), 0);
    dmu_tx_commit(tx);
    p = (bpobj_phys_t){.bpo_num_subobjs = 2, .bpo_subobjs = list};
    uint64_t self[2] = {raw_list(48, &p), 0};
    self[1] = self[0];
    tx = minipool_tx(mp);
    ck_assert_int_eq(dmu_write(mp->mp_os, list, 0, sizeof(self), self, tx), 0);
    dmu_tx_commit(tx);
    bpo = open_list(self[0]);
    ck_assert_int_eq(bpobj_iterate_nofree(bpo, walk_cb, &w), EIO);
    tx = minipool_tx(mp);
    ck_assert_int_eq(bpobj_iterate(bpo, walk_cb, &w, tx), EIO);
    dmu_tx_commit(tx);
    bpobj_close(bpo);
}
END_TEST

/* ---- space maps ---- */

#define MS_SIZE  (4ULL << 20)
#define MS_SHIFT 9

typedef struct replay {
    range_tree_t *r_rt;
    uint64_t r_n;
} replay_t;

static int
replay_cb(void *arg, bool alloc, uint64_t offset, uint64_t size)
{
    replay_t *r = arg;
    r->r_n++;
    if (alloc)
        range_tree_add(r->r_rt, offset, size);
    else
        range_tree_remove(r->r_rt, offset, size);
    return 0;
}

static void
compare_range(void *arg, uint64_t start, uint64_t size)
{
    ck_assert(range_tree_contains(arg, start, size));
}

static void
check_map(space_map_t *sm, range_tree_t *want)
{
    replay_t r = {range_tree_create(), 0};
    ck_assert_int_eq(space_map_iterate(sm, replay_cb, &r), 0);
    ck_assert_uint_eq(range_tree_space(r.r_rt), range_tree_space(want));
    ck_assert_int_eq(space_map_allocated(sm), (int64_t)range_tree_space(want));
    range_tree_walk(r.r_rt, compare_range, want);
    range_tree_destroy(r.r_rt);
}

/* A random set of units, all allocated (or all free) in have. */
static range_tree_t *
random_set(range_tree_t *have, bool allocated, int n)
{
    range_tree_t *rt = range_tree_create();
    for (int i = 0; i < n; i++) {
        uint64_t off = rnd(MS_SIZE / 512) * 512, size = (1 + rnd(rnd(10) == 0 ? 2000 : 8)) * 512;
        size = MIN(size, MS_SIZE - off);
        if (allocated ? range_tree_contains(have, off, size) : !range_tree_overlaps(have, off, size))
            range_tree_set(rt, off, size);
    }
    return rt;
}

static void
apply_add(void *arg, uint64_t start, uint64_t size)
{
    range_tree_add(arg, start, size);
}

static void
apply_remove(void *arg, uint64_t start, uint64_t size)
{
    range_tree_remove(arg, start, size);
}

static space_map_t *
open_map(uint64_t object)
{
    space_map_t *sm;
    ck_assert_int_eq(space_map_open(mp->mp_os, object, 0, MS_SIZE, MS_SHIFT, &sm), 0);
    return sm;
}

static uint64_t
new_map(void)
{
    dmu_tx_t *tx = minipool_tx(mp);
    uint64_t object = space_map_alloc(mp->mp_os, tx);
    dmu_tx_commit(tx);
    return object;
}

START_TEST(space_map_random)
{
    uint64_t object = new_map(), condensed = 0;
    range_tree_t *have = range_tree_create();
    for (int round = 0; round < 150; round++) {
        space_map_t *sm = open_map(object);
        dmu_tx_t *tx = minipool_tx(mp);
        for (int k = 0; k < 2; k++) {
            range_tree_t *rt = random_set(have, k == 1, 60);
            range_tree_walk(rt, k == 0 ? apply_add : apply_remove, have);
            space_map_write(sm, rt, k == 0, tx);
            range_tree_destroy(rt);
        }
        if (space_map_should_condense(sm, range_tree_numsegs(have))) {
            uint64_t before = space_map_length(sm);
            space_map_truncate(sm, tx);
            space_map_write(sm, have, true, tx);
            ck_assert_uint_lt(space_map_length(sm), before);
            condensed++;
        }
        dmu_tx_commit(tx);
        check_map(sm, have);
        space_map_close(sm);
        if (round % 20 == 7)
            minipool_reopen(mp);
    }
    ck_assert_uint_gt(condensed, 0);
    range_tree_destroy(have);
}
END_TEST

/* A run longer than one entry can say. */
START_TEST(space_map_long_run)
{
    uint64_t object = new_map(), size = 100ULL << 30;
    space_map_t *sm;
    ck_assert_int_eq(space_map_open(mp->mp_os, object, 0, size, MS_SHIFT, &sm), 0);
    range_tree_t *rt = range_tree_create();
    range_tree_add(rt, 512, size - 1024);
    dmu_tx_t *tx = minipool_tx(mp);
    space_map_write(sm, rt, true, tx);
    dmu_tx_commit(tx);
    check_map(sm, rt);
    range_tree_destroy(rt);
    space_map_close(sm);
}
END_TEST

static void
write_log(uint64_t object, const uint64_t *w, uint64_t n)
{
    dmu_buf_t *db;
    dmu_tx_t *tx = minipool_tx(mp);
    ck_assert_int_eq(dmu_write(mp->mp_os, object, 0, n * 8, w, tx), 0);
    ck_assert_int_eq(dmu_bonus_hold(mp->mp_os, object, &db), 0);
    dmu_buf_will_dirty(db, tx);
    ((space_map_phys_t *)db->db_data)->smp_length = n * 8;
    dmu_buf_rele(db);
    dmu_tx_commit(tx);
}

/* Entries by hand: one word, debug, two words (feature spacemap_v2). */
START_TEST(space_map_words)
{
    uint64_t w[] = {5ULL << 16 | 2, 2ULL << 62 | 77, 3ULL << 62 | 99ULL << 24 | 0xffffff, 1000,
                    6ULL << 16 | 1ULL << 15 | 0};
    uint64_t object = new_map();
    write_log(object, w, 5);
    space_map_t *sm = open_map(object);
    replay_t r = {range_tree_create(), 0};
    ck_assert_int_eq(space_map_iterate(sm, replay_cb, &r), 0);
    ck_assert_uint_eq(r.r_n, 3);
    ck_assert(range_tree_contains(r.r_rt, 5 * 512, 512) && !range_tree_overlaps(r.r_rt, 6 * 512, 512));
    ck_assert(range_tree_contains(r.r_rt, 7 * 512, 512) &&
              range_tree_contains(r.r_rt, 1000 * 512, 100 * 512));
    ck_assert_uint_eq(range_tree_space(r.r_rt), 102 * 512);
    range_tree_destroy(r.r_rt);
    space_map_close(sm);
}
END_TEST

static int
ignore_cb(void *arg, bool alloc, uint64_t offset, uint64_t size)
{
    ck_assert(size > 0 && size <= MS_SIZE && offset <= MS_SIZE - size);
    return 0;
}

START_TEST(space_map_damaged)
{
    uint64_t object = new_map(), w[512];
    space_map_t *sm;
    for (int round = 0; round < effort(300); round++) {
        for (int i = 0; i < 512; i++)
            w[i] = rnd(3) == 0 ? rnd(UINT64_MAX) : rnd(8192) << 16 | rnd(64);
        write_log(object, w, 1 + rnd(512));
        sm = open_map(object);
        int err = space_map_iterate(sm, ignore_cb, NULL);
        ck_assert(err == 0 || err == EIO);
        space_map_close(sm);
    }
    dmu_buf_t *db;
    dmu_tx_t *tx = minipool_tx(mp);
    ck_assert_int_eq(dmu_bonus_hold(mp->mp_os, object, &db), 0);
    dmu_buf_will_dirty(db, tx);
    ((space_map_phys_t *)db->db_data)->smp_length = 1ULL << 50;
    dmu_buf_rele(db);
    dmu_tx_commit(tx);
    ck_assert_int_eq(space_map_open(mp->mp_os, object, 0, MS_SIZE, MS_SHIFT, &sm), EIO);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("list");
    TCase *t = tcase_create("list");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, bpobj_plain);
    tcase_add_loop_test(t, bpobj_nested, 0, 2);
    tcase_add_test(t, bpobj_wide);
    tcase_add_loop_test(t, bpobj_old, 0, 3);
    tcase_add_test(t, bpobj_damaged);
    tcase_add_test(t, space_map_random);
    tcase_add_test(t, space_map_long_run);
    tcase_add_test(t, space_map_words);
    tcase_add_test(t, space_map_damaged);
    suite_add_tcase(s, t);
    return minipool_run(s);
}
