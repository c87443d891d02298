#!/usr/bin/env bash
# Gets the jars of Apache Kafka that pom.xml names, into .cache/kafka/libs. Does nothing where they are there.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
root="$(cd "$here/../.." && pwd)"
libs="$root/.cache/kafka/libs"
version="$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$here/pom.xml")"

complete=yes
for jar in kafka_2.13 kafka-tools kafka-streams connect-runtime connect-file connect-json; do
  [ -f "$libs/$jar-$version.jar" ] || complete=
done
[ -z "$complete" ] || exit 0
for program in java mvn; do
  command -v "$program" >/dev/null || { echo "kafka.sh: $program is needed (Debian: apt-get install openjdk-17-jre-headless maven)" >&2; exit 1; }
done
partial="$libs.partial"
rm -rf "$partial" "$libs"
mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$partial"
mv "$partial" "$libs"
