/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dmu_zap.c - ZAP objects against a model: random changes, growth, colliding names, cursors.
 */
#include "support/faultdisk.h"
#include "support/zaptest.h"

/* ---- the plain calls ---- */

START_TEST(basics)
{
    uint64_t z = new_zap(0), v, isz, n;
    ck_assert_int_eq(zap_lookup_u64(mp->mp_os, z, "a", &v), ENOENT);
    ck_assert_int_eq(add(z, "a", 1), 0);
    ck_assert_int_eq(add(z, "a", 2), EEXIST);
    ck_assert_int_eq(add(z, "", 2), EINVAL);
    ck_assert_int_eq(zap_lookup_u64(mp->mp_os, z, "a", &v), 0);
    ck_assert_uint_eq(v, 1);
    ck_assert_int_eq(zap_lookup_u64(mp->mp_os, z, "", &v), ENOENT);
    ck_assert_int_eq(zap_length(mp->mp_os, z, "a", &isz, &n), 0);
    ck_assert(isz == 8 && n == 1);
    uint32_t w;
    ck_assert_int_eq(zap_lookup(mp->mp_os, z, "a", 4, 1, &w), EINVAL);
    ck_assert_int_eq(zap_lookup(mp->mp_os, z, "a", 8, 0, &v), EOVERFLOW);
    ck_assert_int_eq(zap_lookup(mp->mp_os, z, "a", 3, 1, &v), EINVAL);
    ck_assert_int_eq(zap_contains(mp->mp_os, z, "a"), 0);
    ck_assert_int_eq(del(z, "b"), ENOENT);
    ck_assert_int_eq(del(z, "a"), 0);
    ck_assert_int_eq(zap_contains(mp->mp_os, z, "a"), ENOENT);
    ck_assert_int_eq(zap_count(mp->mp_os, z, &n), 0);
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(zap_count(mp->mp_os, 99999, &n), ENOENT);
    ck_assert_uint_eq(first_word(z), ZBT_MICRO);
}
END_TEST

START_TEST(not_a_zap)
{
    uint64_t object, n;
    dmu_tx_t *tx = minipool_tx(mp);
    ck_assert_int_eq(dmu_object_alloc(mp->mp_os, DMU_OT_PLAIN_OTHER, 512, DMU_OT_NONE, 0, 0, tx, &object), 0);
    dmu_tx_commit(tx);
    ck_assert_int_eq(zap_count(mp->mp_os, object, &n), EINVAL);
    tx = minipool_tx(mp);
    ck_assert_int_eq(dmu_object_alloc(mp->mp_os, DMU_OT_ZAP_OTHER, 512, DMU_OT_NONE, 0, 0, tx, &object), 0);
    dmu_tx_commit(tx);
    ck_assert_int_eq(zap_count(mp->mp_os, object, &n), EIO); /* no block: no ZAP yet */
    tx = minipool_tx(mp);
    ck_assert_int_eq(zap_init(mp->mp_os, object, tx), 0);
    dmu_tx_commit(tx);
    ck_assert_int_eq(zap_count(mp->mp_os, object, &n), 0);
    tx = minipool_tx(mp);
    ck_assert_int_eq(zap_destroy(mp->mp_os, object, tx), 0);
    dmu_tx_commit(tx);
    ck_assert_int_eq(zap_count(mp->mp_os, object, &n), ENOENT);
}
END_TEST

