/* SPDX-License-Identifier: BSD-2-Clause */
/* streamfile.c - see streamfile.h. System attributes (type 44) stay as they are: so do receivers. */
#include <byteswap.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "streamfile.h"

/* ---- from ours to foreign ---- */

static void
turn64(uint8_t *p, size_t n)
{
    for (size_t i = 0; i + 8 <= n; i += 8) {
        uint64_t v;
        memcpy(&v, p + i, 8);
        v = bswap_64(v);
        memcpy(p + i, &v, 8);
    }
}

static void
turn(uint8_t *p, int size) /* one integer */
{
    for (int i = 0; i < size / 2; i++) {
        uint8_t c = p[i];
        p[i] = p[size - 1 - i];
        p[size - 1 - i] = c;
    }
}

static uint16_t
get16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}

/* ACL entries: the size of each depends on its type and flags, read before they are turned. */
static void
turn_aces(uint8_t *p, size_t n)
{
    for (size_t at = 0; at + 8 <= n;) {
        uint16_t type = get16(p + at), flags = get16(p + at + 2), who = flags & 0x7040;
        size_t size = type >= 5 && type <= 8 ? 48 : who == 0x1000 || who == 0x2040 || who == 0x4000 ? 8 : 16;
        turn(p + at, 2);
        turn(p + at + 2, 2);
        turn(p + at + 4, 4);
        if (size >= 16 && at + 16 <= n)
            turn(p + at + 8, 8);
        at += size;
    }
}

static void
turn_znode(uint8_t *p, size_t n)
{
    if (n < 264)
        return;
    turn64(p, 176);
    uint16_t version = get16(p + 188);
    turn(p + 176, 8);
    turn(p + 184, 4);
    turn(p + 188, 2);
    turn(p + 190, 2);
    if (version == 1)
        turn_aces(p + 192, 72);
}

static void
turn_leaf(uint8_t *p, size_t n)
{
    size_t hashes = n / 32;

    turn64(p, 24);
    turn(p + 24, 4);
    for (size_t i = 28; i < 36; i += 2)
        turn(p + i, 2);
    for (size_t i = 0; i < hashes; i++)
        turn(p + 48 + 2 * i, 2);
    for (size_t at = 48 + 2 * hashes; at + 24 <= n; at += 24) {
        uint8_t *c = p + at;
        if (c[0] == 252) {
            for (int i = 2; i < 12; i += 2)
                turn(c + i, 2);
            turn(c + 12, 4);
            turn(c + 16, 8);
        } else {
            turn(c + 22, 2);
        }
    }
}

static void
turn_micro(uint8_t *p, size_t n)
{
    turn64(p, 64);
    for (size_t at = 64; at + 64 <= n; at += 64) {
        turn(p + at, 8);
        turn(p + at + 8, 4);
        turn(p + at + 12, 2);
    }
}

static void
turn_zap(uint8_t *p, size_t n)
{
    uint64_t kind;

    memcpy(&kind, p, 8);
    if (kind == 0x8000000000000003ULL)
        turn_micro(p, n);
    else if (kind == 0x8000000000000000ULL)
        turn_leaf(p, n);
    else
        turn64(p, n);
}

static void
turn_payload(uint8_t type, uint8_t *p, size_t n)
{
    switch (dmu_ot_byteswap(type)) {
    case DMU_BSWAP_UINT64:
        turn64(p, n);
        break;
    case DMU_BSWAP_ZAP:
        turn_zap(p, n);
        break;
    case DMU_BSWAP_ZNODE:
        turn_znode(p, n);
        break;
    case DMU_BSWAP_ACL:
        turn_aces(p, n);
        break;
    default:
        break;
    }
}

/* ---- loading ---- */

static uint64_t
payload_len(const dmu_replay_record_t *d)
{
    switch (d->drr_type) {
    case DRR_BEGIN:
        return d->drr_payloadlen;
    case DRR_OBJECT:
        return P2ROUNDUP((uint64_t)d->drr_u.drr_object.drr_bonuslen, 8);
    case DRR_WRITE:
        return d->drr_u.drr_write.drr_compressiontype ? d->drr_u.drr_write.drr_compressed_size
                                                      : d->drr_u.drr_write.drr_logical_size;
    case DRR_SPILL:
        return d->drr_u.drr_spill.drr_length;
    case DRR_WRITE_EMBEDDED:
        return P2ROUNDUP((uint64_t)d->drr_u.drr_write_embedded.drr_psize, 8);
    default:
        return 0;
    }
}

