/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zap.c - the calls of zap.h: take the lock, open block 0, hash the name, go to the micro or the fat ZAP.
 *
 *   zap_add ----> zap_open: dnode, zap lock, block 0 -> micro? --> mzap_add --EFBIG--> mzap_upgrade --.
 *                                                       fat? ---> fzap_add <--------------------------'
 *
 * THE HASH of a name is a CRC-64 begun with the ZAP's own random salt, of which the top 28 bits count (48 with a flag). With
 * normalisation flags it is the hash of the *normalised* name, so that names which differ in case or Unicode form only lie together;
 * names compare as they are all the same. We fold ASCII, which is all that snapshot names need. A name with other bytes in
 * a normalising ZAP (a directory made elsewhere) has a hash we cannot compute: looking it up means looking everywhere,
 * and adding it is refused (ENOTSUP).
 *
 * CURSORS stand before the first entry that is not less than (zc_hash, zc_cd). A cookie packs both:
 *     hash >> 36 | cd << 28      below 2^60, and the end is 2^60; 2^60 + a few offsets of the caller's own still fit in an off_t
 * (with 48 bits of hash: hash >> 16 | cd << 48, which no directory has). ZFS: zap.c, zap_micro.c (the zap_* half)
 */
#include <stdio.h>
#include "zap_impl.h"

/* ---- hash ---- */

#define CRC64_POLY 0xC96C5795D7870F42ULL

static uint64_t crc64_table[256];

__attribute__((constructor)) static void
crc64_init(void)
{
    for (uint64_t i = 0; i < 256; i++) {
        uint64_t c = i;
        for (int k = 0; k < 8; k++)
            c = (c >> 1) ^ ((c & 1) ? CRC64_POLY : 0);
        crc64_table[i] = c;
    }
}

uint64_t
zap_hash_bytes(uint64_t salt, const void *p, size_t len, bool upper, int hashbits)
{
    const uint8_t *s = p;
    uint64_t h = salt;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = upper && s[i] >= 'a' && s[i] <= 'z' ? s[i] - 32 : s[i];
        h = (h >> 8) ^ crc64_table[(h ^ c) & 0xff];
    }
    return h & ~((1ULL << (64 - hashbits)) - 1);
}

static bool
is_ascii(const char *s)
{
    for (; *s != 0; s++) {
        if ((uint8_t)*s >= 0x80)
            return false;
    }
    return true;
}

int
zap_name_init(const zap_t *zap, zap_name_t *zn, const char *name)
{
    size_t len = strnlen(name, ZAP_MAXNAMELEN_READ);
    if (len >= ZAP_MAXNAMELEN_READ)
        return SET_ERROR(ENAMETOOLONG);
    zn->zn_name = name;
    zn->zn_len = (uint32_t)len + 1;
    zn->zn_hash = zap_hash_bytes(zap->zap_salt, name, len, (zap->zap_normflags & ZAP_NORM_UPPER) != 0,
                                 zap->zap_hashbits);
    zn->zn_hashed = zap->zap_normflags == 0 || is_ascii(name);
    return 0;
}

/* ---- opening ---- */

static int
zap_open_block0(zap_t *zap)
{
    int err = dbuf_hold(zap->zap_dn, 0, true, &zap->zap_db);
    if (err != 0)
        return err;
    const mzap_phys_t *mz = zap->zap_db->db.db_data;
    zap->zap_ismicro = mz->mz_block_type == ZBT_MICRO;
    if (zap->zap_ismicro) {
        zap->zap_hashbits = 28;
        zap->zap_salt = mz->mz_salt;
        zap->zap_normflags = mz->mz_normflags;
        return 0;
    }
    return mz->mz_block_type == ZBT_HEADER ? fzap_open(zap) : SET_ERROR(EIO);
}

