/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_list.c - list and get: first the datasets are collected (names, depth, types), then their properties are read, then a
 * table is printed. Both commands share the first step.
 */
#include <strings.h>
#include "cmd.h"

enum { T_FS = 1, T_SNAP = 2, T_VOL = 4, T_BOOKMARK = 8, T_ALL = 15 };
#define DEPTH_ALL (-1)
#define MAX_COLUMNS 32

typedef struct select {
    int se_depth;      /* below each operand; DEPTH_ALL */
    int se_types;
    bool se_typed;     /* -t was given */
    bool se_recursive; /* -r or -d was given */
} select_t;

typedef struct names {
    cmd_env_t *na_env;
    dsl_pool_t *na_dp;
    dsl_stats_t *na_stats;
    size_t na_count, na_room;
    const select_t *na_select;
    int na_err; /* of the last operand */
} names_t;

static int
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
        size_t n = strcspn(p, ","), i;
        for (i = 0; i < ARRAY_SIZE(words); i++) {
            if (strlen(words[i].name) == n && strncmp(words[i].name, p, n) == 0)
                break;
        }
        if (i == ARRAY_SIZE(words))
            return usage_error(env, command, "invalid type '%.*s'", (int)n, p);
        se->se_types |= words[i].type;
    }
    return 0;
}

static int
add_stats(void *arg, const char *name)
{
    names_t *na = arg;
    if (na->na_count == na->na_room) {
        na->na_room = na->na_room * 2 + 16;
        na->na_stats = xrealloc(na->na_stats, na->na_room * sizeof(dsl_stats_t));
    }
    dsl_stats_t *st = &na->na_stats[na->na_count];
    int err = dsl_dataset_stats(na->na_dp, name, st);
    if (err != 0)
        return err == ENOENT ? 0 : err; /* destroyed meanwhile */
    int type = st->dst_bookmark ? T_BOOKMARK : st->dst_snapshot ? T_SNAP : st->dst_type == DMU_OST_ZVOL ? T_VOL : T_FS;
    na->na_count += (na->na_select->se_types & type) != 0;
    return env_canceled(na->na_env) ? EINTR : 0;
}

typedef struct walk {
    dsl_pool_t *wa_dp;
    int wa_depth;
    int wa_types; /* T_SNAP and T_BOOKMARK: these of each file system, too */
    int (*wa_fn)(void *arg, const char *name);
    void *wa_arg;
} walk_t;

static int
walk_dataset(walk_t *wa, const char *name, int depth);

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

/* A dataset and what is below it to a depth (negative: all), file systems each followed by their snapshots when asked. The first error
 * ends it. */
int
collect_depth(dsl_pool_t *dp, const char *fs, int depth, bool snaps, int (*fn)(void *arg, const char *name), void *arg)
{
    walk_t wa = {dp, depth, snaps ? T_SNAP : 0, fn, arg};
    return walk_dataset(&wa, fs, depth);
}

/* Snapshots given as operands, or asked for by type, are listed with the file systems named. */
static void
collect_operand(names_t *na, const char *name)
{
    const select_t *se = na->na_select;
    if (strpbrk(name, "@#") != NULL) {
        select_t any = *se;
        any.se_types |= se->se_typed ? 0 : T_SNAP | T_BOOKMARK;
        na->na_select = &any;
        (void)add_stats(na, name);
        na->na_select = se;
        return;
    }
    int depth = se->se_recursive ? se->se_depth : 0;
    if (!se->se_recursive && se->se_typed && (se->se_types & (T_SNAP | T_BOOKMARK))) { /* the operand's own, not its children */
        (void)add_stats(na, name);
        if (se->se_types & T_SNAP)
            (void)dsl_for_each_snapshot(na->na_dp, name, add_stats, na);
        if (se->se_types & T_BOOKMARK)
            (void)dsl_for_each_bookmark(na->na_dp, name, add_stats, na);
        return;
    }
    walk_t wa = {na->na_dp, depth, se->se_types, add_stats, na};
    na->na_err = walk_dataset(&wa, name, depth);
}

/* ---- list ---- */

