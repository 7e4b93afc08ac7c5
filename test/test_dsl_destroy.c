/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_destroy.c - what a destroy gives back is what was said before; what it costs; what a crash in the middle leaves.
 *
 * The pool's used bytes less the MOS's own are compared before and after, when nothing is left to be freed.
 */
#include <stdio.h>
#include "support/dslpool.h"
#include "support/effort.h"

#define OK(x) ck_assert_int_eq((x), 0)

static testpool_t *tp;

static void
teardown(void)
{
    if (tp != NULL)
        tp_destroy(tp);
    tp = NULL;
}

static uint64_t
dir_used(dsl_dir_t *dd)
{
    mutex_enter(&dd->dd_lock);
    uint64_t used = dd->dd_phys.dd_used_bytes;
    mutex_exit(&dd->dd_lock);
    return used;
}

static bool
freeing(void)
{
    mutex_enter(&tp->tp_dp->dp_lock);
    bool want = tp->tp_dp->dp_want_txg;
    mutex_exit(&tp->tp_dp->dp_lock);
    return want;
}

/* All that datasets use, when nothing is on its way out. */
static uint64_t
settled_used(void)
{
    tp_sync(tp);
    while (freeing())
        OK(txg_wait_synced(tp->tp_dp->dp_txg, txg_open_txg(tp->tp_dp->dp_txg)));
    ck_assert_uint_eq(dir_used(tp->tp_dp->dp_free_dir), 0);
    return dir_used(tp->tp_dp->dp_root_dir) - dir_used(tp->tp_dp->dp_mos_dir);
}

/* ---- the prediction ---- */

/* Any of the snapshots that have no clones, of all file systems; then they go. */
static void
predict_and_destroy(void)
{
    char name[MAX_FS][ZFS_MAX_DATASET_NAME_LEN];
    const char *names[MAX_FS + 1];
    uint64_t bytes, before;
    int n = 0;

    for (int i = 0; i < MAX_FS; i++) {
        model_fs_t *mf = &tp->tp_fs[i];
        if (strchr(mf->mf_name, '@') == NULL || tp_has_clones(tp, mf) || tp_rnd(tp, 2) == 0)
            continue;
        strcpy(name[n], mf->mf_name);
        names[n] = name[n];
        n++;
    }
    if (n == 0)
        return;
    for (int i = n - 1; i > 0; i--) { /* in any order, one of them twice */
        uint64_t j = tp_rnd(tp, (uint64_t)i + 1);
        const char *t = names[i];
        names[i] = names[j];
        names[j] = t;
    }
    names[n] = names[0];
    before = settled_used();
    OK(dsl_destroy_space(tp->tp_dp, names, n + 1, &bytes));
    OK(dsl_destroy_snapshots(tp->tp_dp, names, n + 1, false, NULL));
    ck_assert_uint_eq(before - settled_used(), bytes);
    for (int i = 0; i < n; i++)
        memset(tp_find(tp, name[i]), 0, sizeof(model_fs_t));
}

START_TEST(prediction)
{
    tp = tp_create(256 << 20, _i % 2 == 0, (uint64_t)_i + 17);
    for (int round = 0; round < 8; round++) {
        for (int op = 0; op < 25; op++)
            tp_random_op(tp);
        predict_and_destroy();
    }
    tp_check(tp);
    tp_verify(tp);
}
END_TEST

START_TEST(prediction_errors)
{
    const char *none[] = {"tank@none"}, *head[] = {"tank"};
    uint64_t bytes;

    tp = tp_create(64 << 20, false, 1);
    OK(dsl_destroy_space(tp->tp_dp, none, 0, &bytes));
    ck_assert_uint_eq(bytes, 0);
    ck_assert_int_eq(dsl_destroy_space(tp->tp_dp, none, 1, &bytes), ENOENT);
    ck_assert_int_eq(dsl_destroy_space(tp->tp_dp, head, 1, &bytes), EINVAL);
}
END_TEST

/* ---- written since ---- */

typedef struct born {
    uint64_t b_bytes;
} born_t;

