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

// compare checks that the file's records, each a line of partition, key and text, are those of the input, each exactly once and
// equal in every byte; and that those of a partition stand in the input's order, in which one producer wrote them.
func compare(in *input, file string) error {
	found := make([]string, in.records())
	last := map[string]int32{}
	count := 0
	err := eachLine(file, func(line string) error {
		partition, record, _ := strings.Cut(line, "\t")
		key, _, _ := strings.Cut(record, "\t")
		place, known := in.places[key]
		switch before, begun := last[partition]; {
		case !known:
			return fmt.Errorf("partition %s: record %q was never written", partition, record)
		case found[place] != "":
			return fmt.Errorf("partition %s: record %q is there twice", partition, key)
		case begun && place < before:
			return fmt.Errorf("partition %s: record %q comes after %q", partition, key, in.lines[before])
		}
		found[place], last[partition] = record, place
		count++
		return nil
	})
	if err != nil {
		return err
	}
	if count != in.records() {
		return fmt.Errorf("%d of %d records came back", count, in.records())
	}
	hash := sha256.New()
	for _, line := range found {
		hash.Write([]byte(line))
		hash.Write([]byte{'\n'})
	}
	if digest := hex.EncodeToString(hash.Sum(nil)); digest != in.digest {
		return fmt.Errorf("SHA-256 of what came back is %s, of what was written %s", digest, in.digest)
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
