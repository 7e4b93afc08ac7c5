/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream.c - records through a file descriptor: read and verified one header ahead, written with their sums.
 *
 * READING is not buffered, so that nothing behind END is taken from the pipe. It need not be: every record but END is followed
 * by another header, so payload and next header come with one readv(2), one system call per record.
 *
 *   fed to the sum:   hdr[0..279] | compare with hdr[280..311], unless that is zero | hdr[280..311] | payload
 *   END:              first compare its own drr_checksum with the sum of everything before it
 *
 * WRITING gathers headers and payloads into one writev(2) of about a MiB; payloads are never copied.
 *
 * Both stop within a tenth of a second when *cancel is set: they poll(2) before a call that might block, and pipes and
 * sockets are written with RWF_NOWAIT, where a blocking call would sit until the other side has taken all.
 *
 * ZFS: dmu_recv.c receive_read_record(), dmu_send.c dump_record().
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stream.h"

#define CANCEL_MS 100

const char *
drr_type_name(uint32_t type)
{
    static const char *const names[DRR_NUMTYPES] = {"BEGIN",          "OBJECT",       "FREEOBJECTS", "WRITE",
                                                    "FREE",           "END",          "WRITE_BYREF", "SPILL",
                                                    "WRITE_EMBEDDED", "OBJECT_RANGE", "REDACT"};

    return type < DRR_NUMTYPES ? names[type] : "unknown";
}

int
drr_payload_size(const dmu_replay_record_t *drr, uint64_t *size)
{
    const struct drr_object *o = &drr->drr_u.drr_object;
    const struct drr_write *w = &drr->drr_u.drr_write;
    const struct drr_spill *s = &drr->drr_u.drr_spill;

    *size = 0;
    switch (drr->drr_type) {
    case DRR_BEGIN:
        *size = drr->drr_payloadlen;
        return *size > DRR_MAX_NVLIST ? SET_ERROR(EINVAL) : 0;
    case DRR_OBJECT:
        *size = o->drr_raw_bonuslen != 0 ? o->drr_raw_bonuslen : P2ROUNDUP((uint64_t)o->drr_bonuslen, 8);
        break;
    case DRR_WRITE:
        *size = w->drr_compressiontype != 0 ? w->drr_compressed_size : w->drr_logical_size;
        break;
    case DRR_SPILL:
        *size = s->drr_compressed_size != 0 ? s->drr_compressed_size : s->drr_length;
        break;
    case DRR_WRITE_EMBEDDED:
        *size = P2ROUNDUP((uint64_t)drr->drr_u.drr_write_embedded.drr_psize, 8);
        break;
    default:
        if (drr->drr_type >= DRR_NUMTYPES)
            return SET_ERROR(EINVAL);
    }
    return *size > DRR_MAX_PAYLOAD ? SET_ERROR(EINVAL) : 0;
}

int
stream_fail(stream_error_t *se, int err, uint64_t record, uint64_t offset, const char *fmt, ...)
{
    va_list ap;

    if (se == NULL || se->se_text[0] != '\0')
        return err;
    se->se_record = record;
    se->se_offset = offset;
    va_start(ap, fmt);
    vsnprintf(se->se_text, sizeof(se->se_text), fmt, ap);
    va_end(ap);
    return err;
}

void
stream_rec_free(stream_rec_t *rec)
{
    if (rec->sr_buf != NULL)
        arc_buf_rele(rec->sr_buf);
    else
        free(rec->sr_payload);
    free(rec);
}

static void
rec_alloc_payload(stream_rec_t *rec)
{
    if (rec->sr_drr.drr_type == DRR_WRITE && rec->sr_len != 0) {
        rec->sr_buf = arc_buf_alloc((uint32_t)rec->sr_len);
        rec->sr_payload = rec->sr_buf->b_data;
    } else if (rec->sr_len != 0) {
        rec->sr_payload = xmalloc(rec->sr_len);
    }
}

static bool
canceled(const volatile int *cancel)
{
    return cancel != NULL && __atomic_load_n(cancel, __ATOMIC_RELAXED) != 0;
}

