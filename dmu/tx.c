/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tx.c - transactions: what belongs together, and the promise that there will be room for it.
 *
 *     dmu_tx_create      dmu_tx_hold_*            dmu_tx_assign             changes            dmu_tx_commit
 *          |                  |                        |                       |                     |
 *        empty ------> worst case tx_space ----> a holder of the ------> tx_dirtied counts ----> holder no more
 *                      (may read: errors now,     open txg; space         what it really was
 *                       not later)                reserved
 *
 * SPACE. oh_reserve() gets the worst case at assign. At commit what was not dirtied after all goes back; what was dirtied stays
 * reserved until its txg has been written (objset_sync() gives os_reserved[txg] back), when the real allocation counts instead.
 * All in bytes, all copies. The estimate: every data block touched, every indirect block above it, and once per tx TX_DNODE_BYTES
 * for the dnode's own block and what is above that, shared by so many transactions that a full count would be far too much.
 *
 * A tx that does not fit while changes are on their way to disk waits for them and tries again: they may free space. Not
 * so with NOWAIT.
 *
 * ZFS: dmu_tx.c. There a hold keeps the dnode; here only the estimate is kept (why that is enough: txg.c, invariant 2).
 */
#include "dmu_impl.h"

#define TX_DNODE_BYTES (64ULL << 10)
#define TX_ZAP_BLOCKS  4 /* a leaf split and a pointer-table block, say */
#define TX_ZAP_BLKSZ   (16ULL << 10)
#define TX_RETRIES     8

static dmu_tx_t *
tx_alloc(objset_t *os, txg_state_t *ts)
{
    dmu_tx_t *tx = xzalloc(sizeof(*tx));

    tx->tx_os = os;
    tx->tx_ts = ts;
    return tx;
}

dmu_tx_t *
dmu_tx_create(objset_t *os)
{
    return tx_alloc(os, os->os_txg);
}

dmu_tx_t *
dmu_tx_create_syncing(txg_state_t *ts, uint64_t txg)
{
    dmu_tx_t *tx = tx_alloc(NULL, ts);

    tx->tx_txg = txg;
    tx->tx_syncing = true;
    return tx;
}

uint64_t
dmu_tx_txg(const dmu_tx_t *tx)
{
    return tx->tx_txg;
}

bool
dmu_tx_is_syncing(const dmu_tx_t *tx)
{
    return tx->tx_syncing;
}

/* ---- estimates ---- */

static void
tx_add(dmu_tx_t *tx, uint64_t bytes)
{
    if (tx->tx_space + bytes < bytes)
        tx->tx_space = UINT64_MAX / 4;
    else
        tx->tx_space = MIN(tx->tx_space + bytes, UINT64_MAX / 4);
}

static void
tx_add_dnode(dmu_tx_t *tx)
{
    if (!tx->tx_dnode_counted)
        tx_add(tx, TX_DNODE_BYTES);
    tx->tx_dnode_counted = true;
}

static void
tx_fail(dmu_tx_t *tx, int err)
{
    if (tx->tx_err == 0)
        tx->tx_err = err;
}

/* What an object looks like now; a new one as by default. The dnode is returned held, or NULL. */
static dnode_t *
tx_shape(dmu_tx_t *tx, uint64_t object, dnode_shape_t *ds)
{
    objset_t *os = tx->tx_os;
    objset_props_t props;
    dnode_t *dn = NULL;
    int err;

    if (object == DMU_NEW_OBJECT || os->os_txg == NULL) {
        objset_get_props(os, &props);
        *ds = (dnode_shape_t){.ds_type = DMU_OT_PLAIN_FILE_CONTENTS,
                              .ds_nblkptr = 1,
                              .ds_indblkshift = os->os_indblkshift,
                              .ds_datablksz = props.op_recordsize};
        return NULL;
    }
    if ((err = dnode_hold(os, object, &dn)) != 0) {
        tx_fail(tx, err);
        return NULL;
    }
    mutex_enter(&dn->dn_mtx);
    *ds = dn->dn_now;
    mutex_exit(&dn->dn_mtx);
    return dn;
}

