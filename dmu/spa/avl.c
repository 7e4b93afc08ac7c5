/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * avl.c - balanced binary trees whose links lie inside the elements.
 *
 * Invariants, for every node n:
 *   1. everything under child[0] compares less than n, everything under child[1] greater; no two are equal;
 *   2. avl_balance = height(child[1]) - height(child[0]), and between operations it is -1, 0 or 1;
 *   3. avl_parent is NULL exactly for the root.
 *
 * Insertion and removal change one link and then walk towards the root, correcting balances, for as long as the height
 * of the subtree they come from has changed. A node at +-2 is set right by one rotation, or by two when the heavy
 * child leans the other way:
 *
 *        n              c                 n                  g
 *       / \            / \               / \               /   \
 *      x   c    ->    n   z             x   c      ->     n     c
 *         / \        / \                   / \           / \   / \
 *        y   z      x   y                 g   z         x   u v   z
 *                                        / \
 *                                       u   v
 *
 * ZFS: module/avl/avl.c.
 */
#include "base.h"

static avl_node_t *
to_node(const avl_tree_t *t, const void *elem)
{
    return (avl_node_t *)((char *)elem + t->avl_offset);
}

static void *
to_elem(const avl_tree_t *t, const avl_node_t *n)
{
    return n == NULL ? NULL : (char *)n - t->avl_offset;
}

/* Put `new` (may be NULL) where `old` hangs under `parent` (NULL: it is the root). */
static void
replace_child(avl_tree_t *t, avl_node_t *parent, avl_node_t *old, avl_node_t *new)
{
    if (parent == NULL)
        t->avl_root = new;
    else
        parent->avl_child[parent->avl_child[1] == old] = new;
    if (new != NULL)
        new->avl_parent = parent;
}

/* n sinks to the side dir, its other child comes up in its place. Balances are the caller's. */
static void
rotate(avl_tree_t *t, avl_node_t *n, int dir)
{
    avl_node_t *c = n->avl_child[!dir], *inner = c->avl_child[dir];

    replace_child(t, n->avl_parent, n, c);
    n->avl_child[!dir] = inner;
    if (inner != NULL)
        inner->avl_parent = n;
    c->avl_child[dir] = n;
    n->avl_parent = c;
}

/* Set right a node at +-2. Returns whether the subtree is lower than before. */
static bool
fix_balance(avl_tree_t *t, avl_node_t *n)
{
    int heavy = n->avl_balance > 0, s = heavy ? 1 : -1;
    avl_node_t *c = n->avl_child[heavy], *g = c->avl_child[!heavy];

    if (c->avl_balance != -s) {
        bool lower = c->avl_balance != 0;
        rotate(t, n, !heavy);
        n->avl_balance = lower ? 0 : s;
        c->avl_balance = lower ? 0 : -s;
        return lower;
    }
    rotate(t, c, heavy);
    rotate(t, n, !heavy);
    n->avl_balance = g->avl_balance == s ? -s : 0;
    c->avl_balance = g->avl_balance == -s ? s : 0;
    g->avl_balance = 0;
    return true;
}

/* The side dir of n has become lower by one. */
static void
became_lower(avl_tree_t *t, avl_node_t *n, int dir)
{
    while (n != NULL) {
        avl_node_t *parent = n->avl_parent;
        int next_dir = parent != NULL && parent->avl_child[1] == n;

        n->avl_balance += dir ? -1 : 1;
        if (n->avl_balance == 1 || n->avl_balance == -1)
            return;
        if (n->avl_balance != 0 && !fix_balance(t, n))
            return;
        n = parent;
        dir = next_dir;
    }
}

static avl_node_t *
outermost(avl_node_t *n, int dir)
{
    while (n != NULL && n->avl_child[dir] != NULL)
        n = n->avl_child[dir];
    return n;
}

static avl_node_t *
neighbour(avl_node_t *n, int dir)
{
    if (n->avl_child[dir] != NULL)
        return outermost(n->avl_child[dir], !dir);
    while (n->avl_parent != NULL && n->avl_parent->avl_child[dir] == n)
        n = n->avl_parent;
    return n->avl_parent;
}

void
avl_create(avl_tree_t *t, int (*compare)(const void *, const void *), size_t offset)
{
    *t = (avl_tree_t){.avl_compare = compare, .avl_offset = offset};
}

void
avl_destroy(avl_tree_t *t)
{
    VERIFY(t->avl_root == NULL);
    VERIFY0(t->avl_numnodes);
}

