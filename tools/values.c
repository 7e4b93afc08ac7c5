/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * values.c - one property of one dataset as text: the read-only ones from dsl_stats_t, the others from prop.c. Here is what zfs(8)
 * shows for which kind of dataset, under which short names, and what is a number.
 */
#include <inttypes.h>
#include "cmd.h"

typedef enum shown { FS = 1, SNAP = 2, VOL = 4, BOOK = 8, HEADS = FS | VOL, ALL = FS | SNAP | VOL } shown_t;
typedef enum form { TEXT, BYTES, COUNT, RATIO, TIME, HEX } form_t;

typedef struct native {
    const char *n_name, *n_alias;
    shown_t n_shown;  /* where it has a meaning */
    form_t n_form;
    size_t n_offset;  /* of the u64 in dsl_stats_t; (size_t)-1: special */
    bool n_in_all;    /* part of `get all` */
} native_t;

#define ST(field) offsetof(dsl_stats_t, field)
#define SPECIAL   ((size_t)-1)
#define USEDBY(i) (ST(dst_usedby) + (i) * sizeof(uint64_t))

static const native_t natives[] = {
    {"name", NULL, ALL | BOOK, TEXT, SPECIAL, false},
    {"type", NULL, ALL | BOOK, TEXT, SPECIAL, true},
    {"creation", NULL, ALL | BOOK, TIME, ST(dst_creation), true},
    {"used", NULL, ALL, BYTES, ST(dst_used), true},
    {"available", "avail", HEADS, BYTES, ST(dst_avail), true},
    {"referenced", "refer", ALL, BYTES, ST(dst_referenced), true},
    {"compressratio", "ratio", ALL, RATIO, ST(dst_compressratio), true},
    {"mounted", NULL, FS, TEXT, SPECIAL, true},
    {"origin", NULL, HEADS, TEXT, SPECIAL, true},
    {"createtxg", NULL, ALL | BOOK, COUNT, ST(dst_createtxg), true},
    {"guid", NULL, ALL | BOOK, COUNT, ST(dst_guid), true},
    {"usedbysnapshots", "usedsnap", HEADS, BYTES, USEDBY(DD_USED_SNAP), true},
    {"usedbydataset", "usedds", HEADS, BYTES, USEDBY(DD_USED_HEAD), true},
    {"usedbychildren", "usedchild", HEADS, BYTES, ST(dst_usedbychildren), true},
    {"usedbyrefreservation", "usedrefreserv", HEADS, BYTES, USEDBY(DD_USED_REFRSRV), true},
    {"objsetid", NULL, ALL, COUNT, ST(dst_dsobj), true},
    {"refcompressratio", NULL, ALL, RATIO, ST(dst_refcompressratio), true},
    {"written", NULL, ALL, BYTES, ST(dst_written), true},
    {"defer_destroy", NULL, SNAP, TEXT, SPECIAL, true},
    {"userrefs", NULL, SNAP, COUNT, ST(dst_userrefs), true},
    {"logicalused", "lused", HEADS, BYTES, ST(dst_logicalused), true},
    {"logicalreferenced", "lrefer", ALL, BYTES, ST(dst_lreferenced), true},
    {"unique", NULL, ALL, BYTES, ST(dst_unique), false},
    {"numclones", NULL, SNAP, COUNT, ST(dst_numclones), false},
    {"clones", NULL, SNAP, TEXT, SPECIAL, true},
    {"redact_snaps", NULL, ALL, TEXT, SPECIAL, true},
    {"receive_resume_token", NULL, HEADS, TEXT, SPECIAL, true},
};

static const char *const prop_aliases[][2] = {
    {"compress", "compression"}, {"recsize", "recordsize"}, {"rdonly", "readonly"}, {"reserv", "reservation"}, {"refreserv", "refreservation"}};

static shown_t
kind_of(const dsl_stats_t *st)
{
    return st->dst_bookmark ? BOOK : st->dst_snapshot ? SNAP : st->dst_type == DMU_OST_ZVOL ? VOL : FS;
}

