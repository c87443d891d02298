package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// Register declares a flag for each field, with its default, and --config.
func (c *Config) Register(flags *pflag.FlagSet) {
	flags.String("config", "", "YAML file with any of these settings under the same names")
	for _, f := range c.fields() {
		if err := f.set(f.defaultText); f.defaultText != "" && err != nil {
			panic(fmt.Sprintf("default of %s: %v", f.name, err))
		}
		flags.Var(f, f.name, f.usage)
	}
}

// Load completes c after the flags were parsed: what no flag set comes from the environment, then from the YAML file.
func (c *Config) Load(flags *pflag.FlagSet, getenv func(string) (string, bool)) error {
	path, err := flags.GetString("config")
	if err != nil {
		return err
	}
	if path == "" {
		path, _ = getenv(environmentName("config"))
	}
	file, err := readFile(path)
	if err != nil {
		return err
	}
	c.sources = map[string]string{}
	for _, f := range c.fields() {
		inFile, isInFile := file[f.name]
		delete(file, f.name)
		if flags.Changed(f.name) {
			c.sources[f.name] = "flag --" + f.name
			continue
		}
		text, source := inFile.value, fmt.Sprintf("%s:%d", path, inFile.line)
		if value, ok := getenv(environmentName(f.name)); ok {
			text, source = value, "environment variable "+environmentName(f.name)
		} else if !isInFile {
			continue
		}
		if err := f.set(text); err != nil {
			return &FieldError{Field: f.name, Value: text, Source: source, Reason: err.Error()}
		}
		c.sources[f.name] = source
	}
	for name, entry := range file {
		return fmt.Errorf("configuration: %s:%d: unknown field %q", path, entry.line, name)
	}
	return nil
}

type fileEntry struct {
	value string
	line  int
}

// readFile reads a flat YAML mapping of scalars.
func readFile(path string) (map[string]fileEntry, error) {
	entries := map[string]fileEntry{}
	if path == "" {
		return entries, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: read file: %w", err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("configuration: parse %s: %w", path, err)
	}
	if len(document.Content) == 0 {
		return entries, nil
	}
	mapping := document.Content[0]
	if mapping.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("configuration: %s:%d: want settings as name: value", path, mapping.Line)
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		name, value := mapping.Content[i], mapping.Content[i+1]
		if value.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("configuration: %s:%d: field %q: want a single value", path, value.Line, name.Value)
		}
		if _, twice := entries[name.Value]; twice {
			return nil, fmt.Errorf("configuration: %s:%d: field %q stands twice", path, name.Line, name.Value)
		}
		entries[name.Value] = fileEntry{value: value.Value, line: name.Line}
	}
	return entries, nil
}

// field is one setting; it is also its flag's value.
type field struct {
	name, defaultText, usage string
	value                    reflect.Value
}

func (c *Config) fields() []*field {
	v := reflect.ValueOf(c).Elem()
	fields := make([]*field, 0, v.NumField())
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		if tag.Get("name") == "" {
			continue // not a setting
		}
		fields = append(fields, &field{name: tag.Get("name"), defaultText: tag.Get("default"), usage: tag.Get("usage"), value: v.Field(i)})
	}
	return fields
}

func (f *field) set(text string) error {
	switch target := f.value.Addr().Interface().(type) {
	case *string:
		*target = text
	case *Bytes:
		return target.Set(text)
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("want a duration such as 500ms, 30s or 24h")
		}
		*target = d
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return errors.New("want a whole number")
		}
		*target = n
	case *float64:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || n != n {
			return errors.New("want a number")
		}
		*target = n
	default:
		panic("field " + f.name + " has a type without text form")
	}
	return nil
}

// Set, String and Type make a field a flag's value.
func (f *field) Set(text string) error { return f.set(text) }

func (f *field) String() string {
	if f == nil || !f.value.IsValid() {
		return ""
	}
	return fmt.Sprint(f.value.Interface())
}

func (f *field) Type() string {
	switch f.value.Interface().(type) {
	case Bytes:
		return "bytes"
	case time.Duration:
		return "duration"
	default:
		return f.value.Kind().String()
	}
}
