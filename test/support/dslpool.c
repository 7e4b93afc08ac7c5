/* SPDX-License-Identifier: BSD-2-Clause */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "dslpool.h"

#define OK(x) ck_assert_int_eq((x), 0)

uint64_t
tp_rnd(testpool_t *tp, uint64_t n)
{
    uint64_t *s = &tp->tp_rng;

    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return (*s >> 11) % n;
}

/* ---- life ---- */

testpool_t *
tp_create(uint64_t size, bool compat, uint64_t seed)
{
    testpool_t *tp = xzalloc(sizeof(*tp));
    dsl_pool_create_args_t args = {.pca_name = "tank", .pca_path = "/tmp/tank.img", .pca_compat = compat};
    disk_t disk;

    tp->tp_rng = seed * 2654435761u + 88172645463325252ULL;
    tp->tp_disk = faultdisk_create(size);
    disk = faultdisk_disk(tp->tp_disk);
    OK(dsl_pool_create(&disk, &args, &tp->tp_dp));
    strcpy(tp->tp_fs[0].mf_name, "tank");
    return tp;
}

void
tp_close(testpool_t *tp)
{
    OK(dsl_pool_close(tp->tp_dp));
    tp->tp_dp = NULL;
}

void
tp_open(testpool_t *tp)
{
    disk_t disk = faultdisk_disk(tp->tp_disk);

    OK(dsl_pool_open(&disk, 0, &tp->tp_dp));
}

void
tp_reopen(testpool_t *tp)
{
    tp_close(tp);
    tp_open(tp);
}

void
tp_destroy(testpool_t *tp)
{
    if (tp->tp_dp != NULL)
        tp_close(tp);
    faultdisk_destroy(tp->tp_disk);
    free(tp);
}

void
tp_sync(testpool_t *tp)
{
    OK(txg_wait_synced(tp->tp_dp->dp_txg, 0));
}

static void
report(void *arg, const char *text)
{
    fprintf(stderr, "check: %s\n", text);
}

void
tp_check(testpool_t *tp)
{
    tp_sync(tp);
    ck_assert_uint_eq(dsl_pool_check(tp->tp_dp, report, NULL), 0);
}

/* ---- the model ---- */

model_fs_t *
tp_find(testpool_t *tp, const char *name)
{
    for (int i = 0; i < MAX_FS; i++)
        if (strcmp(tp->tp_fs[i].mf_name, name) == 0)
            return &tp->tp_fs[i];
    return NULL;
}

static bool
is_snapshot(const model_fs_t *mf)
{
    return strchr(mf->mf_name, '@') != NULL;
}

model_fs_t *
tp_pick(testpool_t *tp, bool snapshot)
{
    model_fs_t *all[MAX_FS];
    uint64_t n = 0;

    for (int i = 0; i < MAX_FS; i++)
        if (tp->tp_fs[i].mf_name[0] != '\0' && is_snapshot(&tp->tp_fs[i]) == snapshot)
            all[n++] = &tp->tp_fs[i];
    return n == 0 ? NULL : all[tp_rnd(tp, n)];
}

static bool
any_begins(testpool_t *tp, const char *name, char next)
{
    size_t n = strlen(name);

    for (int i = 0; i < MAX_FS; i++)
        if (strncmp(tp->tp_fs[i].mf_name, name, n) == 0 && tp->tp_fs[i].mf_name[n] == next)
            return true;
    return false;
}

bool
tp_has_snapshots(testpool_t *tp, const model_fs_t *fs)
{
    return any_begins(tp, fs->mf_name, '@');
}

bool
tp_has_children(testpool_t *tp, const model_fs_t *fs)
{
    return any_begins(tp, fs->mf_name, '/');
}

bool
tp_has_clones(testpool_t *tp, const model_fs_t *snap)
{
    for (int i = 0; i < MAX_FS; i++)
        if (tp->tp_fs[i].mf_name[0] != '\0' && strcmp(tp->tp_fs[i].mf_origin, snap->mf_name) == 0)
            return true;
    return false;
}

/* Contents of a block: some compress well, some not at all, some fit into the pointer. */
static void
fill_block(uint32_t seed, uint8_t *buf, uint32_t n)
{
    uint64_t s = seed * 6364136223846793005ULL + 1;

    if (seed == 0) {
        memset(buf, 0, n);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        s = s * 6364136223846793005ULL + 1442695040888963407ULL;
        buf[i] = seed % 4 == 0   ? (uint8_t)(s >> 56)
                 : seed % 4 == 1 ? (uint8_t)seed
                 : i % 64 == 0   ? (uint8_t)(s >> 40)
                                 : 7;
    }
}

