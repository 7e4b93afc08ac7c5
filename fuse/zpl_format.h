/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_format.h - a file system on disk: what the objects of an object set of type ZFS hold.
 *
 *   object 1, the master node (ZAP)     VERSION = 4   ROOT = n   DELETE_QUEUE = m   ...
 *
 *   a directory (ZAP)                   name -> entry:  63   60 59      48 47                               0
 *                                                      +------+----------+---------------------------------+
 *                                                      | type | 0        | object number                   |
 *                                                      +------+----------+---------------------------------+
 *   the unlinked set (ZAP)              "2f" -> 0x2f: objects without a name that somebody still had open
 *
 *   a file, directory, symlink, device: its attributes are in the dnode's bonus buffer
 *
 *      0       16      32      48       64    72     80     88       96      104     112
 *      | atime | mtime | ctime | crtime | gen | mode | size | parent | links | xattr | rdev |
 *      120     128   136   144   152   176   264
 *      | flags | uid | gid | zap | pad | ACL | symlink text
 *
 * Little-endian in our pools. ZFS: include/sys/{zfs_znode,zfs_acl,zfs_sa}.h
 */
#ifndef COWBIRD_ZPL_FORMAT_H
#define COWBIRD_ZPL_FORMAT_H

#include "base.h"

/* ---- master node ---- */
#define MASTER_NODE_OBJ  1
#define ZPL_KEY_VERSION  "VERSION"
#define ZPL_KEY_ROOT     "ROOT"
#define ZPL_KEY_UNLINKED "DELETE_QUEUE"
#define ZPL_KEY_SA_ATTRS "SA_ATTRS"
#define ZPL_KEY_SHARES   "SHARES"
#define ZPL_KEY_NORM     "normalization"
#define ZPL_KEY_UTF8     "utf8only"
#define ZPL_KEY_CASE     "casesensitivity"

#define ZPL_VERSION_INITIAL   1
#define ZPL_VERSION_DIRENT    2 /* type bits in directory entries */
#define ZPL_VERSION_FUID      3 /* owners with domains, normalisation, system attributes */
#define ZPL_VERSION_USERSPACE 4 /* user and group accounting */
#define ZPL_VERSION_SA        5 /* attributes in variable layouts */
#define ZPL_VERSION_DEFAULT   ZPL_VERSION_SA        /* of new file systems */

#define ZPL_CASE_SENSITIVE   0
#define ZPL_CASE_INSENSITIVE 1
#define ZPL_CASE_MIXED       2
#define ZPL_NORM_TOUPPER     2 /* in a directory ZAP's normalisation flags */

/* ---- directory entries ---- */
#define ZPL_DIRENT_OBJ(de)         ((de) & ((1ULL << 48) - 1))
#define ZPL_DIRENT_TYPE(de)        ((unsigned char)((de) >> 60)) /* st_mode >> 12; 0 in version 1 */
#define ZPL_DIRENT_MAKE(obj, mode) (((uint64_t)((mode) >> 12) << 60) | (obj))

/* ---- flags of a file ---- */
#define ZPL_XATTR            0x1ULL /* an xattr directory, or a file in one */
#define ZPL_INHERIT_ACE      0x2ULL
#define ZPL_ACL_TRIVIAL      0x4ULL /* the mode says all that the ACL says */
#define ZPL_ACL_AUTO_INHERIT 0x40ULL
#define ZPL_BONUS_SCANSTAMP  0x80ULL
#define ZPL_NO_EXECS_DENIED  0x100ULL
#define ZPL_READONLY         (1ULL << 32)
#define ZPL_ARCHIVE          (1ULL << 35)
#define ZPL_IMMUTABLE        (1ULL << 36)
#define ZPL_NOUNLINK         (1ULL << 37)
#define ZPL_APPENDONLY       (1ULL << 38)
#define ZPL_AV_MODIFIED      (1ULL << 42)

/* ---- ACL ---- */
typedef struct zfs_ace_hdr { /* owner, group and everyone entries are this alone; others: a u64 id follows */
    uint16_t z_type;         /* 0 allow, 1 deny */
    uint16_t z_flags;
    uint32_t z_access_mask;
} zfs_ace_hdr_t;
_Static_assert(sizeof(zfs_ace_hdr_t) == 8, "an entry for owner, group or everyone is 8 bytes");

#define ACE_ALLOW    0
#define ACE_DENY     1
#define ACE_OWNER    0x1000
#define ACE_GROUP    0x2040 /* OWNING_GROUP and IDENTIFIER_GROUP */
#define ACE_EVERYONE 0x4000

