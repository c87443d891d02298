package recovery

import (
	"fmt"
	"strings"
	"testing"

	"github.com/varvelog/varve/coordinator/metalog/bucket"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/objstore/mem"
)

// A log in the bucket keeps its first entry for ever, so that something of the metadata is left where nearly all is lost. The report must not call that
// the loss of a last second.
func TestTheReportSaysAllThatAHoleInTheLogMayHaveTaken(t *testing.T) {
	const mild, whole = "mostly its last second", "groups and their offsets, and what producers and transactions were remembered (what came behind entry"
	for _, row := range []struct {
		name     string
		without  []uint64 // entries of six
		manifest uint64   // a damaged snapshot's
		want     []string
		unwanted string
	}{
		{"whole", nil, 0, []string{mild}, whole},
		{"a hole", []uint64{2, 3}, 0, []string{whole + " 1)", "entries 2 to 6 of the log", "3 whole entries stand behind a break"}, mild},
		{"lost with its snapshot", []uint64{3, 4, 5, 6}, 900, []string{whole + " 2)", "entries 3 to 900 of the log"}, mild},
	} {
		t.Run(row.name, func(t *testing.T) {
			store := mem.New("bucket")
			log := newOwnLog(t, store)
			for i := range 5 {
				if err := log.createTopic(fmt.Sprintf("topic-%010d", i)); err != nil {
					t.Fatal(err)
				}
			}
			for _, seq := range row.without {
				if err := store.Delete(t.Context(), bucket.Key(seq)); err != nil {
					t.Fatal(err)
				}
			}
			if row.manifest > 0 {
				if _, err := store.Put(t.Context(), replica.SnapshotKey(row.manifest), []byte("damaged")); err != nil {
					t.Fatal(err)
				}
			}
			plan, err := Prepare(t.Context(), Config{Store: store})
			if err != nil {
				t.Fatal(err)
			}
			defer plan.Close()
			var text strings.Builder
			if err := plan.Report.Write(&text); err != nil {
				t.Fatal(err)
			}
			for _, want := range row.want {
				if !strings.Contains(text.String(), want) {
					t.Errorf("%q is not in the report:\n%s", want, &text)
				}
			}
			if strings.Contains(text.String(), row.unwanted) {
				t.Errorf("%q is in the report:\n%s", row.unwanted, &text)
			}
		})
	}
}
