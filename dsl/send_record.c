/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * send_record.c - from blocks and dnodes, as a traversal meets them, to the records of a stream.
 *
 *   dnode          OBJECT, FREE from its end on, (SPILL, when old receivers would lose an unchanged one)
 *   free slots     FREEOBJECTS             a hole in the dnodes themselves: likewise, with the whole span
 *   level 0        WRITE, or SPILL         (embedded blocks are unpacked, unless the caller may send them as they are)
 *   hole           FREE of the span it stands for
 *
 * INVARIANTS
 *  1. Records go out in the order of the traversal: objects ascend; within one the OBJECT comes first, then offsets ascend, a
 *     changed spill block last. A receiver needs no memory of earlier objects.
 *  2. Neighbouring FREEs, and neighbouring FREEOBJECTS, become one: a pool without hole_birth reports every hole below a
 *     changed indirect block again.
 *  3. Everything that does not exist is told (FREERECORDS): so the stream is also right for a receiver that has
 *     something else at these places.
 *
 * Runs on the traversing thread. ZFS: do_dump(), dump_dnode(), dump_write() and friends in dmu_send.c.
 */
#include "send_impl.h"

void
send_item_free(send_item_t *it)
{
    if (__atomic_exchange_n(&it->it_shared, false, __ATOMIC_ACQ_REL))
        return; /* the other one will */
    arc_buf_rele(it->it_buf);
    free(it->it_bytes);
    free(it);
}

uint64_t
send_piece(const send_t *snd, uint64_t off, uint64_t len)
{
    if (snd->snd_features & DMU_BACKUP_FEATURE_LARGE_BLOCKS)
        return len - off;
    return MIN(len - off, SPA_OLD_MAXBLOCKSIZE);
}

/* ---- items ---- */

static send_item_t *
item_new(send_t *snd, uint32_t type)
{
    send_item_t *it = xzalloc(sizeof(*it));

    it->it_send = snd;
    it->it_drr.drr_type = type;
    return it;
}

/* The block, in host order. */
void
send_item_fetch(send_item_t *it)
{
    send_t *snd = it->it_send;
    int err;

    if (__atomic_exchange_n(&it->it_begun, true, __ATOMIC_ACQ_REL))
        return;
    if (it->it_bytes != NULL) { /* compressed, room for the physical bytes */
        err = zio_read_raw(snd->snd_spa, &it->it_bp, it->it_bytes, &it->it_zb);
    } else {
        err = arc_read(snd->snd_spa, &it->it_bp, &it->it_zb, ARC_NOCACHE, &it->it_buf);
        if (err == 0 && !BP_IS_LITTLE(&it->it_bp) &&
            dmu_ot_byteswap(BP_GET_TYPE(&it->it_bp)) != DMU_BSWAP_UINT8) {
            it->it_buf = arc_buf_own(it->it_buf);
            dmu_byteswap(dmu_ot_byteswap(BP_GET_TYPE(&it->it_bp)), it->it_buf->b_data, it->it_buf->b_size);
        }
    }
    mutex_enter(&snd->snd_lock);
    it->it_err = err;
    it->it_done = true;
    cv_broadcast(&snd->snd_cv);
    mutex_exit(&snd->snd_lock);
}

static uint64_t
item_stream_bytes(const send_t *snd, const send_item_t *it)
{
    uint64_t n = 1;

    if (it->it_drr.drr_type == DRR_WRITE && it->it_len > SPA_OLD_MAXBLOCKSIZE)
        n = (it->it_len + send_piece(snd, 0, it->it_len) - 1) / send_piece(snd, 0, it->it_len);
    return n * DRR_SIZE + it->it_len;
}

/* On a worker. When the writer was faster it is the last to know the item: nothing else of the send is there any more. */
static void
item_read(void *arg)
{
    send_item_fetch(arg);
    send_item_free(arg);
}

/* Hand it to the writer, or count it. Takes the item. */
static int
item_emit(send_t *snd, send_item_t *it)
{
    bool read = it->it_read;

    if (snd->snd_count) {
        snd->snd_bytes += item_stream_bytes(snd, it);
        send_item_free(it);
        return 0;
    }
    it->it_cost = sizeof(*it) + it->it_len;
    it->it_shared = read;
    if (!stream_queue_put(&snd->snd_queue, it, it->it_cost)) {
        it->it_shared = false;
        send_item_free(it);
        return SET_ERROR(EINTR);
    }
    if (read) /* shared, so the item is still there */
        taskq_dispatch(spa_taskq(snd->snd_spa), item_read, it);
    return 0;
}

/* ---- frees, merged ---- */