/* An object that is no ZAP has not been turned to our byte order as one. */
static int
hold_zap(objset_t *os, uint64_t object, dnode_t **dnp)
{
    int err = dnode_hold(os, object, dnp);
    if (err != 0)
        return err;
    mutex_enter(&(*dnp)->dn_mtx);
    uint8_t type = (*dnp)->dn_now.ds_type;
    mutex_exit(&(*dnp)->dn_mtx);
    if (dmu_ot_byteswap(type) == DMU_BSWAP_ZAP)
        return 0;
    dnode_rele(*dnp);
    *dnp = NULL;
    return SET_ERROR(EINVAL);
}

static void
zap_close(zap_t *zap)
{
    if (zap->zap_db != NULL)
        dbuf_rele(zap->zap_db);
    rw_exit(&zap->zap_dn->dn_zap_lock);
    dnode_rele(zap->zap_dn);
}

/* Takes over the reference to dn. */
static int
zap_open_dnode(zap_t *zap, objset_t *os, dnode_t *dn, bool writer)
{
    *zap = (zap_t){.zap_os = os, .zap_dn = dn, .zap_iswriter = writer};
    if (writer)
        rw_enter_write(&dn->dn_zap_lock);
    else
        rw_enter_read(&dn->dn_zap_lock);
    int err = zap_open_block0(zap);
    if (err != 0)
        zap_close(zap);
    return err;
}

/* A reader who needs a micro ZAP's index and finds none comes back as a writer and makes it. Blocks below minsize do without. */
static int
zap_open_indexed(zap_t *zap, objset_t *os, dnode_t *dn, uint64_t minsize)
{
    dnode_add_ref(dn); /* over the change of locks */
    int err = zap_open_dnode(zap, os, dn, false);
    if (err == 0 && zap->zap_ismicro && zap->zap_db->db.db_size >= minsize && !mzap_has_index(zap)) {
        zap_close(zap);
        dnode_add_ref(dn);
        err = zap_open_dnode(zap, os, dn, true);
        if (err == 0 && zap->zap_ismicro && !mzap_has_index(zap))
            mzap_build_index(zap);
    }
    dnode_rele(dn);
    return err;
}

#define INDEX_MIN_SIZE 4096 /* in less than this, comparing names is as quick */

static int
zap_open(zap_t *zap, objset_t *os, uint64_t object, bool writer)
{
    dnode_t *dn;
    int err = hold_zap(os, object, &dn);
    if (err != 0)
        return err;
    return writer ? zap_open_dnode(zap, os, dn, true) : zap_open_indexed(zap, os, dn, INDEX_MIN_SIZE);
}

static int
zap_open_name(zap_t *zap, objset_t *os, uint64_t object, const char *name, bool writer, zap_name_t *zn)
{
    int err = zap_open(zap, os, object, writer);
    if (err != 0)
        return err;
    err = zap_name_init(zap, zn, name);
    if (err != 0)
        zap_close(zap);
    return err;
}

/* ---- looking up ---- */

static int
lookup_micro(zap_t *zap, const zap_name_t *zn, const zap_value_t *zv)
{
    uint64_t value;
    int err = mzap_lookup(zap, zn, &value);
    if (err != 0)
        return err;
    if (zv->zv_intlen != 8)
        return SET_ERROR(EINVAL);
    if (zv->zv_num < 1)
        return SET_ERROR(EOVERFLOW);
    memcpy(zv->zv_buf, &value, sizeof(value));
    return 0;
}

static int
lookup_open(zap_t *zap, const zap_name_t *zn, zap_value_t *zv)
{
    return zap->zap_ismicro ? lookup_micro(zap, zn, zv) : fzap_lookup(zap, zn, zv);
}

static bool
value_valid(const zap_value_t *zv)
{
    return zv->zv_intlen == 1 || zv->zv_intlen == 2 || zv->zv_intlen == 4 || zv->zv_intlen == 8;
}

