/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_manifest POOLFILE STREAM... - receive streams one after another into a new pool and print the last snapshot's tree, read
 * through the file system layer:
 *
 *     mode(octal) uid:gid links=N size=N mtime=S.NNNNNNNNN SHA-256|-|->TARGET path        sorted by path
 *
 * The pool file is made (sparse) and left behind. With -x, xattrs (name and SHA-256) follow each line, with -d device numbers.
 */
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "zpl_impl.h"

static bool show_xattr, show_dev;
static char **lines;
static size_t nlines;

static void
die(const char *what, int err)
{
    fprintf(stderr, "%s: %s\n", what, cowbird_strerror(err));
    exit(1);
}

static char *
hex(const unsigned char *d, unsigned n)
{
    char *s = xmalloc(2 * n + 1);

    for (unsigned i = 0; i < n; i++)
        sprintf(s + 2 * i, "%02x", d[i]);
    return s;
}

static char *
hash_file(znode_t *zp, uint64_t size)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    unsigned char digest[EVP_MAX_MD_SIZE], *buf = xmalloc(1 << 20);
    unsigned n;
    uint64_t done;
    int err;

    EVP_DigestInit_ex(md, EVP_sha256(), NULL);
    for (uint64_t off = 0; off < size; off += done) {
        if ((err = zpl_read(zp, off, 1 << 20, buf, &done)) != 0)
            die("read", err);
        EVP_DigestUpdate(md, buf, done);
    }
    EVP_DigestFinal_ex(md, digest, &n);
    EVP_MD_CTX_free(md);
    free(buf);
    return hex(digest, n);
}

static char *
content(znode_t *zp, const struct stat *st)
{
    char text[4100];
    size_t len;
    int err;

    if (S_ISREG(st->st_mode))
        return hash_file(zp, (uint64_t)st->st_size);
    if (!S_ISLNK(st->st_mode))
        return xstrdup("-");
    if ((err = zpl_readlink(zp, text, 4096, &len)) != 0)
        die("readlink", err);
    text[len] = '\0';
    return xasprintf("->%s", text);
}

static void
add_line(char *line)
{
    lines = xrealloc(lines, (nlines + 1) * sizeof(*lines));
    lines[nlines++] = line;
}

static void
add_xattrs(znode_t *zp, const char *path)
{
    char names[65536], *value = xmalloc(70000);
    size_t len, vlen;
    int err;

    if ((err = zpl_listxattr(zp, names, sizeof(names), &len)) != 0)
        die("listxattr", err);
    for (char *p = names; p < names + len; p += strlen(p) + 1) {
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned n;
        if ((err = zpl_getxattr(zp, p, value, 70000, &vlen)) != 0)
            die(p, err);
        EVP_Digest(value, vlen, digest, &n, EVP_sha256(), NULL);
        char *h = hex(digest, n);
        add_line(xasprintf("%s\t\txattr %s len=%zu %s", path, p, vlen, h));
        free(h);
    }
    free(value);
}

static void walk(zpl_fs_t *zfs, znode_t *zp, const char *path);

typedef struct dir {
    zpl_fs_t *zfs;
    const char *path;
    struct {
        char *name;
        uint64_t object;
    } * ents;
    size_t n;
} dir_t;

static bool
entry(void *arg, const char *name, uint64_t object, unsigned char type, uint64_t next)
{
    dir_t *d = arg;

    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return true;
    d->ents = xrealloc(d->ents, (d->n + 1) * sizeof(*d->ents));
    d->ents[d->n].name = xstrdup(name);
    d->ents[d->n++].object = object;
    return true;
}

static void
walk_dir(zpl_fs_t *zfs, znode_t *zp, const char *path)
{
    dir_t d = {.zfs = zfs, .path = path};
    znode_t *child;
    int err;

    if ((err = zpl_readdir(zp, 0, entry, &d)) != 0)
        die("readdir", err);
    for (size_t i = 0; i < d.n; i++) {
        char *sub =
            strcmp(path, ".") == 0 ? xstrdup(d.ents[i].name) : xasprintf("%s/%s", path, d.ents[i].name);
        if ((err = zpl_lookup(zp, d.ents[i].name, &child)) != 0)
            die(sub, err);
        walk(zfs, child, sub);
        zpl_znode_rele(child);
        free(sub);
        free(d.ents[i].name);
    }
    free(d.ents);
}

