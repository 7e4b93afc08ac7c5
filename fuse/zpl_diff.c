/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_diff.c - what happened to files between a snapshot and a later state: objects that differ (dmu_diff) compared and named in both.
 *
 *        from                         to
 *        ----                         object 9 "new"         + new
 *        object 7 "a"                 ----                   - a
 *        object 8 "b", ctime 1        object 8 "b", ctime 2  M b
 *        object 5 "c"                 object 5 "d/c"         R c -> d/c          the same file: number and generation are the same
 *        object 6 "e", gen 3          object 6 "f", gen 9    - e    + f          the number was used again
 *
 * An object without a name (removed while open) is not there. A file that is only in a renamed directory did not change itself and is not told.
 * A file with several names is told under one of them; when names came or went, with how many.
 *
 * INVARIANT: access times alone are no difference.
 * ZFS: libzfs_diff.c, zfs_obj_to_stats (zfs_znode.c)
 */
#include "zpl_impl.h"

#define DIFF_PATH_MAX 8192

typedef struct side {
    dsl_dataset_t *s_ds;
    zpl_attr_ctx_t s_ac;
    uint64_t s_root;
    zpl_names_t *s_names;
    zpl_attrs_t s_at;
    bool s_there; /* the object looked at is a file here */
    char s_path[DIFF_PATH_MAX];
} side_t;

typedef struct diff {
    side_t *d_from, *d_to;
    int (*d_cb)(void *arg, const zpl_diff_t *zd);
    void *d_arg;
} diff_t;

/* ---- one object in one state ---- */

static int
side_look(side_t *s, uint64_t object)
{
    dmu_object_info_t doi;
    int err = dmu_object_info(s->s_ac.ac_os, object, &doi);

    s->s_there = false;
    s->s_path[0] = '\0';
    memset(&s->s_at, 0, sizeof(s->s_at));
    if (err != 0)
        return err == ENOENT ? 0 : err;
    if (doi.doi_bonus_type != DMU_OT_ZNODE && doi.doi_bonus_type != DMU_OT_SA)
        return 0; /* the master node and its like */
    if ((err = zpl_attr_read(&s->s_ac, object, &s->s_at)) != 0)
        return err;
    s->s_there = s->s_at.za_links != 0;
    return s->s_there ? zpl_path_of(&s->s_ac, s->s_root, s->s_names, object, s->s_path, sizeof(s->s_path)) : 0;
}

static bool
same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool
same_attrs(const zpl_attrs_t *a, const zpl_attrs_t *b)
{
    return same_time(&a->za_ctime, &b->za_ctime) && same_time(&a->za_mtime, &b->za_mtime) &&
           a->za_size == b->za_size && a->za_mode == b->za_mode && a->za_uid == b->za_uid &&
           a->za_gid == b->za_gid && a->za_links == b->za_links && a->za_parent == b->za_parent &&
           a->za_xattr == b->za_xattr && a->za_rdev == b->za_rdev;
}

/* ---- both ---- */

static int
tell(const diff_t *d, char what, const side_t *s, const char *path, const char *newpath, int64_t links)
{
    zpl_diff_t zd = {.zd_what = what,
                     .zd_mode = s->s_at.za_mode,
                     .zd_ctime = s->s_at.za_ctime,
                     .zd_path = path,
                     .zd_newpath = newpath,
                     .zd_links = links};

    return d->d_cb(d->d_arg, &zd);
}

static int
tell_changed(const diff_t *d)
{
    const side_t *f = d->d_from, *t = d->d_to;
    int64_t links = S_ISDIR(t->s_at.za_mode) ? 0 : (int64_t)t->s_at.za_links - (int64_t)f->s_at.za_links;

    if (same_attrs(&f->s_at, &t->s_at))
        return 0;
    if (links != 0)
        return tell(d, 'M', t, links > 0 ? f->s_path : t->s_path, NULL, links);
    if (strcmp(f->s_path, t->s_path) == 0)
        return tell(d, 'M', t, f->s_path, NULL, 0);
    return tell(d, 'R', t, f->s_path, t->s_path, 0);
}

static int
diff_object(const diff_t *d, uint64_t object)
{
    side_t *f = d->d_from, *t = d->d_to;
    int err = side_look(f, object);

    if (err == 0)
        err = side_look(t, object);
    if (err != 0)
        return err;
    bool same = f->s_there && t->s_there && f->s_at.za_gen == t->s_at.za_gen &&
                ((f->s_at.za_mode ^ t->s_at.za_mode) & S_IFMT) == 0;
    if (same)
        return tell_changed(d);
    if (f->s_there)
        err = tell(d, '-', f, f->s_path, NULL, 0);
    if (err == 0 && t->s_there)
        err = tell(d, '+', t, t->s_path, NULL, 0);
    return err;
}

static int
diff_range(void *arg, uint64_t first, uint64_t last, bool freed)
{
    const diff_t *d = arg;
    uint64_t object = first == 0 ? 0 : first - 1;
    int err = 0;

    if (!freed)
        return diff_object(d, first);
    while (err == 0 && (err = dmu_object_next(d->d_from->s_ac.ac_os, &object, false, 0)) == 0 && object <= last)
        err = diff_object(d, object);
    return err == ENOENT || err == ESRCH ? 0 : err;
}

/* ---- the states ---- */

static int
side_open(side_t *s, dsl_pool_t *dp, const char *name)
{
    objset_t *os;
    int err = dmu_diff_hold(dp, name, s, &s->s_ds);

    if (err != 0)
        return err;
    if ((err = dsl_dataset_objset(s->s_ds, &os)) == 0)
        err = zpl_attr_ctx_init(os, &s->s_ac);
    if (err == 0)
        err = zap_lookup_u64(os, MASTER_NODE_OBJ, ZPL_KEY_ROOT, &s->s_root);
    s->s_names = zpl_names_alloc();
    return err == ENOENT ? SET_ERROR(EIO) : err;
}

static void
side_close(side_t *s)
{
    if (s->s_ds == NULL)
        return;
    zpl_names_free(s->s_names);
    zpl_attr_ctx_fini(&s->s_ac);
    dmu_diff_rele(s->s_ds, s);
}

int
zpl_diff(dsl_pool_t *dp, const char *from, const char *to, int (*cb)(void *arg, const zpl_diff_t *zd), void *arg)
{
    diff_t d = {xzalloc(sizeof(side_t)), xzalloc(sizeof(side_t)), cb, arg};
    char name[ZFS_MAX_DATASET_NAME_LEN];
    int err = strchr(from, '@') == NULL ? SET_ERROR(EXDEV) : side_open(d.d_from, dp, from);

    if (err == 0)
        err = side_open(d.d_to, dp, to);
    if (err == 0) {
        dsl_dataset_name(d.d_to->s_ds, name);
        err = dmu_diff(dp, from, name, diff_range, &d);
    }
    side_close(d.d_to);
    side_close(d.d_from);
    free(d.d_from);
    free(d.d_to);
    return err;
}
