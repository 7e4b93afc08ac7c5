/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * receive.c - all of `receive`: a stream or a package of streams, from a file descriptor to snapshots with names.
 *
 *   one stream     BEGIN ... END
 *   package        BEGIN(2) [list] END   BEGIN ... END   BEGIN ... END   ...   END(zeros)
 *                             │                │
 *                   receive_list.c     receive_one() for each          before the first and after the last:
 *                                              │                       receive_replicate() (receive_package.c)
 *      destination (receive_name.c) ► skip what is here ► dmu_recv_begin ► properties ► _stream ► _end ► properties of the snapshot, holds
 *
 * An error ends a package; the streams before it were whole, and stay. A stream in an incremental package whose snapshot is here already is
 * passed over, so that a package can be received again after an error.
 *
 * ZFS: lib/libzfs/libzfs_sendrecv.c
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "receive_impl.h"

/* ---- telling ---- */

static void
tell(const receive_t *rc, void (*fn)(void *, const char *), const char *fmt, va_list ap)
{
    char line[4 * ZFS_MAX_DATASET_NAME_LEN];

    vsnprintf(line, sizeof(line), fmt, ap);
    fn(rc->rc_args->dra_arg, line);
}

void
receive_say(receive_t *rc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (rc->rc_args->dra_said != NULL)
        tell(rc, rc->rc_args->dra_said, fmt, ap);
    va_end(ap);
}

void
receive_warn(receive_t *rc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (rc->rc_args->dra_warn != NULL)
        tell(rc, rc->rc_args->dra_warn, fmt, ap);
    va_end(ap);
}

int
receive_release(receive_t *rc, const char *ds)
{
    const dmu_receive_args_t *args = rc->rc_args;

    return args->dra_release != NULL ? args->dra_release(args->dra_arg, ds) : 0;
}

/* ---- the destination of one stream ---- */

typedef struct one {
    const struct drr_begin *on_begin;
    const receive_snap_t *on_snap;          /* the list's; NULL */
    char on_sent[ZFS_MAX_DATASET_NAME_LEN]; /* the sender's file system */
    const char *on_sentsnap;
    bool on_top;       /* of the package */
    bool on_new;       /* a full stream or a clone's: it makes a file system */
    bool on_there;     /* the destination is there */
    uint64_t on_start; /* byte in the stream */
} one_t;

static int
one_init(receive_t *rc, one_t *on, const struct drr_begin *b)
{
    char text[sizeof(rc->rc_se->se_text)];
    bool resuming = (DMU_GET_FEATUREFLAGS(b->drr_versioninfo) & DMU_BACKUP_FEATURE_RESUMING) != 0;
    int err = stream_check_begin(b, text);

    rc->rc_what = resuming               ? "resume stream"
                  : b->drr_fromguid != 0 ? "incremental stream"
                                         : "new filesystem stream";
    if (err != 0)
        return stream_fail(rc->rc_se, err, 0, 0, "%s", text);
    on->on_begin = b;
    on->on_sentsnap = strchr(b->drr_toname, '@') + 1;
    snprintf(on->on_sent, sizeof(on->on_sent), "%.*s", (int)(on->on_sentsnap - 1 - b->drr_toname),
             b->drr_toname);
    if (rc->rc_list == NULL)
        strcpy(rc->rc_top, on->on_sent);
    on->on_snap = receive_list_find(rc->rc_list, b->drr_toguid, on->on_sent);
    on->on_top = strcmp(on->on_sent, rc->rc_top) == 0;
    on->on_new = !resuming && !rc->rc_args->dra_heal &&
                 (b->drr_fromguid == 0 || (b->drr_flags & DRR_FLAG_CLONE) || rc->rc_args->dra_origin != NULL);
    on->on_start = *rc->rc_progress;
    return 0;
}

