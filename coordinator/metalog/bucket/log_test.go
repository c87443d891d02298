package bucket

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/metalogtest"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/faulty"
	"github.com/varvelog/varve/infra/objstore/mem"
)

func open(t *testing.T, store objstore.Store) *Log {
	t.Helper()
	log, err := Open(context.Background(), store)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func TestAcceptance(t *testing.T) {
	metalogtest.Run(t, func(t *testing.T) metalogtest.Open {
		store := mem.New("metalog")
		return func(t *testing.T) metalog.Log { return open(t, store) }
	})
}

func TestInterruptedTruncationLeavesTheLogReadable(t *testing.T) {
	ctx, store := context.Background(), mem.New("metalog")
	log := open(t, store)
	for seq := uint64(1); seq <= 10; seq++ {
		if err := log.Append(ctx, seq, []byte("x"), metalog.Ordinary); err != nil {
			t.Fatal(err)
		}
	}
	for _, seq := range []uint64{1, 2, 4, 6} { // deletions run in parallel, so any of them may have been done
		if err := store.Delete(ctx, Key(seq)); err != nil {
			t.Fatal(err)
		}
	}
	if first, next, err := open(t, store).Bounds(ctx); err != nil || first != 7 || next != 11 {
		t.Fatalf("bounds = [%d, %d), %v; want [7, 11)", first, next, err)
	}
}

// forgetful is a store whose first listing misses an object that is there, as that of a folder may in which files are being created.
type forgetful struct {
	objstore.Store
	missed string
}

func (f *forgetful) List(ctx context.Context, prefix, after string) func(yield func(objstore.Info, error) bool) {
	missed := f.missed
	f.missed = ""
	return func(yield func(objstore.Info, error) bool) {
		for info, err := range f.Store.List(ctx, prefix, after) {
			if info.Key != missed && !yield(info, err) {
				return
			}
		}
	}
}

// A coordinator that started while another appended took the log for one that was cut, and refused it.
func TestAListingThatMissesAnEntryIsNotTakenForATruncation(t *testing.T) {
	ctx, store := context.Background(), mem.New("metalog")
	log := open(t, store)
	for seq := uint64(1); seq <= 10; seq++ {
		if err := log.Append(ctx, seq, []byte("x"), metalog.Ordinary); err != nil {
			t.Fatal(err)
		}
	}
	for seq := uint64(2); seq <= 9; seq++ {
		if first, next, err := open(t, &forgetful{store, Key(seq)}).Bounds(ctx); err != nil || first != 1 || next != 11 {
			t.Fatalf("without entry %d: bounds = [%d, %d), %v; want [1, 11)", seq, first, next, err)
		}
	}
}

func TestReaderFindsThatTheLogWasTruncatedBehindItsBack(t *testing.T) {
	ctx, store := context.Background(), mem.New("metalog")
	log := open(t, store)
	for seq := uint64(1); seq <= 10; seq++ {
		if err := log.Append(ctx, seq, []byte("x"), metalog.Ordinary); err != nil {
			t.Fatal(err)
		}
	}
	reader := open(t, store)
	if err := log.Truncate(ctx, 8); err != nil {
		t.Fatal(err)
	}
	if _, _, err := metalog.ReadOne(ctx, reader, 3); !errors.Is(err, metalog.ErrTruncated) {
		t.Fatalf("read 3: %v, want ErrTruncated", err)
	}
}

func TestReaderDoesNotTakeATruncatedSlotForTheEnd(t *testing.T) {
	ctx, store := context.Background(), mem.New("metalog")
	log, reader := open(t, store), open(t, store)
	for seq := uint64(1); seq <= 10; seq++ {
		if err := log.Append(ctx, seq, []byte("x"), metalog.Ordinary); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Truncate(ctx, 8); err != nil {
		t.Fatal(err)
	}
	if first, next, err := reader.Bounds(ctx); err != nil || first != 8 || next != 11 {
		t.Fatalf("bounds = [%d, %d), %v; want [8, 11)", first, next, err)
	}
	late := open(t, store)
	late.mu.first, late.mu.next = 1, 1
	if _, _, err := metalog.ReadOne(ctx, late, 1); !errors.Is(err, metalog.ErrTruncated) {
		t.Fatalf("read 1: %v, want ErrTruncated", err)
	}
}

func TestAReaderThatIsFarBehindFindsTheEndInFewSteps(t *testing.T) {
	ctx, store := context.Background(), faulty.New(mem.New("metalog"), faulty.Config{})
	reader, writer := open(t, store), open(t, store)
	for seq := uint64(1); seq <= 1000; seq++ {
		if err := writer.Append(ctx, seq, []byte("x"), metalog.Ordinary); err != nil {
			t.Fatal(err)
		}
		if seq != 1 && seq != 2 && seq != 3 && seq != 64 && seq != 1000 {
			continue
		}
		heads := store.Calls(faulty.Head)
		if first, next, err := reader.Bounds(ctx); err != nil || first != 1 || next != seq+1 {
			t.Fatalf("bounds = [%d, %d), %v; want [1, %d)", first, next, err, seq+1)
		}
		if heads = store.Calls(faulty.Head) - heads; heads > 25 {
			t.Errorf("%d questions for %d entries", heads, seq)
		}
	}
}

func TestGoldenObject(t *testing.T) {
	want := []byte("VARVELOG\x00\x01\x00\x01j\xeb\x19q\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x05entry")
	got := encode(7, []byte("entry"), metalog.Fence)
	if !bytes.Equal(got, want) {
		t.Fatalf("encoded %q, want %q", got, want)
	}
	if Key(7) != "meta/log/00000000000000000007" {
		t.Fatalf("key %s", Key(7))
	}
}

func TestDamageIsRefused(t *testing.T) {
	good := encode(7, []byte("entry"), metalog.Ordinary)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		if _, _, err := decode(7, bad); err == nil {
			t.Errorf("a flipped bit in byte %d went unnoticed", i)
		}
	}
	if _, _, err := decode(8, good); !errors.Is(err, metalog.ErrCorrupt) {
		t.Errorf("an entry under another's key: %v", err)
	}
	future := bytes.Clone(good)
	binary.BigEndian.PutUint16(future[8:], 2)
	if _, _, err := decode(7, future); !errors.Is(err, metalog.ErrCorrupt) {
		t.Errorf("a flipped version: %v", err)
	}
	binary.BigEndian.PutUint32(future[12:], checksum(future))
	if _, _, err := decode(7, future); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("a future version: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(7, []byte("entry"), metalog.Fence))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, object []byte) {
		entry, kind, err := decode(7, object)
		if err == nil && !bytes.Equal(encode(7, entry, kind), object) {
			t.Fatal("what decodes does not encode to the same bytes")
		}
	})
}

