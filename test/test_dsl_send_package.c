/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_send_package.c - packages by themselves, of random trees: what a receiver may rely on.
 *
 *   each stream       goes from something that came earlier, or that is no part of the package
 *   each file system  comes after its parent and, when it is a clone, after its origin
 *   the list          names every file system and snapshot with its guid; properties; received ones (-b); holds (-h)
 *   the lengths       what a dry run counted is what is written, to the byte
 */
#include "streampool.h"

#define DISK  (256ULL << 20)
#define OK(x) ck_assert_int_eq((x), 0)

static uint64_t rng;

static uint64_t
rnd(uint64_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (rng >> 11) % n;
}

/* ---- random trees ---- */

typedef struct names {
    char n_name[64][ZFS_MAX_DATASET_NAME_LEN];
    int n_count;
} names_t;

static int
collect(void *arg, const char *name)
{
    names_t *n = arg;

    ck_assert_int_lt(n->n_count, 64);
    strcpy(n->n_name[n->n_count++], name);
    return 0;
}

static dsl_pool_t *collect_pool;

static int
collect_tree(void *arg, const char *name)
{
    (void)collect(arg, name);
    return dsl_for_each_child(collect_pool, name, collect_tree, arg);
}

static void
tree_names(dsl_pool_t *dp, names_t *n)
{
    n->n_count = 0;
    collect_pool = dp;
    OK(collect_tree(n, "a/top"));
}

static void
snapshot_all(dsl_pool_t *dp, const char *snap)
{
    char full[64][2 * ZFS_MAX_DATASET_NAME_LEN];
    const char *all[64];
    names_t n;

    tree_names(dp, &n);
    for (int i = 0; i < n.n_count; i++) {
        snprintf(full[i], sizeof(full[i]), "%s@%s", n.n_name[i], snap);
        all[i] = full[i];
    }
    OK(dsl_snapshot(dp, all, n.n_count, NULL, NULL));
}

/* One change to the tree; may be refused, as when a file system is moved below itself. */
static void
tree_step(dsl_pool_t *dp, int step)
{
    char name[2 * ZFS_MAX_DATASET_NAME_LEN];
    names_t n, snaps = {.n_count = 0};

    tree_names(dp, &n);
    const char *one = n.n_name[rnd((uint64_t)n.n_count)], *other = n.n_name[rnd((uint64_t)n.n_count)];
    snprintf(name, sizeof(name), "%.200s/f%d", one, step);
    if (n.n_count < 12 && rnd(3) == 0) {
        OK(dsl_create(dp, name, DMU_OST_OTHER, NULL));
        return;
    }
    if (rnd(3) == 0 && strcmp(one, "a/top") != 0) {
        snprintf(name, sizeof(name), "%.200s/r%d", other, step);
        (void)dsl_rename(dp, one, name);
        return;
    }
    OK(dsl_for_each_snapshot(dp, other, collect, &snaps));
    if (snaps.n_count > 0 && n.n_count < 12)
        OK(dsl_clone(dp, snaps.n_name[rnd((uint64_t)snaps.n_count)], name, NULL));
    if (rnd(2) == 0)
        (void)dsl_promote(dp, one, NULL);
}

static dsl_pool_t *
random_pool(faultdisk_t **fd, uint64_t seed)
{
    char snap[16];

    rng = seed * 2654435761u + 88172645463325252ULL;
    *fd = faultdisk_create(DISK);
    dsl_pool_t *dp = pool_make(*fd, "a");
    OK(dsl_create(dp, "a/top", DMU_OST_OTHER, NULL));
    for (int i = 0; i < 24; i++) {
        tree_step(dp, i);
        if (i % 6 == 5) {
            snprintf(snap, sizeof(snap), "s%d", i / 6);
            snapshot_all(dp, snap);
        }
    }
    return dp;
}

/* ---- a package taken apart ---- */

typedef struct package_text {
    uint8_t *pt_data;
    uint64_t pt_size;
    nvlist_t *pt_list; /* NULL: none */
    struct drr_begin pt_streams[256];
    int pt_n;
} package_text_t;

static dmu_send_package_args_t
replicate(const char *from)
{
    return (dmu_send_package_args_t){.dpa_send = {.dsa_tosnap = "a/top@s3", .dsa_from = from},
                                     .dpa_replicate = true};
}

