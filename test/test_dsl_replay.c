/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_replay.c - random sequences of all dataset operations, and streams between two pools, against a model in memory.
 *
 *        pool "left"  ── full, increments, packages, from bookmarks, cut off and resumed ──►  pool "right"
 *             │       ◄──                                                                        │
 *        rm_pool (replaymodel.h)                                                            rm_pool
 *
 * Each operation is done on pool and model, with random arguments, right and wrong ones: both must give the same error. After a sequence
 * both pools hold exactly the datasets, snapshots, bookmarks, holds, origins, properties and contents of their models, dsl_pool_check()
 * finds nothing, and the numbers that datasets tell of their space add up to the pool's.
 *
 * COWBIRD_REPLAY=SEED repeats one sequence and says what it does. COWBIRD_REPLAY_IMG=DIR leaves the pools there (replay_zdb.sh);
 * COWBIRD_REPLAY_EACH=1 verifies after each step, to find the one that matters.
 */
#include <stdarg.h>
#include "effort.h"
#include "replaymodel.h"
#include "streampool.h"

#define OK(x)      ck_assert_int_eq((x), 0)
#define DISK       (96ULL << 20)
#define SEQUENCES  80
#define STEPS      260
#define USER_PROP  "replay:note"
#define ZNODE_SIZE 264
#define ZNODE_GEN  64

typedef struct side {
    faultdisk_t *sd_disk;
    dsl_pool_t *sd_dp;
    rm_pool_t sd_model;
} side_t;

typedef struct replay {
    side_t rp_side[2];
    uint64_t rp_rng;
    int rp_name; /* the next free one */
    bool rp_talk;
    uint64_t rp_done; /* operations that changed something */
    uint64_t rp_refused;
} replay_t;

static uint64_t total_done, total_refused;
static uint64_t *the_seed;    /* shared with the parent, which tells it after a failure */
static const char *image_dir; /* COWBIRD_REPLAY_IMG: pools as files, for others to judge */

static uint64_t
rnd(replay_t *r, uint64_t n)
{
    r->rp_rng ^= r->rp_rng << 13;
    r->rp_rng ^= r->rp_rng >> 7;
    r->rp_rng ^= r->rp_rng << 17;
    return (r->rp_rng >> 11) % n;
}

