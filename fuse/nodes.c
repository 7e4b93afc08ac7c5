/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nodes.c - what the kernel knows of a mount: node ids, how often it looked each up, the znodes they hold.
 *
 *     lookup:  entry_fill ─► node_remember        n_lookups + 1, the hold on the znode becomes the node's
 *     request: node_enter ─► n->n_zp ... ─► node_leave
 *     forget:  node_forget                        at 0 the znode is released; an unlinked file is freed there
 *
 * A hash table in stripes, each with its own lock and growing by itself; a lock is held for a few instructions.
 * mount_impl.h has the invariants.
 */
#include "mount_impl.h"

static uint64_t
node_hash(uint64_t id)
{
    return (id * 0x9e3779b97f4a7c15ULL) >> 20;
}

static node_stripe_t *
node_stripe(fuse_mount_t *fm, uint64_t id)
{
    return &fm->fm_stripes[node_hash(id) % NODE_STRIPES];
}

static node_t **
node_bucket(node_stripe_t *ns, uint64_t id)
{
    return &ns->ns_buckets[(node_hash(id) / NODE_STRIPES) & (ns->ns_size - 1)];
}

/* Where the pointer to the node is, or would be. */
static node_t **
node_find(node_stripe_t *ns, uint64_t id)
{
    node_t **np = node_bucket(ns, id);
    while (*np != NULL && (*np)->n_id != id)
        np = &(*np)->n_next;
    return np;
}

static void
stripe_grow(node_stripe_t *ns)
{
    node_stripe_t old = *ns;
    ns->ns_size = old.ns_size * 2;
    ns->ns_buckets = xzalloc(ns->ns_size * sizeof(node_t *));
    for (size_t i = 0; i < old.ns_size; i++) {
        for (node_t *n = old.ns_buckets[i], *next; n != NULL; n = next) {
            node_t **head = node_bucket(ns, n->n_id);
            next = n->n_next;
            n->n_next = *head;
            *head = n;
        }
    }
    free(old.ns_buckets);
}

void
nodes_init(fuse_mount_t *fm)
{
    for (int i = 0; i < NODE_STRIPES; i++) {
        node_stripe_t *ns = &fm->fm_stripes[i];
        mutex_init(&ns->ns_lock);
        ns->ns_size = 16;
        ns->ns_buckets = xzalloc(ns->ns_size * sizeof(node_t *));
    }
}

static int
moved_compare(const void *a, const void *b)
{
    return AVL_CMP(((const moved_t *)a)->mv_object, ((const moved_t *)b)->mv_object);
}

uint64_t
node_id(mount_fs_t *mf, uint64_t object)
{
    moved_t key = {object, 0}, *mv = NULL;
    if (mf->mf_num == 0 && object == mf->mf_rootobj)
        return FUSE_ROOT_ID;
    if (mf->mf_nmoved > 0)
        mv = bsearch(&key, mf->mf_moved, mf->mf_nmoved, sizeof(moved_t), moved_compare);
    return NODE_ID(mf, object) | (mv != NULL ? mv->mv_incarnation << NODE_OBJ_BITS : 0);
}

/* Lock held. True when the node left its stripe: the caller finishes it with node_destroy, outside the lock. */
static bool
node_unlink_if_unused(node_stripe_t *ns, node_t **np)
{
    node_t *n = *np;
    if (n->n_lookups != 0 || n->n_refs != 0)
        return false;
    if (n->n_zp != NULL)
        atomic_fetch_add(&n->n_mf->mf_busy, 1); /* invariant 1: the file system stays for the release */
    *np = n->n_next;
    ns->ns_count--;
    return true;
}

static void
node_destroy(node_t *n)
{
    mount_fs_t *mf = n->n_mf;
    if (n->n_zp != NULL) {
        zpl_znode_rele(n->n_zp);
        mf_exit(mf);
    }
    free(n);
    mf_unref(mf);
}

static node_t *
node_hold(fuse_mount_t *fm, uint64_t id)
{
    node_stripe_t *ns = node_stripe(fm, id);
    mutex_enter(&ns->ns_lock);
    node_t *n = *node_find(ns, id);
    if (n != NULL)
        n->n_refs++;
    mutex_exit(&ns->ns_lock);
    return n;
}

static void
node_rele(node_t *n)
{
    node_stripe_t *ns = node_stripe(n->n_mf->mf_mount, n->n_id);
    mutex_enter(&ns->ns_lock);
    n->n_refs--;
    bool gone = node_unlink_if_unused(ns, node_find(ns, n->n_id));
    mutex_exit(&ns->ns_lock);
    if (gone)
        node_destroy(n);
}

int
node_enter(fuse_mount_t *fm, fuse_ino_t ino, node_t **np)
{
    node_t *n = node_hold(fm, ino);
    if (n == NULL)
        return SET_ERROR(ESTALE);
    int err = mf_enter(n->n_mf);
    if (err != 0) {
        node_rele(n);
        return err;
    }
    if (n->n_zp == NULL && !node_is_ctl(n)) { /* it was not there any more after a rollback */
        node_leave(n);
        return SET_ERROR(ESTALE);
    }
    *np = n;
    return 0;
}

void
node_leave(node_t *n)
{
    mf_exit(n->n_mf);
    node_rele(n);
}

