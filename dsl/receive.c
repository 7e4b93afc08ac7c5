/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * receive.c - all of `receive`: a stream or a package of streams, from a file descriptor to snapshots with names.
 *
 *   one stream     BEGIN ... END
 *   package        BEGIN(2) [nvlist] END   BEGIN ... END   BEGIN ... END   ...   END(zeros)
 *
 * WHERE IT GOES. The stream says what it was: pool/a/b@s. What the sender named on its command line is the top; in a package streams
 * below it keep their place below the target.
 *
 *                       target T            -d                       -e
 *   pool/a@s            T@s                 T/a@s                    T/a@s
 *   pool/a/b@s          T@s                 T/a/b@s                  T/b@s
 *   the same, top /a    T/b@s               T/a/b@s                  T/a/b@s
 *   T = fs@snap         fs@snap             -                        -
 *
 * ZFS: lib/libzfs/libzfs_sendrecv.c. Renames, deletions and properties of a package are not applied.
 */
#include <stdio.h>

#include "recv_impl.h"

typedef struct receive {
    dsl_pool_t *rc_dp;
    const dmu_receive_args_t *rc_args;
    stream_error_t *rc_se;
    uint64_t rc_off;
    uint64_t *rc_progress;                 /* the caller's, or rc_off */
    char rc_top[ZFS_MAX_DATASET_NAME_LEN]; /* of a package; else empty */
    char rc_fs[ZFS_MAX_DATASET_NAME_LEN];  /* where the stream at hand goes */
    char rc_snap[ZFS_MAX_DATASET_NAME_LEN];
} receive_t;

/* ---- names ---- */

static const char *
after_first(const char *name) /* "/a/b" of "pool/a/b"; "" of "pool" */
{
    return name + strcspn(name, "/");
}

static const char *
last_of(const char *name) /* "/b" of "pool/a/b"; "" of "pool" */
{
    const char *slash = strrchr(name, '/');

    return slash != NULL ? slash : "";
}

/* The part of the sender's name that is kept behind the target. */
static const char *
kept_part(const receive_t *rc, const char *sent)
{
    size_t top = strlen(rc->rc_top);
    bool below = top != 0 && strncmp(sent, rc->rc_top, top) == 0 && (sent[top] == '\0' || sent[top] == '/');

    if (rc->rc_args->dra_drop_first)
        return after_first(sent);
    if (rc->rc_args->dra_use_last)
        return below ? sent + (last_of(rc->rc_top) - rc->rc_top) : last_of(sent);
    return below ? sent + top : "";
}

static int
map_name(receive_t *rc, const char *toname)
{
    const char *target = rc->rc_args->dra_target, *at = strchr(target, '@');
    char sent[ZFS_MAX_DATASET_NAME_LEN];
    const char *snap = strchr(toname, '@') + 1;
    int n;

    snprintf(sent, sizeof(sent), "%.*s", (int)(snap - 1 - toname), toname);
    if (at != NULL && (rc->rc_top[0] != '\0' || rc->rc_args->dra_drop_first || rc->rc_args->dra_use_last))
        return stream_fail(rc->rc_se, SET_ERROR(EINVAL), 0, 0,
                           "a snapshot cannot be the target of this stream");
    if (last_of(rc->rc_top)[0] == '\0' && rc->rc_args->dra_use_last && rc->rc_top[0] != '\0')
        n = snprintf(rc->rc_fs, sizeof(rc->rc_fs), "%s%s", target, after_first(sent));
    else
        n = snprintf(rc->rc_fs, sizeof(rc->rc_fs), "%.*s%s",
                     (int)(at != NULL ? at - target : (long)strlen(target)), target,
                     at != NULL ? "" : kept_part(rc, sent));
    if (n >= (int)sizeof(rc->rc_fs) || strlen(at != NULL ? at + 1 : snap) >= sizeof(rc->rc_snap))
        return stream_fail(rc->rc_se, SET_ERROR(ENAMETOOLONG), 0, 0, "the name is too long");
    snprintf(rc->rc_snap, sizeof(rc->rc_snap), "%s", at != NULL ? at + 1 : snap);
    return 0;
}

/* With -d the file systems between the target and the stream's own are made as needed. */
static int
make_parents(receive_t *rc)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];
    size_t i = strlen(rc->rc_args->dra_target);

    if (!rc->rc_args->dra_drop_first || rc->rc_fs[i] == '\0')
        return 0;
    for (i++; rc->rc_fs[i] != '\0'; i++) {
        if (rc->rc_fs[i] != '/')
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)i, rc->rc_fs);
        int err = dsl_create(rc->rc_dp, name, DMU_OST_ZFS, NULL);
        if (err != 0 && err != EEXIST)
            return stream_fail(rc->rc_se, err, 0, 0, "cannot create %s: %s", name, cowbird_strerror(err));
    }
    return 0;
}

/* ---- one stream ---- */

