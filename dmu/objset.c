/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * objset.c - object sets: opening from a root pointer, properties, and the order of writing one.
 *
 *    root bp --> objset_phys --> meta dnode --> blocks of 32 dnodes --> objects
 *
 *    objset_open() ... transactions dirty dnodes, which gather on os_dirty_dnodes[txg]; the first calls oh_dirtied ...
 *    objset_sync(txg):  take the list -> dnode_sync_all() -> dnode_sync_root() -> let the dnodes go
 *
 * INVARIANTS
 *  1. os_rootbp, os_phys_buf and the meta dnode's dn_phys are of one state, between two calls of objset_sync().
 *  2. A dnode on os_dirty_dnodes[t] has a reference for it until objset_sync() of t is over: dmu_impl.h, 6.
 *  3. os_pending holds the slots of objects allocated in txgs that are not synced. They leave it after the meta
 *     dnode has been replaced: a slot is in os_pending, or in use in the synced meta dnode, or both, or free.
 *
 * ZFS: dmu_objset.c
 */
#include "dmu_impl.h"

/* ---- how blocks are stored ---- */

static enum zio_compress
resolve_compress(const objset_props_t *p, uint8_t c)
{
    enum zio_compress meta = p->op_lz4 ? ZIO_COMPRESS_LZ4 : ZIO_COMPRESS_LZJB;

    return c == ZIO_COMPRESS_ON ? meta : c == ZIO_COMPRESS_INHERIT ? ZIO_COMPRESS_OFF : (enum zio_compress)c;
}

void
objset_zio_prop(objset_t *os, const objset_props_t *p, uint8_t type, int level, uint8_t dn_compress,
                zio_prop_t *zp)
{
    bool meta = level > 0 || dmu_ot_is_metadata(type);
    bool skeleton = level > 0 || type == DMU_OT_DNODE || type == DMU_OT_OBJSET;
    uint8_t data = dn_compress != ZIO_COMPRESS_INHERIT ? dn_compress : (uint8_t)p->op_compress;

    *zp = (zio_prop_t){
        .zp_compress = resolve_compress(p, meta ? ZIO_COMPRESS_ON : data),
        .zp_complevel = meta ? 0 : p->op_complevel,
        .zp_copies = dnode_copies(os, type, level),
        .zp_type = type,
        .zp_level = (uint8_t)level,
        .zp_may_embed = p->op_embed && !skeleton && type != DMU_OT_SA, /* ZFS would send it as a file's block */
        .zp_keep_zero = skeleton,
    };
}

/* ---- opening and closing ---- */

static objset_t *
objset_alloc(spa_t *spa, txg_state_t *ts, uint64_t dsobj, const struct objset_hooks *hooks,
             const objset_props_t *props)
{
    objset_t *os = xzalloc(sizeof(*os));

    os->os_spa = spa;
    os->os_txg = ts;
    os->os_dsobj = dsobj;
    if (hooks != NULL)
        os->os_hooks = *hooks;
    os->os_indblkshift = DN_DEFAULT_INDBLKSHIFT;
    os->os_obj_used = UINT32_MAX;
    mutex_init(&os->os_obj_lock);
    mutex_init(&os->os_lock);
    mutex_init(&os->os_dirty_lock);
    list_create(&os->os_lru, offsetof(dnode_t, dn_lru_link));
    for (int t = 0; t < TXG_SIZE; t++)
        list_create(&os->os_dirty_dnodes[t], offsetof(dnode_t, dn_dirty_link[t]));
    os->os_pending = range_tree_create();
    objset_set_props(os, props);
    return os;
}

static void
objset_free(objset_t *os)
{
    if (os->os_meta_dnode != NULL)
        dnode_destroy(os->os_meta_dnode);
    arc_buf_rele(os->os_phys_buf);
    range_tree_destroy(os->os_pending);
    list_destroy(&os->os_lru);
    mutex_destroy(&os->os_obj_lock);
    mutex_destroy(&os->os_lock);
    mutex_destroy(&os->os_dirty_lock);
    free(os);
}

