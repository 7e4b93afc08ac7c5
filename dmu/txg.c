/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * txg.c - transaction groups: many small changes become durable together.
 *
 *      dmu_tx_assign                quiesce thread                     sync thread
 *           |                             |                                 |
 *      +----v----+  a reason to     +-----v------+   sync thread      +-----v-----+   sync_fn     +--------+
 *      |  OPEN   |----------------->|  QUIESCED  |------------------->|  SYNCING  |-------------->| synced |
 *      |  t + 2  |  close it; wait  |   t + 1    |     is free        |     t     |  returned 0   | t - 1  |
 *      +---------+  for holders     +------------+                    +-----------+               +--------+
 *
 * Reasons to close the open txg: somebody waits for it; it has a quarter of the dirty data allowed; it has changes, is
 * older than the timeout and nothing else is being synced.
 *
 * INVARIANTS
 *  1. ts_synced < ts_syncing < ts_quiesced < ts_open, as far as they are not 0, and ts_open <= ts_synced + 3.
 *  2. Only the open txg has holders. While it closes (ts_closing), dmu_tx_assign waits; the next txg opens when the last holder
 *     has committed. So a dbuf is never dirtied in an older txg than one it is dirty in. (ZFS opens the next txg at once, and then must
 *     keep transactions of two txgs off the same dnode: dn_assigned_txg, dmu_tx_wait. The wait here is as long as the longest
 *     transaction under way, some microseconds, once per txg. It forbids what ZFS forbids too: to wait in
 *     dmu_tx_assign while holding another transaction, or a lock that somebody takes within one.)
 *  3. ts_dirty_total is the sum of ts_dirty[].
 *  4. ts_error, once set, stays: every waiter wakes and returns it.
 *
 * ZFS: txg.c
 */
#include "dmu_impl.h"

struct txg_state {
    spa_t *ts_spa;
    txg_sync_fn_t ts_sync_fn;
    txg_pending_fn_t ts_pending_fn;
    void *ts_arg;
    uint64_t ts_dirty_max, ts_timeout_ms;
    pthread_t ts_quiesce_thread, ts_sync_thread;

    kmutex_t ts_lock;      /* all below; a leaf */
    kcondvar_t ts_work_cv; /* for the two threads */
    kcondvar_t ts_done_cv; /* for everybody else */
    uint64_t ts_open, ts_quiesced, ts_syncing, ts_synced;
    uint64_t ts_wanted; /* somebody waits for this txg */
    uint64_t ts_holders;
    uint64_t ts_opened_at; /* gethrtime() */
    bool ts_closing, ts_stop;
    int ts_error;
    bool ts_changed[TXG_SIZE];
    uint64_t ts_dirty[TXG_SIZE];
    uint64_t ts_dirty_total;
};

static uint64_t
txg_age_ms(const txg_state_t *ts)
{
    return (gethrtime() - ts->ts_opened_at) / 1000000;
}

static bool
txg_should_close(const txg_state_t *ts)
{
    if (ts->ts_error != 0 || ts->ts_quiesced != 0)
        return false;
    if (ts->ts_wanted >= ts->ts_open || ts->ts_dirty[ts->ts_open & TXG_MASK] > ts->ts_dirty_max / 4)
        return true;
    return ts->ts_syncing == 0 && ts->ts_changed[ts->ts_open & TXG_MASK] &&
           txg_age_ms(ts) >= ts->ts_timeout_ms;
}

/* The timeout passed over an unchanged txg: does the layer above have something? */
static void
txg_ask_pending(txg_state_t *ts)
{
    uint64_t txg = ts->ts_open;
    bool pending;

    if (ts->ts_pending_fn == NULL)
        return;
    mutex_exit(&ts->ts_lock);
    pending = ts->ts_pending_fn(ts->ts_arg, txg);
    mutex_enter(&ts->ts_lock);
    if (pending && ts->ts_open == txg)
        ts->ts_changed[txg & TXG_MASK] = true;
}

/* Sleep until there may be a reason to close. */
static void
txg_quiesce_sleep(txg_state_t *ts)
{
    uint64_t age = txg_age_ms(ts);
    bool changed = ts->ts_changed[ts->ts_open & TXG_MASK];

    if (ts->ts_error != 0 || ts->ts_quiesced != 0 || (changed && ts->ts_syncing != 0)) {
        cv_wait(&ts->ts_work_cv, &ts->ts_lock);
        return;
    }
    if (changed && age >= ts->ts_timeout_ms)
        return;
    if (cv_timedwait_ms(&ts->ts_work_cv, &ts->ts_lock,
                        changed ? ts->ts_timeout_ms - age : MAX(ts->ts_timeout_ms, 1)))
        return;
    if (!ts->ts_changed[ts->ts_open & TXG_MASK])
        txg_ask_pending(ts);
}

