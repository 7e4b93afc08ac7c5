/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nvlist_dump.c - lists as OpenZFS's tools print them (zstream, zdb), for output that is compared with theirs.
 *
 *   nvlist version: 0
 *           tosnap = snap                      numbers are hexadecimal, signed ones decimal
 *           props = (embedded nvlist)
 *           nvlist version: 0
 *                   compression = 0x1
 *           (end props)
 *
 * Bytes that a terminal would act on are written as \xNN. ZFS: lib/libnvpair/libnvpair.c (nvlist_print).
 */
#include "nvlist_impl.h"

#include <inttypes.h>
#include <stdio.h>

static void
dump_text(FILE *f, const char *s)
{
    for (; *s != '\0'; s++)
        fprintf(f, (uint8_t)*s < 0x20 || *s == 0x7f ? "\\x%02x" : "%c", (uint8_t)*s);
}

static void
dump_tabs(FILE *f, int depth)
{
    while (depth-- > 0)
        fputc('\t', f);
}

static void
dump_number(FILE *f, data_type_t type, const nv_type_t *t, uint64_t v)
{
    double d;

    if (type == DATA_TYPE_DOUBLE) {
        memcpy(&d, &v, sizeof(d));
        fprintf(f, "%f", d);
    } else if (type == DATA_TYPE_BOOLEAN_VALUE || type == DATA_TYPE_BOOLEAN_ARRAY ||
               (t->nt_signed && type != DATA_TYPE_HRTIME)) {
        fprintf(f, "%" PRId64, (int64_t)v);
    } else if (type == DATA_TYPE_BYTE || type == DATA_TYPE_BYTE_ARRAY) {
        fprintf(f, "0x%2.2" PRIx64, v);
    } else {
        fprintf(f, "0x%" PRIx64, v);
    }
}

static void
dump_value(FILE *f, const nvpair_t *p)
{
    const nv_type_t *t = nv_type(p->nvp_type);
    const uint8_t *v = p->nvp_array;

    switch (t->nt_kind) {
    case NV_SCALAR:
        dump_number(f, p->nvp_type, t, p->nvp_u);
        break;
    case NV_ARRAY:
        for (uint32_t i = 0; i < p->nvp_n; i++, v += t->nt_size) {
            fputs(i > 0 ? " " : "", f);
            dump_number(f, p->nvp_type, t, nv_widen(t, v));
        }
        break;
    case NV_STRING:
        dump_text(f, p->nvp_string);
        break;
    case NV_STRINGS:
        for (uint32_t i = 0; i < p->nvp_n; i++) {
            fputs(i > 0 ? " " : "", f);
            dump_text(f, p->nvp_strings[i]);
        }
        break;
    default: /* a boolean: it is there */
        fputs("1", f);
        break;
    }
}

static void
dump_lists(FILE *f, const nvpair_t *p, int depth)
{
    fprintf(f, "(array of embedded nvlists)\n");
    for (uint32_t i = 0; i < p->nvp_n; i++) {
        dump_tabs(f, depth);
        fprintf(f, "(start %s[%" PRIu32 "])\n", p->nvp_name, i);
        nvlist_dump(f, p->nvp_lists[i], depth);
        dump_tabs(f, depth);
        fprintf(f, "(end %s[%" PRIu32 "])\n", p->nvp_name, i);
    }
    fputc('\n', f);
}

void
nvlist_dump(void *file, const nvlist_t *nvl, int depth)
{
    FILE *f = file;

    dump_tabs(f, depth);
    fprintf(f, "nvlist version: 0\n");
    depth++;
    for (nvpair_t *p = nvlist_next_nvpair(nvl, NULL); p != NULL; p = nvlist_next_nvpair(nvl, p)) {
        dump_tabs(f, depth);
        dump_text(f, p->nvp_name);
        fputs(" = ", f);
        if (p->nvp_type == DATA_TYPE_NVLIST) {
            fputs("(embedded nvlist)\n", f);
            nvlist_dump(f, p->nvp_list, depth);
            dump_tabs(f, depth);
            fputs("(end ", f);
            dump_text(f, p->nvp_name);
            fputs(")\n\n", f);
        } else if (p->nvp_type == DATA_TYPE_NVLIST_ARRAY) {
            dump_lists(f, p, depth);
        } else {
            dump_value(f, p);
            fputc('\n', f);
        }
    }
}
