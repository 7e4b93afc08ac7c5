/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_receive.c - packages: the tree that is here becomes the sender's, whatever happened to either.
 *
 *   chain:      pool a, tree a/s ──random changes──► snapshot of all ──send -R -I──► receive -F ──► pool b, tree b/r
 *                                                                                       ▲ random changes there, too
 *               after each round: the same names, guids, origins and contents; both pools pass dsl_pool_check()
 *   by hand:    lists of our own making in front of streams: renames, promotions, deletions, properties, holds; and lists made to hurt
 */
#include "effort.h"
#include "streampool.h"

#define DISK   (384ULL << 20)
#define OK(x)  ck_assert_int_eq((x), 0)
#define NAME   ZFS_MAX_DATASET_NAME_LEN
#define MAX_DS 400

static uint64_t rng;

static uint64_t
rnd(uint64_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (rng >> 11) % n;
}

/* ---- trees ---- */

typedef struct tree {
    dsl_pool_t *t_dp;
    char t_names[MAX_DS][NAME];
    int t_n;
    bool t_snaps;
} tree_t;

static int
tree_add(void *arg, const char *name)
{
    tree_t *t = arg;

    if (t->t_snaps == (strchr(name, '@') != NULL)) {
        ck_assert_int_lt(t->t_n, MAX_DS);
        snprintf(t->t_names[t->t_n++], NAME, "%s", name);
    }
    if (strchr(name, '@') != NULL)
        return 0;
    if (t->t_snaps)
        OK(dsl_for_each_snapshot(t->t_dp, name, tree_add, t));
    return dsl_for_each_child(t->t_dp, name, tree_add, t);
}

static tree_t *
tree_of(dsl_pool_t *dp, const char *top, bool snaps)
{
    tree_t *t = xzalloc(sizeof(*t));

    t->t_dp = dp;
    t->t_snaps = snaps;
    OK(tree_add(t, top));
    return t;
}

static bool
same_origin(const char *a, const char *topa, const char *b, const char *topb)
{
    if (a[0] == '\0' || b[0] == '\0')
        return a[0] == b[0];
    return strcmp(a + strlen(topa), b + strlen(topb)) == 0;
}

/* -i leaves snapshots out: the rest of the sender's tree is passed over. */
static void
drop_missing(tree_t *ta, const char *topa, tree_t *tb, const char *topb)
{
    int n = 0;

    for (int i = 0; i < ta->t_n; i++) {
        bool found = false;
        for (int j = 0; j < tb->t_n && !found; j++)
            found = strcmp(ta->t_names[i] + strlen(topa), tb->t_names[j] + strlen(topb)) == 0;
        if (found)
            memmove(ta->t_names[n++], ta->t_names[i], NAME);
    }
    ta->t_n = n;
}

/* The same names, guids and origins in two trees. */
static void
compare_trees(dsl_pool_t *pa, const char *topa, dsl_pool_t *pb, const char *topb, bool contents, bool all)
{
    for (int snaps = 0; snaps < 2; snaps++) {
        tree_t *ta = tree_of(pa, topa, snaps), *tb = tree_of(pb, topb, snaps);
        if (snaps && !all)
            drop_missing(ta, topa, tb, topb);
        for (int i = 0; i < MAX(ta->t_n, tb->t_n); i++) {
            const char *a = i < ta->t_n ? ta->t_names[i] : "", *b = i < tb->t_n ? tb->t_names[i] : "";
            dsl_stats_t sa, sb;
            ck_assert_msg(a[0] != '\0' && b[0] != '\0' && strcmp(a + strlen(topa), b + strlen(topb)) == 0,
                          "there '%s', here '%s'", a, b);
            OK(dsl_dataset_stats(pa, a, &sa));
            OK(dsl_dataset_stats(pb, b, &sb));
            ck_assert_msg(!snaps || sa.dst_guid == sb.dst_guid, "%s: another guid", a);
            ck_assert_msg(same_origin(sa.dst_origin, topa, sb.dst_origin, topb), "%s: origin '%s', here '%s'",
                          a, sa.dst_origin, sb.dst_origin);
            if (snaps && contents)
                compare_snaps(pa, a, pb, b, false);
        }
        free(ta);
        free(tb);
    }
}

/* ---- making and changing ---- */

static void
make_fs(dsl_pool_t *dp, const char *name)
{
    int err = dsl_create(dp, name, DMU_OST_OTHER, NULL);

    ck_assert_msg(err == 0, "create %s: %s", name, cowbird_strerror(err));
}

static void
write_some(dsl_pool_t *dp, const char *fs)
{
    uint8_t buf[4096];
    dsl_dataset_t *ds;
    uint64_t object = 1 + rnd(6);
    dmu_object_info_t doi;
    objset_t *os;

    OK(dsl_dataset_own(dp, fs, false, &rng, &ds));
    OK(dsl_dataset_objset(ds, &os));
    for (size_t i = 0; i < sizeof(buf); i++)
        buf[i] = (uint8_t)rnd(7);
    dmu_tx_t *tx = dmu_tx_create(os);
    bool there = dmu_object_info(os, object, &doi) == 0;
    if (there)
        dmu_tx_hold_write(tx, object, rnd(8) * 4096, sizeof(buf));
    else
        dmu_tx_hold_bonus(tx, DMU_NEW_OBJECT);
    OK(dmu_tx_assign(tx, DMU_TX_WAIT));
    if (there)
        OK(dmu_write(os, object, rnd(8) * 4096, sizeof(buf), buf, tx));
    else
        OK(dmu_object_alloc(os, DMU_OT_PLAIN_FILE_CONTENTS, 4096, DMU_OT_NONE, 0, 0, tx, &object));
    dmu_tx_commit(tx);
    dsl_dataset_disown(ds, &rng);
}

