/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_names.c - from object numbers to names, many times: directories read once, kept sorted by object.
 *
 *     directory 34    | 7 "b" | 12 "a" | 12 "c" | 90 "README" |        12 has two names here: the first in order counts
 *
 * For who asks after the names of many objects of a state that does not change (diff): a directory is a ZAP by name, so each question without
 * this reads all of it. NAMES_DIRS directories are kept, the one not asked for longest goes.
 *
 * INVARIANT: what is kept is what the object set holds; it must not change meanwhile.
 */
#include "zpl_impl.h"

#define NAMES_DIRS 16

typedef struct name_entry {
    uint64_t ne_object;
    char *ne_name;
} name_entry_t;

typedef struct names_dir {
    uint64_t nd_dir; /* 0: free */
    uint64_t nd_used;
    name_entry_t *nd_entries;
    size_t nd_count;
} names_dir_t;

struct zpl_names {
    names_dir_t zn_dirs[NAMES_DIRS];
    uint64_t zn_clock;
};

static int
entry_compare(const void *a, const void *b)
{
    const name_entry_t *x = a, *y = b;

    return x->ne_object != y->ne_object ? AVL_CMP(x->ne_object, y->ne_object) : strcmp(x->ne_name, y->ne_name);
}

static void
dir_forget(names_dir_t *nd)
{
    for (size_t i = 0; i < nd->nd_count; i++)
        free(nd->nd_entries[i].ne_name);
    free(nd->nd_entries);
    memset(nd, 0, sizeof(*nd));
}

static int
dir_load(names_dir_t *nd, objset_t *os, uint64_t dir)
{
    zap_attribute_t za;
    zap_cursor_t zc;
    int err;

    nd->nd_dir = dir;
    zap_cursor_init(&zc, os, dir);
    while ((err = zap_cursor_retrieve(&zc, &za)) == 0) {
        if ((nd->nd_count & (nd->nd_count - 1)) == 0)
            nd->nd_entries = xrealloc(nd->nd_entries, (nd->nd_count * 2 + 1) * sizeof(name_entry_t));
        nd->nd_entries[nd->nd_count++] =
            (name_entry_t){ZPL_DIRENT_OBJ(za.za_first_integer), xstrdup(za.za_name)};
        zap_cursor_advance(&zc);
    }
    zap_cursor_fini(&zc);
    if (err == ENOENT && nd->nd_count > 1)
        qsort(nd->nd_entries, nd->nd_count, sizeof(name_entry_t), entry_compare);
    if (err != ENOENT)
        dir_forget(nd);
    return err == ENOENT ? 0 : err;
}

zpl_names_t *
zpl_names_alloc(void)
{
    return xzalloc(sizeof(zpl_names_t));
}

void
zpl_names_free(zpl_names_t *zn)
{
    for (int i = 0; zn != NULL && i < NAMES_DIRS; i++)
        dir_forget(&zn->zn_dirs[i]);
    free(zn);
}

int
zpl_names_find(zpl_names_t *zn, objset_t *os, uint64_t dir, uint64_t object, const char **name)
{
    names_dir_t *nd = &zn->zn_dirs[0];
    size_t lo = 0, hi;
    int err;

    for (int i = 0; i < NAMES_DIRS && nd->nd_dir != dir; i++)
        if (zn->zn_dirs[i].nd_dir == dir || zn->zn_dirs[i].nd_used < nd->nd_used)
            nd = &zn->zn_dirs[i];
    if (nd->nd_dir != dir) {
        dir_forget(nd);
        if ((err = dir_load(nd, os, dir)) != 0)
            return err;
    }
    nd->nd_used = ++zn->zn_clock;
    for (hi = nd->nd_count; lo < hi;) { /* the first entry not below */
        size_t mid = lo + (hi - lo) / 2;
        if (nd->nd_entries[mid].ne_object < object)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == nd->nd_count || nd->nd_entries[lo].ne_object != object)
        return ENOENT;
    *name = nd->nd_entries[lo].ne_name;
    return 0;
}
