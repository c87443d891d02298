package history

import (
	"slices"
	"testing"
)

// TestWhatIsDeclaredLostIsNotMissed, as far as it was there before, and in no other place.
func TestWhatIsDeclaredLostIsNotMissed(t *testing.T) {
	lost := func(s *script, partition string, low, high int64) *script {
		return s.add(Event{Process: 60, Kind: Lost, Parts: []Part{{Partition: partition, Low: low, High: high}}})
	}
	read := new(script).add(Event{Process: 1, Kind: Send, Status: Unknown, Parts: []Part{at("a", -1, 1)}}).poll(2, "a", 0, 1)
	torn := new(script).sendIn(7, "a", 0, 1).sendIn(7, "b", 0, 2).end(7, true)
	for name, c := range map[string]struct {
		history *script
		want    []Anomaly
	}{
		"acknowledged":         {lost(new(script).send(1, "a", 0, 1).send(1, "a", 1, 2), "a", 0, 1).log("a", 2, 1, 2), nil},
		"read":                 {lost(read, "a", 0, 1).send(1, "a", 1, 2).log("a", 2, 1, 2), nil},
		"beside it":            {lost(new(script).send(1, "a", 0, 1).send(1, "a", 1, 2), "a", 0, 1).log("a", 2), []Anomaly{LostWrite}},
		"elsewhere":            {lost(new(script).send(1, "a", 0, 1), "b", 0, 1).log("a", 1).log("b", 0), []Anomaly{LostWrite}},
		"sent afterwards":      {lost(new(script), "a", 0, 1).send(1, "a", 0, 1).log("a", 1), []Anomaly{LostWrite}},
		"half a transaction":   {lost(torn, "a", 0, 1).log("a", 1).log("b", 2, 0, 2), nil},
		"the transaction torn": {lost(new(script).sendIn(7, "a", 0, 1).sendIn(7, "b", 0, 2).end(7, true), "c", 0, 1).log("a", 1).log("b", 2, 0, 2), []Anomaly{LostWrite, TornTransaction}},
	} {
		var got []Anomaly
		for anomaly := range check(t, c.history.events).Count {
			got = append(got, anomaly)
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
