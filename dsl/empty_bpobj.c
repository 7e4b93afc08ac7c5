/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * empty_bpobj.c - one list of blocks that is always empty, for all the buckets of deadlists that have nothing in them.
 *
 * With n snapshots a file system's deadlists have some n*n/2 buckets, nearly all of them empty. Were each an object, a thousand snapshots
 * would fill a pool with dnodes. So they all name the same one, and its references are counted:
 *
 *     deadlist of @mon   0 -> E   1 -> 49
 *     deadlist of @tue   0 -> E   1 -> E   6 -> 51         MOS key "empty_bpobj" = E
 *     deadlist of head   0 -> E   1 -> E   6 -> E   7 -> E    com.delphix:empty_bpobj = 7
 *
 * INVARIANTS
 *  1. The count of the feature is the number of buckets on disk that name E. E is there exactly while it is not 0.
 *  2. E lists nothing. A bucket gets a list of its own before its first block (deadlist.c).
 *  3. E and the count change only with the config lock held for writing: a reader who holds it may compare objects with E.
 *
 * A pool that lacks the feature (made without it) has an object for each bucket. Syncing thread. ZFS: bpobj_alloc_empty, bpobj_decr_empty (bpobj.c)
 */
#include "dsl_impl.h"

int
empty_bpobj_check(dsl_pool_t *dp)
{
    uint64_t count = 0;
    bpobj_t *bpo;
    int err = feature_get(dp, FEATURE_EMPTY_BPOBJ, &count);

    if (dp->dp_empty_bpobj == 0)
        return err == ENOENT ? 0 : err != 0 ? err : count > 0 ? SET_ERROR(EIO) : 0;
    if (err == 0)
        err = bpobj_open(pool_mos(dp), dp->dp_empty_bpobj, &bpo);
    if (err != 0)
        return err == ENOENT ? SET_ERROR(EIO) : err;
    bool empty = bpobj_is_empty(bpo);
    bpobj_close(bpo);
    return empty ? 0 : SET_ERROR(EIO);
}

int
empty_bpobj_open(dsl_pool_t *dp)
{
    int err =
        zap_lookup_u64(pool_mos(dp), DMU_POOL_DIRECTORY_OBJECT, DMU_POOL_EMPTY_BPOBJ, &dp->dp_empty_bpobj);

    return err == 0 || err == ENOENT ? empty_bpobj_check(dp) : err;
}

uint64_t
empty_bpobj_hold(dsl_pool_t *dp, uint64_t n, dmu_tx_t *tx)
{
    if (n == 0 || !feature_enabled(dp, FEATURE_EMPTY_BPOBJ))
        return 0;
    if (dp->dp_empty_bpobj == 0) {
        uint64_t object = bpobj_alloc(pool_mos(dp), tx);
        mos_must(dp, zap_add_u64(pool_mos(dp), DMU_POOL_DIRECTORY_OBJECT, DMU_POOL_EMPTY_BPOBJ, object, tx));
        dp->dp_empty_bpobj = object;
    }
    feature_add(dp, FEATURE_EMPTY_BPOBJ, (int64_t)n, tx);
    return dp->dp_empty_bpobj;
}

void
empty_bpobj_rele(dsl_pool_t *dp, uint64_t n, dmu_tx_t *tx)
{
    uint64_t count;

    if (n == 0)
        return;
    feature_add(dp, FEATURE_EMPTY_BPOBJ, -(int64_t)n, tx);
    if (!mos_must(dp, feature_get(dp, FEATURE_EMPTY_BPOBJ, &count)) || count > 0)
        return;
    mos_must(dp, zap_remove(pool_mos(dp), DMU_POOL_DIRECTORY_OBJECT, DMU_POOL_EMPTY_BPOBJ, tx));
    bpobj_free(pool_mos(dp), dp->dp_empty_bpobj, tx);
    dp->dp_empty_bpobj = 0;
}
