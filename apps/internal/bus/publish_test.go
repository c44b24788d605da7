package bus

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	pb "github.com/dapr/dapr/pkg/proto/runtime/v1"
	dapr "github.com/dapr/go-sdk/client"
	"google.golang.org/grpc"

	"github.com/postbus/postbus/apps/internal/event"
)

// sidecar has the calls of a sidecar that a publisher makes.
type sidecar struct {
	dapr.Client

	published []*pb.PublishEventRequest
	bulk      []*pb.BulkPublishRequest
	failed    []*pb.BulkPublishResponseFailedEntry
	err       error
}

func (s *sidecar) GrpcClient() pb.DaprClient { return protocol{s: s} }

func (s *sidecar) PublishEvent(_ context.Context, component, topic string, data any, opts ...dapr.PublishEventOption) error {
	req := &pb.PublishEventRequest{PubsubName: component, Topic: topic, Data: data.([]byte)}
	for _, opt := range opts {
		opt(req)
	}
	s.published = append(s.published, req)
	return s.err
}

// protocol has the calls for which the SDK has no method.
type protocol struct {
	pb.DaprClient
	s *sidecar
}

func (p protocol) BulkPublishEvent(_ context.Context, in *pb.BulkPublishRequest, _ ...grpc.CallOption) (*pb.BulkPublishResponse, error) {
	p.s.bulk = append(p.s.bulk, in)
	if p.s.err != nil {
		return nil, p.s.err
	}
	return &pb.BulkPublishResponse{FailedEntries: p.s.failed}, nil
}

func events(t *testing.T, titles ...string) []event.Event {
	t.Helper()
	all := make([]event.Event, len(titles))
	for i, title := range titles {
		e, err := event.Parse(event.PostCreated, post(t, title))
		if err != nil {
			t.Fatal(err)
		}
		all[i] = e
	}
	return all
}

// unencodable is an event that JSON has no form for.
func unencodable() event.Event {
	return event.Event{Type: event.PostCreated, Time: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}
}

func TestPublishPutsTheEventOnItsTopicAsACloudEvent(t *testing.T) {
	s := &sidecar{}
	e := events(t, "a")[0]
	if err := errors.Join(New(s).PublishAll(context.Background(), e.Type, []event.Event{e})...); err != nil {
		t.Fatal(err)
	}
	check(t, "publishes", len(s.published), 1)
	got := s.published[0]
	check(t, "component", got.GetPubsubName(), "bus")
	check(t, "topic", got.GetTopic(), "PostCreated")
	check(t, "content type", got.GetDataContentType(), "application/cloudevents+json")
	check(t, "as it is", got.GetMetadata(), map[string]string{"rawPayload": "true"})
	if back, err := event.Parse(event.PostCreated, got.GetData()); err != nil || back.ID != e.ID {
		t.Errorf("published %s (error %v), want event %s", got.GetData(), err, e.ID)
	}
}

func TestPublishSaysWhatFailed(t *testing.T) {
	down := errors.New("bus is down")
	if errs := New(&sidecar{err: down}).PublishAll(context.Background(), event.PostCreated, events(t, "a")); len(errs) != 1 || !errors.Is(errs[0], down) {
		t.Errorf("errors %v, want %v", errs, down)
	}
	s := &sidecar{}
	if errs := New(s).PublishAll(context.Background(), event.PostCreated, []event.Event{unencodable()}); len(errs) != 1 || errs[0] == nil || len(s.published) > 0 {
		t.Errorf("errors %v and %d publishes, want an error and none", errs, len(s.published))
	}
}

