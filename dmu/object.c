/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * object.c - allocating, changing and freeing objects.
 *
 * A number is free when its slot is unused in the synced meta dnode and not in os_pending. So a number that was freed is
 * used again only after its txg has synced, and one allocated is never given twice (objset.c, invariant 3). Read in this order:
 * os_pending, then the synced block. The other way round an object synced in between would be missed.
 *
 *     os_obj_blk, os_obj_used    one block of 32 slots is filled at a time, from a bitmap: most allocations look at nothing else
 *     os_obj_cursor              the next block with room is searched from here (fill counts pass over what is full), and
 *                                from the start again once enough objects have been freed
 *
 * Large dnodes take neighbouring slots of one block.
 *
 * ZFS: dmu_object.c, dnode_allocate() and dnode_reallocate() in dnode.c
 */
#include "dmu_impl.h"

#define REWIND_MIN 64ULL /* freed objects that make a search from the start worth while */

/* ---- finding a number ---- */

typedef struct mask_arg {
    uint64_t ma_first; /* object number of slot 0 */
    uint32_t ma_mask;
} mask_arg_t;

/* n ones from bit i on. */
static uint32_t
slot_bits(uint32_t i, uint32_t n)
{
    return n >= 32 ? UINT32_MAX : ((1U << n) - 1) << i;
}

static uint32_t
pending_mask(objset_t *os, uint64_t blk)
{
    uint64_t first = blk * DNODES_PER_BLOCK, end = first + DNODES_PER_BLOCK, pos = first, start, size;
    uint32_t mask = 0;

    mutex_enter(&os->os_dirty_lock);
    while (pos < end && range_tree_find_next(os->os_pending, pos, &start, &size) && start < end) {
        uint64_t lo = MAX(start, first), hi = MIN(start + size, end);
        mask |= slot_bits((uint32_t)(lo - first), (uint32_t)(hi - lo));
        pos = start + size;
    }
    mutex_exit(&os->os_dirty_lock);
    return mask;
}

/* Slots in use in the synced block; those of invalid dnodes count. */
static int
synced_mask(objset_t *os, uint64_t blk, uint32_t *mask)
{
    dnode_slot_t sl = {0};
    arc_buf_t *buf;
    int err = dnode_read_block(os->os_meta_dnode, blk, &buf);

    *mask = blk == 0 ? 1 : 0; /* object 0 is the meta dnode's own number */
    if (err != 0 || buf == NULL)
        return err;
    while (dnode_slot_next(buf->b_data, MIN(buf->b_size, (uint32_t)DNODE_BLOCK_SIZE), &sl))
        if (sl.sl_dnp->dn_type != DMU_OT_NONE)
            *mask |= slot_bits(sl.sl_index, sl.sl_count);
    arc_buf_rele(buf);
    return 0;
}

static int
used_mask(objset_t *os, uint64_t blk, uint32_t *mask)
{
    uint32_t pending = pending_mask(os, blk);
    int err = synced_mask(os, blk, mask);

    *mask |= pending;
    return err;
}

/* The first of n free neighbours, or 32. */
static uint32_t
find_slots(uint32_t used, uint32_t n)
{
    for (uint32_t i = 0; i + n <= DNODES_PER_BLOCK; i++)
        if ((used & slot_bits(i, n)) == 0)
            return i;
    return DNODES_PER_BLOCK;
}

/* Enough was freed to look from the start again? */
static bool
should_rewind(objset_t *os)
{
    uint64_t many = MAX(REWIND_MIN, objset_nobjects(os) / 256);
    bool yes;

    mutex_enter(&os->os_dirty_lock);
    if ((yes = os->os_obj_freed >= many))
        os->os_obj_freed = 0;
    mutex_exit(&os->os_dirty_lock);
    return yes;
}