int
zap_lookup(objset_t *os, uint64_t object, const char *name, uint64_t integer_size, uint64_t num_integers,
           void *buf)
{
    zap_value_t zv = {integer_size, num_integers, buf};
    zap_t zap;
    zap_name_t zn;
    if (!value_valid(&zv))
        return SET_ERROR(EINVAL);
    int err = zap_open_name(&zap, os, object, name, false, &zn);
    if (err != 0)
        return err;
    err = lookup_open(&zap, &zn, &zv);
    zap_close(&zap);
    return err;
}

int
zap_lookup_u64(objset_t *os, uint64_t object, const char *name, uint64_t *value)
{
    return zap_lookup(os, object, name, 8, 1, value);
}

int
zap_length(objset_t *os, uint64_t object, const char *name, uint64_t *integer_size, uint64_t *num_integers)
{
    zap_t zap;
    zap_name_t zn;
    uint64_t value, size = 8, num = 1;
    int err = zap_open_name(&zap, os, object, name, false, &zn);
    if (err != 0)
        return err;
    err = zap.zap_ismicro ? mzap_lookup(&zap, &zn, &value) : fzap_length(&zap, &zn, &size, &num);
    zap_close(&zap);
    if (err == 0 && integer_size != NULL)
        *integer_size = size;
    if (err == 0 && num_integers != NULL)
        *num_integers = num;
    return err;
}

int
zap_contains(objset_t *os, uint64_t object, const char *name)
{
    return zap_length(os, object, name, NULL, NULL);
}

int
zap_count(objset_t *os, uint64_t object, uint64_t *count)
{
    zap_t zap;
    int err = zap_open(&zap, os, object, false);
    if (err != 0)
        return err;
    *count = zap.zap_ismicro ? mzap_count(&zap) : fzap_count(&zap);
    zap_close(&zap);
    return 0;
}

/* ---- changing ---- */

/* Until it is fat, a value other than one u64 is too big; then the hash of the name may have more bits. */
static int
upgrade_for(zap_t *zap, zap_name_t *zn, dmu_tx_t *tx)
{
    int err = mzap_upgrade(zap, 0, tx);
    return err != 0 ? err : zap_name_init(zap, zn, zn->zn_name);
}

static bool
fits_micro(const zap_value_t *zv)
{
    return zv->zv_intlen == 8 && zv->zv_num == 1;
}

static int
add_open(zap_t *zap, zap_name_t *zn, const zap_value_t *zv, dmu_tx_t *tx)
{
    if (!zn->zn_hashed)
        return SET_ERROR(ENOTSUP);
    if (zn->zn_len > ZAP_MAXNAMELEN)
        return SET_ERROR(ENAMETOOLONG);
    if (zap->zap_ismicro) {
        int err = fits_micro(zv) ? mzap_add(zap, zn, *(uint64_t *)zv->zv_buf, tx) : EFBIG;
        if (err != EFBIG)
            return err;
        err = upgrade_for(zap, zn, tx);
        if (err != 0)
            return err;
    }
    return fzap_add(zap, zn, ZAP_NEED_CD, zv, tx);
}

static int
contains_open(zap_t *zap, const zap_name_t *zn)
{
    uint64_t a, b;
    return zap->zap_ismicro ? mzap_lookup(zap, zn, &a) : fzap_length(zap, zn, &a, &b);
}

static int
update_open(zap_t *zap, zap_name_t *zn, const zap_value_t *zv, dmu_tx_t *tx)
{
    int err = ENOENT;
    if (zap->zap_ismicro && fits_micro(zv)) {
        err = mzap_update(zap, zn, *(uint64_t *)zv->zv_buf, tx);
    } else {
        if (zap->zap_ismicro && (err = upgrade_for(zap, zn, tx)) != 0)
            return err;
        err = fzap_update(zap, zn, zv, tx);
    }
    return err == ENOENT ? add_open(zap, zn, zv, tx) : err;
}

static int
check_change(const char *name, const zap_value_t *zv)
{
    if (!value_valid(zv) || name[0] == 0)
        return SET_ERROR(EINVAL);
    return zv->zv_num > ZAP_MAXVALUELEN / zv->zv_intlen ? SET_ERROR(E2BIG) : 0;
}