int
sf_parse(uint8_t *data, uint64_t size, streamfile_t *sf)
{
    memset(sf, 0, sizeof(*sf));
    sf->sf_data = data;
    sf->sf_size = size;
    for (uint64_t at = 0; at + DRR_SIZE <= size;) {
        sf->sf_recs = xrealloc(sf->sf_recs, (sf->sf_n + 1) * sizeof(sf_rec_t));
        sf_rec_t *r = &sf->sf_recs[sf->sf_n++];
        memcpy(&r->r_drr, data + at, DRR_SIZE);
        if (at == 0)
            sf->sf_foreign = r->r_drr.drr_u.drr_begin.drr_magic != DRR_MAGIC;
        if (sf->sf_foreign)
            drr_byteswap(&r->r_drr, bswap_32(r->r_drr.drr_type));
        r->r_offset = at;
        r->r_payload = data + at + DRR_SIZE;
        r->r_len = payload_len(&r->r_drr);
        at += DRR_SIZE + r->r_len;
        if (at > size)
            return EINVAL;
    }
    return sf->sf_n == 0 ? EINVAL : 0;
}

int
sf_load(const char *path, streamfile_t *sf)
{
    struct stat st;
    int fd = open(path, O_RDONLY);

    memset(sf, 0, sizeof(*sf));
    if (fd < 0)
        return errno;
    VERIFY0(fstat(fd, &st));
    uint8_t *data = xmalloc((size_t)st.st_size + 1);
    for (ssize_t n, at = 0; at < st.st_size; at += n) {
        n = read(fd, data + at, (size_t)(st.st_size - at));
        VERIFY(n > 0);
    }
    close(fd);
    return sf_parse(data, (uint64_t)st.st_size, sf);
}

void
sf_free(streamfile_t *sf)
{
    free(sf->sf_recs);
    free(sf->sf_data);
    memset(sf, 0, sizeof(*sf));
}

/* ---- storing ---- */

static void
turn_record(dmu_replay_record_t *d, uint8_t *payload, uint64_t len)
{
    uint32_t type = d->drr_type;

    if (type == DRR_OBJECT && d->drr_u.drr_object.drr_bonuslen != 0)
        turn_payload((uint8_t)d->drr_u.drr_object.drr_bonustype, payload, d->drr_u.drr_object.drr_bonuslen);
    else if (type == DRR_WRITE && d->drr_u.drr_write.drr_compressiontype == 0)
        turn_payload((uint8_t)d->drr_u.drr_write.drr_type, payload, len);
    drr_byteswap(d, type);
}

uint8_t *
sf_store(const streamfile_t *sf, int flags, uint64_t *size)
{
    bool swap = (flags & SF_SWAP) != 0;
    zio_cksum_t sum = {{0}}, shown;
    uint64_t total = 0;

    for (uint64_t i = 0; i < sf->sf_n; i++)
        total += DRR_SIZE + sf->sf_recs[i].r_len;
    uint8_t *out = xmalloc(total), *p = out;
    for (uint64_t i = 0; i < sf->sf_n; i++) {
        const sf_rec_t *r = &sf->sf_recs[i];
        dmu_replay_record_t *d = (dmu_replay_record_t *)(void *)p;
        uint8_t *payload = p + DRR_SIZE;
        uint32_t type = r->r_drr.drr_type;
        *d = r->r_drr;
        memcpy(payload, r->r_payload, r->r_len);
        if (type == DRR_BEGIN)
            memset(&sum, 0, sizeof(sum));
        if (type == DRR_END && i + 1 < sf->sf_n + (sf->sf_recs[i].r_drr.drr_u.drr_end.drr_toguid != 0))
            d->drr_u.drr_end.drr_checksum = sum; /* not the last of a package, which is all zero */
        if (swap)
            turn_record(d, payload, r->r_len);
        fletcher_4_scalar(d, DRR_SUM_OFFSET, swap, &sum);
        shown = sum;
        if (swap)
            turn64((uint8_t *)&shown, sizeof(shown));
        if (type != DRR_BEGIN)
            memset(&d->drr_u.drr_checksum.drr_checksum, 0, sizeof(shown));
        if (type != DRR_BEGIN && !(flags & SF_NOSUM))
            d->drr_u.drr_checksum.drr_checksum = shown;
        fletcher_4_scalar((uint8_t *)d + DRR_SUM_OFFSET, DRR_SIZE - DRR_SUM_OFFSET, swap, &sum);
        fletcher_4_scalar(payload, r->r_len, swap, &sum);
        p += DRR_SIZE + r->r_len;
    }
    *size = total;
    return out;
}

int
sf_write_file(const char *path, const uint8_t *data, uint64_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

    if (fd < 0)
        return errno;
    for (uint64_t at = 0; at < size;) {
        ssize_t n = write(fd, data + at, size - at);
        if (n < 0)
            return errno;
        at += (uint64_t)n;
    }
    return close(fd) != 0 ? errno : 0;
}
