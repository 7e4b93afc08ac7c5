/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * streampool.h - whole pools in memory for tests of streams: made, received into, sent from, compared, checked.
 */
#ifndef COWBIRD_STREAMPOOL_H
#define COWBIRD_STREAMPOOL_H

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dsl_impl.h"
#include "faultdisk.h"
#include "stream.h"

static inline dsl_pool_t *
pool_make(faultdisk_t *fd, const char *name)
{
    dsl_pool_create_args_t args = {.pca_name = name, .pca_path = "/test", .pca_compat = true};
    disk_t disk = faultdisk_disk(fd);
    dsl_pool_t *dp;

    ck_assert_int_eq(dsl_pool_create(&disk, &args, &dp), 0);
    return dp;
}

static inline dsl_pool_t *
pool_reopen(faultdisk_t *fd)
{
    disk_t disk = faultdisk_disk(fd);
    dsl_pool_t *dp;

    ck_assert_int_eq(dsl_pool_open(&disk, 0, &dp), 0);
    return dp;
}

static inline void
report_broken(void *arg, const char *text)
{
    fprintf(stderr, "check: %s\n", text);
}

/* No rule is broken, no block lost. */
static inline void
pool_verify(dsl_pool_t *dp)
{
    ck_assert_int_eq(txg_wait_synced(dsl_pool_txg(dp), 0), 0);
    ck_assert_uint_eq(dsl_pool_check(dp, report_broken, NULL), 0);
}

/* ---- bytes through descriptors ---- */

