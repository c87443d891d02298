package kafka

import (
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Broker loggers (resource type 8): the level of what a node logs. It is the node's own and lasts as long as its process, as in Kafka, so
// that requests go to the node itself. There is one logger.

const rootLogger = "root"

// sourceLogger is DYNAMIC_BROKER_LOGGER_CONFIG.
const sourceLogger = kmsg.ConfigSourceDynamicBrokerLoggerConfig

var logLevels = []struct {
	name  string
	level slog.Level
}{
	{"TRACE", slog.LevelDebug - 4}, {"DEBUG", slog.LevelDebug}, {"INFO", slog.LevelInfo}, {"WARN", slog.LevelWarn}, {"ERROR", slog.LevelError}, {"FATAL", slog.LevelError + 4},
}

// mayLoggers judges a request about the loggers of the named node.
func (c *call) mayLoggers(operation Operation, name string) (*kerr.Error, string) {
	if e := c.mayCluster(operation); e != nil {
		return e, ""
	}
	if id := c.server().config.NodeID; name != strconv.Itoa(int(id)) || c.server().config.LogLevel == nil {
		return kerr.InvalidRequest, fmt.Sprintf("Unexpected broker id, expected %d but received %s", id, name)
	}
	return nil, ""
}

func describeLoggers(call *call, asked *kmsg.DescribeConfigsRequestResource, answer *kmsg.DescribeConfigsResponseResource) {
	if e, message := call.mayLoggers(DescribeConfigs, asked.ResourceName); e != nil {
		answer.ErrorCode, answer.ErrorMessage = refusal(e, message)
		return
	}
	answer.ErrorMessage = kmsg.StringPtr("")
	if len(asked.ConfigNames) > 0 && !slices.Contains(asked.ConfigNames, rootLogger) {
		return
	}
	c := kmsg.NewDescribeConfigsResponseResourceConfig()
	c.Name, c.Source, c.Documentation = rootLogger, sourceLogger, kmsg.StringPtr("")
	level := call.server().config.LogLevel.Level()
	for _, l := range logLevels {
		if c.Value == nil || l.level <= level {
			c.Value = kmsg.StringPtr(l.name)
		}
	}
	answer.Configs = append(answer.Configs, c)
}

// setLoggers changes the levels of a node's loggers: all that are named or none.
func (a *alteration) setLoggers(call *call) (*kerr.Error, string) {
	if e, message := call.mayLoggers(AlterConfigs, a.name); e != nil {
		return e, message
	}
	level := call.server().config.LogLevel.Level()
	for i := range a.changes {
		change := &a.changes[i]
		switch {
		case change.op == kmsg.IncrementalAlterConfigOpDelete && change.name == rootLogger:
			return kerr.InvalidRequest, "Removing the log level of the root logger is not allowed"
		case change.op != kmsg.IncrementalAlterConfigOpSet && change.op != kmsg.IncrementalAlterConfigOpDelete:
			return kerr.InvalidRequest, "Only the operations SET and DELETE are allowed for loggers"
		case change.name != rootLogger:
			return kerr.InvalidConfig, fmt.Sprintf("Logger %s does not exist!", change.name)
		case change.value == nil:
			return kerr.InvalidRequest, "Null value not supported for: " + change.name
		}
		at := slices.IndexFunc(logLevels, func(l struct {
			name  string
			level slog.Level
		}) bool {
			return strings.EqualFold(l.name, *change.value)
		})
		if at < 0 {
			return kerr.InvalidConfig, fmt.Sprintf("Cannot set the log level of %s to %s as it is not a supported log level.", change.name, *change.value)
		}
		level = logLevels[at].level
	}
	if !a.validateOnly {
		call.server().config.LogLevel.Set(level)
	}
	return nil, ""
}
