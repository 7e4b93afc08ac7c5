/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * quota.c - limits and promises of space: for a directory with all below it, and for a head alone.
 *
 *                       limit        promise            where it lives
 *     all below         quota        reservation        fields of the directory; an entry in its props ZAP tells the source
 *     the head alone    refquota     refreservation     entries only; copies in memory with the head (ds_refquota, ds_refreserv)
 *
 *     directory   |== HEAD ==|= SNAP =|= CHILD .. CHILD_RSRV =|- REFRSRV -|   = used            reserved|     quota|
 *                                                                               └── the parent is charged max(used, reserved)
 *     head        |== unique ==|- unfilled -|refreservation          REFRSRV = unfilled, so that nobody else can have it
 *
 * A snapshot takes the head's unique bytes into its custody: unique is 0 again, and the promise must be covered anew (snapshot.c).
 *
 * INVARIANTS (dsl_pool_check looks at them)
 *  1. REFRSRV of a directory = what its head's refreservation still lacks: max(unique, refreservation) - unique.
 *  2. CHILD + CHILD_RSRV = sum over the children of max(used, reserved)    (dir.c, 2)
 *  3. A limit counts from the next transaction on; one that is set below what is used already is refused.
 *
 * ZFS: dsl_dir_set_quota, dsl_dir_set_reservation (dsl_dir.c), dsl_dataset_set_refquota, dsl_dataset_set_refreservation
 * (dsl_dataset.c), dsl_prop_predict (dsl_prop.c)
 */
#include "dsl_impl.h"

static const char *const quota_names[Q_NUM] = {"quota", "reservation", "refquota", "refreservation"};

static int
quota_index(const char *prop)
{
    for (int i = 0; i < Q_NUM; i++)
        if (strcmp(quota_names[i], prop) == 0)
            return i;
    return -1;
}

void
quota_get(dsl_dataset_t *ds, quota_values_t *qv)
{
    dsl_dir_t *dd = ds->ds_dir;

    mutex_enter(&ds->ds_lock);
    qv->qv[Q_REFQUOTA] = ds->ds_refquota;
    qv->qv[Q_REFRESERV] = ds->ds_refreserv;
    mutex_exit(&ds->ds_lock);
    mutex_enter(&dd->dd_lock);
    qv->qv[Q_QUOTA] = dd->dd_phys.dd_quota;
    qv->qv[Q_RESERVATION] = dd->dd_phys.dd_reserved;
    mutex_exit(&dd->dd_lock);
}

void
quota_load(dsl_dataset_t *ds)
{

    ds->ds_refquota = prop_entry_u64(ds, "refquota");
    ds->ds_refreserv = prop_entry_u64(ds, "refreservation");
}

uint64_t
quota_unfilled(dsl_dataset_t *ds)
{
    mutex_enter(&ds->ds_lock);
    uint64_t unique = ds->ds_phys.ds_unique_bytes, reserved = ds->ds_refreserv;
    mutex_exit(&ds->ds_lock);
    return reserved > unique ? reserved - unique : 0;
}

/* ---- check ---- */

static uint64_t
entry_number(dsl_dataset_t *ds, const char *prop, const char *suffix)
{
    const dsl_prop_desc_t *d = dsl_prop_lookup(prop);
    uint64_t number = 0;
    char text[64];

    if (prop_read_entry(ds->ds_pool, prop_zap(ds), prop, suffix, text, sizeof(text)) != 0 ||
        prop_text_to_number(d, text, &number, NULL) != 0)
        return 0;
    return number;
}

/* See the table in prop_set.c; nothing is inherited here, so without an entry there is none. */
void
quota_predict(dsl_dataset_t *ds, quota_values_t *qv, prop_op_t op, const char *prop, const char *value)
{
    int i = quota_index(prop);
    dsl_pool_t *dp = ds->ds_pool;
    uint64_t number = 0;

    if (i < 0)
        return;
    if (value != NULL)
        (void)prop_text_to_number(dsl_prop_lookup(prop), value, &number, NULL);
    if (op == PROP_OP_REVERT)
        number = entry_number(ds, prop, PROP_SUFFIX_RECVD);
    else if (op == PROP_OP_RECEIVED || op == PROP_OP_UNRECEIVED) {
        if (prop_has_entry(dp, prop_zap(ds), prop, ""))
            number = entry_number(ds, prop, "");
        else if (prop_has_entry(dp, prop_zap(ds), prop, PROP_SUFFIX_INHERIT))
            number = 0;
    }
    qv->qv[i] = number;
}

