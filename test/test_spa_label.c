/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_spa_label.c - the commit: whatever happens to the disk, the pool is in a state that was committed, whole.
 *
 * The pool of these tests holds a table of blocks. Each txg rewrites some of them, frees the old ones and writes the
 * table's own block, the root. Every block says its slot and txg and is otherwise made from these, so a reader can tell
 * a block of the wrong time from the right one.
 */
#include "support/effort.h"
#include "support/faultdisk.h"
#include "spa_impl.h"

#include <check.h>

#define SLOTS     48
#define TXG_FIRST 4
#define TXG_MAX   64

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

/* ---- the pool of blocks ---- */

typedef struct mini {
    spa_t *spa;
    uint64_t txg;
    blkptr_t root;
    blkptr_t slot[SLOTS];
} mini_t;

static uint64_t history[TXG_MAX][SLOTS]; /* [txg][slot]: when the block there was written; 0 never */
static uint64_t size_of[TXG_MAX][SLOTS];

static void
block_fill(uint64_t *w, uint64_t size, uint64_t slot, uint64_t txg)
{
    uint64_t x = slot * 1000003 + txg;

    for (uint64_t i = 0; i < size / 8; i++) {
        x = x * 6364136223846793005ULL + 1442695040888963407ULL;
        w[i] = i % 3 == 0 ? x : x >> 60; /* compresses a little */
    }
    w[0] = slot;
    w[1] = txg;
}

static spa_t *
pool_create(faultdisk_t *fd, uint64_t ashift)
{
    spa_create_args_t args = {.sca_name = "mini",
                              .sca_path = "/mini",
                              .sca_ashift = ashift,
                              .sca_version = 5000,
                              .sca_checksum = ZIO_CHECKSUM_XXH3_128};
    disk_t disk = faultdisk_disk(fd);
    spa_t *spa = NULL;

    ck_assert_int_eq(spa_create(&disk, &args, &spa), 0);
    return spa;
}

static int
pool_open(faultdisk_t *fd, int flags, spa_t **spa)
{
    disk_t disk = faultdisk_disk(fd);

    return spa_open(&disk, flags, spa);
}

static int
write_slots(mini_t *m, uint64_t txg)
{
    zio_write_t w[SLOTS] = {0};
    uint64_t n = 0, which[SLOTS];

    if (spa_suspended(m->spa) != 0) /* this txg may be on disk already: leave its history alone */
        return zio_write(m->spa, txg, 1, w, 0);
    memcpy(history[txg], history[txg - 1], sizeof(history[0]));
    memcpy(size_of[txg], size_of[txg - 1], sizeof(size_of[0]));
    for (uint64_t s = 0; s < SLOTS; s++) {
        if (rnd() % 3 != 0)
            continue;
        uint64_t size = 512 * (1 + rnd() % 64);
        history[txg][s] = txg;
        size_of[txg][s] = size;
        w[n] = (zio_write_t){
            .zw_buf = arc_buf_alloc((uint32_t)size),
            .zw_fill = 1,
            .zw_prop = {.zp_compress = ZIO_COMPRESS_LZ4, .zp_copies = 1 + s % 2, .zp_type = 19}};
        block_fill(w[n].zw_buf->b_data, size, s, txg);
        which[n++] = s;
    }
    int err = zio_write(m->spa, txg, 1, w, n);
    for (uint64_t i = 0; i < n; i++) {
        arc_buf_rele(w[i].zw_buf);
        if (err == 0) {
            zio_free(m->spa, txg, &m->slot[which[i]]);
            m->slot[which[i]] = w[i].zw_bp;
        }
    }
    return err;
}

static int
write_root(mini_t *m, uint64_t txg)
{
    zio_write_t w = {
        .zw_buf = arc_buf_alloc(sizeof(m->slot)),
        .zw_prop = {.zp_compress = ZIO_COMPRESS_LZ4, .zp_copies = 3, .zp_type = 11, .zp_keep_zero = true}};

    memcpy(w.zw_buf->b_data, m->slot, sizeof(m->slot));
    int err = zio_write(m->spa, txg, 1, &w, 1);
    arc_buf_rele(w.zw_buf);
    if (err == 0) {
        zio_free(m->spa, txg, &m->root);
        m->root = w.zw_bp;
    }
    return err;
}

