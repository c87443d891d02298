package compact

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/ingest/recordbatch"
)

// machine does to a world what clients, workers and time do, at random.
type machine struct {
	*world
	producers map[string]int64
	config    Config
	values    int
}

func (m *machine) records(t *rapid.T, producer int64) (out []sent) {
	for range rapid.IntRange(1, 5).Draw(t, "records") {
		m.values++
		r := sent{
			key: fmt.Appendf(nil, "k%d", rapid.IntRange(0, 7).Draw(t, "key")), value: fmt.Appendf(nil, "value %d", m.values),
			millis: m.now - rapid.Int64Range(0, 50).Draw(t, "age"), header: fmt.Sprint(m.values % 3), producer: producer,
		}
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0, 1:
			r.value = nil
		case 2:
			r.key = nil // from a time when the topic was not compacted
		case 3:
			r.value = []byte{}
		}
		out = append(out, r)
	}
	return out
}

func (m *machine) produce(t *rapid.T) {
	codec := rapid.SampledFrom([]recordbatch.Codec{recordbatch.None, recordbatch.Zstd, recordbatch.Snappy}).Draw(t, "codec")
	m.world.produce(codec, rapid.IntRange(0, 5).Draw(t, "append time") == 0, m.records(t, 0)...)
}

func (m *machine) transact(t *rapid.T) {
	id := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "id")
	if m.producers[id] == 0 {
		m.producers[id] = m.begin(id)
	}
	m.world.produce(recordbatch.None, false, m.records(t, m.producers[id])...)
}

func (m *machine) end(t *rapid.T) {
	id := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "id")
	m.world.end(id, m.producers[id], rapid.Bool().Draw(t, "commit"))
}

func (m *machine) compact(t *rapid.T) {
	m.loseNext = rapid.IntRange(0, 3).Draw(t, "lose an answer") == 0
	reports := -1
	if rapid.IntRange(0, 2).Draw(t, "die") == 0 {
		reports = rapid.IntRange(0, 4).Draw(t, "reports")
	}
	before := m.completed
	if m.world.compact(m.config, reports) && m.completed > before && m.merging == nil {
		m.checkClean()
	}
}

func (m *machine) wait(t *rapid.T) { m.now += rapid.Int64Range(1, deleteRetention).Draw(t, "millis") }

func (m *machine) trimmed(t *rapid.T) {
	if rapid.IntRange(0, 4).Draw(t, "rarely") > 0 {
		t.Skip("not now")
	}
	p := m.partition()
	m.trim(rapid.Int64Range(p.LogStartOffset(), p.LastStableOffset()).Draw(t, "offset"))
}

// TestModel: whatever clients send, however often it is compacted and whenever workers die, a reader from the beginning finds for each key
// what was committed last, every record that is there is as it was sent, and nothing is there that a whole round should have removed.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{world: newWorld(t), producers: map[string]int64{}}
		m.config = Config{
			MapBytes:    slotBytes * rapid.SampledFrom([]int{2, 4, 6, 100}).Draw(t, "slots"),
			ObjectBytes: rapid.SampledFrom([]int{300, 1000, 1 << 20}).Draw(t, "object"),
			BatchBytes:  rapid.SampledFrom([]int{150, 1000, 1 << 20}).Draw(t, "batch"),
		}
		t.Repeat(map[string]func(*rapid.T){
			"produce": m.produce, "produce2": m.produce, "transact": m.transact, "end": m.end, "ship": func(*rapid.T) { m.ship() },
			"compact": m.compact, "compact2": m.compact, "wait": m.wait, "trim": m.trimmed, "": func(*rapid.T) { m.check() },
		})
		for id, producer := range m.producers {
			m.world.end(id, producer, true)
		}
		m.settle()
	})
}

// settle ships and compacts all there is, waits until every tombstone has served its time, and compacts again.
func (m *machine) settle() {
	m.loseNext = false
	for range 3 {
		m.now += deleteRetention + 1_000_000 // past every back-off
		m.ship()
		for m.world.compact(m.config, -1) {
			m.check()
			m.checkClean()
		}
	}
	p := m.partition()
	if p.StoredParts() > 0 && p.CleanedOffset() < min(p.EarliestLocalOffset(), p.NextOffset()) {
		m.t.Fatalf("cleaned to %d of %d", p.CleanedOffset(), p.NextOffset())
	}
	for _, f := range m.read() {
		if r := m.log[f.offset]; !f.control && r.value == nil && f.offset < p.CleanedOffset() {
			m.t.Fatalf("the tombstone at %d is still there", f.offset)
		}
	}
}
