/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nvlist.c - name/value lists in memory: building them, asking them, walking them.
 *
 * One generic nvlist_add_value() copies a value of any type in; the typed calls are shorthands for it. Names are unique
 * in every list, even in one whose flag word does not say so: the last value of a name stands.
 *
 * ZFS: module/nvpair/nvpair.c. There a list is kept in the shape of its native encoding; here it is plain C.
 */
#include "nvlist_impl.h"

/* ---- types ---- */

static const nv_type_t types[] = {
    [DATA_TYPE_BOOLEAN] = {NV_NONE, 0, false, "boolean"},
    [DATA_TYPE_BYTE] = {NV_SCALAR, 1, false, "byte"},
    [DATA_TYPE_INT16] = {NV_SCALAR, 2, true, "int16"},
    [DATA_TYPE_UINT16] = {NV_SCALAR, 2, false, "uint16"},
    [DATA_TYPE_INT32] = {NV_SCALAR, 4, true, "int32"},
    [DATA_TYPE_UINT32] = {NV_SCALAR, 4, false, "uint32"},
    [DATA_TYPE_INT64] = {NV_SCALAR, 8, true, "int64"},
    [DATA_TYPE_UINT64] = {NV_SCALAR, 8, false, "uint64"},
    [DATA_TYPE_STRING] = {NV_STRING, 0, false, "string"},
    [DATA_TYPE_BYTE_ARRAY] = {NV_ARRAY, 1, false, "byte[]"},
    [DATA_TYPE_INT16_ARRAY] = {NV_ARRAY, 2, true, "int16[]"},
    [DATA_TYPE_UINT16_ARRAY] = {NV_ARRAY, 2, false, "uint16[]"},
    [DATA_TYPE_INT32_ARRAY] = {NV_ARRAY, 4, true, "int32[]"},
    [DATA_TYPE_UINT32_ARRAY] = {NV_ARRAY, 4, false, "uint32[]"},
    [DATA_TYPE_INT64_ARRAY] = {NV_ARRAY, 8, true, "int64[]"},
    [DATA_TYPE_UINT64_ARRAY] = {NV_ARRAY, 8, false, "uint64[]"},
    [DATA_TYPE_STRING_ARRAY] = {NV_STRINGS, 0, false, "string[]"},
    [DATA_TYPE_HRTIME] = {NV_SCALAR, 8, true, "hrtime"},
    [DATA_TYPE_NVLIST] = {NV_LIST, 0, false, "nvlist"},
    [DATA_TYPE_NVLIST_ARRAY] = {NV_LISTS, 0, false, "nvlist[]"},
    [DATA_TYPE_BOOLEAN_VALUE] = {NV_SCALAR, 4, false, "boolean_value"},
    [DATA_TYPE_INT8] = {NV_SCALAR, 1, true, "int8"},
    [DATA_TYPE_UINT8] = {NV_SCALAR, 1, false, "uint8"},
    [DATA_TYPE_BOOLEAN_ARRAY] = {NV_ARRAY, 4, false, "boolean[]"},
    [DATA_TYPE_INT8_ARRAY] = {NV_ARRAY, 1, true, "int8[]"},
    [DATA_TYPE_UINT8_ARRAY] = {NV_ARRAY, 1, false, "uint8[]"},
    [DATA_TYPE_DOUBLE] = {NV_SCALAR, 8, false, "double"},
};

const nv_type_t *
nv_type(uint32_t type)
{
    return type >= DATA_TYPE_BOOLEAN && type <= DATA_TYPE_DOUBLE ? &types[type] : NULL;
}

uint64_t
nv_widen(const nv_type_t *t, const void *p)
{
    uint64_t v = 0;
    int unused = 64 - 8 * t->nt_size;

    memcpy(&v, p, t->nt_size); /* little-endian: the low bytes */
    return t->nt_signed ? (uint64_t)((int64_t)(v << unused) >> unused) : v;
}

/* ---- lists and pairs ---- */

static int
compare_names(const void *a, const void *b)
{
    return strcmp(((const nvpair_t *)a)->nvp_name, ((const nvpair_t *)b)->nvp_name);
}

