/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_base_nvlist.c - name/value lists: round trips, bytes that ZFS wrote, and bytes that nobody should have.
 */
#include "effort.h"
#include "nvlist.h"

#include <check.h>
#include <math.h>
#include <stdio.h>

static uint64_t seed = 88172645463325252ull;

static uint64_t
rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* The front of a package header that OpenZFS wrote (a "zfs send -R -D" stream), cut after the first file system's
 * simple values and closed again: lists in lists, strings with and without padding, integers. */
static const uint8_t zfs_xdr[] = {
    1,   1,   0, 0,    0, 0, 0, 0,    0, 0, 0, 1, /* XDR, version 0, unique names */
    0,   0,   0, 0x24, 0, 0, 0, 0x20, 0, 0, 0, 6,   't', 'o', 's',  'n', 'a', 'p', 0,   0, /* tosnap = "snap" */
    0,   0,   0, 9,    0, 0, 0, 1,    0, 0, 0, 4,   's', 'n', 'a',  'p',                   /**/
    0,   0,   0, 0x7c, 0, 0, 0, 0x30, 0, 0, 0, 5,   'p', 'r', 'o',  'p', 's', 0,   0,   0, /* props = { */
    0,   0,   0, 0x13, 0, 0, 0, 1,    0, 0, 0, 0,   0,   0,   0,    1,                     /**/
    0,   0,   0, 0x28, 0, 0, 0, 0x28, 0, 0, 0, 0xb, 'c', 'o', 'm',  'p', 'r', 'e', 's', 's', 'i',
    'o', 'n', 0,                                                       /**/
    0,   0,   0, 8,    0, 0, 0, 1,    0, 0, 0, 0,   0,   0,   0,    1, /* compression = 1 */
    0,   0,   0, 0x28, 0, 0, 0, 0x28, 0, 0, 0, 0xa, 'r', 'e', 'c',  'o', 'r', 'd', 's', 'i', 'z',
    'e', 0,   0,                                                       /**/
    0,   0,   0, 8,    0, 0, 0, 1,    0, 0, 0, 0,   0,   0,   0x40, 0, /* recordsize = 16384 } */
    0,   0,   0, 0,    0, 0, 0, 0,                                     /**/
    0,   0,   0, 0,    0, 0, 0, 0,                                     /* end */
};

/* { "a" = boolean; "l" = { "u" = uint32 0x01020304 } } as a big-endian machine's native bytes. */
static const uint8_t be_native[] = {
    0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 1,                                        /**/
    0, 0, 0, 24, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,  'a', 0, 0, 0, 0, 0, 0, 0, /**/
    0, 0, 0, 48, 0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 19, 'l', 0, 0, 0, 0, 0, 0, 0, /**/
    0, 0, 0, 0,  0, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9,  0,   0, 0, 0, 0, 0, 0, 0, /* head; memory's leftovers in it */
    0, 0, 0, 32, 0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 6,  'u', 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, /**/
    0, 0, 0, 0,  0, 0, 0, 0,
};

static nvlist_t *
inner(int depth)
{
    nvlist_t *l = nvlist_alloc();

    nvlist_add_uint64(l, "guid", 0x123456789abcdef0ull + (uint64_t)depth);
    nvlist_add_string(l, "path", "/tank/file");
    if (depth > 0) {
        nvlist_t *kids[3] = {inner(depth - 1), nvlist_alloc(), inner(0)};
        nvlist_add_nvlist_array(l, "children", kids, 3);
        nvlist_add_nvlist(l, "first", kids[0]);
        for (int i = 0; i < 3; i++)
            nvlist_free(kids[i]);
    }
    return l;
}

