/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_znode.c - the files in use: one znode per object, counted.
 *
 *               hold                        last release
 *     (none) ---------> LOADING ---> READY ---------------------------------> (none)
 *                          |           |  last release, links == 0
 *                          v           +-------------------> DYING --------> (none), the object freed
 *                       FAILED: unhashed at once, those who waited get the error
 *
 * Invariants:
 *   1. Hash membership, references and state change under the stripe's lock only. No I/O and no transaction
 *      under it.
 *   2. A znode whose references reach 0 leaves the hash in the same moment: nobody finds a znode that is
 *      going.
 *   3. DYING keeps its place in the hash until its transaction is about to free the object: a hold by
 *      number gets ESTALE, and a new file under the same number cannot meet the old znode.
 *   4. Pending work of the last holder (a newer atime) is done while it still holds; then it looks again.
 *
 * ZFS: zfs_zget, zfs_znode_hold (zfs_znode_os.c), where the kernel's inode cache does the counting.
 */
#include "zpl_impl.h"

static zpl_stripe_t *
stripe_of(zpl_fs_t *zfs, uint64_t object)
{
    return &zfs->zf_stripes[object % ZPL_HASH_STRIPES];
}

static znode_t **
hash_slot(zpl_fs_t *zfs, uint64_t object)
{
    return &zfs->zf_hash[object % ZPL_HASH_SIZE];
}

static znode_t *
hash_find(zpl_fs_t *zfs, uint64_t object)
{
    znode_t *zp = *hash_slot(zfs, object);

    while (zp != NULL && zp->z_object != object)
        zp = zp->z_hash_next;
    return zp;
}

static void
hash_remove(znode_t *zp)
{
    znode_t **p = hash_slot(zp->z_zfs, zp->z_object);

    while (*p != zp)
        p = &(*p)->z_hash_next;
    *p = zp->z_hash_next;
}

static znode_t *
znode_alloc(zpl_fs_t *zfs, uint64_t object)
{
    znode_t *zp = xzalloc(sizeof(*zp));

    zp->z_zfs = zfs;
    zp->z_object = object;
    zp->z_refs = 1;
    zp->z_state = ZS_LOADING;
    rw_init(&zp->z_lock);
    zpl_rlock_init(&zp->z_rl);
    mutex_init(&zp->z_attr_lock);
    return zp;
}

void
zpl_znode_free(znode_t *zp)
{
    if (zp->z_bonus != NULL)
        dmu_buf_rele(zp->z_bonus);
    mutex_destroy(&zp->z_attr_lock);
    zpl_rlock_fini(&zp->z_rl);
    rw_destroy(&zp->z_lock);
    free(zp);
}

/* Read the object. hidden: unlinked files and those inside xattr directories are wanted too. */
static int
znode_load(znode_t *zp, bool hidden)
{
    zpl_fs_t *zfs = zp->z_zfs;
    dmu_object_info_t doi;
    txg_state_t *ts = objset_txg_state(zfs->zf_os);
    int err;

    if ((err = dmu_bonus_hold(zfs->zf_os, zp->z_object, &zp->z_bonus)) != 0)
        return err;
    if ((err = zpl_attr_load(&zfs->zf_ac, zp->z_bonus, &zp->z_at, &doi)) != 0)
        return err;
    if (!hidden && zp->z_at.za_links == 0)
        return SET_ERROR(ESTALE);
    if (!hidden && (zp->z_at.za_flags & ZPL_XATTR))
        return SET_ERROR(ENOENT);
    zp->z_aops = zpl_attr_backend(&zfs->zf_ac, doi.doi_bonus_type);
    zp->z_type = zp->z_at.za_mode & S_IFMT;
    zp->z_blksz = doi.doi_data_block_size;
    zp->z_multi = doi.doi_max_offset > doi.doi_data_block_size || zpl_is_volume(&zfs->zf_ac);
    zp->z_txg = ts != NULL ? txg_open_txg(ts) : 0;
    return 0;
}

/* The first holder loads, then tells the others; z_refs counts them too. */
static int
hold_load(znode_t *zp, bool hidden)
{
    zpl_stripe_t *zs = stripe_of(zp->z_zfs, zp->z_object);
    int err = znode_load(zp, hidden);
    bool gone = false;

    mutex_enter(&zs->zs_lock);
    zp->z_state = err == 0 ? ZS_READY : ZS_FAILED;
    zp->z_error = err;
    if (err != 0) {
        hash_remove(zp);
        gone = --zp->z_refs == 0;
    }
    cv_broadcast(&zs->zs_cv);
    mutex_exit(&zs->zs_lock);
    if (gone)
        zpl_znode_free(zp);
    return err;
}

