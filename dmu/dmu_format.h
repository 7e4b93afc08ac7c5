/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dmu_format.h - objects on disk: object sets, dnodes, object types, space maps, block-pointer objects.
 *
 *   objset_phys ──► meta dnode ──► blocks of 32 dnodes ──► each dnode: 1..3 block pointers + bonus
 *                                                            └► indirect blocks (128-byte pointers) ──► data
 *
 * Little-endian in our pools. ZFS: include/sys/{dmu,dnode,dmu_objset,space_map,bpobj}.h. The ZAP's own format: zap_format.h.
 */
#ifndef COWBIRD_DMU_FORMAT_H
#define COWBIRD_DMU_FORMAT_H

#include "spa_format.h"

/* ---- object types ---- */
typedef enum dmu_object_type {
    DMU_OT_NONE = 0,
    DMU_OT_OBJECT_DIRECTORY = 1,      /* ZAP */
    DMU_OT_OBJECT_ARRAY = 2,          /* u64 */
    DMU_OT_PACKED_NVLIST = 3,
    DMU_OT_PACKED_NVLIST_SIZE = 4,    /* u64 */
    DMU_OT_BPOBJ = 5,
    DMU_OT_BPOBJ_HDR = 6,
    DMU_OT_SPACE_MAP_HEADER = 7,
    DMU_OT_SPACE_MAP = 8,
    DMU_OT_INTENT_LOG = 9,
    DMU_OT_DNODE = 10,
    DMU_OT_OBJSET = 11,
    DMU_OT_DSL_DIR = 12,
    DMU_OT_DSL_DIR_CHILD_MAP = 13,    /* ZAP */
    DMU_OT_DSL_DS_SNAP_MAP = 14,      /* ZAP */
    DMU_OT_DSL_PROPS = 15,            /* ZAP */
    DMU_OT_DSL_DATASET = 16,
    DMU_OT_ZNODE = 17,
    DMU_OT_OLDACL = 18,
    DMU_OT_PLAIN_FILE_CONTENTS = 19,
    DMU_OT_DIRECTORY_CONTENTS = 20,   /* ZAP */
    DMU_OT_MASTER_NODE = 21,          /* ZAP */
    DMU_OT_UNLINKED_SET = 22,         /* ZAP */
    DMU_OT_ZVOL = 23,
    DMU_OT_ZVOL_PROP = 24,            /* ZAP */
    DMU_OT_PLAIN_OTHER = 25,
    DMU_OT_UINT64_OTHER = 26,
    DMU_OT_ZAP_OTHER = 27,            /* ZAP */
    DMU_OT_ERROR_LOG = 28,            /* ZAP */
    DMU_OT_SPA_HISTORY = 29,
    DMU_OT_SPA_HISTORY_OFFSETS = 30,
    DMU_OT_POOL_PROPS = 31,           /* ZAP */
    DMU_OT_DSL_PERMS = 32,            /* ZAP */
    DMU_OT_ACL = 33,
    DMU_OT_SYSACL = 34,
    DMU_OT_FUID = 35,
    DMU_OT_FUID_SIZE = 36,
    DMU_OT_NEXT_CLONES = 37,          /* ZAP */
    DMU_OT_SCAN_QUEUE = 38,           /* ZAP */
    DMU_OT_USERGROUP_USED = 39,       /* ZAP */
    DMU_OT_USERGROUP_QUOTA = 40,      /* ZAP */
    DMU_OT_USERREFS = 41,             /* ZAP */
    DMU_OT_DDT_ZAP = 42,              /* ZAP */
    DMU_OT_DDT_STATS = 43,            /* ZAP */
    DMU_OT_SA = 44,
    DMU_OT_SA_MASTER_NODE = 45,       /* ZAP */
    DMU_OT_SA_ATTR_REGISTRATION = 46, /* ZAP */
    DMU_OT_SA_ATTR_LAYOUTS = 47,      /* ZAP */
    DMU_OT_SCAN_XLATE = 48,           /* ZAP */
    DMU_OT_DEDUP = 49,
    DMU_OT_DEADLIST = 50,             /* ZAP */
    DMU_OT_DEADLIST_HDR = 51,
    DMU_OT_DSL_CLONES = 52,           /* ZAP */
    DMU_OT_BPOBJ_SUBOBJ = 53,         /* u64 */
    DMU_OT_NUMTYPES,
    DMU_OTN_UINT8_METADATA = 0xC0, /* composed types: 0x80 | metadata 0x40 | encrypted 0x20 | byteswap class */
    DMU_OTN_UINT64_METADATA = 0xC3,
    DMU_OTN_ZAP_METADATA = 0xC4,
} dmu_object_type_t;
#define DMU_OT_NEWTYPE    0x80
#define DMU_OT_METADATA   0x40
#define DMU_OT_BYTESWAP_MASK 0x1f

