/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_file.c - contents of regular files.
 *
 *     read    range lock (shared)     -> dmu_read -> atime in memory
 *     write   range lock (exclusive)  -> for each MiB: z_lock, tx, [block size], dmu_write, attributes
 *
 *   A small file is one block that grows with it; when it exceeds a record, all its blocks are records:
 *
 *     size   100  -> |512|     1000 -> |1024|     100000 -> |100352|     200000 -> |131072|131072|
 *
 * Invariants:
 *   1. Bytes after the size in the last block are zero: truncation zeroes them, and nothing is written
 *      beyond the size.
 *   2. The block size changes only under a lock of the whole range. Size <= block size, or that is a power
 *      of two.
 *   3. A write is seen whole or not at all by any read that overlaps it: both hold the range.
 *   4. A crash may cut a long write at a MiB boundary; each piece and its size and times are one
 *      transaction.
 *
 * Writers of one file take turns (z_lock); readers, and writers of other files, run beside them. ZFS lets
 * writers of different blocks run in parallel.
 *
 * ZFS: zfs_read, zfs_write (zfs_vnops.c), zfs_trunc, zfs_extend (zfs_znode_os.c)
 */
#include <linux/falloc.h>
#include "zpl_impl.h"

#define ZPL_WRITE_CHUNK  (1ULL << 20)
#define ZPL_FREE_AT_ONCE (1ULL << 30) /* a longer range is freed in transactions of its own */

static int
check_regular(znode_t *zp)
{
    if (zp->z_type == S_IFREG)
        return 0;
    return SET_ERROR(zp->z_type == S_IFDIR ? EISDIR : EINVAL);
}

int
zpl_read(znode_t *zp, uint64_t off, uint64_t len, void *buf, uint64_t *done)
{
    zpl_range_t r;
    uint64_t size;
    int err;

    *done = 0;
    if ((err = check_regular(zp)) != 0)
        return err;
    zpl_range_enter(&zp->z_rl, &r, off, len, false);
    size = zpl_size(zp);
    len = off >= size ? 0 : MIN(len, size - off);
    if (len > 0)
        err = dmu_read(zp->z_zfs->zf_os, zp->z_object, off, len, buf);
    zpl_range_exit(&zp->z_rl, &r);
    if (err != 0)
        return err;
    *done = len;
    zpl_touch_atime(zp);
    return 0;
}

/* ---- block size ---- */

/* The block size the file needs to have a size of end; 0: the one it has. Range lock held. */
static uint32_t
grown_blksz(znode_t *zp, uint64_t end)
{
    uint32_t max = __atomic_load_n(&zp->z_zfs->zf_recordsize, __ATOMIC_RELAXED);
    uint32_t now = zp->z_blksz;

    if (zp->z_multi || end <= now || (ISP2(now) && now >= max))
        return 0;
    if (now > max) /* a smaller recordsize was set meanwhile */
        return 1u << highbit64(now);
    return end >= max ? max : P2ROUNDUP((uint32_t)end, 512u);
}

/* Lock [off, end) for writing, or everything when the block size is to change. *blksz as grown_blksz. */
static void
write_enter(znode_t *zp, zpl_range_t *r, uint64_t off, uint64_t end, uint32_t *blksz)
{
    zpl_range_enter(&zp->z_rl, r, off, end - off, true);
    mutex_enter(&zp->z_attr_lock);
    *blksz = grown_blksz(zp, MAX(end, zp->z_at.za_size));
    mutex_exit(&zp->z_attr_lock);
    if (*blksz == 0)
        return;
    zpl_range_exit(&zp->z_rl, r);
    zpl_range_enter(&zp->z_rl, r, 0, UINT64_MAX, true);
    mutex_enter(&zp->z_attr_lock);
    *blksz = grown_blksz(zp, MAX(end, zp->z_at.za_size));
    mutex_exit(&zp->z_attr_lock);
}

/* In the tx. An object with more blocks than we thought keeps its block size. */
static void
set_blksz(znode_t *zp, uint32_t blksz, dmu_tx_t *tx)
{
    int err = dmu_object_set_blocksize(zp->z_zfs->zf_os, zp->z_object, blksz, tx);

    mutex_enter(&zp->z_attr_lock);
    if (err == 0)
        zp->z_blksz = blksz;
    else
        zp->z_multi = true;
    mutex_exit(&zp->z_attr_lock);
}

/* ---- writing ---- */

/* What a write of bytes up to end does to the attributes. kept: the writer keeps the time of change itself. */
static void
written(znode_t *zp, uint64_t end, bool kept, dmu_tx_t *tx)
{
    unsigned mask = kept ? ZA_CTIME : ZA_MTIME | ZA_CTIME;
    zpl_attrs_t at;

    zpl_attrs_get(zp, &at);
    zpl_now(&at.za_ctime);
    if (!kept)
        at.za_mtime = at.za_ctime;
    if (end > at.za_size) {
        at.za_size = end;
        mask |= ZA_SIZE;
    }
    zpl_attrs_set(zp, &at, mask, tx);
    if (end > zp->z_blksz) {
        mutex_enter(&zp->z_attr_lock);
        zp->z_multi = true;
        mutex_exit(&zp->z_attr_lock);
    }
}

