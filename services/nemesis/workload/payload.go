package workload

import (
	"bytes"
	"strconv"
)

// payload is the record of a value: its number, and filling of a length and kind that follow from it. Clients in other languages write the same.
func payload(value uint64) []byte {
	text := strconv.AppendUint(nil, value, 10)
	text = append(text, ':')
	digits := len(text)
	for n := fillingBytes(value); n > 0; n-- {
		text = append(text, text[(len(text)-digits)%digits])
	}
	return text
}

func fillingBytes(value uint64) int {
	if value%97 == 0 {
		return int(value * 31 % 20_000)
	}
	return int(value * 7919 % 300)
}

// valueOf is the value of a record; 0 where its bytes are not what was sent.
func valueOf(record []byte) uint64 {
	digits, _, found := bytes.Cut(record, []byte{':'})
	if !found {
		return 0
	}
	value, err := strconv.ParseUint(string(digits), 10, 63)
	if err != nil || !bytes.Equal(record, payload(value)) {
		return 0
	}
	return value
}
