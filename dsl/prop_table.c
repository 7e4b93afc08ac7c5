/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * prop_table.c - the properties of file systems and snapshots: names, values and their stored numbers, defaults.
 *
 *     "gzip-3"  ── prop_text_to_number ──►  7  ── in the props ZAP ──►  ── prop_number_to_text ──►  "gzip-3"
 *
 * PROP_INDEX: one of pd_values; PROP_NUMBER: a number, K M G T as suffixes; PROP_STRING: as it is. zstd's level is part of the number:
 * algorithm | level << 7.
 *
 * Read-only ones are in the table for their order and names; their values are statistics (stats.c), not properties in a ZAP.
 * ZFS: module/zcommon/zfs_prop.c
 */
#include <ctype.h>
#include <stdio.h>
#include "dsl_impl.h"

#define NAMES(...)   ((const char *const[]){__VA_ARGS__, NULL})
#define NUMBERS(...) ((const uint64_t[]){__VA_ARGS__})
#define ON_OFF       NAMES("on", "off"), NUMBERS(1, 0), "on | off"
#define CACHE        NAMES("all", "none", "metadata"), NUMBERS(2, 0, 1), "all | none | metadata"
#define STAT(name)                                                                                           \
    {                                                                                                        \
        name, PROP_STRING, false, false, "-", NULL, NULL, "<read-only>"                                      \
    }
#define ZSTD(level)  (ZIO_COMPRESS_ZSTD | (uint64_t)(level) << 7)
#define ZSTD_FAST(n) ZSTD(ZIO_ZSTD_LEVEL_FAST + (n))

static const char *const compress_names[] = {
    "on",          "off",         "lzjb",        "gzip",         "gzip-1",      "gzip-2",      "gzip-3",
    "gzip-4",      "gzip-5",      "gzip-6",      "gzip-7",       "gzip-8",      "gzip-9",      "zle",
    "lz4",         "zstd",        "zstd-1",      "zstd-2",       "zstd-3",      "zstd-4",      "zstd-5",
    "zstd-6",      "zstd-7",      "zstd-8",      "zstd-9",       "zstd-10",     "zstd-11",     "zstd-12",
    "zstd-13",     "zstd-14",     "zstd-15",     "zstd-16",      "zstd-17",     "zstd-18",     "zstd-19",
    "zstd-fast",   "zstd-fast-1", "zstd-fast-2", "zstd-fast-3",  "zstd-fast-4", "zstd-fast-5", "zstd-fast-6",
    "zstd-fast-7", "zstd-fast-8", "zstd-fast-9", "zstd-fast-10", NULL};
static const uint64_t compress_numbers[] = {ZIO_COMPRESS_ON,
                                            ZIO_COMPRESS_OFF,
                                            ZIO_COMPRESS_LZJB,
                                            ZIO_COMPRESS_GZIP_6,
                                            ZIO_COMPRESS_GZIP_1,
                                            ZIO_COMPRESS_GZIP_2,
                                            ZIO_COMPRESS_GZIP_3,
                                            ZIO_COMPRESS_GZIP_4,
                                            ZIO_COMPRESS_GZIP_5,
                                            ZIO_COMPRESS_GZIP_6,
                                            ZIO_COMPRESS_GZIP_7,
                                            ZIO_COMPRESS_GZIP_8,
                                            ZIO_COMPRESS_GZIP_9,
                                            ZIO_COMPRESS_ZLE,
                                            ZIO_COMPRESS_LZ4,
                                            ZSTD(0),
                                            ZSTD(1),
                                            ZSTD(2),
                                            ZSTD(3),
                                            ZSTD(4),
                                            ZSTD(5),
                                            ZSTD(6),
                                            ZSTD(7),
                                            ZSTD(8),
                                            ZSTD(9),
                                            ZSTD(10),
                                            ZSTD(11),
                                            ZSTD(12),
                                            ZSTD(13),
                                            ZSTD(14),
                                            ZSTD(15),
                                            ZSTD(16),
                                            ZSTD(17),
                                            ZSTD(18),
                                            ZSTD(19),
                                            ZSTD_FAST(0),
                                            ZSTD_FAST(1),
                                            ZSTD_FAST(2),
                                            ZSTD_FAST(3),
                                            ZSTD_FAST(4),
                                            ZSTD_FAST(5),
                                            ZSTD_FAST(6),
                                            ZSTD_FAST(7),
                                            ZSTD_FAST(8),
                                            ZSTD_FAST(9),
                                            ZSTD_FAST(10)};