typedef struct list_args {
    select_t li_select;
    char *li_columns[MAX_COLUMNS];
    int li_ncolumns;
    const char *li_sort[MAX_COLUMNS];
    bool li_down[MAX_COLUMNS];
    int li_nsort;
    bool li_script, li_exact;
    int li_code;
} list_args_t;

typedef struct sort_key {
    const dsl_stats_t *sk_stats;
    value_t *sk_values; /* per sort column */
    const list_args_t *sk_args;
    size_t sk_order;
} sort_key_t;

static int
sort_compare(const void *a, const void *b)
{
    const sort_key_t *x = a, *y = b;
    for (int i = 0; i < x->sk_args->li_nsort; i++) {
        const char *prop = x->sk_args->li_sort[i];
        int c;
        if (value_is_numeric(prop)) {
            uint64_t m = value_number(x->sk_stats, prop, &x->sk_values[i]), n = value_number(y->sk_stats, prop, &y->sk_values[i]);
            c = AVL_CMP(m, n);
        } else {
            c = strcmp(x->sk_values[i].v_text, y->sk_values[i].v_text);
        }
        if (c != 0)
            return x->sk_args->li_down[i] ? -c : c;
    }
    return AVL_CMP(x->sk_order, y->sk_order);
}

static void
list_sort(names_t *na, const list_args_t *li)
{
    if (li->li_nsort == 0 || na->na_count == 0)
        return;
    sort_key_t *keys = xzalloc(na->na_count * sizeof(*keys));
    dsl_stats_t *sorted = xmalloc(na->na_count * sizeof(*sorted));
    for (size_t i = 0; i < na->na_count; i++) {
        keys[i] = (sort_key_t){&na->na_stats[i], xzalloc((size_t)li->li_nsort * sizeof(value_t)), li, i};
        for (int k = 0; k < li->li_nsort; k++)
            (void)value_get(na->na_env, na->na_dp, &na->na_stats[i], li->li_sort[k], true, &keys[i].sk_values[k]);
    }
    qsort(keys, na->na_count, sizeof(*keys), sort_compare);
    for (size_t i = 0; i < na->na_count; i++) {
        sorted[i] = *keys[i].sk_stats;
        free(keys[i].sk_values);
    }
    free(keys);
    free(na->na_stats);
    na->na_stats = sorted;
    na->na_room = na->na_count;
}

static const title_t list_titles[] = {{"available", "AVAIL"}, {"referenced", "REFER"}, {"compressratio", "RATIO"},
                                      {"usedbysnapshots", "USEDSNAP"}, {"usedbydataset", "USEDDS"},
                                      {"usedbychildren", "USEDCHILD"}, {"usedbyrefreservation", "USEDREFRESERV"},
                                      {"logicalused", "LUSED"}, {"logicalreferenced", "LREFER"},
                                      {"compression", "COMPRESS"}, {"recordsize", "RECSIZE"}, {"readonly", "RDONLY"},
                                      {"reservation", "RESERV"}, {"refreservation", "REFRESERV"}, {NULL, NULL}};

static int
list_print(names_t *na, const list_args_t *li)
{
    char titles[MAX_COLUMNS][TITLE_MAX];
    table_t *t = table_new(li->li_ncolumns, li->li_script);
    for (int c = 0; c < li->li_ncolumns; c++)
        table_head(t, c, column_title(list_titles, li->li_columns[c], titles[c]), value_is_numeric(li->li_columns[c]));
    for (size_t i = 0; i < na->na_count; i++) {
        for (int c = 0; c < li->li_ncolumns; c++) {
            value_t v;
            (void)value_get(na->na_env, na->na_dp, &na->na_stats[i], li->li_columns[c], li->li_exact, &v);
            table_cell(t, "%s", v.v_text);
        }
    }
    table_print(t, na->na_env->out);
    return 0;
}

static int
list_pool(cmd_env_t *env, dsl_pool_t *dp, void *arg)
{
    list_args_t *li = arg;
    select_t all = li->li_select;
    all.se_recursive = true;
    if (!li->li_select.se_recursive)
        all.se_depth = DEPTH_ALL;
    names_t na = {.na_env = env, .na_dp = dp, .na_select = &all};
    collect_operand(&na, dsl_pool_name(dp));
    list_sort(&na, li);
    int code = list_print(&na, li);
    if (na.na_err != 0)
        code = fail(env, na.na_err, "cannot list all of '%s'", dsl_pool_name(dp));
    free(na.na_stats);
    return code;
}