static void
snapshot_tree(dsl_pool_t *dp, const char *top, const char *snap)
{
    tree_t *t = tree_of(dp, top, false);
    char names[MAX_DS][NAME];
    const char *list[MAX_DS];

    for (int i = 0; i < t->t_n; i++) {
        snprintf(names[i], NAME, "%.150s@%.90s", t->t_names[i], snap);
        list[i] = names[i];
    }
    OK(dsl_snapshot(dp, list, t->t_n, NULL, NULL));
    free(t);
}

static void
snapshot_one(dsl_pool_t *dp, const char *name)
{
    OK(dsl_snapshot(dp, &name, 1, NULL, NULL));
}

static int
destroy_snap(dsl_pool_t *dp, const char *name)
{
    return dsl_destroy_snapshots(dp, &name, 1, false, NULL);
}

/*
 * With its snapshots, or not at all: of a file system whose snapshots but one were destroyed at the sender nothing here tells that it
 * is the same.
 */
static void
destroy_fs(dsl_pool_t *dp, const char *name)
{
    tree_t *t = tree_of(dp, name, false), *s = tree_of(dp, name, true);
    bool clones = false;
    dsl_stats_t st;

    for (int i = 0; i < s->t_n; i++) {
        OK(dsl_dataset_stats(dp, s->t_names[i], &st));
        clones |= st.dst_numclones != 0;
    }
    for (int i = 0; i < s->t_n && t->t_n == 1 && !clones; i++)
        OK(destroy_snap(dp, s->t_names[i]));
    if (t->t_n == 1 && !clones)
        OK(dsl_destroy_head(dp, name));
    free(t);
    free(s);
}

static const char *
pick(tree_t *t, bool not_top)
{
    return t->t_n <= not_top ? NULL : t->t_names[not_top + rnd((uint64_t)(t->t_n - not_top))];
}

static void
rename_snap(dsl_pool_t *dp, const char *snap, const char *to)
{
    char fs[NAME];

    snprintf(fs, sizeof(fs), "%.*s", (int)(strchr(snap, '@') - snap), snap);
    (void)dsl_rename_snapshot(dp, fs, strchr(snap, '@') + 1, to, false);
}

/*
 * May it take its origin's snapshots over? Not those of the top, which is sent from its last one. And it must have been sent before (it
 * has the snapshot kept): of one that comes for the first time nobody here can see that it was a clone of what is its clone now.
 */
static bool
may_promote(dsl_pool_t *dp, const char *fs, const char *top, const char *keep)
{
    char kept[2 * NAME];
    dsl_stats_t st;

    OK(dsl_dataset_stats(dp, fs, &st));
    if (strncmp(st.dst_origin, top, strlen(top)) == 0 && st.dst_origin[strlen(top)] == '@')
        return false;
    snprintf(kept, sizeof(kept), "%s@%s", fs, keep);
    return keep[0] == '\0' || dsl_dataset_stats(dp, kept, &st) == 0;
}

/* A clone above its own origin cannot be sent as one: it comes whole, and what grows from it is another family. */
static bool
is_twisted(dsl_pool_t *dp, const char *top)
{
    tree_t *t = tree_of(dp, top, false);
    bool twisted = false;
    dsl_stats_t st;

    for (int i = 0; i < t->t_n; i++) {
        size_t n = strlen(t->t_names[i]);
        OK(dsl_dataset_stats(dp, t->t_names[i], &st));
        twisted |= strncmp(st.dst_origin, t->t_names[i], n) == 0 && st.dst_origin[n] == '/';
    }
    free(t);
    return twisted;
}

static void
rename_untwisted(dsl_pool_t *dp, const char *top, const char *from, const char *to)
{
    if (dsl_rename(dp, from, to) == 0 && is_twisted(dp, top))
        OK(dsl_rename(dp, to, from));
}

static void
promote_untwisted(dsl_pool_t *dp, const char *top, const char *fs)
{
    dsl_stats_t st;

    OK(dsl_dataset_stats(dp, fs, &st));
    if (dsl_promote(dp, fs, NULL) != 0 || !is_twisted(dp, top))
        return;
    *strchr(st.dst_origin, '@') = '\0';
    OK(dsl_promote(dp, st.dst_origin, NULL));
}

/*
 * One change of a tree; keep: a snapshot's name that stays what it is. Names are few, so that they come again. Without all, snapshots
 * between are not sent, and no clone may start from them.
 */
static void
change(dsl_pool_t *dp, const char *top, const char *keep, bool structure, bool all)
{
    tree_t *fs = tree_of(dp, top, false), *snaps = tree_of(dp, top, true);
    const char *f = pick(fs, false), *g = pick(fs, true), *s = pick(snaps, false), *parent = pick(fs, false);
    char name[2 * NAME], snap[40];
    uint64_t what = rnd(structure ? 100 : 30);

    snprintf(name, sizeof(name), "%s/n%d", parent, (int)rnd(6));
    snprintf(snap, sizeof(snap), "x%d", (int)rnd(9));
    bool room = fs->t_n < 10 && strlen(name) < 60, kept = s == NULL || strcmp(strchr(s, '@') + 1, keep) == 0;
    if (what < 20) {
        write_some(dp, f);
    } else if (what < 30) {
        snprintf(name, sizeof(name), "%s@%s", f, snap);
        const char *n = name;
        (void)dsl_snapshot(dp, &n, 1, NULL, NULL);
    } else if (what < 40) {
        if (!kept)
            (void)destroy_snap(dp, s);
    } else if (what < 50) {
        if (room)
            (void)dsl_create(dp, name, DMU_OST_OTHER, NULL);
    } else if (what < 62) {
        if (room && s != NULL && (all || strchr(s, '@')[1] == 'r'))
            (void)dsl_clone(dp, s, name, NULL);
    } else if (what < 72) {
        if (g != NULL)
            destroy_fs(dp, g);
    } else if (what < 82) {
        if (g != NULL && strlen(name) < 60)
            rename_untwisted(dp, top, g, name);
    } else if (what < 90) {
        if (!kept)
            rename_snap(dp, s, snap);
    } else if (g != NULL && may_promote(dp, g, top, keep)) {
        promote_untwisted(dp, top, g);
    }
    free(fs);
    free(snaps);
}

