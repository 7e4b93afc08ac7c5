/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mountfs.c - the file systems of a mount: opened when first looked up, closed when the kernel forgot them or when someone
 * wants the dataset. mount_impl.h draws the states; here is who moves them:
 *
 *     mf_hold      (none) -> OPENING -> LIVE      one thread opens, others for the same name wait
 *     mf_shut_down DRAINING -> DEAD               from mf_unref and mf_put (idle), and from mf_give_up
 *     suspend.c    DRAINING -> SUSPENDED -> LIVE  while its contents are exchanged
 *
 * Draining waits for requests inside; a request that arrives meanwhile waits for the outcome (mf_enter). No thread is inside the
 * same file system twice, so the drain ends. A request inside a parent may wait for a child's drain, and one
 * inside a child for its parent's: never both, because an idle file system has nobody inside, and mf_give_up goes one by one.
 */
#include <sys/statvfs.h>
#include <syslog.h>
#include "mount_impl.h"

/* ---- being inside ---- */

int
mf_enter(mount_fs_t *mf)
{
    fuse_mount_t *fm = mf->mf_mount;
    for (;;) {
        atomic_fetch_add(&mf->mf_busy, 1);
        if (atomic_load(&mf->mf_state) == MF_LIVE)
            return 0;
        mf_exit(mf);
        mutex_enter(&fm->fm_lock);
        while (atomic_load(&mf->mf_state) == MF_DRAINING || atomic_load(&mf->mf_state) == MF_SUSPENDED)
            cv_wait(&fm->fm_cv, &fm->fm_lock);
        bool dead = atomic_load(&mf->mf_state) == MF_DEAD;
        mutex_exit(&fm->fm_lock);
        if (dead)
            return SET_ERROR(ESTALE);
    }
}

/* The caller's node, or its place in mf_busy until now, keeps the memory. */
void
mf_exit(mount_fs_t *mf)
{
    fuse_mount_t *fm = mf->mf_mount;
    if (atomic_load(&mf->mf_state) == MF_LIVE) {
        /* Whoever makes it DRAINING after this looks at mf_busy after that: see mf_drain. */
        if (atomic_fetch_sub(&mf->mf_busy, 1) != 1 || atomic_load(&mf->mf_state) == MF_LIVE)
            return;
        mutex_enter(&fm->fm_lock);
    } else {
        mutex_enter(&fm->fm_lock);
        atomic_fetch_sub(&mf->mf_busy, 1);
    }
    cv_broadcast(&fm->fm_cv);
    mutex_exit(&fm->fm_lock);
}

void
mf_ref(mount_fs_t *mf)
{
    atomic_fetch_add(&mf->mf_refs, 1);
}

/* ---- closing ---- */

static void
mf_free(mount_fs_t *mf)
{
    names_free(&mf->mf_children);
    mutex_destroy(&mf->mf_lock);
    free(mf->mf_moved);
    free(mf);
}

/* fm_lock held. Nobody knows a node of it and nobody is inside: it begins to drain, which the caller completes. */
static bool
mf_begin_idle(mount_fs_t *mf)
{
    if (mf->mf_num == 0 || atomic_load(&mf->mf_refs) != 1 || atomic_load(&mf->mf_busy) != 0 ||
        atomic_load(&mf->mf_state) != MF_LIVE || mf->mf_mount->fm_stopping)
        return false;
    atomic_store(&mf->mf_state, MF_DRAINING);
    return true;
}

/* fm_lock held. */
static void
mf_drain(mount_fs_t *mf)
{
    while (atomic_load(&mf->mf_busy) != 0)
        cv_wait(&mf->mf_mount->fm_cv, &mf->mf_mount->fm_lock);
}

/* DRAINING and drained -> DEAD. Forgets may still pass through until no node has a znode: hence the second drain. */
static void
mf_shut_down(mount_fs_t *mf)
{
    nodes_give_up(mf);
    mf_wait_idle(mf);
    zpl_fs_unmount(mf->mf_zfs);
    mf_end(mf);
}

void
mf_wait_idle(mount_fs_t *mf)
{
    mutex_enter(&mf->mf_mount->fm_lock);
    mf_drain(mf);
    mutex_exit(&mf->mf_mount->fm_lock);
}

void
mf_set_state(mount_fs_t *mf, mf_state_t state)
{
    mutex_enter(&mf->mf_mount->fm_lock);
    atomic_store(&mf->mf_state, state);
    cv_broadcast(&mf->mf_mount->fm_cv);
    mutex_exit(&mf->mf_mount->fm_lock);
}

void
mf_end(mount_fs_t *mf)
{
    fuse_mount_t *fm = mf->mf_mount;
    mutex_enter(&fm->fm_lock);
    mf->mf_zfs = NULL;
    avl_remove(&fm->fm_fs, mf);
    atomic_store(&mf->mf_state, MF_DEAD);
    cv_broadcast(&fm->fm_cv);
    mutex_exit(&fm->fm_lock);
    mf_unref(mf); /* fm_fs's */
}

