/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spa_config.c - the pool's configuration as a name/value list: built, judged, changed.
 *
 * A label holds the part of the configuration that finds and opens the pool; the MOS holds the whole:
 *
 *   label                                   MOS "config"
 *     version name state txg pool_guid        version name state txg pool_guid
 *     guid top_guid                           vdev_tree { type root
 *     vdev_tree { type file, guid, path,         children [ { type file, guid, path,
 *                 ashift, asize, ... }                        ashift, asize, ... } ] }
 *     features_for_read                       features_for_read
 *
 * Invariants:
 *   1. spa_config is the only copy that changes; what a label has that we do not know stays in it.
 *   2. Nothing from a list is used before config_parse() has judged it: sizes bound what we allocate later.
 *
 * ZFS: module/zfs/spa_config.c, vdev_config_generate() in vdev_label.c
 */
#include <sys/stat.h>
#include <unistd.h>
#include "spa_impl.h"

/* ---- build ---- */

static nvlist_t *
vdev_create(const spa_create_args_t *args, const spa_t *spa, uint64_t guid)
{
    nvlist_t *vd = nvlist_alloc();
    struct stat st;
    bool is_block = stat(args->sca_path, &st) == 0 && S_ISBLK(st.st_mode);

    nvlist_add_string(vd, "type", is_block ? "disk" : "file");
    nvlist_add_uint64(vd, "id", 0);
    nvlist_add_uint64(vd, "guid", guid);
    nvlist_add_string(vd, "path", args->sca_path);
    if (is_block)
        nvlist_add_uint64(vd, "whole_disk", 0);
    nvlist_add_uint64(vd, "metaslab_array", 0);
    nvlist_add_uint64(vd, "metaslab_shift", metaslab_choose_shift(spa->spa_asize_, spa->spa_ashift_));
    nvlist_add_uint64(vd, "ashift", spa->spa_ashift_);
    nvlist_add_uint64(vd, "asize", spa->spa_asize_);
    nvlist_add_uint64(vd, "is_log", 0);
    nvlist_add_uint64(vd, "create_txg", 4); /* the first txg of a pool */
    return vd;
}

nvlist_t *
config_create(const spa_create_args_t *args, spa_t *spa)
{
    nvlist_t *nv = nvlist_alloc(), *empty = nvlist_alloc();
    uint64_t guid = random_u64();
    nvlist_t *vd = vdev_create(args, spa, guid);
    char host[256] = "localhost";

    (void)gethostname(host, sizeof(host) - 1);
    nvlist_add_uint64(nv, "version", args->sca_version);
    nvlist_add_string(nv, "name", args->sca_name);
    nvlist_add_uint64(nv, "state", POOL_STATE_ACTIVE);
    nvlist_add_uint64(nv, "txg", 0);
    nvlist_add_uint64(nv, "pool_guid", random_u64());
    nvlist_add_uint64(nv, "errata", 0);
    nvlist_add_uint64(nv, "hostid", 0);
    nvlist_add_string(nv, "hostname", host);
    nvlist_add_uint64(nv, "top_guid", guid);
    nvlist_add_uint64(nv, "guid", guid);
    nvlist_add_uint64(nv, "vdev_children", 1);
    nvlist_add_nvlist(nv, "vdev_tree", vd);
    if (args->sca_version == SPA_VERSION)
        nvlist_add_nvlist(nv, "features_for_read", empty);
    nvlist_free(vd);
    nvlist_free(empty);
    return nv;
}

/* ---- judge ---- */

int
config_guid_sum(const nvlist_t *label, uint64_t *sum)
{
    uint64_t pool, top, leaf;

    if (nvlist_lookup_uint64(label, "pool_guid", &pool) != 0 ||
        nvlist_lookup_uint64(label, "top_guid", &top) != 0 || nvlist_lookup_uint64(label, "guid", &leaf) != 0)
        return SET_ERROR(ENOENT);
    *sum = pool + top + (leaf != top ? leaf : 0);
    return 0;
}

uint64_t
config_ashift(const nvlist_t *label)
{
    nvlist_t *vd;
    uint64_t ashift;

    if (nvlist_lookup_nvlist(label, "vdev_tree", &vd) != 0 ||
        nvlist_lookup_uint64(vd, "ashift", &ashift) != 0)
        return 0;
    return ashift >= 9 && ashift <= 16 ? ashift : 0;
}

static int
refuse(int err, const char *why)
{
    cowbird_log(LOG_ERR, "pool not opened: %s", why);
    return SET_ERROR(err);
}

/* Only one device: itself, or a mirror of which one side exists. */
static int
vdev_judge_type(const nvlist_t *label, const nvlist_t *vd)
{
    const char *type;
    nvlist_t **child;
    uint32_t n;
    uint64_t v;

    if (nvlist_lookup_uint64(label, "vdev_children", &v) == 0 && v != 1)
        return refuse(ENOTSUP, "it has more than one top-level device");
    if (nvlist_lookup_uint64(vd, "id", &v) == 0 && v != 0)
        return refuse(ENOTSUP, "its device is not the first one");
    if (nvlist_lookup_uint64(vd, "is_log", &v) == 0 && v != 0)
        return refuse(ENOTSUP, "the device is a separate log");
    if (nvlist_lookup_string(vd, "type", &type) != 0)
        return refuse(EIO, "the label does not say what kind of device it is");
    if (strcmp(type, "file") == 0 || strcmp(type, "disk") == 0)
        return 0;
    if (strcmp(type, "mirror") == 0 && nvlist_lookup_nvlist_array(vd, "children", &child, &n) == 0 && n == 1)
        return 0;
    return refuse(ENOTSUP, "only pools on one file or disk are handled, no mirrors, raidz or draid");
}

