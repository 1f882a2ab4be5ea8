# shellcheck shell=bash
# common.sh - what quickstart and test share: words to the person, packages, builds. Sourced by bash, from any folder.
#
# Callers have set -euo pipefail. Everything long goes to a log below build/log; a failure shows the log's end.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
log_folder=$root/build/log

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "$(basename "$0"): $*"
    exit 1
}

# logged NAME COMMAND [ARG ...]: run it with its output in a log; if it fails, show the log's end and return 1.
logged() {
    local log=$log_folder/$1.log start=$SECONDS
    shift
    mkdir -p "$log_folder"
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 40 "$log" >&2
        say "this failed: $* (all it said is in $log)"
        return 1
    fi
    say "   done in $((SECONDS - start)) s"
}

# packages_of SECTION ...: the packages of these sections of debian-packages.txt, one a line.
packages_of() {
    awk -v wanted=" $* " '
        { sub(/#.*/, ""); gsub(/[ \t]+/, "") }
        /^\[.*\]$/ { inside = index(wanted, " " substr($0, 2, length($0) - 2) " ") > 0; next }
        inside && length($0)' "$root/deploy/debian-packages.txt"
}

# packages_missing SECTION ...: those of them that are not installed.
packages_missing() {
    local package
    for package in $(packages_of "$@"); do
        dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || echo "$package"
    done
}

# As root: directly, else by sudo; without a terminal sudo must not ask for a password.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif ! command -v sudo >/dev/null; then
        fail "installing packages needs root or sudo; or install these yourself and try again: $missing"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "$@"
}

install_packages() {
    local missing
    command -v dpkg-query >/dev/null ||
        fail "this is no Debian: install what deploy/debian-packages.txt names, then use --no-install"
    missing=$(packages_missing "$@" | tr '\n' ' ')
    if [ -z "$missing" ]; then
        say "== packages: all there"
        return
    fi
    say "== packages: installing $missing"
    if [ "$(id -u)" != 0 ] && [ -t 0 ] && command -v sudo >/dev/null; then
        sudo -v # asks for the password here, where it can be seen
    fi
    logged apt-update apt update
    # shellcheck disable=SC2086 # one word a package
    logged apt-install apt install --no-install-recommends $missing
}

# build PRESET JOBS [TARGET ...]
build() {
    local preset=$1 jobs=$2
    shift 2
    say "== build: preset $preset"
    cd "$root" || return
    logged "configure-$preset" cmake --preset "$preset" &&
        logged "build-$preset" cmake --build --preset "$preset" --parallel "$jobs" ${1:+--target "$@"}
}
