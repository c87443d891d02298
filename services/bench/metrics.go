package bench

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// metrics is a scrape of a server: each series under its name with labels, and under each name alone the sum over its labels.
type metrics map[string]float64

// parseMetrics reads Prometheus' text format as far as counting needs it: names and values.
func parseMetrics(r io.Reader) (metrics, error) {
	m := metrics{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, labelled := strings.Cut(line, "{")
		labels := ""
		if labelled {
			end := strings.LastIndexByte(rest, '}')
			if end < 0 {
				return nil, fmt.Errorf("parse metrics: %q", line)
			}
			labels = rest[:end]
			rest = rest[end+1:]
		} else {
			name, rest, _ = strings.Cut(line, " ")
		}
		fields := strings.Fields(rest) // a timestamp may follow
		if len(fields) == 0 {
			return nil, fmt.Errorf("parse metrics: no value in %q", line)
		}
		value, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			return nil, fmt.Errorf("parse metrics: %w in %q", err, line)
		}
		m[name] += value
		if labelled {
			m[name+"{"+labels+"}"] = value
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	return m, nil
}

// sum adds up the series that begin with prefix, which reaches into the labels.
func (m metrics) sum(prefix string) (sum float64) {
	for series, value := range m {
		if strings.HasPrefix(series, prefix) {
			sum += value
		}
	}
	return sum
}

const (
	metricMallocs        = "go_memstats_mallocs_total"
	metricObjectRequests = "varve_object_requests_total"
	metricMetadataSeq    = "varve_metadata_seq"
	metricHotLogBytes    = "varve_hotlog_bytes_total"
	metricHotLogSize     = "varve_hotlog_size_bytes"
	metricOverwrites     = "varve_hotlog_overwrites_total"
)

// fsyncs is the number of fsyncs the server counts, whatever part made them; found is false where it counts none.
func (m metrics) fsyncs() (count float64, found bool) {
	for name, value := range m {
		if strings.HasPrefix(name, "varve_") && strings.HasSuffix(name, "fsyncs_total") {
			count, found = count+value, true
		}
	}
	return count, found
}
