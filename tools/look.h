/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * look.h - looking into stored streams without receiving them into a pool of one's own.
 *
 *   cmd_look.c      cowbird stream ls|cat|extract|dump|verify
 *   look_dump.c     the records, printed as zstream prints them    } straight from the file: nothing is kept
 *   look_verify.c   every rule and checksum of the format          }
 *   scratch.c       a pool on a file without a name, into which the streams are received
 *   look_tree.c     what the streams give: a tree of files, and of file systems in a package    } read from the
 *   look_ls.c       listing, printing                                                           } scratch pool
 *   look_extract.c  copying out                                                                 }
 */
#ifndef COWBIRD_LOOK_H
#define COWBIRD_LOOK_H

#include "cmd.h"

/* ---- look_dump.c ---- */
#define DUMP_RECORDS 1 /* -v */
#define DUMP_HEX     2 /* -d */
#define DUMP_NOSUM   4 /* -C */
int look_dump(cmd_env_t *env, const char *file, int flags);

/* ---- look_verify.c ---- */
int look_verify(cmd_env_t *env, const char *file, bool verbose);

/* ---- cmd_look.c ---- */
/* A descriptor to read file from ("-": standard input), or -1 after a message. Closed by the caller. */
int look_open(cmd_env_t *env, const char *file);

#endif
