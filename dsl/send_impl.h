/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * send_impl.h - between send_source.c (what is sent, from where), send.c (the threads) and send_record.c (which records a
 * traversal makes);
 * between send_package.c (several streams as one) and send_tree.c (which they are).
 */
#ifndef COWBIRD_SEND_IMPL_H
#define COWBIRD_SEND_IMPL_H

#include <signal.h>
#include "stream.h"

#define SPILL_BLKID (-2ULL) /* bookmark of a spill block, in dmu/ and in every ZFS */

/* A record on its way to the writer. Its data, if it has any, are read by a worker meanwhile. */
typedef struct send_item {
    list_node_t it_node;
    struct send *it_send;
    dmu_replay_record_t it_drr;
    uint8_t *it_bytes; /* payload at hand: a bonus, embedded or compressed bytes */
    uint64_t it_len;   /* payload bytes, before a block is split */
    uint64_t it_cost;  /* against the queue's limit */
    bool it_read;      /* it_bp is to be read */
    blkptr_t it_bp;
    zbookmark_t it_zb;
    bool it_begun; /* atomic: a worker or the writer reads it */
    bool it_shared; /* atomic: two are to let go of it, the task and the writer */
    bool it_done; /* snd_lock: read, or failed with it_err */
    int it_err;
    arc_buf_t *it_buf;
} send_item_t;

typedef struct send {
    spa_t *snd_spa;
    uint64_t snd_since; /* birth txg of the source; 0: full */
    uint64_t snd_toguid;
    uint64_t snd_features;
    uint64_t snd_resumeobj, snd_resumeoff; /* what stands before is left out; 0: nothing */
    bool snd_count;     /* an estimate: nothing is read or queued */
    uint64_t snd_bytes; /* what has been counted */
    stream_queue_t snd_queue;
    kmutex_t snd_lock; /* it_done */
    kcondvar_t snd_cv;
    struct drr_free snd_free;           /* pending; length 0: none */
    struct drr_freeobjects snd_freeobj; /* likewise */
} send_t;

/* ---- send_source.c ---- */
/* What is to be sent, resolved. */
typedef struct send_source {
    dsl_dataset_t *ss_ds; /* held and long-held, or (ss_saved) owned */
    dsl_dataset_phys_t ss_phys;
    dmu_replay_record_t ss_begin;
    uint8_t *ss_list; /* BEGIN's payload; NULL: none */
    uint64_t ss_since;
    bool ss_saved; /* a partly received state: no snapshot, and the stream has no END */
} send_source_t;
/* Errors as dmu_send's; then nothing is held. */
int send_source_resolve(dsl_pool_t *dp, const dmu_send_args_t *args, send_source_t *ss);
void send_source_rele(send_source_t *ss);

/* ---- send.c ---- */
/* While we write, a reader that goes away is EPIPE, not a signal that ends the process. */
void sigpipe_block(sigset_t *old);
void sigpipe_restore(const sigset_t *old);

/* ---- send_record.c ---- */
/* The traverse callback; arg: send_t. EINTR when the writer has stopped. */
int send_visit(void *arg, const traverse_block_t *tb);
int send_flush_frees(send_t *snd); /* after the last visit */
void send_item_free(send_item_t *it);
void send_item_fetch(send_item_t *it); /* read it, unless somebody else does */
/* Stream bytes of a block's payload when it is written (it may be split). */
uint64_t send_piece(const send_t *snd, uint64_t off, uint64_t len);

/* ---- send_tree.c ---- */
typedef struct package_snap {
    char *ps_name; /* after the '@' */
    uint64_t ps_guid, ps_txg;
    bool ps_origin; /* a clone of the package starts from it */
} package_snap_t;

typedef struct package_fs {
    list_node_t pf_node;
    dsl_pool_t *pf_pool;
    char pf_name[ZFS_MAX_DATASET_NAME_LEN];
    struct package_fs *pf_parent;    /* NULL: the top */
    struct package_fs *pf_origin_fs; /* NULL: no clone, or its origin is not in the package */
    char pf_origin[ZFS_MAX_DATASET_NAME_LEN];
    uint64_t pf_guid, pf_fromguid, pf_originguid;
    package_snap_t *pf_snaps; /* the oldest first; the last is @to */
    size_t pf_nsnaps;
    bool pf_placed;
} package_fs_t;

typedef struct package {
    dsl_pool_t *pk_pool;
    const dmu_send_package_args_t *pk_args;
    const char *pk_to, *pk_from; /* without file system; pk_from may be NULL */
    list_t pk_fs;                /* in the order they are sent */
    uint64_t pk_bytes;
    char pk_failed[ZFS_MAX_DATASET_NAME_LEN]; /* whose fault an error is */
} package_t;

/* ENOENT: pk_failed has no such snapshot. After an error package_free() as well. */
int package_gather(package_t *pk, dsl_pool_t *dp, const dmu_send_package_args_t *args);
void package_free(package_t *pk);
package_snap_t *package_find_snap(package_fs_t *pf, const char *snap); /* NULL: none; snap may be NULL */
nvlist_t *package_list(package_t *pk); /* "fss" and what belongs to it */

#endif
