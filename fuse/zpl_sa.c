/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_sa.c - the tables of ZPL version 5: which attributes there are, and in which orders they lie.
 *
 *     master node SA_ATTRS ──► REGISTRY  "ZPL_MODE" -> number 5, length 8      of every attribute
 *                          └─► LAYOUTS   "2" -> 5 6 4 12 13 7 11 0 1 2 3 8 16 19   what follows what
 *
 *     an object's bonus says "layout 2" and then gives 14 values without their names: 168 bytes for what took
 *     264 in version 4, and there is room for more: a symlink's text, small extended attributes.
 *
 * Invariants:
 *   1. What a table says never changes and is never removed: it is read without a lock.
 *   2. A layout (or attribute) comes to disk no later than the first object that uses it. It is added in a
 *      transaction of its own, before the user's is assigned: txgs only grow. A crash between the two leaves
 *      a layout that nobody uses, which does no harm.
 *   3. Layouts are shared: two objects with the same attributes in the same order have the same layout.
 *
 * ZFS: sa_setup(), sa_attr_register_sync(), sa_find_layout() in module/zfs/sa.c; there the layout is added in
 * the user's own transaction, which must have held the table.
 */
#include <stdio.h>
#include "zpl_sa_impl.h"

static const struct {
    const char *name;
    uint16_t number; /* what a new registry says */
    uint16_t length;
    uint8_t class;
} known[SA_NATTRS] = {
    [SA_ATIME] = {"ZPL_ATIME", 0, 16, SA_UINT64_ARRAY},
    [SA_MTIME] = {"ZPL_MTIME", 1, 16, SA_UINT64_ARRAY},
    [SA_CTIME] = {"ZPL_CTIME", 2, 16, SA_UINT64_ARRAY},
    [SA_CRTIME] = {"ZPL_CRTIME", 3, 16, SA_UINT64_ARRAY},
    [SA_GEN] = {"ZPL_GEN", 4, 8, SA_UINT64_ARRAY},
    [SA_MODE] = {"ZPL_MODE", 5, 8, SA_UINT64_ARRAY},
    [SA_SIZE] = {"ZPL_SIZE", 6, 8, SA_UINT64_ARRAY},
    [SA_PARENT] = {"ZPL_PARENT", 7, 8, SA_UINT64_ARRAY},
    [SA_LINKS] = {"ZPL_LINKS", 8, 8, SA_UINT64_ARRAY},
    [SA_XATTR] = {"ZPL_XATTR", 9, 8, SA_UINT64_ARRAY},
    [SA_RDEV] = {"ZPL_RDEV", 10, 8, SA_UINT64_ARRAY},
    [SA_FLAGS] = {"ZPL_FLAGS", 11, 8, SA_UINT64_ARRAY},
    [SA_UID] = {"ZPL_UID", 12, 8, SA_UINT64_ARRAY},
    [SA_GID] = {"ZPL_GID", 13, 8, SA_UINT64_ARRAY},
    [SA_PAD] = {"ZPL_PAD", 14, 32, SA_UINT64_ARRAY},
    [SA_ZNODE_ACL] = {"ZPL_ZNODE_ACL", 15, 88, SA_UINT8_ARRAY},
    [SA_DACL_COUNT] = {"ZPL_DACL_COUNT", 16, 8, SA_UINT64_ARRAY},
    [SA_SYMLINK] = {"ZPL_SYMLINK", 17, 0, SA_UINT8_ARRAY},
    [SA_SCANSTAMP] = {"ZPL_SCANSTAMP", 18, 32, SA_UINT8_ARRAY},
    [SA_DACL_ACES] = {"ZPL_DACL_ACES", 19, 0, SA_ACL},
    [SA_DXATTR] = {"ZPL_DXATTR", 20, 0, SA_UINT8_ARRAY},
    [SA_PROJID] = {"ZPL_PROJID", 21, 8, SA_UINT64_ARRAY},
};

static uint64_t
registry_value(sa_attr_t attr, uint16_t number)
{
    return number | (uint64_t)known[attr].class << 16 | (uint64_t)known[attr].length << 24;
}

/* ---- reading ---- */

