/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dsl_recv_rules.c - the rules of dmu_recv_begin, _stream and _end, one row each; every row is printed with its result.
 *
 *     row:  stream (with an edit)  +  target as prepared  +  how it is received   ──►  errno, words, and the pool as before
 *
 * Each row that has a target runs twice: with the target unmounted, and mounted (by a mount that lends it out when asked).
 * After an error the pool says of itself exactly what it said before; after a success the snapshot equals the sender's. Either way the
 * judge finds nothing, and a reopened pool looks the same.
 */
#include "recvpool.h"
#include "streampool.h"

/* ---- targets ---- */

enum target {
    T_NONE,    /* no b/fs */
    T_EMPTY,   /* b/fs without a snapshot, something in it */
    T_ONE,     /* b/fs@1 received, nothing changed */
    T_CHANGED, /* and something was */
    T_LATER,   /* and a snapshot taken */
    T_OTHER,   /* b/fs@x, not the sender's */
    T_CLONE,   /* b/fs is a clone of b/base@1 */
};

static void
make_target(dsl_pool_t *dp, enum target t)
{
    if (t == T_EMPTY || t == T_OTHER) {
        ck_assert_int_eq(dsl_create(dp, "b/fs", DMU_OST_OTHER, NULL), 0);
        change(dp, "b/fs", 5);
    }
    if (t == T_OTHER)
        snapshot(dp, "b/fs@x");
    if (t == T_ONE || t == T_CHANGED || t == T_LATER)
        receive_whole(dp, "b/fs", FULL);
    if (t == T_CHANGED)
        change(dp, "b/fs", 6);
    if (t == T_LATER)
        snapshot(dp, "b/fs@later");
    if (t == T_CLONE) {
        receive_whole(dp, "b/base", FULL);
        ck_assert_int_eq(dsl_clone(dp, "b/base@1", "b/fs", NULL), 0);
    }
}

/* ---- rows ---- */

struct row;
typedef struct run {
    const struct row *r_row;
    dsl_pool_t *r_dp;
    mount_t r_mount;
    volatile int r_cancel;
    dmu_recv_cookie_t *r_drc;
} run_t;

typedef struct row {
    const char *w_call, *w_what;
    enum target w_target;
    int w_stream;
    int w_err;
    const char *w_text; /* in the message; NULL: any */
    bool w_force;
    const char *w_origin, *w_tofs, *w_tosnap;  /* NULL: none, b/fs, the sender's */
    void (*w_edit)(streamfile_t *sf);          /* before it is sent */
    void (*w_bytes)(uint8_t *data, uint64_t *size); /* after the sums were made */
    void (*w_during)(run_t *run);              /* after begin */
    void (*w_before_end)(run_t *run);
} row_t;

static struct drr_begin *
begin_of(streamfile_t *sf)
{
    return &sf->sf_recs[0].r_drr.drr_u.drr_begin;
}

static void edit_version(streamfile_t *sf) { begin_of(sf)->drr_versioninfo |= 3; }
static void edit_type(streamfile_t *sf) { begin_of(sf)->drr_type = 9; }
static void edit_feature(streamfile_t *sf) { begin_of(sf)->drr_versioninfo |= DMU_VERSIONINFO(0, 1ULL << 5); }
static void edit_raw(streamfile_t *sf) { begin_of(sf)->drr_versioninfo |= DMU_VERSIONINFO(0, DMU_BACKUP_FEATURE_RAW); }
static void edit_resuming(streamfile_t *sf) { begin_of(sf)->drr_versioninfo |= DMU_VERSIONINFO(0, DMU_BACKUP_FEATURE_RESUMING); }

static sf_rec_t *
first_of(streamfile_t *sf, uint32_t type)
{
    for (uint64_t i = 0; i < sf->sf_n; i++)
        if (sf->sf_recs[i].r_drr.drr_type == type)
            return &sf->sf_recs[i];
    ck_abort_msg("no such record");
}

static void edit_bad_record(streamfile_t *sf) { first_of(sf, DRR_FREE)->r_drr.drr_type = 77; }
static void edit_unknown_object(streamfile_t *sf) { first_of(sf, DRR_WRITE)->r_drr.drr_u.drr_write.drr_object = 4000; }
static void edit_offset(streamfile_t *sf) { first_of(sf, DRR_WRITE)->r_drr.drr_u.drr_write.drr_offset = UINT64_MAX - 511; }
static void edit_length(streamfile_t *sf) { first_of(sf, DRR_OBJECT)->r_drr.drr_u.drr_object.drr_blksz = 1 << 20; }

