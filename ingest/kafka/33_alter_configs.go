package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/metapb"
)

// AlterConfigs (key 33), versions 0 to 2.
//
//	v1  same bytes; v2 flexible
//
// What is not named falls back to its default; IncrementalAlterConfigs (44) changes only what it names.

func handleAlterConfigs(ctx context.Context, call *call, r *kmsg.AlterConfigsRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, alterConfigsTimeout)
	defer cancel()
	response := kmsg.NewPtrAlterConfigsResponse()
	times := make(map[resourceName]int, len(r.Resources))
	for i := range r.Resources {
		times[resourceName{r.Resources[i].ResourceType, r.Resources[i].ResourceName}]++
	}
	for i := range r.Resources {
		asked := &r.Resources[i]
		answer := kmsg.AlterConfigsResponseResource{ResourceType: asked.ResourceType, ResourceName: asked.ResourceName}
		changes := make([]configChange, 0, len(asked.Configs))
		for j := range asked.Configs {
			changes = append(changes, configChange{name: asked.Configs[j].Name, value: asked.Configs[j].Value})
		}
		alter := alteration{kind: asked.ResourceType, name: asked.ResourceName, changes: changes, replace: true, validateOnly: r.ValidateOnly}
		if times[resourceName{asked.ResourceType, asked.ResourceName}] > 1 {
			answer.ErrorCode, answer.ErrorMessage = refusal(kerr.InvalidRequest, "Each resource must appear at most once.")
		} else {
			answer.ErrorCode, answer.ErrorMessage = alter.run(ctx, call)
		}
		response.Resources = append(response.Resources, answer)
	}
	return response, nil
}

// resourceName is one resource: a request that names it twice is not clear, and changes nothing of it.
type resourceName struct {
	kind kmsg.ConfigResourceType
	name string
}

// alteration changes the configuration of one resource, for both APIs that do.
type alteration struct {
	kind                  kmsg.ConfigResourceType
	name                  string
	changes               []configChange
	replace, validateOnly bool
}

type configChange struct {
	name  string
	value *string
	op    kmsg.IncrementalAlterConfigOp
}

func (a *alteration) run(ctx context.Context, call *call) (int16, *string) {
	switch {
	case a.kind == kmsg.ConfigResourceTypeBrokerLogger && !a.replace:
		return refusal(a.setLoggers(call))
	case a.kind == kmsg.ConfigResourceTypeTopic && a.name == "":
		return refusal(kerr.InvalidRequest, "Default topic resources are not allowed.")
	}
	scope, name, unnamed, message := call.configResource(a.kind, a.name)
	if unnamed != nil && a.kind != kmsg.ConfigResourceTypeTopic {
		return refusal(unnamed, message)
	}
	if e := call.mayConfigure(AlterConfigs, scope, name); e != nil && unnamed == nil {
		return refusal(e, "")
	}
	command := &metapb.AlterConfig{Resource: metapb.AlterConfig_Resource(scope), Name: name, Replace: a.replace}
	seen := make(map[string]bool, len(a.changes))
	for i := range a.changes {
		if seen[a.changes[i].name] {
			return refusal(kerr.InvalidRequest, "Error due to duplicate config keys: "+a.changes[i].name)
		}
		seen[a.changes[i].name] = true
		entry, e, message := call.configEntry(scope, name, &a.changes[i])
		if e != nil {
			return refusal(e, message)
		}
		command.Entries = append(command.Entries, entry)
	}
	if unnamed != nil { // what is to be done is judged before the topic's name is
		return refusal(unnamed, message)
	}
	return call.alterConfig(ctx, command, a.validateOnly)
}
