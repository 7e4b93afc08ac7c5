/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * arc.c - the cache of plain block contents, one for all pools of the process.
 *
 * Two lists, so that reading a large file once does not push out what is used again and again (the "2Q" scheme):
 *
 *                 miss                      hit, some time later
 *    (absent) ------------>  RECENT  ---------------------------->  FREQUENT
 *        ^                     |                                    ^    |
 *        |     pushed out      v          miss                      |    | pushed out
 *        +---------------->  GHOST  --------------------------------+    +--> (absent)
 *                          (key only)
 *
 * A block pushed out of RECENT leaves its key behind in GHOST for a while; a miss that finds it there was a hit that a
 * larger cache would have had, and goes straight to FREQUENT. RECENT is trimmed first while it holds more than a third.
 *
 * Invariants (under arc_lock):
 *   1. The key is pool, place, birth, sizes and checksum: equal keys mean equal contents, also after a rewrite in place.
 *   2. A header is in the hash table exactly when it is reachable for others; its list is told by ah_state.
 *   3. A cached header holds one reference on its buffer, and buffer and header point at each other.
 *   4. arc_bytes is the sum of the buffers in RECENT and FREQUENT. A buffer that somebody else holds is passed over
 *      when room is made (dropping it would free nothing), within limits.
 *   5. While a header is READING one thread reads; others wait on ah_cv and count in ah_waiters. The last of them all
 *      destroys a header that left the table meanwhile.
 *
 * ZFS: module/zfs/arc.c, which adapts the split of the lists (ARC), and keeps compressed contents.
 */
#include <unistd.h>
#include "spa_impl.h"

#define ARC_LIMIT_DEFAULT (256ULL << 20)
#define ARC_LIMIT_MIN     (4ULL << 20)
#define ARC_BUCKETS       (1U << 16)
#define ARC_PREFETCH_MAX  64                /* in flight, per pool */
#define ARC_SETTLE_NS     (50 * 1000000ULL) /* hits within this time are one use */
#define ARC_PASS_OVER     16                /* held buffers passed over per eviction */

enum arc_state { ARC_READING, ARC_RECENT, ARC_FREQUENT, ARC_GHOST, ARC_STATES };

typedef struct arc_key {
    spa_t *ak_spa;
    uint64_t ak_dva[2];
    uint64_t ak_birth;
    uint64_t ak_prop; /* sizes, compression: a damaged pointer may differ in nothing else */
    zio_cksum_t ak_cksum;
} arc_key_t;

typedef struct arc_hdr {
    arc_key_t ah_key;
    struct arc_hdr *ah_next; /* hash chain */
    list_node_t ah_node;     /* in the list of its state; none while READING */
    enum arc_state ah_state;
    bool ah_hashed;
    bool ah_was_ghost;
    uint32_t ah_size;
    uint64_t ah_when; /* gethrtime() of entering RECENT */
    arc_buf_t *ah_buf;
    int ah_err; /* READING ended so */
    int ah_waiters;
    bool ah_done;
    kcondvar_t ah_cv;
} arc_hdr_t;

static struct arc {
    kmutex_t arc_lock;
    arc_hdr_t *arc_table[ARC_BUCKETS];
    list_t arc_list[ARC_STATES];
    uint64_t arc_size[ARC_STATES]; /* bytes per list; GHOST: bytes they had */
    uint64_t arc_limit;
} arc;
static pthread_once_t arc_once = PTHREAD_ONCE_INIT;

static void
arc_init(void)
{
    uint64_t mem = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

    mutex_init(&arc.arc_lock);
    for (int i = 0; i < ARC_STATES; i++)
        list_create(&arc.arc_list[i], offsetof(arc_hdr_t, ah_node));
    arc.arc_limit = MIN(mem / 8, ARC_LIMIT_DEFAULT);
}

static void
arc_enter(void)
{
    VERIFY0(pthread_once(&arc_once, arc_init));
    mutex_enter(&arc.arc_lock);
}

static void
arc_exit(void)
{
    mutex_exit(&arc.arc_lock);
}

/* ---- buffers ---- */

arc_buf_t *
arc_buf_alloc(uint32_t size)
{
    arc_buf_t *buf = xmalloc(sizeof(*buf));

    *buf = (arc_buf_t){.b_data = xmemalign(size), .b_size = size, .b_refs = 1};
    return buf;
}

