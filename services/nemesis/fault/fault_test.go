//go:build linux

package fault

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/services/nemesis/cluster"
	"github.com/varvelog/varve/services/nemesis/netns"
)

// sample is a cluster of which nothing runs.
func sample() *cluster.Cluster {
	c := &cluster.Cluster{Clients: &netns.Host{Name: "clients"}, Bucket: &netns.Host{Name: "store"}, MinIO: &cluster.Process{Name: "minio"}}
	for i := range 3 {
		for _, role := range []cluster.Role{cluster.Coordinator, cluster.Ingest, cluster.Tiering} {
			c.Processes = append(c.Processes, &cluster.Process{Name: fmt.Sprint(role, i), Role: role, Host: &netns.Host{Name: fmt.Sprint(role, i)}})
		}
	}
	return c
}

func draw(t *testing.T, seed uint64, n int, kinds ...string) (names []string) {
	t.Helper()
	s := &Source{Cluster: sample(), Random: rand.New(rand.NewPCG(seed, 1)), Clocks: true, Power: true, Kinds: kinds}
	for range n {
		f, err := s.Draw()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, f.Name)
	}
	return names
}

func TestASeedDrawsTheSameFaults(t *testing.T) {
	if a, b := draw(t, 7, 200), draw(t, 7, 200); !slices.Equal(a, b) {
		t.Error("two sources with one seed differ")
	}
	if a, b := draw(t, 7, 200), draw(t, 8, 200); slices.Equal(a, b) {
		t.Error("another seed draws the same")
	}
}

func TestEveryKindIsDrawn(t *testing.T) {
	if len(order) != len(kinds) {
		t.Fatalf("%d kinds are ordered, there are %d", len(order), len(kinds))
	}
	for _, kind := range Kinds() {
		if names := draw(t, 1, 5, kind); len(names) != 5 {
			t.Errorf("%s: %v", kind, names)
		}
	}
	for _, name := range draw(t, 3, 400) {
		if strings.HasSuffix(name, " to ") || strings.HasSuffix(name, " from ") {
			t.Errorf("%q is of nobody", name)
		}
	}
}

func TestUnknownKindsAreRefused(t *testing.T) {
	s := &Source{Cluster: sample(), Random: rand.New(rand.NewPCG(1, 1)), Kinds: []string{"meteor"}}
	if _, err := s.Draw(); err == nil || !strings.Contains(err.Error(), "meteor") {
		t.Errorf("error %v", err)
	}
	for _, kind := range []string{"clock", "power", "power all"} {
		s.Kinds = []string{kind}
		if f, err := s.Draw(); err == nil {
			t.Errorf("%s, where that cannot be", f.Name)
		}
	}
}
