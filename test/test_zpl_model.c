/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_zpl_model.c - random work on a file system and on a model of it in memory: same answers, same tree, also after a
 * remount; several threads at once; and after a power cut at any moment a consistent file system.
 *
 *     walk down to a random directory ──► random operation there, on both ──► same errno?
 *     now and then: compare everything, remount, zpl_check
 *
 * SEED=n ROUNDS=n in the environment change the run; a failure prints its seed.
 */
#include "support/barefs.h"

#include <check.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <sys/xattr.h>

#define MIB       (1ULL << 20)
#define MAX_SIZE  400000
#define MAX_ENTS  24
#define MAX_XATTR 3
#define MAX_OPEN  4

static const zpl_cred_t cred = {.zc_uid = 1, .zc_gid = 2, .zc_umask = 0};

/* ---- the model ---- */

typedef struct mnode {
    mode_t m_type;
    int m_refs; /* names and open handles */
    int m_links;
    uint8_t *m_data; /* file contents, symlink text */
    uint64_t m_size;
    struct { uint8_t *v; size_t n; bool set; } m_xattr[MAX_XATTR];
    struct mnode *m_parent;
    struct { char name[256]; struct mnode *node; } m_ent[MAX_ENTS];
    int m_nent;
} mnode_t;

typedef struct ctx {
    uint64_t seed;
    zpl_fs_t *zfs;
    znode_t *zroot;
    mnode_t *root;
    struct { znode_t *zp; mnode_t *m; } open[MAX_OPEN];
    uint8_t *buf, *buf2;
} ctx_t;

static uint64_t
rnd(ctx_t *c, uint64_t n)
{
    c->seed ^= c->seed << 13;
    c->seed ^= c->seed >> 7;
    c->seed ^= c->seed << 17;
    return n == 0 ? 0 : (c->seed >> 11) % n;
}

static mnode_t *
m_new(mode_t type, mnode_t *parent)
{
    mnode_t *m = xzalloc(sizeof(*m));

    m->m_type = type;
    m->m_parent = parent;
    m->m_data = xzalloc(type == S_IFREG ? MAX_SIZE : 4096);
    return m;
}

static void
m_rele(mnode_t *m)
{
    if (--m->m_refs > 0)
        return;
    for (int i = 0; i < MAX_XATTR; i++)
        free(m->m_xattr[i].v);
    free(m->m_data);
    free(m);
}

static int
m_find(mnode_t *d, const char *name)
{
    for (int i = 0; i < d->m_nent; i++)
        if (strcmp(d->m_ent[i].name, name) == 0)
            return i;
    return -1;
}

static void
m_add(mnode_t *d, const char *name, mnode_t *m)
{
    strcpy(d->m_ent[d->m_nent].name, name);
    d->m_ent[d->m_nent++].node = m;
    m->m_links++;
    m->m_refs++;
    m->m_parent = d;
}

static void
m_del(mnode_t *d, int i)
{
    mnode_t *m = d->m_ent[i].node;

    d->m_ent[i] = d->m_ent[--d->m_nent];
    m->m_links--;
    m_rele(m);
}

static void
m_free_tree(mnode_t *d)
{
    while (d->m_nent > 0) {
        if (d->m_ent[0].node->m_type == S_IFDIR)
            m_free_tree(d->m_ent[0].node);
        m_del(d, 0);
    }
}

static bool
m_below(mnode_t *anc, mnode_t *m)
{
    for (; m != NULL; m = m->m_parent)
        if (m == anc)
            return true;
    return false;
}

/* ---- choosing ---- */

static void
rnd_name(ctx_t *c, char *name)
{
    uint64_t i = rnd(c, 20);

    memset(name, 'a' + (char)i, 256);
    name[i == 19 ? 255 : i == 18 ? 60 : i == 17 ? 49 : i == 16 ? 50 : 1 + i % 3] = '\0';
}

/* A random directory on both sides; the caller releases *dzp. */
static mnode_t *
rnd_dir(ctx_t *c, znode_t **dzp)
{
    mnode_t *d = c->root;
    znode_t *zp = c->zroot, *next;

    zpl_znode_addref(zp);
    while (d->m_nent > 0 && rnd(c, 4) != 0) {
        int i = (int)rnd(c, (uint64_t)d->m_nent);
        if (d->m_ent[i].node->m_type != S_IFDIR)
            continue;
        ck_assert_int_eq(zpl_lookup(zp, d->m_ent[i].name, &next), 0);
        zpl_znode_rele(zp);
        zp = next;
        d = d->m_ent[i].node;
    }
    *dzp = zp;
    return d;
}