_Static_assert(ARRAY_SIZE(compress_names) == ARRAY_SIZE(compress_numbers) + 1, "a number for every name");

/* name, type, settable, inherited, default, values, numbers, help; in the order of `zfs get all` */
static const dsl_prop_desc_t table[] = {
    STAT("type"),
    STAT("creation"),
    STAT("used"),
    STAT("available"),
    STAT("referenced"),
    STAT("compressratio"),
    STAT("mounted"),
    STAT("origin"),
    STAT("receive_resume_token"),
    {"quota", PROP_NUMBER, true, false, "0", NULL, NULL, "<size> | none"},
    {"reservation", PROP_NUMBER, true, false, "0", NULL, NULL, "<size> | none"},
    {"volsize", PROP_NUMBER, true, false, "0", NULL, NULL, "<size>"},
    {"volblocksize", PROP_NUMBER, true, false, "16384", NULL, NULL, "512 to 128k, power of 2"},
    {"recordsize", PROP_NUMBER, true, true, "131072", NULL, NULL, "512 to 16M, power of 2"},
    {"mountpoint", PROP_STRING, true, true, "", NULL, NULL, "<path> | legacy | none"},
    {"sharenfs", PROP_STRING, true, true, "off", NULL, NULL, "on | off | NFS options"},
    {"checksum", PROP_INDEX, true, true, "on",
     NAMES("on", "off", "fletcher2", "fletcher4", "sha256", "noparity", "sha512", "skein", "edonr", "blake3"),
     NUMBERS(1, 2, 6, 7, 8, 10, 11, 12, 13, 14), "on (the pool's)"},
    {"compression", PROP_INDEX, true, true, "on", compress_names, compress_numbers,
     "on | off | lzjb | gzip | gzip-[1-9] | zle | lz4 | zstd | zstd-[1-19] | zstd-fast | zstd-fast-[1-10]"},
    {"atime", PROP_INDEX, true, true, "on", ON_OFF},
    {"devices", PROP_INDEX, true, true, "on", ON_OFF},
    {"exec", PROP_INDEX, true, true, "on", ON_OFF},
    {"setuid", PROP_INDEX, true, true, "on", ON_OFF},
    {"readonly", PROP_INDEX, true, true, "off", ON_OFF},
    {"snapdir", PROP_INDEX, true, true, "hidden", NAMES("hidden", "visible"), NUMBERS(0, 1),
     "hidden | visible"},
    STAT("createtxg"),
    {"canmount", PROP_INDEX, true, false, "on", NAMES("on", "off", "noauto"), NUMBERS(1, 0, 2),
     "on | off | noauto"},
    {"xattr", PROP_INDEX, true, true, "sa", NAMES("sa", "on", "off", "dir"), NUMBERS(2, 2, 0, 1),
     "on | off | dir | sa"},
    {"copies", PROP_INDEX, true, true, "1", NAMES("1", "2", "3"), NUMBERS(1, 2, 3), "1 | 2 | 3"},
    {"version", PROP_NUMBER, true, false, "5", NULL, NULL, "4 | 5"},
    {"utf8only", PROP_INDEX, true, false, "off", ON_OFF},
    {"normalization", PROP_INDEX, true, false, "none", NAMES("none", "formC", "formD", "formKC", "formKD"),
     NUMBERS(0, 0x50, 0x10, 0x60, 0x20), "none | formC | formD | formKC | formKD"},
    {"casesensitivity", PROP_INDEX, true, false, "sensitive", NAMES("sensitive", "insensitive", "mixed"),
     NUMBERS(0, 1, 2), "sensitive | insensitive | mixed"},
    {"refquota", PROP_NUMBER, true, false, "0", NULL, NULL, "<size> | none"},
    {"refreservation", PROP_NUMBER, true, false, "0", NULL, NULL, "<size> | none"},
    STAT("guid"),
    {"primarycache", PROP_INDEX, true, true, "all", CACHE},
    {"secondarycache", PROP_INDEX, true, true, "all", CACHE},
    STAT("usedbysnapshots"),
    STAT("usedbydataset"),
    STAT("usedbychildren"),
    STAT("usedbyrefreservation"),
    {"logbias", PROP_INDEX, true, true, "latency", NAMES("latency", "throughput"), NUMBERS(0, 1),
     "latency | throughput"},
    STAT("objsetid"),
    {"sync", PROP_INDEX, true, true, "standard", NAMES("standard", "always", "disabled"), NUMBERS(0, 1, 2),
     "standard | always | disabled"},
    {"dnodesize", PROP_INDEX, true, true, "legacy", NAMES("legacy", "auto", "1k", "2k", "4k", "8k", "16k"),
     NUMBERS(0, 1, 1024, 2048, 4096, 8192, 16384), "legacy | auto | 1k | 2k | 4k | 8k | 16k"},
    STAT("refcompressratio"),
    STAT("written"),
    STAT("logicalused"),
    STAT("logicalreferenced"),
    {"acltype", PROP_INDEX, true, true, "off", NAMES("off", "nfsv4", "posix", "noacl", "posixacl"),
     NUMBERS(0, 1, 2, 0, 2), "off | posix"},
    {"relatime", PROP_INDEX, true, true, "on", ON_OFF},
};

