/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recv_object.c - OBJECT and FREEOBJECTS: dnodes as the stream wants them.
 *
 *   number free                          claim it, with all its slots
 *   in use, other number of slots        free it, then claim
 *   in use, must be emptied (below)      free its blocks, then give it the new shape
 *   in use, else                         keep its blocks, give it the new shape
 *   in use, and nothing differs          leave it alone: most OBJECTs of an increment
 *
 * An object must be emptied when its new bonus leaves room for fewer block pointers (so it is another object than before), or when
 * the block size differs, and it may be another object than before or has at most one block. If it
 * surely is the same file, and its block size grows, it was first received cut into 128-KiB pieces and is now sent
 * whole: contents *and* the old block size stay, and WRITEs will be larger than a block.
 *
 * Where only type, bonus or generation differ nothing is freed: the stream itself tells of every block and hole.
 * ZFS: receive_object(), receive_freeobjects(), receive_handle_existing_object() in dmu_recv.c.
 */
#include <stdio.h>

#include "recv_impl.h"

#define TEXT 200

/* ---- freeing ---- */

static int
free_object(objset_t *os, uint64_t object)
{
    dmu_tx_t *tx;
    int err = dmu_free_long_range(os, object, 0, DMU_OBJECT_END);

    if (err != 0)
        return err;
    tx = dmu_tx_create(os);
    dmu_tx_hold_bonus(tx, object);
    dmu_tx_hold_free(tx, object, 0, DMU_OBJECT_END);
    dmu_tx_mark_netfree(tx);
    err = dmu_tx_assign(tx, DMU_TX_WAIT);
    if (err != 0) {
        dmu_tx_abort(tx);
        return err;
    }
    err = dmu_object_free(os, object, tx);
    dmu_tx_commit(tx);
    return err;
}

int
recv_freeobjects(dmu_recv_cookie_t *drc, uint64_t first, uint64_t n)
{
    uint64_t end = MIN(first + n, DN_MAX_OBJECT), object = MAX(first, 1) - 1;
    int err;

    drc->drc_known = 0;
    while ((err = dmu_object_next(drc->drc_os, &object, false, 0)) == 0 && object < end) {
        err = free_object(drc->drc_os, object);
        if (err != 0)
            return err;
    }
    return err == ESRCH ? 0 : err;
}

/* ---- the bonus ---- */

static int
set_bonus(objset_t *os, const struct drr_object *o, const uint8_t *bonus, dmu_tx_t *tx)
{
    dmu_buf_t *db;
    int err;

    if (o->drr_bonuslen == 0)
        return 0;
    err = dmu_bonus_hold(os, o->drr_object, &db);
    if (err != 0)
        return err;
    dmu_buf_will_dirty(db, tx);
    VERIFY3U(db->db_size, >=, o->drr_bonuslen);
    memcpy(db->db_data, bonus, o->drr_bonuslen);
    dmu_buf_rele(db);
    return 0;
}

static int
same_bonus(objset_t *os, const struct drr_object *o, const uint8_t *bonus, bool *same)
{
    dmu_buf_t *db;
    int err;

    *same = true;
    if (o->drr_bonuslen == 0)
        return 0;
    err = dmu_bonus_hold(os, o->drr_object, &db);
    if (err != 0)
        return err;
    *same = db->db_size == o->drr_bonuslen && memcmp(db->db_data, bonus, o->drr_bonuslen) == 0;
    dmu_buf_rele(db);
    return 0;
}

static int
same_generation(objset_t *os, const struct drr_object *o, const uint8_t *bonus, const dmu_object_info_t *doi,
                bool *same)
{
    uint64_t was, is;
    dmu_buf_t *db;
    int err;

    *same = true;
    if (doi->doi_bonus_type == DMU_OT_NONE)
        return 0;
    err = dmu_bonus_hold(os, o->drr_object, &db);
    if (err != 0)
        return err;
    if (recv_generation(os, doi->doi_bonus_type, db->db_data, db->db_size, &was) &&
        recv_generation(os, (uint8_t)o->drr_bonustype, bonus, o->drr_bonuslen, &is))
        *same = was == is;
    dmu_buf_rele(db);
    return 0;
}

/* ---- an object that is not there yet ---- */

/* What the dnode itself says of how its blocks are stored. A checksum that nothing here can compute becomes "inherited". */
static void
set_storage(objset_t *os, const struct drr_object *o, dmu_tx_t *tx)
{
    zio_cksum_t sum;
    bool known = o->drr_checksumtype <= ZIO_CHECKSUM_SHA512 &&
                 zio_checksum_compute(o->drr_checksumtype, "", 0, &sum) == 0;

    dmu_object_set_compress(os, o->drr_object, o->drr_compress, tx);
    dmu_object_set_checksum(os, o->drr_object, known ? o->drr_checksumtype : 0, tx);
}