/* ---- packages through memory ---- */

static int
send_package(dsl_pool_t *dp, const char *to, const char *from, bool all)
{
    dmu_send_package_args_t args = {.dpa_replicate = true, .dpa_intermediate = all};
    uint64_t off = 0;

    args.dpa_send.dsa_tosnap = to;
    args.dpa_send.dsa_from = from;
    args.dpa_send.dsa_off = &off;
    args.dpa_send.dsa_fd = memfd_create("package", 0);
    int err = dmu_send_package(dp, &args);
    ck_assert_msg(err == 0, "send -R %s: %s", to, cowbird_strerror(err));
    lseek(args.dpa_send.dsa_fd, 0, SEEK_SET);
    return args.dpa_send.dsa_fd;
}

static bool loud;

static void
print_line(void *arg, const char *line)
{
    if (loud)
        printf("    %s\n", line);
}

static void
print_warning(void *arg, const char *line)
{
    int *warnings = arg;

    if (warnings != NULL)
        ++*warnings;
    if (loud)
        printf("    ! %s\n", line);
}

static int
receive_with(dsl_pool_t *dp, dmu_receive_args_t *args, int fd)
{
    stream_error_t se;

    args->dra_fd = fd;
    args->dra_said = print_line;
    args->dra_warn = print_warning;
    int err = dmu_receive(dp, args, NULL, &se);
    if (loud && err != 0)
        printf("    error %d: %s\n", err, se.se_text);
    close(fd);
    return err;
}

static int
receive_fd_force(dsl_pool_t *dp, const char *target, int fd)
{
    dmu_receive_args_t args = {.dra_target = target, .dra_force = true};

    return receive_with(dp, &args, fd);
}

/* ---- the chain ---- */

/* Old ones go, where no clone holds them. */
static void
forget(dsl_pool_t *dp, const char *top, int round)
{
    tree_t *t = tree_of(dp, top, true);
    char snap[40];

    snprintf(snap, sizeof(snap), "@r%d", round);
    for (int i = 0; i < t->t_n; i++)
        if (strcmp(strchr(t->t_names[i], '@'), snap) == 0)
            (void)destroy_snap(dp, t->t_names[i]);
    free(t);
}

static void
chain_round(dsl_pool_t *a, dsl_pool_t *b, int round, bool all)
{
    char from[60], to[60], keep[40];

    snprintf(keep, sizeof(keep), "r%d", round - 1);
    snprintf(from, sizeof(from), "a/s@%s", keep);
    snprintf(to, sizeof(to), "r%d", round);
    for (uint64_t n = 1 + rnd(12); n > 0; n--)
        change(a, "a/s", keep, true, all);
    for (uint64_t n = rnd(4); n > 0; n--)
        change(b, "b/r", keep, false, all);
    forget(a, "a/s", round - 5);
    snapshot_tree(a, "a/s", to);
    snprintf(to, sizeof(to), "a/s@r%d", round);
    int fd = send_package(a, to, from, all);
    int err = receive_fd_force(b, "b/r", fd);
    ck_assert_msg(err == 0, "round %d: %s", round, cowbird_strerror(err));
}

START_TEST(chain)
{
    faultdisk_t *fa = faultdisk_create(DISK), *fb = faultdisk_create(DISK);
    dsl_pool_t *a = pool_make(fa, "a"), *b = pool_make(fb, "b");
    const char *seed = getenv("SEED");
    int rounds = effort(12);
    bool all = _i != 2; /* -I; else -i */

    rng = 88172645463325252ULL + (uint64_t)_i * 7919 + (seed != NULL ? strtoull(seed, NULL, 0) * 104729 : 0);
    make_fs(a, "a/s");
    for (int i = 0; i < 12; i++)
        change(a, "a/s", "", true, all);
    snapshot_tree(a, "a/s", "r0");
    OK(receive_fd_force(b, "b/r", send_package(a, "a/s@r0", NULL, false)));
    compare_trees(a, "a/s", b, "b/r", true, true);
    for (int round = 1; round <= rounds; round++) {
        chain_round(a, b, round, all);
        compare_trees(a, "a/s", b, "b/r", round % 4 == 0, all);
    }
    pool_verify(a);
    pool_verify(b);
    OK(dsl_pool_close(a));
    OK(dsl_pool_close(b));
    faultdisk_destroy(fa);
    faultdisk_destroy(fb);
}
END_TEST

/* ---- packages by hand ---- */

typedef struct handmade {
    faultdisk_t *hm_fa, *hm_fb;
    dsl_pool_t *hm_a, *hm_b;
    uint8_t hm_bytes[1 << 20];
    size_t hm_n;
} handmade_t;

static void
hm_add(handmade_t *hm, const void *data, size_t n)
{
    ck_assert_uint_le(hm->hm_n + n, sizeof(hm->hm_bytes));
    memcpy(hm->hm_bytes + hm->hm_n, data, n);
    hm->hm_n += n;
}

