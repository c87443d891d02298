package stub

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// maxUserDataBytes is EC2's limit on user data before base64.
const maxUserDataBytes = 16 << 10

// check returns what AWS would refuse in v and the schema cannot say. Unknown
// values pass.
func check(typeName string, v tftypes.Value) []*tfprotov5.Diagnostic {
	var found []*tfprotov5.Diagnostic
	err := tftypes.Walk(v, func(path *tftypes.AttributePath, v tftypes.Value) (bool, error) {
		if !v.IsKnown() || v.IsNull() || !v.Type().Is(tftypes.String) {
			return true, nil
		}
		var s string
		if err := v.As(&s); err != nil {
			return false, err
		}
		if err := checkString(typeName, attributeName(path), s); err != nil {
			found = append(found, &tfprotov5.Diagnostic{
				Severity: tfprotov5.DiagnosticSeverityError, Summary: err.Error(), Attribute: path,
			})
		}
		return true, nil
	})
	if err != nil {
		found = append(found, &tfprotov5.Diagnostic{Severity: tfprotov5.DiagnosticSeverityError, Summary: err.Error()})
	}
	return found
}

func checkString(typeName, name, s string) error {
	switch {
	case name == "policy" || name == "assume_role_policy":
		return checkPolicy(s)
	case name == "user_data_base64", name == "user_data" && typeName == "aws_launch_template":
		raw, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return fmt.Errorf("%s is not base64: %w", name, err)
		}
		return checkUserData(name, len(raw))
	case name == "user_data":
		return checkUserData(name, len(s))
	case name == "cidr_block" || name == "cidr_ipv4":
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return fmt.Errorf("%s is not a network block: %w", name, err)
		}
		if p != p.Masked() {
			return fmt.Errorf("%s %s is not canonical: its network is %s", name, s, p.Masked())
		}
	}
	return nil
}

func checkUserData(name string, sizeBytes int) error {
	if sizeBytes > maxUserDataBytes {
		return fmt.Errorf("%s has %d bytes, EC2 takes %d", name, sizeBytes, maxUserDataBytes)
	}
	return nil
}

func checkPolicy(s string) error {
	var p struct {
		Version   string
		Statement []struct {
			Effect    string
			Action    any
			NotAction any
		}
	}
	d := json.NewDecoder(strings.NewReader(s))
	if err := d.Decode(&p); err != nil {
		return fmt.Errorf("policy is not a JSON policy: %w", err)
	}
	if p.Version != "2012-10-17" {
		return fmt.Errorf("policy has version %q, expected 2012-10-17", p.Version)
	}
	for i, st := range p.Statement {
		if st.Effect != "Allow" && st.Effect != "Deny" {
			return fmt.Errorf("policy statement %d has effect %q", i, st.Effect)
		}
		if st.Action == nil && st.NotAction == nil {
			return fmt.Errorf("policy statement %d has no action", i)
		}
	}
	return nil
}
