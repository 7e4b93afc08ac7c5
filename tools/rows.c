/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rows.c - one table over several pools. Each pool's part is made where the pool is open (its daemon, or here) and comes as lines; the client
 * sorts them all and prints one table.
 *
 *     cowbird list ──► list -Z to the daemon of "tank"  ──► lines ─┐
 *                 └──► pool "usb" opened here           ──► lines ─┴─► sort ──► table
 *
 *     line     name TAB createtxg TAB sort keys (exact values) TAB cells          tab, newline and backslash escaped
 */
#include <limits.h>
#include <sys/mman.h>
#include <unistd.h>
#include "cmd.h"

/* ---- lines ---- */

void
row_write(FILE *f, const char *const *fields, int n)
{
    for (int i = 0; i < n; i++) {
        if (i > 0)
            fputc('\t', f);
        for (const char *p = fields[i]; *p != '\0'; p++) {
            if (*p == '\t' || *p == '\n' || *p == '\\')
                fprintf(f, "\\%c", *p == '\t' ? 't' : *p == '\n' ? 'n' : '\\');
            else
                fputc(*p, f);
        }
    }
    fputc('\n', f);
}

/* The field at *p, unescaped in place; *p moves on, NULL after the line's last. */
static char *
row_field(char **p)
{
    char *start = *p, *to = start, *s = start;
    for (; *s != '\0' && *s != '\t'; s++) {
        if (*s == '\\' && s[1] != '\0')
            s++, *to++ = *s == 't' ? '\t' : *s == 'n' ? '\n' : *s;
        else
            *to++ = *s;
    }
    *p = *s == '\t' ? s + 1 : NULL;
    *to = '\0';
    return start;
}

typedef struct row {
    char *ro_fields[ROW_FIELDS];
    uint64_t ro_createtxg;
    size_t ro_order;
    const row_spec_t *ro_spec;
} row_t;

/* What has no value comes last, whichever way is sorted. */
static int
key_compare(const char *a, const char *b, bool numeric, bool down)
{
    bool no_a = strcmp(a, "-") == 0, no_b = strcmp(b, "-") == 0;
    int c;
    if (no_a || no_b)
        return no_a - no_b;
    if (numeric) {
        char *x, *y;
        uint64_t m = strtoull(a, &x, 10), n = strtoull(b, &y, 10);
        c = m != n ? AVL_CMP(m, n) : strcmp(x, y); /* a ratio has two decimals */
    } else {
        c = strcmp(a, b);
    }
    return down ? -c : c;
}

static int
row_compare(const void *a, const void *b)
{
    const row_t *x = a, *y = b;
    int c = 0;
    for (int i = 0; i < x->ro_spec->rs_keys && c == 0; i++)
        c = key_compare(x->ro_fields[2 + i], y->ro_fields[2 + i], x->ro_spec->rs_numeric[i], x->ro_spec->rs_down[i]);
    if (c == 0)
        c = dataset_compare(x->ro_fields[0], x->ro_createtxg, y->ro_fields[0], y->ro_createtxg);
    return c != 0 ? c : AVL_CMP(x->ro_order, y->ro_order);
}

size_t
rows_to_table(char *text, const row_spec_t *rs, table_t *t)
{
    row_t *rows = NULL;
    size_t n = 0;
    for (char *line = text, *next; *line != '\0'; line = next) {
        next = line + strcspn(line, "\n");
        if (*next == '\n')
            *next++ = '\0';
        if ((n & (n - 1)) == 0)
            rows = xrealloc(rows, (n * 2 + 1) * sizeof(row_t));
        rows[n] = (row_t){.ro_order = n, .ro_spec = rs};
        for (int i = 0; i < ROW_FIELDS; i++)
            rows[n].ro_fields[i] = line != NULL ? row_field(&line) : (char *)"";
        rows[n].ro_createtxg = strtoull(rows[n].ro_fields[1], NULL, 10);
        n++;
    }
    if (n > 1)
        qsort(rows, n, sizeof(row_t), row_compare);
    for (size_t i = 0; i < n; i++) {
        for (int c = 0; c < rs->rs_cells; c++)
            table_cell(t, "%s", rows[i].ro_fields[2 + rs->rs_keys + c]);
    }
    free(rows);
    return n;
}

