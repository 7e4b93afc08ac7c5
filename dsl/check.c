/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check.c - the pool's own judge: every rule that the other files promise to keep, worked out again from the blocks alone.
 *
 * It trusts nothing that is counted. Each dataset is walked as a whole; from the sets of blocks found the checker derives
 *
 *     space      each block in the sets, free_bpobj, bptree and the MOS: allocated exactly once, and nothing else is allocated
 *     dataset    referenced = its blocks; unique (head) = those born after the previous snapshot,
 *                unique (snapshot) = born after its previous one, and not in the next dataset
 *     deadlist   = blocks of the previous snapshot that are not in the dataset, each in the bucket of its birth; sums; keys
 *     directory  HEAD, SNAP (each block once), CHILD = sum of the children's used, CHILD_RSRV = sum of what their reservations promise
 *                beyond, REFRSRV = what the head's refreservation lacks, used = their sum
 *     links      prev and next, number of children, next_clones and clones
 *     MOS        every object is referred to; feature counts (check_mos.c)
 *
 * Blocks are told apart by the place of their first copy: no two blocks that live share one. Embedded blocks have no place: they
 * count in no set. Cost: the whole pool once per snapshot. For tests and `cowbird inspect`; zdb -bcc does the first line only.
 *
 * Nothing may be syncing meanwhile. Config lock: taken for reading. Of pools of older versions only what those have is checked: no
 * deadlist buckets, and not that nothing else is allocated (intent logs are not followed).
 */
#include <stdarg.h>
#include <stdio.h>
#include "check_impl.h"

