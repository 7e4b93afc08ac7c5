#!/usr/bin/env bash
# Every input that fuzzing starts from, and every one that once found something, is gone through again, without clang's fuzzer.
# test: nvlist, stream, pool
set -u
cd "$(dirname "$0")/../.." || exit
name=${1:?nvlist, stream or pool}
program=$(dirname "${COWBIRD:-build/cowbird}")/replay_$name

if out=$("$program" "test/fuzz/corpus/$name" 2>&1); then
    echo "ok - fuzz: corpus of $name replayed (${out##*replayed } inputs)"
else
    echo "not ok - fuzz: corpus of $name: exit $?"
    printf '%s\n' "$out" | tail -n 30 | sed 's/^/#   /'
    exit 1
fi