static uint64_t
above(uint64_t value, uint64_t floor)
{
    return MAX(value, floor) - floor;
}

/* Bytes the directory's parent (the root: the pool) could still give. */
static uint64_t
available_above(dsl_dir_t *dd, uint64_t used)
{
    if (dd->dd_parent != NULL)
        return dsl_dir_available(dd->dd_parent, false);
    return above(pool_capacity(dd->dd_pool, false), used);
}

typedef struct quota_state {
    uint64_t qs_used, qs_unique, qs_referenced;
} quota_state_t;

static int
limits_check(const quota_state_t *qs, const uint64_t *old, const uint64_t *want, uint64_t used)
{
    bool more = want[Q_RESERVATION] > old[Q_RESERVATION] || used > qs->qs_used;

    if (want[Q_QUOTA] != 0 && (more || want[Q_QUOTA] != old[Q_QUOTA]) &&
        want[Q_QUOTA] < MAX(used, want[Q_RESERVATION]))
        return SET_ERROR(ENOSPC);
    if (want[Q_REFQUOTA] != 0 && want[Q_REFQUOTA] != old[Q_REFQUOTA] && want[Q_REFQUOTA] < qs->qs_referenced)
        return SET_ERROR(ENOSPC);
    more = want[Q_REFQUOTA] != old[Q_REFQUOTA] || want[Q_REFRESERV] > old[Q_REFRESERV];
    return more && want[Q_REFQUOTA] != 0 && want[Q_REFQUOTA] < want[Q_REFRESERV] ? SET_ERROR(ENOSPC) : 0;
}

int
quota_check(dsl_dataset_t *ds, const quota_values_t *want)
{
    dsl_dir_t *dd = ds->ds_dir;
    quota_values_t old;
    quota_state_t qs;

    quota_get(ds, &old);
    mutex_enter(&ds->ds_lock);
    qs.qs_unique = ds->ds_phys.ds_unique_bytes;
    qs.qs_referenced = ds->ds_phys.ds_referenced_bytes;
    mutex_exit(&ds->ds_lock);
    mutex_enter(&dd->dd_lock);
    qs.qs_used = dd->dd_phys.dd_used_bytes;
    mutex_exit(&dd->dd_lock);
    uint64_t used = qs.qs_used + above(want->qv[Q_REFRESERV], qs.qs_unique);
    used -= MIN(used, above(old.qv[Q_REFRESERV], qs.qs_unique));
    uint64_t charged = MAX(qs.qs_used, old.qv[Q_RESERVATION]), charge = MAX(used, want->qv[Q_RESERVATION]);
    if (charge > charged && charge - charged > available_above(dd, qs.qs_used))
        return SET_ERROR(ENOSPC);
    return limits_check(&qs, old.qv, want->qv, used);
}

int
quota_check_create(dsl_dir_t *parent, const nvlist_t *props)
{
    quota_values_t none = {0}, want = {0};
    quota_state_t qs = {0};
    const char *value;

    for (int i = 0; i < Q_NUM && props != NULL; i++)
        if (nvlist_lookup_string(props, quota_names[i], &value) == 0 &&
            prop_text_to_number(dsl_prop_lookup(quota_names[i]), value, &want.qv[i], NULL) != 0)
            return SET_ERROR(EINVAL);
    uint64_t charge = MAX(want.qv[Q_REFRESERV], want.qv[Q_RESERVATION]);
    if (charge > 0 && charge > dsl_dir_available(parent, false))
        return SET_ERROR(ENOSPC);
    return limits_check(&qs, none.qv, want.qv, want.qv[Q_REFRESERV]);
}

/* ---- check: snapshots ---- */

