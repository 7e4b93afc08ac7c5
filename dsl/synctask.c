/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * synctask.c - administrative changes: checked, then made part of a txg.
 *
 *     caller                                      syncing thread, txg t
 *     check()  open context, config lock read
 *     assign to the open txg t, queue ──────────► check() again, config lock write   (things may have changed)
 *     wait until t is on disk                     sync()   cannot fail
 *     ◄─────────────────────────────────────────  t committed
 *
 * Why twice: the first check answers most errors without a txg; only the second one counts.
 *
 * INVARIANTS
 *  1. A task runs in exactly the txg it was queued in; the caller returns when that txg is on disk, so what it reports is durable.
 *  2. check changes nothing. sync fails in nothing: all it needs was checked, and the space is there.
 *  3. Tasks of one txg run in the order in which they were queued, after that txg's data was written.
 *
 * A check may answer EAGAIN ("not in this txg"): the task is tried again in a later one.
 *
 * ZFS: module/zfs/dsl_synctask.c
 */
#include "dsl_impl.h"

struct dsl_task {
    list_node_t dt_link; /* dp_sync_tasks; dp_lock */
    dsl_checkfunc_t dt_check;
    dsl_syncfunc_t dt_sync;
    void *dt_arg;
    dsl_space_check_t dt_space;
    uint64_t dt_bytes;
    bool dt_waited; /* somebody waits and frees it */
    int dt_error;
};

/* Every block in three copies, and its share of indirect blocks. */
#define TASK_BLOCK_BYTES (3 * (16ULL << 10))

static int
task_check_space(dsl_pool_t *dp, const dsl_task_t *task)
{
    int err;

    if (task->dt_space == DSL_SPACE_NONE)
        return 0;
    mutex_enter(&dp->dp_lock);
    err = account_check(dp->dp_root_dir, task->dt_bytes, 0, task->dt_space == DSL_SPACE_RESERVED);
    mutex_exit(&dp->dp_lock);
    return err;
}

static int
task_check(dsl_pool_t *dp, const dsl_task_t *task, dmu_tx_t *tx)
{
    int err = task_check_space(dp, task);

    if (err == EAGAIN && tx != NULL)
        err = 0; /* promised to others, but the slop is larger than any task */
    return err != 0 || task->dt_check == NULL ? err : task->dt_check(task->dt_arg, tx);
}

/* ---- the syncing thread's side ---- */

dsl_task_t *
dsl_task_next(dsl_pool_t *dp, uint64_t txg)
{
    mutex_enter(&dp->dp_lock);
    dsl_task_t *task = list_remove_head(&dp->dp_sync_tasks[txg & TXG_MASK]);
    mutex_exit(&dp->dp_lock);
    return task;
}

void
dsl_task_run(dsl_pool_t *dp, dsl_task_t *task, uint64_t txg)
{
    dmu_tx_t *tx = dmu_tx_create_syncing(dp->dp_txg, txg);

    task->dt_error = task_check(dp, task, tx);
    if (task->dt_error == 0)
        task->dt_sync(task->dt_arg, tx);
    dmu_tx_commit(tx);
    if (!task->dt_waited)
        free(task);
}

/* ---- the callers' side ---- */

static void
task_queue(dsl_pool_t *dp, dsl_task_t *task, uint64_t txg)
{
    mutex_enter(&dp->dp_lock);
    list_insert_tail(&dp->dp_sync_tasks[txg & TXG_MASK], task);
    mutex_exit(&dp->dp_lock);
}

/* The pool was suspended before the task ran: nobody will run it any more. */
static void
task_unqueue(dsl_pool_t *dp, dsl_task_t *task, uint64_t txg)
{
    mutex_enter(&dp->dp_lock);
    if (list_link_active(&task->dt_link))
        list_remove(&dp->dp_sync_tasks[txg & TXG_MASK], task);
    mutex_exit(&dp->dp_lock);
}

static int
task_try(dsl_pool_t *dp, dsl_task_t *task, uint64_t *txgp)
{
    dmu_tx_t *tx;
    int err;

    rw_enter_read(&dp->dp_config_lock);
    err = task_check(dp, task, NULL);
    rw_exit(&dp->dp_config_lock);
    *txgp = 0;
    if (err != 0)
        return err;
    tx = dmu_tx_create(pool_mos(dp));
    if ((err = dmu_tx_assign(tx, DMU_TX_WAIT)) != 0) {
        dmu_tx_abort(tx);
        return err;
    }
    *txgp = dmu_tx_txg(tx);
    task_queue(dp, task, *txgp);
    dmu_tx_commit(tx);
    err = txg_wait_synced(dp->dp_txg, *txgp);
    if (err != 0)
        task_unqueue(dp, task, *txgp);
    return err != 0 ? err : task->dt_error;
}

#define TASK_RETRIES 16

int
dsl_sync_task(dsl_pool_t *dp, dsl_checkfunc_t check, dsl_syncfunc_t sync, void *arg, int blocks,
              dsl_space_check_t space)
{
    dsl_task_t task = {.dt_check = check,
                       .dt_sync = sync,
                       .dt_arg = arg,
                       .dt_space = space,
                       .dt_bytes = (uint64_t)blocks * TASK_BLOCK_BYTES,
                       .dt_waited = true};
    uint64_t txg;
    int err, tries = 0;

    if (dp->dp_txg == NULL)
        return SET_ERROR(EROFS);
    while ((err = task_try(dp, &task, &txg)) == EAGAIN && ++tries < TASK_RETRIES) {
        if ((err = txg_wait_synced(dp->dp_txg, txg != 0 ? txg : txg_open_txg(dp->dp_txg))) != 0)
            return err;
    }
    return err == EAGAIN ? SET_ERROR(ENOSPC) : err;
}

void
dsl_task_enqueue(dsl_pool_t *dp, dsl_syncfunc_t sync, void *arg, uint64_t txg)
{
    dsl_task_t *task = xzalloc(sizeof(*task));

    task->dt_sync = sync;
    task->dt_arg = arg;
    task->dt_space = DSL_SPACE_NONE;
    task_queue(dp, task, txg);
}

void
dsl_sync_task_nowait(dsl_pool_t *dp, dsl_syncfunc_t sync, void *arg, uint64_t txg)
{
    dsl_task_enqueue(dp, sync, arg, txg);
}