static void bytes_magic(uint8_t *data, uint64_t *size) { data[8] ^= 0x55; }
static void bytes_cut(uint8_t *data, uint64_t *size) { *size = *size * 2 / 3; }
static void bytes_empty(uint8_t *data, uint64_t *size) { *size = DRR_SIZE; }
static void bytes_flip(uint8_t *data, uint64_t *size) { data[*size / 2] ^= 1; }
static void bytes_end(uint8_t *data, uint64_t *size) { data[*size - DRR_SIZE + 8] ^= 1; }

/* While receiving: the one that receives, and what it will become, are out of everyone's reach. */
static void
during_nothing_else(run_t *run)
{
    dsl_pool_t *dp = run->r_dp;
    stream_error_t se;
    dsl_dataset_t *ds;

    dmu_recv_args_t rva = {.rva_tofs = "b/fs", .rva_tosnap = "second", .rva_force = true};
    ck_assert_int_eq(receive_calls(dp, &rva, stream_data[run->r_row->w_stream], stream_size[run->r_row->w_stream], &se), EBUSY);
    ck_assert_int_eq(dsl_destroy_head(dp, "b/fs"), EBUSY);
    int err = dsl_rollback(dp, "b/fs", NULL);
    ck_assert(err == EBUSY || (err == ESRCH && run->r_row->w_target == T_EMPTY)); /* or: it has no snapshot */
    ck_assert_int_eq(dsl_dataset_own(dp, "b/fs", false, run, &ds), EBUSY); /* a mount */
    ck_assert_int_eq(dsl_recv_abort(dp, "b/fs"), EINVAL);
    if (run->r_mount.m_dp == NULL && run->r_row->w_target != T_EMPTY && run->r_row->w_target != T_CHANGED) {
        const char *snap = "b/fs@now";
        ck_assert_int_eq(dsl_snapshot(dp, &snap, 1, NULL, NULL), EBUSY);
    }
}

/* A mounted one stays what it was, whatever arrives. */
static void
during_readable(run_t *run)
{
    uint8_t was[512], is[512];
    dsl_dataset_t *ds;
    objset_t *os;

    if (run->r_mount.m_dp == NULL)
        return;
    os = snap_hold(run->r_dp, "b/fs@1", &ds);
    ck_assert_int_eq(dmu_read(os, 10, 0, sizeof(was), was), 0);
    dsl_dataset_rele(ds, run->r_dp);
    ck_assert_int_eq(dsl_dataset_objset(run->r_mount.m_ds, &os), 0);
    ck_assert_int_eq(dmu_read(os, 10, 0, sizeof(is), is), 0);
    ck_assert_int_eq(memcmp(was, is, sizeof(is)), 0);
}

static void
write_to_mount(run_t *run)
{
    if (run->r_mount.m_dp != NULL)
        change(run->r_dp, "b/fs", 9);
}

static void
refuse(run_t *run)
{
    run->r_mount.m_refuses = true;
}

static void
snapshot_meanwhile(run_t *run)
{
    snapshot(run->r_dp, "b/fs@meanwhile");
}

static void
cancel(run_t *run)
{
    __atomic_store_n(&run->r_cancel, 1, __ATOMIC_RELAXED);
}

