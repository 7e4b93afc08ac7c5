/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_zpl_bitflip.c - every bit flip is seen. A closed pool is damaged, opened again, and everything in it is read:
 *
 *     pool_build ──► blocks_find: every pointer of the MOS and of all datasets, with its owners
 *         golden image ──► flip bits in some copies ──► open, read all, scrub twice, close ──► golden image again ──► ...
 *
 * What is expected follows from one rule. A block is LOST when all its copies were hit; else its bad copies are REPAIRED.
 *
 *     nothing lost          everything reads right; a scrub leaves every block as it was before, the next finds nothing
 *     file data lost        EIO for that block in every dataset that has it, all else right; scrub names the file
 *     a file system's metadata lost, or the MOS's    errors are allowed anywhere; wrong contents nowhere
 *
 * And garbage over labels and uberblocks: the newest uberblock left is the state that is opened.
 */
#include "effort.h"
#include "dsl_impl.h"
#include "support/faultdisk.h"
#include "zpl_impl.h"

#include <check.h>
#include <stdio.h>
#include <sys/xattr.h>

#define DISK   (64ULL << 20)
#define ROUNDS 24
#define OK(x)  ck_assert_int_eq((x), 0)

static const zpl_cred_t cred = {.zc_umask = 022};
static uint64_t rng;

static uint64_t
rnd(uint64_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (rng >> 11) % n;
}

static void
quiet(int level, const char *line)
{
}

/* ---- what is in the pool ---- */

enum { FS_ROOT, FS_SMALL, FS_TWO, FS_SNAP, FS_COUNT }; /* the snapshot is of FS_ROOT */
static const char *const fs_names[] = {"tank", "tank/small", "tank/two", "tank@s"};

typedef struct file {
    int f_fs;
    char f_path[100]; /* "dir/name" or "name" */
    uint64_t f_object;
    uint32_t f_bs, f_blocks;
    uint8_t f_version[1024]; /* of each block in the head; the snapshot has 1 everywhere */
} file_t;

#define MAX_FILES 400
static file_t *files;
static int nfiles;
static faultdisk_t *fd;
static dsl_pool_t *dp;

/* Half of the blocks compress, half do not. */
static void
contents(const file_t *f, uint32_t blk, uint8_t version, uint8_t *buf)
{
    uint64_t x = (uint64_t)(f - files) * 1000003 + blk * 7919ULL + version * 104729ULL + 12345;

    for (uint32_t i = 0; i < f->f_bs; i++) {
        x = x * 6364136223846793005ULL + 1442695040888963407ULL;
        buf[i] = blk % 2 == 0 || i % 64 < 16 ? (uint8_t)(x >> 40) : (uint8_t)(version + i % 7);
    }
}

static void
write_block(znode_t *zp, file_t *f, uint32_t blk, uint8_t version)
{
    uint8_t *buf = xmalloc(f->f_bs);
    uint64_t done;

    contents(f, blk, version, buf);
    OK(zpl_write(zp, (uint64_t)blk * f->f_bs, f->f_bs, buf, &done));
    f->f_version[blk] = version;
    free(buf);
}

static void
make_file(int fs, znode_t *dir, const char *dirname, const char *name, uint32_t bs, uint32_t blocks)
{
    file_t *f = &files[nfiles++];
    znode_t *zp;

    ck_assert_int_lt(nfiles, MAX_FILES);
    f->f_fs = fs;
    snprintf(f->f_path, sizeof(f->f_path), "%s%s%s", dirname, *dirname ? "/" : "", name);
    f->f_bs = bs;
    f->f_blocks = blocks;
    OK(zpl_mknod(dir, name, S_IFREG | 0644, 0, &cred, &zp));
    f->f_object = zpl_znode_object(zp);
    for (uint32_t b = 0; b < blocks; b++)
        write_block(zp, f, b, 1);
    zpl_znode_rele(zp);
}

