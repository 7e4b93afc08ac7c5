/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_pool.c - pools come and go: create, import, destroy. (Export ends the daemon: daemon.c.)
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cmd.h"
#include "zpl.h"

/* ---- create ---- */

typedef struct pool_create {
    bool pc_force, pc_dryrun, pc_compat;
    uint64_t pc_size, pc_ashift;
    nvlist_t *pc_fsprops;
} pool_create_t;

static int
create_pool_option(cmd_env_t *env, const char *arg, pool_create_t *pc)
{
    if (strncmp(arg, "compatibility=", 14) == 0) {
        const char *v = arg + 14;
        pc->pc_compat = strcmp(v, "openzfs") == 0;
        return pc->pc_compat || strcmp(v, "off") == 0 ? 0 : failx(env, "bad property 'compatibility=%s': 'openzfs' or 'off'", v);
    }
    if (strncmp(arg, "ashift=", 7) == 0) {
        if (parse_size(arg + 7, &pc->pc_ashift) && pc->pc_ashift >= 9 && pc->pc_ashift <= 16)
            return 0;
        return failx(env, "bad property '%s': a number from 9 to 16 is needed", arg);
    }
    return failx(env, "property '%.*s' is not a valid pool property here (compatibility and ashift are)", (int)strcspn(arg, "="), arg);
}

/* A daemon or a command has it open. */
static bool
disk_in_use(const char *path)
{
    disk_t disk = {NULL, NULL};
    int err = disk_open(path, 0, &disk);
    disk_close(&disk);
    return err == EBUSY;
}

