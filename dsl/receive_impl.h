/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * receive_impl.h - between receive.c (one stream after the other), receive_name.c (where it goes), receive_list.c (what a package's list says),
 * receive_package.c (the tree that is here made like the sender's) and receive_prop.c (properties and holds).
 */
#ifndef COWBIRD_RECEIVE_IMPL_H
#define COWBIRD_RECEIVE_IMPL_H

#include "recv_impl.h"

/* ---- receive_list.c: the list at the head of a package; all that is in it has been checked ---- */

typedef struct receive_snap {
    uint64_t rs_guid;
    const char *rs_name; /* without fs@ */
    const nvlist_t *
        rs_fs; /* the file system's entry: name, parentfromsnap, origin, props, snaps, snapprops, snapholds */
} receive_snap_t;

typedef struct receive_list {
    nvlist_t *rl_list;        /* NULL: the package has none */
    const char *rl_fromsnap;  /* NULL: full */
    bool rl_recursive;        /* -R: the list is of a whole tree */
    receive_snap_t *rl_snaps; /* of all file systems, by guid */
    size_t rl_nsnaps;
} receive_list_t;

/* An error is told in se. */
int receive_list_parse(receive_list_t *rl, const uint8_t *list, size_t len, stream_error_t *se);
void receive_list_free(receive_list_t *rl);
/* NULL: no file system of the sender has a snapshot with this guid. When several have it: preferably fs's. */
const receive_snap_t *receive_list_find(const receive_list_t *rl, uint64_t guid, const char *fs);
const char *receive_list_name(const nvlist_t *fs);
uint64_t receive_list_guid(const nvlist_t *fs,
                           const char *key); /* "origin", "parentfromsnap"; 0: not there */
const nvlist_t *receive_list_inner(const nvlist_t *fs, const char *key,
                                   const char *inner); /* inner may be NULL; NULL: not there */

/* ---- receive.c ---- */

typedef struct receive {
    dsl_pool_t *rc_dp;
    const dmu_receive_args_t *rc_args;
    stream_error_t *rc_se;
    uint64_t rc_off;
    uint64_t *rc_progress;                 /* the caller's, or rc_off */
    const char *rc_what;                   /* kind of the stream at hand */
    receive_list_t *rc_list;               /* NULL: a single stream */
    char rc_top[ZFS_MAX_DATASET_NAME_LEN]; /* what was named on the sender's command line */
    char rc_fs[ZFS_MAX_DATASET_NAME_LEN];  /* where the stream at hand goes */
    char rc_snap[ZFS_MAX_DATASET_NAME_LEN];
    uint64_t rc_streams; /* received so far */
    nvlist_t *rc_dry;    /* -n: file systems that would be there by now */
} receive_t;

void receive_say(receive_t *rc, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void receive_warn(receive_t *rc, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int receive_release(receive_t *rc, const char *ds);
#define FAIL(rc, err, ...) stream_fail((rc)->rc_se, SET_ERROR(err), 0, 0, __VA_ARGS__)

/* ---- receive_name.c ---- */

/* Where the sender's file system goes. EINVAL, ENAMETOOLONG (told) */
int receive_map_name(receive_t *rc, const char *sent, char *fs);
int receive_check_target(receive_t *rc);              /* EINVAL (told) */
bool receive_exists(receive_t *rc, const char *name); /* or would, in a dry run */
/* The snapshot with this guid that is nearest to rc_fs: below it, then below its parent, and so on up. ENOENT */
int receive_find_origin(receive_t *rc, uint64_t guid, char *snap);
/* rc_fs becomes the file system below the target that has the snapshot with this guid, if any; below: goes into it, under its own last name. */
void receive_move(receive_t *rc, uint64_t guid, bool below);

/* ---- receive_package.c ---- */

/*
 * Renames, promotes and (-F) destroys what is below tofs until it is as the list says. False: something is left to do. Before the streams
 * are received, and after: a rename may need a file system that comes with them. last: say what could not be done.
 */
bool receive_replicate(receive_t *rc, const char *tofs, bool last);

/* ---- receive_prop.c ---- */

/* What -o, -x and the list (fs may be NULL) say of the properties of rc_fs. Never fails: what cannot be set is warned of. */
void receive_props(receive_t *rc, const nvlist_t *fs, bool top, bool is_new);
/* Properties and holds of fs@snap, which is rs at the sender. */
void receive_snap_props(receive_t *rc, const char *fs, const char *snap, const receive_snap_t *rs,
                        bool and_holds);

#endif
