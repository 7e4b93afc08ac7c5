/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * space.c - two questions about sets of blocks, answered by sums of deadlists, without looking at one block:
 * what would come back if these snapshots went, and what was written since that one.
 *
 *      snapshots      a         b         c         d        head
 *      -----------|---------|---------|---------|---------|------►  txg
 *      block X        born ............ gave up here                 in b and c:  on d's deadlist, in the bucket of a
 *      block Y   born ................ .......... gave up here       in b, c, d:  on the head's
 *
 * WOULD COME BACK, destroying b and c together: all that is in no dataset but those two. Such a block was born after a, and given up
 * by c (it is in b only) or by d (it is in c): what is on the deadlists of c and d in buckets from a's txg on. X is, Y is not. Every maximal
 * run of snapshots in a chain is counted so; runs do not share blocks, because each is in one piece of the chain.
 *
 * WRITTEN SINCE a: what the head has and a had not = head's size - a's size + what was given up meanwhile of what a had:
 * the buckets below a's txg of the deadlists of b, c, d and the head. Since a bookmark whose snapshot is gone: the size of a is
 * not known; the blocks born later are looked up in the tree (block birth: the others are not read).
 *
 * ZFS: dsl_dataset_space_wouldfree, dsl_dataset_space_written (dsl_dataset.c)
 */
#include "dsl_impl.h"

/* ---- would come back ---- */

typedef struct victim {
    uint64_t v_object, v_prev, v_prev_txg, v_next;
    uint64_t v_dir, v_txg; /* sorted by these */
} victim_t;

static int
victim_compare(const void *a, const void *b)
{
    const victim_t *x = a, *y = b;

    return x->v_dir != y->v_dir ? AVL_CMP(x->v_dir, y->v_dir) : AVL_CMP(x->v_txg, y->v_txg);
}

static int
victim_load(dsl_pool_t *dp, const char *name, victim_t *v)
{
    dsl_dataset_t *ds;
    int err = dsl_dataset_hold_locked(dp, name, __func__, &ds);

    if (err != 0)
        return err;
    *v = (victim_t){ds->ds_object,
                    ds->ds_phys.ds_prev_snap_obj,
                    ds->ds_phys.ds_prev_snap_txg,
                    ds->ds_phys.ds_next_snap_obj,
                    ds->ds_phys.ds_dir_obj,
                    ds->ds_phys.ds_creation_txg};
    err = dsl_dataset_is_snapshot(ds) ? 0 : SET_ERROR(EINVAL);
    dsl_dataset_rele(ds, __func__);
    return err;
}

/* What dataset dsobj has on its deadlist in buckets from mintxg to below maxtxg. */
static int
dead_between(dsl_pool_t *dp, uint64_t dsobj, uint64_t mintxg, uint64_t maxtxg, uint64_t *used)
{
    uint64_t comp, uncomp;
    dsl_deadlist_t *dl;
    dsl_dataset_t *ds;
    int err = dsl_dataset_hold_obj_locked(dp, dsobj, __func__, &ds);

    if (err != 0)
        return err;
    if ((err = dsl_dataset_open_deadlist(ds, &dl)) == 0)
        err = dsl_deadlist_space_range(dl, mintxg, maxtxg, used, &comp, &uncomp);
    dsl_dataset_rele(ds, __func__);
    return err;
}

static int
sum_victims(dsl_pool_t *dp, const victim_t *v, int n, uint64_t *bytes)
{
    uint64_t run_start = 0, used;
    int err = 0;

    for (int i = 0; i < n && err == 0; i++) {
        if (i > 0 && v[i].v_object == v[i - 1].v_object)
            continue; /* named twice */
        if (i == 0 || v[i].v_prev != v[i - 1].v_object)
            run_start = v[i].v_prev_txg;
        if ((err = dead_between(dp, v[i].v_next, run_start, UINT64_MAX, &used)) == 0)
            *bytes += used;
    }
    return err;
}

int
dsl_destroy_space(dsl_pool_t *dp, const char *const *names, int n, uint64_t *bytes)
{
    victim_t *v = xzalloc((size_t)MAX(n, 1) * sizeof(*v));
    int err = 0;

    *bytes = 0;
    rw_enter_read(&dp->dp_config_lock);
    for (int i = 0; i < n && err == 0; i++)
        err = victim_load(dp, names[i], &v[i]);
    if (err == 0) {
        qsort(v, (size_t)n, sizeof(*v), victim_compare);
        err = sum_victims(dp, v, n, bytes);
    }
    rw_exit(&dp->dp_config_lock);
    free(v);
    return err;
}

/* ---- written since ---- */

