package history

import (
	"fmt"
	"testing"
)

// BenchmarkCheck checks a history of a million records in 32 partitions, a fifth of them in transactions, which five readers were given.
func BenchmarkCheck(b *testing.B) {
	const records, logs, readers, answer = 1_000_000, 32, 5, 100
	s := &script{}
	next := make([]int64, logs)
	value, txn := int64(0), int64(0)
	for range records / 10 {
		log := int(value) % logs
		name := fmt.Sprint("topic/", log)
		var pairs []int64
		for range 10 {
			value++
			pairs = append(pairs, next[log], value)
			next[log]++
		}
		if value%50 == 0 {
			txn++
			s.sendIn(txn, name, pairs...).end(txn, true)
			next[log]++ // the marker
		} else {
			s.send(1_000_000, name, pairs...)
		}
	}
	contents := make([][]int64, logs)
	for _, e := range s.events {
		for _, p := range e.Parts {
			var log int
			if _, err := fmt.Sscanf(p.Partition, "topic/%d", &log); err != nil {
				b.Fatal(err)
			}
			for _, r := range p.Records {
				contents[log] = append(contents[log], r.Offset, int64(r.Value))
			}
		}
	}
	for log, pairs := range contents {
		name := fmt.Sprint("topic/", log)
		for reader := range readers {
			for i := 0; i < len(pairs); i += 2 * answer {
				s.poll(2_000_000+reader, name, pairs[i:min(len(pairs), i+2*answer)]...)
			}
		}
		s.log(name, next[log], pairs...)
	}
	b.ResetTimer()
	for b.Loop() {
		report, err := Check(Events(s.events))
		if err != nil || !report.Valid() {
			b.Fatal(err, report.Count)
		}
	}
}
