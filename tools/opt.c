/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * opt.c - options without global state, because the daemon parses many command lines at a time. Letters bundle ("-Hpd 1"),
 * an argument may be attached or follow, "--" ends the options. Options may follow operands: the first call sorts them to the front.
 */
#include <stdarg.h>
#include "cmd.h"

/* Does this bundle of letters end in one that takes the next word as its argument? */
static bool
bundle_takes_next(const char *word, const char *spec)
{
    for (const char *p = word + 1; *p != '\0'; p++) {
        const char *s = *p == ':' ? NULL : strchr(spec, *p);
        if (s != NULL && s[1] == ':')
            return p[1] == '\0';
    }
    return false;
}

/* Options (with their arguments) before operands, each in the order given. */
static void
opt_permute(opt_t *o, const char *spec)
{
    char **operands = xmalloc((size_t)o->o_argc * sizeof(*operands));
    int nopt = 1, noperand = 0;
    for (int i = 1; i < o->o_argc; i++) {
        char *a = o->o_argv[i];
        if (strcmp(a, "--") == 0) {
            o->o_argv[nopt++] = a;
            while (++i < o->o_argc)
                operands[noperand++] = o->o_argv[i];
        } else if (a[0] != '-' || a[1] == '\0') {
            operands[noperand++] = a;
        } else {
            o->o_argv[nopt++] = a;
            if (bundle_takes_next(a, spec) && i + 1 < o->o_argc)
                o->o_argv[nopt++] = o->o_argv[++i];
        }
    }
    memcpy(&o->o_argv[nopt], operands, (size_t)noperand * sizeof(*operands));
    free(operands);
}

int
opt_next(opt_t *o, const char *spec)
{
    o->o_arg = NULL;
    if (o->o_ind == 0) {
        opt_permute(o, spec);
        o->o_ind = 1;
    }
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
