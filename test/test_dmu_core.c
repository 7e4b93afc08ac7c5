/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dmu_core.c - objects and their contents against byte arrays, alone and from several threads.
 *
 * After each round the tree on disk is walked independently of the code under test: dmupool.h.
 */
#include "support/effort.h"
#include "support/dmupool.h"
#include "support/faultdisk.h"

/* ---- randomness, per thread ---- */

static uint64_t
rnd(uint64_t *s, uint64_t n)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return (*s >> 11) % n;
}

static pool_t *pool;

static void
setup(void)
{
    pool = pool_create(256 << 20, 16 << 20);
}

static void
teardown(void)
{
    pool_destroy(pool);
}

static uint64_t
new_object(pool_t *p, uint32_t blksz, dmu_object_type_t bonustype, uint32_t bonuslen, uint32_t dnodesize)
{
    dmu_tx_t *tx = pool_tx(p);
    uint64_t object;

    ck_assert_int_eq(dmu_object_alloc(p->p_os, DMU_OT_PLAIN_FILE_CONTENTS, blksz, bonustype, bonuslen,
                                      dnodesize, tx, &object),
                     0);
    dmu_tx_commit(tx);
    return object;
}

static int
put(pool_t *p, uint64_t object, uint64_t off, uint64_t len, const void *buf)
{
    dmu_tx_t *tx = dmu_tx_create(p->p_os);
    int err;

    dmu_tx_hold_write(tx, object, off, len);
    if ((err = dmu_tx_assign(tx, DMU_TX_WAIT)) != 0) {
        dmu_tx_abort(tx);
        return err;
    }
    err = dmu_write(p->p_os, object, off, len, buf, tx);
    dmu_tx_commit(tx);
    return err;
}

static int
punch(pool_t *p, uint64_t object, uint64_t off, uint64_t len)
{
    dmu_tx_t *tx = dmu_tx_create(p->p_os);
    int err;

    dmu_tx_hold_free(tx, object, off, len);
    if ((err = dmu_tx_assign(tx, DMU_TX_WAIT)) != 0) {
        dmu_tx_abort(tx);
        return err;
    }
    err = dmu_free_range(p->p_os, object, off, len, tx);
    dmu_tx_commit(tx);
    return err;
}

/* ---- the model: objects as byte arrays ---- */

#define OBJ_MAX (600 << 10)

typedef struct mobj {
    uint64_t m_object;
    uint32_t m_bonuslen, m_spill; /* 0 none */
    uint32_t m_dnodesize;
    uint8_t *m_data;
    uint8_t m_bonus[320], m_spillbyte;
} mobj_t;

typedef struct worker {
    pool_t *k_p;
    uint64_t k_seed;
    int k_n, k_ops;
    mobj_t *k_objs;
    uint8_t *k_buf;
} worker_t;

static const uint32_t blksizes[] = {512, 1536, 4096, 16384, 131072};

static void
m_create(worker_t *k, mobj_t *m)
{
    m->m_dnodesize = rnd(&k->k_seed, 4) == 0 ? 512 << rnd(&k->k_seed, 4) : 512;
    m->m_bonuslen = (uint32_t)rnd(&k->k_seed, 3) * 60;
    m->m_object = new_object(k->k_p, blksizes[rnd(&k->k_seed, ARRAY_SIZE(blksizes))], DMU_OT_PLAIN_OTHER,
                             m->m_bonuslen, m->m_dnodesize);
    m->m_spill = 0;
    memset(m->m_bonus, 0, sizeof(m->m_bonus));
    memset(m->m_data, 0, OBJ_MAX);
}

static void
m_range(worker_t *k, uint64_t *off, uint64_t *len)
{
    *len = 1 + rnd(&k->k_seed, rnd(&k->k_seed, 4) == 0 ? 200000 : 3000);
    *off = rnd(&k->k_seed, OBJ_MAX - *len);
    if (rnd(&k->k_seed, 3) == 0) {
        *off = P2ALIGN(*off, 4096ULL);
        *len = MIN(P2ROUNDUP(*len, 4096ULL), OBJ_MAX - *off);
    }
}

static void
op_write(worker_t *k, mobj_t *m)
{
    uint64_t off, len;

    m_range(k, &off, &len);
    bool zeros = rnd(&k->k_seed, 8) == 0, noise = rnd(&k->k_seed, 2) == 0;
    uint64_t base = rnd(&k->k_seed, 250) + 1;
    for (uint64_t i = 0; i < len; i++)
        m->m_data[off + i] = zeros ? 0 : (uint8_t)(noise ? rnd(&k->k_seed, 256) : base);
    ck_assert_int_eq(put(k->k_p, m->m_object, off, len, m->m_data + off), 0);
}

static const enum zio_compress packers[] = {ZIO_COMPRESS_LZJB, ZIO_COMPRESS_LZ4, ZIO_COMPRESS_GZIP_1,
                                            ZIO_COMPRESS_ZLE, ZIO_COMPRESS_ZSTD};

/* What a stream could bring for these bytes: packed, where they can be, and then of the length found or filled up. */
static arc_buf_t *
payload(worker_t *k, const uint8_t *data, uint32_t n)
{
    enum zio_compress c = packers[rnd(&k->k_seed, ARRAY_SIZE(packers))];
    arc_buf_t *buf = arc_buf_alloc(n);
    size_t len = rnd(&k->k_seed, 4) == 0 ? 0 : zio_compress_data(c, 1, data, k->k_buf, n, n);

    if (len == 0) {
        memcpy(buf->b_data, data, n);
        return buf;
    }
    arc_buf_rele(buf);
    if (rnd(&k->k_seed, 2) == 0 && P2ROUNDUP(len, 512) < n) {
        memset(k->k_buf + len, 0, 512);
        len = P2ROUNDUP(len, 512);
    }
    buf = arc_buf_alloc((uint32_t)len);
    memcpy(buf->b_data, k->k_buf, len);
    return arc_buf_pack(buf, c, n);
}

