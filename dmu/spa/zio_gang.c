/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zio_gang.c - a block for which no free run was long enough: up to three smaller blocks and a header.
 *
 *     bp (gang bit, checksum of all the bytes)
 *      `-> header 512 bytes: | bp 0 | bp 1 | bp 2 | zeros | SHA-256 trailer |
 *                                |      |      `-> ...
 *                                |      `-> piece
 *                                `-> piece, or a header again
 *
 * Invariants:
 *   1. A piece is an uncompressed block of its own: own places, own checksum. The pieces in order are the block's
 *      physical bytes.
 *   2. Every copy of the header is the same; its trailer is salted with the place of the first one and the birth txg.
 *   3. The allocated size in DVA n of the gang pointer is the header's plus that of DVA n of all pieces below, so that
 *      bp_get_asize() counts a gang block as what it takes. The header itself takes 512 bytes rounded up to 2^ashift.
 *
 * ZFS: gang functions of module/zfs/zio.c
 */
#include "spa_impl.h"

typedef union gang_header {
    blkptr_t gh_bp[SPA_GBH_NBLKPTRS];
    uint64_t gh_words[SPA_GANGBLOCKSIZE / 8];
} gang_header_t;
_Static_assert(sizeof(gang_header_t) == SPA_GANGBLOCKSIZE, "a gang header is one sector");

uint64_t
zio_asize(spa_t *spa, uint64_t psize)
{
    return P2ROUNDUP(psize, 1ULL << spa->spa_ashift_);
}

static void
gang_verifier(const blkptr_t *bp, uint64_t verifier[4])
{
    verifier[0] = DVA_GET_VDEV(&bp->blk_dva[0]);
    verifier[1] = DVA_GET_OFFSET(&bp->blk_dva[0]);
    verifier[2] = BP_PHYSICAL_BIRTH(bp);
    verifier[3] = 0;
}

static int
gang_verify(const blkptr_t *bp, const void *buf, size_t n)
{
    uint64_t verifier[4];

    gang_verifier(bp, verifier);
    return zio_checksum_embed_verify(buf, n, verifier, NULL);
}

/* Read bp's header, in our byte order. */
static int
header_read(zio_ctx_t *zc, const blkptr_t *bp, gang_header_t *gh)
{
    uint64_t verifier[4];
    bool swapped = false;
    int err = zio_read_copies(zc, bp, gh, sizeof(*gh), gang_verify);

    if (err != 0)
        return err;
    gang_verifier(bp, verifier);
    VERIFY0(zio_checksum_embed_verify(gh, sizeof(*gh), verifier, &swapped));
    for (size_t i = 0; swapped && i < ARRAY_SIZE(gh->gh_words); i++)
        gh->gh_words[i] = __builtin_bswap64(gh->gh_words[i]);
    return 0;
}

/* ---- read ---- */

/* What a piece's pointer must be for its bytes to be those at this place of the whole. */
static int
piece_check(zio_ctx_t *zc, const blkptr_t *bp, uint64_t room)
{
    int err = bp_validate(bp, zc->zc_spa->spa_asize_);

    if (err != 0)
        return err;
    return BP_IS_EMBEDDED(bp) || BP_IS_ENCRYPTED(bp) || BP_GET_COMPRESS(bp) != ZIO_COMPRESS_OFF ||
                   BP_GET_PSIZE(bp) > room
               ? SET_ERROR(EIO)
               : 0;
}

typedef int piece_fn_t(zio_ctx_t *zc, const blkptr_t *bp, uint8_t *buf, int depth);

/* Every piece with its part of buf, in order. */
static int
gang_walk(zio_ctx_t *zc, const blkptr_t *bp, uint8_t *buf, int depth, piece_fn_t *fn)
{
    uint64_t size = BP_GET_PSIZE(bp), pos = 0;
    gang_header_t gh;
    int err;

    if (depth >= GANG_DEPTH_MAX)
        return SET_ERROR(EIO);
    if ((err = header_read(zc, bp, &gh)) != 0)
        return err;
    for (int g = 0; g < SPA_GBH_NBLKPTRS && err == 0; g++) {
        const blkptr_t *piece = &gh.gh_bp[g];
        if (BP_IS_HOLE(piece))
            continue;
        if ((err = piece_check(zc, piece, size - pos)) == 0)
            err = fn(zc, piece, buf + pos, depth + 1);
        pos += BP_GET_PSIZE(piece);
    }
    if (err == 0 && pos != size)
        err = SET_ERROR(EIO);
    return err;
}

