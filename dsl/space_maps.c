/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * space_maps.c - where the allocator's memory meets its log on disk.
 *
 *     MOS object metaslab_array:   [ 0 | 31 | 32 | 0 | 57 ... ]    one space map object per metaslab; 0: never used, all free
 *     space map 31:                + 0..16K   + 16K..8K   - 0..4K  ...    a log of what was allocated (+) and freed (-)
 *
 * At open each log is replayed into its metaslab. In every sync pass the metaslabs hand over what changed since the last pass, and it is
 * appended. A log that has become much longer than what it says is rewritten from the metaslab's present state.
 *
 * INVARIANTS
 *  1. After the last pass of a txg: replaying map m gives exactly what metaslab m has allocated (deferred frees count as free).
 *  2. A map is rewritten at most once per txg, in the first pass: else the passes would not converge.
 *
 * ZFS: metaslab_sync, metaslab_condense (metaslab.c)
 */
#include "dsl_impl.h"

#define CONDENSE_MIN (32ULL << 10) /* bytes of log; shorter ones are left alone */

/* ---- opening ---- */

typedef struct load_arg {
    spa_t *la_spa;
    uint64_t la_id;
} load_arg_t;

static int
load_entry(void *arg, bool alloc, uint64_t offset, uint64_t size)
{
    load_arg_t *la = arg;

    return metaslab_load(la->la_spa, la->la_id, alloc, offset, size);
}

static int
open_map(dsl_pool_t *dp, uint64_t id, uint64_t object)
{
    return space_map_open(dp->dp_mos, object, id << metaslab_shift(dp->dp_spa),
                          1ULL << metaslab_shift(dp->dp_spa), (uint8_t)spa_ashift(dp->dp_spa),
                          &dp->dp_space_maps[id]);
}

static int
load_map(dsl_pool_t *dp, uint64_t id)
{
    load_arg_t la = {dp->dp_spa, id};
    uint64_t object = 0;
    int err = dmu_read(dp->dp_mos, dp->dp_metaslab_array, id * sizeof(object), sizeof(object), &object);

    if (err != 0 || object == 0)
        return err;
    if ((err = open_map(dp, id, object)) == 0)
        err = space_map_iterate(dp->dp_space_maps[id], load_entry, &la);
    if (err != 0)
        cowbird_log(LOG_ERR, "the space map of metaslab %llu (object %llu) is damaged",
                    (unsigned long long)id, (unsigned long long)object);
    return err;
}

static int
find_array(dsl_pool_t *dp)
{
    nvlist_t *tree;

    if (nvlist_lookup_nvlist(spa_label(dp->dp_spa), "vdev_tree", &tree) != 0 ||
        nvlist_lookup_uint64(tree, "metaslab_array", &dp->dp_metaslab_array) != 0)
        return SET_ERROR(EIO);
    return 0;
}

int
pool_load_space_maps(dsl_pool_t *dp)
{
    int64_t sum = 0;
    int err = find_array(dp);

    for (uint64_t id = 0; err == 0 && id < metaslab_count(dp->dp_spa); id++) {
        err = load_map(dp, id);
        if (err == 0 && dp->dp_space_maps[id] != NULL)
            sum += space_map_allocated(dp->dp_space_maps[id]);
    }
    if (err == 0 && (uint64_t)sum != spa_alloc_space(dp->dp_spa)) {
        cowbird_log(LOG_ERR, "the space maps' sums say %lld bytes are allocated, their entries %llu",
                    (long long)sum, (unsigned long long)spa_alloc_space(dp->dp_spa));
        err = SET_ERROR(EIO);
    }
    return err;
}

void
pool_close_space_maps(dsl_pool_t *dp)
{
    for (uint64_t id = 0; id < metaslab_count(dp->dp_spa); id++) {
        if (dp->dp_space_maps[id] != NULL)
            space_map_close(dp->dp_space_maps[id]);
        dp->dp_space_maps[id] = NULL;
    }
}

/* ---- syncing ---- */

/* NULL: damage; the pool is suspended. */
static space_map_t *
map_of(dsl_pool_t *dp, uint64_t id, dmu_tx_t *tx)
{
    if (dp->dp_space_maps[id] == NULL) {
        uint64_t object = space_map_alloc(dp->dp_mos, tx);
        if (object != 0 && mos_must(dp, dmu_write(dp->dp_mos, dp->dp_metaslab_array, id * sizeof(object),
                                                  sizeof(object), &object, tx)))
            (void)mos_must(dp, open_map(dp, id, object));
    }
    return dp->dp_space_maps[id];
}

static void
cut_out(void *arg, uint64_t start, uint64_t size)
{
    range_tree_remove(arg, start, size);
}

/* What metaslab id has allocated: all but what is free. */
static range_tree_t *
allocated_ranges(dsl_pool_t *dp, uint64_t id)
{
    range_tree_t *unused = range_tree_create(), *used = range_tree_create();

    metaslab_free_ranges(dp->dp_spa, id, unused);
    range_tree_add(used, 0, 1ULL << metaslab_shift(dp->dp_spa));
    range_tree_walk(unused, cut_out, used);
    range_tree_destroy(unused);
    return used;
}

/* True when the map was rewritten, all changes included. */
static bool
condense(dsl_pool_t *dp, uint64_t id, space_map_t *sm, dmu_tx_t *tx)
{
    if (space_map_length(sm) < CONDENSE_MIN)
        return false;
    range_tree_t *used = allocated_ranges(dp, id);
    bool worth = space_map_should_condense(sm, range_tree_numsegs(used));
    if (worth) {
        space_map_truncate(sm, tx);
        space_map_write(sm, used, true, tx);
    }
    range_tree_destroy(used);
    return worth;
}

static void
sync_map(dsl_pool_t *dp, uint64_t id, int pass, range_tree_t *allocs, range_tree_t *frees, dmu_tx_t *tx)
{
    space_map_t *sm = map_of(dp, id, tx);

    if (sm == NULL || (pass == 1 && condense(dp, id, sm, tx)))
        return;
    space_map_write(sm, allocs, true, tx);
    space_map_write(sm, frees, false, tx);
}

void
pool_sync_space_maps(dsl_pool_t *dp, int pass, dmu_tx_t *tx)
{
    range_tree_t *allocs = range_tree_create(), *frees = range_tree_create();

    for (uint64_t id = 0; id < metaslab_count(dp->dp_spa); id++) {
        if (!metaslab_sync_take(dp->dp_spa, id, allocs, frees))
            continue;
        sync_map(dp, id, pass, allocs, frees, tx);
        range_tree_vacate(allocs, NULL, NULL);
        range_tree_vacate(frees, NULL, NULL);
    }
    range_tree_destroy(allocs);
    range_tree_destroy(frees);
}
