#!/usr/bin/env bash
# The include table: an #include points down dmu/spa < dmu < dsl < fuse/zpl_* < fuse < tools, or sideways, never up;
# and libfuse is known to the fuse session alone.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck disable=SC2016 # the dollars are awk's
find dmu dsl fuse tools -name '*.[ch]' -print | sort | xargs -r awk '
function rank(path) {
    if (path ~ /^dmu\/spa\//) return 0
    if (path ~ /^dmu\//) return 1
    if (path ~ /^dsl\//) return 2
    if (path ~ /^fuse\/(zpl|zil)/) return 3
    if (path ~ /^fuse\//) return 4
    return 5
}
BEGIN { for (i = 1; i < ARGC; i++) { n = split(ARGV[i], part, "/"); where[part[n]] = ARGV[i] } }
/^[ \t]*#[ \t]*include[ \t]*"/ {
    split($0, word, "\""); n = split(word[2], part, "/")
    target = where[part[n]]
    if (target != "" && rank(target) > rank(FILENAME)) {
        printf "%s:%d: includes %s, which is a layer above\n", FILENAME, FNR, target; bad++
    }
}
/^[ \t]*#[ \t]*include[ \t]*<fuse/ && rank(FILENAME) != 4 {
    printf "%s:%d: includes libfuse, which only the fuse session may\n", FILENAME, FNR; bad++
}
END { if (bad) exit 1; printf "ok - layers: no #include points up (%d files)\n", ARGC - 1 }'
