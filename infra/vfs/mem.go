package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// ErrCrashed: the file was opened before the last Crash or Restart.
var ErrCrashed = errors.New("file system crashed since the file was opened")

// Mem is an FS in memory that can lose what was not synced. Its root directories "." and "/" always exist.
type Mem struct {
	mu struct {
		sync.Mutex
		// generation rises with each Crash and Restart; files of an older one are dead.
		generation int
		// names is what a reader sees, durableNames what a crash certainly leaves, pendingNames the way from the latter to the former.
		names        map[string]*memNode
		durableNames map[string]*memNode
		pendingNames []nameOp
		locked       map[string]bool
		limitBytes   int64
		usedBytes    int64
	}
}

var _ FS = (*Mem)(nil)

// NewMem returns an empty file system without a limit.
func NewMem() *Mem {
	m := &Mem{}
	root := &memNode{isDir: true}
	m.mu.names = map[string]*memNode{".": root, "/": root}
	m.mu.durableNames = maps.Clone(m.mu.names)
	m.mu.locked = make(map[string]bool)
	m.mu.limitBytes = math.MaxInt64
	return m
}

// SetLimit sets the disk's size; what would grow beyond it fails with ENOSPC. Files that exist stay as they are.
func (m *Mem) SetLimit(sizeBytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.limitBytes = sizeBytes
}

// nameOp is one unsynced change of names: to is set to node (from is then empty), from is renamed to to, or from is removed (to is empty).
type nameOp struct {
	from, to string
	node     *memNode
}

// in reports whether the change is made durable by a sync of dir.
func (op nameOp) in(dir string) bool {
	return op.from != "" && path.Dir(op.from) == dir || op.to != "" && path.Dir(op.to) == dir
}

// apply makes the change where it still makes sense: an earlier one may have been lost.
func (op nameOp) apply(names map[string]*memNode) {
	switch {
	case op.from == "":
		names[op.to] = op.node
	case op.to == "":
		if names[op.from] == op.node {
			delete(names, op.from)
		}
	default:
		if names[op.from] == op.node {
			delete(names, op.from)
			names[op.to] = op.node
		}
	}
}

// change makes a change that a reader sees at once and that SyncDir makes durable. The caller holds the lock.
func (m *Mem) change(op nameOp) {
	op.apply(m.mu.names)
	m.mu.pendingNames = append(m.mu.pendingNames, op)
}

// Crash cuts the power: files and locks become invalid, and what remains is all that was synced and a part, chosen by
// seed, of what was not. The same seed on the same history leaves the same.
func (m *Mem) Crash(seed uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rng := rand.New(rand.NewPCG(seed, 0))
	survive := survivalRate(rng)
	for _, op := range m.mu.pendingNames {
		if rng.Float64() < survive {
			op.apply(m.mu.durableNames)
		}
	}
	m.mu.pendingNames = nil
	m.mu.names = maps.Clone(m.mu.durableNames)
	for name := range m.mu.names {
		if !m.reachable(name) {
			delete(m.mu.names, name)
			delete(m.mu.durableNames, name)
		}
	}
	m.mu.usedBytes = 0
	for _, name := range slices.Sorted(maps.Keys(m.mu.names)) {
		node := m.mu.names[name]
		node.crash(rng, survivalRate(rng))
		node.unlinked = false
		m.mu.usedBytes += int64(len(node.live))
	}
	m.invalidate()
}

// survivalRate draws how much of what was not synced survives: often all or nothing, so that the extremes are covered.
func survivalRate(rng *rand.Rand) float64 {
	return []float64{0, 0.2, 0.5, 0.8, 1}[rng.IntN(5)]
}

// Restart kills the process but not the machine: files and locks become invalid, contents and names stay as they were
// seen, as unsynced as before.
func (m *Mem) Restart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.invalidate()
}

// LoseWriteback does to a file what a kernel does after a failed fsync: unsynced contents stay visible but count as clean, so
// that no later sync makes them durable unless they are written again.
func (m *Mem) LoseWriteback(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.lookup("lose writeback", path.Clean(name))
	if err != nil {
		return err
	}
	for i := range node.pending {
		node.pending[i].data = nil
	}
	return nil
}

// Durable says whether what a reader sees in bytes [from, to) of a file is certain to be there after a crash, under the same name.
func (m *Mem) Durable(name string, from, to int64) bool {
	name = path.Clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	node := m.mu.names[name]
	if node == nil || node.isDir || m.mu.durableNames[name] != node || to > int64(min(len(node.live), len(node.durable))) {
		return false
	}
	return bytes.Equal(node.live[from:to], node.durable[from:to])
}

func (m *Mem) invalidate() {
	m.mu.generation++
	clear(m.mu.locked)
}

// reachable reports whether all directories above name exist. The caller holds the lock.
func (m *Mem) reachable(name string) bool {
	for dir := path.Dir(name); dir != "." && dir != "/"; dir = path.Dir(dir) {
		if node := m.mu.names[dir]; node == nil || !node.isDir {
			return false
		}
	}
	return true
}

// lookup finds a file or directory. The caller holds the lock.
func (m *Mem) lookup(op, name string) (*memNode, error) {
	node := m.mu.names[name]
	if node == nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return node, nil
}

