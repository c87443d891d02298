package cdktf

import (
	"regexp"
	"strings"
)

// A note is the comment above an attribute, with the code that follows it.
type note struct {
	name                         string
	computed, optional, required bool
	code                         string
}

// An entry is one row of the table that synthesises a block: a settable attribute.
type entry struct {
	value   string // the conversion applied to it
	block   bool
	kind    string // simple, list, set, map, struct
	storage string // for simple: string, number, boolean
}

type class struct {
	extends  string
	typeName string
	notes    []note
	entries  map[string]entry
}

// A scanned file: its classes, and the tables of the functions <name>ToHclTerraform.
type scanned struct {
	classes map[string]*class
	tables  map[string]map[string]entry
}

var (
	classLine = regexp.MustCompile(`^export class (\w+) extends cdktf\.(\w+) `)
	tableLine = regexp.MustCompile(`^export function (\w+)ToHclTerraform\(`)
	typeLine  = regexp.MustCompile(`^\s+public static readonly tfResourceType = "(\w+)"`)
	noteLine  = regexp.MustCompile(`^\s+// (\w+) - computed: (\w+), optional: (\w+), required: (\w+)`)
	entryLine = regexp.MustCompile(`^\s+([a-z0-9_]+): \{$`)
	fieldLine = regexp.MustCompile(`^\s+(value|isBlock|type|storageClassType): (.*),$`)
)

// scan reads the generated TypeScript line by line. The generator writes one
// construct a line and closes every top-level one with a brace in column one,
// so no grammar is needed.
func scan(src string) scanned {
	out := scanned{classes: map[string]*class{}, tables: map[string]map[string]entry{}}
	var (
		cur  *class
		rows map[string]entry
		row  string
	)
	for line := range strings.Lines(src) {
		line = strings.TrimRight(line, "\r\n")
		if m := classLine.FindStringSubmatch(line); m != nil {
			cur = &class{extends: m[2], entries: map[string]entry{}}
			out.classes[m[1]], rows, row = cur, cur.entries, ""
			continue
		}
		if m := tableLine.FindStringSubmatch(line); m != nil {
			cur, rows, row = nil, map[string]entry{}, ""
			out.tables[m[1]] = rows
			continue
		}
		if line == "}" {
			cur, rows, row = nil, nil, ""
			continue
		}
		if rows == nil {
			continue
		}
		if m := entryLine.FindStringSubmatch(line); m != nil {
			row = m[1]
			continue
		}
		if m := fieldLine.FindStringSubmatch(line); m != nil && row != "" {
			rows[row] = rows[row].with(m[1], m[2])
			continue
		}
		if cur != nil {
			cur.read(line)
		}
	}
	return out
}

func (e entry) with(field, text string) entry {
	switch field {
	case "value":
		e.value = text
	case "isBlock":
		e.block = text == "true"
	case "type":
		e.kind = strings.Trim(text, `"`)
	case "storageClassType":
		e.storage = strings.Trim(text, `"`)
	}
	return e
}

func (c *class) read(line string) {
	if m := typeLine.FindStringSubmatch(line); m != nil {
		c.typeName = m[1]
		return
	}
	if m := noteLine.FindStringSubmatch(line); m != nil {
		c.notes = append(c.notes, note{name: m[1], computed: m[2] == "true", optional: m[3] == "true", required: m[4] == "true"})
		return
	}
	if n := len(c.notes); n > 0 && !strings.Contains(line, "// ====") {
		c.notes[n-1].code += line + "\n"
	}
}