static void say(replay_t *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void
say(replay_t *r, const char *fmt, ...)
{
    va_list ap;

    if (!r->rp_talk)
        return;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

/* Pool and model agree about what came of it. */
static bool agree(replay_t *r, int got, int want, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static bool
agree(replay_t *r, int got, int want, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    say(r, "%s: %s", text, got == 0 ? "ok" : cowbird_strerror(got));
    ck_assert_msg(got == want, "seed %lu: %s: the pool says %s, the model %s", (unsigned long)*the_seed, text,
                  cowbird_strerror(got), cowbird_strerror(want));
    if (got == 0)
        r->rp_done++;
    else
        r->rp_refused++;
    return got == 0;
}

/* ---- choosing ---- */

static bool
is_root(const rm_fs_t *fs)
{
    return strchr(fs->rf_name, '/') == NULL;
}

/* The pool's root is a parent, and otherwise left alone. */
static rm_fs_t *
pick_parent(replay_t *r, side_t *sd)
{
    rm_fs_t *fs;

    do
        fs = sd->sd_model.rp_fs[rnd(r, RM_FS)];
    while (fs == NULL);
    return fs;
}

static rm_fs_t *
pick_fs(replay_t *r, side_t *sd)
{
    rm_fs_t *fs;

    do
        fs = pick_parent(r, sd);
    while (is_root(fs) && rm_count(&sd->sd_model) > 1);
    return fs;
}

static rm_fs_t *
pick_fs_with_snap(replay_t *r, side_t *sd)
{
    for (int i = 0; i < 10; i++) {
        rm_fs_t *fs = pick_fs(r, sd);
        if (fs->rf_nsnaps != 0)
            return fs;
    }
    return NULL;
}

/* Mostly a free name, now and then one that is there. */
static void
pick_name(replay_t *r, side_t *sd, char *name)
{
    rm_fs_t *parent = pick_parent(r, sd), *old = pick_fs(r, sd);

    if (rnd(r, 12) == 0 && !is_root(old))
        snprintf(name, RM_NAME, "%s", old->rf_name);
    else if (rnd(r, 20) == 0)
        snprintf(name, RM_NAME, "%.100s/none/x", parent->rf_name);
    else
        snprintf(name, RM_NAME, "%.200s/f%d", parent->rf_name, r->rp_name++);
}

static void
pick_snap_name(replay_t *r, const rm_fs_t *fs, char *name)
{
    if (fs->rf_nsnaps > 0 && rnd(r, 12) == 0)
        snprintf(name, 32, "%s", fs->rf_snaps[rnd(r, (uint64_t)fs->rf_nsnaps)].sn_name);
    else
        snprintf(name, 32, "s%d", r->rp_name++);
}

static void
full_name(char *full, const rm_fs_t *fs, char sep, const char *name)
{
    snprintf(full, ZFS_MAX_DATASET_NAME_LEN, "%.200s%c%.50s", fs->rf_name, sep, name);
}

/* ---- contents ---- */

/* A file: its bonus has a generation, by which a receiver tells it from another that had its number. */
static void
new_object(replay_t *r, objset_t *os, rm_object_t *ro, uint32_t blksz, dmu_tx_t *tx)
{
    dmu_buf_t *db;

    memset(ro, 0, sizeof(*ro));
    ro->ro_blksz = blksz;
    ro->ro_gen = (uint64_t)++r->rp_name;
    OK(dmu_object_alloc(os, DMU_OT_PLAIN_FILE_CONTENTS, blksz, DMU_OT_ZNODE, ZNODE_SIZE, 0, tx,
                        &ro->ro_object));
    OK(dmu_bonus_hold(os, ro->ro_object, &db));
    dmu_buf_will_dirty(db, tx);
    memset(db->db_data, 0, ZNODE_SIZE);
    memcpy((uint8_t *)db->db_data + ZNODE_GEN, &ro->ro_gen, sizeof(ro->ro_gen));
    dmu_buf_rele(db);
}

static int
write_object(replay_t *r, objset_t *os, rm_object_t *ro)
{
    static const uint32_t sizes[] = {512, 1024, 4096, 16384};
    uint32_t first = (uint32_t)rnd(r, RM_BLOCKS), n = 1 + (uint32_t)rnd(r, RM_BLOCKS - first), blksz;
    bool new = ro->ro_object == 0;
    dmu_tx_t *tx = dmu_tx_create(os);

    blksz = new ? sizes[rnd(r, ARRAY_SIZE(sizes))] : ro->ro_blksz;
    dmu_tx_hold_write(tx, new ? DMU_NEW_OBJECT : ro->ro_object, (uint64_t)first * blksz, (uint64_t)n * blksz);
    int err = dmu_tx_assign(tx, DMU_TX_WAIT);
    if (err != 0) {
        dmu_tx_abort(tx);
        return err;
    }
    uint8_t *buf = xmalloc((size_t)n * blksz);
    if (new)
        new_object(r, os, ro, blksz, tx);
    for (uint32_t i = 0; i < n; i++) {
        ro->ro_seed[first + i] = 1 + (uint32_t)rnd(r, UINT32_MAX - 1);
        rm_fill(ro->ro_seed[first + i], buf + (size_t)i * blksz, blksz);
    }
    OK(dmu_write(os, ro->ro_object, (uint64_t)first * blksz, (uint64_t)n * blksz, buf, tx));
    dmu_tx_commit(tx);
    free(buf);
    return 0;
}

static int
free_in_object(replay_t *r, objset_t *os, rm_object_t *ro, bool whole)
{
    uint32_t first = (uint32_t)rnd(r, RM_BLOCKS), n = 1 + (uint32_t)rnd(r, RM_BLOCKS - first);
    uint64_t off = (uint64_t)first * ro->ro_blksz, len = (uint64_t)n * ro->ro_blksz;
    dmu_tx_t *tx = dmu_tx_create(os);

    dmu_tx_hold_free(tx, ro->ro_object, whole ? 0 : off, whole ? DMU_OBJECT_END : len);
    dmu_tx_mark_netfree(tx);
    int err = dmu_tx_assign(tx, DMU_TX_WAIT);
    if (err != 0) {
        dmu_tx_abort(tx);
        return err;
    }
    OK(whole ? dmu_object_free(os, ro->ro_object, tx) : dmu_free_range(os, ro->ro_object, off, len, tx));
    dmu_tx_commit(tx);
    if (whole)
        memset(ro, 0, sizeof(*ro));
    else
        memset(ro->ro_seed + first, 0, n * sizeof(ro->ro_seed[0]));
    return 0;
}

static void
op_write(replay_t *r, side_t *sd)
{
    rm_fs_t *fs = pick_fs(r, sd);
    dsl_dataset_t *ds;
    objset_t *os;

    if (is_root(fs))
        return;
    OK(dsl_dataset_hold(sd->sd_dp, fs->rf_name, r, &ds));
    OK(dsl_dataset_objset(ds, &os));
    for (uint64_t n = 1 + rnd(r, 4); n > 0; n--) {
        rm_object_t *ro = &fs->rf_head.rs_objects[rnd(r, RM_OBJECTS)];
        uint64_t what = rnd(r, 10);
        int err;
        if (what < 7 || ro->ro_object == 0)
            err = write_object(r, os, ro);
        else
            err = free_in_object(r, os, ro, what == 9);
        rm_wrote(fs, what < 7 || what == 9 || ro->ro_object == 0);
        (void)agree(r, err, 0, "write to %s", fs->rf_name);
    }
    dsl_dataset_rele(ds, r);
}

/* ---- datasets ---- */

static void
op_create(replay_t *r, side_t *sd)
{
    char name[RM_NAME];

    if (rm_count(&sd->sd_model) == RM_FS)
        return;
    pick_name(r, sd, name);
    int err = dsl_create(sd->sd_dp, name, DMU_OST_OTHER, NULL);
    (void)agree(r, err, rm_create(&sd->sd_model, name), "create %s", name);
}

static uint64_t
guid_of(side_t *sd, const char *name)
{
    dsl_stats_t st;

    OK(dsl_dataset_stats(sd->sd_dp, name, &st));
    return st.dst_guid;
}

static void
op_snapshot(replay_t *r, side_t *sd)
{
    char snap[32], names[RM_FS][ZFS_MAX_DATASET_NAME_LEN];
    const char *list[RM_FS];
    rm_fs_t *fs = pick_fs(r, sd);
    bool recursive = rnd(r, 3) == 0;
    int n = 0;

    if (is_root(fs))
        return;
    pick_snap_name(r, fs, snap);
    for (int i = 0; i < RM_FS; i++) {
        rm_fs_t *f = sd->sd_model.rp_fs[i];
        if (f == NULL || (recursive ? !rm_below(f->rf_name, fs->rf_name) : f != fs))
            continue;
        if (f->rf_nsnaps == RM_SNAPS)
            return;
        full_name(names[n], f, '@', snap);
        list[n] = names[n];
        n++;
    }
    int err = dsl_snapshot(sd->sd_dp, list, n, NULL, NULL);
    if (!agree(r, err, rm_snapshot(&sd->sd_model, fs, snap, recursive), "snapshot %s@%s (%d)", fs->rf_name,
               snap, n))
        return;
    for (int i = 0; i < n; i++) {
        char *at = strchr(names[i], '@');
        *at = '\0';
        rm_fs_t *f = rm_find(&sd->sd_model, names[i]);
        *at = '@';
        f->rf_snaps[f->rf_nsnaps - 1].sn_guid = guid_of(sd, names[i]);
    }
}

static void
op_clone(replay_t *r, side_t *sd)
{
    char name[RM_NAME], origin[ZFS_MAX_DATASET_NAME_LEN];
    rm_fs_t *fs = pick_fs_with_snap(r, sd);

    if (fs == NULL || rm_count(&sd->sd_model) == RM_FS)
        return;
    rm_snap_t *sn = &fs->rf_snaps[rnd(r, (uint64_t)fs->rf_nsnaps)];
    if (sn->sn_defer)
        return;
    pick_name(r, sd, name);
    full_name(origin, fs, '@', sn->sn_name);
    int err = dsl_clone(sd->sd_dp, origin, name, NULL);
    (void)agree(r, err, rm_clone(&sd->sd_model, sn, name), "clone %s %s", origin, name);
}

static void
op_promote(replay_t *r, side_t *sd)
{
    rm_fs_t *fs = pick_fs(r, sd);

    for (int i = 0; i < 4 && fs->rf_origin == 0; i++)
        fs = pick_fs(r, sd);
    if (fs->rf_nsnaps > 2) /* there must be room for the others */
        return;
    int err = dsl_promote(sd->sd_dp, fs->rf_name, NULL);
    rm_fs_t *other = NULL;
    if (fs->rf_origin != 0)
        (void)rm_snap_by_id(&sd->sd_model, fs->rf_origin, &other);
    if (other != NULL && other->rf_nsnaps + fs->rf_nsnaps > RM_SNAPS) {
        ck_assert_msg(err == 0 || err == EEXIST, "promote: %s", cowbird_strerror(err));
    }
    (void)agree(r, err, rm_promote(&sd->sd_model, fs), "promote %s", fs->rf_name);
}

static void
op_rename(replay_t *r, side_t *sd)
{
    char to[RM_NAME], from[RM_NAME];
    rm_fs_t *fs = pick_fs(r, sd);

    if (is_root(fs))
        return;
    pick_name(r, sd, to);
    strcpy(from, fs->rf_name);
    if (rm_below(to, from) || strlen(to) > 60)
        return;
    int err = dsl_rename(sd->sd_dp, from, to);
    (void)agree(r, err, rm_rename(&sd->sd_model, fs, to), "rename %s %s", from, to);
}

static void
op_rename_snapshot(replay_t *r, side_t *sd)
{
    char from[32], to[32];
    rm_fs_t *fs = pick_fs_with_snap(r, sd);
    bool recursive = rnd(r, 2) == 0;

    if (fs == NULL)
        return;
    snprintf(from, sizeof(from), "%s", fs->rf_snaps[rnd(r, (uint64_t)fs->rf_nsnaps)].sn_name);
    pick_snap_name(r, fs, to);
    if (strcmp(from, to) == 0)
        return;
    int err = dsl_rename_snapshot(sd->sd_dp, fs->rf_name, from, to, recursive);
    (void)agree(r, err, rm_rename_snapshot(&sd->sd_model, fs, from, to, recursive), "rename %s@%s @%s%s",
                fs->rf_name, from, to, recursive ? " -r" : "");
}

static void
op_rollback(replay_t *r, side_t *sd)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];
    rm_fs_t *fs = pick_fs_with_snap(r, sd);

    if (fs == NULL)
        return;
    const char *snap =
        fs->rf_snaps[rnd(r, 3) == 0 ? (int)rnd(r, (uint64_t)fs->rf_nsnaps) : fs->rf_nsnaps - 1].sn_name;
    full_name(name, fs, '@', snap);
    int err = dsl_rollback(sd->sd_dp, fs->rf_name, name);
    (void)agree(r, err, rm_rollback(fs, snap), "rollback %s", name);
}

/* ---- destroying, and what it gives back ---- */

/* By a file system and its snapshots. */
static uint64_t
used_of(side_t *sd, const char *name)
{
    dsl_stats_t st;

    OK(txg_wait_synced(dsl_pool_txg(sd->sd_dp), 0));
    OK(dsl_dataset_stats(sd->sd_dp, name, &st));
    return st.dst_usedby[DD_USED_HEAD] + st.dst_usedby[DD_USED_SNAP];
}

static void
op_destroy_snaps(replay_t *r, side_t *sd)
{
    char names[RM_SNAPS][ZFS_MAX_DATASET_NAME_LEN];
    const char *list[RM_SNAPS];
    rm_fs_t *fs = pick_fs_with_snap(r, sd);
    bool defer = rnd(r, 4) == 0;
    int n = 0, other;
    uint64_t space, before;

    if (fs == NULL)
        return;
    uint32_t first = (uint32_t)rnd(r, (uint64_t)fs->rf_nsnaps),
             last = first + (uint32_t)rnd(r, (uint64_t)fs->rf_nsnaps - first), which = 0;
    bool range = rnd(r, 2) == 0;
    for (uint32_t s = first; s <= last; s++) {
        if (!range && s != first && s != last)
            continue;
        which |= 1u << s;
        full_name(names[n], fs, '@', fs->rf_snaps[s].sn_name);
        list[n] = names[n];
        n++;
    }
    if (n > 1 && rnd(r, 2) == 0) { /* in any order */
        const char *t = list[0];
        list[0] = list[n - 1];
        list[n - 1] = t;
    }
    before = used_of(sd, fs->rf_name); /* which waits for what was written */
    OK(dsl_destroy_space(sd->sd_dp, list, n, &space));
    int err = dsl_destroy_snapshots(sd->sd_dp, list, n, defer, NULL), want, snaps = fs->rf_nsnaps;
    want = rm_destroy_snaps(&sd->sd_model, fs, which, defer, &other);
    if (other != 0 && err == other)
        want = err;
    if (!agree(r, err, want, "destroy %s.. (%d)%s", list[0], n, defer ? " -d" : ""))
        return;
    if (snaps - fs->rf_nsnaps == n) {
        uint64_t after = used_of(sd, fs->rf_name);
        ck_assert_msg(before - after == space,
                      "destroy of %d snapshots, %s..: %lu bytes were foretold, %lu came back", n, list[0],
                      (unsigned long)space, (unsigned long)(before - after));
    }
}

/* One snapshot everywhere: of clones and their origins at once, too. */
static void
op_destroy_named(replay_t *r, side_t *sd)
{
    char names[RM_FS][ZFS_MAX_DATASET_NAME_LEN], snap[32];
    const char *list[RM_FS];
    rm_fs_t *fs = pick_fs_with_snap(r, sd), *had[RM_FS];
    uint64_t space, before = 0, after = 0;
    int n = 0, other;

    if (fs == NULL)
        return;
    snprintf(snap, sizeof(snap), "%s", fs->rf_snaps[rnd(r, (uint64_t)fs->rf_nsnaps)].sn_name);
    rm_fs_t *top = rnd(r, 2) == 0 ? fs : rm_find(&sd->sd_model, dsl_pool_name(sd->sd_dp));
    for (int i = 0; i < RM_FS; i++) {
        rm_fs_t *f = sd->sd_model.rp_fs[i];
        if (f == NULL || !rm_below(f->rf_name, top->rf_name) || rm_snap_index(f, snap) < 0)
            continue;
        full_name(names[n], f, '@', snap);
        list[n] = names[n];
        had[n++] = f;
    }
    for (int i = 0; i < n; i++)
        before += used_of(sd, had[i]->rf_name);
    OK(dsl_destroy_space(sd->sd_dp, list, n, &space));
    int err = dsl_destroy_snapshots(sd->sd_dp, list, n, false, NULL);
    int want = rm_destroy_named(&sd->sd_model, top, snap, &other);
    if (!agree(r, err, other != 0 && err == other ? err : want, "destroy -r %s@%s (%d)", top->rf_name, snap,
               n))
        return;
    for (int i = 0; i < n; i++)
        after += used_of(sd, had[i]->rf_name);
    ck_assert_msg(before - after == space, "destroy -r %s@%s: %lu bytes were foretold, %lu came back",
                  top->rf_name, snap, (unsigned long)space, (unsigned long)(before - after));
}

static void
op_destroy_fs(replay_t *r, side_t *sd)
{
    char name[RM_NAME];
    rm_fs_t *fs = pick_fs(r, sd);

    if (is_root(fs))
        return;
    strcpy(name, fs->rf_name);
    int err = dsl_destroy_head(sd->sd_dp, name);
    (void)agree(r, err, rm_destroy_fs(&sd->sd_model, fs), "destroy %s", name);
}

/* ---- holds, bookmarks, properties ---- */

static void
op_hold(replay_t *r, side_t *sd)
{
    char name[ZFS_MAX_DATASET_NAME_LEN], tag[16];
    const char *one = name;
    rm_fs_t *fs = pick_fs_with_snap(r, sd);

    if (fs == NULL)
        return;
    int s = (int)rnd(r, (uint64_t)fs->rf_nsnaps), t = (int)rnd(r, RM_TAGS);
    full_name(name, fs, '@', fs->rf_snaps[s].sn_name);
    snprintf(tag, sizeof(tag), "tag%d", t);
    int err = dsl_hold(sd->sd_dp, &one, 1, tag, NULL);
    (void)agree(r, err, rm_hold(fs, s, t), "hold %s %s", tag, name);
}

/* One that is there, if there is one. */
static void
op_release(replay_t *r, side_t *sd)
{
    char name[ZFS_MAX_DATASET_NAME_LEN], tag[16];
    const char *one = name;
    rm_fs_t *fs = pick_fs_with_snap(r, sd);
    int s = 0, t = (int)rnd(r, RM_TAGS);

    for (int i = 0; i < 20; i++) {
        fs = pick_fs_with_snap(r, sd);
        if (fs == NULL)
            return;
        s = (int)rnd(r, (uint64_t)fs->rf_nsnaps);
        if (fs->rf_snaps[s].sn_tags & 1u << t)
            break;
    }
    full_name(name, fs, '@', fs->rf_snaps[s].sn_name);
    snprintf(tag, sizeof(tag), "tag%d", t);
    int err = dsl_release(sd->sd_dp, &one, 1, tag, NULL);
    (void)agree(r, err, rm_release(&sd->sd_model, fs, s, t), "release %s %s", tag, name);
}

static void
op_bookmark(replay_t *r, side_t *sd)
{
    char mark[32], names[2][ZFS_MAX_DATASET_NAME_LEN];
    const char *to = names[0], *from = names[1];
    rm_fs_t *fs = pick_fs_with_snap(r, sd);

    if (fs == NULL)
        return;
    if (fs->rf_nmarks == RM_MARKS || (fs->rf_nmarks > 0 && rnd(r, 4) == 0)) {
        snprintf(mark, sizeof(mark), "%s", fs->rf_marks[rnd(r, (uint64_t)fs->rf_nmarks)].mk_name);
        full_name(names[0], fs, '#', mark);
        int err = dsl_destroy_bookmarks(sd->sd_dp, &to, 1, NULL);
        (void)agree(r, err, rm_destroy_mark(fs, mark), "destroy %s", to);
        return;
    }
    rm_snap_t *sn = &fs->rf_snaps[rnd(r, (uint64_t)fs->rf_nsnaps)];
    if (fs->rf_nmarks > 0 && rnd(r, 6) == 0)
        snprintf(mark, sizeof(mark), "%s", fs->rf_marks[0].mk_name);
    else
        snprintf(mark, sizeof(mark), "m%d", r->rp_name++);
    full_name(names[0], fs, '#', mark);
    full_name(names[1], fs, '@', sn->sn_name);
    int err = dsl_bookmark(sd->sd_dp, &to, &from, 1, NULL);
    (void)agree(r, err, rm_bookmark(fs, mark, sn), "bookmark %s %s", from, to);
}

static void
op_prop(replay_t *r, side_t *sd)
{
    rm_fs_t *fs = pick_fs(r, sd);
    int err;

    if (fs->rf_prop[0] != '\0' && rnd(r, 2) == 0) {
        fs->rf_prop[0] = '\0';
        err = dsl_prop_inherit(sd->sd_dp, fs->rf_name, USER_PROP, false);
    } else {
        nvlist_t *props = nvlist_alloc();
        snprintf(fs->rf_prop, sizeof(fs->rf_prop), "v%d", r->rp_name++);
        nvlist_add_string(props, USER_PROP, fs->rf_prop);
        err = dsl_prop_set(sd->sd_dp, fs->rf_name, props);
        nvlist_free(props);
    }
    (void)agree(r, err, 0, "set %s=%s %s", USER_PROP, fs->rf_prop, fs->rf_name);
}

/* ---- streams ---- */

static int
stream_of(replay_t *r, side_t *sd, const char *to, const char *from, dsl_resume_t *resume)
{
    uint64_t off = 0;
    dmu_send_args_t args = {.dsa_tosnap = to,
                            .dsa_from = from,
                            .dsa_off = &off,
                            .dsa_flags = resume != NULL ? resume->dr_flags : (uint32_t)rnd(r, 8)};

    if (resume != NULL) {
        args.dsa_resumeobj = resume->dr_object;
        args.dsa_resumeoff = resume->dr_offset;
    }
    args.dsa_fd = memfd_create("stream", 0);
    int err = dmu_send(sd->sd_dp, &args);
    ck_assert_msg(err == 0, "send of %s from %s: %s", to, from != NULL ? from : "nothing",
                  cowbird_strerror(err));
    lseek(args.dsa_fd, 0, SEEK_SET);
    return args.dsa_fd;
}

static int
receive(replay_t *r, side_t *sd, const char *target, const char *origin, int fd, bool force, bool resumable)
{
    stream_error_t se;
    dmu_receive_args_t args = {.dra_target = target,
                               .dra_fd = fd,
                               .dra_force = force,
                               .dra_origin = origin,
                               .dra_resumable = resumable};
    char received[ZFS_MAX_DATASET_NAME_LEN];
    int err = dmu_receive(sd->sd_dp, &args, received, &se);

    close(fd);
    if (err != 0)
        say(r, "    (receive: %s, record %lu)", se.se_text, (unsigned long)se.se_record);
    return err;
}

/* A full stream into a new file system; of a clone whose origin is over there, an increment on it. */
static void
op_send_new(replay_t *r, side_t *from, side_t *to)
{
    char snap[ZFS_MAX_DATASET_NAME_LEN], name[RM_NAME], origin[ZFS_MAX_DATASET_NAME_LEN],
        here[ZFS_MAX_DATASET_NAME_LEN];
    rm_fs_t *fs = pick_fs_with_snap(r, from), *ofs = NULL, *there = NULL;

    if (fs == NULL || rm_count(&to->sd_model) == RM_FS)
        return;
    rm_snap_t *sn = &fs->rf_snaps[rnd(r, (uint64_t)fs->rf_nsnaps)], *osn = NULL;
    int at = -1;
    if (fs->rf_origin != 0)
        osn = rm_snap_by_id(&from->sd_model, fs->rf_origin, &ofs);
    for (int i = 0; osn != NULL && i < RM_FS && at < 0; i++) {
        there = to->sd_model.rp_fs[i];
        at = there != NULL ? rm_snap_by_guid(there, osn->sn_guid) : -1;
    }
    pick_name(r, to, name);
    full_name(snap, fs, '@', sn->sn_name);
    if (at >= 0) {
        full_name(origin, ofs, '@', osn->sn_name);
        full_name(here, there, '@', there->rf_snaps[at].sn_name);
    }
    int err = receive(r, to, name, at >= 0 ? here : NULL,
                      stream_of(r, from, snap, at >= 0 ? origin : NULL, NULL), false, false);
    uint64_t id = at >= 0 ? there->rf_snaps[at].sn_id : 0;
    (void)agree(r, err, rm_receive_new(&to->sd_model, name, sn->sn_name, sn, id), "send %s%s%s | receive %s",
                at >= 0 ? "-i origin " : "", snap, "", name);
}

/* A full stream, forced, onto a file system that is there. */
static void
op_send_replace(replay_t *r, side_t *from, side_t *to)
{
    char snap[ZFS_MAX_DATASET_NAME_LEN];
    rm_fs_t *fs = pick_fs_with_snap(r, from), *target = pick_fs(r, to);

    if (fs == NULL || is_root(target))
        return;
    for (int i = 0; i < 3 && target->rf_nsnaps != 0; i++)
        target = pick_fs(r, to);
    rm_snap_t *sn = &fs->rf_snaps[rnd(r, (uint64_t)fs->rf_nsnaps)];
    full_name(snap, fs, '@', sn->sn_name);
    int err = receive(r, to, target->rf_name, NULL, stream_of(r, from, snap, NULL, NULL), true, false);
    (void)agree(r, err, rm_receive_replace(target, sn->sn_name, sn), "send %s | receive -F %s", snap,
                target->rf_name);
}

/* One that could take an increment of fs: its latest snapshot is one of fs's (or marked by one of its bookmarks). */
static rm_fs_t *
pick_target(replay_t *r, side_t *to, const rm_fs_t *fs, int *s)
{
    for (int i = 0; i < 30; i++) {
        rm_fs_t *t = pick_fs(r, to);
        if (t->rf_nsnaps == 0)
            continue;
        int k = rnd(r, 6) == 0 ? (int)rnd(r, (uint64_t)t->rf_nsnaps) : t->rf_nsnaps - 1;
        *s = rm_snap_by_guid(fs, t->rf_snaps[k].sn_guid);
        if (*s >= 0 && *s + 1 < fs->rf_nsnaps && t->rf_nsnaps < RM_SNAPS)
            return t;
    }
    return NULL;
}

static void
op_send_increment(replay_t *r, side_t *from, side_t *to)
{
    char snap[ZFS_MAX_DATASET_NAME_LEN], base[ZFS_MAX_DATASET_NAME_LEN];
    rm_fs_t *fs = pick_fs_with_snap(r, from);
    int s, other;
    rm_fs_t *target = fs != NULL ? pick_target(r, to, fs, &s) : NULL;

    if (target == NULL)
        return;
    rm_snap_t *sn = &fs->rf_snaps[s + 1 + (int)rnd(r, (uint64_t)(fs->rf_nsnaps - s - 1))];
    bool force = rnd(r, 2) == 0;
    full_name(snap, fs, '@', sn->sn_name);
    full_name(base, fs, '@', fs->rf_snaps[s].sn_name);
    for (int m = 0; m < fs->rf_nmarks; m++)
        if (fs->rf_marks[m].mk_guid == fs->rf_snaps[s].sn_guid)
            full_name(base, fs, '#', fs->rf_marks[m].mk_name);
    int err = receive(r, to, target->rf_name, NULL, stream_of(r, from, snap, base, NULL), force, false);
    if (err == ETXTBSY && target->rf_changed == RM_MAYBE && !force)
        return;
    int want = rm_receive_inc(target, fs->rf_snaps[s].sn_guid, sn->sn_name, sn, force, &other);
    if (other != 0 && err == other)
        want = err;
    (void)agree(r, err, want, "send -i %s %s | receive%s %s", base, snap, force ? " -F" : "",
                target->rf_name);
}

/* A resumable receive whose stream ends too soon goes on from its token. */
static void
op_send_cut(replay_t *r, side_t *from, side_t *to)
{
    char snap[ZFS_MAX_DATASET_NAME_LEN], name[RM_NAME], token[RESUME_TOKEN_MAX];
    rm_fs_t *fs = pick_fs_with_snap(r, from);
    dsl_resume_t dr;

    if (fs == NULL || rm_count(&to->sd_model) == RM_FS)
        return;
    rm_snap_t *sn = &fs->rf_snaps[rnd(r, (uint64_t)fs->rf_nsnaps)];
    snprintf(name, sizeof(name), "%s/f%d", dsl_pool_name(to->sd_dp), r->rp_name++);
    full_name(snap, fs, '@', sn->sn_name);
    int fd = stream_of(r, from, snap, NULL, NULL);
    uint64_t size = (uint64_t)lseek(fd, 0, SEEK_END), cut = 2 * DRR_SIZE + rnd(r, size - 2 * DRR_SIZE);
    OK(ftruncate(fd, (off_t)cut));
    lseek(fd, 0, SEEK_SET);
    int err = receive(r, to, name, NULL, fd, false, true);
    (void)agree(r, err, EINVAL, "send %s | head -c %lu | receive -s %s", snap, (unsigned long)cut, name);
    err = dsl_resume_token(to->sd_dp, name, token);
    if (err == ENOENT || rnd(r, 4) == 0) {
        if (err == 0)
            OK(dsl_recv_abort(to->sd_dp, name));
        return; /* it had hardly begun: there is nothing */
    }
    OK(err);
    OK(dsl_resume_parse(token, &dr));
    err = receive(r, to, name, NULL, stream_of(r, from, snap, NULL, &dr), false, true);
    (void)agree(r, err, rm_receive_new(&to->sd_model, name, sn->sn_name, sn, 0), "send -t | receive -s %s",
                name);
}

/* Every snapshot of a file system up to one, each a step: -I. */
static void
op_send_steps(replay_t *r, side_t *from, side_t *to)
{
    char snap[ZFS_MAX_DATASET_NAME_LEN], base[ZFS_MAX_DATASET_NAME_LEN];
    rm_fs_t *fs = pick_fs_with_snap(r, from);
    uint64_t off = 0;
    int s, other;
    rm_fs_t *target = fs != NULL ? pick_target(r, to, fs, &s) : NULL;

    if (target == NULL || s + 2 >= fs->rf_nsnaps)
        return;
    int last = fs->rf_nsnaps - 1;
    if (target->rf_nsnaps + last - s > RM_SNAPS ||
        target->rf_snaps[target->rf_nsnaps - 1].sn_guid != fs->rf_snaps[s].sn_guid)
        return;
    for (int i = s + 1; i <= last; i++)
        if (rm_snap_index(target, fs->rf_snaps[i].sn_name) >= 0)
            return;
    full_name(snap, fs, '@', fs->rf_snaps[last].sn_name);
    full_name(base, fs, '@', fs->rf_snaps[s].sn_name);
    dmu_send_package_args_t args = {.dpa_send = {.dsa_tosnap = snap,
                                                 .dsa_from = base,
                                                 .dsa_off = &off,
                                                 .dsa_fd = memfd_create("package", 0)},
                                    .dpa_intermediate = true};
    OK(dmu_send_package(from->sd_dp, &args));
    lseek(args.dpa_send.dsa_fd, 0, SEEK_SET);
    int err = receive(r, to, target->rf_name, NULL, args.dpa_send.dsa_fd, true, false);
    for (int i = s + 1; i <= last && err == 0; i++)
        OK(rm_receive_inc(target, fs->rf_snaps[i - 1].sn_guid, fs->rf_snaps[i].sn_name, &fs->rf_snaps[i],
                          true, &other));
    (void)agree(r, err, 0, "send -I %s %s | receive -F %s", base, snap, target->rf_name);
}

/* A whole tree with its snapshots and clones: -R. */
static void
op_send_tree(replay_t *r, side_t *from, side_t *to)
{
    char snap[ZFS_MAX_DATASET_NAME_LEN], name[RM_NAME];
    rm_fs_t *fs = pick_fs_with_snap(r, from);
    uint64_t off = 0;
    int below = 0;

    for (int i = 0; fs != NULL && i < RM_FS; i++)
        below += from->sd_model.rp_fs[i] != NULL && rm_below(from->sd_model.rp_fs[i]->rf_name, fs->rf_name);
    if (fs == NULL || rm_count(&to->sd_model) + below > RM_FS)
        return;
    const char *last = fs->rf_snaps[rnd(r, (uint64_t)fs->rf_nsnaps)].sn_name;
    if (!rm_tree_is_whole(&from->sd_model, fs, last))
        return;
    pick_name(r, to, name);
    full_name(snap, fs, '@', last);
    dmu_send_package_args_t args = {
        .dpa_send = {.dsa_tosnap = snap, .dsa_off = &off, .dsa_fd = memfd_create("package", 0)},
        .dpa_replicate = true};
    OK(dmu_send_package(from->sd_dp, &args));
    lseek(args.dpa_send.dsa_fd, 0, SEEK_SET);
    int err = receive(r, to, name, NULL, args.dpa_send.dsa_fd, false, false);
    (void)agree(r, err, rm_receive_tree(&to->sd_model, name, &from->sd_model, fs, last),
                "send -R %s (%d) | receive %s", snap, below, name);
}

/* ---- what must hold ---- */

static void
verify_generation(objset_t *os, const rm_object_t *ro, const char *name)
{
    dmu_buf_t *db;
    int err = dmu_bonus_hold(os, ro->ro_object, &db);

    ck_assert_msg(err == 0 && db->db_size >= ZNODE_SIZE &&
                      memcmp((uint8_t *)db->db_data + ZNODE_GEN, &ro->ro_gen, 8) == 0,
                  "%s, object %lu: another file's attributes", name, (unsigned long)ro->ro_object);
    dmu_buf_rele(db);
}

static void
verify_state(objset_t *os, const rm_state_t *state, const char *name)
{
    static uint8_t want[16384], got[16384];
    uint64_t object = 0;
    int there = 0, wanted = 0;

    while (dmu_object_next(os, &object, false, 0) == 0)
        there++;
    for (int o = 0; o < RM_OBJECTS; o++) {
        const rm_object_t *ro = &state->rs_objects[o];
        wanted += ro->ro_object != 0;
        if (ro->ro_object != 0)
            verify_generation(os, ro, name);
        for (uint32_t b = 0; b < RM_BLOCKS && ro->ro_object != 0; b++) {
            rm_fill(ro->ro_seed[b], want, ro->ro_blksz);
            int err = dmu_read(os, ro->ro_object, (uint64_t)b * ro->ro_blksz, ro->ro_blksz, got);
            ck_assert_msg(err == 0 && memcmp(want, got, ro->ro_blksz) == 0, "%s, object %lu, block %u: %s",
                          name, (unsigned long)ro->ro_object, b,
                          err == 0 ? "differs" : cowbird_strerror(err));
        }
    }
    ck_assert_msg(there == wanted, "%s: %d objects instead of %d", name, there, wanted);
}

static void
verify_contents(side_t *sd, const rm_state_t *state, const char *name)
{
    dsl_dataset_t *ds;
    objset_t *os = snap_hold(sd->sd_dp, name, &ds);

    verify_state(os, state, name);
    dsl_dataset_rele(ds, sd->sd_dp);
}

typedef struct names {
    int n;
    char text[4096];
} names_t;

static int
add_name(void *arg, const char *name)
{
    names_t *ns = arg;

    ns->n++;
    snprintf(ns->text + strlen(ns->text), sizeof(ns->text) - strlen(ns->text), " %s", name);
    return 0;
}

static int
add_hold(void *arg, const char *tag, uint64_t when)
{
    *(uint32_t *)arg |= 1u << (tag[3] - '0');
    return 0;
}

static void
verify_holds(side_t *sd, const rm_snap_t *sn, const char *name)
{
    uint32_t tags = 0;

    OK(dsl_for_each_hold(sd->sd_dp, name, add_hold, &tags));
    ck_assert_msg(tags == sn->sn_tags, "%s has the holds 0x%x instead of 0x%x", name, tags, sn->sn_tags);
}

static void
verify_snapshots(side_t *sd, const rm_fs_t *fs)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];
    dsl_bookmark_t bm;
    dsl_stats_t st;
    names_t got = {0}, want = {0}, marks = {0};

    OK(dsl_for_each_snapshot(sd->sd_dp, fs->rf_name, add_name, &got));
    for (int s = 0; s < fs->rf_nsnaps; s++) {
        const rm_snap_t *sn = &fs->rf_snaps[s];
        full_name(name, fs, '@', sn->sn_name);
        (void)add_name(&want, name);
        OK(dsl_dataset_stats(sd->sd_dp, name, &st));
        ck_assert_msg(st.dst_guid == sn->sn_guid, "%s has another guid", name);
        ck_assert_msg((int)st.dst_numclones == rm_clones(&sd->sd_model, sn), "%s has %lu clones", name,
                      (unsigned long)st.dst_numclones);
        verify_holds(sd, sn, name);
        verify_contents(sd, &sn->sn_state, name);
    }
    ck_assert_msg(strcmp(got.text, want.text) == 0, "snapshots of %s:%s instead of%s", fs->rf_name, got.text,
                  want.text);
    OK(dsl_for_each_bookmark(sd->sd_dp, fs->rf_name, add_name, &marks));
    ck_assert_msg(marks.n == fs->rf_nmarks, "%s has the bookmarks%s", fs->rf_name, marks.text);
    for (int m = 0; m < fs->rf_nmarks; m++) {
        full_name(name, fs, '#', fs->rf_marks[m].mk_name);
        OK(dsl_bookmark_get(sd->sd_dp, name, &bm));
        ck_assert_msg(bm.db_guid == fs->rf_marks[m].mk_guid, "%s has another guid", name);
    }
}

