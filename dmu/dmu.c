/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dmu.c - the contents of objects, by byte ranges.
 *
 *      off                                     off + len
 *       |                                          |
 *   ----+----|------------|------------|-----------+----|---
 *       head |  whole     |   whole    |      tail      |        a write reads head and tail at most;
 *                                                                a free zeroes them and makes holes of the whole blocks
 *
 * A read takes a block from its dbuf if there is one, else from the ARC's own buffer: nothing is copied but to the caller,
 * and no dbuf is made. A sequential reader's next blocks are prefetched into the ARC, in a window that doubles up to 4 MiB.
 * A whole block that comes in a buffer becomes that buffer, without a copy: dmu_assign_arcbuf().
 *
 * Readers and writers of the same bytes must exclude each other (zpl's range locks). Different bytes of one block are fine.
 *
 * ZFS: dmu.c, dmu_zfetch.c
 */
#include "dmu_impl.h"

#define RA_BYTES         (4ULL << 20)
#define LONG_FREE_BLOCKS 16384 /* data blocks per transaction of dmu_free_long_range */

/* ---- read-ahead ---- */

/* The blocks [*from, *to) to prefetch for a read of [first, last]. dn_mtx held. */
static void
readahead_plan(dnode_t *dn, uint64_t first, uint64_t last, uint64_t *from, uint64_t *to)
{
    uint64_t max = MAX(RA_BYTES / dn->dn_now.ds_datablksz, 1ULL);

    if (first == dn->dn_ra_next || first + 1 == dn->dn_ra_next) {
        if (last >= dn->dn_ra_next)
            dn->dn_ra_window = MIN(MAX(dn->dn_ra_window * 2, 2ULL), max);
        *from = MAX(dn->dn_ra_end, first + 1);
        *to = last + 1 + dn->dn_ra_window;
        if (*to < *from + dn->dn_ra_window / 2 && last < dn->dn_ra_end)
            *to = *from; /* enough is under way */
    } else {
        dn->dn_ra_window = 0;
        *from = first + 1;
        *to = last + 1;
    }
    *to = MIN(*to, dn->dn_now.ds_maxblkid + 1);
    dn->dn_ra_next = last + 1;
    dn->dn_ra_end = MAX(*to, last + 1);
}

static void
prefetch_blocks(dnode_t *dn, const dnode_roots_t *r, uint64_t from, uint64_t to)
{
    zbookmark_t zb = {dn->dn_objset->os_dsobj, dn->dn_object, 0, 0};
    blkptr_t bp;

    for (zb.zb_blkid = from; zb.zb_blkid < to && zb.zb_blkid <= r->r_maxblkid; zb.zb_blkid++) {
        if (dnode_walk(dn, r, zb.zb_blkid, &bp) != 0)
            return;
        arc_prefetch_since(dn->dn_objset->os_spa, &bp, &zb, r->r_since);
    }
}

static void
readahead(dnode_t *dn, uint64_t off, uint64_t len)
{
    uint64_t from, to, bs;
    dnode_roots_t r;

    mutex_enter(&dn->dn_mtx);
    bs = dn->dn_now.ds_datablksz;
    if (bs == 0 || off / bs > dn->dn_now.ds_maxblkid || dn->dn_now.ds_maxblkid == 0) {
        mutex_exit(&dn->dn_mtx);
        return;
    }
    readahead_plan(dn, off / bs, (off + len - 1) / bs, &from, &to);
    dnode_roots_locked(dn, &r);
    mutex_exit(&dn->dn_mtx);
    prefetch_blocks(dn, &r, from, to);
}

int
dmu_block_pointer(objset_t *os, uint64_t object, uint64_t off, blkptr_t *bp, zbookmark_t *zb)
{
    dnode_t *dn;
    int err = dnode_hold(os, object, &dn);

    if (err != 0)
        return err;
    mutex_enter(&dn->dn_mtx);
    uint64_t blkid = off / MAX(dn->dn_now.ds_datablksz, 1U);
    mutex_exit(&dn->dn_mtx);
    *zb = (zbookmark_t){os->os_dsobj, object, 0, blkid};
    err = dnode_block_pointer(dn, blkid, bp);
    dnode_rele(dn);
    return err;
}

void
dmu_prefetch(objset_t *os, uint64_t object, uint64_t off, uint64_t len)
{
    dnode_roots_t r;
    dnode_t *dn;
    uint64_t bs;

    if (dnode_hold(os, object, &dn) != 0)
        return;
    mutex_enter(&dn->dn_mtx);
    bs = MAX(dn->dn_now.ds_datablksz, 1U);
    dnode_roots_locked(dn, &r);
    mutex_exit(&dn->dn_mtx);
    if (len != 0)
        prefetch_blocks(dn, &r, off / bs, (len > UINT64_MAX - off ? UINT64_MAX : off + len - 1) / bs + 1);
    dnode_rele(dn);
}

/* ---- reading ---- */

typedef struct piece { /* of one block */
    uint64_t p_blkid, p_off, p_len;
    bool p_beyond; /* after the last block: zeros as far as you like */
} piece_t;

/* The part of [off, off + len) that lies in one block. dn_mtx held. */
static void
piece_of(dnode_t *dn, uint64_t off, uint64_t len, piece_t *p)
{
    uint64_t bs = dn->dn_now.ds_datablksz;

    p->p_blkid = off / bs;
    p->p_off = off % bs;
    p->p_beyond = p->p_blkid > dn->dn_now.ds_maxblkid;
    p->p_len = p->p_beyond ? len : MIN(len, bs - p->p_off);
}

/* Contents that came packed are unpacked for a reader, for as long as the block is dirty. */
static int
read_packed(dnode_t *dn, uint64_t blkid)
{
    dbuf_t *db;
    int err = dbuf_hold(dn, blkid, true, &db);

    if (err != 0)
        return err;
    dbuf_rele(db);
    return EAGAIN;
}

/* The present contents of the block at off; *bufp NULL: zeros. One try; EAGAIN: another thread was faster. */
static int
read_try(dnode_t *dn, uint64_t off, uint64_t len, piece_t *p, arc_buf_t **bufp)
{
    dnode_roots_t r;
    dbuf_t *db;
    int err;

    *bufp = NULL;
    mutex_enter(&dn->dn_mtx);
    if (dn->dn_now.ds_type == DMU_OT_NONE) {
        mutex_exit(&dn->dn_mtx);
        return SET_ERROR(ENOENT);
    }
    piece_of(dn, off, len, p);
    db = p->p_beyond ? NULL : dbuf_find(dn, p->p_blkid);
    if (db != NULL && db->db_state == DB_READ) {
        cv_wait(&dn->dn_cv, &dn->dn_mtx);
        mutex_exit(&dn->dn_mtx);
        return EAGAIN;
    }
    if (db != NULL && db->db_state == DB_PACKED) {
        mutex_exit(&dn->dn_mtx);
        return read_packed(dn, p->p_blkid);
    }
    if (db != NULL && db->db_state == DB_CACHED)
        *bufp = arc_buf_hold(db->db_buf);
    if (*bufp != NULL || p->p_beyond || dnode_block_freed(dn, p->p_blkid)) {
        mutex_exit(&dn->dn_mtx);
        return 0;
    }
    dnode_roots_locked(dn, &r);
    mutex_exit(&dn->dn_mtx);
    err = dnode_read_once(dn, &r, p->p_blkid, bufp);
    return err != 0 && dnode_roots_stale(dn, &r) ? EAGAIN : err;
}

static int
dnode_read(dnode_t *dn, uint64_t off, uint64_t len, uint8_t *out)
{
    arc_buf_t *buf;
    uint64_t have;
    piece_t p;
    int err;

    while (len > 0) {
        while ((err = read_try(dn, off, len, &p, &buf)) == EAGAIN)
            ;
        if (err != 0)
            return err;
        have = buf == NULL || p.p_off >= buf->b_size ? 0 : MIN(p.p_len, buf->b_size - p.p_off);
        if (have != 0)
            memcpy(out, (uint8_t *)buf->b_data + p.p_off, have);
        memset(out + have, 0, p.p_len - have);
        arc_buf_rele(buf);
        off += p.p_len;
        out += p.p_len;
        len -= p.p_len;
    }
    return 0;
}

int
dmu_read(objset_t *os, uint64_t object, uint64_t off, uint64_t len, void *buf)
{
    dnode_t *dn;
    int err;

    if ((err = dnode_hold(os, object, &dn)) != 0)
        return err;
    if (len > UINT64_MAX - off) {
        err = SET_ERROR(EINVAL);
    } else if (len != 0) {
        readahead(dn, off, len);
        err = dnode_read(dn, off, len, buf);
    }
    dnode_rele(dn);
    return err;
}

/* ---- writing ---- */

/* Copy into one block. */
static int
write_block(dnode_t *dn, const piece_t *p, bool whole, const uint8_t *src, dmu_tx_t *tx)
{
    dbuf_t *db;
    int err = dbuf_hold(dn, p->p_blkid, !whole, &db);

    if (err != 0)
        return err;
    dbuf_dirty(db, tx, whole);
    memcpy((uint8_t *)db->db.db_data + p->p_off, src, p->p_len);
    dbuf_rele(db);
    return 0;
}

/* Hold head and tail where they are parts of blocks, so that they are read before anything changes. */
static int
hold_edges(dnode_t *dn, uint64_t bs, uint64_t off, uint64_t end, dbuf_t *edges[2])
{
    int err = 0;

    edges[0] = edges[1] = NULL;
    if (off % bs != 0)
        err = dbuf_hold(dn, off / bs, true, &edges[0]);
    if (err == 0 && end % bs != 0)
        err = dbuf_hold(dn, end / bs, true, &edges[1]);
    return err;
}

static void
rele_edges(dbuf_t *edges[2])
{
    for (int i = 0; i < 2; i++)
        if (edges[i] != NULL)
            dbuf_rele(edges[i]);
}

/* *bs: the block size. EFBIG: no tree reaches that far. */
static int
check_reach(dnode_t *dn, uint64_t off, uint64_t len, uint64_t *bs)
{
    bool fits;

    mutex_enter(&dn->dn_mtx);
    *bs = dn->dn_now.ds_datablksz;
    fits = len <= INT64_MAX && off <= INT64_MAX - len &&
           dnode_levels_for(dn->dn_now.ds_nblkptr, dn->dn_now.ds_indblkshift, (off + len - 1) / *bs) != 0;
    mutex_exit(&dn->dn_mtx);
    return fits ? 0 : SET_ERROR(EFBIG);
}

static int
dnode_write(dnode_t *dn, uint64_t off, uint64_t len, const uint8_t *src, dmu_tx_t *tx)
{
    dbuf_t *edges[2];
    uint64_t bs, n;
    int err = check_reach(dn, off, len, &bs);

    if (err != 0)
        return err;
    err = hold_edges(dn, bs, off, off + len, edges);
    for (; err == 0 && len > 0; off += n, src += n, len -= n) {
        piece_t p = {.p_blkid = off / bs, .p_off = off % bs};
        n = p.p_len = MIN(len, bs - p.p_off);
        err = write_block(dn, &p, n == bs, src, tx);
    }
    rele_edges(edges);
    return err;
}

int
dmu_write(objset_t *os, uint64_t object, uint64_t off, uint64_t len, const void *buf, dmu_tx_t *tx)
{
    dnode_t *dn;
    int err;

    if ((err = dnode_hold(os, object, &dn)) != 0)
        return err;
    if (len != 0)
        err = dnode_write(dn, off, len, buf, tx);
    dnode_rele(dn);
    return err;
}

/* ---- whole blocks ---- */

/* Only data: metadata has rules of its own (copies in pieces, compression). And only what saves space and the pool can read. */
static bool
may_stay_packed(dnode_t *dn, const arc_buf_t *buf)
{
    objset_props_t props;
    bool meta;

    mutex_enter(&dn->dn_mtx);
    meta = dmu_ot_is_metadata(dn->dn_now.ds_type);
    mutex_exit(&dn->dn_mtx);
    objset_get_props(dn->dn_objset, &props);
    return !meta && (buf->b_compress != ZIO_COMPRESS_LZ4 || props.op_lz4) &&
           zio_may_store_packed(dn->dn_objset->os_spa, buf);
}

/* *done false: it is packed, and somebody holds the block. */
static int
assign_block(dnode_t *dn, uint64_t blkid, arc_buf_t *buf, dmu_tx_t *tx, bool *done)
{
    dbuf_t *db;
    int err = dbuf_hold(dn, blkid, false, &db);

    if (err != 0)
        return err;
    *done = dbuf_replace(db, arc_buf_hold(buf), tx);
    if (!*done)
        arc_buf_rele(buf);
    dbuf_rele(db);
    return 0;
}

static int
dnode_assign(dnode_t *dn, uint64_t off, arc_buf_t *buf, dmu_tx_t *tx)
{
    bool done = false;
    arc_buf_t *plain;
    uint64_t bs;
    int err = check_reach(dn, off, buf->b_size, &bs);

    if (err == 0 && off % bs == 0 && buf->b_size == bs && (buf->b_packed == NULL || may_stay_packed(dn, buf)))
        err = assign_block(dn, off / bs, buf, tx, &done);
    if (err != 0 || done)
        return err;
    if (buf->b_packed == NULL)
        return dnode_write(dn, off, buf->b_size, buf->b_data, tx);
    if (arc_buf_unpack(buf, &plain) != 0)
        return SET_ERROR(EINVAL);
    err = dnode_assign(dn, off, plain, tx);
    arc_buf_rele(plain);
    return err;
}

int
dmu_assign_arcbuf(objset_t *os, uint64_t object, uint64_t off, arc_buf_t *buf, dmu_tx_t *tx)
{
    dnode_t *dn;
    int err;

    if ((err = dnode_hold(os, object, &dn)) != 0)
        return err;
    err = dnode_assign(dn, off, buf, tx);
    dnode_rele(dn);
    return err;
}

/* ---- freeing ---- */

/* Is there anything but zeros for sure? */
static int
block_is_hole(dnode_t *dn, uint64_t blkid, bool *hole)
{
    blkptr_t bp;
    dbuf_t *db;
    int err;

    mutex_enter(&dn->dn_mtx);
    db = dbuf_find(dn, blkid);
    *hole = blkid > dn->dn_now.ds_maxblkid ||
            ((db == NULL || db->db_state == DB_UNCACHED) && dnode_block_freed(dn, blkid));
    bool known = *hole || (db != NULL && db->db_state != DB_UNCACHED);
    mutex_exit(&dn->dn_mtx);
    if (known)
        return 0;
    if ((err = dnode_block_pointer(dn, blkid, &bp)) == 0)
        *hole = BP_IS_HOLE(&bp);
    return err;
}

/* Zero a part of a block, unless it is a hole anyway. */
static int
zero_piece(dnode_t *dn, uint64_t blkid, uint64_t off, uint64_t len, dmu_tx_t *tx)
{
    bool hole;
    dbuf_t *db;
    int err = block_is_hole(dn, blkid, &hole);

    if (err != 0 || hole)
        return err;
    if ((err = dbuf_hold(dn, blkid, true, &db)) != 0)
        return err;
    dbuf_dirty(db, tx, false);
    memset((uint8_t *)db->db.db_data + off, 0, len);
    dbuf_rele(db);
    return 0;
}

static int
dnode_free(dnode_t *dn, uint64_t off, uint64_t end, dmu_tx_t *tx)
{
    uint64_t bs, size, first, last;
    int err = 0;

    mutex_enter(&dn->dn_mtx);
    bs = dn->dn_now.ds_datablksz;
    size = (dn->dn_now.ds_maxblkid + 1) * bs;
    mutex_exit(&dn->dn_mtx);
    if (off >= size)
        return 0;
    end = MIN(end, size);
    first = off / bs + (off % bs != 0);
    last = end / bs; /* the first block after the whole ones */
    if (off % bs != 0)
        err = zero_piece(dn, off / bs, off % bs, MIN(bs - off % bs, end - off), tx);
    if (err == 0 && end % bs != 0 && last >= first)
        err = zero_piece(dn, last, 0, end % bs, tx);
    if (err != 0 || (first >= last && end != size))
        return err;
    mutex_enter(&dn->dn_mtx);
    if (end == size)
        last = DN_BLKID_END;
    dnode_free_blocks(dn, first, last - 1, tx);
    mutex_exit(&dn->dn_mtx);
    return 0;
}

int
dmu_free_range(objset_t *os, uint64_t object, uint64_t off, uint64_t len, dmu_tx_t *tx)
{
    dnode_t *dn;
    int err;

    if ((err = dnode_hold(os, object, &dn)) != 0)
        return err;
    if (len != 0)
        err = dnode_free(dn, off, len > UINT64_MAX - off ? UINT64_MAX : off + len, tx);
    dnode_rele(dn);
    return err;
}

static int
free_in_tx(objset_t *os, uint64_t object, uint64_t off, uint64_t len)
{
    dmu_tx_t *tx = dmu_tx_create(os);
    int err;

    dmu_tx_hold_free(tx, object, off, len);
    dmu_tx_mark_netfree(tx);
    if ((err = dmu_tx_assign(tx, DMU_TX_WAIT)) != 0) {
        dmu_tx_abort(tx);
        return err;
    }
    err = dmu_free_range(os, object, off, len, tx);
    dmu_tx_commit(tx);
    return err;
}

/* Chunks of what the synced pointers show, then the rest at once: it is dirty data, holes and one chunk. */
int
dmu_free_long_range(objset_t *os, uint64_t object, uint64_t off, uint64_t len)
{
    uint64_t end = len > UINT64_MAX - off ? UINT64_MAX : off + len, bs, blk, last;
    dnode_t *dn;
    int err;

    if ((err = dnode_hold(os, object, &dn)) != 0)
        return err;
    mutex_enter(&dn->dn_mtx);
    bs = dn->dn_now.ds_datablksz;
    last = MIN(end / bs, dn->dn_now.ds_maxblkid);
    mutex_exit(&dn->dn_mtx);
    blk = off / bs + 1;
    while (err == 0 && (err = dnode_find_next(dn, DN_FIND_DATA, 0, &blk)) == 0 &&
           blk + LONG_FREE_BLOCKS < last) {
        err = free_in_tx(os, object, blk * bs, LONG_FREE_BLOCKS * bs);
        blk += LONG_FREE_BLOCKS;
    }
    dnode_rele(dn);
    return err != 0 && err != ESRCH ? err : free_in_tx(os, object, off, len);
}

/* ---- holes ---- */

/* All changes of the object are on disk; its shape. */
static int
settle(objset_t *os, dnode_t *dn, uint64_t *bs, uint64_t *maxblkid)
{
    bool dirty;
    int err = 0;

    mutex_enter(&dn->dn_mtx);
    dirty = dnode_is_dirty(dn);
    mutex_exit(&dn->dn_mtx);
    if (dirty)
        err = txg_wait_synced(os->os_txg, 0);
    mutex_enter(&dn->dn_mtx);
    *bs = dn->dn_now.ds_datablksz;
    *maxblkid = dn->dn_now.ds_maxblkid;
    mutex_exit(&dn->dn_mtx);
    return err;
}

int
dmu_offset_next(objset_t *os, uint64_t object, bool hole, uint64_t *off)
{
    uint64_t bs, max, blk;
    dnode_t *dn;
    int err;

    if ((err = dnode_hold(os, object, &dn)) != 0)
        return err;
    if ((err = settle(os, dn, &bs, &max)) == 0) {
        blk = *off / bs;
        err = dnode_find_next(dn, hole ? DN_FIND_HOLE : DN_FIND_DATA, 0, &blk);
        if (hole && (err == ESRCH || (err == 0 && blk > max))) {
            err = 0;
            blk = max + 1;
        }
    }
    dnode_rele(dn);
    if (err == 0)
        *off = MAX(*off, blk * bs);
    return err;
}
