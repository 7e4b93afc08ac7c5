/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spapool.h - a new pool on a disk in memory, blocks with known contents: for the suites of the block layer.
 */
#ifndef COWBIRD_SPAPOOL_H
#define COWBIRD_SPAPOOL_H

#include "faultdisk.h"
#include "spa_impl.h"

#include <check.h>

#define TXG 4

static uint64_t seed = 88172645463325252ull;

static inline uint64_t
rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static inline void
quiet(int level, const char *line)
{
}

static inline spa_t *
pool(faultdisk_t **fd, uint64_t size, uint64_t ashift, enum zio_checksum c)
{
    spa_create_args_t args = {
        .sca_name = "t", .sca_path = "/t", .sca_ashift = ashift, .sca_version = 5000, .sca_checksum = c};
    spa_t *spa = NULL;

    *fd = faultdisk_create(size);
    disk_t disk = faultdisk_disk(*fd);
    ck_assert_int_eq(spa_create(&disk, &args, &spa), 0);
    return spa;
}

static inline void
pool_done(spa_t *spa, faultdisk_t *fd)
{
    spa_close(spa);
    faultdisk_destroy(fd);
}

/* End the txg under any root. */
static inline void
commit(spa_t *spa, uint64_t txg, const blkptr_t *root)
{
    range_tree_t *a = range_tree_create(), *f = range_tree_create();

    ck_assert_int_eq(spa_commit(spa, txg, root), 0);
    for (uint64_t id = 0; id < metaslab_count(spa); id++) {
        metaslab_sync_take(spa, id, a, f);
        range_tree_vacate(a, NULL, NULL);
        range_tree_vacate(f, NULL, NULL);
    }
    metaslab_sync_done(spa, txg);
    range_tree_destroy(a);
    range_tree_destroy(f);
}

enum contents { ZEROS, TEXT, NOISE, HALF };

static inline arc_buf_t *
make(uint64_t size, enum contents how, uint64_t stamp)
{
    arc_buf_t *buf = arc_buf_alloc((uint32_t)size);
    uint8_t *p = buf->b_data;
    uint64_t x = stamp * 2654435761 + 12345;

    for (uint64_t i = 0; i < size; i++) {
        x = x * 6364136223846793005ULL + 1442695040888963407ULL;
        if (how == ZEROS)
            p[i] = 0;
        else if (how == TEXT)
            p[i] = (uint8_t) "the quick brown fox "[(i + stamp) % 20];
        else
            p[i] = how == NOISE || i % 64 < 32 ? (uint8_t)(x >> 40) : 7;
    }
    return buf;
}

static inline zio_prop_t
prop(enum zio_compress c, int copies)
{
    return (zio_prop_t){.zp_compress = c, .zp_copies = (uint8_t)copies, .zp_type = 19};
}

/* Write one block. */
static inline blkptr_t
put(spa_t *spa, uint64_t txg, arc_buf_t *buf, zio_prop_t zp)
{
    zio_write_t w = {.zw_buf = buf, .zw_prop = zp, .zw_fill = 1};

    ck_assert_int_eq(zio_write(spa, txg, 1, &w, 1), 0);
    ck_assert(!w.zw_inplace);
    return w.zw_bp;
}

static inline void
check_contents(spa_t *spa, const blkptr_t *bp, const arc_buf_t *want)
{
    uint8_t *got = xmalloc(want->b_size);

    ck_assert_uint_eq(BP_GET_LSIZE(bp), want->b_size);
    memset(got, 0xEE, want->b_size);
    ck_assert_int_eq(zio_read(spa, bp, got, NULL), 0);
    ck_assert_int_eq(memcmp(got, want->b_data, want->b_size), 0);
    free(got);
}

static inline void
damage(faultdisk_t *fd, const blkptr_t *bp, int d)
{
    faultdisk_corrupt(fd, DVA_GET_OFFSET(&bp->blk_dva[d]) + VDEV_LABEL_START_SIZE + 100, 3);
}

#endif
