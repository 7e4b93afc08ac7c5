/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scan.c - scrub: every copy of every block is read and verified, beside all else that goes on.
 *
 *   calling thread                                         pool's workers
 *   --------------                                         --------------
 *   MOS, then each snapshot (oldest first), head           scan_verify(): each copy by itself
 *     traverse_objset(root, since the snapshot before) ──►    all good: done
 *     each block once                    (bounded)            else: a suspect
 *   suspects ── scan_repair(): is it still part of the pool? ──no──► forget it
 *                         └─yes─► zio_scrub(): repair from a good copy, or the error list
 *
 * The pool lives meanwhile. Blocks are freed, and three txgs later their space is something else; what was read there
 * then means nothing. So:
 *
 * INVARIANTS
 *  1. Pointers are followed only while their root is fresh: after two commits the walk stops where it is and goes on
 *     from the root of the day (traverse's resume). So the walk itself never meets reused space.
 *  2. A worker may come late, so it only looks. Whatever is not right is looked up again from a fresh root, and only a block that
 *     is there is repaired or reported; zio_scrub() itself sees to it that no commits happen in between.
 *  3. A snapshot is walked before those after it, so that what a destroyed one leaves to the next is met there. Then
 *     the list of datasets is made again, for snapshots taken meanwhile, until nothing is new.
 *
 * ZFS: dsl_scan.c, which works in syncing context, a slice of every txg, and remembers its place in the pool; ours forgets it at close.
 */
#include <time.h>

#include "dsl_impl.h"

#define SCAN_INFLIGHT  (16ULL << 20) /* bytes under way to workers */
#define SCAN_REPORT_NS 200000000ULL
#define SCAN_SUSPECTS  64 /* looked at at the latest when there are so many */
#define SCAN_RETRIES   5
#define SCAN_STALE_ERRORS 100

#define SCAN_STALE (-2) /* a callback's answer: the root has become too old */

typedef struct scan {
    dsl_pool_t *sc_dp;
    spa_t *sc_spa;
    void (*sc_progress)(void *, const dsl_scan_progress_t *);
    void *sc_arg;
    const volatile int *sc_cancel;
    uint64_t sc_reported;  /* gethrtime */
    uint64_t sc_repaired_before;
    uint64_t *sc_datasets; /* walked, or to be walked */
    uint64_t sc_ndatasets, sc_nwalked;
    uint64_t sc_dsobj;    /* being walked; 0: the MOS */
    uint64_t sc_root_txg; /* last synced txg when its root was taken */
    zbookmark_t sc_resume; /* the last one visited, if any was */
    bool sc_visited;
    unsigned sc_stale_errors; /* in a row */
    kmutex_t sc_lock; /* below */
    kcondvar_t sc_cv;
    uint64_t sc_inflight;
    list_t sc_suspects;
    uint64_t sc_nsuspects;
} scan_t;

typedef struct scan_block {
    list_node_t sb_node;
    scan_t *sb_scan;
    blkptr_t sb_bp;
    zbookmark_t sb_zb;
} scan_block_t;

/* ---- progress: kept in the pool, under dp_lock ---- */

/* Not only zio_scrub() repairs: so does every read that meets a bad copy, the walk's own among them. */
static uint64_t
repaired_bytes(spa_t *spa)
{
    spa_stats_t st;

    spa_get_stats(spa, &st);
    return st.ss_repaired_bytes;
}

static void
scan_add(scan_t *sc, uint64_t done, uint64_t errors)
{
    dsl_scan_progress_t *p = &sc->sc_dp->dp_scan;

    mutex_enter(&sc->sc_dp->dp_lock);
    p->sp_done += done;
    p->sp_errors += errors;
    p->sp_repaired = repaired_bytes(sc->sc_spa) - sc->sc_repaired_before;
    mutex_exit(&sc->sc_dp->dp_lock);
}

void
dsl_scan_last(dsl_pool_t *dp, dsl_scan_progress_t *p)
{
    mutex_enter(&dp->dp_lock);
    *p = dp->dp_scan;
    mutex_exit(&dp->dp_lock);
}

static void
scan_report(scan_t *sc, bool now)
{
    dsl_scan_progress_t p;

    if (sc->sc_progress == NULL || (!now && gethrtime() - sc->sc_reported < SCAN_REPORT_NS))
        return;
    sc->sc_reported = gethrtime();
    dsl_scan_last(sc->sc_dp, &p);
    sc->sc_progress(sc->sc_arg, &p);
}

static bool
scan_canceled(const scan_t *sc)
{
    return sc->sc_cancel != NULL && __atomic_load_n(sc->sc_cancel, __ATOMIC_RELAXED) != 0;
}

/* ---- roots ---- */

typedef struct scan_root {
    dsl_pool_t *sr_dp;
    blkptr_t sr_bp;
} scan_root_t;

static int
mos_root_check(void *arg, dmu_tx_t *tx)
{
    return 0;
}

static void
mos_root_sync(void *arg, dmu_tx_t *tx)
{
    scan_root_t *sr = arg;

    sr->sr_bp = *objset_rootbp(sr->sr_dp->dp_mos);
}

/* The MOS's pointer belongs to the syncing thread, so it is asked for there. */
static int
mos_root(scan_t *sc, blkptr_t *bp)
{
    scan_root_t sr = {.sr_dp = sc->sc_dp};
    int err = 0;

    if (dsl_pool_readonly(sc->sc_dp))
        mos_root_sync(&sr, NULL);
    else
        err = dsl_sync_task(sc->sc_dp, mos_root_check, mos_root_sync, &sr, 0, DSL_SPACE_NONE);
    *bp = sr.sr_bp;
    return err;
}

static uint64_t
last_synced(const scan_t *sc)
{
    return sc->sc_dp->dp_txg != NULL ? txg_last_synced(sc->sc_dp->dp_txg) : 0;
}

/* The root of a dataset now, and since when its blocks are its own. ENOENT: it was destroyed. */
static int
scan_root(scan_t *sc, uint64_t dsobj, blkptr_t *bp, uint64_t *since)
{
    dsl_dataset_phys_t phys;
    dmu_object_info_t doi;
    dsl_dataset_t *ds;
    int err;

    *since = 0;
    if (dsobj == 0)
        return mos_root(sc, bp);
    rw_enter_read(&sc->sc_dp->dp_config_lock);
    err = dmu_object_info(sc->sc_dp->dp_mos, dsobj, &doi);
    if (err == 0 && doi.doi_bonus_type != DMU_OT_DSL_DATASET)
        err = ENOENT; /* and its number belongs to something else now */
    if (err == 0)
        err = dsl_dataset_hold_obj_locked(sc->sc_dp, dsobj, sc, &ds);
    rw_exit(&sc->sc_dp->dp_config_lock);
    if (err != 0)
        return err;
    dsl_dataset_phys(ds, &phys);
    dsl_dataset_rele(ds, sc);
    *bp = phys.ds_bp;
    *since = phys.ds_prev_snap_txg;
    return 0;
}

/* ---- suspects ---- */

typedef struct scan_lookup {
    const scan_block_t *sl_block;
    bool sl_found;
} scan_lookup_t;

static int
lookup_visit(void *arg, const traverse_block_t *tb)
{
    scan_lookup_t *sl = arg;
    const zbookmark_t *a = &tb->tb_zb, *b = &sl->sl_block->sb_zb;

    if (a->zb_level == ZB_DNODE_LEVEL && b->zb_object == a->zb_object)
        return 0; /* the dnode in front of the block */
    sl->sl_found = a->zb_object == b->zb_object && a->zb_level == b->zb_level && a->zb_blkid == b->zb_blkid &&
                   memcmp(tb->tb_bp, &sl->sl_block->sb_bp, sizeof(blkptr_t)) == 0;
    return ECANCELED; /* one look is enough */
}

/* Is the block still where it was met? */
static bool
scan_still_there(scan_t *sc, const scan_block_t *sb)
{
    scan_lookup_t sl = {.sl_block = sb};
    blkptr_t root;
    uint64_t since;

    if (scan_root(sc, sb->sb_zb.zb_objset, &root, &since) != 0)
        return false;
    if (sb->sb_zb.zb_level == ZB_ROOT_LEVEL)
        return memcmp(&root, &sb->sb_bp, sizeof(root)) == 0;
    (void)traverse_objset(sc->sc_spa, &root, sb->sb_zb.zb_objset, sb->sb_bp.blk_birth - 1, TRAVERSE_PRE,
                          &sb->sb_zb, lookup_visit, &sl, NULL);
    return sl.sl_found;
}

/*
 * A block with a copy that did not verify. The only place from which a scrub writes: the block is looked up first, and no two
 * commits may pass between that and the repair.
 */
static void
scan_repair(scan_t *sc, const scan_block_t *sb)
{
    uint64_t txg;

    for (int i = 0; i < SCAN_RETRIES; i++) {
        txg = last_synced(sc);
        if (!scan_still_there(sc, sb))
            return;
        if (last_synced(sc) - txg < 2) {
            int err = zio_scrub(sc->sc_spa, &sb->sb_bp, &sb->sb_zb, NULL);
            if (err != 0 && last_synced(sc) - txg >= 2)
                continue; /* perhaps it went meanwhile */
            scan_add(sc, 0, err != 0);
            return;
        }
    }
}

static void
scan_suspects(scan_t *sc)
{
    scan_block_t *sb;

    for (;;) {
        mutex_enter(&sc->sc_lock);
        sb = list_remove_head(&sc->sc_suspects);
        if (sb != NULL)
            sc->sc_nsuspects--;
        mutex_exit(&sc->sc_lock);
        if (sb == NULL)
            return;
        scan_repair(sc, sb);
        free(sb);
    }
}

/* ---- verifying, on the workers ---- */

/* One copy by itself: with a single address there is nothing to repair from. */
static int
verify_copy(spa_t *spa, const blkptr_t *bp, int d, void *buf)
{
    blkptr_t one = *bp;

    memset(one.blk_dva, 0, sizeof(one.blk_dva));
    one.blk_dva[0] = bp->blk_dva[d];
    return zio_read_raw(spa, &one, buf, NULL);
}

static int
verify_block(spa_t *spa, const blkptr_t *bp)
{
    void *buf;
    int err = 0;

    if (BP_IS_GANG(bp))
        return EAGAIN; /* its pieces have copies of their own: looked up first */
    buf = xmemalign(BP_GET_PSIZE(bp));
    for (int d = 0; d < bp_get_ndvas(bp) && err == 0; d++)
        err = verify_copy(spa, bp, d, buf);
    free(buf);
    return err;
}

static void
scan_verify(void *arg)
{
    scan_block_t *sb = arg;
    scan_t *sc = sb->sb_scan;
    uint64_t size = BP_GET_PSIZE(&sb->sb_bp);
    int err = verify_block(sc->sc_spa, &sb->sb_bp);

    scan_add(sc, bp_get_asize(&sb->sb_bp), 0);
    if (err == 0)
        free(sb);
    mutex_enter(&sc->sc_lock);
    if (err != 0) {
        list_insert_tail(&sc->sc_suspects, sb);
        sc->sc_nsuspects++;
    }
    sc->sc_inflight -= size;
    cv_signal(&sc->sc_cv);
    mutex_exit(&sc->sc_lock);
}

static scan_block_t *
block_new(scan_t *sc, const blkptr_t *bp, const zbookmark_t *zb)
{
    scan_block_t *sb = xzalloc(sizeof(*sb));

    sb->sb_scan = sc;
    sb->sb_bp = *bp;
    sb->sb_zb = *zb;
    return sb;
}

/* Waits until no more than bytes are under way. True: there are suspects enough. */
static bool
scan_wait(scan_t *sc, uint64_t bytes, uint64_t adding)
{
    bool many;

    mutex_enter(&sc->sc_lock);
    while (sc->sc_inflight > bytes)
        cv_wait(&sc->sc_cv, &sc->sc_lock);
    sc->sc_inflight += adding;
    many = sc->sc_nsuspects >= SCAN_SUSPECTS;
    mutex_exit(&sc->sc_lock);
    return many;
}

/* ---- walking ---- */

static int
scan_unreadable(scan_t *sc, const traverse_block_t *tb)
{
    scan_block_t *sb = block_new(sc, tb->tb_bp, &tb->tb_zb);

    scan_repair(sc, sb); /* counts it, and puts it on the list */
    free(sb);
    return 0;
}

static int
scan_visit(void *arg, const traverse_block_t *tb)
{
    scan_t *sc = arg;
    const blkptr_t *bp = tb->tb_bp;

    if (memcmp(&sc->sc_resume, &tb->tb_zb, sizeof(tb->tb_zb)) != 0)
        sc->sc_stale_errors = 0; /* it gets on */
    sc->sc_resume = tb->tb_zb;
    sc->sc_visited = true;
    if (scan_canceled(sc))
        return SET_ERROR(EINTR);
    if (last_synced(sc) - sc->sc_root_txg >= 2)
        return SCAN_STALE;
    if (tb->tb_zb.zb_level == ZB_DNODE_LEVEL) {
        if (tb->tb_err != 0) {
            scan_add(sc, 0, 1);
            spa_errlog_add(sc->sc_spa, &tb->tb_zb);
        }
        return 0;
    }
    if (BP_IS_HOLE(bp) || BP_IS_EMBEDDED(bp))
        return 0;
    scan_report(sc, false);
    if (tb->tb_err != 0)
        return scan_unreadable(sc, tb);
    bool many = scan_wait(sc, SCAN_INFLIGHT, BP_GET_PSIZE(bp));
    taskq_dispatch(spa_taskq(sc->sc_spa), scan_verify, block_new(sc, bp, &tb->tb_zb));
    if (many)
        scan_suspects(sc);
    return 0;
}

/* One that cannot be walked is no reason to pass over the others. */
static int
scan_damaged(scan_t *sc, int err)
{
    zbookmark_t zb = {sc->sc_dsobj, 0, ZB_ROOT_LEVEL, 0};
    int suspended = spa_suspended(sc->sc_spa);

    if (suspended != 0)
        return suspended;
    cowbird_log(LOG_ERR, "scrub: dataset %llu: %s", (unsigned long long)sc->sc_dsobj, cowbird_strerror(err));
    spa_errlog_add(sc->sc_spa, &zb);
    scan_add(sc, 0, 1);
    return 0;
}

/* From the root of the day, until the end or until that root is too old. */
static int
scan_walk(scan_t *sc, uint64_t *since, bool first)
{
    blkptr_t root;
    uint64_t own;
    int err;

    sc->sc_root_txg = last_synced(sc);
    err = scan_root(sc, sc->sc_dsobj, &root, &own);
    if (err == ENOENT)
        return 0; /* destroyed: nothing to scrub */
    if (err != 0)
        return scan_damaged(sc, err);
    if (first)
        *since = own; /* and keep to it: a snapshot taken meanwhile makes it later */
    *since = MIN(*since, own);
    err = traverse_objset(sc->sc_spa, &root, sc->sc_dsobj, *since, TRAVERSE_PRE | TRAVERSE_HARD,
                          sc->sc_visited ? &sc->sc_resume : NULL, scan_visit, sc, NULL);
    if (err == 0 || err == SCAN_STALE || err == EINTR)
        return err;
    /* What an old root points to may be something else by now: that is no damage. */
    if (last_synced(sc) - sc->sc_root_txg >= 2 && sc->sc_stale_errors++ < SCAN_STALE_ERRORS)
        return SCAN_STALE;
    return scan_damaged(sc, err);
}

static int
scan_objset(scan_t *sc, uint64_t dsobj)
{
    uint64_t since = 0;
    int err;

    sc->sc_dsobj = dsobj;
    sc->sc_visited = false;
    sc->sc_stale_errors = 0;
    err = scan_walk(sc, &since, true);
    while (err == SCAN_STALE)
        err = scan_walk(sc, &since, false);
    (void)scan_wait(sc, 0, 0);
    scan_suspects(sc);
    return err;
}

/* ---- which datasets there are ---- */

static void
scan_list_add(scan_t *sc, uint64_t dsobj)
{
    for (uint64_t i = 0; i < sc->sc_ndatasets; i++) {
        if (sc->sc_datasets[i] == dsobj)
            return;
    }
    sc->sc_datasets = xrealloc(sc->sc_datasets, (sc->sc_ndatasets + 1) * sizeof(uint64_t));
    sc->sc_datasets[sc->sc_ndatasets++] = dsobj;
}

/* A head and its snapshots, oldest first. Config lock held. */
static int
scan_list_head(scan_t *sc, uint64_t head)
{
    uint64_t *chain = NULL, n = 0, obj = head, dir = 0, txg = UINT64_MAX;
    dsl_dataset_phys_t phys;
    int err = 0;

    while (obj != 0 && (err = mos_read_bonus(sc->sc_dp, obj, DMU_OT_DSL_DATASET, &phys, sizeof(phys))) == 0) {
        if (obj != head && phys.ds_dir_obj != dir)
            break; /* the origin, in another file system */
        if (phys.ds_prev_snap_obj != 0 && phys.ds_prev_snap_txg >= txg) {
            err = SET_ERROR(EIO); /* snapshots in a circle */
            break;
        }
        txg = phys.ds_prev_snap_txg;
        if (ISP2(n) || n == 0)
            chain = xrealloc(chain, MAX(2 * n, 1) * sizeof(*chain));
        chain[n++] = obj;
        dir = phys.ds_dir_obj;
        obj = phys.ds_prev_snap_obj;
    }
    while (n > 0)
        scan_list_add(sc, chain[--n]);
    free(chain);
    return err;
}

/* Each directory has one parent, which names it: in a circle one would have two. */
static int
scan_list_dir(scan_t *sc, uint64_t ddobj, uint64_t parent)
{
    objset_t *mos = sc->sc_dp->dp_mos;
    dsl_dir_phys_t dd;
    zap_cursor_t zc;
    zap_attribute_t za;
    int err = mos_read_bonus(sc->sc_dp, ddobj, DMU_OT_DSL_DIR, &dd, sizeof(dd));

    if (err == 0 && dd.dd_parent_obj != parent)
        err = SET_ERROR(EIO);
    if (err != 0)
        return err;
    int bad = dd.dd_head_dataset_obj != 0 ? scan_list_head(sc, dd.dd_head_dataset_obj) : 0;
    if (dd.dd_child_dir_zapobj == 0)
        return bad;
    zap_cursor_init(&zc, mos, dd.dd_child_dir_zapobj);
    while (err == 0 && (err = zap_cursor_retrieve(&zc, &za)) == 0) {
        int err2 = scan_list_dir(sc, za.za_first_integer, ddobj); /* the others can be listed all the same */
        bad = bad != 0 ? bad : err2;
        zap_cursor_advance(&zc);
    }
    zap_cursor_fini(&zc);
    return err == ENOENT ? bad : err;
}

static void
scan_list(scan_t *sc)
{
    bool again = sc->sc_nwalked != 0;
    int err;

    rw_enter_read(&sc->sc_dp->dp_config_lock);
    err = scan_list_dir(sc, sc->sc_dp->dp_root_dir->dd_object, 0);
    rw_exit(&sc->sc_dp->dp_config_lock);
    if (err == 0 || again)
        return;
    cowbird_log(LOG_ERR, "scrub: not all datasets could be listed: %s", cowbird_strerror(err));
    scan_add(sc, 0, 1);
}

static int
scan_pool(scan_t *sc)
{
    int err = scan_objset(sc, 0);

    while (err == 0) {
        scan_list(sc);
        if (sc->sc_nwalked == sc->sc_ndatasets)
            break;
        while (err == 0 && sc->sc_nwalked < sc->sc_ndatasets)
            err = scan_objset(sc, sc->sc_datasets[sc->sc_nwalked++]);
    }
    return err;
}

/* ---- the call ---- */

static int
scan_start(dsl_pool_t *dp)
{
    dsl_scan_progress_t *p = &dp->dp_scan;
    int err = 0;

    mutex_enter(&dp->dp_lock);
    if (p->sp_start != 0 && p->sp_end == 0)
        err = SET_ERROR(EBUSY);
    else
        *p = (dsl_scan_progress_t){.sp_total = spa_alloc_space(dp->dp_spa), .sp_start = (uint64_t)time(NULL)};
    mutex_exit(&dp->dp_lock);
    return err;
}

static void
scan_end(dsl_pool_t *dp, int err)
{
    mutex_enter(&dp->dp_lock);
    dp->dp_scan.sp_end = (uint64_t)time(NULL);
    dp->dp_scan.sp_canceled = err == EINTR;
    mutex_exit(&dp->dp_lock);
}

typedef struct known_errors {
    zbookmark_t *ke_zb;
    uint64_t ke_n;
} known_errors_t;

static void
known_error(void *arg, const zbookmark_t *zb)
{
    known_errors_t *ke = arg;

    ke->ke_zb = xrealloc(ke->ke_zb, (ke->ke_n + 1) * sizeof(*zb));
    ke->ke_zb[ke->ke_n++] = *zb;
}

int
dsl_scrub(dsl_pool_t *dp, void (*progress)(void *arg, const dsl_scan_progress_t *p), void *arg,
          const volatile int *cancel)
{
    scan_t sc = {
        .sc_dp = dp, .sc_spa = dp->dp_spa, .sc_progress = progress, .sc_arg = arg, .sc_cancel = cancel};
    int err = scan_start(dp);

    if (err != 0)
        return err;
    mutex_init(&sc.sc_lock);
    cv_init(&sc.sc_cv);
    list_create(&sc.sc_suspects, offsetof(scan_block_t, sb_node));
    sc.sc_repaired_before = repaired_bytes(dp->dp_spa);
    known_errors_t old = {NULL, 0};
    spa_errlog_walk(dp->dp_spa, known_error, &old);
    spa_errlog_clear(dp->dp_spa); /* what is still damaged will be met again */
    err = scan_pool(&sc);
    scan_add(&sc, 0, 0);
    for (uint64_t i = 0; err != 0 && i < old.ke_n; i++)
        spa_errlog_add(dp->dp_spa, &old.ke_zb[i]);
    free(old.ke_zb);
    scan_end(dp, err);
    scan_report(&sc, true);
    list_destroy(&sc.sc_suspects);
    cv_destroy(&sc.sc_cv);
    mutex_destroy(&sc.sc_lock);
    free(sc.sc_datasets);
    return err;
}
