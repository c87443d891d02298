package history

import (
	"bytes"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
)

// script builds a history whose clock ticks with each call and answer.
type script struct {
	events []Event
	now    int64
}

func (s *script) tick() int64 { s.now += 10; return s.now }

func (s *script) add(e Event) *script {
	if e.Status == "" {
		e.Status = OK
	}
	if e.Invoke == 0 {
		e.Invoke, e.Complete = s.tick(), s.tick()
	}
	s.events = append(s.events, e)
	return s
}

func at(partition string, pairs ...int64) Part {
	p := Part{Partition: partition}
	for i := 0; i < len(pairs); i += 2 {
		p.Records = append(p.Records, Record{pairs[i], uint64(pairs[i+1])})
	}
	return p
}

// send sends values that are acknowledged at offsets: offset, value, …
func (s *script) send(process int, partition string, pairs ...int64) *script {
	return s.add(Event{Process: process, Kind: Send, Parts: []Part{at(partition, pairs...)}})
}

func (s *script) sendIn(txn int64, partition string, pairs ...int64) *script {
	return s.add(Event{Process: int(txn), Kind: Send, Txn: txn, Parts: []Part{at(partition, pairs...)}})
}

func (s *script) end(txn int64, commit bool) *script {
	return s.add(Event{Process: int(txn), Kind: End, Txn: txn, Commit: commit})
}

func (s *script) poll(process int, partition string, pairs ...int64) *script {
	return s.add(Event{Process: process, Kind: Poll, Committed: true, Parts: []Part{at(partition, pairs...)}})
}

func (s *script) assign(process int, partition string, offset int64) *script {
	return s.add(Event{Process: process, Kind: Assign, Parts: []Part{{Partition: partition, Offset: offset}}})
}

// log is the complete log at the end, the same for all readers.
func (s *script) log(partition string, high int64, pairs ...int64) *script {
	for _, isolated := range []bool{false, true} {
		part := at(partition, pairs...)
		part.High = high
		s.add(Event{Process: 99, Kind: Log, Committed: isolated, Parts: []Part{part}})
	}
	return s
}

// logs differ for read_committed readers.
func (s *script) logs(partition string, high int64, all, committed []int64) *script {
	for i, pairs := range [][]int64{all, committed} {
		part := at(partition, pairs...)
		part.High = high
		s.add(Event{Process: 99, Kind: Log, Committed: i == 1, Parts: []Part{part}})
	}
	return s
}

func (s *script) commit(group, partition string, offset int64) *script {
	return s.add(Event{Process: 50, Kind: Commit, Group: group, Parts: []Part{{Partition: partition, Offset: offset}}})
}

func (s *script) stored(group, partition string, offset int64) *script {
	return s.add(Event{Process: 51, Kind: Committed, Group: group, Parts: []Part{{Partition: partition, Offset: offset}}})
}

