/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * names.c - sets of names that a directory of the mount shows and no directory object holds: child datasets, snapshots.
 *
 * Sorted by a 60-bit hash of the name. The hash is also the readdir cookie: a name that is there all the time is
 * listed once, whatever comes and goes beside it. (Two names of one directory with the same hash: one in 2^60; one would be listed only
 * when both fit into the same reply.)
 */
#include "mount_impl.h"

static uint64_t
name_hash(const char *name)
{
    uint64_t h = 0xcbf29ce484222325ULL; /* FNV-1a */
    for (; *name != '\0'; name++)
        h = (h ^ (uint8_t)*name) * 0x100000001b3ULL;
    h ^= h >> 29;
    h *= 0x9e3779b97f4a7c15ULL;
    return (h >> 4) | 1; /* 0 is "from the start" */
}

static int
name_compare(const void *l, const void *r)
{
    const name_entry_t *a = l, *b = r;
    return a->ne_hash != b->ne_hash ? AVL_CMP(a->ne_hash, b->ne_hash) : strcmp(a->ne_name, b->ne_name);
}

void
names_add(name_set_t *ns, const char *name)
{
    if (ns->ns_count == ns->ns_room) {
        ns->ns_room = ns->ns_room * 2 + 8;
        ns->ns_entries = xrealloc(ns->ns_entries, ns->ns_room * sizeof(*ns->ns_entries));
    }
    ns->ns_entries[ns->ns_count++] = (name_entry_t){name_hash(name), xstrdup(name)};
}

void
names_sort(name_set_t *ns)
{
    if (ns->ns_count > 1)
        qsort(ns->ns_entries, ns->ns_count, sizeof(*ns->ns_entries), name_compare);
}

bool
names_contain(const name_set_t *ns, const char *name)
{
    if (ns->ns_count == 0)
        return false;
    name_entry_t key = {name_hash(name), (char *)(uintptr_t)name};
    return bsearch(&key, ns->ns_entries, ns->ns_count, sizeof(key), name_compare) != NULL;
}

void
names_free(name_set_t *ns)
{
    for (size_t i = 0; i < ns->ns_count; i++)
        free(ns->ns_entries[i].ne_name);
    free(ns->ns_entries);
    *ns = (name_set_t){.ns_count = 0};
}

static void
names_add_missing(const name_set_t *from, const name_set_t *in, name_set_t *out)
{
    for (size_t i = 0; i < from->ns_count; i++) {
        if (!names_contain(in, from->ns_entries[i].ne_name))
            names_add(out, from->ns_entries[i].ne_name);
    }
}

void
names_diff(const name_set_t *a, const name_set_t *b, name_set_t *out)
{
    names_add_missing(a, b, out);
    names_add_missing(b, a, out);
}
