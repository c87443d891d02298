// Command awsschema writes the schema of the AWS provider, for the resource and
// data source types that a tree of .tf files names, from an npm package.
//
//	awsschema -package cdktf-provider-aws-21.22.1.tgz -out schema.json DIR...
package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"

	"github.com/varvelog/varve/terraform/schemacheck/cdktf"
	"github.com/varvelog/varve/terraform/schemacheck/schema"
)

func main() {
	tgz := flag.String("package", "", "the package @cdktf/provider-aws, as npm pack wrote it")
	out := flag.String("out", "schema.json", "file to write")
	flag.Parse()
	if err := run(*tgz, *out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "awsschema:", err)
		os.Exit(1)
	}
}

func run(tgz, out string, dirs []string) error {
	resources, data, err := typesIn(dirs)
	if err != nil {
		return err
	}
	p, err := cdktf.Read(tgz, resources, data)
	if err != nil {
		return err
	}
	if err := schema.Save(out, p); err != nil {
		return err
	}
	fmt.Printf("schema of %d resource and %d data source types\n", len(p.Resources), len(p.Data))
	return nil
}

var declared = regexp.MustCompile(`(?m)^\s*(resource|data)\s+"(aws_\w+)"`)

func typesIn(dirs []string) (resources, data []string, err error) {
	found := map[string]map[string]bool{"resource": {}, "data": {}}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".tf" {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
				found[m[1]][m[2]] = true
			}
			return err
		})
		if err != nil {
			return nil, nil, fmt.Errorf("find resource types in %s: %w", dir, err)
		}
	}
	return keys(found["resource"]), keys(found["data"]), nil
}

func keys(m map[string]bool) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
