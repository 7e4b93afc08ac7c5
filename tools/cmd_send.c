/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_send.c - send: names, options and what is said of it. One snapshot is dsl/send.c's, several dsl/send_package.c's.
 *
 *   send -nv    counts, and tells on standard output            send -v    counts and tells on standard error,
 *   send -nP    the same for scripts                                       then sends, with a line a second
 *   send -t     goes on where a receive broke off: its token names snapshot and source by guid, wherever they are now
 *   send -S     what a broken receive left here goes on to someone else
 */
#include <inttypes.h>
#include <unistd.h>
#include "cmd.h"

typedef struct send_job {
    cmd_env_t *sj_env;
    dsl_pool_t *sj_pool;
    dmu_send_package_args_t sj_args; /* dpa_send alone counts when it is no package */
    bool sj_package, sj_dryrun, sj_script, sj_verbose;
    const char *sj_source;           /* -i or -I, as given; NULL: none */
    const char *sj_token;            /* -t */
    char sj_to[NAMELEN];             /* what the token means */
    char sj_from[2 * NAMELEN];       /* the whole name of it */
    uint64_t sj_off, sj_total;
    progress_t *sj_progress;
} send_job_t;

/* ---- what is said ---- */

static bool
exists(dsl_pool_t *dp, const char *name)
{
    dsl_stats_t st;
    return dsl_dataset_stats(dp, name, &st) == 0;
}

static int
send_fail(send_job_t *sj, int err)
{
    const dmu_send_args_t *a = &sj->sj_args.dpa_send;
    const char *failed = sj->sj_args.dpa_failed[0] != '\0' ? sj->sj_args.dpa_failed : a->dsa_tosnap;
    const char *to = strchr(a->dsa_tosnap, '@');
    if (err == EXDEV)
        return failx(sj->sj_env, "cannot send '%s': not an earlier snapshot from the same fs", failed);
    if (err == ENOENT && (a->dsa_flags & DMU_SEND_SAVED))
        return failx(sj->sj_env, "cannot send '%s': nothing was partly received there", failed);
    if (err == ENOENT && sj->sj_source != NULL && strcmp(failed, a->dsa_tosnap) == 0 && exists(sj->sj_pool, failed))
        return failx(sj->sj_env, "cannot send '%s': incremental source (%s) does not exist", failed, sj->sj_from);
    if (err == EINVAL)
        return failx(sj->sj_env, "cannot send '%s': not a snapshot", failed);
    if (err == ENOTSUP)
        return failx(sj->sj_env, "cannot send '%s': its directories have blocks over 128K: use -L or -w", failed);
    if (err == ENOENT && sj->sj_package && strchr(failed, '@') == NULL)
        return failx(sj->sj_env, "cannot send '%s': snapshot %s%s does not exist", a->dsa_tosnap, failed, to != NULL ? to : "");
    return fail(sj->sj_env, err, "cannot send '%s'", failed);
}

/* A source of the same file system by its short name. */
static const char *
short_source(const char *from, const char *to)
{
    size_t n = strcspn(to, "@");
    return from != NULL && strncmp(from, to, n) == 0 && from[n] == '@' ? from + n : from;
}

static void
send_tell(void *arg, const char *from, const char *to, uint64_t bytes)
{
    send_job_t *sj = arg;
    FILE *f = sj->sj_dryrun ? sj->sj_env->out : sj->sj_env->err;
    const char *base = short_source(from, to);
    char b[16];
    sj->sj_total += bytes;
    if (sj->sj_script && base != NULL)
        fprintf(f, "incremental\t%s\t%s\t%" PRIu64 "\n", base + (base[0] == '@'), to, bytes);
    else if (sj->sj_script)
        fprintf(f, "full\t%s\t%" PRIu64 "\n", to, bytes);
    else if (base != NULL)
        fprintf(f, "send from %s to %s estimated size is %s\n", base, to, nicebytes(bytes, b));
    else
        fprintf(f, "full send of %s estimated size is %s\n", to, nicebytes(bytes, b));
}