#define BEGIN  "dmu_recv_begin"
#define STREAM "dmu_recv_stream"
#define END    "dmu_recv_end"
/* clang-format off */
static const row_t rows[] = {
    {BEGIN, "magic neither way round", T_ONE, INC, EINVAL, .w_text = "magic", .w_bytes = bytes_magic},
    {BEGIN, "unknown version", T_ONE, INC, EINVAL, .w_text = "version", .w_edit = edit_version},
    {BEGIN, "objset type out of range", T_ONE, INC, EINVAL, .w_text = "type 9", .w_edit = edit_type},
    {BEGIN, "unknown feature", T_ONE, INC, ENOTSUP, .w_text = "bit 5", .w_edit = edit_feature},
    {BEGIN, "encrypted", T_ONE, INC, ENOTSUP, .w_text = "encrypted", .w_edit = edit_raw},
    {BEGIN, "resumes what is not there", T_ONE, INC, EINVAL, .w_text = "nothing to go on with", .w_edit = edit_resuming},
    {BEGIN, "resumes, and there is no file system", T_NONE, INC, ENOENT, .w_text = "does not exist", .w_edit = edit_resuming},
    {BEGIN, "clone stream without its origin here", T_NONE, CLONE, EINVAL, .w_text = "origin"},
    {BEGIN, "clone stream, origin found by guid", T_ONE, CLONE, 0, .w_tofs = "b/clone"},
    {BEGIN, "clone stream onto an existing file system", T_ONE, CLONE, EEXIST, .w_text = "exists"},
    {BEGIN, "clone stream onto an existing one, force", T_ONE, CLONE, EEXIST, .w_text = "exists", .w_force = true},
    {BEGIN, "incremental: no such file system", T_NONE, INC, ENOENT, .w_text = "does not exist"},
    {BEGIN, "incremental: no snapshot here", T_EMPTY, INC, ENODEV, .w_text = "most recent snapshot"},
    {BEGIN, "incremental: the latest is not the source", T_LATER, INC, ENODEV, .w_text = "most recent snapshot"},
    {BEGIN, "incremental: the only one is not the sender's", T_OTHER, INC, ENODEV, .w_text = "most recent snapshot"},
    {BEGIN, "incremental: changed since, no force", T_CHANGED, INC, ETXTBSY, .w_text = "modified"},
    {BEGIN, "incremental: changed since, force", T_CHANGED, INC, 0, .w_force = true},
    {BEGIN, "incremental: force, the latest is not the source", T_LATER, INC, ENODEV, .w_text = "most recent", .w_force = true},
    {BEGIN, "the snapshot's name exists already", T_ONE, INC, EEXIST, .w_text = "snapshot 'b/fs@1' exists", .w_tosnap = "1"},
    {BEGIN, "incremental: offline or online", T_ONE, INC, 0, .w_text = NULL},
    {BEGIN, "full: a new one", T_NONE, FULL, 0, .w_text = NULL},
    {BEGIN, "full: no parent", T_NONE, FULL, ENOENT, .w_text = "parent", .w_tofs = "b/no/fs"},
    {BEGIN, "full: the name exists", T_EMPTY, FULL, EEXIST, .w_text = "exists"},
    {BEGIN, "full with force: replaced", T_EMPTY, FULL, 0, .w_force = true},
    {BEGIN, "full with force: a snapshot", T_ONE, FULL, EINVAL, .w_text = NULL, .w_force = true, .w_tofs = "b/fs@1"},
    {BEGIN, "full with force: a clone", T_CLONE, FULL2, EINVAL, .w_text = "is a clone", .w_force = true},
    {BEGIN, "full with force: has snapshots", T_ONE, FULL2, EINVAL, .w_text = "has snapshots", .w_force = true},
    {BEGIN, "origin in another pool", T_ONE, CLONE, EXDEV, .w_text = "another pool", .w_tofs = "b/c", .w_origin = "a/fs@1"},
    {BEGIN, "origin not a snapshot", T_ONE, CLONE, EINVAL, .w_text = "not a snapshot", .w_tofs = "b/c", .w_origin = "b/fs"},
    {BEGIN, "origin's guid differs", T_OTHER, CLONE, ENODEV, .w_text = "not the snapshot", .w_tofs = "b/c", .w_origin = "b/fs@x"},
    {BEGIN, "origin does not exist", T_ONE, CLONE, ENOENT, .w_text = "origin", .w_tofs = "b/c", .w_origin = "b/fs@none"},
    {BEGIN, "increment onto a given origin", T_ONE, INC, 0, .w_tofs = "b/c", .w_origin = "b/fs@1"},
    {BEGIN, "full onto a given origin", T_ONE, FULL2, 0, .w_tofs = "b/c", .w_origin = "b/fs@1"},
    {BEGIN, "while receiving: incremental", T_ONE, INC, 0, .w_during = during_nothing_else},
    {BEGIN, "while receiving: incremental, force", T_CHANGED, INC, 0, .w_force = true, .w_during = during_nothing_else},
    {BEGIN, "while receiving: full", T_NONE, FULL, 0, .w_during = during_nothing_else},
    {BEGIN, "while receiving: replaced", T_EMPTY, FULL, 0, .w_force = true, .w_during = during_nothing_else},
    {STREAM, "while receiving: the mounted one is readable", T_ONE, INC, 0, .w_before_end = during_readable},
    {STREAM, "nothing behind BEGIN", T_ONE, INC, EINVAL, .w_text = "ends in the middle", .w_bytes = bytes_empty},
    {STREAM, "ends early", T_ONE, INC, EINVAL, .w_text = "ends in the middle", .w_bytes = bytes_cut},
    {STREAM, "ends early: full", T_NONE, FULL, EINVAL, .w_text = "ends in the middle", .w_bytes = bytes_cut},
    {STREAM, "ends early: full with force", T_EMPTY, FULL, EINVAL, .w_text = "ends in the middle", .w_bytes = bytes_cut, .w_force = true},
    {STREAM, "ends early: incremental with force", T_CHANGED, INC, EINVAL, .w_text = "ends in the", .w_bytes = bytes_cut, .w_force = true},
    {STREAM, "ends early: clone", T_ONE, CLONE, EINVAL, .w_text = "ends in the middle", .w_bytes = bytes_cut, .w_tofs = "b/c"},
    {STREAM, "bad record", T_ONE, INC, EINVAL, .w_text = "record type 77", .w_edit = edit_bad_record},
    {STREAM, "a record for an unknown object", T_ONE, INC, EINVAL, .w_text = "no object 4000", .w_edit = edit_unknown_object},
    {STREAM, "offset out of range", T_ONE, INC, EINVAL, .w_text = "out of range", .w_edit = edit_offset},
    {STREAM, "length out of range", T_ONE, INC, EINVAL, .w_text = "block size", .w_edit = edit_length},
    {STREAM, "checksum differs", T_ONE, INC, ECKSUM, .w_text = "damaged", .w_bytes = bytes_flip},
    {STREAM, "checksum of END differs", T_ONE, INC, ECKSUM, .w_text = "damaged", .w_bytes = bytes_end},
    {STREAM, "interrupted", T_ONE, INC, EINTR, .w_text = "interrupted", .w_during = cancel},
    {END, "someone holds it", T_ONE, INC, EBUSY, .w_before_end = refuse},
    {END, "changed meanwhile, no force", T_ONE, INC, ETXTBSY, .w_before_end = write_to_mount},
    {END, "changed meanwhile, force", T_ONE, INC, 0, .w_before_end = write_to_mount, .w_force = true},
    {END, "a snapshot taken meanwhile", T_ONE, INC, ETXTBSY, .w_before_end = snapshot_meanwhile},
    {END, "a snapshot taken meanwhile, force", T_ONE, INC, ETXTBSY, .w_before_end = snapshot_meanwhile, .w_force = true},
    {END, "replaced: changed meanwhile", T_EMPTY, FULL, 0, .w_before_end = write_to_mount, .w_force = true},
};
/* clang-format on */

