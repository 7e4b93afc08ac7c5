/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zap.h - the ZAP: an object that maps names to arrays of integers. Small ones are one block of 64-byte entries
 * (micro, zap_micro.c), all others an extensible hash table of leaf blocks (fat, zap_fat.c, zap_leaf.c). A micro ZAP turns fat
 * by itself when an entry does not fit. Layout: zap_format.h.
 *
 * Locks: each call takes the object's ZAP lock (in its dnode): many readers or one writer. Changing calls need a tx that holds the
 * object (dmu_tx_hold_zap), or the syncing thread's. Integers in buffers are in host order.
 *
 * The zap_create calls return 0 when there is no object number left (or a read error). ENOTSUP: a name whose hash we cannot
 * compute is to be added (non-ASCII, in a ZAP with normalisation flags: a directory made elsewhere); finding it is slow but works.
 *
 * ENOENT no such name, EEXIST, EINVAL integer size, EOVERFLOW the stored value is larger than the buffer (what fits was
 * copied), ENAMETOOLONG, E2BIG value too long,
 * ENOSPC too many names of one hash, EIO/ECKSUM damaged. ZFS: zap.c, zap_micro.c, zap_fat.c
 */
#ifndef COWBIRD_ZAP_H
#define COWBIRD_ZAP_H

#include "dmu.h"

#define ZAP_MAXNAMELEN      256  /* with NUL: what can be added */
#define ZAP_MAXNAMELEN_READ 1024 /* with NUL: what can be met (feature longname) */
#define ZAP_MAXVALUELEN     8192

uint64_t zap_create(objset_t *os, dmu_object_type_t type, dmu_object_type_t bonustype, uint32_t bonuslen,
                    dmu_tx_t *tx);
uint64_t zap_create_norm(objset_t *os, uint64_t normflags, dmu_object_type_t type,
                         dmu_object_type_t bonustype, uint32_t bonuslen, dmu_tx_t *tx);
/* With a value per name that is no single u64 from the start, or names of u64 arrays. */
uint64_t zap_create_fat(objset_t *os, uint64_t zapflags, dmu_object_type_t type, dmu_object_type_t bonustype,
                        uint32_t bonuslen, dmu_tx_t *tx);
int zap_create_claim(objset_t *os, uint64_t object, dmu_object_type_t type, dmu_object_type_t bonustype,
                     uint32_t bonuslen, dmu_tx_t *tx);
/* Turn an existing object without blocks (a zapified dataset) into an empty micro ZAP. */
int zap_init(objset_t *os, uint64_t object, dmu_tx_t *tx);
int zap_destroy(objset_t *os, uint64_t object, dmu_tx_t *tx);

/* integer_size 1, 2, 4 or 8; num_integers the room in buf. */
int zap_lookup(objset_t *os, uint64_t object, const char *name, uint64_t integer_size, uint64_t num_integers,
               void *buf);
int zap_lookup_u64(objset_t *os, uint64_t object, const char *name, uint64_t *value);
int zap_length(objset_t *os, uint64_t object, const char *name, uint64_t *integer_size,
               uint64_t *num_integers);
int zap_contains(objset_t *os, uint64_t object, const char *name);
int zap_add(objset_t *os, uint64_t object, const char *name, uint64_t integer_size, uint64_t num_integers,
            const void *buf, dmu_tx_t *tx);
int zap_update(objset_t *os, uint64_t object, const char *name, uint64_t integer_size, uint64_t num_integers,
               const void *buf, dmu_tx_t *tx);
int zap_add_u64(objset_t *os, uint64_t object, const char *name, uint64_t value, dmu_tx_t *tx);
int zap_update_u64(objset_t *os, uint64_t object, const char *name, uint64_t value, dmu_tx_t *tx);
int zap_remove(objset_t *os, uint64_t object, const char *name, dmu_tx_t *tx);
int zap_count(objset_t *os, uint64_t object, uint64_t *count);
/* An absent name counts as 0; at 0 it is removed. */
int zap_increment(objset_t *os, uint64_t object, const char *name, int64_t delta, dmu_tx_t *tx);
/* Sets of numbers: the name is the number in hex. */
int zap_add_int(objset_t *os, uint64_t object, uint64_t value, dmu_tx_t *tx);
int zap_remove_int(objset_t *os, uint64_t object, uint64_t value, dmu_tx_t *tx);
int zap_lookup_int(objset_t *os, uint64_t object, uint64_t value);
int zap_add_int_key(objset_t *os, uint64_t object, uint64_t key, uint64_t value, dmu_tx_t *tx);
int zap_update_int_key(objset_t *os, uint64_t object, uint64_t key, uint64_t value, dmu_tx_t *tx);
int zap_lookup_int_key(objset_t *os, uint64_t object, uint64_t key, uint64_t *value);

/*
 * Iteration in the order of (hash, cd). The cookie survives changes of the ZAP and its turning fat: an entry that is there
 * all the time is seen exactly once. A directory's readdir offset is such a cookie: 0 is the start, all are <= ZAP_COOKIE_END
 * (= 2^60, the end), so a caller with entries of its own ("." and "..") adds a small constant to make room below.
 * A name made of u64 words comes as hex text. The cursor keeps the object's dnode until zap_cursor_fini().
 */
#define ZAP_COOKIE_END (1ULL << 60)
typedef struct zap_attribute {
    int za_integer_length;
    uint64_t za_num_integers;
    uint64_t za_first_integer;
    char za_name[ZAP_MAXNAMELEN_READ];
} zap_attribute_t;
typedef struct zap_cursor { /* all private */
    objset_t *zc_objset;
    uint64_t zc_object;
    uint64_t zc_cookie; /* where to start, until zc_placed */
    uint64_t zc_hash;
    uint32_t zc_cd;
    uint8_t zc_hashbits;
    bool zc_placed;
    struct dnode *zc_dnode;
    struct dbuf *zc_leaf; /* the leaf held from call to call */
} zap_cursor_t;
void zap_cursor_init(zap_cursor_t *zc, objset_t *os, uint64_t object);
void zap_cursor_init_serialized(zap_cursor_t *zc, objset_t *os, uint64_t object, uint64_t cookie);
int zap_cursor_retrieve(zap_cursor_t *zc, zap_attribute_t *za); /* ENOENT at the end */
void zap_cursor_advance(zap_cursor_t *zc);
uint64_t zap_cursor_serialize(zap_cursor_t *zc);
void zap_cursor_fini(zap_cursor_t *zc);

#endif