static void
attr_publish(zpl_sa_t *sa, const char *name, uint64_t value)
{
    uint16_t num = SA_ATTR_NUM(value);

    sa->sa_length[num] = SA_ATTR_LENGTH(value);
    sa->sa_class[num] = SA_ATTR_CLASS(value);
    __atomic_store_n(&sa->sa_known[num], true, __ATOMIC_RELEASE);
    for (int i = 0; i < SA_NATTRS; i++)
        if (strcmp(name, known[i].name) == 0)
            __atomic_store_n(&sa->sa_number[i], num, __ATOMIC_RELEASE);
}

/* An attribute of ours must have the length and form that we know. */
static int
registry_entry(zpl_sa_t *sa, const zap_attribute_t *za)
{
    uint64_t value = za->za_first_integer;

    if (za->za_integer_length != 8 || za->za_num_integers != 1 || SA_ATTR_NUM(value) >= SA_MAX_ATTRS ||
        SA_ATTR_CLASS(value) > SA_ACL || sa->sa_known[SA_ATTR_NUM(value)])
        return SET_ERROR(EIO);
    for (int i = 0; i < SA_NATTRS; i++)
        if (strcmp(za->za_name, known[i].name) == 0 && SA_ATTR_LENGTH(value) != known[i].length)
            return SET_ERROR(EIO);
    attr_publish(sa, za->za_name, value);
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

static void
layout_publish(zpl_sa_t *sa, unsigned num, const uint16_t *attrs, int n)
{
    sa_layout_t *sl = &sa->sa_layouts[num];
    uint16_t *copy = xzalloc(((size_t)n + 1) * sizeof(uint16_t));

    memcpy(copy, attrs, (size_t)n * sizeof(uint16_t));
    sl->sl_n = (uint16_t)n;
    __atomic_store_n(&sl->sl_attrs, copy, __ATOMIC_RELEASE);
}

static int
layout_entry(zpl_sa_t *sa, objset_t *os, uint64_t object, const zap_attribute_t *za)
{
    unsigned long num = strtoul(za->za_name, NULL, 10);
    uint16_t attrs[SA_MAX_IN_LAYOUT];
    int err;

    if (num >= SA_MAX_LAYOUTS || za->za_integer_length != 2 || za->za_num_integers > SA_MAX_IN_LAYOUT ||
        sa->sa_layouts[num].sl_attrs != NULL)
        return SET_ERROR(EIO);
    if ((err = zap_lookup(os, object, za->za_name, 2, SA_MAX_IN_LAYOUT, attrs)) != 0)
        return err;
    layout_publish(sa, (unsigned)num, attrs, (int)za->za_num_integers);
    return 0;
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
    zpl_sa_t *sa = xzalloc(sizeof(*sa));
    int err;

    sa->sa_os = os;
    mutex_init(&sa->sa_grow_lock);
    for (int i = 0; i < SA_NATTRS; i++)
        sa->sa_number[i] = -1;
    if ((err = zap_lookup_u64(os, MASTER_NODE_OBJ, ZPL_KEY_SA_ATTRS, &sa->sa_master)) == 0 &&
        (err = zap_lookup_u64(os, sa->sa_master, SA_KEY_REGISTRY, &sa->sa_registry_obj)) == 0 &&
        (err = zap_lookup_u64(os, sa->sa_master, SA_KEY_LAYOUTS, &sa->sa_layouts_obj)) == 0 &&
        (err = registry_read(sa, os, sa->sa_registry_obj)) == 0 &&
        (err = layouts_read(sa, os, sa->sa_layouts_obj)) == 0) {
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
    mutex_destroy(&sa->sa_grow_lock);
    free(sa);
}

const sa_layout_t *
zpl_sa_layout(const zpl_sa_t *sa, uint16_t num)
{
    const sa_layout_t *sl = &sa->sa_layouts[num];

    return num < SA_MAX_LAYOUTS && __atomic_load_n(&sl->sl_attrs, __ATOMIC_ACQUIRE) != NULL ? sl : NULL;
}

int
zpl_sa_find_layout(const zpl_sa_t *sa, const uint16_t *attrs, int n)
{
    for (uint16_t num = SA_FIRST_LAYOUT; num < SA_MAX_LAYOUTS; num++) {
        const sa_layout_t *sl = zpl_sa_layout(sa, num);

        if (sl != NULL && sl->sl_n == n && memcmp(sl->sl_attrs, attrs, (size_t)n * sizeof(*attrs)) == 0)
            return num;
    }
    return -1;
}

/* ---- growing ---- */

int
zpl_sa_add_layout(zpl_sa_t *sa, const uint16_t *attrs, int n, dmu_tx_t *tx)
{
    unsigned num = SA_FIRST_LAYOUT;
    char name[16];

    while (num < SA_MAX_LAYOUTS && sa->sa_layouts[num].sl_attrs != NULL)
        num++;
    if (num == SA_MAX_LAYOUTS)
        return SET_ERROR(ENOSPC);
    snprintf(name, sizeof(name), "%u", num);
    int err = zap_add(sa->sa_os, sa->sa_layouts_obj, name, 2, (uint64_t)n, attrs, tx);
    if (err == 0)
        layout_publish(sa, num, attrs, n);
    return err;
}

/* The number it has elsewhere, or the next free one. */
static int
add_attr(zpl_sa_t *sa, sa_attr_t attr, dmu_tx_t *tx)
{
    uint16_t num = known[attr].number;
    int err;

    while (num < SA_MAX_ATTRS && sa->sa_known[num])
        num++;
    if (num == SA_MAX_ATTRS)
        return SET_ERROR(ENOSPC);
    err = zap_add_u64(sa->sa_os, sa->sa_registry_obj, known[attr].name, registry_value(attr, num), tx);
    if (err == 0)
        attr_publish(sa, known[attr].name, registry_value(attr, num));
    return err;
}

int
zpl_sa_need_attr(zpl_sa_t *sa, sa_attr_t attr)
{
    dmu_tx_t *tx;
    int err = 0;

    if (__atomic_load_n(&sa->sa_number[attr], __ATOMIC_ACQUIRE) >= 0)
        return 0;
    mutex_enter(&sa->sa_grow_lock);
    if (sa->sa_number[attr] < 0) {
        tx = dmu_tx_create(sa->sa_os);
        dmu_tx_hold_zap(tx, sa->sa_registry_obj, true, known[attr].name);
        if ((err = zpl_tx_assign(tx)) == 0) {
            err = add_attr(sa, attr, tx);
            dmu_tx_commit(tx);
        }
    }
    mutex_exit(&sa->sa_grow_lock);
    return err;
}

int
zpl_sa_need_layout(zpl_sa_t *sa, const uint16_t *attrs, int n)
{
    dmu_tx_t *tx;
    int err = 0;

    if (zpl_sa_find_layout(sa, attrs, n) >= 0)
        return 0;
    mutex_enter(&sa->sa_grow_lock);
    if (zpl_sa_find_layout(sa, attrs, n) < 0) {
        tx = dmu_tx_create(sa->sa_os);
        dmu_tx_hold_zap(tx, sa->sa_layouts_obj, true, NULL);
        if ((err = zpl_tx_assign(tx)) == 0) {
            err = zpl_sa_add_layout(sa, attrs, n, tx);
            dmu_tx_commit(tx);
        }
    }
    mutex_exit(&sa->sa_grow_lock);
    return err;
}

void
zpl_sa_create(objset_t *os, dmu_tx_t *tx)
{
    uint64_t master = zap_create(os, DMU_OT_SA_MASTER_NODE, DMU_OT_NONE, 0, tx);
    uint64_t registry = zap_create(os, DMU_OT_SA_ATTR_REGISTRATION, DMU_OT_NONE, 0, tx);
    uint64_t layouts = zap_create_fat(os, 0, DMU_OT_SA_ATTR_LAYOUTS, DMU_OT_NONE, 0, tx);

    VERIFY0(zap_add_u64(os, MASTER_NODE_OBJ, ZPL_KEY_SA_ATTRS, master, tx));
    VERIFY0(zap_add_u64(os, master, SA_KEY_REGISTRY, registry, tx));
    VERIFY0(zap_add_u64(os, master, SA_KEY_LAYOUTS, layouts, tx));
    for (int i = 0; i < SA_NATTRS; i++)
        VERIFY0(zap_add_u64(os, registry, known[i].name, registry_value((sa_attr_t)i, known[i].number), tx));
}