/* Wait until fd is ready; EINTR when canceled meanwhile. Regular files are always ready. */
static int
wait_ready(int fd, short events, const volatile int *cancel, const volatile int *stop)
{
    struct pollfd pfd = {.fd = fd, .events = events};

    for (;;) {
        if (canceled(cancel) || canceled(stop))
            return SET_ERROR(EINTR);
        int n = poll(&pfd, 1, CANCEL_MS);
        if (n > 0 || (n < 0 && errno != EINTR))
            return 0; /* read or write itself tells what is wrong */
    }
}

/* n bytes of the vector are done. */
static void
iov_advance(struct iovec **iov, int *cnt, size_t n)
{
    while (*cnt > 0 && n > 0) {
        size_t k = MIN(n, (*iov)->iov_len);

        if (k != 0) /* an empty one may have no base */
            (*iov)->iov_base = (char *)(*iov)->iov_base + k;
        (*iov)->iov_len -= k;
        n -= k;
        if ((*iov)->iov_len == 0) {
            ++*iov;
            --*cnt;
        }
    }
}

/* ---- reading ---- */

/* Fill the vector, which is used up. *got: bytes read, also when the end came. ENODATA at the end. */
static int
readv_all(stream_in_t *si, struct iovec *iov, int cnt, uint64_t *got)
{
    *got = 0;
    while (cnt > 0) {
        if (iov->iov_len == 0) {
            iov++, cnt--;
            continue;
        }
        int err = wait_ready(si->in_fd, POLLIN, si->in_cancel, si->in_stop);
        if (err != 0)
            return err;
        ssize_t n = readv(si->in_fd, iov, cnt);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return SET_ERROR(errno);
        if (n == 0)
            return SET_ERROR(ENODATA);
        *got += (uint64_t)n;
        iov_advance(&iov, &cnt, (size_t)n);
    }
    return 0;
}

static int
in_readv(stream_in_t *si, struct iovec *iov, int cnt)
{
    uint64_t got;
    int err = readv_all(si, iov, cnt, &got);

    si->in_off += got;
    if (si->in_progress != NULL)
        __atomic_store_n(si->in_progress, si->in_off, __ATOMIC_RELAXED);
    if (err == ENODATA)
        return stream_fail(si->in_se, SET_ERROR(EINVAL), si->in_number, si->in_off,
                           "the stream ends in the middle");
    if (err == EINTR)
        return stream_fail(si->in_se, err, si->in_number, si->in_off, "interrupted");
    if (err != 0)
        return stream_fail(si->in_se, err, si->in_number, si->in_off, "cannot read the stream: %s",
                           cowbird_strerror(err));
    return 0;
}

int
stream_in_read(stream_in_t *si, void *buf, size_t n)
{
    struct iovec iov = {buf, n};

    return in_readv(si, &iov, 1);
}

static void
in_sum(stream_in_t *si, const void *buf, size_t n)
{
    if (si->in_swap)
        fletcher_4_incremental_byteswap(buf, n, &si->in_sum);
    else
        fletcher_4_incremental_native(buf, n, &si->in_sum);
}

static void
in_init(stream_in_t *si, int fd, uint64_t *progress, const volatile int *cancel, stream_error_t *se)
{
    memset(si, 0, sizeof(*si));
    si->in_fd = fd;
    si->in_progress = progress;
    si->in_cancel = cancel;
    si->in_se = se;
    si->in_off = progress != NULL ? *progress : 0;
}

int
stream_in_begin(stream_in_t *si, int fd, uint64_t *progress, const volatile int *cancel, stream_error_t *se,
                dmu_replay_record_t *wire, bool *atend)
{
    uint64_t start;
    int err;

    in_init(si, fd, progress, cancel, se);
    start = si->in_off;
    err = stream_in_read(si, wire, sizeof(*wire));
    if (err == EINVAL && si->in_off == start) {
        if (se != NULL)
            snprintf(se->se_text, sizeof(se->se_text), "%s",
                     atend != NULL ? "the package ends without its last record" : "there is no stream: the input is empty");
        return SET_ERROR(ENODATA);
    }
    if (err != 0)
        return err;
    if (atend != NULL) {
        *atend = wire->drr_type == DRR_END || wire->drr_type == __builtin_bswap32(DRR_END);
        if (*atend)
            return 0;
    }
    if (drr_begin_order(wire, &si->in_swap) != 0)
        return stream_fail(se, SET_ERROR(EINVAL), 0, start, "this is not a send stream (bad magic number)");
    return 0;
}