/* What does not fit into 64 bytes makes it fat; the entries stay. */
START_TEST(upgrade_by_value)
{
    uint64_t z = new_zap(0), v[3] = {1, 2, 3}, out[4], n;
    char name[80];
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "name%d", i);
        ck_assert_int_eq(add(z, name, (uint64_t)i), 0);
    }
    dmu_tx_t *tx = minipool_tx(mp);
    if (_i == 0)
        ck_assert_int_eq(zap_update(mp->mp_os, z, "name7", 8, 3, v, tx), 0);
    else if (_i == 1)
        ck_assert_int_eq(zap_add(mp->mp_os, z, "a string", 1, 6, "hello", tx), 0);
    for (int len = 49; _i == 2 && len <= 50; len++) {
        memset(name, 'x', sizeof(name));
        name[len] = 0;
        ck_assert_int_eq(zap_add_u64(mp->mp_os, z, name, 7, tx), 0);
    }
    dmu_tx_commit(tx);
    for (int round = 0; round < 2; round++, minipool_reopen(mp)) {
        ck_assert_uint_eq(first_word(z), ZBT_HEADER);
        ck_assert_int_eq(zap_count(mp->mp_os, z, &n), 0);
        ck_assert_uint_eq(n, 100 + (uint64_t)_i);
        for (int i = 0; i < 100; i++) {
            snprintf(name, sizeof(name), "name%d", i);
            if (_i == 0 && i == 7)
                continue;
            ck_assert_int_eq(zap_lookup_u64(mp->mp_os, z, name, &out[0]), 0);
            ck_assert_uint_eq(out[0], (uint64_t)i);
        }
    }
    if (_i == 0) {
        ck_assert_int_eq(zap_lookup(mp->mp_os, z, "name7", 8, 4, out), 0);
        ck_assert(out[0] == 1 && out[2] == 3);
    } else if (_i == 1) {
        ck_assert_int_eq(zap_lookup(mp->mp_os, z, "a string", 1, 32, out), 0);
        ck_assert_str_eq((char *)out, "hello");
    }
}
END_TEST

START_TEST(limits)
{
    uint64_t z = new_zap(0), v;
    char name[300];
    static uint8_t big[ZAP_MAXVALUELEN + 8], out[ZAP_MAXVALUELEN + 8];
    memset(name, 'n', sizeof(name));
    name[255] = 0;
    ck_assert_int_eq(add(z, name, 1), 0);
    ck_assert_int_eq(zap_lookup_u64(mp->mp_os, z, name, &v), 0);
    name[255] = 'n';
    name[256] = 0;
    ck_assert_int_eq(add(z, name, 1), ENAMETOOLONG);
    ck_assert_int_eq(zap_lookup_u64(mp->mp_os, z, name, &v), ENOENT);
    memset(big, 7, sizeof(big));
    dmu_tx_t *tx = minipool_tx(mp);
    ck_assert_int_eq(zap_add(mp->mp_os, z, "big", 1, ZAP_MAXVALUELEN + 1, big, tx), E2BIG);
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "big%d", i);
        big[0] = (uint8_t)i;
        ck_assert_int_eq(zap_add(mp->mp_os, z, name, 1, ZAP_MAXVALUELEN, big, tx), 0);
    }
    dmu_tx_commit(tx);
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "big%d", i);
        big[0] = (uint8_t)i;
        ck_assert_int_eq(zap_lookup(mp->mp_os, z, name, 1, sizeof(out), out), 0);
        ck_assert_int_eq(memcmp(out, big, ZAP_MAXVALUELEN), 0);
    }
}
END_TEST

START_TEST(numbers)
{
    uint64_t z = new_zap(0), v;
    dmu_tx_t *tx = minipool_tx(mp);
    ck_assert_int_eq(zap_add_int(mp->mp_os, z, 0xabc, tx), 0);
    ck_assert_int_eq(zap_lookup_int(mp->mp_os, z, 0xabc), 0);
    ck_assert_int_eq(zap_lookup_u64(mp->mp_os, z, "abc", &v), 0);
    ck_assert_uint_eq(v, 0xabc);
    ck_assert_int_eq(zap_add_int_key(mp->mp_os, z, UINT64_MAX, 5, tx), 0);
    ck_assert_int_eq(zap_update_int_key(mp->mp_os, z, UINT64_MAX, 6, tx), 0);
    ck_assert_int_eq(zap_lookup_int_key(mp->mp_os, z, UINT64_MAX, &v), 0);
    ck_assert_uint_eq(v, 6);
    ck_assert_int_eq(zap_remove_int(mp->mp_os, z, 0xabc, tx), 0);
    ck_assert_int_eq(zap_increment(mp->mp_os, z, "u", 5, tx), 0);
    ck_assert_int_eq(zap_increment(mp->mp_os, z, "u", -3, tx), 0);
    ck_assert_int_eq(zap_lookup_u64(mp->mp_os, z, "u", &v), 0);
    ck_assert_uint_eq(v, 2);
    ck_assert_int_eq(zap_increment(mp->mp_os, z, "u", -2, tx), 0);
    ck_assert_int_eq(zap_contains(mp->mp_os, z, "u"), ENOENT);
    dmu_tx_commit(tx);
}
END_TEST

