/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * main.c - one program under three names. "cowbird CMD" and "zfs CMD" run a dataset command, "cowbird pool CMD" and
 * "zpool CMD" a pool command. The same dispatch serves the daemon's clients.
 */
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <unistd.h>
#include "cmd.h"

const cmd_t dataset_commands[] = {
    {"create", "[-pnuvP] [-o PROPERTY=VALUE]... FILESYSTEM\n[-pnuvPs] [-b BLOCKSIZE] [-o PROPERTY=VALUE]... -V SIZE VOLUME",
     "Makes a new, empty file system, which appears as a directory of its parent's mount at once; or a volume, which appears as a\n"
     "file of its size, with the space for it set aside (-s: not). -o version=4 for receivers that know no version 5 (zfs-fuse).\n"
     "  -p  also make the parents that are missing    -n  only check    -v  say what is made",
     cmd_create},
    {"destroy", "[-fnpRrv] FILESYSTEM\n[-dnpRrv] FILESYSTEM@SNAP[%SNAP][,...]\nFILESYSTEM#BOOKMARK",
     "Removes a file system without snapshots or children, or snapshots: a list (a,b), a range (a%c: from a to c); or a bookmark.\n"
     "  -r  children and snapshots too    -R  clones too    -n  only say what would go    -v  say what goes and how\n"
     "much space comes back    -p  for scripts    -d  snapshots that have clones or holds go with the last of these",
     cmd_destroy},
    {"list", "[-r|-d DEPTH] [-Hp] [-o PROPERTY,...] [-s PROPERTY]... [-S PROPERTY]... [-t TYPE,...] [DATASET]...",
     "Shows datasets, a line each. TYPE is filesystem, snapshot, volume, bookmark or all.\n"
     "  -H  for scripts: no header, single tabs    -p  exact numbers    -s/-S  sort up/down",
     cmd_list},
    {"snapshot", "[-r] [-o PROPERTY=VALUE]... FILESYSTEM@SNAP...",
     "Keeps the present state of file systems under a name. All snapshots of one command are of the same moment.\n"
     "It costs one small transaction, whatever the size.    -r  of all file systems below too",
     cmd_snapshot},
    {"bookmark", "SNAPSHOT|BOOKMARK FILESYSTEM#BOOKMARK",
     "Remembers when a snapshot was made. It needs no space, and `send -i` can start from it when the snapshot is gone.",
     cmd_bookmark},
    {"clone", "[-p] [-o PROPERTY=VALUE]... SNAPSHOT FILESYSTEM",
     "Makes a file system that starts as a snapshot's state and shares its blocks.", cmd_clone},
    {"promote", "CLONE",
     "Turns a clone around: it takes over its origin and all older snapshots, and what it came from becomes its clone.",
     cmd_promote},
    {"rename", "[-f] [-p|-u] FILESYSTEM FILESYSTEM\n[-r] SNAPSHOT SNAPSHOT",
     "Renames a file system with all below it, or a snapshot (the new name may be just @NAME).\n-p  make missing parents  "
     "-r  the snapshot of every file system below, too\n-f, -u  accepted: what is mounted stays mounted",
     cmd_rename},
    {"hold", "[-r] TAG SNAPSHOT...", "Puts a tag on snapshots: they are not destroyed until it is released.\n-r  in every file system below, too",
     cmd_hold},
    {"holds", "[-rHp] SNAPSHOT...", "Shows the tags on snapshots and since when.\n-r  those below, too  -H  for scripts  -p  seconds since 1970",
     cmd_holds},
    {"release", "[-r] TAG SNAPSHOT...", "Takes a tag away. A snapshot that was destroyed with -d goes with the last one.", cmd_release},
    {"rollback", "[-rRf] SNAPSHOT",
     "Throws away what was written since the snapshot. A mounted file system shows it at once; open files that changed are stale.\n"
     "-r  younger snapshots and bookmarks go  -R  with their clones  -f  accepted",
     cmd_rollback},
    {"send", "[-LecwnPvpbh] [-i|-I SNAPSHOT] SNAPSHOT\n-R [-LecwnPvbhs] [-i|-I SNAPSHOT] SNAPSHOT\n[-LecnPv] -t TOKEN\n-S [-nPv] FILESYSTEM",
     "Writes a snapshot as a ZFS stream to standard output; with -i only what changed since an earlier one (\"@name\" or the\n"
     "whole name; for a clone its origin, too).  -n  only estimate    -v  say what is sent    -P  for scripts\n"
     "  -L  blocks over 128K whole    -e  embedded blocks as they are    -c  compressed blocks as they are    -w  all three\n"
     "Packages of several streams:  -I  with each snapshot between    -p  with properties    -b  with received ones instead\n"
     "  -h  with holds    -R  everything below, snapshots, clones and properties    -s  pass over what has no such snapshot\n"
     "  -t  go on with a send whose receive broke off (its property receive_resume_token)    -S  send on what was partly received",
     cmd_send},
    {"receive", "[-cFhMnsuv] [-o PROPERTY=VALUE]... [-o origin=SNAPSHOT] [-x PROPERTY]... FILESYSTEM|SNAPSHOT\n"
                "[-cFhMnsuv] [-d|-e] [-o PROPERTY=VALUE]... [-o origin=SNAPSHOT] [-x PROPERTY]... FILESYSTEM\n-A FILESYSTEM",
     "Reads a stream or package from standard input and makes the snapshots it carries. A broken stream changes nothing.\n"
     "  -F  what was changed here since the latest snapshot goes; of an incremental package of a tree (send -R): snapshots and\n"
     "      file systems that are gone at the sender go here, too\n"
     "  -d/-e  take the name from the stream (but its pool / its last part)    -n  only read and check    -v  say what is done\n"
     "  -s  keep what came when the stream breaks: send -t goes on with it    -A  throw that away\n"
     "  -o  set a property, whatever the stream says    -x  leave a property of the stream out    -h  leave holds out\n"
     "  -c  mend damaged blocks of the snapshot from the stream    -u, -M  accepted: nothing is mounted or unmounted here",
     cmd_receive},
    {"recv", NULL, NULL, cmd_receive},
    {"stream",
     "ls [-lR] [-s SNAP] FILE[,FILE]... [PATH]...\ncat [-s SNAP] FILE[,FILE]... [PATH]...\n"
     "extract [-C DIR] [-s SNAP] FILE[,FILE]... [PATH]...\ndump [-vdC] [FILE]...\nverify [-v] [FILE]...",
     "Looks into stored streams without a pool of one's own. FILE,FILE,... is a full stream and its increments in order, or a\n"
     "package; - is standard input. ls, cat and extract need room in TMPDIR (/tmp) for what the stream holds.\n"
     "  ls       lists a directory    -l  modes, owners, sizes, times    -R  everything below\n"
     "  cat      prints files; of a volume's stream, the volume\n"
     "  extract  copies files to DIR: contents, modes, times, links, attributes, and for root owners and devices\n"
     "  dump     prints the records as `zstream dump` does    -v  each    -d  and its payload    -C  checksums are not looked at\n"
     "  verify   checks every record and checksum; says where the first fault is    -v  tells of each stream in the file\n"
     "  -s SNAP  the state of an earlier snapshot of the stream instead of the last",
     cmd_look},
    {"snap", NULL, NULL, cmd_snapshot},
    {"get", "[-r|-d DEPTH] [-Hp] [-o FIELD,...] [-t TYPE,...] [-s SOURCE,...] all|PROPERTY,... [DATASET]...",
     "Shows properties. FIELD is name, property, value, received, source or all; SOURCE is local, default, inherited, received, none.",
     cmd_get},
    {"set", "PROPERTY=VALUE... DATASET...", "Sets properties; children inherit most of them.", cmd_set},
    {"inherit", "[-rS] PROPERTY DATASET...",
     "Gives up a local value: the parent's counts again.    -r  below too    -S  the received value counts again, if there is one",
     cmd_inherit},
    {"diff", "[-FHth] SNAPSHOT [SNAPSHOT|FILESYSTEM]",
     "Shows which files are new (+), gone (-), changed (M) or renamed (R) since a snapshot.\n"
     "  -F  with their types    -H  for scripts: tabs    -t  with the time of the change    -h  names as they are, not escaped",
     cmd_diff},
    {"mount", "[-F] [-o OPTION,...] POOL[/FILESYSTEM][@SNAPSHOT] DIR\n[-F] [-o OPTION,...] FILE.zs[,FILE.zs]... DIR\n",
     "Shows a dataset, and those below it, as files in DIR. Starts the process that serves the pool and returns when DIR is\n"
     "usable. Snapshots are in DIR/.zfs/snapshot. OPTIONs are FUSE's (allow_other, ro, ...).  -F  stay in the foreground\n"
     "FILE.zs (or any path with / or ./ before it) is a stored stream, FILE,FILE,... a full one and its increments in order: shown\n"
     "read-only from a scratch file in TMPDIR (/tmp), which goes with the mount.\n"
     "Without arguments: shows what is mounted.",
     cmd_mount},
    {"unmount", "[-f] DIR|POOL", "Ends a mount (or all mounts of a pool); everything is on disk when it returns.  -f  even when busy",
     cmd_unmount},
    {"umount", NULL, NULL, cmd_unmount},
    {NULL, NULL, NULL, NULL},
};

