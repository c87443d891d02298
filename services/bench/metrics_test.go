package bench

import (
	"strings"
	"testing"
)

func TestMetricsAreSummedOverLabels(t *testing.T) {
	m, err := parseMetrics(strings.NewReader(`# HELP varve_object_requests_total Requests.
# TYPE varve_object_requests_total counter
varve_object_requests_total{kind="put",code="{ok}"} 3
varve_object_requests_total{kind="get"} 4 1700000000000
go_memstats_mallocs_total 1.5e+06
varve_hotlog_fsyncs_total 7
varve_metalog_fsyncs_total 5
`))
	if err != nil {
		t.Fatal(err)
	}
	if m[metricObjectRequests] != 7 || m[metricMallocs] != 1.5e6 {
		t.Errorf("got %v", m)
	}
	if n, found := m.fsyncs(); n != 12 || !found {
		t.Errorf("fsyncs: got %v, %v", n, found)
	}
}

func TestMalformedMetricsAreRefused(t *testing.T) {
	for _, bad := range []string{"name", "name{a=\"b\" 1", "name x"} {
		if _, err := parseMetrics(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if _, found := (metrics{}).fsyncs(); found {
		t.Error("fsyncs were found in nothing")
	}
}
