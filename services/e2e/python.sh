#!/bin/sh
# Makes .cache/venv of this repository: Python with the Kafka client that the tests run programs with.
set -eu

# Pinned so that every run meets the same client.
version=2.16.1

root=$(cd "$(dirname "$0")/../.." && pwd)
venv="$root/.cache/venv"
stamp="$venv/confluent-kafka.version"

if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null || true)" = "$version" ]; then
	exit 0
fi

# Made beside its place, so that one cut short is never taken for a whole one. Nothing is run through the scripts in bin, which
# name the folder they were made in.
mkdir -p "$root/.cache"
scratch=$(mktemp -d "$root/.cache/venv.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch"
"$scratch/bin/python" -m pip install --quiet --disable-pip-version-check "confluent-kafka==$version"
echo "$version" >"$scratch/confluent-kafka.version"
chmod 755 "$scratch"
rm -rf "$venv"
mv "$scratch" "$venv"
trap - EXIT
