/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_zpl_sa.c - attributes of version 5 in their object: bonus and spill block, layouts, the other byte order, damage.
 */
#include "support/barefs.h"
#include "support/faultdisk.h"
#include "support/zplcalls.h"

#include <stdio.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include "zpl_sa_impl.h"

static dmu_object_info_t
info(znode_t *zp)
{
    dmu_object_info_t doi;

    OK(dmu_object_info(bf->bf_os, zpl_znode_object(zp), &doi));
    return doi;
}

static int
layouts(void)
{
    int n = 0;

    for (uint16_t i = 0; i < SA_MAX_LAYOUTS; i++)
        n += zpl_sa_layout(zfs->zf_ac.ac_sa, i) != NULL;
    return n;
}

static void
expect_xattr(znode_t *zp, const char *name, const void *value, size_t n)
{
    uint8_t *got = xmalloc(70000);
    size_t len;

    OK(zpl_getxattr(zp, name, got, 70000, &len));
    ck_assert_uint_eq(len, n);
    ck_assert_mem_eq(got, value, n);
    free(got);
}

static void
chmod_to(znode_t *zp, mode_t mode)
{
    struct stat st = {.st_mode = mode};

    OK(zpl_setattr(zp, ZPL_SET_MODE, &st));
}

/* Plain objects are as large as OpenZFS makes them, and share their layouts. */
START_TEST(test_sizes)
{
    znode_t *f = mk(root, "f", S_IFREG | 0644), *d = mk(root, "d", S_IFDIR | 0755), *l, *dev;

    ck_assert_uint_eq(info(f).doi_bonus_size, 168);
    ck_assert_uint_eq(info(d).doi_bonus_size, 168);
    ck_assert_uint_eq(info(d).doi_bonus_type, DMU_OT_SA);
    ck_assert_int_eq(layouts(), 1);
    OK(zpl_symlink(root, "l", "1234", &cred, &l));
    ck_assert_uint_eq(info(l).doi_bonus_size, 16 + 160 + 4);
    OK(zpl_mknod(root, "dev", S_IFBLK | 0644, makedev(8, 300), &cred, &dev));
    ck_assert_uint_eq(info(dev).doi_bonus_size, 176);
    ck_assert_uint_eq(st_of(dev).st_rdev, makedev(8, 300));
    ck_assert_int_eq(layouts(), 3);
    touch(d, "more", S_IFREG);
    ck_assert_int_eq(layouts(), 3);
    zpl_znode_rele(f);
    zpl_znode_rele(d);
    zpl_znode_rele(l);
    zpl_znode_rele(dev);
}
END_TEST

/* A list of xattrs that grows and shrinks through bonus, spill block and directory, each state synced or not. */
START_TEST(test_spill)
{
    static const size_t lens[] = {1,     20,  60,    100, 140,   600,   5000, 32768,
                                  65000, 100, 32768, 1,   32769, 40000, 3};
    znode_t *zp = mk(root, "f", S_IFREG | 0644);
    uint8_t *buf = xmalloc(70000);

    fill(buf, 70000, 5);
    for (int sync = 0; sync < 2; sync++) {
        for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
            zpl_attrs_t at;
            OK(zpl_setxattr(zp, "user.v", buf + i, lens[i], 0, &cred));
            expect_xattr(zp, "user.v", buf + i, lens[i]);
            ck_assert(info(zp).doi_has_spill == (lens[i] > 60 && lens[i] <= 32768));
            zpl_attrs_get(zp, &at);
            ck_assert(at.za_xattr != 0 || lens[i] <= 32768);
            if (sync)
                OK(zpl_fs_sync(zfs));
            put(zp, 0, buf, 100);
            check_clean(0);
        }
        OK(zpl_removexattr(zp, "user.v"));
        ck_assert(!info(zp).doi_has_spill);
    }
    for (int i = 0; i < 100; i++) { /* all together more than fits: the last ones are files */
        char name[20];
        snprintf(name, sizeof(name), "user.%d", i);
        OK(zpl_setxattr(zp, name, buf, 1000, XATTR_CREATE, &cred));
    }
    zpl_znode_rele(zp);
    reopen();
    zp = get(root, "f");
    for (int i = 0; i < 100; i++) {
        char name[20];
        snprintf(name, sizeof(name), "user.%d", i);
        expect_xattr(zp, name, buf, 1000);
        OK(zpl_removexattr(zp, name));
    }
    ck_assert(!info(zp).doi_has_spill);
    zpl_znode_rele(zp);
    free(buf);
}
END_TEST

