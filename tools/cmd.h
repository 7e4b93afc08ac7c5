/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd.h - what the commands share. A command is one function over a cmd_env_t; it never touches stdout, the working
 * directory or exit(), because the daemon runs the very same function for its clients, many at a time.
 *
 *   main.c      finds the command            env.c    finds the pool: a daemon (then the command line travels there),
 *   opt.c       options, reentrant                    the list of known pools, -f FILE or COWBIRD_POOL
 *   text.c      sizes, times, sentences      known.c  the list of known pools, the runtime directory
 *   values.c    one property of one dataset  daemon.c mount, unmount, export: the process that keeps a pool open
 *
 * Exit codes: 0 done, 1 failed, 2 wrong usage.
 */
#ifndef COWBIRD_CMD_H
#define COWBIRD_CMD_H

#include <stdio.h>
#include "dsl.h"

#define NAMELEN ZFS_MAX_DATASET_NAME_LEN

typedef struct daemon_state daemon_state_t;

typedef struct cmd_env {
    FILE *out, *err;
    int fd_in, fd_out; /* raw, for streams */
    int fd_err;
    const char *cwd;   /* the caller's, for relative paths */
    const volatile int *cancel;
    int argc;          /* the whole command line, for forwarding */
    char **argv;
    const char *file;  /* -f FILE, or COWBIRD_POOL */
    const char *verb;  /* "cowbird", "zfs" or "zpool": begins messages */
    const char *line;  /* the command as it was given, for the pool's history */
    bool writes;       /* a pool was asked for to be changed */
    daemon_state_t *daemon; /* we are in it; else NULL */
    dsl_pool_t *pool;  /* open in this process */
} cmd_env_t;

typedef struct cmd {
    const char *c_name;
    const char *c_args; /* one line per form, for usage */
    const char *c_help; /* a paragraph or more */
    int (*c_run)(cmd_env_t *env, int argc, char **argv); /* argv[0] is the command's name */
} cmd_t;
extern const cmd_t dataset_commands[], pool_commands[]; /* end with c_name NULL */
int cmd_dispatch(cmd_env_t *env, int argc, char **argv);
void cmd_usage(cmd_env_t *env, const cmd_t *c, FILE *f);

