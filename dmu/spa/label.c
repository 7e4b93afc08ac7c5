/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * label.c - labels, uberblocks and THE COMMIT.
 *
 * Four labels lie at the ends of the device: L0 L1 at its start, L2 L3 at its end. Each holds the configuration (an
 * nvlist) and a ring of uberblocks; the uberblock of txg T goes to slot T mod slots of all four rings. Every part ends
 * in a SHA-256 of itself, so a torn one does not verify and counts as absent.
 *
 * What a reader takes: of the uberblocks the one with the highest txg, then timestamp. Of the labels the one with the
 * highest txg that is not above that uberblock's.
 *
 * The commit of txg T, each line durable before the next begins:
 *
 *     1  repair   labels that do not say what the best one says (only the first commit after opening)
 *     2  blocks   everything written in T, to space that nothing committed reaches
 *     3  L0 L2    the configuration, if it changed, marked T
 *     4  ub       uberblock T, in all four rings                                            <== THE COMMIT
 *     5  L1 L3    the configuration, if it changed, marked T
 *
 * Why a crash at any point leaves either the pool of T - 1 or that of T, whole:
 *
 *   before 4   No uberblock T verifies. The newest is that of T - 1, in another slot, untouched; step 2 overwrote
 *              nothing it reaches. L0 and L2 are old, torn, or marked T > T - 1, hence passed over; L1 and L3 are
 *              untouched and old.
 *   in 4       One verifying copy is enough: then T is committed, and everything it needs is durable since 2 and 3.
 *              If none verifies, as before.
 *   after 4    Uberblock T wins. L0 and L2, marked T, are durable. L1 and L3 are old (lower txg), torn or new.
 *
 * Step 1 is what makes this hold again after a crash. Let a crash between 3 and 4 leave L0 and L2 marked T with a
 * configuration that never was; the next life counts from T - 1 and its own T could make them true. Or let a crash in
 * 5 leave L1 and L3 torn; then the next step 3 would write over the only good pair. So before anything else the stale
 * labels are rewritten from the best one: the good ones are not touched while that happens.
 *
 * A new pool's first commit begins with blanking all labels: a ring may hold uberblocks of a pool that was here before,
 * with higher txgs. (They would also fail the test of the guid sum.)
 *
 * ZFS: module/zfs/vdev_label.c, uberblock.c
 */
#include <time.h>
#include "spa_impl.h"

uint64_t
label_offset(uint64_t psize, int l)
{
    uint64_t off = (uint64_t)l * VDEV_LABEL_SIZE;

    return l < VDEV_LABELS / 2 ? off : psize - VDEV_LABELS * VDEV_LABEL_SIZE + off;
}

static int
disk_read(const disk_t *disk, void *buf, uint64_t off, size_t n)
{
    return disk->d_ops->dop_read(disk->d_arg, buf, off, n);
}

/* ---- reading labels ---- */

static nvlist_t *
nvlist_part_read(const disk_t *disk, uint64_t psize, int l)
{
    uint64_t off = label_offset(psize, l) + VDEV_PHYS_OFFSET, verifier[4] = {off, 0, 0, 0}, txg;
    uint8_t *buf = xmemalign(VDEV_PHYS_SIZE);
    nvlist_t *nv = NULL;

    if (disk_read(disk, buf, off, VDEV_PHYS_SIZE) != 0 ||
        zio_checksum_embed_verify(buf, VDEV_PHYS_SIZE, verifier, NULL) != 0 ||
        nvlist_unpack(buf, VDEV_PHYS_SIZE - ZEC_SIZE, &nv) != 0)
        nv = NULL;
    free(buf);
    if (nv != NULL &&
        (nvlist_lookup_uint64(nv, "txg", &txg) != 0 || txg == 0 || !nvlist_exists(nv, "pool_guid"))) {
        nvlist_free(nv); /* a spare, a cache device, a device that was removed */
        nv = NULL;
    }
    return nv;
}