// Whoever was not the last to append asked for the log's end without end where something else stood behind it.
func TestStrangeObjectsBehindTheLogAreLeftAlone(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	store := mem.New("metalog")
	log := open(t, store)
	for seq := uint64(1); seq <= 3; seq++ {
		if err := log.Append(ctx, seq, []byte("x"), metalog.Ordinary); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"meta/log/README", "meta/log/00000000000000000001.bak", "meta/log/99999999999999999999", "meta/log/.keep"} {
		if _, err := store.Put(ctx, key, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if first, next, err := open(t, store).Bounds(ctx); err != nil || first != 1 || next != 4 {
		t.Fatalf("bounds = [%d, %d), %v; want [1, 4)", first, next, err)
	}
}

// A standby that takes over has seen the log begin long ago. It asked for every entry since, one by one, before it deleted any; and what an
// interrupted truncation had left stayed for ever.
func TestTruncationAsksForWhatIsThereAlone(t *testing.T) {
	ctx, store := context.Background(), faulty.New(mem.New("metalog"), faulty.Config{})
	log := open(t, store)
	standby := open(t, store)
	for seq := uint64(1); seq <= 300; seq++ {
		kind := metalog.Ordinary
		if seq == 100 {
			kind = metalog.Fence
		}
		if err := log.Append(ctx, seq, []byte("x"), kind); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range standby.Read(ctx, 1) { // it follows
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Truncate(ctx, 280); err != nil {
		t.Fatal(err)
	}
	for seq := uint64(10); seq < 13; seq++ { // an interrupted truncation of former times
		if _, err := store.Put(ctx, Key(seq), encode(seq, []byte("x"), metalog.Ordinary)); err != nil {
			t.Fatal(err)
		}
	}
	before := store.Calls(faulty.Get)
	if err := standby.Truncate(ctx, 290); err != nil {
		t.Fatal(err)
	}
	if gets := store.Calls(faulty.Get) - before; gets > 20 {
		t.Errorf("%d objects were asked for, to delete 13", gets)
	}
	seqs, err := Sequences(ctx, store)
	if err != nil || len(seqs) != 12 || seqs[0] != 100 || seqs[1] != 290 {
		t.Errorf("left are %v, %v; want the fence of 100, and [290, 300]", seqs, err)
	}
}
