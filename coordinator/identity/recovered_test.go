package identity

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/varvelog/varve/infra/objstore/faulty"
	"github.com/varvelog/varve/infra/objstore/mem"
)

func TestASuccessorTakesTheIdentitysPlaceOnce(t *testing.T) {
	ctx, store := context.Background(), mem.New("bucket-x")
	if _, err := LoadOrCreate(ctx, store, MetalogJetStream); err != nil {
		t.Fatal(err)
	}
	first, version, err := LoadVersion(ctx, store)
	if err != nil {
		t.Fatal(err)
	}
	second := Successor(first)
	if err := Replace(ctx, store, second, version); err != nil {
		t.Fatal(err)
	}
	if err := Replace(ctx, store, Successor(first), version); !errors.Is(err, ErrReplaced) {
		t.Errorf("a second successor: %v, want ErrReplaced", err)
	}
	if err := Replace(ctx, store, second, version); err != nil {
		t.Errorf("the same successor again: %v", err)
	}
	there, err := LoadOrCreate(ctx, store, MetalogJetStream)
	if err != nil || !reflect.DeepEqual(there, second) {
		t.Fatalf("the bucket is of %+v, %v; want %+v", there, err, second)
	}
	if there.ClusterID != first.ClusterID || there.LogID == first.LogID || string(there.Secret) == string(first.Secret) {
		t.Errorf("of %+v has come %+v: want the same cluster with another log and secret", first, there)
	}
	if there.MetadataPrefix() == first.MetadataPrefix() || there.LogName() == first.LogName() {
		t.Error("the logs of both have one place")
	}
	if !strings.HasPrefix(there.Metadata(store).String(), store.String()) {
		t.Errorf("the metadata's place %s does not name the bucket", there.Metadata(store))
	}
}

func TestALostAnswerIsNoFailureToReplace(t *testing.T) {
	ctx, store := context.Background(), faulty.New(mem.New("bucket-x"), faulty.Config{})
	if _, err := LoadOrCreate(ctx, store, MetalogBucket); err != nil {
		t.Fatal(err)
	}
	first, version, err := LoadVersion(ctx, store)
	if err != nil {
		t.Fatal(err)
	}
	store.AddRule(faulty.Rule{Ops: faulty.PutIfMatch, FailAfter: true, Times: 1})
	if err := Replace(ctx, store, Successor(first), version); err != nil {
		t.Error(err)
	}
}

// The successor of a recovered cluster that has lost its identity finds the log where it was, and what was before that at the beginning.
func TestTheSuccessorOfALostIdentity(t *testing.T) {
	for _, recovered := range []bool{false, true} {
		lost := Lost(MetalogBucket, [16]byte{7}, recovered)
		ctx, store := context.Background(), mem.New("bucket-x")
		if err := Replace(ctx, store, Successor(lost), ""); err != nil {
			t.Fatal(err)
		}
		next, err := Load(ctx, store)
		if err != nil {
			t.Fatal(err)
		}
		former := next.Formerly()
		if former.LogID != lost.LogID || former.MetadataPrefix() != lost.MetadataPrefix() || former.Recovered() != recovered || next.ClusterID != lost.ClusterID {
			t.Errorf("recovered %v: of %+v comes %+v, which was %+v", recovered, lost, next, former)
		}
		if before := former.Formerly(); recovered && (before.MetadataPrefix() != "" || before.Formerly() != nil) {
			t.Errorf("and that was %+v", before)
		}
	}
}