static uint64_t
label_u64(const nvlist_t *nv, const char *name)
{
    uint64_t v = 0;

    (void)nvlist_lookup_uint64(nv, name, &v);
    return v;
}

/* The label with the highest txg up to max; if there is none, the lowest above. */
static nvlist_t *
label_choose(const label_set_t *ls, uint64_t max)
{
    nvlist_t *best = NULL, *above = NULL;

    for (int l = 0; l < VDEV_LABELS; l++) {
        nvlist_t *nv = ls->ls_label[l];
        uint64_t txg = nv == NULL ? 0 : label_u64(nv, "txg");
        if (nv == NULL)
            continue;
        if (txg <= max && (best == NULL || txg > label_u64(best, "txg")))
            best = nv;
        if (txg > max && (above == NULL || txg < label_u64(above, "txg")))
            above = nv;
    }
    return best != NULL ? best : above;
}

/* Labels of another pool that was once on this device do not count. */
static void
label_drop_strangers(label_set_t *ls, uint64_t pool_guid)
{
    for (int l = 0; l < VDEV_LABELS; l++) {
        if (ls->ls_label[l] != NULL && label_u64(ls->ls_label[l], "pool_guid") != pool_guid) {
            nvlist_free(ls->ls_label[l]);
            ls->ls_label[l] = NULL;
        }
    }
}

/* ---- reading uberblocks ---- */

/* Verify the slot; on success *ub is in our byte order. */
static bool
slot_read(const uint8_t *slot, size_t size, uint64_t off, uberblock_t *ub)
{
    uint64_t verifier[4] = {off, 0, 0, 0}, *w = (uint64_t *)ub;
    bool swapped;

    if (zio_checksum_embed_verify(slot, size, verifier, &swapped) != 0)
        return false;
    memcpy(ub, slot, sizeof(*ub));
    for (size_t i = 0; swapped && i < sizeof(*ub) / sizeof(*w); i++)
        w[i] = __builtin_bswap64(w[i]);
    return ub->ub_magic == UBERBLOCK_MAGIC && ub->ub_txg != 0;
}

static bool
ub_newer(const uberblock_t *a, const uberblock_t *b)
{
    return a->ub_txg != b->ub_txg ? a->ub_txg > b->ub_txg : a->ub_timestamp > b->ub_timestamp;
}

static void
ring_scan(const disk_t *disk, uint64_t ring, uint64_t ashift, uint64_t guid_sum, uberblock_t *best)
{
    size_t size = 1ULL << UBERBLOCK_SHIFT(ashift);
    uint8_t *buf = xmemalign(size);

    for (uint64_t off = ring; off < ring + VDEV_RING_SIZE; off += size) {
        uberblock_t ub;
        if (disk_read(disk, buf, off, size) != 0 || !slot_read(buf, size, off, &ub))
            continue;
        if (ub.ub_guid_sum != guid_sum)
            cowbird_log(LOG_DEBUG, "uberblock of txg %llu is of another pool, or a device is missing",
                        (unsigned long long)ub.ub_txg);
        else if (ub_newer(&ub, best))
            *best = ub;
    }
    free(buf);
}

static int
uberblock_read(const disk_t *disk, uint64_t psize, const nvlist_t *label, uberblock_t *best)
{
    uint64_t ashift = config_ashift(label), sum;

    memset(best, 0, sizeof(*best));
    if (ashift == 0 || config_guid_sum(label, &sum) != 0)
        return SET_ERROR(EIO);
    for (int l = 0; l < VDEV_LABELS; l++)
        ring_scan(disk, label_offset(psize, l) + VDEV_RING_OFFSET, ashift, sum, best);
    return best->ub_txg == 0 ? SET_ERROR(ENXIO) : 0;
}

