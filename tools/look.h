/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * look.h - looking into stored streams without receiving them into a pool of one's own.
 *
 *   cmd_look.c      cowbird stream ls|cat|extract|dump|verify
 *   look_dump.c     the records, printed as zstream prints them    } straight from the file: nothing is kept
 *   look_verify.c   every rule and checksum of the format          }
 *   scratch.c       a pool on a file without a name, into which the streams are received
 *   look_tree.c     what the streams give: a tree of files, and of file systems in a package    } read from the
 *   look_ls.c       listing, printing                                                           } scratch pool
 *   look_extract.c  copying out                                                                 }
 *   look_seen.c     what a walk has met: hard links, loops
 *
 * FILES below is "FILE" or "FILE,FILE,...": a full stream and its increments, in order; "-" is standard input. Each file may
 * hold several streams, one after the other, or a package.
 */
#ifndef COWBIRD_LOOK_H
#define COWBIRD_LOOK_H

#include "cmd.h"
#include "zpl.h"

/* ---- look_dump.c ---- */
#define DUMP_RECORDS 1 /* -v */
#define DUMP_HEX     2 /* -d */
#define DUMP_NOSUM   4 /* -C */
int look_dump(cmd_env_t *env, const char *file, int flags);

/* ---- look_verify.c ---- */
int look_verify(cmd_env_t *env, const char *file, bool verbose);

/* ---- cmd_look.c ---- */
/* A descriptor to read file from ("-": standard input), or -1 after a message. Closed by the caller. */
int look_open(cmd_env_t *env, const char *file);

/* ---- look_peek.c ---- */
/* The next n bytes of fd, which stay in it; *got is less only at the end. EINTR */
int look_peek(const cmd_env_t *env, int fd, void *buf, size_t n, size_t *got);

/* ---- scratch.c ---- */
typedef struct scratch scratch_t;
/* A read-only pool of that name that holds what the streams give. 0, or 1 after a message. */
int scratch_open(cmd_env_t *env, const char *pool, const char *files, scratch_t **scp);
dsl_pool_t *scratch_pool(scratch_t *sc);
dsl_pool_t *scratch_take_pool(scratch_t *sc); /* the caller closes it, before scratch_close() */
const char *scratch_top(const scratch_t *sc); /* the file system (or volume) the last stream went into */
void scratch_close(scratch_t *sc);

/* ---- look_tree.c ---- */
typedef struct look_tree look_tree_t;
typedef struct look_fs look_fs_t;
typedef struct look_file {
    look_fs_t *lf_fs;
    znode_t *lf_zp; /* held; NULL: a volume */
} look_file_t;
typedef struct look_names {
    char **ln_names;
    size_t ln_count;
} look_names_t;
/* top and all below it; snap: in the state of that snapshot (kept by the caller), or NULL. ENOENT, EINVAL, EIO */
int tree_open(dsl_pool_t *dp, const char *top, const char *snap, look_tree_t **trp);
void tree_close(look_tree_t *tr); /* all files have been put */
const char *tree_strerror(int err);
int tree_root(look_tree_t *tr, look_file_t *f);
int tree_path(look_tree_t *tr, const char *path, look_file_t *f); /* ENOENT ENOTDIR; EINVAL: ".." */
int tree_lookup(look_tree_t *tr, const look_file_t *dir, const char *name, look_file_t *f);
void tree_put(look_file_t *f);
int tree_stat(const look_file_t *f, struct stat *st);
int tree_read(const look_file_t *f, uint64_t off, uint64_t len, void *buf, uint64_t *done);
const void *tree_fs_of(const look_file_t *f); /* with st_ino it tells files apart */
const char *tree_name(const look_tree_t *tr); /* of the dataset at its root */
/* The names in a directory, sorted; ENOTDIR. */
int tree_list(look_tree_t *tr, const look_file_t *dir, look_names_t *ln);
void tree_list_free(look_names_t *ln);

/* ---- look_seen.c ---- */
typedef struct look_seen {
    avl_tree_t se_tree;
} look_seen_t;
void seen_init(look_seen_t *seen);
void seen_fini(look_seen_t *seen);
/* The path under which this object of f's file system was met before; NULL: it was not, and is remembered under path. */
const char *seen_before(look_seen_t *seen, const look_file_t *f, uint64_t object, const char *path);

/* ---- look_ls.c ---- */
#define LS_LONG      1 /* -l */
#define LS_RECURSIVE 2 /* -R */
int look_ls(cmd_env_t *env, look_tree_t *tr, const char *path, int flags);
int look_cat(cmd_env_t *env, look_tree_t *tr, const char *path);

/* ---- look_extract.c ---- */
/* paths: n of them; none: everything. dir: an existing directory. */
int look_extract(cmd_env_t *env, look_tree_t *tr, const char *dir, char **paths, int n);

#endif
