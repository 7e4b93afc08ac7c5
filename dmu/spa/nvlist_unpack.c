/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nvlist_unpack.c - lists read from XDR or native bytes, which may have been made to hurt.
 *
 * The encodings are drawn in nvlist_pack.c. A reader (struct in) is a window on the input that can only shrink.
 *
 * Invariants:
 *   1. A value lies wholly inside the window of its pair, and a pair inside that of its list.
 *   2. Nothing is allocated for a count before the window is known to hold that many of the smallest such element, so
 *      memory is bounded by a small multiple of the input's length, and so is time.
 *   3. Lists nest at most NV_DEPTH_MAX deep.
 *   4. A pair is freed by whoever holds it when an error comes; half a value is a value that nvpair_free() can free.
 *
 * ZFS: module/nvpair/nvpair.c. It refuses native lists of the other byte order; here their words are swapped.
 */
#include "nvlist_impl.h"

enum { NATIVE_PAIR = 16, NATIVE_POINTER = 8, NATIVE_HEAD = 24, XDR_LIST_MIN = 16, XDR_STRING_MIN = 4 };

typedef struct in {
    const uint8_t *i_p;
    size_t i_left;
    bool i_swap; /* multi-byte numbers are in the other byte order (XDR: always) */
    int i_depth;
} in_t;

/* The next n bytes, or NULL when there are fewer. */
static const uint8_t *
take(in_t *in, size_t n)
{
    const uint8_t *p = in->i_p;

    if (n > in->i_left)
        return NULL;
    in->i_p += n;
    in->i_left -= n;
    return p;
}

/* The number of `size` bytes at p, zero-extended. */
static uint64_t
number_at(const in_t *in, const uint8_t *p, size_t size)
{
    uint64_t v = 0;

    memcpy(&v, p, size);
    return in->i_swap ? __builtin_bswap64(v) >> (64 - 8 * size) : v;
}

static int
take_32(in_t *in, uint32_t *v)
{
    const uint8_t *p = take(in, sizeof(*v));

    if (p == NULL)
        return SET_ERROR(EINVAL);
    *v = (uint32_t)number_at(in, p, sizeof(*v));
    return 0;
}

/* Version and flag, of a whole list or of an inner one. */
static int
take_list_start(in_t *in, nvlist_t *nvl)
{
    uint32_t version;
    int err = take_32(in, &version);

    if (err == 0)
        err = take_32(in, &nvl->nvl_flag);
    if (err == 0 && version != 0)
        err = SET_ERROR(ENOTSUP);
    return err;
}

/* The type of a pair and whether that many elements make sense for it. */
static int
check_type(uint32_t type, uint32_t n, const nv_type_t **out)
{
    const nv_type_t *t = nv_type(type);

    if (t == NULL)
        return SET_ERROR(ENOTSUP);
    bool array = t->nt_kind == NV_ARRAY || t->nt_kind == NV_STRINGS || t->nt_kind == NV_LISTS;
    uint32_t expected = t->nt_kind == NV_NONE ? 0 : 1;
    if (array ? n > INT32_MAX : n != expected)
        return SET_ERROR(EINVAL);
    *out = t;
    return 0;
}

static int
unpack_pairs(in_t *in, nvlist_t *nvl, int (*next)(in_t *, nvpair_t **))
{
    nvpair_t *p;
    int err;

    if (in->i_depth >= NV_DEPTH_MAX)
        return SET_ERROR(EINVAL);
    in->i_depth++;
    while ((err = next(in, &p)) == 0 && p != NULL)
        nvlist_put(nvl, p);
    in->i_depth--;
    return err;
}

/* ---- XDR ---- */

static int xdr_pair(in_t *in, nvpair_t **out);

static int
xdr_list(in_t *in, nvlist_t **out)
{
    nvlist_t *nvl = *out = nvlist_alloc();
    int err = take_list_start(in, nvl);

    return err != 0 ? err : unpack_pairs(in, nvl, xdr_pair);
}

