package patched

import "slices"

// Sessions lets groups of the consumer protocol have sessions of 12 s, so that members which were killed are not waited for longer than
// faults last. Kafka's least, and Varve's, is 45 s.
var Sessions = []Change{
	{
		File: "coordinator/meta/groupconfigs.go",
		Old:  `{Name: "consumer.session.timeout.ms", Scope: ScopeGroup, Type: TypeInt, Default: "45000", min: 45_000,`,
		New:  `{Name: "consumer.session.timeout.ms", Scope: ScopeGroup, Type: TypeInt, Default: "12000", min: 12_000,`,
	},
	{
		File: "coordinator/meta/groupconfigs.go",
		Old:  `{Name: "group.consumer.session.timeout.ms", Scope: ScopeBroker, Type: TypeInt, Default: "45000", min: 45_000,`,
		New:  `{Name: "group.consumer.session.timeout.ms", Scope: ScopeBroker, Type: TypeInt, Default: "12000", min: 12_000,`,
	},
}

// Always are the changes of every binary that runs under the nemesis.
var Always = slices.Concat(Clock, Sessions)
