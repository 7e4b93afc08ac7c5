/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * receive_package.c - an incremental package of a tree (send -R -i): the tree that is here is made like the sender's.
 *
 *   here (found by guid)                the list says                       so
 *   clone of L                          no clone, or of one before L        promote
 *   snapshot                            nobody has it                       destroy (-F only)
 *   snapshot a                          it is called b                      rename
 *   file system, no snapshot known      -                                   destroy (-F only)
 *   a/x                                 the parent is another one, or       rename; when the new parent is not here yet,
 *                                       it is called y                      after the streams
 *
 * One operation makes others possible (a clone goes, then its origin can) or necessary (after a promotion the snapshots are elsewhere),
 * and all names below a renamed file system change. So it goes in passes: each looks at the tree afresh; when one has done
 * something and something is left, there is another.
 *
 * A name that is taken (two file systems exchanged theirs) is made free: the one that has to go elsewhere waits as recv-PID-N.
 *
 * INVARIANTS
 *  1. The top of the tree is never destroyed or renamed here, and nothing is done at all when the list does not know any of its snapshots:
 *     then it is another tree.
 *  2. Each pass but the last does at least one operation, and passes are bounded by the size of the tree: a list made to go in
 *     circles ends.
 *
 * ZFS: recv_incremental_replication() in libzfs_sendrecv.c
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "receive_impl.h"

/* ---- the tree that is here ---- */

typedef struct local_snap {
    char *ls_name; /* without fs@ */
    uint64_t ls_guid, ls_txg;
} local_snap_t;

typedef struct local_fs {
    char lf_name[ZFS_MAX_DATASET_NAME_LEN];
    uint64_t lf_origin;     /* guid of the snapshot it is a clone of; 0 */
    uint64_t lf_parentfrom; /* guid of its parent's snapshot with the package's fromsnap's name; 0 */
    local_snap_t *lf_snaps;
    size_t lf_nsnaps;
    const nvlist_t *lf_sent; /* the list's entry; NULL: not in the list */
    bool lf_gone;
} local_fs_t;

typedef struct replicate {
    receive_t *rp_rc;
    const receive_list_t *rp_list;
    const char *rp_tofs;
    local_fs_t *rp_fs; /* parents before children */
    size_t rp_n;
    bool rp_again, rp_progress; /* something is left to do; something was done */
    bool rp_first;              /* pass */
    bool rp_last;               /* time that this is tried: say why */
    uint64_t rp_seq;            /* of names aside */
} replicate_t;

/* What lf is called at the sender unless it was renamed. */
static const char *
likely_name(const replicate_t *rp, const local_fs_t *lf, char *name, size_t n)
{
    snprintf(name, n, "%s%s", rp->rp_rc->rc_top, lf->lf_name + strlen(rp->rp_tofs));
    return name;
}

static int
add_local_snap(void *arg, const char *name)
{
    replicate_t *rp = arg;
    local_fs_t *lf = &rp->rp_fs[rp->rp_n - 1];
    dsl_dataset_phys_t phys;
    dsl_dataset_t *ds;
    const receive_snap_t *rs;
    char sent[2 * ZFS_MAX_DATASET_NAME_LEN];
    size_t n = lf->lf_nsnaps;

    if (dsl_dataset_hold(rp->rp_rc->rc_dp, name, rp, &ds) != 0)
        return 0; /* gone meanwhile */
    dsl_dataset_phys(ds, &phys);
    dsl_dataset_rele(ds, rp);
    if ((n & (n - 1)) == 0)
        lf->lf_snaps = xrealloc(lf->lf_snaps, MAX(2 * n, 1) * sizeof(local_snap_t));
    lf->lf_snaps[lf->lf_nsnaps++] =
        (local_snap_t){xstrdup(strchr(name, '@') + 1), phys.ds_guid, phys.ds_creation_txg};
    rs = receive_list_find(rp->rp_list, phys.ds_guid, likely_name(rp, lf, sent, sizeof(sent)));
    if (rs != NULL)
        lf->lf_sent = rs->rs_fs; /* the latest one's */
    return 0;
}

static uint64_t
guid_of(replicate_t *rp, const char *name)
{
    dsl_dataset_phys_t phys = {0};
    dsl_dataset_t *ds;

    if (name[0] == '\0' || dsl_dataset_hold(rp->rp_rc->rc_dp, name, rp, &ds) != 0)
        return 0;
    dsl_dataset_phys(ds, &phys);
    dsl_dataset_rele(ds, rp);
    return phys.ds_guid;
}