/* A whole block (rarely another piece) that comes as a buffer. */
static void
op_assign(worker_t *k, mobj_t *m)
{
    dmu_tx_t *tx = dmu_tx_create(k->k_p->p_os);
    dmu_object_info_t doi;
    uint64_t off, base = rnd(&k->k_seed, 250) + 1, noise = rnd(&k->k_seed, 12);

    ck_assert_int_eq(dmu_object_info(k->k_p->p_os, m->m_object, &doi), 0);
    uint32_t n =
        rnd(&k->k_seed, 8) == 0 ? 512 * (1 + (uint32_t)rnd(&k->k_seed, 100)) : doi.doi_data_block_size;
    off = rnd(&k->k_seed, OBJ_MAX / n) * n;
    for (uint64_t i = 0; i < n; i++)
        m->m_data[off + i] =
            (uint8_t)(noise > 8 || rnd(&k->k_seed, 1 + noise) > 1 ? rnd(&k->k_seed, 256) : base);
    arc_buf_t *buf = payload(k, m->m_data + off, n);
    dmu_tx_hold_write(tx, m->m_object, off, n);
    ck_assert_int_eq(dmu_tx_assign(tx, DMU_TX_WAIT), 0);
    ck_assert_int_eq(dmu_assign_arcbuf(k->k_p->p_os, m->m_object, off, buf, tx), 0);
    arc_buf_rele(buf);
    dmu_tx_commit(tx);
}

static void op_read(worker_t *k, mobj_t *m);

/* Holders of a block see what it is and keep it plain. */
static void
op_hold(worker_t *k, mobj_t *m)
{
    uint64_t off = rnd(&k->k_seed, OBJ_MAX), n;
    dmu_buf_t *db;

    ck_assert_int_eq(dmu_buf_hold(k->k_p->p_os, m->m_object, off, &db), 0);
    n = MIN(db->db_size, OBJ_MAX - db->db_offset);
    ck_assert_int_eq(memcmp(db->db_data, m->m_data + db->db_offset, n), 0);
    op_assign(k, m);
    op_read(k, m);
    ck_assert_int_eq(memcmp(db->db_data, m->m_data + db->db_offset, n), 0);
    dmu_buf_rele(db);
}

static void
op_free(worker_t *k, mobj_t *m)
{
    uint64_t off, len;

    m_range(k, &off, &len);
    if (rnd(&k->k_seed, 4) == 0) {
        memset(m->m_data + off, 0, OBJ_MAX - off);
        if (rnd(&k->k_seed, 4) == 0)
            ck_assert_int_eq(dmu_free_long_range(k->k_p->p_os, m->m_object, off, DMU_OBJECT_END), 0);
        else
            ck_assert_int_eq(punch(k->k_p, m->m_object, off, DMU_OBJECT_END), 0);
        return;
    }
    memset(m->m_data + off, 0, len);
    ck_assert_int_eq(punch(k->k_p, m->m_object, off, len), 0);
}

static void
op_read(worker_t *k, mobj_t *m)
{
    uint64_t off, len;

    m_range(k, &off, &len);
    ck_assert_int_eq(dmu_read(k->k_p->p_os, m->m_object, off, len, k->k_buf), 0);
    ck_assert_int_eq(memcmp(k->k_buf, m->m_data + off, len), 0);
}

static void
op_bonus(worker_t *k, mobj_t *m)
{
    dmu_buf_t *db;
    dmu_tx_t *tx;

    ck_assert_int_eq(dmu_bonus_hold(k->k_p->p_os, m->m_object, &db), 0);
    ck_assert_uint_eq(db->db_size, m->m_bonuslen);
    ck_assert_int_eq(memcmp(db->db_data, m->m_bonus, m->m_bonuslen), 0);
    tx = pool_tx(k->k_p);
    dmu_buf_will_dirty(db, tx);
    for (uint32_t i = 0; i < m->m_bonuslen; i++)
        ((uint8_t *)db->db_data)[i] = m->m_bonus[i] = (uint8_t)rnd(&k->k_seed, 256);
    if (rnd(&k->k_seed, 4) == 0) {
        uint32_t len = (uint32_t)rnd(&k->k_seed, 120);
        if (dmu_set_bonus(db, (uint16_t)len, DMU_OT_PLAIN_OTHER, tx) == 0) {
            if (len < m->m_bonuslen)
                memset(m->m_bonus + len, 0, m->m_bonuslen - len);
            m->m_bonuslen = len;
        }
    }
    dmu_tx_commit(tx);
    dmu_buf_rele(db);
}

static void
check_spill(worker_t *k, mobj_t *m)
{
    dmu_buf_t *db;
    int err = dmu_spill_hold(k->k_p->p_os, m->m_object, &db);

    ck_assert_int_eq(err, m->m_spill == 0 ? ENOENT : 0);
    if (err != 0)
        return;
    ck_assert_uint_eq(db->db_size, m->m_spill);
    for (uint32_t i = 0; i < m->m_spill; i += 100)
        ck_assert_int_eq(((uint8_t *)db->db_data)[i], m->m_spillbyte);
    dmu_buf_rele(db);
}

