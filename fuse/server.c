/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server.c - the control socket, both ends: server.h draws the exchange.
 *
 * The message is one buffer: magic, argc, then the arguments and the working directory as NUL-terminated strings. It is
 * bounded, arrives whole in one sendmsg() of a SOCK_SEQPACKET socket, and carries exactly three descriptors.
 *
 * INVARIANTS
 *  1. A connection is served only when its peer runs as our user or as root (SO_PEERCRED).
 *  2. Descriptors that arrive are closed on every path.
 *  3. server_stop() returns only when no command runs any more.
 *  4. A connection is on srv_conns from accept() until its thread ends.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "server.h"

#define MSG_MAGIC    0x44524942574f43ULL
#define MSG_MAX      (128 * 1024)
#define MSG_MAX_ARGS 4096

typedef struct msg_head {
    uint64_t mh_magic;
    uint32_t mh_argc;
    uint32_t mh_bytes; /* of strings that follow: argv, then cwd */
} msg_head_t;

struct server {
    int srv_fd;
    int srv_wake[2]; /* a byte ends the accept loop */
    char *srv_path;
    server_run_t srv_run;
    void *srv_arg;
    pthread_t srv_thread;
    kmutex_t srv_lock;
    kcondvar_t srv_cv;
    list_t srv_conns; /* srv_lock */
};

typedef struct conn {
    server_t *co_srv;
    int co_fd;
    int co_fds[3];
    uid_t co_uid;
    char *co_buf;
    size_t co_len;
    volatile int co_cancel;
    int co_done; /* eventfd: the command has ended */
    list_node_t co_link;
} conn_t;

static int
sun_fill(const char *path, struct sockaddr_un *sun)
{
    memset(sun, 0, sizeof(*sun));
    sun->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof(sun->sun_path))
        return SET_ERROR(ENAMETOOLONG);
    strcpy(sun->sun_path, path);
    return 0;
}

/* ---- the daemon's side ---- */

/* Receive the one message with its descriptors. */
static int
conn_receive(conn_t *co)
{
    char cbuf[CMSG_SPACE(8 * sizeof(int))];
    co->co_buf = xmalloc(MSG_MAX);
    struct iovec iov = {co->co_buf, MSG_MAX};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = cbuf, .msg_controllen = sizeof(cbuf)};
    struct timeval tv = {5, 0};
    (void)setsockopt(co->co_fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    ssize_t n = recvmsg(co->co_fd, &mh, MSG_CMSG_CLOEXEC);
    if (n < 0)
        return SET_ERROR(errno);
    int got = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&mh); c != NULL; c = CMSG_NXTHDR(&mh, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        int count = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (int i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (got < 3)
                co->co_fds[got++] = fd;
            else
                close(fd);
        }
    }
    co->co_len = (size_t)n;
    return got == 3 && !(mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ? 0 : SET_ERROR(EINVAL);
}

/* Cut the strings apart. argv gets argc + 1 entries; *cwd the string after them. */
static int
conn_parse(conn_t *co, char ***argvp, int *argcp, const char **cwd)
{
    msg_head_t mh;
    if (co->co_len < sizeof(mh))
        return SET_ERROR(EINVAL);
    memcpy(&mh, co->co_buf, sizeof(mh));
    if (mh.mh_magic != MSG_MAGIC || mh.mh_argc == 0 || mh.mh_argc > MSG_MAX_ARGS ||
        mh.mh_bytes != co->co_len - sizeof(mh))
        return SET_ERROR(EINVAL);
    char *p = co->co_buf + sizeof(mh), *end = co->co_buf + co->co_len;
    char **argv = xzalloc((mh.mh_argc + 2) * sizeof(*argv));
    for (uint32_t i = 0; i <= mh.mh_argc; i++) {
        char *nul = p < end ? memchr(p, 0, (size_t)(end - p)) : NULL;
        if (nul == NULL) {
            free(argv);
            return SET_ERROR(EINVAL);
        }
        argv[i] = p;
        p = nul + 1;
    }
    *cwd = argv[mh.mh_argc];
    argv[mh.mh_argc] = NULL;
    *argvp = argv;
    *argcp = (int)mh.mh_argc;
    return 0;
}

