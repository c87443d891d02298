package recovery

import (
	"context"
	"fmt"
	"strings"

	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/sub"
)

// metadataPrefixes are what metadata in the bucket may begin with: nothing, and what recoveries have made.
func metadataPrefixes(ctx context.Context, store objstore.Store) ([]string, error) {
	prefixes := []string{""}
	for info, err := range store.List(ctx, identity.RecoveredPrefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list %s of %s: %w", identity.RecoveredPrefix, store, err)
		}
		id, _, nested := strings.Cut(strings.TrimPrefix(info.Key, identity.RecoveredPrefix), "/")
		if prefix := identity.RecoveredPrefix + id + "/"; nested && prefixes[len(prefixes)-1] != prefix {
			prefixes = append(prefixes, prefix)
		}
	}
	return prefixes, nil
}

func prefixed(store objstore.Store, prefix string) objstore.Store {
	if prefix == "" {
		return store
	}
	return sub.New(store, prefix)
}
