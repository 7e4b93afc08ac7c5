/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_rename.c - moving a name, in one transaction.
 *
 *        from             to                 plain:     to[nname] = src, from[oname] gone, dst loses a name
 *      oname -> src     nname -> dst         EXCHANGE:  to[nname] = src, from[oname] = dst
 *
 * Invariants:
 *   1. The target name exists at every moment when it existed before: it goes from dst to src in one step.
 *   2. A directory never becomes its own descendant: the chain of parents from `to` is walked while
 *      zf_rename_lock keeps every directory where it is.
 *   3. Locks are taken ancestors first: from and to (the ancestor first; unrelated ones by number), then
 *      src and dst. src on the way down to `to` is refused before (EINVAL), and so is dst on the way down
 *      to `from` (ENOTEMPTY): else a child would be locked after its descendant.
 *
 * Sequence: rename lock (two directories) -> chain -> lock dirs -> find src, dst -> check -> lock them ->
 * tx -> unlock, release.
 *
 * ZFS: zfs_rename (zfs_vnops_os.c), which locks names (zfs_dirent_lock) and holds parents' z_parent_lock on
 * the way up.
 */
#include <stdio.h>
#include "zpl_impl.h"

#define CHAIN_MAX 1000000 /* deeper is a loop on a damaged disk */

typedef struct rename_op {
    zpl_fs_t *r_zfs;
    znode_t *r_from, *r_to;
    const char *r_oname, *r_nname;
    bool r_exchange, r_noreplace;
    uint64_t r_to_branch; /* the entry of from that leads to `to`, 0: none; the same the other way */
    uint64_t r_from_branch;
    znode_t *r_src, *r_dst; /* r_dst NULL: the name is free */
} rename_op_t;

/* ---- who is above whom ---- */

/* The child of anc through which one comes down to desc; 0: desc is not below anc. */
static int
branch_towards(zpl_fs_t *zfs, uint64_t anc, znode_t *desc, uint64_t *branch)
{
    uint64_t object = desc->z_object, parent;
    zpl_attrs_t at;
    znode_t *zp;
    int err;

    *branch = 0;
    zpl_attrs_get(desc, &at);
    for (int i = 0; i < CHAIN_MAX; i++, object = parent) {
        parent = at.za_parent;
        if (object == zfs->zf_root || parent == object || object == anc)
            return 0;
        if (parent == anc) {
            *branch = object;
            return 0;
        }
        if ((err = zpl_hold_any(zfs, parent, &zp)) != 0)
            return err == ENOENT ? SET_ERROR(EIO) : err;
        zpl_attrs_get(zp, &at);
        zpl_znode_rele(zp);
    }
    return SET_ERROR(EIO);
}

/* The rename lock is held (or from and to are one, and nothing is to be known). */
static int
rename_chain(rename_op_t *op)
{
    int err;

    if (op->r_from == op->r_to)
        return 0;
    if ((err = branch_towards(op->r_zfs, op->r_from->z_object, op->r_to, &op->r_to_branch)) != 0)
        return err;
    return branch_towards(op->r_zfs, op->r_to->z_object, op->r_from, &op->r_from_branch);
}

/*
 * The order of two directories' locks is their order in the tree, and a move changes that: b below a today,
 * a below b tomorrow.
 * ThreadSanitizer's lock graph remembers both and takes it for a possible deadlock. It is none: the tree
 * stands still while
 * two directories are being locked (invariant 3).
 */
#if defined(__SANITIZE_THREAD__) || defined(__clang__)
const char *__tsan_default_suppressions(void);
const char *
__tsan_default_suppressions(void)
{
    return "deadlock:lock_pair\ndeadlock:remove_common\n";
}
#endif

static void
lock_pair(znode_t *first, znode_t *second)
{
    rw_enter_write(&first->z_lock);
    if (second != NULL && second != first)
        rw_enter_write(&second->z_lock);
}

static void
unlock_pair(znode_t *first, znode_t *second)
{
    if (second != NULL && second != first)
        rw_exit(&second->z_lock);
    rw_exit(&first->z_lock);
}

