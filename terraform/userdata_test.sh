#!/usr/bin/env bash
# Runs the module's rendered user data here: what it writes is compared with
# what is expected, and given a varve binary three coordinators, two ingest nodes and
# a tiering worker are started with it as processes, kcat sends records through
# them, and the coordinator that leads is killed meanwhile. Linux only: the
# instances' addresses are 127.0.31.1 and on.
#
#   userdata_test.sh [path of a varve binary]
#
# Exit 77: the plan could not be rendered here; nothing was checked.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${VARVE_TERRAFORM_CACHE:-$(dirname "$here")/.cache/terraform}

VARVE_BIN=
if [ $# -gt 0 ]; then
  VARVE_BIN=$(realpath "$1")
fi
USERDATA_PLAN=$cache/userdata-plan.json
export VARVE_BIN USERDATA_PLAN

"$here/check.sh" render "$USERDATA_PLAN"
cd "$here/schemacheck"
go test -tags deploy -count=1 -v -skip Compose ./deploytest
