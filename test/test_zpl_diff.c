/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_zpl_diff.c - diff against a judge that knows no births: both states are walked whole through the file system layer, each file with all its
 * names, and compared; every line of zpl_diff must be one the judge expects, and none may be missing. For file systems of versions 4 and 5.
 */
#include <check.h>
#include <stdio.h>
#include "support/effort.h"
#include "support/faultdisk.h"
#include "support/fsmodel.h"

#define MIB      (1ULL << 20)
#define OK(call) ck_assert_int_eq(call, 0)

static const zpl_cred_t cred = {.zc_uid = 1000, .zc_gid = 100, .zc_umask = 022};
static faultdisk_t *fd;
static dsl_pool_t *dp;

static void
quiet(int level, const char *line)
{
}

static void
setup(void)
{
    dsl_pool_create_args_t args = {.pca_name = "tank", .pca_path = "/tank", .pca_ashift = 12};
    disk_t disk;

    cowbird_log_set_sink(quiet);
    dsl_set_objset_init(zpl_objset_init);
    fd = faultdisk_create(256 * MIB);
    disk = faultdisk_disk(fd);
    OK(dsl_pool_create(&disk, &args, &dp));
}

static void
teardown(void)
{
    OK(dsl_pool_close(dp));
    faultdisk_destroy(fd);
}

static void
create_fs(const char *name, int version)
{
    nvlist_t *props = nvlist_alloc();

    nvlist_add_string(props, "version", version == 4 ? "4" : "5");
    OK(dsl_create(dp, name, DMU_OST_ZFS, props));
    nvlist_free(props);
}

static void
snapshot(const char *name)
{
    OK(dsl_snapshot(dp, &name, 1, NULL, NULL));
}

/* ---- the judge: a state, walked ---- */

typedef struct entry {
    char *e_path; /* without the leading '/' */
    uint64_t e_object, e_gen, e_hash;
    struct stat e_st;
} entry_t;

typedef struct state {
    entry_t *s_entries;
    size_t s_count;
} state_t;

static uint64_t
hash_bytes(uint64_t h, const void *buf, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const uint8_t *)buf)[i]) * 1099511628211ULL;
    return h;
}

static uint64_t
hash_file(znode_t *zp, const struct stat *st)
{
    uint64_t h = 14695981039346656037ULL, done = 0, off = 0;
    static uint8_t buf[65536];
    size_t len;

    if (S_ISLNK(st->st_mode)) {
        OK(zpl_readlink(zp, (char *)buf, sizeof(buf), &len));
        return hash_bytes(h, buf, len);
    }
    while (S_ISREG(st->st_mode) && off < (uint64_t)st->st_size) {
        OK(zpl_read(zp, off, sizeof(buf), buf, &done));
        h = hash_bytes(h, buf, done);
        off += done;
    }
    return h;
}

typedef struct listing {
    char l_name[64][256];
    int l_count;
    uint64_t l_hash;
} listing_t;

static bool
list_cb(void *arg, const char *name, uint64_t object, unsigned char type, uint64_t next)
{
    listing_t *l = arg;

    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return true;
    ck_assert_int_lt(l->l_count, 64);
    strcpy(l->l_name[l->l_count++], name);
    l->l_hash += hash_bytes(object, name, strlen(name)); /* in any order */
    return true;
}

static void
walk(state_t *s, znode_t *zp, const char *path)
{
    struct stat st;
    listing_t *l = xzalloc(sizeof(*l));

    OK(zpl_getattr(zp, &st));
    if (S_ISDIR(st.st_mode))
        OK(zpl_readdir(zp, 0, list_cb, l));
    s->s_entries = xrealloc(s->s_entries, (s->s_count + 1) * sizeof(entry_t));
    s->s_entries[s->s_count++] = (entry_t){xstrdup(path), zpl_znode_object(zp), zpl_znode_gen(zp),
                                           S_ISDIR(st.st_mode) ? l->l_hash : hash_file(zp, &st), st};
    for (int i = 0; i < l->l_count; i++) {
        char *below = xasprintf("%s%s%s", path, path[0] != '\0' ? "/" : "", l->l_name[i]);
        znode_t *child;
        OK(zpl_lookup(zp, l->l_name[i], &child));
        walk(s, child, below);
        zpl_znode_rele(child);
        free(below);
    }
    free(l);
}

