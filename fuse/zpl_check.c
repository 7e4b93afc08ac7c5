/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_check.c - is a whole file system consistent? For tests, after crashes and damage.
 *
 *     1. every object             -> a record: what it says of itself
 *     2. every directory, from the root, and every xattr directory   -> who is reached, how often
 *     3. the unlinked set         -> who has no name but an excuse
 *     4. every record             -> does what it says agree with what was seen?
 *
 * What must hold: every file is reached or on the unlinked set; links are the names seen; a directory's
 * size is its entries + 2, its links 2 + directories in it, its parent where it is listed, once; types of
 * entries and files agree; size and block size fit; bytes after the size are zero. Version 5: zpl_check_sa.c.
 *
 * Nothing may change the object set meanwhile. Memory: about 64 bytes per object.
 *
 * ZFS has no such program; zdb prints, it does not judge.
 */
#include <stdarg.h>
#include <stdio.h>
#include "zpl_impl.h"

typedef struct check_rec {
    uint64_t cr_object, cr_size, cr_links, cr_parent, cr_xattr, cr_flags;
    uint64_t cr_seen; /* names that lead here */
    uint32_t cr_mode; /* 0: not a file */
    bool cr_on_unlinked;
    bool cr_dying; /* an unlinked file's xattr directory, perhaps half emptied */
} check_rec_t;

typedef struct check {
    zpl_check_t *c_zc;
    zpl_attr_ctx_t c_ac;
    uint64_t c_root, c_unlinked;
    check_rec_t *c_recs; /* by object number */
    size_t c_n, c_room;
    size_t *c_queue; /* directories reached and not yet walked: indices */
    size_t c_queued;
} check_t;

static void __attribute__((format(printf, 2, 3))) problem(check_t *c, const char *fmt, ...)
{
    char line[400];
    va_list ap;

    c->c_zc->zc_problems++;
    if (c->c_zc->zc_report == NULL)
        return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    c->c_zc->zc_report(c->c_zc->zc_arg, line);
}

#define U(x) ((unsigned long long)(x))

