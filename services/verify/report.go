package verify

import (
	"fmt"
	"io"
	"sync"
)

// maxFindings bounds the findings that are kept, and maxKeys the objects that are named without being wrong; those above it are counted.
const (
	maxFindings = 1000
	maxKeys     = 20
)

// Finding is something wrong.
type Finding struct {
	// Where is the object's key, the file's path, or the partition.
	Where   string `json:"where"`
	Problem string `json:"problem"`
}

// Amount is a number of objects and their bytes.
type Amount struct {
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

func (a *Amount) add(bytes int64) { a.Objects++; a.Bytes += bytes }

// Report is what was looked at, and what was found.
type Report struct {
	Bucket    string `json:"bucket,omitempty"`
	ClusterID string `json:"cluster_id,omitempty"`
	LogID     string `json:"log_id,omitempty"`
	Metalog   string `json:"metalog,omitempty"`
	// Seq is the sequence of the metadata that references were held against.
	Seq       uint64 `json:"seq"`
	Snapshots int    `json:"snapshots"`
	Entries   uint64 `json:"entries"`
	Topics    int    `json:"topics"`
	Parts     int    `json:"partitions"`

	// Segments and Chunks were read from their first byte to their last.
	Segments Amount `json:"segments"`
	Chunks   Amount `json:"chunks"`
	Batches  int64  `json:"batches"`
	Records  int64  `json:"records"`

	// Orphans: nothing refers to them, nothing will. Garbage: the metadata knows that they are to be deleted. Pending: of jobs and chunks
	// under way, or newer than the metadata that was read. Former: metadata from before a recovery. Probes: of the store, under way or left by
	// a process that died. Strange: with names that are not Varve's.
	Orphans  Amount   `json:"orphans"`
	Garbage  Amount   `json:"garbage"`
	Pending  Amount   `json:"pending"`
	Former   Amount   `json:"former"`
	Probes   Amount   `json:"probes"`
	Strange  Amount   `json:"strange"`
	Orphaned []string `json:"orphan_keys,omitempty"`  // the first few of Orphans
	Unknown  []string `json:"strange_keys,omitempty"` // the first few of Strange

	HotLogs []HotLog `json:"hot_logs,omitempty"`

	Problems int       `json:"problems"`
	Findings []Finding `json:"findings"`
}

// HotLog is one node's log on disk.
type HotLog struct {
	Dir      string `json:"dir"`
	Disk     string `json:"disk"`
	Node     int32  `json:"node,omitempty"` // 0 where the metadata does not know the disk
	Segments Amount `json:"segments"`
	Chunks   int    `json:"chunks"`
	Batches  int64  `json:"batches"`
	// Runs were held against the metadata that refers to them.
	Runs int `json:"runs"`
	// TornBytes is what a crash has left behind the last frames; opening the log cuts it.
	TornBytes int64 `json:"torn_bytes"`
}

// OK says that nothing is wrong.
func (r *Report) OK() bool { return r.Problems == 0 }

// Write prints the report for people.
func (r *Report) Write(w io.Writer) error {
	p := &printer{w: w}
	if r.Bucket != "" {
		p.line("bucket %s: cluster %s, log %s on %s", r.Bucket, r.ClusterID, r.LogID, r.Metalog)
		p.line("metadata to %d: %d snapshots, %d entries, %d topics, %d partitions", r.Seq, r.Snapshots, r.Entries, r.Topics, r.Parts)
		p.line("segments %d (%d bytes), chunks %d (%d bytes): %d batches, %d records", r.Segments.Objects, r.Segments.Bytes, r.Chunks.Objects, r.Chunks.Bytes, r.Batches, r.Records)
		for _, rest := range []struct {
			what string
			Amount
			keys []string
		}{
			{"orphans, which a sweep deletes", r.Orphans, r.Orphaned}, {"garbage, about to be deleted", r.Garbage, nil}, {"newer than the metadata read", r.Pending, nil},
			{"metadata from before a recovery", r.Former, nil}, {"of probes of the store, which a sweep deletes when they are old", r.Probes, nil},
			{"with names that are not Varve's, left alone", r.Strange, r.Unknown},
		} {
			if rest.Objects > 0 {
				p.line("%d objects (%d bytes) %s", rest.Objects, rest.Bytes, rest.what)
			}
			for _, key := range rest.keys {
				p.line("  %s", key)
			}
		}
	}
	for _, h := range r.HotLogs {
		p.line("hot log %s: disk %s, node %d: %d segments (%d bytes), %d chunks, %d batches, %d runs referred to, %d torn bytes",
			h.Dir, h.Disk, h.Node, h.Segments.Objects, h.Segments.Bytes, h.Chunks, h.Batches, h.Runs, h.TornBytes)
	}
	for _, f := range r.Findings {
		p.line("WRONG %s: %s", f.Where, f.Problem)
	}
	if more := r.Problems - len(r.Findings); more > 0 {
		p.line("and %d more", more)
	}
	if r.OK() {
		p.line("everything holds")
	} else {
		p.line("%d problems", r.Problems)
	}
	return p.err
}

type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// findings gathers what is wrong, from several goroutines.
type findings struct {
	sync.Mutex
	report *Report
}

func (f *findings) add(where string, err error) {
	f.Lock()
	defer f.Unlock()
	f.report.Problems++
	if len(f.report.Findings) < maxFindings {
		f.report.Findings = append(f.report.Findings, Finding{Where: where, Problem: err.Error()})
	}
}