void
tp_block_head(uint32_t seed, uint8_t *buf, uint32_t n)
{
    fill_block(seed, buf, n);
}

static void
verify_object(objset_t *os, const char *name, const model_object_t *mo)
{
    uint8_t *want = xmalloc(mo->mo_blksz), *got = xmalloc(mo->mo_blksz);

    for (uint32_t b = 0; b < FS_BLOCKS; b++) {
        fill_block(mo->mo_seed[b], want, mo->mo_blksz);
        int err = dmu_read(os, mo->mo_object, (uint64_t)b * mo->mo_blksz, mo->mo_blksz, got);
        ck_assert_msg(err == 0, "%s object %lu block %u: %s", name, mo->mo_object, b, cowbird_strerror(err));
        ck_assert_msg(memcmp(want, got, mo->mo_blksz) == 0, "%s object %lu block %u differs", name,
                      mo->mo_object, b);
    }
    free(want);
    free(got);
}

void
tp_verify_fs(testpool_t *tp, dsl_pool_t *dp, const model_fs_t *mf)
{
    dsl_dataset_t *ds;
    objset_t *os;
    int err = dsl_dataset_hold(dp, mf->mf_name, tp, &ds);

    ck_assert_msg(err == 0, "%s: %s", mf->mf_name, cowbird_strerror(err));
    OK(dsl_dataset_objset(ds, &os));
    for (int o = 0; o < FS_OBJECTS; o++)
        if (mf->mf_objects[o].mo_object != 0)
            verify_object(os, mf->mf_name, &mf->mf_objects[o]);
    dsl_dataset_rele(ds, tp);
}

void
tp_verify(testpool_t *tp)
{
    for (int i = 0; i < MAX_FS; i++)
        if (tp->tp_fs[i].mf_name[0] != '\0')
            tp_verify_fs(tp, tp->tp_dp, &tp->tp_fs[i]);
}

/* ---- operations ---- */

static model_fs_t *
add_model(testpool_t *tp, const char *name, const model_fs_t *from)
{
    model_fs_t *mf = tp_find(tp, "");

    ck_assert_ptr_nonnull(mf);
    if (from != NULL)
        *mf = *from;
    else
        memset(mf, 0, sizeof(*mf));
    snprintf(mf->mf_name, sizeof(mf->mf_name), "%s", name);
    mf->mf_origin[0] = '\0';
    mf->mf_holds = 0;
    mf->mf_deferred = false;
    mf->mf_order = ++tp->tp_order;
    return mf;
}

int
tp_create_fs(testpool_t *tp, const char *name, const nvlist_t *props)
{
    int err = dsl_create(tp->tp_dp, name, DMU_OST_OTHER, props);

    if (err == 0)
        add_model(tp, name, NULL);
    return err;
}

int
tp_snapshot(testpool_t *tp, model_fs_t *fs, const char *snap)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];
    const char *names[] = {name};

    snprintf(name, sizeof(name), "%.100s@%.100s", fs->mf_name, snap);
    int err = dsl_snapshot(tp->tp_dp, names, 1, NULL, NULL);
    if (err == 0)
        add_model(tp, name, fs);
    return err;
}

int
tp_clone(testpool_t *tp, const model_fs_t *snap, const char *name)
{
    int err = dsl_clone(tp->tp_dp, snap->mf_name, name, NULL);

    if (err == 0)
        strcpy(add_model(tp, name, snap)->mf_origin, snap->mf_name);
    return err;
}

/* A marked snapshot that nothing keeps any more is gone. */
static void
settle(testpool_t *tp, const char *name)
{
    model_fs_t *snap = name[0] != '\0' ? tp_find(tp, name) : NULL;

    if (snap != NULL && snap->mf_deferred && snap->mf_holds == 0 && !tp_has_clones(tp, snap))
        memset(snap, 0, sizeof(*snap));
}

int
tp_hold(testpool_t *tp, model_fs_t *snap)
{
    const char *names[] = {snap->mf_name};
    char tag[20];

    snprintf(tag, sizeof(tag), "%d", snap->mf_holds + 1);
    int err = dsl_hold(tp->tp_dp, names, 1, tag, NULL);
    snap->mf_holds += err == 0;
    return err;
}