static check_rec_t *
rec_find(check_t *c, uint64_t object)
{
    size_t lo = 0, hi = c->c_n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (c->c_recs[mid].cr_object == object)
            return &c->c_recs[mid];
        if (c->c_recs[mid].cr_object < object)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

/* ---- 1: every object ---- */

/* Zeros behind the end of the file, up to the end of its block. */
static void
check_tail(check_t *c, uint64_t object, uint64_t size, uint32_t blksz)
{
    uint64_t n = size % blksz == 0 ? 0 : blksz - size % blksz;
    uint8_t *buf;
    int err;

    if (n == 0)
        return;
    buf = xmalloc(n);
    if ((err = dmu_read(c->c_ac.ac_os, object, size, n, buf)) != 0)
        problem(c, "object %llu: its last block: %s", U(object), cowbird_strerror(err));
    for (uint64_t i = 0; i < n && err == 0; i++)
        if (buf[i] != 0) {
            problem(c, "object %llu: bytes after its end (%llu) are not zero", U(object), U(size));
            break;
        }
    free(buf);
}

static void
check_blocks(check_t *c, const check_rec_t *cr, const dmu_object_info_t *doi)
{
    uint64_t size = cr->cr_size;
    uint32_t blksz = doi->doi_data_block_size;

    if (size > blksz && !ISP2(blksz))
        problem(c, "object %llu: size %llu with blocks of %u", U(cr->cr_object), U(size), blksz);
    if (doi->doi_max_offset > P2ROUNDUP(size, (uint64_t)512) && doi->doi_max_offset - size > blksz)
        problem(c, "object %llu: blocks up to %llu behind its end %llu", U(cr->cr_object),
                U(doi->doi_max_offset), U(size));
    check_tail(c, cr->cr_object, size, blksz);
}

static void
rec_fill(check_t *c, check_rec_t *cr)
{
    dmu_object_info_t doi;
    const char *what;
    zpl_attrs_t at;
    int err;

    if ((err = dmu_object_info(c->c_ac.ac_os, cr->cr_object, &doi)) != 0) {
        problem(c, "object %llu: %s", U(cr->cr_object), cowbird_strerror(err));
        return;
    }
    if (doi.doi_bonus_type != DMU_OT_ZNODE && doi.doi_bonus_type != DMU_OT_SA)
        return;
    if ((err = zpl_attr_read(&c->c_ac, cr->cr_object, &at)) != 0) {
        problem(c, "object %llu: attributes: %s", U(cr->cr_object), cowbird_strerror(err));
        return;
    }
    if (doi.doi_bonus_type == DMU_OT_SA && (what = zpl_check_sa(&c->c_ac, cr->cr_object, &at)) != NULL)
        problem(c, "object %llu: attributes: %s", U(cr->cr_object), what);
    cr->cr_size = at.za_size;
    cr->cr_links = at.za_links;
    cr->cr_parent = at.za_parent;
    cr->cr_xattr = at.za_xattr;
    cr->cr_flags = at.za_flags;
    cr->cr_mode = at.za_mode;
    if (S_ISREG(at.za_mode))
        check_blocks(c, cr, &doi);
}

static int
collect(check_t *c)
{
    uint64_t object = 0;
    int err;

    while ((err = dmu_object_next(c->c_ac.ac_os, &object, false, 0)) == 0) {
        if (c->c_n == c->c_room) {
            c->c_room = MAX((size_t)256, c->c_room * 2);
            c->c_recs = xrealloc(c->c_recs, c->c_room * sizeof(check_rec_t));
        }
        c->c_recs[c->c_n] = (check_rec_t){.cr_object = object};
        rec_fill(c, &c->c_recs[c->c_n++]);
    }
    c->c_queue = xmalloc((c->c_n + 1) * sizeof(size_t));
    return err == ESRCH ? 0 : err;
}

/* ---- 2: every directory ---- */

/* A directory is reached: once only, so that the queue has room and no loop is walked. */
static void
reach_dir(check_t *c, check_rec_t *cr, uint64_t parent)
{
    if (cr->cr_parent != parent)
        problem(c, "directory %llu: in %llu, but its parent is %llu", U(cr->cr_object), U(parent),
                U(cr->cr_parent));
    if (++cr->cr_seen == 1)
        c->c_queue[c->c_queued++] = (size_t)(cr - c->c_recs);
    else
        problem(c, "directory %llu: has more than one name", U(cr->cr_object));
}

static void
check_entry(check_t *c, const check_rec_t *dir, const zap_attribute_t *za, uint64_t *subdirs)
{
    uint64_t de = za->za_first_integer;
    check_rec_t *cr = rec_find(c, ZPL_DIRENT_OBJ(de));
    unsigned char type = ZPL_DIRENT_TYPE(de);

    if (za->za_integer_length != 8 || za->za_num_integers != 1 || cr == NULL || cr->cr_mode == 0) {
        problem(c, "directory %llu: \"%s\" leads to no file (%llx)", U(dir->cr_object), za->za_name, U(de));
        return;
    }
    if (type != 0 && type != cr->cr_mode >> 12)
        problem(c, "directory %llu: \"%s\" has type %u, object %llu mode %o", U(dir->cr_object), za->za_name,
                type, U(cr->cr_object), cr->cr_mode);
    if ((cr->cr_flags ^ dir->cr_flags) & ZPL_XATTR)
        problem(c, "directory %llu: \"%s\" is hidden or should be", U(dir->cr_object), za->za_name);
    if (cr->cr_links == 0)
        problem(c, "directory %llu: \"%s\" leads to %llu, which has no links", U(dir->cr_object), za->za_name,
                U(cr->cr_object));
    if (S_ISDIR(cr->cr_mode)) {
        (*subdirs)++;
        reach_dir(c, cr, dir->cr_object);
    } else {
        cr->cr_seen++;
    }
}

static void
check_dir(check_t *c, check_rec_t *dir)
{
    uint64_t entries = 0, subdirs = 0, count = 0;
    zap_attribute_t za;
    zap_cursor_t zc;
    int err;

    zap_cursor_init(&zc, c->c_ac.ac_os, dir->cr_object);
    while ((err = zap_cursor_retrieve(&zc, &za)) == 0) {
        entries++;
        check_entry(c, dir, &za, &subdirs);
        zap_cursor_advance(&zc);
    }
    zap_cursor_fini(&zc);
    if (err != ENOENT || (err = zap_count(c->c_ac.ac_os, dir->cr_object, &count)) != 0)
        problem(c, "directory %llu: %s", U(dir->cr_object), cowbird_strerror(err));
    if (count != entries)
        problem(c, "directory %llu: counts %llu entries, has %llu", U(dir->cr_object), U(count), U(entries));
    if (dir->cr_dying)
        return;
    if (dir->cr_size != entries + 2)
        problem(c, "directory %llu: size %llu, entries %llu", U(dir->cr_object), U(dir->cr_size), U(entries));
    if (dir->cr_links != subdirs + 2)
        problem(c, "directory %llu: links %llu, directories in it %llu", U(dir->cr_object), U(dir->cr_links),
                U(subdirs));
}

static void
walk_queue(check_t *c)
{
    for (size_t i = 0; i < c->c_queued; i++)
        check_dir(c, &c->c_recs[c->c_queue[i]]);
}

/* Every file's hidden directory. */
static void
reach_xattrs(check_t *c)
{
    for (size_t i = 0; i < c->c_n; i++) {
        check_rec_t *cr = &c->c_recs[i], *xr;

        if (cr->cr_mode == 0 || cr->cr_xattr == 0)
            continue;
        xr = rec_find(c, cr->cr_xattr);
        if (xr == NULL || !S_ISDIR(xr->cr_mode) || !(xr->cr_flags & ZPL_XATTR))
            problem(c, "object %llu: its xattr directory %llu is none", U(cr->cr_object), U(cr->cr_xattr));
        else {
            xr->cr_dying = cr->cr_links == 0;
            reach_dir(c, xr, cr->cr_object);
        }
    }
}

/* The hidden directory that zfs-fuse and illumos make for SMB shares. */
static void
reach_shares(check_t *c)
{
    uint64_t object;
    check_rec_t *cr;

    if (zap_lookup_u64(c->c_ac.ac_os, MASTER_NODE_OBJ, ZPL_KEY_SHARES, &object) == 0 &&
        (cr = rec_find(c, object)) != NULL && S_ISDIR(cr->cr_mode))
        reach_dir(c, cr, cr->cr_parent);
}

/* ---- 3: the unlinked set ---- */

static int
walk_unlinked(check_t *c)
{
    zap_attribute_t za;
    zap_cursor_t zc;
    check_rec_t *cr;
    int err;

    zap_cursor_init(&zc, c->c_ac.ac_os, c->c_unlinked);
    while ((err = zap_cursor_retrieve(&zc, &za)) == 0) {
        c->c_zc->zc_unlinked++;
        cr = rec_find(c, za.za_first_integer);
        if (cr == NULL || cr->cr_mode == 0)
            problem(c, "unlinked set: %s leads to no file", za.za_name);
        else
            cr->cr_on_unlinked = true;
        zap_cursor_advance(&zc);
    }
    zap_cursor_fini(&zc);
    return err == ENOENT ? 0 : err;
}

/* ---- 4: every record ---- */

static void
judge(check_t *c, const check_rec_t *cr)
{
    bool dir = S_ISDIR(cr->cr_mode);

    if (cr->cr_mode == 0)
        return;
    if (dir)
        c->c_zc->zc_dirs++;
    else
        c->c_zc->zc_files++;
    if (cr->cr_on_unlinked && (cr->cr_links != 0 || cr->cr_seen != 0))
        problem(c, "object %llu: on the unlinked set with %llu links, %llu names", U(cr->cr_object),
                U(cr->cr_links), U(cr->cr_seen));
    if (!cr->cr_on_unlinked && cr->cr_seen == 0)
        problem(c, "object %llu: mode %o, links %llu, but no name leads here", U(cr->cr_object), cr->cr_mode,
                U(cr->cr_links));
    if (!dir && cr->cr_links != cr->cr_seen)
        problem(c, "object %llu: %llu links, %llu names", U(cr->cr_object), U(cr->cr_links), U(cr->cr_seen));
}

static int
check_open(check_t *c, objset_t *os)
{
    int err;

    if ((err = zpl_attr_ctx_init(os, &c->c_ac)) != 0)
        return err;
    if ((err = zap_lookup_u64(os, MASTER_NODE_OBJ, ZPL_KEY_ROOT, &c->c_root)) != 0)
        return err;
    err = zap_lookup_u64(os, MASTER_NODE_OBJ, ZPL_KEY_UNLINKED, &c->c_unlinked);
    return err == ENOENT ? 0 : err;
}

static int
check_run(check_t *c)
{
    check_rec_t *root;
    const char *what;
    unsigned layout;
    int err;

    if ((what = zpl_check_sa_tables(&c->c_ac, &layout)) != NULL)
        problem(c, "layout %u %s", layout, what);
    if ((err = collect(c)) != 0)
        return err;
    if ((root = rec_find(c, c->c_root)) == NULL || !S_ISDIR(root->cr_mode)) {
        problem(c, "the root (object %llu) is no directory", U(c->c_root));
        return 0;
    }
    reach_dir(c, root, c->c_root);
    reach_shares(c);
    reach_xattrs(c);
    walk_queue(c);
    if (c->c_unlinked != 0 && (err = walk_unlinked(c)) != 0)
        return err;
    for (size_t i = 0; i < c->c_n; i++)
        judge(c, &c->c_recs[i]);
    return 0;
}

int
zpl_check_objset(objset_t *os, zpl_check_t *zc)
{
    check_t c = {.c_zc = zc};
    int err;

    zc->zc_files = zc->zc_dirs = zc->zc_unlinked = zc->zc_problems = 0;
    if ((err = check_open(&c, os)) == 0)
        err = check_run(&c);
    free(c.c_queue);
    free(c.c_recs);
    zpl_attr_ctx_fini(&c.c_ac);
    return err;
}