static void
op_spill(worker_t *k, mobj_t *m)
{
    dmu_tx_t *tx = dmu_tx_create(k->k_p->p_os);
    dmu_buf_t *db;

    dmu_tx_hold_spill(tx, m->m_object);
    ck_assert_int_eq(dmu_tx_assign(tx, DMU_TX_WAIT), 0);
    if (m->m_spill != 0 && rnd(&k->k_seed, 2) == 0) {
        ck_assert_int_eq(dmu_spill_remove(k->k_p->p_os, m->m_object, tx), 0);
        m->m_spill = 0;
    } else {
        uint32_t size = 512 * (1 + (uint32_t)rnd(&k->k_seed, 20));
        int err = dmu_spill_create(k->k_p->p_os, m->m_object, size, tx, &db);
        ck_assert(err == 0 || err == EINVAL);
        if (err == 0) {
            m->m_spill = size;
            m->m_spillbyte = (uint8_t)(1 + rnd(&k->k_seed, 200));
            memset(db->db_data, m->m_spillbyte, size);
            dmu_buf_rele(db);
        }
    }
    dmu_tx_commit(tx);
    check_spill(k, m);
}

static void
op_blksz(worker_t *k, mobj_t *m)
{
    dmu_tx_t *tx = dmu_tx_create(k->k_p->p_os);
    int err;

    dmu_tx_hold_write(tx, m->m_object, 0, 131072);
    ck_assert_int_eq(dmu_tx_assign(tx, DMU_TX_WAIT), 0);
    if (rnd(&k->k_seed, 2) == 0) {
        uint64_t cut = 512 + rnd(&k->k_seed, 3000);
        ck_assert_int_eq(dmu_free_range(k->k_p->p_os, m->m_object, cut, DMU_OBJECT_END, tx), 0);
        memset(m->m_data + cut, 0, OBJ_MAX - cut);
    }
    uint32_t bs = 8192 + 512 * (uint32_t)rnd(&k->k_seed, 200);
    err = dmu_object_set_blocksize(k->k_p->p_os, m->m_object, bs, tx);
    ck_assert(err == 0 || err == ENOTSUP);
    if (err == 0) /* it may have shrunk from a larger one */
        memset(m->m_data + bs, 0, OBJ_MAX - bs);
    dmu_tx_commit(tx);
}

static void
op_recreate(worker_t *k, mobj_t *m)
{
    dmu_tx_t *tx = pool_tx(k->k_p);
    dmu_object_info_t doi;

    ck_assert_int_eq(dmu_object_free(k->k_p->p_os, m->m_object, tx), 0);
    ck_assert_int_eq(dmu_object_info(k->k_p->p_os, m->m_object, &doi), ENOENT);
    dmu_tx_commit(tx);
    m_create(k, m);
}

static void
check_object(worker_t *k, mobj_t *m)
{
    dmu_buf_t *db;

    ck_assert_int_eq(dmu_read(k->k_p->p_os, m->m_object, 0, OBJ_MAX, k->k_buf), 0);
    ck_assert_int_eq(memcmp(k->k_buf, m->m_data, OBJ_MAX), 0);
    ck_assert_int_eq(dmu_bonus_hold(k->k_p->p_os, m->m_object, &db), 0);
    ck_assert_uint_eq(db->db_size, m->m_bonuslen);
    ck_assert_int_eq(memcmp(db->db_data, m->m_bonus, m->m_bonuslen), 0);
    dmu_buf_rele(db);
    check_spill(k, m);
}

static void *
work(void *arg)
{
    worker_t *k = arg;

    for (int i = 0; i < k->k_ops; i++) {
        mobj_t *m = &k->k_objs[rnd(&k->k_seed, (uint64_t)k->k_n)];
        uint64_t what = rnd(&k->k_seed, 100);
        if (what < 22)
            op_write(k, m);
        else if (what < 38)
            op_assign(k, m);
        else if (what < 40)
            op_hold(k, m);
        else if (what < 55)
            op_free(k, m);
        else if (what < 75)
            op_read(k, m);
        else if (what < 85)
            op_bonus(k, m);
        else if (what < 91)
            op_spill(k, m);
        else if (what < 95)
            op_blksz(k, m);
        else if (what < 97)
            op_recreate(k, m);
        else if (what < 98)
            check_object(k, m);
        else if (what < 99)
            ck_assert_int_eq(txg_wait_synced(k->k_p->p_ts, 0), 0);
        else
            txg_kick(k->k_p->p_ts);
    }
    return NULL;
}

#define WORKERS 4
#define OBJS    6

static void
worker_init(worker_t *k, pool_t *p, uint64_t seed, int ops)
{
    *k = (worker_t){.k_p = p, .k_seed = seed * 0x9E3779B97F4A7C15ULL + 1, .k_n = OBJS, .k_ops = ops};
    k->k_objs = xzalloc(OBJS * sizeof(mobj_t));
    k->k_buf = xmalloc(OBJ_MAX);
    for (int i = 0; i < OBJS; i++) {
        k->k_objs[i].m_data = xzalloc(OBJ_MAX);
        m_create(k, &k->k_objs[i]);
    }
}

static void
worker_fini(worker_t *k)
{
    for (int i = 0; i < OBJS; i++)
        free(k->k_objs[i].m_data);
    free(k->k_objs);
    free(k->k_buf);
}