/* BEGIN, the packed list, END with its sum. */
static void
hm_header(handmade_t *hm, const char *toname, const uint8_t *list, size_t len)
{
    dmu_replay_record_t begin = {.drr_type = DRR_BEGIN}, end = {.drr_type = DRR_END};
    zio_cksum_t sum = {{0}};

    begin.drr_payloadlen = (uint32_t)len;
    begin.drr_u.drr_begin.drr_magic = DRR_MAGIC;
    begin.drr_u.drr_begin.drr_versioninfo = DMU_COMPOUNDSTREAM;
    snprintf(begin.drr_u.drr_begin.drr_toname, sizeof(begin.drr_u.drr_begin.drr_toname), "%s", toname);
    hm->hm_n = 0;
    hm_add(hm, &begin, sizeof(begin));
    hm_add(hm, list, len);
    fletcher_4_incremental_native(hm->hm_bytes, hm->hm_n, &sum);
    end.drr_u.drr_end.drr_checksum = sum;
    hm_add(hm, &end, sizeof(end));
}

static void
hm_list(handmade_t *hm, const char *toname, const nvlist_t *list)
{
    uint8_t *packed;
    size_t len;

    nvlist_pack(list, NV_ENCODE_XDR, &packed, &len);
    hm_header(hm, toname, packed, len);
    free(packed);
}

static void
hm_stream(handmade_t *hm, const char *to, const char *from)
{
    dmu_send_args_t args = {.dsa_tosnap = to, .dsa_from = from, .dsa_fd = memfd_create("s", 0)};
    uint64_t off = 0;
    static uint8_t buf[1 << 19];

    args.dsa_off = &off;
    OK(dmu_send(hm->hm_a, &args));
    ck_assert_uint_le(off, sizeof(buf));
    ck_assert_int_eq(pread(args.dsa_fd, buf, off, 0), (ssize_t)off);
    close(args.dsa_fd);
    hm_add(hm, buf, off);
}

static int
hm_end(handmade_t *hm)
{
    static const dmu_replay_record_t end = {.drr_type = DRR_END};

    hm_add(hm, &end, sizeof(end));
    return memfd_of(hm->hm_bytes, hm->hm_n);
}

static uint64_t
guid(dsl_pool_t *dp, const char *name)
{
    dsl_stats_t st;
    int err = dsl_dataset_stats(dp, name, &st);

    ck_assert_msg(err == 0, "%s: %s", name, cowbird_strerror(err));
    return st.dst_guid;
}

static bool
is_there(dsl_pool_t *dp, const char *name)
{
    dsl_stats_t st;

    return dsl_dataset_stats(dp, name, &st) == 0;
}

/* An entry of the list; snaps: whole names of snapshots of pool a, as the list is to call them after '@'. */
static nvlist_t *
entry(handmade_t *hm, const char *name, const char *parentfrom, const char *const *snaps)
{
    nvlist_t *fs = nvlist_alloc(), *list = nvlist_alloc();

    nvlist_add_string(fs, "name", name);
    nvlist_add_uint64(fs, "parentfromsnap", parentfrom != NULL ? guid(hm->hm_a, parentfrom) : 0);
    for (; *snaps != NULL; snaps++)
        nvlist_add_uint64(list, strchr(*snaps, '@') + 1, guid(hm->hm_a, *snaps));
    nvlist_add_nvlist(fs, "snaps", list);
    nvlist_free(list);
    return fs;
}

static nvlist_t *
list_of(const char *from, const char *to, nvlist_t *const *entries, int n)
{
    nvlist_t *list = nvlist_alloc(), *fss = nvlist_alloc();
    char key[32];

    if (from != NULL)
        nvlist_add_string(list, "fromsnap", from);
    nvlist_add_string(list, "tosnap", to);
    for (int i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "0x%d", i + 1);
        nvlist_add_nvlist(fss, key, entries[i]);
        nvlist_free(entries[i]);
    }
    nvlist_add_nvlist(list, "fss", fss);
    nvlist_free(fss);
    return list;
}

static handmade_t *
hm_open(void)
{
    handmade_t *hm = xzalloc(sizeof(*hm));

    rng = 1234567;
    hm->hm_fa = faultdisk_create(DISK);
    hm->hm_fb = faultdisk_create(DISK);
    hm->hm_a = pool_make(hm->hm_fa, "a");
    hm->hm_b = pool_make(hm->hm_fb, "b");
    return hm;
}

static void
hm_close(handmade_t *hm)
{
    pool_verify(hm->hm_b);
    OK(dsl_pool_close(hm->hm_a));
    OK(dsl_pool_close(hm->hm_b));
    faultdisk_destroy(hm->hm_fa);
    faultdisk_destroy(hm->hm_fb);
    free(hm);
}

static void
set_prop(dsl_pool_t *dp, const char *fs, const char *name, const char *value)
{
    nvlist_t *nvl = nvlist_alloc();

    nvlist_add_string(nvl, name, value);
    OK(dsl_prop_set(dp, fs, nvl));
    nvlist_free(nvl);
}

static void
prop_is(dsl_pool_t *dp, const char *ds, const char *prop, const char *want, dsl_prop_source_t src)
{
    char value[1024] = "";
    dsl_prop_source_t s;
    int err = dsl_prop_get(dp, ds, prop, value, sizeof(value), &s, NULL);

    ck_assert_msg(err == 0 && strcmp(value, want) == 0 && s == src, "%s of %s is %s (%d), not %s (%d)", prop,
                  ds, value, s, want, src);
}

