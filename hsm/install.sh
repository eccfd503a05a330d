#!/usr/bin/env bash
# Installs the Debian packages that are missing for a purpose: run, bench, test, containers, venv, compiler, headers.
# Says what it installs, and nothing when nothing is missing. The Makefile calls it.
set -euo pipefail

packages_for() {
    case "$1" in
        run) echo softhsm2 ;;
        bench) echo softhsm2 nghttp2-client postgresql ;; # h2load, a load that costs less than a Python client
        # A database, a compiler for PKCS#11 modules that misbehave, the bench, which is tested too, the README's curl, and
        # networks that are cut; a second token, whose daemon the tests start in a namespace of their own.
        test) echo softhsm2 postgresql gcc libc6-dev nghttp2-client curl iproute2 opencryptoki ;;
        containers) echo docker.io docker-compose debootstrap ca-certificates ;; # an engine, and what images are built on
        venv) echo python3-venv ;; # Debian's python3 makes no environment without it
        compiler) echo gcc libc6-dev ;; # src/keysvc/hsm/macs.c is compiled when keysvc is installed
        headers) echo python3-dev ;; # and Debian's python3 comes without what that needs
        *) return 1 ;;
    esac
}

missing() {
    local package
    for package in "$@"; do
        [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
    done
}

# An update that fails in part (one source of many) need not stop the install, so both speak only if that fails.
install_packages() {
    local output
    output=$("${as_root[@]}" apt-get -q update 2>&1 || true)
    output+=$'\n'$("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 \
        install --no-install-recommends "$@" 2>&1) || {
        echo "$output"
        echo "hsm/install.sh: could not install $*"
        return 1
    } >&2
}

purpose=${1-}
packages=$(packages_for "$purpose") || {
    echo "usage: hsm/install.sh run|bench|test|containers|venv|compiler|headers" >&2
    exit 2
}
if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "This is not a Debian system: if they are missing, install what Debian calls $packages" >&2
    exit 0
fi

# shellcheck disable=SC2086 # a list of names
mapfile -t wanted < <(missing $packages)
((${#wanted[@]})) || exit 0

as_root=()
if ((EUID != 0)); then
    as_root=(sudo)
    command -v sudo >/dev/null || {
        echo "Run this as root, then again what you ran: apt-get install ${wanted[*]}" >&2
        exit 1
    }
fi
echo "Installing Debian packages: ${wanted[*]}"
install_packages "${wanted[@]}"