/* Make the next block that may have room the current one. os_obj_lock held. */
static int
next_block(objset_t *os)
{
    dnode_roots_t r;
    uint64_t blk;
    int err;

    if (should_rewind(os))
        os->os_obj_cursor = 0;
    blk = os->os_obj_cursor;
    err = dnode_find_next(os->os_meta_dnode, DN_FIND_NOTFULL, 0, &blk);
    if (err == ESRCH) { /* the meta dnode has no more pointers: it will grow */
        dnode_roots(os->os_meta_dnode, &r);
        blk = MAX(os->os_obj_cursor, r.r_maxblkid + 1);
    } else if (err != 0) {
        return err;
    }
    if (blk >= DN_MAX_OBJECT / DNODES_PER_BLOCK)
        return SET_ERROR(ENOSPC);
    os->os_obj_cursor = blk + 1;
    os->os_obj_blk = blk;
    if (used_mask(os, blk, &os->os_obj_used) != 0)
        os->os_obj_used = UINT32_MAX; /* unreadable: pass over it */
    return 0;
}

/* Reserve n slots: they are in os_pending on return. */
static int
take_number(objset_t *os, uint32_t n, uint64_t *objectp)
{
    uint32_t slot;
    int err;

    mutex_enter(&os->os_obj_lock);
    while ((slot = find_slots(os->os_obj_used, n)) == DNODES_PER_BLOCK) {
        if ((err = next_block(os)) != 0) {
            mutex_exit(&os->os_obj_lock);
            return err;
        }
    }
    os->os_obj_used |= slot_bits(slot, n);
    *objectp = os->os_obj_blk * DNODES_PER_BLOCK + slot;
    mutex_enter(&os->os_dirty_lock);
    range_tree_add(os->os_pending, *objectp, n);
    mutex_exit(&os->os_dirty_lock);
    mutex_exit(&os->os_obj_lock);
    return 0;
}

/* The same for a given number. EEXIST */
static int
take_given(objset_t *os, uint64_t object, uint32_t n)
{
    uint64_t blk = object / DNODES_PER_BLOCK;
    uint32_t used, bits = slot_bits(object % DNODES_PER_BLOCK, n);
    int err;

    mutex_enter(&os->os_obj_lock);
    err = used_mask(os, blk, &used);
    if (err == 0 && (used & bits) != 0)
        err = SET_ERROR(EEXIST);
    if (err == 0) {
        if (blk == os->os_obj_blk)
            os->os_obj_used |= bits;
        mutex_enter(&os->os_dirty_lock);
        range_tree_add(os->os_pending, object, n);
        mutex_exit(&os->os_dirty_lock);
    }
    mutex_exit(&os->os_obj_lock);
    return err;
}

static void
untake(objset_t *os, uint64_t object, uint32_t n)
{
    mutex_enter(&os->os_dirty_lock);
    range_tree_remove(os->os_pending, object, n);
    mutex_exit(&os->os_dirty_lock);
}

/* ---- making the object ---- */

/* As many pointers as the bonus leaves room for; system attributes want to grow. zpl.md 2 */
static uint8_t
nblkptr_for(dmu_object_type_t bonustype, uint32_t bonuslen, uint32_t slots)
{
    uint64_t n = 1 + ((DN_BONUS_SIZE(slots) - bonuslen) >> SPA_BLKPTRSHIFT);

    return bonustype == DMU_OT_SA ? 1 : (uint8_t)MIN(n, 3ULL);
}

static uint32_t
default_blksz(uint32_t blksz)
{
    return blksz == 0 ? SPA_MINBLOCKSIZE : (uint32_t)P2ROUNDUP(blksz, (uint32_t)SPA_MINBLOCKSIZE);
}

static int
check_args(dmu_object_type_t type, uint32_t blksz, dmu_object_type_t bonustype, uint32_t bonuslen,
           uint32_t slots)
{
    if (type == DMU_OT_NONE || !dmu_ot_is_valid((uint8_t)type) || !dmu_ot_is_valid((uint8_t)bonustype))
        return SET_ERROR(EINVAL);
    if (blksz > SPA_MAXBLOCKSIZE || slots < 1 || slots > DNODE_MAX_SLOTS || bonuslen > DN_BONUS_SIZE(slots))
        return SET_ERROR(EINVAL);
    return 0;
}

