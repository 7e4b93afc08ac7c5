/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_nvlist.c - bytes as a packed list: unpacked, printed, packed both ways. What was once taken must be taken again, and the
 * same list must give the same bytes.
 */
#include "fuzz.h"

static void
repack(const nvlist_t *nvl, int encoding)
{
    nvlist_t *again;
    uint8_t *a, *b;
    size_t na, nb;

    nvlist_pack(nvl, encoding, &a, &na);
    VERIFY0(nvlist_unpack(a, na, &again));
    nvlist_pack(again, encoding, &b, &nb);
    VERIFY(na == nb && memcmp(a, b, na) == 0);
    nvlist_free(again);
    free(b);
    free(a);
}

static void
use(const nvlist_t *nvl)
{
    for (nvpair_t *p = nvlist_next_nvpair(nvl, NULL); p != NULL; p = nvlist_next_nvpair(nvl, p)) {
        const uint8_t *bytes;
        uint32_t n;
        VERIFY(nvlist_exists(nvl, nvpair_name(p)));
        (void)nvpair_value_uint64(p);
        (void)nvpair_value_string(p);
        nvpair_value_bytes(p, &bytes, &n);
        if (nvpair_value_nvlist(p) != NULL)
            use(nvpair_value_nvlist(p));
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static FILE *null;
    nvlist_t *nvl, *dup;

    if (null == NULL)
        null = fopen("/dev/null", "w");
    fuzz_init();
    if (nvlist_unpack(data, size, &nvl) != 0)
        return 0;
    nvlist_print(null, nvl, 0);
    use(nvl);
    dup = nvlist_dup(nvl);
    repack(dup, NV_ENCODE_XDR);
    repack(nvl, NV_ENCODE_NATIVE);
    nvlist_free(dup);
    nvlist_free(nvl);
    return 0;
}
