/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuse_readdir.c - listing directories, with attributes (readdirplus) or without.
 *
 *     cookie   0 .. 2^60 and a few      the directory's own entries, as zpl_readdir numbers them
 *              2^61                     .zfs, when visible
 *              2^61 | hash              child datasets (in .zfs/snapshot: snapshots), in the order of their hashes
 *
 * zpl_readdir() calls back with the directory locked, so entries are collected first and their attributes read after.
 * In readdirplus each entry given counts as a lookup of its node, "." and ".." excepted; an entry with node id 0 has no
 * attributes and is looked up when needed. A file that went away meanwhile, or cannot be read, is given like that.
 */
#include "mount_impl.h"

struct dirbuf {
    fuse_req_t db_req;
    bool db_plus;
    char *db_mem;
    size_t db_used, db_size;
};

typedef struct dent {
    uint64_t de_object, de_next;
    uint32_t de_type; /* mode bits */
    uint32_t de_name; /* offset into the names */
} dent_t;

/* What one call collected: at most as much as the reply may hold. */
typedef struct dentlist {
    node_t *dl_dir;
    dent_t *dl_ents;
    char *dl_names;
    size_t dl_count, dl_room, dl_namelen, dl_nameroom;
    size_t dl_bytes, dl_limit; /* in the reply */
    size_t dl_fixed;           /* bytes of an entry with an empty name */
    bool dl_full;              /* there are more */
} dentlist_t;

/* ---- the reply ---- */

static bool
dirbuf_add(dirbuf_t *db, const char *name, const struct fuse_entry_param *e, uint64_t next)
{
    char *at = db->db_mem + db->db_used;
    size_t room = db->db_size - db->db_used;
    size_t n = db->db_plus ? fuse_add_direntry_plus(db->db_req, at, room, name, e, (off_t)next)
                           : fuse_add_direntry(db->db_req, at, room, name, &e->attr, (off_t)next);
    if (n > room)
        return false;
    db->db_used += n;
    return true;
}

bool
dirbuf_add_special(dirbuf_t *db, const char *name, uint64_t ino, uint64_t next)
{
    struct fuse_entry_param e = {.attr.st_ino = ino, .attr.st_mode = S_IFDIR};
    return dirbuf_add(db, name, &e, next);
}

void
dirbuf_add_names(dirbuf_t *db, const name_set_t *ns, uint64_t cookie, uint64_t ino)
{
    for (size_t i = 0; i < ns->ns_count; i++) {
        uint64_t next = COOKIE_SPECIAL | ns->ns_entries[i].ne_hash;
        struct fuse_entry_param e = {.attr.st_ino = ino}; /* a directory, or a volume's file: looked up when it matters */
        if (next > cookie && !dirbuf_add(db, ns->ns_entries[i].ne_name, &e, next))
            return;
    }
}

/* ---- collecting ---- */

static bool
collect_entry(void *arg, const char *name, uint64_t object, unsigned char d_type, uint64_t next)
{
    dentlist_t *dl = arg;
    size_t len = strlen(name) + 1, bytes = P2ROUNDUP(dl->dl_fixed + len - 1, (size_t)8);
    if (dl->dl_bytes + bytes > dl->dl_limit) {
        dl->dl_full = true;
        return false;
    }
    if (dl->dl_count == dl->dl_room) {
        dl->dl_room = dl->dl_room * 2 + 32;
        dl->dl_ents = xrealloc(dl->dl_ents, dl->dl_room * sizeof(dent_t));
    }
    if (dl->dl_namelen + len > dl->dl_nameroom) {
        dl->dl_nameroom = (dl->dl_nameroom + len) * 2 + 1024;
        dl->dl_names = xrealloc(dl->dl_names, dl->dl_nameroom);
    }
    memcpy(dl->dl_names + dl->dl_namelen, name, len);
    dl->dl_ents[dl->dl_count++] = (dent_t){object, next, (uint32_t)d_type << 12, (uint32_t)dl->dl_namelen};
    dl->dl_namelen += len;
    dl->dl_bytes += bytes;
    return true;
}

