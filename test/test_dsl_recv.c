/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_recv.c - send and receive between pools: real streams, our own, turned round, damaged; and what a failure leaves.
 *
 * Real streams are those of ../shared/streams, each with the list of files it must give.
 */
#include <dirent.h>
#include <openssl/evp.h>

#include "effort.h"
#include "streampool.h"
#include "streamfile.h"

#define STREAMS "../shared/streams/"
#define DISK    (512ULL << 20)

static bool
have_streams(void)
{
    if (access(STREAMS, R_OK) == 0)
        return true;
    printf("skip - %s is not here\n", STREAMS);
    return false;
}

static int
receive_stream(dsl_pool_t *dp, const char *target, const char *file, stream_error_t *se)
{
    char path[256];

    snprintf(path, sizeof(path), STREAMS "%s.zs", file);
    int fd = open(path, O_RDONLY);
    ck_assert_msg(fd >= 0, "%s", path);
    return receive_fd(dp, target, fd, false, se);
}

/* ---- the tree of a file system: just enough of a ZPL to compare contents ---- */

static uint64_t
word_at(const uint8_t *p, bool swap)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return swap ? __builtin_bswap64(v) : v;
}

/* Mode and size, from a znode or from system attributes in the usual layouts. */
static void
file_info(objset_t *os, uint64_t object, uint64_t *mode, uint64_t *size)
{
    dmu_object_info_t doi;
    dmu_buf_t *db;

    ck_assert_int_eq(dmu_object_info(os, object, &doi), 0);
    ck_assert_int_eq(dmu_bonus_hold(os, object, &db), 0);
    const uint8_t *p = db->db_data;
    if (doi.doi_bonus_type == DMU_OT_ZNODE) {
        *mode = word_at(p + 72, false);
        *size = word_at(p + 80, false);
    } else {
        bool swap = p[0] == 0; /* magic 0x2F505A, foreign */
        uint16_t info = (uint16_t)(swap ? p[4] << 8 | p[5] : p[5] << 8 | p[4]);
        *mode = word_at(p + (info >> 10) * 8, swap);
        *size = word_at(p + (info >> 10) * 8 + 8, swap);
    }
    dmu_buf_rele(db);
}

static void
file_sha(objset_t *os, uint64_t object, uint64_t size, char *hex)
{
    uint8_t buf[1 << 16], md[32];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
    for (uint64_t at = 0; at < size; at += sizeof(buf)) {
        uint64_t n = MIN(sizeof(buf), size - at);
        ck_assert_int_eq(dmu_read(os, object, at, n, buf), 0);
        EVP_DigestUpdate(ctx, buf, n);
    }
    EVP_DigestFinal_ex(ctx, md, NULL);
    EVP_MD_CTX_free(ctx);
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", md[i]);
}

/* The object of "a/b/c", or 0. */
static uint64_t
path_lookup(objset_t *os, const char *path)
{
    uint64_t object;
    char part[256];

    ck_assert_int_eq(zap_lookup_u64(os, 1, "ROOT", &object), 0);
    if (strcmp(path, ".") == 0)
        return object;
    while (*path != '\0') {
        size_t n = strcspn(path, "/");
        snprintf(part, sizeof(part), "%.*s", (int)n, path);
        if (zap_lookup_u64(os, object, part, &object) != 0)
            return 0;
        object &= (1ULL << 48) - 1;
        path += n + (path[n] == '/');
    }
    return object;
}

static uint64_t
count_below(objset_t *os, uint64_t dir)
{
    zap_cursor_t zc;
    zap_attribute_t za;
    uint64_t n = 0;

    zap_cursor_init(&zc, os, dir);
    for (; zap_cursor_retrieve(&zc, &za) == 0; zap_cursor_advance(&zc)) {
        n++;
        if (za.za_first_integer >> 60 == 4)
            n += count_below(os, za.za_first_integer & ((1ULL << 48) - 1));
    }
    zap_cursor_fini(&zc);
    return n;
}

static void
check_line(objset_t *os, const char *name, char *line)
{
    unsigned mode;
    unsigned long size;
    char sum[128], hex[65];
    int at;
    uint64_t m, s, object;

    line[strcspn(line, "\n")] = '\0';
    ck_assert_int_eq(sscanf(line, "%o %*s %*s size=%lu %*s %n", &mode, &size, &at), 2);
    if ((mode & 0170000) == 0120000)
        return; /* a symlink's target may hold blanks, and lies in its attributes */
    ck_assert_int_eq(sscanf(line + at, "%127s", sum), 1);
    const char *path = line + at + strlen(sum) + 1;
    object = path_lookup(os, path);
    ck_assert_msg(object != 0, "%s: no %s", name, path);
    file_info(os, object, &m, &s);
    ck_assert_msg(m == mode && s == size, "%s: %s has mode %lo size %lu", name, path, m, s);
    if (sum[0] == '-')
        return;
    file_sha(os, object, size, hex);
    ck_assert_msg(strcmp(hex, sum) == 0, "%s: contents of %s differ", name, path);
}