static void
walk_mounted(state_t *s, zpl_fs_t *zfs)
{
    znode_t *root;

    memset(s, 0, sizeof(*s));
    OK(zpl_znode_hold(zfs, zpl_fs_root(zfs), &root));
    walk(s, root, "");
    zpl_znode_rele(root);
}

static void
walk_snapshot(state_t *s, const char *name)
{
    zpl_fs_t *zfs;

    OK(zpl_fs_mount(dp, name, ZPL_MOUNT_RDONLY, &zfs));
    walk_mounted(s, zfs);
    zpl_fs_unmount(zfs);
}

static void
state_free(state_t *s)
{
    for (size_t i = 0; i < s->s_count; i++)
        free(s->s_entries[i].e_path);
    free(s->s_entries);
}

static const entry_t *
by_path(const state_t *s, const char *path)
{
    for (size_t i = 0; i < s->s_count; i++)
        if (strcmp(s->s_entries[i].e_path, path) == 0)
            return &s->s_entries[i];
    return NULL;
}

static const entry_t *
by_object(const state_t *s, uint64_t object)
{
    for (size_t i = 0; i < s->s_count; i++)
        if (s->s_entries[i].e_object == object)
            return &s->s_entries[i];
    return NULL;
}

/* ---- the verdict ---- */

typedef struct verdict {
    const state_t *v_from, *v_to;
    char v_told[65536]; /* per object: 1 '-', 2 '+', 4 changed */
    int v_lines;
} verdict_t;

static bool
same_file(const entry_t *a, const entry_t *b)
{
    return a != NULL && b != NULL && a->e_gen == b->e_gen &&
           ((a->e_st.st_mode ^ b->e_st.st_mode) & S_IFMT) == 0;
}

static bool
same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* What the rules say of one object; also: nothing changes without its ctime. */
static int
expected(const state_t *from, const state_t *to, uint64_t object)
{
    const entry_t *a = by_object(from, object), *b = by_object(to, object);

    if (!same_file(a, b))
        return (a != NULL ? 1 : 0) | (b != NULL ? 2 : 0);
    bool same = same_time(&a->e_st.st_ctim, &b->e_st.st_ctim);
    if (same) {
        ck_assert_uint_eq(a->e_hash, b->e_hash);
        ck_assert_uint_eq(a->e_st.st_mode, b->e_st.st_mode);
        ck_assert_uint_eq(a->e_st.st_nlink, b->e_st.st_nlink);
    }
    return same ? 0 : 4;
}

static void
judge_changed(verdict_t *v, const zpl_diff_t *zd)
{
    const entry_t *a = by_path(v->v_from, zd->zd_path), *b = by_path(v->v_to, zd->zd_path);
    int64_t links = zd->zd_links;

    if (zd->zd_what == 'R') {
        b = by_path(v->v_to, zd->zd_newpath);
        ck_assert_str_ne(zd->zd_path, zd->zd_newpath);
        ck_assert_msg(a != NULL && b != NULL && a->e_object == b->e_object, "R %s -> %s", zd->zd_path,
                      zd->zd_newpath);
        ck_assert_int_eq(links, 0);
    }
    if (links > 0)
        b = a != NULL ? by_object(v->v_to, a->e_object) : NULL;
    else if (links < 0)
        a = b != NULL ? by_object(v->v_from, b->e_object) : NULL;
    ck_assert_msg(same_file(a, b) && a->e_object == b->e_object, "%c %s: not in both", zd->zd_what,
                  zd->zd_path);
    if (!S_ISDIR(a->e_st.st_mode))
        ck_assert_int_eq(links, (int64_t)b->e_st.st_nlink - (int64_t)a->e_st.st_nlink);
    ck_assert_msg(same_time(&zd->zd_ctime, &b->e_st.st_ctim), "time of %s", zd->zd_path);
    ck_assert_uint_eq(zd->zd_mode, b->e_st.st_mode);
    v->v_told[a->e_object] |= 4;
}