static uint64_t
fromsnap_guid(replicate_t *rp, const char *fs)
{
    char name[2 * ZFS_MAX_DATASET_NAME_LEN];

    if (strlen(rp->rp_list->rl_fromsnap) >= ZFS_MAX_DATASET_NAME_LEN)
        return 0;
    snprintf(name, sizeof(name), "%s@%s", fs, rp->rp_list->rl_fromsnap);
    return guid_of(rp, name);
}

static int
add_local_fs(void *arg, const char *name)
{
    replicate_t *rp = arg;
    size_t n = rp->rp_n;
    dsl_stats_t st;
    local_fs_t *lf;
    char parent[ZFS_MAX_DATASET_NAME_LEN];

    int err = dsl_dataset_stats(rp->rp_rc->rc_dp, name, &st);
    if (err != 0)
        return err;
    if ((n & (n - 1)) == 0)
        rp->rp_fs = xrealloc(rp->rp_fs, MAX(2 * n, 1) * sizeof(local_fs_t));
    rp->rp_n++;
    lf = &rp->rp_fs[n];
    memset(lf, 0, sizeof(*lf));
    strcpy(lf->lf_name, name);
    lf->lf_origin = guid_of(rp, st.dst_origin);
    if (n != 0) {
        snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(name, '/') - name), name);
        lf->lf_parentfrom = fromsnap_guid(rp, parent);
    }
    err = dsl_for_each_snapshot(rp->rp_rc->rc_dp, name, add_local_snap, rp);
    return err != 0 ? err : dsl_for_each_child(rp->rp_rc->rc_dp, name, add_local_fs, rp);
}

static void
free_local(replicate_t *rp)
{
    for (size_t i = 0; i < rp->rp_n; i++) {
        for (size_t s = 0; s < rp->rp_fs[i].lf_nsnaps; s++)
            free(rp->rp_fs[i].lf_snaps[s].ls_name);
        free(rp->rp_fs[i].lf_snaps);
    }
    free(rp->rp_fs);
    rp->rp_fs = NULL;
    rp->rp_n = 0;
}

/* The file system here that has this snapshot. */
static local_fs_t *
local_find(replicate_t *rp, uint64_t guid, const local_snap_t **snap)
{
    for (size_t i = 0; i < rp->rp_n && guid != 0; i++) {
        for (size_t s = 0; s < rp->rp_fs[i].lf_nsnaps; s++) {
            if (rp->rp_fs[i].lf_snaps[s].ls_guid != guid)
                continue;
            *snap = &rp->rp_fs[i].lf_snaps[s];
            return &rp->rp_fs[i];
        }
    }
    return NULL;
}

/* What the list says of a snapshot of lf. */
static const receive_snap_t *
sent_snap(const replicate_t *rp, const local_fs_t *lf, const local_snap_t *ls)
{
    return receive_list_find(rp->rp_list, ls->ls_guid, lf->lf_sent != NULL ? receive_list_name(lf->lf_sent) : "");
}

/* ---- one operation ---- */

/* Its outcome, for -v and for the pass. */
static bool
outcome(replicate_t *rp, int err, const char *what, const char *name)
{
    if (err == 0)
        receive_say(rp->rp_rc, "success");
    else
        receive_say(rp->rp_rc, "failed: %s", cowbird_strerror(err));
    rp->rp_progress |= err == 0;
    rp->rp_again |= err != 0;
    if (err != 0 && rp->rp_last)
        receive_warn(rp->rp_rc, "cannot %s %s: %s", what, name, cowbird_strerror(err));
    return err == 0;
}

static int
rename_any(replicate_t *rp, const char *from, const char *to)
{
    dsl_pool_t *dp = rp->rp_rc->rc_dp;
    const char *at = strchr(from, '@');
    char fs[ZFS_MAX_DATASET_NAME_LEN];

    if (strlen(to) >= ZFS_MAX_DATASET_NAME_LEN)
        return SET_ERROR(ENAMETOOLONG);
    if (at == NULL)
        return dsl_rename(dp, from, to);
    snprintf(fs, sizeof(fs), "%.*s", (int)(at - from), from);
    return dsl_rename_snapshot(dp, fs, at + 1, strchr(to, '@') + 1, false);
}

/* Out of the way: for this pass its name is free. */
static void
move_aside(replicate_t *rp, const char *name)
{
    const char *at = strchr(name, '@');
    size_t base = at != NULL ? (size_t)(at + 1 - name) : strlen(rp->rp_tofs) + 1;
    char aside[2 * ZFS_MAX_DATASET_NAME_LEN];

    rp->rp_again = true;
    if (strncmp(name + base, "recv-", 5) == 0)
        return;
    snprintf(aside, sizeof(aside), "%.*srecv-%d-%" PRIu64, (int)base, name, (int)getpid(), ++rp->rp_seq);
    receive_say(rp->rp_rc, "attempting rename %s to %s", name, aside);
    (void)outcome(rp, rename_any(rp, name, aside), "rename", name);
}