static int
piece_read(zio_ctx_t *zc, const blkptr_t *bp, uint8_t *buf, int depth)
{
    return zio_read_phys(zc, bp, buf, depth);
}

int
zio_gang_read(zio_ctx_t *zc, const blkptr_t *bp, void *buf, int depth)
{
    return gang_walk(zc, bp, buf, depth, piece_read);
}

static int
piece_heal(zio_ctx_t *zc, const blkptr_t *bp, uint8_t *buf, int depth)
{
    return zio_heal_phys(zc, bp, buf, depth);
}

int
zio_gang_heal(zio_ctx_t *zc, const blkptr_t *bp, const void *buf, int depth)
{
    return gang_walk(zc, bp, (uint8_t *)(uintptr_t)buf, depth, piece_heal);
}

/* ---- write ---- */

static int
copies_queue(spa_t *spa, const blkptr_t *bp, uint64_t asize, arc_buf_t *buf)
{
    int err = 0;

    for (int d = 0; d < SPA_DVAS_PER_BP && err == 0; d++)
        if (DVA_IS_VALID(&bp->blk_dva[d]))
            err = zio_queue_add(spa->spa_queue, DVA_GET_OFFSET(&bp->blk_dva[d]), asize, buf);
    return err;
}

static int
piece_store(spa_t *spa, const blkptr_t *bp, const uint8_t *buf, uint64_t n)
{
    arc_buf_t *copy = arc_buf_alloc((uint32_t)n);

    memcpy(copy->b_data, buf, n);
    int err = copies_queue(spa, bp, zio_asize(spa, n), copy);
    arc_buf_rele(copy);
    return err;
}

static int
piece_write(spa_t *spa, const blkptr_t *parent, blkptr_t *bp, int copies, const uint8_t *buf, uint64_t n,
            int depth)
{
    bp_zero(bp);
    BP_SET_LSIZE(bp, n);
    BP_SET_PSIZE(bp, n);
    BP_SET_COMPRESS(bp, ZIO_COMPRESS_OFF);
    BP_SET_CHECKSUM(bp, BP_GET_CHECKSUM(parent));
    BP_SET_LITTLE(bp);
    bp->blk_birth = parent->blk_birth;
    VERIFY0(zio_checksum_compute(BP_GET_CHECKSUM(bp), buf, n, &bp->blk_cksum));
    if (metaslab_alloc(spa, zio_asize(spa, n), copies, bp->blk_dva) == 0)
        return piece_store(spa, bp, buf, n);
    if (n <= 1ULL << spa->spa_ashift_)
        return SET_ERROR(ENOSPC);
    return zio_gang_write(spa, bp, copies, buf, n, depth + 1);
}

/* A piece takes its share of what is left, in whole allocation units. */
static uint64_t
piece_size(spa_t *spa, uint64_t left, int pieces_left)
{
    return MIN(left, zio_asize(spa, (left + (uint64_t)pieces_left - 1) / (uint64_t)pieces_left));
}

static int
pieces_write(spa_t *spa, blkptr_t *bp, gang_header_t *gh, int copies, const uint8_t *buf, uint64_t n,
             int depth)
{
    int err = 0;

    for (int g = 0; g < SPA_GBH_NBLKPTRS && n > 0 && err == 0; g++) {
        blkptr_t *piece = &gh->gh_bp[g];
        uint64_t size = piece_size(spa, n, SPA_GBH_NBLKPTRS - g);
        err = piece_write(spa, bp, piece, copies, buf, size, depth);
        buf += size;
        n -= size;
        for (int d = 0; d < copies; d++)
            DVA_SET_ASIZE(&bp->blk_dva[d],
                          DVA_GET_ASIZE(&bp->blk_dva[d]) + DVA_GET_ASIZE(&piece->blk_dva[d]));
    }
    return err;
}

int
zio_gang_write(spa_t *spa, blkptr_t *bp, int copies, const uint8_t *buf, uint64_t n, int depth)
{
    uint64_t asize = zio_asize(spa, SPA_GANGBLOCKSIZE), verifier[4];
    int err;

    if (depth >= GANG_DEPTH_MAX)
        return SET_ERROR(ENOSPC);
    if ((err = metaslab_alloc(spa, asize, copies, bp->blk_dva)) != 0)
        return err;
    arc_buf_t *header = arc_buf_alloc(SPA_GANGBLOCKSIZE);
    memset(header->b_data, 0, SPA_GANGBLOCKSIZE);
    err = pieces_write(spa, bp, header->b_data, copies, buf, n, depth);
    for (int d = 0; d < copies; d++)
        DVA_SET_GANG(&bp->blk_dva[d], 1);
    gang_verifier(bp, verifier);
    zio_checksum_embed_verifier(header->b_data, SPA_GANGBLOCKSIZE, verifier);
    if (err == 0)
        err = copies_queue(spa, bp, asize, header);
    arc_buf_rele(header);
    return err;
}

