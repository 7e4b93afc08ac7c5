/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_pool.c - a small pool with bytes changed here and there is opened read-only, walked through and closed.
 *
 *     flags | patch ...        patch: where (3 bytes, little-endian), length - 1 (1 byte, 5 bits count), bytes
 *     flags | packed nvlist    with bit 3
 *
 *     bit 0: label sums are made right again    bit 1: so are those of uberblocks
 *     bit 2: what happens to label 0 happens to all four, so that no good one is left
 *     bit 3: the rest of the input is the configuration in all labels
 *
 * "Where" counts in the sectors that are in use, first those of label 0 (fuzz_image.h; the others' stay out). The pool was
 * written mostly without checksums and compression, so that a changed block is believed.
 */
#include "faultdisk.h"
#include "fuzz.h"
#include "fuzz_image.h"
#include "spa_impl.h"

#define FIX_LABEL     1
#define FIX_UBERBLOCK 2
#define ALL_LABELS    4
#define REPLACE       8
#define MAX_PATCHES   64

static faultdisk_t *fd;
static image_t *image;

static void
image_restore(void)
{
    for (uint32_t i = 0; i < image->im_n; i++)
        if (image->im_dirty[i])
            faultdisk_poke(fd, image->im_off[i], image->im_data + (size_t)i * IMAGE_SECTOR, IMAGE_SECTOR);
    memset(image->im_dirty, 0, image->im_n);
}

static void
image_start(void)
{
    image = image_load();
    fd = faultdisk_create(image->im_size);
    memset(image->im_dirty, 1, image->im_n);
    image_restore();
}

static void
patch(uint64_t at, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t byte = (at + i) % ((uint64_t)image->im_n * IMAGE_SECTOR);
        uint32_t sector = (uint32_t)(byte / IMAGE_SECTOR);
        image->im_dirty[sector] = 1;
        faultdisk_poke(fd, image->im_off[sector] + byte % IMAGE_SECTOR, bytes + i, 1);
    }
}

static void
patch_all(const uint8_t *p, size_t n)
{
    for (int i = 0; i < MAX_PATCHES && n > 4; i++) {
        size_t len = MIN((size_t)(p[3] & 31) + 1, n - 4);
        patch(p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16, p + 4, len);
        p += 4 + len;
        n -= 4 + len;
    }
}

/* The sum at the end of a part of label 0, in all labels or one. A part of zeros stays so. */
static void
seal(uint64_t part, size_t n, bool fix, bool all)
{
    uint8_t *buf = xmemalign(n);

    faultdisk_peek(fd, part, buf, n);
    if (buf[0] != 0 || memcmp(buf, buf + 1, n - 1) != 0) {
        for (int l = 0; l < (all ? VDEV_LABELS : 1); l++) {
            uint64_t off = label_offset(image->im_size, l) + part;
            if (fix)
                zio_checksum_embed(buf, n, off);
            faultdisk_poke(fd, off, buf, n);
        }
    }
    free(buf);
}

static void
seal_labels(uint8_t flags)
{
    bool all = (flags & ALL_LABELS) != 0;

    seal(VDEV_PHYS_OFFSET, VDEV_PHYS_SIZE, (flags & FIX_LABEL) != 0, all);
    for (uint64_t off = 0; off < VDEV_RING_SIZE; off += 1024)
        seal(VDEV_RING_OFFSET + off, 1024, (flags & FIX_UBERBLOCK) != 0, all);
}

static void
replace_label(const uint8_t *data, size_t n)
{
    uint8_t *buf = xzalloc(VDEV_PHYS_SIZE);

    memcpy(buf, data, MIN(n, VDEV_PHYS_SIZE - 40));
    faultdisk_poke(fd, VDEV_PHYS_OFFSET, buf, VDEV_PHYS_SIZE);
    free(buf);
}

/* All four labels as they were, whatever was written. */
static void
labels_restore(void)
{
    uint8_t *zeros = xzalloc(VDEV_LABEL_SIZE);

    faultdisk_poke(fd, 0, zeros, VDEV_LABEL_SIZE);
    free(zeros);
    for (uint32_t i = 0; i < image->im_n && image->im_off[i] < VDEV_LABEL_SIZE; i++)
        image->im_dirty[i] = 1;
    image_restore();
    seal_labels(FIX_LABEL | FIX_UBERBLOCK | ALL_LABELS);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dsl_pool_t *dp;

    if (size < 2)
        return 0;
    fuzz_init();
    if (fd == NULL)
        image_start();
    labels_restore();
    if ((data[0] & REPLACE) != 0)
        replace_label(data + 1, size - 1);
    else
        patch_all(data + 1, size - 1);
    seal_labels((data[0] & REPLACE) != 0 ? FIX_LABEL | ALL_LABELS : data[0]);

    disk_t disk = faultdisk_disk(fd);
    if (dsl_pool_open(&disk, DSL_POOL_RDONLY, &dp) == 0) {
        fuzz_walk(dp);
        (void)dsl_pool_close(dp);
    }
    image_restore();
    return 0;
}
