/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * byteswap.c - turning blocks of the other byte order into ours, by what they hold.
 *
 * A block is written in its writer's order and the pointer says which. So the order of a pool never changes; whoever reads adapts,
 * once, when the block comes in. What a word is depends on the object's type, which maps to one of ten classes:
 *
 *   u8 u16 u32 u64    arrays              dnode, objset   by field; a dnode's bonus by its own type
 *   ZAP               by the first word   znode, ACLs     by field, the size of an entry depends on its flags
 *
 * INVARIANTS
 *  1. No byte outside [buf, buf+size) is touched, whatever the block says of itself.
 *  2. From foreign to ours only: fields are turned first and then believed (as far as they stay in bounds).
 *
 * ZFS: dmu.c's table of functions, zap_micro.c zap_byteswap, dnode.c, zfs_byteswap.c
 */
#include "dmu_format.h"
#include "zap_format.h"

static void
swap16(void *p)
{
    uint16_t *v = p;
    *v = __builtin_bswap16(*v);
}

static void
swap32(void *p)
{
    uint32_t *v = p;
    *v = __builtin_bswap32(*v);
}

static void
swap64(void *p)
{
    uint64_t *v = p;
    *v = __builtin_bswap64(*v);
}

static void
swap16_array(void *p, size_t size)
{
    uint16_t *v = p;
    for (size_t i = 0; i < size / 2; i++)
        v[i] = __builtin_bswap16(v[i]);
}

static void
swap32_array(void *p, size_t size)
{
    uint32_t *v = p;
    for (size_t i = 0; i < size / 4; i++)
        v[i] = __builtin_bswap32(v[i]);
}

static void
swap64_array(void *p, size_t size)
{
    uint64_t *v = p;
    for (size_t i = 0; i < size / 8; i++)
        v[i] = __builtin_bswap64(v[i]);
}

/* ---- ZAP ---- */

static void
swap_micro(uint8_t *buf, size_t size)
{
    swap64_array(buf, MZAP_ENT_LEN);
    for (size_t at = MZAP_ENT_LEN; at + MZAP_ENT_LEN <= size; at += MZAP_ENT_LEN) {
        mzap_ent_phys_t *e = (mzap_ent_phys_t *)(buf + at);
        swap64(&e->mze_value);
        swap32(&e->mze_cd);
        swap16(&e->mze_pad);
    }
}

static void
swap_leaf_entry(struct zap_leaf_entry *le)
{
    swap16(&le->le_next);
    swap16(&le->le_name_chunk);
    swap16(&le->le_name_numints);
    swap16(&le->le_value_chunk);
    swap16(&le->le_value_numints);
    swap32(&le->le_cd);
    swap64(&le->le_hash);
}

static void
swap_leaf(uint8_t *buf, size_t size)
{
    zap_leaf_phys_t *p = (zap_leaf_phys_t *)buf;
    int shift = highbit64(size) - 1;
    if (shift < FZAP_MIN_SHIFT)
        return;
    swap64_array(buf, offsetof(zap_leaf_phys_t, lh_magic));
    swap32(&p->lh_magic);
    swap16_array(&p->lh_nfree, offsetof(zap_leaf_phys_t, lh_flags) - offsetof(zap_leaf_phys_t, lh_nfree));
    uint32_t nbuckets = 1u << ZAP_LEAF_HASH_SHIFT(shift), nchunks = ZAP_LEAF_NUMCHUNKS(shift);
    swap16_array(p->lh_hash, nbuckets * sizeof(uint16_t));
    zap_leaf_chunk_t *ch = (zap_leaf_chunk_t *)(p->lh_hash + nbuckets);
    for (uint32_t c = 0; c < nchunks; c++) {
        if (ch[c].l_entry.le_type == ZAP_CHUNK_ENTRY)
            swap_leaf_entry(&ch[c].l_entry);
        else
            swap16(&ch[c].l_array.la_next);
    }
}

/* Blocks of an external pointer table have no kind: they are u64 arrays, as is the header with an embedded one. */
static void
swap_zap(uint8_t *buf, size_t size)
{
    uint64_t kind = 0;
    if (size >= SPA_MINBLOCKSIZE)
        kind = __builtin_bswap64(*(uint64_t *)buf);
    if (kind == ZBT_MICRO)
        swap_micro(buf, size);
    else if (kind == ZBT_LEAF)
        swap_leaf(buf, size);
    else
        swap64_array(buf, size);
}

/* ---- znode and ACLs ---- */

#define ZNODE_WORDS    22 /* u64 fields before the ACL */
#define ZNODE_ACL      176
#define ZNODE_ACL_SIZE 88
#define ACL_INLINE     16 /* offset of the inline entries in the ACL header */
#define ACE_V0_SIZE    12

#define ACE_FUID_FREE(flags)                                                                                 \
    (((flags)&0x7040) == 0x1000 || ((flags)&0x7040) == 0x2040 || ((flags)&0x7040) == 0x4000)
#define ACE_OBJECT_MIN 5
#define ACE_OBJECT_MAX 8

/* Version 0: u32 id, u32 mask, u16 flags, u16 type. */
static void
swap_aces_old(uint8_t *p, size_t size)
{
    for (; size >= ACE_V0_SIZE; p += ACE_V0_SIZE, size -= ACE_V0_SIZE) {
        swap32_array(p, 8);
        swap16_array(p + 8, 4);
    }
}

static size_t
ace_size(uint16_t type, uint16_t flags)
{
    if (type >= ACE_OBJECT_MIN && type <= ACE_OBJECT_MAX)
        return 48;
    return ACE_FUID_FREE(flags) ? 8 : 16;
}

