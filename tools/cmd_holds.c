/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_holds.c - hold, holds, release: tags on snapshots. With -r the snapshot of the same name in every file system below, too; all
 * that are named get or lose the tag in one transaction group.
 */
#include <inttypes.h>
#include "cmd.h"

typedef struct snaps {
    cmd_env_t *s_env;
    dsl_pool_t *s_pool;
    const char *s_name; /* "@snap" */
    char **s_list;
    int s_count;
} snaps_t;

static void
snaps_free(snaps_t *s)
{
    for (int i = 0; i < s->s_count; i++)
        free(s->s_list[i]);
    free(s->s_list);
}

static void
snaps_add(snaps_t *s, const char *name)
{
    s->s_list = xrealloc(s->s_list, ((size_t)s->s_count + 1) * sizeof(char *));
    s->s_list[s->s_count++] = xstrdup(name);
}

/* Of this file system, if it has the snapshot. */
static int
snaps_add_of(void *arg, const char *fs)
{
    snaps_t *s = arg;
    dsl_stats_t st;
    char *name = xasprintf("%s%s", fs, s->s_name);
    if (strchr(fs, '@') == NULL && dsl_dataset_stats(s->s_pool, name, &st) == 0)
        snaps_add(s, name);
    free(name);
    return 0;
}

static int
snaps_collect(snaps_t *s, const char *name, bool recursive, int flags)
{
    char fs[NAMELEN];
    cmd_env_t *env = s->s_env;
    s->s_name = strchr(name, '@');
    if (s->s_name == NULL)
        return failx(env, "cannot open '%s': not a snapshot", name);
    if (env_pool(env, name, flags, &s->s_pool) != 0)
        return 1;
    if (!recursive) {
        snaps_add(s, name);
        return 0;
    }
    int before = s->s_count;
    snprintf(fs, sizeof(fs), "%.*s", (int)(s->s_name - name), name);
    int err = collect_depth(s->s_pool, fs, -1, false, snaps_add_of, s);
    if (err != 0)
        return fail(env, err, "cannot open '%s'", fs);
    return s->s_count > before ? 0 : failx(env, "cannot open '%s': dataset does not exist", name);
}

/* ---- hold and release ---- */

static int
tag_failed(cmd_env_t *env, int err, const char *what, const char *snap)
{
    switch (err) {
    case EEXIST:
        return failx(env, "cannot %s '%s': tag already exists on this dataset", what, snap);
    case ESRCH:
        return failx(env, "cannot %s '%s': no such tag on this dataset", what, snap);
    case E2BIG:
        return failx(env, "cannot %s '%s': tag too long", what, snap);
    case EBUSY: /* it would have gone with this hold */
        return failx(env, "cannot destroy '%s': dataset is busy", snap);
    default:
        return fail(env, err, "cannot %s '%s'", what, snap);
    }
}

/* One that goes with its last hold must not be in use. */
static void
let_go(cmd_env_t *env, const snaps_t *s)
{
    dsl_stats_t st;
    for (int i = 0; i < s->s_count; i++)
        if (dsl_dataset_stats(s->s_pool, s->s_list[i], &st) == 0 && st.dst_defer_destroy)
            (void)daemon_release(env, s->s_list[i]); /* EBUSY is said again below */
}

static int
change_tags(cmd_env_t *env, int argc, char **argv, bool release)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    snaps_t s = {.s_env = env};
    bool recursive = false;
    int c, code = 0, failed = 0;
    while ((c = opt_next(&o, "r")) != -1) {
        if (c != 'r')
            return opt_bad(env, argv[0], &o);
        recursive = true;
    }
    if (argc - o.o_ind < 2)
        return usage_error(env, argv[0], "a tag and at least one snapshot are needed");
    const char *tag = argv[o.o_ind];
    if (!release && tag[0] == '.')
        return failx(env, "tag may not start with '.'");
    for (int i = o.o_ind + 1; i < argc && code == 0; i++)
        code = snaps_collect(&s, argv[i], recursive, 0);
    if (code == 0 && release)
        let_go(env, &s);
    if (code == 0) {
        const char *const *list = (const char *const *)s.s_list;
        int err = release ? dsl_release(s.s_pool, list, s.s_count, tag, &failed) : dsl_hold(s.s_pool, list, s.s_count, tag, &failed);
        if (err != 0)
            code = tag_failed(env, err, release ? "release hold from snapshot" : "hold snapshot", s.s_list[failed]);
        if (release)
            daemon_refresh(env);
    }
    snaps_free(&s);
    return code;
}

int
cmd_hold(cmd_env_t *env, int argc, char **argv)
{
    return change_tags(env, argc, argv, false);
}

int
cmd_release(cmd_env_t *env, int argc, char **argv)
{
    return change_tags(env, argc, argv, true);
}

/* ---- holds ---- */

typedef struct show {
    table_t *sh_table;
    const char *sh_snap;
    bool sh_exact;
} show_t;

static int
show_hold(void *arg, const char *tag, uint64_t when)
{
    show_t *sh = arg;
    char text[64];
    table_cell(sh->sh_table, "%s", sh->sh_snap);
    table_cell(sh->sh_table, "%s", tag);
    if (sh->sh_exact)
        table_cell(sh->sh_table, "%" PRIu64, when);
    else
        table_cell(sh->sh_table, "%s", nicetime(when, text, sizeof(text)));
    return 0;
}

int
cmd_holds(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    snaps_t s = {.s_env = env};
    bool recursive = false, script = false;
    show_t sh = {.sh_table = NULL};
    int c, code = 0;
    while ((c = opt_next(&o, "rHp")) != -1) {
        if (c == 'r')
            recursive = true;
        else if (c == 'H')
            script = true;
        else if (c == 'p')
            sh.sh_exact = true;
        else
            return opt_bad(env, argv[0], &o);
    }
    if (o.o_ind == argc)
        return usage_error(env, argv[0], "at least one snapshot is needed");
    for (int i = o.o_ind; i < argc && code == 0; i++)
        code = snaps_collect(&s, argv[i], recursive, ENV_RDONLY);
    sh.sh_table = table_new(3, script);
    table_head(sh.sh_table, 0, "NAME", false);
    table_head(sh.sh_table, 1, "TAG", false);
    table_head(sh.sh_table, 2, "TIMESTAMP", false);
    for (int i = 0; i < s.s_count && code == 0; i++) {
        sh.sh_snap = s.s_list[i];
        int err = dsl_for_each_hold(s.s_pool, s.s_list[i], show_hold, &sh);
        if (err != 0)
            code = fail(env, err, "cannot open '%s'", s.s_list[i]);
    }
    table_print(sh.sh_table, env->out);
    snaps_free(&s);
    return code;
}
