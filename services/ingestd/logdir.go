package ingestd

import "path/filepath"

// absolute is a data directory as clients are told of it.
func absolute(dir string) string {
	if path, err := filepath.Abs(dir); err == nil {
		return path
	}
	return dir // the working directory is gone, and what was given says most
}
