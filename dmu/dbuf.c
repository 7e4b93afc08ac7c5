/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dbuf.c - one block of an object in memory: its present contents, and one frozen version per txg in flight.
 *
 *                    hold(read)             read done
 *      UNCACHED ------------------> READ ---------------> CACHED <----------+
 *         |  ^                        |                     |  | dirty      | fill: overwritten without reading
 *         |  +------------------------+                     |  +------------+--------------- UNCACHED
 *         |        read failed                              |
 *         +<------------------------------------------------+
 *               freed (or last hold gone and clean: the dbuf itself is freed)
 *
 *      any but READ --replaced by packed contents--> PACKED --hold(read)--> READ --unpacked--> CACHED      (PACKED: always dirty when
 *                                                                                                        nobody holds it)
 *
 * What dirtying does to the buffers (R: a record of a txg, A: the ARC):
 *
 *      clean:           db_buf --> [1] <-- A          dirtied in t:     db_buf --> [2] <-- R(t)      copied: A had it
 *      dirtied in t+1:  db_buf --> [3] <-- R(t+1)                                  [2] <-- R(t)      copied: R(t) had it
 *      t synced:        db_buf --> [3] <-- R(t+1)                                  [2] <-- A
 *
 * The rule behind: a buffer that anybody else refers to is not written to (arc_buf_writable), save by the open txg that
 * has dirtied it already. A record that got packed contents keeps them, whoever unpacks them for himself, until its own txg changes
 * the block again. The bonus has no buffer of its own but malloc'ed bytes; the same picture, with "is it still db_data" for the rule.
 *
 * INVARIANTS: dmu_impl.h 1, 2, 3, 5; dbuf_verify() checks them.
 *
 *     dbuf_hold(dn, blkid, true, &db)  ->  dbuf_dirty(db, tx, false)  ->  change db->db.db_data  ->  dbuf_rele(db)
 *
 * ZFS: dbuf.c. There dbufs exist for indirect blocks too, and a dirty record tree mirrors the block tree.
 */
#include "dmu_impl.h"

static bool
dbuf_is_bonus(const dbuf_t *db)
{
    return db->db_blkid == DMU_BONUS_BLKID;
}

static uint32_t
bonus_room(const dnode_t *dn)
{
    return (uint32_t)DN_BONUS_SIZE(MAX(dn->dn_now.ds_slots, 1));
}

dbuf_t *
dbuf_find(dnode_t *dn, uint64_t blkid)
{
    dbuf_t key = {.db_blkid = blkid};

    return avl_find(&dn->dn_dbufs, &key, NULL);
}

dirty_record_t *
dbuf_newest(dbuf_t *db)
{
    dirty_record_t *dr = NULL;

    for (int t = 0; t < TXG_SIZE; t++)
        if (db->db_dirty[t] != NULL && (dr == NULL || db->db_dirty[t]->dr_txg > dr->dr_txg))
            dr = db->db_dirty[t];
    return dr;
}

/* buf's reference becomes db_buf. */
static void
dbuf_set_buf(dbuf_t *db, arc_buf_t *buf)
{
    arc_buf_rele(db->db_buf);
    db->db_buf = buf;
    db->db.db_data = buf == NULL ? NULL : buf->b_data;
    if (buf != NULL)
        db->db.db_size = buf->b_size;
    db->db_state = buf == NULL ? DB_UNCACHED : buf->b_packed != NULL ? DB_PACKED : DB_CACHED;
}

static arc_buf_t *
zero_buf(uint64_t size)
{
    arc_buf_t *buf = arc_buf_alloc((uint32_t)size);

    memset(buf->b_data, 0, size);
    return buf;
}

/* The bonus comes from the dnode itself. */
static void
dbuf_init_bonus(dbuf_t *db)
{
    dnode_t *dn = db->db_dnode;
    const dnode_phys_t *dnp = dn->dn_phys;

    db->db.db_data = xzalloc(bonus_room(dn));
    db->db.db_size = dn->dn_now.ds_bonuslen;
    db->db_state = DB_CACHED;
    if (dnp->dn_type != DMU_OT_NONE)
        memcpy(db->db.db_data, dnode_phys_bonus(dnp), MIN(dnp->dn_bonuslen, bonus_room(dn)));
}

