/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * blkptr.c - what a block pointer says, and whether it can be true.
 *
 * A pointer that was read from disk is hostile until bp_validate() has passed it: later code uses its sizes to allocate
 * memory and its offsets to read, without looking again. Three shapes:
 *
 *   hole       DVA 1 is zero                      nothing stored
 *   embedded   bit 39 of blk_prop                 the (compressed) contents fill the pointer's own words
 *   block      1-3 DVAs, checksum of the bytes    DVA 1 with the gang bit: a tree of pieces
 *
 * ZFS: module/zfs/blkptr.c, include/sys/spa.h, zfs_blkptr_verify() in zio.c
 */
#include <stdio.h>
#include <syslog.h>
#include "spa_format.h"

uint64_t
bp_get_asize(const blkptr_t *bp)
{
    uint64_t asize = 0;

    if (BP_IS_EMBEDDED(bp))
        return 0;
    for (int d = 0; d < SPA_DVAS_PER_BP; d++)
        asize += DVA_GET_ASIZE(&bp->blk_dva[d]);
    return asize;
}

/* Object types whose level 0 is somebody's data rather than ours: plain file, zvol, other u64s, ... (pool.md 9). */
static bool
type_is_metadata(uint8_t type)
{
    if (type & 0x80)
        return (type & 0x40) != 0;
    return type != 19 && type != 23 && type != 25 && type != 26 && type != 49;
}

uint64_t
bp_get_ucsize(const blkptr_t *bp)
{
    if (BP_GET_LEVEL(bp) > 0 || type_is_metadata(BP_GET_TYPE(bp)))
        return BP_GET_PSIZE(bp);
    return BP_IS_HOLE(bp) ? 0 : BP_GET_LSIZE(bp);
}

int
bp_get_ndvas(const blkptr_t *bp)
{
    int n = 0;

    if (BP_IS_EMBEDDED(bp))
        return 0;
    for (int d = 0; d < SPA_DVAS_PER_BP; d++)
        n += DVA_IS_VALID(&bp->blk_dva[d]);
    return n;
}

void
bp_zero(blkptr_t *bp)
{
    memset(bp, 0, sizeof(*bp));
}

/* ---- embedded contents: words 0-5, 7-9, 11-15, each little-endian ---- */

static const uint8_t bpe_words[BPE_PAYLOAD_SIZE / 8] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 14, 15};

void
bpe_decode(const blkptr_t *bp, uint8_t *out)
{
    const uint64_t *w = (const uint64_t *)bp;

    for (size_t i = 0; i < ARRAY_SIZE(bpe_words); i++)
        memcpy(out + 8 * i, &w[bpe_words[i]], 8);
}

void
bpe_encode(blkptr_t *bp, const void *payload, enum zio_compress c, uint64_t lsize, uint64_t psize)
{
    uint64_t *w = (uint64_t *)bp;
    uint8_t buf[BPE_PAYLOAD_SIZE] = {0};

    VERIFY3U(psize, <=, BPE_PAYLOAD_SIZE);
    VERIFY(psize > 0 && lsize > 0 && lsize <= 1ULL << 25);
    memset(bp, 0, sizeof(*bp));
    memcpy(buf, payload, psize);
    for (size_t i = 0; i < ARRAY_SIZE(bpe_words); i++)
        memcpy(&w[bpe_words[i]], buf + 8 * i, 8);
    BF64_SET(bp->blk_prop, 39, 1, 1);
    BF64_SET(bp->blk_prop, 0, 25, lsize - 1);
    BF64_SET(bp->blk_prop, 25, 7, psize - 1);
    BP_SET_COMPRESS(bp, c);
    BP_SET_LITTLE(bp);
}

/* ---- the gate ---- */

static const char *
validate_embedded(const blkptr_t *bp)
{
    if (BPE_GET_PSIZE(bp) > BPE_PAYLOAD_SIZE)
        return "embedded size too large";
    if (BPE_GET_LSIZE(bp) > SPA_MAXBLOCKSIZE)
        return "embedded block too large";
    if (BPE_GET_ETYPE(bp) != 0)
        return "embedded payload of unknown kind";
    if (BP_GET_LEVEL(bp) != 0)
        return "embedded indirect block";
    return NULL;
}

static const char *
validate_dva(const dva_t *dva, uint64_t psize, uint64_t asize)
{
    uint64_t sector = BF64_GET(dva->dva_word[1], 0, 63);

    if (DVA_GET_VDEV(dva) != 0)
        return "on a device that is not there";
    if (sector > asize >> SPA_MINBLOCKSHIFT)
        return "starts beyond the device";
    if (!DVA_GET_GANG(dva) && DVA_GET_ASIZE(dva) < psize)
        return "less allocated than stored";
    if ((DVA_GET_GANG(dva) ? SPA_GANGBLOCKSIZE : DVA_GET_ASIZE(dva)) > asize - DVA_GET_OFFSET(dva))
        return "ends beyond the device";
    return NULL;
}

