/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bookmark.c - "fs#mark": what remains of a snapshot when only its birth time is still of use.
 *
 *     head's dataset object (zapified)  ── com.delphix:bookmarks ──► ZAP { mark -> guid, creation txg, creation time }
 *
 * An incremental stream needs no block of the snapshot it starts from: it needs to know which blocks were born later (the txg) and which
 * snapshot the receiver must have (the guid). So the snapshot's space can be given back, and the next send still be incremental.
 *
 * INVARIANTS
 *  1. The ZAP is there only while it has an entry; feature com.delphix:bookmarks counts these ZAPs.
 *  2. Bookmarks belong to the file system's head object: they follow a rename, stay through rollback, promote and swap (the object does),
 *     and go with the file system.
 *  3. All names of one call are made, or none.
 *
 * Entries of 96 bytes (bookmark_v2: sizes, redaction) are read as far as we know them; no pool with such is written.
 *
 * ZFS: module/zfs/dsl_bookmark.c
 */
#include <stdio.h>
#include "dsl_impl.h"

#define BOOKMARK_WORDS    3
#define BOOKMARK_WORDS_V2 12

/* ---- looking up ---- */

/* "a/b#c" -> "a/b"; fs has ZFS_MAX_DATASET_NAME_LEN bytes. mark points into name. */
static int
split_mark(const char *name, char *fs, const char **mark)
{
    const char *hash = strchr(name, '#');

    if (strlen(name) >= ZFS_MAX_DATASET_NAME_LEN)
        return SET_ERROR(ENAMETOOLONG);
    if (hash == NULL || strchr(name, '@') != NULL)
        return SET_ERROR(EINVAL);
    memcpy(fs, name, (size_t)(hash - name));
    fs[hash - name] = '\0';
    *mark = hash + 1;
    return name_check_component(*mark, strlen(*mark), false);
}

/* The ZAP of a head's bookmarks; 0: there are none. */
static int
marks_zap(dsl_pool_t *dp, uint64_t headobj, uint64_t *object)
{
    dmu_object_info_t doi;
    int err = dmu_object_info(pool_mos(dp), headobj, &doi);

    *object = 0;
    if (err != 0 || doi.doi_type != DMU_OTN_ZAP_METADATA)
        return err;
    err = zap_lookup_u64(pool_mos(dp), headobj, DS_FIELD_BOOKMARK_NAMES, object);
    return err == ENOENT ? 0 : err;
}

static int
mark_read(dsl_pool_t *dp, uint64_t zapobj, const char *mark, dsl_bookmark_t *bm)
{
    uint64_t words[BOOKMARK_WORDS_V2] = {0};
    int err = zapobj == 0
                  ? SET_ERROR(ENOENT)
                  : zap_lookup(pool_mos(dp), zapobj, mark, sizeof(uint64_t), BOOKMARK_WORDS_V2, words);

    *bm = (dsl_bookmark_t){words[0], words[1], words[2]};
    return err;
}

int
dsl_bookmark_lookup(dsl_pool_t *dp, const char *name, dsl_dataset_t *later, dsl_bookmark_t *bm)
{
    char fs[ZFS_MAX_DATASET_NAME_LEN];
    const char *mark;
    dsl_dataset_t *head;
    uint64_t zapobj;
    int err = split_mark(name, fs, &mark);

    memset(bm, 0, sizeof(*bm));
    if (err != 0 || (err = dsl_dataset_hold_locked(dp, fs, __func__, &head)) != 0)
        return err;
    if ((err = marks_zap(dp, head->ds_object, &zapobj)) == 0)
        err = mark_read(dp, zapobj, mark, bm);
    if (err == 0 && later != NULL && !dsl_dataset_is_before_txg(later, head, bm->db_createtxg))
        err = SET_ERROR(EXDEV);
    dsl_dataset_rele(head, __func__);
    return err;
}

/* A state of head's file system at txg: is later a later state of it? Clones count from their origin on. */
bool
dsl_dataset_is_before_txg(dsl_dataset_t *later, dsl_dataset_t *head, uint64_t txg)
{
    dsl_dataset_phys_t p;
    dsl_dir_phys_t dir;

    dsl_dataset_phys(later, &p);
    if (p.ds_num_children != 0 && txg >= p.ds_creation_txg)
        return false;
    for (uint64_t last = UINT64_MAX; p.ds_dir_obj != head->ds_phys.ds_dir_obj; last = p.ds_creation_txg)
        if (mos_read_bonus(head->ds_pool, p.ds_dir_obj, DMU_OT_DSL_DIR, &dir, sizeof(dir)) != 0 ||
            mos_read_bonus(head->ds_pool, dir.dd_origin_obj, DMU_OT_DSL_DATASET, &p, sizeof(p)) != 0 ||
            txg > p.ds_creation_txg || p.ds_creation_txg >= last)
            return false;
    return true;
}

