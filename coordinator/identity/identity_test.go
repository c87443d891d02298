package identity

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/varvelog/varve/infra/objstore/mem"
)

func TestTheFirstOfManyDecides(t *testing.T) {
	ctx, store := context.Background(), mem.New("bucket-x")
	found := make([]*Cluster, 8)
	var group sync.WaitGroup
	for i := range found {
		group.Go(func() {
			var err error
			if found[i], err = LoadOrCreate(ctx, store, MetalogJetStream); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, c := range found {
		if c == nil || c.ClusterID != found[0].ClusterID || c.LogID != found[0].LogID || len(c.ClusterID) != 22 {
			t.Fatalf("clusters differ: %+v and %+v", c, found[0])
		}
	}
}

func TestAnEmptyBucketBelongsToNobody(t *testing.T) {
	if _, err := Load(context.Background(), mem.New("bucket-x")); !errors.Is(err, ErrNone) {
		t.Fatalf("error %v, want ErrNone", err)
	}
}

func TestWhatDoesNotFitIsRefusedInOneLine(t *testing.T) {
	const good = `{"format":1,"cluster_id":"MkU3OEVBNTcwNTJENDM2Qg","metalog":"bucket","log_id":"000102030405060708090a0b0c0d0e0f","internal_secret":"000102030405060708090a0b0c0d0e0f"}`
	for _, row := range []struct {
		name, document, says string
		newer                bool
	}{
		{"another backend", good, "kept on bucket, not on jetstream", false},
		{"a newer format", strings.Replace(good, `"format":1`, `"format":3`, 1), "format 3", true},
		{"a newer format of other types", strings.NewReplacer(`"format":1`, `"format":3`, `"bucket"`, "7").Replace(good), "format 3", true},
		{"an unknown backend", strings.Replace(good, `"metalog":"bucket"`, `"metalog":"paper"`, 1), `"paper"`, true},
		{"no backend", strings.Replace(good, `"metalog":"bucket",`, "", 1), "metalog", false},
		{"recovered from nothing", strings.Replace(good, `"format":1`, `"format":2`, 1), "format 2", false},
		{"a foreign document", `{}`, "format 0", false},
		{"no JSON", `<xml/>`, "not JSON", false},
		{"a broken log id", strings.Replace(good, "0001", "xx01", 1), "log_id", false},
		{"a broken cluster id", strings.Replace(good, "MkU3", "", 1), "cluster_id", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			ctx, store := context.Background(), mem.New("bucket-x")
			if _, err := store.Put(ctx, Key, []byte(row.document)); err != nil {
				t.Fatal(err)
			}
			_, err := LoadOrCreate(ctx, store, MetalogJetStream)
			if !errors.Is(err, ErrRefused) || errors.Is(err, ErrNewer) != row.newer {
				t.Fatalf("error %v, want ErrRefused, and ErrNewer %v", err, row.newer)
			}
			for _, part := range []string{row.says, store.String(), "varve recover"} {
				if !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%q does not say %q in one line", err, part)
				}
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"format":1,"cluster_id":"MkU3OEVBNTcwNTJENDM2Qg","metalog":"bucket","log_id":"000102030405060708090a0b0c0d0e0f","internal_secret":"000102030405060708090a0b0c0d0e0f"}`))
	f.Fuzz(func(t *testing.T, encoded []byte) {
		c, err := decode(encoded)
		if err != nil {
			return
		}
		again, err := encode(c)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := decode(again); err != nil || d.ClusterID != c.ClusterID || d.LogID != c.LogID || d.Metalog != c.Metalog {
			t.Fatalf("what decodes does not encode to the same: %+v, %v", d, err)
		}
	})
}
