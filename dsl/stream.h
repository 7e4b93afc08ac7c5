/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream.h - a send stream: its records as they travel, how to read them safely and how to write them.
 *
 *   BEGIN [nvlist]   OBJECT [bonus]  FREE  WRITE [data] WRITE [data] ...   OBJECT ...   END
 *
 *   +------+------------+----------------------------------+-----------------------+
 *   | type | payloadlen |  fields of this type             | sum of all before it  |   then the payload
 *   +------+------------+----------------------------------+-----------------------+
 *   0      4            8                                  280                     312
 *
 * A record says nothing of its own payload's sum: that is in the *next* header. So the reader looks one header ahead:
 *
 *   header n | payload n | header n+1      only when header n+1 verifies is record n handed out
 *
 * INVARIANTS
 *  1. stream_in_next() hands out a record only when its fields passed stream_check(), and, where the sender wrote
 *     sums, its header and payload verified.
 *  2. Nothing behind the END record is read: the next stream of a package stays in the pipe.
 *  3. Records handed out are in host order; payloads are still as they came (stream_swap.c turns them).
 *
 * Reading:  stream_in_begin(&si, ...); stream_in_start(&si, ...);
 *           while ((err = stream_in_next(&si, &rec)) == 0) { ...; stream_rec_free(rec); if (END) break; }
 * Writing:  stream_out_init(&so, ...); stream_out_record(&so, &drr, payload, len, rele, arg)...; stream_out_end(&so, ...);
 *
 * ZFS: include/sys/zfs_ioctl.h (the records), dmu_send.c and dmu_recv.c (the rest).
 */
#ifndef COWBIRD_STREAM_H
#define COWBIRD_STREAM_H

#include <sys/uio.h>
#include "dsl.h"

#define DRR_MAGIC 0x2F5BACBACULL

enum drr_type {
    DRR_BEGIN,
    DRR_OBJECT,
    DRR_FREEOBJECTS,
    DRR_WRITE,
    DRR_FREE,
    DRR_END,
    DRR_WRITE_BYREF,
    DRR_SPILL,
    DRR_WRITE_EMBEDDED,
    DRR_OBJECT_RANGE,
    DRR_REDACT,
    DRR_NUMTYPES
};

/* ---- drr_versioninfo: header type in bits 0-1, features from bit 2 ---- */
#define DMU_SUBSTREAM              1
#define DMU_COMPOUNDSTREAM         2
#define DMU_GET_STREAM_HDRTYPE(vi) ((vi)&3)
#define DMU_GET_FEATUREFLAGS(vi)   (((vi) >> 2) & ((1ULL << 56) - 1))
#define DMU_VERSIONINFO(hdr, feat) ((uint64_t)(hdr) | (uint64_t)(feat) << 2)

#define DMU_BACKUP_FEATURE_DEDUP          (1ULL << 0)
#define DMU_BACKUP_FEATURE_DEDUPPROPS     (1ULL << 1)
#define DMU_BACKUP_FEATURE_SA_SPILL       (1ULL << 2)
#define DMU_BACKUP_FEATURE_EMBED_DATA     (1ULL << 16)
#define DMU_BACKUP_FEATURE_LZ4            (1ULL << 17)
#define DMU_BACKUP_FEATURE_LARGE_BLOCKS   (1ULL << 19)
#define DMU_BACKUP_FEATURE_RESUMING       (1ULL << 20)
#define DMU_BACKUP_FEATURE_REDACTED       (1ULL << 21)
#define DMU_BACKUP_FEATURE_COMPRESSED     (1ULL << 22)
#define DMU_BACKUP_FEATURE_LARGE_DNODE    (1ULL << 23)
#define DMU_BACKUP_FEATURE_RAW            (1ULL << 24)
#define DMU_BACKUP_FEATURE_ZSTD           (1ULL << 25)
#define DMU_BACKUP_FEATURE_HOLDS          (1ULL << 26)
#define DMU_BACKUP_FEATURE_LONGNAME       (1ULL << 28)
#define DMU_BACKUP_FEATURE_LARGE_MICROZAP (1ULL << 29)

