/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * feature.c - feature flags: which extensions of the format a pool uses, and whether we may touch it.
 *
 * Two ZAPs in the MOS map a feature's guid to a count of its uses. A count of 0 (enabled, unused) concerns nobody.
 *
 *     features_for_read    count > 0: who does not know it cannot even read the pool
 *     features_for_write   count > 0: who does not know it may read, not write
 *
 * What the count counts depends on the feature. Per-dataset features (large blocks, large dnodes, zstd) count the datasets *and snapshots* that
 * hold such blocks; each of them says so itself with a key in its dataset object, which for that purpose becomes a ZAP beside its
 * bonus ("zapified": type 0xC4), and extensible_dataset counts the zapified objects:
 *
 *     dataset object 97:  bonus = dsl_dataset_phys   data = micro ZAP { org.open-zfs:large_blocks = 0 }
 *     features_for_read:  large_blocks = 1, extensible_dataset = 1
 *
 * INVARIANTS
 *  1. count(f) = number of dataset objects with key f;  count(extensible_dataset) = number of zapified objects.
 *  2. A block that needs f is only reachable under datasets that have key f in the same txg (pool_sync adds wanted keys before
 *     it runs the txg's sync tasks, so that snapshots inherit them).
 *  3. The label repeats the features needed to read the MOS itself (embedded_data, xxh3_128).
 *
 * ZFS: module/zfs/zfeature.c, module/zcommon/zfeature_common.c
 */
#include "dsl_impl.h"

typedef struct feature {
    const char *f_guid;
    bool f_readonly_compatible; /* in features_for_write */
    bool f_write;               /* we keep its rules when we write */
    bool f_create;              /* new pools have it */
    uint64_t f_initial;
    const char *f_text;
} feature_t;

static const feature_t features[] = {
    {FEATURE_LZ4_COMPRESS, false, true, true, 1, "LZ4 compression"},
    {FEATURE_EMBEDDED_DATA, false, true, true, 1, "Tiny blocks stored inside their block pointer"},
    {FEATURE_EXTENSIBLE_DATASET, false, true, true, 0, "Dataset objects that carry extra named values"},
    {FEATURE_LARGE_BLOCKS, false, true, true, 0, "Blocks larger than 128 KiB"},
    {FEATURE_LARGE_DNODE, false, true, true, 0, "Dnodes larger than 512 bytes"},
    {FEATURE_ZSTD_COMPRESS, false, true, true, 0, "Zstandard compression"},
    {FEATURE_XXH3_128, false, true, false, 1, "XXH3 128-bit checksum of every block"},
    {FEATURE_ASYNC_DESTROY, true, true, true, 0, "Destroyed file systems are freed in the background"},
    {FEATURE_EMPTY_BPOBJ, true, true, true, 0, "Empty lists of freed blocks share one object"},
    {FEATURE_BOOKMARKS, true, true, true, 0, "Bookmarks: the birth times of snapshots that may be gone"},
    {FEATURE_LONGNAME, false, true, false, 0, "Names of files of up to 1023 bytes"},
    {FEATURE_LARGE_MICROZAP, true, true, false, 0, "Small directories in blocks larger than 128 KiB"},
    {FEATURE_REDACTED_DATASETS, false, true, false, 0, "Datasets received without some of their contents"},
    {FEATURE_HOLE_BIRTH, false, false, false, 0, NULL},
    {"org.illumos:sha512", false, false, false, 0, NULL},
    {"com.datto:bookmark_v2", false, false, false, 0, NULL},
    {"com.datto:encryption", false, false, false, 0, NULL},
    {"com.delphix:redaction_bookmarks", false, false, false, 0, NULL},
    {"com.delphix:bookmark_written", false, false, false, 0, NULL},
    {"com.delphix:redaction_list_spill", false, false, false, 0, NULL},
    {"com.delphix:head_errlog", false, false, false, 0, NULL},
    {"com.klarasystems:vdev_zaps_v2", false, false, false, 0, NULL},
    {"com.joyent:multi_vdev_crash_dump", false, false, false, 0, NULL},
    {"com.delphix:enabled_txg", true, true, false, 0, NULL},
    {"com.delphix:spacemap_v2", true, true, false, 0, NULL},
};

static const struct {
    uint32_t bit;
    const char *guid;
} ds_features[] = {
    {DS_FEATURE_LARGE_BLOCKS, FEATURE_LARGE_BLOCKS},
    {DS_FEATURE_LARGE_DNODE, FEATURE_LARGE_DNODE},
    {DS_FEATURE_ZSTD, FEATURE_ZSTD_COMPRESS},
    {DS_FEATURE_LONGNAME, FEATURE_LONGNAME},
    {DS_FEATURE_MICROZAP, FEATURE_LARGE_MICROZAP},
    {DS_FEATURE_REDACTED, FEATURE_REDACTED_DATASETS},
};
_Static_assert(ARRAY_SIZE(ds_features) == DS_FEATURE_NUM, "a bit for each");

static const feature_t *
feature_find(const char *guid)
{
    for (size_t i = 0; i < ARRAY_SIZE(features); i++)
        if (strcmp(features[i].f_guid, guid) == 0)
            return &features[i];
    return NULL;
}

/* ---- opening ---- */

static bool
feature_allows(const char *guid, bool for_write, bool writing)
{
    const feature_t *f = feature_find(guid);

    if (writing ? f != NULL && f->f_write : for_write || f != NULL)
        return true;
    cowbird_log(LOG_WARNING, "the pool uses feature %s, which this program cannot %s", guid,
                writing ? "write" : "read");
    return false;
}

static int
feature_check_zap(dsl_pool_t *dp, uint64_t object, bool for_write, bool writing)
{
    zap_cursor_t zc;
    zap_attribute_t za;
    bool ok = true;
    int err;

    zap_cursor_init(&zc, pool_mos(dp), object);
    while ((err = zap_cursor_retrieve(&zc, &za)) == 0) {
        if (za.za_integer_length == 8 && za.za_first_integer != 0)
            ok &= feature_allows(za.za_name, for_write, writing);
        zap_cursor_advance(&zc);
    }
    zap_cursor_fini(&zc);
    if (err != ENOENT)
        return err;
    return ok ? 0 : SET_ERROR(ENOTSUP);
}

int
feature_check_open(dsl_pool_t *dp, bool writing)
{
    uint64_t version = spa_version(dp->dp_spa);
    int err;

    if (version != SPA_VERSION) {
        if (writing)
            cowbird_log(LOG_WARNING,
                        "the pool has version %llu; only pools with feature flags can be written",
                        (unsigned long long)version);
        return writing ? SET_ERROR(ENOTSUP) : 0;
    }
    if ((err = feature_check_zap(dp, dp->dp_features_obj[0], false, writing)) != 0)
        return err;
    return feature_check_zap(dp, dp->dp_features_obj[1], true, writing);
}

/* ---- counts ---- */

int
feature_get(dsl_pool_t *dp, const char *guid, uint64_t *count)
{
    int err = ENOENT;

    for (int i = 0; i < 2 && err == ENOENT; i++)
        if (dp->dp_features_obj[i] != 0)
            err = zap_lookup_u64(pool_mos(dp), dp->dp_features_obj[i], guid, count);
    return err;
}

bool
feature_enabled(dsl_pool_t *dp, const char *guid)
{
    uint64_t count;

    return feature_get(dp, guid, &count) == 0;
}

bool
dsl_feature_active(dsl_pool_t *dp, const char *guid)
{
    uint64_t count = 0;

    rw_enter_read(&dp->dp_config_lock);
    bool active = feature_get(dp, guid, &count) == 0 && count > 0;
    rw_exit(&dp->dp_config_lock);
    return active;
}

const char *
dsl_feature_next(dsl_pool_t *dp, size_t *cursor, const char **state)
{
    if (*cursor >= ARRAY_SIZE(features))
        return NULL;
    const char *guid = features[(*cursor)++].f_guid;
    uint64_t count = 0;
    rw_enter_read(&dp->dp_config_lock);
    int err = feature_get(dp, guid, &count);
    rw_exit(&dp->dp_config_lock);
    *state = err != 0 ? "disabled" : count > 0 ? "active" : "enabled";
    return strchr(guid, ':') + 1;
}

/* A feature that the pool did not have yet is enabled by its first use. */
void
feature_add(dsl_pool_t *dp, const char *guid, int64_t delta, dmu_tx_t *tx)
{
    const feature_t *f = feature_find(guid);
    uint64_t object = dp->dp_features_obj[f->f_readonly_compatible], count = 0;

    int err = zap_lookup_u64(pool_mos(dp), object, guid, &count);

    if (err == ENOENT && f->f_text != NULL)
        mos_must(dp, zap_update(pool_mos(dp), dp->dp_feature_desc_obj, guid, 1, strlen(f->f_text) + 1, f->f_text,
                                tx));
    if (!mos_must(dp, err == ENOENT ? 0 : err))
        return;
    if (delta < 0 && count < (uint64_t)-delta)
        delta = -(int64_t)count; /* counted wrong by whoever wrote it */
    mos_must(dp, zap_update_u64(pool_mos(dp), object, guid, count + (uint64_t)delta, tx));
}

int
feature_check_use(dsl_pool_t *dp, const char *guid)
{
    uint64_t count;
    int err = dp->dp_features_obj[0] == 0 ? SET_ERROR(ENOTSUP) : feature_get(dp, guid, &count);

    return err == ENOENT ? 0 : err;
}

static uint64_t
feature_create_zap(dsl_pool_t *dp, const char *key, dmu_tx_t *tx)
{
    uint64_t object = zap_create(pool_mos(dp), DMU_OTN_ZAP_METADATA, DMU_OT_NONE, 0, tx);

    VERIFY0(zap_add_u64(pool_mos(dp), DMU_POOL_DIRECTORY_OBJECT, key, object, tx));
    return object;
}

void
feature_create_zaps(dsl_pool_t *dp, bool compat, dmu_tx_t *tx)
{
    nvlist_t *label = nvlist_alloc();

    dp->dp_features_obj[0] = feature_create_zap(dp, DMU_POOL_FEATURES_FOR_READ, tx);
    dp->dp_features_obj[1] = feature_create_zap(dp, DMU_POOL_FEATURES_FOR_WRITE, tx);
    dp->dp_feature_desc_obj = feature_create_zap(dp, DMU_POOL_FEATURE_DESCRIPTIONS, tx);
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        const feature_t *f = &features[i];
        if (f->f_create || (!compat && strcmp(f->f_guid, FEATURE_XXH3_128) == 0))
            feature_add(dp, f->f_guid, (int64_t)f->f_initial, tx);
    }
    nvlist_add_boolean(label, FEATURE_EMBEDDED_DATA);
    if (!compat)
        nvlist_add_boolean(label, FEATURE_XXH3_128);
    spa_set_features_for_read(dp->dp_spa, label);
    nvlist_free(label);
}