static int
flush_free(send_t *snd)
{
    send_item_t *it;

    if (snd->snd_free.drr_length == 0)
        return 0;
    it = item_new(snd, DRR_FREE);
    it->it_drr.drr_u.drr_free = snd->snd_free;
    snd->snd_free.drr_length = 0;
    return item_emit(snd, it);
}

static int
flush_freeobjects(send_t *snd)
{
    send_item_t *it;

    if (snd->snd_freeobj.drr_numobjs == 0)
        return 0;
    it = item_new(snd, DRR_FREEOBJECTS);
    it->it_drr.drr_u.drr_freeobjects = snd->snd_freeobj;
    snd->snd_freeobj.drr_numobjs = 0;
    return item_emit(snd, it);
}

int
send_flush_frees(send_t *snd)
{
    int err = flush_free(snd);

    return err != 0 ? err : flush_freeobjects(snd);
}

static int
send_free(send_t *snd, uint64_t object, uint64_t off, uint64_t len)
{
    struct drr_free *f = &snd->snd_free;
    int err;

    if (f->drr_length != 0 && f->drr_length != DMU_OBJECT_END && f->drr_object == object &&
        f->drr_offset + f->drr_length == off) {
        f->drr_length = len == DMU_OBJECT_END ? len : f->drr_length + len;
        return 0;
    }
    err = send_flush_frees(snd);
    *f = (struct drr_free){object, off, len, snd->snd_toguid};
    return err;
}

static int
send_freeobjects(send_t *snd, uint64_t first, uint64_t n)
{
    struct drr_freeobjects *f = &snd->snd_freeobj;
    int err;

    if (f->drr_numobjs != 0 && f->drr_firstobj + f->drr_numobjs == first) {
        f->drr_numobjs += n;
        return 0;
    }
    err = send_flush_frees(snd);
    *f = (struct drr_freeobjects){first, n, snd->snd_toguid};
    return err;
}

static int
send_emit(send_t *snd, send_item_t *it)
{
    int err = send_flush_frees(snd);

    if (err != 0) {
        send_item_free(it);
        return err;
    }
    return item_emit(snd, it);
}

/* ---- what a visit becomes ---- */

static int
send_spill(send_t *snd, const zbookmark_t *zb, const blkptr_t *bp, bool unmodified)
{
    send_item_t *it = item_new(snd, DRR_SPILL);
    struct drr_spill *s = &it->it_drr.drr_u.drr_spill;

    s->drr_object = zb->zb_object;
    s->drr_length = BP_GET_LSIZE(bp);
    s->drr_toguid = snd->snd_toguid;
    s->drr_flags = unmodified ? DRR_SPILL_UNMODIFIED : 0;
    it->it_len = s->drr_length;
    it->it_bp = *bp;
    it->it_zb = *zb;
    it->it_read = true;
    return send_emit(snd, it);
}

static void
fill_object(send_t *snd, const dnode_phys_t *dnp, struct drr_object *o)
{
    uint32_t blksz = (uint32_t)dnp->dn_datablkszsec << SPA_MINBLOCKSHIFT;

    o->drr_type = dnp->dn_type;
    o->drr_bonustype = dnp->dn_bonustype;
    o->drr_blksz = (uint32_t)send_piece(snd, 0, blksz);
    o->drr_bonuslen = dnp->dn_bonuslen;
    /* what only this program knows is not for other receivers */
    o->drr_checksumtype = dnp->dn_checksum == ZIO_CHECKSUM_XXH3_128 ? 0 : dnp->dn_checksum;
    o->drr_compress = dnp->dn_compress;
    o->drr_dn_slots = (uint8_t)(dnp->dn_extra_slots + 1);
    o->drr_flags = dnp->dn_flags & DNODE_FLAG_SPILL_BLKPTR ? DRR_OBJECT_SPILL : 0;
    o->drr_toguid = snd->snd_toguid;
}

static int
send_object(send_t *snd, uint64_t object, const dnode_phys_t *dnp)
{
    send_item_t *it = item_new(snd, DRR_OBJECT);

    fill_object(snd, dnp, &it->it_drr.drr_u.drr_object);
    it->it_drr.drr_u.drr_object.drr_object = object;
    it->it_len = P2ROUNDUP((uint64_t)dnp->dn_bonuslen, 8);
    it->it_bytes = it->it_len != 0 ? xzalloc(it->it_len) : NULL;
    if (it->it_len != 0)
        memcpy(it->it_bytes, dnode_phys_bonus(dnp), dnp->dn_bonuslen);
    return send_emit(snd, it);
}

static uint64_t
dnode_end(const dnode_phys_t *dnp)
{
    return (dnp->dn_maxblkid + 1) * ((uint64_t)dnp->dn_datablkszsec << SPA_MINBLOCKSHIFT);
}

