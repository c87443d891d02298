#!/usr/bin/env bash
# Asks Varve and Apache Kafka the same, for every version of every API, and fails where their answers differ and no difference is meant. What is
# compared is in .cache/kafka/differential.log. Ends with 77 where Java, Maven or Kafka's jars cannot be had. Takes about two minutes of a calm machine.
#
#   VARVE_BIN               the binary (bin/varve)
#   VARVE_CONFORMANCE_SEED  of the random sequences of requests
set -euo pipefail
cd "$(dirname "$0")/../.."

for program in java mvn; do
	command -v "$program" >/dev/null || { echo "SKIPPED: $program is needed to run Apache Kafka" >&2; exit 77; }
done
services/conformance/kafka.sh || { echo "SKIPPED: Apache Kafka's jars cannot be had" >&2; exit 77; }

log=.cache/kafka/differential.log
export VARVE_CONFORMANCE=1 VARVE_BIN=${VARVE_BIN:-$PWD/bin/varve}
if go test -v -count=1 -timeout 10m -run '^(TestConformance|TestShareConformance|TestStreamsConformance)$' ./services/conformance >"$log" 2>&1; then
	grep -E '^[[:space:]]*servers_test.go:.*seed|^--- ' "$log"
	exit
fi
# What differs and what else the tests say, without what does not.
awk '/^(equal|intended|DIFFERS) /{ shown = /^DIFFERS/ } /^(---|===|FAIL|panic|[ \t]+[a-z_]+_test\.go:)/{ shown = 1 } shown' "$log"
exit 1
