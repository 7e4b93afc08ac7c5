/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * send_source.c - what dmu_send was asked for: from which birth txg on, of which block pointer, and the BEGIN that says so.
 *
 *   fs@to                 everything                      since 0
 *   fs@from .. fs@to      what was born after @from       since @from's txg, its guid in BEGIN
 *   fs#mark .. fs@to      the same: a bookmark is a txg and a guid, the snapshot itself may be gone
 *   origin@x .. clone@to  the same, and the flag CLONE
 *   fs (saved)            what a broken receive left: BEGIN as that stream had it, no END
 *
 * INVARIANTS
 *  1. The snapshot is long-held (a saved state: owned) from the resolution of its name to the last byte: it cannot be destroyed
 *     meanwhile. The source need not be: only its creation txg and guid are used.
 *  2. A feature is announced when the dataset has such things and the caller lets them out, whether or not this stream has one.
 *
 * ZFS: dmu_send(), setup_featureflags() in dmu_send.c.
 */
#include <stdio.h>

#include "dsl_impl.h"
#include "send_impl.h"

/* ---- from where ---- */

/* Is the snapshot `from` in the past of the one with this phys? Follows previous snapshots, through origins too. */
static int
source_is_before(dsl_pool_t *dp, uint64_t from, const dsl_dataset_phys_t *phys)
{
    uint64_t obj = phys->ds_prev_snap_obj, txg = UINT64_MAX;

    while (obj != 0 && obj != from) {
        dsl_dataset_phys_t prev;
        dsl_dataset_t *ds;
        int err = dsl_dataset_hold_obj(dp, obj, source_is_before, &ds);
        if (err != 0)
            return err;
        dsl_dataset_phys(ds, &prev);
        dsl_dataset_rele(ds, source_is_before);
        obj = prev.ds_prev_snap_obj;
        if (obj != 0 && prev.ds_prev_snap_txg >= txg)
            return SET_ERROR(EIO); /* snapshots in a circle */
        txg = prev.ds_prev_snap_txg;
    }
    return obj == 0 ? SET_ERROR(EXDEV) : 0;
}

/* The origin's dataset object, 0 when ds is no clone. */
static uint64_t
source_origin(dsl_pool_t *dp, dsl_dataset_t *ds)
{
    uint64_t obj;

    mutex_enter(&ds->ds_dir->dd_lock);
    obj = ds->ds_dir->dd_phys.dd_origin_obj;
    mutex_exit(&ds->ds_dir->dd_lock);
    return obj == dp->dp_origin_snap_obj ? 0 : obj;
}

static int
source_from_snapshot(dsl_pool_t *dp, send_source_t *ss, dsl_dataset_t *from)
{
    struct drr_begin *b = &ss->ss_begin.drr_u.drr_begin;
    dsl_dataset_phys_t phys;
    int err;

    if (!dsl_dataset_is_snapshot(from))
        return SET_ERROR(EINVAL);
    err = source_is_before(dp, dsl_dataset_obj(from), &ss->ss_phys);
    if (err != 0)
        return err;
    dsl_dataset_phys(from, &phys);
    ss->ss_since = phys.ds_creation_txg;
    b->drr_fromguid = phys.ds_guid;
    if (phys.ds_dir_obj != ss->ss_phys.ds_dir_obj)
        b->drr_flags |= DRR_FLAG_CLONE;
    return 0;
}

static int
source_from_bookmark(dsl_pool_t *dp, send_source_t *ss, const char *mark)
{
    struct drr_begin *b = &ss->ss_begin.drr_u.drr_begin;
    char fs[ZFS_MAX_DATASET_NAME_LEN];
    dsl_bookmark_t bm;

    rw_enter_read(&dp->dp_config_lock);
    int err = dsl_bookmark_lookup(dp, mark, ss->ss_ds, &bm);
    rw_exit(&dp->dp_config_lock);
    if (err != 0)
        return err;
    ss->ss_since = bm.db_createtxg;
    b->drr_fromguid = bm.db_guid;
    dsl_dir_name(ss->ss_ds->ds_dir, fs);
    if (strncmp(mark, fs, strlen(fs)) != 0 || mark[strlen(fs)] != '#')
        b->drr_flags |= DRR_FLAG_CLONE;
    return 0;
}

static int
source_from(dsl_pool_t *dp, const dmu_send_args_t *args, send_source_t *ss)
{
    uint64_t origin = args->dsa_fromorigin ? source_origin(dp, ss->ss_ds) : 0;
    dsl_dataset_t *from;
    int err;

    if (args->dsa_from == NULL && origin == 0)
        return 0;
    if (args->dsa_from != NULL && strchr(args->dsa_from, '#') != NULL)
        return source_from_bookmark(dp, ss, args->dsa_from);
    err = origin != 0 ? dsl_dataset_hold_obj(dp, origin, args, &from)
                      : dsl_dataset_hold(dp, args->dsa_from, args, &from);
    if (err != 0)
        return err;
    err = source_from_snapshot(dp, ss, from);
    dsl_dataset_rele(from, args);
    return err;
}