/* Sum a fresh header, compare its sum, turn it to host order, pass it through the gate. */
static int
in_header(stream_in_t *si, dmu_replay_record_t *raw)
{
    uint64_t off = si->in_off - DRR_SIZE;
    zio_cksum_t before = si->in_sum, at, *end = &si->in_next.drr_u.drr_end.drr_checksum;
    static const zio_cksum_t none;
    char text[sizeof(si->in_se->se_text)];
    int err;

    in_sum(si, raw, DRR_SUM_OFFSET);
    at = si->in_sum;
    in_sum(si, (char *)raw + DRR_SUM_OFFSET, DRR_SIZE - DRR_SUM_OFFSET);

    si->in_next = *raw;
    if (si->in_swap)
        drr_byteswap(&si->in_next, __builtin_bswap32(raw->drr_type));
    const zio_cksum_t *sum = &si->in_next.drr_u.drr_checksum.drr_checksum;
    if (si->in_next.drr_type < DRR_NUMTYPES && !zio_cksum_equal(sum, &none) && !zio_cksum_equal(sum, &at))
        return stream_fail(si->in_se, SET_ERROR(ECKSUM), si->in_number, off,
                           "the checksum differs: this record or the data before it is damaged");
    if (si->in_next.drr_type == DRR_END && !zio_cksum_equal(end, &before))
        return stream_fail(si->in_se, SET_ERROR(ECKSUM), si->in_number, off,
                           "the stream's checksum differs: it is damaged");
    err = stream_check(&si->in_next, si->in_features, si->in_flags, text);
    if (err != 0)
        return stream_fail(si->in_se, err, si->in_number, off, "%s: %s", drr_type_name(si->in_next.drr_type),
                           text);
    return 0;
}

/* The payload of the record before, and the header after it. */
static int
in_advance(stream_in_t *si, void *payload, uint64_t len)
{
    dmu_replay_record_t raw = {0};
    struct iovec iov[2] = {{payload, len}, {&raw, sizeof(raw)}};
    int err;

    si->in_number++;
    err = in_readv(si, iov, 2);
    if (err != 0)
        return err;
    in_sum(si, payload, len);
    return in_header(si, &raw);
}

int
stream_in_start(stream_in_t *si, int fd, uint64_t *progress, const volatile int *cancel, stream_error_t *se,
                const dmu_replay_record_t *wire, uint8_t **payload)
{
    dmu_replay_record_t begin = *wire;
    uint64_t len;
    int err;

    *payload = NULL;
    in_init(si, fd, progress, cancel, se);
    if (progress == NULL)
        si->in_off = DRR_SIZE;
    err = drr_begin_order(wire, &si->in_swap);
    if (err != 0)
        return stream_fail(se, err, 0, 0, "this is not a send stream (bad magic number)");
    in_sum(si, wire, sizeof(*wire));
    if (si->in_swap)
        drr_byteswap(&begin, DRR_BEGIN);
    si->in_features = DMU_GET_FEATUREFLAGS(begin.drr_u.drr_begin.drr_versioninfo);
    si->in_flags = begin.drr_u.drr_begin.drr_flags;
    err = drr_payload_size(&begin, &len);
    if (err != 0)
        return stream_fail(se, err, 0, 0, "BEGIN: a list of %u bytes", begin.drr_payloadlen);
    *payload = len != 0 ? xmalloc(len) : NULL;
    err = in_advance(si, *payload, len);
    if (err != 0) {
        free(*payload);
        *payload = NULL;
    }
    return err;
}

int
stream_in_next(stream_in_t *si, stream_rec_t **recp)
{
    stream_rec_t *rec = xzalloc(sizeof(*rec));
    int err = 0;

    *recp = NULL;
    rec->sr_drr = si->in_next;
    rec->sr_number = si->in_number;
    rec->sr_offset = si->in_off - DRR_SIZE;
    VERIFY0(drr_payload_size(&rec->sr_drr, &rec->sr_len)); /* the gate saw to it */
    if (rec->sr_drr.drr_type == DRR_END) {
        si->in_ended = true;
    } else {
        rec_alloc_payload(rec);
        err = in_advance(si, rec->sr_payload, rec->sr_len);
    }
    if (err != 0)
        stream_rec_free(rec);
    else
        *recp = rec;
    return err;
}

/* ---- writing ---- */