static void
verify_fs(side_t *sd, const rm_fs_t *fs)
{
    char origin[ZFS_MAX_DATASET_NAME_LEN] = "", value[64] = "";
    dsl_prop_source_t src;
    dsl_stats_t st;
    rm_fs_t *ofs;
    rm_snap_t *osn = fs->rf_origin != 0 ? rm_snap_by_id(&sd->sd_model, fs->rf_origin, &ofs) : NULL;

    if (osn != NULL)
        full_name(origin, ofs, '@', osn->sn_name);
    OK(dsl_dataset_stats(sd->sd_dp, fs->rf_name, &st));
    ck_assert_msg(strcmp(st.dst_origin, origin) == 0, "%s: origin '%s' instead of '%s'", fs->rf_name,
                  st.dst_origin, origin);
    if (dsl_prop_get(sd->sd_dp, fs->rf_name, USER_PROP, value, sizeof(value), &src, NULL) != 0)
        value[0] = '\0';
    ck_assert_msg(strcmp(value, rm_prop(&sd->sd_model, fs)) == 0, "%s: %s is '%s' instead of '%s'",
                  fs->rf_name, USER_PROP, value, rm_prop(&sd->sd_model, fs));
    verify_contents(sd, &fs->rf_head, fs->rf_name);
    verify_snapshots(sd, fs);
}

