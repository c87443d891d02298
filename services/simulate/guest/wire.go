package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/services/simulate/world"
)

// conn is net.Conn; the name keeps signatures short.
type conn = net.Conn

// wire is one connection to one node, request by request: what a client library would hide can be seen.
type wire struct {
	nc        net.Conn
	formatter *kmsg.RequestFormatter
	next      int32
}

func dial(ctx context.Context, host *world.Process, address string) (*wire, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	nc, err := host.Dial(ctx, "", address)
	if err != nil {
		return nil, err
	}
	return &wire{nc: nc, formatter: kmsg.NewRequestFormatter(kmsg.FormatterClientID("wire"))}, nil
}

var errFrame = errors.New("answer is no frame")

// ask sends a request and decodes the answer to it.
func (c *wire) ask(request kmsg.Request, patience time.Duration) (kmsg.Response, error) {
	c.next++
	if err := c.nc.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := c.nc.Write(c.formatter.AppendRequest(nil, request, c.next)); err != nil {
		return nil, err
	}
	var prefix [8]byte
	if _, err := io.ReadFull(c.nc, prefix[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(prefix[:4])
	if size < 4 || size > 64<<20 || int32(binary.BigEndian.Uint32(prefix[4:])) != c.next {
		return nil, errFrame
	}
	body := make([]byte, size-4)
	if _, err := io.ReadFull(c.nc, body); err != nil {
		return nil, err
	}
	response := request.ResponseKind()
	return response, response.ReadFrom(body)
}

func (c *wire) close() { _ = c.nc.Close() }

// fetch asks for one partition in version 11, which names topics.
func (c *wire) fetch(at partition, offset int64, maxWait time.Duration, committed bool) (*kmsg.FetchResponseTopicPartition, error) {
	request := kmsg.NewPtrFetchRequest()
	request.Version, request.ReplicaID, request.MaxWaitMillis, request.MinBytes, request.MaxBytes = 11, -1, int32(maxWait.Milliseconds()), 1, 1<<20
	request.SessionEpoch = -1
	if committed {
		request.IsolationLevel = 1
	}
	topic, p := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	topic.Topic, p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = at.topic, at.number, offset, 64<<10, -1
	topic.Partitions = append(topic.Partitions, p)
	request.Topics = append(request.Topics, topic)
	response, err := c.ask(request, maxWait+10*time.Second)
	if err != nil {
		return nil, err
	}
	answer := response.(*kmsg.FetchResponse)
	if len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) != 1 {
		return nil, errFrame
	}
	return &answer.Topics[0].Partitions[0], nil
}
