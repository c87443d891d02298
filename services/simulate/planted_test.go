//go:build linux

package main

import (
	"fmt"
	"testing"
)

func TestEveryPlantFindsItsPlace(t *testing.T) {
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	if err := (sources{}).plant(root); err != nil {
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
	if err := (sources{}).deterministic(); err != nil {
		t.Fatal(err)
	}
}
