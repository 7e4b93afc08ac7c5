/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dnode.c - dnodes in memory: finding, keeping and letting go of them, and marking them dirty.
 *
 *        dnode_hold()                      last dnode_rele()
 *     disk ---------> in os_hash, refs > 0 -----------------> in os_hash and on os_lru, refs 0 ----> gone
 *                          ^   |  dirty: one reference per txg        |             too many of them, or
 *                          |   +-- until objset_sync() is over        |             objset_evict()
 *                          +------------------------------------------+
 *                                        dnode_hold()
 *
 * The rules for dirtying: change dn_now first, then call dnode_setdirty(), all within one hold of dn_mtx. It copies dn_now into the
 * txg's shape, which is what that txg's sync will make of dn_phys, whatever later txgs do to dn_now.
 *
 * INVARIANTS: dmu_impl.h 3, 5, 6.
 *
 * ZFS: dnode.c. There a dnode belongs to the dbuf of its block of 32 and lives as long; here it stands alone.
 */
#include "dmu_impl.h"

uint8_t
dnode_copies(objset_t *os, uint8_t type, int level)
{
    uint8_t copies = __atomic_load_n(&os->os_copies, __ATOMIC_RELAXED);

    if (os->os_dsobj == 0)
        return SPA_DVAS_PER_BP;
    if (level > 0 || dmu_ot_is_metadata(type))
        copies = MAX(copies + 1, 2);
    return MIN(copies, SPA_DVAS_PER_BP);
}

/* ---- making and unmaking ---- */

static int
dbuf_compare(const void *a, const void *b)
{
    const dbuf_t *x = a, *y = b;

    return AVL_CMP(x->db_blkid, y->db_blkid);
}

static int
record_compare(const void *a, const void *b)
{
    const dirty_record_t *x = a, *y = b;

    return AVL_CMP(x->dr_blkid, y->dr_blkid);
}

static void
shape_from_phys(dnode_shape_t *ds, const dnode_phys_t *dnp)
{
    *ds = (dnode_shape_t){
        .ds_type = dnp->dn_type,
        .ds_bonustype = dnp->dn_bonustype,
        .ds_checksum = dnp->dn_checksum,
        .ds_compress = dnp->dn_compress,
        .ds_slots = (uint8_t)(dnp->dn_extra_slots + 1),
        .ds_nblkptr = dnp->dn_nblkptr,
        .ds_indblkshift = dnp->dn_indblkshift,
        .ds_has_spill = (dnp->dn_flags & DNODE_FLAG_SPILL_BLKPTR) != 0,
        .ds_bonuslen = dnp->dn_bonuslen,
        .ds_datablksz = (uint32_t)dnp->dn_datablkszsec << SPA_MINBLOCKSHIFT,
        .ds_maxblkid = dnp->dn_maxblkid,
    };
}

dnode_t *
dnode_new(objset_t *os, uint64_t object, dnode_phys_t *phys)
{
    dnode_t *dn = xzalloc(sizeof(*dn));

    dn->dn_objset = os;
    dn->dn_object = object;
    dn->dn_refs = 1;
    rw_init(&dn->dn_zap_lock);
    mutex_init(&dn->dn_mtx);
    cv_init(&dn->dn_cv);
    avl_create(&dn->dn_dbufs, dbuf_compare, offsetof(dbuf_t, db_link));
    for (int t = 0; t < TXG_SIZE; t++)
        avl_create(&dn->dn_dirty_dbufs[t], record_compare, offsetof(dirty_record_t, dr_link));
    dn->dn_phys = phys != NULL ? phys : xzalloc(DNODE_MIN_SIZE);
    if (phys != NULL && phys->dn_type != DMU_OT_NONE)
        shape_from_phys(&dn->dn_now, phys);
    return dn;
}

static void
dnode_drop_dirty(dnode_t *dn)
{
    uint64_t unrefs = 0;

    for (int t = 0; t < TXG_SIZE; t++) {
        dirty_record_t *dr = avl_first(&dn->dn_dirty_dbufs[t]);
        while (dr != NULL)
            dr = dbuf_record_done(dr, &unrefs);
        avl_destroy(&dn->dn_dirty_dbufs[t]);
        if (dn->dn_free_ranges[t] != NULL)
            range_tree_destroy(dn->dn_free_ranges[t]);
    }
}

void
dnode_destroy(dnode_t *dn)
{
    if (dn->dn_user != NULL && dn->dn_user_free != NULL)
        dn->dn_user_free(dn->dn_user);
    dnode_drop_dirty(dn);
    VERIFY0(avl_numnodes(&dn->dn_dbufs)); /* held ones would be left pointing nowhere */
    avl_destroy(&dn->dn_dbufs);
    cv_destroy(&dn->dn_cv);
    mutex_destroy(&dn->dn_mtx);
    rw_destroy(&dn->dn_zap_lock);
    free(dn->dn_phys);
    free(dn);
}