static void
check_manifest(dsl_pool_t *dp, const char *snap, const char *manifest)
{
    char path[256], line[4096];
    dsl_dataset_t *ds;
    objset_t *os = snap_hold(dp, snap, &ds);
    uint64_t lines = 0;

    snprintf(path, sizeof(path), STREAMS "%s.manifest", manifest);
    FILE *f = fopen(path, "r");
    ck_assert_msg(f != NULL, "%s", path);
    for (; fgets(line, sizeof(line), f) != NULL; lines++)
        check_line(os, manifest, line);
    fclose(f);
    ck_assert_uint_eq(lines, 1 + count_below(os, path_lookup(os, ".")));
    dsl_dataset_rele(ds, dp);
}

/* ---- real streams ---- */

static const struct {
    const char *r_stream, *r_target, *r_snap, *r_manifest; /* no manifest: received, not looked into */
    int r_err;
} real[] = {
    {"lz4-a.Lec", "p/lz4", "p/lz4@a", "lz4-a", 0},
    {"lz4-ab.Lec", "p/lz4", "p/lz4@b", "lz4-b", 0},
    {"lz4-clone.Lec", "p/lz4c", NULL, "lz4-clone", 0},
    {"lz4-a", "p/lz4plain", "p/lz4plain@a", "lz4-a", 0},
    {"lz4-ab", "p/lz4plain", "p/lz4plain@b", "lz4-b", 0},
    {"lz4-a", "p/lz4bk", "p/lz4bk@a", "lz4-a", 0},
    {"lz4-bkb.Lec", "p/lz4bk", "p/lz4bk@b", "lz4-b", 0},
    {"zstd-a.Lec", "p/zstd", "p/zstd@a", "zstd-a", 0},
    {"zstd-ab.Lec", "p/zstd", "p/zstd@b", "zstd-b", 0},
    {"zstd-clone.Lec", "p/zstdc", NULL, "zstd-clone", 0},
    {"gz-a.Lec", "p/gz", "p/gz@a", "gz-a", 0},
    {"gz-ab.Lec", "p/gz", "p/gz@b", "gz-b", 0},
    {"gz-clone.Lec", "p/gzc", NULL, "gz-clone", 0},
    {"off-a.Lec", "p/off", "p/off@a", "off-a", 0},
    {"off-a", "p/offplain", "p/offplain@a", "off-a", 0},
    {"zle-a.Lec", "p/zle", "p/zle@a", "zle-a", 0},
    {"lzjb-a.Lec", "p/lzjb", "p/lzjb@a", "lzjb-a", 0},
    {"zle-w.Lec", "p/zlew", NULL, "zle-w", 0},
    {"lzjb-w.Lec", "p/lzjbw", NULL, "lzjb-w", 0},
    {"fuse-xattr", "p/fuse", NULL, "fuse-xattr", 0},
    {"big-endian-redacted", "p/be", NULL, NULL, 0},
    {"vol-a.Lec", "p/vol", "p/vol@a", NULL, 0},
    {"dedup-package", "p/dd", NULL, NULL, 0},
};

static int
first_name(void *arg, const char *name)
{
    snprintf(arg, ZFS_MAX_DATASET_NAME_LEN, "%s", name);
    return 0;
}

static void
only_snap(dsl_pool_t *dp, const char *fs, char *snap)
{
    snap[0] = '\0';
    ck_assert_int_eq(dsl_for_each_snapshot(dp, fs, first_name, snap), 0);
    ck_assert_msg(snap[0] != '\0', "%s has no snapshot", fs);
}

static void
receive_real(dsl_pool_t *dp, size_t i)
{
    char snap[ZFS_MAX_DATASET_NAME_LEN];
    stream_error_t se;
    int err = receive_stream(dp, real[i].r_target, real[i].r_stream, &se);

    ck_assert_msg(err == real[i].r_err, "%s: %s (record %lu at %lu)", real[i].r_stream, se.se_text,
                  se.se_record, se.se_offset);
    if (real[i].r_snap != NULL)
        snprintf(snap, sizeof(snap), "%s", real[i].r_snap);
    else
        only_snap(dp, real[i].r_target, snap);
    if (real[i].r_manifest != NULL)
        check_manifest(dp, snap, real[i].r_manifest);
}