/* A directory's used is its parts; its children's used are one of them. Returns its used. */
static uint64_t
verify_space(side_t *sd, const char *name, int *count)
{
    dsl_stats_t st;
    uint64_t parts = 0, children = 0;

    ++*count;
    OK(dsl_dataset_stats(sd->sd_dp, name, &st));
    for (int i = 0; i < DD_USED_NUM; i++)
        parts += st.dst_usedby[i];
    ck_assert_msg(parts == st.dst_used, "%s: used %lu, its parts %lu", name, (unsigned long)st.dst_used,
                  (unsigned long)parts);
    for (int i = 0; i < RM_FS; i++) {
        const rm_fs_t *fs = sd->sd_model.rp_fs[i];
        if (fs != NULL && rm_below(fs->rf_name, name) && strcmp(fs->rf_name, name) != 0 &&
            strchr(fs->rf_name + strlen(name) + 1, '/') == NULL)
            children += verify_space(sd, fs->rf_name, count);
    }
    uint64_t told = st.dst_usedby[DD_USED_CHILD] + st.dst_usedby[DD_USED_CHILD_RSRV];
    if (strchr(name, '/') != NULL)
        ck_assert_msg(children == told, "%s: children use %lu, it says %lu", name, (unsigned long)children,
                      (unsigned long)told);
    else
        ck_assert_uint_ge(told, children); /* the pool's own objects, too */
    return st.dst_used;
}

