/* SPDX-License-Identifier: BSD-2-Clause */
#include "replaymodel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t last_id;

/* ---- looking up ---- */

rm_fs_t *
rm_find(const rm_pool_t *rp, const char *name)
{
    for (int i = 0; i < RM_FS; i++)
        if (rp->rp_fs[i] != NULL && strcmp(rp->rp_fs[i]->rf_name, name) == 0)
            return rp->rp_fs[i];
    return NULL;
}

int
rm_count(const rm_pool_t *rp)
{
    int n = 0;

    for (int i = 0; i < RM_FS; i++)
        n += rp->rp_fs[i] != NULL;
    return n;
}

int
rm_snap_index(const rm_fs_t *fs, const char *snap)
{
    for (int i = 0; i < fs->rf_nsnaps; i++)
        if (strcmp(fs->rf_snaps[i].sn_name, snap) == 0)
            return i;
    return -1;
}

int
rm_snap_by_guid(const rm_fs_t *fs, uint64_t guid)
{
    for (int i = 0; i < fs->rf_nsnaps; i++)
        if (fs->rf_snaps[i].sn_guid == guid)
            return i;
    return -1;
}

rm_snap_t *
rm_snap_by_id(const rm_pool_t *rp, uint64_t id, rm_fs_t **fsp)
{
    for (int i = 0; i < RM_FS; i++) {
        rm_fs_t *fs = rp->rp_fs[i];
        for (int s = 0; fs != NULL && s < fs->rf_nsnaps; s++) {
            if (fs->rf_snaps[s].sn_id != id)
                continue;
            if (fsp != NULL)
                *fsp = fs;
            return &fs->rf_snaps[s];
        }
    }
    return NULL;
}

int
rm_clones(const rm_pool_t *rp, const rm_snap_t *sn)
{
    int n = 0;

    for (int i = 0; i < RM_FS; i++)
        n += rp->rp_fs[i] != NULL && rp->rp_fs[i]->rf_origin == sn->sn_id;
    return n;
}

bool
rm_below(const char *name, const char *top)
{
    size_t n = strlen(top);

    return strncmp(name, top, n) == 0 && (name[n] == '\0' || name[n] == '/');
}

bool
rm_has_children(const rm_pool_t *rp, const rm_fs_t *fs)
{
    for (int i = 0; i < RM_FS; i++)
        if (rp->rp_fs[i] != NULL && rp->rp_fs[i] != fs && rm_below(rp->rp_fs[i]->rf_name, fs->rf_name))
            return true;
    return false;
}

const char *
rm_prop(const rm_pool_t *rp, const rm_fs_t *fs)
{
    char name[RM_NAME];

    strcpy(name, fs->rf_name);
    for (;;) {
        const rm_fs_t *f = rm_find(rp, name);
        char *slash = strrchr(name, '/');
        if (f != NULL && f->rf_prop[0] != '\0')
            return f->rf_prop;
        if (slash == NULL)
            return "";
        *slash = '\0';
    }
}

/* Some compress well, some not at all, some fit into the pointer. */
void
rm_fill(uint32_t seed, uint8_t *buf, uint32_t n)
{
    uint64_t s = seed * 6364136223846793005ULL + 1;

    memset(buf, seed == 0 ? 0 : seed % 4 == 1 ? (uint8_t)(seed | 1) : 7, n);
    for (uint32_t i = 0; seed != 0 && seed % 4 != 1 && i < n; i += seed % 4 == 0 ? 8 : 64) {
        s = s * 6364136223846793005ULL + 1442695040888963407ULL;
        memcpy(buf + i, &s, 8);
    }
}

void
rm_wrote(rm_fs_t *fs, bool surely)
{
    rm_changed_t c = surely ? RM_CHANGED : RM_MAYBE;

    if (c > fs->rf_changed)
        fs->rf_changed = c;
}

/* ---- file systems ---- */

static rm_fs_t *
add_fs(rm_pool_t *rp, const char *name)
{
    for (int i = 0; i < RM_FS; i++) {
        if (rp->rp_fs[i] != NULL)
            continue;
        rp->rp_fs[i] = calloc(1, sizeof(rm_fs_t));
        snprintf(rp->rp_fs[i]->rf_name, RM_NAME, "%s", name);
        return rp->rp_fs[i];
    }
    abort(); /* the caller counts */
}

