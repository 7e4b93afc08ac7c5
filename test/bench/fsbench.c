/*
 * The per-file work of the benchmarks, in C so that the harness is not what is measured.
 *
 *   fsbench write FILE MIB       sequential 1 MiB writes of incompressible bytes, then fsync      MiB per second
 *   fsbench read FILE            sequential 1 MiB reads                                           MiB per second
 *   fsbench rewrite FILE PERCENT random 128 KiB blocks of it overwritten, then fsync              MiB per second
 *   fsbench create|stat|readall|remove DIR N
 *                                N small files, a thousand to a directory                         files per second
 *
 * Prints one number, the rate; exits 1 and says why when anything fails.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MIB (1024 * 1024)
#define PER_DIR 1000

static uint64_t state = 88172645463325252ull;
static uint64_t buf[MIB / 8];

static uint64_t
next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void
fill(size_t bytes)
{
    for (size_t i = 0; i < bytes / 8; i++)
        buf[i] = next_random();
}

static double
now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec + ts.tv_nsec / 1e9;
}

static int
open_or_die(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0644);
    if (fd < 0)
        err(1, "%s", path);
    return fd;
}

static void
pwrite_all(int fd, size_t bytes, off_t at)
{
    if (pwrite(fd, buf, bytes, at) != (ssize_t)bytes)
        err(1, "write");
}

static double
seq_write(const char *path, long mib)
{
    int fd = open_or_die(path, O_WRONLY | O_CREAT | O_TRUNC);
    double spent = 0;
    for (long i = 0; i < mib; i++) {
        fill(MIB); /* outside the clock */
        double t = now();
        pwrite_all(fd, MIB, (off_t)i * MIB);
        spent += now() - t;
    }
    double t = now();
    if (fsync(fd) != 0 || close(fd) != 0)
        err(1, "fsync");
    return mib / (spent + now() - t);
}

static double
seq_read(const char *path)
{
    int fd = open_or_die(path, O_RDONLY);
    double t = now();
    ssize_t n;
    size_t total = 0;
    while ((n = read(fd, buf, MIB)) > 0)
        total += n;
    if (n < 0)
        err(1, "read");
    close(fd);
    return total / (double)MIB / (now() - t);
}

static double
rewrite(const char *path, double percent)
{
    int fd = open_or_die(path, O_WRONLY);
    struct stat st;
    if (fstat(fd, &st) != 0)
        err(1, "fstat");
    size_t block = 128 * 1024;
    long blocks = st.st_size / block, n = blocks * percent / 100;
    state += 12345; /* other blocks than the last run of the generator */
    double t = now();
    for (long i = 0; i < n; i++) {
        fill(block);
        pwrite_all(fd, block, (off_t)(next_random() % blocks) * block);
    }
    if (fsync(fd) != 0 || close(fd) != 0)
        err(1, "fsync");
    return n * block / (double)MIB / (now() - t);
}

static void
one_create(const char *path, long i)
{
    int fd = open_or_die(path, O_WRONLY | O_CREAT | O_EXCL);
    size_t n = 1 + i * 7919 % 8192;
    if (write(fd, buf, n) != (ssize_t)n || close(fd) != 0)
        err(1, "%s", path);
}

static void
one_stat(const char *path, long i)
{
    struct stat st;
    (void)i;
    if (lstat(path, &st) != 0)
        err(1, "%s", path);
}

static void
one_read(const char *path, long i)
{
    int fd = open_or_die(path, O_RDONLY);
    if (read(fd, buf, 16384) != 1 + i * 7919 % 8192)
        err(1, "%s", path);
    close(fd);
}

static void
one_remove(const char *path, long i)
{
    (void)i;
    if (unlink(path) != 0)
        err(1, "%s", path);
}

static double
each_file(const char *dir, long n, void (*one)(const char *, long))
{
    char path[4096];
    fill(16384);
    double t = now();
    for (long i = 0; i < n; i++) {
        int len = snprintf(path, sizeof(path), "%s/d%ld", dir, i / PER_DIR);
        if (one == one_create && i % PER_DIR == 0 && mkdir(path, 0755) != 0 && errno != EEXIST)
            err(1, "%s", path);
        snprintf(path + len, sizeof(path) - len, "/file-%06ld", i);
        one(path, i);
    }
    return n / (now() - t);
}

int
main(int argc, char **argv)
{
    const char *op = argc > 2 ? argv[1] : "";
    double rate;
    if (strcmp(op, "write") == 0 && argc == 4)
        rate = seq_write(argv[2], atol(argv[3]));
    else if (strcmp(op, "read") == 0)
        rate = seq_read(argv[2]);
    else if (strcmp(op, "rewrite") == 0 && argc == 4)
        rate = rewrite(argv[2], atof(argv[3]));
    else if (strcmp(op, "create") == 0 && argc == 4)
        rate = each_file(argv[2], atol(argv[3]), one_create);
    else if (strcmp(op, "stat") == 0 && argc == 4)
        rate = each_file(argv[2], atol(argv[3]), one_stat);
    else if (strcmp(op, "readall") == 0 && argc == 4)
        rate = each_file(argv[2], atol(argv[3]), one_read);
    else if (strcmp(op, "remove") == 0 && argc == 4)
        rate = each_file(argv[2], atol(argv[3]), one_remove);
    else
        errx(2, "usage: fsbench write|read|rewrite|create|stat|readall|remove PATH [N]");
    printf("%.1f\n", rate);
    return 0;
}