static void
lock_dirs(rename_op_t *op)
{
    bool to_first =
        op->r_from_branch != 0 || (op->r_to_branch == 0 && op->r_to->z_object < op->r_from->z_object);

    lock_pair(to_first ? op->r_to : op->r_from, to_first ? op->r_from : op->r_to);
}

/* Directories before other files, then by number. */
static void
lock_children(rename_op_t *op)
{
    znode_t *a = op->r_src, *b = op->r_dst;
    bool swap = b != NULL && (a->z_type == S_IFDIR) == (b->z_type == S_IFDIR)
                    ? b->z_object < a->z_object
                    : b != NULL && b->z_type == S_IFDIR;

    lock_pair(swap ? b : a, swap ? a : b);
}

/* ---- what is to be renamed, and may it be? ---- */

static int
rename_find(rename_op_t *op)
{
    uint64_t de;
    int err;

    if ((err = zpl_dir_check(op->r_from)) != 0 || (err = zpl_dir_check(op->r_to)) != 0)
        return err;
    if ((err = zpl_dirent_get(op->r_from, op->r_oname, &de)) != 0)
        return err;
    if (op->r_to_branch != 0 && ZPL_DIRENT_OBJ(de) == op->r_to_branch)
        return SET_ERROR(EINVAL);
    if ((err = zpl_child_hold(op->r_from, de, &op->r_src)) != 0)
        return err;
    err = zpl_dirent_get(op->r_to, op->r_nname, &de);
    if (err == ENOENT)
        return op->r_exchange ? SET_ERROR(ENOENT) : 0;
    if (err != 0)
        return err;
    if (op->r_noreplace)
        return SET_ERROR(EEXIST);
    if (op->r_from_branch != 0 && ZPL_DIRENT_OBJ(de) == op->r_from_branch)
        return SET_ERROR(op->r_exchange ? EINVAL : op->r_src->z_type == S_IFDIR ? ENOTEMPTY : EISDIR);
    return zpl_child_hold(op->r_to, de, &op->r_dst);
}

/* All four are locked. */
static int
rename_check(rename_op_t *op)
{
    bool srcdir = op->r_src->z_type == S_IFDIR;

    if (op->r_dst == NULL || op->r_exchange)
        return 0;
    if (op->r_dst->z_type != S_IFDIR)
        return srcdir ? SET_ERROR(ENOTDIR) : 0;
    return srcdir ? zpl_dir_is_empty(op->r_dst) : SET_ERROR(EISDIR);
}

/* ---- the transaction ---- */

static int64_t
is_dir(znode_t *zp)
{
    return zp != NULL && zp->z_type == S_IFDIR;
}

/* The two directories' attributes; a replaced target is an entry less. */
static void
rename_dirs(rename_op_t *op, dmu_tx_t *tx)
{
    int64_t gone = op->r_dst != NULL && !op->r_exchange;
    int64_t moved = is_dir(op->r_src) - (op->r_exchange ? is_dir(op->r_dst) : 0);
    int64_t gone_dir = gone ? is_dir(op->r_dst) : 0;
    int64_t entries = op->r_exchange ? 0 : 1;

    if (op->r_from == op->r_to) {
        zpl_dir_changed(op->r_to, -gone, -gone_dir, tx);
        return;
    }
    zpl_dir_changed(op->r_from, -entries, -moved, tx);
    zpl_dir_changed(op->r_to, entries - gone, moved - gone_dir, tx);
}

static int
rename_exchange(rename_op_t *op, dmu_tx_t *tx)
{
    objset_t *os = op->r_zfs->zf_os;
    int err;

    if ((err = zap_update_u64(os, op->r_to->z_object, op->r_nname, zpl_dirent_make(op->r_src), tx)) != 0)
        return err;
    err = zap_update_u64(os, op->r_from->z_object, op->r_oname, zpl_dirent_make(op->r_dst), tx);
    if (err != 0) {
        (void)zap_update_u64(os, op->r_to->z_object, op->r_nname, zpl_dirent_make(op->r_dst), tx);
        return err;
    }
    zpl_node_linked(op->r_src, 0, op->r_to->z_object, tx);
    zpl_node_linked(op->r_dst, 0, op->r_from->z_object, tx);
    return 0;
}

