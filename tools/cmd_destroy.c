/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_destroy.c - destroy: a plan first, then the deed. The plan lists what would go, in the order in which it can go:
 *
 *     clones of snapshots that go (-R), each planned like an operand
 *     children, deepest first (-r)
 *     snapshots
 *     the file system itself
 *
 * All snapshots of one step go in one transaction group. Nothing is touched while the plan has an obstacle: a dependant that
 * was not asked for is named, as zfs(8) names it.
 */
#include <inttypes.h>
#include "cmd.h"

typedef struct plan {
    cmd_env_t *pl_env;
    dsl_pool_t *pl_dp;
    bool pl_recursive, pl_clones, pl_defer, pl_dryrun, pl_verbose, pl_script;
    char **pl_names; /* in order */
    int pl_count, pl_room;
    const char *pl_below; /* for pl_obstacles */
    int pl_code;
} plan_t;

static bool
plan_has(const plan_t *pl, const char *name)
{
    for (int i = 0; i < pl->pl_count; i++) {
        if (strcmp(pl->pl_names[i], name) == 0)
            return true;
    }
    return false;
}

static void
plan_add(plan_t *pl, const char *name)
{
    if (plan_has(pl, name))
        return;
    if (pl->pl_count == pl->pl_room) {
        pl->pl_room = pl->pl_room * 2 + 16;
        pl->pl_names = xrealloc(pl->pl_names, (size_t)pl->pl_room * sizeof(char *));
    }
    pl->pl_names[pl->pl_count++] = xstrdup(name);
}

static void
plan_free(plan_t *pl)
{
    for (int i = 0; i < pl->pl_count; i++)
        free(pl->pl_names[i]);
    free(pl->pl_names);
}

static void plan_filesystem(plan_t *pl, const char *fs);

/* ---- clones of a snapshot ---- */

typedef struct clone_search {
    plan_t *cs_plan;
    const char *cs_snap;
} clone_search_t;

static int
clone_match(void *arg, const char *name)
{
    clone_search_t *cs = arg;
    plan_t *pl = cs->cs_plan;
    dsl_stats_t st;
    if (strchr(name, '@') != NULL || dsl_dataset_stats(pl->pl_dp, name, &st) != 0 || strcmp(st.dst_origin, cs->cs_snap) != 0)
        return 0;
    if (pl->pl_clones)
        plan_filesystem(pl, name);
    else if (!plan_has(pl, name))
        pl->pl_code = failx(pl->pl_env, "cannot destroy '%s': snapshot has dependent clones\nuse '-R' to destroy the following datasets:\n%s",
                            cs->cs_snap, name);
    return 0;
}

static int
plan_snapshot(void *arg, const char *snap)
{
    plan_t *pl = arg;
    dsl_stats_t st;
    int err = dsl_dataset_stats(pl->pl_dp, snap, &st);
    if (err != 0) {
        pl->pl_code = fail(pl->pl_env, err, "cannot destroy '%s'", snap);
        return 0;
    }
    if (st.dst_numclones > 0 && !(pl->pl_defer && !pl->pl_clones)) {
        clone_search_t cs = {pl, snap};
        err = collect_depth(pl->pl_dp, dsl_pool_name(pl->pl_dp), -1, false, clone_match, &cs);
        if (err != 0)
            pl->pl_code = fail(pl->pl_env, err, "cannot find the clones of '%s'", snap);
    }
    plan_add(pl, snap);
    return 0;
}

/* ---- a file system and what is below ---- */

static int
plan_child(void *arg, const char *fs)
{
    plan_filesystem(arg, fs);
    return 0;
}

static int
plan_obstacle(void *arg, const char *name)
{
    plan_t *pl = arg;
    if (pl->pl_code == 0)
        failx(pl->pl_env, "cannot destroy '%s': filesystem has children\nuse '-r' to destroy the following datasets:", pl->pl_below);
    pl->pl_code = 1;
    fprintf(pl->pl_env->err, "%s\n", name);
    return 0;
}