void
check_bad(check_t *ck, const char *fmt, ...)
{
    char text[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    ck->ck_bad++;
    if (ck->ck_report != NULL)
        ck->ck_report(ck->ck_arg, text);
}

static void
expect(check_t *ck, const char *who, const char *what, uint64_t says, uint64_t is)
{
    if (says != is)
        check_bad(ck, "%s: %s says %llu, is %llu", who, what, (unsigned long long)says,
                  (unsigned long long)is);
}

static bool
is_old(const check_t *ck)
{
    return spa_version(ck->ck_pool->dp_spa) != SPA_VERSION;
}

/* ---- claims: who uses which bytes of the device ---- */

static void
claim_range(check_t *ck, uint64_t off, uint64_t size)
{
    if (range_tree_overlaps(ck->ck_claimed, off, size))
        check_bad(ck, "bytes %llu+%llu are used twice", (unsigned long long)off, (unsigned long long)size);
    range_tree_set(ck->ck_claimed, off, size);
}

static void claim(check_t *ck, const blkptr_t *bp, int depth);

/* A gang header is read like an unchecked block of 512 bytes; its contents then are pointers. */
static void
claim_gang(check_t *ck, const blkptr_t *bp, int depth)
{
    uint64_t asize = MAX(SPA_GANGBLOCKSIZE, 1ULL << spa_ashift(ck->ck_pool->dp_spa));
    blkptr_t pieces[SPA_GANGBLOCKSIZE / sizeof(blkptr_t)], h = *bp;

    for (int d = 0; d < SPA_DVAS_PER_BP && DVA_IS_VALID(&h.blk_dva[d]); d++) {
        DVA_SET_GANG(&h.blk_dva[d], 0);
        DVA_SET_ASIZE(&h.blk_dva[d], asize);
        claim_range(ck, DVA_GET_OFFSET(&h.blk_dva[d]), asize);
    }
    BP_SET_LSIZE(&h, SPA_GANGBLOCKSIZE);
    BP_SET_PSIZE(&h, SPA_GANGBLOCKSIZE);
    BP_SET_COMPRESS(&h, ZIO_COMPRESS_OFF);
    BP_SET_CHECKSUM(&h, ZIO_CHECKSUM_OFF);
    if (depth > 8 || zio_read(ck->ck_pool->dp_spa, &h, pieces, NULL) != 0) {
        check_bad(ck, "a gang header is unreadable");
        return;
    }
    for (int i = 0; i < SPA_GBH_NBLKPTRS; i++)
        claim(ck, &pieces[i], depth + 1);
}

static void
claim(check_t *ck, const blkptr_t *bp, int depth)
{
    if (BP_IS_HOLE(bp) || BP_IS_EMBEDDED(bp))
        return;
    if (BP_IS_GANG(bp)) {
        claim_gang(ck, bp, depth);
        return;
    }
    for (int d = 0; d < SPA_DVAS_PER_BP; d++)
        if (DVA_IS_VALID(&bp->blk_dva[d]))
            claim_range(ck, DVA_GET_OFFSET(&bp->blk_dva[d]), DVA_GET_ASIZE(&bp->blk_dva[d]));
}

static int
claim_listed(void *arg, const blkptr_t *bp, dmu_tx_t *tx)
{
    claim(arg, bp, 0);
    return 0;
}

typedef struct compare_arg {
    check_t *ca_ck;
    uint64_t ca_base;
    uint64_t ca_lost;
} compare_arg_t;

static void
compare_free(void *arg, uint64_t start, uint64_t size)
{
    compare_arg_t *ca = arg;

    if (range_tree_overlaps(ca->ca_ck->ck_claimed, ca->ca_base + start, size))
        check_bad(ca->ca_ck, "bytes in %llu+%llu are in use but free",
                  (unsigned long long)(ca->ca_base + start), (unsigned long long)size);
}

/* All that is claimed is not free; then equal sums mean equal sets. */
static void
check_space(check_t *ck)
{
    spa_t *spa = ck->ck_pool->dp_spa;
    uint64_t unused = 0;

    for (uint64_t id = 0; id < metaslab_count(spa); id++) {
        compare_arg_t ca = {ck, id << metaslab_shift(spa), 0};
        range_tree_t *rt = range_tree_create();
        metaslab_free_ranges(spa, id, rt);
        range_tree_walk(rt, compare_free, &ca);
        unused += range_tree_space(rt);
        range_tree_destroy(rt);
    }
    if (!is_old(ck))
        expect(ck, "space maps", "allocated bytes", spa_total_space(spa) - unused,
               range_tree_space(ck->ck_claimed));
}

/* ---- walking one dataset ---- */

typedef struct walk {
    check_t *w_ck;
    const char *w_name;
    uint64_t w_since; /* blocks born later are claimed here */
    uint64_t w_used, w_comp, w_uncomp;
    block_list_t w_list;
} walk_t;

static void
list_append(block_list_t *bl, const blkptr_t *bp)
{
    if ((bl->bl_count & (bl->bl_count - 1)) == 0)
        bl->bl_blocks = xrealloc(bl->bl_blocks, (bl->bl_count * 2 + 1) * sizeof(check_block_t));
    bl->bl_blocks[bl->bl_count++] =
        (check_block_t){DVA_GET_OFFSET(&bp->blk_dva[0]), bp->blk_birth, bp_get_asize(bp), BP_GET_PSIZE(bp)};
}

static int
walk_cb(void *arg, const traverse_block_t *tb)
{
    walk_t *w = arg;

    if (tb->tb_err != 0)
        check_bad(w->w_ck, "%s: object %llu level %lld block %llu: %s", w->w_name,
                  (unsigned long long)tb->tb_zb.zb_object, (long long)tb->tb_zb.zb_level,
                  (unsigned long long)tb->tb_zb.zb_blkid, cowbird_strerror(tb->tb_err));
    if (tb->tb_zb.zb_level == ZB_DNODE_LEVEL || BP_IS_HOLE(tb->tb_bp))
        return 0;
    w->w_used += bp_get_asize(tb->tb_bp);
    w->w_comp += BP_GET_PSIZE(tb->tb_bp);
    w->w_uncomp += bp_get_ucsize(tb->tb_bp);
    if (tb->tb_bp->blk_birth > w->w_since)
        claim(w->w_ck, tb->tb_bp, 0);
    if (!BP_IS_EMBEDDED(tb->tb_bp))
        list_append(&w->w_list, tb->tb_bp);
    return 0;
}

static int
block_compare(const void *a, const void *b)
{
    const check_block_t *x = a, *y = b;

    return x->cb_offset != y->cb_offset ? AVL_CMP(x->cb_offset, y->cb_offset)
                                        : AVL_CMP(x->cb_birth, y->cb_birth);
}

static void
walk_objset(walk_t *w, const blkptr_t *bp, uint64_t dsobj)
{
    if (!BP_IS_HOLE(bp))
        (void)traverse_objset(w->w_ck->ck_pool->dp_spa, bp, dsobj, 0, TRAVERSE_PRE | TRAVERSE_HARD, NULL,
                              walk_cb, w, NULL);
    if (w->w_list.bl_count > 1)
        qsort(w->w_list.bl_blocks, w->w_list.bl_count, sizeof(check_block_t), block_compare);
}

static bool
list_has(const block_list_t *bl, const check_block_t *b)
{
    return bl != NULL && bl->bl_count > 0 &&
           bsearch(b, bl->bl_blocks, bl->bl_count, sizeof(check_block_t), block_compare) != NULL;
}

/* Bytes of blocks of bl born after since that are not in other. */
static uint64_t
list_minus(const block_list_t *bl, uint64_t since, const block_list_t *other)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < bl->bl_count; i++)
        if (bl->bl_blocks[i].cb_birth > since && !list_has(other, &bl->bl_blocks[i]))
            sum += bl->bl_blocks[i].cb_used;
    return sum;
}