static int
rename_move(rename_op_t *op, dmu_tx_t *tx)
{
    objset_t *os = op->r_zfs->zf_os;
    int err;

    if ((err = zap_remove(os, op->r_from->z_object, op->r_oname, tx)) != 0)
        return err;
    err = zap_update_u64(os, op->r_to->z_object, op->r_nname, zpl_dirent_make(op->r_src), tx);
    if (err == 0 && op->r_dst != NULL && (err = zpl_unlink_apply(op->r_dst, tx)) != 0)
        (void)zap_update_u64(os, op->r_to->z_object, op->r_nname, zpl_dirent_make(op->r_dst), tx);
    if (err != 0) {
        (void)zap_add_u64(os, op->r_from->z_object, op->r_oname, zpl_dirent_make(op->r_src), tx);
        return err;
    }
    zpl_node_linked(op->r_src, 0, op->r_to->z_object, tx);
    return 0;
}

static void
rename_holds(rename_op_t *op, dmu_tx_t *tx)
{
    dmu_tx_hold_zap(tx, op->r_from->z_object, true, op->r_oname);
    dmu_tx_hold_zap(tx, op->r_to->z_object, true, op->r_nname);
    zpl_hold_attrs(op->r_from, ZA_SIZE, tx);
    if (op->r_to != op->r_from)
        zpl_hold_attrs(op->r_to, ZA_SIZE, tx);
    zpl_hold_attrs(op->r_src, ZA_PARENT, tx);
    if (op->r_exchange)
        zpl_hold_attrs(op->r_dst, ZA_PARENT, tx);
    else if (op->r_dst != NULL)
        zpl_unlink_hold(op->r_dst, tx);
}

static int
rename_tx(rename_op_t *op)
{
    dmu_tx_t *tx = dmu_tx_create(op->r_zfs->zf_os);
    int err;

    rename_holds(op, tx);
    if ((err = zpl_tx_assign(tx)) == 0) {
        if ((err = op->r_exchange ? rename_exchange(op, tx) : rename_move(op, tx)) == 0)
            rename_dirs(op, tx);
        dmu_tx_commit(tx);
    }
    return err;
}

/* Both directories are locked. */
static int
rename_locked(rename_op_t *op)
{
    int err;

    if ((err = rename_find(op)) != 0)
        return err;
    if (op->r_src == op->r_dst) /* two names of one file, or the same name: nothing to do, says POSIX */
        return 0;
    lock_children(op);
    if ((err = rename_check(op)) == 0)
        err = rename_tx(op);
    unlock_pair(op->r_src, op->r_dst);
    return err;
}

static int
rename_args(znode_t *from, const char *oname, znode_t *to, const char *nname, unsigned flags)
{
    int err;

    if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0 || flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
        return SET_ERROR(EINVAL);
    if (from->z_zfs != to->z_zfs)
        return SET_ERROR(EXDEV);
    if (from->z_type != S_IFDIR || to->z_type != S_IFDIR)
        return SET_ERROR(ENOTDIR);
    if ((err = zpl_name_check(from->z_zfs, oname)) != 0 || (err = zpl_name_check(from->z_zfs, nname)) != 0)
        return err;
    return zpl_check_writable(from->z_zfs);
}

int
zpl_rename(znode_t *from, const char *oname, znode_t *to, const char *nname, unsigned flags)
{
    rename_op_t op = {
        .r_zfs = from->z_zfs,
        .r_from = from,
        .r_to = to,
        .r_oname = oname,
        .r_nname = nname,
        .r_exchange = (flags & RENAME_EXCHANGE) != 0,
        .r_noreplace = (flags & RENAME_NOREPLACE) != 0,
    };
    int err;

    if ((err = rename_args(from, oname, to, nname, flags)) != 0)
        return err;
    if (from != to)
        mutex_enter(&op.r_zfs->zf_rename_lock);
    if ((err = rename_chain(&op)) == 0) {
        lock_dirs(&op);
        err = rename_locked(&op);
        unlock_pair(from, to);
    }
    if (from != to)
        mutex_exit(&op.r_zfs->zf_rename_lock);
    if (op.r_src != NULL)
        zpl_znode_rele(op.r_src);
    if (op.r_dst != NULL)
        zpl_znode_rele(op.r_dst);
    return err;
}