static int
receive_one(receive_t *rc, const dmu_replay_record_t *wire, const struct drr_begin *b)
{
    const dmu_receive_args_t *args = rc->rc_args;
    dmu_recv_args_t rva = {.rva_tofs = rc->rc_fs, .rva_tosnap = rc->rc_snap, .rva_begin = wire, .rva_fd = args->dra_fd,
                           .rva_off = rc->rc_progress, .rva_cancel = args->dra_cancel, .rva_force = args->dra_force,
                           .rva_resumable = args->dra_resumable, .rva_heal = args->dra_heal, .rva_origin = args->dra_origin,
                           .rva_props = args->dra_props};
    dmu_recv_cookie_t *drc;
    char text[sizeof(rc->rc_se->se_text)];
    int err = stream_check_begin(b, text);

    if (err != 0)
        return stream_fail(rc->rc_se, err, 0, 0, "%s", text);
    err = map_name(rc, b->drr_toname);
    if (err != 0 || args->dra_dryrun)
        return err;
    err = make_parents(rc);
    if (err == 0)
        err = dmu_recv_begin(rc->rc_dp, &rva, rc->rc_se, &drc);
    if (err == 0)
        err = dmu_recv_stream(drc, rc->rc_se);
    return err != 0 ? err : dmu_recv_end(drc);
}

/* ---- packages ---- */

/* The package's own list and END, whose sum covers both. */
static int
package_header(receive_t *rc, stream_in_t *si, const dmu_replay_record_t *wire,
               const dmu_replay_record_t *begin)
{
    dmu_replay_record_t end;
    uint8_t *list;
    zio_cksum_t sum = {{0}};
    uint64_t len;
    int err = drr_payload_size(begin, &len);

    if (err != 0)
        return stream_fail(rc->rc_se, err, 0, 0, "BEGIN: a list of %u bytes", begin->drr_payloadlen);
    list = xmalloc(len + 1);
    err = stream_in_read(si, list, len);
    if (err == 0)
        err = stream_in_read(si, &end, sizeof(end));
    void (*fletcher)(const void *, size_t, zio_cksum_t *) =
        si->in_swap ? fletcher_4_incremental_byteswap : fletcher_4_incremental_native;
    fletcher(wire, sizeof(*wire), &sum);
    fletcher(list, len, &sum);
    free(list);
    if (err != 0)
        return err;
    if (si->in_swap)
        drr_byteswap(&end, __builtin_bswap32(end.drr_type));
    if (end.drr_type != DRR_END)
        return stream_fail(rc->rc_se, SET_ERROR(EINVAL), 1, si->in_off - DRR_SIZE,
                           "the package's header does not end");
    if (!zio_cksum_equal(&end.drr_u.drr_end.drr_checksum, &sum))
        return stream_fail(rc->rc_se, SET_ERROR(ECKSUM), 1, si->in_off - DRR_SIZE,
                           "the checksum of the package's header differs");
    return 0;
}

static int receive_next(receive_t *rc, bool *atend);

static int
receive_package(receive_t *rc, stream_in_t *si, const dmu_replay_record_t *wire,
                const dmu_replay_record_t *begin)
{
    const char *toname = begin->drr_u.drr_begin.drr_toname;
    bool atend = false;
    int err;

    if (rc->rc_top[0] != '\0')
        return stream_fail(rc->rc_se, SET_ERROR(EINVAL), 0, 0, "a package inside a package");
    if (memchr(toname, '\0', sizeof(begin->drr_u.drr_begin.drr_toname)) == NULL)
        return stream_fail(rc->rc_se, SET_ERROR(EINVAL), 0, 0, "the package has no name");
    snprintf(rc->rc_top, sizeof(rc->rc_top), "%.*s", (int)strcspn(toname, "@"), toname);
    err = package_header(rc, si, wire, begin);
    if (err != 0 || rc->rc_args->dra_dryrun) {
        if (err == 0)
            err = map_name(rc, toname);
        return err;
    }
    while (err == 0 && !atend)
        err = receive_next(rc, &atend);
    return err;
}

/* Whatever begins here. atend NULL: it must be a stream, and may be a package. */
static int
receive_next(receive_t *rc, bool *atend)
{
    const dmu_receive_args_t *args = rc->rc_args;
    dmu_replay_record_t wire, begin;
    stream_in_t si;
    int err = stream_in_begin(&si, args->dra_fd, rc->rc_progress, args->dra_cancel, rc->rc_se, &wire, atend);

    if (err != 0 || (atend != NULL && *atend))
        return err == ENODATA ? SET_ERROR(EINVAL) : err;
    begin = wire;
    if (si.in_swap)
        drr_byteswap(&begin, DRR_BEGIN);
    if (DMU_GET_STREAM_HDRTYPE(begin.drr_u.drr_begin.drr_versioninfo) == DMU_COMPOUNDSTREAM)
        return receive_package(rc, &si, &wire, &begin);
    return receive_one(rc, &wire, &begin.drr_u.drr_begin);
}

int
dmu_receive(dsl_pool_t *dp, const dmu_receive_args_t *args, char *received, stream_error_t *se)
{
    stream_error_t dummy;
    receive_t rc = {.rc_dp = dp, .rc_args = args, .rc_se = se != NULL ? se : &dummy};
    int err;

    memset(rc.rc_se, 0, sizeof(*rc.rc_se));
    rc.rc_progress = args->dra_off != NULL ? args->dra_off : &rc.rc_off;
    err = receive_next(&rc, NULL);
    if (received != NULL)
        received[0] = '\0';
    if (received != NULL && rc.rc_fs[0] != '\0') { /* after an error: what it was about */
        size_t n = strlen(rc.rc_fs);
        memcpy(received, rc.rc_fs, n);
        snprintf(received + n, ZFS_MAX_DATASET_NAME_LEN - n, "@%s", rc.rc_snap);
    }
    return err;
}