static void
plan_filesystem(plan_t *pl, const char *fs)
{
    bool recursive = pl->pl_recursive || pl->pl_clones;
    pl->pl_below = fs;
    (void)dsl_for_each_child(pl->pl_dp, fs, recursive ? plan_child : plan_obstacle, pl);
    pl->pl_below = fs;
    (void)dsl_for_each_snapshot(pl->pl_dp, fs, recursive ? plan_snapshot : plan_obstacle, pl);
    plan_add(pl, fs);
}

/* ---- snapshot operands: fs@a%c,d ---- */

typedef struct range_walk {
    plan_t *ra_plan;
    char ra_first[NAMELEN], ra_last[NAMELEN]; /* empty: open */
    bool ra_inside, ra_done;
    bool ra_saw_first, ra_saw_last;
} range_walk_t;

static int
range_snapshot(void *arg, const char *snap)
{
    range_walk_t *ra = arg;
    const char *name = strchr(snap, '@') + 1;
    bool first = strcmp(name, ra->ra_first) == 0, last = strcmp(name, ra->ra_last) == 0;
    ra->ra_saw_first |= first;
    ra->ra_saw_last |= last && (ra->ra_inside || first);
    ra->ra_inside |= first;
    if (ra->ra_inside && !ra->ra_done)
        (void)plan_snapshot(ra->ra_plan, snap);
    ra->ra_done |= last;
    return 0;
}

static void
plan_range(plan_t *pl, const char *fs, const char *spec, size_t len)
{
    const char *pct = memchr(spec, '%', len);
    range_walk_t ra = {.ra_plan = pl};
    snprintf(ra.ra_first, NAMELEN, "%.*s", (int)(pct - spec), spec);
    snprintf(ra.ra_last, NAMELEN, "%.*s", (int)(len - (size_t)(pct - spec) - 1), pct + 1);
    ra.ra_inside = ra.ra_first[0] == '\0';
    (void)dsl_for_each_snapshot(pl->pl_dp, fs, range_snapshot, &ra);
    if ((ra.ra_first[0] != '\0' && !ra.ra_saw_first) || (ra.ra_last[0] != '\0' && !ra.ra_saw_last))
        pl->pl_code = failx(pl->pl_env, "could not find any snapshots to destroy in the range '%s@%.*s'", fs, (int)len, spec);
}

typedef struct snap_spec {
    plan_t *sp_plan;
    const char *sp_spec; /* after '@' */
    int sp_found;
} snap_spec_t;

/* The named snapshots of one file system; with -r a file system may lack some. */
static int
plan_snapshots_of(void *arg, const char *fs)
{
    snap_spec_t *sp = arg;
    plan_t *pl = sp->sp_plan;
    for (const char *p = sp->sp_spec; *p != '\0'; p += strcspn(p, ","), p += *p == ',') {
        size_t n = strcspn(p, ",");
        if (memchr(p, '%', n) != NULL) {
            plan_range(pl, fs, p, n);
            sp->sp_found++;
            continue;
        }
        char snap[2 * NAMELEN];
        dsl_stats_t st;
        snprintf(snap, sizeof(snap), "%s@%.*s", fs, (int)n, p);
        int err = dsl_dataset_stats(pl->pl_dp, snap, &st);
        if (err == 0 && ++sp->sp_found > 0)
            (void)plan_snapshot(pl, snap);
        else if (!pl->pl_recursive)
            pl->pl_code = err == ENOENT ? failx(pl->pl_env, "could not find any snapshots to destroy; check snapshot names.")
                                        : fail(pl->pl_env, err, "cannot destroy '%s'", snap);
    }
    return 0;
}

/* ---- the deed ---- */

static int
destroy_snapshots(plan_t *pl, int from, int to)
{
    int failed = 0;
    int err = dsl_destroy_snapshots(pl->pl_dp, (const char *const *)pl->pl_names + from, to - from, pl->pl_defer, &failed);
    if (err == 0)
        return 0;
    failed = failed >= 0 && failed < to - from ? failed : 0;
    if (err == EBUSY || err == EEXIST) /* clones that can be seen are in the plan: it is being received from */
        return failx(pl->pl_env, "cannot destroy snapshot %s: dataset is busy", pl->pl_names[from + failed]);
    return fail(pl->pl_env, err, "cannot destroy snapshot '%s'", pl->pl_names[from + failed]);
}