static void
send_tell_total(send_job_t *sj)
{
    FILE *f = sj->sj_dryrun ? sj->sj_env->out : sj->sj_env->err;
    char b[16];
    if (sj->sj_script)
        fprintf(f, "size\t%" PRIu64 "\n", sj->sj_total);
    else
        fprintf(f, "total estimated size is %s\n", nicebytes(sj->sj_total, b));
}

/* The next stream of a package begins. */
static void
send_next(void *arg, const char *from, const char *to, uint64_t bytes)
{
    send_job_t *sj = arg;
    progress_name(sj->sj_progress, to);
}

/* ---- the work ---- */

static int
send_estimate(send_job_t *sj, dsl_pool_t *dp)
{
    dmu_send_args_t *a = &sj->sj_args.dpa_send;
    uint64_t bytes;
    int err;
    if (sj->sj_package) {
        sj->sj_args.dpa_dryrun = true;
        sj->sj_args.dpa_said = send_tell;
        err = dmu_send_package(dp, &sj->sj_args);
        sj->sj_args.dpa_dryrun = false;
    } else {
        err = dmu_send_estimate(dp, a, &bytes);
        if (err == 0)
            send_tell(sj, a->dsa_from, a->dsa_tosnap, bytes);
    }
    if (err == 0)
        send_tell_total(sj);
    return err;
}

static int
send_stream(send_job_t *sj, dsl_pool_t *dp)
{
    dmu_send_args_t *a = &sj->sj_args.dpa_send;
    int err;
    sj->sj_progress = sj->sj_verbose || sj->sj_script ? progress_lines(sj->sj_env, &sj->sj_off, a->dsa_tosnap, sj->sj_script)
                                                      : progress_start(sj->sj_env, "sent", &sj->sj_off, sj->sj_total);
    sj->sj_args.dpa_said = send_next;
    err = sj->sj_package ? dmu_send_package(dp, &sj->sj_args) : dmu_send(dp, a);
    progress_stop(sj->sj_progress);
    return err;
}

/* "-i @a", "-i #a" and "-i a" are of the same file system. */
static void
send_from_name(send_job_t *sj, const char *snap)
{
    const char *from = sj->sj_source;
    int n = (int)strcspn(snap, "@");
    if (from[0] == '@' || from[0] == '#')
        snprintf(sj->sj_from, sizeof(sj->sj_from), "%.*s%s", n, snap, from);
    else if (from[strcspn(from, "@#/")] == '\0')
        snprintf(sj->sj_from, sizeof(sj->sj_from), "%.*s@%s", n, snap, from);
    else
        snprintf(sj->sj_from, sizeof(sj->sj_from), "%s", from);
    sj->sj_args.dpa_send.dsa_from = sj->sj_from;
}

/* Estimate, if anyone wants to know; send. The pool is open, names are found. */
static int
send_work(send_job_t *sj, dsl_pool_t *dp)
{
    dmu_send_args_t *a = &sj->sj_args.dpa_send;
    cmd_env_t *env = sj->sj_env;
    int err = 0;
    sj->sj_pool = dp;
    a->dsa_fd = env->fd_out;
    a->dsa_off = &sj->sj_off;
    a->dsa_cancel = env->cancel;
    sj->sj_args.dpa_arg = sj;
    if (sj->sj_verbose || sj->sj_script || sj->sj_dryrun)
        err = send_estimate(sj, dp);
    if (err == 0 && !sj->sj_dryrun)
        err = send_stream(sj, dp);
    return err == 0 ? 0 : send_fail(sj, err);
}