/* Case folded in the hash only: names that differ in case are different, and found exactly. */
START_TEST(normalised)
{
    uint64_t z = new_zap(ZAP_NORM_UPPER), v;
    for (int round = 0; round < 2; round++) {
        if (round == 1) {
            dmu_tx_t *tx = minipool_tx(mp);
            ck_assert_int_eq(zap_add(mp->mp_os, z, "fat", 1, 2, "x", tx), 0);
            dmu_tx_commit(tx);
        } else {
            ck_assert_int_eq(add(z, "Snap", 1), 0);
            ck_assert_int_eq(add(z, "snap", 2), 0);
            ck_assert_int_eq(add(z, "SNAP", 3), 0);
        }
        ck_assert_int_eq(zap_lookup_u64(mp->mp_os, z, "snap", &v), 0);
        ck_assert_uint_eq(v, 2);
        ck_assert_int_eq(zap_lookup_u64(mp->mp_os, z, "SNAP", &v), 0);
        ck_assert_uint_eq(v, 3);
        ck_assert_int_eq(zap_lookup_u64(mp->mp_os, z, "sNAP", &v), ENOENT);
    }
    ck_assert_int_eq(add(z, "caf\xc3\xa9", 3), ENOTSUP);
    ck_assert_int_eq(zap_lookup_u64(mp->mp_os, z, "caf\xc3\xa9", &v), ENOENT);
}
END_TEST

/* ---- random against a model ---- */

#define NAMES 6000
static struct {
    char name[64];
    uint64_t value;
    bool used;
} model[NAMES];

static void
model_init(void)
{
    for (int i = 0; i < NAMES; i++) {
        memset(model[i].name, 'a' + i % 26, 60);
        int at = (int)rnd(rnd(5) == 0 ? 56 : 20);
        snprintf(model[i].name + at, sizeof(model[i].name) - (size_t)at, "%d", i);
        model[i].used = false;
    }
}

static void
model_step(uint64_t z, int live, dmu_tx_t *tx)
{
    int i = (int)rnd((uint64_t)live);
    uint64_t v = rnd(1ULL << 62), got;
    int err = zap_lookup_u64(mp->mp_os, z, model[i].name, &got);
    ck_assert_int_eq(err, model[i].used ? 0 : ENOENT);
    if (err == 0)
        ck_assert_uint_eq(got, model[i].value);
    switch (rnd(4)) {
    case 0:
    case 1:
        ck_assert_int_eq(zap_add_u64(mp->mp_os, z, model[i].name, v, tx), model[i].used ? EEXIST : 0);
        model[i].value = model[i].used ? model[i].value : v;
        model[i].used = true;
        break;
    case 2:
        ck_assert_int_eq(zap_remove(mp->mp_os, z, model[i].name, tx), model[i].used ? 0 : ENOENT);
        model[i].used = false;
        break;
    default:
        ck_assert_int_eq(zap_update_u64(mp->mp_os, z, model[i].name, v, tx), 0);
        model[i].used = true;
        model[i].value = v;
    }
}

static void
model_compare(uint64_t z)
{
    zap_cursor_t zc;
    zap_attribute_t za;
    uint64_t n = 0, used = 0, count;
    for (int i = 0; i < NAMES; i++)
        used += model[i].used;
    for (zap_cursor_init(&zc, mp->mp_os, z); zap_cursor_retrieve(&zc, &za) == 0; zap_cursor_advance(&zc)) {
        uint64_t v;
        ck_assert_int_eq(zap_lookup_u64(mp->mp_os, z, za.za_name, &v), 0);
        ck_assert_uint_eq(v, za.za_first_integer);
        n++;
    }
    ck_assert_uint_eq(zap_cursor_serialize(&zc), ZAP_COOKIE_END);
    zap_cursor_fini(&zc);
    ck_assert_int_eq(zap_count(mp->mp_os, z, &count), 0);
    ck_assert_uint_eq(n, used);
    ck_assert_uint_eq(count, used);
    for (int i = 0; i < NAMES; i++)
        ck_assert_int_eq(zap_contains(mp->mp_os, z, model[i].name), model[i].used ? 0 : ENOENT);
}

