/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * deadlist.c - the blocks a dataset no longer has but the snapshot before it still does.
 *
 * THE IDEA. A block is written in some txg and given up in a later one. While a snapshot was taken in between, the space
 * cannot be freed: the head notes the pointer on its deadlist instead. Later, when a snapshot is destroyed, one question is
 * asked of every block: does any *other* snapshot still hold it? The birth txg answers it without looking at the others:
 *
 *      snapshots        a@67          b@107         head
 *      ------------------|--------------|-------------|---->  txg
 *      block X            born 80 ...... 107 ..given up 120     lives in b only
 *      block Y     born 50 ............. 107 ..given up 130     lives in a and b
 *
 * Both are on the head's deadlist. Destroying b frees X (born after 67, so not in a) and keeps Y (now on the list for a's sake).
 * A list sorted by birth would have to be searched; instead the list is cut into buckets at the snapshots' txgs, so that the answer is the
 * same for a whole bucket:
 *
 *      key       0          67           107
 *                |----Y-----|----X--------|             bucket k holds births in (k, next key]
 *
 * and destroying b moves bucket 67 as a whole, unread, to the pool's list of blocks to free: a bucket is a bpobj, and a
 * bpobj can hang under another one. The cost of destroying a snapshot does not depend on its size.
 *
 * INVARIANTS
 *  1. Block p is on the deadlist of dataset D <=> p is in D's previous snapshot and not in D.
 *  2. Bucket k holds the blocks with k < birth <= next key; nothing on the list was born after D's previous-snapshot txg.
 *  3. The keys of D are the previous-snapshot txgs of all snapshots before D: 0, then their creation txgs but for
 *     the latest. D may have more keys (of destroyed snapshots), never fewer.
 *  4. The header's sums are the sums of the buckets; a bucket's sums include the bpobjs below it.
 *  5. A bucket that was never given a block names the pool's one empty bpobj (empty_bpobj.c), and is not opened. Blocks come to heads in
 *     the part of a txg without the config lock, so a bucket's own bpobj is first in memory only (b_moved); the ZAP and the count of
 *     references follow with the header, in dsl_deadlist_sync().
 *
 * How the keys move:
 *     snapshot of head H     the snapshot takes H's list; H gets an empty one: the same keys and H's old previous-snapshot txg
 *     destroy snapshot S     of the next dataset N: buckets >= S's previous txg are freed; then S's list is merged into N's
 *                            (every bucket under the same or the next lower key); heads after N lose the key S's txg:
 *                            that bucket joins the one below
 *     clone of S             an empty list with the head's keys below S's txg
 *
 * Typical sequence:   dsl_deadlist_open() ... dsl_deadlist_insert()* ... dsl_deadlist_sync() once per txg ... dsl_deadlist_close()
 *
 * On disk: a ZAP, hex(key) -> bpobj, with the sums in its bonus. Pools before version 26 have one plain bpobj; we only read
 * those. ZFS: module/zfs/dsl_deadlist.c; there the tree is loaded when first needed and may be emptied; here it is loaded at open.
 */
#include <stdio.h>
#include "dsl_impl.h"

typedef struct bucket {
    avl_node_t b_link;
    uint64_t b_key;
    uint64_t b_object; /* dl_lock; so the next two */
    bool b_moved;      /* on disk the bucket still names the shared empty bpobj */
    bpobj_t *b_bpobj;  /* NULL: not open */
} bucket_t;

struct dsl_deadlist {
    dsl_pool_t *dl_pool;
    uint64_t dl_object;
    avl_tree_t dl_buckets; /* changed in sync tasks, so read under the config lock */
    uint64_t dl_released;  /* references to the shared empty bpobj given up, to be counted; syncing thread */
    kmutex_t dl_lock;      /* below */
    dsl_deadlist_phys_t dl_phys;
    bool dl_dirty;
};

static int
bucket_compare(const void *a, const void *b)
{
    return AVL_CMP(((const bucket_t *)a)->b_key, ((const bucket_t *)b)->b_key);
}

