/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_attr_sa.c - attributes in the variable form of ZPL version 5.
 *
 *     bonus   | header | mode size gen uid gid parent flags times links | rdev | ACL | xattr | symlink | ...
 *                        the words: always here, written in place          what else there is, in the order it came
 *     spill   | header | from the first attribute on that did not fit into the bonus
 *
 *     store:  the words that mask names, in place.   Something new, gone, or of another length: all of the object
 *             is collected, edited and laid out anew, and its layout looked up in the tables (zpl_sa.c).
 *
 * Invariants:
 *   1. Every length and offset is checked against the buffer before use; whatever does not fit is EIO.
 *   2. An attribute is in the bonus or in the spill block, never in both.
 *   3. Changing words moves nothing, and cannot fail: sa_hold() sees to it that they are in the bonus, in our
 *      byte order, and lays an object out anew (in a transaction of its own) where they are not. Buffers are
 *      bytes to everybody else, so what came from a machine of the other byte order still has it: the magic
 *      tells.
 *   4. What sa_hold() found possible is possible in the transaction: the object's z_lock is held from before
 *      to after, its spill block stays in memory with the tx, and its coming layouts are in the tables.
 *   5. Attributes that we do not know are carried along.
 *
 * ZFS: sa_bulk_update(), sa_modify_attrs(), sa_build_layouts() in module/zfs/sa.c; zfs_sa.c
 */
#include "zpl_sa_impl.h"

#define SA_VALUE_MAX (UINT16_MAX & ~7u)

/* ---- one buffer ---- */

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
sa_header(const zpl_sa_t *sa, const dmu_buf_t *db, sa_hdr_t *sh)
{
    uint32_t magic;
    uint16_t info;

    if (db->db_size < sizeof(sa_hdr_phys_t))
        return SET_ERROR(EIO);
    *sh = (sa_hdr_t){.sh_buf = db->db_data, .sh_size = db->db_size};
    memcpy(&magic, db->db_data, sizeof(magic));
    sh->sh_swap = magic == __builtin_bswap32(SA_MAGIC);
    if (magic != SA_MAGIC && !sh->sh_swap)
        return SET_ERROR(EIO);
    info = sa_u16(sh, offsetof(sa_hdr_phys_t, sa_layout_info));
    sh->sh_hdrsize = SA_HDR_SIZE(info);
    sh->sh_layout = zpl_sa_layout(sa, SA_LAYOUT_NUM(info));
    if (sh->sh_hdrsize < sizeof(sa_hdr_phys_t) || sh->sh_hdrsize > sh->sh_size || sh->sh_layout == NULL)
        return SET_ERROR(EIO);
    return 0;
}

/* A walk over the attributes of one buffer. */
typedef struct sa_walk {
    sa_hdr_t sw_hdr;
    int sw_i;      /* of the layout */
    size_t sw_var; /* variable ones so far */
    size_t sw_pos, sw_len;
    uint16_t sw_num; /* this one: number; sw_pos, sw_len its place */
} sa_walk_t;

static int
sa_walk_start(const zpl_sa_t *sa, const dmu_buf_t *db, sa_walk_t *sw)
{
    int err;

    memset(sw, 0, sizeof(*sw));
    if ((err = sa_header(sa, db, &sw->sw_hdr)) == 0)
        sw->sw_pos = sw->sw_hdr.sh_hdrsize;
    return err;
}

/* The next one. ENOENT: there is none. */
static int
sa_walk_next(const zpl_sa_t *sa, sa_walk_t *sw)
{
    const sa_hdr_t *sh = &sw->sw_hdr;
    size_t off = offsetof(sa_hdr_phys_t, sa_lengths) + 2 * sw->sw_var;

    if (sw->sw_i == sh->sh_layout->sl_n)
        return ENOENT;
    sw->sw_pos = P2ROUNDUP(sw->sw_pos + sw->sw_len, (size_t)8);
    sw->sw_num = sh->sh_layout->sl_attrs[sw->sw_i++];
    if (sw->sw_num >= SA_MAX_ATTRS || !__atomic_load_n(&sa->sa_known[sw->sw_num], __ATOMIC_ACQUIRE))
        return SET_ERROR(EIO);
    if ((sw->sw_len = sa->sa_length[sw->sw_num]) == 0) {
        if (off + 2 > sh->sh_hdrsize)
            return SET_ERROR(EIO);
        sw->sw_len = sa_u16(sh, off);
        sw->sw_var++;
    }
    return sw->sw_pos <= sh->sh_size && sw->sw_len <= sh->sh_size - sw->sw_pos ? 0 : SET_ERROR(EIO);
}

/* ---- all attributes of an object ---- */