func TestPublishAllPublishesInOneCallInOrder(t *testing.T) {
	s := &sidecar{}
	in := events(t, "a", "b", "c")
	if errs := New(s).PublishAll(context.Background(), event.PostCreated, in); errs != nil {
		t.Fatal(errs)
	}
	check(t, "calls", len(s.bulk), 1)
	check(t, "component", s.bulk[0].GetPubsubName(), "bus")
	check(t, "topic", s.bulk[0].GetTopic(), "PostCreated")
	check(t, "as they are", s.bulk[0].GetMetadata(), map[string]string{"rawPayload": "true"})
	check(t, "entries", len(s.bulk[0].GetEntries()), len(in))
	seen := map[string]bool{}
	for i, entry := range s.bulk[0].GetEntries() {
		seen[entry.GetEntryId()] = true
		check(t, "content type", entry.GetContentType(), "application/cloudevents+json")
		if back, err := event.Parse(event.PostCreated, entry.GetEvent()); err != nil || back.ID != in[i].ID {
			t.Errorf("entry %d is %s (error %v)", i, entry.GetEvent(), err)
		}
	}
	check(t, "different entry ids", len(seen), len(in))
}

// topicsFunc are Topics of a function.
type topicsFunc func(topic, contentType string, messages [][]byte) []error

func (f topicsFunc) Publish(_ context.Context, topic, contentType string, messages [][]byte) []error {
	return f(topic, contentType, messages)
}

func TestABusPublishesOnTheTopicsThatItIsGiven(t *testing.T) {
	full := errors.New("full")
	type call struct {
		topic, contentType string
		messages           int
	}
	var calls []call
	b := On(topicsFunc(func(topic, contentType string, messages [][]byte) []error {
		calls = append(calls, call{topic, contentType, len(messages)})
		if topic == DeadLetterTopic {
			return nil
		}
		errs := make([]error, len(messages))
		errs[len(errs)-1] = full
		return errs
	}))
	in := events(t, "a", "b", "c")
	if errs := b.PublishAll(t.Context(), event.PostCreated, in[:1]); len(errs) != 1 || !errors.Is(errs[0], full) || !strings.Contains(errs[0].Error(), in[0].ID) {
		t.Errorf("errors %v, want %v with the event's id", errs, full)
	}
	if errs := b.PublishAll(t.Context(), event.PostCreated, in); len(errs) != 3 || errs[0] != nil || errs[1] != nil || !errors.Is(errs[2], full) {
		t.Errorf("errors %v, want the last alone", errs)
	}
	if err := b.DeadLetter(t.Context(), "posts", event.PostCreated, in[0], ErrPoison); err != nil {
		t.Error(err)
	}
	check(t, "calls", calls, []call{
		{"PostCreated", "application/cloudevents+json", 1}, {"PostCreated", "application/cloudevents+json", 3}, {"dead-letters", "application/json", 1},
	})
}

// A reader of the log dead-letters what a delivery would have dead-lettered.
func TestTheDeadLetterOfAnEventFromTheLogIsThatOfItsDelivery(t *testing.T) {
	var g keeper
	raw := post(t, "a")
	r := recorder{results: func(int) []error { return []error{ErrPoison} }}
	delivered(t, channel(&g, r.handle), raw)
	e, err := event.Parse(event.PostCreated, raw)
	if err != nil {
		t.Fatal(err)
	}
	e.Sequence = 7
	if err := New(&g).DeadLetter(t.Context(), "tester", event.PostCreated, e, ErrPoison); err != nil {
		t.Fatal(err)
	}
	check(t, "dead letters", len(g.letters), 2)
	check(t, "of the log", g.letters[1], g.letters[0])
	g.down = true
	if err := New(&g).DeadLetter(t.Context(), "tester", event.PostCreated, e, ErrPoison); err == nil {
		t.Error("it passes for published while the bus is down")
	}
	if err := New(&g).DeadLetter(t.Context(), "tester", event.PostCreated, unencodable(), ErrPoison); err == nil {
		t.Error("an event without an encoded form passes for published")
	}
}

func TestPublishAllOfNothingMakesNoCall(t *testing.T) {
	s := &sidecar{err: errors.New("bus is down")}
	if errs := New(s).PublishAll(context.Background(), event.PostCreated, nil); errs != nil || len(s.bulk) > 0 {
		t.Errorf("errors %v and %d calls, want none", errs, len(s.bulk))
	}
}

