/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dmu_txg.c - transaction groups alone: no pool, a sync function that can be held up and made to fail.
 */
#include <check.h>
#include <unistd.h>
#include "dmu_impl.h"

static struct {
    kmutex_t lock; /* all below */
    kcondvar_t cv;
    bool hold; /* syncing waits */
    bool pending;
    int err;
    uint64_t calls, last;
    uint64_t count[64]; /* increments by transactions of txg & 63, as seen by them */
    uint64_t synced[64];
} S;

static int
sync_fn(void *arg, uint64_t txg)
{
    int err;

    mutex_enter(&S.lock);
    ck_assert(S.last == 0 || txg == S.last + 1);
    S.calls++;
    S.last = txg;
    S.pending = false;
    S.synced[txg & 63] = S.count[txg & 63]; /* nobody may add any more */
    cv_broadcast(&S.cv);
    while (S.hold)
        cv_wait(&S.cv, &S.lock);
    err = S.err;
    ck_assert_uint_eq(S.synced[txg & 63], S.count[txg & 63]);
    S.count[txg & 63] = 0;
    mutex_exit(&S.lock);
    return err;
}

static bool
pending_fn(void *arg, uint64_t txg)
{
    bool p;

    mutex_enter(&S.lock);
    p = S.pending;
    mutex_exit(&S.lock);
    return p;
}

static uint64_t
calls(void)
{
    uint64_t n;

    mutex_enter(&S.lock);
    n = S.calls;
    mutex_exit(&S.lock);
    return n;
}

static void
set_hold(bool hold)
{
    mutex_enter(&S.lock);
    S.hold = hold;
    cv_broadcast(&S.cv);
    mutex_exit(&S.lock);
}

static txg_state_t *
start(uint64_t timeout_ms)
{
    memset(&S, 0, sizeof(S));
    mutex_init(&S.lock);
    cv_init(&S.cv);
    return txg_start(NULL, 3, sync_fn, pending_fn, NULL, 1000, timeout_ms);
}

static uint64_t
change(txg_state_t *ts, int64_t bytes)
{
    uint64_t txg;

    ck_assert_int_eq(txg_hold_open(ts, DMU_TX_WAIT, &txg), 0);
    txg_dirty_add(ts, txg, bytes);
    txg_rele(ts);
    return txg;
}

static void
until(txg_state_t *ts, bool (*cond)(txg_state_t *ts, uint64_t v), uint64_t v)
{
    for (int i = 0; i < 5000 && !cond(ts, v); i++)
        usleep(1000);
    ck_assert(cond(ts, v));
}

static bool
is_syncing(txg_state_t *ts, uint64_t txg)
{
    return txg_syncing_txg(ts) == txg;
}

static bool
is_open(txg_state_t *ts, uint64_t txg)
{
    return txg_open_txg(ts) == txg;
}

static bool
is_synced(txg_state_t *ts, uint64_t txg)
{
    return txg_last_synced(ts) == txg;
}

START_TEST(three_in_flight)
{
    txg_state_t *ts = start(100000);

    ck_assert_uint_eq(txg_open_txg(ts), 4);
    ck_assert_uint_eq(txg_last_synced(ts), 3);
    ck_assert_uint_eq(txg_syncing_txg(ts), 0);
    set_hold(true);
    ck_assert_uint_eq(change(ts, 1), 4);
    txg_kick(ts);
    until(ts, is_syncing, 4);
    ck_assert_uint_eq(change(ts, 1), 5);
    txg_kick(ts);
    until(ts, is_open, 6);
    ck_assert_uint_eq(change(ts, 1), 6);
    txg_kick(ts);
    usleep(20000);
    ck_assert_uint_eq(txg_open_txg(ts), 6);
    ck_assert_uint_eq(txg_syncing_txg(ts), 4);
    set_hold(false);
    ck_assert_int_eq(txg_wait_synced(ts, 0), 0);
    ck_assert_uint_eq(txg_last_synced(ts), 6);
    txg_stop(ts, false);
}
END_TEST