static int
value_swap(uint8_t class, uint8_t *v, size_t len)
{
    static const dmu_byteswap_t how[] = {
        [SA_UINT64_ARRAY] = DMU_BSWAP_UINT64,
        [SA_UINT32_ARRAY] = DMU_BSWAP_UINT32,
        [SA_UINT16_ARRAY] = DMU_BSWAP_UINT16,
        [SA_UINT8_ARRAY] = DMU_BSWAP_UINT8,
        [SA_ACL] = DMU_BSWAP_ACL,
    };

    if (class >= ARRAY_SIZE(how))
        return SET_ERROR(EIO);
    dmu_byteswap(how[class], v, len);
    return 0;
}

static const sa_item_t *
set_find(const sa_set_t *ss, uint16_t num)
{
    for (int i = 0; i < ss->ss_n; i++)
        if (ss->ss_items[i].si_num == num)
            return &ss->ss_items[i];
    return NULL;
}

const sa_item_t *
zpl_sa_item(const zpl_sa_t *sa, const sa_set_t *ss, sa_attr_t attr)
{
    return zpl_sa_number(sa, attr) < 0 ? NULL : set_find(ss, (uint16_t)zpl_sa_number(sa, attr));
}

static int
set_add_buf(const zpl_sa_t *sa, sa_set_t *ss, const dmu_buf_t *db, uint8_t **copy)
{
    const uint8_t *base = db->db_data;
    sa_walk_t sw;
    int err;

    if ((err = sa_walk_start(sa, db, &sw)) != 0)
        return err;
    if (sw.sw_hdr.sh_swap) {
        ss->ss_swapped = true;
        base = *copy = memcpy(xmalloc(db->db_size), db->db_data, db->db_size);
    }
    while ((err = sa_walk_next(sa, &sw)) == 0) {
        if (ss->ss_n == SA_MAX_IN_LAYOUT - SA_NATTRS || set_find(ss, sw.sw_num) != NULL)
            return SET_ERROR(EIO);
        if (*copy != NULL && (err = value_swap(sa->sa_class[sw.sw_num], *copy + sw.sw_pos, sw.sw_len)) != 0)
            return err;
        ss->ss_items[ss->ss_n++] = (sa_item_t){sw.sw_num, (uint16_t)sw.sw_len, base + sw.sw_pos};
    }
    return err == ENOENT ? 0 : err;
}

int
zpl_sa_collect(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, sa_set_t *ss)
{
    int err;

    ss->ss_n = 0;
    ss->ss_spill = NULL;
    ss->ss_copies[0] = ss->ss_copies[1] = NULL;
    ss->ss_swapped = false;
    err = set_add_buf(ac->ac_sa, ss, bonus, &ss->ss_copies[0]);
    ss->ss_inbonus = ss->ss_n;
    if (err == 0 && (err = dmu_spill_hold(ac->ac_os, bonus->db_object, &ss->ss_spill)) == 0)
        err = set_add_buf(ac->ac_sa, ss, ss->ss_spill, &ss->ss_copies[1]);
    else if (err == ENOENT)
        err = 0;
    if (err != 0)
        zpl_sa_set_free(ss);
    return err;
}

void
zpl_sa_set_free(sa_set_t *ss)
{
    if (ss->ss_spill != NULL)
        dmu_buf_rele(ss->ss_spill);
    free(ss->ss_copies[0]);
    free(ss->ss_copies[1]);
    ss->ss_spill = NULL;
    ss->ss_copies[0] = ss->ss_copies[1] = NULL;
}

static void
set_put(const zpl_sa_t *sa, sa_set_t *ss, sa_attr_t attr, const void *value, size_t len)
{
    uint16_t num = (uint16_t)zpl_sa_number(sa, attr);
    int i = 0;

    VERIFY(zpl_sa_number(sa, attr) >= 0 && len <= UINT16_MAX);
    while (i < ss->ss_n && ss->ss_items[i].si_num != num)
        i++;
    VERIFY(i < SA_MAX_IN_LAYOUT);
    ss->ss_items[i] = (sa_item_t){num, (uint16_t)len, value};
    ss->ss_n = MAX(ss->ss_n, i + 1);
}

static void
set_drop(const zpl_sa_t *sa, sa_set_t *ss, sa_attr_t attr)
{
    const sa_item_t *si = zpl_sa_item(sa, ss, attr);
    int i;

    if (si == NULL)
        return;
    i = (int)(si - ss->ss_items);
    memmove(&ss->ss_items[i], &ss->ss_items[i + 1], (size_t)(ss->ss_n - i - 1) * sizeof(*si));
    ss->ss_n--;
}

/* ---- laying out ---- */

/* What goes into one buffer. */
typedef struct sa_part {
    int sp_first, sp_n;
    size_t sp_hdrsize, sp_size; /* of the header; of everything */
} sa_part_t;