static void
plan_say(const plan_t *pl, const char *name)
{
    if (pl->pl_script)
        fprintf(pl->pl_env->out, "destroy\t%s\n", name);
    else if (pl->pl_verbose)
        fprintf(pl->pl_env->out, "%s %s\n", pl->pl_dryrun ? "would destroy" : "will destroy", name);
}

/* Bytes that come back: all that is a file system's own when it goes, else what only the snapshots that go hold. */
static int
plan_space(const plan_t *pl, uint64_t *bytes)
{
    const char **snaps = xzalloc(((size_t)pl->pl_count + 1) * sizeof(char *));
    int n = 0, err = 0;
    *bytes = 0;
    for (int i = 0; i < pl->pl_count && err == 0; i++) {
        char fs[NAMELEN];
        dsl_stats_t st;
        snprintf(fs, sizeof(fs), "%.*s", (int)strcspn(pl->pl_names[i], "@"), pl->pl_names[i]);
        bool snap = strchr(pl->pl_names[i], '@') != NULL;
        if (snap && !plan_has(pl, fs))
            snaps[n++] = pl->pl_names[i];
        else if (!snap && (err = dsl_dataset_stats(pl->pl_dp, fs, &st)) == 0)
            *bytes += st.dst_usedby[DD_USED_HEAD] + st.dst_usedby[DD_USED_SNAP];
    }
    uint64_t held = 0;
    if (err == 0)
        err = dsl_destroy_space(pl->pl_dp, snaps, n, &held);
    *bytes += held;
    free(snaps);
    return err;
}

static int
plan_say_space(const plan_t *pl)
{
    uint64_t bytes;
    char buf[16];
    int err;
    if (!pl->pl_verbose || pl->pl_count == 0)
        return 0;
    if ((err = plan_space(pl, &bytes)) != 0)
        return fail(pl->pl_env, err, "cannot tell how much space would come back");
    if (pl->pl_script)
        fprintf(pl->pl_env->out, "reclaim\t%" PRIu64 "\n", bytes);
    else
        fprintf(pl->pl_env->out, "%s %s\n", pl->pl_dryrun ? "would reclaim" : "will reclaim", nicebytes(bytes, buf));
    return 0;
}

/* Nothing goes while one of them is in use. */
static int
plan_release(plan_t *pl)
{
    for (int i = 0; i < pl->pl_count; i++) {
        if (daemon_release(pl->pl_env, pl->pl_names[i]) != 0)
            return failx(pl->pl_env, "cannot destroy '%s': dataset is busy", pl->pl_names[i]);
    }
    return 0;
}

/* What is kept of a broken receive hangs on the latest snapshot of its file system, and goes with the file system. */
static void
plan_drop_partial(plan_t *pl)
{
    char name[NAMELEN];
    dsl_resume_t dr;
    for (int i = 0; i < pl->pl_count; i++) {
        if (strchr(pl->pl_names[i], '@') == NULL && dsl_recv_partial(pl->pl_dp, pl->pl_names[i], name, &dr) == 0 &&
            strcmp(name, pl->pl_names[i]) != 0)
            (void)dsl_recv_abort(pl->pl_dp, pl->pl_names[i]); /* an error shows when the file system is to go */
    }
}

