package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const environmentPrefix = "VARVE_"

func environmentName(field string) string {
	return environmentPrefix + strings.ToUpper(strings.ReplaceAll(field, "-", "_"))
}

// serviceLink matches what Kubernetes sets in every container of a namespace for a service that is called varve or varve-something.
var serviceLink = regexp.MustCompile(`(_SERVICE_HOST|_SERVICE_PORT(_[A-Z0-9_]+)?|_PORT(_[0-9]+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?)?)$`)

// UnknownName is a name in the environment that looks like a setting and is none.
type UnknownName struct {
	Name  string
	Meant string // the setting that it nearly is, "" for none
}

func (u UnknownName) String() string {
	if u.Meant == "" {
		return u.Name
	}
	return fmt.Sprintf("%s (%s?)", u.Name, u.Meant)
}

// UnknownEnvironment returns the names in environ, as of os.Environ, that look like settings and are none; others are further names that the program knows.
// They are for a warning. They are not refused, as unknown names in a file are: a process inherits its environment, and others may have put into it what
// is not meant for it.
func (c *Config) UnknownEnvironment(environ []string, others ...string) []UnknownName {
	settings := []string{environmentName("config")}
	for _, f := range c.fields() {
		settings = append(settings, environmentName(f.name))
	}
	var unknown []UnknownName
	for _, entry := range environ {
		name, _, isSet := strings.Cut(entry, "=")
		if isSet && strings.HasPrefix(name, environmentPrefix) && !slices.Contains(settings, name) && !slices.Contains(others, name) && !serviceLink.MatchString(name) {
			unknown = append(unknown, UnknownName{name, nearest(name, settings)})
		}
	}
	slices.SortFunc(unknown, func(a, b UnknownName) int { return strings.Compare(a.Name, b.Name) })
	return unknown
}

// mistypings is how many letters too many, too few or wrong may be between a name and the one that was meant.
const mistypings = 2

// nearest is the one of names that text was probably meant to be, "" for none.
func nearest(text string, names []string) (best string) {
	least := mistypings + 1
	for _, name := range names {
		if d := distance(text, name); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance is Levenshtein's: how many letters have to be inserted, removed or replaced.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
