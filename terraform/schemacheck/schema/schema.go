// Package schema holds a Terraform provider's schema in the JSON form that
// `terraform providers schema -json` prints, and turns it into plugin protocol
// messages. It knows nothing of where the schema came from.
package schema

import (
	"encoding/json"
	"fmt"
	"os"
	"sort"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// Address names the provider whose schema is served.
const Address = "registry.terraform.io/hashicorp/aws"

// An Attribute is a leaf of a block. Type is a cty type in its JSON form.
type Attribute struct {
	Type      json.RawMessage `json:"type"`
	Required  bool            `json:"required,omitempty"`
	Optional  bool            `json:"optional,omitempty"`
	Computed  bool            `json:"computed,omitempty"`
	Sensitive bool            `json:"sensitive,omitempty"`
}

// A NestedBlock is a block inside a block; MaxItems 0 means no bound.
type NestedBlock struct {
	Nesting  string `json:"nesting_mode"`
	Block    Block  `json:"block"`
	MinItems int64  `json:"min_items,omitempty"`
	MaxItems int64  `json:"max_items,omitempty"`
}

// A Block is the body of a resource, a data source, the provider, or a nested block.
type Block struct {
	Attributes map[string]Attribute   `json:"attributes,omitempty"`
	Blocks     map[string]NestedBlock `json:"block_types,omitempty"`
}

// A Schema is one versioned block.
type Schema struct {
	Version int64 `json:"version"`
	Block   Block `json:"block"`
}

// A Provider is everything one provider declares.
type Provider struct {
	Config    Schema            `json:"provider"`
	Resources map[string]Schema `json:"resource_schemas"`
	Data      map[string]Schema `json:"data_source_schemas"`
}

type document struct {
	FormatVersion string              `json:"format_version"`
	Providers     map[string]Provider `json:"provider_schemas"`
}

// Load reads the provider at Address from a schema document.
func Load(path string) (Provider, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return Provider{}, fmt.Errorf("read schema: %w", err)
	}
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		return Provider{}, fmt.Errorf("parse schema %s: %w", path, err)
	}
	p, ok := d.Providers[Address]
	if !ok {
		return Provider{}, fmt.Errorf("parse schema %s: no provider %s in it", path, Address)
	}
	return p, nil
}

// Save writes p as a schema document.
func Save(path string, p Provider) error {
	raw, err := json.Marshal(document{FormatVersion: "1.0", Providers: map[string]Provider{Address: p}})
	if err != nil {
		return fmt.Errorf("encode schema: %w", err)
	}
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		return fmt.Errorf("write schema: %w", err)
	}
	return nil
}

var nestings = map[string]tfprotov5.SchemaNestedBlockNestingMode{
	"single": tfprotov5.SchemaNestedBlockNestingModeSingle,
	"list":   tfprotov5.SchemaNestedBlockNestingModeList,
	"set":    tfprotov5.SchemaNestedBlockNestingModeSet,
	"map":    tfprotov5.SchemaNestedBlockNestingModeMap,
}

// Proto returns s as the plugin protocol states it.
func (s Schema) Proto() (*tfprotov5.Schema, error) {
	b, err := s.Block.proto()
	if err != nil {
		return nil, err
	}
	return &tfprotov5.Schema{Version: s.Version, Block: b}, nil
}

func (b Block) proto() (*tfprotov5.SchemaBlock, error) {
	out := &tfprotov5.SchemaBlock{}
	for _, name := range sortedKeys(b.Attributes) {
		a := b.Attributes[name]
		typ, err := tftypes.ParseJSONType(a.Type) //nolint:staticcheck // the only parser of this form there is
		if err != nil {
			return nil, fmt.Errorf("parse type of attribute %s: %w", name, err)
		}
		out.Attributes = append(out.Attributes, &tfprotov5.SchemaAttribute{
			Name: name, Type: typ,
			Required: a.Required, Optional: a.Optional, Computed: a.Computed, Sensitive: a.Sensitive,
		})
	}
	for _, name := range sortedKeys(b.Blocks) {
		n := b.Blocks[name]
		mode, ok := nestings[n.Nesting]
		if !ok {
			return nil, fmt.Errorf("parse block %s: nesting mode %q is unknown", name, n.Nesting)
		}
		inner, err := n.Block.proto()
		if err != nil {
			return nil, fmt.Errorf("parse block %s: %w", name, err)
		}
		out.BlockTypes = append(out.BlockTypes, &tfprotov5.SchemaNestedBlock{
			TypeName: name, Block: inner, Nesting: mode, MinItems: n.MinItems, MaxItems: n.MaxItems,
		})
	}
	return out, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