int
zap_add(objset_t *os, uint64_t object, const char *name, uint64_t integer_size, uint64_t num_integers,
        const void *buf, dmu_tx_t *tx)
{
    zap_value_t zv = {integer_size, num_integers, (void *)(uintptr_t)buf};
    zap_t zap;
    zap_name_t zn;
    int err = check_change(name, &zv);
    if (err == 0)
        err = zap_open_name(&zap, os, object, name, true, &zn);
    if (err != 0)
        return err;
    err = contains_open(&zap, &zn);
    if (err == 0)
        err = SET_ERROR(EEXIST);
    else if (err == ENOENT)
        err = add_open(&zap, &zn, &zv, tx);
    zap_close(&zap);
    return err;
}

int
zap_update(objset_t *os, uint64_t object, const char *name, uint64_t integer_size, uint64_t num_integers,
           const void *buf, dmu_tx_t *tx)
{
    zap_value_t zv = {integer_size, num_integers, (void *)(uintptr_t)buf};
    zap_t zap;
    zap_name_t zn;
    int err = check_change(name, &zv);
    if (err == 0)
        err = zap_open_name(&zap, os, object, name, true, &zn);
    if (err != 0)
        return err;
    err = update_open(&zap, &zn, &zv, tx);
    zap_close(&zap);
    return err;
}

int
zap_add_u64(objset_t *os, uint64_t object, const char *name, uint64_t value, dmu_tx_t *tx)
{
    return zap_add(os, object, name, 8, 1, &value, tx);
}

int
zap_update_u64(objset_t *os, uint64_t object, const char *name, uint64_t value, dmu_tx_t *tx)
{
    return zap_update(os, object, name, 8, 1, &value, tx);
}

int
zap_remove(objset_t *os, uint64_t object, const char *name, dmu_tx_t *tx)
{
    zap_t zap;
    zap_name_t zn;
    int err = zap_open_name(&zap, os, object, name, true, &zn);
    if (err != 0)
        return err;
    err = zap.zap_ismicro ? mzap_remove(&zap, &zn, tx) : fzap_remove(&zap, &zn, tx);
    zap_close(&zap);
    return err;
}

int
zap_increment(objset_t *os, uint64_t object, const char *name, int64_t delta, dmu_tx_t *tx)
{
    uint64_t value = 0;
    zap_value_t zv = {8, 1, &value};
    zap_t zap;
    zap_name_t zn;
    if (delta == 0)
        return 0;
    int err = zap_open_name(&zap, os, object, name, true, &zn);
    if (err != 0)
        return err;
    err = lookup_open(&zap, &zn, &zv);
    if (err == 0 || err == ENOENT) {
        value += (uint64_t)delta;
        if (value != 0)
            err = update_open(&zap, &zn, &zv, tx);
        else
            err = zap.zap_ismicro ? mzap_remove(&zap, &zn, tx) : fzap_remove(&zap, &zn, tx);
    }
    zap_close(&zap);
    return err;
}

/* ---- sets of numbers ---- */

#define INT_NAME(name, value)                                                                                \
    char name[20];                                                                                           \
    (void)snprintf(name, sizeof(name), "%llx", (unsigned long long)(value))

int
zap_add_int(objset_t *os, uint64_t object, uint64_t value, dmu_tx_t *tx)
{
    INT_NAME(name, value);
    return zap_add_u64(os, object, name, value, tx);
}

int
zap_remove_int(objset_t *os, uint64_t object, uint64_t value, dmu_tx_t *tx)
{
    INT_NAME(name, value);
    return zap_remove(os, object, name, tx);
}

int
zap_lookup_int(objset_t *os, uint64_t object, uint64_t value)
{
    INT_NAME(name, value);
    return zap_contains(os, object, name);
}

int
zap_add_int_key(objset_t *os, uint64_t object, uint64_t key, uint64_t value, dmu_tx_t *tx)
{
    INT_NAME(name, key);
    return zap_add_u64(os, object, name, value, tx);
}

