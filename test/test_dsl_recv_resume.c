/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_recv_resume.c - receives that break off anywhere and go on from their token; and power that fails at any write of a receive.
 *
 *     stream      | BEGIN | o o w w w | o w w ... | END
 *     first try   ─────────────────x                        what arrived is kept; the token names the last block written
 *     goes on                  ─────────────────────────►   (begins again with that block)
 *
 * The resumed stream is made here out of the first one, from the format alone: BEGIN says where, the object's OBJECT comes first,
 * what lies before the place is left out.
 */
#include "effort.h"
#include "recvpool.h"
#include "streampool.h"

/* ---- resumed streams ---- */

static uint64_t
rec_object(const dmu_replay_record_t *drr)
{
    switch (drr->drr_type) {
    case DRR_OBJECT:
    case DRR_WRITE:
    case DRR_FREE:
    case DRR_FREEOBJECTS: /* the first one of the range */
        return drr->drr_u.drr_object.drr_object;
    default:
        return UINT64_MAX;
    }
}

static bool
is_before(const dmu_replay_record_t *drr, uint64_t object, uint64_t offset)
{
    uint64_t o = rec_object(drr);

    if (drr->drr_type == DRR_WRITE && o == object)
        return drr->drr_u.drr_write.drr_offset < offset;
    return o < object;
}

static uint8_t *
resumed_stream(int stream, const dsl_resume_t *dr, uint64_t *size)
{
    uint8_t *copy = xmalloc(stream_size[stream]), *packed, *out;
    nvlist_t *list = nvlist_alloc();
    streamfile_t sf;
    size_t len;
    uint64_t n = 1;

    memcpy(copy, stream_data[stream], stream_size[stream]);
    ck_assert_int_eq(sf_parse(copy, stream_size[stream], &sf), 0);
    nvlist_add_uint64(list, "resume_object", dr->dr_object);
    nvlist_add_uint64(list, "resume_offset", dr->dr_offset);
    nvlist_pack(list, NV_ENCODE_NATIVE, &packed, &len);
    nvlist_free(list);
    sf_rec_t *begin = &sf.sf_recs[0];
    begin->r_drr.drr_u.drr_begin.drr_versioninfo |= DMU_VERSIONINFO(0, DMU_BACKUP_FEATURE_RESUMING);
    begin->r_drr.drr_payloadlen = (uint32_t)len;
    begin->r_payload = packed;
    begin->r_len = len;
    for (uint64_t i = 1; i < sf.sf_n; i++)
        if (!is_before(&sf.sf_recs[i].r_drr, dr->dr_object, dr->dr_offset))
            sf.sf_recs[n++] = sf.sf_recs[i];
    sf.sf_n = n;
    out = sf_store(&sf, 0, size);
    sf_free(&sf);
    free(packed);
    return out;
}

/* ---- kinds of receives ---- */

typedef struct kind {
    const char *k_name, *k_tofs;
    int k_stream;
    bool k_base;     /* b/fs@1 is there before */
    bool k_changed;  /* and changed; without base: b/fs is there, without snapshots */
    bool k_mounted, k_force, k_resumable;
} kind_t;

/* clang-format off */
static const kind_t kinds[] = {
    {"full",                       "b/fs", FULL,  .k_base = false},
    {"clone",                      "b/c",  CLONE, .k_base = true},
    {"offline",                    "b/fs", INC,   .k_base = true},
    {"online",                     "b/fs", INC,   .k_base = true, .k_mounted = true},
    {"forced",                     "b/fs", INC,   .k_base = true, .k_changed = true, .k_force = true},
    {"forced, online",             "b/fs", INC,   .k_base = true, .k_changed = true, .k_force = true, .k_mounted = true},
    {"replaced",                   "b/fs", FULL2, .k_changed = true, .k_force = true},
    {"full, resumable",            "b/fs", FULL2, .k_resumable = true},
    {"clone, resumable",           "b/c",  CLONE, .k_base = true, .k_resumable = true},
    {"incremental, resumable",     "b/fs", INC,   .k_base = true, .k_resumable = true},
    {"online, resumable",          "b/fs", INC,   .k_base = true, .k_mounted = true, .k_resumable = true},
    {"replaced, resumable",        "b/fs", FULL2, .k_changed = true, .k_force = true, .k_resumable = true},
};
/* clang-format on */

typedef struct pool {
    faultdisk_t *p_fd;
    dsl_pool_t *p_dp;
    mount_t p_mount;
    char *p_before;
} pool_t;

