/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * look_dump.c - a stream's records as text, byte for byte what `zstream dump` prints.
 *
 *   BEGIN record        always, with its list        END checksum = ...    always
 *   OBJECT object = ... one line per record, with -v
 *    03 00 00 00  ...   its payload and "    checksum = ", with -d
 *   SUMMARY:            numbers of records, bytes of payloads
 *
 * The reader here is not the one of a receive (stream.c): it knows no rules but lengths, so that what a receive refuses, encrypted
 * streams too, can be looked at. One record is in memory at a time.
 *
 * Other than zstream: a stream that ends in the middle or is damaged gives exit code 1, and the checksums of streams of the other byte
 * order are verified (zstream finds fault with every one and can read them with -C only). ZFS: cmd/zstream/zstream_dump.c
 */
#include <inttypes.h>
#include <unistd.h>
#include "look.h"
#include "stream.h"

typedef unsigned long long ull;

typedef struct dump {
    cmd_env_t *du_env;
    FILE *du_in;
    const char *du_name;
    int du_flags;
    bool du_open; /* between BEGIN and END */
    bool du_swap;
    zio_cksum_t du_sum;
    uint64_t du_off; /* bytes read */
    uint64_t du_count[DRR_NUMTYPES], du_bytes[DRR_NUMTYPES];
    uint8_t *du_payload;
    uint64_t du_size; /* of the buffer */
} dump_t;

/* ---- one record as text ---- */

static void
print_sum(FILE *f, const char *what, const zio_cksum_t *s)
{
    fprintf(f, "%s = %llx/%llx/%llx/%llx\n", what, (ull)s->zc_word[0], (ull)s->zc_word[1], (ull)s->zc_word[2],
            (ull)s->zc_word[3]);
}

/* One line: up to 16 bytes in hexadecimal, then as text, in groups of four. */
static void
print_hex_line(FILE *f, const uint8_t *p, size_t n)
{
    static const char digit[] = "0123456789abcdef";
    char line[80];

    memset(line, ' ', sizeof(line));
    for (size_t i = 0; i < n; i++) {
        char *hex = line + 3 * i + i / 4 + 1;
        hex[0] = digit[p[i] >> 4];
        hex[1] = digit[p[i] & 15];
        line[54 + i + i / 4] = p[i] >= 0x20 && p[i] < 0x7f ? (char)p[i] : '.';
    }
    size_t end = n > 0 ? 54 + n + (n - 1) / 4 : 0;
    line[end] = '\n';
    fwrite(line, 1, end + 1, f);
}

static void
print_hex(FILE *f, const uint8_t *p, uint64_t n)
{
    for (uint64_t at = 0; at < n; at += 16)
        print_hex_line(f, p + at, MIN(16, n - at));
}

/* The three byte strings of an encrypted block: salt, iv, mac; zero in all others. */
static void
print_crypt(FILE *f, const uint8_t *crypt)
{
    static const struct {
        const char *name;
        int n;
    } part[] = {{" salt = ", 8}, {" iv = ", 12}, {" mac = ", 16}};

    for (size_t i = 0; i < ARRAY_SIZE(part); i++) {
        fputs(part[i].name, f);
        for (int k = 0; k < part[i].n; k++)
            fprintf(f, "%02x", *crypt++);
    }
    fputc('\n', f);
}

static void
print_begin(dump_t *du, const dmu_replay_record_t *drr)
{
    const struct drr_begin *b = &drr->drr_u.drr_begin;
    FILE *f = du->du_env->out;
    nvlist_t *list;

    fprintf(f, "BEGIN record\n\thdrtype = %d\n\tfeatures = %llx\n\tmagic = %llx\n",
            (int)DMU_GET_STREAM_HDRTYPE(b->drr_versioninfo), (ull)DMU_GET_FEATUREFLAGS(b->drr_versioninfo),
            (ull)b->drr_magic);
    fprintf(f, "\tcreation_time = %llx\n\ttype = %u\n\tflags = 0x%x\n\ttoguid = %llx\n\tfromguid = %llx\n",
            (ull)b->drr_creation_time, b->drr_type, b->drr_flags, (ull)b->drr_toguid, (ull)b->drr_fromguid);
    fprintf(f, "\ttoname = ");
    for (size_t i = 0; i < sizeof(b->drr_toname) && b->drr_toname[i] != '\0'; i++)
        fprintf(f, (uint8_t)b->drr_toname[i] < 0x20 ? "\\x%02x" : "%c", (uint8_t)b->drr_toname[i]);
    fprintf(f, "\n\tpayloadlen = %u\n", drr->drr_payloadlen);
    if (du->du_flags & DUMP_RECORDS)
        fputc('\n', f);
    if (drr->drr_payloadlen == 0)
        return;
    if (nvlist_unpack(du->du_payload, drr->drr_payloadlen, &list) != 0) {
        fprintf(f, "\t(a list that cannot be read)\n");
        return;
    }
    nvlist_dump(f, list, 0);
    nvlist_free(list);
}

