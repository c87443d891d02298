// Package cdktf recovers a Terraform provider's schema from the npm package
// @cdktf/provider-aws, whose TypeScript sources are generated from that schema
// and carried whole in the source map of every index.js.
//
// What the sources state and this package reads: for every attribute a note
// "name - computed: b, optional: b, required: b", and for every settable one a
// table entry with its kind. What they do not state, and nothing here can know:
// validators of values, conflicts between arguments, and which changes force a
// replacement.
package cdktf