START_TEST(random_model)
{
    uint64_t z = new_zap(_i == 1 ? ZAP_NORM_UPPER : 0);
    model_init();
    for (int round = 0; round < 40; round++) {
        int live = MIN(NAMES, 20 + round * round * 5);
        for (int k = 0; k < 20; k++) {
            dmu_tx_t *tx = minipool_tx(mp);
            for (int s = 0; s < 50; s++)
                model_step(z, live, tx);
            dmu_tx_commit(tx);
        }
        if (round % 7 == 3)
            minipool_reopen(mp);
        else if (round % 3 == 0)
            minipool_sync(mp);
        model_compare(z);
    }
}
END_TEST

/* A fat ZAP of 48-bit hashes, made fat from the start. */
START_TEST(hash48)
{
    dmu_tx_t *tx = minipool_tx(mp);
    uint64_t z = zap_create_fat(mp->mp_os, ZAP_FLAG_HASH64, DMU_OT_ZAP_OTHER, DMU_OT_NONE, 0, tx), v, n = 0;
    char name[40];
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof(name), "entry %d", i);
        ck_assert_int_eq(zap_add_u64(mp->mp_os, z, name, (uint64_t)i, tx), 0);
    }
    dmu_tx_commit(tx);
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof(name), "entry %d", i);
        ck_assert_int_eq(zap_lookup_u64(mp->mp_os, z, name, &v), 0);
    }
    zap_cursor_t zc;
    zap_attribute_t za;
    uint64_t cookie = 0;
    do {
        zap_cursor_init_serialized(&zc, mp->mp_os, z, cookie);
        int err = zap_cursor_retrieve(&zc, &za);
        n += err == 0;
        zap_cursor_advance(&zc);
        cookie = zap_cursor_serialize(&zc);
        zap_cursor_fini(&zc);
    } while (cookie != UINT64_MAX && n < 4000);
    ck_assert_uint_eq(n, 3000);
}
END_TEST

static void
check_values(uint64_t z, int n, const uint8_t *buf, size_t len)
{
    static uint8_t out[ZAP_MAXVALUELEN];
    char name[40];
    for (int i = 0; i < n; i++) {
        int tag;
        snprintf(name, sizeof(name), "v%d", i);
        ck_assert_int_eq(zap_lookup(mp->mp_os, z, name, 1, len, out), 0);
        memcpy(&tag, out, sizeof(tag));
        ck_assert_int_eq(tag, i);
        ck_assert_int_eq(memcmp(out + 4, buf + 4, len - 4), 0);
    }
}

/* Few entries to a leaf, so that the pointer table moves out of block 0 and doubles several times. In the middle of it,
 * a doubling as an older writer leaves it. */
START_TEST(table_growth)
{
    enum { N = 4000 };
    static uint8_t buf[5000];
    uint64_t z = new_zap(0);
    char name[40];
    memset(buf, 9, sizeof(buf));
    for (int i = 0; i < N; i++) {
        dmu_tx_t *tx = minipool_tx(mp);
        memcpy(buf, &i, sizeof(i));
        snprintf(name, sizeof(name), "v%d", i);
        ck_assert_int_eq(zap_add(mp->mp_os, z, name, 1, sizeof(buf), buf, tx), 0);
        if (i == N / 2) {
            dmu_buf_t *db;
            ck_assert_int_eq(dmu_buf_hold(mp->mp_os, z, 0, &db), 0);
            dmu_buf_will_dirty(db, tx);
            zap_phys_t *zp = db->db_data;
            ck_assert_uint_gt(zp->zap_ptrtbl.zt_numblks, 0);
            zp->zap_ptrtbl.zt_nextblk = zp->zap_freeblk;
            zp->zap_ptrtbl.zt_blks_copied = 1;
            zp->zap_freeblk += 2 * zp->zap_ptrtbl.zt_numblks;
            dmu_buf_rele(db);
        }
        dmu_tx_commit(tx);
    }
    check_values(z, N, buf, sizeof(buf));
    minipool_reopen(mp);
    check_values(z, N, buf, sizeof(buf));
    zap_phys_t zp;
    ck_assert_int_eq(dmu_read(mp->mp_os, z, 0, sizeof(zp), &zp), 0);
    ck_assert_uint_gt(zp.zap_ptrtbl.zt_numblks, 1);
    ck_assert_uint_eq(zp.zap_ptrtbl.zt_nextblk, 0);
    ck_assert_uint_eq(zp.zap_num_entries, N);
}
END_TEST

/* ---- names that collide ---- */

