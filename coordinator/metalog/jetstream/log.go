package jetstream

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/infra/bus"
)

// metadataLogID is the key in the stream's metadata under which the log's id stands, in hexadecimal.
const metadataLogID = "varve_log_id"

// codeWrongLastSequence is the server's code for a refused expected last sequence.
const codeWrongLastSequence = 10071

const (
	infoTimeout = 5 * time.Second
	// infoFirst and infoAttempt bound the first question to the leader of a stream that several servers keep, and any.
	infoFirst   = 50 * time.Millisecond
	infoAttempt = 700 * time.Millisecond
	infoPause   = 100 * time.Millisecond
)

// codeNoMessage is the server's code for a message that is not in the stream.
const codeNoMessage = 10037

// Config says which stream to use.
type Config struct {
	// ClusterID names the stream; of a recovered cluster it is the log's name (identity.Cluster.LogName).
	ClusterID string
	// LogID must be the one in the stream's metadata.
	LogID [16]byte
	// Replicas is the replication that the stream is to have; 0 means 1. A server that is alone cannot do with more than 1: metalog.ErrFewCopies. A stream
	// that has fewer already, and whose server is alone, is taken: see Copies.
	Replicas int
	// Existing takes the stream as it is, and does not create it: ErrNoStream.
	Existing bool
}

// ErrNoStream: no coordinator has created the stream yet.
var ErrNoStream = errors.New("stream of the metadata log is not there yet")

// codeNotClustered is the server's code for more replicas than a server alone can keep.
const codeNotClustered = 10074

// Log is a handle on the stream. It does not own the connection.
type Log struct {
	nc         *nats.Conn
	js         jetstream.JetStream
	stream     string
	subject    string
	logID      string
	revival    *revival
	gaps       gaps
	copies     int
	replicated bool // copies > 1
}

var _ metalog.Log = (*Log)(nil)

// Open opens the stream, creating it where it does not exist. It refuses another log's stream with ErrForeign.
func Open(ctx context.Context, conn *bus.Conn, cfg Config) (*Log, error) {
	js, err := jetstream.New(conn.NATS())
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	l := &Log{
		nc:      conn.NATS(),
		js:      js,
		stream:  "varve_" + cfg.ClusterID,
		subject: bus.LogSubject(cfg.ClusterID),
		logID:   hex.EncodeToString(cfg.LogID[:]),
		revival: newRevival(conn.NATS()),
	}
	if err := l.ensure(ctx, cfg); err != nil {
		return nil, err
	}
	if err := l.Verify(ctx); err != nil {
		return nil, err
	}
	info, err := l.info(ctx)
	if err != nil {
		return nil, err
	}
	l.copies = info.Config.Replicas
	if l.replicated = l.copies > 1; l.replicated {
		l.revival.server = nil // the others go on without this server
	}
	return l, nil
}

// ensure sees to it that the stream is there, with so many replicas; one that is there already has as many as its servers can give it.
func (l *Log) ensure(ctx context.Context, cfg Config) error {
	replicas := max(1, cfg.Replicas)
	stream, err := l.lookUp(ctx, true)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound) && cfg.Existing:
		return fmt.Errorf("stream %s: %w", l.stream, ErrNoStream)
	case errors.Is(err, jetstream.ErrStreamNotFound):
		err := l.create(ctx, replicas)
		if isCode(err, codeNotClustered) {
			return fmt.Errorf("create stream %s: %w: %d times, and %s is no cluster's", l.stream, metalog.ErrFewCopies, replicas, bus.Redact(l.nc.ConnectedUrl()))
		}
		return err
	case err != nil:
		return fmt.Errorf("open stream %s: %w", l.stream, err)
	}
	info := stream.CachedInfo()
	if cfg.Existing || info.Cluster == nil || info.Cluster.Name == "" || info.Config.Replicas >= replicas {
		return nil
	}
	// The cluster was smaller when the stream was made.
	config := info.Config
	config.Replicas = replicas
	if _, err := l.js.UpdateStream(ctx, config); err != nil {
		return fmt.Errorf("replicate stream %s %d times: %w", l.stream, replicas, err)
	}
	return nil
}

func isCode(err error, code jetstream.ErrorCode) bool {
	var answer *jetstream.APIError
	return errors.As(err, &answer) && answer.ErrorCode == code
}

func (l *Log) create(ctx context.Context, replicas int) error {
	_, err := l.js.CreateStream(ctx, jetstream.StreamConfig{
		Name:        l.stream,
		Description: "Varve metadata log. Written by the coordinator's leader alone.",
		Subjects:    []string{l.subject},
		Storage:     jetstream.FileStorage,
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		MaxMsgs:     -1,
		MaxBytes:    -1,
		MaxMsgSize:  -1,
		Replicas:    replicas,
		AllowDirect: true,
		DenyDelete:  true,
		Metadata:    map[string]string{metadataLogID: l.logID},
	})
	// Another process may have been first.
	if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return fmt.Errorf("create stream %s: %w", l.stream, err)
	}
	return nil
}

