/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_list.c - list: which datasets (select.c), their columns as lines, one sorted table of all pools (rows.c).
 */
#include "cmd.h"

typedef struct list_args {
    select_t li_select;
    char *li_columns[MAX_COLUMNS];
    int li_ncolumns;
    const char *li_sort[MAX_COLUMNS];
    bool li_down[MAX_COLUMNS];
    int li_nsort;
    bool li_script, li_exact, li_lines; /* -H -p -Z */
} list_args_t;

static const title_t list_titles[] = {{"available", "AVAIL"}, {"referenced", "REFER"}, {"compressratio", "RATIO"},
                                      {"usedbysnapshots", "USEDSNAP"}, {"usedbydataset", "USEDDS"},
                                      {"usedbychildren", "USEDCHILD"}, {"usedbyrefreservation", "USEDREFRESERV"},
                                      {"logicalused", "LUSED"}, {"logicalreferenced", "LREFER"},
                                      {"compression", "COMPRESS"}, {"recordsize", "RECSIZE"}, {"readonly", "RDONLY"},
                                      {"reservation", "RESERV"}, {"refreservation", "REFRESERV"}, {NULL, NULL}};

/* ---- columns ---- */

bool
column_known(const char *prop)
{
    dsl_stats_t none = {.dst_snapshot = false};
    const char *known;
    int cursor = 0;
    if (value_known(prop))
        return true;
    while ((known = value_next(&none, &cursor)) != NULL) {
        if (strcmp(known, prop) == 0)
            return true;
    }
    return false;
}

/* Comma-separated columns, each an existing property; text is cut up. */
int
parse_columns(cmd_env_t *env, const char *command, char *text, char **columns, int *n)
{
    static const char *const space[] = {"name", "available", "used", "usedbysnapshots", "usedbydataset",
                                        "usedbyrefreservation", "usedbychildren"};
    char *save;
    *n = 0;
    for (char *p = strtok_r(text, ",", &save); p != NULL; p = strtok_r(NULL, ",", &save)) {
        bool all = strcmp(p, "space") == 0;
        if (!all && !column_known(p))
            return usage_error(env, command, "bad property list: invalid property '%s'", p);
        for (size_t i = 0; i < (all ? ARRAY_SIZE(space) : 1); i++) {
            if (*n == MAX_COLUMNS)
                return usage_error(env, command, "too many properties");
            columns[(*n)++] = all ? (char *)space[i] : p;
        }
    }
    return *n > 0 ? 0 : usage_error(env, command, "missing property");
}

/* ---- lines and table ---- */

static void
list_line(selection_t *na, const list_args_t *li, const dsl_stats_t *st, FILE *rows)
{
    int total = 2 + li->li_nsort + li->li_ncolumns;
    value_t *v = xmalloc((size_t)total * sizeof(value_t));
    const char *fields[ROW_FIELDS];
    snprintf(v[1].v_text, sizeof(v[1].v_text), "%llu", (unsigned long long)st->dst_createtxg);
    fields[0] = st->dst_name;
    fields[1] = v[1].v_text;
    for (int i = 2; i < total; i++) {
        bool key = i < 2 + li->li_nsort;
        const char *prop = key ? li->li_sort[i - 2] : li->li_columns[i - 2 - li->li_nsort];
        if (value_get(na->na_env, na->na_dp, st, prop, key || li->li_exact, &v[i]) != 0)
            strcpy(v[i].v_text, "-");
        fields[i] = v[i].v_text;
    }
    row_write(rows, fields, total);
    free(v);
}

static int
list_pool(cmd_env_t *env, dsl_pool_t *dp, int n, char **operands, FILE *rows, void *arg)
{
    const list_args_t *li = arg;
    selection_t na = {.na_env = env, .na_dp = dp, .na_select = &li->li_select};
    int code = select_run(&na, n, operands);
    for (size_t i = 0; i < na.na_count; i++)
        list_line(&na, li, &na.na_stats[i], rows);
    free(na.na_stats);
    return code;
}

static void
list_table(cmd_env_t *env, const list_args_t *li, char *text, bool complete)
{
    char titles[MAX_COLUMNS][TITLE_MAX];
    row_spec_t rs = {.rs_keys = li->li_nsort, .rs_cells = li->li_ncolumns};
    table_t *t = table_new(li->li_ncolumns, li->li_script);
    for (int c = 0; c < li->li_ncolumns; c++)
        table_head(t, c, column_title(list_titles, li->li_columns[c], titles[c]), value_is_numeric(li->li_columns[c]));
    for (int k = 0; k < li->li_nsort; k++) {
        rs.rs_numeric[k] = value_is_numeric(li->li_sort[k]);
        rs.rs_down[k] = li->li_down[k];
    }
    if (rows_to_table(text, &rs, t) == 0 && complete && !li->li_script)
        fprintf(env->err, "no datasets available\n");
    table_print(t, env->out);
}

/* ---- the command ---- */

static int
list_option(cmd_env_t *env, int c, opt_t *o, list_args_t *li, char **columns)
{
    switch (c) {
    case 'r':
    case 'd':
        return select_depth(env, o->o_arg, &li->li_select, "list");
    case 'H':
        li->li_script = true;
        return 0;
    case 'p':
        li->li_exact = true;
        return 0;
    case 'Z':
        li->li_lines = true;
        return 0;
    case 'o':
        *columns = (char *)o->o_arg;
        return 0;
    case 't':
        return select_types(env, o->o_arg, &li->li_select, "list");
    case 's':
    case 'S':
        if (li->li_nsort == MAX_KEYS)
            return usage_error(env, "list", "too many sort keys");
        if (!column_known(o->o_arg))
            return usage_error(env, "list", "invalid property '%s'", o->o_arg);
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
    while ((c = opt_next(&o, "rd:Hpo:t:s:S:Z")) != -1) {
        if ((code = list_option(env, c, &o, &li, &given)) != 0)
            return code;
    }
    char *columns = xstrdup(given != NULL ? given : "name,used,available,referenced,mountpoint");
    gather_t ga = {.ga_argv = argv, .ga_fn = list_pool, .ga_arg = &li};
    if ((code = parse_columns(env, "list", columns, li.li_columns, &li.li_ncolumns)) == 0 && li.li_lines) {
        ga.ga_rows = env->out;
        code = rows_gather(env, &ga, argc - o.o_ind, argv + o.o_ind);
    } else if (code == 0) {
        char *text = NULL;
        size_t size;
        ga.ga_rows = open_memstream(&text, &size);
        code = rows_gather(env, &ga, argc - o.o_ind, argv + o.o_ind);
        fclose(ga.ga_rows);
        list_table(env, &li, text, code == 0);
        free(text);
    }
    free(columns);
    return code;
}
