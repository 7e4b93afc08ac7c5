/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * opt.c - options without global state, because the daemon parses many command lines at a time. Letters bundle ("-Hpd 1"),
 * an argument may be attached or follow, "--" ends the options. Options come before operands, as zfs(8) has it.
 */
#include <stdarg.h>
#include "cmd.h"

int
opt_next(opt_t *o, const char *spec)
{
    o->o_arg = NULL;
    if (o->o_ind == 0)
        o->o_ind = 1;
    if (o->o_pos == NULL || *o->o_pos == '\0') {
        if (o->o_ind >= o->o_argc)
            return -1;
        const char *a = o->o_argv[o->o_ind];
        if (a[0] != '-' || a[1] == '\0')
            return -1;
        o->o_ind++;
        if (strcmp(a, "--") == 0)
            return -1;
        o->o_pos = a + 1;
    }
    char c = *o->o_pos++;
    const char *s = c == ':' ? NULL : strchr(spec, c);
    o->o_bad = c;
    if (s == NULL)
        return '?';
    if (s[1] != ':')
        return c;
    if (*o->o_pos != '\0')
        o->o_arg = o->o_pos;
    else if (o->o_ind < o->o_argc)
        o->o_arg = o->o_argv[o->o_ind++];
    else
        return '?';
    o->o_pos = NULL;
    return c;
}

static const cmd_t *
find_command(const char *name)
{
    bool pool = strncmp(name, "pool ", 5) == 0;
    for (const cmd_t *c = pool ? pool_commands : dataset_commands; c->c_name != NULL; c++) {
        if (strcmp(c->c_name, pool ? name + 5 : name) == 0)
            return c;
    }
    return NULL;
}

int
usage_error(cmd_env_t *env, const char *command, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vfprintf(env->err, fmt, ap);
    va_end(ap);
    fputc('\n', env->err);
    const cmd_t *c = find_command(command);
    if (c != NULL)
        cmd_usage(env, c, env->err);
    return 2;
}

int
opt_bad(cmd_env_t *env, const char *command, const opt_t *o)
{
    return usage_error(env, command, "invalid option '%c', or its argument is missing", o->o_bad);
}