/* Comma-separated columns, each an existing property. */
static int
parse_columns(cmd_env_t *env, const char *command, char *text, list_args_t *li)
{
    char *save;
    li->li_ncolumns = 0;
    for (char *p = strtok_r(text, ",", &save); p != NULL; p = strtok_r(NULL, ",", &save)) {
        dsl_stats_t none = {.dst_snapshot = false};
        if (li->li_ncolumns == MAX_COLUMNS)
            return usage_error(env, command, "too many properties");
        if (strcmp(p, "space") == 0) {
            static const char *const space[] = {"name", "available", "used", "usedbysnapshots", "usedbydataset",
                                                "usedbyrefreservation", "usedbychildren"};
            for (size_t i = 0; i < ARRAY_SIZE(space) && li->li_ncolumns < MAX_COLUMNS; i++)
                li->li_columns[li->li_ncolumns++] = (char *)space[i];
            continue;
        }
        const char *known;
        bool special = strcmp(p, "name") == 0 || value_is_numeric(p) || strchr(p, ':') != NULL || dsl_prop_lookup(p) != NULL;
        for (int cursor = 0, snap = 0; snap < 2; snap++, cursor = 0) { /* those of file systems, those of snapshots */
            none.dst_snapshot = snap != 0;
            while (!special && (known = value_next(&none, &cursor)) != NULL)
                special = strcmp(known, p) == 0;
        }
        if (!special && strcmp(p, "origin") != 0 && strcmp(p, "compress") != 0 && strcmp(p, "recsize") != 0 && strcmp(p, "rdonly") != 0)
            return usage_error(env, command, "bad property list: invalid property '%s'", p);
        li->li_columns[li->li_ncolumns++] = p;
    }
    return li->li_ncolumns > 0 ? 0 : usage_error(env, command, "no property given");
}

/* The operands that lie in one pool; each must exist. */
static int
collect_operands(cmd_env_t *env, names_t *na, int n, char **operands)
{
    int code = 0;
    for (int i = 0; i < n; i++) {
        dsl_pool_t *dp;
        dsl_stats_t st;
        if (env_pool(env, operands[i], ENV_RDONLY, &dp) != 0)
            return 1;
        na->na_dp = dp;
        int err = dsl_dataset_stats(dp, operands[i], &st);
        if (err != 0)
            code = fail(env, err, "cannot open '%s'", operands[i]);
        else
            collect_operand(na, operands[i]);
        if (na->na_err != 0)
            code = fail(env, na->na_err, "cannot list all below '%s'", operands[i]);
        na->na_err = 0;
    }
    return code;
}

static int
list_option(cmd_env_t *env, int c, opt_t *o, list_args_t *li, char **columns)
{
    char *end;
    switch (c) {
    case 'r':
        li->li_select.se_recursive = true;
        li->li_select.se_depth = DEPTH_ALL;
        return 0;
    case 'd':
        li->li_select.se_recursive = true;
        li->li_select.se_depth = (int)strtol(o->o_arg, &end, 10);
        return *end == '\0' && li->li_select.se_depth >= 0 ? 0 : usage_error(env, "list", "'%s' is no depth", o->o_arg);
    case 'H':
        li->li_script = true;
        return 0;
    case 'p':
        li->li_exact = true;
        return 0;
    case 'o':
        *columns = (char *)o->o_arg;
        return 0;
    case 't':
        return select_types(env, o->o_arg, &li->li_select, "list");
    case 's':
    case 'S':
        if (li->li_nsort == MAX_COLUMNS)
            return usage_error(env, "list", "too many sort keys");
        li->li_down[li->li_nsort] = c == 'S';
        li->li_sort[li->li_nsort++] = o->o_arg;
        return 0;
    default:
        return opt_bad(env, "list", o);
    }
}

