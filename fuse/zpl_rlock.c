/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_rlock.c - locks on byte ranges of one file, so that a read never sees half of a write or truncate.
 *
 *     list, in order of arrival:   R 0-4K    R 0-128K    W 64K-72K    R 0-4K       W 70K-80K
 *                                  granted   granted     waits        granted      waits for W 64K-72K
 *                                                        for R 0-128K
 *
 * Invariants:
 *   1. An entry is granted when nothing *earlier* in the list overlaps it, two readers excepted. So nobody
 *      starves.
 *   2. An entry lives on its owner's stack, on the list from enter to exit.
 *
 * ZFS: module/zfs/zfs_rlock.c, which keeps a tree and splits overlapping readers; a file has few lockers at
 * a time, a list does.
 */
#include "zpl_impl.h"

void
zpl_rlock_init(zpl_rlock_t *rl)
{
    mutex_init(&rl->rl_lock);
    cv_init(&rl->rl_cv);
    list_create(&rl->rl_list, offsetof(zpl_range_t, r_node));
    rl->rl_waiters = 0;
}

void
zpl_rlock_fini(zpl_rlock_t *rl)
{
    list_destroy(&rl->rl_list);
    cv_destroy(&rl->rl_cv);
    mutex_destroy(&rl->rl_lock);
}

static bool
range_conflict(const zpl_range_t *a, const zpl_range_t *b)
{
    return (a->r_write || b->r_write) && a->r_off < b->r_end && b->r_off < a->r_end;
}

static bool
range_blocked(zpl_rlock_t *rl, zpl_range_t *r)
{
    for (zpl_range_t *e = list_head(&rl->rl_list); e != r; e = list_next(&rl->rl_list, e))
        if (range_conflict(e, r))
            return true;
    return false;
}

void
zpl_range_enter(zpl_rlock_t *rl, zpl_range_t *r, uint64_t off, uint64_t len, bool write)
{
    memset(r, 0, sizeof(*r));
    r->r_off = off;
    r->r_end = off + len < off ? UINT64_MAX : off + len;
    r->r_write = write;
    mutex_enter(&rl->rl_lock);
    list_insert_tail(&rl->rl_list, r);
    while (range_blocked(rl, r)) {
        rl->rl_waiters++;
        cv_wait(&rl->rl_cv, &rl->rl_lock);
        rl->rl_waiters--;
    }
    mutex_exit(&rl->rl_lock);
}

void
zpl_range_exit(zpl_rlock_t *rl, zpl_range_t *r)
{
    mutex_enter(&rl->rl_lock);
    list_remove(&rl->rl_list, r);
    if (rl->rl_waiters > 0)
        cv_broadcast(&rl->rl_cv);
    mutex_exit(&rl->rl_lock);
}