int
label_read(const disk_t *disk, uint64_t psize, label_set_t *ls)
{
    memset(ls, 0, sizeof(*ls));
    for (int l = 0; l < VDEV_LABELS; l++)
        ls->ls_label[l] = nvlist_part_read(disk, psize, l);
    nvlist_t *any = label_choose(ls, UINT64_MAX);
    if (any == NULL)
        return SET_ERROR(ENOENT);
    label_drop_strangers(ls, label_u64(any, "pool_guid"));
    int err = uberblock_read(disk, psize, any, &ls->ls_ub);
    if (err == 0)
        ls->ls_best = label_choose(ls, ls->ls_ub.ub_txg);
    return err;
}

void
label_set_free(label_set_t *ls)
{
    for (int l = 0; l < VDEV_LABELS; l++)
        nvlist_free(ls->ls_label[l]);
}

static bool
label_same(const nvlist_t *a, const nvlist_t *b)
{
    uint8_t *pa, *pb;
    size_t na, nb;

    nvlist_pack(a, NV_ENCODE_XDR, &pa, &na);
    nvlist_pack(b, NV_ENCODE_XDR, &pb, &nb);
    bool same = na == nb && memcmp(pa, pb, na) == 0;
    free(pa);
    free(pb);
    return same;
}

unsigned
label_stale(const label_set_t *ls)
{
    unsigned stale = 0;

    for (int l = 0; l < VDEV_LABELS; l++)
        if (ls->ls_label[l] == NULL || !label_same(ls->ls_label[l], ls->ls_best))
            stale |= 1u << l;
    return stale;
}

/* ---- writing ---- */

/* The packed configuration as it lies in a label, but for the checksum. NULL: too long. The caller frees it. */
static uint8_t *
config_pack(const nvlist_t *nv)
{
    uint8_t *packed, *part = NULL;
    size_t len;

    nvlist_pack(nv, NV_ENCODE_XDR, &packed, &len);
    if (len <= VDEV_PHYS_SIZE - ZEC_SIZE) {
        part = xmemalign(VDEV_PHYS_SIZE);
        memset(part, 0, VDEV_PHYS_SIZE);
        memcpy(part, packed, len);
    }
    free(packed);
    return part;
}

/* Write nv into the labels of the mask and make it durable. */
static int
labels_write(spa_t *spa, const nvlist_t *nv, unsigned mask)
{
    uint8_t *part = mask == 0 ? NULL : config_pack(nv);
    int err = 0;

    if (mask == 0)
        return 0;
    if (part == NULL)
        return SET_ERROR(EOVERFLOW);
    for (int l = 0; l < VDEV_LABELS && err == 0; l++) {
        uint64_t off = label_offset(spa->spa_psize, l) + VDEV_PHYS_OFFSET;
        if ((mask & 1u << l) == 0)
            continue;
        zio_checksum_embed(part, VDEV_PHYS_SIZE, off);
        err = spa_disk_write(spa, part, off, VDEV_PHYS_SIZE);
    }
    free(part);
    return err != 0 ? err : spa_disk_flush(spa);
}

/* All labels of a new pool: zeros and a valid boot block; no configuration, no uberblock. */
static int
labels_blank(spa_t *spa)
{
    uint8_t *label = xmemalign(VDEV_LABEL_SIZE);
    int err = 0;

    for (int l = 0; l < VDEV_LABELS && err == 0; l++) {
        uint64_t off = label_offset(spa->spa_psize, l);
        memset(label, 0, VDEV_LABEL_SIZE);
        zio_checksum_embed(label + VDEV_BOOT_OFFSET, VDEV_BOOT_SIZE, off + VDEV_BOOT_OFFSET);
        err = spa_disk_write(spa, label, off, VDEV_LABEL_SIZE);
    }
    free(label);
    return err != 0 ? err : spa_disk_flush(spa);
}