func check(t *testing.T, events []Event) *Report {
	t.Helper()
	report, err := Check(Events(events))
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestEveryAnomalyIsFound(t *testing.T) {
	cases := map[string]struct {
		history *script
		want    []Anomaly
	}{
		"nothing wrong": {new(script).send(1, "a", 0, 1).send(1, "a", 1, 2).assign(2, "a", 0).poll(2, "a", 0, 1).poll(2, "a", 1, 2).log("a", 2, 0, 1, 1, 2), nil},
		"lost":          {new(script).send(1, "a", 0, 1).send(1, "a", 1, 2).log("a", 2, 1, 2), []Anomaly{LostWrite}},
		"lost after it was read": {new(script).add(Event{Process: 1, Kind: Send, Status: Unknown, Parts: []Part{at("a", -1, 1)}}).
			poll(2, "a", 0, 1).send(1, "a", 1, 2).log("a", 2, 1, 2), []Anomaly{LostWrite}},
		"unseen": {new(script).send(1, "a", 0, 1).send(1, "a", 1, 2).log("a", 1, 0, 1), []Anomaly{UnseenWrite}},
		"acknowledged without an offset, and nowhere": {new(script).add(Event{Process: 1, Kind: Send, Parts: []Part{at("a", -1, 1)}}).log("a", 0), []Anomaly{LostWrite}},
		"duplicate":                {new(script).send(1, "a", 0, 1).log("a", 2, 0, 1, 1, 1), []Anomaly{Duplicate}},
		"inconsistent offset":      {new(script).send(1, "a", 0, 1).send(2, "b", 0, 2).poll(3, "a", 0, 1).add(Event{Process: 4, Kind: Send, Invoke: 1, Complete: 1000, Parts: []Part{at("a", 0, 3)}}).log("b", 1, 0, 2), []Anomaly{InconsistentOffset}},
		"refused, and read":        {new(script).add(Event{Process: 1, Kind: Send, Status: Failed, Parts: []Part{at("a", -1, 1)}}).poll(2, "a", 0, 1), []Anomaly{AbortedRead}},
		"aborted, and read":        {new(script).sendIn(7, "a", 0, 1).end(7, false).poll(2, "a", 0, 1), []Anomaly{AbortedRead}},
		"never ended, and visible": {new(script).sendIn(7, "a", 0, 1).log("a", 2, 0, 1), []Anomaly{AbortedRead}},
		"foreign":                  {new(script).poll(2, "a", 0, 1), []Anomaly{ForeignRead}},
		"damaged":                  {new(script).poll(2, "a", 0, 0), []Anomaly{ForeignRead}},
		"in another partition":     {new(script).send(1, "a", 0, 1).log("a", 1, 0, 1).log("b", 1, 0, 1), []Anomaly{ForeignRead}},
		"skipped in one answer":    {new(script).send(1, "a", 0, 1, 1, 2, 2, 3).poll(2, "a", 0, 1, 2, 3), []Anomaly{InternalSkip}},
		"back in one answer":       {new(script).send(1, "a", 0, 1, 1, 2).poll(2, "a", 1, 2, 0, 1), []Anomaly{InternalNonMonotonic}},
		"skipped between answers":  {new(script).send(1, "a", 0, 1, 1, 2, 2, 3).poll(2, "a", 0, 1).poll(2, "a", 2, 3), []Anomaly{ExternalSkip}},
		"skipped after assignment": {new(script).send(1, "a", 0, 1, 1, 2).assign(2, "a", 0).poll(2, "a", 1, 2), []Anomaly{ExternalSkip}},
		"back between answers":     {new(script).send(1, "a", 0, 1, 1, 2).poll(2, "a", 0, 1, 1, 2).poll(2, "a", 0, 1), []Anomaly{ExternalNonMonotonic}},
		"back after another assignment": {new(script).send(1, "a", 0, 1, 1, 2).poll(2, "a", 0, 1, 1, 2).
			add(Event{Process: 2, Kind: Revoke}).poll(2, "a", 0, 1), nil},
		"a marker is no skip": {new(script).sendIn(7, "a", 0, 1).end(7, true).send(1, "a", 2, 2).poll(2, "a", 0, 1).poll(2, "a", 2, 2).log("a", 3, 0, 1, 2, 2), nil},
		"aborted records are no skip to read_committed": {new(script).sendIn(7, "a", 0, 1).end(7, false).send(1, "a", 2, 2).assign(2, "a", 0).poll(2, "a", 2, 2).
			logs("a", 3, []int64{0, 1, 2, 2}, []int64{2, 2}), nil},
		"sent later, and before":          {new(script).send(1, "a", 1, 1).send(2, "a", 0, 2), []Anomaly{NonMonotonicSend}},
		"out of the producer's order":     {new(script).send(1, "a", 1, 1, 0, 2), []Anomaly{NonMonotonicSend}},
		"behind what was read":            {new(script).send(1, "a", 0, 1).add(Event{Process: 1, Kind: Send, Status: Unknown, Parts: []Part{at("a", -1, 2)}}).poll(3, "a", 2, 2).send(2, "a", 1, 3), []Anomaly{NonMonotonicSend}},
		"concurrent sends have any order": {new(script).add(Event{Process: 1, Kind: Send, Invoke: 1, Complete: 9, Parts: []Part{at("a", 1, 1)}}).add(Event{Process: 2, Kind: Send, Invoke: 2, Complete: 8, Parts: []Part{at("a", 0, 2)}}), nil},
		"torn": {new(script).sendIn(7, "a", 0, 1).sendIn(7, "b", 0, 2).add(Event{Process: 7, Kind: End, Txn: 7, Commit: true, Status: Unknown}).
			log("a", 2, 0, 1).logs("b", 2, []int64{0, 2}, nil), []Anomaly{TornTransaction}},
		"unknown and whole": {new(script).sendIn(7, "a", 0, 1).sendIn(7, "b", 0, 2).add(Event{Process: 7, Kind: End, Txn: 7, Commit: true, Status: Unknown}).
			log("a", 2, 0, 1).log("b", 2, 0, 2), nil},
		"unknown and nothing": {new(script).sendIn(7, "a", 0, 1).add(Event{Process: 7, Kind: End, Txn: 7, Commit: true, Status: Invoked}).
			logs("a", 2, []int64{0, 1}, nil), nil},
		"committed and gone":                {new(script).sendIn(7, "a", 0, 1).end(7, true).logs("a", 2, []int64{0, 1}, nil), []Anomaly{LostWrite}},
		"read while open":                   {new(script).sendIn(7, "a", 0, 1).poll(2, "a", 0, 1).end(7, true), []Anomaly{LastStableOffset}},
		"read behind an open one":           {new(script).sendIn(7, "a", 0, 1).send(1, "a", 1, 2).poll(2, "a", 1, 2).end(7, true), []Anomaly{LastStableOffset}},
		"stable offset behind an open one":  {new(script).sendIn(7, "a", 0, 1).add(Event{Kind: Watermarks, Parts: []Part{{Partition: "a", Stable: 1, High: 1}}}).end(7, true), []Anomaly{LastStableOffset}},
		"stable offset before an open one":  {new(script).sendIn(7, "a", 0, 1).add(Event{Kind: Watermarks, Parts: []Part{{Partition: "a", Stable: 0, High: 1}}}).end(7, true), nil},
		"high watermark below acknowledged": {new(script).send(1, "a", 0, 1).add(Event{Kind: Watermarks, Parts: []Part{{Partition: "a"}}}), []Anomaly{WatermarkWentBack}},
		"log start goes back": {new(script).add(Event{Kind: Watermarks, Parts: []Part{{Partition: "a", Low: 2, Stable: 3, High: 3}}}).
			add(Event{Kind: Watermarks, Parts: []Part{{Partition: "a", Low: 1, Stable: 3, High: 3}}}), []Anomaly{WatermarkWentBack}},
		"group offset back": {new(script).send(1, "a", 0, 1, 1, 2).commit("g", "a", 2).stored("g", "a", 1), []Anomaly{GroupOffsetWentBack}},
		"group offset kept": {new(script).send(1, "a", 0, 1, 1, 2).commit("g", "a", 1).commit("g", "a", 2).stored("g", "a", 2), nil},
		"group passed over": {new(script).send(1, "a", 0, 1, 1, 2).add(Event{Process: 2, Kind: Poll, Group: "g", Parts: []Part{at("a", 0, 1)}}).commit("g", "a", 2), []Anomaly{GroupSkipped}},
		"consumed twice": {new(script).send(1, "in", 0, 1).
			add(Event{Process: 7, Kind: Poll, Txn: 7, Group: "g", Committed: true, Parts: []Part{at("in", 0, 1)}}).sendIn(7, "out", 0, 2).end(7, true).
			add(Event{Process: 8, Kind: Poll, Txn: 8, Group: "g", Committed: true, Parts: []Part{at("in", 0, 1)}}).sendIn(8, "out", 2, 3).end(8, true), []Anomaly{Duplicate}},
		"cycle": {new(script).sendIn(7, "a", 0, 1).sendIn(8, "b", 0, 2).
			add(Event{Process: 7, Kind: Poll, Txn: 7, Committed: true, Parts: []Part{at("b", 0, 2)}}).
			add(Event{Process: 8, Kind: Poll, Txn: 8, Committed: true, Parts: []Part{at("a", 0, 1)}}).
			end(7, true).end(8, true), []Anomaly{DependencyCycle, LastStableOffset}},
		"cycle by order of offsets": {new(script).
			add(Event{Process: 7, Kind: Send, Txn: 7, Invoke: 1, Complete: 20, Parts: []Part{at("a", 0, 1)}}).
			add(Event{Process: 9, Kind: Send, Txn: 9, Invoke: 1, Complete: 21, Parts: []Part{at("a", 1, 3)}}).
			add(Event{Process: 9, Kind: End, Txn: 9, Commit: true, Invoke: 22, Complete: 23}).
			add(Event{Process: 8, Kind: Poll, Txn: 8, Committed: true, Invoke: 5, Complete: 24, Parts: []Part{at("a", 1, 3)}}).
			add(Event{Process: 8, Kind: Send, Txn: 8, Invoke: 25, Complete: 26, Parts: []Part{at("b", 0, 2)}}).
			add(Event{Process: 8, Kind: End, Txn: 8, Commit: true, Invoke: 27, Complete: 28}).
			add(Event{Process: 7, Kind: Poll, Txn: 7, Committed: true, Invoke: 29, Complete: 30, Parts: []Part{at("b", 0, 2)}}).
			add(Event{Process: 7, Kind: End, Txn: 7, Commit: true, Invoke: 31, Complete: 32}), []Anomaly{DependencyCycle}},
		"writes may interleave": {new(script).sendIn(7, "a", 0, 1).sendIn(8, "a", 1, 2).sendIn(8, "b", 0, 3).sendIn(7, "b", 1, 4).end(7, true).end(8, true), nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			report := check(t, c.history.events)
			if got := slices.Sorted(maps.Keys(report.Count)); !slices.Equal(got, slices.Sorted(slices.Values(c.want))) {
				t.Errorf("found %v, want %v", got, c.want)
			}
			for _, f := range report.Findings {
				if len(f.Events) == 0 || f.What == "" {
					t.Errorf("%s: %q shows %d events", f.Anomaly, f.What, len(f.Events))
				}
			}
		})
	}
}

