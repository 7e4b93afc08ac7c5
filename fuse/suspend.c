/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * suspend.c - the contents of a mounted file system are exchanged under the programs that use it (rollback, receive).
 *
 *     suspend   what the kernel still has to write comes down; requests inside end, new ones wait; of every file the kernel
 *               knows is written down what it was (and of directories the names); znodes released, dataset disowned
 *                    ... rollback, receive ...
 *     resume    the dataset is opened again. Each file the kernel knows either is the same as before, and goes on, or is no more:
 *
 *          same object, generation and type, and for regular files size, mtime and ctime    ─► goes on
 *          anything else, and a volume always                                                ─► ESTALE
 *
 * WHY A CHANGED FILE DOES NOT GO ON. The kernel keeps pages, and with its writeback cache it also owns a file's size and times: it
 * would show the old size over new data, or write an old page into the new file. So the old node answers ESTALE for ever (late
 * writes of old pages with it), and the object gets another node id (the next incarnation) at the next lookup.
 *
 * INVARIANTS
 *  1. No node ever shows bytes of two states: it goes on only when both are the same, and else shows nothing.
 *  2. While suspended nobody is inside, there is no znode, mf_zfs is NULL; requests, also by name, wait in mf_enter() and mf_hold().
 *  3. The kernel is told after requests run again: to drop a dirty page it writes it first. When resume returns it knows all:
 *     entries that are others now, attributes and pages of all nodes.
 *
 * ZFS: zfs_suspend_fs, zfs_resume_fs, zfs_rezget
 */
#include <syslog.h>
#include "mount_impl.h"

typedef struct entry {
    char *en_name;
    uint64_t en_object;
} entry_t;

typedef struct entries {
    entry_t *es_list;
    size_t es_count, es_room;
} entries_t;

struct parked {
    uint64_t pk_id, pk_object, pk_gen;
    struct stat pk_st;        /* st_mode 0: could not be read */
    entries_t pk_old, pk_new; /* of a directory */
    bool pk_stale;
};

/* ---- directories ---- */

static bool
add_entry(void *arg, const char *name, uint64_t object, unsigned char d_type, uint64_t next)
{
    entries_t *es = arg;
    if (es->es_count == es->es_room) {
        es->es_room = es->es_room * 2 + 16;
        es->es_list = xrealloc(es->es_list, es->es_room * sizeof(entry_t));
    }
    es->es_list[es->es_count++] = (entry_t){xstrdup(name), object};
    return true;
}

static int
entry_compare(const void *a, const void *b)
{
    return strcmp(((const entry_t *)a)->en_name, ((const entry_t *)b)->en_name);
}

static void
entries_read(znode_t *zp, entries_t *es)
{
    int err = zpl_readdir(zp, 0, add_entry, es);
    if (err != 0)
        cowbird_log(LOG_WARNING, "a directory cannot be read: %s", cowbird_strerror(err));
    if (es->es_count > 1)
        qsort(es->es_list, es->es_count, sizeof(entry_t), entry_compare);
}

static void
entries_free(entries_t *es)
{
    for (size_t i = 0; i < es->es_count; i++)
        free(es->es_list[i].en_name);
    free(es->es_list);
}

/* ---- suspend ---- */

static void
park(void *arg, uint64_t id, znode_t *zp)
{
    mount_fs_t *mf = arg;
    size_t n = mf->mf_nparked++;
    if ((n & (n - 1)) == 0)
        mf->mf_parked = xrealloc(mf->mf_parked, (n * 2 + 1) * sizeof(parked_t));
    parked_t *pk = &mf->mf_parked[n];
    *pk = (parked_t){.pk_id = id, .pk_object = zpl_znode_object(zp), .pk_gen = zpl_znode_gen(zp)};
    if (zpl_getattr(zp, &pk->pk_st) != 0)
        pk->pk_st.st_mode = 0;
    if (S_ISDIR(pk->pk_st.st_mode))
        entries_read(zp, &pk->pk_old);
    zpl_znode_rele(zp);
}