/* ---- the hash and the LRU; os_lock held ---- */

static dnode_t **
hash_bucket(objset_t *os, uint64_t object)
{
    return &os->os_hash[(object ^ (object >> 12)) % OS_DNODE_HASH];
}

static dnode_t *
hash_find(objset_t *os, uint64_t object)
{
    dnode_t *dn = *hash_bucket(os, object);

    while (dn != NULL && dn->dn_object != object)
        dn = dn->dn_hash_next;
    return dn;
}

static void
hash_insert(dnode_t *dn)
{
    dnode_t **bucket = hash_bucket(dn->dn_objset, dn->dn_object);

    dn->dn_hash_next = *bucket;
    *bucket = dn;
}

static void
hash_remove(dnode_t *dn)
{
    dnode_t **p = hash_bucket(dn->dn_objset, dn->dn_object);

    while (*p != dn)
        p = &(*p)->dn_hash_next;
    *p = dn->dn_hash_next;
}

static void
lru_remove(dnode_t *dn)
{
    list_remove(&dn->dn_objset->os_lru, dn);
    dn->dn_objset->os_lru_count--;
}

/* Get a reference; from the LRU if need be. */
static void
hash_ref(dnode_t *dn)
{
    if (__atomic_add_fetch(&dn->dn_refs, 1, __ATOMIC_ACQ_REL) == 1)
        lru_remove(dn);
}

/* ---- holding ---- */

void
dnode_add_ref(dnode_t *dn)
{
    __atomic_add_fetch(&dn->dn_refs, 1, __ATOMIC_ACQ_REL);
}

/* The last reference went: keep a clean allocated dnode for a while. Returns the one to destroy, or NULL. os_lock held. */
static dnode_t *
dnode_retire(dnode_t *dn)
{
    objset_t *os = dn->dn_objset;
    dnode_t *victim = NULL;

    if (dn->dn_now.ds_type == DMU_OT_NONE) {
        hash_remove(dn);
        return dn;
    }
    list_insert_tail(&os->os_lru, dn);
    if (++os->os_lru_count > OS_LRU_MAX) {
        victim = list_head(&os->os_lru);
        lru_remove(victim);
        hash_remove(victim);
    }
    return victim;
}

void
dnode_rele(dnode_t *dn)
{
    objset_t *os = dn->dn_objset;
    uint32_t refs = __atomic_load_n(&dn->dn_refs, __ATOMIC_RELAXED);
    bool special = dn->dn_object >= DN_MAX_OBJECT;
    dnode_t *victim = NULL;

    while (refs > 1)
        if (__atomic_compare_exchange_n(&dn->dn_refs, &refs, refs - 1, true, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED))
            return;
    mutex_enter(&os->os_lock);
    if (__atomic_sub_fetch(&dn->dn_refs, 1, __ATOMIC_ACQ_REL) == 0)
        victim = special ? dn : dnode_retire(dn);
    mutex_exit(&os->os_lock);
    if (victim != NULL)
        dnode_destroy(victim);
}

bool
dnode_slot_next(const void *block, uint32_t size, dnode_slot_t *sl)
{
    uint32_t i = sl->sl_dnp == NULL ? 0 : sl->sl_index + sl->sl_count;
    const dnode_phys_t *dnp = (const dnode_phys_t *)block + i;

    if ((i + 1) * DNODE_MIN_SIZE > size)
        return false;
    sl->sl_dnp = dnp;
    sl->sl_index = i;
    sl->sl_err = dnode_phys_validate(dnp, size - i * DNODE_MIN_SIZE);
    sl->sl_count = dnp->dn_type == DMU_OT_NONE || sl->sl_err != 0 ? 1 : dnp->dn_extra_slots + 1u;
    return true;
}

/* A copy of the dnode at its place in a meta-dnode block. ENOENT: free, or inside a large dnode. */
static int
phys_from_block(const arc_buf_t *buf, uint64_t object, dnode_phys_t **physp)
{
    dnode_slot_t sl = {0};
    uint32_t slot = object % DNODES_PER_BLOCK;

    while (dnode_slot_next(buf->b_data, buf->b_size, &sl) && sl.sl_index < slot)
        ;
    if (sl.sl_index != slot || sl.sl_dnp->dn_type == DMU_OT_NONE)
        return SET_ERROR(ENOENT);
    if (sl.sl_err != 0)
        return sl.sl_err;
    *physp = memcpy(xmalloc(dnode_phys_size(sl.sl_dnp)), sl.sl_dnp, dnode_phys_size(sl.sl_dnp));
    return 0;
}