/* Texts around the bonus's end; an xattr then goes behind them, into the spill block. */
START_TEST(test_symlinks)
{
    char target[400], got[400], name[20];
    size_t len;

    for (size_t n = 120; n <= 330; n += n < 160 ? 1 : 10) {
        znode_t *l;
        memset(target, 'a', n);
        target[n] = '\0';
        snprintf(name, sizeof(name), "l%zu", n);
        OK(zpl_symlink(root, name, target, &cred, &l));
        ck_assert(info(l).doi_has_spill == (n > 320 - 16 - 160));
        OK(zpl_setxattr(l, "trusted.x", "value", 5, 0, &cred));
        zfs->zf_xattr = ZPL_XATTR_DIR;
        OK(zpl_setxattr(l, "trusted.y", "other", 5, 0, &cred));
        zfs->zf_xattr = ZPL_XATTR_SA;
        zpl_znode_rele(l);
        if (n % 20 == 0)
            reopen();
        l = get(root, name);
        OK(zpl_readlink(l, got, sizeof(got), &len));
        ck_assert_uint_eq(len, n);
        ck_assert_mem_eq(got, target, n);
        expect_xattr(l, "trusted.x", "value", 5);
        expect_xattr(l, "trusted.y", "other", 5);
        zpl_znode_rele(l);
    }
}
END_TEST

/* ACLs of 3 to 6 entries push what is behind them to and fro between bonus and spill block. */
START_TEST(test_acl_moves)
{
    static const mode_t modes[] = {0644, 0604, 0077, 0007, 0707, 0755, 0070, 0605, 0640};
    uint8_t buf[200];

    fill(buf, sizeof(buf), 9);
    for (size_t n = 10; n < 160; n += 7) {
        char name[20];
        snprintf(name, sizeof(name), "f%zu", n);
        znode_t *zp = mk(root, name, S_IFREG | 0644);
        OK(zpl_setxattr(zp, "user.x", buf, n, 0, &cred));
        for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
            chmod_to(zp, modes[m]);
            ck_assert_uint_eq(st_of(zp).st_mode, S_IFREG | modes[m]);
            expect_xattr(zp, "user.x", buf, n);
        }
        zpl_znode_rele(zp);
    }
    check_clean(0);
}
END_TEST

/* ---- what others write ---- */

/* The bonus (and spill block) as a machine of the other byte order leaves them. */
static void
turn(dmu_buf_t *db, dmu_tx_t *tx)
{
    const zpl_sa_t *sa = zfs->zf_ac.ac_sa;
    dmu_buf_will_dirty(db, tx);
    uint8_t *p = db->db_data;
    sa_hdr_phys_t *h = db->db_data;
    const sa_layout_t *sl = zpl_sa_layout(sa, SA_LAYOUT_NUM(h->sa_layout_info));
    size_t pos = SA_HDR_SIZE(h->sa_layout_info), hdr = pos, var = 0;

    for (int i = 0; i < sl->sl_n; i++) {
        uint16_t num = sl->sl_attrs[i];
        size_t len = sa->sa_length[num] != 0 ? sa->sa_length[num] : h->sa_lengths[var++];
        pos = P2ROUNDUP(pos, (size_t)8);
        if (sa->sa_class[num] == SA_UINT64_ARRAY)
            dmu_byteswap(DMU_BSWAP_UINT64, p + pos, len);
        else if (sa->sa_class[num] == SA_ACL)
            for (size_t k = 0; k < len; k += 8) {
                dmu_byteswap(DMU_BSWAP_UINT16, p + pos + k, 4);
                dmu_byteswap(DMU_BSWAP_UINT32, p + pos + k + 4, 4);
            }
        pos += len;
    }
    dmu_byteswap(DMU_BSWAP_UINT32, p, 4);
    dmu_byteswap(DMU_BSWAP_UINT16, p + 4, hdr - 4);
}