static void
pool_setup(pool_t *p, const kind_t *k)
{
    memset(p, 0, sizeof(*p));
    p->p_fd = faultdisk_create(DISK);
    p->p_dp = pool_make(p->p_fd, "b");
    if (k->k_base)
        receive_whole(p->p_dp, "b/fs", FULL);
    else if (k->k_changed)
        ck_assert_int_eq(dsl_create(p->p_dp, "b/fs", DMU_OST_OTHER, NULL), 0);
    if (k->k_changed)
        change(p->p_dp, "b/fs", 7);
    p->p_before = pool_text(p->p_dp);
    if (k->k_mounted)
        mount_start(&p->p_mount, p->p_dp, "b/fs");
}

static void
pool_teardown(pool_t *p)
{
    mount_stop(&p->p_mount);
    pool_verify(p->p_dp);
    ck_assert_int_eq(dsl_pool_close(p->p_dp), 0);
    faultdisk_destroy(p->p_fd);
    free(p->p_before);
}

static dmu_recv_args_t
recv_args(const kind_t *k)
{
    return (dmu_recv_args_t){.rva_tofs = k->k_tofs,
                             .rva_tosnap = strchr(stream_snap[k->k_stream], '@') + 1,
                             .rva_force = k->k_force,
                             .rva_resumable = k->k_resumable};
}

static int
receive(dsl_pool_t *dp, const kind_t *k, const void *data, uint64_t size, stream_error_t *se)
{
    dmu_recv_args_t rva = recv_args(k);

    return receive_calls(dp, &rva, data, size, se);
}

static void
check_received(dsl_pool_t *dp, const kind_t *k, const char *what)
{
    char snap[ZFS_MAX_DATASET_NAME_LEN], token[RESUME_TOKEN_MAX];
    dsl_stats_t st;

    snprintf(snap, sizeof(snap), "%s%s", k->k_tofs, strchr(stream_snap[k->k_stream], '@'));
    compare_snaps(a_dp, stream_snap[k->k_stream], dp, snap, true);
    ck_assert_msg(dsl_resume_token(dp, k->k_tofs, token) == ENOENT, "%s: %s: a token is left", k->k_name, what);
    ck_assert_int_eq(dsl_dataset_stats(dp, k->k_tofs, &st), 0);
    ck_assert(!st.dst_inconsistent);
}

/* What the token says must be a WRITE at or before the cut, or nothing yet. */
static void
check_place(int stream, const dsl_resume_t *dr, uint64_t cut)
{
    uint8_t *copy = xmalloc(stream_size[stream]);
    streamfile_t sf;
    bool found = dr->dr_object == 1 && dr->dr_offset == 0;

    memcpy(copy, stream_data[stream], stream_size[stream]);
    ck_assert_int_eq(sf_parse(copy, stream_size[stream], &sf), 0);
    for (uint64_t i = 0; i < sf.sf_n && sf.sf_recs[i].r_offset < cut; i++)
        found |= sf.sf_recs[i].r_drr.drr_type == DRR_WRITE &&
                 sf.sf_recs[i].r_drr.drr_u.drr_write.drr_object == dr->dr_object &&
                 sf.sf_recs[i].r_drr.drr_u.drr_write.drr_offset == dr->dr_offset;
    ck_assert_msg(found, "the token says object %lu offset %lu", dr->dr_object, dr->dr_offset);
    ck_assert_str_eq(dr->dr_toname, stream_snap[stream]);
    sf_free(&sf);
}

/* Go on from the token, to the end. */
static void
go_on(dsl_pool_t *dp, const kind_t *k, uint64_t cut, const char *what)
{
    char token[RESUME_TOKEN_MAX];
    dsl_resume_t dr;
    stream_error_t se;
    uint64_t size;

    ck_assert_int_eq(dsl_resume_token(dp, k->k_tofs, token), 0);
    ck_assert_int_eq(dsl_resume_parse(token, &dr), 0);
    check_place(k->k_stream, &dr, cut);
    uint8_t *data = resumed_stream(k->k_stream, &dr, &size);
    int err = receive(dp, k, data, size, &se);
    ck_assert_msg(err == 0, "%s, %s, resumed at %lu/%lu: %s (record %lu)", k->k_name, what, dr.dr_object,
                  dr.dr_offset, se.se_text, se.se_record);
    check_received(dp, k, what);
    free(data);
}

/* ---- the stream breaks off ---- */

static void
reopen(pool_t *p, const kind_t *k)
{
    mount_stop(&p->p_mount);
    ck_assert_int_eq(dsl_pool_close(p->p_dp), 0);
    p->p_dp = pool_reopen(p->p_fd);
    if (k->k_mounted)
        mount_start(&p->p_mount, p->p_dp, "b/fs");
}