/* ---- per dataset ---- */

uint32_t
feature_ds_bit(const char *guid)
{
    for (size_t i = 0; i < ARRAY_SIZE(ds_features); i++)
        if (strcmp(ds_features[i].guid, guid) == 0)
            return ds_features[i].bit;
    return 0;
}

bool
feature_is_zapified(dsl_pool_t *dp, uint64_t object)
{
    dmu_object_info_t doi;

    return dmu_object_info(pool_mos(dp), object, &doi) == 0 && doi.doi_type == DMU_OTN_ZAP_METADATA;
}

uint32_t
feature_ds_load(dsl_pool_t *dp, uint64_t dsobj)
{
    uint32_t found = 0;

    if (!feature_is_zapified(dp, dsobj))
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(ds_features); i++)
        if (zap_contains(pool_mos(dp), dsobj, ds_features[i].guid) == 0)
            found |= ds_features[i].bit;
    return found;
}

void
feature_zapify(dsl_pool_t *dp, uint64_t object, dmu_tx_t *tx)
{
    dmu_object_info_t doi;

    if (feature_is_zapified(dp, object))
        return;
    if (!mos_must(dp, dmu_object_info(pool_mos(dp), object, &doi)) ||
        !mos_must(dp, dmu_object_reclaim(pool_mos(dp), object, DMU_OTN_ZAP_METADATA, doi.doi_data_block_size,
                                         doi.doi_bonus_type, doi.doi_bonus_size, tx)) ||
        !mos_must(dp, zap_init(pool_mos(dp), object, tx)))
        return;
    feature_add(dp, FEATURE_EXTENSIBLE_DATASET, 1, tx);
}