static dbuf_t *
dbuf_create(dnode_t *dn, uint64_t blkid)
{
    dbuf_t *db = xzalloc(sizeof(*db));

    db->db_dnode = dn;
    db->db_blkid = blkid;
    db->db.db_object = dn->dn_object;
    if (blkid == DMU_SPILL_BLKID) {
        if (dn->dn_phys->dn_flags & DNODE_FLAG_SPILL_BLKPTR)
            db->db.db_size = BP_GET_LSIZE(dnode_phys_spill(dn->dn_phys));
    } else if (blkid != DMU_BONUS_BLKID) {
        db->db.db_size = dn->dn_now.ds_datablksz;
        db->db.db_offset = blkid * db->db.db_size;
    }
    if (dbuf_is_bonus(db))
        dbuf_init_bonus(db);
    avl_add(&dn->dn_dbufs, db);
    dnode_add_ref(dn);
    return db;
}

bool
dbuf_reap(dbuf_t *db)
{
    if (db->db_holds != 0 || db->db_state == DB_READ || dbuf_newest(db) != NULL)
        return false;
    avl_remove(&db->db_dnode->dn_dbufs, db);
    if (dbuf_is_bonus(db))
        free(db->db.db_data);
    arc_buf_rele(db->db_buf);
    free(db);
    return true;
}

/* ---- reading ---- */

/* One try, dn_mtx given up meanwhile. A buffer of the block's size. */
static int
dbuf_read_once(dbuf_t *db, const dnode_roots_t *r, const blkptr_t *spill, arc_buf_t **bufp)
{
    dnode_t *dn = db->db_dnode;
    zbookmark_t zb = {dn->dn_objset->os_dsobj, dn->dn_object, 0, DMU_SPILL_BLKID};
    arc_buf_t *buf = NULL;
    int err = 0;

    if (db->db_blkid != DMU_SPILL_BLKID)
        err = dnode_read_once(dn, r, db->db_blkid, &buf);
    else if (!BP_IS_HOLE(spill))
        err = dmu_block_read_since(dn->dn_objset->os_spa, spill, &zb, BP_GET_TYPE(spill), 0, 0, r->r_since,
                                   &buf);
    if (err != 0)
        return err;
    if (buf == NULL || buf->b_size != db->db.db_size) { /* a hole, or older than the block size */
        *bufp = zero_buf(db->db.db_size);
        if (buf != NULL)
            memcpy((*bufp)->b_data, buf->b_data, MIN(buf->b_size, db->db.db_size));
        arc_buf_rele(buf);
        return 0;
    }
    *bufp = buf;
    return 0;
}

/* UNCACHED -> READ -> CACHED or back. dn_mtx held on entry and return. */
static int
dbuf_read(dbuf_t *db)
{
    dnode_t *dn = db->db_dnode;
    dnode_roots_t r;
    blkptr_t spill = {0};
    arc_buf_t *buf = NULL;
    int err, tries = 0;

    if (db->db_blkid != DMU_SPILL_BLKID && dnode_block_freed(dn, db->db_blkid)) {
        dbuf_set_buf(db, zero_buf(db->db.db_size));
        return 0;
    }
    db->db_state = DB_READ;
    bool again;
    do {
        dnode_roots_locked(dn, &r);
        if (db->db_blkid == DMU_SPILL_BLKID && (dn->dn_phys->dn_flags & DNODE_FLAG_SPILL_BLKPTR) != 0)
            spill = *dnode_phys_spill(dn->dn_phys);
        mutex_exit(&dn->dn_mtx);
        err = dbuf_read_once(db, &r, &spill, &buf);
        again = err != 0 && dnode_walk_again(dn, &r, &tries);
        mutex_enter(&dn->dn_mtx);
    } while (again);
    dbuf_set_buf(db, buf);
    cv_broadcast(&dn->dn_cv);
    return err;
}

