/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_stream.c - records by themselves: reading, verifying, turning, writing. No pool.
 *
 * The streams are those of ../shared/streams, made by other programs, where that folder is there; and a small one of our own always.
 */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "effort.h"
#include "streamfile.h"

#define STREAMS "../shared/streams"

/* ---- helpers ---- */

static int
fd_of(const void *data, uint64_t size)
{
    int fd = memfd_create("stream", 0);

    ck_assert_int_ge(fd, 0);
    for (uint64_t at = 0; at < size;) {
        ssize_t n = write(fd, (const char *)data + at, size - at);
        ck_assert_int_gt(n, 0);
        at += (uint64_t)n;
    }
    lseek(fd, 0, SEEK_SET);
    return fd;
}

typedef void (*rec_cb_t)(void *arg, const stream_in_t *si, stream_rec_t *rec);

/* One whole stream from fd. *n: records handed out. */
static int
read_stream(int fd, rec_cb_t cb, void *arg, uint64_t *n, stream_error_t *se)
{
    dmu_replay_record_t wire;
    stream_in_t si;
    stream_rec_t *rec;
    uint8_t *payload;
    uint64_t off = 0;
    int err;

    *n = 0;
    memset(se, 0, sizeof(*se));
    err = stream_in_begin(&si, fd, &off, NULL, se, &wire, NULL);
    if (err == 0)
        err = stream_in_start(&si, fd, &off, NULL, se, &wire, &payload);
    if (err != 0)
        return err;
    free(payload);
    while (!si.in_ended && (err = stream_in_next(&si, &rec)) == 0) {
        ++*n;
        if (cb != NULL)
            cb(arg, &si, rec);
        stream_rec_free(rec);
    }
    return err;
}

static int
read_bytes(const void *data, uint64_t size, uint64_t *n, stream_error_t *se)
{
    int fd = fd_of(data, size), err = read_stream(fd, NULL, NULL, n, se);

    close(fd);
    return err;
}

/* Every stored stream but packages; returns how many there were. */
static int
each_stream(void (*fn)(const char *name, streamfile_t *sf))
{
    struct dirent *de;
    DIR *dir = opendir(STREAMS);
    char path[512];
    int n = 0;

    while (dir != NULL && (de = readdir(dir)) != NULL) {
        size_t len = strlen(de->d_name);
        if (len < 3 || strcmp(de->d_name + len - 3, ".zs") != 0 || strstr(de->d_name, "package") != NULL)
            continue;
        streamfile_t sf;
        snprintf(path, sizeof(path), "%s/%s", STREAMS, de->d_name);
        ck_assert_int_eq(sf_load(path, &sf), 0);
        fn(de->d_name, &sf);
        sf_free(&sf);
        n++;
    }
    if (dir != NULL)
        closedir(dir);
    else
        printf("skip - %s is not here\n", STREAMS);
    return n;
}

/* ---- a stream of our own ---- */