static int
judge(void *arg, const zpl_diff_t *zd)
{
    verdict_t *v = arg;

    if (strstr(zd->zd_path, "<xattrdir>") != NULL)
        return 0; /* not among the files */
    v->v_lines++;
    if (zd->zd_what == 'M' || zd->zd_what == 'R') {
        judge_changed(v, zd);
        return 0;
    }
    const entry_t *e = by_path(zd->zd_what == '-' ? v->v_from : v->v_to, zd->zd_path);
    ck_assert_msg(e != NULL, "%c %s", zd->zd_what, zd->zd_path);
    ck_assert_uint_eq(zd->zd_mode, e->e_st.st_mode);
    ck_assert_int_lt(e->e_object, sizeof(v->v_told));
    v->v_told[e->e_object] |= zd->zd_what == '-' ? 1 : 2;
    return 0;
}

static int
expect_diff(const char *from, const state_t *a, const char *to, const state_t *b)
{
    verdict_t *v = xzalloc(sizeof(*v));
    int lines;

    v->v_from = a;
    v->v_to = b;
    OK(zpl_diff(dp, from, to, judge, v));
    for (uint64_t object = 1; object < sizeof(v->v_told); object++) {
        int want = expected(a, b, object);
        ck_assert_msg(v->v_told[object] == want, "%s %s: object %llu: told %d, is %d", from, to,
                      (unsigned long long)object, v->v_told[object], want);
    }
    lines = v->v_lines;
    free(v);
    return lines;
}

/* ---- random changes ---- */

#define SNAPS 5

START_TEST(random_changes)
{
    char names[SNAPS][40];
    state_t states[SNAPS + 1];
    zpl_fs_t *zfs;
    int lines = 0;
    ctx_t c;

    create_fs("tank/f", _i % 2 == 0 ? 4 : 5);
    OK(zpl_fs_mount(dp, "tank/f", 0, &zfs));
    ctx_init(&c, 100 + (uint64_t)_i);
    ctx_mount(&c, zfs, NULL);
    for (int s = 0; s <= SNAPS; s++) {
        for (int i = 0; i < effort(60) * (s == 0 ? 4 : 1); i++)
            step(&c);
        if (s == SNAPS)
            break;
        snprintf(names[s], sizeof(names[s]), "tank/f@s%d", s);
        snapshot(names[s]);
        walk_snapshot(&states[s], names[s]);
    }
    walk_mounted(&states[SNAPS], zfs);
    for (int i = 0; i < SNAPS; i++) {
        for (int j = i + 1; j < SNAPS; j++)
            lines += expect_diff(names[i], &states[i], names[j], &states[j]);
        lines += expect_diff(names[i], &states[i], "tank/f", &states[SNAPS]); /* mounted, in use */
    }
    ck_assert_int_ge(lines, effort(100));
    close_all(&c);
    zpl_znode_rele(c.zroot);
    zpl_fs_unmount(zfs);
    ck_assert_int_eq(zpl_diff(dp, names[0], names[0], judge, NULL), EXDEV);
    for (int s = 0; s <= SNAPS; s++)
        state_free(&states[s]);
    ctx_fini(&c);
}
END_TEST

/* ---- one by one ---- */

static int
print_line(void *arg, const zpl_diff_t *zd)
{
    char *all = arg;
    size_t n = strlen(all);

    snprintf(all + n, 4000 - n, "%c %s%s%s", zd->zd_what, zd->zd_path, zd->zd_newpath != NULL ? " -> " : "",
             zd->zd_newpath != NULL ? zd->zd_newpath : "");
    n = strlen(all);
    snprintf(all + n, 4000 - n, zd->zd_links != 0 ? " %+d\n" : "\n", (int)zd->zd_links);
    return 0;
}