/* ---- buckets ---- */

/* Has it no bpobj of its own? Syncing thread, or dl_lock held. */
static bool
bucket_is_shared(const dsl_deadlist_t *dl, const bucket_t *b)
{
    return b->b_object != 0 && b->b_object == dl->dl_pool->dp_empty_bpobj;
}

/* *bpop NULL: nothing is in it. */
static int
bucket_open(dsl_deadlist_t *dl, bucket_t *b, bpobj_t **bpop)
{
    int err = 0;

    mutex_enter(&dl->dl_lock);
    if (b->b_bpobj == NULL && !bucket_is_shared(dl, b))
        err = bpobj_open(pool_mos(dl->dl_pool), b->b_object, &b->b_bpobj);
    *bpop = b->b_bpobj;
    mutex_exit(&dl->dl_lock);
    return err;
}

/* The shared empty bpobj makes room for object. */
static void
bucket_set(dsl_deadlist_t *dl, bucket_t *b, uint64_t object)
{
    mutex_enter(&dl->dl_lock);
    b->b_object = object;
    b->b_moved = true;
    dl->dl_released++;
    dl->dl_dirty = true;
    mutex_exit(&dl->dl_lock);
}

/* A bpobj to add blocks to. NULL: it is damaged, the pool is suspended. Tasks' checks have looked before: dsl_deadlist_verify. */
static bpobj_t *
bucket_own(dsl_deadlist_t *dl, bucket_t *b, dmu_tx_t *tx)
{
    bpobj_t *bpo = NULL;

    if (b != NULL && bucket_is_shared(dl, b)) {
        uint64_t object = bpobj_alloc(pool_mos(dl->dl_pool), tx);
        if (object == 0)
            return NULL;
        bucket_set(dl, b, object);
    }
    return mos_must(dl->dl_pool, b == NULL ? SET_ERROR(EIO) : bucket_open(dl, b, &bpo)) ? bpo : NULL;
}

/* All that object lists is from now on in b. */
static void
bucket_take(dsl_deadlist_t *dl, bucket_t *b, uint64_t object, dmu_tx_t *tx)
{
    bpobj_t *bpo;

    if (b != NULL && bucket_is_shared(dl, b))
        bucket_set(dl, b, object);
    else if ((bpo = bucket_own(dl, b, tx)) != NULL)
        bpobj_enqueue_subobj(bpo, object, tx);
}

static void
bucket_close(bucket_t *b)
{
    if (b->b_bpobj != NULL)
        bpobj_close(b->b_bpobj);
    b->b_bpobj = NULL;
}

static void
bucket_remember(dsl_deadlist_t *dl, uint64_t key, uint64_t object)
{
    bucket_t *b = xzalloc(sizeof(*b));

    b->b_key = key;
    b->b_object = object;
    avl_add(&dl->dl_buckets, b);
}

static void
bucket_forget(dsl_deadlist_t *dl, bucket_t *b, dmu_tx_t *tx)
{
    char name[20];

    if (bucket_is_shared(dl, b)) {
        dl->dl_released++;
        dl->dl_dirty = true;
    }
    bucket_close(b);
    snprintf(name, sizeof(name), "%llx", (unsigned long long)b->b_key);
    mos_must(dl->dl_pool, zap_remove(pool_mos(dl->dl_pool), dl->dl_object, name, tx));
    avl_remove(&dl->dl_buckets, b);
    free(b);
}

/* The bucket with the largest key <= key (below: < key). */
static bucket_t *
bucket_at(dsl_deadlist_t *dl, uint64_t key, bool below)
{
    bucket_t want = {.b_key = key};
    avl_index_t where;
    bucket_t *b = avl_find(&dl->dl_buckets, &want, &where);

    if (b == NULL)
        return avl_nearest(&dl->dl_buckets, where, 0);
    return below ? avl_prev(&dl->dl_buckets, b) : b;
}