int
tp_release(testpool_t *tp, model_fs_t *snap)
{
    const char *names[] = {snap->mf_name};
    char tag[20];

    snprintf(tag, sizeof(tag), "%d", snap->mf_holds);
    int err = dsl_release(tp->tp_dp, names, 1, tag, NULL);
    snap->mf_holds -= err == 0;
    settle(tp, snap->mf_name);
    return err;
}

int
tp_defer(testpool_t *tp, model_fs_t *snap)
{
    const char *names[] = {snap->mf_name};
    int err = dsl_destroy_snapshots(tp->tp_dp, names, 1, true, NULL);

    snap->mf_deferred |= err == 0;
    settle(tp, snap->mf_name);
    return err;
}

int
tp_destroy_ds(testpool_t *tp, model_fs_t *mf)
{
    const char *names[] = {mf->mf_name};
    char origin[ZFS_MAX_DATASET_NAME_LEN];
    int err = is_snapshot(mf) ? dsl_destroy_snapshots(tp->tp_dp, names, 1, false, NULL)
                              : dsl_destroy_head(tp->tp_dp, mf->mf_name);

    if (err != 0)
        return err;
    strcpy(origin, mf->mf_origin);
    memset(mf, 0, sizeof(*mf));
    settle(tp, origin);
    return 0;
}

int
tp_rollback(testpool_t *tp, model_fs_t *fs)
{
    model_fs_t *last = NULL;
    size_t n = strlen(fs->mf_name);
    int err = dsl_rollback(tp->tp_dp, fs->mf_name, NULL);

    for (int i = 0; i < MAX_FS; i++) {
        model_fs_t *mf = &tp->tp_fs[i];
        if (strncmp(mf->mf_name, fs->mf_name, n) == 0 && mf->mf_name[n] == '@' &&
            (last == NULL || mf->mf_order > last->mf_order))
            last = mf;
    }
    if (err == 0) {
        ck_assert_ptr_nonnull(last);
        memcpy(fs->mf_objects, last->mf_objects, sizeof(fs->mf_objects));
    }
    return err;
}

/* Everything called from, from@..., from/... is called to instead. */
static void
rename_models(testpool_t *tp, const char *from, const char *to)
{
    char tail[ZFS_MAX_DATASET_NAME_LEN], old[ZFS_MAX_DATASET_NAME_LEN];
    size_t n = strlen(from);

    strcpy(old, from); /* it may be one of these names */
    from = old;
    for (int i = 0; i < MAX_FS; i++) {
        char *names[] = {tp->tp_fs[i].mf_name, tp->tp_fs[i].mf_origin};
        for (int k = 0; k < 2; k++) {
            if (strncmp(names[k], from, n) != 0 || strchr("@/", names[k][n]) == NULL)
                continue;
            strcpy(tail, names[k] + n);
            snprintf(names[k], ZFS_MAX_DATASET_NAME_LEN, "%.120s%.120s", to, tail);
        }
    }
}

/* Snapshots of the origin's file system up to the origin change sides, and with them whoever is their clone. */
int
tp_promote(testpool_t *tp, model_fs_t *fs)
{
    char from[ZFS_MAX_DATASET_NAME_LEN], name[ZFS_MAX_DATASET_NAME_LEN], snap[ZFS_MAX_DATASET_NAME_LEN];
    int err = dsl_promote(tp->tp_dp, fs->mf_name, NULL);

    if (err != 0)
        return err;
    model_fs_t *origin = tp_find(tp, fs->mf_origin), *other;
    ck_assert_ptr_nonnull(origin);
    snprintf(from, sizeof(from), "%.*s", (int)strcspn(fs->mf_origin, "@"), fs->mf_origin);
    other = tp_find(tp, from);
    snprintf(snap, sizeof(snap), "%.120s%.120s", fs->mf_name, strchr(fs->mf_origin, '@'));
    strcpy(fs->mf_origin, other->mf_origin);
    size_t n = strlen(from);
    uint64_t last = origin->mf_order;
    for (int i = 0; i < MAX_FS; i++) {
        model_fs_t *mf = &tp->tp_fs[i];
        if (strncmp(mf->mf_name, from, n) != 0 || mf->mf_name[n] != '@' || mf->mf_order > last)
            continue;
        snprintf(name, sizeof(name), "%.120s%.120s", fs->mf_name, mf->mf_name + n);
        rename_models(tp, mf->mf_name, name);
    }
    strcpy(other->mf_origin, snap);
    return 0;
}

