#!/usr/bin/env bash
# Gets the servers that tests start, where they are missing, into a cache outside of the checkout. `pnpm test` never does this
# by itself. With the name of a group, only that group.
set -euo pipefail
cd "$(dirname "$0")/.."
JWT_AUTHORITY_SERVICES=${JWT_AUTHORITY_SERVICES:-${XDG_CACHE_HOME:-$HOME/.cache}/jwt-authority/services}
export JWT_AUTHORITY_SERVICES
mkdir -p "$JWT_AUTHORITY_SERVICES"

if [ $# = 0 ]; then set -- redis gnupg kms vault; fi
for group in "$@"; do
  scripts/services/"$group".sh
done
