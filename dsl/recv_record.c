/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recv_record.c - what each record of a stream does to the receiving objset: contents. (Dnodes: recv_object.c.)
 *
 *   WRITE            a whole block becomes one as it came, compressed or not; else unpacked, in host order, written as bytes:
 *                    it need not match the block size
 *   WRITE_EMBEDDED   likewise; what is beyond the payload is zero
 *   WRITE_BYREF      a copy of bytes received earlier: in this snapshot, or in one with that guid
 *   FREE, REDACT     a hole, where there is anything
 *   SPILL            the whole spill block; its size may change
 *
 * Each record is a transaction of its own (frees: as many as it takes), so a record is applied wholly or, after a crash, with its whole
 * dataset, not at all. The records have passed stream_check(). ZFS: receive_write() and friends in dmu_recv.c.
 */
#include <stdio.h>

#include "recv_impl.h"

#define TEXT 200

int
recv_object_exists(dmu_recv_cookie_t *drc, uint64_t object, char *text)
{
    dmu_object_info_t doi;
    int err;

    if (object == drc->drc_known)
        return 0;
    err = dmu_object_info(drc->drc_os, object, &doi);
    if (err == ENOENT) {
        snprintf(text, TEXT, "there is no object %llu", (unsigned long long)object);
        return SET_ERROR(EINVAL);
    }
    if (err == 0)
        drc->drc_known = object;
    return err;
}

static int
write_buf(dmu_recv_cookie_t *drc, uint64_t object, uint64_t off, arc_buf_t *buf)
{
    objset_t *os = drc->drc_os;
    dmu_tx_t *tx = dmu_tx_create(os);
    int err;

    dmu_tx_hold_write(tx, object, off, buf->b_size);
    err = dmu_tx_assign(tx, DMU_TX_WAIT);
    if (err != 0) {
        dmu_tx_abort(tx);
        return err;
    }
    err = dmu_assign_arcbuf(os, object, off, buf, tx);
    if (err == 0)
        recv_resume_note(drc, object, off, tx);
    dmu_tx_commit(tx);
    return err;
}

/* Damaged beyond its checksum: the sender compressed something else. */
static int
decompress_failed(int err, char *text)
{
    if (err == EIO) {
        snprintf(text, TEXT, "compressed data that do not unpack");
        return SET_ERROR(EINVAL);
    }
    return err;
}

/* The record's contents. Compressed ones stay so unless there is something in them to be turned, or this pool has no such blocks. */
static int
write_contents(dmu_recv_cookie_t *drc, const stream_rec_t *rec, arc_buf_t **bufp)
{
    const struct drr_write *w = &rec->sr_drr.drr_u.drr_write;
    bool bytes = dmu_ot_byteswap((uint8_t)w->drr_type) == DMU_BSWAP_UINT8;
    arc_buf_t *packed;
    int err = 0;

    *bufp = arc_buf_hold(rec->sr_buf);
    if (w->drr_compressiontype != 0) {
        *bufp = packed = arc_buf_pack(*bufp, w->drr_compressiontype, (uint32_t)w->drr_logical_size);
        if (bytes && (w->drr_compressiontype != ZIO_COMPRESS_ZSTD || drc->drc_zstd))
            return 0;
        if ((err = arc_buf_unpack(packed, bufp)) != 0)
            *bufp = NULL;
        arc_buf_rele(packed);
    }
    if (err == 0)
        stream_swap_block(&drc->drc_order, w->drr_object, (uint8_t)w->drr_type, (*bufp)->b_data,
                          (*bufp)->b_size);
    return err;
}

