package process

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"

	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/infra/vfs"
	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/services/config"
)

// ownerFile names, in a data directory, the cluster whose data it holds. A hot log under another cluster's state would be taken for
// one that nothing refers to, and deleted.
//
// The file is one line: "varve-data 1 <cluster id> <log id in hex> <CRC-32C of what stands before it, in hex>".
const ownerFile = "cluster"

const (
	ownerFormat   = 1
	maxOwnerBytes = 4 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// owner is the cluster of a data directory; the zero value is nobody.
type owner struct{ clusterID, logID string }

func (o owner) log() (id [16]byte) {
	if b, err := hex.DecodeString(o.logID); err == nil && len(b) == len(id) {
		id = [16]byte(b)
	}
	return id
}

func ownerOf(c *identity.Cluster) owner { return owner{c.ClusterID, fmt.Sprintf("%x", c.LogID)} }

// keepsData says whether the role leaves anything in the data directory.
func keepsData(c *config.Config, role config.Role) bool {
	return role&config.RoleIngest != 0 || (role&config.RoleCoordinator != 0 && c.NATSURL == "")
}

func readOwner(files vfs.FS, dir string) (owner, error) {
	name := path.Join(dir, ownerFile)
	file, err := files.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return owner{}, nil
	}
	if err != nil {
		return owner{}, fmt.Errorf("read owner of data directory: %w", err)
	}
	text, err := io.ReadAll(io.NewSectionReader(file, 0, maxOwnerBytes))
	if err = errors.Join(err, file.Close()); err != nil {
		return owner{}, fmt.Errorf("read owner of data directory: %w", err)
	}
	var format int
	var o owner
	var sum uint32
	if n, err := fmt.Sscanf(string(text), "varve-data %d", &format); n == 1 && err == nil && format != ownerFormat {
		return owner{}, fmt.Errorf("%s has format %d, this program knows %d", name, format, ownerFormat)
	}
	if _, err := fmt.Sscanf(string(text), "varve-data %d %s %s %x\n", &format, &o.clusterID, &o.logID, &sum); err != nil || string(text) != o.encode() {
		return owner{}, fmt.Errorf("%s is damaged: it should name the cluster whose data the directory holds", name)
	}
	return o, nil
}

func (o owner) encode() string {
	text := fmt.Sprintf("varve-data %d %s %s ", ownerFormat, o.clusterID, o.logID)
	return text + fmt.Sprintf("%08x\n", crc32.Checksum([]byte(text), castagnoli))
}

// writeOwner is durable on return.
func writeOwner(files vfs.FS, dir string, o owner) error {
	temporary := path.Join(dir, ownerFile+".new")
	write := func() error {
		if err := files.MkdirAll(dir); err != nil {
			return err
		}
		if err := files.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		file, err := files.Create(temporary)
		if err != nil {
			return err
		}
		_, err = file.WritevAt([][]byte{[]byte(o.encode())}, 0)
		if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
			return err
		}
		return errors.Join(files.Rename(temporary, path.Join(dir, ownerFile)), files.SyncDir(dir))
	}
	if err := write(); err != nil {
		return fmt.Errorf("write owner of data directory: %w", err)
	}
	return nil
}

// findOwner reads whose the data directory is, where role uses one.
func (p *Process) findOwner(role config.Role) (owner, error) {
	if !keepsData(p.Config, role) {
		return owner{}, nil
	}
	return readOwner(vfs.OS{}, filepath.ToSlash(p.Config.DataDir))
}

// takeOver judges a data directory of a log that a recovery has replaced: its hot log must be one that the recovery has left in the new log, for
// of any other the log knows nothing, or knows that it is lost.
func (p *Process) takeOver() error {
	dir := path.Join(filepath.ToSlash(p.Config.DataDir), HotLogDir)
	disk, err := hotlog.ReadIdentity(vfs.OS{}, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if slices.Contains(p.Cluster.Disks, hex.EncodeToString(disk[:])) {
		return nil
	}
	return fmt.Errorf("%w: bucket %s: its metadata was recovered without the hot log in %s, which is from before: "+
		"`varve recover --hotlog %s` adopts what it holds, until the cluster has been started; or move it away", identity.ErrRefused, p.Store, dir, dir)
}

// HotLogDir is the directory of the hot log in a data directory.
const HotLogDir = "hotlog"

// own makes the data directory the cluster's, or refuses one that is another's.
func (p *Process) own(role config.Role, found owner) error {
	cluster := ownerOf(p.Cluster)
	switch {
	case !keepsData(p.Config, role) || found == cluster:
		return nil
	case found.clusterID == cluster.clusterID && p.Cluster.WasOf(found.log()):
		if err := p.takeOver(); err != nil {
			return err
		}
	case found != owner{}:
		return identity.Refuse(p.Store, fmt.Errorf("it is of cluster %s, while --data-dir %s holds data of cluster %s", cluster.clusterID, p.Config.DataDir, found.clusterID))
	}
	return writeOwner(vfs.OS{}, filepath.ToSlash(p.Config.DataDir), cluster)
}
