/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * streamtool - stored streams, changed for tests.
 *
 *   streamtool dump FILE                       every record, a line each
 *   streamtool swap IN OUT                     the other byte order, payloads by their types
 *   streamtool nosum IN OUT                    without the sums of records, as old senders
 *   streamtool cut IN OUT BYTES                the first BYTES bytes
 *   streamtool flip IN OUT BIT                 bit BIT (from 0) turned over
 *   streamtool set IN OUT RECORD OFFSET SIZE VALUE    a field of a header changed, all sums made right again
 */
#include "../support/streamfile.c" /* NOLINT(bugprone-suspicious-include): tools link no support files */

static void
dump_record(uint64_t i, const sf_rec_t *r)
{
    const dmu_replay_record_t *d = &r->r_drr;
    const struct drr_object *o = &d->drr_u.drr_object;
    const struct drr_write *w = &d->drr_u.drr_write;
    const struct drr_free *f = &d->drr_u.drr_free;
    typedef unsigned long long ull;

    printf("%llu @%llu %s", (ull)i, (ull)r->r_offset, drr_type_name(d->drr_type));
    if (d->drr_type == DRR_BEGIN)
        printf(" %s versioninfo 0x%llx flags 0x%x to %llx from %llx", d->drr_u.drr_begin.drr_toname,
               (ull)d->drr_u.drr_begin.drr_versioninfo, d->drr_u.drr_begin.drr_flags,
               (ull)d->drr_u.drr_begin.drr_toguid, (ull)d->drr_u.drr_begin.drr_fromguid);
    else if (d->drr_type == DRR_OBJECT)
        printf(" object %llu type %u bonustype %u blksz %u bonuslen %u slots %u flags %u", (ull)o->drr_object,
               o->drr_type, o->drr_bonustype, o->drr_blksz, o->drr_bonuslen, o->drr_dn_slots, o->drr_flags);
    else if (d->drr_type == DRR_WRITE)
        printf(" object %llu type %u offset %llu length %llu compression %u", (ull)w->drr_object, w->drr_type,
               (ull)w->drr_offset, (ull)w->drr_logical_size, w->drr_compressiontype);
    else if (d->drr_type == DRR_FREEOBJECTS)
        printf(" first %llu count %llu", (ull)d->drr_u.drr_freeobjects.drr_firstobj,
               (ull)d->drr_u.drr_freeobjects.drr_numobjs);
    else if (d->drr_type != DRR_END)
        printf(" object %llu offset %llu length %llu", (ull)f->drr_object, (ull)f->drr_offset,
               (ull)f->drr_length);
    printf(" payload %llu\n", (ull)r->r_len);
}

static int
store(const char *path, const streamfile_t *sf, int flags)
{
    uint64_t size;
    uint8_t *data = sf_store(sf, flags, &size);
    int err = sf_write_file(path, data, size);

    free(data);
    return err;
}

static int
set_field(streamfile_t *sf, char **a) /* RECORD OFFSET SIZE VALUE */
{
    uint64_t rec = strtoull(a[0], NULL, 0), off = strtoull(a[1], NULL, 0), size = strtoull(a[2], NULL, 0);
    uint64_t value = strtoull(a[3], NULL, 0);

    if (rec >= sf->sf_n || size > 8 || off + size > DRR_SIZE)
        return EINVAL;
    memcpy((uint8_t *)&sf->sf_recs[rec].r_drr + off, &value, size);
    return 0;
}

int
main(int argc, char **argv)
{
    const char *cmd = argc > 2 ? argv[1] : "";
    streamfile_t sf;
    int err = argc > 2 ? sf_load(argv[2], &sf) : EINVAL;

    if (err == 0 && strcmp(cmd, "dump") == 0) {
        for (uint64_t i = 0; i < sf.sf_n; i++)
            dump_record(i, &sf.sf_recs[i]);
    } else if (err == 0 && argc == 4 && strcmp(cmd, "swap") == 0) {
        err = store(argv[3], &sf, SF_SWAP);
    } else if (err == 0 && argc == 4 && strcmp(cmd, "nosum") == 0) {
        err = store(argv[3], &sf, SF_NOSUM);
    } else if (err == 0 && argc == 5 && strcmp(cmd, "cut") == 0) {
        err = sf_write_file(argv[3], sf.sf_data, MIN(strtoull(argv[4], NULL, 0), sf.sf_size));
    } else if (err == 0 && argc == 5 && strcmp(cmd, "flip") == 0) {
        uint64_t bit = strtoull(argv[4], NULL, 0) % (MAX(sf.sf_size, 1) * 8);
        sf.sf_data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        err = sf_write_file(argv[3], sf.sf_data, sf.sf_size);
    } else if (err == 0 && argc == 8 && strcmp(cmd, "set") == 0) {
        err = set_field(&sf, argv + 4);
        if (err == 0)
            err = store(argv[3], &sf, 0);
    } else if (err == 0) {
        err = EINVAL;
    }
    if (err != 0)
        fprintf(stderr, "streamtool: %s\n", cowbird_strerror(err));
    if (argc > 2)
        sf_free(&sf);
    return err != 0;
}