/* A directory of n small files; long names make its ZAP a fat one. */
static void
make_dir(int fs, znode_t *root, const char *dirname, int n, bool longnames)
{
    char name[100];
    znode_t *dir;

    OK(zpl_mknod(root, dirname, S_IFDIR | 0755, 0, &cred, &dir));
    for (int i = 0; i < n; i++) {
        snprintf(
            name, sizeof(name),
            longnames ? "%03d-a-name-that-is-longer-than-fifty-characters-and-so-needs-a-fat-zap" : "f%d", i);
        make_file(fs, dir, dirname, name, fs == FS_SMALL || i % 3 == 0 ? 512 : 1024, 1);
    }
    zpl_znode_rele(dir);
}

static void
create_fs(const char *name, const char *prop, const char *value)
{
    nvlist_t *props = nvlist_alloc();

    nvlist_add_string(props, prop, value);
    OK(dsl_create(dp, name, DMU_OST_ZFS, props));
    nvlist_free(props);
}

static zpl_fs_t *
mount(int fs, int flags, znode_t **root)
{
    zpl_fs_t *zfs;

    OK(zpl_fs_mount(dp, fs_names[fs], flags, &zfs));
    OK(zpl_znode_hold(zfs, zpl_fs_root(zfs), root));
    return zfs;
}

static void
unmount(zpl_fs_t *zfs, znode_t *root)
{
    zpl_znode_rele(root);
    zpl_fs_unmount(zfs);
}

static void
fill_fs(int fs)
{
    znode_t *root;
    zpl_fs_t *zfs = mount(fs, 0, &root);

    if (fs == FS_ROOT) {
        make_dir(fs, root, "many", 150, false);
        make_dir(fs, root, "long", 40, true);
        make_file(fs, root, "", "large", 8192, 60);
    } else if (fs == FS_SMALL) {
        make_file(fs, root, "", "deep", 512, 900); /* pointers to pointers */
        make_dir(fs, root, "few", 5, false);
    } else {
        make_file(fs, root, "", "twice", 8192, 40);
    }
    OK(zpl_setxattr(root, "user.note", "value", 5, 0, &cred));
    OK(zpl_fs_sync(zfs));
    unmount(zfs, root);
}

/* After the snapshot: some blocks of the large file anew, and one more file. */
static void
change_root(void)
{
    const char *snap = fs_names[FS_SNAP];
    file_t *large = files;
    znode_t *root, *zp;
    int failed;

    while (strcmp(large->f_path, "large") != 0)
        large++;
    OK(dsl_snapshot(dp, &snap, 1, NULL, &failed));
    zpl_fs_t *zfs = mount(FS_ROOT, 0, &root);
    OK(zpl_lookup(root, "large", &zp));
    for (uint32_t b = 3; b < large->f_blocks; b += 7)
        write_block(zp, large, b, 2);
    zpl_znode_rele(zp);
    unmount(zfs, root);
}

static void
pool_open(void)
{
    disk_t disk = faultdisk_disk(fd);

    OK(dsl_pool_open(&disk, 0, &dp));
}

static void
pool_build(bool compat)
{
    dsl_pool_create_args_t args = {
        .pca_name = "tank", .pca_path = "/tank", .pca_ashift = 9, .pca_compat = compat};
    nvlist_t *props = nvlist_alloc();

    cowbird_log_set_sink(quiet);
    dsl_set_objset_init(zpl_objset_init);
    nvlist_add_string(props, "recordsize", "8K");
    args.pca_fsprops = props;
    fd = faultdisk_create(DISK);
    disk_t disk = faultdisk_disk(fd);
    OK(dsl_pool_create(&disk, &args, &dp));
    nvlist_free(props);
    files = xzalloc(MAX_FILES * sizeof(file_t));
    nfiles = 0;
    create_fs("tank/small", "recordsize", "512");
    create_fs("tank/two", "copies", "2");
    for (int fs = 0; fs < FS_SNAP; fs++)
        fill_fs(fs);
    change_root();
    OK(dsl_pool_close(dp));
}

/* ---- where its blocks lie ---- */

typedef struct block {
    blkptr_t b_bp;
    zbookmark_t b_zb;
    bool b_data; /* contents of a file */
    bool b_lost;
    bool b_named; /* on the error list, by one of its owners at least */
} block_t;

typedef struct blocks {
    block_t *bs_block;
    uint64_t bs_n, bs_room;
    uint64_t bs_ds[64];
    int bs_nds;
} blocks_t;

