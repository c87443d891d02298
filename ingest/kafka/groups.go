package kafka

// Groups is the group coordinator; see the group APIs' files.
type Groups interface{}