static void
remove_fs(rm_pool_t *rp, rm_fs_t *fs)
{
    for (int i = 0; i < RM_FS; i++)
        if (rp->rp_fs[i] == fs)
            rp->rp_fs[i] = NULL;
    free(fs);
}

void
rm_init(rm_pool_t *rp, const char *name)
{
    memset(rp, 0, sizeof(*rp));
    (void)add_fs(rp, name);
}

void
rm_fini(rm_pool_t *rp)
{
    for (int i = 0; i < RM_FS; i++)
        free(rp->rp_fs[i]);
}

static int
new_name(const rm_pool_t *rp, const char *name)
{
    char parent[RM_NAME];

    snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(name, '/') - name), name);
    if (rm_find(rp, parent) == NULL)
        return ENOENT;
    return rm_find(rp, name) != NULL ? EEXIST : 0;
}

int
rm_create(rm_pool_t *rp, const char *name)
{
    int err = new_name(rp, name);

    if (err == 0)
        (void)add_fs(rp, name);
    return err;
}

int
rm_clone(rm_pool_t *rp, const rm_snap_t *sn, const char *name)
{
    int err = new_name(rp, name);

    if (err == 0) {
        rm_fs_t *fs = add_fs(rp, name);
        fs->rf_origin = sn->sn_id;
        fs->rf_head = sn->sn_state;
    }
    return err;
}

static void
rename_one(rm_fs_t *fs, const char *from, const char *to)
{
    char name[2 * RM_NAME];

    snprintf(name, sizeof(name), "%s%s", to, fs->rf_name + strlen(from));
    snprintf(fs->rf_name, RM_NAME, "%.255s", name);
}

int
rm_rename(rm_pool_t *rp, rm_fs_t *fs, const char *to)
{
    char from[RM_NAME];
    int err = rm_below(to, fs->rf_name) && strcmp(to, fs->rf_name) != 0 ? EINVAL : new_name(rp, to);

    strcpy(from, fs->rf_name);
    for (int i = 0; err == 0 && i < RM_FS; i++)
        if (rp->rp_fs[i] != NULL && rm_below(rp->rp_fs[i]->rf_name, from))
            rename_one(rp->rp_fs[i], from, to);
    return err;
}

/* ---- snapshots ---- */

static void
remove_snap(rm_fs_t *fs, int s)
{
    rm_changed_t c = fs->rf_snaps[s].sn_changed, *next;

    next = s + 1 < fs->rf_nsnaps ? &fs->rf_snaps[s + 1].sn_changed : &fs->rf_changed;
    if (c > *next)
        *next = c;
    memmove(&fs->rf_snaps[s], &fs->rf_snaps[s + 1], (size_t)(fs->rf_nsnaps - s - 1) * sizeof(rm_snap_t));
    fs->rf_nsnaps--;
}

/* One that is marked goes with its last clone or hold. */
static void
reap(rm_pool_t *rp, uint64_t id)
{
    rm_fs_t *fs;
    rm_snap_t *sn = id != 0 ? rm_snap_by_id(rp, id, &fs) : NULL;

    if (sn != NULL && sn->sn_defer && sn->sn_tags == 0 && rm_clones(rp, sn) == 0)
        remove_snap(fs, (int)(sn - fs->rf_snaps));
}

static rm_snap_t *
add_snap(rm_fs_t *fs, const char *name, const rm_state_t *state)
{
    rm_snap_t *sn = &fs->rf_snaps[fs->rf_nsnaps++];

    memset(sn, 0, sizeof(*sn));
    snprintf(sn->sn_name, sizeof(sn->sn_name), "%s", name);
    sn->sn_id = ++last_id;
    sn->sn_changed = fs->rf_changed;
    sn->sn_state = *state;
    fs->rf_changed = RM_SAME;
    return sn;
}

int
rm_snapshot(rm_pool_t *rp, rm_fs_t *fs, const char *snap, bool recursive)
{
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < RM_FS; i++) {
            rm_fs_t *f = rp->rp_fs[i];
            if (f == NULL || (recursive ? !rm_below(f->rf_name, fs->rf_name) : f != fs))
                continue;
            if (pass == 0 && rm_snap_index(f, snap) >= 0)
                return EEXIST;
            if (pass == 1)
                (void)add_snap(f, snap, &f->rf_head);
        }
    }
    return 0;
}

