/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_damage.c - every dataset operation on pools whose MOS lost a block. Each block of the MOS in turn loses all its copies, before the pool
 * is opened or after; then everything is tried, beginning with another operation each time. Allowed is any error, and that the
 * pool is suspended; not allowed is to die, or to change what is on disk into something that does not open.
 */
#include <stdio.h>
#include "support/dslpool.h"
#include "support/effort.h"
#include "support/streampool.h"

#define DISK  (64ULL << 20)
#define OK(x) ck_assert_int_eq((x), 0)

static testpool_t *tp;
static dsl_pool_t *dp;
static uint8_t *golden;
static uint8_t *full, *increment; /* streams of tank/a@1, and from there to @2 */
static uint64_t full_size, increment_size;

static void
quiet(int level, const char *line)
{
}

/* ---- the pool ---- */

static void
add(const char *fs, const char *snap)
{
    model_fs_t *mf = tp_find(tp, fs);

    tp_change(tp, mf);
    OK(tp_snapshot(tp, mf, snap));
}

/* The errors are of no interest. */
static void
receive(dsl_pool_t *to, const char *fs, const uint8_t *data, uint64_t size, bool force, bool resumable)
{
    dmu_receive_args_t args = {
        .dra_target = fs, .dra_fd = memfd_of(data, size), .dra_force = force, .dra_resumable = resumable};

    (void)dmu_receive(to, &args, NULL, NULL);
    close(args.dra_fd);
}

/* Received ones: whole, and in part, which waits for the rest. */
static void
build_received(void)
{
    full = send_bytes(tp->tp_dp, "tank/a@1", NULL, 0, &full_size);
    increment = send_bytes(tp->tp_dp, "tank/a@2", "tank/a@1", 0, &increment_size);
    for (int part = 0; part < 2; part++)
        receive(tp->tp_dp, part ? "tank/part" : "tank/whole", full, full_size, false, false);
    receive(tp->tp_dp, "tank/part", increment, increment_size / 2, false, true);
}

static void
build(void)
{
    const char *marks[] = {"tank/a#m", "tank/a#n"}, *sources[] = {"tank/a@1", "tank/a@2"};
    const char *held[] = {"tank/a@4"};

    cowbird_log_set_sink(quiet);
    tp = tp_create(DISK, false, 12);
    OK(tp_create_fs(tp, "tank/a", NULL));
    OK(tp_create_fs(tp, "tank/a/b", NULL));
    for (int i = 1; i <= 5; i++) {
        char name[12];
        snprintf(name, sizeof(name), "%d", i);
        add("tank/a", name);
    }
    OK(tp_clone(tp, tp_find(tp, "tank/a@3"), "tank/c"));
    add("tank/c", "x");
    add("tank/c", "y");
    OK(tp_clone(tp, tp_find(tp, "tank/a@2"), "tank/d"));
    tp_change(tp, tp_find(tp, "tank/d"));
    tp_change(tp, tp_find(tp, "tank/a"));
    tp_change(tp, tp_find(tp, "tank/a/b"));
    OK(dsl_bookmark(tp->tp_dp, marks, sources, 2, NULL));
    OK(dsl_hold(tp->tp_dp, held, 1, "tag", NULL));
    build_received();
    tp_close(tp);
    golden = xmalloc(DISK);
    faultdisk_peek(tp->tp_disk, 0, golden, DISK);
}

static void
clean_up(void)
{
    free(golden);
    free(full);
    free(increment);
    tp_destroy(tp);
}

/* ---- its blocks ---- */

#define MAX_BLOCKS 4000
static blkptr_t blocks[MAX_BLOCKS];
static int nblocks;

static int
collect(void *arg, const traverse_block_t *tb)
{
    if (tb->tb_zb.zb_level != ZB_DNODE_LEVEL && !BP_IS_HOLE(tb->tb_bp) && !BP_IS_EMBEDDED(tb->tb_bp)) {
        ck_assert_int_lt(nblocks, MAX_BLOCKS);
        blocks[nblocks++] = *tb->tb_bp;
    }
    return 0;
}