/* Rows that mean something only with a mount. */
static bool
only_mounted(const row_t *w)
{
    return w->w_before_end != NULL;
}

static uint8_t *
row_stream(const row_t *w, uint64_t *size)
{
    uint8_t *copy = xmalloc(stream_size[w->w_stream]);
    streamfile_t sf;

    memcpy(copy, stream_data[w->w_stream], stream_size[w->w_stream]);
    *size = stream_size[w->w_stream];
    if (w->w_edit != NULL) {
        ck_assert_int_eq(sf_parse(copy, *size, &sf), 0);
        w->w_edit(&sf);
        copy = sf_store(&sf, 0, size);
        sf_free(&sf);
    }
    if (w->w_bytes != NULL)
        w->w_bytes(copy, size);
    return copy;
}

/* The three calls. Which one failed must be the row's. */
static int
row_calls(run_t *run, int fd, stream_error_t *se)
{
    const row_t *w = run->r_row;
    dmu_replay_record_t begin;
    uint64_t off = sizeof(begin);
    dmu_recv_args_t rva = {.rva_tofs = w->w_tofs != NULL ? w->w_tofs : "b/fs",
                           .rva_tosnap = w->w_tosnap != NULL ? w->w_tosnap : strchr(stream_snap[w->w_stream], '@') + 1,
                           .rva_begin = &begin,
                           .rva_fd = fd,
                           .rva_off = &off,
                           .rva_cancel = &run->r_cancel,
                           .rva_force = w->w_force,
                           .rva_origin = w->w_origin};
    int err;

    ck_assert_int_eq(read(fd, &begin, sizeof(begin)), sizeof(begin));
    err = dmu_recv_begin(run->r_dp, &rva, se, &run->r_drc);
    if (err != 0)
        return err;
    ck_assert_str_ne(w->w_err != 0 ? w->w_call : STREAM, BEGIN);
    if (w->w_during != NULL)
        w->w_during(run);
    err = dmu_recv_stream(run->r_drc, se);
    if (err != 0) {
        ck_assert_msg(se->se_record > 0 && se->se_offset >= DRR_SIZE, "no place: %s", se->se_text);
        return err;
    }
    ck_assert_str_ne(w->w_err != 0 ? w->w_call : END, STREAM);
    if (w->w_before_end != NULL)
        w->w_before_end(run);
    return dmu_recv_end(run->r_drc);
}

