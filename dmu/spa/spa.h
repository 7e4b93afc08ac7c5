/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spa.h - the contract of the block layer: a raw disk becomes checked, cached, copy-on-write blocks.
 *
 *        arc_read()            zio_write()  zio_free()         spa_commit()
 *   ----------|--------------------|------------|------------------|---------  the layer above: dmu, dsl
 *        +----v-----+        +-----v-----+ +----v------+     +-----v-----+
 *        |   arc    |        |  zio_write| | metaslab  |     |   label   |
 *        |  cache   |        | compress, | | free/used |     | uberblock |
 *        +----+-----+        | checksum  | |  runs     |     |   ring    |
 *        +----v-----+        +-----+-----+ +----^------+     +-----+-----+
 *        | zio_read |  verify,     +- allocate -+                  |
 *        | heal     |              v  merge, write behind          v
 *        +----+-----+       +------+-----------------------------------------+
 *             +------------>|  struct disk_ops: read write flush size         |
 *                           +-------------------------------------------------+
 *
 * This layer knows nothing of objects, datasets or what a block holds. Its promises:
 *   1. A read returns the bytes that were written under that block pointer, or an error: never other bytes.
 *   2. Nothing that the last committed uberblock reaches is overwritten, nor what the two before it reach.
 *   3. spa_commit() is the only point at which a new state becomes the pool's state.
 *
 * A txg, from here:   zio_write()* zio_free()*  ->  metaslab_sync_take()* until nothing is new  ->  spa_commit()
 *                     ->  metaslab_sync_done()
 *
 * Threads: reads from anywhere, at any time. Writes, frees and the commit only from the one syncing thread.
 */
#ifndef COWBIRD_SPA_H
#define COWBIRD_SPA_H

#include <sys/uio.h>
#include "spa_format.h"
#include "nvlist.h"

typedef struct spa spa_t;
typedef struct range_tree range_tree_t;
typedef struct metaslab metaslab_t;

/* Whose block it is, for messages, error lists and scrub. ZFS: zbookmark_phys_t */
typedef struct zbookmark {
    uint64_t zb_objset; /* dataset object, 0 = the MOS */
    uint64_t zb_object;
    int64_t zb_level;   /* ZB_ROOT_LEVEL for an objset's root block */
    uint64_t zb_blkid;
} zbookmark_t;
#define ZB_ROOT_LEVEL (-1LL)

/* ---------------------------------------------------------------- disk.c: the raw disk ---- */

/*
 * All disk access goes through these calls, so that a test can fail, drop, reorder or tear it.
 * Each returns 0 or an errno; a short transfer is EIO. Offsets and sizes are bytes, multiples of 512. Calls may come
 * from several threads at once.
 */
struct disk_ops {
    int (*dop_read)(void *arg, void *buf, uint64_t off, size_t n);
    int (*dop_writev)(void *arg, const struct iovec *iov, int cnt, uint64_t off);
    int (*dop_flush)(void *arg);                             /* everything written so far is durable */
    int (*dop_trim)(void *arg, uint64_t off, uint64_t n);    /* contents no longer matter; may be NULL */
    uint64_t (*dop_size)(void *arg);
    void (*dop_close)(void *arg);
};

typedef struct disk {
    const struct disk_ops *d_ops;
    void *d_arg;
} disk_t;

#define DISK_RDONLY 1
/* Open a regular file or block device. Takes an exclusive (or, read-only, shared) advisory lock held until close:
 * EBUSY when another process has it. ENOENT, EACCES, ENODEV (neither file nor block device), EOVERFLOW (too small). */
int disk_open(const char *path, int flags, disk_t *disk);
void disk_close(disk_t *disk);

/* ---------------------------------------------------------------- spa.c: the pool's one vdev ---- */

#define SPA_OPEN_RDONLY 1

/* A new pool on a disk, in memory only: nothing is written before the first spa_commit().
 * EOVERFLOW: smaller than 64 MiB. The spa owns the disk from success on. */
typedef struct spa_create_args {
    const char *sca_name;
    const char *sca_path;            /* for the label's "path"; absolute */
    uint64_t sca_ashift;             /* 9..16 */
    uint64_t sca_version;            /* 5000 */
    enum zio_checksum sca_checksum;  /* of every block: ZIO_CHECKSUM_XXH3_128 or _FLETCHER_4 */
} spa_create_args_t;
int spa_create(const disk_t *disk, const spa_create_args_t *args, spa_t **spap);