static int
found(void *arg, const traverse_block_t *tb)
{
    blocks_t *bs = arg;
    const blkptr_t *bp = tb->tb_bp;

    if (tb->tb_zb.zb_level == ZB_DNODE_LEVEL) {
        if (tb->tb_zb.zb_objset == 0 && tb->tb_dnp->dn_type != 0 &&
            tb->tb_dnp->dn_bonustype == DMU_OT_DSL_DATASET) {
            ck_assert_int_lt(bs->bs_nds, 64);
            bs->bs_ds[bs->bs_nds++] = tb->tb_zb.zb_object;
        }
        return 0;
    }
    if (BP_IS_HOLE(bp) || BP_IS_EMBEDDED(bp) || BP_IS_GANG(bp))
        return 0;
    if (bs->bs_n == bs->bs_room) {
        bs->bs_room = MAX(bs->bs_room * 2, 1024UL);
        bs->bs_block = xrealloc(bs->bs_block, bs->bs_room * sizeof(block_t));
    }
    bool data =
        tb->tb_zb.zb_objset != 0 && BP_GET_LEVEL(bp) == 0 && BP_GET_TYPE(bp) == DMU_OT_PLAIN_FILE_CONTENTS;
    bs->bs_block[bs->bs_n++] = (block_t){.b_bp = *bp, .b_zb = tb->tb_zb, .b_data = data};
    return 0;
}

/* Every pointer of the open pool. A block that head and snapshot share is there twice. */
static void
blocks_find(blocks_t *bs)
{
    spa_t *spa = dsl_pool_spa(dp);

    memset(bs, 0, sizeof(*bs));
    OK(traverse_objset(spa, &spa_uberblock(spa)->ub_rootbp, 0, 0, TRAVERSE_PRE, NULL, found, bs, NULL));
    for (int i = 0; i < bs->bs_nds; i++) {
        dsl_dataset_phys_t phys;
        OK(mos_read_bonus(dp, bs->bs_ds[i], DMU_OT_DSL_DATASET, &phys, sizeof(phys)));
        if (!BP_IS_HOLE(&phys.ds_bp))
            OK(traverse_objset(spa, &phys.ds_bp, bs->bs_ds[i], 0, TRAVERSE_PRE, NULL, found, bs, NULL));
    }
}

static bool
same_block(const block_t *a, const block_t *b)
{
    return memcmp(&a->b_bp.blk_dva[0], &b->b_bp.blk_dva[0], sizeof(dva_t)) == 0 &&
           a->b_bp.blk_birth == b->b_bp.blk_birth;
}

static uint64_t
disk_offset(const blkptr_t *bp, int copy)
{
    return DVA_GET_OFFSET(&bp->blk_dva[copy]) + VDEV_LABEL_START_SIZE;
}

/* ---- damage ---- */

static uint8_t *golden;
static blocks_t blocks; /* of the golden image */

#define MAX_FLIPS 8192
static struct flip {
    uint64_t fl_block, fl_off; /* of the byte on the disk */
} flips[MAX_FLIPS];
static uint64_t nflips;

static void
flip(uint64_t block, int copy)
{
    const blkptr_t *bp = &blocks.bs_block[block].b_bp;
    uint64_t bit = rnd(BP_GET_PSIZE(bp) * 8), off = disk_offset(bp, copy) + bit / 8;
    uint8_t byte;

    ck_assert_uint_lt(nflips, MAX_FLIPS);
    flips[nflips++] = (struct flip){block, off};
    faultdisk_peek(fd, off, &byte, 1);
    byte ^= (uint8_t)(1 << bit % 8);
    faultdisk_poke(fd, off, &byte, 1);
}

static void
lose(uint64_t block)
{
    const block_t *b = &blocks.bs_block[block];

    if (b->b_lost)
        return;
    for (int d = 0; d < bp_get_ndvas(&b->b_bp); d++)
        flip(block, d);
    for (uint64_t i = 0; i < blocks.bs_n; i++)
        if (same_block(&blocks.bs_block[i], b))
            blocks.bs_block[i].b_lost = true;
}

