/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spa_impl.h - what the files of the block layer share and nobody above may see.
 *
 * Locks, in the order in which they are taken; only heal_lock and arc's in-flight marks are held across disk I/O:
 *
 *   spa_heal_lock    a repair of a damaged copy against the turn of a txg (zio_read.c)
 *   zq_lock          the write queue (zio_queue.c)
 *   spa_alloc_lock   every metaslab (metaslab.c)
 *   arc_lock         the cache of all pools (arc.c)
 *   spa_lock         name, configuration, error list, the reason of a suspension (spa.c)
 *
 * Fields named "atomic" are read and written with __atomic builtins and belong to no lock. "Constant" is from
 * spa_create()/spa_open() to spa_close(). "Syncing thread" needs no lock: there is only one.
 */
#ifndef COWBIRD_SPA_IMPL_H
#define COWBIRD_SPA_IMPL_H

#include <syslog.h>
#include "spa.h"

#define ATOMIC_ADD(p, v)   ((void)__atomic_add_fetch((p), (v), __ATOMIC_RELAXED))
#define ATOMIC_LOAD(p)     __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define ATOMIC_STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)

#define SPA_ERRLOG_MAX   1024
#define GANG_DEPTH_MAX   8 /* headers above the last piece: 3^8 pieces are more than 16 MiB of sectors need */
#define SPA_MS_COUNT_MAX (1ULL << 18)
#define SPA_MS_SHIFT_MIN 17

typedef struct zio_queue zio_queue_t;

typedef struct errlog_entry {
    list_node_t ee_node; /* in spa_errlog */
    zbookmark_t ee_zb;
} errlog_entry_t;

typedef struct name_entry {
    list_node_t ne_node; /* in spa_names */
    char *ne_name;
} name_entry_t;

struct spa {
    /* constant */
    disk_t spa_disk;
    bool spa_rdonly;
    uint64_t spa_psize;  /* device bytes, rounded down to whole labels */
    uint64_t spa_asize_; /* allocatable bytes, from DVA 0 */
    uint64_t spa_ashift_;
    uint64_t spa_version_;
    uint64_t spa_guid_;
    uint64_t spa_guid_sum; /* pool + all vdevs, as uberblocks have it */
    enum zio_checksum spa_checksum_;
    taskq_t *spa_tq;
    zio_queue_t *spa_queue;

    /* label.c; syncing thread */
    uberblock_t spa_ub;        /* last committed */
    uint64_t spa_committed;    /* atomic: its txg, changed under spa_heal_lock */
    bool spa_labels_blank;     /* a new pool: what lies on the device is somebody else's */
    unsigned spa_labels_stale; /* bit l: label l does not hold what the best label said at open */
    nvlist_t *spa_label_disk;  /* what the labels on disk say */

    /* spa_lock */
    kmutex_t spa_lock;
    char *spa_name_;       /* atomic; into one of spa_names */
    list_t spa_names;      /* name_entry_t: the name and those before, which somebody may still look at */
    nvlist_t *spa_config;  /* the label's list as it should be */
    bool spa_config_dirty; /* and as it is not yet on disk */
    list_t spa_errlog;     /* errlog_entry_t, newest last */
    uint64_t spa_errlog_count;
    int spa_suspended_; /* atomic: errno or 0 */

    kmutex_t spa_heal_lock;

    /* metaslab.c: spa_alloc_lock */
    kmutex_t spa_alloc_lock;
    metaslab_t *spa_ms;                        /* array */
    uint64_t spa_ms_count;                     /* constant */
    uint64_t spa_ms_shift;                     /* constant */
    uint64_t spa_cursor[SPA_DVAS_PER_BP];      /* where the next copy 1, 2, 3 is looked for; device offset */
    uint64_t spa_alloc_bytes, spa_defer_bytes; /* atomic too, for statistics */

    spa_stats_t spa_stats;    /* atomic, each counter on its own */
    uint64_t spa_prefetching; /* atomic: prefetches dispatched and not done */
};

/* ---- disk access with counters (disk.c) ---- */

int spa_disk_read(spa_t *spa, void *buf, uint64_t off,
                  size_t n); /* off on the device; EIO counts as a read error */
int spa_disk_writev(spa_t *spa, const struct iovec *iov, int cnt, uint64_t off);
int spa_disk_write(spa_t *spa, const void *buf, uint64_t off, size_t n);
int spa_disk_flush(spa_t *spa);

/* ---- label.c, spa_config.c ---- */

typedef struct label_set {           /* what label_read() found */
    nvlist_t *ls_label[VDEV_LABELS]; /* NULL: unreadable, garbled, of another pool */
    nvlist_t *ls_best;               /* one of these */
    uberblock_t ls_ub;
} label_set_t;

