/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recv_impl.h - between recv.c (the dataset that receives), recv_stream.c (the threads), recv_object.c and
 * recv_record.c (what each record does).
 */
#ifndef COWBIRD_RECV_IMPL_H
#define COWBIRD_RECV_IMPL_H

#include "dsl_impl.h"
#include "stream.h"

struct dmu_recv_cookie {
    dsl_pool_t *drc_dp;
    dsl_dataset_t *drc_ds; /* owned by the cookie */
    objset_t *drc_os;
    dmu_replay_record_t drc_wire; /* BEGIN, in its own order */
    struct drr_begin drc_drrb;    /* in host order */
    uint64_t drc_features;
    int drc_fd;
    uint64_t *drc_off;                /* may be NULL */
    const volatile int *drc_cancel;   /* likewise */
    bool drc_newfs; /* the dataset did not exist before: destroyed on failure; else rolled back */
    bool drc_full;  /* no source */
    char drc_tofs[ZFS_MAX_DATASET_NAME_LEN];
    char drc_tosnap[ZFS_MAX_DATASET_NAME_LEN];
    /* the applying thread's */
    stream_order_t drc_order;
    uint64_t drc_known;      /* an object that is known to exist; 0 none */
    uint64_t drc_max_object; /* the highest one told of */
    dsl_dataset_t *drc_ref;  /* a snapshot that WRITE_BYREF points into, held and long-held */
    uint64_t drc_ref_guid;
};

/* ---- recv_stream.c ---- */
/* Undo everything and free the cookie. */
void recv_abandon(dmu_recv_cookie_t *drc);

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
