package bench

import (
	"strings"
	"testing"
)

func TestVerdictsIncludeTheBound(t *testing.T) {
	for _, test := range []struct {
		value float64
		side  relation
		want  string
	}{
		{1.0, atMost, VerdictOK},
		{1.1, atMost, VerdictMiss},
		{1.0, atLeast, VerdictOK},
		{0.9, atLeast, VerdictMiss},
	} {
		if got := required("m", test.value, "x", test.side, 1, "").Verdict; got != test.want {
			t.Errorf("%v %s 1: got %q, want %q", test.value, test.side, got, test.want)
		}
	}
}

func TestTableNamesAFigureOnce(t *testing.T) {
	first := required("cpu", 0.5, "s/GB", atMost, 1, "10 GB")
	second := info("fsyncs", 1234.4, "per GB", "")
	first.Figure, second.Figure = "produce-large", "produce-large"
	var out strings.Builder
	if err := PrintTable(&out, []Result{first, second}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "produce-large"); n != 1 {
		t.Errorf("the figure stands %d times in\n%s", n, out.String())
	}
	for _, want := range []string{"0.5 s/GB", "<= 1 s/GB", "ok", "1234 per GB"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
