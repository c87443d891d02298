package main

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// table closes the demo with what it took.
func (d *demo) table(ctx context.Context, readBack time.Time) error {
	total := counters{}
	maps.Copy(total, d.system.counted)
	for _, address := range d.system.status {
		now, err := scrape(ctx, address)
		if err != nil {
			return err
		}
		for name, value := range now {
			total[name] += value
		}
	}
	stored, objects, err := sizeOf(d.system.bucket)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', tabwriter.AlignRight)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\t\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Println()
	row("records", "%d", d.input.records())
	row("bytes in (keys and values)", "%d", d.input.bytes)
	row("bytes of Produce requests", "%.0f", total[`varve_kafka_bytes_total{api="Produce",direction="in"}`])
	row("bytes appended to the hot log", "%.0f", total["varve_hotlog_bytes_total"])
	row("bytes stored in the bucket", "%d", stored)
	row("objects in the bucket", "%d", objects)
	row("fsyncs of the hot log", "%.0f", total["varve_hotlog_fsyncs_total"])
	for _, op := range []string{"put", "get", "head", "list", "delete"} {
		row("object requests: "+op, "%.0f", sumOf(total, fmt.Sprintf(`varve_object_requests_total{op=%q`, op)))
	}
	row("seconds to write, read and ship", "%.1f", readBack.Sub(d.began).Seconds())
	row("seconds to read back from the bucket", "%.1f", time.Since(readBack).Seconds())
	fmt.Fprintln(w, "(counters of a killed process are those of just before the kill)\t\t")
	return w.Flush()
}

// sumOf adds up the counters whose name begins with prefix.
func sumOf(c counters, prefix string) (sum float64) {
	for _, name := range slices.Sorted(maps.Keys(c)) {
		if strings.HasPrefix(name, prefix) {
			sum += c[name]
		}
	}
	return sum
}

// sizeOf is what the files below dir take.
func sizeOf(dir string) (bytes int64, files int, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		bytes += info.Size()
		files++
		return nil
	})
	return bytes, files, err
}
