/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spa.c - a pool on its one device: made, opened, closed; its constants, counters and errors.
 *
 *   spa_create() ---> nothing on disk ---first spa_commit()---> a pool
 *   spa_open()   ---> state of the newest uberblock --- zio_write() ... spa_commit() ---> the next
 *   spa_close()  ---> whatever was not committed is gone
 *
 * Invariants:
 *   1. Every constant of struct spa comes through config_parse(), for a new pool too: what we would not open, we do not
 *      create.
 *   2. A suspended pool never comes back to life: its memory and its disk may differ. Reading goes on.
 *
 * ZFS: module/zfs/spa.c, spa_misc.c, spa_errlog.c
 */
#include "spa_impl.h"

/* ---- life ---- */

static spa_t *
spa_alloc(const disk_t *disk, bool rdonly)
{
    spa_t *spa = xzalloc(sizeof(*spa));

    spa->spa_disk = *disk;
    spa->spa_rdonly = rdonly;
    spa->spa_psize = P2ALIGN(disk->d_ops->dop_size(disk->d_arg), VDEV_LABEL_SIZE);
    mutex_init(&spa->spa_lock);
    mutex_init(&spa->spa_heal_lock);
    mutex_init(&spa->spa_alloc_lock);
    list_create(&spa->spa_errlog, offsetof(errlog_entry_t, ee_node));
    list_create(&spa->spa_names, offsetof(name_entry_t, ne_node));
    return spa;
}

static void
spa_free(spa_t *spa)
{
    name_entry_t *ne;

    spa_errlog_clear(spa);
    list_destroy(&spa->spa_errlog);
    while ((ne = list_remove_head(&spa->spa_names)) != NULL) {
        free(ne->ne_name);
        free(ne);
    }
    list_destroy(&spa->spa_names);
    nvlist_free(spa->spa_config);
    nvlist_free(spa->spa_label_disk);
    mutex_destroy(&spa->spa_lock);
    mutex_destroy(&spa->spa_heal_lock);
    mutex_destroy(&spa->spa_alloc_lock);
    free(spa);
}

static void
spa_first_name(spa_t *spa)
{
    name_entry_t *ne = xzalloc(sizeof(*ne));
    const char *name = "";

    (void)nvlist_lookup_string(spa->spa_config, "name", &name);
    ne->ne_name = xstrdup(name);
    list_insert_tail(&spa->spa_names, ne);
    spa->spa_name_ = ne->ne_name;
}

/* The configuration is known: everything that depends on it. */
static int
spa_start(spa_t *spa)
{
    int err = config_parse(spa->spa_config, spa);

    if (err != 0)
        return err;
    spa_first_name(spa);
    metaslab_init(spa, spa->spa_ms_shift);
    spa->spa_tq = taskq_create("spa", 0);
    spa->spa_queue = zio_queue_create(spa);
    return 0;
}

int
spa_create(const disk_t *disk, const spa_create_args_t *args, spa_t **spap)
{
    if (disk->d_ops->dop_size(disk->d_arg) < SPA_MINDEVSIZE)
        return SET_ERROR(EOVERFLOW);
    spa_t *spa = spa_alloc(disk, false);
    spa->spa_ashift_ = args->sca_ashift;
    spa->spa_asize_ = spa->spa_psize - VDEV_LABEL_START_SIZE - VDEV_LABEL_END_SIZE;
    spa->spa_config = config_create(args, spa);
    spa->spa_label_disk = nvlist_dup(spa->spa_config);
    spa->spa_config_dirty = true;
    spa->spa_labels_blank = true;
    spa->spa_checksum_ = args->sca_checksum;
    int err = spa_start(spa);
    if (err != 0)
        spa_free(spa);
    else
        *spap = spa;
    return err;
}

/* What new blocks get: the MOS's own function if we write it, else Fletcher-4, which every pool has. */
static enum zio_checksum
checksum_of(const blkptr_t *mos)
{
    enum zio_checksum c = BP_GET_CHECKSUM(mos);

    if (BP_IS_HOLE(mos) || BP_IS_EMBEDDED(mos))
        return ZIO_CHECKSUM_FLETCHER_4;
    return c == ZIO_CHECKSUM_XXH3_128 || c == ZIO_CHECKSUM_SHA256 ? c : ZIO_CHECKSUM_FLETCHER_4;
}

/* Find the state of the pool on disk. */
static int
spa_load(spa_t *spa)
{
    label_set_t ls;
    int err = label_read(&spa->spa_disk, spa->spa_psize, &ls);

    if (err == 0) {
        spa->spa_config = nvlist_dup(ls.ls_best);
        spa->spa_label_disk = nvlist_dup(ls.ls_best);
        spa->spa_labels_stale = label_stale(&ls);
        spa->spa_ub = ls.ls_ub;
        spa->spa_committed = ls.ls_ub.ub_txg;
        spa->spa_checksum_ = checksum_of(&ls.ls_ub.ub_rootbp);
        err = spa_start(spa);
    }
    label_set_free(&ls);
    return err;
}