static void
take_all(spa_t *spa)
{
    range_tree_t *a = range_tree_create(), *f = range_tree_create();

    for (uint64_t id = 0; id < metaslab_count(spa); id++) {
        metaslab_sync_take(spa, id, a, f);
        range_tree_vacate(a, NULL, NULL);
        range_tree_vacate(f, NULL, NULL);
    }
    range_tree_destroy(a);
    range_tree_destroy(f);
}

static int
mini_txg(mini_t *m)
{
    uint64_t txg = m->txg + 1;
    int err = write_slots(m, txg);

    if (err == 0)
        err = write_root(m, txg);
    if (err == 0)
        err = spa_commit(m->spa, txg, &m->root);
    if (err == 0) {
        m->txg = txg;
        take_all(m->spa);
        metaslab_sync_done(m->spa, txg);
    }
    return err;
}

static void
load_bp(spa_t *spa, const blkptr_t *bp)
{
    for (int d = 0; d < bp_get_ndvas(bp); d++) {
        uint64_t off = DVA_GET_OFFSET(&bp->blk_dva[d]);
        ck_assert_int_eq(metaslab_load(spa, off >> metaslab_shift(spa), true, off & (metaslab_size(spa) - 1),
                                       DVA_GET_ASIZE(&bp->blk_dva[d])),
                         0);
    }
}

/* Read the state under root: every block must be what history says it was at txg. */
static void
state_check(spa_t *spa, uint64_t txg, const blkptr_t *root, blkptr_t slots[SLOTS])
{
    uint64_t *got = xmalloc(64 << 10), *want = xmalloc(64 << 10);

    ck_assert_uint_eq(BP_GET_LSIZE(root), sizeof(blkptr_t) * SLOTS);
    ck_assert_int_eq(zio_read(spa, root, slots, NULL), 0);
    for (uint64_t s = 0; s < SLOTS; s++) {
        if (history[txg][s] == 0) {
            ck_assert(BP_IS_HOLE(&slots[s]));
            continue;
        }
        uint64_t size = size_of[txg][s];
        ck_assert_uint_eq(BP_GET_LSIZE(&slots[s]), size);
        ck_assert_int_eq(zio_read(spa, &slots[s], got, NULL), 0);
        block_fill(want, size, s, history[txg][s]);
        ck_assert_mem_eq(got, want, size);
    }
    free(got);
    free(want);
}

static void
mini_open(mini_t *m, spa_t *spa)
{
    m->spa = spa;
    m->txg = spa_uberblock(spa)->ub_txg;
    m->root = spa_uberblock(spa)->ub_rootbp;
    ck_assert_uint_eq(m->root.blk_birth, m->txg);
    state_check(spa, m->txg, &m->root, m->slot);
    load_bp(spa, &m->root);
    for (int s = 0; s < SLOTS; s++)
        load_bp(spa, &m->slot[s]);
}

/* A new pool with n txgs behind it. */
static void
mini_create(mini_t *m, faultdisk_t *fd, uint64_t ashift, int n)
{
    memset(m, 0, sizeof(*m));
    memset(history, 0, sizeof(history));
    m->spa = pool_create(fd, ashift);
    m->txg = TXG_FIRST - 1;
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(mini_txg(m), 0);
}

/* ---- tests ---- */

START_TEST(create_open)
{
    for (uint64_t ashift = 9; ashift <= 16; ashift++) {
        faultdisk_t *fd = faultdisk_create(96 << 20);
        mini_t m, o = {0};
        const char *s;
        mini_create(&m, fd, ashift, 0);
        ck_assert_uint_eq(faultdisk_count(fd, FD_WRITE), 0); /* nothing before the first commit */
        nvlist_t *features = nvlist_alloc();
        nvlist_add_boolean(features, FEATURE_XXH3_128);
        spa_set_features_for_read(m.spa, features);
        nvlist_free(features);
        spa_set_metaslab_array(m.spa, 77);
        for (int i = 0; i < 3; i++)
            ck_assert_int_eq(mini_txg(&m), 0);
        uint64_t guid = spa_guid(m.spa), asize = spa_asize(m.spa), shift = metaslab_shift(m.spa);
        spa_close(m.spa);

        ck_assert_int_eq(pool_open(fd, 0, &o.spa), 0);
        mini_open(&o, o.spa);
        ck_assert_uint_eq(o.txg, TXG_FIRST + 2);
        ck_assert_uint_eq(spa_guid(o.spa), guid);
        ck_assert_uint_eq(spa_asize(o.spa), asize);
        ck_assert_uint_eq(metaslab_shift(o.spa), shift);
        ck_assert_uint_eq(spa_ashift(o.spa), ashift);
        ck_assert_str_eq(spa_name(o.spa), "mini");
        ck_assert(spa_has_feature(o.spa, FEATURE_XXH3_128));
        ck_assert(!spa_has_feature(o.spa, "org.example:other"));
        ck_assert_int_eq(spa_checksum(o.spa), ZIO_CHECKSUM_XXH3_128);
        ck_assert_int_eq(nvlist_lookup_string(spa_label(o.spa), "name", &s), 0);
        spa_set_name(o.spa, "renamed");
        ck_assert_int_eq(mini_txg(&o), 0);
        spa_close(o.spa);
        ck_assert_int_eq(pool_open(fd, SPA_OPEN_RDONLY, &o.spa), 0);
        ck_assert_str_eq(spa_name(o.spa), "renamed");
        spa_close(o.spa);
        faultdisk_destroy(fd);
    }
}
END_TEST

