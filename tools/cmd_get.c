/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_get.c - get: which datasets (select.c), a line for each property wanted, one table of all pools (rows.c).
 */
#include "cmd.h"

typedef struct get_args {
    select_t ge_select;
    bool ge_script, ge_exact, ge_all, ge_lines; /* -H -p all -Z */
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
get_one(selection_t *na, const get_args_t *ge, FILE *rows, const dsl_stats_t *st, const char *prop)
{
    value_t v;
    char txg[24];
    if (value_get(na->na_env, na->na_dp, st, prop, ge->ge_exact, &v) != 0 || !source_wanted(ge, v.v_source))
        return;
    const char *cells[] = {st->dst_name, prop, v.v_text, v.v_received, v.v_source}, *fields[ROW_FIELDS] = {st->dst_name, txg};
    snprintf(txg, sizeof(txg), "%llu", (unsigned long long)st->dst_createtxg);
    for (int f = 0; f < ge->ge_nfields; f++)
        fields[2 + f] = cells[ge->ge_fields[f]];
    row_write(rows, fields, 2 + ge->ge_nfields);
}

typedef struct user_args {
    selection_t *ua_names;
    const get_args_t *ua_get;
    FILE *ua_rows;
    const dsl_stats_t *ua_stats;
} user_args_t;

static int
get_user(void *arg, const char *prop)
{
    user_args_t *ua = arg;
    char v[8];
    if (dsl_prop_get(ua->ua_names->na_dp, ua->ua_stats->dst_name, prop, v, sizeof(v), NULL, NULL) == 0) /* else: given up here */
        get_one(ua->ua_names, ua->ua_get, ua->ua_rows, ua->ua_stats, prop);
    return 0;
}

static void
get_dataset(selection_t *na, const get_args_t *ge, const dsl_stats_t *st, FILE *rows)
{
    user_args_t ua = {na, ge, rows, st};
    const char *prop;
    int cursor = 0;
    for (int p = 0; !ge->ge_all && p < ge->ge_nprops; p++)
        get_one(na, ge, rows, st, ge->ge_props[p]);
    while (ge->ge_all && (prop = value_next(st, &cursor)) != NULL)
        get_one(na, ge, rows, st, prop);
    if (ge->ge_all)
        (void)dsl_prop_for_each_user(na->na_dp, st->dst_name, get_user, &ua);
}

static int
get_pool(cmd_env_t *env, dsl_pool_t *dp, int n, char **operands, FILE *rows, void *arg)
{
    const get_args_t *ge = arg;
    selection_t na = {.na_env = env, .na_dp = dp, .na_select = &ge->ge_select};
    int code = select_run(&na, n, operands);
    for (size_t i = 0; i < na.na_count; i++)
        get_dataset(&na, ge, &na.na_stats[i], rows);
    free(na.na_stats);
    return code;
}

static void
get_table(cmd_env_t *env, const get_args_t *ge, char *text)
{
    static const char *const titles[] = {"NAME", "PROPERTY", "VALUE", "RECEIVED", "SOURCE"};
    row_spec_t rs = {.rs_cells = ge->ge_nfields};
    table_t *t = table_new(ge->ge_nfields, ge->ge_script);
    for (int f = 0; f < ge->ge_nfields; f++)
        table_head(t, f, titles[ge->ge_fields[f]], false);
    (void)rows_to_table(text, &rs, t);
    table_print(t, env->out);
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
    switch (c) {
    case 'r':
    case 'd':
        return select_depth(env, o->o_arg, &ge->ge_select, "get");
    case 'H':
        ge->ge_script = true;
        return 0;
    case 'p':
        ge->ge_exact = true;
        return 0;
    case 'Z':
        ge->ge_lines = true;
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

static int
get_run(cmd_env_t *env, get_args_t *ge, char **argv, int n, char **operands)
{
    gather_t ga = {.ga_argv = argv, .ga_fn = get_pool, .ga_arg = ge, .ga_rows = env->out};
    char *text = NULL;
    size_t size;
    if (ge->ge_lines)
        return rows_gather(env, &ga, n, operands);
    ga.ga_rows = open_memstream(&text, &size);
    int code = rows_gather(env, &ga, n, operands);
    fclose(ga.ga_rows);
    get_table(env, ge, text);
    free(text);
    return code;
}

int
cmd_get(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    get_args_t ge = {.ge_select = {.se_types = T_ALL}, .ge_fields = {0, 1, 2, 4}, .ge_nfields = 4};
    int c, code;
    while ((c = opt_next(&o, "rd:Hpo:s:t:Z")) != -1) {
        if ((code = get_option(env, c, &o, &ge)) != 0)
            return code;
    }
    if (o.o_ind == argc)
        return usage_error(env, "get", "missing property argument");
    char *text = xstrdup(argv[o.o_ind++]);
    ge.ge_all = strcmp(text, "all") == 0;
    code = ge.ge_all ? 0 : parse_columns(env, "get", text, ge.ge_props, &ge.ge_nprops);
    if (code == 0)
        code = get_run(env, &ge, argv, argc - o.o_ind, argv + o.o_ind);
    free(text);
    return code;
}