int
cmd_list(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    list_args_t li = {.li_select = {.se_types = T_FS | T_VOL}};
    char *given = NULL;
    int c, code;
    while ((c = opt_next(&o, "rd:Hpo:t:s:S:")) != -1) {
        if ((code = list_option(env, c, &o, &li, &given)) != 0)
            return code;
    }
    char *columns = xstrdup(given != NULL ? given : "name,used,available,referenced,mountpoint");
    code = parse_columns(env, "list", columns, &li);
    names_t na = {.na_env = env, .na_select = &li.li_select};
    if (code == 0 && o.o_ind == argc) {
        code = env_each_pool(env, ENV_RDONLY, list_pool, &li);
    } else if (code == 0) {
        code = collect_operands(env, &na, argc - o.o_ind, argv + o.o_ind);
        list_sort(&na, &li);
        if (na.na_count > 0)
            code = MAX(code, list_print(&na, &li));
    }
    free(na.na_stats);
    free(columns);
    return code;
}

/* ---- get ---- */

typedef struct get_args {
    select_t ge_select;
    bool ge_script, ge_exact, ge_all;
    char *ge_props[MAX_COLUMNS];
    int ge_nprops;
    int ge_fields[5], ge_nfields; /* 0 name, 1 property, 2 value, 3 received, 4 source */
    const char *ge_sources;       /* comma list, NULL any */
} get_args_t;

static bool
source_wanted(const get_args_t *ge, const char *source)
{
    if (ge->ge_sources == NULL)
        return true;
    const char *word = strcmp(source, "-") == 0 ? "none" : source;
    size_t n = strcspn(word, " "); /* "inherited from x" */
    for (const char *p = ge->ge_sources; *p != '\0'; p += strcspn(p, ","), p += *p == ',') {
        if (strcspn(p, ",") == n && strncmp(p, word, n) == 0)
            return true;
    }
    return false;
}

static void
get_one(names_t *na, const get_args_t *ge, table_t *t, const dsl_stats_t *st, const char *prop)
{
    value_t v;
    if (value_get(na->na_env, na->na_dp, st, prop, ge->ge_exact, &v) != 0 || !source_wanted(ge, v.v_source))
        return;
    const char *cells[] = {st->dst_name, prop, v.v_text, v.v_received, v.v_source};
    for (int f = 0; f < ge->ge_nfields; f++)
        table_cell(t, "%s", cells[ge->ge_fields[f]]);
}

typedef struct user_args {
    names_t *ua_names;
    const get_args_t *ua_get;
    table_t *ua_table;
    const dsl_stats_t *ua_stats;
} user_args_t;

static int
get_user(void *arg, const char *prop)
{
    user_args_t *ua = arg;
    get_one(ua->ua_names, ua->ua_get, ua->ua_table, ua->ua_stats, prop);
    return 0;
}

static void
get_print(names_t *na, const get_args_t *ge)
{
    static const char *const titles[] = {"NAME", "PROPERTY", "VALUE", "RECEIVED", "SOURCE"};
    table_t *t = table_new(ge->ge_nfields, ge->ge_script);
    for (int f = 0; f < ge->ge_nfields; f++)
        table_head(t, f, titles[ge->ge_fields[f]], false);
    for (size_t i = 0; i < na->na_count; i++) {
        const dsl_stats_t *st = &na->na_stats[i];
        const char *prop;
        int cursor = 0;
        for (int p = 0; !ge->ge_all && p < ge->ge_nprops; p++)
            get_one(na, ge, t, st, ge->ge_props[p]);
        while (ge->ge_all && (prop = value_next(st, &cursor)) != NULL)
            get_one(na, ge, t, st, prop);
        user_args_t ua = {na, ge, t, st};
        if (ge->ge_all)
            (void)dsl_prop_for_each_user(na->na_dp, st->dst_name, get_user, &ua);
    }
    table_print(t, na->na_env->out);
}

