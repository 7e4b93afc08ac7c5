/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dmu_zap_leaf.c - one ZAP leaf against a model, and with every kind of damage; byte order by object type.
 * Needs no pool: the leaf is bytes in a buffer.
 */
#include <check.h>
#include <stdio.h>
#include "effort.h"
#include "zap_impl.h"

static uint64_t rnd_state = 88172645463325252ULL;

static uint64_t
rnd(uint64_t n)
{
    rnd_state ^= rnd_state << 13;
    rnd_state ^= rnd_state >> 7;
    rnd_state ^= rnd_state << 17;
    return rnd_state % n;
}

/* ---- a model: names with values ---- */

#define MODEL_MAX 400
typedef struct model_entry {
    char me_name[256];
    uint64_t me_hash;
    uint64_t me_intlen, me_num;
    uint64_t me_value[64];
    bool me_used;
} model_entry_t;
static model_entry_t model[MODEL_MAX];

static zap_leaf_t
new_leaf(int shift)
{
    zap_leaf_t l = {.l_phys = aligned_alloc(4096, MAX(4096, 1 << shift)),
                    .l_shift = (uint8_t)shift,
                    .l_hashbits = 28,
                    .l_namesize = 1};
    zap_leaf_format(&l, 0, 0, true);
    return l;
}

/* Few hashes, so that many collide. */
static void
model_make(model_entry_t *me, int i, int nhashes)
{
    size_t len = 1 + rnd(rnd(4) == 0 ? 200 : 30);
    for (size_t k = 0; k < len; k++)
        me->me_name[k] = (char)('a' + rnd(26));
    me->me_name[len] = 0;
    snprintf(me->me_name + len, sizeof(me->me_name) - len, "%d", i);
    me->me_hash = zap_hash_bytes(rnd((uint64_t)nhashes) + 1, "x", 1, false, 28);
    me->me_intlen = 1ULL << rnd(4);
    me->me_num = 1 + rnd(rnd(8) == 0 ? 64 : 4);
    for (uint64_t k = 0; k < me->me_num; k++)
        me->me_value[k] = rnd(1ULL << 63);
    me->me_used = false;
}

static zap_name_t
model_name(const model_entry_t *me)
{
    return (zap_name_t){me->me_name, (uint32_t)strlen(me->me_name) + 1, me->me_hash, true};
}

/* me_value is stored as an array of integers of me_intlen bytes: just its first bytes. */
static zap_value_t
model_value(model_entry_t *me)
{
    return (zap_value_t){me->me_intlen, me->me_num, me->me_value};
}

static void
model_check(const zap_leaf_t *l, model_entry_t *me)
{
    zap_name_t zn = model_name(me);
    uint16_t c;
    uint64_t out[64];
    char name[1024];
    int err = zap_leaf_lookup(l, &zn, &c);
    ck_assert_int_eq(err, me->me_used ? 0 : ENOENT);
    if (err != 0)
        return;
    zap_value_t zv = {me->me_intlen, 64, out};
    ck_assert_int_eq(zap_leaf_value(l, c, &zv), 0);
    ck_assert_int_eq(memcmp(out, me->me_value, me->me_intlen * me->me_num), 0);
    ck_assert_int_eq(zap_leaf_name(l, c, name, sizeof(name)), 0);
    ck_assert_str_eq(name, me->me_name);
}

static int
model_used(void)
{
    int n = 0;
    for (int i = 0; i < MODEL_MAX; i++)
        n += model[i].me_used;
    return n;
}

/* Every entry once, in order, by (hash, cd). */
static int
count_by_order(const zap_leaf_t *l)
{
    uint64_t hash = 0;
    uint32_t cd = 0;
    uint16_t c;
    int n = 0;
    while (zap_leaf_closest(l, hash, cd, &c) == 0) {
        const struct zap_leaf_entry *le = zap_leaf_entry(l, c);
        ck_assert(le->le_hash > hash || (le->le_hash == hash && le->le_cd >= cd));
        hash = le->le_hash;
        cd = le->le_cd + 1;
        n++;
    }
    return n;
}

