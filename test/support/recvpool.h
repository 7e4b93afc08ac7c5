/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recvpool.h - for tests of receive: a sender with four small streams, and a mount that lends out what it has when asked.
 *
 *     a/fs:     1 ──────► 2          FULL = @1    INC = @1 -> @2    FULL2 = @2
 *     a/clone:  └── c                CLONE = fs@1 -> clone@c
 */
#ifndef COWBIRD_TEST_RECVPOOL_H
#define COWBIRD_TEST_RECVPOOL_H

#include "streampool.h"
#include "streamfile.h"

#define DISK (64ULL << 20)

/* ---- the sender, and its streams ---- */

enum { FULL, INC, CLONE, FULL2, NSTREAMS };
static const char *const stream_snap[NSTREAMS] = {"a/fs@1", "a/fs@2", "a/clone@c", "a/fs@2"};
static faultdisk_t *a_fd;
static dsl_pool_t *a_dp;
static uint8_t *stream_data[NSTREAMS];
static uint64_t stream_size[NSTREAMS];

static inline void
fill(objset_t *os, uint64_t object, uint64_t off, uint64_t n, uint8_t seed)
{
    static uint8_t buf[1 << 17];
    dmu_object_info_t doi;
    dmu_tx_t *tx = dmu_tx_create(os);
    bool isnew = dmu_object_info(os, object, &doi) != 0;

    for (uint64_t i = 0; i < n; i++)
        buf[i] = (uint8_t)(seed + i * i / 7);
    dmu_tx_hold_write(tx, isnew ? DMU_NEW_OBJECT : object, off, n);
    ck_assert_int_eq(dmu_tx_assign(tx, DMU_TX_WAIT), 0);
    if (isnew)
        ck_assert_int_eq(dmu_object_claim(os, object, DMU_OT_PLAIN_OTHER, 4096, DMU_OT_UINT64_OTHER, 64, 0, tx), 0);
    ck_assert_int_eq(dmu_write(os, object, off, n, buf, tx), 0);
    dmu_tx_commit(tx);
}

static inline void
change(dsl_pool_t *dp, const char *fs, uint8_t seed)
{
    dsl_dataset_t *ds;
    objset_t *os = snap_hold(dp, fs, &ds);

    fill(os, 10, 4096ULL * seed, 20000, seed);
    fill(os, 11 + seed, 0, 9000, seed);
    dsl_dataset_rele(ds, dp);
}

static inline void
snapshot(dsl_pool_t *dp, const char *name)
{
    ck_assert_int_eq(dsl_snapshot(dp, &name, 1, NULL, NULL), 0);
}

static inline void
sender_setup(void)
{
    a_fd = faultdisk_create(DISK);
    a_dp = pool_make(a_fd, "a");
    ck_assert_int_eq(dsl_create(a_dp, "a/fs", DMU_OST_OTHER, NULL), 0);
    change(a_dp, "a/fs", 1);
    snapshot(a_dp, "a/fs@1");
    change(a_dp, "a/fs", 2);
    snapshot(a_dp, "a/fs@2");
    ck_assert_int_eq(dsl_clone(a_dp, "a/fs@1", "a/clone", NULL), 0);
    change(a_dp, "a/clone", 3);
    snapshot(a_dp, "a/clone@c");
    stream_data[FULL] = send_bytes(a_dp, "a/fs@1", NULL, 0, &stream_size[FULL]);
    stream_data[INC] = send_bytes(a_dp, "a/fs@2", "a/fs@1", 0, &stream_size[INC]);
    stream_data[CLONE] = send_bytes(a_dp, "a/clone@c", "a/fs@1", 0, &stream_size[CLONE]);
    stream_data[FULL2] = send_bytes(a_dp, "a/fs@2", NULL, 0, &stream_size[FULL2]);
}

static inline void
sender_teardown(void)
{
    for (int i = 0; i < NSTREAMS; i++)
        free(stream_data[i]);
    ck_assert_int_eq(dsl_pool_close(a_dp), 0);
    faultdisk_destroy(a_fd);
}

/* ---- a mount that lends ---- */

typedef struct mount {
    dsl_pool_t *m_dp;
    const char *m_fs;
    dsl_dataset_t *m_ds; /* owned; NULL: lent out */
    bool m_refuses;
    int m_lent;
} mount_t;

static inline void
mount_own(mount_t *m)
{
    ck_assert_int_eq(dsl_dataset_own(m->m_dp, m->m_fs, false, m, &m->m_ds), 0);
}

static inline int
mount_suspend(void *arg, const char *fs)
{
    mount_t *m = arg;

    if (m->m_refuses || m->m_ds == NULL || strcmp(fs, m->m_fs) != 0)
        return EBUSY;
    dsl_dataset_disown(m->m_ds, m);
    m->m_ds = NULL;
    m->m_lent++;
    return 0;
}

static inline void
mount_resume(void *arg, const char *fs)
{
    mount_own(arg);
}

static inline void
mount_start(mount_t *m, dsl_pool_t *dp, const char *fs)
{
    dsl_suspend_ops_t ops = {mount_suspend, mount_resume, m};

    *m = (mount_t){.m_dp = dp, .m_fs = fs};
    mount_own(m);
    dsl_pool_set_suspend(dp, &ops);
}

static inline void
mount_stop(mount_t *m)
{
    if (m->m_dp == NULL)
        return;
    ck_assert(m->m_ds != NULL); /* whatever was lent was given back */
    dsl_dataset_disown(m->m_ds, m);
    dsl_pool_set_suspend(m->m_dp, NULL);
}

static inline void
receive_whole(dsl_pool_t *dp, const char *fs, int stream)
{
    stream_error_t se;
    int err = receive_bytes(dp, fs, stream_data[stream], stream_size[stream], &se);

    ck_assert_msg(err == 0, "%s: %s", fs, se.se_text);
}

/* All three calls, for the stream that comes from fd. */
static inline int
receive_calls_fd(dsl_pool_t *dp, dmu_recv_args_t *rva, int fd, stream_error_t *se)
{
    dmu_replay_record_t begin;
    dmu_recv_cookie_t *drc;
    uint64_t off = sizeof(begin);
    int err;

    ck_assert_int_eq(read(fd, &begin, sizeof(begin)), sizeof(begin));
    rva->rva_begin = &begin;
    rva->rva_fd = fd;
    rva->rva_off = &off;
    err = dmu_recv_begin(dp, rva, se, &drc);
    if (err == 0)
        err = dmu_recv_stream(drc, se);
    if (err == 0)
        err = dmu_recv_end(drc);
    close(fd);
    return err;
}

static inline int
receive_calls(dsl_pool_t *dp, dmu_recv_args_t *rva, const void *data, uint64_t size, stream_error_t *se)
{
    return receive_calls_fd(dp, rva, memfd_of(data, size), se);
}

#endif
