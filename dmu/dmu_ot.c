/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dmu_ot.c - what an object's type means, and the gate for dnodes read from disk.
 *
 * An object type is a byte. Those below DMU_OT_NUMTYPES are looked up in a table; from 0x80 on the byte says it all:
 *
 *      7      6          5           4..0
 *    | 1 | metadata | encrypted | byteswap class |
 *
 * dnode_phys_validate() is the only place where a dnode's numbers are doubted: what passes can be trusted to keep every shift,
 * size and offset computed from it within bounds. Block pointers in it are checked where they are followed.
 *
 * ZFS: dmu_ot[] in dmu.c, dnode_verify() and dnode_buf_byteswap() in dnode.c.
 */
#include "dmu_impl.h"

struct ot {
    const char *ot_name;
    uint8_t ot_bswap;
    bool ot_data; /* user data, not metadata */
};

#define Z DMU_BSWAP_ZAP
#define Q DMU_BSWAP_UINT64
#define B DMU_BSWAP_UINT8

static const struct ot ot_table[DMU_OT_NUMTYPES] = {
    [DMU_OT_NONE] = {"unallocated", B, false},
    [DMU_OT_OBJECT_DIRECTORY] = {"object directory", Z, false},
    [DMU_OT_OBJECT_ARRAY] = {"object array", Q, false},
    [DMU_OT_PACKED_NVLIST] = {"packed nvlist", B, false},
    [DMU_OT_PACKED_NVLIST_SIZE] = {"packed nvlist size", Q, false},
    [DMU_OT_BPOBJ] = {"bpobj", Q, false},
    [DMU_OT_BPOBJ_HDR] = {"bpobj header", Q, false},
    [DMU_OT_SPACE_MAP_HEADER] = {"SPA space map header", Q, false},
    [DMU_OT_SPACE_MAP] = {"SPA space map", Q, false},
    [DMU_OT_INTENT_LOG] = {"ZIL intent log", Q, false},
    [DMU_OT_DNODE] = {"DMU dnode", DMU_BSWAP_DNODE, false},
    [DMU_OT_OBJSET] = {"DMU objset", DMU_BSWAP_OBJSET, false},
    [DMU_OT_DSL_DIR] = {"DSL directory", Q, false},
    [DMU_OT_DSL_DIR_CHILD_MAP] = {"DSL directory child map", Z, false},
    [DMU_OT_DSL_DS_SNAP_MAP] = {"DSL dataset snap map", Z, false},
    [DMU_OT_DSL_PROPS] = {"DSL props", Z, false},
    [DMU_OT_DSL_DATASET] = {"DSL dataset", Q, false},
    [DMU_OT_ZNODE] = {"ZFS znode", DMU_BSWAP_ZNODE, false},
    [DMU_OT_OLDACL] = {"ZFS V0 ACL", DMU_BSWAP_OLDACL, false},
    [DMU_OT_PLAIN_FILE_CONTENTS] = {"ZFS plain file", B, true},
    [DMU_OT_DIRECTORY_CONTENTS] = {"ZFS directory", Z, false},
    [DMU_OT_MASTER_NODE] = {"ZFS master node", Z, false},
    [DMU_OT_UNLINKED_SET] = {"ZFS delete queue", Z, false},
    [DMU_OT_ZVOL] = {"zvol object", B, true},
    [DMU_OT_ZVOL_PROP] = {"zvol prop", Z, false},
    [DMU_OT_PLAIN_OTHER] = {"other uint8[]", B, true},
    [DMU_OT_UINT64_OTHER] = {"other uint64[]", Q, true},
    [DMU_OT_ZAP_OTHER] = {"other ZAP", Z, false},
    [DMU_OT_ERROR_LOG] = {"persistent error log", Z, false},
    [DMU_OT_SPA_HISTORY] = {"SPA history", B, false},
    [DMU_OT_SPA_HISTORY_OFFSETS] = {"SPA history offsets", Q, false},
    [DMU_OT_POOL_PROPS] = {"Pool properties", Z, false},
    [DMU_OT_DSL_PERMS] = {"DSL permissions", Z, false},
    [DMU_OT_ACL] = {"ZFS ACL", DMU_BSWAP_ACL, false},
    [DMU_OT_SYSACL] = {"ZFS SYSACL", B, false},
    [DMU_OT_FUID] = {"FUID table", B, false},
    [DMU_OT_FUID_SIZE] = {"FUID table size", Q, false},
    [DMU_OT_NEXT_CLONES] = {"DSL dataset next clones", Z, false},
    [DMU_OT_SCAN_QUEUE] = {"scan work queue", Z, false},
    [DMU_OT_USERGROUP_USED] = {"ZFS user/group used", Z, false},
    [DMU_OT_USERGROUP_QUOTA] = {"ZFS user/group quota", Z, false},
    [DMU_OT_USERREFS] = {"snapshot refcount tags", Z, false},
    [DMU_OT_DDT_ZAP] = {"DDT ZAP algorithm", Z, false},
    [DMU_OT_DDT_STATS] = {"DDT statistics", Z, false},
    [DMU_OT_SA] = {"System attributes", B, false},
    [DMU_OT_SA_MASTER_NODE] = {"SA master node", Z, false},
    [DMU_OT_SA_ATTR_REGISTRATION] = {"SA attr registration", Z, false},
    [DMU_OT_SA_ATTR_LAYOUTS] = {"SA attr layouts", Z, false},
    [DMU_OT_SCAN_XLATE] = {"scan translations", Z, false},
    [DMU_OT_DEDUP] = {"deduplicated block", B, true},
    [DMU_OT_DEADLIST] = {"DSL deadlist map", Z, false},
    [DMU_OT_DEADLIST_HDR] = {"DSL deadlist map hdr", Q, false},
    [DMU_OT_DSL_CLONES] = {"DSL dir clones", Z, false},
    [DMU_OT_BPOBJ_SUBOBJ] = {"bpobj subobj", Q, false},
};

