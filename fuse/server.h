/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server.h - the daemon's control socket: a command line travels to the process that has the pool open.
 *
 *   client                                       daemon
 *     connect, send {argc, argv, cwd}  ────────►   accept; same uid (or root) only
 *     + stdin, stdout, stderr (SCM_RIGHTS)         a thread runs the command on the open pool
 *     closes the socket on SIGINT      ─ ─ ─ ─►    *cancel = 1
 *     exit code                        ◄────────   code, close
 *
 * One request per connection; hostile or malformed ones are dropped. The socket lies in a 0700 directory.
 */
#ifndef COWBIRD_SERVER_H
#define COWBIRD_SERVER_H

#include "base.h"

typedef struct server server_t;
typedef struct server_request {
    int sr_argc;
    char **sr_argv;
    const char *sr_cwd;
    int sr_fds[3];
    uid_t sr_uid;
    const volatile int *sr_cancel;
} server_request_t;
#define SERVER_ENDS (-2) /* instead of an exit code: not run, this daemon is ending; the client gets ECONNREFUSED */
typedef int (*server_run_t)(void *arg, const server_request_t *req); /* returns the exit code */

/* EADDRINUSE: another daemon answers there (a stale socket is removed). */
int server_start(const char *path, server_run_t run, void *arg, server_t **srvp);
/* Stops accepting and removes the socket; commands that run go on. With cancel they are asked to end. */
void server_shutdown(server_t *srv, bool cancel);
/* After server_shutdown(): waits for running commands, frees. */
void server_stop(server_t *srv);
/* Client: run argv there, with our standard input and error, and output to fd. ENOENT or ECONNREFUSED: no daemon. cancel: when set, the connection is closed and EINTR returned. */
int server_call(const char *path, int argc, char *const *argv, int fd, const volatile int *cancel, int *code);

#endif