int
spa_open(const disk_t *disk, int flags, spa_t **spap)
{
    if (disk->d_ops->dop_size(disk->d_arg) < SPA_MINDEVSIZE)
        return SET_ERROR(ENOENT);
    spa_t *spa = spa_alloc(disk, (flags & SPA_OPEN_RDONLY) != 0);
    int err = spa_load(spa);
    if (err != 0)
        spa_free(spa);
    else
        *spap = spa;
    return err;
}

void
spa_release(spa_t *spa)
{
    taskq_destroy(spa->spa_tq); /* prefetches end here */
    zio_queue_destroy(spa->spa_queue);
    arc_drop_spa(spa);
    metaslab_fini(spa);
    spa_free(spa);
}

void
spa_close(spa_t *spa)
{
    disk_t disk = spa->spa_disk;

    spa_release(spa);
    disk_close(&disk);
}

/* ---- what it is ---- */

const char *
spa_name(spa_t *spa)
{
    return ATOMIC_LOAD(&spa->spa_name_);
}

uint64_t
spa_guid(spa_t *spa)
{
    return spa->spa_guid_;
}

uint64_t
spa_version(spa_t *spa)
{
    return spa->spa_version_;
}

uint64_t
spa_ashift(spa_t *spa)
{
    return spa->spa_ashift_;
}

bool
spa_writeable(spa_t *spa)
{
    return !spa->spa_rdonly;
}

const uberblock_t *
spa_uberblock(spa_t *spa)
{
    return &spa->spa_ub;
}

const nvlist_t *
spa_label(spa_t *spa)
{
    return spa->spa_label_disk;
}

enum zio_checksum
spa_checksum(spa_t *spa)
{
    return spa->spa_checksum_;
}

taskq_t *
spa_taskq(spa_t *spa)
{
    return spa->spa_tq;
}

uint64_t
spa_committed_txg(spa_t *spa)
{
    return ATOMIC_LOAD(&spa->spa_committed);
}

uint64_t
spa_asize(spa_t *spa)
{
    return spa->spa_asize_;
}

/* ---- what went wrong ---- */

int
spa_suspended(spa_t *spa)
{
    return ATOMIC_LOAD(&spa->spa_suspended_);
}

void
spa_suspend(spa_t *spa, int err)
{
    mutex_enter(&spa->spa_lock);
    if (spa->spa_suspended_ == 0) {
        ATOMIC_STORE(&spa->spa_suspended_, err);
        cowbird_log(LOG_CRIT, "pool %s suspended: %s; nothing more is written", spa->spa_name_,
                    cowbird_strerror(err));
    }
    mutex_exit(&spa->spa_lock);
}

void
spa_get_stats(spa_t *spa, spa_stats_t *st)
{
    const uint64_t *from = (const uint64_t *)&spa->spa_stats;
    uint64_t *to = (uint64_t *)st;

    for (size_t i = 0; i < sizeof(*st) / sizeof(*to); i++)
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

void
spa_errlog_add(spa_t *spa, const zbookmark_t *zb)
{
    errlog_entry_t *ee;

    mutex_enter(&spa->spa_lock);
    ee = list_tail(&spa->spa_errlog);
    if (ee == NULL || memcmp(&ee->ee_zb, zb, sizeof(*zb)) != 0) {
        ee = xzalloc(sizeof(*ee));
        ee->ee_zb = *zb;
        list_insert_tail(&spa->spa_errlog, ee);
        if (++spa->spa_errlog_count > SPA_ERRLOG_MAX) {
            free(list_remove_head(&spa->spa_errlog));
            spa->spa_errlog_count--;
        }
    }
    mutex_exit(&spa->spa_lock);
}

void
spa_errlog_walk(spa_t *spa, void (*cb)(void *arg, const zbookmark_t *zb), void *arg)
{
    zbookmark_t *copy;
    uint64_t n = 0;

    mutex_enter(&spa->spa_lock);
    copy = xmalloc((spa->spa_errlog_count + 1) * sizeof(*copy));
    for (errlog_entry_t *ee = list_head(&spa->spa_errlog); ee != NULL; ee = list_next(&spa->spa_errlog, ee))
        copy[n++] = ee->ee_zb;
    mutex_exit(&spa->spa_lock);
    for (uint64_t i = 0; i < n; i++)
        cb(arg, &copy[i]);
    free(copy);
}

void
spa_errlog_clear(spa_t *spa)
{
    errlog_entry_t *ee;

    mutex_enter(&spa->spa_lock);
    while ((ee = list_remove_head(&spa->spa_errlog)) != NULL)
        free(ee);
    spa->spa_errlog_count = 0;
    mutex_exit(&spa->spa_lock);
}