/* ---- giving ---- */

/* Attributes and a lookup of the entry's node. An error leaves the entry without. */
static void
entry_with_attributes(node_t *dn, const dent_t *de, struct fuse_entry_param *e)
{
    znode_t *zp;
    struct fuse_entry_param full;
    if (zpl_znode_hold(dn->n_mf->mf_zfs, de->de_object, &zp) == 0 && entry_fill(dn->n_mf, zp, &full) == 0)
        *e = full;
}

static bool
is_dots(const char *name)
{
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static bool
give_entry(dentlist_t *dl, dirbuf_t *db, const dent_t *de)
{
    node_t *dn = dl->dl_dir;
    const char *name = dl->dl_names + de->de_name;
    struct fuse_entry_param e = {.attr.st_ino = de->de_object, .attr.st_mode = de->de_type};
    bool dots = is_dots(name);
    if (!dots && ctl_name_taken(dn, name))
        return true; /* hidden by a dataset */
    stat_to_mount(dn->n_mf, &e.attr);
    if (db->db_plus && !dots)
        entry_with_attributes(dn, de, &e);
    if (dirbuf_add(db, name, &e, de->de_next))
        return true;
    if (e.ino != 0)
        node_forget(dn->n_mf->mf_mount, e.ino, 1);
    return false;
}

/* The directory's own entries after *cookie, which moves on. *more: there are others. */
static int
file_readdir(node_t *dn, dirbuf_t *db, uint64_t *cookie, bool *more)
{
    dentlist_t dl = {.dl_dir = dn, .dl_limit = db->db_size - db->db_used};
    dl.dl_fixed = db->db_plus ? fuse_add_direntry_plus(db->db_req, NULL, 0, "", NULL, 0)
                              : fuse_add_direntry(db->db_req, NULL, 0, "", NULL, 0);
    int err = zpl_readdir(dn->n_zp, *cookie, collect_entry, &dl);
    size_t given = 0;
    while (err == 0 && given < dl.dl_count && give_entry(&dl, db, &dl.dl_ents[given]))
        *cookie = dl.dl_ents[given++].de_next;
    *more = dl.dl_full || given < dl.dl_count;
    if (*more && given == 0 && err == 0 && db->db_used == 0)
        err = SET_ERROR(EINVAL); /* not even one fits */
    free(dl.dl_ents);
    free(dl.dl_names);
    return err;
}

/* Own entries, then what datasets add. Again while all that fitted was hidden: an empty reply would mean the end. */
static int
fill_reply(node_t *dn, dirbuf_t *db, uint64_t cookie)
{
    if (node_is_ctl(dn))
        return ctl_readdir(dn, db, cookie);
    bool more = cookie < COOKIE_SPECIAL;
    while (more && db->db_used == 0) {
        int err = file_readdir(dn, db, &cookie, &more);
        if (err != 0)
            return err;
    }
    if (!more && node_is_root(dn))
        ctl_root_readdir(dn, db, cookie);
    return 0;
}

static void
readdir_common(fuse_req_t req, fuse_ino_t ino, size_t size, uint64_t cookie, bool plus)
{
    node_t *dn;
    int err = node_enter(req_mount(req), ino, &dn);
    if (err != 0) {
        reply_err(req, err);
        return;
    }
    dirbuf_t db = {
        .db_req = req, .db_plus = plus, .db_mem = session_buffer(), .db_size = MIN(size, REQUEST_MAX)};
    err = fill_reply(dn, &db, cookie);
    node_leave(dn);
    if (err != 0)
        reply_err(req, err);
    else
        fuse_reply_buf(req, db.db_mem, db.db_used);
}

void
op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    readdir_common(req, ino, size, (uint64_t)off, false);
}

void
op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    readdir_common(req, ino, size, (uint64_t)off, true);
}