START_TEST(test_real)
{
    faultdisk_t *fd = faultdisk_create(DISK);
    dsl_pool_t *dp = pool_make(fd, "p");
    stream_error_t se;

    for (size_t i = 0; have_streams() && i < ARRAY_SIZE(real); i++)
        receive_real(dp, i);
    if (have_streams())
        ck_assert_int_eq(receive_stream(dp, "p/zstd", "lz4-ab", &se), ENODEV);
    pool_verify(dp);
    char *before = pool_text(dp);
    ck_assert_int_eq(dsl_pool_close(dp), 0);
    dp = pool_reopen(fd);
    char *after = pool_text(dp);
    ck_assert_str_eq(before, after);
    for (size_t i = 0; have_streams() && i < ARRAY_SIZE(real); i++)
        if (real[i].r_snap != NULL && real[i].r_manifest != NULL)
            check_manifest(dp, real[i].r_snap, real[i].r_manifest);
    ck_assert_int_eq(dsl_pool_close(dp), 0);
    faultdisk_destroy(fd);
    free(before);
    free(after);
}
END_TEST

/* ---- sent on ---- */

static void
pass_on(dsl_pool_t *from, dsl_pool_t *to, const char *snap, const char *source, const char *fs,
        uint32_t flags)
{
    char copy[ZFS_MAX_DATASET_NAME_LEN];
    stream_error_t se;
    uint64_t size;
    uint8_t *data = send_bytes(from, snap, source, flags, &size);
    int err = receive_bytes(to, fs, data, size, &se);

    ck_assert_msg(err == 0, "%s -> %s: %s (record %lu)", snap, fs, se.se_text, se.se_record);
    snprintf(copy, sizeof(copy), "%s%s", fs, strchr(snap, '@'));
    compare_snaps(from, snap, to, copy, (flags & DMU_SEND_LARGE_BLOCK) != 0);
    free(data);
}

static const struct {
    const char *s_first, *s_second;
    bool s_large;
} sent[] = {{"lz4-a.Lec", "lz4-ab.Lec", false},
            {"zstd-a.Lec", "zstd-ab.Lec", true},
            {"gz-a.Lec", "gz-ab.Lec", false}};

START_TEST(test_send)
{
    static const uint32_t flags[] = {0, DMU_SEND_LARGE_BLOCK,
                                     DMU_SEND_LARGE_BLOCK | DMU_SEND_EMBED | DMU_SEND_COMPRESSED};
    faultdisk_t *fa = faultdisk_create(DISK), *fb = faultdisk_create(DISK);
    dsl_pool_t *a = pool_make(fa, "a"), *b = pool_make(fb, "b");
    char fs[64];
    stream_error_t se;

    if (have_streams()) {
        ck_assert_int_eq(receive_stream(a, "a/fs", sent[_i].s_first, &se), 0);
        ck_assert_int_eq(receive_stream(a, "a/fs", sent[_i].s_second, &se), 0);
        for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
            snprintf(fs, sizeof(fs), "b/fs%zu", i);
            pass_on(a, b, "a/fs@a", NULL, fs, flags[i]);
            pass_on(a, b, "a/fs@b", "a/fs@a", fs, flags[i]);
        }
        pass_on(a, b, "a/fs@b", NULL, "b/full", 0);
        pool_verify(b);
    }
    ck_assert_int_eq(dsl_pool_close(a), 0);
    ck_assert_int_eq(dsl_pool_close(b), 0);
    faultdisk_destroy(fa);
    faultdisk_destroy(fb);
}
END_TEST

/* ---- a file system of our own, without a ZPL: objects at random ---- */

#define NOBJ 60

static void
own_object(objset_t *os, uint64_t object, dmu_tx_t *tx)
{
    uint32_t blksz = 512u << (random_u64() % 9);
    int err = dmu_object_claim(os, object, DMU_OT_PLAIN_OTHER, blksz, DMU_OT_UINT64_OTHER, 64, 0, tx);

    ck_assert(err == 0 || err == EEXIST); /* freed in this txg */
}

static void
own_write(objset_t *os, uint64_t object)
{
    static uint8_t buf[300000];
    uint64_t off = random_u64() % 2000000, n = 1 + random_u64() % sizeof(buf);
    dmu_tx_t *tx = dmu_tx_create(os);

    for (uint64_t i = 0; i < n; i += 97)
        buf[i] = (uint8_t)random_u64();
    dmu_tx_hold_write(tx, object, off, n);
    ck_assert_int_eq(dmu_tx_assign(tx, DMU_TX_WAIT), 0);
    ck_assert_int_eq(dmu_write(os, object, off, n, buf, tx), 0);
    dmu_tx_commit(tx);
}

