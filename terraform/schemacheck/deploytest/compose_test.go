//go:build deploy

package deploytest

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const dataDir = "/var/lib/varve"

// TestComposeServes starts the services of compose.yaml that run Varve, with a directory for the bucket, and sends records through them.
func TestComposeServes(t *testing.T) {
	path, binary := os.Getenv("COMPOSE_FILE_TO_RUN"), os.Getenv("VARVE_BIN")
	if path == "" || binary == "" {
		t.Skip("COMPOSE_FILE_TO_RUN and VARVE_BIN do not name a compose file and a varve binary")
	}
	if _, err := exec.LookPath("kcat"); err != nil {
		t.Fatalf("the round trip needs kcat: %v", err)
	}
	options, err := cli.NewProjectOptions([]string{path}, cli.WithName("varve"))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	services := slices.DeleteFunc(project.ServiceNames(), func(name string) bool { return project.Services[name].Image != "varve:local" })
	addresses := map[string]string{}
	for i, name := range services {
		addresses[name] = fmt.Sprintf("127.0.32.%d", i+1)
	}
	bucket := "file://" + t.TempDir()
	run := func(s types.ServiceConfig) *role {
		if role := s.Command[0]; role != "tiering" && !slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == dataDir && v.Source == s.Name }) {
			t.Errorf("service %s keeps no volume of its own at %s", s.Name, dataDir)
		}
		return start(t, &role{name: s.Name, address: addresses[s.Name], dir: t.TempDir(), argv: append([]string{binary}, s.Command...), env: environment(s, addresses, bucket, t.TempDir())})
	}
	var group []*role
	var brokers []string
	for _, name := range services {
		if project.Services[name].Command[0] == "coordinator" {
			group = append(group, run(project.Services[name]))
		}
	}
	if len(group) != 3 {
		t.Fatalf("there are %d coordinators, expected 3", len(group))
	}
	for _, r := range group {
		r.waitReady(t)
	}
	for _, name := range services {
		s := project.Services[name]
		if s.Command[0] == "coordinator" {
			continue
		}
		for _, r := range group {
			if s.DependsOn[r.name].Condition != types.ServiceConditionHealthy {
				t.Errorf("service %s does not wait for %s", name, r.name)
			}
		}
		run(s).waitReady(t)
		if s.Command[0] == "ingest" {
			brokers = append(brokers, addresses[name]+published(t, s))
		}
	}
	serve(t, binary, strings.Join(brokers, ","), group)
}

// environment is a service's, with addresses for names: its own for what listens everywhere and for the machine's.
func environment(s types.ServiceConfig, addresses map[string]string, bucket, dir string) []string {
	replace := []string{"0.0.0.0", addresses[s.Name], "localhost", addresses[s.Name]}
	for name, address := range addresses {
		replace = append(replace, name+":", address+":")
	}
	names := strings.NewReplacer(replace...)
	var env []string
	for key, value := range s.Environment {
		if value != nil && key != "VARVE_BUCKET" {
			env = append(env, key+"="+names.Replace(*value))
		}
	}
	return append(env, "VARVE_BUCKET="+bucket, "VARVE_DATA_DIR="+dir)
}

// published is the port of an ingest node, as ":port": that on which it listens, which clients are told, and which is published.
func published(t *testing.T, s types.ServiceConfig) string {
	t.Helper()
	if len(s.Ports) != 1 || s.Ports[0].HostIP != "127.0.0.1" || fmt.Sprint(s.Ports[0].Target) != s.Ports[0].Published {
		t.Fatalf("service %s publishes %v, expected one port of loopback under its own number", s.Name, s.Ports)
	}
	port := ":" + s.Ports[0].Published
	for _, name := range []string{"VARVE_KAFKA_ADDR", "VARVE_ADVERTISED_ADDR"} {
		if value := s.Environment[name]; value == nil || !strings.HasSuffix(*value, port) {
			t.Errorf("service %s has no %s that ends in %s", s.Name, name, port)
		}
	}
	return port
}