const dsl_prop_desc_t *
dsl_prop_lookup(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if (strcmp(table[i].pd_name, name) == 0)
            return &table[i];
    return NULL;
}

const dsl_prop_desc_t *
dsl_prop_next(const dsl_prop_desc_t *d)
{
    if (d == NULL)
        return table;
    return d + 1 < table + ARRAY_SIZE(table) ? d + 1 : NULL;
}

bool
prop_is_user(const char *name)
{
    return strchr(name, ':') != NULL;
}

/* Decided when the file system is made and kept inside it, not in its directory. */
bool
prop_is_create_only(const char *name)
{
    return strncmp(name, "vol", 3) == 0 || strcmp(name, "version") == 0 || strcmp(name, "utf8only") == 0 ||
           strcmp(name, "normalization") == 0 || strcmp(name, "casesensitivity") == 0;
}

/* ---- values ---- */

static int
bad(const char **reason, int err, const char *text)
{
    if (reason != NULL)
        *reason = text;
    return SET_ERROR(err);
}

static int
parse_fraction(const char *value, uint64_t unit, uint64_t *number, const char **reason)
{
    double d = strtod(value, NULL) * (double)unit;

    if (!(d < 18446744073709549568.0))
        return bad(reason, EINVAL, "numeric value is too large");
    *number = (uint64_t)d;
    return 0;
}

/* "none", "131072", "1.5G", "10MiB" */
static int
parse_number(const char *value, uint64_t *number, const char **reason)
{
    static const char suffix[] = "BKMGTPE";
    size_t digits = strspn(value, "0123456789"), n = digits;
    const char *s = suffix;

    *number = 0;
    if (strcmp(value, "none") == 0)
        return 0;
    if (value[n] == '.')
        n += 1 + strspn(value + n + 1, "0123456789");
    errno = 0;
    *number = strtoull(value, NULL, 10);
    if (digits == 0 || errno != 0)
        return bad(reason, EINVAL, "bad numeric value");
    const char *end = value + n;
    if (*end != '\0' && ((s = strchr(suffix, toupper((unsigned char)*end))) == NULL ||
                         (end[1] != '\0' && strcasecmp(end + 1, "B") != 0 && strcasecmp(end + 1, "iB") != 0)))
        return bad(reason, EINVAL, "bad numeric value");
    uint64_t shift = 10 * (uint64_t)(s - suffix);
    if (n != digits)
        return parse_fraction(value, 1ULL << shift, number, reason);
    if (*number != 0 && (uint64_t)highbit64(*number) + shift > 64)
        return bad(reason, EINVAL, "numeric value is too large");
    *number <<= shift;
    return 0;
}

