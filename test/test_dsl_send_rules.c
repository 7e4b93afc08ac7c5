/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_send_rules.c - every rule of dmu_send as a row: the situation, what must come of it, what came. Each row is printed.
 *
 *   a/fs      @1 ── @2 ── @3        @2 differs from @1 in CHANGED blocks
 *               └─ a/clone @c       which differs from its origin in CHANGED blocks, too
 *   a/other   @1
 */
#include <stdarg.h>
#include <sys/ioctl.h>
#include <time.h>

#include "streampool.h"

#define DISK    (256ULL << 20)
#define BLOCK   4096u
#define BLOCKS  2000u
#define CHANGED 7u
#define OK(x)   ck_assert_int_eq((x), 0)
#define LATE_MS 3000u /* "at once", on a busy machine */

static dsl_pool_t *dp;
static uint64_t object;

/* ---- the pool ---- */

static void
write_blocks(const char *fs, uint32_t first, uint32_t step, uint32_t count)
{
    uint8_t *buf = xmalloc(BLOCK);
    dsl_dataset_t *ds;
    objset_t *os = snap_hold(dp, fs, &ds);

    for (uint32_t i = 0; i < count; i++) {
        uint64_t off = (uint64_t)(first + i * step) * BLOCK;
        for (uint32_t k = 0; k < BLOCK; k += 8)
            *(uint64_t *)(void *)(buf + k) = random_u64();
        dmu_tx_t *tx = dmu_tx_create(os);
        dmu_tx_hold_write(tx, object, off, BLOCK);
        OK(dmu_tx_assign(tx, DMU_TX_WAIT));
        OK(dmu_write(os, object, off, BLOCK, buf, tx));
        dmu_tx_commit(tx);
    }
    dsl_dataset_rele(ds, dp);
    free(buf);
}

static void
new_object(const char *fs)
{
    dsl_dataset_t *ds;
    objset_t *os = snap_hold(dp, fs, &ds);
    dmu_tx_t *tx = dmu_tx_create(os);

    dmu_tx_hold_bonus(tx, DMU_NEW_OBJECT);
    OK(dmu_tx_assign(tx, DMU_TX_WAIT));
    OK(dmu_object_alloc(os, DMU_OT_PLAIN_FILE_CONTENTS, BLOCK, 0, 0, 0, tx, &object));
    dmu_tx_commit(tx);
    dsl_dataset_rele(ds, dp);
}

static void
snapshot(const char *name)
{
    OK(dsl_snapshot(dp, &name, 1, NULL, NULL));
}

static faultdisk_t *
setup(void)
{
    faultdisk_t *fd = faultdisk_create(DISK);

    dp = pool_make(fd, "a");
    OK(dsl_create(dp, "a/fs", DMU_OST_OTHER, NULL));
    OK(dsl_create(dp, "a/other", DMU_OST_OTHER, NULL));
    new_object("a/fs");
    write_blocks("a/fs", 0, 1, BLOCKS);
    snapshot("a/fs@1");
    write_blocks("a/fs", 10, 100, CHANGED);
    snapshot("a/fs@2");
    snapshot("a/fs@3");
    snapshot("a/other@1");
    OK(dsl_clone(dp, "a/fs@1", "a/clone", NULL));
    write_blocks("a/clone", 20, 50, CHANGED);
    snapshot("a/clone@c");
    return fd;
}

static uint64_t
guid_of(const char *name)
{
    dsl_stats_t *st = xzalloc(sizeof(*st));

    OK(dsl_dataset_stats(dp, name, st));
    uint64_t guid = st->dst_guid;
    free(st);
    return guid;
}

/* ---- a stream in memory ---- */

typedef struct sent {
    int err;
    uint64_t size, off;
    uint8_t *data;
} sent_t;

static sent_t
send_to_memory(const char *to, const char *from, bool fromorigin)
{
    sent_t s = {0};
    dmu_send_args_t args = {
        .dsa_tosnap = to, .dsa_from = from, .dsa_fromorigin = fromorigin, .dsa_off = &s.off};

    args.dsa_fd = memfd_create("sent", 0);
    s.err = dmu_send(dp, &args);
    s.size = (uint64_t)lseek(args.dsa_fd, 0, SEEK_CUR);
    s.data = xmalloc(s.size + 1);
    ck_assert_int_eq(pread(args.dsa_fd, s.data, s.size, 0), (ssize_t)s.size);
    close(args.dsa_fd);
    return s;
}

static uint64_t
count_records(const sent_t *s, uint32_t type)
{
    uint64_t n = 0, len;

    for (uint64_t at = 0; at + DRR_SIZE <= s->size; at += DRR_SIZE + len) {
        const dmu_replay_record_t *drr = (const void *)(s->data + at);
        OK(drr_payload_size(drr, &len));
        n += drr->drr_type == type;
    }
    return n;
}

