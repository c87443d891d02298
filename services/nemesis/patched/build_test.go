package patched

import (
	"slices"
	"testing"

	"github.com/varvelog/varve/services/overlay"
)

func TestChangesFitTheSources(t *testing.T) {
	names := map[string]bool{}
	for _, f := range append(Faults, Fault{Name: "none", Complaint: "none"}) {
		sources, err := overlay.Of(t.Context(), ".")
		if err != nil {
			t.Fatal(err)
		}
		if err := apply(sources, slices.Concat(f.Changes, Always)); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
		if names[f.Name] || len(f.Wants) == 0 && f.Complaint == "" {
			t.Errorf("%q is planted twice, or is never found", f.Name)
		}
		names[f.Name] = true
	}
}