static void *
txg_quiesce_main(void *arg)
{
    txg_state_t *ts = arg;

    mutex_enter(&ts->ts_lock);
    while (!ts->ts_stop) {
        if (!txg_should_close(ts)) {
            txg_quiesce_sleep(ts);
            continue;
        }
        ts->ts_closing = true;
        while (ts->ts_holders != 0)
            cv_wait(&ts->ts_work_cv, &ts->ts_lock);
        ts->ts_closing = false;
        ts->ts_quiesced = ts->ts_open++;
        ts->ts_opened_at = gethrtime();
        cv_broadcast(&ts->ts_work_cv);
        cv_broadcast(&ts->ts_done_cv);
    }
    mutex_exit(&ts->ts_lock);
    return NULL;
}

/* ts_lock held: txg is on disk, or err. */
static void
txg_synced(txg_state_t *ts, uint64_t txg, int err)
{
    ts->ts_syncing = 0;
    if (err != 0) {
        ts->ts_error = err;
    } else {
        ts->ts_synced = txg;
        ts->ts_dirty_total -= ts->ts_dirty[txg & TXG_MASK];
        ts->ts_dirty[txg & TXG_MASK] = 0;
        ts->ts_changed[txg & TXG_MASK] = false;
    }
    cv_broadcast(&ts->ts_work_cv);
    cv_broadcast(&ts->ts_done_cv);
}

static void *
txg_sync_main(void *arg)
{
    txg_state_t *ts = arg;
    uint64_t txg;
    int err;

    mutex_enter(&ts->ts_lock);
    while (!ts->ts_stop) {
        if (ts->ts_quiesced == 0 || ts->ts_error != 0) {
            cv_wait(&ts->ts_work_cv, &ts->ts_lock);
            continue;
        }
        txg = ts->ts_syncing = ts->ts_quiesced;
        ts->ts_quiesced = 0;
        cv_broadcast(&ts->ts_work_cv);
        mutex_exit(&ts->ts_lock);
        err = ts->ts_sync_fn(ts->ts_arg, txg);
        mutex_enter(&ts->ts_lock);
        txg_synced(ts, txg, err);
    }
    mutex_exit(&ts->ts_lock);
    return NULL;
}

txg_state_t *
txg_start(spa_t *spa, uint64_t last, txg_sync_fn_t sync_fn, txg_pending_fn_t pending_fn, void *arg,
          uint64_t dirty_max, uint64_t timeout_ms)
{
    txg_state_t *ts = xzalloc(sizeof(*ts));

    ts->ts_spa = spa;
    ts->ts_sync_fn = sync_fn;
    ts->ts_pending_fn = pending_fn;
    ts->ts_arg = arg;
    ts->ts_dirty_max = dirty_max;
    ts->ts_timeout_ms = timeout_ms;
    ts->ts_synced = last;
    ts->ts_open = last + 1;
    ts->ts_opened_at = gethrtime();
    mutex_init(&ts->ts_lock);
    cv_init(&ts->ts_work_cv);
    cv_init(&ts->ts_done_cv);
    VERIFY0(pthread_create(&ts->ts_quiesce_thread, NULL, txg_quiesce_main, ts));
    VERIFY0(pthread_create(&ts->ts_sync_thread, NULL, txg_sync_main, ts));
    return ts;
}

void
txg_stop(txg_state_t *ts, bool drain)
{
    (void)txg_wait_synced(ts, 0);
    for (int i = 0; drain && i < TXG_DEFER_SIZE; i++)
        (void)txg_wait_synced(ts, txg_open_txg(ts));
    mutex_enter(&ts->ts_lock);
    ts->ts_stop = true;
    cv_broadcast(&ts->ts_work_cv);
    mutex_exit(&ts->ts_lock);
    VERIFY0(pthread_join(ts->ts_quiesce_thread, NULL));
    VERIFY0(pthread_join(ts->ts_sync_thread, NULL));
    cv_destroy(&ts->ts_work_cv);
    cv_destroy(&ts->ts_done_cv);
    mutex_destroy(&ts->ts_lock);
    free(ts);
}