/* Watches the connection while the command runs: the client closes it to cancel. */
static void *
conn_watch(void *arg)
{
    conn_t *co = arg;
    struct pollfd p[2] = {{co->co_fd, POLLRDHUP, 0}, {co->co_done, POLLIN, 0}};
    while (poll(p, 2, -1) < 0 && errno == EINTR)
        ;
    if (p[1].revents == 0)
        __atomic_store_n(&co->co_cancel, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void
conn_serve(conn_t *co)
{
    char **argv;
    int argc;
    const char *cwd;
    if (conn_receive(co) != 0 || conn_parse(co, &argv, &argc, &cwd) != 0)
        return;
    pthread_t watcher;
    co->co_done = eventfd(0, EFD_CLOEXEC);
    bool watched = co->co_done >= 0 && pthread_create(&watcher, NULL, conn_watch, co) == 0;
    server_request_t req = {argc, argv, cwd, {co->co_fds[0], co->co_fds[1], co->co_fds[2]}, co->co_uid, &co->co_cancel};
    int32_t code = co->co_srv->srv_run(co->co_srv->srv_arg, &req);
    if (watched) {
        VERIFY0(eventfd_write(co->co_done, 1));
        pthread_join(watcher, NULL);
    }
    if (co->co_done >= 0)
        close(co->co_done);
    free(argv);
    (void)send(co->co_fd, &code, sizeof(code), MSG_NOSIGNAL);
}

static void
conn_free(conn_t *co)
{
    server_t *srv = co->co_srv;
    mutex_enter(&srv->srv_lock);
    list_remove(&srv->srv_conns, co);
    cv_broadcast(&srv->srv_cv);
    mutex_exit(&srv->srv_lock);
    free(co->co_buf);
    free(co);
}

static void *
conn_thread(void *arg)
{
    conn_t *co = arg;
    conn_serve(co);
    for (int i = 0; i < 3; i++) {
        if (co->co_fds[i] >= 0)
            close(co->co_fds[i]);
    }
    close(co->co_fd);
    conn_free(co);
    return NULL;
}

static void
server_accept(server_t *srv)
{
    int fd = accept4(srv->srv_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct ucred uc;
    socklen_t len = sizeof(uc);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &uc, &len) != 0 || (uc.uid != geteuid() && uc.uid != 0)) {
        close(fd);
        return;
    }
    conn_t *co = xzalloc(sizeof(*co));
    *co = (conn_t){.co_srv = srv, .co_fd = fd, .co_fds = {-1, -1, -1}, .co_uid = uc.uid};
    mutex_enter(&srv->srv_lock);
    list_insert_tail(&srv->srv_conns, co);
    mutex_exit(&srv->srv_lock);
    pthread_t t;
    if (pthread_create(&t, NULL, conn_thread, co) == 0) {
        pthread_detach(t);
        return;
    }
    close(fd);
    conn_free(co);
}

static void *
server_loop(void *arg)
{
    server_t *srv = arg;
    for (;;) {
        struct pollfd p[2] = {{srv->srv_fd, POLLIN, 0}, {srv->srv_wake[0], POLLIN, 0}};
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return NULL;
        if (p[1].revents != 0)
            return NULL;
        if (p[0].revents != 0)
            server_accept(srv);
    }
}

/* Bind, taking over the path of a daemon that is gone. */
static int
server_bind(int fd, const char *path)
{
    struct sockaddr_un sun;
    int err = sun_fill(path, &sun);
    if (err != 0)
        return err;
    if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0)
        return 0;
    if (errno != EADDRINUSE)
        return SET_ERROR(errno);
    int probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    bool alive = probe >= 0 && connect(probe, (struct sockaddr *)&sun, sizeof(sun)) == 0;
    if (probe >= 0)
        close(probe);
    if (alive)
        return SET_ERROR(EADDRINUSE);
    unlink(path);
    return bind(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0 ? 0 : SET_ERROR(errno);
}

int
server_start(const char *path, server_run_t run, void *arg, server_t **srvp)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return SET_ERROR(errno);
    int err = server_bind(fd, path);
    if (err == 0 && listen(fd, 64) != 0)
        err = SET_ERROR(errno);
    if (err != 0) {
        close(fd);
        return err;
    }
    server_t *srv = xzalloc(sizeof(*srv));
    srv->srv_fd = fd;
    srv->srv_path = xstrdup(path);
    srv->srv_run = run;
    srv->srv_arg = arg;
    mutex_init(&srv->srv_lock);
    cv_init(&srv->srv_cv);
    list_create(&srv->srv_conns, offsetof(conn_t, co_link));
    VERIFY0(pipe2(srv->srv_wake, O_CLOEXEC));
    VERIFY0(pthread_create(&srv->srv_thread, NULL, server_loop, srv));
    *srvp = srv;
    return 0;
}

