package hotlog

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"

	"github.com/varvelog/varve/infra/vfs"
)

// Roll seals the active segment if it has chunks, and begins the next. On a full disk it seals all the same, since a sealed segment can
// be shipped and removed, and leaves it to the next append to find space. Errors: ErrNoSpace (only where even the footer found
// none), ErrPoisoned, ErrClosed, or the file system's from creating the next segment, which a later append tries again.
func (l *Log) Roll() error {
	l.writer.Lock()
	defer l.writer.Unlock()
	if err := l.writer.usable(); err != nil {
		return err
	}
	if l.writer.active == nil || l.writer.active.chunks.Load() == 0 {
		return nil
	}
	if err := l.sealActive(); err != nil {
		return err
	}
	if err := l.openNext(); err != nil && !vfs.IsNoSpace(err) {
		return err
	}
	return nil
}

// Abandon ends a poisoned state: the active segment is never written or synced again, and a new one begins. What was
// acknowledged stays readable. The new segment durably states where the abandoned one ended before Abandon returns, so that no
// later recovery finds what had failed. On a sound log it does nothing. On an error the log stays poisoned, and Abandon may
// be called again.
func (l *Log) Abandon() error {
	l.writer.Lock()
	defer l.writer.Unlock()
	if l.writer.closed {
		return ErrClosed
	}
	if l.writer.poison == nil {
		return nil
	}
	if active := l.writer.active; active != nil {
		l.writer.active = nil
		if active.chunks.Load() > 0 {
			active.sealed.Store(true)
			l.writer.previous = begin{previous: active.id, previousEnd: active.end.Load()}
		} else {
			l.writer.failed = append(l.writer.failed, active)
		}
	}
	if err := l.openNext(); err != nil {
		return err
	}
	if _, err := l.appendGroup(nil, nil); err != nil {
		return err
	}
	if err := l.deleteFailed(); err != nil {
		return err
	}
	l.writer.poison = nil
	return nil
}

// deleteFailed deletes the abandoned segments without acknowledged chunks, durably, since nothing states where they ended. Each may
// hold the only statement of where one abandoned before it ended, so they go only after the new segment has made that
// statement.
func (l *Log) deleteFailed() error {
	if len(l.writer.failed) == 0 {
		return nil
	}
	for _, s := range l.writer.failed {
		if err := l.fs.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("discard segment %d: %w", s.id, err)
		}
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return fmt.Errorf("sync directory after discarding segments: %w", err)
	}
	var err error
	for _, s := range l.writer.failed {
		l.drop(s.id)
		err = errors.Join(err, s.release())
	}
	l.writer.failed = nil
	return err
}

// sealActive gives the active segment its footer and leaves the log without one. The space behind the footer goes back to
// the file system. A failure poisons, except that a full disk leaves everything as it was.
func (l *Log) sealActive() error {
	active := l.writer.active
	end := active.end.Load()
	active.sequence++
	footer := make([]byte, sealFrameBytes)
	encodeSealFrame(footer, active.header.Salt, end, active.sequence, seal{begin: active.begin, chunks: active.chunks.Load()})
	fileBytes := int64(end) + sealFrameBytes
	if _, err := active.file.WriteAt(footer, int64(end)); err != nil {
		err = fmt.Errorf("write footer of segment %d: %w", active.id, err)
		if vfs.IsNoSpace(err) {
			return l.classify(err)
		}
		return l.poison(err)
	}
	if err := active.file.Truncate(fileBytes); err != nil {
		return l.poison(fmt.Errorf("cut segment %d behind its footer: %w", active.id, err))
	}
	if err := active.file.Sync(); err != nil {
		return l.poison(fmt.Errorf("sync footer of segment %d: %w", active.id, err))
	}
	active.fileBytes.Store(fileBytes)
	active.sealed.Store(true)
	l.writer.previous = begin{previous: active.id, previousEnd: end}
	l.writer.active = nil
	l.counters.rolls.Add(1)
	return nil
}

// encodeSealFrame writes a footer for a segment whose frames end, durably, at position.
func encodeSealFrame(b []byte, salt uint64, position uint32, sequence uint64, p seal) {
	payload := b[frameHeaderBytes:]
	p.encode(payload)
	frameHeader{
		payloadBytes: sealPayloadBytes, payloadCRC: crc32.Checksum(payload, castagnoli), durableEnd: position,
		sequence: sequence, kind: KindSeal,
	}.encode(b, salt, position)
}
