/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nvlist_pack.c - lists written as XDR or native bytes.
 *
 *   both     encoding u8 | 1 (little-endian writer) | 0 | 0 | list
 *   XDR      list = version u32 | flag u32 | pairs | 0 u32 | 0 u32
 *            pair = encoded size | decoded size | name | type | count | value        all big-endian, padded to 4
 *   native   list = version i32 | flag u32 | pairs | 0 i32
 *            pair = size i32 | name size i16 | 0 i16 | count i32 | type i32 | name | value   padded to 8
 *
 * An inner list lies inside its pair in XDR. In native form the pair holds a 24-byte head only (version, flag, and
 * fields that mean something in memory alone) and the inner pairs follow the pair.
 *
 * The decoded size is what the pair takes in ZFS's memory, native form again; ZFS refuses a list where it is wrong.
 *
 * ZFS: module/nvpair/nvpair.c (nvs_xdr_*, nvs_native_*).
 */
#include "nvlist_impl.h"

enum { NATIVE_PAIR = 16, NATIVE_POINTER = 8, NATIVE_HEAD = 24 };

typedef struct out {
    uint8_t *o_buf;
    size_t o_len, o_cap;
} out_t;

/* n zero bytes at the end; the place is valid until the next call. */
static uint8_t *
grow(out_t *o, size_t n)
{
    if (o->o_cap - o->o_len < n) {
        o->o_cap = MAX(o->o_cap * 2, o->o_len + n);
        o->o_buf = xrealloc(o->o_buf, o->o_cap);
    }
    uint8_t *p = o->o_buf + o->o_len;
    memset(p, 0, n);
    o->o_len += n;
    return p;
}

static void
put_bytes(out_t *o, const void *v, size_t n, size_t align)
{
    uint8_t *p = grow(o, P2ROUNDUP(n, align));

    if (n > 0)
        memcpy(p, v, n);
}

static void
put_be32(out_t *o, uint32_t v)
{
    v = __builtin_bswap32(v);
    put_bytes(o, &v, sizeof(v), 1);
}

static void
put_be64(out_t *o, uint64_t v)
{
    v = __builtin_bswap64(v);
    put_bytes(o, &v, sizeof(v), 1);
}

static void
put_32(out_t *o, uint32_t v)
{
    put_bytes(o, &v, sizeof(v), 1);
}

static void
patch_32(out_t *o, size_t at, uint32_t v)
{
    memcpy(o->o_buf + at, &v, sizeof(v));
}

static size_t
strings_size(const nvpair_t *p)
{
    size_t n = 0;

    for (uint32_t i = 0; i < p->nvp_n; i++)
        n += strlen(p->nvp_strings[i]) + 1;
    return n;
}

/* Bytes of the value in the native form, inner pairs not counted. */
static size_t
native_value_size(const nvpair_t *p)
{
    const nv_type_t *t = nv_type(p->nvp_type);

    switch (t->nt_kind) {
    case NV_SCALAR:
        return t->nt_size;
    case NV_ARRAY:
        return (size_t)p->nvp_n * t->nt_size;
    case NV_STRING:
        return strlen(p->nvp_string) + 1;
    case NV_STRINGS:
        return (size_t)p->nvp_n * NATIVE_POINTER + strings_size(p);
    case NV_LIST:
        return NATIVE_HEAD;
    case NV_LISTS:
        return (size_t)p->nvp_n * (NATIVE_POINTER + NATIVE_HEAD);
    case NV_NONE:
        break;
    }
    return 0;
}

static uint32_t
native_size(const nvpair_t *p)
{
    size_t n = P2ROUNDUP(NATIVE_PAIR + strlen(p->nvp_name) + 1, 8) + P2ROUNDUP(native_value_size(p), 8);

    VERIFY3U(n, <=, INT32_MAX);
    return (uint32_t)n;
}

/* ---- XDR ---- */

static void xdr_list(out_t *o, const nvlist_t *nvl);

static void
xdr_string(out_t *o, const char *s)
{
    put_be32(o, (uint32_t)strlen(s));
    put_bytes(o, s, strlen(s), 4);
}

/* Everything smaller than 64 bits takes 32. */
static void
xdr_number(out_t *o, const nv_type_t *t, uint64_t v)
{
    if (t->nt_size == 8)
        put_be64(o, v);
    else
        put_be32(o, (uint32_t)v);
}

static void
xdr_array(out_t *o, const nvpair_t *p, const nv_type_t *t)
{
    const uint8_t *v = p->nvp_array;

    if (p->nvp_type == DATA_TYPE_BYTE_ARRAY) {
        put_bytes(o, v, p->nvp_n, 4);
        return;
    }
    put_be32(o, p->nvp_n);
    for (uint32_t i = 0; i < p->nvp_n; i++, v += t->nt_size)
        xdr_number(o, t, nv_widen(t, v));
}

