/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * send_impl.h - between send.c (who sends, the threads) and send_record.c (which records a traversal makes).
 */
#ifndef COWBIRD_SEND_IMPL_H
#define COWBIRD_SEND_IMPL_H

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
    bool it_done; /* snd_lock: read, or failed with it_err */
    int it_err;
    arc_buf_t *it_buf;
} send_item_t;

typedef struct send {
    spa_t *snd_spa;
    uint64_t snd_since; /* birth txg of the source; 0: full */
    uint64_t snd_toguid;
    uint64_t snd_features;
    bool snd_count;     /* an estimate: nothing is read or queued */
    uint64_t snd_bytes; /* what has been counted */
    stream_queue_t snd_queue;
    kmutex_t snd_lock; /* it_done */
    kcondvar_t snd_cv;
    struct drr_free snd_free;           /* pending; length 0: none */
    struct drr_freeobjects snd_freeobj; /* likewise */
} send_t;

/* ---- send_record.c ---- */
/* The traverse callback; arg: send_t. EINTR when the writer has stopped. */
int send_visit(void *arg, const traverse_block_t *tb);
int send_flush_frees(send_t *snd); /* after the last visit */
void send_item_free(send_item_t *it);
/* Stream bytes of a block's payload when it is written (it may be split). */
uint64_t send_piece(const send_t *snd, uint64_t off, uint64_t len);

#endif
