package kafka

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// IncrementalAlterConfigs (key 44), versions 0 to 1.
//
//	v1  flexible
//
// Each resource is altered as a whole or not at all.

const alterConfigsTimeout = 30 * time.Second

func handleIncrementalAlterConfigs(ctx context.Context, call *call, r *kmsg.IncrementalAlterConfigsRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, alterConfigsTimeout)
	defer cancel()
	response := kmsg.NewPtrIncrementalAlterConfigsResponse()
	times := make(map[resourceName]int, len(r.Resources))
	for i := range r.Resources {
		times[resourceName{r.Resources[i].ResourceType, r.Resources[i].ResourceName}]++
	}
	for i := range r.Resources {
		asked := &r.Resources[i]
		answer := kmsg.IncrementalAlterConfigsResponseResource{ResourceType: asked.ResourceType, ResourceName: asked.ResourceName}
		changes := make([]configChange, 0, len(asked.Configs))
		for j := range asked.Configs {
			c := &asked.Configs[j]
			changes = append(changes, configChange{name: c.Name, value: c.Value, op: c.Op})
		}
		alter := alteration{kind: asked.ResourceType, name: asked.ResourceName, changes: changes, validateOnly: r.ValidateOnly}
		if times[resourceName{asked.ResourceType, asked.ResourceName}] > 1 {
			answer.ErrorCode, answer.ErrorMessage = refusal(kerr.InvalidRequest, "Each resource must appear at most once.")
		} else {
			answer.ErrorCode, answer.ErrorMessage = alter.run(ctx, call)
		}
		response.Resources = append(response.Resources, answer)
	}
	return response, nil
}

// configEntry turns one change into what the state takes: it knows setting and unsetting.
func (c *call) configEntry(scope meta.Scope, name string, change *configChange) (*metapb.ConfigEntry, *kerr.Error, string) {
	if change.op == kmsg.IncrementalAlterConfigOpDelete {
		return &metapb.ConfigEntry{Name: change.name, Unset: true}, nil, ""
	}
	if change.value == nil {
		return nil, kerr.InvalidRequest, "Null value not supported for: " + change.name
	}
	switch change.op {
	case kmsg.IncrementalAlterConfigOpSet:
		if wrong := wrongForMetrics(scope, change); wrong != "" {
			return nil, kerr.InvalidRequest, wrong
		}
		return &metapb.ConfigEntry{Name: change.name, Value: *change.value}, nil, ""
	case kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract:
		def := meta.LookupConfig(scope, change.name)
		if def == nil || def.Type != meta.TypeList {
			return nil, kerr.InvalidConfig, fmt.Sprintf("Config value append or subtract is not allowed for config key: %s", change.name)
		}
		return &metapb.ConfigEntry{Name: change.name, Value: changeList(c.configValue(scope, name, change.name), change)}, nil, ""
	default: // as in Kafka, which looks the operation up and does not find it
		return nil, kerr.UnknownServerError, fmt.Sprintf("Unknown operation %d on config key: %s", change.op, change.name)
	}
}

// wrongForMetrics says what is wrong with a setting of client metrics for which Kafka has another code than for a value that cannot be read.
func wrongForMetrics(scope meta.Scope, change *configChange) string {
	if scope != meta.ScopeClientMetrics {
		return ""
	}
	def := meta.LookupConfig(scope, change.name)
	if def == nil {
		return "Unknown client metrics configuration: " + change.name
	}
	if _, err := strconv.ParseInt(strings.TrimSpace(*change.value), 10, 32); def.Type == meta.TypeInt && err == nil {
		if err := def.Validate(*change.value); err != nil {
			return err.Error()
		}
	}
	return ""
}

// configValue is the value in effect.
func (c *call) configValue(scope meta.Scope, resource, name string) (value string) {
	c.domain().Metadata.View(func(s *meta.State) {
		values, _ := s.DescribeConfig(scope, resource)
		for i := range values {
			if values[i].Name == name {
				value = values[i].Value
			}
		}
	})
	return value
}

// changeList appends items to a comma-separated list, or takes them out.
func changeList(list string, change *configChange) string {
	var items []string
	if list != "" {
		items = strings.Split(list, ",")
	}
	for item := range strings.SplitSeq(*change.value, ",") {
		at := slices.Index(items, item)
		switch {
		case change.op == kmsg.IncrementalAlterConfigOpAppend && at < 0:
			items = append(items, item)
		case change.op == kmsg.IncrementalAlterConfigOpSubtract && at >= 0:
			items = slices.Delete(items, at, at+1)
		}
	}
	return strings.Join(items, ",")
}

// alterConfig puts the change in the log, or only judges it.
func (c *call) alterConfig(ctx context.Context, command *metapb.AlterConfig, validateOnly bool) (int16, *string) {
	var verdict meta.Verdict
	if validateOnly {
		c.domain().Metadata.View(func(s *meta.State) { verdict = s.CheckAlterConfig(command) })
	} else {
		var err error
		if verdict, err = c.propose(ctx, &metapb.Command{Kind: &metapb.Command_AlterConfig{AlterConfig: command}}); err != nil {
			return refusal(proposalError(err, kerr.NotController), err.Error())
		}
	}
	e := codeError(verdict.Code)
	if e == kerr.InvalidConfig && meta.Scope(command.Resource) == meta.ScopeBroker {
		e = kerr.InvalidRequest // brokers answer so for themselves, and INVALID_CONFIG for all else
	}
	return refusal(e, verdict.Message)
}