static int
born_cb(void *arg, const traverse_block_t *tb)
{
    born_t *b = arg;

    if (tb->tb_zb.zb_level != ZB_DNODE_LEVEL && !BP_IS_HOLE(tb->tb_bp))
        b->b_bytes += bp_get_asize(tb->tb_bp);
    return 0;
}

/* The truth: blocks of the later one born after the earlier one's txg. */
static uint64_t
born_since(dsl_dataset_t *ds, uint64_t txg)
{
    born_t b = {0};

    if (!BP_IS_HOLE(&ds->ds_phys.ds_bp) && ds->ds_phys.ds_bp.blk_birth > txg)
        OK(traverse_objset(tp->tp_dp->dp_spa, &ds->ds_phys.ds_bp, ds->ds_object, txg, TRAVERSE_PRE, NULL,
                           born_cb, &b, NULL));
    return b.b_bytes;
}

static void
compare_written(const model_fs_t *from, const model_fs_t *to)
{
    dsl_dataset_t *fds, *tds;
    uint64_t bytes = 0;

    OK(dsl_dataset_hold(tp->tp_dp, from->mf_name, tp, &fds));
    OK(dsl_dataset_hold(tp->tp_dp, to->mf_name, tp, &tds));
    int err = dsl_space_written(tp->tp_dp, from->mf_name, to->mf_name, &bytes);
    if (from == to)
        ck_assert_int_eq(err, 0);
    else if (!dsl_dataset_is_before(tds, fds))
        ck_assert_int_eq(err, EXDEV);
    else
        ck_assert_msg(err == 0 && bytes == born_since(tds, fds->ds_phys.ds_creation_txg),
                      "%s since %s: %d, %lu, is %lu", to->mf_name, from->mf_name, err, bytes,
                      born_since(tds, fds->ds_phys.ds_creation_txg));
    dsl_dataset_rele(fds, tp);
    dsl_dataset_rele(tds, tp);
}

START_TEST(written)
{
    uint64_t bytes;

    tp = tp_create(256 << 20, false, (uint64_t)_i + 31);
    for (int round = 0; round < 6; round++) {
        for (int op = 0; op < 25; op++)
            tp_random_op(tp);
        tp_sync(tp);
        for (int i = 0; i < MAX_FS; i++)
            for (int j = 0; j < MAX_FS; j++)
                if (strchr(tp->tp_fs[i].mf_name, '@') != NULL && tp->tp_fs[j].mf_name[0] != '\0')
                    compare_written(&tp->tp_fs[i], &tp->tp_fs[j]);
    }
    ck_assert_int_eq(dsl_space_written(tp->tp_dp, "tank@none", "tank", &bytes), ENOENT);
    ck_assert_int_eq(dsl_space_written(tp->tp_dp, "tank", "tank", &bytes), EINVAL);
}
END_TEST

/* Numbers can be asked for at any moment, while others write. */
static void *
asker(void *arg)
{
    const char *names[] = {"tank/a@s"};
    uint64_t bytes;

    while (!__atomic_load_n((bool *)arg, __ATOMIC_ACQUIRE)) {
        OK(dsl_space_written(tp->tp_dp, "tank/a@s", "tank/a", &bytes));
        OK(dsl_destroy_space(tp->tp_dp, names, 1, &bytes));
    }
    return NULL;
}

START_TEST(asked_while_writing)
{
    bool stop = false;
    pthread_t thread;

    tp = tp_create(128 << 20, false, 9);
    OK(tp_create_fs(tp, "tank/a", NULL));
    model_fs_t *fs = tp_find(tp, "tank/a");
    for (int o = 0; o < FS_OBJECTS; o++)
        OK(tp_write(tp, fs, o, 0, FS_BLOCKS));
    OK(tp_snapshot(tp, fs, "s"));
    OK(pthread_create(&thread, NULL, asker, &stop));
    for (int i = 0; i < 30; i++) {
        char name[16];
        snprintf(name, sizeof(name), "s%d", i);
        tp_change(tp, fs);
        tp_sync(tp);
        if (i % 3 == 0)
            OK(tp_snapshot(tp, fs, name)); /* new buckets, which have no list until the next change */
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELEASE);
    OK(pthread_join(thread, NULL));
    tp_check(tp);
}
END_TEST