static int
count_children(void *arg, const char *name)
{
    names_t *ns = ((void **)arg)[1];

    ns->n++;
    return dsl_for_each_child(((void **)arg)[0], name, count_children, arg);
}

static void
verify(side_t *sd)
{
    names_t all = {.n = 1};
    void *arg[2] = {sd->sd_dp, &all};
    uint64_t avail, used;
    int count = 0;

    pool_verify(sd->sd_dp);
    for (int i = 0; i < RM_FS; i++)
        if (sd->sd_model.rp_fs[i] != NULL)
            verify_fs(sd, sd->sd_model.rp_fs[i]);
    OK(dsl_for_each_child(sd->sd_dp, dsl_pool_name(sd->sd_dp), count_children, arg));
    ck_assert_int_eq(all.n, rm_count(&sd->sd_model));
    uint64_t root = verify_space(sd, dsl_pool_name(sd->sd_dp), &count);
    ck_assert_int_eq(count, all.n);
    dsl_pool_space(sd->sd_dp, &avail, &used);
    ck_assert_uint_eq(used, root);
}

/* ---- sequences ---- */

static void
side_open(side_t *sd, const char *name)
{
    sd->sd_disk = faultdisk_create(DISK);
    sd->sd_dp = pool_make(sd->sd_disk, name);
    rm_init(&sd->sd_model, name);
}

