//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "simulate: it changes parts of Go's runtime that only Linux has")
	os.Exit(1)
}
