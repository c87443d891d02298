package kafka

import (
	"reflect"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A request is charged for the worst that it can decode into before it is decoded, which is many times what nearly all of them do. Those that
// wait (long polls, members of a group that is rebalanced) would keep the node's room for requests from all others, though most of it is empty.
// So once they are decoded they are charged for what they are.

// tagBytes is about what an unknown tagged field takes in a map.
const tagBytes = 96

// decodedBytes is about how much memory a decoded request takes, what is shared with its frame counted twice.
func decodedBytes(request kmsg.Request) int64 {
	if r, ok := request.(*kmsg.FetchRequest); ok { // the most frequent that is large
		return fetchBytes(r)
	}
	v := reflect.ValueOf(request).Elem()
	return int64(v.Type().Size()) + pointedBytes(v)
}

func fetchBytes(r *kmsg.FetchRequest) int64 {
	size := int(unsafe.Sizeof(*r)) + r.UnknownTags.Len()*tagBytes + len(r.Rack)
	size += cap(r.Topics)*int(unsafe.Sizeof(kmsg.FetchRequestTopic{})) + cap(r.ForgottenTopics)*int(unsafe.Sizeof(kmsg.FetchRequestForgottenTopic{}))
	for i := range r.Topics {
		t := &r.Topics[i]
		size += len(t.Topic) + t.UnknownTags.Len()*tagBytes + cap(t.Partitions)*int(unsafe.Sizeof(kmsg.FetchRequestTopicPartition{}))
		for j := range t.Partitions {
			size += t.Partitions[j].UnknownTags.Len() * tagBytes
		}
	}
	for i := range r.ForgottenTopics {
		t := &r.ForgottenTopics[i]
		size += len(t.Topic) + t.UnknownTags.Len()*tagBytes + cap(t.Partitions)*4
	}
	return int64(size)
}

// pointedBytes is what v leads to, beside itself.
func pointedBytes(v reflect.Value) (size int64) {
	switch v.Kind() {
	case reflect.String:
		return int64(v.Len())
	case reflect.Map:
		return int64(v.Len()) * tagBytes
	case reflect.Pointer:
		if !v.IsNil() {
			size = int64(v.Type().Elem().Size()) + pointedBytes(v.Elem())
		}
	case reflect.Slice:
		size = int64(v.Cap()) * int64(v.Type().Elem().Size())
		if leads(v.Type().Elem().Kind()) {
			for i := range v.Len() {
				size += pointedBytes(v.Index(i))
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); leads(f.Kind()) {
				size += pointedBytes(f)
			}
		}
	}
	return size
}

// leads tells whether values of a kind may lead to memory elsewhere.
func leads(k reflect.Kind) bool {
	switch k {
	case reflect.String, reflect.Map, reflect.Pointer, reflect.Slice, reflect.Struct:
		return true
	default:
		return false
	}
}
