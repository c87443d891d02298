package verify

import (
	"strings"
	"testing"

	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/mem"
)

func TestLeftoversOfProbesAreReported(t *testing.T) {
	store := mem.New("bucket")
	if _, err := identity.LoadOrCreate(t.Context(), store, identity.MetalogBucket); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ABCDEFGHIJKLMNOPQRSTUVWX27", "notes.txt"} {
		if _, err := store.Put(t.Context(), objstore.ProbePrefix+name, []byte("first")); err != nil {
			t.Fatal(err)
		}
	}
	report, err := Run(t.Context(), Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	if report.Probes != (Amount{Objects: 1, Bytes: 5}) || report.Strange.Objects != 1 || !report.OK() {
		t.Errorf("probes %+v, strange %+v, findings %v", report.Probes, report.Strange, report.Findings)
	}
	var text strings.Builder
	if err := report.Write(&text); err != nil || !strings.Contains(text.String(), "1 objects (5 bytes) of probes of the store") {
		t.Errorf("%v: %s", err, &text)
	}
}
