#!/usr/bin/env bash
# Runs a command where a container engine answers: tests/containers/engine.sh COMMAND...
# Where none does, on Debian as root, Debian's is installed, started with a socket and state of its own, and stopped
# after the command. What the images are built on is made by debootstrap, since nothing else may be there to pull from.
# Elsewhere the command runs without: the tests say what is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly BASE_IMAGE=keysvc-test-base POSTGRES_IMAGE=keysvc-test-postgres
state=
daemon=

can_make_one() {
    ((EUID == 0)) && command -v apt-get >/dev/null && [[ $(. /etc/os-release && echo "$ID") == debian ]]
}

# No rules of iptables, no bridge and no forwarding, which are the machine's: compose makes networks of its own.
start_engine() {
    dockerd --iptables=false --ip6tables=false --ip-forward=false --bridge=none \
        --host "unix://$state/docker.sock" --pidfile "$state/docker.pid" \
        --data-root "$state/data" --exec-root "$state/exec" >"$state/dockerd.log" 2>&1 &
    daemon=$!
    export DOCKER_HOST="unix://$state/docker.sock"
    for ((tenths = 0; tenths < 600; tenths++)); do
        docker info >/dev/null 2>&1 && return
        kill -0 "$daemon" 2>/dev/null || break
        sleep 0.1
    done
    echo "tests/containers/engine.sh: dockerd does not start here:" >&2
    tail -n 5 "$state/dockerd.log" >&2
    unset DOCKER_HOST
    return 1
}

stop_engine() {
    if [[ -n $daemon ]] && kill "$daemon" 2>/dev/null; then
        wait "$daemon" || true
    fi
    if [[ -n $state ]]; then
        awk -v under="$state/" 'index($2, under) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount
        rm -rf "$state"
    fi
}

# Debian with its Python. It trusts whom this machine trusts, or pip could not pass a proxy that this machine passes.
make_base_image() {
    local codename mirror root=$state/root
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    # shellcheck disable=SC2016 # apt's own names
    mirror=$(apt-get indextargets --format '$(RELEASE)/$(COMPONENT) $(SITE)' 'Created-By: Packages' |
        awk -v wanted="$codename/main" '$1 == wanted && $2 ~ /\/debian\/?$/ && !seen { print $2; seen = 1 }')
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv "$codename" "$root" "$mirror" \
        >"$state/debootstrap.log" 2>&1 || {
        tail -n 5 "$state/debootstrap.log" >&2
        return 1
    }
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$root/etc/pip.conf"
    tar -C "$root" -c . | docker import - "$BASE_IMAGE" >/dev/null
    rm -rf "$root"
}

if ! docker info >/dev/null 2>&1 && can_make_one; then
    hsm/install.sh containers
    state=$(mktemp --directory)
    trap stop_engine EXIT
    if start_engine; then
        echo "Started a container engine of our own; making its base image ($((SECONDS)) s)"
        make_base_image
        export KEYSVC_BASE_IMAGE=$BASE_IMAGE KEYSVC_POSTGRES_IMAGE=$POSTGRES_IMAGE
        echo "The base image is made ($((SECONDS)) s)"
    fi
fi
"$@"