/* Find the labels and the newest valid uberblock. A garbled label or uberblock is passed over while one is left.
 * ENOENT no label, ENXIO no valid uberblock, ENOTSUP a vdev we do not handle (message logged: mirror with one child is fine),
 * EIO. Nothing is written. spa_checksum is taken from the MOS's block pointer. */
int spa_open(const disk_t *disk, int flags, spa_t **spap);
/* Frees everything, closes the disk. No commit. */
void spa_close(spa_t *spa);
void spa_release(spa_t *spa); /* the same, but the disk stays open and is the caller's again */

const char *spa_name(spa_t *spa);
void spa_set_name(spa_t *spa, const char *name); /* label changes at the next commit */
uint64_t spa_guid(spa_t *spa);
uint64_t spa_version(spa_t *spa);
uint64_t spa_ashift(spa_t *spa);
bool spa_writeable(spa_t *spa);
const uberblock_t *spa_uberblock(spa_t *spa); /* the last committed one */
const nvlist_t *spa_label(spa_t *spa);        /* the best label as read or last written */
enum zio_checksum spa_checksum(spa_t *spa);
taskq_t *spa_taskq(spa_t *spa);               /* the pool's workers, one per core */
uint64_t spa_asize(spa_t *spa);               /* allocatable bytes of the device */
bool spa_has_feature(spa_t *spa, const char *guid); /* in the label's features_for_read */

/* What the layer above wants in label and MOS config; each marks the label changed. */
void spa_set_metaslab_array(spa_t *spa, uint64_t object);
void spa_set_features_for_read(spa_t *spa, const nvlist_t *features); /* booleans by guid */
void spa_set_state(spa_t *spa, uint64_t pool_state);
/* The MOS "config" object's list for a commit at txg; the caller frees it. */
nvlist_t *spa_mos_config(spa_t *spa, uint64_t txg);

/* THE COMMIT. Waits for every zio_write() of this txg, flushes, writes the uberblock into its slot of all four labels
 * (label 0/2's nvlists before and 1/3's after when they changed), flushes. On error the pool is
 * suspended: all later writes and commits fail with that error; the disk holds the old state or, when only the last
 * steps failed, the new one. EROFS. See label.c for the crash argument. */
int spa_commit(spa_t *spa, uint64_t txg, const blkptr_t *rootbp);
/* The error that suspended the pool, or 0. */
int spa_suspended(spa_t *spa);
void spa_suspend(spa_t *spa, int err);

typedef struct spa_stats { /* since open */
    uint64_t ss_read_errors, ss_write_errors, ss_cksum_errors; /* per copy */
    uint64_t ss_repaired;                                       /* copies rewritten from a good one */
    uint64_t ss_repaired_bytes;
    uint64_t ss_reads, ss_read_bytes, ss_writes, ss_write_bytes; /* to the disk */
    uint64_t ss_arc_hits, ss_arc_misses, ss_arc_bytes;
} spa_stats_t;
void spa_get_stats(spa_t *spa, spa_stats_t *st);

/* Blocks of which no copy could be read. cb gets a copy of each entry of the list, newest last (at most 1024 kept). */
void spa_errlog_add(spa_t *spa, const zbookmark_t *zb);
void spa_errlog_walk(spa_t *spa, void (*cb)(void *arg, const zbookmark_t *zb), void *arg);
void spa_errlog_clear(spa_t *spa);

/* ---------------------------------------------------------------- arc.c: the cache ---- */

/*
 * A reference-counted buffer of one block's plain contents. Shared buffers must not be written: arc_buf_writable()
 * tells; arc_buf_own() gives one that may be.
 *
 * A packed one stands for contents that came compressed and may be stored so: b_packed instead of b_data. The cache has none of them.
 */
typedef struct arc_buf {
    void *b_data;    /* page-aligned; NULL: packed */
    uint32_t b_size; /* bytes, the block's logical size */
    uint32_t b_refs; /* atomic */
    struct arc_hdr *b_hdr; /* when the cache holds it too */
    struct arc_buf *b_packed; /* the compressed bytes, framed as in a block; own reference, never written */
    enum zio_compress b_compress; /* theirs */
} arc_buf_t;

arc_buf_t *arc_buf_alloc(uint32_t size); /* contents undefined; one reference */
arc_buf_t *arc_buf_hold(arc_buf_t *buf);
void arc_buf_rele(arc_buf_t *buf); /* NULL is fine */
bool arc_buf_writable(const arc_buf_t *buf); /* only one reference, and not in the cache */
/* Takes the caller's reference, gives a writable buffer of the same contents: itself or a copy. */
arc_buf_t *arc_buf_own(arc_buf_t *buf);
arc_buf_t *arc_buf_pack(arc_buf_t *bytes, enum zio_compress c, uint32_t size); /* takes bytes' reference */
int arc_buf_unpack(const arc_buf_t *buf, arc_buf_t **plainp); /* EIO: they are nothing of that kind and size */

