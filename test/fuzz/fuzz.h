/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz.h - what the fuzz targets share: libFuzzer's entry, and a walk over all that a pool holds.
 *
 *     libFuzzer (make fuzz, clang)  --.
 *                                      +--> LLVMFuzzerTestOneInput() of fuzz_X.c
 *     replay.c (make check, any cc) --'
 *
 * A target may print, and abort with VERIFY: either is seen. Nothing else of an input may outlive the call.
 */
#ifndef COWBIRD_TEST_FUZZ_H
#define COWBIRD_TEST_FUZZ_H

#include "dsl_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Once per process: a quiet log, a small cache, file systems of the ZPL. */
void fuzz_init(void);
/* Every dataset: numbers, properties, and when it is a file system the files, mounted read-only. Errors are what one expects. */
void fuzz_walk(dsl_pool_t *dp);

#endif