static bool
rename_to(replicate_t *rp, const char *from, const char *to)
{
    bool dry = rp->rp_rc->rc_dry != NULL;

    receive_say(rp->rp_rc, "%s rename %s to %s", dry ? "would" : "attempting", from, to);
    if (dry)
        return true;
    int err = rename_any(rp, from, to);
    bool done = outcome(rp, err, "rename", from);
    if (err == EEXIST)
        move_aside(rp, from);
    return done;
}

/* Does anything that comes need this name? */
static bool
name_is_wanted(replicate_t *rp, const local_fs_t *lf, const char *snap)
{
    char fs[ZFS_MAX_DATASET_NAME_LEN];
    stream_error_t *se = rp->rp_rc->rc_se, saved = *se;

    if (snap != NULL) {
        const nvlist_t *snaps = receive_list_inner(lf->lf_sent, "snaps", NULL);
        return snaps != NULL && nvlist_exists(snaps, snap);
    }
    for (size_t i = 0; i < rp->rp_list->rl_nsnaps; i++) {
        if (receive_map_name(rp->rp_rc, receive_list_name(rp->rp_list->rl_snaps[i].rs_fs), fs) == 0 &&
            strcmp(fs, lf->lf_name) == 0)
            return true;
        *se = saved;
    }
    return false;
}

static bool
destroy(replicate_t *rp, const local_fs_t *lf, const char *snap)
{
    char name[2 * ZFS_MAX_DATASET_NAME_LEN];
    const char *names[] = {name};
    dsl_pool_t *dp = rp->rp_rc->rc_dp;
    bool dry = rp->rp_rc->rc_dry != NULL;

    snprintf(name, sizeof(name), "%s%s%s", lf->lf_name, snap != NULL ? "@" : "", snap != NULL ? snap : "");
    receive_say(rp->rp_rc, "%s destroy %s", dry ? "would" : "attempting", name);
    if (dry)
        return true;
    int err = receive_release(rp->rp_rc, name);
    if (err == 0)
        err = snap != NULL ? dsl_destroy_snapshots(dp, names, 1, false, NULL) : dsl_destroy_head(dp, name);
    bool done = outcome(rp, err, "destroy", name);
    if (!done && !rp->rp_last && name_is_wanted(rp, lf, snap))
        move_aside(rp, name);
    return done;
}

/* ---- the rules ---- */

/* Is there a clone of lf that is to be promoted: a clone of something else at the sender, or of nothing? */
static bool
has_wrong_clone(replicate_t *rp, const local_fs_t *lf)
{
    const local_snap_t *snap;

    for (size_t i = 0; i < rp->rp_n; i++) {
        const local_fs_t *clone = &rp->rp_fs[i];
        if (clone->lf_sent != NULL && clone->lf_origin != receive_list_guid(clone->lf_sent, "origin") &&
            local_find(rp, clone->lf_origin, &snap) == lf)
            return true;
    }
    return false;
}

/*
 * True: lf is to be promoted, or one of its clones is. Then the wrong file system has the snapshots, and nothing is to be said about
 * this one before. Other differences stay: a clone can be received whole, or its origin lie outside the tree.
 */
static bool
check_promote(replicate_t *rp, local_fs_t *lf)
{
    uint64_t sent = receive_list_guid(lf->lf_sent, "origin");
    const local_snap_t *mine = NULL, *theirs = NULL;
    bool dry = rp->rp_rc->rc_dry != NULL;

    if (lf->lf_sent == NULL || sent == lf->lf_origin)
        return false;
    (void)local_find(rp, lf->lf_origin, &mine);
    (void)local_find(rp, sent, &theirs);
    if (mine == NULL || (sent != 0 && (theirs == NULL || theirs->ls_txg >= mine->ls_txg)))
        return has_wrong_clone(rp, lf);
    receive_say(rp->rp_rc, "%s %s", dry ? "would promote" : "promoting", lf->lf_name);
    if (!dry)
        (void)outcome(rp, dsl_promote(rp->rp_rc->rc_dp, lf->lf_name, NULL), "promote", lf->lf_name);
    return true;
}