static void
part_measure(const zpl_sa_t *sa, const sa_set_t *ss, int first, int n, sa_part_t *sp)
{
    size_t vars = 0;

    *sp = (sa_part_t){first, n, 0, 0};
    for (int i = first; i < first + n; i++)
        vars += sa->sa_length[ss->ss_items[i].si_num] == 0;
    sp->sp_hdrsize = sizeof(sa_hdr_phys_t) + (vars > 1 ? P2ROUNDUP(2 * (vars - 1), (size_t)8) : 0);
    sp->sp_size = sp->sp_hdrsize;
    for (int i = first; i < first + n; i++)
        sp->sp_size = P2ROUNDUP(sp->sp_size, (size_t)8) + ss->ss_items[i].si_len;
}

/* All in the bonus; or as many as fit beside a spill pointer, and the rest in the spill block. */
static int
sa_split(const zpl_sa_t *sa, const sa_set_t *ss, size_t room, sa_part_t part[2])
{
    int n = ss->ss_n;

    part_measure(sa, ss, 0, n, &part[0]);
    part_measure(sa, ss, n, 0, &part[1]);
    if (part[0].sp_size <= room)
        return 0;
    while (n > 0 && part[0].sp_size > room - sizeof(blkptr_t))
        part_measure(sa, ss, 0, --n, &part[0]);
    part_measure(sa, ss, n, ss->ss_n - n, &part[1]);
    return part[0].sp_size <= room - sizeof(blkptr_t) && part[1].sp_size <= SPA_OLD_MAXBLOCKSIZE
               ? 0
               : SET_ERROR(EFBIG);
}

static void
part_attrs(const sa_set_t *ss, const sa_part_t *sp, uint16_t *attrs)
{
    for (int i = 0; i < sp->sp_n; i++)
        attrs[i] = ss->ss_items[sp->sp_first + i].si_num;
}

/* Open context: the set can be laid out, and its layouts are in the tables. spills: there will be a spill block. */
static int
sa_plan(const zpl_attr_ctx_t *ac, const sa_set_t *ss, size_t room, bool *spills)
{
    uint16_t attrs[SA_MAX_IN_LAYOUT];
    sa_part_t part[2];
    int err = sa_split(ac->ac_sa, ss, room, part);

    for (int i = 0; i < 2 && err == 0; i++) {
        if (i == 1 && part[1].sp_n == 0)
            break;
        part_attrs(ss, &part[i], attrs);
        err = zpl_sa_need_layout(ac->ac_sa, attrs, part[i].sp_n);
    }
    if (err == 0 && part[1].sp_n != 0)
        *spills = true;
    return err;
}

static void
part_write(const zpl_sa_t *sa, const sa_set_t *ss, const sa_part_t *sp, uint16_t layout, uint8_t *buf)
{
    sa_hdr_phys_t *hdr = (sa_hdr_phys_t *)buf;
    uint16_t *lengths = (uint16_t *)(void *)(buf + offsetof(sa_hdr_phys_t, sa_lengths));
    size_t pos = sp->sp_hdrsize;

    hdr->sa_magic = SA_MAGIC;
    hdr->sa_layout_info = SA_HDR_INFO(layout, sp->sp_hdrsize);
    for (int i = sp->sp_first; i < sp->sp_first + sp->sp_n; i++) {
        const sa_item_t *si = &ss->ss_items[i];

        pos = P2ROUNDUP(pos, (size_t)8);
        memcpy(buf + pos, si->si_value, si->si_len);
        pos += si->si_len;
        if (sa->sa_length[si->si_num] == 0)
            *lengths++ = si->si_len;
    }
}

/* In the tx. Only a syncing one may find that a layout is new. */
static uint8_t *
part_image(const zpl_attr_ctx_t *ac, const sa_set_t *ss, const sa_part_t *sp, dmu_tx_t *tx)
{
    uint8_t *buf = xzalloc(sp->sp_size);
    uint16_t attrs[SA_MAX_IN_LAYOUT];
    int layout;

    part_attrs(ss, sp, attrs);
    layout = zpl_sa_find_layout(ac->ac_sa, attrs, sp->sp_n);
    if (layout < 0) {
        VERIFY(dmu_tx_is_syncing(tx));
        VERIFY0(zpl_sa_add_layout(ac->ac_sa, attrs, sp->sp_n, tx));
        layout = zpl_sa_find_layout(ac->ac_sa, attrs, sp->sp_n);
    }
    part_write(ac->ac_sa, ss, sp, (uint16_t)layout, buf);
    return buf;
}