int
rm_rename_snapshot(rm_pool_t *rp, rm_fs_t *fs, const char *from, const char *to, bool recursive)
{
    if (rm_snap_index(fs, from) < 0)
        return ENOENT;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < RM_FS; i++) {
            rm_fs_t *f = rp->rp_fs[i];
            if (f == NULL || (recursive ? !rm_below(f->rf_name, fs->rf_name) : f != fs))
                continue;
            int s = rm_snap_index(f, from);
            if (s < 0)
                continue;
            if (pass == 0 && rm_snap_index(f, to) >= 0)
                return EEXIST;
            if (pass == 1)
                snprintf(f->rf_snaps[s].sn_name, sizeof(f->rf_snaps[s].sn_name), "%s", to);
        }
    }
    return 0;
}

int
rm_rollback(rm_fs_t *fs, const char *snap)
{
    if (fs->rf_nsnaps == 0)
        return ESRCH;
    rm_snap_t *last = &fs->rf_snaps[fs->rf_nsnaps - 1];
    if (snap != NULL && strcmp(last->sn_name, snap) != 0)
        return EXDEV;
    for (int i = 0; snap != NULL && i < fs->rf_nmarks; i++)
        if (fs->rf_marks[i].mk_id > last->sn_id)
            return EEXIST; /* of a younger snapshot that is gone */
    fs->rf_head = last->sn_state;
    fs->rf_changed = RM_SAME;
    return 0;
}

int
rm_destroy_snaps(rm_pool_t *rp, rm_fs_t *fs, uint32_t which, bool defer, int *other)
{
    int err = 0;

    *other = 0;
    for (int s = 0; s < fs->rf_nsnaps && !defer; s++) {
        if (!(which & 1u << s))
            continue;
        if (fs->rf_snaps[s].sn_tags != 0)
            *other = err, err = EBUSY;
        if (rm_clones(rp, &fs->rf_snaps[s]) != 0 && err != EEXIST)
            *other = err, err = EEXIST;
    }
    for (int s = fs->rf_nsnaps - 1; s >= 0 && err == 0; s--) {
        if (!(which & 1u << s))
            continue;
        if (fs->rf_snaps[s].sn_tags != 0 || rm_clones(rp, &fs->rf_snaps[s]) != 0)
            fs->rf_snaps[s].sn_defer = true;
        else
            remove_snap(fs, s);
    }
    return err;
}

int
rm_destroy_named(rm_pool_t *rp, const rm_fs_t *top, const char *snap, int *other)
{
    int err = 0;

    *other = 0;
    for (int pass = 0; pass < 2 && err == 0; pass++) {
        for (int i = 0; i < RM_FS; i++) {
            rm_fs_t *fs = rp->rp_fs[i];
            int s = fs != NULL && rm_below(fs->rf_name, top->rf_name) ? rm_snap_index(fs, snap) : -1;
            if (s < 0)
                continue;
            if (pass == 1)
                remove_snap(fs, s);
            else if (fs->rf_snaps[s].sn_tags != 0 && err != EBUSY)
                *other = err, err = EBUSY;
            if (pass == 0 && rm_clones(rp, &fs->rf_snaps[s]) != 0 && err != EEXIST)
                *other = err, err = EEXIST;
        }
    }
    return err;
}

int
rm_destroy_fs(rm_pool_t *rp, rm_fs_t *fs)
{
    uint64_t origin = fs->rf_origin;

    if (fs->rf_nsnaps != 0 || rm_has_children(rp, fs))
        return ENOTEMPTY;
    remove_fs(rp, fs);
    reap(rp, origin);
    return 0;
}

int
rm_hold(rm_fs_t *fs, int s, int tag)
{
    if (fs->rf_snaps[s].sn_tags & 1u << tag)
        return EEXIST;
    fs->rf_snaps[s].sn_tags |= 1u << tag;
    return 0;
}

int
rm_release(rm_pool_t *rp, rm_fs_t *fs, int s, int tag)
{
    if (!(fs->rf_snaps[s].sn_tags & 1u << tag))
        return ESRCH;
    fs->rf_snaps[s].sn_tags &= ~(1u << tag);
    reap(rp, fs->rf_snaps[s].sn_id);
    return 0;
}

