package group

import (
	"regexp"
	"testing"
)

func TestAMemberIDIsTheClientsIDAndAUUID(t *testing.T) {
	form := regexp.MustCompile(`^client-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	if a, b := newMemberID("client"), newMemberID("client"); !form.MatchString(a) || a == b {
		t.Errorf("member ids %q and %q", a, b)
	}
}