static void
put(znode_t *dir, const char *name, const char *text)
{
    znode_t *zp;
    uint64_t done;

    OK(zpl_mknod(dir, name, S_IFREG | 0644, 0, &cred, &zp));
    OK(zpl_write(zp, 0, strlen(text), text, &done));
    zpl_znode_rele(zp);
}

START_TEST(each_kind)
{
    char out[4000] = "";
    znode_t *root, *d, *f;
    zpl_fs_t *zfs;
    struct stat st;
    uint64_t done;

    create_fs("tank/f", _i);
    OK(zpl_fs_mount(dp, "tank/f", 0, &zfs));
    OK(zpl_znode_hold(zfs, zpl_fs_root(zfs), &root));
    OK(zpl_mknod(root, "dir", S_IFDIR | 0755, 0, &cred, &d));
    put(root, "gone", "1");
    put(root, "changed", "1");
    put(root, "moved", "1");
    put(root, "linked", "1");
    put(root, "held", "1");
    put(d, "inside", "1");
    put(root, "quiet", "1");
    snapshot("tank/f@a");
    OK(zpl_unlink(root, "gone"));
    OK(zpl_lookup(root, "changed", &f));
    OK(zpl_write(f, 0, 1, "2", &done));
    zpl_znode_rele(f);
    OK(zpl_rename(root, "moved", d, "moved2", 0));
    OK(zpl_lookup(root, "linked", &f));
    OK(zpl_link(f, d, "again"));
    zpl_znode_rele(f);
    OK(zpl_rename(root, "dir", root, "dir2", 0)); /* "inside" did not change itself */
    OK(zpl_lookup(root, "quiet", &f));
    OK(zpl_getattr(f, &st));
    st.st_atim.tv_sec += 1000; /* and its change time as it was: as if it had been read */
    OK(zpl_setattr(f, ZPL_SET_ATIME | ZPL_SET_CTIME, &st));
    zpl_znode_rele(f);
    OK(zpl_lookup(root, "held", &f));
    OK(zpl_unlink(root, "held")); /* without a name, but still open */
    put(root, "new", "1");
    OK(zpl_diff(dp, "tank/f@a", "tank/f", print_line, out));
    zpl_znode_rele(f);
    zpl_znode_rele(d);
    zpl_znode_rele(root);
    zpl_fs_unmount(zfs);
    ck_assert_msg(strstr(out, "M \n") != NULL && strstr(out, "- gone\n") != NULL &&
                      strstr(out, "M changed\n") != NULL && strstr(out, "R moved -> dir2/moved2\n") != NULL &&
                      strstr(out, "M linked +1\n") != NULL && strstr(out, "R dir -> dir2\n") != NULL &&
                      strstr(out, "- held\n") != NULL && strstr(out, "+ new\n") != NULL &&
                      strstr(out, "inside") == NULL && strstr(out, "quiet") == NULL,
                  "%s", out);
}
END_TEST

static int
count_line(void *arg, const zpl_diff_t *zd)
{
    ((int *)arg)[(int)zd->zd_what]++;
    return 0;
}