/* ---- features ---- */

/* Is this feature in use in the dataset (which then is a ZAP as well)? */
static bool
dataset_uses(dsl_pool_t *dp, dsl_dataset_t *ds, const char *feature)
{
    bool uses;

    rw_enter_read(&dp->dp_config_lock);
    uses = zap_contains(dp->dp_mos, dsl_dataset_obj(ds), feature) == 0;
    rw_exit(&dp->dp_config_lock);
    return uses;
}

/* What the file system is, whatever the caller wants: others could not make sense of it. ENOTSUP: only whole large blocks will do. */
static int
features_of_contents(dsl_pool_t *dp, const send_source_t *ss, objset_t *os, uint32_t flags,
                     uint64_t *features)
{
    uint64_t version = 0;
    int err = objset_type(os) == DMU_OST_ZFS ? zap_lookup_u64(os, 1, "VERSION", &version) : 0;

    if (err != 0 && !ss->ss_saved) /* of a saved state the master node may not be there yet */
        return err;
    if (version >= 5 || (err != 0 && ss->ss_saved))
        *features |= DMU_BACKUP_FEATURE_SA_SPILL;
    if (dataset_uses(dp, ss->ss_ds, FEATURE_LARGE_DNODE))
        *features |= DMU_BACKUP_FEATURE_LARGE_DNODE;
    if (dataset_uses(dp, ss->ss_ds, FEATURE_LONGNAME))
        *features |= DMU_BACKUP_FEATURE_LONGNAME;
    if (dataset_uses(dp, ss->ss_ds, FEATURE_LARGE_MICROZAP)) {
        if (!(flags & DMU_SEND_LARGE_BLOCK))
            return SET_ERROR(ENOTSUP);
        *features |= DMU_BACKUP_FEATURE_LARGE_MICROZAP | DMU_BACKUP_FEATURE_LARGE_BLOCKS;
    }
    return 0;
}

/* What may leave as it lies on disk. */
static uint64_t
features_of_flags(dsl_pool_t *dp, const send_source_t *ss, uint32_t flags)
{
    bool packed = flags & (DMU_SEND_COMPRESSED | DMU_SEND_EMBED);
    uint64_t features = 0;

    if ((flags & DMU_SEND_LARGE_BLOCK) && dataset_uses(dp, ss->ss_ds, FEATURE_LARGE_BLOCKS))
        features |= DMU_BACKUP_FEATURE_LARGE_BLOCKS;
    if ((flags & DMU_SEND_EMBED) && dsl_feature_active(dp, FEATURE_EMBEDDED_DATA))
        features |= DMU_BACKUP_FEATURE_EMBED_DATA;
    if (flags & DMU_SEND_COMPRESSED)
        features |= DMU_BACKUP_FEATURE_COMPRESSED;
    if (packed && dsl_feature_active(dp, FEATURE_LZ4_COMPRESS))
        features |= DMU_BACKUP_FEATURE_LZ4;
    if (packed && dataset_uses(dp, ss->ss_ds, FEATURE_ZSTD_COMPRESS))
        features |= DMU_BACKUP_FEATURE_ZSTD;
    return features;
}

/* ---- BEGIN ---- */

static int
source_begin(dsl_pool_t *dp, send_source_t *ss, uint32_t flags)
{
    struct drr_begin *b = &ss->ss_begin.drr_u.drr_begin;
    uint64_t features = features_of_flags(dp, ss, flags);
    objset_t *os;
    int err = dsl_dataset_objset(ss->ss_ds, &os);

    if (err == 0)
        err = features_of_contents(dp, ss, os, flags, &features);
    if (err != 0)
        return err;
    ss->ss_begin.drr_type = DRR_BEGIN;
    b->drr_magic = DRR_MAGIC;
    b->drr_versioninfo = DMU_VERSIONINFO(DMU_SUBSTREAM, features);
    b->drr_creation_time = ss->ss_phys.ds_creation_time;
    b->drr_type = objset_type(os);
    b->drr_flags |= DRR_FLAG_FREERECORDS | DRR_FLAG_SPILL_BLOCK;
    if (ss->ss_phys.ds_flags & DS_FLAG_CI_DATASET)
        b->drr_flags |= DRR_FLAG_CI_DATA;
    if (!ss->ss_saved) {
        b->drr_toguid = ss->ss_phys.ds_guid;
        dsl_dataset_name(ss->ss_ds, b->drr_toname);
    }
    return 0;
}

