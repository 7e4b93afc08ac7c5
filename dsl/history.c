/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * history.c - what was done to the pool: records in a ring in the MOS, which only ever grows at one end and gives up at the other.
 *
 *     logical    0      create_len                 bof                    eof
 *                |create|..........given up.........|===== records =====|          offsets only grow
 *     physical   0      create_len                                 max_off
 *                |create|=====eof|......|bof=======================|              logical - create_len, modulo the ring's length
 *
 *     record     length (u64, little-endian) | packed list { "history time", "history command" or "internal_name", ... }
 *
 * The first record, the pool's creation, stays for ever. A command's record is written by a sync task of its own after the command. An internal
 * event is written by the sync task that does the thing, in the same txg: it is there if, and only if, the thing was done.
 *
 * INVARIANTS
 *  1. create_len <= bof <= eof; eof - bof < max_off - create_len (the ring is never quite full); bof and eof lie on records.
 *  2. max_off is a thousandth of the pool, at least 128 KiB, at most 1 GiB, for good.
 *  3. What is read is not trusted: a ring that breaks 1 gives EIO to readers, and writers begin a new ring in it. No event is worth a
 *     failed sync: when one cannot be written, the log of the process says so.
 *
 * Typical sequence, syncing context:    history_log_ds(ds, "snapshot", tx, " ");
 * ZFS: module/zfs/spa_history.c
 */
#include <stdarg.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include "dsl_impl.h"

typedef struct spa_history_phys {
    uint64_t sh_pool_create_len; /* end of the first record */
    uint64_t sh_phys_max_off;    /* end of the ring */
    uint64_t sh_bof, sh_eof;     /* logical */
    uint64_t sh_records_lost;    /* given up */
} spa_history_phys_t;
_Static_assert(sizeof(spa_history_phys_t) == 40, "the bonus is 40 bytes");

#define HISTORY_BLOCK      (16U << 10) /* rewritten in every txg with an event: small */
#define HISTORY_MIN_OFF    (128ULL << 10)
#define HISTORY_MAX_OFF    (1ULL << 30)
#define HISTORY_RECORD_MAX (16U << 10) /* packed */
#define HISTORY_TEXT_MAX   8192        /* a command line is cut there */

/* ---- the ring ---- */

static uint64_t
ring_length(const spa_history_phys_t *sh)
{
    return sh->sh_phys_max_off - sh->sh_pool_create_len;
}

static bool
ring_is_sane(const spa_history_phys_t *sh)
{
    if (sh->sh_phys_max_off > HISTORY_MAX_OFF || sh->sh_pool_create_len >= sh->sh_phys_max_off)
        return false;
    return sh->sh_bof >= sh->sh_pool_create_len && sh->sh_bof <= sh->sh_eof &&
           sh->sh_eof - sh->sh_bof <= ring_length(sh);
}

static uint64_t
ring_physical(const spa_history_phys_t *sh, uint64_t off)
{
    if (off < sh->sh_pool_create_len)
        return off;
    return (off - sh->sh_pool_create_len) % ring_length(sh) + sh->sh_pool_create_len;
}

/* The part of len bytes at a physical offset that comes before the ring's end. */
static uint64_t
ring_first_part(const spa_history_phys_t *sh, uint64_t phys, uint64_t len)
{
    return MIN(len, sh->sh_phys_max_off - phys);
}

static int
ring_read(dsl_pool_t *dp, uint64_t object, const spa_history_phys_t *sh, uint64_t off, uint64_t len,
          uint8_t *buf)
{
    uint64_t phys = ring_physical(sh, off), first = ring_first_part(sh, phys, len);
    int err = dmu_read(pool_mos(dp), object, phys, first, buf);

    if (err == 0 && len > first)
        err = dmu_read(pool_mos(dp), object, sh->sh_pool_create_len, len - first, buf + first);
    return err;
}

static int
ring_write(dsl_pool_t *dp, uint64_t object, const spa_history_phys_t *sh, uint64_t off, uint64_t len,
           const uint8_t *buf, dmu_tx_t *tx)
{
    uint64_t phys = sh->sh_pool_create_len == 0 ? off : ring_physical(sh, off);
    uint64_t first = ring_first_part(sh, phys, len);
    int err = dmu_write(pool_mos(dp), object, phys, first, buf, tx);

    if (err == 0 && len > first)
        err = dmu_write(pool_mos(dp), object, sh->sh_pool_create_len, len - first, buf + first, tx);
    return err;
}

