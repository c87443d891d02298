//go:build linux

package workload

// Java is how to run Java's clients.
type Java struct {
	ClassPath string
	Dir       string // takes their logs
}

func (w *Workload) startJava(int) {}