/* ---- flags ---- */
#define DRR_FLAG_CLONE       0x1 /* BEGIN: becomes a clone of fromguid */
#define DRR_FLAG_CI_DATA     0x2 /* BEGIN: names fold case */
#define DRR_FLAG_FREERECORDS 0x4 /* BEGIN: every hole and free object is told */
#define DRR_FLAG_SPILL_BLOCK 0x8 /* BEGIN: the two below mean something */
#define DRR_CHECKSUM_DEDUP   0x1 /* WRITE, WRITE_BYREF */
#define DRR_RAW_BYTESWAP     0x2
#define DRR_OBJECT_SPILL     0x4 /* OBJECT: has a spill block */
#define DRR_SPILL_UNMODIFIED 0x4 /* SPILL: for old receivers only */

typedef struct ddt_key {
    zio_cksum_t ddk_cksum;
    uint64_t ddk_prop; /* lsize 0-15, psize 16-31 (bytes / 512 - 1), compression 32-38 */
} ddt_key_t;

struct drr_begin {
    uint64_t drr_magic;
    uint64_t drr_versioninfo;
    uint64_t drr_creation_time; /* s */
    uint32_t drr_type;          /* dmu_objset_type_t */
    uint32_t drr_flags;
    uint64_t drr_toguid;
    uint64_t drr_fromguid; /* 0: full */
    char drr_toname[256];
};
struct drr_object {
    uint64_t drr_object;
    uint32_t drr_type, drr_bonustype;
    uint32_t drr_blksz, drr_bonuslen;
    uint8_t drr_checksumtype, drr_compress, drr_dn_slots, drr_flags;
    uint32_t drr_raw_bonuslen;
    uint64_t drr_toguid;
    uint8_t drr_indblkshift, drr_nlevels, drr_nblkptr, drr_pad[5];
    uint64_t drr_maxblkid;
};
struct drr_freeobjects {
    uint64_t drr_firstobj, drr_numobjs, drr_toguid;
};
struct drr_write {
    uint64_t drr_object;
    uint32_t drr_type, drr_pad;
    uint64_t drr_offset, drr_logical_size, drr_toguid;
    uint8_t drr_checksumtype, drr_flags, drr_compressiontype, drr_pad2[5];
    ddt_key_t drr_key;
    uint64_t drr_compressed_size;
    uint8_t drr_crypt[36];
};
struct drr_free { /* and REDACT */
    uint64_t drr_object, drr_offset, drr_length, drr_toguid;
};
struct drr_end {
    zio_cksum_t drr_checksum; /* of everything before this record */
    uint64_t drr_toguid;
};
struct drr_write_byref {
    uint64_t drr_object, drr_offset, drr_length, drr_toguid;
    uint64_t drr_refguid, drr_refobject, drr_refoffset;
    uint8_t drr_checksumtype, drr_flags, drr_pad[6];
    ddt_key_t drr_key;
};
struct drr_spill {
    uint64_t drr_object, drr_length, drr_toguid;
    uint8_t drr_flags, drr_compressiontype, drr_pad[6];
    uint64_t drr_compressed_size;
    uint8_t drr_crypt[36];
    uint32_t drr_type;
};
struct drr_write_embedded {
    uint64_t drr_object, drr_offset, drr_length, drr_toguid;
    uint8_t drr_compression, drr_etype, drr_pad[6];
    uint32_t drr_lsize, drr_psize;
};
struct drr_object_range {
    uint64_t drr_firstobj, drr_numslots, drr_toguid;
    uint8_t drr_crypt[36];
    uint8_t drr_flags, drr_pad[3];
};
struct drr_checksum {
    uint64_t drr_pad[34];
    zio_cksum_t drr_checksum;
};

typedef struct dmu_replay_record {
    uint32_t drr_type;
    uint32_t drr_payloadlen; /* BEGIN only */
    union {
        struct drr_begin drr_begin;
        struct drr_object drr_object;
        struct drr_freeobjects drr_freeobjects;
        struct drr_write drr_write;
        struct drr_free drr_free;
        struct drr_end drr_end;
        struct drr_write_byref drr_write_byref;
        struct drr_spill drr_spill;
        struct drr_write_embedded drr_write_embedded;
        struct drr_object_range drr_object_range;
        struct drr_checksum drr_checksum;
    } drr_u;
} dmu_replay_record_t;

