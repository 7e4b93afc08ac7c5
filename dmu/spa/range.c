/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * range.c - a set of byte ranges, as the fewest disjoint runs.
 *
 *      0        10       20       30       40
 *      |--------|========|--------|========|--->      add(20,10) turns two runs into one:
 *      |--------|==========================|--->      runs that touch are merged
 *
 * Invariants:
 *   1. Runs are not empty, disjoint, and do not touch.
 *   2. rt_space is the sum of their lengths.
 *   3. A sized tree holds every run in rt_by_size too, ordered by length, then start.
 *
 * Two runs "compare equal" when they overlap. As the runs in a tree never do, the order is total there, and looking up
 * any range finds a run that overlaps it. No locks: the owner has one. ZFS: module/zfs/range_tree.c
 */
#include "spa_impl.h"

typedef struct range_seg {
    avl_node_t rs_node;        /* in rt_root */
    avl_node_t rs_size_node;   /* in rt_by_size when sized */
    uint64_t rs_start, rs_end; /* [start, end) */
} range_seg_t;

struct range_tree {
    avl_tree_t rt_root;
    avl_tree_t rt_by_size;
    bool rt_sized;
    uint64_t rt_space;
};

static int
seg_compare(const void *x, const void *y)
{
    const range_seg_t *a = x, *b = y;

    if (a->rs_end <= b->rs_start)
        return -1;
    return a->rs_start >= b->rs_end;
}

static int
seg_compare_size(const void *x, const void *y)
{
    const range_seg_t *a = x, *b = y;
    int cmp = AVL_CMP(a->rs_end - a->rs_start, b->rs_end - b->rs_start);

    return cmp != 0 ? cmp : AVL_CMP(a->rs_start, b->rs_start);
}

range_tree_t *
range_tree_create(void)
{
    range_tree_t *rt = xzalloc(sizeof(*rt));

    avl_create(&rt->rt_root, seg_compare, offsetof(range_seg_t, rs_node));
    avl_create(&rt->rt_by_size, seg_compare_size, offsetof(range_seg_t, rs_size_node));
    return rt;
}

range_tree_t *
range_tree_create_sized(void)
{
    range_tree_t *rt = range_tree_create();

    rt->rt_sized = true;
    return rt;
}

void
range_tree_destroy(range_tree_t *rt)
{
    if (rt == NULL)
        return;
    range_tree_vacate(rt, NULL, NULL);
    avl_destroy(&rt->rt_root);
    avl_destroy(&rt->rt_by_size);
    free(rt);
}

/* ---- runs in and out of the trees; the only places that touch rt_space and rt_by_size ---- */

static void
seg_insert(range_tree_t *rt, uint64_t start, uint64_t end)
{
    range_seg_t *rs = xzalloc(sizeof(*rs));

    ASSERT3U(start, <, end);
    rs->rs_start = start;
    rs->rs_end = end;
    avl_add(&rt->rt_root, rs);
    if (rt->rt_sized)
        avl_add(&rt->rt_by_size, rs);
    rt->rt_space += end - start;
}

static void
seg_remove(range_tree_t *rt, range_seg_t *rs)
{
    avl_remove(&rt->rt_root, rs);
    if (rt->rt_sized)
        avl_remove(&rt->rt_by_size, rs);
    ASSERT3U(rt->rt_space, >=, rs->rs_end - rs->rs_start);
    rt->rt_space -= rs->rs_end - rs->rs_start;
    free(rs);
}

/* Change a run's bounds in place. Its position among the others must not change. */
static void
seg_resize(range_tree_t *rt, range_seg_t *rs, uint64_t start, uint64_t end)
{
    if (rt->rt_sized)
        avl_remove(&rt->rt_by_size, rs);
    rt->rt_space -= rs->rs_end - rs->rs_start;
    rs->rs_start = start;
    rs->rs_end = end;
    rt->rt_space += end - start;
    if (rt->rt_sized)
        avl_add(&rt->rt_by_size, rs);
}

/* The first run that ends after start, or NULL. */
static range_seg_t *
seg_at_or_after(range_tree_t *rt, uint64_t start)
{
    range_seg_t key = {.rs_start = start, .rs_end = start + 1};
    avl_index_t where;
    range_seg_t *rs = avl_find(&rt->rt_root, &key, &where);

    return rs != NULL ? rs : avl_nearest(&rt->rt_root, where, 1);
}

/* ---- the set ---- */

void
range_tree_add(range_tree_t *rt, uint64_t start, uint64_t size)
{
    uint64_t end = start + size;
    range_seg_t key = {.rs_start = start, .rs_end = end};
    avl_index_t where;

    if (size == 0)
        return;
    VERIFY3U(start, <, end);
    VERIFY(avl_find(&rt->rt_root, &key, &where) == NULL);
    range_seg_t *before = avl_nearest(&rt->rt_root, where, 0);
    range_seg_t *after = avl_nearest(&rt->rt_root, where, 1);
    bool joins_before = before != NULL && before->rs_end == start;
    bool joins_after = after != NULL && after->rs_start == end;

    if (joins_before && joins_after) {
        uint64_t new_end = after->rs_end;
        seg_remove(rt, after);
        seg_resize(rt, before, before->rs_start, new_end);
    } else if (joins_before) {
        seg_resize(rt, before, before->rs_start, end);
    } else if (joins_after) {
        seg_resize(rt, after, start, after->rs_end);
    } else {
        seg_insert(rt, start, end);
    }
}