static void
own_records(stream_out_t *so)
{
    static uint8_t block[4096], bonus[264];
    dmu_replay_record_t d = {.drr_type = DRR_BEGIN};

    d.drr_u.drr_begin = (struct drr_begin){.drr_magic = DRR_MAGIC,
                                           .drr_versioninfo = DMU_VERSIONINFO(DMU_SUBSTREAM, 0),
                                           .drr_type = DMU_OST_ZFS,
                                           .drr_toguid = 77,
                                           .drr_toname = "pool/fs@snap"};
    ck_assert_int_eq(stream_out_record(so, &d, NULL, 0, NULL, NULL), 0);
    memset(&d, 0, sizeof(d));
    d.drr_type = DRR_OBJECT;
    d.drr_u.drr_object = (struct drr_object){.drr_object = 5,
                                             .drr_type = DMU_OT_PLAIN_FILE_CONTENTS,
                                             .drr_bonustype = DMU_OT_ZNODE,
                                             .drr_blksz = sizeof(block),
                                             .drr_bonuslen = sizeof(bonus),
                                             .drr_dn_slots = 1,
                                             .drr_toguid = 77};
    memset(bonus, 3, sizeof(bonus));
    ck_assert_int_eq(stream_out_record(so, &d, bonus, sizeof(bonus), NULL, NULL), 0);
    for (int i = 0; i < 300; i++) {
        memset(&d, 0, sizeof(d));
        memset(block, i, sizeof(block)); /* written later than queued: so each block is flushed at once */
        d.drr_type = DRR_WRITE;
        d.drr_u.drr_write = (struct drr_write){.drr_object = 5,
                                               .drr_type = DMU_OT_PLAIN_FILE_CONTENTS,
                                               .drr_offset = (uint64_t)i * sizeof(block),
                                               .drr_logical_size = sizeof(block),
                                               .drr_toguid = 77};
        ck_assert_int_eq(stream_out_record(so, &d, block, sizeof(block), NULL, NULL), 0);
        ck_assert_int_eq(stream_out_flush(so), 0);
    }
    memset(&d, 0, sizeof(d));
    d.drr_type = DRR_END;
    d.drr_u.drr_end.drr_toguid = 77;
    ck_assert_int_eq(stream_out_record(so, &d, NULL, 0, NULL, NULL), 0);
    ck_assert_int_eq(stream_out_flush(so), 0);
}

static void
own_stream(streamfile_t *sf)
{
    stream_out_t *so = xzalloc(sizeof(*so));
    int fd = memfd_create("own", 0);
    uint64_t off = 0;

    stream_out_init(so, fd, &off, NULL);
    own_records(so);
    ck_assert_uint_eq(off, so->so_off);
    ck_assert_uint_eq(off, (uint64_t)lseek(fd, 0, SEEK_CUR));
    uint8_t *data = xmalloc(off);
    ck_assert_int_eq(pread(fd, data, off, 0), (ssize_t)off);
    close(fd);
    free(so);
    ck_assert_int_eq(sf_parse(data, off, sf), 0);
}

START_TEST(test_own)
{
    streamfile_t sf;
    stream_error_t se;
    uint64_t n, size;

    own_stream(&sf);
    ck_assert_uint_eq(sf.sf_n, 303);
    ck_assert_int_eq(read_bytes(sf.sf_data, sf.sf_size, &n, &se), 0);
    ck_assert_uint_eq(n, 302);
    uint8_t *again = sf_store(&sf, 0, &size); /* the other implementation gives the same bytes */
    ck_assert_uint_eq(size, sf.sf_size);
    ck_assert_int_eq(memcmp(again, sf.sf_data, size), 0);
    free(again);
    sf_free(&sf);
}
END_TEST

/* ---- real streams ---- */

static void
check_real(const char *name, streamfile_t *sf)
{
    stream_error_t se;
    uint64_t n, size;
    int err = read_bytes(sf->sf_data, sf->sf_size, &n, &se);

    ck_assert_msg(err == 0, "%s: %s at record %lu", name, se.se_text, se.se_record);
    ck_assert_uint_eq(n, sf->sf_n - 1);
    bool sums = sf->sf_recs[1].r_drr.drr_u.drr_checksum.drr_checksum.zc_word[0] != 0;
    uint8_t *again = sf_store(sf, sums ? 0 : SF_NOSUM, &size);
    ck_assert_uint_eq(size, sf->sf_size);
    ck_assert_msg(sf->sf_foreign || memcmp(again, sf->sf_data, size) == 0, "%s: stored again it differs",
                  name);
    free(again);
}

START_TEST(test_real)
{
    each_stream(check_real);
}
END_TEST

/* ---- byte order ---- */

typedef struct compare {
    const streamfile_t *c_sf;
    stream_order_t c_order;
    uint64_t c_i;
    const char *c_name;
} compare_t;

