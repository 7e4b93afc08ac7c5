/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zplcalls.h - the file system layer's calls as short words for tests: each must succeed, or be said to fail.
 *
 *     tcase_add_checked_fixture(tc, setup, teardown);       an empty file system; at the end it is checked, reopened, checked
 *     zp = mk(root, "f", S_IFREG | 0644); put(zp, 0, buf, n); expect(zp, 0, buf, n); zpl_znode_rele(zp);
 */
#ifndef COWBIRD_ZPLCALLS_H
#define COWBIRD_ZPLCALLS_H

#include "barefs.h"
#include <check.h>

#define MIB              (1ULL << 20)
#define OK(call)         ck_assert_int_eq(call, 0)
#define FAILS(err, call) ck_assert_int_eq(call, err)

extern const zpl_cred_t cred;
extern faultdisk_t *fd;
extern barefs_t *bf;
extern zpl_fs_t *zfs;
extern znode_t *root;

typedef struct named_test {
    const char *nt_name;
    const TTest *nt_test;
} named_test_t;
int run_suite_5(const char *name, const named_test_t *tests, size_t n); /* version 5 only */
int run_suite(const char *name, const named_test_t *tests, size_t n); /* each between setup and teardown, for versions 4 and 5 */

void setup(void);
void teardown(void);
void reopen(void);                   /* nothing but root may be held */
void check_clean(uint64_t unlinked); /* and so many on the unlinked set */

znode_t *mk(znode_t *dir, const char *name, mode_t mode);
void touch(znode_t *dir, const char *name, mode_t mode);
znode_t *get(znode_t *dir, const char *name);
struct stat st_of(znode_t *zp);
void put(znode_t *zp, uint64_t off, const void *buf, uint64_t n);
void expect(znode_t *zp, uint64_t off, const void *buf, uint64_t n);
void set_size(znode_t *zp, uint64_t size);
void fill(uint8_t *buf, size_t n, uint32_t seed);

#endif
