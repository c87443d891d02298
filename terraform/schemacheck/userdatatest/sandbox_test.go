//go:build userdata

package userdatatest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The addresses that play the three instances. All of 127.0.0.0/8 is local on
// Linux; the coordinator's is also in tests/render/main.tf.
var addresses = map[string]string{
	"coordinator": "127.0.31.1",
	"ingest":      "127.0.31.2",
	"tiering":     "127.0.31.3",
}

const zone = "eu-central-1b"

// userData returns each role's script as EC2 would get it: out of the planned
// instance and launch templates, decoded.
func userData(t *testing.T) map[string]string {
	t.Helper()
	path := os.Getenv("USERDATA_PLAN")
	if path == "" {
		t.Fatal("USERDATA_PLAN is not set: run userdata_test.sh")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var plan struct {
		Planned struct {
			Root struct {
				Children []struct {
					Resources []struct {
						Type, Name string
						Values     map[string]any
					}
				} `json:"child_modules"`
			} `json:"root_module"`
		} `json:"planned_values"`
	}
	if err := json.Unmarshal(raw, &plan); err != nil {
		t.Fatalf("parse plan: %v", err)
	}
	attributes := map[string]string{"aws_instance": "user_data_base64", "aws_launch_template": "user_data"}
	scripts := map[string]string{}
	for _, child := range plan.Planned.Root.Children {
		for _, r := range child.Resources {
			if attributes[r.Type] == "" {
				continue
			}
			coded, _ := r.Values[attributes[r.Type]].(string)
			script, err := base64.StdEncoding.DecodeString(coded)
			if err != nil || len(script) == 0 {
				t.Fatalf("user data of %s.%s is %q: %v", r.Type, r.Name, coded, err)
			}
			scripts[r.Name] = string(script)
		}
	}
	if len(scripts) != len(addresses) {
		t.Fatalf("plan has user data for %d roles, expected %d", len(scripts), len(addresses))
	}
	return scripts
}

// metadataService answers as version 2 of the instance metadata service does:
// nothing without a session token.
func metadataService(t *testing.T, address string) string {
	t.Helper()
	const token = "session-token"
	values := map[string]string{
		"/latest/meta-data/local-ipv4":                  address,
		"/latest/meta-data/placement/availability-zone": zone,
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/latest/api/token" {
			if r.Method != http.MethodPut || r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds") == "" {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			_, _ = w.Write([]byte(token)) // a client that hangs up fails its own test
			return
		}
		value, ok := values[r.URL.Path]
		switch {
		case r.Header.Get("X-aws-ec2-metadata-token") != token:
			w.WriteHeader(http.StatusUnauthorized)
		case !ok:
			w.WriteHeader(http.StatusNotFound)
		default:
			_, _ = w.Write([]byte(value))
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// A sandbox is one role's file system root, with the settings that differ from
// an instance's.
type sandbox struct {
	role   string
	root   string
	script string
	env    []string
}

func newSandbox(t *testing.T, role, script, binary string) *sandbox {
	t.Helper()
	content, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	dir := t.TempDir()
	s := &sandbox{role: role, root: filepath.Join(dir, "root"), script: filepath.Join(dir, "userdata.sh")}
	if err := os.WriteFile(s.script, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	s.env = []string{
		"PATH=" + os.Getenv("PATH"),
		"VARVE_ROOT=" + s.root,
		"VARVE_IMDS_ENDPOINT=" + metadataService(t, addresses[role]),
		"VARVE_STEPS=fetch_binary write_config write_unit",
		"VARVE_BINARY_URL=file://" + binary,
		"VARVE_BINARY_SHA256=" + hex.EncodeToString(sum[:]),
	}
	return s
}

// bootstrap runs the user data; extra settings win over the sandbox's.
func (s *sandbox) bootstrap(ctx context.Context, extra ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "bash", s.script)
	cmd.Env = append(append([]string{}, s.env...), extra...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s *sandbox) read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(s.root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// command returns the command line that systemd would run.
func (s *sandbox) command(t *testing.T) []string {
	t.Helper()
	for line := range strings.Lines(s.read(t, "etc/systemd/system/varve.service")) {
		if rest, ok := strings.CutPrefix(line, "ExecStart="); ok {
			return strings.Fields(rest)
		}
	}
	t.Fatal("the unit has no ExecStart")
	return nil
}

// fakeBinary is an executable that prints its arguments and its configuration.
func fakeBinary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "varve")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho \"args: $*\"\ncat \"$3\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