/* The origin and all before it change sides; the other file system becomes the clone. Who is a clone of one of them stays it. */
int
rm_promote(rm_pool_t *rp, rm_fs_t *fs)
{
    rm_fs_t *other;
    rm_snap_t *origin = fs->rf_origin != 0 ? rm_snap_by_id(rp, fs->rf_origin, &other) : NULL;

    if (origin == NULL)
        return EINVAL;
    int n = (int)(origin - other->rf_snaps) + 1;
    for (int s = 0; s < n; s++)
        if (rm_snap_index(fs, other->rf_snaps[s].sn_name) >= 0)
            return EEXIST;
    if (fs->rf_nsnaps + n > RM_SNAPS)
        abort(); /* the caller counts */
    memmove(&fs->rf_snaps[n], fs->rf_snaps, (size_t)fs->rf_nsnaps * sizeof(rm_snap_t));
    memcpy(fs->rf_snaps, other->rf_snaps, (size_t)n * sizeof(rm_snap_t));
    fs->rf_nsnaps += n;
    other->rf_nsnaps -= n;
    memmove(other->rf_snaps, &other->rf_snaps[n], (size_t)other->rf_nsnaps * sizeof(rm_snap_t));
    uint64_t id = fs->rf_origin;
    fs->rf_origin = other->rf_origin;
    other->rf_origin = id;
    return 0;
}

/* ---- bookmarks ---- */

int
rm_bookmark(rm_fs_t *fs, const char *mark, const rm_snap_t *sn)
{
    for (int i = 0; i < fs->rf_nmarks; i++)
        if (strcmp(fs->rf_marks[i].mk_name, mark) == 0)
            return EEXIST;
    snprintf(fs->rf_marks[fs->rf_nmarks].mk_name, sizeof(fs->rf_marks[0].mk_name), "%s", mark);
    fs->rf_marks[fs->rf_nmarks].mk_id = sn->sn_id;
    fs->rf_marks[fs->rf_nmarks++].mk_guid = sn->sn_guid;
    return 0;
}

int
rm_destroy_mark(rm_fs_t *fs, const char *mark)
{
    for (int i = 0; i < fs->rf_nmarks; i++) {
        if (strcmp(fs->rf_marks[i].mk_name, mark) != 0)
            continue;
        fs->rf_marks[i] = fs->rf_marks[--fs->rf_nmarks];
        return 0;
    }
    return ENOENT;
}

/* ---- streams ---- */

int
rm_receive_new(rm_pool_t *rp, const char *name, const char *snap, const rm_snap_t *sent, uint64_t origin)
{
    int err = new_name(rp, name);

    if (err == 0) {
        rm_fs_t *fs = add_fs(rp, name);
        fs->rf_origin = origin;
        fs->rf_head = sent->sn_state;
        fs->rf_changed = RM_MAYBE; /* of a clone: since its origin */
        add_snap(fs, snap, &sent->sn_state)->sn_guid = sent->sn_guid;
    }
    return err;
}

int
rm_receive_replace(rm_fs_t *fs, const char *snap, const rm_snap_t *sent)
{
    if (fs->rf_origin != 0 || fs->rf_nsnaps != 0)
        return EINVAL;
    fs->rf_head = sent->sn_state;
    add_snap(fs, snap, &sent->sn_state)->sn_guid = sent->sn_guid;
    return 0;
}

int
rm_receive_inc(rm_fs_t *fs, uint64_t fromguid, const char *snap, const rm_snap_t *sent, bool force,
               int *other)
{
    *other = 0;
    if (fs->rf_nsnaps == 0 || fs->rf_snaps[fs->rf_nsnaps - 1].sn_guid != fromguid)
        return ENODEV;
    bool exists = rm_snap_index(fs, snap) >= 0, changed = fs->rf_changed == RM_CHANGED && !force;
    if (exists || changed) {
        *other = exists && fs->rf_changed != RM_SAME && !force ? ETXTBSY : 0;
        return exists ? EEXIST : ETXTBSY;
    }
    fs->rf_head = sent->sn_state;
    fs->rf_changed = RM_MAYBE; /* the increment may be empty */
    add_snap(fs, snap, &sent->sn_state)->sn_guid = sent->sn_guid;
    return 0;
}

/* A package tells its file systems apart by the guids of their snapshots: the same one twice is more than its format can say. */
static bool
guid_twice(const rm_pool_t *rp, const rm_fs_t *top)
{
    uint64_t seen[RM_FS * RM_SNAPS];
    int n = 0;

    for (int i = 0; i < RM_FS; i++) {
        const rm_fs_t *fs = rp->rp_fs[i];
        for (int s = 0; fs != NULL && rm_below(fs->rf_name, top->rf_name) && s < fs->rf_nsnaps; s++) {
            for (int k = 0; k < n; k++)
                if (seen[k] == fs->rf_snaps[s].sn_guid)
                    return true;
            seen[n++] = fs->rf_snaps[s].sn_guid;
        }
    }
    return false;
}