/* Bytes of an entry: 5 to 8 are object entries. */
#define ACE_WHO            0x7040
#define ZFS_ACE_SIZE(ace)                                                                                    \
    ((ace)->z_type >= 5 && (ace)->z_type <= 8                                                                \
         ? (size_t)48                                                                                        \
         : ((ace)->z_flags & ACE_WHO) == ACE_OWNER || ((ace)->z_flags & ACE_WHO) == ACE_GROUP ||             \
                   ((ace)->z_flags & ACE_WHO) == ACE_EVERYONE                                                \
               ? (size_t)8                                                                                   \
               : (size_t)16)

#define ACE_READ_DATA       0x1
#define ACE_WRITE_DATA      0x2
#define ACE_APPEND_DATA     0x4
#define ACE_EXECUTE         0x20
#define ACE_DELETE_CHILD    0x40
#define ACE_ALWAYS_EVERYONE 0x120088 /* read xattrs, attributes and ACL, synchronize */
#define ACE_ALWAYS_OWNER    0x1e0198 /* and write them, and change the owner */

#define ZFS_ACL_VERSION_FUID 1
#define ZFS_ACL_INLINE_BYTES 72
typedef struct zfs_acl_phys {
    uint64_t z_acl_extern_obj; /* 0: the entries are inline */
    uint32_t z_acl_size;       /* bytes of all entries */
    uint16_t z_acl_version;
    uint16_t z_acl_count;
    uint8_t z_ace_data[ZFS_ACL_INLINE_BYTES];
} zfs_acl_phys_t;
_Static_assert(sizeof(zfs_acl_phys_t) == 88, "an ACL is 88 bytes");

/* ---- znode: versions 1 to 4 ---- */
typedef struct znode_phys {
    uint64_t zp_atime[2]; /* s, ns */
    uint64_t zp_mtime[2];
    uint64_t zp_ctime[2];
    uint64_t zp_crtime[2];
    uint64_t zp_gen;    /* txg of creation */
    uint64_t zp_mode;   /* all of st_mode */
    uint64_t zp_size;   /* bytes; of a directory: entries + 2; of a symlink: length of the text */
    uint64_t zp_parent; /* of a file with several names: one of them */
    uint64_t zp_links;  /* of a directory: 2 + directories in it */
    uint64_t zp_xattr;  /* xattr directory or 0 */
    uint64_t zp_rdev;   /* zpl_attr.c tells the three encodings */
    uint64_t zp_flags;
    uint64_t zp_uid; /* domain << 32 | id */
    uint64_t zp_gid;
    uint64_t zp_zap; /* unused */
    uint64_t zp_pad[3];
    zfs_acl_phys_t zp_acl;
} znode_phys_t;
_Static_assert(sizeof(znode_phys_t) == 264, "a znode is 264 bytes");
_Static_assert(offsetof(znode_phys_t, zp_gen) == 64 && offsetof(znode_phys_t, zp_xattr) == 104,
               "znode words");
_Static_assert(offsetof(znode_phys_t, zp_gid) == 136 && offsetof(znode_phys_t, zp_acl) == 176, "znode words");
#define ZPL_SYMLINK_INLINE 56 /* longest text that stays in the bonus of a 512-byte dnode */

/* ---- system attributes: version 5 ---- */
#define SA_MAGIC        0x2F505A
#define SA_KEY_REGISTRY "REGISTRY"
#define SA_KEY_LAYOUTS  "LAYOUTS"
typedef struct sa_hdr_phys {
    uint32_t sa_magic;
    uint16_t sa_layout_info; /* 0-9 layout, 10-15 header size / 8 */
    uint16_t sa_lengths[1];  /* of the attributes of variable size */
} sa_hdr_phys_t;
_Static_assert(sizeof(sa_hdr_phys_t) == 8, "the shortest SA header is 8 bytes");
#define SA_LAYOUT_NUM(info) ((info)&0x3ffu)
#define SA_HDR_SIZE(info)   (((uint32_t)(info) >> 10) << 3)
#define SA_HDR_INFO(num, size) ((uint16_t)((uint32_t)(size) >> 3 << 10 | (num)))
#define SA_ATTR_NUM(reg)    ((uint16_t)(reg))
#define SA_ATTR_CLASS(reg)  ((uint8_t)((reg) >> 16)) /* how to turn it: u64s, u32s, u16s, bytes, an ACL */
#define SA_ATTR_LENGTH(reg) ((uint16_t)((reg) >> 24)) /* 0: variable */

#endif