typedef struct quota_probe_dir {
    uint64_t pd_object;
    uint64_t pd_extra; /* bytes the snapshots so far would add */
} quota_probe_dir_t;

static quota_probe_dir_t *
probe_dir(quota_probe_t *qp, const dsl_dir_t *dd)
{
    for (size_t i = 0; i < qp->qp_count; i++)
        if (qp->qp_dirs[i].pd_object == dd->dd_object)
            return &qp->qp_dirs[i];
    qp->qp_dirs = xrealloc(qp->qp_dirs, (qp->qp_count + 1) * sizeof(quota_probe_dir_t));
    qp->qp_dirs[qp->qp_count] = (quota_probe_dir_t){dd->dd_object, 0};
    return &qp->qp_dirs[qp->qp_count++];
}

/* What dsl_dir_diduse_space() would do up the chain, tried out. */
int
quota_probe_snapshot(quota_probe_t *qp, dsl_dataset_t *ds)
{
    mutex_enter(&ds->ds_lock);
    uint64_t delta = MIN(ds->ds_phys.ds_unique_bytes, ds->ds_refreserv);
    mutex_exit(&ds->ds_lock);
    for (dsl_dir_t *dd = ds->ds_dir; dd != NULL && delta > 0; dd = dd->dd_parent) {
        quota_probe_dir_t *pd = probe_dir(qp, dd);
        mutex_enter(&dd->dd_lock);
        uint64_t used = dd->dd_phys.dd_used_bytes + pd->pd_extra, reserved = dd->dd_phys.dd_reserved;
        uint64_t quota = dd->dd_phys.dd_quota;
        mutex_exit(&dd->dd_lock);
        uint64_t limit = dd->dd_parent == NULL ? pool_capacity(dd->dd_pool, false) : UINT64_MAX;
        if (used + delta > MIN(limit, quota != 0 ? quota : UINT64_MAX))
            return SET_ERROR(ENOSPC);
        pd->pd_extra += delta;
        delta = MAX(used + delta, reserved) - MAX(used, reserved);
    }
    return 0;
}

void
quota_probe_fini(quota_probe_t *qp)
{
    free(qp->qp_dirs);
    memset(qp, 0, sizeof(*qp));
}

/* ---- sync ---- */

static void
set_reservation(dsl_dir_t *dd, uint64_t value, dmu_tx_t *tx)
{
    int64_t used = (int64_t)dd->dd_phys.dd_used_bytes;
    int64_t delta = MAX(used, (int64_t)value) - MAX(used, (int64_t)dd->dd_phys.dd_reserved);

    dsl_dir_set(dd, &dd->dd_phys.dd_reserved, value, tx);
    if (dd->dd_parent != NULL && delta != 0)
        dsl_dir_diduse_space(dd->dd_parent, DD_USED_CHILD_RSRV, delta, 0, 0, tx);
}

static void
set_refreservation(dsl_dataset_t *ds, uint64_t value, dmu_tx_t *tx)
{
    int64_t before = (int64_t)quota_unfilled(ds);

    mutex_enter(&ds->ds_lock);
    ds->ds_refreserv = value;
    mutex_exit(&ds->ds_lock);
    int64_t delta = (int64_t)quota_unfilled(ds) - before;
    if (delta != 0)
        dsl_dir_diduse_space(ds->ds_dir, DD_USED_REFRSRV, delta, 0, 0, tx);
}

void
quota_sync(dsl_dataset_t *ds, const char *prop, dmu_tx_t *tx)
{
    int i = quota_index(prop);

    if (i < 0 || dsl_dataset_is_snapshot(ds))
        return;
    uint64_t value = prop_entry_u64(ds, prop);
    if (i == Q_QUOTA) {
        dsl_dir_set(ds->ds_dir, &ds->ds_dir->dd_phys.dd_quota, value, tx);
    } else if (i == Q_RESERVATION) {
        set_reservation(ds->ds_dir, value, tx);
    } else if (i == Q_REFRESERV) {
        set_refreservation(ds, value, tx);
    } else {
        mutex_enter(&ds->ds_lock);
        ds->ds_refquota = value;
        mutex_exit(&ds->ds_lock);
    }
}