void *
avl_find(avl_tree_t *t, const void *key, avl_index_t *where)
{
    avl_index_t at = {NULL, 0};
    avl_node_t *n = t->avl_root;

    while (n != NULL) {
        int d = t->avl_compare(key, to_elem(t, n));
        if (d == 0)
            return to_elem(t, n);
        at.ai_parent = n;
        at.ai_child = d > 0;
        n = n->avl_child[d > 0];
    }
    if (where != NULL)
        *where = at;
    return NULL;
}

void
avl_insert(avl_tree_t *t, void *elem, avl_index_t where)
{
    avl_node_t *n = to_node(t, elem), *p = where.ai_parent;

    *n = (avl_node_t){.avl_parent = p};
    t->avl_numnodes++;
    if (p == NULL) {
        ASSERT(t->avl_root == NULL);
        t->avl_root = n;
        return;
    }
    ASSERT(p->avl_child[where.ai_child] == NULL);
    p->avl_child[where.ai_child] = n;
    for (; p != NULL; n = p, p = p->avl_parent) {
        p->avl_balance += p->avl_child[1] == n ? 1 : -1;
        if (p->avl_balance == 0)
            return;
        if (p->avl_balance == 2 || p->avl_balance == -2) {
            fix_balance(t, p);
            return;
        }
    }
}

void
avl_add(avl_tree_t *t, void *elem)
{
    avl_index_t where;

    VERIFY(avl_find(t, elem, &where) == NULL);
    avl_insert(t, elem, where);
}

/* A node with two children: its successor s leaves its own place and takes over n's. */
static void
remove_inner(avl_tree_t *t, avl_node_t *n)
{
    avl_node_t *s = outermost(n->avl_child[1], 0), *lower = s->avl_parent;
    int dir = lower == n;

    replace_child(t, lower, s, s->avl_child[1]);
    if (lower == n)
        lower = s;
    for (int i = 0; i < 2; i++) {
        s->avl_child[i] = n->avl_child[i];
        if (s->avl_child[i] != NULL)
            s->avl_child[i]->avl_parent = s;
    }
    s->avl_balance = n->avl_balance;
    replace_child(t, n->avl_parent, n, s);
    became_lower(t, lower, dir);
}

void
avl_remove(avl_tree_t *t, void *elem)
{
    avl_node_t *n = to_node(t, elem), *p = n->avl_parent;

    ASSERT(t->avl_numnodes > 0);
    t->avl_numnodes--;
    if (n->avl_child[0] != NULL && n->avl_child[1] != NULL) {
        remove_inner(t, n);
    } else {
        int dir = p != NULL && p->avl_child[1] == n;
        replace_child(t, p, n, n->avl_child[0] != NULL ? n->avl_child[0] : n->avl_child[1]);
        became_lower(t, p, dir);
    }
    memset(n, 0, sizeof(*n));
}

void *
avl_first(avl_tree_t *t)
{
    return to_elem(t, outermost(t->avl_root, 0));
}

void *
avl_last(avl_tree_t *t)
{
    return to_elem(t, outermost(t->avl_root, 1));
}

void *
avl_next(avl_tree_t *t, void *elem)
{
    return to_elem(t, neighbour(to_node(t, elem), 1));
}

void *
avl_prev(avl_tree_t *t, void *elem)
{
    return to_elem(t, neighbour(to_node(t, elem), 0));
}

void *
avl_nearest(avl_tree_t *t, avl_index_t where, int dir)
{
    if (where.ai_parent == NULL)
        return NULL;
    return to_elem(t, where.ai_child != dir ? where.ai_parent : neighbour(where.ai_parent, dir));
}

uint64_t
avl_numnodes(const avl_tree_t *t)
{
    return t->avl_numnodes;
}

/* Leaves first: *cookie is the parent of the leaf that went last. No element is looked at after it was returned. */
void *
avl_destroy_nodes(avl_tree_t *t, void **cookie)
{
    avl_node_t *n = *cookie != NULL ? *cookie : t->avl_root;

    if (n == NULL)
        return NULL;
    while (n->avl_child[0] != NULL || n->avl_child[1] != NULL)
        n = n->avl_child[n->avl_child[0] == NULL];
    replace_child(t, n->avl_parent, n, NULL);
    *cookie = n->avl_parent;
    t->avl_numnodes--;
    memset(n, 0, sizeof(*n));
    return to_elem(t, n);
}
