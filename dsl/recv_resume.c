/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recv_resume.c - what a resumable receive remembers of itself, and the token that tells the sender where to go on.
 *
 *     dataset object (zapified)                            token:  1-<sum>-<size>-<hex of zlib of a packed list>
 *       com.delphix:resume_toguid    u64                             toguid, fromguid, object, offset, bytes, toname,
 *                  :resume_fromguid  u64, increments                 largeblockok, embedok, compressok
 *                  :resume_toname    text
 *                  :resume_object  :resume_offset  :resume_bytes    u64: the last block written
 *                  :resume_largeblockok  ...                        u64: what the stream used, so may be used again
 *
 * INVARIANT: on disk, object and offset name a block that was written in the same txg or before, and everything that the stream said before
 * that block is there, too. Each transaction of a WRITE leaves its place in the note of its txg; a task of that very txg, which runs
 * after the txg's data was written, puts it into the keys. The sender begins again *with* that block.
 *
 * Places are noted at WRITEs only. An OBJECT would not do: old senders tell 32 OBJECTs first and then the data of all of them.
 *
 * ZFS: save_resume_state() in dmu_recv.c, dsl_dataset_sync(), get_receive_resume_token() in dsl_dataset.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "recv_impl.h"

#define KEY          "com.delphix:resume_"
#define TOKEN_LEVEL  6
#define TOKEN_UNPACK (64u << 10) /* no honest list is larger */

static const struct {
    const char *rf_key, *rf_token;
    uint64_t rf_feature;
    uint32_t rf_flag;
} resume_flags[] = {
    {KEY "largeblockok", "largeblockok", DMU_BACKUP_FEATURE_LARGE_BLOCKS, DMU_SEND_LARGE_BLOCK},
    {KEY "embedok", "embedok", DMU_BACKUP_FEATURE_EMBED_DATA, DMU_SEND_EMBED},
    {KEY "compressok", "compressok", DMU_BACKUP_FEATURE_COMPRESSED, DMU_SEND_COMPRESSED},
};

/* ---- keys ---- */

static void
set_key(dsl_dataset_t *ds, const char *key, uint64_t value, dmu_tx_t *tx)
{
    (void)mos_must(ds->ds_pool, zap_update_u64(pool_mos(ds->ds_pool), ds->ds_object, key, value, tx));
}

static void
set_place(dsl_dataset_t *ds, uint64_t object, uint64_t offset, uint64_t bytes, dmu_tx_t *tx)
{
    set_key(ds, KEY "object", object, tx);
    set_key(ds, KEY "offset", offset, tx);
    set_key(ds, KEY "bytes", bytes, tx);
}

void
recv_resume_init(dmu_recv_cookie_t *drc, dmu_tx_t *tx)
{
    dsl_dataset_t *ds = drc->drc_ds;
    const struct drr_begin *b = &drc->drc_drrb;

    feature_zapify(ds->ds_pool, ds->ds_object, tx);
    (void)mos_must(ds->ds_pool, zap_update(pool_mos(ds->ds_pool), ds->ds_object, KEY "toname", 1,
                                           strlen(b->drr_toname) + 1, b->drr_toname, tx));
    set_key(ds, KEY "toguid", b->drr_toguid, tx);
    if (b->drr_fromguid != 0)
        set_key(ds, KEY "fromguid", b->drr_fromguid, tx);
    set_place(ds, 1, 0, 0, tx);
    for (size_t i = 0; i < ARRAY_SIZE(resume_flags); i++)
        if (drc->drc_features & resume_flags[i].rf_feature)
            set_key(ds, resume_flags[i].rf_key, 1, tx);
}

void
recv_resume_clear(dsl_dataset_t *ds, dmu_tx_t *tx)
{
    static const char *const keys[] = {KEY "toname", KEY "toguid", KEY "fromguid",
                                       KEY "object", KEY "offset", KEY "bytes"};
    objset_t *mos = pool_mos(ds->ds_pool);
    uint64_t guid;

    if (!feature_is_zapified(ds->ds_pool, ds->ds_object) ||
        zap_lookup_u64(mos, ds->ds_object, KEY "toguid", &guid) != 0)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        (void)zap_remove(mos, ds->ds_object, keys[i], tx);
    for (size_t i = 0; i < ARRAY_SIZE(resume_flags); i++)
        (void)zap_remove(mos, ds->ds_object, resume_flags[i].rf_key, tx);
}

