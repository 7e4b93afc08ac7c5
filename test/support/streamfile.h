/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * streamfile.h - a whole stream in memory, to be taken apart, changed and put together again: for tests.
 *
 *     sf_load() ──► sf_recs[]: header in host order, payload as it came ──► change ──► sf_store(): sums made anew
 *
 * Written from the format alone and apart from dsl/stream*.c, so that the two check each other: turning payloads to the
 * other byte order here goes from ours to foreign, there from foreign to ours.
 */
#ifndef COWBIRD_TEST_STREAMFILE_H
#define COWBIRD_TEST_STREAMFILE_H

#include "stream.h"

typedef struct sf_rec {
    dmu_replay_record_t r_drr; /* host order */
    uint8_t *r_payload;        /* in sf_data */
    uint64_t r_len;
    uint64_t r_offset; /* in the file */
} sf_rec_t;

typedef struct streamfile {
    uint8_t *sf_data;
    uint64_t sf_size;
    bool sf_foreign; /* its order is not ours */
    sf_rec_t *sf_recs;
    uint64_t sf_n;
} streamfile_t;

int sf_load(const char *path, streamfile_t *sf);              /* one stream or package; 0 or errno */
int sf_parse(uint8_t *data, uint64_t size, streamfile_t *sf); /* takes data over */
void sf_free(streamfile_t *sf);

#define SF_SWAP  1 /* the other byte order than ours, payloads too */
#define SF_NOSUM 2 /* as old senders: END's sum only */
/* The stream anew, in a buffer of *size bytes for the caller to free. */
uint8_t *sf_store(const streamfile_t *sf, int flags, uint64_t *size);
int sf_write_file(const char *path, const uint8_t *data, uint64_t size);

#endif
