/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dmu_buf.c - held pieces of an object: a block, the bonus, the spill block.
 *
 *      dnode, n * 512 bytes
 *     +------+---------------+----------------------------------+ - - - - - - - +
 *     | core | 1..3 pointers | bonus                            | spill pointer |
 *     +------+---------------+----------------------------------+ - - - - - - - +
 *                                                                      +--> spill block: what does not fit into the bonus
 *
 *     dmu_bonus_hold(os, object, &db)  ->  dmu_buf_will_dirty(db, tx)  ->  write to db->db_data  ->  dmu_buf_rele(db)
 *
 * A spill block costs 128 bytes of bonus room.
 *
 * ZFS: dmu_buf_hold() and dmu_bonus_hold() in dmu.c, dmu_spill_hold_*(), dbuf_spill_set_blksz() in dbuf.c
 */
#include "dmu_impl.h"

static int
hold(objset_t *os, uint64_t object, uint64_t off, uint64_t special, dmu_buf_t **dbp)
{
    uint64_t blkid = special;
    dbuf_t *db = NULL;
    dnode_t *dn;
    int err;

    *dbp = NULL;
    if ((err = dnode_hold(os, object, &dn)) != 0)
        return err;
    if (special == 0) {
        mutex_enter(&dn->dn_mtx);
        blkid = off / dn->dn_now.ds_datablksz;
        mutex_exit(&dn->dn_mtx);
    }
    if ((err = dbuf_hold(dn, blkid, true, &db)) == 0)
        *dbp = &db->db;
    dnode_rele(dn);
    return err;
}

int
dmu_buf_hold(objset_t *os, uint64_t object, uint64_t off, dmu_buf_t **dbp)
{
    return hold(os, object, off, 0, dbp);
}

int
dmu_bonus_hold(objset_t *os, uint64_t object, dmu_buf_t **dbp)
{
    return hold(os, object, 0, DMU_BONUS_BLKID, dbp);
}

int
dmu_spill_hold(objset_t *os, uint64_t object, dmu_buf_t **dbp)
{
    return hold(os, object, 0, DMU_SPILL_BLKID, dbp);
}

void
dmu_buf_will_dirty(dmu_buf_t *db, dmu_tx_t *tx)
{
    dbuf_dirty((dbuf_t *)db, tx, false);
}

void
dmu_buf_will_fill(dmu_buf_t *db, dmu_tx_t *tx)
{
    dbuf_dirty((dbuf_t *)db, tx, true);
}

void
dmu_buf_rele(dmu_buf_t *db)
{
    dbuf_rele((dbuf_t *)db);
}

/* Does a bonus of this length fit, with or without a spill pointer? dn_mtx held. */
static bool
bonus_fits(const dnode_t *dn, uint32_t len, bool spill)
{
    uint32_t pointers = dn->dn_now.ds_nblkptr - 1u + spill;

    return len + (pointers << SPA_BLKPTRSHIFT) <= (uint32_t)DN_BONUS_SIZE(dn->dn_now.ds_slots);
}

int
dmu_set_bonus(dmu_buf_t *bonus, uint16_t newlen, uint8_t newtype, dmu_tx_t *tx)
{
    dbuf_t *db = (dbuf_t *)bonus;
    dnode_t *dn = db->db_dnode;
    bool fits;

    mutex_enter(&dn->dn_mtx);
    fits = bonus_fits(dn, newlen, dn->dn_now.ds_has_spill);
    mutex_exit(&dn->dn_mtx);
    if (!fits || !dmu_ot_is_valid(newtype))
        return SET_ERROR(EINVAL);
    dbuf_dirty(db, tx, false);
    mutex_enter(&dn->dn_mtx);
    if (newlen > db->db.db_size)
        memset((uint8_t *)db->db.db_data + db->db.db_size, 0, newlen - db->db.db_size);
    db->db.db_size = newlen;
    dn->dn_now.ds_bonuslen = newlen;
    dn->dn_now.ds_bonustype = newtype;
    dnode_setdirty(dn, tx);
    mutex_exit(&dn->dn_mtx);
    return 0;
}

static int
spill_create(dnode_t *dn, uint32_t size, dmu_tx_t *tx, dmu_buf_t **dbp)
{
    arc_buf_t *buf;
    dbuf_t *db;
    bool fits;
    int err;

    mutex_enter(&dn->dn_mtx);
    fits = bonus_fits(dn, dn->dn_now.ds_bonuslen, true);
    if (fits && dn->dn_now.ds_type != DMU_OT_NONE)
        dn->dn_now.ds_has_spill = true; /* dirtied below */
    mutex_exit(&dn->dn_mtx);
    if (!fits)
        return SET_ERROR(EINVAL);
    if ((err = dbuf_hold(dn, DMU_SPILL_BLKID, false, &db)) != 0)
        return err;
    buf = arc_buf_alloc(size);
    memset(buf->b_data, 0, size);
    VERIFY(dbuf_replace(db, buf, tx)); /* it is plain */
    *dbp = &db->db;
    return 0;
}

int
dmu_spill_create(objset_t *os, uint64_t object, uint32_t size, dmu_tx_t *tx, dmu_buf_t **dbp)
{
    dnode_t *dn;
    int err;

    *dbp = NULL;
    if (size == 0 || size > SPA_MAXBLOCKSIZE)
        return SET_ERROR(EINVAL);
    if ((err = dnode_hold(os, object, &dn)) != 0)
        return err;
    err = spill_create(dn, P2ROUNDUP(size, (uint32_t)SPA_MINBLOCKSIZE), tx, dbp);
    dnode_rele(dn);
    return err;
}

int
dmu_spill_remove(objset_t *os, uint64_t object, dmu_tx_t *tx)
{
    bool gone = false;
    dnode_t *dn;
    dbuf_t *db;
    int err;

    if ((err = dnode_hold(os, object, &dn)) != 0)
        return err;
    mutex_enter(&dn->dn_mtx);
    if (!dn->dn_now.ds_has_spill) {
        err = SET_ERROR(ENOENT);
    } else {
        while ((db = dbuf_find(dn, DMU_SPILL_BLKID)) != NULL && db->db_state == DB_READ)
            cv_wait(&dn->dn_cv, &dn->dn_mtx);
        if (db != NULL) {
            dbuf_undirty(db, tx->tx_txg);
            dbuf_clear(db);
            gone = dbuf_reap(db);
        }
        dn->dn_now.ds_has_spill = false;
        dnode_setdirty(dn, tx);
    }
    mutex_exit(&dn->dn_mtx);
    if (gone)
        dnode_rele(dn);
    dnode_rele(dn);
    return err;
}
