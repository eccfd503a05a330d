#!/usr/bin/env bash
# Puts Prometheus' promtool into a directory, unless it is there or on the PATH. Of Debian's package it takes that one
# program: installed as a whole it would start a server, and bring a dozen packages along.
set -euo pipefail

directory=${1:?usage: tests/deployment/promtool.sh DIRECTORY}
if command -v promtool >/dev/null || [[ -x $directory/promtool ]]; then
    exit 0
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "This is not a Debian system: without promtool on the PATH, the alert rules are parsed and not tried" >&2
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "Fetching promtool out of Debian's package prometheus"
# Lists of packages may be absent in a new image. The download is root's, or as whoever this is.
(cd "$work" && { apt-get -q download prometheus || { apt-get -q update && apt-get -q download prometheus; }; }) \
    >"$work/log" 2>&1 || {
    cat "$work/log"
    echo "Could not download Debian's package prometheus: without promtool, the alert rules are parsed and not tried"
    exit 0
} >&2
dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb | tar -x -C "$work" ./usr/bin/promtool
mv "$work/usr/bin/promtool" "$directory/promtool"
