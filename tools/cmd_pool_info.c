/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_pool_info.c - how a pool is: list, get, status, scrub.
 */
#include <inttypes.h>
#include <time.h>
#include "cmd.h"
#include "zpl.h"

/* ---- pool properties ---- */

static const char *const pool_props[] = {"name", "size", "allocated", "free", "checkpoint", "expandsize", "fragmentation",
                                         "capacity", "dedupratio", "health", "altroot", "guid", "version", "readonly",
                                         "compatibility", "ashift", "bootfs", "freeing", "leaked", "load_guid"};

static const char *
pool_health(dsl_pool_t *dp)
{
    return spa_suspended(dsl_pool_spa(dp)) != 0 ? "SUSPENDED" : "ONLINE";
}

/* "feature@NAME" */
static bool
feature_value(dsl_pool_t *dp, const char *prop, char *buf, size_t n)
{
    const char *name, *state;
    size_t cursor = 0;
    while ((name = dsl_feature_next(dp, &cursor, &state)) != NULL) {
        if (strcmp(prop + strlen("feature@"), name) == 0) {
            snprintf(buf, n, "%s", state);
            return true;
        }
    }
    return false;
}

/* False: no such property. */
static bool
pool_value(dsl_pool_t *dp, const char *prop, bool exact, char *buf, size_t n)
{
    spa_t *spa = dsl_pool_spa(dp);
    uint64_t size = spa_total_space(spa), alloc = spa_alloc_space(spa) + spa_deferred_space(spa);
    char b[16];
    uint64_t bytes = UINT64_MAX, other;
    if (strncmp(prop, "feature@", 8) == 0)
        return feature_value(dp, prop, buf, n);
    if (strcmp(prop, "name") == 0)
        snprintf(buf, n, "%s", dsl_pool_name(dp));
    else if (strcmp(prop, "size") == 0)
        bytes = size;
    else if (strcmp(prop, "allocated") == 0 || strcmp(prop, "alloc") == 0)
        bytes = alloc;
    else if (strcmp(prop, "free") == 0)
        bytes = size - alloc;
    else if (strcmp(prop, "capacity") == 0 || strcmp(prop, "cap") == 0)
        snprintf(buf, n, "%" PRIu64 "%s", size != 0 ? alloc * 100 / size : 0, exact ? "" : "%");
    else if (strcmp(prop, "dedupratio") == 0 || strcmp(prop, "dedup") == 0)
        snprintf(buf, n, exact ? "1.00" : "1.00x");
    else if (strcmp(prop, "health") == 0)
        snprintf(buf, n, "%s", pool_health(dp));
    else if (strcmp(prop, "guid") == 0 || strcmp(prop, "load_guid") == 0)
        snprintf(buf, n, "%" PRIu64, spa_guid(spa));
    else if (strcmp(prop, "version") == 0)
        snprintf(buf, n, spa_version(spa) == SPA_VERSION ? "-" : "%" PRIu64, spa_version(spa));
    else if (strcmp(prop, "readonly") == 0)
        snprintf(buf, n, "%s", dsl_pool_readonly(dp) ? "on" : "off");
    else if (strcmp(prop, "compatibility") == 0)
        snprintf(buf, n, "%s", dsl_pool_is_compat(dp) ? "openzfs" : "off");
    else if (strcmp(prop, "ashift") == 0)
        snprintf(buf, n, "%" PRIu64, spa_ashift(spa));
    else if (strcmp(prop, "freeing") == 0)
        dsl_pool_freeing(dp, &bytes, &other);
    else if (strcmp(prop, "leaked") == 0)
        dsl_pool_freeing(dp, &other, &bytes);
    else {
        for (size_t i = 0; i < ARRAY_SIZE(pool_props); i++) {
            if (strcmp(pool_props[i], prop) == 0 || (strcmp(prop, "frag") == 0 && strcmp(pool_props[i], "fragmentation") == 0)) {
                snprintf(buf, n, "-");
                return true;
            }
        }
        return false;
    }
    if (bytes != UINT64_MAX && exact)
        snprintf(buf, n, "%" PRIu64, bytes);
    else if (bytes != UINT64_MAX)
        snprintf(buf, n, "%s", nicebytes(bytes, b));
    return true;
}

/* ---- list ---- */

