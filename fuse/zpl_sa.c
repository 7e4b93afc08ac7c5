/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_sa.c - attributes in the variable form of ZPL version 5, read.
 *
 *     master node SA_ATTRS ──► REGISTRY  "ZPL_MODE" -> number 5, length 8      of every attribute
 *                          └─► LAYOUTS   "2" -> 5 6 4 12 13 7 11 0 1 2 3 8 16 19   what follows what
 *
 *     bonus, or spill block:  | magic | layout, header size | lengths of the variable ones | values, 8-aligned
 *
 * Invariants:
 *   1. Every length and offset is checked against the buffer before use; whatever does not fit is EIO.
 *   2. An attribute is in the bonus or in the spill block; the bonus is looked at first.
 *   3. These buffers are bytes to everybody else, so nobody has turned them to our byte order: the magic
 *      tells, and each value is turned when it is read.
 *
 * Nothing is written in this form yet: file systems of version 5 are read-only.
 *
 * ZFS: module/zfs/sa.c
 */
#include "zpl_impl.h"

typedef enum sa_attr { /* what we ask for, by name */
                       SA_ATIME,
                       SA_MTIME,
                       SA_CTIME,
                       SA_CRTIME,
                       SA_GEN,
                       SA_MODE,
                       SA_SIZE,
                       SA_PARENT,
                       SA_LINKS,
                       SA_XATTR,
                       SA_RDEV,
                       SA_FLAGS,
                       SA_UID,
                       SA_GID,
                       SA_SYMLINK,
                       SA_DXATTR,
                       SA_NATTRS
} sa_attr_t;

static const char *const sa_names[SA_NATTRS] = {
    "ZPL_ATIME", "ZPL_MTIME", "ZPL_CTIME", "ZPL_CRTIME", "ZPL_GEN", "ZPL_MODE", "ZPL_SIZE",    "ZPL_PARENT",
    "ZPL_LINKS", "ZPL_XATTR", "ZPL_RDEV",  "ZPL_FLAGS",  "ZPL_UID", "ZPL_GID",  "ZPL_SYMLINK", "ZPL_DXATTR",
};

#define SA_MAX_ATTRS     1024
#define SA_MAX_LAYOUTS   1024
#define SA_MAX_IN_LAYOUT 256

typedef struct sa_layout {
    uint16_t sl_n;
    uint16_t *sl_attrs;
} sa_layout_t;

struct zpl_sa {
    int32_t sa_number[SA_NATTRS];     /* -1: not registered */
    uint16_t sa_length[SA_MAX_ATTRS]; /* by number; 0 variable */
    bool sa_known[SA_MAX_ATTRS];
    sa_layout_t sa_layouts[SA_MAX_LAYOUTS];
};

/* ---- registry and layouts ---- */

static int
registry_entry(zpl_sa_t *sa, const zap_attribute_t *za)
{
    uint16_t num = SA_ATTR_NUM(za->za_first_integer);

    if (za->za_integer_length != 8 || za->za_num_integers != 1 || num >= SA_MAX_ATTRS)
        return SET_ERROR(EIO);
    sa->sa_known[num] = true;
    sa->sa_length[num] = SA_ATTR_LENGTH(za->za_first_integer);
    for (int i = 0; i < SA_NATTRS; i++)
        if (strcmp(za->za_name, sa_names[i]) == 0)
            sa->sa_number[i] = num;
    return 0;
}

static int
registry_read(zpl_sa_t *sa, objset_t *os, uint64_t object)
{
    zap_attribute_t za;
    zap_cursor_t zc;
    int err;

    zap_cursor_init(&zc, os, object);
    while ((err = zap_cursor_retrieve(&zc, &za)) == 0 && (err = registry_entry(sa, &za)) == 0)
        zap_cursor_advance(&zc);
    zap_cursor_fini(&zc);
    return err == ENOENT ? 0 : err;
}

static int
layout_entry(zpl_sa_t *sa, objset_t *os, uint64_t object, const zap_attribute_t *za)
{
    unsigned long num = strtoul(za->za_name, NULL, 10);
    sa_layout_t *sl;

    if (num >= SA_MAX_LAYOUTS || za->za_integer_length != 2 || za->za_num_integers > SA_MAX_IN_LAYOUT)
        return SET_ERROR(EIO);
    sl = &sa->sa_layouts[num];
    free(sl->sl_attrs);
    sl->sl_n = (uint16_t)za->za_num_integers;
    sl->sl_attrs = xzalloc((sl->sl_n + 1u) * sizeof(uint16_t));
    return zap_lookup(os, object, za->za_name, 2, sl->sl_n, sl->sl_attrs);
}

static int
layouts_read(zpl_sa_t *sa, objset_t *os, uint64_t object)
{
    zap_attribute_t za;
    zap_cursor_t zc;
    int err;

    zap_cursor_init(&zc, os, object);
    while ((err = zap_cursor_retrieve(&zc, &za)) == 0 && (err = layout_entry(sa, os, object, &za)) == 0)
        zap_cursor_advance(&zc);
    zap_cursor_fini(&zc);
    return err == ENOENT ? 0 : err;
}

