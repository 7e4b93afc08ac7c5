/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * traverse.c - every block of an object set that was born after a given txg, without reading what is older.
 *
 *   root (objset block) -> meta dnode -> indirect blocks -> block of dnodes -> each dnode -> indirect blocks -> data
 *                                             |                                    birth 7
 *                          since 8:           x birth <= 8: nothing below can be newer: not read
 *
 * A block pointer is rewritten whenever anything below it is, so its birth bounds all births below. Hence the cost is that of
 * what changed: k changed blocks under trees of height h cost at most k*h reads. Send, diff, destroy and scrub stand on this.
 *
 * THE ORDER, and what resume means in it. Objects ascend; an object's blocks ascend by their first level-0 block, outer before inner;
 * its spill block comes last:
 *
 *     (o, dnode call) < (o, level 2 blk 0) < (o, level 1 blk 0) < (o, 0, 0) < (o, 0, 1) ... < (o, spill) < (o+1, dnode call)
 *
 * Blocks of dnodes (object 0) stand before the first object in them. The accounting objects have the highest numbers, so
 * they come last. resume skips all calls that stand before the bookmark. (A post call stands after all that is below. One that
 * was interrupted there goes on with TRAVERSE_RESUME_POST: what is below the bookmark's block was seen.)
 *
 * INVARIANTS
 *  1. Levels go down by one at each step and must agree with the pointer's own: no damaged pool makes an endless descent.
 *  2. A block is read only if its birth is after since, and, when it is a tree's, at most once.
 *
 * HOLES stand for the span they would cover; one is reported when its parent is new, as nobody knows since when it is there
 * (with feature hole_birth a hole's birth tells: old ones are passed over).  ZFS: dmu_traverse.c
 */
#include "dmu_impl.h"

#define PREFETCH_WINDOW 16 /* pointers of one array looked ahead */

typedef struct trav {
    spa_t *tv_spa;
    uint64_t tv_objset;
    uint64_t tv_since;
    uint64_t tv_start; /* spa_committed_txg() when the root was handed in */
    int tv_flags;
    traverse_cb_t tv_cb;
    void *tv_arg;
    traverse_stats_t *tv_stats;
    bool tv_resuming; /* not yet at tv_resume */
    zbookmark_t tv_resume;
} trav_t;

static uint32_t
ptr_shift(const dnode_phys_t *dnp) /* log2 of the pointers in an indirect block */
{
    return dnp->dn_indblkshift - SPA_BLKPTRSHIFT;
}

static const blkptr_t *
root_ptr(const dnode_phys_t *dnp, uint64_t i)
{
    const blkptr_t *bps = dnp->dn_blkptr;
    return bps + i;
}

/* The first level-0 block below (level, blkid), saturating. */
static uint64_t
first_block(const dnode_phys_t *dnp, int64_t level, uint64_t blkid)
{
    uint64_t shift = (uint64_t)level * ptr_shift(dnp);
    if (blkid == 0)
        return 0;
    return shift >= 64 || blkid > UINT64_MAX >> shift ? UINT64_MAX : blkid << shift;
}

static uint64_t
last_block(const dnode_phys_t *dnp, int64_t level, uint64_t blkid)
{
    uint64_t next = first_block(dnp, level, blkid + 1);
    return next == UINT64_MAX ? next : next - 1;
}

/* ---- resuming ---- */

typedef enum place {
    BEFORE, /* the whole subtree lies before the bookmark: skip it */
    AROUND, /* the bookmark is inside: go down, but the block itself was seen */
    AT      /* the bookmark or something after it: from here on everything */
} place_t;

static place_t
arrived(trav_t *tv)
{
    tv->tv_resuming = false;
    return AT;
}

/* A span [first, last] at level against the position at of level rlevel. */
static place_t
compare_span(trav_t *tv, uint64_t first, uint64_t last, int64_t level, uint64_t at, int64_t rlevel)
{
    if (last < at)
        return BEFORE;
    if (first > at || (first == at && level <= rlevel))
        return arrived(tv);
    return AROUND;
}

static uint64_t
objects_at(const dnode_phys_t *meta, uint64_t first)
{
    uint64_t per_block = ((uint64_t)meta->dn_datablkszsec << SPA_MINBLOCKSHIFT) >> DNODE_SHIFT;
    return first > UINT64_MAX / per_block ? UINT64_MAX : first * per_block;
}

/* A block of the meta dnode, by the objects below it. */
static place_t
place_meta(trav_t *tv, const dnode_phys_t *dnp, int64_t level, uint64_t blkid)
{
    const zbookmark_t *r = &tv->tv_resume;
    uint64_t first = objects_at(dnp, first_block(dnp, level, blkid));
    uint64_t last = objects_at(dnp, last_block(dnp, level, blkid) + 1) - 1;
    if (r->zb_object != DMU_META_DNODE_OBJECT)
        return compare_span(tv, first, last, 1, r->zb_object, 0);
    return compare_span(tv, first, last, level, objects_at(dnp, first_block(dnp, r->zb_level, r->zb_blkid)),
                        r->zb_level);
}

static place_t
place_of(trav_t *tv, const dnode_phys_t *dnp, const zbookmark_t *zb)
{
    const zbookmark_t *r = &tv->tv_resume;
    if (!tv->tv_resuming)
        return AT;
    if (zb->zb_object == DMU_META_DNODE_OBJECT)
        return place_meta(tv, dnp, zb->zb_level, zb->zb_blkid);
    if (zb->zb_object != r->zb_object)
        return zb->zb_object < r->zb_object ? BEFORE : arrived(tv);
    if (r->zb_level < 0 || zb->zb_blkid == DMU_SPILL_BLKID)
        return arrived(tv);
    if (r->zb_blkid == DMU_SPILL_BLKID)
        return BEFORE;
    return compare_span(tv, first_block(dnp, zb->zb_level, zb->zb_blkid),
                        last_block(dnp, zb->zb_level, zb->zb_blkid), zb->zb_level,
                        first_block(dnp, r->zb_level, r->zb_blkid), r->zb_level);
}

/* A dnode's own call, or a run of n free slots. */
static place_t
place_dnode(trav_t *tv, uint64_t object, uint64_t n)
{
    const zbookmark_t *r = &tv->tv_resume;
    if (!tv->tv_resuming)
        return AT;
    if (object + n - 1 < r->zb_object)
        return BEFORE;
    return object <= r->zb_object && r->zb_level >= 0 && r->zb_object != 0 ? AROUND : arrived(tv);
}

/* The very block whose post call is the next to be made. */
static bool
is_resume_post(const trav_t *tv, const zbookmark_t *zb)
{
    const zbookmark_t *r = &tv->tv_resume;
    return tv->tv_resuming && (tv->tv_flags & TRAVERSE_RESUME_POST) && zb->zb_object == r->zb_object &&
           zb->zb_level == r->zb_level && zb->zb_blkid == r->zb_blkid;
}

/* ---- reading ---- */

static dmu_byteswap_t
contents_of(const blkptr_t *bp)
{
    return BP_GET_LEVEL(bp) > 0 ? DMU_BSWAP_UINT64 : dmu_ot_byteswap(BP_GET_TYPE(bp));
}

/* A metadata block in our byte order. */
static int
read_block(trav_t *tv, const blkptr_t *bp, const zbookmark_t *zb, arc_buf_t **bufp)
{
    int err = arc_read_since(tv->tv_spa, bp, zb, 0, tv->tv_start, bufp);
    if (err != 0)
        return err;
    tv->tv_stats->ts_read++;
    tv->tv_stats->ts_read_bytes += (*bufp)->b_size;
    if (BP_IS_LITTLE(bp))
        return 0;
    arc_buf_t *copy = arc_buf_alloc((*bufp)->b_size);
    memcpy(copy->b_data, (*bufp)->b_data, (*bufp)->b_size);
    arc_buf_rele(*bufp);
    *bufp = copy;
    dmu_byteswap(contents_of(bp), copy->b_data, copy->b_size);
    return 0;
}

static bool
is_new(const trav_t *tv, const blkptr_t *bp)
{
    if (BP_IS_HOLE(bp) && bp->blk_birth == 0)
        return true;
    return bp->blk_birth > tv->tv_since;
}

static void
prefetch_one(trav_t *tv, const blkptr_t *bp, const zbookmark_t *zb)
{
    uint64_t now = spa_committed_txg(tv->tv_spa); /* less one: a scrub's root may be two txgs old */

    if (BP_IS_HOLE(bp) || BP_IS_EMBEDDED(bp) || bp->blk_birth <= tv->tv_since)
        return;
    if (zb->zb_level > 0 || zb->zb_object == DMU_META_DNODE_OBJECT || (tv->tv_flags & TRAVERSE_PREFETCH))
        arc_prefetch_since(tv->tv_spa, bp, zb, MAX(tv->tv_start, now - MIN(now, 1)));
}

/* Pointers i .. i+WINDOW of an array; *done: how far we are. */
static void
prefetch_array(trav_t *tv, const blkptr_t *bps, uint64_t n, uint64_t i, const zbookmark_t *first,
               uint64_t *done)
{
    if (tv->tv_resuming)
        return;
    for (*done = MAX(*done, i + 1); *done < n && *done <= i + PREFETCH_WINDOW; (*done)++) {
        zbookmark_t zb = *first;
        zb.zb_blkid += *done;
        prefetch_one(tv, &bps[*done], &zb);
    }
}

/* The first pointers of a dnode whose turn will come soon. */
static void
prefetch_dnode(trav_t *tv, const dnode_phys_t *dnp, uint64_t object)
{
    if (dnp->dn_type == DMU_OT_NONE || dnp->dn_nlevels < 1 || dnp->dn_nblkptr < 1 || dnp->dn_nblkptr > 3 ||
        tv->tv_resuming)
        return;
    for (uint64_t i = 0; i < dnp->dn_nblkptr; i++) {
        zbookmark_t zb = {tv->tv_objset, object, dnp->dn_nlevels - 1, i};
        prefetch_one(tv, root_ptr(dnp, i), &zb);
    }
}

/* ---- the walk ---- */

static int
call(trav_t *tv, const zbookmark_t *zb, const blkptr_t *bp, const dnode_phys_t *dnp, int err, bool post)
{
    traverse_block_t tb = {*zb, bp, dnp, err, post};
    return tv->tv_cb(tv->tv_arg, &tb);
}

static int visit_bp(trav_t *tv, const blkptr_t *bp, const dnode_phys_t *dnp, const zbookmark_t *zb);
static int visit_dnodes(trav_t *tv, const blkptr_t *bp, const arc_buf_t *buf, uint64_t first);

static int
visit_indirect(trav_t *tv, const arc_buf_t *buf, const dnode_phys_t *dnp, const zbookmark_t *zb)
{
    const blkptr_t *bps = buf->b_data;
    uint64_t n = 1ULL << ptr_shift(dnp), done = 0;
    zbookmark_t first = {zb->zb_objset, zb->zb_object, zb->zb_level - 1, zb->zb_blkid << ptr_shift(dnp)};
    int err = 0;
    for (uint64_t i = 0; i < n && err == 0; i++) {
        zbookmark_t child = first;
        child.zb_blkid += i;
        prefetch_array(tv, bps, n, i, &first, &done);
        err = visit_bp(tv, &bps[i], dnp, &child);
    }
    return err;
}

static int
visit_below(trav_t *tv, const blkptr_t *bp, const arc_buf_t *buf, const dnode_phys_t *dnp,
            const zbookmark_t *zb)
{
    if (zb->zb_level > 0)
        return visit_indirect(tv, buf, dnp, zb);
    uint64_t per_block = buf->b_size >> DNODE_SHIFT;
    return visit_dnodes(tv, bp, buf, zb->zb_blkid * per_block);
}

/* Must we read the block to go on? */
static bool
has_below(const dnode_phys_t *dnp, const zbookmark_t *zb)
{
    return zb->zb_level > 0 || (zb->zb_object == DMU_META_DNODE_OBJECT && zb->zb_blkid != DMU_SPILL_BLKID &&
                                dnp->dn_type == DMU_OT_DNODE);
}

static int
read_below(trav_t *tv, const blkptr_t *bp, const dnode_phys_t *dnp, const zbookmark_t *zb, arc_buf_t **bufp)
{
    uint64_t size =
        zb->zb_level > 0 ? 1ULL << dnp->dn_indblkshift : (uint64_t)dnp->dn_datablkszsec << SPA_MINBLOCKSHIFT;
    if (BP_GET_LEVEL(bp) != zb->zb_level || BP_GET_LSIZE(bp) != size)
        return SET_ERROR(EIO);
    return read_block(tv, bp, zb, bufp);
}

/* A block that is there and new: what is below is read first, so that the one call can say when it is unreadable.
 * seen: its own call was made; seen_below: those of all below it. */
static int
visit_block(trav_t *tv, const blkptr_t *bp, const dnode_phys_t *dnp, const zbookmark_t *zb, bool seen,
            bool seen_below)
{
    arc_buf_t *buf = NULL;
    int bad = 0, err = 0;
    if (has_below(dnp, zb) && !seen_below)
        bad = read_below(tv, bp, dnp, zb, &buf);
    if (bad != 0 && !(tv->tv_flags & TRAVERSE_HARD))
        return bad;
    if (!seen && (tv->tv_flags & TRAVERSE_PRE))
        err = call(tv, zb, bp, dnp, bad, false);
    if (err == 0 && buf != NULL)
        err = visit_below(tv, bp, buf, dnp, zb);
    arc_buf_rele(buf);
    if (err == TRAVERSE_SKIP_BELOW)
        err = 0;
    if (err == 0 && (tv->tv_flags & TRAVERSE_POST))
        err = call(tv, zb, bp, dnp, bad, true);
    return err;
}

static int
visit_bp(trav_t *tv, const blkptr_t *bp, const dnode_phys_t *dnp, const zbookmark_t *zb)
{
    bool hole = BP_IS_HOLE(bp);
    if (!is_new(tv, bp))
        return 0;
    if (hole && zb->zb_blkid != DMU_SPILL_BLKID &&
        first_block(dnp, zb->zb_level, zb->zb_blkid) > dnp->dn_maxblkid)
        return 0;
    bool there = is_resume_post(tv, zb);
    place_t place = place_of(tv, dnp, zb);
    if (place == BEFORE)
        return 0;
    tv->tv_stats->ts_visited++;
    if (!hole)
        return visit_block(tv, bp, dnp, zb, place == AROUND, there);
    int err = place == AROUND ? 0 : call(tv, zb, bp, dnp, 0, !(tv->tv_flags & TRAVERSE_PRE));
    return err == TRAVERSE_SKIP_BELOW ? 0 : err;
}

/* All blocks of a validated dnode. */
static int
visit_dnode_blocks(trav_t *tv, const dnode_phys_t *dnp, uint64_t object)
{
    zbookmark_t first = {tv->tv_objset, object, dnp->dn_nlevels - 1, 0};
    int err = 0;
    for (uint64_t i = 0; i < dnp->dn_nblkptr && err == 0; i++) {
        zbookmark_t zb = first;
        zb.zb_blkid = i;
        err = visit_bp(tv, root_ptr(dnp, i), dnp, &zb);
    }
    if (err == 0 && (dnp->dn_flags & DNODE_FLAG_SPILL_BLKPTR)) {
        zbookmark_t zb = {tv->tv_objset, object, 0, DMU_SPILL_BLKID};
        err = visit_bp(tv, dnode_phys_spill(dnp), dnp, &zb);
    }
    return err;
}

/* bp: of the block the dnode stands in. room: bytes from the dnode to that block's end. */
static int
visit_dnode(trav_t *tv, const blkptr_t *bp, const dnode_phys_t *dnp, size_t room, uint64_t object)
{
    zbookmark_t zb = {tv->tv_objset, object, ZB_DNODE_LEVEL, 0};
    place_t place = place_dnode(tv, object, 1);
    if (place == BEFORE)
        return 0;
    int bad = dnode_phys_validate(dnp, room);
    if (bad != 0 && !(tv->tv_flags & TRAVERSE_HARD))
        return bad;
    int err = place == AROUND ? 0 : call(tv, &zb, bp, dnp, bad, false);
    if (err == 0 && bad == 0)
        err = visit_dnode_blocks(tv, dnp, object);
    return err == TRAVERSE_SKIP_BELOW ? 0 : err;
}

static int
visit_free_run(trav_t *tv, const blkptr_t *bp, const dnode_phys_t *dnp, uint64_t object, uint64_t n)
{
    zbookmark_t zb = {tv->tv_objset, object, ZB_DNODE_LEVEL, n};
    if (place_dnode(tv, object, n) == BEFORE)
        return 0;
    int err = call(tv, &zb, bp, dnp, 0, false);
    return err == TRAVERSE_SKIP_BELOW ? 0 : err;
}

/* Slots from i on that belong together: a dnode's (1 when it is damaged), or a run of free ones. */
static uint64_t
slot_run(const dnode_phys_t *dn, uint64_t i, uint64_t n)
{
    uint64_t end = i + 1;
    if (dn[i].dn_type != DMU_OT_NONE)
        return dnode_phys_validate(&dn[i], (n - i) << DNODE_SHIFT) == 0 ? dn[i].dn_extra_slots + 1ULL : 1;
    while (end < n && dn[end].dn_type == DMU_OT_NONE)
        end++;
    return end - i;
}

static int
visit_dnodes(trav_t *tv, const blkptr_t *bp, const arc_buf_t *buf, uint64_t first)
{
    const dnode_phys_t *dn = buf->b_data;
    uint64_t n = buf->b_size >> DNODE_SHIFT, ahead = 0, run;
    int err = 0;
    for (uint64_t i = 0; i < n && err == 0; i += run) {
        run = slot_run(dn, i, n);
        for (ahead = MAX(ahead, i + run); ahead < n && ahead < i + PREFETCH_WINDOW;
             ahead += slot_run(dn, ahead, n))
            prefetch_dnode(tv, &dn[ahead], first + ahead);
        if (dn[i].dn_type != DMU_OT_NONE)
            err = visit_dnode(tv, bp, &dn[i], (n - i) << DNODE_SHIFT, first + i);
        else if (first + i != 0 || run > 1) /* there is no object 0 */
            err = first + i != 0 ? visit_free_run(tv, bp, &dn[i], first + i, run)
                                 : visit_free_run(tv, bp, &dn[1], 1, run - 1);
    }
    return err;
}

/* ---- the object set ---- */

static int
visit_special(trav_t *tv, const blkptr_t *rootbp, const dnode_phys_t *dnp, uint64_t object)
{
    if (dnp->dn_type == DMU_OT_NONE)
        return 0;
    return visit_dnode(tv, rootbp, dnp, DNODE_MIN_SIZE, object);
}

/* Each in a copy of its own: the objset's dnodes are 512 bytes, whatever they say. */
static int
visit_objset(trav_t *tv, const blkptr_t *rootbp, const arc_buf_t *buf)
{
    static const uint64_t special[] = {DMU_PROJECTUSED_OBJECT, DMU_GROUPUSED_OBJECT, DMU_USERUSED_OBJECT};
    const uint8_t *p = buf->b_data;
    int err = dnode_phys_validate((const dnode_phys_t *)p, DNODE_MIN_SIZE);
    if (err == 0)
        err = ((const dnode_phys_t *)p)->dn_type == DMU_OT_DNODE ? 0 : SET_ERROR(EIO);
    if (err == 0)
        err = visit_dnode_blocks(tv, (const dnode_phys_t *)p, DMU_META_DNODE_OBJECT);
    for (size_t i = 0; i < ARRAY_SIZE(special) && err == 0; i++) {
        size_t at = OBJSET_PHYS_SIZE_V1 + (2 - i) * DNODE_MIN_SIZE;
        if (buf->b_size >= (at < OBJSET_PHYS_SIZE_V2 ? OBJSET_PHYS_SIZE_V2 : OBJSET_PHYS_SIZE_V3))
            err = visit_special(tv, rootbp, (const dnode_phys_t *)(p + at), special[i]);
    }
    return err;
}

static int
read_root(trav_t *tv, const blkptr_t *rootbp, const zbookmark_t *zb, arc_buf_t **bufp)
{
    if (BP_GET_LEVEL(rootbp) != 0 || BP_GET_LSIZE(rootbp) < OBJSET_PHYS_SIZE_V1)
        return SET_ERROR(EIO);
    return read_block(tv, rootbp, zb, bufp);
}

static int
visit_root(trav_t *tv, const blkptr_t *rootbp)
{
    zbookmark_t zb = {tv->tv_objset, 0, ZB_ROOT_LEVEL, 0};
    arc_buf_t *buf = NULL;
    int err = 0, bad = is_resume_post(tv, &zb) ? 0 : read_root(tv, rootbp, &zb, &buf);
    tv->tv_stats->ts_visited++;
    if (bad != 0 && !(tv->tv_flags & TRAVERSE_HARD))
        return bad;
    if ((tv->tv_flags & TRAVERSE_PRE) && !tv->tv_resuming)
        err = call(tv, &zb, rootbp, NULL, bad, false);
    if (err == 0 && buf != NULL)
        err = visit_objset(tv, rootbp, buf);
    arc_buf_rele(buf);
    if (err == TRAVERSE_SKIP_BELOW)
        err = 0;
    if (err == 0 && (tv->tv_flags & TRAVERSE_POST))
        err = call(tv, &zb, rootbp, NULL, bad, true);
    return err;
}

int
traverse_objset(spa_t *spa, const blkptr_t *rootbp, uint64_t dsobj, uint64_t since, int flags,
                const zbookmark_t *resume, traverse_cb_t cb, void *arg, traverse_stats_t *stats)
{
    traverse_stats_t unused;
    trav_t tv = {.tv_spa = spa,
                 .tv_objset = dsobj,
                 .tv_since = since,
                 .tv_start = spa_committed_txg(spa),
                 .tv_flags = flags,
                 .tv_cb = cb,
                 .tv_arg = arg,
                 .tv_stats = stats != NULL ? stats : &unused};
    memset(tv.tv_stats, 0, sizeof(*tv.tv_stats));
    if (!(flags & (TRAVERSE_PRE | TRAVERSE_POST)))
        return SET_ERROR(EINVAL);
    if (resume != NULL && (resume->zb_level != ZB_ROOT_LEVEL || (flags & TRAVERSE_RESUME_POST))) {
        tv.tv_resume = *resume;
        tv.tv_resuming = true;
    }
    if (BP_IS_HOLE(rootbp) || rootbp->blk_birth <= since)
        return 0;
    return visit_root(&tv, rootbp);
}
