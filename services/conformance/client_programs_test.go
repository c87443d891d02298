package conformance

import "path/filepath"

// clientPrograms are the clients that are run against Varve.
var clientPrograms = []clientProgram{
	{
		name: "franz-go", kind: "golang", protocols: []string{"classic", "consumer"},
		command: func(in clients) []string { return []string{filepath.Join(in.cache, "golang", "franz")} },
	},
	{
		name: "confluent-kafka", kind: "python", protocols: []string{"classic", "consumer"},
		command: func(in clients) []string { return python(in, "confluent.py") },
	},
}

func python(in clients, program string) []string {
	return []string{filepath.Join(in.cache, "python", "bin", "python"), filepath.Join(in.sources, "python", program)}
}