/* The file: made when a size is given. *made tells whether to remove it again on failure. */
static int
create_file(cmd_env_t *env, const char *path, const pool_create_t *pc, bool *made)
{
    struct stat st;
    bool exists = stat(path, &st) == 0;
    *made = false;
    if (pc->pc_size == 0)
        return exists ? 0 : failx(env, "cannot create pool: '%s' does not exist (give -s SIZE to make it)", path);
    if (exists && !S_ISREG(st.st_mode))
        return failx(env, "cannot create pool: -s is for files, and '%s' is none", path);
    if (exists && st.st_size != 0 && !pc->pc_force)
        return failx(env, "cannot create pool: '%s' exists already; use '-f' to override", path);
    if (exists && disk_in_use(path)) /* before its size changes */
        return failx(env, "cannot create pool: '%s' is in use", path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return fail(env, errno, "cannot create '%s'", path);
    *made = !exists;
    int err = ftruncate(fd, (off_t)pc->pc_size) != 0 ? errno : 0;
    close(fd);
    return err == 0 ? 0 : failx(env, "cannot create '%s': %s", path, strerror(err));
}

/* Does the disk hold a pool that is in use or could be imported? */
static bool
holds_pool(const char *path, char *name)
{
    disk_t disk;
    spa_t *spa;
    if (disk_open(path, DISK_RDONLY, &disk) != 0)
        return false;
    if (spa_open(&disk, SPA_OPEN_RDONLY, &spa) != 0) {
        disk_close(&disk);
        return false;
    }
    uint64_t state = POOL_STATE_ACTIVE;
    (void)nvlist_lookup_uint64(spa_label(spa), "state", &state);
    snprintf(name, NAMELEN, "%s", spa_name(spa));
    spa_close(spa);
    return state != POOL_STATE_DESTROYED;
}

static int
create_on(cmd_env_t *env, const char *pool, const char *path, const pool_create_t *pc)
{
    disk_t disk;
    dsl_pool_t *dp;
    int err = disk_open(path, 0, &disk);
    if (err == EOVERFLOW)
        return failx(env, "cannot create '%s': '%s' is too small: 64 MiB is the least", pool, path);
    if (err == EBUSY)
        return failx(env, "cannot create '%s': '%s' is in use", pool, path);
    if (err != 0)
        return failx(env, "cannot create '%s' on '%s': %s", pool, path, cowbird_strerror(err));
    dsl_set_objset_init(zpl_objset_init);
    dsl_pool_create_args_t args = {
        .pca_name = pool, .pca_path = path, .pca_ashift = pc->pc_ashift, .pca_compat = pc->pc_compat, .pca_fsprops = pc->pc_fsprops};
    err = dsl_pool_create(&disk, &args, &dp);
    if (err != 0) {
        disk_close(&disk);
        if (err == EOVERFLOW)
            return failx(env, "cannot create '%s': '%s' is too small: 64 MiB is the least", pool, path);
        return failx(env, "cannot create '%s': %s", pool, cowbird_strerror(err));
    }
    (void)dsl_history_log(dp, env->line);
    err = dsl_pool_close(dp);
    return err == 0 ? 0 : failx(env, "cannot create '%s': %s", pool, cowbird_strerror(err));
}

static int
create_run(cmd_env_t *env, const char *pool, const char *file, const pool_create_t *pc)
{
    const char *reason = "";
    char there[PATH_MAX], held[NAMELEN], real[PATH_MAX];
    if (dsl_name_check(pool, &reason) != 0 || strpbrk(pool, "/@#") != NULL)
        return failx(env, "cannot create '%s': invalid pool name: %s", pool, reason != NULL ? reason : "no '/' or '@'");
    if (known_find(pool, there, sizeof(there)) == 0 && access(there, F_OK) == 0 && env->file == NULL &&
        (disk_in_use(there) || (holds_pool(there, held) && strcmp(held, pool) == 0)))
        return failx(env, "cannot create '%s': pool already exists (in '%s')", pool, there);
    char *path = env_path(env, file);
    bool made = false;
    int code = 0;
    if (!pc->pc_force && holds_pool(path, held))
        code = failx(env, "cannot create '%s': '%s' holds the pool '%s'; use '-f' to override", pool, file, held);
    if (code == 0 && !pc->pc_dryrun)
        code = create_file(env, path, pc, &made);
    if (code == 0 && pc->pc_dryrun)
        fprintf(env->out, "would create '%s' with the following layout:\n\n\t%s\n\t  %s\n", pool, pool, path);
    else if (code == 0 && realpath(path, real) == NULL)
        code = failx(env, "cannot create '%s': %s", pool, strerror(errno));
    else if (code == 0)
        code = create_on(env, pool, real, pc);
    if (code == 0 && !pc->pc_dryrun && env->file == NULL)
        known_add(pool, real);
    if (code != 0 && made)
        unlink(path);
    free(path);
    return code;
}

static int
create_options(cmd_env_t *env, opt_t *o, pool_create_t *pc)
{
    int c, code = 0;
    while (code == 0 && (c = opt_next(o, "fno:O:s:m:d")) != -1) {
        switch (c) {
        case 'f':
            pc->pc_force = true;
            break;
        case 'n':
            pc->pc_dryrun = true;
            break;
        case 'd':
            break; /* features are on only where used anyway */
        case 'o':
            code = create_pool_option(env, o->o_arg, pc);
            break;
        case 'O':
            code = add_property(env, pc->pc_fsprops, o->o_arg);
            break;
        case 'm':
            nvlist_add_string(pc->pc_fsprops, "mountpoint", o->o_arg);
            break;
        case 's':
            if (!parse_size(o->o_arg, &pc->pc_size) || pc->pc_size == 0 || pc->pc_size > INT64_MAX)
                code = usage_error(env, "pool create", "'%s' is no size (as in 1G)", o->o_arg);
            break;
        default:
            code = opt_bad(env, "pool create", o);
        }
    }
    return code;
}

int
cmd_pool_create(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    pool_create_t pc = {.pc_fsprops = nvlist_alloc()};
    int code = create_options(env, &o, &pc);
    if (code == 0 && argc - o.o_ind != 2)
        code = usage_error(env, "pool create", argc - o.o_ind > 2 ? "one file or device per pool (no mirrors or raidz)" : "a pool name and a file are needed");
    if (code == 0)
        code = create_run(env, argv[o.o_ind], argv[o.o_ind + 1], &pc);
    nvlist_free(pc.pc_fsprops);
    return code;
}

/* ---- destroy ---- */

int
cmd_pool_destroy(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    dsl_pool_t *dp;
    int c;
    while ((c = opt_next(&o, "f")) != -1) {
        if (c != 'f')
            return opt_bad(env, "pool destroy", &o);
    }
    if (argc - o.o_ind != 1)
        return usage_error(env, "pool destroy", "one pool is needed");
    const char *pool = argv[o.o_ind];
    if (strpbrk(pool, "/@") != NULL)
        return failx(env, "cannot destroy '%s': not a pool", pool);
    if (env_pool(env, pool, 0, &dp) != 0)
        return 1;
    if (env->daemon != NULL)
        return failx(env, "cannot destroy '%s': pool is busy (mounted; see: cowbird unmount %s)", pool, pool);
    int err = dsl_pool_destroy(dp);
    if (err != EBUSY)
        env->pool = NULL;
    if (err != 0)
        return failx(env, "cannot destroy '%s': %s", pool, cowbird_strerror(err));
    if (env->file == NULL)
        known_remove(pool);
    return 0;
}

/* ---- import ---- */

typedef struct found {
    char fo_path[PATH_MAX], fo_name[NAMELEN];
    uint64_t fo_guid, fo_state;
} found_t;

typedef struct import_args {
    found_t *im_found;
    int im_count;
    bool im_readonly, im_force;
    const char *im_dirs[64];
    int im_ndirs;
} import_args_t;

/* Remember the pool in this file, if it holds one. */
static bool
import_probe(import_args_t *im, const char *path)
{
    disk_t disk;
    spa_t *spa;
    struct stat st;
    if (stat(path, &st) != 0 || (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) || disk_open(path, DISK_RDONLY, &disk) != 0)
        return false;
    if (spa_open(&disk, SPA_OPEN_RDONLY, &spa) != 0) {
        disk_close(&disk);
        return false;
    }
    im->im_found = xrealloc(im->im_found, ((size_t)im->im_count + 1) * sizeof(found_t));
    found_t *fo = &im->im_found[im->im_count++];
    *fo = (found_t){.fo_guid = spa_guid(spa), .fo_state = POOL_STATE_ACTIVE};
    (void)nvlist_lookup_uint64(spa_label(spa), "state", &fo->fo_state);
    snprintf(fo->fo_name, sizeof(fo->fo_name), "%s", spa_name(spa));
    if (realpath(path, fo->fo_path) == NULL)
        snprintf(fo->fo_path, sizeof(fo->fo_path), "%s", path);
    spa_close(spa);
    return true;
}

static void
import_scan(cmd_env_t *env, import_args_t *im, const char *place)
{
    char *dir = env_path(env, place);
    DIR *d = opendir(dir);
    struct dirent *de;
    if (d == NULL)
        (void)import_probe(im, dir);
    while (d != NULL && (de = readdir(d)) != NULL && !env_canceled(env)) {
        char *path = xasprintf("%s/%s", dir, de->d_name);
        if (de->d_name[0] != '.')
            (void)import_probe(im, path);
        free(path);
    }
    if (d != NULL)
        closedir(d);
    free(dir);
}

static int
import_show(cmd_env_t *env, const import_args_t *im)
{
    static const char *const states[] = {"ONLINE (not exported)", "ONLINE", "ONLINE (DESTROYED)"};
    if (im->im_count == 0)
        return failx(env, "no pools available to import");
    for (int i = 0; i < im->im_count; i++) {
        const found_t *fo = &im->im_found[i];
        fprintf(env->out, "   pool: %s\n     id: %" PRIu64 "\n  state: %s\n config:\n\n\t%s\n\t  %s\n\n", fo->fo_name, fo->fo_guid,
                states[MIN(fo->fo_state, (uint64_t)2)], fo->fo_name, fo->fo_path);
    }
    return 0;
}

static int
import_one(cmd_env_t *env, const import_args_t *im, const found_t *fo, const char *newname)
{
    disk_t disk;
    dsl_pool_t *dp;
    const char *name = newname != NULL ? newname : fo->fo_name, *reason = "";
    char there[PATH_MAX];
    if (dsl_name_check(name, &reason) != 0 || strpbrk(name, "/@#") != NULL)
        return failx(env, "cannot import '%s': invalid pool name '%s'", fo->fo_name, name);
    if (known_find(name, there, sizeof(there)) == 0 && strcmp(there, fo->fo_path) != 0 && access(there, F_OK) == 0 && env->file == NULL)
        return failx(env, "cannot import '%s': a pool with that name already exists (in '%s')", name, there);
    int err = disk_open(fo->fo_path, im->im_readonly ? DISK_RDONLY : 0, &disk);
    if (err != 0)
        return failx(env, "cannot import '%s': %s", name, err == EBUSY ? "pool is busy" : cowbird_strerror(err));
    dsl_set_objset_init(zpl_objset_init);
    err = dsl_pool_open(&disk, im->im_readonly ? DSL_POOL_RDONLY : 0, &dp);
    if (err != 0) {
        disk_close(&disk);
        return failx(env, "cannot import '%s': %s", name,
                     err == ENOTSUP ? "it uses a format or feature that is not supported (for writing; try -o readonly=on)" : cowbird_strerror(err));
    }
    if (strcmp(name, fo->fo_name) != 0)
        err = im->im_readonly ? EROFS : dsl_pool_rename(dp, name);
    if (err == 0 && !im->im_readonly)
        (void)dsl_history_log(dp, env->line);
    int cerr = dsl_pool_close(dp);
    err = err != 0 ? err : cerr;
    if (err != 0)
        return failx(env, "cannot import '%s': %s", name, cowbird_strerror(err));
    if (env->file == NULL)
        known_add(name, fo->fo_path);
    return 0;
}

/* A name without '/' may be a pool's, or a file's in the caller's directory. */
static bool
is_file(cmd_env_t *env, const char *name)
{
    struct stat st;
    char *path = env_path(env, name);
    bool file = stat(path, &st) == 0 && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode));
    free(path);
    return file;
}

