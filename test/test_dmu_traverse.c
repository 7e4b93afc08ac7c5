/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dmu_traverse.c - traversal by birth against a walk over everything; resuming anywhere; damage; cost.
 */
#include "support/effort.h"
#include "support/faultdisk.h"
#include "support/minipool.h"

static minipool_t *mp;

static void
setup(void)
{
    mp = minipool_create_type(256ULL << 20, DMU_OST_OTHER);
    mp->mp_os->os_indblkshift = 10; /* 8 pointers: deep trees from few blocks */
}

static void
teardown(void)
{
    minipool_destroy(mp);
}

/* ---- a list of calls ---- */

typedef struct callrec {
    zbookmark_t cr_zb;
    uint64_t cr_birth;
    bool cr_hole, cr_post;
    int cr_err;
} callrec_t;

typedef struct calls {
    callrec_t *c_rec;
    uint64_t c_n, c_room;
    uint64_t c_stop; /* EINTR at this call */
    bool c_skip_odd; /* TRAVERSE_SKIP_BELOW for the dnodes of odd objects */
} calls_t;

static void
record(calls_t *c, const zbookmark_t *zb, const blkptr_t *bp, bool post, int err)
{
    if (c->c_n == c->c_room) {
        c->c_room = 2 * c->c_room + 64;
        c->c_rec = xrealloc(c->c_rec, c->c_room * sizeof(callrec_t));
    }
    bool block = zb->zb_level != ZB_DNODE_LEVEL;
    memset(&c->c_rec[c->c_n], 0, sizeof(callrec_t));
    c->c_rec[c->c_n++] = (callrec_t){*zb, block ? bp->blk_birth : 0, block && BP_IS_HOLE(bp), post, err};
}

static int
traverse_cb(void *arg, const traverse_block_t *tb)
{
    calls_t *c = arg;
    if (c->c_n == c->c_stop)
        return EINTR;
    record(c, &tb->tb_zb, tb->tb_bp, tb->tb_post, tb->tb_err);
    if (tb->tb_dnp != NULL && tb->tb_zb.zb_level != ZB_DNODE_LEVEL)
        ck_assert_uint_ne(tb->tb_dnp->dn_type, DMU_OT_NONE);
    if (c->c_skip_odd && tb->tb_zb.zb_level == ZB_DNODE_LEVEL && tb->tb_zb.zb_object % 2 == 1)
        return TRAVERSE_SKIP_BELOW;
    return 0;
}

static calls_t
run(uint64_t since, int flags, const zbookmark_t *resume, int want, traverse_stats_t *st)
{
    calls_t c = {.c_stop = UINT64_MAX};
    ck_assert_int_eq(traverse_objset(mp->mp_spa, &mp->mp_root, 0, since, flags, resume, traverse_cb, &c, st),
                     want);
    return c;
}

static bool
same_call(const callrec_t *a, const callrec_t *b)
{
    return memcmp(&a->cr_zb, &b->cr_zb, sizeof(a->cr_zb)) == 0 && a->cr_birth == b->cr_birth &&
           a->cr_hole == b->cr_hole && a->cr_post == b->cr_post && a->cr_err == b->cr_err;
}

static void
compare(const calls_t *got, const calls_t *want, uint64_t from)
{
    for (uint64_t i = 0; i < got->c_n && from + i < want->c_n; i++) {
        const callrec_t *a = &got->c_rec[i], *b = &want->c_rec[from + i];
        if (!same_call(a, b))
            ck_abort_msg(
                "call %d: got (%d %d %d) birth %d hole %d post %d, want (%d %d %d) birth %d hole %d post %d",
                (int)i, (int)a->cr_zb.zb_object, (int)a->cr_zb.zb_level, (int)a->cr_zb.zb_blkid,
                (int)a->cr_birth, a->cr_hole, a->cr_post, (int)b->cr_zb.zb_object, (int)b->cr_zb.zb_level,
                (int)b->cr_zb.zb_blkid, (int)b->cr_birth, b->cr_hole, b->cr_post);
    }
    ck_assert_uint_eq(got->c_n, want->c_n - from);
}

