/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * select.c - which datasets list and get are about, as zfs(8) chooses them.
 *
 *     operand, nothing else        itself, whatever it is
 *     -t TYPES                     of those types only; -t snapshot (or bookmark) alone: the operand's own ones
 *     -r, -d N                     and all below it (to a depth): file systems and volumes, with -t or for get snapshots and bookmarks, too
 *     no operand                   all pools, -r
 *
 * INVARIANT: each once, in zfs's order: names byte by byte, a file system before its snapshots, these by creation.
 */
#include "cmd.h"

int
select_types(cmd_env_t *env, const char *arg, select_t *se, const char *command)
{
    static const struct {
        const char *name;
        int type;
    } words[] = {{"filesystem", T_FS}, {"fs", T_FS}, {"snapshot", T_SNAP}, {"snap", T_SNAP}, {"volume", T_VOL},
                 {"vol", T_VOL}, {"all", T_ALL}, {"bookmark", T_BOOKMARK}};
    se->se_types = 0;
    se->se_typed = true;
    for (const char *p = arg; *p != '\0'; p += strcspn(p, ","), p += *p == ',') {
        size_t n = strcspn(p, ","), i = 0;
        while (i < ARRAY_SIZE(words) && (strlen(words[i].name) != n || strncmp(words[i].name, p, n) != 0))
            i++;
        if (i == ARRAY_SIZE(words))
            return usage_error(env, command, "invalid type '%.*s'", (int)n, p);
        se->se_types |= words[i].type;
    }
    return se->se_types != 0 ? 0 : usage_error(env, command, "missing type");
}

int
select_depth(cmd_env_t *env, const char *arg, select_t *se, const char *command)
{
    char *end;
    se->se_recursive = true;
    se->se_depth = DEPTH_ALL;
    if (arg == NULL)
        return 0;
    se->se_depth = (int)strtol(arg, &end, 10);
    return *end == '\0' && arg[0] != '\0' && se->se_depth >= 0 ? 0 : usage_error(env, command, "'%s' is not a depth", arg);
}

/* ---- order ---- */

int
dataset_compare(const char *a, uint64_t a_txg, const char *b, uint64_t b_txg)
{
    size_t m = strcspn(a, "@#"), n = strcspn(b, "@#");
    int c = strncmp(a, b, MIN(m, n));
    if (c != 0)
        return c;
    if (m != n)
        return m < n ? -1 : 1;
    if (a[m] != b[m]) /* the dataset, its snapshots, its bookmarks */
        return a[m] == '\0' ? -1 : b[m] == '\0' ? 1 : a[m] == '@' ? -1 : 1;
    return a_txg != b_txg ? AVL_CMP(a_txg, b_txg) : strcmp(a + m, b + m);
}

static int
stats_compare(const void *a, const void *b)
{
    const dsl_stats_t *x = a, *y = b;
    return dataset_compare(x->dst_name, x->dst_createtxg, y->dst_name, y->dst_createtxg);
}

static void
sort_once(selection_t *na)
{
    size_t kept = 0;
    if (na->na_count > 1)
        qsort(na->na_stats, na->na_count, sizeof(dsl_stats_t), stats_compare);
    for (size_t i = 0; i < na->na_count; i++) {
        if (kept == 0 || strcmp(na->na_stats[kept - 1].dst_name, na->na_stats[i].dst_name) != 0)
            na->na_stats[kept++] = na->na_stats[i];
    }
    na->na_count = kept;
}

/* ---- collecting ---- */

static int
type_of(const dsl_stats_t *st)
{
    return st->dst_bookmark ? T_BOOKMARK : st->dst_snapshot ? T_SNAP : st->dst_type == DMU_OST_ZVOL ? T_VOL : T_FS;
}

static int
add_stats(void *arg, const char *name)
{
    selection_t *na = arg;
    if (na->na_count == na->na_room) {
        na->na_room = na->na_room * 2 + 16;
        na->na_stats = xrealloc(na->na_stats, na->na_room * sizeof(dsl_stats_t));
    }
    dsl_stats_t *st = &na->na_stats[na->na_count];
    int err = dsl_dataset_stats(na->na_dp, name, st);
    if (err != 0)
        return err == ENOENT ? 0 : err; /* destroyed meanwhile */
    na->na_count += (na->na_select->se_types & type_of(st)) != 0;
    return env_canceled(na->na_env) ? EINTR : 0;
}