/* All files of many blocks of dnodes at once, made and removed. */
START_TEST(many)
{
    zpl_fs_t *zfs;
    znode_t *root, *d;
    char name[20];
    int n[128] = {0};

    create_fs("tank/f", _i);
    OK(zpl_fs_mount(dp, "tank/f", 0, &zfs));
    OK(zpl_znode_hold(zfs, zpl_fs_root(zfs), &root));
    OK(zpl_mknod(root, "d", S_IFDIR | 0755, 0, &cred, &d));
    snapshot("tank/f@a");
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        put(d, name, "x");
    }
    snapshot("tank/f@b");
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        OK(zpl_unlink(d, name));
    }
    zpl_znode_rele(d);
    zpl_znode_rele(root);
    zpl_fs_unmount(zfs);
    OK(zpl_diff(dp, "tank/f@a", "tank/f@b", count_line, n));
    ck_assert_int_eq(n['+'], 3000);
    ck_assert_int_eq(n['M'], 1);
    memset(n, 0, sizeof(n));
    OK(zpl_diff(dp, "tank/f@b", "tank/f", count_line, n));
    ck_assert_int_eq(n['-'], 3000);
    ck_assert_int_eq(n['M'] + n['+'] + n['R'], 1);
    memset(n, 0, sizeof(n));
    OK(zpl_diff(dp, "tank/f@a", "tank/f", count_line, n));
    ck_assert_int_eq(n['M'], 1);
    ck_assert_int_eq(n['-'] + n['+'] + n['R'], 0);
}
END_TEST

START_TEST(errors)
{
    char out[4000] = "";
    dsl_dataset_t *ds;

    create_fs("tank/f", 4);
    OK(dsl_create(dp, "tank/o", DMU_OST_OTHER, NULL));
    snapshot("tank/f@a");
    snapshot("tank/o@a");
    snapshot("tank/f@b");
    OK(dsl_clone(dp, "tank/f@a", "tank/c", NULL));
    ck_assert_int_eq(zpl_diff(dp, "tank/f@b", "tank/f@a", print_line, out), EXDEV);
    ck_assert_int_eq(zpl_diff(dp, "tank/f@b", "tank/c", print_line, out), EXDEV);
    ck_assert_int_eq(zpl_diff(dp, "tank/f", "tank/f", print_line, out), EXDEV);
    ck_assert_int_eq(zpl_diff(dp, "tank/f@x", "tank/f", print_line, out), ENOENT);
    ck_assert_int_eq(zpl_diff(dp, "tank/f@a", "tank/x", print_line, out), ENOENT);
    ck_assert_int_eq(zpl_diff(dp, "tank/o@a", "tank/o", print_line, out), EINVAL);
    OK(zpl_diff(dp, "tank/f@a", "tank/c", print_line, out));
    ck_assert_str_eq(out, "");
    OK(dmu_diff_hold(dp, "tank/f", &ds, &ds)); /* a diff goes on: */
    ck_assert_int_eq(zpl_diff(dp, "tank/f@a", "tank/f", print_line, out), EBUSY);
    OK(zpl_diff(dp, "tank/f@a", "tank/f@b", print_line, out));
    dmu_diff_rele(ds, &ds);
    OK(zpl_diff(dp, "tank/f@a", "tank/f", print_line, out));
}
END_TEST

/* The hidden snapshot of a diff that never ended. */
START_TEST(cut_off)
{
    disk_t disk = faultdisk_disk(fd);
    dsl_dataset_t *ds;

    create_fs("tank/f", 5);
    OK(dmu_diff_hold(dp, "tank/f", &ds, &ds));
    dsl_dataset_long_rele(ds, &ds); /* as if the process had ended here */
    dsl_dataset_rele(ds, &ds);
    ck_assert_int_eq(dsl_destroy_head(dp, "tank/f"), ENOTEMPTY);
    OK(dsl_pool_close(dp));
    OK(dsl_pool_open(&disk, 0, &dp));
    ck_assert_int_eq(dsl_dataset_hold(dp, "tank/f@%diff", &ds, &ds), ENOENT);
    OK(dsl_destroy_head(dp, "tank/f"));
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("zpl_diff");
    TCase *tc = tcase_create("diff");
    tcase_set_timeout(tc, 240);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, each_kind, 4, 6);
    tcase_add_loop_test(tc, random_changes, 0, 6);
    tcase_add_loop_test(tc, many, 4, 6);
    tcase_add_test(tc, errors);
    tcase_add_test(tc, cut_off);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
