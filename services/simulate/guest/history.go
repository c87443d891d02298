package main

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/varvelog/varve/services/simulate/world"
)

// partition names one for people and maps.
type partition struct {
	topic  string
	number int32
}

func (p partition) String() string { return fmt.Sprintf("%s-%d", p.topic, p.number) }

// fate is what its producer knows of a record.
type fate uint8

const (
	unknown   fate = iota // it may be there
	acked                 // it is there
	committed             // it is there, and so is its transaction's end
	aborted               // nobody who reads what is committed sees it
)

// record is one that was handed to a client.
type record struct {
	value    string
	producer string // order is kept among its records of one partition
	number   int
	at       partition
	fate     fate
	offset   int64 // where acked, else -1
	txn      *transaction
	shown    bool // to a reader of what is committed
}

// transaction is several records that become visible together.
type transaction struct {
	name    string
	records []*record
	fate    fate // unknown, committed or aborted
}

// history is everything that clients were told.
type history struct {
	w  *world.World
	mu struct {
		sync.Mutex
		sent map[string]*record // by value
		seen map[partition]map[int64]string
		// high is the offset after the highest that was acknowledged or read.
		high map[partition]int64
		// offsets are those that groups were told are committed.
		offsets map[partition]int64
		doubted bool // offsets are not kept any more
	}
}

func newHistory(w *world.World) *history {
	h := &history{w: w}
	h.mu.sent = map[string]*record{}
	h.mu.seen = map[partition]map[int64]string{}
	h.mu.high = map[partition]int64{}
	h.mu.offsets = map[partition]int64{}
	return h
}

// send notes that a record is about to be handed over.
func (h *history) send(r *record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.offset = -1
	h.mu.sent[r.value] = r
	if r.txn != nil {
		r.txn.records = append(r.txn.records, r)
	}
}

// ack notes where a record is said to be.
func (h *history) ack(r *record, offset int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.fate == acked && r.offset != offset {
		h.w.Fail("7 duplicates return their first offset", "%q of %v was acknowledged at %d and at %d", r.value, r.at, r.offset, offset)
	}
	r.fate, r.offset = acked, offset
	h.see(r.at, offset, r.value)
	h.w.Trace("ack %v@%d %s", r.at, offset, name(r.value))
}

// read notes what was read at an offset.
func (h *history) read(at partition, offset int64, value string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.see(at, offset, value)
}

// see is called with mu held.
func (h *history) see(at partition, offset int64, value string) {
	r := h.mu.sent[value]
	switch {
	case r == nil:
		h.w.Fail("13 same records out", "%v@%d holds %q, which nobody has produced", at, offset, name(value))
	case r.at != at:
		h.w.Fail("13 same records out", "%v@%d holds %q, which was produced to %v", at, offset, name(value), r.at)
	}
	of := h.mu.seen[at]
	if of == nil {
		of = map[int64]string{}
		h.mu.seen[at] = of
	}
	if before, known := of[offset]; known && before != value {
		h.w.Fail("13 same records out", "%v@%d was %q, and is %q", at, offset, name(before), name(value))
	}
	of[offset] = value
	h.mu.high[at] = max(h.mu.high[at], offset+1)
}

// show notes that a reader of what is committed has seen a record.
func (h *history) show(value string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.mu.sent[value]; r != nil {
		r.shown = true
	}
}

// floor is an offset below which no high watermark that is asked for from now on may be.
func (h *history) floor(at partition) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.high[at]
}

// complete checks what is in a partition in the end: everything that can be read, by offset, and what readers of committed
// records see of it.
func (h *history) complete(at partition, all, stable map[int64]string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	where := map[string]int64{}
	last := map[string]int{}
	for _, offset := range slices.Sorted(maps.Keys(all)) {
		value := all[offset]
		r := h.mu.sent[value]
		if r == nil {
			continue // complained of when it was read
		}
		if before, twice := where[value]; twice {
			h.w.Fail("7 duplicates return their first offset", "%v: %q stands at %d and at %d", at, name(value), before, offset)
		}
		where[value] = offset
		if number, known := last[r.producer]; known && r.number < number {
			h.w.Fail("6 producer order", "%v@%d: record %d of %s behind %d", at, offset, r.number, r.producer, number)
		}
		last[r.producer] = r.number
	}
	for _, value := range slices.Sorted(maps.Keys(h.mu.sent)) {
		r := h.mu.sent[value]
		if r.at != at {
			continue
		}
		offset, there := where[value]
		if r.fate == acked && !there {
			h.w.Fail("1 one sequencer", "%v: %q was acknowledged at %d and is lost", at, name(value), r.offset)
		}
		_, visible := stable[offset]
		visible = visible && there
		switch {
		case r.txn == nil && there && !visible:
			h.w.Fail("8 atomic transactions", "%v@%d: %q is in no transaction, and readers of what is committed do not see it", at, offset, name(value))
		case r.txn != nil && r.txn.fate == aborted && visible:
			h.w.Fail("8 atomic transactions", "%v@%d: %q is of an aborted transaction, and visible", at, offset, name(value))
		case r.txn != nil && r.txn.fate == committed && !visible:
			h.w.Fail("8 atomic transactions", "%v: %q is of a committed transaction, and not visible", at, name(value))
		}
		if r.shown && !visible {
			h.w.Fail("8 atomic transactions", "%v: %q was shown to a reader of what is committed, and is not", at, name(value))
		}
		if visible {
			r.fate = committed
		}
	}
}

// whole checks that transactions are visible as a whole or not at all; complete has been called for every partition.
func (h *history) whole() {
	h.mu.Lock()
	defer h.mu.Unlock()
	told := map[*transaction]bool{}
	for _, value := range slices.Sorted(maps.Keys(h.mu.sent)) {
		t := h.mu.sent[value].txn
		if t == nil || told[t] {
			continue
		}
		told[t] = true
		visible := 0
		for _, r := range t.records {
			if r.fate == committed {
				visible++
			}
		}
		if visible > 0 && visible < len(t.records) {
			h.w.Fail("8 atomic transactions", "of %s %d records of %d are visible", t.name, visible, len(t.records))
		}
	}
}

// commitOffset notes that the group was told that an offset is committed.
func (h *history) commitOffset(at partition, offset int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.doubted {
		return
	}
	h.mu.offsets[at] = max(h.mu.offsets[at], offset)
}

// doubtOffsets forgets what the group was told: a commit without an answer may take effect later.
func (h *history) doubtOffsets() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.mu.offsets)
	h.mu.doubted = true
}

// committedOffset is the highest that the group was told is committed.
func (h *history) committedOffset(at partition) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.offsets[at]
}

// name is the beginning of a value, which says whose it is.
func name(value string) string { return value[:min(len(value), 24)] }
