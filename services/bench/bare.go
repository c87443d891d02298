package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
)

// bareGroupBytes is how much the bare loop appends between two fdatasyncs. One for each frame would flatter what it is compared
// with: a log that commits groups does not pay for it.
const bareGroupBytes = 1 << 20

// bareReceive sends the load's frames, on one connection, to a loop that does nothing but read them, append them to a file in dir and
// fdatasync it. cpu is the processor time of that loop alone.
func bareReceive(ctx context.Context, dir string, frames []frame, wantBytes int64) (m moved, cpu time.Duration, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return moved{}, 0, fmt.Errorf("listen: %w", err)
	}
	defer listener.Close()
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	path := filepath.Join(dir, "bare-receive")
	file, err := os.Create(path)
	if err != nil {
		return moved{}, 0, fmt.Errorf("create file: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(path)) }()
	if err := allocate(file, wantBytes+maxBareFrame); err != nil {
		return moved{}, 0, err
	}

	begun := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer lockThread()()
		opened, err := listener.Accept()
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		socket, err := opened.(*net.TCPConn).File() //nolint:forcetypeassert // a TCP listener
		if err = errors.Join(err, opened.Close()); err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		defer socket.Close()
		socket.Fd() // blocking
		cpu, err = receiveAndAppend(socket, file)
		return err
	})
	group.Go(func() error {
		c, err := dial(ctx, listener.Addr().String())
		if err != nil {
			return err
		}
		defer c.close()
		defer c.guard(ctx)()
		for i := 0; m.bytes < wantBytes; i++ {
			f := frames[i%len(frames)]
			if _, err := c.send(f); err != nil {
				return err
			}
			m.requests, m.bytes = m.requests+1, m.bytes+int64(len(f))
		}
		if err := c.tcp.CloseWrite(); err != nil {
			return fmt.Errorf("end load: %w", err)
		}
		_, err = io.Copy(io.Discard, c.file) // until the other side is done
		return err
	})
	err = group.Wait()
	m.took = time.Since(begun)
	return m, cpu, err
}

// maxBareFrame bounds the frames that the bare loop reads.
const maxBareFrame = 2 << 20

func receiveAndAppend(socket, file *os.File) (time.Duration, error) {
	before, err := threadCPU()
	if err != nil {
		return 0, err
	}
	buffer := make([]byte, maxBareFrame)
	unsynced := 0
	for {
		if _, err := io.ReadFull(socket, buffer[:4]); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return 0, fmt.Errorf("read frame: %w", err)
		}
		size := 4 + int(binary.BigEndian.Uint32(buffer))
		if size > len(buffer) {
			return 0, fmt.Errorf("read frame: %d bytes", size)
		}
		if _, err := io.ReadFull(socket, buffer[4:size]); err != nil {
			return 0, fmt.Errorf("read frame: %w", err)
		}
		if _, err := file.Write(buffer[:size]); err != nil {
			return 0, fmt.Errorf("append: %w", err)
		}
		if unsynced += size; unsynced >= bareGroupBytes {
			if err := fdatasync(file); err != nil {
				return 0, fmt.Errorf("sync: %w", err)
			}
			unsynced = 0
		}
	}
	if err := fdatasync(file); err != nil {
		return 0, fmt.Errorf("sync: %w", err)
	}
	after, err := threadCPU()
	return after - before, err
}

// bareAppend appends 4 KiB to a file in dir and fdatasyncs it, perSecond times a second, and returns how long each took.
func bareAppend(ctx context.Context, dir string, perSecond int, duration time.Duration) (samples []time.Duration, err error) {
	path := filepath.Join(dir, "bare-append")
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("create file: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(path)) }()
	page := make([]byte, 4<<10)
	for i := range page {
		page[i] = byte(i * 7)
	}
	err = paced(ctx, perSecond, duration, func(int) error {
		begun := time.Now()
		if _, err := file.Write(page); err != nil {
			return fmt.Errorf("append: %w", err)
		}
		if err := fdatasync(file); err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		samples = append(samples, time.Since(begun))
		return nil
	})
	return samples, err
}

// paced calls do perSecond times a second for the duration, on a schedule that late calls do not shift.
func paced(ctx context.Context, perSecond int, duration time.Duration, do func(i int) error) error {
	defer lockThread()()
	period := time.Second / time.Duration(perSecond)
	begun := time.Now()
	for i := range int(duration / period) {
		sleepUntil(begun, time.Duration(i)*period)
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := do(i); err != nil {
			return err
		}
	}
	return nil
}

// newBareEncoder is klauspost's encoder as the server configures it.
func newBareEncoder(level zstd.EncoderLevel) (*zstd.Encoder, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(1<<20), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("start zstd encoder: %w", err)
	}
	return encoder, nil
}

// bareEncode compresses the payloads round and round on workers threads until stop is closed or wantBytes went in, and returns what went in.
func bareEncode(ctx context.Context, level zstd.EncoderLevel, payloads [][]byte, workers int, wantBytes int64, stop <-chan struct{}) (moved, error) {
	var taken, sizeBytes atomic.Int64
	begun := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for range workers {
		group.Go(func() error {
			encoder, err := newBareEncoder(level)
			if err != nil {
				return err
			}
			var out []byte
			for sizeBytes.Load() < wantBytes && !closed(stop) {
				if err := context.Cause(ctx); err != nil {
					return err
				}
				payload := payloads[int(taken.Add(1))%len(payloads)]
				out = encoder.EncodeAll(payload, out[:0])
				sizeBytes.Add(int64(len(payload)))
			}
			return encoder.Close()
		})
	}
	err := group.Wait()
	return moved{requests: taken.Load(), bytes: sizeBytes.Load(), took: time.Since(begun)}, err
}
