# Brings an instance from a bare Amazon Linux 2023 to a running Varve role.
# Every step can run twice. What varies stands in variables, so that the steps
# which touch no device and no service also run elsewhere:
#
#   VARVE_ROOT           put before every path written; empty on an instance
#   VARVE_IMDS_ENDPOINT  the instance metadata service
#   VARVE_STEPS          the steps to run, in order; empty defines them and runs none
set -euo pipefail
umask 022

: "${VARVE_ROOT:=}"
: "${VARVE_IMDS_ENDPOINT:=http://169.254.169.254}"
: "${VARVE_STEPS=create_user mount_data fetch_binary write_config write_unit write_drain start_service}"

# The paths as the service sees them.
data_dir="$VARVE_ROOT/var/lib/varve"
binary="$VARVE_ROOT/usr/local/bin/varve"
config="$VARVE_ROOT/etc/varve/varve.yaml"
unit="$VARVE_ROOT/etc/systemd/system/varve.service"
drain="$VARVE_ROOT/usr/local/bin/varve-drain"
drain_unit="$VARVE_ROOT/etc/systemd/system/varve-drain.service"
fstab="$VARVE_ROOT/etc/fstab"

say() { echo "varve bootstrap: $*" >&2; }
fail() { say "$*"; exit 1; }

# metadata PATH prints a value of the instance metadata service (version 2: a session token first).
metadata() {
  local token
  token=$(curl -fsS --retry 5 --retry-connrefused --max-time 5 -X PUT \
    -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' "$VARVE_IMDS_ENDPOINT/latest/api/token")
  curl -fsS --retry 5 --retry-connrefused --max-time 5 \
    -H "X-aws-ec2-metadata-token: $token" "$VARVE_IMDS_ENDPOINT/latest/meta-data/$1"
}

starts_with_zeros() {
  [ "$(head -c 1048576 "$1" | wc -c)" -eq 1048576 ] && [ "$(head -c 1048576 "$1" | tr -d '\0' | wc -c)" -eq 0 ]
}

is_block_device() { [ -b "$1" ]; }

create_user() {
  id varve >/dev/null 2>&1 || useradd --system --home-dir /var/lib/varve --no-create-home --shell /sbin/nologin varve
  install -d -m 0750 -o varve -g varve "$data_dir"
}

# mount_data mounts the data volume, formatting it only if it holds nothing at
# all. The volume may be attached after the instance has booted.
mount_data() {
  [ -n "$VARVE_DATA_DEVICE" ] || return 0
  local waited=0 kind
  until is_block_device "$VARVE_DATA_DEVICE"; do
    [ "$waited" -lt 600 ] || fail "no device $VARVE_DATA_DEVICE after $waited s"
    sleep 2
    waited=$((waited + 2))
  done
  # Formatting destroys, so blank has to be certain: no signature, and a readable first MiB of zeros, as a new volume has.
  if kind=$(blkid -p -s TYPE -o value "$VARVE_DATA_DEVICE"); then
    say "$VARVE_DATA_DEVICE holds ${kind:-a partition table}"
  elif starts_with_zeros "$VARVE_DATA_DEVICE"; then
    say "$VARVE_DATA_DEVICE is blank: formatting"
    mkfs.xfs -q -L varve-data "$VARVE_DATA_DEVICE"
  else
    fail "$VARVE_DATA_DEVICE is neither blank nor a file system: left as it is"
  fi
  grep -qs " $data_dir " "$fstab" || echo "$VARVE_DATA_DEVICE $data_dir xfs defaults,noatime,nofail,x-systemd.device-timeout=600 0 2" >>"$fstab"
  mountpoint -q "$data_dir" || mount "$data_dir"
  chown varve:varve "$data_dir"
  chmod 0750 "$data_dir"
}

# fetch_binary installs the binary if its checksum is the one that was asked for.
fetch_binary() {
  local partial="$binary.partial"
  mkdir -p "${binary%/*}"
  case "$VARVE_BINARY_URL" in
    s3://*) aws s3 cp --only-show-errors "$VARVE_BINARY_URL" "$partial" ;;
    *) curl -fsSL --retry 5 --retry-connrefused -o "$partial" "$VARVE_BINARY_URL" ;;
  esac
  if ! echo "$VARVE_BINARY_SHA256  $partial" | sha256sum --check --status; then
    rm -f "$partial"
    fail "$VARVE_BINARY_URL has another checksum than $VARVE_BINARY_SHA256"
  fi
  chmod 0755 "$partial"
  mv "$partial" "$binary"
}