static void
row_check(run_t *run, faultdisk_t *fd, const char *before)
{
    const row_t *w = run->r_row;
    char snap[ZFS_MAX_DATASET_NAME_LEN], *now = pool_text(run->r_dp);

    if (w->w_err != 0 && w->w_before_end == NULL)
        ck_assert_msg(strcmp(before, now) == 0, "%s:\n%s\nbefore:\n%s", w->w_what, now, before);
    if (w->w_err == 0) {
        const char *sent = stream_snap[w->w_stream];
        snprintf(snap, sizeof(snap), "%s%s", w->w_tofs != NULL ? w->w_tofs : "b/fs", strchr(sent, '@'));
        compare_snaps(a_dp, sent, run->r_dp, snap, true);
    }
    ck_assert_msg(strstr(now, "inconsistent") == NULL, "%s", now);
    mount_stop(&run->r_mount);
    pool_verify(run->r_dp);
    ck_assert_int_eq(dsl_pool_close(run->r_dp), 0);
    run->r_dp = pool_reopen(fd);
    char *after = pool_text(run->r_dp);
    ck_assert_msg(strcmp(now, after) == 0, "%s: reopened:\n%s\nbefore:\n%s", w->w_what, after, now);
    free(now);
    free(after);
}

static void
row_run(const row_t *w, bool mounted)
{
    faultdisk_t *fd = faultdisk_create(DISK);
    run_t run = {.r_row = w, .r_dp = pool_make(fd, "b")};
    stream_error_t se = {0};
    uint64_t size;
    uint8_t *data = row_stream(w, &size);

    make_target(run.r_dp, w->w_target);
    if (mounted)
        mount_start(&run.r_mount, run.r_dp, "b/fs");
    char *before = pool_text(run.r_dp);
    int in = memfd_of(data, size), err = row_calls(&run, in, &se);
    close(in);
    printf("%-16s %-50s %-10s %s%s%s\n", w->w_call, w->w_what, mounted ? "mounted" : "unmounted",
           err == 0 ? "0" : err == ECKSUM ? "ECKSUM" : strerrorname_np(err), se.se_text[0] != '\0' ? ": " : "", se.se_text);
    ck_assert_msg(err == w->w_err, "%s: %d (%s)", w->w_what, err, se.se_text);
    ck_assert_msg(w->w_text == NULL || strstr(se.se_text, w->w_text) != NULL, "%s: '%s'", w->w_what, se.se_text);
    row_check(&run, fd, before);
    ck_assert_int_eq(dsl_pool_close(run.r_dp), 0);
    free(before);
    free(data);
    faultdisk_destroy(fd);
}

START_TEST(test_rules)
{
    sender_setup();
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (!only_mounted(&rows[i]))
            row_run(&rows[i], false);
        if (rows[i].w_target != T_NONE)
            row_run(&rows[i], true);
    }
    sender_teardown();
}
END_TEST

/* ---- features that blocks do not tell of ---- */

/* Long names, large microzaps and what was left out on purpose are marks of the dataset; they stay with all that comes of it. */
static void
check_marks(dsl_pool_t *dp, const char *name)
{
    uint64_t guids[DS_FEATURE_VALUES], n;
    dsl_dataset_t *ds;

    ck_assert_int_eq(dsl_dataset_hold(dp, name, dp, &ds), 0);
    ck_assert_uint_eq(ds->ds_features, DS_FEATURE_LONGNAME | DS_FEATURE_MICROZAP | DS_FEATURE_REDACTED);
    ck_assert_int_eq(dsl_redact_snaps(dp, name, guids, &n), 0);
    ck_assert(n == 2 && guids[0] == 7 && guids[1] == 8);
    dsl_dataset_rele(ds, dp);
}