void
mf_unref(mount_fs_t *mf)
{
    fuse_mount_t *fm = mf->mf_mount;
    mutex_enter(&fm->fm_lock);
    unsigned long left = atomic_fetch_sub(&mf->mf_refs, 1) - 1;
    bool idle = left == 1 && mf_begin_idle(mf);
    if (left == 0)
        fm->fm_numbers[mf->mf_num / 64] &= ~(1ULL << mf->mf_num % 64);
    mutex_exit(&fm->fm_lock);
    if (idle)
        mf_shut_down(mf);
    if (left == 0)
        mf_free(mf);
}

void
mf_put(mount_fs_t *mf)
{
    fuse_mount_t *fm = mf->mf_mount;
    mutex_enter(&fm->fm_lock);
    bool last = atomic_fetch_sub(&mf->mf_busy, 1) == 1;
    bool idle = last && mf_begin_idle(mf);
    if (last)
        cv_broadcast(&fm->fm_cv);
    mutex_exit(&fm->fm_lock);
    if (idle)
        mf_shut_down(mf);
}

/* fm_lock held. */
static mount_fs_t *
mf_find(fuse_mount_t *fm, const char *dsname)
{
    mount_fs_t key;
    snprintf(key.mf_name, sizeof(key.mf_name), "%s", dsname);
    return avl_find(&fm->fm_fs, &key, NULL);
}

mount_fs_t *
mf_begin_drain(fuse_mount_t *fm, const char *dsname)
{
    mutex_enter(&fm->fm_lock);
    mount_fs_t *mf = mf_find(fm, dsname);
    while (mf != NULL && atomic_load(&mf->mf_state) != MF_LIVE) {
        cv_wait(&fm->fm_cv, &fm->fm_lock);
        mf = mf_find(fm, dsname);
    }
    if (mf != NULL) {
        atomic_store(&mf->mf_state, MF_DRAINING);
        mf_drain(mf);
    }
    mutex_exit(&fm->fm_lock);
    return mf;
}

mount_fs_t *
mf_suspended(fuse_mount_t *fm, const char *dsname)
{
    mutex_enter(&fm->fm_lock);
    mount_fs_t *mf = mf_find(fm, dsname);
    bool suspended = mf != NULL && atomic_load(&mf->mf_state) == MF_SUSPENDED;
    mutex_exit(&fm->fm_lock);
    return suspended ? mf : NULL;
}

void
mf_set_name(mount_fs_t *mf, const char *name)
{
    fuse_mount_t *fm = mf->mf_mount;
    mutex_enter(&fm->fm_lock);
    avl_remove(&fm->fm_fs, mf);
    snprintf(mf->mf_name, sizeof(mf->mf_name), "%s", name);
    avl_add(&fm->fm_fs, mf);
    mutex_exit(&fm->fm_lock);
}

void
mf_give_up(fuse_mount_t *fm, const char *dsname, node_list_t *dead)
{
    mount_fs_t *mf = mf_begin_drain(fm, dsname);
    if (mf == NULL)
        return;
    if (dead != NULL)
        nodes_list(mf, dead);
    mf_shut_down(mf);
}

/* ---- opening ---- */

/* The dataset's own number if it is free, so that inode numbers are the same at the next mount. fm_lock held. */
static uint64_t
mf_choose_number(fuse_mount_t *fm, uint64_t dsobj)
{
    uint64_t first = dsobj % (NODE_FS_MAX - 1) + 1, num = first;
    do {
        if ((fm->fm_numbers[num / 64] >> num % 64 & 1) == 0)
            return num;
        num = num % (NODE_FS_MAX - 1) + 1;
    } while (num != first);
    return 0;
}

static int
mf_assign_number(mount_fs_t *mf)
{
    fuse_mount_t *fm = mf->mf_mount;
    bool is_root = strcmp(mf->mf_name, fm->fm_dsname) == 0;
    mutex_enter(&fm->fm_lock);
    mf->mf_num = is_root ? 0 : mf_choose_number(fm, zpl_fs_dsobj(mf->mf_zfs));
    fm->fm_numbers[mf->mf_num / 64] |= 1ULL << mf->mf_num % 64;
    mutex_exit(&fm->fm_lock);
    return mf->mf_num == 0 && !is_root ? SET_ERROR(EMFILE) : 0;
}

static int
mf_open(mount_fs_t *mf)
{
    fuse_mount_t *fm = mf->mf_mount;
    bool rdonly = fm->fm_rdonly || mf->mf_snapshot;
    int err = zpl_fs_mount(fm->fm_pool, mf->mf_name, rdonly ? ZPL_MOUNT_RDONLY : 0, &mf->mf_zfs);
    if (err != 0)
        return err;
    mf->mf_rootobj = zpl_fs_root(mf->mf_zfs);
    err = mf_assign_number(mf);
    if (err != 0) {
        zpl_fs_unmount(mf->mf_zfs);
        return err;
    }
    name_set_t changed = {.ns_count = 0};
    mf_reload(mf, &changed);
    names_free(&changed);
    return 0;
}