// Verify implements metalog.Log.
func (l *Log) Verify(ctx context.Context) error {
	info, err := l.info(ctx)
	if err != nil {
		return err
	}
	cfg := info.Config
	if id := cfg.Metadata[metadataLogID]; id != l.logID {
		return fmt.Errorf("stream %s has log id %q, expected %s: %w", l.stream, id, l.logID, metalog.ErrForeign)
	}
	switch {
	case cfg.Storage != jetstream.FileStorage:
		return fmt.Errorf("stream %s is not stored in files: %w", l.stream, metalog.ErrUnfit)
	case cfg.Retention != jetstream.LimitsPolicy, cfg.MaxMsgs > 0, cfg.MaxBytes > 0, cfg.MaxAge > 0, cfg.MaxMsgsPerSubject > 0:
		return fmt.Errorf("stream %s has limits that would drop entries: %w", l.stream, metalog.ErrUnfit)
	case len(cfg.Subjects) != 1 || cfg.Subjects[0] != l.subject:
		return fmt.Errorf("stream %s captures %v, expected %s alone: %w", l.stream, cfg.Subjects, l.subject, metalog.ErrUnfit)
	case !cfg.AllowDirect:
		return fmt.Errorf("stream %s does not allow direct get: %w", l.stream, metalog.ErrUnfit)
	}
	return nil
}

// info asks for the stream as it is now.
func (l *Log) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	stream, err := l.lookUp(ctx, l.replicated)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", l.stream, err)
	}
	return stream.CachedInfo(), nil
}

// lookUp asks the stream's leader. While there is none nobody answers, not later either: so the question is repeated, where several servers keep the stream or
// may do so. It is repeated soon at first, since a leader that leaves the lead to another is followed within milliseconds.
func (l *Log) lookUp(ctx context.Context, repeat bool) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, infoTimeout)
	defer cancel()
	patience := infoAttempt
	if repeat {
		patience = infoFirst
	}
	for {
		once, cancel := context.WithTimeout(ctx, patience)
		stream, err := l.js.Stream(once, l.stream)
		cancel()
		if err == nil || !repeat || errors.Is(err, jetstream.ErrStreamNotFound) {
			return stream, err
		}
		timer := time.NewTimer(min(infoPause, patience/5))
		patience = min(2*patience, infoAttempt)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
	}
}

// Replicated says that several servers keep the stream. What it says of its end is then its leader's word, and for some seconds there may be two that think
// they are: only an append shows that nothing came after.
func (l *Log) Replicated() bool { return l.replicated }

// Copies is how many servers keep the stream.
func (l *Log) Copies() int { return l.copies }

type pubAck struct {
	Stream string    `json:"stream"`
	Seq    uint64    `json:"seq"`
	Error  *apiError `json:"error"`
}

type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// Append implements metalog.Log.
func (l *Log) Append(ctx context.Context, seq uint64, entry []byte, _ metalog.Kind) error {
	if len(entry) > metalog.MaxEntryBytes {
		return fmt.Errorf("append %d bytes: %w", len(entry), metalog.ErrTooLarge)
	}
	if seq == 0 {
		return fmt.Errorf("append at 0: %w", metalog.ErrConflict)
	}
	if err := l.revival.beforeAppend(); err != nil {
		return fmt.Errorf("append at %d: %w", seq, err)
	}
	reply, err := l.nc.RequestMsgWithContext(ctx, &nats.Msg{
		Subject: l.subject,
		Data:    entry,
		Header: nats.Header{
			jetstream.ExpectedLastSeqHeader: {strconv.FormatUint(seq-1, 10)},
			jetstream.ExpectedStreamHeader:  {l.stream},
		},
	})
	if err != nil {
		l.revival.unanswered()
		return fmt.Errorf("append at %d: %w", seq, err)
	}
	var ack pubAck
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return fmt.Errorf("append at %d: read answer: %w", seq, err)
	}
	if ack.Error != nil {
		return l.judge(seq, appendError(seq, ack.Error))
	}
	l.gaps.forget()
	if ack.Seq != seq {
		return fmt.Errorf("append at %d: stored at %d: %w", seq, ack.Seq, metalog.ErrCorrupt)
	}
	return nil
}

func appendError(seq uint64, answer *apiError) error {
	if answer.ErrCode != codeWrongLastSequence {
		return fmt.Errorf("append at %d: %w", seq, answer)
	}
	// The description ends with the stream's last sequence.
	digits := answer.Description[strings.LastIndexByte(answer.Description, ' ')+1:]
	if last, err := strconv.ParseUint(digits, 10, 64); err == nil && last+1 < seq {
		return fmt.Errorf("append at %d, log ends at %d: %w", seq, last+1, metalog.ErrGap)
	}
	return fmt.Errorf("append at %d: %w", seq, metalog.ErrConflict)
}

// Bounds implements metalog.Log. It is answered by the stream's leader, or by one that was cut off from the others and does not know yet.
func (l *Log) Bounds(ctx context.Context) (first, next uint64, err error) {
	info, err := l.info(ctx)
	if err != nil {
		return 0, 0, err
	}
	first, next = info.State.FirstSeq, info.State.LastSeq+1
	return max(1, min(first, next)), next, nil
}

// Truncate implements metalog.Log.
func (l *Log) Truncate(ctx context.Context, before uint64) error {
	stream, err := l.js.Stream(ctx, l.stream)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", l.stream, err)
	}
	state := stream.CachedInfo().State
	before = min(before, state.LastSeq+1)
	if before <= state.FirstSeq || state.Msgs == 0 {
		return nil
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSequence(before)); err != nil {
		return fmt.Errorf("truncate before %d: %w", before, err)
	}
	return nil
}

// Close implements metalog.Log.
func (l *Log) Close() error { return nil }