/* The object has these attributes from now on. Their values may lie in what is overwritten. */
static void
sa_rewrite(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, const sa_set_t *ss, dmu_tx_t *tx)
{
    uint64_t object = bonus->db_object;
    uint8_t *image[2] = {NULL, NULL};
    dmu_object_info_t doi;
    sa_part_t part[2];
    dmu_buf_t *spill;

    VERIFY0(dmu_object_info(ac->ac_os, object, &doi));
    VERIFY0(sa_split(ac->ac_sa, ss, doi.doi_bonus_max, part));
    image[0] = part_image(ac, ss, &part[0], tx);
    if (part[1].sp_n != 0)
        image[1] = part_image(ac, ss, &part[1], tx);
    else if (doi.doi_has_spill)
        VERIFY0(dmu_spill_remove(ac->ac_os, object, tx));
    VERIFY0(dmu_set_bonus(bonus, (uint16_t)part[0].sp_size, DMU_OT_SA, tx));
    memcpy(bonus->db_data, image[0], part[0].sp_size);
    if (image[1] != NULL) {
        VERIFY0(dmu_spill_create(ac->ac_os, object, (uint32_t)part[1].sp_size, tx, &spill));
        memcpy(spill->db_data, image[1], part[1].sp_size);
        dmu_buf_rele(spill);
    }
    free(image[0]);
    free(image[1]);
}

/* ---- the words ---- */

static const struct {
    size_t off; /* in zpl_attrs_t */
    bool time, needed;
} words[SA_WORDS] = {
    [SA_ATIME] = {offsetof(zpl_attrs_t, za_atime), true, true},
    [SA_MTIME] = {offsetof(zpl_attrs_t, za_mtime), true, true},
    [SA_CTIME] = {offsetof(zpl_attrs_t, za_ctime), true, true},
    [SA_CRTIME] = {offsetof(zpl_attrs_t, za_crtime), true, true},
    [SA_GEN] = {offsetof(zpl_attrs_t, za_gen), false, true},
    [SA_MODE] = {0, false, true}, /* a smaller word: by hand */
    [SA_SIZE] = {offsetof(zpl_attrs_t, za_size), false, true},
    [SA_PARENT] = {offsetof(zpl_attrs_t, za_parent), false, true},
    [SA_LINKS] = {offsetof(zpl_attrs_t, za_links), false, true},
    [SA_XATTR] = {offsetof(zpl_attrs_t, za_xattr), false, false},
    [SA_RDEV] = {offsetof(zpl_attrs_t, za_rdev), false, false},
    [SA_FLAGS] = {offsetof(zpl_attrs_t, za_flags), false, false},
    [SA_UID] = {offsetof(zpl_attrs_t, za_uid), false, true},
    [SA_GID] = {offsetof(zpl_attrs_t, za_gid), false, true},
};
#define ZA_BIT(attr)   (1u << (attr))
#define ZA_OPTIONAL    (ZA_XATTR | ZA_RDEV) /* in some objects only */
#define SA_WORD_LEN(a) (words[a].time ? sizeof(uint64_t[2]) : sizeof(uint64_t))
_Static_assert(ZA_BIT(SA_ATIME) == ZA_ATIME && ZA_BIT(SA_XATTR) == ZA_XATTR && ZA_BIT(SA_GID) == ZA_GID,
               "sa_attr_t has the order of ZA_*");

static void
word_get(zpl_attrs_t *at, sa_attr_t attr, const uint64_t v[2])
{
    uint8_t *to = (uint8_t *)at + words[attr].off;

    if (attr == SA_MODE)
        at->za_mode = (uint32_t)v[0];
    else if (words[attr].time)
        *(struct timespec *)(void *)to = (struct timespec){(time_t)v[0], v[1] < 1000000000 ? (long)v[1] : 0};
    else
        *(uint64_t *)(void *)to = v[0];
}

static void
word_put(const zpl_attrs_t *at, sa_attr_t attr, uint64_t v[2])
{
    const uint8_t *from = (const uint8_t *)at + words[attr].off;
    struct timespec ts;

    if (attr == SA_MODE)
        v[0] = at->za_mode;
    else if (words[attr].time) {
        memcpy(&ts, from, sizeof(ts));
        v[0] = (uint64_t)ts.tv_sec;
        v[1] = (uint64_t)ts.tv_nsec;
    } else
        memcpy(&v[0], from, sizeof(v[0]));
}

/* Which word a number is; SA_WORDS: none. */
static sa_attr_t
word_of(const zpl_sa_t *sa, uint16_t num)
{
    int a = 0;

    while (a < SA_WORDS && zpl_sa_number(sa, (sa_attr_t)a) != num)
        a++;
    return (sa_attr_t)a;
}

/* Reads the words of one buffer: their bits. */
static int
words_load(const zpl_sa_t *sa, const dmu_buf_t *db, zpl_attrs_t *at, unsigned *seen)
{
    sa_walk_t sw;
    int err = sa_walk_start(sa, db, &sw);

    while (err == 0 && (err = sa_walk_next(sa, &sw)) == 0) {
        sa_attr_t a = word_of(sa, sw.sw_num);
        uint64_t v[2] = {0, 0};

        if (a == SA_WORDS || (*seen & ZA_BIT(a)))
            continue;
        memcpy(v, sw.sw_hdr.sh_buf + sw.sw_pos, MIN(sw.sw_len, sizeof(v)));
        if (sw.sw_hdr.sh_swap)
            (void)value_swap(SA_UINT64_ARRAY, (uint8_t *)v, sizeof(v));
        word_get(at, a, v);
        *seen |= ZA_BIT(a);
    }
    return err == ENOENT ? 0 : err;
}

