package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/ingest/recordbatch"
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
	number, err := c.send(request, patience)
	if err != nil {
		return nil, err
	}
	return c.receive(number, request.ResponseKind(), patience)
}

// send sends a request without waiting for the answer. Answers come in the order of requests.
func (c *wire) send(request kmsg.Request, patience time.Duration) (number int32, err error) {
	c.next++
	if err := c.nc.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	_, err = c.nc.Write(c.formatter.AppendRequest(nil, request, c.next))
	return c.next, err
}

// receive decodes the answer that comes next, which must be that to the request with a number, into response.
func (c *wire) receive(number int32, response kmsg.Response, patience time.Duration) (kmsg.Response, error) {
	if err := c.nc.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	var prefix [8]byte
	if _, err := io.ReadFull(c.nc, prefix[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(prefix[:4])
	if size < 4 || size > 64<<20 || int32(binary.BigEndian.Uint32(prefix[4:])) != number {
		return nil, errFrame
	}
	body := make([]byte, size-4)
	if _, err := io.ReadFull(c.nc, body); err != nil {
		return nil, err
	}
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

// end asks for the offset after a partition's last record. It is -1 where the node says that it does not know.
func (c *wire) end(at partition) (int64, error) {
	request := kmsg.NewPtrListOffsetsRequest()
	request.Version, request.ReplicaID = 5, -1
	topic, p := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	topic.Topic, p.Partition, p.Timestamp, p.CurrentLeaderEpoch = at.topic, at.number, -1, -1
	topic.Partitions = append(topic.Partitions, p)
	request.Topics = append(request.Topics, topic)
	response, err := c.ask(request, 10*time.Second)
	if err != nil {
		return 0, err
	}
	answer := response.(*kmsg.ListOffsetsResponse)
	if len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) != 1 {
		return 0, errFrame
	}
	if found := answer.Topics[0].Partitions[0]; found.ErrorCode == 0 {
		return found.Offset, nil
	}
	return -1, nil
}

// produceRequest is one batch of one record, of no producer that the cluster knows.
func produceRequest(at partition, value string) (*kmsg.ProduceRequest, error) {
	b := recordbatch.NewBuilder(recordbatch.BuilderOptions{})
	if err := b.Append(0, time.Now().UnixMilli(), nil, []byte(value), nil); err != nil {
		return nil, err
	}
	batch, _, err := b.Build(nil)
	if err != nil {
		return nil, err
	}
	request := kmsg.NewPtrProduceRequest()
	request.Version, request.Acks, request.TimeoutMillis = 8, -1, 5000
	topic, p := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	topic.Topic, p.Partition, p.Records = at.topic, at.number, batch
	topic.Partitions = append(topic.Partitions, p)
	request.Topics = append(request.Topics, topic)
	return request, nil
}
