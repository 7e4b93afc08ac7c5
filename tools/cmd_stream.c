/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_stream.c - receive: names and options here, the work in dsl/receive.c. Sending is cmd_send.c.
 */
#include <inttypes.h>
#include <unistd.h>
#include "cmd.h"

typedef struct receive_opts {
    dmu_receive_args_t ro_args;
    bool ro_verbose, ro_abort;
    nvlist_t *ro_props;
    const char **ro_exclude; /* NULL-terminated */
    int ro_nexclude;
    cmd_env_t *ro_env;
} receive_opts_t;

/* ---- what dmu_receive tells ---- */

static void
receive_said(void *arg, const char *line)
{
    receive_opts_t *ro = arg;
    fprintf(ro->ro_env->out, "%s\n", line);
    fflush(ro->ro_env->out);
}

static void
receive_warned(void *arg, const char *line)
{
    receive_opts_t *ro = arg;
    fflush(ro->ro_env->out);
    fprintf(ro->ro_env->err, "%s\n", line);
}

static void
receive_received(void *arg, uint64_t bytes, uint64_t nsec)
{
    receive_opts_t *ro = arg;
    double seconds = (double)nsec / 1e9;
    char b1[16], b2[16];
    fprintf(ro->ro_env->out, "received %s stream in %.2f seconds (%s/sec)\n", nicebytes(bytes, b1), seconds,
            nicebytes((uint64_t)((double)bytes / MAX(seconds, 0.001)), b2));
    fflush(ro->ro_env->out);
}

static int
receive_release(void *arg, const char *ds)
{
    receive_opts_t *ro = arg;
    return daemon_release(ro->ro_env, ds);
}

/* ---- errors ---- */

/* What was received stays, and how to go on, in zfs(8)'s words. */
static void
receive_tell_token(cmd_env_t *env, dsl_pool_t *dp, const char *received)
{
    char fs[NAMELEN], token[RESUME_TOKEN_MAX];
    snprintf(fs, sizeof(fs), "%.*s", (int)strcspn(received, "@"), received);
    if (fs[0] != '\0' && dsl_resume_token(dp, fs, token) == 0)
        fprintf(env->err,
                "Partially received snapshot is saved.\n"
                "A resuming stream can be generated on the sending system by running:\n    %s send -t %s\n",
                env->verb, token);
}

static int
receive_fail(cmd_env_t *env, int err, const stream_error_t *se, const char *received)
{
    bool place = se->se_offset != 0;
    fflush(env->out);
    fprintf(env->err, "cannot receive%s%s: %s", se->se_what != NULL ? " " : "", se->se_what != NULL ? se->se_what : "",
            se->se_text[0] != '\0' ? se->se_text : zfs_strerror(err));
    if (received[0] != '\0' && (place || se->se_text[0] == '\0'))
        fprintf(env->err, " (%s%s", received, place ? ", " : ")");
    else if (place)
        fprintf(env->err, " (");
    if (place)
        fprintf(env->err, "record %" PRIu64 ", byte %" PRIu64 " of the stream)", se->se_record, se->se_offset);
    fputc('\n', env->err);
    return 1;
}

/* ---- the deed ---- */

static int
receive_abort(cmd_env_t *env, const char *fs)
{
    dsl_pool_t *dp;
    if (env_pool(env, fs, 0, &dp) != 0)
        return 1;
    int err = dsl_recv_abort(dp, fs);
    daemon_refresh(env);
    if (err == EINVAL)
        return failx(env, "'%s' does not have any resumable receive state to abort", fs);
    return err == 0 ? 0 : fail(env, err, "cannot abort the receive into '%s'", fs);
}

static int
receive_run(cmd_env_t *env, receive_opts_t *ro)
{
    dmu_receive_args_t *ra = &ro->ro_args;
    dsl_pool_t *dp;
    uint64_t off = 0;
    char received[NAMELEN] = "";
    stream_error_t se = {.se_record = 0};
    if (isatty(env->fd_in))
        return failx(env, "Error: Backup stream can not be read from a terminal.\nYou must redirect standard input.");
    if (env_pool(env, ra->dra_target, ra->dra_dryrun ? ENV_RDONLY : 0, &dp) != 0)
        return 1;
    ra->dra_fd = env->fd_in;
    ra->dra_off = &off;
    ra->dra_cancel = env->cancel;
    ra->dra_arg = ro;
    ra->dra_said = ro->ro_verbose ? receive_said : NULL;
    ra->dra_received = ro->ro_verbose ? receive_received : NULL;
    ra->dra_warn = receive_warned;
    ra->dra_release = receive_release;
    progress_t *p = progress_start(env, "received", &off, 0);
    int err = dmu_receive(dp, ra, received, &se);
    progress_stop(p);
    daemon_refresh(env); /* after an error, too: the streams before it are there */
    if (err == EAGAIN)
        return 1; /* each reason has been told */
    if (err != 0)
        (void)receive_fail(env, err, &se, received);
    if (err != 0 && ra->dra_resumable)
        receive_tell_token(env, dp, received);
    return err != 0;
}