/* Is it open here? Then the kernel's dirty pages come down, so that what is lost is lost by the operation. */
static bool
flush_if_open(fuse_mount_t *fm, const char *dsname)
{
    mount_fs_t *mf = mf_hold_open(fm, dsname);
    if (mf == NULL)
        return false;
    bool writable = !zpl_fs_readonly(mf->mf_zfs);
    mf_put(mf);
    if (writable)
        (void)fuse_mount_flush(fm);
    return true;
}

int
fuse_mount_suspend(fuse_mount_t *fm, const char *dsname)
{
    if (!flush_if_open(fm, dsname))
        return SET_ERROR(ENOENT);
    mutex_enter(&fm->fm_admin_lock);
    mount_fs_t *mf = mf_begin_drain(fm, dsname);
    if (mf != NULL) {
        nodes_take(mf, park, mf);
        mf_wait_idle(mf); /* forgets that came with a znode */
        zpl_fs_unmount(mf->mf_zfs);
        mf->mf_zfs = NULL;
        mf_set_state(mf, MF_SUSPENDED);
    }
    mutex_exit(&fm->fm_admin_lock);
    return mf != NULL ? 0 : SET_ERROR(ENOENT);
}

/* ---- resume ---- */

static bool
same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* A volume has no times that would tell. */
static bool
same_file(const mount_fs_t *mf, const parked_t *pk, znode_t *zp)
{
    struct stat st;
    if (zpl_fs_is_volume(mf->mf_zfs) || zpl_znode_gen(zp) != pk->pk_gen || zpl_getattr(zp, &st) != 0 ||
        ((st.st_mode ^ pk->pk_st.st_mode) & S_IFMT) != 0)
        return false;
    return !S_ISREG(st.st_mode) ||
           (st.st_size == pk->pk_st.st_size && same_time(&st.st_mtim, &pk->pk_st.st_mtim) &&
            same_time(&st.st_ctim, &pk->pk_st.st_ctim));
}

/* The mount's root goes on whatever it is now. */
static void
unpark(mount_fs_t *mf, parked_t *pk)
{
    znode_t *zp;
    bool root = pk->pk_id == FUSE_ROOT_ID;
    int err = zpl_znode_hold(mf->mf_zfs, root ? mf->mf_rootobj : pk->pk_object, &zp);
    if (err == 0 && !root && !same_file(mf, pk, zp)) {
        zpl_znode_rele(zp);
        err = ESTALE;
    }
    pk->pk_stale = err != 0;
    if (err != 0)
        return;
    if (S_ISDIR(pk->pk_st.st_mode))
        entries_read(zp, &pk->pk_new);
    node_set_znode(mf, pk->pk_id, zp);
}

static int
moved_compare(const void *a, const void *b)
{
    return AVL_CMP(((const moved_t *)a)->mv_object, ((const moved_t *)b)->mv_object);
}

static moved_t *
moved_find(const mount_fs_t *mf, size_t count, uint64_t object)
{
    moved_t key = {object, 0};
    return count > 0 ? bsearch(&key, mf->mf_moved, count, sizeof(moved_t), moved_compare) : NULL;
}

/* Objects whose nodes are stale get other node ids. Of each object only the latest incarnation was parked. */
static void
new_incarnations(mount_fs_t *mf, const parked_t *parked, size_t count)
{
    size_t known = mf->mf_nmoved;
    mf->mf_moved = xrealloc(mf->mf_moved, (known + count + 1) * sizeof(moved_t));
    for (size_t i = 0; i < count; i++) {
        moved_t *mv = moved_find(mf, known, parked[i].pk_object);
        if (!parked[i].pk_stale)
            continue;
        if (mv != NULL)
            mv->mv_incarnation = mv->mv_incarnation % 255 + 1;
        else
            mf->mf_moved[mf->mf_nmoved++] = (moved_t){parked[i].pk_object, 1};
    }
    if (mf->mf_nmoved > 1)
        qsort(mf->mf_moved, mf->mf_nmoved, sizeof(moved_t), moved_compare);
}