int
zpl_sa_open(objset_t *os, zpl_sa_t **sap)
{
    uint64_t master, registry, layouts;
    zpl_sa_t *sa = xzalloc(sizeof(*sa));
    int err;

    for (int i = 0; i < SA_NATTRS; i++)
        sa->sa_number[i] = -1;
    if ((err = zap_lookup_u64(os, MASTER_NODE_OBJ, ZPL_KEY_SA_ATTRS, &master)) == 0 &&
        (err = zap_lookup_u64(os, master, SA_KEY_REGISTRY, &registry)) == 0 &&
        (err = zap_lookup_u64(os, master, SA_KEY_LAYOUTS, &layouts)) == 0 &&
        (err = registry_read(sa, os, registry)) == 0 && (err = layouts_read(sa, os, layouts)) == 0) {
        *sap = sa;
        return 0;
    }
    zpl_sa_close(sa);
    return err == ENOENT ? SET_ERROR(EIO) : err;
}

void
zpl_sa_close(zpl_sa_t *sa)
{
    if (sa == NULL)
        return;
    for (int i = 0; i < SA_MAX_LAYOUTS; i++)
        free(sa->sa_layouts[i].sl_attrs);
    free(sa);
}

/* ---- one attribute ---- */

/* A buffer's header, in our byte order. */
typedef struct sa_hdr {
    const uint8_t *sh_buf;
    size_t sh_size, sh_hdrsize;
    const sa_layout_t *sh_layout;
    bool sh_swap; /* values are in the other order */
} sa_hdr_t;

static uint16_t
sa_u16(const sa_hdr_t *sh, size_t off)
{
    uint16_t v;

    memcpy(&v, sh->sh_buf + off, sizeof(v));
    return sh->sh_swap ? __builtin_bswap16(v) : v;
}

static int
sa_header(const zpl_sa_t *sa, const void *buf, size_t size, sa_hdr_t *sh)
{
    uint32_t magic;
    uint16_t info;

    if (size < sizeof(sa_hdr_phys_t))
        return SET_ERROR(size == 0 ? ENOENT : EIO);
    *sh = (sa_hdr_t){.sh_buf = buf, .sh_size = size};
    memcpy(&magic, buf, sizeof(magic));
    sh->sh_swap = magic == __builtin_bswap32(SA_MAGIC);
    if (magic != SA_MAGIC && !sh->sh_swap)
        return SET_ERROR(EIO);
    info = sa_u16(sh, offsetof(sa_hdr_phys_t, sa_layout_info));
    sh->sh_hdrsize = SA_HDR_SIZE(info);
    sh->sh_layout = &sa->sa_layouts[SA_LAYOUT_NUM(info)];
    if (sh->sh_hdrsize < sizeof(sa_hdr_phys_t) || sh->sh_hdrsize > size || sh->sh_layout->sl_attrs == NULL)
        return SET_ERROR(EIO);
    return 0;
}

/* Length of the next attribute; var counts the variable ones. */
static int
sa_attr_len(const zpl_sa_t *sa, const sa_hdr_t *sh, uint16_t num, size_t *var, size_t *len)
{
    size_t off = offsetof(sa_hdr_phys_t, sa_lengths) + 2 * *var;

    if (num >= SA_MAX_ATTRS || !sa->sa_known[num])
        return SET_ERROR(EIO);
    *len = sa->sa_length[num];
    if (*len != 0)
        return 0;
    if (off + 2 > sh->sh_hdrsize)
        return SET_ERROR(EIO);
    *len = sa_u16(sh, off);
    (*var)++;
    return 0;
}

/* Where attribute number num lies in a buffer. ENOENT: not here. */
static int
sa_walk(const zpl_sa_t *sa, const sa_hdr_t *sh, uint16_t num, const void **value, size_t *len)
{
    size_t pos = sh->sh_hdrsize, var = 0;
    int err;

    for (int i = 0; i < sh->sh_layout->sl_n; i++, pos = P2ROUNDUP(pos + *len, (size_t)8)) {
        if ((err = sa_attr_len(sa, sh, sh->sh_layout->sl_attrs[i], &var, len)) != 0)
            return err;
        if (pos > sh->sh_size || *len > sh->sh_size - pos)
            return SET_ERROR(EIO);
        *value = sh->sh_buf + pos;
        if (sh->sh_layout->sl_attrs[i] == num)
            return 0;
    }
    return ENOENT;
}

/* Copies up to n bytes of an attribute out of one buffer. Words are turned, bytes (symlink, xattrs) not. */
static int
sa_copy(const zpl_sa_t *sa, const dmu_buf_t *db, sa_attr_t attr, void *buf, size_t n, size_t *len)
{
    const void *value;
    uint64_t *words = buf;
    sa_hdr_t sh;
    int err;

    if ((err = sa_header(sa, db->db_data, db->db_size, &sh)) != 0 ||
        (err = sa_walk(sa, &sh, (uint16_t)sa->sa_number[attr], &value, len)) != 0)
        return err;
    n = n < *len ? n : *len;
    memcpy(buf, value, n);
    if (sh.sh_swap && attr < SA_SYMLINK)
        for (size_t i = 0; i < n / sizeof(*words); i++)
            words[i] = __builtin_bswap64(words[i]);
    return 0;
}

