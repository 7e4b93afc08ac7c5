/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zap_leaf.c - one leaf block of a fat ZAP, as bytes in a buffer.
 *
 *   header | bucket heads | chunk 0 | chunk 1 | ...
 *              |              ^
 *              +--------------+--> entry --> entry --> END      each entry: name chain, value chain of array chunks
 *   lh_freelist --> free --> free --> END
 *
 * INVARIANTS (of a sound leaf)
 *  1. Every chunk is on the free list, in exactly one bucket's chain, or in exactly one entry's name or value chain.
 *  2. All hashes share the prefix; a bucket is the lh_hash-sized group of bits that follows it.
 *  3. A bucket's chain is sorted by cd (when ZLF_ENTRIES_CDSORTED says so; our own always are).
 *
 * None of them is believed when reading: each step checks the chunk's number and type, and a walk that makes more
 * steps than there are chunks has met a loop. Splitting builds both halves afresh, so a damaged leaf is not
 * half-changed by it.  ZFS: zap_leaf.c (which moves entries in place)
 */
#include <stdio.h>
#include "zap_impl.h"

static uint32_t
leaf_nchunks(const zap_leaf_t *l)
{
    return ZAP_LEAF_NUMCHUNKS(l->l_shift);
}

static uint32_t
leaf_nbuckets(const zap_leaf_t *l)
{
    return 1u << ZAP_LEAF_HASH_SHIFT(l->l_shift);
}

static zap_leaf_chunk_t *
leaf_chunk(const zap_leaf_t *l, uint16_t c)
{
    return (zap_leaf_chunk_t *)(l->l_phys->lh_hash + leaf_nbuckets(l)) + c;
}

static zap_leaf_chunk_t *
leaf_chunk_typed(const zap_leaf_t *l, uint16_t c, uint8_t type)
{
    if (c >= leaf_nchunks(l))
        return NULL;
    zap_leaf_chunk_t *ch = leaf_chunk(l, c);
    return ch->l_entry.le_type == type ? ch : NULL;
}

const struct zap_leaf_entry *
zap_leaf_entry(const zap_leaf_t *l, uint16_t c)
{
    zap_leaf_chunk_t *ch = leaf_chunk_typed(l, c, ZAP_CHUNK_ENTRY);
    return ch == NULL ? NULL : &ch->l_entry;
}

static uint32_t
leaf_bucket(const zap_leaf_t *l, uint64_t hash)
{
    uint32_t bits = ZAP_LEAF_HASH_SHIFT(l->l_shift);
    return (hash >> (64 - bits - l->l_phys->lh_prefix_len)) & (leaf_nbuckets(l) - 1);
}

static bool
leaf_owns_hash(const zap_leaf_t *l, uint64_t hash)
{
    uint32_t n = l->l_phys->lh_prefix_len;
    return (hash << l->l_hashbits) == 0 && (n == 0 || hash >> (64 - n) == l->l_phys->lh_prefix);
}

void
zap_leaf_format(zap_leaf_t *l, uint64_t prefix, uint16_t prefix_len, bool sorted)
{
    zap_leaf_phys_t *p = l->l_phys;
    uint32_t n = leaf_nchunks(l);
    memset(p, 0, 1u << l->l_shift);
    p->lh_block_type = ZBT_LEAF;
    p->lh_magic = ZAP_LEAF_MAGIC;
    p->lh_prefix = prefix;
    p->lh_prefix_len = prefix_len;
    p->lh_flags = sorted ? ZLF_ENTRIES_CDSORTED : 0;
    memset(p->lh_hash, 0xff, leaf_nbuckets(l) * sizeof(uint16_t));
    p->lh_nfree = n;
    for (uint32_t c = 0; c < n; c++) {
        leaf_chunk(l, c)->l_free.lf_type = ZAP_CHUNK_FREE;
        leaf_chunk(l, c)->l_free.lf_next = c + 1 < n ? c + 1 : ZAP_CHAIN_END;
    }
}

int
zap_leaf_check(const zap_leaf_t *l, uint64_t idx, uint64_t shift)
{
    const zap_leaf_phys_t *p = l->l_phys;
    if (p->lh_block_type != ZBT_LEAF || p->lh_magic != ZAP_LEAF_MAGIC || p->lh_prefix_len > shift)
        return SET_ERROR(EIO);
    if (idx >> (shift - p->lh_prefix_len) != p->lh_prefix || p->lh_nfree > leaf_nchunks(l))
        return SET_ERROR(EIO);
    return 0;
}