/* ---- in the background ---- */

static void
report(void *arg, const char *text)
{
    fprintf(stderr, "check: %s\n", text);
}

/* The state on disk, frees still to be done or not, keeps all rules. */
static void
check_disk(faultdisk_t *fd)
{
    disk_t disk = faultdisk_disk(fd);
    dsl_pool_t *dp;

    OK(dsl_pool_open(&disk, DSL_POOL_RDONLY, &dp));
    ck_assert_uint_eq(dsl_pool_check(dp, report, NULL), 0);
    OK(dsl_pool_close(dp));
}

static bool
feature_active(const char *guid)
{
    return dsl_feature_active(tp->tp_dp, guid);
}

static void
slowly_sync(void *arg, dmu_tx_t *tx)
{
    tp->tp_dp->dp_destroy_now = 0;
    tp->tp_dp->dp_free_max = *(uint64_t *)arg;
}

/* Everything goes the long way, so many blocks a txg. */
static void
slowly(uint64_t blocks)
{
    OK(dsl_sync_task(tp->tp_dp, NULL, slowly_sync, &blocks, 0, DSL_SPACE_NONE));
}

static model_fs_t *
big_fs(const char *name)
{
    OK(tp_create_fs(tp, name, NULL));
    model_fs_t *fs = tp_find(tp, name);
    for (int o = 0; o < FS_OBJECTS; o++)
        OK(tp_write(tp, fs, o, 0, FS_BLOCKS));
    tp_sync(tp);
    return fs;
}

START_TEST(name_goes_at_once)
{
    uint64_t before, used;

    tp = tp_create(128 << 20, true, 4);
    before = settled_used();
    model_fs_t *fs = big_fs("tank/a");
    used = settled_used() - before;
    slowly(_i == 0 ? 1 : 7);
    OK(tp_destroy_ds(tp, fs));
    OK(tp_create_fs(tp, "tank/a", NULL)); /* the name is free */
    ck_assert(freeing());
    ck_assert(feature_active(FEATURE_ASYNC_DESTROY));
    uint64_t bytes, leaked;
    dsl_pool_freeing(tp->tp_dp, &bytes, &leaked);
    ck_assert_uint_gt(bytes, 0);
    ck_assert_uint_eq(leaked, 0);
    ck_assert_uint_le(dir_used(tp->tp_dp->dp_free_dir), used);
    for (int i = 0; i < 3 && freeing();
         i++) { /* closing does not wait for all of it; the next open goes on */
        tp_close(tp);
        check_disk(tp->tp_disk);
        if (i == 1)
            ck_assert_int_eq(tp_zdb(tp) % 77, 0);
        tp_open(tp);
        slowly(i + 2);
    }
    slowly(1000);
    OK(tp_destroy_ds(tp, tp_find(tp, "tank/a")));
    ck_assert_uint_eq(settled_used(), before);
    ck_assert(!feature_active(FEATURE_ASYNC_DESTROY));
    tp_check(tp);
}
END_TEST

/* Each txg stops at another kind of block; in the end all is free, and nothing twice (the space maps would say so). */
START_TEST(every_stop)
{
    tp = tp_create(128 << 20, false, (uint64_t)_i + 70);
    for (int round = 0; round < 3; round++) {
        model_fs_t *fs = big_fs("tank/a");
        OK(tp_snapshot(tp, fs, "s"));
        OK(tp_clone(tp, tp_find(tp, "tank/a@s"), "tank/c"));
        tp_change(tp, tp_find(tp, "tank/c"));
        tp_change(tp, fs);
        slowly(1 + tp_rnd(tp, 9));
        OK(tp_destroy_ds(tp, tp_find(tp, "tank/c")));
        (void)settled_used();
        tp_check(tp);
        tp_verify(tp);
        OK(tp_destroy_ds(tp, tp_find(tp, "tank/a@s")));
        OK(tp_destroy_ds(tp, fs));
        (void)settled_used();
        tp_check(tp);
    }
}
END_TEST

