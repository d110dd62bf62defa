#!/usr/bin/env bash
# Builds HashiCorp Vault from its Go module into the cache of services, once. It serves tests only and is never shipped (BUSL).
# Nothing to do where VAULT_BIN names a binary (Vault or OpenBao), where VAULT_ADDR and VAULT_TOKEN name a server, or where
# `vault` is on the PATH.
set -euo pipefail
version=1.21.4 sdk=0.21.0
cache=${JWT_AUTHORITY_SERVICES:-${XDG_CACHE_HOME:-$HOME/.cache}/jwt-authority/services}
target=$cache/vault-$version/vault
build=$cache/vault-build

if [ -n "${VAULT_BIN:-}" ] || { [ -n "${VAULT_ADDR:-}" ] && [ -n "${VAULT_TOKEN:-}" ]; } ||
  command -v vault > /dev/null || [ -x "$target" ]; then
  exit 0
fi
if ! command -v go > /dev/null; then
  echo 'Vault: not built, there is no go (1.26 or newer) on the PATH; its tests need VAULT_BIN, or VAULT_ADDR and VAULT_TOKEN' >&2
  exit 1
fi

mkdir -p "$build" "$(dirname "$target")"
free=$(df -Pk "$build" | awk 'NR == 2 { print int($4 / 1048576) }')
echo "Vault $version: building it in $build. About 10 minutes on 2 cores, once; 8 GB of disk meanwhile ($free GB are free), 0.4 GB for good."
if [ "$free" -lt 9 ]; then
  echo 'Vault: not enough free disk; JWT_AUTHORITY_SERVICES moves the cache elsewhere' >&2
  exit 1
fi

say() { echo "Vault: $(date +%T) $*"; }
# Caches of its own, so that all of it can be removed afterwards; what an interrupted build has done is kept.
export GOMODCACHE=$build/modules GOCACHE=$build/objects GOFLAGS=-modcacherw GOTOOLCHAIN=local
cd "$build"
run() { "$@" > "$build/log" 2>&1 || { tail -n 20 "$build/log" >&2; exit 1; }; }

say '1 of 3: fetching the modules (4 GB, some minutes) …'
rm -rf go.mod go.sum sdk
printf 'module vault-for-tests\n\ngo 1.26\n' > go.mod
run go get -tool "github.com/hashicorp/vault@v$version"

say "2 of 3: aligning sdk v$sdk with the tree of Vault …"
# Vault is built against an sdk of its own tree, which differs from the published one in two signatures.
[ "$(go list -m -f '{{.Version}}' github.com/hashicorp/vault/sdk)" = "v$sdk" ] || { echo "Vault: expected sdk v$sdk" >&2; exit 1; }
cp -r "$(go list -m -f '{{.Dir}}' github.com/hashicorp/vault/sdk)" sdk
chmod -R u+w sdk
sed -i -E 's/(ActivationFunc +func\(context\.Context, \*logical\.Request), string\) error/\1) error/' sdk/framework/backend.go
awk '
  /^func .*\) RestorePolicy\(/ { inside = 1; sub(/\) error \{/, ") (string, error) {") }
  inside && /^}/ { inside = 0 }
  inside && /^\treturn nil$/ { sub(/nil/, "name, nil"); print; next }
  inside && /^\t+return / { sub(/return /, "return \"\", ") }
  { print }
' sdk/helper/keysutil/lock_manager.go > lock_manager.go
mv lock_manager.go sdk/helper/keysutil/lock_manager.go
run go mod edit -replace github.com/hashicorp/vault/sdk=./sdk

say '3 of 3: compiling (about 8 minutes) …'
run go build -mod=mod -trimpath -ldflags '-s -w' -o vault github.com/hashicorp/vault
# Moved whole: an interrupted copy must not pass for the binary.
mv vault "$target"
cd "$cache"
rm -rf "$build"
say "done: $("$target" version)"
