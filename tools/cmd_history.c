/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_history.c - `pool history`, and the record each command leaves there: one that succeeded and that had the pool open to change it. Its words
 * are kept before it runs, because parsing sorts them.
 */
#include <inttypes.h>
#include <pwd.h>
#include <time.h>
#include "cmd.h"

/* ---- writing ---- */

static const char *const logged[] = {"create", "destroy", "snapshot", "snap", "clone",   "promote", "rename", "rollback", "set",
                                     "inherit", "receive", "recv",     "hold", "release", "bookmark", "scrub",  NULL};

char *
history_line(const cmd_env_t *env)
{
    char *line = xstrdup(env->verb);
    for (int i = 1; i < env->argc; i++) {
        char *longer = xasprintf("%s %s", line, env->argv[i]);
        free(line);
        line = longer;
    }
    return line;
}

/* A bundle of options ("-nv") with this letter. */
static bool
has_option(int argc, char **argv, char letter)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (argv[i][0] == '-' && strchr(argv[i], '=') == NULL && strchr(argv[i], letter) != NULL)
            return true;
    }
    return false;
}

void
history_command(cmd_env_t *env, int argc, char **argv)
{
    if (env->pool == NULL || !env->writes || has_option(argc, argv, 'n'))
        return;
    for (const char *const *name = logged; *name != NULL; name++) {
        if (strcmp(*name, argv[0]) == 0)
            (void)dsl_history_log(env->pool, env->line);
    }
}

/* ---- showing ---- */

typedef struct history_args {
    cmd_env_t *hi_env;
    bool hi_internal, hi_long;
} history_args_t;

static const char *
text_of(const nvlist_t *event, const char *name)
{
    const char *text;
    return nvlist_lookup_string(event, name, &text) == 0 ? text : NULL;
}

static uint64_t
number_of(const nvlist_t *event, const char *name)
{
    uint64_t v = 0;
    (void)nvlist_lookup_uint64(event, name, &v);
    return v;
}

static void
print_origin(FILE *f, const nvlist_t *event)
{
    fprintf(f, " [");
    if (nvlist_exists(event, HISTORY_WHO)) {
        struct passwd pw, *found = NULL;
        char buf[1024];
        uint64_t uid = number_of(event, HISTORY_WHO);
        (void)getpwuid_r((uid_t)uid, &pw, buf, sizeof(buf), &found);
        fprintf(f, "user %" PRIu64 " (%s) on ", uid, found != NULL ? pw.pw_name : "unknown");
    }
    if (text_of(event, HISTORY_HOST) != NULL)
        fprintf(f, "%s", text_of(event, HISTORY_HOST));
    if (text_of(event, HISTORY_ZONE) != NULL)
        fprintf(f, ":%s", text_of(event, HISTORY_ZONE));
    fputc(']', f);
}

static int
print_event(void *arg, const nvlist_t *event)
{
    const history_args_t *hi = arg;
    FILE *f = hi->hi_env->out;
    const char *cmd = text_of(event, HISTORY_CMD), *what = text_of(event, HISTORY_INT_NAME);
    const char *ds = text_of(event, HISTORY_DSNAME), *text = text_of(event, HISTORY_INT_STR);
    time_t when = (time_t)number_of(event, HISTORY_TIME);
    char date[40] = "";
    struct tm tm;
    if (cmd == NULL && (what == NULL || !hi->hi_internal))
        return env_canceled(hi->hi_env) ? EINTR : 0;
    if (localtime_r(&when, &tm) != NULL)
        (void)strftime(date, sizeof(date), "%F.%T", &tm);
    if (cmd != NULL)
        fprintf(f, "%s %s", date, cmd);
    else
        fprintf(f, "%s [txg:%" PRIu64 "] %s", date, number_of(event, HISTORY_TXG), what);
    if (cmd == NULL && ds != NULL)
        fprintf(f, " %s (%" PRIu64 ")", ds, number_of(event, HISTORY_DSID));
    if (cmd == NULL)
        fprintf(f, " %s", text != NULL ? text : "");
    if (hi->hi_long)
        print_origin(f, event);
    fputc('\n', f);
    return env_canceled(hi->hi_env) ? EINTR : 0;
}

static int
history_pool(cmd_env_t *env, dsl_pool_t *dp, void *arg)
{
    fprintf(env->out, "History for '%s':\n", dsl_pool_name(dp));
    int err = dsl_history_read(dp, print_event, arg);
    fputc('\n', env->out);
    if (err == EIO)
        return failx(env, "cannot show the history of '%s': it is damaged from here on", dsl_pool_name(dp));
    return err == 0 ? 0 : fail(env, err, "cannot show the history of '%s'", dsl_pool_name(dp));
}

int
cmd_pool_history(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    history_args_t hi = {.hi_env = env};
    int c;
    while ((c = opt_next(&o, "il")) != -1) {
        if (c == '?')
            return opt_bad(env, "pool history", &o);
        hi.hi_internal |= c == 'i';
        hi.hi_long |= c == 'l';
    }
    return pool_each_operand(env, argc - o.o_ind, argv + o.o_ind, history_pool, &hi);
}