/* One copy of each metadata block, of one in `of` of them. */
static void
flip_metadata(uint64_t of)
{
    for (uint64_t i = 0; i < blocks.bs_n; i++) {
        const block_t *b = &blocks.bs_block[i];
        bool first = !b->b_data && !b->b_lost && rnd(of) == 0;
        for (uint64_t j = 0; j < i && first; j++) /* shared: once */
            first = !same_block(&blocks.bs_block[j], b);
        if (first && bp_get_ndvas(&b->b_bp) > 1)
            flip(i, (int)rnd((uint64_t)bp_get_ndvas(&b->b_bp)));
    }
}

typedef bool (*wanted_t)(const block_t *b);
static bool
is_any(const block_t *b)
{
    return true;
}
static bool
is_data(const block_t *b)
{
    return b->b_data;
}
static bool
is_two(const block_t *b)
{
    return b->b_data && bp_get_ndvas(&b->b_bp) == 2;
}
static bool
is_fs_meta(const block_t *b)
{
    return !b->b_data && b->b_zb.zb_objset != 0;
}
static bool
is_mos(const block_t *b)
{
    return b->b_zb.zb_objset == 0;
}
static bool
is_meta(const block_t *b)
{
    return !b->b_data;
}
static bool
is_dir(const block_t *b)
{
    return is_fs_meta(b) && BP_GET_TYPE(&b->b_bp) == 20;
}
static bool
is_indirect(const block_t *b)
{
    return b->b_zb.zb_level > 0;
}

static uint64_t
pick(wanted_t wanted)
{
    uint64_t i;

    do
        i = rnd(blocks.bs_n);
    while (!wanted(&blocks.bs_block[i]));
    return i;
}

/* ---- reading everything ---- */

typedef struct counts {
    uint64_t c_right, c_lost, c_errors;
} counts_t;

static bool
is_lost(uint64_t dsobj, uint64_t object, uint64_t blkid)
{
    for (uint64_t i = 0; i < blocks.bs_n; i++) {
        const block_t *b = &blocks.bs_block[i];
        if (b->b_lost && b->b_data && b->b_zb.zb_objset == dsobj && b->b_zb.zb_object == object &&
            b->b_zb.zb_blkid == blkid)
            return true;
    }
    return false;
}

static int
lookup(znode_t *root, const char *path, znode_t **zpp)
{
    const char *slash = strchr(path, '/');
    char dirname[100];
    znode_t *dir;
    int err;

    if (slash == NULL)
        return zpl_lookup(root, path, zpp);
    snprintf(dirname, sizeof(dirname), "%.*s", (int)(slash - path), path);
    if ((err = zpl_lookup(root, dirname, &dir)) != 0)
        return err;
    err = zpl_lookup(dir, slash + 1, zpp);
    zpl_znode_rele(dir);
    return err;
}

static void
read_file(zpl_fs_t *zfs, znode_t *zp, const file_t *f, bool snap, bool strict, counts_t *c)
{
    uint8_t *got = xmalloc(f->f_bs), *want = xmalloc(f->f_bs);
    uint64_t done;

    for (uint32_t b = 0; b < f->f_blocks; b++) {
        bool lost = is_lost(zpl_fs_dsobj(zfs), f->f_object, b);
        int err = zpl_read(zp, (uint64_t)b * f->f_bs, f->f_bs, got, &done);
        if (err != 0) {
            ck_assert_msg(err == EIO || err == ECKSUM, "%s block %u: %s", f->f_path, b,
                          cowbird_strerror(err));
            ck_assert_msg(lost || !strict, "%s:/%s block %u: %s, and nothing is wrong with it",
                          zpl_fs_name(zfs), f->f_path, b, cowbird_strerror(err));
            lost ? c->c_lost++ : c->c_errors++;
            continue;
        }
        ck_assert_uint_eq(done, f->f_bs);
        contents(f, b, snap ? 1 : f->f_version[b], want);
        ck_assert_msg(memcmp(got, want, f->f_bs) == 0, "%s:/%s block %u: WRONG DATA", zpl_fs_name(zfs),
                      f->f_path, b);
        ck_assert_msg(!lost, "%s:/%s block %u reads, but no copy is whole", zpl_fs_name(zfs), f->f_path, b);
        c->c_right++;
    }
    free(got);
    free(want);
}