func TestHistoriesThatContradictThemselvesAreRefused(t *testing.T) {
	for name, events := range map[string][]Event{
		"value twice":        new(script).send(1, "a", 0, 1).send(1, "a", 1, 1).events,
		"value 0":            new(script).send(1, "a", 0, 0).send(1, "a", 1, 0).events,
		"answer before call": {{Kind: Poll, Status: OK, Invoke: 2, Complete: 1}},
		"unknown kind":       {{Kind: "guess", Status: OK}},
	} {
		if _, err := Check(Events(events)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestLinesAreReadBack(t *testing.T) {
	events := new(script).send(1, "a", 0, 1, 1, 2).sendIn(7, "b", -1, 3).end(7, true).commit("g", "a", 2).events
	var text bytes.Buffer
	w := NewWriter(&text)
	for i := range events {
		if err := w.Write(&events[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	i := 0
	for e, err := range Lines(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text.Bytes())), nil })() {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind != events[i].Kind || e.Txn != events[i].Txn || !slices.EqualFunc(e.Parts, events[i].Parts, func(a, b Part) bool {
			return a.Partition == b.Partition && a.Offset == b.Offset && slices.Equal(a.Records, b.Records)
		}) {
			t.Errorf("event %d is %+v, was %+v", i, e, events[i])
		}
		i++
	}
	if i != len(events) {
		t.Errorf("%d events, want %d", i, len(events))
	}
}

func TestDamagedLinesAreNamed(t *testing.T) {
	for _, text := range []string{"{", `{"parts":[{"records":[[1]]}]}` + "\n", `{"parts":[{"records":[[1,-2]]}]}` + "\n", `{"parts":[{"records":[[99999999999999999999,2]]}]}` + "\n"} {
		_, err := Check(Lines(func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }))
		if err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestReportsNameTheirEvents(t *testing.T) {
	report := check(t, new(script).send(1, "a", 0, 1).send(1, "a", 1, 2).log("a", 2, 1, 2).events)
	var text strings.Builder
	if err := report.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"lost write: 2", "value 1 was acknowledged at offset 0", `"kind":"send"`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
}
