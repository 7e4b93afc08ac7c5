/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zio_read.c - checked reads: the bytes that were written, or an error.
 *
 *     bp_validate -> copy 1 --bad--> copy 2 --bad--> copy 3 --bad--> ECKSUM / EIO, error list
 *                      | good         |
 *                      v              v
 *                  decompress      write the good bytes over the bad copies
 *
 * A gang block's "copy" is its header; zio_gang.c then reads the pieces, each of them a block like any other.
 *
 * Invariants:
 *   1. No byte is looked at before its checksum agrees, no size or offset before bp_validate() has passed the pointer.
 *   2. A block still in the write queue is read from there.
 *   3. A copy is repaired only while it certainly still belongs to this block: the block was committed, and less than
 *      two commits happened since the read began, or since the caller got the pointer (zio_read_since): a reader of a live
 *      file, or a prefetch in its queue, may be late. What was reachable then is freed one txg later at the
 *      earliest, and reused three after that; spa_heal_lock keeps commits from happening meanwhile.
 *
 * ZFS: module/zfs/zio.c (ZIO_READ pipeline), vdev_mirror.c (copies and repair)
 */
#include "spa_impl.h"

/* ---- scratch memory: blocks are large and short-lived ---- */

typedef struct scratch {
    void *sc_buf[SCRATCH_SLOTS];
    size_t sc_size[SCRATCH_SLOTS];
} scratch_t;

static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
static pthread_key_t scratch_key;

static void
scratch_free(void *arg)
{
    scratch_t *sc = arg;

    for (int i = 0; i < SCRATCH_SLOTS; i++)
        free(sc->sc_buf[i]);
    free(sc);
}

static void
scratch_init(void)
{
    VERIFY0(pthread_key_create(&scratch_key, scratch_free));
}

void *
zio_scratch(int slot, size_t n)
{
    VERIFY0(pthread_once(&scratch_once, scratch_init));
    scratch_t *sc = pthread_getspecific(scratch_key);

    if (sc == NULL) {
        sc = xzalloc(sizeof(*sc));
        VERIFY0(pthread_setspecific(scratch_key, sc));
    }
    if (sc->sc_size[slot] < n) {
        free(sc->sc_buf[slot]);
        sc->sc_size[slot] = MAX(n, 256 << 10);
        sc->sc_buf[slot] = xmemalign(sc->sc_size[slot]);
    }
    return sc->sc_buf[slot];
}

/* ---- one copy ---- */

int
zio_verify_block(const blkptr_t *bp, const void *buf, size_t n)
{
    enum zio_checksum c = BP_GET_CHECKSUM(bp);
    zio_cksum_t sum;

    if (c == ZIO_CHECKSUM_OFF || c == ZIO_CHECKSUM_NOPARITY)
        return 0;
    if (c == ZIO_CHECKSUM_ZILOG || c == ZIO_CHECKSUM_ZILOG2 || c == ZIO_CHECKSUM_LABEL)
        return SET_ERROR(ENOTSUP); /* such a block carries its own */
    int err = BP_IS_LITTLE(bp) ? zio_checksum_compute(c, buf, n, &sum)
                               : zio_checksum_compute_swapped(c, buf, n, &sum);
    if (err != 0)
        return err;
    return zio_cksum_equal(&sum, &bp->blk_cksum) ? 0 : SET_ERROR(ECKSUM);
}

static void
copy_complain(const zio_ctx_t *zc, const blkptr_t *bp, int d, int err)
{
    static const zbookmark_t nowhere;
    const zbookmark_t *zb = zc->zc_zb != NULL ? zc->zc_zb : &nowhere;

    cowbird_log(LOG_WARNING, "pool %s: copy %d at %llx of objset %llu object %llu level %lld block %llu: %s",
                spa_name(zc->zc_spa), d + 1, (unsigned long long)DVA_GET_OFFSET(&bp->blk_dva[d]),
                (unsigned long long)zb->zb_objset, (unsigned long long)zb->zb_object, (long long)zb->zb_level,
                (unsigned long long)zb->zb_blkid, cowbird_strerror(err));
}