static void
compare_record(void *arg, const stream_in_t *si, stream_rec_t *rec)
{
    compare_t *c = arg;
    const sf_rec_t *want = &c->c_sf->sf_recs[++c->c_i];
    dmu_replay_record_t *d = &rec->sr_drr;
    size_t sum = d->drr_type == DRR_END ? 8 : DRR_SUM_OFFSET;

    ck_assert(si->in_swap);
    ck_assert_msg(memcmp(d, &want->r_drr, sum) == 0, "%s: header %lu differs", c->c_name, c->c_i);
    ck_assert_uint_eq(rec->sr_len, want->r_len);
    if (d->drr_type == DRR_OBJECT)
        stream_swap_bonus(&c->c_order, (uint8_t)d->drr_u.drr_object.drr_bonustype, rec->sr_payload,
                          d->drr_u.drr_object.drr_bonuslen);
    if (d->drr_type == DRR_WRITE && d->drr_u.drr_write.drr_compressiontype == 0)
        stream_swap_block(&c->c_order, d->drr_u.drr_write.drr_object, (uint8_t)d->drr_u.drr_write.drr_type,
                          rec->sr_payload, rec->sr_len);
    ck_assert_msg(rec->sr_len == 0 || memcmp(rec->sr_payload, want->r_payload, rec->sr_len) == 0,
                  "%s: payload %lu (%s) differs", c->c_name, c->c_i, drr_type_name(d->drr_type));
}

static void
check_swapped(const char *name, streamfile_t *sf)
{
    compare_t c = {.c_sf = sf, .c_order = {.sd_swap = true}, .c_name = name};
    stream_error_t se;
    uint64_t n, size;

    if (sf->sf_foreign)
        return; /* turning it would need the opposite of the opposite */
    uint8_t *turned = sf_store(sf, SF_SWAP, &size);
    int fd = fd_of(turned, size), err = read_stream(fd, compare_record, &c, &n, &se);
    ck_assert_msg(err == 0, "%s: %s", name, se.se_text);
    ck_assert_uint_eq(n, sf->sf_n - 1);
    close(fd);
    free(turned);
}

START_TEST(test_swapped)
{
    streamfile_t sf;

    own_stream(&sf);
    check_swapped("own", &sf);
    sf_free(&sf);
    each_stream(check_swapped);
}
END_TEST

/* A ZAP block in the opposite order of its stream is turned all the same, and its pointer table with it. */
START_TEST(test_zap_opposite)
{
    uint64_t block[64] = {0x8000000000000003ULL, 5}, turned[64], table[64] = {1, 2, 3};

    for (int i = 0; i < 2; i++) {
        stream_order_t sd = {.sd_swap = i != 0};
        memcpy(turned, block, sizeof(block));
        stream_swap_block(&sd, 9, DMU_OT_DIRECTORY_CONTENTS, turned, sizeof(turned));
        ck_assert_int_eq(memcmp(turned, block, sizeof(block)), 0);
        for (int w = 0; w < 64; w++)
            turned[w] = __builtin_bswap64(block[w]);
        stream_swap_block(&sd, 9, DMU_OT_DIRECTORY_CONTENTS, turned, sizeof(turned));
        ck_assert_int_eq(memcmp(turned, block, sizeof(block)), 0);
        for (int w = 0; w < 64; w++)
            turned[w] = __builtin_bswap64(table[w]);
        stream_swap_block(&sd, 9, DMU_OT_DIRECTORY_CONTENTS, turned, sizeof(turned));
        ck_assert_int_eq(memcmp(turned, table, sizeof(table)), 0);
    }
}
END_TEST

/* ---- damage ---- */

static int
read_cut(int fd, uint64_t size, stream_error_t *se)
{
    uint64_t n;

    ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
    lseek(fd, 0, SEEK_SET);
    return read_stream(fd, NULL, NULL, &n, se);
}

