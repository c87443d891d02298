package fetch

// BufferedBytes is the memory that a response keeps until it is released.
func BufferedBytes(r *Response) (bytes int) {
	for _, b := range r.buffers {
		bytes += cap(b.data)
	}
	return bytes
}