static const native_t *
native_find(const char *prop)
{
    for (size_t i = 0; i < ARRAY_SIZE(natives); i++) {
        if (strcmp(natives[i].n_name, prop) == 0 || (natives[i].n_alias != NULL && strcmp(natives[i].n_alias, prop) == 0))
            return &natives[i];
    }
    return NULL;
}

static uint64_t
native_u64(const native_t *n, const dsl_stats_t *st)
{
    uint64_t v;
    memcpy(&v, (const char *)st + n->n_offset, sizeof(v));
    return v;
}

/* One more of a list with commas; what no longer fits is left out. */
static void
list_more(value_t *v, const char *text)
{
    size_t n = strlen(v->v_text), more = strlen(text) + (n > 0);
    if (n + more >= sizeof(v->v_text))
        return;
    if (n > 0)
        strcat(v->v_text, ",");
    strcat(v->v_text, text);
}

static int
clones_add(void *arg, const char *name)
{
    list_more(arg, name);
    return 0;
}

/* Properties that are lists: empty, or names or guids. False: it is none. */
static bool
native_list(dsl_pool_t *dp, const native_t *n, const dsl_stats_t *st, value_t *v)
{
    bool clones = strcmp(n->n_name, "clones") == 0;
    uint64_t guids[DSL_REDACT_MAX], count = 0;
    if (!clones && strcmp(n->n_name, "redact_snaps") != 0)
        return false;
    v->v_text[0] = '\0';
    if (clones && st->dst_numclones > 0)
        (void)dsl_for_each_clone(dp, st->dst_name, clones_add, v);
    if (!clones && !st->dst_redacted)
        strcpy(v->v_text, "-");
    else if (!clones && dsl_redact_snaps(dp, st->dst_name, guids, &count) == 0)
        for (uint64_t i = 0; i < count; i++) {
            char text[24];
            snprintf(text, sizeof(text), "%" PRIu64, guids[i]);
            list_more(v, text);
        }
    return true;
}

static void
native_special(cmd_env_t *env, dsl_pool_t *dp, const native_t *n, const dsl_stats_t *st, value_t *v)
{
    char token[RESUME_TOKEN_MAX];
    const char *text = "-";
    if (native_list(dp, n, st, v))
        return;
    if (strcmp(n->n_name, "name") == 0)
        text = st->dst_name;
    else if (strcmp(n->n_name, "type") == 0)
        text = st->dst_bookmark ? "bookmark" : st->dst_snapshot ? "snapshot" : st->dst_type == DMU_OST_ZVOL ? "volume" : "filesystem";
    else if (strcmp(n->n_name, "mounted") == 0)
        text = daemon_is_mounted(env, st->dst_name) ? "yes" : "no";
    else if (strcmp(n->n_name, "defer_destroy") == 0)
        text = st->dst_defer_destroy ? "on" : "off";
    else if (strcmp(n->n_name, "origin") == 0 && st->dst_origin[0] != '\0')
        text = st->dst_origin;
    else if (strcmp(n->n_name, "receive_resume_token") == 0 && st->dst_partial &&
             dsl_resume_token(dp, st->dst_name, token) == 0)
        text = token;
    snprintf(v->v_text, sizeof(v->v_text), "%.*s", (int)sizeof(v->v_text) - 1, text);
}

static void
native_value(cmd_env_t *env, dsl_pool_t *dp, const native_t *n, const dsl_stats_t *st, bool exact, value_t *v)
{
    char buf[64];
    strcpy(v->v_source, "-");
    if (!(n->n_shown & kind_of(st)))
        strcpy(v->v_text, "-");
    else if (n->n_offset == SPECIAL)
        native_special(env, dp, n, st, v);
    else if (n->n_form == RATIO)
        snprintf(v->v_text, sizeof(v->v_text), "%" PRIu64 ".%02" PRIu64 "%s", native_u64(n, st) / 100, native_u64(n, st) % 100,
                 exact ? "" : "x");
    else if (n->n_form == TIME && !exact)
        nicetime(native_u64(n, st), v->v_text, sizeof(v->v_text));
    else if (n->n_form == BYTES && !exact)
        snprintf(v->v_text, sizeof(v->v_text), "%s", nicebytes(native_u64(n, st), buf));
    else
        snprintf(v->v_text, sizeof(v->v_text), "%" PRIu64, native_u64(n, st));
}

