#!/usr/bin/env bash
# Runs every test and counts: the Check programs, then the scripts, JOBS at a time, each under a timeout.
#
#   run.sh [--unit|--soak] [BUILD]     --unit: the Check programs only; --soak: hours of the same
#
# A script test/*/X.sh that has a line "# test: ARGS, ARGS, ..." is a test, run once for each ARGS (seeds mostly), in a soak
# for each ARGS of its line "# soak:". Check programs scale their loops by COWBIRD_EFFORT (support/effort.h). A script prints "ok - ", "not ok - " and "skip - " lines. ONLY=REGEX runs the tests whose names match.
# Behind each name stand seconds on the clock and of processor time. The last line is "N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/.." || exit

unit_only='' kind=test
case ${1:-} in
--unit) unit_only=1; shift ;;
--soak) kind=soak COWBIRD_EFFORT=${COWBIRD_EFFORT:-5000} SCRIPT_LIMIT=36000 UNIT_LIMIT=36000 SANITIZERS=0; shift ;;
esac
export COWBIRD_EFFORT=${COWBIRD_EFFORT:-100}
export CK_TIMEOUT_MULTIPLIER=${CK_TIMEOUT_MULTIPLIER:-$((COWBIRD_EFFORT / 100 + 1))}
B=${1:-build}
JOBS=${JOBS:-$(nproc)}
mkdir -p build/tmp
out=$(mktemp -d build/tmp/run.XXXXXX)
trap 'rm -rf "$out"' EXIT
trap 'jobs -p | xargs -r kill 2>/dev/null; wait; exit 130' INT TERM HUP
TIMEFORMAT='%R %U %S'
checks=0 failures=0 errors=0 passed=0 failed=0 skipped=0
broken=()
names=()

# ---- running: started in order, at most JOBS at a time, reported in the same order
start() { # REPORT NAME LIMIT COMMAND...
    local report=$1 name=$2 limit=$3
    shift 3
    grep -qE "${ONLY:-.}" <<<"$name" || return 0
    while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do wait -n; done
    report_ended "$report"
    {
        {
            time {
                timeout -k 20 "$limit" "$@" >"$out/$name.log" 2>&1 </dev/null
                echo $? >"$out/$name.rc"
            }
        } 2>"$out/$name.time"
    } &
    names+=("$name")
}
seconds() { awk '{printf "%.0f s, cpu %.0f", $1, $2 + $3}' "$out/$1.time"; }
exit_code() { cat "$out/$1.rc" 2>/dev/null || echo 255; }

# ---- reporting
# A Check program: its own last line, "100%: Checks: N, Failures: N, Errors: N", is summed.
report_unit() {
    local name=$1 rc line c f e
    rc=$(exit_code "$name")
    line=$(grep -aE '^[0-9]+%: Checks: [0-9]+, Failures: [0-9]+, Errors: [0-9]+$' "$out/$name.log" | tail -n 1)
    if [ -n "$line" ]; then
        read -r _ c f e < <(tr -cd '0-9 \n' <<<"$line" | tr -s ' ')
        checks=$((checks + c)) failures=$((failures + f)) errors=$((errors + e))
        [ "$rc" != 0 ] && [ "$f$e" = 00 ] && errors=$((errors + 1)) checks=$((checks + 1))
    else
        checks=$((checks + 1)) errors=$((errors + 1))
        line="no totals, exit $rc"
    fi
    echo "$name: $line ($(seconds "$name"))"
    [ "$rc" = 0 ] && return
    broken+=("$name")
    { head -n 60 "$out/$name.log"; echo ...; tail -n 10 "$out/$name.log"; } | sed 's/^/#   /'
}
# A script: its lines are counted.
report() {
    local name=$1 rc ok bad skip
    rc=$(exit_code "$name")
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
    echo "# $name: $(seconds "$name")"
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
    [ "$bad" = 0 ] || broken+=("$name")
}
report_ended() {
    while [ ${#names[@]} -gt 0 ] && [ -s "$out/${names[0]}.time" ]; do
        "$1" "${names[0]}"
        names=("${names[@]:1}")
    done
}
report_all() {
    wait
    report_ended "$1"
}

# ---- the tests
[ -n "$unit_only" ] || test/interop/fetch.sh || echo "# programs to compare with could not be fetched"
for t in "$B"/test_*; do
    if [ ! -x "$t" ] || [ ! -f "$t" ]; then continue; fi
    name=$(basename "$t")
    [ -e "test/$name.c" ] || continue # left over from a test that was renamed
    start report_unit "$name" "${UNIT_LIMIT:-600}" "$t"
done
report_all report_unit
[ $checks != 0 ] || [ -n "${ONLY:-}" ] || { errors=1 checks=1; echo "no Check program under $B/"; }

# The thread sanitizer takes ten times as long as the rest: here only over what has threads of its own to race with;
# `make tsan` runs all of it.
THREADED='_(dmu_(core|txg|zap_stress)|spa|spa_cache|dsl|dsl_(destroy|scan|stream|history|recv_rules|send_rules|receive)|zpl_(file|mount|model))$'
sanitizer() { # asan|tsan ONLY: one claim
    if env -u MAKEFLAGS -u MFLAGS -u CI -u JOBS ONLY="$2" make -j"$(nproc)" "$1"; then echo "ok - $1: unit tests run clean"
    else echo "not ok - $1: unit tests do not run clean"; fi 2>&1 | tail -n 120
}

if [ -z "$unit_only" ]; then
    start report layers 60 test/layers.sh
    for s in test/*/*.sh; do
        spec=$(sed -n "s/^# $kind: *//p" "$s" | head -n 1)
        [ -n "$spec" ] || grep -q "^# $kind:" "$s" || continue
        IFS=, read -ra runs <<<"${spec:-,}"
        for args in "${runs[@]}"; do
            # shellcheck disable=SC2086 # ARGS are words
            start report "$(basename "$s" .sh)$(printf '.%s' $args | sed 's/^\.$//')" "${SCRIPT_LIMIT:-600}" "$s" $args
        done
    done
    report_all report
    if [ "${SANITIZERS:-1}" = 1 ]; then
        export -f sanitizer
        JOBS=1
        start report asan 3600 bash -c 'sanitizer asan "$@"' - "${ONLY:-.}" # each has all cores
        start report tsan 3600 bash -c 'sanitizer tsan "$@"' - "$THREADED"
        report_all report
    fi
fi

# ---- totals
[ ${#broken[@]} = 0 ] || echo "failed: ${broken[*]}"
good=$((checks - failures - errors))
echo "$((checks ? good * 100 / checks : 100))%: Checks: $checks, Failures: $failures, Errors: $errors"
echo "$((passed + good)) passed, $((failed + failures + errors)) failed, $skipped skipped"
[ $((failed + failures + errors)) = 0 ]