static void
read_fs(int fs, bool strict, counts_t *c)
{
    zpl_fs_t *zfs;
    znode_t *root, *zp;
    int err = zpl_fs_mount(dp, fs_names[fs], ZPL_MOUNT_RDONLY, &zfs);

    ck_assert_msg(err == 0 || !strict, "mount %s: %s", fs_names[fs], cowbird_strerror(err));
    if (err == 0 && (err = zpl_znode_hold(zfs, zpl_fs_root(zfs), &root)) != 0) {
        ck_assert(!strict);
        zpl_fs_unmount(zfs);
    }
    if (err != 0) {
        c->c_errors++;
        return;
    }
    for (int i = 0; i < nfiles; i++) {
        const file_t *f = &files[i];
        if (f->f_fs != (fs == FS_SNAP ? FS_ROOT : fs))
            continue;
        err = lookup(root, f->f_path, &zp);
        ck_assert_msg(err == 0 || !strict, "%s:/%s: %s", fs_names[fs], f->f_path, cowbird_strerror(err));
        if (err != 0) { /* not ENOENT: the name is there */
            ck_assert_msg(err == EIO || err == ECKSUM, "%s:/%s: %s", fs_names[fs], f->f_path,
                          cowbird_strerror(err));
            c->c_errors++;
            continue;
        }
        ck_assert_uint_eq(zpl_znode_object(zp), f->f_object);
        read_file(zfs, zp, f, fs == FS_SNAP, strict, c);
        zpl_znode_rele(zp);
    }
    unmount(zfs, root);
}

static counts_t
read_all(bool strict)
{
    counts_t c = {0};

    for (int fs = 0; fs < FS_COUNT; fs++)
        read_fs(fs, strict, &c);
    return c;
}

static uint64_t
total_blocks(void)
{
    uint64_t n = 0;

    for (int i = 0; i < nfiles; i++)
        n += files[i].f_blocks * (files[i].f_fs == FS_ROOT ? 2 : 1);
    return n;
}

/* ---- scrub, and what it says ---- */

static const file_t *
file_of(const char *ds, uint64_t object)
{
    for (int i = 0; i < nfiles; i++)
        if (files[i].f_object == object && (strcmp(fs_names[files[i].f_fs], ds) == 0 ||
                                            (files[i].f_fs == FS_ROOT && strcmp(ds, fs_names[FS_SNAP]) == 0)))
            return &files[i];
    return NULL;
}

/* An entry of the error list: only lost blocks are on it, and the file has its name. */
static void
named(void *arg, const zbookmark_t *zb)
{
    char name[ZFS_MAX_DATASET_NAME_LEN], path[4096];
    dsl_dataset_t *ds;
    objset_t *os;

    ck_assert_msg(is_lost(zb->zb_objset, zb->zb_object, zb->zb_blkid) && zb->zb_level == 0,
                  "on the error list: objset %lu object %lu level %ld block %lu", zb->zb_objset,
                  zb->zb_object, zb->zb_level, zb->zb_blkid);
    OK(dsl_dataset_hold_obj(dp, zb->zb_objset, "named", &ds));
    dsl_dataset_name(ds, name);
    OK(dsl_dataset_objset(ds, &os));
    OK(zpl_object_path(os, zb->zb_object, path, sizeof(path)));
    const file_t *f = file_of(name, zb->zb_object);
    if (f != NULL)
        ck_assert_str_eq(path, f->f_path);
    else
        ck_assert_ptr_nonnull(strstr(path, "<xattrdir>/user.note"));
    dsl_dataset_rele(ds, "named");
    for (uint64_t i = 0; i < blocks.bs_n; i++) { /* seen, for all that have the block */
        block_t *b = &blocks.bs_block[i];
        if (b->b_lost && b->b_zb.zb_objset == zb->zb_objset && b->b_zb.zb_object == zb->zb_object &&
            b->b_zb.zb_blkid == zb->zb_blkid)
            for (uint64_t j = 0; j < blocks.bs_n; j++)
                if (same_block(&blocks.bs_block[j], b))
                    blocks.bs_block[j].b_named = true;
    }
}

