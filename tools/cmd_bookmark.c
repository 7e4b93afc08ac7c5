/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_bookmark.c - bookmark, and destroy of one. Either name may leave its file system out when the other one says it.
 */
#include "cmd.h"

/* "#mark" or "@snap" with the file system of other: freed by the caller. */
static char *
whole_name(const char *name, const char *other)
{
    if (name[0] != '#' && name[0] != '@')
        return xstrdup(name);
    return xasprintf("%.*s%s", (int)strcspn(other, "@#"), other, name);
}

static int
bookmark_failed(cmd_env_t *env, int err, const char *mark)
{
    switch (err) {
    case EEXIST:
        return failx(env, "cannot create bookmark '%s': bookmark exists", mark);
    case EINVAL:
        return failx(env, "cannot create bookmark '%s': source is not an ancestor of the new bookmark's dataset", mark);
    case ENOTSUP:
        return failx(env, "cannot create bookmark '%s': bookmark feature not enabled", mark);
    default:
        return fail(env, err, "cannot create bookmark '%s'", mark);
    }
}

static int
bookmark_run(cmd_env_t *env, const char *source, const char *mark)
{
    const char *reason, *short_name = strchr(mark, '#');
    dsl_pool_t *dp;
    if (strpbrk(source, "@#") == NULL)
        return failx(env, "invalid source name '%s': must contain a '@' or '#'", source);
    if (short_name == NULL)
        return failx(env, "invalid bookmark name '%s': must contain a '#'", mark);
    if (strcspn(mark, "/#") != strcspn(source, "/@#") || strncmp(mark, source, strcspn(mark, "/#")) != 0)
        return failx(env, "cannot create bookmark '%s': bookmark is in a different pool", mark);
    char *like = xasprintf("%.*s@%s", (int)(short_name - mark), mark, short_name + 1);
    int err = dsl_name_check(like, &reason);
    free(like);
    if (err != 0)
        return failx(env, "cannot create bookmark '%s': %s", mark, reason);
    if (env_pool(env, mark, 0, &dp) != 0)
        return 1;
    err = dsl_bookmark(dp, &mark, &source, 1, NULL);
    return err != 0 ? bookmark_failed(env, err, mark) : 0;
}

int
cmd_bookmark(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    if (opt_next(&o, "") != -1)
        return opt_bad(env, "bookmark", &o);
    if (argc - o.o_ind != 2)
        return usage_error(env, "bookmark", "a snapshot or bookmark, and the name of the new bookmark are needed");
    char *source = whole_name(argv[o.o_ind], argv[o.o_ind + 1]), *mark = whole_name(argv[o.o_ind + 1], source);
    int code = bookmark_run(env, source, mark);
    free(source);
    free(mark);
    return code;
}

int
destroy_bookmark(cmd_env_t *env, const char *mark, bool dryrun, bool verbose, bool script)
{
    dsl_bookmark_t bm;
    dsl_pool_t *dp;
    if (env_pool(env, mark, dryrun ? ENV_RDONLY : 0, &dp) != 0)
        return 1;
    int err = dsl_bookmark_get(dp, mark, &bm);
    if (err == ENOENT)
        return failx(env, "bookmark '%s' does not exist.", mark);
    if (script)
        fprintf(env->out, "destroy\t%s\n", mark);
    else if (verbose)
        fprintf(env->out, "%s %s\n", dryrun ? "would destroy" : "will destroy", mark);
    if (err == 0 && !dryrun)
        err = dsl_destroy_bookmarks(dp, &mark, 1, NULL);
    return err != 0 ? fail(env, err, "cannot destroy bookmark '%s'", mark) : 0;
}
