package vfs

import (
	"errors"
	"slices"
	"syscall"
	"testing"
)

func TestFaultyInjectsAndCounts(t *testing.T) {
	isSync := func(c Call) bool { return c.Op == OpSyncData && c.Path == "a" }
	f := NewFaulty(NewMem(), FailNth(2, isSync, syscall.EIO))
	file := must[File](t)(f.Create("a"))
	ok(t, file.SyncData())
	if err := file.SyncData(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("second sync: %v", err)
	}
	ok(t, file.SyncData())
	if f.Injected() != 1 || f.Calls(OpSyncData) != 3 {
		t.Fatalf("%d injected, %d calls", f.Injected(), f.Calls(OpSyncData))
	}
}

func TestFaultyShortWrite(t *testing.T) {
	f := NewFaulty(NewMem(), nil)
	file := must[File](t)(f.Create("a"))
	f.SetDecide(func(c Call) *Fault {
		if c.Op != OpWrite {
			return nil
		}
		return &Fault{Err: syscall.ENOSPC, ShortBytes: 4}
	})
	n, err := file.WritevAt([][]byte{[]byte("abc"), []byte("def")}, 0)
	if n != 4 || !IsNoSpace(err) {
		t.Fatalf("wrote %d, %v", n, err)
	}
	b := make([]byte, 4)
	if must[int](t)(file.ReadAt(b, 0)); string(b) != "abcd" {
		t.Fatalf("left %q", b)
	}
}

func TestFaultyStopsTheMachine(t *testing.T) {
	stopped := errors.New("stopped")
	f := NewFaulty(NewMem(), FailFrom(3, func(c Call) bool { return c.Op.Changes() }, stopped))
	file := must[File](t)(f.Create("a"))
	must[int](t)(file.WriteAt([]byte("x"), 0))
	_, listErr := f.List(".")
	ok(t, listErr)
	_, lockErr := f.Lock("l")
	_, openErr := f.Open("a")
	_, statErr := f.Stat("a")
	_, sizeErr := file.Size()
	_, readErr := file.ReadAt(nil, 0)
	_, freeErr := f.DiskFree(".")
	_, createErr := f.Create("b")
	_, listErr = f.List(".")
	for i, err := range []error{lockErr, openErr, statErr, sizeErr, readErr, freeErr, createErr, listErr, file.Sync(), file.SyncData(),
		file.Truncate(0), file.Preallocate(1), f.Remove("a"), f.Rename("a", "b"), f.MkdirAll("d"), f.SyncDir("."), file.Close()} {
		if !errors.Is(err, stopped) {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

func TestFaultyKnowsAnOpenFileByItsPresentName(t *testing.T) {
	var synced []string
	f := NewFaulty(NewMem(), func(c Call) *Fault {
		if c.Op == OpSyncData {
			synced = append(synced, c.Path)
		}
		return nil
	})
	file, other := must[File](t)(f.Create("a")), must[File](t)(f.Create("other"))
	ok(t, file.SyncData())
	ok(t, f.Rename("a", "b"))
	ok(t, file.SyncData())
	ok(t, other.SyncData())
	if want := []string{"a", "b", "other"}; !slices.Equal(synced, want) {
		t.Fatalf("synced %q, want %q", synced, want)
	}
}