START_TEST(mos_config)
{
    faultdisk_t *fd = faultdisk_create(64 << 20);
    mini_t m;
    nvlist_t *vd, **child;
    uint32_t n;
    uint64_t v;

    mini_create(&m, fd, 12, 1);
    nvlist_t *nv = spa_mos_config(m.spa, 99);
    ck_assert(!nvlist_exists(nv, "guid") && !nvlist_exists(nv, "top_guid"));
    ck_assert(nvlist_lookup_uint64(nv, "txg", &v) == 0 && v == 99);
    ck_assert_int_eq(nvlist_lookup_nvlist(nv, "vdev_tree", &vd), 0);
    ck_assert(nvlist_lookup_uint64(vd, "guid", &v) == 0 && v == spa_guid(m.spa));
    ck_assert_int_eq(nvlist_lookup_nvlist_array(vd, "children", &child, &n), 0);
    ck_assert_uint_eq(n, 1);
    ck_assert(nvlist_lookup_uint64(child[0], "ashift", &v) == 0 && v == 12);
    nvlist_free(nv);
    spa_close(m.spa);
    faultdisk_destroy(fd);
}
END_TEST

START_TEST(rdonly_writes_nothing)
{
    faultdisk_t *fd = faultdisk_create(64 << 20);
    mini_t m, o = {0};
    zio_write_t w = {0};

    mini_create(&m, fd, 12, 2);
    spa_close(m.spa);
    faultdisk_corrupt(fd, 0, VDEV_LABEL_SIZE);
    faultdisk_reset(fd);
    ck_assert_int_eq(pool_open(fd, SPA_OPEN_RDONLY, &o.spa), 0);
    mini_open(&o, o.spa);
    faultdisk_corrupt(fd, DVA_GET_OFFSET(&o.root.blk_dva[0]) + VDEV_LABEL_START_SIZE, 512);
    state_check(o.spa, o.txg, &o.root, o.slot);
    ck_assert_int_eq(spa_commit(o.spa, 100, &o.root), EROFS);
    ck_assert_int_eq(zio_write(o.spa, 100, 1, &w, 0), EROFS);
    ck_assert(!spa_writeable(o.spa));
    spa_close(o.spa);
    ck_assert_uint_eq(faultdisk_count(fd, FD_WRITE), 0);
    faultdisk_destroy(fd);
}
END_TEST

/* Leave `room` bytes of the device free, so that space is used again soon. */
static void
use_up(spa_t *spa, uint64_t room)
{
    for (uint64_t id = 0; id < metaslab_count(spa); id++) {
        uint64_t keep = room / metaslab_count(spa);
        ck_assert_int_eq(metaslab_load(spa, id, true, keep, metaslab_size(spa) - keep), 0);
    }
}

/* While T is written, the states of T - 1, T - 2 and T - 3 stay whole: so they are after its commit. */
START_TEST(previous_states)
{
    faultdisk_t *fd = faultdisk_create(64 << 20);
    mini_t m;
    blkptr_t roots[TXG_MAX], slots[SLOTS];

    mini_create(&m, fd, 12, 0);
    use_up(m.spa, 3 << 20);
    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(mini_txg(&m), 0);
        roots[m.txg] = m.root;
        for (uint64_t t = MAX(m.txg - 3, TXG_FIRST); t <= m.txg; t++)
            state_check(m.spa, t, &roots[t], slots);
    }
    spa_close(m.spa);
    faultdisk_destroy(fd);
}
END_TEST