/* The same from the bonus or the spill block; *len its length. ENOENT: absent. */
static int
sa_get(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, sa_attr_t attr, void *buf, size_t n, size_t *len)
{
    dmu_buf_t *spill;
    int err;

    if (ac->ac_sa->sa_number[attr] < 0)
        return ENOENT;
    err = sa_copy(ac->ac_sa, bonus, attr, buf, n, len);
    if (err != ENOENT || (err = dmu_spill_hold(ac->ac_os, bonus->db_object, &spill)) != 0)
        return err;
    err = sa_copy(ac->ac_sa, spill, attr, buf, n, len);
    dmu_buf_rele(spill);
    return err;
}

/* n words of a fixed attribute; zeros when it is absent and need not be there. */
static int
sa_words(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, sa_attr_t attr, bool needed, uint64_t *v, size_t n)
{
    size_t len = 0;
    int err;

    memset(v, 0, n * sizeof(*v));
    err = sa_get(ac, bonus, attr, v, n * sizeof(*v), &len);
    if (err == ENOENT)
        return needed ? SET_ERROR(EIO) : 0;
    if (err == 0 && len != n * sizeof(*v))
        return SET_ERROR(EIO);
    return err;
}

static int
sa_time(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, sa_attr_t attr, struct timespec *ts)
{
    uint64_t v[2];
    int err = sa_words(ac, bonus, attr, true, v, 2);

    ts->tv_sec = (time_t)v[0];
    ts->tv_nsec = v[1] < 1000000000 ? (long)v[1] : 0;
    return err;
}

/* ---- as a zpl_attr_ops ---- */

static int
sa_load_words(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, zpl_attrs_t *at)
{
    const struct {
        sa_attr_t attr;
        bool needed;
        uint64_t *to;
    } words[] = {
        {SA_GEN, true, &at->za_gen},      {SA_SIZE, true, &at->za_size},    {SA_PARENT, true, &at->za_parent},
        {SA_LINKS, true, &at->za_links},  {SA_XATTR, false, &at->za_xattr}, {SA_RDEV, false, &at->za_rdev},
        {SA_FLAGS, false, &at->za_flags}, {SA_UID, true, &at->za_uid},      {SA_GID, true, &at->za_gid},
    };
    int err = 0;

    for (size_t i = 0; i < ARRAY_SIZE(words) && err == 0; i++)
        err = sa_words(ac, bonus, words[i].attr, words[i].needed, words[i].to, 1);
    return err;
}

static int
sa_load(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, zpl_attrs_t *at)
{
    uint64_t mode;
    int err;

    if ((err = sa_words(ac, bonus, SA_MODE, true, &mode, 1)) != 0 ||
        (err = sa_load_words(ac, bonus, at)) != 0 ||
        (err = sa_time(ac, bonus, SA_ATIME, &at->za_atime)) != 0 ||
        (err = sa_time(ac, bonus, SA_MTIME, &at->za_mtime)) != 0 ||
        (err = sa_time(ac, bonus, SA_CTIME, &at->za_ctime)) != 0)
        return err;
    at->za_mode = (uint32_t)mode;
    return sa_time(ac, bonus, SA_CRTIME, &at->za_crtime);
}

static int
sa_symlink(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, const zpl_attrs_t *at, char *buf, size_t n,
           size_t *len)
{
    int err = sa_get(ac, bonus, SA_SYMLINK, buf, n, len);

    return err == ENOENT ? SET_ERROR(EIO) : err;
}

/* Never reached: version 5 is read-only, and every changing call asks first. */
static void
sa_hold(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, unsigned mask, dmu_tx_t *tx)
{
    VERIFY(!"attributes of version 5 are not written");
}

static void
sa_store(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, const zpl_attrs_t *at, unsigned mask, dmu_tx_t *tx)
{
    VERIFY(!"attributes of version 5 are not written");
}

const zpl_attr_ops_t zpl_sa_ops = {
    .ao_load = sa_load,
    .ao_hold = sa_hold,
    .ao_store = sa_store,
    .ao_symlink = sa_symlink,
};

int
zpl_sa_dxattr(const zpl_attr_ctx_t *ac, uint64_t object, void **buf, size_t *len)
{
    dmu_buf_t *bonus;
    int err;

    *buf = NULL;
    if ((err = dmu_bonus_hold(ac->ac_os, object, &bonus)) != 0)
        return err;
    *buf = xmalloc(UINT16_MAX);
    err = sa_get(ac, bonus, SA_DXATTR, *buf, UINT16_MAX, len);
    dmu_buf_rele(bonus);
    if (err != 0 || *len == 0) {
        free(*buf);
        *buf = NULL;
    }
    return err == ENOENT ? 0 : err;
}