/* The indirect blocks over blocks [first, last]. */
static uint64_t
tx_indirect_bytes(objset_t *os, const dnode_shape_t *ds, uint64_t first, uint64_t last)
{
    unsigned epbs = ds->ds_indblkshift - SPA_BLKPTRSHIFT;
    int levels = dnode_levels_for(ds->ds_nblkptr, ds->ds_indblkshift, MAX(last, ds->ds_maxblkid));
    uint64_t n = 0;

    for (int l = 1; l < levels; l++)
        n += shr64(last, epbs * (unsigned)l) - shr64(first, epbs * (unsigned)l) + 1;
    return (n << ds->ds_indblkshift) * dnode_copies(os, ds->ds_type, 1);
}

/* The pointers to the edges must be readable; later it would be too late for an error. */
static void
tx_check_path(dmu_tx_t *tx, dnode_t *dn, uint64_t blkid)
{
    blkptr_t bp;
    int err = dnode_block_pointer(dn, blkid, &bp);

    if (err != 0)
        tx_fail(tx, err);
}

void
dmu_tx_hold_write(dmu_tx_t *tx, uint64_t object, uint64_t off, uint64_t len)
{
    dnode_shape_t ds;
    dnode_t *dn = tx_shape(tx, object, &ds);
    uint64_t first, last, bs;

    tx_add_dnode(tx);
    if (len == 0 || tx->tx_err != 0) {
        if (dn != NULL)
            dnode_rele(dn);
        return;
    }
    if (off + len - 1 < off)
        len = UINT64_MAX - off;
    bs = ds.ds_datablksz;
    first = off / bs;
    last = (off + len - 1) / bs;
    tx_add(tx, MIN(last - first + 1, UINT64_MAX / 64 / bs) * bs * dnode_copies(tx->tx_os, ds.ds_type, 0));
    tx_add(tx, tx_indirect_bytes(tx->tx_os, &ds, first, last));
    if (dn != NULL) {
        tx_check_path(tx, dn, first);
        if (last != first)
            tx_check_path(tx, dn, last);
        dnode_rele(dn);
    }
}

void
dmu_tx_hold_free(dmu_tx_t *tx, uint64_t object, uint64_t off, uint64_t len)
{
    dnode_shape_t ds;
    dnode_t *dn = tx_shape(tx, object, &ds);

    tx_add_dnode(tx);
    if (dn == NULL)
        return;
    /* two edge blocks, and an indirect path above each */
    tx_add(tx, 2 * (uint64_t)ds.ds_datablksz * dnode_copies(tx->tx_os, ds.ds_type, 0));
    tx_add(tx, 2 * tx_indirect_bytes(tx->tx_os, &ds, 0, 0));
    if (off != 0)
        tx_check_path(tx, dn, off / ds.ds_datablksz);
    if (len < UINT64_MAX - off)
        tx_check_path(tx, dn, (off + len) / ds.ds_datablksz);
    dnode_rele(dn);
}

void
dmu_tx_hold_bonus(dmu_tx_t *tx, uint64_t object)
{
    dnode_shape_t ds;
    dnode_t *dn = tx_shape(tx, object, &ds);

    tx_add_dnode(tx);
    if (dn != NULL)
        dnode_rele(dn);
}

void
dmu_tx_hold_spill(dmu_tx_t *tx, uint64_t object)
{
    dmu_buf_t *db;
    int err;

    dmu_tx_hold_bonus(tx, object);
    tx_add(tx, SPA_OLD_MAXBLOCKSIZE * dnode_copies(tx->tx_os, DMU_OT_SA, 0));
    if (object == DMU_NEW_OBJECT || tx->tx_err != 0)
        return;
    if ((err = dmu_spill_hold(tx->tx_os, object, &db)) == 0) {
        tx->tx_spills = xrealloc(tx->tx_spills, ((size_t)tx->tx_nspills + 1) * sizeof(dmu_buf_t *));
        tx->tx_spills[tx->tx_nspills++] = db;
    } else if (err != ENOENT) {
        tx_fail(tx, err);
    }
}

void
dmu_tx_hold_error(dmu_tx_t *tx, int err)
{
    tx_fail(tx, err);
}