START_TEST(random_slowly)
{
    tp = tp_create(256 << 20, _i % 2 == 0, (uint64_t)_i + 500);
    for (int round = 0; round < 6; round++) {
        for (int op = 0; op < 20; op++) {
            slowly(1 + tp_rnd(tp, 60));
            tp_random_op(tp);
        }
        tp_close(tp);
        check_disk(tp->tp_disk);
        tp_open(tp);
        tp_verify(tp);
    }
}
END_TEST

/* The power fails at any write: the file system is there and whole, or gone; and then all of its space comes back. */
START_TEST(crash_in_the_middle)
{
    uint64_t before, step;

    tp = tp_create(64 << 20, false, 8);
    before = settled_used();
    OK(tp_create_fs(tp, "tank/a", NULL));
    OK(tp_write(tp, tp_find(tp, "tank/a"), 0, 0, FS_BLOCKS));
    OK(tp_write(tp, tp_find(tp, "tank/a"), 1, 0, FS_BLOCKS));
    (void)settled_used();
    slowly(12);
    faultdisk_record(tp->tp_disk);
    OK(dsl_destroy_head(tp->tp_dp, "tank/a"));
    (void)settled_used();
    tp_close(tp);
    step = MAX(faultdisk_events(tp->tp_disk) / 60, 1);
    for (uint64_t n = tp_rnd(tp, step); n <= faultdisk_events(tp->tp_disk); n += step) {
        testpool_t cut = {.tp_disk = faultdisk_cut(tp->tp_disk, n, n)}, *whole = tp;
        dsl_stats_t st;
        check_disk(cut.tp_disk);
        tp = &cut;
        tp_open(tp);
        if (dsl_dataset_stats(tp->tp_dp, "tank/a", &st) == 0) {
            tp_verify_fs(tp, tp->tp_dp, tp_find(whole, "tank/a"));
            OK(dsl_destroy_head(tp->tp_dp, "tank/a"));
        }
        ck_assert_uint_eq(settled_used(), before);
        tp_check(tp);
        tp_close(tp);
        faultdisk_destroy(cut.tp_disk);
        tp = whole;
    }
}
END_TEST

/* ---- damage ---- */

typedef struct damage {
    range_tree_t *d_objects; /* of the MOS, whose data goes; NULL: what d_is says */
    bool (*d_is)(const traverse_block_t *tb);
    uint64_t d_seen, d_hit, d_at; /* all, or the d_at-th alone */
} damage_t;

static int
damage_cb(void *arg, const traverse_block_t *tb)
{
    damage_t *d = arg;
    const blkptr_t *bp = tb->tb_bp;

    if (tb->tb_zb.zb_level == ZB_DNODE_LEVEL || BP_IS_HOLE(bp) || BP_IS_EMBEDDED(bp))
        return 0;
    if (d->d_objects != NULL
            ? tb->tb_zb.zb_level != 0 || !range_tree_contains(d->d_objects, tb->tb_zb.zb_object, 1)
            : !d->d_is(tb))
        return 0;
    if (d->d_at != UINT64_MAX && d->d_at != d->d_seen++)
        return 0;
    for (int c = 0; c < bp_get_ndvas(bp); c++)
        faultdisk_corrupt(tp->tp_disk, VDEV_LABEL_START_SIZE + DVA_GET_OFFSET(&bp->blk_dva[c]), 64);
    d->d_hit++;
    return 0;
}

static void
add_lists(dsl_pool_t *dp, uint64_t object, range_tree_t *rt)
{
    bpobj_phys_t p;
    uint64_t sub;

    range_tree_set(rt, object, 1);
    OK(mos_read_bonus(dp, object, DMU_OT_BPOBJ_HDR, &p, sizeof(p)));
    for (uint64_t i = 0; i < p.bpo_num_subobjs; i++) {
        OK(dmu_read(dp->dp_mos, p.bpo_subobjs, i * sizeof(sub), sizeof(sub), &sub));
        add_lists(dp, sub, rt);
    }
}