void
feature_ds_set(dsl_pool_t *dp, uint64_t dsobj, uint32_t bits, dmu_tx_t *tx)
{
    uint64_t zero = 0;

    if (bits != 0)
        feature_zapify(dp, dsobj, tx);
    for (size_t i = 0; i < ARRAY_SIZE(ds_features); i++) {
        if ((bits & ds_features[i].bit) == 0)
            continue;
        mos_must(dp, zap_add(pool_mos(dp), dsobj, ds_features[i].guid, 8, 1, &zero, tx));
        feature_add(dp, ds_features[i].guid, 1, tx);
    }
}

static const char *
ds_feature_guid(uint32_t bit)
{
    for (size_t i = 0; i < ARRAY_SIZE(ds_features); i++)
        if (ds_features[i].bit == bit)
            return ds_features[i].guid;
    return "";
}

int
feature_ds_values(dsl_pool_t *dp, uint64_t dsobj, uint32_t bit, uint64_t *v, uint64_t *n)
{
    uint64_t size;
    int err = feature_is_zapified(dp, dsobj) ? zap_length(pool_mos(dp), dsobj, ds_feature_guid(bit), &size, n) : ENOENT;

    if (err == 0 && (size != sizeof(*v) || *n > DS_FEATURE_VALUES))
        err = SET_ERROR(EINVAL);
    return err != 0 ? err : zap_lookup(pool_mos(dp), dsobj, ds_feature_guid(bit), size, *n, v);
}

