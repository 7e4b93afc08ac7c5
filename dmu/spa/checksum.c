/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * checksum.c - which function computes which checksum number, and blocks that carry their own sum.
 *
 * A sum is four numbers, not 32 bytes: a pool of the other byte order stores the same numbers swapped. Hence for each
 * function the question how its digest becomes numbers:
 *
 *   fletcher   sums of words in the writer's byte order
 *   sha256     the digest read big-endian, whoever wrote it
 *   sha512     (SHA-512/256) the digest's bytes as they lie in the writer's memory: little-endian in our pools
 *   xxh3       low half, high half, 0, 0
 *
 * An embedded sum is SHA-256 over the block with a verifier (where the block belongs) in place of the sum. The words
 * of the trailer, verifier included, are in the writer's byte order, which the magic tells.
 *
 * ZFS: module/zfs/zio_checksum.c, sha2_zfs.c; Fletcher itself is in fletcher.c.
 */
#include "checksum.h"

#include <openssl/evp.h>
#include <xxhash.h>

/* ---- SHA ---- */

static pthread_once_t md_once = PTHREAD_ONCE_INIT;
static EVP_MD *md_sha256,
    *md_sha512_256; /* fetched once: a lookup per block would cost more than a small block */

static void
md_init(void)
{
    md_sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    md_sha512_256 = EVP_MD_fetch(NULL, "SHA2-512/256", NULL);
    VERIFY(md_sha256 != NULL && md_sha512_256 != NULL);
}

/* SHA of a then b, as 32 bytes. */
static void
sha(bool is_512, const void *a, size_t an, const void *b, size_t bn, uint64_t digest[4])
{
    pthread_once(&md_once, md_init);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    VERIFY(ctx != NULL);
    VERIFY(EVP_DigestInit_ex2(ctx, is_512 ? md_sha512_256 : md_sha256, NULL) == 1);
    VERIFY(EVP_DigestUpdate(ctx, a, an) == 1);
    VERIFY(EVP_DigestUpdate(ctx, b, bn) == 1);
    VERIFY(EVP_DigestFinal_ex(ctx, (unsigned char *)digest, NULL) == 1);
    EVP_MD_CTX_free(ctx);
}

static void
swap_words(uint64_t w[4])
{
    for (int i = 0; i < 4; i++)
        w[i] = __builtin_bswap64(w[i]);
}

static void
xxh3(const void *buf, size_t n, zio_cksum_t *out)
{
    XXH128_hash_t h = XXH3_128bits(buf, n);

    out->zc_word[0] = h.low64;
    out->zc_word[1] = h.high64;
}

/* ---- Fletcher-2: two interleaved Fletcher sums over pairs of 64-bit words ---- */

static void
fletcher_2(const void *buf, size_t n, bool swap, zio_cksum_t *out)
{
    uint64_t a0 = 0, a1 = 0, b0 = 0, b1 = 0, w[2];

    for (size_t i = 0; i + sizeof(w) <= n; i += sizeof(w)) {
        memcpy(w, (const uint8_t *)buf + i, sizeof(w));
        a0 += swap ? __builtin_bswap64(w[0]) : w[0];
        a1 += swap ? __builtin_bswap64(w[1]) : w[1];
        b0 += a0;
        b1 += a1;
    }
    *out = (zio_cksum_t){{a0, a1, b0, b1}};
}

/* ---- by number ---- */

static int
compute(enum zio_checksum c, const void *buf, size_t n, bool swap, zio_cksum_t *out)
{
    *out = (zio_cksum_t){{0}};
    switch ((int)c) {
    case ZIO_CHECKSUM_OFF:
    case ZIO_CHECKSUM_NOPARITY:
        return 0;
    case ZIO_CHECKSUM_FLETCHER_2:
    case ZIO_CHECKSUM_ZILOG:
        fletcher_2(buf, n, swap, out);
        return 0;
    case ZIO_CHECKSUM_ON:
    case ZIO_CHECKSUM_FLETCHER_4:
    case ZIO_CHECKSUM_ZILOG2:
        if (swap)
            fletcher_4_incremental_byteswap(buf, n, out);
        else
            fletcher_4_incremental_native(buf, n, out);
        return 0;
    case ZIO_CHECKSUM_LABEL:
    case ZIO_CHECKSUM_GANG_HEADER:
    case ZIO_CHECKSUM_SHA256:
        sha(false, buf, n, NULL, 0, out->zc_word);
        swap_words(out->zc_word);
        return 0;
    case ZIO_CHECKSUM_SHA512:
        sha(true, buf, n, NULL, 0, out->zc_word);
        if (swap)
            swap_words(out->zc_word);
        return 0;
    case ZIO_CHECKSUM_XXH3_128:
        xxh3(buf, n, out);
        return 0;
    default:
        return SET_ERROR(ENOTSUP);
    }
}

