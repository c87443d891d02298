#!/usr/bin/env bash
# Loads compose.yaml as `docker compose config` does and has NATS parse its
# configuration. Needs no container engine, and starts nothing.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

(cd "$root/terraform/schemacheck" && go run ./cmd/composecheck "$here/compose.yaml")
(cd "$root" && NATS_PASSWORD=check go run github.com/nats-io/nats-server/v2 -t -c "$here/nats.conf")