/* The bucket with the smallest key >= key. */
static bucket_t *
bucket_from(dsl_deadlist_t *dl, uint64_t key)
{
    bucket_t want = {.b_key = key};
    avl_index_t where;
    bucket_t *b = avl_find(&dl->dl_buckets, &want, &where);

    return b != NULL ? b : avl_nearest(&dl->dl_buckets, where, 1);
}

static void
deadlist_count(dsl_deadlist_t *dl, int64_t used, int64_t comp, int64_t uncomp)
{
    mutex_enter(&dl->dl_lock);
    dl->dl_phys.dl_used += (uint64_t)used;
    dl->dl_phys.dl_comp += (uint64_t)comp;
    dl->dl_phys.dl_uncomp += (uint64_t)uncomp;
    dl->dl_dirty = true;
    mutex_exit(&dl->dl_lock);
}

/* ---- life ---- */

uint64_t
dsl_deadlist_alloc(dsl_pool_t *dp, dmu_tx_t *tx)
{
    return zap_create(pool_mos(dp), DMU_OT_DEADLIST, DMU_OT_DEADLIST_HDR, sizeof(dsl_deadlist_phys_t), tx);
}

void
dsl_deadlist_free(dsl_pool_t *dp, uint64_t dlobj, dmu_tx_t *tx)
{
    objset_t *mos = pool_mos(dp);
    zap_cursor_t zc;
    zap_attribute_t za;
    uint64_t shared = 0;

    for (zap_cursor_init(&zc, mos, dlobj); zap_cursor_retrieve(&zc, &za) == 0; zap_cursor_advance(&zc)) {
        if (za.za_first_integer != 0 && za.za_first_integer == dp->dp_empty_bpobj)
            shared++;
        else
            bpobj_free(mos, za.za_first_integer, tx);
    }
    zap_cursor_fini(&zc);
    empty_bpobj_rele(dp, shared, tx);
    mos_must(dp, zap_destroy(mos, dlobj, tx));
}

static int
deadlist_load(dsl_deadlist_t *dl)
{
    zap_cursor_t zc;
    zap_attribute_t za;
    char name[20];
    int err;

    zap_cursor_init(&zc, pool_mos(dl->dl_pool), dl->dl_object);
    while ((err = zap_cursor_retrieve(&zc, &za)) == 0) {
        bucket_t want = {.b_key = strtoull(za.za_name, NULL, 16)};
        snprintf(name, sizeof(name), "%llx", (unsigned long long)want.b_key);
        if (strcmp(name, za.za_name) != 0 || avl_find(&dl->dl_buckets, &want, NULL) != NULL) {
            err = SET_ERROR(EIO); /* not a key as it is written, or "a" and "A" */
            break;
        }
        bucket_remember(dl, want.b_key, za.za_first_integer);
        zap_cursor_advance(&zc);
    }
    zap_cursor_fini(&zc);
    return err == ENOENT ? 0 : err;
}

static dsl_deadlist_t *
deadlist_make(dsl_pool_t *dp, uint64_t dlobj)
{
    dsl_deadlist_t *dl = xzalloc(sizeof(*dl));

    dl->dl_pool = dp;
    dl->dl_object = dlobj;
    avl_create(&dl->dl_buckets, bucket_compare, offsetof(bucket_t, b_link));
    mutex_init(&dl->dl_lock);
    return dl;
}

dsl_deadlist_t *
dsl_deadlist_none(dsl_pool_t *dp)
{
    return deadlist_make(dp, 0);
}

int
dsl_deadlist_open(dsl_pool_t *dp, uint64_t dlobj, dsl_deadlist_t **dlp)
{
    dsl_deadlist_t *dl = deadlist_make(dp, dlobj);
    dmu_object_info_t doi;
    dmu_buf_t *db;
    int err = dmu_object_info(pool_mos(dp), dlobj, &doi);

    if (err == 0 && doi.doi_bonus_type != DMU_OT_DEADLIST_HDR)
        err = SET_ERROR(ENOTSUP); /* from before version 26 */
    if (err == 0 && (err = dmu_bonus_hold(pool_mos(dp), dlobj, &db)) == 0) {
        memcpy(&dl->dl_phys, db->db_data, MIN(db->db_size, sizeof(dl->dl_phys)));
        dmu_buf_rele(db);
        err = deadlist_load(dl);
    }
    if (err != 0) {
        dsl_deadlist_close(dl);
        return err;
    }
    *dlp = dl;
    return 0;
}

