/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_look.c - cowbird stream: ls, cat, extract, dump and verify of stored streams. None of them needs a pool.
 */
#include <fcntl.h>
#include <unistd.h>
#include "look.h"

int
look_open(cmd_env_t *env, const char *file)
{
    if (strcmp(file, "-") == 0) {
        if (isatty(env->fd_in)) {
            failx(env, "Error: The send stream is a binary format and can not be read from a\nterminal.  Standard input must be "
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

int
cmd_look(cmd_env_t *env, int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(cmd_env_t *env, int argc, char **argv);
    } what[] = {{"dump", stream_dump}, {"verify", stream_verify}};
    if (argc < 2)
        return usage_error(env, "stream", "what is to be done with the stream?");
    for (size_t i = 0; i < ARRAY_SIZE(what); i++) {
        if (strcmp(argv[1], what[i].name) == 0)
            return what[i].run(env, argc - 1, argv + 1);
    }
    return usage_error(env, "stream", "'%s' is not known", argv[1]);
}