int
dbuf_unpack(dbuf_t *db)
{
    dnode_t *dn = db->db_dnode;
    arc_buf_t *packed = arc_buf_hold(db->db_buf), *plain;
    int err;

    db->db_state = DB_READ;
    mutex_exit(&dn->dn_mtx);
    err = arc_buf_unpack(packed, &plain);
    mutex_enter(&dn->dn_mtx);
    db->db_state = DB_PACKED;
    if (err == 0)
        dbuf_set_buf(db, plain);
    arc_buf_rele(packed);
    cv_broadcast(&dn->dn_cv);
    return err;
}

int
dbuf_hold(dnode_t *dn, uint64_t blkid, bool read, dbuf_t **dbp)
{
    dbuf_t *db;
    int err = 0;

    mutex_enter(&dn->dn_mtx);
    if (dn->dn_now.ds_type == DMU_OT_NONE || (blkid == DMU_SPILL_BLKID && !dn->dn_now.ds_has_spill)) {
        mutex_exit(&dn->dn_mtx);
        return SET_ERROR(ENOENT);
    }
    if ((db = dbuf_find(dn, blkid)) == NULL)
        db = dbuf_create(dn, blkid);
    db->db_holds++;
    while (db->db_state == DB_READ)
        cv_wait(&dn->dn_cv, &dn->dn_mtx);
    if (read && db->db_state == DB_UNCACHED)
        err = dbuf_read(db);
    else if (read && db->db_state == DB_PACKED)
        err = dbuf_unpack(db);
    mutex_exit(&dn->dn_mtx);
    if (err != 0)
        dbuf_rele(db);
    *dbp = err == 0 ? db : NULL;
    return err;
}

void
dbuf_rele(dbuf_t *db)
{
    dnode_t *dn = db->db_dnode;
    bool gone;

    mutex_enter(&dn->dn_mtx);
    ASSERT(db->db_holds > 0);
    db->db_holds--;
    gone = dbuf_reap(db);
    mutex_exit(&dn->dn_mtx);
    if (gone)
        dnode_rele(dn);
}

/* ---- dirtying ---- */

/* The indirect block above counts with the first dirty block under it. */
static uint64_t
dbuf_ind_bytes(dirty_record_t *dr)
{
    dnode_t *dn = dr->dr_dbuf->db_dnode;
    avl_tree_t *t = &dn->dn_dirty_dbufs[dr->dr_txg & TXG_MASK];
    unsigned epbs = dn->dn_now.ds_indblkshift - SPA_BLKPTRSHIFT;
    dirty_record_t *prev = avl_prev(t, dr), *next = avl_next(t, dr);

    if (dr->dr_blkid >= DMU_SPILL_BLKID || dn->dn_now.ds_maxblkid < dn->dn_now.ds_nblkptr)
        return 0;
    if ((prev != NULL && prev->dr_blkid >> epbs == dr->dr_blkid >> epbs) ||
        (next != NULL && next->dr_blkid >> epbs == dr->dr_blkid >> epbs))
        return 0;
    return 1ULL << dn->dn_now.ds_indblkshift;
}

/* A record for what is now db_buf (the bonus: db_data), which nobody else may refer to. */
static void
dbuf_record(dbuf_t *db, dmu_tx_t *tx)
{
    dnode_t *dn = db->db_dnode;
    dirty_record_t *dr = xzalloc(sizeof(*dr));
    dirty_record_t *newest = dbuf_newest(db);

    VERIFY(newest == NULL || newest->dr_txg < tx->tx_txg);
    dr->dr_dbuf = db;
    dr->dr_txg = tx->tx_txg;
    dr->dr_blkid = db->db_blkid;
    if (dbuf_is_bonus(db))
        dr->dr_bonus = db->db.db_data;
    else
        dr->dr_buf = arc_buf_hold(db->db_buf);
    db->db_dirty[tx->tx_txg & TXG_MASK] = dr;
    avl_add(&dn->dn_dirty_dbufs[tx->tx_txg & TXG_MASK], dr);
    dr->dr_accounted = db->db.db_size + dbuf_ind_bytes(dr);
}

