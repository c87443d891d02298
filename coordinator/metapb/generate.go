// Package metapb holds the generated types of the metadata log: its commands, its snapshots, and the
// messages of the internal HTTP listener. The .proto files are the specification.
package metapb

//go:generate protoc --go_out=. --go_opt=paths=source_relative meta.proto compaction.proto compaction_rpc.proto consumergroup.proto consumergroup_rpc.proto streamsgroup.proto streamsgroup_rpc.proto sharegroup.proto sharegroup_rpc.proto beats.proto election.proto internal.proto group.proto recovery.proto replicated.proto nodes.proto