/* THE COMMIT: from the moment one copy of this is durable, ub is the pool's state. */
static int
uberblock_write(spa_t *spa, const uberblock_t *ub)
{
    size_t size = 1ULL << UBERBLOCK_SHIFT(spa->spa_ashift_);
    uint64_t slot = VDEV_RING_OFFSET + ub->ub_txg % UBERBLOCK_COUNT(spa->spa_ashift_) * size;
    uint8_t *buf = xmemalign(size);
    int err = 0;

    for (int l = 0; l < VDEV_LABELS && err == 0; l++) {
        uint64_t off = label_offset(spa->spa_psize, l) + slot;
        memset(buf, 0, size);
        memcpy(buf, ub, sizeof(*ub));
        zio_checksum_embed(buf, size, off);
        err = spa_disk_write(spa, buf, off, size);
    }
    free(buf);
    return err != 0 ? err : spa_disk_flush(spa);
}

static void
uberblock_fill(spa_t *spa, uint64_t txg, const blkptr_t *rootbp, uberblock_t *ub)
{
    *ub = spa->spa_ub; /* what we do not know stays */
    ub->ub_magic = UBERBLOCK_MAGIC;
    ub->ub_version = spa->spa_version_;
    ub->ub_txg = txg;
    ub->ub_guid_sum = spa->spa_guid_sum;
    ub->ub_timestamp = (uint64_t)time(NULL);
    ub->ub_rootbp = *rootbp;
    if (spa->spa_version_ == SPA_VERSION) {
        ub->ub_software_version = SPA_VERSION;
        ub->ub_mmp_magic = MMP_MAGIC;
    }
}

/* Step 1: bring all labels to one state before anything relies on there being two pairs. */
static int
labels_repair(spa_t *spa)
{
    int err = 0;

    if (spa->spa_labels_blank)
        err = labels_blank(spa);
    else if (spa->spa_labels_stale != 0)
        err = labels_write(spa, spa->spa_label_disk, spa->spa_labels_stale);
    if (err == 0) {
        spa->spa_labels_blank = false;
        spa->spa_labels_stale = 0;
    }
    return err;
}

/* The configuration to be written at txg, or NULL when it did not change. */
static nvlist_t *
config_take_dirty(spa_t *spa, uint64_t txg)
{
    nvlist_t *nv = NULL;

    mutex_enter(&spa->spa_lock);
    if (spa->spa_config_dirty) {
        nv = nvlist_dup(spa->spa_config);
        nvlist_add_uint64(nv, "txg", txg);
        spa->spa_config_dirty = false;
    }
    mutex_exit(&spa->spa_lock);
    return nv;
}

static int
commit_steps(spa_t *spa, const uberblock_t *ub, const nvlist_t *config)
{
    int err;

    if ((err = labels_repair(spa)) != 0)
        return err;
    if ((err = zio_queue_drain(spa->spa_queue)) != 0 || (err = spa_disk_flush(spa)) != 0)
        return err;
    if (config != NULL && (err = labels_write(spa, config, 1u << 0 | 1u << 2)) != 0)
        return err;
    if ((err = uberblock_write(spa, ub)) != 0)
        return err;
    return config != NULL ? labels_write(spa, config, 1u << 1 | 1u << 3) : 0;
}

int
spa_commit(spa_t *spa, uint64_t txg, const blkptr_t *rootbp)
{
    uberblock_t ub;
    int err = spa_suspended(spa);

    if (err != 0)
        return err;
    if (spa->spa_rdonly)
        return SET_ERROR(EROFS);
    VERIFY3U(txg, >, spa->spa_ub.ub_txg);
    uberblock_fill(spa, txg, rootbp, &ub);
    nvlist_t *config = config_take_dirty(spa, txg);
    if ((err = commit_steps(spa, &ub, config)) != 0) {
        nvlist_free(config);
        spa_suspend(spa, err);
        return err;
    }
    mutex_enter(&spa->spa_heal_lock); /* no repair of the old state is under way when the new one begins */
    spa->spa_ub = ub;
    ATOMIC_STORE(&spa->spa_committed, txg);
    mutex_exit(&spa->spa_heal_lock);
    if (config != NULL) {
        nvlist_free(spa->spa_label_disk);
        spa->spa_label_disk = config;
    }
    return 0;
}
