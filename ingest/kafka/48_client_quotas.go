package kafka

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// DescribeClientQuotas (key 48) and AlterClientQuotas (key 49), versions 0 to 1 (KIP-546).
//
//	v1  flexible
//
// quota.go says how quotas are kept to.

// The types of an entity's components.
const (
	quotaUser     = "user"
	quotaClientID = "client-id"
	quotaIP       = "ip"
)

func handleDescribeClientQuotas(_ context.Context, call *call, r *kmsg.DescribeClientQuotasRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrDescribeClientQuotasResponse()
	refuse := func(e *kerr.Error, message string) (kmsg.Response, error) {
		response.ErrorCode, response.ErrorMessage = refusal(e, message)
		response.Entries = nil
		return response, nil
	}
	if e := call.mayCluster(DescribeConfigs); e != nil {
		return refuse(e, "")
	}
	if e, message := checkQuotaFilter(r.Components); e != nil {
		return refuse(e, message)
	}
	var quotas *meta.ClientQuotas
	call.domain().Metadata.View(func(s *meta.State) { quotas = s.ClientQuotas() })
	response.Entries, response.ErrorMessage = []kmsg.DescribeClientQuotasResponseEntry{}, kmsg.StringPtr("")
	for _, q := range quotas.All() {
		if !matchesQuota(q.Entity, r) {
			continue
		}
		entry := kmsg.DescribeClientQuotasResponseEntry{}
		for _, component := range quotaComponents(q.Entity) {
			entry.Entity = append(entry.Entity, kmsg.DescribeClientQuotasResponseEntryEntity{Type: component.kind, Name: nameOfQuota(component.name)})
		}
		for _, key := range sortedKeys(q.Values) {
			entry.Values = append(entry.Values, kmsg.DescribeClientQuotasResponseEntryValue{Key: key, Value: q.Values[key]})
		}
		response.Entries = append(response.Entries, entry)
	}
	return response, nil
}

func sortedKeys(m map[string]float64) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func checkQuotaFilter(components []kmsg.DescribeClientQuotasRequestComponent) (*kerr.Error, string) {
	seen := map[string]bool{}
	for i := range components {
		c := &components[i]
		switch {
		case c.EntityType == "":
			return kerr.InvalidRequest, "Unexpected empty filter component entity type."
		case seen[c.EntityType]:
			return kerr.InvalidRequest, "Entity type " + c.EntityType + " cannot appear more than once in the filter."
		case c.EntityType != quotaUser && c.EntityType != quotaClientID && c.EntityType != quotaIP:
			return kerr.UnsupportedVersion, "Unsupported entity type " + c.EntityType
		case c.MatchType == kmsg.QuotasMatchTypeExact && c.Match == nil:
			return kerr.InvalidRequest, "Request specified MATCH_TYPE_EXACT, but set match string to null."
		case c.MatchType != kmsg.QuotasMatchTypeExact && c.Match != nil:
			return kerr.InvalidRequest, "Request specified a match string that its match type does not take."
		case c.MatchType < kmsg.QuotasMatchTypeExact || c.MatchType > kmsg.QuotasMatchTypeAny:
			return kerr.InvalidRequest, fmt.Sprintf("Unknown match type %d", c.MatchType)
		}
		seen[c.EntityType] = true
	}
	if seen[quotaIP] && (seen[quotaUser] || seen[quotaClientID]) {
		return kerr.InvalidRequest, "Invalid entity filter component combination, IP filter component should not be used with user or clientId filter component."
	}
	return nil, ""
}

type quotaComponent struct {
	kind string
	name meta.QuotaName
}

// quotaComponents are the components that are part of an entity.
func quotaComponents(e meta.QuotaEntity) (components []quotaComponent) {
	for _, c := range []quotaComponent{{quotaUser, e.User}, {quotaClientID, e.ClientID}, {quotaIP, e.IP}} {
		if c.name.Kind != meta.QuotaAbsent {
			components = append(components, c)
		}
	}
	return components
}