int
zap_update_int_key(objset_t *os, uint64_t object, uint64_t key, uint64_t value, dmu_tx_t *tx)
{
    INT_NAME(name, key);
    return zap_update_u64(os, object, name, value, tx);
}

int
zap_lookup_int_key(objset_t *os, uint64_t object, uint64_t key, uint64_t *value)
{
    INT_NAME(name, key);
    return zap_lookup_u64(os, object, name, value);
}

/* ---- creating ---- */

/* Write block 0 of an object that has none. fatflags < 0: micro. */
static int
format_block0(objset_t *os, uint64_t object, uint64_t normflags, int fatflags, dmu_tx_t *tx)
{
    zap_t zap = {.zap_os = os, .zap_iswriter = true};
    uint64_t salt = random_u64() | 1;
    int err = dnode_hold(os, object, &zap.zap_dn);
    if (err != 0)
        return err;
    rw_enter_write(&zap.zap_dn->dn_zap_lock);
    mzap_drop_index(zap.zap_dn);
    err = dbuf_hold(zap.zap_dn, 0, false, &zap.zap_db);
    if (err == 0 && fatflags >= 0) {
        err = fzap_format(&zap, salt, normflags, (uint64_t)fatflags, tx);
    } else if (err == 0) {
        dmu_buf_will_fill(&zap.zap_db->db, tx);
        mzap_format(zap.zap_db->db.db_data, zap.zap_db->db.db_size, salt, normflags);
    }
    zap_close(&zap);
    return err;
}

static uint64_t
create_object(objset_t *os, uint32_t blksz, uint64_t normflags, int fatflags, dmu_object_type_t type,
              dmu_object_type_t bonustype, uint32_t bonuslen, dmu_tx_t *tx)
{
    uint64_t object;
    int err = dmu_object_alloc(os, type, blksz, bonustype, bonuslen, 0, tx, &object);
    if (err == 0)
        err = format_block0(os, object, normflags, fatflags, tx);
    return err == 0 ? object : 0;
}

uint64_t
zap_create_norm(objset_t *os, uint64_t normflags, dmu_object_type_t type, dmu_object_type_t bonustype,
                uint32_t bonuslen, dmu_tx_t *tx)
{
    return create_object(os, SPA_MINBLOCKSIZE, normflags, -1, type, bonustype, bonuslen, tx);
}

uint64_t
zap_create(objset_t *os, dmu_object_type_t type, dmu_object_type_t bonustype, uint32_t bonuslen, dmu_tx_t *tx)
{
    return zap_create_norm(os, 0, type, bonustype, bonuslen, tx);
}

uint64_t
zap_create_fat(objset_t *os, uint64_t zapflags, dmu_object_type_t type, dmu_object_type_t bonustype,
               uint32_t bonuslen, dmu_tx_t *tx)
{
    return create_object(os, 1u << FZAP_DEFAULT_SHIFT, 0, (int)zapflags, type, bonustype, bonuslen, tx);
}

int
zap_create_claim(objset_t *os, uint64_t object, dmu_object_type_t type, dmu_object_type_t bonustype,
                 uint32_t bonuslen, dmu_tx_t *tx)
{
    int err = dmu_object_claim(os, object, type, SPA_MINBLOCKSIZE, bonustype, bonuslen, 0, tx);
    return err == 0 ? format_block0(os, object, 0, -1, tx) : err;
}

int
zap_init(objset_t *os, uint64_t object, dmu_tx_t *tx)
{
    int err = dmu_object_set_blocksize(os, object, SPA_MINBLOCKSIZE, tx);
    return err == 0 ? format_block0(os, object, 0, -1, tx) : err;
}

int
zap_destroy(objset_t *os, uint64_t object, dmu_tx_t *tx)
{
    dnode_t *dn;
    int err = dnode_hold(os, object, &dn);
    if (err != 0)
        return err;
    rw_enter_write(&dn->dn_zap_lock);
    mzap_drop_index(dn);
    rw_exit(&dn->dn_zap_lock);
    dnode_rele(dn);
    return dmu_object_free(os, object, tx);
}