/* A counted string without zero bytes inside; not terminated. */
static int
xdr_string(in_t *in, const char **s, uint32_t *len)
{
    int err = take_32(in, len);

    if (err != 0)
        return err;
    const uint8_t *p = take(in, P2ROUNDUP((size_t)*len, 4));
    if (p == NULL || memchr(p, '\0', *len) != NULL)
        return SET_ERROR(EINVAL);
    *s = (const char *)p;
    return 0;
}

/* One number of type t as it is kept in memory, at dst. */
static int
xdr_number(in_t *in, const nv_type_t *t, void *dst)
{
    size_t size = t->nt_size == 8 ? 8 : 4;
    const uint8_t *p = take(in, size);

    if (p == NULL)
        return SET_ERROR(EINVAL);
    uint64_t v = number_at(in, p, size);
    memcpy(dst, &v, t->nt_size);
    return 0;
}

static int
xdr_array(in_t *in, const nv_type_t *t, nvpair_t *p)
{
    size_t each = p->nvp_type == DATA_TYPE_BYTE_ARRAY ? 1 : t->nt_size == 8 ? 8 : 4;
    uint32_t count = p->nvp_n;

    if (p->nvp_type != DATA_TYPE_BYTE_ARRAY) {
        int err = take_32(in, &count);
        if (err != 0)
            return err;
    }
    if (count != p->nvp_n || (size_t)count * each > in->i_left)
        return SET_ERROR(EINVAL);
    uint8_t *v = p->nvp_array = xmalloc((size_t)count * t->nt_size);
    if (each == 1) {
        const uint8_t *bytes = take(in, P2ROUNDUP((size_t)count, 4));
        if (bytes == NULL)
            return SET_ERROR(EINVAL);
        memcpy(v, bytes, count);
        return 0;
    }
    for (; count > 0; count--, v += t->nt_size)
        VERIFY0(xdr_number(in, t, v));
    return 0;
}

static int
xdr_one_string(in_t *in, nvpair_t *p)
{
    const char *s;
    uint32_t len;
    int err = xdr_string(in, &s, &len);

    if (err != 0)
        return err;
    p->nvp_string = xmalloc((size_t)len + 1);
    memcpy(p->nvp_string, s, len);
    p->nvp_string[len] = '\0';
    return 0;
}

static int
xdr_strings(in_t *in, nvpair_t *p)
{
    size_t pointers = p->nvp_n * sizeof(char *);
    const char *s;
    uint32_t len;

    if (p->nvp_n > in->i_left / XDR_STRING_MIN)
        return SET_ERROR(EINVAL);
    p->nvp_strings =
        xmalloc(pointers + in->i_left); /* each text and its zero are no longer than text and length word */
    char *text = (char *)p->nvp_strings + pointers;
    for (uint32_t i = 0; i < p->nvp_n; i++) {
        int err = xdr_string(in, &s, &len);
        if (err != 0)
            return err;
        p->nvp_strings[i] = memcpy(text, s, len);
        text[len] = '\0';
        text += len + 1;
    }
    return 0;
}

static int
xdr_lists(in_t *in, nvpair_t *p)
{
    int err = 0;

    if (p->nvp_n > in->i_left / XDR_LIST_MIN)
        return SET_ERROR(EINVAL);
    p->nvp_lists = xzalloc(p->nvp_n * sizeof(nvlist_t *));
    for (uint32_t i = 0; i < p->nvp_n && err == 0; i++)
        err = xdr_list(in, &p->nvp_lists[i]);
    return err;
}

static int
xdr_value(in_t *in, const nv_type_t *t, nvpair_t *p)
{
    int err = 0;

    switch (t->nt_kind) {
    case NV_NONE:
        break;
    case NV_SCALAR:
        if ((err = xdr_number(in, t, &p->nvp_u)) == 0)
            p->nvp_u = nv_widen(t, &p->nvp_u);
        break;
    case NV_ARRAY:
        err = xdr_array(in, t, p);
        break;
    case NV_STRING:
        err = xdr_one_string(in, p);
        break;
    case NV_STRINGS:
        err = xdr_strings(in, p);
        break;
    case NV_LIST:
        err = xdr_list(in, &p->nvp_list);
        break;
    case NV_LISTS:
        err = xdr_lists(in, p);
        break;
    }
    return err;
}

