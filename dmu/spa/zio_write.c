/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zio_write.c - the write pipeline: plain buffers become placed, checksummed, queued blocks.
 *
 *   batch --window--> 1 shape   (all cores)    zero? -> hole; compress; tiny? -> embedded; pad; checksum (packed: the last two)
 *                     2 place   (array order)  in place, or allocate, or gang; fill the pointer
 *                     3 queue   (array order)  zio_queue.c writes behind
 *
 * A window is as much of the batch as is shaped at once; it bounds memory, whatever the batch's length.
 *
 * What is stored:
 *   - Compressed only if that saves an eighth at least, and after rounding up to 2^ashift still something.
 *   - What comes packed: its bytes. Nobody looks whether they are what they say (they may come from a stream).
 *   - Embedded if the compressed bytes fit the pointer (112) and the caller allows it.
 *   - Rewritten in place if the old pointer was born in this very txg: nothing committed reaches it. A shorter result is
 *     padded to the old size. Otherwise rewriting the space maps' own blocks would change the space maps, for ever;
 *     compression stops in pass 5 so that sizes stop changing as well.
 *
 * Invariants:
 *   1. Phase 2 and 3 are in array order on one thread, so the same batch gives the same layout.
 *   2. The checksum covers exactly the psize bytes that a reader will read, padding included.
 *   3. The buffer that is queued is never written again: it is a copy, or it is shared, which arc_buf_writable() tells.
 *
 * ZFS: module/zfs/zio.c (ZIO_WRITE pipeline)
 */
#include "spa_impl.h"

#define WINDOW_BLOCKS      4096
#define WINDOW_BYTES       (32ULL << 20)
#define PASS_DONT_COMPRESS 5

struct zio_write_priv {
    arc_buf_t *wp_phys; /* what goes to disk; one reference */
    uint64_t wp_psize;
    enum zio_compress wp_compress;
    bool wp_hole, wp_embedded;
    uint8_t wp_payload[BPE_PAYLOAD_SIZE];
    zio_cksum_t wp_cksum;
    int wp_err;
};

typedef struct batch {
    spa_t *b_spa;
    uint64_t b_txg;
    int b_pass;
    zio_write_t *b_w;
} batch_t;

/* ---- phase 1: shape ---- */

/* May the result stay where the old pointer points to, if it has at most that pointer's size? */
static bool
may_rewrite(const batch_t *b, const zio_write_t *w)
{
    const blkptr_t *bp = &w->zw_bp;

    return bp->blk_birth == b->b_txg && !BP_IS_HOLE(bp) && !BP_IS_EMBEDDED(bp) &&
           bp_get_ndvas(bp) == w->zw_prop.zp_copies && BP_GET_LSIZE(bp) == w->zw_buf->b_size;
}

/* Returns the compressed bytes in *out, or 0 when the block is to be stored as it is. */
static size_t
shape_compress(const batch_t *b, const zio_write_t *w, uint8_t **out)
{
    size_t lsize = w->zw_buf->b_size, cap = lsize - lsize / 8;

    if (w->zw_prop.zp_compress == ZIO_COMPRESS_OFF || b->b_pass >= PASS_DONT_COMPRESS)
        return 0;
    *out = zio_scratch(SCRATCH_COMPRESS, lsize);
    return zio_compress_data(w->zw_prop.zp_compress, w->zw_prop.zp_complevel, w->zw_buf->b_data, *out, lsize,
                             cap);
}

static void
shape_plain(const zio_write_t *w, struct zio_write_priv *wp)
{
    wp->wp_compress = ZIO_COMPRESS_OFF;
    wp->wp_psize = w->zw_buf->b_size;
    wp->wp_phys = arc_buf_hold(w->zw_buf);
}

/* Store len compressed bytes in psize. */
static void
shape_padded(struct zio_write_priv *wp, enum zio_compress c, const void *data, size_t len, uint64_t psize)
{
    wp->wp_compress = c;
    wp->wp_psize = psize;
    wp->wp_phys = arc_buf_alloc((uint32_t)psize);
    memcpy(wp->wp_phys->b_data, data, len);
    memset((uint8_t *)wp->wp_phys->b_data + len, 0, psize - len);
}

