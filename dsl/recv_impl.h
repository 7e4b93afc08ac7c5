/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recv_impl.h - between the files of a receive:
 *
 *   recv.c          dmu_recv_begin: which shape it has               recv_stream.c   the threads that read and apply
 *   recv_begin.c    its rules, and the dataset that receives         recv_object.c   OBJECT, FREEOBJECTS
 *   recv_end.c      dmu_recv_end: a snapshot comes of it             recv_record.c   all other records
 *   recv_undo.c     the way back, at once or after a crash           recv_resume.c   what is kept of a broken receive; tokens
 *   recv_heal.c     damaged blocks of a snapshot, given back
 */
#ifndef COWBIRD_RECV_IMPL_H
#define COWBIRD_RECV_IMPL_H

#include "dsl_impl.h"
#include "stream.h"

typedef enum recv_shape { /* the table in recv.c */
                          RECV_NEW,
                          RECV_CLONE,
                          RECV_INPLACE,
                          RECV_HIDDEN,
                          RECV_REPLACE,
    RECV_HEAL
} recv_shape_t;

/* The place to go on from, of one txg: written while a transaction keeps that txg open, read when it syncs. */
typedef struct recv_note {
    dsl_dataset_t *rn_ds;
    uint64_t rn_txg, rn_object, rn_offset, rn_bytes;
} recv_note_t;

struct dmu_recv_cookie {
    dsl_pool_t *drc_dp;
    recv_shape_t drc_shape;
    dsl_dataset_t *drc_ds;        /* that receives; owned by the cookie */
    dsl_dataset_t *drc_head;      /* RECV_HIDDEN, RECV_REPLACE: whose contents it will be; held */
    bool drc_head_owned;          /* nobody else had it */
    objset_t *drc_os;             /* of drc_ds */
    dmu_replay_record_t drc_wire; /* BEGIN, in its own order */
    struct drr_begin drc_drrb;    /* in host order */
    uint64_t drc_features;
    bool drc_full; /* no source */
    bool drc_force;
    bool drc_resumable;      /* a failure keeps what is there */
    bool drc_resuming;       /* the stream goes on from what was kept */
    dsl_resume_t drc_resume; /* where: from BEGIN's list */
    uint64_t drc_redact[DS_FEATURE_VALUES], drc_nredact; /* likewise: snapshots that tell what is left out */
    nvlist_t *drc_props;     /* -o; or NULL */
    char drc_tofs[ZFS_MAX_DATASET_NAME_LEN];
    char drc_tosnap[ZFS_MAX_DATASET_NAME_LEN];
    stream_in_t drc_in;
    /* the applying thread's */
    stream_order_t drc_order;
    bool drc_zstd;           /* the pool may have blocks compressed so */
    uint64_t drc_known;      /* an object that is known to exist; 0 none */
    uint64_t drc_max_object; /* the highest one told of */
    uint64_t drc_bytes;      /* received, with what was received before resuming */
    uint64_t drc_healed, drc_unhealed; /* RECV_HEAL: blocks */
    uint64_t *drc_healed_out;
    dsl_dataset_t *drc_ref;  /* a snapshot that WRITE_BYREF points into, held and long-held */
    uint64_t drc_ref_guid;
    recv_note_t drc_notes[TXG_SIZE]; /* the cookie outlives the txgs it has written in */
};

/* ---- recv_begin.c: a sync task ---- */
typedef struct recv_begin {
    dmu_recv_cookie_t *rb_drc;
    const char *rb_origin; /* snapshot, or NULL */
    stream_error_t *rb_se;
} recv_begin_t;
int recv_begin_check(void *arg, dmu_tx_t *tx);
void recv_begin_sync(void *arg, dmu_tx_t *tx);
/* A name that nobody can give: below tofs, for what is to become its contents. */
void recv_hidden_name(const dmu_recv_cookie_t *drc, char *name);
/* The hidden child of a head, held: whatever receive is under way (or broken off) below it. ENOENT. Config lock held. */
int recv_hidden_hold(dsl_dataset_t *head, const void *tag, dsl_dataset_t **dsp);

/* ---- recv_undo.c ---- */
/* Undo everything (resumable: keep it) and free the cookie. */
void recv_abandon(dmu_recv_cookie_t *drc);
void recv_release(dmu_recv_cookie_t *drc); /* let go of the datasets */
void recv_cookie_free(dmu_recv_cookie_t *drc);

/* ---- recv_resume.c ---- */
void recv_resume_init(dmu_recv_cookie_t *drc, dmu_tx_t *tx);            /* nothing yet: object 1, offset 0 */
void recv_resume_clear(dsl_dataset_t *ds, dmu_tx_t *tx);                /* no longer partly received */
int recv_resume_load(dsl_pool_t *dp, uint64_t dsobj, dsl_resume_t *dr); /* ENOENT: it is not */
/* tx has written up to here: what the disk says of it shall be that, too. */
void recv_resume_note(dmu_recv_cookie_t *drc, uint64_t object, uint64_t offset, dmu_tx_t *tx);

/* ---- recv_heal.c: instead of begin's task, of applying a record, and of end's task ---- */
int recv_heal_begin(dmu_recv_cookie_t *drc, stream_error_t *se);
int recv_heal_apply(dmu_recv_cookie_t *drc, stream_rec_t *rec);
void recv_heal_end(dmu_recv_cookie_t *drc);

/* ---- recv_record.c: one record; text (200 bytes) says what is wrong, unless empty ---- */
int recv_apply(dmu_recv_cookie_t *drc, stream_rec_t *rec, char *text);
void recv_apply_fini(dmu_recv_cookie_t *drc);
/* EINVAL with text when there is no such object. */
int recv_object_exists(dmu_recv_cookie_t *drc, uint64_t object, char *text);

/* ---- recv_object.c: OBJECT and FREEOBJECTS ---- */
int recv_object(dmu_recv_cookie_t *drc, const struct drr_object *o, uint8_t *bonus, char *text);
int recv_freeobjects(dmu_recv_cookie_t *drc, uint64_t first, uint64_t n);
/* The ZPL generation in a bonus buffer (host order; a foreign SA bonus too). False: there is none to be found. */
bool recv_generation(objset_t *os, uint8_t bonustype, const uint8_t *bonus, size_t len, uint64_t *gen);

#endif