static void
cut_at(const kind_t *k, uint64_t cut, int variant)
{
    stream_error_t se;
    char what[64];
    pool_t p;

    snprintf(what, sizeof(what), "cut at %lu", cut);
    pool_setup(&p, k);
    ck_assert_int_eq(receive(p.p_dp, k, stream_data[k->k_stream], cut, &se), EINVAL);
    if (variant % 3 == 1)
        reopen(&p, k);
    pool_verify(p.p_dp);
    if (variant % 5 == 2) { /* given up */
        ck_assert_int_eq(dsl_recv_abort(p.p_dp, k->k_tofs), 0);
        char *now = pool_text(p.p_dp);
        ck_assert_msg(strcmp(now, p.p_before) == 0, "%s, %s, aborted:\n%s\nbefore:\n%s", k->k_name, what, now,
                      p.p_before);
        free(now);
    } else {
        ck_assert_int_eq(receive(p.p_dp, k, stream_data[k->k_stream], stream_size[k->k_stream], &se), EBUSY);
        go_on(p.p_dp, k, cut, what);
    }
    pool_teardown(&p);
}

START_TEST(test_cut)
{
    const kind_t *k = &kinds[_i];

    if (!k->k_resumable)
        return;
    sender_setup();
    uint8_t *copy = xmalloc(stream_size[k->k_stream]);
    streamfile_t sf;
    memcpy(copy, stream_data[k->k_stream], stream_size[k->k_stream]);
    ck_assert_int_eq(sf_parse(copy, stream_size[k->k_stream], &sf), 0);
    uint64_t step = MAX(sf.sf_n / (uint64_t)effort(12), 1);
    for (uint64_t i = 2; i < sf.sf_n; i += step)
        cut_at(k, sf.sf_recs[i].r_offset + (i % 2 ? 0 : random_u64() % 300), (int)(i / step));
    sf_free(&sf);
    sender_teardown();
}
END_TEST

/* Twice broken, and what does not fit is refused. */
START_TEST(test_again)
{
    const kind_t *k = &kinds[_i];
    dsl_resume_t dr;
    stream_error_t se;
    char name[ZFS_MAX_DATASET_NAME_LEN];
    uint64_t size;
    pool_t p;

    if (!k->k_resumable)
        return;
    sender_setup();
    pool_setup(&p, k);
    ck_assert_int_eq(receive(p.p_dp, k, stream_data[k->k_stream], stream_size[k->k_stream] / 2, &se), EINVAL);
    ck_assert_int_eq(dsl_recv_partial(p.p_dp, k->k_tofs, name, &dr), 0);
    dr.dr_offset += 512;
    uint8_t *data = resumed_stream(k->k_stream, &dr, &size);
    ck_assert_int_eq(receive(p.p_dp, k, data, size, &se), EINVAL);
    ck_assert(strstr(se.se_text, "where the receive") != NULL);
    free(data);
    dr.dr_offset -= 512;
    data = resumed_stream(k->k_stream == INC ? FULL2 : INC, &dr, &size);
    ck_assert_int_eq(receive(p.p_dp, k, data, size, &se), EINVAL);
    ck_assert(strstr(se.se_text, "another stream") != NULL);
    free(data);
    data = resumed_stream(k->k_stream, &dr, &size);
    ck_assert_int_eq(receive(p.p_dp, k, data, size - DRR_SIZE - 10, &se), EINVAL);
    uint64_t bytes = dr.dr_bytes;
    ck_assert_int_eq(dsl_recv_partial(p.p_dp, k->k_tofs, name, &dr), 0);
    ck_assert_uint_gt(dr.dr_bytes, bytes);
    go_on(p.p_dp, k, UINT64_MAX, "broken twice");
    free(data);
    pool_teardown(&p);
    sender_teardown();
}
END_TEST