/* fm_lock held: the caller opens it, others wait. */
static mount_fs_t *
mf_insert_opening(fuse_mount_t *fm, const char *dsname)
{
    mount_fs_t *mf = xzalloc(sizeof(*mf));
    mf->mf_mount = fm;
    snprintf(mf->mf_name, sizeof(mf->mf_name), "%s", dsname);
    mf->mf_snapshot = strchr(dsname, '@') != NULL;
    atomic_init(&mf->mf_state, MF_OPENING);
    atomic_init(&mf->mf_refs, 1);
    mutex_init(&mf->mf_lock);
    avl_add(&fm->fm_fs, mf);
    return mf;
}

/* Invariant: whoever finds it in fm_fs and LIVE, under fm_lock, may enter. */
static bool
mf_hold_found(mount_fs_t *mf)
{
    if (mf == NULL || atomic_load(&mf->mf_state) != MF_LIVE)
        return false;
    atomic_fetch_add(&mf->mf_busy, 1);
    return true;
}

int
mf_hold(fuse_mount_t *fm, const char *dsname, mount_fs_t **mfp)
{
    if (strlen(dsname) >= ZFS_MAX_DATASET_NAME_LEN)
        return SET_ERROR(ENOENT);
    mutex_enter(&fm->fm_lock);
    while ((*mfp = mf_find(fm, dsname)) != NULL && !mf_hold_found(*mfp))
        cv_wait(&fm->fm_cv, &fm->fm_lock);
    if (*mfp != NULL) {
        mutex_exit(&fm->fm_lock);
        return 0;
    }
    mount_fs_t *mf = *mfp = mf_insert_opening(fm, dsname);
    mutex_exit(&fm->fm_lock);

    int err = mf_open(mf);
    mutex_enter(&fm->fm_lock);
    if (err == 0) {
        atomic_store(&mf->mf_state, MF_LIVE);
        atomic_fetch_add(&mf->mf_busy, 1);
    } else {
        avl_remove(&fm->fm_fs, mf);
    }
    cv_broadcast(&fm->fm_cv);
    mutex_exit(&fm->fm_lock);
    if (err != 0)
        mf_free(mf);
    return err;
}

mount_fs_t *
mf_hold_open(fuse_mount_t *fm, const char *dsname)
{
    mutex_enter(&fm->fm_lock);
    mount_fs_t *mf = mf_find(fm, dsname);
    bool held = mf_hold_found(mf);
    mutex_exit(&fm->fm_lock);
    return held ? mf : NULL;
}

void
mf_for_each(fuse_mount_t *fm, void (*fn)(mount_fs_t *mf, void *arg), void *arg)
{
    mutex_enter(&fm->fm_lock);
    uint64_t n = 0, room = avl_numnodes(&fm->fm_fs);
    mount_fs_t **all = xmalloc((room + 1) * sizeof(mount_fs_t *));
    for (mount_fs_t *mf = avl_first(&fm->fm_fs); mf != NULL; mf = avl_next(&fm->fm_fs, mf)) {
        if (mf_hold_found(mf))
            all[n++] = mf;
    }
    mutex_exit(&fm->fm_lock);
    for (uint64_t i = 0; i < n; i++) {
        fn(all[i], arg);
        mf_put(all[i]);
    }
    free(all);
}

/* ---- what is remembered of its dataset ---- */

static int
mf_add_child(void *arg, const char *name)
{
    const char *slash = strrchr(name, '/');
    names_add(arg, slash != NULL ? slash + 1 : name);
    return 0;
}

void
mf_reload(mount_fs_t *mf, name_set_t *changed)
{
    name_set_t children = {.ns_count = 0};
    char value[64] = "";
    if (!mf->mf_snapshot) {
        dsl_pool_t *dp = mf->mf_mount->fm_pool;
        int err = dsl_for_each_child(dp, mf->mf_name, mf_add_child, &children);
        if (err != 0)
            cowbird_log(LOG_WARNING, "%s: cannot list the datasets below: %s", mf->mf_name,
                        cowbird_strerror(err));
        if (dsl_prop_get(dp, mf->mf_name, "snapdir", value, sizeof(value), NULL, NULL) != 0)
            value[0] = '\0';
    }
    names_sort(&children);
    mutex_enter(&mf->mf_lock);
    bool visible = strcmp(value, "visible") == 0;
    names_diff(&mf->mf_children, &children, changed);
    if (visible != mf->mf_snapdir_visible)
        names_add(changed, ".zfs");
    mf->mf_snapdir_visible = visible;
    name_set_t old = mf->mf_children;
    mf->mf_children = children;
    mutex_exit(&mf->mf_lock);
    names_free(&old);
}

bool
mf_is_child(mount_fs_t *mf, const char *name)
{
    mutex_enter(&mf->mf_lock);
    bool found = names_contain(&mf->mf_children, name);
    mutex_exit(&mf->mf_lock);
    return found;
}

bool
mf_snapdir_visible(mount_fs_t *mf)
{
    mutex_enter(&mf->mf_lock);
    bool visible = mf->mf_snapdir_visible;
    mutex_exit(&mf->mf_lock);
    return visible;
}
