/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bpobj.c - a list of block pointers, kept in an object: blocks to be freed, deadlists.
 *
 *   bonus: counts and sums           data: | bp 0 | bp 1 | ... | bp n-1 |     append at the end, consume from the end
 *      |
 *      `-- bpo_subobjs --> object: | bpobj 17 | bpobj 29 | ...                whole lists taken over without reading them
 *
 * Taking over a list (bpobj_enqueue_subobj) is what makes destroying a snapshot cheap. A short list is copied instead, so that
 * the MOS does not fill with small objects; a list's own short list of sub-objects moves up, so that nesting stays flat.
 *
 * INVARIANTS
 *  1. bytes, comp and uncomp are the sums over the own pointers and all sub-objects.
 *  2. Whatever is counted is on disk: consuming lowers the counters as it goes and frees whole blocks behind them, so
 *     it may stop anywhere (the callback's error) and go on in a later txg.
 *  3. A sub-object belongs to one list only.
 *
 * Sub-objects could form a loop on a damaged disk: depth and the number of lists visited are bounded.
 * A change that fails (a block of the list cannot be read) suspends the pool: the txg must not become durable.
 * ZFS: bpobj.c
 */
#include <syslog.h>
#include "dmu_impl.h"

#define BPOBJ_BLKSZ     (16u << 10)
#define BPOBJ_SIZE_V0   16 /* bonus before version 3 */
#define BPOBJ_SIZE_V1   32 /* before sub-objects, version 26 */
#define BPOBJ_MAX_DEPTH 256
#define BPOBJ_COPY_MAX  128 /* pointers of a list that is copied */
#define BPOBJ_LIFT_MAX  64  /* sub-objects that move up */

struct bpobj {
    objset_t *bpo_os;
    uint64_t bpo_object;
    uint32_t bpo_blksz;
    kmutex_t bpo_lock; /* all below, and the bonus's contents */
    dmu_buf_t *bpo_bonus;
    dmu_buf_t *bpo_last; /* the block last appended to; may be NULL */
};

static bpobj_phys_t *
bpo_phys(const bpobj_t *bpo)
{
    return bpo->bpo_bonus->db_data;
}

static bool
has_comp(const bpobj_t *bpo)
{
    return bpo->bpo_bonus->db_size >= BPOBJ_SIZE_V1;
}

static bool
has_subobjs(const bpobj_t *bpo)
{
    return bpo->bpo_bonus->db_size >= sizeof(bpobj_phys_t);
}

static uint64_t
num_subobjs(const bpobj_t *bpo)
{
    return has_subobjs(bpo) ? bpo_phys(bpo)->bpo_num_subobjs : 0;
}

static void
bpobj_fatal(objset_t *os, uint64_t object, int err)
{
    cowbird_log(LOG_ERR, "block pointer list %llu: %s", (unsigned long long)object, cowbird_strerror(err));
    spa_suspend(objset_spa(os), err);
}

/* ---- making, opening ---- */

uint64_t
bpobj_alloc(objset_t *mos, dmu_tx_t *tx)
{
    uint64_t object;
    int err = dmu_object_alloc(mos, DMU_OT_BPOBJ, BPOBJ_BLKSZ, DMU_OT_BPOBJ_HDR, sizeof(bpobj_phys_t), 0, tx,
                               &object);
    if (err == 0)
        return object; /* a new bonus is zeros: an empty list */
    bpobj_fatal(mos, 0, err);
    return 0;
}

static int
bpobj_check(const bpobj_t *bpo, const dmu_object_info_t *doi)
{
    const bpobj_phys_t *p = bpo_phys(bpo);
    if (doi->doi_type != DMU_OT_BPOBJ || doi->doi_bonus_type != DMU_OT_BPOBJ_HDR ||
        bpo->bpo_bonus->db_size < BPOBJ_SIZE_V0 || doi->doi_data_block_size % sizeof(blkptr_t) != 0)
        return SET_ERROR(EIO);
    if (p->bpo_num_blkptrs > doi->doi_max_offset / sizeof(blkptr_t))
        return SET_ERROR(EIO);
    if (num_subobjs(bpo) != 0 && (p->bpo_subobjs == 0 || p->bpo_num_subobjs > DN_MAX_OBJECT))
        return SET_ERROR(EIO);
    return 0;
}

int
bpobj_open(objset_t *mos, uint64_t object, bpobj_t **bpop)
{
    dmu_object_info_t doi;
    bpobj_t *bpo = xzalloc(sizeof(*bpo));
    bpo->bpo_os = mos;
    bpo->bpo_object = object;
    mutex_init(&bpo->bpo_lock);
    int err = dmu_object_info(mos, object, &doi);
    if (err == 0)
        err = dmu_bonus_hold(mos, object, &bpo->bpo_bonus);
    if (err == 0)
        err = bpobj_check(bpo, &doi);
    if (err != 0) {
        bpobj_close(bpo);
        return err;
    }
    bpo->bpo_blksz = doi.doi_data_block_size;
    *bpop = bpo;
    return 0;
}

static void
drop_last(bpobj_t *bpo)
{
    if (bpo->bpo_last != NULL)
        dmu_buf_rele(bpo->bpo_last);
    bpo->bpo_last = NULL;
}

void
bpobj_close(bpobj_t *bpo)
{
    drop_last(bpo);
    if (bpo->bpo_bonus != NULL)
        dmu_buf_rele(bpo->bpo_bonus);
    mutex_destroy(&bpo->bpo_lock);
    free(bpo);
}

bool
bpobj_is_empty(bpobj_t *bpo)
{
    mutex_enter(&bpo->bpo_lock);
    bool empty = bpo_phys(bpo)->bpo_num_blkptrs == 0 && num_subobjs(bpo) == 0;
    mutex_exit(&bpo->bpo_lock);
    return empty;
}

static int
subobj_number(const bpobj_t *bpo, uint64_t i, uint64_t *object)
{
    return dmu_read(bpo->bpo_os, bpo_phys(bpo)->bpo_subobjs, i * sizeof(uint64_t), sizeof(uint64_t), object);
}

static int
free_tree(objset_t *mos, uint64_t object, int depth, dmu_tx_t *tx)
{
    bpobj_t *bpo;
    int err = depth > BPOBJ_MAX_DEPTH ? SET_ERROR(EIO) : bpobj_open(mos, object, &bpo);
    if (err != 0)
        return err;
    uint64_t n = num_subobjs(bpo), sub;
    for (uint64_t i = 0; i < n && err == 0; i++) {
        err = subobj_number(bpo, i, &sub);
        if (err == 0)
            err = free_tree(mos, sub, depth + 1, tx);
    }
    uint64_t subobjs = has_subobjs(bpo) ? bpo_phys(bpo)->bpo_subobjs : 0;
    bpobj_close(bpo);
    if (err == 0 && subobjs != 0)
        err = dmu_object_free(mos, subobjs, tx);
    return err == 0 ? dmu_object_free(mos, object, tx) : err;
}

void
bpobj_free(objset_t *mos, uint64_t object, dmu_tx_t *tx)
{
    int err = free_tree(mos, object, 0, tx);
    if (err != 0)
        bpobj_fatal(mos, object, err);
}

/* ---- sums ---- */

typedef struct bp_sums {
    uint64_t used, comp, uncomp;
} bp_sums_t;

static bp_sums_t
sums_of_bp(const blkptr_t *bp)
{
    return (bp_sums_t){bp_get_asize(bp), BP_GET_PSIZE(bp), bp_get_ucsize(bp)};
}

static bp_sums_t
sums_of(const bpobj_t *bpo)
{
    const bpobj_phys_t *p = bpo_phys(bpo);
    return (bp_sums_t){p->bpo_bytes, has_comp(bpo) ? p->bpo_comp : 0, has_comp(bpo) ? p->bpo_uncomp : 0};
}

/* sign 1 or -1 (as a u64). The bonus must be dirty. */
static void
sums_add(bpobj_t *bpo, const bp_sums_t *s, uint64_t sign)
{
    bpobj_phys_t *p = bpo_phys(bpo);
    p->bpo_bytes += sign * s->used;
    if (has_comp(bpo)) {
        p->bpo_comp += sign * s->comp;
        p->bpo_uncomp += sign * s->uncomp;
    }
}

/* ---- appending ---- */

static int
hold_block(bpobj_t *bpo, uint64_t i, dmu_buf_t **dbp)
{
    uint64_t off = P2ALIGN(i * sizeof(blkptr_t), (uint64_t)bpo->bpo_blksz);
    if (!ISP2(bpo->bpo_blksz))
        off = i * sizeof(blkptr_t) / bpo->bpo_blksz * bpo->bpo_blksz;
    if (bpo->bpo_last != NULL && bpo->bpo_last->db_offset == off) {
        *dbp = bpo->bpo_last;
        return 0;
    }
    drop_last(bpo);
    int err = dmu_buf_hold(bpo->bpo_os, bpo->bpo_object, off, &bpo->bpo_last);
    if (err == 0 && bpo->bpo_last->db_size != bpo->bpo_blksz)
        err = SET_ERROR(EIO);
    *dbp = bpo->bpo_last;
    return err;
}

static blkptr_t *
block_slot(const bpobj_t *bpo, const dmu_buf_t *db, uint64_t i)
{
    return (blkptr_t *)db->db_data + i % (bpo->bpo_blksz / sizeof(blkptr_t));
}

/* What freeing needs and no more: it compresses better. */
static void
stored_form(const blkptr_t *bp, blkptr_t *out)
{
    *out = *bp;
    if (BP_IS_EMBEDDED(bp)) {
        memset(out, 0, sizeof(*out));
        out->blk_prop = bp->blk_prop;
        out->blk_birth = bp->blk_birth;
    } else if (!BP_GET_DEDUP(bp)) {
        memset(&out->blk_cksum, 0, sizeof(out->blk_cksum));
    }
    out->blk_fill = 0;
}

static int
append(bpobj_t *bpo, const blkptr_t *bp, dmu_tx_t *tx)
{
    dmu_buf_t *db;
    uint64_t i = bpo_phys(bpo)->bpo_num_blkptrs;
    int err = hold_block(bpo, i, &db);
    if (err != 0)
        return err;
    dmu_buf_will_dirty(db, tx);
    stored_form(bp, block_slot(bpo, db, i));
    dmu_buf_will_dirty(bpo->bpo_bonus, tx);
    bpo_phys(bpo)->bpo_num_blkptrs++;
    bp_sums_t s = sums_of_bp(bp);
    sums_add(bpo, &s, 1);
    return 0;
}

void
bpobj_enqueue(bpobj_t *bpo, const blkptr_t *bp, dmu_tx_t *tx)
{
    if (BP_IS_HOLE(bp))
        return;
    mutex_enter(&bpo->bpo_lock);
    int err = append(bpo, bp, tx);
    mutex_exit(&bpo->bpo_lock);
    if (err != 0)
        bpobj_fatal(bpo->bpo_os, bpo->bpo_object, err);
}

/* ---- taking over whole lists ---- */

static int
append_subobj(bpobj_t *bpo, uint64_t sub, dmu_tx_t *tx)
{
    int err = 0;
    dmu_buf_will_dirty(bpo->bpo_bonus, tx);
    if (bpo_phys(bpo)->bpo_subobjs == 0) {
        uint64_t object = 0;
        err = dmu_object_alloc(bpo->bpo_os, DMU_OT_BPOBJ_SUBOBJ, BPOBJ_BLKSZ, DMU_OT_NONE, 0, 0, tx, &object);
        bpo_phys(bpo)->bpo_subobjs = object;
    }
    bpobj_phys_t *p = bpo_phys(bpo);
    if (err == 0)
        err = dmu_write(bpo->bpo_os, p->bpo_subobjs, p->bpo_num_subobjs * sizeof(uint64_t), sizeof(sub), &sub,
                        tx);
    if (err == 0)
        p->bpo_num_subobjs++;
    return err;
}

typedef struct copy_arg {
    bpobj_t *ca_to;
    dmu_tx_t *ca_tx;
} copy_arg_t;

static int
copy_one(void *arg, const blkptr_t *bp, dmu_tx_t *tx)
{
    copy_arg_t *ca = arg;
    return append(ca->ca_to, bp, ca->ca_tx);
}

static int iterate_nofree(bpobj_t *bpo, bpobj_cb_t cb, void *arg, int depth, uint64_t *budget);

static int
copy_all(bpobj_t *bpo, bpobj_t *sub, dmu_tx_t *tx)
{
    copy_arg_t ca = {bpo, tx};
    uint64_t object = sub->bpo_object, budget = UINT32_MAX;
    int err = iterate_nofree(sub, copy_one, &ca, 0, &budget);
    bpobj_close(sub);
    return err == 0 ? free_tree(bpo->bpo_os, object, 0, tx) : err;
}

/* sub's own sub-objects become bpo's: their sums move too. */
static int
lift_subobjs(bpobj_t *bpo, bpobj_t *sub, dmu_tx_t *tx)
{
    uint64_t n = num_subobjs(sub), list, object;
    int err = 0;
    for (uint64_t i = 0; i < n && err == 0; i++) {
        bpobj_t *subsub;
        err = subobj_number(sub, i, &object);
        if (err == 0)
            err = bpobj_open(bpo->bpo_os, object, &subsub);
        if (err != 0)
            break;
        bp_sums_t s = sums_of(subsub);
        bpobj_close(subsub);
        err = append_subobj(bpo, object, tx);
        dmu_buf_will_dirty(sub->bpo_bonus, tx);
        sums_add(bpo, &s, 1);
        sums_add(sub, &s, -1ULL);
    }
    list = bpo_phys(sub)->bpo_subobjs;
    if (err != 0 || list == 0)
        return err;
    dmu_buf_will_dirty(sub->bpo_bonus, tx);
    bpo_phys(sub)->bpo_subobjs = bpo_phys(sub)->bpo_num_subobjs = 0;
    return dmu_object_free(bpo->bpo_os, list, tx);
}

/* Consumes (closes) sub. */
static int
take_over(bpobj_t *bpo, bpobj_t *sub, dmu_tx_t *tx)
{
    uint64_t object = sub->bpo_object;
    int err = 0;
    if (!has_subobjs(bpo) || !has_subobjs(sub) || !has_comp(bpo))
        return copy_all(bpo, sub, tx);
    if (num_subobjs(sub) <= BPOBJ_LIFT_MAX)
        err = lift_subobjs(bpo, sub, tx);
    if (err == 0 && num_subobjs(sub) == 0 && bpo_phys(sub)->bpo_num_blkptrs <= BPOBJ_COPY_MAX)
        return copy_all(bpo, sub, tx);
    bp_sums_t s = sums_of(sub);
    bpobj_close(sub);
    if (err == 0)
        err = append_subobj(bpo, object, tx);
    if (err == 0)
        sums_add(bpo, &s, 1);
    return err;
}

void
bpobj_enqueue_subobj(bpobj_t *bpo, uint64_t subobj, dmu_tx_t *tx)
{
    bpobj_t *sub;
    int err = subobj == bpo->bpo_object ? SET_ERROR(EINVAL) : bpobj_open(bpo->bpo_os, subobj, &sub);
    if (err == 0) {
        mutex_enter(&bpo->bpo_lock);
        err = take_over(bpo, sub, tx);
        mutex_exit(&bpo->bpo_lock);
    }
    if (err != 0)
        bpobj_fatal(bpo->bpo_os, subobj, err);
}

/* ---- walking ---- */

/* The callback may use other lists, not this one. */
static int
iterate_nofree(bpobj_t *bpo, bpobj_cb_t cb, void *arg, int depth, uint64_t *budget)
{
    int err = 0;
    if (depth > BPOBJ_MAX_DEPTH || (*budget)-- == 0)
        return SET_ERROR(EIO);
    for (uint64_t i = bpo_phys(bpo)->bpo_num_blkptrs; i > 0 && err == 0; i--) {
        dmu_buf_t *db;
        err = hold_block(bpo, i - 1, &db);
        if (err == 0) {
            blkptr_t bp = *block_slot(bpo, db, i - 1);
            err = cb(arg, &bp, NULL);
        }
    }
    for (uint64_t i = num_subobjs(bpo); i > 0 && err == 0; i--) {
        bpobj_t *sub;
        uint64_t object;
        err = subobj_number(bpo, i - 1, &object);
        if (err == 0)
            err = bpobj_open(bpo->bpo_os, object, &sub);
        if (err != 0)
            break;
        err = iterate_nofree(sub, cb, arg, depth + 1, budget);
        bpobj_close(sub);
    }
    return err;
}

/* More lists than the MOS has objects: a loop. */
static uint64_t
visit_budget(const bpobj_t *bpo)
{
    return objset_nobjects(bpo->bpo_os) + (1u << 20);
}

int
bpobj_iterate_nofree(bpobj_t *bpo, bpobj_cb_t cb, void *arg)
{
    uint64_t budget = visit_budget(bpo);
    mutex_enter(&bpo->bpo_lock);
    int err = iterate_nofree(bpo, cb, arg, 0, &budget);
    mutex_exit(&bpo->bpo_lock);
    return err;
}

/* ---- consuming ---- */

static int
free_tail(bpobj_t *bpo, dmu_tx_t *tx)
{
    uint64_t bytes = bpo_phys(bpo)->bpo_num_blkptrs * sizeof(blkptr_t);
    uint64_t end = (bytes + bpo->bpo_blksz - 1) / bpo->bpo_blksz * bpo->bpo_blksz;
    drop_last(bpo);
    return dmu_free_range(bpo->bpo_os, bpo->bpo_object, end, DMU_OBJECT_END, tx);
}

static int
consume_own(bpobj_t *bpo, bpobj_cb_t cb, void *arg, dmu_tx_t *tx)
{
    uint64_t before = bpo_phys(bpo)->bpo_num_blkptrs;
    int err = 0;
    if (before == 0)
        return 0;
    dmu_buf_will_dirty(bpo->bpo_bonus, tx);
    while (bpo_phys(bpo)->bpo_num_blkptrs > 0) {
        uint64_t i = bpo_phys(bpo)->bpo_num_blkptrs - 1;
        dmu_buf_t *db;
        err = hold_block(bpo, i, &db);
        if (err != 0)
            break;
        blkptr_t bp = *block_slot(bpo, db, i);
        err = cb(arg, &bp, tx);
        if (err != 0)
            break;
        bp_sums_t s = sums_of_bp(&bp);
        sums_add(bpo, &s, -1ULL);
        bpo_phys(bpo)->bpo_num_blkptrs = i;
    }
    int err2 = bpo_phys(bpo)->bpo_num_blkptrs == before ? 0 : free_tail(bpo, tx);
    return err != 0 ? err : err2;
}

static int consume(bpobj_t *bpo, bpobj_cb_t cb, void *arg, dmu_tx_t *tx, int depth);

/* The last sub-object, as far as the callback lets us; wholly consumed, it is freed. */
static int
consume_last_subobj(bpobj_t *bpo, bpobj_cb_t cb, void *arg, dmu_tx_t *tx, int depth)
{
    bpobj_t *sub;
    uint64_t object, i = num_subobjs(bpo) - 1;
    int err = subobj_number(bpo, i, &object);
    if (err == 0)
        err = bpobj_open(bpo->bpo_os, object, &sub);
    if (err != 0)
        return err;
    bp_sums_t before = sums_of(sub);
    err = consume(sub, cb, arg, tx, depth + 1);
    bp_sums_t after = sums_of(sub);
    bpobj_close(sub);
    bp_sums_t gone = {before.used - after.used, before.comp - after.comp, before.uncomp - after.uncomp};
    dmu_buf_will_dirty(bpo->bpo_bonus, tx);
    sums_add(bpo, err == 0 ? &before : &gone, -1ULL);
    if (err != 0)
        return err;
    bpo_phys(bpo)->bpo_num_subobjs = i;
    return free_tree(bpo->bpo_os, object, 0, tx);
}

static int
consume(bpobj_t *bpo, bpobj_cb_t cb, void *arg, dmu_tx_t *tx, int depth)
{
    int err = depth > BPOBJ_MAX_DEPTH ? SET_ERROR(EIO) : consume_own(bpo, cb, arg, tx);
    bool any = num_subobjs(bpo) > 0;
    while (err == 0 && num_subobjs(bpo) > 0)
        err = consume_last_subobj(bpo, cb, arg, tx, depth);
    if (err == 0 && any) {
        uint64_t list = bpo_phys(bpo)->bpo_subobjs;
        dmu_buf_will_dirty(bpo->bpo_bonus, tx);
        bpo_phys(bpo)->bpo_subobjs = 0;
        err = dmu_object_free(bpo->bpo_os, list, tx);
    }
    return err;
}

/* An empty list has no sums: what is left of them belonged to pieces that were dropped. */
static void
forget_sums(bpobj_t *bpo, dmu_tx_t *tx)
{
    bp_sums_t rest = sums_of(bpo);
    if (rest.used == 0 && rest.comp == 0 && rest.uncomp == 0)
        return;
    dmu_buf_will_dirty(bpo->bpo_bonus, tx);
    sums_add(bpo, &rest, -1ULL);
}

int
bpobj_iterate(bpobj_t *bpo, bpobj_cb_t cb, void *arg, dmu_tx_t *tx)
{
    mutex_enter(&bpo->bpo_lock);
    int err = consume(bpo, cb, arg, tx, 0);
    if (err == 0)
        forget_sums(bpo, tx);
    mutex_exit(&bpo->bpo_lock);
    return err;
}

/* The last block of the list's own entries, when it is unreadable. */
static bool
drop_last_block(bpobj_t *bpo, dmu_tx_t *tx)
{
    dmu_buf_t *db;
    uint64_t last = bpo_phys(bpo)->bpo_num_blkptrs - 1;
    if (hold_block(bpo, last, &db) == 0)
        return false;
    dmu_buf_will_dirty(bpo->bpo_bonus, tx);
    bpo_phys(bpo)->bpo_num_blkptrs = last - last % (bpo->bpo_blksz / sizeof(blkptr_t));
    (void)free_tail(bpo, tx);
    return true;
}

/* consume() begins at the end, and so is stuck there: at the last own block, or in the last sub-object. */
static bool
drop_unreadable(bpobj_t *bpo, int depth, dmu_tx_t *tx)
{
    bpobj_t *sub;
    uint64_t object, n = num_subobjs(bpo);
    if (bpo_phys(bpo)->bpo_num_blkptrs > 0)
        return drop_last_block(bpo, tx);
    if (n == 0)
        return false;
    if (depth < BPOBJ_MAX_DEPTH && subobj_number(bpo, n - 1, &object) == 0 &&
        bpobj_open(bpo->bpo_os, object, &sub) == 0) {
        bool dropped = drop_unreadable(sub, depth + 1, tx);
        bpobj_close(sub);
        if (dropped)
            return true;
    }
    dmu_buf_will_dirty(bpo->bpo_bonus, tx); /* nothing below to blame: the sub-object itself */
    bpo_phys(bpo)->bpo_num_subobjs = n - 1;
    return true;
}

bool
bpobj_drop_unreadable(bpobj_t *bpo, dmu_tx_t *tx)
{
    mutex_enter(&bpo->bpo_lock);
    bool dropped = drop_unreadable(bpo, 0, tx);
    mutex_exit(&bpo->bpo_lock);
    return dropped;
}

/* ---- space ---- */

typedef struct space_arg {
    uint64_t sa_min, sa_max;
    bp_sums_t sa_sums;
} space_arg_t;

static int
space_one(void *arg, const blkptr_t *bp, dmu_tx_t *tx)
{
    space_arg_t *sa = arg;
    if (bp->blk_birth > sa->sa_min && bp->blk_birth <= sa->sa_max) {
        bp_sums_t s = sums_of_bp(bp);
        sa->sa_sums.used += s.used;
        sa->sa_sums.comp += s.comp;
        sa->sa_sums.uncomp += s.uncomp;
    }
    return 0;
}

static void
sums_out(const bp_sums_t *s, uint64_t *used, uint64_t *comp, uint64_t *uncomp)
{
    *used = s->used;
    *comp = s->comp;
    *uncomp = s->uncomp;
}

/* Births in (mintxg, maxtxg]. */
int
bpobj_space_range(bpobj_t *bpo, uint64_t mintxg, uint64_t maxtxg, uint64_t *used, uint64_t *comp,
                  uint64_t *uncomp)
{
    space_arg_t sa = {mintxg, maxtxg, {0, 0, 0}};
    if (mintxg == 0 && maxtxg == UINT64_MAX && has_comp(bpo))
        return bpobj_space(bpo, used, comp, uncomp);
    int err = bpobj_iterate_nofree(bpo, space_one, &sa);
    sums_out(&sa.sa_sums, used, comp, uncomp);
    return err;
}

int
bpobj_space(bpobj_t *bpo, uint64_t *used, uint64_t *comp, uint64_t *uncomp)
{
    if (!has_comp(bpo))
        return bpobj_space_range(bpo, 0, UINT64_MAX, used, comp, uncomp);
    mutex_enter(&bpo->bpo_lock);
    bp_sums_t s = sums_of(bpo);
    mutex_exit(&bpo->bpo_lock);
    sums_out(&s, used, comp, uncomp);
    return 0;
}