const cmd_t pool_commands[] = {
    {"create", "[-fn] [-o compatibility=openzfs] [-o PROPERTY=VALUE]... [-O FSPROPERTY=VALUE]... [-s SIZE] POOL FILE",
     "Makes a pool on a file or block device. With -s the file is made (sparse) with that size.\n"
     "-o compatibility=openzfs uses only what OpenZFS knows (Fletcher-4), so that zdb, zpool and others read it; the default\n"
     "is XXH3-128, faster and stronger.  -f  even when FILE holds a pool already",
     cmd_pool_create},
    {"destroy", "[-f] POOL", "Marks the pool as destroyed and forgets it.", cmd_pool_destroy},
    {"list", "[-Hp] [-o PROPERTY,...] [POOL]...", "Shows pools and their space.", cmd_pool_list},
    {"status", "[-vx] [POOL]...", "Shows a pool's health: errors met, the last scrub, damaged files.", cmd_pool_status},
    {"get", "[-Hp] [-o FIELD,...] all|PROPERTY,... [POOL]...", "Shows pool properties.", cmd_pool_get},
    {"scrub", "[-w] POOL...",
     "Reads every copy of every block, repairs bad ones from good ones and names the files that cannot be repaired.", cmd_pool_scrub},
    {"history", "[-il] [POOL]...",
     "Shows what was done to a pool: the commands that changed something.    -i  internal events too    -l  by whom, where",
     cmd_pool_history},
    {"export", "[-f] POOL...", "Unmounts and closes a pool so that another machine or program can import it.", cmd_pool_export},
    {"import", "[-f] [-o readonly=on] [-d DIR|FILE]... [POOL [NEWNAME]]\n[-f] [-o readonly=on] FILE [NEWNAME]",
     "Finds pools in DIR (the working directory) or FILE and puts them on the list of known pools. Without POOL: shows them.",
     cmd_pool_import},
    {NULL, NULL, NULL, NULL},
};