/* ---- the walk over everything: no pruning, one level after the other in plain recursion ---- */

typedef struct brute {
    calls_t *b_out;
    uint64_t b_since;
    int b_flags;
} brute_t;

static void brute_dnodes(brute_t *b, const blkptr_t *bp, const arc_buf_t *buf, uint64_t first);

static void
brute_bp(brute_t *b, const blkptr_t *bp, const dnode_phys_t *dnp, zbookmark_t zb, bool parent_new)
{
    uint32_t shift = dnp->dn_indblkshift - 7u;
    bool spill = zb.zb_blkid == DMU_SPILL_BLKID, hole = BP_IS_HOLE(bp);
    bool new =
        parent_new && (hole ? bp->blk_birth == 0 || bp->blk_birth > b->b_since : bp->blk_birth > b->b_since);
    arc_buf_t *buf = NULL;
    if (hole) {
        if (new && (spill || zb.zb_blkid << (shift * (unsigned)zb.zb_level) <= dnp->dn_maxblkid))
            record(b->b_out, &zb, bp, !(b->b_flags & TRAVERSE_PRE), 0);
        return;
    }
    if (!new)
        ck_assert_uint_le(bp->blk_birth, b->b_since);
    if (new && (b->b_flags & TRAVERSE_PRE))
        record(b->b_out, &zb, bp, false, 0);
    if (zb.zb_level > 0 || zb.zb_object == 0)
        ck_assert_int_eq(arc_read(mp->mp_spa, bp, NULL, 0, &buf), 0);
    for (uint64_t i = 0; zb.zb_level > 0 && i < 1ULL << shift; i++)
        brute_bp(b, (blkptr_t *)buf->b_data + i, dnp,
                 (zbookmark_t){0, zb.zb_object, zb.zb_level - 1, (zb.zb_blkid << shift) + i}, new);
    if (zb.zb_level == 0 && zb.zb_object == 0 && new)
        brute_dnodes(b, bp, buf, zb.zb_blkid * 32);
    arc_buf_rele(buf);
    if (new && (b->b_flags & TRAVERSE_POST))
        record(b->b_out, &zb, bp, true, 0);
}

static void
brute_dnode(brute_t *b, const dnode_phys_t *dnp, uint64_t object)
{
    for (uint64_t i = 0; i < dnp->dn_nblkptr; i++)
        brute_bp(b, (const blkptr_t *)dnp->dn_blkptr + i, dnp,
                 (zbookmark_t){0, object, dnp->dn_nlevels - 1, i}, true);
    if (dnp->dn_flags & DNODE_FLAG_SPILL_BLKPTR)
        brute_bp(b, dnode_phys_spill(dnp), dnp, (zbookmark_t){0, object, 0, DMU_SPILL_BLKID}, true);
}

static void
brute_dnodes(brute_t *b, const blkptr_t *bp, const arc_buf_t *buf, uint64_t first)
{
    const dnode_phys_t *dn = buf->b_data;
    uint64_t free_from = 0, nfree = 0;
    for (uint64_t i = 0; i <= 32; i++) {
        bool used = i == 32 || dn[i].dn_type != 0;
        if (used && nfree > 0)
            record(b->b_out, &(zbookmark_t){0, free_from, ZB_DNODE_LEVEL, nfree}, bp, false, 0);
        if (i == 32)
            break;
        if (!used) {
            if (first + i == 0)
                continue;
            free_from = nfree++ == 0 ? first + i : free_from;
            continue;
        }
        nfree = 0;
        record(b->b_out, &(zbookmark_t){0, first + i, ZB_DNODE_LEVEL, 0}, bp, false, 0);
        brute_dnode(b, &dn[i], first + i);
        i += dn[i].dn_extra_slots;
    }
}

