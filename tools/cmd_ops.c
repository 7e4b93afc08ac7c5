/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_ops.c - promote, rename, rollback: operations after which a mount shows the same files under other names, or other files.
 */
#include "cmd.h"

typedef struct names {
    char **n_list;
    int n_count;
} names_t;

static int
names_add(void *arg, const char *name)
{
    names_t *n = arg;
    n->n_list = xrealloc(n->n_list, ((size_t)n->n_count + 1) * sizeof(char *));
    n->n_list[n->n_count++] = xstrdup(name);
    return 0;
}

static void
names_free(names_t *n)
{
    for (int i = 0; i < n->n_count; i++)
        free(n->n_list[i]);
    free(n->n_list);
}

static bool
exists(dsl_pool_t *dp, const char *name)
{
    dsl_stats_t st;
    return dsl_dataset_stats(dp, name, &st) == 0;
}

/* ---- promote ---- */

/* Snapshots that were from's and are clone's now: mounted ones have another name. */
static void
promote_tell(cmd_env_t *env, dsl_pool_t *dp, const names_t *before, const char *clone)
{
    for (int i = 0; i < before->n_count; i++) {
        char *now = xasprintf("%s%s", clone, strchr(before->n_list[i], '@'));
        if (!exists(dp, before->n_list[i]) && exists(dp, now))
            daemon_renamed(env, before->n_list[i], now);
        free(now);
    }
    daemon_refresh(env);
}

static int
promote_run(cmd_env_t *env, const char *clone)
{
    char conflict[NAMELEN], from[NAMELEN];
    names_t before = {.n_count = 0};
    dsl_pool_t *dp;
    dsl_stats_t st;
    if (env_pool(env, clone, 0, &dp) != 0)
        return 1;
    int err = dsl_dataset_stats(dp, clone, &st);
    if (err != 0)
        return fail(env, err, "cannot open '%s'", clone);
    if (st.dst_snapshot || st.dst_origin[0] == '\0')
        return failx(env, "cannot promote '%s': not a cloned filesystem", clone);
    snprintf(from, sizeof(from), "%.*s", (int)strcspn(st.dst_origin, "@"), st.dst_origin);
    (void)dsl_for_each_snapshot(dp, from, names_add, &before);
    err = dsl_promote(dp, clone, conflict);
    if (err == 0)
        promote_tell(env, dp, &before, clone);
    names_free(&before);
    if (err == EEXIST)
        return failx(env, "cannot promote '%s': conflicting snapshot '%s' from parent '%s'", clone, conflict, from);
    return err == 0 ? 0 : fail(env, err, "cannot promote '%s'", clone);
}

int
cmd_promote(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    if (opt_next(&o, "") != -1)
        return opt_bad(env, "promote", &o);
    if (argc - o.o_ind != 1)
        return usage_error(env, "promote", "one clone is needed");
    return promote_run(env, argv[o.o_ind]);
}

/* ---- rename ---- */

