// Package stub serves a provider's schema over Terraform's plugin protocol and
// nothing else: it talks to no cloud and keeps no state.
//
// A configuration run against it is checked for names, types, required
// arguments, block counts and dangling references, and for three things that
// AWS refuses and that are cheap to know: a policy that is not a JSON policy,
// user data above 16 KiB, and a network block that is not in canonical form.
// It has none of the real provider's validators, does not know which changes
// replace a resource, and its computed values are made up.
package stub