/* What a dirty block means for its dnode. */
static void
dbuf_tell_dnode(dbuf_t *db, dmu_tx_t *tx, uint64_t accounted)
{
    dnode_t *dn = db->db_dnode;
    range_tree_t *freed = dn->dn_free_ranges[tx->tx_txg & TXG_MASK];
    objset_t *os = dn->dn_objset;
    uint8_t copies;

    if (db->db_blkid < DMU_SPILL_BLKID) {
        if (freed != NULL)
            range_tree_clear(freed, db->db_blkid, 1);
        dn->dn_now.ds_maxblkid = MAX(dn->dn_now.ds_maxblkid, db->db_blkid);
    }
    dnode_setdirty(dn, tx);
    copies = dnode_copies(os, dn->dn_now.ds_type, 0);
    dnode_account(dn, tx, accounted, copies);
}

/* db_buf or db_data becomes writable: copied when shared. fill: the contents do not matter. */
static void
dbuf_unshare(dbuf_t *db, bool fill)
{
    dirty_record_t *dr;

    if (dbuf_is_bonus(db)) {
        if ((dr = dbuf_newest(db)) != NULL && dr->dr_bonus == db->db.db_data) {
            uint32_t room = bonus_room(db->db_dnode);
            db->db.db_data = memcpy(xmalloc(room), dr->dr_bonus, room);
        }
        return;
    }
    if (db->db_state == DB_CACHED && arc_buf_writable(db->db_buf))
        return;
    if (fill) {
        dbuf_set_buf(db, arc_buf_alloc((uint32_t)db->db.db_size));
        return;
    }
    db->db_buf = arc_buf_own(db->db_buf);
    db->db.db_data = db->db_buf->b_data;
}

/* The record of this very txg has packed contents: it gets plain ones, which may be changed. */
static void
dbuf_record_plain(dbuf_t *db, dirty_record_t *dr, bool fill)
{
    dbuf_unshare(db, fill);
    arc_buf_rele(dr->dr_buf);
    dr->dr_buf = arc_buf_hold(db->db_buf);
}

void
dbuf_dirty(dbuf_t *db, dmu_tx_t *tx, bool fill)
{
    dnode_t *dn = db->db_dnode;
    dirty_record_t *dr;

    VERIFY(tx->tx_txg != 0);
    mutex_enter(&dn->dn_mtx);
    while (db->db_state == DB_READ)
        cv_wait(&dn->dn_cv, &dn->dn_mtx);
    VERIFY(db->db_state == DB_CACHED || fill);
    VERIFY(dn->dn_now.ds_type != DMU_OT_NONE);
    if ((dr = db->db_dirty[tx->tx_txg & TXG_MASK]) == NULL) {
        dbuf_unshare(db, fill);
        dbuf_record(db, tx);
        dbuf_tell_dnode(db, tx, db->db_dirty[tx->tx_txg & TXG_MASK]->dr_accounted);
    } else if (dr->dr_buf != NULL && dr->dr_buf->b_packed != NULL) {
        dbuf_record_plain(db, dr, fill);
    }
    mutex_exit(&dn->dn_mtx);
}