/* ---- arrays: bytes in a chain of chunks ---- */

static uint32_t
array_nchunks(uint64_t bytes)
{
    return (bytes + ZAP_LEAF_ARRAY_BYTES - 1) / ZAP_LEAF_ARRAY_BYTES;
}

static int
array_read(const zap_leaf_t *l, uint16_t c, void *out, size_t n)
{
    for (uint8_t *p = out, *end = p + n; p < end; p += ZAP_LEAF_ARRAY_BYTES) {
        const zap_leaf_chunk_t *ch = leaf_chunk_typed(l, c, ZAP_CHUNK_ARRAY);
        if (ch == NULL)
            return SET_ERROR(EIO);
        memcpy(p, ch->l_array.la_array, MIN((size_t)(end - p), (size_t)ZAP_LEAF_ARRAY_BYTES));
        c = ch->l_array.la_next;
    }
    return 0;
}

static bool
array_equals(const zap_leaf_t *l, uint16_t c, const char *s, size_t n)
{
    while (n > 0) {
        const zap_leaf_chunk_t *ch = leaf_chunk_typed(l, c, ZAP_CHUNK_ARRAY);
        size_t take = MIN(n, (size_t)ZAP_LEAF_ARRAY_BYTES);
        if (ch == NULL || memcmp(ch->l_array.la_array, s, take) != 0)
            return false;
        s += take;
        n -= take;
        c = ch->l_array.la_next;
    }
    return true;
}

/* ZAP_CHAIN_END when the free list is damaged or empty. */
static uint16_t
chunk_alloc(zap_leaf_t *l)
{
    uint16_t c = l->l_phys->lh_freelist;
    zap_leaf_chunk_t *ch = leaf_chunk_typed(l, c, ZAP_CHUNK_FREE);
    if (ch == NULL || l->l_phys->lh_nfree == 0)
        return ZAP_CHAIN_END;
    l->l_phys->lh_freelist = ch->l_free.lf_next;
    l->l_phys->lh_nfree--;
    memset(ch, 0, sizeof(*ch));
    return c;
}

static void
chunk_free(zap_leaf_t *l, uint16_t c)
{
    zap_leaf_chunk_t *ch = leaf_chunk(l, c);
    memset(ch, 0, sizeof(*ch));
    ch->l_free.lf_type = ZAP_CHUNK_FREE;
    ch->l_free.lf_next = l->l_phys->lh_freelist;
    l->l_phys->lh_freelist = c;
    l->l_phys->lh_nfree++;
}

/* Would n chunks come off the free list? (A loop in it shows as a chunk that is not free any more, while allocating.) */
static bool
freelist_has(const zap_leaf_t *l, uint32_t n)
{
    uint16_t c = l->l_phys->lh_freelist;
    for (; n > 0; n--) {
        const zap_leaf_chunk_t *ch = leaf_chunk_typed(l, c, ZAP_CHUNK_FREE);
        if (ch == NULL)
            return false;
        c = ch->l_free.lf_next;
    }
    return true;
}

static int
array_create(zap_leaf_t *l, const void *data, size_t n, uint16_t *head)
{
    const uint8_t *src = data;
    *head = ZAP_CHAIN_END;
    for (uint16_t *link = head; n > 0;) {
        uint16_t c = chunk_alloc(l);
        size_t take = MIN(n, (size_t)ZAP_LEAF_ARRAY_BYTES);
        if (c == ZAP_CHAIN_END)
            return SET_ERROR(EIO);
        struct zap_leaf_array *la = &leaf_chunk(l, c)->l_array;
        la->la_type = ZAP_CHUNK_ARRAY;
        memcpy(la->la_array, src, take);
        la->la_next = ZAP_CHAIN_END;
        *link = c;
        link = &la->la_next;
        src += take;
        n -= take;
    }
    return 0;
}