static int
get_pool(cmd_env_t *env, dsl_pool_t *dp, void *arg)
{
    get_args_t *ge = arg;
    select_t all = ge->ge_select;
    all.se_recursive = true;
    all.se_depth = ge->ge_select.se_recursive ? all.se_depth : DEPTH_ALL;
    names_t na = {.na_env = env, .na_dp = dp, .na_select = &all};
    collect_operand(&na, dsl_pool_name(dp));
    get_print(&na, ge);
    free(na.na_stats);
    return 0;
}

static int
get_fields(cmd_env_t *env, const char *arg, get_args_t *ge)
{
    static const char *const words[] = {"name", "property", "value", "received", "source"};
    ge->ge_nfields = 0;
    if (strcmp(arg, "all") == 0)
        arg = "name,property,value,received,source";
    for (const char *p = arg; *p != '\0'; p += strcspn(p, ","), p += *p == ',') {
        size_t n = strcspn(p, ",");
        int f = 0;
        while (f < 5 && (strlen(words[f]) != n || strncmp(words[f], p, n) != 0))
            f++;
        if (f == 5 || ge->ge_nfields == 5)
            return usage_error(env, "get", "invalid column name '%.*s'", (int)n, p);
        ge->ge_fields[ge->ge_nfields++] = f;
    }
    return ge->ge_nfields > 0 ? 0 : usage_error(env, "get", "no column given");
}

static int
get_sources(cmd_env_t *env, const char *arg, get_args_t *ge)
{
    static const char *const words[] = {"local", "default", "inherited", "received", "temporary", "none"};
    for (const char *p = arg; *p != '\0'; p += strcspn(p, ","), p += *p == ',') {
        size_t n = strcspn(p, ","), i = 0;
        while (i < ARRAY_SIZE(words) && (strlen(words[i]) != n || strncmp(words[i], p, n) != 0))
            i++;
        if (i == ARRAY_SIZE(words))
            return usage_error(env, "get", "invalid source '%.*s'", (int)n, p);
    }
    ge->ge_sources = arg;
    return 0;
}

static int
get_option(cmd_env_t *env, int c, opt_t *o, get_args_t *ge)
{
    char *end;
    switch (c) {
    case 'r':
        ge->ge_select.se_recursive = true;
        ge->ge_select.se_depth = DEPTH_ALL;
        return 0;
    case 'd':
        ge->ge_select.se_recursive = true;
        ge->ge_select.se_depth = (int)strtol(o->o_arg, &end, 10);
        return *end == '\0' && ge->ge_select.se_depth >= 0 ? 0 : usage_error(env, "get", "'%s' is no depth", o->o_arg);
    case 'H':
        ge->ge_script = true;
        return 0;
    case 'p':
        ge->ge_exact = true;
        return 0;
    case 'o':
        return get_fields(env, o->o_arg, ge);
    case 's':
        return get_sources(env, o->o_arg, ge);
    case 't':
        return select_types(env, o->o_arg, &ge->ge_select, "get");
    default:
        return opt_bad(env, "get", o);
    }
}

int
cmd_get(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    get_args_t ge = {.ge_select = {.se_types = T_ALL}, .ge_fields = {0, 1, 2, 4}, .ge_nfields = 4};
    int c, code;
    while ((c = opt_next(&o, "rd:Hpo:s:t:")) != -1) {
        if ((code = get_option(env, c, &o, &ge)) != 0)
            return code;
    }
    if (o.o_ind == argc)
        return usage_error(env, "get", "missing property argument");
    char *text = xstrdup(argv[o.o_ind++]);
    ge.ge_all = strcmp(text, "all") == 0;
    list_args_t li = {.li_ncolumns = 0};
    code = ge.ge_all ? 0 : parse_columns(env, "get", text, &li);
    memcpy(ge.ge_props, li.li_columns, sizeof(ge.ge_props));
    ge.ge_nprops = li.li_ncolumns;
    names_t na = {.na_env = env, .na_select = &ge.ge_select};
    if (code == 0 && o.o_ind == argc) {
        code = env_each_pool(env, ENV_RDONLY, get_pool, &ge);
    } else if (code == 0) {
        code = collect_operands(env, &na, argc - o.o_ind, argv + o.o_ind);
        if (na.na_count > 0)
            get_print(&na, &ge);
    }
    free(na.na_stats);
    free(text);
    return code;
}
