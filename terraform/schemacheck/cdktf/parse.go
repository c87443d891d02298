package cdktf

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/varvelog/varve/terraform/schemacheck/schema"
)

const (
	kindResource = "TerraformResource"
	kindData     = "TerraformDataSource"
	kindProvider = "TerraformProvider"
)

// A declaration is what one file of the package declares.
type declaration struct {
	kind     string
	typeName string
	block    schema.Block
}

func parse(src string) (declaration, error) {
	f := scan(src)
	for _, c := range f.classes {
		switch c.extends {
		case kindResource, kindData, kindProvider:
			b, err := f.block(c.notes, c.entries)
			if err != nil {
				return declaration{}, err
			}
			if c.extends == kindProvider {
				// The generator notes the meta-argument as if it were the provider's.
				delete(b.Attributes, "alias")
				for name, a := range b.Attributes {
					a.Computed = false
					b.Attributes[name] = a
				}
			}
			return declaration{kind: c.extends, typeName: c.typeName, block: b}, nil
		}
	}
	return declaration{}, errors.New("no resource, data source or provider in it")
}

// block joins a class's notes with its table. Blocks of the provider itself
// have a table and no notes: all they hold is taken as optional.
func (f scanned) block(notes []note, entries map[string]entry) (schema.Block, error) {
	b := schema.Block{Attributes: map[string]schema.Attribute{}, Blocks: map[string]schema.NestedBlock{}}
	noted := map[string]bool{}
	for _, n := range notes {
		noted[n.name] = true
		e, settable := entries[n.name]
		switch {
		case settable && e.block:
			if err := f.addBlock(&b, n, e); err != nil {
				return b, fmt.Errorf("block %s: %w", n.name, err)
			}
		case settable:
			b.Attributes[n.name] = attribute(e.attributeType(), n)
		default:
			b.Attributes[n.name] = attribute(f.readType(n.code), n)
		}
	}
	for name, e := range entries {
		if !noted[name] && !e.block {
			b.Attributes[name] = attribute(e.attributeType(), note{optional: true})
		}
	}
	return b, nil
}

func attribute(typ any, n note) schema.Attribute {
	raw, err := json.Marshal(typ)
	if err != nil {
		panic("types are strings and slices: " + err.Error())
	}
	return schema.Attribute{Type: raw, Required: n.required, Optional: n.optional, Computed: n.computed}
}

var blockFunction = regexp.MustCompile(`(?:^|\()(\w+)ToHclTerraform`)

// addBlock adds a nested block, or the attribute it really is: the generator
// marks a settable list of objects as a block too, which shows in its list
// conversion (second argument false) or in its being computed, as no block is.
func (f scanned) addBlock(b *schema.Block, n note, e entry) error {
	m := blockFunction.FindStringSubmatch(e.value)
	if m == nil {
		return fmt.Errorf("conversion %q names no function", e.value)
	}
	className := strings.ToUpper(m[1][:1]) + m[1][1:]
	many := strings.Contains(e.value, "apperHcl(")
	if out, ok := f.classes[className+"OutputReference"]; ok && (n.computed || many && !strings.Contains(e.value, ", true)")) {
		kind := "list"
		if e.kind == "set" {
			kind = "set"
		}
		b.Attributes[n.name] = attribute([]any{kind, f.objectType(out)}, n)
		return nil
	}
	var notes []note
	if out, ok := f.classes[className+"OutputReference"]; ok {
		notes = out.notes
	}
	inner, err := f.block(notes, f.tables[m[1]])
	if err != nil {
		return err
	}
	nested := schema.NestedBlock{Block: inner, Nesting: "list"}
	switch e.kind {
	case "struct":
		nested.Nesting = "single"
	case "set":
		nested.Nesting = "set"
	}
	if n.required {
		nested.MinItems = 1
	}
	if !many && nested.Nesting != "single" {
		nested.MaxItems = 1
	}
	b.Blocks[n.name] = nested
	return nil
}

var (
	scalars = map[string]string{"string": "string", "number": "number", "boolean": "bool", "any": "string"}
	inner   = regexp.MustCompile(`cdktf\.(string|number|boolean|any)ToHclTerraform`)
)

// attributeType returns the type of a settable attribute from its table entry.
func (e entry) attributeType() any {
	if e.kind == "simple" {
		if t, ok := scalars[e.storage]; ok {
			return t
		}
		return "string"
	}
	var elem any = "string"
	if m := inner.FindStringSubmatch(e.value); m != nil {
		elem = scalars[m[1]]
	}
	if strings.Contains(e.value, "listMapperHcl(cdktf.listMapperHcl") {
		elem = []any{"list", elem}
	}
	switch e.kind {
	case "set", "map":
		return []any{e.kind, elem}
	}
	return []any{"list", elem}
}

var (
	complexField = regexp.MustCompile(`= new (\w+?)(List|Map|OutputReference)\(this, "\w+"(?:, (true|false))?\)`)
	libraryField = regexp.MustCompile(`= new cdktf\.(\w*?)(List|Map)\(this, "\w+"(?:, (true|false))?\)`)
	getter       = regexp.MustCompile(`this\.get(\w+?)Attribute\(`)
	getters      = map[string]any{
		"String": "string", "Number": "number", "Boolean": "bool", "Any": "string",
		"List": []any{"list", "string"}, "NumberList": []any{"list", "number"},
		"StringMap": []any{"map", "string"}, "BooleanMap": []any{"map", "bool"},
		"NumberMap": []any{"map", "number"}, "AnyMap": []any{"map", "string"},
	}
)

// readType returns the type of an attribute that can only be read, from its getter.
func (f scanned) readType(code string) any {
	if m := complexField.FindStringSubmatch(code); m != nil {
		if c, ok := f.classes[m[1]+"OutputReference"]; ok {
			return container(m[2], m[3], f.objectType(c))
		}
	}
	if m := libraryField.FindStringSubmatch(code); m != nil {
		elem := "string"
		switch {
		case strings.Contains(m[1], "Boolean"):
			elem = "bool"
		case strings.Contains(m[1], "Number"):
			elem = "number"
		}
		return container(m[2], m[3], elem)
	}
	m := getter.FindStringSubmatch(code)
	if m == nil {
		return "string"
	}
	t, ok := getters[m[1]]
	if !ok {
		return "string"
	}
	if l, isList := t.([]any); isList && l[0] == "list" && strings.Contains(code, "Fn.tolist") {
		return []any{"set", l[1]}
	}
	return t
}

func container(kind, fromSet string, elem any) any {
	switch {
	case kind == "Map":
		return []any{"map", elem}
	case fromSet == "true":
		return []any{"set", elem}
	}
	return []any{"list", elem}
}

func (f scanned) objectType(c *class) any {
	fields := map[string]any{}
	for _, n := range c.notes {
		fields[n.name] = f.readType(n.code)
	}
	return []any{"object", fields}
}