static int
vdev_judge_sizes(const nvlist_t *vd, spa_t *spa)
{
    uint64_t room = spa->spa_psize - VDEV_LABEL_START_SIZE - VDEV_LABEL_END_SIZE;
    uint64_t shift;

    if (nvlist_lookup_uint64(vd, "ashift", &spa->spa_ashift_) != 0 || spa->spa_ashift_ < 9 ||
        spa->spa_ashift_ > 16)
        return refuse(EIO, "bad ashift in the label");
    if (nvlist_lookup_uint64(vd, "asize", &spa->spa_asize_) != 0)
        spa->spa_asize_ = room;
    if (spa->spa_asize_ > room)
        return refuse(EIO, "the device is smaller than its label says");
    if (nvlist_lookup_uint64(vd, "metaslab_shift", &shift) != 0)
        return refuse(EIO, "no metaslab_shift in the label");
    if (shift < SPA_MS_SHIFT_MIN || shift > 40 || spa->spa_asize_ >> shift > SPA_MS_COUNT_MAX)
        return refuse(EIO, "bad metaslab_shift in the label");
    spa->spa_ms_shift = shift;
    return 0;
}

int
config_parse(const nvlist_t *label, spa_t *spa)
{
    nvlist_t *vd;
    int err;

    if (nvlist_lookup_uint64(label, "version", &spa->spa_version_) != 0 ||
        nvlist_lookup_uint64(label, "pool_guid", &spa->spa_guid_) != 0 || !nvlist_exists(label, "name") ||
        nvlist_lookup_nvlist(label, "vdev_tree", &vd) != 0)
        return refuse(EIO, "the label lacks version, name, pool_guid or vdev_tree");
    if (spa->spa_version_ == 0 || (spa->spa_version_ > 28 && spa->spa_version_ != SPA_VERSION))
        return refuse(ENOTSUP, "unknown pool version");
    if ((err = vdev_judge_type(label, vd)) != 0 || (err = vdev_judge_sizes(vd, spa)) != 0)
        return err;
    return config_guid_sum(label, &spa->spa_guid_sum);
}

/* ---- change and read ---- */

void
spa_set_name(spa_t *spa, const char *name)
{
    mutex_enter(&spa->spa_lock);
    if (strcmp(spa->spa_name_, name) != 0) {
        name_entry_t *ne = xzalloc(sizeof(*ne));
        ne->ne_name = xstrdup(name);
        list_insert_tail(&spa->spa_names, ne);
        ATOMIC_STORE(&spa->spa_name_, ne->ne_name);
        nvlist_add_string(spa->spa_config, "name", name);
        spa->spa_config_dirty = true;
    }
    mutex_exit(&spa->spa_lock);
}

void
spa_set_metaslab_array(spa_t *spa, uint64_t object)
{
    nvlist_t *vd;

    mutex_enter(&spa->spa_lock);
    VERIFY0(nvlist_lookup_nvlist(spa->spa_config, "vdev_tree", &vd));
    nvlist_add_uint64(vd, "metaslab_array", object);
    spa->spa_config_dirty = true;
    mutex_exit(&spa->spa_lock);
}

void
spa_set_features_for_read(spa_t *spa, const nvlist_t *features)
{
    mutex_enter(&spa->spa_lock);
    nvlist_add_nvlist(spa->spa_config, "features_for_read", features);
    spa->spa_config_dirty = true;
    mutex_exit(&spa->spa_lock);
}

void
spa_set_state(spa_t *spa, uint64_t pool_state)
{
    mutex_enter(&spa->spa_lock);
    nvlist_add_uint64(spa->spa_config, "state", pool_state);
    spa->spa_config_dirty = true;
    mutex_exit(&spa->spa_lock);
}

bool
spa_has_feature(spa_t *spa, const char *guid)
{
    nvlist_t *features;

    mutex_enter(&spa->spa_lock);
    bool has = nvlist_lookup_nvlist(spa->spa_config, "features_for_read", &features) == 0 &&
               nvlist_exists(features, guid);
    mutex_exit(&spa->spa_lock);
    return has;
}

nvlist_t *
spa_mos_config(spa_t *spa, uint64_t txg)
{
    nvlist_t *root = nvlist_alloc(), *top;

    mutex_enter(&spa->spa_lock);
    nvlist_t *nv = nvlist_dup(spa->spa_config);
    mutex_exit(&spa->spa_lock);
    VERIFY0(nvlist_lookup_nvlist(nv, "vdev_tree", &top));
    nvlist_add_string(root, "type", "root");
    nvlist_add_uint64(root, "id", 0);
    nvlist_add_uint64(root, "guid", spa->spa_guid_);
    nvlist_add_uint64(root, "create_txg", 4);
    nvlist_add_nvlist_array(root, "children", &top, 1);
    nvlist_add_nvlist(nv, "vdev_tree", root); /* replaces top, which was copied */
    nvlist_free(root);
    nvlist_add_uint64(nv, "txg", txg);
    (void)nvlist_remove(nv, "guid");
    (void)nvlist_remove(nv, "top_guid");
    return nv;
}