static uint64_t
lost_blocks(void)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < blocks.bs_n; i++) {
        bool first = blocks.bs_block[i].b_lost;
        for (uint64_t j = 0; j < i && first; j++)
            first = !same_block(&blocks.bs_block[j], &blocks.bs_block[i]);
        n += first;
    }
    return n;
}

static void
scrub(uint64_t errors, bool clean)
{
    dsl_scan_progress_t sp;

    OK(dsl_scrub(dp, NULL, NULL, NULL));
    dsl_scan_last(dp, &sp);
    ck_assert_uint_eq(sp.sp_errors, errors);
    if (clean)
        ck_assert_uint_eq(sp.sp_repaired, 0);
}

/* Repaired copies have the very bytes they had. Blocks that are no longer part of the pool are nobody's business. */
static void
check_bytes(void)
{
    blocks_t now;

    blocks_find(&now);
    for (uint64_t i = 0; i < nflips; i++) {
        const block_t *b = &blocks.bs_block[flips[i].fl_block];
        bool there = false;
        uint8_t byte;
        for (uint64_t j = 0; j < now.bs_n && !there; j++)
            there = same_block(&now.bs_block[j], b);
        faultdisk_peek(fd, flips[i].fl_off, &byte, 1);
        if (there && !b->b_lost)
            ck_assert_msg(byte == golden[flips[i].fl_off],
                          "objset %lu object %lu level %ld block %lu: not repaired", b->b_zb.zb_objset,
                          b->b_zb.zb_object, b->b_zb.zb_level, b->b_zb.zb_blkid);
        if (b->b_lost)
            ck_assert_uint_ne(byte, golden[flips[i].fl_off]); /* nor is what is lost written over */
    }
    free(now.bs_block);
}

static void
report(void *arg, const char *text)
{
    fprintf(stderr, "check: %s\n", text);
}

/* ---- the rounds ---- */

static void
restore(void)
{
    faultdisk_poke(fd, 0, golden, DISK);
    for (uint64_t i = 0; i < blocks.bs_n; i++) {
        block_t *b = &blocks.bs_block[i];
        b->b_lost = b->b_named = false;
    }
    nflips = 0;
}

/* Nothing but file data is lost. */
static void
strict_round(bool scrub_first)
{
    uint64_t lost = lost_blocks();
    counts_t c = {0};

    pool_open();
    if (scrub_first)
        scrub(lost, false);
    c = read_all(true);
    ck_assert_uint_eq(c.c_right + c.c_lost, total_blocks());
    ck_assert(lost != 0 || c.c_lost == 0);
    scrub(lost, scrub_first);
    scrub(lost, true);
    check_bytes();
    spa_errlog_walk(dsl_pool_spa(dp), named, NULL);
    for (uint64_t i = 0; i < blocks.bs_n; i++)
        ck_assert_msg(!blocks.bs_block[i].b_lost || blocks.bs_block[i].b_named,
                      "a lost block is not on the error list");
    if (lost == 0)
        ck_assert_uint_eq(dsl_pool_check(dp, report, NULL), 0);
    OK(dsl_pool_close(dp));
}

/* Metadata is lost: any error will do, wrong contents will not. */
static void
loose_round(bool rdonly)
{
    disk_t disk = faultdisk_disk(fd);
    int err = dsl_pool_open(&disk, rdonly ? DSL_POOL_RDONLY : 0, &dp);

    if (err != 0)
        return;
    (void)read_all(false);
    (void)dsl_scrub(dp, NULL, NULL, NULL);
    (void)dsl_pool_close(dp);
}

