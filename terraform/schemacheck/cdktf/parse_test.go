package cdktf

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A resource as the generator writes it, cut down to one attribute of each kind.
const thing = `export function thingDiskToHclTerraform(struct?: ThingDiskOutputReference | ThingDisk): any {
  const attrs = {
    size_gib: {
      value: cdktf.numberToHclTerraform(struct!.sizeGib),
      isBlock: false,
      type: "simple",
      storageClassType: "number",
    },
  };
}

export class ThingDiskOutputReference extends cdktf.ComplexObject {
  // size_gib - computed: false, optional: false, required: true
  private _sizeGib?: number; 
  public get sizeGib() {
    return this.getNumberAttribute('size_gib');
  }
}

export class ThingPortOutputReference extends cdktf.ComplexObject {
  // number - computed: true, optional: false, required: false
  public get number() {
    return this.getNumberAttribute('number');
  }
}

export class Thing extends cdktf.TerraformResource {
  public static readonly tfResourceType = "aws_thing";
  public constructor(scope: Construct, id: string, config: ThingConfig = {}) {
    super(scope, id, {
      terraformGeneratorMetadata: {
        providerName: 'aws',
      },
      type: config.type,
    });
  }

  // arn - computed: true, optional: false, required: false
  public get arn() {
    return this.getStringAttribute('arn');
  }

  // name - computed: false, optional: false, required: true
  private _name?: string; 
  public get name() {
    return this.getStringAttribute('name');
  }

  // ports - computed: true, optional: false, required: false
  private _ports = new ThingPortList(this, "ports", true);
  public get ports() {
    return this._ports;
  }

  // tags - computed: false, optional: true, required: false
  private _tags?: { [key: string]: string }; 

  // disk - computed: false, optional: true, required: false
  private _disk = new ThingDiskOutputReference(this, "disk");

  // =========
  // SYNTHESIS
  // =========

  protected synthesizeHclAttributes(): { [name: string]: any } {
    const attrs = {
      name: {
        value: cdktf.stringToHclTerraform(this._name),
        isBlock: false,
        type: "simple",
        storageClassType: "string",
      },
      tags: {
        value: cdktf.hashMapperHcl(cdktf.stringToHclTerraform)(this._tags),
        isBlock: false,
        type: "map",
        storageClassType: "stringMap",
      },
      disk: {
        value: thingDiskToHclTerraform(this._disk.internalValue),
        isBlock: true,
        type: "list",
        storageClassType: "ThingDiskList",
      },
    };
  }
}
`

const thingSchema = `{"attributes":{` +
	`"arn":{"type":"string","computed":true},` +
	`"name":{"type":"string","required":true},` +
	`"ports":{"type":["set",["object",{"number":"number"}]],"computed":true},` +
	`"tags":{"type":["map","string"],"optional":true}},` +
	`"block_types":{"disk":{"nesting_mode":"list","block":{"attributes":{"size_gib":{"type":"number","required":true}}},"max_items":1}}}`

func TestParseRecoversTheSchema(t *testing.T) {
	d, err := parse(thing)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(d.block)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != thingSchema || d.typeName != "aws_thing" {
		t.Errorf("schema of %q is\n%s\nexpected\n%s", d.typeName, got, thingSchema)
	}
}

func TestReadNeedsTheProvidersOwnSchema(t *testing.T) {
	tgz := packed(t, "package/lib/thing/index.js", thing)
	if _, err := Read(tgz, []string{"aws_thing"}, nil); err == nil || !strings.Contains(err.Error(), "provider") {
		t.Errorf("read of a package with no provider: %v", err)
	}
}

func TestReadNamesTheTypeThatIsMissing(t *testing.T) {
	provider := "export class AwsProvider extends cdktf.TerraformProvider {\n}\n"
	tgz := packed(t, "package/lib/provider/index.js", provider)
	if _, err := Read(tgz, []string{"aws_thnig"}, nil); err == nil || !strings.Contains(err.Error(), `"aws_thnig"`) {
		t.Errorf("read of a type that is not there: %v", err)
	}
	if _, err := Read(tgz, nil, nil); err != nil {
		t.Errorf("read of the provider alone: %v", err)
	}
}

func TestSourceNeedsASourceMap(t *testing.T) {
	if _, err := source(strings.NewReader("class Thing {}\n")); err == nil {
		t.Error("a file with no source map was read")
	}
}

// packed writes an npm package with one file, whose source map carries src.
func packed(t *testing.T, name, src string) string {
	t.Helper()
	sourceMap, err := json.Marshal(map[string]any{"version": 3, "sourcesContent": []string{src}})
	if err != nil {
		t.Fatal(err)
	}
	body := "\"use strict\";\n//# sourceMappingURL=data:application/json;base64," + base64.StdEncoding.EncodeToString(sourceMap)
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(body))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "package.tgz")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
