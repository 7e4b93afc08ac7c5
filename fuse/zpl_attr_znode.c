/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_attr_znode.c - attributes in the fixed form of ZPL versions 1 to 4: znode_phys in the bonus buffer.
 *
 *   load:  znode_phys -> zpl_attrs        store:  the words that mask names, in place
 *
 * Invariants:
 *   1. Nothing outside the named words changes: a foreign pool's ACL, scan stamp and padding are carried
 *      through.
 *   2. A new mode brings a new trivial ACL; an ACL object of its own (foreign pools) is freed with the old
 *      ACL.
 *
 * ZFS: the 0.6-era zfs_znode.c; in today's ZFS, zfs_sa.c's legacy layout
 */
#include "zpl_impl.h"

static void
time_load(const uint64_t v[2], struct timespec *ts)
{
    ts->tv_sec = (time_t)v[0];
    ts->tv_nsec = v[1] < 1000000000 ? (long)v[1] : 0;
}

static void
time_store(uint64_t v[2], const struct timespec *ts)
{
    v[0] = (uint64_t)ts->tv_sec;
    v[1] = (uint64_t)ts->tv_nsec;
}

static int
znode_load(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, zpl_attrs_t *at)
{
    const znode_phys_t *zp = bonus->db_data;

    if (bonus->db_size < sizeof(*zp))
        return SET_ERROR(EIO);
    time_load(zp->zp_atime, &at->za_atime);
    time_load(zp->zp_mtime, &at->za_mtime);
    time_load(zp->zp_ctime, &at->za_ctime);
    time_load(zp->zp_crtime, &at->za_crtime);
    at->za_gen = zp->zp_gen;
    at->za_mode = (uint32_t)zp->zp_mode;
    at->za_size = zp->zp_size;
    at->za_parent = zp->zp_parent;
    at->za_links = zp->zp_links;
    at->za_xattr = zp->zp_xattr;
    at->za_rdev = zp->zp_rdev;
    at->za_flags = zp->zp_flags;
    at->za_uid = zp->zp_uid;
    at->za_gid = zp->zp_gid;
    return 0;
}

static void
znode_hold(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, unsigned mask, dmu_tx_t *tx)
{
    const znode_phys_t *zp = bonus->db_data;

    dmu_tx_hold_bonus(tx, bonus->db_object);
    if ((mask & ZA_MODE) && zp->zp_acl.z_acl_extern_obj != 0)
        dmu_tx_hold_free(tx, zp->zp_acl.z_acl_extern_obj, 0, DMU_OBJECT_END);
}

static void
znode_store_mode(const zpl_attr_ctx_t *ac, znode_phys_t *zp, uint32_t mode, dmu_tx_t *tx)
{
    uint64_t acl_object = zp->zp_acl.z_acl_extern_obj;
    dmu_object_info_t doi;

    if (acl_object != 0 && dmu_object_info(ac->ac_os, acl_object, &doi) == 0 &&
        (doi.doi_type == DMU_OT_ACL || doi.doi_type == DMU_OT_OLDACL))
        (void)dmu_object_free(ac->ac_os, acl_object, tx);
    zpl_acl_trivial(&zp->zp_acl, mode);
    zp->zp_mode = mode;
}

static void
znode_store_times(znode_phys_t *zp, const zpl_attrs_t *at, unsigned mask)
{
    if (mask & ZA_ATIME)
        time_store(zp->zp_atime, &at->za_atime);
    if (mask & ZA_MTIME)
        time_store(zp->zp_mtime, &at->za_mtime);
    if (mask & ZA_CTIME)
        time_store(zp->zp_ctime, &at->za_ctime);
    if (mask & ZA_CRTIME)
        time_store(zp->zp_crtime, &at->za_crtime);
}

static void
znode_store(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, const zpl_attrs_t *at, unsigned mask, dmu_tx_t *tx)
{
    znode_phys_t *zp;

    dmu_buf_will_dirty(bonus, tx);
    zp = bonus->db_data;
    znode_store_times(zp, at, mask);
    if (mask & ZA_MODE)
        znode_store_mode(ac, zp, at->za_mode, tx);
    if (mask & ZA_GEN)
        zp->zp_gen = at->za_gen;
    if (mask & ZA_SIZE)
        zp->zp_size = at->za_size;
    if (mask & ZA_PARENT)
        zp->zp_parent = at->za_parent;
    if (mask & ZA_LINKS)
        zp->zp_links = at->za_links;
    if (mask & ZA_XATTR)
        zp->zp_xattr = at->za_xattr;
    if (mask & ZA_RDEV)
        zp->zp_rdev = at->za_rdev;
    if (mask & ZA_FLAGS)
        zp->zp_flags = at->za_flags;
    if (mask & ZA_UID)
        zp->zp_uid = at->za_uid;
    if (mask & ZA_GID)
        zp->zp_gid = at->za_gid;
}

static int
znode_symlink(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, const zpl_attrs_t *at, char *buf, size_t n,
              size_t *len)
{
    uint64_t text = at->za_size;

    if (text > ZAP_MAXVALUELEN)
        return SET_ERROR(EIO);
    *len = text;
    n = MIN(n, text);
    if (sizeof(znode_phys_t) + text > bonus->db_size)
        return dmu_read(ac->ac_os, bonus->db_object, 0, n, buf);
    memcpy(buf, (const uint8_t *)bonus->db_data + sizeof(znode_phys_t), n);
    return 0;
}

/* ---- new objects ---- */

static bool
znode_holds_text(const zpl_newnode_t *nn)
{
    return S_ISLNK(nn->nn_mode) && nn->nn_len <= ZPL_SYMLINK_INLINE;
}

static void
znode_hold_new(const zpl_attr_ctx_t *ac, const zpl_newnode_t *nn, dmu_tx_t *tx)
{
    dmu_tx_hold_bonus(tx, DMU_NEW_OBJECT);
}

static void
znode_init(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, const zpl_newnode_t *nn, const zpl_attrs_t *at,
           dmu_tx_t *tx)
{
    if (znode_holds_text(nn) && nn->nn_len > 0)
        VERIFY0(dmu_set_bonus(bonus, (uint16_t)(sizeof(znode_phys_t) + nn->nn_len), DMU_OT_ZNODE, tx));
    dmu_buf_will_dirty(bonus, tx);
    memset(bonus->db_data, 0, sizeof(znode_phys_t));
    znode_store(ac, bonus, at, ZA_ALL, tx);
    if (znode_holds_text(nn) && nn->nn_len > 0)
        memcpy((uint8_t *)bonus->db_data + sizeof(znode_phys_t), nn->nn_data, nn->nn_len);
}

const zpl_attr_ops_t zpl_znode_ops = {
    .ao_bonustype = DMU_OT_ZNODE,
    .ao_bonuslen = sizeof(znode_phys_t),
    .ao_holds_text = znode_holds_text,
    .ao_hold_new = znode_hold_new,
    .ao_init = znode_init,
    .ao_load = znode_load,
    .ao_hold = znode_hold,
    .ao_store = znode_store,
    .ao_symlink = znode_symlink,
};
