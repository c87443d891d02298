// Package check is the frame of the programs that run one Go client each against a broker: what they are asked, and how they answer.
//
//	PROGRAM checks BROKERS                         runs every check, and prints a line for each
//	PROGRAM member BROKERS GROUP TOPIC PROTOCOL    is a member of a group until its standard input ends
//
// The lines are those that the other languages' programs print too; the package conformance reads them.
package check

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limit is how long one check may take.
const Limit = 60 * time.Second

// Version is that of a module in this program.
func Version(module string) string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, d := range info.Deps {
			if d.Path == module {
				return module + " " + d.Version
			}
		}
	}
	return module
}

var printing sync.Mutex

// Say prints one line.
func Say(format string, args ...any) {
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " "))
}

// A Check is something that a client does with a broker.
type Check struct {
	Name string
	Run  func(ctx context.Context) error
}

// ErrNone is what a check returns where the client has no such thing.
var ErrNone = errors.New("the client has none")

// Main runs the program.
func Main(version string, checks func(brokers string) []Check, member func(ctx context.Context, brokers, group, topic, protocol string) error) {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: checks BROKERS | member BROKERS GROUP TOPIC PROTOCOL")
		os.Exit(2)
	}
	if os.Args[1] == "member" {
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			_, _ = io.Copy(io.Discard, bufio.NewReader(os.Stdin)) // its end is what is waited for
			cancel()
		}()
		if err := member(ctx, os.Args[2], os.Args[3], os.Args[4], os.Args[5]); err != nil {
			Say("log ERROR %v", err)
			os.Exit(1)
		}
		Say("closed")
		return
	}
	Say("version %s", version)
	for _, c := range checks(os.Args[2]) {
		ctx, cancel := context.WithTimeout(context.Background(), Limit)
		switch err := c.Run(ctx); {
		case errors.Is(err, ErrNone):
			Say("none %s: %v", c.Name, err)
		case err != nil:
			Say("FAIL %s: %v", c.Name, err)
		default:
			Say("ok %s", c.Name)
		}
		cancel()
	}
}

// Record is one of the records that every program writes: the same keys, values and headers in every language.
type Record struct {
	Key, Value []byte // nil where it is null
	Header     string
	Timestamp  time.Time
}

// Records are the hundred records of the produce checks.
func Records() []Record {
	records := make([]Record, 100)
	for i := range records {
		records[i] = Record{Header: fmt.Sprint(i), Timestamp: time.UnixMilli(FirstTimestamp + int64(i))}
		if i%10 != 3 {
			records[i].Key = fmt.Appendf(nil, "key %d", i)
		}
		if i%10 != 7 {
			records[i].Value = fmt.Appendf(nil, "value %d %s", i, strings.Repeat("x", 100))
		}
	}
	return records
}

// FirstTimestamp is that of the first of Records; each has one millisecond more than the one before. The environment says it: it has to
// be recent, or retention would take the records.
var FirstTimestamp = func() int64 {
	n, err := strconv.ParseInt(os.Getenv("FIRST_TIMESTAMP"), 10, 64)
	if err != nil {
		fmt.Fprintln(os.Stderr, "FIRST_TIMESTAMP:", err)
		os.Exit(2)
	}
	return n
}()

// Same tells what of a record is not as it was written.
func Same(i int, key, value []byte, header string, timestamp time.Time) error {
	want := Records()[i]
	same := func(a, b []byte) bool { return (a == nil) == (b == nil) && string(a) == string(b) }
	switch {
	case !same(key, want.Key):
		return fmt.Errorf("record %d: key %q, want %q", i, key, want.Key)
	case !same(value, want.Value):
		return fmt.Errorf("record %d: value %q, want %q", i, value, want.Value)
	case header != want.Header:
		return fmt.Errorf("record %d: header %q, want %q", i, header, want.Header)
	case !timestamp.Equal(want.Timestamp):
		return fmt.Errorf("record %d: timestamp %v, want %v", i, timestamp, want.Timestamp)
	}
	return nil
}

// Want returns an error where two values differ.
func Want[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s: %v, want %v", what, got, want)
	}
	return nil
}