static void
check_snapshot(replicate_t *rp, const local_fs_t *lf, const local_snap_t *ls)
{
    const receive_snap_t *rs = sent_snap(rp, lf, ls);
    char from[2 * ZFS_MAX_DATASET_NAME_LEN], to[2 * ZFS_MAX_DATASET_NAME_LEN];
    receive_t *rc = rp->rp_rc;

    if (rs == NULL) {
        if (rc->rc_args->dra_force)
            (void)destroy(rp, lf, ls->ls_name);
        return;
    }
    if (rp->rp_first && rc->rc_dry == NULL && !rp->rp_last)
        receive_snap_props(rc, lf->lf_name, ls->ls_name, rs, false);
    if (strcmp(ls->ls_name, rs->rs_name) == 0)
        return;
    snprintf(from, sizeof(from), "%s@%s", lf->lf_name, ls->ls_name);
    snprintf(to, sizeof(to), "%s@%s", lf->lf_name, rs->rs_name);
    (void)rename_to(rp, from, to);
}

/* Is its place another one at the sender? Names are compared by their last part: the parents' are the parents' matter. */
static void
check_place(replicate_t *rp, local_fs_t *lf)
{
    const char *theirs = strrchr(receive_list_name(lf->lf_sent), '/'), *mine = strrchr(lf->lf_name, '/');
    uint64_t parent = receive_list_guid(lf->lf_sent, "parentfromsnap");
    bool moved = parent != 0 && lf->lf_parentfrom != 0 && parent != lf->lf_parentfrom;
    char to[2 * ZFS_MAX_DATASET_NAME_LEN];
    const local_snap_t *snap;

    if (theirs == NULL || mine == NULL || (!moved && strcmp(theirs, mine) == 0))
        return;
    local_fs_t *into = local_find(rp, parent, &snap);
    if (into == NULL) {
        receive_say(rp->rp_rc, "local fs %s new parent not found", lf->lf_name);
        if (rp->rp_rc->rc_dry == NULL)
            move_aside(rp, lf->lf_name);
        return;
    }
    snprintf(to, sizeof(to), "%s%s", into->lf_name, theirs);
    (void)rename_to(rp, lf->lf_name, to);
}

static bool
has_fromsnap(replicate_t *rp, const local_fs_t *lf)
{
    for (size_t i = 0; i < lf->lf_nsnaps; i++) {
        const receive_snap_t *rs = sent_snap(rp, lf, &lf->lf_snaps[i]);
        if (rs != NULL && strcmp(rs->rs_name, rp->rp_list->rl_fromsnap) == 0)
            return true;
    }
    if (!rp->rp_last) /* else it may just have come */
        receive_say(
            rp->rp_rc,
            "local fs %s does not have fromsnap (%.255s in stream); must have been deleted locally; ignoring",
            lf->lf_name, rp->rp_list->rl_fromsnap);
    return false;
}

/* ---- passes ---- */

static void
pass(replicate_t *rp)
{
    for (size_t i = 0; i < rp->rp_n; i++) {
        if (check_promote(rp, &rp->rp_fs[i])) {
            rp->rp_again = true;
            rp->rp_fs[i].lf_gone = true; /* its turn comes */
        }
        if (rp->rp_progress)
            return; /* snapshots are elsewhere now */
    }
    for (size_t i = rp->rp_n; i-- > 0;) { /* children first: then parents can go */
        local_fs_t *lf = &rp->rp_fs[i];
        if (lf->lf_gone)
            continue;
        for (size_t s = 0; s < lf->lf_nsnaps; s++)
            check_snapshot(rp, lf, &lf->lf_snaps[s]);
        if (lf->lf_sent == NULL && i != 0 && rp->rp_rc->rc_args->dra_force)
            lf->lf_gone = destroy(rp, lf, NULL);
    }
    for (size_t i = 1; i < rp->rp_n; i++) {
        local_fs_t *lf = &rp->rp_fs[i];
        bool before = rp->rp_progress;
        rp->rp_progress = false;
        if (!lf->lf_gone && lf->lf_sent != NULL && has_fromsnap(rp, lf))
            check_place(rp, lf);
        if (rp->rp_progress) { /* all names below are stale */
            rp->rp_again = true;
            return;
        }
        rp->rp_progress = before;
    }
}

bool
receive_replicate(receive_t *rc, const char *tofs, bool last)
{
    replicate_t rp = {
        .rp_rc = rc, .rp_list = rc->rc_list, .rp_tofs = tofs, .rp_first = true, .rp_last = last};
    size_t left = 0;

    do {
        rp.rp_again = rp.rp_progress = false;
        int err = add_local_fs(&rp, tofs);
        bool known = err == 0 && (!rp.rp_first || rp.rp_fs[0].lf_sent != NULL);
        if (rp.rp_first)
            left = 8 * rp.rp_n + 16;
        if (known)
            pass(&rp);
        free_local(&rp);
        rp.rp_first = false;
        if (!known)
            return true;
    } while (rp.rp_again && rp.rp_progress && --left != 0);
    return !rp.rp_again;
}