void
stream_out_init(stream_out_t *so, int fd, uint64_t *progress, const volatile int *cancel)
{
    struct stat st;

    memset(so, 0, offsetof(stream_out_t, so_iov));
    so->so_fd = fd;
    so->so_progress = progress;
    so->so_cancel = cancel;
    so->so_nowait =
        fd >= 0 && cancel != NULL && fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
    if (fd >= 0)
        (void)fcntl(fd, F_SETPIPE_SZ, STREAM_OUT_BATCH); /* a whole batch at once, where it is a pipe and we may */
    so->so_off = progress != NULL ? *progress : 0; /* a package goes on where the stream before ended */
}

/* One attempt; n < 0 with errno set. SIGPIPE is the caller's to block. */
static ssize_t
out_try(stream_out_t *so, struct iovec *iov, int cnt)
{
    if (so->so_nowait) {
        ssize_t n = pwritev2(so->so_fd, iov, cnt, -1, RWF_NOWAIT);
        if (n >= 0 || (errno != EOPNOTSUPP && errno != EINVAL && errno != ENOSYS))
            return n;
        so->so_nowait = false;
    }
    return writev(so->so_fd, iov, cnt);
}

static void
out_rele_all(stream_out_t *so)
{
    for (int i = 0; i < so->so_nrec; i++) {
        if (so->so_rele[i] != NULL)
            so->so_rele[i](so->so_rele_arg[i]);
    }
    so->so_nrec = 0;
    so->so_pending = 0;
}

static int
out_writev(stream_out_t *so, struct iovec *iov, int cnt)
{
    while (cnt > 0) {
        if (iov->iov_len == 0) {
            iov++, cnt--;
            continue;
        }
        int err = wait_ready(so->so_fd, POLLOUT, so->so_cancel, NULL);
        if (err != 0)
            return err;
        ssize_t n = out_try(so, iov, cnt);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return SET_ERROR(errno);
        so->so_off += (uint64_t)n;
        if (so->so_progress != NULL)
            __atomic_store_n(so->so_progress, so->so_off, __ATOMIC_RELAXED);
        iov_advance(&iov, &cnt, (size_t)n);
    }
    return 0;
}

int
stream_out_flush(stream_out_t *so)
{
    int err = out_writev(so, so->so_iov, 2 * so->so_nrec);

    out_rele_all(so);
    return err;
}

void
stream_out_fini(stream_out_t *so)
{
    out_rele_all(so);
}

int
stream_out_plain(stream_out_t *so, const void *data, size_t n)
{
    struct iovec iov = {(void *)(uintptr_t)data, n};
    int err = stream_out_flush(so);

    return err != 0 ? err : out_writev(so, &iov, 1);
}

static void
out_sum_header(stream_out_t *so, dmu_replay_record_t *drr)
{
    zio_cksum_t *sum = &drr->drr_u.drr_checksum.drr_checksum;

    if (drr->drr_type == DRR_END)
        drr->drr_u.drr_end.drr_checksum = so->so_sum;
    fletcher_4_incremental_native(drr, DRR_SUM_OFFSET, &so->so_sum);
    if (drr->drr_type != DRR_BEGIN)
        *sum = so->so_sum;
    fletcher_4_incremental_native(sum, sizeof(*sum), &so->so_sum);
}

int
stream_out_record(stream_out_t *so, dmu_replay_record_t *drr, const void *payload, size_t len,
                  void (*rele)(void *), void *arg)
{
    int i = so->so_nrec;

    if (so->so_fd < 0) {
        so->so_off += DRR_SIZE + len;
        if (rele != NULL)
            rele(arg);
        return 0;
    }
    out_sum_header(so, drr);
    fletcher_4_incremental_native(payload, len, &so->so_sum);
    so->so_hdr[i] = *drr;
    so->so_iov[2 * i] = (struct iovec){&so->so_hdr[i], DRR_SIZE};
    so->so_iov[2 * i + 1] = (struct iovec){(void *)(uintptr_t)payload, len};
    so->so_rele[i] = rele;
    so->so_rele_arg[i] = arg;
    so->so_nrec++;
    so->so_pending += DRR_SIZE + len;
    if (so->so_nrec == STREAM_OUT_IOV || so->so_pending >= STREAM_OUT_BATCH)
        return stream_out_flush(so);
    return 0;
}