int
tp_rename(testpool_t *tp, model_fs_t *fs, const char *to)
{
    char from[ZFS_MAX_DATASET_NAME_LEN];
    int err = dsl_rename(tp->tp_dp, fs->mf_name, to);

    strcpy(from, fs->mf_name);
    if (err == 0)
        rename_models(tp, from, to);
    return err;
}

int
tp_rename_snapshot(testpool_t *tp, model_fs_t *fs, const char *from, const char *to, bool recursive)
{
    char name[ZFS_MAX_DATASET_NAME_LEN], new[ZFS_MAX_DATASET_NAME_LEN];
    size_t n = strlen(fs->mf_name);
    int err = dsl_rename_snapshot(tp->tp_dp, fs->mf_name, from, to, recursive);

    for (int i = 0; i < MAX_FS && err == 0; i++) {
        model_fs_t *mf = &tp->tp_fs[i];
        bool below = strncmp(mf->mf_name, fs->mf_name, n) == 0 &&
                     (mf->mf_name[n] == '@' || (recursive && mf->mf_name[n] == '/'));
        const char *at = strchr(mf->mf_name, '@');
        if (!below || at == NULL || strcmp(at + 1, from) != 0)
            continue;
        strcpy(name, mf->mf_name);
        snprintf(new, sizeof(new), "%.*s@%.100s", (int)(at - mf->mf_name), mf->mf_name, to);
        rename_models(tp, name, new);
    }
    return err;
}

static dsl_dataset_t *
hold_os(testpool_t *tp, const model_fs_t *fs, objset_t **osp)
{
    dsl_dataset_t *ds;

    OK(dsl_dataset_hold(tp->tp_dp, fs->mf_name, tp, &ds));
    OK(dsl_dataset_objset(ds, osp));
    return ds;
}

static int
new_object(testpool_t *tp, objset_t *os, model_object_t *mo)
{
    static const uint32_t sizes[] = {512, 4096, 16384, 32768, 131072};
    dmu_tx_t *tx = dmu_tx_create(os);
    int err;

    dmu_tx_hold_bonus(tx, DMU_NEW_OBJECT);
    if ((err = dmu_tx_assign(tx, DMU_TX_WAIT)) != 0) {
        dmu_tx_abort(tx);
        return err;
    }
    memset(mo, 0, sizeof(*mo));
    mo->mo_blksz = sizes[tp_rnd(tp, ARRAY_SIZE(sizes))];
    OK(dmu_object_alloc(os, DMU_OT_PLAIN_FILE_CONTENTS, mo->mo_blksz, DMU_OT_NONE, 0, 0, tx, &mo->mo_object));
    dmu_tx_commit(tx);
    return 0;
}

static int
write_blocks(testpool_t *tp, objset_t *os, model_object_t *mo, uint32_t first, uint32_t count)
{
    uint8_t *buf = xmalloc((size_t)count * mo->mo_blksz);
    uint32_t seed[FS_BLOCKS];
    dmu_tx_t *tx = dmu_tx_create(os);
    int err;

    for (uint32_t i = 0; i < count; i++) {
        seed[i] = (uint32_t)tp_rnd(tp, UINT32_MAX);
        fill_block(seed[i], buf + (size_t)i * mo->mo_blksz, mo->mo_blksz);
    }
    dmu_tx_hold_write(tx, mo->mo_object, (uint64_t)first * mo->mo_blksz, (uint64_t)count * mo->mo_blksz);
    if ((err = dmu_tx_assign(tx, DMU_TX_WAIT)) != 0) {
        dmu_tx_abort(tx);
    } else {
        OK(dmu_write(os, mo->mo_object, (uint64_t)first * mo->mo_blksz, (uint64_t)count * mo->mo_blksz, buf,
                     tx));
        dmu_tx_commit(tx);
        memcpy(mo->mo_seed + first, seed, count * sizeof(seed[0]));
    }
    free(buf);
    return err;
}

int
tp_write(testpool_t *tp, model_fs_t *fs, int o, uint32_t first, uint32_t count)
{
    model_object_t *mo = &fs->mf_objects[o];
    objset_t *os;
    dsl_dataset_t *ds = hold_os(tp, fs, &os);
    int err = mo->mo_object == 0 ? new_object(tp, os, mo) : 0;

    if (err == 0)
        err = write_blocks(tp, os, mo, first, count);
    dsl_dataset_rele(ds, tp);
    return err;
}