void
dsl_deadlist_close(dsl_deadlist_t *dl)
{
    void *cookie = NULL;
    bucket_t *b;

    ASSERT(!dl->dl_dirty);
    while ((b = avl_destroy_nodes(&dl->dl_buckets, &cookie)) != NULL) {
        bucket_close(b);
        free(b);
    }
    avl_destroy(&dl->dl_buckets);
    mutex_destroy(&dl->dl_lock);
    free(dl);
}

/* Invariant 5: what the buckets name now, and that so many fewer name the shared one. */
static void
sync_buckets(dsl_deadlist_t *dl, dmu_tx_t *tx)
{
    char name[20];

    if (dl->dl_released == 0)
        return;
    for (bucket_t *b = avl_first(&dl->dl_buckets); b != NULL; b = avl_next(&dl->dl_buckets, b)) {
        if (!b->b_moved)
            continue;
        snprintf(name, sizeof(name), "%llx", (unsigned long long)b->b_key);
        mos_must(dl->dl_pool, zap_update_u64(pool_mos(dl->dl_pool), dl->dl_object, name, b->b_object, tx));
        b->b_moved = false;
    }
    empty_bpobj_rele(dl->dl_pool, dl->dl_released, tx);
    dl->dl_released = 0;
}

void
dsl_deadlist_sync(dsl_deadlist_t *dl, dmu_tx_t *tx)
{
    dmu_buf_t *db;

    if (!dl->dl_dirty)
        return;
    sync_buckets(dl, tx);
    if (!mos_bonus_for_sync(dl->dl_pool, dl->dl_object, &db))
        return;
    dmu_buf_will_dirty(db, tx);
    mutex_enter(&dl->dl_lock);
    memcpy(db->db_data, &dl->dl_phys, sizeof(dl->dl_phys));
    dl->dl_dirty = false;
    mutex_exit(&dl->dl_lock);
    dmu_buf_rele(db);
}

/* ---- contents ---- */

/* A damaged list suspends the pool: the txg under way must not be committed. */
void
dsl_deadlist_insert(dsl_deadlist_t *dl, const blkptr_t *bp, dmu_tx_t *tx)
{
    bpobj_t *bpo = bucket_own(dl, bucket_at(dl, bp->blk_birth, true), tx); /* invariant 3: there is key 0 at least */

    if (bpo == NULL)
        return;
    bpobj_enqueue(bpo, bp, tx);
    deadlist_count(dl, (int64_t)bp_get_asize(bp), (int64_t)BP_GET_PSIZE(bp), (int64_t)bp_get_ucsize(bp));
}

int
dsl_deadlist_verify_from(dsl_pool_t *dp, uint64_t dlobj, uint64_t mintxg)
{
    dsl_deadlist_t *dl;
    bpobj_t *bpo;
    int err = empty_bpobj_check(dp);

    if (err != 0 || (err = dsl_deadlist_open(dp, dlobj, &dl)) != 0)
        return err;
    for (bucket_t *b = bucket_from(dl, mintxg); b != NULL && err == 0; b = avl_next(&dl->dl_buckets, b))
        err = bucket_open(dl, b, &bpo);
    dsl_deadlist_close(dl);
    return err;
}

int
dsl_deadlist_verify(dsl_pool_t *dp, uint64_t dlobj)
{
    return dsl_deadlist_verify_from(dp, dlobj, 0);
}

