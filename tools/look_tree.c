/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * look_tree.c - what streams give, as one tree: a file system, and as directories in its root those below it; a volume is a file.
 *
 *   stream/home        /            the root directory
 *   stream/home/ann    /ann         a file system of the same package
 *   stream/home/disk   /disk        a volume: one file of the volume's size
 *
 * Paths are followed name by name from the root; symbolic links are never followed, and ".." is refused. File systems are
 * opened when first met and stay open until the tree is closed.
 */
#include <inttypes.h>
#include <unistd.h>
#include "look.h"

#define VOL_DATA 1 /* objects of a volume */
#define VOL_ZAP  2

static const char tree_tag[] = "look";

struct look_fs {
    list_node_t fs_link;
    char fs_name[NAMELEN]; /* without a snapshot */
    zpl_fs_t *fs_zfs;      /* NULL: a volume */
    dsl_dataset_t *fs_ds;  /* of a volume */
    objset_t *fs_os;
    uint64_t fs_size;
};

struct look_tree {
    dsl_pool_t *tr_pool;
    char tr_top[NAMELEN];
    const char *tr_snap; /* NULL: the last state */
    list_t tr_fs;
};

/* ---- file systems ---- */

static int
volume_open(look_tree_t *tr, const char *name, look_fs_t *fs)
{
    int err = dsl_dataset_hold(tr->tr_pool, name, tree_tag, &fs->fs_ds);
    if (err != 0)
        return err;
    dsl_dataset_long_hold(fs->fs_ds, tree_tag);
    err = dsl_dataset_objset(fs->fs_ds, &fs->fs_os);
    if (err == 0)
        err = zap_lookup_u64(fs->fs_os, VOL_ZAP, "size", &fs->fs_size);
    if (err == 0 && fs->fs_size > INT64_MAX)
        err = SET_ERROR(EINVAL);
    if (err != 0) {
        dsl_dataset_long_rele(fs->fs_ds, tree_tag);
        dsl_dataset_rele(fs->fs_ds, tree_tag);
    }
    return err;
}

/* name: without a snapshot. ENOENT also when it has not the snapshot asked for. */
static int
tree_fs(look_tree_t *tr, const char *name, look_fs_t **fsp)
{
    char full[2 * NAMELEN];
    dsl_stats_t st;
    look_fs_t *fs;
    for (fs = list_head(&tr->tr_fs); fs != NULL; fs = list_next(&tr->tr_fs, fs)) {
        if (strcmp(fs->fs_name, name) == 0) {
            *fsp = fs;
            return 0;
        }
    }
    snprintf(full, sizeof(full), "%s%s%s", name, tr->tr_snap != NULL ? "@" : "",
             tr->tr_snap != NULL ? tr->tr_snap : "");
    int err = dsl_dataset_stats(tr->tr_pool, full, &st);
    if (err != 0)
        return err;
    fs = xzalloc(sizeof(*fs));
    snprintf(fs->fs_name, sizeof(fs->fs_name), "%s", name);
    err = st.dst_type == DMU_OST_ZVOL ? volume_open(tr, full, fs)
                                      : zpl_fs_mount(tr->tr_pool, full, ZPL_MOUNT_RDONLY, &fs->fs_zfs);
    if (err != 0) {
        free(fs);
        return err;
    }
    list_insert_tail(&tr->tr_fs, fs);
    *fsp = fs;
    return 0;
}

int
tree_open(dsl_pool_t *dp, const char *top, const char *snap, look_tree_t **trp)
{
    look_tree_t *tr = xzalloc(sizeof(*tr));
    look_fs_t *fs;
    tr->tr_pool = dp;
    tr->tr_snap = snap;
    snprintf(tr->tr_top, sizeof(tr->tr_top), "%s", top);
    list_create(&tr->tr_fs, offsetof(look_fs_t, fs_link));
    int err = tree_fs(tr, top, &fs);
    if (err != 0) {
        tree_close(tr);
        return err;
    }
    *trp = tr;
    return 0;
}

void
tree_close(look_tree_t *tr)
{
    look_fs_t *fs;
    while ((fs = list_head(&tr->tr_fs)) != NULL) {
        list_remove(&tr->tr_fs, fs);
        if (fs->fs_zfs != NULL) {
            zpl_fs_unmount(fs->fs_zfs);
        } else {
            dsl_dataset_long_rele(fs->fs_ds, tree_tag);
            dsl_dataset_rele(fs->fs_ds, tree_tag);
        }
        free(fs);
    }
    list_destroy(&tr->tr_fs);
    free(tr);
}

const char *
tree_name(const look_tree_t *tr)
{
    return tr->tr_top;
}

/* ---- files ---- */

static int
tree_fs_root(look_fs_t *fs, look_file_t *f)
{
    f->lf_fs = fs;
    f->lf_zp = NULL;
    return fs->fs_zfs == NULL ? 0 : zpl_znode_hold(fs->fs_zfs, zpl_fs_root(fs->fs_zfs), &f->lf_zp);
}

const char *
tree_strerror(int err)
{
    switch (err) {
    case EINVAL:
        return "not a name inside the stream";
    case ELOOP:
        return "a directory that lies too deep, or in two places";
    default:
        return cowbird_strerror(err);
    }
}

int
tree_root(look_tree_t *tr, look_file_t *f)
{
    look_fs_t *fs;
    int err = tree_fs(tr, tr->tr_top, &fs);
    return err != 0 ? err : tree_fs_root(fs, f);
}

