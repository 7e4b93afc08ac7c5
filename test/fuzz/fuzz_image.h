/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_image.h - the pool of fuzz_pool.c, kept beside it as pool.img: the sectors in use, under zstd.
 *
 *     size of the disk | n | offset[n] | sector[n]         little-endian, words of 64 bits
 *
 * Made once (build/tool_fuzzseed), because a new pool has new guids and an input must mean the same for ever.
 * Of the labels only the first is kept.
 */
#ifndef COWBIRD_TEST_FUZZ_IMAGE_H
#define COWBIRD_TEST_FUZZ_IMAGE_H

#include "base.h"

#define IMAGE_SECTOR 512

typedef struct image {
    uint64_t im_size;
    uint32_t im_n;
    uint64_t *im_off;
    uint8_t *im_data;
    uint8_t *im_dirty; /* per sector: differs on the disk */
} image_t;

image_t *image_load(void); /* lives as long as the process */

#endif
