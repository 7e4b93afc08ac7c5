/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zap_micro.c - the small ZAP: one block of 64-byte entries in no order.
 *
 * Without help each call would look at every entry. So a writer, a cursor, and a reader of a large block make an index (in dn_user):
 *
 *     sorted by (hash, cd):   | h 3 cd 0 slot 7 | h 9 cd 0 slot 2 | h 9 cd 1 slot 5 | ...       12 bytes each
 *
 * Finding is a binary search, adding moves what is behind (at most 24 KiB), and it is the order of iteration. It lives as long as
 * the dnode stays in memory.
 *
 * INVARIANTS
 *  1. The index holds each used slot once, and agrees with block 0.
 *  2. (hash, cd) is unique in the index. On disk it should be: a second one that a damaged block holds gets a higher cd here.
 *
 * The block grows by 512 bytes up to 128 KiB; then, or when a name or value does not fit into 64 bytes, mzap_upgrade().
 * ZFS: zap_micro.c (an AVL tree or B-tree in memory, rebuilt at each open)
 */
#include <syslog.h>
#include "zap_impl.h"

typedef struct mzap_place {
    uint32_t mp_hash; /* the top 28 bits of the hash */
    uint32_t mp_cd;
    uint32_t mp_slot;
} mzap_place_t;

typedef struct mzap_index {
    uint32_t mi_count, mi_room;
    uint32_t mi_hint; /* no slot below it is free */
    mzap_place_t *mi_place;
} mzap_index_t;

#define MZAP_HASHBITS 28

static mzap_phys_t *
mzap_phys(const zap_t *zap)
{
    return zap->zap_db->db.db_data;
}

static uint32_t
mzap_slots(const zap_t *zap)
{
    return MZAP_SLOTS(zap->zap_db->db.db_size);
}

/* An entry's name may lack its NUL on a damaged disk. */
static bool
slot_is(const mzap_ent_phys_t *e, const zap_name_t *zn)
{
    return e->mze_name[0] == zn->zn_name[0] && memcmp(e->mze_name, zn->zn_name, zn->zn_len) == 0;
}

static size_t
slot_name(const mzap_ent_phys_t *e, char *name)
{
    size_t n = strnlen(e->mze_name, MZAP_NAME_LEN - 1);
    memcpy(name, e->mze_name, n);
    name[n] = 0;
    return n;
}

void
mzap_format(void *block, size_t size, uint64_t salt, uint64_t normflags)
{
    mzap_phys_t *mz = block;
    memset(mz, 0, size);
    mz->mz_block_type = ZBT_MICRO;
    mz->mz_salt = salt;
    mz->mz_normflags = normflags;
}

/* ---- the index ---- */

static void
index_free(void *arg)
{
    mzap_index_t *mi = arg;
    if (mi != NULL)
        free(mi->mi_place);
    free(mi);
}

void
mzap_drop_index(dnode_t *dn)
{
    index_free(dn->dn_user);
    dn->dn_user = NULL;
    dn->dn_user_free = NULL;
}

bool
mzap_has_index(zap_t *zap)
{
    return zap->zap_dn->dn_user != NULL;
}

static int
place_cmp(const void *a, const void *b)
{
    const mzap_place_t *x = a, *y = b;
    return x->mp_hash != y->mp_hash ? AVL_CMP(x->mp_hash, y->mp_hash)
           : x->mp_cd != y->mp_cd   ? AVL_CMP(x->mp_cd, y->mp_cd)
                                    : AVL_CMP(x->mp_slot, y->mp_slot);
}

