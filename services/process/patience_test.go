package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/faulty"
	memstore "github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/infra/objstore/metered"
	"github.com/varvelog/varve/services/config"
)

// lines is a log that can be counted.
func lines() (*slog.Logger, func() int) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), func() int { return strings.Count(b.String(), "\n") }
}

func TestThrottledBucketIsWaitedForWithOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := faulty.New(memstore.New("bucket"), faulty.Config{})
		store.AddRule(faulty.Rule{Fail: true, Err: objstore.ErrThrottled, Times: 10})
		log, logged := lines()
		p := &Process{Log: log, Store: metered.New(store), Config: &config.Config{Metalog: identity.MetalogJetStream}}
		if err := p.makeCluster(t.Context(), owner{}); err != nil || p.Cluster == nil || logged() != 1 {
			t.Fatalf("made %v with %d lines logged: %v", p.Cluster, logged(), err)
		}
	})
}

func TestHangingBucketIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		defer close(hold)
		store := faulty.New(memstore.New("bucket"), faulty.Config{})
		store.AddRule(faulty.Rule{Hold: hold, Times: 1})
		log, logged := lines()
		p := &Process{Log: log, Store: metered.New(store), Config: &config.Config{Metalog: identity.MetalogJetStream}}
		if err := p.makeCluster(t.Context(), owner{}); err != nil || logged() != 1 {
			t.Fatalf("%d lines logged: %v", logged(), err)
		}
	})
}

func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := lines()
		began := time.Now()
		broken := errors.New("connection refused")
		err := patiently(t.Context(), log, "wait", func(context.Context) error { return broken })
		if took := time.Since(began); !errors.Is(err, broken) || took > startPatience || took < startPatience/2 {
			t.Fatalf("gave up after %s with %v", took, err)
		}
	})
}

func TestRefusalsEndTheStartAtOnce(t *testing.T) {
	for _, refusal := range []error{objstore.ErrAccess, objstore.ErrNoBucket, objstore.ErrConditionsIgnored, identity.ErrRefused, metalog.ErrForeign, metalog.ErrUnfit} {
		log, logged := lines()
		attempts := 0
		err := patiently(t.Context(), log, "wait", func(context.Context) error { attempts++; return fmt.Errorf("open: %w", refusal) })
		if !errors.Is(err, refusal) || attempts != 1 || logged() != 0 {
			t.Errorf("%v: %d attempts, %d lines, %v", refusal, attempts, logged(), err)
		}
	}
}
