//go:build linux

package main

import (
	"fmt"
	"testing"

	"github.com/varvelog/varve/services/overlay"
)

func TestEveryPlantFindsItsPlace(t *testing.T) {
	sources, err := overlay.Of(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	if err := sow(sources); err != nil {
		t.Fatal(err)
	}
	planted := map[string]bool{"12": true} // beside 2, in a helper
	for _, p := range plants {
		planted[p.invariant] = true
	}
	for number := 1; number <= 16; number++ {
		if !planted[fmt.Sprint(number)] {
			t.Errorf("no fault is planted for invariant %d", number)
		}
	}
}

func TestRuntimeIsWhatTheChangesToItExpect(t *testing.T) {
	sources, err := overlay.Of(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	if err := deterministic(sources); err != nil {
		t.Fatal(err)
	}
}