static void
random_rounds(uint64_t seed, int nworkers, int rounds, int ops)
{
    worker_t k[WORKERS];
    pthread_t t[WORKERS];

    for (int i = 0; i < nworkers; i++)
        worker_init(&k[i], pool, seed + (uint64_t)i, ops);
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < nworkers; i++)
            VERIFY0(pthread_create(&t[i], NULL, work, &k[i]));
        for (int i = 0; i < nworkers; i++)
            VERIFY0(pthread_join(t[i], NULL));
        pool_verify(pool);
        if (round % 2 == 1)
            pool_reopen(pool);
        for (int i = 0; i < nworkers; i++)
            for (int j = 0; j < OBJS; j++)
                check_object(&k[i], &k[i].k_objs[j]);
    }
    for (int i = 0; i < nworkers; i++)
        worker_fini(&k[i]);
}

START_TEST(random_alone)
{
    pool->p_os->os_indblkshift = _i == 0 ? 10 : 14;
    random_rounds(1 + (uint64_t)_i, 1, 12, 250);
}
END_TEST

START_TEST(random_threads)
{
    pool->p_os->os_indblkshift = _i == 0 ? 10 : 14;
    random_rounds(100 + (uint64_t)_i, WORKERS, 6, 200);
}
END_TEST

/* A MOS: three copies, a meta dnode that grows, several passes in a txg. */
START_TEST(random_passes)
{
    uint64_t word = 0, found = 0;

    pool_destroy(pool);
    pool = pool_create_ds(512 << 20, 16 << 20, 0);
    uint64_t object = new_object(pool, 1024, DMU_OT_NONE, 0, 0);
    pool_sync(pool);
    pool->p_sync_object = object;
    pool->p_passes = 6;
    random_rounds(900 + (uint64_t)_i, 2, 4, 150);
    for (uint64_t i = 0; i < 40; i++) {
        ck_assert_int_eq(dmu_read(pool->p_os, object, i * 2400, 8, &word), 0);
        found = MAX(found, word);
    }
    ck_assert_uint_eq(found, txg_last_synced(pool->p_ts));
}
END_TEST

/* ---- several threads in one object, disjoint bytes of the same blocks ---- */

typedef struct stripe {
    pool_t *s_p;
    uint64_t s_object;
    int s_id;
    uint8_t *s_data;
} stripe_t;

#define STRIPE     700
#define STRIPE_SET 150000

static void *
stripe_work(void *arg)
{
    stripe_t *s = arg;
    uint64_t seed = (uint64_t)s->s_id + 77;
    uint8_t buf[STRIPE];

    for (int i = 0; i < 1500; i++) {
        uint64_t off = (rnd(&seed, STRIPE_SET / STRIPE / WORKERS) * WORKERS + (uint64_t)s->s_id) * STRIPE;
        if (rnd(&seed, 2) == 0) {
            memset(s->s_data + off, (int)rnd(&seed, 255) + 1, STRIPE);
            ck_assert_int_eq(put(s->s_p, s->s_object, off, STRIPE, s->s_data + off), 0);
        } else {
            ck_assert_int_eq(dmu_read(s->s_p->p_os, s->s_object, off, STRIPE, buf), 0);
            ck_assert_int_eq(memcmp(buf, s->s_data + off, STRIPE), 0);
        }
        if (i % 50 == 0)
            txg_kick(s->s_p->p_ts);
    }
    return NULL;
}

START_TEST(shared_blocks)
{
    if (_i == 1) { /* a small disk and hardly a cache: freed blocks are overwritten under slow readers */
        pool_destroy(pool);
        pool = pool_create(64 << 20, 1 << 20);
        arc_set_limit(1);
    }
    uint8_t *data = xzalloc(STRIPE_SET), *got = xmalloc(STRIPE_SET);
    uint64_t object = new_object(pool, 4096, DMU_OT_NONE, 0, 0);
    stripe_t s[WORKERS];
    pthread_t t[WORKERS];

    for (int i = 0; i < WORKERS; i++) {
        s[i] = (stripe_t){pool, object, i, data};
        VERIFY0(pthread_create(&t[i], NULL, stripe_work, &s[i]));
    }
    for (int i = 0; i < WORKERS; i++)
        VERIFY0(pthread_join(t[i], NULL));
    pool_verify(pool);
    pool_reopen(pool);
    ck_assert_int_eq(dmu_read(pool->p_os, object, 0, STRIPE_SET, got), 0);
    ck_assert_int_eq(memcmp(got, data, STRIPE_SET), 0);
    free(data);
    free(got);
}
END_TEST

/* ---- depth ---- */

START_TEST(deep_tree)
{
    static const uint64_t at[] = {
        0, 1 << 20, 1ULL << 32, 1ULL << 44, (1ULL << 62) + 12345, (1ULL << 63) - 600};
    uint64_t object = new_object(pool, 4096, DMU_OT_NONE, 0, 0);
    uint8_t out[600], in[600];

    for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
        memset(out, (int)i + 1, sizeof(out));
        ck_assert_int_eq(put(pool, object, at[i], 599, out), 0);
        if (i % 2 == 0)
            pool_verify(pool);
    }
    ck_assert_int_eq(put(pool, object, (1ULL << 63) - 10, 100, out), EFBIG);
    pool_verify(pool);
    pool_reopen(pool);
    for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
        ck_assert_int_eq(dmu_read(pool->p_os, object, at[i], 599, in), 0);
        for (int j = 0; j < 599; j++)
            ck_assert_int_eq(in[j], (int)i + 1);
    }
    uint64_t off = 4096;
    ck_assert_int_eq(dmu_offset_next(pool->p_os, object, false, &off), 0);
    ck_assert_uint_eq(off, 1 << 20);
    ck_assert_int_eq(dmu_offset_next(pool->p_os, object, true, &off), 0);
    ck_assert_uint_eq(off, (1 << 20) + 4096);
    ck_assert_int_eq(dmu_offset_next(pool->p_os, object, false, &off), 0);
    ck_assert_uint_eq(off, 1ULL << 32);
    ck_assert_int_eq(dmu_free_long_range(pool->p_os, object, 5000, DMU_OBJECT_END), 0);
    pool_verify(pool);
    off = 4096;
    ck_assert_int_eq(dmu_offset_next(pool->p_os, object, false, &off), ESRCH);
    ck_assert_int_eq(dmu_offset_next(pool->p_os, object, true, &off), 0);
    ck_assert_uint_eq(off, 4096);
}
END_TEST

