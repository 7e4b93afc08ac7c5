/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * name.c - which names datasets and snapshots may have.
 *
 *     tank/home/user name@2024-05-01
 *     |--| pool: begins with a letter; not mirror..., raidz..., draid..., spare..., log, c0 to c9
 *          |--| component: letters, digits and - _ . : and space; not "." or ".."
 *                         |--------| snapshot: the same
 *
 * The whole is at most 255 bytes. Names with '%' or beginning with '$' are the pool's own ("$MOS", "%recv"): they exist, but nobody may
 * give them. ZFS: module/zcommon/zfs_namecheck.c
 */
#include <stdio.h>
#include "dsl_impl.h"

static int
bad(const char **reason, const char *text)
{
    if (reason != NULL)
        *reason = text;
    return SET_ERROR(EINVAL);
}

static bool
valid_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-_.: ", c) != NULL);
}

static int
check_component(const char *s, size_t n, bool internal, const char **reason)
{
    if (n == 0)
        return bad(reason, "empty component or misplaced '@' or '/'");
    if ((n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.'))
        return bad(reason, "self reference, '.' and '..' are no names");
    for (size_t i = 0; i < n; i++)
        if (!valid_char(s[i]) && !(internal && (s[i] == '%' || s[i] == '$')))
            return bad(reason, "invalid character (allowed: letters, digits, '-', '_', '.', ':' and space)");
    return 0;
}

int
name_check_component(const char *s, size_t n, bool internal)
{
    return check_component(s, n, internal, NULL);
}

static bool
begins(const char *s, size_t n, const char *word)
{
    return n >= strlen(word) && strncmp(s, word, strlen(word)) == 0;
}

static int
check_pool(const char *s, size_t n, const char **reason)
{
    if (n > 0 && !((s[0] >= 'a' && s[0] <= 'z') || (s[0] >= 'A' && s[0] <= 'Z')))
        return bad(reason, "name must begin with a letter");
    if (begins(s, n, "mirror") || begins(s, n, "raidz") || begins(s, n, "draid") || begins(s, n, "spare") ||
        (n == 3 && begins(s, n, "log")))
        return bad(reason, "name is reserved");
    if (n >= 2 && s[0] == 'c' && s[1] >= '0' && s[1] <= '9')
        return bad(reason, "name is reserved (c0 to c9 are disks)");
    return 0;
}

static int
check_name(const char *name, bool internal, const char **reason)
{
    const char *at = strchr(name, '@');
    size_t len = strlen(name), fslen = at != NULL ? (size_t)(at - name) : len;
    int err = 0;

    if (len >= ZFS_MAX_DATASET_NAME_LEN) {
        (void)bad(reason, "name is too long (255 bytes at most)");
        return SET_ERROR(ENAMETOOLONG);
    }
    for (size_t i = 0, n; err == 0 && i <= fslen; i += n + 1) {
        n = strcspn(name + i, "/@");
        err = check_component(name + i, n, internal, reason);
        if (err == 0 && i == 0)
            err = check_pool(name, n, reason);
    }
    if (err == 0 && at != NULL)
        err = check_component(at + 1, strlen(at + 1), internal, reason);
    return err;
}

int
dsl_name_check(const char *name, const char **reason)
{
    return check_name(name, false, reason);
}

int
name_check_internal(const char *name)
{
    return check_name(name, true, NULL);
}

int
name_split_snapshot(const char *name, char *fs, const char **snap)
{
    const char *at = strchr(name, '@');

    if (at == NULL || strchr(at + 1, '/') != NULL)
        return SET_ERROR(EINVAL);
    if (at - name >= ZFS_MAX_DATASET_NAME_LEN)
        return SET_ERROR(ENAMETOOLONG);
    memcpy(fs, name, (size_t)(at - name));
    fs[at - name] = '\0';
    *snap = at + 1;
    return 0;
}
