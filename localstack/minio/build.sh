#!/bin/sh
# Builds the MinIO server from its Go module into .cache/bin/minio of this repository.
#
# MinIO is AGPL: it runs as a process of its own and is never imported. The first build takes about five minutes and
# 1.5 GB of memory; a binary of the pinned version is kept. Set MINIO_BUILD_FLAGS="-p 1" where memory is short.
set -eu

# Pinned so that every run of the acceptance tests meets the same server.
version=v0.0.0-20260212201848-7aac2a2c5b7c

root=$(cd "$(dirname "$0")/../.." && pwd)
bin="$root/.cache/bin"
stamp="$bin/minio.version"

if [ -x "$bin/minio" ] && [ "$(cat "$stamp" 2>/dev/null || true)" = "$version" ]; then
	exit 0
fi

mkdir -p "$bin"
# Installed under a folder of this build's own and renamed, so that a build cut short or run twice at once leaves no half
# of a binary behind.
scratch=$(mktemp -d "$bin/minio-build.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
echo "building minio $version (about five minutes, once)" >&2
# Run outside the module: its go.mod must not know the server.
# shellcheck disable=SC2086
(cd "$scratch" && GOBIN="$scratch" GOFLAGS= GOWORK=off go install ${MINIO_BUILD_FLAGS:-} -trimpath -ldflags="-s -w" "github.com/minio/minio@$version")
mv "$scratch/minio" "$bin/minio"
echo "$version" >"$stamp"