/* Where an alias has no texts, the command it stands for has. */
static const cmd_t *
cmd_resolve(const cmd_t *table, const char *name)
{
    for (const cmd_t *c = table; c->c_name != NULL; c++) {
        if (strcmp(c->c_name, name) != 0)
            continue;
        if (c->c_args != NULL)
            return c;
        for (const cmd_t *t = table; t->c_name != NULL; t++) {
            if (t->c_run == c->c_run && t->c_args != NULL)
                return t;
        }
    }
    return NULL;
}

void
cmd_usage(cmd_env_t *env, const cmd_t *c, FILE *f)
{
    const char *prefix = c >= pool_commands && c < pool_commands + ARRAY_SIZE(pool_commands) &&
                                 strcmp(env->verb, "zpool") != 0
                             ? " pool"
                             : "";
    fprintf(f, "usage:\n");
    for (const char *line = c->c_args; line != NULL && *line != '\0';) {
        int n = (int)strcspn(line, "\n");
        fprintf(f, "\t%s%s %s %.*s\n", env->verb, prefix, c->c_name, n, line);
        line += n + (line[n] == '\n');
    }
}

static void
help_table(const cmd_t *table, const char *prefix, FILE *f)
{
    for (const cmd_t *c = table; c->c_name != NULL; c++) {
        if (c->c_help == NULL)
            continue;
        int first = (int)strcspn(c->c_help, ".:;(\n");
        fprintf(f, "  %s%-*s %.*s\n", prefix, 16 - (int)strlen(prefix), c->c_name, first, c->c_help);
    }
}