nvlist_t *
nvlist_alloc(void)
{
    nvlist_t *nvl = xzalloc(sizeof(*nvl));

    nvl->nvl_flag = 1;
    list_create(&nvl->nvl_pairs, offsetof(nvpair_t, nvp_link));
    avl_create(&nvl->nvl_by_name, compare_names, offsetof(nvpair_t, nvp_by_name));
    return nvl;
}

void
nvlist_free(nvlist_t *nvl)
{
    nvpair_t *nvp;

    if (nvl == NULL)
        return;
    while ((nvp = list_remove_head(&nvl->nvl_pairs)) != NULL)
        nvpair_free(nvp); /* the tree goes as a whole */
    list_destroy(&nvl->nvl_pairs);
    free(nvl);
}

nvpair_t *
nvpair_new(const char *name, size_t name_len, data_type_t type, uint32_t n)
{
    nvpair_t *nvp = xzalloc(sizeof(*nvp) + name_len + 1);
    char *copy = (char *)(nvp + 1);

    memcpy(copy, name, name_len);
    nvp->nvp_name = copy;
    nvp->nvp_type = type;
    nvp->nvp_n = n;
    return nvp;
}

void
nvpair_free(nvpair_t *nvp)
{
    switch (types[nvp->nvp_type].nt_kind) {
    case NV_NONE:
    case NV_SCALAR:
        break;
    case NV_ARRAY:
    case NV_STRING:
    case NV_STRINGS:
        free(nvp->nvp_array);
        break;
    case NV_LIST:
        nvlist_free(nvp->nvp_list);
        break;
    case NV_LISTS:
        for (uint32_t i = 0; nvp->nvp_lists != NULL && i < nvp->nvp_n; i++)
            nvlist_free(nvp->nvp_lists[i]);
        free(nvp->nvp_lists);
        break;
    }
    free(nvp);
}

static nvpair_t *
find(const nvlist_t *nvl, const char *name)
{
    nvpair_t key = {.nvp_name = name};

    return avl_find((avl_tree_t *)&nvl->nvl_by_name, &key, NULL);
}

static void
take_out(nvlist_t *nvl, nvpair_t *nvp)
{
    avl_remove(&nvl->nvl_by_name, nvp);
    list_remove(&nvl->nvl_pairs, nvp);
    nvpair_free(nvp);
}

void
nvlist_put(nvlist_t *nvl, nvpair_t *nvp)
{
    nvpair_t *old = find(nvl, nvp->nvp_name);

    if (old != NULL)
        take_out(nvl, old);
    avl_add(&nvl->nvl_by_name, nvp);
    list_insert_tail(&nvl->nvl_pairs, nvp);
}

int
nvlist_remove(nvlist_t *nvl, const char *name)
{
    nvpair_t *nvp = find(nvl, name);

    if (nvp == NULL)
        return SET_ERROR(ENOENT);
    take_out(nvl, nvp);
    return 0;
}

bool
nvlist_empty(const nvlist_t *nvl)
{
    return list_is_empty(&nvl->nvl_pairs);
}

/* ---- adding ---- */

static void *
copy_bytes(const void *v, size_t n)
{
    void *p = xmalloc(n);

    if (n > 0)
        memcpy(p, v, n);
    return p;
}

static char **
copy_strings(const char *const *v, uint32_t n)
{
    size_t total = n * sizeof(char *);

    for (uint32_t i = 0; i < n; i++)
        total += strlen(v[i]) + 1;
    char **copy = xmalloc(total);
    char *text = (char *)(copy + n);
    for (uint32_t i = 0; i < n; i++) {
        copy[i] = text;
        text = stpcpy(text, v[i]) + 1;
    }
    return copy;
}

static nvlist_t **
copy_lists(nvlist_t *const *v, uint32_t n)
{
    nvlist_t **copy = xmalloc(n * sizeof(*copy));

    for (uint32_t i = 0; i < n; i++)
        copy[i] = nvlist_dup(v[i]);
    return copy;
}