static int
recv_write(dmu_recv_cookie_t *drc, const stream_rec_t *rec, char *text)
{
    const struct drr_write *w = &rec->sr_drr.drr_u.drr_write;
    arc_buf_t *buf = NULL;
    int err = recv_object_exists(drc, w->drr_object, text);

    if (err == 0)
        err = decompress_failed(write_contents(drc, rec, &buf), text);
    if (err == 0)
        err = write_buf(drc, w->drr_object, w->drr_offset, buf);
    if (err == EINVAL && buf != NULL && buf->b_packed != NULL)
        err = decompress_failed(EIO, text);
    arc_buf_rele(buf);
    return err;
}

static int
recv_write_embedded(dmu_recv_cookie_t *drc, const struct drr_write_embedded *e, const uint8_t *payload,
                    char *text)
{
    dmu_object_info_t doi;
    arc_buf_t *buf;
    int err = recv_object_exists(drc, e->drr_object, text);

    if (err == 0)
        err = dmu_object_info(drc->drc_os, e->drr_object, &doi);
    if (err != 0)
        return err;
    buf = arc_buf_alloc((uint32_t)e->drr_length);
    memset(buf->b_data, 0, buf->b_size);
    if (e->drr_compression == ZIO_COMPRESS_OFF)
        memcpy(buf->b_data, payload, e->drr_lsize);
    else
        err = decompress_failed(
            zio_decompress_data(e->drr_compression, payload, e->drr_psize, buf->b_data, e->drr_lsize), text);
    if (err == 0) {
        stream_swap_block(&drc->drc_order, e->drr_object, doi.doi_type, buf->b_data, e->drr_length);
        err = write_buf(drc, e->drr_object, e->drr_offset, buf);
    }
    arc_buf_rele(buf);
    return err;
}

/* ---- references ---- */

static int
ref_objset(dmu_recv_cookie_t *drc, uint64_t guid, objset_t **osp, char *text)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];
    int err;

    if (guid == drc->drc_drrb.drr_toguid) {
        *osp = drc->drc_os;
        return 0;
    }
    if (drc->drc_ref == NULL || drc->drc_ref_guid != guid) {
        recv_apply_fini(drc);
        err = dsl_find_by_guid(drc->drc_dp, guid, true, name);
        if (err == 0)
            err = dsl_dataset_hold(drc->drc_dp, name, drc, &drc->drc_ref);
        if (err == ENOENT) {
            snprintf(text, TEXT, "it refers to a snapshot that is not here (guid 0x%llx)",
                     (unsigned long long)guid);
            return SET_ERROR(EINVAL);
        }
        if (err != 0)
            return err;
        dsl_dataset_long_hold(drc->drc_ref, drc); /* a destroy would close its objset under us */
        drc->drc_ref_guid = guid;
    }
    return dsl_dataset_objset(drc->drc_ref, osp);
}

void
recv_apply_fini(dmu_recv_cookie_t *drc)
{
    if (drc->drc_ref != NULL) {
        dsl_dataset_long_rele(drc->drc_ref, drc);
        dsl_dataset_rele(drc->drc_ref, drc);
    }
    drc->drc_ref = NULL;
}

static int
recv_write_byref(dmu_recv_cookie_t *drc, const struct drr_write_byref *r, char *text)
{
    objset_t *os;
    arc_buf_t *buf;
    int err = recv_object_exists(drc, r->drr_object, text);

    if (err == 0)
        err = ref_objset(drc, r->drr_refguid, &os, text);
    if (err != 0)
        return err;
    buf = arc_buf_alloc((uint32_t)r->drr_length);
    err = dmu_read(os, r->drr_refobject, r->drr_refoffset, r->drr_length, buf->b_data);
    if (err == ENOENT) {
        snprintf(text, TEXT, "it refers to object %llu, which is not there",
                 (unsigned long long)r->drr_refobject);
        err = SET_ERROR(EINVAL);
    }
    if (err == 0)
        err = write_buf(drc, r->drr_object, r->drr_offset, buf);
    arc_buf_rele(buf);
    return err;
}

/* ---- frees ---- */