static void
print_object(FILE *f, const struct drr_object *o)
{
    fprintf(f,
            "OBJECT object = %llu type = %u bonustype = %u blksz = %u bonuslen = %u dn_slots = %u "
            "raw_bonuslen = %u flags = %u maxblkid = %llu indblkshift = %u nlevels = %u nblkptr = %u\n",
            (ull)o->drr_object, o->drr_type, o->drr_bonustype, o->drr_blksz, o->drr_bonuslen, o->drr_dn_slots,
            o->drr_raw_bonuslen, o->drr_flags, (ull)o->drr_maxblkid, o->drr_indblkshift, o->drr_nlevels,
            o->drr_nblkptr);
}

static void
print_write(FILE *f, const struct drr_write *w, uint64_t len)
{
    fprintf(f,
            "WRITE object = %llu type = %u checksum type = %u compression type = %u flags = %u offset = %llu "
            "logical_size = %llu compressed_size = %llu payload_size = %llu props = %llx",
            (ull)w->drr_object, w->drr_type, w->drr_checksumtype, w->drr_compressiontype, w->drr_flags,
            (ull)w->drr_offset, (ull)w->drr_logical_size, (ull)w->drr_compressed_size, (ull)len,
            (ull)w->drr_key.ddk_prop);
    print_crypt(f, w->drr_crypt);
}

static void
print_byref(FILE *f, const struct drr_write_byref *r)
{
    fprintf(f,
            "WRITE_BYREF object = %llu checksum type = %u props = %llx offset = %llu length = %llu "
            "toguid = %llx refguid = %llx refobject = %llu refoffset = %llu\n",
            (ull)r->drr_object, r->drr_checksumtype, (ull)r->drr_key.ddk_prop, (ull)r->drr_offset,
            (ull)r->drr_length, (ull)r->drr_toguid, (ull)r->drr_refguid, (ull)r->drr_refobject,
            (ull)r->drr_refoffset);
}

static void
print_spill(FILE *f, const struct drr_spill *s, uint64_t len)
{
    fprintf(f,
            "SPILL block for object = %llu length = %llu flags = %u compression type = %u "
            "compressed_size = %llu payload_size = %llu",
            (ull)s->drr_object, (ull)s->drr_length, s->drr_flags, s->drr_compressiontype,
            (ull)s->drr_compressed_size, (ull)len);
    print_crypt(f, s->drr_crypt);
}

static void
print_embedded(FILE *f, const struct drr_write_embedded *e)
{
    fprintf(f,
            "WRITE_EMBEDDED object = %llu offset = %llu length = %llu toguid = %llx comp = %u etype = %u "
            "lsize = %u psize = %u\n",
            (ull)e->drr_object, (ull)e->drr_offset, (ull)e->drr_length, (ull)e->drr_toguid,
            e->drr_compression, e->drr_etype, e->drr_lsize, e->drr_psize);
}