/* The size on disk of len compressed bytes. */
static uint64_t
stored_size(spa_t *spa, size_t len)
{
    return zio_asize(spa, P2ROUNDUP((uint64_t)len, SPA_MINBLOCKSIZE));
}

static void
shape_checksum(const batch_t *b, struct zio_write_priv *wp)
{
    wp->wp_err =
        zio_checksum_compute(b->b_spa->spa_checksum_, wp->wp_phys->b_data, wp->wp_psize, &wp->wp_cksum);
}

static void
shape_stored(const batch_t *b, const zio_write_t *w, struct zio_write_priv *wp, const uint8_t *data,
             size_t len)
{
    uint64_t lsize = w->zw_buf->b_size, old = BP_GET_PSIZE(&w->zw_bp);
    uint64_t psize = len == 0 ? lsize : stored_size(b->b_spa, len);

    if (may_rewrite(b, w) && psize < old)
        psize = old;
    if (psize >= lsize)
        shape_plain(w, wp);
    else
        shape_padded(wp, w->zw_prop.zp_compress, data, len, psize);
    shape_checksum(b, wp);
}

bool
zio_may_store_packed(spa_t *spa, const arc_buf_t *buf)
{
    return stored_size(spa, buf->b_packed->b_size) < buf->b_size;
}

/* In place of a plain block it does not go: its size is what tells a reader that it is compressed. */
static void
shape_packed(const batch_t *b, const zio_write_t *w, struct zio_write_priv *wp)
{
    arc_buf_t *bytes = w->zw_buf->b_packed;
    uint64_t psize = stored_size(b->b_spa, bytes->b_size), old = BP_GET_PSIZE(&w->zw_bp);

    if (may_rewrite(b, w) && psize < old && old < w->zw_buf->b_size)
        psize = old;
    if (psize != bytes->b_size) {
        shape_padded(wp, w->zw_buf->b_compress, bytes->b_data, bytes->b_size, psize);
    } else {
        wp->wp_compress = w->zw_buf->b_compress;
        wp->wp_psize = psize;
        wp->wp_phys = arc_buf_hold(bytes);
    }
    shape_checksum(b, wp);
}

static void
shape(void *arg, uint64_t i)
{
    const batch_t *b = arg;
    const zio_write_t *w = &b->b_w[i];
    struct zio_write_priv *wp = w->zw_priv;
    uint8_t *data = NULL;

    if (w->zw_buf->b_packed != NULL) {
        shape_packed(b, w, wp);
        return;
    }
    if (!w->zw_prop.zp_keep_zero && zio_is_zero(w->zw_buf->b_data, w->zw_buf->b_size)) {
        wp->wp_hole = true;
        return;
    }
    size_t len = shape_compress(b, w, &data);
    if (len != 0 && len <= BPE_PAYLOAD_SIZE && w->zw_prop.zp_may_embed) {
        wp->wp_embedded = true;
        wp->wp_compress = w->zw_prop.zp_compress;
        wp->wp_psize = len;
        memcpy(wp->wp_payload, data, len);
        return;
    }
    shape_stored(b, w, wp, data, len);
}

/* ---- phase 2: place ---- */

static void
fill_bp(const batch_t *b, zio_write_t *w, const struct zio_write_priv *wp)
{
    blkptr_t *bp = &w->zw_bp;

    BP_SET_LSIZE(bp, w->zw_buf->b_size);
    BP_SET_PSIZE(bp, wp->wp_psize);
    BP_SET_COMPRESS(bp, wp->wp_compress);
    BP_SET_CHECKSUM(bp, b->b_spa->spa_checksum_);
    BP_SET_TYPE(bp, w->zw_prop.zp_type);
    BP_SET_LEVEL(bp, w->zw_prop.zp_level);
    BP_SET_LITTLE(bp);
    bp->blk_birth = b->b_txg;
    bp->blk_fill = w->zw_fill;
    bp->blk_cksum = wp->wp_cksum;
}