/* A tree of two, with properties of every kind; the list says what the streams do not. */
static nvlist_t *
props_list(handmade_t *hm)
{
    static const char *const top[] = {"a/s@1", NULL}, *const child[] = {"a/s/c@1", NULL};
    nvlist_t *e[2] = {entry(hm, "a/s", NULL, top), entry(hm, "a/s/c", "a/s@1", child)};
    nvlist_t *props = nvlist_alloc(), *snapprops = nvlist_alloc(), *one = nvlist_alloc(),
             *holds = nvlist_alloc();

    nvlist_add_uint64(props, "compression", 10); /* gzip-6 */
    nvlist_add_uint64(props, "copies", 2);
    nvlist_add_string(props, "com.x:user", "value");
    nvlist_add_uint64(props, "quota", 100 << 20);
    nvlist_add_uint64(props, "no-such-property", 1);
    nvlist_add_uint64(props, "atime", 77);
    nvlist_add_nvlist(e[0], "props", props);
    nvlist_add_nvlist(e[1], "props", props);
    nvlist_add_string(one, "com.x:snap", "s");
    nvlist_add_nvlist(snapprops, "1", one);
    nvlist_add_nvlist(e[0], "snapprops", snapprops);
    nvlist_add_uint64(holds, "tag", 1);
    nvlist_remove(snapprops, "1");
    nvlist_add_nvlist(snapprops, "1", holds);
    nvlist_add_nvlist(e[0], "snapholds", snapprops);
    nvlist_free(props);
    nvlist_free(snapprops);
    nvlist_free(one);
    nvlist_free(holds);
    return list_of(NULL, "1", e, 2);
}

static int
props_package(handmade_t *hm)
{
    nvlist_t *list = props_list(hm);

    hm_list(hm, "a/s@1", list);
    nvlist_free(list);
    hm_stream(hm, "a/s@1", NULL);
    hm_stream(hm, "a/s/c@1", NULL);
    return hm_end(hm);
}

static int
count_hold(void *arg, const char *tag, uint64_t when)
{
    ck_assert_str_eq(tag, "tag");
    ++*(int *)arg;
    return 0;
}

static int
holds_of(dsl_pool_t *dp, const char *snap)
{
    int n = 0;

    OK(dsl_for_each_hold(dp, snap, count_hold, &n));
    return n;
}

START_TEST(properties)
{
    handmade_t *hm = hm_open();
    dsl_pool_t *b = hm->hm_b;
    int warnings = 0;
    dmu_receive_args_t args = {.dra_target = "b/r", .dra_arg = &warnings};

    make_fs(hm->hm_a, "a/s");
    make_fs(hm->hm_a, "a/s/c");
    snapshot_tree(hm->hm_a, "a/s", "1");

    OK(receive_with(b, &args, props_package(hm)));
    ck_assert_int_eq(warnings,
                     4); /* two of each file system: an unknown property and a value without a name */
    prop_is(b, "b/r", "compression", "gzip", PROP_SRC_RECEIVED);
    prop_is(b, "b/r/c", "copies", "2", PROP_SRC_RECEIVED);
    prop_is(b, "b/r", "com.x:user", "value", PROP_SRC_RECEIVED);
    prop_is(b, "b/r", "quota", "104857600", PROP_SRC_RECEIVED);
    prop_is(b, "b/r", "atime", "on", PROP_SRC_DEFAULT);
    prop_is(b, "b/r@1", "com.x:snap", "s", PROP_SRC_RECEIVED);
    ck_assert_int_eq(holds_of(b, "b/r@1"), 1);

    /* -o counts at the top and is inherited below, -x leaves out; -h: no holds */
    nvlist_t *set = nvlist_alloc();
    static const char *const exclude[] = {"com.x:user", "quota", "devices", NULL};
    nvlist_add_string(set, "compression", "zle");
    args = (dmu_receive_args_t){
        .dra_target = "b/x", .dra_props = set, .dra_exclude = exclude, .dra_skip_holds = true};
    OK(receive_with(b, &args, props_package(hm)));
    prop_is(b, "b/x", "compression", "zle", PROP_SRC_LOCAL);
    prop_is(b, "b/x/c", "compression", "zle", PROP_SRC_INHERITED);
    prop_is(b, "b/x", "copies", "2", PROP_SRC_RECEIVED);
    prop_is(b, "b/x", "quota", "0", PROP_SRC_DEFAULT);
    char value[64];
    ck_assert_int_eq(dsl_prop_get(b, "b/x", "com.x:user", value, sizeof(value), NULL, NULL), ENOENT);
    OK(dsl_prop_inherit(b, "b/x", "com.x:user", true)); /* it is only hidden */
    prop_is(b, "b/x", "com.x:user", "value", PROP_SRC_RECEIVED);
    ck_assert_int_eq(holds_of(b, "b/x@1"), 0);
    nvlist_free(set);
    hm_close(hm);
}
END_TEST

/* Local values stay above received ones; what is no longer sent is no longer received. */
START_TEST(properties_again)
{
    handmade_t *hm = hm_open();
    dsl_pool_t *a = hm->hm_a, *b = hm->hm_b;

    make_fs(a, "a/s");
    set_prop(a, "a/s", "compression", "gzip-2");
    set_prop(a, "a/s", "com.x:user", "one");
    snapshot_tree(a, "a/s", "1");
    OK(receive_fd_force(b, "b/r", send_package(a, "a/s@1", NULL, false)));
    prop_is(b, "b/r", "compression", "gzip-2", PROP_SRC_RECEIVED);
    set_prop(b, "b/r", "compression", "zstd");
    OK(dsl_prop_inherit(a, "a/s", "com.x:user", false));
    set_prop(a, "a/s", "compression", "gzip-3");
    snapshot_tree(a, "a/s", "2");
    OK(receive_fd_force(b, "b/r", send_package(a, "a/s@2", "a/s@1", false)));
    prop_is(b, "b/r", "compression", "zstd", PROP_SRC_LOCAL);
    OK(dsl_prop_inherit(b, "b/r", "compression", true));
    prop_is(b, "b/r", "compression", "gzip-3", PROP_SRC_RECEIVED);
    char value[64];
    ck_assert_int_eq(dsl_prop_get(b, "b/r", "com.x:user", value, sizeof(value), NULL, NULL), ENOENT);
    hm_close(hm);
}
END_TEST