static void
print_record(FILE *f, const dmu_replay_record_t *drr, uint64_t len)
{
    const struct drr_freeobjects *fo = &drr->drr_u.drr_freeobjects;
    const struct drr_free *fr = &drr->drr_u.drr_free;
    const struct drr_object_range * or = &drr->drr_u.drr_object_range;

    switch (drr->drr_type) {
    case DRR_OBJECT:
        print_object(f, &drr->drr_u.drr_object);
        break;
    case DRR_FREEOBJECTS:
        fprintf(f, "FREEOBJECTS firstobj = %llu numobjs = %llu\n", (ull)fo->drr_firstobj,
                (ull)fo->drr_numobjs);
        break;
    case DRR_WRITE:
        print_write(f, &drr->drr_u.drr_write, len);
        break;
    case DRR_WRITE_BYREF:
        print_byref(f, &drr->drr_u.drr_write_byref);
        break;
    case DRR_FREE:
        fprintf(f, "FREE object = %llu offset = %llu length = %lld\n", (ull)fr->drr_object,
                (ull)fr->drr_offset, (long long)fr->drr_length);
        break;
    case DRR_SPILL:
        print_spill(f, &drr->drr_u.drr_spill, len);
        break;
    case DRR_WRITE_EMBEDDED:
        print_embedded(f, &drr->drr_u.drr_write_embedded);
        break;
    case DRR_OBJECT_RANGE:
        fprintf(f, "OBJECT_RANGE firstobj = %llu numslots = %llu flags = %u", (ull) or->drr_firstobj,
                (ull) or->drr_numslots, or->drr_flags);
        print_crypt(f, or->drr_crypt);
        break;
    case DRR_REDACT:
        fprintf(f, "REDACT object = %llu offset = %llu length = %llu\n", (ull)fr->drr_object,
                (ull)fr->drr_offset, (ull)fr->drr_length);
        break;
    }
}

static void
print_summary(const dump_t *du)
{
    static const uint8_t order[] = {DRR_BEGIN,          DRR_END,   DRR_OBJECT,
                                    DRR_FREEOBJECTS,    DRR_WRITE, DRR_WRITE_BYREF,
                                    DRR_WRITE_EMBEDDED, DRR_FREE,  DRR_SPILL};
    FILE *f = du->du_env->out;
    uint64_t records = 0, payload = 0;

    fprintf(f, "SUMMARY:\n");
    for (size_t i = 0; i < ARRAY_SIZE(order); i++)
        fprintf(f, "\tTotal DRR_%s records = %llu (%llu bytes)\n", drr_type_name(order[i]),
                (ull)du->du_count[order[i]], (ull)du->du_bytes[order[i]]);
    for (int i = 0; i < DRR_NUMTYPES; i++) {
        records += du->du_count[i];
        payload += du->du_bytes[i];
    }
    fprintf(f, "\tTotal records = %llu\n", (ull)records);
    fprintf(f, "\tTotal payload size = %llu (0x%llx)\n", (ull)payload, (ull)payload);
    fprintf(f, "\tTotal header overhead = %llu (0x%llx)\n", (ull)records * DRR_SIZE, (ull)records * DRR_SIZE);
    fprintf(f, "\tTotal stream length = %llu (0x%llx)\n", (ull)du->du_off, (ull)du->du_off);
}

/* ---- reading ---- */

static int
dump_fail(dump_t *du, const char *what)
{
    fflush(du->du_env->out);
    return failx(du->du_env, "%s: %s (byte %llu)", du->du_name, what, (ull)du->du_off);
}

static bool
dump_read(dump_t *du, void *buf, uint64_t n)
{
    uint64_t got = fread(buf, 1, n, du->du_in);

    du->du_off += got;
    return got == n;
}

static void
dump_sum(dump_t *du, const void *buf, size_t n)
{
    if (du->du_swap)
        fletcher_4_incremental_byteswap(buf, n, &du->du_sum);
    else
        fletcher_4_incremental_native(buf, n, &du->du_sum);
}

static int
dump_wrong_sum(dump_t *du, const char *what, const zio_cksum_t *expected)
{
    fprintf(du->du_env->out, "%s\n", what);
    print_sum(du->du_env->out, "Expected checksum", expected);
    return dump_fail(du, "invalid checksum");
}