static int
send_run(send_job_t *sj, const char *snap)
{
    dmu_send_args_t *a = &sj->sj_args.dpa_send;
    bool saved = a->dsa_flags & DMU_SEND_SAVED;
    dsl_pool_t *dp;
    if (!saved && strchr(snap, '@') == NULL)
        return failx(sj->sj_env, "cannot send '%s': a snapshot (FILESYSTEM@SNAP) is needed", snap);
    if (saved && strchr(snap, '@') != NULL)
        return failx(sj->sj_env, "cannot send '%s': a file system that was partly received is needed", snap);
    if (env_pool(sj->sj_env, snap, saved ? 0 : ENV_RDONLY, &dp) != 0)
        return 1;
    if (sj->sj_source != NULL)
        send_from_name(sj, snap);
    a->dsa_tosnap = snap;
    return send_work(sj, dp);
}

/* ---- resuming ---- */

typedef struct find_guid {
    dsl_pool_t *fg_pool;
    uint64_t fg_guid;
    char *fg_name;
} find_guid_t;

static int
is_it(void *arg, const char *name)
{
    find_guid_t *fg = arg;
    dsl_bookmark_t bm;
    dsl_stats_t st;
    bool mark = strchr(name, '#') != NULL;
    int err = mark ? dsl_bookmark_get(fg->fg_pool, name, &bm) : dsl_dataset_stats(fg->fg_pool, name, &st);
    if (err != 0 || (mark ? bm.db_guid : st.dst_guid) != fg->fg_guid)
        return 0;
    snprintf(fg->fg_name, NAMELEN, "%s", name);
    return EEXIST; /* found */
}

/* The snapshot by its guid: where it was; else wherever it is now. A copy in the same pool has the same guid. */
static bool
find_target(send_job_t *sj, dsl_pool_t *dp, const dsl_resume_t *dr)
{
    find_guid_t fg = {dp, dr->dr_toguid, sj->sj_to};
    return is_it(&fg, dr->dr_toname) == EEXIST || dsl_find_by_guid(dp, dr->dr_toguid, true, sj->sj_to) == 0;
}

/* The source: a snapshot or bookmark of the same file system; else one of its origin's, anywhere. */
static bool
find_source(send_job_t *sj, dsl_pool_t *dp, uint64_t guid)
{
    find_guid_t fg = {dp, guid, sj->sj_from};
    char fs[NAMELEN];
    snprintf(fs, sizeof(fs), "%.*s", (int)strcspn(sj->sj_to, "@"), sj->sj_to);
    return dsl_for_each_snapshot(dp, fs, is_it, &fg) == EEXIST || dsl_for_each_bookmark(dp, fs, is_it, &fg) == EEXIST ||
           dsl_find_by_guid(dp, guid, true, sj->sj_from) == 0;
}

static void
tell_token(send_job_t *sj, const dsl_resume_t *dr)
{
    FILE *f = sj->sj_dryrun ? sj->sj_env->out : sj->sj_env->err;
    fprintf(f, "resume token contents:\n");
    if (dr->dr_fromguid != 0)
        fprintf(f, "\tfromguid = 0x%" PRIx64 "\n", dr->dr_fromguid);
    fprintf(f, "\tobject = 0x%" PRIx64 "\n\toffset = 0x%" PRIx64 "\n\tbytes = 0x%" PRIx64 "\n\ttoguid = 0x%" PRIx64 "\n\ttoname = %s\n", dr->dr_object,
            dr->dr_offset, dr->dr_bytes, dr->dr_toguid, dr->dr_toname);
}

