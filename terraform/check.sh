#!/usr/bin/env bash
# Checks the Terraform module and its example with no AWS account and no AWS
# provider: fmt, init, validate, plan and test against the provider's schema,
# which a stub provider serves (schemacheck/). README.md says what that proves.
#
# Exit 0: all checks passed. 77: the tools are not to be had here, nothing was
# checked. Anything else: a check failed.
#
#   check.sh           run every check
#   check.sh render F  write the plan of tests/render, as JSON, to F (used by userdata_test.sh)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${VARVE_TERRAFORM_CACHE:-$(dirname "$here")/.cache/terraform}

npm_package=@cdktf/provider-aws@21.22.1
npm_integrity=sha512-BuSHeaQFUL9l33pBzIMRT7cTQ69AM2mLtijjteCPhVQRmvuhuj9Lvfymf7knAMhYqAT6+Lrls9jiGVW/Us3zrQ==
provider_version=6.25.0 # the version that the package was generated from
tofu_version=v1.12.6

say() { echo "== $*"; }
skip() { echo "SKIPPED: $*" >&2; exit 77; }

# find_terraform sets tf to a Terraform or OpenTofu binary, building the latter if need be.
find_terraform() {
  local candidate
  for candidate in "${TERRAFORM:-}" terraform tofu "$cache/bin/tofu"; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null; then
      tf=$(command -v "$candidate")
      return
    fi
  done
  say "no terraform here: building OpenTofu $tofu_version from its Go module (several minutes)"
  build_tofu || skip "there is no terraform or tofu, and OpenTofu could not be built"
  tf=$cache/bin/tofu
}

# OpenTofu's module has replace directives, which `go install` refuses, hence the copy.
build_tofu() {
  local src
  src=$(cd "$here/schemacheck" && go mod download -json "github.com/opentofu/opentofu@$tofu_version" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p') || return 1
  [ -n "$src" ] || return 1
  rm -rf "$cache/opentofu"
  mkdir -p "$cache/bin"
  cp -r "$src" "$cache/opentofu" || return 1
  chmod -R u+w "$cache/opentofu"
  (cd "$cache/opentofu" && go build -o "$cache/bin/tofu" ./cmd/tofu) || return 1
  rm -rf "$cache/opentofu"
}

fetch_package() {
  package=$cache/npm/cdktf-provider-aws-21.22.1.tgz
  local digest
  if [ ! -f "$package" ]; then
    command -v npm >/dev/null || skip "there is no npm to fetch the provider's schema with"
    rm -rf "$cache/npm.partial"
    mkdir -p "$cache/npm.partial"
    (cd "$cache/npm.partial" && npm pack --silent "$npm_package" >/dev/null) || skip "npm cannot fetch $npm_package"
    rm -rf "$cache/npm"
    mv "$cache/npm.partial" "$cache/npm"
  fi
  digest=sha512-$(openssl dgst -sha512 -binary "$package" | openssl base64 -A)
  [ "$digest" = "$npm_integrity" ] || { echo "$package: integrity is $digest, expected $npm_integrity" >&2; exit 1; }
}

# build_stub puts the stub provider where Terraform and OpenTofu look for the real one.
build_stub() {
  local host dir
  (cd "$here/schemacheck" && go build -o "$cache/bin/" ./cmd/...)
  "$cache/bin/awsschema" -package "$package" -out "$cache/schema.json" "$here"
  for host in registry.terraform.io registry.opentofu.org; do
    dir=$cache/mirror/$host/hashicorp/aws/$provider_version/$(go env GOOS)_$(go env GOARCH)
    mkdir -p "$dir"
    cp "$cache/bin/terraform-provider-aws" "$dir/terraform-provider-aws_v${provider_version}_x5"
  done
  cat >"$cache/terraformrc" <<RC
provider_installation {
  filesystem_mirror {
    path    = "$cache/mirror"
    include = ["registry.terraform.io/hashicorp/aws", "registry.opentofu.org/hashicorp/aws"]
  }
}
RC
  export TF_CLI_CONFIG_FILE=$cache/terraformrc SCHEMACHECK_SCHEMA=$cache/schema.json
  export CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1 TF_INPUT=0
}

# Terraform writes lock files and state beside the configuration: it works on a copy.
copy_tree() {
  work=$cache/work
  rm -rf "$work"
  mkdir -p "$work"
  (cd "$here" && tar cf - --exclude=.terraform --exclude=schemacheck .) | tar xf - -C "$work"
}

prepare() {
  command -v go >/dev/null || skip "there is no go to build the stub provider with"
  command -v openssl >/dev/null || skip "there is no openssl to check the npm package's digest with"
  mkdir -p "$cache"
  fetch_package
  find_terraform
  build_stub
  copy_tree
}

# refuses fails unless the named broken configuration is refused for the reason given: a check that passes anything is none.
refuses() {
  local reason=$1 dir=$work/broken out
  rm -rf "$dir"
  mkdir -p "$dir"
  cat >"$dir/main.tf"
  "$tf" -chdir="$dir" init -backend=false >/dev/null
  if out=$("$tf" -chdir="$dir" validate -no-color 2>&1); then
    echo "accepted a configuration with: $reason" >&2
    exit 1
  fi
  # Messages wrap at the terminal's width.
  if ! tr -s '\n│ ' ' ' <<<"$out" | grep -q "$reason"; then
    printf 'refused, but not for "%s":\n%s\n' "$reason" "$out" >&2
    exit 1
  fi
}

check_the_check() {
  say "broken configurations are refused"
  refuses 'argument named "instance_tpye" is not expected' <<<'resource "aws_instance" "x" { instance_tpye = "t4g.nano" }'
  refuses 'argument "availability_zone" is required' <<<'resource "aws_ebs_volume" "x" { size = 1 }'
  refuses 'does not support resource type "aws_bucket"' <<<'resource "aws_bucket" "x" {}'
  refuses 'policy is not a JSON policy' <<<'resource "aws_iam_role_policy" "x" {
    role   = "r"
    policy = "Allow"
  }'
}

