#!/usr/bin/env bash
# Installs the Debian packages that building and testing Cowbird need; `setup.sh dev` adds those for make lint, format
# and fuzz. Quick when all is there; uses sudo when not root.
set -euo pipefail

packages=(build-essential pkg-config libfuse3-dev fuse3 libxxhash-dev liblz4-dev libzstd-dev zlib1g-dev libssl-dev check
    attr python3 util-linux)
[ "${1:-}" = dev ] && packages+=(clang clang-format clang-tidy shellcheck)
missing=()
for p in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
done
[ ${#missing[@]} = 0 ] && exit 0

sudo=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "setup: needs root (or sudo) to install: ${missing[*]}" >&2; exit 1; }
    sudo=(sudo)
fi
echo "Installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
install=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}")
"${install[@]}" >/dev/null 2>&1 && exit 0
"${sudo[@]}" apt-get -qq update
"${install[@]}" >/dev/null
