/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * text.c - numbers, times, tables and errors as people read them, in the words and shapes of zfs(8) that tools parse.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <time.h>
#include "cmd.h"

/* ---- errors ---- */

const char *
zfs_strerror(int err)
{
    switch (err) {
    case ENOENT:
        return "dataset does not exist";
    case EEXIST:
        return "dataset already exists";
    case EBUSY:
        return "dataset is busy";
    case ENOSPC:
        return "out of space";
    case EDQUOT:
        return "disk quota exceeded";
    case ECKSUM:
        return "checksum mismatch: the data is damaged";
    case EIO:
        return "I/O error";
    case EROFS:
        return "the pool or dataset is read-only";
    case ENOTEMPTY:
        return "filesystem has children";
    case EXDEV:
        return "not an earlier snapshot from the same fs";
    case ETXTBSY:
        return "destination has been modified since most recent snapshot";
    case ENODEV:
        return "most recent snapshot does not match incremental source";
    case EINTR:
        return "interrupted";
    case EPIPE:
        return "the reader of the stream went away";
    case ENAMETOOLONG:
        return "name is too long";
    default:
        return cowbird_strerror(err);
    }
}

int
fail(cmd_env_t *env, int err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vfprintf(env->err, fmt, ap);
    va_end(ap);
    fprintf(env->err, ": %s\n", zfs_strerror(err));
    return 1;
}

int
failx(cmd_env_t *env, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vfprintf(env->err, fmt, ap);
    va_end(ap);
    fputc('\n', env->err);
    return 1;
}

/* ---- sizes ---- */

char *
nicebytes(uint64_t v, char *buf)
{
    static const char units[] = "BKMGTPE";
    int u = 0;
    uint64_t n = v;
    while (n >= 1024 && u < 6) {
        n /= 1024;
        u++;
    }
    if (u == 0 || (v & ((1ULL << (10 * u)) - 1)) == 0) {
        snprintf(buf, 16, "%u%c", (unsigned)n, units[u]);
        return buf;
    }
    for (int digits = 2; digits >= 0; digits--) {
        if (snprintf(buf, 16, "%.*f%c", digits, (double)v / (double)(1ULL << (10 * u)), units[u]) <= 5)
            break;
    }
    return buf;
}

bool
parse_size(const char *text, uint64_t *v)
{
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    double d = strtod(text, &end);
    uint64_t whole = strtoull(text, NULL, 10);
    if (errno != 0)
        return false;
    int shift = 0;
    if (*end != '\0') {
        const char *units = "BKMGTPE", *u = strchr(units, *end >= 'a' ? *end - 32 : *end);
        if (u == NULL)
            return false;
        shift = 10 * (int)(u - units);
        end++;
        if (shift > 0 && (strcasecmp(end, "iB") == 0 || strcasecmp(end, "B") == 0))
            end += strlen(end);
        if (*end != '\0')
            return false;
    }
    if (strchr(text, '.') == NULL) {
        if (shift > 0 && whole >> (64 - shift) != 0)
            return false;
        *v = whole << shift;
        return true;
    }
    d *= (double)(1ULL << shift);
    if (!(d < 18446744073709549568.0))
        return false;
    *v = (uint64_t)d;
    return true;
}

char *
nicetime(uint64_t seconds, char *buf, size_t n)
{
    time_t t = (time_t)seconds;
    struct tm tm;
    if (localtime_r(&t, &tm) == NULL || strftime(buf, n, "%a %b %e %k:%M %Y", &tm) == 0)
        snprintf(buf, n, "%" PRIu64, seconds);
    return buf;
}

/* ---- tables ---- */

const char *
column_title(const title_t *titles, const char *prop, char *buf)
{
    for (const title_t *t = titles; t->ti_prop != NULL; t++) {
        if (strcmp(t->ti_prop, prop) == 0)
            return t->ti_title;
    }
    size_t n = MIN(strlen(prop), (size_t)TITLE_MAX - 1);
    for (size_t i = 0; i < n; i++)
        buf[i] = (char)(prop[i] >= 'a' && prop[i] <= 'z' ? prop[i] - 32 : prop[i]);
    buf[n] = '\0';
    return buf;
}

struct table {
    int t_columns;
    bool t_script;
    const char *t_title[64];
    bool t_right[64];
    size_t t_width[64];
    char **t_cells;
    size_t t_ncells, t_room;
};

table_t *
table_new(int columns, bool script)
{
    VERIFY3U(columns, <=, 64);
    table_t *t = xzalloc(sizeof(*t));
    t->t_columns = columns;
    t->t_script = script;
    return t;
}

void
table_head(table_t *t, int col, const char *title, bool right)
{
    t->t_title[col] = title;
    t->t_right[col] = right;
    t->t_width[col] = strlen(title);
}

void
table_cell(table_t *t, const char *fmt, ...)
{
    if (t->t_ncells == t->t_room) {
        t->t_room = t->t_room * 2 + 64;
        t->t_cells = xrealloc(t->t_cells, t->t_room * sizeof(char *));
    }
    va_list ap;
    va_start(ap, fmt);
    char *s;
    VERIFY(vasprintf(&s, fmt, ap) >= 0);
    va_end(ap);
    int col = (int)(t->t_ncells % (size_t)t->t_columns);
    t->t_width[col] = MAX(t->t_width[col], strlen(s));
    t->t_cells[t->t_ncells++] = s;
}

static void
table_row(const table_t *t, const char *const *cells, FILE *f)
{
    for (int c = 0; c < t->t_columns; c++) {
        const char *end = c == t->t_columns - 1 ? "\n" : t->t_script ? "\t" : "  ";
        if (t->t_script || (c == t->t_columns - 1 && !t->t_right[c]))
            fprintf(f, "%s%s", cells[c], end);
        else
            fprintf(f, t->t_right[c] ? "%*s%s" : "%-*s%s", (int)t->t_width[c], cells[c], end);
    }
}

void
table_print(table_t *t, FILE *f)
{
    if (!t->t_script && t->t_ncells > 0)
        table_row(t, t->t_title, f);
    for (size_t i = 0; i + (size_t)t->t_columns <= t->t_ncells; i += (size_t)t->t_columns)
        table_row(t, (const char *const *)&t->t_cells[i], f);
    for (size_t i = 0; i < t->t_ncells; i++)
        free(t->t_cells[i]);
    free(t->t_cells);
    free(t);
}
