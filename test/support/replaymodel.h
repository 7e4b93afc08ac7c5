/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * replaymodel.h - what a pool should be, in memory: file systems, their snapshots, bookmarks and holds, and the contents of each.
 *
 *   rm_pool   fs "a"   head ── state                        a state is RM_OBJECTS objects of RM_BLOCKS blocks;
 *                      snaps ── 1, 2, 3: a state each       a block is known by its seed (0: a hole)
 *             fs "a/b" head, origin: snapshot 2 of "a"
 *
 * Each operation is one function that answers the errno the real one should give, and changes the model only when that is 0.
 * Nothing here knows of blocks, births or deadlists: states are copied whole. What the two have in common is the meaning.
 */
#ifndef COWBIRD_REPLAYMODEL_H
#define COWBIRD_REPLAYMODEL_H

#include <stdbool.h>
#include <stdint.h>

#define RM_OBJECTS 5
#define RM_BLOCKS  10
#define RM_FS      12 /* in a pool */
#define RM_SNAPS   8  /* of a file system */
#define RM_MARKS   4
#define RM_TAGS    3 /* names of holds */
#define RM_NAME    256

typedef struct rm_object {
    uint64_t ro_object; /* 0: none */
    uint64_t ro_gen;    /* of the file: numbers are used again */
    uint32_t ro_blksz;
    uint32_t ro_seed[RM_BLOCKS];
} rm_object_t;

typedef struct rm_state {
    rm_object_t rs_objects[RM_OBJECTS];
} rm_state_t;

/* Was anything written since the snapshot before? MAYBE: only where nothing was (a hole was punched into a hole). */
typedef enum rm_changed { RM_SAME, RM_MAYBE, RM_CHANGED } rm_changed_t;

typedef struct rm_snap {
    char sn_name[32];
    uint64_t sn_id;   /* of this instance */
    uint64_t sn_guid; /* the same wherever it was received */
    rm_changed_t sn_changed;
    bool sn_defer;
    uint32_t sn_tags; /* bits */
    rm_state_t sn_state;
} rm_snap_t;

typedef struct rm_mark {
    char mk_name[32];
    uint64_t mk_guid, mk_id; /* of its snapshot; younger ones have larger ids */
} rm_mark_t;

typedef struct rm_fs {
    char rf_name[RM_NAME];
    uint64_t rf_origin; /* sn_id; 0: no clone */
    rm_changed_t rf_changed;
    char rf_prop[16]; /* a user property set here; empty: none */
    rm_state_t rf_head;
    rm_snap_t rf_snaps[RM_SNAPS]; /* oldest first */
    int rf_nsnaps;
    rm_mark_t rf_marks[RM_MARKS];
    int rf_nmarks;
} rm_fs_t;

typedef struct rm_pool {
    rm_fs_t *rp_fs[RM_FS]; /* NULL: free */
} rm_pool_t;

void rm_init(rm_pool_t *rp, const char *name);
void rm_fini(rm_pool_t *rp);
rm_fs_t *rm_find(const rm_pool_t *rp, const char *name);
int rm_count(const rm_pool_t *rp);
int rm_snap_index(const rm_fs_t *fs, const char *snap); /* -1: none */
int rm_snap_by_guid(const rm_fs_t *fs, uint64_t guid);  /* -1: none */
rm_snap_t *rm_snap_by_id(const rm_pool_t *rp, uint64_t id, rm_fs_t **fsp);
int rm_clones(const rm_pool_t *rp, const rm_snap_t *sn);
bool rm_below(const char *name, const char *top); /* top itself, too */
bool rm_has_children(const rm_pool_t *rp, const rm_fs_t *fs);
const char *rm_prop(const rm_pool_t *rp, const rm_fs_t *fs); /* as inherited; "" */
void rm_fill(uint32_t seed, uint8_t *buf, uint32_t n);       /* a block's bytes */
void rm_wrote(rm_fs_t *fs, bool surely);                     /* the head has been changed */

int rm_create(rm_pool_t *rp, const char *name);
int rm_snapshot(rm_pool_t *rp, rm_fs_t *fs, const char *snap, bool recursive);
int rm_clone(rm_pool_t *rp, const rm_snap_t *sn, const char *name);
int rm_promote(rm_pool_t *rp, rm_fs_t *fs);
int rm_rename(rm_pool_t *rp, rm_fs_t *fs, const char *to);
int rm_rename_snapshot(rm_pool_t *rp, rm_fs_t *fs, const char *from, const char *to, bool recursive);
int rm_rollback(rm_fs_t *fs, const char *snap);
/* which: bits. Two reasons to refuse: either is right (*other, else 0). */
int rm_destroy_snaps(rm_pool_t *rp, rm_fs_t *fs, uint32_t which, bool defer, int *other);
/* snap of top and of all below that have it, together. */
int rm_destroy_named(rm_pool_t *rp, const rm_fs_t *top, const char *snap, int *other);
int rm_destroy_fs(rm_pool_t *rp, rm_fs_t *fs);
int rm_hold(rm_fs_t *fs, int s, int tag);
int rm_release(rm_pool_t *rp, rm_fs_t *fs, int s, int tag);
int rm_bookmark(rm_fs_t *fs, const char *mark, const rm_snap_t *sn);
int rm_destroy_mark(rm_fs_t *fs, const char *mark);
/* A snapshot arrives. full: into a new file system; origin: an instance here that it is a clone of, or 0. */
int rm_receive_new(rm_pool_t *rp, const char *name, const char *snap, const rm_snap_t *sent, uint64_t origin);
/* Full and forced, onto what is there: EINVAL a clone, or one with snapshots. */
int rm_receive_replace(rm_fs_t *fs, const char *snap, const rm_snap_t *sent);
/* An increment from the snapshot with that guid. */
int rm_receive_inc(rm_fs_t *fs, uint64_t fromguid, const char *snap, const rm_snap_t *sent, bool force,
                   int *other);
/* Everything below top, with all snapshots up to snap, which each has; clones of one another stay that. */
bool rm_tree_is_whole(const rm_pool_t *rp, const rm_fs_t *top, const char *snap);
int rm_receive_tree(rm_pool_t *rp, const char *name, const rm_pool_t *sent, const rm_fs_t *top,
                    const char *snap);

#endif