/* ---- from every pool ---- */

/* The command line for one pool's daemon: the same, with -Z where lines are wanted, and only that pool's operands. */
static int
gather_daemon(cmd_env_t *env, const gather_t *ga, const char *pool, int n, char **operands, int *code)
{
    int words = 0, argc = env->argc - ga->ga_noperands, fd = memfd_create("rows", MFD_CLOEXEC);
    char **argv = xmalloc(((size_t)env->argc + 2) * sizeof(char *)), buf[65536];
    if (fd < 0) {
        free(argv);
        return errno;
    }
    for (int i = 0; i < argc; i++) {
        argv[words++] = env->argv[i];
        if (&env->argv[i] == ga->ga_argv)
            argv[words++] = (char *)"-Z";
    }
    for (int i = 0; i < n; i++)
        argv[words++] = operands[i];
    int err = env_call(env, pool, words, argv, fd, code);
    ssize_t got;
    for (off_t off = 0; err == 0 && (got = pread(fd, buf, sizeof(buf), off)) > 0; off += got)
        fwrite(buf, 1, (size_t)got, ga->ga_rows);
    close(fd);
    free(argv);
    return err;
}

static int
gather_pool(cmd_env_t *env, const gather_t *ga, const char *pool, int n, char **operands)
{
    dsl_pool_t *dp;
    char file[PATH_MAX];
    int code = 0;
    int err = gather_daemon(env, ga, pool, n, operands, &code);
    if (err == 0 || (err != ENOENT && err != ECONNREFUSED))
        return err == 0 ? code : fail(env, err, "cannot ask for '%s'", pool);
    if (n == 0 && env->file == NULL && known_find(pool, file, sizeof(file)) != 0)
        return 0; /* its daemon has just ended */
    if (env_pool(env, n > 0 ? operands[0] : pool, ENV_RDONLY, &dp) != 0)
        return 1;
    code = ga->ga_fn(env, dp, n, operands, ga->ga_rows, ga->ga_arg);
    env_close(env);
    return code;
}

typedef struct pool_list {
    char (*pl_names)[NAMELEN];
    size_t pl_count;
} pool_list_t;

static int
add_pool(void *arg, const char *pool)
{
    pool_list_t *pl = arg;
    for (size_t i = 0; i < pl->pl_count; i++) {
        if (strcmp(pl->pl_names[i], pool) == 0)
            return 0;
    }
    pl->pl_names = xrealloc(pl->pl_names, (pl->pl_count + 1) * NAMELEN);
    snprintf(pl->pl_names[pl->pl_count++], NAMELEN, "%s", pool);
    return 0;
}

int
rows_gather(cmd_env_t *env, gather_t *ga, int n, char **operands)
{
    pool_list_t pl = {NULL, 0};
    char pool[NAMELEN];
    if (env->pool != NULL)
        return ga->ga_fn(env, env->pool, n, operands, ga->ga_rows, ga->ga_arg);
    int code = n == 0 ? env_each_name(env, add_pool, &pl) : 0;
    for (int i = 0; i < n; i++) {
        snprintf(pool, sizeof(pool), "%.*s", (int)strcspn(operands[i], "/@#"), operands[i]);
        (void)add_pool(&pl, pool);
    }
    char **own = xmalloc(((size_t)n + 1) * sizeof(char *));
    ga->ga_noperands = n;
    for (size_t p = 0; p < pl.pl_count; p++) {
        int count = 0;
        size_t len = strlen(pl.pl_names[p]);
        for (int i = 0; i < n; i++) {
            if (strncmp(operands[i], pl.pl_names[p], len) == 0 && strcspn(operands[i], "/@#") == len)
                own[count++] = operands[i];
        }
        code = MAX(code, gather_pool(env, ga, pl.pl_names[p], count, own));
    }
    free(own);
    free(pl.pl_names);
    return code;
}