func nameOfQuota(n meta.QuotaName) *string {
	if n.Kind == meta.QuotaNamed {
		return &n.Name
	}
	return nil
}

// matchesQuota: each component of the filter must be matched; strict, too, that the entity has no others.
func matchesQuota(e meta.QuotaEntity, r *kmsg.DescribeClientQuotasRequest) bool {
	components := quotaComponents(e)
	if r.Strict && len(components) != len(r.Components) {
		return false
	}
	for i := range r.Components {
		asked := &r.Components[i]
		at := slices.IndexFunc(components, func(c quotaComponent) bool { return c.kind == asked.EntityType })
		if at < 0 {
			return false
		}
		name := components[at].name
		if asked.MatchType == kmsg.QuotasMatchTypeExact && (name.Kind != meta.QuotaNamed || name.Name != *asked.Match) ||
			asked.MatchType == kmsg.QuotasMatchTypeDefault && name.Kind != meta.QuotaDefault {
			return false
		}
	}
	return true
}

func handleAlterClientQuotas(ctx context.Context, call *call, r *kmsg.AlterClientQuotasRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, alterConfigsTimeout)
	defer cancel()
	response := kmsg.NewPtrAlterClientQuotasResponse()
	denied := call.mayCluster(AlterConfigs)
	for i := range r.Entries {
		asked := &r.Entries[i]
		answer := kmsg.AlterClientQuotasResponseEntry{}
		for _, component := range asked.Entity {
			answer.Entity = append(answer.Entity, kmsg.AlterClientQuotasResponseEntryEntity(component))
		}
		if denied != nil {
			answer.ErrorCode, answer.ErrorMessage = refusal(denied, "")
		} else {
			answer.ErrorCode, answer.ErrorMessage = alterQuota(ctx, call, asked, r.ValidateOnly)
		}
		response.Entries = append(response.Entries, answer)
	}
	if !r.ValidateOnly {
		call.server().quotas.stale()
	}
	return response, nil
}

func alterQuota(ctx context.Context, call *call, asked *kmsg.AlterClientQuotasRequestEntry, validateOnly bool) (int16, *string) {
	entity, message := quotaEntity(asked.Entity)
	if message != "" {
		return refusal(kerr.InvalidRequest, message)
	}
	command := &metapb.AlterConfig{Resource: metapb.AlterConfig_CLIENT_QUOTA, Name: entity.String()}
	seen := map[string]bool{}
	for _, op := range asked.Ops {
		if seen[op.Key] {
			return refusal(kerr.InvalidRequest, "Quota "+op.Key+" is altered more than once.")
		}
		seen[op.Key] = true
		entry := &metapb.ConfigEntry{Name: op.Key, Unset: op.Remove}
		if !op.Remove {
			entry.Value = strconv.FormatFloat(op.Value, 'g', -1, 64)
		}
		command.Entries = append(command.Entries, entry)
	}
	code, text := call.alterConfig(ctx, command, validateOnly)
	if code == kerr.InvalidConfig.Code {
		code = kerr.InvalidRequest.Code // what is wrong with a quota is wrong with the request
	}
	return code, text
}

// quotaEntity reads an entity; message says what is wrong with it.
func quotaEntity(components []kmsg.AlterClientQuotasRequestEntryEntity) (e meta.QuotaEntity, message string) {
	for _, c := range components {
		name := meta.QuotaName{Kind: meta.QuotaDefault}
		if c.Name != nil {
			name = meta.QuotaName{Kind: meta.QuotaNamed, Name: *c.Name}
		}
		var into *meta.QuotaName
		switch c.Type {
		case quotaUser:
			into = &e.User
		case quotaClientID:
			into = &e.ClientID
		case quotaIP:
			into = &e.IP
		default:
			return e, "Unhandled client quota entity type: " + c.Type
		}
		switch {
		case into.Kind != meta.QuotaAbsent:
			return e, "Entity type " + c.Type + " cannot appear more than once."
		case c.Name != nil && *c.Name == "":
			return e, "Empty " + c.Type + " not supported"
		}
		*into = name
	}
	return e, ""
}