/* A random file in a directory, or an open one: NULL when there is none. */
static mnode_t *
rnd_file(ctx_t *c, znode_t **zpp, mode_t type)
{
    uint64_t o = rnd(c, MAX_OPEN * 2);
    znode_t *dzp;
    mnode_t *d, *m = NULL;

    if (o < MAX_OPEN && c->open[o].zp != NULL && (type == 0 || c->open[o].m->m_type == type)) {
        zpl_znode_addref(*zpp = c->open[o].zp);
        return c->open[o].m;
    }
    d = rnd_dir(c, &dzp);
    if (d->m_nent > 0) {
        int i = (int)rnd(c, (uint64_t)d->m_nent);
        m = d->m_ent[i].node;
        if (type != 0 && m->m_type != type)
            m = NULL;
        else
            ck_assert_int_eq(zpl_lookup(dzp, d->m_ent[i].name, zpp), 0);
    }
    zpl_znode_rele(dzp);
    return m;
}

static void
fill(ctx_t *c, uint8_t *p, size_t n)
{
    uint8_t salt = (uint8_t)rnd(c, 256);

    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 7 + (i >> 9) + salt);
}

/* ---- operations on names ---- */

static void
op_create(ctx_t *c)
{
    static const mode_t types[] = {S_IFREG, S_IFREG, S_IFREG, S_IFDIR, S_IFDIR, S_IFIFO, S_IFLNK};
    mode_t type = types[rnd(c, ARRAY_SIZE(types))];
    char name[256], text[300];
    znode_t *dzp, *zp = NULL;
    mnode_t *d = rnd_dir(c, &dzp);
    int err, want;

    rnd_name(c, name);
    want = m_find(d, name) >= 0 ? EEXIST : 0;
    memset(text, 't', sizeof(text));
    text[1 + rnd(c, 290)] = '\0';
    if (want != 0 || d->m_nent < MAX_ENTS) {
        err = type == S_IFLNK ? zpl_symlink(dzp, name, text, &cred, &zp) : zpl_mknod(dzp, name, type | 0755, 0, &cred, &zp);
        ck_assert_int_eq(err, want);
        if (err == 0) {
            mnode_t *m = m_new(type, d);
            if (type == S_IFLNK)
                m->m_size = strlen(strcpy((char *)m->m_data, text));
            m_add(d, name, m);
            zpl_znode_rele(zp);
        }
    }
    zpl_znode_rele(dzp);
}

static void
op_remove(ctx_t *c)
{
    char name[256];
    znode_t *dzp;
    mnode_t *d = rnd_dir(c, &dzp), *m;
    bool dir = rnd(c, 2);
    int i, want;

    rnd_name(c, name);
    i = m_find(d, name);
    m = i >= 0 ? d->m_ent[i].node : NULL;
    want = m == NULL ? ENOENT : dir && m->m_type != S_IFDIR ? ENOTDIR : !dir && m->m_type == S_IFDIR ? EISDIR : dir && m->m_nent > 0 ? ENOTEMPTY : 0;
    ck_assert_int_eq(dir ? zpl_rmdir(dzp, name) : zpl_unlink(dzp, name), want);
    if (want == 0)
        m_del(d, i);
    zpl_znode_rele(dzp);
}

static void
op_link(ctx_t *c)
{
    char name[256];
    znode_t *dzp, *zp;
    mnode_t *m = rnd_file(c, &zp, 0), *d;
    int want;

    if (m == NULL)
        return;
    d = rnd_dir(c, &dzp);
    rnd_name(c, name);
    want = m->m_type == S_IFDIR ? EPERM : m_find(d, name) >= 0 ? EEXIST : m->m_links == 0 ? ENOENT : 0;
    if (want != 0 || d->m_nent < MAX_ENTS) {
        ck_assert_int_eq(zpl_link(zp, dzp, name), want);
        if (want == 0)
            m_add(d, name, m);
    }
    zpl_znode_rele(dzp);
    zpl_znode_rele(zp);
}

