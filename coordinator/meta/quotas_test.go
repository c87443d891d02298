package meta

import (
	"testing"

	"github.com/varvelog/varve/coordinator/metapb"
)

func named(name string) QuotaName { return QuotaName{QuotaNamed, name} }

func TestQuotaEntitiesHaveOneName(t *testing.T) {
	everybody := QuotaName{Kind: QuotaDefault}
	for _, e := range []QuotaEntity{
		{User: named("alice")}, {User: everybody}, {ClientID: named("a/b:*")}, {User: named("*"), ClientID: everybody}, {IP: named("::1")}, {User: named("ü %")},
	} {
		got, err := ParseQuotaEntity(e.String())
		if err != nil || got != e {
			t.Errorf("%q reads as %+v, %v", e.String(), got, err)
		}
	}
	for _, text := range []string{"", "user", "user/x", "group/:x", "client-id/:a/user/:b", "user/:a/user/:b", "user/:%zz"} {
		if e, err := ParseQuotaEntity(text); err == nil && e != (QuotaEntity{}) {
			t.Errorf("%q reads as %+v", text, e)
		}
	}
}

func TestTheMostSpecificQuotaCounts(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	everybody := QuotaName{Kind: QuotaDefault}
	set := func(e QuotaEntity, value string) {
		t.Helper()
		if v := l.do(&metapb.AlterConfig{Resource: metapb.AlterConfig_CLIENT_QUOTA, Name: e.String(), Entries: []*metapb.ConfigEntry{{Name: ProducerByteRate, Value: value}}}); v.Code != OK {
			t.Fatal(v.Message)
		}
	}
	// From the least specific to the most: each takes over from the one before.
	for i, e := range []QuotaEntity{
		{ClientID: everybody}, {ClientID: named("app")}, {User: everybody}, {User: everybody, ClientID: everybody}, {User: everybody, ClientID: named("app")},
		{User: named("alice")}, {User: named("alice"), ClientID: everybody}, {User: named("alice"), ClientID: named("app")},
	} {
		set(e, string(rune('1'+i)))
		got, on, ok := l.s.ClientQuotas().Lookup(ProducerByteRate, "alice", "app")
		if !ok || got != float64(i+1) || on != e {
			t.Errorf("with %s set: %v on %s", e, got, on)
		}
	}
	if _, _, ok := l.s.ClientQuotas().Lookup(ConsumerByteRate, "alice", "app"); ok {
		t.Error("a quota that was not set is there")
	}
}

func TestQuotasAndANodesSettingsSurviveASnapshot(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	entity := QuotaEntity{IP: named("10.0.0.1")}
	l.do(&metapb.AlterConfig{Resource: metapb.AlterConfig_CLIENT_QUOTA, Name: entity.String(), Entries: []*metapb.ConfigEntry{{Name: ConnectionCreationRate, Value: "7"}}})
	l.do(&metapb.AlterConfig{Resource: metapb.AlterConfig_BROKER, Name: "1", Entries: []*metapb.ConfigEntry{{Name: MaxConnections, Value: "9"}}})
	var parts [][]byte
	if err := l.s.WriteSnapshot(func(part []byte) error {
		parts = append(parts, part)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	restored, err := ReadSnapshot(func(yield func([]byte, error) bool) {
		for _, part := range parts {
			if !yield(part, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if rate, ok := restored.ClientQuotas().LookupIP("10.0.0.1"); !ok || rate != 7 {
		t.Errorf("quota %v, %v", rate, ok)
	}
	if own, other := restored.NodeNumber("1", MaxConnections), restored.NodeNumber("2", MaxConnections); own != 9 || other != 2147483647 {
		t.Errorf("node 1 has %d, node 2 %d", own, other)
	}
	if restored.Hash() != l.s.Hash() {
		t.Error("the states differ")
	}
}
