package main

// mutation is a mistake in the services' code that the simulation has to find.
type mutation struct {
	name   string
	change change
}

var mutations = []mutation{
	{"a delivery is acknowledged before its effect", change{
		"internal/catchup/catchup.go",
		"		reactions, failed := handle(ctx, consumer, left)\n",
		"		reactions, failed := make([]event.Event, len(left)), make([]error, len(left))\n		go handle(context.WithoutCancel(ctx), consumer, left)\n",
	}},
	{"a compare-and-swap is a plain write", change{
		"internal/state/update.go",
		"		if failed = store.Swap(ctx, writes...); failed == nil {\n",
		`		for i := range writes {
			now, err := store.Get(ctx, writes[i].Key)
			if err != nil {
				return err
			}
			writes[i].ETag = now[0].ETag
		}
		if failed = store.Swap(ctx, writes...); failed == nil {
`,
	}},
	{"a revision is compared the wrong way", change{
		"comments/comments/documents.go",
		"c.Revision > latest.Revision &&",
		"c.Revision < latest.Revision &&",
	}},
	{"an event's id is made instead of derived", change{
		"internal/event/event.go",
		"ID: IDOf(t, entityID, revision)",
		"ID: NewID()",
	}},
	{"the cursor is moved before the effect", change{
		"internal/catchup/cursor.go",
		"	if len(f.pending) > 0 {\n",
		"	if len(f.pending) > 1000 {\n",
	}},
	{"a command is answered before its journal is written", change{
		"internal/journal/commit.go",
		"	case j.commits <- c:\n",
		"	case j.commits <- c:\n		return c.claim.Value, nil\n",
	}},
	{"a snapshot is saved with the wrong number", change{
		"query/snapshot/snapshot.go",
		"		item.Value, err = man.seal()\n",
		"		man.at = s.model.Status().At\n		man.Sequence = man.at.Sequence\n		item.Value, err = man.seal()\n",
	}},
	{"nothing goes into the log without the bus", change{
		"internal/eventlog/append.go",
		"	body := []byte{'['}\n",
		"	if len(events) > 0 {\n		return errors.ErrUnsupported\n	}\n	body := []byte{'['}\n",
	}},
	{"a repeat within the window is appended", change{
		"eventlog/log/seen.go",
		"	if !known {\n",
		"	if len(s.young) > s.limit {\n",
	}},
}
