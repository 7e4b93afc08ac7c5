/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nvlist_impl.h - private to the nvlist_*.c files: what a list is in memory, and the table of types.
 *
 * Invariants:
 *   1. A list holds its pairs twice: in insertion order, and in a tree by name, so that hostile lists of a million names
 *      cost no more than honest ones.
 *   2. Every pair owns its value. Integers are kept widened (sign- or zero-extended) in nvp_u; arrays keep the C layout
 *      of their type, which is also the native encoding's (a boolean is 4 bytes).
 */
#ifndef COWBIRD_NVLIST_IMPL_H
#define COWBIRD_NVLIST_IMPL_H

#include "nvlist.h"

#define NV_DEPTH_MAX 32 /* lists inside lists, when unpacking */

enum nv_kind { NV_NONE, NV_SCALAR, NV_ARRAY, NV_STRING, NV_STRINGS, NV_LIST, NV_LISTS };

typedef struct nv_type {
    enum nv_kind nt_kind;
    uint8_t nt_size; /* bytes of a scalar or of an array's element */
    bool nt_signed;
    const char *nt_name;
} nv_type_t;

struct nvlist {
    uint32_t nvl_flag; /* 1: unique names; kept as unpacked */
    list_t nvl_pairs;
    avl_tree_t nvl_by_name;
};

struct nvpair {
    list_node_t nvp_link;
    avl_node_t nvp_by_name;
    const char *nvp_name; /* in the same allocation */
    data_type_t nvp_type;
    uint32_t nvp_n; /* elements: 0 for a boolean, 1 for what is no array */
    union {
        uint64_t nvp_u;
        void *nvp_array;
        char *nvp_string;
        char **nvp_strings; /* pointers and text in one allocation */
        nvlist_t *nvp_list;
        nvlist_t **nvp_lists; /* a NULL may occur only while unpacking */
    };
};

/* NULL for a number that is no type. */
const nv_type_t *nv_type(uint32_t type);
/* The integer (or double) at p, which has type t, widened to 64 bits. */
uint64_t nv_widen(const nv_type_t *t, const void *p);

/* A pair without a value (all zero), on no list. The name need not be terminated. */
nvpair_t *nvpair_new(const char *name, size_t name_len, data_type_t type, uint32_t n);
void nvpair_free(nvpair_t *nvp);
/* Take the pair over; one of the same name goes. */
void nvlist_put(nvlist_t *nvl, nvpair_t *nvp);

#endif