static void
turn_object(uint64_t object)
{
    dmu_tx_t *tx = dmu_tx_create(bf->bf_os);
    dmu_buf_t *db;

    dmu_tx_hold_spill(tx, object);
    OK(dmu_tx_assign(tx, DMU_TX_WAIT));
    OK(dmu_bonus_hold(bf->bf_os, object, &db));
    turn(db, tx);
    dmu_buf_rele(db);
    if (dmu_spill_hold(bf->bf_os, object, &db) == 0) {
        turn(db, tx);
        dmu_buf_rele(db);
    }
    dmu_tx_commit(tx);
}

START_TEST(test_byte_order)
{
    static const char *const names[] = {"f", "d", "l", "b", "x"};
    uint64_t objects[5];
    struct stat before[5];
    uint8_t buf[3000];
    char got[400];
    size_t len;
    znode_t *zp;

    fill(buf, sizeof(buf), 3);
    touch(root, "f", S_IFREG | 0604);
    touch(root, "d", S_IFDIR | 0755);
    OK(zpl_symlink(root, "l", "some/target", &cred, &zp));
    zpl_znode_rele(zp);
    OK(zpl_mknod(root, "b", S_IFBLK | 0600, makedev(8, 1), &cred, &zp));
    zpl_znode_rele(zp);
    touch(root, "x", S_IFREG | 0644);
    zp = get(root, "x");
    OK(zpl_setxattr(zp, "user.v", buf, sizeof(buf), 0, &cred));
    zpl_znode_rele(zp);
    for (int i = 0; i < 5; i++) {
        zp = get(root, names[i]);
        objects[i] = zpl_znode_object(zp);
        before[i] = st_of(zp);
        zpl_znode_rele(zp);
    }
    for (int i = 0; i < 5; i++)
        turn_object(objects[i]);
    turn_object(zpl_fs_root(zfs));
    reopen();
    check_clean(0);
    for (int i = 0; i < 5; i++) {
        zp = get(root, names[i]);
        struct stat st = st_of(zp);
        ck_assert_uint_eq(st.st_mode, before[i].st_mode);
        ck_assert_uint_eq(st.st_uid, before[i].st_uid);
        ck_assert_uint_eq(st.st_rdev, before[i].st_rdev);
        ck_assert_int_eq(st.st_mtim.tv_nsec, before[i].st_mtim.tv_nsec);
        if (i == 2) {
            OK(zpl_readlink(zp, got, sizeof(got), &len));
            ck_assert_str_eq((got[len] = '\0', got), "some/target");
        } else if (i == 4) {
            expect_xattr(zp, "user.v", buf, sizeof(buf));
            OK(zpl_setxattr(zp, "user.w", buf, 10, 0, &cred));
            expect_xattr(zp, "user.v", buf, sizeof(buf));
        } else {
            chmod_to(zp, 0751);
            OK(zpl_setxattr(zp, "user.w", buf, 10, 0, &cred));
        }
        if (i == 1)
            touch(zp, "inside", S_IFREG);
        zpl_znode_rele(zp);
    }
    touch(root, "new", S_IFREG);
    OK(zpl_unlink(root, "f"));
    check_clean(0);
}
END_TEST

/* An older writer did not know SA xattrs, symlinks of version 5, ...: they are registered when they are first needed. */
START_TEST(test_registry_grows)
{
    static const char *const gone[] = {"ZPL_DXATTR", "ZPL_RDEV", "ZPL_SYMLINK", "ZPL_PROJID"};
    uint64_t registry = zfs->zf_ac.ac_sa->sa_registry_obj, value;
    dmu_tx_t *tx = dmu_tx_create(bf->bf_os);
    znode_t *zp;

    dmu_tx_hold_zap(tx, registry, true, NULL);
    OK(dmu_tx_assign(tx, DMU_TX_WAIT));
    for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
        OK(zap_remove(bf->bf_os, registry, gone[i], tx));
    OK(zap_add_u64(bf->bf_os, registry, "ZPL_FUTURE", 20 | 3 << 16, tx)); /* took DXATTR's number */
    dmu_tx_commit(tx);
    reopen();
    zp = mk(root, "f", S_IFREG | 0644);
    OK(zpl_setxattr(zp, "user.x", "1", 1, 0, &cred));
    zpl_znode_rele(zp);
    OK(zpl_symlink(root, "l", "there", &cred, &zp));
    zpl_znode_rele(zp);
    OK(zap_lookup_u64(bf->bf_os, registry, "ZPL_SYMLINK", &value));
    ck_assert_uint_eq(value, 0x30011);
    OK(zap_lookup_u64(bf->bf_os, registry, "ZPL_DXATTR", &value));
    ck_assert_uint_eq(value & 0xffff, 21);
    reopen();
    zp = get(root, "f");
    expect_xattr(zp, "user.x", "1", 1);
    zpl_znode_rele(zp);
}
END_TEST