/* Runs of snapshots go together, file systems one by one. */
static int
plan_execute(plan_t *pl)
{
    for (int i = 0; i < pl->pl_count; i++)
        plan_say(pl, pl->pl_names[i]);
    int code = plan_say_space(pl);
    if (code == 0 && !pl->pl_dryrun)
        code = plan_release(pl);
    if (code == 0 && !pl->pl_dryrun)
        plan_drop_partial(pl);
    for (int i = 0, end; i < pl->pl_count && code == 0 && !pl->pl_dryrun; i = end) {
        for (end = i; end < pl->pl_count && strchr(pl->pl_names[end], '@') != NULL;)
            end++;
        if (end > i) {
            code = destroy_snapshots(pl, i, end);
            continue;
        }
        end = i + 1;
        int err = daemon_release(pl->pl_env, pl->pl_names[i]); /* somebody may have looked it up again */
        if (err == 0)
            err = dsl_destroy_head(pl->pl_dp, pl->pl_names[i]);
        if (err != 0)
            code = fail(pl->pl_env, err, "cannot destroy '%s'", pl->pl_names[i]);
    }
    daemon_refresh(pl->pl_env);
    return code;
}

int
destroy_names(cmd_env_t *env, dsl_pool_t *dp, char *const *snaps, int n, bool clones)
{
    plan_t pl = {.pl_env = env, .pl_dp = dp, .pl_recursive = clones, .pl_clones = clones};
    for (int i = 0; i < n && pl.pl_code == 0; i++)
        (void)plan_snapshot(&pl, snaps[i]);
    int code = pl.pl_code == 0 ? plan_execute(&pl) : pl.pl_code;
    plan_free(&pl);
    return code;
}

static int
plan_operand(plan_t *pl, const char *name)
{
    dsl_stats_t st;
    const char *at = strchr(name, '@');
    char fs[NAMELEN];
    snprintf(fs, sizeof(fs), "%.*s", (int)(at != NULL ? at - name : (ptrdiff_t)strlen(name)), name);
    if (env_pool(pl->pl_env, fs, pl->pl_dryrun ? ENV_RDONLY : 0, &pl->pl_dp) != 0)
        return 1;
    int err = dsl_dataset_stats(pl->pl_dp, fs, &st);
    if (err != 0)
        return fail(pl->pl_env, err, "cannot open '%s'", fs);
    if (at == NULL) {
        if (strcmp(fs, dsl_pool_name(pl->pl_dp)) == 0)
            return failx(pl->pl_env, "cannot destroy '%s': operation does not apply to pools\nuse 'pool destroy %s' to destroy the pool", fs, fs);
        plan_filesystem(pl, fs);
        return pl->pl_code;
    }
    snap_spec_t sp = {pl, at + 1, 0};
    if (pl->pl_recursive)
        err = collect_depth(pl->pl_dp, fs, -1, false, plan_snapshots_of, &sp);
    else
        (void)plan_snapshots_of(&sp, fs);
    if (err != 0)
        return fail(pl->pl_env, err, "cannot find all below '%s'", fs);
    if (pl->pl_code == 0 && sp.sp_found == 0)
        return failx(pl->pl_env, "could not find any snapshots to destroy; check snapshot names.");
    return pl->pl_code;
}

int
cmd_destroy(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    plan_t pl = {.pl_env = env};
    int c;
    while ((c = opt_next(&o, "dfnpRrv")) != -1) {
        switch (c) {
        case 'd':
            pl.pl_defer = true;
            break;
        case 'f':
            break; /* unmounting by force: what has open files is never taken away here */
        case 'n':
            pl.pl_dryrun = true;
            break;
        case 'p':
            pl.pl_script = pl.pl_verbose = true;
            break;
        case 'R':
            pl.pl_recursive = pl.pl_clones = true;
            break;
        case 'r':
            pl.pl_recursive = true;
            break;
        case 'v':
            pl.pl_verbose = true;
            break;
        default:
            return opt_bad(env, "destroy", &o);
        }
    }
    if (argc - o.o_ind != 1)
        return usage_error(env, "destroy", "one dataset is needed");
    if (pl.pl_defer && strchr(argv[o.o_ind], '@') == NULL)
        return usage_error(env, "destroy", "-d is for snapshots");
    if (strchr(argv[o.o_ind], '#') != NULL)
        return destroy_bookmark(env, argv[o.o_ind], pl.pl_dryrun, pl.pl_verbose, pl.pl_script);
    int code = plan_operand(&pl, argv[o.o_ind]);
    if (code == 0)
        code = plan_execute(&pl);
    plan_free(&pl);
    return code;
}