void
dsl_deadlist_add_key(dsl_deadlist_t *dl, uint64_t mintxg, dmu_tx_t *tx)
{
    uint64_t object = empty_bpobj_hold(dl->dl_pool, 1, tx);

    if (object == 0)
        object = bpobj_alloc(pool_mos(dl->dl_pool), tx);
    mos_must(dl->dl_pool, zap_add_int_key(pool_mos(dl->dl_pool), dl->dl_object, mintxg, object, tx));
    bucket_remember(dl, mintxg, object);
}

void
dsl_deadlist_remove_key(dsl_deadlist_t *dl, uint64_t mintxg, dmu_tx_t *tx)
{
    bucket_t want = {.b_key = mintxg};
    bucket_t *b = avl_find(&dl->dl_buckets, &want, NULL);

    if (b == NULL)
        return;
    bucket_t *below = avl_prev(&dl->dl_buckets, b);
    if (below == NULL)
        return; /* the lowest stays: there is nowhere else for its blocks */
    uint64_t object = b->b_object;
    bool shared = bucket_is_shared(dl, b);
    bucket_forget(dl, b, tx);
    if (!shared)
        bucket_take(dl, below, object, tx);
}

uint64_t
dsl_deadlist_clone(dsl_deadlist_t *dl, uint64_t maxtxg, dmu_tx_t *tx)
{
    objset_t *mos = pool_mos(dl->dl_pool);
    uint64_t newobj = dsl_deadlist_alloc(dl->dl_pool, tx), n = 0;
    bucket_t *b;

    for (b = avl_first(&dl->dl_buckets); b != NULL && b->b_key < maxtxg; b = avl_next(&dl->dl_buckets, b))
        n++;
    uint64_t shared = empty_bpobj_hold(dl->dl_pool, n, tx);
    for (b = avl_first(&dl->dl_buckets); n > 0; b = avl_next(&dl->dl_buckets, b), n--)
        mos_must(dl->dl_pool, zap_add_int_key(mos, newobj, b->b_key, shared != 0 ? shared : bpobj_alloc(mos, tx), tx));
    return newobj;
}

/* ---- space ---- */

void
dsl_deadlist_space(dsl_deadlist_t *dl, uint64_t *used, uint64_t *comp, uint64_t *uncomp)
{
    mutex_enter(&dl->dl_lock);
    *used = dl->dl_phys.dl_used;
    *comp = dl->dl_phys.dl_comp;
    *uncomp = dl->dl_phys.dl_uncomp;
    mutex_exit(&dl->dl_lock);
}

int
dsl_deadlist_space_range(dsl_deadlist_t *dl, uint64_t mintxg, uint64_t maxtxg, uint64_t *used, uint64_t *comp,
                         uint64_t *uncomp)
{
    uint64_t u, c, n;
    bpobj_t *bpo;
    int err = 0;

    *used = *comp = *uncomp = 0;
    for (bucket_t *b = bucket_from(dl, mintxg); b != NULL && b->b_key < maxtxg;
         b = avl_next(&dl->dl_buckets, b)) {
        if ((err = bucket_open(dl, b, &bpo)) != 0)
            break;
        if (bpo == NULL)
            continue;
        if ((err = bpobj_space(bpo, &u, &c, &n)) != 0)
            break;
        *used += u;
        *comp += c;
        *uncomp += n;
    }
    return err;
}

int
dsl_deadlist_obj_used(dsl_pool_t *dp, uint64_t dlobj, uint64_t *used)
{
    dmu_object_info_t doi;
    dmu_buf_t *db;
    int err;

    if ((err = dmu_object_info(pool_mos(dp), dlobj, &doi)) != 0 ||
        (err = dmu_bonus_hold(pool_mos(dp), dlobj, &db)) != 0)
        return err;
    if (doi.doi_bonus_type == DMU_OT_DEADLIST_HDR)
        *used = ((const dsl_deadlist_phys_t *)db->db_data)->dl_used;
    else if (db->db_size >= 2 * sizeof(uint64_t))
        *used = ((const bpobj_phys_t *)db->db_data)->bpo_bytes;
    else
        *used = 0;
    dmu_buf_rele(db);
    return 0;
}