START_TEST(test_flips)
{
    static const wanted_t kinds[] = {is_any, is_meta, is_mos, is_fs_meta, is_dir, is_indirect};

    rng = 77 + (uint64_t)_i * 7777;
    pool_build(_i % 2 == 0);
    golden = xmalloc(DISK);
    faultdisk_peek(fd, 0, golden, DISK);
    pool_open();
    blocks_find(&blocks);
    OK(dsl_pool_close(dp));
    restore();
    for (int round = 0; round < ROUNDS; round++, restore()) {
        bool first = round % 2 == 0;
        uint64_t b;
        switch (round % 8) {
        case 0: /* one bit anywhere */
        case 1:
            b = pick(kinds[rnd(ARRAY_SIZE(kinds))]);
            if (bp_get_ndvas(&blocks.bs_block[b].b_bp) == 1)
                lose(b);
            else
                flip(b, (int)rnd((uint64_t)bp_get_ndvas(&blocks.bs_block[b].b_bp)));
            strict_round(first);
            break;
        case 2: /* one copy of everything that has two */
            flip_metadata(1);
            strict_round(round % 3 == 0);
            break;
        case 3: /* file data, all copies */
            for (uint64_t n = 1 + rnd(5); n > 0; n--)
                lose(pick(rnd(4) == 0 ? is_two : is_data));
            strict_round(first);
            break;
        case 4: /* one of two copies of file data */
            flip(pick(is_two), (int)rnd(2));
            strict_round(round % 3 == 0);
            break;
        case 5: /* a mixture */
            for (uint64_t n = 1 + rnd(20); n > 0; n--)
                lose(pick(is_data));
            flip_metadata(3);
            strict_round(first);
            break;
        case 6: /* a file system's metadata, all copies */
            lose(pick(rnd(2) == 0 ? is_indirect : is_fs_meta));
            loose_round(rnd(2) == 0);
            break;
        default:
            lose(pick(is_mos));
            loose_round(rnd(2) == 0);
            break;
        }
    }
    faultdisk_destroy(fd);
    free(golden);
    free(blocks.bs_block);
    free(files);
}
END_TEST

/* ---- labels and uberblocks ---- */

#define STATES 40
static uint64_t
    state_txg[STATES]; /* the state with number i is on disk at this txg, and none later before [i + 1] */

static void
garbage(uint64_t off, uint64_t n)
{
    uint64_t *buf = xmalloc(n);

    for (uint64_t i = 0; i < n / 8; i++)
        buf[i] = rnd(UINT64_MAX);
    faultdisk_poke(fd, off, buf, n);
    free(buf);
}

static uint64_t
label_at(int l)
{
    return l < 2 ? (uint64_t)l * VDEV_LABEL_SIZE : DISK - (uint64_t)(4 - l) * VDEV_LABEL_SIZE;
}

static void
put_number(uint64_t v)
{
    znode_t *root, *zp;
    zpl_fs_t *zfs = mount(FS_ROOT, 0, &root);
    uint64_t done;

    if (zpl_lookup(root, "number", &zp) != 0)
        OK(zpl_mknod(root, "number", S_IFREG | 0644, 0, &cred, &zp));
    OK(zpl_write(zp, 0, sizeof(v), &v, &done));
    OK(zpl_fsync(zp, false));
    zpl_znode_rele(zp);
    OK(zpl_fs_sync(zfs));
    unmount(zfs, root);
}

static uint64_t
get_number(void)
{
    znode_t *root, *zp;
    zpl_fs_t *zfs = mount(FS_ROOT, ZPL_MOUNT_RDONLY, &root);
    uint64_t v = 0, done;

    OK(zpl_lookup(root, "number", &zp));
    OK(zpl_read(zp, 0, sizeof(v), &v, &done));
    zpl_znode_rele(zp);
    unmount(zfs, root);
    return v;
}