static int
rename_parents(cmd_env_t *env, dsl_pool_t *dp, const char *to)
{
    for (const char *slash = strchr(to, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        char part[NAMELEN];
        snprintf(part, sizeof(part), "%.*s", (int)(slash - to), to);
        int err = exists(dp, part) ? 0 : dsl_create(dp, part, DMU_OST_ZFS, NULL);
        if (err != 0)
            return fail(env, err, "cannot create '%s'", part);
    }
    return 0;
}

static int
rename_filesystem(cmd_env_t *env, const char *from, const char *to, bool parents)
{
    const char *reason = NULL;
    dsl_pool_t *dp;
    size_t n = strlen(from), pool = strcspn(from, "/");
    if (env_pool(env, from, 0, &dp) != 0)
        return 1;
    if (!exists(dp, from))
        return failx(env, "cannot open '%s': dataset does not exist", from);
    if (strchr(to, '@') != NULL || dsl_name_check(to, &reason) != 0)
        return failx(env, "cannot rename to '%s': %s", to, reason != NULL ? reason : "a file system's name has no '@'");
    if (strchr(from, '/') == NULL)
        return failx(env, "cannot rename '%s': a pool gets another name by export and import", from);
    if (strncmp(from, to, pool) != 0 || to[pool] != '/')
        return failx(env, "cannot rename '%s': datasets must be within same pool", from);
    if (strncmp(from, to, n) == 0 && to[n] == '/')
        return failx(env, "cannot rename '%s': new dataset name cannot be a descendant of current dataset name", from);
    if (parents && rename_parents(env, dp, to) != 0)
        return 1;
    int err = dsl_rename(dp, from, to);
    if (err == ENOENT)
        return failx(env, "cannot rename '%s': parent of '%s' does not exist", from, to);
    if (err != 0)
        return fail(env, err, "cannot rename to '%s'", to);
    daemon_renamed(env, from, to);
    daemon_refresh(env);
    return 0;
}

typedef struct snap_rename {
    cmd_env_t *sr_env;
    const char *sr_from, *sr_to;
} snap_rename_t;

static int
rename_tell(void *arg, const char *fs)
{
    snap_rename_t *sr = arg;
    char *from = xasprintf("%s@%s", fs, sr->sr_from), *to = xasprintf("%s@%s", fs, sr->sr_to);
    daemon_renamed(sr->sr_env, from, to);
    free(from);
    free(to);
    return 0;
}

/* to: "fs@new", "@new" or "new". */
static int
rename_snapshot(cmd_env_t *env, const char *from, const char *to, bool recursive)
{
    char fs[NAMELEN];
    const char *at = strchr(from, '@'), *toat = strchr(to, '@'), *reason = NULL;
    dsl_pool_t *dp;
    snprintf(fs, sizeof(fs), "%.*s", (int)(at - from), from);
    if (env_pool(env, from, 0, &dp) != 0)
        return 1;
    if (toat != NULL && toat != to && (strncmp(to, fs, strlen(fs)) != 0 || (size_t)(toat - to) != strlen(fs)))
        return failx(env, "cannot rename '%s': snapshots must be part of same dataset", from);
    const char *snap = toat != NULL ? toat + 1 : to;
    char *full = xasprintf("%s@%s", fs, snap);
    int err = dsl_name_check(full, &reason);
    if (err != 0) {
        free(full);
        return failx(env, "cannot rename to '%s': %s", to, reason != NULL ? reason : zfs_strerror(err));
    }
    err = dsl_rename_snapshot(dp, fs, at + 1, snap, recursive);
    snap_rename_t sr = {env, at + 1, snap};
    if (err == 0 && recursive)
        (void)collect_depth(dp, fs, -1, false, rename_tell, &sr);
    if (err == 0)
        (void)rename_tell(&sr, fs);
    daemon_refresh(env);
    int code = err == 0 ? 0 : fail(env, err, err == ENOENT ? "cannot open '%s'" : "cannot rename '%s'", from);
    free(full);
    return code;
}

int
cmd_rename(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    bool recursive = false, parents = false, stay = false;
    int c;
    while ((c = opt_next(&o, "fpru")) != -1) {
        if (c == 'r')
            recursive = true;
        else if (c == 'p')
            parents = true;
        else if (c == 'u')
            stay = true; /* what is mounted stays so anyway */
        else if (c != 'f') /* nothing has to be unmounted by force */
            return opt_bad(env, "rename", &o);
    }
    if (argc - o.o_ind != 2)
        return usage_error(env, "rename", "a dataset and its new name are needed");
    if (recursive && (parents || stay))
        return usage_error(env, "rename", "-%c and -r options are mutually exclusive", parents ? 'p' : 'u');
    const char *from = argv[o.o_ind], *to = argv[o.o_ind + 1];
    bool snapshot = strchr(from, '@') != NULL;
    if (recursive && !snapshot)
        return usage_error(env, "rename", "source dataset for recursive rename must be a snapshot");
    if (snapshot && parents)
        return usage_error(env, "rename", "-p is for file systems");
    return snapshot ? rename_snapshot(env, from, to, recursive) : rename_filesystem(env, from, to, parents);
}

/* ---- rollback ---- */

typedef struct later {
    dsl_pool_t *la_pool;
    uint64_t la_txg;   /* of the snapshot that counts */
    names_t la_snaps, la_marks, la_clones;
} later_t;

static int
later_snapshot(void *arg, const char *name)
{
    later_t *la = arg;
    dsl_stats_t st;
    if (dsl_dataset_stats(la->la_pool, name, &st) == 0 && st.dst_createtxg > la->la_txg)
        (void)names_add(&la->la_snaps, name);
    return 0;
}

static int
later_bookmark(void *arg, const char *name)
{
    later_t *la = arg;
    dsl_bookmark_t bm;
    if (dsl_bookmark_get(la->la_pool, name, &bm) == 0 && bm.db_createtxg > la->la_txg)
        (void)names_add(&la->la_marks, name);
    return 0;
}

static int
later_clone(void *arg, const char *name)
{
    later_t *la = arg;
    dsl_stats_t st;
    if (dsl_dataset_stats(la->la_pool, name, &st) != 0)
        return 0;
    for (int i = 0; i < la->la_snaps.n_count; i++)
        if (strcmp(st.dst_origin, la->la_snaps.n_list[i]) == 0)
            (void)names_add(&la->la_clones, name);
    return 0;
}

static void
say_names(cmd_env_t *env, const names_t *n)
{
    for (int i = 0; i < n->n_count; i++)
        fprintf(env->err, "%s\n", n->n_list[i]);
}

/* What is younger than the snapshot has to go, if that was asked for. */
static int
rollback_clear(cmd_env_t *env, later_t *la, const char *snap, bool recursive, bool clones)
{
    if (la->la_snaps.n_count + la->la_marks.n_count > 0 && !recursive) {
        failx(env,
              "cannot rollback to '%s': more recent snapshots or bookmarks exist\n"
              "use '-r' to force deletion of the following snapshots and bookmarks:",
              snap);
        say_names(env, &la->la_snaps);
        say_names(env, &la->la_marks);
        return 1;
    }
    if (la->la_clones.n_count > 0 && !clones) {
        failx(env,
              "cannot rollback to '%s': clones of previous snapshots exist\n"
              "use '-R' to force deletion of the following clones and dependents:",
              snap);
        say_names(env, &la->la_clones);
        return 1;
    }
    int failed = 0, err = 0;
    if (la->la_snaps.n_count > 0 && destroy_names(env, la->la_pool, la->la_snaps.n_list, la->la_snaps.n_count, clones) != 0)
        return 1;
    if (la->la_marks.n_count > 0)
        err = dsl_destroy_bookmarks(la->la_pool, (const char *const *)la->la_marks.n_list, la->la_marks.n_count, &failed);
    return err == 0 ? 0 : fail(env, err, "cannot destroy bookmark '%s'", la->la_marks.n_list[failed]);
}

static int
rollback_run(cmd_env_t *env, const char *snap, bool recursive, bool clones)
{
    char fs[NAMELEN];
    dsl_stats_t st;
    later_t la = {.la_pool = NULL};
    if (env_pool(env, snap, 0, &la.la_pool) != 0)
        return 1;
    int err = dsl_dataset_stats(la.la_pool, snap, &st), code;
    if (err != 0)
        return fail(env, err, "cannot open '%s'", snap);
    snprintf(fs, sizeof(fs), "%.*s", (int)strcspn(snap, "@"), snap);
    la.la_txg = st.dst_createtxg;
    (void)dsl_for_each_snapshot(la.la_pool, fs, later_snapshot, &la);
    (void)dsl_for_each_bookmark(la.la_pool, fs, later_bookmark, &la);
    if (la.la_snaps.n_count > 0)
        (void)collect_depth(la.la_pool, dsl_pool_name(la.la_pool), -1, false, later_clone, &la);
    code = rollback_clear(env, &la, snap, recursive, clones);
    if (code == 0 && (err = dsl_rollback(la.la_pool, fs, snap)) != 0)
        code = fail(env, err, "cannot rollback '%s'", fs);
    daemon_refresh(env);
    names_free(&la.la_snaps);
    names_free(&la.la_marks);
    names_free(&la.la_clones);
    return code;
}

int
cmd_rollback(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    bool recursive = false, clones = false;
    int c;
    while ((c = opt_next(&o, "rRf")) != -1) {
        if (c == 'r')
            recursive = true;
        else if (c == 'R')
            recursive = clones = true;
        else if (c != 'f')
            return opt_bad(env, "rollback", &o);
    }
    if (argc - o.o_ind != 1)
        return usage_error(env, "rollback", "one snapshot is needed");
    if (strchr(argv[o.o_ind], '@') == NULL)
        return usage_error(env, "rollback", "'%s' is no snapshot's name", argv[o.o_ind]);
    return rollback_run(env, argv[o.o_ind], recursive, clones);
}