static void
own_step(objset_t *os)
{
    uint64_t object = 10 + random_u64() % NOBJ, what = random_u64() % 10;
    dmu_object_info_t doi;
    int err = dmu_object_info(os, object, &doi);
    dmu_tx_t *tx;

    if (err == 0 && what < 6) {
        own_write(os, object);
    } else if (err == 0 && what < 8) {
        ck_assert_int_eq(dmu_free_long_range(os, object, random_u64() % 2000000,
                                             what == 6 ? DMU_OBJECT_END : random_u64() % 1000000),
                         0);
    } else {
        if (err == 0)
            ck_assert_int_eq(dmu_free_long_range(os, object, 0, DMU_OBJECT_END), 0);
        tx = dmu_tx_create(os);
        dmu_tx_hold_bonus(tx, err == 0 ? object : DMU_NEW_OBJECT);
        ck_assert_int_eq(dmu_tx_assign(tx, DMU_TX_WAIT), 0);
        if (err == 0)
            ck_assert_int_eq(dmu_object_free(os, object, tx), 0);
        else
            own_object(os, object, tx);
        dmu_tx_commit(tx);
    }
}

static void
own_change(dsl_pool_t *dp, const char *fs, int steps)
{
    dsl_dataset_t *ds;
    objset_t *os = snap_hold(dp, fs, &ds);

    for (int i = 0; i < steps; i++)
        own_step(os);
    dsl_dataset_rele(ds, dp);
}

static void
own_snapshot(dsl_pool_t *dp, const char *name)
{
    ck_assert_int_eq(dsl_snapshot(dp, &name, 1, NULL, NULL), 0);
}

/* Ten rounds of change, snapshot, send on: the copy is always the same. */
START_TEST(test_chain)
{
    faultdisk_t *fa = faultdisk_create(DISK), *fb = faultdisk_create(DISK);
    dsl_pool_t *a = pool_make(fa, "a"), *b = pool_make(fb, "b");
    char snap[64], last[64] = "";

    ck_assert_int_eq(dsl_create(a, "a/fs", DMU_OST_OTHER, NULL), 0);
    for (int i = 0; i < 10; i++) {
        own_change(a, "a/fs", 60);
        snprintf(snap, sizeof(snap), "a/fs@s%d", i);
        own_snapshot(a, snap);
        pass_on(a, b, snap, i == 0 ? NULL : last, "b/fs",
                i % 2 == 0 ? 0 : DMU_SEND_COMPRESSED | DMU_SEND_EMBED);
        snprintf(last, sizeof(last), "%s", snap);
    }
    pass_on(a, b, "a/fs@s9", NULL, "b/full", 0);
    /* a clone, on its origin there */
    ck_assert_int_eq(dsl_clone(a, "a/fs@s4", "a/clone", NULL), 0);
    own_change(a, "a/clone", 60);
    own_snapshot(a, "a/clone@c");
    pass_on(a, b, "a/clone@c", "a/fs@s4", "b/clone", 0);
    pool_verify(a);
    pool_verify(b);
    ck_assert_int_eq(dsl_pool_close(a), 0);
    ck_assert_int_eq(dsl_pool_close(b), 0);
    faultdisk_destroy(fa);
    faultdisk_destroy(fb);
}
END_TEST

/* ---- errors of send ---- */

static int
send_error(dsl_pool_t *dp, const char *to, const char *from, bool fromorigin, int fd)
{
    dmu_send_args_t args = {
        .dsa_tosnap = to, .dsa_from = from, .dsa_fromorigin = fromorigin, .dsa_fd = fd};

    return dmu_send(dp, &args);
}