static void
find_blocks(void)
{
    disk_t disk = faultdisk_disk(tp->tp_disk);

    OK(dsl_pool_open(&disk, DSL_POOL_RDONLY, &dp));
    OK(traverse_objset(dp->dp_spa, objset_rootbp(dp->dp_mos), 0, 0, TRAVERSE_PRE, NULL, collect, NULL, NULL));
    OK(dsl_pool_close(dp));
}

static void
lose(const blkptr_t *bp)
{
    for (int c = 0; c < bp_get_ndvas(bp); c++)
        faultdisk_corrupt(tp->tp_disk, VDEV_LABEL_START_SIZE + DVA_GET_OFFSET(&bp->blk_dva[c]), 64);
}

/* ---- the operations; their answers are of no interest ---- */

static int
nothing(void *arg, const char *name)
{
    return 0;
}

static void
op_create(void)
{
    (void)dsl_create(dp, "tank/a/new", DMU_OST_OTHER, NULL);
}

static void
op_snapshot(void)
{
    const char *names[] = {"tank/a@new", "tank/c@new"};

    (void)dsl_snapshot(dp, names, 2, NULL, NULL);
}

static void
op_clone(void)
{
    (void)dsl_clone(dp, "tank/a@5", "tank/e", NULL);
}

static void
op_destroy_snapshots(void)
{
    const char *names[] = {"tank/a@1", "tank/a@5", "tank/c@x"};

    for (int i = 0; i < 3; i++)
        (void)dsl_destroy_snapshots(dp, names + i, 1, false, NULL);
}

static void
op_destroy_many(void)
{
    const char *names[] = {"tank/c@y", "tank/a@5", "tank/a@1"};

    (void)dsl_destroy_snapshots(dp, names, 3, false, NULL);
}

static void
op_destroy_heads(void)
{
    (void)dsl_destroy_head(dp, "tank/d");
    dp->dp_destroy_now = 0;
    (void)dsl_destroy_head(dp, "tank/a/b");
}

static void
op_rollback(void)
{
    (void)dsl_rollback(dp, "tank/a", NULL);
    (void)dsl_rollback(dp, "tank/c", NULL);
}

static void
op_bookmarks(void)
{
    const char *mark = "tank/a#new", *source = "tank/a@4", *old = "tank/a#m";

    (void)dsl_bookmark(dp, &mark, &source, 1, NULL);
    (void)dsl_destroy_bookmarks(dp, &old, 1, NULL);
    (void)dsl_for_each_bookmark(dp, "tank/a", nothing, NULL);
}

static void
op_ask(void)
{
    const char *names[] = {"tank/a@1", "tank/a@4", "tank/c@x"};
    uint64_t bytes;
    dsl_stats_t st;

    (void)dsl_destroy_space(dp, names, 3, &bytes);
    (void)dsl_space_written(dp, "tank/a@1", "tank/c", &bytes);
    (void)dsl_space_written(dp, "tank/a#n", "tank/a", &bytes);
    (void)dsl_dataset_stats(dp, "tank/c@y", &st);
    (void)dsl_for_each_snapshot(dp, "tank/a", nothing, NULL);
    (void)dsl_for_each_child(dp, "tank", nothing, NULL);
}

static void
op_properties(void)
{
    nvlist_t *nvl = nvlist_alloc();

    nvlist_add_string(nvl, "compression", "gzip");
    nvlist_add_string(nvl, "a:b", "c");
    (void)dsl_prop_set(dp, "tank/a", nvl);
    (void)dsl_prop_inherit(dp, "tank/a", "compression", false);
    nvlist_free(nvl);
}

static void
op_write(void)
{
    dsl_dataset_t *ds;
    objset_t *os;

    if (dsl_dataset_hold(dp, "tank/a", tp, &ds) != 0)
        return;
    if (dsl_dataset_objset(ds, &os) == 0) {
        uint8_t buf[512] = {1};
        dmu_tx_t *tx = dmu_tx_create(os);
        uint64_t object = tp_find(tp, "tank/a")->mf_objects[0].mo_object;
        dmu_tx_hold_write(tx, object != 0 ? object : 1, 0, sizeof(buf));
        if (dmu_tx_assign(tx, DMU_TX_WAIT) == 0) {
            (void)dmu_write(os, object != 0 ? object : 1, 0, sizeof(buf), buf, tx);
            dmu_tx_commit(tx);
        } else {
            dmu_tx_abort(tx);
        }
    }
    (void)txg_wait_synced(dp->dp_txg, 0);
    dsl_dataset_rele(ds, tp);
}