/* One transaction's worth. Range lock held. */
static int
write_chunk(znode_t *zp, uint64_t off, uint64_t n, const void *buf, uint32_t blksz, bool kept)
{
    objset_t *os = zp->z_zfs->zf_os;
    dmu_tx_t *tx = dmu_tx_create(os);
    int err;

    rw_enter_write(&zp->z_lock);
    dmu_tx_hold_write(tx, zp->z_object, off, n);
    if (blksz != 0)
        dmu_tx_hold_write(tx, zp->z_object, 0, blksz);
    zpl_hold_attrs(zp, ZA_SIZE, tx);
    if ((err = zpl_tx_assign(tx)) == 0) {
        if (blksz != 0)
            set_blksz(zp, blksz, tx);
        err = dmu_write(os, zp->z_object, off, n, buf, tx);
        if (err == 0)
            written(zp, off + n, kept, tx);
        dmu_tx_commit(tx);
    }
    rw_exit(&zp->z_lock);
    return err;
}

static int
write_all(znode_t *zp, uint64_t off, uint64_t len, const void *buf, bool kept, uint64_t *done)
{
    zpl_range_t r;
    uint32_t blksz;
    int err;

    *done = 0;
    if ((err = check_regular(zp)) != 0 || (err = zpl_check_writable(zp->z_zfs)) != 0)
        return err;
    if (len == 0)
        return 0;
    if (off >= INT64_MAX)
        return SET_ERROR(EFBIG);
    len = MIN(len, INT64_MAX - off);
    if ((err = zpl_volume_limit(zp, off, &len)) != 0)
        return err;
    write_enter(zp, &r, off, off + len, &blksz);
    while (err == 0 && *done < len) {
        uint64_t pos = off + *done, n = MIN(len - *done, ZPL_WRITE_CHUNK - pos % ZPL_WRITE_CHUNK);

        err = write_chunk(zp, pos, n, (const uint8_t *)buf + *done, blksz, kept);
        if (err == 0)
            *done += n;
        blksz = 0;
    }
    zpl_range_exit(&zp->z_rl, &r);
    return err;
}

int
zpl_write(znode_t *zp, uint64_t off, uint64_t len, const void *buf, uint64_t *done)
{
    return write_all(zp, off, len, buf, false, done);
}

int
zpl_writeback(znode_t *zp, uint64_t off, uint64_t len, const void *buf, uint64_t *done)
{
    return write_all(zp, off, len, buf, true, done);
}

int
zpl_fsync(znode_t *zp, bool datasync)
{
    txg_state_t *ts = objset_txg_state(zp->z_zfs->zf_os);
    uint64_t txg;

    if (ts == NULL)
        return 0;
    mutex_enter(&zp->z_attr_lock);
    txg = zp->z_txg;
    mutex_exit(&zp->z_attr_lock);
    return txg_last_synced(ts) >= txg ? txg_error(ts) : txg_wait_synced(ts, txg);
}

/* ---- truncate ---- */

static void
block_count_settle(znode_t *zp)
{
    dmu_object_info_t doi;

    if (dmu_object_info(zp->z_zfs->zf_os, zp->z_object, &doi) != 0)
        return;
    mutex_enter(&zp->z_attr_lock);
    zp->z_blksz = doi.doi_data_block_size;
    zp->z_multi = doi.doi_max_offset > doi.doi_data_block_size || zpl_is_volume(&zp->z_zfs->zf_ac);
    mutex_exit(&zp->z_attr_lock);
}

static int
truncate_tx(znode_t *zp, int mask, const struct stat *st, uint64_t old)
{
    objset_t *os = zp->z_zfs->zf_os;
    dmu_tx_t *tx = dmu_tx_create(os);
    uint64_t size = (uint64_t)st->st_size;
    uint32_t blksz = grown_blksz(zp, size);
    int err;

    if (size < old) {
        dmu_tx_hold_free(tx, zp->z_object, size, DMU_OBJECT_END);
        dmu_tx_mark_netfree(tx);
    } else if (blksz != 0)
        dmu_tx_hold_write(tx, zp->z_object, 0, MIN(old, blksz));
    zpl_hold_attrs(zp, zpl_setattr_mask(mask), tx);
    if ((err = zpl_tx_assign(tx)) != 0)
        return err;
    if (size < old)
        err = dmu_free_range(os, zp->z_object, size, DMU_OBJECT_END, tx);
    else if (blksz != 0)
        set_blksz(zp, blksz, tx);
    if (err == 0)
        zpl_setattr_apply(zp, mask, st, tx);
    dmu_tx_commit(tx);
    return err;
}

