package conformance

import "regexp"

// difference is one that is meant. Every expression must match wholly, and an empty one matches anything.
type difference struct {
	api, label, path string
	kafka, varve     string // values
	reason           string
}

var intended = []difference{}

func findIntended(o *observation, path, kafka, varve string) int {
	for i, d := range intended {
		if matches(d.api, o.api) && matches(d.label, o.label) && matches(d.path, path) && matches(d.kafka, kafka) && matches(d.varve, varve) {
			return i
		}
	}
	return -1
}

var expressions = map[string]*regexp.Regexp{}

func matches(expression, text string) bool {
	if expression == "" {
		return true
	}
	e := expressions[expression]
	if e == nil {
		e = regexp.MustCompile(`\A(?s:` + expression + `)\z`)
		expressions[expression] = e
	}
	return e.MatchString(text)
}
