package blockcache_test

import (
	"testing"

	"github.com/varvelog/varve/tiering/blockcache"
)

func TestKeptObjectCostsNoGet(t *testing.T) {
	f := newFixture(t, blockcache.Config{BlockBytes: 4 * kib, CapacityBytes: 64 * kib})
	body := f.object(t, "chunk", 10*kib+7)
	mine := append([]byte(nil), body...)
	f.Keep("chunk", mine)
	clear(mine) // the writer uses its memory again
	for _, off := range []int{0, 1, 4 * kib, 8*kib - 1, 10 * kib} {
		f.wantRange(t, "chunk", body, off, 3*kib)
	}
	if gets := f.gets(); gets != 0 {
		t.Errorf("%d GETs", gets)
	}
	f.Keep("chunk", body) // twice is once
	if stats := f.Stats(); stats.CachedBytes != int64(len(body)) {
		t.Errorf("%d bytes cached, want %d", stats.CachedBytes, len(body))
	}
}

// TestKeptObjectsDisplaceNothingThatIsReadRepeatedly writes many times the cache's capacity past a reader.
func TestKeptObjectsDisplaceNothingThatIsReadRepeatedly(t *testing.T) {
	f := newFixture(t, blockcache.Config{BlockBytes: 4 * kib, CapacityBytes: 64 * kib, ReadAheadBlocks: -1})
	hot := f.object(t, "hot", 8*kib)
	for range 4 {
		f.wantRange(t, "hot", hot, 0, len(hot))
	}
	before := f.gets()
	for i := range 100 {
		f.Keep(string(rune('a'+i)), make([]byte, 16*kib))
		if stats := f.Stats(); stats.CachedBytes > 64*kib {
			t.Fatalf("%d bytes cached", stats.CachedBytes)
		}
		f.wantRange(t, "hot", hot, 0, len(hot))
	}
	if gets := f.gets() - before; gets != 0 {
		t.Errorf("%d GETs for what is read repeatedly", gets)
	}
	if stats := f.Stats(); stats.EvictedUnread != 0 {
		t.Errorf("%d blocks count as read ahead for nothing", stats.EvictedUnread)
	}
}
