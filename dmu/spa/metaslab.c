/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * metaslab.c - where on the device the next block goes.
 *
 * Free space is kept per metaslab (a fixed slice of the device) as runs in memory. A freed run waits two txgs before it
 * is handed out again, so that the last uberblocks keep all they reach:
 *
 *    free --alloc--> used --free--> freeing --done(T)--> defer[0] --done(T+1)--> defer[1] --done(T+2)--> free
 *
 * Placement. Copy n of every block is looked for at its own cursor, and the cursors start a third of the device apart;
 * each only moves on. What is written together therefore lies together, in one long run per copy, and the copies of a
 * block lie far apart. For one copy, in this order:
 *
 *    1. the first run at or after the cursor that is long enough, within the cursor's metaslab
 *    2. the shortest run of that metaslab that is long enough
 *    3. the same in the next metaslabs that have a long run (a sixteenth of their size)
 *    4. the same in any metaslab
 *
 * first among metaslabs a quarter of the device away from the block's other copies, then among others, then anywhere.
 *
 * Invariants (under spa_alloc_lock):
 *   1. ms_free, ms_freeing, ms_defer[0], ms_defer[1] are disjoint; what is in none of them is used.
 *   2. ms_frees is part of ms_freeing; ms_allocs is in none of the free trees unless it was freed since.
 *   3. spa_alloc_bytes + spa_defer_bytes + (all ms_free) == spa_total_space().
 *
 * ZFS: module/zfs/metaslab.c; no weights, no groups, no on-demand loading: all metaslabs are loaded at open.
 */
#include "spa_impl.h"

#define FIRST_FIT_STEPS 64 /* runs looked at before best fit is tried */
#define LONG_RUN(spa)   (1ULL << ((spa)->spa_ms_shift - 4))

struct metaslab {
    range_tree_t *ms_free;     /* sized */
    range_tree_t *ms_allocs;   /* allocated since the last metaslab_sync_take() */
    range_tree_t *ms_frees;    /* freed since then */
    range_tree_t *ms_freeing;  /* freed in this txg */
    range_tree_t *ms_defer[2]; /* freed in the last two */
};

/* ---- life ---- */

/* About 200 metaslabs; on devices below 8 GiB 16 to 32, not smaller than 1 MiB. */
uint64_t
metaslab_choose_shift(uint64_t asize, uint64_t ashift)
{
    uint64_t count = asize < 8ULL << 30 ? 16 : 200;
    uint64_t shift = (uint64_t)highbit64(asize / count) - 1;

    return MAX(MAX(shift, asize < 8ULL << 30 ? 20 : 24), ashift + 4);
}

void
metaslab_init(spa_t *spa, uint64_t shift)
{
    spa->spa_ms_shift = shift;
    spa->spa_ms_count = spa->spa_asize_ >> shift;
    spa->spa_ms = xzalloc(MAX(spa->spa_ms_count, 1) * sizeof(metaslab_t));
    for (uint64_t i = 0; i < spa->spa_ms_count; i++) {
        metaslab_t *ms = &spa->spa_ms[i];
        ms->ms_free = range_tree_create_sized();
        ms->ms_allocs = range_tree_create();
        ms->ms_frees = range_tree_create();
        ms->ms_freeing = range_tree_create();
        ms->ms_defer[0] = range_tree_create();
        ms->ms_defer[1] = range_tree_create();
        range_tree_add(ms->ms_free, 0, 1ULL << shift);
    }
    for (uint64_t d = 0; d < SPA_DVAS_PER_BP; d++)
        spa->spa_cursor[d] = (d * spa->spa_ms_count / SPA_DVAS_PER_BP) << shift;
}

void
metaslab_fini(spa_t *spa)
{
    for (uint64_t i = 0; i < spa->spa_ms_count; i++) {
        metaslab_t *ms = &spa->spa_ms[i];
        range_tree_destroy(ms->ms_free);
        range_tree_destroy(ms->ms_allocs);
        range_tree_destroy(ms->ms_frees);
        range_tree_destroy(ms->ms_freeing);
        range_tree_destroy(ms->ms_defer[0]);
        range_tree_destroy(ms->ms_defer[1]);
    }
    free(spa->spa_ms);
}

/* ---- allocation; all under spa_alloc_lock ---- */

/* First fit from `from` on, then best fit. */
static bool
ms_find(metaslab_t *ms, uint64_t from, uint64_t size, uint64_t *start)
{
    uint64_t at = from, rs, len;

    if (range_tree_max(ms->ms_free) < size)
        return false;
    for (int i = 0; i < FIRST_FIT_STEPS && range_tree_find_next(ms->ms_free, at, &rs, &len); i++) {
        uint64_t lo = MAX(rs, from);
        if (rs + len >= lo + size) {
            *start = lo;
            return true;
        }
        at = rs + len;
    }
    return range_tree_best_fit(ms->ms_free, size, start);
}