bool
dbuf_replace(dbuf_t *db, arc_buf_t *buf, dmu_tx_t *tx)
{
    dnode_t *dn = db->db_dnode;
    dirty_record_t *dr;
    uint64_t grown;

    mutex_enter(&dn->dn_mtx);
    while (db->db_state == DB_READ)
        cv_wait(&dn->dn_cv, &dn->dn_mtx);
    if (buf->b_packed != NULL && db->db_holds > 1) {
        mutex_exit(&dn->dn_mtx);
        return false;
    }
    dbuf_set_buf(db, buf);
    if ((dr = db->db_dirty[tx->tx_txg & TXG_MASK]) == NULL) {
        dbuf_record(db, tx);
        grown = db->db_dirty[tx->tx_txg & TXG_MASK]->dr_accounted;
    } else {
        arc_buf_rele(dr->dr_buf);
        dr->dr_buf = arc_buf_hold(buf);
        grown = buf->b_size > dr->dr_accounted ? buf->b_size - dr->dr_accounted : 0;
        dr->dr_accounted += grown;
    }
    dbuf_tell_dnode(db, tx, grown);
    mutex_exit(&dn->dn_mtx);
    return true;
}

/* ---- undoing ---- */

dirty_record_t *
dbuf_record_done(dirty_record_t *dr, uint64_t *unrefs)
{
    dbuf_t *db = dr->dr_dbuf;
    dnode_t *dn = db->db_dnode;
    avl_tree_t *t = &dn->dn_dirty_dbufs[dr->dr_txg & TXG_MASK];
    dirty_record_t *next = avl_next(t, dr);

    avl_remove(t, dr);
    db->db_dirty[dr->dr_txg & TXG_MASK] = NULL;
    dn->dn_dirty_bytes -= MIN(dn->dn_dirty_bytes, dr->dr_accounted);
    if (dr->dr_bonus != NULL && dr->dr_bonus != db->db.db_data)
        free(dr->dr_bonus);
    arc_buf_rele(dr->dr_buf);
    free(dr);
    if (dbuf_reap(db))
        (*unrefs)++;
    return next;
}

void
dbuf_undirty(dbuf_t *db, uint64_t txg)
{
    dirty_record_t *dr = db->db_dirty[txg & TXG_MASK];
    objset_t *os = db->db_dnode->dn_objset;
    uint64_t unrefs = 0;

    if (dr == NULL)
        return;
    VERIFY3U(dr->dr_txg, ==, txg);
    txg_dirty_add(os->os_txg, txg, -(int64_t)dr->dr_accounted);
    db->db_holds++; /* so that it is not reaped here */
    (void)dbuf_record_done(dr, &unrefs);
    db->db_holds--;
}

void
dbuf_clear(dbuf_t *db)
{
    ASSERT(db->db_state != DB_READ);
    if (db->db_holds == 0)
        dbuf_set_buf(db, NULL);
    else if (db->db_state != DB_UNCACHED)
        dbuf_set_buf(db, zero_buf(db->db.db_size));
}

void
dbuf_set_blksz(dnode_t *dn, uint32_t size, bool keep_first)
{
    dbuf_t *db;

    dnode_wait_reads(dn, 0, DN_BLKID_END);
    dn->dn_now.ds_datablksz = size;
    for (db = avl_first(&dn->dn_dbufs); db != NULL && db->db_blkid < DMU_SPILL_BLKID;
         db = avl_next(&dn->dn_dbufs, db)) {
        if (db->db_blkid == 0 && keep_first)
            continue;
        db->db.db_size = size;
        db->db.db_offset = db->db_blkid * size;
        if (db->db_state != DB_UNCACHED)
            dbuf_set_buf(db, zero_buf(size));
    }
}

void
dbuf_verify(dbuf_t *db)
{
    dirty_record_t *newest = dbuf_newest(db);

    ASSERT(db->db_holds > 0 || newest != NULL || db->db_state == DB_READ);
    for (int t = 0; t < TXG_SIZE; t++) {
        dirty_record_t *dr = db->db_dirty[t];
        if (dr == NULL)
            continue;
        ASSERT((dr->dr_txg & TXG_MASK) == (uint64_t)t && dr->dr_dbuf == db);
        ASSERT(avl_find(&db->db_dnode->dn_dirty_dbufs[t], dr, NULL) == dr);
        ASSERT(dr == newest || dr->dr_buf == NULL || dr->dr_buf != db->db_buf);
        ASSERT(list_link_active(&db->db_dnode->dn_dirty_link[t]));
    }
}
