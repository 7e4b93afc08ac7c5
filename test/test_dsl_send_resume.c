/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_send_resume.c - datasets made at random, sent every way there is: the estimate is the length, a stream that goes on in the
 * middle is the rest of the whole one, a bookmark is as good as its snapshot, and what was partly received can be sent on.
 *
 *   whole     BEGIN  OBJECT FREE WRITE WRITE WRITE  OBJECT FREE WRITE ...  END
 *   resumed   BEGIN' OBJECT FREE             WRITE  OBJECT FREE WRITE ...  END        at the third WRITE
 */
#include "streampool.h"

#define DISK   (512ULL << 20)
#define OK(x)  ck_assert_int_eq((x), 0)
#define NOBJ   12
#define NFLAGS 8 /* every combination of -L, -e and -c */

static uint64_t rng;

static uint64_t
rnd(uint64_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (rng >> 11) % n;
}

/* ---- random datasets ---- */

/* Of every kind: noise, text that compresses, a few bytes that fit into a pointer. */
static void
fill(uint8_t *buf, uint64_t n)
{
    uint64_t kind = rnd(4);

    memset(buf, 0, n);
    for (uint64_t i = 0; i < n; i++) {
        if (kind == 0)
            buf[i] = (uint8_t)rnd(256);
        else if (kind == 1)
            buf[i] = (uint8_t)("some text, again and again"[i % 26] + (i % 512 == 0 ? rnd(8) : 0));
        else if (kind == 2 && i % 4096 < 20)
            buf[i] = (uint8_t)(1 + i % 7);
    }
}

static void
write_some(objset_t *os, uint64_t object)
{
    static uint8_t buf[1500000];
    uint64_t off = rnd(3000000), n = 1 + rnd(rnd(2) ? 20000 : sizeof(buf));
    dmu_tx_t *tx = dmu_tx_create(os);

    fill(buf, n);
    dmu_tx_hold_write(tx, object, off, n);
    OK(dmu_tx_assign(tx, DMU_TX_WAIT));
    OK(dmu_write(os, object, off, n, buf, tx));
    dmu_tx_commit(tx);
}

static void
make_object(objset_t *os, uint64_t object)
{
    static const uint32_t sizes[] = {512, 1536, 4096, 32768, 131072, 262144, 1048576};
    uint32_t blksz = sizes[rnd(ARRAY_SIZE(sizes))];
    dmu_tx_t *tx = dmu_tx_create(os);

    dmu_tx_hold_bonus(tx, DMU_NEW_OBJECT);
    OK(dmu_tx_assign(tx, DMU_TX_WAIT));
    int err = dmu_object_claim(os, object, DMU_OT_PLAIN_FILE_CONTENTS, blksz, DMU_OT_UINT64_OTHER,
                               8 * (uint16_t)(1 + rnd(30)), 0, tx);
    ck_assert(err == 0 || err == EEXIST);
    dmu_tx_commit(tx);
}

static void
free_object(objset_t *os, uint64_t object)
{
    dmu_tx_t *tx = dmu_tx_create(os);

    OK(dmu_free_long_range(os, object, 0, DMU_OBJECT_END));
    dmu_tx_hold_bonus(tx, object);
    OK(dmu_tx_assign(tx, DMU_TX_WAIT));
    OK(dmu_object_free(os, object, tx));
    dmu_tx_commit(tx);
}

static void
change(dsl_pool_t *dp, const char *fs, int steps)
{
    dsl_dataset_t *ds;
    objset_t *os = snap_hold(dp, fs, &ds);
    dmu_object_info_t doi;

    while (steps-- > 0) {
        uint64_t object = 20 + 11 * rnd(NOBJ), what = rnd(10);
        if (dmu_object_info(os, object, &doi) != 0)
            make_object(os, object);
        else if (what < 7)
            write_some(os, object);
        else if (what < 9)
            OK(dmu_free_long_range(os, object, rnd(3000000), rnd(2) ? DMU_OBJECT_END : rnd(1000000)));
        else
            free_object(os, object);
    }
    dsl_dataset_rele(ds, dp);
}