arc_buf_t *
arc_buf_hold(arc_buf_t *buf)
{
    uint32_t refs = __atomic_add_fetch(&buf->b_refs, 1, __ATOMIC_RELAXED);

    ASSERT3U(refs, >, 1);
    (void)refs;
    return buf;
}

void
arc_buf_rele(arc_buf_t *buf)
{
    if (buf == NULL || __atomic_sub_fetch(&buf->b_refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    arc_buf_rele(buf->b_packed);
    free(buf->b_data);
    free(buf);
}

/* The cache's reference counts like any other. */
bool
arc_buf_writable(const arc_buf_t *buf)
{
    return __atomic_load_n(&buf->b_refs, __ATOMIC_ACQUIRE) == 1;
}

arc_buf_t *
arc_buf_own(arc_buf_t *buf)
{
    if (arc_buf_writable(buf))
        return buf;
    arc_buf_t *copy = arc_buf_alloc(buf->b_size);
    memcpy(copy->b_data, buf->b_data, buf->b_size);
    arc_buf_rele(buf);
    return copy;
}

arc_buf_t *
arc_buf_pack(arc_buf_t *bytes, enum zio_compress c, uint32_t size)
{
    arc_buf_t *buf = xmalloc(sizeof(*buf));

    *buf = (arc_buf_t){.b_size = size, .b_refs = 1, .b_packed = bytes, .b_compress = c};
    return buf;
}

int
arc_buf_unpack(const arc_buf_t *buf, arc_buf_t **plainp)
{
    const arc_buf_t *bytes = buf->b_packed;
    arc_buf_t *plain = arc_buf_alloc(buf->b_size);
    int err = zio_decompress_data(buf->b_compress, bytes->b_data, bytes->b_size, plain->b_data, buf->b_size);

    if (err != 0) {
        arc_buf_rele(plain);
        return err;
    }
    *plainp = plain;
    return 0;
}

/* ---- table; under arc_lock from here to the public calls ---- */

static arc_key_t
key_of(spa_t *spa, const blkptr_t *bp)
{
    return (arc_key_t){.ak_spa = spa,
                       .ak_dva = {bp->blk_dva[0].dva_word[0], bp->blk_dva[0].dva_word[1]},
                       .ak_birth = bp->blk_birth,
                       .ak_prop = bp->blk_prop,
                       .ak_cksum = bp->blk_cksum};
}

static arc_hdr_t **
bucket_of(const arc_key_t *key)
{
    uint64_t h = key->ak_dva[1] ^ key->ak_birth << 40 ^ (uint64_t)(uintptr_t)key->ak_spa << 20;

    h *= 0x9E3779B97F4A7C15ULL; /* golden ratio: spreads neighbours */
    return &arc.arc_table[h >> 48 & (ARC_BUCKETS - 1)];
}

static arc_hdr_t *
hdr_find(const arc_key_t *key)
{
    arc_hdr_t *hdr = *bucket_of(key);

    while (hdr != NULL && memcmp(&hdr->ah_key, key, sizeof(*key)) != 0)
        hdr = hdr->ah_next;
    return hdr;
}

static void
hdr_hash(arc_hdr_t *hdr)
{
    arc_hdr_t **bucket = bucket_of(&hdr->ah_key);

    hdr->ah_next = *bucket;
    *bucket = hdr;
    hdr->ah_hashed = true;
}

static void
hdr_unhash(arc_hdr_t *hdr)
{
    arc_hdr_t **p = bucket_of(&hdr->ah_key);

    while (*p != hdr)
        p = &(*p)->ah_next;
    *p = hdr->ah_next;
    hdr->ah_hashed = false;
}

/* ---- states ---- */

static void
hdr_leave_list(arc_hdr_t *hdr)
{
    if (hdr->ah_state == ARC_READING)
        return;
    list_remove(&arc.arc_list[hdr->ah_state], hdr);
    arc.arc_size[hdr->ah_state] -= hdr->ah_size;
}

static void
hdr_enter_list(arc_hdr_t *hdr, enum arc_state state)
{
    hdr->ah_state = state;
    list_insert_head(&arc.arc_list[state], hdr);
    arc.arc_size[state] += hdr->ah_size;
}

static void
hdr_drop_buf(arc_hdr_t *hdr)
{
    arc_buf_t *buf = hdr->ah_buf;

    if (buf == NULL)
        return;
    __atomic_store_n(&buf->b_hdr, NULL, __ATOMIC_RELAXED);
    ATOMIC_ADD(&hdr->ah_key.ak_spa->spa_stats.ss_arc_bytes, -(uint64_t)hdr->ah_size);
    hdr->ah_buf = NULL;
    arc_buf_rele(buf);
}

static void
hdr_free(arc_hdr_t *hdr)
{
    cv_destroy(&hdr->ah_cv);
    free(hdr);
}

/* Forget a header that is on a list. */
static void
hdr_destroy(arc_hdr_t *hdr)
{
    ASSERT(hdr->ah_state != ARC_READING);
    hdr_leave_list(hdr);
    hdr_drop_buf(hdr);
    hdr_unhash(hdr);
    hdr_free(hdr);
}

static void
hdr_to_ghost(arc_hdr_t *hdr)
{
    hdr_leave_list(hdr);
    hdr_drop_buf(hdr);
    hdr_enter_list(hdr, ARC_GHOST);
    while (arc.arc_size[ARC_GHOST] > arc.arc_limit)
        hdr_destroy(list_tail(&arc.arc_list[ARC_GHOST]));
}

/* The least valuable header whose buffer nobody holds; held ones move to the front. NULL: give up. */
static arc_hdr_t *
victim_find(enum arc_state state)
{
    list_t *list = &arc.arc_list[state];

    for (int i = 0; i < ARC_PASS_OVER; i++) {
        arc_hdr_t *hdr = list_tail(list);
        if (hdr == NULL || arc_buf_writable(hdr->ah_buf))
            return hdr;
        list_remove(list, hdr);
        list_insert_head(list, hdr);
    }
    return NULL;
}

static void
arc_make_room(void)
{
    while (arc.arc_size[ARC_RECENT] + arc.arc_size[ARC_FREQUENT] > arc.arc_limit) {
        bool recent =
            arc.arc_size[ARC_RECENT] > arc.arc_limit / 3 || list_is_empty(&arc.arc_list[ARC_FREQUENT]);
        arc_hdr_t *hdr = victim_find(recent ? ARC_RECENT : ARC_FREQUENT);
        if (hdr == NULL && (hdr = victim_find(recent ? ARC_FREQUENT : ARC_RECENT)) == NULL)
            return;
        if (hdr->ah_state == ARC_RECENT)
            hdr_to_ghost(hdr);
        else
            hdr_destroy(hdr);
    }
}

/* The header's buffer becomes cached. */
static void
hdr_fill(arc_hdr_t *hdr, arc_buf_t *buf, enum arc_state state)
{
    hdr->ah_buf = arc_buf_hold(buf);
    hdr->ah_size = buf->b_size;
    hdr->ah_when = gethrtime();
    __atomic_store_n(&buf->b_hdr, hdr, __ATOMIC_RELAXED);
    ATOMIC_ADD(&hdr->ah_key.ak_spa->spa_stats.ss_arc_bytes, (uint64_t)hdr->ah_size);
    hdr_enter_list(hdr, state);
    arc_make_room();
}

static void
hdr_touch(arc_hdr_t *hdr)
{
    if (hdr->ah_state == ARC_RECENT && gethrtime() - hdr->ah_when < ARC_SETTLE_NS)
        return;
    hdr_leave_list(hdr);
    hdr_enter_list(hdr, ARC_FREQUENT);
}

static arc_hdr_t *
hdr_create(const arc_key_t *key)
{
    arc_hdr_t *hdr = xzalloc(sizeof(*hdr));

    hdr->ah_key = *key;
    hdr->ah_state = ARC_READING;
    cv_init(&hdr->ah_cv);
    hdr_hash(hdr);
    return hdr;
}

/* ---- reading ---- */

static int
read_buf(spa_t *spa, const blkptr_t *bp, const zbookmark_t *zb, uint64_t since, arc_buf_t **bufp)
{
    arc_buf_t *buf =
        arc_buf_alloc((uint32_t)BP_GET_LSIZE(bp)); /* at most 32 MiB, whatever the pointer says */
    int err = zio_read_since(spa, bp, buf->b_data, zb, since);

    if (err != 0) {
        arc_buf_rele(buf);
        return err;
    }
    *bufp = buf;
    return 0;
}

/* The read of a READING header ended: wake the waiters, cache it unless it was forgotten meanwhile. */
static void
reading_done(arc_hdr_t *hdr, arc_buf_t *buf, int err)
{
    hdr->ah_err = err;
    hdr->ah_done = true;
    cv_broadcast(&hdr->ah_cv);
    if (hdr->ah_hashed && err != 0)
        hdr_unhash(hdr);
    if (hdr->ah_hashed && hdr->ah_waiters == 0) {
        hdr_fill(hdr, buf, hdr->ah_was_ghost ? ARC_FREQUENT : ARC_RECENT);
        return;
    }
    hdr->ah_buf = err == 0 ? arc_buf_hold(buf) : NULL; /* for the waiters; the last of them files it */
    if (hdr->ah_waiters == 0) {
        arc_buf_rele(hdr->ah_buf);
        hdr_free(hdr);
    }
}

/* Wait for another thread's read. */
static int
reading_wait(arc_hdr_t *hdr, arc_buf_t **bufp)
{
    hdr->ah_waiters++;
    while (!hdr->ah_done)
        cv_wait(&hdr->ah_cv, &arc.arc_lock);
    int err = hdr->ah_err;
    arc_buf_t *buf = hdr->ah_buf;
    if (err == 0)
        *bufp = arc_buf_hold(buf);
    if (--hdr->ah_waiters > 0)
        return err;
    hdr->ah_buf = NULL;
    if (hdr->ah_hashed)
        hdr_fill(hdr, buf, hdr->ah_was_ghost ? ARC_FREQUENT : ARC_RECENT);
    else
        hdr_free(hdr);
    arc_buf_rele(buf);
    return err;
}

/* A READING header for key, which is absent or a ghost. */
static arc_hdr_t *
reading_start(const arc_key_t *key, arc_hdr_t *ghost)
{
    if (ghost != NULL)
        hdr_destroy(ghost);
    arc_hdr_t *hdr = hdr_create(key);
    hdr->ah_was_ghost = ghost != NULL;
    return hdr;
}

/* Look the key up; ENOENT with *hdrp NULL (not wanted in the cache) or a fresh READING header: read it. */
static int
lookup(const arc_key_t *key, int flags, arc_buf_t **bufp, arc_hdr_t **hdrp)
{
    arc_hdr_t *hdr;

    *hdrp = NULL;
    hdr = hdr_find(key);
    if (hdr != NULL && hdr->ah_state != ARC_GHOST)
        ATOMIC_ADD(&key->ak_spa->spa_stats.ss_arc_hits, 1);
    else
        ATOMIC_ADD(&key->ak_spa->spa_stats.ss_arc_misses, 1);
    if (hdr != NULL && hdr->ah_state == ARC_READING)
        return reading_wait(hdr, bufp);
    if (hdr != NULL && hdr->ah_state != ARC_GHOST) {
        hdr_touch(hdr);
        *bufp = arc_buf_hold(hdr->ah_buf);
        return 0;
    }
    if ((flags & ARC_NOCACHE) == 0)
        *hdrp = reading_start(key, hdr);
    return ENOENT; /* no origin of an error: it stays within this file */
}

int
arc_read(spa_t *spa, const blkptr_t *bp, const zbookmark_t *zb, int flags, arc_buf_t **bufp)
{
    return arc_read_since(spa, bp, zb, flags, spa_committed_txg(spa), bufp);
}

int
arc_read_since(spa_t *spa, const blkptr_t *bp, const zbookmark_t *zb, int flags, uint64_t since,
               arc_buf_t **bufp)
{
    arc_key_t key = key_of(spa, bp);
    arc_hdr_t *hdr = NULL;

    *bufp = NULL;
    if (BP_IS_HOLE(bp))
        return SET_ERROR(EINVAL);
    if (BP_IS_EMBEDDED(bp))
        return read_buf(spa, bp, zb, since, bufp);
    arc_enter();
    int err = lookup(&key, flags, bufp, &hdr);
    arc_exit();
    if (err != ENOENT)
        return err;
    err = read_buf(spa, bp, zb, since, bufp);
    if (hdr != NULL) {
        arc_enter();
        reading_done(hdr, *bufp, err);
        arc_exit();
    }
    return err;
}

/* ---- prefetch ---- */

typedef struct prefetch {
    spa_t *pf_spa;
    blkptr_t pf_bp;
    zbookmark_t pf_zb;
    bool pf_has_zb;
    uint64_t pf_since;
} prefetch_t;

static void
prefetch_run(void *arg)
{
    prefetch_t *pf = arg;
    arc_buf_t *buf = NULL;

    if (spa_committed_txg(pf->pf_spa) - pf->pf_since < 2) /* it may have waited long: whose place is it now? */
        (void)arc_read_since(pf->pf_spa, &pf->pf_bp, pf->pf_has_zb ? &pf->pf_zb : NULL, 0, pf->pf_since,
                             &buf);
    arc_buf_rele(buf);
    ATOMIC_ADD(&pf->pf_spa->spa_prefetching, -(uint64_t)1);
    free(pf);
}

void
arc_prefetch(spa_t *spa, const blkptr_t *bp, const zbookmark_t *zb)
{
    arc_prefetch_since(spa, bp, zb, spa_committed_txg(spa));
}

void
arc_prefetch_since(spa_t *spa, const blkptr_t *bp, const zbookmark_t *zb, uint64_t since)
{
    arc_key_t key = key_of(spa, bp);

    if (BP_IS_HOLE(bp) || BP_IS_EMBEDDED(bp) || ATOMIC_LOAD(&spa->spa_prefetching) >= ARC_PREFETCH_MAX)
        return;
    arc_enter();
    arc_hdr_t *hdr = hdr_find(&key);
    bool there = hdr != NULL && hdr->ah_state != ARC_GHOST;
    arc_exit();
    if (there)
        return;
    prefetch_t *pf = xmalloc(sizeof(*pf));
    *pf = (prefetch_t){.pf_spa = spa, .pf_bp = *bp, .pf_has_zb = zb != NULL, .pf_since = since};
    if (zb != NULL)
        pf->pf_zb = *zb;
    ATOMIC_ADD(&spa->spa_prefetching, 1);
    taskq_dispatch(spa->spa_tq, prefetch_run, pf);
}

/* ---- in and out by hand ---- */

void
arc_insert(spa_t *spa, const blkptr_t *bp, arc_buf_t *buf)
{
    arc_key_t key = key_of(spa, bp);

    if (BP_IS_HOLE(bp) || BP_IS_EMBEDDED(bp) || buf->b_packed != NULL)
        return;
    arc_enter();
    arc_hdr_t *hdr = hdr_find(&key);
    bool ghost = hdr != NULL && hdr->ah_state == ARC_GHOST;
    if (hdr == NULL || ghost) {
        hdr = reading_start(&key, hdr);
        hdr_fill(hdr, buf, ghost ? ARC_FREQUENT : ARC_RECENT);
    }
    arc_exit();
}

void
arc_forget(spa_t *spa, const blkptr_t *bp)
{
    arc_key_t key = key_of(spa, bp);

    if (BP_IS_HOLE(bp) || BP_IS_EMBEDDED(bp))
        return;
    arc_enter();
    arc_hdr_t *hdr = hdr_find(&key);
    if (hdr != NULL && hdr->ah_state == ARC_READING)
        hdr_unhash(hdr); /* its reader and waiters get the contents, later ones do not find it */
    else if (hdr != NULL)
        hdr_destroy(hdr);
    arc_exit();
}

void
arc_set_limit(uint64_t bytes)
{
    arc_enter();
    arc.arc_limit = MAX(bytes, ARC_LIMIT_MIN);
    arc_make_room();
    while (arc.arc_size[ARC_GHOST] > arc.arc_limit)
        hdr_destroy(list_tail(&arc.arc_list[ARC_GHOST]));
    arc_exit();
}

/* The pool goes away: nobody reads from it any more. */
void
arc_drop_spa(spa_t *spa)
{
    arc_enter();
    for (int state = 0; state < ARC_STATES; state++) {
        arc_hdr_t *next;
        for (arc_hdr_t *hdr = list_head(&arc.arc_list[state]); hdr != NULL; hdr = next) {
            next = list_next(&arc.arc_list[state], hdr);
            if (hdr->ah_key.ak_spa == spa)
                hdr_destroy(hdr);
        }
    }
    arc_exit();
}