void
feature_ds_set_values(dsl_pool_t *dp, uint64_t dsobj, uint32_t bit, const uint64_t *v, uint64_t n, dmu_tx_t *tx)
{
    if (n > 0 && n <= DS_FEATURE_VALUES)
        (void)mos_must(dp, zap_update(pool_mos(dp), dsobj, ds_feature_guid(bit), sizeof(*v), n, v, tx));
}

void
feature_ds_copy(dsl_pool_t *dp, uint64_t from, uint64_t to, uint32_t bits, dmu_tx_t *tx)
{
    uint64_t v[DS_FEATURE_VALUES], n;

    feature_ds_set(dp, to, bits, tx);
    if ((bits & DS_FEATURE_REDACTED) && feature_ds_values(dp, from, DS_FEATURE_REDACTED, v, &n) == 0)
        feature_ds_set_values(dp, to, DS_FEATURE_REDACTED, v, n, tx);
}

void
feature_ds_clear(dsl_pool_t *dp, uint64_t dsobj, uint32_t bits, dmu_tx_t *tx)
{
    for (size_t i = 0; i < ARRAY_SIZE(ds_features); i++) {
        if ((bits & ds_features[i].bit) == 0)
            continue;
        mos_must(dp, zap_remove(pool_mos(dp), dsobj, ds_features[i].guid, tx));
        feature_add(dp, ds_features[i].guid, -1, tx);
    }
}

void
feature_free_object(dsl_pool_t *dp, uint64_t object, dmu_tx_t *tx)
{
    if (feature_is_zapified(dp, object))
        feature_add(dp, FEATURE_EXTENSIBLE_DATASET, -1, tx);
    mos_must(dp, dmu_object_free(pool_mos(dp), object, tx));
}

void
dsl_dataset_want_feature(dsl_dataset_t *ds, uint32_t bits)
{
    __atomic_or_fetch(&ds->ds_features_wanted, bits, __ATOMIC_RELEASE);
}