int
dsl_bookmark_get(dsl_pool_t *dp, const char *name, dsl_bookmark_t *bm)
{
    rw_enter_read(&dp->dp_config_lock);
    int err = dsl_bookmark_lookup(dp, name, NULL, bm);
    rw_exit(&dp->dp_config_lock);
    return err;
}

/* ---- listing ---- */

typedef struct mark {
    char *m_name;
    uint64_t m_txg;
} mark_t;

static int
mark_compare(const void *a, const void *b)
{
    const mark_t *x = a, *y = b;

    return x->m_txg != y->m_txg ? AVL_CMP(x->m_txg, y->m_txg) : strcmp(x->m_name, y->m_name);
}

static int
collect_marks(dsl_pool_t *dp, const char *fs, mark_t **marks, size_t *n)
{
    dsl_bookmark_t bm;
    dsl_dataset_t *ds;
    zap_cursor_t zc;
    zap_attribute_t za;
    uint64_t zapobj;
    int err = strchr(fs, '@') != NULL ? SET_ERROR(EINVAL) : dsl_dataset_hold_locked(dp, fs, __func__, &ds);

    if (err != 0)
        return err;
    err = marks_zap(dp, ds->ds_object, &zapobj);
    dsl_dataset_rele(ds, __func__);
    if (err != 0 || zapobj == 0)
        return err;
    for (zap_cursor_init(&zc, pool_mos(dp), zapobj); (err = zap_cursor_retrieve(&zc, &za)) == 0;
         zap_cursor_advance(&zc)) {
        if ((err = mark_read(dp, zapobj, za.za_name, &bm)) != 0)
            break;
        *marks = xrealloc(*marks, (*n + 1) * sizeof(mark_t));
        (*marks)[(*n)++] = (mark_t){xasprintf("%s#%s", fs, za.za_name), bm.db_createtxg};
    }
    zap_cursor_fini(&zc);
    return err == ENOENT ? 0 : err;
}

/* What they promise ("only what was born later differs") would be broken by going back to a state before them. */
int
dsl_bookmarks_check_rollback(dsl_dataset_t *head, uint64_t txg)
{
    dsl_pool_t *dp = head->ds_pool;
    dsl_bookmark_t bm;
    zap_cursor_t zc;
    zap_attribute_t za;
    uint64_t zapobj;
    int err = marks_zap(dp, head->ds_object, &zapobj);

    if (err != 0 || zapobj == 0)
        return err;
    for (zap_cursor_init(&zc, pool_mos(dp), zapobj); (err = zap_cursor_retrieve(&zc, &za)) == 0;
         zap_cursor_advance(&zc)) {
        if ((err = mark_read(dp, zapobj, za.za_name, &bm)) == 0 && bm.db_createtxg > txg)
            err = SET_ERROR(EEXIST);
        if (err != 0)
            break;
    }
    zap_cursor_fini(&zc);
    return err == ENOENT ? 0 : err;
}

int
dsl_for_each_bookmark(dsl_pool_t *dp, const char *fs, dsl_name_cb_t cb, void *arg)
{
    mark_t *marks = NULL;
    size_t n = 0;

    rw_enter_read(&dp->dp_config_lock);
    int err = collect_marks(dp, fs, &marks, &n);
    rw_exit(&dp->dp_config_lock);
    if (n > 1)
        qsort(marks, n, sizeof(mark_t), mark_compare);
    for (size_t i = 0; i < n; i++) {
        if (err == 0)
            err = cb(arg, marks[i].m_name);
        free(marks[i].m_name);
    }
    free(marks);
    return err;
}

/* ---- making ---- */

typedef struct bookmark_arg {
    dsl_pool_t *ba_pool;
    const char *const *ba_marks, *const *ba_sources;
    int ba_count;
    int ba_failed;
} bookmark_arg_t;

