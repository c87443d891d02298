package world

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/metalogtest"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/storetest"
)

// calm is a world in which nothing goes wrong.
func calm() *World {
	w := New(1, io.Discard)
	w.Swarm = Swarm{Delay: time.Microsecond}
	return w
}

func TestTheModelLogIsALog(t *testing.T) {
	metalogtest.Run(t, func(t *testing.T) metalogtest.Open {
		w := calm()
		log := w.NewMetalog()
		return func(t *testing.T) metalog.Log { return log.Open(w.NewProcess("p", "p")) }
	})
}

func TestTheBucketIsAStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) objstore.Store {
		w := calm()
		return w.NewBucket().Open(w.NewProcess("p", "p"))
	})
}

func TestAStreamKeepsOrderThroughACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := calm()
		server, client := w.NewProcess("server", "server"), w.NewProcess("client", "client")
		defer server.Kill()
		defer client.Kill()
		l := server.Listen("server:1")
		near, err := client.Dial(t.Context(), "", "server:1")
		if err != nil {
			t.Fatal(err)
		}
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		w.Cut("client", "server")
		for _, text := range []string{"one ", "two ", "three"} {
			if _, err := near.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		if err := far.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := far.Read(make([]byte, 20)); n != 0 || err == nil {
			t.Fatalf("read %d bytes through a cut, %v", n, err)
		}
		w.Mend("client", "server")
		if err := near.Close(); err != nil {
			t.Fatal(err)
		}
		if err := far.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(far); string(got) != "one two three" || err != nil {
			t.Fatalf("read %q, %v", got, err)
		}
	})
}

func TestAZombieActsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := calm()
		p := w.NewProcess("p", "p")
		log := w.NewMetalog().Open(p)
		p.Pause()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began, done := time.Now(), make(chan error, 1)
		go func() { done <- log.Append(ctx, 1, []byte("x"), metalog.Ordinary) }()
		time.Sleep(time.Minute)
		p.Resume()
		if err := <-done; err == nil && time.Since(began) < time.Minute {
			t.Fatal("appended while paused")
		}
	})
}

func TestTheDeadDoNothing(t *testing.T) {
	w := calm()
	p := w.NewProcess("p", "p")
	log, store := w.NewMetalog().Open(p), w.NewBucket().Open(p)
	files := w.NewDisk().Mount(p)
	p.Kill()
	if err := log.Append(t.Context(), 1, []byte("x"), metalog.Ordinary); !errors.Is(err, ErrDead) {
		t.Errorf("append: %v", err)
	}
	if _, err := store.Put(t.Context(), "key", nil); !errors.Is(err, ErrDead) {
		t.Errorf("put: %v", err)
	}
	if _, err := files.Create("/file"); !errors.Is(err, ErrDead) {
		t.Errorf("create: %v", err)
	}
	if _, err := p.Dial(t.Context(), "", "anybody:1"); !errors.Is(err, ErrDead) {
		t.Errorf("dial: %v", err)
	}
}

func TestADiskBelongsToTheLastThatMountedIt(t *testing.T) {
	w := calm()
	disk := w.NewDisk()
	old := disk.Mount(w.NewProcess("old", "host"))
	files := disk.Mount(w.NewProcess("new", "host"))
	if _, err := old.Create("/file"); err == nil {
		t.Error("the old process still writes")
	}
	if _, err := files.Create("/file"); err != nil {
		t.Error(err)
	}
}