/*
 * Other bytes of the same number in the same places: the sync passes of a txg converge only when a block that is written again takes
 * no new space. Only of a block born in this txg. ZFS: zio_gang_tree_issue() of a rewrite
 */
int
zio_gang_rewrite(spa_t *spa, const blkptr_t *bp, const uint8_t *buf, int depth)
{
    zio_ctx_t zc = {.zc_spa = spa};
    gang_header_t gh;
    uint64_t verifier[4];
    int err = depth >= GANG_DEPTH_MAX ? SET_ERROR(EIO) : header_read(&zc, bp, &gh);

    for (int g = 0; g < SPA_GBH_NBLKPTRS && err == 0; g++) {
        blkptr_t *piece = &gh.gh_bp[g];
        uint64_t n = BP_GET_PSIZE(piece);
        if (BP_IS_HOLE(piece))
            continue;
        VERIFY0(zio_checksum_compute(BP_GET_CHECKSUM(piece), buf, n, &piece->blk_cksum));
        err = BP_IS_GANG(piece) ? zio_gang_rewrite(spa, piece, buf, depth + 1) : piece_store(spa, piece, buf, n);
        buf += n;
    }
    if (err != 0)
        return err;
    arc_buf_t *header = arc_buf_alloc(SPA_GANGBLOCKSIZE);
    memcpy(header->b_data, &gh, SPA_GANGBLOCKSIZE);
    gang_verifier(bp, verifier);
    zio_checksum_embed_verifier(header->b_data, SPA_GANGBLOCKSIZE, verifier);
    err = copies_queue(spa, bp, zio_asize(spa, SPA_GANGBLOCKSIZE), header);
    arc_buf_rele(header);
    return err;
}

/* ---- free ---- */

static void
dva_free(spa_t *spa, uint64_t off, uint64_t asize)
{
    int err = metaslab_free_range(spa, off, asize);

    if (err == 0)
        return;
    cowbird_log(LOG_CRIT, "pool %s: space at %llx, %llu bytes, is freed but not allocated", spa_name(spa),
                (unsigned long long)off, (unsigned long long)asize);
    spa_suspend(spa, err);
}

static void
block_free(spa_t *spa, const blkptr_t *bp, int depth)
{
    if (BP_IS_HOLE(bp) || BP_IS_EMBEDDED(bp))
        return;
    if (bp_validate(bp, spa->spa_asize_) != 0 || depth > GANG_DEPTH_MAX) {
        spa_suspend(spa, EIO);
        return;
    }
    if (BP_IS_GANG(bp))
        zio_gang_free(spa, bp, depth);
    for (int d = 0; d < SPA_DVAS_PER_BP; d++) {
        const dva_t *dva = &bp->blk_dva[d];
        if (DVA_IS_VALID(dva) && !(d == 2 && BP_IS_ENCRYPTED(bp)))
            dva_free(spa, DVA_GET_OFFSET(dva),
                     BP_IS_GANG(bp) ? zio_asize(spa, SPA_GANGBLOCKSIZE) : DVA_GET_ASIZE(dva));
    }
}

void
zio_gang_free(spa_t *spa, const blkptr_t *bp, int depth)
{
    zio_ctx_t zc = {.zc_spa = spa};
    gang_header_t gh;

    if (header_read(&zc, bp, &gh) != 0) {
        cowbird_log(LOG_ERR, "pool %s: the pieces of a gang block stay allocated: its header cannot be read",
                    spa_name(spa));
        return;
    }
    for (int g = 0; g < SPA_GBH_NBLKPTRS; g++)
        block_free(spa, &gh.gh_bp[g], depth + 1);
}

void
zio_free(spa_t *spa, uint64_t txg, const blkptr_t *bp)
{
    VERIFY3U(txg, >, ATOMIC_LOAD(&spa->spa_committed));
    block_free(spa, bp, 0);
    arc_forget(spa, bp);
}