/* What the bookmark will say, and that its source is of the same file system (or of one that it is a clone of). */
static int
source_read(dsl_pool_t *dp, const char *source, dsl_dataset_t *head, dsl_bookmark_t *bm)
{
    dsl_dataset_t *snap;
    int err;

    if (strchr(source, '#') != NULL) {
        err = dsl_bookmark_lookup(dp, source, head, bm);
        return err == EXDEV ? SET_ERROR(EINVAL) : err;
    }
    if ((err = dsl_dataset_hold_locked(dp, source, __func__, &snap)) != 0)
        return err;
    const dsl_dataset_phys_t *p = &snap->ds_phys;
    *bm = (dsl_bookmark_t){p->ds_guid, p->ds_creation_txg, p->ds_creation_time};
    if (!dsl_dataset_is_before(head, snap))
        err = SET_ERROR(EINVAL);
    dsl_dataset_rele(snap, __func__);
    return err;
}

static bool
named_before(const bookmark_arg_t *ba, int i)
{
    for (int j = 0; j < i; j++)
        if (strcmp(ba->ba_marks[i], ba->ba_marks[j]) == 0)
            return true;
    return false;
}

static int
create_check_one(bookmark_arg_t *ba, int i)
{
    char fs[ZFS_MAX_DATASET_NAME_LEN];
    dsl_bookmark_t bm, old;
    const char *mark;
    dsl_dataset_t *head;
    uint64_t zapobj;
    int err = named_before(ba, i) ? SET_ERROR(EEXIST) : split_mark(ba->ba_marks[i], fs, &mark);

    if (err != 0 || (err = dsl_dataset_hold_locked(ba->ba_pool, fs, __func__, &head)) != 0)
        return err;
    if ((err = marks_zap(ba->ba_pool, head->ds_object, &zapobj)) == 0 && zapobj != 0) {
        err = mark_read(ba->ba_pool, zapobj, mark, &old);
        err = err == 0 ? SET_ERROR(EEXIST) : err == ENOENT ? 0 : err;
    }
    if (err == 0)
        err = source_read(ba->ba_pool, ba->ba_sources[i], head, &bm);
    dsl_dataset_rele(head, __func__);
    return err;
}

static int
create_check(void *arg, dmu_tx_t *tx)
{
    bookmark_arg_t *ba = arg;
    int err = feature_check_use(ba->ba_pool, FEATURE_BOOKMARKS);

    for (int i = 0; i < ba->ba_count && err == 0; i++)
        if ((err = create_check_one(ba, i)) != 0)
            ba->ba_failed = i;
    return err;
}

/* Of head, made when it has none. 0: the pool is suspended. */
static uint64_t
marks_zap_make(dsl_dataset_t *head, dmu_tx_t *tx)
{
    dsl_pool_t *dp = head->ds_pool;
    uint64_t zapobj;
    int err = marks_zap(dp, head->ds_object, &zapobj);

    if (err == 0 && zapobj == 0) {
        feature_zapify(dp, head->ds_object, tx);
        zapobj = zap_create_norm(pool_mos(dp), 2, DMU_OTN_ZAP_METADATA, DMU_OT_NONE, 0, tx);
        err = zap_add_u64(pool_mos(dp), head->ds_object, DS_FIELD_BOOKMARK_NAMES, zapobj, tx);
        if (err == 0)
            feature_add(dp, FEATURE_BOOKMARKS, 1, tx);
    }
    if (err != 0)
        spa_suspend(dp->dp_spa, err);
    return err == 0 ? zapobj : 0;
}

static void
create_sync_one(bookmark_arg_t *ba, int i, dmu_tx_t *tx)
{
    char fs[ZFS_MAX_DATASET_NAME_LEN];
    const char *mark;
    dsl_bookmark_t bm;
    dsl_dataset_t *head;
    uint64_t zapobj;
    int err = split_mark(ba->ba_marks[i], fs, &mark);

    if (err == 0 && (err = dsl_dataset_hold_locked(ba->ba_pool, fs, __func__, &head)) == 0) {
        err = source_read(ba->ba_pool, ba->ba_sources[i], head, &bm);
        if (err == 0 && (zapobj = marks_zap_make(head, tx)) != 0) {
            const uint64_t words[BOOKMARK_WORDS] = {bm.db_guid, bm.db_createtxg, bm.db_creation};
            err = zap_add(pool_mos(ba->ba_pool), zapobj, mark, sizeof(uint64_t), BOOKMARK_WORDS, words, tx);
        }
        if (err == 0)
            history_log_ds(head, "bookmark", tx, "#%s from %s", mark, ba->ba_sources[i]);
        dsl_dataset_rele(head, __func__);
    }
    if (err != 0) /* the check has just seen it */
        spa_suspend(ba->ba_pool->dp_spa, err);
}