/* The root block is as we can handle it. */
static int
objset_check(const arc_buf_t *buf)
{
    const objset_phys_t *osp = buf->b_data;

    if (buf->b_size < OBJSET_PHYS_SIZE_V1 || osp->os_type >= DMU_OST_NUMTYPES)
        return SET_ERROR(ENOTSUP);
    if (osp->os_meta_dnode.dn_type != DMU_OT_DNODE ||
        dnode_phys_validate(&osp->os_meta_dnode, DNODE_MIN_SIZE) != 0)
        return SET_ERROR(EIO);
    if ((uint32_t)osp->os_meta_dnode.dn_datablkszsec << SPA_MINBLOCKSHIFT != DNODE_BLOCK_SIZE)
        return SET_ERROR(ENOTSUP);
    return 0;
}

static void
objset_set_root(objset_t *os, arc_buf_t *buf)
{
    dnode_phys_t *meta =
        memcpy(xmalloc(DNODE_MIN_SIZE), &((objset_phys_t *)buf->b_data)->os_meta_dnode, DNODE_MIN_SIZE);

    os->os_phys_buf = buf;
    os->os_meta_dnode = dnode_new(os, DMU_META_DNODE_OBJECT, meta);
}

int
objset_open(spa_t *spa, txg_state_t *ts, const blkptr_t *rootbp, uint64_t dsobj,
            const struct objset_hooks *hooks, const objset_props_t *props, objset_t **osp)
{
    zbookmark_t zb = {dsobj, 0, ZB_ROOT_LEVEL, 0};
    arc_buf_t *buf;
    objset_t *os;
    int err;

    if (BP_IS_HOLE(rootbp))
        return SET_ERROR(ENOENT);
    if ((err = dmu_block_read(spa, rootbp, &zb, DMU_OT_OBJSET, 0, 0, &buf)) != 0)
        return err;
    if ((err = objset_check(buf)) != 0) {
        arc_buf_rele(buf);
        return err;
    }
    os = objset_alloc(spa, ts, dsobj, hooks, props);
    os->os_rootbp = *rootbp;
    objset_set_root(os, buf);
    *osp = os;
    return 0;
}

static void
meta_dnode_init(dnode_phys_t *dnp, bool mos)
{
    dnp->dn_type = DMU_OT_DNODE;
    dnp->dn_indblkshift = DN_DEFAULT_INDBLKSHIFT;
    dnp->dn_nblkptr = 3;
    dnp->dn_datablkszsec = DNODE_BLOCK_SIZE >> SPA_MINBLOCKSHIFT;
    dnp->dn_flags = DNODE_FLAG_USED_BYTES;
    dnp->dn_nlevels = 1;
    if (!mos)
        dnp->dn_nlevels =
            (uint8_t)dnode_levels_for(3, DN_DEFAULT_INDBLKSHIFT, DN_MAX_OBJECT / DNODES_PER_BLOCK - 1);
}

/* The objset must be written although no dnode is dirty. */
static void
objset_set_dirty(objset_t *os, dmu_tx_t *tx)
{
    uint64_t t = tx->tx_txg & TXG_MASK;
    bool first;

    mutex_enter(&os->os_dirty_lock);
    first = !os->os_dirty[t];
    os->os_dirty[t] = true;
    mutex_exit(&os->os_dirty_lock);
    txg_dirty_add(os->os_txg, tx->tx_txg, 0);
    if (first && os->os_hooks.oh_dirtied != NULL)
        os->os_hooks.oh_dirtied(os->os_hooks.oh_arg, tx->tx_txg);
}

objset_t *
objset_create(spa_t *spa, txg_state_t *ts, uint64_t dsobj, dmu_objset_type_t type,
              const struct objset_hooks *hooks, const objset_props_t *props, dmu_tx_t *tx)
{
    objset_t *os = objset_alloc(spa, ts, dsobj, hooks, props);
    arc_buf_t *buf = arc_buf_alloc(OBJSET_PHYS_SIZE_V2);
    objset_phys_t *phys = memset(buf->b_data, 0, buf->b_size);

    phys->os_type = type;
    meta_dnode_init(&phys->os_meta_dnode, type == DMU_OST_META);
    objset_set_root(os, buf);
    objset_set_dirty(os, tx);
    return os;
}