#define DRR_SIZE       312
#define DRR_SUM_OFFSET 280 /* the trailing sum covers all bytes before this one */
#define DRR_OFF(f)     offsetof(dmu_replay_record_t, drr_u.f)
_Static_assert(sizeof(dmu_replay_record_t) == DRR_SIZE, "a record header is 312 bytes");
_Static_assert(DRR_OFF(drr_checksum.drr_checksum) == DRR_SUM_OFFSET, "its sum lies in the last 32");
_Static_assert(DRR_OFF(drr_begin.drr_toname) == 56, "BEGIN");
_Static_assert(DRR_OFF(drr_object.drr_raw_bonuslen) == 36 && DRR_OFF(drr_object.drr_maxblkid) == 56,
               "OBJECT");
_Static_assert(DRR_OFF(drr_write.drr_key) == 56 && DRR_OFF(drr_write.drr_compressed_size) == 96, "WRITE");
_Static_assert(DRR_OFF(drr_write_byref.drr_key) == 72, "WRITE_BYREF");
_Static_assert(DRR_OFF(drr_spill.drr_compressed_size) == 40 && DRR_OFF(drr_spill.drr_type) == 84, "SPILL");
_Static_assert(DRR_OFF(drr_write_embedded.drr_psize) == 52, "WRITE_EMBEDDED");
_Static_assert(DRR_OFF(drr_object_range.drr_flags) == 68, "OBJECT_RANGE");
_Static_assert(DRR_OFF(drr_end.drr_toguid) == 40, "END");

#define DRR_MAX_PAYLOAD    SPA_MAXBLOCKSIZE
#define DRR_MAX_NVLIST     (64u << 20) /* of BEGIN */
#define STREAM_QUEUE_BYTES (16u << 20) /* between two threads of a send or a receive */

/* ---------------------------------------------------------------- stream.c: records in and out ---- */