/* The disk as a cut left it: open, check, go on for two txgs, check again. */
static void
cut_check(faultdisk_t *cut, uint64_t low, uint64_t high, bool may_be_absent)
{
    mini_t o = {0};
    spa_t *spa = NULL;
    int err = pool_open(cut, 0, &spa);

    if (may_be_absent && (err == ENOENT || err == ENXIO))
        return;
    ck_assert_int_eq(err, 0);
    mini_open(&o, spa);
    ck_assert_uint_ge(o.txg, low);
    ck_assert_uint_le(o.txg, high);
    uint64_t array = 0, want = o.txg <= TXG_FIRST + 2 ? 0 : 5;
    nvlist_t *vd;
    ck_assert_int_eq(nvlist_lookup_nvlist(spa_label(spa), "vdev_tree", &vd), 0);
    ck_assert_int_eq(nvlist_lookup_uint64(vd, "metaslab_array", &array), 0);
    ck_assert_uint_eq(array, want); /* the configuration of that very txg */

    uint64_t keep[TXG_MAX][SLOTS], keep_size[TXG_MAX][SLOTS];
    memcpy(keep, history, sizeof(keep));
    memcpy(keep_size, size_of, sizeof(keep_size));
    ck_assert_int_eq(mini_txg(&o), 0);
    ck_assert_int_eq(mini_txg(&o), 0);
    spa_close(spa);
    ck_assert_int_eq(pool_open(cut, 0, &spa), 0);
    mini_t again = {0};
    mini_open(&again, spa);
    ck_assert_uint_eq(again.txg, o.txg);
    ck_assert_int_eq(nvlist_lookup_nvlist(spa_label(spa), "vdev_tree", &vd), 0);
    ck_assert_int_eq(nvlist_lookup_uint64(vd, "metaslab_array", &array), 0);
    ck_assert_uint_eq(array, want); /* an aborted configuration does not come true */
    spa_close(spa);
    memcpy(history, keep, sizeof(keep));
    memcpy(size_of, keep_size, sizeof(keep_size));
}

/*
 * Power fails at every write of five commits, the third of which changes the configuration. The recording begins after
 * `before` txgs; 0: with the creation itself.
 */
static void
power_cuts(int before, uint64_t seeds)
{
    faultdisk_t *fd = faultdisk_create(64 << 20);
    uint64_t done_at[8], n = 0;
    mini_t m;

    mini_create(&m, fd, 12, before);
    uint64_t first = m.txg;
    faultdisk_record(fd);
    for (; n < 5; n++) {
        if (m.txg + 1 == TXG_FIRST + 3)
            spa_set_metaslab_array(m.spa, 5);
        ck_assert_int_eq(mini_txg(&m), 0);
        done_at[n] = faultdisk_events(fd);
    }
    for (uint64_t ev = 0; ev <= faultdisk_events(fd); ev++) {
        uint64_t low = first;
        for (uint64_t i = 0; i < n; i++)
            low += done_at[i] <= ev;
        for (uint64_t s = 0; s <= seeds; s++) {
            faultdisk_t *cut = faultdisk_cut(fd, ev, s == 0 ? 0 : s * 7919 + ev);
            cut_check(cut, low, low + 1, before == 0 && low == first);
            faultdisk_destroy(cut);
        }
    }
    spa_close(m.spa);
    faultdisk_destroy(fd);
}

START_TEST(power_cut_new_pool)
{
    power_cuts(0, 3);
}
END_TEST

START_TEST(power_cut_old_pool)
{
    power_cuts(2, 3);
}
END_TEST

/* The pool believes it commits, but power is gone: nothing after that moment counts. */
START_TEST(silent_power_off)
{
    for (uint64_t n = 0; n < 40; n += 3) {
        faultdisk_t *fd = faultdisk_create(64 << 20);
        mini_t m, o = {0};
        mini_create(&m, fd, 12, 1);
        faultdisk_power_off(fd, n, false);
        for (int i = 0; i < 4; i++)
            ck_assert_int_eq(mini_txg(&m), 0);
        spa_close(m.spa);
        faultdisk_reset(fd);
        ck_assert_int_eq(pool_open(fd, 0, &o.spa), 0);
        mini_open(&o, o.spa);
        spa_close(o.spa);
        faultdisk_destroy(fd);
    }
}
END_TEST

