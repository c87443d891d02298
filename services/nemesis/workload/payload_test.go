package workload

import "testing"

func TestRecordsTellTheirValueAndDamage(t *testing.T) {
	for _, value := range []uint64{1, 7, 97, 970, 123456789} {
		record := payload(value)
		if got := valueOf(record); got != value {
			t.Errorf("value %d is read as %d", value, got)
		}
		for _, damaged := range [][]byte{nil, record[:len(record)-1], append(payload(value), 'x')} {
			if got := valueOf(damaged); got != 0 {
				t.Errorf("%q is read as %d", damaged, got)
			}
		}
	}
}
