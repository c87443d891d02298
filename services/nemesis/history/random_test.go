package history

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// world is a correct log with processes that use it, which writes down what they see.
type world struct {
	t      *rapid.T
	now    int64
	busy   map[int]int64
	events []Event
	values uint64
	logs   []*worldLog
	open   map[int]*worldTxn // by process
	txns   int64
	group  map[int]int64 // committed offsets by partition
}

type worldLog struct {
	name    string
	entries []worldEntry
}

// worldEntry is a record, or the marker of a transaction.
type worldEntry struct {
	value uint64
	txn   *worldTxn
}

type worldTxn struct {
	id        int64
	ended     bool
	committed bool
	logs      map[int]bool
}

func (l *worldLog) stable() int {
	for i, e := range l.entries {
		if e.txn != nil && !e.txn.ended {
			return i
		}
	}
	return len(l.entries)
}

// read returns the records from an offset on.
func (l *worldLog) read(from, count int, isolated bool) Part {
	p := Part{Partition: l.name}
	end := len(l.entries)
	if isolated {
		end = l.stable()
	}
	for i := from; i < end && len(p.Records) < count; i++ {
		if e := l.entries[i]; e.value != 0 && (!isolated || e.txn == nil || e.txn.committed) {
			p.Records = append(p.Records, Record{int64(i), e.value})
		}
	}
	return p
}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, busy: map[int]int64{}, open: map[int]*worldTxn{}, group: map[int]int64{}}
	for i := range 3 {
		w.logs = append(w.logs, &worldLog{name: fmt.Sprint("topic/", i)})
	}
	return w
}

func (w *world) draw(n int, what string) int { return rapid.IntRange(0, n-1).Draw(w.t, what) }

// happen writes down an operation that takes effect now; its call and its answer are some time away, within the process's order.
func (w *world) happen(e Event) {
	e.Invoke = max(w.now-int64(w.draw(40, "before")), w.busy[e.Process]+1)
	e.Complete = w.now + int64(w.draw(40, "after"))
	if e.Status == "" {
		e.Status = OK
	}
	w.busy[e.Process] = e.Complete
	w.events = append(w.events, e)
}

// free picks a process of the class that is not waiting for an answer.
func (w *world) free(class, count int) (process int, ok bool) {
	process = class*10 + w.draw(count, "process")
	return process, w.busy[process]+1 < w.now
}

func (w *world) step() {
	w.now += 10
	switch w.draw(10, "step") {
	case 0, 1, 2:
		if p, ok := w.free(1, 3); ok {
			w.send(p, nil)
		}
	case 3, 4, 5:
		if p, ok := w.free(2, 3); ok {
			w.transact(p)
		}
	case 6, 7:
		if p, ok := w.free(3, 3); ok {
			w.poll(p)
		}
	case 8:
		if p, ok := w.free(4, 2); ok {
			l := w.logs[w.draw(len(w.logs), "log")]
			w.happen(Event{Process: p, Kind: Watermarks, Parts: []Part{{Partition: l.name, Stable: int64(l.stable()), High: int64(len(l.entries))}}})
		}
	case 9:
		if p, ok := w.free(5, 1); ok {
			w.member(p)
		}
	}
}

func (w *world) send(process int, txn *worldTxn) (acknowledged bool) {
	index := w.draw(len(w.logs), "log")
	l := w.logs[index]
	e := Event{Process: process, Kind: Send, Parts: []Part{{Partition: l.name}}}
	if txn != nil {
		e.Txn = txn.id
	}
	fate := w.draw(8, "fate")
	for range 1 + w.draw(3, "records") {
		w.values++
		r := Record{-1, w.values}
		if fate != 7 { // lost on its way
			r.Offset = int64(len(l.entries))
			l.entries = append(l.entries, worldEntry{w.values, txn})
			if txn != nil {
				txn.logs[index] = true
			}
		}
		e.Parts[0].Records = append(e.Parts[0].Records, r)
	}
	if fate >= 6 {
		e.Status = Unknown
		for i := range e.Parts[0].Records {
			e.Parts[0].Records[i].Offset = -1
		}
	}
	w.happen(e)
	return fate < 6
}