START_TEST(test_send_errors)
{
    faultdisk_t *fd = faultdisk_create(DISK);
    dsl_pool_t *dp = pool_make(fd, "a");
    int null = open("/dev/null", O_WRONLY), p[2];

    ck_assert_int_eq(dsl_create(dp, "a/fs", DMU_OST_OTHER, NULL), 0);
    ck_assert_int_eq(dsl_create(dp, "a/other", DMU_OST_OTHER, NULL), 0);
    own_change(dp, "a/fs", 40);
    own_snapshot(dp, "a/fs@1");
    own_snapshot(dp, "a/fs@2");
    own_snapshot(dp, "a/other@1");
    ck_assert_int_eq(dsl_clone(dp, "a/fs@1", "a/clone", NULL), 0);
    own_snapshot(dp, "a/clone@c");
    ck_assert_int_eq(send_error(dp, "a/fs", NULL, false, null), EINVAL);
    ck_assert_int_eq(send_error(dp, "a/fs@none", NULL, false, null), ENOENT);
    ck_assert_int_eq(send_error(dp, "a/fs@2", "a/fs", false, null), EINVAL);
    ck_assert_int_eq(send_error(dp, "a/fs@1", "a/fs@2", false, null), EXDEV);
    ck_assert_int_eq(send_error(dp, "a/fs@1", "a/fs@1", false, null), EXDEV);
    ck_assert_int_eq(send_error(dp, "a/fs@2", "a/other@1", false, null), EXDEV);
    ck_assert_int_eq(send_error(dp, "a/clone@c", "a/fs@2", false, null), EXDEV);
    ck_assert_int_eq(send_error(dp, "a/clone@c", "a/fs@1", true, null), EINVAL);
    ck_assert_int_eq(send_error(dp, "a/clone@c", NULL, true, null), 0);
    ck_assert_int_eq(send_error(dp, "a/fs@2", NULL, true, null), 0);
    ck_assert_int_eq(pipe(p), 0);
    close(p[0]);
    ck_assert_int_eq(send_error(dp, "a/fs@2", NULL, false, p[1]), EPIPE);
    const char *snap = "a/fs@2";
    ck_assert_int_eq(dsl_destroy_snapshots(dp, &snap, 1, false, NULL), 0); /* nothing holds it any more */
    close(p[1]);
    close(null);
    ck_assert_int_eq(dsl_pool_close(dp), 0);
    faultdisk_destroy(fd);
}
END_TEST

/* ---- errors of receive ---- */

START_TEST(test_recv_errors)
{
    faultdisk_t *fa = faultdisk_create(DISK), *fb = faultdisk_create(DISK);
    dsl_pool_t *a = pool_make(fa, "a"), *b = pool_make(fb, "b");
    uint64_t nfull, ninc, nclone;
    stream_error_t se;
    dsl_dataset_t *ds;

    ck_assert_int_eq(dsl_create(a, "a/fs", DMU_OST_OTHER, NULL), 0);
    own_change(a, "a/fs", 40);
    own_snapshot(a, "a/fs@1");
    own_change(a, "a/fs", 40);
    own_snapshot(a, "a/fs@2");
    ck_assert_int_eq(dsl_clone(a, "a/fs@1", "a/clone", NULL), 0);
    own_snapshot(a, "a/clone@c");
    uint8_t *full = send_bytes(a, "a/fs@1", NULL, 0, &nfull),
            *inc = send_bytes(a, "a/fs@2", "a/fs@1", 0, &ninc);
    uint8_t *clone = send_bytes(a, "a/clone@c", "a/fs@1", 0, &nclone);

    ck_assert_int_eq(receive_bytes(b, "b/no/fs", full, nfull, &se), ENOENT);
    ck_assert_int_eq(receive_bytes(b, "b/fs", inc, ninc, &se), ENOENT);
    ck_assert_int_eq(receive_bytes(b, "b/clone", clone, nclone, &se), EINVAL); /* no origin */
    ck_assert_int_eq(receive_bytes(b, "b/fs", full, nfull, &se), 0);
    ck_assert_int_eq(receive_bytes(b, "b/fs", full, nfull, &se), EEXIST);
    ck_assert_int_eq(receive_bytes(b, "b/fs@1", inc, ninc, &se), EEXIST); /* the snapshot's name */
    own_change(b, "b/fs", 3);
    ck_assert_int_eq(receive_bytes(b, "b/fs", inc, ninc, &se), ETXTBSY);
    ck_assert_int_eq(dsl_dataset_own(b, "b/fs", false, &ds, &ds), 0);
    ck_assert_int_eq(receive_bytes(b, "b/fs", inc, ninc, &se), ETXTBSY);
    ck_assert_int_eq(receive_fd(b, "b/fs", memfd_of(inc, ninc), true, &se), EBUSY); /* nobody lends it */
    dsl_dataset_disown(ds, &ds);
    ck_assert_int_eq(receive_fd(b, "b/fs", memfd_of(inc, ninc), true, &se), 0);
    compare_snaps(a, "a/fs@2", b, "b/fs@2", true);
    ck_assert_int_eq(receive_bytes(b, "b/fs", inc, ninc, &se), ENODEV);
    ck_assert_int_eq(receive_fd(b, "b/fs", memfd_of(inc, ninc), true, &se), ENODEV);
    ck_assert_int_eq(receive_bytes(b, "b/clone", clone, nclone, &se), 0);
    ck_assert_int_eq(receive_bytes(b, "b/clone", clone, nclone, &se), EEXIST);
    compare_snaps(a, "a/clone@c", b, "b/clone@c", true);
    pool_verify(b);
    free(full);
    free(inc);
    free(clone);
    ck_assert_int_eq(dsl_pool_close(a), 0);
    ck_assert_int_eq(dsl_pool_close(b), 0);
    faultdisk_destroy(fa);
    faultdisk_destroy(fb);
}
END_TEST