static int
recv_free(dmu_recv_cookie_t *drc, const struct drr_free *f, char *text)
{
    dmu_object_info_t doi;
    int err = recv_object_exists(drc, f->drr_object, text);

    if (err == 0)
        err = dmu_object_info(drc->drc_os, f->drr_object, &doi);
    if (err != 0 || f->drr_length == 0 || f->drr_offset >= doi.doi_max_offset)
        return err; /* most tails: nothing lies there */
    if (f->drr_length == DMU_OBJECT_END)
        return dmu_free_long_range(drc->drc_os, f->drr_object, f->drr_offset, DMU_OBJECT_END);
    return dmu_free_long_range(drc->drc_os, f->drr_object, f->drr_offset,
                               MIN(f->drr_length, doi.doi_max_offset - f->drr_offset));
}

/* ---- spill ---- */

static int
spill_in_tx(objset_t *os, const struct drr_spill *s, const uint8_t *payload, dmu_tx_t *tx)
{
    dmu_buf_t *db;
    int err = dmu_spill_create(os, s->drr_object, (uint32_t)s->drr_length, tx, &db);

    if (err != 0)
        return err;
    dmu_buf_will_dirty(db, tx);
    memcpy(db->db_data, payload, s->drr_length);
    dmu_buf_rele(db);
    return 0;
}

static int
recv_spill(dmu_recv_cookie_t *drc, const struct drr_spill *s, const uint8_t *payload, char *text)
{
    dmu_object_info_t doi;
    dmu_tx_t *tx;
    int err = recv_object_exists(drc, s->drr_object, text);

    if (err == 0)
        err = dmu_object_info(drc->drc_os, s->drr_object, &doi);
    if (err != 0)
        return err;
    if ((s->drr_flags & DRR_SPILL_UNMODIFIED) && (drc->drc_drrb.drr_flags & DRR_FLAG_SPILL_BLOCK))
        return 0;
    if (doi.doi_bonus_size + sizeof(blkptr_t) > DN_BONUS_SIZE(doi.doi_dnodesize >> DNODE_SHIFT)) {
        snprintf(text, TEXT, "a spill block beside a bonus of %u bytes", doi.doi_bonus_size);
        return SET_ERROR(EINVAL);
    }
    tx = dmu_tx_create(drc->drc_os);
    dmu_tx_hold_spill(tx, s->drr_object);
    err = dmu_tx_assign(tx, DMU_TX_WAIT);
    if (err != 0) {
        dmu_tx_abort(tx);
        return err;
    }
    err = spill_in_tx(drc->drc_os, s, payload, tx);
    dmu_tx_commit(tx);
    return err;
}

int
recv_apply(dmu_recv_cookie_t *drc, stream_rec_t *rec, char *text)
{
    dmu_replay_record_t *drr = &rec->sr_drr;

    text[0] = '\0';
    if (drc->drc_shape == RECV_HEAL)
        return recv_heal_apply(drc, rec);
    switch (drr->drr_type) {
    case DRR_OBJECT:
        return recv_object(drc, &drr->drr_u.drr_object, rec->sr_payload, text);
    case DRR_FREEOBJECTS:
        return recv_freeobjects(drc, drr->drr_u.drr_freeobjects.drr_firstobj,
                                drr->drr_u.drr_freeobjects.drr_numobjs);
    case DRR_WRITE:
        return recv_write(drc, rec, text);
    case DRR_WRITE_EMBEDDED:
        return recv_write_embedded(drc, &drr->drr_u.drr_write_embedded, rec->sr_payload, text);
    case DRR_WRITE_BYREF:
        return recv_write_byref(drc, &drr->drr_u.drr_write_byref, text);
    case DRR_FREE:
    case DRR_REDACT:
        return recv_free(drc, &drr->drr_u.drr_free, text);
    case DRR_SPILL:
        return recv_spill(drc, &drr->drr_u.drr_spill, rec->sr_payload, text);
    default:
        return SET_ERROR(EINVAL);
    }
}