/* ---- a pipe that is read when we say so ---- */

typedef struct piped {
    pthread_t pi_thread;
    int pi_fd[2];
    uint64_t pi_off, pi_read;
    int pi_cancel, pi_err;
    uint64_t pi_ended; /* gethrtime */
} piped_t;

static void *
piped_send(void *arg)
{
    piped_t *pi = arg;
    dmu_send_args_t args = {
        .dsa_tosnap = "a/fs@2", .dsa_fd = pi->pi_fd[1], .dsa_off = &pi->pi_off, .dsa_cancel = &pi->pi_cancel};

    pi->pi_err = dmu_send(dp, &args);
    pi->pi_ended = gethrtime();
    close(pi->pi_fd[1]);
    return NULL;
}

static void
nap(void)
{
    const struct timespec ms = {0, 5000000};
    nanosleep(&ms, NULL);
}

static uint64_t
progress_of(piped_t *pi)
{
    return __atomic_load_n(&pi->pi_off, __ATOMIC_RELAXED);
}

static void
piped_begin(piped_t *pi)
{
    memset(pi, 0, sizeof(*pi));
    OK(pipe(pi->pi_fd));
    OK(pthread_create(&pi->pi_thread, NULL, piped_send, pi));
}

static uint64_t
piped_read(piped_t *pi, uint64_t n)
{
    static uint8_t buf[65536];
    uint64_t got = 0;

    while (got < n) {
        ssize_t r = read(pi->pi_fd[0], buf, MIN(sizeof(buf), n - got));
        ck_assert_int_ge(r, 0);
        if (r == 0)
            break;
        got += (uint64_t)r;
    }
    pi->pi_read += got;
    return got;
}

/* The writer stands still: the pipe is full, and the progress is what was read and what is in the pipe. */
static bool
piped_settles(piped_t *pi)
{
    for (int i = 0; i < 1000; i++, nap()) {
        int in_pipe;
        OK(ioctl(pi->pi_fd[0], FIONREAD, &in_pipe));
        if (in_pipe >= 4096 && progress_of(pi) == pi->pi_read + (uint64_t)in_pipe)
            return true;
    }
    return false;
}

/* ---- the rows: each returns what came of it, as text ---- */

static char answer[200];

static const char *
say(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(answer, sizeof(answer), fmt, ap);
    va_end(ap);
    return answer;
}

static const char *
errno_of(const char *to, const char *from, bool fromorigin)
{
    sent_t s = send_to_memory(to, from, fromorigin);
    bool silent = s.err == 0 || s.size == 0;

    free(s.data);
    return say("%s%s", s.err == 0 ? "0" : strerrorname_np(s.err), silent ? "" : ", after writing");
}

static const char *
row_head(void)
{
    return errno_of("a/fs", NULL, false);
}

static const char *
row_from_head(void)
{
    return errno_of("a/fs@2", "a/fs", false);
}

static const char *
row_later(void)
{
    return errno_of("a/fs@1", "a/fs@2", false);
}

static const char *
row_itself(void)
{
    return errno_of("a/fs@2", "a/fs@2", false);
}

static const char *
row_other(void)
{
    return errno_of("a/fs@2", "a/other@1", false);
}

static const char *
row_origin_later(void) /* of the origin's file system, but after the clone went its way */
{
    return errno_of("a/clone@c", "a/fs@2", false);
}

static const char *
row_both(void)
{
    return errno_of("a/clone@c", "a/fs@1", true);
}

static const char *
row_origin(void)
{
    sent_t s = send_to_memory("a/clone@c", NULL, true);
    const struct drr_begin *b = &((const dmu_replay_record_t *)(const void *)s.data)->drr_u.drr_begin;

    OK(s.err);
    bool flag = b->drr_flags & DRR_FLAG_CLONE, guid = b->drr_fromguid == guid_of("a/fs@1");
    uint64_t writes = count_records(&s, DRR_WRITE);
    free(s.data);
    return say("clone flag %d, guid of the origin %d, %lu blocks", flag, guid, (unsigned long)writes);
}

static const char *
row_no_origin(void)
{
    sent_t s = send_to_memory("a/fs@2", NULL, true), full = send_to_memory("a/fs@2", NULL, false);
    bool same = s.err == 0 && s.size == full.size && memcmp(s.data, full.data, s.size) == 0;

    free(s.data);
    free(full.data);
    return same ? "a full stream" : "another stream";
}