int
zpl_truncate(znode_t *zp, int mask, const struct stat *st)
{
    uint64_t size = (uint64_t)st->st_size, old;
    zpl_range_t r;
    int err;

    if ((err = check_regular(zp)) != 0)
        return err;
    if (st->st_size < 0)
        return SET_ERROR(EINVAL);
    zpl_range_enter(&zp->z_rl, &r, 0, UINT64_MAX, true);
    rw_enter_write(&zp->z_lock);
    old = zpl_size(zp);
    if (size < old && old - size > ZPL_FREE_AT_ONCE)
        err = dmu_free_long_range(zp->z_zfs->zf_os, zp->z_object, size, DMU_OBJECT_END);
    if (err == 0)
        err = truncate_tx(zp, mask, st, old);
    if (err == 0 && size < old)
        block_count_settle(zp);
    rw_exit(&zp->z_lock);
    zpl_range_exit(&zp->z_rl, &r);
    return err;
}

/* ---- holes ---- */

int
zpl_seek(znode_t *zp, bool hole, uint64_t *off)
{
    uint64_t size, pos = *off;
    zpl_range_t r;
    int err;

    if ((err = check_regular(zp)) != 0)
        return err;
    zpl_range_enter(&zp->z_rl, &r, pos, UINT64_MAX - pos, false);
    size = zpl_size(zp);
    if (pos >= size)
        err = SET_ERROR(ENXIO);
    else
        err = dmu_offset_next(zp->z_zfs->zf_os, zp->z_object, hole, &pos);
    zpl_range_exit(&zp->z_rl, &r);
    if (err == ESRCH)
        pos = size, err = hole ? 0 : SET_ERROR(ENXIO);
    if (err != 0)
        return err;
    if (pos >= size && !hole)
        return SET_ERROR(ENXIO);
    *off = MIN(pos, size);
    return 0;
}

/* Free [off, off+len) and set the times, the size becoming at least size. Range lock and z_lock held. */
static int
punch_tx(znode_t *zp, uint64_t off, uint64_t len, uint64_t size)
{
    objset_t *os = zp->z_zfs->zf_os;
    dmu_tx_t *tx = dmu_tx_create(os);
    uint32_t blksz = grown_blksz(zp, size);
    int err;

    if (len > 0)
        dmu_tx_hold_free(tx, zp->z_object, off, len);
    if (blksz != 0)
        dmu_tx_hold_write(tx, zp->z_object, 0, blksz);
    zpl_hold_attrs(zp, ZA_SIZE, tx);
    if ((err = zpl_tx_assign(tx)) != 0)
        return err;
    if (blksz != 0)
        set_blksz(zp, blksz, tx);
    if (len > 0)
        err = dmu_free_range(os, zp->z_object, off, len, tx);
    if (err == 0)
        written(zp, size, false, tx);
    dmu_tx_commit(tx);
    return err;
}

/* Free [off, off+len), make the size at least end. Bytes beyond the size are zero already. */
static int
punch(znode_t *zp, uint64_t off, uint64_t len, uint64_t end)
{
    uint64_t size, n;
    zpl_range_t r;
    int err = 0;

    zpl_range_enter(&zp->z_rl, &r, 0, UINT64_MAX, true);
    rw_enter_write(&zp->z_lock);
    size = zpl_size(zp);
    n = off >= size ? 0 : MIN(len, size - off);
    if (n > ZPL_FREE_AT_ONCE)
        err = dmu_free_long_range(zp->z_zfs->zf_os, zp->z_object, off, n);
    if (err == 0)
        err = punch_tx(zp, off, n, MAX(size, end));
    block_count_settle(zp);
    rw_exit(&zp->z_lock);
    zpl_range_exit(&zp->z_rl, &r);
    return err;
}

int
zpl_fallocate(znode_t *zp, int mode, uint64_t off, uint64_t len)
{
    int err;

    if ((err = check_regular(zp)) != 0 || (err = zpl_check_writable(zp->z_zfs)) != 0)
        return err;
    if (len == 0)
        return SET_ERROR(EINVAL);
    if (off > INT64_MAX || len > INT64_MAX - off)
        return SET_ERROR(EFBIG);
    if ((err = zpl_volume_limit(zp, off, &len)) != 0)
        return err;
    switch (mode) {
    case 0:
        if (off + len <= zpl_size(zp))
            return 0;
        return punch(zp, off, 0, off + len);
    case FALLOC_FL_KEEP_SIZE: /* nothing to reserve: a later write takes other blocks anyway */
        return 0;
    case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
    case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
        return punch(zp, off, len, 0);
    case FALLOC_FL_ZERO_RANGE:
        return punch(zp, off, len, off + len);
    default:
        return SET_ERROR(EOPNOTSUPP);
    }
}