/* What was given up of what was there at txg, from to backwards to the dataset whose previous snapshot is from. */
static int
given_up_since(dsl_dataset_t *to, uint64_t fromobj, uint64_t txg, uint64_t *bytes)
{
    dsl_dataset_phys_t p;
    uint64_t object = to->ds_object, used;
    int err;

    dsl_dataset_phys(to, &p);
    for (*bytes = 0; (err = dead_between(to->ds_pool, object, 0, txg, &used)) == 0;) {
        *bytes += used;
        object = p.ds_prev_snap_obj;
        if (object == fromobj)
            break;
        if ((err = mos_read_bonus(to->ds_pool, object, DMU_OT_DSL_DATASET, &p, sizeof(p))) != 0)
            break;
    }
    return err;
}

static int
written_since_snapshot(dsl_dataset_t *from, dsl_dataset_t *to, uint64_t *bytes)
{
    dsl_dataset_phys_t p, q;
    uint64_t dead;
    int err;

    if (from == to) {
        *bytes = 0;
        return dsl_dataset_is_snapshot(from) ? 0 : SET_ERROR(EINVAL);
    }
    if (!dsl_dataset_is_before(to, from))
        return SET_ERROR(EXDEV);
    dsl_dataset_phys(from, &p);
    dsl_dataset_phys(to, &q);
    if ((err = given_up_since(to, from->ds_object, p.ds_creation_txg, &dead)) == 0)
        *bytes = q.ds_referenced_bytes + dead - MIN(p.ds_referenced_bytes, q.ds_referenced_bytes + dead);
    return err;
}

static int
add_block(void *arg, const traverse_block_t *tb)
{
    uint64_t *bytes = arg;

    if (tb->tb_zb.zb_level != ZB_DNODE_LEVEL && !BP_IS_HOLE(tb->tb_bp))
        *bytes += bp_get_asize(tb->tb_bp);
    return 0;
}

/* The config lock keeps the blocks: no txg is committed meanwhile. */
static int
written_since_txg(dsl_dataset_t *to, uint64_t txg, uint64_t *bytes)
{
    dsl_dataset_phys_t p;

    dsl_dataset_phys(to, &p);
    *bytes = 0;
    if (BP_IS_HOLE(&p.ds_bp) || p.ds_bp.blk_birth <= txg)
        return 0;
    return traverse_objset(to->ds_pool->dp_spa, &p.ds_bp, to->ds_object, txg, TRAVERSE_PRE, NULL, add_block,
                           bytes, NULL);
}

/* The snapshot a bookmark was made of is still there more often than not: *fromp is held then, else NULL. */
static int
snapshot_of_txg(dsl_dataset_t *to, uint64_t txg, dsl_dataset_t **fromp)
{
    dsl_dataset_phys_t p;
    int err = 0;

    *fromp = NULL;
    dsl_dataset_phys(to, &p);
    while (err == 0 && p.ds_prev_snap_txg > txg && p.ds_prev_snap_obj != 0)
        err = mos_read_bonus(to->ds_pool, p.ds_prev_snap_obj, DMU_OT_DSL_DATASET, &p, sizeof(p));
    if (err == 0 && p.ds_prev_snap_txg == txg && p.ds_prev_snap_obj != 0)
        err = dsl_dataset_hold_obj_locked(to->ds_pool, p.ds_prev_snap_obj, __func__, fromp);
    return err;
}

static int
written_since_bookmark(dsl_pool_t *dp, const char *mark, dsl_dataset_t *to, uint64_t *bytes)
{
    dsl_bookmark_t bm;
    dsl_dataset_t *from;
    int err = dsl_bookmark_lookup(dp, mark, to, &bm);

    if (err == 0)
        err = snapshot_of_txg(to, bm.db_createtxg, &from);
    if (err != 0)
        return err;
    if (from == NULL)
        return written_since_txg(to, bm.db_createtxg, bytes);
    err = written_since_snapshot(from, to, bytes);
    dsl_dataset_rele(from, __func__);
    return err;
}

int
dsl_space_written(dsl_pool_t *dp, const char *from, const char *to, uint64_t *bytes)
{
    dsl_dataset_t *fds, *tds;

    rw_enter_read(&dp->dp_config_lock);
    int err = dsl_dataset_hold_locked(dp, to, __func__, &tds);
    if (err == 0) {
        if (strchr(from, '#') != NULL) {
            err = written_since_bookmark(dp, from, tds, bytes);
        } else if ((err = dsl_dataset_hold_locked(dp, from, __func__, &fds)) == 0) {
            err = written_since_snapshot(fds, tds, bytes);
            dsl_dataset_rele(fds, __func__);
        }
        dsl_dataset_rele(tds, __func__);
    }
    rw_exit(&dp->dp_config_lock);
    return err;
}