/* A value of every type, arrays of several lengths (0 too). */
static nvlist_t *
everything(void)
{
    nvlist_t *l = inner(2);
    char name[64];
    uint64_t raw[9] = {0};
    const char *strings[] = {"one", "", "a longer string", "x"};

    nvlist_add_boolean(l, "flag");
    nvlist_add_boolean_value(l, "yes", true);
    nvlist_add_boolean_value(l, "no", false);
    nvlist_add_string(l, "empty", "");
    nvlist_add_string(l, "", "no name");
    nvlist_add_value(l, "double", DATA_TYPE_DOUBLE, &(double){M_PI}, 1);
    nvlist_add_value(l, "int8", DATA_TYPE_INT8, &(int8_t){-5}, 1);
    nvlist_add_value(l, "uint8", DATA_TYPE_UINT8, &(uint8_t){251}, 1);
    nvlist_add_value(l, "byte", DATA_TYPE_BYTE, &(uint8_t){0xff}, 1);
    nvlist_add_value(l, "int16", DATA_TYPE_INT16, &(int16_t){-300}, 1);
    nvlist_add_value(l, "uint16", DATA_TYPE_UINT16, &(uint16_t){65000}, 1);
    nvlist_add_value(l, "int32", DATA_TYPE_INT32, &(int32_t){-70000}, 1);
    nvlist_add_value(l, "uint32", DATA_TYPE_UINT32, &(uint32_t){4000000000u}, 1);
    nvlist_add_value(l, "int64", DATA_TYPE_INT64, &(int64_t){-1}, 1);
    nvlist_add_value(l, "hrtime", DATA_TYPE_HRTIME, &(int64_t){-2}, 1);
    for (int t = DATA_TYPE_BYTE_ARRAY; t <= DATA_TYPE_UINT8_ARRAY; t++) {
        bool array =
            (t <= DATA_TYPE_UINT64_ARRAY && t >= DATA_TYPE_BYTE_ARRAY) || t >= DATA_TYPE_BOOLEAN_ARRAY;
        for (uint32_t n = 0; array && n < 9; n += 1 + n / 2) {
            snprintf(name, sizeof(name), "array %d of %u", t, n);
            for (int i = 0; i < 9; i++)
                raw[i] = t == DATA_TYPE_BOOLEAN_ARRAY ? 0x100000001ull : rnd();
            nvlist_add_value(l, name, (data_type_t)t, raw, n);
        }
    }
    nvlist_add_value(l, "strings", DATA_TYPE_STRING_ARRAY, strings, 4);
    nvlist_add_value(l, "no strings", DATA_TYPE_STRING_ARRAY, strings, 0);
    nvlist_add_nvlist_array(l, "no lists", NULL, 0);
    return l;
}

static char *
as_text(const nvlist_t *l)
{
    char *text;
    size_t n;
    FILE *f = open_memstream(&text, &n);

    nvlist_print(f, l, 0);
    fclose(f);
    return text;
}

/* Packs alike in both encodings and prints alike: the lists are the same. */
static void
assert_same(const nvlist_t *a, const nvlist_t *b)
{
    for (int enc = 0; enc < 2; enc++) {
        uint8_t *pa, *pb;
        size_t na, nb;
        nvlist_pack(a, enc, &pa, &na);
        nvlist_pack(b, enc, &pb, &nb);
        ck_assert_uint_eq(na, nb);
        ck_assert_mem_eq(pa, pb, na);
        free(pa);
        free(pb);
    }
    char *ta = as_text(a), *tb = as_text(b);
    ck_assert_str_eq(ta, tb);
    free(ta);
    free(tb);
}

START_TEST(add_lookup_remove)
{
    nvlist_t *l = everything(), *in, **kids;
    uint64_t u;
    const uint64_t *us;
    const uint8_t *bytes;
    const char *s;
    uint32_t n;
    bool b;

    ck_assert_int_eq(nvlist_lookup_uint64(l, "guid", &u), 0);
    ck_assert_uint_eq(u, 0x123456789abcdef2ull);
    ck_assert_int_eq(nvlist_lookup_uint64(l, "path", &u), ENOENT);
    ck_assert_int_eq(nvlist_lookup_uint64(l, "absent", &u), ENOENT);
    ck_assert_int_eq(nvlist_lookup_string(l, "path", &s), 0);
    ck_assert_str_eq(s, "/tank/file");
    ck_assert_int_eq(nvlist_lookup_boolean_value(l, "yes", &b), 0);
    ck_assert(b);
    ck_assert_int_eq(nvlist_lookup_nvlist(l, "first", &in), 0);
    ck_assert_int_eq(nvlist_lookup_nvlist_array(l, "children", &kids, &n), 0);
    ck_assert_uint_eq(n, 3);
    ck_assert(nvlist_empty(kids[1]) && !nvlist_empty(kids[0]));
    assert_same(in, kids[0]);
    nvlist_add_byte_array(l, "bytes", (const uint8_t *)"abc", 3);
    ck_assert_int_eq(nvlist_lookup_byte_array(l, "bytes", &bytes, &n), 0);
    ck_assert_mem_eq(bytes, "abc", n);
    nvlist_add_uint64_array(l, "bytes", (uint64_t[]){1, 2}, 2); /* replaces, with another type */
    ck_assert_int_eq(nvlist_lookup_byte_array(l, "bytes", &bytes, &n), ENOENT);
    ck_assert_int_eq(nvlist_lookup_uint64_array(l, "bytes", &us, &n), 0);
    ck_assert_uint_eq(us[n - 1], 2);
    ck_assert_int_eq(nvlist_remove(l, "bytes"), 0);
    ck_assert_int_eq(nvlist_remove(l, "bytes"), ENOENT);
    ck_assert(nvlist_exists(l, "flag") && !nvlist_exists(l, "bytes"));
    nvlist_add_nvlist(l, "first", in); /* its own child replaces itself */
    nvlist_free(l);
    nvlist_free(NULL);
}
END_TEST