static int
copy_read(zio_ctx_t *zc, const blkptr_t *bp, int d, void *buf, size_t n, zio_verify_t *verify)
{
    spa_t *spa = zc->zc_spa;
    uint64_t off = DVA_GET_OFFSET(&bp->blk_dva[d]);
    int err = 0;

    if (!zio_queue_read(spa->spa_queue, off, buf, n))
        err = spa_disk_read(spa, buf, off + VDEV_LABEL_START_SIZE, n);
    if (err == 0 && (err = verify(bp, buf, n)) == ECKSUM)
        ATOMIC_ADD(&spa->spa_stats.ss_cksum_errors, 1);
    if (err != 0)
        copy_complain(zc, bp, d, err);
    return err;
}

/* ---- repair ---- */

static bool
heal_is_safe(const zio_ctx_t *zc, const blkptr_t *bp)
{
    uint64_t committed = ATOMIC_LOAD(&zc->zc_spa->spa_committed);

    return spa_writeable(zc->zc_spa) && spa_suspended(zc->zc_spa) == 0 &&
           BP_PHYSICAL_BIRTH(bp) <= committed && committed - zc->zc_start < 2;
}

static void
heal(zio_ctx_t *zc, const blkptr_t *bp, const void *buf, size_t n, unsigned bad)
{
    spa_t *spa = zc->zc_spa;

    mutex_enter(&spa->spa_heal_lock);
    for (int d = 0; d < SPA_DVAS_PER_BP && heal_is_safe(zc, bp); d++) {
        if ((bad & 1u << d) == 0)
            continue;
        if (spa_disk_write(spa, buf, DVA_GET_OFFSET(&bp->blk_dva[d]) + VDEV_LABEL_START_SIZE, n) == 0) {
            ATOMIC_ADD(&spa->spa_stats.ss_repaired, 1);
            ATOMIC_ADD(&spa->spa_stats.ss_repaired_bytes, n);
            zc->zc_repaired++;
        }
    }
    mutex_exit(&spa->spa_heal_lock);
}

/* ---- all copies ---- */

int
zio_read_copies(zio_ctx_t *zc, const blkptr_t *bp, void *buf, size_t n, zio_verify_t *verify)
{
    unsigned bad = 0;
    bool good = false;
    int result = EIO;

    for (int d = 0; d < SPA_DVAS_PER_BP && (!good || zc->zc_all); d++) {
        if (!DVA_IS_VALID(&bp->blk_dva[d]))
            continue;
        int err = copy_read(zc, bp, d, good ? zio_scratch(SCRATCH_SCRUB, n) : buf, n, verify);
        if (err == 0)
            good = true;
        else
            bad |= 1u << d;
        if (err == ECKSUM || err == ENOTSUP)
            result = err;
    }
    if (good && bad != 0)
        heal(zc, bp, buf, n, bad);
    return good ? 0 : SET_ERROR(result);
}

int
zio_read_phys(zio_ctx_t *zc, const blkptr_t *bp, void *buf, int depth)
{
    if (!BP_IS_GANG(bp))
        return zio_read_copies(zc, bp, buf, BP_GET_PSIZE(bp), zio_verify_block);
    int err = zio_gang_read(zc, bp, buf, depth);
    return err != 0 ? err : zio_verify_block(bp, buf, BP_GET_PSIZE(bp));
}

/* ---- the calls of spa.h ---- */

static zio_ctx_t
ctx_init(spa_t *spa, const zbookmark_t *zb)
{
    return (zio_ctx_t){.zc_spa = spa, .zc_zb = zb, .zc_start = spa_committed_txg(spa)};
}

static int
gate(spa_t *spa, const blkptr_t *bp)
{
    if (BP_IS_HOLE(bp))
        return SET_ERROR(EINVAL);
    if (BP_IS_ENCRYPTED(bp))
        return SET_ERROR(ENOTSUP);
    return bp_validate(bp, spa->spa_asize_);
}

static int
decompress(const blkptr_t *bp, const void *src, uint64_t s_len, void *buf)
{
    uint64_t lsize = BP_GET_LSIZE(bp);

    if (BP_GET_COMPRESS(bp) != ZIO_COMPRESS_OFF)
        return zio_decompress_data(BP_GET_COMPRESS(bp), src, s_len, buf, lsize);
    if (s_len != lsize)
        return SET_ERROR(EIO);
    memcpy(buf, src, lsize);
    return 0;
}

