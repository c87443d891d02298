#!/bin/sh
# Gets what the programs of one kind of client need, into .cache/clients, through the kind's own package manager: python, java, node
# or golang. Does nothing where it is there.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
cache="$root/.cache/clients"

need() {
	command -v "$1" >/dev/null || { echo "prepare.sh: $1 is needed (Debian: apt-get install $2)" >&2; exit 1; }
}

# fresh KIND FILE... tells whether KIND was made from exactly these files.
fresh() {
	kind=$1
	shift
	sum=$(cat "$@" | cksum)
	[ "$(cat "$cache/$kind/made-from" 2>/dev/null || true)" = "$sum" ]
}

# What is made is made beside its place, so that one cut short is never taken for a whole one.
begin() {
	mkdir -p "$cache"
	scratch=$(mktemp -d "$cache/$kind.XXXXXX")
	trap 'rm -rf "$scratch"' EXIT
}

finish() {
	echo "$sum" >"$scratch/made-from"
	chmod 755 "$scratch"
	rm -rf "${cache:?}/$kind"
	mv "$scratch" "$cache/$kind"
	trap - EXIT
}

case "${1:-}" in
python)
	need python3 python3-venv
	fresh python "$here/python/requirements.txt" && exit 0
	begin
	python3 -m venv "$scratch"
	"$scratch/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/python/requirements.txt"
	finish
	;;
node)
	need npm npm
	fresh node "$here/kafkajs/package-lock.json" && exit 0
	begin
	cp "$here/kafkajs/package.json" "$here/kafkajs/package-lock.json" "$scratch"
	(cd "$scratch" && npm ci --silent --no-audit --no-fund --ignore-scripts)
	finish
	;;
java)
	need javac openjdk-17-jdk-headless
	"$here/../kafka.sh"
	fresh java "$here/../pom.xml" "$here"/java/*.java && exit 0
	begin
	javac -Xlint:all,-classfile,-processing -Werror -cp "$root/.cache/kafka/libs/*" -d "$scratch" "$here"/java/*.java
	finish
	;;
golang)
	mkdir -p "$cache/golang"
	(cd "$here/golang" && go build -o "$cache/golang/" ./...)
	;;
*)
	echo "usage: prepare.sh python|java|node|golang" >&2
	exit 2
	;;
esac