int
prop_text_to_number(const dsl_prop_desc_t *d, const char *value, uint64_t *number, const char **reason)
{
    if (d->pd_type == PROP_NUMBER)
        return parse_number(value, number, reason);
    for (int i = 0; d->pd_values[i] != NULL; i++) {
        if (strcmp(d->pd_values[i], value) == 0) {
            *number = d->pd_numbers[i];
            return 0;
        }
    }
    return bad(reason, EINVAL, d->pd_help);
}

void
prop_number_to_text(const dsl_prop_desc_t *d, uint64_t number, char *value, size_t n)
{
    for (int i = 0; d->pd_type == PROP_INDEX && d->pd_values[i] != NULL; i++) {
        if (d->pd_numbers[i] == number) {
            snprintf(value, n, "%s", d->pd_values[i]);
            return;
        }
    }
    snprintf(value, n, "%llu", (unsigned long long)number);
}

/* ---- checks ---- */

static int
check_user(const char *name, const char *value, const char **reason)
{
    if (strlen(name) >= ZAP_MAXNAMELEN - 8)
        return bad(reason, EINVAL, "property name is too long");
    for (const char *s = name; *s != '\0'; s++)
        if (!(islower((unsigned char)*s) || isdigit((unsigned char)*s) || strchr("-_.:", *s) != NULL))
            return bad(reason, EINVAL, "user property names have lower-case letters, digits and - _ . :");
    return strlen(value) < ZAP_MAXVALUELEN ? 0 : bad(reason, EINVAL, "property value is too long");
}

static int
check_mountpoint(const char *value, const char **reason)
{
    if (strcmp(value, "none") == 0 || strcmp(value, "legacy") == 0)
        return 0;
    if (value[0] != '/')
        return bad(reason, EINVAL, "must be an absolute path, 'none', or 'legacy'");
    return strlen(value) < 1024 ? 0 : bad(reason, EINVAL, "pathname is too long");
}

static int
check_value(const char *name, const char *value, uint64_t number, const char **reason)
{
    if (strcmp(name, "recordsize") == 0 &&
        (!ISP2(number) || number < SPA_MINBLOCKSIZE || number > SPA_MAXBLOCKSIZE))
        return bad(reason, EINVAL, "must be a power of 2 from 512 to 16M");
    if (strcmp(name, "checksum") == 0 && number != ZIO_CHECKSUM_ON)
        return bad(reason, ENOTSUP, "only 'on' is supported: the pool has one checksum for all blocks");
    if (strcmp(name, "acltype") == 0 && number == 1)
        return bad(reason, EINVAL, "off | posix");
    if (strcmp(name, "version") == 0 && number != 4 && number != 5)
        return bad(reason, ENOTSUP, "new file systems are of version 4 or 5");
    if (strcmp(name, "volblocksize") == 0 &&
        (!ISP2(number) || number < SPA_MINBLOCKSIZE || number > SPA_OLD_MAXBLOCKSIZE))
        return bad(reason, EINVAL, "must be power of 2 from 512B to 128KB");
    if (strcmp(name, "volsize") == 0 && number == 0)
        return bad(reason, EINVAL, "volume size cannot be zero");
    if (strcmp(name, "mountpoint") == 0)
        return check_mountpoint(value, reason);
    return 0;
}

int
dsl_prop_check(const char *name, const char *value, const char **reason)
{
    const dsl_prop_desc_t *d = dsl_prop_lookup(name);
    uint64_t number = 0;
    int err;

    if (d == NULL)
        return prop_is_user(name) ? check_user(name, value, reason) : bad(reason, EINVAL, "invalid property");
    if (!d->pd_settable)
        return bad(reason, ENOTSUP, "readonly property");
    if (d->pd_type == PROP_STRING) {
        if (strlen(value) >= ZAP_MAXVALUELEN)
            return bad(reason, EINVAL, "property value is too long");
    } else if ((err = prop_text_to_number(d, value, &number, reason)) != 0) {
        return err;
    }
    return check_value(name, value, number, reason);
}