static int
read_embedded(const blkptr_t *bp, void *buf)
{
    uint8_t payload[BPE_PAYLOAD_SIZE];

    bpe_decode(bp, payload);
    return decompress(bp, payload, BPE_GET_PSIZE(bp), buf);
}

static int
read_block(zio_ctx_t *zc, const blkptr_t *bp, void *buf)
{
    if (BP_GET_COMPRESS(bp) == ZIO_COMPRESS_OFF)
        return zio_read_phys(zc, bp, buf, 0);
    void *phys = zio_scratch(SCRATCH_PHYS, BP_GET_PSIZE(bp));
    int err = zio_read_phys(zc, bp, phys, 0);
    return err != 0 ? err : decompress(bp, phys, BP_GET_PSIZE(bp), buf);
}

/* Every failure to read a block passes here. */
static int
read_result(zio_ctx_t *zc, int err)
{
    if ((err == ECKSUM || err == EIO) && zc->zc_zb != NULL)
        spa_errlog_add(zc->zc_spa, zc->zc_zb);
    return err;
}

int
zio_read(spa_t *spa, const blkptr_t *bp, void *buf, const zbookmark_t *zb)
{
    return zio_read_since(spa, bp, buf, zb, spa_committed_txg(spa));
}

int
zio_read_since(spa_t *spa, const blkptr_t *bp, void *buf, const zbookmark_t *zb, uint64_t since)
{
    zio_ctx_t zc = {.zc_spa = spa, .zc_zb = zb, .zc_start = since};
    int err = gate(spa, bp);

    if (err == 0)
        err = BP_IS_EMBEDDED(bp) ? read_embedded(bp, buf) : read_block(&zc, bp, buf);
    return read_result(&zc, err);
}

int
zio_read_raw(spa_t *spa, const blkptr_t *bp, void *buf, const zbookmark_t *zb)
{
    zio_ctx_t zc = ctx_init(spa, zb);
    int err = gate(spa, bp);

    if (err == 0)
        err = BP_IS_EMBEDDED(bp) ? SET_ERROR(EINVAL) : zio_read_phys(&zc, bp, buf, 0);
    return read_result(&zc, err);
}

int
zio_scrub(spa_t *spa, const blkptr_t *bp, const zbookmark_t *zb, uint64_t *repaired)
{
    zio_ctx_t zc = ctx_init(spa, zb);
    int err = 0;

    if (!BP_IS_HOLE(bp) && !BP_IS_EMBEDDED(bp) && (err = gate(spa, bp)) == 0) {
        zc.zc_all = true;
        err = zio_read_phys(&zc, bp, zio_scratch(SCRATCH_PHYS, BP_GET_PSIZE(bp)), 0);
    }
    if (repaired != NULL)
        *repaired = zc.zc_repaired;
    return read_result(&zc, err);
}

int
zio_heal_phys(zio_ctx_t *zc, const blkptr_t *bp, const void *buf, int depth)
{
    size_t n = BP_GET_PSIZE(bp);
    unsigned bad = 0;
    int err = zio_verify_block(bp, buf, n);

    if (err != 0 || BP_IS_GANG(bp))
        return err != 0 ? err : zio_gang_heal(zc, bp, buf, depth);
    for (int d = 0; d < SPA_DVAS_PER_BP; d++)
        if (DVA_IS_VALID(&bp->blk_dva[d]) &&
            copy_read(zc, bp, d, zio_scratch(SCRATCH_SCRUB, n), n, zio_verify_block) != 0)
            bad |= 1u << d;
    heal(zc, bp, buf, n, bad);
    return 0;
}

int
zio_heal(spa_t *spa, const blkptr_t *bp, const void *phys, const zbookmark_t *zb, uint64_t *repaired)
{
    zio_ctx_t zc = ctx_init(spa, zb);
    int err = gate(spa, bp);

    if (err == 0)
        err = BP_IS_EMBEDDED(bp) ? SET_ERROR(EINVAL) : zio_heal_phys(&zc, bp, phys, 0);
    *repaired = zc.zc_repaired;
    return err;
}
