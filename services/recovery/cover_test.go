package recovery

import "testing"

// The newest of equal parts is taken, however many offsets lie before it, and however large the numbers of jobs are.
func TestTheNewestOfEqualPartsIsTaken(t *testing.T) {
	const largest = 1<<64 - 1
	for _, many := range []int64{1, 100_000_000_000, 1 << 62} {
		before, older, newer := &candidate{}, &candidate{}, &candidate{}
		chosen := cover([]choice{{0, many, largest, before}, {many, many + 2, largest - 1, older}, {many, many + 2, largest, newer}}, 0, false)
		if len(chosen) != 2 || chosen[1].candidate != newer {
			t.Errorf("behind %d offsets: %+v", many, chosen)
		}
	}
}