/* Two file systems that exchanged their names, and one below another that comes only now. */
START_TEST(exchanged_names)
{
    handmade_t *hm = hm_open();
    dsl_pool_t *a = hm->hm_a, *b = hm->hm_b;

    make_fs(a, "a/s");
    make_fs(a, "a/s/one");
    make_fs(a, "a/s/two");
    make_fs(a, "a/s/low");
    snapshot_tree(a, "a/s", "1");
    snapshot_one(a, "a/s/one@x");
    snapshot_one(a, "a/s/one@y");
    snapshot_tree(a, "a/s", "2");
    OK(receive_fd_force(b, "b/r", send_package(a, "a/s@2", NULL, false)));
    OK(dsl_rename(a, "a/s/one", "a/s/three"));
    OK(dsl_rename(a, "a/s/two", "a/s/one"));
    OK(dsl_rename(a, "a/s/three", "a/s/two"));
    OK(dsl_rename_snapshot(a, "a/s/two", "x", "z", false));
    OK(dsl_rename_snapshot(a, "a/s/two", "y", "x", false));
    OK(dsl_rename_snapshot(a, "a/s/two", "z", "y", false));
    make_fs(a, "a/s/new");
    OK(dsl_rename(a, "a/s/low", "a/s/new/low"));
    snapshot_tree(a, "a/s", "3");
    OK(receive_fd_force(b, "b/r", send_package(a, "a/s@3", "a/s@2", false)));
    compare_trees(a, "a/s", b, "b/r", true, true);
    hm_close(hm);
}
END_TEST

/* Sender and receiver in one pool: every guid is there twice, and the sender's tree is not touched. */
START_TEST(same_pool)
{
    handmade_t *hm = hm_open();
    dsl_pool_t *a = hm->hm_a;

    make_fs(a, "a/s");
    make_fs(a, "a/s/one");
    make_fs(a, "a/s/two");
    snapshot_tree(a, "a/s", "1");
    OK(dsl_clone(a, "a/s/one@1", "a/s/clone", NULL));
    snapshot_tree(a, "a/s", "2");
    OK(receive_fd_force(a, "a/r", send_package(a, "a/s@2", NULL, false)));
    compare_trees(a, "a/s", a, "a/r", true, true);
    OK(dsl_rename(a, "a/s/two", "a/s/one/low"));
    make_fs(a, "a/s/two");
    OK(dsl_promote(a, "a/s/clone", NULL));
    snapshot_tree(a, "a/s", "3");
    destroy_fs(a, "a/r/one"); /* its clone holds it */
    OK(receive_fd_force(a, "a/r", send_package(a, "a/s@3", "a/s@2", true)));
    compare_trees(a, "a/s", a, "a/r", true, true);

    /* one that is not there is not found in the sender's tree */
    snapshot_tree(a, "a/s", "4");
    destroy_fs(a, "a/r/two");
    ck_assert_int_eq(receive_fd_force(a, "a/r", send_package(a, "a/s@4", "a/s@3", false)), ENOENT);
    ck_assert(is_there(a, "a/r@4") && !is_there(a, "a/r/two"));
    pool_verify(a);
    hm_close(hm);
}
END_TEST

/* The sender has received from itself: two of its file systems have a snapshot with the same guid. Each one's entry counts for itself. */
START_TEST(same_guid_twice)
{
    static const char *const copies[] = {"a/s/a", "a/s/c", "a/s/z"};
    handmade_t *hm = hm_open();
    dsl_pool_t *a = hm->hm_a, *b = hm->hm_b;

    make_fs(a, "a/s");
    make_fs(a, "a/s/b");
    snapshot_one(a, "a/s/b@1");
    for (size_t i = 0; i < ARRAY_SIZE(copies); i++) {
        OK(receive_fd_force(a, copies[i], send_package(a, "a/s/b@1", NULL, false)));
        set_prop(a, copies[i], "com.x:me", copies[i]);
    }
    set_prop(a, "a/s/b", "com.x:me", "a/s/b");
    snapshot_tree(a, "a/s", "2");
    OK(receive_fd_force(b, "b/r", send_package(a, "a/s@2", NULL, true)));
    prop_is(b, "b/r/a", "com.x:me", "a/s/a", PROP_SRC_RECEIVED);
    prop_is(b, "b/r/b", "com.x:me", "a/s/b", PROP_SRC_RECEIVED);
    prop_is(b, "b/r/z", "com.x:me", "a/s/z", PROP_SRC_RECEIVED);
    compare_trees(a, "a/s", b, "b/r", true, true);
    OK(dsl_rename_snapshot(a, "a/s/c", "1", "one", false));
    OK(dsl_rename(a, "a/s/z", "a/s/y"));
    snapshot_tree(a, "a/s", "3");
    OK(receive_fd_force(b, "b/r", send_package(a, "a/s@3", "a/s@2", true)));
    compare_trees(a, "a/s", b, "b/r", true, true);
    prop_is(b, "b/r/y", "com.x:me", "a/s/z", PROP_SRC_RECEIVED);
    hm_close(hm);
}
END_TEST

