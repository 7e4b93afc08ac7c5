/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzzseed DIR [STREAM...] - make what fuzzing starts from, in DIR: pool.img (test/fuzz/fuzz_image.h), and in DIR/corpus first inputs.
 *
 * One small pool with a bit of everything: a file system, its snapshots and a clone, streams received from elsewhere. Not part of
 * any test: run by hand when a format is to be added to the fuzzed ones.
 *
 *     mkdir -p D/corpus/{nvlist,stream,pool}; build/tool_fuzzseed D ../shared/streams/{fuse-xattr,vol-a.Lec}.zs
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>
#include "dsl_impl.h"
#include "spa_impl.h"
#include "zpl.h"

#define SIZE SPA_MINDEVSIZE

static const char *dir;

#define OK(x)                                                                                                \
    do {                                                                                                     \
        int ok_ = (x);                                                                                       \
        if (ok_ != 0) {                                                                                      \
            fprintf(stderr, "%s: %s\n", #x, cowbird_strerror(ok_));                                          \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

static void
save(const char *name, int flags, const void *data, size_t n) /* flags < 0: none */
{
    char *path = xasprintf("%s/%s", dir, name);
    FILE *f = fopen(path, "wb");

    VERIFY(f != NULL);
    if (flags >= 0)
        fputc(flags, f);
    VERIFY(fwrite(data, 1, n, f) == n && fclose(f) == 0);
    free(path);
}

/* In zio_compress_data()'s place (the linker's --wrap): metadata stays plain, for a changed byte of LZ4 rarely unpacks. */
size_t __real_zio_compress_data(enum zio_compress c, int level, const void *src, void *dst, size_t s_len,
                                size_t d_len);
size_t __wrap_zio_compress_data(enum zio_compress c, int level, const void *src, void *dst, size_t s_len,
                                size_t d_len);
size_t
__wrap_zio_compress_data(enum zio_compress c, int level, const void *src, void *dst, size_t s_len,
                         size_t d_len)
{
    return c == ZIO_COMPRESS_LZ4 ? 0 : __real_zio_compress_data(c, level, src, dst, s_len, d_len);
}

/* ---- contents ---- */

static znode_t *
file(znode_t *parent, const char *name, mode_t mode, const void *data, size_t n, uint64_t off)
{
    static const zpl_cred_t cred = {.zc_uid = 1000, .zc_gid = 1000};
    znode_t *zp;
    uint64_t done;

    OK(zpl_mknod(parent, name, mode, 0, &cred, &zp));
    if (n != 0)
        OK(zpl_write(zp, off, n, data, &done));
    return zp;
}

static void
fill(dsl_pool_t *dp, const char *fs, bool tiny)
{
    static const zpl_cred_t cred = {.zc_uid = 1000, .zc_gid = 1000};
    zpl_fs_t *zfs;
    znode_t *root, *sub, *zp;
    char name[200], text[6000];

    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)(i * 2654435761u >> 13);
    OK(zpl_fs_mount(dp, fs, 0, &zfs));
    OK(zpl_znode_hold(zfs, zpl_fs_root(zfs), &root));
    zp = file(root, "small", S_IFREG | 0644, "hello", 5, 0);
    OK(zpl_setxattr(zp, "user.colour", "blue", 4, 0, &cred));
    zpl_znode_rele(zp);
    zpl_znode_rele(file(root, "blocks", S_IFREG | 0600, text, tiny ? 1500 : sizeof(text), 0));
    zpl_znode_rele(file(root, "sparse", S_IFREG | 0600, text, 700, 3UL << 20));
    OK(zpl_symlink(root, "link", "somewhere/else", &cred, &zp));
    zpl_znode_rele(zp);
    sub = file(root, "dir", S_IFDIR | 0755, NULL, 0, 0);
    for (int i = 0; !tiny && i < 12; i++) { /* long names: a fat ZAP */
        snprintf(name, sizeof(name), "%02d-%0120d", i, i);
        OK(zpl_mknod(sub, name, S_IFREG | 0600, 0, &cred, &zp));
        zpl_znode_rele(zp);
    }
    zpl_znode_rele(sub);
    zpl_znode_rele(root);
    zpl_fs_unmount(zfs);
}

static void
change(dsl_pool_t *dp, const char *fs)
{
    zpl_fs_t *zfs;
    znode_t *root, *zp;
    uint64_t done;

    OK(zpl_fs_mount(dp, fs, 0, &zfs));
    OK(zpl_znode_hold(zfs, zpl_fs_root(zfs), &root));
    OK(zpl_unlink(root, "sparse"));
    OK(zpl_lookup(root, "blocks", &zp));
    OK(zpl_write(zp, 1024, 3, "new", &done));
    OK(zpl_fallocate(zp, 3 /* punch a hole, keep the size */, 512, 512));
    zpl_znode_rele(zp);
    zpl_znode_rele(root);
    zpl_fs_unmount(zfs);
}

static void
snapshot(dsl_pool_t *dp, const char *name)
{
    OK(dsl_snapshot(dp, &name, 1, NULL, NULL));
}

static void
small_fs(dsl_pool_t *dp, const char *name, const char *compression, bool tiny)
{
    nvlist_t *props = nvlist_alloc();

    nvlist_add_string(props, "recordsize", "512");
    nvlist_add_string(props, "compression", compression);
    nvlist_add_string(props, "org.cowbird:note", "fuzzed");
    OK(dsl_create(dp, name, DMU_OST_ZFS, props));
    nvlist_free(props);
    fill(dp, name, tiny);
}

/* ---- seeds ---- */

/* Each stream and the increment on it, one behind the other. */
static void
save_streams(dsl_pool_t *dp, const char *name, const char *from, const char *to, bool clone, uint32_t flags)
{
    uint8_t *buf = xmalloc(1 << 20);
    int fd = memfd_create("stream", 0);

    for (int i = 0; i < 2; i++) {
        uint64_t off = 0;
        dmu_send_args_t args = {.dsa_tosnap = i == 0 ? from : to,
                                .dsa_from = i == 0 || clone ? NULL : from,
                                .dsa_fromorigin = i == 1 && clone,
                                .dsa_fd = fd,
                                .dsa_off = &off,
                                .dsa_flags = flags};
        OK(dmu_send(dp, &args));
    }
    ssize_t n = pread(fd, buf, 1 << 20, 0);
    VERIFY(n > 0);
    save(name, clone ? 7 : 5, buf, (size_t)n);
    close(fd);
    free(buf);
}

static void
save_nvlists(dsl_pool_t *dp)
{
    const nvlist_t *label = spa_label(dsl_pool_spa(dp));
    nvlist_t *nvl = nvlist_alloc();
    uint8_t *buf;
    size_t n;
    uint64_t words[2] = {1, 2};
    const char *strings[2] = {"one", "two"};

    nvlist_pack(label, NV_ENCODE_XDR, &buf, &n);
    save("corpus/nvlist/label", -1, buf, n);
    save("corpus/pool/label", 8, buf, n);
    free(buf);
    nvlist_add_boolean(nvl, "b");
    nvlist_add_boolean_value(nvl, "v", true);
    nvlist_add_string(nvl, "s", "text");
    nvlist_add_byte_array(nvl, "bytes", (const uint8_t *)words, 5);
    nvlist_add_uint64_array(nvl, "words", words, 2);
    nvlist_add_value(nvl, "strings", DATA_TYPE_STRING_ARRAY, strings, 2);
    nvlist_add_nvlist(nvl, "in", nvl);
    nvlist_t *two[2] = {nvl, nvl};
    nvlist_add_nvlist_array(nvl, "more", two, 2);
    nvlist_pack(nvl, NV_ENCODE_NATIVE, &buf, &n);
    save("corpus/nvlist/native", -1, buf, n);
    free(buf);
    nvlist_pack(nvl, NV_ENCODE_XDR, &buf, &n);
    save("corpus/nvlist/xdr", -1, buf, n);
    free(buf);
    nvlist_free(nvl);
}

static void
save_image(const char *path)
{
    static const uint8_t zeros[512];
    uint8_t *disk = xmalloc(SIZE), *plain;
    FILE *f = fopen(path, "rb");
    uint64_t n = 0, size = SIZE, *w;

    VERIFY(f != NULL && fread(disk, 1, SIZE, f) == SIZE && fclose(f) == 0);
    w = xmalloc(16 + SIZE / 512 * 8);
    for (uint64_t off = 0; off < SIZE - VDEV_LABEL_END_SIZE; off += 512)
        if ((off < VDEV_LABEL_SIZE || off >= 2 * VDEV_LABEL_SIZE) && memcmp(disk + off, zeros, 512) != 0)
            w[2 + n++] = off;
    w[0] = size;
    w[1] = n;
    size_t out = ZSTD_compressBound(16 + n * 520);
    plain = xmalloc(16 + n * 520);
    memcpy(plain, w, 16 + n * 8);
    for (uint64_t i = 0; i < n; i++)
        memcpy(plain + 16 + n * 8 + i * 512, disk + w[2 + i], 512);
    uint8_t *packed = xmalloc(out);
    out = ZSTD_compress(packed, out, plain, 16 + n * 520, 19);
    VERIFY(!ZSTD_isError(out));
    save("pool.img", -1, packed, out);
    printf("%llu sectors, %llu bytes\n", (unsigned long long)n, (unsigned long long)out);
    free(packed);
    free(plain);
    free(w);
    free(disk);
}

static void
receive(dsl_pool_t *dp, int i, const char *path)
{
    char target[32];
    stream_error_t se = {0};
    int fd = open(path, O_RDONLY);

    VERIFY(fd >= 0);
    snprintf(target, sizeof(target), "fz/s%d", i);
    dmu_receive_args_t args = {.dra_target = target, .dra_fd = fd};
    OK(dmu_receive(dp, &args, NULL, &se));
    close(fd);
}

int
main(int argc, char **argv)
{
    dsl_pool_create_args_t pca = {.pca_name = "fz", .pca_path = "/fz", .pca_ashift = 9, .pca_compat = true};
    dsl_pool_t *dp;
    const char *gone[] = {"fz/z@1", "fz/z@2"};
    disk_t disk;

    VERIFY(argc >= 2);
    dir = argv[1];
    char *path = xasprintf("%s/pool.tmp", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    VERIFY(fd >= 0 && ftruncate(fd, SIZE) == 0);
    close(fd);
    dsl_set_objset_init(zpl_objset_init);
    OK(disk_open(path, 0, &disk));
    OK(dsl_pool_create(&disk, &pca, &dp));
    dsl_pool_spa(dp)->spa_checksum_ = ZIO_CHECKSUM_OFF;

    small_fs(dp, "fz/big", "off", false);
    small_fs(dp, "fz/a", "off", true);
    snapshot(dp, "fz/a@1");
    change(dp, "fz/a");
    snapshot(dp, "fz/a@2");
    OK(dsl_clone(dp, "fz/a@1", "fz/c", NULL));
    change(dp, "fz/c");
    snapshot(dp, "fz/c@1");
    small_fs(dp, "fz/z", "gzip", true);
    snapshot(dp, "fz/z@1");
    change(dp, "fz/z");
    snapshot(dp, "fz/z@2");
    for (int i = 2; i < argc; i++)
        receive(dp, i, argv[i]);
    save_streams(dp, "corpus/stream/plain", "fz/a@1", "fz/a@2", false, 0);
    save_streams(dp, "corpus/stream/clone", "fz/a@1", "fz/c@1", true, 0);
    save_streams(dp, "corpus/stream/packed", "fz/z@1", "fz/z@2", false,
                 DMU_SEND_LARGE_BLOCK | DMU_SEND_EMBED | DMU_SEND_COMPRESSED);
    save_nvlists(dp);
    OK(dsl_destroy_snapshots(dp, gone, 2, false, NULL)); /* the fewer, the more inputs per second */
    OK(dsl_destroy_head(dp, "fz/z"));
    OK(dsl_pool_close(dp));
    save_image(path);
    unlink(path);
    free(path);
    save("corpus/pool/none", 0, "\0\0\0\0\0", 5);
    save("corpus/pool/magic", 6, "\1\2\3\4\5\6\7\x8", 8);
    return 0;
}