typedef enum dmu_byteswap { /* how a block of a type is turned to the other byte order */
    DMU_BSWAP_UINT8,
    DMU_BSWAP_UINT16,
    DMU_BSWAP_UINT32,
    DMU_BSWAP_UINT64,
    DMU_BSWAP_ZAP,
    DMU_BSWAP_DNODE,
    DMU_BSWAP_OBJSET,
    DMU_BSWAP_ZNODE,
    DMU_BSWAP_OLDACL,
    DMU_BSWAP_ACL,
    DMU_BSWAP_NUMFUNCS
} dmu_byteswap_t;

bool dmu_ot_is_valid(uint8_t type); /* known, or composed with a known byteswap class */
bool dmu_ot_is_metadata(uint8_t type);
dmu_byteswap_t dmu_ot_byteswap(uint8_t type);
const char *dmu_ot_name(uint8_t type);
/* Turn a block of the given class round in place; hostile contents never make it touch bytes outside. dmu/byteswap.c */
void dmu_byteswap(dmu_byteswap_t how, void *buf, size_t size);

/* ---- objset types ---- */
typedef enum dmu_objset_type {
    DMU_OST_NONE,
    DMU_OST_META,
    DMU_OST_ZFS,
    DMU_OST_ZVOL,
    DMU_OST_OTHER,
    DMU_OST_NUMTYPES
} dmu_objset_type_t;

/* ---- dnode: 512 bytes per slot, 1..32 slots ---- */
#define DNODE_SHIFT         9
#define DNODE_MIN_SIZE      512
#define DNODE_MAX_SLOTS     32
#define DNODE_BLOCK_SHIFT   14
#define DNODE_BLOCK_SIZE    (1 << DNODE_BLOCK_SHIFT)
#define DNODES_PER_BLOCK    32
#define DNODE_CORE_SIZE     64
#define DN_MAX_LEVELS       12
#define DN_MAX_OBJECT       (1ULL << 48) /* object numbers are 1 .. 2^48-1 */
#define DN_MIN_INDBLKSHIFT  10
#define DN_MAX_INDBLKSHIFT  17
#define DN_DEFAULT_INDBLKSHIFT 14
#define DN_OLD_MAX_BONUSLEN 320
#define DN_MAX_BONUSLEN     (DNODE_MAX_SLOTS * DNODE_MIN_SIZE - DNODE_CORE_SIZE - (1 << SPA_BLKPTRSHIFT))
#define DN_BONUS_SIZE(slots) ((slots) * DNODE_MIN_SIZE - DNODE_CORE_SIZE - (1 << SPA_BLKPTRSHIFT))

#define DNODE_FLAG_USED_BYTES          1 /* dn_used in bytes, else in 512-byte sectors */
#define DNODE_FLAG_USERUSED_ACCOUNTED  2
#define DNODE_FLAG_SPILL_BLKPTR        4
#define DNODE_FLAG_USEROBJUSED_ACCOUNTED 8

typedef struct dnode_phys {
    uint8_t dn_type;          /* dmu_object_type_t; 0 = free */
    uint8_t dn_indblkshift;   /* log2 of an indirect block's size */
    uint8_t dn_nlevels;       /* 1: dn_blkptr point at data */
    uint8_t dn_nblkptr;       /* 1..3 */
    uint8_t dn_bonustype;
    uint8_t dn_checksum;      /* 0 inherit */
    uint8_t dn_compress;      /* 0 inherit */
    uint8_t dn_flags;
    uint16_t dn_datablkszsec; /* data block size / 512 */
    uint16_t dn_bonuslen;
    uint8_t dn_extra_slots;
    uint8_t dn_pad2[3];
    uint64_t dn_maxblkid;     /* largest allocated block id */
    uint64_t dn_used;
    uint64_t dn_pad3[4];
    blkptr_t dn_blkptr[1];    /* dn_nblkptr of them, then the bonus; a spill pointer in the last 128 bytes */
    uint8_t dn_bonus_area[320];
} dnode_phys_t;
_Static_assert(sizeof(dnode_phys_t) == DNODE_MIN_SIZE, "one slot is 512 bytes");
_Static_assert(offsetof(dnode_phys_t, dn_blkptr) == 64, "block pointers follow the 64-byte core");