START_TEST(test_token)
{
    dsl_resume_t dr;
    char token[RESUME_TOKEN_MAX];
    stream_error_t se;
    pool_t p;

    sender_setup();
    pool_setup(&p, &kinds[9]);
    ck_assert_int_eq(dsl_resume_token(p.p_dp, "b/fs", token), ENOENT);
    ck_assert_int_eq(dsl_recv_abort(p.p_dp, "b/fs"), EINVAL);
    ck_assert_int_eq(receive(p.p_dp, &kinds[9], stream_data[INC], stream_size[INC] / 2, &se), EINVAL);
    ck_assert_int_eq(dsl_resume_token(p.p_dp, "b/fs", token), 0);
    ck_assert_int_eq(dsl_resume_parse(token, &dr), 0);
    for (size_t i = 0; token[i] != '\0'; i++) { /* every damaged one is seen */
        char was = token[i];
        token[i] = was == '0' ? '1' : '0';
        int err = dsl_resume_parse(token, &dr);
        ck_assert_msg(err == EINVAL || (i > 2 && err == 0 && (was == '0' || was == '1')), "byte %zu", i);
        token[i] = was;
    }
    ck_assert_int_eq(dsl_resume_parse("", &dr), EINVAL);
    ck_assert_int_eq(dsl_resume_parse("1-0-0-", &dr), EINVAL);
    ck_assert_int_eq(dsl_resume_parse("1-0-ffffffffffffffff-00", &dr), EINVAL);
    pool_teardown(&p);
    sender_teardown();
}
END_TEST

/* ---- the power fails ---- */

/* The pool after the power failed: before, after, or (resumable) something to go on with. */
static void
crash_at(const pool_t *p, const kind_t *k, uint64_t event, uint64_t seed, const char *done)
{
    faultdisk_t *cut = faultdisk_cut(p->p_fd, event, seed);
    dsl_pool_t *dp = pool_reopen(cut);
    char *now = pool_text(dp), token[RESUME_TOKEN_MAX];

    if (k->k_resumable && dsl_resume_token(dp, k->k_tofs, token) == 0)
        go_on(dp, k, UINT64_MAX, "power failed");
    else if (strcmp(now, done) == 0)
        check_received(dp, k, "power failed");
    else
        ck_assert_msg(strcmp(now, p->p_before) == 0, "%s, cut at %lu:\n%s\nbefore:\n%s\nafter:\n%s", k->k_name, event, now,
                      p->p_before, done);
    pool_verify(dp);
    ck_assert_int_eq(dsl_pool_close(dp), 0);
    faultdisk_destroy(cut);
    free(now);
}

/* A stream that comes slowly: a txg for every 4 KB. */
typedef struct feed {
    const kind_t *f_kind;
    dsl_pool_t *f_dp;
    int f_fd;
} feed_t;

static void *
feed_slowly(void *arg)
{
    feed_t *f = arg;
    uint64_t size = stream_size[f->f_kind->k_stream];

    for (uint64_t at = 0, n; at < size; at += n) {
        n = MIN(size - at, 4000);
        ck_assert_int_eq(write(f->f_fd, stream_data[f->f_kind->k_stream] + at, n), (ssize_t)n);
        usleep(1000);
        ck_assert_int_eq(txg_wait_synced(dsl_pool_txg(f->f_dp), 0), 0);
    }
    close(f->f_fd);
    return NULL;
}

static int
receive_slowly(pool_t *p, const kind_t *k, stream_error_t *se)
{
    dmu_recv_args_t rva = recv_args(k);
    uint64_t txg = txg_last_synced(dsl_pool_txg(p->p_dp));
    pthread_t t;
    int fds[2], err;

    ck_assert_int_eq(pipe(fds), 0);
    feed_t f = {k, p->p_dp, fds[1]};
    ck_assert_int_eq(pthread_create(&t, NULL, feed_slowly, &f), 0);
    err = receive_calls_fd(p->p_dp, &rva, fds[0], se);
    pthread_join(t, NULL);
    printf("%-24s %lu txgs\n", k->k_name, txg_last_synced(dsl_pool_txg(p->p_dp)) - txg);
    return err;
}

START_TEST(test_crash)
{
    const kind_t *k = &kinds[_i];
    stream_error_t se;
    pool_t p;

    sender_setup();
    pool_setup(&p, k);
    faultdisk_record(p.p_fd);
    int err = receive_slowly(&p, k, &se);
    ck_assert_msg(err == 0, "%s: %s", k->k_name, se.se_text);
    char *done = pool_text(p.p_dp);
    uint64_t n = faultdisk_events(p.p_fd), step = MAX(n / (uint64_t)effort(20), 1);
    for (uint64_t i = 0; i <= n; i += step)
        crash_at(&p, k, i, i % 3 == 0 ? 0 : i, done);
    crash_at(&p, k, n, 0, done);
    free(done);
    pool_teardown(&p);
    sender_teardown();
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("receives that break off");
    TCase *tc = tcase_create("resume and crash");

    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, test_token);
    tcase_add_loop_test(tc, test_cut, 0, ARRAY_SIZE(kinds));
    tcase_add_loop_test(tc, test_again, 0, ARRAY_SIZE(kinds));
    tcase_add_loop_test(tc, test_crash, 0, ARRAY_SIZE(kinds));
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