/* The pool closed with frees to be done; then the lists of them are damaged: it opens, goes on, and says how much it cannot find. */
static void
leak_some(uint64_t freeing_before)
{
    uint64_t bytes, leaked;

    tp_open(tp);
    (void)settled_used();
    OK(spa_suspended(tp->tp_dp->dp_spa));
    dsl_pool_freeing(tp->tp_dp, &bytes, &leaked);
    ck_assert_uint_eq(bytes, 0);
    ck_assert_uint_gt(leaked, 0);
    ck_assert_uint_le(leaked, freeing_before);
    tp_reopen(tp);
    OK(tp_create_fs(tp, "tank/after", NULL));
    OK(tp_write(tp, tp_find(tp, "tank/after"), 0, 0, 4));
    tp_sync(tp);
    ck_assert(!feature_active(FEATURE_ASYNC_DESTROY));
    dsl_pool_freeing(tp->tp_dp, &bytes, &freeing_before);
    ck_assert_uint_eq(leaked, freeing_before);
}

static uint64_t
close_while_freeing(void)
{
    uint64_t bytes, leaked;

    tp_close(tp);
    disk_t disk = faultdisk_disk(tp->tp_disk);
    OK(dsl_pool_open(&disk, DSL_POOL_RDONLY, &tp->tp_dp));
    dsl_pool_freeing(tp->tp_dp, &bytes, &leaked);
    ck_assert_uint_gt(bytes, 0);
    return bytes;
}

static void
damage(damage_t *d, const blkptr_t *bp, uint64_t since)
{
    OK(traverse_objset(tp->tp_dp->dp_spa, bp, 0, since, TRAVERSE_PRE, NULL, damage_cb, d, NULL));
    ck_assert_uint_gt(d->d_hit, 0);
    tp_close(tp);
}

static void
quiet(int level, const char *line)
{
}

START_TEST(damaged_free_list)
{
    damage_t d = {.d_objects = range_tree_create(), .d_at = UINT64_MAX};
    uint64_t object;

    cowbird_log_set_sink(quiet);
    tp = tp_create(128 << 20, false, 4);
    model_fs_t *fs = big_fs("tank/a");
    OK(tp_snapshot(tp, fs, "s"));
    for (int o = 0; o < FS_OBJECTS; o++)
        OK(tp_remove(tp, fs, o));
    tp_sync(tp);
    slowly(1);
    OK(tp_destroy_ds(tp, tp_find(tp, "tank/a@s")));
    uint64_t bytes = close_while_freeing();
    OK(zap_lookup_u64(tp->tp_dp->dp_mos, DMU_POOL_DIRECTORY_OBJECT, DMU_POOL_FREE_BPOBJ, &object));
    add_lists(tp->tp_dp, object, d.d_objects);
    damage(&d, objset_rootbp(tp->tp_dp->dp_mos), 0);
    leak_some(bytes);
    tp_verify(tp);
    range_tree_destroy(d.d_objects);
}
END_TEST

START_TEST(damaged_bptree)
{
    damage_t d = {.d_objects = range_tree_create(), .d_at = UINT64_MAX};

    cowbird_log_set_sink(quiet);
    tp = tp_create(128 << 20, false, 4);
    slowly(1);
    OK(tp_destroy_ds(tp, big_fs("tank/a")));
    uint64_t bytes = close_while_freeing();
    range_tree_set(d.d_objects, tp->tp_dp->dp_bptree_obj, 1);
    damage(&d, objset_rootbp(tp->tp_dp->dp_mos), 0);
    leak_some(bytes);
    range_tree_destroy(d.d_objects);
}
END_TEST

static bool
is_tree_metadata(const traverse_block_t *tb)
{
    return tb->tb_zb.zb_level != 0 || tb->tb_zb.zb_object == 0;
}

/* One block of metadata of the tree that is being freed, each in turn. */
START_TEST(damaged_tree)
{
    damage_t d = {.d_is = is_tree_metadata, .d_at = (uint64_t)_i};
    bptree_entry_phys_t be;

    cowbird_log_set_sink(quiet);
    tp = tp_create(128 << 20, false, 4);
    slowly(1);
    OK(tp_destroy_ds(tp, big_fs("tank/a")));
    uint64_t bytes = close_while_freeing();
    OK(dmu_read(tp->tp_dp->dp_mos, tp->tp_dp->dp_bptree_obj, 0, sizeof(be), &be));
    damage(&d, &be.be_bp, be.be_birth_txg);
    leak_some(bytes);
}
END_TEST