int
tp_punch(testpool_t *tp, model_fs_t *fs, int o, uint32_t first, uint32_t count)
{
    model_object_t *mo = &fs->mf_objects[o];
    objset_t *os;
    dsl_dataset_t *ds;
    int err;

    if (mo->mo_object == 0)
        return 0;
    ds = hold_os(tp, fs, &os);
    dmu_tx_t *tx = dmu_tx_create(os);
    uint64_t off = (uint64_t)first * mo->mo_blksz, len = (uint64_t)count * mo->mo_blksz;
    dmu_tx_hold_free(tx, mo->mo_object, off, len);
    dmu_tx_mark_netfree(tx);
    if ((err = dmu_tx_assign(tx, DMU_TX_WAIT)) != 0) {
        dmu_tx_abort(tx);
    } else {
        OK(dmu_free_range(os, mo->mo_object, off, len, tx));
        dmu_tx_commit(tx);
        memset(mo->mo_seed + first, 0, count * sizeof(mo->mo_seed[0]));
    }
    dsl_dataset_rele(ds, tp);
    return err;
}

int
tp_remove(testpool_t *tp, model_fs_t *fs, int o)
{
    model_object_t *mo = &fs->mf_objects[o];
    objset_t *os;
    dsl_dataset_t *ds;
    int err;

    if (mo->mo_object == 0)
        return 0;
    ds = hold_os(tp, fs, &os);
    dmu_tx_t *tx = dmu_tx_create(os);
    dmu_tx_hold_free(tx, mo->mo_object, 0, DMU_OBJECT_END);
    dmu_tx_mark_netfree(tx);
    if ((err = dmu_tx_assign(tx, DMU_TX_WAIT)) != 0) {
        dmu_tx_abort(tx);
    } else {
        OK(dmu_object_free(os, mo->mo_object, tx));
        dmu_tx_commit(tx);
        memset(mo, 0, sizeof(*mo));
    }
    dsl_dataset_rele(ds, tp);
    return err;
}

void
tp_change(testpool_t *tp, model_fs_t *fs)
{
    for (uint64_t n = 1 + tp_rnd(tp, 4); n > 0; n--) {
        int o = (int)tp_rnd(tp, FS_OBJECTS);
        uint32_t first = (uint32_t)tp_rnd(tp, FS_BLOCKS), count = 1 + (uint32_t)tp_rnd(tp, FS_BLOCKS - first);
        uint64_t what = tp_rnd(tp, 10);
        if (what < 6)
            OK(tp_write(tp, fs, o, first, count));
        else if (what < 9)
            OK(tp_punch(tp, fs, o, first, count));
        else
            OK(tp_remove(tp, fs, o));
    }
}

static bool
room_for_more(testpool_t *tp)
{
    int n = 0;

    for (int i = 0; i < MAX_FS; i++)
        n += tp->tp_fs[i].mf_name[0] == '\0';
    return n > 1;
}

static void
random_destroy(testpool_t *tp)
{
    model_fs_t *mf = tp_pick(tp, tp_rnd(tp, 4) != 0);

    if (mf == NULL)
        return;
    if (is_snapshot(mf)) {
        bool clones = tp_has_clones(tp, mf);
        int want = clones ? EEXIST : mf->mf_holds > 0 ? EBUSY : 0, err = tp_destroy_ds(tp, mf);
        ck_assert_int_eq(err, want);
    } else if (strcmp(mf->mf_name, "tank") == 0) {
        ck_assert_int_eq(tp_destroy_ds(tp, mf), EBUSY);
    } else {
        bool full = tp_has_snapshots(tp, mf) || tp_has_children(tp, mf);
        ck_assert_int_eq(tp_destroy_ds(tp, mf), full ? ENOTEMPTY : 0);
    }
}

static void
random_prop(testpool_t *tp)
{
    static const char *const values[][2] = {{"compression", "off"},    {"compression", "lz4"},
                                            {"compression", "gzip-1"}, {"compression", "zstd"},
                                            {"copies", "2"},           {"copies", "1"}};
    const char *const *pv = values[tp_rnd(tp, ARRAY_SIZE(values))];
    nvlist_t *nvl = nvlist_alloc();

    nvlist_add_string(nvl, pv[0], pv[1]);
    OK(dsl_prop_set(tp->tp_dp, tp_pick(tp, false)->mf_name, nvl));
    nvlist_free(nvl);
}