uint64_t label_offset(uint64_t psize, int l);
int label_read(const disk_t *disk, uint64_t psize, label_set_t *ls); /* ENOENT, ENXIO, EIO */
void label_set_free(label_set_t *ls);
unsigned label_stale(const label_set_t *ls); /* bits of the labels that differ from the best one */

nvlist_t *config_create(const spa_create_args_t *args, spa_t *spa);
/* Fill the constants of spa from a label. ENOTSUP, EIO. */
int config_parse(const nvlist_t *label, spa_t *spa);
/* pool + top + leaf, from a label that was not yet judged. ENOENT: a key is missing. */
int config_guid_sum(const nvlist_t *label, uint64_t *sum);
uint64_t config_ashift(const nvlist_t *label); /* 0: none or absurd */

/* ---- zio_queue.c: pending writes ---- */

zio_queue_t *zio_queue_create(spa_t *spa);
void zio_queue_destroy(zio_queue_t *q); /* what is pending is dropped */
/* Write buf, then zeros up to size, at DVA offset off. May block for memory. The queue takes its own reference. */
int zio_queue_add(zio_queue_t *q, uint64_t off, uint64_t size, arc_buf_t *buf);
bool zio_queue_read(zio_queue_t *q, uint64_t off, void *buf,
                    uint64_t n); /* false: not pending, ask the disk */
int zio_queue_drain(zio_queue_t *q);

/* ---- metaslab.c ---- */

void metaslab_init(spa_t *spa, uint64_t shift);
void metaslab_fini(spa_t *spa);
uint64_t metaslab_choose_shift(uint64_t asize, uint64_t ashift);
/* ndvas places of size bytes, far apart: all or none. ENOSPC. size is a multiple of 2^ashift. */
int metaslab_alloc(spa_t *spa, uint64_t size, int ndvas, dva_t *dvas);
/* EIO: not an allocated range. */
int metaslab_free_range(spa_t *spa, uint64_t off, uint64_t size);

/* ---- zio_read.c, zio_gang.c ---- */

typedef struct zio_ctx { /* one read as it goes down a gang tree */
    spa_t *zc_spa;
    const zbookmark_t *zc_zb; /* may be NULL */
    uint64_t zc_start;        /* txg committed when the read began, or the pointer was got: how long repairs are safe */
    bool zc_all;              /* look at every copy (scrub) */
    uint64_t zc_repaired;
} zio_ctx_t;

/* zio_read() of a pointer that was part of the pool when spa_committed was since. */
int zio_read_since(spa_t *spa, const blkptr_t *bp, void *buf, const zbookmark_t *zb, uint64_t since);
/* The physical bytes of a block: psize of them, verified, all levels of gang headers resolved. */
int zio_read_phys(zio_ctx_t *zc, const blkptr_t *bp, void *buf, int depth);
/* Try the copies at bp's DVAs: n bytes each that verify(arg, buf) accepts; repair the others. */
typedef int zio_verify_t(const blkptr_t *bp, const void *buf, size_t n);
int zio_read_copies(zio_ctx_t *zc, const blkptr_t *bp, void *buf, size_t n, zio_verify_t *verify);
int zio_verify_block(const blkptr_t *bp, const void *buf, size_t n);

int zio_gang_read(zio_ctx_t *zc, const blkptr_t *bp, void *buf, int depth);
/* The right bytes are known: every bad copy is rewritten with them. ECKSUM: they are not. */
int zio_heal_phys(zio_ctx_t *zc, const blkptr_t *bp, const void *buf, int depth);
int zio_gang_heal(zio_ctx_t *zc, const blkptr_t *bp, const void *buf, int depth);
/* Store buf's n bytes in pieces; bp has checksum, sizes and birth set and gets its DVAs here. ENOSPC. */
int zio_gang_write(spa_t *spa, blkptr_t *bp, int copies, const uint8_t *buf, uint64_t n, int depth);
int zio_gang_rewrite(spa_t *spa, const blkptr_t *bp, const uint8_t *buf, int depth);
void zio_gang_free(spa_t *spa, const blkptr_t *bp, int depth);
uint64_t zio_asize(spa_t *spa, uint64_t psize); /* rounded up to 2^ashift */

/* A buffer of this thread, at least n bytes, valid until the next call with the same slot. */
void *zio_scratch(int slot, size_t n);
enum { SCRATCH_COMPRESS, SCRATCH_PHYS, SCRATCH_SCRUB, SCRATCH_SLOTS };

/* ---- range.c ---- */

range_tree_t *range_tree_create_sized(void); /* also ordered by size, for best fit */
bool range_tree_best_fit(range_tree_t *rt, uint64_t size, uint64_t *start);
uint64_t range_tree_max(range_tree_t *rt); /* longest run; 0 when empty */

/* ---- arc.c ---- */

void arc_drop_spa(spa_t *spa);

#endif
