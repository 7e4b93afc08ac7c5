/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * list.c - doubly linked lists whose links lie inside the elements.
 *
 * The head is a node like the others and closes the ring, so that no insertion or removal has a special case:
 *
 *   l_head <-> first <-> ... <-> last <-> l_head
 *
 * Invariants:
 *   1. n->ln_next->ln_prev == n for every node on a list, the head included.
 *   2. A node that is on no list has both links NULL (zeroed memory is such a node).
 *
 * ZFS: module/os/linux/spl (sys/list.h).
 */
#include "base.h"

static list_node_t *
to_node(const list_t *l, const void *elem)
{
    return (list_node_t *)((char *)elem + l->l_offset);
}

static void *
to_elem(const list_t *l, const list_node_t *n)
{
    return n == &l->l_head ? NULL : (char *)n - l->l_offset;
}

static void
link_between(list_node_t *prev, list_node_t *n, list_node_t *next)
{
    ASSERT(!list_link_active(n));
    n->ln_prev = prev;
    n->ln_next = next;
    prev->ln_next = n;
    next->ln_prev = n;
}

void
list_create(list_t *l, size_t offset)
{
    l->l_offset = offset;
    l->l_head.ln_next = l->l_head.ln_prev = &l->l_head;
}

void
list_destroy(list_t *l)
{
    VERIFY(list_is_empty(l));
    l->l_head.ln_next = l->l_head.ln_prev = NULL;
}

bool
list_is_empty(const list_t *l)
{
    return l->l_head.ln_next == &l->l_head;
}

bool
list_link_active(const list_node_t *n)
{
    return n->ln_next != NULL;
}

void *
list_head(const list_t *l)
{
    return to_elem(l, l->l_head.ln_next);
}

void *
list_tail(const list_t *l)
{
    return to_elem(l, l->l_head.ln_prev);
}

void *
list_next(const list_t *l, const void *elem)
{
    return to_elem(l, to_node(l, elem)->ln_next);
}

void *
list_prev(const list_t *l, const void *elem)
{
    return to_elem(l, to_node(l, elem)->ln_prev);
}

void
list_insert_head(list_t *l, void *elem)
{
    link_between(&l->l_head, to_node(l, elem), l->l_head.ln_next);
}

void
list_insert_tail(list_t *l, void *elem)
{
    link_between(l->l_head.ln_prev, to_node(l, elem), &l->l_head);
}

void
list_insert_before(list_t *l, void *at, void *elem)
{
    list_node_t *next = to_node(l, at);

    link_between(next->ln_prev, to_node(l, elem), next);
}

void
list_remove(list_t *l, void *elem)
{
    list_node_t *n = to_node(l, elem);

    ASSERT(list_link_active(n));
    n->ln_prev->ln_next = n->ln_next;
    n->ln_next->ln_prev = n->ln_prev;
    n->ln_next = n->ln_prev = NULL;
}

void *
list_remove_head(list_t *l)
{
    void *elem = list_head(l);

    if (elem != NULL)
        list_remove(l, elem);
    return elem;
}

void
list_move_tail(list_t *dst, list_t *src)
{
    list_node_t *first = src->l_head.ln_next, *last = src->l_head.ln_prev;

    if (list_is_empty(src))
        return;
    first->ln_prev = dst->l_head.ln_prev;
    dst->l_head.ln_prev->ln_next = first;
    last->ln_next = &dst->l_head;
    dst->l_head.ln_prev = last;
    src->l_head.ln_next = src->l_head.ln_prev = &src->l_head;
}