static uint64_t
take_header(package_text_t *p)
{
    const dmu_replay_record_t *begin = (const void *)p->pt_data;
    dmu_replay_record_t end;
    zio_cksum_t sum = {{0}};
    uint64_t at = DRR_SIZE + begin->drr_payloadlen;

    ck_assert_int_eq(begin->drr_type, DRR_BEGIN);
    ck_assert_uint_eq(begin->drr_u.drr_begin.drr_magic, DRR_MAGIC);
    ck_assert_uint_eq(DMU_GET_STREAM_HDRTYPE(begin->drr_u.drr_begin.drr_versioninfo), DMU_COMPOUNDSTREAM);
    if (begin->drr_payloadlen != 0)
        OK(nvlist_unpack(p->pt_data + DRR_SIZE, begin->drr_payloadlen, &p->pt_list));
    fletcher_4_incremental_native(p->pt_data, at, &sum);
    memcpy(&end, p->pt_data + at, DRR_SIZE); /* the list's length is a multiple of 4 only */
    ck_assert_int_eq(end.drr_type, DRR_END);
    ck_assert(zio_cksum_equal(&sum, &end.drr_u.drr_end.drr_checksum));
    return at + DRR_SIZE;
}

static package_text_t *
take_apart(dsl_pool_t *dp, dmu_send_package_args_t args)
{
    package_text_t *p = xzalloc(sizeof(*p));
    static const dmu_replay_record_t trailer = {.drr_type = DRR_END};
    uint64_t off = 0, len;

    args.dpa_send.dsa_fd = memfd_create("package", 0);
    args.dpa_send.dsa_off = &off;
    int err = dmu_send_package(dp, &args);
    ck_assert_msg(err == 0, "%s: %s", args.dpa_failed, cowbird_strerror(err));
    p->pt_size = (uint64_t)lseek(args.dpa_send.dsa_fd, 0, SEEK_CUR);
    ck_assert_uint_eq(off, p->pt_size);
    p->pt_data = xmalloc(p->pt_size);
    ck_assert_int_eq(pread(args.dpa_send.dsa_fd, p->pt_data, p->pt_size, 0), (ssize_t)p->pt_size);
    close(args.dpa_send.dsa_fd);
    args.dpa_dryrun = true;
    OK(dmu_send_package(dp, &args));
    ck_assert_uint_eq(args.dpa_bytes, p->pt_size);
    for (uint64_t at = take_header(p); at < p->pt_size - DRR_SIZE; at += DRR_SIZE + len) {
        dmu_replay_record_t drr;
        memcpy(&drr, p->pt_data + at, DRR_SIZE);
        OK(drr_payload_size(&drr, &len));
        if (drr.drr_type == DRR_BEGIN)
            p->pt_streams[p->pt_n++] = drr.drr_u.drr_begin;
    }
    ck_assert(memcmp(p->pt_data + p->pt_size - DRR_SIZE, &trailer, DRR_SIZE) == 0);
    return p;
}

static void
package_text_free(package_text_t *p)
{
    nvlist_free(p->pt_list);
    free(p->pt_data);
    free(p);
}

/* ---- what must hold of it ---- */

/* The first stream of a file system; -1: there is none. */
static int
first_of(const package_text_t *p, const char *fs, size_t n)
{
    for (int i = 0; i < p->pt_n; i++)
        if (strncmp(p->pt_streams[i].drr_toname, fs, n) == 0 && p->pt_streams[i].drr_toname[n] == '@')
            return i;
    return -1;
}

static bool
is_sent(const package_text_t *p, uint64_t guid, int before)
{
    for (int i = 0; i < before; i++)
        if (p->pt_streams[i].drr_toguid == guid)
            return true;
    return false;
}

static void
check_order(const package_text_t *p, bool incremental)
{
    for (int i = 0; i < p->pt_n; i++) {
        const struct drr_begin *b = &p->pt_streams[i];
        size_t fs = strcspn(b->drr_toname, "@"), parent = fs;
        if (!incremental && b->drr_fromguid != 0)
            ck_assert_msg(is_sent(p, b->drr_fromguid, i) || !is_sent(p, b->drr_fromguid, p->pt_n),
                          "%s before its source", b->drr_toname);
        while (parent > 0 && b->drr_toname[parent] != '/')
            parent--;
        int first = first_of(p, b->drr_toname, parent);
        if (strncmp(b->drr_toname, "a/top@", 6) != 0)
            ck_assert_msg(first >= 0 && first < i, "%s before its parent", b->drr_toname);
    }
    ck_assert(p->pt_n > 0);
}

