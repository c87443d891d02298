// Package patched builds the varve binary with changes that stand in no source file.
//
// One change lets a process's wall clock be moved while it runs (Clock); the others are faults, planted to see that they are found. No such
// change is part of a binary that anybody else builds.
package patched