static uint64_t
ms_take(spa_t *spa, uint64_t id, int copy, uint64_t start, uint64_t size)
{
    metaslab_t *ms = &spa->spa_ms[id];
    uint64_t off = (id << spa->spa_ms_shift) + start;

    range_tree_remove(ms->ms_free, start, size);
    range_tree_add(ms->ms_allocs, start, size);
    ATOMIC_ADD(&spa->spa_alloc_bytes, size);
    spa->spa_cursor[copy] = off + size;
    return off;
}

/* Undo ms_take() of a moment ago. */
static void
ms_untake(spa_t *spa, uint64_t off, uint64_t size)
{
    metaslab_t *ms = &spa->spa_ms[off >> spa->spa_ms_shift];
    uint64_t start = off & ((1ULL << spa->spa_ms_shift) - 1);

    range_tree_remove(ms->ms_allocs, start, size);
    range_tree_add(ms->ms_free, start, size);
    ATOMIC_ADD(&spa->spa_alloc_bytes, -size);
}

/* Is metaslab id at least `apart` metaslabs from every copy placed so far? */
static bool
ms_is_apart(const spa_t *spa, uint64_t id, uint64_t apart, const dva_t *dvas, int placed)
{
    for (int d = 0; d < placed; d++) {
        uint64_t other = DVA_GET_OFFSET(&dvas[d]) >> spa->spa_ms_shift;
        if ((id > other ? id - other : other - id) < apart)
            return false;
    }
    return true;
}

/* One copy, `apart` metaslabs from the others, in a metaslab whose longest run is at least `run`. */
static bool
alloc_try(spa_t *spa, uint64_t size, uint64_t run, uint64_t apart, const dva_t *dvas, int copy, uint64_t *off)
{
    uint64_t cursor = spa->spa_cursor[copy], first = cursor >> spa->spa_ms_shift, start;

    for (uint64_t i = 0; i < spa->spa_ms_count; i++) {
        uint64_t id = (first + i) % spa->spa_ms_count;
        uint64_t from = i == 0 && id == first ? cursor & ((1ULL << spa->spa_ms_shift) - 1) : 0;
        metaslab_t *ms = &spa->spa_ms[id];
        if ((i > 0 && range_tree_max(ms->ms_free) < run) || !ms_is_apart(spa, id, apart, dvas, copy))
            continue;
        if (ms_find(ms, from, size, &start)) {
            *off = ms_take(spa, id, copy, start, size);
            return true;
        }
    }
    return false;
}

static bool
alloc_copy(spa_t *spa, uint64_t size, const dva_t *dvas, int copy, uint64_t *off)
{
    uint64_t apart[] = {MAX(spa->spa_ms_count / 4, 1), 1, 0};
    uint64_t run = MAX(size, LONG_RUN(spa));

    for (size_t i = copy == 0 ? ARRAY_SIZE(apart) - 1 : 0; i < ARRAY_SIZE(apart); i++)
        if (alloc_try(spa, size, run, apart[i], dvas, copy, off) ||
            alloc_try(spa, size, size, apart[i], dvas, copy, off))
            return true;
    return false;
}

int
metaslab_alloc(spa_t *spa, uint64_t size, int ndvas, dva_t *dvas)
{
    uint64_t off = 0;
    int d, err = 0;

    ASSERT(size > 0 && (size & ((1ULL << spa->spa_ashift_) - 1)) == 0);
    ASSERT(ndvas >= 1 && ndvas <= SPA_DVAS_PER_BP);
    mutex_enter(&spa->spa_alloc_lock);
    for (d = 0; d < ndvas && alloc_copy(spa, size, dvas, d, &off); d++) {
        dvas[d] = (dva_t){{0, 0}};
        DVA_SET_ASIZE(&dvas[d], size);
        DVA_SET_OFFSET(&dvas[d], off);
    }
    if (d < ndvas) {
        while (d-- > 0)
            ms_untake(spa, DVA_GET_OFFSET(&dvas[d]), size);
        err = SET_ERROR(ENOSPC);
    }
    mutex_exit(&spa->spa_alloc_lock);
    return err;
}

/* ---- freeing ---- */

static bool
ms_is_allocated(metaslab_t *ms, uint64_t start, uint64_t size)
{
    return !range_tree_overlaps(ms->ms_free, start, size) &&
           !range_tree_overlaps(ms->ms_freeing, start, size) &&
           !range_tree_overlaps(ms->ms_defer[0], start, size) &&
           !range_tree_overlaps(ms->ms_defer[1], start, size);
}

/* Does [off, off + size) lie within one metaslab? */
static bool
ms_range_ok(const spa_t *spa, uint64_t off, uint64_t size)
{
    uint64_t id = off >> spa->spa_ms_shift;

    return size > 0 && off + size > off && id < spa->spa_ms_count &&
           (off + size - 1) >> spa->spa_ms_shift == id;
}

