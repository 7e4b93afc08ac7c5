/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * space_map.c - which parts of a metaslab are allocated, as a log in an object.
 *
 *   object:  | debug: txg 7 | alloc 0+96 | alloc 96+8 | debug: txg 8 | free 0+32 | alloc 40+8 | ...   8 bytes each
 *            `------------------------- smp_length bytes ----------------------------------------'
 *
 * Each txg appends what it allocated and freed; loading replays the log. When the log is much longer than the free
 * runs it describes, the owner truncates it and writes the present state anew (condensing).
 *
 * INVARIANTS
 *  1. smp_alloc is the sum of all allocs minus the sum of all frees of the log.
 *  2. A two-word entry does not cross a block boundary (we write one-word entries only).
 *
 * Entries from disk are checked to lie in the metaslab. An append that fails (the last block cannot be read) suspends the pool: it
 * happens in the middle of a txg, which must not become durable then.  ZFS: space_map.c
 */
#include <syslog.h>
#include "dmu_impl.h"

#define SPACE_MAP_BLKSZ 4096

struct space_map {
    objset_t *sm_os;
    uint64_t sm_object;
    uint64_t sm_start, sm_size; /* of the metaslab */
    uint8_t sm_shift;
    uint32_t sm_blksz;
    dmu_buf_t *sm_bonus;
};

static space_map_phys_t *
sm_phys(const space_map_t *sm)
{
    return sm->sm_bonus->db_data;
}

static void
sm_fatal(const space_map_t *sm, int err)
{
    cowbird_log(LOG_ERR, "space map %llu: %s", (unsigned long long)sm->sm_object, cowbird_strerror(err));
    spa_suspend(objset_spa(sm->sm_os), err);
}

/* ---- entries ---- */

static uint64_t
space_map_encode(bool alloc, uint64_t offset, uint64_t run)
{
    uint64_t w = 0;
    ASSERT(run >= 1 && run <= SM_MAX_RUN && offset < 1ULL << 47);
    BF64_SET(w, 16, 47, offset);
    BF64_SET(w, 15, 1, alloc ? 0 : 1);
    BF64_SET(w, 0, 15, run - 1);
    return w;
}

/* How many words the entry at w takes; *run 0: it says nothing (debug). 0: it does not fit in nwords. */
static int
space_map_decode(const uint64_t *w, uint64_t nwords, bool *alloc, uint64_t *offset, uint64_t *run)
{
    *run = 0;
    if ((w[0] >> 63) == 0) {
        *alloc = BF64_GET(w[0], 15, 1) == 0;
        *offset = BF64_GET(w[0], 16, 47);
        *run = BF64_GET(w[0], 0, 15) + 1;
        return 1;
    }
    if ((w[0] >> 62) == 2)
        return 1;
    if (nwords < 2)
        return 0;
    *alloc = (w[1] >> 63) == 0;
    *offset = BF64_GET(w[1], 0, 63);
    *run = BF64_GET(w[0], 24, 36) + 1;
    return 2;
}

static uint64_t
debug_word(bool alloc, uint64_t txg)
{
    uint64_t w = 0;
    BF64_SET(w, 62, 2, 2);
    BF64_SET(w, 60, 2, alloc ? 0 : 1);
    BF64_SET(w, 50, 10, 1);
    BF64_SET(w, 0, 50, txg);
    return w;
}

/* ---- making and opening ---- */

uint64_t
space_map_alloc(objset_t *mos, dmu_tx_t *tx)
{
    uint64_t object;
    dmu_buf_t *db;
    int err = dmu_object_alloc(mos, DMU_OT_SPACE_MAP, SPACE_MAP_BLKSZ, DMU_OT_SPACE_MAP_HEADER,
                               sizeof(space_map_phys_t), 0, tx, &object);
    if (err == 0)
        err = dmu_bonus_hold(mos, object, &db);
    if (err != 0) {
        spa_suspend(objset_spa(mos), err);
        return 0;
    }
    dmu_buf_will_dirty(db, tx);
    memset(db->db_data, 0, sizeof(space_map_phys_t));
    ((space_map_phys_t *)db->db_data)->smp_object = object;
    dmu_buf_rele(db);
    return object;
}

void
space_map_free(objset_t *mos, uint64_t object, dmu_tx_t *tx)
{
    int err = dmu_object_free(mos, object, tx);
    if (err != 0)
        spa_suspend(objset_spa(mos), err);
}

/* Some old writers leave smp_object 0 in maps they never reopened. */
static int
sm_check(const space_map_t *sm)
{
    dmu_object_info_t doi;
    int err = dmu_object_info(sm->sm_os, sm->sm_object, &doi);
    if (err != 0)
        return err;
    if (doi.doi_type != DMU_OT_SPACE_MAP || sm->sm_bonus->db_size < sizeof(space_map_phys_t))
        return SET_ERROR(EIO);
    const space_map_phys_t *smp = sm_phys(sm);
    if ((smp->smp_object != sm->sm_object && smp->smp_object != 0) ||
        smp->smp_length % sizeof(uint64_t) != 0 || smp->smp_length > doi.doi_max_offset)
        return SET_ERROR(EIO);
    return 0;
}

int
space_map_open(objset_t *mos, uint64_t object, uint64_t start, uint64_t size, uint8_t shift,
               space_map_t **smp)
{
    dmu_object_info_t doi;
    space_map_t *sm = xzalloc(sizeof(*sm));
    *sm = (space_map_t){
        .sm_os = mos, .sm_object = object, .sm_start = start, .sm_size = size, .sm_shift = shift};
    int err = dmu_bonus_hold(mos, object, &sm->sm_bonus);
    if (err == 0)
        err = sm_check(sm);
    if (err == 0)
        err = dmu_object_info(mos, object, &doi);
    if (err != 0) {
        space_map_close(sm);
        return err;
    }
    sm->sm_blksz = doi.doi_data_block_size;
    *smp = sm;
    return 0;
}

void
space_map_close(space_map_t *sm)
{
    if (sm->sm_bonus != NULL)
        dmu_buf_rele(sm->sm_bonus);
    free(sm);
}

uint64_t
space_map_length(space_map_t *sm)
{
    return sm_phys(sm)->smp_length;
}

int64_t
space_map_allocated(space_map_t *sm)
{
    return sm_phys(sm)->smp_alloc;
}

/* ---- reading ---- */

typedef int (*space_map_cb_t)(void *arg, bool alloc, uint64_t offset, uint64_t size);

static int
replay_block(const space_map_t *sm, const uint64_t *w, uint64_t n, space_map_cb_t cb, void *arg)
{
    uint64_t units = sm->sm_size >> sm->sm_shift;
    for (uint64_t i = 0; i < n;) {
        bool alloc = false;
        uint64_t offset = 0, run;
        int took = space_map_decode(w + i, n - i, &alloc, &offset, &run);
        if (took == 0 || (run != 0 && (offset >= units || run > units - offset)))
            return SET_ERROR(EIO);
        i += (uint64_t)took;
        int err = run == 0 ? 0 : cb(arg, alloc, offset << sm->sm_shift, run << sm->sm_shift);
        if (err != 0)
            return err;
    }
    return 0;
}

int
space_map_iterate(space_map_t *sm, space_map_cb_t cb, void *arg)
{
    uint64_t length = space_map_length(sm);
    uint64_t *w = xmalloc(sm->sm_blksz);
    int err = 0;
    dmu_prefetch(sm->sm_os, sm->sm_object, 0, length);
    for (uint64_t off = 0; off < length && err == 0; off += sm->sm_blksz) {
        uint64_t n = MIN(length - off, sm->sm_blksz);
        err = dmu_read(sm->sm_os, sm->sm_object, off, n, w);
        if (err == 0)
            err = replay_block(sm, w, n / sizeof(uint64_t), cb, arg);
    }
    free(w);
    return err;
}

/* ---- writing ---- */

typedef struct sm_writer {
    space_map_t *sw_sm;
    dmu_tx_t *sw_tx;
    bool sw_alloc;
    uint64_t *sw_words;
    uint64_t sw_n, sw_room;
    uint64_t sw_at; /* log position of sw_words[0] */
} sm_writer_t;

static void
writer_flush(sm_writer_t *sw)
{
    space_map_t *sm = sw->sw_sm;
    uint64_t bytes = sw->sw_n * sizeof(uint64_t);
    int err = bytes == 0 ? 0 : dmu_write(sm->sm_os, sm->sm_object, sw->sw_at, bytes, sw->sw_words, sw->sw_tx);
    if (err != 0)
        sm_fatal(sm, err);
    sw->sw_at += bytes;
    sw->sw_n = 0;
}

static void
writer_put(sm_writer_t *sw, uint64_t word)
{
    if (sw->sw_n == sw->sw_room)
        writer_flush(sw);
    sw->sw_words[sw->sw_n++] = word;
}

static void
writer_range(void *arg, uint64_t start, uint64_t size)
{
    sm_writer_t *sw = arg;
    uint8_t shift = sw->sw_sm->sm_shift;
    uint64_t offset = start >> shift, left = size >> shift;
    while (left > 0) {
        uint64_t run = MIN(left, SM_MAX_RUN);
        writer_put(sw, space_map_encode(sw->sw_alloc, offset, run));
        offset += run;
        left -= run;
    }
}

void
space_map_write(space_map_t *sm, range_tree_t *rt, bool alloc, dmu_tx_t *tx)
{
    uint64_t space = range_tree_space(rt), room = 8 * SPACE_MAP_BLKSZ;
    if (space == 0)
        return;
    dmu_buf_will_dirty(sm->sm_bonus, tx);
    sm_writer_t sw = {
        .sw_sm = sm, .sw_tx = tx, .sw_alloc = alloc, .sw_room = room, .sw_at = sm_phys(sm)->smp_length};
    sw.sw_words = xmalloc(room * sizeof(uint64_t));
    writer_put(&sw, debug_word(alloc, dmu_tx_txg(tx)));
    range_tree_walk(rt, writer_range, &sw);
    writer_flush(&sw);
    free(sw.sw_words);
    sm_phys(sm)->smp_object = sm->sm_object;
    sm_phys(sm)->smp_length = sw.sw_at;
    sm_phys(sm)->smp_alloc += alloc ? (int64_t)space : -(int64_t)space;
}

void
space_map_truncate(space_map_t *sm, dmu_tx_t *tx)
{
    int err = dmu_free_range(sm->sm_os, sm->sm_object, 0, DMU_OBJECT_END, tx);
    if (err != 0)
        sm_fatal(sm, err);
    dmu_buf_will_dirty(sm->sm_bonus, tx);
    sm_phys(sm)->smp_length = 0;
    sm_phys(sm)->smp_alloc = 0;
}

/* Twice as long as it need be, and long enough to matter: a new log rewrites it all. */
bool
space_map_should_condense(space_map_t *sm, uint64_t nsegs)
{
    uint64_t length = space_map_length(sm);
    return length > 4ULL * sm->sm_blksz && length > 2 * (nsegs + 2) * sizeof(uint64_t);
}