/* ---- opt.c ---- */
typedef struct opt {
    int o_argc;
    char **o_argv;
    int o_ind;         /* after the last option: the first operand */
    const char *o_arg;
    const char *o_pos; /* inside a bundle */
    char o_bad;
} opt_t;
/* spec as in getopt(3). Returns the letter, -1 at the end, '?' for an unknown one or a missing argument (o_bad). */
int opt_next(opt_t *o, const char *spec);
/* Complains about a bad option or operand count and shows the usage; returns 2. */
int usage_error(cmd_env_t *env, const char *command, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int opt_bad(cmd_env_t *env, const char *command, const opt_t *o);

/* ---- env.c ---- */
#define ENV_RDONLY 1
/*
 * The pool of a dataset or pool name, open in this process. A client that finds a daemon for it hands over the
 * whole command line and ends there: this call then does not return. 0, or 1 after a message.
 */
int env_pool(cmd_env_t *env, const char *name, int flags, dsl_pool_t **dpp);
/* The same without a name (list): calls fn once for each pool that can be had, in order of names. A pool that a daemon
 * serves gets the command line instead: there it concerns that one pool. */
int env_each_pool(cmd_env_t *env, int flags, int (*fn)(cmd_env_t *env, dsl_pool_t *dp, void *arg), void *arg);
/* The pools that can be had. 1 after a message. */
int env_each_name(cmd_env_t *env, int (*fn)(void *arg, const char *pool), void *arg);
/* Run a command line in the pool's daemon, with its output to fd. ENOENT, ECONNREFUSED: there is none. */
int env_call(cmd_env_t *env, const char *pool, int argc, char **argv, int fd, int *code);
int check_name(const char *name, const char **reason); /* as dsl_name_check, bookmarks too */
void env_close(cmd_env_t *env); /* client: closes the pool opened here, reporting its error; */
bool env_canceled(const cmd_env_t *env);
/* An absolute path from one the caller gave. Freed by the caller. */
char *env_path(const cmd_env_t *env, const char *path);

/* ---- known.c ---- */
int known_rundir(char *path, size_t n);                              /* made 0700 when missing */
int known_socket(const char *pool, char *path, size_t n);
void known_add(const char *pool, const char *file);                  /* best effort */
void known_remove(const char *pool);
int known_find(const char *pool, char *file, size_t n);              /* ENOENT */
int known_each(int (*fn)(void *arg, const char *pool, const char *file), void *arg);
/* Files of pools that daemons serve: "POOL.file" in the runtime directory. */
void known_daemon_set(const char *pool, const char *file);
void known_daemon_clear(const char *pool);
int known_daemon_find(const char *file, char *pool, size_t n);       /* by the file's real path; ENOENT */
int known_each_daemon(int (*fn)(void *arg, const char *pool), void *arg);

/* ---- text.c ---- */
/* "cannot create 'tank/a': dataset already exists"; returns 1. The errno's words are zfs(8)'s. */
int fail(cmd_env_t *env, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int failx(cmd_env_t *env, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *zfs_strerror(int err);
/* 3 significant digits and a unit, as zfs list prints them ("0B", "512B", "1.50K", "24.3M"). buf of 16. */
char *nicebytes(uint64_t v, char *buf);
/* "10G", "1.5T", "131072"; false when malformed or too large. */
bool parse_size(const char *text, uint64_t *v);
char *nicetime(uint64_t seconds, char *buf, size_t n); /* "Sun Nov 22 10:46 2026" */
/* A table with columns as wide as needed: tabs and no header with script. */
typedef struct table table_t;
table_t *table_new(int columns, bool script);
void table_head(table_t *t, int col, const char *title, bool right);
void table_cell(table_t *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void table_print(table_t *t, FILE *f); /* and free */
/* A property's title: its short form in the table (ends with NULLs), else its name in capitals, in buf of TITLE_MAX. */
#define TITLE_MAX 64
typedef struct title {
    const char *ti_prop, *ti_title;
} title_t;
const char *column_title(const title_t *titles, const char *prop, char *buf);

/* ---- progress.c ---- bytes, rate and ETA on a terminal, silence in a pipe; or, when asked for, a line a second anywhere ---- */
typedef struct progress progress_t;
progress_t *progress_start(cmd_env_t *env, const char *what, const uint64_t *done, uint64_t total); /* total 0: unknown */
/* TIME, SENT, SNAPSHOT, as send -v prints them; script: exact bytes. progress_name: from here on it is about this snapshot. */
progress_t *progress_lines(cmd_env_t *env, const uint64_t *done, const char *name, bool script);
void progress_name(progress_t *p, const char *name); /* p may be NULL, here and below */
void progress_total(progress_t *p, uint64_t total);
void progress_stop(progress_t *p);

/* ---- values.c ---- */
typedef struct value {
    char v_text[1100];
    char v_source[NAMELEN + 20]; /* "-", "default", "local", "received", "inherited from tank" */
    char v_received[1100];       /* "-": none */
} value_t;
/* One property of a dataset whose stats are at hand. exact: as -p. ENOENT: no such property; the text is "-" where it has no meaning. */
int value_get(cmd_env_t *env, dsl_pool_t *dp, const dsl_stats_t *st, const char *prop, bool exact, value_t *v);
bool value_is_numeric(const char *prop); /* sorts by number, aligns right */
/* The properties `get all` shows for this dataset, in order; NULL ends. */
const char *value_next(const dsl_stats_t *st, int *cursor);

bool value_known(const char *prop); /* can value_get() know it, whatever the dataset? */

/* ---- select.c ---- */
enum { T_FS = 1, T_SNAP = 2, T_VOL = 4, T_BOOKMARK = 8, T_ALL = 15 };
#define DEPTH_ALL (-1)
typedef struct select {
    int se_depth;      /* below each operand; DEPTH_ALL */
    int se_types;
    bool se_typed;     /* -t was given */
    bool se_recursive; /* -r or -d was given */
} select_t;
typedef struct selection {
    cmd_env_t *na_env;
    dsl_pool_t *na_dp;
    dsl_stats_t *na_stats; /* to be freed */
    size_t na_count, na_room;
    const select_t *na_select;
} selection_t;
int select_types(cmd_env_t *env, const char *arg, select_t *se, const char *command);
int select_depth(cmd_env_t *env, const char *arg, select_t *se, const char *command); /* arg NULL: -r */
int select_run(selection_t *na, int n, char **operands); /* n 0: the whole pool. 1 after a message; the others are there */
int dataset_compare(const char *a, uint64_t a_txg, const char *b, uint64_t b_txg);

/* ---- cmd_list.c ---- */
#define MAX_COLUMNS 32
#define MAX_KEYS    8
bool column_known(const char *prop);
int parse_columns(cmd_env_t *env, const char *command, char *text, char **columns, int *n);

/* ---- rows.c ---- */
#define ROW_FIELDS (2 + MAX_KEYS + MAX_COLUMNS)
typedef struct row_spec {
    int rs_keys, rs_cells;
    bool rs_numeric[MAX_KEYS], rs_down[MAX_KEYS];
} row_spec_t;
void row_write(FILE *f, const char *const *fields, int n);
size_t rows_to_table(char *text, const row_spec_t *rs, table_t *t); /* lines of row_write, sorted; their number */
typedef struct gather {
    char **ga_argv; /* of the command, ga_argv[0] its name: lines are wanted; NULL: what it prints, as it is */
    int ga_noperands;
    int (*ga_fn)(cmd_env_t *env, dsl_pool_t *dp, int n, char **operands, FILE *rows, void *arg);
    void *ga_arg;
    FILE *ga_rows;
} gather_t;
int rows_gather(cmd_env_t *env, gather_t *ga, int n, char **operands); /* n 0: all pools */

/* ---- daemon.c ---- */
int cmd_mount(cmd_env_t *env, int argc, char **argv);
int cmd_unmount(cmd_env_t *env, int argc, char **argv);
int cmd_pool_export(cmd_env_t *env, int argc, char **argv);
/* Before a dataset is destroyed or received into; and after anything changed. No-ops without a daemon. */
int daemon_release(cmd_env_t *env, const char *dataset);
void daemon_refresh(cmd_env_t *env);
void daemon_renamed(cmd_env_t *env, const char *from, const char *to); /* after a rename: then daemon_refresh() */
void daemon_flush(cmd_env_t *env); /* what the kernel still has to write back comes into the pool: before a snapshot */
bool daemon_is_mounted(cmd_env_t *env, const char *dataset);
bool daemon_mounted_at(cmd_env_t *env, const char *dataset, char *dir, size_t n);

/* ---- the commands ---- */
int cmd_create(cmd_env_t *env, int argc, char **argv);
int cmd_destroy(cmd_env_t *env, int argc, char **argv);
int cmd_bookmark(cmd_env_t *env, int argc, char **argv);
int destroy_bookmark(cmd_env_t *env, const char *mark, bool dryrun, bool verbose, bool script);
int cmd_snapshot(cmd_env_t *env, int argc, char **argv);
int cmd_clone(cmd_env_t *env, int argc, char **argv);
int cmd_list(cmd_env_t *env, int argc, char **argv);
int cmd_get(cmd_env_t *env, int argc, char **argv);
int cmd_set(cmd_env_t *env, int argc, char **argv);
int cmd_inherit(cmd_env_t *env, int argc, char **argv);
int cmd_promote(cmd_env_t *env, int argc, char **argv);
int cmd_rename(cmd_env_t *env, int argc, char **argv);
int cmd_rollback(cmd_env_t *env, int argc, char **argv);
int cmd_hold(cmd_env_t *env, int argc, char **argv);
int cmd_holds(cmd_env_t *env, int argc, char **argv);
int cmd_release(cmd_env_t *env, int argc, char **argv);
int cmd_diff(cmd_env_t *env, int argc, char **argv);
int cmd_send(cmd_env_t *env, int argc, char **argv);
int cmd_receive(cmd_env_t *env, int argc, char **argv);
int cmd_look(cmd_env_t *env, int argc, char **argv);
int cmd_pool_create(cmd_env_t *env, int argc, char **argv);
int cmd_pool_list(cmd_env_t *env, int argc, char **argv);
int cmd_pool_status(cmd_env_t *env, int argc, char **argv);
int cmd_pool_import(cmd_env_t *env, int argc, char **argv);
int cmd_pool_scrub(cmd_env_t *env, int argc, char **argv);
int cmd_pool_get(cmd_env_t *env, int argc, char **argv);
int cmd_pool_destroy(cmd_env_t *env, int argc, char **argv);
int cmd_pool_history(cmd_env_t *env, int argc, char **argv);
/* fn for each operand's pool, or for all pools. */
int pool_each_operand(cmd_env_t *env, int n, char **operands, int (*fn)(cmd_env_t *env, dsl_pool_t *dp, void *arg), void *arg);

/* ---- cmd_history.c ---- */
char *history_line(const cmd_env_t *env);                           /* to be freed */
void history_command(cmd_env_t *env, int argc, char **argv);        /* it has succeeded: does the history want it? */

/* As destroy does (clones: with -R): snapshots, all or none, in use or not. 0, or 1 after a message. */
int destroy_names(cmd_env_t *env, dsl_pool_t *dp, char *const *snaps, int n, bool clones);
/* "-o name=value" options: checked, then added to props. 0, or 1 after a message. */
int add_property(cmd_env_t *env, nvlist_t *props, const char *assignment);
int collect_depth(dsl_pool_t *dp, const char *fs, int depth, bool snaps, int (*fn)(void *arg, const char *name), void *arg);

#endif