#undef Z
#undef Q
#undef B

bool
dmu_ot_is_valid(uint8_t type)
{
    if (type & DMU_OT_NEWTYPE)
        return (type & DMU_OT_BYTESWAP_MASK) < DMU_BSWAP_NUMFUNCS;
    return type < DMU_OT_NUMTYPES;
}

bool
dmu_ot_is_metadata(uint8_t type)
{
    if (type & DMU_OT_NEWTYPE)
        return (type & DMU_OT_METADATA) != 0;
    return type >= DMU_OT_NUMTYPES || !ot_table[type].ot_data;
}

dmu_byteswap_t
dmu_ot_byteswap(uint8_t type)
{
    if (!dmu_ot_is_valid(type))
        return DMU_BSWAP_UINT8;
    if (type & DMU_OT_NEWTYPE)
        return (dmu_byteswap_t)(type & DMU_OT_BYTESWAP_MASK);
    return (dmu_byteswap_t)ot_table[type].ot_bswap;
}

const char *
dmu_ot_name(uint8_t type)
{
    static const char *const composed[DMU_BSWAP_NUMFUNCS] = {
        "bswap u8",    "bswap u16",    "bswap u32",   "bswap u64",     "zap",
        "bswap dnode", "bswap objset", "bswap znode", "bswap old ACL", "bswap ACL"};

    if (!dmu_ot_is_valid(type))
        return "unknown type";
    if (type & DMU_OT_NEWTYPE)
        return composed[type & DMU_OT_BYTESWAP_MASK];
    return ot_table[type].ot_name;
}

/* Bytes that pointers and bonus may take together: all after the core, less the spill pointer. */
static size_t
dnode_room(const dnode_phys_t *dnp)
{
    size_t spill = (dnp->dn_flags & DNODE_FLAG_SPILL_BLKPTR) != 0 ? sizeof(blkptr_t) : 0;

    return dnode_phys_size(dnp) - DNODE_CORE_SIZE - spill;
}

int
dnode_phys_validate(const dnode_phys_t *dnp, size_t room)
{
    uint64_t blksz = (uint64_t)dnp->dn_datablkszsec << SPA_MINBLOCKSHIFT;

    if (dnp->dn_type == DMU_OT_NONE)
        return 0;
    if (!dmu_ot_is_valid(dnp->dn_type) || dnode_phys_size(dnp) > room ||
        dnp->dn_extra_slots >= DNODE_MAX_SLOTS)
        return SET_ERROR(EIO);
    if (dnp->dn_indblkshift < DN_MIN_INDBLKSHIFT || dnp->dn_indblkshift > DN_MAX_INDBLKSHIFT)
        return SET_ERROR(EIO);
    if (dnp->dn_nlevels == 0 || dnp->dn_nlevels > DN_MAX_LEVELS || dnp->dn_nblkptr == 0 ||
        dnp->dn_nblkptr > 3)
        return SET_ERROR(EIO);
    if (blksz == 0 || blksz > SPA_MAXBLOCKSIZE || dnp->dn_maxblkid >= UINT64_MAX / blksz)
        return SET_ERROR(EIO);
    if (dnode_levels_for(dnp->dn_nblkptr, dnp->dn_indblkshift, dnp->dn_maxblkid) == 0)
        return SET_ERROR(EIO); /* no tree is that high: the next write would have to make one */
    if (((size_t)dnp->dn_nblkptr << SPA_BLKPTRSHIFT) + dnp->dn_bonuslen > dnode_room(dnp))
        return SET_ERROR(EIO);
    if (dnp->dn_bonuslen != 0 && !dmu_ot_is_valid(dnp->dn_bonustype))
        return SET_ERROR(EIO);
    return 0;
}
