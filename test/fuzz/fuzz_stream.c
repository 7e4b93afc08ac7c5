/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_stream.c - bytes as send streams, received into a pool in memory, read, measured for sending, destroyed.
 *
 *     flags | stream [stream ...]
 *
 *     bit 0: the sums of all records are made right first     bit 1: every second stream goes to another file system
 *     bit 2: in the end the pool is checked for lost blocks
 *
 * The pool is made once; after each input it must be as empty as before, and able to go on.
 */
#include <sys/mman.h>
#include <unistd.h>
#include "faultdisk.h"
#include "fuzz.h"
#include "stream.h"

#define MAX_INPUT    (64UL << 10)
#define MAX_STREAMS  6
#define FIX_SUMS     1
#define TWO_TARGETS  2
#define CHECK_BLOCKS 4

static dsl_pool_t *dp;
static int stream_fd;

static void
pool_make(void)
{
    dsl_pool_create_args_t args = {.pca_name = "fz", .pca_path = "/fz", .pca_ashift = 9, .pca_compat = true};
    disk_t disk = faultdisk_disk(faultdisk_create(128 << 20));

    VERIFY0(dsl_pool_create(&disk, &args, &dp));
    stream_fd = memfd_create("stream", 0);
    VERIFY(stream_fd >= 0);
}

/* ---- sums ---- */

static void
sum_add(zio_cksum_t *sum, const void *buf, size_t n, bool swap)
{
    (swap ? fletcher_4_incremental_byteswap : fletcher_4_incremental_native)(buf, n, sum);
}

static void
sum_store(uint8_t *at, zio_cksum_t sum, bool swap)
{
    uint64_t w[4];

    memcpy(w, &sum, sizeof(w));
    for (int i = 0; swap && i < 4; i++)
        w[i] = __builtin_bswap64(w[i]);
    memcpy(at, w, sizeof(w));
}

/* One record at p, of at most n bytes; how many it takes, or 0 when nothing more makes sense. */
static size_t
fix_record(uint8_t *p, size_t n, bool swap, zio_cksum_t *sum, uint32_t *type)
{
    dmu_replay_record_t drr;
    uint64_t len;

    if (n < DRR_SIZE)
        return 0;
    memcpy(&drr, p, sizeof(drr));
    *type = swap ? __builtin_bswap32(drr.drr_type) : drr.drr_type;
    if (*type >= DRR_NUMTYPES)
        return 0;
    if (swap)
        drr_byteswap(&drr, *type);
    if (*type == DRR_END)
        sum_store(p + DRR_OFF(drr_end.drr_checksum), *sum, swap);
    sum_add(sum, p, DRR_SUM_OFFSET, swap);
    if (*type != DRR_BEGIN)
        sum_store(p + DRR_SUM_OFFSET, *sum, swap);
    sum_add(sum, p + DRR_SUM_OFFSET, DRR_SIZE - DRR_SUM_OFFSET, swap);
    if (drr_payload_size(&drr, &len) != 0 || len > n - DRR_SIZE || len % 4 != 0)
        return 0;
    sum_add(sum, p + DRR_SIZE, len, swap);
    return DRR_SIZE + len;
}

static void
fix_sums(uint8_t *p, size_t n)
{
    bool inside = false, swap = false;
    zio_cksum_t sum = {{0}};

    for (size_t at = 0; at + DRR_SIZE <= n;) {
        uint32_t type;
        dmu_replay_record_t begin;
        memcpy(&begin, p + at, sizeof(begin));
        if (!inside && drr_begin_order(&begin, &swap) != 0)
            return;
        if (!inside)
            memset(&sum, 0, sizeof(sum));
        size_t step = fix_record(p + at, n - at, swap, &sum, &type);
        if (step == 0)
            return;
        inside = type != DRR_END;
        at += step;
    }
}

/* ---- receive, look, destroy ---- */

static void
receive_all(uint8_t flags)
{
    for (int i = 0; i < MAX_STREAMS; i++) {
        dmu_receive_args_t args = {.dra_target = (flags & TWO_TARGETS) != 0 && i % 2 == 1 ? "fz/y" : "fz/x",
                                   .dra_fd = stream_fd};
        char received[ZFS_MAX_DATASET_NAME_LEN];
        stream_error_t se = {0};
        uint64_t bytes;
        if (dmu_receive(dp, &args, received, &se) != 0)
            return;
        dmu_send_args_t send = {.dsa_tosnap = received,
                                .dsa_flags = DMU_SEND_LARGE_BLOCK | DMU_SEND_EMBED | DMU_SEND_COMPRESSED};
        (void)dmu_send_estimate(dp, &send, &bytes);
    }
}

static int
destroy_snapshot(void *arg, const char *name)
{
    return dsl_destroy_snapshots(dp, &name, 1, false, NULL);
}

static int
destroy_fs(const char *name)
{
    int err = dsl_for_each_snapshot(dp, name, destroy_snapshot, NULL);

    return err == 0 ? dsl_destroy_head(dp, name) : err == ENOENT ? 0 : err;
}

static void
report(void *arg, const char *text)
{
    fprintf(stderr, "check: %s\n", text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > MAX_INPUT)
        return 0;
    fuzz_init();
    if (dp == NULL)
        pool_make();
    uint8_t flags = data[0], *copy = xmalloc(size - 1);
    memcpy(copy, data + 1, size - 1);
    if ((flags & FIX_SUMS) != 0)
        fix_sums(copy, size - 1);
    VERIFY0(ftruncate(stream_fd, 0));
    VERIFY(pwrite(stream_fd, copy, size - 1, 0) == (ssize_t)(size - 1));
    VERIFY(lseek(stream_fd, 0, SEEK_SET) == 0);
    free(copy);

    receive_all(flags);
    fuzz_walk(dp);
    VERIFY0(destroy_fs("fz/y")); /* first: it may be a clone of the other's snapshot */
    VERIFY0(destroy_fs("fz/x"));
    VERIFY0(spa_suspended(dsl_pool_spa(dp)));
    if ((flags & CHECK_BLOCKS) != 0) {
        VERIFY0(txg_wait_synced(dsl_pool_txg(dp), 0));
        VERIFY0(dsl_pool_check(dp, report, NULL));
    }
    return 0;
}