static void
snapshot(dsl_pool_t *dp, const char *name)
{
    OK(dsl_snapshot(dp, &name, 1, NULL, NULL));
}

/* pool/fs with snapshots 1 and 2, of this compression. */
static dsl_pool_t *
random_pool(faultdisk_t **fd, const char *compression, uint64_t seed)
{
    nvlist_t *props = nvlist_alloc();
    dsl_pool_t *dp;

    rng = seed * 2654435761u + 88172645463325252ULL;
    *fd = faultdisk_create(DISK);
    dp = pool_make(*fd, "a");
    nvlist_add_string(props, "compression", compression);
    OK(dsl_create(dp, "a/fs", DMU_OST_OTHER, props));
    nvlist_free(props);
    change(dp, "a/fs", 60);
    snapshot(dp, "a/fs@1");
    change(dp, "a/fs", 25);
    snapshot(dp, "a/fs@2");
    return dp;
}

static const char *const compressions[] = {"lz4", "zstd", "off", "gzip-3"};

/* ---- estimates ---- */

static uint64_t
estimate(dsl_pool_t *dp, const char *to, const char *from, uint32_t flags)
{
    dmu_send_args_t args = {.dsa_tosnap = to, .dsa_from = from, .dsa_flags = flags};
    uint64_t bytes;

    OK(dmu_send_estimate(dp, &args, &bytes));
    return bytes;
}

static uint64_t
real_length(dsl_pool_t *dp, const char *to, const char *from, uint32_t flags)
{
    uint64_t off = 0;
    dmu_send_args_t args = {.dsa_tosnap = to, .dsa_from = from, .dsa_flags = flags, .dsa_off = &off};

    args.dsa_fd = open("/dev/null", O_WRONLY);
    OK(dmu_send(dp, &args));
    close(args.dsa_fd);
    return off;
}

/* What the estimate reads of a pool just opened: the metadata, a small part. */
static uint64_t
estimate_reads(dsl_pool_t *dp)
{
    spa_stats_t a, b;

    spa_get_stats(dsl_pool_spa(dp), &a);
    (void)estimate(dp, "a/fs@2", NULL, 0);
    spa_get_stats(dsl_pool_spa(dp), &b);
    return b.ss_read_bytes - a.ss_read_bytes;
}

START_TEST(test_estimate)
{
    faultdisk_t *fd;
    dsl_pool_t *dp = random_pool(&fd, compressions[_i % 4], (uint64_t)_i + 1);

    OK(dsl_pool_close(dp));
    dp = pool_reopen(fd);
    uint64_t reads = estimate_reads(dp);
    for (uint32_t flags = 0; flags < NFLAGS; flags++) {
        for (int inc = 0; inc < 2; inc++) {
            const char *from = inc ? "a/fs@1" : NULL;
            uint64_t guess = estimate(dp, "a/fs@2", from, flags),
                     real = real_length(dp, "a/fs@2", from, flags);
            printf("seed %d %-6s %s flags %u: estimate %9lu real %9lu\n", _i + 1, compressions[_i % 4],
                   inc ? "increment" : "full     ", flags, guess, real);
            ck_assert_uint_eq(guess, real);
            if (flags == 0 && !inc)
                ck_assert_msg(reads * 4 < real, "the estimate read %lu bytes of %lu", reads, real);
        }
    }
    OK(dsl_pool_close(dp));
    faultdisk_destroy(fd);
}
END_TEST

/* ---- resuming ---- */

typedef struct stream {
    uint8_t *st_data;
    uint64_t st_size;
    uint64_t *st_at; /* where each record begins */
    size_t st_n;
} stream_t;

static const dmu_replay_record_t *
record(const stream_t *st, size_t i)
{
    return (const void *)(st->st_data + st->st_at[i]);
}

