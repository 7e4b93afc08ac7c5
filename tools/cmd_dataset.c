/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_dataset.c - create, snapshot, clone, set, inherit: each parses, checks the names, and is one call into dsl.h.
 */
#include <inttypes.h>
#include "cmd.h"

int
add_property(cmd_env_t *env, nvlist_t *props, const char *assignment)
{
    const char *eq = strchr(assignment, '='), *reason = NULL;
    if (eq == NULL || eq == assignment)
        return failx(env, "bad property '%s': PROPERTY=VALUE is needed", assignment);
    char *name = strndup(assignment, (size_t)(eq - assignment));
    int err = dsl_prop_check(name, eq + 1, &reason), code = 0;
    if (nvlist_exists(props, name))
        code = failx(env, "property '%s' specified multiple times", name);
    else if (dsl_prop_lookup(name) == NULL && strchr(name, ':') == NULL)
        code = failx(env, "bad property list: invalid property '%s'", name);
    else if (err != 0)
        code = failx(env, "bad property '%s=%s': %s", name, eq + 1, reason != NULL ? reason : zfs_strerror(err));
    else
        nvlist_add_string(props, name, eq + 1);
    free(name);
    return code;
}

/* ---- create ---- */

typedef struct create_args {
    nvlist_t *cr_props;
    bool cr_parents, cr_dryrun, cr_verbose, cr_script;
    uint64_t cr_volsize; /* 0: a file system */
    bool cr_sparse;
} create_args_t;

/* -V: the size rounded up to whole blocks, and space for all of it set aside. */
static int
create_volume_props(cmd_env_t *env, create_args_t *cr)
{
    uint64_t bs = DSL_VOLBLOCKSIZE_DEFAULT, copies = 1;
    const char *text;
    char buf[24];
    if (nvlist_exists(cr->cr_props, "volsize"))
        return failx(env, "property 'volsize' specified multiple times");
    if (nvlist_lookup_string(cr->cr_props, "volblocksize", &text) == 0)
        (void)parse_size(text, &bs);
    if (nvlist_lookup_string(cr->cr_props, "copies", &text) == 0)
        (void)parse_size(text, &copies);
    cr->cr_volsize = P2ROUNDUP(cr->cr_volsize, bs);
    snprintf(buf, sizeof(buf), "%" PRIu64, cr->cr_volsize);
    nvlist_add_string(cr->cr_props, "volsize", buf);
    if (cr->cr_sparse || nvlist_exists(cr->cr_props, "refreservation"))
        return 0;
    snprintf(buf, sizeof(buf), "%" PRIu64, dsl_volume_reservation(cr->cr_volsize, (uint32_t)bs, copies));
    nvlist_add_string(cr->cr_props, "refreservation", buf);
    return 0;
}

static int
create_one(cmd_env_t *env, dsl_pool_t *dp, const char *name, const create_args_t *cr, const nvlist_t *props)
{
    dsl_stats_t st;
    if (cr->cr_dryrun && dsl_dataset_stats(dp, name, &st) == 0)
        return failx(env, "cannot create '%s': dataset already exists", name);
    if (cr->cr_verbose || cr->cr_script)
        fprintf(env->out, cr->cr_script ? "create\t%s\n" : cr->cr_dryrun ? "would create %s\n" : "create %s\n", name);
    if (cr->cr_dryrun)
        return 0;
    bool volume = props != NULL && nvlist_exists(props, "volsize");
    int err = dsl_create(dp, name, volume ? DMU_OST_ZVOL : DMU_OST_ZFS, props);
    if (err == ENOTDIR)
        return failx(env, "cannot create '%s': parent is not a filesystem", name);
    if (err == ENOENT)
        return failx(env, "cannot create '%s': parent does not exist", name);
    return err == 0 ? 0 : fail(env, err, "cannot create '%s'", name);
}

/* The parents of name that are missing, from the top. */
static int
create_parents(cmd_env_t *env, dsl_pool_t *dp, const char *name, const create_args_t *cr)
{
    char part[NAMELEN];
    dsl_stats_t st;
    for (const char *slash = strchr(name, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof(part), "%.*s", (int)(slash - name), name);
        if (dsl_dataset_stats(dp, part, &st) == ENOENT && create_one(env, dp, part, cr, NULL) != 0)
            return 1;
    }
    return 0;
}

