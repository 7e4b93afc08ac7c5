/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * replay.c - main() in libFuzzer's place: runs the target once for every file named, and every file of a folder named.
 */
#include <dirent.h>
#include "fuzz.h"

static unsigned inputs;

static void
replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *buf;
    long n;

    if (f == NULL || fseek(f, 0, SEEK_END) != 0 || (n = ftell(f)) < 0) {
        perror(path);
        exit(1);
    }
    rewind(f);
    buf = xmalloc((size_t)n + 1);
    if (fread(buf, 1, (size_t)n, f) != (size_t)n) {
        perror(path);
        exit(1);
    }
    fclose(f);
    printf("# %s\n", path);
    fflush(stdout);
    LLVMFuzzerTestOneInput(buf, (size_t)n);
    free(buf);
    inputs++;
}

static int
visible(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

int
main(int argc, char **argv)
{
    struct dirent **list;

    for (int i = 1; i < argc; i++) {
        int n = scandir(argv[i], &list, visible, alphasort);
        if (n < 0)
            replay_file(argv[i]);
        for (int j = 0; j < n; j++) {
            char *path = xasprintf("%s/%s", argv[i], list[j]->d_name);
            replay_file(path);
            free(path);
            free(list[j]);
        }
        if (n >= 0)
            free(list);
    }
    printf("replayed %u\n", inputs);
    return inputs == 0;
}
