/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zpl_path.c - from an object's number to a path, for lists of damaged files.
 *
 *     object ── parent attribute ──► directory ── search its entries for the number ──► name; and so on up
 *
 * A file of several names has one parent attribute; when its name is not there, the whole tree is searched.
 *
 * Invariants:
 *   1. The disk may be damaged: loops end after PATH_DEPTH steps, an unreadable directory gives "?" for the
 *      name.
 *
 * ZFS: zfs_obj_to_path (zfs_znode_os.c)
 */
#include <stdio.h>
#include "zpl_impl.h"

#define PATH_DEPTH    4096
#define SEARCH_BUDGET 1000000 /* entries looked at for a file that is not where its parent attribute says */

typedef struct path_ctx {
    const zpl_attr_ctx_t *pc_ac;
    uint64_t pc_root;
    zpl_names_t *pc_names; /* or NULL */
} path_ctx_t;

/* Prepends "/name" to the text that ends at path + n. */
typedef struct path_buf {
    char *pb_start, *pb_pos;
} path_buf_t;

static int
path_prepend(path_buf_t *pb, const char *name)
{
    size_t len = strlen(name);
    bool sep = *pb->pb_pos != '\0';

    if ((size_t)(pb->pb_pos - pb->pb_start) < len + sep)
        return SET_ERROR(ENAMETOOLONG);
    if (sep)
        *--pb->pb_pos = '/';
    pb->pb_pos -= len;
    memcpy(pb->pb_pos, name, len);
    return 0;
}

/* The name under which dir lists object. */
static int
name_in_dir(const path_ctx_t *pc, uint64_t dir, uint64_t object, char *name)
{
    const zpl_attr_ctx_t *ac = pc->pc_ac;
    const char *found;
    zap_attribute_t za;
    zap_cursor_t zc;
    int err;

    if (pc->pc_names != NULL) {
        if ((err = zpl_names_find(pc->pc_names, ac->ac_os, dir, object, &found)) == 0)
            snprintf(name, ZAP_MAXNAMELEN_READ, "%s", found);
        return err;
    }

    zap_cursor_init(&zc, ac->ac_os, dir);
    while ((err = zap_cursor_retrieve(&zc, &za)) == 0 && ZPL_DIRENT_OBJ(za.za_first_integer) != object)
        zap_cursor_advance(&zc);
    zap_cursor_fini(&zc);
    if (err == 0)
        snprintf(name, ZAP_MAXNAMELEN_READ, "%s", za.za_name);
    return err;
}

/* ---- the whole tree, when parents do not help ---- */

typedef struct dir_queue {
    uint64_t *dq_dirs;
    size_t dq_n, dq_room;
    uint64_t dq_budget;
} dir_queue_t;

static void
queue_add(dir_queue_t *dq, uint64_t dir)
{
    if (dq->dq_n == dq->dq_room) {
        dq->dq_room = MAX((size_t)64, dq->dq_room * 2);
        dq->dq_dirs = xrealloc(dq->dq_dirs, dq->dq_room * sizeof(uint64_t));
    }
    dq->dq_dirs[dq->dq_n++] = dir;
}

/* True when object is in dir; sub-directories are queued. */
static bool
search_dir(const zpl_attr_ctx_t *ac, dir_queue_t *dq, uint64_t dir, uint64_t object)
{
    zap_attribute_t za;
    zap_cursor_t zc;
    bool found = false;

    zap_cursor_init(&zc, ac->ac_os, dir);
    while (!found && dq->dq_budget > 0 && zap_cursor_retrieve(&zc, &za) == 0) {
        uint64_t de = za.za_first_integer;

        dq->dq_budget--;
        found = ZPL_DIRENT_OBJ(de) == object;
        if (ZPL_DIRENT_TYPE(de) == S_IFDIR >> 12)
            queue_add(dq, ZPL_DIRENT_OBJ(de));
        zap_cursor_advance(&zc);
    }
    zap_cursor_fini(&zc);
    return found;
}

static int
search_tree(const zpl_attr_ctx_t *ac, uint64_t root, uint64_t object, uint64_t *dir)
{
    dir_queue_t dq = {.dq_budget = SEARCH_BUDGET};
    bool found = false;

    queue_add(&dq, root);
    for (size_t i = 0; i < dq.dq_n && !found; i++)
        if ((found = search_dir(ac, &dq, dq.dq_dirs[i], object)))
            *dir = dq.dq_dirs[i];
    free(dq.dq_dirs);
    return found ? 0 : SET_ERROR(ENOENT);
}

/* ---- up to the root ---- */

/* One step: the name of object, and the directory it is in. */
static int
path_step(const path_ctx_t *pc, uint64_t object, const zpl_attrs_t *at, char *name, uint64_t *dir)
{
    int err;

    *dir = at->za_parent;
    if ((at->za_flags & ZPL_XATTR) && S_ISDIR(at->za_mode)) {
        strcpy(name, "<xattrdir>");
        return 0;
    }
    if ((err = name_in_dir(pc, *dir, object, name)) == 0)
        return 0;
    if (!S_ISDIR(at->za_mode) && err == ENOENT && search_tree(pc->pc_ac, pc->pc_root, object, dir) == 0)
        return name_in_dir(pc, *dir, object, name);
    strcpy(name, "?");
    return 0;
}

static int
path_climb(const path_ctx_t *pc, uint64_t object, path_buf_t *pb)
{
    char name[ZAP_MAXNAMELEN_READ];
    zpl_attrs_t at;
    uint64_t dir;
    int err;

    for (int depth = 0; object != pc->pc_root; depth++, object = dir) {
        if (depth == PATH_DEPTH)
            return SET_ERROR(ELOOP);
        if ((err = zpl_attr_read(pc->pc_ac, object, &at)) != 0)
            return depth == 0 ? SET_ERROR(ENOENT) : path_prepend(pb, "?");
        if ((err = path_step(pc, object, &at, name, &dir)) != 0 || (err = path_prepend(pb, name)) != 0)
            return err;
    }
    return 0;
}

int
zpl_path_of(const zpl_attr_ctx_t *ac, uint64_t root, zpl_names_t *names, uint64_t object, char *path, size_t n)
{
    path_buf_t pb = {.pb_start = path, .pb_pos = path + n - 1};
    path_ctx_t pc = {ac, root, names};

    path[n - 1] = '\0';
    int err = path_climb(&pc, object, &pb);
    memmove(path, pb.pb_pos, strlen(pb.pb_pos) + 1);
    return err;
}

int
zpl_object_path(objset_t *os, uint64_t object, char *path, size_t n)
{
    zpl_attr_ctx_t ac;
    uint64_t root;
    int err;

    if (n == 0)
        return SET_ERROR(ENAMETOOLONG);
    path[0] = '\0';
    if ((err = zpl_attr_ctx_init(os, &ac)) != 0)
        return err;
    if ((err = zap_lookup_u64(os, MASTER_NODE_OBJ, ZPL_KEY_ROOT, &root)) == 0)
        err = zpl_path_of(&ac, root, NULL, object, path, n);
    zpl_attr_ctx_fini(&ac);
    return err;
}