int
metaslab_free_range(spa_t *spa, uint64_t off, uint64_t size)
{
    uint64_t start = off & ((1ULL << spa->spa_ms_shift) - 1);
    int err = 0;

    if (!ms_range_ok(spa, off, size))
        return SET_ERROR(EIO);
    mutex_enter(&spa->spa_alloc_lock);
    metaslab_t *ms = &spa->spa_ms[off >> spa->spa_ms_shift];
    if (ms_is_allocated(ms, start, size)) {
        range_tree_add(ms->ms_frees, start, size);
        range_tree_add(ms->ms_freeing, start, size);
        ATOMIC_ADD(&spa->spa_alloc_bytes, -size);
        ATOMIC_ADD(&spa->spa_defer_bytes, size);
    } else {
        err = SET_ERROR(EIO);
    }
    mutex_exit(&spa->spa_alloc_lock);
    return err;
}

/* ---- the layer above: opening, sync passes, end of txg ---- */

static int
ms_load(spa_t *spa, metaslab_t *ms, bool alloc, uint64_t offset, uint64_t size)
{
    if (alloc && !range_tree_contains(ms->ms_free, offset, size))
        return SET_ERROR(EIO);
    if (!alloc && range_tree_overlaps(ms->ms_free, offset, size))
        return SET_ERROR(EIO);
    if (alloc)
        range_tree_remove(ms->ms_free, offset, size);
    else
        range_tree_add(ms->ms_free, offset, size);
    ATOMIC_ADD(&spa->spa_alloc_bytes, alloc ? size : -size);
    return 0;
}

int
metaslab_load(spa_t *spa, uint64_t id, bool alloc, uint64_t offset, uint64_t size)
{
    uint64_t ms_size = 1ULL << spa->spa_ms_shift;

    if (id >= spa->spa_ms_count || size == 0 || offset >= ms_size || size > ms_size - offset)
        return SET_ERROR(EIO);
    mutex_enter(&spa->spa_alloc_lock);
    int err = ms_load(spa, &spa->spa_ms[id], alloc, offset, size);
    mutex_exit(&spa->spa_alloc_lock);
    return err;
}

static void
add_range(void *arg, uint64_t start, uint64_t size)
{
    range_tree_add(arg, start, size);
}

bool
metaslab_sync_take(spa_t *spa, uint64_t id, range_tree_t *allocs, range_tree_t *frees)
{
    VERIFY3U(id, <, spa->spa_ms_count);
    metaslab_t *ms = &spa->spa_ms[id];

    mutex_enter(&spa->spa_alloc_lock);
    bool changed = range_tree_space(ms->ms_allocs) + range_tree_space(ms->ms_frees) != 0;
    range_tree_vacate(ms->ms_allocs, add_range, allocs);
    range_tree_vacate(ms->ms_frees, add_range, frees);
    mutex_exit(&spa->spa_alloc_lock);
    return changed;
}

void
metaslab_free_ranges(spa_t *spa, uint64_t id, range_tree_t *out)
{
    VERIFY3U(id, <, spa->spa_ms_count);
    metaslab_t *ms = &spa->spa_ms[id];

    mutex_enter(&spa->spa_alloc_lock);
    range_tree_walk(ms->ms_free, add_range, out);
    range_tree_walk(ms->ms_freeing, add_range, out);
    range_tree_walk(ms->ms_defer[0], add_range, out);
    range_tree_walk(ms->ms_defer[1], add_range, out);
    mutex_exit(&spa->spa_alloc_lock);
}

static void
ms_sync_done(spa_t *spa, metaslab_t *ms)
{
    range_tree_t *ripe = ms->ms_defer[1];

    ASSERT0(range_tree_space(ms->ms_allocs)); /* everything was logged */
    ASSERT0(range_tree_space(ms->ms_frees));
    ATOMIC_ADD(&spa->spa_defer_bytes, -range_tree_space(ripe));
    range_tree_vacate(ripe, add_range, ms->ms_free);
    ms->ms_defer[1] = ms->ms_defer[0];
    ms->ms_defer[0] = ms->ms_freeing;
    ms->ms_freeing = ripe;
}

void
metaslab_sync_done(spa_t *spa, uint64_t txg)
{
    mutex_enter(&spa->spa_alloc_lock);
    for (uint64_t i = 0; i < spa->spa_ms_count; i++)
        ms_sync_done(spa, &spa->spa_ms[i]);
    mutex_exit(&spa->spa_alloc_lock);
}

/* ---- sizes ---- */

uint64_t
metaslab_count(spa_t *spa)
{
    return spa->spa_ms_count;
}

uint64_t
metaslab_shift(spa_t *spa)
{
    return spa->spa_ms_shift;
}

uint64_t
metaslab_size(spa_t *spa)
{
    return 1ULL << spa->spa_ms_shift;
}

uint64_t
spa_alloc_space(spa_t *spa)
{
    return ATOMIC_LOAD(&spa->spa_alloc_bytes);
}

uint64_t
spa_deferred_space(spa_t *spa)
{
    return ATOMIC_LOAD(&spa->spa_defer_bytes);
}

uint64_t
spa_total_space(spa_t *spa)
{
    return spa->spa_ms_count << spa->spa_ms_shift;
}
