/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * volume.c - a dataset that is one block device's contents: made, measured, resized.
 *
 *     objset of type ZVOL    object 1: the data, in blocks of volblocksize (nothing is written until it is used)
 *                            object 2: properties (ZAP)   "size" = volsize
 *
 * INVARIANTS
 *  1. volsize > 0 and a multiple of volblocksize, which never changes.
 *  2. No block lies behind the size: shrinking frees them before the smaller size is written, growing writes the size only.
 *     A crash between leaves the larger size with holes at its end.
 *
 * How a volume is shown and written to: fuse/zpl_volume.c.
 *
 * ZFS: zvol_create_cb(), zvol_update_volsize() (module/zfs/zvol.c), zvol_volsize_to_reservation() (libzfs_dataset.c)
 */
#include "dsl_impl.h"

/* A property's value; it may come as a number or as its text. 0: absent. */
static uint64_t
prop_value(const nvlist_t *props, const char *name)
{
    const char *text;
    uint64_t v = 0;

    if (props != NULL && nvlist_lookup_uint64(props, name, &v) != 0 &&
        nvlist_lookup_string(props, name, &text) == 0)
        (void)prop_text_to_number(dsl_prop_lookup(name), text, &v, NULL);
    return v;
}

static uint64_t
volblocksize_of(const nvlist_t *props)
{
    uint64_t v = prop_value(props, "volblocksize");

    return v != 0 ? v : DSL_VOLBLOCKSIZE_DEFAULT;
}

int
volume_check(const nvlist_t *props)
{
    uint64_t size = prop_value(props, "volsize"), bs = volblocksize_of(props);

    if (!ISP2(bs) || bs < SPA_MINBLOCKSIZE || bs > SPA_OLD_MAXBLOCKSIZE)
        return SET_ERROR(EINVAL);
    return size != 0 && size % bs == 0 && size <= INT64_MAX ? 0 : SET_ERROR(EINVAL);
}

void
volume_init_sync(objset_t *os, const nvlist_t *props, dmu_tx_t *tx)
{
    VERIFY0(
        dmu_object_claim(os, ZVOL_OBJ, DMU_OT_ZVOL, (uint32_t)volblocksize_of(props), DMU_OT_NONE, 0, 0, tx));
    VERIFY0(zap_create_claim(os, ZVOL_ZAP_OBJ, DMU_OT_ZVOL_PROP, DMU_OT_NONE, 0, tx));
    VERIFY0(zap_add_u64(os, ZVOL_ZAP_OBJ, ZVOL_KEY_SIZE, prop_value(props, "volsize"), tx));
}

int
dsl_volume_geometry(objset_t *os, uint64_t *size, uint32_t *blksz)
{
    dmu_object_info_t doi;
    int err;

    if (objset_type(os) != DMU_OST_ZVOL)
        return SET_ERROR(EINVAL);
    if ((err = zap_lookup_u64(os, ZVOL_ZAP_OBJ, ZVOL_KEY_SIZE, size)) != 0 ||
        (err = dmu_object_info(os, ZVOL_OBJ, &doi)) != 0)
        return err == ENOENT ? SET_ERROR(EIO) : err;
    *blksz = doi.doi_data_block_size;
    return *size <= INT64_MAX && doi.doi_type == DMU_OT_ZVOL ? 0 : SET_ERROR(EIO);
}

static int
size_tx(objset_t *os, uint64_t size)
{
    dmu_tx_t *tx = dmu_tx_create(os);
    int err;

    dmu_tx_hold_zap(tx, ZVOL_ZAP_OBJ, true, ZVOL_KEY_SIZE);
    if ((err = dmu_tx_assign(tx, DMU_TX_WAIT)) != 0) {
        dmu_tx_abort(tx);
        return err;
    }
    err = zap_update_u64(os, ZVOL_ZAP_OBJ, ZVOL_KEY_SIZE, size, tx);
    dmu_tx_commit(tx);
    return err;
}

static int
resize(objset_t *os, uint64_t size)
{
    uint64_t old;
    uint32_t blksz;
    int err;

    if ((err = dsl_volume_geometry(os, &old, &blksz)) != 0)
        return err;
    if (size == 0 || size % blksz != 0 || size > INT64_MAX)
        return SET_ERROR(EINVAL);
    if (size < old && (err = dmu_free_long_range(os, ZVOL_OBJ, size, DMU_OBJECT_END)) != 0)
        return err;
    if ((err = size_tx(os, size)) != 0)
        return err;
    return txg_wait_synced(objset_txg_state(os), 0);
}

int
dsl_volume_set_size(dsl_pool_t *dp, const char *name, uint64_t size)
{
    dsl_dataset_t *ds;
    objset_t *os;
    int err;

    if (strchr(name, '@') != NULL)
        return SET_ERROR(EINVAL);
    if (dsl_pool_readonly(dp))
        return SET_ERROR(EROFS);
    if ((err = dsl_dataset_own(dp, name, false, __func__, &ds)) != 0) /* EBUSY: it is shown by a mount */
        return err;
    if ((err = dsl_dataset_objset(ds, &os)) == 0)
        err = objset_type(os) == DMU_OST_ZVOL ? resize(os, size) : SET_ERROR(ENOTSUP);
    dsl_dataset_disown(ds, __func__);
    return err;
}

/* Data, and the pointers to it: level by level 1024 to a block of 128 KiB, one copy more than of the data. */
uint64_t
dsl_volume_reservation(uint64_t size, uint32_t blksz, uint64_t copies)
{
    uint64_t n = size / blksz, meta = 7;

    while (n > 1) {
        n = (n + 1023) / 1024;
        meta += n;
    }
    return size * copies + (meta * MIN((uint64_t)SPA_DVAS_PER_BP, copies + 1) << DN_MAX_INDBLKSHIFT);
}