typedef struct pool_list {
    bool pl_script, pl_exact, pl_lines; /* -H -p -Z */
    char *pl_columns[MAX_COLUMNS];
    int pl_count;
} pool_list_t;

static const title_t pool_titles[] = {{"allocated", "ALLOC"}, {"checkpoint", "CKPOINT"}, {"expandsize", "EXPANDSZ"},
                                      {"fragmentation", "FRAG"}, {"capacity", "CAP"}, {"dedupratio", "DEDUP"}, {NULL, NULL}};

/* A known one, or a feature's state ("feature@NAME": the pool says whether it knows it). */
static bool
pool_column_known(const char *prop)
{
    for (size_t i = 0; i < ARRAY_SIZE(pool_props); i++) {
        if (strcmp(pool_props[i], prop) == 0)
            return true;
    }
    return strcmp(prop, "frag") == 0 || strncmp(prop, "feature@", 8) == 0;
}

static int
list_columns(cmd_env_t *env, pool_list_t *pl, char *text)
{
    char *save;
    for (char *p = strtok_r(text, ",", &save); p != NULL; p = strtok_r(NULL, ",", &save)) {
        if (!pool_column_known(p))
            return usage_error(env, "pool list", "bad property list: invalid property '%s'", p);
        if (pl->pl_count == MAX_COLUMNS)
            return usage_error(env, "pool list", "too many properties");
        pl->pl_columns[pl->pl_count++] = p;
    }
    return pl->pl_count > 0 ? 0 : usage_error(env, "pool list", "missing property");
}

static int
list_one(cmd_env_t *env, dsl_pool_t *dp, int n, char **operands, FILE *rows, void *arg)
{
    const pool_list_t *pl = arg;
    const char *fields[ROW_FIELDS] = {dsl_pool_name(dp), "0"};
    char v[MAX_COLUMNS][NAMELEN];
    for (int i = 0; i < pl->pl_count; i++) {
        if (!pool_value(dp, pl->pl_columns[i], pl->pl_exact, v[i], sizeof(v[i])))
            strcpy(v[i], "-");
        fields[2 + i] = v[i];
    }
    row_write(rows, fields, 2 + pl->pl_count);
    return 0;
}

static void
list_table(cmd_env_t *env, const pool_list_t *pl, char *text, bool complete)
{
    char titles[MAX_COLUMNS][TITLE_MAX];
    row_spec_t rs = {.rs_cells = pl->pl_count};
    table_t *t = table_new(pl->pl_count, pl->pl_script);
    for (int i = 0; i < pl->pl_count; i++) {
        const char *col = pl->pl_columns[i];
        table_head(t, i, column_title(pool_titles, col, titles[i]), strcmp(col, "name") != 0 && strcmp(col, "altroot") != 0);
    }
    if (rows_to_table(text, &rs, t) == 0 && complete && !pl->pl_script)
        fprintf(env->err, "no pools available\n");
    table_print(t, env->out);
}

static int
pools_only(cmd_env_t *env, int n, char **operands)
{
    for (int i = 0; i < n; i++) {
        if (strpbrk(operands[i], "/@#") != NULL)
            return failx(env, "cannot open '%s': not a pool", operands[i]);
    }
    return 0;
}

typedef struct each {
    int (*ea_fn)(cmd_env_t *env, dsl_pool_t *dp, void *arg);
    void *ea_arg;
} each_t;

static int
each_one(cmd_env_t *env, dsl_pool_t *dp, int n, char **operands, FILE *rows, void *arg)
{
    const each_t *ea = arg;
    return ea->ea_fn(env, dp, ea->ea_arg);
}

int
pool_each_operand(cmd_env_t *env, int n, char **operands, int (*fn)(cmd_env_t *env, dsl_pool_t *dp, void *arg), void *arg)
{
    each_t ea = {fn, arg};
    gather_t ga = {.ga_fn = each_one, .ga_arg = &ea, .ga_rows = env->out};
    int code = pools_only(env, n, operands);
    return code != 0 ? code : rows_gather(env, &ga, n, operands);
}