void
tp_random_op(testpool_t *tp)
{
    uint64_t what = tp_rnd(tp, 100);
    model_fs_t *fs = tp_pick(tp, false), *snap = tp_pick(tp, true);
    char name[ZFS_MAX_DATASET_NAME_LEN];

    snprintf(name, sizeof(name), "%.60s/f%d", fs->mf_name, ++tp->tp_names);
    if (what < 45) {
        tp_change(tp, fs);
    } else if (what < 62 && room_for_more(tp)) {
        OK(tp_snapshot(tp, fs, strrchr(name, '/') + 1));
    } else if (what < 67 && room_for_more(tp) && strlen(fs->mf_name) < 40) {
        OK(tp_create_fs(tp, name, NULL));
    } else if (what < 74 && snap != NULL && room_for_more(tp) && strlen(fs->mf_name) < 40) {
        OK(tp_clone(tp, snap, name));
    } else if (what < 92) {
        random_destroy(tp);
    } else if (what < 96) {
        ck_assert_int_eq(tp_rollback(tp, fs), tp_has_snapshots(tp, fs) ? 0 : ESRCH);
    } else if (what < 98) {
        random_prop(tp);
    } else {
        tp_reopen(tp);
    }
}

/* ---- from below the contract ---- */

typedef struct set_arg {
    testpool_t *sa_tp;
    const char *sa_fs;
    size_t sa_field;
    uint64_t sa_value;
} set_arg_t;

static void
set_sync(void *arg, dmu_tx_t *tx)
{
    set_arg_t *sa = arg;
    dsl_dir_t *dd;

    VERIFY0(dsl_dir_hold(sa->sa_tp->tp_dp, sa->sa_fs, sa, &dd, NULL));
    uint64_t *field = (uint64_t *)((char *)&dd->dd_phys + sa->sa_field);
    if (sa->sa_field == offsetof(dsl_dir_phys_t, dd_reserved)) {
        int64_t used = (int64_t)dd->dd_phys.dd_used_bytes;
        int64_t delta = MAX(used, (int64_t)sa->sa_value) - MAX(used, (int64_t)*field);
        if (dd->dd_parent != NULL)
            dsl_dir_diduse_space(dd->dd_parent, DD_USED_CHILD_RSRV, delta, 0, 0, tx);
    }
    dsl_dir_set(dd, field, sa->sa_value, tx);
    dsl_dir_rele(dd, sa);
}

int
tp_set_dir_u64(testpool_t *tp, const char *fs, size_t field, uint64_t value)
{
    set_arg_t sa = {tp, fs, field, value};

    return dsl_sync_task(tp->tp_dp, NULL, set_sync, &sa, 4, DSL_SPACE_NONE);
}

/* ---- zdb ---- */

void
tp_copy_out(testpool_t *tp, const char *path)
{
    disk_t d = faultdisk_disk(tp->tp_disk);
    uint64_t size = d.d_ops->dop_size(d.d_arg), step = 1 << 20;
    uint8_t *buf = xmalloc(step);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
    for (uint64_t off = 0; off < size; off += step) {
        faultdisk_peek(tp->tp_disk, off, buf, step);
        if (!zio_is_zero(buf, step))
            ck_assert_int_eq(pwrite(fd, buf, step, (off_t)off), (ssize_t)step);
    }
    close(fd);
    free(buf);
}

int
tp_zdb(testpool_t *tp)
{
    char dir[] = "/tmp/cowbird-zdb.XXXXXX", path[64], cmd[900];

    if (access("build/peers/openzfs/sbin/zdb", X_OK) != 0)
        return 77;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/img", dir);
    tp_copy_out(tp, path);
    snprintf(
        cmd, sizeof(cmd),
        "export LD_LIBRARY_PATH=$(echo build/peers/openzfs/lib/*-linux-gnu); Z='timeout 120 "
        "build/peers/openzfs/sbin/zdb -e -p %s'; "
        "$Z -bcc tank >%s/out 2>&1 && grep -q 'No leaks (block sum matches space maps exactly)' %s/out && "
        "$Z -d tank >%s/out2 2>&1 && ! grep -qi 'leaked\\|mismatch' %s/out2; rc=$?; "
        "[ $rc = 0 ] || tail -n 30 %s/out %s/out2; rm -rf %s; exit $rc",
        dir, dir, dir, dir, dir, dir, dir, dir);
    int rc = system(cmd);
    return WIFEXITED(rc) ? WEXITSTATUS(rc) : 1;
}