static void
walk(zpl_fs_t *zfs, znode_t *zp, const char *path)
{
    struct stat st;
    char *what, dev[40] = "";
    int err;

    if ((err = zpl_getattr(zp, &st)) != 0)
        die("getattr", err);
    what = content(zp, &st);
    if (show_dev && (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)))
        snprintf(dev, sizeof(dev), " dev=%u:%u", major(st.st_rdev), minor(st.st_rdev));
    add_line(xasprintf("%s\t%06o %u:%u links=%lu size=%ld mtime=%ld.%09ld %s %s%s", path, st.st_mode,
                       st.st_uid, st.st_gid, (unsigned long)st.st_nlink, (long)st.st_size,
                       (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, what, path, dev));
    free(what);
    if (show_xattr)
        add_xattrs(zp, path);
    if (S_ISDIR(st.st_mode))
        walk_dir(zfs, zp, path);
}

static int
by_path(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
say(void *arg, const char *line)
{
    fprintf(stderr, "%s\n", line);
}

static void
print_tree(dsl_pool_t *dp, const char *name)
{
    zpl_check_t zc = {.zc_report = say};
    zpl_fs_t *zfs;
    znode_t *root;
    int err;

    if ((err = zpl_fs_mount(dp, name, 0, &zfs)) != 0)
        die(name, err);
    if ((err = zpl_znode_hold(zfs, zpl_fs_root(zfs), &root)) != 0)
        die("root", err);
    walk(zfs, root, ".");
    zpl_znode_rele(root);
    if ((err = zpl_check_objset(zfs->zf_os, &zc)) != 0)
        die("check", err);
    if (zc.zc_problems != 0)
        fprintf(stderr, "%s: %llu problems\n", name, (unsigned long long)zc.zc_problems);
    zpl_fs_unmount(zfs);
    qsort(lines, nlines, sizeof(*lines), by_path);
    for (size_t i = 0; i < nlines; i++) {
        puts(strchr(lines[i], '\t') + 1);
        free(lines[i]);
    }
    free(lines);
}

static void
receive(dsl_pool_t *dp, const char *stream, char *received)
{
    dmu_receive_args_t ra = {.dra_target = "tank/fs", .dra_force = true};
    stream_error_t se = {0};
    int err;

    if ((ra.dra_fd = open(stream, O_RDONLY)) < 0)
        die(stream, errno);
    if ((err = dmu_receive(dp, &ra, received, &se)) != 0) {
        fprintf(stderr, "%s: %s (record %llu)\n", stream, se.se_text, (unsigned long long)se.se_record);
        die(stream, err);
    }
    close(ra.dra_fd);
}

int
main(int argc, char **argv)
{
    dsl_pool_create_args_t args = {.pca_name = "tank", .pca_path = "/tank", .pca_ashift = 12};
    char received[ZFS_MAX_DATASET_NAME_LEN];
    dsl_pool_t *dp;
    disk_t disk;
    int opt, fd, err;

    while ((opt = getopt(argc, argv, "xd")) != -1)
        *(opt == 'x' ? &show_xattr : &show_dev) = true;
    if (argc - optind < 2)
        return 2;
    dsl_set_objset_init(zpl_objset_init);
    if ((fd = open(argv[optind], O_RDWR | O_CREAT | O_TRUNC, 0600)) < 0 || ftruncate(fd, 1 << 30) != 0)
        die(argv[optind], errno);
    close(fd);
    if ((err = disk_open(argv[optind], 0, &disk)) != 0 || (err = dsl_pool_create(&disk, &args, &dp)) != 0)
        die("pool", err);
    for (int i = optind + 1; i < argc; i++)
        receive(dp, argv[i], received);
    print_tree(dp, received);
    return dsl_pool_close(dp) != 0;
}
