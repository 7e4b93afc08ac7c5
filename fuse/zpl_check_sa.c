/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_check_sa.c - zpl_check.c's judgement of one object's attributes of version 5.
 *
 *     bonus, spill:  headers, layouts, lengths (zpl_sa_collect);  then what the values say of each other:
 *     the entries of the ACL are as many and as long as they say, a symlink's text is as long as its size, a device
 *     has a number, the list of extended attributes can be unpacked, nothing follows the last attribute.
 *
 * ZFS has no such program; zdb prints, it does not judge.
 */
#include "zpl_sa_impl.h"

/* Bytes that count entries take. -1: they do not fit. */
static int64_t
aces_size(const uint8_t *aces, size_t len, uint64_t count)
{
    size_t pos = 0;

    for (uint64_t i = 0; i < count; i++) {
        zfs_ace_hdr_t ace;
        if (len - pos < sizeof(ace))
            return -1;
        memcpy(&ace, aces + pos, sizeof(ace));
        size_t n = ZFS_ACE_SIZE(&ace);
        if (len - pos < n)
            return -1;
        pos += n;
    }
    return (int64_t)pos;
}

static const char *
check_acl(const zpl_sa_t *sa, const sa_set_t *ss)
{
    const sa_item_t *count = zpl_sa_item(sa, ss, SA_DACL_COUNT), *aces = zpl_sa_item(sa, ss, SA_DACL_ACES);
    uint64_t n = 0;

    if (count == NULL && aces == NULL)
        return zpl_sa_item(sa, ss, SA_ZNODE_ACL) != NULL ? NULL : "no ACL";
    if (count == NULL)
        return "an ACL without a count";
    memcpy(&n, count->si_value, sizeof(n));
    if (n == 0 && aces == NULL)
        return NULL;
    if (aces == NULL || aces_size(aces->si_value, aces->si_len, n) != aces->si_len)
        return "the ACL's count and length do not agree";
    return NULL;
}

static const char *
check_values(const zpl_sa_t *sa, const sa_set_t *ss, const zpl_attrs_t *at)
{
    const sa_item_t *text = zpl_sa_item(sa, ss, SA_SYMLINK), *dx = zpl_sa_item(sa, ss, SA_DXATTR);
    bool device = S_ISCHR(at->za_mode) || S_ISBLK(at->za_mode);
    nvlist_t *nvl = NULL;

    if (S_ISLNK(at->za_mode) != (text != NULL) || (text != NULL && text->si_len != at->za_size))
        return "size and symlink text do not agree";
    if (device != (zpl_sa_item(sa, ss, SA_RDEV) != NULL))
        return "device number and mode do not agree";
    if (dx != NULL && dx->si_len != 0 && nvlist_unpack(dx->si_value, dx->si_len, &nvl) != 0)
        return "the extended attributes are no list";
    nvlist_free(nvl);
    return check_acl(sa, ss);
}

/* The bonus ends with its last attribute. (A spill block is rounded up.) */
static const char *
check_end(const sa_set_t *ss, const dmu_buf_t *bonus)
{
    const sa_item_t *last = ss->ss_inbonus > 0 ? &ss->ss_items[ss->ss_inbonus - 1] : NULL;
    const uint8_t *start = ss->ss_copies[0] != NULL ? ss->ss_copies[0] : bonus->db_data;

    if (last == NULL)
        return "nothing in the bonus";
    return (size_t)(last->si_value - start) + last->si_len == bonus->db_size
               ? NULL
               : "the bonus is longer than its attributes";
}

const char *
zpl_check_sa(const zpl_attr_ctx_t *ac, uint64_t object, const zpl_attrs_t *at)
{
    const char *what = NULL;
    dmu_buf_t *bonus;
    sa_set_t ss;
    int err;

    if ((err = dmu_bonus_hold(ac->ac_os, object, &bonus)) != 0)
        return cowbird_strerror(err);
    if ((err = zpl_sa_collect(ac, bonus, &ss)) != 0) {
        what = cowbird_strerror(err);
    } else {
        if ((what = check_end(&ss, bonus)) == NULL)
            what = check_values(ac->ac_sa, &ss, at);
        zpl_sa_set_free(&ss);
    }
    dmu_buf_rele(bonus);
    return what;
}

/* The tables: no two layouts the same, each of attributes that there are, none twice. */
static const char *
check_layout(const zpl_sa_t *sa, uint16_t num, const sa_layout_t *sl)
{
    for (int i = 0; i < sl->sl_n; i++) {
        if (sl->sl_attrs[i] >= SA_MAX_ATTRS || !sa->sa_known[sl->sl_attrs[i]])
            return "has an attribute that is not registered";
        for (int k = 0; k < i; k++)
            if (sl->sl_attrs[k] == sl->sl_attrs[i])
                return "has an attribute twice";
    }
    return zpl_sa_find_layout(sa, sl->sl_attrs, sl->sl_n) == num || num < SA_FIRST_LAYOUT ? NULL
                                                                                          : "is there twice";
}

const char *
zpl_check_sa_tables(const zpl_attr_ctx_t *ac, unsigned *layout)
{
    for (*layout = 0; ac->ac_sa != NULL && *layout < SA_MAX_LAYOUTS; (*layout)++) {
        const sa_layout_t *sl = zpl_sa_layout(ac->ac_sa, (uint16_t)*layout);
        const char *what = sl == NULL ? NULL : check_layout(ac->ac_sa, (uint16_t)*layout, sl);
        if (what != NULL)
            return what;
    }
    return NULL;
}