/* Take dnodes out of the hash and destroy them; all, or those without references. */
static void
objset_drop_dnodes(objset_t *os, bool all)
{
    dnode_t *gone = NULL, *dn, **p;

    mutex_enter(&os->os_lock);
    for (int i = 0; i < OS_DNODE_HASH; i++) {
        for (p = &os->os_hash[i]; (dn = *p) != NULL;) {
            bool idle = list_link_active(&dn->dn_lru_link);
            if (!idle && !all) {
                p = &dn->dn_hash_next;
                continue;
            }
            *p = dn->dn_hash_next;
            if (idle)
                list_remove(&os->os_lru, dn);
            os->os_lru_count -= idle;
            dn->dn_hash_next = gone;
            gone = dn;
        }
    }
    mutex_exit(&os->os_lock);
    while ((dn = gone) != NULL) {
        gone = dn->dn_hash_next;
        dnode_destroy(dn);
    }
}

/* After an error that ended syncing dirty dnodes are left: they are lost. Nothing of txg_state is touched. */
void
objset_close(objset_t *os)
{
    for (int t = 0; t < TXG_SIZE; t++)
        while (list_remove_head(&os->os_dirty_dnodes[t]) != NULL)
            ;
    objset_drop_dnodes(os, true);
    objset_free(os);
}

void
objset_evict(objset_t *os)
{
    objset_drop_dnodes(os, false);
}

/* ---- syncing ---- */

bool
objset_is_dirty(objset_t *os, uint64_t txg)
{
    bool dirty;

    mutex_enter(&os->os_dirty_lock);
    dirty = os->os_dirty[txg & TXG_MASK];
    mutex_exit(&os->os_dirty_lock);
    return dirty;
}

void
objset_account_reserve(objset_t *os, uint64_t txg, uint64_t bytes)
{
    mutex_enter(&os->os_dirty_lock);
    os->os_reserved[txg & TXG_MASK] += bytes;
    mutex_exit(&os->os_dirty_lock);
}

static int
dnode_compare(const void *a, const void *b)
{
    const dnode_t *x = *(dnode_t *const *)a, *y = *(dnode_t *const *)b;

    return AVL_CMP(x->dn_object, y->dn_object);
}

/* The txg's dirty dnodes, in the order of their numbers; the list is empty after. */
static dnode_t **
take_dirty(objset_t *os, uint64_t t, uint64_t *np)
{
    uint64_t n = 0, cap = 64;
    dnode_t **dns = xmalloc(cap * sizeof(*dns)), *dn;

    mutex_enter(&os->os_dirty_lock);
    while ((dn = list_remove_head(&os->os_dirty_dnodes[t])) != NULL) {
        if (n == cap)
            dns = xrealloc(dns, (cap *= 2) * sizeof(*dns));
        dns[n++] = dn;
    }
    os->os_dirty[t] = false;
    mutex_exit(&os->os_dirty_lock);
    qsort(dns, n, sizeof(*dns), dnode_compare);
    *np = n;
    return dns;
}

/* The dnode is synced and so is the meta dnode. */
static void
dnode_sync_done(objset_t *os, dnode_t *dn, uint64_t t)
{
    dnode_shape_t ds;

    mutex_enter(&dn->dn_mtx);
    ds = dn->dn_shape[t];
    memset(&dn->dn_shape[t], 0, sizeof(ds));
    dn->dn_dirty_bytes -= MIN(dn->dn_dirty_bytes, DNODE_DIRTY_BYTES);
    mutex_exit(&dn->dn_mtx);
    if (ds.ds_allocated || ds.ds_freed) {
        mutex_enter(&os->os_dirty_lock);
        if (ds.ds_allocated)
            range_tree_clear(os->os_pending, dn->dn_object, ds.ds_slots);
        os->os_obj_freed += ds.ds_freed;
        mutex_exit(&os->os_dirty_lock);
    }
    dnode_rele(dn);
}