/* ---- properties that are stored ---- */

static void
source_text(dsl_prop_source_t src, const char *setpoint, value_t *v)
{
    static const char *const words[] = {
        [PROP_SRC_DEFAULT] = "default", [PROP_SRC_LOCAL] = "local", [PROP_SRC_RECEIVED] = "received", [PROP_SRC_NONE] = "-"};
    if (src == PROP_SRC_INHERITED)
        snprintf(v->v_source, sizeof(v->v_source), "inherited from %s", setpoint);
    else
        snprintf(v->v_source, sizeof(v->v_source), "%s", words[src]);
}

static bool
prop_is_bytes(const dsl_prop_desc_t *d)
{
    static const char *const names[] = {"recordsize", "quota", "refquota", "reservation", "refreservation", "volsize", "volblocksize"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(d->pd_name, names[i]) == 0)
            return true;
    }
    return false;
}

/* Sizes as people or scripts want them; the others are text already. */
static void
format_stored(const dsl_prop_desc_t *d, bool exact, char *text, size_t size)
{
    char buf[16];
    uint64_t n;
    if (d == NULL || !prop_is_bytes(d) || !parse_size(text, &n))
        return;
    if (exact)
        snprintf(text, size, "%" PRIu64, n);
    else
        snprintf(text, size, "%s", n == 0 && strcmp(d->pd_name, "recordsize") != 0 ? "none" : nicebytes(n, buf));
}

static int
stored_value(dsl_pool_t *dp, const dsl_stats_t *st, const char *prop, bool exact, value_t *v)
{
    char setpoint[NAMELEN] = "";
    dsl_prop_source_t src;
    const dsl_prop_desc_t *d = dsl_prop_lookup(prop);
    if (d == NULL && strchr(prop, ':') == NULL)
        return ENOENT;
    if (dsl_prop_get_received(dp, st->dst_name, prop, v->v_received, sizeof(v->v_received)) == 0)
        format_stored(d, exact, v->v_received, sizeof(v->v_received));
    else
        strcpy(v->v_received, "-");
    int err = dsl_prop_get(dp, st->dst_name, prop, v->v_text, sizeof(v->v_text), &src, setpoint);
    if (err != 0) {
        strcpy(v->v_text, "-");
        strcpy(v->v_source, "-");
        return 0;
    }
    source_text(src, setpoint, v);
    format_stored(d, exact, v->v_text, sizeof(v->v_text));
    return 0;
}

static const char *
canonical(const char *prop)
{
    for (size_t i = 0; i < ARRAY_SIZE(prop_aliases); i++) {
        if (strcmp(prop, prop_aliases[i][0]) == 0)
            return prop_aliases[i][1];
    }
    return prop;
}

/* A snapshot of a file system shows few of the stored properties. */
static bool
stored_shown(const dsl_prop_desc_t *d, shown_t kind)
{
    static const char *const snaps[] = {"devices", "exec", "setuid", "xattr", "version", "utf8only", "normalization",
                                        "casesensitivity", "acltype", "volsize"};
    static const char *const vols[] = {"volsize", "volblocksize", "compression", "checksum", "copies", "readonly", "primarycache", "secondarycache",
                                       "sync", "logbias", "reservation", "refreservation"};
    const char *const *list = kind == SNAP ? snaps : vols;
    size_t n = kind == SNAP ? ARRAY_SIZE(snaps) : ARRAY_SIZE(vols);
    if (kind == FS || kind == BOOK)
        return kind == FS && strncmp(d->pd_name, "vol", 3) != 0;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i], d->pd_name) == 0)
            return true;
    }
    return false;
}

