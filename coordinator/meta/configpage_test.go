package meta

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var updateDocs = flag.Bool("update-docs", false, "write docs/configuration.md anew")

// kafkaConfig is a setting of Apache Kafka, of testdata.
type kafkaConfig struct{ scope, name, kind, value string }

func kafkaConfigs(t *testing.T) (all []kafkaConfig) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "kafka-4.1-configs.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(fields) != 4 {
			t.Fatalf("line %q has %d fields", line, len(fields))
		}
		all = append(all, kafkaConfig{fields[0], fields[1], fields[2], fields[3]})
	}
	return all
}

var scopesByName = map[string]Scope{"topic": ScopeTopic, "broker": ScopeBroker, "group": ScopeGroup, "client-metrics": ScopeClientMetrics}

func TestEveryKafkaConfigIsAccountedFor(t *testing.T) {
	kinds := map[ConfigType]string{
		TypeBoolean: "BOOLEAN", TypeString: "STRING", TypeInt: "INT", TypeShort: "SHORT", TypeLong: "LONG", TypeDouble: "DOUBLE", TypeList: "LIST",
	}
	for _, k := range kafkaConfigs(t) {
		scope := scopesByName[k.scope]
		d := LookupConfig(scope, k.name)
		if d == nil {
			if scope == ScopeTopic || scope == ScopeBroker && WhyRefused(scope, k.name) == "" {
				t.Errorf("%s %s of Kafka is neither defined nor refused", k.scope, k.name)
			}
			continue
		}
		if kinds[d.Type] != k.kind {
			t.Errorf("%s %s is a %s in Kafka, not a %s", k.scope, k.name, k.kind, kinds[d.Type])
		}
	}
}

func TestWhatIsRefusedIsKafkas(t *testing.T) {
	known := map[string]bool{}
	for _, k := range kafkaConfigs(t) {
		known[k.scope+" "+k.name] = true
	}
	for name := range refusedByName {
		if !known["broker "+name] {
			t.Errorf("%s is no setting of Kafka's", name)
		}
	}
	for key := range configDefByName {
		if !strings.HasPrefix(key.name, "varve.") && !known[key.scope.String()+" "+key.name] {
			t.Errorf("%s %s is no setting of Kafka's, and has no prefix varve.", key.scope, key.name)
		}
	}
}

// TestConfigurationPage holds docs/configuration.md to the table. Run with -update-docs to write it anew.
func TestConfigurationPage(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "configuration.md")
	want := configurationPage(kafkaConfigs(t))
	if *updateDocs {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/configuration.md is not what the table says: go test ./coordinator/meta -run TestConfigurationPage -update-docs")
	}
}

func configurationPage(kafka []kafkaConfig) []byte {
	var b bytes.Buffer
	b.WriteString(`# Configuration that clients can set and see

Generated from the table in ` + "`coordinator/meta`" + `; a test holds this page to it. Kafka's tools (kafka-configs, kafka-topics) and the admin APIs
set and show these. What a node is given on its command line stands in ` + "`varve serve --help`" + `.

| word | meaning |
|---|---|
| honoured | does what it does in Kafka |
| met | every value that Kafka takes can be set: what it asks for holds whatever it is, for the reason given |
| fixed | has one value here, which is shown; another is refused with the reason |
| refused | means nothing here; it is not shown, and setting it is refused with the reason |

Nothing is stored and then ignored. A default that is not Kafka's stands in bold, with Kafka's behind it.
`)
	for _, section := range []struct {
		scope Scope
		title string
	}{{ScopeTopic, "Topics"}, {ScopeBroker, "Brokers"}, {ScopeGroup, "Groups"}, {ScopeClientMetrics, "Client metrics"}} {
		fmt.Fprintf(&b, "\n## %s\n| setting | default | Varve | |\n|---|---|---|---|\n", section.title)
		values := map[string]string{}
		names := []string{}
		for _, k := range kafka {
			if scopesByName[k.scope] == section.scope {
				values[k.name] = k.value
				names = append(names, k.name)
			}
		}
		for _, d := range ConfigDefs(section.scope) {
			if _, known := values[d.Name]; !known {
				names = append(names, d.Name)
			}
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			pageRow(&b, section.scope, name, values)
		}
	}
	return b.Bytes()
}

func pageRow(b *bytes.Buffer, scope Scope, name string, kafka map[string]string) {
	cell := func(value string) string {
		if value == "" {
			return ""
		}
		return "`" + value + "`"
	}
	d := LookupConfig(scope, name)
	value, known := kafka[name]
	if d == nil {
		why := WhyRefused(scope, name)
		if why == "" {
			why = "not a setting of Varve yet"
		}
		fmt.Fprintf(b, "| %s | %s | refused | %s |\n", name, cell(value), sentence(why))
		return
	}
	word := "honoured"
	if d.Met {
		word = "met"
	} else if d.only || d.ReadOnly || len(d.allowed) == 1 || (d.min == d.max && d.min != 0) {
		word = "fixed"
	}
	shown := cell(d.Default)
	if d.Unset {
		shown = strings.TrimSuffix(fmt.Sprintf("`null`, which is %s", shown), ", which is ")
	} else if known && value != d.Default {
		shown = strings.TrimSpace(fmt.Sprintf("**%s** (Kafka: %s)", shown, cell(value)))
	}
	if d.PerBroker {
		word += ", on one node too"
	}
	fmt.Fprintf(b, "| %s | %s | %s | %s |\n", name, shown, word, strings.ReplaceAll(d.Doc, "|", "\\|"))
}