static void
side_close(side_t *sd)
{
    OK(dsl_pool_close(sd->sd_dp));
    faultdisk_destroy(sd->sd_disk);
    rm_fini(&sd->sd_model);
}

static void
side_store(side_t *sd, uint64_t seed)
{
    char *path = xasprintf("%s/%s.%lu.img", image_dir, dsl_pool_name(sd->sd_dp), (unsigned long)seed);
    uint8_t *buf = xmalloc(1 << 20);
    FILE *f = fopen(path, "w");

    ck_assert_ptr_nonnull(f);
    for (uint64_t off = 0; off < DISK; off += 1 << 20) {
        faultdisk_peek(sd->sd_disk, off, buf, 1 << 20);
        bool zero = buf[0] == 0 && memcmp(buf, buf + 1, (1 << 20) - 1) == 0;
        OK(zero ? fseek(f, 1 << 20, SEEK_CUR) : fwrite(buf, 1 << 20, 1, f) != 1);
    }
    OK(ftruncate(fileno(f), (off_t)DISK));
    OK(fclose(f));
    free(buf);
    free(path);
}

static void
one_step(replay_t *r, side_t *sd, side_t *to)
{
    static void (*const local[])(replay_t *, side_t *) = {
        op_write,    op_write,         op_write,         op_write,         op_create,     op_snapshot,
        op_snapshot, op_snapshot,      op_clone,         op_promote,       op_rename,     op_rename_snapshot,
        op_rollback, op_destroy_snaps, op_destroy_named, op_destroy_snaps, op_destroy_fs, op_destroy_fs,
        op_bookmark, op_prop,          op_hold,          op_release,       op_release};
    static void (*const across[])(replay_t *, side_t *, side_t *) = {
        op_send_new,   op_send_increment, op_send_increment, op_send_cut,
        op_send_steps, op_send_tree,      op_send_replace};
    uint64_t n = rnd(r, ARRAY_SIZE(local) + ARRAY_SIZE(across));

    if (n < ARRAY_SIZE(local))
        local[n](r, sd);
    else
        across[n - ARRAY_SIZE(local)](r, sd, to);
}

