/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * effort.h - how often a random test goes round: effort(n) is n in `make check`, fewer under the sanitizers, many in `make soak`.
 * COWBIRD_EFFORT is in percent.
 */
#ifndef COWBIRD_EFFORT_H
#define COWBIRD_EFFORT_H

#include <stdlib.h>

static inline int
effort(int n)
{
    const char *s = getenv("COWBIRD_EFFORT");
    long percent = s != NULL ? atol(s) : 100;
    long long r = (long long)n * percent / 100;
    return r < 1 ? 1 : r > 2000000000 ? 2000000000 : (int)r;
}

#endif