/* Without -F nothing is destroyed; a dry run changes nothing at all; what is held stays and is warned of. */
START_TEST(what_is_gone)
{
    const char *held = "b/r@mid";
    handmade_t *hm = hm_open();
    dsl_pool_t *a = hm->hm_a, *b = hm->hm_b;
    int warnings = 0;
    dmu_receive_args_t args = {.dra_target = "b/r", .dra_arg = &warnings};

    make_fs(a, "a/s");
    make_fs(a, "a/s/gone");
    snapshot_tree(a, "a/s", "mid");
    snapshot_tree(a, "a/s", "1");
    OK(receive_fd_force(b, "b/r", send_package(a, "a/s@1", NULL, true)));
    destroy_fs(a, "a/s/gone");
    OK(destroy_snap(a, "a/s@mid"));
    snapshot_tree(a, "a/s", "2");

    char *before = pool_text(b);
    args.dra_dryrun = args.dra_force = true;
    OK(receive_with(b, &args, send_package(a, "a/s@2", "a/s@1", false)));
    char *after = pool_text(b);
    ck_assert_str_eq(before, after);
    free(before);
    free(after);

    args.dra_dryrun = args.dra_force = false;
    OK(receive_with(b, &args, send_package(a, "a/s@2", "a/s@1", false)));
    ck_assert(is_there(b, "b/r/gone") && is_there(b, "b/r@mid") && is_there(b, "b/r@2"));
    ck_assert_int_eq(warnings, 0);
    OK(dsl_hold(b, &held, 1, "tag", NULL));
    args.dra_force = true;
    ck_assert_int_eq(receive_with(b, &args, send_package(a, "a/s@2", "a/s@1", false)), EAGAIN);
    ck_assert_int_eq(warnings, 1);
    ck_assert(!is_there(b, "b/r/gone") && is_there(b, "b/r@mid"));
    OK(dsl_release(b, &held, 1, "tag", NULL));
    OK(receive_with(b, &args, send_package(a, "a/s@2", "a/s@1", false)));
    compare_trees(a, "a/s", b, "b/r", true, true);
    hm_close(hm);
}
END_TEST

/* Another tree under the same name is not touched. */
START_TEST(another_tree)
{
    handmade_t *hm = hm_open();
    dsl_pool_t *a = hm->hm_a, *b = hm->hm_b;

    make_fs(a, "a/s");
    snapshot_tree(a, "a/s", "1");
    snapshot_tree(a, "a/s", "2");
    make_fs(b, "b/r");
    make_fs(b, "b/r/mine");
    snapshot_tree(b, "b/r", "1");
    char *before = pool_text(b);
    ck_assert_int_eq(receive_fd_force(b, "b/r", send_package(a, "a/s@2", "a/s@1", false)), ENODEV);
    char *after = pool_text(b);
    ck_assert_str_eq(before, after);
    free(before);
    free(after);
    hm_close(hm);
}
END_TEST

/* A package that breaks: the whole streams stay, the broken one leaves nothing, and the same package can come again. */
START_TEST(broken_package)
{
    handmade_t *hm = hm_open();
    dsl_pool_t *a = hm->hm_a, *b = hm->hm_b;
    int warnings = 0;
    dmu_receive_args_t args = {.dra_target = "b/r", .dra_force = true, .dra_arg = &warnings};

    make_fs(a, "a/s");
    make_fs(a, "a/s/one");
    make_fs(a, "a/s/two");
    snapshot_tree(a, "a/s", "1");
    OK(receive_fd_force(b, "b/r", send_package(a, "a/s@1", NULL, false)));
    write_some(a, "a/s/two");
    make_fs(a, "a/s/zoo");
    snapshot_tree(a, "a/s", "2");
    int fd = send_package(a, "a/s@2", "a/s@1", false);
    off_t size = lseek(fd, 0, SEEK_END);
    ck_assert_int_eq(ftruncate(fd, size - 2 * DRR_SIZE), 0); /* the last stream's END, and the package's */
    lseek(fd, 0, SEEK_SET);
    ck_assert_int_ne(receive_with(b, &args, fd), 0);
    ck_assert_int_eq(warnings, 1);
    ck_assert(is_there(b, "b/r@2") && is_there(b, "b/r/one@2") && is_there(b, "b/r/two@2") &&
              !is_there(b, "b/r/zoo"));
    OK(receive_with(b, &args, send_package(a, "a/s@2", "a/s@1", false)));
    compare_trees(a, "a/s", b, "b/r", true, true);
    hm_close(hm);
}
END_TEST

/* ---- names ---- */

static const struct place {
    const char *p_from, *p_top; /* the sender's file system; what it named */
    char p_mode;
    const char *p_target, *p_want; /* NULL: refused */
} places[] = {
    {"a/x/y", "a/x/y", 0, "b/t", "b/t@1"},    {"a/x/y", "a/x/y", 0, "b/t@other", "b/t@other"},
    {"a/x/y", "a/x/y", 'd', "b", "b/x/y@1"},  {"a/x/y", "a/x/y", 'e', "b", "b/y@1"},
    {"a/x/y", "a/x/y", 'e', "b@other", NULL}, {"a/x/y", "a/x/y", 'd', "b@other", NULL},
    {"a/x", "a/x", 'R', "b/t", "b/t@1"},      {"a/x/y", "a/x", 'R', "b/t", "b/t/y@1"},
    {"a/x/y", "a/x", 'R', "b/t@other", NULL},
};