static void
op_holds(void)
{
    const char *snap = "tank/a@5", *held = "tank/a@4";

    (void)dsl_hold(dp, &snap, 1, "new", NULL);
    (void)dsl_release(dp, &held, 1, "tag", NULL);
}

static void
op_rename(void)
{
    (void)dsl_rename(dp, "tank/a/b", "tank/r");
    (void)dsl_rename_snapshot(dp, "tank/c", "x", "z", false);
    (void)dsl_rename(dp, "tank/r", "tank/a/b");
    (void)dsl_rename_snapshot(dp, "tank/c", "z", "x", false);
}

static void
op_promote(void)
{
    (void)dsl_promote(dp, "tank/c", NULL);
    (void)dsl_promote(dp, "tank/a", NULL);
}

static void
op_receive(void)
{
    receive(dp, "tank/new2", full, full_size, false, false);
    receive(dp, "tank/whole", increment, increment_size, false, false);
    receive(dp, "tank/new2", increment, increment_size, true, false);
    receive(dp, "tank/part", increment, increment_size, true, false); /* busy */
    (void)dsl_recv_abort(dp, "tank/part");
    receive(dp, "tank/part", increment, increment_size / 2, false, true);
}

static int
no_event(void *arg, const nvlist_t *event)
{
    return 0;
}

static void
op_history(void)
{
    (void)dsl_history_log(dp, "a command");
    (void)dsl_history_read(dp, no_event, NULL);
}

static int
no_range(void *arg, uint64_t first, uint64_t last, bool freed)
{
    return 0;
}

static void
op_diff(void)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];
    dsl_dataset_t *ds;

    (void)dmu_diff(dp, "tank/a@1", "tank/a@4", no_range, NULL);
    if (dmu_diff_hold(dp, "tank/a", tp, &ds) != 0)
        return;
    dsl_dataset_name(ds, name);
    (void)dmu_diff(dp, "tank/a@1", name, no_range, NULL);
    dmu_diff_rele(ds, tp);
}

static void (*const ops[])(void) = {
    op_receive,      op_history,       op_diff,
    op_holds,        op_rename,        op_promote,           op_create,
    op_snapshot,     op_clone,         op_destroy_snapshots, op_ask,
    op_destroy_many, op_destroy_heads, op_rollback,          op_bookmarks,
    op_properties,   op_write,
};

/* ---- the rounds ---- */

static int opened, suspended;

static void
round_of(int block, int first, bool after_open)
{
    disk_t disk = faultdisk_disk(tp->tp_disk);

    faultdisk_poke(tp->tp_disk, 0, golden, DISK);
    if (!after_open)
        lose(&blocks[block]);
    int err = dsl_pool_open(&disk, 0, &dp);
    if (after_open)
        lose(&blocks[block]);
    if (err != 0)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
        ops[((size_t)first + i) % ARRAY_SIZE(ops)]();
    opened++;
    suspended += spa_suspended(dp->dp_spa) != 0;
    (void)dsl_pool_close(dp);
    if (dsl_pool_open(&disk, DSL_POOL_RDONLY, &dp) == 0)
        (void)dsl_pool_close(dp);
}

START_TEST(lost_block)
{
    int step = MAX(100 / effort(100), 1);

    build();
    find_blocks();
    for (int b = _i; b < nblocks; b += 4 * step)
        for (int after = 0; after < 2; after++)
            round_of(b, b + after * 5, after != 0);
    printf("%d blocks; %d pools opened, %d suspended\n", nblocks, opened, suspended);
    ck_assert_int_gt(opened, 0);
    clean_up();
}
END_TEST

/* ---- wrong contents, with right checksums: as another program's bug, or malice, would leave them ---- */

typedef struct wrong {
    uint64_t w_object;
    int w_how;
    uint64_t w_random;
} wrong_t;

static void
wrong_bonus(const wrong_t *w, dmu_tx_t *tx)
{
    dmu_buf_t *db;

    if (dmu_bonus_hold(dp->dp_mos, w->w_object, &db) != 0)
        return;
    dmu_buf_will_dirty(db, tx);
    uint64_t *words = db->db_data;
    if (db->db_size >= sizeof(uint64_t))
        words[w->w_random % (db->db_size / sizeof(uint64_t))] =
            w->w_random % 3 == 0 ? w->w_random : w->w_random % 200;
    dmu_buf_rele(db);
}