static uint64_t
txg_get(txg_state_t *ts, const uint64_t *field)
{
    uint64_t v;

    mutex_enter(&ts->ts_lock);
    v = *field;
    mutex_exit(&ts->ts_lock);
    return v;
}

uint64_t
txg_last_synced(txg_state_t *ts)
{
    return txg_get(ts, &ts->ts_synced);
}

uint64_t
txg_open_txg(txg_state_t *ts)
{
    return txg_get(ts, &ts->ts_open);
}

uint64_t
txg_syncing_txg(txg_state_t *ts)
{
    return txg_get(ts, &ts->ts_syncing);
}

int
txg_error(txg_state_t *ts)
{
    int err;

    mutex_enter(&ts->ts_lock);
    err = ts->ts_error;
    mutex_exit(&ts->ts_lock);
    return err;
}

/* The newest txg with changes that are not on disk; 0 none. */
static uint64_t
txg_newest_changed(const txg_state_t *ts, bool pending)
{
    if (pending || ts->ts_changed[ts->ts_open & TXG_MASK])
        return ts->ts_open;
    return MAX(ts->ts_quiesced, ts->ts_syncing);
}

bool
txg_is_clean(txg_state_t *ts)
{
    bool clean;

    mutex_enter(&ts->ts_lock);
    clean = txg_newest_changed(ts, false) == 0;
    mutex_exit(&ts->ts_lock);
    return clean;
}

int
txg_wait_synced(txg_state_t *ts, uint64_t txg)
{
    bool pending = txg == 0 && ts->ts_pending_fn != NULL && ts->ts_pending_fn(ts->ts_arg, txg_open_txg(ts));
    int err;

    mutex_enter(&ts->ts_lock);
    if (txg == 0)
        txg = txg_newest_changed(ts, pending);
    if (txg > ts->ts_wanted) {
        ts->ts_wanted = txg;
        cv_broadcast(&ts->ts_work_cv);
    }
    while (ts->ts_synced < txg && ts->ts_error == 0)
        cv_wait(&ts->ts_done_cv, &ts->ts_lock);
    err = txg == 0 || ts->ts_synced < txg ? ts->ts_error : 0;
    mutex_exit(&ts->ts_lock);
    return err;
}

void
txg_kick(txg_state_t *ts)
{
    mutex_enter(&ts->ts_lock);
    ts->ts_wanted = MAX(ts->ts_wanted, ts->ts_open);
    cv_broadcast(&ts->ts_work_cv);
    mutex_exit(&ts->ts_lock);
}

void
txg_dirty_add(txg_state_t *ts, uint64_t txg, int64_t bytes)
{
    uint64_t *dirty = &ts->ts_dirty[txg & TXG_MASK];
    bool *changed = &ts->ts_changed[txg & TXG_MASK];
    bool was;

    mutex_enter(&ts->ts_lock);
    if (bytes < 0) {
        bytes = -(int64_t)MIN((uint64_t)-bytes, *dirty);
        cv_broadcast(&ts->ts_done_cv);
    }
    was = *changed && *dirty > ts->ts_dirty_max / 4;
    *dirty += (uint64_t)bytes;
    ts->ts_dirty_total += (uint64_t)bytes;
    if (bytes >= 0) {
        bool first = !*changed;
        *changed = true;
        if (first || (!was && *dirty > ts->ts_dirty_max / 4))
            cv_broadcast(&ts->ts_work_cv);
    }
    mutex_exit(&ts->ts_lock);
}

/* Become a holder of the open txg. EAGAIN: NOWAIT and no room; or the error that ended syncing. ZFS: txg_hold_open */
int
txg_hold_open(txg_state_t *ts, int how, uint64_t *txgp)
{
    int err = 0;

    mutex_enter(&ts->ts_lock);
    while ((err = ts->ts_error) == 0 && (ts->ts_closing || ts->ts_dirty_total >= ts->ts_dirty_max)) {
        if (how == DMU_TX_NOWAIT) {
            err = SET_ERROR(EAGAIN);
            break;
        }
        cv_wait(&ts->ts_done_cv, &ts->ts_lock);
    }
    if (err == 0) {
        ts->ts_holders++;
        *txgp = ts->ts_open;
    }
    mutex_exit(&ts->ts_lock);
    return err;
}

void
txg_rele(txg_state_t *ts)
{
    mutex_enter(&ts->ts_lock);
    ASSERT(ts->ts_holders > 0);
    if (--ts->ts_holders == 0 && ts->ts_closing)
        cv_broadcast(&ts->ts_work_cv);
    mutex_exit(&ts->ts_lock);
}