/* ---- one dataset ---- */

typedef struct
    member { /* a dataset of the directory being checked: its snapshots, oldest first, and the head */
    dsl_dataset_t *m_ds;
    char m_name[ZFS_MAX_DATASET_NAME_LEN];
    block_list_t m_list;
} member_t;

typedef struct dead_arg {
    check_t *da_ck;
    const member_t *da_m;
    const block_list_t *da_prev;
    dsl_deadlist_t *da_dl;
    uint64_t da_used, da_comp, da_uncomp;
} dead_arg_t;

static int
dead_cb(void *arg, uint64_t key, const blkptr_t *bp)
{
    dead_arg_t *da = arg;
    check_block_t b = {DVA_GET_OFFSET(&bp->blk_dva[0]), bp->blk_birth, 0, 0};
    uint64_t next = MIN(dsl_deadlist_next_key(da->da_dl, key), da->da_m->m_ds->ds_phys.ds_prev_snap_txg);

    da->da_used += bp_get_asize(bp);
    da->da_comp += BP_GET_PSIZE(bp);
    da->da_uncomp += bp_get_ucsize(bp);
    if (bp->blk_birth <= key || bp->blk_birth > next)
        check_bad(da->da_ck, "%s: a block born %llu is in deadlist bucket (%llu, %llu]", da->da_m->m_name,
                  (unsigned long long)bp->blk_birth, (unsigned long long)key, (unsigned long long)next);
    if (!BP_IS_EMBEDDED(bp) && (!list_has(da->da_prev, &b) || list_has(&da->da_m->m_list, &b)))
        check_bad(da->da_ck, "%s: a block on the deadlist is not of the previous snapshot alone",
                  da->da_m->m_name);
    return 0;
}

/* Every snapshot before D gives D a key. */
static void
check_keys(check_t *ck, const member_t *m, dsl_deadlist_t *dl)
{
    dsl_dataset_phys_t p = m->m_ds->ds_phys;

    while (p.ds_prev_snap_obj != 0 &&
           mos_read_bonus(ck->ck_pool, p.ds_prev_snap_obj, DMU_OT_DSL_DATASET, &p, sizeof(p)) == 0)
        if (dsl_deadlist_next_key(dl, p.ds_prev_snap_txg - 1) != p.ds_prev_snap_txg)
            check_bad(ck, "%s: the deadlist lacks key %llu", m->m_name,
                      (unsigned long long)p.ds_prev_snap_txg);
}