static int
create_run(cmd_env_t *env, const char *name, const create_args_t *cr)
{
    dsl_pool_t *dp;
    dsl_stats_t st;
    if (strchr(name, '@') != NULL)
        return failx(env, "cannot create '%s': a file system's name has no '@' (see: snapshot)", name);
    if (env_pool(env, name, cr->cr_dryrun ? ENV_RDONLY : 0, &dp) != 0)
        return 1;
    if (cr->cr_parents && create_parents(env, dp, name, cr) != 0)
        return 1;
    if (cr->cr_parents && dsl_dataset_stats(dp, name, &st) == 0)
        return 0;
    int code = create_one(env, dp, name, cr, cr->cr_props);
    daemon_refresh(env);
    return code;
}

int
cmd_create(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    create_args_t cr = {.cr_props = nvlist_alloc()};
    int c, code = 0;
    while (code == 0 && (c = opt_next(&o, "pnuvPo:V:sb:")) != -1) {
        if (c == 'p')
            cr.cr_parents = true;
        else if (c == 'n')
            cr.cr_dryrun = true;
        else if (c == 'v')
            cr.cr_verbose = true;
        else if (c == 'P')
            cr.cr_script = true;
        else if (c == 'o')
            code = add_property(env, cr.cr_props, o.o_arg);
        else if (c == 's')
            cr.cr_sparse = true;
        else if (c == 'b') {
            char *assign = xasprintf("volblocksize=%s", o.o_arg);
            code = add_property(env, cr.cr_props, assign);
            free(assign);
        } else if (c == 'V') {
            if (!parse_size(o.o_arg, &cr.cr_volsize))
                code = failx(env, "bad volume size '%s'", o.o_arg);
            else if (cr.cr_volsize == 0)
                code = failx(env, "volume size cannot be zero");
        }
        else if (c != 'u')
            code = opt_bad(env, "create", &o);
    }
    if (code == 0 && argc - o.o_ind != 1)
        code = usage_error(env, "create", "one file system is needed");
    if (code == 0 && cr.cr_volsize == 0 && (cr.cr_sparse || nvlist_exists(cr.cr_props, "volblocksize") ||
                                            nvlist_exists(cr.cr_props, "volsize")))
        code = usage_error(env, "create", "'-s', '-b', volsize and volblocksize can only be used when creating a volume (-V)");
    if (code == 0 && cr.cr_volsize != 0)
        code = create_volume_props(env, &cr);
    if (code == 0)
        code = create_run(env, argv[o.o_ind], &cr);
    nvlist_free(cr.cr_props);
    return code;
}

/* ---- snapshot ---- */

typedef struct snap_list {
    char **sl_names;
    int sl_count;
    const char *sl_suffix; /* "@name", for -r */
} snap_list_t;

static int
snap_add(void *arg, const char *fs)
{
    snap_list_t *sl = arg;
    if (strchr(fs, '@') != NULL)
        return 0;
    sl->sl_names = xrealloc(sl->sl_names, ((size_t)sl->sl_count + 1) * sizeof(char *));
    sl->sl_names[sl->sl_count++] = xasprintf("%s%s", fs, sl->sl_suffix);
    return 0;
}

static int
snapshot_collect(cmd_env_t *env, snap_list_t *sl, const char *name, bool recursive, dsl_pool_t **dpp)
{
    const char *at = strchr(name, '@');
    if (at == NULL)
        return usage_error(env, "snapshot", "cannot create snapshot '%s': a name of the form FILESYSTEM@SNAP is needed", name);
    if (env_pool(env, name, 0, dpp) != 0)
        return 1;
    char fs[NAMELEN];
    snprintf(fs, sizeof(fs), "%.*s", (int)(at - name), name);
    sl->sl_suffix = at;
    int err = recursive ? collect_depth(*dpp, fs, -1, false, snap_add, sl) : 0;
    if (err != 0)
        return fail(env, err, "cannot find all below '%s'", fs);
    if (!recursive || sl->sl_count == 0)
        (void)snap_add(sl, fs);
    return 0;
}

static int
snapshot_run(cmd_env_t *env, char **operands, int n, bool recursive, const nvlist_t *props)
{
    snap_list_t sl = {NULL, 0, NULL};
    dsl_pool_t *dp = NULL;
    int code = 0, failed = 0;
    for (int i = 0; i < n && code == 0; i++)
        code = snapshot_collect(env, &sl, operands[i], recursive, &dp);
    if (code == 0) {
        daemon_flush(env);
        int err = dsl_snapshot(dp, (const char *const *)sl.sl_names, sl.sl_count, props, &failed);
        const char *blame = sl.sl_names[failed >= 0 && failed < sl.sl_count ? failed : 0];
        if (err != 0)
            code = fail(env, err, "cannot create snapshot '%s'", blame);
        daemon_refresh(env);
    }
    for (int i = 0; i < sl.sl_count; i++)
        free(sl.sl_names[i]);
    free(sl.sl_names);
    return code;
}