static void
one_step(zap_leaf_t *l)
{
    model_entry_t *me = &model[rnd(MODEL_MAX)];
    zap_name_t zn = model_name(me);
    uint16_t c;
    if (!me->me_used) {
        zap_value_t zv = model_value(me);
        int err = zap_leaf_add(l, &zn, ZAP_NEED_CD, &zv);
        ck_assert(err == 0 || err == EAGAIN);
        me->me_used = err == 0;
        return;
    }
    ck_assert_int_eq(zap_leaf_lookup(l, &zn, &c), 0);
    if (rnd(2) == 0) {
        ck_assert_int_eq(zap_leaf_remove(l, c), 0);
        me->me_used = false;
        return;
    }
    model_entry_t now = *me;
    now.me_num = 1 + rnd(30);
    now.me_value[0]++;
    zap_value_t zv = model_value(&now);
    int err = zap_leaf_update(l, c, &zv);
    ck_assert(err == 0 || err == EAGAIN);
    if (err == 0)
        *me = now;
}

static uint32_t
free_chunks(const zap_leaf_t *l)
{
    uint32_t n = 0, used = 0;
    const zap_leaf_chunk_t *ch =
        (const zap_leaf_chunk_t *)(l->l_phys->lh_hash + (1u << ZAP_LEAF_HASH_SHIFT(l->l_shift)));
    for (uint16_t c = l->l_phys->lh_freelist; c != ZAP_CHAIN_END; c = ch[c].l_free.lf_next)
        n++;
    for (uint32_t c = 0; c < ZAP_LEAF_NUMCHUNKS(l->l_shift); c++)
        used += ch[c].l_free.lf_type != ZAP_CHUNK_FREE;
    ck_assert_uint_eq(n + used, ZAP_LEAF_NUMCHUNKS(l->l_shift));
    return n;
}

START_TEST(leaf_random)
{
    int shift = _i;
    zap_leaf_t l = new_leaf(shift);
    for (int i = 0; i < MODEL_MAX; i++)
        model_make(&model[i], i, shift == 12 ? 3 : 100);
    for (int step = 0; step < effort(20000); step++) {
        one_step(&l);
        if (step % 500 != 0)
            continue;
        for (int i = 0; i < MODEL_MAX; i++)
            model_check(&l, &model[i]);
        ck_assert_int_eq(l.l_phys->lh_nentries, model_used());
        ck_assert_int_eq(count_by_order(&l), model_used());
        ck_assert_uint_eq(free_chunks(&l), l.l_phys->lh_nfree);
    }
    free(l.l_phys);
}
END_TEST

START_TEST(leaf_split)
{
    zap_leaf_t l = new_leaf(14), nl = new_leaf(14);
    for (int i = 0; i < MODEL_MAX; i++) {
        model_make(&model[i], i, 1000);
        zap_name_t zn = model_name(&model[i]);
        zap_value_t zv = model_value(&model[i]);
        model[i].me_used = zap_leaf_add(&l, &zn, ZAP_NEED_CD, &zv) == 0;
    }
    int total = l.l_phys->lh_nentries;
    ck_assert_int_eq(zap_leaf_split(&l, &nl), 0);
    ck_assert_int_eq(l.l_phys->lh_nentries + nl.l_phys->lh_nentries, total);
    ck_assert_int_eq(zap_leaf_check(&l, 0, 1), 0);
    ck_assert_int_eq(zap_leaf_check(&nl, 1, 1), 0);
    for (int i = 0; i < MODEL_MAX; i++)
        model_check(model[i].me_hash >> 63 ? &nl : &l, &model[i]);
    free(l.l_phys);
    free(nl.l_phys);
}
END_TEST

/* Values are read as wider integers, not as narrower ones; a short buffer gets what fits. */
START_TEST(leaf_widths)
{
    zap_leaf_t l = new_leaf(12);
    uint16_t in[3] = {1, 0xfffe, 77}, c;
    zap_name_t zn = {"n", 2, 1ULL << 63, true};
    zap_value_t zv = {2, 3, in};
    ck_assert_int_eq(zap_leaf_add(&l, &zn, ZAP_NEED_CD, &zv), 0);
    ck_assert_int_eq(zap_leaf_lookup(&l, &zn, &c), 0);
    uint64_t wide[3] = {0};
    uint8_t narrow[8];
    ck_assert_int_eq(zap_leaf_value(&l, c, &(zap_value_t){8, 3, wide}), 0);
    ck_assert(wide[0] == 1 && wide[1] == 0xfffe && wide[2] == 77);
    ck_assert_int_eq(zap_leaf_value(&l, c, &(zap_value_t){1, 8, narrow}), EINVAL);
    wide[1] = 0;
    ck_assert_int_eq(zap_leaf_value(&l, c, &(zap_value_t){8, 1, wide}), EOVERFLOW);
    ck_assert(wide[0] == 1 && wide[1] == 0);
    free(l.l_phys);
}
END_TEST

