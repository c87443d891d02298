package patched

import (
	"context"
	"slices"

	"github.com/varvelog/varve/services/overlay"
)

// Change replaces a text in a file by another, or adds a file.
type Change struct {
	// File is a path from the module's root, or, with overlay.Std in front, from the standard library's.
	File string
	// Old stands exactly once in the file; empty for a file that is to be added.
	Old, New string
}

// Build builds services/varve with the changes, and with Always, and puts it at out. root is the module's root.
func Build(ctx context.Context, root, out string, changes ...Change) error {
	sources, err := overlay.Of(ctx, root)
	if err != nil {
		return err
	}
	if err := apply(sources, slices.Concat(changes, Always)); err != nil {
		return err
	}
	return sources.Build(ctx, out, "./services/varve", nil)
}

func apply(sources *overlay.Sources, changes []Change) error {
	for _, c := range changes {
		if c.Old == "" {
			sources.Put(c.File, c.New)
		} else if err := sources.Replace(c.File, c.Old, c.New); err != nil {
			return err
		}
	}
	return nil
}
