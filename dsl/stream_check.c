/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream_check.c - the one gate for records: what a record must obey by itself, before anyone acts on it.
 *
 * Behind this gate lengths, types, counts and offsets are in range and sums of them do not wrap; whether an object exists or a
 * change fits it is decided where it is applied (recv_object.c). The rules are those of OpenZFS's receiver, so that a
 * stream that passes here passes there.
 *
 * A message is one clause about the record, in words; the caller adds record number and offset. ZFS: dmu_recv.c.
 */
#include <stdio.h>

#include "stream.h"

#define TEXT 200

static const struct {
    uint64_t fn_bit;
    const char *fn_name;
} feature_names[] = {
    {DMU_BACKUP_FEATURE_DEDUP, "dedup"},
    {DMU_BACKUP_FEATURE_DEDUPPROPS, "dedupprops"},
    {DMU_BACKUP_FEATURE_SA_SPILL, "sa_spill"},
    {DMU_BACKUP_FEATURE_EMBED_DATA, "embed_data"},
    {DMU_BACKUP_FEATURE_LZ4, "lz4"},
    {DMU_BACKUP_FEATURE_LARGE_BLOCKS, "large_blocks"},
    {DMU_BACKUP_FEATURE_RESUMING, "resuming"},
    {DMU_BACKUP_FEATURE_REDACTED, "redacted"},
    {DMU_BACKUP_FEATURE_COMPRESSED, "compressed"},
    {DMU_BACKUP_FEATURE_LARGE_DNODE, "large_dnode"},
    {DMU_BACKUP_FEATURE_ZSTD, "zstd"},
    {DMU_BACKUP_FEATURE_LONGNAME, "longname"},
    {DMU_BACKUP_FEATURE_LARGE_MICROZAP, "large_microzap"},
};

static uint64_t
known_features(void)
{
    uint64_t known = 0;

    for (size_t i = 0; i < ARRAY_SIZE(feature_names); i++)
        known |= feature_names[i].fn_bit;
    return known;
}

static int
unknown_features(uint64_t bits, char *text)
{
    int n = snprintf(text, TEXT, "the stream uses features that are not known here: bit");

    for (int b = 0; b < 56 && n < TEXT - 8; b++) {
        if (bits >> b & 1)
            n += snprintf(text + n, (size_t)(TEXT - n), " %d", b);
    }
    return SET_ERROR(ENOTSUP);
}

static int
check_features(uint64_t features, char *text)
{
    if (features & DMU_BACKUP_FEATURE_RAW) {
        snprintf(text, TEXT,
                 "the stream is encrypted (sent raw), which is not supported; send it without -w");
        return SET_ERROR(ENOTSUP);
    }
    if (features & ~known_features())
        return unknown_features(features & ~known_features(), text);
    return 0;
}

#define BAD(...)                                                                                             \
    do {                                                                                                     \
        snprintf(text, TEXT, __VA_ARGS__);                                                                   \
        return SET_ERROR(EINVAL);                                                                            \
    } while (0)

int
stream_check_begin(const struct drr_begin *drrb, char *text)
{
    uint64_t hdrtype = DMU_GET_STREAM_HDRTYPE(drrb->drr_versioninfo);

    if (drrb->drr_magic != DRR_MAGIC)
        BAD("this is not a send stream");
    if (hdrtype != DMU_SUBSTREAM)
        BAD("the stream has an unknown version (0x%llx)", (unsigned long long)drrb->drr_versioninfo);
    if (drrb->drr_type != DMU_OST_ZFS && drrb->drr_type != DMU_OST_ZVOL && drrb->drr_type != DMU_OST_OTHER)
        BAD("the stream holds neither a file system nor a volume (type %u)", drrb->drr_type);
    if (memchr(drrb->drr_toname, '\0', sizeof(drrb->drr_toname)) == NULL ||
        strchr(drrb->drr_toname, '@') == NULL)
        BAD("the stream does not name a snapshot");
    if (drrb->drr_toguid == 0)
        BAD("the stream's snapshot has no guid");
    if ((drrb->drr_flags & DRR_FLAG_CLONE) && drrb->drr_fromguid == 0)
        BAD("a clone's stream that does not name its origin");
    return check_features(DMU_GET_FEATUREFLAGS(drrb->drr_versioninfo), text);
}

static bool
object_ok(uint64_t object)
{
    return object != 0 && object < DN_MAX_OBJECT;
}

