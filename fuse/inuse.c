/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inuse.c - who has files of a file system open? Asked before a dataset is destroyed or received into, which is rare; so nothing is
 * counted when files are opened and closed, which is not. /proc knows:
 *
 *     /proc/PID/fd/N    open files and directories: device and inode number, which names the file system (mount_impl.h)
 *     /proc/PID/maps    files mapped and closed since
 *
 * Only processes that we may look into are seen: all of them for root; for a user his own, and nobody else may enter his mount
 * unless he said allow_other. Looking asks the kernel for what it knows (AT_STATX_DONT_SYNC), never a file system's server.
 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "mount_impl.h"

static bool
is_ours(const mount_fs_t *mf, dev_t dev, uint64_t ino)
{
    return dev == mf->mf_mount->fm_dev && ino >> NODE_FS_SHIFT == mf->mf_num;
}

static bool
fd_in_use(const mount_fs_t *mf, int fds, const char *name)
{
    struct statx st;
    if (statx(fds, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_INO, &st) != 0)
        return false;
    return is_ours(mf, makedev(st.stx_dev_major, st.stx_dev_minor), st.stx_ino);
}

static bool
fds_in_use(const mount_fs_t *mf, int proc)
{
    int fd = openat(proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    bool found = false;
    struct dirent *de;
    while (!found && (de = readdir(dir)) != NULL)
        found = isdigit((unsigned char)de->d_name[0]) && fd_in_use(mf, fd, de->d_name);
    closedir(dir);
    return found;
}

static bool
maps_in_use(const mount_fs_t *mf, int proc)
{
    int fd = openat(proc, "maps", O_RDONLY | O_CLOEXEC);
    FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (f == NULL) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    bool found = false;
    char *line = NULL;
    size_t room = 0;
    while (!found && getline(&line, &room, f) > 0) {
        unsigned dev_major, dev_minor;
        unsigned long ino;
        if (sscanf(line, "%*s %*s %*s %x:%x %lu", &dev_major, &dev_minor, &ino) == 3)
            found = is_ours(mf, makedev(dev_major, dev_minor), ino);
    }
    free(line);
    fclose(f);
    return found;
}

static bool
process_in_use(const mount_fs_t *mf, int procs, const char *pid)
{
    int proc = openat(procs, pid, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (proc < 0)
        return false;
    bool found = fds_in_use(mf, proc) || maps_in_use(mf, proc);
    close(proc);
    return found;
}

bool
mf_in_use(mount_fs_t *mf)
{
    DIR *procs = opendir("/proc");
    if (procs == NULL)
        return false;
    bool found = false;
    struct dirent *de;
    while (!found && (de = readdir(procs)) != NULL)
        found = isdigit((unsigned char)de->d_name[0]) && process_in_use(mf, dirfd(procs), de->d_name);
    closedir(procs);
    return found;
}
