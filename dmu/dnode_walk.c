/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dnode_walk.c - from an object's block number to its synced block pointer, and the search for data and holes.
 *
 *    dn_phys        level 2            level 1            level 0
 *   +-------+      +---------+        +---------+
 *   | bp[0] |----->| 0 ..127 |------->| 0 ..127 |-------> block b        at level l, block b lies under index
 *   | bp[1] |      +---------+        +---------+                        b >> (e * l), e = indblkshift - 7
 *   +-------+
 *
 * A walk starts from a copy of the roots (dnode_roots_t) and needs no lock: the tree below a root never changes.
 * But it may vanish: once the next txg is synced its replaced blocks are free, and some txgs later overwritten. A checksum then
 * fails, never are wrong bytes returned. So an error counts only if the roots are still the present ones (dnode_roots_stale()); else
 * the walk is repeated from the new roots.
 *
 * The search (dnode_find_next) uses what each pointer tells of its subtree: a hole has nothing below, a birth at or before `since`
 * nothing new, and a fill count that equals the capacity no room.
 *
 * ZFS: dbuf_findbp() in dbuf.c, dnode_next_offset() in dnode.c
 */
#include <unistd.h>
#include "dmu_impl.h"

uint64_t
bp_fill(const blkptr_t *bp)
{
    if (BP_IS_EMBEDDED(bp))
        return 1;
    return BP_IS_HOLE(bp) ? 0 : bp->blk_fill;
}

int
dnode_levels_for(uint8_t nblkptr, uint8_t indblkshift, uint64_t maxblkid)
{
    unsigned epbs = indblkshift - SPA_BLKPTRSHIFT;

    for (int levels = 1; levels <= DN_MAX_LEVELS; levels++)
        if (shr64(maxblkid, epbs * (unsigned)(levels - 1)) < nblkptr)
            return levels;
    return 0;
}

void
dnode_roots_locked(dnode_t *dn, dnode_roots_t *r)
{
    const dnode_phys_t *dnp = dn->dn_phys;

    memset(r, 0, sizeof(*r));
    r->r_gen = dn->dn_sync_gen;
    r->r_since = spa_committed_txg(dn->dn_objset->os_spa);
    if (dnp->dn_type == DMU_OT_NONE)
        return;
    r->r_type = dnp->dn_type;
    r->r_nlevels = dnp->dn_nlevels;
    r->r_nblkptr = dnp->dn_nblkptr;
    r->r_indblkshift = dnp->dn_indblkshift;
    r->r_maxblkid = dnp->dn_maxblkid;
    memcpy(r->r_bp, (const uint8_t *)dnp + DNODE_CORE_SIZE, (size_t)dnp->dn_nblkptr * sizeof(blkptr_t));
}

void
dnode_roots(dnode_t *dn, dnode_roots_t *r)
{
    mutex_enter(&dn->dn_mtx);
    dnode_roots_locked(dn, r);
    mutex_exit(&dn->dn_mtx);
}

bool
dnode_roots_stale(dnode_t *dn, const dnode_roots_t *r)
{
    bool stale;

    mutex_enter(&dn->dn_mtx);
    stale = dn->dn_sync_gen != r->r_gen;
    mutex_exit(&dn->dn_mtx);
    return stale;
}

#define UNSETTLED_TRIES 200 /* of a millisecond */

/* Was anything below these roots written by a txg that was not committed when they were copied? A later pass of it may be
 * rewriting that in place (blocks of the MOS; zio_write.c). */
static bool
roots_unsettled(const dnode_roots_t *r)
{
    for (int i = 0; i < r->r_nblkptr && i < (int)ARRAY_SIZE(r->r_bp); i++) {
        if (r->r_bp[i].blk_birth > r->r_since)
            return true;
    }
    return false;
}

bool
dnode_walk_again(dnode_t *dn, const dnode_roots_t *r, int *tries)
{
    if (roots_unsettled(r) && (*tries)++ < UNSETTLED_TRIES) {
        usleep(1000);
        return true;
    }
    return dnode_roots_stale(dn, r);
}

int
dmu_block_read(spa_t *spa, const blkptr_t *bp, const zbookmark_t *zb, uint8_t type, uint32_t indsize,
               int flags, arc_buf_t **bufp)
{
    return dmu_block_read_since(spa, bp, zb, type, indsize, flags, spa_committed_txg(spa), bufp);
}

int
dmu_block_read_since(spa_t *spa, const blkptr_t *bp, const zbookmark_t *zb, uint8_t type, uint32_t indsize,
                     int flags, uint64_t since, arc_buf_t **bufp)
{
    bool ind = zb->zb_level > 0;
    arc_buf_t *buf;
    int err;

    if (ind && (BP_IS_EMBEDDED(bp) || BP_GET_LEVEL(bp) != zb->zb_level || BP_GET_LSIZE(bp) != indsize))
        return SET_ERROR(EIO);
    if (!ind && BP_GET_LEVEL(bp) != 0)
        return SET_ERROR(EIO);
    if ((err = arc_read_since(spa, bp, zb, flags, since, &buf)) != 0)
        return err == EINVAL ? SET_ERROR(EIO) : err;
    if (!BP_IS_LITTLE(bp)) {
        buf = arc_buf_own(buf);
        dmu_byteswap(ind ? DMU_BSWAP_UINT64 : dmu_ot_byteswap(type), buf->b_data, buf->b_size);
    }
    *bufp = buf;
    return 0;
}