static void
xdr_value(out_t *o, const nvpair_t *p)
{
    const nv_type_t *t = nv_type(p->nvp_type);

    switch (t->nt_kind) {
    case NV_NONE:
        break;
    case NV_SCALAR:
        xdr_number(o, t, p->nvp_u);
        break;
    case NV_ARRAY:
        xdr_array(o, p, t);
        break;
    case NV_STRING:
        xdr_string(o, p->nvp_string);
        break;
    case NV_STRINGS:
        for (uint32_t i = 0; i < p->nvp_n; i++)
            xdr_string(o, p->nvp_strings[i]);
        break;
    case NV_LIST:
        xdr_list(o, p->nvp_list);
        break;
    case NV_LISTS:
        for (uint32_t i = 0; i < p->nvp_n; i++)
            xdr_list(o, p->nvp_lists[i]);
        break;
    }
}

static void
xdr_pair(out_t *o, const nvpair_t *p)
{
    size_t at = o->o_len;

    put_be32(o, 0);
    put_be32(o, native_size(p));
    xdr_string(o, p->nvp_name);
    put_be32(o, p->nvp_type);
    put_be32(o, p->nvp_n);
    xdr_value(o, p);
    VERIFY3U(o->o_len - at, <=, INT32_MAX);
    patch_32(o, at, __builtin_bswap32((uint32_t)(o->o_len - at)));
}

static void
xdr_list(out_t *o, const nvlist_t *nvl)
{
    put_be32(o, 0);
    put_be32(o, nvl->nvl_flag);
    for (nvpair_t *p = nvlist_next_nvpair(nvl, NULL); p != NULL; p = nvlist_next_nvpair(nvl, p))
        xdr_pair(o, p);
    put_be64(o, 0);
}

/* ---- native ---- */

static void native_pairs(out_t *o, const nvlist_t *nvl);

static void
native_head(out_t *o, const nvlist_t *nvl)
{
    size_t at = o->o_len;

    grow(o, NATIVE_HEAD);
    patch_32(o, at + sizeof(uint32_t), nvl->nvl_flag);
}

static void
native_strings(out_t *o, const nvpair_t *p)
{
    grow(o, (size_t)p->nvp_n * NATIVE_POINTER);
    for (uint32_t i = 0; i < p->nvp_n; i++)
        put_bytes(o, p->nvp_strings[i], strlen(p->nvp_strings[i]) + 1, 1);
}

static void
native_value(out_t *o, const nvpair_t *p)
{
    switch (nv_type(p->nvp_type)->nt_kind) {
    case NV_NONE:
        break;
    case NV_SCALAR:
        put_bytes(o, &p->nvp_u, native_value_size(p), 1);
        break;
    case NV_ARRAY:
    case NV_STRING:
        put_bytes(o, p->nvp_array, native_value_size(p), 1);
        break;
    case NV_STRINGS:
        native_strings(o, p);
        break;
    case NV_LIST:
        native_head(o, p->nvp_list);
        break;
    case NV_LISTS:
        grow(o, (size_t)p->nvp_n * NATIVE_POINTER);
        for (uint32_t i = 0; i < p->nvp_n; i++)
            native_head(o, p->nvp_lists[i]);
        break;
    }
}

/* What follows a pair that holds lists. */
static void
native_inner(out_t *o, const nvpair_t *p)
{
    if (p->nvp_type == DATA_TYPE_NVLIST)
        native_pairs(o, p->nvp_list);
    if (p->nvp_type == DATA_TYPE_NVLIST_ARRAY)
        for (uint32_t i = 0; i < p->nvp_n; i++)
            native_pairs(o, p->nvp_lists[i]);
}

static void
native_pair(out_t *o, const nvpair_t *p)
{
    size_t at = o->o_len, name_size = strlen(p->nvp_name) + 1;

    VERIFY3U(name_size, <=, INT16_MAX);
    put_32(o, native_size(p));
    put_32(o, (uint32_t)name_size);
    put_32(o, p->nvp_n);
    put_32(o, p->nvp_type);
    put_bytes(o, p->nvp_name, name_size, 8); /* 16 bytes are before it, so its end is aligned */
    native_value(o, p);
    grow(o, at + native_size(p) - o->o_len);
    native_inner(o, p);
}

static void
native_pairs(out_t *o, const nvlist_t *nvl)
{
    for (nvpair_t *p = nvlist_next_nvpair(nvl, NULL); p != NULL; p = nvlist_next_nvpair(nvl, p))
        native_pair(o, p);
    put_32(o, 0);
}

void
nvlist_pack(const nvlist_t *nvl, int encoding, uint8_t **buf, size_t *len)
{
    out_t o = {NULL, 0, 0};

    VERIFY(encoding == NV_ENCODE_XDR || encoding == NV_ENCODE_NATIVE);
    put_bytes(&o, (uint8_t[4]){(uint8_t)encoding, 1, 0, 0}, 4, 1);
    if (encoding == NV_ENCODE_XDR) {
        xdr_list(&o, nvl);
    } else {
        put_32(&o, 0);
        put_32(&o, nvl->nvl_flag);
        native_pairs(&o, nvl);
    }
    *buf = o.o_buf;
    *len = o.o_len;
}