static int
send_resume(send_job_t *sj)
{
    dmu_send_args_t *a = &sj->sj_args.dpa_send;
    cmd_env_t *env = sj->sj_env;
    dsl_resume_t dr;
    dsl_pool_t *dp;
    if (dsl_resume_parse(sj->sj_token, &dr) != 0)
        return failx(env, "cannot resume send: resume token is corrupt");
    if (env_pool(env, dr.dr_toname, ENV_RDONLY, &dp) != 0)
        return 1;
    if (sj->sj_verbose)
        tell_token(sj, &dr);
    if (!find_target(sj, dp, &dr))
        return failx(env, "cannot resume send: '%s' used in the initial send no longer exists", dr.dr_toname);
    if (dr.dr_fromguid != 0 && !find_source(sj, dp, dr.dr_fromguid))
        return failx(env, "cannot resume send: incremental source 0x%" PRIx64 " no longer exists", dr.dr_fromguid);
    a->dsa_tosnap = sj->sj_to;
    a->dsa_from = dr.dr_fromguid != 0 ? sj->sj_from : NULL;
    a->dsa_flags |= dr.dr_flags;
    a->dsa_resumeobj = dr.dr_object;
    a->dsa_resumeoff = dr.dr_offset;
    return send_work(sj, dp);
}

/* ---- options ---- */

static bool
package_option(send_job_t *sj, int c)
{
    dmu_send_package_args_t *a = &sj->sj_args;
    switch (c) {
    case 'R':
        return a->dpa_replicate = true;
    case 'I':
        return a->dpa_intermediate = true;
    case 'p':
        return a->dpa_props = true;
    case 'b':
        return a->dpa_backup = true;
    case 'h':
        return a->dpa_holds = true;
    default:
        return false;
    }
}

static uint32_t
stream_option(int c)
{
    switch (c) {
    case 'L':
        return DMU_SEND_LARGE_BLOCK;
    case 'e':
        return DMU_SEND_EMBED;
    case 'c':
        return DMU_SEND_COMPRESSED;
    case 'S':
        return DMU_SEND_SAVED;
    case 'w': /* nothing is encrypted: as it lies on disk */
        return DMU_SEND_LARGE_BLOCK | DMU_SEND_EMBED | DMU_SEND_COMPRESSED;
    default:
        return 0;
    }
}

/* False: it is none of ours. */
static bool
send_option(send_job_t *sj, int c, const char *value)
{
    if (c == 'i' || c == 'I')
        sj->sj_source = value;
    else if (c == 't')
        sj->sj_token = value;
    if (package_option(sj, c))
        sj->sj_package = true;
    else if (stream_option(c) != 0)
        sj->sj_args.dpa_send.dsa_flags |= stream_option(c);
    else if (c == 'n')
        sj->sj_dryrun = true;
    else if (c == 'P')
        sj->sj_script = true;
    else if (c == 'v')
        sj->sj_verbose = true;
    else if (c == 's')
        sj->sj_args.dpa_skip_missing = true;
    else if (c == 'D')
        fprintf(sj->sj_env->err, "WARNING: there are no deduplicated streams any more; a regular one is made\n");
    else
        return c == 'i' || c == 't';
    return true;
}

int
cmd_send(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    send_job_t sj = {.sj_env = env};
    int c;
    while ((c = opt_next(&o, "i:I:nPvRpbhLecswDVt:S")) != -1) {
        if (c == '?')
            return opt_bad(env, "send", &o);
        if (!send_option(&sj, c, o.o_arg))
            return failx(env, "send -%c is not supported", c);
    }
    bool alone = sj.sj_token != NULL || (sj.sj_args.dpa_send.dsa_flags & DMU_SEND_SAVED);
    if (alone && (sj.sj_package || sj.sj_source != NULL || (sj.sj_token != NULL && argc != o.o_ind)))
        return usage_error(env, "send", "-t and -S go with -n, -v, -P, -L, -e and -c only");
    if (!sj.sj_dryrun && isatty(env->fd_out))
        return failx(env, "Error: Stream can not be written to a terminal.\nYou must redirect standard output.");
    if (sj.sj_token != NULL)
        return send_resume(&sj);
    if (argc - o.o_ind != 1)
        return usage_error(env, "send", argc == o.o_ind ? "missing snapshot argument" : "too many arguments");
    if (sj.sj_args.dpa_skip_missing && !sj.sj_args.dpa_replicate)
        return usage_error(env, "send", "-s needs -R");
    return send_run(&sj, argv[o.o_ind]);
}
