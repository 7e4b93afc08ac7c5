/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recv_heal.c - `receive -c`: a stream of a snapshot that is here already gives back those of its blocks that the disk has lost.
 *
 *     WRITE of the stream                             the snapshot's block pointer
 *        payload ── as compressed as the block was ──► checksum equal? ── yes ─► every bad copy is rewritten in its place
 *                                                                       no ──► it is another block: left alone, counted
 *
 * Nothing else changes: no transaction, no pointer, no space. So it is right for whatever shares the block: later snapshots, clones, the head.
 *
 * A block can be given back only as a whole and bit by bit: pieces of a large block (a stream without -L) and blocks whose compressor
 * gives other bytes today are not. Metadata, which has copies, is not looked at. ZFS: do_corrective_recv() in dmu_recv.c.
 */
#include <stdio.h>
#include <syslog.h>

#include "recv_impl.h"

int
recv_heal_begin(dmu_recv_cookie_t *drc, stream_error_t *se)
{
    char name[2 * ZFS_MAX_DATASET_NAME_LEN];
    dsl_dataset_phys_t phys;
    int err;

    snprintf(name, sizeof(name), "%s@%s", drc->drc_tofs, drc->drc_tosnap);
    err = dsl_dataset_hold(drc->drc_dp, name, drc, &drc->drc_ds);
    if (err != 0)
        return stream_fail(se, err, 0, 0, "snapshot '%s': %s", name, cowbird_strerror(err));
    dsl_dataset_long_hold(drc->drc_ds, drc); /* its blocks stay where they are */
    drc->drc_shape = RECV_HEAL;
    dsl_dataset_phys(drc->drc_ds, &phys);
    if (phys.ds_guid != drc->drc_drrb.drr_toguid)
        return stream_fail(se, SET_ERROR(ENODEV), 0, 0, "the stream is not of snapshot '%s'", name);
    return dsl_dataset_objset(drc->drc_ds, &drc->drc_os);
}

void
recv_heal_end(dmu_recv_cookie_t *drc)
{
    if (drc->drc_healed != 0 || drc->drc_unhealed != 0)
        cowbird_log(LOG_NOTICE, "%s@%s: %llu damaged blocks healed, %llu not", drc->drc_tofs, drc->drc_tosnap,
                    (unsigned long long)drc->drc_healed, (unsigned long long)drc->drc_unhealed);
    dsl_dataset_long_rele(drc->drc_ds, drc);
    dsl_dataset_rele(drc->drc_ds, drc);
}

/* ---- the physical bytes ---- */

/* Plain bytes at one compression level. False: they are not the block's. */
static bool
try_level(dmu_recv_cookie_t *drc, const blkptr_t *bp, const zbookmark_t *zb, const void *plain, uint8_t *phys,
          int level, uint64_t *repaired)
{
    size_t n = zio_compress_data(BP_GET_COMPRESS(bp), level, plain, phys, BP_GET_LSIZE(bp), BP_GET_PSIZE(bp));

    if (n == 0)
        return false;
    memset(phys + n, 0, BP_GET_PSIZE(bp) - n);
    return zio_heal(objset_spa(drc->drc_os), bp, phys, zb, repaired) == 0;
}

/* zstd keeps its level inside the block, which is damaged: any may have been. */
static bool
heal_plain(dmu_recv_cookie_t *drc, const blkptr_t *bp, const zbookmark_t *zb, const void *plain,
           uint64_t *repaired)
{
    uint8_t *phys;
    bool done = false;

    if (BP_GET_COMPRESS(bp) == ZIO_COMPRESS_OFF)
        return zio_heal(objset_spa(drc->drc_os), bp, plain, zb, repaired) == 0;
    phys = xmalloc(BP_GET_PSIZE(bp));
    done = try_level(drc, bp, zb, plain, phys, ZIO_ZSTD_LEVEL_DEFAULT, repaired);
    for (int level = 1; level <= ZIO_ZSTD_LEVEL_MAX && !done && BP_GET_COMPRESS(bp) == ZIO_COMPRESS_ZSTD;
         level++)
        done = try_level(drc, bp, zb, plain, phys, level, repaired);
    for (int fast = 0; fast < 10 && !done && BP_GET_COMPRESS(bp) == ZIO_COMPRESS_ZSTD; fast++)
        done = try_level(drc, bp, zb, plain, phys, ZIO_ZSTD_LEVEL_FAST_1 + fast, repaired);
    free(phys);
    return done;
}

/* ---- a record ---- */

/* The block at this place, if it is on disk and none of its copies is good. */
static bool
is_damaged(dmu_recv_cookie_t *drc, uint64_t object, uint64_t off, blkptr_t *bp, zbookmark_t *zb)
{
    if (dmu_block_pointer(drc->drc_os, object, off, bp, zb) != 0 || BP_IS_HOLE(bp) || BP_IS_EMBEDDED(bp))
        return false;
    int err = zio_scrub(objset_spa(drc->drc_os), bp, zb, NULL);
    return err == ECKSUM || err == EIO;
}

static void
count(dmu_recv_cookie_t *drc, const zbookmark_t *zb, bool done)
{
    drc->drc_healed += done;
    drc->drc_unhealed += !done;
    if (!done)
        cowbird_log(LOG_WARNING, "%s@%s: the stream does not give back object %llu block %llu", drc->drc_tofs,
                    drc->drc_tosnap, (unsigned long long)zb->zb_object, (unsigned long long)zb->zb_blkid);
}

static int
heal_write(dmu_recv_cookie_t *drc, const struct drr_write *w, uint8_t *payload)
{
    spa_t *spa = objset_spa(drc->drc_os);
    uint8_t *plain = payload;
    uint64_t repaired;
    zbookmark_t zb;
    blkptr_t bp;
    int err = 0;

    if (!is_damaged(drc, w->drr_object, w->drr_offset, &bp, &zb))
        return 0;
    if (BP_GET_LSIZE(&bp) != w->drr_logical_size || w->drr_offset % w->drr_logical_size != 0) {
        count(drc, &zb, false);
        return 0;
    }
    bool done = w->drr_compressiontype != 0 && w->drr_compressiontype == BP_GET_COMPRESS(&bp) &&
                w->drr_compressed_size == BP_GET_PSIZE(&bp) &&
                zio_heal(spa, &bp, payload, &zb, &repaired) == 0;
    if (!done && w->drr_compressiontype != 0) {
        plain = xmalloc(w->drr_logical_size);
        err = zio_decompress_data(w->drr_compressiontype, payload, w->drr_compressed_size, plain,
                                  w->drr_logical_size);
    }
    if (!done && err == 0) {
        stream_swap_block(&drc->drc_order, w->drr_object, (uint8_t)w->drr_type, plain, w->drr_logical_size);
        done = heal_plain(drc, &bp, &zb, plain, &repaired);
    }
    count(drc, &zb, done);
    if (plain != payload)
        free(plain);
    return 0;
}

int
recv_heal_apply(dmu_recv_cookie_t *drc, stream_rec_t *rec)
{
    if (rec->sr_drr.drr_type == DRR_WRITE)
        return heal_write(drc, &rec->sr_drr.drr_u.drr_write, rec->sr_payload);
    return 0;
}