int
zio_checksum_compute(enum zio_checksum c, const void *buf, size_t n, zio_cksum_t *out)
{
    return compute(c, buf, n, false, out);
}

int
zio_checksum_compute_swapped(enum zio_checksum c, const void *buf, size_t n, zio_cksum_t *out)
{
    return compute(c, buf, n, true, out);
}

bool
zio_cksum_equal(const zio_cksum_t *a, const zio_cksum_t *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static const struct {
    enum zio_checksum number;
    bool property; /* a value people may set */
    const char *name;
} names[] = {
    {ZIO_CHECKSUM_INHERIT, false, "inherit"},
    {ZIO_CHECKSUM_ON, true, "on"},
    {ZIO_CHECKSUM_OFF, true, "off"},
    {ZIO_CHECKSUM_LABEL, false, "label"},
    {ZIO_CHECKSUM_GANG_HEADER, false, "gang_header"},
    {ZIO_CHECKSUM_ZILOG, false, "zilog"},
    {ZIO_CHECKSUM_FLETCHER_2, true, "fletcher2"},
    {ZIO_CHECKSUM_FLETCHER_4, true, "fletcher4"},
    {ZIO_CHECKSUM_SHA256, true, "sha256"},
    {ZIO_CHECKSUM_ZILOG2, false, "zilog2"},
    {ZIO_CHECKSUM_NOPARITY, true, "noparity"},
    {ZIO_CHECKSUM_SHA512, true, "sha512"},
    {ZIO_CHECKSUM_SKEIN, true, "skein"},
    {ZIO_CHECKSUM_EDONR, true, "edonr"},
    {ZIO_CHECKSUM_BLAKE3, true, "blake3"},
    {ZIO_CHECKSUM_XXH3_128, true, "xxh3"},
};

const char *
zio_checksum_name(enum zio_checksum c)
{
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (names[i].number == c)
            return names[i].name;
    return "unknown";
}

int
zio_checksum_by_name(const char *name, enum zio_checksum *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (names[i].property && strcmp(names[i].name, name) == 0) {
            *out = names[i].number;
            return 0;
        }
    }
    return SET_ERROR(EINVAL);
}

/* ---- embedded ---- */

typedef struct zec { /* the trailer */
    uint64_t ze_magic;
    uint64_t ze_word[4];
} zec_t;
_Static_assert(sizeof(zec_t) == ZEC_SIZE, "trailer");

static const size_t zec_sum_size = sizeof(((zec_t *)0)->ze_word);

void
zio_checksum_embed_verifier(void *block, size_t size, const uint64_t verifier[4])
{
    zec_t zec = {.ze_magic = ZEC_MAGIC};
    uint8_t *at = (uint8_t *)block + size - sizeof(zec);

    ASSERT(size > sizeof(zec));
    memcpy(at, &zec, sizeof(zec));
    sha(false, block, size - zec_sum_size, verifier, zec_sum_size, zec.ze_word);
    swap_words(zec.ze_word);
    memcpy(at, &zec, sizeof(zec));
}

void
zio_checksum_embed(void *block, size_t size, uint64_t offset)
{
    zio_checksum_embed_verifier(block, size, (uint64_t[4]){offset, 0, 0, 0});
}

int
zio_checksum_embed_verify(const void *block, size_t size, const uint64_t verifier[4], bool *swapped)
{
    zec_t zec;
    uint64_t place[4], actual[4];

    if (size <= sizeof(zec))
        return SET_ERROR(ECKSUM);
    memcpy(&zec, (const uint8_t *)block + size - sizeof(zec), sizeof(zec));
    memcpy(place, verifier, sizeof(place));
    bool swap = zec.ze_magic == __builtin_bswap64(ZEC_MAGIC);
    if (!swap && zec.ze_magic != ZEC_MAGIC)
        return SET_ERROR(ECKSUM);
    if (swap) {
        swap_words(place);
        swap_words(zec.ze_word);
    }
    sha(false, block, size - zec_sum_size, place, sizeof(place), actual);
    swap_words(actual);
    if (memcmp(actual, zec.ze_word, sizeof(actual)) != 0)
        return SET_ERROR(ECKSUM);
    if (swapped != NULL)
        *swapped = swap;
    return 0;
}