static int
one_destination(receive_t *rc, const one_t *on)
{
    const dmu_receive_args_t *args = rc->rc_args;
    const char *at = strchr(args->dra_target, '@');
    char parent[ZFS_MAX_DATASET_NAME_LEN];
    int err = receive_map_name(rc, on->on_sent, rc->rc_fs);

    if (err != 0)
        return err;
    if (strlen(at != NULL ? at + 1 : on->on_sentsnap) >= sizeof(rc->rc_snap))
        return FAIL(rc, ENAMETOOLONG, "the name is too long");
    strcpy(rc->rc_snap, at != NULL ? at + 1 : on->on_sentsnap);
    strcpy(parent, rc->rc_fs);
    parent[strrchr(parent, '/') != NULL ? strrchr(parent, '/') - parent : 0] = '\0';
    if (on->on_new && on->on_snap != NULL && parent[0] != '\0' && !receive_exists(rc, parent))
        receive_move(rc, receive_list_guid(on->on_snap->rs_fs, "parentfromsnap"), true);
    else if (!on->on_new && (!on->on_top || args->dra_drop_first || args->dra_use_last) &&
             !receive_exists(rc, rc->rc_fs))
        receive_move(rc, on->on_begin->drr_fromguid, false);
    return 0;
}

/* With -d the file systems between the target and the stream's own are made as needed. */
static int
make_parents(receive_t *rc)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];
    size_t i = strlen(rc->rc_args->dra_target);

    if (!rc->rc_args->dra_drop_first || strncmp(rc->rc_fs, rc->rc_args->dra_target, i) != 0 ||
        rc->rc_fs[i] == '\0')
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

/* The rest is dmu_recv_begin()'s to check; but a dry run does not come that far. */
static int
one_check(receive_t *rc, one_t *on)
{
    char parent[ZFS_MAX_DATASET_NAME_LEN];

    on->on_there = receive_exists(rc, rc->rc_fs);
    if (on->on_new && on->on_there && !rc->rc_args->dra_force)
        return FAIL(rc, EEXIST, "destination '%s' exists: must specify -F to overwrite it", rc->rc_fs);
    if (!on->on_new && !on->on_there)
        return FAIL(rc, ENOENT, "destination '%s' does not exist", rc->rc_fs);
    strcpy(parent, rc->rc_fs);
    char *slash = strrchr(parent, '/');
    if (on->on_there || slash == NULL || rc->rc_args->dra_drop_first)
        return 0;
    *slash = '\0';
    return receive_exists(rc, parent) ? 0 : FAIL(rc, ENOENT, "the parent of '%s' does not exist", rc->rc_fs);
}

/* ---- one stream ---- */

/* Reads to the END, looking at sums and fields only. */
static int
skip_stream(receive_t *rc, const dmu_replay_record_t *wire)
{
    const dmu_receive_args_t *args = rc->rc_args;
    stream_rec_t *rec;
    stream_in_t si;
    uint8_t *list;
    bool end = false;
    int err = stream_in_start(&si, args->dra_fd, rc->rc_progress, args->dra_cancel, rc->rc_se, wire, &list);

    if (err == 0)
        free(list);
    while (err == 0 && !end && (err = stream_in_next(&si, &rec)) == 0) {
        end = rec->sr_drr.drr_type == DRR_END;
        stream_rec_free(rec);
    }
    return err;
}

/* Is the snapshot of this stream here? Its name usually tells; renamed ones are looked for after something went wrong. */
static bool
already_here(receive_t *rc, const one_t *on, bool anywhere)
{
    char name[2 * ZFS_MAX_DATASET_NAME_LEN], found[ZFS_MAX_DATASET_NAME_LEN];
    dsl_dataset_phys_t phys = {0};
    dsl_dataset_t *ds;

    if (rc->rc_list == NULL || (on->on_begin->drr_fromguid == 0 && rc->rc_list->rl_fromsnap == NULL))
        return false;
    if (anywhere)
        return find_by_guid_below(rc->rc_dp, rc->rc_fs, on->on_begin->drr_toguid, true, found) == 0 &&
               strncmp(found, rc->rc_fs, strlen(rc->rc_fs)) == 0 && found[strlen(rc->rc_fs)] == '@';
    snprintf(name, sizeof(name), "%s@%s", rc->rc_fs, rc->rc_snap);
    if (strlen(name) >= ZFS_MAX_DATASET_NAME_LEN || dsl_dataset_hold(rc->rc_dp, name, rc, &ds) != 0)
        return false;
    dsl_dataset_phys(ds, &phys);
    dsl_dataset_rele(ds, rc);
    return phys.ds_guid == on->on_begin->drr_toguid;
}

