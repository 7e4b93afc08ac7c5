/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * suspend.c - a mounted head, borrowed for the moment in which its contents are exchanged (rollback, receive).
 *
 *     mount                     operation
 *     owns fs
 *     so_suspend(fs)   ◄─────── dsl_dataset_borrow()        requests end, new ones wait; the mount disowns fs
 *                               owns fs: sync task           swap, snapshot ...
 *     so_resume(fs)    ◄─────── dsl_dataset_give_back()     the mount owns it again and finds other contents
 *
 * INVARIANT: between the two nobody but the operation has the objset, so a swap may close it.
 *
 * ZFS: zfs_suspend_fs, zfs_resume_fs (zfs_vfsops.c)
 */
#include "dsl_impl.h"

void
dsl_pool_set_suspend(dsl_pool_t *dp, const dsl_suspend_ops_t *ops)
{
    mutex_enter(&dp->dp_lock);
    dp->dp_suspend = ops != NULL ? *ops : (dsl_suspend_ops_t){0};
    mutex_exit(&dp->dp_lock);
}

static dsl_suspend_ops_t
suspend_ops(dsl_pool_t *dp)
{
    mutex_enter(&dp->dp_lock);
    dsl_suspend_ops_t ops = dp->dp_suspend;
    mutex_exit(&dp->dp_lock);
    return ops;
}

int
dsl_dataset_borrow(dsl_dataset_t *ds, const void *tag, bool *lent)
{
    dsl_suspend_ops_t ops = suspend_ops(ds->ds_pool);
    char name[ZFS_MAX_DATASET_NAME_LEN];
    int err;

    *lent = false;
    dsl_dataset_add_ref(ds);
    if (dsl_dataset_tryown(ds, tag))
        return 0;
    dsl_dataset_name(ds, name);
    err = ops.so_suspend != NULL ? ops.so_suspend(ops.so_arg, name) : SET_ERROR(EBUSY);
    if (err == 0 && !dsl_dataset_tryown(ds, tag)) {
        ops.so_resume(ops.so_arg, name);
        err = SET_ERROR(EBUSY);
    }
    *lent = err == 0;
    if (err != 0)
        dsl_dataset_rele(ds, tag);
    return err;
}

void
dsl_dataset_give_back(dsl_dataset_t *ds, const void *tag, bool lent)
{
    dsl_suspend_ops_t ops = suspend_ops(ds->ds_pool);
    char name[ZFS_MAX_DATASET_NAME_LEN];

    dsl_dataset_name(ds, name);
    dsl_dataset_disown(ds, tag);
    if (lent)
        ops.so_resume(ops.so_arg, name);
}