/* The synced dnode of an object. */
static int
phys_read(objset_t *os, uint64_t object, dnode_phys_t **physp)
{
    arc_buf_t *buf;
    int err = dnode_read_block(os->os_meta_dnode, object / DNODES_PER_BLOCK, &buf);

    if (err != 0)
        return err;
    if (buf == NULL)
        return SET_ERROR(ENOENT);
    err = phys_from_block(buf, object, physp);
    arc_buf_rele(buf);
    return err;
}

/* The accounting dnodes lie in the root block; they are only read. */
static int
hold_special(objset_t *os, uint64_t object, dnode_t **dnp)
{
    size_t off = OBJSET_PHYS_SIZE_V1 + (size_t)(DMU_USERUSED_OBJECT - object) * DNODE_MIN_SIZE;
    dnode_phys_t *phys = xzalloc(DNODE_MIN_SIZE);
    int err = 0;

    mutex_enter(&os->os_lock);
    if (os->os_phys_buf != NULL && off + DNODE_MIN_SIZE <= os->os_phys_buf->b_size)
        memcpy(phys, (uint8_t *)os->os_phys_buf->b_data + off, DNODE_MIN_SIZE);
    mutex_exit(&os->os_lock);
    if (phys->dn_type == DMU_OT_NONE)
        err = SET_ERROR(ENOENT);
    else
        err = dnode_phys_validate(phys, DNODE_MIN_SIZE);
    if (err != 0)
        free(phys);
    else
        *dnp = dnode_new(os, object, phys);
    return err;
}

/* In the hash and allocated as of now: referenced. *missing: not in the hash. */
static int
hold_cached(objset_t *os, uint64_t object, dnode_t **dnp, bool *missing)
{
    dnode_t *dn = hash_find(os, object);
    bool allocated;

    *missing = dn == NULL;
    if (dn == NULL)
        return 0;
    mutex_enter(&dn->dn_mtx);
    allocated = dn->dn_now.ds_type != DMU_OT_NONE;
    mutex_exit(&dn->dn_mtx);
    if (!allocated)
        return SET_ERROR(ENOENT);
    hash_ref(dn);
    *dnp = dn;
    return 0;
}

int
dnode_hold(objset_t *os, uint64_t object, dnode_t **dnp)
{
    dnode_phys_t *phys;
    uint64_t gen;
    bool missing;
    int err;

    *dnp = NULL;
    if (object >= DMU_PROJECTUSED_OBJECT)
        return hold_special(os, object, dnp);
    if (object == DMU_META_DNODE_OBJECT || object >= DN_MAX_OBJECT)
        return SET_ERROR(ENOENT);
    mutex_enter(&os->os_lock);
    while ((err = hold_cached(os, object, dnp, &missing)) == 0 && missing) {
        gen = os->os_sync_gen;
        mutex_exit(&os->os_lock);
        phys = NULL;
        err = phys_read(os, object, &phys);
        mutex_enter(&os->os_lock);
        if (hash_find(os, object) != NULL || os->os_sync_gen != gen) {
            free(phys); /* maybe outdated: look again */
            continue;
        }
        if (err != 0)
            break;
        *dnp = dnode_new(os, object, phys);
        hash_insert(*dnp);
        break;
    }
    mutex_exit(&os->os_lock);
    return err;
}

int
dnode_enter(dnode_t *dn)
{
    objset_t *os = dn->dn_objset;
    dnode_t *old;
    int err = 0;

    mutex_enter(&os->os_lock);
    old = hash_find(os, dn->dn_object);
    if (old != NULL && __atomic_load_n(&old->dn_refs, __ATOMIC_ACQUIRE) != 0) {
        err = EEXIST; /* the caller tries another number */
        old = NULL;
    } else if (old != NULL) {
        lru_remove(old);
        hash_remove(old);
    }
    if (err == 0)
        hash_insert(dn);
    mutex_exit(&os->os_lock);
    if (old != NULL)
        dnode_destroy(old);
    return err;
}

/* What is known of the object in memory: 0 nothing, else 1 + whether it is allocated. */
static int
memory_state(objset_t *os, uint64_t object)
{
    dnode_t *dn;
    int state = 0;

    mutex_enter(&os->os_lock);
    if ((dn = hash_find(os, object)) != NULL) {
        mutex_enter(&dn->dn_mtx);
        state = 1 + (dn->dn_now.ds_type != DMU_OT_NONE);
        mutex_exit(&dn->dn_mtx);
    }
    mutex_exit(&os->os_lock);
    return state;
}

bool
dnode_object_freed(objset_t *os, uint64_t object)
{
    return memory_state(os, object) == 1;
}

bool
dnode_object_allocated(objset_t *os, uint64_t object)
{
    return memory_state(os, object) == 2;
}

/* ---- dirtying; dn_mtx held ---- */