static const char *
validate_block(const blkptr_t *bp, uint64_t asize)
{
    const char *why = NULL;
    uint64_t psize = BP_GET_PSIZE(bp);

    if (BP_GET_LSIZE(bp) > SPA_MAXBLOCKSIZE)
        return "logical size too large";
    if (psize > SPA_MAXBLOCKSIZE)
        return "physical size too large";
    if (BP_GET_COMPRESS(bp) == ZIO_COMPRESS_OFF && psize != BP_GET_LSIZE(bp))
        return "sizes of an uncompressed block differ";
    if (psize > BP_GET_LSIZE(bp))
        return "larger stored than plain";
    if (bp->blk_birth == 0)
        return "born before the pool";
    if (!DVA_IS_VALID(&bp->blk_dva[0]))
        return "no first copy";
    for (int d = 0; d < SPA_DVAS_PER_BP && why == NULL; d++)
        if (DVA_IS_VALID(&bp->blk_dva[d]) && !(d == 2 && BP_IS_ENCRYPTED(bp)))
            why = validate_dva(&bp->blk_dva[d], psize, asize);
    return why;
}

int
bp_validate(const blkptr_t *bp, uint64_t asize)
{
    const char *why = NULL;
    uint64_t c = BP_GET_COMPRESS(bp);
    char text[512];

    if (BP_IS_HOLE(bp))
        return 0;
    if (c == ZIO_COMPRESS_INHERIT || c == ZIO_COMPRESS_ON || c >= ZIO_COMPRESS_FUNCTIONS)
        why = "unknown compression";
    else
        why = BP_IS_EMBEDDED(bp) ? validate_embedded(bp) : validate_block(bp, asize);
    if (why == NULL)
        return 0;
    cowbird_log(LOG_ERR, "bad block pointer: %s: %s", why, bp_sprint(bp, text, sizeof(text)));
    return SET_ERROR(EIO);
}

/* ---- text ---- */

static int
sprint_dvas(const blkptr_t *bp, char *buf, size_t n)
{
    int len = 0;

    for (int d = 0; d < SPA_DVAS_PER_BP; d++)
        if (DVA_IS_VALID(&bp->blk_dva[d]) && (size_t)len < n)
            len += snprintf(buf + len, n - (size_t)len, "DVA[%d]=<%llu:%llx:%llx> ", d,
                            (unsigned long long)DVA_GET_VDEV(&bp->blk_dva[d]),
                            (unsigned long long)DVA_GET_OFFSET(&bp->blk_dva[d]),
                            (unsigned long long)DVA_GET_ASIZE(&bp->blk_dva[d]));
    return MIN(len, (int)n - 1);
}

static void
sprint_block(const blkptr_t *bp, const char *cname, char *buf, size_t n)
{
    int len = sprint_dvas(bp, buf, n);
    const uint64_t *ck = bp->blk_cksum.zc_word;

    snprintf(
        buf + len, n - (size_t)len,
        "[L%d type %u] %s %s %s %s%s size=%llxL/%llxP birth=%lluL/%lluP fill=%llu cksum=%llx:%llx:%llx:%llx",
        BP_GET_LEVEL(bp), BP_GET_TYPE(bp), zio_checksum_name(BP_GET_CHECKSUM(bp)), cname,
        BP_IS_LITTLE(bp) ? "LE" : "BE", BP_IS_GANG(bp) ? "gang" : "contiguous",
        BP_GET_DEDUP(bp) ? " dedup" : "", (unsigned long long)BP_GET_LSIZE(bp),
        (unsigned long long)BP_GET_PSIZE(bp), (unsigned long long)bp->blk_birth,
        (unsigned long long)BP_PHYSICAL_BIRTH(bp), (unsigned long long)bp->blk_fill,
        (unsigned long long)ck[0], (unsigned long long)ck[1], (unsigned long long)ck[2],
        (unsigned long long)ck[3]);
}

char *
bp_sprint(const blkptr_t *bp, char *buf, size_t n)
{
    char cname[32];

    zio_compress_name(BP_GET_COMPRESS(bp), 0, cname, sizeof(cname));
    if (BP_IS_HOLE(bp))
        snprintf(buf, n, "HOLE [L%d type %u] birth=%llu", BP_GET_LEVEL(bp), BP_GET_TYPE(bp),
                 (unsigned long long)bp->blk_birth);
    else if (BP_IS_EMBEDDED(bp))
        snprintf(buf, n, "EMBEDDED [L%d type %u] et=%llu %s size=%llxL/%llxP birth=%llu", BP_GET_LEVEL(bp),
                 BP_GET_TYPE(bp), (unsigned long long)BPE_GET_ETYPE(bp), cname,
                 (unsigned long long)BPE_GET_LSIZE(bp), (unsigned long long)BPE_GET_PSIZE(bp),
                 (unsigned long long)bp->blk_birth);
    else
        sprint_block(bp, cname, buf, n);
    return buf;
}