/* A dnode for slots that were taken. */
static int
object_make(objset_t *os, uint64_t object, dmu_object_type_t type, uint32_t blksz,
            dmu_object_type_t bonustype, uint32_t bonuslen, uint32_t slots, dmu_tx_t *tx)
{
    dnode_t *dn = dnode_new(os, object, NULL);
    int err;

    dn->dn_now = (dnode_shape_t){
        .ds_type = (uint8_t)type,
        .ds_bonustype = (uint8_t)bonustype,
        .ds_bonuslen = (uint16_t)bonuslen,
        .ds_slots = (uint8_t)slots,
        .ds_nblkptr = nblkptr_for(bonustype, bonuslen, slots),
        .ds_indblkshift = os->os_indblkshift,
        .ds_datablksz = default_blksz(blksz),
    };
    if ((err = dnode_enter(dn)) != 0) {
        dnode_destroy(dn);
        return err;
    }
    mutex_enter(&dn->dn_mtx);
    dnode_setdirty(dn, tx);
    dn->dn_shape[tx->tx_txg & TXG_MASK].ds_allocated = true;
    mutex_exit(&dn->dn_mtx);
    dnode_rele(dn);
    return 0;
}

int
dmu_object_alloc(objset_t *os, dmu_object_type_t type, uint32_t blksz, dmu_object_type_t bonustype,
                 uint32_t bonuslen, uint32_t dnodesize, dmu_tx_t *tx, uint64_t *objectp)
{
    uint32_t slots = dnodesize == 0 ? 1 : dnodesize >> DNODE_SHIFT;
    int err;

    if ((err = check_args(type, blksz, bonustype, bonuslen, slots)) != 0)
        return err;
    while ((err = take_number(os, slots, objectp)) == 0) {
        err = object_make(os, *objectp, type, blksz, bonustype, bonuslen, slots, tx);
        if (err != EEXIST)
            return err;
        untake(os, *objectp,
               slots); /* somebody still holds the dnode of the object that had this number: try the next */
    }
    return err;
}

int
dmu_object_claim(objset_t *os, uint64_t object, dmu_object_type_t type, uint32_t blksz,
                 dmu_object_type_t bonustype, uint32_t bonuslen, uint32_t dnodesize, dmu_tx_t *tx)
{
    uint32_t slots = dnodesize == 0 ? 1 : dnodesize >> DNODE_SHIFT;
    int err;

    if ((err = check_args(type, blksz, bonustype, bonuslen, slots)) != 0)
        return err;
    if (object == 0 || object >= DN_MAX_OBJECT || object % DNODES_PER_BLOCK + slots > DNODES_PER_BLOCK)
        return SET_ERROR(EINVAL);
    if ((err = take_given(os, object, slots)) != 0)
        return err;
    if ((err = object_make(os, object, type, blksz, bonustype, bonuslen, slots, tx)) != 0) {
        untake(os, object, slots);
        return SET_ERROR(err);
    }
    return 0;
}

/* ---- changing it ---- */

/* Has it any block, synced or dirty? dn_mtx held. */
static bool
has_data(dnode_t *dn)
{
    const dnode_phys_t *dnp = dn->dn_phys;
    const blkptr_t *bps = (const blkptr_t *)((const uint8_t *)dnp + DNODE_CORE_SIZE);
    dirty_record_t *dr;

    for (int t = 0; t < TXG_SIZE; t++)
        for (dr = avl_first(&dn->dn_dirty_dbufs[t]); dr != NULL && dr->dr_blkid < DMU_SPILL_BLKID;
             dr = avl_next(&dn->dn_dirty_dbufs[t], dr))
            if (dr->dr_buf == dr->dr_dbuf->db_buf) /* else it was changed or freed later */
                return true;
    for (uint8_t i = 0; dnp->dn_type != DMU_OT_NONE && i < dnp->dn_nblkptr; i++)
        if (!BP_IS_HOLE(&bps[i]) && !dnode_block_freed(dn, 0))
            return true;
    return dn->dn_now.ds_maxblkid != 0;
}