static unsigned
words_needed(void)
{
    unsigned mask = 0;

    for (int a = 0; a < SA_WORDS; a++)
        if (words[a].needed)
            mask |= ZA_BIT(a);
    return mask;
}

static int
sa_load(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, zpl_attrs_t *at)
{
    unsigned seen = 0, needed = words_needed();
    dmu_buf_t *spill;
    int err = words_load(ac->ac_sa, bonus, at, &seen);

    if (err != 0 || (seen & (ZA_XATTR | needed)) == (ZA_XATTR | needed))
        return err;
    /* An xattr directory may be named by the spill block; other words only where a strange writer put them. */
    if ((err = dmu_spill_hold(ac->ac_os, bonus->db_object, &spill)) == 0) {
        err = words_load(ac->ac_sa, spill, at, &seen);
        dmu_buf_rele(spill);
    }
    if (err != 0 && err != ENOENT)
        return err;
    return (seen & needed) == needed ? 0 : SET_ERROR(EIO);
}

/* ---- changing ---- */

/* Where in the bonus the words and the ACL lie. 0: not there. */
typedef struct sa_places {
    size_t pl_word[SA_WORDS], pl_count, pl_aces, pl_aces_len;
    bool pl_swap;
} sa_places_t;

static int
sa_places(const zpl_sa_t *sa, const dmu_buf_t *bonus, sa_places_t *pl)
{
    sa_walk_t sw;
    int err = sa_walk_start(sa, bonus, &sw);

    memset(pl, 0, sizeof(*pl));
    if (err != 0)
        return err;
    pl->pl_swap = sw.sw_hdr.sh_swap;
    while ((err = sa_walk_next(sa, &sw)) == 0) {
        sa_attr_t a = word_of(sa, sw.sw_num);

        if (a != SA_WORDS)
            pl->pl_word[a] = sw.sw_pos;
        else if (sw.sw_num == zpl_sa_number(sa, SA_DACL_COUNT))
            pl->pl_count = sw.sw_pos;
        else if (sw.sw_num == zpl_sa_number(sa, SA_DACL_ACES)) {
            pl->pl_aces = sw.sw_pos;
            pl->pl_aces_len = sw.sw_len;
        }
    }
    return err == ENOENT ? 0 : err;
}

/* Invariant 3. */
static bool
sa_is_normal(const sa_places_t *pl)
{
    for (int a = 0; a < SA_WORDS; a++)
        if (pl->pl_word[a] == 0 && !(ZA_BIT(a) & ZA_OPTIONAL))
            return false;
    return !pl->pl_swap;
}

/* The order in which a new object's attributes lie. */
static const sa_attr_t new_order[] = {SA_MODE,  SA_SIZE,  SA_GEN,   SA_UID,   SA_GID,    SA_PARENT,
                                      SA_FLAGS, SA_ATIME, SA_MTIME, SA_CTIME, SA_CRTIME, SA_LINKS};

/* The words first, as new objects have them; the rest as it was. */
static void
set_normalize(const zpl_sa_t *sa, sa_set_t *ss)
{
    static const uint64_t none[1] = {0};
    sa_set_t old = *ss;

    ss->ss_n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(new_order); i++) {
        const sa_item_t *si = zpl_sa_item(sa, &old, new_order[i]);

        if (si != NULL)
            set_put(sa, ss, new_order[i], si->si_value, si->si_len);
        else /* only the flags may be absent */
            set_put(sa, ss, new_order[i], none, sizeof(none));
    }
    for (int i = 0; i < old.ss_n; i++)
        if (set_find(ss, old.ss_items[i].si_num) == NULL && ss->ss_n < SA_MAX_IN_LAYOUT)
            ss->ss_items[ss->ss_n++] = old.ss_items[i];
}

static int
normalize_tx(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, const sa_set_t *ss)
{
    dmu_tx_t *tx = dmu_tx_create(ac->ac_os);
    int err;

    dmu_tx_hold_spill(tx, bonus->db_object);
    dmu_tx_mark_netfree(tx);
    if ((err = zpl_tx_assign(tx)) != 0)
        return err;
    sa_rewrite(ac, bonus, ss, tx);
    dmu_tx_commit(tx);
    return 0;
}

static int
sa_normalize(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus)
{
    dmu_object_info_t doi;
    bool spills = false;
    sa_places_t pl;
    sa_set_t ss;
    int err;

    if ((err = sa_places(ac->ac_sa, bonus, &pl)) != 0 || sa_is_normal(&pl))
        return err;
    if ((err = zpl_sa_need_attr(ac->ac_sa, SA_FLAGS)) != 0 ||
        (err = dmu_object_info(ac->ac_os, bonus->db_object, &doi)) != 0 ||
        (err = zpl_sa_collect(ac, bonus, &ss)) != 0)
        return err;
    set_normalize(ac->ac_sa, &ss);
    if ((err = sa_plan(ac, &ss, doi.doi_bonus_max, &spills)) == 0)
        err = normalize_tx(ac, bonus, &ss);
    zpl_sa_set_free(&ss);
    return err;
}

