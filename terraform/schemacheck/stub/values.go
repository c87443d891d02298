package stub

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/varvelog/varve/terraform/schemacheck/schema"
)

// Facts of the account and region that the stub plays.
const (
	region    = "eu-central-1"
	accountID = "123456789012"
)

// rewrite decodes in, passes it through f unless it is null, and encodes it again.
func rewrite(in *tfprotov5.DynamicValue, typ tftypes.Type, f func(tftypes.Value) (tftypes.Value, error)) (*tfprotov5.DynamicValue, error) {
	v, err := in.Unmarshal(typ)
	if err != nil {
		return nil, fmt.Errorf("decode value: %w", err)
	}
	if !v.IsNull() {
		if v, err = f(v); err != nil {
			return nil, err
		}
	}
	out, err := tfprotov5.NewDynamicValue(typ, v)
	if err != nil {
		return nil, fmt.Errorf("encode value: %w", err)
	}
	return &out, nil
}

// fillComputed gives every computed attribute that has no value one from f, in
// nested blocks too.
func fillComputed(b schema.Block, v tftypes.Value, f func(name string, typ tftypes.Type) tftypes.Value) (tftypes.Value, error) {
	if v.IsNull() || !v.IsKnown() {
		return v, nil
	}
	fields := map[string]tftypes.Value{}
	if err := v.As(&fields); err != nil {
		return v, fmt.Errorf("read object: %w", err)
	}
	for name, a := range b.Attributes {
		if a.Computed && fields[name].IsNull() {
			fields[name] = f(name, fields[name].Type())
		}
	}
	for name, nested := range b.Blocks {
		filled, err := fillNested(nested, fields[name], f)
		if err != nil {
			return v, fmt.Errorf("block %s: %w", name, err)
		}
		fields[name] = filled
	}
	return tftypes.NewValue(v.Type(), fields), nil
}

func fillNested(n schema.NestedBlock, v tftypes.Value, f func(string, tftypes.Type) tftypes.Value) (tftypes.Value, error) {
	if n.Nesting == "single" {
		return fillComputed(n.Block, v, f)
	}
	if v.IsNull() || !v.IsKnown() {
		return v, nil
	}
	var items []tftypes.Value
	if err := v.As(&items); err != nil {
		return v, fmt.Errorf("read list: %w", err)
	}
	for i := range items {
		filled, err := fillComputed(n.Block, items[i], f)
		if err != nil {
			return v, err
		}
		items[i] = filled
	}
	return tftypes.NewValue(v.Type(), items), nil
}

// attributeName returns the innermost attribute that path passes through.
func attributeName(path *tftypes.AttributePath) string {
	steps := path.Steps()
	for i := len(steps) - 1; i >= 0; i-- {
		if name, ok := steps[i].(tftypes.AttributeName); ok {
			return string(name)
		}
	}
	return ""
}

// A maker invents the computed values of one resource or data source. Label
// tells resources of one type apart; address is what an interface was given;
// zone is where it is, empty for nowhere in particular.
type maker struct {
	typeName string
	label    string
	address  string
	zone     string
}

// subnetZone puts a subnet into the zone that the last letter of its id names.
func subnetZone(id string) string {
	if id == "" || !strings.Contains("abcdef", id[len(id)-1:]) {
		return region + "a"
	}
	return region + id[len(id)-1:]
}

// newMaker takes the label from the attribute that names the resource.
func newMaker(typeName string, v tftypes.Value) maker {
	m := maker{typeName: typeName, address: "10.20.0.10"}
	fields := map[string]tftypes.Value{}
	if err := v.As(&fields); err != nil {
		return m
	}
	tags := map[string]tftypes.Value{}
	if t := fields["tags"]; t.IsKnown() && t.As(&tags) == nil {
		m.label = text(tags["Name"])
	}
	for _, name := range []string{"name", "bucket", "role"} {
		if s := text(fields[name]); s != "" {
			m.label = s
			break
		}
	}
	if typeName == "aws_subnet" {
		m.zone = subnetZone(text(fields["id"]))
	}
	var addresses []tftypes.Value
	if a := fields["private_ips"]; a.IsKnown() && !a.IsNull() && a.As(&addresses) == nil && len(addresses) > 0 {
		m.address = text(addresses[0])
	}
	return m
}

func text(v tftypes.Value) string {
	var s string
	if v.Type() == nil || !v.Type().Is(tftypes.String) || !v.IsKnown() || v.IsNull() || v.As(&s) != nil {
		return ""
	}
	return s
}

// value returns one as AWS might give it for the named attribute.
func (m maker) value(name string, typ tftypes.Type) tftypes.Value {
	switch {
	case typ.Is(tftypes.String), typ.Is(tftypes.DynamicPseudoType):
		return tftypes.NewValue(tftypes.String, m.text(name))
	case typ.Is(tftypes.Number):
		return tftypes.NewValue(typ, big.NewFloat(1))
	case typ.Is(tftypes.Bool):
		return tftypes.NewValue(typ, false)
	}
	switch t := typ.(type) {
	case tftypes.List:
		return tftypes.NewValue(typ, m.items(name, t.ElementType))
	case tftypes.Set:
		return tftypes.NewValue(typ, m.items(name, t.ElementType))
	case tftypes.Map:
		return tftypes.NewValue(typ, map[string]tftypes.Value{})
	case tftypes.Object:
		fields := map[string]tftypes.Value{}
		for n, ft := range t.AttributeTypes {
			fields[n] = m.value(n, ft)
		}
		return tftypes.NewValue(typ, fields)
	}
	return tftypes.NewValue(typ, nil)
}

func (m maker) text(name string) string {
	short := strings.TrimPrefix(m.typeName, "aws_")
	labelled := strings.TrimSuffix(short+"-"+name+"-"+m.label, "-")
	switch {
	case name == "arn" || strings.HasSuffix(name, "_arn"):
		return "arn:aws:stub:" + region + ":" + accountID + ":" + labelled
	case name == "account_id" || name == "owner_id":
		return accountID
	case name == "partition":
		return "aws"
	case name == "availability_zone" && m.zone != "":
		return m.zone
	case name == "region", name == "availability_zone", short == "region":
		return region
	case name == "private_ip":
		return m.address
	case strings.Contains(name, "cidr_block"):
		return "10.20.0.0/16"
	case name == "json":
		return `{"Version":"2012-10-17","Statement":[]}`
	}
	return labelled
}

// items returns three strings (zones, subnets), and no objects.
func (m maker) items(name string, elem tftypes.Type) []tftypes.Value {
	items := []tftypes.Value{}
	if !elem.Is(tftypes.String) {
		return items
	}
	for _, suffix := range []string{"a", "b", "c"} {
		s := m.text(name) + "-" + suffix
		if m.typeName == "aws_availability_zones" {
			s = region + suffix
		}
		items = append(items, tftypes.NewValue(elem, s))
	}
	return items
}
