/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * look_peek.c - the first record of the next stream, without taking it: it decides where the stream goes, and a receive reads it
 * again from its start.
 *
 *   file      pread(2) at the present offset
 *   pipe      tee(2) into a pipe of our own, which copies and does not consume
 *   socket    recv(2) with MSG_PEEK
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "look.h"

#define PEEK_WAIT_US 2000 /* a writer that has written half a record writes the rest soon */

/* What lies in the pipe now, at most n bytes; and whether that is all there will be. */
static int
peek_pipe_once(int fd, const int *own, void *buf, size_t n, size_t *got, bool *ended)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    ssize_t r = poll(&pfd, 1, 100) < 0 ? 0 : 1;

    *ended = (pfd.revents & (POLLHUP | POLLERR)) != 0;
    *got = 0;
    if (r == 0 || (pfd.revents & POLLIN) == 0)
        return 0;
    r = tee(fd, own[1], n, SPLICE_F_NONBLOCK);
    if (r < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : SET_ERROR(errno);
    if (r > 0 && read(own[0], buf, (size_t)r) != r)
        return SET_ERROR(EIO);
    *got = (size_t)r;
    return 0;
}

static int
peek_pipe(const cmd_env_t *env, int fd, void *buf, size_t n, size_t *got)
{
    int own[2], err = 0;
    bool ended = false;

    if (pipe2(own, O_CLOEXEC) != 0)
        return SET_ERROR(errno);
    for (*got = 0; err == 0 && *got < n && !ended;) {
        err = env_canceled(env) ? SET_ERROR(EINTR) : peek_pipe_once(fd, own, buf, n, got, &ended);
        if (err == 0 && *got > 0 && *got < n && !ended)
            usleep(PEEK_WAIT_US);
    }
    close(own[0]);
    close(own[1]);
    return err;
}

int
look_peek(const cmd_env_t *env, int fd, void *buf, size_t n, size_t *got)
{
    struct stat st;
    ssize_t r;

    if (fstat(fd, &st) != 0)
        return SET_ERROR(errno);
    if (S_ISFIFO(st.st_mode))
        return peek_pipe(env, fd, buf, n, got);
    do {
        if (S_ISSOCK(st.st_mode))
            r = recv(fd, buf, n, MSG_PEEK | MSG_WAITALL);
        else if (S_ISCHR(st.st_mode))
            r = read(fd, buf, n); /* no stream comes from there; only the end can be met */
        else
            r = pread(fd, buf, n, lseek(fd, 0, SEEK_CUR));
    } while (r < 0 && errno == EINTR && !env_canceled(env));
    *got = r < 0 ? 0 : (size_t)r;
    return r < 0 ? SET_ERROR(errno) : 0;
}