START_TEST(pair_values)
{
    nvlist_t *l = everything();
    const struct {
        const char *name;
        int64_t v;
    } want[] = {{"int8", -5},      {"uint8", 251},         {"byte", 255}, {"int16", -300}, {"uint16", 65000},
                {"int32", -70000}, {"uint32", 4000000000}, {"int64", -1}, {"hrtime", -2},  {"yes", 1},
                {"no", 0},         {"double", 0}};
    size_t seen = 0;

    for (nvpair_t *p = nvlist_next_nvpair(l, NULL); p != NULL; p = nvlist_next_nvpair(l, p))
        for (size_t i = 0; i < ARRAY_SIZE(want); i++)
            if (strcmp(nvpair_name(p), want[i].name) == 0) {
                ck_assert_int_eq((int64_t)nvpair_value_uint64(p), want[i].v);
                seen++;
            }
    ck_assert_uint_eq(seen, ARRAY_SIZE(want));
    nvlist_free(l);
}
END_TEST

START_TEST(round_trip)
{
    nvlist_t *l = everything(), *back, *copy = nvlist_dup(l);
    uint8_t *buf;
    size_t len;

    assert_same(l, copy);
    ck_assert_int_eq(nvlist_unpack(NULL, 0, &back), EINVAL);
    nvlist_pack(l, _i, &buf, &len);
    ck_assert_int_eq(nvlist_unpack(buf, len, &back), 0);
    assert_same(l, back);
    nvlist_free(back);
    buf = xrealloc(buf, len + 100); /* what follows does not matter */
    memset(buf + len, 0xee, 100);
    ck_assert_int_eq(nvlist_unpack(buf, len + 100, &back), 0);
    assert_same(l, back);
    nvlist_free(back);
    free(buf);
    nvlist_free(copy);
    nvlist_free(l);
}
END_TEST

START_TEST(bytes_of_zfs)
{
    nvlist_t *l, *props, *mine = nvlist_alloc();
    uint8_t *buf;
    size_t len;
    uint64_t u;

    ck_assert_int_eq(nvlist_unpack(zfs_xdr, sizeof(zfs_xdr), &l), 0);
    ck_assert_int_eq(nvlist_lookup_nvlist(l, "props", &props), 0);
    ck_assert_int_eq(nvlist_lookup_uint64(props, "recordsize", &u), 0);
    ck_assert_uint_eq(u, 16384);
    nvlist_add_string(mine, "tosnap", "snap");
    nvlist_add_nvlist(mine, "props", props);
    nvlist_pack(mine, NV_ENCODE_XDR, &buf, &len);
    ck_assert_uint_eq(len, sizeof(zfs_xdr));
    ck_assert_mem_eq(buf, zfs_xdr, len);
    free(buf);
    nvlist_free(mine);
    nvlist_free(l);
}
END_TEST

START_TEST(foreign_native)
{
    nvlist_t *l, *in;

    ck_assert_int_eq(nvlist_unpack(be_native, sizeof(be_native), &l), 0);
    ck_assert(nvlist_exists(l, "a"));
    ck_assert_int_eq(nvlist_lookup_nvlist(l, "l", &in), 0);
    nvpair_t *p = nvlist_next_nvpair(in, NULL);
    ck_assert_int_eq(nvpair_type(p), DATA_TYPE_UINT32);
    ck_assert_uint_eq(nvpair_value_uint64(p), 0x01020304);
    nvlist_free(l);
}
END_TEST

