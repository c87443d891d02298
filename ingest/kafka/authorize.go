package kafka

import (
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/coordinator/meta"
)

// Operation is what a client wants to do, in Kafka's words (AclOperation).
type Operation uint8

// The operations.
const (
	Read Operation = iota
	Write
	Create
	Delete
	Alter
	Describe
	DescribeConfigs
	AlterConfigs
	IdempotentWrite
	ClusterAction
)

// Resource is what it wants to do it to (ResourceType).
type Resource uint8

// The resources. The cluster has no name.
const (
	TopicResource Resource = iota
	GroupResource
	ClusterResource
	TransactionalIDResource
)

// Access is one question to an Authorizer.
type Access struct {
	Principal string // "User:ANONYMOUS" until clients authenticate
	Host      string
	Operation Operation
	Resource  Resource
	Name      string // valid during the call only
}

// Authorizer decides what clients may do. It is asked on hot paths, and must not block.
type Authorizer interface {
	Allowed(Access) bool
}

const (
	anonymousName = "ANONYMOUS"
	anonymous     = "User:" + anonymousName
)

// allowed asks the authorizer. Without one everything is allowed.
func (c *conn) allowed(operation Operation, resource Resource, name string) bool {
	authorizer := c.server.config.Authorizer
	return authorizer == nil || authorizer.Allowed(Access{Principal: anonymous, Host: c.host, Operation: operation, Resource: resource, Name: name})
}

// mayTopic, mayGroup and mayCluster are allowed as errors; nil is yes.
func (c *call) mayTopic(operation Operation, name string) *kerr.Error {
	if c.conn.allowed(operation, TopicResource, name) {
		return nil
	}
	return kerr.TopicAuthorizationFailed
}

func (c *call) mayGroup(operation Operation, name string) *kerr.Error {
	if c.conn.allowed(operation, GroupResource, name) {
		return nil
	}
	return kerr.GroupAuthorizationFailed
}

func (c *call) mayCluster(operation Operation) *kerr.Error {
	if c.conn.allowed(operation, ClusterResource, "") {
		return nil
	}
	return kerr.ClusterAuthorizationFailed
}

// mayConfigure is about the resource a configuration belongs to.
func (c *call) mayConfigure(operation Operation, scope meta.Scope, name string) *kerr.Error {
	switch scope {
	case meta.ScopeTopic:
		return c.mayTopic(operation, name)
	case meta.ScopeGroup:
		return c.mayGroup(operation, name)
	default:
		return c.mayCluster(operation)
	}
}