static void
sequence(uint64_t seed)
{
    replay_t r = {.rp_rng = seed * 0x9e3779b97f4a7c15ULL + 88172645463325252ULL,
                  .rp_talk = getenv("COWBIRD_REPLAY") != NULL};

    *the_seed = seed;
    side_open(&r.rp_side[0], "left");
    side_open(&r.rp_side[1], "right");
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < 2 && getenv("COWBIRD_REPLAY_EACH") != NULL; i++)
            verify(&r.rp_side[i]);
        uint64_t left = rnd(&r, 3) == 0;
        one_step(&r, &r.rp_side[left], &r.rp_side[!left]);
        if (rnd(&r, 100) == 0) {
            side_t *sd = &r.rp_side[rnd(&r, 2)];
            OK(dsl_pool_close(sd->sd_dp));
            sd->sd_dp = pool_reopen(sd->sd_disk);
        }
    }
    for (int i = 0; i < 2; i++) {
        verify(&r.rp_side[i]);
        if (image_dir != NULL)
            side_store(&r.rp_side[i], seed);
        side_close(&r.rp_side[i]);
    }
    total_done += r.rp_done;
    total_refused += r.rp_refused;
}

START_TEST(replay)
{
    const char *one = getenv("COWBIRD_REPLAY");
    int n = one != NULL ? 1 : effort(SEQUENCES);

    image_dir = getenv("COWBIRD_REPLAY_IMG");

    for (int i = 0; i < n; i++) {
        uint64_t seed = one != NULL ? strtoull(one, NULL, 0) : (uint64_t)i + 1;
        sequence(seed);
    }
    printf("replay: %d sequences, %lu operations done, %lu refused as they should be\n", n,
           (unsigned long)total_done, (unsigned long)total_refused);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("replay");
    TCase *t = tcase_create("replay");

    the_seed = mmap(NULL, sizeof(*the_seed), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (the_seed == MAP_FAILED)
        return 1;
    SRunner *sr = srunner_create(s);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, replay);
    suite_add_tcase(s, t);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    if (failed != 0)
        fprintf(stderr, "COWBIRD_REPLAY=%lu repeats it\n", (unsigned long)*the_seed);
    srunner_free(sr);
    return failed != 0;
}
