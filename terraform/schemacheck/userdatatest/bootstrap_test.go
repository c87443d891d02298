//go:build userdata

package userdatatest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const bucketURL = "s3://example-varve-log/varve?region=eu-central-1"

// The configuration files, with ROOT for the sandbox.
var configs = map[string]string{
	"coordinator": `data-dir: "ROOT/var/lib/varve"
bucket: "` + bucketURL + `"
http-addr: "127.0.31.1:8080"
zone: "eu-central-1b"
internal-addr: "127.0.31.1:9644"
metalog: "jetstream"
nats-addr: "127.0.31.1:4222"
`,
	"ingest": `data-dir: "ROOT/var/lib/varve"
bucket: "` + bucketURL + `"
http-addr: "127.0.31.2:8080"
zone: "eu-central-1b"
internal-addr: "127.0.31.2:9644"
nats-url: "nats://127.0.31.1:4222"
kafka-addr: "127.0.31.2:9092"
advertised-addr: "127.0.31.2:9092"
`,
	"tiering": `data-dir: "ROOT/var/lib/varve"
bucket: "` + bucketURL + `"
http-addr: "127.0.31.3:8080"
zone: "eu-central-1b"
nats-url: "nats://127.0.31.1:4222"
`,
}

func TestEachRoleGetsItsConfiguration(t *testing.T) {
	for role, script := range userData(t) {
		t.Run(role, func(t *testing.T) {
			s := newSandbox(t, role, script, fakeBinary(t))
			// Twice: a boot that broke off is taken up again from the start.
			for range 2 {
				if out, err := s.bootstrap(t.Context()); err != nil {
					t.Fatalf("bootstrap: %v\n%s", err, out)
				}
			}
			want := strings.ReplaceAll(configs[role], "ROOT", s.root)
			if got := s.read(t, "etc/varve/varve.yaml"); got != want {
				t.Errorf("configuration is\n%s\nexpected\n%s", got, want)
			}
			argv := s.command(t)
			out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
			if err != nil {
				t.Fatalf("run %v: %v\n%s", argv, err, out)
			}
			wantArgs := "args: " + role + " --config " + filepath.Join(s.root, "etc/varve/varve.yaml") + "\n"
			if string(out) != wantArgs+want {
				t.Errorf("the unit starts\n%s\nexpected\n%s", out, wantArgs+want)
			}
		})
	}
}

func TestWrongChecksumInstallsNothing(t *testing.T) {
	s := newSandbox(t, "ingest", userData(t)["ingest"], fakeBinary(t))
	out, err := s.bootstrap(t.Context(), "VARVE_BINARY_SHA256="+strings.Repeat("0", 64))
	if err == nil || !strings.Contains(out, "has another checksum") {
		t.Errorf("bootstrap says %v\n%s", err, out)
	}
	for _, path := range []string{"usr/local/bin/varve", "usr/local/bin/varve.partial", "etc/systemd/system/varve.service"} {
		if _, err := os.Stat(filepath.Join(s.root, path)); !os.IsNotExist(err) {
			t.Errorf("%s is there (%v)", path, err)
		}
	}
}

func TestMetadataOutOfReachWritesNoConfiguration(t *testing.T) {
	s := newSandbox(t, "ingest", userData(t)["ingest"], fakeBinary(t))
	out, err := s.bootstrap(t.Context(), "VARVE_STEPS=write_config", "VARVE_IMDS_ENDPOINT="+metadataService(t, "")+"/nowhere")
	if err == nil {
		t.Errorf("bootstrap succeeded\n%s", out)
	}
	if _, err := os.Stat(filepath.Join(s.root, "etc/varve/varve.yaml")); !os.IsNotExist(err) {
		t.Errorf("a configuration was written (%v)", err)
	}
}

// mountOutside replaces what only root and a device can do, and says what was asked for.
const mountOutside = `
is_block_device() { [ -f "$1" ]; }
mkfs.xfs() { echo "FORMATTED"; }
mount() { echo "MOUNTED $1"; }
mountpoint() { return 1; }
chown() { :; }
mkdir -p "$data_dir" "$VARVE_ROOT/etc"
mount_data
`

func TestOnlyABlankVolumeIsFormatted(t *testing.T) {
	mebibyte := 1 << 20
	for _, c := range []struct {
		name, blkid               string
		content                   []byte
		fails, formatted, mounted bool
	}{
		{"blank", "return 2", make([]byte, 2*mebibyte), false, true, true},
		{"file system", "echo xfs", append([]byte("XFSB"), make([]byte, 2*mebibyte)...), false, false, true},
		{"unknown content", "return 2", append([]byte("something"), make([]byte, 2*mebibyte)...), true, false, false},
		{"unreadable", "return 2", nil, true, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSandbox(t, "coordinator", userData(t)["coordinator"], fakeBinary(t))
			device := filepath.Join(t.TempDir(), "device")
			if err := os.WriteFile(device, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "bash", "-c", "source "+s.script+"; blkid() { "+c.blkid+"; }"+mountOutside)
			cmd.Env = append(s.env, "VARVE_STEPS=", "VARVE_DATA_DEVICE="+device)
			raw, err := cmd.CombinedOutput()
			out := string(raw)
			if (err != nil) != c.fails || strings.Contains(out, "FORMATTED") != c.formatted || strings.Contains(out, "MOUNTED") != c.mounted {
				t.Errorf("bootstrap says %v\n%s", err, out)
			}
		})
	}
}