/* Every write or flush that fails suspends; what is on disk stays a whole state. */
static void
fail_nth(int kinds, uint64_t times)
{
    for (uint64_t n = 1;; n++) {
        faultdisk_t *fd = faultdisk_create(64 << 20);
        mini_t m, o = {0};
        int err = 0, txgs = 0;
        mini_create(&m, fd, 12, 1);
        faultdisk_fail_at(fd, kinds, n, times);
        while (txgs < 3 && err == 0 && ++txgs)
            err = mini_txg(&m);
        if (err != 0) {
            ck_assert_int_eq(spa_suspended(m.spa), err);
            ck_assert_int_eq(mini_txg(&m), err);
            ck_assert_int_eq(spa_commit(m.spa, m.txg + 1, &m.root), err);
        }
        spa_close(m.spa);
        faultdisk_reset(fd);
        ck_assert_int_eq(pool_open(fd, 0, &o.spa), 0);
        mini_open(&o, o.spa);
        ck_assert_uint_ge(o.txg, m.txg);
        ck_assert_uint_le(o.txg, m.txg + 1);
        spa_close(o.spa);
        faultdisk_destroy(fd);
        if (err == 0)
            break;
    }
}

START_TEST(fail_nth_write)
{
    fail_nth(FD_WRITE, 1);
    fail_nth(FD_FLUSH, 1);
    fail_nth(FD_WRITE | FD_FLUSH, UINT64_MAX);
}
END_TEST

START_TEST(fail_nth_read)
{
    faultdisk_t *fd = faultdisk_create(64 << 20);
    mini_t m;

    mini_create(&m, fd, 12, 3);
    spa_close(m.spa);
    for (uint64_t n = 1; n < 200; n++) { /* one bad read while opening never hurts */
        spa_t *spa = NULL;
        faultdisk_reset(fd);
        faultdisk_fail_at(fd, FD_READ, n, 1);
        ck_assert_int_eq(pool_open(fd, SPA_OPEN_RDONLY, &spa), 0);
        ck_assert_uint_eq(spa_uberblock(spa)->ub_txg, m.txg);
        spa_close(spa);
    }
    spa_t *spa = NULL;
    faultdisk_fail_at(fd, FD_READ, 1, UINT64_MAX);
    ck_assert_int_eq(pool_open(fd, SPA_OPEN_RDONLY, &spa), ENOENT);
    faultdisk_destroy(fd);
}
END_TEST

START_TEST(garbage_in_three_labels)
{
    for (int good = 0; good < VDEV_LABELS; good++) {
        faultdisk_t *fd = faultdisk_create(64 << 20);
        mini_t m, o = {0};
        mini_create(&m, fd, 12, 3);
        spa_close(m.spa);
        for (int l = 0; l < VDEV_LABELS; l++)
            if (l != good)
                faultdisk_corrupt(fd, label_offset(64 << 20, l), VDEV_LABEL_SIZE);
        ck_assert_int_eq(pool_open(fd, 0, &o.spa), 0);
        mini_open(&o, o.spa);
        ck_assert_uint_eq(o.txg, m.txg);
        ck_assert_int_eq(mini_txg(&o), 0); /* repairs the others */
        spa_close(o.spa);
        faultdisk_corrupt(fd, label_offset(64 << 20, good), VDEV_LABEL_SIZE);
        ck_assert_int_eq(pool_open(fd, 0, &o.spa), 0);
        ck_assert_uint_eq(spa_uberblock(o.spa)->ub_txg, m.txg + 1);
        spa_close(o.spa);
        for (int l = 0; l < VDEV_LABELS; l++) /* nvlist of one, ring of another */
            faultdisk_corrupt(
                fd, label_offset(64 << 20, l) + (l == good ? VDEV_PHYS_OFFSET : VDEV_RING_OFFSET), 112 << 10);
        for (int l = 0; l < VDEV_LABELS; l++)
            faultdisk_corrupt(fd, label_offset(64 << 20, l), VDEV_LABEL_SIZE);
        ck_assert_int_ne(pool_open(fd, 0, &o.spa), 0);
        faultdisk_destroy(fd);
    }
}
END_TEST