/* Name, type, count and value, in the window of the pair. */
static int
xdr_pair_body(in_t *in, nvpair_t **out)
{
    const char *name;
    uint32_t len, type, n;
    const nv_type_t *t;
    int err = xdr_string(in, &name, &len);

    if (err == 0)
        err = take_32(in, &type);
    if (err == 0)
        err = take_32(in, &n);
    if (err == 0)
        err = check_type(type, n, &t);
    if (err != 0)
        return err;
    nvpair_t *p = nvpair_new(name, len, (data_type_t)type, n);
    if ((err = xdr_value(in, t, p)) != 0) {
        nvpair_free(p);
        return err;
    }
    *out = p;
    return 0;
}

static int
xdr_pair(in_t *in, nvpair_t **out)
{
    const uint8_t *start = in->i_p;
    uint32_t encoded, decoded;
    int err = take_32(in, &encoded);

    *out = NULL;
    if (err == 0)
        err = take_32(in, &decoded);
    if (err != 0 || decoded == 0) /* the list's end */
        return err;
    size_t head = (size_t)(in->i_p - start);
    if (encoded < head || encoded - head > in->i_left)
        return SET_ERROR(EINVAL);
    in_t body = *in;
    body.i_left = encoded - head;
    VERIFY(take(in, encoded - head) != NULL);
    return xdr_pair_body(&body, out);
}

/* ---- native ---- */

static int native_pair(in_t *in, nvpair_t **out);

static int
native_array(in_t *v, const nv_type_t *t, nvpair_t *p)
{
    size_t size = t->nt_size;
    const uint8_t *from = take(v, p->nvp_n * size);

    if (from == NULL)
        return SET_ERROR(EINVAL);
    uint8_t *to = p->nvp_array = xmalloc(p->nvp_n * size);
    for (uint32_t i = 0; i < p->nvp_n; i++, from += size, to += size) {
        uint64_t w = number_at(v, from, size);
        memcpy(to, &w, size);
    }
    return 0;
}

static int
native_one_string(in_t *v, nvpair_t *p)
{
    if (memchr(v->i_p, '\0', v->i_left) == NULL)
        return SET_ERROR(EINVAL);
    p->nvp_string = xstrdup((const char *)v->i_p);
    return 0;
}

static int
native_strings(in_t *v, nvpair_t *p)
{
    size_t pointers = p->nvp_n * sizeof(char *);

    if (take(v, (size_t)p->nvp_n * NATIVE_POINTER) == NULL)
        return SET_ERROR(EINVAL);
    p->nvp_strings = xmalloc(pointers + v->i_left);
    char *text = (char *)p->nvp_strings + pointers;
    for (uint32_t i = 0; i < p->nvp_n; i++) {
        const uint8_t *end = memchr(v->i_p, '\0', v->i_left);
        if (end == NULL)
            return SET_ERROR(EINVAL);
        size_t len = (size_t)(end - v->i_p) + 1;
        p->nvp_strings[i] = memcpy(text, take(v, len), len);
        text += len;
    }
    return 0;
}

/* The head is in the value, the pairs come later in the list's own window. */
static int
native_list(in_t *in, in_t *v, nvlist_t **out)
{
    in_t head = *v;

    head.i_left = NATIVE_HEAD;
    if (take(v, NATIVE_HEAD) == NULL)
        return SET_ERROR(EINVAL);
    nvlist_t *nvl = *out = nvlist_alloc();
    int err = take_list_start(&head, nvl);
    return err != 0 ? err : unpack_pairs(in, nvl, native_pair);
}

