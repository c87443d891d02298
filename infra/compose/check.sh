#!/usr/bin/env bash
# Loads compose.yaml as `docker compose config` does, and starts the services
# that run Varve as processes with their commands and environments, on a
# directory for the bucket. Needs no container engine; with no varve binary it
# only loads. Linux only: the services' addresses are 127.0.32.1 and on.
#
#   check.sh [path of a varve binary]
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

VARVE_BIN=
if [ $# -gt 0 ]; then
  VARVE_BIN=$(realpath "$1")
fi
COMPOSE_FILE_TO_RUN=$here/compose.yaml
export VARVE_BIN COMPOSE_FILE_TO_RUN

cd "$root/terraform/schemacheck"
go run ./cmd/composecheck "$here/compose.yaml"
go test -tags deploy -count=1 -v -run Compose ./deploytest