// parent checks that the directory of name exists. The caller holds the lock.
func (m *Mem) parent(op, name string) error {
	node, err := m.lookup(op, path.Dir(name))
	if err != nil {
		return err
	}
	if !node.isDir {
		return &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
	}
	return nil
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	name = path.Clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.parent("create", name); err != nil {
		return nil, err
	}
	node := m.mu.names[name]
	switch {
	case node == nil:
		node = &memNode{}
		m.change(nameOp{to: name, node: node})
	case node.isDir:
		return nil, &fs.PathError{Op: "create", Path: name, Err: syscall.EISDIR}
	default:
		m.mu.usedBytes -= int64(len(node.live))
		node.truncate(0)
	}
	return m.handle(name, node, true), nil
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) { return m.open(name, false) }

// OpenReadWrite implements FS.
func (m *Mem) OpenReadWrite(name string) (File, error) { return m.open(name, true) }

func (m *Mem) open(name string, writable bool) (File, error) {
	name = path.Clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.lookup("open", name)
	if err != nil {
		return nil, err
	}
	if node.isDir {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	}
	return m.handle(name, node, writable), nil
}

func (m *Mem) handle(name string, node *memNode, writable bool) *memFile {
	return &memFile{fs: m, name: name, node: node, writable: writable, generation: m.mu.generation}
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	name = path.Clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.lookup("remove", name)
	if err != nil {
		return err
	}
	if node.isDir {
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.EISDIR}
	}
	m.change(nameOp{from: name, node: node})
	m.unlinked(node)
	return nil
}

// unlinked gives a node's space back. The caller holds the lock.
func (m *Mem) unlinked(node *memNode) {
	m.mu.usedBytes -= int64(len(node.live))
	node.unlinked = true
}

// Rename implements FS.
func (m *Mem) Rename(oldName, newName string) error {
	oldName, newName = path.Clean(oldName), path.Clean(newName)
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.lookup("rename", oldName)
	if err != nil {
		return err
	}
	if err := m.parent("rename", newName); err != nil {
		return err
	}
	target := m.mu.names[newName]
	if node.isDir || target != nil && target.isDir {
		return &fs.PathError{Op: "rename", Path: oldName, Err: syscall.EISDIR}
	}
	if target == node {
		return nil
	}
	if target != nil {
		m.unlinked(target)
	}
	m.change(nameOp{from: oldName, to: newName, node: node})
	return nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(dir string) error {
	dir = path.Clean(dir)
	m.mu.Lock()
	defer m.mu.Unlock()
	var missing []string
	for d := dir; ; d = path.Dir(d) {
		if node := m.mu.names[d]; node != nil {
			if !node.isDir {
				return &fs.PathError{Op: "mkdir", Path: d, Err: syscall.ENOTDIR}
			}
			break
		}
		missing = append(missing, d)
	}
	for _, d := range slices.Backward(missing) {
		op := nameOp{to: d, node: &memNode{isDir: true}}
		op.apply(m.mu.names)
		op.apply(m.mu.durableNames)
	}
	return nil
}

// List implements FS.
func (m *Mem) List(dir string) ([]string, error) {
	dir = path.Clean(dir)
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.lookup("list", dir); err != nil {
		return nil, err
	}
	var names []string
	for name := range m.mu.names {
		if path.Dir(name) == dir && name != dir {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// Stat implements FS.
func (m *Mem) Stat(name string) (Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.lookup("stat", path.Clean(name))
	if err != nil {
		return Info{}, err
	}
	return Info{SizeBytes: int64(len(node.live)), IsDir: node.isDir}, nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(dir string) error {
	dir = path.Clean(dir)
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.lookup("sync", dir); err != nil {
		return err
	}
	m.mu.pendingNames = slices.DeleteFunc(m.mu.pendingNames, func(op nameOp) bool {
		if !op.in(dir) {
			return false
		}
		op.apply(m.mu.durableNames)
		return true
	})
	return nil
}

// Lock implements FS.
func (m *Mem) Lock(name string) (io.Closer, error) {
	name = path.Clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.parent("lock", name); err != nil {
		return nil, err
	}
	if m.mu.names[name] == nil {
		m.change(nameOp{to: name, node: &memNode{}})
	}
	if m.mu.locked[name] {
		return nil, fmt.Errorf("lock %s: %w", name, ErrLocked)
	}
	m.mu.locked[name] = true
	return &memLock{fs: m, name: name, generation: m.mu.generation}, nil
}

type memLock struct {
	fs         *Mem
	name       string
	generation int
}

// Close releases the lock, unless a crash already has.
func (l *memLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	if l.generation == l.fs.mu.generation {
		delete(l.fs.mu.locked, l.name)
	}
	return nil
}

// DiskFree implements FS.
func (m *Mem) DiskFree(string) (Space, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Space{FreeBytes: uint64(max(0, m.mu.limitBytes-m.mu.usedBytes)), TotalBytes: uint64(m.mu.limitBytes)}, nil
}

// String draws the tree, a line a file, for the messages of failed tests.
func (m *Mem) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m.mu.names)) {
		if node := m.mu.names[name]; !node.isDir {
			fmt.Fprintf(&b, "%s %d bytes, %d unsynced writes\n", name, len(node.live), len(node.pending))
		}
	}
	return b.String()
}
