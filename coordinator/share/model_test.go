package share

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is a share partition, record by record, as slow and as simple as can be.
type model struct {
	start   int64
	records []record // records[i] is at start+i
}

type record struct {
	state  State
	count  int32
	member string
	ends   time.Time
}

func (m *model) end() int64 { return m.start + int64(len(m.records)) }

func (m *model) at(offset int64) *record {
	if offset < m.start || offset >= m.end() {
		return nil
	}
	return &m.records[offset-m.start]
}

func (m *model) settle() {
	for len(m.records) > 0 && m.records[0].state.IsDone() {
		m.records, m.start = m.records[1:], m.start+1
	}
}

func (m *model) giveBack(r *record, limits Limits) {
	r.state, r.member, r.ends = Available, "", time.Time{}
	if r.count >= limits.MaxDeliveries {
		r.state = Archived
	}
}

// acquire is Acquire for a log without gaps before the first batch.
func (m *model) acquire(now time.Time, member string, limits Limits, read Read) (given []int64) {
	first, last := read.Batches[0].Base, read.Batches[len(read.Batches)-1].Next
	known, known0 := m.end(), m.start
	if last > known && known-known0 < limits.MaxInFlight {
		for m.end() < last {
			m.records = append(m.records, record{})
		}
	}
	batchOf := func(offset int64) ReadBatch {
		for _, b := range read.Batches {
			if b.Base <= offset && offset < b.Next {
				return b
			}
		}
		return ReadBatch{}
	}
	stop := last
	for offset := max(first, m.start); offset < min(last, m.end()); offset++ {
		r := m.at(offset)
		if batchOf(offset).Withheld && r.state == Available {
			r.state = Archived
		}
	}
	for offset := max(first, m.start); offset < min(last, m.end()); offset++ {
		r := m.at(offset)
		if offset >= stop {
			break
		}
		if r.state == Available {
			r.state, r.count, r.member, r.ends = Acquired, r.count+1, member, now.Add(limits.Lock)
			given = append(given, offset)
			if int64(len(given)) == read.MaxRecords {
				stop = min(stop, batchOf(offset).Next) // the rest of the batch is given as well
			}
		}
	}
	if keep := max(known, stop); keep < m.end() {
		m.records = m.records[:keep-m.start]
	}
	m.settle()
	return given
}

func (m *model) acknowledge(member string, limits Limits, all []Acknowledgement) error {
	saved := slices.Clone(m.records)
	for _, a := range all {
		if a.Next <= m.start {
			continue
		}
		var err error
		switch {
		case len(m.records) == 0:
			err = ErrState
		case a.Base >= m.end() || a.Next > m.end():
			err = ErrRequest
		}
		for offset := max(a.Base, m.start); err == nil && offset < a.Next; offset++ {
			r := m.at(offset)
			if r.state != Acquired || r.member != member {
				err = ErrState
				break
			}
			kind := a.Types[0]
			if len(a.Types) > 1 {
				kind = a.Types[offset-a.Base]
			}
			switch kind {
			case Accept:
				r.state, r.member, r.ends = Acknowledged, "", time.Time{}
			case Release:
				m.giveBack(r, limits)
			default:
				r.state, r.member, r.ends = Archived, "", time.Time{}
			}
		}
		if err != nil {
			m.records = saved
			return err
		}
	}
	m.settle()
	return nil
}

// compare checks the partition against the model, record by record, and its own invariants.
func compare(t *rapid.T, p *Partition, m *model) {
	t.Helper()
	if p.start != m.start || p.end != m.end() {
		t.Fatalf("partition is [%d, %d), model [%d, %d)", p.start, p.end, m.start, m.end())
	}
	at := p.start
	for i, s := range p.spans {
		if s.base != at || s.next <= s.base {
			t.Fatalf("span %d is [%d, %d), not from %d on", i, s.base, s.next, at)
		}
		if i > 0 && p.spans[i-1].says(&s) {
			t.Fatalf("spans %d and %d are alike", i-1, i)
		}
		if (s.state == Acquired) != (s.member != "") || (s.state == Acquired) == s.ends.IsZero() {
			t.Fatalf("span %+v", s)
		}
		for ; at < s.next; at++ {
			if r := m.at(at); r.state != s.state || r.count != s.count || r.member != s.member || !r.ends.Equal(s.ends) {
				t.Fatalf("offset %d is %+v, in the model %+v", at, s, *r)
			}
		}
	}
	if at != p.end {
		t.Fatalf("spans end at %d, not %d", at, p.end)
	}
}

