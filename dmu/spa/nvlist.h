/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nvlist.h - name/value lists, ZFS's format for labels, the pool configuration, stream headers and SA xattrs.
 *
 * A list is an ordered set of unique names, each with one typed value. Packed, it is XDR (big-endian; labels, MOS,
 * package headers, SA xattrs) or "native" (the writer's byte order; BEGIN records, resume tokens): the first byte says
 * which. Unpacking takes hostile bytes: depth, counts and sizes are bounded, and an error leaves nothing allocated.
 *
 * Adding a name that is there replaces it. Strings, arrays and lists are copied in; what a lookup returns belongs to
 * the list and lives as long as the pair. ZFS: lib/libnvpair, module/nvpair/nvpair.c.
 */
#ifndef COWBIRD_NVLIST_H
#define COWBIRD_NVLIST_H

#include "base.h"

typedef struct nvlist nvlist_t;
typedef struct nvpair nvpair_t;

typedef enum data_type { /* numbers as stored */
    DATA_TYPE_BOOLEAN = 1,
    DATA_TYPE_BYTE,
    DATA_TYPE_INT16,
    DATA_TYPE_UINT16,
    DATA_TYPE_INT32,
    DATA_TYPE_UINT32,
    DATA_TYPE_INT64,
    DATA_TYPE_UINT64,
    DATA_TYPE_STRING,
    DATA_TYPE_BYTE_ARRAY,
    DATA_TYPE_INT16_ARRAY,
    DATA_TYPE_UINT16_ARRAY,
    DATA_TYPE_INT32_ARRAY,
    DATA_TYPE_UINT32_ARRAY,
    DATA_TYPE_INT64_ARRAY,
    DATA_TYPE_UINT64_ARRAY,
    DATA_TYPE_STRING_ARRAY,
    DATA_TYPE_HRTIME,
    DATA_TYPE_NVLIST,
    DATA_TYPE_NVLIST_ARRAY,
    DATA_TYPE_BOOLEAN_VALUE,
    DATA_TYPE_INT8,
    DATA_TYPE_UINT8,
    DATA_TYPE_BOOLEAN_ARRAY,
    DATA_TYPE_INT8_ARRAY,
    DATA_TYPE_UINT8_ARRAY,
    DATA_TYPE_DOUBLE
} data_type_t;

#define NV_ENCODE_NATIVE 0
#define NV_ENCODE_XDR    1

nvlist_t *nvlist_alloc(void);
void nvlist_free(nvlist_t *nvl); /* NULL is fine */
nvlist_t *nvlist_dup(const nvlist_t *nvl);
bool nvlist_empty(const nvlist_t *nvl);

void nvlist_add_boolean(nvlist_t *nvl, const char *name);
void nvlist_add_boolean_value(nvlist_t *nvl, const char *name, bool v);
void nvlist_add_uint64(nvlist_t *nvl, const char *name, uint64_t v);
void nvlist_add_string(nvlist_t *nvl, const char *name, const char *v);
void nvlist_add_byte_array(nvlist_t *nvl, const char *name, const uint8_t *v, uint32_t n);
void nvlist_add_uint64_array(nvlist_t *nvl, const char *name, const uint64_t *v, uint32_t n);
void nvlist_add_nvlist(nvlist_t *nvl, const char *name, const nvlist_t *v);
void nvlist_add_nvlist_array(nvlist_t *nvl, const char *name, nvlist_t *const *v, uint32_t n);
/* Any type: v points to the value (a string's or list's own pointer), or to the first of n elements. */
void nvlist_add_value(nvlist_t *nvl, const char *name, data_type_t type, const void *v, uint32_t n);
void nvlist_add_nvpair(nvlist_t *nvl, const nvpair_t *nvp); /* a copy of a pair of another list */
int nvlist_remove(nvlist_t *nvl, const char *name); /* ENOENT */

/* Lookups: 0, or ENOENT when the name is absent or has another type. */
bool nvlist_exists(const nvlist_t *nvl, const char *name);
int nvlist_lookup_uint64(const nvlist_t *nvl, const char *name, uint64_t *v);
int nvlist_lookup_string(const nvlist_t *nvl, const char *name, const char **v);
int nvlist_lookup_boolean_value(const nvlist_t *nvl, const char *name, bool *v);
int nvlist_lookup_byte_array(const nvlist_t *nvl, const char *name, const uint8_t **v, uint32_t *n);
int nvlist_lookup_uint64_array(const nvlist_t *nvl, const char *name, const uint64_t **v, uint32_t *n);
int nvlist_lookup_nvlist(const nvlist_t *nvl, const char *name, nvlist_t **v);
int nvlist_lookup_nvlist_array(const nvlist_t *nvl, const char *name, nvlist_t ***v, uint32_t *n);

/* Walk in insertion order: nvp NULL gives the first pair; NULL ends. */
nvpair_t *nvlist_next_nvpair(const nvlist_t *nvl, const nvpair_t *nvp);
const char *nvpair_name(const nvpair_t *nvp);
data_type_t nvpair_type(const nvpair_t *nvp);
uint64_t nvpair_value_uint64(const nvpair_t *nvp); /* any integer or boolean_value type, widened; else 0 */
const char *nvpair_value_string(const nvpair_t *nvp); /* NULL when not a string */
nvlist_t *nvpair_value_nvlist(const nvpair_t *nvp);   /* NULL when not a list */
void nvpair_value_bytes(const nvpair_t *nvp, const uint8_t **v, uint32_t *n); /* byte and uint8 arrays */

/* Pack into a fresh buffer, to be freed by the caller. */
void nvlist_pack(const nvlist_t *nvl, int encoding, uint8_t **buf, size_t *len);
/* EINVAL malformed, ENOTSUP an unknown encoding or type. Trailing bytes are ignored. Native lists of either byte order. */
int nvlist_unpack(const uint8_t *buf, size_t len, nvlist_t **nvl);
/* Same as text, for inspectors: one "name: value" line per pair, nested lists indented. */
void nvlist_print(void *file, const nvlist_t *nvl, int indent);
/* The same as zstream and zdb print it; depth: tabs before it. */
void nvlist_dump(void *file, const nvlist_t *nvl, int depth);

#endif
