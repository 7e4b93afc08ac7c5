/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nvlist_print.c - lists as text for people: one line per pair, inner lists indented below their name.
 *
 * Names and strings come from disks and streams, so bytes that a terminal would act on are written as \xNN.
 *
 * ZFS: lib/libnvpair/libnvpair.c (nvlist_print, dump_nvlist).
 */
#include "nvlist_impl.h"

#include <inttypes.h>
#include <stdio.h>

static void
print_text(FILE *f, const char *s)
{
    for (; *s != '\0'; s++) {
        uint8_t c = (uint8_t)*s;
        if (c < 0x20 || c == 0x7f)
            fprintf(f, "\\x%02x", c);
        else
            fputc(c, f);
    }
}

static void
print_number(FILE *f, data_type_t type, const nv_type_t *t, uint64_t v)
{
    double d;

    if (type == DATA_TYPE_DOUBLE) {
        memcpy(&d, &v, sizeof(d));
        fprintf(f, "%g", d);
    } else if (type == DATA_TYPE_BOOLEAN_VALUE || type == DATA_TYPE_BOOLEAN_ARRAY) {
        fputs(v != 0 ? "true" : "false", f);
    } else if (t->nt_signed) {
        fprintf(f, "%" PRId64, (int64_t)v);
    } else {
        fprintf(f, "%" PRIu64, v);
    }
}

static void
print_array(FILE *f, const nvpair_t *p, const nv_type_t *t)
{
    const uint8_t *v = p->nvp_array;
    bool bytes = p->nvp_type == DATA_TYPE_BYTE_ARRAY || p->nvp_type == DATA_TYPE_UINT8_ARRAY;

    fputs("[", f);
    for (uint32_t i = 0; i < p->nvp_n; i++, v += t->nt_size) {
        if (i > 0)
            fputs(" ", f);
        if (bytes)
            fprintf(f, "%02x", *v);
        else
            print_number(f, p->nvp_type, t, nv_widen(t, v));
    }
    fputs("]", f);
}

static void
print_strings(FILE *f, const nvpair_t *p)
{
    fputs("[", f);
    for (uint32_t i = 0; i < p->nvp_n; i++) {
        fputs(i > 0 ? " '" : "'", f);
        print_text(f, p->nvp_strings[i]);
        fputs("'", f);
    }
    fputs("]", f);
}

static void
print_simple(FILE *f, const nvpair_t *p)
{
    const nv_type_t *t = nv_type(p->nvp_type);

    switch (t->nt_kind) {
    case NV_SCALAR:
        print_number(f, p->nvp_type, t, p->nvp_u);
        break;
    case NV_ARRAY:
        print_array(f, p, t);
        break;
    case NV_STRING:
        fputs("'", f);
        print_text(f, p->nvp_string);
        fputs("'", f);
        break;
    case NV_STRINGS:
        print_strings(f, p);
        break;
    default:
        break;
    }
}

static void
print_name(FILE *f, const nvpair_t *p, int indent)
{
    fprintf(f, "%*s", indent, "");
    print_text(f, p->nvp_name);
}

void
nvlist_print(void *file, const nvlist_t *nvl, int indent)
{
    FILE *f = file;

    for (nvpair_t *p = nvlist_next_nvpair(nvl, NULL); p != NULL; p = nvlist_next_nvpair(nvl, p)) {
        if (p->nvp_type == DATA_TYPE_NVLIST_ARRAY) {
            for (uint32_t i = 0; i < p->nvp_n; i++) {
                print_name(f, p, indent);
                fprintf(f, "[%" PRIu32 "]:\n", i);
                nvlist_print(f, p->nvp_lists[i], indent + 4);
            }
            continue;
        }
        print_name(f, p, indent);
        fputs(p->nvp_type == DATA_TYPE_BOOLEAN ? "" : p->nvp_type == DATA_TYPE_NVLIST ? ":" : ": ", f);
        print_simple(f, p);
        fputs("\n", f);
        if (p->nvp_type == DATA_TYPE_NVLIST)
            nvlist_print(f, p->nvp_list, indent + 4);
    }
}
