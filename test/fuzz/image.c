/* SPDX-License-Identifier: BSD-2-Clause */
/* image.c - see fuzz_image.h. The image is part of the program, so that this runs from any folder. */
#include <zstd.h>
#include "fuzz_image.h"

extern const uint8_t fuzz_pool_img[], fuzz_pool_img_end[];
__asm__(".section .rodata\n"
        ".global fuzz_pool_img\n"
        ".global fuzz_pool_img_end\n"
        "fuzz_pool_img:\n"
        ".incbin \"test/fuzz/pool.img\"\n"
        "fuzz_pool_img_end:\n"
        ".byte 0\n"
        ".text\n");

#define MAX_IMAGE (16UL << 20)

image_t *
image_load(void)
{
    static image_t im;
    uint8_t *plain = xmalloc(MAX_IMAGE);
    uint64_t *w = (uint64_t *)(void *)plain;

    size_t n = ZSTD_decompress(plain, MAX_IMAGE, fuzz_pool_img, (size_t)(fuzz_pool_img_end - fuzz_pool_img));
    VERIFY(!ZSTD_isError(n));
    im.im_size = w[0];
    im.im_n = (uint32_t)w[1];
    VERIFY(n == 16 + (uint64_t)im.im_n * (8 + IMAGE_SECTOR));
    im.im_off = w + 2;
    im.im_data = plain + 16 + (size_t)im.im_n * 8;
    im.im_dirty = xzalloc(im.im_n);
    return &im;
}