static calls_t
brute(uint64_t since, int flags)
{
    calls_t c = {.c_stop = UINT64_MAX};
    brute_t b = {&c, since, flags};
    arc_buf_t *buf;
    zbookmark_t zb = {0, 0, ZB_ROOT_LEVEL, 0};
    if (mp->mp_root.blk_birth <= since)
        return c;
    if (flags & TRAVERSE_PRE)
        record(&c, &zb, &mp->mp_root, false, 0);
    ck_assert_int_eq(arc_read(mp->mp_spa, &mp->mp_root, NULL, 0, &buf), 0);
    brute_dnode(&b, buf->b_data, 0);
    arc_buf_rele(buf);
    if (flags & TRAVERSE_POST)
        record(&c, &zb, &mp->mp_root, true, 0);
    return c;
}

/* ---- something to walk over ---- */

#define OBJECTS 120
static uint64_t object[OBJECTS];
static uint64_t nobjects;

static void
new_object(dmu_tx_t *tx)
{
    static const uint32_t sizes[] = {512, 1024, 2048};
    uint64_t obj;
    bool spill = rnd(4) == 0; /* takes the room of the other pointers */
    ck_assert_int_eq(dmu_object_alloc(mp->mp_os, rnd(3) ? DMU_OT_PLAIN_OTHER : DMU_OT_UINT64_OTHER, 512,
                                      spill ? DMU_OT_SA : DMU_OT_NONE, spill ? 64 : 0, sizes[rnd(3)], tx,
                                      &obj),
                     0);
    object[nobjects++] = obj;
    if (spill) {
        dmu_buf_t *db;
        ck_assert_int_eq(dmu_spill_create(mp->mp_os, obj, 1024, tx, &db), 0);
        memset(db->db_data, 7, 1024);
        dmu_buf_rele(db);
    }
}

static void
change(dmu_tx_t *tx)
{
    uint8_t buf[512 * 12];
    uint64_t i = rnd(nobjects + 1), n = 1 + rnd(12), at = rnd(rnd(4) == 0 ? 3000 : 40);
    if (i == nobjects && nobjects < OBJECTS) {
        new_object(tx);
        return;
    }
    i = MIN(i, nobjects - 1);
    if (rnd(30) == 0) {
        ck_assert_int_eq(dmu_object_free(mp->mp_os, object[i], tx), 0);
        object[i] = object[--nobjects];
        if (nobjects == 0)
            new_object(tx);
        return;
    }
    if (rnd(5) == 0) {
        ck_assert_int_eq(
            dmu_free_range(mp->mp_os, object[i], at * 512, rnd(3) == 0 ? DMU_OBJECT_END : n * 512, tx), 0);
        return;
    }
    for (size_t k = 0; k < sizeof(buf); k++)
        buf[k] = (uint8_t)rnd(256);
    ck_assert_int_eq(dmu_write(mp->mp_os, object[i], at * 512, n * 512, buf, tx), 0);
}

static void
some_txgs(int txgs, int changes)
{
    for (int t = 0; t < txgs; t++) {
        dmu_tx_t *tx = minipool_tx(mp);
        for (int k = 0; k < changes; k++) {
            if (nobjects == 0)
                new_object(tx);
            change(tx);
        }
        dmu_tx_commit(tx);
        minipool_sync(mp);
    }
}

START_TEST(against_brute_force)
{
    static const int flags[] = {TRAVERSE_PRE, TRAVERSE_POST,
                                TRAVERSE_PRE | TRAVERSE_POST | TRAVERSE_PREFETCH};
    nobjects = 0;
    for (int round = 0; round < 30; round++) {
        some_txgs(3, round % 5 == 0 ? 60 : 6);
        uint64_t last = txg_last_synced(mp->mp_ts);
        for (int k = 0; k < 6; k++) {
            uint64_t since = k < 3 ? 0 : last - rnd(MIN(last, 12));
            traverse_stats_t st;
            calls_t got = run(since, flags[k % 3], NULL, 0, &st), want = brute(since, flags[k % 3]);
            compare(&got, &want, 0);
            free(got.c_rec);
            free(want.c_rec);
        }
    }
}
END_TEST