START_TEST(narrow_tree)
{
    uint8_t b = 1;
    pool->p_os->os_indblkshift = 10; /* 8 pointers per block */
    uint64_t object = new_object(pool, 512, DMU_OT_NONE, 0, 0);

    for (uint64_t i = 0; i < 38; i++, b++)
        ck_assert_int_eq(put(pool, object, (1ULL << i) * 7, 1, &b), 0);
    ck_assert_int_eq(put(pool, object, 1ULL << 60, 1, &b), EFBIG);
    pool_verify(pool);
    pool_reopen(pool);
    for (uint64_t i = 0; i < 38; i++) {
        ck_assert_int_eq(dmu_read(pool->p_os, object, (1ULL << i) * 7, 1, &b), 0);
        ck_assert_int_eq(b, (int)i + 1);
    }
    for (uint64_t i = 37; i > 0; i--) {
        ck_assert_int_eq(punch(pool, object, (1ULL << i) * 7, 1 + (i % 2) * 4096), 0);
        if (i % 5 == 0)
            pool_verify(pool);
    }
    pool_verify(pool);
}
END_TEST

/* A hot small object grows as the ZPL grows files. */
START_TEST(growing_file)
{
    uint64_t object = new_object(pool, 512, DMU_OT_NONE, 0, 0), size = 0;
    uint8_t *data = xmalloc(400000), *got = xmalloc(400000);
    uint32_t bs = 512;

    for (uint64_t i = 0; i < 400000; i++)
        data[i] = (uint8_t)(i * 2654435761u >> 13);
    for (uint64_t n = 300; size < 300000; n += 777) {
        dmu_tx_t *tx = dmu_tx_create(pool->p_os);
        dmu_tx_hold_write(tx, object, size, n);
        ck_assert_int_eq(dmu_tx_assign(tx, DMU_TX_WAIT), 0);
        if (size + n > bs && bs < 131072) {
            bs = (uint32_t)MIN(P2ROUNDUP(size + n, 512), 131072);
            ck_assert_int_eq(dmu_object_set_blocksize(pool->p_os, object, bs, tx), 0);
        }
        ck_assert_int_eq(dmu_write(pool->p_os, object, size, n, data + size, tx), 0);
        dmu_tx_commit(tx);
        size += n;
        if (n % 3 == 0)
            txg_kick(pool->p_ts);
        ck_assert_int_eq(dmu_read(pool->p_os, object, 0, size, got), 0);
        ck_assert_int_eq(memcmp(got, data, size), 0);
    }
    pool_verify(pool);
    pool_reopen(pool);
    ck_assert_int_eq(dmu_read(pool->p_os, object, 0, size, got), 0);
    ck_assert_int_eq(memcmp(got, data, size), 0);
    free(data);
    free(got);
}
END_TEST

/* ---- objects ---- */

START_TEST(object_numbers)
{
    uint64_t seen[3000], object, n = 0;
    uint8_t *used = xzalloc(1 << 17);
    uint64_t seed = 5;

    for (int round = 0; round < 6; round++) {
        dmu_tx_t *tx = pool_tx(pool);
        for (int i = 0; i < 400; i++) {
            uint32_t slots = rnd(&seed, 3) == 0 ? 1 + (uint32_t)rnd(&seed, 32) : 1;
            ck_assert_int_eq(
                dmu_object_alloc(pool->p_os, DMU_OT_PLAIN_OTHER, 0, 0, 0, slots * 512, tx, &object), 0);
            ck_assert_uint_le(object % 32 + slots, 32);
            for (uint32_t j = 0; j < slots; j++) {
                ck_assert_int_eq(used[object + j], 0);
                used[object + j] = 1 + (slots == 1 ? 0 : 1);
            }
            seen[n++] = object << 8 | slots;
        }
        dmu_tx_commit(tx);
        if (round % 2 == 0)
            pool_verify(pool);
        tx = pool_tx(pool);
        for (int i = 0; i < 200; i++) {
            uint64_t k = rnd(&seed, n), o = seen[k] >> 8;
            seen[k] = seen[--n];
            ck_assert_int_eq(dmu_object_free(pool->p_os, o, tx), 0);
            ck_assert_int_eq(dmu_object_claim(pool->p_os, o, DMU_OT_PLAIN_OTHER, 0, 0, 0, 0, tx), EEXIST);
        }
        dmu_tx_commit(tx);
        memset(used, 0, 1 << 17);
        /* numbers freed just now are not given again until they have synced */
        if (round % 2 == 0)
            pool_verify(pool);
        for (uint64_t i = 0; i < n; i++)
            for (uint64_t j = 0; j < (seen[i] & 255); j++)
                used[(seen[i] >> 8) + j] = 1;
    }
    pool_verify(pool);
    ck_assert_uint_eq(objset_nobjects(pool->p_os), n);
    object = 0;
    for (uint64_t i = 0; i < n; i++)
        ck_assert_int_eq(dmu_object_next(pool->p_os, &object, false, 0), 0);
    ck_assert_int_eq(dmu_object_next(pool->p_os, &object, false, 0), ESRCH);
    free(used);
}
END_TEST