/* Whole sectors, and no more than the stream may hold. */
static bool
size_ok(uint64_t size, uint64_t features)
{
    uint64_t max = features & DMU_BACKUP_FEATURE_LARGE_BLOCKS ? SPA_MAXBLOCKSIZE : SPA_OLD_MAXBLOCKSIZE;

    return size >= SPA_MINBLOCKSIZE && size <= max && size % SPA_MINBLOCKSIZE == 0;
}

static bool
range_ok(uint64_t off, uint64_t len)
{
    return off + len >= off && off + len <= INT64_MAX;
}

static int
check_bonus(const struct drr_object *o, uint32_t slots, char *text)
{
    if (o->drr_bonustype == DMU_OT_NONE ? o->drr_bonuslen != 0 : !dmu_ot_is_valid((uint8_t)o->drr_bonustype))
        BAD("bonus type %u with a length of %u", o->drr_bonustype, o->drr_bonuslen);
    if (o->drr_bonustype > UINT8_MAX)
        BAD("bonus type %u", o->drr_bonustype);
    if (o->drr_bonuslen > DN_BONUS_SIZE(slots))
        BAD("a bonus of %u bytes is larger than its dnode", o->drr_bonuslen);
    return 0;
}

static int
check_object(const struct drr_object *o, uint64_t features, uint32_t begin_flags, char *text)
{
    uint32_t slots = MAX(o->drr_dn_slots, 1);

    if (!object_ok(o->drr_object) || o->drr_object + slots > DN_MAX_OBJECT)
        BAD("object number %llu is out of range", (unsigned long long)o->drr_object);
    if (o->drr_type == DMU_OT_NONE || o->drr_type > UINT8_MAX || !dmu_ot_is_valid((uint8_t)o->drr_type))
        BAD("object type %u is unknown", o->drr_type);
    if (!size_ok(o->drr_blksz, features))
        BAD("block size %u", o->drr_blksz);
    if (slots > DNODE_MAX_SLOTS || (slots > 1 && !(features & DMU_BACKUP_FEATURE_LARGE_DNODE)))
        BAD("a dnode of %u slots", slots);
    if (o->drr_compress >= ZIO_COMPRESS_FUNCTIONS)
        BAD("compression %u is unknown", o->drr_compress);
    if ((o->drr_flags & ~DRR_OBJECT_SPILL) || (o->drr_flags != 0 && !(begin_flags & DRR_FLAG_SPILL_BLOCK)))
        BAD("object flags 0x%x", o->drr_flags);
    if (o->drr_raw_bonuslen != 0 || o->drr_nlevels != 0 || o->drr_nblkptr != 0 || o->drr_indblkshift != 0)
        BAD("fields of an encrypted stream are set");
    return check_bonus(o, slots, text);
}

static int
check_compression(const struct drr_write *w, uint64_t features, char *text)
{
    if (w->drr_compressiontype == 0)
        return 0;
    if (!(features & DMU_BACKUP_FEATURE_COMPRESSED) || w->drr_compressiontype >= ZIO_COMPRESS_FUNCTIONS ||
        w->drr_compressiontype < ZIO_COMPRESS_LZJB || w->drr_compressiontype == ZIO_COMPRESS_EMPTY)
        BAD("compression %u", w->drr_compressiontype);
    if (w->drr_compressed_size == 0 || w->drr_compressed_size > w->drr_logical_size)
        BAD("%llu bytes compressed to %llu", (unsigned long long)w->drr_logical_size,
            (unsigned long long)w->drr_compressed_size);
    return 0;
}

static int
check_write(const struct drr_write *w, uint64_t features, char *text)
{
    if (!object_ok(w->drr_object))
        BAD("object number %llu is out of range", (unsigned long long)w->drr_object);
    if (w->drr_type == DMU_OT_NONE || w->drr_type > UINT8_MAX || !dmu_ot_is_valid((uint8_t)w->drr_type))
        BAD("object type %u is unknown", w->drr_type);
    if (!size_ok(w->drr_logical_size, features))
        BAD("a block of %llu bytes", (unsigned long long)w->drr_logical_size);
    if (!range_ok(w->drr_offset, w->drr_logical_size))
        BAD("offset %llu is out of range", (unsigned long long)w->drr_offset);
    return check_compression(w, features, text);
}

