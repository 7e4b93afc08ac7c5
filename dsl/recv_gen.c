/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recv_gen.c - the generation of a file, from its bonus buffer: is object 17 of the stream still the file it was?
 *
 * A znode has it at byte 64. System attributes have it where their layout says:
 *
 *   | magic u32 | layout 0-9, header size/8 10-15 | lengths ... | attribute | attribute | ...   in the layout's order
 *
 * The layouts are a ZAP of the file system: number -> u16 attribute numbers; attributes 0-15 have fixed lengths everywhere.
 * Only that much is read: an attribute of unknown length in front of the generation makes it unknown. ZFS: zfs_get_file_info().
 */
#include <byteswap.h>
#include <stdio.h>

#include "recv_impl.h"

#define SA_MAGIC   0x2F505Au
#define SA_GEN     4
#define ZNODE_GEN  64
#define MAX_LAYOUT 128

/* Bytes of the attributes whose numbers are the same in every file system. */
static const uint8_t fixed_length[16] = {16, 16, 16, 16, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 32, 88};

static int
layout_load(objset_t *os, unsigned number, uint16_t *attrs, uint64_t *n)
{
    uint64_t sa, layouts, size;
    char name[16];
    int err;

    snprintf(name, sizeof(name), "%u", number);
    if ((err = zap_lookup_u64(os, 1, "SA_ATTRS", &sa)) != 0 ||
        (err = zap_lookup_u64(os, sa, "LAYOUTS", &layouts)) != 0 ||
        (err = zap_length(os, layouts, name, &size, n)) != 0)
        return err;
    if (size != sizeof(*attrs) || *n > MAX_LAYOUT)
        return SET_ERROR(EINVAL);
    return zap_lookup(os, layouts, name, size, *n, attrs);
}

static bool
sa_generation(objset_t *os, const uint8_t *bonus, size_t len, uint64_t *gen)
{
    uint16_t info, attrs[MAX_LAYOUT];
    uint64_t n;
    uint32_t magic;
    bool swap;

    if (len < 8)
        return false;
    memcpy(&magic, bonus, sizeof(magic));
    memcpy(&info, bonus + 4, sizeof(info));
    swap = magic == bswap_32(SA_MAGIC);
    if (swap)
        info = bswap_16(info);
    if ((!swap && magic != SA_MAGIC) || layout_load(os, info & 1023, attrs, &n) != 0)
        return false;
    size_t off = (size_t)(info >> 10) * 8;
    for (uint64_t i = 0; i < n && attrs[i] < 16 && off + 8 <= len; off += fixed_length[attrs[i++]]) {
        if (attrs[i] == SA_GEN) {
            memcpy(gen, bonus + off, sizeof(*gen));
            if (swap)
                *gen = bswap_64(*gen);
            return true;
        }
    }
    return false;
}

bool
recv_generation(objset_t *os, uint8_t bonustype, const uint8_t *bonus, size_t len, uint64_t *gen)
{
    if (bonustype == DMU_OT_SA)
        return sa_generation(os, bonus, len, gen);
    if (bonustype != DMU_OT_ZNODE || len < ZNODE_GEN + sizeof(*gen))
        return false;
    memcpy(gen, bonus + ZNODE_GEN, sizeof(*gen));
    return true;
}
