/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recv_record.c - what each record of a stream does to the receiving objset: contents. (Dnodes: recv_object.c.)
 *
 *   WRITE            unpack, turn to host order, write as bytes: it need not match the block size
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
write_bytes(dmu_recv_cookie_t *drc, uint64_t object, uint64_t off, uint64_t len, const void *data)
{
    objset_t *os = drc->drc_os;
    dmu_tx_t *tx = dmu_tx_create(os);
    int err;

    dmu_tx_hold_write(tx, object, off, len);
    err = dmu_tx_assign(tx, DMU_TX_WAIT);
    if (err != 0) {
        dmu_tx_abort(tx);
        return err;
    }
    err = dmu_write(os, object, off, len, data, tx);
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

static int
recv_write(dmu_recv_cookie_t *drc, const struct drr_write *w, uint8_t *payload, char *text)
{
    uint8_t *plain = NULL, *data = payload;
    int err = recv_object_exists(drc, w->drr_object, text);

    if (err == 0 && w->drr_compressiontype != 0) {
        data = plain = xmalloc(w->drr_logical_size);
        err = decompress_failed(zio_decompress_data(w->drr_compressiontype, payload, w->drr_compressed_size,
                                                    plain, w->drr_logical_size),
                                text);
    }
    if (err == 0) {
        stream_swap_block(&drc->drc_order, w->drr_object, (uint8_t)w->drr_type, data, w->drr_logical_size);
        err = write_bytes(drc, w->drr_object, w->drr_offset, w->drr_logical_size, data);
    }
    free(plain);
    return err;
}

static int
recv_write_embedded(dmu_recv_cookie_t *drc, const struct drr_write_embedded *e, const uint8_t *payload,
                    char *text)
{
    dmu_object_info_t doi;
    uint8_t *data;
    int err = recv_object_exists(drc, e->drr_object, text);

    if (err == 0)
        err = dmu_object_info(drc->drc_os, e->drr_object, &doi);
    if (err != 0)
        return err;
    data = xzalloc(e->drr_length);
    if (e->drr_compression == ZIO_COMPRESS_OFF)
        memcpy(data, payload, e->drr_lsize);
    else
        err = decompress_failed(
            zio_decompress_data(e->drr_compression, payload, e->drr_psize, data, e->drr_lsize), text);
    if (err == 0) {
        stream_swap_block(&drc->drc_order, e->drr_object, doi.doi_type, data, e->drr_length);
        err = write_bytes(drc, e->drr_object, e->drr_offset, e->drr_length, data);
    }
    free(data);
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
    uint8_t *data;
    int err = recv_object_exists(drc, r->drr_object, text);

    if (err == 0)
        err = ref_objset(drc, r->drr_refguid, &os, text);
    if (err != 0)
        return err;
    data = xmalloc(r->drr_length);
    err = dmu_read(os, r->drr_refobject, r->drr_refoffset, r->drr_length, data);
    if (err == ENOENT) {
        snprintf(text, TEXT, "it refers to object %llu, which is not there",
                 (unsigned long long)r->drr_refobject);
        err = SET_ERROR(EINVAL);
    }
    if (err == 0)
        err = write_bytes(drc, r->drr_object, r->drr_offset, r->drr_length, data);
    free(data);
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
        return recv_write(drc, &drr->drr_u.drr_write, rec->sr_payload, text);
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
