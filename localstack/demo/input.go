package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// input is every line of the standard library's source, in order, as "file:line\ttext".
type input struct {
	file   string
	lines  []string         // without the line's end
	places map[string]int32 // key → index
	bytes  int64
	digest string // SHA-256 of the lines in order
}

func (in *input) records() int { return len(in.lines) }

// readInput writes the lines to file, for kcat, and keeps them for comparison.
func readInput(ctx context.Context, file string, limit int) (*input, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	root := filepath.Join(strings.TrimSpace(string(out)), "src")
	in := &input{file: file, places: map[string]int32{}}
	full := errors.New("limit reached")
	err = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || filepath.Ext(name) != ".go" {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for i, line := range bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
			if limit > 0 && len(in.lines) == limit {
				return full
			}
			key := fmt.Sprintf("%s:%d", filepath.ToSlash(relative), i+1)
			in.places[key] = int32(len(in.lines))
			in.lines = append(in.lines, key+"\t"+string(line))
		}
		return nil
	})
	if err != nil && !errors.Is(err, full) {
		return nil, err
	}
	return in, in.write()
}

func (in *input) write() error {
	f, err := os.Create(in.file)
	if err != nil {
		return err
	}
	hash := sha256.New()
	w := bufio.NewWriterSize(f, 1<<20)
	for _, line := range in.lines {
		w.WriteString(line)
		w.WriteByte('\n')
		hash.Write([]byte(line))
		hash.Write([]byte{'\n'})
		in.bytes += int64(len(line) - 1) // the tab is not sent
	}
	in.digest = hex.EncodeToString(hash.Sum(nil))
	return errors.Join(w.Flush(), f.Close())
}

// check compares what was read with the input.
type check struct {
	input *input
	seen  []bool
	found []string
	count int
}

func newCheck(in *input) *check {
	return &check{input: in, seen: make([]bool, in.records()), found: make([]string, in.records())}
}

// partition checks that the file's records are of the input, each for the first time, in the input's order: the
// order in which one producer wrote them, and so the order of every key.
func (c *check) partition(p int, file string) error {
	last := int32(-1)
	return eachLine(file, func(line string) error {
		key, _, _ := strings.Cut(line, "\t")
		place, known := c.input.places[key]
		switch {
		case !known:
			return fmt.Errorf("partition %d: record %q was never written", p, line)
		case c.seen[place]:
			return fmt.Errorf("partition %d: record %q is there twice", p, key)
		case place < last:
			return fmt.Errorf("partition %d: record %q comes after %q", p, key, c.input.lines[last])
		}
		c.seen[place], c.found[place], last = true, line, place
		c.count++
		return nil
	})
}

// complete checks that nothing is missing and every byte is equal.
func (c *check) complete() error {
	if c.count != c.input.records() {
		return fmt.Errorf("%d of %d records came back", c.count, c.input.records())
	}
	hash := sha256.New()
	for _, line := range c.found {
		hash.Write([]byte(line))
		hash.Write([]byte{'\n'})
	}
	if digest := hex.EncodeToString(hash.Sum(nil)); digest != c.input.digest {
		return fmt.Errorf("SHA-256 of what came back is %s, of what was written %s", digest, c.input.digest)
	}
	return nil
}

func eachLine(file string, do func(line string) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 1<<20), 16<<20)
	lines.Split(func(data []byte, atEOF bool) (int, []byte, error) { // bufio.ScanLines would drop a carriage return
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			return i + 1, data[:i], nil
		}
		if atEOF && len(data) > 0 {
			return len(data), data, nil
		}
		return 0, nil, nil
	})
	for lines.Scan() {
		if err := do(lines.Text()); err != nil {
			return err
		}
	}
	return lines.Err()
}
