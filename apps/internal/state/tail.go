package state

// Tail returns the number of the first document of a series that isn't full: from
// `after` on, which is full (-1: from the first on), by strides that double, then
// by halves. All before the tail are full, and none after it.
func Tail(after int, full func(number int) (bool, error)) (int, error) {
	open := -1 // the number of one that isn't full, once there is one
	for stride := 1; open < 0 || open-after > 1; {
		probe := after + stride
		if open >= 0 {
			probe = after + (open-after)/2
		}
		isFull, err := full(probe)
		switch {
		case err != nil:
			return 0, err
		case isFull:
			after, stride = probe, stride*2
		default:
			open = probe
		}
	}
	return open, nil
}