/* Opens, and finds the state of that txg: the numbers before it, at most one that came with it. */
static void
check_state(uint64_t txg)
{
    disk_t disk = faultdisk_disk(fd);
    dsl_scan_progress_t sp;
    uint64_t v, i = 0;
    bool rdonly = rnd(2) == 0;

    OK(dsl_pool_open(&disk, DSL_POOL_RDONLY, &dp));
    ck_assert_uint_eq(spa_uberblock(dsl_pool_spa(dp))->ub_txg, txg);
    v = get_number();
    while (i + 1 < STATES && state_txg[i + 1] <= txg)
        i++;
    ck_assert_msg(v == i || (v == i + 1 && txg > state_txg[i]), "txg %lu has number %lu, not %lu", txg, v, i);
    OK(dsl_scrub(dp, NULL, NULL, NULL));
    dsl_scan_last(dp, &sp);
    ck_assert_uint_eq(sp.sp_errors, 0);
    OK(dsl_pool_close(dp));
    if (rdonly)
        return;
    pool_open(); /* goes on from there, and the labels are four again */
    put_number(1000);
    OK(dsl_pool_close(dp));
    for (int keep = 0; keep < 4; keep++) {
        uint8_t *label = xmalloc(VDEV_LABEL_SIZE);
        faultdisk_peek(fd, label_at((keep + 1) % 4), label, VDEV_LABEL_SIZE);
        garbage(label_at((keep + 1) % 4), VDEV_LABEL_SIZE);
        OK(dsl_pool_open(&disk, DSL_POOL_RDONLY, &dp));
        ck_assert_uint_eq(get_number(), 1000);
        OK(dsl_pool_close(dp));
        faultdisk_poke(fd, label_at((keep + 1) % 4), label, VDEV_LABEL_SIZE);
        free(label);
    }
}

START_TEST(test_labels)
{
    const int slot_size = 4096, slots = 32; /* ashift 12 */
    dsl_pool_create_args_t args = {
        .pca_name = "tank", .pca_path = "/tank", .pca_ashift = 12, .pca_compat = _i % 2 == 0};
    uint64_t last;

    rng = 99 + (uint64_t)_i * 991;
    cowbird_log_set_sink(quiet);
    dsl_set_objset_init(zpl_objset_init);
    fd = faultdisk_create(DISK);
    disk_t disk = faultdisk_disk(fd);
    OK(dsl_pool_create(&disk, &args, &dp));
    for (uint64_t i = 0; i < STATES; i++) {
        put_number(i);
        state_txg[i] = spa_uberblock(dsl_pool_spa(dp))->ub_txg;
    }
    OK(dsl_pool_close(dp));
    OK(dsl_pool_open(&disk, DSL_POOL_RDONLY, &dp));
    last = spa_uberblock(dsl_pool_spa(dp))->ub_txg;
    OK(dsl_pool_close(dp));
    ck_assert_uint_gt(last, (uint64_t)slots);
    golden = xmalloc(DISK);
    faultdisk_peek(fd, 0, golden, DISK);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t dead = 0, keep = rnd(4);
        faultdisk_poke(fd, 0, golden, DISK);
        if (round % 2 == 0) { /* whole labels, or the list of each, but one */
            bool whole = rnd(2) == 0;
            for (int l = 0; l < 4; l++)
                if ((uint64_t)l != keep)
                    garbage(label_at(l) + (whole ? 0 : VDEV_PHYS_OFFSET),
                            whole ? VDEV_LABEL_SIZE : VDEV_PHYS_SIZE);
        }
        if (round % 3 !=
            0) { /* the newest one or two uberblocks everywhere, and any others in any number of labels */
            dead = rnd(3);
            for (uint64_t t = last - (uint64_t)slots + 1; t <= last; t++)
                for (int l = 0; l < 4; l++)
                    if (t > last - dead ||
                        (t < last - dead ? rnd(2) == 0 : (uint64_t)l != keep && rnd(2) == 0))
                        garbage(label_at(l) + VDEV_RING_OFFSET + t % (uint64_t)slots * (uint64_t)slot_size,
                                rnd(2) == 0 ? 512 : (uint64_t)slot_size);
        }
        check_state(last - dead);
    }
    faultdisk_poke(fd, 0, golden, DISK); /* and no label at all is no pool */
    for (int l = 0; l < 4; l++)
        garbage(label_at(l), VDEV_LABEL_SIZE);
    ck_assert_int_eq(dsl_pool_open(&disk, 0, &dp), ENOENT);
    faultdisk_destroy(fd);
    free(golden);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("zpl_bitflip");
    TCase *tc = tcase_create("flips");

    setvbuf(stdout, NULL, _IOLBF, 0);
    tcase_set_timeout(tc, 120);
    int seeds = getenv("SEEDS") != NULL ? atoi(getenv("SEEDS")) : effort(4);
    tcase_add_loop_test(tc, test_flips, 0, seeds);
    tcase_add_loop_test(tc, test_labels, 0, MAX(seeds / 2, 2));
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
