/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fletcher.c - how fast one core sums a stream: MiB per second of Fletcher-4 over 128-KiB blocks, as a send or receive does it.
 */
#include <stdio.h>
#include "base.h"
#include "checksum.h"

#define BLOCK (128u << 10)
#define N     256u /* blocks: 32 MiB, more than caches hold */

int
main(void)
{
    uint8_t *buf = xmalloc((size_t)N * BLOCK);
    zio_cksum_t sum = {{0}};
    uint64_t begin, blocks = 0;

    for (size_t i = 0; i < (size_t)N * BLOCK; i += 8)
        *(uint64_t *)(void *)(buf + i) = i * 0x9E3779B97F4A7C15ULL;
    for (begin = gethrtime(); gethrtime() - begin < 1000000000; blocks++)
        fletcher_4_incremental_native(buf + blocks % N * BLOCK, BLOCK, &sum);
    double seconds = (double)(gethrtime() - begin) / 1e9;
    fprintf(stderr, "# sum %016llx\n", (unsigned long long)sum.zc_word[0]); /* so that nothing is left out */
    printf("%.1f\n", (double)blocks * BLOCK / (1 << 20) / seconds);
    free(buf);
    return 0;
}