static int
walk_read(dnode_t *dn, const dnode_roots_t *r, const blkptr_t *bp, int level, uint64_t blkid,
          arc_buf_t **bufp)
{
    zbookmark_t zb = {dn->dn_objset->os_dsobj, dn->dn_object, level, blkid};

    return dmu_block_read_since(dn->dn_objset->os_spa, bp, &zb, r->r_type, 1U << r->r_indblkshift, 0,
                                r->r_since, bufp);
}

int
dnode_walk(dnode_t *dn, const dnode_roots_t *r, uint64_t blkid, blkptr_t *bp)
{
    unsigned epbs = r->r_indblkshift - SPA_BLKPTRSHIFT;
    int level = r->r_nlevels - 1;
    uint64_t idx = level < 0 ? 0 : shr64(blkid, epbs * (unsigned)level);
    arc_buf_t *buf;
    int err;

    bp_zero(bp);
    if (level < 0 || idx >= r->r_nblkptr)
        return 0;
    *bp = r->r_bp[idx];
    for (; level > 0 && !BP_IS_HOLE(bp); level--) {
        if ((err = walk_read(dn, r, bp, level, shr64(blkid, epbs * (unsigned)level), &buf)) != 0)
            return err;
        idx = shr64(blkid, epbs * (unsigned)(level - 1)) & ((1ULL << epbs) - 1);
        *bp = ((const blkptr_t *)buf->b_data)[idx];
        arc_buf_rele(buf);
    }
    return 0;
}

int
dnode_block_pointer(dnode_t *dn, uint64_t blkid, blkptr_t *bp)
{
    dnode_roots_t r;
    int err, tries = 0;

    do {
        dnode_roots(dn, &r);
        err = dnode_walk(dn, &r, blkid, bp);
    } while (err != 0 && dnode_walk_again(dn, &r, &tries));
    return err;
}

int
dnode_read_once(dnode_t *dn, const dnode_roots_t *r, uint64_t blkid, arc_buf_t **bufp)
{
    blkptr_t bp;
    int err = dnode_walk(dn, r, blkid, &bp);

    *bufp = NULL;
    if (err != 0 || BP_IS_HOLE(&bp))
        return err;
    return walk_read(dn, r, &bp, 0, blkid, bufp);
}

int
dnode_read_block(dnode_t *dn, uint64_t blkid, arc_buf_t **bufp)
{
    dnode_roots_t r;
    int err, tries = 0;

    do {
        dnode_roots(dn, &r);
        err = dnode_read_once(dn, &r, blkid, bufp);
    } while (err != 0 && dnode_walk_again(dn, &r, &tries));
    return err;
}

/* ---- search ---- */

typedef struct finder {
    dnode_t *f_dn;
    const dnode_roots_t *f_roots;
    dnode_find_t f_what;
    uint64_t f_since;
    uint64_t f_pos; /* in: where to start; out: what was found */
} finder_t;

/* May anything under this pointer match? */
static bool
find_may_match(const finder_t *f, const blkptr_t *bp, int level)
{
    unsigned epbs = f->f_roots->r_indblkshift - SPA_BLKPTRSHIFT;
    uint64_t capacity =
        shl64_sat(f->f_what == DN_FIND_NOTFULL ? DNODES_PER_BLOCK : 1, epbs * (unsigned)level);

    if (f->f_what == DN_FIND_DATA)
        return !BP_IS_HOLE(bp) && bp->blk_birth > f->f_since;
    return bp_fill(bp) < capacity;
}

static int find_below(finder_t *f, const blkptr_t *bp, int level, uint64_t blkid);

/* In the pointers of an indirect block, or of the dnode: n of them, the first being number `base` of its level. */
static int
find_in(finder_t *f, const blkptr_t *bps, uint64_t n, int level, uint64_t base)
{
    unsigned shift = (unsigned)(f->f_roots->r_indblkshift - SPA_BLKPTRSHIFT) * (unsigned)level;
    uint64_t start = shr64(f->f_pos, shift);
    int err;

    for (uint64_t i = start > base ? start - base : 0; i < n; i++)
        if ((err = find_below(f, &bps[i], level, base + i)) != ESRCH)
            return err;
    return ESRCH;
}

static int
find_below(finder_t *f, const blkptr_t *bp, int level, uint64_t blkid)
{
    unsigned epbs = f->f_roots->r_indblkshift - SPA_BLKPTRSHIFT;
    uint64_t first = shl64_sat(blkid, epbs * (unsigned)level);
    arc_buf_t *buf;
    int err;

    if (first == UINT64_MAX || !find_may_match(f, bp, level))
        return ESRCH;
    if (level == 0 || BP_IS_HOLE(bp)) {
        f->f_pos = MAX(f->f_pos, first);
        return 0;
    }
    if ((err = walk_read(f->f_dn, f->f_roots, bp, level, blkid, &buf)) != 0)
        return err;
    err = find_in(f, buf->b_data, 1ULL << epbs, level - 1, blkid << epbs);
    arc_buf_rele(buf);
    return err;
}

static int
find_once(dnode_t *dn, const dnode_roots_t *r, dnode_find_t what, uint64_t since, uint64_t *blkid)
{
    finder_t f = {dn, r, what, since, *blkid};
    int err = r->r_nlevels == 0 ? ESRCH : find_in(&f, r->r_bp, r->r_nblkptr, r->r_nlevels - 1, 0);

    if (err == 0)
        *blkid = f.f_pos;
    return err;
}

int
dnode_find_next(dnode_t *dn, dnode_find_t what, uint64_t since, uint64_t *blkid)
{
    dnode_roots_t r;
    int err;

    do {
        dnode_roots(dn, &r);
        err = find_once(dn, &r, what, since, blkid);
    } while (err != 0 && err != ESRCH && dnode_roots_stale(dn, &r));
    return err == ESRCH ? SET_ERROR(ESRCH) : err;
}