/* Names of u64 words (dedup tables): read as hex text. */
START_TEST(leaf_word_names)
{
    zap_leaf_t l = new_leaf(12);
    const uint8_t words[17] = {0, 0, 0, 0, 0, 0, 0x12, 0x34, 0xff};
    uint64_t v = 5;
    uint16_t c;
    char name[1024];
    l.l_namesize = 8;
    zap_name_t zn = {(const char *)words, 16, 1ULL << 63, true};
    zap_value_t zv = {8, 1, &v};
    ck_assert_int_eq(zap_leaf_add(&l, &zn, ZAP_NEED_CD, &zv), 0);
    ck_assert_int_eq(zap_leaf_closest(&l, 0, 0, &c), 0);
    ck_assert_uint_eq(zap_leaf_entry(&l, c)->le_name_numints, 2);
    ck_assert_int_eq(zap_leaf_name(&l, c, name, sizeof(name)), 0);
    ck_assert_str_eq(name, "0000000000001234 ff00000000000000");
    ck_assert_int_eq(zap_leaf_lookup(&l, &zn, &c), EINVAL);
    free(l.l_phys);
}
END_TEST

/* Damage: anything may happen but a crash, a hang or a stray access. */
static void
use_damaged(zap_leaf_t *l, zap_leaf_t *nl)
{
    uint64_t out[64], hash = 0;
    uint32_t cd = 0;
    char name[1024];
    uint16_t c;
    if (zap_leaf_check(l, 0, 0) != 0)
        return;
    for (int i = 0; i < 1000 && zap_leaf_closest(l, hash, cd, &c) == 0; i++) {
        (void)zap_leaf_value(l, c, &(zap_value_t){8, 64, out});
        (void)zap_leaf_name(l, c, name, sizeof(name));
        hash = zap_leaf_entry(l, c)->le_hash;
        cd = zap_leaf_entry(l, c)->le_cd + 1;
    }
    for (int i = 0; i < 20; i++) {
        model_entry_t *me = &model[rnd(MODEL_MAX)];
        zap_name_t zn = model_name(me);
        zap_value_t zv = model_value(me);
        if (zap_leaf_lookup(l, &zn, &c) != 0)
            (void)zap_leaf_add(l, &zn, ZAP_NEED_CD, &zv);
        else if (rnd(2) == 0)
            (void)zap_leaf_remove(l, c);
        else
            (void)zap_leaf_update(l, c, &zv);
    }
    (void)zap_leaf_split(l, nl);
}

START_TEST(leaf_damage)
{
    zap_leaf_t good = new_leaf(12), l = new_leaf(12), nl = new_leaf(12);
    for (int i = 0; i < MODEL_MAX; i++) {
        model_make(&model[i], i, 50);
        zap_name_t zn = model_name(&model[i]);
        zap_value_t zv = model_value(&model[i]);
        if (i < 30)
            (void)zap_leaf_add(&good, &zn, ZAP_NEED_CD, &zv);
    }
    for (int round = 0; round < effort(30000); round++) {
        uint8_t *p = (uint8_t *)l.l_phys;
        memcpy(p, good.l_phys, 4096);
        for (uint64_t k = 1 + rnd(8); k > 0; k--) {
            uint64_t at = rnd(3) == 0 ? 24 + rnd(300) : rnd(4096);
            p[at] = rnd(2) == 0 ? (uint8_t)rnd(256) : (uint8_t)(p[at] ^ (1u << rnd(8)));
        }
        use_damaged(&l, &nl);
    }
    free(good.l_phys);
    free(l.l_phys);
    free(nl.l_phys);
}
END_TEST