/* ---- whole buckets change hands ---- */

static void
deadlist_insert_bucket(dsl_deadlist_t *dl, uint64_t key, uint64_t object, dmu_tx_t *tx)
{
    uint64_t used, comp, uncomp;
    bpobj_t *from;

    if (!mos_must(dl->dl_pool, bpobj_open(pool_mos(dl->dl_pool), object, &from)))
        return;
    int err = bpobj_space(from, &used, &comp, &uncomp);
    bpobj_close(from);
    if (!mos_must(dl->dl_pool, err))
        return;
    bucket_take(dl, bucket_at(dl, key, false), object, tx);
    deadlist_count(dl, (int64_t)used, (int64_t)comp, (int64_t)uncomp);
}

void
dsl_deadlist_merge(dsl_deadlist_t *dl, uint64_t otherobj, dmu_tx_t *tx)
{
    dsl_deadlist_t *other;
    uint64_t shared = 0;
    bucket_t *b;

    if (!mos_must(dl->dl_pool, dsl_deadlist_open(dl->dl_pool, otherobj, &other)))
        return;
    for (b = avl_first(&other->dl_buckets); b != NULL; b = avl_next(&other->dl_buckets, b)) {
        if (bucket_is_shared(other, b))
            shared++;
        else
            deadlist_insert_bucket(dl, b->b_key, b->b_object, tx);
    }
    dsl_deadlist_close(other);
    empty_bpobj_rele(dl->dl_pool, shared, tx);
    mos_must(dl->dl_pool, zap_destroy(pool_mos(dl->dl_pool), otherobj, tx));
}

void
dsl_deadlist_move_bpobj(dsl_deadlist_t *dl, bpobj_t *bpo, uint64_t mintxg, dmu_tx_t *tx)
{
    uint64_t used = 0, comp = 0, uncomp = 0;
    bpobj_t *from;
    bucket_t *b;

    while ((b = bucket_from(dl, mintxg)) != NULL) {
        uint64_t object = b->b_object;
        if (!mos_must(dl->dl_pool, bucket_open(dl, b, &from)) ||
            (from != NULL && !mos_must(dl->dl_pool, bpobj_space(from, &used, &comp, &uncomp))))
            return;
        bucket_forget(dl, b, tx); /* which closes it */
        if (from == NULL)
            continue;
        bpobj_enqueue_subobj(bpo, object, tx);
        deadlist_count(dl, -(int64_t)used, -(int64_t)comp, -(int64_t)uncomp);
    }
}

/* ---- looking at all of it ---- */

typedef struct walk {
    int (*w_cb)(void *arg, uint64_t key, const blkptr_t *bp);
    void *w_arg;
    uint64_t w_key;
} walk_t;

static int
walk_block(void *arg, const blkptr_t *bp, dmu_tx_t *tx)
{
    walk_t *w = arg;

    return w->w_cb(w->w_arg, w->w_key, bp);
}

int
dsl_deadlist_walk(dsl_deadlist_t *dl, int (*cb)(void *arg, uint64_t key, const blkptr_t *bp), void *arg)
{
    walk_t w = {.w_cb = cb, .w_arg = arg};
    bpobj_t *bpo;
    int err = 0;

    for (bucket_t *b = avl_first(&dl->dl_buckets); b != NULL && err == 0; b = avl_next(&dl->dl_buckets, b)) {
        w.w_key = b->b_key;
        if ((err = bucket_open(dl, b, &bpo)) == 0 && bpo != NULL)
            err = bpobj_iterate_nofree(bpo, walk_block, &w);
    }
    return err;
}

/* Invariants 2 and 4, for tests and check.c: the bucket's upper bound is the next key. */
uint64_t
dsl_deadlist_next_key(dsl_deadlist_t *dl, uint64_t key)
{
    bucket_t *b = bucket_from(dl, key + 1);

    return b != NULL ? b->b_key : UINT64_MAX;
}