/* The ACL that goes with a mode, in place of whatever there was. */
typedef struct sa_acl {
    zfs_acl_phys_t sa_phys;
    uint64_t sa_count;
} sa_acl_t;

static void
acl_make(uint32_t mode, sa_acl_t *acl)
{
    zpl_acl_trivial(&acl->sa_phys, mode);
    acl->sa_count = acl->sa_phys.z_acl_count;
}

static void
set_put_acl(const zpl_sa_t *sa, sa_set_t *ss, const sa_acl_t *acl)
{
    set_drop(sa, ss, SA_ZNODE_ACL);
    set_put(sa, ss, SA_DACL_COUNT, &acl->sa_count, sizeof(acl->sa_count));
    set_put(sa, ss, SA_DACL_ACES, acl->sa_phys.z_ace_data, acl->sa_phys.z_acl_size);
}

/* An ACL kept in an object of its own, by those who turned a version 4 file into one of version 5. */
static uint64_t
set_acl_object(const zpl_attr_ctx_t *ac, const sa_set_t *ss)
{
    const sa_item_t *si = zpl_sa_item(ac->ac_sa, ss, SA_ZNODE_ACL);
    dmu_object_info_t doi;
    uint64_t object = 0;

    if (si != NULL)
        memcpy(&object, si->si_value, sizeof(object));
    if (object == 0 || dmu_object_info(ac->ac_os, object, &doi) != 0 ||
        (doi.doi_type != DMU_OT_ACL && doi.doi_type != DMU_OT_OLDACL))
        return 0;
    return object;
}

/* The edit that mask means, for whatever mode and directory there will be: are all its outcomes possible? */
static int
plan_edit(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, sa_set_t *ss, unsigned mask, dmu_tx_t *tx)
{
    static const uint8_t zeros[ZFS_ACL_INLINE_BYTES];
    dmu_object_info_t doi;
    bool spills = false;
    uint64_t acl_object;
    int err;

    if ((err = dmu_object_info(ac->ac_os, bonus->db_object, &doi)) != 0)
        return err;
    spills = doi.doi_has_spill;
    if ((mask & ZA_XATTR) && (err = zpl_sa_need_attr(ac->ac_sa, SA_XATTR)) == 0) {
        set_put(ac->ac_sa, ss, SA_XATTR, zeros, sizeof(uint64_t));
        err = sa_plan(ac, ss, doi.doi_bonus_max, &spills);
    }
    if (err == 0 && (mask & ZA_MODE) && (err = zpl_sa_need_attr(ac->ac_sa, SA_DACL_COUNT)) == 0 &&
        (err = zpl_sa_need_attr(ac->ac_sa, SA_DACL_ACES)) == 0) {
        if ((acl_object = set_acl_object(ac, ss)) != 0)
            dmu_tx_hold_free(tx, acl_object, 0, DMU_OBJECT_END);
        for (uint32_t n = 3; n <= 6 && err == 0; n++) {
            sa_acl_t acl = {.sa_count = n, .sa_phys = {.z_acl_size = n * (uint32_t)sizeof(zfs_ace_hdr_t)}};
            set_put_acl(ac->ac_sa, ss, &acl);
            err = sa_plan(ac, ss, doi.doi_bonus_max, &spills);
        }
    }
    if (err == 0 && spills)
        dmu_tx_hold_spill(tx, bonus->db_object);
    return err;
}

static void
sa_hold(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, unsigned mask, dmu_tx_t *tx)
{
    sa_places_t pl;
    sa_set_t ss;
    int err = sa_normalize(ac, bonus);

    dmu_tx_hold_bonus(tx, bonus->db_object);
    if (err == 0)
        err = sa_places(ac->ac_sa, bonus, &pl);
    if (err == 0 && ((mask & ZA_MODE) || ((mask & ZA_XATTR) && pl.pl_word[SA_XATTR] == 0)) &&
        (err = zpl_sa_collect(ac, bonus, &ss)) == 0) {
        err = plan_edit(ac, bonus, &ss, mask, tx);
        zpl_sa_set_free(&ss);
    }
    if (err != 0)
        dmu_tx_hold_error(tx, err);
}

