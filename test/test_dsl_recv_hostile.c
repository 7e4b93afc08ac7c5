/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_recv_hostile.c - streams that are cut, damaged or lie: a clear error, and the pool says of itself exactly what it said before.
 *
 *     cut        before every record, and at 1,000 bytes of any place         full, increment (plain and -Lec), clone;
 *     lie        every field of every kind of record, at hostile values       into a mounted file system and an unmounted one
 *     flip       any bit
 *
 * A stream that lies and is none the less received (the field may be one that means little) is taken back. At the end the whole
 * stream still goes in, the judge finds no leak, and a reopened pool looks the same.
 */
#include "effort.h"
#include "recvpool.h"
#include "streampool.h"

typedef struct target {
    const char *t_name, *t_tofs, *t_tosnap;
    int t_stream;
    uint32_t t_flags;
    bool t_mounted, t_newfs;
} target_t;

static const target_t targets[] = {
    {"full", "b/new", "1", FULL, 0, false, true},
    {"full -Lec", "b/new", "2", FULL2, DMU_SEND_LARGE_BLOCK | DMU_SEND_EMBED | DMU_SEND_COMPRESSED, false, true},
    {"clone", "b/new", "c", CLONE, 0, false, true},
    {"increment", "b/fs", "2", INC, 0, false, false},
    {"increment, online", "b/fs", "2", INC, 0, true, false},
    {"increment -Lec, online", "b/fs", "2", INC, DMU_SEND_LARGE_BLOCK | DMU_SEND_EMBED | DMU_SEND_COMPRESSED, true, false},
};

typedef struct world {
    const target_t *w_target;
    faultdisk_t *w_fd;
    dsl_pool_t *w_dp;
    mount_t w_mount;
    char *w_before;
    streamfile_t w_sf; /* what is to be received */
    uint64_t w_refused, w_received;
} world_t;

static void
world_setup(world_t *w, const target_t *t)
{
    uint64_t size;
    uint8_t *data;

    memset(w, 0, sizeof(*w));
    sender_setup();
    w->w_target = t;
    w->w_fd = faultdisk_create(DISK);
    w->w_dp = pool_make(w->w_fd, "b");
    receive_whole(w->w_dp, "b/fs", FULL);
    data = send_bytes(a_dp, stream_snap[t->t_stream], t->t_stream == INC || t->t_stream == CLONE ? "a/fs@1" : NULL, t->t_flags, &size);
    ck_assert_int_eq(sf_parse(data, size, &w->w_sf), 0);
    if (t->t_mounted)
        mount_start(&w->w_mount, w->w_dp, "b/fs");
    w->w_before = pool_text(w->w_dp);
}

static int
try_receive(world_t *w, const void *data, uint64_t size, stream_error_t *se)
{
    dmu_recv_args_t rva = {.rva_tofs = w->w_target->t_tofs, .rva_tosnap = w->w_target->t_tosnap};

    memset(se, 0, sizeof(*se));
    return receive_calls(w->w_dp, &rva, data, size, se);
}

static void
take_back(world_t *w)
{
    char snap[64];
    const char *name = snap;

    snprintf(snap, sizeof(snap), "%s@%s", w->w_target->t_tofs, w->w_target->t_tosnap);
    ck_assert_int_eq(dsl_destroy_snapshots(w->w_dp, &name, 1, false, NULL), 0);
    ck_assert_int_eq(w->w_target->t_newfs ? dsl_destroy_head(w->w_dp, w->w_target->t_tofs)
                                          : dsl_rollback(w->w_dp, w->w_target->t_tofs, NULL),
                     0);
}

static void
check_unchanged(world_t *w, const char *what)
{
    char *now = pool_text(w->w_dp);

    ck_assert_msg(strcmp(now, w->w_before) == 0, "%s, %s:\n%s\nbefore:\n%s", w->w_target->t_name, what, now, w->w_before);
    free(now);
}

static void
try_bytes(world_t *w, const void *data, uint64_t size, bool may_pass, const char *what)
{
    stream_error_t se;
    int err = try_receive(w, data, size, &se);

    ck_assert_msg(err != 0 || may_pass, "%s, %s: was received", w->w_target->t_name, what);
    ck_assert_msg(err == 0 || se.se_text[0] != '\0', "%s, %s: %d without a word", w->w_target->t_name, what, err);
    if (err == 0)
        take_back(w);
    w->w_received += err == 0;
    w->w_refused += err != 0;
    check_unchanged(w, what);
}

