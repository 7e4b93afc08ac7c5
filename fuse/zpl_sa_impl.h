/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_sa_impl.h - system attributes: what zpl_sa.c (the tables), zpl_attr_sa.c (the attributes in an object) and
 * zpl_check_sa.c (are they right?) share.
 *
 *     one buffer, bonus or spill block:
 *      0       4        6            8 (16 with two variable ones)
 *      | magic | layout | lengths... | value of the layout's first attribute | second | ...    each starts 8-aligned
 */
#ifndef COWBIRD_ZPL_SA_IMPL_H
#define COWBIRD_ZPL_SA_IMPL_H

#include "zpl_impl.h"

/* What we ask for, by name. The first are the words of zpl_attrs_t, in the order of ZA_*. */
typedef enum sa_attr {
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
    SA_WORDS, /* how many these are; here: the padding of the old znode */
    SA_PAD = SA_WORDS,
    SA_ZNODE_ACL,
    SA_DACL_COUNT,
    SA_SYMLINK,
    SA_SCANSTAMP,
    SA_DACL_ACES,
    SA_DXATTR,
    SA_PROJID,
    SA_NATTRS
} sa_attr_t;

#define SA_MAX_ATTRS     1024
#define SA_MAX_LAYOUTS   1024
#define SA_MAX_IN_LAYOUT 256
#define SA_FIRST_LAYOUT  2 /* 0 and 1 have meanings of their own */

enum sa_class { SA_UINT64_ARRAY, SA_UINT32_ARRAY, SA_UINT16_ARRAY, SA_UINT8_ARRAY, SA_ACL };

typedef struct sa_layout {
    uint16_t sl_n;
    uint16_t *sl_attrs; /* NULL: no such layout; atomic, never changes after */
} sa_layout_t;

/* Nothing here ever changes or goes once it is set, so reading takes no lock. */
struct zpl_sa {
    objset_t *sa_os;
    uint64_t sa_master, sa_registry_obj, sa_layouts_obj;
    kmutex_t sa_grow_lock;            /* held over the transaction that adds something */
    int32_t sa_number[SA_NATTRS];     /* atomic; -1: not registered */
    uint16_t sa_length[SA_MAX_ATTRS]; /* by number; 0 variable */
    uint8_t sa_class[SA_MAX_ATTRS];
    bool sa_known[SA_MAX_ATTRS]; /* atomic: set after the two above */
    sa_layout_t sa_layouts[SA_MAX_LAYOUTS];
};

/* ---- zpl_sa.c ---- */
static inline int32_t
zpl_sa_number(const zpl_sa_t *sa, sa_attr_t attr) /* -1: not registered */
{
    return __atomic_load_n(&sa->sa_number[attr], __ATOMIC_ACQUIRE);
}
/* Tables of a new file system: the master node's SA_ATTRS and all below. */
void zpl_sa_create(objset_t *os, dmu_tx_t *tx);
const sa_layout_t *zpl_sa_layout(const zpl_sa_t *sa, uint16_t num);       /* NULL: none */
int zpl_sa_find_layout(const zpl_sa_t *sa, const uint16_t *attrs, int n); /* -1: none */
/*
 * In open context, before the transaction that uses it is assigned (so that no layout comes to disk later than its first user): an
 * attribute is registered, a layout is there. In transactions of their own.
 */
int zpl_sa_need_attr(zpl_sa_t *sa, sa_attr_t attr);
int zpl_sa_need_layout(zpl_sa_t *sa, const uint16_t *attrs, int n);
/* The same in syncing context, where nobody else is: the layout's number. */
int zpl_sa_add_layout(zpl_sa_t *sa, const uint16_t *attrs, int n, dmu_tx_t *tx);

/* ---- zpl_attr_sa.c ---- */
typedef struct sa_item {
    uint16_t si_num, si_len;
    const uint8_t *si_value;
} sa_item_t;
/* All attributes of one object, in the order of their layouts; values point into its buffers, or to copies in our byte order. */
typedef struct sa_set {
    int ss_n;
    sa_item_t ss_items[SA_MAX_IN_LAYOUT];
    dmu_buf_t *ss_spill;   /* held, when there is one */
    uint8_t *ss_copies[2]; /* of buffers in the other byte order */
    int ss_inbonus;        /* how many lie in the bonus */
    bool ss_swapped;
} sa_set_t;
/* EIO: a header, layout or length that cannot be; an attribute that is there twice. */
int zpl_sa_collect(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, sa_set_t *ss);
void zpl_sa_set_free(sa_set_t *ss);
const sa_item_t *zpl_sa_item(const zpl_sa_t *sa, const sa_set_t *ss, sa_attr_t attr); /* NULL: absent */

#endif
