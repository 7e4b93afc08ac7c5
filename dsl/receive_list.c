/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * receive_list.c - the list at the head of a package: the sender's tree of file systems and snapshots, as it was when it sent.
 *
 *   fromsnap "mon"  tosnap "tue"            guid ──► (file system, snapshot)     names change, guids do not: whatever is
 *   fss ┬ 0x1a.. ┬ name "tank/a"                                                here is found in the list by its guid
 *       │        ├ snaps ┬ mon 0x77..  ────────►  77..  tank/a  mon
 *       │        │       └ tue 0x91..  ────────►  91..  tank/a  tue
 *       │        └ props, snapprops, snapholds
 *       └ 0x2b.. ─ ...  parentfromsnap 0x77.., origin 0x77..
 *
 * INVARIANTS
 *  1. The list comes from anywhere: after receive_list_parse() every entry is a list with a valid name, every snapshot has a valid name and
 *     a number. What else is in it is looked up with its type, and counts as missing when it has another.
 *  2. A guid can be there twice: the sender has received from itself. Then the name decides, else the first by name.
 *  3. Everything points into rl_list, which lives as long as the package.
 *
 * ZFS: fsavl_create() in libzfs_sendrecv.c
 */
#include <stdio.h>
#include <stdlib.h>

#include "receive_impl.h"

static int
snap_compare(const void *a, const void *b)
{
    const receive_snap_t *x = a, *y = b;

    return x->rs_guid != y->rs_guid ? AVL_CMP(x->rs_guid, y->rs_guid)
                                    : strcmp(receive_list_name(x->rs_fs), receive_list_name(y->rs_fs));
}

static int
list_fail(stream_error_t *se, const char *what)
{
    return stream_fail(se, SET_ERROR(EINVAL), 0, 0, "the package's list is damaged: %s", what);
}

/* snaps: name -> guid. The array doubles whenever its length is a power of two. */
static int
add_snaps(receive_list_t *rl, const nvlist_t *fs, const nvlist_t *snaps, stream_error_t *se)
{
    for (const nvpair_t *p = nvlist_next_nvpair(snaps, NULL); p != NULL; p = nvlist_next_nvpair(snaps, p)) {
        const char *name = nvpair_name(p);
        size_t n = rl->rl_nsnaps;

        if (nvpair_type(p) != DATA_TYPE_UINT64 || name_check_component(name, strlen(name), false) != 0 ||
            strlen(name) >= ZFS_MAX_DATASET_NAME_LEN)
            return list_fail(se, "a snapshot without a proper name or guid");
        if ((n & (n - 1)) == 0)
            rl->rl_snaps = xrealloc(rl->rl_snaps, MAX(2 * n, 1) * sizeof(receive_snap_t));
        rl->rl_snaps[rl->rl_nsnaps++] = (receive_snap_t){nvpair_value_uint64(p), name, fs};
    }
    return 0;
}

static int
add_fs(receive_list_t *rl, const nvlist_t *fs, stream_error_t *se)
{
    nvlist_t *snaps;
    const char *name;

    if (fs == NULL)
        return list_fail(se, "an entry that is no list");
    if (nvlist_lookup_string(fs, "name", &name) != 0 || strchr(name, '@') != NULL ||
        dsl_name_check(name, NULL) != 0)
        return list_fail(se, "a file system without a proper name");
    return nvlist_lookup_nvlist(fs, "snaps", &snaps) == 0 ? add_snaps(rl, fs, snaps, se) : 0;
}

int
receive_list_parse(receive_list_t *rl, const uint8_t *list, size_t len, stream_error_t *se)
{
    nvlist_t *fss;
    int err = nvlist_unpack(list, len, &rl->rl_list);

    if (err != 0) {
        rl->rl_list = NULL;
        return list_fail(se, cowbird_strerror(err));
    }
    if (nvlist_lookup_string(rl->rl_list, "fromsnap", &rl->rl_fromsnap) != 0)
        rl->rl_fromsnap = NULL;
    rl->rl_recursive = !nvlist_exists(rl->rl_list, "not_recursive");
    if (nvlist_lookup_nvlist(rl->rl_list, "fss", &fss) != 0)
        return 0;
    for (const nvpair_t *p = nvlist_next_nvpair(fss, NULL); p != NULL && err == 0;
         p = nvlist_next_nvpair(fss, p))
        err = add_fs(rl, nvpair_value_nvlist(p), se);
    if (err == 0 && rl->rl_nsnaps > 1)
        qsort(rl->rl_snaps, rl->rl_nsnaps, sizeof(receive_snap_t), snap_compare);
    return err;
}

void
receive_list_free(receive_list_t *rl)
{
    free(rl->rl_snaps);
    nvlist_free(rl->rl_list);
}

const receive_snap_t *
receive_list_find(const receive_list_t *rl, uint64_t guid, const char *fs)
{
    size_t lo = 0, hi = rl != NULL && guid != 0 ? rl->rl_nsnaps : 0;
    const receive_snap_t *first;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (rl->rl_snaps[mid].rs_guid < guid)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (rl == NULL || lo == rl->rl_nsnaps || rl->rl_snaps[lo].rs_guid != guid)
        return NULL;
    first = &rl->rl_snaps[lo];
    for (; lo < rl->rl_nsnaps && rl->rl_snaps[lo].rs_guid == guid; lo++)
        if (strcmp(receive_list_name(rl->rl_snaps[lo].rs_fs), fs) == 0)
            return &rl->rl_snaps[lo];
    return first;
}

const char *
receive_list_name(const nvlist_t *fs)
{
    const char *name;

    VERIFY0(nvlist_lookup_string(fs, "name", &name)); /* add_fs() saw to it */
    return name;
}

uint64_t
receive_list_guid(const nvlist_t *fs, const char *key)
{
    uint64_t guid;

    return fs != NULL && nvlist_lookup_uint64(fs, key, &guid) == 0 ? guid : 0;
}

const nvlist_t *
receive_list_inner(const nvlist_t *fs, const char *key, const char *inner)
{
    nvlist_t *list;

    if (fs == NULL || nvlist_lookup_nvlist(fs, key, &list) != 0)
        return NULL;
    if (inner == NULL)
        return list;
    return nvlist_lookup_nvlist(list, inner, &list) == 0 ? list : NULL;
}