/* Random bytes in the attributes: an error or other values, never more than that. */
START_TEST(test_damage)
{
    uint8_t sound[400], bytes[200];
    uint32_t seed = 11;
    znode_t *zp = mk(root, "f", S_IFREG | 0644);
    uint64_t object = zpl_znode_object(zp);
    dmu_buf_t *db;

    OK(zpl_setxattr(zp, "user.x", "12345", 5, 0, &cred));
    zpl_znode_rele(zp);
    OK(dmu_bonus_hold(bf->bf_os, object, &db));
    size_t n = db->db_size;
    ck_assert_uint_le(n, sizeof(sound));
    memcpy(sound, db->db_data, n);
    for (int round = 0; round < 3000; round++) {
        dmu_tx_t *tx = dmu_tx_create(bf->bf_os);
        struct stat st = {.st_mode = 0604};
        size_t len;
        dmu_tx_hold_bonus(tx, object);
        OK(dmu_tx_assign(tx, DMU_TX_WAIT));
        OK(dmu_set_bonus(db, (uint16_t)n, DMU_OT_SA, tx));
        memcpy(db->db_data, sound, n);
        for (int i = 0; i < 1 + round % 3; i++) {
            fill(bytes, 4, seed++);
            ((uint8_t *)db->db_data)[bytes[0] % (round % 2 ? 16 : n)] ^= bytes[1];
        }
        dmu_tx_commit(tx);
        if (zpl_lookup(root, "f", &zp) == 0) {
            (void)zpl_getxattr(zp, "user.x", bytes, sizeof(bytes), &len);
            if (zp->z_at.za_links != 0 && zp->z_at.za_xattr == 0 && zp->z_type == S_IFREG) {
                (void)zpl_setattr(zp, ZPL_SET_MODE, &st);
                (void)zpl_setxattr(zp, "user.y", "1", 1, 0, &cred);
            }
            zpl_znode_rele(zp);
        }
    }
    dmu_tx_t *tx = dmu_tx_create(bf->bf_os);
    dmu_tx_hold_spill(tx, object);
    OK(dmu_tx_assign(tx, DMU_TX_WAIT));
    (void)dmu_spill_remove(bf->bf_os, object, tx);
    OK(dmu_set_bonus(db, (uint16_t)n, DMU_OT_SA, tx));
    memcpy(db->db_data, sound, n);
    dmu_tx_commit(tx);
    dmu_buf_rele(db);
}
END_TEST

/* The judge sees what is wrong. */
START_TEST(test_judge)
{
    znode_t *zp = mk(root, "f", S_IFREG | 0644);
    zpl_check_t zc = {.zc_report = NULL};
    dmu_buf_t *db;

    OK(dmu_bonus_hold(bf->bf_os, zpl_znode_object(zp), &db));
    for (int i = 0; i < 2; i++) { /* the ACL's count one more; and back */
        dmu_tx_t *tx = dmu_tx_create(bf->bf_os);
        dmu_tx_hold_bonus(tx, db->db_object);
        OK(dmu_tx_assign(tx, DMU_TX_WAIT));
        dmu_buf_will_dirty(db, tx);
        ((uint64_t *)db->db_data)[17] ^= 7; /* behind header, 12 words and times: 3 <-> 4 */
        dmu_tx_commit(tx);
        OK(zpl_check_objset(bf->bf_os, &zc));
        ck_assert_uint_eq(zc.zc_problems, i == 0);
    }
    dmu_buf_rele(db);
    zpl_znode_rele(zp);
}
END_TEST

int
main(void)
{
    const named_test_t tests[] = {
        {"sizes", test_sizes},           {"spill", test_spill},
        {"symlinks", test_symlinks},     {"acl_moves", test_acl_moves},
        {"byte_order", test_byte_order}, {"registry_grows", test_registry_grows},
        {"damage", test_damage},         {"judge", test_judge},
    };

    return run_suite_5("zpl_sa", tests, ARRAY_SIZE(tests));
}