/* From any call on, resuming gives exactly the rest. */
START_TEST(resume_anywhere)
{
    nobjects = 0;
    some_txgs(10, 60);
    for (int k = 0; k < 2; k++) {
        int flags = k == 0 ? TRAVERSE_PRE : TRAVERSE_PRE | TRAVERSE_POST;
        uint64_t since = k == 0 ? 0 : txg_last_synced(mp->mp_ts) - 3;
        calls_t all = run(since, flags, NULL, 0, NULL);
        for (uint64_t i = 0; i < all.c_n; i += 1 + rnd(3)) {
            if (all.c_rec[i].cr_post)
                continue;
            zbookmark_t zb = all.c_rec[i].cr_zb;
            calls_t rest = run(since, flags, &zb, 0, NULL);
            compare(&rest, &all, i);
            free(rest.c_rec);
        }
        free(all.c_rec);
    }
}
END_TEST

/* A bookmark of something that is gone: what stood after it. */
START_TEST(resume_gone)
{
    nobjects = 0;
    some_txgs(6, 60);
    calls_t all = run(0, TRAVERSE_PRE, NULL, 0, NULL);
    for (int k = 0; k < 200; k++) {
        zbookmark_t zb = {0, 1 + rnd(400), rnd(4) == 0 ? ZB_DNODE_LEVEL : 0, rnd(5000)};
        calls_t rest = run(0, TRAVERSE_PRE, &zb, 0, NULL);
        ck_assert_uint_le(rest.c_n, all.c_n);
        compare(&rest, &all, all.c_n - rest.c_n);
        if (rest.c_n > 0)
            ck_assert_uint_ge(rest.c_rec[0].cr_zb.zb_object == 0 ? UINT64_MAX : rest.c_rec[0].cr_zb.zb_object,
                              1);
        for (uint64_t i = 0; i < rest.c_n; i++) {
            const zbookmark_t *r = &rest.c_rec[i].cr_zb;
            uint64_t last = r->zb_level == ZB_DNODE_LEVEL && r->zb_blkid > 0 ? r->zb_object + r->zb_blkid - 1
                                                                             : r->zb_object;
            ck_assert(r->zb_object == 0 || last >= zb.zb_object);
        }
        free(rest.c_rec);
    }
    free(all.c_rec);
}
END_TEST

START_TEST(skip_and_stop)
{
    nobjects = 0;
    some_txgs(4, 60);
    calls_t all = run(0, TRAVERSE_PRE, NULL, 0, NULL), c = {.c_stop = UINT64_MAX, .c_skip_odd = true};
    ck_assert_int_eq(
        traverse_objset(mp->mp_spa, &mp->mp_root, 0, 0, TRAVERSE_PRE, NULL, traverse_cb, &c, NULL), 0);
    uint64_t n = 0;
    for (uint64_t i = 0; i < all.c_n; i++)
        n += all.c_rec[i].cr_zb.zb_object % 2 == 0 || all.c_rec[i].cr_zb.zb_level == ZB_DNODE_LEVEL;
    ck_assert_uint_eq(c.c_n, n);
    free(c.c_rec);
    c = (calls_t){.c_stop = all.c_n / 2};
    ck_assert_int_eq(
        traverse_objset(mp->mp_spa, &mp->mp_root, 0, 0, TRAVERSE_PRE, NULL, traverse_cb, &c, NULL), EINTR);
    ck_assert_uint_eq(c.c_n, all.c_n / 2);
    free(c.c_rec);
    free(all.c_rec);
    ck_assert_int_eq(traverse_objset(mp->mp_spa, &mp->mp_root, 0, 0, 0, NULL, traverse_cb, &c, NULL), EINVAL);
}
END_TEST

/* ---- cost ---- */