/* dn_mtx held, and a dbuf of the bonus, dirty already. */
static int
reclaim_locked(dnode_t *dn, dbuf_t *bonus, dmu_object_type_t type, uint32_t blksz,
               dmu_object_type_t bonustype, uint32_t bonuslen, dmu_tx_t *tx)
{
    dnode_shape_t *now = &dn->dn_now;
    bool data = has_data(dn);
    uint64_t spill = now->ds_has_spill ? sizeof(blkptr_t) : 0;
    uint8_t nblkptr = data ? now->ds_nblkptr : nblkptr_for(bonustype, bonuslen, now->ds_slots);

    if (bonuslen + spill + ((nblkptr - 1ULL) << SPA_BLKPTRSHIFT) > (uint64_t)DN_BONUS_SIZE(now->ds_slots))
        return SET_ERROR(EINVAL);
    if (blksz != 0 && blksz != now->ds_datablksz && data)
        return SET_ERROR(EINVAL);
    if (bonuslen > now->ds_bonuslen)
        memset((uint8_t *)bonus->db.db_data + now->ds_bonuslen, 0, bonuslen - now->ds_bonuslen);
    bonus->db.db_size = bonuslen;
    if (blksz != 0 && blksz != now->ds_datablksz)
        dbuf_set_blksz(dn, default_blksz(blksz), false);
    now->ds_type = (uint8_t)type;
    now->ds_bonustype = (uint8_t)bonustype;
    now->ds_bonuslen = (uint16_t)bonuslen;
    now->ds_nblkptr = nblkptr;
    dnode_setdirty(dn, tx);
    return 0;
}

int
dmu_object_reclaim(objset_t *os, uint64_t object, dmu_object_type_t type, uint32_t blksz,
                   dmu_object_type_t bonustype, uint32_t bonuslen, dmu_tx_t *tx)
{
    dnode_t *dn;
    dbuf_t *bonus;
    int err;

    if ((err = dnode_hold(os, object, &dn)) != 0)
        return err;
    if ((err = check_args(type, blksz, bonustype, bonuslen, dn->dn_now.ds_slots)) == 0 &&
        (err = dbuf_hold(dn, DMU_BONUS_BLKID, true, &bonus)) == 0) {
        dbuf_dirty(bonus, tx, false);
        mutex_enter(&dn->dn_mtx);
        err = reclaim_locked(dn, bonus, type, blksz, bonustype, bonuslen, tx);
        mutex_exit(&dn->dn_mtx);
        dbuf_rele(bonus);
    }
    dnode_rele(dn);
    return err;
}

int
dmu_object_free(objset_t *os, uint64_t object, dmu_tx_t *tx)
{
    dbuf_t *db, *next;
    uint64_t unrefs = 0;
    dnode_t *dn;
    int err;

    if ((err = dnode_hold(os, object, &dn)) != 0)
        return err;
    mutex_enter(&dn->dn_mtx);
    dnode_free_blocks(dn, 0, DN_BLKID_END - 1, tx);
    for (db = avl_first(&dn->dn_dbufs); db != NULL; db = next) { /* bonus and spill are left */
        next = avl_next(&dn->dn_dbufs, db);
        dbuf_undirty(db, tx->tx_txg);
        unrefs += dbuf_reap(db);
    }
    dn->dn_now.ds_type = DMU_OT_NONE;
    dn->dn_now.ds_has_spill = false;
    dnode_setdirty(dn, tx);
    dn->dn_shape[tx->tx_txg & TXG_MASK].ds_freed = true;
    mutex_exit(&dn->dn_mtx);
    for (unrefs++; unrefs > 0; unrefs--)
        dnode_rele(dn);
    return 0;
}

