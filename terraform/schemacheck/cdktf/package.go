package cdktf

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/varvelog/varve/terraform/schemacheck/schema"
)

// maxFileBytes bounds one index.js; the largest of the package is below 40 MiB.
const maxFileBytes = 128 << 20

// Read returns the provider's own configuration schema and those of the named
// resource and data source types, out of the package's .tgz. A type that the
// package lacks is an error: the configuration that names it would not load.
func Read(tgz string, resources, data []string) (schema.Provider, error) {
	wanted := map[string]string{"provider": ""}
	for _, t := range resources {
		wanted[folder(t)] = t
	}
	for _, t := range data {
		wanted["data-aws-"+folder(t)] = t
	}
	out := schema.Provider{Resources: map[string]schema.Schema{}, Data: map[string]schema.Schema{}}
	err := eachIndex(tgz, func(dir string, r io.Reader) error {
		if _, ok := wanted[dir]; !ok {
			return nil
		}
		src, err := source(r)
		if err != nil {
			return fmt.Errorf("read source of %s: %w", dir, err)
		}
		d, err := parse(src)
		if err != nil {
			return fmt.Errorf("parse %s: %w", dir, err)
		}
		if want := wanted[dir]; want != "" && d.typeName != want {
			return fmt.Errorf("parse %s: it declares %q, expected %q", dir, d.typeName, want)
		}
		delete(wanted, dir)
		switch d.kind {
		case kindProvider:
			out.Config = schema.Schema{Block: d.block}
		case kindData:
			out.Data[d.typeName] = schema.Schema{Block: d.block}
		default:
			out.Resources[d.typeName] = schema.Schema{Block: d.block}
		}
		return nil
	})
	if err != nil {
		return schema.Provider{}, err
	}
	for dir, t := range wanted {
		return schema.Provider{}, fmt.Errorf("find type %q: the package has no folder %s", t, dir)
	}
	return out, nil
}

func folder(typeName string) string {
	return strings.ReplaceAll(strings.TrimPrefix(typeName, "aws_"), "_", "-")
}

// eachIndex calls f for every package/lib/<dir>/index.js of the archive.
func eachIndex(tgz string, f func(dir string, r io.Reader) error) (err error) {
	file, err := os.Open(tgz)
	if err != nil {
		return fmt.Errorf("open package: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	z, err := gzip.NewReader(file)
	if err != nil {
		return fmt.Errorf("open package %s: %w", tgz, err)
	}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read package %s: %w", tgz, err)
		}
		dir, base := path.Split(h.Name)
		dir = strings.TrimSuffix(dir, "/")
		if base != "index.js" || path.Dir(dir) != "package/lib" {
			continue
		}
		if err := f(path.Base(dir), io.LimitReader(t, maxFileBytes)); err != nil {
			return err
		}
	}
}

// source returns the TypeScript that a compiled file's inline source map carries.
func source(r io.Reader) (string, error) {
	const mark = "//# sourceMappingURL="
	br := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := br.ReadString('\n')
		if strings.HasPrefix(line, mark) {
			_, coded, ok := strings.Cut(line, "base64,")
			if !ok {
				return "", errors.New("its source map is not inline")
			}
			return decodeMap(strings.TrimSpace(coded))
		}
		if errors.Is(err, io.EOF) {
			return "", errors.New("it has no source map")
		}
		if err != nil {
			return "", err
		}
	}
}

func decodeMap(coded string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(coded)
	if err != nil {
		return "", fmt.Errorf("decode source map: %w", err)
	}
	var m struct {
		SourcesContent []string `json:"sourcesContent"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return "", fmt.Errorf("parse source map: %w", err)
	}
	if len(m.SourcesContent) != 1 {
		return "", fmt.Errorf("parse source map: %d sources, expected one", len(m.SourcesContent))
	}
	return m.SourcesContent[0], nil
}