static uint8_t *
marked_stream(uint64_t *size)
{
    static const uint64_t guids[] = {7, 8};
    uint8_t *copy = xmalloc(stream_size[FULL]), *packed, *out;
    nvlist_t *list = nvlist_alloc();
    streamfile_t sf;
    size_t len;

    memcpy(copy, stream_data[FULL], stream_size[FULL]);
    ck_assert_int_eq(sf_parse(copy, stream_size[FULL], &sf), 0);
    nvlist_add_uint64_array(list, "redact_snaps", guids, 2);
    nvlist_pack(list, NV_ENCODE_NATIVE, &packed, &len);
    nvlist_free(list);
    begin_of(&sf)->drr_versioninfo |=
        DMU_VERSIONINFO(0, DMU_BACKUP_FEATURE_LONGNAME | DMU_BACKUP_FEATURE_LARGE_MICROZAP |
                               DMU_BACKUP_FEATURE_LARGE_BLOCKS | DMU_BACKUP_FEATURE_REDACTED);
    sf.sf_recs[0].r_drr.drr_payloadlen = (uint32_t)len;
    sf.sf_recs[0].r_payload = packed;
    sf.sf_recs[0].r_len = len;
    out = sf_store(&sf, 0, size);
    sf_free(&sf);
    free(packed);
    return out;
}

START_TEST(test_marks)
{
    faultdisk_t *fd = faultdisk_create(DISK);
    dsl_pool_t *dp = pool_make(fd, "b");
    stream_error_t se;
    mount_t m;
    uint64_t size;

    sender_setup();
    uint8_t *data = marked_stream(&size);
    ck_assert_int_eq(receive_bytes(dp, "b/fs", data, size, &se), 0);
    check_marks(dp, "b/fs");
    check_marks(dp, "b/fs@1");
    ck_assert_int_eq(dsl_clone(dp, "b/fs@1", "b/clone", NULL), 0);
    check_marks(dp, "b/clone");
    mount_start(&m, dp, "b/fs"); /* through a hidden clone, and a swap */
    ck_assert_int_eq(receive_bytes(dp, "b/fs", stream_data[INC], stream_size[INC], &se), 0);
    mount_stop(&m);
    check_marks(dp, "b/fs@2");
    pool_verify(dp);
    ck_assert_int_eq(dsl_pool_close(dp), 0);
    dp = pool_reopen(fd);
    check_marks(dp, "b/fs");
    uint64_t sent;
    uint8_t *again = send_bytes(dp, "b/fs@1", NULL, DMU_SEND_LARGE_BLOCK, &sent); /* and what is sent on says so */
    ck_assert_int_eq(receive_bytes(dp, "b/copy", again, sent, &se), 0);
    check_marks(dp, "b/copy@1");
    pool_verify(dp);
    ck_assert_int_eq(dsl_pool_close(dp), 0);
    faultdisk_destroy(fd);
    free(data);
    free(again);
    sender_teardown();
}
END_TEST

/* ---- a refreservation that what came has used up ---- */

static void
set_size(dsl_pool_t *dp, const char *prop, uint64_t value)
{
    nvlist_t *nvl = nvlist_alloc();
    char text[24];

    snprintf(text, sizeof(text), "%lu", value);
    nvlist_add_string(nvl, prop, text);
    ck_assert_int_eq(dsl_prop_set(dp, "b/fs", nvl), 0);
    nvlist_free(nvl);
}

/* The new snapshot keeps what came, so the refreservation has to be covered anew: a quota forbids it, and all is as before. */
START_TEST(test_refreservation)
{
    faultdisk_t *fd = faultdisk_create(DISK);
    dsl_pool_t *dp = pool_make(fd, "b");
    stream_error_t se;
    dsl_stats_t st;

    sender_setup();
    receive_whole(dp, "b/fs", FULL);
    set_size(dp, "refreservation", 8 << 20);
    ck_assert_int_eq(dsl_dataset_stats(dp, "b/fs", &st), 0);
    set_size(dp, "quota", st.dst_used + 4096);
    char *before = pool_text(dp);
    ck_assert_int_eq(receive_bytes(dp, "b/fs", stream_data[INC], stream_size[INC], &se), ENOSPC);
    char *after = pool_text(dp);
    ck_assert_str_eq(before, after);
    set_size(dp, "quota", 0);
    receive_whole(dp, "b/fs", INC);
    compare_snaps(a_dp, "a/fs@2", dp, "b/fs@2", true);
    pool_verify(dp);
    ck_assert_int_eq(dsl_pool_close(dp), 0);
    faultdisk_destroy(fd);
    sender_teardown();
    free(before);
    free(after);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("the rules of receive");
    TCase *tc = tcase_create("rules");

    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, test_rules);
    tcase_add_test(tc, test_marks);
    tcase_add_test(tc, test_refreservation);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