static int
pass_over(receive_t *rc, const dmu_replay_record_t *wire)
{
    memset(rc->rc_se, 0, sizeof(*rc->rc_se));
    receive_say(rc, "snap %s@%s already exists; ignoring", rc->rc_fs, rc->rc_snap);
    return skip_stream(rc, wire);
}

static dmu_recv_args_t
recv_args(receive_t *rc, const one_t *on, const dmu_replay_record_t *wire)
{
    const dmu_receive_args_t *args = rc->rc_args;

    return (dmu_recv_args_t){.rva_tofs = rc->rc_fs,
                             .rva_tosnap = rc->rc_snap,
                             .rva_begin = wire,
                             .rva_fd = args->dra_fd,
                             .rva_off = rc->rc_progress,
                             .rva_cancel = args->dra_cancel,
                             .rva_force = args->dra_force,
                             .rva_resumable = args->dra_resumable,
                             .rva_heal = args->dra_heal,
                             .rva_origin = args->dra_origin,
                             .rva_props = on->on_top ? args->dra_props : NULL};
}

/* The snapshot is there: what else the package says of it, and what there is to tell. */
static void
one_done(receive_t *rc, const one_t *on, const nvlist_t *fs, uint64_t healed, uint64_t start)
{
    const dmu_receive_args_t *args = rc->rc_args;

    rc->rc_streams++;
    if (DMU_GET_FEATUREFLAGS(on->on_begin->drr_versioninfo) & DMU_BACKUP_FEATURE_REDACTED)
        receive_warn(rc, "%s@%s is redacted: what its sender left out reads as zeros", rc->rc_fs, rc->rc_snap);
    if (args->dra_heal)
        receive_say(rc, "healed %" PRIu64 " damaged blocks of %s@%s", healed, rc->rc_fs, rc->rc_snap);
    if (on->on_there && !args->dra_heal)
        receive_props(rc, fs, on->on_top, false);
    if (on->on_snap != NULL)
        receive_snap_props(rc, rc->rc_fs, rc->rc_snap, on->on_snap, true);
    if (args->dra_received != NULL)
        args->dra_received(args->dra_arg, *rc->rc_progress - on->on_start + DRR_SIZE, gethrtime() - start);
}

static int
receive_data(receive_t *rc, const one_t *on, const dmu_replay_record_t *wire)
{
    const nvlist_t *fs = on->on_snap != NULL ? on->on_snap->rs_fs : NULL;
    char origin[ZFS_MAX_DATASET_NAME_LEN];
    dmu_recv_args_t rva = recv_args(rc, on, wire);
    dmu_recv_cookie_t *drc;
    uint64_t start = gethrtime(), healed = 0;

    rva.rva_healed = &healed;
    if ((on->on_begin->drr_flags & DRR_FLAG_CLONE) && rva.rva_origin == NULL &&
        receive_find_origin(rc, on->on_begin->drr_fromguid, origin) == 0) {
        rva.rva_origin = origin;
        receive_say(rc, "found clone origin %s", origin);
    }
    int err = dmu_recv_begin(rc->rc_dp, &rva, rc->rc_se, &drc);
    if ((err == ENOENT || err == EEXIST || err == ENODEV) && *rc->rc_progress == on->on_start &&
        already_here(rc, on, true))
        return pass_over(rc, wire);
    if (err == 0 && !on->on_there) /* new data obeys them */
        receive_props(rc, fs, on->on_top, true);
    if (err == 0)
        err = dmu_recv_stream(drc, rc->rc_se);
    if (err == 0)
        err = dmu_recv_end(drc);
    if (err == 0)
        one_done(rc, on, fs, healed, start);
    return err;
}