int
cmd_snapshot(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    nvlist_t *props = nvlist_alloc();
    bool recursive = false;
    int c, code = 0;
    while (code == 0 && (c = opt_next(&o, "ro:")) != -1) {
        if (c == 'r')
            recursive = true;
        else if (c == 'o')
            code = strcspn(o.o_arg, ":") < strcspn(o.o_arg, "=") ? add_property(env, props, o.o_arg)
                                                                  : failx(env, "bad property '%s': snapshots have only user properties (NAME with ':')", o.o_arg);
        else
            code = opt_bad(env, "snapshot", &o);
    }
    if (code == 0 && o.o_ind == argc)
        code = usage_error(env, "snapshot", "missing snapshot argument");
    if (code == 0)
        code = snapshot_run(env, argv + o.o_ind, argc - o.o_ind, recursive, props);
    nvlist_free(props);
    return code;
}

/* ---- clone ---- */

static int
clone_run(cmd_env_t *env, const char *origin, const char *name, create_args_t *cr)
{
    dsl_pool_t *dp, *to;
    dsl_stats_t st;
    if (strchr(origin, '@') == NULL)
        return failx(env, "cannot create '%s': '%s' is not a snapshot", name, origin);
    if (env_pool(env, origin, 0, &dp) != 0)
        return 1;
    if (strcspn(name, "/") != strcspn(origin, "/@") || strncmp(name, origin, strcspn(name, "/")) != 0)
        return failx(env, "cannot create '%s': source and target pools differ", name);
    if (env_pool(env, name, 0, &to) != 0)
        return 1;
    int err = dsl_dataset_stats(dp, origin, &st);
    if (err != 0)
        return fail(env, err, "cannot open '%s'", origin);
    if (cr->cr_parents && create_parents(env, dp, name, cr) != 0)
        return 1;
    err = dsl_clone(dp, origin, name, cr->cr_props);
    daemon_refresh(env);
    if (err == ENOENT)
        return failx(env, "cannot create '%s': parent does not exist", name);
    return err == 0 ? 0 : fail(env, err, "cannot create '%s'", name);
}

int
cmd_clone(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    create_args_t cr = {.cr_props = nvlist_alloc()};
    int c, code = 0;
    while (code == 0 && (c = opt_next(&o, "puo:")) != -1) {
        if (c == 'p')
            cr.cr_parents = true;
        else if (c == 'o')
            code = add_property(env, cr.cr_props, o.o_arg);
        else if (c != 'u')
            code = opt_bad(env, "clone", &o);
    }
    if (code == 0 && argc - o.o_ind != 2)
        code = usage_error(env, "clone", "a snapshot and a file system are needed");
    if (code == 0)
        code = clone_run(env, argv[o.o_ind], argv[o.o_ind + 1], &cr);
    nvlist_free(cr.cr_props);
    return code;
}

/* ---- set, inherit ---- */

/* ENOSPC is about space the property promises or limits. */
static int
set_failed(cmd_env_t *env, int err, const char *name, const nvlist_t *props)
{
    bool limit = nvlist_exists(props, "quota") || nvlist_exists(props, "refquota");
    if (err == ENOSPC)
        return failx(env, "cannot set property for '%s': size is %s", name,
                     limit ? "less than current used or reserved space" : "greater than available space");
    if (err == EINVAL && strchr(name, '@') != NULL)
        return failx(env, "cannot set property for '%s': this property can not be modified for snapshots", name);
    return fail(env, err, "cannot set property for '%s'", name);
}

/* volsize is kept inside the volume, which must rest meanwhile. A refreservation that was for all of it stays so. */
static int
set_volsize(cmd_env_t *env, dsl_pool_t *dp, const char *name, uint64_t size)
{
    uint64_t bs = 0, old = 0, refres = 0, copies = 1;
    (void)dsl_prop_get_u64(dp, name, "volblocksize", &bs);
    (void)dsl_prop_get_u64(dp, name, "volsize", &old);
    (void)dsl_prop_get_u64(dp, name, "refreservation", &refres);
    (void)dsl_prop_get_u64(dp, name, "copies", &copies);
    if (bs == 0 || old == 0)
        return failx(env, "cannot set property for '%s': 'volsize' does not apply to datasets of this type", name);
    if (size % bs != 0)
        return failx(env, "cannot set property for '%s': 'volsize' must be a multiple of volume block size (%s)", name,
                     nicebytes(bs, (char[16]){0}));
    daemon_flush(env);
    if (daemon_release(env, name) != 0)
        return failx(env, "cannot set property for '%s': volume is busy", name);
    int err = dsl_volume_set_size(dp, name, size);
    if (err == 0 && refres != 0 && refres == dsl_volume_reservation(old, (uint32_t)bs, copies)) {
        nvlist_t *more = nvlist_alloc();
        char buf[24];
        snprintf(buf, sizeof(buf), "%" PRIu64, dsl_volume_reservation(size, (uint32_t)bs, copies));
        nvlist_add_string(more, "refreservation", buf);
        err = dsl_prop_set(dp, name, more);
        nvlist_free(more);
    }
    return err == 0 ? 0 : fail(env, err, "cannot set property for '%s'", name);
}

