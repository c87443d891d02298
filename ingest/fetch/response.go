package fetch

import "sync"

// Response is the answer to a Request: Partitions[i] is that of Request.Partitions[i]. Everything it refers to is valid
// until Release, which must be called once, when the records have been written.
type Response struct {
	Partitions []PartitionData

	buffers []*buffer
	budget  *budget
	held    int64
}

var responses = sync.Pool{New: func() any { return new(Response) }}

func newResponse(partitions int, budget *budget) *Response {
	r := responses.Get().(*Response)
	r.budget = budget
	if cap(r.Partitions) < partitions {
		r.Partitions = make([]PartitionData, partitions)
	}
	r.Partitions = r.Partitions[:partitions]
	for i := range r.Partitions {
		p := &r.Partitions[i]
		*p = PartitionData{HighWatermark: -1, LastStableOffset: -1, LogStartOffset: -1, LeaderEpoch: -1, Records: p.Records[:0], Aborted: p.Aborted[:0]}
	}
	return r
}

// Release gives the response's memory back.
func (r *Response) Release() {
	r.free()
	r.budget.release(r.held)
	r.held, r.budget = 0, nil
	for i := range r.Partitions {
		clear(r.Partitions[i].Records)
	}
	responses.Put(r)
}

// free gives the buffers back, to which nothing may refer any more. What is held of the budget stays.
func (r *Response) free() {
	for _, b := range r.buffers {
		b.free()
	}
	clear(r.buffers)
	r.buffers = r.buffers[:0]
}

// own makes b part of the response.
func (r *Response) own(b *buffer) { r.buffers = append(r.buffers, b) }

// shrink returns to the budget what was reserved for bytes that did not come.
func (r *Response) shrink() {
	var held int64
	for _, b := range r.buffers {
		held += int64(len(b.data))
	}
	if held < r.held {
		r.budget.release(r.held - held)
		r.held = held
	}
}