static void
check_cuts(const char *name, streamfile_t *sf)
{
    stream_error_t se;
    uint64_t step = MAX(sf->sf_n / (uint64_t)effort(40), 1), ends = (uint64_t)effort(20);
    int fd = fd_of(sf->sf_data, sf->sf_size);

    for (uint64_t i = sf->sf_n; i-- > 0;) {
        bool chosen = i < ends || i + ends > sf->sf_n || i % step == 0;
        uint64_t at = sf->sf_recs[i].r_offset, in = 1 + random_u64() % (DRR_SIZE + sf->sf_recs[i].r_len - 1);
        if (!chosen)
            continue;
        int err = read_cut(fd, at + in, &se);
        ck_assert_msg(err == EINVAL, "%s cut in record %lu: %d", name, i, err);
        err = read_cut(fd, at, &se);
        ck_assert_msg(err == (i == 0 ? ENODATA : EINVAL), "%s cut before record %lu: %d", name, i, err);
        ck_assert(se.se_text[0] != '\0');
    }
    close(fd);
}

START_TEST(test_cut)
{
    streamfile_t sf;

    own_stream(&sf);
    check_cuts("own", &sf);
    sf_free(&sf);
    each_stream(check_cuts);
}
END_TEST

static void
check_flips(const char *name, streamfile_t *sf)
{
    bool sums = sf->sf_recs[1].r_drr.drr_u.drr_checksum.drr_checksum.zc_word[0] != 0;
    int fd = fd_of(sf->sf_data, sf->sf_size);
    stream_error_t se;
    uint64_t n;

    for (int i = 0; i < effort(40); i++) {
        uint64_t rec = random_u64() % sf->sf_n, bit = random_u64() % (sf->sf_size * 8);
        if (i % 2 == 0) /* headers are few bytes among many */
            bit = sf->sf_recs[rec].r_offset * 8 + random_u64() % (DRR_SIZE * 8);
        uint8_t bad = sf->sf_data[bit / 8] ^ (uint8_t)(1 << bit % 8);
        ck_assert_int_eq(pwrite(fd, &bad, 1, (off_t)(bit / 8)), 1);
        lseek(fd, 0, SEEK_SET);
        int err = read_stream(fd, NULL, NULL, &n, &se);
        bool padding =
            !sums && bit / 8 >= sf->sf_recs[sf->sf_n - 1].r_offset + 40; /* of END: of no meaning */
        ck_assert_msg(err == EINVAL || err == ECKSUM || err == ENOTSUP || (padding && err == 0),
                      "%s: bit %lu flipped: %d", name, bit, err);
        ck_assert(err == 0 || se.se_text[0] != '\0');
        ck_assert_int_eq(pwrite(fd, &sf->sf_data[bit / 8], 1, (off_t)(bit / 8)), 1);
    }
    close(fd);
}

START_TEST(test_flip)
{
    streamfile_t sf;

    own_stream(&sf);
    for (int i = 0; i < 10; i++)
        check_flips("own", &sf);
    sf_free(&sf);
    each_stream(check_flips);
}
END_TEST

static const uint64_t hostile[] = {0,
                                   1,
                                   7,
                                   511,
                                   513,
                                   1ULL << 17,
                                   (1ULL << 17) + 512,
                                   1ULL << 24,
                                   (1ULL << 24) + 512,
                                   UINT32_MAX,
                                   1ULL << 48,
                                   INT64_MAX,
                                   1ULL << 63,
                                   UINT64_MAX - 511,
                                   UINT64_MAX};

/* Every aligned field of one record of each type, with sums that fit: accepted or refused, never more. */
static void
check_hostile(const char *name, streamfile_t *sf)
{
    uint32_t seen = 0;

    for (uint64_t i = 0; i < sf->sf_n; i++) {
        uint32_t type = sf->sf_recs[i].r_drr.drr_type;
        if (seen & 1u << type || sf->sf_size > 200000)
            continue;
        seen |= 1u << type;
        for (int f = 0; f < 112; f += 4) {
            for (size_t v = 0; v < ARRAY_SIZE(hostile); v++) {
                if ((int)(random_u64() % 100) >= effort(100))
                    continue;
                dmu_replay_record_t keep = sf->sf_recs[i].r_drr;
                stream_error_t se;
                uint64_t n, size;
                memcpy((uint8_t *)&sf->sf_recs[i].r_drr + f, &hostile[v], f % 8 == 0 && v % 2 == 0 ? 8 : 4);
                uint8_t *data = sf_store(sf, 0, &size);
                int err = read_bytes(data, size, &n, &se);
                ck_assert_msg(err == 0 || se.se_text[0] != '\0', "%s: no text for %d", name, err);
                free(data);
                sf->sf_recs[i].r_drr = keep;
            }
        }
    }
}