/* Rewrite the configuration of all labels with a valid checksum. */
static void
labels_poke(faultdisk_t *fd, uint64_t size, const uint8_t *bytes, size_t n)
{
    uint8_t *part = xzalloc(VDEV_PHYS_SIZE);

    for (int l = 0; l < VDEV_LABELS; l++) {
        uint64_t off = label_offset(size, l) + VDEV_PHYS_OFFSET;
        memset(part, 0, VDEV_PHYS_SIZE);
        memcpy(part, bytes, n);
        zio_checksum_embed(part, VDEV_PHYS_SIZE, off);
        faultdisk_poke(fd, off, part, VDEV_PHYS_SIZE);
    }
    free(part);
}

START_TEST(hostile_label)
{
    faultdisk_t *fd = faultdisk_create(64 << 20);
    mini_t m;
    uint8_t *packed;
    size_t n;
    int opened = 0;

    mini_create(&m, fd, 12, 3);
    nvlist_pack(spa_label(m.spa), NV_ENCODE_XDR, &packed, &n);
    spa_close(m.spa);
    uint8_t *bad = xmalloc(n);
    for (int i = 0; i < effort(3000); i++) {
        spa_t *spa = NULL;
        memcpy(bad, packed, n);
        for (uint64_t flips = 1 + rnd() % 4; flips > 0; flips--)
            bad[rnd() % n] ^= (uint8_t)(rnd() % 3 == 0 ? rnd() : 1u << rnd() % 8);
        if (rnd() % 10 == 0)
            memset(bad + rnd() % n, 0xff, 1);
        labels_poke(fd, 64 << 20, bad, n);
        if (pool_open(fd, SPA_OPEN_RDONLY, &spa) == 0) {
            opened++;
            spa_close(spa);
        }
    }
    ck_assert_int_gt(opened, 0);
    free(bad);
    free(packed);
    faultdisk_destroy(fd);
}
END_TEST

/* Values that are well-formed and absurd. */
START_TEST(absurd_label)
{
    static const char *const keys[] = {"ashift", "asize", "metaslab_shift", "metaslab_array", "id", "is_log"};
    static const uint64_t values[] = {0, 1, 8, 12, 17, 63, 64, 1ULL << 32, UINT64_MAX - 511, UINT64_MAX};
    faultdisk_t *fd = faultdisk_create(64 << 20);
    mini_t m;

    mini_create(&m, fd, 12, 1);
    nvlist_t *label = nvlist_dup(spa_label(m.spa));
    spa_close(m.spa);
    for (size_t k = 0; k < ARRAY_SIZE(keys) * ARRAY_SIZE(values); k++) {
        nvlist_t *nv = nvlist_dup(label), *vd;
        spa_t *spa = NULL;
        uint8_t *packed;
        size_t n;
        ck_assert_int_eq(nvlist_lookup_nvlist(nv, "vdev_tree", &vd), 0);
        nvlist_add_uint64(vd, keys[k % ARRAY_SIZE(keys)], values[k / ARRAY_SIZE(keys)]);
        nvlist_pack(nv, NV_ENCODE_XDR, &packed, &n);
        labels_poke(fd, 64 << 20, packed, n);
        if (pool_open(fd, SPA_OPEN_RDONLY, &spa) == 0)
            spa_close(spa);
        free(packed);
        nvlist_free(nv);
    }
    nvlist_free(label);
    faultdisk_destroy(fd);
}
END_TEST

START_TEST(unknown_keys_stay)
{
    faultdisk_t *fd = faultdisk_create(64 << 20);
    mini_t m, o = {0};
    uint8_t *packed;
    size_t n;
    uint64_t v;

    mini_create(&m, fd, 12, 1);
    nvlist_t *nv = nvlist_dup(spa_label(m.spa)), *vd;
    spa_close(m.spa);
    nvlist_add_uint64(nv, "org.example:pool", 1);
    ck_assert_int_eq(nvlist_lookup_nvlist(nv, "vdev_tree", &vd), 0);
    nvlist_add_uint64(vd, "org.example:vdev", 2);
    nvlist_pack(nv, NV_ENCODE_XDR, &packed, &n);
    labels_poke(fd, 64 << 20, packed, n);
    ck_assert_int_eq(pool_open(fd, 0, &o.spa), 0);
    mini_open(&o, o.spa);
    spa_set_state(o.spa, POOL_STATE_EXPORTED);
    ck_assert_int_eq(mini_txg(&o), 0);
    spa_close(o.spa);
    ck_assert_int_eq(pool_open(fd, 0, &o.spa), 0);
    ck_assert(nvlist_lookup_uint64(spa_label(o.spa), "org.example:pool", &v) == 0 && v == 1);
    ck_assert(nvlist_lookup_uint64(spa_label(o.spa), "state", &v) == 0 && v == POOL_STATE_EXPORTED);
    ck_assert_int_eq(nvlist_lookup_nvlist(spa_label(o.spa), "vdev_tree", &vd), 0);
    ck_assert(nvlist_lookup_uint64(vd, "org.example:vdev", &v) == 0 && v == 2);
    spa_close(o.spa);
    free(packed);
    nvlist_free(nv);
    faultdisk_destroy(fd);
}
END_TEST