/* The hash is linear: names of 'b' and 'c' (one bit apart) whose hashes are all equal, by elimination over GF(2). */
#define COLLIDE_LEN 44
static uint64_t kernel[COLLIDE_LEN]; /* each a set of positions that may be toggled together */
static int nkernel;

static uint64_t
pattern_hash(uint64_t set)
{
    char name[COLLIDE_LEN];
    for (int i = 0; i < COLLIDE_LEN; i++)
        name[i] = (char)('b' + ((set >> i) & 1));
    return zap_hash_bytes(1, name, COLLIDE_LEN, false, 28);
}

static void
find_kernel(void)
{
    uint64_t row[COLLIDE_LEN], set[COLLIDE_LEN], base = pattern_hash(0);
    int n = 0;
    nkernel = 0;
    for (int i = 0; i < COLLIDE_LEN; i++) {
        uint64_t r = pattern_hash(1ULL << i) ^ base, s = 1ULL << i;
        for (int k = 0; k < n; k++) {
            if (highbit64(r ^ row[k]) < highbit64(r) && highbit64(row[k]) == highbit64(r)) {
                r ^= row[k];
                s ^= set[k];
                k = -1;
            }
        }
        if (r == 0) {
            kernel[nkernel++] = s;
        } else {
            row[n] = r;
            set[n++] = s;
        }
    }
}

static void
colliding_name(char *name, uint64_t n)
{
    uint64_t set = 0;
    for (int k = 0; k < nkernel; k++)
        set ^= ((n >> k) & 1) ? kernel[k] : 0;
    for (int i = 0; i < COLLIDE_LEN; i++)
        name[i] = (char)('b' + ((set >> i) & 1));
    name[COLLIDE_LEN] = 0;
}

/* All in one bucket. A micro ZAP takes as many as it has room for, a fat one a leaf full; then it says so and is whole. */
START_TEST(collisions)
{
    char name[COLLIDE_LEN + 1];
    uint64_t z = new_zap(0), n = 0, count, v, expect = _i == 0 ? 2047 : 127;
    find_kernel();
    ck_assert_int_ge(nkernel, 12);
    if (_i == 1) {
        dmu_tx_t *tx = minipool_tx(mp);
        ck_assert_int_eq(zap_add(mp->mp_os, z, "fat", 1, 2, "x", tx), 0);
        ck_assert_int_eq(zap_remove(mp->mp_os, z, "fat", tx), 0);
        dmu_tx_commit(tx);
    }
    int err;
    do {
        colliding_name(name, n);
    } while ((err = add(z, name, n)) == 0 && ++n < 4000);
    ck_assert_int_eq(err, ENOSPC);
    ck_assert_uint_eq(n, expect);
    minipool_reopen(mp);
    ck_assert_uint_eq(first_word(z), _i == 0 ? ZBT_MICRO : ZBT_HEADER);
    for (uint64_t i = 0; i < n; i++) {
        colliding_name(name, i);
        ck_assert_int_eq(zap_lookup_u64(mp->mp_os, z, name, &v), 0);
        ck_assert_uint_eq(v, i);
    }
    zap_cursor_t zc;
    zap_attribute_t za;
    count = 0;
    for (zap_cursor_init(&zc, mp->mp_os, z); zap_cursor_retrieve(&zc, &za) == 0; zap_cursor_advance(&zc))
        count++;
    zap_cursor_fini(&zc);
    ck_assert_uint_eq(count, n);
    for (uint64_t i = 0; i < n; i += 2) { /* the cds that become free are used again */
        colliding_name(name, i);
        ck_assert_int_eq(del(z, name), 0);
    }
    for (uint64_t i = 0; i < n; i += 2) {
        colliding_name(name, i);
        ck_assert_int_eq(add(z, name, i), 0);
    }
}
END_TEST