/* ---- what a destroy of a snapshot costs ---- */

/* Blocks read, cold, to destroy the middle one of many snapshots of a file system of so many blocks; each changed a few. */
static uint64_t
reads_of_destroy(uint32_t blocks, int snapshots)
{
    const uint32_t bs = 16384;
    uint8_t *buf = xmalloc(bs);
    uint64_t object = 0;
    spa_stats_t st;
    dsl_dataset_t *ds;
    objset_t *os;

    tp = tp_create(512 << 20, false, 6);
    OK(tp_create_fs(tp, "tank/a", NULL));
    OK(dsl_dataset_hold(tp->tp_dp, "tank/a", buf, &ds));
    OK(dsl_dataset_objset(ds, &os));
    for (int s = -1; s < snapshots; s++) {
        for (uint32_t b = 0; b < (s < 0 ? blocks : 4); b++) {
            uint64_t at = (s < 0 ? b : tp_rnd(tp, blocks)) * (uint64_t)bs;
            dmu_tx_t *tx = dmu_tx_create(os);
            random_bytes(buf, bs);
            dmu_tx_hold_write(tx, object == 0 ? DMU_NEW_OBJECT : object, at, bs);
            OK(dmu_tx_assign(tx, DMU_TX_WAIT));
            if (object == 0)
                OK(dmu_object_alloc(os, DMU_OT_PLAIN_FILE_CONTENTS, bs, DMU_OT_NONE, 0, 0, tx, &object));
            OK(dmu_write(os, object, at, bs, buf, tx));
            dmu_tx_commit(tx);
        }
        char name[40];
        const char *names[] = {name};
        snprintf(name, sizeof(name), "tank/a@%d", s + 1);
        OK(dsl_snapshot(tp->tp_dp, names, 1, NULL, NULL));
    }
    dsl_dataset_rele(ds, buf);
    free(buf);
    tp_reopen(tp);
    spa_get_stats(tp->tp_dp->dp_spa, &st);
    uint64_t reads = st.ss_reads;
    char name[40];
    const char *names[] = {name};
    snprintf(name, sizeof(name), "tank/a@%d", snapshots / 2);
    OK(dsl_destroy_snapshots(tp->tp_dp, names, 1, false, NULL));
    (void)settled_used();
    spa_get_stats(tp->tp_dp->dp_spa, &st);
    tp_check(tp);
    tp_destroy(tp);
    tp = NULL;
    return st.ss_reads - reads;
}

START_TEST(cost_of_a_snapshot)
{
    int snapshots = MIN(effort(1000), 1000);
    uint64_t small = reads_of_destroy(128, snapshots), large = reads_of_destroy(8192, snapshots);

    printf("one of %d snapshots: %lu reads of 2 MiB, %lu reads of 128 MiB\n", snapshots, small, large);
    ck_assert_uint_gt(small, 0);
    ck_assert_uint_le(large, small + small / 2 + 4);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("dsl_destroy");
    TCase *tc = tcase_create("destroy");

    tcase_add_checked_fixture(tc, NULL, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, prediction, 0, 4);
    tcase_add_test(tc, prediction_errors);
    tcase_add_loop_test(tc, written, 0, 2);
    tcase_add_test(tc, asked_while_writing);
    tcase_add_loop_test(tc, name_goes_at_once, 0, 2);
    tcase_add_loop_test(tc, every_stop, 0, 3);
    tcase_add_loop_test(tc, random_slowly, 0, 3);
    tcase_add_test(tc, crash_in_the_middle);
    tcase_add_test(tc, damaged_free_list);
    tcase_add_test(tc, damaged_bptree);
    tcase_add_loop_test(tc, damaged_tree, 0, 3);
    tcase_add_test(tc, cost_of_a_snapshot);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