func (w *world) transact(process int) {
	txn := w.open[process]
	if txn == nil {
		w.txns++
		txn = &worldTxn{id: w.txns, logs: map[int]bool{}}
		w.open[process] = txn
	}
	end := w.draw(6, "end")
	if end < 4 {
		if !w.send(process, txn) {
			w.now = w.busy[process] + 50
			w.end(process, txn, false, OK)
		}
		return
	}
	// The outcome may remain unknown to the process.
	w.end(process, txn, end == 5 || w.draw(2, "commit") == 1, []Status{OK, Unknown, OK}[w.draw(3, "known")])
}

func (w *world) end(process int, txn *worldTxn, commit bool, status Status) {
	txn.ended, txn.committed = true, commit && (status == OK || w.draw(2, "really") == 1)
	for index := range txn.logs {
		w.logs[index].entries = append(w.logs[index].entries, worldEntry{0, nil})
	}
	delete(w.open, process)
	w.happen(Event{Process: process, Kind: End, Txn: txn.id, Commit: commit, Status: status})
}

// poll seeks anywhere and reads on in a few answers.
func (w *world) poll(process int) {
	l := w.logs[w.draw(len(w.logs), "log")]
	isolated := process%2 == 0
	from := w.draw(len(l.entries)+1, "from")
	w.happen(Event{Process: process, Kind: Assign, Parts: []Part{{Partition: l.name, Offset: int64(from)}}})
	for range 2 {
		w.now = w.busy[process] + 50
		got := l.read(from, 3, isolated)
		if len(got.Records) > 0 {
			from = int(got.Records[len(got.Records)-1].Offset) + 1
			w.happen(Event{Process: process, Kind: Poll, Committed: isolated, Parts: []Part{got}})
		}
	}
}

// member is the only one of its group: it goes on at the group's offset and commits what it was given.
func (w *world) member(process int) {
	index := w.draw(len(w.logs), "log")
	from := w.group[index]
	w.happen(Event{Process: process, Kind: Committed, Group: "g", Parts: []Part{{Partition: w.logs[index].name, Offset: from}}})
	w.now = w.busy[process] + 50
	got := w.logs[index].read(int(from), 4, true)
	if len(got.Records) == 0 {
		return
	}
	w.happen(Event{Process: process, Kind: Assign, Parts: []Part{{Partition: w.logs[index].name, Offset: from}}})
	w.now = w.busy[process] + 50
	w.happen(Event{Process: process, Kind: Poll, Group: "g", Committed: true, Parts: []Part{got}})
	w.now = w.busy[process] + 50
	next := got.Records[len(got.Records)-1].Offset + 1
	w.happen(Event{Process: process, Kind: Commit, Group: "g", Parts: []Part{{Partition: got.Partition, Offset: next}}})
	w.group[index] = next
}

// finish ends what is open and reads everything.
func (w *world) finish() {
	w.now += 100
	for process := range 30 {
		if txn := w.open[process]; txn != nil { // its process has died
			txn.ended = true
			for index := range txn.logs {
				w.logs[index].entries = append(w.logs[index].entries, worldEntry{0, nil})
			}
		}
	}
	for _, isolated := range []bool{false, true} {
		for _, l := range w.logs {
			w.now += 100
			part := l.read(0, len(l.entries), isolated)
			part.High = int64(len(l.entries))
			w.happen(Event{Process: 99, Kind: Log, Committed: isolated, Parts: []Part{part}})
		}
	}
}

func randomHistory(t *rapid.T) []Event {
	w := newWorld(t)
	for range rapid.IntRange(5, 120).Draw(t, "steps") {
		w.step()
	}
	w.finish()
	return w.events
}

func TestWhatACorrectLogDoesIsAccepted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		report, err := Check(Events(randomHistory(t)))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range report.Findings {
			t.Errorf("%s: %s", f.Anomaly, f.What)
		}
	})
}