int
node_enter_second(node_t *first, fuse_ino_t ino, node_t **np)
{
    node_t *n = node_hold(first->n_mf->mf_mount, ino);
    if (n == NULL)
        return SET_ERROR(ESTALE);
    int err = n->n_mf != first->n_mf ? EXDEV : n->n_zp == NULL && !node_is_ctl(n) ? ESTALE : 0;
    if (err != 0) {
        node_rele(n);
        return SET_ERROR(err);
    }
    *np = n;
    return 0;
}

void
node_leave_second(node_t *n)
{
    node_rele(n);
}

void
node_remember(mount_fs_t *mf, uint64_t object, znode_t *zp)
{
    uint64_t id = node_id(mf, object);
    node_stripe_t *ns = node_stripe(mf->mf_mount, id);
    mutex_enter(&ns->ns_lock);
    node_t **np = node_find(ns, id), *n = *np;
    bool known = n != NULL;
    if (!known) {
        mf_ref(mf);
        n = xzalloc(sizeof(*n));
        n->n_id = id;
        n->n_mf = mf;
        n->n_zp = zp;
        *np = n;
        if (++ns->ns_count > ns->ns_size * 2)
            stripe_grow(ns);
    }
    n->n_lookups++;
    mutex_exit(&ns->ns_lock);
    if (known && zp != NULL)
        zpl_znode_rele(zp);
}

void
node_forget(fuse_mount_t *fm, fuse_ino_t ino, uint64_t lookups)
{
    node_stripe_t *ns = node_stripe(fm, ino);
    mutex_enter(&ns->ns_lock);
    node_t **np = node_find(ns, ino), *n = *np;
    bool gone = false;
    if (n != NULL && ino != FUSE_ROOT_ID) {
        n->n_lookups -= MIN(lookups, n->n_lookups);
        gone = node_unlink_if_unused(ns, np);
    }
    mutex_exit(&ns->ns_lock);
    if (gone)
        node_destroy(n);
}

/* ---- all nodes of a file system ---- */

typedef struct taken {
    uint64_t t_id;
    znode_t *t_zp;
} taken_t;

/* Takes the znodes of one stripe; returns them, counted. */
static taken_t *
stripe_take_znodes(node_stripe_t *ns, mount_fs_t *mf, size_t *count)
{
    *count = 0;
    mutex_enter(&ns->ns_lock);
    taken_t *all = xmalloc((ns->ns_count + 1) * sizeof(taken_t));
    for (size_t b = 0; b < ns->ns_size; b++) {
        for (node_t *n = ns->ns_buckets[b]; n != NULL; n = n->n_next) {
            if (n->n_mf != mf || n->n_zp == NULL)
                continue;
            all[(*count)++] = (taken_t){n->n_id, n->n_zp};
            n->n_zp = NULL;
        }
    }
    mutex_exit(&ns->ns_lock);
    return all;
}

void
nodes_take(mount_fs_t *mf, void (*fn)(void *arg, uint64_t id, znode_t *zp), void *arg)
{
    for (int i = 0; i < NODE_STRIPES; i++) {
        size_t count;
        taken_t *all = stripe_take_znodes(&mf->mf_mount->fm_stripes[i], mf, &count);
        for (size_t t = 0; t < count; t++)
            fn(arg, all[t].t_id, all[t].t_zp);
        free(all);
    }
}

static void
give_up_one(void *arg, uint64_t id, znode_t *zp)
{
    zpl_znode_rele(zp);
}

void
nodes_give_up(mount_fs_t *mf)
{
    nodes_take(mf, give_up_one, NULL);
}

void
node_set_znode(mount_fs_t *mf, uint64_t id, znode_t *zp)
{
    node_stripe_t *ns = node_stripe(mf->mf_mount, id);
    mutex_enter(&ns->ns_lock);
    node_t *n = *node_find(ns, id);
    bool wanted = n != NULL && n->n_mf == mf && n->n_zp == NULL;
    if (wanted)
        n->n_zp = zp;
    mutex_exit(&ns->ns_lock);
    if (!wanted)
        zpl_znode_rele(zp);
}

static void
node_list_room(node_list_t *nl, size_t more)
{
    if (nl->nl_count + more <= nl->nl_room)
        return;
    nl->nl_room = (nl->nl_count + more) * 2;
    nl->nl_ids = xrealloc(nl->nl_ids, nl->nl_room * sizeof(*nl->nl_ids));
}

void
nodes_list(mount_fs_t *mf, node_list_t *nl)
{
    for (int i = 0; i < NODE_STRIPES; i++) {
        node_stripe_t *ns = &mf->mf_mount->fm_stripes[i];
        mutex_enter(&ns->ns_lock);
        node_list_room(nl, ns->ns_count);
        for (size_t b = 0; b < ns->ns_size; b++) {
            for (node_t *n = ns->ns_buckets[b]; n != NULL; n = n->n_next) {
                if (n->n_mf == mf)
                    nl->nl_ids[nl->nl_count++] = n->n_id;
            }
        }
        mutex_exit(&ns->ns_lock);
    }
}

/* All file systems were given up and no thread runs: only memory is left. */
void
nodes_fini(fuse_mount_t *fm)
{
    for (int i = 0; i < NODE_STRIPES; i++) {
        node_stripe_t *ns = &fm->fm_stripes[i];
        for (size_t b = 0; b < ns->ns_size; b++) {
            for (node_t *n = ns->ns_buckets[b], *next; n != NULL; n = next) {
                next = n->n_next;
                mf_unref(n->n_mf);
                free(n);
            }
        }
        free(ns->ns_buckets);
        mutex_destroy(&ns->ns_lock);
    }
}
