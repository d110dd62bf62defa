#!/usr/bin/env bash
# The KMS that tests start, built once from scripts/services/kms-server with cargo; called by ../services.sh. On its own, the cache
# is found as test/support/kms-server.ts finds it. KMS_SERVER names one that exists.
set -euo pipefail
cache=${JWT_AUTHORITY_SERVICES:-${XDG_CACHE_HOME:-$HOME/.cache}/jwt-authority/services}
source=$(dirname "$0")/kms-server
if [ -n "${KMS_SERVER:-}" ]; then exit 0; fi

# Another source, another server. The lock file is part of it, so that the same one is built everywhere.
version=$(cat "$source"/Cargo.* "$source"/src/* | sha256sum | cut -c 1-12)
server=$cache/kms/server-$version
if [ -x "$server" ]; then exit 0; fi

if ! command -v cargo > /dev/null; then
  echo 'No KMS for tests: building it takes cargo (Rust), which is not here.'
  exit 0
fi
echo "Building the KMS for tests: 2 to 6 minutes, 170 MB in ~/.cargo, 350 MB of scratch space that is removed after, 7 MB in $cache/kms …"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
began=$SECONDS
# Of cargo's own report, one line for every fiftieth crate, and whatever is out of the ordinary.
nice cargo build --release --locked --manifest-path "$source/Cargo.toml" --target-dir "$scratch" 2>&1 |
  awk '/^ *Compiling/ { if (++count % 50 == 0) { print "  " count " of 200 crates"; fflush() } next }
       !/^ *(Updating|Locking|Adding|Downloading|Downloaded|Finished) / { print }'
mkdir -p "$cache/kms"
# Under its name only when it is whole: several may build at once.
install -m 755 "$scratch/release/kms-server" "$server.$$"
mv "$server.$$" "$server"
echo "$server: $(du -h "$server" | cut -f 1), built in $((SECONDS - began)) s"
