#!/usr/bin/env bash
# Runs every test and counts: first the Check programs, then the scripts (several at a time), each under a timeout.
#
#   run.sh [--unit] [BUILD]     --unit: the Check programs only
#
# A script test/*/X.sh that has a line "# test: ARGS, ARGS, ..." is a test, run once for each ARGS (seeds mostly).
# It prints "ok - ", "not ok - " and "skip - " lines. The last line here is "N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/.." || exit

unit_only=
[ "${1:-}" = --unit ] && { unit_only=1; shift; }
B=${1:-build}
JOBS=${JOBS:-$(nproc)}
mkdir -p build/tmp
out=$(mktemp -d build/tmp/run.XXXXXX)
trap 'rm -rf "$out"' EXIT
trap 'jobs -p | xargs -r kill 2>/dev/null; wait; exit 130' INT TERM HUP
checks=0 failures=0 errors=0 passed=0 failed=0 skipped=0
broken=()

# ---- Check programs: their own last line, "100%: Checks: N, Failures: N, Errors: N", is summed
for t in "$B"/test_*; do
    if [ ! -x "$t" ] || [ ! -f "$t" ]; then continue; fi
    [ -e "test/$(basename "$t").c" ] || continue # left over from a test that was renamed
    began=$SECONDS
    timeout -k 5 "${UNIT_LIMIT:-600}" "$t" >"$out/log" 2>&1 </dev/null
    rc=$?
    line=$(grep -aE '^[0-9]+%: Checks: [0-9]+, Failures: [0-9]+, Errors: [0-9]+$' "$out/log" | tail -n 1)
    if [ -n "$line" ]; then
        read -r _ c f e < <(tr -cd '0-9 \n' <<<"$line" | tr -s ' ')
        checks=$((checks + c)) failures=$((failures + f)) errors=$((errors + e))
        [ $rc != 0 ] && [ "$f$e" = 00 ] && errors=$((errors + 1)) checks=$((checks + 1))
    else
        checks=$((checks + 1)) errors=$((errors + 1))
        line="no totals, exit $rc"
    fi
    echo "$(basename "$t"): $line ($((SECONDS - began)) s)"
    if [ $rc != 0 ]; then
        broken+=("$(basename "$t")")
        { head -n 60 "$out/log"; echo ...; tail -n 10 "$out/log"; } | sed 's/^/#   /'
    fi
done

[ $checks = 0 ] && { errors=1 checks=1; echo "no Check program under $B/"; }

# ---- scripts: started in order, at most JOBS at a time, reported as each ends
start() { # NAME COMMAND...
    local name=$1
    shift
    {
        local began=$SECONDS
        timeout -k 20 "${SCRIPT_LIMIT:-600}" "$@" >"$out/$name.log" 2>&1 </dev/null
        echo $? >"$out/$name.rc"
        echo "# $name: $((SECONDS - began)) s" >>"$out/$name.log"
    } &
    names+=("$name")
}
report() {
    local name=$1 rc ok bad skip
    rc=$(cat "$out/$name.rc" 2>/dev/null || echo 255)
    cat "$out/$name.log"
    ok=$(grep -ac '^ok - ' "$out/$name.log") bad=$(grep -ac '^not ok - ' "$out/$name.log")
    skip=$(grep -ac '^skip - ' "$out/$name.log")
    if [ "$rc" != 0 ] && [ "$bad" = 0 ]; then
        bad=1
        echo "not ok - $name: exit $rc$([ "$rc" = 124 ] && echo ' (took too long)')"
    elif [ $((ok + bad + skip)) = 0 ]; then
        bad=1
        echo "not ok - $name: says nothing"
    fi
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
    [ "$bad" = 0 ] || broken+=("$name")
}

sanitizer() { # asan|tsan: one claim
    if env -u MAKEFLAGS -u MFLAGS -u CI make -j"$JOBS" "$1"; then echo "ok - $1: unit tests run clean"
    else echo "not ok - $1: unit tests do not run clean"; fi 2>&1 | tail -n 120
}

names=()
if [ -z "$unit_only" ]; then
    test/interop/fetch.sh || echo "# programs to compare with could not be fetched"
    test/layers.sh >"$out/layers.log" 2>&1
    echo $? >"$out/layers.rc"
    report layers
    for s in test/*/*.sh; do
        spec=$(sed -n 's/^# test: *//p' "$s" | head -n 1)
        [ -n "$spec" ] || grep -q '^# test:' "$s" || continue
        IFS=, read -ra runs <<<"${spec:-,}"
        for args in "${runs[@]}"; do
            while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do wait -n; done
            # shellcheck disable=SC2086 # ARGS are words
            start "$(basename "$s" .sh)$(printf '.%s' $args | sed 's/^\.$//')" "$s" $args
        done
    done
    wait
    for name in "${names[@]}"; do report "$name"; done
    if [ "${SANITIZERS:-1}" = 1 ]; then
        for san in asan tsan; do # side by side: each runs its programs one after the other
            { sanitizer $san >"$out/$san.log"; echo 0 >"$out/$san.rc"; } &
        done
        wait
        report asan
        report tsan
    fi
fi

# ---- totals
[ ${#broken[@]} = 0 ] || echo "failed: ${broken[*]}"
good=$((checks - failures - errors))
echo "$((checks ? good * 100 / checks : 100))%: Checks: $checks, Failures: $failures, Errors: $errors"
echo "$((passed + good)) passed, $((failed + failures + errors)) failed, $skipped skipped"
[ $((failed + failures + errors)) = 0 ]