/* "written@SNAP", "written@FS@SNAP", "written#MARK" */
static bool
is_written_since(const char *prop)
{
    return strncmp(prop, "written", 7) == 0 && (prop[7] == '@' || prop[7] == '#') && prop[8] != '\0';
}

static void
written_since(dsl_pool_t *dp, const dsl_stats_t *st, const char *prop, bool exact, value_t *v)
{
    char from[NAMELEN], buf[16];
    const char *since = prop + 7;
    uint64_t bytes;
    if (strpbrk(since + 1, "@#") != NULL)
        snprintf(from, sizeof(from), "%s", since + 1);
    else
        snprintf(from, sizeof(from), "%.*s%s", (int)strcspn(st->dst_name, "@#"), st->dst_name, since);
    strcpy(v->v_source, "-");
    strcpy(v->v_text, "-");
    if (st->dst_bookmark || dsl_space_written(dp, from, st->dst_name, &bytes) != 0)
        return;
    if (exact)
        snprintf(v->v_text, sizeof(v->v_text), "%" PRIu64, bytes);
    else
        snprintf(v->v_text, sizeof(v->v_text), "%s", nicebytes(bytes, buf));
}

int
value_get(cmd_env_t *env, dsl_pool_t *dp, const dsl_stats_t *st, const char *prop, bool exact, value_t *v)
{
    const native_t *n = native_find(prop);
    strcpy(v->v_received, "-");
    if (is_written_since(prop)) {
        written_since(dp, st, prop, exact, v);
        return 0;
    }
    if (n != NULL) {
        native_value(env, dp, n, st, exact, v);
        return 0;
    }
    prop = canonical(prop);
    const dsl_prop_desc_t *d = dsl_prop_lookup(prop);
    if (st->dst_bookmark || (d != NULL && !stored_shown(d, kind_of(st)))) {
        strcpy(v->v_text, "-");
        strcpy(v->v_source, "-");
        return 0;
    }
    return stored_value(dp, st, prop, exact, v);
}

bool
value_known(const char *prop)
{
    return native_find(prop) != NULL || strchr(prop, ':') != NULL || dsl_prop_lookup(canonical(prop)) != NULL ||
           is_written_since(prop);
}

bool
value_is_numeric(const char *prop)
{
    if (is_written_since(prop))
        return true;
    const native_t *n = native_find(prop);
    if (n != NULL)
        return n->n_form != TEXT;
    const dsl_prop_desc_t *d = dsl_prop_lookup(canonical(prop));
    return d != NULL && d->pd_type == PROP_NUMBER;
}

static bool
native_in_all(const native_t *n, const dsl_stats_t *st)
{
    if (!n->n_in_all || !(n->n_shown & kind_of(st)))
        return false;
    if (strcmp(n->n_name, "receive_resume_token") == 0)
        return st->dst_partial;
    if (strcmp(n->n_name, "redact_snaps") == 0)
        return st->dst_redacted;
    return strcmp(n->n_name, "origin") != 0 || st->dst_origin[0] != '\0';
}

/* The table of properties has zfs's order; read-only ones that it lacks come after it. */
const char *
value_next(const dsl_stats_t *st, int *cursor)
{
    int i = 0;
    for (const dsl_prop_desc_t *d = dsl_prop_next(NULL); d != NULL; d = dsl_prop_next(d), i++) {
        const native_t *n = native_find(d->pd_name);
        if (i >= *cursor && (n != NULL ? native_in_all(n, st) : stored_shown(d, kind_of(st)))) {
            *cursor = i + 1;
            return d->pd_name;
        }
    }
    for (size_t k = 0; k < ARRAY_SIZE(natives); k++, i++) {
        if (i >= *cursor && native_in_all(&natives[k], st) && dsl_prop_lookup(natives[k].n_name) == NULL) {
            *cursor = i + 1;
            return natives[k].n_name;
        }
    }
    return NULL;
}