/* Words, and the ACL when it has the old one's length. False: it has not, or something is not there. */
static bool
store_in_place(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, const zpl_attrs_t *at, unsigned mask,
               const sa_acl_t *acl, dmu_tx_t *tx)
{
    sa_places_t pl;
    uint64_t v[2];

    VERIFY0(sa_places(ac->ac_sa, bonus, &pl));
    if ((mask & ZA_MODE) &&
        (pl.pl_count == 0 || pl.pl_aces == 0 || pl.pl_aces_len != acl->sa_phys.z_acl_size))
        return false;
    for (int a = 0; a < SA_WORDS; a++)
        if ((mask & ZA_BIT(a)) && pl.pl_word[a] == 0)
            return false;
    dmu_buf_will_dirty(bonus, tx);
    uint8_t *data = bonus->db_data;
    for (int a = 0; a < SA_WORDS; a++) {
        if (!(mask & ZA_BIT(a)))
            continue;
        word_put(at, (sa_attr_t)a, v);
        memcpy(data + pl.pl_word[a], v, SA_WORD_LEN(a));
    }
    if (mask & ZA_MODE) {
        memcpy(data + pl.pl_count, &acl->sa_count, sizeof(acl->sa_count));
        memcpy(data + pl.pl_aces, acl->sa_phys.z_ace_data, acl->sa_phys.z_acl_size);
    }
    return true;
}

static void
store_anew(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, const zpl_attrs_t *at, unsigned mask,
           const sa_acl_t *acl, dmu_tx_t *tx)
{
    uint64_t v[SA_WORDS][2], acl_object = 0;
    sa_set_t ss;

    VERIFY0(zpl_sa_collect(ac, bonus, &ss));
    for (int a = 0; a < SA_WORDS; a++) {
        if (!(mask & ZA_BIT(a)))
            continue;
        word_put(at, (sa_attr_t)a, v[a]);
        set_put(ac->ac_sa, &ss, (sa_attr_t)a, v[a], SA_WORD_LEN(a));
    }
    if (mask & ZA_MODE) {
        acl_object = set_acl_object(ac, &ss);
        set_put_acl(ac->ac_sa, &ss, acl);
    }
    sa_rewrite(ac, bonus, &ss, tx);
    zpl_sa_set_free(&ss);
    if (acl_object != 0)
        (void)dmu_object_free(ac->ac_os, acl_object, tx);
}

static void
sa_store(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, const zpl_attrs_t *at, unsigned mask, dmu_tx_t *tx)
{
    sa_acl_t acl = {.sa_count = 0};

    mask &= ~ZA_RDEV; /* never changes */
    if (mask & ZA_MODE)
        acl_make(at->za_mode, &acl);
    if (!store_in_place(ac, bonus, at, mask, &acl, tx))
        store_anew(ac, bonus, at, mask, &acl, tx);
}

/* ---- new objects ---- */

/* The attributes of a new object; the storage for them is the caller's. */
typedef struct sa_new {
    sa_set_t sn_set;
    uint64_t sn_words[SA_WORDS][2];
    sa_acl_t sn_acl;
} sa_new_t;

static void
new_word(const zpl_sa_t *sa, sa_new_t *sn, const zpl_attrs_t *at, sa_attr_t attr)
{
    word_put(at, attr, sn->sn_words[attr]);
    set_put(sa, &sn->sn_set, attr, sn->sn_words[attr], SA_WORD_LEN(attr));
}

static void
new_set(const zpl_sa_t *sa, const zpl_newnode_t *nn, const zpl_attrs_t *at, sa_new_t *sn)
{
    sn->sn_set.ss_n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(new_order); i++)
        new_word(sa, sn, at, new_order[i]);
    if (S_ISCHR(nn->nn_mode) || S_ISBLK(nn->nn_mode))
        new_word(sa, sn, at, SA_RDEV);
    acl_make(nn->nn_mode, &sn->sn_acl);
    set_put_acl(sa, &sn->sn_set, &sn->sn_acl);
    if (S_ISLNK(nn->nn_mode))
        set_put(sa, &sn->sn_set, SA_SYMLINK, nn->nn_data, nn->nn_len);
}

static int
need_new_attrs(zpl_sa_t *sa)
{
    static const sa_attr_t more[] = {SA_RDEV, SA_DACL_COUNT, SA_DACL_ACES, SA_SYMLINK};
    int err = 0;

    for (size_t i = 0; i < ARRAY_SIZE(new_order) && err == 0; i++)
        err = zpl_sa_need_attr(sa, new_order[i]);
    for (size_t i = 0; i < ARRAY_SIZE(more) && err == 0; i++)
        err = zpl_sa_need_attr(sa, more[i]);
    return err;
}

static void
sa_hold_new(const zpl_attr_ctx_t *ac, const zpl_newnode_t *nn, dmu_tx_t *tx)
{
    zpl_attrs_t at = {.za_mode = nn->nn_mode};
    bool spills = false;
    sa_new_t sn;
    int err = need_new_attrs(ac->ac_sa);

    if (err == 0) {
        new_set(ac->ac_sa, nn, &at, &sn);
        err = sa_plan(ac, &sn.sn_set, DN_BONUS_SIZE(1), &spills);
    }
    if (err != 0)
        dmu_tx_hold_error(tx, err);
    else if (spills)
        dmu_tx_hold_spill(tx, DMU_NEW_OBJECT);
    else
        dmu_tx_hold_bonus(tx, DMU_NEW_OBJECT);
}