func TestPublishAllNamesTheEventsThatFailed(t *testing.T) {
	s := &sidecar{failed: []*pb.BulkPublishResponseFailedEntry{{EntryId: "2", Error: "full"}, {EntryId: "0", Error: "busy"}}}
	errs := New(s).PublishAll(context.Background(), event.PostCreated, events(t, "a", "b", "c"))
	check(t, "errors", len(errs), 3)
	if errs[0] == nil || !strings.HasSuffix(errs[0].Error(), "busy") || errs[1] != nil || errs[2] == nil || !strings.HasSuffix(errs[2].Error(), "full") {
		t.Errorf("errors %v", errs)
	}
}

// If nobody knows which events failed, all of them count as failed: a lost event would
// never be published.
func TestPublishAllFailsAllWhenItCannotTellWhichFailed(t *testing.T) {
	down := errors.New("bus is down")
	in := events(t, "a", "b")
	for name, test := range map[string]struct {
		s  *sidecar
		in []event.Event
	}{
		"the call fails":       {&sidecar{err: down}, in},
		"an entry without id":  {&sidecar{failed: []*pb.BulkPublishResponseFailedEntry{{}}}, in},
		"an entry past them":   {&sidecar{failed: []*pb.BulkPublishResponseFailedEntry{{EntryId: "2"}}}, in},
		"an entry before them": {&sidecar{failed: []*pb.BulkPublishResponseFailedEntry{{EntryId: "-1"}}}, in},
		"one can't be encoded": {&sidecar{}, []event.Event{in[0], unencodable()}},
	} {
		t.Run(name, func(t *testing.T) {
			errs := New(test.s).PublishAll(context.Background(), event.PostCreated, test.in)
			check(t, "errors", len(errs), 2)
			for i, err := range errs {
				if err == nil {
					t.Errorf("event %d passes for published", i)
				}
			}
		})
	}
	if errs := New(&sidecar{err: down}).PublishAll(context.Background(), event.PostCreated, in); !errors.Is(errs[1], down) {
		t.Errorf("errors %v do not say %v", errs, down)
	}
}

// A dead letter is no CloudEvent, and the sidecar must not make it one.
func TestADeadLetterIsPublishedRawWithItsBytes(t *testing.T) {
	s := &sidecar{}
	d := DeadLetter{ID: "1", Service: "posts", Topic: "PostCreated", Reason: "so", Payload: []byte("\xff\x00")}
	if err := New(s).publishDeadLetter(context.Background(), d); err != nil {
		t.Fatal(err)
	}
	check(t, "topic", s.published[0].GetTopic(), "dead-letters")
	check(t, "content type", s.published[0].GetDataContentType(), "application/json")
	check(t, "raw", s.published[0].GetMetadata(), map[string]string{"rawPayload": "true"})
	var back DeadLetter
	if err := json.Unmarshal(s.published[0].GetData(), &back); err != nil {
		t.Fatal(err)
	}
	check(t, "dead letter", back, d)
}

func TestTheReceiverOfABusDeadLettersOnThatBus(t *testing.T) {
	s := &sidecar{}
	r := NewReceiver("posts", New(s))
	check(t, "answer", r.deadLetter(context.Background(), DeadLetter{ID: "1"}), success)
	s.err = errors.New("bus is down")
	check(t, "answer while down", r.deadLetter(context.Background(), DeadLetter{ID: "1"}), retry)
	check(t, "publishes", len(s.published), 2)
}

// A bus that repeats itself delivers an event twice in a batch, and the reactions are equal.
func TestOfEqualEventsOneIsPublished(t *testing.T) {
	s := &sidecar{failed: []*pb.BulkPublishResponseFailedEntry{{EntryId: "0", Error: "no"}}}
	two := events(t, "a", "b")
	errs := New(s).PublishAll(context.Background(), event.PostCreated, []event.Event{two[0], two[1], two[0]})
	if len(s.bulk) != 1 || len(s.bulk[0].GetEntries()) != 2 {
		t.Fatalf("published was %v", s.bulk)
	}
	if errs[0] == nil || errs[1] != nil || errs[2] == nil {
		t.Errorf("the errors are %v", errs)
	}
	s = &sidecar{}
	if errs := New(s).PublishAll(context.Background(), event.PostCreated, []event.Event{two[0], two[0]}); errors.Join(errs...) != nil || len(s.published) != 1 {
		t.Errorf("published was %v, errors %v", s.published, errs)
	}
}
