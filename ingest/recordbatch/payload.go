package recordbatch

// Inflate appends to dst what src is once it is decompressed, for bytes that clients compress as they compress batches. More than limit bytes
// are refused with ErrTooLarge.
func Inflate(dst []byte, codec Codec, src []byte, limit int) ([]byte, error) {
	if codec == None {
		if len(src) > limit {
			return dst, tooLarge(codec, limit)
		}
		return append(dst, src...), nil
	}
	return inflate(dst, codec, src, limit)
}