static const char *
row_progress(void)
{
    piped_t pi;
    int good = 0;

    piped_begin(&pi);
    for (uint64_t n = 100; n < 2000000; n *= 3) {
        piped_read(&pi, n);
        good += piped_settles(&pi);
    }
    piped_read(&pi, UINT64_MAX);
    pthread_join(pi.pi_thread, NULL);
    close(pi.pi_fd[0]);
    OK(pi.pi_err);
    return say("%d of 10 looks exact, the end %s", good, pi.pi_off == pi.pi_read ? "exact" : "not");
}

/* Nothing holds the snapshot any more: it can be destroyed, and is there again for the next row. */
static const char *
ended(piped_t *pi, uint64_t begin)
{
    const char *name = "a/fs@3";
    uint64_t ms = (pi->pi_ended - begin) / 1000000;
    dsl_dataset_t *ds;

    OK(dsl_dataset_hold(dp, "a/fs@2", &pi, &ds));
    bool held = dsl_dataset_long_held(ds);
    dsl_dataset_rele(ds, &pi);
    OK(dsl_destroy_snapshots(dp, &name, 1, false, NULL));
    snapshot(name);
    return say("%s %s, %s", pi->pi_err == 0 ? "0" : strerrorname_np(pi->pi_err),
               ms < LATE_MS ? "at once" : "late", held ? "held" : "released");
}

static const char *
row_interrupted(void)
{
    piped_t pi;

    piped_begin(&pi);
    piped_read(&pi, 100000);
    ck_assert(piped_settles(&pi)); /* it waits in the pipe */
    uint64_t begin = gethrtime();
    __atomic_store_n(&pi.pi_cancel, 1, __ATOMIC_RELAXED);
    pthread_join(pi.pi_thread, NULL);
    close(pi.pi_fd[0]);
    return ended(&pi, begin);
}

static const char *
row_reader_gone(void)
{
    piped_t pi;

    piped_begin(&pi);
    piped_read(&pi, 100000);
    ck_assert(piped_settles(&pi));
    uint64_t begin = gethrtime();
    close(pi.pi_fd[0]);
    pthread_join(pi.pi_thread, NULL);
    return ended(&pi, begin);
}

/* Fletcher-4 as the format says, word by word. */
static const char *
row_end(void)
{
    sent_t s = send_to_memory("a/fs@2", "a/fs@1", false);
    uint64_t a = 0, b = 0, c = 0, d = 0;
    const dmu_replay_record_t *end = (const void *)(s.data + s.size - DRR_SIZE);

    OK(s.err);
    for (uint64_t at = 0; at < s.size - DRR_SIZE; at += 4) {
        uint32_t w;
        memcpy(&w, s.data + at, 4);
        a += w;
        b += a;
        c += b;
        d += c;
    }
    const uint64_t *sum = end->drr_u.drr_end.drr_checksum.zc_word;
    bool is_end = end->drr_type == DRR_END && end->drr_u.drr_end.drr_toguid == guid_of("a/fs@2");
    bool same = sum[0] == a && sum[1] == b && sum[2] == c && sum[3] == d;
    free(s.data);
    return !is_end ? "no END" : same ? "the sum of everything before" : "another sum";
}

static const struct {
    const char *r_what;
    const char *(*r_run)(void);
    const char *r_want;
} rows[] = {
    {"what is sent is not a snapshot", row_head, "EINVAL"},
    {"the source is not a snapshot", row_from_head, "EINVAL"},
    {"the source is later", row_later, "EXDEV"},
    {"the source is what is sent", row_itself, "EXDEV"},
    {"the source is another file system's", row_other, "EXDEV"},
    {"the source is the origin's, but later than it", row_origin_later, "EXDEV"},
    {"from the origin and from a snapshot", row_both, "EINVAL"},
    {"from the origin, a clone", row_origin, "clone flag 1, guid of the origin 1, 7 blocks"},
    {"from the origin, no clone", row_no_origin, "a full stream"},
    {"progress", row_progress, "10 of 10 looks exact, the end exact"},
    {"interrupted", row_interrupted, "EINTR at once, released"},
    {"the reader goes away", row_reader_gone, "EPIPE at once, released"},
    {"END", row_end, "the sum of everything before"},
};

START_TEST(test_rules)
{
    faultdisk_t *fd = setup();
    int bad = 0;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *came = rows[i].r_run();
        bool good = strcmp(came, rows[i].r_want) == 0;
        printf("%s | dmu_send | %s | %s%s%s\n", good ? "ok" : "NOT OK", rows[i].r_what, rows[i].r_want,
               good ? "" : " | but ", good ? "" : came);
        bad += !good;
    }
    ck_assert_int_eq(bad, 0);
    pool_verify(dp);
    OK(dsl_pool_close(dp));
    faultdisk_destroy(fd);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("rules of dmu_send");
    TCase *tc = tcase_create("rows");

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, test_rules);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