static stream_t
stream_of(dsl_pool_t *dp, const char *from, uint32_t flags, uint64_t object, uint64_t offset)
{
    uint64_t off = 0, bytes, len;
    dmu_send_args_t args = {.dsa_tosnap = "a/fs@2",
                            .dsa_from = from,
                            .dsa_flags = flags,
                            .dsa_off = &off,
                            .dsa_resumeobj = object,
                            .dsa_resumeoff = offset};
    stream_t st = {0};

    args.dsa_fd = memfd_create("sent", 0);
    OK(dmu_send(dp, &args));
    OK(dmu_send_estimate(dp, &args, &bytes));
    ck_assert_uint_eq(bytes, off);
    st.st_size = off;
    st.st_data = xmalloc(off);
    ck_assert_int_eq(pread(args.dsa_fd, st.st_data, off, 0), (ssize_t)off);
    close(args.dsa_fd);
    for (uint64_t at = 0; at < off; at += DRR_SIZE + len) {
        if ((st.st_n & (st.st_n - 1)) == 0)
            st.st_at = xrealloc(st.st_at, (2 * st.st_n + 1) * sizeof(uint64_t));
        st.st_at[st.st_n++] = at;
        OK(drr_payload_size(record(&st, st.st_n - 1), &len));
    }
    return st;
}

static void
stream_free(stream_t *st)
{
    free(st->st_data);
    free(st->st_at);
}

/* The same record, but for the sums over all before it. */
static bool
same_record(const stream_t *a, size_t i, const stream_t *b, size_t j)
{
    const dmu_replay_record_t *ra = record(a, i), *rb = record(b, j);
    uint64_t len;

    OK(drr_payload_size(ra, &len));
    if (ra->drr_type != rb->drr_type)
        return false;
    return ra->drr_type == DRR_END ||
           (memcmp(ra, rb, DRR_SUM_OFFSET) == 0 && memcmp(ra + 1, rb + 1, len) == 0);
}

static void
check_begin(const stream_t *st, uint64_t object, uint64_t offset)
{
    const dmu_replay_record_t *begin = record(st, 0);
    uint64_t v;
    nvlist_t *list;

    ck_assert(DMU_GET_FEATUREFLAGS(begin->drr_u.drr_begin.drr_versioninfo) & DMU_BACKUP_FEATURE_RESUMING);
    ck_assert_uint_eq(begin->drr_payloadlen % 8, 0);
    OK(nvlist_unpack((const uint8_t *)(begin + 1), begin->drr_payloadlen, &list));
    OK(nvlist_lookup_uint64(list, "resume_object", &v));
    ck_assert_uint_eq(v, object);
    OK(nvlist_lookup_uint64(list, "resume_offset", &v));
    ck_assert_uint_eq(v, offset);
    nvlist_free(list);
}

/* Resumed at record i of the whole stream: OBJECT, FREE, then the whole stream's end from there; a block that was cut, from its start. */
static void
check_resume(dsl_pool_t *dp, const stream_t *whole, size_t i, const char *from, uint32_t flags)
{
    const struct drr_write *w = &record(whole, i)->drr_u.drr_write;
    stream_t st = stream_of(dp, from, flags, w->drr_object, w->drr_offset);
    size_t rest = st.st_n - 3, begin = whole->st_n - rest;

    check_begin(&st, w->drr_object, w->drr_offset);
    ck_assert_uint_eq(record(&st, 1)->drr_type, DRR_OBJECT);
    ck_assert_uint_eq(record(&st, 1)->drr_u.drr_object.drr_object, w->drr_object);
    ck_assert_uint_eq(record(&st, 2)->drr_type, DRR_FREE);
    ck_assert_msg(begin <= i && i - begin < 8, "%zu records, %zu expected", rest, whole->st_n - i);
    for (size_t k = 0; k < rest; k++)
        ck_assert_msg(same_record(whole, begin + k, &st, 3 + k), "record %zu of %zu differs", k, rest);
    stream_free(&st);
}

