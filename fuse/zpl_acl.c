/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_acl.c - the access control list that says what a mode says.
 *
 * ZFS keeps an ACL with every file; programs that check ACLs deny everything to a file without one. Ours
 * are always *trivial*: made from the mode alone, flagged so, and made anew when the mode changes. Allow
 * entries for owner, group and everyone, in this order; the first entry that speaks of a permission
 * decides. So where a class has less than a later one, a deny entry must come before:
 *
 *      0644                                     owner allow rw   group allow r     everyone allow r
 *      0077               owner deny rwx        owner allow -    group allow rwx   everyone allow rwx
 *      0604  owner allow r         group deny r owner allow rw   group allow -     everyone allow r
 *            ^ for an owner who is in the group ^ or "everyone" would let the group read
 *
 * A non-trivial ACL of a foreign pool is carried along until chmod replaces it.
 *
 * ZFS: module/zfs/zfs_acl.c (zfs_acl_chmod, acl_trivial_create)
 */
#include "zpl_impl.h"

/* Access bits for one class's rwx. */
static uint32_t
ace_mask(uint32_t rwx, bool dir)
{
    uint32_t mask = 0;

    if (rwx & 4)
        mask |= ACE_READ_DATA;
    if (rwx & 2)
        mask |= ACE_WRITE_DATA | ACE_APPEND_DATA | (dir ? ACE_DELETE_CHILD : 0);
    if (rwx & 1)
        mask |= ACE_EXECUTE;
    return mask;
}

static void
ace_add(zfs_acl_phys_t *acl, uint16_t type, uint16_t who, uint32_t mask)
{
    zfs_ace_hdr_t ace = {.z_type = type, .z_flags = who, .z_access_mask = mask};

    memcpy(acl->z_ace_data + acl->z_acl_size, &ace, sizeof(ace));
    acl->z_acl_size += sizeof(ace);
    acl->z_acl_count++;
}

void
zpl_acl_trivial(zfs_acl_phys_t *acl, uint32_t mode)
{
    bool dir = S_ISDIR(mode);
    uint32_t u = mode >> 6 & 7, g = mode >> 3 & 7, o = mode & 7;
    uint32_t allow_u = u & o & ~g, deny_u = (g | o) & ~u, deny_g = o & ~g;

    memset(acl, 0, sizeof(*acl));
    acl->z_acl_version = ZFS_ACL_VERSION_FUID;
    if (allow_u != 0)
        ace_add(acl, ACE_ALLOW, ACE_OWNER, ace_mask(allow_u, dir));
    if (deny_u != 0)
        ace_add(acl, ACE_DENY, ACE_OWNER, ace_mask(deny_u, dir));
    if (deny_g != 0)
        ace_add(acl, ACE_DENY, ACE_GROUP, ace_mask(deny_g, dir));
    ace_add(acl, ACE_ALLOW, ACE_OWNER, ACE_ALWAYS_OWNER | ace_mask(u, dir));
    ace_add(acl, ACE_ALLOW, ACE_GROUP, ACE_ALWAYS_EVERYONE | ace_mask(g, dir));
    ace_add(acl, ACE_ALLOW, ACE_EVERYONE, ACE_ALWAYS_EVERYONE | ace_mask(o, dir));
}

uint64_t
zpl_acl_flags(uint32_t mode)
{
    uint64_t flags = ZPL_ACL_TRIVIAL;

    if (S_ISDIR(mode))
        flags |= ZPL_ACL_AUTO_INHERIT;
    if ((mode & 0111) == 0111)
        flags |= ZPL_NO_EXECS_DENIED;
    return flags;
}