static uint64_t
get_le64(const uint8_t *p)
{
    uint64_t v = 0;

    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

/* The length of the record at off, without the word that tells it; end: where the records end. EIO */
static int
record_length(dsl_pool_t *dp, uint64_t object, const spa_history_phys_t *sh, uint64_t off, uint64_t end,
              uint64_t *len)
{
    uint8_t word[sizeof(uint64_t)];
    int err = end - off < sizeof(word) ? SET_ERROR(EIO) : ring_read(dp, object, sh, off, sizeof(word), word);

    if (err != 0)
        return err;
    *len = get_le64(word);
    return *len == 0 || *len > end - off - sizeof(word) ? SET_ERROR(EIO) : 0;
}

/* ---- writing ---- */

/* Older records go until len bytes fit. */
static int
ring_make_room(dsl_pool_t *dp, uint64_t object, spa_history_phys_t *sh, uint64_t len)
{
    uint64_t old;

    if (!ring_is_sane(sh))
        return SET_ERROR(EIO);
    while (ring_length(sh) - (sh->sh_eof - sh->sh_bof) <= len) {
        int err = sh->sh_bof == sh->sh_eof ? SET_ERROR(EFBIG)
                                           : record_length(dp, object, sh, sh->sh_bof, sh->sh_eof, &old);
        if (err != 0)
            return err;
        sh->sh_bof += sizeof(uint64_t) + old;
        sh->sh_records_lost++;
    }
    return 0;
}

static void
ring_init(dsl_pool_t *dp, spa_history_phys_t *sh)
{
    memset(sh, 0, sizeof(*sh));
    sh->sh_phys_max_off = MIN(MAX(spa_total_space(dp->dp_spa) / 1000, HISTORY_MIN_OFF), HISTORY_MAX_OFF);
}

/* Invariant 3: nothing in it can be believed. */
static void
ring_restart(dsl_pool_t *dp, spa_history_phys_t *sh)
{
    cowbird_log(LOG_ERR, "pool '%s': the history is damaged, it begins anew", spa_name(dp->dp_spa));
    ring_init(dp, sh);
}

static int
append(dsl_pool_t *dp, uint64_t object, spa_history_phys_t *sh, const uint8_t *buf, uint64_t len,
       dmu_tx_t *tx)
{
    int err = ring_make_room(dp, object, sh, len);

    if (err == EIO || err == ECKSUM) {
        ring_restart(dp, sh);
        err = ring_make_room(dp, object, sh, len);
    }
    if (err == 0)
        err = ring_write(dp, object, sh, sh->sh_eof, len, buf, tx);
    if (err != 0)
        return err;
    sh->sh_eof += len;
    if (sh->sh_pool_create_len == 0)
        sh->sh_pool_create_len = sh->sh_bof = sh->sh_eof;
    return 0;
}

static int
history_create(dsl_pool_t *dp, uint64_t *object, dmu_tx_t *tx)
{
    objset_t *mos = pool_mos(dp);
    dmu_buf_t *db;
    int err = dmu_object_alloc(mos, DMU_OT_SPA_HISTORY, HISTORY_BLOCK, DMU_OT_SPA_HISTORY_OFFSETS,
                               sizeof(spa_history_phys_t), 0, tx, object);

    if (err != 0)
        return err;
    if ((err = dmu_bonus_hold(mos, *object, &db)) == 0) {
        dmu_buf_will_dirty(db, tx);
        ring_init(dp, db->db_data);
        dmu_buf_rele(db);
        err = zap_add_u64(mos, DMU_POOL_DIRECTORY_OBJECT, DMU_POOL_HISTORY, *object, tx);
    }
    if (err != 0)
        (void)dmu_object_free(mos, *object, tx);
    return err;
}

static int
history_object(dsl_pool_t *dp, uint64_t *object, dmu_tx_t *tx)
{
    int err = zap_lookup_u64(pool_mos(dp), DMU_POOL_DIRECTORY_OBJECT, DMU_POOL_HISTORY, object);

    return err == ENOENT ? history_create(dp, object, tx) : err;
}

static int
write_packed(dsl_pool_t *dp, const uint8_t *buf, uint64_t len, dmu_tx_t *tx)
{
    uint64_t object;
    spa_history_phys_t sh;
    dmu_buf_t *db;
    int err = history_object(dp, &object, tx);

    if (err == 0)
        err = mos_read_bonus(dp, object, DMU_OT_SPA_HISTORY_OFFSETS, &sh, sizeof(sh));
    if (err == 0)
        err = append(dp, object, &sh, buf, len, tx);
    if (err != 0 || (err = dmu_bonus_hold(pool_mos(dp), object, &db)) != 0)
        return err;
    dmu_buf_will_dirty(db, tx);
    memcpy(db->db_data, &sh, MIN(db->db_size, sizeof(sh)));
    dmu_buf_rele(db);
    return 0;
}

/* Takes the list. */
static void
write_record(dsl_pool_t *dp, nvlist_t *record, dmu_tx_t *tx)
{
    struct utsname host;
    uint8_t *packed, *buf;
    size_t len;
    int err = EFBIG;

    nvlist_add_uint64(record, HISTORY_TIME, (uint64_t)time(NULL));
    nvlist_add_uint64(record, HISTORY_WHO, (uint64_t)getuid());
    nvlist_add_string(record, HISTORY_HOST, uname(&host) == 0 ? host.nodename : "");
    nvlist_pack(record, NV_ENCODE_XDR, &packed, &len);
    nvlist_free(record);
    if (len <= HISTORY_RECORD_MAX) {
        buf = xmalloc(sizeof(uint64_t) + len);
        for (int i = 0; i < 8; i++)
            buf[i] = (uint8_t)((uint64_t)len >> (8 * i));
        memcpy(buf + sizeof(uint64_t), packed, len);
        err = write_packed(dp, buf, sizeof(uint64_t) + len, tx);
        free(buf);
    }
    free(packed);
    if (err != 0)
        cowbird_log(LOG_ERR, "pool '%s': an event could not be added to the history: %s",
                    spa_name(dp->dp_spa), cowbird_strerror(err));
}

/* ---- internal events ---- */

static nvlist_t *
event(const char *what, dmu_tx_t *tx, const char *fmt, va_list ap)
{
    nvlist_t *record = nvlist_alloc();
    char text[HISTORY_TEXT_MAX];

    vsnprintf(text, sizeof(text), fmt, ap);
    nvlist_add_string(record, HISTORY_INT_STR, text);
    nvlist_add_string(record, HISTORY_INT_NAME, what);
    nvlist_add_uint64(record, HISTORY_TXG, dmu_tx_txg(tx));
    return record;
}

void
history_log(dsl_pool_t *dp, const char *what, dmu_tx_t *tx, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    nvlist_t *record = event(what, tx, fmt, ap);
    va_end(ap);
    write_record(dp, record, tx);
}

void
history_log_ds(dsl_dataset_t *ds, const char *what, dmu_tx_t *tx, const char *fmt, ...)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];
    va_list ap;

    va_start(ap, fmt);
    nvlist_t *record = event(what, tx, fmt, ap);
    va_end(ap);
    dsl_dataset_name(ds, name);
    nvlist_add_string(record, HISTORY_DSNAME, name);
    nvlist_add_uint64(record, HISTORY_DSID, ds->ds_object);
    write_record(ds->ds_pool, record, tx);
}