START_TEST(test_resume)
{
    faultdisk_t *fd;
    dsl_pool_t *dp = random_pool(&fd, compressions[_i % 4], (uint64_t)_i + 100);
    uint32_t flags = (uint32_t)rnd(NFLAGS);

    for (int inc = 0; inc < 2; inc++) {
        stream_t whole = stream_of(dp, inc ? "a/fs@1" : NULL, flags, 0, 0);
        size_t writes = 0, tries = 0;
        for (size_t i = 0; i < whole.st_n; i++)
            writes += record(&whole, i)->drr_type == DRR_WRITE;
        for (size_t i = 0; i < whole.st_n; i++) {
            if (record(&whole, i)->drr_type == DRR_WRITE && rnd(writes) < 15 && ++tries)
                check_resume(dp, &whole, i, inc ? "a/fs@1" : NULL, flags);
        }
        ck_assert(tries > 0 || writes < 15);
        stream_t fresh = stream_of(dp, inc ? "a/fs@1" : NULL, flags, 1, 0); /* nothing had been received */
        ck_assert_uint_eq(fresh.st_n, whole.st_n);
        for (size_t k = 1; k < whole.st_n; k++)
            ck_assert(same_record(&whole, k, &fresh, k));
        stream_free(&fresh);
        stream_free(&whole);
    }
    OK(dsl_pool_close(dp));
    faultdisk_destroy(fd);
}
END_TEST

/* ---- bookmarks ---- */

static int
send_error(dsl_pool_t *dp, const char *to, const char *from)
{
    dmu_send_args_t args = {.dsa_tosnap = to, .dsa_from = from, .dsa_fd = open("/dev/null", O_WRONLY)};
    int err = dmu_send(dp, &args);

    close(args.dsa_fd);
    return err;
}

START_TEST(test_bookmark)
{
    faultdisk_t *fd;
    dsl_pool_t *dp = random_pool(&fd, "lz4", 77);
    const char *mark = "a/fs#m", *mark2 = "a/fs#late", *snap1 = "a/fs@1", *snap2 = "a/fs@2";
    stream_t a = stream_of(dp, snap1, 0, 0, 0);

    OK(dsl_bookmark(dp, &mark, &snap1, 1, NULL));
    OK(dsl_bookmark(dp, &mark2, &snap2, 1, NULL));
    OK(dsl_create(dp, "a/other", DMU_OST_OTHER, NULL));
    snapshot(dp, "a/other@x");
    OK(dsl_clone(dp, snap2, "a/clone", NULL));
    snapshot(dp, "a/clone@c");
    OK(dsl_destroy_snapshots(dp, &snap1, 1, false, NULL));
    stream_t b = stream_of(dp, mark, 0, 0, 0);
    ck_assert_uint_eq(a.st_size, b.st_size);
    ck_assert(memcmp(a.st_data, b.st_data, a.st_size) == 0);
    ck_assert_int_eq(send_error(dp, snap2, mark2), EXDEV); /* of what is sent itself */
    ck_assert_int_eq(send_error(dp, snap2, "a/fs#none"), ENOENT);
    ck_assert_int_eq(send_error(dp, "a/other@x", mark), EXDEV);
    OK(send_error(dp, "a/clone@c", mark));
    stream_free(&a);
    stream_free(&b);
    OK(dsl_pool_close(dp));
    faultdisk_destroy(fd);
}
END_TEST

/* ---- cut, received in part, and on ---- */

static int
receive_part(dsl_pool_t *dp, const stream_t *st, uint64_t size, const char *fs)
{
    uint64_t off = 0;
    dmu_receive_args_t args = {.dra_target = fs, .dra_off = &off, .dra_resumable = true};
    char received[ZFS_MAX_DATASET_NAME_LEN];
    stream_error_t se = {0};

    args.dra_fd = memfd_of(st->st_data, size);
    int err = dmu_receive(dp, &args, received, &se);
    close(args.dra_fd);
    if (err != 0 && size == st->st_size)
        printf("%s: %s (record %lu)\n", fs, se.se_text, se.se_record);
    return err;
}

