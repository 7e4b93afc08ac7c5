/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_stream.c - receive: names and options here, the work in dsl/receive.c. Sending is cmd_send.c.
 */
#include <inttypes.h>
#include <unistd.h>
#include "cmd.h"

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
