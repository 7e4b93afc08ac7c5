/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * walk.c - see fuzz.h. Whatever a user could do to a pool to look at it, within bounds: a hostile pool may say that a directory
 * holds itself, or a file 2^63 bytes.
 */
#include "fuzz.h"
#include "zpl.h"

#define MAX_DATASETS 16
#define MAX_FILES    24 /* per dataset */
#define MAX_DEPTH    6
#define MAX_ENTRIES  16 /* per directory */
#define READ_SIZE    (32UL << 10)

typedef struct walk {
    dsl_pool_t *w_dp;
    zpl_fs_t *w_zfs;
    int w_datasets, w_files;
    uint8_t w_buf[READ_SIZE];
} walk_t;

typedef struct entries {
    char *e_name[MAX_ENTRIES];
    int e_n;
} entries_t;

static void
quiet(int level, const char *line)
{
}

void
fuzz_init(void)
{
    static bool done;

    if (done)
        return;
    done = true;
    cowbird_log_set_sink(quiet);
    arc_set_limit(16 << 20);
    dsl_set_objset_init(zpl_objset_init);
}

/* ---- files ---- */

static void
walk_contents(walk_t *w, znode_t *zp, const struct stat *st)
{
    uint64_t done, size = (uint64_t)st->st_size, off = 0;

    (void)zpl_read(zp, 0, READ_SIZE, w->w_buf, &done);
    if (size > READ_SIZE)
        (void)zpl_read(zp, size - READ_SIZE / 2, READ_SIZE, w->w_buf, &done);
    (void)zpl_seek(zp, false, &off);
    (void)zpl_seek(zp, true, &off);
}

static void
walk_xattrs(walk_t *w, znode_t *zp)
{
    size_t n, vlen;
    char *names = (char *)w->w_buf;
    char name[256];

    if (zpl_listxattr(zp, names, 4096, &n) != 0)
        return;
    VERIFY(n <= 4096);
    for (size_t at = 0; at < n; at += strlen(names + at) + 1) {
        snprintf(name, sizeof(name), "%s", names + at);
        (void)zpl_getxattr(zp, name, w->w_buf + 4096, READ_SIZE - 4096, &vlen);
    }
}

static bool
take_entry(void *arg, const char *name, uint64_t object, unsigned char type, uint64_t next)
{
    entries_t *e = arg;

    if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
        e->e_name[e->e_n++] = xstrdup(name);
    return e->e_n < MAX_ENTRIES;
}

static void
walk_file(walk_t *w, znode_t *zp, int depth)
{
    struct stat st;
    znode_t *child;
    size_t len;
    entries_t e = {.e_n = 0};

    w->w_files++;
    walk_xattrs(w, zp);
    if (zpl_getattr(zp, &st) != 0)
        return;
    if (S_ISREG(st.st_mode))
        walk_contents(w, zp, &st);
    if (S_ISLNK(st.st_mode))
        (void)zpl_readlink(zp, (char *)w->w_buf, 4096, &len);
    if (!S_ISDIR(st.st_mode))
        return;
    (void)zpl_readdir(zp, 0, take_entry, &e);
    for (int i = 0; i < e.e_n; i++) {
        if (depth < MAX_DEPTH && w->w_files < MAX_FILES && zpl_lookup(zp, e.e_name[i], &child) == 0) {
            walk_file(w, child, depth + 1);
            zpl_znode_rele(child);
        }
        free(e.e_name[i]);
    }
    if (zpl_lookup(zp, "..", &child) == 0)
        zpl_znode_rele(child);
}

static bool
walk_fs(walk_t *w, const char *name)
{
    znode_t *root;
    struct statvfs sv;

    if (zpl_fs_mount(w->w_dp, name, ZPL_MOUNT_RDONLY, &w->w_zfs) != 0)
        return false;
    w->w_files = 0;
    (void)zpl_fs_statvfs(w->w_zfs, &sv);
    if (zpl_znode_hold(w->w_zfs, zpl_fs_root(w->w_zfs), &root) == 0) {
        walk_file(w, root, 0);
        zpl_znode_rele(root);
    }
    zpl_fs_unmount(w->w_zfs);
    return true;
}

/* ---- datasets ---- */

static int
ignore(void *arg, const char *name)
{
    return 0;
}

/* What is no file system, or none we can show: its objects, a volume's above all. */
static void
walk_objects(walk_t *w, const char *name)
{
    dsl_dataset_t *ds;
    objset_t *os;
    uint64_t object = 0;

    if (dsl_dataset_hold(w->w_dp, name, w, &ds) != 0)
        return;
    if (dsl_dataset_objset(ds, &os) == 0) {
        for (int n = 0; n < MAX_FILES && dmu_object_next(os, &object, false, 0) == 0; n++) {
            dmu_object_info_t doi;
            dmu_buf_t *db;
            (void)dmu_object_info(os, object, &doi);
            (void)dmu_read(os, object, 0, 4096, w->w_buf);
            if (dmu_bonus_hold(os, object, &db) == 0)
                dmu_buf_rele(db);
            if (dmu_spill_hold(os, object, &db) == 0)
                dmu_buf_rele(db);
        }
    }
    dsl_dataset_rele(ds, w);
}

static int
walk_dataset(void *arg, const char *name)
{
    walk_t *w = arg;
    dsl_stats_t st;
    char value[4096], setpoint[ZFS_MAX_DATASET_NAME_LEN];
    dsl_prop_source_t src;

    if (w->w_datasets++ >= MAX_DATASETS)
        return ECANCELED;
    (void)dsl_dataset_stats(w->w_dp, name, &st);
    for (const dsl_prop_desc_t *d = dsl_prop_next(NULL); d != NULL && w->w_datasets < 4; d = dsl_prop_next(d))
        (void)dsl_prop_get(w->w_dp, name, d->pd_name, value, sizeof(value), &src, setpoint);
    (void)dsl_prop_for_each_user(w->w_dp, name, ignore, NULL);
    if (!walk_fs(w, name))
        walk_objects(w, name);
    if (strchr(name, '@') != NULL)
        return 0;
    (void)dsl_for_each_snapshot(w->w_dp, name, walk_dataset, w);
    return dsl_for_each_child(w->w_dp, name, walk_dataset, w);
}

void
fuzz_walk(dsl_pool_t *dp)
{
    walk_t *w = xzalloc(sizeof(*w));
    uint64_t avail, used;

    w->w_dp = dp;
    dsl_pool_space(dp, &avail, &used);
    (void)walk_dataset(w, dsl_pool_name(dp));
    free(w);
}