static int
load_toname(objset_t *mos, uint64_t dsobj, char *name)
{
    uint64_t size, n;
    int err = zap_length(mos, dsobj, KEY "toname", &size, &n);

    if (err == 0 && (size != 1 || n > ZFS_MAX_DATASET_NAME_LEN))
        err = SET_ERROR(EINVAL);
    return err != 0 ? err : zap_lookup(mos, dsobj, KEY "toname", 1, n, name);
}

int
recv_resume_load(dsl_pool_t *dp, uint64_t dsobj, dsl_resume_t *dr)
{
    objset_t *mos = pool_mos(dp);
    int err;

    memset(dr, 0, sizeof(*dr));
    if (!feature_is_zapified(dp, dsobj))
        return ENOENT;
    if ((err = zap_lookup_u64(mos, dsobj, KEY "toguid", &dr->dr_toguid)) != 0 ||
        (err = zap_lookup_u64(mos, dsobj, KEY "object", &dr->dr_object)) != 0 ||
        (err = zap_lookup_u64(mos, dsobj, KEY "offset", &dr->dr_offset)) != 0 ||
        (err = zap_lookup_u64(mos, dsobj, KEY "bytes", &dr->dr_bytes)) != 0 ||
        (err = load_toname(mos, dsobj, dr->dr_toname)) != 0)
        return err;
    dr->dr_toname[sizeof(dr->dr_toname) - 1] = '\0';
    err = zap_lookup_u64(mos, dsobj, KEY "fromguid", &dr->dr_fromguid);
    for (size_t i = 0; i < ARRAY_SIZE(resume_flags); i++)
        if (zap_contains(mos, dsobj, resume_flags[i].rf_key) == 0)
            dr->dr_flags |= resume_flags[i].rf_flag;
    return err == ENOENT ? 0 : err;
}

/* ---- the place, txg by txg ---- */

static void
note_sync(void *arg, dmu_tx_t *tx)
{
    recv_note_t *rn = arg;

    set_place(rn->rn_ds, rn->rn_object, rn->rn_offset, rn->rn_bytes, tx);
}

void
recv_resume_note(dmu_recv_cookie_t *drc, uint64_t object, uint64_t offset, dmu_tx_t *tx)
{
    uint64_t txg = dmu_tx_txg(tx);
    recv_note_t *rn = &drc->drc_notes[txg & TXG_MASK];

    if (!drc->drc_resumable)
        return;
    if (rn->rn_txg != txg)
        dsl_sync_task_nowait(drc->drc_dp, note_sync, rn, txg);
    *rn = (recv_note_t){drc->drc_ds, txg, object, offset, drc->drc_bytes};
}

/* ---- tokens ---- */

/* The first word of a Fletcher-4; what is left of a word at the end does not count. */
static uint64_t
token_sum(const uint8_t *buf, size_t n)
{
    zio_cksum_t sum = {{0}};

    fletcher_4_incremental_native(buf, n & ~(size_t)3, &sum);
    return sum.zc_word[0];
}

static nvlist_t *
token_list(const dsl_resume_t *dr)
{
    nvlist_t *list = nvlist_alloc();

    if (dr->dr_fromguid != 0)
        nvlist_add_uint64(list, "fromguid", dr->dr_fromguid);
    nvlist_add_uint64(list, "object", dr->dr_object);
    nvlist_add_uint64(list, "offset", dr->dr_offset);
    nvlist_add_uint64(list, "bytes", dr->dr_bytes);
    nvlist_add_uint64(list, "toguid", dr->dr_toguid);
    nvlist_add_string(list, "toname", dr->dr_toname);
    for (size_t i = 0; i < ARRAY_SIZE(resume_flags); i++)
        if (dr->dr_flags & resume_flags[i].rf_flag)
            nvlist_add_boolean(list, resume_flags[i].rf_token);
    return list;
}

