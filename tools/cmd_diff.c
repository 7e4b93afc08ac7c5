/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_diff.c - diff: what happened to files since a snapshot, in the lines of zfs(8):
 *
 *     [time TAB] + - M R TAB [type TAB] path [ -> new path | TAB (+1) ]
 */
#include <inttypes.h>
#include "cmd.h"
#include "zpl.h"

typedef struct diff_args {
    cmd_env_t *df_env;
    bool df_types, df_script, df_times, df_raw; /* -F -H -t -h */
    char df_dir[1200];                          /* where the file system is, or would be */
} diff_args_t;

static char
type_letter(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFBLK:
        return 'B';
    case S_IFCHR:
        return 'C';
    case S_IFDIR:
        return '/';
    case S_IFIFO:
        return '|';
    case S_IFLNK:
        return '@';
    case S_IFSOCK:
        return '=';
    case S_IFREG:
        return 'F';
    default:
        return '?';
    }
}

/* Bytes that would break a line or a terminal as "\0ooo", unless -h. */
static void
print_text(const diff_args_t *df, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        if (df->df_raw || (*p > ' ' && *p != '\\' && *p < 0177))
            fputc(*p, df->df_env->out);
        else
            fprintf(df->df_env->out, "\\%04o", *p);
    }
}

static void
print_path(const diff_args_t *df, const char *path)
{
    print_text(df, df->df_dir);
    fputc('/', df->df_env->out);
    print_text(df, path);
}

static int
print_diff(void *arg, const zpl_diff_t *zd)
{
    const diff_args_t *df = arg;
    FILE *f = df->df_env->out;
    if (df->df_times)
        fprintf(f, "%10" PRId64 ".%09ld\t", (int64_t)zd->zd_ctime.tv_sec, zd->zd_ctime.tv_nsec);
    fprintf(f, "%c\t", zd->zd_what);
    if (df->df_types)
        fprintf(f, "%c\t", type_letter(zd->zd_mode));
    print_path(df, zd->zd_path);
    if (zd->zd_newpath != NULL) {
        fputs(df->df_script ? "\t" : " -> ", f);
        print_path(df, zd->zd_newpath);
    }
    if (zd->zd_links != 0)
        fprintf(f, "\t(%+" PRId64 ")", zd->zd_links);
    fputc('\n', f);
    return env_canceled(df->df_env) ? EINTR : 0;
}

/* The directory it is mounted on; else the one its property says. */
static void
find_directory(diff_args_t *df, dsl_pool_t *dp, const char *fs)
{
    char mp[1100];
    if (daemon_mounted_at(df->df_env, fs, df->df_dir, sizeof(df->df_dir)))
        return;
    if (dsl_prop_get(dp, fs, "mountpoint", mp, sizeof(mp), NULL, NULL) == 0 && mp[0] == '/')
        snprintf(df->df_dir, sizeof(df->df_dir), "%s", strcmp(mp, "/") == 0 ? "" : mp);
    else
        snprintf(df->df_dir, sizeof(df->df_dir), "/%s", fs);
}

/* "@b" after "fs@a" is "fs@b"; nothing is "fs". */
static int
diff_run(diff_args_t *df, const char *from, const char *second)
{
    cmd_env_t *env = df->df_env;
    dsl_pool_t *dp, *other;
    char fs[NAMELEN], to[NAMELEN + NAMELEN];
    const char *at = strchr(from, '@');
    if (at == NULL)
        return failx(env, "cannot diff '%s': the first name must be a snapshot's (FILESYSTEM@SNAP)", from);
    if (env_pool(env, from, ENV_RDONLY, &dp) != 0)
        return 1;
    snprintf(fs, sizeof(fs), "%.*s", (int)(at - from), from);
    snprintf(to, sizeof(to), "%s%s", second == NULL || second[0] == '@' ? fs : "", second == NULL ? "" : second);
    if (env_pool(env, to, ENV_RDONLY, &other) != 0)
        return 1;
    dsl_stats_t st;
    int err = dsl_dataset_stats(dp, from, &st);
    if (err != 0)
        return fail(env, err, "cannot open '%s'", from);
    if ((err = dsl_dataset_stats(dp, to, &st)) != 0)
        return fail(env, err, "cannot open '%s'", to);
    snprintf(fs, sizeof(fs), "%.*s", (int)strcspn(to, "@"), to);
    find_directory(df, dp, fs);
    daemon_flush(env);
    err = zpl_diff(dp, from, to, print_diff, df);
    if (err == EINVAL)
        return failx(env, "unable to generate diffs: '%s' is not a file system", fs);
    return err == 0 ? 0 : fail(env, err, "unable to generate diffs");
}

int
cmd_diff(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    diff_args_t df = {.df_env = env};
    int c;
    while ((c = opt_next(&o, "FHth")) != -1) {
        if (c == '?')
            return opt_bad(env, "diff", &o);
        df.df_types |= c == 'F';
        df.df_script |= c == 'H';
        df.df_times |= c == 't';
        df.df_raw |= c == 'h';
    }
    int n = argc - o.o_ind;
    if (n < 1 || n > 2)
        return usage_error(env, "diff", n < 1 ? "must provide at least one snapshot name" : "too many arguments");
    return diff_run(&df, argv[o.o_ind], n == 2 ? argv[o.o_ind + 1] : NULL);
}