/* A directory made elsewhere with normalization=formD: hashes of non-ASCII names are unknown to us. */
START_TEST(foreign_normalisation)
{
    uint64_t z = new_zap(0), v, n = 0;
    char name[40];
    for (int i = 0; i < (_i == 0 ? 20 : 1000); i++) {
        dmu_tx_t *tx = minipool_tx(mp);
        snprintf(name, sizeof(name), i % 10 == 0 ? "\xc3\xa9t\xc3\xa9 %d" : "ete %d", i);
        ck_assert_int_eq(
            zap_add(mp->mp_os, z, name, 8, i == 1 && _i == 1 ? 2 : 1, (uint64_t[]){(uint64_t)i, 0}, tx), 0);
        dmu_tx_commit(tx);
    }
    dmu_buf_t *db;
    dmu_tx_t *tx = minipool_tx(mp);
    ck_assert_int_eq(dmu_buf_hold(mp->mp_os, z, 0, &db), 0);
    dmu_buf_will_dirty(db, tx);
    ((uint64_t *)db->db_data)[_i == 0 ? 2 : 11] = 0x10;
    dmu_buf_rele(db);
    dmu_tx_commit(tx);
    minipool_reopen(mp);
    ck_assert_int_eq(zap_lookup_u64(mp->mp_os, z, "\xc3\xa9t\xc3\xa9 10", &v), 0);
    ck_assert_uint_eq(v, 10);
    ck_assert_int_eq(zap_lookup_u64(mp->mp_os, z, "ete 11", &v), 0);
    ck_assert_int_eq(zap_lookup_u64(mp->mp_os, z, "\xc3\xa9t\xc3\xa9 11", &v), ENOENT);
    ck_assert_int_eq(add(z, "\xc3\xa9t\xc3\xa9 11", 1), ENOTSUP);
    ck_assert_int_eq(add(z, "plain", 1), 0);
    ck_assert_int_eq(del(z, "\xc3\xa9t\xc3\xa9 10"), 0);
    zap_cursor_t zc;
    zap_attribute_t za;
    for (zap_cursor_init(&zc, mp->mp_os, z); zap_cursor_retrieve(&zc, &za) == 0; zap_cursor_advance(&zc))
        n++;
    zap_cursor_fini(&zc);
    ck_assert_uint_eq(n, _i == 0 ? 20 : 1000);
}
END_TEST

/* ---- cookies while everything changes ---- */

/* Entries "keep N" are there all the time and are to be seen once each; others come and go. */
START_TEST(cookies)
{
    enum { KEEP = 500 };
    static int seen[KEEP];
    uint64_t z = new_zap(0), cookie = 0, last = 0;
    char name[64];
    memset(seen, 0, sizeof(seen));
    for (int i = 0; i < KEEP; i++) {
        snprintf(name, sizeof(name), "keep %d", i);
        ck_assert_int_eq(add(z, name, (uint64_t)i), 0);
    }
    for (int step = 0; cookie != ZAP_COOKIE_END; step++) {
        zap_cursor_t zc;
        zap_attribute_t za;
        zap_cursor_init_serialized(&zc, mp->mp_os, z, cookie);
        for (uint64_t k = 1 + rnd(5); k > 0 && zap_cursor_retrieve(&zc, &za) == 0; k--) {
            if (strncmp(za.za_name, "keep", 4) == 0)
                seen[za.za_first_integer]++;
            zap_cursor_advance(&zc);
        }
        cookie = zap_cursor_serialize(&zc);
        zap_cursor_fini(&zc);
        ck_assert(cookie > last && cookie <= ZAP_COOKIE_END);
        last = cookie;
        dmu_tx_t *tx = minipool_tx(mp);
        for (int k = 0; k < 30; k++) { /* soon more than fits in 128 KiB */
            snprintf(name, sizeof(name), "other %d", (int)rnd(5000));
            if (zap_remove(mp->mp_os, z, name, tx) == ENOENT || rnd(3) != 0)
                ck_assert_int_eq(zap_update_u64(mp->mp_os, z, name, 0, tx), 0);
        }
        dmu_tx_commit(tx);
    }
    ck_assert_uint_eq(first_word(z), ZBT_HEADER);
    for (int i = 0; i < KEEP; i++)
        ck_assert_int_eq(seen[i], 1);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("zap");
    TCase *t = tcase_create("zap");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, basics);
    tcase_add_test(t, not_a_zap);
    tcase_add_loop_test(t, upgrade_by_value, 0, 3);
    tcase_add_test(t, limits);
    tcase_add_test(t, numbers);
    tcase_add_test(t, normalised);
    tcase_add_loop_test(t, random_model, 0, 2);
    tcase_add_test(t, hash48);
    tcase_add_test(t, table_growth);
    tcase_add_loop_test(t, collisions, 0, 2);
    tcase_add_loop_test(t, foreign_normalisation, 0, 2);
    tcase_add_test(t, cookies);
    suite_add_tcase(s, t);
    return minipool_run(s);
}
