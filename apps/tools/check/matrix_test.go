package main

import "testing"

func TestTheTableOfTheFaultSuiteIsSummedUp(t *testing.T) {
	cases, lost, repeated := sums([]string{
		"| seed 7; SEED=7 repeats it\n",
		"| case | writes | lost | repeated | repairs |\n",
		"|---|---|---|---|---|\n",
		"| none | 9 | 0 | 0 | 0 |\n",
		"| one **FAILED** | 9 | 2 | 3 | unknown |\n",
		"| two | 9 | 4 | 0 | 7 |\n",
	})
	if cases != 3 || lost != 6 || repeated != 3 {
		t.Errorf("%d cases, lost %d, repeated %d", cases, lost, repeated)
	}
}