/* Every list that a stream's BEGIN carries unpacks and, when XDR, packs to the same bytes. */
static bool
stream_list(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t head[312], *list = NULL, *again;
    nvlist_t *l;
    uint32_t n = 0;
    size_t len;

    if (f == NULL)
        return false;
    ck_assert_uint_eq(fread(head, 1, sizeof(head), f), sizeof(head));
    memcpy(&n, head + 4, 4);
    if (head[8] != 0xac)
        n = __builtin_bswap32(n);
    list = xmalloc(n);
    ck_assert_uint_eq(fread(list, 1, n, f), n);
    fclose(f);
    if (n > 0) {
        ck_assert_msg(nvlist_unpack(list, n, &l) == 0, "%s", path);
        nvlist_pack(l, list[0], &again, &len);
        ck_assert_uint_le(len, n);
        if (list[0] == NV_ENCODE_XDR)
            ck_assert_mem_eq(list + 4, again + 4, len - 4); /* byte 1 is the writer's byte order */
        free(again);
        nvlist_free(l);
    }
    free(list);
    return n > 0;
}

START_TEST(lists_of_streams)
{
    const char *dir = getenv("COWBIRD_STREAMS");
    const char *names[] = {"dedup-package", "big-endian-redacted", "lz4-a.Lec", "zstd-a.Lec", "fuse-xattr"};
    int found = 0;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char *path = xasprintf("%s/%s.zs", dir != NULL ? dir : "../shared/streams", names[i]);
        found += stream_list(path);
        free(path);
    }
    if (found == 0)
        printf("lists_of_streams: skipped, no streams (COWBIRD_STREAMS)\n");
}
END_TEST

/* ---- hostile ---- */

START_TEST(truncations)
{
    nvlist_t *l = everything(), *back;
    uint8_t *buf;
    size_t len;

    nvlist_pack(l, _i, &buf, &len);
    for (size_t n = 0; n < len; n++) {
        uint8_t *cut = xmalloc(n); /* exact, so that a sanitizer sees one byte too many */
        memcpy(cut, buf, n);
        int err = nvlist_unpack(cut, n, &back);
        ck_assert_msg(err != 0, "cut at %zu of %zu", n, len);
        ck_assert_ptr_null(back);
        free(cut);
    }
    free(buf);
    nvlist_free(l);
}
END_TEST

/* Damage a good list in `flips` places and read it; whatever comes of it can be packed, printed and freed. */
static void
damage(const uint8_t *good, size_t len, int flips)
{
    uint8_t *bad = xmalloc(len), *buf;
    nvlist_t *l;
    size_t n;

    memcpy(bad, good, len);
    for (int i = 0; i < effort(flips); i++) {
        size_t at = rnd() % len;
        switch (rnd() % 4) {
        case 0:
            bad[at] = (uint8_t)rnd();
            break;
        case 1:
            memset(bad + at, 0xff, MIN(len - at, 4u));
            break;
        default:
            bad[at] ^= (uint8_t)(1u << rnd() % 8);
        }
    }
    if (nvlist_unpack(bad, len, &l) == 0) {
        free(as_text(l));
        for (int enc = 0; enc < 2; enc++) {
            nvlist_pack(l, enc, &buf, &n);
            free(buf);
        }
        nvlist_free(l);
    }
    free(bad);
}