/* A disk that held another pool, far in its future. */
START_TEST(old_pool_on_disk)
{
    faultdisk_t *fd = faultdisk_create(64 << 20);
    mini_t m;
    spa_t *spa = NULL;

    mini_create(&m, fd, 9, 30);
    spa_close(m.spa);
    mini_create(&m, fd, 9, 2);
    uint64_t guid = spa_guid(m.spa);
    spa_close(m.spa);
    ck_assert_int_eq(pool_open(fd, 0, &spa), 0);
    ck_assert_uint_eq(spa_guid(spa), guid);
    ck_assert_uint_eq(spa_uberblock(spa)->ub_txg, TXG_FIRST + 1);
    spa_close(spa);
    faultdisk_destroy(fd);
}
END_TEST

static void
swap64(void *p, size_t n)
{
    for (uint64_t *w = p; n >= 8; n -= 8, w++)
        *w = __builtin_bswap64(*w);
}

/* Turn the rings into what a machine of the other byte order writes. */
START_TEST(foreign_uberblock)
{
    faultdisk_t *fd = faultdisk_create(64 << 20);
    mini_t m;
    spa_t *spa = NULL;
    uint8_t slot[4096];

    mini_create(&m, fd, 12, 2);
    uint64_t txg = m.txg;
    spa_close(m.spa);
    for (int l = 0; l < VDEV_LABELS; l++) {
        uint64_t off = label_offset(64 << 20, l) + VDEV_RING_OFFSET + txg % 32 * 4096;
        faultdisk_peek(fd, off, slot, sizeof(slot));
        swap64(slot, sizeof(slot) - 40);
        uint64_t *trailer = (uint64_t *)(slot + sizeof(slot) - 40);
        uint64_t place[5] = {__builtin_bswap64(ZEC_MAGIC), __builtin_bswap64(off), 0, 0, 0};
        zio_cksum_t sum;
        memcpy(trailer, place, 40);
        ck_assert_int_eq(zio_checksum_compute(ZIO_CHECKSUM_LABEL, slot, sizeof(slot), &sum), 0);
        memcpy(trailer + 1, &sum, 32);
        swap64(trailer + 1, 32);
        faultdisk_poke(fd, off, slot, sizeof(slot));
    }
    ck_assert_int_eq(pool_open(fd, SPA_OPEN_RDONLY, &spa), 0);
    ck_assert_uint_eq(spa_uberblock(spa)->ub_txg, txg);
    ck_assert_uint_eq(spa_uberblock(spa)->ub_rootbp.blk_birth, txg);
    spa_close(spa);
    faultdisk_destroy(fd);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("spa_label");
    TCase *tc = tcase_create("label");

    cowbird_log_set_sink(quiet);
    tcase_set_timeout(tc, 600);
    tcase_add_test(tc, create_open);
    tcase_add_test(tc, mos_config);
    tcase_add_test(tc, rdonly_writes_nothing);
    tcase_add_test(tc, previous_states);
    tcase_add_test(tc, power_cut_new_pool);
    tcase_add_test(tc, power_cut_old_pool);
    tcase_add_test(tc, silent_power_off);
    tcase_add_test(tc, fail_nth_write);
    tcase_add_test(tc, fail_nth_read);
    tcase_add_test(tc, garbage_in_three_labels);
    tcase_add_test(tc, hostile_label);
    tcase_add_test(tc, absurd_label);
    tcase_add_test(tc, unknown_keys_stay);
    tcase_add_test(tc, old_pool_on_disk);
    tcase_add_test(tc, foreign_uberblock);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
