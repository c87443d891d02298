package partset

import "testing"

type set = map[string][]int32

func TestOperations(t *testing.T) {
	a, b := set{"x": {0, 1, 2}, "y": {5}}, set{"x": {1, 3}, "z": {0}}
	for name, c := range map[string]struct{ got, want set }{
		"and":       {And(a, b), set{"x": {1}}},
		"minus":     {Minus(a, b), set{"x": {0, 2}, "y": {5}}},
		"plus":      {Plus(a, b), set{"x": {0, 1, 2, 3}, "y": {5}, "z": {0}}},
		"plus nil":  {Plus(nil, b), b},
		"minus all": {Minus(a, a), set{}},
	} {
		if !Equal(c.got, c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
	if !Equal(a, set{"x": {0, 1, 2}, "y": {5}}) {
		t.Error("an operation has changed what it was given")
	}
	if Count(a) != 4 || !Has(a, "y", 5) || Has(a, "y", 0) || Has(a, "w", 0) {
		t.Error("count and has")
	}
	if Within(a, b) || !Within(set{"x": {0, 2}}, a) || !Within(nil, a) {
		t.Error("within")
	}
}
