package world

import (
	"errors"
	"io/fs"
	"sync"
	"time"

	"github.com/varvelog/varve/infra/vfs"
)

// errIO is what a bad disk says.
var errIO = errors.New("injected I/O error")

// Disk outlives the processes that use it.
type Disk struct {
	world *World
	mem   *vfs.Mem

	mu struct {
		sync.Mutex
		owner *Process
		// unsynced are the files of which a sync has failed.
		unsynced map[string]bool
	}
}

// NewDisk returns an empty one.
func (w *World) NewDisk() *Disk {
	d := &Disk{world: w, mem: vfs.NewMem()}
	d.mu.unsynced = map[string]bool{}
	return d
}

// Mount gives the disk to a process, and takes it from those that had it before. One whose place was taken meanwhile does not get it.
func (d *Disk) Mount(p *Process) vfs.FS {
	d.mu.Lock()
	if !p.precedes(d.mu.owner) {
		d.mu.owner = p
	}
	d.mu.Unlock()
	if d.Owns(p) {
		d.mem.Restart()
	}
	w := d.world
	return vfs.NewFaulty(d.mem, func(call vfs.Call) *vfs.Fault {
		if p.Step() != nil {
			return &vfs.Fault{Err: ErrDead}
		}
		if !d.Owns(p) {
			return &vfs.Fault{Err: vfs.ErrCrashed}
		}
		switch {
		case call.Op == vfs.OpWrite && w.Chance(w.Swarm.WriteFails):
			w.Count("write failed")
			return &vfs.Fault{Err: errIO, ShortBytes: w.IntN(call.Bytes + 1)}
		case call.Op == vfs.OpSyncData && w.Chance(w.Swarm.SyncFails):
			w.Count("sync failed")
			if err := d.mem.LoseWriteback(call.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				panic(err) // a sync that fails and costs nothing shows nothing
			}
			d.mu.Lock()
			d.mu.unsynced[call.Path] = true
			d.mu.Unlock()
			return &vfs.Fault{Err: errIO}
		case call.Op == vfs.OpSyncData || call.Op == vfs.OpSyncDir:
			time.Sleep(w.Between(20*time.Microsecond, 2*time.Millisecond))
			if w.OneIn(40) && !w.Calm() {
				time.Sleep(w.Between(0, 100*time.Millisecond))
			}
			if p.Step() != nil || !d.Owns(p) {
				return &vfs.Fault{Err: ErrDead}
			}
		}
		return nil
	})
}

// Owns says whether the process is the last that the disk was given to.
func (d *Disk) Owns(p *Process) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.owner == p
}

// Durable says whether bytes [from, to) of a file would survive a loss of power now.
func (d *Disk) Durable(file string, from, to int64) bool { return d.mem.Durable(file, from, to) }

// SyncFailed says whether a sync of the file has failed.
func (d *Disk) SyncFailed(file string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.unsynced[file]
}

// LosePower leaves what was synced, and a seeded part of what was not.
func (d *Disk) LosePower() { d.mem.Crash(uint64(d.world.IntN(1 << 30))) }

// Limit sets the disk's size in bytes.
func (d *Disk) Limit(sizeBytes int64) { d.mem.SetLimit(sizeBytes) }