static void
check_deadlist(check_t *ck, const member_t *m, const block_list_t *prev)
{
    dead_arg_t da = {.da_ck = ck, .da_m = m, .da_prev = prev};
    uint64_t used, comp, uncomp;

    if (is_old(ck))
        return;
    if (dsl_deadlist_open(ck->ck_pool, m->m_ds->ds_phys.ds_deadlist_obj, &da.da_dl) != 0) {
        check_bad(ck, "%s: the deadlist cannot be opened", m->m_name);
        return;
    }
    if (dsl_deadlist_walk(da.da_dl, dead_cb, &da) != 0)
        check_bad(ck, "%s: the deadlist cannot be read", m->m_name);
    dsl_deadlist_space(da.da_dl, &used, &comp, &uncomp);
    expect(ck, m->m_name, "deadlist used", used, da.da_used);
    expect(ck, m->m_name, "deadlist compressed", comp, da.da_comp);
    expect(ck, m->m_name, "deadlist uncompressed", uncomp, da.da_uncomp);
    if (prev != NULL)
        expect(ck, m->m_name, "deadlist blocks", used, list_minus(prev, 0, &m->m_list));
    check_keys(ck, m, da.da_dl);
    dsl_deadlist_close(da.da_dl);
}

/* Of heads only; the ZAP is there while it has entries. */
static void
check_bookmarks(check_t *ck, const member_t *m)
{
    uint64_t object = dsl_bookmarks_obj(ck->ck_pool, m->m_ds->ds_object), n = 0;

    if (object == 0)
        return;
    check_object(ck, object, "bookmarks");
    ck->ck_bookmark_zaps++;
    if (dsl_dataset_is_snapshot(m->m_ds))
        check_bad(ck, "%s: a snapshot has bookmarks", m->m_name);
    if (zap_count(pool_mos(ck->ck_pool), object, &n) != 0 || n == 0)
        check_bad(ck, "%s: no bookmark can be read", m->m_name);
}

static void
check_dataset(check_t *ck, member_t *m)
{
    const dsl_dataset_phys_t *p = &m->m_ds->ds_phys;
    walk_t w = {.w_ck = ck, .w_name = m->m_name, .w_since = p->ds_prev_snap_txg};

    walk_objset(&w, &p->ds_bp, m->m_ds->ds_object);
    m->m_list = w.w_list;
    expect(ck, m->m_name, "referenced", p->ds_referenced_bytes, w.w_used);
    expect(ck, m->m_name, "compressed", p->ds_compressed_bytes, w.w_comp);
    expect(ck, m->m_name, "uncompressed", p->ds_uncompressed_bytes, w.w_uncomp);
    for (int f = 0; f < DS_FEATURE_NUM; f++)
        ck->ck_feature_count[f] += m->m_ds->ds_features >> f & 1;
    check_object(ck, m->m_ds->ds_object, "dataset");
    check_object(ck, p->ds_snapnames_zapobj, "snapshot names");
    check_object(ck, p->ds_next_clones_obj, "next clones");
    check_object(ck, p->ds_props_obj, "snapshot properties");
    check_object(ck, p->ds_userrefs_obj, "holds");
    check_bookmarks(ck, m);
    check_deadlist_objects(ck, p->ds_deadlist_obj);
}

/* ---- one directory ---- */

static void
check_uniques(check_t *ck, const member_t *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const dsl_dataset_phys_t *p = &m[i].m_ds->ds_phys;
        const block_list_t *next = i + 1 < n ? &m[i + 1].m_list : NULL;
        expect(ck, m[i].m_name, "unique", p->ds_unique_bytes,
               list_minus(&m[i].m_list, p->ds_prev_snap_txg, next));
        expect(ck, m[i].m_name, "next snapshot", p->ds_next_snap_obj,
               i + 1 < n ? m[i + 1].m_ds->ds_object : 0);
        if (i > 0) {
            expect(ck, m[i].m_name, "previous snapshot", p->ds_prev_snap_obj, m[i - 1].m_ds->ds_object);
            expect(ck, m[i].m_name, "previous txg", p->ds_prev_snap_txg,
                   m[i - 1].m_ds->ds_phys.ds_creation_txg);
        }
    }
}

/* Each block of the snapshots that the head lacks, once: it is counted at the last snapshot that has it. */
static uint64_t
snapshot_used(const member_t *m, size_t n, uint64_t since)
{
    uint64_t sum = 0;

    for (size_t i = 0; i + 1 < n; i++)
        sum += list_minus(&m[i].m_list, since, &m[i + 1].m_list);
    return sum;
}

