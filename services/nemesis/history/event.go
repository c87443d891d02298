package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
)

// Kind is what an event tells of.
type Kind string

// The kinds of events.
const (
	// Send is one or more records, each with its value, and its offset once that is known.
	Send Kind = "send"
	// Poll is an answer with records, in the order in which they came, for partitions that the process has been assigned.
	Poll Kind = "poll"
	// Assign sets where the process begins to read the partitions; Offset is -1 where the event's writer does not know.
	Assign Kind = "assign"
	// Revoke ends the reading of partitions. Where a group is named and partitions are not, it is of all.
	Revoke Kind = "revoke"
	// End ends a transaction by commit or abort. A transaction without an End was left open by its process.
	End Kind = "end"
	// Commit stores a group's offsets: with the End of Txn where that is set, else by itself.
	Commit Kind = "commit"
	// Committed reads a group's offsets.
	Committed Kind = "committed"
	// Watermarks reads Low, Stable and High of partitions.
	Watermarks Kind = "watermarks"
	// Lost declares the offsets from Low to High lost, with the only disk that had them: what was known of them before need not be there.
	Lost Kind = "lost"
	// Log is a part of a complete read of a partition when everything has come to rest: the records from the log's start on. High is the
	// offset up to which it reaches.
	Log Kind = "log"
)

// Status is what the process knows of an operation.
type Status string

// The states of knowledge. Unknown may have happened and may yet happen.
const (
	Invoked Status = "invoked" // a later event tells the rest; if there is none, Unknown
	OK      Status = "ok"
	Failed  Status = "failed" // has not happened and never will
	Unknown Status = "unknown"
)

// Event is one line of a history. Times are nanoseconds on one monotonic clock.
type Event struct {
	Process   int    `json:"process"`
	Kind      Kind   `json:"kind"`
	Status    Status `json:"status"`
	Invoke    int64  `json:"invoke"`
	Complete  int64  `json:"complete,omitempty"`
	Txn       int64  `json:"txn,omitempty"`       // the transaction that it belongs to; 0 is none
	Commit    bool   `json:"commit,omitempty"`    // of End: not an abort
	Committed bool   `json:"committed,omitempty"` // of Poll and Log: read_committed
	Group     string `json:"group,omitempty"`
	Parts     []Part `json:"parts,omitempty"`
	Note      string `json:"note,omitempty"` // for people: the client, the error
}

// Part is what an event says of one partition.
type Part struct {
	Partition string   `json:"partition"`
	Records   []Record `json:"records,omitempty"`
	Offset    int64    `json:"offset,omitempty"` // of Assign, Commit and Committed: the next to read
	Low       int64    `json:"low,omitempty"`
	Stable    int64    `json:"stable,omitempty"`
	High      int64    `json:"high,omitempty"`
}

// Record is an offset, -1 where it is not known, and a value. Value 0 stands for bytes that nobody sent.
type Record struct {
	Offset int64
	Value  uint64
}

// MarshalJSON writes [offset,value].
func (r Record) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "[%d,%d]", r.Offset, r.Value), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *Record) UnmarshalJSON(text []byte) error {
	rest, err := integer(text, '[', &r.Offset)
	var value int64
	if err == nil {
		rest, err = integer(rest, ',', &value)
	}
	if err != nil || len(rest) != 1 || rest[0] != ']' || value < 0 {
		return fmt.Errorf("record %q: want [offset,value]", text)
	}
	r.Value = uint64(value)
	return nil
}

var errNumber = errors.New("want a number")

// integer reads a number behind the byte lead, and returns what follows.
func integer(text []byte, lead byte, n *int64) (rest []byte, err error) {
	if len(text) == 0 || text[0] != lead {
		return nil, errNumber
	}
	i, negative := 1, false
	for i < len(text) && text[i] == ' ' {
		i++
	}
	if i < len(text) && text[i] == '-' {
		negative = true
		i++
	}
	digits := i
	var sum int64
	for ; i < len(text) && text[i] >= '0' && text[i] <= '9'; i++ {
		if sum > (1<<63-10)/10 {
			return nil, errNumber
		}
		sum = sum*10 + int64(text[i]-'0')
	}
	if i == digits {
		return nil, errNumber
	}
	if negative {
		sum = -sum
	}
	*n = sum
	return text[i:], nil
}

// Source gives the events of a history, from the first on at every call.
type Source func() iter.Seq2[*Event, error]

// Events is the source of events in memory.
func Events(events []Event) Source {
	return func() iter.Seq2[*Event, error] {
		return func(yield func(*Event, error) bool) {
			for i := range events {
				if !yield(&events[i], nil) {
					return
				}
			}
		}
	}
}

// File is the source of a file with one event a line.
func File(name string) Source {
	return Lines(func() (io.ReadCloser, error) { return os.Open(name) })
}

// Lines is the source of what open opens: one event a line.
func Lines(open func() (io.ReadCloser, error)) Source {
	return func() iter.Seq2[*Event, error] {
		return func(yield func(*Event, error) bool) {
			file, err := open()
			if err != nil {
				yield(nil, err)
				return
			}
			defer file.Close()
			lines := bufio.NewReaderSize(file, 1<<20)
			for n := 1; ; n++ {
				line, err := lines.ReadBytes('\n')
				if errors.Is(err, io.EOF) && len(line) == 0 {
					return
				}
				if err != nil && !errors.Is(err, io.EOF) {
					yield(nil, fmt.Errorf("read history: %w", err))
					return
				}
				e := &Event{}
				if err := json.Unmarshal(line, e); err != nil {
					yield(nil, fmt.Errorf("history, line %d: %w", n, err))
					return
				}
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}