static void
wrong_zap(const wrong_t *w, dmu_tx_t *tx)
{
    uint64_t n = 0, i = 0;
    zap_cursor_t zc;
    zap_attribute_t za;

    if (zap_count(dp->dp_mos, w->w_object, &n) != 0 || n == 0)
        return;
    zap_cursor_init(&zc, dp->dp_mos, w->w_object);
    int err = zap_cursor_retrieve(&zc, &za);
    for (; err == 0 && i < w->w_random % n; i++) {
        zap_cursor_advance(&zc);
        err = zap_cursor_retrieve(&zc, &za);
    }
    zap_cursor_fini(&zc);
    if (err == 0 && w->w_how == 1)
        (void)zap_remove(dp->dp_mos, w->w_object, za.za_name, tx);
    else if (err == 0)
        (void)zap_update_u64(dp->dp_mos, w->w_object, za.za_name, w->w_random % 200, tx);
}

/* Not what the open pool itself is about to write to. */
static bool
may_go(uint64_t object)
{
    static const char *const keys[] = {DMU_POOL_FREE_BPOBJ, DMU_POOL_SYNC_BPOBJ};
    dmu_object_info_t doi;
    uint64_t v;

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (zap_lookup_u64(dp->dp_mos, DMU_POOL_DIRECTORY_OBJECT, keys[i], &v) == 0 && v == object)
            return false;
    return object != DMU_POOL_DIRECTORY_OBJECT && dmu_object_info(dp->dp_mos, object, &doi) == 0 &&
           (doi.doi_type == DMU_OT_BPOBJ || dmu_ot_byteswap(doi.doi_type) == DMU_BSWAP_ZAP);
}

static void
wrong_sync(void *arg, dmu_tx_t *tx)
{
    const wrong_t *w = arg;

    if (w->w_how == 0 && may_go(w->w_object))
        (void)dmu_object_free(dp->dp_mos, w->w_object, tx);
    else if (w->w_how == 3)
        wrong_bonus(w, tx);
    else if (w->w_how != 0)
        wrong_zap(w, tx);
}

static uint64_t
count_objects(void)
{
    disk_t disk = faultdisk_disk(tp->tp_disk);
    uint64_t last = 0;

    OK(dsl_pool_open(&disk, DSL_POOL_RDONLY, &dp));
    for (uint64_t object = 0; dmu_object_next(dp->dp_mos, &object, false, 0) == 0;)
        last = object;
    OK(dsl_pool_close(dp));
    return last;
}

static void
wrong_round(const wrong_t *w)
{
    disk_t disk = faultdisk_disk(tp->tp_disk);

    faultdisk_poke(tp->tp_disk, 0, golden, DISK);
    OK(dsl_pool_open(&disk, 0, &dp));
    (void)dsl_sync_task(dp, NULL, wrong_sync, (void *)w, 1, DSL_SPACE_NONE);
    (void)dsl_pool_close(dp);
    if (dsl_pool_open(&disk, 0, &dp) != 0)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
        ops[(w->w_random / 7 + i) % ARRAY_SIZE(ops)]();
    opened++;
    suspended += spa_suspended(dp->dp_spa) != 0;
    (void)dsl_pool_close(dp);
}

START_TEST(wrong_contents)
{
    build();
    uint64_t last = count_objects();
    for (uint64_t i = 0; i < (uint64_t)effort(60); i++) {
        wrong_t w = {1 + tp_rnd(tp, last), _i, tp_rnd(tp, UINT32_MAX) + (uint64_t)_i * 12345};
        if (getenv("TRACE") != NULL)
            fprintf(stderr, "object %lu how %d random %lu\n", w.w_object, w.w_how, w.w_random);
        wrong_round(&w);
    }
    printf("%lu objects; %d pools opened, %d suspended\n", last, opened, suspended);
    clean_up();
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("dsl_damage");
    TCase *tc = tcase_create("damage");

    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, lost_block, 0, 4);
    tcase_add_loop_test(tc, wrong_contents, 0, 4);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
