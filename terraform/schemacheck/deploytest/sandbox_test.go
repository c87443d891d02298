//go:build deploy

package deploytest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// An instance is what a script of the user data is run on.
type instance struct {
	name, role, address, zone string
}

// The instances. All of 127.0.0.0/8 is local on Linux; the coordinators'
// addresses are also in tests/render/main.tf.
var (
	coordinators = []instance{
		{"coordinator-1", "coordinator", "127.0.31.1", "eu-central-1a"},
		{"coordinator-2", "coordinator", "127.0.31.2", "eu-central-1b"},
		{"coordinator-3", "coordinator", "127.0.31.3", "eu-central-1c"},
	}
	// An autoscaling group makes as many as it likes of one script.
	ingestA = instance{"ingest", "ingest", "127.0.31.11", "eu-central-1a"}
	ingestB = instance{"ingest", "ingest", "127.0.31.12", "eu-central-1b"}
	tiering = instance{"tiering", "tiering", "127.0.31.21", "eu-central-1c"}
)

// userData returns the scripts as EC2 would get them, by instances' names: out
// of the planned instances and launch templates, decoded.
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
						Index      any
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
			name := r.Name
			if r.Index != nil {
				name += fmt.Sprintf("-%v", r.Index)
			}
			scripts[name] = string(script)
		}
	}
	if len(scripts) != len(configs) {
		t.Fatalf("plan has %d scripts of user data, expected %d", len(scripts), len(configs))
	}
	return scripts
}

// metadataService answers as version 2 of the instance metadata service does:
// nothing without a session token.
// An instance learns from it where it is, and what its autoscaling group wants of it.
func metadataService(t *testing.T, at instance, wanted func() string) string {
	t.Helper()
	const token = "session-token"
	values := map[string]func() string{
		"/latest/meta-data/local-ipv4":                         func() string { return at.address },
		"/latest/meta-data/placement/availability-zone":        func() string { return at.zone },
		"/latest/meta-data/autoscaling/target-lifecycle-state": wanted,
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
			_, _ = w.Write([]byte(value()))
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// A sandbox is one instance's file system root, with the settings that differ
// from a real one's.
type sandbox struct {
	instance
	root   string
	script string
	env    []string
	wanted atomic.Pointer[string] // by the autoscaling group
	asked  atomic.Int64           // how often the instance has asked for that
}

func newSandbox(t *testing.T, at instance, binary string) *sandbox {
	t.Helper()
	script := userData(t)[at.name]
	if script == "" {
		t.Fatalf("the plan has no user data of %s", at.name)
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	dir := t.TempDir()
	s := &sandbox{instance: at, root: filepath.Join(dir, "root"), script: filepath.Join(dir, "userdata.sh")}
	inService := "InService"
	s.wanted.Store(&inService)
	if err := os.WriteFile(s.script, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	s.env = []string{
		"PATH=" + os.Getenv("PATH"),
		"VARVE_ROOT=" + s.root,
		"VARVE_IMDS_ENDPOINT=" + metadataService(t, at, func() string {
			s.asked.Add(1)
			return *s.wanted.Load()
		}),
		"VARVE_STEPS=fetch_binary write_config write_unit write_drain",
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

// unit returns a setting of a systemd unit.
func (s *sandbox) unit(t *testing.T, name, setting string) string {
	t.Helper()
	for line := range strings.Lines(s.read(t, "etc/systemd/system/"+name+".service")) {
		if rest, ok := strings.CutPrefix(line, setting+"="); ok {
			return strings.TrimSpace(rest)
		}
	}
	t.Fatalf("unit %s has no %s", name, setting)
	return ""
}

// command returns the command line that systemd would run.
func (s *sandbox) command(t *testing.T, unit string) []string {
	t.Helper()
	return strings.Fields(s.unit(t, unit, "ExecStart"))
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
