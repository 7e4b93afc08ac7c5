/* SPDX-License-Identifier: BSD-2-Clause */
/* zaptest.h - a pool per test, and ZAPs changed in a transaction of their own each. */
#ifndef COWBIRD_ZAPTEST_H
#define COWBIRD_ZAPTEST_H

#include "minipool.h"
#include "zap_impl.h"

static minipool_t *mp;

static inline void
setup(void)
{
    mp = minipool_create(getenv("COWBIRD_TEST_SPEED") != NULL ? 4ULL << 30 : 256ULL << 20);
}

static inline void
teardown(void)
{
    minipool_destroy(mp);
}

static inline uint64_t
new_zap(uint64_t normflags)
{
    dmu_tx_t *tx = minipool_tx(mp);
    uint64_t object = zap_create_norm(mp->mp_os, normflags, DMU_OT_ZAP_OTHER, DMU_OT_NONE, 0, tx);
    dmu_tx_commit(tx);
    ck_assert_uint_ne(object, 0);
    return object;
}

static inline int
add(uint64_t object, const char *name, uint64_t value)
{
    dmu_tx_t *tx = minipool_tx(mp);
    int err = zap_add_u64(mp->mp_os, object, name, value, tx);
    dmu_tx_commit(tx);
    return err;
}

static inline int
del(uint64_t object, const char *name)
{
    dmu_tx_t *tx = minipool_tx(mp);
    int err = zap_remove(mp->mp_os, object, name, tx);
    dmu_tx_commit(tx);
    return err;
}

static inline uint64_t
first_word(uint64_t object)
{
    uint64_t w;
    ck_assert_int_eq(dmu_read(mp->mp_os, object, 0, 8, &w), 0);
    return w;
}

#endif