void
server_shutdown(server_t *srv, bool cancel)
{
    VERIFY3U(write(srv->srv_wake[1], "", 1), ==, 1);
    pthread_join(srv->srv_thread, NULL);
    unlink(srv->srv_path);
    close(srv->srv_fd);
    mutex_enter(&srv->srv_lock);
    for (conn_t *co = list_head(&srv->srv_conns); cancel && co != NULL; co = list_next(&srv->srv_conns, co))
        __atomic_store_n(&co->co_cancel, 1, __ATOMIC_RELEASE);
    mutex_exit(&srv->srv_lock);
}

void
server_stop(server_t *srv)
{
    mutex_enter(&srv->srv_lock);
    while (!list_is_empty(&srv->srv_conns))
        cv_wait(&srv->srv_cv, &srv->srv_lock);
    mutex_exit(&srv->srv_lock);
    list_destroy(&srv->srv_conns);
    close(srv->srv_wake[0]);
    close(srv->srv_wake[1]);
    cv_destroy(&srv->srv_cv);
    mutex_destroy(&srv->srv_lock);
    free(srv->srv_path);
    free(srv);
}

/* ---- the client's side ---- */

static int
call_send(int fd, int argc, char *const *argv, int out)
{
    char cwd[4096] = "/";
    if (getcwd(cwd, sizeof(cwd)) == NULL)
        strcpy(cwd, "/");
    size_t bytes = strlen(cwd) + 1;
    for (int i = 0; i < argc; i++)
        bytes += strlen(argv[i]) + 1;
    if (argc > MSG_MAX_ARGS || sizeof(msg_head_t) + bytes > MSG_MAX)
        return SET_ERROR(E2BIG);
    char *buf = xmalloc(sizeof(msg_head_t) + bytes), *p = buf + sizeof(msg_head_t);
    msg_head_t mh = {MSG_MAGIC, (uint32_t)argc, (uint32_t)bytes};
    memcpy(buf, &mh, sizeof(mh));
    for (int i = 0; i < argc; i++)
        p = stpcpy(p, argv[i]) + 1;
    strcpy(p, cwd);

    int fds[3] = {0, out, 2};
    char cbuf[CMSG_SPACE(sizeof(fds))];
    memset(cbuf, 0, sizeof(cbuf));
    struct iovec iov = {buf, sizeof(mh) + bytes};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = cbuf, .msg_controllen = sizeof(cbuf)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fds));
    memcpy(CMSG_DATA(c), fds, sizeof(fds));
    int size = MSG_MAX + 4096;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    int err = sendmsg(fd, &msg, MSG_NOSIGNAL) < 0 ? errno : 0;
    free(buf);
    return err == EPIPE || err == ECONNRESET ? ECONNREFUSED : err; /* it ended just now */
}

#define CALL_POLL_MS   200
#define CANCEL_WAIT_MS 5000

/*
 * The exit code, then the end of the connection: the daemon may have more to do before it counts as done. When canceled it is told so, and has
 * a while to undo what it has begun and to say so.
 */
static int
call_wait(int fd, const volatile int *cancel, int *code)
{
    int32_t answer = -1;
    int left = -1; /* polls; -1: not canceled */
    for (;;) {
        if (left < 0 && cancel != NULL && *cancel) {
            (void)shutdown(fd, SHUT_WR);
            left = CANCEL_WAIT_MS / CALL_POLL_MS;
        }
        if (left == 0)
            return SET_ERROR(EINTR);
        struct pollfd p = {fd, POLLIN, 0};
        int n = poll(&p, 1, CALL_POLL_MS);
        left -= n == 0 && left > 0;
        if (n <= 0)
            continue;
        ssize_t got = recv(fd, &answer, sizeof(answer), 0);
        if (got == (ssize_t)sizeof(answer)) {
            *code = answer;
            continue;
        }
        if (got < 0 && errno == EINTR)
            continue;
        if (left >= 0)
            return SET_ERROR(EINTR);
        if (answer == SERVER_ENDS || (answer == -1 && got < 0 && errno == ECONNRESET)) /* or ended with our message unread */
            return ECONNREFUSED;
        return answer < 0 ? SET_ERROR(ECONNRESET) : 0;
    }
}

int
server_call(const char *path, int argc, char *const *argv, int out, const volatile int *cancel, int *code)
{
    struct sockaddr_un sun;
    int err = sun_fill(path, &sun);
    if (err != 0)
        return err;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return SET_ERROR(errno);
    if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) != 0)
        err = errno; /* no daemon: an everyday answer, not marked as an error's origin */
    else
        err = call_send(fd, argc, argv, out);
    if (err == 0)
        err = call_wait(fd, cancel, code);
    close(fd);
    return err;
}