/* A stream that starts in the middle says where; one of a dataset that is not whole says so. Native, as every release has it. */
static void
source_list(dsl_pool_t *dp, send_source_t *ss, const dmu_send_args_t *args)
{
    uint64_t *features = &ss->ss_begin.drr_u.drr_begin.drr_versioninfo, guids[DS_FEATURE_VALUES], nguids;
    nvlist_t *list = nvlist_alloc();
    size_t n;

    rw_enter_read(&dp->dp_config_lock);
    bool redacted = feature_ds_values(dp, dsl_dataset_obj(ss->ss_ds), DS_FEATURE_REDACTED, guids, &nguids) == 0;
    rw_exit(&dp->dp_config_lock);
    if (redacted) {
        nvlist_add_uint64_array(list, "redact_snaps", guids, (uint32_t)nguids);
        *features |= DMU_VERSIONINFO(0, DMU_BACKUP_FEATURE_REDACTED);
    }
    if (args->dsa_resumeobj != 0) {
        nvlist_add_uint64(list, "resume_object", args->dsa_resumeobj);
        nvlist_add_uint64(list, "resume_offset", args->dsa_resumeoff);
        *features |= DMU_VERSIONINFO(0, DMU_BACKUP_FEATURE_RESUMING);
    }
    if (!nvlist_empty(list)) {
        nvlist_pack(list, NV_ENCODE_NATIVE, &ss->ss_list, &n);
        ss->ss_begin.drr_payloadlen = (uint32_t)n;
    }
    nvlist_free(list);
}

/* ---- holding ---- */

static int
hold_snapshot(dsl_pool_t *dp, const dmu_send_args_t *args, send_source_t *ss)
{
    int err = dsl_dataset_hold(dp, args->dsa_tosnap, ss, &ss->ss_ds);

    if (err != 0)
        return err;
    if (!dsl_dataset_is_snapshot(ss->ss_ds)) {
        dsl_dataset_rele(ss->ss_ds, ss);
        return SET_ERROR(EINVAL);
    }
    dsl_dataset_long_hold(ss->ss_ds, ss);
    dsl_dataset_phys(ss->ss_ds, &ss->ss_phys);
    err = source_from(dp, args, ss);
    if (err == 0)
        err = source_begin(dp, ss, args->dsa_flags);
    if (err == 0)
        source_list(dp, ss, args);
    return err == 0 ? 0 : (send_source_rele(ss), err);
}

/* Its source is the snapshot it was received on top of. */
static int
saved_from(dsl_pool_t *dp, send_source_t *ss, uint64_t fromguid)
{
    dsl_dataset_t *from;
    int err;

    if (fromguid == 0)
        return 0;
    if ((err = dsl_dataset_hold_obj(dp, ss->ss_phys.ds_prev_snap_obj, ss, &from)) != 0)
        return err;
    err = source_from_snapshot(dp, ss, from);
    dsl_dataset_rele(from, ss);
    return err;
}

static int
hold_saved(dsl_pool_t *dp, const dmu_send_args_t *args, send_source_t *ss)
{
    struct drr_begin *b = &ss->ss_begin.drr_u.drr_begin;
    char name[ZFS_MAX_DATASET_NAME_LEN];
    dsl_resume_t dr;
    int err = dsl_recv_partial(dp, args->dsa_tosnap, name, &dr);

    if (err != 0 || (err = dsl_dataset_own(dp, name, true, ss, &ss->ss_ds)) != 0)
        return err;
    ss->ss_saved = true;
    dsl_dataset_phys(ss->ss_ds, &ss->ss_phys);
    err = saved_from(dp, ss, dr.dr_fromguid);
    if (err == 0)
        err = source_begin(dp, ss, args->dsa_flags | dr.dr_flags);
    b->drr_toguid = dr.dr_toguid;
    snprintf(b->drr_toname, sizeof(b->drr_toname), "%s", dr.dr_toname);
    if (dr.dr_fromguid != 0 && strcmp(name, args->dsa_tosnap) != 0)
        b->drr_flags &= ~(uint32_t)DRR_FLAG_CLONE; /* hidden, but a state of the file system itself */
    return err == 0 ? 0 : (send_source_rele(ss), err);
}

int
send_source_resolve(dsl_pool_t *dp, const dmu_send_args_t *args, send_source_t *ss)
{
    memset(ss, 0, sizeof(*ss));
    if (args->dsa_from != NULL && args->dsa_fromorigin)
        return SET_ERROR(EINVAL);
    return args->dsa_flags & DMU_SEND_SAVED ? hold_saved(dp, args, ss) : hold_snapshot(dp, args, ss);
}

void
send_source_rele(send_source_t *ss)
{
    free(ss->ss_list);
    if (ss->ss_saved) {
        dsl_dataset_disown(ss->ss_ds, ss);
        return;
    }
    dsl_dataset_long_rele(ss->ss_ds, ss);
    dsl_dataset_rele(ss->ss_ds, ss);
}