static int
native_lists(in_t *in, in_t *v, nvpair_t *p)
{
    int err = 0;

    if (p->nvp_n > v->i_left / (NATIVE_POINTER + NATIVE_HEAD))
        return SET_ERROR(EINVAL);
    VERIFY(take(v, (size_t)p->nvp_n * NATIVE_POINTER) != NULL);
    p->nvp_lists = xzalloc(p->nvp_n * sizeof(nvlist_t *));
    for (uint32_t i = 0; i < p->nvp_n && err == 0; i++)
        err = native_list(in, v, &p->nvp_lists[i]);
    return err;
}

static int
native_value(in_t *in, in_t *v, const nv_type_t *t, nvpair_t *p)
{
    switch (t->nt_kind) {
    case NV_NONE:
        break;
    case NV_SCALAR:
        if (v->i_left < t->nt_size)
            return SET_ERROR(EINVAL);
        p->nvp_u = number_at(v, v->i_p, t->nt_size);
        p->nvp_u = nv_widen(t, &p->nvp_u);
        break;
    case NV_ARRAY:
        return native_array(v, t, p);
    case NV_STRING:
        return native_one_string(v, p);
    case NV_STRINGS:
        return native_strings(v, p);
    case NV_LIST:
        return native_list(in, v, &p->nvp_list);
    case NV_LISTS:
        return native_lists(in, v, p);
    }
    return 0;
}

/* The pair's fixed part and name. *v becomes the window of the value. */
static int
native_pair_head(in_t *in, uint32_t size, const nv_type_t **t, nvpair_t **out, in_t *v)
{
    const uint8_t *start = in->i_p;

    if (size < NATIVE_PAIR || size % 8 != 0 || take(in, size) == NULL)
        return SET_ERROR(EINVAL);
    size_t name_size = number_at(in, start + 4, 2);
    uint32_t n = (uint32_t)number_at(in, start + 8, 4), type = (uint32_t)number_at(in, start + 12, 4);
    size_t value_at = P2ROUNDUP(NATIVE_PAIR + name_size, 8);
    const char *name = (const char *)start + NATIVE_PAIR;
    if (name_size == 0 || value_at > size || strnlen(name, name_size) != name_size - 1)
        return SET_ERROR(EINVAL);
    int err = check_type(type, n, t);
    if (err != 0)
        return err;
    *v = *in;
    v->i_p = start + value_at;
    v->i_left = size - value_at;
    *out = nvpair_new(name, name_size - 1, (data_type_t)type, n);
    return 0;
}

static int
native_pair(in_t *in, nvpair_t **out)
{
    in_t peek = *in, v;
    uint32_t size;
    const nv_type_t *t;
    nvpair_t *p;
    int err = take_32(&peek, &size);

    *out = NULL;
    if (err != 0)
        return err;
    if (size == 0) { /* the list's end */
        *in = peek;
        return 0;
    }
    if ((err = native_pair_head(in, size, &t, &p, &v)) != 0)
        return err;
    if ((err = native_value(in, &v, t, p)) != 0) {
        nvpair_free(p);
        return err;
    }
    *out = p;
    return 0;
}

int
nvlist_unpack(const uint8_t *buf, size_t len, nvlist_t **out)
{
    in_t in = {.i_p = buf, .i_left = len};
    const uint8_t *head = take(&in, 4);

    *out = NULL;
    if (head == NULL || head[1] > 1)
        return SET_ERROR(EINVAL);
    if (head[0] != NV_ENCODE_XDR && head[0] != NV_ENCODE_NATIVE)
        return SET_ERROR(ENOTSUP);
    bool xdr = head[0] == NV_ENCODE_XDR;
    in.i_swap = xdr || head[1] == 0;
    nvlist_t *nvl = nvlist_alloc();
    int err = take_list_start(&in, nvl);
    if (err == 0)
        err = unpack_pairs(&in, nvl, xdr ? xdr_pair : native_pair);
    if (err != 0) {
        nvlist_free(nvl);
        return err;
    }
    *out = nvl;
    return 0;
}