/* Names that are there only before or after, or are other files now: both lists are sorted. */
static void
tell_entries(const mount_fs_t *mf, const parked_t *pk)
{
    size_t o = 0, n = 0;
    while (o < pk->pk_old.es_count || n < pk->pk_new.es_count) {
        const entry_t *old = o < pk->pk_old.es_count ? &pk->pk_old.es_list[o] : NULL;
        const entry_t *new = n < pk->pk_new.es_count ? &pk->pk_new.es_list[n] : NULL;
        int c = old == NULL ? 1 : new == NULL ? -1 : strcmp(old->en_name, new->en_name);
        if (c != 0 || old->en_object != new->en_object ||
            moved_find(mf, mf->mf_nmoved, old->en_object) != NULL)
            inval_entry(mf->mf_mount, pk->pk_id, c <= 0 ? old->en_name : new->en_name);
        o += c <= 0;
        n += c >= 0;
    }
}

static void
tell_kernel(mount_fs_t *mf, parked_t *parked, size_t count, const name_set_t *changed)
{
    fuse_mount_t *fm = mf->mf_mount;
    uint64_t root = node_id(mf, mf->mf_rootobj);
    for (size_t i = 0; i < count; i++) {
        tell_entries(mf, &parked[i]);
        inval_inode(fm, parked[i].pk_id);
    }
    for (size_t i = 0; i < changed->ns_count; i++)
        inval_entry(fm, root, changed->ns_entries[i].ne_name);
    inval_inode(fm, NODE_ID(mf, NODE_SNAPDIR));
}

/* Its root was known and is stale: the entry under which the dataset is seen is another directory now. */
static bool
root_is_stale(const parked_t *parked, size_t count, uint64_t rootobj)
{
    for (size_t i = 0; i < count; i++)
        if (parked[i].pk_object == rootobj && parked[i].pk_id != FUSE_ROOT_ID)
            return parked[i].pk_stale;
    return false;
}

static void
parked_free(parked_t *parked, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        entries_free(&parked[i].pk_old);
        entries_free(&parked[i].pk_new);
    }
    free(parked);
}

/* It cannot be opened any more: as if it had been given up. */
static void
resume_failed(mount_fs_t *mf, parked_t *parked, size_t count, int err)
{
    fuse_mount_t *fm = mf->mf_mount;
    node_list_t dead = {.nl_count = 0};
    char name[ZFS_MAX_DATASET_NAME_LEN];
    snprintf(name, sizeof(name), "%s", mf->mf_name);
    if (err != ENOENT)
        cowbird_log(LOG_ERR, "%s: cannot be shown any more: %s", name, cowbird_strerror(err));
    nodes_list(mf, &dead);
    mf_end(mf);
    inval_dataset(fm, name, &dead);
    free(dead.nl_ids);
    parked_free(parked, count);
}

static void
resume(mount_fs_t *mf)
{
    fuse_mount_t *fm = mf->mf_mount;
    bool rdonly = fm->fm_rdonly || mf->mf_snapshot;
    parked_t *parked = mf->mf_parked;
    size_t count = mf->mf_nparked;
    name_set_t changed = {.ns_count = 0};
    node_list_t none = {.nl_count = 0};
    uint64_t oldroot = mf->mf_rootobj;

    mf->mf_parked = NULL;
    mf->mf_nparked = 0;
    int err = zpl_fs_mount(fm->fm_pool, mf->mf_name, rdonly ? ZPL_MOUNT_RDONLY : 0, &mf->mf_zfs);
    if (err != 0) {
        resume_failed(mf, parked, count, err);
        return;
    }
    mf->mf_rootobj = zpl_fs_root(mf->mf_zfs);
    for (size_t i = 0; i < count; i++)
        unpark(mf, &parked[i]);
    new_incarnations(mf, parked, count);
    mf_reload(mf, &changed);
    atomic_fetch_add(&mf->mf_busy, 1); /* stays open until all is told */
    mf_set_state(mf, MF_LIVE);
    tell_kernel(mf, parked, count, &changed);
    if (root_is_stale(parked, count, oldroot))
        inval_dataset(fm, mf->mf_name, &none);
    names_free(&changed);
    parked_free(parked, count);
    mf_put(mf);
}

bool
fuse_mount_resume(fuse_mount_t *fm, const char *dsname)
{
    mutex_enter(&fm->fm_admin_lock);
    mount_fs_t *mf = mf_suspended(fm, dsname);
    if (mf != NULL)
        resume(mf);
    mutex_exit(&fm->fm_admin_lock);
    return mf != NULL;
}
