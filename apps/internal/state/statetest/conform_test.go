package statetest_test

import (
	"testing"

	"github.com/postbus/postbus/apps/internal/state/statetest"
)

func TestTheStoresInMemoryKeepTheContract(t *testing.T) {
	t.Run("as Redis's", func(t *testing.T) { statetest.Conform(t, statetest.New()) })
	t.Run("as PostgreSQL's", func(t *testing.T) { statetest.Conform(t, statetest.NewOpaque()) })
}