// compareStored checks that what is durable of the partition is all of it but who has what.
func compareStored(t *rapid.T, start int64, stored []StateBatch, m *model) {
	t.Helper()
	restored := Restore(start, stored)
	if restored.start != m.start {
		t.Fatalf("restored start %d, not %d", restored.start, m.start)
	}
	for i := range m.records {
		offset, want := m.start+int64(i), m.records[i]
		if want.state == Acquired {
			want.state, want.count = Available, want.count-1
		}
		got := span{state: Available}
		if offset < restored.end {
			got = restored.spans[restored.at(offset)]
		}
		if got.state != want.state || got.count != want.count {
			t.Fatalf("offset %d is restored as %v %d, not %v %d", offset, got.state, got.count, want.state, want.count)
		}
	}
}

func TestPartitionAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{MaxDeliveries: int32(rapid.IntRange(2, 4).Draw(t, "deliveries")), MaxInFlight: int64(rapid.IntRange(5, 40).Draw(t, "in flight")), Lock: time.Minute}
		begin := int64(rapid.IntRange(0, 20).Draw(t, "start"))
		p, m := Restore(begin, nil), &model{start: begin}
		var stored []StateBatch
		storedStart := begin
		now := time.Unix(0, 0)
		member := rapid.SampledFrom([]string{"a", "b"})
		t.Repeat(map[string]func(*rapid.T){
			"acquire": func(t *rapid.T) {
				offset, ok := p.FetchOffset(limits)
				want, found := m.end(), false
				for i := range m.records {
					if m.records[i].state == Available {
						want, found = m.start+int64(i), true
						break
					}
				}
				if offset != want || ok != (found || m.end()-m.start < limits.MaxInFlight) {
					t.Fatalf("fetch offset %d %v, not %d", offset, ok, want)
				}
				read := Read{Offset: offset, MaxRecords: int64(rapid.IntRange(1, 10).Draw(t, "records")), BatchSize: int64(rapid.IntRange(1, 5).Draw(t, "size"))}
				at := max(0, offset-int64(rapid.IntRange(0, 3).Draw(t, "before")))
				for range rapid.IntRange(1, 4).Draw(t, "batches") {
					next := at + int64(rapid.IntRange(1, 5).Draw(t, "length"))
					read.Batches = append(read.Batches, ReadBatch{at, next, rapid.IntRange(0, 4).Draw(t, "aborted") == 0})
					at = next
				}
				who := member.Draw(t, "member")
				if read.Batches[len(read.Batches)-1].Next <= p.start {
					return
				}
				given := p.Acquire(now, who, limits, read)
				var offsets []int64
				for _, g := range given {
					for o := g.Base; o < g.Next; o++ {
						offsets = append(offsets, o)
					}
				}
				if want := m.acquire(now, who, limits, read); !slices.Equal(offsets, want) {
					t.Fatalf("%+v gave %v, not %v", read, offsets, want)
				}
			},
			"acknowledge": func(t *rapid.T) {
				var all []Acknowledgement
				at := m.start - 2
				for range rapid.IntRange(1, 3).Draw(t, "batches") {
					base := at + int64(rapid.IntRange(0, 6).Draw(t, "gap"))
					a := Acknowledgement{Base: base, Next: base + int64(rapid.IntRange(1, 8).Draw(t, "length"))}
					kinds := 1
					if rapid.Bool().Draw(t, "each") {
						kinds = int(a.Next - a.Base)
					}
					for range kinds {
						a.Types = append(a.Types, Type(rapid.IntRange(0, 3).Draw(t, "type")))
					}
					all, at = append(all, a), a.Next
				}
				who := member.Draw(t, "member")
				if got, want := p.Acknowledge(who, limits, all), m.acknowledge(who, limits, all); !errors.Is(got, want) {
					t.Fatalf("acknowledge: %v, not %v", got, want)
				}
			},
			"release": func(t *rapid.T) {
				who := member.Draw(t, "member")
				p.Release(who)
				for i := range m.records {
					if r := &m.records[i]; r.state == Acquired && r.member == who {
						*r = record{state: Available, count: r.count - 1}
					}
				}
				m.settle()
			},
			"expire": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 50).Draw(t, "seconds")) * time.Second)
				p.Expire(now, limits)
				for i := range m.records {
					if r := &m.records[i]; r.state == Acquired && !now.Before(r.ends) {
						m.giveBack(r, limits)
					}
				}
				m.settle()
			},
			"raise": func(t *rapid.T) {
				to := m.start + int64(rapid.IntRange(0, 4).Draw(t, "by"))
				p.RaiseStart(to)
				for m.start < to {
					m.start++
					if len(m.records) > 0 {
						m.records = m.records[1:]
					}
				}
				m.settle()
			},
			"store": func(*rapid.T) {
				if p.IsDirty() {
					var changes []StateBatch
					storedStart, changes = p.Take()
					stored = Overlay(stored, storedStart, changes)
				}
				compareStored(t, storedStart, stored, m)
			},
			"": func(t *rapid.T) {
				compare(t, p, m)
				for i := 1; i < len(stored); i++ {
					if stored[i-1].Next > stored[i].Base {
						t.Fatalf("stored batches overlap: %v", stored)
					}
				}
			},
		})
	})
}
