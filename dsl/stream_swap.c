/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream_swap.c - streams of the other byte order: headers by field, payloads by what they hold.
 *
 *   header     each field by its size; names and bytes stay              drr_byteswap
 *   bonus      by the bonus type's class                                 stream_swap_bonus
 *   block      by the object type's class; file contents stay            stream_swap_block
 *
 * ZAP blocks need a closer look. Some senders (OpenZFS from 2.0) send those that they read straight from a disk of the
 * other order as they lie there, so a block may be in the opposite order of its stream. Three kinds of ZAP block begin
 * with a number that tells; a block of a pointer table does not, and follows the block before it of the same object.
 *
 * A system-attribute bonus (type 44) has class u8 and stays as it came: its own magic number tells its order
 * to whoever reads it. ZFS: byteswap_record() in dmu_recv.c, dmu_ot_byteswap[].
 */
#include <byteswap.h>

#include "stream.h"

#define SWAP64(x) ((x) = bswap_64(x))
#define SWAP32(x) ((x) = bswap_32(x))

int
drr_begin_order(const dmu_replay_record_t *wire, bool *swap)
{
    uint64_t magic = wire->drr_u.drr_begin.drr_magic;

    if (magic != DRR_MAGIC && magic != bswap_64(DRR_MAGIC))
        return SET_ERROR(EINVAL);
    *swap = magic != DRR_MAGIC;
    if ((*swap ? bswap_32(wire->drr_type) : wire->drr_type) != DRR_BEGIN)
        return SET_ERROR(EINVAL);
    return 0;
}

static void
swap_words(void *p, int n) /* u64 in a row */
{
    uint64_t *w = p;

    for (int i = 0; i < n; i++)
        SWAP64(w[i]);
}

static void
swap_object(struct drr_object *o)
{
    SWAP64(o->drr_object);
    SWAP32(o->drr_type);
    SWAP32(o->drr_bonustype);
    SWAP32(o->drr_blksz);
    SWAP32(o->drr_bonuslen);
    SWAP32(o->drr_raw_bonuslen);
    SWAP64(o->drr_toguid);
    SWAP64(o->drr_maxblkid);
}

static void
swap_write(struct drr_write *w)
{
    SWAP64(w->drr_object);
    SWAP32(w->drr_type);
    swap_words(&w->drr_offset, 3);
    swap_words(&w->drr_key, 5);
    SWAP64(w->drr_compressed_size);
}

static void
swap_begin(struct drr_begin *b)
{
    swap_words(b, 3);
    SWAP32(b->drr_type);
    SWAP32(b->drr_flags);
    swap_words(&b->drr_toguid, 2);
}

static void
swap_spill(struct drr_spill *s)
{
    swap_words(s, 3);
    SWAP64(s->drr_compressed_size);
    SWAP32(s->drr_type);
}

static void
swap_embedded(struct drr_write_embedded *e)
{
    swap_words(e, 4);
    SWAP32(e->drr_lsize);
    SWAP32(e->drr_psize);
}

void
drr_byteswap(dmu_replay_record_t *drr, uint32_t type)
{
    SWAP32(drr->drr_type);
    SWAP32(drr->drr_payloadlen);
    switch (type) {
    case DRR_BEGIN:
        swap_begin(&drr->drr_u.drr_begin);
        return; /* the name reaches over the sum */
    case DRR_OBJECT:
        swap_object(&drr->drr_u.drr_object);
        break;
    case DRR_WRITE:
        swap_write(&drr->drr_u.drr_write);
        break;
    case DRR_FREEOBJECTS:
    case DRR_OBJECT_RANGE:
        swap_words(&drr->drr_u, 3);
        break;
    case DRR_FREE:
    case DRR_REDACT:
        swap_words(&drr->drr_u, 4);
        break;
    case DRR_END:
        swap_words(&drr->drr_u, 5);
        break;
    case DRR_WRITE_BYREF:
        swap_words(&drr->drr_u, 7);
        swap_words(&drr->drr_u.drr_write_byref.drr_key, 5);
        break;
    case DRR_SPILL:
        swap_spill(&drr->drr_u.drr_spill);
        break;
    case DRR_WRITE_EMBEDDED:
        swap_embedded(&drr->drr_u.drr_write_embedded);
        break;
    }
    swap_words(&drr->drr_u.drr_checksum.drr_checksum, 4);
}

/* The first word of the blocks of a ZAP that have a kind. */
#define ZBT_LEAF   (1ULL << 63)
#define ZBT_HEADER (ZBT_LEAF + 1)
#define ZBT_MICRO  (ZBT_LEAF + 3)

static bool
zap_kind(uint64_t w)
{
    return w == ZBT_LEAF || w == ZBT_HEADER || w == ZBT_MICRO;
}

static bool
zap_wants_swap(stream_order_t *sd, uint64_t object, const void *buf, size_t n)
{
    uint64_t first = 0;

    memcpy(&first, buf, MIN(n, sizeof(first)));
    if (zap_kind(first))
        sd->sd_zap_swap = false;
    else if (zap_kind(bswap_64(first)))
        sd->sd_zap_swap = true;
    else if (sd->sd_object != object)
        sd->sd_zap_swap = sd->sd_swap;
    sd->sd_object = object;
    return sd->sd_zap_swap;
}

void
stream_swap_block(stream_order_t *sd, uint64_t object, uint8_t type, void *buf, size_t n)
{
    dmu_byteswap_t how = dmu_ot_byteswap(type);

    if (how == DMU_BSWAP_ZAP ? zap_wants_swap(sd, object, buf, n) : sd->sd_swap)
        dmu_byteswap(how, buf, n);
}

void
stream_swap_bonus(const stream_order_t *sd, uint8_t bonustype, void *buf, size_t n)
{
    if (sd->sd_swap && n != 0)
        dmu_byteswap(dmu_ot_byteswap(bonustype), buf, n);
}
