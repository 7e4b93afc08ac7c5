/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * look_verify.c - is this stream whole? Every record goes through the reader of a receive (stream.c): checksums, fields, order.
 *
 *   lz4-a.zs: g3/lz4@a: full stream, 8245 records, 5023464 bytes
 *   lz4-a.zs: sound: 8245 records, 5023464 bytes
 *
 * A file may hold several streams, one after the other. A package is verified stream by stream, and its list must be readable. Nothing is kept but one record, so any size will do. What
 * only a receiver can know (is the source of an increment there?) is not asked.
 */
#include <inttypes.h>
#include <unistd.h>
#include "look.h"
#include "stream.h"

typedef struct verify {
    cmd_env_t *ve_env;
    const char *ve_name;
    int ve_fd;
    bool ve_verbose;
    uint64_t ve_off, ve_records;
    uint64_t ve_base, ve_start; /* records, bytes before the stream at hand */
    stream_error_t ve_se;
} verify_t;

/* A package's list, or the list of a stream of today. */
static int
verify_list(verify_t *ve, const uint8_t *payload, uint32_t len)
{
    nvlist_t *list;

    if (len == 0)
        return 0;
    if (nvlist_unpack(payload, len, &list) != 0)
        return stream_fail(&ve->ve_se, EINVAL, 0, ve->ve_off, "BEGIN: its list cannot be read");
    nvlist_free(list);
    return 0;
}

/* The records after BEGIN, through END. */
static int
verify_records(verify_t *ve, const dmu_replay_record_t *wire, const dmu_replay_record_t *begin)
{
    stream_in_t si;
    uint8_t *payload;
    bool end = false;
    int err = stream_in_start(&si, ve->ve_fd, &ve->ve_off, ve->ve_env->cancel, &ve->ve_se, wire, &payload);

    if (err == 0)
        err = verify_list(ve, payload, begin->drr_payloadlen);
    free(payload);
    ve->ve_records++;
    while (err == 0 && !end) {
        stream_rec_t *rec;
        err = stream_in_next(&si, &rec);
        if (err != 0)
            break;
        ve->ve_records++;
        end = rec->sr_drr.drr_type == DRR_END;
        stream_rec_free(rec);
    }
    return err;
}

static int
verify_begin(verify_t *ve, const struct drr_begin *b, bool package, bool inside, uint64_t start)
{
    char text[sizeof(ve->ve_se.se_text)];
    int err;

    if (package && inside)
        return stream_fail(&ve->ve_se, EINVAL, 0, start, "a package inside a package");
    if (memchr(b->drr_toname, '\0', sizeof(b->drr_toname)) == NULL)
        return stream_fail(&ve->ve_se, EINVAL, 0, start, "BEGIN: the name has no end");
    err = package ? 0 : stream_check_begin(b, text);
    return err == 0 ? 0 : stream_fail(&ve->ve_se, err, 0, start, "%s", text);
}

static void
verify_tell(verify_t *ve, const struct drr_begin *b, uint64_t records, uint64_t bytes)
{
    bool package = DMU_GET_STREAM_HDRTYPE(b->drr_versioninfo) == DMU_COMPOUNDSTREAM;
    const char *kind = package                           ? "package"
                       : b->drr_fromguid == 0            ? "full stream"
                       : (b->drr_flags & DRR_FLAG_CLONE) ? "clone stream"
                                                         : "incremental stream";

    if (ve->ve_verbose)
        fprintf(ve->ve_env->out, "%s: %.256s: %s, %" PRIu64 " records, %" PRIu64 " bytes\n", ve->ve_name,
                b->drr_toname, kind, records, bytes);
}

/* One stream, or a package's header and all in it (then inside, and its END gives atend). ENODATA: there is no more. */
static int
verify_next(verify_t *ve, bool inside, bool *atend)
{
    dmu_replay_record_t wire, begin;
    uint64_t start = ve->ve_off;
    stream_in_t si;
    bool *end = inside ? atend : NULL;
    int err = stream_in_begin(&si, ve->ve_fd, &ve->ve_off, ve->ve_env->cancel, &ve->ve_se, &wire, end);

    ve->ve_base = ve->ve_records;
    ve->ve_start = start;
    if (err != 0 || (inside && *atend)) {
        ve->ve_records += err == 0;
        return err;
    }
    begin = wire;
    if (si.in_swap)
        drr_byteswap(&begin, DRR_BEGIN);
    bool package = DMU_GET_STREAM_HDRTYPE(begin.drr_u.drr_begin.drr_versioninfo) == DMU_COMPOUNDSTREAM;
    err = verify_begin(ve, &begin.drr_u.drr_begin, package, inside, start);
    if (err == 0)
        err = verify_records(ve, &wire, &begin);
    if (err == 0)
        verify_tell(ve, &begin.drr_u.drr_begin, ve->ve_records - ve->ve_base, ve->ve_off - start);
    for (bool last = false; package && err == 0 && !last;) {
        err = verify_next(ve, true, &last);
        if (err == ENODATA)
            err = EINVAL; /* the reader has said that nothing is there */
    }
    return err;
}

static int
verify_fault(verify_t *ve, int err)
{
    const stream_error_t *se = &ve->ve_se;

    return failx(ve->ve_env, "%s: record %" PRIu64 ", byte %" PRIu64 ": %s", ve->ve_name,
                 ve->ve_base + se->se_record, MAX(se->se_offset, ve->ve_start),
                 se->se_text[0] != '\0' ? se->se_text : zfs_strerror(err));
}

int
look_verify(cmd_env_t *env, const char *file, bool verbose)
{
    verify_t ve = {.ve_env = env, .ve_name = file, .ve_verbose = verbose, .ve_fd = look_open(env, file)};
    int err;

    if (ve.ve_fd < 0)
        return 1;
    progress_t *p = progress_start(env, "verified", &ve.ve_off, 0);
    while ((err = verify_next(&ve, false, NULL)) == 0)
        ;
    progress_stop(p);
    close(ve.ve_fd);
    if (err != ENODATA || ve.ve_records == 0)
        return verify_fault(&ve, err);
    fprintf(env->out, "%s: sound: %" PRIu64 " records, %" PRIu64 " bytes\n", file, ve.ve_records, ve.ve_off);
    return 0;
}