static int
check_free(const struct drr_free *f, char *text)
{
    if (!object_ok(f->drr_object))
        BAD("object number %llu is out of range", (unsigned long long)f->drr_object);
    if (f->drr_length != DMU_OBJECT_END && f->drr_offset + f->drr_length < f->drr_offset)
        BAD("a range of %llu bytes at %llu", (unsigned long long)f->drr_length,
            (unsigned long long)f->drr_offset);
    return 0;
}

static int
check_spill(const struct drr_spill *s, char *text)
{
    if (!object_ok(s->drr_object))
        BAD("object number %llu is out of range", (unsigned long long)s->drr_object);
    if (!size_ok(s->drr_length, 0))
        BAD("a spill block of %llu bytes", (unsigned long long)s->drr_length);
    if (s->drr_compressed_size != 0)
        BAD("a compressed spill block");
    return 0;
}

static int
check_embedded(const struct drr_write_embedded *e, uint64_t features, char *text)
{
    if (!(features & DMU_BACKUP_FEATURE_EMBED_DATA))
        BAD("embedded data in a stream that says it has none");
    if (!object_ok(e->drr_object))
        BAD("object number %llu is out of range", (unsigned long long)e->drr_object);
    if (!size_ok(e->drr_length, DMU_BACKUP_FEATURE_LARGE_BLOCKS) || !range_ok(e->drr_offset, e->drr_length))
        BAD("a block of %llu bytes at %llu", (unsigned long long)e->drr_length,
            (unsigned long long)e->drr_offset);
    if (e->drr_psize > BPE_PAYLOAD_SIZE || e->drr_psize == 0 || e->drr_lsize > e->drr_length ||
        e->drr_lsize == 0)
        BAD("%u bytes embedded in %u", e->drr_lsize, e->drr_psize);
    if (e->drr_etype != 0 || e->drr_compression >= ZIO_COMPRESS_FUNCTIONS ||
        e->drr_compression < ZIO_COMPRESS_OFF)
        BAD("embedded data of kind %u, compression %u", e->drr_etype, e->drr_compression);
    if (e->drr_compression == ZIO_COMPRESS_OFF ? e->drr_psize != e->drr_lsize : e->drr_psize > e->drr_lsize)
        BAD("%u bytes embedded in %u", e->drr_lsize, e->drr_psize);
    return 0;
}

static int
check_byref(const struct drr_write_byref *r, char *text)
{
    if (!object_ok(r->drr_object) || !object_ok(r->drr_refobject))
        BAD("object number %llu is out of range", (unsigned long long)r->drr_object);
    if (!size_ok(r->drr_length, DMU_BACKUP_FEATURE_LARGE_BLOCKS) || !range_ok(r->drr_offset, r->drr_length) ||
        !range_ok(r->drr_refoffset, r->drr_length))
        BAD("%llu bytes at %llu", (unsigned long long)r->drr_length, (unsigned long long)r->drr_offset);
    return 0;
}

int
stream_check(const dmu_replay_record_t *drr, uint64_t features, uint32_t begin_flags, char *text)
{
    const struct drr_freeobjects *fo = &drr->drr_u.drr_freeobjects;

    switch (drr->drr_type) {
    case DRR_OBJECT:
        return check_object(&drr->drr_u.drr_object, features, begin_flags, text);
    case DRR_FREEOBJECTS:
        if (fo->drr_firstobj + fo->drr_numobjs < fo->drr_firstobj)
            BAD("%llu objects from %llu", (unsigned long long)fo->drr_numobjs,
                (unsigned long long)fo->drr_firstobj);
        return 0;
    case DRR_WRITE:
        return check_write(&drr->drr_u.drr_write, features, text);
    case DRR_FREE:
        return check_free(&drr->drr_u.drr_free, text);
    case DRR_REDACT:
        if (!(features & DMU_BACKUP_FEATURE_REDACTED))
            BAD("a redaction in a stream that says it has none");
        return check_free(&drr->drr_u.drr_free, text);
    case DRR_SPILL:
        return check_spill(&drr->drr_u.drr_spill, text);
    case DRR_WRITE_EMBEDDED:
        return check_embedded(&drr->drr_u.drr_write_embedded, features, text);
    case DRR_WRITE_BYREF:
        return check_byref(&drr->drr_u.drr_write_byref, text);
    case DRR_END:
        return 0;
    case DRR_BEGIN:
        BAD("a second beginning inside a stream");
    case DRR_OBJECT_RANGE:
        BAD("a record of an encrypted stream");
    default:
        BAD("record type %u is unknown", drr->drr_type);
    }
}