START_TEST(where_it_goes)
{
    const struct place *p = &places[_i];
    handmade_t *hm = hm_open();
    char to[NAME];
    int fd;

    make_fs(hm->hm_a, "a/x");
    make_fs(hm->hm_a, "a/x/y");
    snapshot_tree(hm->hm_a, "a/x", "1");
    snprintf(to, sizeof(to), "%.100s@1", p->p_mode == 'R' ? p->p_top : p->p_from);
    if (p->p_mode == 'R') {
        fd = send_package(hm->hm_a, to, NULL, false);
    } else {
        hm->hm_n = 0;
        hm_stream(hm, to, NULL);
        fd = memfd_of(hm->hm_bytes, hm->hm_n);
    }
    dmu_receive_args_t args = {
        .dra_target = p->p_target, .dra_drop_first = p->p_mode == 'd', .dra_use_last = p->p_mode == 'e'};
    int err = receive_with(hm->hm_b, &args, fd);
    ck_assert_int_eq(err, p->p_want != NULL ? 0 : EINVAL);
    if (p->p_want != NULL)
        ck_assert_msg(is_there(hm->hm_b, p->p_want), "%s", p->p_want);
    printf("ok - %s of %s to %s %c: %s\n", p->p_from, p->p_top, p->p_target, p->p_mode != 0 ? p->p_mode : ' ',
           p->p_want != NULL ? p->p_want : "refused");
    hm_close(hm);
}
END_TEST

/* ---- lists made to hurt ---- */

static nvlist_t *
bad_list(handmade_t *hm, int i)
{
    static const char *const top[] = {"a/s@1", NULL}, *const child[] = {"a/s/c@1", NULL};
    nvlist_t *e[2] = {entry(hm, "a/s", NULL, top), entry(hm, "a/s/c", "a/s@1", child)},
             *snaps = nvlist_alloc(), *list;

    switch (i) {
    case 0:
        nvlist_add_string(e[1], "name", "../../etc");
        break;
    case 1:
        nvlist_add_uint64(e[1], "name", 7);
        break;
    case 2:
        nvlist_add_string(snaps, "1", "no number");
        nvlist_add_nvlist(e[1], "snaps", snaps);
        break;
    case 3:
        nvlist_add_uint64(snaps, "a/b@c", 7);
        nvlist_add_nvlist(e[1], "snaps", snaps);
        break;
    default:
        nvlist_add_string(e[0], "name", "");
        break;
    }
    nvlist_free(snaps);
    list = list_of("1", "2", e, 2);
    return list;
}

START_TEST(bad_lists)
{
    handmade_t *hm = hm_open();

    make_fs(hm->hm_a, "a/s");
    make_fs(hm->hm_a, "a/s/c");
    snapshot_tree(hm->hm_a, "a/s", "1");
    OK(receive_fd_force(hm->hm_b, "b/r", send_package(hm->hm_a, "a/s@1", NULL, false)));
    char *before = pool_text(hm->hm_b);
    for (int i = 0; i < 5; i++) {
        nvlist_t *list = bad_list(hm, i);
        hm_list(hm, "a/s@2", list);
        nvlist_free(list);
        ck_assert_int_eq(receive_fd_force(hm->hm_b, "b/r", hm_end(hm)), EINVAL);
    }
    char *after = pool_text(hm->hm_b);
    ck_assert_str_eq(before, after);
    free(before);
    free(after);
    hm_close(hm);
}
END_TEST

/* Bytes of a good list changed at random, sums made right: an error or not, but nothing breaks. */
START_TEST(damaged_lists)
{
    handmade_t *hm = hm_open();
    dmu_receive_args_t args = {.dra_target = "b/r", .dra_force = true};
    uint8_t *packed, *copy;
    size_t len;

    make_fs(hm->hm_a, "a/s");
    make_fs(hm->hm_a, "a/s/c");
    snapshot_tree(hm->hm_a, "a/s", "1");
    nvlist_t *list = props_list(hm);
    nvlist_add_string(list, "fromsnap", "1");
    nvlist_pack(list, NV_ENCODE_XDR, &packed, &len);
    copy = xmalloc(len);
    OK(receive_fd_force(hm->hm_b, "b/r", send_package(hm->hm_a, "a/s@1", NULL, false)));
    for (int i = 0; i < 2000; i++) {
        memcpy(copy, packed, len);
        for (uint64_t n = 1 + rnd(3); n > 0; n--)
            copy[rnd(len)] ^= (uint8_t)(1 << rnd(8));
        hm_header(hm, "a/s@2", copy, len);
        args.dra_dryrun = i % 20 != 0; /* the others really do it: destroys, renames */
        (void)receive_with(hm->hm_b, &args, hm_end(hm));
    }
    ck_assert(is_there(hm->hm_b, "b/r"));
    nvlist_free(list);
    free(packed);
    free(copy);
    hm_close(hm);
}
END_TEST

int
main(int argc, char **argv)
{
    Suite *s = suite_create("receive of packages");
    TCase *t = tcase_create("packages");

    loud = getenv("LOUD") != NULL;
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, chain, 0, 3);
    tcase_add_test(t, properties);
    tcase_add_test(t, properties_again);
    tcase_add_test(t, exchanged_names);
    tcase_add_test(t, same_pool);
    tcase_add_test(t, same_guid_twice);
    tcase_add_test(t, what_is_gone);
    tcase_add_test(t, another_tree);
    tcase_add_test(t, broken_package);
    tcase_add_loop_test(t, where_it_goes, 0, (int)ARRAY_SIZE(places));
    tcase_add_test(t, bad_lists);
    tcase_add_test(t, damaged_lists);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