void arc_set_limit(uint64_t bytes); /* default: an eighth of memory, at most 256 MiB; for all pools of the process */

/* Contents of the block, from the cache or disk (then verified, decompressed, byte-swap of the *container* not done:
 * the bp says the order). The buffer is shared and read-only. The bp must not be a hole.
 * ECKSUM every copy is bad; EIO, also for a bp that cannot be true; EINVAL a hole; ENOTSUP encrypted, or a checksum or
 * compression we do not have. zb may be NULL. */
#define ARC_NOCACHE 1 /* do not keep it (scrub, send of cold data) */
int arc_read(spa_t *spa, const blkptr_t *bp, const zbookmark_t *zb, int flags, arc_buf_t **bufp);
/* The same by one who may be late: bp was part of the pool when spa_committed_txg() was since. Two commits later its place may soon
 * be another block's: then a bad copy is not repaired any more. */
int arc_read_since(spa_t *spa, const blkptr_t *bp, const zbookmark_t *zb, int flags, uint64_t since, arc_buf_t **bufp);
uint64_t spa_committed_txg(spa_t *spa); /* spa.c: of the last commit; any thread */
/* Start reading into the cache on the pool's workers; no result. */
void arc_prefetch(spa_t *spa, const blkptr_t *bp, const zbookmark_t *zb);
void arc_prefetch_since(spa_t *spa, const blkptr_t *bp, const zbookmark_t *zb, uint64_t since);
/* The caller just wrote buf as bp: keep it. The buffer becomes shared. (A packed one is not kept.) */
void arc_insert(spa_t *spa, const blkptr_t *bp, arc_buf_t *buf);
/* The block is freed (any txg): forget it. */
void arc_forget(spa_t *spa, const blkptr_t *bp);

/* ---------------------------------------------------------------- zio_read.c: checked reads ---- */

/* Uncached. buf holds BP_GET_LSIZE bytes. Reads copy after copy until one verifies; a bad copy is counted, logged and,
 * when the pool is writable and another is good, rewritten. Embedded and gang blocks included. */
int zio_read(spa_t *spa, const blkptr_t *bp, void *buf, const zbookmark_t *zb);
/* The physical bytes (psize), verified but not decompressed, for compressed sends. buf holds BP_GET_PSIZE bytes. */
int zio_read_raw(spa_t *spa, const blkptr_t *bp, void *buf, const zbookmark_t *zb);
/* Scrub: verify *every* copy, repair bad ones from a good one. 0: all fine now; ECKSUM/EIO: no good copy at all.
 * *repaired (may be NULL) counts rewritten copies. */
int zio_scrub(spa_t *spa, const blkptr_t *bp, const zbookmark_t *zb, uint64_t *repaired);
/* Somebody has the block's physical bytes (psize) from elsewhere: every bad copy is rewritten with them, counted in *repaired. ECKSUM: they
 * are not this block's. The caller knows that nobody frees the block meanwhile. */
int zio_heal(spa_t *spa, const blkptr_t *bp, const void *phys, const zbookmark_t *zb, uint64_t *repaired);

/* ---------------------------------------------------------------- zio_write.c: the write pipeline ---- */

/* How a block is to be stored. ZFS: zio_prop_t */
typedef struct zio_prop {
    enum zio_compress zp_compress; /* never ON or INHERIT */
    uint8_t zp_complevel;
    uint8_t zp_copies;             /* 1..3 */
    uint8_t zp_type;               /* dmu object type */
    uint8_t zp_level;
    bool zp_may_embed;             /* feature embedded_data is on, and type and level allow it */
    bool zp_keep_zero;             /* do not turn an all-zero block into a hole (objset, dnode, indirect blocks) */
} zio_prop_t;

/* One block of a batch. */
typedef struct zio_write {
    arc_buf_t *zw_buf;   /* the contents; packed: stored as they are (zio_may_store_packed). The batch takes its own reference */
    blkptr_t zw_bp;      /* in: the old pointer (may be rewritten in place, see below) or zeros; out: the new one */
    zio_prop_t zw_prop;
    uint64_t zw_fill;    /* for the pointer */
    zbookmark_t zw_zb;
    bool zw_inplace;     /* out: zw_bp kept its DVAs: born in this very txg already, and the block fitted */
    void *zw_private;    /* the caller's */
    struct zio_write_priv *zw_priv;
} zio_write_t;