# A new binary must stop no coordinator by itself, and reach the one that is replaced by name.
check_replacement() {
  local dir=$work/tests/render run=$work/replacement
  rm -rf "$run"
  cp -r "$dir" "$run"
  sed -i "s|\.\./\.\./modules|$work/modules|" "$run/main.tf"
  (
    export SCHEMACHECK_KNOWN=1
    cd "$run"
    "$tf" init -backend=false >/dev/null
    "$tf" apply -auto-approve -refresh=false >/dev/null
    sed -i 's/varve_binary_sha256\( *\)= "0000/varve_binary_sha256\1= "1111/' main.tf
    "$tf" plan -no-color -refresh=false >plain.txt
    "$tf" plan -no-color -refresh=false -replace='module.varve.aws_instance.coordinator["2"]' -out=named.bin >named.txt
    "$tf" show -json named.bin >named.json
  )
  if grep -q 'aws_instance.coordinator' "$run/plain.txt"; then
    echo "a new binary touches coordinators that nobody named:" >&2
    grep 'aws_instance.coordinator' "$run/plain.txt" >&2
    exit 1
  fi
  [ "$(grep -c '^  # module.varve.aws_instance.coordinator' "$run/named.txt")" = 1 ] && grep -q 'coordinator\["2"\] will be replaced' "$run/named.txt" ||
    { echo "naming coordinator 2 does not replace it and it alone:" >&2; cat "$run/named.txt" >&2; exit 1; }
  local given
  given=$(grep -o '"user_data_base64":"[^"]*"' "$run/named.json" | cut -d'"' -f4 | while read -r data; do base64 -d <<<"$data"; done)
  grep -q '^: "${VARVE_BINARY_SHA256:=1111' <<<"$given" || { echo "the replaced coordinator is not given the new binary" >&2; exit 1; }
}

render() {
  "$tf" -chdir="$work/tests/render" init -backend=false >/dev/null
  (
    export SCHEMACHECK_KNOWN=1
    "$tf" -chdir="$work/tests/render" plan -refresh=false -out=plan.bin >/dev/null
    "$tf" -chdir="$work/tests/render" show -json plan.bin
  ) >"$1"
}

main() {
  prepare
  if [ "${1:-}" = render ]; then
    render "$2"
    return
  fi
  say "$("$tf" version | head -1), schema of hashicorp/aws $provider_version served by a stub"
  say "the checker's own tests"
  (cd "$here/schemacheck" && go vet -tags deploy ./... && go test ./cdktf ./stub)
  check_the_check
  say fmt
  "$tf" fmt -check -recursive -diff "$here"
  for dir in modules/varve examples/*/ tests/render; do
    dir=${dir%/}
    say "init, validate $dir"
    "$tf" -chdir="$work/$dir" init -backend=false >/dev/null
    "$tf" -chdir="$work/$dir" validate -no-color
  done
  # With computed values unknown, as a first plan on AWS has them.
  for dir in examples/*/; do
    say "plan $dir"
    "$tf" -chdir="$work/$dir" plan -no-color -refresh=false -var-file=terraform.tfvars.example | grep -E '^(Plan|No changes)'
  done
  say "coordinators are replaced one by one, by name"
  check_replacement
  say "test modules/varve"
  SCHEMACHECK_KNOWN=1 "$tf" -chdir="$work/modules/varve" test -no-color
  say "passed, against the provider's schema; nothing here was validated against AWS"
}

cd "$here"
main "$@"
