#!/usr/bin/env bash
# Runs the nemesis for NEMESIS_DURATION (30m) with NEMESIS_SEED (random), after getting what it needs: MinIO, Apache Kafka's jars, and a varve
# binary whose clock can be moved. NEMESIS_JAVA=0 leaves Java's clients out. Ends with 77 where network namespaces are not permitted. Arguments go to
# the nemesis.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=.cache/nemesis/bin
mkdir -p "$bin"

if [ "$(uname -s)" != Linux ] || ! command -v ip >/dev/null || ! unshare --net --mount --pid --fork true 2>/dev/null; then
	echo "nemesis: skipped: it needs Linux, ip (iproute2) and the permission to make network namespaces (root)" >&2
	exit 77
fi
localstack/minio/build.sh
go build -o "$bin/nemesis" ./services/nemesis
if [ "${1:-}" = planted ]; then
	exec "$bin/nemesis" "$@"
fi
java=()
if [ "${NEMESIS_JAVA:-1}" = 0 ]; then
	:
elif command -v javac >/dev/null && services/conformance/kafka.sh; then
	javac -d "$bin/classes" -cp ".cache/kafka/libs/*" services/nemesis/workload/java/NemesisClient.java
	java=(-java "$bin/classes:$PWD/.cache/kafka/libs/*")
else
	echo "nemesis: without Java's clients: they need a JDK and Maven" >&2
fi
"$bin/nemesis" build -o "$bin/varve"
exec "$bin/nemesis" -varve "$bin/varve" -clocks "${java[@]}" -duration "${NEMESIS_DURATION:-30m}" -seed "${NEMESIS_SEED:-0}" "$@"