void
tree_put(look_file_t *f)
{
    if (f->lf_zp != NULL)
        zpl_znode_rele(f->lf_zp);
    f->lf_zp = NULL;
}

static bool
tree_is_root(const look_file_t *f)
{
    return f->lf_zp != NULL && zpl_znode_object(f->lf_zp) == zpl_fs_root(f->lf_fs->fs_zfs);
}

int
tree_lookup(look_tree_t *tr, const look_file_t *dir, const char *name, look_file_t *f)
{
    char below[2 * NAMELEN];
    look_fs_t *fs;
    f->lf_fs = dir->lf_fs;
    f->lf_zp = NULL;
    if (dir->lf_zp == NULL)
        return SET_ERROR(ENOTDIR);
    if (tree_is_root(dir) && snprintf(below, sizeof(below), "%s/%s", dir->lf_fs->fs_name, name) < NAMELEN) {
        int err = strchr(name, '@') == NULL ? tree_fs(tr, below, &fs) : ENOENT;
        if (err != ENOENT && err != EINVAL)
            return err != 0 ? err : tree_fs_root(fs, f);
    }
    return zpl_lookup(dir->lf_zp, name, &f->lf_zp);
}

int
tree_path(look_tree_t *tr, const char *path, look_file_t *f)
{
    int err = tree_root(tr, f);
    while (err == 0 && *path != '\0') {
        char name[ZAP_MAXNAMELEN];
        size_t n = strcspn(path, "/");
        if (n >= sizeof(name))
            err = SET_ERROR(ENAMETOOLONG);
        snprintf(name, sizeof(name), "%.*s", (int)MIN(n, sizeof(name) - 1), path);
        path += n + (path[n] == '/');
        if (err == 0 && strcmp(name, "..") == 0)
            err = SET_ERROR(EINVAL);
        if (err == 0 && n != 0 && strcmp(name, ".") != 0) {
            look_file_t next;
            err = tree_lookup(tr, f, name, &next);
            tree_put(f);
            *f = next;
        }
    }
    if (err != 0)
        tree_put(f);
    return err;
}

int
tree_stat(const look_file_t *f, struct stat *st)
{
    dsl_dataset_phys_t ph;
    if (f->lf_zp != NULL)
        return zpl_getattr(f->lf_zp, st);
    dsl_dataset_phys(f->lf_fs->fs_ds, &ph);
    memset(st, 0, sizeof(*st));
    st->st_mode = S_IFREG | 0600;
    st->st_nlink = 1;
    st->st_ino = VOL_DATA;
    st->st_size = (off_t)f->lf_fs->fs_size;
    st->st_mtim.tv_sec = st->st_atim.tv_sec = (time_t)ph.ds_creation_time;
    return 0;
}

int
tree_read(const look_file_t *f, uint64_t off, uint64_t len, void *buf, uint64_t *done)
{
    if (f->lf_zp != NULL)
        return zpl_read(f->lf_zp, off, len, buf, done);
    uint64_t size = f->lf_fs->fs_size;
    *done = off < size ? MIN(len, size - off) : 0;
    return *done == 0 ? 0 : dmu_read(f->lf_fs->fs_os, VOL_DATA, off, *done, buf);
}

const void *
tree_fs_of(const look_file_t *f)
{
    return f->lf_fs;
}

/* ---- directories ---- */

static void
tree_add_name(look_names_t *ln, const char *name)
{
    if ((ln->ln_count & (ln->ln_count + 1)) == 0) /* 0, 1, 3, 7, ... */
        ln->ln_names = xrealloc(ln->ln_names, (2 * ln->ln_count + 2) * sizeof(*ln->ln_names));
    ln->ln_names[ln->ln_count++] = xstrdup(name);
}

static bool
names_entry(void *arg, const char *name, uint64_t object, unsigned char d_type, uint64_t next_cookie)
{
    if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
        tree_add_name(arg, name);
    return true;
}

static int
names_child(void *arg, const char *name)
{
    tree_add_name(arg, strrchr(name, '/') + 1);
    return 0;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int
tree_list(look_tree_t *tr, const look_file_t *dir, look_names_t *ln)
{
    memset(ln, 0, sizeof(*ln));
    if (dir->lf_zp == NULL)
        return SET_ERROR(ENOTDIR);
    int err = zpl_readdir(dir->lf_zp, 0, names_entry, ln);
    if (err == 0 && tree_is_root(dir))
        err = dsl_for_each_child(tr->tr_pool, dir->lf_fs->fs_name, names_child, ln);
    if (err != 0) {
        tree_list_free(ln);
        return err;
    }
    if (ln->ln_count > 0)
        qsort(ln->ln_names, ln->ln_count, sizeof(*ln->ln_names), by_name);
    size_t n = 0;
    for (size_t i = 0; i < ln->ln_count; i++) { /* a file system lies on an empty directory of its name */
        if (n > 0 && strcmp(ln->ln_names[n - 1], ln->ln_names[i]) == 0)
            free(ln->ln_names[i]);
        else
            ln->ln_names[n++] = ln->ln_names[i];
    }
    ln->ln_count = n;
    return 0;
}

void
tree_list_free(look_names_t *ln)
{
    for (size_t i = 0; i < ln->ln_count; i++)
        free(ln->ln_names[i]);
    free(ln->ln_names);
    memset(ln, 0, sizeof(*ln));
}