static int
help(cmd_env_t *env, FILE *f)
{
    bool zpool = strcmp(env->verb, "zpool") == 0, zfs = strcmp(env->verb, "zfs") == 0;
    fprintf(f, "usage: %s COMMAND [ARGUMENTS]        %s COMMAND --help tells more\n\n", env->verb, env->verb);
    if (!zfs && !zpool) {
        fprintf(f,
                "Cowbird keeps ZFS pools in disk files and sends and receives ZFS streams, all in one process.\n\n"
                "  cowbird pool create -s 1G tank /tmp/tank.img    make a pool\n"
                "  cowbird mount tank /mnt                         use it\n"
                "  cowbird snapshot tank@monday                    keep its state: /mnt/.zfs/snapshot/monday\n"
                "  cowbird send tank@monday > monday.zs            write it as a stream any ZFS can receive\n"
                "  cowbird unmount tank\n\n"
                "  -f FILE (before the command) names a pool by its file, without the list of known pools.\n\n");
    }
    if (!zpool)
        help_table(dataset_commands, "", f);
    if (!zfs)
        help_table(pool_commands, zpool ? "" : "pool ", f);
    return f == env->err ? 2 : 0;
}

static bool
is_help(const char *arg)
{
    return strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0 || strcmp(arg, "-?") == 0 || strcmp(arg, "help") == 0;
}

/* The caller's file, before the command. */
static int
global_options(cmd_env_t *env, int *argc, char ***argv)
{
    while (*argc > 1 && strncmp((*argv)[1], "-f", 2) == 0) {
        bool joined = (*argv)[1][2] != '\0';
        if (!joined && *argc < 3)
            return usage_error(env, "", "-f needs a file");
        env->file = joined ? (*argv)[1] + 2 : (*argv)[2];
        *argc -= joined ? 1 : 2;
        *argv += joined ? 1 : 2;
    }
    return 0;
}

/* argv[0] is the program's name: it decides which commands there are. */
int
cmd_dispatch(cmd_env_t *env, int argc, char **argv)
{
    const char *base = strrchr(argv[0], '/') != NULL ? strrchr(argv[0], '/') + 1 : argv[0];
    env->verb = strcmp(base, "zfs") == 0 ? "zfs" : strcmp(base, "zpool") == 0 ? "zpool" : "cowbird";
    env->argc = argc;
    env->argv = argv;
    int code = global_options(env, &argc, &argv);
    if (code != 0)
        return code;
    const cmd_t *table = strcmp(env->verb, "zpool") == 0 ? pool_commands : dataset_commands;
    if (argc >= 2 && strcmp(env->verb, "cowbird") == 0 && strcmp(argv[1], "pool") == 0) {
        table = pool_commands;
        argc--;
        argv++;
    }
    if (argc < 2)
        return help(env, env->err);
    if (is_help(argv[1]))
        return help(env, env->out);
    const cmd_t *c = cmd_resolve(table, argv[1]);
    if (c == NULL) {
        fprintf(env->err, "unrecognized command '%s'\n", argv[1]);
        return help(env, env->err);
    }
    if (argc >= 3 && is_help(argv[2]) && strcmp(argv[2], "-h") != 0 && strcmp(argv[2], "help") != 0) {
        cmd_usage(env, c, env->out);
        fprintf(env->out, "\n%s\n", c->c_help);
        return 0;
    }
    char *line = history_line(env);
    env->line = line;
    code = c->c_run(env, argc - 1, argv + 1);
    if (code == 0)
        history_command(env, argc - 1, argv + 1);
    env_close(env);
    free(line);
    return code;
}

static volatile int interrupted;

static void
on_signal(int sig)
{
    (void)sig;
    interrupted = 1;
}

/* Blocks come and go by the thousand. By default each large one is a mapping of its own: cleared, faulted in page by page, and
 * given back at once, which costs a send more time than reading. */
static void
keep_memory(void)
{
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 128 << 20);
#endif
}

int
main(int argc, char **argv)
{
    char cwd[PATH_MAX];
    struct sigaction sa = {.sa_handler = on_signal};
    keep_memory();
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGHUP, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (getcwd(cwd, sizeof(cwd)) == NULL)
        strcpy(cwd, "/");
    cmd_env_t env = {.out = stdout, .err = stderr, .fd_in = 0, .fd_out = 1, .fd_err = 2, .cwd = cwd, .cancel = &interrupted};
    const char *file = getenv("COWBIRD_POOL");
    env.file = file != NULL && *file != '\0' ? file : NULL;
    int code = cmd_dispatch(&env, argc, argv);
    if (fflush(stdout) != 0 && code == 0)
        code = 1;
    if (interrupted && code == 1)
        code = 130; /* as a daemon's client */
    return code;
}
