package kafka

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

// DescribeConfigs (key 32), versions 1 to 4.
//
//	v1  synonyms and sources; v3 types and documentation (KIP-569); v4 flexible
//
// A broker by id has its own values, else the cluster's; the default entity ("") only those that were set.

func handleDescribeConfigs(_ context.Context, call *call, r *kmsg.DescribeConfigsRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrDescribeConfigsResponse()
	for i := range r.Resources {
		response.Resources = append(response.Resources, describeConfigs(call, r, &r.Resources[i]))
	}
	return response, nil
}

func describeConfigs(call *call, r *kmsg.DescribeConfigsRequest, asked *kmsg.DescribeConfigsRequestResource) kmsg.DescribeConfigsResponseResource {
	answer := kmsg.DescribeConfigsResponseResource{ResourceType: asked.ResourceType, ResourceName: asked.ResourceName}
	if asked.ResourceType == kmsg.ConfigResourceTypeBrokerLogger {
		describeLoggers(call, asked, &answer)
		return answer
	}
	scope, name, e, message := call.configResource(asked.ResourceType, asked.ResourceName)
	if e != nil {
		answer.ErrorCode, answer.ErrorMessage = refusal(e, message)
		return answer
	}
	if e := call.mayConfigure(DescribeConfigs, scope, name); e != nil {
		answer.ErrorCode, answer.ErrorMessage = refusal(e, "")
		return answer
	}
	answer.ErrorMessage = kmsg.StringPtr("") // as Kafka tells of no error
	call.domain().Metadata.View(func(s *meta.State) {
		values, known := s.DescribeConfig(scope, name)
		if !known {
			answer.ErrorCode, answer.ErrorMessage = refusal(kerr.UnknownTopicOrPartition, "")
			return
		}
		for i := range values {
			v := &values[i]
			if scope == meta.ScopeBroker && name == strconv.Itoa(int(call.server().config.NodeID)) {
				startedWith(v, call.server().config.Static)
			}
			if len(asked.ConfigNames) > 0 && !slices.Contains(asked.ConfigNames, v.Name) {
				continue
			}
			if scope == meta.ScopeBroker && asked.ResourceName == "" && v.Source == meta.SourceDefault {
				continue
			}
			answer.Configs = append(answer.Configs, describeConfig(r, v))
		}
		if scope == meta.ScopeBroker && asked.ResourceName != "" {
			answer.Configs = append(answer.Configs, call.staticConfigs(s, r, asked)...)
		}
	})
	return answer
}

// startedWith puts what the node was given when it started behind what administrators have set, and in front of the default.
func startedWith(v *meta.ConfigValue, static map[string]string) {
	value, given := static[v.Name]
	if !given {
		return
	}
	at := len(v.Synonyms)
	if at > 0 && v.Synonyms[at-1].Source == meta.SourceDefault {
		at--
	}
	v.Synonyms = slices.Insert(v.Synonyms, at, meta.ConfigSynonym{Name: v.Name, Value: value, Source: meta.SourceStatic})
	v.Value, v.Source, v.Null = v.Synonyms[0].Value, v.Synonyms[0].Source, false
}

func describeConfig(r *kmsg.DescribeConfigsRequest, v *meta.ConfigValue) kmsg.DescribeConfigsResponseResourceConfig {
	c := kmsg.NewDescribeConfigsResponseResourceConfig()
	c.Name, c.Value, c.ReadOnly = v.Name, shownValue(v), v.Def.ReadOnly
	c.Source, c.IsDefault = kmsg.ConfigSource(v.Source), v.Source == meta.SourceDefault
	c.ConfigType = kmsg.ConfigType(v.Def.Type)
	if r.IncludeDocumentation {
		c.Documentation = kmsg.StringPtr(v.Def.Doc)
	}
	if r.IncludeSynonyms {
		for _, s := range v.Synonyms {
			c.ConfigSynonyms = append(c.ConfigSynonyms, kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{
				Name: s.Name, Value: kmsg.StringPtr(s.Value), Source: kmsg.ConfigSource(s.Source),
			})
		}
	}
	return c
}

func shownValue(v *meta.ConfigValue) *string {
	if v.Null {
		return nil
	}
	return kmsg.StringPtr(v.Value)
}

// configResource turns Kafka's resource into the state's.
func (c *call) configResource(kind kmsg.ConfigResourceType, name string) (meta.Scope, string, *kerr.Error, string) {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		if wrong := meta.ValidTopicName(name); wrong != "" {
			return 0, "", kerr.InvalidTopicException, "Topic name is invalid: " + wrong
		}
		return meta.ScopeTopic, name, nil, ""
	case kmsg.ConfigResourceTypeBroker:
		if name != "" && !c.isNode(name) {
			return 0, "", kerr.InvalidRequest, fmt.Sprintf("Unexpected broker id %q.", name)
		}
		return meta.ScopeBroker, name, nil, ""
	case kmsg.ConfigResourceTypeGroupConfig:
		if name == "" {
			return 0, "", kerr.InvalidRequest, "Group name must not be empty"
		}
		return meta.ScopeGroup, name, nil, ""
	case kmsg.ConfigResourceTypeClientMetrics:
		if name == "" {
			return 0, "", kerr.InvalidRequest, "Default client metrics resources are not allowed."
		}
		return meta.ScopeClientMetrics, name, nil, ""
	default:
		return 0, "", kerr.InvalidRequest, fmt.Sprintf("Unsupported resource type %d.", kind)
	}
}

func (c *call) isNode(name string) bool {
	_, named := c.brokers()
	return slices.ContainsFunc(named, func(n node) bool { return fmt.Sprint(n.id) == name })
}

// staticConfigs are what a node was given when it started, as far as the others know it.
func (c *call) staticConfigs(s *meta.State, r *kmsg.DescribeConfigsRequest, asked *kmsg.DescribeConfigsRequestResource) (static []kmsg.DescribeConfigsResponseResourceConfig) {
	add := func(name, value, doc string, kind meta.ConfigType, behind ...meta.ConfigSynonym) {
		if len(asked.ConfigNames) == 0 || slices.Contains(asked.ConfigNames, name) {
			static = append(static, describeConfig(r, &meta.ConfigValue{
				Def: &meta.ConfigDef{Name: name, Type: kind, ReadOnly: true, Doc: doc}, Name: name, Value: value, Source: meta.SourceStatic,
				Synonyms: append([]meta.ConfigSynonym{{Name: name, Value: value, Source: meta.SourceStatic}}, behind...),
			}))
		}
	}
	for _, n := range s.Nodes() {
		if id := strconv.Itoa(int(n.ID)); id == asked.ResourceName {
			add("node.id", id, "The node's number, given to it when its data directory is registered.", meta.TypeInt)
			add("broker.id", id, "The node's number.", meta.TypeInt, meta.ConfigSynonym{Name: "broker.id", Value: "-1", Source: meta.SourceDefault})
			add("advertised.listeners", fmt.Sprintf("PLAINTEXT://%s:%d", n.KafkaHost, n.KafkaPort), "Where clients are sent.", meta.TypeString)
			if n.Zone != "" {
				add("broker.rack", n.Zone, "The node's zone.", meta.TypeString)
			}
			if n.ID == c.server().config.NodeID {
				add("log.dirs", c.server().config.LogDir, "The node's data directory.", meta.TypeString)
			}
		}
	}
	return static
}