static int
list_run(cmd_env_t *env, const pool_list_t *pl, char **argv, int n, char **operands)
{
    gather_t ga = {.ga_argv = argv, .ga_fn = list_one, .ga_arg = (void *)pl, .ga_rows = env->out};
    char *text = NULL;
    size_t size;
    int code = pools_only(env, n, operands);
    if (code != 0 || pl->pl_lines)
        return code != 0 ? code : rows_gather(env, &ga, n, operands);
    ga.ga_rows = open_memstream(&text, &size);
    code = rows_gather(env, &ga, n, operands);
    fclose(ga.ga_rows);
    list_table(env, pl, text, code == 0);
    free(text);
    return code;
}

int
cmd_pool_list(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    const char *given = "name,size,allocated,free,checkpoint,expandsize,fragmentation,capacity,dedupratio,health,altroot";
    pool_list_t pl = {.pl_count = 0};
    int c;
    while ((c = opt_next(&o, "Hpo:vPLZ")) != -1) {
        if (c == 'H')
            pl.pl_script = true;
        else if (c == 'p')
            pl.pl_exact = true;
        else if (c == 'Z')
            pl.pl_lines = true;
        else if (c == 'o')
            given = o.o_arg;
        else if (c == '?')
            return opt_bad(env, "pool list", &o);
    }
    char *text = xstrdup(given);
    int code = list_columns(env, &pl, text);
    if (code == 0)
        code = list_run(env, &pl, argv, argc - o.o_ind, argv + o.o_ind);
    free(text);
    return code;
}

/* ---- get ---- */

typedef struct pool_get {
    bool pg_script, pg_exact;
    const char *pg_props, *pg_fields;
} pool_get_t;

static void
get_row(table_t *t, dsl_pool_t *dp, const char *prefix, const char *prop, const char *value, const char *source)
{
    table_cell(t, "%s", dsl_pool_name(dp));
    table_cell(t, "%s%s", prefix, prop);
    table_cell(t, "%s", value);
    table_cell(t, "%s", source);
}

static void
get_all(table_t *t, dsl_pool_t *dp, bool exact)
{
    const char *name, *state;
    char v[NAMELEN];
    size_t cursor = 0;
    for (size_t i = 1; i < ARRAY_SIZE(pool_props); i++) {
        (void)pool_value(dp, pool_props[i], exact, v, sizeof(v));
        get_row(t, dp, "", pool_props[i], v, "-");
    }
    while ((name = dsl_feature_next(dp, &cursor, &state)) != NULL)
        get_row(t, dp, "feature@", name, state, "local");
}

static int
get_one(cmd_env_t *env, dsl_pool_t *dp, void *arg)
{
    const pool_get_t *pg = arg;
    char v[NAMELEN] = "", prop[64];
    bool all = strcmp(pg->pg_props, "all") == 0;
    table_t *t = table_new(4, pg->pg_script);
    table_head(t, 0, "NAME", false);
    table_head(t, 1, "PROPERTY", false);
    table_head(t, 2, "VALUE", false);
    table_head(t, 3, "SOURCE", false);
    int code = 0;
    if (all)
        get_all(t, dp, pg->pg_exact);
    for (const char *p = pg->pg_props; !all && *p != '\0' && code == 0; p += strcspn(p, ","), p += *p == ',') {
        snprintf(prop, sizeof(prop), "%.*s", (int)strcspn(p, ","), p);
        if (!pool_value(dp, prop, pg->pg_exact, v, sizeof(v)))
            code = usage_error(env, "pool get", "bad property list: invalid property '%s'", prop);
        get_row(t, dp, "", prop, v, strchr(prop, '@') != NULL ? "local" : "-");
    }
    if (code == 0 && pg->pg_fields == NULL)
        table_print(t, env->out);
    else if (code == 0 && pool_value(dp, pg->pg_props, pg->pg_exact, v, sizeof(v)))
        fprintf(env->out, "%s\n", strcmp(pg->pg_fields, "value") == 0 ? v : dsl_pool_name(dp));
    return code;
}

int
cmd_pool_get(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    pool_get_t pg = {.pg_script = false};
    int c;
    while ((c = opt_next(&o, "Hpo:")) != -1) {
        if (c == 'H')
            pg.pg_script = true;
        else if (c == 'p')
            pg.pg_exact = true;
        else if (c == 'o' && (strcmp(o.o_arg, "value") == 0 || strcmp(o.o_arg, "name") == 0))
            pg.pg_fields = o.o_arg;
        else if (c == 'o' && strcmp(o.o_arg, "all") != 0 && strcmp(o.o_arg, "name,property,value,source") != 0)
            return failx(env, "pool get -o %s is not supported: value, name or all", o.o_arg);
        else if (c == '?')
            return opt_bad(env, "pool get", &o);
    }
    if (o.o_ind == argc)
        return usage_error(env, "pool get", "missing property argument");
    pg.pg_props = argv[o.o_ind++];
    return pool_each_operand(env, argc - o.o_ind, argv + o.o_ind, get_one, &pg);
}