/* Change block 0 and the block size. dn held; block 0 held and read when there is one. */
static void
set_blocksize(dnode_t *dn, dbuf_t *db, uint32_t blksz, dmu_tx_t *tx)
{
    uint64_t old;
    arc_buf_t *buf;
    bool data;

    mutex_enter(&dn->dn_mtx);
    old = dn->dn_now.ds_datablksz;
    data = has_data(dn);
    dbuf_set_blksz(dn, blksz, data);
    dnode_setdirty(dn, tx);
    mutex_exit(&dn->dn_mtx);
    if (!data)
        return;
    buf = arc_buf_alloc(blksz);
    memcpy(buf->b_data, db->db.db_data, MIN(old, blksz));
    if (blksz > old)
        memset((uint8_t *)buf->b_data + old, 0, blksz - old);
    VERIFY(dbuf_replace(db, buf, tx)); /* it is plain */
}

int
dmu_object_set_blocksize(objset_t *os, uint64_t object, uint32_t blksz, dmu_tx_t *tx)
{
    dnode_t *dn;
    dbuf_t *db;
    int err;

    if (blksz == 0 || blksz > SPA_MAXBLOCKSIZE)
        return SET_ERROR(EINVAL);
    blksz = default_blksz(blksz);
    if ((err = dnode_hold(os, object, &dn)) != 0)
        return err;
    mutex_enter(&dn->dn_mtx);
    if (dn->dn_now.ds_maxblkid != 0 && blksz != dn->dn_now.ds_datablksz)
        err = SET_ERROR(ENOTSUP);
    bool same = blksz == dn->dn_now.ds_datablksz;
    mutex_exit(&dn->dn_mtx);
    if (err == 0 && !same && (err = dbuf_hold(dn, 0, true, &db)) == 0) {
        set_blocksize(dn, db, blksz, tx);
        dbuf_rele(db);
    }
    dnode_rele(dn);
    return err;
}

static void
set_byte(objset_t *os, uint64_t object, size_t field, uint8_t value, dmu_tx_t *tx)
{
    dnode_t *dn;

    if (dnode_hold(os, object, &dn) != 0)
        return;
    mutex_enter(&dn->dn_mtx);
    *((uint8_t *)&dn->dn_now + field) = value;
    dnode_setdirty(dn, tx);
    mutex_exit(&dn->dn_mtx);
    dnode_rele(dn);
}

void
dmu_object_set_compress(objset_t *os, uint64_t object, uint8_t compress, dmu_tx_t *tx)
{
    set_byte(os, object, offsetof(dnode_shape_t, ds_compress), compress, tx);
}

void
dmu_object_set_checksum(objset_t *os, uint64_t object, uint8_t checksum, dmu_tx_t *tx)
{
    set_byte(os, object, offsetof(dnode_shape_t, ds_checksum), checksum, tx);
}

/* ---- looking around ---- */

/* The first synced object after `object`; ESRCH. Those freed since then are not passed over. */
static int
next_synced(objset_t *os, uint64_t object, uint64_t since, uint64_t *found)
{
    uint64_t want = object + 1, blk = want / DNODES_PER_BLOCK;
    arc_buf_t *buf;
    int err;

    for (; (err = dnode_find_next(os->os_meta_dnode, DN_FIND_DATA, since, &blk)) == 0; blk++) {
        dnode_slot_t sl = {0};
        if ((err = dnode_read_block(os->os_meta_dnode, blk, &buf)) != 0)
            return err;
        while (buf != NULL &&
               dnode_slot_next(buf->b_data, MIN(buf->b_size, (uint32_t)DNODE_BLOCK_SIZE), &sl)) {
            *found = blk * DNODES_PER_BLOCK + sl.sl_index;
            if (sl.sl_dnp->dn_type != DMU_OT_NONE && *found >= want && *found != 0) {
                arc_buf_rele(buf);
                return 0;
            }
        }
        arc_buf_rele(buf);
    }
    return err;
}

/* The first object after `object` that is allocated but not synced; UINT64_MAX none. */
static uint64_t
next_pending(objset_t *os, uint64_t object)
{
    uint64_t start, size, pos = object + 1;
    bool found;

    for (;;) {
        mutex_enter(&os->os_dirty_lock);
        found = range_tree_find_next(os->os_pending, pos, &start, &size);
        mutex_exit(&os->os_dirty_lock);
        if (!found)
            return UINT64_MAX;
        for (pos = MAX(pos, start); pos < start + size; pos++)
            if (dnode_object_allocated(os, pos))
                return pos;
    }
}