static int
receive_one(receive_t *rc, const dmu_replay_record_t *wire, const struct drr_begin *b)
{
    one_t on;
    int err = one_init(rc, &on, b);

    if (err == 0)
        err = receive_check_target(rc);
    if (err == 0)
        err = one_destination(rc, &on);
    if (err == 0 && already_here(rc, &on, false))
        return pass_over(rc, wire);
    if (err == 0)
        err = one_check(rc, &on);
    if (err != 0)
        return err;
    receive_say(rc, "%s %s%s stream of %s into %s@%s", rc->rc_dry != NULL ? "would receive" : "receiving",
                rc->rc_args->dra_heal ? "corrective " : "", b->drr_fromguid != 0 ? "incremental" : "full",
                b->drr_toname, rc->rc_fs, rc->rc_snap);
    if (rc->rc_dry != NULL) {
        nvlist_add_boolean(rc->rc_dry, rc->rc_fs);
        return skip_stream(rc, wire);
    }
    err = make_parents(rc);
    return err != 0 ? err : receive_data(rc, &on, wire);
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
    if (err == 0) {
        void (*fletcher)(const void *, size_t, zio_cksum_t *) =
            si->in_swap ? fletcher_4_incremental_byteswap : fletcher_4_incremental_native;
        fletcher(wire, sizeof(*wire), &sum);
        fletcher(list, len, &sum);
        if (si->in_swap)
            drr_byteswap(&end, __builtin_bswap32(end.drr_type));
        if (end.drr_type != DRR_END)
            err = stream_fail(rc->rc_se, SET_ERROR(EINVAL), 1, si->in_off - DRR_SIZE,
                              "the package's header does not end");
        else if (!zio_cksum_equal(&end.drr_u.drr_end.drr_checksum, &sum))
            err = stream_fail(rc->rc_se, SET_ERROR(ECKSUM), 1, si->in_off - DRR_SIZE,
                              "the checksum of the package's header differs");
    }
    if (err == 0 && len != 0)
        err = receive_list_parse(rc->rc_list, list, len, rc->rc_se);
    free(list);
    return err;
}

static int receive_next(receive_t *rc, bool *atend);

/* Something left to do is an error only when all streams came. */
static int
package_streams(receive_t *rc)
{
    char tofs[ZFS_MAX_DATASET_NAME_LEN];
    const receive_list_t *rl = rc->rc_list;
    bool tree = rl->rl_list != NULL && rl->rl_recursive && rl->rl_fromsnap != NULL, done = true,
         atend = false;
    int err = receive_check_target(rc);

    if (err == 0)
        err = receive_map_name(rc, rc->rc_top, tofs);
    if (err == 0 && tree)
        (void)receive_replicate(rc, tofs, false);
    while (err == 0 && !atend)
        err = receive_next(rc, &atend);
    if (err == 0 && tree && rc->rc_dry == NULL)
        done = receive_replicate(rc, tofs, true);
    if (err != 0 && rc->rc_streams != 0)
        receive_warn(rc, "%" PRIu64 " stream%s of this package came before it, whole, and stay%s",
                     rc->rc_streams, rc->rc_streams == 1 ? "" : "s", rc->rc_streams == 1 ? "s" : "");
    return err != 0 || done ? err : SET_ERROR(EAGAIN);
}

static int
receive_package(receive_t *rc, stream_in_t *si, const dmu_replay_record_t *wire,
                const dmu_replay_record_t *begin)
{
    const char *toname = begin->drr_u.drr_begin.drr_toname;
    receive_list_t rl = {.rl_list = NULL};
    int err;

    if (rc->rc_list != NULL)
        return FAIL(rc, EINVAL, "a package inside a package");
    if (memchr(toname, '\0', sizeof(begin->drr_u.drr_begin.drr_toname)) == NULL ||
        strchr(toname, '@') == NULL)
        return FAIL(rc, EINVAL, "the package has no name");
    rc->rc_list = &rl;
    snprintf(rc->rc_top, sizeof(rc->rc_top), "%.*s", (int)strcspn(toname, "@"), toname);
    err = package_header(rc, si, wire, begin);
    if (err == 0)
        err = package_streams(rc);
    receive_list_free(&rl);
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
    rc.rc_dry = args->dra_dryrun ? nvlist_alloc() : NULL;
    err = receive_next(&rc, NULL);
    nvlist_free(rc.rc_dry);
    rc.rc_se->se_what = err != 0 ? rc.rc_what : NULL;
    if (received != NULL)
        received[0] = '\0';
    if (received != NULL && rc.rc_fs[0] != '\0') { /* after an error: what it was about */
        size_t n = strlen(rc.rc_fs);
        memcpy(received, rc.rc_fs, n);
        snprintf(received + n, ZFS_MAX_DATASET_NAME_LEN - n, "@%s", rc.rc_snap);
    }
    return err;
}
