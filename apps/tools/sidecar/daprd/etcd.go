//go:build state_etcd

package main

import (
	"github.com/dapr/components-contrib/state/etcd"
	"github.com/dapr/dapr/pkg/components"
	"github.com/dapr/dapr/pkg/components/state"
)

// With the tag, which is Dapr's own, the runtime has a store that does not keep the state
// contract. A test shows that the services refuse it (apps/tools/e2e).
func init() {
	state.DefaultRegistry.RegisterComponentWithVersions("etcd", components.Versioning{
		Preferred: components.VersionConstructor{Version: "v2", Constructor: etcd.NewEtcdStateStoreV2},
		Default:   "v2",
	})
}