void
nvlist_add_value(nvlist_t *nvl, const char *name, data_type_t type, const void *v, uint32_t n)
{
    const nv_type_t *t = nv_type(type);

    VERIFY(t != NULL);
    nvpair_t *nvp = nvpair_new(name, strlen(name), type, n);
    switch (t->nt_kind) {
    case NV_NONE:
        nvp->nvp_n = 0;
        break;
    case NV_SCALAR:
        nvp->nvp_n = 1;
        nvp->nvp_u = nv_widen(t, v);
        break;
    case NV_STRING:
        nvp->nvp_n = 1;
        nvp->nvp_string = xstrdup(v);
        break;
    case NV_LIST:
        nvp->nvp_n = 1;
        nvp->nvp_list = nvlist_dup(v);
        break;
    case NV_ARRAY:
        nvp->nvp_array = copy_bytes(v, (size_t)n * t->nt_size);
        break;
    case NV_STRINGS:
        nvp->nvp_strings = copy_strings(v, n);
        break;
    case NV_LISTS:
        nvp->nvp_lists = copy_lists(v, n);
        break;
    }
    nvlist_put(nvl, nvp);
}

void
nvlist_add_nvpair(nvlist_t *nvl, const nvpair_t *nvp)
{
    const void *v = types[nvp->nvp_type].nt_kind == NV_SCALAR ? &nvp->nvp_u : nvp->nvp_array;

    nvlist_add_value(nvl, nvp->nvp_name, nvp->nvp_type, v, nvp->nvp_n);
}

nvlist_t *
nvlist_dup(const nvlist_t *nvl)
{
    nvlist_t *copy = nvlist_alloc();

    copy->nvl_flag = nvl->nvl_flag;
    for (nvpair_t *p = nvlist_next_nvpair(nvl, NULL); p != NULL; p = nvlist_next_nvpair(nvl, p))
        nvlist_add_nvpair(copy, p);
    return copy;
}

void
nvlist_add_boolean(nvlist_t *nvl, const char *name)
{
    nvlist_add_value(nvl, name, DATA_TYPE_BOOLEAN, NULL, 0);
}

void
nvlist_add_boolean_value(nvlist_t *nvl, const char *name, bool v)
{
    nvlist_add_value(nvl, name, DATA_TYPE_BOOLEAN_VALUE, &(uint32_t){v}, 1);
}

void
nvlist_add_uint64(nvlist_t *nvl, const char *name, uint64_t v)
{
    nvlist_add_value(nvl, name, DATA_TYPE_UINT64, &v, 1);
}

void
nvlist_add_string(nvlist_t *nvl, const char *name, const char *v)
{
    nvlist_add_value(nvl, name, DATA_TYPE_STRING, v, 1);
}

void
nvlist_add_byte_array(nvlist_t *nvl, const char *name, const uint8_t *v, uint32_t n)
{
    nvlist_add_value(nvl, name, DATA_TYPE_BYTE_ARRAY, v, n);
}

void
nvlist_add_uint64_array(nvlist_t *nvl, const char *name, const uint64_t *v, uint32_t n)
{
    nvlist_add_value(nvl, name, DATA_TYPE_UINT64_ARRAY, v, n);
}

void
nvlist_add_nvlist(nvlist_t *nvl, const char *name, const nvlist_t *v)
{
    nvlist_add_value(nvl, name, DATA_TYPE_NVLIST, v, 1);
}

void
nvlist_add_nvlist_array(nvlist_t *nvl, const char *name, nvlist_t *const *v, uint32_t n)
{
    nvlist_add_value(nvl, name, DATA_TYPE_NVLIST_ARRAY, v, n);
}

/* ---- asking: absence is an answer here, not the origin of an error, so nothing is marked ---- */

static const nvpair_t *
find_typed(const nvlist_t *nvl, const char *name, data_type_t type)
{
    const nvpair_t *nvp = find(nvl, name);

    return nvp != NULL && nvp->nvp_type == type ? nvp : NULL;
}

bool
nvlist_exists(const nvlist_t *nvl, const char *name)
{
    return find(nvl, name) != NULL;
}