/* ---- the other byte order ---- */

START_TEST(test_swapped)
{
    static const char *const names[] = {"lz4-a", "off-a", "fuse-xattr", "lzjb-w.Lec"};
    char path[256], fs[64], turned[64], a[ZFS_MAX_DATASET_NAME_LEN], b[ZFS_MAX_DATASET_NAME_LEN];
    faultdisk_t *fd = faultdisk_create(DISK);
    dsl_pool_t *dp = pool_make(fd, "p");
    stream_error_t se;

    for (size_t i = 0; have_streams() && i < ARRAY_SIZE(names); i++) {
        streamfile_t sf;
        uint64_t size;
        snprintf(path, sizeof(path), STREAMS "%s.zs", names[i]);
        snprintf(fs, sizeof(fs), "p/fs%zu", i);
        snprintf(turned, sizeof(turned), "p/turned%zu", i);
        ck_assert_int_eq(sf_load(path, &sf), 0);
        uint8_t *data = sf_store(&sf, SF_SWAP, &size);
        ck_assert_int_eq(receive_stream(dp, fs, names[i], &se), 0);
        ck_assert_msg(receive_bytes(dp, turned, data, size, &se) == 0, "%s", se.se_text);
        only_snap(dp, fs, a);
        only_snap(dp, turned, b);
        compare_snaps(dp, a, dp, b, true);
        free(data);
        sf_free(&sf);
    }
    ck_assert_int_eq(dsl_pool_close(dp), 0);
    faultdisk_destroy(fd);
}
END_TEST

/* ---- damage ---- */

typedef struct damage {
    faultdisk_t *d_fd;
    dsl_pool_t *d_dp;
    char *d_before;
    streamfile_t d_full, d_inc;
} damage_t;

static void
damage_setup(damage_t *d)
{
    faultdisk_t *fa = faultdisk_create(DISK);
    dsl_pool_t *a = pool_make(fa, "a");
    stream_error_t se;
    uint64_t n;

    ck_assert_int_eq(dsl_create(a, "a/fs", DMU_OST_OTHER, NULL), 0);
    own_change(a, "a/fs", 30);
    own_snapshot(a, "a/fs@1");
    own_change(a, "a/fs", 15);
    own_snapshot(a, "a/fs@2");
    uint8_t *full = send_bytes(a, "a/fs@1", NULL, 0, &n);
    ck_assert_int_eq(sf_parse(full, n, &d->d_full), 0);
    uint8_t *inc = send_bytes(a, "a/fs@2", "a/fs@1", 0, &n);
    ck_assert_int_eq(sf_parse(inc, n, &d->d_inc), 0);
    ck_assert_int_eq(dsl_pool_close(a), 0);
    faultdisk_destroy(fa);
    d->d_fd = faultdisk_create(DISK);
    d->d_dp = pool_make(d->d_fd, "b");
    ck_assert_int_eq(receive_bytes(d->d_dp, "b/fs", d->d_full.sf_data, d->d_full.sf_size, &se), 0);
    d->d_before = pool_text(d->d_dp);
}

static void
damage_unchanged(damage_t *d, const char *what)
{
    char *now = pool_text(d->d_dp);

    ck_assert_msg(strcmp(now, d->d_before) == 0, "after %s:\n%s\nbefore:\n%s", what, now, d->d_before);
    free(now);
}

static void
damage_teardown(damage_t *d)
{
    stream_error_t se;

    pool_verify(d->d_dp);
    /* and the whole one still goes in */
    ck_assert_msg(receive_bytes(d->d_dp, "b/fs", d->d_inc.sf_data, d->d_inc.sf_size, &se) == 0, "%s",
                  se.se_text);
    pool_verify(d->d_dp);
    ck_assert_int_eq(dsl_pool_close(d->d_dp), 0);
    faultdisk_destroy(d->d_fd);
    free(d->d_before);
    sf_free(&d->d_full);
    sf_free(&d->d_inc);
}

/* Both as an increment and as a new file system. */
static void
damage_try(damage_t *d, const void *data, uint64_t size, bool inc, const char *what)
{
    stream_error_t se;
    int err = receive_bytes(d->d_dp, inc ? "b/fs" : "b/new", data, size, &se);

    ck_assert_msg(err != 0, "%s was received", what);
    ck_assert_msg(se.se_text[0] != '\0', "%s: %d without a text", what, err);
    damage_unchanged(d, what);
}