/* Version 1: u16 type, u16 flags, u32 mask; then a u64 unless the flags name the owner, the group or everyone. */
static void
swap_aces(uint8_t *p, size_t size)
{
    while (size >= 8) {
        swap16_array(p, 4);
        swap32(p + 4);
        size_t n = ace_size(((uint16_t *)p)[0], ((uint16_t *)p)[1]);
        if (n > size)
            return;
        if (n > 8)
            swap64(p + 8);
        p += n;
        size -= n;
    }
}

/* At 12 a u16 version in both forms; 0 has a count of u32 at 8, 1 a size of u32 at 8 and a count of u16 at 14. */
static void
swap_znode_acl(uint8_t *p)
{
    swap64(p);
    swap32(p + 8);
    swap16_array(p + 12, 4);
    if (*(uint16_t *)(p + 12) == 0)
        swap_aces_old(p + ACL_INLINE, ZNODE_ACL_SIZE - ACL_INLINE);
    else
        swap_aces(p + ACL_INLINE, ZNODE_ACL_SIZE - ACL_INLINE);
}

static void
swap_znode(uint8_t *buf, size_t size)
{
    if (size < ZNODE_ACL + ZNODE_ACL_SIZE)
        return;
    swap64_array(buf, ZNODE_WORDS * sizeof(uint64_t));
    swap_znode_acl(buf + ZNODE_ACL);
}

/* ---- dnodes and object sets ---- */

/* The bonus, and a spill pointer behind it, of a dnode whose core is turned already. room: its bytes. */
static void
swap_dnode_tail(dnode_phys_t *dnp, size_t room)
{
    size_t at = DNODE_CORE_SIZE + ((size_t)dnp->dn_nblkptr << SPA_BLKPTRSHIFT);
    uint8_t *p = (uint8_t *)dnp;
    if (dnp->dn_flags & DNODE_FLAG_SPILL_BLKPTR) {
        room -= sizeof(blkptr_t);
        swap64_array(p + room, sizeof(blkptr_t));
    }
    if (at >= room || dnp->dn_bonuslen == 0 || !dmu_ot_is_valid(dnp->dn_bonustype))
        return;
    size_t len = MIN(P2ROUNDUP((size_t)dnp->dn_bonuslen, 8), room - at);
    dmu_byteswap_t how = dmu_ot_byteswap(dnp->dn_bonustype);
    if (how != DMU_BSWAP_DNODE && how != DMU_BSWAP_OBJSET)
        dmu_byteswap(how, p + at, len);
}

/* One dnode; returns its size. */
static size_t
swap_dnode(uint8_t *buf, size_t left)
{
    dnode_phys_t *dnp = (dnode_phys_t *)buf;
    size_t size = MIN(dnode_phys_size(dnp), left);
    if (dnp->dn_type == DMU_OT_NONE)
        return DNODE_MIN_SIZE;
    swap16(&dnp->dn_datablkszsec);
    swap16(&dnp->dn_bonuslen);
    swap64(&dnp->dn_maxblkid);
    swap64(&dnp->dn_used);
    swap64_array(dnp->dn_pad3, sizeof(dnp->dn_pad3));
    if (dnp->dn_nblkptr < 1 || dnp->dn_nblkptr > 3)
        return size;
    swap64_array(dnp->dn_blkptr, (size_t)dnp->dn_nblkptr << SPA_BLKPTRSHIFT);
    swap_dnode_tail(dnp, size);
    return size;
}

static void
swap_dnodes(uint8_t *buf, size_t size)
{
    for (size_t at = 0; at + DNODE_MIN_SIZE <= size;)
        at += swap_dnode(buf + at, size - at);
}

static void
swap_objset(uint8_t *buf, size_t size)
{
    objset_phys_t *os = (objset_phys_t *)buf;
    if (size < OBJSET_PHYS_SIZE_V1)
        return;
    swap_dnode(buf, DNODE_MIN_SIZE);
    swap64_array(&os->os_zil_header, sizeof(os->os_zil_header));
    swap64(&os->os_type);
    swap64(&os->os_flags);
    for (size_t at = OBJSET_PHYS_SIZE_V1;
         at + DNODE_MIN_SIZE <= MIN(size, (size_t)OBJSET_PHYS_SIZE_V2 + DNODE_MIN_SIZE); at += DNODE_MIN_SIZE)
        swap_dnode(buf + at, DNODE_MIN_SIZE);
}

void
dmu_byteswap(dmu_byteswap_t how, void *buf, size_t size)
{
    switch (how) {
    case DMU_BSWAP_UINT8:
        return;
    case DMU_BSWAP_UINT16:
        swap16_array(buf, size);
        return;
    case DMU_BSWAP_UINT32:
        swap32_array(buf, size);
        return;
    case DMU_BSWAP_UINT64:
        swap64_array(buf, size);
        return;
    case DMU_BSWAP_ZAP:
        swap_zap(buf, size);
        return;
    case DMU_BSWAP_DNODE:
        swap_dnodes(buf, size);
        return;
    case DMU_BSWAP_OBJSET:
        swap_objset(buf, size);
        return;
    case DMU_BSWAP_ZNODE:
        swap_znode(buf, size);
        return;
    case DMU_BSWAP_OLDACL:
        swap_aces_old(buf, size);
        return;
    case DMU_BSWAP_ACL:
        swap_aces(buf, size);
        return;
    case DMU_BSWAP_NUMFUNCS:
        break;
    }
}