/* A BEGIN tells the byte order and starts the sum anew. raw: as it came; drr: in host order. */
static int
dump_header(dump_t *du, const dmu_replay_record_t *raw, dmu_replay_record_t *drr)
{
    bool begin = raw->drr_type == DRR_BEGIN; /* zero both ways */
    uint32_t type = du->du_swap ? __builtin_bswap32(raw->drr_type) : raw->drr_type;
    zio_cksum_t before = du->du_sum, at, *sum = &drr->drr_u.drr_checksum.drr_checksum;
    static const zio_cksum_t none;

    if (begin && drr_begin_order(raw, &du->du_swap) != 0)
        return failx(du->du_env, "Invalid stream (bad magic number)");
    if (begin)
        du->du_sum = none;
    else if (type >= DRR_NUMTYPES)
        return failx(du->du_env, "INVALID record found: type 0x%x", type);
    dump_sum(du, raw, DRR_SUM_OFFSET);
    at = du->du_sum;
    dump_sum(du, (const char *)raw + DRR_SUM_OFFSET, DRR_SIZE - DRR_SUM_OFFSET);
    *drr = *raw;
    if (du->du_swap)
        drr_byteswap(drr, type);
    if (du->du_swap && !begin && (du->du_flags & DUMP_NOSUM)) /* zstream leaves it as it came */
        *sum = raw->drr_u.drr_checksum.drr_checksum;
    if (begin || (du->du_flags & DUMP_NOSUM) || !du->du_open)
        return 0;
    if (!zio_cksum_equal(sum, &none) && !zio_cksum_equal(sum, &at))
        return dump_wrong_sum(du, "Incorrect checksum in record header.", &at);
    if (type == DRR_END && !zio_cksum_equal(&drr->drr_u.drr_end.drr_checksum, &before))
        return dump_wrong_sum(du, "Expected checksum differs from checksum in stream.", &before);
    return 0;
}

static int
dump_payload(dump_t *du, const dmu_replay_record_t *drr, uint64_t *len)
{
    if (drr_payload_size(drr, len) != 0)
        return dump_fail(du, "a record says that more follows it than can");
    if (*len > du->du_size) {
        du->du_payload = xrealloc(du->du_payload, *len);
        du->du_size = *len;
    }
    if (!dump_read(du, du->du_payload, *len))
        return dump_fail(du, "the stream ends in the middle");
    dump_sum(du, du->du_payload, *len);
    return 0;
}

static void
dump_print(dump_t *du, const dmu_replay_record_t *drr, uint64_t len)
{
    FILE *f = du->du_env->out;

    if (drr->drr_type == DRR_BEGIN) {
        print_begin(du, drr);
        return;
    }
    if (drr->drr_type == DRR_END)
        print_sum(f, "END checksum", &drr->drr_u.drr_end.drr_checksum);
    else if (du->du_flags & DUMP_RECORDS)
        print_record(f, drr, len);
    if (!(du->du_flags & DUMP_HEX))
        return;
    print_hex(f, du->du_payload, len);
    print_sum(f, "    checksum", &drr->drr_u.drr_checksum.drr_checksum);
}

/* The next record: 0, 1 after a message, -1 at the end of the file. */
static int
dump_one(dump_t *du)
{
    dmu_replay_record_t raw, drr;
    uint64_t start = du->du_off, len;

    if (!dump_read(du, &raw, sizeof(raw))) {
        if (du->du_off == start && !du->du_open && !ferror(du->du_in))
            return -1;
        return dump_fail(du, ferror(du->du_in) ? strerror(errno) : "the stream ends in the middle");
    }
    if (start == 0 && raw.drr_type != DRR_BEGIN)
        return failx(du->du_env, "Invalid stream (bad magic number)");
    int err = dump_header(du, &raw, &drr);
    if (err == 0)
        err = dump_payload(du, &drr, &len);
    if (err != 0)
        return err;
    du->du_count[drr.drr_type]++;
    du->du_bytes[drr.drr_type] += len;
    dump_print(du, &drr, len);
    if (drr.drr_type == DRR_BEGIN || drr.drr_type == DRR_END)
        du->du_open = drr.drr_type == DRR_BEGIN;
    return ferror(du->du_env->out) || env_canceled(du->du_env) ? 1 : 0;
}

int
look_dump(cmd_env_t *env, const char *file, int flags)
{
    dump_t du = {.du_env = env, .du_name = file, .du_flags = flags | (flags & DUMP_HEX ? DUMP_RECORDS : 0)};
    int fd = look_open(env, file), code;

    if (fd < 0)
        return 1;
    du.du_in = fdopen(fd, "r");
    while ((code = dump_one(&du)) == 0)
        ;
    if (du.du_off > DRR_SIZE || code < 0)
        print_summary(&du);
    free(du.du_payload);
    fclose(du.du_in);
    return code < 0 ? 0 : 1;
}