/* Stripe lock held: join the holders of zp, once it is loaded. */
static int
hold_join(znode_t *zp, zpl_stripe_t *zs, bool *gone)
{
    if (zp->z_state == ZS_DYING)
        return SET_ERROR(ESTALE);
    zp->z_refs++;
    while (zp->z_state == ZS_LOADING)
        cv_wait(&zs->zs_cv, &zs->zs_lock);
    if (zp->z_state == ZS_READY)
        return 0;
    *gone = --zp->z_refs == 0;
    return SET_ERROR(zp->z_error);
}

static int
hold_common(zpl_fs_t *zfs, uint64_t object, bool hidden, znode_t **zpp)
{
    zpl_stripe_t *zs = stripe_of(zfs, object);
    bool gone = false;
    znode_t *zp;
    int err;

    *zpp = NULL;
    mutex_enter(&zs->zs_lock);
    if ((zp = hash_find(zfs, object)) != NULL) {
        err = hold_join(zp, zs, &gone);
        mutex_exit(&zs->zs_lock);
        if (gone)
            zpl_znode_free(zp);
    } else {
        zp = znode_alloc(zfs, object);
        zp->z_hash_next = *hash_slot(zfs, object);
        *hash_slot(zfs, object) = zp;
        mutex_exit(&zs->zs_lock);
        err = hold_load(zp, hidden);
    }
    if (err == 0)
        *zpp = zp;
    return err;
}

int
zpl_znode_hold(zpl_fs_t *zfs, uint64_t object, znode_t **zpp)
{
    return hold_common(zfs, object, false, zpp);
}

int
zpl_hold_any(zpl_fs_t *zfs, uint64_t object, znode_t **zpp)
{
    return hold_common(zfs, object, true, zpp);
}

void
zpl_znode_addref(znode_t *zp)
{
    zpl_stripe_t *zs = stripe_of(zp->z_zfs, zp->z_object);

    mutex_enter(&zs->zs_lock);
    ASSERT(zp->z_refs > 0);
    zp->z_refs++;
    mutex_exit(&zs->zs_lock);
}

bool
zpl_is_unlinked(znode_t *zp)
{
    bool unlinked;

    mutex_enter(&zp->z_attr_lock);
    unlinked = zp->z_at.za_links == 0;
    mutex_exit(&zp->z_attr_lock);
    return unlinked;
}

static bool
atime_is_dirty(znode_t *zp)
{
    bool dirty;

    mutex_enter(&zp->z_attr_lock);
    dirty = zp->z_atime_dirty;
    mutex_exit(&zp->z_attr_lock);
    return dirty;
}

/* Stripe lock held. What must the one who drops a reference do first? */
typedef enum last_work { WORK_NONE, WORK_FREE, WORK_ATIME, WORK_REAP } last_work_t;

static last_work_t
rele_step(znode_t *zp)
{
    if (zp->z_refs > 1) {
        zp->z_refs--;
        return WORK_NONE;
    }
    if (zpl_is_unlinked(zp)) {
        zp->z_state = ZS_DYING;
        return WORK_REAP;
    }
    if (atime_is_dirty(zp))
        return WORK_ATIME;
    zp->z_refs = 0;
    hash_remove(zp);
    return WORK_FREE;
}

void
zpl_znode_rele(znode_t *zp)
{
    zpl_stripe_t *zs = stripe_of(zp->z_zfs, zp->z_object);
    last_work_t work;

    do {
        mutex_enter(&zs->zs_lock);
        work = rele_step(zp);
        mutex_exit(&zs->zs_lock);
        if (work == WORK_ATIME)
            zpl_flush_atime(zp);
    } while (work == WORK_ATIME);
    if (work == WORK_REAP)
        zpl_reap(zp);
    else if (work == WORK_FREE)
        zpl_znode_free(zp);
}

void
zpl_unhash(znode_t *zp)
{
    zpl_stripe_t *zs = stripe_of(zp->z_zfs, zp->z_object);

    mutex_enter(&zs->zs_lock);
    ASSERT(zp->z_state == ZS_DYING && zp->z_refs == 1);
    hash_remove(zp);
    mutex_exit(&zs->zs_lock);
}

uint64_t
zpl_znode_object(znode_t *zp)
{
    return zp->z_object;
}

uint64_t
zpl_znode_gen(znode_t *zp)
{
    zpl_attrs_t at;

    zpl_attrs_get(zp, &at);
    return at.za_gen;
}