/* The CRC-64 that ZFS seeds with the salt: one value computed by hand (polynomial division, zpl.md 4.4). */
START_TEST(hash_value)
{
    uint64_t h = 1;
    for (const char *s = "abc"; *s != 0; s++) {
        uint64_t c = (h ^ (uint8_t)*s) & 0xff;
        for (int k = 0; k < 8; k++)
            c = (c >> 1) ^ ((c & 1) ? 0xC96C5795D7870F42ULL : 0);
        h = (h >> 8) ^ c;
    }
    ck_assert_uint_eq(zap_hash_bytes(1, "abc", 3, false, 28), h & 0xfffffff000000000ULL);
    ck_assert_uint_eq(zap_hash_bytes(1, "abc", 3, false, 48), h & 0xffffffffffff0000ULL);
    ck_assert_uint_eq(zap_hash_bytes(1, "aBc", 3, true, 28), zap_hash_bytes(1, "ABC", 3, false, 28));
}
END_TEST

/* ---- byte order ---- */

/* For classes without conditions, turning twice is the identity and the middle differs. */
static void
turn_twice(dmu_byteswap_t how, void *p, size_t n)
{
    uint8_t *copy = malloc(n);
    memcpy(copy, p, n);
    dmu_byteswap(how, p, n);
    ck_assert_int_ne(memcmp(copy, p, n), 0);
    dmu_byteswap(how, p, n);
    ck_assert_int_eq(memcmp(copy, p, n), 0);
    free(copy);
}

START_TEST(swap_leaf_block)
{
    zap_leaf_t l = new_leaf(14);
    for (int i = 0; i < 60; i++) {
        model_make(&model[i], i, 50);
        zap_name_t zn = model_name(&model[i]);
        zap_value_t zv = model_value(&model[i]);
        model[i].me_used = zap_leaf_add(&l, &zn, ZAP_NEED_CD, &zv) == 0;
    }
    uint8_t foreign[16384];
    memcpy(foreign, l.l_phys, sizeof(foreign));
    /* by hand: the header's kind, a bucket head, a link */
    *(uint64_t *)foreign = __builtin_bswap64(*(uint64_t *)foreign);
    dmu_byteswap(DMU_BSWAP_ZAP, foreign, sizeof(foreign)); /* all but the kind turns from ours to foreign */
    ck_assert_uint_eq(*(uint64_t *)foreign, ZBT_LEAF);
    ck_assert_uint_eq(*(uint32_t *)(foreign + 24), __builtin_bswap32(ZAP_LEAF_MAGIC));
    *(uint64_t *)foreign = __builtin_bswap64(*(uint64_t *)foreign);
    dmu_byteswap(DMU_BSWAP_ZAP, foreign, sizeof(foreign));
    ck_assert_int_eq(memcmp(foreign, l.l_phys, sizeof(foreign)), 0);
    free(l.l_phys);
}
END_TEST

START_TEST(swap_simple)
{
    uint64_t w[64];
    for (int i = 0; i < 64; i++)
        w[i] = rnd(UINT64_MAX);
    turn_twice(DMU_BSWAP_UINT16, w, sizeof(w));
    turn_twice(DMU_BSWAP_UINT32, w, sizeof(w));
    turn_twice(DMU_BSWAP_UINT64, w, sizeof(w));
    turn_twice(DMU_BSWAP_ZAP, w, sizeof(w)); /* no kind: a pointer table */
    turn_twice(DMU_BSWAP_OLDACL, w, 48);
    dmu_byteswap(DMU_BSWAP_UINT8, w, sizeof(w));
}
END_TEST

/* A znode with a version 1 ACL of two entries, the second with a FUID, as a big-endian machine writes it. */
START_TEST(swap_znode)
{
    uint64_t room[40] = {0};
    uint8_t *p = (uint8_t *)room;
    for (int i = 0; i < 22; i++)
        room[i] = __builtin_bswap64((uint64_t)i + 1);
    uint8_t *acl = p + 176;
    acl[11] = 24;                                /* size */
    acl[13] = 1;                                 /* version */
    acl[15] = 2;                                 /* count */
    acl[17] = 1, acl[18] = 0x10, acl[23] = 0x7f; /* deny, owner */
    acl[25] = 0, acl[26] = 0, acl[31] = 0x3;     /* allow, a user */
    acl[39] = 0x2a;                              /* fuid 42 */
    memcpy(p + 264, "link", 5);
    dmu_byteswap(DMU_BSWAP_ZNODE, p, 272);
    ck_assert_uint_eq(room[0], 1);
    ck_assert_uint_eq(room[21], 22);
    ck_assert_uint_eq(*(uint32_t *)(acl + 8), 24);
    ck_assert_uint_eq(*(uint16_t *)(acl + 14), 2);
    ck_assert_uint_eq(*(uint16_t *)(acl + 16), 1);
    ck_assert_uint_eq(*(uint16_t *)(acl + 18), 0x1000);
    ck_assert_uint_eq(*(uint32_t *)(acl + 20), 0x7f);
    ck_assert_uint_eq(*(uint32_t *)(acl + 28), 3);
    ck_assert_uint_eq(*(uint64_t *)(acl + 32), 42);
    ck_assert_int_eq(memcmp(p + 264, "link", 4), 0);
}
END_TEST

