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
    uint64_t b_object;
    bpobj_t *b_bpobj; /* NULL: not open */
} bucket_t;

struct dsl_deadlist {
    dsl_pool_t *dl_pool;
    uint64_t dl_object;
    avl_tree_t dl_buckets; /* changed in sync tasks, so read under the config lock; b_bpobj: dl_lock */
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

static int
bucket_open(dsl_deadlist_t *dl, bucket_t *b)
{
    mutex_enter(&dl->dl_lock);
    int err = b->b_bpobj != NULL ? 0 : bpobj_open(pool_mos(dl->dl_pool), b->b_object, &b->b_bpobj);
    mutex_exit(&dl->dl_lock);
    return err;
}

/* For tasks: their check has looked (dsl_deadlist_verify). NULL: the pool is suspended. */
static bpobj_t *
bucket_bpobj(dsl_deadlist_t *dl, bucket_t *b)
{
    return mos_must(dl->dl_pool, b == NULL ? SET_ERROR(EIO) : bucket_open(dl, b)) ? b->b_bpobj : NULL;
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

    for (zap_cursor_init(&zc, mos, dlobj); zap_cursor_retrieve(&zc, &za) == 0; zap_cursor_advance(&zc))
        bpobj_free(mos, za.za_first_integer, tx);
    zap_cursor_fini(&zc);
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

void
dsl_deadlist_sync(dsl_deadlist_t *dl, dmu_tx_t *tx)
{
    dmu_buf_t *db;

    if (!dl->dl_dirty)
        return;
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
    bucket_t *b = bucket_at(dl, bp->blk_birth, true); /* invariant 3: there is key 0 at least */
    int err = b == NULL ? SET_ERROR(EIO) : bucket_open(dl, b);

    if (!mos_must(dl->dl_pool, err))
        return;
    bpobj_enqueue(b->b_bpobj, bp, tx);
    deadlist_count(dl, (int64_t)bp_get_asize(bp), (int64_t)BP_GET_PSIZE(bp), (int64_t)bp_get_ucsize(bp));
}

int
dsl_deadlist_verify_from(dsl_pool_t *dp, uint64_t dlobj, uint64_t mintxg)
{
    dsl_deadlist_t *dl;
    int err = dsl_deadlist_open(dp, dlobj, &dl);

    if (err != 0)
        return err;
    for (bucket_t *b = bucket_from(dl, mintxg); b != NULL && err == 0; b = avl_next(&dl->dl_buckets, b))
        err = bucket_open(dl, b);
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
    uint64_t object = bpobj_alloc(pool_mos(dl->dl_pool), tx);

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
    bpobj_t *bpo = bucket_bpobj(dl, below);
    bucket_forget(dl, b, tx);
    if (bpo != NULL)
        bpobj_enqueue_subobj(bpo, object, tx);
}

uint64_t
dsl_deadlist_clone(dsl_deadlist_t *dl, uint64_t maxtxg, dmu_tx_t *tx)
{
    objset_t *mos = pool_mos(dl->dl_pool);
    uint64_t newobj = dsl_deadlist_alloc(dl->dl_pool, tx);

    for (bucket_t *b = avl_first(&dl->dl_buckets); b != NULL && b->b_key < maxtxg;
         b = avl_next(&dl->dl_buckets, b))
        mos_must(dl->dl_pool, zap_add_int_key(mos, newobj, b->b_key, bpobj_alloc(mos, tx), tx));
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
    int err = 0;

    *used = *comp = *uncomp = 0;
    for (bucket_t *b = bucket_from(dl, mintxg); b != NULL && b->b_key < maxtxg;
         b = avl_next(&dl->dl_buckets, b)) {
        if ((err = bucket_open(dl, b)) != 0 || (err = bpobj_space(b->b_bpobj, &u, &c, &n)) != 0)
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
    objset_t *mos = pool_mos(dl->dl_pool);
    bpobj_t *to = bucket_bpobj(dl, bucket_at(dl, key, false)), *from;
    uint64_t used, comp, uncomp;

    if (to == NULL || !mos_must(dl->dl_pool, bpobj_open(mos, object, &from)))
        return;
    int err = bpobj_space(from, &used, &comp, &uncomp);
    bpobj_close(from);
    if (!mos_must(dl->dl_pool, err))
        return;
    bpobj_enqueue_subobj(to, object, tx);
    deadlist_count(dl, (int64_t)used, (int64_t)comp, (int64_t)uncomp);
}

void
dsl_deadlist_merge(dsl_deadlist_t *dl, uint64_t otherobj, dmu_tx_t *tx)
{
    dsl_deadlist_t *other;
    bucket_t *b;

    if (!mos_must(dl->dl_pool, dsl_deadlist_open(dl->dl_pool, otherobj, &other)))
        return;
    while ((b = avl_first(&other->dl_buckets)) != NULL) {
        uint64_t key = b->b_key, object = b->b_object;
        bucket_forget(other, b, tx);
        deadlist_insert_bucket(dl, key, object, tx);
    }
    memset(&other->dl_phys, 0, sizeof(other->dl_phys));
    other->dl_dirty = true;
    dsl_deadlist_sync(other, tx);
    dsl_deadlist_close(other);
}

void
dsl_deadlist_move_bpobj(dsl_deadlist_t *dl, bpobj_t *bpo, uint64_t mintxg, dmu_tx_t *tx)
{
    uint64_t used, comp, uncomp;
    bucket_t *b;

    while ((b = bucket_from(dl, mintxg)) != NULL) {
        uint64_t object = b->b_object;
        if (bucket_bpobj(dl, b) == NULL ||
            !mos_must(dl->dl_pool, bpobj_space(b->b_bpobj, &used, &comp, &uncomp)))
            return;
        bucket_forget(dl, b, tx);
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
    int err = 0;

    for (bucket_t *b = avl_first(&dl->dl_buckets); b != NULL && err == 0; b = avl_next(&dl->dl_buckets, b)) {
        w.w_key = b->b_key;
        if ((err = bucket_open(dl, b)) == 0)
            err = bpobj_iterate_nofree(b->b_bpobj, walk_block, &w);
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