// mutation breaks a history in place, in one way, and names what must be found; "" where it has nothing to break.
type mutation func(t *rapid.T, events []Event) []Anomaly

// choose picks one of the events that fit.
func choose(t *rapid.T, events []Event, fits func(*Event) bool) *Event {
	var some []*Event
	for i := range events {
		if fits(&events[i]) {
			some = append(some, &events[i])
		}
	}
	if len(some) == 0 {
		return nil
	}
	return some[rapid.IntRange(0, len(some)-1).Draw(t, "event")]
}

// each calls do with all records of logs and polls.
func each(events []Event, do func(e *Event, p *Part)) {
	for i := range events {
		if e := &events[i]; e.Kind == Log || e.Kind == Poll {
			for k := range e.Parts {
				do(e, &e.Parts[k])
			}
		}
	}
}

var mutations = map[string]mutation{
	"forget an acknowledged record": func(t *rapid.T, events []Event) []Anomaly {
		e := choose(t, events, func(e *Event) bool { return e.Kind == Send && e.Status == OK && e.Txn == 0 })
		if e == nil {
			return nil
		}
		value := e.Parts[0].Records[0].Value
		each(events, func(_ *Event, p *Part) {
			p.Records = slices.DeleteFunc(p.Records, func(r Record) bool { return r.Value == value })
		})
		return []Anomaly{LostWrite}
	},
	"cut the log's end": func(t *rapid.T, events []Event) []Anomaly {
		e := choose(t, events, func(e *Event) bool { return e.Kind == Send && e.Status == OK && e.Txn == 0 })
		if e == nil {
			return nil
		}
		partition, offset := e.Parts[0].Partition, e.Parts[0].Records[0].Offset
		each(events, func(e *Event, p *Part) {
			if p.Partition == partition && e.Kind == Log {
				p.Records = slices.DeleteFunc(p.Records, func(r Record) bool { return r.Offset >= offset })
				p.High = min(p.High, offset)
			}
		})
		return []Anomaly{UnseenWrite}
	},
	"store a record twice": func(t *rapid.T, events []Event) []Anomaly {
		e := choose(t, events, func(e *Event) bool { return e.Kind == Log && len(e.Parts[0].Records) > 0 })
		if e == nil {
			return nil
		}
		p := &e.Parts[0]
		p.Records = append(p.Records, Record{p.High + 1, p.Records[0].Value})
		return []Anomaly{Duplicate}
	},
	"let two records share an offset": func(t *rapid.T, events []Event) []Anomaly {
		e := choose(t, events, func(e *Event) bool { return e.Kind == Poll && len(e.Parts[0].Records) > 1 })
		if e == nil {
			return nil
		}
		r := e.Parts[0].Records
		r[0].Value, r[1].Value = r[1].Value, r[0].Value
		return []Anomaly{InconsistentOffset}
	},
	"pass over a record": func(t *rapid.T, events []Event) []Anomaly {
		e := choose(t, events, func(e *Event) bool { return e.Kind == Poll && len(e.Parts[0].Records) > 2 })
		if e == nil {
			return nil
		}
		e.Parts[0].Records = slices.Delete(e.Parts[0].Records, 1, 2)
		return []Anomaly{InternalSkip}
	},
	"turn an answer round": func(t *rapid.T, events []Event) []Anomaly {
		e := choose(t, events, func(e *Event) bool { return e.Kind == Poll && len(e.Parts[0].Records) > 1 })
		if e == nil {
			return nil
		}
		slices.Reverse(e.Parts[0].Records)
		return []Anomaly{InternalNonMonotonic}
	},
	"pass over the first record": func(t *rapid.T, events []Event) []Anomaly {
		e := choose(t, events, func(e *Event) bool { return e.Kind == Poll && len(e.Parts[0].Records) > 1 })
		if e == nil {
			return nil
		}
		e.Parts[0].Records = e.Parts[0].Records[1:]
		return []Anomaly{ExternalSkip}
	},
	"begin behind the place that was read": func(t *rapid.T, events []Event) []Anomaly {
		for i := range events {
			a := &events[i]
			if a.Kind != Assign {
				continue
			}
			for k := i + 1; k < len(events) && !(events[k].Process == a.Process && events[k].Kind == Assign); k++ {
				if e := &events[k]; e.Process == a.Process && e.Kind == Poll {
					a.Parts[0].Offset = e.Parts[0].Records[0].Offset + 1
					return []Anomaly{ExternalNonMonotonic}
				}
			}
		}
		return nil
	},
	"abort what is visible": func(t *rapid.T, events []Event) []Anomaly {
		e := choose(t, events, func(e *Event) bool {
			return e.Kind == End && e.Commit && e.Status == OK && slices.ContainsFunc(events, func(s Event) bool { return s.Kind == Send && s.Txn == e.Txn && s.Status == OK })
		})
		if e == nil {
			return nil
		}
		e.Commit = false
		return []Anomaly{AbortedRead}
	},
	"commit a part of a transaction": func(t *rapid.T, events []Event) []Anomaly {
		e := choose(t, events, func(e *Event) bool {
			sent := 0
			for i := range events {
				if s := &events[i]; s.Kind == Send && s.Txn == e.Txn && s.Status == OK {
					sent += len(s.Parts[0].Records)
				}
			}
			return e.Kind == End && e.Commit && e.Status == OK && sent > 1
		})
		if e == nil {
			return nil
		}
		s := choose(t, events, func(s *Event) bool { return s.Kind == Send && s.Txn == e.Txn && s.Status == OK })
		value := s.Parts[0].Records[0].Value
		each(events, func(e *Event, p *Part) {
			if e.Committed {
				p.Records = slices.DeleteFunc(p.Records, func(r Record) bool { return r.Value == value })
			}
		})
		return []Anomaly{TornTransaction}
	},
	"take an end back": func(t *rapid.T, events []Event) []Anomaly {
		m := choose(t, events, func(e *Event) bool { return e.Kind == Watermarks && e.Parts[0].High > 0 })
		if m == nil {
			return nil
		}
		again := *m
		part := again.Parts[0]
		part.High, part.Stable = part.High-1, min(part.Stable, part.High-1)
		again.Parts = []Part{part}
		again.Invoke, again.Complete = events[len(events)-1].Complete+1, events[len(events)-1].Complete+2
		*m = again
		return []Anomaly{WatermarkWentBack}
	},
	"take a group's offset back": func(t *rapid.T, events []Event) []Anomaly {
		e := choose(t, events, func(e *Event) bool { return e.Kind == Committed && e.Parts[0].Offset > 0 })
		if e == nil {
			return nil
		}
		e.Parts[0].Offset--
		return []Anomaly{GroupOffsetWentBack}
	},
	"give a group's records to nobody": func(t *rapid.T, events []Event) []Anomaly {
		e := choose(t, events, func(e *Event) bool { return e.Kind == Poll && e.Group != "" && len(e.Parts[0].Records) > 1 })
		if e == nil {
			return nil
		}
		e.Parts[0].Records = e.Parts[0].Records[:len(e.Parts[0].Records)-1]
		return []Anomaly{GroupSkipped}
	},
}

func TestWhatABrokenLogDoesIsFound(t *testing.T) {
	for name, mutate := range mutations {
		t.Run(name, func(t *testing.T) {
			applied := 0
			rapid.Check(t, func(t *rapid.T) {
				events := randomHistory(t)
				want := mutate(t, events)
				if want == nil {
					return
				}
				applied++
				report, err := Check(Events(events))
				if err != nil {
					t.Fatal(err)
				}
				for _, a := range want {
					if report.Count[a] == 0 {
						t.Errorf("no %s among %v", a, report.Count)
					}
				}
			})
			if applied == 0 {
				t.Error("no history could be broken in this way")
			}
		})
	}
}