/* ENOSPC: longer than RESUME_TOKEN_MAX. */
static int
token_write(const dsl_resume_t *dr, char *token)
{
    nvlist_t *list = token_list(dr);
    uint8_t *packed, zipped[RESUME_TOKEN_MAX / 2];
    uLongf n = sizeof(zipped);
    size_t len, at = RESUME_TOKEN_MAX;

    nvlist_pack(list, NV_ENCODE_NATIVE, &packed, &len);
    nvlist_free(list);
    if (compress2(zipped, &n, packed, len, TOKEN_LEVEL) == Z_OK)
        at = (size_t)snprintf(token, RESUME_TOKEN_MAX, "1-%llx-%zx-",
                              (unsigned long long)token_sum(zipped, n), len);
    free(packed);
    if (at + 2 * n >= RESUME_TOKEN_MAX)
        return SET_ERROR(ENOSPC);
    for (uLongf i = 0; i < n; i++, at += 2)
        snprintf(token + at, 3, "%02x", zipped[i]);
    return 0;
}

int
dsl_resume_token(dsl_pool_t *dp, const char *fs, char *token)
{
    char name[ZFS_MAX_DATASET_NAME_LEN];
    dsl_resume_t dr;
    int err = dsl_recv_partial(dp, fs, name, &dr);

    return err != 0 ? err : token_write(&dr, token);
}

/* Hex digits to bytes; -1: they are none, or too many. */
static long
from_hex(const char *hex, uint8_t *out, size_t max)
{
    size_t n = strlen(hex);
    unsigned v;

    if (n % 2 != 0 || n / 2 > max || strspn(hex, "0123456789abcdefABCDEF") != n)
        return -1;
    for (size_t i = 0; i < n / 2; i++) {
        if (sscanf(hex + 2 * i, "%2x", &v) != 1)
            return -1;
        out[i] = (uint8_t)v;
    }
    return (long)(n / 2);
}

/* The list in a token; NULL: it is no token, or a damaged one. */
static nvlist_t *
token_unpack(const char *token)
{
    unsigned version;
    unsigned long long sum, len;
    uint8_t zipped[RESUME_TOKEN_MAX / 2];
    nvlist_t *list = NULL;
    int at = 0;

    if (sscanf(token, "%u-%llx-%llx-%n", &version, &sum, &len, &at) != 3 || at == 0 || version != 1 ||
        len > TOKEN_UNPACK)
        return NULL;
    long n = from_hex(token + at, zipped, sizeof(zipped));
    if (n < 0 || token_sum(zipped, (size_t)n) != sum)
        return NULL;
    uint8_t *packed = xmalloc(len + 1);
    uLongf got = len + 1;
    if (uncompress(packed, &got, zipped, (uLong)n) != Z_OK || got != len ||
        nvlist_unpack(packed, len, &list) != 0)
        list = NULL;
    free(packed);
    return list;
}

int
dsl_resume_parse(const char *token, dsl_resume_t *dr)
{
    nvlist_t *list = token_unpack(token);
    const char *toname;
    int err = 0;

    memset(dr, 0, sizeof(*dr));
    if (list == NULL)
        return SET_ERROR(EINVAL);
    if (nvlist_lookup_uint64(list, "object", &dr->dr_object) != 0 ||
        nvlist_lookup_uint64(list, "offset", &dr->dr_offset) != 0 ||
        nvlist_lookup_uint64(list, "bytes", &dr->dr_bytes) != 0 ||
        nvlist_lookup_uint64(list, "toguid", &dr->dr_toguid) != 0 ||
        nvlist_lookup_string(list, "toname", &toname) != 0 || strlen(toname) >= sizeof(dr->dr_toname))
        err = SET_ERROR(EINVAL);
    else
        snprintf(dr->dr_toname, sizeof(dr->dr_toname), "%s", toname);
    (void)nvlist_lookup_uint64(list, "fromguid", &dr->dr_fromguid);
    for (size_t i = 0; i < ARRAY_SIZE(resume_flags); i++)
        if (nvlist_exists(list, resume_flags[i].rf_token))
            dr->dr_flags |= resume_flags[i].rf_flag;
    nvlist_free(list);
    return err;
}