static uint64_t
visited_after_changes(uint64_t nblocks, uint64_t k, uint64_t *read)
{
    uint8_t buf[512];
    dmu_tx_t *tx = minipool_tx(mp);
    uint64_t obj;
    ck_assert_int_eq(dmu_object_alloc(mp->mp_os, DMU_OT_PLAIN_OTHER, 512, DMU_OT_NONE, 0, 0, tx, &obj), 0);
    memset(buf, 1, sizeof(buf));
    for (uint64_t i = 0; i < nblocks; i++) {
        memcpy(buf, &i, 8);
        ck_assert_int_eq(dmu_write(mp->mp_os, obj, i * 512, 512, buf, tx), 0);
    }
    dmu_tx_commit(tx);
    minipool_sync(mp);
    uint64_t since = txg_last_synced(mp->mp_ts);
    tx = minipool_tx(mp);
    memset(buf, 2, sizeof(buf));
    for (uint64_t i = 0; i < k; i++)
        ck_assert_int_eq(dmu_write(mp->mp_os, obj, i * (nblocks / k) * 512, 512, buf, tx), 0);
    dmu_tx_commit(tx);
    minipool_sync(mp);
    traverse_stats_t st;
    calls_t c = run(since, TRAVERSE_PRE, NULL, 0, &st);
    free(c.c_rec);
    *read = st.ts_read;
    return st.ts_visited;
}

START_TEST(cost)
{
    uint64_t read1, read16, small = visited_after_changes(1000, 10, &read1),
                            large = visited_after_changes(16000, 10, &read16);
    ck_assert_uint_lt(large, 2 * small);
    ck_assert_uint_lt(read16, 2 * read1);
    ck_assert_uint_lt(large, 200);
}
END_TEST

/* ---- damage ---- */

/* All copies of a block, on disk and in the cache. */
static void
ruin(const blkptr_t *bp)
{
    for (int d = 0; d < bp_get_ndvas(bp); d++)
        faultdisk_corrupt(mp->mp_fd, DVA_GET_OFFSET(&bp->blk_dva[d]) + VDEV_LABEL_START_SIZE,
                          BP_GET_PSIZE(bp));
    arc_forget(mp->mp_spa, bp);
}

typedef struct find {
    int64_t f_level;
    uint64_t f_skip;
    blkptr_t f_bp;
    zbookmark_t f_zb;
} find_t;

static int
find_cb(void *arg, const traverse_block_t *tb)
{
    find_t *f = arg;
    if (tb->tb_zb.zb_level != f->f_level || tb->tb_zb.zb_object == 0 || BP_IS_HOLE(tb->tb_bp) ||
        f->f_skip-- > 0)
        return 0;
    f->f_bp = *tb->tb_bp;
    f->f_zb = tb->tb_zb;
    return EINTR;
}

START_TEST(unreadable)
{
    nobjects = 0;
    some_txgs(6, 80);
    calls_t all = run(0, TRAVERSE_PRE | TRAVERSE_POST, NULL, 0, NULL);
    find_t f = {.f_level = 1 + _i, .f_skip = 3};
    ck_assert_int_eq(traverse_objset(mp->mp_spa, &mp->mp_root, 0, 0, TRAVERSE_PRE, NULL, find_cb, &f, NULL),
                     EINTR);
    ruin(&f.f_bp);
    calls_t c = run(0, TRAVERSE_PRE | TRAVERSE_POST, NULL, ECKSUM, NULL);
    free(c.c_rec);
    c = run(0, TRAVERSE_PRE | TRAVERSE_POST | TRAVERSE_HARD, NULL, 0, NULL);
    uint64_t bad = 0;
    for (uint64_t i = 0; i < c.c_n; i++) {
        if (c.c_rec[i].cr_err == 0)
            continue;
        ck_assert_int_eq(memcmp(&c.c_rec[i].cr_zb, &f.f_zb, sizeof(f.f_zb)), 0);
        bad++;
    }
    ck_assert_uint_eq(bad, 2);
    ck_assert_uint_lt(c.c_n, all.c_n);
    free(c.c_rec);
    free(all.c_rec);
}
END_TEST

