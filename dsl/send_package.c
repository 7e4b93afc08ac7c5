/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * send_package.c - dmu_send_package: several streams as one, with a list of what they are at the head.
 *
 *   BEGIN(compound) [list] END    BEGIN..END   BEGIN..END   ...    END
 *   |-------- the header --------| |---- one per snapshot ----|    all zeros
 *
 * Which snapshots of a file system are sent, from where (@f and @t are asked for; o is what a clone started from):
 *
 *                      -p @t      -p -i @f @t   -I @f @t        -R @t            -R -i @f @t      -R -I @f @t
 *   a@1 a@f a@2 a@t    0>t        f>t           f>2 2>t         0>1 1>f f>2 2>t  f>t              f>2 2>t
 *   b@2 b@t, no b@f                                             0>2 2>t          0>t              0>2 2>t
 *   c@t, from a@2                                               o>t              o>t (and a@2 is kept: f>2 2>t)
 *
 * INVARIANT  Only END of the last stream and the zeros after it tell that all is there; after an error neither is written.
 *
 * ZFS: zfs_send(), dump_filesystem(), dump_snapshot() in libzfs_sendrecv.c.
 */
#include <stdio.h>

#include "dsl_impl.h"
#include "send_impl.h"

/* ---- plain bytes: header and trailer have sums of their own ---- */

static int
write_plain(package_t *pk, const void *data, size_t n)
{
    const dmu_send_args_t *a = &pk->pk_args->dpa_send;
    stream_out_t *so;
    sigset_t old;

    pk->pk_bytes += n;
    if (pk->pk_args->dpa_dryrun)
        return 0;
    so = xzalloc(sizeof(*so));
    stream_out_init(so, a->dsa_fd, a->dsa_off, a->dsa_cancel);
    sigpipe_block(&old);
    int err = stream_out_plain(so, data, n);
    sigpipe_restore(&old);
    stream_out_fini(so);
    free(so);
    return err;
}

/* The list is left out when there is nothing in it but names: -I alone. */
static bool
has_list(const dmu_send_package_args_t *a)
{
    return a->dpa_replicate || a->dpa_props || a->dpa_backup || a->dpa_holds;
}

static int
write_header(package_t *pk)
{
    dmu_replay_record_t begin = {.drr_type = DRR_BEGIN}, end = {.drr_type = DRR_END};
    uint64_t features = pk->pk_args->dpa_holds ? DMU_BACKUP_FEATURE_HOLDS : 0;
    zio_cksum_t *sum = &end.drr_u.drr_end.drr_checksum;
    uint8_t *list = NULL, *all;
    size_t n = 0;

    if (has_list(pk->pk_args)) {
        nvlist_t *nvl = package_list(pk);
        nvlist_pack(nvl, NV_ENCODE_XDR, &list, &n);
        nvlist_free(nvl);
    }
    begin.drr_payloadlen = (uint32_t)n;
    begin.drr_u.drr_begin.drr_magic = DRR_MAGIC;
    begin.drr_u.drr_begin.drr_versioninfo = DMU_VERSIONINFO(DMU_COMPOUNDSTREAM, features);
    snprintf(begin.drr_u.drr_begin.drr_toname, sizeof(begin.drr_u.drr_begin.drr_toname), "%s",
             pk->pk_args->dpa_send.dsa_tosnap);
    all = xmalloc(n + 2 * DRR_SIZE);
    memcpy(all, &begin, DRR_SIZE);
    if (n != 0)
        memcpy(all + DRR_SIZE, list, n);
    fletcher_4_incremental_native(all, DRR_SIZE + n, sum);
    memcpy(all + DRR_SIZE + n, &end, DRR_SIZE);
    int err = n > DRR_MAX_NVLIST ? SET_ERROR(E2BIG) : write_plain(pk, all, n + 2 * DRR_SIZE);
    free(all);
    free(list);
    return err;
}

static int
write_trailer(package_t *pk)
{
    dmu_replay_record_t end = {.drr_type = DRR_END};

    return write_plain(pk, &end, DRR_SIZE);
}

/* ---- the streams ---- */

