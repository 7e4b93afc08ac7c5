/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_create.c - new files, and the first objects of a new file system.
 *
 *   zpl_objset_init       object 1: master node ── ROOT ────────► root directory: 0755, links 2, size 2
 *   (syncing context)                         ├─ DELETE_QUEUE ──► the unlinked set, empty
 *                                             └─ SA_ATTRS ──────► version 5: registry and layouts of attributes (zpl_sa.c)
 *
 *   zpl_mknode            1. the object   2. its bonus: attributes and trivial ACL   3. its first block
 *
 * Invariants:
 *   1. A new object has one name to come: links is 1 (2 for a directory) from the start; its maker adds the
 *      entry in the same tx.
 *   2. A symlink's text lies with its attributes; in version 4 one of more than 56 bytes is the object's
 *      block 0.
 *
 * ZFS: zfs_create_fs, zfs_mknode (module/zfs/zfs_znode_os.c)
 */
#include <unistd.h>
#include "zpl_sa_impl.h"

#define ZPL_NEW_FLAGS (ZPL_ARCHIVE | ZPL_AV_MODIFIED)

/* Has it a block of its own? */
static bool
nn_has_block(const zpl_attr_ctx_t *ac, const zpl_newnode_t *nn)
{
    return nn->nn_len > 0 && !S_ISDIR(nn->nn_mode) && !ac->ac_new->ao_holds_text(nn);
}

void
zpl_hold_mknode(const zpl_attr_ctx_t *ac, const zpl_newnode_t *nn, dmu_tx_t *tx)
{
    ac->ac_new->ao_hold_new(ac, nn, tx);
    if (S_ISDIR(nn->nn_mode))
        dmu_tx_hold_zap(tx, DMU_NEW_OBJECT, true, NULL);
    else if (nn_has_block(ac, nn))
        dmu_tx_hold_write(tx, DMU_NEW_OBJECT, 0, nn->nn_len);
}

static int
mknode_object(const zpl_attr_ctx_t *ac, const zpl_newnode_t *nn, dmu_tx_t *tx, uint64_t *objectp)
{
    uint32_t blksz = nn_has_block(ac, nn) ? P2ROUNDUP((uint32_t)nn->nn_len, 512u) : 512;
    const zpl_attr_ops_t *ao = ac->ac_new;

    if (S_ISDIR(nn->nn_mode)) {
        *objectp = zap_create_norm(ac->ac_os, nn->nn_norm, DMU_OT_DIRECTORY_CONTENTS, ao->ao_bonustype,
                                   ao->ao_bonuslen, tx);
        return *objectp == 0 ? SET_ERROR(ENOSPC) : 0;
    }
    return dmu_object_alloc(ac->ac_os, DMU_OT_PLAIN_FILE_CONTENTS, blksz, ao->ao_bonustype, ao->ao_bonuslen,
                            0, tx, objectp);
}

static void
mknode_attrs(const zpl_newnode_t *nn, uint64_t object, dmu_tx_t *tx, zpl_attrs_t *at)
{
    zpl_now(&at->za_crtime);
    at->za_atime = at->za_mtime = at->za_ctime = at->za_crtime;
    at->za_gen = dmu_tx_txg(tx);
    at->za_mode = nn->nn_mode;
    at->za_size = S_ISDIR(nn->nn_mode) ? 2 : nn->nn_len;
    at->za_links = S_ISDIR(nn->nn_mode) ? 2 : 1;
    at->za_parent = nn->nn_parent != 0 ? nn->nn_parent : object;
    at->za_rdev = nn->nn_rdev;
    at->za_uid = nn->nn_uid;
    at->za_gid = nn->nn_gid;
    at->za_flags = ZPL_NEW_FLAGS | nn->nn_flags | zpl_acl_flags(nn->nn_mode);
}

int
zpl_mknode(const zpl_attr_ctx_t *ac, const zpl_newnode_t *nn, dmu_tx_t *tx, uint64_t *objectp)
{
    zpl_attrs_t at = {0};
    dmu_buf_t *bonus;
    int err;

    if ((err = mknode_object(ac, nn, tx, objectp)) != 0)
        return err;
    if ((err = dmu_bonus_hold(ac->ac_os, *objectp, &bonus)) == 0) {
        mknode_attrs(nn, *objectp, tx, &at);
        ac->ac_new->ao_init(ac, bonus, nn, &at, tx);
        dmu_buf_rele(bonus);
        if (nn_has_block(ac, nn))
            err = dmu_write(ac->ac_os, *objectp, 0, nn->nn_len, nn->nn_data, tx);
    }
    if (err != 0)
        (void)dmu_object_free(ac->ac_os, *objectp, tx);
    return err;
}