void
dnode_account(dnode_t *dn, dmu_tx_t *tx, uint64_t bytes, uint64_t copies)
{
    if (bytes == 0)
        return;
    dn->dn_dirty_bytes += bytes;
    __atomic_add_fetch(&tx->tx_dirtied, bytes * copies, __ATOMIC_RELAXED);
    txg_dirty_add(dn->dn_objset->os_txg, tx->tx_txg, (int64_t)bytes);
}

/* Put the dnode on the objset's list; true when it is the first of this txg there. */
static bool
dnode_list_dirty(dnode_t *dn, uint64_t txg)
{
    objset_t *os = dn->dn_objset;
    bool first;

    dnode_add_ref(dn);
    mutex_enter(&os->os_dirty_lock);
    list_insert_tail(&os->os_dirty_dnodes[txg & TXG_MASK], dn);
    first = !os->os_dirty[txg & TXG_MASK];
    os->os_dirty[txg & TXG_MASK] = true;
    mutex_exit(&os->os_dirty_lock);
    return first;
}

void
dnode_setdirty(dnode_t *dn, dmu_tx_t *tx)
{
    objset_t *os = dn->dn_objset;
    uint64_t t = tx->tx_txg & TXG_MASK;
    dnode_shape_t *ds = &dn->dn_shape[t], was = *ds;

    VERIFY(os->os_txg != NULL);
    VERIFY(__atomic_load_n(&os->os_syncing, __ATOMIC_ACQUIRE) != tx->tx_txg);
    *ds = dn->dn_now;
    ds->ds_changed = true;
    ds->ds_allocated = was.ds_allocated;
    ds->ds_freed = was.ds_freed;
    if (was.ds_changed)
        return;
    dnode_account(dn, tx, DNODE_DIRTY_BYTES, dnode_copies(os, DMU_OT_DNODE, 0));
    if (dnode_list_dirty(dn, tx->tx_txg) && os->os_hooks.oh_dirtied != NULL)
        os->os_hooks.oh_dirtied(os->os_hooks.oh_arg, tx->tx_txg);
}

bool
dnode_is_dirty(dnode_t *dn)
{
    for (int t = 0; t < TXG_SIZE; t++)
        if (dn->dn_shape[t].ds_changed)
            return true;
    return false;
}

bool
dnode_block_freed(dnode_t *dn, uint64_t blkid)
{
    for (int t = 0; t < TXG_SIZE; t++)
        if (dn->dn_free_ranges[t] != NULL && range_tree_contains(dn->dn_free_ranges[t], blkid, 1))
            return true;
    return false;
}

/* A dbuf in [first, last] that is being read. */
static bool
any_being_read(dnode_t *dn, uint64_t first, uint64_t last)
{
    dbuf_t key = {.db_blkid = first};
    avl_index_t where;
    dbuf_t *db = avl_find(&dn->dn_dbufs, &key, &where);

    if (db == NULL)
        db = avl_nearest(&dn->dn_dbufs, where, 1);
    for (; db != NULL && db->db_blkid <= last; db = avl_next(&dn->dn_dbufs, db))
        if (db->db_state == DB_READ)
            return true;
    return false;
}

void
dnode_wait_reads(dnode_t *dn, uint64_t first, uint64_t last)
{
    while (any_being_read(dn, first, last))
        cv_wait(&dn->dn_cv, &dn->dn_mtx);
}

void
dnode_free_blocks(dnode_t *dn, uint64_t first, uint64_t last, dmu_tx_t *tx)
{
    range_tree_t **freed = &dn->dn_free_ranges[tx->tx_txg & TXG_MASK];
    dbuf_t key = {.db_blkid = first}, *db, *next;
    avl_index_t where;
    uint64_t unrefs = 0;

    dnode_wait_reads(dn, first, last);
    if ((db = avl_find(&dn->dn_dbufs, &key, &where)) == NULL)
        db = avl_nearest(&dn->dn_dbufs, where, 1);
    for (; db != NULL && db->db_blkid <= last; db = next) {
        next = avl_next(&dn->dn_dbufs, db);
        dbuf_undirty(db, tx->tx_txg);
        dbuf_clear(db);
        unrefs += dbuf_reap(db);
    }
    if (*freed == NULL)
        *freed = range_tree_create();
    range_tree_set(*freed, first, last - first + 1);
    if (last >= dn->dn_now.ds_maxblkid && first <= dn->dn_now.ds_maxblkid)
        dn->dn_now.ds_maxblkid = first == 0 ? 0 : first - 1;
    dnode_setdirty(dn, tx);
    for (; unrefs > 0; unrefs--) /* never the last reference: the caller has one */
        VERIFY(__atomic_sub_fetch(&dn->dn_refs, 1, __ATOMIC_ACQ_REL) != 0);
}