START_TEST(clean_is_not_synced)
{
    txg_state_t *ts = start(10);

    usleep(50000);
    ck_assert_int_eq(txg_wait_synced(ts, 0), 0);
    ck_assert_uint_eq(calls(), 0);
    change(ts, 0);
    until(ts, is_synced, 4); /* the timeout */
    usleep(50000);
    ck_assert_uint_eq(calls(), 1);
    mutex_enter(&S.lock);
    S.pending = true;
    mutex_exit(&S.lock);
    until(ts, is_synced, 5);
    mutex_enter(&S.lock);
    S.pending = true;
    mutex_exit(&S.lock);
    ck_assert_int_eq(txg_wait_synced(ts, 0), 0);
    ck_assert_uint_eq(calls(), 3);
    ck_assert_int_eq(txg_wait_synced(ts, 7), 0);
    ck_assert_int_eq(txg_wait_synced(ts, 12), 0); /* through empty ones */
    ck_assert_uint_eq(calls(), 9);
    change(ts, 5);
    txg_stop(ts, true);
    ck_assert_uint_eq(calls(), 12);
}
END_TEST

static void *
wait_main(void *arg)
{
    return (void *)(intptr_t)txg_wait_synced(arg, 0);
}

static void *
assign_main(void *arg)
{
    uint64_t txg;
    int err = txg_hold_open(arg, DMU_TX_WAIT, &txg);

    if (err == 0)
        txg_rele(arg);
    return (void *)(intptr_t)err;
}

START_TEST(errors_reach_everybody)
{
    txg_state_t *ts = start(100000);
    pthread_t t[8];
    uint64_t txg;
    void *ret;

    set_hold(true);
    S.err = ENOSPC;
    change(ts, 1);
    txg_kick(ts);
    until(ts, is_syncing, 4);
    change(ts, 2000); /* more than there may be: the next ones wait */
    ck_assert_int_eq(txg_hold_open(ts, DMU_TX_NOWAIT, &txg), EAGAIN);
    for (int i = 0; i < 8; i++)
        VERIFY0(pthread_create(&t[i], NULL, i % 2 ? wait_main : assign_main, ts));
    usleep(20000);
    set_hold(false);
    for (int i = 0; i < 8; i++) {
        VERIFY0(pthread_join(t[i], &ret));
        ck_assert_int_eq((int)(intptr_t)ret, ENOSPC);
    }
    ck_assert_int_eq(txg_error(ts), ENOSPC);
    ck_assert_int_eq(txg_wait_synced(ts, 0), ENOSPC);
    ck_assert_int_eq(txg_wait_synced(ts, 3), 0); /* that one is on disk */
    ck_assert_int_eq(txg_hold_open(ts, DMU_TX_WAIT, &txg), ENOSPC);
    txg_stop(ts, true);
}
END_TEST

START_TEST(back_pressure)
{
    txg_state_t *ts = start(100000);
    pthread_t t;
    void *ret;

    set_hold(true);
    change(ts, 300); /* above a quarter: synced without being asked */
    until(ts, is_syncing, 4);
    change(ts, 600);
    change(ts, 200);
    VERIFY0(pthread_create(&t, NULL, assign_main, ts));
    usleep(20000);
    txg_dirty_add(ts, 4, -250); /* part of the syncing txg is written: below the limit again */
    VERIFY0(pthread_join(t, &ret));
    ck_assert_int_eq((int)(intptr_t)ret, 0);
    set_hold(false);
    txg_stop(ts, false);
    ck_assert_uint_ge(S.last, 5);
}
END_TEST

#define HAMMERS 6

static void *
hammer(void *arg)
{
    txg_state_t *ts = arg;
    uint64_t txg;

    for (int i = 0; i < 4000; i++) {
        ck_assert_int_eq(txg_hold_open(ts, DMU_TX_WAIT, &txg), 0);
        txg_dirty_add(ts, txg, 1);
        mutex_enter(&S.lock);
        S.count[txg & 63]++;
        mutex_exit(&S.lock);
        if (i % 16 == 0)
            usleep(50);
        txg_rele(ts);
        if (i % 500 == 499) {
            ck_assert_int_eq(txg_wait_synced(ts, 0), 0);
            ck_assert_uint_ge(txg_last_synced(ts), txg);
        }
    }
    return NULL;
}

START_TEST(many_holders)
{
    txg_state_t *ts = start(1);
    pthread_t t[HAMMERS];

    for (int i = 0; i < HAMMERS; i++)
        VERIFY0(pthread_create(&t[i], NULL, hammer, ts));
    for (int i = 0; i < HAMMERS; i++)
        VERIFY0(pthread_join(t[i], NULL));
    txg_stop(ts, true);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("dmu txg");
    TCase *t = tcase_create("txg");
    SRunner *r;
    int failed;

    tcase_set_timeout(t, 60);
    tcase_add_test(t, three_in_flight);
    tcase_add_test(t, clean_is_not_synced);
    tcase_add_test(t, errors_reach_everybody);
    tcase_add_test(t, back_pressure);
    tcase_add_test(t, many_holders);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