/* ---- commands ---- */

typedef struct command_arg {
    dsl_pool_t *ca_pool;
    const char *ca_command;
} command_arg_t;

static void
command_sync(void *arg, dmu_tx_t *tx)
{
    command_arg_t *ca = arg;
    nvlist_t *record = nvlist_alloc();
    char text[HISTORY_TEXT_MAX];

    snprintf(text, sizeof(text), "%s", ca->ca_command);
    nvlist_add_string(record, HISTORY_CMD, text);
    nvlist_add_string(record, HISTORY_ZONE, "linux");
    write_record(ca->ca_pool, record, tx);
}

int
dsl_history_log(dsl_pool_t *dp, const char *command)
{
    command_arg_t ca = {dp, command};

    return dsl_sync_task(dp, NULL, command_sync, &ca, 2, DSL_SPACE_NONE);
}

/* ---- reading ---- */

/* The record at *off or, when that was given up meanwhile, the oldest after it; *off moves behind it. ENOENT at the end. */
static int
read_record(dsl_pool_t *dp, uint64_t *off, nvlist_t **record)
{
    spa_history_phys_t sh;
    uint64_t object, len;
    int err = zap_lookup_u64(pool_mos(dp), DMU_POOL_DIRECTORY_OBJECT, DMU_POOL_HISTORY, &object);

    if (err != 0 || (err = mos_read_bonus(dp, object, DMU_OT_SPA_HISTORY_OFFSETS, &sh, sizeof(sh))) != 0)
        return err;
    if (!ring_is_sane(&sh))
        return SET_ERROR(EIO);
    if (*off >= sh.sh_pool_create_len)
        *off = MAX(*off, sh.sh_bof);
    if (*off >= sh.sh_eof)
        return ENOENT;
    uint64_t end = *off < sh.sh_pool_create_len ? sh.sh_pool_create_len : sh.sh_eof;
    if ((err = record_length(dp, object, &sh, *off, end, &len)) != 0)
        return err;
    uint8_t *buf = malloc(len); /* at most the ring: invariant 1 */
    if (buf == NULL)
        return SET_ERROR(ENOMEM);
    err = ring_read(dp, object, &sh, *off + sizeof(uint64_t), len, buf);
    if (err == 0 && nvlist_unpack(buf, len, record) != 0)
        err = SET_ERROR(EIO);
    free(buf);
    *off += sizeof(uint64_t) + len;
    return err;
}

int
dsl_history_read(dsl_pool_t *dp, int (*cb)(void *arg, const nvlist_t *event), void *arg)
{
    uint64_t off = 0;
    nvlist_t *record;
    int err;

    for (;;) {
        rw_enter_read(&dp->dp_config_lock);
        err = read_record(dp, &off, &record);
        rw_exit(&dp->dp_config_lock);
        if (err != 0)
            return err == ENOENT ? 0 : err;
        err = cb(arg, record);
        nvlist_free(record);
        if (err != 0)
            return err;
    }
}