START_TEST(object_claim)
{
    dmu_tx_t *tx = pool_tx(pool);
    dmu_object_info_t doi;
    uint64_t object = 0;

    ck_assert_int_eq(dmu_object_claim(pool->p_os, 64, DMU_OT_PLAIN_OTHER, 8192, DMU_OT_SA, 168, 4096, tx), 0);
    ck_assert_int_eq(dmu_object_claim(pool->p_os, 70, DMU_OT_PLAIN_OTHER, 0, 0, 0, 0, tx), EEXIST);
    ck_assert_int_eq(dmu_object_claim(pool->p_os, 72, DMU_OT_PLAIN_OTHER, 0, 0, 0, 0, tx), 0);
    ck_assert_int_eq(dmu_object_claim(pool->p_os, 95, DMU_OT_PLAIN_OTHER, 0, 0, 0, 1024, tx), EINVAL);
    ck_assert_int_eq(dmu_object_claim(pool->p_os, (1ULL << 48) - 1, DMU_OT_PLAIN_OTHER, 0, 0, 0, 0, tx), 0);
    ck_assert_int_eq(dmu_object_claim(pool->p_os, 1ULL << 48, DMU_OT_PLAIN_OTHER, 0, 0, 0, 0, tx), EINVAL);
    ck_assert_int_eq(dmu_object_next(pool->p_os, &object, false, 0), 0);
    ck_assert_uint_eq(object, 64);
    dmu_tx_commit(tx);
    pool_verify(pool);
    pool_reopen(pool);
    ck_assert_int_eq(dmu_object_info(pool->p_os, 64, &doi), 0);
    ck_assert_uint_eq(doi.doi_dnodesize, 4096);
    ck_assert_uint_eq(doi.doi_data_block_size, 8192);
    ck_assert_uint_eq(doi.doi_bonus_size, 168);
    ck_assert_int_eq(dmu_object_info(pool->p_os, 65, &doi), ENOENT);
    ck_assert_int_eq(dmu_object_info(pool->p_os, 71, &doi), ENOENT);
    object = 64;
    ck_assert_int_eq(dmu_object_next(pool->p_os, &object, false, 0), 0);
    ck_assert_uint_eq(object, 72);
    ck_assert_int_eq(dmu_object_next(pool->p_os, &object, true, 0), 0);
    ck_assert_uint_eq(object, 73);
    object = 72;
    ck_assert_int_eq(dmu_object_next(pool->p_os, &object, false, 0), 0);
    ck_assert_uint_eq(object, (1ULL << 48) - 1);
    tx = pool_tx(pool);
    ck_assert_int_eq(dmu_object_free(pool->p_os, object, tx), 0);
    dmu_tx_commit(tx);
    object = 72;
    ck_assert_int_eq(dmu_object_next(pool->p_os, &object, false, 0), ESRCH);
    pool_verify(pool);
}
END_TEST

START_TEST(object_reclaim)
{
    uint64_t object = new_object(pool, 4096, DMU_OT_PLAIN_OTHER, 100, 0);
    uint8_t data[4096];
    dmu_buf_t *db;
    dmu_tx_t *tx = pool_tx(pool);

    ck_assert_int_eq(dmu_bonus_hold(pool->p_os, object, &db), 0);
    dmu_buf_will_dirty(db, tx);
    memset(db->db_data, 7, 100);
    dmu_buf_rele(db);
    dmu_tx_commit(tx);
    memset(data, 3, sizeof(data));
    ck_assert_int_eq(put(pool, object, 0, 4096, data), 0);
    pool_verify(pool);
    tx = pool_tx(pool);
    ck_assert_int_eq(
        dmu_object_reclaim(pool->p_os, object, DMU_OT_DIRECTORY_CONTENTS, 8192, DMU_OT_SA, 168, tx), EINVAL);
    ck_assert_int_eq(dmu_free_range(pool->p_os, object, 0, DMU_OBJECT_END, tx), 0);
    ck_assert_int_eq(
        dmu_object_reclaim(pool->p_os, object, DMU_OT_DIRECTORY_CONTENTS, 8192, DMU_OT_SA, 300, tx), 0);
    dmu_tx_commit(tx);
    pool_verify(pool);
    pool_reopen(pool);
    ck_assert_int_eq(dmu_bonus_hold(pool->p_os, object, &db), 0);
    ck_assert_uint_eq(db->db_size, 300);
    ck_assert_int_eq(((uint8_t *)db->db_data)[99], 7);
    ck_assert_int_eq(((uint8_t *)db->db_data)[100], 0);
    dmu_buf_rele(db);
    tx = pool_tx(pool);
    ck_assert_int_eq(dmu_write(pool->p_os, object, 8192 * 500, 10, data, tx), 0);
    dmu_tx_commit(tx);
    pool_verify(pool);
}
END_TEST

typedef struct creator {
    pool_t *c_p;
    uint64_t c_objects[1500];
} creator_t;

static void *
create_many(void *arg)
{
    creator_t *c = arg;

    for (int i = 0; i < 1500; i++) {
        dmu_tx_t *tx = pool_tx(c->c_p);
        ck_assert_int_eq(dmu_object_alloc(c->c_p->p_os, DMU_OT_PLAIN_FILE_CONTENTS, 0, DMU_OT_SA, 168, 0, tx,
                                          &c->c_objects[i]),
                         0);
        if (i % 3 == 2)
            ck_assert_int_eq(dmu_object_free(c->c_p->p_os, c->c_objects[i - 1], tx), 0);
        dmu_tx_commit(tx);
        if (i % 3 == 2)
            c->c_objects[i - 1] = 0;
        if (i % 200 == 0)
            txg_kick(c->c_p->p_ts);
    }
    return NULL;
}