int
nvlist_lookup_uint64(const nvlist_t *nvl, const char *name, uint64_t *v)
{
    const nvpair_t *nvp = find_typed(nvl, name, DATA_TYPE_UINT64);

    if (nvp == NULL)
        return ENOENT;
    *v = nvp->nvp_u;
    return 0;
}

int
nvlist_lookup_string(const nvlist_t *nvl, const char *name, const char **v)
{
    const nvpair_t *nvp = find_typed(nvl, name, DATA_TYPE_STRING);

    if (nvp == NULL)
        return ENOENT;
    *v = nvp->nvp_string;
    return 0;
}

int
nvlist_lookup_boolean_value(const nvlist_t *nvl, const char *name, bool *v)
{
    const nvpair_t *nvp = find_typed(nvl, name, DATA_TYPE_BOOLEAN_VALUE);

    if (nvp == NULL)
        return ENOENT;
    *v = nvp->nvp_u != 0;
    return 0;
}

int
nvlist_lookup_byte_array(const nvlist_t *nvl, const char *name, const uint8_t **v, uint32_t *n)
{
    const nvpair_t *nvp = find_typed(nvl, name, DATA_TYPE_BYTE_ARRAY);

    if (nvp == NULL)
        return ENOENT;
    *v = nvp->nvp_array;
    *n = nvp->nvp_n;
    return 0;
}

int
nvlist_lookup_uint64_array(const nvlist_t *nvl, const char *name, const uint64_t **v, uint32_t *n)
{
    const nvpair_t *nvp = find_typed(nvl, name, DATA_TYPE_UINT64_ARRAY);

    if (nvp == NULL)
        return ENOENT;
    *v = nvp->nvp_array;
    *n = nvp->nvp_n;
    return 0;
}

int
nvlist_lookup_nvlist(const nvlist_t *nvl, const char *name, nvlist_t **v)
{
    const nvpair_t *nvp = find_typed(nvl, name, DATA_TYPE_NVLIST);

    if (nvp == NULL)
        return ENOENT;
    *v = nvp->nvp_list;
    return 0;
}

int
nvlist_lookup_nvlist_array(const nvlist_t *nvl, const char *name, nvlist_t ***v, uint32_t *n)
{
    const nvpair_t *nvp = find_typed(nvl, name, DATA_TYPE_NVLIST_ARRAY);

    if (nvp == NULL)
        return ENOENT;
    *v = nvp->nvp_lists;
    *n = nvp->nvp_n;
    return 0;
}

/* ---- walking ---- */

nvpair_t *
nvlist_next_nvpair(const nvlist_t *nvl, const nvpair_t *nvp)
{
    return nvp == NULL ? list_head(&nvl->nvl_pairs) : list_next(&nvl->nvl_pairs, nvp);
}

const char *
nvpair_name(const nvpair_t *nvp)
{
    return nvp->nvp_name;
}

data_type_t
nvpair_type(const nvpair_t *nvp)
{
    return nvp->nvp_type;
}

uint64_t
nvpair_value_uint64(const nvpair_t *nvp)
{
    bool number = types[nvp->nvp_type].nt_kind == NV_SCALAR && nvp->nvp_type != DATA_TYPE_DOUBLE;

    return number ? nvp->nvp_u : 0;
}

const char *
nvpair_value_string(const nvpair_t *nvp)
{
    return nvp->nvp_type == DATA_TYPE_STRING ? nvp->nvp_string : NULL;
}

nvlist_t *
nvpair_value_nvlist(const nvpair_t *nvp)
{
    return nvp->nvp_type == DATA_TYPE_NVLIST ? nvp->nvp_list : NULL;
}

void
nvpair_value_bytes(const nvpair_t *nvp, const uint8_t **v, uint32_t *n)
{
    bool bytes = nvp->nvp_type == DATA_TYPE_BYTE_ARRAY || nvp->nvp_type == DATA_TYPE_UINT8_ARRAY;

    *v = bytes ? nvp->nvp_array : NULL;
    *n = bytes ? nvp->nvp_n : 0;
}