void
range_tree_remove(range_tree_t *rt, uint64_t start, uint64_t size)
{
    uint64_t end = start + size;

    if (size == 0)
        return;
    VERIFY3U(start, <, end);
    range_seg_t *rs = seg_at_or_after(rt, start);
    VERIFY(rs != NULL);
    VERIFY3U(rs->rs_start, <=, start);
    VERIFY3U(rs->rs_end, >=, end);
    uint64_t old_end = rs->rs_end;

    if (rs->rs_start == start && old_end == end) {
        seg_remove(rt, rs);
    } else if (rs->rs_start == start) {
        seg_resize(rt, rs, end, old_end);
    } else {
        seg_resize(rt, rs, rs->rs_start, start);
        if (old_end != end)
            seg_insert(rt, end, old_end);
    }
}

bool
range_tree_contains(range_tree_t *rt, uint64_t start, uint64_t size)
{
    range_seg_t *rs = seg_at_or_after(rt, start);

    return rs != NULL && rs->rs_start <= start && start + size >= start && rs->rs_end >= start + size;
}

bool
range_tree_overlaps(range_tree_t *rt, uint64_t start, uint64_t size)
{
    range_seg_t *rs = size == 0 ? NULL : seg_at_or_after(rt, start);

    return rs != NULL && rs->rs_start < start + size;
}

void
range_tree_set(range_tree_t *rt, uint64_t start, uint64_t size)
{
    uint64_t end = start + size;
    range_seg_t *rs;

    if (size == 0)
        return;
    while ((rs = seg_at_or_after(rt, start)) != NULL && rs->rs_start < end) {
        start = MIN(start, rs->rs_start);
        end = MAX(end, rs->rs_end);
        seg_remove(rt, rs);
    }
    range_tree_add(rt, start, end - start);
}

void
range_tree_clear(range_tree_t *rt, uint64_t start, uint64_t size)
{
    uint64_t end = start + size;
    range_seg_t *rs;

    while (size != 0 && (rs = seg_at_or_after(rt, start)) != NULL && rs->rs_start < end) {
        uint64_t from = MAX(start, rs->rs_start), to = MIN(end, rs->rs_end);
        range_tree_remove(rt, from, to - from);
    }
}

void
range_tree_walk(range_tree_t *rt, void (*fn)(void *arg, uint64_t start, uint64_t size), void *arg)
{
    for (range_seg_t *rs = avl_first(&rt->rt_root); rs != NULL; rs = avl_next(&rt->rt_root, rs))
        fn(arg, rs->rs_start, rs->rs_end - rs->rs_start);
}

void
range_tree_vacate(range_tree_t *rt, void (*fn)(void *arg, uint64_t start, uint64_t size), void *arg)
{
    void *cookie = NULL;
    range_seg_t *rs;

    if (fn != NULL)
        range_tree_walk(rt, fn, arg);
    if (rt->rt_sized)
        while (avl_destroy_nodes(&rt->rt_by_size, &cookie) != NULL)
            continue;
    cookie = NULL;
    while ((rs = avl_destroy_nodes(&rt->rt_root, &cookie)) != NULL)
        free(rs);
    rt->rt_space = 0;
}

bool
range_tree_find_next(range_tree_t *rt, uint64_t start, uint64_t *rs, uint64_t *size)
{
    range_seg_t *seg = seg_at_or_after(rt, start);

    if (seg == NULL)
        return false;
    *rs = seg->rs_start;
    *size = seg->rs_end - seg->rs_start;
    return true;
}

/* The start of the shortest run of at least size bytes. */
bool
range_tree_best_fit(range_tree_t *rt, uint64_t size, uint64_t *start)
{
    range_seg_t key = {.rs_start = 0, .rs_end = size};
    avl_index_t where;

    ASSERT(rt->rt_sized);
    range_seg_t *rs = avl_find(&rt->rt_by_size, &key, &where);
    if (rs == NULL)
        rs = avl_nearest(&rt->rt_by_size, where, 1);
    if (rs == NULL)
        return false;
    *start = rs->rs_start;
    return true;
}

uint64_t
range_tree_max(range_tree_t *rt)
{
    ASSERT(rt->rt_sized);
    range_seg_t *rs = avl_last(&rt->rt_by_size);

    return rs == NULL ? 0 : rs->rs_end - rs->rs_start;
}

uint64_t
range_tree_space(range_tree_t *rt)
{
    return rt->rt_space;
}

uint64_t
range_tree_numsegs(range_tree_t *rt)
{
    return avl_numnodes(&rt->rt_root);
}
