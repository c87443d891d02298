package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/services/simulate/world"
)

// pipeline is a producer without sequences, which has several small batches of one partition under way on one connection, so that they wait
// together. It never sends anything again: those that are there stand in the order in which they were sent.
func (u *workload) pipeline(ctx context.Context, id string, host *world.Process) {
	for generation, number := 0, 0; ctx.Err() == nil; generation++ {
		connection, err := dial(ctx, host, kafkaAddress(u.c.pick(u.c.nodes).name))
		if err != nil {
			_ = world.Sleep(ctx, 100*time.Millisecond)
			continue
		}
		producer, at := fmt.Sprintf("%s.%d", id, generation), u.pick()
		for err == nil && ctx.Err() == nil {
			burst := make([]*record, 2+u.w.IntN(6))
			for i := range burst {
				number++
				burst[i] = &record{value: u.value(producer, number, 0), producer: producer, number: number, at: at}
			}
			err = u.burst(connection, at, burst)
			_ = world.Sleep(ctx, u.w.Between(0, 500*time.Millisecond))
		}
		u.w.Trace("%s: %v", producer, err)
		connection.close()
	}
}

// burst sends records, a request each, and then waits for the answers.
func (u *workload) burst(connection *wire, at partition, records []*record) error {
	const patience = 10 * time.Second
	numbers := make([]int32, 0, len(records))
	for _, r := range records {
		request, err := produceRequest(at, r.value)
		if err != nil {
			return err
		}
		u.history.send(r)
		number, err := connection.send(request, patience)
		if err != nil {
			return err
		}
		numbers = append(numbers, number)
	}
	for i, number := range numbers {
		response, err := connection.receive(number, &kmsg.ProduceResponse{Version: 8}, patience)
		if err != nil {
			return err
		}
		answer := response.(*kmsg.ProduceResponse)
		if len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) != 1 {
			return errFrame
		}
		if p := answer.Topics[0].Partitions[0]; p.ErrorCode == 0 {
			u.w.Count("pipelined")
			u.history.ack(records[i], p.BaseOffset)
		} else {
			u.w.Count("pipelined " + kerr.ErrorForCode(p.ErrorCode).Error())
		}
	}
	return nil
}