static uint64_t
guid_of(dsl_pool_t *dp, const char *name)
{
    dsl_stats_t *st = xzalloc(sizeof(*st));

    OK(dsl_dataset_stats(dp, name, st));
    uint64_t guid = st->dst_guid;
    free(st);
    return guid;
}

/* Every file system and every snapshot up to @s3 is in the list, by its guid. */
static void
check_list(dsl_pool_t *dp, const package_text_t *p)
{
    nvlist_t *fss, *fs, *snaps;
    const char *name;
    char key[24];
    uint64_t guid;
    names_t n;

    OK(nvlist_lookup_nvlist(p->pt_list, "fss", &fss));
    tree_names(dp, &n);
    for (int i = 0; i < n.n_count; i++) {
        names_t s = {.n_count = 0};
        snprintf(key, sizeof(key), "0x%llx", (unsigned long long)guid_of(dp, n.n_name[i]));
        OK(nvlist_lookup_nvlist(fss, key, &fs));
        OK(nvlist_lookup_string(fs, "name", &name));
        ck_assert_str_eq(name, n.n_name[i]);
        OK(nvlist_lookup_nvlist(fs, "snaps", &snaps));
        OK(dsl_for_each_snapshot(dp, name, collect, &s));
        for (int k = 0; k < s.n_count; k++) {
            OK(nvlist_lookup_uint64(snaps, strchr(s.n_name[k], '@') + 1, &guid));
            ck_assert_uint_eq(guid, guid_of(dp, s.n_name[k]));
        }
    }
}

START_TEST(test_trees)
{
    faultdisk_t *fd;
    dsl_pool_t *dp = random_pool(&fd, (uint64_t)_i + 1);
    package_text_t *p = take_apart(dp, replicate(NULL));

    check_order(p, false);
    check_list(dp, p);
    package_text_free(p);
    dmu_send_package_args_t inc = replicate("a/top@s1");
    p = take_apart(dp, inc);
    check_list(dp, p);
    package_text_free(p);
    inc.dpa_intermediate = true;
    p = take_apart(dp, inc);
    check_list(dp, p);
    package_text_free(p);
    OK(dsl_pool_close(dp));
    faultdisk_destroy(fd);
}
END_TEST

/* ---- a clone of what lies below itself ---- */

START_TEST(test_circle)
{
    faultdisk_t *fd = faultdisk_create(DISK);
    dsl_pool_t *dp = pool_make(fd, "a");
    const char *snap = "a/top/b@x";

    OK(dsl_create(dp, "a/top", DMU_OST_OTHER, NULL));
    OK(dsl_create(dp, "a/top/b", DMU_OST_OTHER, NULL));
    OK(dsl_snapshot(dp, &snap, 1, NULL, NULL));
    OK(dsl_clone(dp, snap, "a/top/c", NULL));
    OK(dsl_rename(dp, "a/top/b", "a/top/c/b")); /* c is a clone of c/b@x */
    snapshot_all(dp, "s3");
    package_text_t *p = take_apart(dp, replicate(NULL));
    check_order(p, false);
    int c = first_of(p, "a/top/c", 7);
    ck_assert_uint_eq(p->pt_streams[c].drr_fromguid, 0); /* whole */
    package_text_free(p);
    OK(dsl_pool_close(dp));
    faultdisk_destroy(fd);
}
END_TEST

/* ---- properties and holds ---- */

static nvlist_t *
inner(const package_text_t *p, dsl_pool_t *dp, const char *fs, const char *a, const char *b)
{
    nvlist_t *fss, *entry, *l;
    char key[24];

    snprintf(key, sizeof(key), "0x%llx", (unsigned long long)guid_of(dp, fs));
    OK(nvlist_lookup_nvlist(p->pt_list, "fss", &fss));
    OK(nvlist_lookup_nvlist(fss, key, &entry));
    if (nvlist_lookup_nvlist(entry, a, &l) != 0)
        return NULL;
    return b == NULL || nvlist_lookup_nvlist(l, b, &l) == 0 ? l : NULL;
}

static void
set_prop(dsl_pool_t *dp, const char *name, const char *prop, const char *value, bool received)
{
    nvlist_t *props = nvlist_alloc();

    nvlist_add_string(props, prop, value);
    OK(received ? dsl_prop_set_received(dp, name, props) : dsl_prop_set(dp, name, props));
    nvlist_free(props);
}

