package patched

import "github.com/varvelog/varve/services/nemesis/history"

// Fault is a deliberate mistake in Varve, with what it takes to show it.
type Fault struct {
	Name    string
	Changes []Change
	// Faults are the kinds of faults that bring it out, empty for none; Metalog where it matters.
	Faults  string
	Metalog string
	// Wants are the anomalies of which at least one has to be found; or Complaint is a part of what is to be complained of.
	Wants     []history.Anomaly
	Complaint string
}

// Faults are the planted faults, one of each kind of anomaly that a broken Varve can show to clients.
var Faults = []Fault{
	{
		Name: "shipping loses batches",
		Changes: []Change{{
			File: "tiering/ship/build.go",
			Old:  "	b.last = r\n	return b.rebatcher.Add(data)",
			New:  "	b.last = r\n	if r.Marker == nil && r.BaseOffset%5 == 3 {\n		return nil\n	}\n	return b.rebatcher.Add(data)",
		}},
		Wants: []history.Anomaly{history.LostWrite},
	},
	{
		Name: "merging loses batches",
		Changes: []Change{{
			File: "tiering/compact/retain.go",
			Old:  "	small := b.RecordCount > 0 &&",
			New:  "	if b.BaseOffset%5 == 3 && !b.IsControl() {\n		return nil\n	}\n	small := b.RecordCount > 0 &&",
		}},
		Wants: []history.Anomaly{history.LostWrite},
	},
	{
		Name: "what was not committed is acknowledged",
		Changes: []Change{
			{
				File: "ingest/kafka/codes.go",
				Old:  "	case lane.TimedOut:\n		return kerr.RequestTimedOut.Code, \"\"",
				New:  "	case lane.TimedOut:\n		return 0, \"\"",
			},
			{
				File: "ingest/kafka/codes.go",
				Old:  "	case lane.Fenced, lane.Closed:\n		return kerr.NotLeaderForPartition.Code, \"\"\n	default:\n		return kerr.KafkaStorageError.Code, \"\"",
				New:  "	default:\n		return 0, \"\"",
			},
		},
		Faults: "disk,store dies,store hangs",
		Wants:  []history.Anomaly{history.LostWrite, history.UnseenWrite, history.InconsistentOffset},
	},
	{
		Name: "the metadata log is acknowledged before it is durable",
		Changes: []Change{{
			File: "coordinator/metalog/bucket/log.go",
			Old:  "	if err := l.put(ctx, seq, encode(seq, entry, kind)); err != nil {\n",
			New: "	late := encode(seq, append([]byte{}, entry...), kind)\n	go func() {\n		<-ctx.Done()\n		_, _ = l.store.PutIfAbsent(context.WithoutCancel(ctx), Key(seq), late)\n	}()\n" +
				"	if err := ctx.Err(); err != nil {\n",
		}},
		Faults: "kill role,kill all", Metalog: "bucket",
		Wants: []history.Anomaly{history.LostWrite, history.UnseenWrite, history.InconsistentOffset, history.WatermarkWentBack},
	},
	{
		Name: "duplicates are not known again",
		Changes: []Change{
			{
				File: "coordinator/meta/producers.go",
				Old:  "			if b.first == d.BaseSequence && b.last == last {",
				New:  "			if b.first == d.BaseSequence && b.last == last && last < 0 {",
			},
			{
				File: "coordinator/meta/producers.go",
				Old:  "	case d.ProducerEpoch == p.epoch && d.BaseSequence != nextSequence(p.batches[p.count-1].last):",
				New:  "	case d.ProducerEpoch == p.epoch && d.BaseSequence > nextSequence(p.batches[p.count-1].last):",
			},
		},
		Faults: "kill,clients", Metalog: "bucket",
		Wants: []history.Anomaly{history.Duplicate},
	},
	{
		Name: "two runs share an offset",
		Changes: []Change{{
			File: "coordinator/meta/commit.go",
			Old:  "	p.next += int64(records)\n",
			New:  "	if p.next += int64(records); records > 1 && p.next%7 == 3 {\n		p.next--\n	}\n",
		}},
		Wants: []history.Anomaly{history.InconsistentOffset},
	},
	{
		Name: "aborted transactions are not told of",
		Changes: []Change{{
			File: "ingest/fetch/plan.go",
			Old:  "	if f.request.Committed && offset > c.next {",
			New:  "	if f.request.Committed && offset > c.next && end < 0 {",
		}},
		Wants: []history.Anomaly{history.AbortedRead},
	},
	{
		Name: "read_committed reads up to the high watermark",
		Changes: []Change{{
			File: "ingest/fetch/plan.go",
			Old:  "		c.bound = d.LastStableOffset\n",
			New:  "		c.bound = d.HighWatermark\n",
		}},
		Wants: []history.Anomaly{history.LastStableOffset},
	},
	{
		Name: "read_committed reads up to the high watermark, seen as cycles",
		Changes: []Change{{
			File: "ingest/fetch/plan.go",
			Old:  "		c.bound = d.LastStableOffset\n",
			New:  "		c.bound = d.HighWatermark\n",
		}},
		Wants: []history.Anomaly{history.DependencyCycle},
	},
	{
		Name: "a commit reaches a part of the partitions",
		Changes: []Change{{
			File: "coordinator/meta/transactions.go",
			Old:  "	for p, first := range t.partitions {\n		a.mark(p, m, first)\n",
			New:  "	for p, first := range t.partitions {\n		m.Commit = commit && p.index%2 == 0\n		a.mark(p, m, first)\n",
		}},
		Wants: []history.Anomaly{history.TornTransaction},
	},
	{
		Name: "what a peer holds is passed over",
		Changes: []Change{{
			File: "ingest/fetch/plan.go",
			Old:  "		e.loc = loc\n		f.reader.place(&e, st, c.failures)\n",
			New: "		e.loc = loc\n		f.reader.place(&e, st, c.failures)\n		if loc.Tier == meta.TierHot && !e.local {\n			e.hole = true\n" +
				"			e.loc = meta.Location{BaseOffset: offset, NextOffset: loc.NextOffset}\n		}\n",
		}},
		Faults: "kill",
		Wants:  []history.Anomaly{history.ExternalSkip, history.InternalSkip, history.GroupSkipped},
	},
	{
		Name: "shipping forgets leader epochs, which begin when a node is forgotten",
		Changes: []Change{{
			File: "coordinator/leader/jobs.go",
			Old:  "BaseOffset: run.BaseOffset, LeaderEpoch: epoch,",
			New:  "BaseOffset: run.BaseOffset, LeaderEpoch: 0 * epoch,",
		}},
		Faults: "disk loss", Metalog: "bucket",
		Wants: []history.Anomaly{history.ExternalNonMonotonic},
	},
	{
		Name: "members that are dead stay in their group",
		Changes: []Change{{
			File: "coordinator/group/consumer_group.go",
			Old:  "		if due(m.sessionEnds) || due(m.rebalanceEnds)",
			New:  "		if due(m.rebalanceEnds)",
		}},
		Metalog: "bucket", Complaint: "group consumer in ",
	},
	{
		Name: "no barrier",
		Changes: []Change{{
			File: "coordinator/replica/barrier.go",
			Old:  "	leader, err := r.leader()\n	if err != nil {\n		return fmt.Errorf(\"barrier: %w\", err)\n	}\n	if free,",
			New:  "	leader, err := r.leader()\n	if err != nil || ctx.Err() == nil {\n		return nil\n	}\n	if free,",
		}},
		Faults: "pause,coordinators",
		Wants:  []history.Anomaly{history.WatermarkWentBack, history.GroupOffsetWentBack},
	},
	{
		Name: "group offsets are lost",
		Changes: []Change{{
			File: "coordinator/meta/groups.go",
			Old:  "		g.offsets[TopicPartition{t.ID, o.Partition}] = committedOffset(o)\n",
			New:  "		if _, known := g.offsets[TopicPartition{t.ID, o.Partition}]; !known || o.Offset%3 != 1 {\n			g.offsets[TopicPartition{t.ID, o.Partition}] = committedOffset(o)\n		}\n",
		}},
		Wants: []history.Anomaly{history.GroupOffsetWentBack},
	},
}
