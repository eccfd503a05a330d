#!/bin/sh
# What docker-compose.yml needs of the official image's start: as root, with POSTGRES_USER and POSTGRES_PASSWORD_FILE.
set -eu
cd /tmp
export PGDATA=/var/lib/postgresql/data
as_postgres() {
    setpriv --reuid postgres --regid postgres --init-groups "$@"
}
if [ ! -e "$PGDATA/PG_VERSION" ]; then
    install -o postgres -m 0600 "$POSTGRES_PASSWORD_FILE" /tmp/password
    as_postgres initdb --username "$POSTGRES_USER" --pwfile /tmp/password --encoding UTF8 \
        --auth-local trust --auth-host scram-sha-256
    rm /tmp/password
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    as_postgres pg_ctl -w -o "-c listen_addresses=" start
    as_postgres createdb --username "$POSTGRES_USER" "$POSTGRES_USER"
    as_postgres pg_ctl -w -m fast stop
fi
exec setpriv --reuid postgres --regid postgres --init-groups postgres -c listen_addresses='*'