/* What rename must answer. */
static int
rename_want(mnode_t *from, int i, mnode_t *to, int j, unsigned flags)
{
    mnode_t *src = i >= 0 ? from->m_ent[i].node : NULL, *dst = j >= 0 ? to->m_ent[j].node : NULL;
    bool xchg = flags & RENAME_EXCHANGE;

    if (src == NULL)
        return ENOENT;
    if (src->m_type == S_IFDIR && m_below(src, to))
        return EINVAL;
    if (dst == NULL)
        return xchg ? ENOENT : 0;
    if (flags & RENAME_NOREPLACE)
        return EEXIST;
    if (dst->m_type == S_IFDIR && m_below(dst, from))
        return xchg ? EINVAL : src->m_type == S_IFDIR ? ENOTEMPTY : EISDIR;
    if (src == dst || xchg)
        return 0;
    if (dst->m_type == S_IFDIR)
        return src->m_type != S_IFDIR ? EISDIR : dst->m_nent > 0 ? ENOTEMPTY : 0;
    return src->m_type == S_IFDIR ? ENOTDIR : 0;
}

static void
m_rename(mnode_t *from, int i, mnode_t *to, int j, const char *nname, bool xchg)
{
    mnode_t *src = from->m_ent[i].node;

    if (j >= 0 && to->m_ent[j].node == src)
        return;
    if (xchg) {
        from->m_ent[i].node = to->m_ent[j].node;
        to->m_ent[j].node = src;
        from->m_ent[i].node->m_parent = from;
        src->m_parent = to;
        return;
    }
    src->m_refs++;
    src->m_links++;
    m_del(from, i);
    if ((j = m_find(to, nname)) >= 0)
        m_del(to, j);
    m_add(to, nname, src);
    src->m_links--;
    src->m_refs--;
}