/* fs@snap, from a snapshot or bookmark of this (whole) name; NULL: all of it. */
static int
send_step(package_t *pk, const package_fs_t *pf, const char *snap, const char *from)
{
    const dmu_send_package_args_t *a = pk->pk_args;
    char to[2 * ZFS_MAX_DATASET_NAME_LEN];
    dmu_send_args_t one = a->dpa_send;
    uint64_t bytes = 0;
    int err = 0;

    snprintf(to, sizeof(to), "%s@%s", pf->pf_name, snap);
    one.dsa_tosnap = to;
    one.dsa_from = from;
    if (a->dpa_dryrun)
        err = dmu_send_estimate(pk->pk_pool, &one, &bytes);
    pk->pk_bytes += bytes;
    if (err == 0 && a->dpa_said != NULL)
        a->dpa_said(a->dpa_arg, from, to, bytes);
    if (err == 0 && !a->dpa_dryrun)
        err = dmu_send(pk->pk_pool, &one);
    if (err != 0)
        snprintf(pk->pk_failed, sizeof(pk->pk_failed), "%.*s", (int)sizeof(pk->pk_failed) - 1, to);
    return err;
}

/* Where a file system's first step starts: its whole name (empty: nowhere, all is sent), and the txg of it. */
static int
first_source(const package_t *pk, package_fs_t *pf, char *name, uint64_t *txg)
{
    const char *from = pk->pk_args->dpa_send.dsa_from;
    const package_snap_t *ps = package_find_snap(pf, pk->pk_from);
    dsl_bookmark_t bm = {0};
    int err = 0;

    *txg = 0;
    name[0] = '\0';
    if (!pk->pk_args->dpa_replicate && from != NULL) {
        snprintf(name, 2 * ZFS_MAX_DATASET_NAME_LEN, "%s", from);
        err = strchr(from, '#') != NULL ? dsl_bookmark_get(pk->pk_pool, from, &bm) : 0;
        *txg = strchr(from, '#') != NULL ? bm.db_createtxg : ps != NULL ? ps->ps_txg : 0;
    } else if (ps != NULL) {
        snprintf(name, 2 * ZFS_MAX_DATASET_NAME_LEN, "%s@%s", pf->pf_name, ps->ps_name);
        *txg = ps->ps_txg;
    } else if (pk->pk_args->dpa_replicate) {
        snprintf(name, 2 * ZFS_MAX_DATASET_NAME_LEN, "%s", pf->pf_origin);
    }
    return err;
}

static int
send_fs(package_t *pk, package_fs_t *pf)
{
    const dmu_send_package_args_t *a = pk->pk_args;
    bool all = a->dpa_intermediate || (a->dpa_replicate && a->dpa_send.dsa_from == NULL);
    char from[2 * ZFS_MAX_DATASET_NAME_LEN];
    uint64_t since;
    int err = first_source(pk, pf, from, &since);

    for (size_t i = 0; i < pf->pf_nsnaps && err == 0; i++) {
        const package_snap_t *ps = &pf->pf_snaps[i];
        bool last = i == pf->pf_nsnaps - 1;
        if (!last && (ps->ps_txg <= since || !(all || (a->dpa_replicate && ps->ps_origin))))
            continue;
        err = send_step(pk, pf, ps->ps_name, from[0] != '\0' ? from : NULL);
        snprintf(from, sizeof(from), "%s@%s", pf->pf_name, ps->ps_name);
    }
    return err;
}

/* A wrong source is found before a byte is written. */
static int
check_source(dsl_pool_t *dp, package_t *pk)
{
    send_source_t *ss = xzalloc(sizeof(*ss));
    int err = send_source_resolve(dp, &pk->pk_args->dpa_send, ss);

    if (err == 0)
        send_source_rele(ss);
    else
        snprintf(pk->pk_failed, sizeof(pk->pk_failed), "%s", pk->pk_args->dpa_send.dsa_tosnap);
    free(ss);
    return err;
}

int
dmu_send_package(dsl_pool_t *dp, dmu_send_package_args_t *args)
{
    package_t pk;
    int err = package_gather(&pk, dp, args);

    if (err == 0)
        err = check_source(dp, &pk);
    if (err == 0)
        err = write_header(&pk);
    for (package_fs_t *pf = list_head(&pk.pk_fs); pf != NULL && err == 0; pf = list_next(&pk.pk_fs, pf))
        err = send_fs(&pk, pf);
    if (err == 0)
        err = write_trailer(&pk);
    args->dpa_bytes = pk.pk_bytes;
    memcpy(args->dpa_failed, pk.pk_failed, sizeof(args->dpa_failed));
    package_free(&pk);
    return err;
}
