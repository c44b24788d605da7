package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	pb "github.com/dapr/dapr/pkg/proto/runtime/v1"
	dapr "github.com/dapr/go-sdk/client"
)

// Component is the name of the pub/sub component.
const Component = "bus"

// daprTopics are the Topics of a Dapr sidecar's pub/sub component.
type daprTopics struct {
	client dapr.Client
}

// Publish implements Topics.
func (s daprTopics) Publish(ctx context.Context, topic, contentType string, messages [][]byte) []error {
	if len(messages) == 1 {
		err := s.client.PublishEvent(ctx, Component, topic, messages[0], dapr.PublishEventWithContentType(contentType), dapr.PublishEventWithRawPayload())
		return []error{err}
	}
	return s.publishBulk(ctx, topic, contentType, messages)
}

// publishBulk puts messages on a topic in one call. (../README.md says why the SDK's
// PublishEvents does not do.)
func (s daprTopics) publishBulk(ctx context.Context, topic, contentType string, messages [][]byte) []error {
	req := &pb.BulkPublishRequest{PubsubName: Component, Topic: topic, Metadata: map[string]string{"rawPayload": "true"}}
	for i, raw := range messages {
		req.Entries = append(req.Entries, &pb.BulkPublishRequestEntry{EntryId: strconv.Itoa(i), Event: raw, ContentType: contentType})
	}
	res, err := s.client.GrpcClient().BulkPublishEvent(ctx, req)
	if err != nil {
		return All(len(messages), fmt.Errorf("publishing %d messages to %s: %w", len(messages), topic, err))
	}
	if len(res.GetFailedEntries()) == 0 {
		return nil
	}
	errs := make([]error, len(messages))
	for _, failed := range res.GetFailedEntries() {
		i, err := strconv.Atoi(failed.GetEntryId())
		if err != nil || i < 0 || i >= len(messages) {
			return All(len(messages), fmt.Errorf("publishing to %s: unknown entry %q failed: %s", topic, failed.GetEntryId(), failed.GetError()))
		}
		errs[i] = errors.New(failed.GetError())
	}
	return errs
}