/* ---- damaged files, for status and scrub ---- */

typedef struct damage {
    cmd_env_t *da_env;
    dsl_pool_t *da_dp;
    FILE *da_file;
    uint64_t da_count;
    uint64_t da_objset, da_object; /* of the line before */
} damage_t;

typedef struct path_arg {
    uint64_t pa_object;
    char pa_path[4096];
} path_arg_t;

static int
path_cb(void *arg, objset_t *os)
{
    path_arg_t *pa = arg;
    return zpl_object_path(os, pa->pa_object, pa->pa_path, sizeof(pa->pa_path));
}

/* "tank/fs:/dir/file", or numbers where there is no name. */
static void
damage_name(dsl_pool_t *dp, const zbookmark_t *zb, char *out, size_t n)
{
    dsl_dataset_t *ds;
    path_arg_t pa = {.pa_object = zb->zb_object};
    char name[NAMELEN];
    snprintf(out, n, "<metadata>:<0x%" PRIx64 ">", zb->zb_object);
    if (zb->zb_objset == 0 || dsl_dataset_hold_obj(dp, zb->zb_objset, "damage", &ds) != 0)
        return;
    dsl_dataset_name(ds, name);
    if (zb->zb_object != 0 && dsl_dataset_with_objset(ds, path_cb, &pa) == 0)
        snprintf(out, n, "%s:/%s", name, pa.pa_path);
    else
        snprintf(out, n, "%s:<0x%" PRIx64 ">", name, zb->zb_object);
    dsl_dataset_rele(ds, "damage");
}

static void
damage_entry(void *arg, const zbookmark_t *zb)
{
    damage_t *da = arg;
    char line[4096 + NAMELEN + 16];
    if (da->da_count++ != 0 && zb->zb_objset == da->da_objset && zb->zb_object == da->da_object)
        return;
    da->da_objset = zb->zb_objset;
    da->da_object = zb->zb_object;
    if (da->da_file == NULL)
        return;
    damage_name(da->da_dp, zb, line, sizeof(line));
    fprintf(da->da_file, "        %s\n", line);
}

/* ---- status ---- */

static void
status_scan(cmd_env_t *env, const dsl_scan_progress_t *sp)
{
    char b1[16], b2[16], when[64];
    if (sp->sp_start == 0) {
        fprintf(env->out, "  scan: none requested\n");
        return;
    }
    uint64_t end = sp->sp_end != 0 ? sp->sp_end : (uint64_t)time(NULL), secs = end - MIN(end, sp->sp_start);
    if (sp->sp_end == 0)
        fprintf(env->out, "  scan: scrub in progress since %s\n\t%s scanned out of %s, %s repaired, %" PRIu64 " errors\n",
                nicetime(sp->sp_start, when, sizeof(when)), nicebytes(sp->sp_done, b1), nicebytes(sp->sp_total, b2),
                nicebytes(sp->sp_repaired, when), sp->sp_errors);
    else
        fprintf(env->out, "  scan: scrub %s %s in %02" PRIu64 ":%02" PRIu64 ":%02" PRIu64 " with %" PRIu64 " errors on %s\n",
                sp->sp_canceled ? "canceled after repairing" : "repaired", nicebytes(sp->sp_repaired, b1), secs / 3600, secs / 60 % 60, secs % 60,
                sp->sp_errors, nicetime(sp->sp_end, when, sizeof(when)));
}