START_TEST(object_threads)
{
    creator_t *c = xzalloc(WORKERS * sizeof(*c));
    pthread_t t[WORKERS];
    uint8_t *used = xzalloc(1 << 16);

    for (int i = 0; i < WORKERS; i++) {
        c[i].c_p = pool;
        VERIFY0(pthread_create(&t[i], NULL, create_many, &c[i]));
    }
    for (int i = 0; i < WORKERS; i++)
        VERIFY0(pthread_join(t[i], NULL));
    pool_verify(pool);
    for (int i = 0; i < WORKERS; i++)
        for (int j = 0; j < 1500; j++)
            if (c[i].c_objects[j] != 0)
                ck_assert_int_eq(used[c[i].c_objects[j]]++, 0);
    ck_assert_uint_eq(objset_nobjects(pool->p_os), WORKERS * 1000);
    free(used);
    free(c);
}
END_TEST

/* ---- errors ---- */

START_TEST(no_space)
{
    uint64_t object = new_object(pool, 131072, DMU_OT_NONE, 0, 0);
    uint8_t *data = xmalloc(1 << 20);
    int err = 0;

    memset(data, 1, 1 << 20);
    pool_sync(pool);
    __atomic_store_n(&pool->p_reserve_max, 3 << 20, __ATOMIC_SEQ_CST);
    ck_assert_int_eq(put(pool, object, 0, 1 << 20, data), 0);
    ck_assert_int_eq(put(pool, object, 1 << 20, 1 << 20, data), 0);
    ck_assert_int_eq(put(pool, object, 2 << 20, 1 << 20, data), 0); /* waited for the others to sync */
    __atomic_store_n(&pool->p_reserve_max, 100, __ATOMIC_SEQ_CST);
    err = put(pool, object, 3 << 20, 1 << 20, data);
    ck_assert_int_eq(err, ENOSPC);
    __atomic_store_n(&pool->p_reserve_max, INT64_MAX / 2, __ATOMIC_SEQ_CST);
    ck_assert_int_eq(put(pool, object, 3 << 20, 1 << 20, data), 0);
    pool_verify(pool);
    free(data);
}
END_TEST

START_TEST(write_error)
{
    uint64_t object = new_object(pool, 4096, DMU_OT_NONE, 0, 0);
    uint8_t data[8192];
    int err;

    memset(data, 1, sizeof(data));
    pool_sync(pool);
    faultdisk_fail_at(pool->p_fd, FD_WRITE, 1, UINT64_MAX);
    ck_assert_int_eq(put(pool, object, 0, 8192, data), 0);
    ck_assert_int_eq(err = txg_wait_synced(pool->p_ts, 0), EIO);
    ck_assert_int_eq(put(pool, object, 0, 8192, data), EIO);
    ck_assert_int_eq(txg_wait_synced(pool->p_ts, 0), EIO);
    faultdisk_reset(pool->p_fd);
}
END_TEST

START_TEST(read_error)
{
    uint64_t object = new_object(pool, 131072, DMU_OT_NONE, 0, 0);
    uint64_t seed = 9;
    uint8_t *data = xmalloc(1 << 20);

    for (int i = 0; i < 1 << 20; i++)
        data[i] = (uint8_t)rnd(&seed, 256);
    ck_assert_int_eq(put(pool, object, 0, 1 << 20, data), 0);
    pool_verify(pool);
    pool_reopen(pool);
    arc_set_limit(1); /* as little as it allows */
    arc_set_limit(256 << 20);
    faultdisk_fail_at(pool->p_fd, FD_READ, 1, UINT64_MAX);
    /* what is still cached may be read; nothing wrong may be */
    for (int i = 0; i < 8; i++) {
        uint8_t *got = xmalloc(131072);
        int err = dmu_read(pool->p_os, object, (uint64_t)i << 17, 131072, got);
        ck_assert(err == EIO || (err == 0 && memcmp(got, data + (i << 17), 131072) == 0));
        free(got);
    }
    faultdisk_reset(pool->p_fd);
    pool_reopen(pool);
    ck_assert_int_eq(put(pool, object, 100, 5, data + 100), 0);
    pool_verify(pool);
    free(data);
}
END_TEST

static arc_buf_t *
packed(const void *bytes, uint32_t n, enum zio_compress c, uint32_t size)
{
    arc_buf_t *buf = arc_buf_alloc(n);

    memcpy(buf->b_data, bytes, n);
    return arc_buf_pack(buf, c, size);
}

static int
assign(uint64_t object, uint64_t off, arc_buf_t *buf)
{
    dmu_tx_t *tx = dmu_tx_create(pool->p_os);

    dmu_tx_hold_write(tx, object, off, buf->b_size);
    ck_assert_int_eq(dmu_tx_assign(tx, DMU_TX_WAIT), 0);
    int err = dmu_assign_arcbuf(pool->p_os, object, off, buf, tx);
    arc_buf_rele(buf);
    dmu_tx_commit(tx);
    return err;
}

