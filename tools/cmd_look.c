/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_look.c - cowbird stream: ls, cat, extract, dump and verify of stored streams. None of them needs a pool.
 *
 *   dump, verify        read the records and nothing else
 *   ls, cat, extract    receive into a scratch pool and read files there
 */
#include <fcntl.h>
#include <unistd.h>
#include "look.h"

int
look_open(cmd_env_t *env, const char *file)
{
    if (strcmp(file, "-") == 0) {
        if (isatty(env->fd_in)) {
            failx(env, "Error: The send stream is a binary format and can not be read from a\nterminal.  "
                       "Standard input must be "
                       "redirected, or a file must be\nspecified as a command-line argument.");
            return -1;
        }
        return fcntl(env->fd_in, F_DUPFD_CLOEXEC, 3);
    }
    char *path = env_path(env, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    free(path);
    if (fd < 0)
        failx(env, "Error while opening file '%s': %s", file, strerror(errno));
    return fd;
}

static int
stream_dump(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    int c, flags = 0, code = 0;
    while ((c = opt_next(&o, "vdC")) != -1) {
        if (c == '?')
            return opt_bad(env, "stream", &o);
        flags |= c == 'v' ? DUMP_RECORDS : c == 'd' ? DUMP_HEX : DUMP_NOSUM;
    }
    if (o.o_ind == argc)
        return look_dump(env, "-", flags);
    for (int i = o.o_ind; i < argc; i++)
        code |= look_dump(env, argv[i], flags);
    return code;
}

static int
stream_verify(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    bool verbose = false;
    int c, code = 0;
    while ((c = opt_next(&o, "v")) != -1) {
        if (c == '?')
            return opt_bad(env, "stream", &o);
        verbose = true;
    }
    if (o.o_ind == argc)
        return look_verify(env, "-", verbose);
    for (int i = o.o_ind; i < argc; i++)
        code |= look_verify(env, argv[i], verbose);
    return code;
}

/* ---- files ---- */

typedef struct look_opts {
    const char *lo_snap, *lo_dir;
    int lo_flags;
} look_opts_t;

typedef int (*look_fn_t)(cmd_env_t *env, look_tree_t *tr, const look_opts_t *lo, char **paths, int n);

static int
look_files(cmd_env_t *env, const char *files, const look_opts_t *lo, look_fn_t fn, char **paths, int n)
{
    scratch_t *sc;
    look_tree_t *tr;
    const char *snap = lo->lo_snap != NULL && lo->lo_snap[0] == '@' ? lo->lo_snap + 1 : lo->lo_snap;
    if (scratch_open(env, "stream", files, &sc) != 0)
        return 1;
    int code, err = tree_open(scratch_pool(sc), scratch_top(sc), snap, &tr);
    if (err == ENOENT && snap != NULL)
        code = failx(env, "%s: there is no snapshot '%s' in the stream", files, snap);
    else if (err != 0)
        code = failx(env, "%s: its files cannot be shown: %s", files, cowbird_strerror(err));
    else
        code = fn(env, tr, lo, paths, n);
    if (err == 0)
        tree_close(tr);
    scratch_close(sc);
    return code;
}

static int
run_ls(cmd_env_t *env, look_tree_t *tr, const look_opts_t *lo, char **paths, int n)
{
    int code = 0;
    for (int i = 0; i < MAX(n, 1); i++)
        code |= look_ls(env, tr, n > 0 ? paths[i] : "", lo->lo_flags);
    return code;
}

static int
run_cat(cmd_env_t *env, look_tree_t *tr, const look_opts_t *lo, char **paths, int n)
{
    int code = 0;
    for (int i = 0; i < MAX(n, 1); i++) /* without a path: a volume */
        code |= look_cat(env, tr, n > 0 ? paths[i] : "");
    return code;
}

static int
run_extract(cmd_env_t *env, look_tree_t *tr, const look_opts_t *lo, char **paths, int n)
{
    return look_extract(env, tr, lo->lo_dir != NULL ? lo->lo_dir : ".", paths, n);
}

/* The options of all three; spec says which of them there are. */
static int
stream_files(cmd_env_t *env, int argc, char **argv, const char *spec, look_fn_t fn)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    look_opts_t lo = {.lo_flags = 0};
    int c;
    while ((c = opt_next(&o, spec)) != -1) {
        if (c == 's')
            lo.lo_snap = o.o_arg;
        else if (c == 'C')
            lo.lo_dir = o.o_arg;
        else if (c == 'l' || c == 'R')
            lo.lo_flags |= c == 'l' ? LS_LONG : LS_RECURSIVE;
        else
            return opt_bad(env, "stream", &o);
    }
    if (o.o_ind == argc)
        return usage_error(env, "stream", "a file with a stream is needed (- is standard input)");
    return look_files(env, argv[o.o_ind], &lo, fn, argv + o.o_ind + 1, argc - o.o_ind - 1);
}

static int
stream_ls(cmd_env_t *env, int argc, char **argv)
{
    return stream_files(env, argc, argv, "lRs:", run_ls);
}

static int
stream_cat(cmd_env_t *env, int argc, char **argv)
{
    return stream_files(env, argc, argv, "s:", run_cat);
}

static int
stream_extract(cmd_env_t *env, int argc, char **argv)
{
    return stream_files(env, argc, argv, "C:s:", run_extract);
}

int
cmd_look(cmd_env_t *env, int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(cmd_env_t *env, int argc, char **argv);
    } what[] = {{"ls", stream_ls},
                {"cat", stream_cat},
                {"extract", stream_extract},
                {"dump", stream_dump},
                {"verify", stream_verify}};
    if (argc < 2)
        return usage_error(env, "stream", "what is to be done with the stream?");
    for (size_t i = 0; i < ARRAY_SIZE(what); i++) {
        if (strcmp(argv[1], what[i].name) == 0)
            return what[i].run(env, argc - 1, argv + 1);
    }
    return usage_error(env, "stream", "'%s' is not known", argv[1]);
}