/* ---- cursors ---- */

#define CURSOR_END UINT64_MAX /* as zc_hash; no hash has its low bits set */

void
zap_cursor_init_serialized(zap_cursor_t *zc, objset_t *os, uint64_t object, uint64_t cookie)
{
    *zc = (zap_cursor_t){.zc_objset = os, .zc_object = object, .zc_cookie = cookie};
}

void
zap_cursor_init(zap_cursor_t *zc, objset_t *os, uint64_t object)
{
    zap_cursor_init_serialized(zc, os, object, 0);
}

/* What the cookie means is known once the ZAP's kind is. */
static void
cursor_place(zap_cursor_t *zc, const zap_t *zap)
{
    uint64_t cookie = zc->zc_cookie;
    if (zc->zc_placed)
        return;
    zc->zc_placed = true;
    zc->zc_hashbits = zap->zap_hashbits;
    zc->zc_hash = cookie << (64 - zap->zap_hashbits);
    zc->zc_cd = (uint32_t)(cookie >> zap->zap_hashbits);
    if (zap->zap_hashbits == 28 && cookie >= ZAP_COOKIE_END)
        zc->zc_hash = CURSOR_END;
}

/* The cursor keeps the dnode, so that a micro ZAP's index stays. */
static int
cursor_open(zap_cursor_t *zc, zap_t *zap)
{
    if (zc->zc_dnode == NULL) {
        int err = hold_zap(zc->zc_objset, zc->zc_object, &zc->zc_dnode);
        if (err != 0)
            return err;
    }
    dnode_add_ref(zc->zc_dnode);
    return zap_open_indexed(zap, zc->zc_objset, zc->zc_dnode, 0);
}

int
zap_cursor_retrieve(zap_cursor_t *zc, zap_attribute_t *za)
{
    zap_t zap;
    if (zc->zc_hash == CURSOR_END)
        return ENOENT;
    int err = cursor_open(zc, &zap);
    if (err != 0)
        return err;
    cursor_place(zc, &zap);
    if (zc->zc_hash == CURSOR_END)
        err = ENOENT;
    else if (zap.zap_ismicro)
        err = mzap_closest(&zap, &zc->zc_hash, &zc->zc_cd, za);
    else
        err = fzap_closest(&zap, &zc->zc_leaf, &zc->zc_hash, &zc->zc_cd, za);
    zap_close(&zap);
    if (err == ENOENT)
        zc->zc_hash = CURSOR_END;
    return err;
}

void
zap_cursor_advance(zap_cursor_t *zc)
{
    if (!zc->zc_placed || zc->zc_hash == CURSOR_END)
        return;
    if (zc->zc_cd != UINT32_MAX) {
        zc->zc_cd++;
        return;
    }
    zc->zc_cd = 0;
    zc->zc_hash += 1ULL << (64 - zc->zc_hashbits);
    if (zc->zc_hash == 0)
        zc->zc_hash = CURSOR_END;
}

uint64_t
zap_cursor_serialize(zap_cursor_t *zc)
{
    if (!zc->zc_placed)
        return zc->zc_hash == CURSOR_END ? ZAP_COOKIE_END : zc->zc_cookie;
    if (zc->zc_hash == CURSOR_END)
        return zc->zc_hashbits == 28 ? ZAP_COOKIE_END : UINT64_MAX;
    return zc->zc_hash >> (64 - zc->zc_hashbits) | (uint64_t)zc->zc_cd << zc->zc_hashbits;
}

void
zap_cursor_fini(zap_cursor_t *zc)
{
    if (zc->zc_leaf != NULL)
        dbuf_rele(zc->zc_leaf);
    if (zc->zc_dnode != NULL)
        dnode_rele(zc->zc_dnode);
    zc->zc_leaf = NULL;
    zc->zc_dnode = NULL;
}
