// Package config holds what an operator can set: one documented struct, read from flags, VARVE_… environment variables and
// a YAML file, in that order of precedence, and validated at start. A message about a wrong value names the field as the
// operator wrote it. Components have configurations of their own; services/*d fill them from this one.
package config
