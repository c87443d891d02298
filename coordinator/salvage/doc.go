// Package salvage reads what a bucket holds of a metadata log, however damaged: every snapshot and every entry is looked at, whatever is
// wrong is named by its key, and the state is built up as far as the log's chain of hashes reaches without a break.
//
// It reads only. A state that it returns is one that the log had: the newest snapshot that is whole, and the entries behind it. What stands
// behind a break is of no use to a state machine that has to apply every entry, and is counted.
package salvage