static void
check_clone_links(check_t *ck, const member_t *m)
{
    const dsl_dataset_phys_t *p = &m->m_ds->ds_phys;
    uint64_t n = 0;

    if (p->ds_next_clones_obj != 0 && zap_count(pool_mos(ck->ck_pool), p->ds_next_clones_obj, &n) != 0)
        check_bad(ck, "%s: next_clones is unreadable", m->m_name);
    uint64_t holds;
    if (!dsl_dataset_is_snapshot(m->m_ds))
        return;
    expect(ck, m->m_name, "number of children", p->ds_num_children, n + 1);
    if (dsl_dataset_count_holds(m->m_ds, &holds) != 0)
        check_bad(ck, "%s: the holds are unreadable", m->m_name);
    else if ((p->ds_flags & DS_FLAG_DEFER_DESTROY) && n == 0 && holds == 0)
        check_bad(ck, "%s: marked for destroy, and nothing keeps it", m->m_name);
}

/* The origin's next_clones names the oldest of us; its directory's clones the head. */
static void
check_origin(check_t *ck, const member_t *m, size_t n)
{
    dsl_dir_t *dd = m[n - 1].m_ds->ds_dir;
    dsl_dataset_phys_t o;
    dsl_dir_phys_t od;

    if (dd->dd_phys.dd_origin_obj == 0)
        return;
    expect(ck, m[0].m_name, "origin", m[0].m_ds->ds_phys.ds_prev_snap_obj, dd->dd_phys.dd_origin_obj);
    if (mos_read_bonus(ck->ck_pool, dd->dd_phys.dd_origin_obj, DMU_OT_DSL_DATASET, &o, sizeof(o)) != 0 ||
        mos_read_bonus(ck->ck_pool, o.ds_dir_obj, DMU_OT_DSL_DIR, &od, sizeof(od)) != 0)
        check_bad(ck, "%s: the origin is unreadable", m[0].m_name);
    else if (!is_old(ck) &&
             (zap_lookup_int(pool_mos(ck->ck_pool), o.ds_next_clones_obj, m[0].m_ds->ds_object) != 0 ||
              zap_lookup_int(pool_mos(ck->ck_pool), od.dd_clones, m[n - 1].m_ds->ds_object) != 0))
        check_bad(ck, "%s: the origin does not know it", m[0].m_name);
}

static size_t
hold_members(check_t *ck, dsl_dir_t *dd, member_t **mp)
{
    uint64_t object = dd->dd_phys.dd_head_dataset_obj;
    member_t *m = NULL;
    size_t n = 0;

    while (object != 0) { /* from the head backwards */
        m = xrealloc(m, (n + 1) * sizeof(member_t));
        memset(&m[n], 0, sizeof(member_t));
        if (dsl_dataset_hold_obj_locked(ck->ck_pool, object, ck, &m[n].m_ds) != 0) {
            check_bad(ck, "dataset object %llu cannot be opened", (unsigned long long)object);
            break;
        }
        if (m[n].m_ds->ds_dir != dd) { /* the origin, in another directory */
            dsl_dataset_rele(m[n].m_ds, ck);
            break;
        }
        dsl_dataset_name(m[n].m_ds, m[n].m_name);
        const dsl_dataset_phys_t *p = &m[n++].m_ds->ds_phys;
        object =
            p->ds_prev_snap_txg < p->ds_creation_txg || n == 1 ? p->ds_prev_snap_obj : 0; /* no circles */
    }
    for (size_t i = 0; i < n / 2; i++) {
        member_t t = m[i];
        m[i] = m[n - 1 - i];
        m[n - 1 - i] = t;
    }
    *mp = m;
    return n;
}