static int
claim_in_tx(objset_t *os, const struct drr_object *o, const uint8_t *bonus, dmu_tx_t *tx)
{
    int err = dmu_object_claim(os, o->drr_object, (dmu_object_type_t)o->drr_type, o->drr_blksz,
                               (dmu_object_type_t)o->drr_bonustype, o->drr_bonuslen,
                               (uint32_t)MAX(o->drr_dn_slots, 1) << DNODE_SHIFT, tx);

    if (err != 0)
        return err;
    if (o->drr_compress != 0 || o->drr_checksumtype != 0)
        set_storage(os, o, tx);
    return set_bonus(os, o, bonus, tx);
}

static int
claim_object(objset_t *os, const struct drr_object *o, const uint8_t *bonus)
{
    dmu_tx_t *tx = dmu_tx_create(os);
    int err;

    dmu_tx_hold_bonus(tx, DMU_NEW_OBJECT);
    err = dmu_tx_assign(tx, DMU_TX_WAIT);
    if (err != 0) {
        dmu_tx_abort(tx);
        return err;
    }
    err = claim_in_tx(os, o, bonus, tx);
    dmu_tx_commit(tx);
    return err;
}

static int
new_object(dmu_recv_cookie_t *drc, const struct drr_object *o, const uint8_t *bonus, char *text)
{
    int err = 0;

    if (o->drr_dn_slots > 1)
        err = recv_freeobjects(drc, o->drr_object + 1, o->drr_dn_slots - 1u);
    if (err == 0)
        err = claim_object(drc->drc_os, o, bonus);
    if (err == EEXIST && (err = txg_wait_synced(objset_txg_state(drc->drc_os), 0)) == 0)
        err = claim_object(drc->drc_os, o, bonus); /* a number freed in this txg can be had in the next */
    if (err == EEXIST) {
        snprintf(text, TEXT, "object %llu lies inside the dnode of another",
                 (unsigned long long)o->drr_object);
        return SET_ERROR(EINVAL);
    }
    return err;
}

/* ---- one that is ---- */

/* What an OBJECT asks of an existing object. */
typedef struct object_change {
    bool oc_empty; /* free its blocks first */
    bool oc_drop_spill;
    uint32_t oc_blksz; /* to be */
} object_change_t;

static int
change_blksz(dmu_recv_cookie_t *drc, const struct drr_object *o, const uint8_t *bonus,
             const dmu_object_info_t *doi, object_change_t *oc, char *text)
{
    bool file = doi->doi_type == DMU_OT_PLAIN_FILE_CONTENTS && o->drr_type == DMU_OT_PLAIN_FILE_CONTENTS;
    bool same = true;
    int err;

    if (drc->drc_full || !file || doi->doi_max_offset <= doi->doi_data_block_size) {
        oc->oc_empty = true;
        return 0;
    }
    err = same_generation(drc->drc_os, o, bonus, doi, &same);
    if (err != 0)
        return err;
    oc->oc_empty = !same;
    if (!same)
        return 0;
    if (o->drr_blksz < doi->doi_data_block_size) {
        snprintf(text, TEXT, "object %llu has blocks of %u bytes, and of %u in the stream",
                 (unsigned long long)o->drr_object, doi->doi_data_block_size, o->drr_blksz);
        return SET_ERROR(EINVAL);
    }
    oc->oc_blksz = doi->doi_data_block_size;
    return 0;
}

static bool
drops_spill(dmu_recv_cookie_t *drc, const struct drr_object *o, const dmu_object_info_t *doi)
{
    if (!doi->doi_has_spill)
        return false;
    if (drc->drc_drrb.drr_flags & DRR_FLAG_SPILL_BLOCK)
        return !(o->drr_flags & DRR_OBJECT_SPILL);
    return o->drr_type != doi->doi_type || o->drr_blksz != doi->doi_data_block_size ||
           o->drr_bonustype != doi->doi_bonus_type || o->drr_bonuslen != doi->doi_bonus_size;
}