typedef struct walk {
    dsl_pool_t *wa_dp;
    int wa_depth;
    int wa_types; /* T_SNAP and T_BOOKMARK: these of each file system, too */
    int (*wa_fn)(void *arg, const char *name);
    void *wa_arg;
} walk_t;

static int walk_dataset(walk_t *wa, const char *name, int depth);

static int
walk_child(void *arg, const char *name)
{
    walk_t *wa = arg;
    wa->wa_depth--;
    int err = walk_dataset(wa, name, wa->wa_depth);
    wa->wa_depth++;
    return err;
}

static int
walk_dataset(walk_t *wa, const char *name, int depth)
{
    int err = wa->wa_fn(wa->wa_arg, name);
    if (err == 0 && (wa->wa_types & T_SNAP) && depth != 0)
        err = dsl_for_each_snapshot(wa->wa_dp, name, wa->wa_fn, wa->wa_arg);
    if (err == 0 && (wa->wa_types & T_BOOKMARK) && depth != 0)
        err = dsl_for_each_bookmark(wa->wa_dp, name, wa->wa_fn, wa->wa_arg);
    if (err == 0 && depth != 0)
        err = dsl_for_each_child(wa->wa_dp, name, walk_child, wa);
    return err == ENOENT ? 0 : err;
}

int
collect_depth(dsl_pool_t *dp, const char *fs, int depth, bool snaps, int (*fn)(void *arg, const char *name), void *arg)
{
    walk_t wa = {dp, depth, snaps ? T_SNAP : 0, fn, arg};
    return walk_dataset(&wa, fs, depth);
}

/* An operand of a type that was not asked for stands for what is below it, if anything is asked for there. */
static int
check_type(cmd_env_t *env, const select_t *se, const dsl_stats_t *st)
{
    bool below = se->se_recursive || se->se_types == T_SNAP || se->se_types == T_BOOKMARK;
    if (!se->se_typed || (se->se_types & type_of(st)) || (below && !st->dst_snapshot && !st->dst_bookmark))
        return 0;
    return failx(env, "cannot open '%s': operation not applicable to datasets of this type", st->dst_name);
}

static int
select_operand(selection_t *na, const char *name)
{
    const select_t *se = na->na_select;
    bool leaf = strpbrk(name, "@#") != NULL, own = !se->se_recursive && (se->se_types == T_SNAP || se->se_types == T_BOOKMARK);
    select_t any = *se;
    dsl_stats_t st;
    const char *reason = NULL;
    if (check_name(name, &reason) != 0)
        return failx(na->na_env, "cannot open '%s': invalid dataset name%s%s", name, reason != NULL ? ": " : "", reason != NULL ? reason : "");
    int err = dsl_dataset_stats(na->na_dp, name, &st);
    if (err != 0)
        return fail(na->na_env, err, "cannot open '%s'", name);
    if (check_type(na->na_env, se, &st) != 0)
        return 1;
    if (leaf && !se->se_typed)
        any.se_types = T_ALL;
    na->na_select = &any;
    walk_t wa = {na->na_dp, leaf ? 0 : own ? 1 : se->se_recursive ? se->se_depth : 0, se->se_types, add_stats, na};
    err = walk_dataset(&wa, name, wa.wa_depth);
    na->na_select = se;
    return err == 0 ? 0 : fail(na->na_env, err, "cannot list all of '%s'", name);
}

int
select_run(selection_t *na, int n, char **operands)
{
    select_t all = *na->na_select;
    int code = 0;
    if (n == 0) {
        const select_t *given = na->na_select;
        (void)select_depth(na->na_env, NULL, &all, "");
        if (given->se_recursive)
            all.se_depth = given->se_depth;
        na->na_select = &all;
        code = select_operand(na, dsl_pool_name(na->na_dp));
        na->na_select = given;
    }
    for (int i = 0; i < n; i++)
        code = MAX(code, select_operand(na, operands[i]));
    sort_once(na);
    return code;
}