/* Packed contents reach the disk as they came, whatever the object set's own compression; a reader in between does not matter. */
START_TEST(packed_stay)
{
    static uint8_t plain[65536], gz[65536], back[65536];
    uint64_t object = new_object(pool, sizeof(plain), 0, 0, 0);
    zbookmark_t zb;
    blkptr_t bp;

    memset(plain, 'x', sizeof(plain) / 2);
    for (size_t i = sizeof(plain) / 2; i < sizeof(plain); i++)
        plain[i] = (uint8_t)(i * i >> 7);
    size_t n = zio_compress_data(ZIO_COMPRESS_GZIP_9, 0, plain, gz, sizeof(plain), sizeof(plain));
    ck_assert_uint_gt(n, 4096);
    for (uint64_t i = 0; i < 3; i++)
        ck_assert_int_eq(
            assign(object, i * sizeof(plain), packed(gz, (uint32_t)n, ZIO_COMPRESS_GZIP_9, sizeof(plain))),
            0);
    ck_assert_int_eq(dmu_read(pool->p_os, object, sizeof(plain), sizeof(plain), back), 0);
    ck_assert_int_eq(memcmp(back, plain, sizeof(plain)), 0);
    ck_assert_int_eq(put(pool, object, 2 * sizeof(plain) + 5, 3, "abc"), 0);
    pool_verify(pool);
    pool_reopen(pool);
    for (uint64_t i = 0; i < 3; i++) {
        ck_assert_int_eq(dmu_block_pointer(pool->p_os, object, i * sizeof(plain), &bp, &zb), 0);
        ck_assert_uint_eq(BP_GET_COMPRESS(&bp), i < 2 ? ZIO_COMPRESS_GZIP_9 : ZIO_COMPRESS_LZ4);
        ck_assert_int_eq(dmu_read(pool->p_os, object, i * sizeof(plain), sizeof(plain), back), 0);
        if (i == 2)
            memcpy(plain + 5, "abc", 3);
        ck_assert_int_eq(memcmp(back, plain, sizeof(plain)), 0);
    }
}
END_TEST

/* What does not unpack is an error for whoever reads it, before and after the sync, and can be overwritten and freed. */
START_TEST(packed_garbage)
{
    static uint8_t junk[8192], back[65536], two[2 * sizeof(back)];
    uint64_t object = new_object(pool, sizeof(back), 0, 0, 0);

    memset(junk, 0xa5, sizeof(junk));
    for (uint64_t i = 0; i < 4; i++)
        ck_assert_int_eq(
            assign(object, i * sizeof(back), packed(junk, sizeof(junk), ZIO_COMPRESS_GZIP_1, sizeof(back))),
            0);
    ck_assert_int_eq(
        assign(object, 8 * sizeof(back) + 512, packed(junk, sizeof(junk), ZIO_COMPRESS_GZIP_1, sizeof(back))),
        EINVAL); /* no whole block: it has to be unpacked */
    for (int synced = 0; synced < 2; synced++) {
        ck_assert_int_eq(dmu_read(pool->p_os, object, 10, 10, back), EIO);
        ck_assert_int_eq(put(pool, object, 10, 3, "abc"), EIO);
        ck_assert_int_eq(put(pool, object, sizeof(back), sizeof(back), back), 0);
        ck_assert_int_eq(punch(pool, object, 2 * sizeof(back), sizeof(back)), 0);
        ck_assert_int_eq(dmu_read(pool->p_os, object, sizeof(back), sizeof(two), two), 0);
        ck_assert_int_eq(txg_wait_synced(pool->p_ts, 0), 0);
    }
    ck_assert_int_eq(punch(pool, object, 0, DMU_OBJECT_END), 0);
    pool_verify(pool);
}
END_TEST

START_TEST(hostile_dnodes)
{
    dnode_phys_t good = {.dn_type = DMU_OT_PLAIN_OTHER,
                         .dn_indblkshift = 14,
                         .dn_nlevels = 2,
                         .dn_nblkptr = 1,
                         .dn_datablkszsec = 8};
    uint64_t seed = 3;

    ck_assert_int_eq(dnode_phys_validate(&good, 512), 0);
    for (int i = 0; i < effort(200000); i++) {
        dnode_phys_t bad = good;
        for (int j = 0; j < 3; j++)
            ((uint8_t *)&bad)[rnd(&seed, 24)] = (uint8_t)rnd(&seed, 256);
        if (dnode_phys_validate(&bad, 512) != 0 || bad.dn_type == DMU_OT_NONE)
            continue;
        ck_assert_uint_eq(dnode_phys_size(&bad), 512);
        ck_assert((uint8_t *)dnode_phys_bonus(&bad) + bad.dn_bonuslen <= (uint8_t *)(&bad + 1));
        ck_assert(bad.dn_indblkshift >= 10 && bad.dn_indblkshift <= 17 && bad.dn_nlevels <= 12 &&
                  bad.dn_nblkptr <= 3);
    }
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("dmu core");
    TCase *t = tcase_create("core");
    SRunner *r;
    int failed;

    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, random_alone, 0, 4);
    tcase_add_loop_test(t, random_threads, 0, 3);
    tcase_add_loop_test(t, random_passes, 0, 2);
    tcase_add_loop_test(t, shared_blocks, 0, 2);
    tcase_add_test(t, deep_tree);
    tcase_add_test(t, narrow_tree);
    tcase_add_test(t, growing_file);
    tcase_add_test(t, object_numbers);
    tcase_add_test(t, object_claim);
    tcase_add_test(t, object_reclaim);
    tcase_add_test(t, object_threads);
    tcase_add_test(t, no_space);
    tcase_add_test(t, write_error);
    tcase_add_test(t, read_error);
    tcase_add_test(t, packed_stay);
    tcase_add_test(t, packed_garbage);
    tcase_add_test(t, hostile_dnodes);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