/* The rest, as the token of pool to says. */
static stream_t
resumed(dsl_pool_t *from, dsl_pool_t *to, const char *fs, const char *source)
{
    char token[RESUME_TOKEN_MAX];
    dsl_resume_t dr;

    OK(dsl_resume_token(to, fs, token));
    OK(dsl_resume_parse(token, &dr));
    return stream_of(from, source, dr.dr_flags, dr.dr_object, dr.dr_offset);
}

static stream_t
saved_stream(dsl_pool_t *dp, const char *fs)
{
    uint64_t off = 0;
    dmu_send_args_t args = {.dsa_tosnap = fs, .dsa_off = &off, .dsa_flags = DMU_SEND_SAVED};
    stream_t st = {0};

    args.dsa_fd = memfd_create("sent", 0);
    OK(dmu_send(dp, &args));
    st.st_data = xmalloc(off);
    st.st_size = off;
    ck_assert_int_eq(pread(args.dsa_fd, st.st_data, off, 0), (ssize_t)off);
    close(args.dsa_fd);
    return st;
}

/* a sends to b and breaks off; b sends what it has to c; a goes on with c. */
static void
pass_saved(dsl_pool_t *a, dsl_pool_t *b, dsl_pool_t *c, const char *from, uint32_t flags)
{
    stream_t whole = stream_of(a, from, flags, 0, 0), rest;

    ck_assert_int_eq(receive_part(b, &whole, whole.st_size / 2, "b/fs"), EINVAL);
    stream_t saved = saved_stream(b, "b/fs");
    ck_assert_int_eq(receive_part(c, &saved, saved.st_size, "c/fs"), EINVAL); /* no END */
    stream_free(&saved);
    rest = resumed(a, c, "c/fs", from);
    OK(receive_part(c, &rest, rest.st_size, "c/fs"));
    stream_free(&rest);
    rest = resumed(a, b, "b/fs", from);
    OK(receive_part(b, &rest, rest.st_size, "b/fs"));
    stream_free(&rest);
    stream_free(&whole);
    compare_snaps(a, "a/fs@2", b, "b/fs@2", false);
    compare_snaps(a, "a/fs@2", c, "c/fs@2", false);
}

START_TEST(test_saved)
{
    faultdisk_t *fa, *fb = faultdisk_create(DISK), *fc = faultdisk_create(DISK);
    dsl_pool_t *a = random_pool(&fa, compressions[_i], 300 + (uint64_t)_i), *b = pool_make(fb, "b"),
               *c = pool_make(fc, "c");
    uint32_t flags = _i % 2 ? NFLAGS - 1 : 0;

    if (_i / 2 == 0) {
        pass_saved(a, b, c, NULL, flags);
    } else {
        uint64_t size;
        stream_error_t se;
        uint8_t *first = send_bytes(a, "a/fs@1", NULL, flags, &size);
        OK(receive_bytes(b, "b/fs", first, size, &se));
        OK(receive_bytes(c, "c/fs", first, size, &se));
        free(first);
        pass_saved(a, b, c, "a/fs@1", flags);
    }
    pool_verify(b);
    pool_verify(c);
    OK(dsl_pool_close(a));
    OK(dsl_pool_close(b));
    OK(dsl_pool_close(c));
    faultdisk_destroy(fa);
    faultdisk_destroy(fb);
    faultdisk_destroy(fc);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("send: estimates, resuming, bookmarks");
    TCase *tc = tcase_create("random datasets");

    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, test_estimate, 0, 8);
    tcase_add_loop_test(tc, test_resume, 0, 8);
    tcase_add_test(tc, test_bookmark);
    tcase_add_loop_test(tc, test_saved, 0, 4);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