static int
next_allocated(objset_t *os, uint64_t *objectp, uint64_t since)
{
    uint64_t pos = *objectp, pending = next_pending(os, pos), found = UINT64_MAX;
    int err;

    while ((err = next_synced(os, pos, since, &found)) == 0 && found < pending &&
           dnode_object_freed(os, found))
        pos = found;
    if (err != 0 && err != ESRCH)
        return err;
    if (err == ESRCH)
        found = UINT64_MAX;
    found = MIN(found, pending);
    if (found == UINT64_MAX)
        return SET_ERROR(ESRCH);
    *objectp = found;
    return 0;
}

static int
next_free(objset_t *os, uint64_t *objectp)
{
    uint64_t want = *objectp + 1, blk = want / DNODES_PER_BLOCK;
    uint32_t used;
    int err;

    for (; blk < DN_MAX_OBJECT / DNODES_PER_BLOCK; blk++) {
        err = dnode_find_next(os->os_meta_dnode, DN_FIND_NOTFULL, 0, &blk);
        if (err != 0 && err != ESRCH)
            return err;
        if ((err = used_mask(os, blk, &used)) != 0)
            return err;
        for (uint32_t i = 0; i < DNODES_PER_BLOCK; i++) {
            uint64_t object = blk * DNODES_PER_BLOCK + i;
            if (object >= want && (used & slot_bits(i, 1)) == 0) {
                *objectp = object;
                return 0;
            }
        }
    }
    return SET_ERROR(ESRCH);
}

int
dmu_object_next(objset_t *os, uint64_t *objectp, bool hole, uint64_t since)
{
    return hole ? next_free(os, objectp) : next_allocated(os, objectp, since);
}

int
dmu_object_info(objset_t *os, uint64_t object, dmu_object_info_t *doi)
{
    const dnode_phys_t *dnp;
    uint64_t used;
    dnode_t *dn;
    int err;

    if ((err = dnode_hold(os, object, &dn)) != 0)
        return err;
    mutex_enter(&dn->dn_mtx);
    const dnode_shape_t *now = &dn->dn_now;
    dnp = dn->dn_phys;
    used = dnp->dn_used << ((dnp->dn_flags & DNODE_FLAG_USED_BYTES) != 0 ? 0 : SPA_MINBLOCKSHIFT);
    *doi = (dmu_object_info_t){
        .doi_data_block_size = now->ds_datablksz,
        .doi_metadata_block_size = 1U << now->ds_indblkshift,
        .doi_type = now->ds_type,
        .doi_bonus_type = now->ds_bonustype,
        .doi_indirection = (uint8_t)MAX(dnp->dn_nlevels, 1),
        .doi_checksum = now->ds_checksum,
        .doi_compress = now->ds_compress,
        .doi_bonus_size = now->ds_bonuslen,
        .doi_bonus_max =
            (uint16_t)(DN_BONUS_SIZE(now->ds_slots) - ((now->ds_nblkptr - 1) << SPA_BLKPTRSHIFT)),
        .doi_dnodesize = (uint32_t)now->ds_slots << DNODE_SHIFT,
        .doi_physical_blocks_512 = (used + dn->dn_dirty_bytes) >> SPA_MINBLOCKSHIFT,
        .doi_max_offset = has_data(dn) ? (now->ds_maxblkid + 1) * now->ds_datablksz : 0,
        .doi_has_spill = now->ds_has_spill,
    };
    for (uint8_t i = 0; dnp->dn_type != DMU_OT_NONE && i < dnp->dn_nblkptr; i++)
        doi->doi_fill_count += bp_fill((const blkptr_t *)((const uint8_t *)dnp + DNODE_CORE_SIZE) + i);
    mutex_exit(&dn->dn_mtx);
    dnode_rele(dn);
    return 0;
}