/* What the origin of the directory has, for the deadlist of the first member. */
static void
walk_origin(check_t *ck, dsl_dir_t *dd, block_list_t *bl)
{
    walk_t w = {.w_ck = ck, .w_name = "origin", .w_since = UINT64_MAX};
    dsl_dataset_phys_t p;

    memset(bl, 0, sizeof(*bl));
    if (mos_read_bonus(ck->ck_pool, dd->dd_phys.dd_origin_obj, DMU_OT_DSL_DATASET, &p, sizeof(p)) != 0)
        return;
    walk_objset(&w, &p.ds_bp, dd->dd_phys.dd_origin_obj);
    *bl = w.w_list;
}

static void
check_members(check_t *ck, dsl_dir_t *dd)
{
    uint64_t head = 0, snap = 0;
    block_list_t origin;
    member_t *m;
    size_t n = hold_members(ck, dd, &m);

    walk_origin(ck, dd, &origin);
    for (size_t i = 0; i < n; i++) {
        check_dataset(ck, &m[i]);
        check_deadlist(ck, &m[i], i > 0 ? &m[i - 1].m_list : &origin);
        check_clone_links(ck, &m[i]);
    }
    if (n > 0) {
        check_uniques(ck, m, n);
        check_origin(ck, m, n);
        head = list_minus(&m[n - 1].m_list, dd->dd_origin_txg, NULL);
        snap = snapshot_used(m, n, dd->dd_origin_txg);
        expect(ck, m[n - 1].m_name, "used by dataset", dd->dd_phys.dd_used_breakdown[DD_USED_HEAD], head);
        expect(ck, m[n - 1].m_name, "used by refreservation", dd->dd_phys.dd_used_breakdown[DD_USED_REFRSRV],
               quota_unfilled(m[n - 1].m_ds));
        expect(ck, m[n - 1].m_name, "used by snapshots", dd->dd_phys.dd_used_breakdown[DD_USED_SNAP], snap);
    }
    for (size_t i = 0; i < n; i++) {
        dsl_dataset_rele(m[i].m_ds, ck);
        free(m[i].m_list.bl_blocks);
    }
    free(origin.bl_blocks);
    free(m);
}

static void check_dir(check_t *ck, uint64_t object, uint64_t *used, uint64_t *charged);

static void
check_children(check_t *ck, dsl_dir_t *dd, const char *name)
{
    const uint64_t *part = dd->dd_phys.dd_used_breakdown;
    uint64_t sum = 0, reserved = 0, used, charged;
    zap_cursor_t zc;
    zap_attribute_t za;

    for (zap_cursor_init(&zc, pool_mos(ck->ck_pool), dd->dd_phys.dd_child_dir_zapobj);
         zap_cursor_retrieve(&zc, &za) == 0; zap_cursor_advance(&zc)) {
        check_dir(ck, za.za_first_integer, &used, &charged);
        sum += used;
        reserved += charged - used;
    }
    zap_cursor_fini(&zc);
    expect(ck, name, "used by children", part[DD_USED_CHILD], sum);
    expect(ck, name, "reserved for children", part[DD_USED_CHILD_RSRV], reserved);
    ck->ck_reserved += part[DD_USED_CHILD_RSRV] + part[DD_USED_REFRSRV];
}

static void
check_dir(check_t *ck, uint64_t object, uint64_t *used, uint64_t *charged)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];
    uint64_t sum = 0;
    dsl_dir_t *dd;

    *used = *charged = 0;
    if (dsl_dir_hold_obj(ck->ck_pool, object, ck, &dd) != 0) {
        check_bad(ck, "directory object %llu cannot be opened", (unsigned long long)object);
        return;
    }
    const dsl_dir_phys_t *p = &dd->dd_phys;
    dsl_dir_name(dd, name);
    check_object(ck, object, "directory");
    check_object(ck, p->dd_child_dir_zapobj, "children");
    check_object(ck, p->dd_props_zapobj, "properties");
    check_object(ck, p->dd_deleg_zapobj, "delegation");
    check_object(ck, p->dd_clones, "clones");
    check_members(ck, dd);
    check_children(ck, dd, name);
    for (int i = 0; i < DD_USED_NUM; i++)
        sum += p->dd_used_breakdown[i];
    expect(ck, name, "used", p->dd_used_bytes, sum);
    *used = p->dd_used_bytes;
    *charged = MAX(p->dd_used_bytes, p->dd_reserved);
    dsl_dir_rele(dd, ck);
}