/* What a dataset is born with. NULL: none of them is to be set. */
static const char *
fixed_property(const nvlist_t *props)
{
    static const char *const fixed[] = {"volblocksize", "utf8only", "normalization", "casesensitivity"};
    for (size_t i = 0; i < ARRAY_SIZE(fixed); i++)
        if (nvlist_exists(props, fixed[i]))
            return fixed[i];
    return NULL;
}

int
cmd_set(cmd_env_t *env, int argc, char **argv)
{
    nvlist_t *props = nvlist_alloc();
    int i = 1, code = 0;
    for (; i < argc && strchr(argv[i], '=') != NULL && code == 0; i++)
        code = add_property(env, props, argv[i]);
    if (code == 0 && (i == 1 || i == argc))
        code = usage_error(env, "set", i == 1 ? "missing property=value argument" : "missing dataset name");
    if (code == 0 && fixed_property(props) != NULL)
        code = failx(env, "cannot set property for '%s': '%s' is readonly", argv[i], fixed_property(props));
    uint64_t volsize = 0;
    const char *text;
    if (nvlist_lookup_string(props, "volsize", &text) == 0 && parse_size(text, &volsize))
        (void)nvlist_remove(props, "volsize");
    for (; i < argc && code == 0; i++) {
        dsl_pool_t *dp;
        if (env_pool(env, argv[i], 0, &dp) != 0) {
            code = 1;
            break;
        }
        int err = nvlist_next_nvpair(props, NULL) == NULL ? 0 : dsl_prop_set(dp, argv[i], props);
        if (err != 0)
            code = set_failed(env, err, argv[i], props);
        if (code == 0 && volsize != 0)
            code = set_volsize(env, dp, argv[i], volsize);
        daemon_refresh(env);
    }
    nvlist_free(props);
    return code;
}

typedef struct inherit_args {
    dsl_pool_t *in_dp;
    const char *in_prop;
    bool in_received;
} inherit_args_t;

static int
inherit_one(void *arg, const char *name)
{
    inherit_args_t *in = arg;
    return dsl_prop_inherit(in->in_dp, name, in->in_prop, in->in_received);
}

/* What zfs(8) says of properties that cannot be given up. */
static int
inherit_check(cmd_env_t *env, const char *prop, bool received)
{
    const dsl_prop_desc_t *d = dsl_prop_lookup(prop);
    if (d == NULL && strchr(prop, ':') == NULL)
        return usage_error(env, "inherit", "invalid property '%s'", prop);
    if (d == NULL || (d->pd_settable && (d->pd_inherit || received)))
        return 0;
    (void)failx(env, "'%s' property cannot be inherited", prop);
    if (d->pd_settable && (strstr(prop, "quota") != NULL || strstr(prop, "reservation") != NULL))
        (void)failx(env, "use '%s set %s=none' to clear", env->verb, prop);
    return 1;
}

int
cmd_inherit(cmd_env_t *env, int argc, char **argv)
{
    opt_t o = {.o_argc = argc, .o_argv = argv};
    inherit_args_t in = {.in_received = false};
    bool recursive = false;
    int c, code;
    while ((c = opt_next(&o, "rS")) != -1) {
        if (c == '?')
            return opt_bad(env, "inherit", &o);
        recursive |= c == 'r';
        in.in_received |= c == 'S';
    }
    if (argc - o.o_ind < 2)
        return usage_error(env, "inherit", argc == o.o_ind ? "missing property argument" : "missing dataset argument");
    in.in_prop = argv[o.o_ind];
    if ((code = inherit_check(env, in.in_prop, in.in_received)) != 0)
        return code;
    for (int i = o.o_ind + 1; i < argc; i++) {
        if (env_pool(env, argv[i], 0, &in.in_dp) != 0)
            return 1;
        bool snap = strchr(argv[i], '@') != NULL, user = strchr(in.in_prop, ':') != NULL;
        int err = recursive && !snap ? collect_depth(in.in_dp, argv[i], -1, user, inherit_one, &in) : inherit_one(&in, argv[i]);
        daemon_refresh(env);
        if (err != 0)
            return fail(env, err, "cannot inherit '%s' for '%s'", in.in_prop, argv[i]);
    }
    return 0;
}
