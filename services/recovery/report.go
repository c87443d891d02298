package recovery

import (
	"fmt"
	"io"
)

// Finding is an object, or part of one, with which something is wrong, or that could not be adopted.
type Finding struct {
	Where string `json:"where"`
	Why   string `json:"why"`
}

// Lost is a range of offsets whose records are gone.
type Lost struct {
	Topic      string `json:"topic"`
	Partition  int32  `json:"partition"`
	BaseOffset int64  `json:"base_offset"`
	NextOffset int64  `json:"next_offset"`
	// Node is on whose disk they were to be, 0 where that is not known.
	Node int32 `json:"node,omitempty"`
	// Read: that disk was read, and has them no more.
	Read bool `json:"disk_read,omitempty"`
	// Known: the metadata knew of these records. Otherwise nothing is known of the offsets but that later ones were given.
	Known bool `json:"known"`
	// Deletable: the log began with them when what is behind them was stored. Retention, or DeleteRecords, may have taken them since.
	Deletable bool `json:"deletable,omitempty"`
}

// Adopted counts what was found beyond the last state that is known.
type Adopted struct {
	Objects int   `json:"objects"`
	Offsets int64 `json:"offsets"`
}

// LogStart is where a partition's log begins now, and did as far as the metadata knew.
type LogStart struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"`
	To        int64  `json:"to"`
}

// Report is what a recovery has found, and what comes of it.
type Report struct {
	Bucket    string `json:"bucket"`
	ClusterID string `json:"cluster_id"`
	Metalog   string `json:"metalog"`
	FormerLog string `json:"former_log_id"`
	NewLog    string `json:"new_log_id"`
	// Again: an earlier recovery's log was never used. It is replaced, from the same former log.
	Again bool `json:"again,omitempty"`

	// Seq is the last entry of the former log that is part of the result, Snapshot the one it began with (0: none), Unused how many sound
	// entries lie behind a break.
	Seq      uint64 `json:"seq"`
	Snapshot uint64 `json:"snapshot"`
	Unused   uint64 `json:"unused_entries,omitempty"`
	// Late counts entries that came into the former log while its place was taken.
	Late uint64 `json:"late_entries,omitempty"`

	Topics     int `json:"topics"`
	Partitions int `json:"partitions"`
	Groups     int `json:"groups"`

	Parts  Adopted `json:"adopted_segments"`
	Chunks Adopted `json:"adopted_chunks"`
	Hot    Adopted `json:"adopted_hot_chunks"`
	// Rescued: objects that nothing referred to have records that would be lost.
	Rescued Adopted `json:"rescued"`
	// NewTopics are known from objects alone.
	NewTopics []string `json:"new_topics,omitempty"`
	// DeletedTopics were deleted behind the metadata's end: objects show another one of the name.
	DeletedTopics []string `json:"deleted_topics,omitempty"`
	// NewSettings are topics that have got settings which only objects show.
	NewSettings []string `json:"new_settings,omitempty"`

	// LogStarts were raised: objects tell of deletions behind the metadata's end.
	LogStarts []LogStart `json:"log_starts,omitempty"`

	// LostOffsets are those of Lost; DeletableOffsets are those of them that may have been deleted instead.
	LostOffsets      int64  `json:"lost_offsets"`
	DeletableOffsets int64  `json:"deletable_offsets,omitempty"`
	Lost             []Lost `json:"lost"`
	// Aborted are the transactional ids whose open transactions were aborted; OtherAborted counts transactions whose ids are not known.
	Aborted      []string `json:"aborted_transactions,omitempty"`
	OtherAborted int      `json:"other_aborted_transactions,omitempty"`
	// Disks are the hot logs that are part of the result.
	Disks []string `json:"disks,omitempty"`
	// Missing says in words what else cannot be recovered.
	Missing    []string  `json:"missing"`
	Damaged    []Finding `json:"damaged,omitempty"`
	NotAdopted []Finding `json:"not_adopted,omitempty"`

	// Done: the bucket's metadata has been replaced.
	Done bool `json:"done"`
}