void
dmu_tx_hold_zap(dmu_tx_t *tx, uint64_t object, bool add, const char *name)
{
    dnode_shape_t ds;
    dnode_t *dn = tx_shape(tx, object, &ds);
    uint64_t bs = object == DMU_NEW_OBJECT ? TX_ZAP_BLKSZ : MAX(ds.ds_datablksz, TX_ZAP_BLKSZ);

    tx_add_dnode(tx);
    if (tx->tx_err == 0) {
        tx_add(tx, (add ? TX_ZAP_BLOCKS : 1) * (name == NULL ? 2 : 1) * bs *
                       dnode_copies(tx->tx_os, DMU_OT_ZAP_OTHER, 0));
        tx_add(tx, tx_indirect_bytes(tx->tx_os, &ds, 0, 0));
    }
    if (dn != NULL)
        dnode_rele(dn);
}

void
dmu_tx_hold_space(dmu_tx_t *tx, uint64_t bytes)
{
    tx_add(tx, bytes);
}

void
dmu_tx_mark_netfree(dmu_tx_t *tx)
{
    tx->tx_netfree = true;
}

/* ---- assigning ---- */

static int
tx_reserve(dmu_tx_t *tx)
{
    const struct objset_hooks *h = &tx->tx_os->os_hooks;
    int err;

    if (h->oh_reserve == NULL || tx->tx_space == 0)
        return 0;
    if ((err = h->oh_reserve(h->oh_arg, (int64_t)tx->tx_space, tx->tx_netfree, tx->tx_txg)) == 0)
        tx->tx_reserved = tx->tx_space;
    return err;
}

static int
tx_try_assign(dmu_tx_t *tx, int how)
{
    int err = txg_hold_open(tx->tx_ts, how, &tx->tx_txg);

    if (err != 0)
        return err;
    if ((err = tx_reserve(tx)) != 0) {
        txg_rele(tx->tx_ts);
        tx->tx_txg = 0;
    }
    return err;
}

int
dmu_tx_assign(dmu_tx_t *tx, int how)
{
    int err, tries = 0;

    VERIFY(tx->tx_txg == 0 && tx->tx_os != NULL);
    if (tx->tx_ts == NULL)
        return SET_ERROR(EROFS);
    if (tx->tx_err != 0)
        return tx->tx_err;
    while ((err = tx_try_assign(tx, how)) == ENOSPC || err == EDQUOT || err == EAGAIN) {
        if (how == DMU_TX_NOWAIT || ++tries > TX_RETRIES || (err != EAGAIN && txg_is_clean(tx->tx_ts)))
            break;
        /* EAGAIN from the hook: space is on its way back even when nothing is dirty */
        if (txg_wait_synced(tx->tx_ts, err == EAGAIN ? txg_open_txg(tx->tx_ts) : 0) != 0)
            return txg_error(tx->tx_ts);
    }
    return err == EAGAIN && how != DMU_TX_NOWAIT ? SET_ERROR(ENOSPC) : err;
}

/* What was reserved and not used goes back; the rest waits for the sync. */
static void
tx_unreserve(dmu_tx_t *tx)
{
    objset_t *os = tx->tx_os;
    uint64_t keep = MIN(tx->tx_dirtied, tx->tx_reserved), back = tx->tx_reserved - keep;

    if (back != 0)
        (void)os->os_hooks.oh_reserve(os->os_hooks.oh_arg, -(int64_t)back, tx->tx_netfree, tx->tx_txg);
    if (keep != 0)
        objset_account_reserve(os, tx->tx_txg, keep);
}

static void
tx_free(dmu_tx_t *tx)
{
    for (int i = 0; i < tx->tx_nspills; i++)
        dmu_buf_rele(tx->tx_spills[i]);
    free(tx->tx_spills);
    free(tx);
}

void
dmu_tx_commit(dmu_tx_t *tx)
{
    VERIFY(tx->tx_txg != 0);
    if (!tx->tx_syncing) {
        tx_unreserve(tx);
        txg_rele(tx->tx_ts);
    }
    tx_free(tx);
}

void
dmu_tx_abort(dmu_tx_t *tx)
{
    VERIFY(tx->tx_txg == 0);
    tx_free(tx);
}