/* Two dnodes: a small one with a u64 bonus, a large one (2 slots) with a spill pointer. */
START_TEST(swap_dnodes)
{
    static uint64_t room[2048];
    dnode_phys_t *dn = (dnode_phys_t *)room;
    dn[0] = (dnode_phys_t){
        .dn_type = DMU_OT_DSL_DIR, .dn_nblkptr = 1, .dn_nlevels = 1, .dn_bonustype = DMU_OT_DSL_DIR};
    dn[0].dn_datablkszsec = __builtin_bswap16(1);
    dn[0].dn_bonuslen = __builtin_bswap16(256);
    dn[0].dn_maxblkid = __builtin_bswap64(5);
    dn[0].dn_blkptr[0].blk_birth = __builtin_bswap64(77);
    ((uint64_t *)dnode_phys_bonus(&dn[0]))[31] = __builtin_bswap64(31);
    dn[1] = (dnode_phys_t){.dn_type = DMU_OT_PLAIN_FILE_CONTENTS,
                           .dn_nblkptr = 1,
                           .dn_extra_slots = 1,
                           .dn_bonustype = DMU_OT_SA,
                           .dn_flags = DNODE_FLAG_SPILL_BLKPTR};
    dn[1].dn_bonuslen = __builtin_bswap16(400);
    dnode_phys_spill(&dn[1])->blk_birth = __builtin_bswap64(99);
    dn[3].dn_type = DMU_OT_ZNODE;
    dn[3].dn_datablkszsec = __builtin_bswap16(3);
    dmu_byteswap(DMU_BSWAP_DNODE, room, sizeof(room));
    ck_assert_uint_eq(dn[0].dn_datablkszsec, 1);
    ck_assert_uint_eq(dn[0].dn_bonuslen, 256);
    ck_assert_uint_eq(dn[0].dn_maxblkid, 5);
    ck_assert_uint_eq(dn[0].dn_blkptr[0].blk_birth, 77);
    ck_assert_uint_eq(((uint64_t *)dnode_phys_bonus(&dn[0]))[31], 31);
    ck_assert_uint_eq(dnode_phys_spill(&dn[1])->blk_birth, 99);
    ck_assert_uint_eq(dn[3].dn_datablkszsec, 3);
}
END_TEST

/* Any bytes, any class, any size: nothing outside is touched (the sanitizer watches). */
START_TEST(swap_garbage)
{
    for (int round = 0; round < effort(20000); round++) {
        size_t n = 8 * rnd(600);
        uint8_t *p = malloc(n + 1);
        for (size_t i = 0; i < n; i++)
            p[i] = rnd(3) == 0 ? (uint8_t)rnd(256) : (uint8_t)rnd(4);
        if (n >= 8 && rnd(2) == 0)
            *(uint64_t *)p = __builtin_bswap64(ZBT_LEAF + rnd(4));
        dmu_byteswap((dmu_byteswap_t)rnd(DMU_BSWAP_NUMFUNCS), p, n);
        free(p);
    }
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("zap_leaf");
    TCase *t = tcase_create("leaf");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, leaf_random, 12, 16);
    tcase_add_test(t, leaf_split);
    tcase_add_test(t, leaf_widths);
    tcase_add_test(t, leaf_word_names);
    tcase_add_test(t, leaf_damage);
    tcase_add_test(t, hash_value);
    tcase_add_test(t, swap_simple);
    tcase_add_test(t, swap_leaf_block);
    tcase_add_test(t, swap_znode);
    tcase_add_test(t, swap_dnodes);
    tcase_add_test(t, swap_garbage);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
