// Package sweep deletes what nothing can refer to any more: objects whose last reference the state has dropped (retention, deleted
// topics, shipped chunks), and orphans, which a crash between a PUT and its command left behind, or one in the middle of a probe of the store.
//
// Nothing is deleted on the word of a listing or an age alone. Age only picks candidates; the leader says whether a key is
// referred to or may yet come to be (a job under lease, a node epoch that is not fenced), and only then does the object go. Garbage
// is left alone for a delay, as a courtesy to readers that planned before it became garbage.
package sweep
