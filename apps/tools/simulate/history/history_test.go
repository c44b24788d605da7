package history

import (
	"os"
	"testing"
	"testing/synctest"
)

func TestOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan := NewPlan(1)
		plan.Faults = nil
		t.Log(plan)
		o := Run(plan, &Trace{Lines: os.Stderr})
		t.Logf("%+v", o)
	})
}