# write_config writes the configuration file. Listeners bind to the instance's
# own address, which is also what nodes and clients are told to use.
write_config() {
  local address zone
  address=$(metadata local-ipv4)
  zone=$(metadata placement/availability-zone)
  mkdir -p "${config%/*}" "$data_dir"
  {
    echo "data-dir: \"$data_dir\""
    echo "bucket: \"$VARVE_BUCKET_URL\""
    echo "http-addr: \"$address:$VARVE_HTTP_PORT\""
    echo "zone: \"$zone\""
    [ -z "$VARVE_COORDINATORS" ] || echo "peers: \"$VARVE_COORDINATORS\""
    case "$VARVE_ROLE" in
      coordinator)
        echo "internal-addr: \"$address:$VARVE_INTERNAL_PORT\""
        echo "metalog: \"$VARVE_METALOG_KIND\""
        echo "nats-addr: \"$address:$VARVE_NATS_PORT\""
        [ -z "$VARVE_COORDINATOR_NUMBER" ] || echo "node-id: $VARVE_COORDINATOR_NUMBER"
        ;;
      ingest)
        echo "internal-addr: \"$address:$VARVE_INTERNAL_PORT\""
        echo "nats-url: \"$VARVE_COORDINATOR_NATS\""
        echo "kafka-addr: \"$address:$VARVE_KAFKA_PORT\""
        echo "advertised-addr: \"$address:$VARVE_KAFKA_PORT\""
        echo "drain-timeout: ${VARVE_DRAIN_SECONDS}s"
        ;;
      tiering)
        echo "nats-url: \"$VARVE_COORDINATOR_NATS\""
        ;;
      *) fail "unknown role $VARVE_ROLE" ;;
    esac
  } >"$config.partial"
  mv "$config.partial" "$config"
}

write_unit() {
  local wants_data=""
  [ -z "$VARVE_DATA_DEVICE" ] || wants_data="RequiresMountsFor=$data_dir"
  mkdir -p "${unit%/*}"
  cat >"$unit.partial" <<UNIT
[Unit]
Description=Varve $VARVE_ROLE
Documentation=https://github.com/varvelog/varve
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0
$wants_data

[Service]
ExecStart=$binary $VARVE_ROLE --config $config
User=varve
Group=varve
Restart=always
RestartSec=2
TimeoutStopSec=$VARVE_STOP_SECONDS
LimitNOFILE=1048576
NoNewPrivileges=true
ProtectSystem=strict
ProtectHome=true
PrivateTmp=true
PrivateDevices=true
ProtectKernelTunables=true
ProtectControlGroups=true
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictSUIDSGID=true
CapabilityBoundingSet=
ReadWritePaths=$data_dir

[Install]
WantedBy=multi-user.target
UNIT
  mv "$unit.partial" "$unit"
}

# write_drain has an ingest node stop when its autoscaling group has chosen the
# instance to go. The group's lifecycle hook keeps the instance meanwhile.
write_drain() {
  [ "$VARVE_ROLE" = ingest ] || return 0
  cat >"$drain.partial" <<'DRAIN'
#!/bin/bash
# Waits until the instance's autoscaling group wants it to end, and stops Varve, which drains.
set -u
imds=${VARVE_IMDS_ENDPOINT:-http://169.254.169.254}
wanted_state() {
  local token
  token=$(curl -fsS --max-time 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$imds/latest/api/token") &&
    curl -fsS --max-time 5 -H "X-aws-ec2-metadata-token: $token" "$imds/latest/meta-data/autoscaling/target-lifecycle-state"
}
until [ "$(wanted_state 2>/dev/null)" = Terminated ]; do
  sleep "${VARVE_DRAIN_POLL_SECONDS:-5}"
done
echo "the autoscaling group ends this instance: stopping Varve"
exec systemctl stop varve.service
DRAIN
  chmod 0755 "$drain.partial"
  mv "$drain.partial" "$drain"
  cat >"$drain_unit.partial" <<UNIT
[Unit]
Description=Stops Varve before its autoscaling group ends the instance
After=network-online.target

[Service]
ExecStart=$drain
Restart=on-failure
RestartSec=5

[Install]
WantedBy=multi-user.target
UNIT
  mv "$drain_unit.partial" "$drain_unit"
}

start_service() {
  systemctl daemon-reload
  systemctl enable --now varve.service
  [ "$VARVE_ROLE" != ingest ] || systemctl enable --now varve-drain.service
}

for step in $VARVE_STEPS; do
  say "$step"
  "$step"
done