static inline int
memfd_of(const void *data, uint64_t size)
{
    int fd = memfd_create("stream", 0);

    for (uint64_t at = 0; at < size;) {
        ssize_t n = write(fd, (const char *)data + at, size - at);
        ck_assert_int_gt(n, 0);
        at += (uint64_t)n;
    }
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static inline int
receive_fd(dsl_pool_t *dp, const char *target, int fd, bool force, stream_error_t *se)
{
    dmu_receive_args_t args = {.dra_target = target, .dra_fd = fd, .dra_force = force};
    char received[ZFS_MAX_DATASET_NAME_LEN];
    int err = dmu_receive(dp, &args, received, se);

    close(fd);
    return err;
}

static inline int
receive_bytes(dsl_pool_t *dp, const char *target, const void *data, uint64_t size, stream_error_t *se)
{
    return receive_fd(dp, target, memfd_of(data, size), false, se);
}

static inline uint8_t *
send_bytes(dsl_pool_t *dp, const char *to, const char *from, uint32_t flags, uint64_t *size)
{
    uint64_t off = 0, estimate;
    dmu_send_args_t args = {.dsa_tosnap = to, .dsa_from = from, .dsa_flags = flags, .dsa_off = &off};

    args.dsa_fd = memfd_create("sent", 0);
    int err = dmu_send(dp, &args);
    ck_assert_msg(err == 0, "send of %s: %s", to, cowbird_strerror(err));
    *size = (uint64_t)lseek(args.dsa_fd, 0, SEEK_CUR);
    ck_assert_uint_eq(off, *size);
    ck_assert_int_eq(dmu_send_estimate(dp, &args, &estimate), 0);
    ck_assert_uint_eq(estimate, *size);
    uint8_t *data = xmalloc(*size);
    ck_assert_int_eq(pread(args.dsa_fd, data, *size, 0), (ssize_t)*size);
    close(args.dsa_fd);
    return data;
}

/* ---- everything a pool says of itself, as text ---- */

typedef struct pool_text {
    dsl_pool_t *pt_dp;
    char pt_text[65536];
    size_t pt_n;
} pool_text_t;

static inline int
text_dataset(void *arg, const char *name)
{
    pool_text_t *pt = arg;
    dsl_stats_t st;

    ck_assert_int_eq(dsl_dataset_stats(pt->pt_dp, name, &st), 0);
    pt->pt_n += (size_t)snprintf(pt->pt_text + pt->pt_n, sizeof(pt->pt_text) - pt->pt_n,
                                 "%s guid %lx refer %lu lrefer %lu used %lu unique %lu%s\n", name,
                                 st.dst_guid, st.dst_referenced, st.dst_lreferenced,
                                 strchr(name, '/') != NULL ? st.dst_used : 0 /* the MOS varies */,
                                 st.dst_unique, st.dst_inconsistent ? " inconsistent" : "");
    if (strchr(name, '@') != NULL)
        return 0;
    ck_assert_int_eq(dsl_for_each_snapshot(pt->pt_dp, name, text_dataset, pt), 0);
    return dsl_for_each_child(pt->pt_dp, name, text_dataset, pt);
}

static inline char *
pool_text(dsl_pool_t *dp)
{
    pool_text_t *pt = xzalloc(sizeof(*pt));

    pt->pt_dp = dp;
    ck_assert_int_eq(txg_wait_synced(dsl_pool_txg(dp), 0), 0);
    ck_assert_int_eq(text_dataset(pt, dsl_pool_name(dp)), 0);
    char *text = xstrdup(pt->pt_text);
    free(pt);
    return text;
}

/* ---- comparing objsets object by object ---- */

static inline objset_t *
snap_hold(dsl_pool_t *dp, const char *name, dsl_dataset_t **ds)
{
    objset_t *os;
    int err = dsl_dataset_hold(dp, name, dp, ds);

    ck_assert_msg(err == 0, "%s: %s", name, cowbird_strerror(err));
    ck_assert_int_eq(dsl_dataset_objset(*ds, &os), 0);
    return os;
}

static inline void
compare_buf(objset_t *a, objset_t *b, uint64_t object, int (*hold)(objset_t *, uint64_t, dmu_buf_t **),
            const char *what)
{
    dmu_buf_t *da, *db;
    int ea = hold(a, object, &da), eb = hold(b, object, &db);

    ck_assert_msg(ea == eb, "object %lu: %s there in one only", object, what);
    if (ea != 0)
        return;
    ck_assert_msg(da->db_size == db->db_size && memcmp(da->db_data, db->db_data, da->db_size) == 0,
                  "object %lu: %s differs", object, what);
    dmu_buf_rele(da);
    dmu_buf_rele(db);
}

static inline void
compare_contents(objset_t *a, objset_t *b, uint64_t object, uint64_t end)
{
    static uint8_t ba[1 << 17], bb[1 << 17];

    for (uint64_t at = 0; at < end; at += sizeof(ba)) {
        uint64_t n = MIN(sizeof(ba), end - at);
        ck_assert_int_eq(dmu_read(a, object, at, n, ba), 0);
        ck_assert_int_eq(dmu_read(b, object, at, n, bb), 0);
        ck_assert_msg(memcmp(ba, bb, n) == 0, "object %lu: contents at %lu differ", object, at);
    }
}

/* shape: block sizes too. Returns the number of objects. */
static inline uint64_t
compare_objsets(objset_t *a, objset_t *b, bool shape)
{
    uint64_t oa = 0, ob = 0, n = 0;
    int ea, eb;

    ck_assert_int_eq(objset_type(a), objset_type(b));
    for (;; n++) {
        dmu_object_info_t ia, ib;
        ea = dmu_object_next(a, &oa, false, 0);
        eb = dmu_object_next(b, &ob, false, 0);
        ck_assert_msg(ea == eb && (ea != 0 || oa == ob), "objects %lu and %lu (%d, %d)", oa, ob, ea, eb);
        if (ea != 0)
            break;
        ck_assert_int_eq(dmu_object_info(a, oa, &ia), 0);
        ck_assert_int_eq(dmu_object_info(b, ob, &ib), 0);
        ck_assert_msg(ia.doi_type == ib.doi_type && ia.doi_bonus_type == ib.doi_bonus_type &&
                          ia.doi_bonus_size == ib.doi_bonus_size && ia.doi_dnodesize == ib.doi_dnodesize,
                      "object %lu: its dnode differs", oa);
        ck_assert_msg(!shape || ia.doi_data_block_size == ib.doi_data_block_size,
                      "object %lu: block size %u, %u", oa, ia.doi_data_block_size, ib.doi_data_block_size);
        compare_contents(a, b, oa, MAX(ia.doi_max_offset, ib.doi_max_offset));
        if (ia.doi_bonus_size != 0)
            compare_buf(a, b, oa, dmu_bonus_hold, "bonus");
        compare_buf(a, b, oa, dmu_spill_hold, "spill");
    }
    ck_assert_int_eq(ea, ESRCH);
    return n;
}

static inline uint64_t
compare_snaps(dsl_pool_t *pa, const char *a, dsl_pool_t *pb, const char *b, bool shape)
{
    dsl_dataset_t *da, *db;
    objset_t *oa = snap_hold(pa, a, &da), *ob = snap_hold(pb, b, &db);
    uint64_t n = compare_objsets(oa, ob, shape);

    dsl_dataset_rele(da, pa);
    dsl_dataset_rele(db, pb);
    return n;
}

#endif