static int
change_in_tx(objset_t *os, const struct drr_object *o, const uint8_t *bonus, const object_change_t *oc,
             dmu_tx_t *tx)
{
    int err = oc->oc_drop_spill ? dmu_spill_remove(os, o->drr_object, tx) : 0;

    if (err == 0)
        err = dmu_object_reclaim(os, o->drr_object, (dmu_object_type_t)o->drr_type, oc->oc_blksz,
                                 (dmu_object_type_t)o->drr_bonustype, o->drr_bonuslen, tx);
    if (err != 0)
        return err;
    set_storage(os, o, tx);
    return set_bonus(os, o, bonus, tx);
}

static int
change_object(objset_t *os, const struct drr_object *o, const uint8_t *bonus, const object_change_t *oc)
{
    dmu_tx_t *tx;
    int err = oc->oc_empty ? dmu_free_long_range(os, o->drr_object, 0, DMU_OBJECT_END) : 0;

    if (err != 0)
        return err;
    tx = dmu_tx_create(os);
    dmu_tx_hold_bonus(tx, o->drr_object);
    if (oc->oc_drop_spill)
        dmu_tx_hold_spill(tx, o->drr_object);
    err = dmu_tx_assign(tx, DMU_TX_WAIT);
    if (err != 0) {
        dmu_tx_abort(tx);
        return err;
    }
    err = change_in_tx(os, o, bonus, oc, tx);
    dmu_tx_commit(tx);
    return err;
}

static int
existing_object(dmu_recv_cookie_t *drc, const struct drr_object *o, const uint8_t *bonus,
                const dmu_object_info_t *doi, char *text)
{
    object_change_t oc = {.oc_blksz = o->drr_blksz};
    bool same;
    int err = 0;

    if (o->drr_blksz != doi->doi_data_block_size)
        err = change_blksz(drc, o, bonus, doi, &oc, text);
    if (err == 0)
        err = same_bonus(drc->drc_os, o, bonus, &same);
    if (err != 0)
        return err;
    oc.oc_drop_spill = drops_spill(drc, o, doi);
    if (same && !oc.oc_empty && !oc.oc_drop_spill && oc.oc_blksz == doi->doi_data_block_size &&
        o->drr_type == doi->doi_type && o->drr_bonustype == doi->doi_bonus_type &&
        o->drr_bonuslen == doi->doi_bonus_size && o->drr_compress == doi->doi_compress &&
        o->drr_checksumtype == doi->doi_checksum)
        return 0;
    if (doi->doi_has_spill && !oc.oc_drop_spill &&
        o->drr_bonuslen + sizeof(blkptr_t) > DN_BONUS_SIZE(doi->doi_dnodesize >> DNODE_SHIFT)) {
        snprintf(text, TEXT, "a bonus of %u bytes beside a spill block", o->drr_bonuslen);
        return SET_ERROR(EINVAL);
    }
    err = change_object(drc->drc_os, o, bonus, &oc);
    if (err == EINVAL && !oc.oc_empty) { /* the bonus needs room that block pointers take */
        oc.oc_empty = true;
        oc.oc_drop_spill = false; /* is gone */
        err = change_object(drc->drc_os, o, bonus, &oc);
    }
    return err;
}

/* The dataset says so itself when it holds what only some pools know. */
static void
want_features(dmu_recv_cookie_t *drc, const struct drr_object *o)
{
    uint32_t bits = (o->drr_blksz > SPA_OLD_MAXBLOCKSIZE ? DS_FEATURE_LARGE_BLOCKS : 0) |
                    (o->drr_dn_slots > 1 ? DS_FEATURE_LARGE_DNODE : 0) |
                    (o->drr_compress == ZIO_COMPRESS_ZSTD ? DS_FEATURE_ZSTD : 0);

    if (bits != 0)
        dsl_dataset_want_feature(drc->drc_ds, bits);
}

int
recv_object(dmu_recv_cookie_t *drc, const struct drr_object *o, uint8_t *bonus, char *text)
{
    dmu_object_info_t doi;
    int err;

    stream_swap_bonus(&drc->drc_order, (uint8_t)o->drr_bonustype, bonus, o->drr_bonuslen);
    want_features(drc, o);
    drc->drc_max_object = MAX(drc->drc_max_object, o->drr_object);
    err = dmu_object_info(drc->drc_os, o->drr_object, &doi);
    if (err == 0 && doi.doi_dnodesize != (uint32_t)MAX(o->drr_dn_slots, 1) << DNODE_SHIFT) {
        err = free_object(drc->drc_os, o->drr_object);
        if (err == 0)
            err = ENOENT;
    }
    if (err == 0)
        err = existing_object(drc, o, bonus, &doi, text);
    else if (err == ENOENT)
        err = new_object(drc, o, bonus, text);
    drc->drc_known = err == 0 ? o->drr_object : 0;
    return err;
}