START_TEST(test_cut)
{
    damage_t d;
    char what[64];

    damage_setup(&d);
    for (int inc = 0; inc < 2; inc++) {
        const streamfile_t *sf = inc ? &d.d_inc : &d.d_full;
        for (uint64_t i = 0; i < sf->sf_n; i += sf->sf_n / 25 + 1) {
            snprintf(what, sizeof(what), "cut before record %lu", i);
            damage_try(&d, sf->sf_data, sf->sf_recs[i].r_offset, inc, what);
            snprintf(what, sizeof(what), "cut after record %lu", i);
            damage_try(&d, sf->sf_data, sf->sf_recs[i].r_offset + 1 + random_u64() % 311, inc, what);
        }
    }
    damage_teardown(&d);
}
END_TEST

START_TEST(test_flip)
{
    damage_t d;
    char what[64];

    damage_setup(&d);
    for (int i = 0; i < 40; i++) {
        const streamfile_t *sf = i % 2 ? &d.d_inc : &d.d_full;
        uint64_t bit = random_u64() % (sf->sf_size * 8);
        snprintf(what, sizeof(what), "bit %lu flipped", bit);
        sf->sf_data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        damage_try(&d, sf->sf_data, sf->sf_size, i % 2, what);
        sf->sf_data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    damage_teardown(&d);
}
END_TEST

static const uint64_t hostile[] = {0,          1,          511,        513,       (1ULL << 17) + 512,
                                   1ULL << 24, 1ULL << 47, 1ULL << 48, INT64_MAX, UINT64_MAX - 511};

/* A field of a record that says something else, in a stream that is right otherwise: received whole, or nothing changed. */
static void
hostile_try(damage_t *d, streamfile_t *sf, uint64_t rec, int field, uint64_t value, bool inc)
{
    dmu_replay_record_t keep = sf->sf_recs[rec].r_drr;
    stream_error_t se;
    char what[100];
    uint64_t size;

    snprintf(what, sizeof(what), "record %lu (%s) field %d = %lx", rec, drr_type_name(keep.drr_type), field,
             value);
    memcpy((uint8_t *)&sf->sf_recs[rec].r_drr + field, &value, field % 8 == 0 ? 8 : 4);
    uint8_t *data = sf_store(sf, 0, &size);
    int err = receive_bytes(d->d_dp, inc ? "b/fs" : "b/new", data, size, &se);
    if (err == 0 && inc) {
        const char *snap = "b/fs@2";
        ck_assert_int_eq(dsl_destroy_snapshots(d->d_dp, &snap, 1, false, NULL), 0);
        ck_assert_int_eq(dsl_rollback(d->d_dp, "b/fs", NULL), 0);
    } else if (err == 0) {
        const char *snap = "b/new@1";
        ck_assert_int_eq(dsl_destroy_snapshots(d->d_dp, &snap, 1, false, NULL), 0);
        ck_assert_int_eq(dsl_destroy_head(d->d_dp, "b/new"), 0);
    } else {
        ck_assert_msg(se.se_text[0] != '\0', "%s: no text", what);
    }
    damage_unchanged(d, what);
    free(data);
    sf->sf_recs[rec].r_drr = keep;
}

START_TEST(test_hostile)
{
    damage_t d;

    damage_setup(&d);
    for (int i = 0; i < effort(150); i++) {
        streamfile_t *sf = i % 2 ? &d.d_inc : &d.d_full;
        uint64_t rec = 1 + random_u64() % (sf->sf_n - 2);
        int field = 8 + 4 * (int)(random_u64() % 8);
        hostile_try(&d, sf, rec, field, hostile[random_u64() % ARRAY_SIZE(hostile)], i % 2);
    }
    damage_teardown(&d);
}
END_TEST

/* ---- a pool that is full, a receive that is given up ---- */

START_TEST(test_full_pool)
{
    faultdisk_t *fa = faultdisk_create(DISK), *fb = faultdisk_create(64 << 20);
    dsl_pool_t *a = pool_make(fa, "a"), *b = pool_make(fb, "b");
    static uint8_t buf[1 << 20];
    stream_error_t se;
    dsl_dataset_t *ds;
    uint64_t n;

    ck_assert_int_eq(dsl_create(a, "a/fs", DMU_OST_OTHER, NULL), 0);
    objset_t *os = snap_hold(a, "a/fs", &ds);
    for (uint64_t i = 0; i < 100; i++) {
        dmu_tx_t *tx = dmu_tx_create(os);
        random_bytes(buf, sizeof(buf));
        dmu_tx_hold_write(tx, DMU_NEW_OBJECT, 0, sizeof(buf));
        ck_assert_int_eq(dmu_tx_assign(tx, DMU_TX_WAIT), 0);
        ck_assert_int_eq(dmu_object_claim(os, 100 + i, DMU_OT_PLAIN_OTHER, 131072, DMU_OT_NONE, 0, 0, tx), 0);
        ck_assert_int_eq(dmu_write(os, 100 + i, 0, sizeof(buf), buf, tx), 0);
        dmu_tx_commit(tx);
    }
    dsl_dataset_rele(ds, a);
    own_snapshot(a, "a/fs@1");
    uint8_t *full = send_bytes(a, "a/fs@1", NULL, 0, &n);
    char *before = pool_text(b);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(receive_bytes(b, "b/fs", full, n, &se), ENOSPC);
        ck_assert(strstr(se.se_text, "the pool is full") != NULL);
        char *after = pool_text(b);
        ck_assert_str_eq(before, after);
        free(after);
    }
    pool_verify(b);
    free(before);
    free(full);
    ck_assert_int_eq(dsl_pool_close(a), 0);
    ck_assert_int_eq(dsl_pool_close(b), 0);
    faultdisk_destroy(fa);
    faultdisk_destroy(fb);
}
END_TEST