/* ---- a new file system ---- */

/* A property's value as a number: it may come as a number, as its digits, or as one of the names. */
static uint64_t
prop_number(const nvlist_t *props, const char *key, const char *const *names, const uint64_t *numbers,
            uint64_t def)
{
    const char *text;
    uint64_t v;

    if (props == NULL)
        return def;
    if (nvlist_lookup_uint64(props, key, &v) == 0)
        return v;
    if (nvlist_lookup_string(props, key, &text) != 0)
        return def;
    for (int i = 0; names != NULL && names[i] != NULL; i++)
        if (strcmp(text, names[i]) == 0)
            return numbers[i];
    return strtoull(text, NULL, 0);
}

static const char *const norm_names[] = {"none", "formC", "formD", "formKC", "formKD", NULL};
static const uint64_t norm_numbers[] = {0, 0x50, 0x10, 0x60, 0x20};
static const char *const case_names[] = {"sensitive", "insensitive", "mixed", NULL};
static const uint64_t case_numbers[] = {ZPL_CASE_SENSITIVE, ZPL_CASE_INSENSITIVE, ZPL_CASE_MIXED};
static const char *const onoff_names[] = {"off", "on", NULL};
static const uint64_t onoff_numbers[] = {0, 1};

static void
init_key(objset_t *os, const char *key, uint64_t value, bool always, dmu_tx_t *tx)
{
    if (always || value != 0)
        VERIFY0(zap_update_u64(os, MASTER_NODE_OBJ, key, value, tx));
}

/* The tables of version 5, and how its files are made. */
static void
init_sa(objset_t *os, zpl_attr_ctx_t *ac, dmu_tx_t *tx)
{
    zpl_sa_create(os, tx);
    VERIFY0(zpl_sa_open(os, &ac->ac_sa));
    ac->ac_new = &zpl_sa_ops;
}

void
zpl_objset_init(objset_t *os, const nvlist_t *props, dmu_tx_t *tx)
{
    uint64_t norm = prop_number(props, ZPL_KEY_NORM, norm_names, norm_numbers, 0);
    uint64_t utf8 = prop_number(props, ZPL_KEY_UTF8, onoff_names, onoff_numbers, norm != 0);
    uint64_t fold = prop_number(props, ZPL_KEY_CASE, case_names, case_numbers, ZPL_CASE_SENSITIVE);
    uint64_t version = prop_number(props, "version", NULL, NULL, ZPL_VERSION_DEFAULT);
    zpl_attr_ctx_t ac = {.ac_os = os, .ac_version = version, .ac_new = &zpl_znode_ops};
    zpl_newnode_t nn = {.nn_mode = S_IFDIR | 0755};
    uint64_t unlinked, root;

    VERIFY0(zap_create_claim(os, MASTER_NODE_OBJ, DMU_OT_MASTER_NODE, DMU_OT_NONE, 0, tx));
    init_key(os, ZPL_KEY_VERSION, version, true, tx);
    if (version >= ZPL_VERSION_SA)
        init_sa(os, &ac, tx);
    unlinked = zap_create(os, DMU_OT_UNLINKED_SET, DMU_OT_NONE, 0, tx);
    nn.nn_uid = geteuid(); /* whoever makes a file system owns its root */
    nn.nn_gid = getegid();
    nn.nn_norm = norm | (fold != ZPL_CASE_SENSITIVE ? ZPL_NORM_TOUPPER : 0);
    VERIFY0(zpl_mknode(&ac, &nn, tx, &root));
    zpl_attr_ctx_fini(&ac);
    init_key(os, ZPL_KEY_UNLINKED, unlinked, true, tx);
    init_key(os, ZPL_KEY_ROOT, root, true, tx);
    init_key(os, ZPL_KEY_NORM, norm, false, tx);
    init_key(os, ZPL_KEY_UTF8, utf8, false, tx);
    init_key(os, ZPL_KEY_CASE, fold, false, tx);
}