static void
op_rename(ctx_t *c)
{
    static const unsigned flagset[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
    unsigned flags = flagset[rnd(c, ARRAY_SIZE(flagset))];
    char oname[256], nname[256];
    znode_t *fzp, *tzp;
    mnode_t *from = rnd_dir(c, &fzp), *to = from;
    int i, j, want;

    if (rnd(c, 2))
        to = rnd_dir(c, &tzp);
    else
        zpl_znode_addref(tzp = fzp);
    rnd_name(c, oname);
    rnd_name(c, nname);
    i = m_find(from, oname);
    j = m_find(to, nname);
    want = rename_want(from, i, to, j, flags);
    if (want != 0 || j >= 0 || from == to || to->m_nent < MAX_ENTS) {
        ck_assert_int_eq(zpl_rename(fzp, oname, tzp, nname, flags), want);
        if (want == 0)
            m_rename(from, i, to, j, nname, flags & RENAME_EXCHANGE);
    }
    zpl_znode_rele(fzp);
    zpl_znode_rele(tzp);
}

/* ---- operations on contents ---- */

static void
op_write(ctx_t *c)
{
    uint64_t off = rnd(c, 3) ? rnd(c, 5000) : rnd(c, MAX_SIZE), n = rnd(c, 4) ? rnd(c, 3000) : rnd(c, MAX_SIZE), done;
    znode_t *zp;
    mnode_t *m = rnd_file(c, &zp, S_IFREG);

    if (m == NULL)
        return;
    if (rnd(c, 4) == 0)
        off = m->m_size;
    n = MIN(n, MAX_SIZE - MIN(off, MAX_SIZE));
    fill(c, c->buf, n);
    ck_assert_int_eq(zpl_write(zp, off, n, c->buf, &done), 0);
    ck_assert_uint_eq(done, n);
    if (n > 0) {
        memcpy(m->m_data + off, c->buf, n);
        m->m_size = MAX(m->m_size, off + n);
    }
    zpl_znode_rele(zp);
}

static void
op_read(ctx_t *c)
{
    uint64_t off = rnd(c, MAX_SIZE), n = rnd(c, MAX_SIZE), want, done;
    znode_t *zp;
    mnode_t *m = rnd_file(c, &zp, S_IFREG);

    if (m == NULL)
        return;
    if (rnd(c, 2))
        off = rnd(c, m->m_size + 100);
    want = off >= m->m_size ? 0 : MIN(n, m->m_size - off);
    ck_assert_int_eq(zpl_read(zp, off, n, c->buf, &done), 0);
    ck_assert_uint_eq(done, want);
    ck_assert(memcmp(c->buf, m->m_data + MIN(off, m->m_size), want) == 0);
    zpl_znode_rele(zp);
}

static void
op_truncate(ctx_t *c)
{
    uint64_t size = rnd(c, 2) ? rnd(c, 3000) : rnd(c, MAX_SIZE);
    struct stat st = {.st_size = (off_t)size};
    znode_t *zp;
    mnode_t *m = rnd_file(c, &zp, S_IFREG);

    if (m == NULL)
        return;
    ck_assert_int_eq(zpl_setattr(zp, ZPL_SET_SIZE, &st), 0);
    if (size < m->m_size)
        memset(m->m_data + size, 0, m->m_size - size);
    m->m_size = size;
    zpl_znode_rele(zp);
}

static void
op_punch(ctx_t *c)
{
    uint64_t off = rnd(c, MAX_SIZE), n = 1 + rnd(c, MAX_SIZE - off), end;
    bool keep = rnd(c, 2);
    znode_t *zp;
    mnode_t *m = rnd_file(c, &zp, S_IFREG);

    if (m == NULL)
        return;
    ck_assert_int_eq(zpl_fallocate(zp, keep ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE, off, n), 0);
    end = MIN(off + n, MAX_SIZE);
    memset(m->m_data + off, 0, end - off);
    if (!keep)
        m->m_size = MAX(m->m_size, end);
    zpl_znode_rele(zp);
}

static void
op_xattr(ctx_t *c)
{
    static const char *const names[MAX_XATTR] = {"user.one", "trusted.two", "security.three"};
    uint64_t i = rnd(c, MAX_XATTR), n = rnd(c, 5) ? rnd(c, 100) : rnd(c, 20000);
    static const int flagset[] = {0, 0, XATTR_CREATE, XATTR_REPLACE};
    int flags = flagset[rnd(c, 4)], want;
    znode_t *zp;
    mnode_t *m = rnd_file(c, &zp, 0);

    if (m == NULL)
        return;
    if (rnd(c, 3) == 0) {
        ck_assert_int_eq(zpl_removexattr(zp, names[i]), m->m_xattr[i].set ? 0 : ENODATA);
        m->m_xattr[i].set = false;
    } else {
        want = m->m_xattr[i].set ? (flags == XATTR_CREATE ? EEXIST : 0) : flags == XATTR_REPLACE ? ENODATA : 0;
        fill(c, c->buf, n);
        ck_assert_int_eq(zpl_setxattr(zp, names[i], c->buf, n, flags, &cred), want);
        if (want == 0) {
            m->m_xattr[i].set = true;
            m->m_xattr[i].n = n;
            m->m_xattr[i].v = xrealloc(m->m_xattr[i].v, n + 1);
            memcpy(m->m_xattr[i].v, c->buf, n);
        }
    }
    zpl_znode_rele(zp);
}

static void
op_open(ctx_t *c)
{
    uint64_t o = rnd(c, MAX_OPEN);
    znode_t *zp;
    mnode_t *m;

    if (c->open[o].zp != NULL) {
        zpl_znode_rele(c->open[o].zp);
        m_rele(c->open[o].m);
        c->open[o].zp = NULL;
    }
    m = rnd_file(c, &zp, S_IFREG);
    if (m == NULL)
        return;
    c->open[o].zp = zp;
    c->open[o].m = m;
    m->m_refs++;
}

static void
close_all(ctx_t *c)
{
    for (int o = 0; o < MAX_OPEN; o++)
        if (c->open[o].zp != NULL) {
            zpl_znode_rele(c->open[o].zp);
            m_rele(c->open[o].m);
            c->open[o].zp = NULL;
        }
}

static void
step(ctx_t *c)
{
    static void (*const ops[])(ctx_t *) = {op_create, op_create, op_remove, op_link, op_rename, op_rename, op_write, op_write,
                                           op_read, op_truncate, op_punch, op_xattr, op_open};

    ops[rnd(c, ARRAY_SIZE(ops))](c);
}

/* ---- comparing everything ---- */

typedef struct listing {
    mnode_t *d;
    int n;
} listing_t;

static bool
list_cb(void *arg, const char *name, uint64_t object, unsigned char type, uint64_t next)
{
    listing_t *l = arg;
    int i;

    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return true;
    i = m_find(l->d, name);
    ck_assert_int_ge(i, 0);
    ck_assert_uint_eq(type, l->d->m_ent[i].node->m_type >> 12);
    l->n++;
    return true;
}

static void compare_node(ctx_t *c, mnode_t *m, znode_t *zp);

static void
compare_dir(ctx_t *c, mnode_t *d, znode_t *dzp)
{
    listing_t l = {.d = d};
    znode_t *zp;

    ck_assert_int_eq(zpl_readdir(dzp, 0, list_cb, &l), 0);
    ck_assert_int_eq(l.n, d->m_nent);
    for (int i = 0; i < d->m_nent; i++) {
        ck_assert_int_eq(zpl_lookup(dzp, d->m_ent[i].name, &zp), 0);
        compare_node(c, d->m_ent[i].node, zp);
        zpl_znode_rele(zp);
    }
}

static void
compare_node(ctx_t *c, mnode_t *m, znode_t *zp)
{
    static const char *const names[MAX_XATTR] = {"user.one", "trusted.two", "security.three"};
    uint64_t done;
    size_t len;
    struct stat st;

    ck_assert_int_eq(zpl_getattr(zp, &st), 0);
    ck_assert_uint_eq(st.st_mode & S_IFMT, m->m_type);
    if (m->m_type == S_IFDIR) {
        compare_dir(c, m, zp);
    } else {
        ck_assert_uint_eq((uint64_t)st.st_size, m->m_size);
        ck_assert_uint_eq(st.st_nlink, (nlink_t)m->m_links);
    }
    if (m->m_type == S_IFREG) {
        ck_assert_int_eq(zpl_read(zp, 0, MAX_SIZE, c->buf2, &done), 0);
        ck_assert_uint_eq(done, m->m_size);
        ck_assert(memcmp(c->buf2, m->m_data, done) == 0);
    } else if (m->m_type == S_IFLNK) {
        ck_assert_int_eq(zpl_readlink(zp, (char *)c->buf2, MAX_SIZE, &len), 0);
        ck_assert(len == m->m_size && memcmp(c->buf2, m->m_data, len) == 0);
    }
    for (int i = 0; i < MAX_XATTR; i++) {
        ck_assert_int_eq(zpl_getxattr(zp, names[i], c->buf2, MAX_SIZE, &len), m->m_xattr[i].set ? 0 : ENODATA);
        if (m->m_xattr[i].set)
            ck_assert(len == m->m_xattr[i].n && memcmp(c->buf2, m->m_xattr[i].v, len) == 0);
    }
}

/* ---- the file system around it ---- */

static void
quiet(int level, const char *line)
{
}

static void
say(void *arg, const char *line)
{
    fprintf(stderr, "check: %s\n", line);
}

static void
check_clean(barefs_t *bf, bool drained)
{
    zpl_check_t zc = {.zc_report = say};

    ck_assert_int_eq(zpl_check_objset(bf->bf_os, &zc), 0);
    ck_assert_uint_eq(zc.zc_problems, 0);
    if (drained)
        ck_assert_uint_eq(zc.zc_unlinked, 0);
}

static uint64_t
env(const char *name, uint64_t def)
{
    const char *v = getenv(name);

    return v != NULL ? strtoull(v, NULL, 0) : def;
}

static void
ctx_init(ctx_t *c, barefs_t *bf, uint64_t seed)
{
    memset(c, 0, sizeof(*c));
    c->seed = seed * 2654435761u + 88172645463325252ull;
    c->zfs = bf->bf_zfs;
    c->root = m_new(S_IFDIR, NULL);
    c->root->m_refs = 1;
    c->buf = xmalloc(MAX_SIZE);
    c->buf2 = xmalloc(MAX_SIZE);
}

static void
ctx_fini(ctx_t *c)
{
    m_free_tree(c->root);
    m_rele(c->root);
    free(c->buf);
    free(c->buf2);
}

static void
ctx_mount(ctx_t *c, barefs_t *bf, const char *dir)
{
    znode_t *root;

    c->zfs = bf->bf_zfs;
    ck_assert_int_eq(zpl_znode_hold(c->zfs, zpl_fs_root(c->zfs), &root), 0);
    c->zroot = root;
    if (dir == NULL)
        return;
    if (zpl_lookup(root, dir, &c->zroot) == ENOENT)
        ck_assert_int_eq(zpl_mknod(root, dir, S_IFDIR | 0755, 0, &cred, &c->zroot), 0);
    zpl_znode_rele(root);
}

START_TEST(test_model)
{
    uint64_t seed = env("SEED", 1) + (uint64_t)_i, rounds = env("ROUNDS", 8000);
    faultdisk_t *fd = faultdisk_create(256 * MIB);
    barefs_t *bf = barefs_create(fd);
    ctx_t c;

    cowbird_log_set_sink(quiet);
    printf("seed %llu\n", (unsigned long long)seed);
    ctx_init(&c, bf, seed);
    ctx_mount(&c, bf, NULL);
    for (uint64_t i = 1; i <= rounds; i++) {
        step(&c);
        if (rnd(&c, 200) == 0)
            ck_assert_int_eq(zpl_fs_sync(c.zfs), 0);
        if (rnd(&c, 500) == 0)
            check_clean(bf, false);
        if (i % (rounds / 4) == 0) {
            close_all(&c);
            compare_dir(&c, c.root, c.zroot);
            zpl_znode_rele(c.zroot);
            barefs_close(bf);
            ck_assert_int_eq(barefs_open(fd, &bf), 0);
            ctx_mount(&c, bf, NULL);
            check_clean(bf, true);
            compare_dir(&c, c.root, c.zroot);
        }
    }
    zpl_znode_rele(c.zroot);
    barefs_close(bf);
    ctx_fini(&c);
    faultdisk_destroy(fd);
}
END_TEST

/* ---- threads: each its own subtree, and one they share ---- */

#define NTHREADS 4

static void *
thread_main(void *arg)
{
    ctx_t *c = arg;

    for (uint64_t i = 0; i < env("ROUNDS", 8000) / 4; i++) {
        step(c);
        if (rnd(c, 1000) == 0)
            VERIFY0(zpl_fs_sync(c->zfs));
    }
    close_all(c);
    compare_dir(c, c->root, c->zroot);
    return NULL;
}

/* No model: errors are fine, damage is not. */
static void *
shared_main(void *arg)
{
    ctx_t *c = arg;
    char a[256], b[256];
    znode_t *d1, *d2, *zp;
    uint64_t done;

    for (uint64_t i = 0; i < env("ROUNDS", 8000) / 2; i++) {
        zpl_znode_addref(d1 = c->zroot);
        zpl_znode_addref(d2 = c->zroot);
        for (int k = 0; k < 3; k++) {
            rnd_name(c, a);
            if (zpl_lookup(k & 1 ? d1 : d2, a, &zp) == 0) {
                zpl_znode_rele(k & 1 ? d1 : d2);
                *(k & 1 ? &d1 : &d2) = zp;
            }
        }
        rnd_name(c, a);
        rnd_name(c, b);
        if (zpl_mknod(d1, a, rnd(c, 2) ? S_IFREG : S_IFDIR | 0755, 0, &cred, &zp) == 0) {
            (void)zpl_write(zp, rnd(c, 1000), 600, c->buf, &done);
            zpl_znode_rele(zp);
        }
        (void)zpl_rename(d1, a, d2, b, rnd(c, 3) == 0 ? RENAME_EXCHANGE : 0);
        (void)zpl_link(d1, d2, a);
        if (rnd(c, 2))
            (void)zpl_unlink(d2, b);
        if (rnd(c, 4) == 0)
            (void)zpl_rmdir(d1, a);
        zpl_znode_rele(d1);
        zpl_znode_rele(d2);
    }
    return NULL;
}

static void
run_threads(barefs_t *bf, ctx_t *c, const char *name, void *(*fn)(void *))
{
    pthread_t t[NTHREADS];
    char dir[30];

    for (int i = 0; i < NTHREADS; i++) {
        ctx_init(&c[i], bf, env("SEED", 1) + (uint64_t)i + 100);
        snprintf(dir, sizeof(dir), "%s%d", name, fn == shared_main ? 0 : i);
        ctx_mount(&c[i], bf, dir);
    }
    for (int i = 0; i < NTHREADS; i++)
        VERIFY0(pthread_create(&t[i], NULL, fn, &c[i]));
    for (int i = 0; i < NTHREADS; i++)
        VERIFY0(pthread_join(t[i], NULL));
    for (int i = 0; i < NTHREADS; i++)
        zpl_znode_rele(c[i].zroot);
}

START_TEST(test_model_threads)
{
    faultdisk_t *fd = faultdisk_create(512 * MIB);
    barefs_t *bf = barefs_create(fd);
    ctx_t own[NTHREADS], shared[NTHREADS];
    char dir[30];

    cowbird_log_set_sink(quiet);
    run_threads(bf, own, "own", thread_main);
    run_threads(bf, shared, "shared", shared_main);
    check_clean(bf, true);
    barefs_close(bf);
    ck_assert_int_eq(barefs_open(fd, &bf), 0);
    check_clean(bf, true);
    for (int i = 0; i < NTHREADS; i++) {
        snprintf(dir, sizeof(dir), "own%d", i);
        ctx_mount(&own[i], bf, dir);
        compare_dir(&own[i], own[i].root, own[i].zroot);
        zpl_znode_rele(own[i].zroot);
        ctx_fini(&own[i]);
        ctx_fini(&shared[i]);
    }
    barefs_close(bf);
    faultdisk_destroy(fd);
}
END_TEST

/* ---- power cuts ---- */

#define ACKS 12

/* What was synced before the cut must be there. */
static void
check_acks(barefs_t *bf, const uint64_t *acked, uint64_t events)
{
    znode_t *root, *zp;
    char name[20];

    ck_assert_int_eq(zpl_znode_hold(bf->bf_zfs, zpl_fs_root(bf->bf_zfs), &root), 0);
    for (int i = 0; i < ACKS && acked[i] <= events; i++) {
        snprintf(name, sizeof(name), "ack%d", i);
        ck_assert_int_eq(zpl_lookup(root, name, &zp), 0);
        ck_assert_uint_eq(zpl_size(zp), (uint64_t)i * 1000);
        zpl_znode_rele(zp);
    }
    zpl_znode_rele(root);
}

static void
cut_and_look(faultdisk_t *fd, uint64_t events, uint64_t seed, const uint64_t *acked)
{
    faultdisk_t *cut = faultdisk_cut(fd, events, seed);
    barefs_t *bf;

    ck_assert_int_eq(barefs_open(cut, &bf), 0);
    check_clean(bf, true);
    check_acks(bf, acked, events);
    barefs_close(bf);
    faultdisk_destroy(cut);
}

START_TEST(test_model_crash)
{
    faultdisk_t *fd = faultdisk_create(64 * MIB);
    barefs_t *bf = barefs_create(fd);
    uint64_t acked[ACKS], total, seed = env("SEED", 1) + (uint64_t)_i + 50;
    uint8_t zeros[ACKS * 1000] = {0};
    uint64_t done;
    znode_t *zp;
    char name[20];
    ctx_t c;

    cowbird_log_set_sink(quiet);
    ctx_init(&c, bf, seed);
    ctx_mount(&c, bf, "work");
    ck_assert_int_eq(zpl_fs_sync(bf->bf_zfs), 0);
    faultdisk_record(fd);
    for (int i = 0; i < ACKS; i++) {
        znode_t *root;
        for (int k = 0; k < 60; k++)
            step(&c);
        snprintf(name, sizeof(name), "ack%d", i);
        ck_assert_int_eq(zpl_lookup(c.zroot, "..", &root), 0);
        ck_assert_int_eq(zpl_mknod(root, name, S_IFREG | 0644, 0, &cred, &zp), 0);
        ck_assert_int_eq(zpl_write(zp, 0, (uint64_t)i * 1000, zeros, &done), 0);
        ck_assert_int_eq(zpl_fsync(zp, false), 0);
        acked[i] = faultdisk_events(fd);
        zpl_znode_rele(zp);
        zpl_znode_rele(root);
    }
    close_all(&c);
    zpl_znode_rele(c.zroot);
    barefs_close(bf);
    total = faultdisk_events(fd);
    for (uint64_t e = 0; e <= total; e += 1 + total / env("CUTS", 150))
        cut_and_look(fd, e, e % 3 == 0 ? 0 : e, acked);
    ctx_fini(&c);
    faultdisk_destroy(fd);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("zpl_model");
    const struct { const char *name; const TTest *t; int n; } tests[] = {
        {"model", test_model, 4}, {"threads", test_model_threads, 1}, {"crash", test_model_crash, 3}};

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
        TCase *tc = tcase_create(tests[i].name);
        tcase_set_timeout(tc, 120);
        tcase_add_loop_test(tc, tests[i].t, 0, tests[i].n);
        suite_add_tcase(s, tc);
    }
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