static int
status_one(cmd_env_t *env, dsl_pool_t *dp, void *arg)
{
    spa_t *spa = dsl_pool_spa(dp);
    spa_stats_t st;
    dsl_scan_progress_t sp;
    nvlist_t *tree;
    const char *path = "-";
    damage_t da = {.da_env = env, .da_dp = dp};
    spa_get_stats(spa, &st);
    spa_errlog_walk(spa, damage_entry, &da);
    bool sick = da.da_count != 0 || st.ss_read_errors + st.ss_write_errors + st.ss_cksum_errors != 0 || spa_suspended(spa) != 0;
    if (*(bool *)arg && !sick)
        return 0;
    dsl_scan_last(dp, &sp);
    if (nvlist_lookup_nvlist(spa_label(spa), "vdev_tree", &tree) == 0)
        (void)nvlist_lookup_string(tree, "path", &path);
    fprintf(env->out, "  pool: %s\n state: %s\n", dsl_pool_name(dp), pool_health(dp));
    if (spa_suspended(spa) != 0)
        fprintf(env->out, "status: I/O to the pool has stopped after an error: %s\n", cowbird_strerror(spa_suspended(spa)));
    status_scan(env, &sp);
    int w = (int)MAX(strlen(path) + 2, (size_t)10);
    fprintf(env->out, "config:\n\n\t%-*s  %-9s %5s %5s %5s\n", w, "NAME", "STATE", "READ", "WRITE", "CKSUM");
    fprintf(env->out, "\t%-*s  %-9s %5u %5u %5u\n", w, dsl_pool_name(dp), pool_health(dp), 0u, 0u, 0u);
    fprintf(env->out, "\t  %-*s  %-9s %5" PRIu64 " %5" PRIu64 " %5" PRIu64 "\n\n", w - 2, path, pool_health(dp), st.ss_read_errors,
            st.ss_write_errors, st.ss_cksum_errors);
    if (da.da_count == 0) {
        fprintf(env->out, "errors: No known data errors\n");
        return 0;
    }
    fprintf(env->out, "errors: Permanent errors have been detected in the following files:\n\n");
    da = (damage_t){.da_env = env, .da_dp = dp, .da_file = env->out};
    spa_errlog_walk(spa, damage_entry, &da);
    return 0;
}

int
cmd_pool_status(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    bool sick_only = false;
    int c;
    while ((c = opt_next(&o, "vxPLpsigeT:")) != -1) {
        if (c == 'x')
            sick_only = true;
        else if (c == '?')
            return opt_bad(env, "pool status", &o);
    }
    return pool_each_operand(env, argc - o.o_ind, argv + o.o_ind, status_one, &sick_only);
}

/* ---- scrub ---- */

typedef struct scrub_progress {
    uint64_t sc_done;
    progress_t *sc_progress;
} scrub_progress_t;

static void
scrub_progress(void *arg, const dsl_scan_progress_t *sp)
{
    scrub_progress_t *sc = arg;
    __atomic_store_n(&sc->sc_done, sp->sp_done, __ATOMIC_RELAXED);
    progress_total(sc->sc_progress, sp->sp_total);
}

static int
scrub_one(cmd_env_t *env, const char *pool)
{
    dsl_pool_t *dp;
    dsl_scan_progress_t sp;
    scrub_progress_t sc = {0, NULL};
    if (env_pool(env, pool, 0, &dp) != 0)
        return 1;
    sc.sc_progress = progress_start(env, "scrubbed", &sc.sc_done, 0);
    int err = dsl_scrub(dp, scrub_progress, &sc, env->cancel);
    progress_stop(sc.sc_progress);
    if (err != 0)
        return failx(env, "cannot scrub '%s': %s", pool, err == EINTR ? "interrupted" : err == EBUSY ? "currently scrubbing" : cowbird_strerror(err));
    dsl_scan_last(dp, &sp);
    status_scan(env, &sp);
    if (sp.sp_errors == 0)
        return 0;
    fprintf(env->err, "errors: Permanent errors have been detected in the following files:\n\n");
    damage_t da = {.da_env = env, .da_dp = dp, .da_file = env->err};
    spa_errlog_walk(dsl_pool_spa(dp), damage_entry, &da);
    return 1;
}

int
cmd_pool_scrub(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    int c, code = 0;
    while ((c = opt_next(&o, "wsp")) != -1) {
        if (c == 's' || c == 'p')
            return failx(env, "pool scrub -%c is not supported: a scrub ends with its command (interrupt it)", c);
        if (c != 'w')
            return opt_bad(env, "pool scrub", &o);
    }
    if (o.o_ind == argc)
        return usage_error(env, "pool scrub", "missing pool name argument");
    for (int i = o.o_ind; i < argc; i++)
        code = MAX(code, scrub_one(env, argv[i]));
    return code;
}