static void
place_embedded(const batch_t *b, zio_write_t *w, const struct zio_write_priv *wp)
{
    bpe_encode(&w->zw_bp, wp->wp_payload, wp->wp_compress, w->zw_buf->b_size, wp->wp_psize);
    BP_SET_TYPE(&w->zw_bp, w->zw_prop.zp_type);
    BP_SET_LEVEL(&w->zw_bp, w->zw_prop.zp_level);
    w->zw_bp.blk_birth = b->b_txg;
}

static int
queue_copies(spa_t *spa, const blkptr_t *bp, arc_buf_t *phys)
{
    int err = 0;

    for (int d = 0; d < SPA_DVAS_PER_BP && err == 0; d++)
        if (DVA_IS_VALID(&bp->blk_dva[d]))
            err = zio_queue_add(spa->spa_queue, DVA_GET_OFFSET(&bp->blk_dva[d]),
                                DVA_GET_ASIZE(&bp->blk_dva[d]), phys);
    return err;
}

static int
place_new(const batch_t *b, zio_write_t *w, const struct zio_write_priv *wp)
{
    spa_t *spa = b->b_spa;
    int copies = w->zw_prop.zp_copies;

    bp_zero(&w->zw_bp);
    fill_bp(b, w, wp);
    if (metaslab_alloc(spa, zio_asize(spa, wp->wp_psize), copies, w->zw_bp.blk_dva) == 0)
        return queue_copies(spa, &w->zw_bp, wp->wp_phys);
    return zio_gang_write(spa, &w->zw_bp, copies, wp->wp_phys->b_data, wp->wp_psize, 0);
}

static int
place(const batch_t *b, zio_write_t *w, const struct zio_write_priv *wp)
{
    w->zw_inplace = false;
    if (wp->wp_err != 0)
        return wp->wp_err;
    if (wp->wp_hole) {
        bp_zero(&w->zw_bp);
        return 0;
    }
    if (wp->wp_embedded) {
        place_embedded(b, w, wp);
        return 0;
    }
    if (!may_rewrite(b, w) || BP_GET_PSIZE(&w->zw_bp) != wp->wp_psize)
        return place_new(b, w, wp);
    arc_forget(b->b_spa, &w->zw_bp);
    w->zw_inplace = true;
    fill_bp(b, w, wp);
    return BP_IS_GANG(&w->zw_bp) ? zio_gang_rewrite(b->b_spa, &w->zw_bp, wp->wp_phys->b_data, 0)
                                 : queue_copies(b->b_spa, &w->zw_bp, wp->wp_phys);
}

/* ---- windows ---- */

static uint64_t
window_size(const zio_write_t *w, uint64_t n)
{
    uint64_t i = 0, bytes = 0;

    while (i < n && i < WINDOW_BLOCKS && bytes < WINDOW_BYTES)
        bytes += w[i++].zw_buf->b_size;
    return i;
}

static int
window_write(const batch_t *b, uint64_t n)
{
    struct zio_write_priv *wp = xzalloc(n * sizeof(*wp));
    int err = 0;

    for (uint64_t i = 0; i < n; i++)
        b->b_w[i].zw_priv = &wp[i];
    taskq_parallel(b->b_spa->spa_tq, shape, (void *)(uintptr_t)b, n);
    for (uint64_t i = 0; i < n; i++) {
        if (err == 0)
            err = place(b, &b->b_w[i], &wp[i]);
        arc_buf_rele(wp[i].wp_phys);
        b->b_w[i].zw_priv = NULL;
    }
    free(wp);
    return err;
}

int
zio_write(spa_t *spa, uint64_t txg, int pass, zio_write_t *w, uint64_t n)
{
    batch_t b = {.b_spa = spa, .b_txg = txg, .b_pass = pass};
    int err = spa_suspended(spa);

    if (spa->spa_rdonly)
        return SET_ERROR(EROFS);
    for (uint64_t done = 0, window; done < n && err == 0; done += window) {
        window = window_size(w + done, n - done);
        b.b_w = w + done;
        err = window_write(&b, window);
    }
    if (err != 0)
        spa_suspend(spa, err);
    return err;
}