START_TEST(test_hostile)
{
    streamfile_t sf;

    own_stream(&sf);
    sf.sf_n = 6; /* a short one will do, as there is an END missing anyway */
    check_hostile("own", &sf);
    sf_free(&sf);
    each_stream(check_hostile);
}
END_TEST

/* ---- pipes ---- */

static volatile int cancel;

static void *
set_cancel(void *arg)
{
    usleep(50000);
    __atomic_store_n(&cancel, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

START_TEST(test_cancel)
{
    static uint8_t block[131072];
    stream_out_t *so = xzalloc(sizeof(*so));
    dmu_replay_record_t d = {.drr_type = DRR_WRITE};
    stream_error_t se = {0};
    stream_in_t si;
    pthread_t t;
    int p[2], err = 0;

    ck_assert_int_eq(pipe(p), 0);
    cancel = 0;
    pthread_create(&t, NULL, set_cancel, NULL);
    ck_assert_int_eq(stream_in_begin(&si, p[0], NULL, &cancel, &se, &d, NULL), EINTR); /* nobody writes */
    pthread_join(t, NULL);
    cancel = 0;
    pthread_create(&t, NULL, set_cancel, NULL);
    d = (dmu_replay_record_t){.drr_type = DRR_WRITE};
    stream_out_init(so, p[1], NULL, &cancel);
    while (err == 0) /* nobody reads */
        err = stream_out_record(so, &d, block, sizeof(block), NULL, NULL);
    ck_assert_int_eq(err, EINTR);
    stream_out_fini(so);
    pthread_join(t, NULL);
    close(p[0]);
    close(p[1]);
    free(so);
}
END_TEST

/* ---- the queue ---- */

typedef struct elem {
    list_node_t e_node;
    uint64_t e_value;
} elem_t;

static void *
producer(void *arg)
{
    stream_queue_t *q = arg;

    for (uint64_t i = 0;; i++) {
        elem_t *e = xzalloc(sizeof(*e));
        e->e_value = i;
        if (i == 20000 || !stream_queue_put(q, e, 1 + i % 50)) {
            free(e);
            stream_queue_close(q);
            return NULL;
        }
    }
}

static uint64_t
consume(uint64_t stop_at)
{
    stream_queue_t q;
    pthread_t t;
    elem_t *e;
    uint64_t n = 0;

    stream_queue_init(&q, offsetof(elem_t, e_node), 40);
    pthread_create(&t, NULL, producer, &q);
    while ((e = stream_queue_get(&q)) != NULL) {
        ck_assert_uint_eq(e->e_value, n);
        if (n++ == stop_at)
            stream_queue_stop(&q);
        stream_queue_done(&q, 1 + e->e_value % 50);
        free(e);
    }
    pthread_join(t, NULL);
    ck_assert_uint_eq(q.sq_bytes, 0);
    stream_queue_fini(&q);
    return n;
}

START_TEST(test_queue)
{
    ck_assert_uint_eq(consume(UINT64_MAX), 20000);
    ck_assert_uint_le(consume(100), 150);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("stream");
    TCase *tc = tcase_create("records");

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, test_own);
    tcase_add_test(tc, test_real);
    tcase_add_test(tc, test_swapped);
    tcase_add_test(tc, test_zap_opposite);
    tcase_add_test(tc, test_cut);
    tcase_add_test(tc, test_flip);
    tcase_add_test(tc, test_hostile);
    tcase_add_test(tc, test_cancel);
    tcase_add_test(tc, test_queue);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
