//go:build deploy

package deploytest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const bucketURL = "s3://example-varve-log/varve?region=eu-central-1"

const peers = "1=127.0.31.1:9644:6222,2=127.0.31.2:9644:6222,3=127.0.31.3:9644:6222"

// The configuration files by instances' names, with ROOT for the sandbox.
var configs = map[string]string{
	"coordinator-1": coordinatorConfig(1, "a"),
	"coordinator-2": coordinatorConfig(2, "b"),
	"coordinator-3": coordinatorConfig(3, "c"),
	"ingest": `data-dir: "ROOT/var/lib/varve"
bucket: "` + bucketURL + `"
http-addr: "127.0.31.11:8080"
zone: "eu-central-1a"
peers: "` + peers + `"
internal-addr: "127.0.31.11:9644"
nats-url: "nats://127.0.31.1:4222,nats://127.0.31.2:4222,nats://127.0.31.3:4222"
kafka-addr: "127.0.31.11:9092"
advertised-addr: "127.0.31.11:9092"
drain-timeout: 20s
`,
	"tiering": `data-dir: "ROOT/var/lib/varve"
bucket: "` + bucketURL + `"
http-addr: "127.0.31.21:8080"
zone: "eu-central-1c"
peers: "` + peers + `"
nats-url: "nats://127.0.31.1:4222,nats://127.0.31.2:4222,nats://127.0.31.3:4222"
`,
}

func coordinatorConfig(number int, zone string) string {
	return fmt.Sprintf(`data-dir: "ROOT/var/lib/varve"
bucket: "%s"
http-addr: "127.0.31.%[2]d:8080"
zone: "eu-central-1%[3]s"
peers: "%[4]s"
internal-addr: "127.0.31.%[2]d:9644"
metalog: "jetstream"
nats-addr: "127.0.31.%[2]d:4222"
node-id: %[2]d
`, bucketURL, number, zone, peers)
}

func TestEachRoleGetsItsConfiguration(t *testing.T) {
	for _, at := range append([]instance{ingestA, tiering}, coordinators...) {
		t.Run(at.name, func(t *testing.T) {
			s := newSandbox(t, at, fakeBinary(t))
			// Twice: a boot that broke off is taken up again from the start.
			for range 2 {
				if out, err := s.bootstrap(t.Context()); err != nil {
					t.Fatalf("bootstrap: %v\n%s", err, out)
				}
			}
			want := strings.ReplaceAll(configs[at.name], "ROOT", s.root)
			if got := s.read(t, "etc/varve/varve.yaml"); got != want {
				t.Errorf("configuration is\n%s\nexpected\n%s", got, want)
			}
			argv := s.command(t, "varve")
			out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
			if err != nil {
				t.Fatalf("run %v: %v\n%s", argv, err, out)
			}
			wantArgs := "args: " + at.role + " --config " + filepath.Join(s.root, "etc/varve/varve.yaml") + "\n"
			if string(out) != wantArgs+want {
				t.Errorf("the unit starts\n%s\nexpected\n%s", out, wantArgs+want)
			}
		})
	}
}

// TestInstanceThatIsToGoStopsVarve has the autoscaling group choose an instance,
// and expects it to stop the service then and not before.
func TestInstanceThatIsToGoStopsVarve(t *testing.T) {
	s := newSandbox(t, ingestA, fakeBinary(t))
	if out, err := s.bootstrap(t.Context()); err != nil {
		t.Fatalf("bootstrap: %v\n%s", err, out)
	}
	if stop := s.unit(t, "varve", "TimeoutStopSec"); stop != "80" {
		t.Errorf("systemd waits %s s for a node that may drain for 20 s, expected 80", stop)
	}
	called := filepath.Join(t.TempDir(), "called")
	tools := t.TempDir()
	if err := os.WriteFile(filepath.Join(tools, "systemctl"), []byte("#!/bin/sh\necho \"$*\" >"+called+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	argv := s.command(t, "varve-drain")
	drain := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	drain.Env = append(s.env, "PATH="+tools+":"+os.Getenv("PATH"), "VARVE_DRAIN_POLL_SECONDS=0.01")
	if err := drain.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "varve-drain asks what the group wants", func() bool { return s.asked.Load() >= 3 })
	if _, err := os.Stat(called); !os.IsNotExist(err) {
		t.Fatalf("the service was stopped on an instance that stays (%v)", err)
	}
	terminated := "Terminated"
	s.wanted.Store(&terminated)
	if err := drain.Wait(); err != nil {
		t.Fatalf("varve-drain: %v", err)
	}
	if got, err := os.ReadFile(called); string(got) != "stop varve.service\n" {
		t.Errorf("systemctl was called with %q (%v), expected stop varve.service", got, err)
	}
}

func TestOnlyIngestNodesAreDrained(t *testing.T) {
	s := newSandbox(t, coordinators[0], fakeBinary(t))
	if out, err := s.bootstrap(t.Context()); err != nil {
		t.Fatalf("bootstrap: %v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(s.root, "etc/systemd/system/varve-drain.service")); !os.IsNotExist(err) {
		t.Errorf("a coordinator has varve-drain (%v)", err)
	}
}

func TestWrongChecksumInstallsNothing(t *testing.T) {
	s := newSandbox(t, ingestA, fakeBinary(t))
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
	s := newSandbox(t, ingestA, fakeBinary(t))
	out, err := s.bootstrap(t.Context(), "VARVE_STEPS=write_config", "VARVE_IMDS_ENDPOINT="+metadataService(t, ingestA, nil)+"/nowhere")
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
			s := newSandbox(t, coordinators[0], fakeBinary(t))
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
