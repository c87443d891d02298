package conformance

import "regexp"

// difference is one that is meant. Every expression must match wholly, and an empty one matches anything.
type difference struct {
	api, label, path string
	kafka, varve     string // values
	reason           string
}

var intended = []difference{
	{api: "JoinGroup", label: "to a consumer group, unreadable", path: "ErrorCode|MemberID", kafka: "UNKNOWN_SERVER_ERROR|zero",
		reason: "a classic member whose metadata cannot be read is refused as such, not as a failure of the server"},
	{api: "ConsumerGroupHeartbeat", label: "to a classic group of something else", path: "ErrorCode|ErrorMessage", kafka: "UNKNOWN_SERVER_ERROR|true \\(null\\)",
		reason: "a classic group whose metadata cannot be read is not a consumer group; Kafka fails over it"}}

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
