/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_stream.c - send and receive: names and options here, the work in dsl/send.c and dsl/receive.c.
 */
#include <inttypes.h>
#include <unistd.h>
#include "cmd.h"

/* ---- send ---- */

typedef struct send_opts {
    const char *so_from;
    bool so_dryrun, so_script, so_verbose;
    uint32_t so_flags; /* DMU_SEND_* */
} send_opts_t;

static int
send_fail(cmd_env_t *env, const char *snap, int err)
{
    if (err == EXDEV)
        return failx(env, "cannot send '%s': not an earlier snapshot from the same fs", snap);
    if (err == EINVAL)
        return failx(env, "cannot send '%s': not a snapshot", snap);
    return fail(env, err, "cannot send '%s'", snap);
}

/* "-i @a" and "-i a" mean a snapshot of the same file system. */
static void
send_from_name(const char *snap, const char *from, char *full, size_t n)
{
    if (from[0] == '@' || (strchr(from, '@') == NULL && strchr(from, '/') == NULL))
        snprintf(full, n, "%.*s@%s", (int)strcspn(snap, "@"), snap, from + (from[0] == '@'));
    else
        snprintf(full, n, "%s", from);
}

static void
send_tell(cmd_env_t *env, FILE *f, const char *snap, const char *from, uint64_t size, bool script)
{
    char b[16];
    const char *kind = from != NULL ? "incremental" : "full";
    const char *base = from != NULL && strchr(from, '@') != NULL ? strchr(from, '@') + 1 : from;
    if (script)
        fprintf(f, "%s\t%s%s%s\t%" PRIu64 "\nsize\t%" PRIu64 "\n", kind, from != NULL ? base : "", from != NULL ? "\t" : "", snap, size, size);
    else
        fprintf(f, "%s%s%s%s estimated size is %s\ntotal estimated size is %s\n", from != NULL ? "send from @" : "full send of ",
                from != NULL ? base : "", from != NULL ? " to " : "", snap, nicebytes(size, b), nicebytes(size, b));
}

static int
send_run(cmd_env_t *env, const char *snap, const send_opts_t *so)
{
    dsl_pool_t *dp;
    char from[2 * NAMELEN] = "";
    uint64_t off = 0, size = 0;
    if (strchr(snap, '@') == NULL)
        return failx(env, "cannot send '%s': a snapshot (FILESYSTEM@SNAP) is needed", snap);
    if (!so->so_dryrun && isatty(env->fd_out))
        return failx(env, "Error: Stream can not be written to a terminal.\nYou must redirect standard output.");
    if (env_pool(env, snap, ENV_RDONLY, &dp) != 0)
        return 1;
    if (so->so_from != NULL)
        send_from_name(snap, so->so_from, from, sizeof(from));
    dmu_send_args_t args = {.dsa_tosnap = snap,
                            .dsa_from = so->so_from != NULL ? from : NULL,
                            .dsa_flags = so->so_flags,
                            .dsa_fd = env->fd_out,
                            .dsa_off = &off,
                            .dsa_cancel = env->cancel};
    bool estimate = so->so_dryrun || so->so_verbose || so->so_script || isatty(env->fd_err);
    int err = estimate ? dmu_send_estimate(dp, &args, &size) : 0;
    if (err != 0)
        return send_fail(env, snap, err);
    if (so->so_dryrun || so->so_verbose || so->so_script)
        send_tell(env, so->so_dryrun ? env->out : env->err, snap, args.dsa_from, size, so->so_script);
    if (so->so_dryrun)
        return 0;
    progress_t *p = progress_start(env, "sent", &off, size);
    err = dmu_send(dp, &args);
    progress_stop(p);
    return err == 0 ? 0 : send_fail(env, snap, err);
}

int
cmd_send(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    send_opts_t so = {.so_from = NULL};
    int c;
    while ((c = opt_next(&o, "i:nPvRIpbhLecswDVt:S:")) != -1) {
        if (c == 'i')
            so.so_from = o.o_arg;
        else if (c == 'n')
            so.so_dryrun = true;
        else if (c == 'P')
            so.so_script = true;
        else if (c == 'v')
            so.so_verbose = true;
        else if (c == 'L')
            so.so_flags |= DMU_SEND_LARGE_BLOCK;
        else if (c == 'e')
            so.so_flags |= DMU_SEND_EMBED;
        else if (c == 'c')
            so.so_flags |= DMU_SEND_COMPRESSED;
        else if (c == 'w') /* nothing is encrypted: as it lies on disk */
            so.so_flags |= DMU_SEND_LARGE_BLOCK | DMU_SEND_EMBED | DMU_SEND_COMPRESSED;
        else if (c == '?')
            return opt_bad(env, "send", &o);
        else
            return failx(env, "send -%c is not supported yet", c);
    }
    if (argc - o.o_ind != 1)
        return usage_error(env, "send", argc == o.o_ind ? "missing snapshot argument" : "too many arguments");
    return send_run(env, argv[o.o_ind], &so);
}

