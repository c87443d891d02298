package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxAnswerBytes bounds what an answer may claim to hold.
const maxAnswerBytes = 128 << 20

// conn is a connection that sends and receives whole Kafka frames. The socket blocks its thread rather than going through Go's
// poller, so that the client adds as little as it can to a latency. One goroutine may send while another receives.
type conn struct {
	tcp    *net.TCPConn
	file   *os.File // the same socket, blocking
	answer []byte
	// answerBytes is the size of the last answer.
	answerBytes int64
	nextID      int32
}

func dial(ctx context.Context, addr string) (*conn, error) {
	var dialer net.Dialer
	opened, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to server: %w", err)
	}
	tcp := opened.(*net.TCPConn) //nolint:forcetypeassert // the network is "tcp"
	file, err := tcp.File()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to server: %w", err), tcp.Close())
	}
	file.Fd() // makes the socket blocking
	return &conn{tcp: tcp, file: file}, nil
}

// interrupt makes whoever sends or receives return with an error.
func (c *conn) interrupt() {
	_ = c.tcp.CloseRead() // fails only where the socket is closed already
	_ = c.tcp.CloseWrite()
}

func (c *conn) close() error { return errors.Join(c.file.Close(), c.tcp.Close()) }

// guard interrupts the connection when ctx ends, until the returned function is called.
func (c *conn) guard(ctx context.Context) (release func() bool) {
	return context.AfterFunc(ctx, c.interrupt)
}

// send writes f as the next request and returns its correlation id.
func (c *conn) send(f frame) (int32, error) {
	id := c.nextID
	c.nextID++
	f.setCorrelationID(id)
	if _, err := c.file.Write(f); err != nil {
		return 0, fmt.Errorf("send request: %w", err)
	}
	return id, nil
}

// receive returns the next answer, correlation id first; it is valid until the next call.
func (c *conn) receive() ([]byte, error) {
	if cap(c.answer) < 4 {
		c.answer = make([]byte, 64<<10)
	}
	if _, err := io.ReadFull(c.file, c.answer[:4]); err != nil {
		return nil, fmt.Errorf("receive answer: %w", err)
	}
	size := int(binary.BigEndian.Uint32(c.answer))
	if size > maxAnswerBytes {
		return nil, fmt.Errorf("receive answer: %d bytes", size)
	}
	if size > cap(c.answer) {
		c.answer = make([]byte, size)
	}
	if _, err := io.ReadFull(c.file, c.answer[:size]); err != nil {
		return nil, fmt.Errorf("receive answer: %w", err)
	}
	c.answerBytes = int64(4 + size)
	return c.answer[:size], nil
}

// call sends a request of kmsg's and decodes its answer. Bytes of the answer may lie in the connection's buffer.
func (c *conn) call(request kmsg.Request, response kmsg.Response) error {
	id, err := c.send(formatter.AppendRequest(nil, request, 0))
	if err != nil {
		return err
	}
	answer, err := c.receive()
	if err != nil {
		return err
	}
	// The header of an answer to ApiVersions never has tagged fields: its client does not know yet what the server speaks.
	body, err := answerBody(answer, id, request.IsFlexible() && request.Key() != kmsg.ApiVersions.Int16())
	if err != nil {
		return err
	}
	response.SetVersion(request.GetVersion())
	if err := response.ReadFrom(body); err != nil {
		return fmt.Errorf("decode answer to key %d: %w", request.Key(), err)
	}
	return nil
}

// introduce says which client this is, as clients do first: a server gives zstd only to those that it knows to read it.
func (c *conn) introduce() error {
	request, response := kmsg.NewPtrApiVersionsRequest(), kmsg.NewPtrApiVersionsResponse()
	request.Version, request.ClientSoftwareName, request.ClientSoftwareVersion = 3, "varve", "1"
	if err := c.call(request, response); err != nil {
		return fmt.Errorf("introduce the client: %w", err)
	}
	return kerr.ErrorForCode(response.ErrorCode)
}

// createTopic creates a topic and returns how long the answer took.
func createTopic(ctx context.Context, addr, name string, partitions int32, configs map[string]string) (time.Duration, error) {
	c, err := dial(ctx, addr)
	if err != nil {
		return 0, err
	}
	defer c.close()
	defer c.guard(ctx)()
	request := kmsg.NewPtrCreateTopicsRequest()
	request.Version = createTopicsVersion
	request.TimeoutMillis = 60_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, -1
	for key, value := range configs {
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = key, kmsg.StringPtr(value)
		topic.Configs = append(topic.Configs, config)
	}
	request.Topics = append(request.Topics, topic)
	response := kmsg.NewPtrCreateTopicsResponse()
	begun := time.Now()
	if err := c.call(request, response); err != nil {
		return 0, fmt.Errorf("create topic %s: %w", name, err)
	}
	took := time.Since(begun)
	for _, answer := range response.Topics {
		if err := kerr.ErrorForCode(answer.ErrorCode); err != nil {
			message := ""
			if answer.ErrorMessage != nil {
				message = *answer.ErrorMessage
			}
			return 0, fmt.Errorf("create topic %s: %w %s", name, err, message)
		}
	}
	return took, nil
}