// Write prints the report for people.
func (r *Report) Write(w io.Writer) error {
	p := &printer{w: w}
	p.line("bucket %s: cluster %s, log %s on %s", r.Bucket, r.ClusterID, r.FormerLog, r.Metalog)
	if r.Again {
		p.line("an earlier recovery has not been used yet; this one takes its place")
	}
	switch {
	case r.Snapshot > 0:
		p.line("metadata to entry %d, from the snapshot of %d", r.Seq, r.Snapshot)
	case r.Seq > 0:
		p.line("metadata to entry %d, without a snapshot", r.Seq)
	default:
		p.line("no metadata: everything comes from the segments' directories")
	}
	if r.Unused > 0 {
		p.line("%d whole entries stand behind a break in the log, and cannot be made use of", r.Unused)
	}
	p.line("%d topics with %d partitions, %d groups", r.Topics, r.Partitions, r.Groups)
	for _, a := range []struct {
		what string
		Adopted
	}{{"segments", r.Parts}, {"object chunks", r.Chunks}, {"chunks of hot logs", r.Hot}} {
		if a.Objects > 0 {
			p.line("adopted from beyond the metadata: %d %s with %d offsets", a.Objects, a.what, a.Offsets)
		}
	}
	if r.Rescued.Objects > 0 {
		p.line("rescued from %d objects that nothing referred to: %d offsets", r.Rescued.Objects, r.Rescued.Offsets)
	}
	for _, name := range r.NewTopics {
		p.line("  topic %s is known from what was adopted alone", name)
	}
	for _, topic := range r.DeletedTopics {
		p.line("  topic %s was deleted, and made again", topic)
	}
	for _, name := range r.NewSettings {
		p.line("  topic %s has settings from what was adopted, which are newer than the metadata's", name)
	}
	for _, disk := range r.Disks {
		p.line("disk %s stays part of the log", disk)
	}
	for _, d := range r.Damaged {
		p.line("damaged: %s: %s", d.Where, d.Why)
	}
	for _, d := range r.NotAdopted {
		p.line("not adopted: %s: %s", d.Where, d.Why)
	}
	for _, l := range r.LogStarts {
		p.line("records of %s-%d were deleted: its log starts at %d, no longer at %d", l.Topic, l.Partition, l.To, l.From)
	}
	for _, id := range r.Aborted {
		p.line("aborted: the open transaction of %s", id)
	}
	if r.OtherAborted > 0 {
		p.line("aborted: %d transactions whose ids are not known", r.OtherAborted)
	}
	for _, l := range r.Lost {
		if l.Deletable {
			p.line("LOST or deleted %s-%d offsets [%d, %d): %s", l.Topic, l.Partition, l.BaseOffset, l.NextOffset, l.why())
			continue
		}
		p.line("LOST %s-%d offsets [%d, %d): %s", l.Topic, l.Partition, l.BaseOffset, l.NextOffset, l.why())
	}
	for _, text := range r.Missing {
		p.line("not recovered: %s", text)
	}
	switch lost := r.LostOffsets - r.DeletableOffsets; {
	case r.LostOffsets == 0:
		p.line("no offset that is known of is lost")
	case r.DeletableOffsets == 0:
		p.line("%d offsets are lost; readers will pass over them", lost)
	default:
		p.line("%d offsets are lost, and %d are lost or were deleted; readers will pass over them", lost, r.DeletableOffsets)
	}
	if r.Done {
		p.line("done: the cluster's log is %s now", r.NewLog)
	}
	return p.err
}

// missingBehind says what cannot be recovered where the log is lost from an entry on, 0 for all of it, except for what objects show. It is known to have
// gone on to entry last, 0 for none that is known.
func missingBehind(seq, last uint64) []string {
	since := ""
	var missing []string
	if seq > 0 {
		since = fmt.Sprintf(" (what came behind entry %d)", seq)
		missing = append(missing, fmt.Sprintf("entries %d to %d of the log, and with them, but for what the bucket shows, all that follows", seq+1, last))
	}
	return append(missing,
		"groups and their offsets, and what producers and transactions were remembered"+since,
		"settings of the cluster, nodes, groups and quotas"+since,
		"topics and partitions of which the bucket holds no records, and settings that were changed after the last of them"+since,
		"log starts behind what segments tell of them"+since+": records that were deleted may be there again",
		"whatever was not shipped to the bucket"+since)
}

func (l Lost) why() string {
	switch {
	case l.Read:
		return fmt.Sprintf("the disk of node %d, which was read, has them no more", l.Node)
	case l.Node != 0:
		return fmt.Sprintf("on the disk of node %d alone", l.Node)
	case l.Deletable:
		return "they were the beginning of the log when what is behind them was stored, and are nowhere; retention may have taken them since"
	case l.Known:
		return "the object that held them is missing or damaged"
	}
	return "nothing is known of them"
}

type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}