/*
 * Store n blocks: compress and checksum on all cores, then, in array order, allocate space and queue the disk writes
 * (merged with neighbours, written behind). Zero blocks become holes. The pointers are final on return; data may still be in
 * memory until spa_commit(). A block whose in-pointer was born in this txg and fits is rewritten in place, so that
 * sync passes converge: from pass 5 on nothing is compressed. The in-pointer is never freed here: the caller does,
 * unless zw_inplace. Too little contiguous space makes gang blocks. ENOSPC when there is really none (the pool is then suspended: the
 * layers above reserve space so that it does not happen). ZFS: zio_write() with its DVA_ALLOCATE stages.
 */
int zio_write(spa_t *spa, uint64_t txg, int pass, zio_write_t *w, uint64_t n);
bool zio_may_store_packed(spa_t *spa, const arc_buf_t *buf); /* does it still save space, rounded up to 2^ashift? */

/* The block's space returns to the allocator: reusable once txg + 2 is committed. Holes and embedded are ignored. */
void zio_free(spa_t *spa, uint64_t txg, const blkptr_t *bp);

/* ---------------------------------------------------------------- metaslab.c: free space ---- */

/*
 * The device is cut into metaslabs of 2^ms_shift bytes. Each holds, in memory, its free runs; what was allocated and
 * freed in the syncing txg; and what was freed in the last two txgs, which waits:
 *
 *       alloc            free            sync_done        sync_done         sync_done
 *  free ------> used -----------> freeing ------> defer[0] ------> defer[1] ------> free
 *
 * The space maps on disk are objects, so the layer above loads and appends them: see dmu/space_map.c, dsl/pool.c.
 */
uint64_t metaslab_count(spa_t *spa);
uint64_t metaslab_shift(spa_t *spa);
uint64_t metaslab_size(spa_t *spa);
/* While opening: metaslab id starts all free; replay its log in order. offset from the metaslab's start; bytes.
 * EIO: an alloc of what is not free, or the reverse, or out of range. */
int metaslab_load(spa_t *spa, uint64_t id, bool alloc, uint64_t offset, uint64_t size);
/* Take over what changed in metaslab id since the last take in this txg; the caller's trees get the ranges (from the
 * metaslab's start, bytes), allocs to be logged before frees. False when nothing changed. */
bool metaslab_sync_take(spa_t *spa, uint64_t id, range_tree_t *allocs, range_tree_t *frees);
/* The free runs of a metaslab as its space map must say after this txg (free + deferred), for rewriting the map. */
void metaslab_free_ranges(spa_t *spa, uint64_t id, range_tree_t *out);
/* After spa_commit(txg). */
void metaslab_sync_done(spa_t *spa, uint64_t txg);

uint64_t spa_alloc_space(spa_t *spa);    /* bytes allocated, deferred frees excluded */
uint64_t spa_deferred_space(spa_t *spa); /* freed, not yet reusable */
uint64_t spa_total_space(spa_t *spa);    /* metaslab_count << shift */

/* ---------------------------------------------------------------- range.c: sets of ranges ---- */

range_tree_t *range_tree_create(void);
void range_tree_destroy(range_tree_t *rt); /* any contents are dropped */
void range_tree_add(range_tree_t *rt, uint64_t start, uint64_t size);    /* VERIFY: disjoint from what is there */
void range_tree_remove(range_tree_t *rt, uint64_t start, uint64_t size); /* VERIFY: wholly there */
bool range_tree_contains(range_tree_t *rt, uint64_t start, uint64_t size);
bool range_tree_overlaps(range_tree_t *rt, uint64_t start, uint64_t size);
/* Union / difference that do not mind what is there already. */
void range_tree_set(range_tree_t *rt, uint64_t start, uint64_t size);
void range_tree_clear(range_tree_t *rt, uint64_t start, uint64_t size);
void range_tree_vacate(range_tree_t *rt, void (*fn)(void *arg, uint64_t start, uint64_t size), void *arg); /* fn may be NULL */
void range_tree_walk(range_tree_t *rt, void (*fn)(void *arg, uint64_t start, uint64_t size), void *arg);
/* The first range that ends after start; false when none. */
bool range_tree_find_next(range_tree_t *rt, uint64_t start, uint64_t *rs, uint64_t *size);
uint64_t range_tree_space(range_tree_t *rt);
uint64_t range_tree_numsegs(range_tree_t *rt);

#endif