static inline uint32_t
dnode_phys_size(const dnode_phys_t *dnp)
{
    return (dnp->dn_extra_slots + 1u) << DNODE_SHIFT;
}
static inline void *
dnode_phys_bonus(const dnode_phys_t *dnp)
{
    return (uint8_t *)dnp + DNODE_CORE_SIZE + ((size_t)dnp->dn_nblkptr << SPA_BLKPTRSHIFT);
}
static inline blkptr_t *
dnode_phys_spill(const dnode_phys_t *dnp)
{
    return (blkptr_t *)((uint8_t *)dnp + dnode_phys_size(dnp) - sizeof(blkptr_t));
}
/* The one gate for dnodes read from disk (one dnode, within the bytes left in its block): shifts, levels, sizes,
 * bonus room. EIO. A free slot is valid. */
int dnode_phys_validate(const dnode_phys_t *dnp, size_t room);

/* ---- object set: the block a dataset's pointer names ---- */
typedef struct zil_header {
    uint64_t zh_claim_txg;
    uint64_t zh_replay_seq;
    blkptr_t zh_log;
    uint64_t zh_claim_blk_seq;
    uint64_t zh_flags;
    uint64_t zh_claim_lr_seq;
    uint64_t zh_pad[3];
} zil_header_t;
_Static_assert(sizeof(zil_header_t) == 192, "the ZIL header is 192 bytes");

typedef struct objset_phys {
    dnode_phys_t os_meta_dnode; /* its data are the dnodes of all objects */
    zil_header_t os_zil_header;
    uint64_t os_type; /* dmu_objset_type_t */
    uint64_t os_flags;
    uint8_t os_portable_mac[32];
    uint8_t os_local_mac[32];
    uint8_t os_pad[240];
    dnode_phys_t os_userused_dnode;  /* from pool version 15 */
    dnode_phys_t os_groupused_dnode;
} objset_phys_t;
#define OBJSET_PHYS_SIZE_V1 1024
#define OBJSET_PHYS_SIZE_V2 2048
#define OBJSET_PHYS_SIZE_V3 4096
_Static_assert(sizeof(objset_phys_t) == OBJSET_PHYS_SIZE_V2, "objset with user accounting");
_Static_assert(offsetof(objset_phys_t, os_type) == 704, "type lies at 704");

/* ---- block-pointer object (bpobj), in the bonus ---- */
typedef struct bpobj_phys {
    uint64_t bpo_num_blkptrs;
    uint64_t bpo_bytes;  /* of its own pointers and those of all sub-objects; likewise the next two */
    uint64_t bpo_comp;
    uint64_t bpo_uncomp;
    uint64_t bpo_subobjs; /* DMU_OT_BPOBJ_SUBOBJ: object numbers of bpobjs */
    uint64_t bpo_num_subobjs;
} bpobj_phys_t; /* 48 bytes; version < 26: 32; < 3: 16; livelists: 56 */

/* ---- space map: a log of allocations and frees; bonus and entries ---- */
typedef struct space_map_phys {
    uint64_t smp_object; /* its own number */
    uint64_t smp_length; /* bytes of log in use */
    int64_t smp_alloc;   /* bytes allocated, by the log */
} space_map_phys_t;      /* 24 bytes; 320 with feature spacemap_histogram */

/*
 *  one word        0 | offset 62..16 | type 15 | run-1 14..0            units of 2^shift; type 0 alloc, 1 free
 *  debug word     10 | action 61..60 | sync pass 59..50 | txg 49..0
 *  two words      11 | zero | run-1 59..24 | vdev 23..0 ;  type 63 | offset 62..0     (feature spacemap_v2)
 */
#define SM_MAX_RUN (1ULL << 15)

#endif
