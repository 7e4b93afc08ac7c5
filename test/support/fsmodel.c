/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fsmodel.c - random work on a file system and on a model of it in memory.
 *
 *     walk down to a random directory ──► random operation there, on both ──► same errno?  same bytes?
 */
#include "fsmodel.h"

#include <check.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <sys/xattr.h>

static const zpl_cred_t cred = {.zc_uid = 1, .zc_gid = 2, .zc_umask = 0};

/* ---- the model ---- */

uint64_t
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

void
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
        err = type == S_IFLNK ? zpl_symlink(dzp, name, text, &cred, &zp)
                              : zpl_mknod(dzp, name, type | 0755, 0, &cred, &zp);
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
    want = m == NULL                      ? ENOENT
           : dir && m->m_type != S_IFDIR  ? ENOTDIR
           : !dir && m->m_type == S_IFDIR ? EISDIR
           : dir && m->m_nent > 0         ? ENOTEMPTY
                                          : 0;
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
    uint64_t off = rnd(c, 3) ? rnd(c, 5000) : rnd(c, MAX_SIZE),
             n = rnd(c, 4) ? rnd(c, 3000) : rnd(c, MAX_SIZE), done;
    znode_t *zp;
    mnode_t *m = rnd_file(c, &zp, S_IFREG);

    if (m == NULL)
        return;
    if (rnd(c, 4) == 0)
        off = m->m_size;
    if (off + n > MAX_SIZE)
        n = off < MAX_SIZE ? MAX_SIZE - off : 0;
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
    ck_assert_int_eq(
        zpl_fallocate(zp, keep ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE, off, n),
        0);
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
        want = m->m_xattr[i].set        ? (flags == XATTR_CREATE ? EEXIST : 0)
               : flags == XATTR_REPLACE ? ENODATA
                                        : 0;
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

void
close_all(ctx_t *c)
{
    for (int o = 0; o < MAX_OPEN; o++)
        if (c->open[o].zp != NULL) {
            zpl_znode_rele(c->open[o].zp);
            m_rele(c->open[o].m);
            c->open[o].zp = NULL;
        }
}

void
step(ctx_t *c)
{
    static void (*const ops[])(ctx_t *) = {op_create, op_create, op_remove, op_link, op_rename,
                                           op_rename, op_write,  op_write,  op_read, op_truncate,
                                           op_punch,  op_xattr,  op_open};

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

void
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
        ck_assert_int_eq(zpl_getxattr(zp, names[i], c->buf2, MAX_SIZE, &len),
                         m->m_xattr[i].set ? 0 : ENODATA);
        if (m->m_xattr[i].set)
            ck_assert(len == m->m_xattr[i].n && memcmp(c->buf2, m->m_xattr[i].v, len) == 0);
    }
}

void
ctx_init(ctx_t *c, uint64_t seed)
{
    memset(c, 0, sizeof(*c));
    c->seed = seed * 2654435761u + 88172645463325252ull;
    c->root = m_new(S_IFDIR, NULL);
    c->root->m_refs = 1;
    c->buf = xmalloc(MAX_SIZE);
    c->buf2 = xmalloc(MAX_SIZE);
}

void
ctx_fini(ctx_t *c)
{
    m_free_tree(c->root);
    m_rele(c->root);
    free(c->buf);
    free(c->buf2);
}

void
ctx_mount(ctx_t *c, zpl_fs_t *zfs, const char *dir)
{
    znode_t *root;

    c->zfs = zfs;
    ck_assert_int_eq(zpl_znode_hold(c->zfs, zpl_fs_root(c->zfs), &root), 0);
    c->zroot = root;
    if (dir == NULL)
        return;
    if (zpl_lookup(root, dir, &c->zroot) == ENOENT)
        ck_assert_int_eq(zpl_mknod(root, dir, S_IFDIR | 0755, 0, &cred, &c->zroot), 0);
    zpl_znode_rele(root);
}