static int
send_dnode(send_t *snd, const zbookmark_t *zb, const dnode_phys_t *dnp)
{
    uint64_t object = zb->zb_object;
    int err;

    if (dnp->dn_type == DMU_OT_NONE)
        return send_freeobjects(snd, object, MAX(zb->zb_blkid, 1));
    err = send_object(snd, object, dnp);
    if (err == 0)
        err = send_free(snd, object, dnode_end(dnp), DMU_OBJECT_END);
    if (err == 0 && (dnp->dn_flags & DNODE_FLAG_SPILL_BLKPTR)) {
        const blkptr_t *bp = dnode_phys_spill(dnp);
        zbookmark_t szb = {zb->zb_objset, object, 0, SPILL_BLKID};
        if (!BP_IS_HOLE(bp) && bp->blk_birth <= snd->snd_since)
            err = send_spill(snd, &szb, bp, true);
    }
    return err;
}

/* Level-0 blocks below a pointer of this level, and where they start; the span may reach beyond everything. */
static void
hole_span(const dnode_phys_t *dnp, const zbookmark_t *zb, uint64_t *first, uint64_t *n)
{
    unsigned shift = (unsigned)MAX(zb->zb_level, 0) * (dnp->dn_indblkshift - SPA_BLKPTRSHIFT);
    uint64_t total = dnp->dn_maxblkid + 1;

    *first = shift < 64 ? zb->zb_blkid << shift : 0;
    *n = *first >= total ? 0 : total - *first;
    if (shift < 63)
        *n = MIN(*n, 1ULL << shift);
}

/* Is this the object in whose middle a resumed stream begins? */
static bool
resumes_in(const send_t *snd, uint64_t object)
{
    return object != 0 && object == snd->snd_resumeobj;
}

/* A block that the receiver has already. One that was cut into pieces and of which it has some is sent again. */
static bool
is_before_resume(const send_t *snd, const zbookmark_t *zb, const dnode_phys_t *dnp)
{
    uint64_t blksz = (uint64_t)dnp->dn_datablkszsec << SPA_MINBLOCKSHIFT;

    return resumes_in(snd, zb->zb_object) && zb->zb_blkid != SPILL_BLKID && (zb->zb_blkid + 1) * blksz <= snd->snd_resumeoff;
}

static int
send_hole(send_t *snd, const traverse_block_t *tb)
{
    const dnode_phys_t *dnp = tb->tb_dnp;
    uint64_t blksz = (uint64_t)dnp->dn_datablkszsec << SPA_MINBLOCKSHIFT;
    uint64_t first, n;

    if (tb->tb_zb.zb_blkid == SPILL_BLKID)
        return 0;
    hole_span(dnp, &tb->tb_zb, &first, &n);
    if (resumes_in(snd, tb->tb_zb.zb_object)) {
        uint64_t skip = MIN(n, snd->snd_resumeoff / blksz > first ? snd->snd_resumeoff / blksz - first : 0);
        first += skip;
        n -= skip;
    }
    if (n == 0)
        return 0;
    if (tb->tb_zb.zb_object == 0)
        return send_freeobjects(snd, first * DNODES_PER_BLOCK, n * DNODES_PER_BLOCK);
    return send_free(snd, tb->tb_zb.zb_object, first * blksz, n * blksz);
}

/* The block's own sum, where a receiver could use it. */
static void
fill_key(const blkptr_t *bp, struct drr_write *w)
{
    enum zio_checksum c = BP_IS_EMBEDDED(bp) ? ZIO_CHECKSUM_OFF : BP_GET_CHECKSUM(bp);

    w->drr_checksumtype = ZIO_CHECKSUM_OFF;
    if (c != ZIO_CHECKSUM_FLETCHER_4 && c != ZIO_CHECKSUM_SHA256)
        return;
    w->drr_checksumtype = (uint8_t)c;
    w->drr_flags = c == ZIO_CHECKSUM_SHA256 ? DRR_CHECKSUM_DEDUP : 0;
    w->drr_key.ddk_cksum = bp->blk_cksum;
    w->drr_key.ddk_prop = BF64_GET(bp->blk_prop, 0, 32) | (uint64_t)BP_GET_COMPRESS(bp) << 32;
}

/* May it leave as it lies on disk? */
static bool
sends_compressed(const send_t *snd, const blkptr_t *bp)
{
    return (snd->snd_features & DMU_BACKUP_FEATURE_COMPRESSED) && !BP_IS_EMBEDDED(bp) &&
           BP_GET_COMPRESS(bp) != ZIO_COMPRESS_OFF && !dmu_ot_is_metadata(BP_GET_TYPE(bp)) &&
           BP_IS_LITTLE(bp) && BP_GET_PSIZE(bp) < BP_GET_LSIZE(bp) &&
           send_piece(snd, 0, BP_GET_LSIZE(bp)) == BP_GET_LSIZE(bp);
}