/* The position of the first place not before (hash, cd). */
static uint32_t
index_find(const mzap_index_t *mi, uint32_t hash, uint32_t cd)
{
    uint32_t lo = 0, hi = mi->mi_count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        const mzap_place_t *p = &mi->mi_place[mid];
        if (p->mp_hash < hash || (p->mp_hash == hash && p->mp_cd < cd))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void
index_reserve(mzap_index_t *mi, uint32_t n)
{
    if (n <= mi->mi_room)
        return;
    mi->mi_room = MAX(n, 2 * mi->mi_room);
    mi->mi_place = xrealloc(mi->mi_place, mi->mi_room * sizeof(mzap_place_t));
}

static void
index_insert(mzap_index_t *mi, uint32_t at, mzap_place_t place)
{
    index_reserve(mi, mi->mi_count + 1);
    memmove(&mi->mi_place[at + 1], &mi->mi_place[at], (mi->mi_count - at) * sizeof(mzap_place_t));
    mi->mi_place[at] = place;
    mi->mi_count++;
}

/* Invariant 2: distinct cds, and none at the very end so that a cursor can always step past it. */
static void
index_make_unique(mzap_index_t *mi)
{
    for (uint32_t i = 1; i < mi->mi_count; i++) {
        mzap_place_t *prev = &mi->mi_place[i - 1], *p = &mi->mi_place[i];
        if (p->mp_hash == prev->mp_hash && p->mp_cd <= prev->mp_cd)
            p->mp_cd = prev->mp_cd + (prev->mp_cd != UINT32_MAX);
    }
}

void
mzap_build_index(zap_t *zap)
{
    mzap_phys_t *mz = mzap_phys(zap);
    mzap_index_t *mi = xzalloc(sizeof(*mi));
    uint32_t slots = mzap_slots(zap);
    char name[MZAP_NAME_LEN];
    index_reserve(mi, MAX(slots, 16));
    mi->mi_hint = slots;
    for (uint32_t s = 0; s < slots; s++) {
        const mzap_ent_phys_t *e = &mz->mz_ent[s];
        if (e->mze_name[0] == 0) {
            mi->mi_hint = MIN(mi->mi_hint, s);
            continue;
        }
        slot_name(e, name);
        zap_name_t zn;
        VERIFY0(zap_name_init(zap, &zn, name));
        mi->mi_place[mi->mi_count++] =
            (mzap_place_t){(uint32_t)(zn.zn_hash >> (64 - MZAP_HASHBITS)), e->mze_cd, s};
    }
    qsort(mi->mi_place, mi->mi_count, sizeof(mzap_place_t), place_cmp);
    index_make_unique(mi);
    mzap_drop_index(zap->zap_dn);
    zap->zap_dn->dn_user = mi;
    zap->zap_dn->dn_user_free = index_free;
}

static mzap_index_t *
mzap_index(zap_t *zap)
{
    if (!mzap_has_index(zap))
        mzap_build_index(zap);
    return zap->zap_dn->dn_user;
}

/* Position of the name in the index; mi_count: not there. */
static uint32_t
index_lookup(const zap_t *zap, const mzap_index_t *mi, const zap_name_t *zn)
{
    uint32_t hash = (uint32_t)(zn->zn_hash >> (64 - MZAP_HASHBITS));
    for (uint32_t i = index_find(mi, hash, 0); i < mi->mi_count && mi->mi_place[i].mp_hash == hash; i++) {
        uint32_t slot = mi->mi_place[i].mp_slot;
        if (slot < mzap_slots(zap) && slot_is(&mzap_phys(zap)->mz_ent[slot], zn))
            return i;
    }
    return mi->mi_count;
}

/* ---- the calls ---- */

static int
scan_lookup(const zap_t *zap, const zap_name_t *zn, uint64_t *value)
{
    const mzap_phys_t *mz = mzap_phys(zap);
    for (uint32_t s = 0; s < mzap_slots(zap); s++) {
        if (!slot_is(&mz->mz_ent[s], zn))
            continue;
        *value = mz->mz_ent[s].mze_value;
        return 0;
    }
    return ENOENT;
}

int
mzap_lookup(zap_t *zap, const zap_name_t *zn, uint64_t *value)
{
    if (zn->zn_len > MZAP_NAME_LEN || zn->zn_len <= 1)
        return ENOENT;
    if (!mzap_has_index(zap))
        return scan_lookup(zap, zn, value);
    mzap_index_t *mi = mzap_index(zap);
    uint32_t i = index_lookup(zap, mi, zn);
    if (i == mi->mi_count)
        return ENOENT;
    *value = mzap_phys(zap)->mz_ent[mi->mi_place[i].mp_slot].mze_value;
    return 0;
}

uint64_t
mzap_count(zap_t *zap)
{
    uint64_t n = 0;
    if (mzap_has_index(zap))
        return mzap_index(zap)->mi_count;
    for (uint32_t s = 0; s < mzap_slots(zap); s++)
        n += mzap_phys(zap)->mz_ent[s].mze_name[0] != 0;
    return n;
}

/* One sector more, or EFBIG. Block 0 is let go of meanwhile: its size changes. */
static int
mzap_grow(zap_t *zap, dmu_tx_t *tx)
{
    uint64_t size = zap->zap_db->db.db_size + SPA_MINBLOCKSIZE;
    uint64_t object = zap->zap_dn->dn_object;
    dbuf_t *db;
    if (size > MZAP_MAX_BLKSZ)
        return EFBIG;
    dbuf_rele(zap->zap_db);
    zap->zap_db = NULL;
    int err = dmu_object_set_blocksize(zap->zap_os, object, (uint32_t)size, tx);
    int err2 = dbuf_hold(zap->zap_dn, 0, true, &db);
    if (err2 == 0)
        zap->zap_db = db;
    if (err == 0)
        err = err2;
    return err == 0 && db->db.db_size != size ? SET_ERROR(EIO) : err;
}

static int
free_slot(zap_t *zap, mzap_index_t *mi, dmu_tx_t *tx, uint32_t *slot)
{
    const mzap_phys_t *mz = mzap_phys(zap);
    uint32_t n = mzap_slots(zap);
    for (uint32_t s = mi->mi_hint; s < n; s++) {
        if (mz->mz_ent[s].mze_name[0] == 0) {
            *slot = s;
            return 0;
        }
    }
    mi->mi_hint = n;
    *slot = n; /* the first of the new sector */
    return mzap_grow(zap, tx);
}

/* Among equal hashes, the lowest unused cd; *at: where it belongs in the index. */
static uint32_t
free_cd(const mzap_index_t *mi, uint32_t hash, uint32_t *at)
{
    uint32_t cd = 0, i = index_find(mi, hash, 0);
    while (i < mi->mi_count && mi->mi_place[i].mp_hash == hash && mi->mi_place[i].mp_cd == cd) {
        cd++;
        i++;
    }
    *at = i;
    return cd;
}

int
mzap_add(zap_t *zap, const zap_name_t *zn, uint64_t value, dmu_tx_t *tx)
{
    uint32_t slot, at;
    if (zn->zn_len > MZAP_NAME_LEN)
        return EFBIG;
    mzap_index_t *mi = mzap_index(zap);
    int err = free_slot(zap, mi, tx, &slot);
    if (err != 0)
        return err;
    uint32_t hash = (uint32_t)(zn->zn_hash >> (64 - MZAP_HASHBITS)), cd = free_cd(mi, hash, &at);
    dmu_buf_will_dirty(&zap->zap_db->db, tx);
    mzap_ent_phys_t *e = &mzap_phys(zap)->mz_ent[slot];
    memset(e, 0, sizeof(*e));
    e->mze_value = value;
    e->mze_cd = cd;
    memcpy(e->mze_name, zn->zn_name, zn->zn_len);
    mi->mi_hint = slot + 1;
    index_insert(mi, at, (mzap_place_t){hash, cd, slot});
    return 0;
}

int
mzap_update(zap_t *zap, const zap_name_t *zn, uint64_t value, dmu_tx_t *tx)
{
    mzap_index_t *mi = mzap_index(zap);
    uint32_t i = zn->zn_len > MZAP_NAME_LEN ? mi->mi_count : index_lookup(zap, mi, zn);
    if (i == mi->mi_count)
        return ENOENT;
    dmu_buf_will_dirty(&zap->zap_db->db, tx);
    mzap_phys(zap)->mz_ent[mi->mi_place[i].mp_slot].mze_value = value;
    return 0;
}

int
mzap_remove(zap_t *zap, const zap_name_t *zn, dmu_tx_t *tx)
{
    mzap_index_t *mi = mzap_index(zap);
    uint32_t i = zn->zn_len > MZAP_NAME_LEN ? mi->mi_count : index_lookup(zap, mi, zn);
    if (i == mi->mi_count)
        return ENOENT;
    uint32_t slot = mi->mi_place[i].mp_slot;
    dmu_buf_will_dirty(&zap->zap_db->db, tx);
    memset(&mzap_phys(zap)->mz_ent[slot], 0, MZAP_ENT_LEN);
    mi->mi_hint = MIN(mi->mi_hint, slot);
    mi->mi_count--;
    memmove(&mi->mi_place[i], &mi->mi_place[i + 1], (mi->mi_count - i) * sizeof(mzap_place_t));
    return 0;
}

int
mzap_closest(zap_t *zap, uint64_t *hash, uint32_t *cd, zap_attribute_t *za)
{
    mzap_index_t *mi = mzap_index(zap);
    uint32_t i = index_find(mi, (uint32_t)(*hash >> (64 - MZAP_HASHBITS)), *cd);
    if (i == mi->mi_count)
        return ENOENT;
    if (mi->mi_place[i].mp_slot >= mzap_slots(zap))
        return SET_ERROR(EIO); /* not the block the index was made of: it was read anew, and is damaged */
    const mzap_ent_phys_t *e = &mzap_phys(zap)->mz_ent[mi->mi_place[i].mp_slot];
    *hash = (uint64_t)mi->mi_place[i].mp_hash << (64 - MZAP_HASHBITS);
    *cd = mi->mi_place[i].mp_cd;
    za->za_integer_length = 8;
    za->za_num_integers = 1;
    za->za_first_integer = e->mze_value;
    slot_name(e, za->za_name);
    return 0;
}

/* ---- turning fat ---- */

/* The object loses all its blocks and gets others of that size; block 0 is held again. */
static int
mzap_change_blocks(zap_t *zap, uint32_t blksz, dmu_tx_t *tx)
{
    uint64_t object = zap->zap_dn->dn_object;
    dbuf_rele(zap->zap_db);
    zap->zap_db = NULL;
    int err = dmu_free_range(zap->zap_os, object, 0, DMU_OBJECT_END, tx);
    if (err == 0)
        err = dmu_object_set_blocksize(zap->zap_os, object, blksz, tx);
    return err == 0 ? dbuf_hold(zap->zap_dn, 0, false, &zap->zap_db) : err;
}

/* As it was: names chosen to collide can be too many for a leaf. */
static void
mzap_restore(zap_t *zap, const mzap_phys_t *mz, uint32_t size, dmu_tx_t *tx)
{
    int err = zap->zap_db == NULL ? dbuf_hold(zap->zap_dn, 0, false, &zap->zap_db) : 0;
    if (err == 0)
        err = mzap_change_blocks(zap, size, tx);
    if (err != 0) {
        cowbird_log(LOG_ERR, "ZAP object %llu is lost: %s", (unsigned long long)zap->zap_dn->dn_object,
                    cowbird_strerror(err));
        return;
    }
    dmu_buf_will_fill(&zap->zap_db->db, tx);
    memcpy(zap->zap_db->db.db_data, mz, size);
    zap->zap_ismicro = true;
}

/* Names whose hash we cannot know have no place in a fat ZAP. */
static int
mzap_check_names(const zap_t *zap)
{
    char name[MZAP_NAME_LEN];
    for (uint32_t s = 0; s < mzap_slots(zap); s++) {
        zap_name_t zn;
        if (slot_name(&mzap_phys(zap)->mz_ent[s], name) != 0 && zap_name_init(zap, &zn, name) == 0 &&
            !zn.zn_hashed)
            return SET_ERROR(ENOTSUP);
    }
    return 0;
}

static int
mzap_move(zap_t *zap, const mzap_phys_t *mz, uint32_t slots, dmu_tx_t *tx)
{
    char name[MZAP_NAME_LEN];
    int err = 0;
    for (uint32_t s = 0; s < slots && err == 0; s++) {
        uint64_t value = mz->mz_ent[s].mze_value;
        zap_value_t zv = {8, 1, &value};
        zap_name_t zn;
        if (slot_name(&mz->mz_ent[s], name) == 0)
            continue;
        err = zap_name_init(zap, &zn, name);
        if (err == 0)
            err = fzap_add(zap, &zn, mz->mz_ent[s].mze_cd, &zv, tx);
    }
    return err;
}

int
mzap_upgrade(zap_t *zap, uint64_t flags, dmu_tx_t *tx)
{
    uint32_t size = (uint32_t)zap->zap_db->db.db_size, slots = mzap_slots(zap);
    int err = mzap_check_names(zap);
    if (err != 0)
        return err;
    mzap_phys_t *mz = xmalloc(size);
    memcpy(mz, mzap_phys(zap), size);
    mzap_drop_index(zap->zap_dn);
    err = mzap_change_blocks(zap, 1u << FZAP_DEFAULT_SHIFT, tx);
    if (err == 0)
        err = fzap_format(zap, mz->mz_salt, mz->mz_normflags, flags, tx);
    if (err == 0)
        err = mzap_move(zap, mz, slots, tx);
    if (err != 0)
        mzap_restore(zap, mz, size, tx);
    free(mz);
    return err;
}
