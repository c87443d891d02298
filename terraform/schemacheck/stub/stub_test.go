package stub

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/varvelog/varve/terraform/schemacheck/schema"
)

func TestCheckRefusesWhatAWSWould(t *testing.T) {
	for _, c := range []struct {
		typeName, attribute, value, refusal string
	}{
		{"aws_iam_role_policy", "policy", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject"]}]}`, ""},
		{"aws_iam_role_policy", "policy", `Allow`, "not a JSON policy"},
		{"aws_iam_role_policy", "policy", `{"Statement":[]}`, "version"},
		{"aws_iam_role_policy", "policy", `{"Version":"2012-10-17","Statement":[{"Effect":"allow","Action":"s3:*"}]}`, "effect"},
		{"aws_iam_role", "assume_role_policy", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow"}]}`, "no action"},
		{"aws_instance", "user_data", strings.Repeat("x", maxUserDataBytes), ""},
		{"aws_instance", "user_data", strings.Repeat("x", maxUserDataBytes+1), "16384"},
		{"aws_launch_template", "user_data", "#!/bin/bash", "not base64"},
		{"aws_launch_template", "user_data", base64.StdEncoding.EncodeToString([]byte("#!/bin/bash")), ""},
		{"aws_subnet", "cidr_block", "10.0.0.0/24", ""},
		{"aws_subnet", "cidr_block", "10.0.0.1/24", "not canonical"},
		{"aws_subnet", "cidr_block", "everywhere", "not a network block"},
	} {
		object := tftypes.Object{AttributeTypes: map[string]tftypes.Type{c.attribute: tftypes.String}}
		found := check(c.typeName, tftypes.NewValue(object, map[string]tftypes.Value{c.attribute: tftypes.NewValue(tftypes.String, c.value)}))
		switch {
		case c.refusal == "" && len(found) > 0:
			t.Errorf("%s %s: refused: %s", c.typeName, c.attribute, found[0].Summary)
		case c.refusal != "" && (len(found) != 1 || !strings.Contains(found[0].Summary, c.refusal)):
			t.Errorf("%s %s %.40q: expected a refusal with %q, found %v", c.typeName, c.attribute, c.value, c.refusal, found)
		}
	}
}

// A group with a name and a computed id.
var group = schema.Provider{Resources: map[string]schema.Schema{"aws_group": {Block: schema.Block{Attributes: map[string]schema.Attribute{
	"name": {Type: json.RawMessage(`"string"`), Required: true},
	"id":   {Type: json.RawMessage(`"string"`), Computed: true},
}}}}}

func TestPlanLeavesComputedValuesUnknownUnlessToldOtherwise(t *testing.T) {
	if id := plannedID(t, false, "a"); id.IsKnown() {
		t.Errorf("planned id is %v, expected unknown", id)
	}
	a, b := plannedID(t, true, "a"), plannedID(t, true, "b")
	if !a.IsKnown() || a.Equal(b) {
		t.Errorf("invented ids are %v and %v, expected two different ones", a, b)
	}
}

func plannedID(t *testing.T, known bool, name string) tftypes.Value {
	t.Helper()
	s, err := newServer(group, known)
	if err != nil {
		t.Fatal(err)
	}
	typ := s.types["aws_group"]
	proposed, err := tfprotov5.NewDynamicValue(typ, tftypes.NewValue(typ, map[string]tftypes.Value{
		"name": tftypes.NewValue(tftypes.String, name),
		"id":   tftypes.NewValue(tftypes.String, nil),
	}))
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.PlanResourceChange(t.Context(), &tfprotov5.PlanResourceChangeRequest{TypeName: "aws_group", ProposedNewState: &proposed})
	if err != nil {
		t.Fatal(err)
	}
	planned, err := r.PlannedState.Unmarshal(typ)
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]tftypes.Value{}
	if err := planned.As(&fields); err != nil {
		t.Fatal(err)
	}
	return fields["id"]
}