static bool
sends_embedded(const send_t *snd, const blkptr_t *bp)
{
    enum zio_compress c = BP_GET_COMPRESS(bp);

    if (!(snd->snd_features & DMU_BACKUP_FEATURE_EMBED_DATA) || !BP_IS_EMBEDDED(bp) || !BP_IS_LITTLE(bp) ||
        BPE_GET_ETYPE(bp) != 0 || send_piece(snd, 0, BPE_GET_LSIZE(bp)) != BPE_GET_LSIZE(bp))
        return false;
    if (c == ZIO_COMPRESS_ZSTD)
        return (snd->snd_features & DMU_BACKUP_FEATURE_ZSTD) != 0;
    return c <= ZIO_COMPRESS_ZLE || (snd->snd_features & DMU_BACKUP_FEATURE_LZ4) != 0;
}

static int
send_embedded(send_t *snd, const zbookmark_t *zb, const blkptr_t *bp, uint64_t blksz)
{
    send_item_t *it = item_new(snd, DRR_WRITE_EMBEDDED);
    struct drr_write_embedded *e = &it->it_drr.drr_u.drr_write_embedded;
    uint8_t payload[BPE_PAYLOAD_SIZE];

    e->drr_object = zb->zb_object;
    e->drr_offset = zb->zb_blkid * blksz;
    e->drr_length = blksz;
    e->drr_toguid = snd->snd_toguid;
    e->drr_compression = (uint8_t)BP_GET_COMPRESS(bp);
    e->drr_lsize = (uint32_t)BPE_GET_LSIZE(bp);
    e->drr_psize = (uint32_t)BPE_GET_PSIZE(bp);
    bpe_decode(bp, payload);
    it->it_len = P2ROUNDUP((uint64_t)e->drr_psize, 8);
    it->it_bytes = xzalloc(it->it_len);
    memcpy(it->it_bytes, payload, e->drr_psize);
    return send_emit(snd, it);
}

static int
send_write(send_t *snd, const zbookmark_t *zb, const blkptr_t *bp, const dnode_phys_t *dnp)
{
    uint64_t blksz = (uint64_t)dnp->dn_datablkszsec << SPA_MINBLOCKSHIFT;
    send_item_t *it = item_new(snd, DRR_WRITE);
    struct drr_write *w = &it->it_drr.drr_u.drr_write;

    w->drr_object = zb->zb_object;
    w->drr_type = dnp->dn_type;
    w->drr_offset = zb->zb_blkid * blksz;
    w->drr_logical_size = BP_GET_LSIZE(bp);
    w->drr_toguid = snd->snd_toguid;
    w->drr_checksumtype = ZIO_CHECKSUM_OFF;
    if (send_piece(snd, 0, w->drr_logical_size) == w->drr_logical_size)
        fill_key(bp, w);
    it->it_len = w->drr_logical_size;
    if (sends_compressed(snd, bp)) {
        w->drr_compressiontype = (uint8_t)BP_GET_COMPRESS(bp);
        it->it_len = w->drr_compressed_size = BP_GET_PSIZE(bp);
        it->it_bytes = snd->snd_count ? NULL : xmalloc(it->it_len);
    }
    it->it_bp = *bp;
    it->it_zb = *zb;
    it->it_read = true;
    return send_emit(snd, it);
}

int
send_visit(void *arg, const traverse_block_t *tb)
{
    send_t *snd = arg;
    const zbookmark_t *zb = &tb->tb_zb;

    if (zb->zb_level == ZB_ROOT_LEVEL || zb->zb_object >= DN_MAX_OBJECT || tb->tb_dnp == NULL)
        return 0; /* the root block, and the accounting of users, which a receiver makes itself */
    if (zb->zb_level == ZB_DNODE_LEVEL)
        return send_dnode(snd, zb, tb->tb_dnp);
    if (BP_IS_HOLE(tb->tb_bp))
        return send_hole(snd, tb);
    if (zb->zb_level != 0 || zb->zb_object == 0 || is_before_resume(snd, zb, tb->tb_dnp))
        return 0;
    if (zb->zb_blkid == SPILL_BLKID)
        return send_spill(snd, zb, tb->tb_bp, false);
    if (sends_embedded(snd, tb->tb_bp))
        return send_embedded(snd, zb, tb->tb_bp, (uint64_t)tb->tb_dnp->dn_datablkszsec << SPA_MINBLOCKSHIFT);
    return send_write(snd, zb, tb->tb_bp, tb->tb_dnp);
}
