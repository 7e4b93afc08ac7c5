/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fsmodel.h - a file system in memory that does what ours should, and random operations on both at once.
 *
 *     ctx_init(&c, seed); ctx_mount(&c, zfs, dir);  step(&c) ...  close_all(&c); compare_dir(&c, c.root, c.zroot)
 *
 * Each context has its own subtree (dir NULL: the whole file system) and may run in its own thread. A difference is a
 * failed ck_assert.
 */
#ifndef COWBIRD_FSMODEL_H
#define COWBIRD_FSMODEL_H

#include "zpl_impl.h"

#define MAX_SIZE  400000ULL
#define MAX_ENTS  24
#define MAX_XATTR 3
#define MAX_OPEN  4

typedef struct mnode {
    mode_t m_type;
    int m_refs; /* names and open handles */
    int m_links;
    uint8_t *m_data; /* file contents, symlink text */
    uint64_t m_size;
    struct {
        uint8_t *v;
        size_t n;
        bool set;
    } m_xattr[MAX_XATTR];
    struct mnode *m_parent;
    struct {
        char name[256];
        struct mnode *node;
    } m_ent[MAX_ENTS];
    int m_nent;
} mnode_t;

typedef struct ctx {
    uint64_t seed;
    zpl_fs_t *zfs;
    znode_t *zroot;
    mnode_t *root;
    struct {
        znode_t *zp;
        mnode_t *m;
    } open[MAX_OPEN];
    uint8_t *buf, *buf2;
} ctx_t;

void ctx_init(ctx_t *c, uint64_t seed);
void ctx_fini(ctx_t *c);
void ctx_mount(ctx_t *c, zpl_fs_t *zfs, const char *dir); /* afterwards c->zroot is held */
uint64_t rnd(ctx_t *c, uint64_t n);
void rnd_name(ctx_t *c, char *name);                  /* 256 bytes */
void step(ctx_t *c);                                  /* one random operation on both */
void close_all(ctx_t *c);                             /* lets go of the files that step keeps open */
void compare_dir(ctx_t *c, mnode_t *d, znode_t *dzp); /* everything below */

#endif