static void
world_teardown(world_t *w)
{
    stream_error_t se;
    char snap[64];

    printf("%-24s %lu streams refused, %lu received\n", w->w_target->t_name, w->w_refused, w->w_received);
    pool_verify(w->w_dp);
    ck_assert_msg(try_receive(w, w->w_sf.sf_data, w->w_sf.sf_size, &se) == 0, "%s", se.se_text);
    snprintf(snap, sizeof(snap), "%s@%s", w->w_target->t_tofs, w->w_target->t_tosnap);
    compare_snaps(a_dp, stream_snap[w->w_target->t_stream], w->w_dp, snap, true);
    mount_stop(&w->w_mount);
    pool_verify(w->w_dp);
    char *now = pool_text(w->w_dp);
    ck_assert_int_eq(dsl_pool_close(w->w_dp), 0);
    w->w_dp = pool_reopen(w->w_fd);
    char *after = pool_text(w->w_dp);
    ck_assert_str_eq(now, after);
    ck_assert_int_eq(dsl_pool_close(w->w_dp), 0);
    faultdisk_destroy(w->w_fd);
    sf_free(&w->w_sf);
    free(w->w_before);
    free(now);
    free(after);
    sender_teardown();
}

START_TEST(test_cut)
{
    world_t w;
    char what[64];

    world_setup(&w, &targets[_i]);
    for (uint64_t i = 1; i < w.w_sf.sf_n; i++) {
        snprintf(what, sizeof(what), "cut before record %lu", i);
        try_bytes(&w, w.w_sf.sf_data, w.w_sf.sf_recs[i].r_offset, false, what);
    }
    for (int i = 0; i < effort(1000) / (int)ARRAY_SIZE(targets); i++) {
        uint64_t at = DRR_SIZE + random_u64() % (w.w_sf.sf_size - DRR_SIZE);
        snprintf(what, sizeof(what), "cut at byte %lu", at);
        try_bytes(&w, w.w_sf.sf_data, at, false, what);
    }
    world_teardown(&w);
}
END_TEST

START_TEST(test_flip)
{
    world_t w;
    char what[64];

    world_setup(&w, &targets[_i]);
    for (int i = 0; i < effort(40); i++) {
        uint64_t bit = random_u64() % (w.w_sf.sf_size * 8);
        snprintf(what, sizeof(what), "bit %lu flipped", bit);
        w.w_sf.sf_data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        /* BEGIN has no sum of its own, but the next record's covers it */
        try_bytes(&w, w.w_sf.sf_data, w.w_sf.sf_size, false, what);
        w.w_sf.sf_data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    world_teardown(&w);
}
END_TEST

static const uint64_t hostile[] = {0,          1,          511,       512,           513,        0xff,      0x80808080,
                                   1ULL << 17, 1ULL << 24, 1ULL << 47, 1ULL << 48,   INT64_MAX,  UINT32_MAX, UINT64_MAX,
                                   UINT64_MAX - 511};

#define LAST_FIELD 112 /* where the longest of the plain records ends */

/* A record that lies, in a stream whose sums are right. */
static void
lie(world_t *w, uint64_t rec, int field, int width, uint64_t value)
{
    dmu_replay_record_t keep = w->w_sf.sf_recs[rec].r_drr;
    char what[100];
    uint64_t size;

    snprintf(what, sizeof(what), "record %lu (%s) bytes %d to %d are 0x%lx", rec, drr_type_name(keep.drr_type), field, field + width, value);
    memcpy((uint8_t *)&w->w_sf.sf_recs[rec].r_drr + field, &value, (size_t)width);
    uint8_t *data = sf_store(&w->w_sf, 0, &size);
    try_bytes(w, data, size, true, what);
    free(data);
    w->w_sf.sf_recs[rec].r_drr = keep;
}

/* One record of each kind, somewhere in the stream; every field of it. */
static uint64_t
some_record(world_t *w, uint32_t type)
{
    uint64_t n = 0, found = 0;

    for (uint64_t i = 0; i < w->w_sf.sf_n; i++)
        if (w->w_sf.sf_recs[i].r_drr.drr_type == type && random_u64() % ++n == 0)
            found = i;
    return n == 0 ? UINT64_MAX : found;
}

START_TEST(test_lie)
{
    int share = MAX(100 / effort(10), 1); /* of all that could be tried: every tenth, unless there is time */
    world_t w;

    world_setup(&w, &targets[_i]);
    for (uint32_t type = 0; type < DRR_NUMTYPES; type++) {
        uint64_t rec = some_record(&w, type);
        for (int field = 0; rec != UINT64_MAX && field < LAST_FIELD; field += 4)
            for (size_t v = 0; v < ARRAY_SIZE(hostile); v++) {
                if ((int)(random_u64() % (uint64_t)share) != 0)
                    continue;
                lie(&w, rec, field, field % 8 == 0 && v % 2 ? 8 : 4, hostile[v]);
                if (v % 5 == 0)
                    lie(&w, rec, field + (int)(random_u64() % 4), 1, hostile[v] | 0x11);
            }
    }
    world_teardown(&w);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("hostile streams");
    TCase *tc = tcase_create("hostile");

    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, test_cut, 0, ARRAY_SIZE(targets));
    tcase_add_loop_test(tc, test_flip, 0, ARRAY_SIZE(targets));
    tcase_add_loop_test(tc, test_lie, 0, ARRAY_SIZE(targets));
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