START_TEST(test_props)
{
    faultdisk_t *fd = faultdisk_create(DISK);
    dsl_pool_t *dp = pool_make(fd, "a");
    const char *snap = "a/top@s3", *text;
    dmu_send_package_args_t args = {.dpa_send = {.dsa_tosnap = snap}, .dpa_props = true};
    uint64_t n;

    OK(dsl_create(dp, "a/top", DMU_OST_OTHER, NULL));
    snapshot_all(dp, "s3");
    set_prop(dp, "a", "atime", "off", false);
    set_prop(dp, "a/top", "com.me:x", "received", true);
    set_prop(dp, "a/top", "com.me:x", "local", false);
    set_prop(dp, "a/top", "recordsize", "4096", false);
    set_prop(dp, snap, "com.me:s", "of the snapshot", false);
    OK(dsl_hold(dp, &snap, 1, "keep", NULL));

    package_text_t *p = take_apart(dp, args);
    nvlist_t *props = inner(p, dp, "a/top", "props", NULL);
    OK(nvlist_lookup_string(props, "com.me:x", &text));
    ck_assert_str_eq(text, "local");
    OK(nvlist_lookup_uint64(props, "recordsize", &n));
    ck_assert_uint_eq(n, 4096);
    ck_assert(!nvlist_exists(props, "atime")); /* the parent's */
    OK(nvlist_lookup_string(inner(p, dp, "a/top", "snapprops", "s3"), "com.me:s", &text));
    ck_assert_ptr_null(inner(p, dp, "a/top", "snapholds", NULL));
    package_text_free(p);

    args.dpa_props = false;
    args.dpa_backup = args.dpa_holds = true;
    p = take_apart(dp, args);
    props = inner(p, dp, "a/top", "props", NULL);
    OK(nvlist_lookup_string(props, "com.me:x", &text));
    ck_assert_str_eq(text, "received");
    ck_assert(!nvlist_exists(props, "recordsize"));
    ck_assert(nvlist_exists(inner(p, dp, "a/top", "snapholds", "s3"), "keep"));
    package_text_free(p);
    OK(dsl_release(dp, &snap, 1, "keep", NULL));
    OK(dsl_pool_close(dp));
    faultdisk_destroy(fd);
}
END_TEST

/* ---- errors ---- */

static int
package_error(dsl_pool_t *dp, dmu_send_package_args_t args, const char *failed)
{
    args.dpa_send.dsa_fd = memfd_create("sent", 0);
    int err = dmu_send_package(dp, &args);
    ck_assert(err == 0 || lseek(args.dpa_send.dsa_fd, 0, SEEK_CUR) == 0); /* not a byte */
    close(args.dpa_send.dsa_fd);
    ck_assert_str_eq(args.dpa_failed, failed);
    return err;
}

START_TEST(test_errors)
{
    faultdisk_t *fd = faultdisk_create(DISK);
    dsl_pool_t *dp = pool_make(fd, "a");
    const char *only = "a/top@only";
    dmu_send_package_args_t args = replicate(NULL);
    int p[2];

    OK(dsl_create(dp, "a/top", DMU_OST_OTHER, NULL));
    OK(dsl_create(dp, "a/top/b", DMU_OST_OTHER, NULL));
    snapshot_all(dp, "s2");
    snapshot_all(dp, "s3");
    OK(dsl_snapshot(dp, &only, 1, NULL, NULL));
    OK(package_error(dp, args, ""));
    args.dpa_send.dsa_tosnap = "a/top";
    ck_assert_int_eq(package_error(dp, args, ""), EINVAL);
    args.dpa_send.dsa_tosnap = only;
    ck_assert_int_eq(package_error(dp, args, "a/top/b"), ENOENT);
    args.dpa_skip_missing = true;
    OK(package_error(dp, args, ""));
    args = replicate("a/top@none");
    ck_assert_int_eq(package_error(dp, args, "a/top@s3"), ENOENT);
    args = replicate("a/top@only");
    ck_assert_int_eq(package_error(dp, args, "a/top@s3"), EXDEV);
    OK(pipe(p));
    close(p[0]);
    args = replicate(NULL);
    args.dpa_send.dsa_fd = p[1];
    ck_assert_int_eq(dmu_send_package(dp, &args), EPIPE);
    close(p[1]);
    OK(dsl_pool_close(dp));
    faultdisk_destroy(fd);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("send: packages");
    TCase *tc = tcase_create("packages");

    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, test_trees, 0, 20);
    tcase_add_test(tc, test_circle);
    tcase_add_test(tc, test_props);
    tcase_add_test(tc, test_errors);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
