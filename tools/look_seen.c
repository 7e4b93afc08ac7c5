/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * look_seen.c - which objects a walk has met, and where first: hard links are found so, and a damaged directory that holds itself.
 */
#include "look.h"

typedef struct seen_node {
    avl_node_t sn_avl;
    const void *sn_fs;
    uint64_t sn_object;
    char sn_path[];
} seen_node_t;

static int
seen_compare(const void *va, const void *vb)
{
    const seen_node_t *a = va, *b = vb;
    if (a->sn_fs != b->sn_fs)
        return (uintptr_t)a->sn_fs < (uintptr_t)b->sn_fs ? -1 : 1;
    return a->sn_object < b->sn_object ? -1 : a->sn_object > b->sn_object;
}

void
seen_init(look_seen_t *seen)
{
    avl_create(&seen->se_tree, seen_compare, offsetof(seen_node_t, sn_avl));
}

void
seen_fini(look_seen_t *seen)
{
    seen_node_t *sn;
    while ((sn = avl_first(&seen->se_tree)) != NULL) {
        avl_remove(&seen->se_tree, sn);
        free(sn);
    }
    avl_destroy(&seen->se_tree);
}

const char *
seen_before(look_seen_t *seen, const look_file_t *f, uint64_t object, const char *path)
{
    avl_index_t where;
    seen_node_t key = {.sn_fs = tree_fs_of(f), .sn_object = object};
    seen_node_t *sn = avl_find(&seen->se_tree, &key, &where);
    if (sn != NULL)
        return sn->sn_path;
    size_t n = strlen(path) + 1;
    sn = xzalloc(sizeof(*sn) + n);
    sn->sn_fs = key.sn_fs;
    sn->sn_object = object;
    memcpy(sn->sn_path, path, n);
    avl_insert(&seen->se_tree, sn, where);
    return NULL;
}