static void
create_sync(void *arg, dmu_tx_t *tx)
{
    bookmark_arg_t *ba = arg;

    for (int i = 0; i < ba->ba_count; i++)
        create_sync_one(ba, i, tx);
}

int
dsl_bookmark(dsl_pool_t *dp, const char *const *marks, const char *const *sources, int n, int *failed)
{
    bookmark_arg_t ba = {dp, marks, sources, n, 0};
    int err = dsl_sync_task(dp, create_check, create_sync, &ba, 4 + n, DSL_SPACE_NORMAL);

    if (failed != NULL)
        *failed = ba.ba_failed;
    return err;
}

/* ---- destroying ---- */

static int
destroy_check(void *arg, dmu_tx_t *tx)
{
    bookmark_arg_t *ba = arg;
    dsl_bookmark_t bm;
    int err = 0;

    for (int i = 0; i < ba->ba_count && err == 0; i++)
        if ((err = dsl_bookmark_lookup(ba->ba_pool, ba->ba_marks[i], NULL, &bm)) != 0)
            ba->ba_failed = i;
    return err;
}

/* Invariant 1. */
static int
marks_zap_drop(dsl_pool_t *dp, uint64_t headobj, uint64_t zapobj, dmu_tx_t *tx)
{
    int err = zap_destroy(pool_mos(dp), zapobj, tx);

    if (err == 0)
        err = zap_remove(pool_mos(dp), headobj, DS_FIELD_BOOKMARK_NAMES, tx);
    if (err == 0)
        feature_add(dp, FEATURE_BOOKMARKS, -1, tx);
    return err;
}

static int
destroy_one(dsl_dataset_t *head, const char *mark, dmu_tx_t *tx)
{
    dsl_pool_t *dp = head->ds_pool;
    uint64_t zapobj, left;
    int err = marks_zap(dp, head->ds_object, &zapobj);

    if (err != 0 || zapobj == 0)
        return err;
    err = zap_remove(pool_mos(dp), zapobj, mark, tx);
    if (err == ENOENT)
        return 0; /* named twice */
    if (err == 0 && (err = zap_count(pool_mos(dp), zapobj, &left)) == 0 && left == 0)
        err = marks_zap_drop(dp, head->ds_object, zapobj, tx);
    return err;
}

static void
destroy_sync(void *arg, dmu_tx_t *tx)
{
    bookmark_arg_t *ba = arg;
    char fs[ZFS_MAX_DATASET_NAME_LEN];
    const char *mark;
    dsl_dataset_t *head;

    for (int i = 0; i < ba->ba_count; i++) {
        int err = split_mark(ba->ba_marks[i], fs, &mark);
        if (err == 0 && (err = dsl_dataset_hold_locked(ba->ba_pool, fs, __func__, &head)) == 0) {
            err = destroy_one(head, mark, tx);
            if (err == 0)
                history_log_ds(head, "remove bookmark", tx, "#%s", mark);
            dsl_dataset_rele(head, __func__);
        }
        if (err != 0)
            spa_suspend(ba->ba_pool->dp_spa, err);
    }
}

int
dsl_destroy_bookmarks(dsl_pool_t *dp, const char *const *marks, int n, int *failed)
{
    bookmark_arg_t ba = {dp, marks, NULL, n, 0};
    int err = dsl_sync_task(dp, destroy_check, destroy_sync, &ba, 4 + n, DSL_SPACE_RESERVED);

    if (failed != NULL)
        *failed = ba.ba_failed;
    return err;
}

void
dsl_bookmarks_destroy_all(dsl_dataset_t *head, dmu_tx_t *tx)
{
    uint64_t zapobj;
    int err = marks_zap(head->ds_pool, head->ds_object, &zapobj);

    if (err == 0 && zapobj != 0)
        err = marks_zap_drop(head->ds_pool, head->ds_object, zapobj, tx);
    if (err != 0)
        spa_suspend(head->ds_pool->dp_spa, err);
}

uint64_t
dsl_bookmarks_obj(dsl_pool_t *dp, uint64_t dsobj)
{
    uint64_t zapobj;

    return marks_zap(dp, dsobj, &zapobj) == 0 ? zapobj : 0;
}