static int
import_run(cmd_env_t *env, import_args_t *im, const char *what, const char *newname)
{
    bool by_file = what != NULL && (strchr(what, '/') != NULL || (im->im_ndirs == 0 && is_file(env, what)));
    for (int i = 0; i < im->im_ndirs; i++)
        import_scan(env, im, im->im_dirs[i]);
    if (env->file != NULL)
        import_scan(env, im, env->file);
    else if (im->im_ndirs == 0)
        import_scan(env, im, by_file ? what : ".");
    if (what == NULL)
        return import_show(env, im);
    const found_t *hit = NULL;
    for (int i = 0; i < im->im_count; i++) {
        const found_t *fo = &im->im_found[i];
        char guid[32];
        snprintf(guid, sizeof(guid), "%" PRIu64, fo->fo_guid);
        if (!by_file && strcmp(fo->fo_name, what) != 0 && strcmp(guid, what) != 0)
            continue;
        if (fo->fo_state == POOL_STATE_DESTROYED && !im->im_force)
            continue;
        if (hit != NULL)
            return failx(env, "cannot import '%s': more than one matching pool; import by numeric id or by file", what);
        hit = fo;
    }
    if (hit == NULL)
        return failx(env, "cannot import '%s': no such pool available", what);
    return import_one(env, im, hit, newname);
}

int
cmd_pool_import(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    import_args_t im = {.im_count = 0};
    int c, code = 0;
    while (code == 0 && (c = opt_next(&o, "fDNo:d:")) != -1) {
        if (c == 'o' && strcmp(o.o_arg, "readonly=on") == 0)
            im.im_readonly = true;
        else if (c == 'o')
            code = failx(env, "pool import -o %s is not supported", o.o_arg);
        else if (c == 'd' && im.im_ndirs < 64)
            im.im_dirs[im.im_ndirs++] = o.o_arg;
        else if (c == 'f' || c == 'D')
            im.im_force = true;
        else if (c != 'N')
            code = opt_bad(env, "pool import", &o);
    }
    if (code == 0 && argc - o.o_ind > 2)
        code = usage_error(env, "pool import", "too many arguments");
    if (code == 0)
        code = import_run(env, &im, o.o_ind < argc ? argv[o.o_ind] : NULL, o.o_ind + 1 < argc ? argv[o.o_ind + 1] : NULL);
    free(im.im_found);
    return code;
}