static bool
comes_after(const rm_pool_t *rp, const rm_fs_t *fs, const rm_fs_t *top, const bool *sent)
{
    rm_fs_t *origin = NULL;

    if (fs->rf_origin != 0)
        (void)rm_snap_by_id(rp, fs->rf_origin, &origin);
    for (int i = 0; i < RM_FS; i++) {
        const rm_fs_t *f = rp->rp_fs[i];
        bool parent = f != NULL && fs != top && f != fs && rm_below(f->rf_name, top->rf_name) &&
                      rm_below(fs->rf_name, f->rf_name);
        if (f != NULL && !sent[i] && (parent || f == origin))
            return false;
    }
    return true;
}

/* A parent comes before its children, an origin before its clones: where a file system is a clone of one below it, there is no order. */
static bool
has_order(const rm_pool_t *rp, const rm_fs_t *top)
{
    bool sent[RM_FS] = {false};
    int left = 0;

    for (int round = 0; round < RM_FS; round++) {
        left = 0;
        for (int i = 0; i < RM_FS; i++) {
            const rm_fs_t *fs = rp->rp_fs[i];
            if (fs == NULL || sent[i] || !rm_below(fs->rf_name, top->rf_name))
                continue;
            sent[i] = comes_after(rp, fs, top, sent);
            left += !sent[i];
        }
    }
    return left == 0;
}

bool
rm_tree_is_whole(const rm_pool_t *rp, const rm_fs_t *top, const char *snap)
{
    for (int i = 0; i < RM_FS; i++) {
        const rm_fs_t *fs = rp->rp_fs[i];
        rm_fs_t *ofs = NULL;
        if (fs == NULL || !rm_below(fs->rf_name, top->rf_name))
            continue;
        int last = rm_snap_index(fs, snap);
        for (int s = 0; s <= last; s++)
            if (fs->rf_snaps[s].sn_defer)
                return false;
        if (last < 0)
            return false;
        if (fs->rf_origin == 0)
            continue;
        const rm_snap_t *origin = rm_snap_by_id(rp, fs->rf_origin, &ofs);
        if (origin == NULL || !rm_below(ofs->rf_name, top->rf_name) ||
            origin - ofs->rf_snaps > rm_snap_index(ofs, snap))
            return false;
    }
    return !guid_twice(rp, top) && has_order(rp, top);
}

static rm_fs_t *
copy_fs(rm_pool_t *rp, const char *name, const rm_fs_t *sent, const char *snap)
{
    rm_fs_t *fs = add_fs(rp, name);
    int last = rm_snap_index(sent, snap);

    memcpy(fs->rf_prop, sent->rf_prop, sizeof(fs->rf_prop));
    for (int s = 0; s <= last; s++) {
        fs->rf_changed = RM_MAYBE;
        add_snap(fs, sent->rf_snaps[s].sn_name, &sent->rf_snaps[s].sn_state)->sn_guid =
            sent->rf_snaps[s].sn_guid;
    }
    fs->rf_head = sent->rf_snaps[last].sn_state;
    return fs;
}

int
rm_receive_tree(rm_pool_t *rp, const char *name, const rm_pool_t *sent, const rm_fs_t *top, const char *snap)
{
    rm_fs_t *copy[RM_FS] = {NULL}, *ofs = NULL;
    int err = new_name(rp, name);

    for (int i = 0; err == 0 && i < RM_FS; i++) {
        char to[2 * RM_NAME];
        if (sent->rp_fs[i] == NULL || !rm_below(sent->rp_fs[i]->rf_name, top->rf_name))
            continue;
        snprintf(to, sizeof(to), "%s%s", name, sent->rp_fs[i]->rf_name + strlen(top->rf_name));
        copy[i] = copy_fs(rp, to, sent->rp_fs[i], snap);
    }
    for (int i = 0; err == 0 && i < RM_FS; i++) { /* origins */
        if (copy[i] == NULL || sent->rp_fs[i]->rf_origin == 0)
            continue;
        const rm_snap_t *origin = rm_snap_by_id(sent, sent->rp_fs[i]->rf_origin, &ofs);
        for (int k = 0; k < RM_FS; k++)
            if (copy[k] != NULL && origin != NULL && sent->rp_fs[k] == ofs)
                copy[i]->rf_origin = copy[k]->rf_snaps[origin - ofs->rf_snaps].sn_id;
    }
    return err;
}
