package recordbatch

// Position is a record's place and time, as ListOffsets answers it.
type Position struct {
	Offset    int64
	Timestamp int64
}

// FirstAtOrAfter finds the first record of the batch that b begins with whose timestamp is at least timestampMillis; found
// is false where there is none. A batch whose header rules it out is not inflated. Scratch may be nil.
func FirstAtOrAfter(b []byte, timestampMillis int64, scratch *Scratch) (position Position, found bool, err error) {
	h, err := ParseHeader(b)
	if err != nil || h.RecordCount == 0 || h.MaxTimestamp < timestampMillis {
		return Position{}, false, err
	}
	return find(b, h, timestampMillis, scratch)
}

// AtMaxTimestamp finds the record with the largest timestamp in the batch that b begins with, the first of them where
// several have it: with LogAppendTime that is the batch's first record. Found is false where the batch has no records.
// Scratch may be nil.
func AtMaxTimestamp(b []byte, scratch *Scratch) (position Position, found bool, err error) {
	h, err := ParseHeader(b)
	if err != nil || h.RecordCount == 0 {
		return Position{}, false, err
	}
	if h.IsLogAppendTime() {
		return find(b, h, h.MaxTimestamp, scratch)
	}
	// The header may be wrong where the records were never inflated, and compaction may have dropped the record that the
	// header speaks of.
	for rec, err := range Records(b, scratch) {
		if err != nil {
			return Position{}, false, err
		}
		if !found || rec.Timestamp > position.Timestamp {
			position, found = Position{rec.Offset, rec.Timestamp}, true
		}
	}
	return position, found, nil
}

// find walks the records for the first at or after a timestamp, unless the header is enough to tell.
func find(b []byte, h Header, timestampMillis int64, scratch *Scratch) (Position, bool, error) {
	if h.IsLogAppendTime() && h.RecordCount-1 == h.LastOffsetDelta {
		return Position{h.BaseOffset, h.MaxTimestamp}, true, nil
	}
	for rec, err := range Records(b, scratch) {
		if err != nil {
			return Position{}, false, err
		}
		if rec.Timestamp >= timestampMillis {
			return Position{rec.Offset, rec.Timestamp}, true, nil
		}
	}
	return Position{}, false, nil
}