/* ---- the pool ---- */

static void
check_mos_blocks(check_t *ck)
{
    dsl_pool_t *dp = ck->ck_pool;
    walk_t w = {.w_ck = ck, .w_name = "MOS"};

    walk_objset(&w, objset_rootbp(dp->dp_mos), 0);
    free(w.w_list.bl_blocks);
    if (dp->dp_mos_dir == NULL)
        return;
    expect(ck, "$MOS", "used", dp->dp_mos_dir->dd_phys.dd_used_bytes, w.w_used);
    expect(ck, "$MOS", "compressed", dp->dp_mos_dir->dd_phys.dd_compressed_bytes, w.w_comp);
    expect(ck, "$MOS", "uncompressed", dp->dp_mos_dir->dd_phys.dd_uncompressed_bytes, w.w_uncomp);
}

typedef struct free_tree {
    check_t *ft_ck;
    uint64_t ft_used, ft_comp, ft_uncomp;
} free_tree_t;

static int
claim_tree(void *arg, const blkptr_t *bp)
{
    free_tree_t *ft = arg;

    claim(ft->ft_ck, bp, 0);
    ft->ft_used += bp_get_asize(bp);
    ft->ft_comp += BP_GET_PSIZE(bp);
    ft->ft_uncomp += bp_get_ucsize(bp);
    return 0;
}

/* Trees of destroyed file systems. Returns what they still have to free. */
static uint64_t
check_bptree(check_t *ck)
{
    free_tree_t ft = {.ft_ck = ck};
    bptree_phys_t bt;

    if (bptree_walk(ck->ck_pool, claim_tree, &ft, &bt) != 0)
        check_bad(ck, "bptree is unreadable");
    expect(ck, "bptree", "used", bt.bt_bytes, ft.ft_used);
    expect(ck, "bptree", "compressed", bt.bt_comp, ft.ft_comp);
    expect(ck, "bptree", "uncompressed", bt.bt_uncomp, ft.ft_uncomp);
    return bt.bt_bytes;
}

static void
check_free_lists(check_t *ck)
{
    dsl_pool_t *dp = ck->ck_pool;
    uint64_t used, comp, uncomp, trees = check_bptree(ck);

    if (dp->dp_free_bpobj == NULL || dp->dp_sync_bpobj == NULL || dp->dp_free_dir == NULL)
        return; /* an old pool */
    if (bpobj_iterate_nofree(dp->dp_free_bpobj, claim_listed, ck) != 0 ||
        bpobj_iterate_nofree(dp->dp_sync_bpobj, claim_listed, ck) != 0 ||
        bpobj_space(dp->dp_free_bpobj, &used, &comp, &uncomp) != 0)
        check_bad(ck, "free_bpobj is unreadable");
    else
        expect(ck, "$FREE", "used", dp->dp_free_dir->dd_phys.dd_used_bytes, used + trees);
}

static void
check_total(check_t *ck)
{
    expect(ck, "root", "used", ck->ck_pool->dp_root_dir->dd_phys.dd_used_bytes,
           range_tree_space(ck->ck_claimed) + ck->ck_reserved);
}

uint64_t
dsl_pool_check(dsl_pool_t *dp, dsl_check_report_t report, void *arg)
{
    check_t ck = {.ck_pool = dp, .ck_report = report, .ck_arg = arg};
    uint64_t used, charged;

    ck.ck_claimed = range_tree_create();
    ck.ck_objects = range_tree_create();
    rw_enter_read(&dp->dp_config_lock);
    check_mos_fixed(&ck);
    check_mos_blocks(&ck);
    check_free_lists(&ck);
    check_dir(&ck, dp->dp_root_dir->dd_object, &used, &charged);
    check_space(&ck);
    check_total(&ck);
    check_mos_leaked(&ck);
    check_features(&ck);
    rw_exit(&dp->dp_config_lock);
    range_tree_destroy(ck.ck_claimed);
    range_tree_destroy(ck.ck_objects);
    return ck.ck_bad;
}