/* ---- receive ---- */

static int
receive_fail(cmd_env_t *env, const dmu_receive_args_t *ra, int err, const stream_error_t *se, const char *received)
{
    const char *name = received[0] != '\0' ? received : ra->dra_target;
    const char *what = se->se_text[0] != '\0' ? se->se_text : zfs_strerror(err);
    fprintf(env->err, "cannot receive %s: ", name);
    if (err == EBUSY)
        fprintf(env->err, "dataset is busy%s%s", se->se_text[0] != '\0' ? ": " : "", se->se_text);
    else if (err == EEXIST)
        fprintf(env->err, "destination already exists%s%s", se->se_text[0] != '\0' ? ": " : "", se->se_text);
    else if (err == ETXTBSY || err == ENODEV)
        fprintf(env->err, "%s", zfs_strerror(err));
    else
        fprintf(env->err, "%s", what);
    if (se->se_offset != 0)
        fprintf(env->err, " (record %" PRIu64 ", byte %" PRIu64 " of the stream)", se->se_record, se->se_offset);
    fputc('\n', env->err);
    return 1;
}

static int
receive_run(cmd_env_t *env, dmu_receive_args_t *ra, bool verbose)
{
    dsl_pool_t *dp;
    uint64_t off = 0;
    char received[NAMELEN] = "";
    stream_error_t se = {.se_record = 0};
    if (isatty(env->fd_in))
        return failx(env, "Error: Backup stream can not be read from a terminal.\nYou must redirect standard input.");
    if (env_pool(env, ra->dra_target, 0, &dp) != 0)
        return 1;
    ra->dra_fd = env->fd_in;
    ra->dra_off = &off;
    ra->dra_cancel = env->cancel;
    progress_t *p = progress_start(env, "received", &off, 0);
    uint64_t begin = gethrtime();
    char fs[NAMELEN];
    snprintf(fs, sizeof(fs), "%.*s", (int)strcspn(ra->dra_target, "@"), ra->dra_target);
    (void)daemon_release(env, fs); /* busy: dmu_receive says so if it matters */
    int err = dmu_receive(dp, ra, received, &se);
    progress_stop(p);
    if (err != 0)
        return receive_fail(env, ra, err, &se, received);
    daemon_refresh(env);
    char b1[16], b2[16];
    double seconds = (double)(gethrtime() - begin) / 1e9;
    if (verbose)
        fprintf(env->out, "%s %s\nreceived %s stream in %.2f seconds (%s/sec)\n", ra->dra_dryrun ? "would receive" : "received into", received,
                nicebytes(off, b1), seconds, nicebytes((uint64_t)((double)off / MAX(seconds, 0.001)), b2));
    return 0;
}

int
cmd_receive(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    dmu_receive_args_t ra = {.dra_force = false};
    bool verbose = false;
    int c;
    while ((c = opt_next(&o, "Fnuvdeo:sAhMcx:")) != -1) {
        switch (c) {
        case 'F':
            ra.dra_force = true;
            break;
        case 'n':
            ra.dra_dryrun = true;
            break;
        case 'u':
            break; /* a received file system appears in its parent's mount all the same */
        case 'v':
            verbose = true;
            break;
        case 'd':
            ra.dra_drop_first = true;
            break;
        case 'e':
            ra.dra_use_last = true;
            break;
        case 'o':
            if (strncmp(o.o_arg, "origin=", 7) != 0)
                return failx(env, "receive -o %s is not supported yet", o.o_arg);
            ra.dra_origin = o.o_arg + 7;
            break;
        case '?':
            return opt_bad(env, "receive", &o);
        default:
            return failx(env, "receive -%c is not supported yet", c);
        }
    }
    if (argc - o.o_ind != 1 || (ra.dra_drop_first && ra.dra_use_last))
        return usage_error(env, "receive", "one file system or snapshot is needed, and at most one of -d and -e");
    ra.dra_target = argv[o.o_ind];
    return receive_run(env, &ra, verbose);
}