static void *
cancel_soon(void *arg)
{
    usleep(100000);
    __atomic_store_n((volatile int *)arg, 1, __ATOMIC_RELAXED);
    return NULL;
}

/* The sender stalls in the middle of a record, and somebody loses patience. */
START_TEST(test_cancel)
{
    damage_t d;
    volatile int cancel;
    stream_error_t se;
    pthread_t t;
    int p[2];

    damage_setup(&d);
    for (int inc = 0; inc < 2; inc++) {
        const streamfile_t *sf = inc ? &d.d_inc : &d.d_full;
        dmu_receive_args_t args = {.dra_target = inc ? "b/fs" : "b/new", .dra_cancel = &cancel};
        cancel = 0;
        ck_assert_int_eq(pipe(p), 0);
        ck_assert_int_eq(write(p[1], sf->sf_data, MIN(sf->sf_size / 2, 60000)), MIN(sf->sf_size / 2, 60000));
        args.dra_fd = p[0];
        pthread_create(&t, NULL, cancel_soon, (void *)(uintptr_t)&cancel);
        ck_assert_int_eq(dmu_receive(d.d_dp, &args, NULL, &se), EINTR);
        pthread_join(t, NULL);
        close(p[0]);
        close(p[1]);
        damage_unchanged(&d, "canceled");
    }
    damage_teardown(&d);
}
END_TEST

/* ---- a crash in the middle ---- */

static void
crash_at(damage_t *d, uint64_t event, bool inc)
{
    faultdisk_t *cut = faultdisk_cut(d->d_fd, event, event);
    dsl_pool_t *dp = pool_reopen(cut);
    char *now = pool_text(dp);
    bool done = strstr(now, inc ? "b/fs@2" : "b/new@1") != NULL;

    ck_assert_msg(done || strcmp(now, d->d_before) == 0, "cut at %lu:\n%s\nbefore:\n%s", event, now,
                  d->d_before);
    ck_assert(strstr(now, "inconsistent") == NULL);
    pool_verify(dp);
    ck_assert_int_eq(dsl_pool_close(dp), 0);
    free(now);
    faultdisk_destroy(cut);
}

START_TEST(test_crash)
{
    damage_t d;
    stream_error_t se;
    bool inc = _i;

    damage_setup(&d);
    const streamfile_t *sf = inc ? &d.d_inc : &d.d_full;
    faultdisk_record(d.d_fd);
    ck_assert_int_eq(receive_bytes(d.d_dp, inc ? "b/fs" : "b/new", sf->sf_data, sf->sf_size, &se), 0);
    uint64_t n = faultdisk_events(d.d_fd);
    for (uint64_t i = 0; i < n; i += n / 12 + 1)
        crash_at(&d, i, inc);
    ck_assert_int_eq(dsl_pool_close(d.d_dp), 0);
    faultdisk_destroy(d.d_fd);
    free(d.d_before);
    sf_free(&d.d_full);
    sf_free(&d.d_inc);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("send and receive");
    TCase *tc = tcase_create("pools");

    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, test_chain);
    tcase_add_test(tc, test_send_errors);
    tcase_add_test(tc, test_recv_errors);
    tcase_add_test(tc, test_real);
    tcase_add_loop_test(tc, test_send, 0, ARRAY_SIZE(sent));
    tcase_add_test(tc, test_swapped);
    tcase_add_test(tc, test_cut);
    tcase_add_test(tc, test_flip);
    tcase_add_test(tc, test_hostile);
    tcase_add_test(tc, test_full_pool);
    tcase_add_test(tc, test_cancel);
    tcase_add_loop_test(tc, test_crash, 0, 2);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