const char *drr_type_name(uint32_t type);
/* Bytes that follow the header (host order). EINVAL: a type without a rule, or more than any sender writes. */
int drr_payload_size(const dmu_replay_record_t *drr, uint64_t *size);
/* se (may be NULL) gets place and text, unless an earlier error is there already; returns err. */
int stream_fail(stream_error_t *se, int err, uint64_t record, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

typedef struct stream_rec {
    list_node_t sr_node;        /* of a stream_queue */
    dmu_replay_record_t sr_drr; /* host order */
    uint64_t sr_number, sr_offset;
    uint64_t sr_len;
    uint8_t *sr_payload; /* NULL: none */
    arc_buf_t *sr_buf;   /* of WRITE: owns the payload, which may become a block as it is; else NULL */
} stream_rec_t;
void stream_rec_free(stream_rec_t *rec);

typedef struct stream_in {
    int in_fd;
    const volatile int *in_cancel; /* may be NULL */
    const volatile int *in_stop;   /* likewise: a second reason to stop */
    uint64_t *in_progress;         /* may be NULL; atomic store */
    stream_error_t *in_se;
    bool in_swap; /* the stream's byte order is not ours */
    bool in_ended;
    zio_cksum_t in_sum;
    uint64_t in_off; /* bytes read */
    uint64_t in_features;
    uint32_t in_flags;           /* of BEGIN */
    dmu_replay_record_t in_next; /* read and verified, not yet handed out */
    uint64_t in_number;          /* of in_next */
} stream_in_t;

/* Reads a header that must be BEGIN (or, atend given, may be END: then *atend). As on the wire.
 * EINVAL no stream, or cut short (se says which); ENODATA: not a byte there; EINTR. */
int stream_in_begin(stream_in_t *si, int fd, uint64_t *progress, const volatile int *cancel,
                    stream_error_t *se, dmu_replay_record_t *wire, bool *atend);
/* Sum the BEGIN, read its payload (to be freed; NULL when none) and look ahead. drr: BEGIN as on the wire. */
int stream_in_start(stream_in_t *si, int fd, uint64_t *progress, const volatile int *cancel,
                    stream_error_t *se, const dmu_replay_record_t *wire, uint8_t **payload);
int stream_in_next(stream_in_t *si, stream_rec_t **recp);
/* Plain reading with cancel; EINVAL: the stream ends. */
int stream_in_read(stream_in_t *si, void *buf, size_t n);

/* Headers are copied, payloads are not: they are released when they have been written. */
#define STREAM_OUT_IOV   64
#define STREAM_OUT_BATCH (1u << 20)
typedef struct stream_out {
    int so_fd; /* -1: count only */
    uint64_t *so_progress;
    const volatile int *so_cancel;
    bool so_nowait; /* a pipe or socket, and the kernel can write without blocking */
    zio_cksum_t so_sum;
    uint64_t so_off;
    uint64_t so_pending; /* bytes in so_iov */
    int so_nrec;
    struct iovec so_iov[2 * STREAM_OUT_IOV];
    dmu_replay_record_t so_hdr[STREAM_OUT_IOV];
    void (*so_rele[STREAM_OUT_IOV])(void *);
    void *so_rele_arg[STREAM_OUT_IOV];
} stream_out_t;

void stream_out_init(stream_out_t *so, int fd, uint64_t *progress, const volatile int *cancel);
/* Fills in the trailing sum (END: the stream's), queues. rele(arg), which may be NULL, is always called once.
 * EINTR, EPIPE, or what write(2) said. */
int stream_out_record(stream_out_t *so, dmu_replay_record_t *drr, const void *payload, size_t len,
                      void (*rele)(void *), void *arg);
int stream_out_flush(stream_out_t *so);
int stream_out_plain(stream_out_t *so, const void *data, size_t n); /* at once, and no part of any sum */
void stream_out_fini(stream_out_t *so); /* drops what is queued */

/* ---------------------------------------------------------------- stream_check.c: the gate ---- */

/* Every rule a record must obey by itself; host order. text (200 bytes) says what is wrong. EINVAL, ENOTSUP */
int stream_check(const dmu_replay_record_t *drr, uint64_t features, uint32_t begin_flags, char *text);
/* BEGIN of one snapshot, host order: EINVAL, ENOTSUP (features, named in text). */
int stream_check_begin(const struct drr_begin *drrb, char *text);

/* ---------------------------------------------------------------- stream_swap.c: byte order ---- */

/* Is this header BEGIN of a foreign order? EINVAL: magic neither way round. */
int drr_begin_order(const dmu_replay_record_t *wire, bool *swap);
/* Turn a header round in place. type: the record's, in host order. */
void drr_byteswap(dmu_replay_record_t *drr, uint32_t type);

/* What turning ZAP blocks needs to remember from block to block. */
typedef struct stream_order {
    bool sd_swap;       /* the stream's order is foreign */
    uint64_t sd_object; /* whose ZAP was seen last */
    bool sd_zap_swap;   /* and how it was turned */
} stream_order_t;
/* A block of an object: to host order. */
void stream_swap_block(stream_order_t *sd, uint64_t object, uint8_t type, void *buf, size_t n);
void stream_swap_bonus(const stream_order_t *sd, uint8_t bonustype, void *buf, size_t n);

/* ---------------------------------------------------------------- stream_queue.c: between threads ---- */

typedef struct stream_queue {
    kmutex_t sq_lock;
    kcondvar_t sq_put, sq_get;
    list_t sq_list;
    uint64_t sq_bytes, sq_max;
    bool sq_closed;  /* the producer is done */
    bool sq_stopped; /* the consumer wants no more */
} stream_queue_t;
void stream_queue_init(stream_queue_t *q, size_t node_offset, uint64_t max);
void stream_queue_fini(stream_queue_t *q); /* must be empty */
/* False: the consumer has gone; the element is still the caller's. */
bool stream_queue_put(stream_queue_t *q, void *elem, uint64_t bytes);
void stream_queue_close(stream_queue_t *q);
/* The oldest, or NULL when closed and empty. Its bytes count until given back. */
void *stream_queue_get(stream_queue_t *q);
void stream_queue_done(stream_queue_t *q, uint64_t bytes);
void stream_queue_stop(stream_queue_t *q);

#endif