START_TEST(random_damage)
{
    nvlist_t *l = everything();
    uint8_t *buf;
    size_t len;

    nvlist_pack(l, _i, &buf, &len);
    for (int i = 0; i < effort(20000); i++)
        damage(buf, len, 1 + i % 5);
    for (size_t bit = 0; bit < len * 8; bit++) { /* and every single bit */
        nvlist_t *back;
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (nvlist_unpack(buf, len, &back) == 0)
            nvlist_free(back);
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(buf);
    nvlist_free(l);
}
END_TEST

START_TEST(random_bytes_only)
{
    uint8_t buf[400];
    nvlist_t *l;

    for (int i = 0; i < effort(50000); i++) {
        for (size_t k = 0; k < sizeof(buf); k++)
            buf[k] = rnd() % 3 ? 0 : (uint8_t)(rnd() % 40);
        buf[0] = (uint8_t)(i % 3);
        buf[1] = (uint8_t)(i / 3 % 2);
        if (i % 2)
            memset(buf + 4, 0, 8);
        if (nvlist_unpack(buf, sizeof(buf), &l) == 0)
            nvlist_free(l);
    }
}
END_TEST

START_TEST(too_deep)
{
    for (int depth = 30; depth < 36; depth++) {
        nvlist_t *l = nvlist_alloc(), *back;
        uint8_t *buf;
        size_t len;
        for (int i = 1; i < depth; i++) {
            nvlist_t *outer = nvlist_alloc();
            nvlist_add_nvlist(outer, "l", l);
            nvlist_free(l);
            l = outer;
        }
        nvlist_pack(l, _i, &buf, &len);
        int err = nvlist_unpack(buf, len, &back);
        ck_assert_int_eq(err, depth <= 32 ? 0 : EINVAL);
        nvlist_free(back);
        nvlist_free(l);
        free(buf);
    }
}
END_TEST

START_TEST(many_names)
{
    nvlist_t *l = nvlist_alloc(), *back;
    char name[24];
    uint8_t *buf;
    size_t len;

    for (uint64_t i = 0; i < 200000; i++) {
        snprintf(name, sizeof(name), "%020llu", (unsigned long long)i);
        nvlist_add_uint64(l, name, i);
    }
    nvlist_pack(l, _i, &buf, &len);
    uint64_t t = gethrtime();
    ck_assert_int_eq(nvlist_unpack(buf, len, &back), 0);
    ck_assert_uint_lt(gethrtime() - t, 5000000000ull);
    nvlist_free(back);
    nvlist_free(l);
    free(buf);
}
END_TEST

START_TEST(refused)
{
    uint8_t bad[sizeof(zfs_xdr)];
    nvlist_t *l;

    memcpy(bad, zfs_xdr, sizeof(bad));
    bad[0] = 2; /* encoding */
    ck_assert_int_eq(nvlist_unpack(bad, sizeof(bad), &l), ENOTSUP);
    bad[0] = 1;
    bad[7] = 1; /* version */
    ck_assert_int_eq(nvlist_unpack(bad, sizeof(bad), &l), ENOTSUP);
    bad[7] = 0;
    bad[35] = 99; /* type */
    ck_assert_int_eq(nvlist_unpack(bad, sizeof(bad), &l), ENOTSUP);
    bad[35] = 9;
    bad[39] = 2; /* two strings in a string */
    ck_assert_int_eq(nvlist_unpack(bad, sizeof(bad), &l), EINVAL);
    bad[39] = 1;
    bad[27] = 0; /* a zero byte inside a name */
    ck_assert_int_eq(nvlist_unpack(bad, sizeof(bad), &l), EINVAL);
}
END_TEST

START_TEST(printing)
{
    nvlist_t *l = nvlist_alloc(), *in = nvlist_alloc();

    nvlist_add_string(in, "n\n", "\x1b[0m");
    nvlist_add_boolean(l, "flag");
    nvlist_add_nvlist(l, "in", in);
    nvlist_add_nvlist_array(l, "arr", &in, 1);
    nvlist_add_byte_array(l, "b", (const uint8_t *)"\x01\xff", 2);
    char *text = as_text(l);
    ck_assert_str_eq(text,
                     "flag\nin:\n    n\\x0a: '\\x1b[0m'\narr[0]:\n    n\\x0a: '\\x1b[0m'\nb: [01 ff]\n");
    free(text);
    nvlist_free(in);
    nvlist_free(l);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("nvlist");
    TCase *tc = tcase_create("nvlist");

    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, add_lookup_remove);
    tcase_add_test(tc, pair_values);
    tcase_add_loop_test(tc, round_trip, 0, 2);
    tcase_add_test(tc, bytes_of_zfs);
    tcase_add_test(tc, foreign_native);
    tcase_add_test(tc, lists_of_streams);
    tcase_add_loop_test(tc, truncations, 0, 2);
    tcase_add_loop_test(tc, random_damage, 0, 2);
    tcase_add_test(tc, random_bytes_only);
    tcase_add_loop_test(tc, too_deep, 0, 2);
    tcase_add_loop_test(tc, many_names, 0, 2);
    tcase_add_test(tc, refused);
    tcase_add_test(tc, printing);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