/* Metadata that says anything at all, under a right checksum: changed in the cache, behind the reader's back. */
static int
keep_metadata_cb(void *arg, const traverse_block_t *tb)
{
    calls_t *c = arg;
    bool meta = tb->tb_zb.zb_level > 0 || (tb->tb_zb.zb_level <= 0 && tb->tb_zb.zb_object == 0);
    if (meta && tb->tb_zb.zb_level != ZB_DNODE_LEVEL && !BP_IS_HOLE(tb->tb_bp) && c->c_n < c->c_room)
        ((blkptr_t *)c->c_rec)[c->c_n++] = *tb->tb_bp;
    return 0;
}

static int
count_cb(void *arg, const traverse_block_t *tb)
{
    return ++*(uint64_t *)arg > 20000 ? EINTR : 0;
}

START_TEST(hostile)
{
    nobjects = 0;
    some_txgs(6, 60);
    calls_t c = {.c_rec = malloc(2000 * sizeof(blkptr_t)), .c_room = 2000};
    ck_assert_int_eq(
        traverse_objset(mp->mp_spa, &mp->mp_root, 0, 0, TRAVERSE_PRE, NULL, keep_metadata_cb, &c, NULL), 0);
    for (int round = 0; round < effort(3000); round++) {
        const blkptr_t *bp = (blkptr_t *)c.c_rec + rnd(c.c_n);
        uint8_t good[16384];
        uint64_t n = 0;
        arc_buf_t *buf;
        ck_assert_int_eq(arc_read(mp->mp_spa, bp, NULL, 0, &buf), 0);
        uint8_t *p = buf->b_data;
        memcpy(good, p, buf->b_size);
        for (uint64_t k = 1 + rnd(10); k > 0; k--) {
            uint64_t at = rnd(buf->b_size / 512) * 512 + rnd(rnd(2) == 0 ? 64 : 512);
            p[at] = rnd(2) == 0 ? (uint8_t)rnd(256) : (uint8_t)(p[at] ^ (1u << rnd(8)));
        }
        zbookmark_t resume = {0, rnd(300), (int64_t)rnd(3), rnd(100)};
        int flags =
            TRAVERSE_PRE | TRAVERSE_POST | (rnd(2) ? TRAVERSE_HARD : 0) | (rnd(8) ? 0 : TRAVERSE_PREFETCH);
        (void)traverse_objset(mp->mp_spa, &mp->mp_root, 0, rnd(8), flags, rnd(4) ? NULL : &resume, count_cb,
                              &n, NULL);
        memcpy(p, good, buf->b_size);
        arc_buf_rele(buf);
    }
    free(c.c_rec);
}
END_TEST

START_TEST(empty)
{
    blkptr_t hole = {0};
    calls_t c = {.c_stop = UINT64_MAX};
    ck_assert_int_eq(traverse_objset(mp->mp_spa, &hole, 0, 0, TRAVERSE_PRE, NULL, traverse_cb, &c, NULL), 0);
    ck_assert_uint_eq(c.c_n, 0);
    c = run(txg_last_synced(mp->mp_ts), TRAVERSE_PRE, NULL, 0, NULL);
    ck_assert_uint_eq(c.c_n, 0);
    c = run(0, TRAVERSE_PRE, NULL, 0, NULL);
    ck_assert_uint_gt(c.c_n, 0);
    free(c.c_rec);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("traverse");
    TCase *t = tcase_create("traverse");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, empty);
    tcase_add_test(t, against_brute_force);
    tcase_add_test(t, resume_anywhere);
    tcase_add_test(t, resume_gone);
    tcase_add_test(t, skip_and_stop);
    tcase_add_test(t, cost);
    tcase_add_loop_test(t, unreadable, 0, 2);
    tcase_add_test(t, hostile);
    suite_add_tcase(s, t);
    return minipool_run(s);
}