/* The length of a chain of arrays, which must not be longer than the leaf; -1: damaged. */
static int
array_length(const zap_leaf_t *l, uint16_t c)
{
    for (uint32_t n = 0; n <= leaf_nchunks(l); n++) {
        if (c == ZAP_CHAIN_END)
            return (int)n;
        const zap_leaf_chunk_t *ch = leaf_chunk_typed(l, c, ZAP_CHUNK_ARRAY);
        if (ch == NULL)
            return -1;
        c = ch->l_array.la_next;
    }
    return -1;
}

static void
array_free(zap_leaf_t *l, uint16_t *head)
{
    uint16_t c = *head;
    *head = ZAP_CHAIN_END;
    while (c != ZAP_CHAIN_END) {
        zap_leaf_chunk_t *ch = leaf_chunk_typed(l, c, ZAP_CHUNK_ARRAY);
        if (ch == NULL)
            return; /* two chains shared it: a damaged leaf; what is lost is free space */
        uint16_t next = ch->l_array.la_next;
        chunk_free(l, c);
        c = next;
    }
}

/* ---- values: big-endian integers ---- */

static uint64_t
load_be(const uint8_t *p, uint64_t n)
{
    uint64_t v = 0;
    for (uint64_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

static void
store_be(uint8_t *p, uint64_t v, uint64_t n)
{
    for (uint64_t i = n; i > 0; i--, v >>= 8)
        p[i - 1] = (uint8_t)v;
}

static uint64_t
load_host(const void *p, uint64_t size, uint64_t i)
{
    switch (size) {
    case 1:
        return ((const uint8_t *)p)[i];
    case 2:
        return ((const uint16_t *)p)[i];
    case 4:
        return ((const uint32_t *)p)[i];
    default:
        return ((const uint64_t *)p)[i];
    }
}

static void
store_host(void *p, uint64_t size, uint64_t i, uint64_t v)
{
    switch (size) {
    case 1:
        ((uint8_t *)p)[i] = (uint8_t)v;
        break;
    case 2:
        ((uint16_t *)p)[i] = (uint16_t)v;
        break;
    case 4:
        ((uint32_t *)p)[i] = (uint32_t)v;
        break;
    default:
        ((uint64_t *)p)[i] = v;
    }
}

static bool
intlen_valid(uint64_t n)
{
    return n == 1 || n == 2 || n == 4 || n == 8;
}

int
zap_leaf_value(const zap_leaf_t *l, uint16_t c, zap_value_t *zv)
{
    const struct zap_leaf_entry *le = zap_leaf_entry(l, c);
    if (le == NULL || !intlen_valid(le->le_value_intlen))
        return SET_ERROR(EIO);
    if (le->le_value_intlen > zv->zv_intlen)
        return SET_ERROR(EINVAL);
    uint64_t len = le->le_value_intlen, n = MIN(zv->zv_num, le->le_value_numints);
    uint8_t small[64] = {0}, *raw = n * len <= sizeof(small) ? small : xzalloc(n * len);
    int err = array_read(l, le->le_value_chunk, raw, n * len);
    if (err == 0) {
        for (uint64_t i = 0; i < n; i++)
            store_host(zv->zv_buf, zv->zv_intlen, i, load_be(raw + i * len, len));
        if (n < le->le_value_numints)
            err = SET_ERROR(EOVERFLOW);
    }
    if (raw != small)
        free(raw);
    return err;
}

static int
value_create(zap_leaf_t *l, const zap_value_t *zv, uint16_t *head)
{
    uint8_t raw[ZAP_MAXVALUELEN];
    for (uint64_t i = 0; i < zv->zv_num; i++)
        store_be(raw + i * zv->zv_intlen, load_host(zv->zv_buf, zv->zv_intlen, i), zv->zv_intlen);
    return array_create(l, raw, zv->zv_num * zv->zv_intlen, head);
}

/* ---- names ---- */

/* A name of u64 words becomes hex text, as much of it as there is room for. */
static int
name_of_words(const zap_leaf_t *l, const struct zap_leaf_entry *le, char *name, size_t room)
{
    uint8_t raw[256] = {0};
    size_t at = 0;
    if (le->le_name_numints > sizeof(raw) / 8)
        return SET_ERROR(EIO);
    int err = array_read(l, le->le_name_chunk, raw, le->le_name_numints * 8);
    name[0] = 0;
    for (uint32_t i = 0; i < le->le_name_numints && err == 0 && at + 18 < room; i++)
        at += (size_t)snprintf(name + at, room - at, "%s%016llx", i > 0 ? " " : "",
                               (unsigned long long)load_be(raw + (size_t)8 * i, 8));
    return err;
}

int
zap_leaf_name(const zap_leaf_t *l, uint16_t c, char *name, size_t room)
{
    const struct zap_leaf_entry *le = zap_leaf_entry(l, c);
    if (le == NULL)
        return SET_ERROR(EIO);
    if (l->l_namesize != 1)
        return name_of_words(l, le, name, room);
    size_t n = le->le_name_numints;
    if (n == 0 || n > room)
        return SET_ERROR(EIO);
    int err = array_read(l, le->le_name_chunk, name, n);
    return err == 0 && strnlen(name, n) != n - 1 ? SET_ERROR(EIO) : err;
}

/* ---- finding ---- */

static bool
entry_is(const zap_leaf_t *l, const struct zap_leaf_entry *le, const zap_name_t *zn)
{
    return (le->le_hash == zn->zn_hash || !zn->zn_hashed) && le->le_name_numints == zn->zn_len &&
           array_equals(l, le->le_name_chunk, zn->zn_name, zn->zn_len);
}

/* *steps counts down over a whole call: its end means a loop. */
static int
bucket_lookup(const zap_leaf_t *l, uint32_t bucket, const zap_name_t *zn, uint32_t *steps, uint16_t *chunk)
{
    for (uint16_t c = l->l_phys->lh_hash[bucket]; c != ZAP_CHAIN_END;) {
        const struct zap_leaf_entry *le = zap_leaf_entry(l, c);
        if (le == NULL || (*steps)-- == 0)
            return SET_ERROR(EIO);
        if (entry_is(l, le, zn)) {
            *chunk = c;
            return 0;
        }
        c = le->le_next;
    }
    return ENOENT;
}

int
zap_leaf_lookup(const zap_leaf_t *l, const zap_name_t *zn, uint16_t *chunk)
{
    uint32_t steps = leaf_nchunks(l);
    int err = ENOENT;
    if (l->l_namesize != 1)
        return SET_ERROR(EINVAL);
    if (zn->zn_hashed)
        return bucket_lookup(l, leaf_bucket(l, zn->zn_hash), zn, &steps, chunk);
    for (uint32_t b = 0; b < leaf_nbuckets(l) && err == ENOENT; b++)
        err = bucket_lookup(l, b, zn, &steps, chunk);
    return err;
}

static int
order(uint64_t h1, uint32_t cd1, uint64_t h2, uint32_t cd2)
{
    return h1 != h2 ? AVL_CMP(h1, h2) : AVL_CMP(cd1, cd2);
}

/* The least entry of a bucket that is not before (hash, cd). ENOENT */
static int
bucket_closest(const zap_leaf_t *l, uint32_t bucket, uint64_t hash, uint32_t cd, uint32_t *steps,
               uint16_t *chunk)
{
    const struct zap_leaf_entry *best = NULL;
    for (uint16_t c = l->l_phys->lh_hash[bucket]; c != ZAP_CHAIN_END;) {
        const struct zap_leaf_entry *le = zap_leaf_entry(l, c);
        if (le == NULL || (*steps)-- == 0 || !leaf_owns_hash(l, le->le_hash) ||
            leaf_bucket(l, le->le_hash) != bucket)
            return SET_ERROR(EIO);
        if (order(le->le_hash, le->le_cd, hash, cd) >= 0 &&
            (best == NULL || order(le->le_hash, le->le_cd, best->le_hash, best->le_cd) < 0)) {
            best = le;
            *chunk = c;
        }
        c = le->le_next;
    }
    return best == NULL ? ENOENT : 0;
}

int
zap_leaf_closest(const zap_leaf_t *l, uint64_t hash, uint32_t cd, uint16_t *chunk)
{
    uint32_t steps = leaf_nchunks(l);
    uint32_t b = leaf_owns_hash(l, hash) ? leaf_bucket(l, hash) : 0;
    int err = ENOENT;
    for (; b < leaf_nbuckets(l) && err == ENOENT; b++)
        err = bucket_closest(l, b, hash, cd, &steps, chunk);
    return err;
}

bool
zap_leaf_one_hash(const zap_leaf_t *l, uint64_t hash)
{
    for (uint32_t c = 0; c < leaf_nchunks(l); c++) {
        const struct zap_leaf_entry *le = zap_leaf_entry(l, c);
        if (le != NULL && le->le_hash != hash)
            return false;
    }
    return true;
}

/* ---- changing ---- */

/* Hang an entry into its bucket, before the first of a greater cd. */
static int
entry_link(zap_leaf_t *l, uint16_t c)
{
    struct zap_leaf_entry *e = &leaf_chunk(l, c)->l_entry;
    uint16_t *link = &l->l_phys->lh_hash[leaf_bucket(l, e->le_hash)];
    for (uint32_t steps = leaf_nchunks(l); *link != ZAP_CHAIN_END; steps--) {
        zap_leaf_chunk_t *ch = leaf_chunk_typed(l, *link, ZAP_CHUNK_ENTRY);
        if (ch == NULL || steps == 0)
            return SET_ERROR(EIO);
        if (ch->l_entry.le_cd > e->le_cd)
            break;
        link = &ch->l_entry.le_next;
    }
    e->le_next = *link;
    *link = c;
    return 0;
}

/* Of a sorted chain one pass finds the least unused cd and a second one confirms it; others may take more. */
static int
lowest_unused_cd(const zap_leaf_t *l, uint64_t hash, uint32_t *cdp)
{
    uint32_t cd = 0, before, steps = 4 * leaf_nchunks(l) * 64;
    do {
        before = cd;
        for (uint16_t c = l->l_phys->lh_hash[leaf_bucket(l, hash)]; c != ZAP_CHAIN_END;) {
            const struct zap_leaf_entry *le = zap_leaf_entry(l, c);
            if (le == NULL || steps-- == 0)
                return SET_ERROR(EIO);
            cd += le->le_hash == hash && le->le_cd == cd;
            c = le->le_next;
        }
    } while (cd != before);
    *cdp = cd;
    return 0;
}

static int
leaf_room(const zap_leaf_t *l, uint32_t need)
{
    if (need > leaf_nchunks(l))
        return SET_ERROR(E2BIG);
    if (need > l->l_phys->lh_nfree)
        return EAGAIN;
    return freelist_has(l, need) ? 0 : SET_ERROR(EIO);
}

static int
entry_fill(zap_leaf_t *l, struct zap_leaf_entry *e, const void *name, size_t namelen, const zap_value_t *zv)
{
    int err = array_create(l, name, namelen, &e->le_name_chunk);
    if (err != 0)
        return err;
    e->le_name_numints = namelen / l->l_namesize;
    e->le_value_intlen = zv->zv_intlen;
    e->le_value_numints = zv->zv_num;
    return value_create(l, zv, &e->le_value_chunk);
}

int
zap_leaf_add(zap_leaf_t *l, const zap_name_t *zn, uint32_t cd, const zap_value_t *zv)
{
    int err = leaf_room(l, 1 + array_nchunks(zn->zn_len) + array_nchunks(zv->zv_num * zv->zv_intlen));
    if (err == 0 && cd == ZAP_NEED_CD)
        err = lowest_unused_cd(l, zn->zn_hash, &cd);
    if (err != 0)
        return err;
    uint16_t c = chunk_alloc(l);
    if (c == ZAP_CHAIN_END)
        return SET_ERROR(EIO);
    struct zap_leaf_entry *e = &leaf_chunk(l, c)->l_entry;
    e->le_type = ZAP_CHUNK_ENTRY;
    e->le_hash = zn->zn_hash;
    e->le_cd = cd;
    err = entry_fill(l, e, zn->zn_name, zn->zn_len, zv);
    if (err == 0)
        err = entry_link(l, c);
    if (err == 0)
        l->l_phys->lh_nentries++;
    return err;
}

int
zap_leaf_update(zap_leaf_t *l, uint16_t c, const zap_value_t *zv)
{
    struct zap_leaf_entry *e = &leaf_chunk(l, c)->l_entry;
    uint32_t need = array_nchunks(zv->zv_num * zv->zv_intlen);
    int have = array_length(l, e->le_value_chunk);
    if (have < 0)
        return SET_ERROR(EIO);
    if (need > (uint32_t)have) {
        int err = leaf_room(l, need - (uint32_t)have);
        if (err != 0)
            return err;
    }
    array_free(l, &e->le_value_chunk);
    e->le_value_intlen = zv->zv_intlen;
    e->le_value_numints = zv->zv_num;
    return value_create(l, zv, &e->le_value_chunk);
}

int
zap_leaf_remove(zap_leaf_t *l, uint16_t c)
{
    struct zap_leaf_entry *e = &leaf_chunk(l, c)->l_entry;
    uint16_t *link = &l->l_phys->lh_hash[leaf_bucket(l, e->le_hash)];
    if (array_length(l, e->le_name_chunk) < 0 || array_length(l, e->le_value_chunk) < 0 ||
        l->l_phys->lh_nentries == 0)
        return SET_ERROR(EIO);
    for (uint32_t steps = leaf_nchunks(l); *link != c; steps--) {
        zap_leaf_chunk_t *ch = leaf_chunk_typed(l, *link, ZAP_CHUNK_ENTRY);
        if (ch == NULL || steps == 0)
            return SET_ERROR(EIO);
        link = &ch->l_entry.le_next;
    }
    *link = e->le_next;
    array_free(l, &e->le_name_chunk);
    array_free(l, &e->le_value_chunk);
    chunk_free(l, c);
    l->l_phys->lh_nentries--;
    return 0;
}

/* ---- splitting ---- */

static int
array_copy(const zap_leaf_t *from, uint16_t c, zap_leaf_t *to, size_t n, uint16_t *head)
{
    uint8_t *raw = xmalloc(n + 1);
    int err =
        n > (size_t)leaf_nchunks(from) * ZAP_LEAF_ARRAY_BYTES ? SET_ERROR(EIO) : array_read(from, c, raw, n);
    if (err == 0)
        err = array_create(to, raw, n, head);
    free(raw);
    return err;
}

static int
entry_copy(const zap_leaf_t *from, const struct zap_leaf_entry *le, zap_leaf_t *to)
{
    uint16_t c = chunk_alloc(to);
    if (c == ZAP_CHAIN_END)
        return SET_ERROR(EIO);
    struct zap_leaf_entry *e = &leaf_chunk(to, c)->l_entry;
    *e = *le;
    int err = array_copy(from, le->le_name_chunk, to, (size_t)le->le_name_numints * from->l_namesize,
                         &e->le_name_chunk);
    if (err == 0)
        err = array_copy(from, le->le_value_chunk, to, (size_t)le->le_value_numints * le->le_value_intlen,
                         &e->le_value_chunk);
    if (err == 0)
        err = entry_link(to, c);
    to->l_phys->lh_nentries++;
    return err;
}

/* All entries of one bucket to half[0] or half[1] by the bit at hashbit. */
static int
bucket_split(const zap_leaf_t *l, uint32_t bucket, uint64_t hashbit, zap_leaf_t *half[2], uint32_t *steps)
{
    int err = 0;
    for (uint16_t c = l->l_phys->lh_hash[bucket]; c != ZAP_CHAIN_END && err == 0;) {
        const struct zap_leaf_entry *le = zap_leaf_entry(l, c);
        if (le == NULL || (*steps)-- == 0 || !leaf_owns_hash(l, le->le_hash) ||
            !intlen_valid(le->le_value_intlen))
            return SET_ERROR(EIO);
        err = entry_copy(l, le, half[(le->le_hash & hashbit) != 0]);
        c = le->le_next;
    }
    return err;
}

int
zap_leaf_split(zap_leaf_t *l, zap_leaf_t *nl)
{
    zap_leaf_phys_t *old = l->l_phys;
    uint32_t len = old->lh_prefix_len + 1, steps = leaf_nchunks(l);
    bool sorted = (old->lh_flags & ZLF_ENTRIES_CDSORTED) != 0;
    zap_leaf_t low = *l, *half[2] = {&low, nl};
    int err = 0;
    low.l_phys = xmalloc(1u << l->l_shift);
    zap_leaf_format(&low, old->lh_prefix << 1, len, sorted);
    zap_leaf_format(nl, old->lh_prefix << 1 | 1, len, sorted);
    for (uint32_t b = 0; b < leaf_nbuckets(l) && err == 0; b++)
        err = bucket_split(l, b, 1ULL << (64 - len), half, &steps);
    if (err == 0)
        memcpy(old, low.l_phys, 1u << l->l_shift);
    free(low.l_phys);
    return err;
}