static void
sync_unreserve(objset_t *os, uint64_t txg)
{
    uint64_t bytes;

    mutex_enter(&os->os_dirty_lock);
    bytes = os->os_reserved[txg & TXG_MASK];
    os->os_reserved[txg & TXG_MASK] = 0;
    mutex_exit(&os->os_dirty_lock);
    if (bytes != 0)
        (void)os->os_hooks.oh_reserve(os->os_hooks.oh_arg, -(int64_t)bytes, false, txg);
}

int
objset_sync(objset_t *os, int pass, dmu_tx_t *tx, blkptr_t *rootbp)
{
    uint64_t t = tx->tx_txg & TXG_MASK, n = 0;
    dnode_t **dns;
    int err = 0;

    if (objset_is_dirty(os, tx->tx_txg)) {
        __atomic_store_n(&os->os_syncing, tx->tx_txg, __ATOMIC_RELEASE);
        dns = take_dirty(os, t, &n);
        if ((err = dnode_sync_all(os, dns, n, pass, tx)) == 0)
            err = dnode_sync_root(os, pass, tx);
        mutex_enter(&os->os_lock);
        os->os_sync_gen++;
        mutex_exit(&os->os_lock);
        for (uint64_t i = 0; err == 0 && i < n; i++)
            dnode_sync_done(os, dns[i], t);
        free(dns);
        __atomic_store_n(&os->os_syncing, 0, __ATOMIC_RELEASE);
    }
    if (err == 0)
        sync_unreserve(os, tx->tx_txg);
    *rootbp = os->os_rootbp;
    return err;
}

/* ---- reading and changing what belongs to the whole ---- */

const blkptr_t *
objset_rootbp(objset_t *os)
{
    return &os->os_rootbp;
}

dmu_objset_type_t
objset_type(objset_t *os)
{
    dmu_objset_type_t type;

    mutex_enter(&os->os_lock);
    type = (dmu_objset_type_t)((const objset_phys_t *)os->os_phys_buf->b_data)->os_type;
    mutex_exit(&os->os_lock);
    return type;
}

uint64_t
objset_dsobj(objset_t *os)
{
    return os->os_dsobj;
}

spa_t *
objset_spa(objset_t *os)
{
    return os->os_spa;
}

txg_state_t *
objset_txg_state(objset_t *os)
{
    return os->os_txg;
}

bool
objset_readonly(objset_t *os)
{
    return os->os_txg == NULL;
}

void
objset_get_props(objset_t *os, objset_props_t *props)
{
    mutex_enter(&os->os_lock);
    *props = os->os_props;
    mutex_exit(&os->os_lock);
}

void
objset_set_props(objset_t *os, const objset_props_t *props)
{
    mutex_enter(&os->os_lock);
    os->os_props = *props;
    __atomic_store_n(&os->os_copies, MAX(props->op_copies, 1), __ATOMIC_RELAXED);
    mutex_exit(&os->os_lock);
}

const zil_header_t *
objset_zil_header(objset_t *os)
{
    const zil_header_t *zh;

    mutex_enter(&os->os_lock);
    zh = &((const objset_phys_t *)os->os_phys_buf->b_data)->os_zil_header;
    mutex_exit(&os->os_lock);
    return zh;
}

void
objset_set_zil_header(objset_t *os, const zil_header_t *zh, dmu_tx_t *tx)
{
    VERIFY(__atomic_load_n(&os->os_syncing, __ATOMIC_ACQUIRE) != tx->tx_txg);
    mutex_enter(&os->os_dirty_lock);
    os->os_zil[tx->tx_txg & TXG_MASK] = *zh;
    os->os_zil_set[tx->tx_txg & TXG_MASK] = true;
    mutex_exit(&os->os_dirty_lock);
    objset_set_dirty(os, tx);
}

uint64_t
objset_nobjects(objset_t *os)
{
    uint64_t n;

    mutex_enter(&os->os_lock);
    n = BP_IS_HOLE(&os->os_rootbp) ? 0 : os->os_rootbp.blk_fill;
    mutex_exit(&os->os_lock);
    return n;
}