static void
sa_init(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, const zpl_newnode_t *nn, const zpl_attrs_t *at,
        dmu_tx_t *tx)
{
    sa_new_t sn;

    new_set(ac->ac_sa, nn, at, &sn);
    sa_rewrite(ac, bonus, &sn.sn_set, tx);
}

static bool
sa_holds_text(const zpl_newnode_t *nn)
{
    return S_ISLNK(nn->nn_mode);
}

/* ---- values of any length ---- */

/* Copies up to n bytes of an attribute out of one buffer. */
static int
value_copy(const zpl_sa_t *sa, const dmu_buf_t *db, uint16_t num, void *buf, size_t n, size_t *len)
{
    sa_walk_t sw;
    int err = sa_walk_start(sa, db, &sw);

    while (err == 0 && (err = sa_walk_next(sa, &sw)) == 0) {
        if (sw.sw_num != num)
            continue;
        *len = sw.sw_len;
        memcpy(buf, sw.sw_hdr.sh_buf + sw.sw_pos, MIN(n, sw.sw_len));
        return 0;
    }
    return err;
}

/* From the bonus or the spill block; *len its length. ENOENT: absent. */
static int
value_get(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, sa_attr_t attr, void *buf, size_t n, size_t *len)
{
    int32_t num = zpl_sa_number(ac->ac_sa, attr);
    dmu_buf_t *spill;
    int err;

    if (num < 0)
        return ENOENT;
    err = value_copy(ac->ac_sa, bonus, (uint16_t)num, buf, n, len);
    if (err != ENOENT || (err = dmu_spill_hold(ac->ac_os, bonus->db_object, &spill)) != 0)
        return err;
    err = value_copy(ac->ac_sa, spill, (uint16_t)num, buf, n, len);
    dmu_buf_rele(spill);
    return err;
}

static int
sa_symlink(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, const zpl_attrs_t *at, char *buf, size_t n,
           size_t *len)
{
    int err = value_get(ac, bonus, SA_SYMLINK, buf, n, len);

    return err == ENOENT ? SET_ERROR(EIO) : err;
}

const zpl_attr_ops_t zpl_sa_ops = {
    .ao_bonustype = DMU_OT_SA,
    .ao_bonuslen = sizeof(sa_hdr_phys_t),
    .ao_load = sa_load,
    .ao_hold = sa_hold,
    .ao_store = sa_store,
    .ao_holds_text = sa_holds_text,
    .ao_hold_new = sa_hold_new,
    .ao_init = sa_init,
    .ao_symlink = sa_symlink,
};

/* ---- extended attributes in SA form ---- */

int
zpl_sa_dxattr(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, void **buf, size_t *len)
{
    int err;

    *buf = xmalloc(UINT16_MAX);
    err = value_get(ac, bonus, SA_DXATTR, *buf, UINT16_MAX, len);
    if (err != 0 || *len == 0) {
        free(*buf);
        *buf = NULL;
    }
    return err == ENOENT ? 0 : err;
}

static void
set_put_dxattr(const zpl_sa_t *sa, sa_set_t *ss, const void *buf, size_t len)
{
    if (len != 0)
        set_put(sa, ss, SA_DXATTR, buf, len);
    else
        set_drop(sa, ss, SA_DXATTR);
}

int
zpl_sa_dxattr_hold(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, const void *buf, size_t len, dmu_tx_t *tx)
{
    dmu_object_info_t doi;
    bool spills;
    sa_set_t ss;
    int err;

    if (len > SA_VALUE_MAX)
        return EFBIG;
    if ((err = zpl_sa_need_attr(ac->ac_sa, SA_DXATTR)) != 0 || (err = sa_normalize(ac, bonus)) != 0 ||
        (err = dmu_object_info(ac->ac_os, bonus->db_object, &doi)) != 0 ||
        (err = zpl_sa_collect(ac, bonus, &ss)) != 0)
        return err;
    set_put_dxattr(ac->ac_sa, &ss, buf, len);
    spills = doi.doi_has_spill;
    if ((err = sa_plan(ac, &ss, doi.doi_bonus_max, &spills)) == 0) {
        if (spills)
            dmu_tx_hold_spill(tx, bonus->db_object);
        else
            dmu_tx_hold_bonus(tx, bonus->db_object);
    }
    zpl_sa_set_free(&ss);
    return err;
}

void
zpl_sa_dxattr_store(const zpl_attr_ctx_t *ac, dmu_buf_t *bonus, const void *buf, size_t len, dmu_tx_t *tx)
{
    sa_set_t ss;

    VERIFY0(zpl_sa_collect(ac, bonus, &ss));
    set_put_dxattr(ac->ac_sa, &ss, buf, len);
    sa_rewrite(ac, bonus, &ss, tx);
    zpl_sa_set_free(&ss);
}