/* ---- options ---- */

static int
receive_exclude(cmd_env_t *env, receive_opts_t *ro, const char *name)
{
    if (dsl_prop_lookup(name) == NULL && strchr(name, ':') == NULL)
        return failx(env, "bad property list: invalid property '%s'", name);
    for (int i = 0; i < ro->ro_nexclude; i++)
        if (strcmp(ro->ro_exclude[i], name) == 0)
            return failx(env, "property '%s' specified multiple times", name);
    ro->ro_exclude[ro->ro_nexclude++] = name;
    return 0;
}

static int
receive_set(cmd_env_t *env, receive_opts_t *ro, const char *assignment)
{
    static const char *const bound[] = {"normalization", "casesensitivity", "utf8only", "version", "volsize", "volblocksize", NULL};
    if (strncmp(assignment, "origin=", 7) == 0) {
        if (ro->ro_args.dra_origin != NULL)
            return failx(env, "property 'origin' specified multiple times");
        ro->ro_args.dra_origin = assignment + 7;
        return 0;
    }
    for (const char *const *b = bound; *b != NULL; b++)
        if (strncmp(assignment, *b, strlen(*b)) == 0 && assignment[strlen(*b)] == '=')
            return failx(env, "cannot receive: property '%s' cannot be set at receive time: the stream's counts", *b);
    return add_property(env, ro->ro_props, assignment);
}

static int
receive_option(cmd_env_t *env, receive_opts_t *ro, int c, const char *arg)
{
    dmu_receive_args_t *ra = &ro->ro_args;
    switch (c) {
    case 'A':
        ro->ro_abort = true;
        break;
    case 'c':
        ra->dra_heal = true;
        break;
    case 'd':
        ra->dra_drop_first = true;
        break;
    case 'e':
        ra->dra_use_last = true;
        break;
    case 'F':
        ra->dra_force = true;
        break;
    case 'h':
        ra->dra_skip_holds = true;
        break;
    case 'n':
        ra->dra_dryrun = true;
        break;
    case 'o':
        return receive_set(env, ro, arg);
    case 's':
        ra->dra_resumable = true;
        break;
    case 'u':
    case 'M':
        break; /* nothing is mounted or unmounted: a received file system appears in its parent's mount */
    case 'v':
        ro->ro_verbose = true;
        break;
    case 'x':
        return receive_exclude(env, ro, arg);
    default:
        break;
    }
    return 0;
}

/* A property can be set or left out, not both. */
static int
receive_check(cmd_env_t *env, const receive_opts_t *ro, int operands)
{
    const dmu_receive_args_t *ra = &ro->ro_args;
    if (operands != 1)
        return usage_error(env, "receive", operands == 0 ? "missing filesystem argument" : "too many arguments");
    if (ra->dra_drop_first && ra->dra_use_last)
        return usage_error(env, "receive", "-d and -e exclude each other");
    if (ro->ro_abort && (ra->dra_drop_first || ra->dra_use_last || ra->dra_force || ra->dra_dryrun || ra->dra_resumable ||
                         ra->dra_heal || ra->dra_origin != NULL || !nvlist_empty(ro->ro_props) || ro->ro_nexclude != 0))
        return usage_error(env, "receive", "-A takes no other option but -v and -u");
    for (int i = 0; i < ro->ro_nexclude; i++)
        if (nvlist_exists(ro->ro_props, ro->ro_exclude[i]))
            return failx(env, "property '%s' specified multiple times", ro->ro_exclude[i]);
    return 0;
}

int
cmd_receive(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    receive_opts_t ro = {.ro_env = env, .ro_props = nvlist_alloc()};
    int c, code = 0;
    ro.ro_exclude = xzalloc((size_t)(argc + 1) * sizeof(char *));
    while (code == 0 && (c = opt_next(&o, "AcdeFhMno:suvx:")) != -1)
        code = c == '?' ? opt_bad(env, "receive", &o) : receive_option(env, &ro, c, o.o_arg);
    if (code == 0)
        code = receive_check(env, &ro, argc - o.o_ind);
    ro.ro_args.dra_target = code == 0 ? argv[o.o_ind] : NULL;
    ro.ro_args.dra_props = nvlist_empty(ro.ro_props) ? NULL : ro.ro_props;
    ro.ro_args.dra_exclude = ro.ro_exclude;
    if (code == 0)
        code = ro.ro_abort ? receive_abort(env, ro.ro_args.dra_target) : receive_run(env, &ro);
    nvlist_free(ro.ro_props);
    free(ro.ro_exclude);
    return code;
}
